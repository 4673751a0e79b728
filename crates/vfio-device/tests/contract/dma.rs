#![cfg(test)]
//! DMA: what of the client's memory a device reaches, and what it hears where it does not.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{
    FallocateFlags, MemfdFlags, OFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_setfl,
    memfd_create,
};
use vfio_device::{
    BarKind, Description, DmaRange, Errno, Interest, Region, SharedMemory, SourceId, Unregister,
};

use crate::dma_engine::{
    BUS_MASTER, Do, Engine, PG, bytes_at, memfd, memory, range, reopened, run,
};
use crate::support::{Call, Log, Probe, config_write, event, opened, plain};

#[test]
fn what_is_in_no_map_is_refused_with_efault_and_nothing_is_copied() {
    let mut engine = Engine::new();
    assert_eq!(engine.read(0, 1), Err(Errno::FAULT), "no map at all");
    let memory = memory("efault", 4);
    engine.map(0x1_0000, 2 * PG, &memory, 0);
    engine.map(0x1_3000, PG, &memory, 3 * PG);
    for (what, address, length) in [
        ("before the first", 0xffff, 1),
        ("into the first", 0xffff, 2),
        ("out of the first", 0x1_1fff, 2),
        ("in the gap", 0x1_2000, 0x1000),
        ("across the gap", 0x1_1fff, 0x1002),
        ("out of the last", 0x1_3fff, 2),
        ("after the last", 0x1_4000, 1),
        ("at the top", u64::MAX, 1),
        ("over the top", u64::MAX, 2),
    ] {
        assert_eq!(engine.read(address, length), Err(Errno::FAULT), "{what}");
        assert_eq!(engine.write(address, &vec![9; length]), Err(Errno::FAULT), "{what}");
    }
    for page in 0..4 {
        assert_eq!(bytes_at(&memory, page * PG, 4096), [page as u8 + 1; 4096], "page {page}");
    }
}

#[test]
fn a_map_that_does_not_allow_it_is_refused_with_eacces() {
    let mut engine = Engine::new();
    let memory = memory("eacces", 3);
    let file = |page: u64| Some((memory.try_clone().unwrap().into(), page * PG));
    let read_only = DmaRange { writable: false, ..range(0x1000, PG) };
    let write_only = DmaRange { readable: false, ..range(0x2000, PG) };
    engine.device.dma_map(read_only, file(0)).unwrap();
    engine.device.dma_map(write_only, file(1)).unwrap();
    engine.device.dma_map(range(0x3000, PG), file(2)).unwrap();
    assert_eq!(engine.write(0x1000, &[9]), Err(Errno::ACCESS));
    assert_eq!(engine.read(0x2000, 1), Err(Errno::ACCESS));
    // What lies before in the same access is not written either.
    assert_eq!(engine.write(0x1fff, &[9; 2]), Err(Errno::ACCESS));
    assert_eq!(engine.read(0x1fff, 0x1002), Err(Errno::ACCESS));
    assert_eq!(bytes_at(&memory, 0, 2 * 4096), [[1; 4096], [2; 4096]].concat());

    assert_eq!(engine.read(0x1000, 2), Ok(vec![1; 2]));
    assert_eq!(engine.write(0x2000, &[9; 0x1004]), Ok(()), "write-only, and the next");
    assert_eq!(bytes_at(&memory, PG, 4096 + 4), [9; 4096 + 4]);
}

#[test]
fn memory_that_the_client_keeps_to_itself_is_refused_with_eopnotsupp() {
    let mut engine = Engine::new();
    let memory = memory("eopnotsupp", 2);
    let directory = std::env::temp_dir();
    // A file on disk, or whatever the temporary directory is on: /proc is no memory anywhere.
    let proc = File::open("/proc/self/maps").unwrap();
    let path_only = reopened(&memory, OpenOptions::new().read(true).custom_flags(libc::O_PATH));
    let (_, eventfd) = event();
    for (what, address, file) in [
        ("no file", 0x1000, None),
        ("a file of a file system that is no memory", 0x2000, Some(OwnedFd::from(proc))),
        ("a directory", 0x3000, Some(File::open(directory).unwrap().into())),
        ("a name only", 0x4000, Some(path_only.into())),
        ("no file at all", 0x5000, Some(eventfd)),
    ] {
        let file = file.map(|file| (file, 0));
        assert_eq!(engine.device.dma_map(range(address, PG), file), Ok(()), "{what}");
        assert_eq!(engine.read(address, 1), Err(Errno::OPNOTSUPP), "{what}");
        assert_eq!(engine.write(address, &[1]), Err(Errno::OPNOTSUPP), "{what}");
    }
    // Known beforehand: what is before it stays as it was.
    engine.map(0, PG, &memory, 0);
    assert_eq!(engine.write(0xfff, &[9; 2]), Err(Errno::OPNOTSUPP));
    assert_eq!(bytes_at(&memory, 0, 4096), [1; 4096]);
}

