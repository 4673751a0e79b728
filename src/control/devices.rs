//! The devices that a control socket is about, and how their loop is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use vfio_device::{Errno, Uuid};
use vfio_user_server::{Endpoint, EndpointId, EventLoop, LoopHandle};

use super::reply::Failure;
use crate::serial::Port;

/// How long the loop may take to answer. It answers between two accesses of a guest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device on the loop, by what does not change. A reference to it would keep it from being released.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: EndpointId,
    pub node: String,
    pub kind: Option<&'static str>,
    pub uuid: Option<Uuid>,
    pub socket: Option<PathBuf>,
    /// How to reach its serial ports, if it has any.
    pub ports: Vec<Port>,
}

impl Known {
    /// The device that the loop has by this number, served at `socket`, if that has a path.
    pub fn new(
        event_loop: &EventLoop,
        id: EndpointId,
        socket: Option<PathBuf>,
        ports: Vec<Port>,
    ) -> Option<Self> {
        let object = event_loop.get(id)?.device().object();
        let mdev = object.mdev();
        let (kind, uuid) = (mdev.map(|mdev| mdev.kind().name), mdev.map(|mdev| mdev.uuid()));
        Some(Self { id, node: object.name().into(), kind, uuid, socket, ports })
    }

    fn has_name(&self, name: &str) -> bool {
        self.node == name || self.uuid.is_some() && Uuid::try_parse(name).ok() == self.uuid
    }
}

/// All devices of a control socket.
pub struct Devices {
    event_loop: LoopHandle,
    known: Vec<Known>,
    patience: Duration,
}

impl Devices {
    pub fn new(event_loop: LoopHandle, known: Vec<Known>) -> Self {
        Self { event_loop, known, patience: PATIENCE }
    }

    pub fn all(&self) -> &[Known] {
        &self.known
    }

    /// The one that a request is about. Where there is one alone it need not be named.
    pub fn named(&self, name: Option<&str>) -> Result<&Known, Failure> {
        let names = || self.known.iter().map(|it| it.node.as_str()).collect::<Vec<_>>().join(", ");
        match (name, self.known.as_slice()) {
            (None, [only]) => Ok(only),
            (None, []) => Err(Failure::new(Errno::NODEV, "there is no device")),
            (None, _) => {
                let names = names();
                Err(Failure::invalid(format!("name a 'device' (--device), one of {names}")))
            }
            (Some(name), known) => known.iter().find(|it| it.has_name(name)).ok_or_else(|| {
                let why = format!("there is no device '{name}', the devices are {}", names());
                Failure::new(Errno::NODEV, why)
            }),
        }
    }

    /// Has `what` look at a device, between two accesses of a guest: it is to copy, and nothing else.
    pub fn ask<T: Send + 'static>(
        &self,
        device: &Known,
        what: impl FnOnce(&Endpoint) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let id = device.id;
        let (sender, receiver) = sync_channel(1);
        self.event_loop.post(move |event_loop| {
            // What a device is asked here can panic, and its neighbours have no part in that.
            let ask = AssertUnwindSafe(|| event_loop.get(id).map(what));
            let _ = sender.try_send(catch_unwind(ask).map_err(|_| ()));
        });
        let (node, patience) = (&device.node, self.patience);
        match receiver.recv_timeout(patience) {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => {
                Err(Failure::new(Errno::NODEV, format!("{node} is not served any more")))
            }
            Ok(Err(())) => Err(Failure::new(Errno::NODEV, format!("{node} failed at this"))),
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("the server did not come to it within {patience:?}");
                Err(Failure::new(Errno::AGAIN, why))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::new(Errno::AGAIN, "the server is ending"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread;

    use vfio_device::{BAR0, BarKind, Context, Description, Plane, Region, Vfio, VfioDevice};

    use super::*;

    /// A device that panics when somebody wants to see its picture.
    struct Shy;

    impl VfioDevice for Shy {
        fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
        fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
        fn reset(&mut self, _: &mut Context) {}
        fn display(&self) -> Option<Plane> {
            panic!("a device's own fault")
        }
    }

    /// A loop with one such device, which has a client at the other end of the socket.
    fn shy() -> (EventLoop, Devices, UnixStream) {
        let what = Description::pci(1, 1).bar(0, BarKind::Memory32, Region::trapped(16));
        let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Shy)))).unwrap();
        device.register().unwrap();
        let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let id = event_loop.add(Endpoint::connected(device, theirs)).unwrap();
        let known = Known::new(&event_loop, id, None, Vec::new()).into_iter().collect();
        let devices = Devices::new(event_loop.handle(), known);
        (event_loop, devices, ours)
    }

    fn failure<T>(result: Result<T, Failure>) -> (Errno, String) {
        let Failure { errno, message } = result.map(|_| ()).unwrap_err();
        (errno, message)
    }

    #[test]
    fn a_loop_that_does_not_come_to_it_is_not_waited_for() {
        let (event_loop, mut devices, _client) = shy();
        devices.patience = Duration::from_millis(200);
        let result = devices.ask(devices.named(None).unwrap(), |_| ());
        assert_eq!(
            failure(result),
            (Errno::AGAIN, "the server did not come to it within 200ms".into())
        );
        drop(event_loop);
    }

    #[test]
    fn a_loop_that_has_ended_is_said_to_end() {
        let (event_loop, devices, _client) = shy();
        drop(event_loop);
        let result = devices.ask(devices.named(None).unwrap(), |_| ());
        assert_eq!(failure(result), (Errno::AGAIN, "the server is ending".into()));
    }

    #[test]
    fn a_device_that_panics_when_it_is_asked_harms_neither_loop_nor_asker() {
        let (sender, receiver) = channel();
        let serving = thread::spawn(move || {
            let (mut event_loop, devices, _client) = shy();
            sender.send((devices, event_loop.handle())).unwrap();
            event_loop.run(|_, _| ()).unwrap();
        });
        let (devices, event_loop) = receiver.recv().unwrap();
        let device = devices.named(Some("vfio0")).unwrap();
        let first = devices.ask(device, |endpoint| endpoint.device().display().is_some());
        assert_eq!(failure(first), (Errno::NODEV, "vfio0 failed at this".into()));
        let size = devices.ask(device, |it| it.device().region(BAR0).map(Region::size));
        assert_eq!(size, Ok(Some(16)));
        // It goes.
        let id = device.id;
        event_loop.post(move |event_loop| drop(event_loop.remove(id)));
        let last = devices.ask(device, |_| ());
        assert_eq!(failure(last), (Errno::NODEV, "vfio0 is not served any more".into()));
        event_loop.stop();
        serving.join().unwrap();
    }
}
