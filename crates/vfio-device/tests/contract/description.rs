#![cfg(test)]
//! What would crash or hang QEMU (or what no guest could use) is refused when the device is built, by name.
//! Loops, pointers, pins and a missing configuration space cannot come from the builder: see `validate.rs`.
#![expect(clippy::single_range_in_vec_init, reason = "one area is a list of one")]

use vfio_device::{BarKind, BarOffset, Capability, Description, IrqFlags, Region, SharedMemory};

use crate::support::plain;
use BarKind::{Io, Memory32, Prefetchable32, Prefetchable64};

/// Asserts that it is refused, with these words in the text.
#[track_caller]
fn refused(description: Description, words: &[&str]) {
    let text = description.build().unwrap_err().to_string();
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
}

fn bar(size: u64) -> Region {
    Region::trapped(size)
}

fn memory(size: u64) -> SharedMemory {
    SharedMemory::new("test", size).unwrap()
}

fn msix(vectors: u16, table: u32, pending: u32) -> Description {
    let mut body = (vectors - 1).to_le_bytes().to_vec();
    body.extend(table.to_le_bytes());
    body.extend(pending.to_le_bytes());
    plain().bar(0, Memory32, bar(4096)).capability(Capability::raw(0x11, body, [0, 0xc0])).irq(
        2,
        IrqFlags::MSI,
        vectors.into(),
    )
}

#[test]
fn what_is_right_is_built() {
    plain().build().unwrap();
    msix(64, 0, 0x800).build().unwrap();
    Description::other().region(0, bar(12)).irq(0, IrqFlags::INTX, 1).build().unwrap();
    Description::other().build().unwrap();
    let sparse = Region::sparse(memory(0x8000), [0x2000..0x3000, 0x3000..0x5000]);
    plain().bar(2, Memory32, sparse).region(9, bar(100)).region(8, bar(0xc0000)).build().unwrap();
    let rom = SharedMemory::new_read_only("rom", 4096).unwrap();
    plain().rom(Region::mapped(rom)).build().unwrap();
}

#[test]
fn a_bar_that_is_no_power_of_two_aborts_qemu() {
    for size in [0, 3, 12, 100, 4095, 4097] {
        refused(plain().bar(1, Memory32, bar(size)), &["BAR 1", &format!("{size} bytes")]);
    }
    refused(plain().bar(0, Memory32, Region::absent()), &["BAR 0", "0 bytes"]);
}

#[test]
fn a_bar_that_its_register_cannot_express_is_refused() {
    for (kind, size) in [
        (Io, 2),
        (Io, 512),
        (Memory32, 8),
        (Memory32, 1 << 32),
        (Prefetchable32, 1 << 32),
        (Prefetchable64, 8),
        (Prefetchable64, 1 << 63),
    ] {
        let words = ["BAR 0", &format!("{kind:?}"), &format!("{size} bytes")];
        refused(plain().bar(0, kind, bar(size)), &words);
    }
}

#[test]
fn a_bar_that_does_not_exist_is_refused() {
    refused(plain().bar(6, Io, bar(8)), &["BAR 6 does not exist"]);
    refused(plain().bar(5, Prefetchable64, bar(16)), &["BAR 5 does not exist", "64-bit"]);
    refused(plain().bar(u32::MAX, Prefetchable64, bar(16)), &["does not exist"]);
}

#[test]
fn two_bars_in_one_register_are_refused() {
    refused(plain().bar(0, Io, bar(8)).bar(0, Io, bar(8)), &["BAR 0 is in use"]);
    for size in [16, 8 << 30, 1 << 62] {
        let wide = || plain().bar(2, Prefetchable64, bar(size));
        refused(wide().bar(3, Memory32, bar(16)), &["BAR 3 is in use", "64-bit"]);
        refused(wide().bar(1, Prefetchable64, bar(16)), &["BAR 1 is in use"]);
        refused(wide().bar(3, Prefetchable64, bar(16)), &["BAR 3 is in use"]);
        refused(wide().bar(2, Memory32, bar(16)), &["BAR 2 is in use"]);
    }
}

#[test]
fn a_region_that_needs_a_register_is_refused_without_it() {
    for index in 0..8 {
        refused(plain().region(index, bar(12)), &[&format!("region {index}"), "`bar`"]);
    }
}

#[test]
fn a_rom_that_qemu_cannot_read_with_one_message_is_refused() {
    for size in [0, 1024, 3000, 2 << 20] {
        refused(plain().rom(bar(size)), &["ROM", &format!("{size} bytes")]);
    }
}

