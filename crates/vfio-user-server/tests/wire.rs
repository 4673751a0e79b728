//! The messages' layout, against the spec's tables and against Linux's own structs where the spec borrows them.

#![cfg(test)]

use std::mem::offset_of;

use vfio_bindings::bindings::vfio as linux;
use vfio_user_server::refusal::Refusal;
use vfio_user_server::wire::*;

/// Offset and size of a field, found by setting it to all ones and looking at the bytes.
macro_rules! place {
    ($name:ident . $($field:ident).+) => {{
        let mut message = $name::default();
        message.$($field).+ = !0;
        let mut bytes = [0u8; $name::SIZE];
        assert_eq!(message.encode(&mut bytes), Some(&mut [][..]));
        let offset = bytes.iter().position(|byte| *byte == 0xff).unwrap();
        (offset, bytes.iter().filter(|byte| **byte == 0xff).count())
    }};
}

/// Conformance: S2.
#[test]
fn fields_lie_where_the_spec_puts_them() {
    let table = [
        ("header: message id", place!(Header.msg_id), (0, 2)),
        ("header: command", place!(Header.command), (2, 2)),
        ("header: message size", place!(Header.msg_size), (4, 4)),
        ("header: flags", place!(Header.flags), (8, 4)),
        ("header: error", place!(Header.error_no), (12, 4)),
        ("version: major", place!(Version.major), (0, 2)),
        ("version: minor", place!(Version.minor), (2, 2)),
        ("dma map: argsz", place!(DmaMap.argsz), (0, 4)),
        ("dma map: flags", place!(DmaMap.flags), (4, 4)),
        ("dma map: offset", place!(DmaMap.offset), (8, 8)),
        ("dma map: address", place!(DmaMap.address), (16, 8)),
        ("dma map: size", place!(DmaMap.size), (24, 8)),
        ("dma unmap: argsz", place!(DmaUnmap.argsz), (0, 4)),
        ("dma unmap: flags", place!(DmaUnmap.flags), (4, 4)),
        ("dma unmap: address", place!(DmaUnmap.address), (8, 8)),
        ("dma unmap: size", place!(DmaUnmap.size), (16, 8)),
        ("dirty bitmap: pgsize", place!(DirtyBitmap.pgsize), (0, 8)),
        ("dirty bitmap: size", place!(DirtyBitmap.size), (8, 8)),
        ("device info: num_irqs", place!(DeviceInfo.num_irqs), (12, 4)),
        ("region io fds: argsz", place!(RegionIoFds.argsz), (0, 4)),
        ("region io fds: flags", place!(RegionIoFds.flags), (4, 4)),
        ("region io fds: index", place!(RegionIoFds.index), (8, 4)),
        ("region io fds: count", place!(RegionIoFds.count), (12, 4)),
        ("region access: offset", place!(RegionAccess.offset), (0, 8)),
        ("region access: region", place!(RegionAccess.region), (8, 4)),
        ("region access: count", place!(RegionAccess.count), (12, 4)),
        ("write multi: wr_cnt", place!(WriteMulti.wr_cnt), (0, 8)),
        ("single write: offset", place!(SingleWrite.offset), (0, 8)),
        ("single write: region", place!(SingleWrite.region), (8, 4)),
        ("single write: count", place!(SingleWrite.count), (12, 4)),
    ];
    for (name, found, expected) in table {
        assert_eq!(found, expected, "{name}");
    }
}

/// Conformance: S2.
#[test]
fn structs_are_as_large_as_the_spec_says() {
    let table = [
        ("header", Header::SIZE, 16),
        ("version", Version::SIZE, 4),
        ("dma map", DmaMap::SIZE, 32),
        ("dma unmap", DmaUnmap::SIZE, 24),
        ("dirty bitmap", DirtyBitmap::SIZE, 16),
        ("device info", DeviceInfo::SIZE, 16),
        ("region info", RegionInfo::SIZE, 32),
        ("capability header", CapHeader::SIZE, 8),
        ("sparse mmap", SparseMmap::SIZE, 16),
        ("sparse area", SparseArea::SIZE, 16),
        ("region type", RegionType::SIZE, 16),
        ("region io fds", RegionIoFds::SIZE, 16),
        ("irq info", IrqInfo::SIZE, 16),
        ("irq set", IrqSet::SIZE, 20),
        ("region access", RegionAccess::SIZE, 16),
        ("write multi", WriteMulti::SIZE, 8),
        ("single write", SingleWrite::SIZE, 24),
    ];
    for (name, found, expected) in table {
        assert_eq!(found, expected, "{name}");
    }
}

/// The field of ours and the field of Linux's struct begin at the same place.
macro_rules! same {
    ($($ours:ident.$($field:ident).+ == $theirs:ident.$($other:ident).+;)+) => { $(
        assert_eq!(
            place!($ours.$($field).+).0,
            offset_of!(linux::$theirs, $($other).+),
            stringify!($ours.$($field).+),
        );
    )+ };
}

