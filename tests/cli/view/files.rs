//! What `mdev-user screenshot` writes to: files and others, whole or not at all.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::screenshot::{SHRINK, always, decoded, nothing_but, plain_command};
use super::server::{memory, plane};
use super::{Display, asking};
use crate::random::Random;
use crate::{Said, complaint, end, say, soon};

#[test]
fn a_file_that_cannot_be_written_is_named_and_no_part_of_it_stays() {
    let display = Display::vga();
    let at = |name: &str| display.at(name).to_str().unwrap().to_owned();
    fs::create_dir(at("directory")).unwrap();
    symlink("nowhere/x.png", at("link")).unwrap();
    symlink("nothing.png", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    fs::write(at("kept"), "precious").unwrap();
    fs::set_permissions(at("kept"), fs::Permissions::from_mode(0o444)).unwrap();
    for (out, words) in [
        (at("directory"), "is a directory; name another file"),
        (at("none/x.png"), "No such file or directory; name another file"),
        (at("link"), "it is a link that leads nowhere; name another file"),
        (at("dangling"), "it is a link that leads nowhere; name another file"),
        (at("loop"), "Too many levels of symbolic links; name another file"),
        (at("kept"), "it is there already, and may not be written; name another file"),
        (at("control/x.png"), "Not a directory; name another file"),
        // There nobody may make a file, not even root.
        ("/sys/x.png".into(), "Permission denied; name another file"),
        ("/dev/full".into(), "No space left on device; make room"),
    ] {
        let said = display.ask("screenshot", &[&out]);
        let expected = format!("cannot write {out}: {words}");
        assert_eq!(complaint(&said, 1).to_lowercase(), expected.to_lowercase());
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = asking("screenshot", &display.control());
    let child = command.arg("-").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let words = "cannot write standard output: No space left on device; make room";
    assert_eq!(complaint(&end(child), 1), words);
    let names = ["control", "dangling", "directory", "kept", "link", "loop"];
    nothing_but(display.directory.path(), &names);
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "precious");
    // Of a disk that is full nothing stays either.
    let out = display.at("directory/x.png");
    let mut shell =
        crate::shell("ulimit -f 1; trap '' XFSZ; exec \"$0\" screenshot -c \"$1\" \"$2\"");
    display.noise(1);
    let said = say(shell.arg(display.control()).arg(&out));
    assert!(complaint(&said, 1).contains("File too large"), "{said:?}");
    nothing_but(&display.at("directory"), &[]);
}

#[test]
fn of_a_file_that_a_signal_cut_short_nothing_stays() {
    let mut random = Random::of(4, 0);
    let noise: Vec<u8> =
        (0..2048 * 4096u32).flat_map(|_| (random.next() as u32).to_le_bytes()).collect();
    let server = always(plane([2048, 4096, 8192, 0, 0]), memory(&noise, SHRINK));
    for _ in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let mut command = asking("screenshot", &server.path());
        command.arg(directory.path().join("x.png")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        soon("it writes", || fs::read_dir(directory.path()).unwrap().count() == 1);
        // SIGINT and SIGHUP may be ignored where these tests run, and then are.
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(end(child).status, 143);
        nothing_but(directory.path(), &[]);
    }
}

#[test]
fn it_goes_to_standard_output_to_a_pipe_and_in_the_place_of_a_file() {
    let display = Display::vga();
    let expected = (640, 480, display.noise(3));
    let out = display.at("x.png");
    display.ask("screenshot", &[out.to_str().unwrap()]);
    let bytes = fs::read(&out).unwrap();

    // Standard output; what is said goes to standard error.
    let file = display.at("piped.png");
    let mut command = asking("screenshot", &display.control());
    command.arg("-").stdout(File::create(&file).unwrap()).stderr(Stdio::piped());
    let said: Said = end(command.spawn().unwrap());
    assert_eq!((said.status, &said.err[..15]), (0, "640x480 sha256:"));
    assert!(decoded(&file) == expected);
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = asking("screenshot", &display.control());
    assert_eq!(
        end(command.arg("-").stdout(gone).stderr(Stdio::piped()).spawn().unwrap()).status,
        0
    );

    // A device is written to and stays what it is.
    let null = fs::metadata("/dev/null").unwrap().permissions();
    assert_eq!(display.ask("screenshot", &["/dev/null"]).status, 0);
    assert_eq!(fs::metadata("/dev/null").unwrap().permissions(), null);
    let pipe = display.at("pipe");
    assert_eq!(say(plain_command("mkfifo").arg(&pipe)).status, 0);
    let reading = pipe.clone();
    let reader = std::thread::spawn(move || fs::read(reading).unwrap());
    assert_eq!(display.ask("screenshot", &[pipe.to_str().unwrap()]).status, 0);
    assert!(reader.join().unwrap() == bytes);
    // One that has no path of its own.
    let mut shell = crate::shell(
        "\"$0\" screenshot -c \"$1\" /dev/stdout | (dd bs=1 skip=1 count=3 status=none; cat >/dev/null)",
    );
    let said = say(shell.arg(display.control()));
    assert_eq!((said.out.as_str(), said.err.as_str()), ("PNG", ""));

    // A file is replaced, also behind a link, and keeps its mode; a new one has what the umask leaves.
    fs::write(&out, "old").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o604)).unwrap();
    symlink("x.png", display.at("link")).unwrap();
    let mut shell = crate::shell("umask 027; exec \"$0\" screenshot -c \"$1\" \"$2\"");
    assert_eq!(say(shell.arg(display.control()).arg(display.at("link"))).status, 0);
    assert!(fs::symlink_metadata(display.at("link")).unwrap().is_symlink());
    assert!(fs::read(&out).unwrap() == bytes);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&out), 0o604);
    let mut shell = crate::shell("umask 027; exec \"$0\" screenshot -c \"$1\" \"$2\"");
    assert_eq!(say(shell.arg(display.control()).arg(display.at("y.png"))).status, 0);
    assert_eq!(mode(&display.at("y.png")), 0o640);
    let names = ["control", "link", "pipe", "piped.png", "x.png", "y.png"];
    nothing_but(display.directory.path(), &names);
}
