#![cfg(test)]
//! ap: an mdev that is registered first and then published in a list of the driver's, under a lock of the driver's.
//! Needs of a core that a published reference keeps nobody waiting, that queues can be plugged and unplugged while the
//! device is open, and that there is a time between unregister and put in which they are reset and the device is
//! unpublished; `release` only frees.

use std::sync::{Arc, Mutex};

use vfio_device::{Device, DeviceRef, Errno, OpenMode, Unregister, Vfio, VfioDevice};

use super::errno;
use crate::support::{Log, plain};

/// The queues that a device has: the driver changes them, also while a guest uses the device.
type Queues = Arc<Mutex<Vec<u8>>>;

struct Matrix {
    queues: Queues,
    log: Log,
}

impl VfioDevice for Matrix {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut vfio_device::Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut vfio_device::Context) {}
    fn reset(&mut self, _: &mut vfio_device::Context) {
        self.log.add(format!("reset {:?}", self.queues.lock().unwrap()));
    }
    fn request(&mut self, count: u32, _: &mut vfio_device::Context) -> bool {
        self.log.add(format!("request {count}"));
        true
    }
    fn release(self: Box<Self>) {
        self.log.add(format!("freed with {} queues", self.queues.lock().unwrap().len()));
    }
}

/// `matrix_dev`: all mediated devices of the driver.
#[derive(Default)]
struct Driver {
    vfio: Vfio,
    log: Log,
    published: Mutex<Vec<(DeviceRef, Queues)>>,
}

impl Driver {
    fn probe(&self) -> Result<Device, Errno> {
        let queues = Queues::default();
        let shared = Arc::clone(&queues);
        let log = self.log.clone();
        let matrix = Matrix { queues: shared, log };
        let mut device = self.vfio.alloc(|_| Ok((plain(), Box::new(matrix))))?;
        device.register()?;
        self.published.lock().unwrap().push((device.get(), queues));
        Ok(device)
    }

    /// A queue is plugged into the first device that has none of this number; no two devices share one.
    fn plug(&self, queue: u8) -> Result<(), Errno> {
        let published = self.published.lock().unwrap();
        if published.iter().any(|(_, queues)| queues.lock().unwrap().contains(&queue)) {
            return Err(Errno::ADDRINUSE);
        }
        let (_, queues) = published.first().ok_or(Errno::NODEV)?;
        queues.lock().unwrap().push(queue);
        Ok(())
    }

    fn remove(&self, mut device: Device) {
        assert_eq!(device.unregister(), Unregister::Done);
        let mut published = self.published.lock().unwrap();
        for (_, queues) in published.iter().filter(|(of, _)| of.index() == device.object().index())
        {
            queues.lock().unwrap().drain(..).for_each(|_| self.log.add("queue unlinked"));
        }
        published.retain(|(of, _)| of.index() != device.object().index());
    }
}

#[test]
fn ap_a_device_whose_init_fails_is_never_published() {
    let driver = Driver::default();
    assert_eq!(errno(driver.vfio.alloc(|_| Err(Errno::NOMEM))), Errno::NOMEM);
    assert!(driver.published.lock().unwrap().is_empty());
    assert_eq!(driver.plug(1), Err(Errno::NODEV));
}

#[test]
fn ap_a_published_reference_does_not_keep_a_device_in_use() {
    let driver = Driver::default();
    let mut device = driver.probe().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    drop(device);
    assert_eq!(driver.log.take(), [""; 0], "but it keeps the object");
    driver.published.lock().unwrap().clear();
    assert_eq!(driver.log.take(), ["freed with 0 queues"]);
}

#[test]
fn ap_queues_come_while_the_device_is_open_and_go_between_unregister_and_put() {
    let driver = Driver::default();
    let mut device = driver.probe().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!((driver.plug(4), driver.plug(4)), (Ok(()), Err(Errno::ADDRINUSE)));
    driver.plug(5).unwrap();
    device.reset();
    assert_eq!(device.unregister(), Unregister::InUse);
    assert!(device.request());
    assert_eq!(driver.published.lock().unwrap()[0].0.open_count(), 1, "others can look on");
    device.close();
    driver.remove(device);
    assert_eq!(
        driver.log.take(),
        ["reset [4, 5]", "request 0", "queue unlinked", "queue unlinked", "freed with 0 queues"]
    );
}
