//! DMA_MAP and DMA_UNMAP, refusals first. (What a device reaches by them is in `dma_device.rs` and in the contract of
//! the core.)

#![cfg(test)]

#[path = "common/server.rs"]
mod server;

use std::fs::{File, OpenOptions};
use std::io::pipe;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, memfd_create};
use vfio_device::{Description, Device, OpenMode, Vfio};
use vfio_user_server::dma;
use vfio_user_server::refusal::Refusal;
use vfio_user_server::transport::Foreign;
use vfio_user_server::wire::{DmaMap, DmaUnmap};

const PG: u64 = 4096;
const READ: u32 = 1;
const READ_WRITE: u32 = 3;
const GET_DIRTY_BITMAP: u32 = 1;
const ALL: u32 = 2;

/// 4 pages at 0x10000, without a descriptor.
const MAP: DmaMap =
    DmaMap { argsz: 32, flags: READ_WRITE, offset: 0, address: 0x10000, size: 4 * PG };
const UNMAP: DmaUnmap = DmaUnmap { argsz: 24, flags: 0, address: 0x10000, size: 4 * PG };
const UNMAP_ALL: DmaUnmap = DmaUnmap { argsz: 24, flags: ALL, address: 0, size: 0 };

fn memory(size: u64) -> File {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(size).unwrap();
    file
}

