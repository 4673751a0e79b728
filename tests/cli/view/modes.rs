//! A display whose guest sets modes: no picture at first, rows with padding, pages that are flipped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::screenshot::decoded;
use super::{Line, asking, control, drawing, serve};
use crate::program::Program;
use crate::vfio::Client;
use crate::{complaint, end, say};

/// Registers in BAR 2, 16 bits each, as the VBE display API of Bochs has them.
const XRES: u64 = 0x502;
const YRES: u64 = 0x504;
const BPP: u64 = 0x506;
const ENABLE: u64 = 0x508;
const VIRT_WIDTH: u64 = 0x50c;
const X_OFFSET: u64 = 0x510;
const Y_OFFSET: u64 = 0x512;

/// An `mbochs-small`, its driver and its memory.
struct Display {
    client: Client,
    memory: File,
    _program: Program,
    directory: TempDir,
}

impl Display {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = serve("mbochs-small", &directory);
        let mut client = Client::negotiated(&program.path());
        let memory = client.region_info(0, 4096).ok().fds.remove(0).into();
        Self { client, memory, _program: program, directory }
    }

    fn set(&mut self, register: u64, value: u16) {
        self.client.write(2, register, &value.to_le_bytes());
    }

    /// Sets a mode: width, height, width with padding, and where the picture begins.
    fn set_mode(&mut self, [width, height, padded, x, y]: [u16; 5]) {
        self.set(ENABLE, 0);
        for (register, value) in [
            (BPP, 32),
            (XRES, width),
            (YRES, height),
            (VIRT_WIDTH, padded),
            (X_OFFSET, x),
            (Y_OFFSET, y),
            (ENABLE, 0x41),
        ] {
            self.set(register, value);
        }
    }
}

/// The bytes of a PNG file that a screenshot has written, if it could.
#[track_caller]
fn shot(control: &Path, out: &Path) -> Option<(u32, u32, Vec<u8>)> {
    let said = say(asking("screenshot", control).arg(out));
    (said.status == 0).then(|| decoded(out))
}

