//! `mdev-user wait`: each condition, in vain and fulfilled, and what it says.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::SealFlags;
use serde_json::Value;

use super::server::{Server, memory, plane, shows};
use super::{Display, asking, drawing};
use crate::{complaint, end, mdev_user, say, soon};

impl Display {
    /// A wait that goes on while the test draws.
    pub fn waiting(&self, arguments: &[&str]) -> Child {
        let mut command = asking("wait", &self.control());
        command.args(arguments).args(["--timeout", "60s"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A wait that will end in vain.
    #[track_caller]
    fn in_vain(&self, arguments: &[&str]) -> String {
        self.after("700ms", arguments)
    }

    /// The same. A time too short for a machine that is busy just now is tried again.
    #[track_caller]
    fn after(&self, time: &str, arguments: &[&str]) -> String {
        loop {
            let said = self.ask("wait", &[arguments, &["--timeout", time]].concat());
            let line = complaint(&said, 1).to_owned();
            if !line.contains("does not answer: no answer came within 1s") {
                let start =
                    format!("vfio0 did not come to show what is waited for within {time}: ");
                assert!(line.starts_with(&start), "{line}");
                return line;
            }
        }
    }
}

#[track_caller]
pub fn fulfilled(child: Child) -> String {
    let said = end(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(said.out.lines().count(), 1, "{said:?}");
    said.out.trim_end().to_owned()
}

#[track_caller]
pub fn still_waits(child: &mut Child) {
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it waits no longer");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_would_be_right() {
    for (arguments, words) in [
        (&[][..], "--control-path <PATH>"),
        (&["-c", "x"], "<--not-blank|--stable <TIME>|--hash <HEX>|--mode <WxH>>; see"),
        (&["-c", "x", "--timeout", "1s"], "<--not-blank|--stable <TIME>|--hash <HEX>|--mode <WxH"),
        (&["-c", "x", "--stable", "1"], "as 500ms, 30s or 2m, of at most a day"),
        (&["-c", "x", "--stable", "30s"], "--stable 30s takes longer than --timeout 30s gives it"),
        (&["-c", "x", "--stable", "2s", "--timeout", "1s"], "--stable 2s takes longer than --tim"),
        (&["-c", "x", "--mode", "1024"], "a mode is WxH, as 1024x768; see"),
        (&["-c", "x", "--mode", "0x1"], "a mode is WxH, as 1024x768; see"),
        (&["-c", "x", "--hash", "ba78"], "a hash is sha256: and 64 hexadecimal digits"),
        (&["-c", "x", "--not-blank", "--ignore", "1x1"], "a rectangle is WxH+X+Y, as 640x16+0+4"),
        (
            &["-c", "x", "--mode", "1x1", "--ignore", "1x1+0+0"],
            "--ignore counts for --not-blank and --stable, and neither is there; see",
        ),
        (&["-c", "x", "--not-blank", "--timeout", "2h"], "as 500ms, 30s or 2m, of at most a day"),
        (&["-c", "x", "--not-blank", "y"], "unexpected argument 'y' found"),
    ] {
        let said = say(mdev_user(&["wait"]).args(arguments));
        assert!(complaint(&said, 2).contains(words), "{arguments:?}: {said:?}");
    }
}

#[test]
fn what_is_not_fulfilled_is_said_with_what_was_seen() {
    let display = Display::vga();
    display.clear();
    let said = display.ask("wait", &["--mode", "640x480"]);
    let hash = said.out.trim_end().strip_prefix("640x480 sha256:").unwrap().to_owned();
    let other = "0".repeat(64);
    for (arguments, words) in [
        (&["--not-blank"][..], vec![", of one colour"]),
        (&["--mode", "640x481"], vec![", not 640x481"]),
        (&["--hash", &other], vec![&*format!(", not sha256:{other}")]),
        (
            &["--hash", &other, "--mode", "1x1", "--not-blank"],
            vec![
                ", not 1x1",
                &*format!(", not sha256:{other}"),
                ", of one colour; look at it with",
            ],
        ),
        // All hold but one.
        (&["--hash", &hash, "--mode", "640x480", "--not-blank"], vec![&*format!("{hash}, of one")]),
        (&["--not-blank", "--ignore", "640x480+0+0"], vec![", of one colour"]),
    ] {
        let line = display.in_vain(arguments);
        assert!(line.contains(&format!("it shows 640x480 sha256:{hash}")), "{line}");
        assert!(line.contains("or give it more --timeout"), "{line}");
        words.iter().for_each(|words| assert!(line.contains(words), "{words}: {line}"));
    }
    // A time of nothing is one look.
    soon("it has time to look", || {
        display.ask("wait", &["--mode", "640x480", "--timeout", "0s"]).status == 0
    });
    let line = display.after("0s", &["--not-blank"]);
    assert!(line.contains("within 0s: it shows 640x480"), "{line}");
}

#[test]
fn not_blank_waits_for_a_second_colour_where_it_looks() {
    let display = Display::vga();
    display.fill([0, 0, 640, 480], 0x12_34_56);
    let mut all = display.waiting(&["--not-blank"]);
    let mut above = display.waiting(&["--not-blank", "--ignore", "640x10+0+470"]);
    still_waits(&mut all);
    display.fill([639, 479, 1, 1], 0x12_34_57);
    fulfilled(all);
    still_waits(&mut above);
    display.fill([639, 469, 1, 1], 0x12_34_57);
    fulfilled(above);
}

#[test]
fn a_byte_that_means_nothing_is_no_colour() {
    let display = Display::vga();
    display.clear();
    display.fill([0, 0, 10, 10], 0xff00_0000);
    assert!(display.in_vain(&["--not-blank"]).contains(", of one colour"));
}

#[test]
fn a_hash_is_waited_for_and_is_that_of_screenshot() {
    let display = Display::vga();
    display.fill([100, 100, 50, 50], 0xff_00_00);
    let said = display.ask("screenshot", &["/dev/null"]);
    let hash = said.out.trim_end().split(' ').next_back().unwrap().to_owned();
    display.clear();
    let mut waiting = display.waiting(&["--hash", &hash]);
    still_waits(&mut waiting);
    // The gradient that a new display shows, and what was drawn on it.
    (0..480).for_each(|row| display.fill([0, row, 640, 1], row * 255 / 480 * 0x01_01_01));
    display.fill([100, 100, 50, 50], 0xff_00_00);
    assert_eq!(fulfilled(waiting), said.out.trim_end());
    let digits = hash.strip_prefix("sha256:").unwrap().to_uppercase();
    assert_eq!(display.ask("wait", &["--hash", &digits]).status, 0);
}

const FAST: Duration = Duration::from_millis(30);
const WHITE: u32 = 0xff_ffff;

#[test]
fn a_blinking_cursor_is_stable_whatever_its_size_up_to_a_cell() {
    let display = Display::vga();
    for cell in [[8, 462, 8, 2], [200, 100, 16, 32]] {
        let blink = |step: u32| display.fill(cell, step % 2 * WHITE);
        drawing(FAST, blink, || {
            fulfilled(display.waiting(&["--stable", "500ms"]));
        });
        display.fill(cell, 0);
    }
}

/// A server whose picture is drawn anew for each look: 400 x 64 black pixels, but for these rectangles of `step`.
fn drawn(draw: impl Fn(u32) -> Vec<([usize; 4], u32)> + Send + 'static) -> Server {
    Server::new(move |number| {
        let mut pixels = vec![0u32; 400 * 64];
        // The plane is asked for before the picture is copied, and after that.
        for ([x, y, width, height], colour) in draw(number as u32 / 2) {
            for row in pixels.chunks_mut(400).skip(y).take(height) {
                row[x..x + width].fill(colour);
            }
        }
        let bytes: Vec<u8> = pixels.into_iter().flat_map(u32::to_le_bytes).collect();
        Some((shows(&plane([400, 64, 1600, 0, 0])), vec![memory(&bytes, SealFlags::SHRINK)]))
    })
}

#[test]
fn what_is_larger_than_a_cell_moves_or_counts_is_not_stable_unless_ignored() {
    type Draw = fn(u32) -> Vec<([usize; 4], u32)>;
    let wide: Draw = |step| vec![([300, 0, 17, 1], step % 2 * WHITE)];
    let high: Draw = |step| vec![([300, 0, 1, 33], step % 2 * WHITE)];
    let moving: Draw = |step| vec![([300 + step as usize % 3 * 5, 0, 2, 2], WHITE)];
    let counting: Draw = |step| vec![([300, 0, 8, 16], step % 5 * 50)];
    let apart: Draw =
        |step| vec![([300, 0, 1, 1], step % 2 * WHITE), ([340, 0, 1, 1], step % 2 * WHITE)];
    for (what, draw) in [wide, high, moving, counting, apart].into_iter().enumerate() {
        let server = drawn(draw);
        let wait = |arguments: &[&str]| say(asking("wait", &server.path()).args(arguments));
        let said = wait(&["--stable", "50ms", "--timeout", if what == 0 { "3s" } else { "1s" }]);
        let words = [" ms of 50 ms since a change at 17x1+300+0; look", " ms of 50 ms"];
        assert!(complaint(&said, 1).contains(words[what.min(1)]), "{what}: {said:?}");
        let said = wait(&["--stable", "50ms", "--ignore", "60x40+290+0"]);
        assert_eq!(said.status, 0, "{what}: {said:?}");
    }
}

#[test]
fn stable_begins_with_the_last_change() {
    let display = Display::vga();
    let second = Duration::from_secs(1);
    for round in 0.. {
        assert!(round < 10, "this machine has no time to draw");
        let waiting = display.waiting(&["--stable", "1s"]);
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for step in 0..10 {
            display.fill([0, step * 40, 640, 40], WHITE * (round % 2));
            longest = longest.max(last.elapsed());
            last = Instant::now();
            std::thread::sleep(Duration::from_millis(150));
        }
        fulfilled(waiting);
        let rested = last.elapsed();
        // A pause in the drawing would be a rest as well.
        if longest < second / 2 {
            assert!(rested >= second, "{rested:?}");
            break;
        }
    }
}

#[test]
fn a_mode_is_waited_for_and_its_change_begins_the_rest_anew() {
    // No picture, then a small one, then a large one; all of one colour.
    let begun = Instant::now();
    let stages = move || begun.elapsed().as_millis() / 400;
    let server = Server::new(move |_| {
        Some(match stages() {
            0 => (shows(&Value::Null), Vec::new()),
            1 => {
                let bytes = memory(&[0; 64 * 64 * 4], SealFlags::SHRINK);
                (shows(&plane([64, 64, 256, 0, 1])), vec![bytes])
            }
            _ => {
                let bytes = memory(&[0; 128 * 64 * 4], SealFlags::SHRINK);
                (shows(&plane([128, 64, 512, 0, 2])), vec![bytes])
            }
        })
    });
    let said = say(asking("wait", &server.path()).args(["--mode", "128x64", "--stable", "300ms"]));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.starts_with("128x64 sha256:"), "{said:?}");
    assert!(begun.elapsed() >= Duration::from_millis(800 + 300), "{:?}", begun.elapsed());
}

#[test]
fn without_a_picture_it_waits_and_says_so() {
    let server = Server::new(|_| Some((shows(&Value::Null), Vec::new())));
    let said = say(asking("wait", &server.path()).args(["--not-blank", "--timeout", "500ms"]));
    let line = complaint(&said, 1);
    assert!(
        line.contains("within 500ms: it shows no picture, as no driver has set a mode ("),
        "{line}"
    );
}
