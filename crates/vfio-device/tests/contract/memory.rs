#![cfg(test)]
//! Shared memory: sealed, lazy, closed on exec.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate};
use rustix::io::{FdFlags, fcntl_getfd};
use vfio_device::{BarKind, Context, Errno, OpenMode, Region, SharedMemory, Vfio};

use crate::support::{Call, Log, Probe, alloc, plain};

/// What a client holds.
fn sent(memory: &SharedMemory) -> OwnedFd {
    memory.fd().try_clone_to_owned().unwrap()
}

#[test]
fn no_bytes_too_many_bytes_and_names_that_cannot_be_are_refused() {
    assert_eq!(SharedMemory::new("test", 0).unwrap_err(), Errno::INVAL);
    for size in [u64::MAX, 1 << 63, i64::MAX.unsigned_abs()] {
        assert!(SharedMemory::new("test", size).is_err(), "{size:#x}");
    }
    assert_eq!(SharedMemory::new("nul\0nul", 4096).unwrap_err(), Errno::INVAL);
    assert_eq!(SharedMemory::new(&"x".repeat(300), 4096).unwrap_err(), Errno::INVAL);
}

#[test]
fn accesses_outside_are_refused() {
    let memory = SharedMemory::new("test", 100).unwrap();
    for (offset, length) in [(100, 1), (97, 4), (u64::MAX, 1), (u64::MAX - 3, 8)] {
        let mut data = vec![7; length];
        assert_eq!(memory.read(offset, &mut data), Err(Errno::INVAL), "{offset:#x}");
        assert_eq!(memory.write(offset, &data), Err(Errno::INVAL), "{offset:#x}");
    }
    assert_eq!(memory.write(96, &[1, 2, 3, 4]), Ok(()));
}

#[test]
fn a_client_can_neither_shrink_nor_grow_nor_seal_it() {
    let memory = SharedMemory::new("test", 8192).unwrap();
    let fd = sent(&memory);
    for size in [0, 4096, 16384] {
        assert_eq!(ftruncate(&fd, size), Err(Errno::PERM), "{size}");
    }
    assert_eq!(fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    assert_eq!(fcntl_get_seals(&fd), Ok(seals));
    assert_eq!(memory.size(), 8192);
}

#[test]
fn a_client_sees_the_same_bytes() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    let mut client = File::from(sent(&memory));
    client.write_all(b"client").unwrap();
    let mut data = [0; 6];
    memory.read(0, &mut data).unwrap();
    assert_eq!(&data, b"client");
    memory.clone().write(0, b"device").unwrap();
    let read = rustix::io::pread(&client, &mut data, 0);
    assert_eq!((read, &data), (Ok(6), b"device"));
}

#[test]
fn a_client_cannot_write_what_is_read_only() {
    let memory = SharedMemory::new_read_only("test", 4096).unwrap();
    assert!(memory.is_read_only() && !SharedMemory::new("test", 4096).unwrap().is_read_only());
    memory.write(0, b"rom").unwrap();
    let client = File::from(sent(&memory));
    assert_eq!((&client).write(b"x").unwrap_err().raw_os_error(), Some(1)); // EPERM
    let again =
        OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", client.as_raw_fd()));
    assert!(again.is_err() || again.unwrap().write(b"x").is_err());
    let mut data = [0; 3];
    assert_eq!(rustix::io::pread(&client, &mut data, 0), Ok(3));
    assert_eq!(&data, b"rom");
    memory.write(0, b"still ours").unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::FUTURE_WRITE;
    assert_eq!(fcntl_get_seals(&client), Ok(seals));
}

#[test]
fn a_page_costs_memory_when_it_is_first_written() {
    let memory = SharedMemory::new("test", 1 << 30).unwrap();
    let blocks = || File::from(sent(&memory)).metadata().unwrap().blocks() * 512;
    assert_eq!(blocks(), 0);
    memory.write(0x1234_5678, &[1]).unwrap();
    memory.write((1 << 30) - 1, &[1]).unwrap();
    assert!((8192..=4 << 20).contains(&blocks()), "{} bytes", blocks());
}

#[test]
fn the_descriptor_is_closed_on_exec() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    assert!(fcntl_getfd(memory.fd()).unwrap().contains(FdFlags::CLOEXEC));
}