#[test]
fn files_that_are_open_for_less_are_good_for_less() {
    let mut engine = Engine::new();
    let memory = memory("less", 2);
    let open = |options: &mut OpenOptions| Some((reopened(&memory, options).into(), 0));
    let read_only = open(OpenOptions::new().read(true));
    let write_only = open(OpenOptions::new().write(true));
    engine.device.dma_map(range(0x1000, PG), read_only).unwrap();
    engine.device.dma_map(range(0x2000, PG), write_only).unwrap();
    assert_eq!(engine.write(0x1000, &[9]), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.read(0x2000, 1), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.write(0x2000, &[9]), Err(Errno::OPNOTSUPP), "as no mapping could be made");
    assert_eq!(engine.read(0x1000, 1), Ok(vec![1]));
}

#[test]
fn a_file_that_is_or_becomes_open_for_appending_is_written_in_its_place() {
    let mut engine = Engine::new();
    let memory = memory("appending", 2);
    let appending = reopened(&memory, OpenOptions::new().read(true).append(true));
    engine.map(0, PG, &appending, 0);
    engine.map(PG, PG, &memory, PG);
    assert_eq!(engine.write(5, &[9]), Ok(()));
    // The client has the same open file, and changes its flags as it likes.
    fcntl_setfl(&memory, OFlags::APPEND | OFlags::NONBLOCK).unwrap();
    assert_eq!(engine.write(PG + 5, &[9]), Ok(()));
    assert_eq!((engine.read(4, 2), engine.read(PG + 4, 2)), (Ok(vec![1, 9]), Ok(vec![2, 9])));
    assert_eq!(memory.metadata().unwrap().size(), 2 * PG);
}

#[test]
fn memory_of_huge_pages_can_be_reached_like_any_other() {
    const HUGE: u64 = 2 << 20;
    let flags = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB | MemfdFlags::CLOEXEC;
    // Not every kernel has them, nor every machine two of them left.
    let Ok(memory) = memfd_create("huge", flags).map(File::from) else { return };
    memory.set_len(2 * HUGE).unwrap();
    let mut engine = Engine::new();
    engine.map(0, 2 * HUGE, &memory, 0);
    assert_eq!(engine.read(HUGE - 8, 16), Ok(vec![0; 16]));
    if fallocate(&memory, FallocateFlags::empty(), 0, 2 * HUGE).is_err() {
        assert_eq!(engine.write(0, &[1]), Err(Errno::IO), "no page is left");
        return;
    }
    assert_eq!(engine.write(HUGE - 4, &[7; 8]), Ok(()));
    assert_eq!(bytes_at(&memory, HUGE - 5, 10), [0, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
}

#[test]
fn without_bus_mastering_there_is_no_dma() {
    let mut engine = Engine::of(plain().dma());
    let memory = memory("master", 1);
    engine.map(0, PG, &memory, 0);
    let both = |engine: &mut Engine| (engine.read(0, 1).is_ok(), engine.write(0, &[1]).is_ok());
    assert_eq!(engine.read(0, 1), Err(Errno::NODEV), "as it begins");
    assert_eq!(engine.write(0, &[1]), Err(Errno::NODEV));
    assert_eq!(engine.read(0x9000, 1), Err(Errno::NODEV), "comes before all else");
    assert_eq!(engine.read(0, 0), Err(Errno::NODEV), "even for nothing");
    for (command, on) in [(4, true), (3, false), (7, true), (0, false)] {
        config_write(&mut engine.device, 4, &[command, 0]);
        assert_eq!(both(&mut engine), (on, on), "command register {command:#x}");
    }
    config_write(&mut engine.device, 4, &BUS_MASTER);
    engine.device.reset();
    assert_eq!(both(&mut engine), (false, false), "a reset switches it off");
    config_write(&mut engine.device, 4, &BUS_MASTER);
    assert_eq!(both(&mut engine), (true, true), "and the maps are still there");
}

#[test]
fn a_device_that_is_not_pci_has_no_such_switch() {
    let (sender, heard) = channel();
    let probe = Probe::acting(&Log::default(), move |call, cx| {
        if let Call::Reset = call {
            sender.send(run(&Do::Read(0, 1), cx)).unwrap();
        }
        Ok(())
    });
    let mut device = opened(Description::other().dma(), probe);
    let memory = memory("other", 1);
    device.dma_map(range(0, PG), Some((memory.into(), 0))).unwrap();
    device.reset();
    assert_eq!(heard.try_recv(), Ok(Ok(vec![1])));
}

#[test]
fn a_file_that_has_become_shorter_is_eio_and_is_not_made_longer() {
    let mut engine = Engine::new();
    let memory = memory("shorter", 4);
    engine.map(0, 2 * PG, &memory, 0);
    engine.map(2 * PG, 2 * PG, &memory, 2 * PG);
    for length in [3 * PG + 5, 2 * PG, 1, 0] {
        memory.set_len(length).unwrap();
        assert_eq!(engine.read(length, 1), Err(Errno::IO), "the first byte that is gone");
        assert_eq!(engine.write(length, &[9]), Err(Errno::IO));
        assert_eq!(engine.read(0, 4 * 4096), Err(Errno::IO));
        // Across what is there and what is not: nothing is written.
        assert_eq!(engine.write(0, &[9; 4 * 4096]), Err(Errno::IO));
        let there = usize::try_from(length).unwrap();
        assert_eq!(memory.metadata().unwrap().size(), length);
        assert_eq!(engine.read(0, there).map(|data| data.contains(&9)), Ok(false));
    }
    memory.set_len(4 * PG).unwrap();
    assert_eq!(engine.read(0, 4 * 4096), Ok(vec![0; 4 * 4096]), "long again, and empty");
}

#[test]
fn a_client_that_truncates_its_file_again_and_again_does_no_harm() {
    let mut engine = Engine::new();
    let memory = memory("again", 4);
    engine.map(0, 4 * PG, &memory, 0);
    let (client, end) = (memory.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&end);
    let client = thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            [0, 4 * PG, PG, 4 * PG].iter().for_each(|length| client.set_len(*length).unwrap());
        }
    });
    for round in 0..500 {
        let written = engine.write(PG - 4, &[7; 3 * 4096]);
        let read = engine.read(PG - 4, 3 * 4096).map(drop);
        for result in [written, read] {
            assert!(matches!(result, Ok(()) | Err(Errno::IO)), "{result:?} in round {round}");
        }
    }
    end.store(true, Ordering::Relaxed);
    client.join().unwrap();
    memory.set_len(4 * PG).unwrap();
    assert_eq!(engine.write(PG - 4, &[9; 3 * 4096]), Ok(()));
    assert_eq!(bytes_at(&memory, PG - 4, 3 * 4096), [9; 3 * 4096]);
}

