//! What can be asked for when a device is made.

use std::fmt;

use vfio_device::MdevType;

use crate::edid::{Edid, LARGEST, SMALLEST};
use crate::types::Model;

/// What a device is made with beside its type.
///
/// ```
/// use mbochs::vfio_device::MdevDriver;
/// use mbochs::{Mbochs, Options};
///
/// let driver = Mbochs::default();
/// let [small, medium, ..] = driver.types() else { panic!() };
/// let options = Options { xres: Some(1600), yres: Some(900), ..Options::default() };
/// assert_eq!(options.edid(medium).unwrap().unwrap().bytes().len(), 128);
/// assert_eq!(options.check(small).unwrap_err().to_string(), "mbochs-small shows 800x600 at most, not 1600x900");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Width in pixels of the mode that a made EDID prefers; `None` for the type's (800, 1280, 1280).
    pub xres: Option<u32>,
    /// Its height; `None` for the type's (600, 800, 800).
    pub yres: Option<u32>,
    /// Where the EDID comes from.
    pub edid: EdidSource,
}

/// Where the EDID comes from that a guest finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdidSource {
    /// It is made, for a monitor that shows the preferred mode at 60 Hz.
    #[default]
    Auto,
    /// There is none until a client brings one, as with the sample.
    Off,
    /// This one.
    Blob(Edid),
}

impl Options {
    /// Whether a device of this type can be made with them.
    ///
    /// # Errors
    /// [`OptionsError`] says in words why not.
    pub fn check(&self, kind: &MdevType) -> Result<(), OptionsError> {
        self.edid(kind).map(drop)
    }

    /// The EDID that a device of this type begins with; `None` if it has none.
    ///
    /// A preferred mode is 400 to 4095 pixels each way, no larger than the type's largest, and fits into video memory
    /// twice: a guest's bochs-drm would drop it otherwise.
    ///
    /// # Errors
    /// [`OptionsError`] says in words why there is no such device.
    pub fn edid(&self, kind: &MdevType) -> Result<Option<Edid>, OptionsError> {
        let model = Model::of(kind).ok_or(OptionsError::Type(kind.name))?;
        match &self.edid {
            EdidSource::Auto => self.generate(model).map(Some),
            _ if self.xres.or(self.yres).is_some() => Err(OptionsError::WithoutAuto),
            EdidSource::Off => Ok(None),
            EdidSource::Blob(edid) => Ok(Some(edid.clone())),
        }
    }

    fn generate(&self, model: &Model) -> Result<Edid, OptionsError> {
        let (width, height) =
            (self.xres.unwrap_or(model.preferred.0), self.yres.unwrap_or(model.preferred.1));
        for (name, value) in [("xres", width), ("yres", height)] {
            if !(SMALLEST..=LARGEST).contains(&value) {
                return Err(OptionsError::Range { name, value });
            }
        }
        let name = model.kind.name;
        if !model.allows(width, height) {
            return Err(OptionsError::TypeMaximum { name, max: model.max, asked: (width, height) });
        }
        let too_large =
            OptionsError::Memory { name, megabytes: model.megabytes, asked: (width, height) };
        if !model.fits_twice(width, height) {
            return Err(too_large);
        }
        let usable = |width, height| model.allows(width, height) && model.fits_twice(width, height);
        Edid::generate(name, (width, height), usable).ok_or(too_large)
    }
}

/// Why no device can be made with some options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// A type of another driver.
    Type(&'static str),
    /// A width or height that no monitor has, or that an EDID cannot tell.
    Range {
        /// `xres` or `yres`.
        name: &'static str,
        /// What was asked for.
        value: u32,
    },
    /// More than the type's largest mode.
    TypeMaximum {
        /// The type.
        name: &'static str,
        /// Its largest.
        max: (u32, u32),
        /// What was asked for.
        asked: (u32, u32),
    },
    /// More than half of the video memory.
    Memory {
        /// The type.
        name: &'static str,
        /// What it has.
        megabytes: u32,
        /// What was asked for.
        asked: (u32, u32),
    },
    /// A preferred mode, and no EDID to be made.
    WithoutAuto,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(name) => write!(f, "{name} is not a type of mbochs"),
            Self::Range { name, value } => {
                write!(f, "{name} is {SMALLEST} to {LARGEST}, not {value}")
            }
            Self::TypeMaximum { name, max, asked } => {
                write!(f, "{name} shows {}x{} at most, not {}x{}", max.0, max.1, asked.0, asked.1)
            }
            Self::Memory { name, megabytes, asked } => write!(
                f,
                "{}x{} takes more than half of the {megabytes} MB of {name}, and guests would not use it",
                asked.0, asked.1
            ),
            Self::WithoutAuto => {
                write!(f, "xres and yres are for an EDID that is made, so they need edid=auto")
            }
        }
    }
}

impl std::error::Error for OptionsError {}
