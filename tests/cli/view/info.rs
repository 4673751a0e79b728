//! `mdev-user info`: what it tells of a device and its client, for people, programs and Prometheus.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::{Display, asking, control, serve};
use crate::vfio::command;
use crate::{client, complaint, mdev_user, say};

/// Of the first device.
#[track_caller]
fn info(display: &Display) -> Value {
    let said = display.ask("info", &["--json"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    let mut value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["devices"].as_array().unwrap().len(), 1);
    value["devices"][0].take()
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let said = say(&mut mdev_user(&["info", "-c", "x", "--json", "--metrics"]));
    assert!(complaint(&said, 2).contains("'--json' cannot be used with '--metrics'"), "{said:?}");
    let said = say(&mut mdev_user(&["info"]));
    assert!(complaint(&said, 2).contains("--control-path <PATH>"), "{said:?}");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let said = say(asking("info", &control(&directory)).args(["--device", "vfio7"]));
    let words = "ENODEV: there is no device 'vfio7', the devices are vfio0";
    assert_eq!(complaint(&said, 1), words);
}

#[test]
fn an_answer_without_devices_is_not_taken_for_none() {
    for answer in [json!({"ok": {}}), json!({"ok": {"devices": null}}), json!({"ok": 5})] {
        let answer = format!("{answer}\n");
        let server = super::server::Server::new(move |_| Some((answer.clone().into(), Vec::new())));
        for form in [&[][..], &["--json"], &["--metrics"]] {
            let said = say(asking("info", &server.path()).args(form));
            assert!(complaint(&said, 1).starts_with("the answer names no devices; "), "{said:?}");
        }
    }
}

#[test]
fn a_device_nobody_uses_has_no_client_and_no_counts() {
    let directory = tempfile::tempdir().unwrap();
    let program = serve("mtty-2", &directory);
    let said = say(asking("info", &control(&directory)).arg("--json"));
    let value: Value = serde_json::from_str(&said.out).unwrap();
    let device = &value["devices"][0];
    assert_eq!((&device["client"], &device["plane"]), (&Value::Null, &Value::Null));
    assert_eq!((&device["state"], &device["open_count"]), (&json!("registered"), &json!(0)));
    assert_eq!(device["socket"], program.path().to_str().unwrap());
    let counters = &device["counters"];
    for counter in ["clients", "refused", "bytes_received", "bytes_sent", "interrupts"] {
        assert_eq!(counters[counter], 0, "{counter}");
    }
    assert!(counters["messages"].as_object().unwrap().values().all(|count| count == 0));
}

#[test]
fn what_a_client_does_is_counted() {
    let mut display = Display::vga();
    let before = info(&display);
    for _ in 0..10 {
        display.client.read(0, 0, 4);
    }
    for _ in 0..3 {
        display.client.write(0, 0, &[1, 2]);
    }
    display.client.call(99, &[]).refused(95); // no such command: ENOTSUP
    display.client.call(command::REGION_READ, &[0; 3]).refused(22);
    let after = info(&display);
    let rise = |name: &str| {
        let count = |info: &Value| info.pointer(name).and_then(Value::as_u64).unwrap();
        count(&after) - count(&before)
    };
    for (name, expected) in [
        ("/counters/messages/region-read", 11),
        ("/counters/messages/region-write", 3),
        ("/counters/messages/unknown", 1),
        ("/counters/messages/version", 0),
        ("/counters/refused", 2),
        ("/counters/clients", 0),
        ("/counters/interrupts", 0),
        // Headers of 16 bytes; accesses of 16 and their data.
        ("/counters/bytes_received", 10 * 32 + 3 * 34 + 16 + 19),
        ("/counters/bytes_sent", 10 * 36 + 3 * 32 + 16 + 16),
    ] {
        assert_eq!(rise(name), expected, "{name}");
    }
    assert_eq!(after["counters"]["messages"]["version"], 1);
    assert_eq!(after["counters"]["clients"], 1);
    assert_eq!(after["open_count"], 1);
    assert_eq!(after["plane"]["width"], 640);

    // The next client, and messages of a stranger who never becomes one.
    drop(display.client);
    let directory = &display.directory;
    drop(client(&display.program.path()));
    let said = say(asking("info", &control(directory)).arg("--json"));
    let value: Value = serde_json::from_str(&said.out).unwrap();
    let counters = &value["devices"][0]["counters"];
    assert_eq!(counters["clients"], 2);
    assert_eq!(counters["messages"]["region-read"], after["counters"]["messages"]["region-read"]);
}

#[test]
fn interrupts_that_were_signalled_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let program = serve("mtty-1", &directory);
    let mut client = crate::vfio::Client::negotiated(&program.path());
    let eventfd = crate::vfio::eventfd(0);
    let fds = [std::os::fd::AsFd::as_fd(&eventfd)];
    client.set_irqs([4 | 0x20, 0, 0, 1], &[], &fds).ok(); // an eventfd for INTx, to trigger
    for _ in 0..3 {
        client.set_irqs([1 | 0x20, 0, 0, 1], &[], &[]).ok(); // no data, trigger: once
        client.set_irqs([1 | 0x10, 0, 0, 1], &[], &[]).ok(); // unmask
    }
    let said = say(asking("info", &control(&directory)).arg("--json"));
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["devices"][0]["counters"]["interrupts"], 3, "{value}");
}

