//! Every way to refuse a message: its errno, and whether the session goes on.
//!
//! A refusal is the client's fault and this server's answer to it; our own faults are `io::Error`s. The
//! answer is a bare header with the Error bit and the errno (spec, "Header"), or nothing at all if the
//! command said No_reply. The rest of a refused message is always skipped, so that the next header is found,
//! unless the refusal ends the session.
//!
//! The spec names one errno, EEXIST for an overlapping `DMA_MAP`; the others are chosen as libvfio-user and the
//! Linux ioctls choose them: EINVAL for what is malformed, ENOTSUP for what this server does not offer.

use std::fmt;

use vfio_device::Errno;

use crate::wire::Command;

/// The connection is closed once the answer is out.
const ENDS: bool = true;
/// The client may go on.
const STAYS: bool = false;

/// Declares the table: variant, errno, what becomes of the session, and the sentence for the log.
macro_rules! refusals {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident: $type:ty),+ })? = $errno:ident, $ends:ident, $text:literal;
    )+) => {
        /// Why a message was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "fields are what their names say; each variant has a line")]
        pub enum Refusal {
            $( $(#[$doc])* $name $({ $($field: $type),+ })?, )+
            /// The device's own `open` refused the client, for its own reason.
            NotOpened { errno: i32 },
            /// A [fault](crate::Fault) that somebody asked for.
            Injected { errno: i32 },
        }

        impl Refusal {
            /// The number for the reply's error field.
            pub const fn errno(&self) -> i32 {
                match self {
                    $( Self::$name { .. } => libc::$errno, )+
                    Self::NotOpened { errno } | Self::Injected { errno } => *errno,
                }
            }

            /// Whether the connection is to be closed after the answer: framing is lost, or there is no session to
            /// go on with.
            pub const fn ends_session(&self) -> bool {
                match self {
                    $( Self::$name { .. } => $ends, )+
                    Self::NotOpened { .. } => ENDS,
                    Self::Injected { .. } => STAYS,
                }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$name $({ $($field),+ })? => write!(f, $text), )+
                    Self::NotOpened { errno } => write!(f, "the device cannot be opened: errno {errno}"),
                    Self::Injected { errno } => write!(f, "a fault was asked for: errno {errno}"),
                }
            }
        }
    };
}

