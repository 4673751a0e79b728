//! `mdev-user serve`: one device on one socket.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use vfio_user_server::{Endpoint, Event, EventLoop, Listener};

use super::{device_argument, shell_word};
use crate::inherited::{self, Inherited};
use crate::parents::Parents;
use crate::{cli, signals};

pub fn serve(options: cli::Serve) -> Result<ExitCode, Box<dyn Error>> {
    let source = Source::open(&options.socket)?;
    let device = Parents::new().create(&options.kind)?;
    let label = device.object().to_string();

    let mut event_loop = EventLoop::new(options.polling.most())?;
    let handle = event_loop.handle();
    let stop = handle.clone();
    signals::on_end(move |signal| {
        log::info!("signal {signal}: ending");
        stop.stop();
    })?;

    let ready = source.to_string();
    let endpoint = match source {
        Source::Listener(listener) => Endpoint::new(device, listener),
        Source::Client(client) => Endpoint::connected(device, client),
    };
    let id = event_loop.add(endpoint)?;
    // A pipe that nobody reads any more is no reason to end.
    let _ = writeln!(std::io::stdout(), "mdev-user: {label} is ready {ready}");
    let mut faulted = false;
    event_loop.run(|_, event| match event {
        Event::ClientLeft if options.once => handle.stop(),
        Event::Faulted => {
            faulted = true;
            handle.stop();
        }
        _ => (),
    })?;
    if let Some(endpoint) = event_loop.remove(id) {
        endpoint.shut_down();
    }
    Ok(if faulted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where clients come from.
enum Source {
    Listener(Listener),
    Client(UnixStream),
}

impl Source {
    fn open(socket: &cli::Socket) -> Result<Self, Box<dyn Error>> {
        match (&socket.socket_path, socket.fd) {
            (_, Some(fd)) => Ok(match inherited::take(fd)? {
                Inherited::Listening(listener) => Self::Listener(Listener::inherited(listener)?),
                Inherited::Connected(client) => Self::Client(client),
            }),
            (Some(path), None) => Ok(Self::Listener(Listener::bind(path)?)),
            (None, None) => Err("one of --socket-path and --fd is needed".into()),
        }
    }
}

/// How to get at the device, for the line that says that it is ready.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(_) => f.write_str("for the client that is connected"),
            Self::Listener(listener) => match listener.path() {
                Some(path) => {
                    let argument = shell_word(&device_argument(path));
                    write!(
                        f,
                        "on {}\nGive QEMU this argument:\n  -device {argument}",
                        path.display()
                    )
                }
                None => f.write_str("on the socket that it was given"),
            },
        }
    }
}
