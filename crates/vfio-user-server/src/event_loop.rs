//! The loop that serves devices: one thread, any number of endpoints.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;

use vfio_device::{Errno, Unregister};

use crate::deadlines::Deadlines;
use crate::endpoint::{Endpoint, Event};
use crate::fault::Fault;
use crate::poll_window::PollWindow;
use crate::registry::Registry;
use crate::scratch::Scratch;

/// Descriptors that one wait reports at most.
const BATCH: usize = 64;
/// Messages of other threads that are taken in one turn; then it is the clients' again.
const MESSAGES: usize = 16;
/// The epoll entry of the loop's own wake-up.
const WAKE: u64 = u64::MAX;

/// How long to poll at most, unless there is a reason for another choice: see [`EventLoop::new`]. A little longer than a
/// guest under software emulation takes from one answer to its next access, 50 to 70 us where it was measured.
pub const DEFAULT_POLL: Duration = Duration::from_micros(100);

/// Names an endpoint on its loop, and never another one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId {
    key: u32,
    generation: u32,
}

/// A place for an endpoint.
#[derive(Debug, Default)]
struct Slot {
    endpoint: Option<Endpoint>,
    /// How many endpoints have been here before.
    generation: u32,
}

type Message = Box<dyn FnOnce(&mut EventLoop) + Send>;

/// How other threads speak to a loop.
#[derive(Clone)]
pub struct LoopHandle {
    messages: Sender<Message>,
    wake: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}

impl LoopHandle {
    /// Has the loop's thread call `message` soon. Without effect if the loop is gone.
    pub fn post(&self, message: impl FnOnce(&mut EventLoop) + Send + 'static) {
        if self.messages.send(Box::new(message)).is_ok() {
            self.wake();
        }
    }

    /// Ends [`EventLoop::run`] soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
        let one = 1u64.to_ne_bytes();
        // A full counter says already what there is to say.
        let _ = rustix::io::write(&*self.wake, &one);
    }
}

