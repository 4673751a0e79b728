//! A served card, and a guest that drives its registers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::Program;
use crate::vfio::{Client, access, command};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Registers.
pub const DATA: u64 = 0;
pub const IER: u64 = 1;
pub const IIR: u64 = 2;
pub const FCR: u64 = 2;
pub const LCR: u64 = 3;
pub const MCR: u64 = 4;
pub const LSR: u64 = 5;
pub const MSR: u64 = 6;

/// Bits of LSR: a character is there; it is a break; the transmitter has room.
pub const DR: u8 = 0x01;
pub const BI: u8 = 0x10;
pub const THRE: u8 = 0x20;
/// Bits of MSR.
pub const CTS: u8 = 0x10;
pub const DSR: u8 = 0x20;
pub const DCD: u8 = 0x80;

pub struct Card {
    guest: Client,
    program: Program,
    directory: tempfile::TempDir,
}

impl Card {
    /// An mtty-2 with these options, in which `DIR` is a directory of the test's own. Both ports are open: 115200 8N1,
    /// FIFOs, DTR and RTS.
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        let mut card = Self::start_closed(options);
        (0..2).for_each(|port| card.open(port));
        card
    }

    /// The same with ports that nobody has touched.
    #[track_caller]
    pub fn start_closed(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let in_it = |text: &str| text.replace("DIR", directory.path().to_str().unwrap());
        let mut more = ["--control-path", "DIR/control", "--allow-path", "DIR"].map(in_it).to_vec();
        more.extend(options.iter().map(|option| in_it(option)));
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        let program = Program::serve_with("mtty-2", &more);
        let guest = Client::negotiated(&program.path());
        Self { guest, program, directory }
    }

    pub fn open(&mut self, port: u32) {
        for (register, value) in [(LCR, 0x83), (0, 1), (1, 0), (LCR, 0x03), (FCR, 0x07), (MCR, 3)] {
            self.write(port, register, value);
        }
    }

    /// Has another guest come in its place, and `meanwhile` happen while there is none.
    #[track_caller]
    pub fn change_guests(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        // It leaves when its socket is closed: a stand-in is needed for that long.
        let (stand_in, _) = UnixStream::pair().unwrap();
        self.guest = Client::new(stand_in);
        self.becomes_free();
        meanwhile(self);
        self.becomes_free();
        self.guest = Client::negotiated(&self.program.path());
    }

    /// Who comes before the server has seen the one before leave is sent away.
    #[track_caller]
    fn becomes_free(&mut self) {
        self.soon("the guest has left", |card| {
            let info: Value = serde_json::from_str(&card.tell("info", &["--json"])).unwrap();
            info["devices"][0]["client"].is_null()
        });
    }

    pub fn reset(&mut self) {
        self.guest.call(command::DEVICE_RESET, &[]).ok();
    }

    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&mut self, port: u32, register: u64) -> u8 {
        self.guest.read(port, register, 1)[0]
    }

    pub fn write(&mut self, port: u32, register: u64, value: u8) {
        self.guest.write(port, register, &[value]);
    }

    /// Stores to THR, without waiting for the answer in between.
    pub fn write_burst(&mut self, port: u32, bytes: &[u8]) {
        for byte in bytes {
            self.guest.send(command::REGION_WRITE, 0, &access(port, DATA, 1, &[*byte]), &[]);
        }
        bytes.iter().for_each(|_| drop(self.guest.receive().unwrap().ok()));
    }

    /// Loads from RBR in the same way.
    pub fn read_burst(&mut self, port: u32, count: usize) -> Vec<u8> {
        for _ in 0..count {
            self.guest.send(command::REGION_READ, 0, &access(port, DATA, 1, &[]), &[]);
        }
        (0..count).map(|_| self.guest.receive().unwrap().ok().body[16]).collect()
    }

    /// Sends as much as the transmitter takes now: whole FIFOs, each when the one before it has left. How much that was.
    pub fn transmit(&mut self, port: u32, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for burst in bytes.chunks(16) {
            if self.read(port, LSR) & THRE == 0 {
                break;
            }
            burst.iter().for_each(|byte| self.write(port, DATA, *byte));
            sent += burst.len();
        }
        sent
    }

    /// Sends all of it.
    #[track_caller]
    pub fn send(&mut self, port: u32, bytes: &[u8]) {
        let mut sent = 0;
        self.soon("the transmitter takes it all", |card| {
            sent += card.transmit(port, &bytes[sent..]);
            sent == bytes.len()
        });
    }

    /// What is there to be received now, with the LSR of each.
    pub fn receive(&mut self, port: u32) -> Vec<(u8, u8)> {
        let mut received = Vec::new();
        loop {
            let status = self.read(port, LSR);
            if status & DR == 0 {
                return received;
            }
            received.push((status, self.read(port, DATA)));
        }
    }

    /// The next so many bytes, all of them without an error.
    #[track_caller]
    pub fn hear(&mut self, port: u32, count: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        self.soon("the guest receives it all", |card| {
            for (status, byte) in card.receive(port) {
                assert_eq!(status & 0x9e, 0, "errors in LSR after {} bytes", heard.len());
                heard.push(byte);
            }
            heard.len() >= count
        });
        assert_eq!(heard.len(), count);
        heard
    }

    /// Waits until `done`.
    #[track_caller]
    pub fn soon(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the modem inputs are as they should be.
    #[track_caller]
    pub fn inputs_become(&mut self, port: u32, inputs: u8) {
        self.soon("the modem inputs change", |card| card.read(port, MSR) & 0xf0 == inputs);
    }

    /// Connects to a UNIX socket of that name.
    #[track_caller]
    pub fn connect(&mut self, name: &str) -> UnixStream {
        let peer = UnixStream::connect(self.path(name)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        peer
    }

    /// A command that asks the control socket.
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        command.arg(verb).arg("-c").arg(self.path("control")).args(arguments).stdin(Stdio::null());
        command
    }

    /// What such a command says.
    pub fn ask(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command(verb, arguments).output().unwrap()
    }

    /// The same when it must succeed. What it prints.
    #[track_caller]
    pub fn tell(&self, verb: &str, arguments: &[&str]) -> String {
        let output = self.ask(verb, arguments);
        assert_eq!(error(&output), "", "{verb} {arguments:?}");
        assert!(output.status.success(), "{verb} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A port as `info` has it.
    pub fn info(&self, port: usize) -> Value {
        let info: Value = serde_json::from_str(&self.tell("info", &["--json"])).unwrap();
        info["devices"][0]["ports"][port].clone()
    }
}

pub fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Reads so many bytes.
#[track_caller]
pub fn take(peer: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

#[track_caller]
pub fn give(peer: &mut impl Write, bytes: &[u8]) {
    peer.write_all(bytes).unwrap();
}
