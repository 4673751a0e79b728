//! What must hold of a description before a client sees it.
//!
//! QEMU 11.1 believes what a server tells it: a BAR that is no power of two aborts it, an absent configuration space
//! ends it with SIGSEGV, a loop in a capability list hangs it. So all of that is refused here, when the device is
//! built, and never found out in the dialogue.

mod config_space;

use std::ops::Range;

use thiserror::Error;

use crate::description::{Built, CONFIG, PCI_IRQS, PCI_REGIONS};
use crate::irq::{INTX, IrqFlags, MSI};
use crate::pci::BarKind;
use crate::region::Region;
use config_space::config_space;

/// Page size that mapped memory is measured in.
pub(crate) const PAGE: u64 = 4096;
/// QEMU takes no more regions than this.
pub(crate) const MAX_REGIONS: u32 = 100;
/// QEMU takes no more irq indexes than this.
const MAX_IRQS: u32 = 50;

/// Why a [`Description`](crate::Description) cannot be built.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptionError {
    /// There are BARs 0 to 5, and a 64-bit one takes two.
    #[error("BAR {0} does not exist: BARs are 0 to 5, and a 64-bit one needs the next as well")]
    BarIndex(u32),
    /// Two regions want the same BAR.
    #[error("BAR {0} is in use already, by another BAR or as the upper half of a 64-bit one")]
    BarTaken(u32),
    /// QEMU aborts on a BAR size that is not a power of two.
    #[error("BAR {bar} cannot be {size} bytes: {kind:?} takes a power of two from {} to {}", bar_sizes(*kind).0,
        bar_sizes(*kind).1)]
    BarSize {
        /// BAR number
        bar: u32,
        /// what it decodes
        kind: BarKind,
        /// bytes
        size: u64,
    },
    /// QEMU reads the whole ROM with one message.
    #[error("the expansion ROM cannot be {0} bytes: it takes a power of two from 2 KiB to 1 MiB")]
    RomSize(u64),
    /// A function has one expansion ROM.
    #[error("a second expansion ROM: a function has one at most")]
    RomTwice,
    /// QEMU shows a guest no extended capability of a conventional function.
    #[error(
        "extended capabilities are found in a PCI Express function only: add `Capability::pci_express()`"
    )]
    ExtendedWithoutExpress,
    /// Bytes of configuration space lie where no such bytes can.
    #[error(
        "{length} bytes of configuration space at {offset:#x} do not fit: standard ones live in 0x40..0x100, extended ones in 0x100..0x1000"
    )]
    ConfigBounds {
        /// where they begin
        offset: usize,
        /// how many there are
        length: usize,
    },
    /// Two things want the same bytes of configuration space.
    #[error("{length} bytes of configuration space at {offset:#x} lie over others")]
    ConfigOverlap {
        /// where they begin
        offset: usize,
        /// how many there are
        length: usize,
    },
    /// An extended capability among the standard ones.
    #[error("capability id {0:#x} is no standard one: add it with `extended_capability`")]
    NotStandard(u16),
    /// A standard capability among the extended ones.
    #[error("capability id {0:#x} is no extended one: add it with `capability`")]
    NotExtended(u16),
    /// A region that needs a register in configuration space, without that register: QEMU would abort on its size or
    /// not find it.
    #[error(
        "region {0} of a PCI device is set up by `bar` or `rom`, or is configuration space: not by `region`"
    )]
    ReservedRegion(u32),
    /// QEMU sets up as many vectors as the capability says.
    #[error("MSI: the capability says {capable} vectors, irq index 1 has {count}: use `msi()`")]
    MsiCount {
        /// vectors of the capability
        capable: u32,
        /// vectors of irq index 1
        count: u32,
    },
    /// A capability that does not fit in where it is: it runs into the next one, or out of its list.
    #[error("capability id {id:#x} at {at:#x} takes {needed} bytes, but has {length}")]
    CapabilityShort {
        /// capability id
        id: u8,
        /// where it begins
        at: usize,
        /// bytes that a capability of this id takes
        needed: usize,
        /// bytes up to what comes next
        length: usize,
    },
    /// QEMU aborts on a second one.
    #[error("capability id {id:#x} at {at:#x} is there already: a function has one at most")]
    CapabilityTwice {
        /// capability id
        id: u8,
        /// where the second begins
        at: usize,
    },
    /// QEMU ends with SIGSEGV without configuration space.
    #[error("a PCI device needs 256 or 4096 bytes of configuration space as region {CONFIG}")]
    NoConfigSpace,
    /// QEMU never returns from such a list.
    #[error("the capability at {0:#x} is reached twice: the list is a loop")]
    CapabilityLoop(usize),
    /// A next pointer that leads out of the capabilities.
    #[error("a capability pointer leads to {0:#x}, where no capability can be")]
    CapabilityPointer(usize),
    /// QEMU refuses pins above INTD.
    #[error("interrupt pin {0} does not exist: 0 is none, 1 to 4 are INTA to INTD")]
    InterruptPin(u8),
    /// A pin without irq index INTx, or the other way round.
    #[error("interrupt pin {pin} and {count} INTx vectors do not go together: use `intx()`")]
    IntxCount {
        /// interrupt pin register
        pin: u8,
        /// vectors of irq index 0
        count: u32,
    },
    /// QEMU aborts on a Multiple Message Capable field above 5.
    #[error("MSI: Multiple Message Capable is {0}; 0 to 5 stand for 1 to 32 vectors")]
    MsiVectors(u8),
    /// QEMU takes endpoints, and no bridges or ports.
    #[error("PCI Express: device type {0} cannot be handed to a guest: 0, 1 and 9 are endpoints")]
    ExpressType(u8),
    /// MSI-X has 1 to 2048 vectors.
    #[error("MSI-X: {0} vectors; 1 to 2048 are possible")]
    MsixVectors(u32),
    /// MSI-X structures outside of a BAR, or one over the other; QEMU refuses the device or ends with SIGSEGV.
    #[error("MSI-X: the {what} ({length} bytes at {offset:#x} of BAR {bar}) {fault}")]
    Msix {
        /// table or pending bit array
        what: &'static str,
        /// BAR indicator
        bar: u8,
        /// offset in the BAR
        offset: u64,
        /// bytes
        length: u64,
        /// what is wrong with it
        fault: &'static str,
    },
    /// An irq index has more vectors than it can have.
    #[error("irq index {index} cannot have {count} vectors: at most {most}")]
    IrqCount {
        /// irq index
        index: u32,
        /// vectors asked for
        count: u32,
        /// vectors possible
        most: u32,
    },
    /// Vectors that nothing could be heard of.
    #[error("irq index {0} has vectors, and not the flag EVENTFD by which they are signalled")]
    IrqFlags(u32),
    /// QEMU takes 8 to 100 regions.
    #[error("a device has at most {MAX_REGIONS} regions, and a PCI device at least {PCI_REGIONS}")]
    Regions,
    /// QEMU takes 3 to 50 irq indexes.
    #[error("a device has at most {MAX_IRQS} irq indexes, and a PCI device at least {PCI_IRQS}")]
    Irqs,
    /// Memory that cannot be mapped as described.
    #[error("region {region}: {fault}")]
    Mapping {
        /// region index
        region: u32,
        /// what is wrong
        fault: &'static str,
    },
}

