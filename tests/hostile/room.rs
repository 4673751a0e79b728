//! Files where there is no room left (ENOSPC). A small file system is mounted for that, which takes root or a user
//! namespace; without either these say that they have not been run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arena::Arena;
use crate::bodies::SCR;
use crate::client::command::REGION_READ;
use crate::client::{Client, access};
use crate::managed::{Managed, end, shell, soon};

/// In `DIR` of the script, which is run with the program and its words: a file system of so many bytes.
fn in_a_small_room(directory: &Path, size: &str, script: &str) -> Option<Command> {
    let user = if rustix::process::getuid().is_root() { "" } else { "--map-root-user" };
    let small = directory.join("small");
    std::fs::create_dir_all(&small).unwrap();
    let dir = small.display();
    let mount = format!("mount -t tmpfs -o size={size} none '{dir}'");
    let unshare = format!("unshare --mount {user} /bin/sh -c");
    let can = Command::new("/bin/sh").arg("-c").arg(format!("{unshare} \"{mount}\"")).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: no file system can be mounted here");
        return None;
    }
    let script = script.replace("DIR", small.to_str().unwrap());
    Some(shell(&format!(r#"exec {unshare} "{mount} && {script}" "$0" "$@""#)))
}

/// The small file system, as the process sees it.
fn seen_by(managed: &Managed) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", managed.pid().as_raw_nonzero()));
    root.join(managed.directory().join("small").strip_prefix("/").unwrap())
}

/// Takes all the room that there is.
fn fill(directory: &Path) {
    let full = std::fs::write(directory.join("rest"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn there_is_no_room_for_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"exec \"\$0\" \"\$@\" 2>'DIR/log'"#;
    let Some(command) = in_a_small_room(directory.path(), "256k", script) else { return };
    let arena = Arena::of(Managed::start_by(command, directory, &["--loops", "1"]));
    let small = seen_by(&arena.managed);
    let log = || std::fs::read_to_string(small.join("log")).unwrap();
    arena.use_it();
    soon("there is a log", || log().contains(" has left"));
    fill(&small);
    for _ in 0..300 {
        let mut client = arena.client();
        client.call(REGION_READ, &access(99, 0, 1, &[])).refused(22);
    }
    arena.use_it();
    let size = log().len();
    std::fs::remove_file(small.join("rest")).unwrap();
    soon("the log goes on", || {
        arena.use_it();
        log().len() > size
    });
}

#[test]
fn there_is_no_room_for_definitions() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"echo '[]' > 'DIR/config' && exec \"\$0\" \"\$@\""#;
    let Some(command) = in_a_small_room(directory.path(), "64k", script) else { return };
    let arena = Arena::of(Managed::start_by(
        command,
        directory,
        &["--loops", "1", "--config", "DIR/small/config", "--save"],
    ));
    let small = seen_by(&arena.managed);
    soon("they are written", || {
        std::fs::read_to_string(small.join("config")).unwrap().contains("mtty-1")
    });
    let before = std::fs::read(small.join("config")).unwrap();
    let words = "No space left on device; it is as it was";
    let log = arena.goes_through(words, "cannot write", |arena| {
        fill(&small);
        let made: Vec<_> = (0..3).map(|_| arena.managed.create(&["mtty-1"])).collect();
        for made in &made {
            Client::negotiated(&made.socket).still_in_step();
        }
        soon("it is told", || arena.log().iter().any(|line| line.contains(words)));
        assert_eq!(std::fs::read(small.join("config")).unwrap(), before);
        std::fs::remove_file(small.join("rest")).unwrap();
        made.iter().for_each(|made| arena.managed.remove(made));
        soon("they are written", || arena.log().iter().any(|line| line.contains("again")));
    });
    assert_eq!(log.iter().filter(|line| line.contains(words)).count(), 1, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("is up to date again")), "{log:#?}");
    let made = arena.managed.create(&["mtty-1"]);
    soon("they are written again", || {
        std::fs::read_to_string(small.join("config")).unwrap().contains(&made.uuid)
    });
}

#[test]
fn there_is_no_room_for_what_a_guest_sends() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"exec \"\$0\" \"\$@\""#;
    let Some(command) = in_a_small_room(directory.path(), "32k", script) else { return };
    let more = ["--loops", "1", "--allow-path", "DIR"];
    let arena = Arena::of(Managed::start_by(command, directory, &more));
    let small = seen_by(&arena.managed);
    let dir = arena.managed.directory().canonicalize().unwrap().join("small");
    let path = |name: &str| dir.join(name).display().to_string();
    let port = format!("mtty-1,serial0=file:{},,logfile={}", path("out"), path("port.log"));
    let made = arena.managed.create(&[&port]);
    let mut guest = Client::negotiated(&made.socket);
    for (register, value) in [(3, 0x83), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        guest.write(0, register, &[value]);
    }
    fill(&small);
    arena.goes_through("No space left on device", "small/out takes no more", |arena| {
        // Its own transmitter stops when no more of it can wait for room; it is answered all the same.
        for _ in 0..300 {
            if guest.read(0, 5, 1)[0] & 0x20 != 0 {
                (0..16).for_each(|_| guest.write(0, 0, b"x"));
            }
        }
        guest.write(0, SCR, &[0x3c]);
        assert_eq!(guest.read(0, SCR, 1), [0x3c]);
        arena.use_it();
    });
    std::fs::remove_file(small.join("rest")).unwrap();
    soon("it is written", || std::fs::metadata(small.join("out")).unwrap().len() > 0);
}

#[test]
fn there_is_no_room_for_a_screenshot() {
    let arena = Arena::start();
    let display = arena.managed.create(&["mdpy-vga"]);
    let directory = tempfile::tempdir().unwrap();
    let script = r#"head -c 9999 /dev/zero 2>&1 >'DIR/rest' | wc -l; \"\$0\" \"\$@\"; echo \"\$? \$(ls -A 'DIR')\""#;
    let Some(mut command) = in_a_small_room(directory.path(), "4k", script) else { return };
    arena.is_not_told_of(|arena| {
        let out = directory.path().join("small/picture.png");
        command.args(["screenshot", "--device", &display.uuid, "--run-dir"]);
        let said = end(command.arg(arena.managed.run_dir()).arg(out).spawn().unwrap());
        assert_eq!(said.out, "1\n1 rest\n", "{said:?}");
        assert!(said.err.contains("No space left on device; make room"), "{said:?}");
    });
}
