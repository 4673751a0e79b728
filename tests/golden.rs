#![cfg(test)]
//! Every transcript of an mtty holds over the wire, against the built program.
//!
//! The transcripts, their form and the exceptions are explained in `crates/mtty/tests/golden/README.md`. The exceptions
//! are in `holds`, and nowhere else.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use client::{Client, access, command, words};
use program::Program;

const CONFIG: &str = "7";
/// Registers of a port.
const IIR: &str = "2";
const LSR: &str = "5";
/// Data ready, in LSR.
const DR: u8 = 0x01;

#[test]
fn every_transcript_of_the_kernel_s_mtty_holds() {
    assert_eq!(replay_all(Oracle::Sample), (12, 3678), "files, lines");
}

#[test]
fn every_transcript_of_qemu_s_16550a_holds() {
    assert_eq!(replay_all(Oracle::Qemu), (4, 814), "files, lines");
}

/// Who gave the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oracle {
    /// The kernel's sample, a UART only where it and the hardware agree.
    Sample,
    /// A right 16550A.
    Qemu,
}

/// Each transcript drives a device of its own. Returns how many there were, and how many lines.
fn replay_all(oracle: Oracle) -> (usize, usize) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/mtty/tests/golden");
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
    let program = Program::serve(name.split_once('@').unwrap().0);
    let mut player =
        Player { client: Client::negotiated(&program.path()), eventfds: BTreeMap::new() };
    let transcript = fs::read_to_string(path).unwrap();
    for (number, line) in transcript.lines().enumerate() {
        let (asked, expected) = line.split_once(" -> ").expect(line);
        let asked: Vec<_> = asked.split(' ').collect();
        // The character time-out is the one thing that time brings about, and IIR the one place where it shows.
        if oracle == Oracle::Qemu && matches!(asked[..], ["r", _, IIR, ..]) {
            thread::sleep(Duration::from_millis(5));
        }
        let got = player.play(&asked);
        assert!(holds(oracle, &asked, expected, &got), "{name}:{}: {line}: got {got}", number + 1);
    }
    transcript.lines().count()
}

/// Whether `got` is a right answer where the oracle gave `expected`.
fn holds(oracle: Oracle, asked: &[&str], expected: &str, got: &str) -> bool {
    match asked {
        // RESET may be advertised.
        ["info"] => got.replacen("flags 3", "flags 2", 1) == expected,
        // Configuration space is whole.
        ["region", CONFIG] => got == expected.replacen("size ff", "size 100", 1),
        // An absent region need not be readable and writable.
        ["region", _] if expected == "flags 3 size 0" => got == expected || got == "flags 0 size 0",
        // The sample drops THRE and TEMT while bytes wait.
        ["r", "0" | "1", LSR, "1"] if oracle == Oracle::Sample && byte(expected) & DR != 0 => {
            byte(got) & DR != 0
        }
        // Data ready and character time-out are both right while bytes wait.
        ["r", "0" | "1", IIR, "1"] if matches!(expected, "c4" | "cc") => {
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

    fn info(&mut self) -> String {
        let reply = self.client.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
        format!("flags {:x} regions {} irqs {}", reply.u32(4), reply.u32(8), reply.u32(12))
    }

    fn region(&mut self, index: u32) -> String {
        let body = words(&[32, 0, index, 0, 0, 0, 0, 0]);
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
