//! What a device is, apart from how it behaves: regions, irqs, configuration space.

use crate::config::ConfigSpace;
use crate::irq::{ERR, INTX, IrqFlags, IrqInfo, REQ};
use crate::pci::{Controls, PciBuilder};
use crate::region::Region;
use crate::validate::{self, DescriptionError};

/// Region index of the first BAR (`VFIO_PCI_BAR0_REGION_INDEX`); BAR n has index n.
pub const BAR0: u32 = 0;
/// Region index of the expansion ROM (`VFIO_PCI_ROM_REGION_INDEX`).
pub const ROM: u32 = 6;
/// Region index of configuration space (`VFIO_PCI_CONFIG_REGION_INDEX`).
pub const CONFIG: u32 = 7;
/// Region index of legacy VGA (`VFIO_PCI_VGA_REGION_INDEX`).
pub const VGA: u32 = 8;
/// Number of region indexes that every PCI device has; device-specific ones follow.
pub const PCI_REGIONS: u32 = 9;
/// Number of irq indexes that every PCI device has.
pub const PCI_IRQS: u32 = 5;

/// A device as `VFIO_DEVICE_GET_INFO`, `_GET_REGION_INFO` and `_GET_IRQ_INFO` tell of it.
///
/// Begin with [`Description::pci`] (or [`Description::other`] for a device that is not PCI), end with
/// [`build`](Self::build), which refuses what would crash or hang a client.
#[derive(Debug)]
pub struct Description {
    pub(crate) pci: Option<PciBuilder>,
    pub(crate) regions: Vec<Region>,
    pub(crate) irqs: Vec<IrqInfo>,
    pub(crate) can_reset: bool,
    pub(crate) does_dma: bool,
}

/// A [`Description`] that has been checked.
#[derive(Debug)]
pub struct Built {
    pub(crate) config: Option<ConfigSpace>,
    pub(crate) controls: Controls,
    pub(crate) regions: Vec<Region>,
    pub(crate) irqs: Vec<IrqInfo>,
    pub(crate) can_reset: bool,
    pub(crate) does_dma: bool,
}

impl Description {
    /// A conventional PCI function: 9 regions, of which configuration space (256 bytes) exists, and 5 irq indexes, of
    /// which ERR exists (one vector that never fires; QEMU warns without it).
    pub fn pci(vendor: u16, device: u16) -> Self {
        let mut irqs = vec![IrqInfo::default(); PCI_IRQS as usize];
        irqs.iter_mut()
            .skip(ERR as usize)
            .take(1)
            .for_each(|err| *err = IrqInfo { flags: IrqFlags::MSI, count: 1 });
        Self {
            pci: Some(PciBuilder::new(vendor, device)),
            regions: vec![Region::absent(); PCI_REGIONS as usize],
            irqs,
            can_reset: true,
            does_dma: false,
        }
    }

    /// A device of another bus (platform, amba, ap, ccw): no region and no irq but those that are added.
    pub fn other() -> Self {
        Self { pci: None, regions: Vec::new(), irqs: Vec::new(), can_reset: true, does_dma: false }
    }

    /// Puts a region at `index`; those below it that are not yet there are absent. Of a PCI function: VGA and
    /// device-specific regions only, as BARs and the ROM come with [`bar`](Self::bar) and [`rom`](Self::rom), and
    /// configuration space is there.
    pub fn region(mut self, index: u32, region: Region) -> Self {
        put(&mut self.regions, index, region);
        self
    }

    /// Puts an irq index; those below it that are not yet there have count 0.
    pub fn irq(mut self, index: u32, flags: IrqFlags, count: u32) -> Self {
        put(&mut self.irqs, index, IrqInfo { flags, count });
        self
    }

    /// Adds the REQ irq index, by which a client that set it up is asked to let go of the device.
    pub fn request_irq(self) -> Self {
        self.irq(REQ, IrqFlags::MSI, 1)
    }

    /// Adds irq index INTx with one vector and, for a PCI function, interrupt pin INTA.
    pub fn intx(mut self) -> Self {
        if let Some(pci) = &mut self.pci {
            pci.interrupt_pin(1);
        }
        self.irq(INTX, IrqFlags::INTX, 1)
    }

    /// Does not advertise `VFIO_DEVICE_FLAGS_RESET`. A reset that comes all the same is carried out.
    pub fn without_reset_flag(mut self) -> Self {
        self.can_reset = false;
        self
    }

    /// The device reads and writes the client's memory ([`Dma`](crate::Dma)). Without this no file of the client's is
    /// kept, and all of its memory is out of reach (`EOPNOTSUPP`).
    pub fn dma(mut self) -> Self {
        self.does_dma = true;
        self
    }

    /// Checks all of it and ends the building.
    ///
    /// # Errors
    /// [`DescriptionError`] says what is wrong, and what a client would do with it.
    pub fn build(self) -> Result<Built, DescriptionError> {
        let (config, regions) = match self.pci {
            Some(pci) => {
                let (config, regions) = pci.finish(self.regions)?;
                (Some(config), regions)
            }
            None => (None, self.regions),
        };
        let Self { irqs, can_reset, does_dma, .. } = self;
        let controls = Controls::default();
        let built = Built { config, controls, regions, irqs, can_reset, does_dma };
        validate::check(&built)?;
        let controls = built.config.as_ref().map(Controls::find).unwrap_or_default();
        Ok(Built { controls, ..built })
    }
}

/// Puts `item` at `index` of a list that grows with default items as needed. Indexes are the author's constants; one
/// that is out of all reason is left for the validation to find.
fn put<T: Default + Clone>(list: &mut Vec<T>, index: u32, item: T) {
    let index = index.min(validate::MAX_REGIONS) as usize;
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    list.iter_mut().skip(index).take(1).for_each(|place| *place = item.clone());
}
