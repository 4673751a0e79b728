//! Stands between a client and the program, and writes down what they say.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::client::{Client, Reply, message};
use crate::conversation::{replied, said};

/// Listens at `path` for one client of the server at `server`. The lines come in the order in which the messages passed.
pub fn record(path: &Path, server: &Path) -> Receiver<String> {
    let listener = UnixListener::bind(path).unwrap();
    let server = server.to_owned();
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = Client::connect(&server).socket;
        let ends = || (patient(client.try_clone().unwrap()), patient(server.try_clone().unwrap()));
        let (client_end, server_end) = ends();
        let other = sender.clone();
        let back = std::thread::spawn(move || pass(server_end, client_end, replied, &other));
        let (client_end, server_end) = ends();
        pass(client_end, server_end, said, &sender);
        back.join().unwrap();
    });
    lines
}

fn patient(socket: std::os::unix::net::UnixStream) -> Client {
    let client = Client::new(socket);
    client.socket.set_read_timeout(None).unwrap();
    client
}

/// Passes whole messages on, until one side has left.
fn pass(mut from: Client, mut to: Client, line: fn(&Reply) -> String, lines: &Sender<String>) {
    while let Some(it) = from.receive() {
        // Nobody may listen any more: a recording ends before its conversation.
        let _ = lines.send(line(&it));
        let mut bytes = message(it.id, it.command, it.flags, &it.body);
        bytes[12..16].copy_from_slice(&it.error.to_ne_bytes());
        let fds: Vec<_> = it.fds.iter().map(AsFd::as_fd).collect();
        to.send_raw_with_fds(&bytes, &fds);
    }
    let _ = to.socket.shutdown(std::net::Shutdown::Both);
}
