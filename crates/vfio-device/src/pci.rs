//! Building the configuration space of a PCI function (PCI Local Bus 3.0 chapter 6, PCI Express Base chapter 7).

mod capability;
mod control;
mod layout;

use crate::config::{COMMAND, COMMAND_HI_INTX_DISABLE, ConfigSpace, STATUS};
use crate::description::{CONFIG, Description, ROM};
use crate::irq::{IrqFlags, MSI, MSIX, MsixPart};
use crate::region::Region;
use crate::validate::DescriptionError;
pub use capability::Capability;
pub(crate) use capability::id;
pub(crate) use control::Controls;
use layout::Layout;

pub(crate) const BAR_REGISTERS: usize = 0x10;
pub(crate) const INTERRUPT_PIN: usize = 0x3d;
pub(crate) const FIRST_CAPABILITY: usize = 0x40;
pub(crate) const FIRST_EXTENDED: usize = 0x100;
const ROM_REGISTER: usize = 0x30;
const INTERRUPT_LINE: usize = 0x3c;

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory below 4 GiB, prefetchable: reads have no side effect.
    Prefetchable32,
    /// Memory anywhere; takes up the next BAR too. Where a bridge is in between, firmware puts it below 4 GiB all the
    /// same.
    Memory64,
    /// Memory anywhere, prefetchable; takes up the next BAR too.
    Prefetchable64,
}

impl BarKind {
    /// The read-only low bits of the register.
    fn type_bits(self) -> u64 {
        match self {
            Self::Io => 0x1,
            Self::Memory32 => 0x0,
            Self::Prefetchable32 => 0x8,
            Self::Memory64 => 0x4,
            Self::Prefetchable64 => 0xc,
        }
    }

    /// Bytes of the register.
    fn width(self) -> usize {
        if matches!(self, Self::Memory64 | Self::Prefetchable64) { 8 } else { 4 }
    }

    /// The sizes that such a register can express.
    pub(crate) fn sizes(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Io => 4..=256,
            Self::Memory32 | Self::Prefetchable32 => 16..=1 << 31,
            Self::Memory64 | Self::Prefetchable64 => 16..=1 << 62,
        }
    }
}

/// A place in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarOffset {
    /// BAR number, 0 to 5.
    pub bar: u32,
    /// Bytes from the beginning of the BAR.
    pub offset: u64,
}

/// What [`Description::msix`] was told.
#[derive(Debug)]
struct Msix {
    vectors: u32,
    table: BarOffset,
    pending: BarOffset,
}

#[derive(Debug)]
struct Bar {
    index: u32,
    kind: BarKind,
    region: Region,
}

/// The PCI part of a [`Description`] in the making.
#[derive(Debug)]
pub(crate) struct PciBuilder {
    header: [u8; 0x40],
    initial_command: u16,
    bars: Vec<Bar>,
    roms: Vec<Region>,
    bytes: Vec<(usize, Vec<u8>)>,
    capabilities: Vec<Capability>,
    extended: Vec<Capability>,
    msix: Vec<Msix>,
}

impl PciBuilder {
    pub(crate) fn new(vendor: u16, device: u16) -> Self {
        let mut builder = Self {
            header: [0; 0x40],
            initial_command: 0,
            bars: Vec::new(),
            roms: Vec::new(),
            bytes: Vec::new(),
            capabilities: Vec::new(),
            extended: Vec::new(),
            msix: Vec::new(),
        };
        builder.put(0x00, &vendor.to_le_bytes());
        builder.put(0x02, &device.to_le_bytes());
        builder
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.header.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
    }

    pub(crate) fn interrupt_pin(&mut self, pin: u8) {
        self.put(INTERRUPT_PIN, &[pin]);
    }

