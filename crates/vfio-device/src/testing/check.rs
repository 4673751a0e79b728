//! What every device must survive.
#![expect(clippy::indexing_slicing, reason = "of an array, by one of four widths")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Harness, must, must_have_all_vectors};
use crate::{
    CONFIG, Context, Device, Errno, INTX, Init, Interest, MSI, MSIX, Made, Migration, OpenMode,
    Plane, Region, Unregister, VfioDevice,
};

/// What every device must survive. [`run`](Self::run) panics at the first thing that does not hold, and then prints the
/// access at which it happened.
///
/// * Loads and stores of 1, 2, 4 and 8 bytes at each offset of each region (the first and last 2048 and some between of
///   a large one) succeed, with several patterns, while interrupts go somewhere; a region that is read-only refuses
///   stores, one that is write-only loads. Timers that run out of it run.
/// * What lies outside of a region is refused.
/// * Each vector that the device states or triggers on the way is one that its description has.
/// * A reset leads back to the configuration space and the trapped registers of a device that was just made, as far as
///   loads show them, but for what is [ignored](Self::ignoring).
/// * It can be closed, opened, reset and unregistered, and is released exactly once.
#[derive(Debug)]
pub struct Check<F> {
    init: F,
    ignored: Vec<(u32, Range<u64>)>,
}

impl<F: FnMut(&mut Init<'_>) -> Result<Made, Errno>> Check<F> {
    /// For the device that `init` makes; it is called several times.
    pub fn new(init: F) -> Self {
        Self { init, ignored: Vec::new() }
    }

    /// Leaves bytes of a region out where a reset device is compared with a new one: a clock, say.
    pub fn ignoring(mut self, region: u32, bytes: Range<u64>) -> Self {
        self.ignored.push((region, bytes));
        self
    }

    /// Runs all of it.
    ///
    /// # Panics
    /// At the first thing that does not hold.
    #[track_caller]
    pub fn run(mut self) {
        let mut new = Harness::new(&mut self.init);
        let fresh = self.observe(&mut new.device);
        drop(new);
        let released = Arc::new(AtomicU32::new(0));
        let mut it = Harness::new(|init| {
            let (description, inner) = (self.init)(init)?;
            Ok((description, Box::new(Counted { inner, released: released.clone() })))
        });
        let has = |it: &mut Harness, index: u32| {
            it.device.irqs().info(index).is_some_and(|info| info.count != 0)
        };
        if let Some(index) = [MSIX, MSI, INTX].into_iter().find(|&index| has(&mut it, index)) {
            it.arm(index);
        }
        for region in 0..it.device.num_regions() {
            sweep(&mut it.device, region);
            outside(&mut it.device, region);
            // At once: stores to configuration space, which comes late, can reset the device, and its timers with it.
            for _ in 0..1000 {
                if it.skip_to_timer().is_none() {
                    break;
                }
            }
        }
        it.reset();
        for (new, reset) in fresh.iter().zip(&self.observe(&mut it.device)) {
            let (region, offset, new, reset) = (new.0, new.1, &new.2, &reset.2);
            assert!(
                new == reset,
                "region {region}, {offset:#x}: {new:02x?} in a new device, {reset:02x?} after a reset"
            );
        }
        assert_eq!(it.device.open(OpenMode::Exclusive), Err(Errno::BUSY), "a second user");
        it.device.close();
        it.device.reset();
        must(it.device.open(OpenMode::Exclusive), || "opening it again".into());
        assert_eq!(it.device.unregister(), Unregister::InUse);
        it.device.close();
        must_have_all_vectors(&it.device);
        assert_eq!(it.device.unregister(), Unregister::Done);
        assert_eq!(it.device.open(OpenMode::Exclusive), Err(Errno::NODEV), "it is unregistered");
        assert_eq!(released.load(Ordering::Relaxed), 0, "released while there is a reference");
        drop(it);
        assert_eq!(released.load(Ordering::Relaxed), 1, "times that it was released");
    }

    /// What loads show of configuration space and of trapped registers: region, offset, bytes.
    fn observe(&self, device: &mut Device) -> Vec<(u32, u64, Vec<u8>)> {
        let mut seen = Vec::new();
        for region in 0..device.num_regions() {
            let size = device.region(region).map_or(0, Region::size);
            for offset in offsets(size).filter(|offset| offset % 4 == 0) {
                let mut bytes =
                    vec![0; usize::try_from(size - offset).map_or(4, |rest| rest.min(4))];
                load(device, region, offset, &mut bytes);
                for (at, byte) in (offset..).zip(&mut bytes) {
                    let memory = device.region(region).is_some_and(|it| it.is_memory(at));
                    // The command register may begin as firmware would have left it.
                    let command = region == CONFIG && device.is_pci() && (4..6).contains(&at);
                    let ignored =
                        |(of, bytes): &(u32, Range<u64>)| *of == region && bytes.contains(&at);
                    if memory || command || self.ignored.iter().any(ignored) {
                        *byte = 0;
                    }
                }
                seen.push((region, offset, bytes));
            }
        }
        seen
    }
}

