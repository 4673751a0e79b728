//! What the fuzz targets reach of the program that no crate below it has: the control socket, and devices as they are
//! written.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::control::{self, Devices};
use crate::device_spec::{self, DeviceSpec};
use crate::manage::{Access, Allowed, Definitions, Handle, Manager, Serving, Tree, channels};
use crate::parents::{Parents, Pools};

/// A manager that runs until the process ends. Its devices may have no files: of those it is asked for none is opened.
pub struct Managed(Arc<Devices>);

impl Managed {
    /// One whose run directory is `directory`, with one loop that does not poll.
    ///
    /// # Errors
    /// When the directory cannot be used, or the threads cannot be started.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let tree = Tree::open(directory, None).map_err(io::Error::other)?;
        let (sender, messages) = channels();
        let parents = Arc::new(Parents::with(Pools::default()));
        let handle = Handle::new(sender, parents, Allowed::default());
        let devices = Arc::new(Devices::managed(handle.clone()));
        let access = Access::new(None, None);
        let serving = Serving { loops: 1, poll: Duration::ZERO, access };
        let definitions = Definitions::default();
        let of_manager = Arc::clone(&devices);
        let mut manager = Manager::new(tree, serving, definitions, of_manager, handle)?;
        thread::Builder::new().name("manager".into()).spawn(move || manager.run(&messages))?;
        Ok(Self(devices))
    }

    /// Answers a client of the control socket, on this thread, until its connection ends.
    ///
    /// # Errors
    /// When that ends by an error.
    pub fn answer(&self, client: UnixStream) -> io::Result<()> {
        control::answer_one(client, &self.0)
    }
}

/// A device as the command line has it: its type, and the options that it has been given, as they would be written.
///
/// # Errors
/// What is wrong with it.
pub fn device(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let (name, options) = device_spec::split(text)?;
    let spec = DeviceSpec::new(&name, &options)?;
    Ok((spec.kind.to_owned(), spec.given()))
}
