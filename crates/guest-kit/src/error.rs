//! What can go wrong, each with the way out.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use crate::qemu::OLDEST;

/// Everything that this crate reports.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or a program could not be used.
    #[error("cannot {what} {path}: {source}{}", way_out(source))]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Nothing says where the cache may lie.
    #[error("no place for the cache: set HOME, XDG_CACHE_HOME or MDEV_USER_CACHE")]
    NoCache,
    /// The machine has no apt.
    #[error(
        "{missing} is missing, so this is not a Debian machine and nothing can be fetched here: \
         put a QEMU >= {OLDEST} with vfio-user-pci on PATH or in MDEV_USER_QEMU, the path of a kernel \
         (vmlinuz, with 8250 and devtmpfs built in) in MDEV_USER_KERNEL, that of a static busybox in MDEV_USER_BUSYBOX, \
         for displays that of the kernel's modules in MDEV_USER_MODULES and of mdpy's driver in MDEV_USER_MDPY_FB, \
         and edid-decode on PATH"
    )]
    NotDebian {
        /// The program that was looked for.
        missing: &'static str,
    },
    /// Debian's QEMU is fetched for amd64 alone.
    #[error(
        "QEMU is fetched for x86-64 machines only: put a QEMU >= {OLDEST} with vfio-user-pci on PATH or in MDEV_USER_QEMU"
    )]
    OtherArchitecture,
    /// The machine's apt knows no mirror of Debian's main archive.
    #[error(
        "apt's sources on this machine name no mirror of Debian's archive: add one to them, \
         or set MDEV_USER_QEMU, MDEV_USER_KERNEL, MDEV_USER_MODULES, MDEV_USER_BUSYBOX and MDEV_USER_MDPY_FB, \
         and put edid-decode on PATH"
    )]
    NoMirror,
    /// apt or dpkg-deb failed.
    #[error("{command} failed ({hint}):\n{output}")]
    Apt {
        /// The command, without its options.
        command: String,
        /// What to do about it.
        hint: &'static str,
        /// What it said.
        output: String,
    },
    /// A package does not hold what it is fetched for.
    #[error("{wanted} is not in the packages under {root}: remove that directory and start again")]
    Incomplete {
        /// The file that was looked for.
        wanted: &'static str,
        /// Where the packages were unpacked.
        root: PathBuf,
    },
    /// mdpy's driver could not be built.
    #[error(
        "mdpy-fb cannot be built for Linux {release} here; build it elsewhere and name it in MDEV_USER_MDPY_FB{}:\n{output}",
        namespaces(output)
    )]
    MdpyFb {
        /// The kernel's release.
        release: String,
        /// What was said.
        output: String,
    },
    /// What mdpy's driver is to be built for is not known.
    #[error(
        "MDEV_USER_KERNEL names the guests' kernel: name mdpy's driver, built for that, in MDEV_USER_MDPY_FB"
    )]
    NamedKernel,
    /// The guests' kernel has no such module.
    #[error("no kernel module {module} in {modules}{hint}")]
    NoModule {
        /// What was asked for.
        module: String,
        /// Where it was looked for.
        modules: String,
        /// The way out.
        hint: &'static str,
    },
    /// A kernel module could not be unpacked.
    #[error("{busybox} cannot unpack {module}: {output}")]
    Unpack {
        /// The guests' busybox.
        busybox: PathBuf,
        /// The module.
        module: PathBuf,
        /// What it said.
        output: String,
    },
    /// rustc could not make a program for the guest.
    #[error("rustc cannot make a static program for the guest; is libc6-dev installed?\n{output}")]
    Program {
        /// What it said.
        output: String,
    },
    /// The QEMU that was asked for cannot serve.
    #[error("{program} is no QEMU >= {OLDEST} with the device vfio-user-pci ({found})")]
    UnsuitableQemu {
        /// The program.
        program: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// A console was to be on what is no tty.
    #[error("a tty is named by tty, letters and a number, without a path: ttyS1, say")]
    NoTty,
    /// A console was to be on ttyS0.
    #[error("ttyS0 has the guest's own shell: the first port of a card is ttyS1")]
    OwnTty,
    /// The guest has booted, and the tty that was to be its console is none of its hardware's.
    #[error("{message}")]
    NoConsole {
        /// The line that says which.
        message: String,
    },
    /// The guest did not do in time what was waited for.
    #[error("no {wanted} within {} s; the guest's console ends:\n{console}\nQEMU said:\n{qemu}", within.as_secs_f32())]
    TimedOut {
        /// What was waited for.
        wanted: String,
        /// How long.
        within: Duration,
        /// The end of what the console showed.
        console: String,
        /// QEMU's stderr.
        qemu: String,
    },
    /// QEMU ended while something was waited for.
    #[error(
        "QEMU ended ({status}) before {wanted}; the guest's console ends:\n{console}\nQEMU said:\n{qemu}"
    )]
    QemuEnded {
        /// What was waited for.
        wanted: String,
        /// QEMU's exit status.
        status: String,
        /// The end of what the console showed.
        console: String,
        /// QEMU's stderr.
        qemu: String,
    },
    /// QEMU refused a command of its monitor's.
    #[error("QEMU refuses {command}: {said}")]
    Monitor {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// The guest was built without a monitor.
    #[error("this guest has no monitor: build it with Builder::slot or Builder::monitor")]
    NoMonitor,
    /// A script in the guest ended with another status than 0.
    #[error("in the guest, status {status} from:\n{script}\nwhich printed:\n{text}")]
    Script {
        /// What was run.
        script: String,
        /// What it ended with.
        status: u8,
        /// What it printed.
        text: String,
    },
}

