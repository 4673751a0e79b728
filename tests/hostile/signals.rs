//! Signals, and standard streams that nobody reads.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::arena::{Arena, in_one_line};
use crate::bodies::SCR;
use crate::client::command::DEVICE_GET_INFO;
use crate::client::{Client, words};
use crate::managed::{end, program};

/// They end the waits of a process that catches them (EINTR), and of any that was stopped.
#[test]
fn storms_of_signals_that_mean_nothing_and_of_stops() {
    let mut arena = Arena::start();
    arena.is_stopped = true;
    let log = arena.withstands("is using the device", |arena| {
        let mut client = arena.client();
        let pid = arena.managed.pid();
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_secs(2) {
                    for signal in
                        [Signal::CHILD, Signal::WINCH, Signal::URG, Signal::STOP, Signal::CONT]
                    {
                        kill_process(pid, signal).unwrap();
                    }
                    thread::sleep(Duration::from_micros(200));
                }
                kill_process(pid, Signal::CONT).unwrap();
            });
            let mut value = 0u8;
            while start.elapsed() < Duration::from_secs(2) {
                value = value.wrapping_add(1);
                client.write(0, SCR, &[value]);
                assert_eq!(client.read(0, SCR, 1), [value]);
                client.call(DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
            }
        });
    });
    in_one_line(&log);
}

/// SIGPIPE would end it, and a write error could.
#[test]
fn nobody_reads_what_it_prints() {
    for verb in ["serve", "manage"] {
        let directory = tempfile::tempdir().unwrap();
        let (socket, run) = (directory.path().join("device.sock"), directory.path().join("run"));
        let mut command = program();
        command.args(["--log-level", "debug", verb]).stderr(Stdio::piped());
        match verb {
            "serve" => command.arg("mtty-1").arg("--socket-path").arg(&socket),
            _ => command.arg("--run-dir").arg(&run),
        };
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop((stdout, child.stderr.take()));
        let asking = |words: &[&str]| {
            let mut command = program();
            end(command.args(words).arg("--run-dir").arg(&run).spawn().unwrap()).ok()
        };
        let socket = match verb {
            "serve" => socket,
            _ => asking(&["create", "mtty-1"]).trim_end().split_once(' ').unwrap().1.into(),
        };
        for _ in 0..100 {
            let mut client = Client::connect(&socket);
            client.call(DEVICE_GET_INFO, &[]).refused(22);
        }
        Client::negotiated(&socket).still_in_step();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{verb}: {status}");
        assert!(!socket.exists(), "{verb}");
    }
}