    /// Lays the configuration space out and puts BARs, ROM and the space itself among the regions.
    pub(crate) fn finish(
        self,
        mut regions: Vec<Region>,
    ) -> Result<(ConfigSpace, Vec<Region>), DescriptionError> {
        // What a guest finds by a register in configuration space has to have that register.
        if let Some(index) = (0..=CONFIG).find(|&at| size_of(&regions, at) != 0) {
            return Err(DescriptionError::ReservedRegion(index));
        }
        let express = self.capabilities.iter().any(Capability::is_express);
        let mut config = ConfigSpace::new(if express { 4096 } else { 256 });
        config.define(0, &self.header, &[]);

        let mut command = 0x0004u16; // Bus Master Enable can always be written
        let mut taken = [false; 6];
        for bar in &self.bars {
            command |= if bar.kind == BarKind::Io { 0x0001 } else { 0x0002 };
            take_bar(bar, &mut taken)?;
            define_bar(&mut config, bar)?;
            set_region(&mut regions, bar.index, bar.region.clone());
        }
        for rom in &self.roms {
            command |= 0x0002;
            define_rom(&mut config, rom)?;
            set_region(&mut regions, ROM, rom.clone());
        }
        if self.roms.len() > 1 {
            return Err(DescriptionError::RomTwice);
        }
        for msix in &self.msix {
            msix.place(&mut regions)?;
        }
        if config.byte(INTERRUPT_PIN) != 0 {
            config.define(INTERRUPT_LINE, &[0], &[0xff]);
            command |= u16::from(COMMAND_HI_INTX_DISABLE) << 8;
        }
        config.define(COMMAND, &[0, 0], &command.to_le_bytes());

        let mut layout = Layout::new(config);
        for (offset, bytes) in &self.bytes {
            layout.bytes(*offset, bytes)?;
        }
        layout.capabilities(&self.capabilities)?;
        layout.extended(&self.extended)?;
        if !express && !self.extended.is_empty() {
            return Err(DescriptionError::ExtendedWithoutExpress);
        }

        let mut config = layout.into_config();
        config.seal();
        config.set(COMMAND, &self.initial_command.to_le_bytes());
        set_region(&mut regions, CONFIG, Region::trapped(config.size()));
        Ok((config, regions))
    }
}

/// Setters of a PCI function; without effect on a device of another bus.
impl Description {
    /// Base class, subclass and programming interface, as in the class code register.
    pub fn class(self, base: u8, sub: u8, interface: u8) -> Self {
        self.header(0x09, &[interface, sub, base])
    }

    /// Revision id.
    pub fn revision(self, revision: u8) -> Self {
        self.header(0x08, &[revision])
    }

    /// Subsystem vendor id and subsystem id.
    pub fn subsystem(self, vendor: u16, id: u16) -> Self {
        self.header(0x2c, &vendor.to_le_bytes()).header(0x2e, &id.to_le_bytes())
    }

    /// DEVSEL timing and the like: the status register's upper byte.
    pub fn status_high(self, bits: u8) -> Self {
        self.header(STATUS + 1, &[bits])
    }

    /// What the command register holds until the first reset, which leaves 0 in it as PCI asks. For a device that
    /// must look as one that firmware has set up already.
    pub fn initial_command(self, command: u16) -> Self {
        self.with_pci(|pci| pci.initial_command = command)
    }

    /// Base address register `index`, 0..=5, of the region's size: a power of two.
    pub fn bar(self, index: u32, kind: BarKind, region: Region) -> Self {
        self.with_pci(|pci| pci.bars.push(Bar { index, kind, region }))
    }

    /// Expansion ROM, 2 KiB to 1 MiB, a power of two (QEMU reads all of it with one message).
    pub fn rom(self, region: Region) -> Self {
        self.with_pci(|pci| pci.roms.push(region.read_only()))
    }

    /// Read-only bytes in configuration space outside of any capability, 0x40 to 0xff.
    pub fn config_bytes(self, offset: usize, bytes: &[u8]) -> Self {
        self.with_pci(|pci| pci.bytes.push((offset, bytes.to_vec())))
    }

    /// Adds a standard capability, each at the next free multiple of 4 from 0x40.
    pub fn capability(self, capability: Capability) -> Self {
        self.with_pci(|pci| pci.capabilities.push(capability))
    }

    /// Adds an extended capability, the first at 0x100. Only a function with [`Capability::pci_express`] can have one.
    pub fn extended_capability(self, capability: Capability) -> Self {
        self.with_pci(|pci| pci.extended.push(capability))
    }

    /// Adds an MSI capability and irq index MSI with `1 << log2_vectors` vectors, `log2_vectors` 0..=5.
    pub fn msi(self, log2_vectors: u8) -> Self {
        let count = 1u32.checked_shl(log2_vectors.into()).unwrap_or(0);
        self.capability(Capability::msi(log2_vectors)).pci_irq(MSI, IrqFlags::MSI, count)
    }

