#![cfg(test)]
//! Every transcript of a kernel sample holds over the wire, against the built program.
//!
//! The transcripts, their form and the exceptions are explained in `README.md` of `crates/*/tests/golden`. The exceptions
//! are in `holds`, and nowhere else; what the program is asked in another way is in `Player`.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use client::{Client, access, command, words};
use program::Program;
use serde_json::Value;

const CONFIG: &str = "7";
/// The error irq index.
const ERR: &str = "3";
/// BAR 2 of mbochs, and its registers that no guest can change: ID and VIDEO_MEMORY_64K.
const MMIO: &str = "2";
const ID: &str = "500";
const MEMORY_64K: &str = "514";
/// Registers of a port.
const IIR: &str = "2";
const LSR: &str = "5";
/// Data ready, in LSR.
const DR: u8 = 0x01;

#[test]
fn every_transcript_of_the_kernel_s_mtty_holds() {
    assert_eq!(replay_all("mtty", Oracle::Sample), (12, 3678), "files, lines");
}

#[test]
fn every_transcript_of_qemu_s_16550a_holds() {
    assert_eq!(replay_all("mtty", Oracle::Qemu), (4, 814), "files, lines");
}

#[test]
fn every_transcript_of_the_kernel_s_mdpy_holds() {
    assert_eq!(replay_all("mdpy", Oracle::Sample), (6, 508), "files, lines");
}

#[test]
fn every_transcript_of_the_kernel_s_mbochs_holds() {
    assert_eq!(replay_all("mbochs", Oracle::Sample), (6, 2122), "files, lines");
}

/// Who gave the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oracle {
    /// The kernel's sample; of a UART only where it and the hardware agree.
    Sample,
    /// A right 16550A.
    Qemu,
}

/// Each transcript drives a device of its own. Returns how many there were, and how many lines.
fn replay_all(sample: &str, oracle: Oracle) -> (usize, usize) {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crates/{sample}/tests/golden"));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let by = if name.contains("@uart") { Oracle::Qemu } else { Oracle::Sample };
        name.ends_with(".txt") && by == oracle
    };
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(is_ours).collect();
    thread::scope(|scope| {
        let each: Vec<_> =
            files.iter().map(|path| scope.spawn(move || replay(path, oracle))).collect();
        (each.len(), each.into_iter().map(|it| it.join().unwrap()).sum())
    })
}

/// Drives a fresh device of the type that the file's name begins with. Returns the number of lines.
fn replay(path: &Path, oracle: Oracle) -> usize {
    let name = path.file_name().unwrap().to_str().unwrap();
    let kind = name.split_once('@').unwrap().0;
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    let mut options = vec!["--control-path", control.to_str().unwrap()];
    if kind.starts_with("mbochs") {
        options.push("--edid=off");
    }
    let program = Program::serve_with(kind, &options);
    let mut player = Player {
        client: Client::negotiated(&program.path()),
        control: UnixStream::connect(&control).unwrap(),
        eventfds: BTreeMap::new(),
    };
    let transcript = fs::read_to_string(path).unwrap();
    for (number, line) in transcript.lines().enumerate() {
        let (asked, expected) = line.split_once(" -> ").expect(line);
        let asked: Vec<_> = asked.split(' ').collect();
        // The character time-out is the one thing that time brings about, and IIR the one place where it shows.
        if oracle == Oracle::Qemu && matches!(asked[..], ["r", _, IIR, ..]) {
            thread::sleep(Duration::from_millis(5));
        }
        let got = player.play(&asked);
        assert!(
            holds(kind, oracle, &asked, expected, &got),
            "{name}:{}: {line}: got {got}",
            number + 1
        );
    }
    transcript.lines().count()
}

/// Whether `got` is a right answer where the oracle gave `expected`.
fn holds(kind: &str, oracle: Oracle, asked: &[&str], expected: &str, got: &str) -> bool {
    let is_mtty = kind.starts_with("mtty");
    match asked {
        // RESET may be advertised.
        ["info"] => got.replacen("flags 3", "flags 2", 1) == expected,
        // Configuration space is whole.
        ["region", CONFIG] => got == expected.replacen("size ff", "size 100", 1),
        // An absent region need not be readable and writable.
        ["region", _] if expected == "flags 3 size 0" => got == expected || got == "flags 0 size 0",
        // One error interrupt, so that QEMU does not warn.
        ["irqinfo", ERR] => got == "flags 9 count 1",
        // A plane in a region, which ours is in any case; the sample mdpy has no other.
        ["gfx", "dmabuf"] if expected == "probe 22 query errno 22" => true,
        // The sample fails the first time that it is asked for a mode.
        ["gfx", "dmabuf"] if expected == "probe 0 query errno 12" => true,
        // Hardware does not let these be written.
        ["r", MMIO, ID, "2"] => got == "c5b0",
        ["r", MMIO, MEMORY_64K, "2"] => {
            let units = match kind {
                "mbochs-small" => "4000",
                "mbochs-medium" => "0001",
                _ => "0004",
            };
            got == units
        }
        // The sample drops THRE and TEMT while bytes wait.
        ["r", "0" | "1", LSR, "1"]
            if is_mtty && oracle == Oracle::Sample && byte(expected) & DR != 0 =>
        {
            byte(got) & DR != 0
        }
        // Data ready and character time-out are both right while bytes wait.
        ["r", "0" | "1", IIR, "1"] if is_mtty && matches!(expected, "c4" | "cc") => {
            matches!(got, "c4" | "cc")
        }
        _ => got == expected,
    }
}

