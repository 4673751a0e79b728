//! What it takes to boot a guest: found on this machine, in the cache, or fetched into it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, RELEASE, With};
use crate::cache::{self, Cache};
use crate::progress;
use crate::qemu::{self, Qemu};
use crate::{Error, Result, mdpy_fb};

/// QEMU, a kernel and a busybox.
#[derive(Clone, Debug)]
pub struct Tools {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: PathBuf,
    pub(crate) busybox: PathBuf,
    pub(crate) mdpy_fb: Option<PathBuf>,
    modules: Option<PathBuf>,
}

impl Tools {
    /// Finds everything; what is missing is fetched from the machine's Debian mirror, once, with progress on stderr.
    pub fn prepare() -> Result<Self> {
        let qemu = Qemu::of_this_machine()?;
        let kernel = named_by("MDEV_USER_KERNEL")?;
        let busybox = named_by("MDEV_USER_BUSYBOX")?;

        let cache = Cache::open()?;
        let mut wanted = Vec::new();
        wanted.extend(qemu.is_none().then_some(&QEMU));
        wanted.extend(kernel.is_none().then_some(&KERNEL));
        wanted.extend(busybox.is_none().then_some(&BUSYBOX));
        fetch(&cache, &wanted, "160 MB")?;

        let (kernel, modules) = match kernel {
            Some(kernel) => (kernel, named_by("MDEV_USER_MODULES")?),
            None => unpacked_kernel(&cache.path(KERNEL.name))?,
        };
        Ok(Self {
            qemu: qemu.map_or_else(|| Qemu::unpacked(&cache.path(QEMU.name)), Ok)?,
            kernel,
            busybox: busybox.unwrap_or_else(|| cache.path(BUSYBOX.name).join("usr/bin/busybox")),
            mdpy_fb: None,
            modules,
        })
    }

    /// The QEMU that guests run in.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The directory with the kernel's modules (`kernel/`, `modules.builtin`, `modules.order`), named as the kernel's
    /// release. None if `MDEV_USER_KERNEL` names the kernel and `MDEV_USER_MODULES` no such directory.
    pub fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }

    /// Has [`Builder::kernel_module`](crate::Builder::kernel_module) know `mdpy-fb`, the driver of mdpy, which is in no
    /// Debian kernel. The first time, it is built from Debian's sources for the guests' kernel (240 MB to download, a
    /// minute); the module alone is kept. `MDEV_USER_MDPY_FB` names one that is built already.
    ///
    /// Should the mirror no longer have what it takes to build it for the kernel in the cache, the kernel that the
    /// mirror has now is fetched and goes with the module.
    pub fn with_mdpy_fb(mut self) -> Result<Self> {
        self.mdpy_fb = named_by("MDEV_USER_MDPY_FB")?;
        if self.mdpy_fb.is_some() {
            return Ok(self);
        }
        let modules = self.modules.as_deref();
        let named = env::var_os("MDEV_USER_KERNEL").is_some();
        let release =
            modules.filter(|_| !named).and_then(Path::file_name).and_then(|it| it.to_str());
        let release = release.ok_or(Error::NamedKernel)?.to_owned();

        let cache = Cache::open()?;
        let entry = format!("mdpy-fb-{release}");
        let lacking = || !cache.path(&entry).is_dir();
        fill(&cache, "240 MB", lacking, |apt| {
            cache.fill(&entry, |into| {
                let build = |release: &str| mdpy_fb::build(apt, release, &self.busybox, into);
                if mdpy_fb::is_available(apt, &release)? {
                    return build(&release);
                }
                progress::line(&format!(
                    "the mirror has nothing for {release} any more: taking its present kernel"
                ));
                (KERNEL.fetch)(apt, into)?;
                let (_, modules) = unpacked_kernel(into)?;
                let present =
                    modules.as_deref().and_then(Path::file_name).and_then(|it| it.to_str());
                build(present.unwrap_or_default())
            })
        })?;

        let entry = cache.path(&entry);
        self.mdpy_fb = Some(entry.join(mdpy_fb::FILE));
        if entry.join("boot").is_dir() {
            (self.kernel, self.modules) = unpacked_kernel(&entry)?;
        }
        Ok(self)
    }

    /// A command that runs `edid-decode`: the one on PATH, else Debian's; fetched the first time (4 MB).
    pub fn edid_decode(&self) -> Result<Command> {
        found_or_fetched("edid-decode", &EDID_DECODE, "4 MB")
    }

    /// A command that runs `gdb`: the one on PATH, else Debian's smallest; fetched the first time (35 MB).
    pub fn gdb(&self) -> Result<Command> {
        found_or_fetched("gdb", &GDB, "35 MB")
    }

    /// Debian's `gdbserver` for the guest, fetched the first time (4 MB): the files that
    /// [`Builder::file`](crate::Builder::file) lays there, each with its path.
    pub fn gdbserver(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let cache = Cache::open()?;
        fetch(&cache, &[&GDBSERVER], "4 MB")?;
        qemu::Invocation::files(&cache.path(GDBSERVER.name), "gdbserver")
    }
}

