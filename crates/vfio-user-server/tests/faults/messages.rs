//! Each action that befalls a message, as its client sees it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use vfio_device::{BarKind, Description, Region, SharedMemory};

use crate::client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, Witness, access, command, version, words,
};
use crate::server::{Server, card};
use crate::{faulty, read};

const EIO: u32 = 5;
const EPROTO: u32 = 71;

/// Nothing comes for a while.
#[track_caller]
fn is_silent(client: &Client) {
    client.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = std::io::Read::read(&mut &client.socket, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    client.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}

#[test]
fn error_leaves_the_command_undone_and_answers_the_errno() {
    let (_server, path) =
        faulty(&["error,errno=EIO,command=region-write", "error,errno=71,command=4"]);
    let mut client = Client::negotiated(&path);
    let write = access(0, 0x10, 4, &[1, 2, 3, 4]);
    client.call(command::REGION_WRITE, &write).refused(EIO);
    assert_eq!(client.read(0, 0x10, 4), [0; 4], "not carried out");
    client.write(0, 0x10, &[1, 2, 3, 4]);
    assert_eq!(client.read(0, 0x10, 4), [1, 2, 3, 4]);
    client.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).refused(EPROTO);
    client.still_in_step();
}

#[test]
fn error_closes_the_descriptors_that_came_along() {
    let (_server, path) = faulty(&["error,errno=EIO,command=dma-map"]);
    let mut client = Client::negotiated(&path);
    let witness = Witness::new();
    client.call_with_fds(command::DMA_MAP, &[0; 32], &[witness.fd().as_fd()]).refused(EIO);
    witness.expect_closed();
    client.still_in_step();
}

#[test]
fn error_at_version_leaves_the_device_to_the_next_try() {
    let (_server, path) = faulty(&["error,errno=EIO,command=version"]);
    let mut client = Client::connect(&path);
    client.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EIO);
    Client::negotiated(&path).still_in_step();
}

#[test]
fn disconnect_leaves_the_command_undone_and_closes() {
    let (_server, path) = faulty(&["disconnect,command=region-write"]);
    let mut client = Client::negotiated(&path);
    client.send(command::REGION_WRITE, 0, &access(0, 0, 4, &[9; 4]), &[]);
    client.is_closed();
    let mut next = Client::negotiated(&path);
    assert_eq!(next.read(0, 0, 4), [0; 4], "not carried out");
}

#[test]
fn disconnect_closes_after_the_answers_to_what_came_before() {
    let (server, path) = faulty(&["disconnect,command=device-reset"]);
    let mut client = Client::negotiated(&path);
    server.held_up(|| {
        client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
        client.send(command::DEVICE_RESET, 0, &[], &[]);
    });
    assert_eq!(client.receive().unwrap().ok().command, command::REGION_READ);
    client.is_closed();
}

#[test]
fn cut_sends_so_many_bytes_of_the_answer_and_closes() {
    // An answer has 36 bytes.
    for (bytes, arrives) in [(0, 0), (1, 1), (16, 16), (35, 35), (36, 36), (4_294_967_295_u32, 36)]
    {
        let (_server, path) = faulty(&[&format!("cut,bytes={bytes},command=region-read")]);
        let mut client = Client::negotiated(&path);
        client.write(0, 0x20, &[1, 2, 3, 4]);
        let id = client.send(command::REGION_READ, 0, &access(0, 0x20, 4, &[]), &[]);
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut client.socket, &mut answer).unwrap();
        let mut whole =
            crate::client::message(id, command::REGION_READ, 1, &access(0, 0x20, 4, &[1, 2, 3, 4]));
        whole.truncate(arrives);
        assert_eq!(answer, whole, "{bytes} bytes");
        Client::negotiated(&path).still_in_step();
    }
}

#[test]
fn cut_and_drop_carry_the_command_out() {
    for fault in ["cut,bytes=0,command=region-write", "drop,command=region-write"] {
        let (_server, path) = faulty(&[fault]);
        let mut client = Client::negotiated(&path);
        client.send(command::REGION_WRITE, 0, &access(0, 8, 2, &[7, 7]), &[]);
        if fault.starts_with("cut") {
            client.is_closed();
            client = Client::negotiated(&path);
        }
        assert_eq!(client.read(0, 8, 2), [7, 7], "{fault}");
    }
}