#[test]
fn a_file_that_is_sealed_against_writing_can_be_read() {
    for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
        let mut engine = Engine::new();
        let memory = memory("sealed", 1);
        engine.map(0, PG, &memory, 0);
        assert_eq!(engine.write(0, &[7]), Ok(()));
        fcntl_add_seals(&memory, seal).unwrap();
        assert_eq!(engine.write(0, &[9]), Err(Errno::ACCESS), "{seal:?}");
        assert_eq!(engine.read(0, 2), Ok(vec![7, 1]), "{seal:?}");
    }
}

#[test]
fn an_access_may_span_neighbouring_maps() {
    let mut engine = Engine::new();
    let (one, two) = (memory("one", 4), memory("two", 2));
    // Addresses 0 to 5 pages: pages 4 and 2 of the first file, 1 of the second, 1 and 2 of the first.
    engine.map(0, PG, &one, 3 * PG);
    engine.map(PG, PG, &one, PG);
    engine.map(2 * PG, PG, &two, 0);
    engine.map(3 * PG, 2 * PG, &one, 0);
    let pages = [4, 2, 1, 1, 2].map(|page| [page; 4096]).concat();
    assert_eq!(engine.read(0, 5 * 4096), Ok(pages.clone()));
    for (at, length) in [(0xffe, 4), (0xfff, 0x1002), (0x1000, 0x1000), (5 * 4096 - 1, 1), (7, 0)] {
        assert_eq!(engine.read(at as u64, length), Ok(pages[at..at + length].to_vec()), "{at:#x}");
    }
    let data: Vec<u8> = (0..0x1004).map(|n| (n % 251) as u8 + 3).collect();
    assert_eq!(engine.write(2 * PG - 2, &data), Ok(()));
    assert_eq!(bytes_at(&one, 2 * PG - 3, 4), [&[2], &data[..2], &[3]].concat());
    assert_eq!(bytes_at(&two, 0, 4096), data[2..0x1002]);
    assert_eq!(bytes_at(&one, 0, 3), [&data[0x1002..], &[1]].concat());
    assert_eq!(engine.read(2 * PG - 2, data.len()), Ok(data));
}

#[test]
fn an_access_of_no_bytes_is_done_anywhere() {
    let mut engine = Engine::new();
    for address in [0, 0x1000, u64::MAX] {
        assert_eq!(engine.read(address, 0), Ok(vec![]));
        assert_eq!(engine.write(address, &[]), Ok(()));
    }
}

