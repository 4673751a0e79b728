#![cfg(test)]
//! Accesses to regions: who answers, and what lies outside.
#![expect(clippy::single_range_in_vec_init, reason = "one area is a list of one")]

use std::sync::{Arc, Mutex};

use vfio_device::{BarKind, Description, Device, Errno, Region, SharedMemory};

use crate::support::{Call, Log, Probe, opened, plain, read};

/// A device with this region in BAR 2 that answers reads with 0xdd for each byte and checks that they came zeroed.
fn device(region: Region) -> (Device, Log) {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, _| {
        if let Call::Read { region, offset, data } = call {
            assert!(region == 2 && offset < 0x8000, "only what is in bounds");
            assert!(data.iter().all(|byte| *byte == 0), "data arrives zeroed");
            data.fill(0xdd);
        }
        Ok(())
    });
    let device = opened(plain().bar(2, BarKind::Memory32, region), probe);
    log.take();
    (device, log)
}

fn memory() -> SharedMemory {
    SharedMemory::new("test", 0x8000).unwrap()
}

#[test]
fn an_absent_region_and_one_that_does_not_exist_refuse_everything() {
    let (mut device, log) = device(Region::trapped(16));
    for region in [0, 1, 3, 6, 8, 9, 100, u32::MAX] {
        for length in [0, 1, 4] {
            let mut data = vec![0; length];
            let answers =
                [device.region_read(region, 0, &mut data), device.region_write(region, 0, &data)];
            assert_eq!(answers, [Err(Errno::INVAL); 2], "{length} bytes of {region}");
        }
    }
    assert_eq!(log.take(), [""; 0]);
    assert_eq!(device.num_regions(), 9);
    assert!(device.region(8).is_some() && device.region(9).is_none());
}

#[test]
fn accesses_that_reach_past_the_end_or_wrap_are_refused_whole() {
    let kinds = [Region::trapped(0x8000), Region::mapped(memory()), {
        Region::sparse(memory(), [0x7000..0x8000])
    }];
    for region in kinds {
        let (mut device, log) = device(region);
        for offset in [0x7ffd, 0x8000, 0x8001, 1 << 32, u64::MAX - 3, u64::MAX] {
            let mut data = [0x11; 4];
            assert_eq!(device.region_read(2, offset, &mut data), Err(Errno::INVAL), "{offset:#x}");
            assert_eq!(device.region_write(2, offset, &data), Err(Errno::INVAL), "{offset:#x}");
            assert_eq!(data, [0x11; 4]);
        }
        assert_eq!(device.region_read(2, 0x8000, &mut []), Ok(()));
        assert_eq!(device.region_write(2, 0x8000, &[]), Ok(()));
        assert_eq!(device.region_read(2, 0x7ffc, &mut [0; 4]), Ok(()));
        assert!(log.take().iter().all(|call| call == "read 2 0x7ffc 4"));
    }
}

#[test]
fn a_read_only_region_refuses_writes() {
    let (mut device, log) = device(Region::trapped(16).read_only());
    assert_eq!(device.region_write(2, 0, &[1]), Err(Errno::INVAL));
    assert_eq!(read(&mut device, 2, 0), [0xdd; 4]);
    assert_eq!(log.take(), ["read 2 0x0 4"]);
}

#[test]
fn a_write_only_region_refuses_reads() {
    let (mut device, log) = device(Region::trapped(16).write_only());
    assert_eq!(device.region_read(2, 0, &mut [0]), Err(Errno::INVAL));
    device.region_write(2, 0, &[1]).unwrap();
    assert_eq!(log.take(), ["write 2 0x0 [01]"]);
}

#[test]
fn trapped_bytes_are_the_devices_at_any_length_and_offset() {
    let (mut device, log) = device(Region::trapped(16));
    assert_eq!(read(&mut device, 2, 3), [0xdd; 7]);
    device.region_write(2, 15, &[0xee]).unwrap();
    assert_eq!(log.take(), ["read 2 0x3 7", "write 2 0xf [ee]"]);
}