/// The crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// A test that unwraps one prints this: a console is unreadable with its line ends escaped.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// For `map_err`: what was done to which file when the operating system refused.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn apt(command: impl Into<String>, output: String) -> Self {
        Self::Apt { command: command.into(), hint: hint(&output), output }
    }
}

fn way_out(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DISK_FULL,
        _ => "",
    }
}

const DISK_FULL: &str = ": free some space (the cache takes 300 MB, 1.2 GB while it is filled), or put it elsewhere with MDEV_USER_CACHE";

/// The one thing that is known to be in the way of building in a root of its own.
fn namespaces(output: &str) -> &'static str {
    match output.lines().any(|line| line.starts_with("unshare:") || line.starts_with("mount:")) {
        true => ", or do this as root (this machine lets other users make no namespaces)",
        false => "",
    }
}

/// The way out, by what apt and dpkg-deb are known to say.
fn hint(output: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| output.contains(word));
    if says(&["No space left", "enough free space"]) {
        return DISK_FULL.trim_start_matches(": ");
    }
    if says(&["NO_PUBKEY", "is not signed", "EXPKEYSIG", "the public key is not available"]) {
        return "this machine does not know the keys of the Debian release that is fetched: \
                upgrade its package debian-archive-keyring";
    }
    if says(&[
        "Could not resolve",
        "Temporary failure",
        "Unable to connect",
        "Could not connect",
        "Connection failed",
    ]) {
        return "is the network up? apt's proxy settings of this machine are used";
    }
    if says(&["not valid yet", "is expired"]) {
        return "is this machine's clock right?";
    }
    if says(&["does not have a Release file", "404  Not Found"]) {
        return "this machine's mirror of Debian lacks this; see what `apt-get indextargets` says of it";
    }
    "run the same command again: what was fetched so far is kept"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_is_answered_with_a_way_out() {
        for (said, answer) in [
            ("E: You don't have enough free space in /c/archives/.", "free some space"),
            (
                "W: GPG error: The following signatures: NO_PUBKEY 6ED0E7B8",
                "debian-archive-keyring",
            ),
            ("E: Failed to fetch x  Could not resolve 'y'", "network"),
            ("E: Release file for x is not valid yet", "clock"),
            ("E: Hash Sum mismatch", "again"),
        ] {
            assert!(hint(said).contains(answer), "{said}: {}", hint(said));
        }
    }

    #[test]
    fn a_build_that_fails_names_the_way_around_it_and_what_is_known_to_be_in_the_way() {
        let text = |output: &str| {
            Error::MdpyFb { release: "6.12".into(), output: output.into() }.to_string()
        };
        let refused = text("unshare: unshare failed: Operation not permitted");
        assert!(refused.contains("as root") && refused.contains("MDEV_USER_MDPY_FB"), "{refused}");
        let broken = text("make: *** [Makefile:2: all] Error 2");
        assert!(!broken.contains("as root") && broken.ends_with("Error 2"), "{broken}");
    }
}
