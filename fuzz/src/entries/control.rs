//! Lines to the control socket of a manager, which has a card, a display, and whatever the lines make.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mdev_user::fuzzing::Managed;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::quiet;
use super::session::{become_closed, descriptors};

/// Bytes of a line, its end included. A longer one is answered, and is the last.
const MAX_LINE: usize = 64 << 10;
const CARD: &str = "00000000-0000-4000-8000-000000000001";
const DISPLAY: &str = "00000000-0000-4000-8000-000000000002";

struct Server {
    managed: Managed,
    _directory: TempDir,
    /// Card and display are there as they were made.
    is_fresh: AtomicBool,
    /// Descriptors before they were.
    empty: AtomicUsize,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let managed = Managed::start(directory.path()).expect("a manager");
        Server {
            managed,
            _directory: directory,
            is_fresh: AtomicBool::new(false),
            empty: AtomicUsize::new(0),
        }
    })
}

/// Lines, as they come. What would have others wait, or reach over a network, is left out.
pub fn control(data: &[u8]) {
    quiet::start();
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    if lines.iter().any(|line| is_left_out(line)) {
        return;
    }
    let server = server();
    if !server.is_fresh.swap(true, Ordering::SeqCst) {
        server.empty.store(descriptors(), Ordering::SeqCst);
        let card = json!({ "verb": "create", "uuid": CARD, "type": "mtty-2,serial1=null" });
        let display = json!({ "verb": "create", "uuid": DISPLAY, "type": "mbochs-small" });
        server.do_all(&[card, display]);
    }
    let before = descriptors();
    let mut wanted = before;
    if server.talk(&lines) {
        server.is_fresh.store(false, Ordering::SeqCst);
        server.remove_all();
        wanted = server.empty.load(Ordering::SeqCst);
    }
    become_closed(wanted);
}

/// The UUIDs in mdevctl's form: a list of parents, each with a list of devices.
fn devices(list: &Value) -> Vec<String> {
    let objects = |list: &Value| -> Vec<(String, Value)> {
        let objects = list.as_array().into_iter().flatten().filter_map(Value::as_object);
        objects.flat_map(|it| it.clone()).collect()
    };
    objects(list)
        .iter()
        .flat_map(|(_, of_parent)| objects(of_parent))
        .map(|(uuid, _)| uuid)
        .collect()
}

fn is_left_out(line: &[u8]) -> bool {
    let Ok(Value::Object(request)) = serde_json::from_slice(line) else { return false };
    let text = Value::Object(request.clone()).to_string();
    let waits = ["timeout_ms", "force_after_ms"].iter().any(|name| {
        request.get(*name).and_then(Value::as_u64).is_some_and(|it| (3..=86_400_000).contains(&it))
    });
    // Faults that hold a client up are for clients; there are none.
    waits || text.contains("tcp")
}

impl Server {
    fn do_all(&self, requests: &[Value]) {
        for answer in self.ask(requests) {
            assert!(answer.get("ok").is_some(), "{answer}");
        }
    }

    fn devices(&self) -> Vec<String> {
        let listed = self.ask(&[json!({ "verb": "list" })]).remove(0);
        devices(&listed["ok"]["devices"])
    }

    fn remove_all(&self) {
        let devices = self.devices();
        let remove = |uuid: &String| json!({ "verb": "remove", "uuid": uuid });
        self.do_all(&Vec::from_iter(devices.iter().map(remove)));
        assert_eq!(self.devices(), [""; 0], "devices that are left");
    }

    /// One connection on which all is said at once, and answered.
    fn ask(&self, requests: &[Value]) -> Vec<Value> {
        let (mut ours, theirs) = UnixStream::pair().expect("sockets");
        for request in requests {
            writeln!(ours, "{request}").expect("it fits");
        }
        ours.shutdown(Shutdown::Write).expect("it is open");
        self.managed.answer(theirs).expect("its answers fit");
        let mut answers = String::new();
        ours.read_to_string(&mut answers).expect("text");
        let answers: Vec<Value> =
            answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(answers.len(), requests.len(), "answers");
        answers
    }

    /// The lines, and an answer to each, until one ends the connection. Whether they have changed anything.
    fn talk(&self, lines: &[&[u8]]) -> bool {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        ours.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        std::thread::scope(|scope| {
            // The connection may end before all is said.
            scope.spawn(|| _ = self.managed.answer(theirs));
            scope.spawn(|| {
                let said = lines
                    .iter()
                    .try_for_each(|line| (&ours).write_all(&[line, &b"\n"[..]].concat()));
                let _ = said.and_then(|()| ours.shutdown(Shutdown::Write));
            });
            let mut answers = Answers { socket: &ours, bytes: Vec::new() };
            let mut changes = false;
            for line in lines {
                let answer = answers.next().unwrap_or_else(|| panic!("no answer to {line:?}"));
                match check(line, &answer) {
                    Done::Nothing => (),
                    Done::Something => changes = true,
                    Done::All => {
                        let _ = ours.shutdown(Shutdown::Both);
                        return changes;
                    }
                }
            }
            assert_eq!(answers.next(), None, "one too many");
            changes
        })
    }
}

/// What a line has done.
enum Done {
    Nothing,
    Something,
    /// Nothing more is answered.
    All,
}

fn check(line: &[u8], answer: &[u8]) -> Done {
    let request: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
    let is_long = line.len() + 1 > MAX_LINE;
    let request = request.filter(|_| !is_long);
    let answer: Map<String, Value> = serde_json::from_slice(answer).expect("an object");
    let id = request.as_ref().and_then(|request| request.get("id"));
    assert_eq!(answer.get("id"), id, "the id");
    let (ok, error) = (answer.get("ok"), answer.get("error"));
    assert!(ok.is_some() != error.is_some(), "{answer:?}");
    assert_eq!(answer.len(), 1 + usize::from(id.is_some()), "{answer:?}");
    if let Some(error) = error {
        let text = |name: &str| error[name].as_str().expect("text");
        assert!(text("errno").starts_with('E') && !text("message").is_empty(), "{error}");
    }
    assert!(ok.is_none() || request.is_some(), "{answer:?}");
    match request.as_ref().and_then(|request| request.get("verb")?.as_str()) {
        _ if is_long => Done::All,
        _ if ok.is_none() => Done::Nothing,
        Some("events") => Done::All,
        Some("info" | "plane" | "list" | "types") => Done::Nothing,
        _ => Done::Something,
    }
}

/// Lines out of a socket.
struct Answers<'a> {
    socket: &'a UnixStream,
    bytes: Vec<u8>,
}

impl Iterator for Answers<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let (mut searched, mut idle) = (0, 0);
        loop {
            if let Some(end) = self.bytes[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(searched + end + 1);
                return Some(std::mem::replace(&mut self.bytes, rest));
            }
            searched = self.bytes.len();
            let mut buffer = [0; 4096];
            // Descriptors that come along are not asked for, and so not made.
            match self.socket.read(&mut buffer) {
                // A fuzzer's clock.
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock && idle < 20 => idle += 1,
                Err(error) => panic!("no answer in 20 times a second: {error}"),
                Ok(0) => {
                    assert!(self.bytes.is_empty(), "an answer in part: {:?}", self.bytes);
                    return None;
                }
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
