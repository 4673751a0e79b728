//! The memory of the picture, as the control socket hands it to viewers.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, fchmod, fcntl_getfl, fcntl_setfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Display;
use crate::vfio::Client;
use crate::{mdev_user, plain, soon};

/// A client of the control socket that takes descriptors.
struct Viewer(UnixStream);

impl Viewer {
    fn connect(path: &std::path::Path) -> Self {
        Self(UnixStream::connect(path).unwrap())
    }

    /// The memory of the only device: the descriptor that comes with the next answer.
    #[track_caller]
    fn memory(&mut self) -> OwnedFd {
        self.0.write_all(b"{\"verb\": \"plane\"}\n").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        assert!(buffer[..received.bytes].ends_with(b"\n"), "an answer so short comes at once");
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        assert_eq!(fds.len(), 1);
        fds.remove(0)
    }
}

/// The grey of row 100 of the gradient, 100 * 255 / 480, and where it begins.
const ROW_100: (u64, [u8; 4]) = (4 * 640 * 100, [53; 4]);

#[track_caller]
fn shows_the_gradient(fd: &OwnedFd) {
    let mut data = [0; 4];
    rustix::io::pread(fd, &mut data, ROW_100.0).unwrap();
    assert_eq!(data, ROW_100.1);
}

#[test]
fn the_memory_that_is_handed_out_cannot_be_written_or_cut() {
    let display = Display::vga();
    let fd = Viewer::connect(&display.control()).memory();
    assert_eq!(rustix::io::write(&fd, b"x"), Err(rustix::io::Errno::BADF));
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::fcntl_add_seals(&fd, rustix::fs::SealFlags::WRITE).is_err());
    shows_the_gradient(&fd);
}

#[test]
fn no_two_viewers_share_a_file_offset_or_flags() {
    let display = Display::vga();
    let (mut one, mut other) =
        (Viewer::connect(&display.control()), Viewer::connect(&display.control()));
    let fds = [one.memory(), other.memory(), one.memory()];
    let mut data = [0; 4096];
    for (number, fd) in fds.iter().enumerate() {
        // From the beginning, wherever the others are.
        assert_eq!(rustix::fs::tell(fd), Ok(0), "{number}");
        assert_eq!(fcntl_getfl(fd).unwrap() & OFlags::NONBLOCK, OFlags::empty(), "{number}");
        assert_eq!(rustix::io::read(fd, &mut data[..number + 1]), Ok(number + 1));
        fcntl_setfl(fd, OFlags::NONBLOCK).unwrap();
    }
    let offsets: Vec<_> = fds.iter().map(|fd| rustix::fs::tell(fd).unwrap()).collect();
    assert_eq!(offsets, [1, 2, 3]);
}

#[test]
fn memory_whose_mode_a_client_took_away_is_handed_out_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, path) = (directory.path().join("device.sock"), directory.path().join("control"));
    let mut command = mdev_user(&[]);
    if rustix::process::getuid().is_root() {
        // Root could open it nevertheless, but for these.
        let program = command.get_program().to_owned();
        command = Command::new("setpriv");
        plain(&mut command);
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
    }
    command.args(["serve", "mdpy-vga", "--socket-path"]).arg(&socket);
    command.arg("--control-path").arg(&path);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    soon("it listens", || UnixStream::connect(&path).is_ok());
    let mut client = Client::negotiated(&socket);
    let memory = client.region_info(0, 4096).ok().fds.remove(0);
    fchmod(&memory, Mode::empty()).unwrap();
    let mut viewer = Viewer::connect(&path);
    let fds = [viewer.memory(), viewer.memory()];
    fds.iter().for_each(shows_the_gradient);
    // And could not be opened anew: what is said of that in docs/control.md.
    assert_eq!(rustix::io::read(&fds[0], &mut [0; 8]), Ok(8));
    assert_eq!(rustix::fs::tell(&fds[1]), Ok(8));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_server_that_can_open_no_more_says_so_by_the_name_of_the_error() {
    let display = Display::vga();
    let mut line = super::Line::connect(&display.control());
    line.ask(r#"{"verb": "info"}"#);
    let limit = rustix::process::Rlimit { current: Some(3), maximum: Some(3) };
    let resource = rustix::process::Resource::Nofile;
    rustix::process::prlimit(Some(display.program.pid()), resource, limit).unwrap();
    let (errno, message) = line.refused(r#"{"verb": "plane"}"#);
    assert_eq!(errno, "EMFILE");
    assert_eq!(message, "the memory cannot be handed over: Too many open files");
}

#[test]
fn a_server_that_can_take_no_client_on_rests() {
    let display = Display::vga();
    let limit = rustix::process::Rlimit { current: Some(3), maximum: Some(3) };
    let resource = rustix::process::Resource::Nofile;
    let pid = display.program.pid();
    rustix::process::prlimit(Some(pid), resource, limit).unwrap();
    let _waiting = UnixStream::connect(display.control()).unwrap();
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let accepting = threads
        .map(|thread| thread.unwrap().path())
        .find(|thread| std::fs::read_to_string(thread.join("comm")).unwrap() == "control\n")
        .expect("a thread that accepts");
    // It wakes up ten times a second; without a rest it would never sleep.
    let busy_ns = || -> u64 {
        let text = std::fs::read_to_string(accepting.join("schedstat")).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = busy_ns();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let busy = std::time::Duration::from_nanos(busy_ns() - before);
    assert!(busy < std::time::Duration::from_millis(100), "{busy:?} of 2 s");
}
