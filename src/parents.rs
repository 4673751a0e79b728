//! The parents that this program has, and their types.

use mbochs::Mbochs;
use mdpy::Mdpy;
use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{Device, Errno, MdevDriver, MdevType, Parent, Vfio};

use crate::device_spec::DeviceSpec;
use crate::errors;

/// All parents, over one core.
pub struct Parents {
    all: Vec<(&'static str, Parent)>,
    /// The driver of the parent of that name, for devices with options.
    mbochs: Mbochs,
}

impl Parents {
    pub fn new() -> Self {
        let vfio = Vfio::new();
        let mtty = Parent::register(&vfio, Mtty::default());
        let mdpy = Parent::register(&vfio, Mdpy::default());
        let driver = Mbochs::default();
        let mbochs = Parent::register(&vfio, driver.clone());
        Self { all: vec![("mtty", mtty), ("mdpy", mdpy), ("mbochs", mbochs)], mbochs: driver }
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
    pub fn create(&self, spec: &DeviceSpec) -> Result<Device, CreateError> {
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
        let made = if parent_name == "mbochs" {
            let options = spec.monitor.options().map_err(CreateError::Options)?;
            parent.create_with(kind, uuid, |init| self.mbochs.make(kind, &options, init))
        } else {
            parent.create(kind, uuid)
        };
        let mut device = made.map_err(refused)?;
        device.register().map_err(refused)?;
        Ok(device)
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
