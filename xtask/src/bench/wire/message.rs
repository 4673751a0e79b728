//! What is said to a server, and how much it answers.

use crate::bench::client;
use crate::bench::protocol::{
    DEVICE_GET_REGION_INFO, DEVICE_SET_IRQS, HEADER, NO_REPLY, VERSION, load, message, store,
};

/// Bytes that an access has behind the header, in front of the data.
const ACCESS: usize = 16;
/// `VFIO_IRQ_SET_DATA_EVENTFD` and `VFIO_IRQ_SET_ACTION_TRIGGER`.
const EVENTFD_TRIGGER: u32 = 0x24;
/// The irq index.
const MSI: u32 = 1;
/// What the answer about a region with one area to map has behind the header.
const REGION_INFO: usize = 64;

/// The peers' registers in region 0.
const SCRATCH: u64 = 0x0;
const FIRE: u64 = 0x4;
const ALLOCATIONS: u64 = 0x8;
const RECEIVES: u64 = 0x10;

/// What is stored.
const VALUE: [u8; 4] = [1, 2, 3, 4];

/// Stores that a burst has before the load that ends it.
pub const BURST: usize = 200;

/// What is about descriptors; the number is what the echo is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    None = 0,
    /// The request brings an eventfd.
    Brought = 1,
    /// The answer brings one.
    Given = 2,
    /// An eventfd is signalled before the answer.
    Signalled = 3,
}

/// What a client does again and again.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub name: &'static str,
    /// Each is sent by itself.
    pub messages: Vec<Vec<u8>>,
    /// Bytes of the answer, which comes after the last.
    pub answer: usize,
    pub descriptors: Descriptors,
}

impl Exchange {
    fn new(name: &'static str, message: Vec<u8>, answer: usize) -> Self {
        Self { name, messages: vec![message], answer, descriptors: Descriptors::None }
    }

    /// Of so many bytes of a region; 4 are a register's.
    fn load(name: &'static str, region: u32, size: u32) -> Self {
        Self::new(name, load(region, SCRATCH, size), HEADER + ACCESS + size as usize)
    }

    pub fn register_read() -> Self {
        Self::load("register read", 0, 4)
    }

    /// Of an mtty.
    pub fn scratch_read() -> Self {
        Self::new("scratch register read", client::read(), HEADER + ACCESS + 1)
    }

    pub fn register_write() -> Self {
        Self::new("register write", store(0, 0, SCRATCH, &VALUE), HEADER + ACCESS)
    }

    pub fn posted_writes() -> Self {
        let mut messages = vec![store(NO_REPLY, 0, SCRATCH, &VALUE); BURST];
        messages.push(load(0, SCRATCH, 4));
        let read = Self::register_read();
        Self { name: "posted write, of a burst", messages, ..read }
    }

    /// The eventfd that the interrupt goes to.
    pub fn set_irqs() -> Self {
        let body = [20, EVENTFD_TRIGGER, MSI, 0, 1].map(u32::to_ne_bytes).concat();
        let message = message(DEVICE_SET_IRQS, 0, &body);
        let exchange = Self::new("SET_IRQS with an eventfd", message, HEADER);
        Self { descriptors: Descriptors::Brought, ..exchange }
    }

    fn region_info() -> Self {
        let mut body = [REGION_INFO as u32, 0, 2, 0].map(u32::to_ne_bytes).concat();
        body.extend([0; 16]);
        let message = message(DEVICE_GET_REGION_INFO, 0, &body);
        let exchange = Self::new("GET_REGION_INFO with fd", message, HEADER + REGION_INFO);
        Self { descriptors: Descriptors::Given, ..exchange }
    }

    fn interrupt() -> Self {
        let exchange =
            Self::new("write that interrupts", store(0, 0, FIRE, &VALUE), HEADER + ACCESS);
        Self { descriptors: Descriptors::Signalled, ..exchange }
    }

    /// All that are measured.
    pub fn all() -> Vec<Self> {
        vec![
            Self::register_read(),
            Self::register_write(),
            Self::posted_writes(),
            Self::load("4 KiB of a region", 1, 4 << 10),
            Self::load("64 KiB of a region", 1, 64 << 10),
            Self::region_info(),
            Self::set_irqs(),
            Self::interrupt(),
        ]
    }

    /// Those that show what a server computes, where nobody waits for another CPU.
    pub fn few() -> Vec<Self> {
        vec![Self::register_read(), Self::register_write(), Self::posted_writes()]
    }

    /// How many of what it is named after it has.
    pub fn count(&self) -> usize {
        if self.messages.len() > 1 { BURST } else { 1 }
    }

    /// What an echo is told of it.
    pub fn shape(&self) -> Vec<u8> {
        let before: usize = self.messages.iter().map(Vec::len).sum();
        [before as u32, self.answer as u32, self.descriptors as u32].map(u32::to_ne_bytes).concat()
    }
}

/// What a server of the vfio_user crate needs to be told, and every other understands.
pub fn version() -> Vec<u8> {
    let mut body = [0u16, 1].map(u16::to_ne_bytes).concat();
    body.extend(
        br#"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}"#,
    );
    body.push(0);
    message(VERSION, 0, &body)
}

/// Begins the count of allocations: 32 bytes of answer, as of every store.
pub fn count_allocations() -> (Vec<u8>, usize) {
    (store(0, 0, ALLOCATIONS, &VALUE), HEADER + ACCESS)
}

/// Ask for a count of 8 bytes, which is what the answer ends with.
pub fn allocations() -> (Vec<u8>, usize) {
    (load(0, ALLOCATIONS, 8), HEADER + ACCESS + 8)
}

/// Times that the server has received something.
pub fn receives() -> (Vec<u8>, usize) {
    (load(0, RECEIVES, 8), HEADER + ACCESS + 8)
}
