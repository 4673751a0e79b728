//! The loop that serves devices: one thread, any number of endpoints.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;

use crate::connection::Scratch;
use crate::endpoint::{Endpoint, Event, Registry};
use crate::poll_window::PollWindow;

/// Descriptors that one wait reports at most.
const BATCH: usize = 64;
/// The epoll entry of the loop's own wake-up.
const WAKE: u64 = u64::MAX;

/// Polling is on up to this long by default, see [`EventLoop::new`].
pub const DEFAULT_POLL: Duration = Duration::from_micros(50);

/// Names an endpoint on its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(u32);

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
/// # fn device() -> vfio_device::Device { unimplemented!() }
/// use vfio_user_server::{DEFAULT_POLL, Endpoint, EventLoop, Listener};
///
/// let mut event_loop = EventLoop::new(DEFAULT_POLL)?;
/// let listener = Listener::bind("/tmp/device.sock".as_ref())?;
/// event_loop.add(Endpoint::new(device(), listener))?;
/// event_loop.run(|_, _| ())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLoop {
    epoll: OwnedFd,
    endpoints: Vec<Option<Endpoint>>,
    scratch: Scratch,
    window: PollWindow,
    messages: Receiver<Message>,
    handle: LoopHandle,
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
        Ok(Self { epoll, endpoints: Vec::new(), scratch, window, messages, handle })
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
        let key = self.endpoints.iter().position(Option::is_none).unwrap_or(self.endpoints.len());
        let key = u32::try_from(key).unwrap_or(u32::MAX);
        endpoint.start(Registry { epoll: &self.epoll, key })?;
        match self.endpoints.get_mut(key as usize) {
            Some(slot) => *slot = Some(endpoint),
            None => self.endpoints.push(Some(endpoint)),
        }
        Ok(EndpointId(key))
    }

    /// An endpoint that is being served.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id.0 as usize)?.as_ref()
    }

    /// Takes an endpoint off the loop.
    pub fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        self.endpoints.get_mut(id.0 as usize)?.take()
    }

    /// Serves until [`LoopHandle::stop`], or until no endpoint is left that has a client or can get one. `on_event` is
    /// told what happens.
    ///
    /// # Errors
    /// When waiting fails, which it does not while the loop's descriptors are intact.
    pub fn run(&mut self, mut on_event: impl FnMut(EndpointId, Event)) -> io::Result<()> {
        // When a client was last attended to, as long as its next message may be worth polling for.
        let mut attended: Option<Instant> = None;
        while !self.handle.stop.load(Ordering::Acquire) && self.has_work() {
            let deadline = self.endpoints.iter().flatten().filter_map(Endpoint::deadline).min();
            let polls = attended.is_some_and(|at| at.elapsed() < self.window.length());
            let timeout = if polls { Some(Duration::ZERO) } else { deadline.map(until) };
            let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
            let ready = wait(&self.epoll, &mut buffer, timeout)?;
            if !polls && let Some(at) = attended.take() {
                self.window.missed(at.elapsed());
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.run_timers();
            }
            for event in ready {
                if event.data.u64() == WAKE {
                    self.take_messages();
                } else if self.dispatch(event, &mut on_event) {
                    attended = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// Whether anything can still happen: a loop without endpoints waits for messages that bring some.
    fn has_work(&self) -> bool {
        self.endpoints.iter().flatten().next().is_none()
            || self.endpoints.iter().flatten().any(|endpoint| !endpoint.is_deserted())
    }

    /// Hands an event to its endpoint. Returns whether a client was attended to.
    fn dispatch(
        &mut self,
        event: &epoll::Event,
        on_event: &mut impl FnMut(EndpointId, Event),
    ) -> bool {
        let data = event.data.u64();
        let (key, token) = ((data >> 32) as u32, data as u32);
        let registry = Registry { epoll: &self.epoll, key };
        // An entry of something that went earlier in this batch finds nobody.
        let Some(Some(endpoint)) = self.endpoints.get_mut(key as usize) else { return false };
        let (happened, attended) = endpoint.ready(token, event.flags, registry, &mut self.scratch);
        if let Some(happened) = happened {
            on_event(EndpointId(key), happened);
        }
        attended
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        for (key, endpoint) in (0..).zip(&mut self.endpoints) {
            if let Some(endpoint) =
                endpoint.as_mut().filter(|it| it.deadline().is_some_and(|at| at <= now))
            {
                endpoint.run_timers(now, Registry { epoll: &self.epoll, key });
            }
        }
    }

    fn take_messages(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.handle.wake, &mut count);
        while let Ok(message) = self.messages.try_recv() {
            message(self);
        }
    }
}

/// Time until `deadline`; never so short that it rounds to an earlier moment.
fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn wait<'a>(
    epoll: &OwnedFd,
    buffer: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<Duration>,
) -> io::Result<&'a [epoll::Event]> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match epoll::wait(epoll, buffer, timeout.as_ref()) {
        Ok((ready, _)) => Ok(ready),
        Err(vfio_device::Errno::INTR) => Ok(&[]),
        Err(errno) => Err(errno.into()),
    }
}
