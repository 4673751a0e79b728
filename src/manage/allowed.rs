//! Which files devices may have that are made at run time. Who asks for them is not who opens them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vfio_device::Errno;

use super::own::Own;
use crate::control::Failure;
use crate::device_spec::{DeviceSpec, Named};
use crate::errors::plain;

/// Directories below which files may be, but for what is the manager's own.
#[derive(Debug, Default)]
pub struct Allowed {
    directories: Vec<PathBuf>,
    own: Own,
    /// Files that may be as well.
    named: Vec<PathBuf>,
}

impl Allowed {
    /// # Errors
    /// A sentence that says which directory there is not.
    pub fn new(directories: &[PathBuf]) -> Result<Self, String> {
        let resolve = |path: &PathBuf| {
            let found = path.canonicalize().and_then(|it| Ok((it.metadata()?.is_dir(), it)));
            match found {
                Ok((true, path)) => Ok(path),
                Ok((false, _)) => {
                    Err(format!("--allow-path {}: it is no directory", path.display()))
                }
                Err(error) => Err(format!("--allow-path {}: {}", path.display(), plain(&error))),
            }
        };
        directories
            .iter()
            .map(resolve)
            .collect::<Result<_, _>>()
            .map(|directories| Self { directories, ..Self::default() })
    }

    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The same, and what these devices name.
    pub fn and(self, devices: &[DeviceSpec]) -> Self {
        let files = devices.iter().flat_map(DeviceSpec::files);
        let named = files.filter_map(|file| resolve(&file).ok()).collect();
        Self { named, ..self }
    }

    /// All of that but this.
    pub fn but(self, own: Own) -> Self {
        Self { own, ..self }
    }

    /// Whether a device may have all that it names.
    ///
    /// # Errors
    /// `EACCES` with the way out, `EINVAL` for what cannot be.
    pub fn check(&self, spec: &DeviceSpec) -> Result<(), Failure> {
        if spec.uses_stdio() {
            let why = "stdio would be the manager's own; use pty, unix:PATH or tcp:HOST:PORT";
            return Err(Failure::invalid(why));
        }
        spec.files().into_iter().try_for_each(|file| self.check_file(&file))
    }

    /// Whether a device that is there may be given all of this. What there is not is left to who opens it.
    ///
    /// # Errors
    /// `EACCES` with the way out.
    pub fn check_change(&self, change: &DeviceSpec) -> Result<(), Failure> {
        let is_allowed = |file: &Named| {
            resolve(file).map_or(true, |place| self.has(&place) || self.named.contains(&place))
        };
        match change.files().iter().find(|file| !is_allowed(file)) {
            Some(file) => Err(elsewhere(file.path(), "server")),
            None => Ok(()),
        }
    }

    fn has(&self, place: &Path) -> bool {
        self.directories.iter().any(|directory| place.starts_with(directory))
    }

    fn check_file(&self, file: &Named) -> Result<(), Failure> {
        let path = file.path();
        let shown = path.display();
        if !path.is_absolute() {
            let why = format!("{shown}: for a manager a path begins with /");
            return Err(Failure::invalid(why));
        }
        let place = resolve(file).map_err(|error| {
            let why = format!("{shown}: {}", plain(&error));
            Failure::new(Errno::from_io_error(&error).unwrap_or(Errno::INVAL), why)
        })?;
        if !self.has(&place) {
            return Err(elsewhere(path, "manager"));
        }
        if let Some(what) = self.own.at(&place) {
            let why =
                format!("{shown} is the manager's own ({what}), and no device's; use another path");
            return Err(Failure::new(Errno::ACCESS, why));
        }
        // Opening anything else can take for ever.
        if matches!(file, Named::Read(_)) && !fs::metadata(&place).is_ok_and(|it| it.is_file()) {
            return Err(Failure::invalid(format!("{shown} is no regular file")));
        }
        Ok(())
    }
}