#[test]
fn structs_borrowed_from_linux_agree_with_its_header() {
    same! {
        DeviceInfo.argsz == vfio_device_info.argsz;
        DeviceInfo.flags == vfio_device_info.flags;
        DeviceInfo.num_regions == vfio_device_info.num_regions;
        DeviceInfo.num_irqs == vfio_device_info.num_irqs;
        RegionInfo.argsz == vfio_region_info.argsz;
        RegionInfo.flags == vfio_region_info.flags;
        RegionInfo.index == vfio_region_info.index;
        RegionInfo.cap_offset == vfio_region_info.cap_offset;
        RegionInfo.size == vfio_region_info.size;
        RegionInfo.offset == vfio_region_info.offset;
        CapHeader.id == vfio_info_cap_header.id;
        CapHeader.version == vfio_info_cap_header.version;
        CapHeader.next == vfio_info_cap_header.next;
        SparseMmap.header.next == vfio_region_info_cap_sparse_mmap.header.next;
        SparseMmap.nr_areas == vfio_region_info_cap_sparse_mmap.nr_areas;
        SparseMmap.reserved == vfio_region_info_cap_sparse_mmap.reserved;
        SparseArea.offset == vfio_region_sparse_mmap_area.offset;
        SparseArea.size == vfio_region_sparse_mmap_area.size;
        RegionType.header.id == vfio_region_info_cap_type.header.id;
        RegionType.region_type == vfio_region_info_cap_type.type_;
        RegionType.subtype == vfio_region_info_cap_type.subtype;
        IrqInfo.argsz == vfio_irq_info.argsz;
        IrqInfo.flags == vfio_irq_info.flags;
        IrqInfo.index == vfio_irq_info.index;
        IrqInfo.count == vfio_irq_info.count;
        IrqSet.argsz == vfio_irq_set.argsz;
        IrqSet.flags == vfio_irq_set.flags;
        IrqSet.index == vfio_irq_set.index;
        IrqSet.start == vfio_irq_set.start;
        IrqSet.count == vfio_irq_set.count;
        DmaMap.flags == vfio_iommu_type1_dma_map.flags;
        DmaMap.address == vfio_iommu_type1_dma_map.iova;
        DmaMap.size == vfio_iommu_type1_dma_map.size;
        DmaUnmap.flags == vfio_iommu_type1_dma_unmap.flags;
        DmaUnmap.address == vfio_iommu_type1_dma_unmap.iova;
        DmaUnmap.size == vfio_iommu_type1_dma_unmap.size;
        DirtyBitmap.pgsize == vfio_bitmap.pgsize;
        DirtyBitmap.size == vfio_bitmap.size;
    }
    // vfio_device_info has grown a cap_offset that vfio-user does not have; the others end where ours end.
    assert_eq!(RegionInfo::SIZE, size_of::<linux::vfio_region_info>());
    assert_eq!(CapHeader::SIZE, size_of::<linux::vfio_info_cap_header>());
    assert_eq!(SparseMmap::SIZE, size_of::<linux::vfio_region_info_cap_sparse_mmap>());
    assert_eq!(SparseArea::SIZE, size_of::<linux::vfio_region_sparse_mmap_area>());
    assert_eq!(RegionType::SIZE, size_of::<linux::vfio_region_info_cap_type>());
    assert_eq!(IrqInfo::SIZE, size_of::<linux::vfio_irq_info>());
    assert_eq!(IrqSet::SIZE, size_of::<linux::vfio_irq_set>());
    assert_eq!(DmaMap::SIZE, size_of::<linux::vfio_iommu_type1_dma_map>());
    assert_eq!(DmaUnmap::SIZE, size_of::<linux::vfio_iommu_type1_dma_unmap>());
}

#[test]
fn flags_borrowed_from_linux_agree_with_its_header() {
    let table = [
        (DmaMap::READ, linux::VFIO_DMA_MAP_FLAG_READ),
        (DmaMap::WRITE, linux::VFIO_DMA_MAP_FLAG_WRITE),
        (DmaUnmap::GET_DIRTY_BITMAP, linux::VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP),
        (DmaUnmap::ALL, linux::VFIO_DMA_UNMAP_FLAG_ALL),
        (DeviceInfo::RESET, linux::VFIO_DEVICE_FLAGS_RESET),
        (DeviceInfo::PCI, linux::VFIO_DEVICE_FLAGS_PCI),
        (RegionInfo::READ, linux::VFIO_REGION_INFO_FLAG_READ),
        (RegionInfo::WRITE, linux::VFIO_REGION_INFO_FLAG_WRITE),
        (RegionInfo::MMAP, linux::VFIO_REGION_INFO_FLAG_MMAP),
        (RegionInfo::CAPS, linux::VFIO_REGION_INFO_FLAG_CAPS),
        (SparseMmap::ID.into(), linux::VFIO_REGION_INFO_CAP_SPARSE_MMAP),
        (RegionType::ID.into(), linux::VFIO_REGION_INFO_CAP_TYPE),
        (IrqInfo::EVENTFD, linux::VFIO_IRQ_INFO_EVENTFD),
        (IrqInfo::MASKABLE, linux::VFIO_IRQ_INFO_MASKABLE),
        (IrqInfo::AUTOMASKED, linux::VFIO_IRQ_INFO_AUTOMASKED),
        (IrqInfo::NORESIZE, linux::VFIO_IRQ_INFO_NORESIZE),
        (IrqSet::DATA_NONE, linux::VFIO_IRQ_SET_DATA_NONE),
        (IrqSet::DATA_BOOL, linux::VFIO_IRQ_SET_DATA_BOOL),
        (IrqSet::DATA_EVENTFD, linux::VFIO_IRQ_SET_DATA_EVENTFD),
        (IrqSet::ACTION_MASK, linux::VFIO_IRQ_SET_ACTION_MASK),
        (IrqSet::ACTION_UNMASK, linux::VFIO_IRQ_SET_ACTION_UNMASK),
        (IrqSet::ACTION_TRIGGER, linux::VFIO_IRQ_SET_ACTION_TRIGGER),
    ];
    for (row, (ours, theirs)) in table.into_iter().enumerate() {
        assert_eq!(ours, theirs, "row {row}");
    }
}

