//! The other tests look into the log for refused commands: it would have them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::served::{REFUSED, Served};

#[test]
fn a_refused_command_is_logged_as_one() {
    let served = Served::start("mtty-1");
    assert!(!served.log().contains(REFUSED));
    let mut client = UnixStream::connect(served.socket()).unwrap();
    // A header alone: DEVICE_GET_INFO, before any VERSION.
    client.write_all(&[1, 0, 4, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut reply = [0; 16];
    client.read_exact(&mut reply).unwrap();
    // A reply with the error bit, and EINVAL.
    assert_eq!((reply[8], reply[12]), (0x21, 22));
    served.wait_for_log(REFUSED, 1);
    println!("{}", served.log());
}