#[test]
fn the_client_is_the_process_that_connected() {
    let display = Display::vga();
    let comm = fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
    let expected = json!({ "number": 0, "pid": std::process::id(), "comm": comm.trim_end() });
    assert_eq!(info(&display)["client"], expected);
    let text = display.ask("info", &[]).out;
    let line = format!("  client     {} (pid {})\n", comm.trim_end(), std::process::id());
    assert!(text.contains(&line), "{text}");
}

#[test]
fn for_people_it_is_a_few_lines_of_printable_text() {
    let mut display = Display::vga();
    display.client.read(0, 0, 4);
    let said = display.ask("info", &["--device", "vfio0"]);
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].starts_with("vfio0 (mdpy-vga) "), "{said:?}");
    let socket = format!("  socket     {}", display.program.path().display());
    for line in [
        "  state      registered, open count 1",
        &socket,
        "  picture    640x480 XR24, stride 2560, offset 0",
        "  clients    1",
        "  messages   device-get-region-info 1, region-read 1, version 1",
        "  refused    0",
        "  interrupts 0",
    ] {
        assert!(lines.contains(&line), "{line}: {said:?}");
    }
}

/// A sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Takes a line of the text format apart; `None` if it is not of it.
fn sample(line: &str) -> Option<Sample> {
    let is_name = |text: &str| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
            && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    let (name, rest) = line.split_once('{')?;
    let mut rest = rest;
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    it @ ('\\' | '"') => value.push(it),
                    _ => return None,
                },
                (_, it) => value.push(it),
            }
        };
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
        (is_name(label) && labels.insert(label.into(), value).is_none()).then_some(())?;
    }
    let value = rest.strip_prefix("} ")?.parse().ok()?;
    is_name(name).then(|| (name.to_owned(), labels, value))
}

