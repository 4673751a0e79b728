#![cfg(test)]
//! DMA maps: which there can be, and how long a client's files are kept.

use std::fs::{File, OpenOptions};

use vfio_device::{DmaRange, Errno, OpenMode, Unregister, Vfio};

use crate::dma_engine::{BUS_MASTER, Engine, PG, memory, name, range, reopened, uses};
use crate::support::{Log, Probe, alloc, config_write, plain};

#[test]
fn maps_that_cannot_be_are_refused_and_their_files_closed() {
    let mut engine = Engine::new();
    let name = name();
    let memory = memory(&name, 4);
    engine.map(0x4000, 2 * PG, &memory, 0);
    assert_eq!(uses(&name), 2);
    let neither = DmaRange { readable: false, writable: false, ..range(0, PG) };
    for (what, range, offset, errno) in [
        ("nothing", range(0, 0), 0, Errno::INVAL),
        ("neither read nor write", neither, 0, Errno::INVAL),
        ("over the top", range(u64::MAX, 2), 0, Errno::INVAL),
        ("beyond any file", range(0, PG), u64::MAX, Errno::INVAL),
        ("the very same", range(0x4000, 2 * PG), 0, Errno::EXIST),
        ("inside", range(0x5000, PG), 0, Errno::EXIST),
        ("its first byte", range(0x3000, PG + 1), 0, Errno::EXIST),
        ("its last byte", range(0x5fff, PG), 0, Errno::EXIST),
        ("around", range(0, 1 << 40), 0, Errno::EXIST),
    ] {
        let other = memory.try_clone().unwrap();
        let refused = engine.device.dma_map(range, Some((other.into(), offset)));
        assert_eq!(refused, Err(errno), "{what}");
        assert_eq!((engine.device.dma().num_maps(), uses(&name)), (1, 2), "{what}");
    }
}

#[test]
fn an_unmap_that_matches_no_map_exactly_is_refused_with_enoent() {
    let mut engine = Engine::new();
    let memory = memory("enoent", 2);
    engine.map(0x4000, 2 * PG, &memory, 0);
    for (address, size) in
        [(0x4000, PG), (0x5000, PG), (0x4000, 3 * PG), (0, 0), (0x4000, 0), (0x4000, u64::MAX)]
    {
        assert_eq!(engine.device.dma_unmap(address, size), Err(Errno::NOENT), "{address:#x}");
    }
    assert_eq!(engine.read(0x4000, 0x2000).map(|data| data.len()), Ok(0x2000));
    assert_eq!(engine.device.dma_unmap(0x4000, 2 * PG), Ok(()));
    assert_eq!(engine.device.dma_unmap(0x4000, 2 * PG), Err(Errno::NOENT));
    assert_eq!(engine.read(0x4000, 1), Err(Errno::FAULT));
}

#[test]
fn there_are_65535_maps_and_no_more() {
    let mut engine = Engine::new();
    let memory = memory("65535", 1);
    let file = || Some((memory.try_clone().unwrap().into(), 0));
    for n in 0..65535 {
        assert_eq!(engine.device.dma_map(range(n * PG, PG), file()), Ok(()), "map {n}");
    }
    assert_eq!(engine.device.dma_map(range(65535 * PG, PG), file()), Err(Errno::NOSPC));
    assert_eq!(engine.read(65534 * PG, 1), Ok(vec![1]));
    engine.device.dma_unmap_all();
    assert_eq!(engine.device.dma().num_maps(), 0);
    assert_eq!(engine.device.dma_map(range(0, PG), file()), Ok(()));
}

#[test]
fn no_file_is_kept_for_a_device_that_does_no_dma() {
    let mut engine = Engine::of(plain());
    config_write(&mut engine.device, 4, &BUS_MASTER);
    let name = name();
    let memory = memory(&name, 1);
    engine.map(0, PG, &memory, 0);
    assert_eq!(uses(&name), 1);
    assert_eq!(engine.device.dma().num_maps(), 1);
    assert_eq!(engine.read(0, 1), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.write(0, &[1]), Err(Errno::OPNOTSUPP));
}