#[test]
fn a_duplicate_has_the_same_bytes_and_no_more_pages_and_is_a_memory_of_its_own() {
    let memory = SharedMemory::new("test", (64 << 20) + 100).unwrap();
    memory.write(0x12_3456, b"picture").unwrap();
    memory.write((64 << 20) + 93, b"the end").unwrap();
    let other = memory.duplicate("other").unwrap();
    let [blocks, others] =
        [&memory, &other].map(|it| File::from(sent(it)).metadata().unwrap().blocks() * 512);
    assert_eq!((blocks, others), (8192, 8192), "bytes populated");
    memory.write(0x12_3456, b"changed").unwrap();
    let mut data = [0; 7];
    other.read(0x12_3456, &mut data).unwrap();
    assert_eq!(&data, b"picture");
    other.read((64 << 20) + 93, &mut data).unwrap();
    assert_eq!((&data, other.size()), (b"the end", (64 << 20) + 100));
    assert_eq!(ftruncate(sent(&other), 0), Err(Errno::PERM), "sealed as well");
    let rom = SharedMemory::new_read_only("rom", 5000).unwrap();
    rom.write(4090, b"rom").unwrap();
    let other = rom.duplicate("other").unwrap();
    other.read(4090, &mut data[..3]).unwrap();
    assert_eq!((&data[..3], other.is_read_only()), (&b"rom"[..], true));
}

#[test]
fn a_duplicate_has_every_byte_whichever_pages_are_empty() {
    const PAGES: usize = 100;
    let memory = SharedMemory::new("test", PAGES as u64 * 4096).unwrap();
    let mut all = vec![0; PAGES * 4096];
    // Runs of all lengths, over the borders of whatever is copied at once.
    for (number, page) in all.chunks_mut(4096).enumerate() {
        let byte = if number * number % 7 < 4 { 0 } else { number as u8 };
        *page.last_mut().unwrap() = byte;
    }
    memory.write(0, &all).unwrap();
    let mut found = vec![0; all.len()];
    memory.duplicate("other").unwrap().read(0, &mut found).unwrap();
    assert!(found == all);
}

/// A device whose BAR 0 is `memory` and whose BAR 2 is trapped, and which does `at_open` when it is opened.
fn opening(
    memory: &SharedMemory,
    mut at_open: impl FnMut(&mut Context) -> Result<(), Errno> + Send + 'static,
) -> vfio_device::Device {
    let act = move |call: Call<'_>, cx: &mut Context| match call {
        Call::Open => at_open(cx),
        _ => Ok(()),
    };
    let description = plain().bar(0, BarKind::Prefetchable32, Region::mapped(memory.clone())).bar(
        2,
        BarKind::Memory32,
        Region::trapped(4096),
    );
    let mut device = alloc(&Vfio::new(), description, Probe::acting(&Log::default(), act));
    device.register().unwrap();
    device
}

#[test]
fn memory_is_not_replaced_by_other_than_its_like_nor_where_there_is_none() {
    let memory = SharedMemory::new("test", 8192).unwrap();
    let mut device = opening(&memory, |cx| {
        let like = || SharedMemory::new("other", 8192).unwrap();
        for (region, memory) in [
            (0, SharedMemory::new("other", 4096).unwrap()),
            (0, SharedMemory::new("other", 16384).unwrap()),
            (0, SharedMemory::new_read_only("other", 8192).unwrap()),
            (1, like()),
            (2, like()),
            (7, like()),
            (9, like()),
            (u32::MAX, like()),
        ] {
            assert_eq!(cx.replace_memory(region, memory), Err(Errno::INVAL), "region {region}");
        }
        Ok(())
    });
    device.open(OpenMode::Exclusive).unwrap();
    memory.write(5000, &[7]).unwrap();
    let mut byte = [0];
    device.region_read(0, 5000, &mut byte).unwrap();
    assert_eq!(byte, [7]);
}

#[test]
fn memory_is_not_replaced_while_a_client_may_have_mapped_it() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    let act = |call: Call<'_>, cx: &mut Context| {
        let replaced = cx.replace_memory(0, SharedMemory::new("other", 4096).unwrap());
        let expected = if matches!(call, Call::Open) { Ok(()) } else { Err(Errno::BUSY) };
        assert_eq!(replaced, expected);
        Ok(())
    };
    let description = plain().bar(0, BarKind::Prefetchable32, Region::mapped(memory));
    let mut device = alloc(&Vfio::new(), description, Probe::acting(&Log::default(), act));
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device.reset();
    device.region_write(7, 4, &[0]).unwrap();
    device.close();
}

