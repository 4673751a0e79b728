#![cfg(test)]
//! Timers and sources: what wakes a device.

use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use vfio_device::{
    BarKind, Context, Device, Errno, Interest, OpenMode, Plane, Region, SharedMemory, Source,
    SourceId, Vfio, VfioDevice,
};

use crate::support::{Call, Log, Probe, event, no_registers, opened, plain, signal};

const SOON: Duration = Duration::from_secs(1);

/// A device that runs `at_reset` when it is reset, and `at_timer` when a timer runs out.
fn device(
    mut at_reset: impl FnMut(&mut Context) + Send + 'static,
    mut at_timer: impl FnMut(u32, &mut Context) + Send + 'static,
) -> (Device, Log) {
    let log = Log::default();
    let probe = Probe::acting(&log, move |call, cx| {
        match call {
            Call::Reset => at_reset(cx),
            Call::Timer(id) => at_timer(id, cx),
            _ => (),
        }
        Ok(())
    });
    let device = opened(plain(), probe);
    log.take();
    (device, log)
}

#[test]
fn a_timer_fires_once_and_not_before_its_time() {
    let (mut device, log) = device(|cx| cx.timers.start(7, SOON), |_, _| ());
    assert_eq!(device.next_timer(), None);
    let begin = Instant::now();
    device.reset();
    let at = device.next_timer().unwrap();
    assert!(at >= begin + SOON && at <= Instant::now() + SOON);
    log.take();
    device.run_timers(at - Duration::from_nanos(1));
    assert_eq!(log.take(), [""; 0]);
    device.run_timers(at);
    assert_eq!(log.take(), ["timer 7"]);
    assert_eq!(device.next_timer(), None);
    device.run_timers(at + SOON);
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn timers_fire_in_the_order_of_their_times() {
    let start = |cx: &mut Context| {
        for (id, seconds) in [(1, 3), (2, 1), (3, 2), (4, 9)] {
            cx.timers.start(id, SOON * seconds);
        }
    };
    let (mut device, log) = device(start, |_, _| ());
    device.reset();
    log.take();
    device.run_timers(Instant::now() + SOON * 5);
    assert_eq!(log.take(), ["timer 2", "timer 3", "timer 1"]);
    assert!(device.next_timer().is_some());
}

#[test]
fn starting_a_timer_again_moves_it_and_stopping_ends_it() {
    let start = |cx: &mut Context| {
        (1..=3).for_each(|id| cx.timers.start(id, SOON));
        cx.timers.start(1, SOON * 10);
        cx.timers.stop(2);
        cx.timers.stop(99);
        cx.timers.start(3, Duration::MAX);
        assert!(cx.timers.is_running(1));
        assert!(![2, 3].into_iter().any(|id| cx.timers.is_running(id)), "3 is beyond all time");
    };
    let (mut device, log) = device(start, |_, _| ());
    device.reset();
    log.take();
    device.run_timers(Instant::now() + SOON * 5);
    assert_eq!(log.take(), [""; 0]);
    device.run_timers(Instant::now() + SOON * 11);
    assert_eq!(log.take(), ["timer 1"]);
}

#[test]
fn a_timer_that_is_started_from_within_waits_for_the_next_round() {
    let again = |id, cx: &mut Context| {
        cx.timers.start(id, Duration::ZERO);
        if !cx.timers.is_running(11) {
            cx.timers.start(11, Duration::ZERO);
        }
    };
    let (mut device, log) = device(|cx| cx.timers.start(1, SOON), again);
    device.reset();
    log.take();
    let later = Instant::now() + SOON * 2;
    device.run_timers(later);
    assert_eq!(log.take(), ["timer 1"]);
    device.run_timers(later);
    assert_eq!(log.take(), ["timer 1", "timer 11"]);
}

#[test]
fn a_timer_that_an_earlier_one_of_the_same_round_stops_does_not_fire() {
    let start = |cx: &mut Context| (1..=2).for_each(|id| cx.timers.start(id, SOON * id));
    let (mut device, log) = device(start, |_, cx| cx.timers.stop(2));
    device.reset();
    log.take();
    device.run_timers(Instant::now() + SOON * 5);
    assert_eq!(log.take(), ["timer 1"]);
}

#[test]
fn a_reset_stops_the_timers_before_the_device_hears_of_it() {
    let (sender, running) = channel();
    let at_reset = move |cx: &mut Context| {
        sender.send(cx.timers.is_running(1)).unwrap();
        cx.timers.start(1, SOON);
    };
    let (mut device, _) = device(at_reset, |_, _| ());
    device.reset();
    device.reset();
    assert_eq!([running.recv(), running.recv()], [Ok(false); 2]);
}

#[test]
fn a_reset_leaves_the_timers_that_last_and_starting_one_anew_decides_again() {
    let start = |cx: &mut Context| {
        (1..=2).for_each(|id| cx.timers.start_lasting(id, SOON));
        cx.timers.start(2, SOON);
        cx.timers.start(3, SOON);
        cx.timers.start_lasting(3, SOON);
        cx.timers.start_lasting(4, SOON);
        cx.timers.stop(4);
    };
    let mut first = Some(start);
    let act = move |cx: &mut Context| _ = first.take().map(|start| start(cx));
    let (mut device, log) = device(act, |_, _| ());
    device.reset();
    device.reset();
    log.take();
    device.run_timers(Instant::now() + SOON * 5);
    assert_eq!(log.take(), ["timer 1", "timer 3"]);
    assert_eq!(device.next_timer(), None);
}

/// Says when it is started, opened and released, and watches and times from the start.
struct Starting(Log, Option<OwnedFd>);
impl VfioDevice for Starting {
    no_registers!();
    fn start(&mut self, cx: &mut Context) {
        self.0.add("start");
        cx.timers.start(1, SOON);
        self.1.take().into_iter().for_each(|fd| cx.sources.watch(2, fd, Interest::READ));
    }
    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        self.0.add("open");
        Ok(())
    }
    fn timer(&mut self, id: u32, _: &mut Context) {
        self.0.add(format!("timer {id}"));
    }
    fn release(self: Box<Self>) {
        self.0.add("release");
    }
}

