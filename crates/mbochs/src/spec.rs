//! The names of the registers: the Bochs VBE "dispi" interface, the BAR that it is in, and VFIO's EDID region. The
//! interface's are all here, also where nothing is behind them.
//!
//! Sources: the VBE display API of the Bochs project (`VBE_DISPI_*`), `docs/specs/standard-vga` of QEMU for the layout of
//! the memory-mapped form, `struct vfio_region_gfx_edid` of `linux/vfio.h`.

/// Bytes of the BAR of registers (BAR2).
pub const MMIO_SIZE: u64 = 0x1000;

/// In BAR2: the monitor's EDID as the guest reads it, up to [`EDID_WINDOW_SIZE`] bytes.
pub const EDID_WINDOW: u64 = 0x000;
/// Bytes of the EDID window.
pub const EDID_WINDOW_SIZE: usize = 0x400;
/// In BAR2: VGA ports 0x3c0 to 0x3df, one byte each. There is no VGA behind them.
pub const VGA_PORTS: u64 = 0x400;
/// In BAR2: the dispi registers, 16 bits each, by their index.
pub const DISPI: u64 = 0x500;
/// In BAR2: QEMU's extension registers (size, endianness), which revision 1 does not have.
pub const QEMU_EXTENSION: u64 = 0x600;

/// Number of dispi registers.
pub const DISPI_REGISTERS: usize = 11;

/// Indexes of the dispi registers.
pub mod dispi {
    /// Identifies the interface: [`ID5`]. Read-only.
    pub const ID: usize = 0x0;
    /// Width of the picture in pixels.
    pub const XRES: usize = 0x1;
    /// Height of the picture in rows.
    pub const YRES: usize = 0x2;
    /// Bits per pixel.
    pub const BPP: usize = 0x3;
    /// See [`enable`](super::enable).
    pub const ENABLE: usize = 0x4;
    /// Which 64 KiB of video memory the VGA window shows. Without effect: there is no VGA window.
    pub const BANK: usize = 0x5;
    /// Pixels from the beginning of one row to that of the next.
    pub const VIRT_WIDTH: usize = 0x6;
    /// Rows in video memory. Without effect, as in the sample.
    pub const VIRT_HEIGHT: usize = 0x7;
    /// First visible pixel of a row.
    pub const X_OFFSET: usize = 0x8;
    /// First visible row.
    pub const Y_OFFSET: usize = 0x9;
    /// Size of video memory in units of 64 KiB. Read-only.
    pub const VIDEO_MEMORY_64K: usize = 0xa;

    /// What [`ID`] reads: the sixth version of the interface.
    pub const ID5: u16 = 0xb0c5;
}

/// Bits of the register `ENABLE`.
pub mod enable {
    /// The picture is on.
    pub const ENABLED: u16 = 0x01;
    /// XRES, YRES and BPP read their maxima. Without effect, as in the sample.
    pub const GETCAPS: u16 = 0x02;
    /// 8 bits a colour in the palette. Without effect: there is no palette.
    pub const DAC_8BIT: u16 = 0x20;
    /// Linear framebuffer. Without effect: it is always there.
    pub const LFB: u16 = 0x40;
    /// Leave video memory as it is when the picture comes on. Without effect: it always stays.
    pub const NO_CLEAR: u16 = 0x80;
}

/// Region index of the EDID region: the first after those of PCI.
pub const EDID_REGION: u32 = 9;
/// Bytes of the EDID region.
pub const EDID_REGION_SIZE: u64 = 0x1000;
/// The region's type: `VFIO_REGION_TYPE_GFX`.
pub const REGION_TYPE_GFX: u32 = 1;
/// The region's subtype: `VFIO_REGION_SUBTYPE_GFX_EDID`.
pub const REGION_SUBTYPE_GFX_EDID: u32 = 1;

/// Offsets in the EDID region: 32-bit registers, little-endian, and the blob.
pub mod gfx {
    /// Where in the region the blob is. Read-only.
    pub const EDID_OFFSET: u64 = 0x00;
    /// How large the blob can be, in bytes. Read-only.
    pub const EDID_MAX_SIZE: u64 = 0x04;
    /// How large the blob is, in bytes.
    pub const EDID_SIZE: u64 = 0x08;
    /// The widest mode that the device is meant for, in pixels, or 0. Read-only.
    pub const MAX_XRES: u64 = 0x0c;
    /// The highest, in rows, or 0. Read-only.
    pub const MAX_YRES: u64 = 0x10;
    /// Whether a monitor is plugged in: [`LINK_UP`] or [`LINK_DOWN`]; other values count as down.
    pub const LINK_STATE: u64 = 0x14;
    /// The blob.
    pub const BLOB: u64 = 0x800;

    /// `VFIO_DEVICE_GFX_LINK_STATE_UP`: the guest sees the EDID.
    pub const LINK_UP: u32 = 1;
    /// `VFIO_DEVICE_GFX_LINK_STATE_DOWN`.
    pub const LINK_DOWN: u32 = 2;
}

/// XRGB8888 as a DRM fourcc: `XR24`, 4 bytes a pixel.
pub const XRGB8888: u32 = 0x3432_5258;
/// The narrowest and lowest picture that counts as one, in pixels.
pub const SMALLEST: u32 = 64;