/// All offsets of a small region, and of a large one both ends and some between.
fn offsets(size: u64) -> impl Iterator<Item = u64> {
    const END: u64 = 2048;
    const BETWEEN: u64 = 256;
    let (first, last) = (size.min(END), size.saturating_sub(END).max(size.min(END)));
    // Odd steps, so that all alignments come.
    let step = usize::try_from((last - first) / BETWEEN).unwrap_or(usize::MAX) | 1;
    (0..first).chain((first..last).step_by(step)).chain(last..size)
}

fn sweep(device: &mut Device, region: u32) {
    const PATTERNS: [[u8; 8]; 5] = [
        [0x00; 8],
        [0xff; 8],
        [0x55; 8],
        [0xaa; 8],
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
    ];
    let Some((size, read_only)) = device.region(region).map(|it| (it.size(), it.is_read_only()))
    else {
        return;
    };
    for (pattern, width) in PATTERNS.iter().flat_map(|pattern| [1, 2, 4, 8].map(|w| (pattern, w))) {
        let Some(bytes) = pattern.get(..width) else { continue };
        for offset in offsets(size).filter(|offset| offset + width as u64 <= size) {
            load(device, region, offset, &mut [0; 8][..width]);
            let _at = At("store", region, offset, width);
            let done = device.region_write(region, offset, bytes);
            match done {
                Err(Errno::INVAL) if read_only => (),
                done => assert_eq!((done, read_only), (Ok(()), false), "a store"),
            }
            must_have_all_vectors(device);
        }
    }
}

fn load(device: &mut Device, region: u32, offset: u64, bytes: &mut [u8]) {
    let write_only = device.region(region).is_some_and(Region::is_write_only);
    let _at = At("load", region, offset, bytes.len());
    match device.region_read(region, offset, bytes) {
        Err(Errno::INVAL) if write_only => (),
        done => assert_eq!((done, write_only), (Ok(()), false), "a load"),
    }
    must_have_all_vectors(device);
}

fn outside(device: &mut Device, region: u32) {
    let size = device.region(region).map_or(0, Region::size);
    for width in [1, 2, 4, 8] {
        let just_out = size.saturating_sub(width as u64 - 1);
        for offset in [just_out, size, size + 1, u64::MAX - 7, u64::MAX] {
            let _at = At("access outside", region, offset, width);
            let mut data = [0; 8];
            let load = device.region_read(region, offset, &mut data[..width]);
            let store = device.region_write(region, offset, &data[..width]);
            assert_eq!((load, store), (Err(Errno::INVAL), Err(Errno::INVAL)));
        }
    }
}

/// An access under way. Prints which one it was when the device panics, or the check does.
struct At(&'static str, u32, u64, usize);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(what, region, offset, width) = self;
            eprintln!("in the {what} of {width} bytes at {offset:#x} of region {region}");
        }
    }
}

/// Counts how often the device in it is released.
struct Counted {
    inner: Box<dyn VfioDevice>,
    released: Arc<AtomicU32>,
}

impl VfioDevice for Counted {
    fn start(&mut self, cx: &mut Context) {
        self.inner.start(cx);
    }
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        self.inner.region_read(region, offset, data, cx);
    }
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.inner.region_write(region, offset, data, cx);
    }
    fn reset(&mut self, cx: &mut Context) {
        self.inner.reset(cx);
    }
    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        self.inner.open(cx)
    }
    fn close(&mut self, cx: &mut Context) {
        self.inner.close(cx);
    }
    fn request(&mut self, count: u32, cx: &mut Context) -> bool {
        self.inner.request(count, cx)
    }
    fn config_written(&mut self, offset: u64, length: usize, cx: &mut Context) {
        self.inner.config_written(offset, length, cx);
    }
    fn timer(&mut self, id: u32, cx: &mut Context) {
        self.inner.timer(id, cx);
    }
    fn ready(&mut self, id: u32, ready: Interest, cx: &mut Context) {
        self.inner.ready(id, ready, cx);
    }
    fn display(&self) -> Option<Plane> {
        self.inner.display()
    }
    fn migration(&mut self) -> Option<&mut dyn Migration> {
        self.inner.migration()
    }
    fn release(self: Box<Self>) {
        self.released.fetch_add(1, Ordering::Relaxed);
        self.inner.release();
    }
}