#[test]
fn bytes_outside_of_configuration_space_are_refused() {
    for (offset, length) in [(0x3f, 1), (0, 4), (0xff, 2), (0x100, 1), (usize::MAX, 2)] {
        let words = [format!("{length} bytes"), format!("{offset:#x}")];
        refused(plain().config_bytes(offset, &vec![1; length]), &words.each_ref().map(|it| &**it));
    }
    refused(plain().capability(Capability::vendor(&[0; 190])), &["193 bytes", "0x40"]);
    refused(plain().capability(Capability::vendor(&[0; 1000])), &["do not fit"]);
    let large = Capability::extended(0x000b, 1, [0; 3837], []);
    refused(plain().extended_capability(large), &["3841 bytes", "0x100"]);
}

#[test]
fn bytes_over_other_bytes_are_refused() {
    let twice = plain().config_bytes(0x40, b"four").config_bytes(0x43, b"x");
    refused(twice, &["1 bytes", "0x43", "over others"]);
}

#[test]
fn a_capability_in_the_wrong_list_is_refused() {
    let extended = Capability::extended(0x0123, 1, [], []);
    refused(plain().capability(extended), &["0x123", "extended_capability"]);
    refused(plain().capability(Capability::serial_number(1)), &["0x3", "extended_capability"]);
    refused(plain().extended_capability(Capability::vendor(b"")), &["0x9", "`capability`"]);
}

