//! What it takes to boot a guest: found on this machine, in the cache, or fetched into it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, RELEASE, With};
use crate::cache::{self, Cache};
use crate::progress;
use crate::qemu::Qemu;
use crate::{Error, Result};

/// QEMU, a kernel and a busybox.
#[derive(Clone, Debug)]
pub struct Tools {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: PathBuf,
    pub(crate) busybox: PathBuf,
    modules: Option<PathBuf>,
}

impl Tools {
    /// Finds everything; what is missing is fetched from the machine's Debian mirror, once, with progress on stderr.
    pub fn prepare() -> Result<Self> {
        let qemu = Qemu::of_this_machine()?;
        let kernel = named_by("MDEV_USER_KERNEL")?;
        let busybox = named_by("MDEV_USER_BUSYBOX")?;

        let cache = Cache::open()?;
        let mut missing = Vec::new();
        missing.extend(qemu.is_none().then_some(&QEMU));
        missing.extend(kernel.is_none().then_some(&KERNEL));
        missing.extend(busybox.is_none().then_some(&BUSYBOX));
        fetch(&cache, missing)?;

        let unpacked = |parcel: &Parcel| cache.path(parcel.name);
        let modules = if kernel.is_some() {
            None
        } else {
            Some(only(&unpacked(&KERNEL).join("usr/lib/modules"), "")?)
        };
        Ok(Self {
            qemu: qemu.map_or_else(|| Qemu::unpacked(&unpacked(&QEMU)), Ok)?,
            kernel: kernel.map_or_else(|| only(&unpacked(&KERNEL).join("boot"), "vmlinuz-"), Ok)?,
            busybox: busybox.unwrap_or_else(|| unpacked(&BUSYBOX).join("usr/bin/busybox")),
            modules,
        })
    }

    /// The QEMU that guests run in.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The directory with the kernel's modules (`kernel/`, `modules.builtin`), unless `MDEV_USER_KERNEL` names the
    /// kernel.
    pub fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }
}

/// What is fetched as a whole.
struct Parcel {
    /// Its entry in the cache.
    name: &'static str,
    fetch: fn(&Apt, &Path) -> Result<()>,
}

const QEMU: Parcel = Parcel {
    name: "qemu-trixie-backports",
    fetch: |apt, root| {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::OtherArchitecture);
        }
        apt.fetch(
            "qemu-system-x86",
            With::Dependencies { release: &format!("{RELEASE}-backports") },
            root,
        )
    },
};

const KERNEL: Parcel = Parcel {
    name: "linux-trixie",
    fetch: |apt, root| {
        // linux-image-amd64 is empty and depends on the image of the day.
        let of_the_day = apt
            .dependencies("linux-image-amd64")?
            .into_iter()
            .find(|p| p.starts_with("linux-image-"));
        let package =
            of_the_day.ok_or_else(|| incomplete("the name of the kernel's package", root))?;
        apt.fetch(&package, With::Nothing, root)
    },
};

const BUSYBOX: Parcel = Parcel {
    name: "busybox-trixie",
    fetch: |apt, root| apt.fetch("busybox-static", With::Nothing, root),
};

/// Fetches those of `wanted` that the cache lacks.
fn fetch(cache: &Cache, mut wanted: Vec<&Parcel>) -> Result<()> {
    let lacks = |parcel: &&Parcel| !cache.path(parcel.name).is_dir();
    if !wanted.iter().any(lacks) {
        return Ok(());
    }
    let lock = cache.lock()?;
    // Another process may have fetched them meanwhile.
    wanted.retain(lacks);
    if wanted.is_empty() {
        return Ok(());
    }
    progress::line(&format!("filling {} (once, about 160 MB to download)", cache.root().display()));
    let downloads = cache.path("apt");
    let apt = Apt::open(&downloads, lock)?;
    for parcel in wanted {
        cache.fill(parcel.name, |root| (parcel.fetch)(&apt, root))?;
    }
    progress::line("everything is in place");
    // Kept until here, so that an interrupted download goes on where it stopped.
    cache::remove_dir(&downloads)
}

/// The file that an environment variable names.
fn named_by(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    path.metadata().map_err(Error::io("use", &path))?;
    Ok(Some(path))
}

/// The one file in `dir` whose name begins so.
fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut paths =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    paths.next().map(|entry| entry.path()).ok_or_else(|| incomplete("the kernel", dir))
}

fn incomplete(wanted: &'static str, root: &Path) -> Error {
    Error::Incomplete { wanted, root: root.to_owned() }
}
