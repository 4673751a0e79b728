//! The words in which irqs are spoken of.

use std::ops::BitOr;

/// irq index of INTx (`VFIO_PCI_INTX_IRQ_INDEX`).
pub const INTX: u32 = 0;
/// irq index of MSI (`VFIO_PCI_MSI_IRQ_INDEX`).
pub const MSI: u32 = 1;
/// irq index of MSI-X (`VFIO_PCI_MSIX_IRQ_INDEX`).
pub const MSIX: u32 = 2;
/// irq index of error reporting (`VFIO_PCI_ERR_IRQ_INDEX`).
pub const ERR: u32 = 3;
/// irq index by which the device is asked back (`VFIO_PCI_REQ_IRQ_INDEX`).
pub const REQ: u32 = 4;

/// What an irq index can do (`VFIO_IRQ_INFO_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqFlags(u32);

impl IrqFlags {
    /// It signals eventfds.
    pub const EVENTFD: Self = Self(1);
    /// Its vectors can be masked.
    pub const MASKABLE: Self = Self(2);
    /// A level: it masks itself when it fires, and fires again at unmask while the level holds.
    pub const AUTOMASKED: Self = Self(4);
    /// Its vectors are set up all at once.
    pub const NORESIZE: Self = Self(8);
    /// What INTx has: `EVENTFD | MASKABLE | AUTOMASKED`.
    pub const INTX: Self = Self(7);
    /// What MSI, ERR and REQ have: `EVENTFD | NORESIZE`.
    pub const MSI: Self = Self(9);

    /// What MSI-X has: `EVENTFD`. Its vectors can be set up one by one.
    pub const MSIX: Self = Self(1);

    /// The bits, as on the wire.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other`'s bits are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for IrqFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Flags and number of vectors of an irq index; count 0 means that the device does not have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqInfo {
    /// What it can do.
    pub flags: IrqFlags,
    /// Number of vectors.
    pub count: u32,
}

/// What a SET_IRQS message asks for (`VFIO_IRQ_SET_ACTION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqAction {
    /// Hold interrupts back.
    Mask,
    /// Let them through again.
    Unmask,
    /// Say where they go, or fire them by hand.
    Trigger,
}

/// What a SET_IRQS message carries (`VFIO_IRQ_SET_DATA_*`).
#[derive(Debug)]
pub enum IrqData<'a, F> {
    /// Nothing: the action holds for each vector of the range.
    None,
    /// A byte for each vector: the action holds where it is not 0.
    Bool(&'a [u8]),
    /// An eventfd for each vector, or none at all to take them away.
    Eventfd(F),
}