refusals! {
    // Framing.
    /// The header gives a size smaller than itself: where the next message begins is unknown.
    ShortMessage { size: u32 } = EINVAL, ENDS, "message size {size} is less than the header's 16 bytes";
    /// The header announces more than was agreed; it is not waited for.
    LongMessage { size: u32, limit: u32 } = EINVAL, ENDS, "message size {size} exceeds the limit of {limit} bytes";
    /// Descriptors of this message did not reach us: too many at once, or our own limit is used up.
    DescriptorsLost = EMFILE, STAYS, "descriptors of the message were lost on the way";

    // The device.
    /// It panicked while it carried this command out, or before this one's turn came. The connection ends when all that
    /// has come in is answered: so nobody waits for an answer that cannot come.
    DeviceFailed = EIO, STAYS, "the device has failed";

    // Header.
    /// A reply, or an unassigned type, where a command belongs. Nothing is executed.
    NotACommand { flags: u32 } = EINVAL, STAYS, "header flags {flags:#x} are not those of a command";
    /// A number that the spec does not assign.
    UnknownCommand { number: u16 } = ENOTSUP, STAYS, "command {number} is unknown";
    /// A command that the spec has and this device or session does not offer.
    NotOffered { command: Command } = ENOTSUP, STAYS, "{command} is not offered";
    /// A command that only servers send.
    WrongDirection { command: Command } = EINVAL, STAYS, "{command} is sent by servers, not by clients";
    /// Any command, known or not, that comes before `VERSION`.
    BeforeVersion { number: u16 } = EINVAL, STAYS, "command {number} came before VERSION";
    /// Version and capabilities are settled once for a connection.
    SecondVersion = EINVAL, STAYS, "VERSION was negotiated already";
    /// Another client has the device open.
    Busy = EBUSY, ENDS, "the device has a client";
    /// The client's process belongs to a user that the server was told not to serve.
    NotAllowed = EACCES, ENDS, "the client's user may not use the device";

    // VERSION. A failed negotiation leaves no session to go on with: each of these closes.
    /// Less than the two numbers, or more than any honest proposal needs.
    VersionSize { size: usize } = EINVAL, ENDS, "VERSION body of {size} bytes is not 4 to 4096";
    /// The spec has the server close when it does not speak the major version.
    VersionMajor { major: u16 } = EINVAL, ENDS, "protocol major version {major} is not spoken here";
    /// No NUL at the end, a NUL before it, or not UTF-8.
    VersionText = EINVAL, ENDS, "version data is not NUL-terminated UTF-8";
    /// Not one JSON object, or nested too deep, or with a number out of range.
    VersionJson = EINVAL, ENDS, "version data is not a JSON object";
    /// A capability of the wrong type or out of range.
    Capability { name: &'static str } = EINVAL, ENDS, "capability {name} has an impossible value";

    // Bodies.
    /// Shorter or longer than the command and its counts say.
    BodySize { command: Command, size: usize } = EINVAL, STAYS, "{command} cannot have a body of {size} bytes";
    /// Too small for the fixed answer, absurdly large, or (`DMA_MAP`, `SET_IRQS`) not the body's size.
    Argsz { argsz: u32 } = EINVAL, STAYS, "argsz {argsz} does not fit the command";
    /// Reserved bits, or bits that exclude each other.
    Flags { flags: u32 } = EINVAL, STAYS, "flags {flags:#x} are reserved or contradictory";
    /// Descriptors where none belong, or not as many as the message counts.
    Descriptors { count: usize } = EINVAL, STAYS, "{count} descriptors do not belong with the message";

    // Regions.
    /// No such region, or one of size 0.
    Region { index: u32 } = EINVAL, STAYS, "there is no region {index}";
    /// The access does not lie within the region.
    RegionRange { index: u32, offset: u64, count: u32 } = EINVAL, STAYS,
        "{count} bytes at {offset:#x} are not within region {index}";
    /// `count` above `max_data_xfer_size`.
    TransferSize { count: u32 } = EINVAL, STAYS, "a transfer of {count} bytes exceeds max_data_xfer_size";
    /// `wr_cnt` of `REGION_WRITE_MULTI` that does not match the body.
    WriteCount { count: u64 } = EINVAL, STAYS, "{count} writes do not match the body";
    /// A single write of `REGION_WRITE_MULTI` that is not of 1 to 8 bytes.
    WriteSize { count: u32 } = EINVAL, STAYS, "a coalesced write of {count} bytes is not 1 to 8";

    // Interrupts.
    /// No such irq index.
    IrqIndex { index: u32 } = EINVAL, STAYS, "there is no irq index {index}";
    /// Vectors that the index does not have.
    IrqRange { index: u32, start: u32, count: u32 } = EINVAL, STAYS, "irq index {index} has no vectors {start}+{count}";
    /// An action that this index does not know.
    IrqAction { index: u32, flags: u32 } = EINVAL, STAYS, "irq index {index} does not support flags {flags:#x}";

    /// A pipe, a socket, a file: writing to it could take as long as whoever is behind it likes.
    NotAnEventfd = EINVAL, STAYS, "a descriptor for interrupts is not an eventfd";

    // DMA maps.
    /// A map of no bytes.
    DmaEmpty { address: u64 } = EINVAL, STAYS, "DMA map at {address:#x} has size 0";
    /// Not on page boundaries.
    DmaUnaligned { address: u64, size: u64, offset: u64 } = EINVAL, STAYS,
        "DMA map {address:#x}+{size:#x}, offset {offset:#x}, is not page aligned";
    /// Past the end of the address space.
    DmaWraps { address: u64, size: u64 } = EINVAL, STAYS, "DMA map {address:#x}+{size:#x} wraps around";
    /// A file offset without a file.
    DmaOffset { offset: u64 } = EINVAL, STAYS, "DMA map has offset {offset:#x} and no descriptor";
    /// Over an earlier map, be it the very same one (spec, "VFIO_USER_DMA_MAP").
    DmaExists { address: u64, size: u64 } = EEXIST, STAYS, "DMA map {address:#x}+{size:#x} overlaps an earlier one";
    /// `max_dma_maps` reached.
    DmaFull { limit: usize } = ENOSPC, STAYS, "there are {limit} DMA maps already";
    /// Files of memory that the device can reach are kept open until their maps go, and descriptors are the process's,
    /// not the client's. A VMM has a file or two of guest memory, each mapped in pieces; those count once.
    DmaFiles { limit: usize } = ENOSPC, STAYS, "there are DMA maps of {limit} files already";
    /// A pipe, a socket, an eventfd, a directory, a device, an `O_PATH` descriptor.
    DmaNotAFile = EINVAL, STAYS, "DMA map's descriptor is not that of a regular file";
    /// Opened for less than the map's flags say.
    DmaAccess { flags: u32 } = EACCES, STAYS, "DMA map's descriptor does not allow flags {flags:#x}";
    /// Past the end of the file: touching it would raise SIGBUS.
    DmaPastEnd { offset: u64, size: u64 } = EINVAL, STAYS, "DMA map's file ends before {offset:#x}+{size:#x}";
    /// No map of exactly this address and size.
    DmaUnknown { address: u64, size: u64 } = ENOENT, STAYS, "there is no DMA map {address:#x}+{size:#x}";
    /// `GET_DIRTY_BITMAP`, while no tracking can be on.
    DmaNotTracked = EINVAL, STAYS, "dirty pages are not tracked";
    /// The device was unregistered under the client's hands.
    NoDevice = ENODEV, STAYS, "the device is not there any more";
}

impl Refusal {
    /// What the core said to a client that wants the device.
    pub(crate) fn open(errno: Errno) -> Self {
        if errno == Errno::BUSY {
            Self::Busy
        } else {
            Self::NotOpened { errno: errno.raw_os_error() }
        }
    }
}

impl std::error::Error for Refusal {}
