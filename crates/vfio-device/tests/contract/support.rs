#![cfg(test)]
//! A device that writes down what is called of it, and the client's side of an interrupt.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};
use vfio_device::{
    Context, Description, Device, Errno, Interest, IrqAction, IrqData, OpenMode, Vfio, VfioDevice,
};

/// A device without registers of its own, in an `impl VfioDevice`.
macro_rules! no_registers {
    () => {
        fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut vfio_device::Context) {}
        fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut vfio_device::Context) {}
        fn reset(&mut self, _: &mut vfio_device::Context) {}
    };
}
pub(crate) use no_registers;

/// What a probe was called with, for the test to act on.
pub enum Call<'a> {
    Read { region: u32, offset: u64, data: &'a mut [u8] },
    Write { region: u32, offset: u64, data: &'a [u8] },
    Reset,
    Open,
    Close,
    Request,
    ConfigWritten,
    Timer(u32),
    Ready,
}

/// Calls in the order in which they came. Clones are the same log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// What has been written since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

type Act = dyn FnMut(Call<'_>, &mut Context) -> Result<(), Errno> + Send;

/// Logs each call, then does what the test wants.
pub struct Probe {
    log: Log,
    act: Box<Act>,
    on_release: Option<Box<dyn FnOnce() + Send>>,
}

impl Probe {
    pub fn new(log: &Log) -> Self {
        Self::acting(log, |_, _| Ok(()))
    }

    pub fn acting(
        log: &Log,
        act: impl FnMut(Call<'_>, &mut Context) -> Result<(), Errno> + Send + 'static,
    ) -> Self {
        Self { log: log.clone(), act: Box::new(act), on_release: None }
    }

    pub fn at_release(self, on_release: impl FnOnce() + Send + 'static) -> Self {
        Self { on_release: Some(Box::new(on_release)), ..self }
    }
}

impl VfioDevice for Probe {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        self.log.add(format!("read {region} {offset:#x} {}", data.len()));
        let _ = (self.act)(Call::Read { region, offset, data }, cx);
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.log.add(format!("write {region} {offset:#x} {data:02x?}"));
        let _ = (self.act)(Call::Write { region, offset, data }, cx);
    }

    fn reset(&mut self, cx: &mut Context) {
        self.log.add("reset");
        let _ = (self.act)(Call::Reset, cx);
    }

    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        self.log.add("open");
        (self.act)(Call::Open, cx)
    }

    fn close(&mut self, cx: &mut Context) {
        self.log.add("close");
        let _ = (self.act)(Call::Close, cx);
    }

    fn request(&mut self, count: u32, cx: &mut Context) -> bool {
        self.log.add(format!("request {count}"));
        (self.act)(Call::Request, cx).is_ok()
    }

    fn config_written(&mut self, offset: u64, length: usize, cx: &mut Context) {
        self.log.add(format!("config {offset:#x} {length}"));
        let _ = (self.act)(Call::ConfigWritten, cx);
    }

    fn timer(&mut self, id: u32, cx: &mut Context) {
        self.log.add(format!("timer {id}"));
        let _ = (self.act)(Call::Timer(id), cx);
    }

    fn ready(&mut self, id: u32, ready: Interest, cx: &mut Context) {
        self.log.add(format!("ready {id} {} {}", ready.readable, ready.writable));
        let _ = (self.act)(Call::Ready, cx);
    }

    fn release(self: Box<Self>) {
        self.log.add("release");
        if let Some(on_release) = self.on_release {
            on_release();
        }
    }
}

/// A PCI function with all that QEMU asks for and no more.
pub fn plain() -> Description {
    Description::pci(0x1234, 0x5678)
}

pub fn alloc(vfio: &Vfio, description: Description, probe: Probe) -> Device {
    vfio.alloc(|_| Ok((description, Box::new(probe)))).unwrap()
}

/// A device that is registered and open.
pub fn opened(description: Description, probe: Probe) -> Device {
    let mut device = alloc(&Vfio::new(), description, probe);
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device
}

/// An eventfd as a client makes it: what it keeps, and what it sends.
pub fn event() -> (File, OwnedFd) {
    let kept = File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
    let sent = kept.try_clone().unwrap().into();
    (kept, sent)
}

/// How often an eventfd has been signalled since the last time.
#[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
pub fn signals(eventfd: &File) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(eventfd, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        Err(Errno::AGAIN) => 0,
        other => panic!("an eventfd answered {other:?}"),
    }
}

/// Adds to an eventfd.
#[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
pub fn signal(eventfd: &File, count: u64) {
    assert_eq!(rustix::io::write(eventfd, &count.to_ne_bytes()), Ok(8));
}

type Fds = std::vec::IntoIter<OwnedFd>;

/// SET_IRQS with descriptors for the vectors from 0 on.
pub fn set_fds(
    device: &mut Device,
    index: u32,
    action: IrqAction,
    fds: Vec<OwnedFd>,
) -> Result<(), Errno> {
    let range = 0..u32::try_from(fds.len()).unwrap();
    device.set_irqs(index, action, range, IrqData::Eventfd(fds.into_iter()))
}

/// SET_IRQS without data.
pub fn set(
    device: &mut Device,
    index: u32,
    action: IrqAction,
    range: std::ops::Range<u32>,
) -> Result<(), Errno> {
    device.set_irqs(index, action, range, IrqData::<Fds>::None)
}

/// SET_IRQS with a byte for each vector.
pub fn set_bytes(
    device: &mut Device,
    index: u32,
    action: IrqAction,
    range: std::ops::Range<u32>,
    bytes: &[u8],
) -> Result<(), Errno> {
    device.set_irqs(index, action, range, IrqData::<Fds>::Bool(bytes))
}

pub fn read<const N: usize>(device: &mut Device, region: u32, offset: u64) -> [u8; N] {
    let mut data = [0xaa; N];
    device.region_read(region, offset, &mut data).unwrap();
    data
}

pub fn config_read<const N: usize>(device: &mut Device, offset: u64) -> [u8; N] {
    read(device, 7, offset)
}

pub fn config_write(device: &mut Device, offset: u64, data: &[u8]) {
    device.region_write(7, offset, data).unwrap();
}

/// Takes an index and drops it again: the lowest that is free.
pub fn free_index(vfio: &Vfio) -> u32 {
    alloc(vfio, plain(), Probe::new(&Log::default())).object().index()
}

/// xorshift64: the same walk each time.
pub struct Walk(pub u64);

impl Walk {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of these, or, now and then, any number at all.
    pub fn pick(&mut self, from: &[u64]) -> u64 {
        match self.next() % 8 {
            0 => self.next(),
            _ => from[usize::try_from(self.next()).unwrap() % from.len()],
        }
    }

    pub fn small(&mut self, below: u64) -> u32 {
        u32::try_from(self.next() % below).unwrap()
    }
}