#[test]
fn a_device_is_told_whether_it_has_had_a_user_and_one_that_was_refused_is_none() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    let mut users = 0;
    let mut device = opening(&memory, move |cx| {
        users += 1;
        sender.send(cx.was_open()).unwrap();
        if users == 1 { Err(Errno::NOMEM) } else { Ok(()) }
    });
    assert_eq!(device.open(OpenMode::Exclusive), Err(Errno::NOMEM));
    for _ in 0..3 {
        device.open(OpenMode::Exclusive).unwrap();
        device.reset();
        device.close();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false, false, true, true]);
}

/// Bytes of memory that a file takes.
fn populated(fd: &OwnedFd) -> u64 {
    File::from(fd.try_clone().unwrap()).metadata().unwrap().blocks() * 512
}

#[test]
fn a_client_that_comes_again_and_keeps_what_it_was_handed_piles_nothing_up() {
    let memory = SharedMemory::new("test", 1 << 20).unwrap();
    let mut device =
        opening(&memory, |cx| cx.replace_memory(0, SharedMemory::new("next", 1 << 20)?));
    drop(memory);
    let mut kept = Vec::new();
    for _ in 0..5 {
        device.open(OpenMode::Exclusive).unwrap();
        device.region_write(0, 0, &[1; 1 << 20]).unwrap();
        kept.push(sent(device.region(0).unwrap().memory().unwrap()));
        device.close();
    }
    let pages: Vec<_> = kept.iter().map(populated).collect();
    assert_eq!(pages, [0, 0, 0, 0, 1 << 20]);
    assert_eq!(rustix::fs::fstat(&kept[0]).unwrap().st_size, 1 << 20, "no access raises SIGBUS");
    drop(device);
    assert_eq!(populated(&kept[4]), 1 << 20, "the last picture stays who has it");
}

#[test]
fn memory_that_somebody_here_still_looks_at_is_emptied_when_they_have_done() {
    let memory = SharedMemory::new("test", 8192).unwrap();
    let mut device = opening(&memory, |cx| cx.replace_memory(0, SharedMemory::new("next", 8192)?));
    memory.write(4096, b"picture").unwrap();
    let fd = sent(&memory);
    device.open(OpenMode::Exclusive).unwrap();
    let mut seen = [0; 7];
    memory.read(4096, &mut seen).unwrap();
    assert_eq!((&seen, populated(&fd)), (b"picture", 4096));
    drop(memory);
    assert_eq!(populated(&fd), 0);
}

#[test]
fn a_viewer_s_descriptor_reads_alone_whoever_forbids_the_memory_to_be_opened() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    rustix::fs::fchmod(sent(&memory), rustix::fs::Mode::empty()).unwrap();
    memory.write(0, b"seen").unwrap();
    let reader = memory.reader().unwrap();
    let mut seen = [0; 4];
    assert_eq!((rustix::io::pread(reader, &mut seen, 0), &seen), (Ok(4), b"seen"));
    assert_eq!(rustix::io::pwrite(reader, b"x", 0), Err(Errno::BADF));
    assert!(fcntl_getfd(reader).unwrap().contains(FdFlags::CLOEXEC));
}

#[test]
fn who_kept_the_memory_of_an_earlier_client_neither_sees_nor_disturbs_the_next() {
    let memory = SharedMemory::new("test", 4096).unwrap();
    let mut device = opening(&memory, |cx| cx.replace_memory(0, SharedMemory::new("next", 4096)?));
    device.open(OpenMode::Exclusive).unwrap();
    let kept = device.region(0).unwrap().memory().unwrap().clone();
    device.region_write(0, 16, b"secret").unwrap();
    device.close();
    let mut data = [0; 6];
    kept.read(16, &mut data).unwrap();
    assert_eq!(&data, b"secret", "it is not taken from who has it");
    device.open(OpenMode::Exclusive).unwrap();
    kept.write(16, b"attack").unwrap();
    device.region_read(0, 16, &mut data).unwrap();
    assert_eq!(data, [0; 6]);
    let now = device.region(0).unwrap().memory().unwrap().clone();
    device.region_write(0, 16, b"second").unwrap();
    now.read(16, &mut data).unwrap();
    assert_eq!(&data, b"second", "what a client is handed and what messages reach is the same");
    kept.read(16, &mut data).unwrap();
    assert_eq!(&data, b"attack");
}
