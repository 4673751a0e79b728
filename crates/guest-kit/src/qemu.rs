//! QEMU: is this one new enough, and how is it started.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::progress;
use crate::{Error, Result};

const PROGRAM: &str = "qemu-system-x86_64";

/// Where Debian's packages have libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The first release with `vfio-user-pci`.
pub(crate) const OLDEST: Version = Version { major: 10, minor: 1 };

/// A release of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// `11` of 11.1.3.
    pub major: u32,
    /// `1` of 11.1.3.
    pub minor: u32,
}

impl Version {
    /// From what `--version` prints.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A QEMU that has `vfio-user-pci`.
#[derive(Clone, Debug)]
pub struct Qemu {
    invocation: Invocation,
    version: Version,
    exits_with_parent: bool,
}

impl Qemu {
    /// The one that `MDEV_USER_QEMU` names, which then must do; else the one on `PATH`, if it does.
    pub(crate) fn of_this_machine() -> Result<Option<Self>> {
        if let Some(program) = std::env::var_os("MDEV_USER_QEMU") {
            return Self::check(Invocation::plain(program.into())).map(Some);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(program) =
            std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file())
        else {
            return Ok(None);
        };
        match Self::check(Invocation::plain(program)) {
            Err(unsuitable @ Error::UnsuitableQemu { .. }) => {
                progress::line(&format!("{unsuitable}: taking another"));
                Ok(None)
            }
            checked => checked.map(Some),
        }
    }

    /// The one in a directory where Debian's packages were unpacked.
    pub(crate) fn unpacked(root: &Path) -> Result<Self> {
        let mut invocation = Invocation::unpacked(root, PROGRAM);
        for data in ["usr/share/qemu", "usr/share/seabios"] {
            invocation.arguments.extend(["-L".into(), root.join(data).into()]);
        }
        invocation.modules = Some(root.join(LIBRARIES).join("qemu"));
        Self::check(invocation)
    }

    fn check(invocation: Invocation) -> Result<Self> {
        let unsuitable =
            |found: String| Error::UnsuitableQemu { program: invocation.program.clone(), found };
        let text = invocation.output("--version")?;
        let version = Version::parse(&text).ok_or_else(|| {
            unsuitable(format!("--version says: {}", text.lines().next().unwrap_or_default()))
        })?;
        if version < OLDEST {
            return Err(unsuitable(format!("it is {version}")));
        }
        if !invocation.output("-device help")?.contains("\"vfio-user-pci\"") {
            return Err(unsuitable(format!("{version}, built without that device")));
        }
        let exits_with_parent = invocation.output("-help")?.contains("exit-with-parent");
        Ok(Self { invocation, version, exits_with_parent })
    }

    /// Which release it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A command that runs it. QEMU ends when the thread that spawned it does, where this release can.
    pub fn command(&self) -> Command {
        let mut command = self.invocation.command();
        if self.exits_with_parent {
            command.args(["-run-with", "exit-with-parent=on"]);
        }
        command
    }
}

/// A program with the arguments and environment that it always needs.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    modules: Option<PathBuf>,
}

impl Invocation {
    fn plain(program: PathBuf) -> Self {
        Self { program, arguments: Vec::new(), modules: None }
    }

    /// A program of Debian's packages, by their own loader and libraries: this machine's may be older.
    pub(crate) fn unpacked(root: &Path, program: &str) -> Self {
        let arguments = vec![
            "--library-path".into(),
            root.join(LIBRARIES).into(),
            root.join("usr/bin").join(program).into(),
        ];
        let program = root.join(LOADER);
        Self { program, arguments, modules: None }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(modules) = &self.modules {
            command.env("QEMU_MODULE_DIR", modules);
        }
        command
    }

    /// What a guest needs to run such a program: its file, its loader and its libraries, each with the path there.
    pub(crate) fn files(root: &Path, program: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
        let mut files = vec![
            (format!("/bin/{program}"), read(&root.join("usr/bin").join(program))?),
            ("/lib64/ld-linux-x86-64.so.2".to_owned(), read(&root.join(LOADER))?),
        ];
        let loader = root.join(LOADER);
        let mut list = Command::new(&loader);
        list.arg("--list").args(Self::unpacked(root, program).arguments);
        let output = list.output().map_err(Error::io("run", &loader))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for (name, path) in text.lines().filter_map(library) {
            files.push((format!("/lib/x86_64-linux-gnu/{name}"), read(Path::new(path))?));
        }
        Ok(files)
    }

    fn output(&self, arguments: &str) -> Result<String> {
        let output = self
            .command()
            .args(arguments.split(' '))
            .output()
            .map_err(Error::io("run", &self.program))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Out of a line in which a loader says where it finds a library: its name, and the file. The kernel's and the loader
/// itself have no such line.
fn library(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let (path, _) = rest.rsplit_once(" (")?;
    (!name.contains('/')).then_some((name, path))
}

/// The value of QEMU's `-device` that plugs in the vfio-user device served at `socket`.
pub fn vfio_user_device(socket: &Path) -> String {
    // JSON, because in the key=value form a comma in the path would begin the next key.
    let path = serde_json::Value::from(socket.to_string_lossy());
    format!(r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":{path}}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_qemu_prints() {
        let version = |text| Version::parse(text).map(|v| (v.major, v.minor));
        assert_eq!(
            version("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright"),
            Some((11, 1))
        );
        assert_eq!(version("QEMU emulator version 10.0.0-rc1"), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 9.2"), Some((9, 2)));
        assert_eq!(version("bash: not found"), None);
    }

    #[test]
    fn libraries_are_read_from_what_the_loader_lists() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /some where/libc.so.6 (0x00007f2a)\n\
            \t/lib64/ld-linux-x86-64.so.2 => /l/ld-linux-x86-64.so.2 (0x00007f2b)\n";
        let found: Vec<_> = text.lines().filter_map(library).collect();
        assert_eq!(found, [("libc.so.6", "/some where/libc.so.6")]);
    }

    #[test]
    fn only_10_1_and_later_have_vfio_user() {
        assert!(Version { major: 10, minor: 0 } < OLDEST);
        assert!(Version { major: 9, minor: 2 } < OLDEST);
        assert!(Version { major: 10, minor: 1 } >= OLDEST);
        assert!(Version { major: 11, minor: 0 } >= OLDEST);
    }

    #[test]
    fn a_program_that_is_no_qemu_is_refused_by_name() {
        let refused = Qemu::check(Invocation::plain("/bin/echo".into())).unwrap_err().to_string();
        assert!(refused.contains("/bin/echo") && refused.contains("10.1"), "{refused}");
    }

    #[test]
    fn any_socket_path_is_escaped_for_the_device_argument() {
        assert_eq!(
            vfio_user_device(Path::new("/run/a,b \"c\"\\d")),
            r#"{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/run/a,b \"c\"\\d"}}"#
        );
    }
}
