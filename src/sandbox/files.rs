//! What of the file system and of TCP a server may still reach: what its command line has named, by Landlock.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use chardev::{Backend, Role, Spec};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictSelf, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
    make_bitflags,
};

use crate::device_spec::{DeviceSpec, Options};
use crate::notify;

/// What is asked for: newer kernels can do no more, as far as this program goes.
const NEWEST: ABI = ABI::V7;

type Rights = BitFlags<AccessFs>;

/// To take away what this program has made, and nothing else.
const TAKE_AWAY: Rights = make_bitflags!(AccessFs::{RemoveFile});
const READ: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const WRITE: Rights = make_bitflags!(AccessFs::{WriteFile | MakeSock | MakeSym});
/// A file that is there, again.
const AGAIN: Rights = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
const TERMINALS: Rights = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
/// A file that is replaced by a new one.
const REPLACE: Rights =
    make_bitflags!(AccessFs::{ReadFile | WriteFile | MakeReg | RemoveFile | Truncate});
/// Whatever a device's back end makes or opens.
const BACK_ENDS: Rights = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeSock | MakeSym | RemoveFile | IoctlDev
});
/// A run directory.
const ALL: Rights = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeDir | MakeReg | MakeSock | MakeSym | RemoveDir | RemoveFile | Refer
});

/// Where the system's resolver looks, and what it loads. Files there are replaced, so it is directories.
const RESOLVER: [&str; 8] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Which TCP ports there may still be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tcp {
    Any,
    /// To connect to; none is listened on anew.
    Connect(BTreeSet<u16>),
}

/// What is to be reached.
#[derive(Debug)]
pub struct Files {
    rules: Vec<(PathBuf, Rights)>,
    pub tcp: Tcp,
    /// Whether an end has a TCP socket by now.
    pub has_tcp: bool,
    /// Whether UNIX sockets are made from here on, of which Landlock has no say.
    pub unix: bool,
    /// Whether other processes may be signalled.
    pub signals: bool,
    /// Whether files are renamed from one directory to another, which the first Landlock forbids always.
    pub renames: bool,
}

impl Files {
    /// What each server needs.
    pub fn new() -> Self {
        let tcp = Tcp::Connect(BTreeSet::new());
        let mut files = Self {
            rules: Vec::new(),
            tcp,
            has_tcp: false,
            unix: false,
            signals: false,
            renames: false,
        };
        // What a client is called; what the C library asks of the system.
        files.add("/proc", READ);
        // A panic's backtrace.
        files.rules.extend(env::current_exe().ok().map(|path| (path, AccessFs::ReadFile.into())));
        files
    }

    fn add(&mut self, path: impl Into<PathBuf>, rights: Rights) {
        self.rules.push((path.into(), rights));
    }

