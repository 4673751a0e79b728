//! `mdev-user screenshot`: what is drawn, what is written, and servers that are not to be trusted.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SealFlags, ftruncate};
use serde_json::{Value, json};

use super::server::{Server, memory, plane, shows};
use super::{Display, asking, control, serve};
use crate::random::Random;
use crate::{Said, complaint, plain, say, soon};

pub const SHRINK: SealFlags = SealFlags::SHRINK;

/// Width, height and bytes (red, green, blue) of a PNG file.
#[track_caller]
pub fn decoded(path: &Path) -> (u32, u32, Vec<u8>) {
    let mut reader =
        png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (info.width, info.height, bytes)
}

/// SHA-256 by the system's own program.
fn sha256(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bytes"), bytes).unwrap();
    let said = say(plain_command("sha256sum").arg(directory.path().join("bytes")));
    said.out.split_whitespace().next().unwrap().to_owned()
}

pub fn plain_command(program: &str) -> Command {
    let mut command = Command::new(program);
    plain(&mut command);
    command
}

#[track_caller]
pub fn nothing_but(directory: &Path, names: &[&str]) {
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names, "left behind");
}

#[test]
fn where_no_control_socket_answers_it_says_so_and_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let program = serve("mdpy-vga", &directory);
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "").unwrap();
    let _datagram = UnixDatagram::bind(at("datagram")).unwrap();
    drop(UnixListener::bind(at("stale")).unwrap());
    // It may linger in a process that another test has forked and that has not called exec yet.
    soon("nobody listens", || std::os::unix::net::UnixStream::connect(at("stale")).is_err());
    for (path, words) in [
        (
            at("none"),
            "there is none; has the server been started, with --control-path (manage: --run-dir)?",
        ),
        (
            at("file/x"),
            "there is none; has the server been started, with --control-path (manage: --run-dir)?",
        ),
        (at("file"), "it is something else; name the one that was given to --control-path"),
        (at("datagram"), "it is something else; name the one that was given to --control-path"),
        (at("stale"), "nobody listens there any more; start the server again"),
        (at(&"x".repeat(108)), "its path is too long, at most 107 bytes fit; use a shorter"),
        // The socket of vfio-user.
        (program.path(), "is not a control socket; name the one that was given to --control-path"),
    ] {
        for (verb, more) in [
            ("screenshot", vec![at("x.png")]),
            ("wait", ["--not-blank", "--timeout", "100ms"].map(Into::into).to_vec()),
            ("info", vec![]),
        ] {
            let said = say(asking(verb, &path).args(&more));
            let line = complaint(&said, 1);
            assert!(line.contains(path.to_str().unwrap()) && line.contains(words), "{line}");
        }
    }
    nothing_but(directory.path(), &["control", "datagram", "file", "stale"]);
    // Nor has the device noticed.
    drop(crate::client(&program.path()));
}

#[test]
fn a_device_without_a_picture_ends_it_with_1_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let _program = serve("mtty-1", &directory);
    let out = directory.path().join("x.png");
    fs::write(&out, "precious").unwrap();
    let said = say(asking("screenshot", &control(&directory)).arg(&out));
    assert!(
        complaint(&said, 1).starts_with("vfio0 shows no picture; nothing was written"),
        "{said:?}"
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), "precious");
    let said =
        say(asking("screenshot", &control(&directory)).args(["--device", "vfio1"]).arg(&out));
    let words = "ENODEV: there is no device 'vfio1', the devices are vfio0";
    assert_eq!(complaint(&said, 1), words);
    nothing_but(directory.path(), &["control", "x.png"]);
}