#[test]
fn a_device_starts_once_before_anybody_can_open_it_and_is_woken_from_then_on() {
    let log = Log::default();
    let it = Starting(log.clone(), Some(event().1));
    let mut device = Vfio::new().alloc(|_| Ok((plain(), Box::new(it)))).unwrap();
    assert_eq!(log.take(), ["start"]);
    let watched: Vec<_> = device.sources().iter().map(Source::id).collect();
    assert_eq!(watched, [SourceId::Device(2)]);
    device.run_timers(device.next_timer().unwrap());
    assert_eq!(log.take(), ["timer 1"]);
    device.register().unwrap();
    for _ in 0..2 {
        device.open(OpenMode::Exclusive).unwrap();
        device.close();
    }
    device.reset();
    drop(device);
    assert_eq!(log.take(), ["open", "open", "release"]);
}

#[test]
fn a_device_that_cannot_be_made_does_not_start() {
    let log = Log::default();
    let it = Box::new(Starting(log.clone(), None));
    let impossible = plain().bar(9, BarKind::Io, Region::trapped(8));
    Vfio::new().alloc(|_| Ok((impossible, it))).unwrap_err();
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn timers_and_sources_of_the_device_outlast_the_user() {
    let (mut device, _) = device(
        |cx| {
            cx.timers.start(1, SOON);
            cx.sources.watch(1, event().1, Interest::READ);
        },
        |_, _| (),
    );
    device.reset();
    device.close();
    assert!(device.next_timer().is_some());
    assert_eq!(device.sources().iter().count(), 1);
}

#[test]
fn the_generation_of_the_sources_changes_when_they_do() {
    let (sender, counts) = channel();
    let at_reset = move |cx: &mut Context| {
        let mut step = |act: &mut dyn FnMut(&mut Context)| {
            let before = cx.sources.generation();
            act(cx);
            let changed = cx.sources.generation() != before;
            sender.send((changed, cx.sources.iter().count())).unwrap();
        };
        step(&mut |cx| cx.sources.unwatch(1));
        step(&mut |cx| cx.sources.watch(1, event().1, Interest::READ));
        step(&mut |cx| cx.sources.watch(2, event().1, Interest::BOTH));
        step(&mut |cx| cx.sources.watch(1, event().1, Interest::WRITE));
        step(&mut |cx| cx.sources.unwatch(2));
        step(&mut |cx| cx.sources.unwatch(2));
        step(&mut |cx| cx.sources.set_interest(2, Interest::READ));
        step(&mut |cx| cx.sources.set_interest(1, Interest::NONE));
        step(&mut |cx| cx.sources.set_interest(1, Interest::NONE));
        step(&mut |cx| cx.sources.set_interest(1, Interest::WRITE));
    };
    let (mut device, _) = device(at_reset, |_, _| ());
    device.reset();
    let steps: Vec<_> = counts.try_iter().collect();
    let watching = [(false, 0), (true, 1), (true, 2), (true, 2), (true, 1), (false, 1)];
    let interests = [(false, 1), (true, 1), (false, 1), (true, 1)];
    assert_eq!(steps, [&watching[..], &interests].concat());
    let left: Vec<_> = device.sources().iter().map(|it| (it.id(), it.interest())).collect();
    assert_eq!(left, [(SourceId::Device(1), Interest::WRITE)]);
    assert_eq!(device.take_removed_sources().len(), 2, "for the event loop to take off");
    assert_eq!(device.take_removed_sources().len(), 0);
}

#[test]
fn sources_that_no_event_loop_fetches_do_not_pile_up() {
    let many = |cx: &mut Context| {
        (0..1000).for_each(|_| cx.sources.watch(1, event().1, Interest::READ));
    };
    let (mut device, _) = device(many, |_, _| ());
    device.reset();
    assert_eq!(device.take_removed_sources().len(), 256);
}

#[test]
fn a_device_hears_which_of_its_sources_is_ready_for_what() {
    let (kept, sent) = event();
    let mut sent = Some(sent);
    let watch = move |cx: &mut Context| {
        cx.sources.watch(5, sent.take().unwrap(), Interest::BOTH);
    };
    let (mut device, log) = device(watch, |_, _| ());
    device.reset();
    log.take();
    signal(&kept, 1);
    device.source_ready(SourceId::Device(5), Interest::READ);
    device.source_ready(SourceId::Device(5), Interest::BOTH);
    device.source_ready(SourceId::Unmask { index: 9, vector: 9 }, Interest::READ);
    assert_eq!(log.take(), ["ready 5 true false", "ready 5 true true"]);
}

struct Screen(SharedMemory);
impl VfioDevice for Screen {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
    fn display(&self) -> Option<Plane> {
        let (width, height, stride) = (64, 16, 256);
        let (format, memory) = (0x3432_5258, self.0.clone());
        let (offset, size, generation, mode_generation) = (0, 4096, 1, 1);
        Some(Plane {
            format,
            width,
            height,
            stride,
            offset,
            size,
            generation,
            mode_generation,
            memory,
        })
    }
}

#[test]
fn a_viewer_can_hold_a_picture_longer_than_its_device() -> Result<(), Errno> {
    let memory = SharedMemory::new("screen", 4096)?;
    memory.write(0, b"picture")?;
    let device = Vfio::new().alloc(|_| Ok((plain(), Box::new(Screen(memory)))))?;
    let plane = device.display().unwrap();
    drop(device);
    let mut data = [0; 7];
    plane.memory.read(plane.offset, &mut data)?;
    assert_eq!(&data, b"picture");
    Ok(())
}
