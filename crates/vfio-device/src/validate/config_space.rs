//! What must hold of configuration space.

use std::ops::Range;

use super::DescriptionError;
use crate::config::ConfigSpace;
use crate::description::{Built, CONFIG};
use crate::irq::{INTX, MSI, MSIX, MsixPart};
use crate::pci::{BAR_REGISTERS, FIRST_CAPABILITY, FIRST_EXTENDED, INTERRUPT_PIN, id};
use crate::region::Region;

pub(super) fn config_space(config: &ConfigSpace, built: &Built) -> Result<(), DescriptionError> {
    let region = built.regions.get(CONFIG as usize).map_or(0, Region::size);
    if region != config.size() {
        return Err(DescriptionError::NoConfigSpace);
    }
    let pin = config.byte(INTERRUPT_PIN);
    if pin > 4 {
        return Err(DescriptionError::InterruptPin(pin));
    }
    let count = vectors_of(built, INTX);
    if (pin != 0) != (count != 0) {
        return Err(DescriptionError::IntxCount { pin, count });
    }
    standard_list(config, built)?;
    if config.size() > 256 { extended_list(config) } else { Ok(()) }
}

fn standard_list(config: &ConfigSpace, built: &Built) -> Result<(), DescriptionError> {
    let mut seen = Vec::new();
    for at in config.capabilities() {
        if at < FIRST_CAPABILITY || at % 4 != 0 {
            return Err(DescriptionError::CapabilityPointer(at));
        }
        if seen.contains(&at) {
            return Err(DescriptionError::CapabilityLoop(at));
        }
        seen.push(at);
    }
    for &at in &seen {
        let id = config.byte(at);
        once(config, id, at, &seen)?;
        room(config, id, at, &seen)?;
        match id {
            id::MSI => msi(config, at, built)?,
            id::MSIX => msix(config, at, built)?,
            id::EXPRESS => express(config, at)?,
            _ => (),
        }
    }
    Ok(())
}

/// Only capabilities that QEMU makes something of need to be alone.
fn once(config: &ConfigSpace, id: u8, at: usize, all: &[usize]) -> Result<(), DescriptionError> {
    let first = all.iter().find(|&&other| config.byte(other) == id);
    let alone = [id::POWER_MANAGEMENT, id::MSI, id::MSIX, id::EXPRESS, id::ADVANCED_FEATURES];
    if alone.contains(&id) && first != Some(&at) {
        return Err(DescriptionError::CapabilityTwice { id, at });
    }
    Ok(())
}

/// Whether a capability is as long as its id and flags say that it is.
fn room(config: &ConfigSpace, id: u8, at: usize, all: &[usize]) -> Result<(), DescriptionError> {
    let flags = config.byte(at + 2);
    let needed = match id {
        id::POWER_MANAGEMENT => 8,
        // The 64-bit and the per-vector masking bits add to it.
        id::MSI if config.byte(at + 3) & 1 != 0 => 20 + usize::from(flags >> 7) * 4,
        id::MSI => 10 + usize::from(flags >> 7) * 4,
        id::MSIX => 12,
        id::EXPRESS => 0x3c,
        id::ADVANCED_FEATURES => 6,
        _ => 2,
    };
    let end = all.iter().copied().filter(|&other| other > at).min().unwrap_or(256);
    let length = end - at;
    if length < needed {
        return Err(DescriptionError::CapabilityShort { id, at, needed, length });
    }
    Ok(())
}

fn extended_list(config: &ConfigSpace) -> Result<(), DescriptionError> {
    let mut seen = Vec::new();
    let mut at = FIRST_EXTENDED;
    while at != 0 && config.dword(at) != 0 {
        if seen.contains(&at) {
            return Err(DescriptionError::CapabilityLoop(at));
        }
        seen.push(at);
        at = (config.dword(at) >> 20) as usize;
        if at != 0 && (at < FIRST_EXTENDED || !at.is_multiple_of(4)) {
            return Err(DescriptionError::CapabilityPointer(at));
        }
    }
    Ok(())
}

fn msi(config: &ConfigSpace, at: usize, built: &Built) -> Result<(), DescriptionError> {
    let capable = config.byte(at + 2) >> 1 & 7;
    if capable > 5 {
        return Err(DescriptionError::MsiVectors(capable));
    }
    let (capable, count) = (1 << capable, vectors_of(built, MSI));
    if capable == count { Ok(()) } else { Err(DescriptionError::MsiCount { capable, count }) }
}

fn express(config: &ConfigSpace, at: usize) -> Result<(), DescriptionError> {
    let kind = config.byte(at + 2) >> 4;
    if [0, 1, 9].contains(&kind) { Ok(()) } else { Err(DescriptionError::ExpressType(kind)) }
}

fn vectors_of(built: &Built, index: u32) -> u32 {
    built.irqs.get(index as usize).map_or(0, |info| info.count)
}

fn msix(config: &ConfigSpace, at: usize, built: &Built) -> Result<(), DescriptionError> {
    let vectors = u64::from(config.word(at + 2) & 0x7ff) + 1;
    let count = vectors_of(built, MSIX);
    if u64::from(count) != vectors {
        return Err(DescriptionError::IrqCount {
            index: MSIX,
            count,
            most: u32::try_from(vectors).unwrap_or(0),
        });
    }
    let register = |at| (config.dword(at) & 7, u64::from(config.dword(at) & !7));
    let mut taken = None;
    for (part, (bar, offset)) in
        [(MsixPart::Table, register(at + 4)), (MsixPart::Pending, register(at + 8))]
    {
        let length = part.size(count);
        let bytes = offset..offset + length;
        let size = built.regions.get(bar as usize).map_or(0, Region::size);
        let is_one_way = || {
            let region = built.regions.get(bar as usize);
            region.is_some_and(|region| region.is_read_only() || region.is_write_only())
        };
        let is_io = || config.byte(BAR_REGISTERS + 4 * bar as usize) & 1 != 0;
        let over = |(other, table): &(u32, Range<u64>)| {
            *other == bar && table.start < bytes.end && bytes.start < table.end
        };
        let fault = match () {
            () if bar > 5 => "is in no BAR: there are 0 to 5",
            () if size == 0 => "is in a BAR that the device does not have",
            () if is_one_way() => "is in a BAR that cannot be both read and written",
            () if is_io() => "is in an I/O BAR: it takes a memory BAR",
            () if bytes.end > size => "reaches past the end of the BAR",
            () if taken.as_ref().is_some_and(over) => "lies over the table",
            () => {
                taken = Some((bar, bytes));
                continue;
            }
        };
        let what = part.name();
        return Err(DescriptionError::Msix { what, bar: bar as u8, offset, length, fault });
    }
    Ok(())
}