fn elsewhere(path: &Path, who: &str) -> Failure {
    let shown = path.display();
    let why = format!(
        "{shown} is not below a directory that the {who} was given as --allow-path; \
         use one that is, or start the {who} with it"
    );
    Failure::new(Errno::ACCESS, why)
}

/// Where a path leads.
fn resolve(file: &Named) -> io::Result<PathBuf> {
    let path = file.path();
    match path.canonicalize() {
        // A link is not followed where it is replaced.
        Ok(place) if !matches!(file, Named::Link(_)) => return Ok(place),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What is made through a link that leads nowhere comes to be there.
        Err(error) if !matches!(file, Named::Link(_)) && path.is_symlink() => return Err(error),
        Ok(_) | Err(_) => (),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    Ok(Path::new(&parent.canonicalize()?).join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manage::definitions::Definition;

    fn refusal(allowed: &Allowed, text: &str) -> (Errno, String) {
        let spec = Definition::parse(text).unwrap().spec;
        let Failure { errno, message } = allowed.check(&spec).expect_err(text);
        (errno, message)
    }

    #[test]
    fn without_a_directory_there_are_no_files() {
        for text in [
            "mtty-1,serial0=unix:/tmp/port",
            "mtty-1,serial0=file:/tmp/port",
            "mtty-1,serial0=pipe:/tmp/port",
            "mtty-1,serial0=pty,,path=/tmp/port",
            "mtty-1,serial0=null,,logfile=/tmp/log",
            "mtty-2,serial1=null,,logfile=/tmp/log",
            "mbochs-small,edid=/tmp/edid",
        ] {
            let (errno, message) = refusal(&Allowed::default(), text);
            assert_eq!(errno, Errno::ACCESS, "{text}: {message}");
            assert!(message.contains("--allow-path"), "{message}");
        }
        for text in ["mtty-2,serial0=pty,serial1=null", "mtty-1,serial0=tcp::0", "mdpy-vga"] {
            assert_eq!(Allowed::default().check(&Definition::parse(text).unwrap().spec), Ok(()));
        }
    }

    #[test]
    fn ways_out_of_the_directory_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let allowed = Allowed::new(std::slice::from_ref(&root)).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink(outside.path().join("new"), root.join("dangling")).unwrap();
        symlink("/etc/passwd", root.join("file")).unwrap();
        let dir = root.display();
        for (text, errno) in [
            (format!("mtty-1,serial0=file:{dir}/../port"), Errno::ACCESS),
            (format!("mtty-1,serial0=file:{dir}x"), Errno::ACCESS),
            (format!("mtty-1,serial0=file:{dir}/out/port"), Errno::ACCESS),
            (format!("mtty-1,serial0=file:{dir}/file"), Errno::ACCESS),
            (format!("mtty-1,serial0=file:{dir}/dangling"), Errno::NOENT),
            (format!("mtty-1,serial0=file:{dir}/none/port"), Errno::NOENT),
            ("mtty-1,serial0=file:port".into(), Errno::INVAL),
            ("mtty-1,serial0=stdio".into(), Errno::INVAL),
            (format!("mbochs-small,edid={dir}/none"), Errno::INVAL),
            (format!("mbochs-small,edid={dir}"), Errno::INVAL),
        ] {
            assert_eq!(refusal(&allowed, &text).0, errno, "{text}");
        }
        fs::write(root.join("edid"), "").unwrap();
        for text in [
            format!("mtty-1,serial0=file:{dir}/port"),
            format!("mtty-1,serial0=pty,,path={dir}/file"), // which is replaced
            format!("mbochs-small,edid={dir}/edid"),
        ] {
            assert_eq!(allowed.check(&Definition::parse(&text).unwrap().spec), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_directory_that_there_is_not_is_named() {
        let words = Allowed::new(&["/no/such".into()]).unwrap_err();
        assert!(words.contains("/no/such"), "{words}");
        let words = Allowed::new(&["/etc/passwd".into()]).unwrap_err();
        assert!(words.contains("no directory"), "{words}");
    }
}
