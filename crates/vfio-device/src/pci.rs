//! Building the configuration space of a PCI function (PCI Local Bus 3.0 chapter 6, PCI Express Base chapter 7).

use std::ops::Range;

use crate::config::{COMMAND, COMMAND_HI_INTX_DISABLE, ConfigSpace, STATUS};
use crate::description::{CONFIG, Description, ROM};
use crate::irq::{IrqFlags, MSI};
use crate::region::Region;
use crate::validate::DescriptionError;

pub(crate) const BAR_REGISTERS: usize = 0x10;
pub(crate) const CAPABILITIES_POINTER: usize = 0x34;
pub(crate) const INTERRUPT_PIN: usize = 0x3d;
pub(crate) const FIRST_CAPABILITY: usize = 0x40;
pub(crate) const FIRST_EXTENDED: usize = 0x100;
pub(crate) const STATUS_CAPABILITIES: u8 = 0x10;
const ROM_REGISTER: usize = 0x30;
const INTERRUPT_LINE: usize = 0x3c;

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory below 4 GiB, prefetchable: reads have no side effect.
    Prefetchable32,
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
            Self::Prefetchable64 => 0xc,
        }
    }

    /// Bytes of the register.
    fn width(self) -> usize {
        if self == Self::Prefetchable64 { 8 } else { 4 }
    }

    /// The sizes that such a register can express.
    pub(crate) fn sizes(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Io => 4..=256,
            Self::Memory32 | Self::Prefetchable32 => 16..=1 << 31,
            Self::Prefetchable64 => 16..=1 << 62,
        }
    }
}

/// A capability of a PCI function: its body after the two bytes of id and next pointer (four bytes of header for an
/// extended one), and which bits of it a guest may change.
#[derive(Clone, Debug)]
pub struct Capability {
    id: u16,
    extended: bool,
    version: u8,
    body: Vec<u8>,
    mask: Vec<u8>,
}

impl Capability {
    /// Any standard capability: `body` begins at offset 2 of it, `mask` says which of its bits a guest may change
    /// (bytes that it lacks: none).
    pub fn raw(id: u8, body: impl Into<Vec<u8>>, mask: impl Into<Vec<u8>>) -> Self {
        Self { id: id.into(), extended: false, version: 0, body: body.into(), mask: mask.into() }
    }

    /// Vendor-specific (id 0x09), read-only; its length byte is added to `data`.
    pub fn vendor(data: &[u8]) -> Self {
        let length = u8::try_from(data.len() + 3).unwrap_or(u8::MAX);
        Self::raw(0x09, [&[length], data].concat(), [])
    }

    /// Power management (id 0x01), version 3: D0 and D3hot, state kept over D3hot (No_Soft_Reset).
    pub fn power_management() -> Self {
        Self::raw(0x01, [0x03, 0, 0x08, 0, 0, 0], [0, 0, 0x03, 0, 0, 0])
    }

    /// MSI (id 0x05) with a 64-bit address. `log2_vectors` is the Multiple Message Capable field: 0..=5 for 1..=32.
    fn msi(log2_vectors: u8) -> Self {
        let mut body = [0; 12];
        let mut mask = [0xff; 12];
        (body[0], mask[0], mask[1], mask[2]) = (0x80 | log2_vectors << 1, 0x71, 0, 0xfc);
        Self::raw(0x05, body, mask)
    }

    /// Any extended capability: `body` begins at offset 4 of it. A function that has one has 4096 bytes of
    /// configuration space.
    pub fn extended(
        id: u16,
        version: u8,
        body: impl Into<Vec<u8>>,
        mask: impl Into<Vec<u8>>,
    ) -> Self {
        let (body, mask) = (body.into(), mask.into());
        Self { id, extended: true, version: version & 0xf, body, mask }
    }

    /// Device serial number (extended, id 0x0003).
    pub fn serial_number(number: u64) -> Self {
        Self::extended(0x0003, 1, number.to_le_bytes(), [])
    }
}

#[derive(Clone, Debug)]
struct Bar {
    index: u32,
    kind: BarKind,
    region: Region,
}

/// The PCI part of a [`Description`] in the making.
#[derive(Clone, Debug)]
pub(crate) struct PciBuilder {
    header: [u8; 0x40],
    initial_command: u16,
    bars: Vec<Bar>,
    rom: Option<Region>,
    bytes: Vec<(usize, Vec<u8>)>,
    capabilities: Vec<Capability>,
    extended: Vec<Capability>,
}

