#![cfg(test)]
//! A device with DMA, and memory as a client shares it.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::{MemfdFlags, memfd_create};
use vfio_device::{Context, Description, Device, DmaRange, Errno};

use crate::support::{Log, Probe, config_write, opened, plain};

pub const PG: u64 = 4096;
pub const BUS_MASTER: [u8; 2] = [4, 0];

pub type Heard = Result<Vec<u8>, Errno>;

/// What the device is to do when it is reset.
#[derive(Clone)]
pub enum Do {
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

pub fn run(what: &Do, cx: &Context) -> Heard {
    match what {
        Do::Read(address, length) => {
            let mut data = vec![0xaa; *length];
            let result = cx.dma.read(*address, &mut data);
            // What can be known beforehand is found out before the first byte.
            let untouched = data.iter().all(|byte| *byte == 0xaa);
            assert!(matches!(result, Ok(()) | Err(Errno::IO)) || untouched, "{result:?}");
            result.map(|()| data)
        }
        Do::Write(address, data) => cx.dma.write(*address, data).map(|()| Vec::new()),
    }
}

/// A device that does what it is told in a call that is asked for.
pub struct Engine {
    pub device: Device,
    orders: Sender<Do>,
    heard: Receiver<Heard>,
}

impl Engine {
    /// A PCI function with DMA, open, bus mastering on.
    pub fn new() -> Self {
        let mut engine = Self::of(plain().dma());
        config_write(&mut engine.device, 4, &BUS_MASTER);
        engine
    }

    pub fn of(description: Description) -> Self {
        let (orders, todo) = channel();
        let (sender, heard) = channel();
        let probe = Probe::acting(&Log::default(), move |_, cx| {
            for what in todo.try_iter() {
                sender.send(run(&what, cx)).unwrap();
            }
            Ok(())
        });
        Self { device: opened(description, probe), orders, heard }
    }

    /// Has it done in a store to configuration space, of a byte that nothing is behind.
    pub fn order(&mut self, what: Do) -> Heard {
        self.orders.send(what).unwrap();
        self.device.region_write(7, 0x3c, &[0]).unwrap();
        self.heard.try_recv().unwrap()
    }

    pub fn read(&mut self, address: u64, length: usize) -> Heard {
        self.order(Do::Read(address, length))
    }

    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), Errno> {
        self.order(Do::Write(address, data.to_vec())).map(drop)
    }

    pub fn map(&mut self, address: u64, size: u64, file: &File, offset: u64) {
        let file = Some((file.try_clone().unwrap().into(), offset));
        self.device.dma_map(range(address, size), file).unwrap();
    }
}

/// Readable and writable.
pub fn range(address: u64, size: u64) -> DmaRange {
    DmaRange { address, size, readable: true, writable: true }
}

pub fn memfd(name: &str, flags: MemfdFlags) -> OwnedFd {
    memfd_create(name, flags | MemfdFlags::CLOEXEC).unwrap()
}

/// Memory as a client shares it: each page full of its number, from 1 on.
pub fn memory(name: &str, pages: u8) -> File {
    let file = File::from(memfd(name, MemfdFlags::ALLOW_SEALING));
    for page in 0..pages {
        file.write_all_at(&[page + 1; PG as usize], u64::from(page) * PG).unwrap();
    }
    file
}

pub fn bytes_at(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// The memory again, by a descriptor that is open in another way.
pub fn reopened(file: &File, options: &mut OpenOptions) -> File {
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

/// How many descriptors and mappings of this process are memory of that name.
pub fn uses(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    let named = format!("memfd:{name} ");
    links.filter(|link| link.to_str().unwrap().contains(&named)).count()
        + mappings.matches(&named).count()
}

/// A name that no other test uses.
pub fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("dma-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
