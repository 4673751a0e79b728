//! What happens, as a stream.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::managed::{Managed, ONE, end, program, soon};
use crate::vfio::{Client, QEMU_CAPABILITIES, command, version};

struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    /// Listens from here on.
    fn begin(managed: &Managed, arguments: &[&str]) -> Self {
        let mut child = managed.begin(&[&["events"], arguments].concat());
        let mut stream = Self { lines: BufReader::new(child.stdout.take().unwrap()), child };
        // It does not say when it begins: something that happens again and again does.
        let (made, mut heard) = (managed.create(&["mdpy-vga"]), false);
        let mut first = String::new();
        std::thread::scope(|scope| {
            let hearing = scope.spawn(|| stream.lines.read_line(&mut first).unwrap());
            soon("it listens", || {
                drop(Client::negotiated(&made.socket));
                heard = hearing.is_finished();
                heard
            });
        });
        managed.remove(&made);
        loop {
            let line = stream.next();
            if line.contains("released") {
                return stream;
            }
        }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it has ended");
        line.trim_end().to_owned()
    }
}

#[test]
fn a_life_is_told_in_its_order() {
    let managed = Managed::start();
    let mut stream = Stream::begin(&managed, &["--json"]);
    let made = managed.create(&["mtty-2", "--uuid", ONE]);
    drop(Client::negotiated(&made.socket));
    let mut next = || serde_json::from_str::<Value>(&stream.next()).unwrap();
    let members = json!({ "uuid": ONE, "node": "vfio0", "type": "mtty-2" });
    let mut expect = |event: &str| {
        let found = next();
        assert_eq!(found["event"], event, "{found}");
        for (name, value) in members.as_object().unwrap() {
            // It is not placed yet when it is made.
            assert_eq!(&found[name], value, "{found}");
        }
        found
    };
    expect("created");
    expect("registered");
    let opened = expect("opened");
    assert!(opened["client"].is_null() || opened["client"]["pid"] == std::process::id());
    expect("closed");
    let user = Client::negotiated(&made.socket);
    let opened = expect("opened");
    assert_eq!(opened["client"]["pid"], std::process::id());
    assert!(opened["client"]["comm"].is_string(), "{opened}");
    let removing = managed.begin(&["remove", ONE, "--force-after", "100ms"]);
    expect("removed");
    expect("request");
    expect("forced");
    let closed = expect("closed");
    assert_eq!(closed["client"]["pid"], std::process::id());
    expect("released");
    end(removing).ok();
    drop(user);
}

#[test]
fn lines_for_people_name_the_device_and_end_with_the_server() {
    let mut managed = Managed::start();
    let mut stream = Stream::begin(&managed, &[]);
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    assert_eq!(stream.next(), format!("created {ONE} vfio0 mtty-1"));
    assert_eq!(stream.next(), format!("registered {ONE} vfio0 mtty-1"));
    let _user = Client::negotiated(&made.socket);
    let line = stream.next();
    let start = format!("opened {ONE} vfio0 mtty-1 by pid {} ", std::process::id());
    assert!(line.starts_with(&start), "{line}");
    managed.finish(Signal::TERM);
    assert!(stream.child.wait().unwrap().success());
}

#[test]
fn a_server_of_one_device_tells_of_its_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, control) = (directory.path().join("socket"), directory.path().join("control"));
    let mut server = program()
        .args(["--log-level", "warn", "serve", "mtty-1", "--socket-path"])
        .arg(&socket)
        .arg("--control-path")
        .arg(&control)
        .spawn()
        .unwrap();
    soon("it listens", || UnixStream::connect(&control).is_ok());
    let mut stream = BufReader::new(UnixStream::connect(&control).unwrap());
    let mut next = |line: &str| {
        writeln!(stream.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(next(r#"{"id":1,"verb":"events"}"#), json!({ "id": 1, "ok": {} }));
    drop(Client::negotiated(&socket));
    // What is said meanwhile is not answered.
    for event in ["opened", "closed"] {
        let told = next(r#"{"verb":"info"}"#);
        assert_eq!((&told["event"], &told["node"]), (&json!(event), &json!("vfio0")), "{told}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_client_that_comes_and_goes_all_the_time_cuts_no_listener_off() {
    let managed = Managed::start();
    let busy = managed.create(&["mtty-1"]);
    let mut stream = BufReader::new(UnixStream::connect(managed.path("control")).unwrap());
    writeln!(stream.get_mut(), r#"{{"verb":"events"}}"#).unwrap();
    let hearing = std::thread::spawn(move || {
        let mut lines = stream.lines().map(Result::unwrap);
        // Whatever is lost, it is not what comes when all is calm.
        lines.find(|line| line.contains(ONE) || line.contains("error")).expect("the stream ends")
    });
    for _ in 0..3000 {
        let mut client = Client::connect(&busy.socket);
        client.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
    }
    soon("it hears of another device", || {
        managed.remove(&managed.create(&["mtty-1", "--uuid", ONE]));
        hearing.is_finished()
    });
    let line = hearing.join().unwrap();
    assert!(line.contains(ONE), "{line}");
}
