//! Debian's packages, without a change to the machine: an apt with its own lists and cache and no installed packages
//! downloads them, dpkg-deb unpacks them into a directory. Works as any user; apt checks every signature as always.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::mirror;
use crate::progress::{self, Meter, megabytes};
use crate::{Error, Result};

/// The release that the guest's kernel comes from, and whose backports have a QEMU that is new enough.
pub(crate) const RELEASE: &str = "trixie";

/// Where Debian's own package puts its keys; without it apt's trusted keys are used.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

pub(crate) struct Apt {
    dir: PathBuf,
    lock: File,
}

/// Which packages come with those that are asked for.
#[derive(Clone, Copy)]
pub(crate) enum With<'a> {
    /// All that they depend on, preferring this release.
    Dependencies {
        release: &'a str,
    },
    Nothing,
}

impl Apt {
    /// Makes the private apt in `dir`, which `lock` guards, and loads the lists of packages.
    pub(crate) fn open(dir: &Path, lock: File) -> Result<Self> {
        for missing in ["apt-get", "dpkg-deb"] {
            let mut version = Command::new(missing);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().map_err(|_| Error::NotDebian { missing })?;
        }
        let apt = Self { dir: dir.to_owned(), lock };
        for part in ["lists/partial", "archives/partial", "empty/partial", "no-parts"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        apt.write("status", "")?;
        apt.write("apt.conf", &configuration(dir, &apt.machine_settings()?))?;
        apt.write("sources.list", &sources(&apt.mirror()?))?;
        progress::line(&format!(
            "apt: loading the lists of packages of {RELEASE} and {RELEASE}-backports"
        ));
        apt.run(apt.own("apt-get").args(["-q", "update"]), "apt-get update")?;
        Ok(apt)
    }

    /// Downloads `packages`, the first of which gives the download its name, and unpacks them into `root`.
    pub(crate) fn fetch(&self, packages: &[&str], with: With<'_>, root: &Path) -> Result<()> {
        let archives = self.dir.join("archives");
        // Asked with an empty cache, so that what an interrupted run left is listed too.
        let listed = self.run(
            self.download(packages, with, &self.dir.join("empty")).arg("--print-uris"),
            "apt-get",
        )?;
        let debs = Deb::parse_list(&listed);
        let size = debs.iter().map(|deb| deb.size).sum();
        let count = debs.len();
        let label = format!(
            "{}: {}",
            packages.first().copied().unwrap_or_default(),
            if count == 1 { "1 package".into() } else { format!("{count} packages") }
        );
        progress::line(&format!("{label}, {}: downloading", megabytes(size)));
        let mut meter = Meter::new(label.clone(), size);
        let downloaded = || meter.show(debs.iter().map(|deb| deb.present(&archives)).sum());
        self.run_while(
            &mut self.download(packages, with, &archives),
            "apt-get download",
            downloaded,
        )?;
        drop(meter);
        progress::line(&format!("{label}: unpacking"));
        for deb in &debs {
            let unpack = &mut Command::new("dpkg-deb");
            self.run(unpack.arg("-x").arg(archives.join(&deb.file)).arg(root), "dpkg-deb -x")?;
        }
        Ok(())
    }

    /// The packages that `package`, as this release has it, depends on directly.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = self.run(
            self.own("apt-cache").args(["depends", "--important", package]),
            "apt-cache depends",
        )?;
        Ok(text
            .lines()
            .filter_map(|line| Some(line.trim().strip_prefix("Depends: ")?.to_owned()))
            .collect())
    }

    /// The version of `package` that would be fetched; none if the mirror has no such package.
    pub(crate) fn version(&self, package: &str) -> Result<Option<String>> {
        let text = self.run(self.own("apt-cache").args(["policy", package]), "apt-cache policy")?;
        Ok(candidate(&text))
    }

    fn download(&self, packages: &[&str], with: With<'_>, archives: &Path) -> Command {
        let mut command = self.own("apt-get");
        command
            .args(["-q", "-y", "-o"])
            .arg(format!("Dir::Cache::archives={}", archives.display()));
        match with {
            With::Dependencies { release } => command.args([
                "--no-install-recommends",
                "--download-only",
                "-t",
                release,
                "install",
            ]),
            // Downloads into the working directory.
            With::Nothing => command.current_dir(archives).arg("download"),
        };
        command.args(packages);
        command
    }

    /// What the machine's apt was told about reaching its mirrors: proxies, certificates, time-outs.
    fn machine_settings(&self) -> Result<String> {
        let dump = self.run(Command::new("apt-config").arg("dump"), "apt-config dump")?;
        let reaching = [
            "Acquire::http",
            "Acquire::https",
            "Acquire::ForceIPv",
            "Acquire::Retries",
            "Acquire::Check-",
        ];
        let lines =
            dump.lines().filter(|line| reaching.iter().any(|prefix| line.starts_with(prefix)));
        Ok(lines.flat_map(|line| [line, "\n"]).collect())
    }

    /// The machine's own mirror of Debian.
    fn mirror(&self) -> Result<String> {
        let find = |command: &mut Command| -> Result<_> {
            Ok(mirror::debian(
                &self.run(command.args(mirror::INDEXTARGETS), "apt-get indextargets")?,
            ))
        };
        if let Some(mirror) = find(&mut Command::new("apt-get"))? {
            return Ok(mirror);
        }
        // The lists of a fresh machine are empty, and which archive a mirror has is known from them alone.
        progress::line("apt: asking this machine's mirrors what they are");
        let machine = || {
            let mut command = self.own("apt-get");
            command.args([
                "-o",
                "Dir::Etc::sourcelist=sources.list",
                "-o",
                "Dir::Etc::sourceparts=sources.list.d",
            ]);
            command
        };
        // Another source than Debian may have failed.
        let updated = self.run(machine().args(["-q", "update"]), "apt-get update");
        match find(&mut machine())? {
            Some(mirror) => Ok(mirror),
            None => updated.and(Err(Error::NoMirror)),
        }
    }

    fn own(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// Runs a command; its stdout.
    fn run(&self, command: &mut Command, name: &str) -> Result<String> {
        let output = self.set_up(command)?.output();
        Self::result(output, name)
    }

    /// The same, with `meanwhile` called fifty times a second.
    fn run_while(
        &self,
        command: &mut Command,
        name: &str,
        mut meanwhile: impl FnMut(),
    ) -> Result<String> {
        let command = self.set_up(command)?;
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| command.output());
            while !running.is_finished() {
                meanwhile();
                thread::sleep(Duration::from_millis(20));
            }
            running.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
        });
        Self::result(output, name)
    }

    fn set_up<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        // If this process is killed, the command may run on: its stdin keeps the lock until it ends, too.
        let lock = self.lock.try_clone().map_err(Error::io("duplicate the lock in", &self.dir))?;
        // Its words are parsed here.
        Ok(command.stdin(lock).env("LC_ALL", "C"))
    }

    fn result(output: io::Result<Output>, name: &str) -> Result<String> {
        let output = output.map_err(Error::io("run", Path::new(name)))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        Err(Error::apt(name, complaints(&(stdout + &String::from_utf8_lossy(&output.stderr)))))
    }
}

