//! The parents that this program has, and their types.

use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{Device, Errno, MdevDriver, MdevType, Parent, Vfio};

/// All parents, over one core.
pub struct Parents {
    all: Vec<(&'static str, Parent)>,
}

impl Parents {
    pub fn new() -> Self {
        let vfio = Vfio::new();
        Self { all: vec![("mtty", Parent::register(&vfio, Mtty::default()))] }
    }

    /// Name of each parent, and the parent.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Parent)> {
        self.all.iter().map(|(name, parent)| (*name, parent))
    }

    /// Names of all types, for the command line.
    pub fn type_names() -> Vec<&'static str> {
        Mtty::default().types().iter().map(|kind| kind.name).collect()
    }

    /// Makes and registers a device of a type, under a UUID of its own.
    pub fn create(&self, kind: &str) -> Result<Device, CreateError> {
        let found: Option<(&Parent, &MdevType)> =
            self.iter().find_map(|(_, parent)| Some((parent, parent.find(kind)?)));
        let (parent, kind) = found.ok_or_else(|| CreateError::Unknown(kind.into()))?;
        let mut device =
            parent.create(kind, Uuid::new_v4()).map_err(|errno| CreateError::Refused {
                kind: kind.name,
                errno,
                available: parent.available_instances(kind),
            })?;
        device.register().map_err(|errno| CreateError::Refused {
            kind: kind.name,
            errno,
            available: 0,
        })?;
        Ok(device)
    }
}

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("there is no type {0}; `mdev-user types` lists them")]
    Unknown(String),
    #[error(
        "cannot make a {kind} device: {errno} ({available} more instances of the type can be made)"
    )]
    Refused { kind: &'static str, errno: Errno, available: u32 },
}