    fn add_parent(&mut self, path: &Path, rights: Rights) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.add(parent.unwrap_or(Path::new(".")), rights);
    }

    /// A socket that has been made at this path, and is taken away at the end.
    pub fn add_socket(&mut self, path: &Path) {
        self.add_parent(path, TAKE_AWAY);
    }

    /// A directory that goes at the end, with what is in it then.
    pub fn add_temporary(&mut self, directory: &Path) {
        self.add(directory, TAKE_AWAY | AccessFs::ReadDir);
        self.add_parent(directory, AccessFs::RemoveDir.into());
    }

    /// A directory of this program's own, which goes at the end if it has made it.
    pub fn add_own(&mut self, directory: &Path) {
        self.add(directory, ALL);
        self.add_parent(directory, AccessFs::RemoveDir.into());
        self.renames = true;
    }

    /// A file that is written anew, as a whole.
    pub fn add_saved(&mut self, path: &Path) {
        self.add_parent(path, REPLACE);
    }

    /// What people have their own files in that is in the directory of this one, with all below it.
    pub fn shared_by(path: &Path) -> Option<&'static str> {
        let place = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let place = place.unwrap_or(Path::new(".")).canonicalize().ok()?;
        let named = |variable| env::var_os(variable).map(PathBuf::from);
        [
            ("your home directory", named("HOME")),
            ("the run-time directory of your session", named("XDG_RUNTIME_DIR")),
            ("the directory for temporary files", Some(env::temp_dir())),
        ]
        .into_iter()
        .find_map(|(what, path)| {
            let path = path.filter(|path| path.is_absolute())?.canonicalize().ok()?;
            path.starts_with(&place).then_some(what)
        })
    }

    /// A directory below which devices may have what they are given.
    pub fn add_allowed(&mut self, directory: &Path) {
        self.add(directory, BACK_ENDS);
    }

    /// The controlling terminal: who is in its foreground.
    pub fn add_terminal(&mut self) {
        self.add("/dev/tty", TERMINALS);
    }

    /// What ports can be given later: terminals, and sockets to hosts that have names.
    pub fn add_later_ports(&mut self) {
        for path in ["/dev/ptmx", "/dev/pts"] {
            self.add(path, TERMINALS);
        }
        RESOLVER.into_iter().for_each(|path| self.add(path, READ));
        self.tcp = Tcp::Any;
        self.unix = true;
    }

    /// What a device of the command line has on its ports, opened. If that `changes`, it can come back to what it was.
    pub fn add_device(&mut self, spec: &DeviceSpec, changes: bool) {
        match &spec.options {
            Options::None => (),
            Options::Monitor(monitor) => {
                if let Some(path) = monitor.file().filter(|_| changes) {
                    self.add(path, AccessFs::ReadFile.into());
                }
            }
            Options::Ports(ports) => ports.specs().for_each(|it| self.add_port(it, changes)),
        }
    }

    fn add_port(&mut self, spec: &Spec, changes: bool) {
        let or_none = |rights: Rights| if changes { rights } else { Rights::EMPTY };
        self.has_tcp |= matches!(spec.backend, Backend::Tcp { .. });
        match &spec.backend {
            Backend::Pty { link: Some(link) } => {
                self.add_parent(link, TAKE_AWAY | or_none(AccessFs::MakeSym.into()));
            }
            Backend::Unix { path, role: Role::Server { .. } } => {
                let again = make_bitflags!(AccessFs::{MakeSock | ReadDir});
                self.add_parent(path, TAKE_AWAY | or_none(again));
            }
            Backend::Unix { role: Role::Client { reconnect: Some(_) }, .. } => self.unix = true,
            Backend::Tcp { port, role: Role::Client { reconnect: Some(_) }, .. } => {
                match (chardev::tcp_port(port), &mut self.tcp) {
                    (Some(port), Tcp::Connect(ports)) => drop(ports.insert(port)),
                    _ => self.tcp = Tcp::Any,
                }
            }
            Backend::File { path, .. } => self.add(path, or_none(AGAIN)),
            // The way out is opened when somebody reads it.
            Backend::Pipe { path } => {
                for end in [".in", ".out"] {
                    let mut path = path.as_os_str().to_owned();
                    path.push(end);
                    self.add(path, AGAIN);
                }
            }
            _ => (),
        }
        if let Some(log) = &spec.log {
            self.add(&log.path, or_none(AGAIN));
        }
    }

    /// In few words.
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (path, rights) in self.rules.iter().filter(|(_, rights)| !rights.is_empty()) {
            // Who reads it need not be where this program is.
            let Ok(path) = path.canonicalize() else { continue };
            let (path, rights) = (path.display(), *rights);
            let what = if rights.intersects(WRITE) {
                "write"
            } else if rights.contains(AccessFs::RemoveFile) {
                "remove"
            } else if rights.contains(AccessFs::RemoveDir) {
                "remove directories of"
            } else {
                "read"
            };
            let line = format!("{what} {path}");
            if !words.contains(&line) {
                words.push(line);
            }
        }
        match &self.tcp {
            Tcp::Any => words.push("any TCP port".into()),
            Tcp::Connect(ports) => {
                words.extend(ports.iter().map(|port| format!("connect to TCP port {port}")));
            }
        }
        words
    }

    /// What there is to be and this kernel does not have.
    pub fn missing(&self, kernel: Kernel) -> Vec<&'static str> {
        if !self.can_be_had(kernel) {
            return vec![match kernel {
                Kernel::No(why) => why,
                Kernel::Version(_) => {
                    "Landlock with renames between directories (Linux 5.19 has it)"
                }
            }];
        }
        let Kernel::Version(version) = kernel else { return Vec::new() };
        let limits_tcp = self.tcp != Tcp::Any;
        [
            (3, true, "Landlock of truncation (Linux 6.2 has it)"),
            (4, limits_tcp, "Landlock of TCP (Linux 6.7 has it)"),
            (5, true, "Landlock of devices (Linux 6.10 has it)"),
            (6, true, "Landlock of signals and abstract sockets (Linux 6.12 has it)"),
        ]
        .into_iter()
        .filter_map(|(since, wanted, what)| (wanted && version < since).then_some(what))
        .collect()
    }

    /// Whether it can be had in part at least.
    pub fn can_be_had(&self, kernel: Kernel) -> bool {
        matches!(kernel, Kernel::Version(version) if version > 1 || !self.renames)
    }

    /// Puts this thread, and those that it makes from here on, under these rules.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn enter(&self) -> Result<(), RulesetError> {
        let mut ruleset = create(self.signals, self.tcp != Tcp::Any)?;
        for (path, rights) in &self.rules {
            // What is not there on this system is not needed.
            let (Ok(found), Ok(place)) = (path.metadata(), PathFd::new(path)) else { continue };
            let of_file = AccessFs::from_file(NEWEST);
            let rights = if found.is_dir() { *rights } else { *rights & of_file };
            if !rights.is_empty() {
                ruleset = ruleset.add_rule(PathBeneath::new(place, rights))?;
            }
        }
        if let Tcp::Connect(ports) = &self.tcp {
            for port in ports {
                ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
            }
        }
        ruleset.restrict_self().map(drop)
    }
}