#[test]
fn before_a_mode_is_set_there_is_no_picture_and_wait_waits_for_one() {
    let mut display = Display::new();
    let path = control(&display.directory);
    let out = display.directory.path().join("x.png");
    let said = say(asking("screenshot", &path).arg(&out));
    assert!(complaint(&said, 1).starts_with("vfio0 shows no picture; nothing was written"));
    assert!(!out.exists());
    let answer = Line::connect(&path).ask(r#"{"verb": "plane"}"#);
    assert_eq!(answer["ok"], serde_json::json!({ "device": "vfio0", "plane": null }));

    let mut waiting = asking("wait", &path);
    waiting.args(["--mode", "800x600", "--timeout", "60s"]).stdout(Stdio::piped());
    let mut waiting = waiting.stderr(Stdio::piped()).spawn().unwrap();
    for mode in [[640, 480, 640, 0, 0], [800, 64, 800, 0, 0]] {
        display.set_mode(mode);
        std::thread::sleep(Duration::from_millis(100));
        assert!(waiting.try_wait().unwrap().is_none(), "it waits no longer");
    }
    display.set_mode([800, 600, 800, 0, 0]);
    let said = end(waiting);
    assert_eq!((said.status, &said.out[..15]), (0, "800x600 sha256:"), "{said:?}");

    // What does not fit into memory is no picture.
    display.set_mode([800, 600, 800, 0, 1000]);
    assert_eq!(shot(&path, &out), None);
}

#[test]
fn rows_with_padding_and_a_flipped_page_are_shown_as_they_are() {
    let mut display = Display::new();
    let (path, out) = (control(&display.directory), display.directory.path().join("x.png"));
    // Each pixel of memory says where it is: 100 of them from row to row.
    let pixels: Vec<u8> = (0..100 * 400u32).flat_map(|number| (number * 7).to_le_bytes()).collect();
    display.memory.write_all_at(&pixels, 0).unwrap();
    for (x, y) in [(0, 0), (3, 5), (36, 0), (0, 300)] {
        display.set_mode([64, 70, 100, x, y]);
        let colour = |number: u32| (number * 7).to_be_bytes()[1..].to_vec();
        let row = |row: u32| {
            (0..64).flat_map(move |at| colour((row + u32::from(y)) * 100 + u32::from(x) + at))
        };
        let expected: Vec<u8> = (0..70).flat_map(row).collect();
        assert!(shot(&path, &out) == Some((64, 70, expected)), "{x} {y}");
    }
    // A page is turned by the offsets alone.
    display.set(Y_OFFSET, 0);
    let first = shot(&path, &out).unwrap();
    assert_eq!(first.2[3..6], [0, 0, 7]);
}

#[test]
fn a_screenshot_in_the_middle_of_mode_changes_is_of_one_mode() {
    let mut display = Display::new();
    let (path, out) = (control(&display.directory), display.directory.path().join("x.png"));
    // Red where the one mode is, blue where the other is.
    display.memory.write_all_at(&[0, 0, 0xff, 0].repeat(64 * 64), 0).unwrap();
    display.memory.write_all_at(&[0xff, 0, 0, 0].repeat(128 * 96), 100 * 512).unwrap();
    let modes = [[64, 64, 64, 0, 0], [128, 96, 128, 0, 100]];
    let mut seen = [0, 0];
    let set = |step: u32| display.set_mode(modes[step as usize % 2]);
    drawing(Duration::from_millis(3), set, || {
        let begun = Instant::now();
        while seen.contains(&0) && begun.elapsed() < Duration::from_secs(60) {
            match shot(&path, &out) {
                None => (), // there was no picture just then
                Some((64, 64, rgb)) => {
                    assert!(rgb.chunks(3).all(|pixel| pixel == [0xff, 0, 0]));
                    seen[0] += 1;
                }
                Some((128, 96, rgb)) => {
                    assert!(rgb.chunks(3).all(|pixel| pixel == [0, 0, 0xff]));
                    seen[1] += 1;
                }
                Some((width, height, _)) => panic!("{width}x{height}"),
            }
        }
    });
    assert!(!seen.contains(&0), "{seen:?}");
}

#[test]
fn a_mode_that_has_come_back_is_not_taken_for_one_that_has_stayed() {
    let mut display = Display::new();
    let (path, out) = (control(&display.directory), display.directory.path().join("x.png"));
    let [red, blue] = [[0, 0, 0xff, 0], [0xff, 0, 0, 0]].map(|pixel| pixel.repeat(1280 * 720));
    display.memory.write_all_at(&red, 0).unwrap();
    display.set_mode([1280, 720, 1280, 0, 0]);
    // In the other mode the memory is blue. When the first is back it is red again.
    let away = |_: u32| {
        display.set_mode([640, 480, 640, 0, 0]);
        display.memory.write_all_at(&blue, 0).unwrap();
        display.memory.write_all_at(&red, 0).unwrap();
        display.set_mode([1280, 720, 1280, 0, 0]);
    };
    let mut seen = 0;
    drawing(Duration::from_millis(10), away, || {
        let begun = Instant::now();
        while seen < 20 && begun.elapsed() < Duration::from_secs(8) {
            // Restless, or the other mode, which may be of any colour: nothing to be held to.
            if let Some((1280, 720, rgb)) = shot(&path, &out) {
                assert!(rgb.chunks(3).all(|pixel| pixel == [0xff, 0, 0]), "parts of another mode");
                seen += 1;
            }
        }
    });
    println!("seen {seen} times");
}

#[test]
fn a_guest_that_turns_pages_all_the_time_is_seen() {
    let mut display = Display::new();
    let (path, out) = (control(&display.directory), display.directory.path().join("x.png"));
    display.set_mode([640, 480, 640, 0, 0]);
    // A red page, and a blue one below it.
    display.memory.write_all_at(&[0, 0, 0xff, 0].repeat(640 * 480), 0).unwrap();
    display.memory.write_all_at(&[0xff, 0, 0, 0].repeat(640 * 480), 640 * 480 * 4).unwrap();
    let turn = |step: u32| display.set(Y_OFFSET, (step % 2 * 480) as u16);
    drawing(Duration::ZERO, turn, || {
        for _ in 0..5 {
            let (width, height, rgb) = shot(&path, &out).expect("a picture");
            assert_eq!((width, height), (640, 480));
            let is_page = |colour: [u8; 3]| rgb.chunks(3).all(|pixel| pixel == colour);
            assert!(is_page([0xff, 0, 0]) || is_page([0, 0, 0xff]), "it is of two pages");
            let said = say(asking("wait", &path).args(["--mode", "640x480"]));
            assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
        }
    });
}
