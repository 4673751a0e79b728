//! The function's numbers, which its guest driver `mdpy-fb` knows too.

/// Red Hat.
pub const VENDOR: u16 = 0x1b36;
/// The device id of this display.
pub const DEVICE: u16 = 0x000f;
/// The driver binds to no other subsystem than 1af4:1100.
pub const SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

/// The one pixel format: XRGB8888, the DRM fourcc `XR24`. Little-endian words of 32 bits: blue, green, red, nothing.
pub const FORMAT: u32 = u32::from_le_bytes(*b"XR24");
/// Bytes of a pixel.
pub const BYTES_PER_PIXEL: u32 = 4;

/// A type's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Mode {
    /// Bytes of a row.
    pub const fn stride(self) -> u32 {
        self.width * BYTES_PER_PIXEL
    }

    /// Bytes of the picture.
    pub const fn visible(self) -> u64 {
        self.stride() as u64 * self.height as u64
    }

    /// Bytes of BAR 0: the next power of two, as a BAR must be.
    pub const fn memory(self) -> u64 {
        self.visible().next_power_of_two()
    }

    /// The data of the vendor capability, from its length byte on: a byte of nothing, then from offset 4 of the capability
    /// format, width and height, 32 bits each.
    pub fn capability(self) -> [u8; 13] {
        let mut bytes = [0; 13];
        let words = [FORMAT, self.width, self.height].map(u32::to_le_bytes);
        bytes.iter_mut().skip(1).zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The byte that fills row `row` of the test pattern: from black in the first row to 0xfe in the last.
    pub fn shade(self, row: u32) -> u8 {
        u8::try_from(u64::from(row) * 255 / u64::from(self.height)).unwrap_or(u8::MAX)
    }
}