#[test]
fn the_data_of_a_single_write_follow_its_count() {
    let write = SingleWrite { data: [1, 2, 3, 4, 5, 6, 7, 8], ..SingleWrite::default() };
    let mut bytes = [0; 24];
    write.encode(&mut bytes).unwrap();
    assert_eq!(bytes[16..], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(SingleWrite::decode(&bytes), Some((write, &[][..])));
}

#[test]
fn too_few_bytes_decode_to_nothing() {
    for size in 0..DmaMap::SIZE {
        assert_eq!(DmaMap::decode(&[0; DmaMap::SIZE][..size]), None, "{size} bytes");
    }
}

#[test]
fn what_does_not_fit_is_not_begun() {
    for size in 0..Header::SIZE {
        let mut out = [0xaa; Header::SIZE];
        assert_eq!(Header::default().encode(&mut out[..size]), None, "{size} bytes");
        assert_eq!(out, [0xaa; Header::SIZE], "{size} bytes");
    }
}

#[test]
fn what_follows_a_struct_is_handed_back() {
    let mut out = [0xaa; 20];
    let version = Version { major: 1, minor: 2 };
    assert_eq!(version.encode(&mut out).map(|rest| rest.len()), Some(16));
    assert_eq!(Version::decode(&out), Some((version, &[0xaa; 16][..])));
}

/// Conformance: S1.
#[test]
fn commands_have_the_spec_s_numbers() {
    let table = [
        (1, "VERSION"),
        (2, "DMA_MAP"),
        (3, "DMA_UNMAP"),
        (4, "DEVICE_GET_INFO"),
        (5, "DEVICE_GET_REGION_INFO"),
        (6, "DEVICE_GET_REGION_IO_FDS"),
        (7, "DEVICE_GET_IRQ_INFO"),
        (8, "DEVICE_SET_IRQS"),
        (9, "REGION_READ"),
        (10, "REGION_WRITE"),
        (11, "DMA_READ"),
        (12, "DMA_WRITE"),
        (13, "DEVICE_RESET"),
        (15, "REGION_WRITE_MULTI"),
        (16, "DEVICE_FEATURE"),
        (17, "MIG_DATA_READ"),
        (18, "MIG_DATA_WRITE"),
    ];
    for number in 0..=u16::MAX {
        let expected = table.iter().find(|row| row.0 == number).map(|row| row.1);
        let found = Command::try_from(number);
        assert_eq!(found.ok().map(Command::name), expected, "command {number}");
        match found {
            Ok(command) => assert_eq!(command.number(), number),
            Err(refusal) => assert_eq!(refusal, Refusal::UnknownCommand { number }),
        }
    }
}

/// Conformance: S3.
#[test]
fn the_type_is_the_low_four_bits_and_nothing_else() {
    for (flags, command, wants_reply) in [
        (0x00, true, true),
        (0x10, true, false),
        (0x20, true, true),
        (0x01, false, true),
        (0xfff2, false, false),
    ] {
        let header = Header { flags, ..Header::default() };
        assert_eq!(
            (header.is_command(), header.wants_reply()),
            (command, wants_reply),
            "flags {flags:#x}"
        );
    }
}

/// Conformance: S4.
#[test]
fn a_reply_copies_id_and_command_and_nothing_else() {
    let asked =
        Header { msg_id: 0xbeef, command: 9, msg_size: 32, flags: 0xffff_ffe0, error_no: 77 };
    let reply = Header { msg_id: 0xbeef, command: 9, msg_size: 36, flags: 1, error_no: 0 };
    assert_eq!(asked.reply(36), reply);
}

/// Conformance: S5.
#[test]
fn a_refusal_is_a_header_with_the_error_bit_and_the_errno() {
    let asked = Header { msg_id: 5, command: 99, msg_size: 1000, flags: 0, error_no: 0 };
    let reply = Header { msg_id: 5, command: 99, msg_size: 16, flags: 0x21, error_no: 95 };
    assert_eq!(asked.refuse(&Refusal::UnknownCommand { number: 99 }), reply);
}
