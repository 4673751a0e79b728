//! The parents that this program has, and their types.

use mbochs::Mbochs;
use mdpy::Mdpy;
use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{Device, Errno, MdevDriver, MdevType, Parent, Vfio};

use crate::device_spec::{DeviceSpec, Options};
use crate::errors;
use crate::serial::Port;

/// All parents, over one core.
pub struct Parents {
    all: Vec<(&'static str, Parent)>,
    /// The drivers of the parents of those names, for devices with options.
    mtty: Mtty,
    mbochs: Mbochs,
}

/// A device, and how to reach what hangs on its ports.
pub struct Created {
    pub device: Device,
    pub ports: Vec<Port>,
}

impl Parents {
    pub fn new() -> Self {
        let vfio = Vfio::new();
        let (mtty, mbochs) = (Mtty::default(), Mbochs::default());
        let all = vec![
            ("mtty", Parent::register(&vfio, mtty.clone())),
            ("mdpy", Parent::register(&vfio, Mdpy::default())),
            ("mbochs", Parent::register(&vfio, mbochs.clone())),
        ];
        Self { all, mtty, mbochs }
    }

    /// Name of each parent, and the parent.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Parent)> {
        self.all.iter().map(|(name, parent)| (*name, parent))
    }

    /// Names of all types, for the command line.
    pub fn type_names() -> Vec<&'static str> {
        let types =
            [Mtty::default().types(), Mdpy::default().types(), Mbochs::default().types()].concat();
        types.iter().map(|kind| kind.name).collect()
    }

    /// Makes and registers a device, under a UUID of its own.
    pub fn create(&self, spec: &DeviceSpec) -> Result<Created, CreateError> {
        let found: Option<(&'static str, &Parent, &MdevType)> =
            self.iter().find_map(|(name, parent)| Some((name, parent, parent.find(spec.kind)?)));
        let (parent_name, parent, kind) = found.ok_or(CreateError::Unknown(spec.kind))?;
        let refused = |errno| match errno {
            Errno::NOSPC | Errno::USERS => CreateError::Full {
                kind: kind.name,
                errno: errors::name(errno),
                parent: parent_name,
            },
            _ => CreateError::Refused { kind: kind.name, errno: errors::describe(errno) },
        };
        let uuid = Uuid::new_v4();
        let mut ports = Vec::new();
        let made = match &spec.options {
            Options::None => parent.create(kind, uuid),
            Options::Monitor(monitor) => {
                let options = monitor.options().map_err(CreateError::Options)?;
                parent.create_with(kind, uuid, |init| self.mbochs.make(kind, &options, init))
            }
            Options::Ports(all) => {
                let lines;
                (lines, ports) = all.open().map_err(CreateError::Options)?;
                parent.create_with(kind, uuid, |init| self.mtty.make(kind, lines, init))
            }
        };
        let mut device = made.map_err(refused)?;
        device.register().map_err(refused)?;
        Ok(Created { device, ports })
    }
}

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("there is no type {0}; `mdev-user types` lists them")]
    Unknown(&'static str),
    #[error(
        "cannot make {kind}: {errno}: parent {parent} has nothing left for it; ask for fewer devices, \
         `mdev-user types` tells how many there can be"
    )]
    Full { kind: &'static str, errno: String, parent: &'static str },
    #[error("{0}")]
    Options(String),
    #[error("cannot make {kind}: {errno}")]
    Refused { kind: &'static str, errno: String },
}
