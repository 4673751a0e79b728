//! Bytes and descriptors over real socket pairs.

#![cfg(test)]
#![expect(
    unsafe_code,
    reason = "SIGPIPE, which Rust's start-up code ignores, is restored for one test"
)]

use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vfio_user_server::transport::{Fds, Peer, Received, peer, receive, send};

/// A client's end and a server's end.
fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn file(size: u64) -> OwnedFd {
    let file = File::from(memfd_create("", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(size).unwrap();
    file.into()
}

/// Tells files of [`file`] apart.
fn size_of_file(fd: impl AsFd) -> i64 {
    fstat(fd).unwrap().st_size
}

fn send_all(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    assert_eq!(send(socket, bytes, fds).unwrap(), bytes.len());
}

/// More descriptors than `send` would take.
fn send_many(
    socket: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(300))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())
}

/// The bytes of one read and the sizes of the files that came with it.
fn read(socket: &UnixStream) -> (Vec<u8>, Vec<i64>) {
    let mut fds = Fds::new();
    let mut buf = [0; 4096];
    let got = receive(socket, &mut buf, &mut fds).unwrap();
    assert_eq!(got, Received { bytes: got.bytes, fds: fds.len(), fds_lost: false });
    (buf[..got.bytes].to_vec(), fds.drain().map(size_of_file).collect())
}

#[test]
fn descriptors_belong_to_the_last_message_begun_in_a_read() {
    let (client, server) = pair();
    let fd = file(7);
    send_all(&client, b"A", &[]);
    send_all(&client, b"B", &[fd.as_fd()]);
    send_all(&client, b"C", &[]);
    assert_eq!(read(&server), (b"AB".to_vec(), vec![7]));
    assert_eq!(read(&server), (b"C".to_vec(), vec![]));
}

#[test]
fn a_read_ends_after_each_send_that_carried_descriptors() {
    let (client, server) = pair();
    let fds = [file(1), file(2), file(3)];
    send_all(&client, b"A", &[fds[0].as_fd()]);
    send_all(&client, b"B", &[fds[1].as_fd(), fds[2].as_fd()]);
    send_all(&client, b"C", &[]);
    send_all(&client, b"D", &[]);
    assert_eq!(read(&server), (b"A".to_vec(), vec![1]));
    assert_eq!(read(&server), (b"B".to_vec(), vec![2, 3]));
    assert_eq!(read(&server), (b"CD".to_vec(), vec![]));
}

#[test]
fn descriptors_come_with_the_first_piece_of_what_they_were_sent_with() {
    let (client, server) = pair();
    send_all(&client, b"ABCD", &[file(5).as_fd()]);
    let mut fds = Fds::new();
    let mut buf = [0; 3];
    assert_eq!(
        receive(&server, &mut buf, &mut fds).unwrap(),
        Received { bytes: 3, fds: 1, fds_lost: false }
    );
    assert_eq!(
        receive(&server, &mut buf, &mut fds).unwrap(),
        Received { bytes: 1, fds: 0, fds_lost: false }
    );
    assert_eq!(fds.len(), 1);
}

#[test]
fn one_read_takes_253_descriptors_in_order() {
    let (client, server) = pair();
    let files: Vec<_> = (0..253).map(file).collect();
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    assert_eq!(send_many(&client, b"x", &borrowed), Ok(1));
    assert_eq!(read(&server), (b"x".to_vec(), (0..253).collect()));

    let one_more = [borrowed, vec![files[0].as_fd()]].concat();
    assert!(send_many(&client, b"x", &one_more).is_err(), "the kernel passes no more than that");
}

#[test]
fn descriptors_that_find_no_room_are_lost_and_said_to_be() {
    let (client, server) = pair();
    let files: Vec<_> = (0..200).map(file).collect();
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let (mut fds, mut more, mut buf) = (Fds::new(), Fds::new(), [0; 8]);
    send_many(&client, b"x", &borrowed).unwrap();
    assert_eq!(
        receive(&server, &mut buf, &mut fds).unwrap(),
        Received { bytes: 1, fds: 200, fds_lost: false }
    );
    send_many(&client, b"x", &borrowed).unwrap();
    assert_eq!(
        receive(&server, &mut buf, &mut fds).unwrap(),
        Received { bytes: 1, fds: 53, fds_lost: true }
    );

    assert!(more.append(&mut fds), "an empty queue has room for a full one");
    assert_eq!((more.len(), fds.len()), (253, 0));
    send_many(&client, b"x", &borrowed[..1]).unwrap();
    receive(&server, &mut buf, &mut fds).unwrap();
    assert!(!more.append(&mut fds));
    assert_eq!((more.len(), fds.len()), (253, 0));
}

