#![cfg(test)]
//! `serve`: what ends it, and what it leaves behind. Its signals are tested where it is a program: the examples.

#[path = "common/client.rs"]
mod client;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, access, command::REGION_READ};
use vfio_device::{BarKind, Context, Description, Device, Region, Vfio, VfioDevice};
use vfio_user_server::{ServeError, serve};

/// Panics when it is read.
struct Faulty;

impl VfioDevice for Faulty {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {
        panic!("this is part of the test");
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
}

fn device() -> Device {
    let what = Description::pci(1, 2).bar(0, BarKind::Io, Region::trapped(4));
    let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Faulty)))).unwrap();
    device.register().unwrap();
    device
}

#[test]
fn a_socket_that_cannot_be_made_is_an_error_that_names_it() {
    let error = serve(device(), Path::new("/nowhere/at/all")).unwrap_err();
    assert!(matches!(&error, ServeError::Listen(_)), "{error:?}");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[test]
fn a_device_that_panics_ends_it_and_the_socket_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.sock");
    let serving = thread::spawn({
        let path = path.clone();
        move || serve(device(), &path)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&path).is_err() {
        assert!(Instant::now() < deadline, "nobody listens");
        thread::sleep(Duration::from_millis(1));
    }
    let mut client = Client::negotiated(&path);
    client.send(REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    let ended = serving.join().unwrap();
    assert!(matches!(&ended, Err(ServeError::Faulted)), "{ended:?}");
    assert!(!path.exists());
}