    /// Adds an MSI-X capability and irq index MSI-X with `vectors` vectors, 1 to 2048.
    ///
    /// The core answers the table (16 bytes a vector) and the pending bit array (8 bytes for each 64 vectors): both lie at
    /// a multiple of 8 in trapped bytes of a memory BAR, and the device does not see accesses to them. It only says
    /// [`trigger`](crate::Irqs::trigger) or [`set_level`](crate::Irqs::set_level).
    ///
    /// A vector that the guest masks, by its Vector Control or by Function Mask, shows in the pending bit array and fires
    /// at unmask. A client that keeps the table itself, as QEMU does, writes it nowhere; then it is the client who masks.
    pub fn msix(self, vectors: u32, table: BarOffset, pending: BarOffset) -> Self {
        self.with_pci(|pci| pci.msix.push(Msix { vectors, table, pending }))
            .capability(Capability::msix(vectors, table, pending))
            .pci_irq(MSIX, IrqFlags::MSIX, vectors)
    }

    fn pci_irq(self, index: u32, flags: IrqFlags, count: u32) -> Self {
        if self.pci.is_some() { self.irq(index, flags, count) } else { self }
    }

    fn header(self, offset: usize, bytes: &[u8]) -> Self {
        self.with_pci(|pci| pci.put(offset, bytes))
    }

    fn with_pci(mut self, change: impl FnOnce(&mut PciBuilder)) -> Self {
        if let Some(pci) = &mut self.pci {
            change(pci);
        }
        self
    }
}

impl Msix {
    /// Makes the core answer the table and the pending bit array.
    fn place(&self, regions: &mut [Region]) -> Result<(), DescriptionError> {
        if !(1..=2048).contains(&self.vectors) {
            return Err(DescriptionError::MsixVectors(self.vectors));
        }
        for (part, at) in [(MsixPart::Table, self.table), (MsixPart::Pending, self.pending)] {
            let length = part.size(self.vectors);
            let error = |fault| DescriptionError::Msix {
                what: part.name(),
                bar: u8::try_from(at.bar).unwrap_or(u8::MAX),
                offset: at.offset,
                length,
                fault,
            };
            if !at.offset.is_multiple_of(8) || at.offset > u32::MAX.into() {
                return Err(error("does not begin at a multiple of 8 below 4 GiB"));
            }
            let bars = regions.get_mut(..6).unwrap_or_default();
            let region =
                bars.get_mut(at.bar as usize).ok_or(error("is in no BAR: there are 0 to 5"))?;
            region.answer_msix(part, at.offset..at.offset + length);
        }
        Ok(())
    }
}

fn set_region(regions: &mut [Region], index: u32, region: Region) {
    regions.iter_mut().skip(index as usize).take(1).for_each(|place| *place = region.clone());
}

fn size_of(regions: &[Region], index: u32) -> u64 {
    regions.get(index as usize).map_or(0, Region::size)
}

/// Takes the registers of a BAR: the upper half of a 64-bit one is no region, but its register is in use.
fn take_bar(bar: &Bar, taken: &mut [bool; 6]) -> Result<(), DescriptionError> {
    let first = bar.index as usize;
    let registers = taken
        .get_mut(first..first.saturating_add(bar.kind.width() / 4))
        .ok_or(DescriptionError::BarIndex(bar.index))?;
    if registers.contains(&true) {
        return Err(DescriptionError::BarTaken(bar.index));
    }
    registers.fill(true);
    Ok(())
}

fn define_bar(config: &mut ConfigSpace, bar: &Bar) -> Result<(), DescriptionError> {
    let size = bar.region.size();
    let offset = BAR_REGISTERS + 4 * bar.index as usize;
    if !size.is_power_of_two() || !bar.kind.sizes().contains(&size) {
        return Err(DescriptionError::BarSize { bar: bar.index, kind: bar.kind, size });
    }
    let fixed = if bar.kind == BarKind::Io { 0x3 } else { 0xf };
    let value = bar.kind.type_bits().to_le_bytes();
    let mask = (!(size - 1) & !fixed).to_le_bytes();
    let width = bar.kind.width();
    config.define(offset, value.get(..width).unwrap_or(&[]), mask.get(..width).unwrap_or(&[]));
    Ok(())
}

fn define_rom(config: &mut ConfigSpace, rom: &Region) -> Result<(), DescriptionError> {
    let size = rom.size();
    if !size.is_power_of_two() || !(2048..=1 << 20).contains(&size) {
        return Err(DescriptionError::RomSize(size));
    }
    let mask = u32::try_from(!(size - 1) & 0xffff_ffff).unwrap_or(0) | 1; // bit 0: enable
    config.define(ROM_REGISTER, &[0; 4], &mask.to_le_bytes());
    Ok(())
}