#[test]
fn mapped_bytes_are_memory_and_the_device_hears_nothing() {
    let memory = memory();
    let (mut device, log) = device(Region::mapped(memory.clone()));
    device.region_write(2, 0x7ffd, &[1, 2, 3]).unwrap();
    let mut data = [0; 3];
    memory.read(0x7ffd, &mut data).unwrap();
    assert_eq!(data, [1, 2, 3]);
    memory.write(5, &[9]).unwrap();
    assert_eq!(read(&mut device, 2, 4), [0, 9, 0]);
    assert_eq!(log.take(), [""; 0]);
    device.reset();
    assert_eq!(read(&mut device, 2, 5), [9], "memory is the device's to clear");
}

#[test]
fn accesses_across_the_borders_of_sparse_areas_are_divided() {
    let memory = memory();
    memory.write(0, &[0xcc; 0x8000]).unwrap();
    let areas = [0x2000..0x3000, 0x3000..0x4000, 0x6000..0x7000];
    let (mut device, log) = device(Region::sparse(memory.clone(), areas));
    let mut all = vec![0; 0x8000];
    device.region_read(2, 0, &mut all).unwrap();
    for (at, byte) in all.iter().enumerate() {
        let mapped = (0x2000..0x4000).contains(&at) || (0x6000..0x7000).contains(&at);
        assert_eq!(*byte, if mapped { 0xcc } else { 0xdd }, "{at:#x}");
    }
    assert_eq!(log.take(), ["read 2 0x0 8192", "read 2 0x4000 8192", "read 2 0x7000 4096"]);

    device.region_write(2, 0x1ffe, &[1, 2, 3, 4]).unwrap();
    device.region_write(2, 0x3ffe, &[5, 6, 7, 8]).unwrap();
    device.region_write(2, 0x2fff, &[9, 10]).unwrap();
    assert_eq!(log.take(), ["write 2 0x1ffe [01, 02]", "write 2 0x4000 [07, 08]"]);
    for (at, bytes) in [(0x2000, [3, 4]), (0x3ffe, [5, 6]), (0x2fff, [9, 10]), (0x4000, [0xcc; 2])]
    {
        let mut data = [0; 2];
        memory.read(at, &mut data).unwrap();
        assert_eq!(data, bytes, "{at:#x}");
    }
}

#[test]
fn regions_say_what_they_are() {
    let areas = [0x1000..0x2000];
    let region = Region::sparse(memory(), areas.clone()).with_type(0x8086_8000, 3);
    assert_eq!((region.size(), region.kind()), (0x8000, Some((0x8086_8000, 3))));
    assert_eq!(region.areas(), Some(&areas[..]));
    assert!(region.memory().is_some() && !region.is_read_only());
    let trapped = Region::trapped(5);
    assert!(trapped.memory().is_none() && trapped.areas().is_none() && trapped.kind().is_none());
    assert_eq!(Region::absent().size(), 0);
}

#[test]
fn a_device_that_is_not_pci_answers_every_region_itself() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&seen);
    let probe = Probe::acting(&Log::default(), move |call, cx| {
        if let Call::Write { region, .. } = call {
            calls.lock().unwrap().push((region, cx.config.size()));
        }
        Ok(())
    });
    let description =
        Description::other().region(0, Region::trapped(4)).region(7, Region::trapped(4));
    let mut device = opened(description.without_reset_flag(), probe);
    assert!(!device.is_pci() && !device.can_reset());
    assert_eq!((device.num_regions(), device.irqs().num_irqs()), (8, 0));
    device.region_write(0, 0, &[0; 4]).unwrap();
    device.region_write(7, 0, &[0; 4]).unwrap();
    assert_eq!(device.region_write(1, 0, &[0]), Err(Errno::INVAL));
    device.reset();
    assert_eq!(*seen.lock().unwrap(), [(0, 0), (7, 0)]);
}
