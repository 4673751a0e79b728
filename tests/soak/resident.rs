//! Who stays: one display and its client from the begin to the end, who must not notice any of the others.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::clients::{BAR0, CONFIG, arrive};
use crate::managed::{Made, Managed};
use crate::stage::Stage;
use crate::vfio::Client;

/// What is written to, over and over.
const PAGE: u64 = 4096;
/// Vendor and device id, as the sample has them.
const IDS: [u8; 4] = [0x34, 0x12, 0x11, 0x11];

pub struct Resident {
    made: Made,
    client: Client,
    memory: MmapRegion,
    /// How often it has looked.
    looks: u32,
}

impl Resident {
    pub fn arrive(managed: &Managed) -> Self {
        let made = managed.create(&["mbochs-small"]);
        let mut client = arrive(&made.socket);
        let mut reply = client.region_info(BAR0, 32).ok();
        let (memory, size) = (reply.fds.remove(0), reply.u64(16) as usize);
        let memory = MmapRegion::from_file(FileOffset::new(memory.into(), 0), size).unwrap();
        let resident = Self { made, client, memory, looks: 0 };
        (0..PAGE).step_by(4).for_each(|at| resident.store(at, 0));
        resident
    }

    fn store(&self, at: u64, value: u32) {
        self.memory.as_volatile_slice().store(value.to_le(), at as usize, Relaxed).unwrap();
    }

    /// Looks again and again for as long as `is_on`: its memory has what it wrote, and its device answers at once.
    pub fn stay(&mut self, stage: &Stage, is_on: impl Fn() -> bool) {
        while is_on() {
            let at = u64::from(self.looks) * 4 % PAGE;
            self.store(at, self.looks);
            self.looks += 1;
            assert_eq!(self.client.read(BAR0, at, 4), (self.looks - 1).to_le_bytes());
            assert_eq!(self.client.read(CONFIG, 0, 4), IDS);
            stage.did("looks of who stays", 1);
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn leave(self, managed: &Managed) {
        drop(self.client);
        managed.remove(&self.made);
    }
}