fn bar_sizes(kind: BarKind) -> (u64, u64) {
    let sizes = kind.sizes();
    (*sizes.start(), *sizes.end())
}

/// Checks a finished description as a client will see it, however it was put together.
pub(crate) fn check(built: &Built) -> Result<(), DescriptionError> {
    let is_pci = built.config.is_some();
    let fits =
        |length: usize, least: u32, most: u32| (least as usize..=most as usize).contains(&length);
    if !fits(built.regions.len(), if is_pci { PCI_REGIONS } else { 0 }, MAX_REGIONS) {
        return Err(DescriptionError::Regions);
    }
    if !fits(built.irqs.len(), if is_pci { PCI_IRQS } else { 0 }, MAX_IRQS) {
        return Err(DescriptionError::Irqs);
    }
    for (region, index) in built.regions.iter().zip(0..) {
        mapping(region).map_err(|fault| DescriptionError::Mapping { region: index, fault })?;
    }
    if let Some(config) = &built.config {
        config_space(config, built)?;
    }
    for (info, index) in built.irqs.iter().zip(0..) {
        let most = match index {
            INTX if is_pci => 1,
            MSI if is_pci => 32,
            _ => 2048,
        };
        if info.count > most {
            return Err(DescriptionError::IrqCount { index, count: info.count, most });
        }
        if info.count != 0 && !info.flags.contains(IrqFlags::EVENTFD) {
            return Err(DescriptionError::IrqFlags(index));
        }
    }
    Ok(())
}

fn mapping(region: &Region) -> Result<(), &'static str> {
    let Some(memory) = region.memory() else { return Ok(()) };
    if region.is_write_only() {
        return Err("a client could read this write-only region: it cannot be mapped");
    }
    if region.is_read_only() && !memory.is_read_only() {
        return Err(
            "a client could write this read-only region: use `SharedMemory::new_read_only`",
        );
    }
    if memory.size() % PAGE != 0 {
        return Err("mapped memory must be a whole number of 4 KiB pages");
    }
    let mut free = 0;
    for area in region.areas().unwrap_or_default() {
        if area.start % PAGE != 0 || area.end % PAGE != 0 {
            return Err("a sparse area must begin and end on a 4 KiB page");
        }
        if area.is_empty() {
            return Err("a sparse area is empty");
        }
        if area.start < free {
            return Err("sparse areas overlap or are not in ascending order");
        }
        if area.end > region.size() {
            return Err("a sparse area reaches past the end of the region");
        }
        free = area.end;
    }
    let is_mapped = |bytes: &Range<u64>| {
        let over = |area: &Range<u64>| bytes.start < area.end && area.start < bytes.end;
        region.areas().is_none_or(|areas| areas.iter().any(over))
    };
    if region.msix().iter().any(|(bytes, _)| is_mapped(bytes)) {
        return Err("MSI-X table or pending bits lie in mapped memory: they need trapped bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
