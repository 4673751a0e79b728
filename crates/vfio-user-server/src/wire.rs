//! The vfio-user messages, field by field, and the numbers in them.
//!
//! Everything on the wire is in host byte order: client and server share the machine (spec, "Protocol
//! Specification"). Offsets count from the first byte of the body. A struct here is the fixed part of a body;
//! what follows it (capabilities, data, booleans) is the rest that `decode` hands back.

#![expect(clippy::host_endian_bytes, reason = "the spec puts every field in the host's byte order")]

pub use crate::command::Command;
use crate::refusal::Refusal;

/// What a struct is made of. Fields follow each other without padding; the spec has none that it does not name.
pub(crate) trait Field: Sized {
    const SIZE: usize;
    fn take(bytes: &[u8]) -> Option<(Self, &[u8])>;
    fn put(self, out: &mut [u8]) -> Option<&mut [u8]>;
}

macro_rules! integers {
    ($($int:ident)+) => { $(
        impl Field for $int {
            const SIZE: usize = size_of::<$int>();
            fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
                let (field, rest) = bytes.split_first_chunk()?;
                Some((Self::from_ne_bytes(*field), rest))
            }
            fn put(self, out: &mut [u8]) -> Option<&mut [u8]> {
                let (field, rest) = out.split_first_chunk_mut()?;
                *field = self.to_ne_bytes();
                Some(rest)
            }
        }
    )+ };
}
integers!(u16 u32 u64);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (field, rest) = bytes.split_first_chunk()?;
        Some((*field, rest))
    }
    fn put(self, out: &mut [u8]) -> Option<&mut [u8]> {
        let (field, rest) = out.split_first_chunk_mut()?;
        *field = self;
        Some(rest)
    }
}

/// Declares message parts: a struct, its size on the wire, and both directions of conversion.
macro_rules! wire {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty, )+ } )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_doc])* pub $field: $type, )+ }

        impl $name {
            /// Bytes on the wire.
            pub const SIZE: usize = 0 $( + <$type as Field>::SIZE )+;

            /// The struct at the front of `bytes`, and the bytes after it; `None` if there are too few.
            #[inline]
            pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
                // One look at the length: in as many bytes as it takes every field is known to lie.
                let (own, rest) = bytes.split_first_chunk::<{ Self::SIZE }>()?;
                let bytes = own.as_slice();
                $( let ($field, bytes) = <$type as Field>::take(bytes)?; )+
                debug_assert!(bytes.is_empty());
                Some((Self { $($field),+ }, rest))
            }

            /// Writes the struct to the front of `out` and returns what is left of it; `None`, and nothing
            /// written, if it does not fit.
            #[inline]
            pub fn encode<'a>(&self, out: &'a mut [u8]) -> Option<&'a mut [u8]> {
                let (own, rest) = out.split_first_chunk_mut::<{ Self::SIZE }>()?;
                let out = own.as_mut_slice();
                $( let out = self.$field.put(out)?; )+
                debug_assert!(out.is_empty());
                Some(rest)
            }
        }

        impl Field for $name {
            const SIZE: usize = Self::SIZE;
            fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
                Self::decode(bytes)
            }
            fn put(self, out: &mut [u8]) -> Option<&mut [u8]> {
                self.encode(out)
            }
        }
    )+ };
}