impl PciBuilder {
    pub(crate) fn new(vendor: u16, device: u16) -> Self {
        let mut builder = Self {
            header: [0; 0x40],
            initial_command: 0,
            bars: Vec::new(),
            rom: None,
            bytes: Vec::new(),
            capabilities: Vec::new(),
            extended: Vec::new(),
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
        let express = !self.extended.is_empty();
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
        if let Some(rom) = self.rom {
            command |= 0x0002;
            define_rom(&mut config, &rom)?;
            set_region(&mut regions, ROM, rom);
        }
        if config.byte(INTERRUPT_PIN) != 0 {
            config.define(INTERRUPT_LINE, &[0], &[0xff]);
            command |= u16::from(COMMAND_HI_INTX_DISABLE) << 8;
        }
        config.define(COMMAND, &[0, 0], &command.to_le_bytes());

        let mut layout = Layout { config, claimed: Vec::new() };
        for (offset, bytes) in &self.bytes {
            layout.claim(*offset, bytes, &[], FIRST_CAPABILITY..256)?;
        }
        layout.capabilities(&self.capabilities)?;
        layout.extended(&self.extended)?;

        let mut config = layout.config;
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
        self.with_pci(|pci| pci.rom = Some(region.read_only()))
    }

    /// Read-only bytes in configuration space outside of any capability, 0x40 to 0xff.
    pub fn config_bytes(self, offset: usize, bytes: &[u8]) -> Self {
        self.with_pci(|pci| pci.bytes.push((offset, bytes.to_vec())))
    }

    /// Adds a standard capability, each at the next free multiple of 4 from 0x40.
    pub fn capability(self, capability: Capability) -> Self {
        self.with_pci(|pci| pci.capabilities.push(capability))
    }

    /// Adds an extended capability, the first at 0x100.
    pub fn extended_capability(self, capability: Capability) -> Self {
        self.with_pci(|pci| pci.extended.push(capability))
    }

    /// Adds an MSI capability and irq index MSI with `1 << log2_vectors` vectors, `log2_vectors` 0..=5.
    pub fn msi(self, log2_vectors: u8) -> Self {
        let count = 1u32.checked_shl(log2_vectors.into()).unwrap_or(0);
        self.capability(Capability::msi(log2_vectors)).irq(MSI, IrqFlags::MSI, count)
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

/// Configuration space beyond the header while it is being laid out.
struct Layout {
    config: ConfigSpace,
    claimed: Vec<Range<usize>>,
}

impl Layout {
    fn capabilities(&mut self, list: &[Capability]) -> Result<(), DescriptionError> {
        let mut pointer = CAPABILITIES_POINTER;
        let mut at = FIRST_CAPABILITY;
        for capability in list {
            let id = u8::try_from(capability.id)
                .ok()
                .filter(|_| !capability.extended)
                .ok_or(DescriptionError::NotStandard(capability.id))?;
            let bytes = [&[id, 0], capability.body.as_slice()].concat();
            let mask = [&[0, 0], capability.mask.as_slice()].concat();
            at = self.free_from(at, bytes.len());
            self.claim(at, &bytes, &mask, FIRST_CAPABILITY..256)?;
            self.config.set(pointer, &[u8::try_from(at).unwrap_or(0)]);
            pointer = at + 1;
            at = (at + bytes.len()).next_multiple_of(4);
        }
        if !list.is_empty() {
            self.config.set(STATUS, &[self.config.byte(STATUS) | STATUS_CAPABILITIES]);
        }
        Ok(())
    }

    fn extended(&mut self, list: &[Capability]) -> Result<(), DescriptionError> {
        let mut at = FIRST_EXTENDED;
        for (position, capability) in list.iter().enumerate() {
            if !capability.extended {
                return Err(DescriptionError::NotExtended(capability.id));
            }
            let end = (at + 4 + capability.body.len()).next_multiple_of(4);
            let next = if position + 1 < list.len() { u32::try_from(end).unwrap_or(0) } else { 0 };
            let header =
                u32::from(capability.id) | u32::from(capability.version) << 16 | next << 20;
            let bytes = [&header.to_le_bytes(), capability.body.as_slice()].concat();
            let mask = [&[0; 4], capability.mask.as_slice()].concat();
            self.claim(at, &bytes, &mask, FIRST_EXTENDED..4096)?;
            at = end;
        }
        Ok(())
    }

    /// The first multiple of 4 from `at` on that has so many free bytes.
    fn free_from(&self, mut at: usize, length: usize) -> usize {
        while let Some(other) = self.overlapped(at..at.saturating_add(length)) {
            at = other.end.next_multiple_of(4);
        }
        at
    }

    fn overlapped(&self, bytes: Range<usize>) -> Option<&Range<usize>> {
        self.claimed.iter().find(|other| bytes.start < other.end && other.start < bytes.end)
    }

    /// Defines bytes inside `bounds` that nothing else has claimed.
    fn claim(
        &mut self,
        offset: usize,
        bytes: &[u8],
        mask: &[u8],
        bounds: Range<usize>,
    ) -> Result<(), DescriptionError> {
        let end = offset.saturating_add(bytes.len());
        if offset < bounds.start || end > bounds.end {
            return Err(DescriptionError::ConfigBounds { offset, length: bytes.len() });
        }
        if self.overlapped(offset..end).is_some() {
            return Err(DescriptionError::ConfigOverlap { offset, length: bytes.len() });
        }
        self.claimed.push(offset..end);
        self.config.define(offset, bytes, mask.get(..bytes.len()).unwrap_or(mask));
        Ok(())
    }
}