#[test]
fn a_new_display_shows_the_gradient_without_a_client() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, width, height) in
        [("mdpy-vga", 640, 480), ("mdpy-xga", 1024, 768), ("mdpy-hd", 1920, 1080)]
    {
        let _program = serve(kind, &directory);
        let out = directory.path().join("x.png");
        let said = say(asking("screenshot", &control(&directory)).arg(&out));
        let grey = |row: u32| vec![(row * 255 / height) as u8; width as usize * 3];
        let expected: Vec<u8> = (0..height).flat_map(grey).collect();
        assert!(decoded(&out) == (width, height, expected.clone()), "{kind}");
        let line = format!("{width}x{height} sha256:{}\n", sha256(&expected));
        assert_eq!((said.status, said.out, said.err), (0, line, String::new()));
    }
}

impl Display {
    /// Draws pixels of all values, also of the byte that means nothing. Returns red, green and blue of them.
    pub fn noise(&self, seed: u64) -> Vec<u8> {
        let mut random = Random::of(seed, 0);
        let bytes: Vec<u8> =
            (0..640 * 480).flat_map(|_| (random.next() as u32).to_le_bytes()).collect();
        self.memory.write_all_at(&bytes, 0).unwrap();
        bytes.chunks(4).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()
    }
}

#[test]
fn what_the_client_draws_is_what_the_file_shows_pixel_for_pixel() {
    let display = Display::vga();
    let out = display.at("x.png");
    for seed in [1, 2] {
        let expected = display.noise(seed);
        let said = display.ask("screenshot", &[out.to_str().unwrap()]);
        assert!(decoded(&out) == (640, 480, expected.clone()), "seed {seed}");
        let line = format!("640x480 sha256:{}\n", sha256(&expected));
        assert_eq!((said.status, said.out, said.err), (0, line, String::new()));
    }
    // Pure colours, to tell them apart.
    for (colour, bytes) in
        [(0xff_0000, [255, 0, 0]), (0x00_ff00, [0, 255, 0]), (0x00_00ff, [0, 0, 255])]
    {
        display.fill([0, 0, 640, 480], colour);
        display.ask("screenshot", &[out.to_str().unwrap()]);
        assert!(decoded(&out).2.chunks(3).all(|pixel| pixel == bytes), "{colour:x}");
    }
}

/// What `screenshot` says to a server, and the file if it wrote one.
fn screenshot_of(server: &Server) -> (Said, Option<(u32, u32, Vec<u8>)>) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("x.png");
    let said = say(asking("screenshot", &server.path()).arg(&out));
    let file = out.exists().then(|| decoded(&out));
    nothing_but(directory.path(), if file.is_some() { &["x.png"] } else { &[] });
    (said, file)
}

/// A server that answers all with this plane, and this memory.
pub fn always(plane: Value, fd: OwnedFd) -> Server {
    Server::new(move |_| Some((shows(&plane), vec![fd.try_clone().unwrap()])))
}

