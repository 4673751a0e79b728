//! What clients of the control socket can say and do, and what it is answered with.

use std::fs;
use std::io::Read;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Display, Line, control, error, serve};
use crate::random::Random;
use crate::{complaint, end, mdev_user, say, soon};

const INFO: &str = r#"{"id": "still there", "verb": "info"}"#;

#[track_caller]
fn still_answers(line: &mut Line) {
    let answer = line.ask(INFO);
    assert_eq!(answer["id"], "still there", "{answer}");
    assert_eq!(answer["ok"]["devices"][0]["node"], "vfio0", "{answer}");
}

#[test]
fn a_line_that_is_no_request_is_refused_in_words_and_the_next_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let mut line = Line::connect(&control(&directory));
    let nested = "[".repeat(60_000);
    let deep = format!(r#"{{"verb": "info", "id": {nested}"#);
    for (text, words) in [
        ("", "a line is a JSON object: "),
        ("garbage", "a line is a JSON object: "),
        ("{", "a line is a JSON object: "),
        ("[]", "a line is a JSON object: "),
        ("null", "a line is a JSON object: "),
        ("17", "a line is a JSON object: "),
        (r#""info""#, "a line is a JSON object: "),
        (r#"{"verb": "info"} {"verb": "info"}"#, "a line is a JSON object: "),
        (r#"{"verb": "info", "id": 1e999}"#, "a line is a JSON object: "),
        (nested.as_str(), "a line is a JSON object: "),
        (deep.as_str(), "a line is a JSON object: recursion limit"),
        ("{}", "a request has a 'verb', one of info, plane"),
        (r#"{"verb": null}"#, "'verb' is a string"),
        (r#"{"verb": ["info"]}"#, "'verb' is a string"),
        (r#"{"verb": ""}"#, "there is no verb '', the verbs are info, plane"),
        (r#"{"verb": "INFO"}"#, "there is no verb 'INFO', the verbs are info, plane"),
        (r#"{"verb": "version"}"#, "there is no verb 'version', the verbs are info, plane"),
        (r#"{"verb": "info\u0000"}"#, "there is no verb 'info\0', the verbs are info, plane"),
        (r#"{"verb": "info", "device": 0}"#, "'device' is a string"),
        (r#"{"verb": "plane", "device": null}"#, "'device' is a string"),
        (r#"{"verb": "plane", "x": 1}"#, "verb 'plane' takes no 'x'"),
    ] {
        let (errno, message) = line.refused(text);
        assert_eq!(errno, "EINVAL", "{message}");
        assert!(message.starts_with(words), "{text:.40}: {message}");
        still_answers(&mut line);
    }
    for bytes in [&b"\0"[..], b"\xff\xfe", b"{\"verb\": \"\xc3\"}", &[0; 1000]] {
        line.send(&[bytes, b"\n"].concat());
        assert_eq!(error(&line.answer().unwrap()).0, "EINVAL", "{bytes:?}");
        still_answers(&mut line);
    }
}

#[test]
fn nonsense_made_of_requests_gets_an_answer_for_each_line() {
    const ROUNDS: u32 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mdpy-vga", &directory);
    let mut line = Line::connect(&control(&directory));
    let requests = [
        r#"{"id": 1, "verb": "plane", "device": "vfio0"}"#,
        r#"{"verb": "info"}"#,
        r#"{"id": [{"a": "\u00e9"}, null, -1.5e3], "verb": "plane"}"#,
    ];
    let mut refused = 0;
    for round in 0..ROUNDS {
        let mut random = Random::of(20_260_120, round.into());
        let mut bytes = random.pick(&requests).as_bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => _ = bytes.remove(at),
                2 => bytes.insert(at, random.pick(b"{}[]\",:\\0e-\xff")),
                _ => bytes.extend(bytes.clone()),
            }
            bytes.push(b' '); // never empty
        }
        bytes.retain(|byte| *byte != b'\n');
        bytes.push(b'\n');
        line.send(&bytes);
        let answer = line.answer().unwrap_or_else(|| panic!("{}", bytes.escape_ascii()));
        assert_ne!(answer.get("ok").is_some(), answer.get("error").is_some(), "{answer}");
        refused += u32::from(answer.get("error").is_some());
    }
    assert!((ROUNDS / 10..ROUNDS).contains(&refused), "{refused} of {ROUNDS} were refused");
    still_answers(&mut line);
}

#[test]
fn a_line_too_long_is_refused_and_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let path = control(&directory);
    // The longest that is taken: 64 KiB with its end.
    let padded = |length: usize| format!("{INFO}{}\n", " ".repeat(length - INFO.len() - 1));
    let mut line = Line::connect(&path);
    line.send(padded(64 << 10).as_bytes());
    assert_eq!(line.answer().unwrap()["id"], "still there");
    line.send(padded((64 << 10) + 1).as_bytes());
    let (errno, message) = error(&line.answer().unwrap());
    assert_eq!((errno.as_str(), &message[..30]), ("EINVAL", "a line is at most 65536 bytes;"));
    assert_eq!(line.answer(), None);

    // One without an end is not read for ever.
    let mut line = Line::connect(&path);
    let mut sent = 0;
    while sent < 100 << 20 && std::io::Write::write(line.0.get_mut(), &[b'x'; 4096]).is_ok() {
        sent += 4096;
    }
    assert!(sent < 10 << 20, "{sent} bytes were taken");
    still_answers(&mut Line::connect(&path));
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let mut command = mdev_user(&["run", "mdpy-vga", "mtty-1", "--control-path"]);
    command.arg(&path).args(["--", "/bin/sh", "-c", "read line"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    soon("it listens", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let mut line = Line::connect(&path);
    let (errno, message) = line.refused(r#"{"verb": "plane"}"#);
    assert_eq!(
        (errno.as_str(), message.as_str()),
        ("EINVAL", "name a 'device' (--device), one of vfio0, vfio1")
    );
    for name in ["vfio2", "VFIO0", "", "0", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vfio0 "] {
        for verb in ["plane", "info"] {
            let (errno, message) = line.refused(&json!({"verb": verb, "device": name}).to_string());
            assert_eq!(errno, "ENODEV");
            let words = format!("there is no device '{name}', the devices are vfio0, vfio1");
            assert_eq!(message, words);
        }
    }

    // By node and by UUID; without either all.
    let all = line.ask(INFO)["ok"]["devices"].take();
    let of = |device: &Value, member: &str| device[member].as_str().unwrap().to_owned();
    let kinds: Vec<_> = (0..2).map(|number| of(&all[number], "type")).collect();
    assert_eq!(kinds, ["mdpy-vga", "mtty-1"]);
    for number in 0..2 {
        let (node, uuid) = (of(&all[number], "node"), of(&all[number], "uuid"));
        for name in [&node, &uuid, &uuid.to_uppercase(), &uuid.replace('-', "")] {
            let answer = line.ask(&json!({"verb": "info", "device": name}).to_string());
            assert_eq!(answer["ok"]["devices"], json!([all[number]]), "{name}");
        }
        let answer = line.ask(&json!({"verb": "plane", "device": uuid}).to_string());
        assert_eq!(answer["ok"]["device"], node);
        assert_eq!(answer["ok"]["plane"].is_null(), number == 1, "{answer}");
    }
    drop(child.stdin.take());
    assert_eq!(end(child).status, 1, "that of `read` at the end of its input");
    assert!(!path.exists());
}

#[test]
fn answers_come_in_order_each_with_its_id_and_to_who_asked() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mdpy-vga", &directory);
    let path = control(&directory);
    let ids = [json!(1), json!("x"), json!(null), json!([1, {"a": "b"}]), json!(1.5), json!({})];
    let clients = (0..8).map(|client| {
        let (ids, mut line) = (ids.clone(), Line::connect(&path));
        std::thread::spawn(move || {
            for round in 0..20 {
                let mut requests = String::new();
                for id in &ids {
                    let id = json!([client, round, id]);
                    requests += &format!("{}\n", json!({"verb": "plane", "id": id}));
                }
                line.send(requests.as_bytes());
                for id in &ids {
                    let answer = line.answer().unwrap();
                    assert_eq!(answer["id"], json!([client, round, id]));
                    assert_eq!(answer["ok"]["plane"]["width"], 640);
                }
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    // Of a number as many digits as a double has.
    let mut line = Line::connect(&path);
    for (id, back) in [
        ("18446744073709551615", "18446744073709551615"),
        ("12345678901234567890123", "1.2345678901234568e22"),
    ] {
        let answer = line.ask(&format!(r#"{{"verb": "info", "id": {id}}}"#));
        assert_eq!(answer["id"].to_string().replace("e+", "e"), back);
    }
    // Without one there is none.
    let answer = Line::connect(&path).ask(r#"{"verb": "info"}"#);
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn what_was_said_before_the_end_is_answered_also_without_a_line_end() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let mut line = Line::connect(&control(&directory));
    line.send(format!("{INFO}\n{INFO}").as_bytes());
    line.0.get_mut().shutdown(Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert_eq!(line.answer().unwrap()["id"], "still there");
    }
    assert_eq!(line.answer(), None);
}

#[test]
fn the_seventeenth_connection_is_told_so_and_a_place_is_free_when_one_goes() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let path = control(&directory);
    let mut lines: Vec<_> = (0..16).map(|_| Line::connect(&path)).collect();
    lines.iter_mut().for_each(still_answers);
    for _ in 0..3 {
        let mut one_more = Line::connect(&path);
        let (errno, message) = error(&one_more.answer().unwrap());
        assert_eq!(errno, "EAGAIN");
        assert!(message.starts_with("16 connections are open already; try again"), "{message}");
        assert_eq!(one_more.answer(), None);
        let said = say(super::asking("info", &path).arg("--json"));
        assert!(complaint(&said, 1).starts_with("EAGAIN: 16 connections are open"), "{said:?}");
    }
    still_answers(&mut lines[0]);
    lines.pop();
    soon("there is a place", || {
        let mut line = Line::connect(&path);
        line.send_if_open(format!("{INFO}\n").as_bytes());
        line.answer().is_some_and(|answer| answer.get("ok").is_some())
    });
}

#[test]
fn who_takes_no_answers_is_let_go_and_holds_up_nobody() {
    let display = Display::vga();
    let mut deaf = Line::connect(&display.control());
    // Answers bring descriptors, and there is room for so many only.
    let request = b"{\"verb\": \"plane\"}\n".repeat(64);
    deaf.0.get_mut().set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let mut client = display.client;
    loop {
        match std::io::Write::write(deaf.0.get_mut(), &request) {
            Ok(_) => (),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(begun.elapsed() < Duration::from_secs(30), "it is not let go");
                // Meanwhile all others are answered.
                client.read(0, 0, 4);
                still_answers(&mut Line::connect(&control(&display.directory)));
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(_) => break,
        }
    }
}

#[test]
fn reads_of_registers_go_on_during_a_storm_of_screenshots_and_of_clients_that_leave() {
    let display = Display::vga();
    let path = display.control();
    let storm = (0..4).map(|number| {
        let (path, out) = (path.clone(), display.at(&format!("{number}.png")));
        std::thread::spawn(move || {
            for _ in 0..5 {
                let shot = || say(super::asking("screenshot", &path).arg(&out));
                let mut said = shot();
                while said.err.contains("EAGAIN: 16 connections are open") {
                    said = shot();
                }
                assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
                // And some that ask and do not stay for the answer.
                (0..5).for_each(|_| {
                    Line::connect(&path).send_if_open(b"{\"verb\": \"plane\"}\n{\"verb\"")
                });
            }
        })
    });
    let storm: Vec<_> = storm.collect();
    let Display { mut client, program, .. } = display;
    let mut reads = 0;
    while reads == 0 || !storm.iter().all(|thread| thread.is_finished()) {
        assert_eq!(client.read(0, 4 * 640 * 100, 4), [53; 4]); // row 100 of the gradient: 100 * 255 / 480
        reads += 1;
    }
    storm.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(reads > 20, "{reads} reads, not one a screenshot");
    drop(program);
}

#[test]
fn the_end_of_the_program_waits_for_no_control_client() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = serve("mtty-1", &directory);
    let path = control(&directory);
    let mut lines: Vec<_> = (0..4).map(|_| Line::connect(&path)).collect();
    lines.iter_mut().for_each(still_answers);
    // One that is in the middle of a line, one that takes no answers.
    lines[0].send(b"{\"verb\":");
    lines[1].0.get_mut().set_nonblocking(true).unwrap();
    while std::io::Write::write(lines[1].0.get_mut(), &format!("{INFO}\n").into_bytes().repeat(64))
        .is_ok()
    {}
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0)); // 1 if it had to be given up
    assert!(!path.exists() && !program.path().exists());
    let mut rest = Vec::new();
    let _ = lines[2].0.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn a_path_where_no_control_socket_can_be_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "precious").unwrap();
    let used = serve("mtty-1", &directory);
    for (path, words) in [
        (at("none/x"), "there is no directory"),
        (at("file"), "exists and is not a socket; it is left alone"),
        (at("control"), "is in use by another server"),
        (at(&"x".repeat(108)), "is too long"),
    ] {
        let socket = at("own");
        let said = say(&mut mdev_user(&[
            "serve",
            "mtty-1",
            "--socket-path",
            &socket,
            "--control-path",
            &path,
        ]));
        assert!(complaint(&said, 1).contains(words), "{said:?}");
        assert!(!directory.path().join("own").exists());
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    still_answers(&mut Line::connect(&control(&directory)));
    drop(used);
}

#[test]
fn a_stale_control_socket_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = serve("mtty-1", &directory);
    program.signal(Signal::KILL);
    program.wait();
    assert!(control(&directory).exists(), "SIGKILL leaves the socket behind");
    let said = say(&mut super::asking("info", &control(&directory)));
    assert!(complaint(&said, 1).ends_with("nobody listens there any more; start the server again"));
    let _next = serve("mtty-1", &directory);
    still_answers(&mut Line::connect(&control(&directory)));
}

#[test]
fn one_path_for_two_sockets_is_a_wrong_command_line() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(".", directory.path().join("here")).unwrap();
    let absolute = directory.path().join("a").to_str().unwrap().to_owned();
    for (socket, path) in
        [("a", "a"), ("a", "./a"), ("here/a", "a"), (&absolute, "a"), ("none/a", "none/a")]
    {
        let arguments = ["serve", "mtty-1", "--socket-path", socket, "--control-path", path];
        let said = say(mdev_user(&arguments).current_dir(directory.path()));
        let words = "--control-path and --socket-path are the same";
        assert!(complaint(&said, 2).starts_with(words), "{socket} {path}: {said:?}");
        assert!(!directory.path().join("a").exists());
    }
    // A port's is one as well.
    let port = ["--serial0", "unix:a"];
    let serve = ["serve", "mtty-1", "--socket-path"];
    let run = ["run", "mdpy-vga", "mtty-1,serial0=unix:a", "--control-path", "./a", "--", "true"];
    let two = ["run", "mtty-1,serial0=unix:a", "mtty-1,serial0=unix:here/a", "--", "true"];
    for (arguments, words) in [
        (
            [&serve[..], &["here/a"], &port].concat(),
            "--socket-path and serial0 are the same, here/a,",
        ),
        (
            [&serve[..], &["b", "--control-path", "a"], &port].concat(),
            "--control-path and serial0 are the same, a,",
        ),
        (run.to_vec(), "--control-path and serial0 of device 2 are the same, ./a,"),
        (two.to_vec(), "serial0 of device 2 and serial0 of device 1 are the same, here/a,"),
    ] {
        let said = say(mdev_user(&arguments).current_dir(directory.path()));
        assert!(complaint(&said, 2).starts_with(words), "{arguments:?}: {said:?}");
        assert!(!directory.path().join("a").exists() && !directory.path().join("b").exists());
    }
}
