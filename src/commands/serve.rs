//! `mdev-user serve`: one device on one socket.

use std::error::Error;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use vfio_user_server::{Endpoint, Event, EventLoop, Listener, qemu_device};

use super::{announce, places, shell_word};
use crate::activation::{self, Sockets};
use crate::cli;
use crate::control::{Bound, Devices, Known};
use crate::inherited::{self, Inherited};
use crate::manage::{Allowed, Definition};
use crate::notify::{Notify, ReadyFd};
use crate::parents::{Created, Parents};
use crate::peers::Gate;
use crate::sandbox::Sandbox;
use crate::signals::{self, Ending};

pub fn serve(options: cli::Serve) -> Result<ExitCode, Box<dyn Error>> {
    // Before anything here is opened, which might get the number that an option names.
    let Handed { device: inherited, control: handed_control, ready: ready_fd } =
        Handed::take(&options)?;
    let allowed = Allowed::new(&options.allow_path.directories)?;
    let can_change = handed_control.is_some() || options.control.control_path.is_some();
    let specs = std::slice::from_ref(&options.device);
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.add_devices(specs, can_change.then_some(&allowed));
    sandbox.check()?;
    // A file that it is made of may be waited for: until it is there, signals have their usual effect.
    let Created { device, ports } = Parents::new().create(&options.device)?;
    let ending = Ending::new()?;
    let label = device.object().to_string();
    options.socket.socket_path.iter().for_each(|path| sandbox.files.add_socket(path));
    let source = Source::new(inherited, options.socket.socket_path)?;

    let uids = options.peers.uids();
    let path = options.control.control_path.as_deref();
    let control = Bound::new(path, handed_control, Gate::new(uids.clone()))?;

    path.into_iter().for_each(|path| sandbox.files.add_socket(path));
    let allowed = sandbox.is_on().then(|| allowed.and(specs));

    let mut event_loop = EventLoop::new(options.polling.most())?;
    // All is open, and there is one thread.
    sandbox.enter(None)?;
    let notify = Notify::from_environment();
    let handle = event_loop.handle();
    let stop = handle.clone();
    ending.each(move |signal| {
        log::info!("{}: ending", signals::name(signal));
        stop.stop();
        super::give_up_later();
    })?;

    let places = places(&label, &ports);
    let ready = format!("mdev-user: {label} is ready {}\n{places}", source.describe());
    let socket = source.path().map(Into::into);
    let endpoint = match source {
        Source::Listener { listener, .. } => Endpoint::new(device, listener),
        Source::Client(client) => Endpoint::connected(device, client),
    };
    let mut endpoint = endpoint.with_faults(options.faults.list);
    if let Some(uids) = uids {
        endpoint = endpoint.with_allowed_uids(uids);
    }
    let id = event_loop.add(endpoint)?;
    let made_of = Definition::of(options.device.clone());
    let known = Known::new(&event_loop, id, socket, ports);
    let devices = Devices::new(known.map(|known| known.made_of(Some(made_of))));
    let devices = Arc::new(devices.within(allowed));
    let answered = Arc::clone(&devices);
    let control = control.map(|control| control.answer(answered)).transpose()?;
    announce(ready, options.device.uses_stdio())?;
    ready_fd.into_iter().for_each(ReadyFd::tell);
    notify.ready(&format!("{label}: no client"));
    let mut status = ExitCode::SUCCESS;
    event_loop.run(|id, event| {
        devices.tell_of(id, event);
        match event {
            Event::ClientCame => notify.status(&format!("{label}: in use")),
            Event::ClientLeft if options.once => handle.stop(),
            Event::ClientLeft => notify.status(&format!("{label}: no client")),
            // The log has said it. There is nothing left to serve.
            Event::Faulted => {
                status = ExitCode::FAILURE;
                handle.stop();
            }
            _ => (),
        }
    })?;
    notify.stopping();
    drop(control);
    if let Some(endpoint) = event_loop.remove(id) {
        endpoint.shut_down();
    }
    Ok(status)
}

/// What this process was started with.
struct Handed {
    device: Option<Inherited>,
    control: Option<UnixListener>,
    ready: Option<ReadyFd>,
}

impl Handed {
    fn take(options: &cli::Serve) -> Result<Self, String> {
        let (fd, ready) = (options.socket.fd, options.ready.ready_fd);
        let mut sockets = Sockets::take(&[("--fd", fd), ("--ready-fd", ready)])?;
        let is_activated = !sockets.is_empty();
        let control = sockets.control(false, options.control.control_path.is_some())?;
        let device = sockets.named(activation::DEVICE, true)?;
        sockets.finish("device, control, or no name, which is the device's")?;
        let given = fd.map(|fd| inherited::take(fd, &format!("--fd {fd}"))).transpose()?;
        let named = options.socket.socket_path.is_some() || given.is_some();
        match device {
            Some(_) if named => {
                return Err("LISTEN_FDS has a socket for the device, and so has the command line; leave out --socket-path or --fd".into());
            }
            None if is_activated && !named => {
                return Err("LISTEN_FDS has no socket for the device, only for control; add one, or --socket-path PATH".into());
            }
            Some(_) | None => (),
        }
        let ready = ready.map(ReadyFd::take).transpose()?;
        Ok(Self { device: device.or(given), control, ready })
    }
}

/// Where clients come from.
enum Source {
    Listener { listener: Listener, path: Option<PathBuf> },
    Client(UnixStream),
}

impl Source {
    fn new(inherited: Option<Inherited>, path: Option<PathBuf>) -> Result<Self, Box<dyn Error>> {
        match (inherited, path) {
            (Some(Inherited::Listening(listener)), _) => {
                let path =
                    listener.local_addr().ok().and_then(|it| it.as_pathname().map(Into::into));
                Ok(Self::Listener { listener: Listener::inherited(listener)?, path })
            }
            (Some(Inherited::Connected(client)), _) => Ok(Self::Client(client)),
            (None, Some(path)) => {
                Ok(Self::Listener { listener: Listener::bind(&path)?, path: Some(path) })
            }
            (None, None) => Err("one of --socket-path and --fd is needed".into()),
        }
    }

    /// Where its socket is, if it has a path.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Listener { path, .. } => path.as_deref(),
            Self::Client(_) => None,
        }
    }

    /// How to get at the device, for the line that says that it is ready.
    fn describe(&self) -> String {
        match self {
            Self::Client(_) => "for the client that is connected".into(),
            Self::Listener { path: None, .. } => "on the socket that it was given".into(),
            Self::Listener { path: Some(path), .. } => {
                let shown = path.display();
                match qemu_device(path) {
                    Some(argument) => {
                        let argument = shell_word(&argument);
                        format!("on {shown}\nGive QEMU this argument:\n  -device {argument}")
                    }
                    None => format!("on {shown}\nQEMU can only be told paths that are UTF-8"),
                }
            }
        }
    }
}
