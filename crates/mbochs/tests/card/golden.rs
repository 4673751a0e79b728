//! The transcripts of the kernel's sample, all lines of all of them.
//!
//! The exceptions are those of their README, and no others.

use std::fmt::Write;
use std::fs;

use super::*;

#[test]
fn the_device_answers_as_the_transcripts_say() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let (mut files, mut lines, mut pictures) = (0, 0, 0);
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("mbochs-") && name.ends_with(".txt") {
            let of = replay(&name, &fs::read_to_string(&path).unwrap());
            (files, lines, pictures) = (files + 1, lines + of.0, pictures + of.1);
        }
    }
    assert_eq!(files, 6);
    assert!(lines > 2000 && pictures > 150, "{lines} lines, {pictures} pictures");
}

/// Returns how many lines have been held against the device, and how many of these are about pictures.
fn replay(name: &str, transcript: &str) -> (usize, usize) {
    let kind = name.split_once('@').unwrap().0;
    let mut device = card(kind);
    // VIDEO_MEMORY_64K.
    let memory = match kind {
        "mbochs-small" => "4000",
        "mbochs-medium" => "0001",
        _ => "0004",
    };
    let (mut lines, mut pictures) = (0, 0);
    // Whether the sample has just refused a picture for the first time.
    let mut refused = false;
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}: {line}", number + 1);
        let (asked, expected) = line.split_once(" -> ").expect(&at);
        if refused {
            assert!(line.starts_with("gfx dmabuf -> probe 0 format "), "{at}: after a refusal");
        }
        refused = line == "gfx dmabuf -> probe 0 query errno 12";
        if refused {
            continue;
        }
        let got = answer(&mut device, asked, &at);
        assert!(holds(asked, expected, &got, memory), "{at}: got {got}");
        lines += 1;
        pictures += usize::from(asked == "gfx dmabuf");
    }
    (lines, pictures)
}

/// The exceptions.
fn holds(asked: &str, expected: &str, got: &str, memory: &str) -> bool {
    match asked {
        "info" => got == expected.replace("flags 2 ", "flags 3 "),
        "region 7" => got == expected.replace("size ff", "size 100"),
        "irqinfo 3" => got == "flags 9 count 1",
        // Read-only here and in hardware: whatever has been stored, they hold what they began with.
        "r 2 500 2" => got == "c5b0",
        "r 2 514 2" => got == memory,
        _ => got == expected,
    }
}

/// What the device says to a line's question.
fn answer(device: &mut Device, asked: &str, at: &str) -> String {
    let words = Vec::from_iter(asked.split(' '));
    let hex = |word: &str| u64::from_str_radix(word, 16).expect(at);
    let index = |word: &str| word.parse::<u32>().expect(at);
    match words[..] {
        ["info"] => {
            let flags = 2 | u32::from(device.can_reset());
            let irqs = (0..).take_while(|&index| device.irqs().info(index).is_some()).count();
            format!("flags {flags:x} regions {} irqs {irqs}", device.num_regions())
        }
        ["region", region] => {
            let region = device.region(index(region)).expect(at);
            let readable = u32::from(region.size() != 0 && !region.is_write_only());
            let writable = u32::from(region.size() != 0 && !region.is_read_only());
            let mapped = u32::from(region.memory().is_some());
            let capable = u32::from(region.kind().is_some() || region.areas().is_some());
            let flags = readable | writable << 1 | mapped << 2 | capable << 3;
            format!("flags {flags:x} size {:x}", region.size())
        }
        ["irqinfo", irq] => {
            let info = device.irqs().info(index(irq)).expect(at);
            format!("flags {:x} count {}", info.flags.bits(), info.count)
        }
        ["reset"] => {
            device.reset();
            "ok".into()
        }
        ["gfx", "dmabuf"] => {
            let mut said = (0, 0, 0, 0, 0);
            if let Some(it) = device.display() {
                assert!(it.offset + it.size <= it.memory.size(), "{at}");
                said = (it.format, it.width, it.height, it.stride, it.size);
            }
            let (format, width, height, stride, size) = said;
            format!(
                "probe 0 format {format:08x} {width}x{height} stride {stride} size {size} pos 0,0 hot 0,0"
            )
        }
        ["r", region, offset, length] => {
            let mut data = vec![0xee; length.parse().expect(at)];
            device.region_read(index(region), hex(offset), &mut data).expect(at);
            data.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            })
        }
        ["w", region, offset, bytes] => {
            let digits = |at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap();
            let data: Vec<_> = (0..bytes.len()).step_by(2).map(digits).collect();
            device.region_write(index(region), hex(offset), &data).expect(at);
            data.len().to_string()
        }
        _ => panic!("{at}"),
    }
}