wire! {
    /// In front of every message (spec, "Header").
    Header {
        /// Chosen by the sender, copied by the reply; means nothing else.
        msg_id: u16,
        /// A [`Command`]'s number, copied by the reply.
        command: u16,
        /// Bytes of the whole message, these 16 included.
        msg_size: u32,
        /// [`Header::TYPE_MASK`] bits, [`Header::NO_REPLY`], [`Header::ERROR`].
        flags: u32,
        /// errno of a reply with [`Header::ERROR`]; reserved otherwise.
        error_no: u32,
    }

    /// `VERSION`, both ways; the capabilities follow as NUL-terminated JSON.
    Version {
        /// Incompatible changes.
        major: u16,
        /// Compatible changes.
        minor: u16,
    }

    /// `DMA_MAP`. The reply has no body.
    DmaMap {
        /// Size of this struct; not, as elsewhere, of the reply.
        argsz: u32,
        /// [`DmaMap::READ`], [`DmaMap::WRITE`].
        flags: u32,
        /// Where the map begins in the descriptor's file, bytes; 0 without a descriptor.
        offset: u64,
        /// First DMA address.
        address: u64,
        /// Bytes.
        size: u64,
    }

    /// `DMA_UNMAP`, both ways. A [`DirtyBitmap`] follows if asked for.
    DmaUnmap {
        /// Largest reply body that the client takes.
        argsz: u32,
        /// [`DmaUnmap::GET_DIRTY_BITMAP`], [`DmaUnmap::ALL`]: from Linux; the spec has none.
        flags: u32,
        /// First DMA address.
        address: u64,
        /// Bytes.
        size: u64,
    }

    /// After a [`DmaUnmap`] with [`DmaUnmap::GET_DIRTY_BITMAP`] (Linux: `struct vfio_bitmap`).
    DirtyBitmap {
        /// Bytes of memory that one bit stands for.
        pgsize: u64,
        /// Bytes of the bitmap.
        size: u64,
    }

    /// `DEVICE_GET_INFO`, both ways.
    DeviceInfo {
        /// Request: largest reply body that the client takes. Reply: size of this struct.
        argsz: u32,
        /// [`DeviceInfo::RESET`], [`DeviceInfo::PCI`].
        flags: u32,
        /// Regions, those of size 0 included.
        num_regions: u32,
        /// Irq indexes.
        num_irqs: u32,
    }

    /// `DEVICE_GET_REGION_INFO`, both ways; capabilities follow in the reply.
    RegionInfo {
        /// Request: largest reply body that the client takes. Reply: what the whole answer needs.
        argsz: u32,
        /// [`RegionInfo::READ`], [`RegionInfo::WRITE`], [`RegionInfo::MMAP`], [`RegionInfo::CAPS`].
        flags: u32,
        /// Which region; the one field that a request sets.
        index: u32,
        /// Where the first [`CapHeader`] is, from the start of this struct; 0 if there is none.
        cap_offset: u32,
        /// Bytes; 0 if the region is absent.
        size: u64,
        /// Where the region begins in the descriptor's file, bytes.
        offset: u64,
    }

    /// In front of every region capability (spec, "VFIO cap header format").
    CapHeader {
        /// [`SparseMmap::ID`], [`RegionType::ID`].
        id: u16,
        /// Of the capability's layout.
        version: u16,
        /// Where the next one is, from the start of the [`RegionInfo`]; 0 at the last.
        next: u32,
    }

    /// Which parts of a region can be mapped (spec, "VFIO region info cap sparse mmap"); [`SparseArea`]s follow.
    SparseMmap {
        /// id [`SparseMmap::ID`], version 1.
        header: CapHeader,
        /// Areas that follow.
        nr_areas: u32,
        /// 0.
        reserved: u32,
    }

    /// One mappable part.
    SparseArea {
        /// From the region's start, bytes.
        offset: u64,
        /// Bytes.
        size: u64,
    }

    /// What a device-specific region is (spec, "Device-Specific Regions").
    RegionType {
        /// id [`RegionType::ID`], version 1.
        header: CapHeader,
        /// `VFIO_REGION_TYPE_*`, or a PCI vendor's own.
        region_type: u32,
        /// Within the type.
        subtype: u32,
    }

    /// `DEVICE_GET_REGION_IO_FDS`, both ways; `count` sub-regions follow in the reply.
    RegionIoFds {
        /// Request: largest reply body that the client takes. Reply: what the whole answer needs.
        argsz: u32,
        /// 0.
        flags: u32,
        /// Which region.
        index: u32,
        /// Request: 0. Reply: sub-regions.
        count: u32,
    }

    /// `DEVICE_GET_IRQ_INFO`, both ways.
    IrqInfo {
        /// Request: largest reply body that the client takes. Reply: size of this struct.
        argsz: u32,
        /// [`IrqInfo::EVENTFD`], [`IrqInfo::MASKABLE`], [`IrqInfo::AUTOMASKED`], [`IrqInfo::NORESIZE`].
        flags: u32,
        /// Which irq index.
        index: u32,
        /// Its vectors.
        count: u32,
    }

    /// `DEVICE_SET_IRQS`; one byte a vector follows with [`IrqSet::DATA_BOOL`]. The reply has no body.
    IrqSet {
        /// Size of the body; not, as elsewhere, of the reply.
        argsz: u32,
        /// One `DATA_*` and one `ACTION_*`.
        flags: u32,
        /// Which irq index.
        index: u32,
        /// First vector.
        start: u32,
        /// Vectors.
        count: u32,
    }

    /// `REGION_READ` and `REGION_WRITE`, both ways; the data follow where there are any.
    RegionAccess {
        /// From the region's start, bytes.
        offset: u64,
        /// Which region.
        region: u32,
        /// Bytes; in the reply, those done.
        count: u32,
    }

    /// `REGION_WRITE_MULTI`, both ways; [`SingleWrite`]s follow in the request.
    WriteMulti {
        /// Writes; in the reply, those done.
        wr_cnt: u64,
    }

    /// One write of a `REGION_WRITE_MULTI` (spec, "Single Device Write Format").
    SingleWrite {
        /// From the region's start, bytes.
        offset: u64,
        /// Which region.
        region: u32,
        /// Bytes of `data` that count: 1 to 8.
        count: u32,
        /// The bytes, first ones first.
        data: [u8; 8],
    }
}

