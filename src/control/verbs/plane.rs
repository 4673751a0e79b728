//! `plane`: where the picture of a device lies, with the memory that it lies in.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use serde_json::{Value, json};
use vfio_device::{Errno, Plane};

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};
use crate::errors::plain;

pub const VERB: Verb = Verb { name: "plane", members: &["device"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let device = devices.named(request.text("device")?, "--device")?;
    let plane = devices.ask(&device, |endpoint| endpoint.device().display())?;
    let fd = plane.as_ref().map(read_only).transpose()?;
    let plane = plane.as_ref().map(describe);
    Ok(Answer { fd, ..json!({ "device": device.node, "plane": plane }).into() })
}

/// As JSON, without the memory.
pub fn describe(plane: &Plane) -> Value {
    json!({
        "format": fourcc(plane.format),
        "fourcc": plane.format,
        "width": plane.width,
        "height": plane.height,
        "stride": plane.stride,
        "offset": plane.offset,
        "size": plane.size,
        "generation": plane.generation,
        "mode_generation": plane.mode_generation,
    })
}

/// The four characters, a dot for each that cannot be printed.
fn fourcc(format: u32) -> String {
    let characters = format.to_le_bytes().map(char::from);
    characters.map(|it| if it.is_ascii_graphic() || it == ' ' { it } else { '.' }).iter().collect()
}

/// The memory, open for reading only: a viewer that goes wrong cannot write to it. Opened anew, so that no two viewers
/// share a file offset and flags; but once a client has taken its mode away, that is refused to all but root, and the
/// one that was opened at the beginning is what there is.
fn read_only(plane: &Plane) -> Result<OwnedFd, Failure> {
    let reader = plane.memory.reader().map_err(|errno| not_handed_over(&errno.into()))?;
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::ACCESS) => reader.try_clone_to_owned().map_err(|error| not_handed_over(&error)),
        Err(errno) => Err(not_handed_over(&errno.into())),
    }
}

fn not_handed_over(error: &io::Error) -> Failure {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::INVAL);
    Failure::new(errno, format!("the memory cannot be handed over: {}", plain(error)))
}