#[test]
fn descriptors_arrive_close_on_exec() {
    let (client, server) = pair();
    let fd = rustix::io::fcntl_dupfd_cloexec(file(0), 0).unwrap();
    rustix::io::fcntl_setfd(&fd, FdFlags::empty()).unwrap();
    send_all(&client, b"x", &[fd.as_fd(), fd.as_fd()]);
    let mut fds = Fds::new();
    receive(&server, &mut [0; 8], &mut fds).unwrap();
    for fd in fds.drain() {
        assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
    }
}

#[test]
fn the_only_descriptor_is_taken_only_if_it_is_the_only_one() {
    let (client, server) = pair();
    let fd = file(3);
    for (count, taken) in [(0, None), (1, Some(3)), (2, None)] {
        send_all(&client, b"x", &vec![fd.as_fd(); count]);
        let mut fds = Fds::new();
        receive(&server, &mut [0; 8], &mut fds).unwrap();
        assert_eq!(fds.take_only().map(size_of_file), taken, "{count} descriptors");
    }
}

#[test]
fn control_messages_of_other_kinds_are_dropped() {
    let (client, server) = pair();
    set_socket_passcred(&server, true).unwrap();
    send_all(&client, b"A", &[]);
    assert_eq!(read(&server), (b"A".to_vec(), vec![]));
    send_all(&client, b"B", &[file(4).as_fd()]);
    assert_eq!(read(&server), (b"B".to_vec(), vec![4]));
}

#[test]
fn up_to_16_descriptors_can_be_sent_and_only_with_a_byte() {
    let (client, server) = pair();
    let files: Vec<_> = (0..17).map(file).collect();
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    for (name, bytes, fds) in [("17", &b"x"[..], &borrowed[..]), ("no byte", b"", &borrowed[..1])] {
        let kind = send(&client, bytes, fds).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::InvalidInput, "{name}");
    }
    for count in 0..=16 {
        send_all(&client, b"x", &borrowed[..count]);
        assert_eq!(read(&server), (b"x".to_vec(), (0..count as i64).collect()));
    }
}

#[test]
fn nothing_to_read_and_no_room_to_write_do_not_block() {
    let (client, server) = pair();
    let kind = receive(&server, &mut [0; 8], &mut Fds::new()).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::WouldBlock);
    let full = loop {
        if let Err(error) = send(&client, &[0; 4096], &[]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_partial_send_says_how_much_went_and_its_descriptors_go_once() {
    let (client, server) = pair();
    let data: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let fd = file(6);
    let mut sent = send(&client, &data, &[fd.as_fd()]).unwrap();
    assert!((1..data.len()).contains(&sent), "{sent} bytes");

    let (mut got, mut files) = (Vec::new(), Vec::new());
    while got.len() < data.len() {
        let (bytes, fds) = read(&server);
        got.extend(bytes);
        files.extend(fds);
        match send(&client, &data[sent..], &[]) {
            Ok(more) => sent += more,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(got == data);
    assert_eq!(files, [6]);
}

#[test]
fn a_peer_that_left_reads_as_no_bytes() {
    let (client, server) = pair();
    send_all(&client, b"last", &[]);
    drop(client);
    assert_eq!(read(&server), (b"last".to_vec(), vec![]));
    for _ in 0..2 {
        assert_eq!(read(&server), (vec![], vec![]));
    }
}

#[test]
fn a_peer_that_left_without_reading_resets_the_connection() {
    let (client, server) = pair();
    send_all(&server, b"unread", &[]);
    drop(client);
    let kind = receive(&server, &mut [0; 8], &mut Fds::new()).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

#[test]
fn sending_to_a_peer_that_left_is_an_error_and_no_signal() {
    // SAFETY: no handler is installed; the other tests of this file never write to a closed socket or pipe.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_eq!(before, libc::SIG_IGN);
    let (client, server) = pair();
    drop(client);
    for fds in [&[][..], &[file(0).as_fd()]] {
        let kind = send(&server, b"x", fds).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::BrokenPipe);
    }
}

#[test]
fn an_empty_buffer_is_not_mistaken_for_the_end() {
    let (_client, server) = pair();
    let kind = receive(&server, &mut [], &mut Fds::new()).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::InvalidInput);
}

#[test]
fn a_socket_s_peer_has_a_process_and_a_file_has_none() {
    let (client, _server) = pair();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(peer(&client), Peer { pid: Some(std::process::id()), uid: Some(uid) });
    assert_eq!(peer(file(0)), Peer { pid: None, uid: None });
}