/// Declares the bits of a struct's flags, and other numbers that belong to it.
macro_rules! numbers {
    ($( $name:ident { $( $constant:ident: $type:ty = $value:literal, $doc:literal; )+ } )+) => { $(
        impl $name { $( #[doc = $doc] pub const $constant: $type = $value; )+ }
    )+ };
}

numbers! {
    Header {
        TYPE_MASK: u32 = 0xf, "Bits of the type.";
        COMMAND: u32 = 0x0, "Type of a command.";
        REPLY: u32 = 0x1, "Type of a reply.";
        NO_REPLY: u32 = 0x10, "The command is not to be answered, not even with an error.";
        ERROR: u32 = 0x20, "The reply is a refusal: the header alone.";
    }
    DmaMap {
        READ: u32 = 0x1, "The device may read the memory.";
        WRITE: u32 = 0x2, "The device may write the memory.";
    }
    DmaUnmap {
        GET_DIRTY_BITMAP: u32 = 0x1, "Report which pages were written.";
        ALL: u32 = 0x2, "Every map; address and size are 0.";
    }
    DeviceInfo {
        RESET: u32 = 0x1, "`DEVICE_RESET` works.";
        PCI: u32 = 0x2, "It is a PCI device.";
    }
    RegionInfo {
        READ: u32 = 0x1, "Can be read.";
        WRITE: u32 = 0x2, "Can be written.";
        MMAP: u32 = 0x4, "Can be mapped; a descriptor comes with the reply.";
        CAPS: u32 = 0x8, "Capabilities follow.";
    }
    SparseMmap {
        ID: u16 = 1, "`VFIO_REGION_INFO_CAP_SPARSE_MMAP`.";
    }
    RegionType {
        ID: u16 = 2, "`VFIO_REGION_INFO_CAP_TYPE`.";
    }
    IrqInfo {
        EVENTFD: u32 = 0x1, "Can signal an eventfd.";
        MASKABLE: u32 = 0x2, "Can be masked and unmasked.";
        AUTOMASKED: u32 = 0x4, "Masks itself when triggered.";
        NORESIZE: u32 = 0x8, "Vectors are set up all at once.";
    }
    IrqSet {
        DATA_NONE: u32 = 0x1, "No data: every vector of the range.";
        DATA_BOOL: u32 = 0x2, "One byte a vector: those that are not 0.";
        DATA_EVENTFD: u32 = 0x4, "One descriptor a vector, or none at all to take them away.";
        ACTION_MASK: u32 = 0x8, "Mask.";
        ACTION_UNMASK: u32 = 0x10, "Unmask.";
        ACTION_TRIGGER: u32 = 0x20, "Trigger.";
    }
}

impl Header {
    /// Whether this is a command; anything else a client sends is refused.
    pub const fn is_command(&self) -> bool {
        self.flags & Self::TYPE_MASK == Self::COMMAND
    }

    /// Whether the sender waits for an answer.
    pub const fn wants_reply(&self) -> bool {
        self.flags & Self::NO_REPLY == 0
    }

    /// The header of a reply of `msg_size` bytes, these 16 included.
    pub const fn reply(&self, msg_size: u32) -> Self {
        Self {
            msg_id: self.msg_id,
            command: self.command,
            msg_size,
            flags: Self::REPLY,
            error_no: 0,
        }
    }

    /// A refusal, which is a header and nothing else.
    pub const fn refuse(&self, refusal: &Refusal) -> Self {
        let reply = self.reply(Self::SIZE as u32);
        Self { flags: Self::REPLY | Self::ERROR, error_no: refusal.errno().unsigned_abs(), ..reply }
    }
}
