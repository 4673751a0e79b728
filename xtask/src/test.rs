//! `cargo xtask test`: every check that a change must pass.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use guest_kit::Tools;

use crate::cargo::{cargo, succeed};
use crate::package;
use crate::report::{Result, heading};

/// A title and what is run.
type Step = (&'static str, fn() -> Result);

const STEPS: [Step; 9] = [
    ("rustfmt and clippy are there", components),
    ("formatting", || succeed(&mut cargo("fmt --all --check"))),
    ("lints", || succeed(&mut cargo("clippy --workspace --all-targets --locked -- -D warnings"))),
    ("the fuzz targets, which have a lock file of their own", || {
        // Checked, not linked: it takes no libFuzzer, and so no C++ compiler.
        let check = "check --manifest-path fuzz/Cargo.toml --locked";
        succeed(cargo(check).env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a"))
    }),
    ("QEMU, a kernel, its drivers and a busybox for the guests", tools),
    ("tests, guests included", || {
        succeed(&mut cargo(
            "test --workspace --locked --no-fail-fast --lib --bins --tests --examples",
        ))
    }),
    ("the documentation's examples", || {
        succeed(&mut cargo("test --workspace --all-features --locked --doc"))
    }),
    ("documentation", || {
        let doc = "doc --workspace --all-features --no-deps --locked";
        succeed(cargo(doc).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("packages, and that they build from nothing else", package::check),
];

/// Runs the steps; the first that fails is the last.
pub fn run() -> Result {
    let start = Instant::now();
    for (number, (title, step)) in (1..).zip(STEPS) {
        heading(&format!("{number}/{} {title}", STEPS.len()));
        step().map_err(|error| format!("test: step {number}, {title}: {error}"))?;
    }
    println!("\nAll steps of the test command, in {:.0} s:", start.elapsed().as_secs_f32());
    println!("test: {} passed, 0 failed", STEPS.len());
    Ok(())
}

/// rustup installs a toolchain without them when its profile is minimal.
fn components() -> Result {
    let quietly = |command: &mut Command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let mut version = cargo(subcommand);
        if quietly(version.arg("--version")) {
            continue;
        }
        println!("rustup component add {component}");
        let added = Command::new("rustup").args(["component", "add", component]).status();
        if !added.is_ok_and(|status| status.success()) {
            return Err(format!(
                "cargo {subcommand} is missing: install {component} for this Rust"
            )
            .into());
        }
    }
    Ok(())
}

/// Before the tests, whose output cargo holds back.
fn tools() -> Result {
    let tools = Tools::prepare()?.with_mdpy_fb()?;
    tools.edid_decode()?;
    tools.gdb()?;
    tools.gdbserver()?;
    println!("QEMU {}", tools.qemu().version());
    for program in ["systemd-analyze", "systemd-socket-activate"] {
        if !Path::new("/usr/bin").join(program).exists() {
            println!("NOT TESTED HERE: what needs {program}, units and sockets; install systemd");
        }
    }
    if !mounts()? {
        println!(
            "NOT TESTED HERE: files where there is no room left (tests/hostile/room.rs); run as root, or where \
             users may have namespaces of their own (unshare --mount --map-root-user)"
        );
    }
    Ok(())
}

/// Whether those tests can mount a small file system, as they do.
fn mounts() -> Result<bool> {
    let root = std::fs::metadata("/proc/self")?.uid() == 0;
    let user: &[&str] = if root { &[] } else { &["--map-root-user"] };
    let mount = ["--", "mount", "-t", "tmpfs", "none"];
    let place = std::env::temp_dir();
    let unshare = Command::new("unshare").arg("--mount").args(user).args(mount).arg(place).output();
    Ok(unshare.is_ok_and(|output| output.status.success()))
}
