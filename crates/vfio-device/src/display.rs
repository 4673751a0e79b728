//! The picture of a display device.

use crate::SharedMemory;

/// Where in which memory a picture lies, and how it is laid out (`struct vfio_device_gfx_plane_info`).
///
/// The plane holds a counted reference to the memory, so that a viewer may outlive the open, and even the device.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Pixel format, a DRM fourcc: 0x34325258 is XRGB8888, 4 bytes a pixel.
    pub format: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// Where in `memory` the first row begins, in bytes.
    pub offset: u64,
    /// Bytes from there that the display has for it: the picture's at least, which are `stride * (height - 1)` and a row of
    /// pixels.
    pub size: u64,
    /// Rises whenever any other field changes, `memory` included; not with the pixels.
    pub generation: u64,
    /// Rises whenever anything but `offset` and `generation` changes: not while a guest turns pages. A copy of the picture
    /// is of one mode if this is the same before and after.
    pub mode_generation: u64,
    /// What the picture lies in.
    pub memory: SharedMemory,
}
