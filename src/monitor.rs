//! The options of an mbochs display, as the command line has them: what monitor is plugged in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use mbochs::spec::EDID_WINDOW_SIZE;
use mbochs::{Edid, EdidSource, Mbochs, Options};
use vfio_device::{MdevDriver, MdevType};

use crate::errors::plain;

/// The options' names.
pub const NAMES: [&str; 3] = ["xres", "yres", "edid"];

/// A monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitor {
    xres: Option<u32>,
    yres: Option<u32>,
    edid: Option<Source>,
}

/// Where its EDID comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Auto,
    Off,
    File(PathBuf),
}

impl Monitor {
    /// Whether types of this name can have one.
    pub fn is_for(kind: &str) -> bool {
        type_of(kind).is_some()
    }

    /// Sets an option, one of [`NAMES`].
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        let is_set = match option {
            "xres" => self.xres.is_some(),
            "yres" => self.yres.is_some(),
            _ => self.edid.is_some(),
        };
        if is_set {
            return Err(format!("option '{option}' is there twice"));
        }
        let pixels = || match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{option} is a number of pixels, not '{value}'")),
        };
        match option {
            "xres" => self.xres = pixels()?,
            "yres" => self.yres = pixels()?,
            _ => {
                self.edid = Some(match value {
                    "" => return Err("edid is auto, off or the path of a file".into()),
                    "auto" => Source::Auto,
                    "off" => Source::Off,
                    path => Source::File(path.into()),
                });
            }
        }
        Ok(())
    }

    /// What has been given of it, as it would be written.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        let edid = self.edid.as_ref().map(|edid| match edid {
            Source::Auto => "auto".to_owned(),
            Source::Off => "off".to_owned(),
            Source::File(path) => path.to_string_lossy().into_owned(),
        });
        let pixels = |pixels: Option<u32>| pixels.map(|pixels| pixels.to_string());
        let values = [pixels(self.xres), pixels(self.yres), edid];
        NAMES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }

    /// Whether a device of this type can be made with it, as far as that can be said without looking at a file.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn check(&self, kind: &str) -> Result<(), String> {
        let Some(kind) = type_of(kind) else { return Ok(()) };
        // Whatever is in a file, it is not made.
        self.with(|_| Ok(EdidSource::Off))?.check(&kind).map_err(|error| error.to_string())
    }

    /// The file that it is made of, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.edid {
            Some(Source::File(path)) => Some(path.clone()),
            None | Some(Source::Auto | Source::Off) => None,
        }
    }

    /// The EDID that a device of this type is to have, if any. Reads the file, which must not make anybody wait.
    ///
    /// # Errors
    /// A sentence about the file, or about what does not go together.
    pub fn made(&self, kind: &str) -> Result<Option<Edid>, String> {
        let kind = type_of(kind).ok_or_else(|| format!("{kind} has no monitor"))?;
        if let Some(path) = self.file()
            && path.metadata().is_ok_and(|found| !found.is_file())
        {
            return Err(format!("{} is no regular file", path.display()));
        }
        self.options()?.edid(&kind).map_err(|error| error.to_string())
    }

    /// What mbochs is to be told. Reads the file.
    ///
    /// # Errors
    /// A sentence about the file.
    pub fn options(&self) -> Result<Options, String> {
        self.with(read)
    }

    fn with(&self, file: impl Fn(&Path) -> Result<EdidSource, String>) -> Result<Options, String> {
        let edid = match &self.edid {
            None | Some(Source::Auto) => EdidSource::Auto,
            Some(Source::Off) => EdidSource::Off,
            Some(Source::File(path)) => file(path)?,
        };
        Ok(Options { xres: self.xres, yres: self.yres, edid })
    }
}

/// Whether this option, when it is set, takes another one away: a preferred mode is one of an EDID that is made.
pub fn displaces(option: &str, value: &str, other: &str) -> bool {
    option == "edid" && value != "auto" && matches!(other, "xres" | "yres")
}

fn type_of(name: &str) -> Option<MdevType> {
    Mbochs::default().types().iter().find(|kind| kind.name == name).copied()
}

/// One byte more than there can be is enough to know that there are too many.
fn read(path: &Path) -> Result<EdidSource, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(EDID_WINDOW_SIZE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the EDID in {shown}: {}", plain(&error)))?;
    if bytes.len() > EDID_WINDOW_SIZE {
        return Err(format!("{shown} is no EDID: it has more than {EDID_WINDOW_SIZE} bytes"));
    }
    Edid::from_bytes(&bytes)
        .map(EdidSource::Blob)
        .map_err(|error| format!("{shown} is no EDID: {error}"))
}
