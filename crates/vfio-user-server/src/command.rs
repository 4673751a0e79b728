//! The command numbers (spec, "Commands").

use std::fmt;

use crate::refusal::Refusal;

/// Declares the commands: number, variant, name in the spec without `VFIO_USER_`.
macro_rules! commands {
    ($( $(#[$doc:meta])* $number:literal $variant:ident $name:literal, )+) => {
        /// Spec, "Commands".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Command { $( $(#[$doc])* $variant = $number, )+ }

        impl Command {
            /// The spec's name, without `VFIO_USER_`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// All that have a number, in its order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];
        }

        impl TryFrom<u16> for Command {
            type Error = Refusal;

            fn try_from(number: u16) -> Result<Self, Refusal> {
                match number {
                    $( $number => Ok(Self::$variant), )+
                    _ => Err(Refusal::UnknownCommand { number }),
                }
            }
        }
    };
}

commands! {
    /// Version and capabilities; the first message of a connection.
    1 Version "VERSION",
    /// The client lets the device reach a piece of its memory.
    2 DmaMap "DMA_MAP",
    /// The client takes such a piece back.
    3 DmaUnmap "DMA_UNMAP",
    /// How many regions and irq indexes the device has.
    4 DeviceGetInfo "DEVICE_GET_INFO",
    /// Size, permissions and mappable areas of one region.
    5 DeviceGetRegionInfo "DEVICE_GET_REGION_INFO",
    /// Descriptors by which the host kernel can deliver accesses itself.
    6 DeviceGetRegionIoFds "DEVICE_GET_REGION_IO_FDS",
    /// How many vectors one irq index has, and what it can do.
    7 DeviceGetIrqInfo "DEVICE_GET_IRQ_INFO",
    /// Triggers, masks and unmasks vectors, and gives them eventfds.
    8 DeviceSetIrqs "DEVICE_SET_IRQS",
    /// Reads from a region.
    9 RegionRead "REGION_READ",
    /// Writes to a region.
    10 RegionWrite "REGION_WRITE",
    /// Server to client: reads client memory that was mapped without a descriptor.
    11 DmaRead "DMA_READ",
    /// Server to client: writes such memory.
    12 DmaWrite "DMA_WRITE",
    /// Puts the device into its initial state.
    13 DeviceReset "DEVICE_RESET",
    // 14 was DIRTY_PAGES; the spec has dropped it.
    /// Several small writes in one message, if `write_multiple` was agreed.
    15 RegionWriteMulti "REGION_WRITE_MULTI",
    /// Migration state and dirty logging.
    16 DeviceFeature "DEVICE_FEATURE",
    /// Takes a piece of the state of a device that is being saved.
    17 MigDataRead "MIG_DATA_READ",
    /// Gives a piece of state to a device that is being restored.
    18 MigDataWrite "MIG_DATA_WRITE",
}

impl Command {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