#[test]
fn metrics_are_in_the_text_format_each_with_its_help_and_type_and_device() {
    let mut display = Display::vga();
    for _ in 0..5 {
        display.client.read(0, 0, 4);
    }
    let before = info(&display);
    let uuid = before["uuid"].as_str().unwrap().to_owned();
    let said = display.ask("info", &["--metrics"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert!(said.out.ends_with('\n'));

    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = None;
    let mut current = String::new();
    let mut samples: Vec<Sample> = Vec::new();
    for line in said.out.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty() && !kinds.contains_key(name), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped.take().as_deref(), Some(name), "HELP comes before TYPE");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            kinds.insert(name.into(), kind.into());
            current = name.into();
        } else {
            let sample = sample(line).unwrap_or_else(|| panic!("not a sample: {line}"));
            assert_eq!(sample.0, current, "samples follow their TYPE");
            assert!(sample.0.starts_with("mdev_user_"), "{line}");
            assert_eq!((&*sample.1["device"], &sample.1["uuid"]), ("vfio0", &uuid), "{line}");
            let same = |other: &&Sample| (&other.0, &other.1) == (&sample.0, &sample.1);
            assert_eq!(samples.iter().find(same), None, "twice");
            samples.push(sample);
        }
    }
    let value = |name: &str, label: Option<(&str, &str)>| {
        let has = |labels: &BTreeMap<String, String>| {
            label.is_none_or(|(label, value)| labels.get(label).is_some_and(|it| it == value))
        };
        let found: Vec<_> =
            samples.iter().filter(|(it, labels, _)| it == name && has(labels)).collect();
        assert_eq!(found.len(), 1, "{name} {label:?}");
        found[0].2
    };
    assert_eq!(value("mdev_user_device", Some(("type", "mdpy-vga"))), 1.0);
    assert_eq!(value("mdev_user_device", Some(("state", "registered"))), 1.0);
    assert_eq!(value("mdev_user_client", None), 1.0);
    assert_eq!(value("mdev_user_open_count", None), 1.0);
    assert_eq!(value("mdev_user_plane_width_pixels", None), 640.0);
    assert_eq!(value("mdev_user_plane_height_pixels", None), 480.0);
    assert_eq!(value("mdev_user_clients_total", None), 1.0);
    assert_eq!(value("mdev_user_messages_total", Some(("command", "region-read"))), 5.0);
    assert_eq!(value("mdev_user_messages_total", Some(("command", "dma-map"))), 0.0);
    assert_eq!(value("mdev_user_refused_total", None), 0.0);
    // Nothing was said meanwhile; and the two are not the same.
    let bytes = |name: &str| before["counters"][name].as_f64().unwrap();
    assert_eq!(value("mdev_user_received_bytes_total", None), bytes("bytes_received"));
    assert_eq!(value("mdev_user_sent_bytes_total", None), bytes("bytes_sent"));
    assert_ne!(bytes("bytes_received"), bytes("bytes_sent"));
    assert_eq!(value("mdev_user_interrupts_total", None), 0.0);
    assert!(kinds.keys().all(|name| samples.iter().any(|it| it.0 == *name)), "{kinds:?}");
}

#[test]
fn a_hostile_label_is_escaped() {
    let info = json!({"ok": {"devices": [{"node": "a\"b\\c\nd", "type": "x", "open_count": 1}]}});
    let server =
        super::server::Server::new(move |_| Some((format!("{info}\n").into(), Vec::new())));
    let said = say(asking("info", &server.path()).arg("--metrics"));
    let samples: Vec<_> = said
        .out
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| sample(line).unwrap())
        .collect();
    assert!(samples.iter().all(|(_, labels, _)| labels["device"] == "a\"b\\c\nd"), "{said:?}");
    assert!(samples.len() >= 3);

    let info = json!({"ok": {"devices": [{"node": "a\u{1b}[2J\u{7}", "uuid": "\r\u{9b}"}]}});
    let server =
        super::server::Server::new(move |_| Some((format!("{info}\n").into(), Vec::new())));
    let said = say(asking("info", &server.path()).arg("--metrics"));
    assert!(said.out.contains(r#"mdev_user_client{device="a?[2J?",uuid="??"} 0"#), "{said:?}");
}

#[test]
fn a_text_that_turns_what_is_around_it_is_shown_without_that() {
    // Marks, embeddings and overrides, isolates; and text that is written from the right by itself.
    let turns = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    let name = format!("a{turns}b \u{5d0}");
    let shown = "a????????????b \u{5d0}";
    let info = json!({"ok": {"devices": [{"node": name, "type": "x"}]}});
    let error = json!({"error": {"errno": "EINVAL", "message": name}});
    for (answer, option) in [(&info, None), (&info, Some("--metrics")), (&error, None)] {
        let answer = format!("{answer}\n");
        let server = super::server::Server::new(move |_| Some((answer.clone().into(), Vec::new())));
        let said = say(asking("info", &server.path()).args(option));
        let text = said.out.clone() + &said.err;
        assert!(text.contains(shown), "{option:?}: {text}");
        assert!(!text.contains(|it| turns.contains(it)), "{option:?}: {text:?}");
    }
}

#[test]
fn metrics_of_two_servers_have_no_sample_in_common() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let _programs = [serve("mtty-1", &directories[0]), serve("mtty-1", &directories[1])];
    let series = directories.each_ref().map(|directory| {
        let said = say(asking("info", &control(directory)).arg("--metrics"));
        let samples = said.out.lines().filter_map(sample);
        samples.map(|(name, labels, _)| (name, labels)).collect::<Vec<_>>()
    });
    assert!(series[0].len() > 20, "{series:?}");
    assert!(series[0].iter().all(|one| !series[1].contains(one)), "{series:?}");
}