#[test]
fn cut_closes_after_a_posted_write_too() {
    let (_server, path) = faulty(&["cut,bytes=36,command=region-write"]);
    let mut client = Client::negotiated(&path);
    client.send(command::REGION_WRITE, NO_REPLY, &access(0, 8, 2, &[7, 7]), &[]);
    client.is_closed();
    assert_eq!(Client::negotiated(&path).read(0, 8, 2), [7, 7], "carried out");
}

#[test]
fn all_names_of_errors_are_known() {
    for (name, number) in [
        ("EPERM", 1),
        ("EAGAIN", 11),
        ("EWOULDBLOCK", 11),
        ("ENOTTY", 25),
        ("EDEADLK", 35),
        ("EDEADLOCK", 35),
        ("ENODATA", 61),
        ("EOPNOTSUPP", 95),
        ("ENOTSUP", 95),
        ("ESHUTDOWN", 108),
        ("ESTALE", 116),
        ("EHWPOISON", 133),
    ] {
        let (_server, path) = faulty(&[&format!("error,errno={name},command=region-read")]);
        read(&mut Client::negotiated(&path), 0).refused(number);
    }
}

#[test]
fn short_answers_are_well_formed_and_have_no_longer_body() {
    for (bytes, size) in [(0, 16), (1, 17), (16, 32), (19, 35), (20, 36), (4_294_967_295_u32, 36)] {
        let (_server, path) = faulty(&[&format!("short,bytes={bytes},command=region-read")]);
        let mut client = Client::negotiated(&path);
        let reply = read(&mut client, 0x40).ok();
        assert_eq!((reply.size, reply.body.len()), (size, size as usize - 16));
        let whole = access(0, 0x40, 4, &[0; 4]);
        assert_eq!(reply.body, whole[..reply.body.len()]);
        assert_eq!(read(&mut client, 0x40).ok().size, 36);
        client.still_in_step();
    }
}

#[test]
fn an_error_is_no_shorter_for_short() {
    let (_server, path) = faulty(&["short,bytes=0,command=region-read"]);
    let mut client = Client::negotiated(&path);
    client.call(command::REGION_READ, &access(0, 0x1000, 1, &[])).refused(22);
}

#[test]
fn drop_answers_all_but_that_message() {
    let (_server, path) = faulty(&["drop,command=region-read,at=2"]);
    let mut client = Client::negotiated(&path);
    let ids: Vec<_> =
        (0..3).map(|_| client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[])).collect();
    assert_eq!(client.receive().unwrap().ok().id, ids[0]);
    assert_eq!(client.receive().unwrap().ok().id, ids[2]);
    client.still_in_step();
}

#[test]
fn delay_holds_up_the_answer_and_what_follows_and_nothing_else() {
    // So long that a busy machine comes to ask others meanwhile.
    let delay = Duration::from_secs(2);
    let (server, path) = faulty(&["delay,ms=2000,command=region-read"]);
    let mut other = Client::negotiated(&server.path());
    let mut client = Client::negotiated(&path);
    let begin = Instant::now();
    let read = client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    let write = client.send(command::REGION_WRITE, 0, &access(0, 0, 4, &[5; 4]), &[]);
    // More than the server has room for at first, and less than the socket has.
    for round in 0..150 {
        client.send(command::REGION_WRITE, NO_REPLY, &access(0, 4, 64, &[round; 64]), &[]);
    }
    (0..100).for_each(|_| other.still_in_step());
    is_silent(&client);

    let reply = client.receive().unwrap().ok();
    assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
    assert_eq!((reply.id, &reply.body[16..]), (read, &[0; 4][..]), "carried out before the write");
    assert_eq!(client.receive().unwrap().ok().id, write);
    assert_eq!(client.read(0, 0, 8), [5, 5, 5, 5, 149, 149, 149, 149]);
}

