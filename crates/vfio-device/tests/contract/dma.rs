#![cfg(test)]
//! DMA: what of the client's memory a device reaches, and what it hears where it does not.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use vfio_device::{
    Context, Description, Device, DmaRange, Errno, Interest, OpenMode, SourceId, Unregister,
};

use crate::support::{Call, Log, Probe, alloc, config_write, event, opened, plain};

const PG: u64 = 4096;
const BUS_MASTER: [u8; 2] = [4, 0];

type Heard = Result<Vec<u8>, Errno>;

/// What the device is to do when it is reset.
#[derive(Clone)]
enum Do {
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

fn run(what: &Do, cx: &Context) -> Heard {
    match what {
        Do::Read(address, length) => {
            let mut data = vec![0xaa; *length];
            cx.dma.read(*address, &mut data).map(|()| data)
        }
        Do::Write(address, data) => cx.dma.write(*address, data).map(|()| Vec::new()),
    }
}

/// A device that does what it is told in a call that is asked for.
struct Engine {
    device: Device,
    orders: std::sync::mpsc::Sender<Do>,
    heard: Receiver<Heard>,
}

impl Engine {
    /// A PCI function with DMA, open, bus mastering on.
    fn new() -> Self {
        let mut engine = Self::of(plain().dma());
        config_write(&mut engine.device, 4, &BUS_MASTER);
        engine
    }

    fn of(description: Description) -> Self {
        let (orders, todo) = channel();
        let (sender, heard) = channel();
        let probe = Probe::acting(&Log::default(), move |_, cx| {
            for what in todo.try_iter() {
                sender.send(run(&what, cx)).unwrap();
            }
            Ok(())
        });
        Self { device: opened(description, probe), orders, heard }
    }

    /// Has it done in a store to configuration space, of a byte that nothing is behind.
    fn order(&mut self, what: Do) -> Heard {
        self.orders.send(what).unwrap();
        self.device.region_write(7, 0x3c, &[0]).unwrap();
        self.heard.try_recv().unwrap()
    }

    fn read(&mut self, address: u64, length: usize) -> Heard {
        self.order(Do::Read(address, length))
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), Errno> {
        self.order(Do::Write(address, data.to_vec())).map(drop)
    }

    fn map(&mut self, address: u64, size: u64, file: &File, offset: u64) {
        let file = Some((file.try_clone().unwrap().into(), offset));
        self.device.dma_map(range(address, size), file).unwrap();
    }
}

/// Readable and writable.
fn range(address: u64, size: u64) -> DmaRange {
    DmaRange { address, size, readable: true, writable: true }
}

fn memfd(name: &str, flags: MemfdFlags) -> OwnedFd {
    memfd_create(name, flags | MemfdFlags::CLOEXEC).unwrap()
}

/// Memory as a client shares it: each page full of its number, from 1 on.
fn memory(name: &str, pages: u8) -> File {
    let file = File::from(memfd(name, MemfdFlags::ALLOW_SEALING));
    for page in 0..pages {
        file.write_all_at(&[page + 1; PG as usize], u64::from(page) * PG).unwrap();
    }
    file
}

fn bytes_at(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// The memory again, by a descriptor that is open in another way.
fn reopened(file: &File, options: &mut OpenOptions) -> File {
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

/// How many descriptors and mappings of this process are memory of that name.
fn uses(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    let named = format!("memfd:{name} ");
    links.filter(|link| link.to_str().unwrap().contains(&named)).count()
        + mappings.matches(&named).count()
}

/// A name that no other test uses.
fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("dma-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

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
    let memory = memory("less", 3);
    let open = |options: &mut OpenOptions| Some((reopened(&memory, options).into(), 0));
    let read_only = open(OpenOptions::new().read(true));
    let write_only = open(OpenOptions::new().write(true));
    // Data would go to the file's end, not to its place.
    let appending = open(OpenOptions::new().read(true).append(true));
    for (address, file) in [(0x1000, read_only), (0x2000, write_only), (0x3000, appending)] {
        engine.device.dma_map(range(address, PG), file).unwrap();
    }
    assert_eq!(engine.write(0x1000, &[9]), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.read(0x2000, 1), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.write(0x3000, &[9]), Err(Errno::OPNOTSUPP));
    assert_eq!(engine.read(0x1000, 1), Ok(vec![1]));
    assert_eq!(engine.write(0x2000, &[7]), Ok(()));
    assert_eq!(engine.read(0x3000, 1), Ok(vec![7]));
    assert_eq!(memory.metadata().unwrap().size(), 3 * PG);
}

#[test]
fn memory_of_huge_pages_can_be_read_and_not_written() {
    let size = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    // Not every kernel has them.
    let Ok(fd) = memfd_create("huge", size | MemfdFlags::CLOEXEC) else { return };
    rustix::fs::ftruncate(&fd, 2 << 20).unwrap();
    let mut engine = Engine::new();
    engine.map(0, 2 << 20, &fd.into(), 0);
    assert_eq!(engine.read(0x1f_fff0, 16), Ok(vec![0; 16]));
    assert_eq!(engine.write(0, &[1]), Err(Errno::OPNOTSUPP));
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
    use vfio_device::SharedMemory;
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
            cx.timers.start(1, std::time::Duration::ZERO);
            if let Some(event) = event.take() {
                cx.sources.watch(1, event, Interest::READ);
            }
        }
        sender.send(run(&Do::Read(0, 1), cx)).unwrap();
        Ok(())
    });
    let description =
        plain().dma().bar(0, vfio_device::BarKind::Memory32, vfio_device::Region::trapped(16));
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
    let mut device = alloc(&vfio_device::Vfio::new(), plain().dma(), Probe::new(&Log::default()));
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