fn configuration(dir: &Path, machine: &str) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "{dir}/no-parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{dir}/no-parts";
// The machine's own files may hold hooks that delete from its cache.
Dir::Etc::main "/dev/null";
Dir::Etc::parts "{dir}/no-parts";
// As root apt would download as the user _apt, which cannot write to a cache in a home directory.
APT::Sandbox::User "root";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
{machine}"#
    )
}

fn sources(mirror: &str) -> String {
    let keys = KEYRINGS.iter().find(|path| Path::new(path).exists());
    let signed = keys.map(|path| format!(" signed-by={path}")).unwrap_or_default();
    let line = |suite: &str| format!("deb [arch=amd64{signed}] {mirror} {suite} main\n");
    line(RELEASE) + &line(&format!("{RELEASE}-backports"))
}

/// What went wrong, out of all that apt printed.
fn complaints(output: &str) -> String {
    let told: Vec<_> =
        output.lines().filter(|l| ["E:", "W:", "Err:"].iter().any(|p| l.starts_with(p))).collect();
    if told.is_empty() { output.trim().to_owned() } else { told.join("\n") }
}

/// Out of what `apt-cache policy` prints, which is nothing about a package that does not exist.
fn candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// A line of `--print-uris`: 'URI' file size hash.
#[derive(Debug, PartialEq)]
struct Deb {
    file: String,
    size: u64,
}

impl Deb {
    fn parse_list(text: &str) -> Vec<Self> {
        text.lines().filter(|line| line.starts_with('\'')).filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        Some(Self { file: words.next()?.to_owned(), size: words.next()?.parse().ok()? })
    }

    /// How much of it is there already.
    fn present(&self, archives: &Path) -> u64 {
        let length = |path: PathBuf| path.metadata().map(|file| file.len());
        length(archives.join(&self.file))
            .or_else(|_| length(archives.join("partial").join(&self.file)))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_downloads_to_come_are_read_from_print_uris() {
        let text = "Reading package lists...\n\
            'http://mirror/pool/b/busybox-static_1.37.0-6%2bb9_amd64.deb' busybox-static_1%3a1.37.0-6+b9_amd64.deb 955316 SHA256:00\n";
        let busybox =
            Deb { file: "busybox-static_1%3a1.37.0-6+b9_amd64.deb".into(), size: 955_316 };
        assert_eq!(Deb::parse_list(text), [busybox]);
    }

    #[test]
    fn a_package_that_is_unknown_or_only_named_by_others_has_no_version() {
        assert_eq!(candidate(""), None);
        assert_eq!(candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        let known = "x:\n  Installed: (none)\n  Candidate: 6.12.9-1\n  Version table:\n";
        assert_eq!(candidate(known).as_deref(), Some("6.12.9-1"));
    }

    #[test]
    fn the_complaints_are_picked_from_what_apt_prints() {
        assert_eq!(complaints("Get:1 x\nW: late\nReading\nE: no\n"), "W: late\nE: no");
        assert_eq!(complaints("dpkg-deb: error: no\n"), "dpkg-deb: error: no");
    }
}