#[test]
fn a_file_is_kept_once_however_often_it_is_sent_until_its_last_map_goes() {
    let mut engine = Engine::new();
    let name = name();
    let memory = memory(&name, 8);
    for page in 0..8 {
        let again = reopened(&memory, OpenOptions::new().read(true).write(true));
        engine.map(page * PG, PG, &again, (7 - page) * PG);
    }
    assert_eq!(uses(&name), 2, "the test's and one more; not mapped into memory");
    // What is open for reading only is no substitute for it, nor the other way round.
    let read_only = reopened(&memory, OpenOptions::new().read(true));
    engine.map(8 * PG, PG, &read_only, 0);
    drop(read_only);
    assert_eq!(uses(&name), 3);
    assert_eq!(engine.write(8 * PG, &[1]), Err(Errno::OPNOTSUPP));
    for page in 0..8 {
        assert_eq!(engine.read(page * PG, 1), Ok(vec![8 - page as u8]));
        engine.device.dma_unmap(page * PG, PG).unwrap();
        assert_eq!(engine.read(page * PG, 1), Err(Errno::FAULT));
        assert_eq!(uses(&name), if page == 7 { 2 } else { 3 }, "page {page}");
    }
    assert_eq!(engine.read(8 * PG, 1), Ok(vec![1]));
}

#[test]
fn of_16_files_at_a_time_one_more_is_refused_with_emfile() {
    let mut engine = Engine::new();
    let name = name();
    let files: Vec<_> = (0..17).map(|_| memory(&name, 2)).collect();
    for (address, file) in (0u64..).step_by(0x2000).zip(&files[..16]) {
        engine.map(address, PG, file, 0);
    }
    assert_eq!(uses(&name), 17 + 16);
    let map = |engine: &mut Engine, address: u64, file: &File| {
        engine.device.dma_map(range(address, PG), Some((file.try_clone().unwrap().into(), PG)))
    };
    assert_eq!(map(&mut engine, 0x10_0000, &files[16]), Err(Errno::MFILE));
    assert_eq!((uses(&name), engine.device.dma().num_maps()), (17 + 16, 16));
    // Further maps of those that are there, and of memory out of reach, need none.
    assert_eq!(map(&mut engine, 0x10_0000, &files[3]), Ok(()));
    assert_eq!(engine.device.dma_map(range(0x20_0000, PG), None), Ok(()));
    assert_eq!(uses(&name), 17 + 16);
    // One goes with its last map, and there is room.
    engine.device.dma_unmap(5 * 0x2000, PG).unwrap();
    assert_eq!(map(&mut engine, 0x30_0000, &files[16]), Ok(()));
    engine.device.dma_unmap(3 * 0x2000, PG).unwrap();
    assert_eq!(map(&mut engine, 0x40_0000, &files[5]), Err(Errno::MFILE), "3 has another map");
    assert_eq!(engine.read(0x30_0000, 1), Ok(vec![2]));
}

#[test]
fn close_takes_the_maps_down_and_their_files_with_them() {
    let mut engine = Engine::new();
    let name = name();
    let memory = memory(&name, 1);
    engine.map(0, PG, &memory, 0);
    engine.device.close();
    assert_eq!((uses(&name), engine.device.dma().num_maps()), (1, 0));
    engine.device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(
        engine.read(0, 1),
        Err(Errno::FAULT),
        "bus mastering is the device's state, and stays"
    );
    engine.map(0, PG, &memory, 0);
    assert_eq!(engine.read(0, 1), Ok(vec![1]));
}

#[test]
fn of_shared_users_the_last_takes_the_maps_with_him() {
    let mut device = alloc(&Vfio::new(), plain().dma(), Probe::new(&Log::default()));
    device.register().unwrap();
    device.open(OpenMode::Shared).unwrap();
    device.open(OpenMode::Shared).unwrap();
    device.dma_map(range(0, PG), None).unwrap();
    device.close();
    assert_eq!(device.dma().num_maps(), 1);
    device.close();
    assert_eq!(device.dma().num_maps(), 0);
}

#[test]
fn a_device_that_goes_or_has_gone_keeps_no_file() {
    let name = name();
    let memory = memory(&name, 1);
    let mut engine = Engine::new();
    engine.map(0, PG, &memory, 0);
    assert_eq!(engine.device.unregister(), Unregister::InUse);
    engine.map(PG, PG, &memory, 0);
    engine.device.close();
    assert_eq!(engine.device.unregister(), Unregister::Done);
    let file = Some((memory.try_clone().unwrap().into(), 0));
    assert_eq!(engine.device.dma_map(range(0, PG), file), Err(Errno::NODEV));
    assert_eq!(engine.device.dma_unmap(0, PG), Err(Errno::NODEV));
    assert_eq!((uses(&name), engine.device.dma().num_maps()), (1, 0));

    let mut engine = Engine::new();
    engine.map(0, PG, &memory, 0);
    drop(engine);
    assert_eq!(uses(&name), 1);
}
