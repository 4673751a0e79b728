//! The parents that this program has, and their types.

use mbochs::Mbochs;
use mdpy::Mdpy;
use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{Device, Errno, Made, MdevDriver, MdevType, Parent, Vfio};

use crate::control::Failure;
use crate::device_spec::{DeviceSpec, Options};
use crate::errors;
use crate::serial::Port;

/// What the parents have to give away.
#[derive(Clone, Copy, Debug)]
pub struct Pools {
    /// Ports of mtty.
    pub ports: u32,
    /// Instances of mdpy.
    pub displays: u32,
    /// MB of mbochs.
    pub megabytes: u32,
}

/// The samples' own.
impl Default for Pools {
    fn default() -> Self {
        Self {
            ports: mtty::DEFAULT_PORTS,
            displays: mdpy::DEFAULT_MAX,
            megabytes: mbochs::DEFAULT_MEGABYTES,
        }
    }
}

/// The parent that makes a type, by their names.
pub fn parent_of(kind: &str) -> &str {
    kind.split_once('-').map_or(kind, |(parent, _)| parent)
}

/// All parents, over one core.
pub struct Parents {
    all: Vec<(&'static str, Parent)>,
    /// The drivers of the parents of those names, for devices with options.
    mtty: Mtty,
    mdpy: Mdpy,
    mbochs: Mbochs,
}

/// A device, and how to reach what hangs on its ports.
pub struct Created {
    pub device: Device,
    pub ports: Vec<Port>,
}

impl Parents {
    pub fn new() -> Self {
        Self::with(Pools::default())
    }

    pub fn with(pools: Pools) -> Self {
        let vfio = Vfio::new();
        let (mtty, mbochs) = (Mtty::new(pools.ports), Mbochs::new(pools.megabytes));
        let mdpy = Mdpy::new(pools.displays);
        let all = vec![
            ("mtty", Parent::register(&vfio, mtty.clone())),
            ("mdpy", Parent::register(&vfio, mdpy.clone())),
            ("mbochs", Parent::register(&vfio, mbochs.clone())),
        ];
        Self { all, mtty, mdpy, mbochs }
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
        let mut created = self.make_as(spec, Uuid::new_v4(), |made| made)?;
        created
            .device
            .register()
            .map_err(|errno| CreateError::Refused { kind: spec.kind, errno })?;
        Ok(created)
    }

    /// Makes a device of this UUID, to be registered. It can be removed while it is used, so it has irq index REQ, by
    /// which its user can be asked to let it go.
    pub fn make(&self, spec: &DeviceSpec, uuid: Uuid) -> Result<Created, CreateError> {
        self.make_as(spec, uuid, |(description, ops)| (description.request_irq(), ops))
    }

    fn make_as(
        &self,
        spec: &DeviceSpec,
        uuid: Uuid,
        finish: impl FnOnce(Made) -> Made,
    ) -> Result<Created, CreateError> {
        let found: Option<(&'static str, &Parent, &MdevType)> =
            self.iter().find_map(|(name, parent)| Some((name, parent, parent.find(spec.kind)?)));
        let (parent_name, parent, kind) = found.ok_or(CreateError::Unknown(spec.kind))?;
        let refused = |errno| match errno {
            Errno::NOSPC | Errno::USERS => {
                CreateError::Full { kind: kind.name, errno, parent: parent_name }
            }
            _ => CreateError::Refused { kind: kind.name, errno },
        };
        let mut ports = Vec::new();
        let made = match &spec.options {
            Options::None => {
                parent.create_with(kind, uuid, |init| self.mdpy.init(kind, init).map(finish))
            }
            Options::Monitor(monitor) => {
                let options = monitor.options().map_err(CreateError::Options)?;
                parent.create_with(kind, uuid, |init| {
                    self.mbochs.make(kind, &options, init).map(finish)
                })
            }
            Options::Ports(all) => {
                let lines;
                (lines, ports) = all.open().map_err(CreateError::Options)?;
                parent.create_with(kind, uuid, |init| self.mtty.make(kind, lines, init).map(finish))
            }
        };
        Ok(Created { device: made.map_err(refused)?, ports })
    }
}

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("there is no type {0}; `mdev-user types` lists them")]
    Unknown(&'static str),
    #[error(
        "cannot make {kind}: {}: parent {parent} has nothing left for it; ask for fewer devices, \
         `mdev-user types` tells how many there can be", errors::name(*errno)
    )]
    Full { kind: &'static str, errno: Errno, parent: &'static str },
    #[error("{0}")]
    Options(String),
    #[error("cannot make {kind}: {}", errors::describe(*errno))]
    Refused { kind: &'static str, errno: Errno },
}

/// As a manager says it, which others can ask to make room.
impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Full { kind, errno, parent } => {
                let why = format!(
                    "parent {parent} has nothing left for {kind}; remove one of its devices, \
                     `mdev-user list` has them"
                );
                Self::new(errno, why)
            }
            CreateError::Refused { kind, errno } => {
                let why = errors::plain(&errno.into());
                Self::new(errno, format!("cannot make {kind}: {why}"))
            }
            error @ (CreateError::Unknown(_) | CreateError::Options(_)) => {
                Self::invalid(error.to_string())
            }
        }
    }
}
