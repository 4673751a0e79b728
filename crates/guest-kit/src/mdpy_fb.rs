//! Builds mdpy's driver, a sample that Debian's kernels leave out, from the sources that Debian has of it.
//!
//! By the compiler that the kernel was built with, in a root of packages of the kernel's release. No change to the
//! machine, and nothing of the sources stays.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::apt::{Apt, RELEASE, With};
use crate::{Error, Result, cache, progress};

/// The module's name in its entry of the cache.
pub(crate) const FILE: &str = "mdpy-fb.ko";

/// Where in the kernel's sources its two files are.
const SAMPLES: &str = "samples/vfio-mdev";
const SOURCES: [&str; 2] = ["mdpy-fb.c", "mdpy-defs.h"];

/// What the kernel's build runs, beside the compiler and the kernel's own programs.
const PROGRAMS: [&str; 7] = ["make", "dash", "coreutils", "findutils", "grep", "mawk", "sed"];

/// Whether the mirror has what it takes for a kernel of this release.
pub(crate) fn is_available(apt: &Apt, release: &str) -> Result<bool> {
    Ok(apt.version(&format!("linux-headers-{release}"))?.is_some())
}

/// Leaves the module, for a kernel of this release, in `into`.
pub(crate) fn build(apt: &Apt, release: &str, busybox: &Path, into: &Path) -> Result<()> {
    let root = into.join("root");
    let has_null = begin(&root)?;
    if !has_null {
        // Before anything is downloaded in vain.
        run(in_namespaces(&mut Command::new("unshare")).arg("true"), release)?;
    }
    // Of the headers' dependencies, the kernel itself is not needed.
    let headers = format!("linux-headers-{release}");
    let parts = apt.dependencies(&headers)?;
    let find = |prefix: &str| parts.iter().find(|name| name.starts_with(prefix));
    let wanted = || Error::Incomplete { wanted: "what builds a module", root: root.clone() };
    let common = find("linux-headers-").ok_or_else(wanted)?;
    let compiler = find("gcc-").ok_or_else(wanted)?;
    let mut tools = vec![compiler.as_str(), find("linux-kbuild-").ok_or_else(wanted)?];
    tools.extend(PROGRAMS);
    apt.fetch(&tools, With::Dependencies { release: RELEASE }, &root)?;
    apt.fetch(&[&headers, common], With::Nothing, &root)?;

    // The sources of the same version: 6.12.107-1 of linux-source-6.12, say.
    let version = apt.version(&headers)?.ok_or_else(wanted)?;
    let source = format!("linux-source-{}", series(release));
    apt.fetch(&[&format!("{source}={version}")], With::Nothing, &root)?;

    progress::line(&format!("mdpy-fb: building it for Linux {release}"));
    let archive = root.join("usr/src").join(format!("{source}.tar.xz"));
    let build = root.join("build");
    fs::create_dir(&build).map_err(Error::io("create", &build))?;
    let files = SOURCES.map(|file| format!("{source}/{SAMPLES}/{file}"));
    // The guests' busybox, because the machine's tar needs an xz, which not every machine has.
    let mut unpack = Command::new(busybox);
    unpack.args(["tar", "-xJ", "-f"]).arg(&archive).arg("-C").arg(&build).args(files);
    run(&mut unpack, release)?;
    for file in SOURCES {
        let from = build.join(&source).join(SAMPLES).join(file);
        fs::rename(&from, build.join(file)).map_err(Error::io("move", &from))?;
    }
    write(&build.join("Makefile"), "obj-m += mdpy-fb.o\n")?;

    furnish(&root)?;
    run(
        make(&root, has_null)
            .args(["-C", &format!("/usr/src/{headers}")])
            .args(["M=/build", "modules"]),
        release,
    )?;

    let module = into.join(FILE);
    fs::rename(build.join(FILE), &module).map_err(Error::io("keep", &module))?;
    cache::remove_dir(&root)
}

/// Makes the root, and in it a /dev/null, if that can be one that works; if not, an empty file to mount one on.
fn begin(root: &Path) -> Result<bool> {
    let device = root.join("dev");
    fs::create_dir_all(&device).map_err(Error::io("create", &device))?;
    let null = device.join("null");
    let mode = Mode::from_raw_mode(0o666);
    let made = mknodat(CWD, &null, FileType::CharacterDevice, mode, makedev(1, 3));
    // On a file system that is mounted without devices it cannot be opened.
    if made.is_ok() && OpenOptions::new().write(true).open(&null).is_ok() {
        return Ok(true);
    }
    // There is none if it could not be made.
    let _ = fs::remove_file(&null);
    write(&null, "")?;
    Ok(false)
}

/// What the packages' own scripts would have set up.
fn furnish(root: &Path) -> Result<()> {
    let links =
        [("usr/bin", "bin"), ("usr/lib", "lib"), ("usr/lib64", "lib64"), ("mawk", "usr/bin/awk")];
    for (to, name) in links {
        let link = root.join(name);
        symlink(to, &link).map_err(Error::io("link", &link))?;
    }
    let temporary = root.join("tmp");
    fs::create_dir(&temporary).map_err(Error::io("create", &temporary))
}

fn in_namespaces(unshare: &mut Command) -> &mut Command {
    unshare.args(["--user", "--map-root-user", "--mount"])
}

/// make in the root: as root of the machine, or as one of a user namespace, which can mount.
fn make(root: &Path, has_null: bool) -> Command {
    let mut command = Command::new("unshare");
    if !has_null {
        let script = r#"mount --bind /dev/null "$0/dev/null" && exec unshare "$@""#;
        in_namespaces(&mut command).args(["sh", "-c", script]).arg(root);
    }
    command.arg("--root").arg(root).args(["--wd=/", "make"]);
    // mount is found by the machine's path. The architecture would be asked of dpkg.
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.envs([("LC_ALL", "C"), ("DEB_BUILD_ARCH", "amd64")]);
    command
}

fn run(command: &mut Command, release: &str) -> Result<()> {
    let program = Path::new(command.get_program()).to_owned();
    let output = command.stdin(Stdio::null()).output().map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&said).trim().to_owned();
    Err(Error::MdpyFb { release: release.to_owned(), output })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}

/// `6.12` of `6.12.107+deb13-amd64`.
fn series(release: &str) -> String {
    let numbers: Vec<_> = release.split(['.', '+', '-']).take(2).collect();
    numbers.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_named_by_the_first_two_numbers_of_the_release() {
        assert_eq!(series("6.12.107+deb13-amd64"), "6.12");
        assert_eq!(series("6.12+deb13-amd64"), "6.12");
    }
}
