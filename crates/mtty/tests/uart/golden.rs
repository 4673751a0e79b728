//! The transcripts of the kernel sample and of QEMU's 16550A, register by register.
//!
//! The exceptions are those of their README, and no others: LSR's THRE and TEMT while characters wait
//! (sample only), and IIR's c4 and cc, which are both right while characters wait.

use std::fs;

use super::*;

#[test]
fn the_uart_answers_as_the_transcripts_say() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut accesses = 0;
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let qemu = name.contains("@uart");
        if name.starts_with("mtty-") && name.ends_with(".txt") {
            accesses += replay(&name, &fs::read_to_string(&path).unwrap(), qemu);
            files += 1;
        }
    }
    assert!(files >= 16, "{files} transcripts");
    assert!(accesses >= 3000, "{accesses} accesses");
}

/// Returns how many accesses it has made.
fn replay(name: &str, transcript: &str, qemu: bool) -> usize {
    let mut ports = [Port::with_plug(), Port::with_plug()];
    let mut accesses = 0;
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}: {line}", number + 1);
        let (asked, answer) = line.split_once(" -> ").expect(&at);
        let words = Vec::from_iter(asked.split(' '));
        let hex = |word: &str| u8::from_str_radix(word, 16).expect(&at);
        let (["r" | "w", region @ ("0" | "1"), offset, ..], true) = (&words[..], words.len() > 3)
        else {
            continue; // config space, infos and interrupts are the card's
        };
        let port = &mut ports[usize::from(*region == "1")];
        accesses += 1;
        match words[..] {
            ["w", _, _, value] => {
                assert_eq!(answer, "1", "{at}");
                port.write(hex(offset), hex(value));
            }
            ["r", _, _, "1"] => check(&at, hex(offset), port.read(hex(offset)), hex(answer), qemu),
            ["r", _, _, "1", "&", mask] => {
                assert_eq!(port.read(hex(offset)) & hex(mask), hex(answer), "{at}");
            }
            _ => panic!("{at}"),
        }
        port.wait();
    }
    accesses
}

fn check(at: &str, offset: u8, got: u8, expected: u8, qemu: bool) {
    let same = match (offset, expected) {
        (LSR, _) if !qemu && expected & DR != 0 => got & DR != 0,
        (IIR, 0xc4 | 0xcc) => matches!(got, 0xc4 | 0xcc),
        _ => got == expected,
    };
    assert!(same, "{at}: got {got:02x}");
}