/// A ruleset that forbids all that it can, so far.
fn create(signals: bool, tcp: bool) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
    if tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    if !signals {
        ruleset = ruleset.scope(Scope::Signal)?;
    }
    // Whoever started this may have named one that is to be told.
    let told = env::var_os(notify::VARIABLE).unwrap_or_default();
    if !told.as_encoded_bytes().starts_with(b"@") {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    ruleset.create()
}

/// Leaves this thread no file that it could open.
pub fn give_up_files() {
    let _ = create(false, true).and_then(RulesetCreated::restrict_self);
}

/// What the kernel has of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    Version(i32),
    /// Nothing, and why.
    No(&'static str),
}

impl Kernel {
    pub fn ask() -> Self {
        const ABSENT: Kernel = Kernel::No("Landlock (Linux 5.13 has it)");
        // Without a flag nothing is done but to ask.
        let asked = RestrictSelf::default().no_new_privs(false).apply();
        match asked.map(|status| status.landlock) {
            Ok(LandlockStatus::Available { effective_abi, kernel_abi }) => {
                Self::Version(kernel_abi.unwrap_or(effective_abi as i32))
            }
            Ok(LandlockStatus::NotEnabled) => Self::No(
                "Landlock (this kernel has it and was not told to use it: lsm=landlock,...)",
            ),
            _ => ABSENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device adds to what each server has, in which `/tmp/a` is a directory where all is that it names.
    fn words(spec: &str, changes: bool) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().canonicalize().unwrap();
        let place = place.to_str().unwrap();
        for name in ["edid", "out", "log", "p.in", "p.out"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let mut files = Files::new();
        let own = files.describe();
        let definition = crate::manage::Definition::parse(&spec.replace("/tmp/a", place));
        files.add_device(&definition.unwrap().spec, changes);
        let words = files.describe().into_iter().filter(|word| !own.contains(word));
        words.map(|word| word.replace(place, "/tmp/a")).collect()
    }

    #[test]
    fn a_device_that_does_not_change_has_what_it_takes_to_go_and_to_go_on() {
        for (spec, expected) in [
            ("mdpy-vga", &[][..]),
            ("mbochs-small,edid=/tmp/a/edid", &[]),
            ("mtty-1,serial0=pty", &[]),
            ("mtty-1,serial0=pty,,path=/tmp/a/link", &["remove /tmp/a"]),
            ("mtty-1,serial0=unix:/tmp/a/port", &["remove /tmp/a"]),
            ("mtty-1,serial0=unix:/tmp/a/port,,server=off", &[]),
            ("mtty-1,serial0=file:/tmp/a/out", &[]),
            ("mtty-1,serial0=null,,logfile=/tmp/a/log", &[]),
            ("mtty-1,serial0=pipe:/tmp/a/p", &["write /tmp/a/p.in", "write /tmp/a/p.out"]),
            ("mtty-1,serial0=tcp::4444", &[]),
            ("mtty-1,serial0=tcp:host:4444,,server=off", &[]),
            (
                "mtty-1,serial0=tcp:host:4444,,server=off,,reconnect-ms=10",
                &["connect to TCP port 4444"],
            ),
            ("mtty-1,serial0=tcp:host:no-such,,server=off,,reconnect-ms=10", &["any TCP port"]),
        ] {
            assert_eq!(words(spec, false), expected, "{spec}");
        }
    }

    #[test]
    fn a_device_that_changes_can_come_back_to_what_it_was() {
        for (spec, expected) in [
            ("mbochs-small,edid=/tmp/a/edid", "read /tmp/a/edid"),
            ("mtty-1,serial0=pty,,path=/tmp/a/link", "write /tmp/a"),
            ("mtty-1,serial0=unix:/tmp/a/port", "write /tmp/a"),
            ("mtty-1,serial0=file:/tmp/a/out", "write /tmp/a/out"),
            ("mtty-1,serial0=null,,logfile=/tmp/a/log", "write /tmp/a/log"),
        ] {
            assert_eq!(words(spec, true), [expected], "{spec}");
        }
    }

    #[test]
    fn a_path_is_told_as_it_is_for_everybody() {
        let here = env::current_dir().unwrap().canonicalize().unwrap();
        let mut files = Files::new();
        files.add_socket(Path::new("device.sock"));
        files.add_own(Path::new("src/../src"));
        let words = files.describe();
        for expected in
            [format!("remove {}", here.display()), format!("write {}/src", here.display())]
        {
            assert!(words.contains(&expected), "{expected}: {words:?}");
        }
        let is_relative = |it: &&String| it.contains('/') && !it.contains(" /");
        assert_eq!(words.iter().find(is_relative), None);
        assert!(!words.iter().any(|it| it.ends_with(" .") || it.contains("..")), "{words:?}");
    }

    #[test]
    fn what_a_kernel_lacks_is_named_with_the_one_that_has_it() {
        let mut files = Files::new();
        let lacks = |files: &Files, version| files.missing(Kernel::Version(version)).len();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 99].map(|it| lacks(&files, it)), [4, 4, 3, 2, 1, 0, 0, 0]);
        files.add_later_ports();
        assert_eq!([1, 3, 4].map(|it| lacks(&files, it)), [3, 2, 2], "no port is forbidden");
        assert!(files.can_be_had(Kernel::Version(1)) && !files.can_be_had(Kernel::No("x")));
        assert_eq!(files.missing(Kernel::No("x")), ["x"]);
        // The first one forbids each rename to another directory.
        files.add_own(Path::new("/tmp/run"));
        assert!(!files.can_be_had(Kernel::Version(1)) && files.can_be_had(Kernel::Version(2)));
        let why = files.missing(Kernel::Version(1));
        assert!(why.len() == 1 && why[0].contains("Linux 5.19"), "{why:?}");
    }
}