#[test]
fn the_last_byte_of_the_address_space_can_be_reached() {
    let mut engine = Engine::new();
    let memory = memory("top", 2);
    let top = 0u64.wrapping_sub(PG);
    engine.map(top, PG, &memory, PG);
    engine.map(top - PG, PG, &memory, 0);
    assert_eq!(engine.write(u64::MAX, &[9]), Ok(()));
    assert_eq!(bytes_at(&memory, 2 * PG - 2, 2), [2, 9]);
    assert_eq!(
        engine.read(top - 1, 0x1001).map(|data| (data[0], data[1], data[0x1000])),
        Ok((1, 2, 9))
    );
    assert_eq!(engine.read(top, 0x1001), Err(Errno::FAULT));
    assert_eq!(engine.device.dma_unmap(top, PG), Ok(()));
    assert_eq!(engine.read(u64::MAX, 1), Err(Errno::FAULT));
}

#[test]
fn a_map_may_cover_the_whole_address_space_but_its_last_byte() {
    let mut engine = Engine::new();
    engine.device.dma_map(range(0, u64::MAX), None).unwrap();
    assert_eq!(engine.read(0, 1), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.read(u64::MAX, 1), Err(Errno::FAULT));
    assert_eq!(
        engine.read(u64::MAX - 1, 2),
        Err(Errno::OPNOTSUPP),
        "the first byte is asked first"
    );
}

#[test]
fn a_hole_reads_as_zeroes_stays_one_and_can_be_written() {
    let mut engine = Engine::new();
    let memory = File::from(memfd("hole", MemfdFlags::empty()));
    memory.set_len(1 << 40).unwrap();
    engine.map(0, 1 << 40, &memory, 0);
    let blocks = || memory.metadata().unwrap().blocks();
    assert_eq!(engine.read(1 << 39, 3 * 4096), Ok(vec![0; 3 * 4096]));
    assert_eq!(blocks(), 0);
    assert_eq!(engine.write((1 << 40) - 1, &[7]), Ok(()));
    assert_eq!(blocks(), 8, "in units of 512 bytes");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&memory, punch, 0, 1 << 40).unwrap();
    assert_eq!(engine.read((1 << 40) - 2, 2), Ok(vec![0; 2]));
}

#[test]
fn what_one_side_writes_the_other_reads_at_once_by_the_file_or_by_its_mapping() {
    let mut engine = Engine::new();
    // A client's memory, as this crate makes it: mapped there, copied here.
    let memory = SharedMemory::new("both", PG).unwrap();
    let fd = memory.fd().as_fd().try_clone_to_owned().unwrap();
    engine.device.dma_map(range(0x8000, PG), Some((fd, 0))).unwrap();
    let mut seen = [0; 5];
    for round in 0..100u8 {
        memory.write(0x10, &[round; 5]).unwrap();
        assert_eq!(engine.read(0x8010, 5), Ok(vec![round; 5]));
        engine.write(0x8010, &[!round; 5]).unwrap();
        memory.read(0x10, &mut seen).unwrap();
        assert_eq!(seen, [!round; 5]);
    }
}

#[test]
fn a_device_may_do_it_in_any_of_its_calls_while_it_is_open() {
    let (sender, heard) = channel();
    let log = Log::default();
    let mut event = Some(event().1);
    let probe = Probe::acting(&log, move |call, cx| {
        if let Call::Reset = call {
            cx.timers.start(1, Duration::ZERO);
            if let Some(event) = event.take() {
                cx.sources.watch(1, event, Interest::READ);
            }
        }
        sender.send(run(&Do::Read(0, 1), cx)).unwrap();
        Ok(())
    });
    let description = plain().dma().bar(0, BarKind::Memory32, Region::trapped(16));
    let mut device = opened(description, probe);
    device.dma_map(range(0, PG), Some((memory("any", 1).into(), 0))).unwrap();
    assert_eq!(heard.try_iter().last(), Some(Err(Errno::NODEV)), "in open there are no maps yet");
    config_write(&mut device, 4, &BUS_MASTER);
    assert_eq!(heard.try_recv(), Ok(Ok(vec![1])), "the store that switches it on");
    device.reset();
    assert_eq!(heard.try_recv(), Ok(Err(Errno::NODEV)), "a reset has switched it off already");
    config_write(&mut device, 4, &BUS_MASTER);
    device.region_write(0, 0, &[0]).unwrap();
    device.region_read(0, 0, &mut [0]).unwrap();
    device.run_timers(Instant::now());
    device.source_ready(SourceId::Device(1), Interest::READ);
    assert_eq!(device.unregister(), Unregister::InUse);
    device.request();
    log.take();
    device.close();
    assert_eq!(log.take(), ["close"]);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), vec![Ok(vec![1]); 7]);
}
