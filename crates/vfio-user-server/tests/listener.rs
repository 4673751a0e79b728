#![cfg(test)]
//! The socket: who may connect, whose place it may take, and what it leaves behind.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use client::Client;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use server::{Server, card};
use vfio_user_server::{ListenError, Listener};

/// A directory and a path in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.sock");
    (directory, path)
}

/// A socket whose server has died.
fn stale() -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    (directory, path)
}

#[test]
fn a_path_that_is_too_long_is_refused_and_named() {
    let (directory, _) = place();
    let room = 107 - directory.path().as_os_str().len() - 1;
    let longest = directory.path().join("s".repeat(room));
    let too_long = directory.path().join("s".repeat(room + 1));
    let error = Listener::bind(&too_long).unwrap_err();
    assert!(matches!(error, ListenError::TooLong { .. }), "{error:?}");
    assert!(error.to_string().contains("at most 107 bytes"), "{error}");
    assert!(!too_long.exists());
    let listener = Listener::bind(&longest).unwrap();
    UnixStream::connect(&longest).unwrap();
    drop(listener);
    assert!(!longest.exists());
}

#[test]
fn an_empty_path_is_refused_and_the_system_names_none() {
    let error = Listener::bind("".as_ref()).unwrap_err();
    assert!(matches!(error, ListenError::Empty), "{error:?}");
    assert_eq!(error.to_string(), "the path of the socket is empty; name one");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let (directory, _) = place();
    let error = Listener::bind(&directory.path().join("none/device.sock")).unwrap_err();
    assert!(matches!(error, ListenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("none/device.sock"), "{error}");
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    let error = Listener::bind(directory.path()).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error:?}");
    assert!(path.exists());

    let link = directory.path().join("link");
    symlink("nowhere", &link).unwrap();
    let error = Listener::bind(&link).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error:?}");
    assert!(link.is_symlink() && !directory.path().join("nowhere").exists());
}

#[test]
fn a_socket_on_which_somebody_listens_is_left_alone() {
    let (_directory, path) = place();
    let first = Listener::bind(&path).unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error:?}");
    UnixStream::connect(&path).unwrap();
    drop(first);

    let other = UnixListener::bind(&path).unwrap();
    assert!(matches!(Listener::bind(&path), Err(ListenError::InUse { .. })));
    drop(other);
    fs::remove_file(&path).unwrap();

    let _datagrams = UnixDatagram::bind(&path).unwrap();
    assert!(matches!(Listener::bind(&path), Err(ListenError::InUse { .. })));
    assert!(path.exists());
}

#[test]
fn a_server_that_accepts_nobody_any_more_is_a_server_all_the_same() {
    let (_directory, path) = place();
    let address = SocketAddrUnix::new(&path).unwrap();
    let stream = |flags| {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    };
    let busy = stream(SocketFlags::CLOEXEC);
    rustix::net::bind(&busy, &address).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let one_more = stream(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        if rustix::net::connect(&one_more, &address).is_err() {
            break;
        }
        waiting.push(one_more);
    }
    assert!(matches!(Listener::bind(&path), Err(ListenError::InUse { .. })));
    assert!(path.exists());
}

/// Conformance: S12.
#[test]
fn only_the_owner_may_connect() {
    let (_directory, path) = place();
    let _listener = Listener::bind(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_stale_socket_is_taken_over() {
    let (_directory, path) = stale();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(listener.path(), Some(path.as_path()));
    UnixStream::connect(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn of_many_that_find_a_stale_socket_one_takes_it_over() {
    for _ in 0..10 {
        let (_directory, path) = stale();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Listener::bind(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, ListenError::InUse { .. }), "{error:?}");
        }
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn its_own_socket_goes_with_it() {
    let (_directory, path) = place();
    drop(Listener::bind(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn what_somebody_else_put_in_its_place_stays() {
    let (_directory, path) = place();
    let listener = Listener::bind(&path).unwrap();
    // Kept, so that its inode is not used again.
    fs::rename(&path, path.with_extension("old")).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    drop(listener);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    drop(other);
}

#[test]
fn a_socket_that_is_gone_already_is_not_missed() {
    let (_directory, path) = place();
    let listener = Listener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    drop(listener);
}

#[test]
fn an_inherited_socket_stays() {
    let (_directory, path) = place();
    let inherited = Listener::inherited(UnixListener::bind(&path).unwrap()).unwrap();
    assert_eq!(inherited.path(), None);
    drop(inherited);
    assert!(path.exists());
}

/// Conformance: S14.
#[test]
fn a_server_removes_its_socket_at_the_end_with_a_client_there() {
    let server = Server::of(card);
    let path = server.path();
    let mut client = Client::negotiated(&path);
    // Its directory would take the socket with it.
    let link = path.with_file_name("kept");
    fs::hard_link(&path, &link).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = elsewhere.path().join("kept");
    fs::rename(&link, &kept).unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().nlink(), 2);
    drop(server);
    assert_eq!(fs::metadata(&kept).unwrap().nlink(), 1);
    client.is_closed();
    assert!(UnixStream::connect(&kept).is_err());
}