/// A command that runs a program: the one on PATH, else what is fetched.
fn found_or_fetched(program: &str, parcel: &Parcel, size: &str) -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).map(|it| it.join(program)).find(|it| it.is_file())
    {
        return Ok(Command::new(found));
    }
    let cache = Cache::open()?;
    fetch(&cache, &[parcel], size)?;
    Ok(qemu::Invocation::unpacked(&cache.path(parcel.name), program).command())
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
        let release = &format!("{RELEASE}-backports");
        apt.fetch(&["qemu-system-x86"], With::Dependencies { release }, root)
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
        apt.fetch(&[&package], With::Nothing, root)
    },
};

const BUSYBOX: Parcel = Parcel {
    name: "busybox-trixie",
    fetch: |apt, root| apt.fetch(&["busybox-static"], With::Nothing, root),
};

const EDID_DECODE: Parcel = Parcel {
    name: "edid-decode-trixie",
    fetch: |apt, root| apt.fetch(&["edid-decode"], With::Dependencies { release: RELEASE }, root),
};

const GDB: Parcel = Parcel {
    name: "gdb-trixie",
    fetch: |apt, root| apt.fetch(&["gdb-minimal"], With::Dependencies { release: RELEASE }, root),
};

const GDBSERVER: Parcel = Parcel {
    name: "gdbserver-trixie",
    fetch: |apt, root| apt.fetch(&["gdbserver"], With::Dependencies { release: RELEASE }, root),
};

/// Fetches those of `wanted` that the cache lacks.
fn fetch(cache: &Cache, wanted: &[&Parcel], size: &str) -> Result<()> {
    let lacks = |parcel: &Parcel| !cache.path(parcel.name).is_dir();
    fill(
        cache,
        size,
        || wanted.iter().any(|parcel| lacks(parcel)),
        |apt| {
            let mut missing = wanted.iter().filter(|parcel| lacks(parcel));
            missing.try_for_each(|parcel| cache.fill(parcel.name, |root| (parcel.fetch)(apt, root)))
        },
    )
}

/// Has `fill` fill the cache, if it is `lacking` something and no other process fills it meanwhile.
fn fill(
    cache: &Cache,
    size: &str,
    lacking: impl Fn() -> bool,
    fill: impl FnOnce(&Apt) -> Result<()>,
) -> Result<()> {
    if !lacking() {
        return Ok(());
    }
    let lock = cache.lock()?;
    if !lacking() {
        return Ok(());
    }
    progress::line(&format!("filling {} (once, about {size} to download)", cache.root().display()));
    let downloads = cache.path("apt");
    let apt = Apt::open(&downloads, lock)?;
    fill(&apt)?;
    progress::line("everything is in place");
    // Kept until here, so that an interrupted download goes on where it stopped.
    cache::remove_dir(&downloads)
}

/// The file or directory that an environment variable names.
fn named_by(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    path.metadata().map_err(Error::io("use", &path))?;
    Ok(Some(path))
}

/// The kernel in a directory where its package was unpacked, and the directory of its modules.
fn unpacked_kernel(root: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    Ok((only(&root.join("boot"), "vmlinuz-")?, Some(only(&root.join("usr/lib/modules"), "")?)))
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
