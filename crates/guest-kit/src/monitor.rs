//! QEMU's monitor, as its machine protocol QMP has it: devices come and go while the guest runs.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::console::Missed;
use crate::{Error, Guest, Result};

/// For QEMU's answer to a command, on a machine that is busy.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Monitor {
    input: UnixStream,
    /// What QEMU says, an object a line.
    output: Receiver<Value>,
    /// Events that nobody has waited for yet.
    events: Vec<Value>,
    /// Where the socket is.
    _directory: TempDir,
}

impl Monitor {
    /// One for a monitor's socket.
    pub(crate) fn directory() -> Result<TempDir> {
        let directory = tempfile::Builder::new().prefix("mdev-user-qmp-").tempdir();
        directory.map_err(Error::io("create a directory in", &std::env::temp_dir()))
    }

    /// QEMU's argument for a monitor in this directory.
    pub(crate) fn argument(directory: &Path) -> String {
        // A comma in a path is written twice.
        let path = directory.join("qmp").display().to_string().replace(',', ",,");
        format!("unix:{path},server=on,wait=off")
    }

    /// Connects to a QEMU that runs.
    pub(crate) fn connect(directory: TempDir) -> Result<Self> {
        let path = directory.path().join("qmp");
        let input = UnixStream::connect(&path).map_err(Error::io("connect to", &path))?;
        let stream = input.try_clone().map_err(Error::io("use", &path))?;
        let (sender, output) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let said = line.and_then(|line| Ok(serde_json::from_str(&line)?));
                if !said.is_ok_and(|said| sender.send(said).is_ok()) {
                    return; // QEMU has ended, or the guest is dropped
                }
            }
        });
        Ok(Self { input, output, events: Vec::new(), _directory: directory })
    }

    fn say(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        writeln!(self.input, "{}", json!({ "execute": command, "arguments": arguments }))
    }

    /// QEMU's answer to what was said last.
    fn answer(&mut self, deadline: Instant) -> Result<Value, Missed> {
        loop {
            let said = self.next(deadline)?;
            if said.get("event").is_some() {
                self.events.push(said);
            } else if said.get("QMP").is_none() {
                return Ok(said);
            }
        }
    }

    /// Takes an event about this device out of those that have come and come.
    fn event(&mut self, name: &str, device: &str, deadline: Instant) -> Result<(), Missed> {
        let is_it = |said: &Value| {
            said.get("event").is_some_and(|event| event == name)
                && said.pointer("/data/device").is_some_and(|it| it == device)
        };
        if let Some(at) = self.events.iter().position(is_it) {
            self.events.remove(at);
            return Ok(());
        }
        loop {
            let said = self.next(deadline)?;
            if is_it(&said) {
                return Ok(());
            }
            self.events.push(said);
        }
    }

    fn next(&mut self, deadline: Instant) -> Result<Value, Missed> {
        let rest = deadline.saturating_duration_since(Instant::now());
        self.output.recv_timeout(rest).map_err(|error| match error {
            RecvTimeoutError::Timeout => Missed::TimedOut,
            RecvTimeoutError::Disconnected => Missed::Ended,
        })
    }
}

/// For a guest with a [monitor](crate::Builder::monitor).
impl Guest {
    pub(crate) fn attach(&mut self, monitor: Monitor) -> Result<()> {
        self.monitor = Some(monitor);
        self.execute("qmp_capabilities", &json!({})).map(drop)
    }

    /// Has QEMU's monitor execute a command; what that returns.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let Some(monitor) = &mut self.monitor else { return Err(Error::NoMonitor) };
        let answer = match monitor.say(command, arguments) {
            Ok(()) => monitor.answer(Instant::now() + ANSWER),
            Err(_) => Err(Missed::Ended),
        };
        let mut answer = answer
            .map_err(|missed| self.missed(missed, ANSWER, &format!("answer to {command}")))?;
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(Error::Monitor {
                command: command.to_owned(),
                said: match answer.pointer("/error/desc").and_then(Value::as_str) {
                    Some(words) => words.to_owned(),
                    None => answer.to_string(),
                },
            }),
        }
    }

    /// Waits for an event about a device of QEMU's, unless it has come already.
    pub fn wait_for_event(&mut self, name: &str, device: &str, within: Duration) -> Result<()> {
        let Some(monitor) = &mut self.monitor else { return Err(Error::NoMonitor) };
        let waited = monitor.event(name, device, Instant::now() + within);
        waited.map_err(|missed| self.missed(missed, within, &format!("{name} of {device}")))
    }

    /// Plugs the vfio-user device that is served at `socket` into a [slot](crate::Builder::slot), or into another bus
    /// of QEMU's, by the name `id`. The guest has been told of it when this returns, and has not looked yet.
    pub fn plug(&mut self, id: &str, slot: &str, socket: &Path) -> Result<()> {
        let device = json!({
            "driver": "vfio-user-pci",
            "socket": { "type": "unix", "path": socket.to_string_lossy() },
            "id": id,
            "bus": slot,
        });
        self.execute("device_add", &device).map(drop)
    }

    /// Asks the guest to let go of a device that was plugged in, and waits until it has, and QEMU too.
    pub fn unplug(&mut self, id: &str, within: Duration) -> Result<()> {
        self.execute("device_del", &json!({ "id": id }))?;
        self.wait_for_event("DEVICE_DELETED", id, within)
    }
}
