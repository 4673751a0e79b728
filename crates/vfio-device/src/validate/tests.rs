//! What the builder cannot make, made by hand: a description must hold however it was put together.

use super::*;
use crate::description::Description;

/// A built function whose configuration space is then spoilt.
fn spoilt(description: Description, bytes: &[(usize, &[u8])]) -> String {
    let mut built = description.build().unwrap();
    let config = built.config.as_mut().unwrap();
    bytes.iter().for_each(|(offset, bytes)| config.set(*offset, bytes));
    check(&built).unwrap_err().to_string()
}

fn capable() -> Description {
    let vendor = || crate::Capability::vendor(b"x");
    Description::pci(0x1234, 0x5678).capability(vendor()).capability(vendor())
}

fn extended() -> Description {
    let serial = || crate::Capability::serial_number(1);
    let express = Description::pci(1, 2).capability(crate::Capability::pci_express());
    express.extended_capability(serial()).extended_capability(serial())
}

#[test]
fn a_capability_list_that_is_a_loop_hangs_qemu() {
    let text = "the capability at 0x40 is reached twice: the list is a loop";
    assert_eq!(spoilt(capable(), &[(0x45, &[0x40])]), text);
    assert_eq!(spoilt(capable(), &[(0x41, &[0x40])]), text);
    // The second header is at 0x10c; its next pointer is the upper 12 bits.
    let back = 0x1001_0003_u32.to_le_bytes();
    assert!(spoilt(extended(), &[(0x10c, &back)]).contains("0x100 is reached twice"));
}

#[test]
fn a_capability_pointer_that_leads_elsewhere_is_refused() {
    for at in [0x04, 0x3c, 0x42] {
        let text = format!("a capability pointer leads to {at:#x}");
        assert!(spoilt(capable(), &[(0x34, &[at])]).contains(&text), "{at:#x}");
        assert!(spoilt(capable(), &[(0x41, &[at])]).contains(&text), "{at:#x}");
    }
    for (at, next) in [(0x0c0, 0x0c01_0003_u32), (0x102, 0x1021_0003)] {
        let text = spoilt(extended(), &[(0x100, &next.to_le_bytes())]);
        assert!(text.contains(&format!("leads to {at:#x}")), "{text}");
    }
}

#[test]
fn a_pin_above_intd_is_refused() {
    let text = spoilt(Description::pci(1, 2).intx(), &[(0x3d, &[5])]);
    assert!(text.contains("interrupt pin 5 does not exist"), "{text}");
}

#[test]
fn without_configuration_space_qemu_crashes() {
    for region in [Region::absent(), Region::trapped(255)] {
        let mut built = Description::pci(1, 2).build().unwrap();
        built.regions[7] = region;
        assert_eq!(check(&built), Err(DescriptionError::NoConfigSpace));
    }
    assert!(DescriptionError::NoConfigSpace.to_string().contains("configuration space"));
}

#[test]
fn too_few_regions_or_irq_indexes_are_refused() {
    let mut built = Description::pci(1, 2).build().unwrap();
    built.regions.truncate(8);
    assert_eq!(check(&built), Err(DescriptionError::Regions));
    let mut built = Description::pci(1, 2).build().unwrap();
    built.irqs.truncate(4);
    assert_eq!(check(&built), Err(DescriptionError::Irqs));
}
