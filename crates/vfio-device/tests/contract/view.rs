//! Memory of another process, as a viewer sees it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vfio_device::{Errno, MemoryView, SharedMemory};

/// What a viewer is handed.
fn read_only(memory: &SharedMemory) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", memory.fd().as_raw_fd());
    File::open(path).unwrap().into()
}

#[test]
fn a_viewer_takes_nothing_that_could_be_shrunk_under_it() {
    let unsealed = || {
        let fd = memfd_create("unsealed", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, 4096).unwrap();
        fd
    };
    let grown = unsealed();
    fcntl_add_seals(&grown, SealFlags::GROW | SealFlags::WRITE).unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-APACHE")).unwrap();
    for (what, fd) in [
        ("memory that can be shrunk", unsealed()),
        ("memory with other seals", grown),
        ("a socket", socket.into()),
        ("a file", file.into()),
        ("a device", File::open("/dev/zero").unwrap().into()),
    ] {
        assert_eq!(MemoryView::attach(fd, 4096).unwrap_err(), Errno::INVAL, "{what}");
    }
    // Not every kernel has huge pages.
    let huge = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB | MemfdFlags::ALLOW_SEALING;
    if let Ok(huge) = memfd_create("huge", huge) {
        ftruncate(&huge, 2 << 20).unwrap();
        fcntl_add_seals(&huge, SealFlags::SHRINK).unwrap();
        assert_eq!(MemoryView::attach(huge, 4096).unwrap_err(), Errno::INVAL, "of huge pages");
    }
    let enough = unsealed();
    fcntl_add_seals(&enough, SealFlags::SHRINK).unwrap();
    assert_eq!(MemoryView::attach(enough, 4096).unwrap().size(), 4096);
}

#[test]
fn a_viewer_maps_no_more_than_there_is() {
    let memory = SharedMemory::new("test", 8192).unwrap();
    for size in [0, 8193, 1 << 40, u64::MAX] {
        assert_eq!(
            MemoryView::attach(read_only(&memory), size).unwrap_err(),
            Errno::INVAL,
            "{size}"
        );
    }
    let view = MemoryView::attach(read_only(&memory), 4097).unwrap();
    assert_eq!(view.size(), 4097);
    for (offset, length) in [(4097, 1), (4090, 8), (8191, 1), (u64::MAX, 1), (u64::MAX - 3, 8)] {
        assert_eq!(view.read(offset, &mut vec![0; length]), Err(Errno::INVAL), "{offset:#x}");
    }
}

#[test]
fn a_viewer_sees_what_is_written_also_when_the_owner_has_gone() {
    let memory = SharedMemory::new("test", 8192).unwrap();
    let view = MemoryView::attach(read_only(&memory), 8192).unwrap();
    let read = |offset| {
        let mut data = [9; 4];
        view.read(offset, &mut data).unwrap();
        data
    };
    assert_eq!(read(8188), [0; 4]);
    memory.write(8188, &[1, 2, 3, 4]).unwrap();
    assert_eq!(read(8188), [1, 2, 3, 4]);
    drop(memory);
    assert_eq!(read(8188), [1, 2, 3, 4]);
}
