//! Looking at the picture of a device that another process serves.

mod frame;
pub mod png;
mod rect;
mod stability;

use serde_json::Value;
use std::path::PathBuf;

use vfio_device::MemoryView;

use crate::control::client::{Answer, Client, Deadline, Error as ControlError};

pub use frame::{Frame, Layout};
pub use rect::{Mode, Rect};
pub use stability::Stability;

/// How often to look again because the plane was changed in the meantime.
const TRIES: u32 = 20;
/// From which of them on another page of the same memory is no such change: a guest that turns pages all the time is
/// not to be waited for.
const LENIENT: u32 = 3;

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot see the picture: {0}; is the server of this version?")]
    Plane(String),
    #[error("the picture's mode or memory changes all the time; try again")]
    Restless,
}

impl Error {
    /// Whether the next time can be another.
    pub fn can_pass(&self) -> bool {
        match self {
            Self::Control(error) => error.can_pass(),
            Self::Plane(_) => false,
            Self::Restless => true,
        }
    }
}

/// One device's picture, through a control socket.
pub struct Viewer {
    path: PathBuf,
    device: Option<String>,
    /// The connection, while it is good for more.
    client: Option<Client>,
    has_answered: bool,
    /// Its node, once the server has said it.
    node: String,
}

impl Viewer {
    /// Looks at the device of this name, or at the only one.
    pub fn new(path: PathBuf, device: Option<String>) -> Self {
        Self { path, device, client: None, has_answered: false, node: "the device".into() }
    }

    /// What the device is called.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The picture at this moment, all of it in one mode; `None` if there is none. What a guest draws meanwhile may be
    /// half on it. No question is waited for longer than until the deadline. After an error that can pass this can be
    /// called again.
    pub fn look(&mut self, deadline: Deadline) -> Result<Option<Frame>, Error> {
        let mut before = self.plane(deadline)?;
        for number in 1..=TRIES {
            let Some(layout) = Layout::new(&before.value).map_err(Error::Plane)? else {
                return Ok(None);
            };
            let fd =
                before.fd.ok_or_else(|| Error::Plane("its memory did not come along".into()))?;
            let memory = MemoryView::attach(fd, layout.end())
                .map_err(|_| Error::Plane("its memory is not what it should be".into()))?;
            let frame = Frame::copy(&memory, &layout).map_err(Error::Plane)?;
            let after = self.plane(deadline)?;
            let is_turned = || mode(&after.value).is_some_and(|it| Some(it) == mode(&before.value));
            if after.value == before.value || number >= LENIENT && is_turned() {
                return Ok(Some(frame));
            }
            before = after;
        }
        Err(Error::Restless)
    }

    /// The plane as the server has it now.
    fn plane(&mut self, deadline: Deadline) -> Result<Answer, Error> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.path, deadline).map_err(|error| match error {
                // It was there.
                ControlError::Absent { path, .. } if self.has_answered => {
                    ControlError::Ended { path }
                }
                error => error,
            })?,
        };
        let asked = client.ask("plane", self.device.as_deref(), deadline);
        let mut answer = asked.map_err(|error| match error {
            // It was one.
            ControlError::NotOne { path } if self.has_answered => ControlError::Ended { path },
            error => error,
        })?;
        self.client = Some(client);
        self.has_answered = true;
        if let Some(node) = answer.value.get("device").and_then(Value::as_str) {
            self.node = crate::errors::printable(node);
        }
        answer.value = answer.value.get_mut("plane").map(Value::take).unwrap_or_default();
        Ok(answer)
    }
}

/// Which mode it is of: pages of one and the same are turned without a change of this.
fn mode(plane: &Value) -> Option<u64> {
    plane["mode_generation"].as_u64()
}