#[test]
fn the_loop_sleeps_while_an_answer_is_held_up() {
    let (server, path) =
        faulty(&["delay,ms=600,command=region-read", "stall,command=device-reset"]);
    let mut client = Client::negotiated(&path);
    client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    std::thread::sleep(Duration::from_millis(50));
    // It waits in the socket, and must not wake the loop over and over.
    client.send(command::DEVICE_RESET, 0, &[], &[]);
    server.is_asleep();
    assert!(client.receive().is_some());
    std::thread::sleep(Duration::from_millis(50));
    client.send(command::DEVICE_RESET, 0, &[], &[]);
    server.is_asleep();
}

#[test]
fn a_delay_of_what_wants_no_answer_holds_up_what_follows() {
    let (_server, path) = faulty(&["delay,ms=300,command=region-write"]);
    let mut client = Client::negotiated(&path);
    let begin = Instant::now();
    client.send(command::REGION_WRITE, NO_REPLY, &access(0, 0, 4, &[5; 4]), &[]);
    assert_eq!(client.read(0, 0, 4), [5; 4]);
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[test]
fn a_delayed_answer_brings_its_descriptor() {
    fn description() -> Description {
        card().bar(
            1,
            BarKind::Memory32,
            Region::mapped(SharedMemory::new("faults", 0x1000).unwrap()),
        )
    }
    let server = Server::of(card);
    let path = server.add("x", description, &["delay,ms=20,command=device-get-region-info"]);
    let mut client = Client::negotiated(&path);
    let info = client.region_info(1, 32).ok();
    assert_eq!((info.u64(16), info.fds.len()), (0x1000, 1));
}

#[test]
fn stall_answers_nothing_any_more_and_keeps_the_device() {
    let (server, path) = faulty(&["stall,command=region-write"]);
    let mut client = Client::negotiated(&path);
    client.send(command::REGION_WRITE, 0, &access(0, 0, 4, &[5; 4]), &[]);
    client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    is_silent(&client);
    Client::connect(&path).call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(16);
    Client::negotiated(&server.path()).still_in_step();
    is_silent(&client);
    // Until its client leaves.
    drop(client);
    let mut next = Client::negotiated(&path);
    assert_eq!(next.read(0, 0, 4), [5; 4], "carried out");
}

#[test]
fn a_client_that_only_stops_sending_has_not_left_a_stall() {
    let (_server, path) = faulty(&["stall,command=region-write"]);
    let mut client = Client::negotiated(&path);
    client.send(command::REGION_WRITE, 0, &access(0, 0, 4, &[5; 4]), &[]);
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    is_silent(&client);
    Client::connect(&path).call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(16);
    drop(client);
    Client::negotiated(&path).still_in_step();
}

#[test]
fn a_client_may_leave_while_its_answer_is_held_up() {
    for fault in ["delay,ms=3600000,command=region-read", "delay,ms=3600000,command=region-write"] {
        let (_server, path) = faulty(&[fault]);
        let mut client = Client::negotiated(&path);
        client.send(command::REGION_WRITE, NO_REPLY, &access(0, 0, 4, &[5; 4]), &[]);
        client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
        drop(client);
        Client::negotiated(&path).still_in_step();
    }
}

#[test]
fn a_held_up_version_makes_its_client_the_user_all_the_same() {
    let (_server, path) = faulty(&["stall,command=version"]);
    let mut client = Client::connect(&path);
    client.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
    is_silent(&client);
    Client::connect(&path).call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(16);
    drop(client);
    Client::negotiated(&path).still_in_step();
}

#[test]
fn a_refusal_that_ends_the_connection_ends_it_after_the_delay() {
    let (_server, path) = faulty(&["delay,ms=50,command=version"]);
    let mut client = Client::connect(&path);
    client.call(command::VERSION, &version(1, 0, QEMU_CAPABILITIES)).refused(22);
    client.is_closed();
}

#[test]
fn several_connections_can_be_held_up_at_once() {
    let (_server, path) = faulty(&["delay,ms=200,command=version,count=always"]);
    let begin = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&path)).collect();
    for client in &mut clients {
        client.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
    }
    let errors: Vec<_> = clients.iter_mut().map(|client| client.receive().unwrap().error).collect();
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(
        errors.iter().filter(|error| **error == 0).count(),
        1,
        "one is the user: {errors:?}"
    );
    assert_eq!(errors.iter().filter(|error| **error == 16).count(), 7, "{errors:?}");
}
