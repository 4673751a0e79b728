//! Every verb of the command line, with devices that come, change and go; and who listens to what happens.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::clients::{BAR0, arrive};
use crate::managed::{Launched, Made, end, program, soon};
use crate::stage::Turn;
use crate::vfio::{self, command};

/// Line status of a 16550A: a byte has come.
const DATA_READY: u8 = 0x01;

type Deed = fn(&mut Turn<'_>);

const DEEDS: [Deed; 9] = [look, serial, ends, monitor, picture, fault, refusals, many, reset];

pub fn act(turn: &mut Turn<'_>) {
    let deed = turn.random.pick(&DEEDS);
    deed(turn);
    turn.stage.did("rounds of commands", 1);
    turn.rest(200);
}

fn json(turn: &Turn<'_>, words: &[&str]) -> Value {
    serde_json::from_str(&turn.managed().say(words).ok()).unwrap()
}

/// What can be asked.
fn look(turn: &mut Turn<'_>) {
    let made = turn.create("mtty-1");
    let list = json(turn, &["list", "--json"]).to_string();
    assert!(list.contains(&made.uuid), "{list}");
    let info = json(turn, &["info", "--json", "--device", &made.uuid]);
    assert_eq!(info["devices"][0]["state"], "registered");
    let metrics = turn.managed().say(&["info", "--metrics", "--device", &made.uuid]).ok();
    assert!(metrics.contains(&made.uuid), "{metrics}");
    assert!(json(turn, &["types", "--json"]).is_array());
    turn.managed().say(&["info"]).ok();
    turn.remove(&made);
}

/// `expect` and `send`, and a guest that is a client of our own.
fn serial(turn: &mut Turn<'_>) {
    let made = turn.create("mtty-1,serial0=null");
    let device = ["--device", &*made.uuid];
    let mut client = arrive(&made.socket);
    let word = format!("login {:x}: ", turn.random.next());
    let expect = turn.managed().begin(
        &[&["expect"], &device[..], &["0", "login [0-9a-f]+: ", "--timeout", "20s"]].concat(),
    );
    for byte in word.bytes() {
        client.write(BAR0, 0, &[byte]);
    }
    assert_eq!(end(expect).ok(), format!("{word}\n"));
    let text = format!("{:x}", turn.random.next());
    let send = turn.managed().begin(&[&["send"], &device[..], &["0", &text]].concat());
    // DTR and RTS: what waits for the guest comes.
    client.write(BAR0, 4, &[0x03]);
    let mut came = Vec::new();
    soon("all has come", || {
        while client.read(BAR0, 5, 1)[0] & DATA_READY != 0 {
            came.extend(client.read(BAR0, 0, 1));
        }
        came.len() >= text.len()
    });
    assert_eq!(came, text.as_bytes());
    end(send).ok();
    turn.managed()
        .say(&[&["serial"], &device[..], &["lines", "0", "dcd=off,cts=auto"]].concat())
        .ok();
    turn.managed().say(&[&["serial"], &device[..], &["break", "0"]].concat()).ok();
    turn.managed().say(&[&["serial"], &device[..], &["inject", "0", "framing"]].concat()).ok();
    // In vain, and said so.
    turn.managed()
        .say(&[&["expect"], &device[..], &["0", "never", "--timeout", "50ms"]].concat())
        .refused(1);
    drop(client);
    turn.remove(&made);
    turn.stage.did("words each way", 1);
}

/// What hangs on a port is changed while a client writes.
fn ends(turn: &mut Turn<'_>) {
    let (port, link, file, log) =
        (turn.path("port"), turn.path("pty"), turn.path("file"), turn.path("log"));
    let made = turn.create(&format!("mtty-2,serial0=unix:{},serial1=null", port.display()));
    let mut client = arrive(&made.socket);
    let mut peer = UnixStream::connect(&port).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write(BAR0, 0, b"x");
    let mut byte = [0];
    peer.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    for _ in 0..1 + turn.random.below(5) {
        let spec = match turn.random.below(6) {
            0 => "serial0=tcp::0".to_owned(),
            1 => format!("serial0=pty,path={}", link.display()),
            2 => format!("serial0=file:{},append=on", file.display()),
            3 => format!("serial0=null,logfile={},logappend=on", log.display()),
            4 => "serial0=loopback".to_owned(),
            _ => format!("serial0=unix:{}", port.display()),
        };
        turn.managed().say(&["set", &made.uuid, &spec]).ok();
        client.write(BAR0, 0, b"y");
        turn.rest(30);
    }
    turn.managed().say(&["set", &made.uuid, "pace=on"]).ok();
    drop((peer, client));
    turn.remove(&made);
    for path in [file, log] {
        let _ = std::fs::remove_file(path);
    }
    turn.stage.did("changes", 1);
}

/// Another monitor is plugged in.
fn monitor(turn: &mut Turn<'_>) {
    let made = turn.create("mbochs-medium");
    let mut client = arrive(&made.socket);
    for _ in 0..1 + turn.random.below(4) {
        let (wide, high) = (400 + turn.random.below(800), 400 + turn.random.below(600));
        let mode = [format!("xres={wide}"), format!("yres={high}")];
        turn.managed().say(&["set", &made.uuid, &mode[0], &mode[1]]).ok();
        client.still_in_step();
    }
    turn.managed().say(&["set", &made.uuid, "edid=off"]).ok();
    drop(client);
    turn.remove(&made);
    turn.stage.did("changes", 1);
}

fn picture(turn: &mut Turn<'_>) {
    let (kind, mode) = turn.random.pick(&[
        ("mdpy-vga", "640x480"),
        ("mdpy-xga", "1024x768"),
        ("mdpy-hd", "1920x1080"),
    ]);
    let made = turn.create(kind);
    let client = turn.random.once_in(2).then(|| arrive(&made.socket));
    let file = turn.path("picture");
    let path = file.display().to_string();
    let shot = turn.managed().say(&["screenshot", "--device", &made.uuid, &path]).ok();
    let hash = shot.trim_end().strip_prefix(mode).expect("the mode").trim().to_owned();
    let wait = ["wait", "--device", &made.uuid, "--hash", &hash, "--stable", "100ms"];
    assert_eq!(turn.managed().say(&wait).ok(), shot);
    let other = ["wait", "--device", &made.uuid, "--mode", "1x1", "--timeout", "50ms"];
    turn.managed().say(&other).refused(1);
    std::fs::remove_file(file).unwrap();
    drop(client);
    turn.remove(&made);
    turn.stage.did("pictures", 1);
}

/// It goes wrong on purpose, and well again.
fn fault(turn: &mut Turn<'_>) {
    let made = turn.create("mtty-1");
    let mut client = arrive(&made.socket);
    let spec = "error,errno=EIO,command=region-read,region=bar0,count=always";
    turn.managed().say(&["fault", &made.uuid, spec]).ok();
    client.call(command::REGION_READ, &vfio::access(BAR0, 7, 1, &[])).refused(5);
    turn.managed().say(&["fault", &made.uuid, "stall,command=region-write,region=bar0"]).ok();
    assert_eq!(client.read(BAR0, 7, 1).len(), 1);
    client.send(command::REGION_WRITE, 0, &vfio::access(BAR0, 7, 1, &[1]), &[]);
    turn.managed().say(&["fault", &made.uuid, "off"]).ok();
    drop(client);
    arrive(&made.socket).still_in_step();
    turn.remove(&made);
    turn.stage.did("faults", 2);
}

fn refusals(turn: &mut Turn<'_>) {
    let made = turn.create("mtty-1");
    let managed = turn.managed();
    let line = managed.say(&["create", "mtty-1", "--uuid", &made.uuid]).refused(1);
    assert!(line.contains("EEXIST"), "{line}");
    let line = managed.say(&["create", "mtty-1,serial0=unix:/etc/port"]).refused(1);
    assert!(line.contains("EACCES"), "{line}");
    let none = "00000000-0000-4000-8000-000000000000";
    let line = managed.say(&["remove", none]).refused(1);
    assert!(line.contains("ENODEV"), "{line}");
    managed.say(&["set", &made.uuid, "pace=perhaps"]);
    managed.say(&["screenshot", "--device", &made.uuid, "-"]).refused(1);
    turn.remove(&made);
    turn.stage.did("refusals", 5);
}

/// Of all types, and all at once.
fn many(turn: &mut Turn<'_>) {
    let all: Vec<Made> = (0..5 + turn.random.below(10))
        .map(|_| {
            let kind = turn.random.pick(&["mtty-1", "mtty-2", "mbochs-small"]);
            turn.create(kind)
        })
        .collect();
    for made in &all {
        turn.forget(made);
    }
    let removing: Vec<_> =
        all.iter().map(|made| turn.managed().begin(&["remove", &made.uuid])).collect();
    for removed in removing {
        end(removed).ok();
    }
}

fn reset(turn: &mut Turn<'_>) {
    let made = turn.create("mtty-1");
    let mut client = arrive(&made.socket);
    client.write(BAR0, 7, &[0x5a]);
    turn.managed().say(&["reset", &made.uuid]).ok();
    client.still_in_step();
    drop(client);
    turn.remove(&made);
    turn.stage.did("resets", 1);
}

/// Listens to what happens, or does not take it; and is killed.
pub fn listen(turn: &mut Turn<'_>) {
    let mut command: Command = program();
    command.args(["events", "--json", "--run-dir"]).arg(turn.managed().run_dir());
    let mut child = Launched::spawn(command.stderr(Stdio::null()));
    if turn.random.once_in(3) {
        turn.rest(5000);
    }
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let (mut heard, most) = (0, 1 + turn.random.below(100));
    let made = turn.create("mtty-1");
    turn.remove(&made);
    for _ in 0..most {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert!(event["event"].is_string(), "{line}");
        heard += 1;
        if !turn.is_on() {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    turn.stage.did("events", heard);
}
