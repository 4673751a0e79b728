//! What happens to a device at one time: made twice, removed while it is opened, made anew while it goes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::contract::greeting;
use crate::managed::{Managed, ONE};
use crate::vfio::{Client, errno};

/// A connection to a manager's control socket: faster than a process a command.
struct Control(BufReader<UnixStream>);

impl Control {
    fn new(managed: &Managed) -> Self {
        Self(BufReader::new(UnixStream::connect(managed.path("control")).unwrap()))
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// What is answered, or the name of the error; `None` if the manager has ended.
    fn ask(&mut self, request: &Value) -> Option<Result<Value, String>> {
        self.say(request)?;
        self.answer()
    }

    fn say(&mut self, request: &Value) -> Option<()> {
        writeln!(self.0.get_mut(), "{request}").ok()
    }

    fn answer(&mut self) -> Option<Result<Value, String>> {
        let answer = self.next()?;
        let errno = answer.pointer("/error/errno").and_then(Value::as_str);
        Some(errno.map_or_else(|| Ok(answer["ok"].clone()), |errno| Err(errno.to_owned())))
    }
}

fn nothing_is_left(managed: &Managed) {
    for name in ["devices", "vfio/devices", ".staging"] {
        assert_eq!(fs::read_dir(managed.path(name)).unwrap().count(), 0, "{name}");
    }
    assert_eq!((managed.available("mtty-1"), managed.available("mdpy-vga")), (24, 4));
}

#[test]
fn of_many_that_make_a_uuid_at_once_one_does_and_the_others_hear_eexist() {
    const THREADS: usize = 6;
    let managed = Managed::start();
    for round in 0..20 {
        let begin = Barrier::new(THREADS);
        let answers: Vec<_> = thread::scope(|scope| {
            let make = |number: usize| {
                let (mut control, begin) = (Control::new(&managed), &begin);
                // Of whatever parent.
                let kind = if number.is_multiple_of(2) { "mtty-1" } else { "mdpy-vga" };
                scope.spawn(move || {
                    begin.wait();
                    control.ask(&json!({ "verb": "create", "type": kind, "uuid": ONE })).unwrap()
                })
            };
            let threads: Vec<_> = (0..THREADS).map(make).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refusals: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert_eq!(refusals, ["EEXIST"; THREADS - 1], "round {round}");
        Control::new(&managed).ask(&json!({ "verb": "remove", "uuid": ONE })).unwrap().unwrap();
    }
    nothing_is_left(&managed);
}

#[test]
fn a_uuid_can_be_made_again_when_it_is_released_and_not_a_moment_before() {
    let managed = Managed::start();
    let create = json!({ "verb": "create", "type": "mtty-2", "uuid": ONE });
    let mut control = Control::new(&managed);
    control.ask(&create).unwrap().unwrap();
    for _ in 0..20 {
        let mut other = Control::new(&managed);
        let user = Client::negotiated(&managed.path("vfio/devices/vfio0"));
        thread::scope(|scope| {
            let removing =
                scope.spawn(move || other.ask(&json!({ "verb": "remove", "uuid": ONE })).unwrap());
            crate::managed::soon("it is hidden", || !managed.path("vfio/devices/vfio0").exists());
            assert_eq!(control.ask(&create).unwrap(), Err("EEXIST".into()));
            drop(user);
            // From now on it is released at any moment.
            let made = loop {
                match control.ask(&create).unwrap() {
                    Ok(made) => break made,
                    Err(errno) => assert_eq!(errno, "EEXIST"),
                }
            };
            assert!(made["socket"].as_str().unwrap().ends_with("vfio0"), "{made}");
            removing.join().unwrap().unwrap();
        });
        assert_eq!(managed.available("mtty-2"), 11);
    }
    control.ask(&json!({ "verb": "remove", "uuid": ONE })).unwrap().unwrap();
    nothing_is_left(&managed);
}

#[test]
fn a_device_that_is_removed_while_clients_connect_is_opened_and_closed_or_never_opened() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 50;
    let managed = Managed::start_with(&["--loops", "2"]);
    let mut events = Control::new(&managed);
    events.ask(&json!({ "verb": "events" })).unwrap().unwrap();
    let mut control = Control::new(&managed);
    let (mut rounds, mut served) = (0, 0);
    // Until both have been, which takes no more of them.
    while rounds < ROUNDS || (served == 0 || served == rounds) && rounds < 20 * ROUNDS {
        let round = rounds;
        rounds += 1;
        let made = control.ask(&json!({ "verb": "create", "type": "mtty-1" })).unwrap().unwrap();
        let socket = made["socket"].as_str().unwrap();
        let begin = Barrier::new(CLIENTS + 1);
        let greetings: Vec<_> = thread::scope(|scope| {
            let connect = |_| {
                scope.spawn(|| {
                    begin.wait();
                    let mut greeted = None;
                    if let Ok(stream) = UnixStream::connect(socket) {
                        // Held until the device is gone, or this one sent away.
                        greeted = Some((greeting(stream.try_clone().unwrap()), stream));
                    }
                    greeted
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
            let request = json!({ "verb": "remove", "uuid": made["uuid"], "force_after_ms": 0 });
            let pause = || thread::sleep(Duration::from_micros(200 * (round as u64 % 10)));
            // Sometimes before they have come, sometimes after.
            if round % 2 == 0 {
                control.say(&request).unwrap();
                pause();
                begin.wait();
            } else {
                begin.wait();
                pause();
                control.say(&request).unwrap();
            }
            control.answer().unwrap().unwrap();
            clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
        });
        for (greeted, mut stream) in greetings {
            match greeted {
                Some(0) => {
                    served += 1;
                    Client::new(stream.try_clone().unwrap()).is_closed();
                    assert!(stream.write_all(&[0; 16]).is_err(), "it is still there");
                }
                Some(errno) => {
                    assert!([errno::EBUSY, errno::ENODEV].contains(&errno), "{errno}");
                }
                None => (),
            }
        }
    }
    nothing_is_left(&managed);
    // Each life is told whole: opened as often as closed, and at the end released.
    let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut released = 0;
    while released < rounds {
        let event = events.next().expect("an event");
        let name = event["event"].as_str().unwrap().to_owned();
        released += usize::from(name == "released");
        lives.entry(event["uuid"].as_str().unwrap().to_owned()).or_default().push(name);
    }
    assert_eq!(lives.len(), rounds);
    for life in lives.values() {
        let count = |name: &str| life.iter().filter(|it| *it == name).count();
        assert_eq!(count("opened"), count("closed"), "{life:?}");
        assert_eq!(life[..2], ["created", "registered"], "{life:?}");
        assert_eq!(life.last().unwrap(), "released", "{life:?}");
        let place = |name: &str| life.iter().position(|it| it == name);
        assert!(place("removed") < place("released"), "{life:?}");
    }
    println!("{served} of {rounds} devices had a client for a while");
    assert!(served > 0 && served < rounds, "{served} of {rounds}: there was no race");
}

#[test]
fn a_manager_that_is_told_to_end_while_devices_are_made_leaves_nothing() {
    for round in 0..5 {
        let mut managed = Managed::start();
        let made = thread::scope(|scope| {
            let make = |_| {
                let mut control = Control::new(&managed);
                scope.spawn(move || {
                    let mut made = 0;
                    // Refused with words, or cut off; never left waiting.
                    while let Some(answer) =
                        control.ask(&json!({ "verb": "create", "type": "mtty-1" }))
                    {
                        match answer {
                            Ok(_) => made += 1,
                            Err(errno) if errno == "ENOSPC" => break,
                            Err(errno) => assert_eq!(errno, "EAGAIN"),
                        }
                    }
                    made
                })
            };
            let threads: Vec<_> = (0..3).map(make).collect();
            thread::sleep(Duration::from_millis(round));
            rustix::process::kill_process(managed.pid(), Signal::TERM).unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
        });
        assert!(made <= 24);
        assert_eq!(managed.finish(Signal::TERM).code(), Some(0), "{}", managed.log());
        assert!(!managed.run_dir().exists());
        assert!(!managed.log().contains("WARN") && !managed.log().contains("panicked"));
    }
}