/// The memory again, as a client would open it with less access.
fn reopened(file: &File, options: &mut OpenOptions) -> File {
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

/// A device, with or without DMA, as its client sees it from here.
struct Maps(Device);

impl Maps {
    fn new() -> Self {
        Self::of(Description::pci(1, 2).dma())
    }

    fn of(description: Description) -> Self {
        let made = (description, Box::new(server::Ram::default()) as Box<_>);
        let mut device = Vfio::new().alloc(|_| Ok(made)).unwrap();
        device.register().unwrap();
        device.open(OpenMode::Exclusive).unwrap();
        Self(device)
    }

    fn map(&mut self, request: &DmaMap, file: Option<OwnedFd>) -> Result<(), Refusal> {
        dma::map(&mut self.0, request, file.map(Foreign::from))
    }

    fn unmap(&mut self, request: &DmaUnmap) -> Result<(), Refusal> {
        dma::unmap(&mut self.0, request)
    }

    fn len(&self) -> usize {
        self.0.dma().num_maps()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Maps into an empty table, which a refusal must leave empty.
fn map(request: &DmaMap, file: Option<OwnedFd>) -> Result<(), Refusal> {
    let of_both = [Description::pci(1, 2), Description::pci(1, 2).dma()].map(|description| {
        let mut maps = Maps::of(description);
        let file = file.as_ref().map(|file| file.try_clone().unwrap());
        let result = maps.map(request, file);
        assert_eq!(maps.len(), usize::from(result.is_ok()));
        result
    });
    assert_eq!(of_both[0], of_both[1], "without DMA, and with it");
    of_both[0]
}

/// A table with [`MAP`] in it.
fn mapped() -> Maps {
    let mut maps = Maps::new();
    assert_eq!(maps.map(&MAP, None), Ok(()));
    maps
}

/// Conformance: S27.
#[test]
fn a_map_s_argsz_is_the_size_of_its_body() {
    for argsz in [0, 8, 31, 33, 48, u32::MAX] {
        assert_eq!(map(&DmaMap { argsz, ..MAP }, None), Err(Refusal::Argsz { argsz }));
    }
}

/// Conformance: S28.
#[test]
fn a_map_is_readable_or_writable_or_both_and_nothing_else() {
    for flags in [0, 4, 5, 7, 8, 0x8000_0003, u32::MAX] {
        assert_eq!(map(&DmaMap { flags, ..MAP }, None), Err(Refusal::Flags { flags }));
    }
    for flags in [1, 2, 3] {
        assert_eq!(map(&DmaMap { flags, ..MAP }, None), Ok(()), "flags {flags}");
    }
}

#[test]
fn a_map_of_no_bytes_is_refused() {
    assert_eq!(map(&DmaMap { size: 0, ..MAP }, None), Err(Refusal::DmaEmpty { address: 0x10000 }));
}

#[test]
fn a_map_lies_on_page_boundaries() {
    let file = memory(8 * PG);
    for (name, request) in [
        ("address", DmaMap { address: 0x10800, ..MAP }),
        ("size", DmaMap { size: PG + 1, ..MAP }),
        ("offset", DmaMap { offset: 1, ..MAP }),
        ("offset without a file", DmaMap { offset: 2048, ..MAP }),
    ] {
        let DmaMap { address, size, offset, .. } = request;
        let refused = map(&request, Some(file.try_clone().unwrap().into()));
        assert_eq!(refused, Err(Refusal::DmaUnaligned { address, size, offset }), "{name}");
        assert_eq!(refused.unwrap_err().errno(), 22, "{name}");
    }
}

#[test]
fn a_map_does_not_wrap_around() {
    for (address, size) in [
        (2 * PG, 0u64.wrapping_sub(PG)),
        (0u64.wrapping_sub(PG), 2 * PG),
        (1 << 63, (1 << 63) + PG),
    ] {
        let refused = map(&DmaMap { address, size, ..MAP }, None);
        assert_eq!(refused, Err(Refusal::DmaWraps { address, size }));
    }
}

#[test]
fn an_offset_needs_a_file() {
    assert_eq!(map(&DmaMap { offset: PG, ..MAP }, None), Err(Refusal::DmaOffset { offset: PG }));
}

/// Conformance: B14.
#[test]
fn only_regular_files_can_be_mapped() {
    let memory = memory(4 * PG);
    let (reader, writer) = pipe().unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let path_only = reopened(&memory, OpenOptions::new().read(true).custom_flags(libc::O_PATH));
    let files: [(&str, OwnedFd); 7] = [
        ("read end of a pipe", reader.into()),
        ("write end of a pipe", writer.into()),
        ("socket", socket.into()),
        ("directory", File::open("/").unwrap().into()),
        (
            "character device",
            OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap().into(),
        ),
        ("eventfd", rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()),
        ("memfd opened with O_PATH", path_only.into()),
    ];
    for (name, file) in files {
        assert_eq!(map(&MAP, Some(file)), Err(Refusal::DmaNotAFile), "{name}");
    }
}

#[test]
fn the_file_must_be_open_for_what_the_flags_say() {
    let memory = memory(4 * PG);
    let read = || reopened(&memory, OpenOptions::new().read(true));
    let write = || reopened(&memory, OpenOptions::new().write(true));
    let both = || reopened(&memory, OpenOptions::new().read(true).write(true));
    for (name, file, flags, allowed) in [
        ("read-only, to read", read(), 1, true),
        ("read-only, to write", read(), 2, false),
        ("read-only, for both", read(), 3, false),
        ("write-only, to read", write(), 1, false),
        ("write-only, to write: mmap needs to read", write(), 2, false),
        ("read-write, to read", both(), 1, true),
        ("read-write, to write", both(), 2, true),
        ("read-write, for both", both(), 3, true),
    ] {
        let result = map(&DmaMap { flags, ..MAP }, Some(file.into()));
        assert_eq!(
            result,
            if allowed { Ok(()) } else { Err(Refusal::DmaAccess { flags }) },
            "{name}"
        );
    }
}

#[test]
fn the_file_must_reach_to_the_map_s_end() {
    for (length, offset, size) in [
        (0, 0, PG),
        (4 * PG - 1, 0, 4 * PG),
        (4 * PG, PG, 4 * PG),
        (4 * PG, 0u64.wrapping_sub(PG), PG),
        (4 * PG, 1 << 63, 1 << 63),
    ] {
        let refused = map(&DmaMap { address: 0, offset, size, ..MAP }, Some(memory(length).into()));
        assert_eq!(
            refused,
            Err(Refusal::DmaPastEnd { offset, size }),
            "{size:#x} at {offset:#x} of {length:#x}"
        );
    }
}

#[test]
fn a_map_over_an_earlier_one_is_refused_with_eexist() {
    for (name, address, size) in [
        ("the same", 0x10000, 4 * PG),
        ("its first page", 0x10000, PG),
        ("its last page", 0x13000, PG),
        ("inside", 0x11000, 2 * PG),
        ("around", 0xf000, 6 * PG),
        ("into it from below", 0xf000, 2 * PG),
        ("out of it above", 0x13000, 2 * PG),
        ("everything", 0, 1 << 63),
    ] {
        let mut maps = mapped();
        let refused = maps.map(&DmaMap { address, size, ..MAP }, None);
        assert_eq!(refused, Err(Refusal::DmaExists { address, size }), "{name}");
        assert_eq!(refused.unwrap_err().errno(), 17, "{name}");
        assert_eq!(maps.len(), 1, "{name}");
    }
}

/// Conformance: S30.
#[test]
fn of_all_maps_of_8_pages_exactly_those_that_meet_no_page_of_two_others_fit() {
    let ranges = || (0..8u64).flat_map(|first| (first..8).map(move |last| (first, last)));
    let meet = |a: (u64, u64), b: (u64, u64)| a.0 <= b.1 && b.0 <= a.1;
    let request =
        |(first, last)| DmaMap { address: first * PG, size: (last + 1 - first) * PG, ..MAP };
    for (one, two) in ranges().flat_map(|one| ranges().map(move |two| (one, two))) {
        if meet(one, two) {
            continue;
        }
        for three in ranges() {
            let mut maps = Maps::new();
            assert_eq!(
                (maps.map(&request(one), None), maps.map(&request(two), None)),
                (Ok(()), Ok(()))
            );
            let fits = maps.map(&request(three), None).is_ok();
            assert_eq!(
                fits,
                !meet(one, three) && !meet(two, three),
                "{three:?} beside {one:?} and {two:?}"
            );
        }
    }
}

#[test]
fn a_repeat_with_other_attributes_is_refused_as_well() {
    let mut maps = mapped();
    for request in [MAP, DmaMap { flags: READ, ..MAP }, DmaMap { offset: PG, ..MAP }] {
        let refused = maps.map(&request, Some(memory(8 * PG).into()));
        assert_eq!(refused.map_err(|refusal| refusal.errno()), Err(17));
    }
}

#[test]
fn the_table_holds_65535_maps_and_no_more() {
    let mut maps = Maps::new();
    let nth = |n: u64| DmaMap { address: n * PG, size: PG, ..MAP };
    for n in 0..65535 {
        assert_eq!(maps.map(&nth(n), None), Ok(()), "map {n}");
    }
    let refused = maps.map(&nth(65535), None);
    assert_eq!(refused, Err(Refusal::DmaFull { limit: 65535 }));
    assert_eq!(refused.unwrap_err().errno(), 28);
    assert_eq!(
        maps.map(&nth(7), None).map_err(|refusal| refusal.errno()),
        Err(17),
        "overlap comes first"
    );

    assert_eq!(maps.unmap(&DmaUnmap { address: 7 * PG, size: PG, ..UNMAP }), Ok(()));
    assert_eq!(maps.map(&nth(65535), None), Ok(()));
    assert_eq!(maps.unmap(&UNMAP_ALL), Ok(()));
    assert!(maps.is_empty());
}

#[test]
fn an_unmap_s_argsz_has_room_for_its_reply_and_is_no_more_than_1_mib() {
    let mut maps = mapped();
    for argsz in [0, 8, 23, (1 << 20) + 8, u32::MAX] {
        assert_eq!(maps.unmap(&DmaUnmap { argsz, ..UNMAP }), Err(Refusal::Argsz { argsz }));
    }
    assert_eq!(maps.unmap(&DmaUnmap { argsz: 1 << 20, ..UNMAP }), Ok(()));
}

/// Conformance: S32.
#[test]
fn an_unmap_that_matches_no_map_exactly_is_refused_with_enoent() {
    let mut maps = mapped();
    assert_eq!(maps.map(&DmaMap { address: 0x14000, ..MAP }, None), Ok(()));
    for (name, address, size) in [
        ("elsewhere", 0x20000, 4 * PG),
        ("its beginning", 0x10000, PG),
        ("its end", 0x13000, PG),
        ("one page more", 0x10000, 5 * PG),
        ("two maps at once", 0x10000, 8 * PG),
        ("nothing", 0x10000, 0),
        ("nothing at 0", 0, 0),
        ("wrapping", 0x10000, u64::MAX),
        ("unaligned", 0x10001, 4 * PG),
    ] {
        let refused = maps.unmap(&DmaUnmap { address, size, ..UNMAP });
        assert_eq!(refused, Err(Refusal::DmaUnknown { address, size }), "{name}");
        assert_eq!(refused.unwrap_err().errno(), 2, "{name}");
    }
    assert_eq!(maps.len(), 2);
}

#[test]
fn an_unmap_with_a_dirty_bitmap_is_refused_and_the_map_stays() {
    let mut maps = mapped();
    let refused = maps.unmap(&DmaUnmap { argsz: 48, flags: GET_DIRTY_BITMAP, ..UNMAP });
    assert_eq!(refused, Err(Refusal::DmaNotTracked));
    assert_eq!(refused.unwrap_err().errno(), 22);
    assert_eq!(maps.len(), 1);
}

#[test]
fn an_unmap_with_other_flags_is_refused() {
    for (name, request, flags) in [
        ("unknown", DmaUnmap { flags: 4, ..UNMAP }, 4),
        ("ALL with a bitmap", DmaUnmap { flags: 3, ..UNMAP_ALL }, 3),
        ("ALL with an address", DmaUnmap { address: 0x10000, ..UNMAP_ALL }, ALL),
        ("ALL with a size", DmaUnmap { size: 4 * PG, ..UNMAP_ALL }, ALL),
        ("ALL and an unknown one", DmaUnmap { flags: 6, ..UNMAP_ALL }, 6),
    ] {
        let mut maps = mapped();
        assert_eq!(maps.unmap(&request), Err(Refusal::Flags { flags }), "{name}");
        assert_eq!(maps.len(), 1, "{name}");
    }
}

#[test]
fn guest_memory_is_mapped_as_qemu_maps_it() {
    // q35 with 6 GiB: RAM below and above the 4 GiB hole from one file, and flash without a file.
    let ram = memory(6 << 30);
    let mut maps = Maps::new();
    for (name, request, file) in [
        ("low RAM", DmaMap { address: 0, size: 2 << 30, ..MAP }, Some(&ram)),
        (
            "high RAM",
            DmaMap { offset: 2 << 30, address: 4 << 30, size: 4 << 30, ..MAP },
            Some(&ram),
        ),
        ("flash", DmaMap { flags: READ, address: 0xfffc_0000, size: 0x4_0000, ..MAP }, None),
        ("another device's BAR", DmaMap { address: 0xfebe_1000, size: 0xf000, ..MAP }, None),
    ] {
        assert_eq!(
            maps.map(&request, file.map(|file| file.try_clone().unwrap().into())),
            Ok(()),
            "{name}"
        );
    }
    assert_eq!(maps.len(), 4);
}

#[test]
fn neighbours_do_not_overlap() {
    let mut maps = mapped();
    for address in [0xc000, 0x14000] {
        assert_eq!(maps.map(&DmaMap { address, ..MAP }, None), Ok(()), "{address:#x}");
    }
    assert_eq!(maps.len(), 3);
}

#[test]
fn a_map_may_reach_the_top_of_the_address_space() {
    let mut maps = Maps::new();
    let top = DmaMap { address: 0u64.wrapping_sub(PG), size: PG, ..MAP };
    assert_eq!(maps.map(&top, None), Ok(()));
    assert_eq!(maps.map(&top, None).map_err(|refusal| refusal.errno()), Err(17));
    assert_eq!(maps.unmap(&DmaUnmap { address: top.address, size: PG, ..UNMAP }), Ok(()));
    assert!(maps.is_empty());
}

/// Conformance: B34.
#[test]
fn memory_comes_and_goes_as_firmware_makes_it() {
    let ram = memory(16 * PG);
    let mut maps = Maps::new();
    for round in 0..20 {
        let pieces = if round % 2 == 0 { [(0, 16), (32, 4)] } else { [(0, 10), (10, 6)] };
        for (page, pages) in pieces {
            let request = DmaMap { address: page * PG, size: pages * PG, ..MAP };
            assert_eq!(
                maps.map(&request, Some(ram.try_clone().unwrap().into())),
                Ok(()),
                "round {round}"
            );
        }
        for (page, pages) in pieces {
            let request = DmaUnmap { address: page * PG, size: pages * PG, ..UNMAP };
            assert_eq!(maps.unmap(&request), Ok(()), "round {round}");
        }
        assert!(maps.is_empty());
    }
}

#[test]
fn everything_can_be_unmapped_at_once_even_nothing() {
    let mut maps = mapped();
    assert_eq!(maps.map(&DmaMap { address: 0, size: PG, ..MAP }, None), Ok(()));
    for _ in 0..2 {
        assert_eq!(maps.unmap(&UNMAP_ALL), Ok(()));
        assert!(maps.is_empty());
    }
    assert_eq!(maps.map(&MAP, None), Ok(()));
}

#[test]
fn a_client_s_leaving_clears_the_table() {
    let mut maps = mapped();
    maps.0.close();
    assert!(maps.is_empty());
}
