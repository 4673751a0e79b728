//! The types, and what each can show.

use vfio_device::MdevType;

/// A size of the card.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) kind: MdevType,
    /// Video memory in MB (of 2^20 bytes).
    pub(crate) megabytes: u32,
    /// The widest and highest mode, in pixels; 0 for no limit.
    pub(crate) max: (u32, u32),
    /// The preferred mode, unless said otherwise.
    pub(crate) preferred: (u32, u32),
}

/// The preferred mode of `small` is its largest. The others have the one that QEMU's displays begin with, which is not the
/// one that bochs-drm takes without EDID (1024x768): so that anybody can see that it is in use.
pub(crate) const MODELS: [Model; 3] = [
    Model {
        kind: MdevType {
            name: "mbochs-small",
            pretty_name: "mbochs-small",
            description: Some("virtual display, 4 MB video memory"),
        },
        megabytes: 4,
        max: (800, 600),
        preferred: (800, 600),
    },
    Model {
        kind: MdevType {
            name: "mbochs-medium",
            pretty_name: "mbochs-medium",
            description: Some("virtual display, 16 MB video memory"),
        },
        megabytes: 16,
        max: (1920, 1440),
        preferred: (1280, 800),
    },
    Model {
        kind: MdevType {
            name: "mbochs-large",
            pretty_name: "mbochs-large",
            description: Some("virtual display, 64 MB video memory"),
        },
        megabytes: 64,
        max: (0, 0),
        preferred: (1280, 800),
    },
];
pub(crate) const TYPES: [MdevType; 3] = [MODELS[0].kind, MODELS[1].kind, MODELS[2].kind];

impl Model {
    /// The one of a type, if it is one of ours.
    pub(crate) fn of(kind: &MdevType) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.kind == *kind)
    }

    /// Bytes of video memory.
    pub(crate) fn memory(&self) -> u64 {
        u64::from(self.megabytes) << 20
    }

    /// Whether a mode is within the type's widest and highest.
    pub(crate) fn allows(&self, width: u32, height: u32) -> bool {
        let within = |value: u32, max: u32| max == 0 || value <= max;
        within(width, self.max.0) && within(height, self.max.1)
    }

    /// Whether two pictures of a mode fit into video memory. Linux's bochs-drm drops a mode if not.
    pub(crate) fn fits_twice(&self, width: u32, height: u32) -> bool {
        4 * u64::from(width) * u64::from(height) <= self.memory() / 2
    }
}
