//! The options of an mbochs display, as the command line has them: what monitor is plugged in.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use mbochs::spec::EDID_WINDOW_SIZE;
use mbochs::{Edid, EdidSource, Mbochs, Options};
use rustix::fs::{FileType, fstat};
use rustix::io::pread;
use vfio_device::{MdevDriver, MdevType};

use crate::errors::plain;

/// The options' names.
pub const NAMES: [&str; 3] = ["xres", "yres", EDID];
/// That of them which can name a file.
pub const EDID: &str = "edid";
/// What stands in front of an EDID's bytes, where they are written out.
const HEX: &str = "hex:";

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
    /// It is this one.
    Bytes(Edid),
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
                    text => match text.strip_prefix(HEX) {
                        Some(digits) => Source::Bytes(from_hex(digits)?),
                        None => Source::File(text.into()),
                    },
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
            Source::Bytes(edid) => to_hex(edid),
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
            None | Some(Source::Auto | Source::Off | Source::Bytes(_)) => None,
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
        self.with(open)
    }

    fn with(&self, file: impl Fn(&Path) -> Result<EdidSource, String>) -> Result<Options, String> {
        let edid = match &self.edid {
            None | Some(Source::Auto) => EdidSource::Auto,
            Some(Source::Off) => EdidSource::Off,
            Some(Source::File(path)) => file(path)?,
            Some(Source::Bytes(edid)) => EdidSource::Blob(edid.clone()),
        };
        Ok(Options { xres: self.xres, yres: self.yres, edid })
    }
}

/// Whether this option, when it is set, takes another one away: a preferred mode is one of an EDID that is made.
pub fn displaces(option: &str, value: &str, other: &str) -> bool {
    option == "edid" && value != "auto" && matches!(other, "xres" | "yres")
}

/// The file that this option names, if it is one that does.
pub fn file(option: &str, value: &str) -> Option<PathBuf> {
    let mut monitor = Monitor::default();
    // What is wrong with another one is for whoever is asked for it.
    (option == EDID && monitor.set(option, value).is_ok()).then(|| monitor.file()).flatten()
}

/// The option's value that stands for what is in a file that was handed over as `shown`. Reads it, and waits for nobody
/// but its file system.
///
/// # Errors
/// A sentence about the file.
pub fn read_handed(file: BorrowedFd<'_>, shown: &str) -> Result<String, String> {
    let stat = fstat(file).map_err(|errno| unreadable(shown, &errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("{shown} is no regular file"));
    }
    // Wherever the client has come to in it.
    read(|bytes, at| Ok(pread(file, bytes, at)?), shown).map(|edid| to_hex(&edid))
}

fn to_hex(edid: &Edid) -> String {
    let digits = edid.bytes().iter().map(|byte| format!("{byte:02x}"));
    HEX.chars().chain(digits.collect::<String>().chars()).collect()
}

fn from_hex(digits: &str) -> Result<Edid, String> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks();
    let byte = |[high, low]: &[u8; 2]| Some(nibble(high)? << 4 | nibble(low)?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let bytes = bytes.filter(|_| rest.is_empty()).ok_or_else(|| {
        format!("behind {HEX} there are the EDID's bytes, each two hexadecimal digits")
    })?;
    Edid::from_bytes(&bytes).map_err(|error| format!("{HEX}... is no EDID: {error}"))
}

fn type_of(name: &str) -> Option<MdevType> {
    Mbochs::default().types().iter().find(|kind| kind.name == name).copied()
}

fn open(path: &Path) -> Result<EdidSource, String> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
    read(|bytes, _| (&file).read(bytes), &shown).map(EdidSource::Blob)
}

/// From where there is some of it: to these bytes, from this place on.
fn read(more: impl Fn(&mut [u8], u64) -> io::Result<usize>, shown: &str) -> Result<Edid, String> {
    // One byte more than there can be is enough to know that there are too many.
    let mut bytes = [0; EDID_WINDOW_SIZE + 1];
    let mut size = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(size..) {
        match more(rest, size as u64) {
            Ok(0) => break,
            Ok(count) => size += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(unreadable(shown, &error)),
        }
    }
    if size > EDID_WINDOW_SIZE {
        return Err(format!("{shown} is no EDID: it has more than {EDID_WINDOW_SIZE} bytes"));
    }
    Edid::from_bytes(bytes.get(..size).unwrap_or_default())
        .map_err(|error| format!("{shown} is no EDID: {error}"))
}

fn unreadable(shown: &str, error: &io::Error) -> String {
    format!("cannot read the EDID in {shown}: {}", plain(error))
}