#[test]
fn a_plane_that_lies_is_refused_and_nothing_is_read_outside_the_memory() {
    let of = |size: usize, seals| memory(&vec![0x55; size], seals);
    let enough = || of(4096, SHRINK);
    let huge = u64::from(u32::MAX);
    let mut other_format = plane([16, 16, 64, 0, 0]);
    other_format["fourcc"] = json!(0x3432_4258);
    for (plane, fd, words) in [
        (plane([32, 32, 128, 1, 0]), enough(), "its memory is not what it should be"),
        (plane([32, 33, 128, 0, 0]), enough(), "its memory is not what it should be"),
        (plane([1, 1, 4, 4093, 0]), enough(), "its memory is not what it should be"),
        (plane([1, 1, 4, 1 << 29, 0]), enough(), "its memory is not what it should be"),
        (plane([1, 1, 4, 1 << 62, 0]), enough(), "it is spread too far"),
        (plane([1, 1, 4, u64::MAX, 0]), enough(), "it is outside of all memory"),
        (plane([2, 3, u64::MAX / 4, 0, 0]), enough(), "it is spread too far"),
        (plane([2, huge, u64::MAX / 4, 0, 0]), enough(), "it has too many pixels"),
        (plane([huge, huge, 4 * huge, 0, 0]), enough(), "it has too many pixels"),
        (plane([32, 32, 127, 0, 0]), enough(), "its rows overlap"),
        (plane([0, 32, 128, 0, 0]), enough(), "its width cannot be"),
        (plane([32, 1 << 40, 128, 0, 0]), enough(), "its height cannot be"),
        (other_format, enough(), "its format is not XR24"),
        (json!({}), enough(), "its fourcc is missing"),
        (json!("picture"), enough(), "its fourcc is missing"),
        // Memory that could be cut off under it, and what is no memory.
        (plane([16, 16, 64, 0, 0]), of(4096, SealFlags::GROW), "its memory is not what it"),
        (plane([16, 16, 64, 0, 0]), File::open("/dev/zero").unwrap().into(), "its memory is not"),
        (plane([16, 16, 64, 0, 0]), File::open("/dev/null").unwrap().into(), "its memory is not"),
    ] {
        let (said, file) = screenshot_of(&always(plane.clone(), fd));
        let line = complaint(&said, 1);
        assert!(line.starts_with(&format!("cannot see the picture: {words}")), "{plane}: {line}");
        assert_eq!(file, None);
    }
    let mut small = plane([16, 16, 64, 0, 0]);
    small["size"] = json!(4);
    let (said, _) = screenshot_of(&always(small, enough()));
    let words = "cannot see the picture: it has 1024 bytes, of which 4 are the display's";
    assert!(complaint(&said, 1).starts_with(words), "{said:?}");
    let without = Server::new(|_| Some((shows(&plane([16, 16, 64, 0, 0])), Vec::new())));
    let (said, _) = screenshot_of(&without);
    assert!(complaint(&said, 1).contains("its memory did not come along"), "{said:?}");
}

#[test]
fn memory_that_nobody_touched_is_not_populated_without_bound() {
    // A row a page, all of it holes; were it looked at, each would become a page.
    let pages = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_blocks * 512 / 4096;
    let sparse = |size: u64| {
        let fd = memory(&[], SealFlags::empty());
        ftruncate(&fd, size).unwrap();
        rustix::fs::fcntl_add_seals(&fd, SHRINK).unwrap();
        fd
    };
    let fd = sparse(1 << 30);
    let server = always(plane([1, 262_144, 4096, 0, 0]), fd.try_clone().unwrap());
    let (said, _) = screenshot_of(&server);
    assert!(complaint(&said, 1).contains("it is spread too far, over "), "{said:?}");
    assert_eq!(pages(&fd), 0);
    let fd = sparse(1 << 20);
    let server = always(plane([1, 256, 4096, 0, 0]), fd.try_clone().unwrap());
    assert_eq!(screenshot_of(&server).0.status, 0);
    assert!(pages(&fd) >= 256, "this test sees no pages");
}

#[test]
fn answers_that_are_none_end_it_in_words() {
    let endless = || Server::new(|_| Some((vec![b'x'; 20 << 20], Vec::new())));
    let line = |text: &'static str| Server::new(move |_| Some((text.into(), Vec::new())));
    let not_one = "is not a control socket; name the one that was given to --control-path";
    for (server, words) in [
        (endless(), not_one),
        (line("\n"), not_one),
        (line("garbage\n"), not_one),
        (line("[]\n"), not_one),
        (line("{}\n"), not_one),
        (line("{\"error\": null}\n"), not_one),
        (line("{\"error\": {\"errno\": 5}}\n"), not_one),
        (line("{\"ok\": {}}\n{\"ok\": {}}\n"), not_one),
        (line("\u{0}\n"), not_one),
        (Server::new(|_| None), not_one),
        (line("{\"error\": {\"errno\": \"EIO\\n\", \"message\": \"\\u001b[2J\"}}\n"), "EIO?: ?[2J"),
        (line("{\"ok\": 5}\n"), "the device shows no picture"),
        (line("{\"ok\": {\"device\": \"\\u001b[31m\"}}\n"), "?[31m shows no picture"),
    ] {
        let (said, file) = screenshot_of(&server);
        let line = complaint(&said, 1);
        assert!(line.contains(words), "{words}: {line}");
        assert_eq!(file, None);
    }
    // More descriptors than it has room for are no harm.
    let many = Server::new(|_| {
        let fds = (0..9).map(|_| memory(&[1; 64], SHRINK)).collect();
        Some((shows(&plane([4, 4, 16, 0, 0])), fds))
    });
    let (said, _) = screenshot_of(&many);
    assert!(said.status <= 1, "{said:?}");
}