fn byte(hex: &str) -> u8 {
    u8::from_str_radix(hex, 16).unwrap()
}

struct Player {
    client: Client,
    control: UnixStream,
    eventfds: BTreeMap<u32, OwnedFd>,
}

impl Player {
    /// Does what the left half of a line asks for, and returns what belongs in its right half.
    fn play(&mut self, asked: &[&str]) -> String {
        let decimal = |word: &str| word.parse::<u32>().unwrap();
        let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
        match *asked {
            ["info"] => self.info(),
            ["region", index] => self.region(decimal(index)),
            ["irqinfo", index] => self.irq(decimal(index)),
            ["r", region, offset, length] => {
                hex_of(&self.read(decimal(region), hex(offset), decimal(length)))
            }
            ["r", region, offset, "1", "&", mask] => {
                let value = self.read(decimal(region), hex(offset), 1)[0];
                hex_of(&[value & byte(mask)])
            }
            ["w", region, offset, bytes] => {
                let bytes: Vec<u8> = bytes
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| byte(str::from_utf8(pair).unwrap()))
                    .collect();
                self.client.write(decimal(region), hex(offset), &bytes);
                bytes.len().to_string()
            }
            ["eventfd", index] => {
                let eventfd = client::eventfd(0);
                // DATA_EVENTFD, ACTION_TRIGGER
                self.client.set_irqs([0x24, decimal(index), 0, 1], &[], &[eventfd.as_fd()]).ok();
                self.eventfds.insert(decimal(index), eventfd);
                "ok".into()
            }
            ["reset"] => {
                self.client.call(command::DEVICE_RESET, &[]).ok();
                "ok".into()
            }
            ["sum", region, length] => {
                let mapped = self.client.region_info(decimal(region), 32).ok();
                let mut bytes = vec![0; length.parse().unwrap()];
                assert_eq!(rustix::io::pread(&mapped.fds[0], &mut bytes, 0), Ok(bytes.len()));
                let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                    (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
                });
                format!("fnv {sum:016x}")
            }
            // vfio-user cannot be asked this: the viewers' socket can.
            ["gfx", _] => format!("probe 0 {}", self.plane()),
            ["fired", index] => client::count(&self.eventfds[&decimal(index)]).to_string(),
            _ => panic!("no such line: {asked:?}"),
        }
    }

    fn read(&mut self, region: u32, offset: u64, length: u32) -> Vec<u8> {
        let body = access(region, offset, length, &[]);
        let reply = self.client.call(command::REGION_READ, &body).ok();
        assert_eq!(reply.body.len(), 16 + length as usize);
        reply.body[16..].to_vec()
    }

    fn plane(&mut self) -> String {
        self.control.write_all(b"{\"verb\": \"plane\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(&self.control).read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let plane = &answer["ok"]["plane"];
        let number = |name: &str| plane[name].as_u64().unwrap_or_default();
        format!(
            "format {:08x} {}x{} stride {} size {} pos 0,0 hot 0,0",
            number("fourcc"),
            number("width"),
            number("height"),
            number("stride"),
            number("size")
        )
    }

    fn info(&mut self) -> String {
        let reply = self.client.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
        format!("flags {:x} regions {} irqs {}", reply.u32(4), reply.u32(8), reply.u32(12))
    }

    fn region(&mut self, index: u32) -> String {
        let body = words(&[256, 0, index, 0, 0, 0, 0, 0]);
        let reply = self.client.call(command::DEVICE_GET_REGION_INFO, &body).ok();
        format!("flags {:x} size {:x}", reply.u32(4), reply.u64(16))
    }

    fn irq(&mut self, index: u32) -> String {
        let body = words(&[16, 0, index, 0]);
        let reply = self.client.call(command::DEVICE_GET_IRQ_INFO, &body).ok();
        format!("flags {:x} count {}", reply.u32(4), reply.u32(12))
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