#[test]
fn more_msi_vectors_than_there_can_be_abort_qemu() {
    for log2 in [6, 7] {
        refused(plain().msi(log2), &["MSI"]);
    }
    let raw = |body: &[u8]| plain().capability(Capability::raw(0x05, body, []));
    let body = [0x8c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    refused(raw(&body), &["MSI", "Multiple Message Capable is 6"]);
}

#[test]
fn an_msi_capability_with_other_vectors_than_the_irq_index_is_refused() {
    refused(plain().msi(3).irq(1, IrqFlags::MSI, 4), &["MSI", "8 vectors", "has 4"]);
    let raw = Capability::raw(0x05, [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], []);
    refused(plain().capability(raw), &["MSI", "1 vectors", "has 0", "msi()"]);
}

#[test]
fn a_capability_without_room_for_itself_is_refused() {
    let end = || plain().capability(Capability::vendor(&[0; 184 - 3]));
    let short = |flags: [u8; 2]| {
        end().capability(Capability::raw(0x05, flags, [])).irq(1, IrqFlags::MSI, 1)
    };
    refused(short([0x00, 0]), &["0x5", "0xf8", "10 bytes", "has 8"]);
    refused(short([0x80, 0]), &["14 bytes"]);
    refused(short([0x00, 1]), &["20 bytes"]);
    refused(short([0x80, 1]), &["24 bytes"]);
    let pm =
        plain().capability(Capability::raw(0x01, [3, 0], [])).capability(Capability::vendor(b""));
    refused(pm, &["0x1", "8 bytes", "has 4"]);
}

#[test]
fn a_second_msi_capability_is_refused() {
    refused(plain().msi(0).msi(0), &["0x5", "0x50", "already"]);
    let pm = Capability::power_management;
    refused(plain().capability(pm()).capability(pm()), &["0x1", "already"]);
    plain()
        .capability(Capability::vendor(b""))
        .capability(Capability::vendor(b""))
        .build()
        .unwrap();
}

#[test]
fn msix_structures_outside_of_their_bar_crash_qemu() {
    refused(msix(2, 6, 0x800), &["MSI-X", "table", "BAR 6", "no BAR"]);
    refused(msix(2, 0, 0x807), &["pending", "BAR 7", "no BAR"]);
    refused(msix(2, 1, 0x800), &["table", "BAR 1", "does not have"]);
    refused(msix(2, 0, 0x803), &["pending", "BAR 3", "does not have"]);
    refused(msix(2, 0xff0, 0), &["table", "32 bytes at 0xff0", "past the end"]);
    refused(msix(65, 0, 0xff8), &["pending", "16 bytes at 0xff8", "past the end"]);
    refused(msix(65, 0, 0x408), &["pending", "0x408", "over the table"]);
    refused(msix(2, 0, 0x800).irq(2, IrqFlags::MSI, 3), &["irq index 2", "3 vectors"]);
    refused(msix(2, 0, 0x800).irq(2, IrqFlags::MSI, 0), &["irq index 2", "0 vectors"]);
}

#[test]
fn more_vectors_than_an_index_can_have_are_refused() {
    refused(plain().intx().irq(0, IrqFlags::INTX, 2), &["irq index 0", "2 vectors", "most 1"]);
    refused(plain().irq(1, IrqFlags::MSI, 33), &["irq index 1", "33 vectors", "most 32"]);
    refused(plain().irq(2, IrqFlags::MSI, 2049), &["irq index 2", "most 2048"]);
    let other = Description::other().irq(0, IrqFlags::MSI, u32::MAX);
    refused(other, &["irq index 0", "most 2048"]);
}

#[test]
fn a_pin_without_intx_and_intx_without_a_pin_are_refused() {
    refused(plain().irq(0, IrqFlags::INTX, 1), &["pin 0", "1 INTx", "intx()"]);
    refused(plain().intx().irq(0, IrqFlags::INTX, 0), &["pin 1", "0 INTx"]);
}

#[test]
fn more_regions_or_irq_indexes_than_qemu_takes_are_refused() {
    plain().region(99, bar(16)).irq(49, IrqFlags::MSI, 1).build().unwrap();
    refused(plain().region(100, bar(16)), &["100 regions"]);
    refused(plain().region(u32::MAX, bar(16)), &["100 regions"]);
    refused(plain().irq(50, IrqFlags::MSI, 1), &["50 irq"]);
    refused(Description::other().irq(u32::MAX, IrqFlags::MSI, 1), &["50 irq"]);
}

#[test]
fn memory_that_cannot_be_mapped_as_described_is_refused() {
    let odd = Description::other().region(3, Region::mapped(memory(5000)));
    refused(odd, &["region 3", "4 KiB pages"]);
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for (areas, fault) in [
        (vec![0x800..0x1000], "4 KiB page"),
        (vec![0..0x1800], "4 KiB page"),
        (vec![0x1000..0x1000], "empty"),
        (vec![0x2000..0x1000], "empty"),
        (vec![0x2000..0x4000, 0x3000..0x5000], "overlap"),
        (vec![0x4000..0x5000, 0x1000..0x2000], "order"),
        (vec![0x7000..0x9000], "past the end"),
    ] {
        let region = Region::sparse(memory(0x8000), areas);
        refused(plain().bar(2, Memory32, region), &["region 2", fault]);
    }
}

#[test]
fn a_read_only_region_that_a_client_could_write_through_a_mapping_is_refused() {
    refused(plain().rom(Region::mapped(memory(4096))), &["region 6", "read-only"]);
    let bar = Region::mapped(memory(4096)).read_only();
    refused(plain().bar(0, Memory32, bar), &["region 0", "new_read_only"]);
}

#[test]
fn qemu_takes_pci_express_endpoints_only() {
    let express = |kind: u8, length: usize| {
        let mut body = vec![0; length];
        body[0] = 0x02 | kind << 4;
        plain().capability(Capability::raw(0x10, body, []))
    };
    for kind in (2..16).filter(|kind| *kind != 9) {
        refused(express(kind, 0x3a), &["PCI Express", &format!("type {kind}"), "endpoints"]);
    }
    for kind in [0, 1, 9] {
        express(kind, 0x3a).build().unwrap();
    }
    refused(express(0, 0x36).capability(Capability::vendor(b"")), &["0x10", "60 bytes"]);
    let twice =
        |capability: fn() -> Capability| plain().capability(capability()).capability(capability());
    refused(twice(Capability::pci_express), &["0x10", "already"]);
    refused(twice(Capability::advanced_features), &["0x13", "already"]);
}

#[test]
fn memory_that_a_client_maps_can_be_read() {
    let region = Region::mapped(memory(4096)).write_only();
    refused(plain().bar(0, Memory32, region), &["region 0", "write-only"]);
}

#[test]
fn a_conventional_function_has_no_extended_capabilities() {
    let serial = Capability::serial_number(1);
    refused(plain().extended_capability(serial), &["extended", "PCI Express", "pci_express()"]);
}

#[test]
fn a_function_has_one_rom() {
    let rom = || bar(4096);
    refused(plain().rom(rom()).rom(rom()), &["second", "ROM"]);
}

#[test]
fn vectors_that_nothing_is_signalled_by_are_refused() {
    refused(plain().irq(5, IrqFlags::MASKABLE, 1), &["irq index 5", "EVENTFD"]);
    refused(Description::other().irq(0, IrqFlags::default(), 2), &["irq index 0", "EVENTFD"]);
    Description::other().irq(1, IrqFlags::EVENTFD, 1).build().unwrap();
}

#[test]
fn setters_of_a_pci_function_do_nothing_to_a_device_of_another_bus() {
    let at = |offset| BarOffset { bar: 0, offset };
    let vfio = vfio_device::Vfio::new();
    let description = Description::other().msi(3).msix(2, at(0), at(64)).rom(bar(4096));
    let log = crate::support::Log::default();
    let device = crate::support::alloc(&vfio, description, crate::support::Probe::new(&log));
    assert_eq!((device.num_regions(), device.irqs().num_irqs(), device.is_pci()), (0, 0, false));
}
