//! Looking at the picture of a device that another process serves.

mod frame;
pub mod png;
mod rect;
mod stability;

use serde_json::Value;
use std::path::Path;
use vfio_device::MemoryView;

use crate::control::client::{Answer, Client, Deadline, Error as ControlError};

pub use frame::{Frame, Layout};
pub use rect::{Mode, Rect};
pub use stability::Stability;

/// How often to look again because the mode was changed in the meantime.
const TRIES: u32 = 20;

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot see the picture: {0}; is the server of this version?")]
    Plane(String),
    #[error("the picture's mode changes all the time; try again")]
    Restless,
}

impl Error {
    /// Whether it can be another thing the next time.
    pub fn can_pass(&self) -> bool {
        matches!(self, Self::Control(error) if error.can_pass())
    }
}

/// One device's picture, through a control socket.
pub struct Viewer {
    client: Client,
    device: Option<String>,
    /// Its node, once the server has said it.
    node: String,
}

impl Viewer {
    /// Looks at the device of this name, or at the only one.
    pub fn connect(path: &Path, device: Option<String>, deadline: Deadline) -> Result<Self, Error> {
        Ok(Self { client: Client::connect(path, deadline)?, device, node: "the device".into() })
    }

    /// What the device is called.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The picture at this moment, all of it in one mode; `None` if there is none. What a guest draws meanwhile may be
    /// half on it. No question is waited for longer than until the deadline.
    pub fn look(&mut self, deadline: Deadline) -> Result<Option<Frame>, Error> {
        for _ in 0..TRIES {
            let Answer { value, fd } = self.plane(deadline)?;
            let Some(layout) = Layout::new(&value).map_err(Error::Plane)? else {
                return Ok(None);
            };
            let fd = fd.ok_or_else(|| Error::Plane("its memory did not come along".into()))?;
            let memory = MemoryView::attach(fd, layout.end())
                .map_err(|_| Error::Plane("its memory is not what it should be".into()))?;
            let frame = Frame::copy(&memory, &layout).map_err(Error::Plane)?;
            if self.plane(deadline)?.value == value {
                return Ok(Some(frame));
            }
        }
        Err(Error::Restless)
    }

    /// The plane as the server has it now.
    fn plane(&mut self, deadline: Deadline) -> Result<Answer, Error> {
        let mut answer = self.client.ask("plane", self.device.as_deref(), deadline)?;
        if let Some(node) = answer.value.get("device").and_then(Value::as_str) {
            self.node = crate::control::client::printable(node);
        }
        answer.value = answer.value.get_mut("plane").map(Value::take).unwrap_or_default();
        Ok(answer)
    }
}