#[test]
fn padding_behind_the_rows_and_an_offset_are_left_out() {
    // 3 x 2 pixels from byte 7 on, 20 bytes from row to row; all else is 0xee.
    let mut bytes = vec![0xee; 7 + 20 + 12];
    for row in 0..2u8 {
        for x in 0..3u8 {
            let at = 7 + 20 * usize::from(row) + 4 * usize::from(x);
            bytes[at..at + 4].copy_from_slice(&[x, row, 9, 0xff]); // blue, green, red
        }
    }
    let (said, file) = screenshot_of(&always(plane([3, 2, 20, 7, 0]), memory(&bytes, SHRINK)));
    assert_eq!(said.status, 0, "{said:?}");
    let expected = vec![9, 0, 0, 9, 0, 1, 9, 0, 2, 9, 1, 0, 9, 1, 1, 9, 1, 2];
    assert_eq!(file, Some((3, 2, expected)));
}

#[test]
fn a_mode_change_in_the_middle_begins_it_anew() {
    // The mode changes between the first question and the second, and not after that.
    let small = (plane([2, 2, 8, 0, 0]), vec![0x11; 16]);
    let large = (plane([4, 4, 16, 0, 1]), vec![0x22; 64]);
    let server = Server::new(move |number| {
        let (plane, bytes) = if number == 0 { &small } else { &large };
        Some((shows(plane), vec![memory(bytes, SHRINK)]))
    });
    let (said, file) = screenshot_of(&server);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(file, Some((4, 4, vec![0x22; 48])));

    let restless = Server::new(|number| {
        let plane = plane([2, 2, 8, 0, number as u64]);
        Some((shows(&plane), vec![memory(&[0; 16], SHRINK)]))
    });
    let (said, file) = screenshot_of(&restless);
    assert!(complaint(&said, 1).contains("changes all the time"), "{said:?}");
    assert_eq!(file, None);

    // The picture goes away.
    let going = Server::new(|number| match number {
        0 => Some((shows(&plane([2, 2, 8, 0, 0])), vec![memory(&[0; 16], SHRINK)])),
        _ => Some((shows(&Value::Null), Vec::new())),
    });
    let (said, file) = screenshot_of(&going);
    assert!(complaint(&said, 1).starts_with("vfio0 shows no picture"), "{said:?}");
    assert_eq!(file, None);
}

#[test]
fn a_server_that_plays_with_the_memory_meanwhile_does_no_harm() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let fd = memory(&vec![7; 8 << 20], SHRINK);
    let ours = fd.try_clone().unwrap();
    let player = std::thread::spawn(move || {
        while !DONE.load(Ordering::Relaxed) {
            assert!(ftruncate(ours.as_fd(), 0).is_err(), "it is sealed");
            let _ = ftruncate(ours.as_fd(), 16 << 20);
            let _ = rustix::fs::fallocate(
                ours.as_fd(),
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
                0,
                8 << 20,
            );
        }
    });
    let server = always(plane([1024, 2048, 4096, 0, 0]), fd);
    for _ in 0..3 {
        let (said, file) = screenshot_of(&server);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(file.map(|(width, height, _)| (width, height)), Some((1024, 2048)));
    }
    DONE.store(true, Ordering::Relaxed);
    player.join().unwrap();
}