/// Serves endpoints, all on the thread that calls [`run`](Self::run).
///
/// ```no_run
/// use vfio_device::{BarKind, Context, Description, Region, Vfio, VfioDevice};
/// use vfio_user_server::{DEFAULT_POLL, Endpoint, EventLoop, Listener};
///
/// /// Four bytes of I/O ports that read as 0x2a.
/// struct Answer;
///
/// impl VfioDevice for Answer {
///     fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
///         data.fill(0x2a);
///     }
///     fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
///     fn reset(&mut self, _: &mut Context) {}
/// }
///
/// let what = Description::pci(0x1234, 0x5678).bar(0, BarKind::Io, Region::trapped(4));
/// let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Answer))))?;
/// device.register()?;
/// let mut event_loop = EventLoop::new(DEFAULT_POLL)?;
/// event_loop.add(Endpoint::new(device, Listener::bind("/tmp/answer.sock".as_ref())?))?;
/// event_loop.run(|_, event| println!("{event:?}"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLoop {
    epoll: OwnedFd,
    endpoints: Vec<Slot>,
    deadlines: Deadlines,
    scratch: Scratch,
    window: PollWindow,
    messages: Receiver<Message>,
    handle: LoopHandle,
    /// By what messages have done, and not told yet.
    happened: Vec<(EndpointId, Event)>,
    stays: bool,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl EventLoop {
    /// A loop without endpoints. After it has attended to a client it polls for up to `poll` before it sleeps, as long
    /// as that pays; zero ends all polling.
    ///
    /// # Errors
    /// When the process can open no more descriptors.
    pub fn new(poll: Duration) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let (sender, messages) = channel();
        let handle = LoopHandle { messages: sender, wake, stop: Arc::new(AtomicBool::new(false)) };
        let (scratch, window) = (Scratch::new(), PollWindow::new(poll));
        Ok(Self {
            epoll,
            endpoints: Vec::new(),
            deadlines: Deadlines::default(),
            scratch,
            window,
            messages,
            handle,
            happened: Vec::new(),
            stays: false,
        })
    }

    /// Has [`run`](Self::run) wait for messages, when no endpoint has or can get a client, until it is told to stop.
    pub fn stay(&mut self) {
        self.stays = true;
    }

    /// A handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }

    /// Begins to serve an endpoint.
    ///
    /// # Errors
    /// When its descriptors cannot be watched; the endpoint is shut down then.
    pub fn add(&mut self, mut endpoint: Endpoint) -> io::Result<EndpointId> {
        let key = self.endpoints.iter().position(|slot| slot.endpoint.is_none());
        let key = key.unwrap_or(self.endpoints.len());
        if key == self.endpoints.len() {
            self.endpoints.push(Slot::default());
        }
        let slot = self.endpoints.get_mut(key).ok_or(io::ErrorKind::OutOfMemory)?;
        let key = u32::try_from(key).unwrap_or(u32::MAX);
        let registry = Registry { epoll: &self.epoll, key };
        if let Err(error) = endpoint.start(registry) {
            endpoint.stop(registry);
            return Err(error);
        }
        self.deadlines.set(key, endpoint.deadline());
        slot.endpoint = Some(endpoint);
        Ok(EndpointId { key, generation: slot.generation })
    }

    /// An endpoint that is being served.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        let slot = self.endpoints.get(id.key as usize)?;
        slot.endpoint.as_ref().filter(|_| slot.generation == id.generation)
    }

    /// Takes an endpoint off the loop.
    pub fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        let slot = self.endpoints.get_mut(id.key as usize)?;
        let mut endpoint = slot.endpoint.take_if(|_| slot.generation == id.generation)?;
        slot.generation = slot.generation.wrapping_add(1);
        endpoint.stop(Registry { epoll: &self.epoll, key: id.key });
        Some(endpoint)
    }

    /// Begins to take a device away (`vfio_unregister_group_dev`): its socket is gone, nobody can open it any more, and its
    /// user stays until it leaves. With [`Unregister::Done`] there is none, and [`remove`](Self::remove) may follow; else
    /// it may after [`Event::ClientLeft`]. `None` if there is no such endpoint. To be asked again as often as one likes.
    pub fn hide(&mut self, id: EndpointId) -> Option<Unregister> {
        self.update(id, |endpoint, registry| endpoint.hide(registry))
    }

    /// Asks the user of a device that is hidden to go ([`Device::request`](vfio_device::Device::request)): at once, then
    /// every 10 s. Whether there was a way to ask.
    pub fn request(&mut self, id: EndpointId) -> bool {
        self.update(id, |endpoint, _| endpoint.request()).unwrap_or_default()
    }

    /// Ends the connections of a device. What a client has sent is still done; then, if it was the user,
    /// [`Event::ClientLeft`] follows.
    pub fn disconnect(&mut self, id: EndpointId) {
        self.update(id, |endpoint, _| endpoint.disconnect());
    }

    /// Resets a device, as its client can by `DEVICE_RESET`.
    pub fn reset(&mut self, id: EndpointId) {
        self.update(id, |endpoint, _| endpoint.reset());
    }

    /// Stores into a region of a device, as its client can: to plug another monitor into a display, say. Within one call of
    /// a message several stores are one to the client, whose accesses come before or after them. `None` if there is no such
    /// endpoint.
    ///
    /// # Errors
    /// Those of [`Device::region_write`](vfio_device::Device::region_write).
    pub fn write_region(
        &mut self,
        id: EndpointId,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<(), Errno>> {
        self.update(id, |endpoint, _| endpoint.write_region(region, offset, data))
    }

    /// Has these faults befall the clients of a device from here on, and no others, as
    /// [`Endpoint::with_faults`] does from the beginning: each begins to count now, and what those before it have done is in
    /// the log. An answer that is held up stays so. Whether there is such an endpoint.
    pub fn set_faults(&mut self, id: EndpointId, faults: impl IntoIterator<Item = Fault>) -> bool {
        self.update(id, |endpoint, _| endpoint.set_faults(faults)).is_some()
    }

    /// Does something to an endpoint between two events of it, with all that has to follow. What happens by it is told by
    /// [`run`](Self::run).
    fn update<T>(
        &mut self,
        id: EndpointId,
        what: impl FnOnce(&mut Endpoint, Registry<'_>) -> T,
    ) -> Option<T> {
        self.get(id)?;
        let (mut answer, mut happened) = (None, Vec::new());
        self.call(id.key, &mut |id, event| happened.push((id, event)), |endpoint, registry, _| {
            answer = Some(what(endpoint, registry));
            endpoint.sync_sources(registry);
            (None, false)
        });
        self.happened.append(&mut happened);
        answer
    }

    /// Serves until [`LoopHandle::stop`], or until no endpoint is left that has a client or can get one. `on_event` is
    /// told what happens.
    ///
    /// # Errors
    /// When waiting fails, which it does not while the loop's descriptors are intact.
    pub fn run(&mut self, mut on_event: impl FnMut(EndpointId, Event)) -> io::Result<()> {
        let mut may_be_done = true;
        while !self.handle.stop.load(Ordering::Acquire) {
            if std::mem::take(&mut may_be_done) && !self.stays && self.is_done() {
                break;
            }
            let deadline = self.deadlines.next();
            let polls = self.window.polls();
            let timeout = if polls { Some(Timespec::default()) } else { deadline.and_then(until) };
            let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
            let ready = wait(&self.epoll, &mut buffer, timeout.as_ref())?;
            if !polls {
                self.window.woken();
            } else if ready.is_empty() {
                // Somebody else can have the core: the client's own threads may have been woken on it.
                let before = self.window.before_yield();
                thread::yield_now();
                self.window.after_yield(before);
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.run_timers(&mut on_event);
                may_be_done = true;
            }
            for event in ready {
                let data = event.data.u64();
                if data == WAKE {
                    self.take_messages();
                    for (id, event) in std::mem::take(&mut self.happened) {
                        on_event(id, event);
                    }
                    may_be_done = true;
                    continue;
                }
                let (key, token) = ((data >> 32) as u32, data as u32);
                let outcome = self.call(key, &mut on_event, |endpoint, registry, scratch| {
                    endpoint.ready(token, event.flags, registry, scratch)
                });
                match outcome {
                    Called::Attended => self.window.attended(polls),
                    Called::Other => (),
                    Called::Deserted => may_be_done = true,
                }
            }
        }
        Ok(())
    }

    /// Whether nothing can happen any more. A loop without endpoints waits for messages that bring some.
    fn is_done(&self) -> bool {
        let mut endpoints =
            self.endpoints.iter().filter_map(|slot| slot.endpoint.as_ref()).peekable();
        endpoints.peek().is_some() && endpoints.all(Endpoint::is_deserted)
    }

    /// Calls an endpoint and sees to what follows. A panic in it, which is a device's fault, ends that endpoint and no
    /// other.
    fn call(
        &mut self,
        key: u32,
        on_event: &mut impl FnMut(EndpointId, Event),
        what: impl FnOnce(&mut Endpoint, Registry<'_>, &mut Scratch) -> (Option<Event>, bool),
    ) -> Called {
        let registry = Registry { epoll: &self.epoll, key };
        // An entry of something that went earlier in this batch finds nobody.
        let Some(slot) = self.endpoints.get_mut(key as usize) else { return Called::Other };
        let id = EndpointId { key, generation: slot.generation };
        let Some(endpoint) = &mut slot.endpoint else { return Called::Other };
        let scratch = &mut self.scratch;
        let result = catch_unwind(AssertUnwindSafe(|| what(endpoint, registry, scratch)));
        let Ok((event, attended)) = result else {
            self.bury(id);
            on_event(id, Event::Faulted);
            return Called::Deserted;
        };
        self.deadlines.set(key, endpoint.deadline());
        let deserted = endpoint.is_deserted();
        if let Some(event) = event {
            on_event(id, event);
        }
        match (deserted, attended) {
            (true, _) => Called::Deserted,
            (false, true) => Called::Attended,
            (false, false) => Called::Other,
        }
    }

    /// Lets an endpoint go whose device has panicked.
    #[cold]
    fn bury(&mut self, id: EndpointId) {
        let Some(slot) = self.endpoints.get_mut(id.key as usize) else { return };
        let Some(broken) = slot.endpoint.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        log::error!("{}: the device panicked; it is served no longer", broken.device().object());
        broken.bury(Registry { epoll: &self.epoll, key: id.key }, &mut self.scratch);
    }

    fn run_timers(&mut self, on_event: &mut impl FnMut(EndpointId, Event)) {
        let now = Instant::now();
        while let Some(key) = self.deadlines.take_due(now) {
            self.call(key, on_event, |endpoint, registry, scratch| {
                (endpoint.run_timers(now, registry, scratch), false)
            });
        }
    }

    fn take_messages(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.handle.wake, &mut count);
        for _ in 0..MESSAGES {
            let Ok(message) = self.messages.try_recv() else { return };
            message(self);
        }
        // There may be more.
        self.handle.wake();
    }
}

impl Drop for EventLoop {
    /// One by one: a device that panics does not take its neighbours' release away.
    fn drop(&mut self) {
        self.endpoints.drain(..).filter_map(|slot| slot.endpoint).for_each(Endpoint::vanish);
    }
}

/// What a call of an endpoint was about.
enum Called {
    /// A client, whose next message may come soon.
    Attended,
    /// Something else.
    Other,
    /// It has no client left and can get none.
    Deserted,
}

/// Time until `deadline`; never so short that it rounds to an earlier moment.
fn until(deadline: Instant) -> Option<Timespec> {
    Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
}

#[inline]
fn wait<'a>(
    epoll: &OwnedFd,
    buffer: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<&Timespec>,
) -> io::Result<&'a [epoll::Event]> {
    match epoll::wait(epoll, buffer, timeout) {
        Ok((ready, _)) => Ok(ready),
        Err(Errno::INTR) => Ok(&[]),
        Err(errno) => Err(errno.into()),
    }
}
