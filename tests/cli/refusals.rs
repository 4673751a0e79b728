//! What is wrong is refused, in one line that names the thing and the way out, and leaves nothing behind.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::program::Program;
use crate::{EBUSY, client, complaint, end, greet, listening, mdev_user, say, shell, soon};

fn serve_once(path: &Path) -> Child {
    let mut command = mdev_user(&["--log-level", "warn", "serve", "mtty-1", "--once"]);
    command.arg("--socket-path").arg(path).stdout(Stdio::null()).spawn().unwrap()
}

/// Conformance: S59.
#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_would_be_right() {
    let socket = ["--socket-path", "x"];
    let serve = |more: &[&'static str]| [&["serve", "mtty-2"], more].concat();
    for (arguments, words) in [
        (vec!["srve"], "'srve'; a similar subcommand exists: 'serve'; see `mdev-user --help`"),
        (vec!["--foo"], "'--foo' found; see `mdev-user --help`"),
        (vec!["--log-level", "debug"], "a command is missing; see `mdev-user --help`"),
        (
            vec!["--log-level", "loud", "types"],
            "[possible values: off, error, warn, info, debug, trace]; see `mdev-user types --help`",
        ),
        (vec!["types", "mtty"], "'mtty' found; see `mdev-user types --help`"),
        (vec!["serve"], "provided: <TYPE>; see `mdev-user serve --help`"),
        (
            serve(&[]),
            "a socket is needed: --socket-path PATH, --fd N, or one by LISTEN_FDS; see `mdev-user s",
        ),
        (serve(&["--socket-path"]), "a value is required for '--socket-path <PATH>'"),
        (serve(&["--socket-path", ""]), "a value is required for '--socket-path <PATH>'"),
        (serve(&["--fd", "9", "--socket-path", "x"]), "'--fd <N>' cannot be used with"),
        (
            serve(&["--fd", "0"]),
            "0, 1 and 2 are the standard streams; hand another one over, as 3 or",
        ),
        (
            serve(&["--fd", "2"]),
            "0, 1 and 2 are the standard streams; hand another one over, as 3 or",
        ),
        (serve(&["--fd", "-1"]), "'-1' for '--fd <N>': a descriptor is a number, 3 or above"),
        (serve(&["--fd", "x"]), "'x' for '--fd <N>': a descriptor is a number, 3 or above"),
        (serve(&["--fd", "9999999999"]), "a descriptor is a number, 3 or above"),
        (serve(&["--fd", "9", "--poll-us", "-1"]), "'-1' for '--poll-us <N>': a number from 0 to"),
        (serve(&["--fd", "9", "--poll-us", "1000001"]), "a number from 0 to 1000000; see"),
        ([&["serve", "mtty-3"], &socket[..]].concat(), "no type 'mtty-3', the types are mtty-1, m"),
        (
            [&["serve", ""], &socket[..]].concat(),
            "a type is missing, one of mtty-1, mtty-2, mdpy-vga, ",
        ),
        (
            [&["serve", "mtty-2,a=1"], &socket[..]].concat(),
            "mtty-2 has no option 'a', only serial0",
        ),
        (
            vec!["run", "mtty-2"],
            "<COMMAND>...; the command comes after `--`: mdev-user run TYPE...",
        ),
        (vec!["run", "mtty-2", "--"], "provided: <COMMAND>...; see `mdev-user run --help`"),
        (vec!["run", "--", "true"], "provided: <TYPE>...; see `mdev-user run --help`"),
        (
            vec!["run", "mtty-2", "qemu"],
            "no type 'qemu', the types are mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, mbochs-small, mbochs-medium, mbochs-large; the command",
        ),
        (vec!["run", "mtty-2", "qemu", "-m", "512"], "the command comes after `--`: mdev-user run"),
        (
            vec!["run", "mtty-2,foo=1", "--", "true"],
            "mtty-2 has no option 'foo', only serial0, serial1",
        ),
        (vec!["run", "mtty-2,foo", "--", "true"], "option 'foo' lacks its value, foo=VALUE"),
        (vec!["run", "mtty-2,", "--", "true"], "an option is missing after a comma"),
    ] {
        let said = say(&mut mdev_user(&arguments));
        let line = complaint(&said, 2);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
}

#[test]
fn without_a_word_the_help_comes_and_the_status_is_2() {
    let said = say(&mut mdev_user(&[]));
    assert_eq!((said.status, said.out.as_str()), (2, ""));
    assert!(said.err.contains("Usage: mdev-user") && said.err.contains("Examples:"), "{said:?}");
}

#[test]
fn a_path_where_no_socket_can_be_is_named_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    let long = at(&"x".repeat(108));
    for (path, words) in [
        (at("none/x.sock"), format!("there is no directory {}; make it, or", at("none"))),
        (at("file/x.sock"), format!("{} is not a directory; use another path", at("file"))),
        (at("file"), "exists and is not a socket; it is left alone, use another path".into()),
        (at("directory"), "exists and is not a socket; it is left alone, use another path".into()),
        (at("link"), "exists and is not a socket; it is left alone, use another path".into()),
        (long, "is too long: at most 107 bytes fit".into()),
        // There nobody may make a file, not even root.
        ("/sys/x.sock".into(), "you may not make files in /sys; use another directory".into()),
    ] {
        let said = say(&mut mdev_user(&["serve", "mtty-1", "--socket-path", &path]));
        let line = complaint(&said, 1);
        assert!(line.contains(&path) && line.contains(&words), "{line}");
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_to_them() {
    let program = Program::serve("mtty-1");
    let path = program.path();
    let said = say(mdev_user(&["serve", "mtty-1", "--socket-path"]).arg(&path));
    let line = complaint(&said, 1);
    assert!(line.contains(path.to_str().unwrap()) && line.contains("in use by another"), "{line}");
    // It goes on as if nothing had been.
    client(&path);
}

#[test]
fn a_second_client_is_told_that_the_device_is_busy() {
    let program = Program::serve("mtty-1");
    let _first = client(&program.path());
    let mut second = UnixStream::connect(program.path()).unwrap();
    assert_eq!(greet(&mut second), EBUSY);
}

#[test]
fn a_stale_socket_is_taken_over() {
    let mut program = Program::serve("mtty-1");
    let path = program.path();
    program.signal(Signal::KILL);
    program.wait();
    assert!(path.exists(), "SIGKILL leaves the socket behind");

    let next = serve_once(&path);
    listening(&path);
    drop(client(&path));
    assert_eq!(end(next).status, 0);
    assert!(!path.exists());
}

#[test]
fn more_devices_than_the_parent_has_room_for_are_refused_before_the_command_runs() {
    let directory = tempfile::tempdir().unwrap();
    let run = |devices: usize| {
        let mut arguments = vec!["run"];
        arguments.extend(vec!["mtty-2"; devices]);
        arguments.extend(["--", "echo"]);
        say(mdev_user(&arguments).env("XDG_RUNTIME_DIR", directory.path()))
    };
    let said = run(13);
    let line = complaint(&said, 1);
    for words in ["device 13 of 13", "mtty-2", "ENOSPC", "parent mtty", "ask for fewer devices"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "left behind");
    assert_eq!(run(12).status, 0);

    let five = [&["run"][..], &["mdpy-vga"; 5], &["--", "echo"]].concat();
    let said = say(&mut mdev_user(&five));
    let line = complaint(&said, 1);
    assert!(line.contains("device 5 of 5") && line.contains("EUSERS: parent mdpy"), "{line}");
}

#[test]
fn a_command_that_cannot_be_run_ends_with_126_or_127() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for (command, status, words) in [
        (
            "mdev-user-no-such-program",
            127,
            "there is no such program; is it installed, and on PATH",
        ),
        ("/no/such/program", 127, "there is no such program"),
        (file, 126, "it is not an executable file"),
        ("/", 126, "it is not an executable file"),
    ] {
        let said =
            say(mdev_user(&["run", "mtty-1", "--", command])
                .env("XDG_RUNTIME_DIR", directory.path()));
        let line = complaint(&said, status);
        assert!(line.contains(&format!("cannot run {command}: {words}")), "{line}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "left behind");
}

#[test]
fn with_no_place_for_its_sockets_run_says_what_to_set() {
    let mut command = mdev_user(&["run", "mtty-1", "--", "true"]);
    let said = say(command.env("TMPDIR", "/no/such/place"));
    let line = complaint(&said, 1);
    assert!(line.contains("/no/such/place") && line.contains("set TMPDIR"), "{line}");
}

#[test]
fn nobody_to_complain_to_is_no_panic() {
    // A pipe that nobody reads: Rust's own `eprintln!` panics there.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for (arguments, status) in [
        (&["srve"][..], 2),
        (&["serve", "mtty-1", "--socket-path", "/no/such/directory/x"], 1),
        (&["run", "mtty-1", "--", "/no/such/program"], 127),
    ] {
        let mut command: Command = mdev_user(arguments);
        let ended = command.stderr(writer.try_clone().unwrap()).status().unwrap();
        assert_eq!(ended.code(), Some(status), "{arguments:?}");
    }
    assert_eq!(say(&mut shell("exec $0 srve 2>&-")).status, 2);
}

#[test]
fn a_socket_of_another_kind_is_not_taken_for_a_stale_one() {
    // A bound socket that does not listen yet: connecting is refused, as with a stale one; a datagram socket is not.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datagram.sock");
    let _socket = UnixDatagram::bind(&path).unwrap();
    let said = say(mdev_user(&["serve", "mtty-1", "--socket-path"]).arg(&path));
    let line = complaint(&said, 1);
    assert!(line.contains(path.to_str().unwrap()), "{line}");
    assert!(path.exists());
    // Whereas a listener that is gone has left a stale one.
    let path = directory.path().join("stream.sock");
    drop(UnixListener::bind(&path).unwrap());
    // It may linger in a process that another test has forked and that has not called exec yet.
    soon("nobody listens", || UnixStream::connect(&path).is_err());
    let child = serve_once(&path);
    listening(&path);
    drop(client(&path));
    assert_eq!(end(child).status, 0);
}

#[test]
fn options_of_a_display_that_cannot_be_are_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [text, long, absent] = [
        file("text", &[b'x'; 128]),
        file("long", &[0; 1025]),
        directory.path().join("absent").to_str().unwrap().to_owned(),
    ];
    for (device, flags, status, words) in [
        (
            "mtty-1",
            &["--xres", "800"][..],
            2,
            "mtty-1 has no option 'xres', only serial0, pace; see",
        ),
        (
            "mdpy-hd",
            &["--serial0", "null"],
            2,
            "mdpy-hd has no option 'serial0', nor any other; see",
        ),
        ("mbochs-small", &["--pace", "on"], 2, "no option 'pace', only xres, yres, edid; see"),
        ("mdpy-hd,edid=off", &[], 2, "mdpy-hd has no option 'edid', nor any other; see"),
        ("mbochs-small,zres=1", &[], 2, "no option 'zres', only xres, yres, edid; see"),
        ("mbochs-small", &["--xres", "x"], 2, "xres is a number of pixels, not 'x'; see"),
        ("mbochs-small", &["--yres", "-1"], 2, "yres is a number of pixels, not '-1'; see"),
        ("mbochs-large,xres=4096", &[], 2, "xres is 400 to 4095, not 4096; see"),
        ("mbochs-small", &["--xres", "1024"], 2, "shows 800x600 at most, not 1024x600; see"),
        ("mbochs-medium,xres=1920,yres=1440", &[], 2, "more than half of the 16 MB of"),
        ("mbochs-small,xres=640", &["--xres", "640"], 2, "option 'xres' is there twice; see"),
        ("mbochs-small,edid=off,xres=640", &[], 2, "so they need edid=auto; see"),
        ("mbochs-small", &["--edid", ""], 2, "edid is auto, off or the path of a file; see"),
        ("mbochs-small,xres=640", &["--edid", &text], 2, "so they need edid=auto; see"),
        ("mbochs-small", &["--edid", &text], 1, "text is no EDID: "),
        ("mbochs-small", &["--edid", &long], 1, "long is no EDID: it has more than 1024 bytes"),
        ("mbochs-small", &["--edid", &absent], 1, "absent: No such file or directory"),
    ] {
        let path = directory.path().join("socket");
        let said = say(mdev_user(&["serve", device, "--socket-path"]).arg(&path).args(flags));
        let line = complaint(&said, status);
        assert!(line.contains(words), "{device} {flags:?}: {line}");
        assert!(!path.exists(), "{device} {flags:?}: nothing was done");
    }
}
