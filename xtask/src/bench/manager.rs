//! A running `mdev-user manage`, its control socket, and what the system says of the process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::report::Result;
use crate::server::Server;

/// A verb is done within this, whatever the machine has to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager with one connection to its control socket.
pub struct Manager {
    server: Server,
    control: BufReader<UnixStream>,
}

/// A device as `create` has answered.
pub struct Made {
    pub uuid: String,
    pub socket: PathBuf,
}

/// What a process has at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// KiB that are resident, but for memory files.
    pub memory: f64,
    /// KiB that its memory files hold, resident here or not: framebuffers.
    pub files: f64,
    pub descriptors: usize,
    pub maps: usize,
    pub threads: usize,
}

impl Manager {
    /// Starts one with these arguments.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let server = Server::manage(program, arguments)?;
        let control = UnixStream::connect(server.control())?;
        control.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { server, control: BufReader::new(control) })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.control.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        self.control.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer.get_mut("ok") {
            Some(value) => Ok(value.take()),
            None => Err(format!("{request} was answered {line}").into()),
        }
    }

    pub fn create(&mut self, kind: &str) -> Result<Made> {
        let made = self.ask(&json!({ "verb": "create", "type": kind }))?;
        let text = |name: &str| -> Result<String> {
            let text = made.get(name).and_then(Value::as_str);
            Ok(text.ok_or_else(|| format!("no {name} in {made}"))?.to_owned())
        };
        Ok(Made { uuid: text("uuid")?, socket: text("socket")?.into() })
    }

    pub fn remove(&mut self, made: &Made) -> Result {
        self.ask(&json!({ "verb": "remove", "uuid": made.uuid }))?;
        Ok(())
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.server.control()
    }

    pub fn stop(self) -> Result {
        self.server.stop()
    }

    /// Below `/proc`.
    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.server.pid().as_raw_nonzero().to_string())
    }

    pub fn held(&self) -> Result<Held> {
        let status = fs::read_to_string(self.process().join("status"))?;
        let kib = |name| number_of(&status, name).map(|it| it as f64);
        // By their inode: a file can have several descriptors.
        let (mut descriptors, mut files) = (0, BTreeMap::new());
        for entry in fs::read_dir(self.process().join("fd"))? {
            let path = entry?.path();
            descriptors += 1;
            if fs::read_link(&path).is_ok_and(|it| it.to_string_lossy().starts_with("/memfd:")) {
                let found = fs::metadata(&path);
                files.extend(found.map(|found| (found.ino(), found.blocks())));
            }
        }
        Ok(Held {
            memory: kib("VmRSS:")? - kib("RssShmem:")?,
            files: files.values().sum::<u64>() as f64 / 2.0,
            descriptors,
            maps: fs::read_to_string(self.process().join("maps"))?.lines().count(),
            threads: fs::read_dir(self.process().join("task"))?.count(),
        })
    }

    /// CPU time of all its threads, in the clock's ticks, and their context switches.
    pub fn worked(&self) -> Result<(u64, u64)> {
        let stat = fs::read_to_string(self.process().join("stat"))?;
        // Behind the name, which can have anything in it.
        let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
        let times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = times.sum::<std::result::Result<u64, _>>()?;
        let mut switches = 0;
        for task in fs::read_dir(self.process().join("task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            switches += number_of(&status, "voluntary_ctxt_switches:")?;
            switches += number_of(&status, "nonvoluntary_ctxt_switches:")?;
        }
        Ok((ticks, switches))
    }
}

fn number_of(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("no {name} of a process"))?.parse()?)
}
