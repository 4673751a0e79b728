//! `cargo xtask deb`: a Debian package, and that it holds what it should and runs, without installing it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{build_program, cargo, succeed};
use crate::report::{Result, heading};

/// Installed files that somebody relies on, with no directory that others have.
const FILES: [&str; 11] = [
    "usr/bin/mdev-user",
    "usr/share/man/man1/mdev-user.1.gz",
    "usr/share/man/man1/mdev-user-serve.1.gz",
    "usr/share/bash-completion/completions/mdev-user",
    "usr/share/zsh/vendor-completions/_mdev-user",
    "usr/share/fish/vendor_completions.d/mdev-user.fish",
    "usr/lib/systemd/user/mdev-user.socket",
    "usr/lib/systemd/user/mdev-user.service",
    "usr/lib/systemd/user/mdev-user@.socket",
    "usr/lib/systemd/user/mdev-user@.service",
    "usr/share/vfio-user/50-mdev-user.json",
];

pub fn run() -> Result {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let target = root.join("target");

    heading("1/4 cargo-deb is there");
    let path = cargo_deb(&target.join("tools"))?;
    heading("2/4 the program, its manual pages and completions");
    generate(&build_program()?, &target.join("deb"))?;
    heading("3/4 the package");
    let output = cargo("deb --no-build --locked --quiet")
        .env("PATH", path)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo deb: {}", output.status).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    let package = PathBuf::from(printed.lines().last().ok_or("cargo deb named no package")?);
    heading("4/4 what is in it");
    check(&package, &target.join("deb/unpacked"))?;
    println!("{}", package.display());
    Ok(())
}

/// PATH with cargo-deb on it, which is built if it is missing.
fn cargo_deb(tools: &Path) -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = env::split_paths(&path).chain([tools.join("bin")]).collect();
    if !directories.iter().any(|directory| directory.join("cargo-deb").is_file()) {
        succeed(cargo("install cargo-deb --version ^3 --locked --quiet --root").arg(tools))?;
    }
    Ok(env::join_paths(directories)?)
}

/// Has the program write what is made of its command line's definition.
fn generate(program: &Path, into: &Path) -> Result {
    let man = into.join("man");
    if man.exists() {
        fs::remove_dir_all(&man)?;
    }
    fs::create_dir_all(&man)?;
    let done = Command::new(program).args(["man", "--out"]).arg(&man).status()?;
    let mut all_done = done.success();
    for (shell, name) in
        [("bash", "mdev-user.bash"), ("zsh", "_mdev-user"), ("fish", "mdev-user.fish")]
    {
        let file = File::create(into.join(name))?;
        all_done &=
            Command::new(program).args(["completions", shell]).stdout(file).status()?.success();
    }
    if all_done { Ok(()) } else { Err("mdev-user cannot write its pages and completions".into()) }
}

/// Unpacks it, and runs the program that was in it.
fn check(package: &Path, unpacked: &Path) -> Result {
    if unpacked.exists() {
        fs::remove_dir_all(unpacked)?;
    }
    let status = Command::new("dpkg-deb").arg("-x").arg(package).arg(unpacked).status()?;
    if !status.success() {
        return Err(format!("dpkg-deb cannot unpack {}: {status}", package.display()).into());
    }
    if let Some(missing) = FILES.iter().find(|file| !unpacked.join(file).is_file()) {
        return Err(format!("{missing} is not in {}", package.display()).into());
    }
    let output = Command::new(unpacked.join("usr/bin/mdev-user")).arg("types").output()?;
    if !output.status.success() || !output.stdout.starts_with(b"TYPE") {
        return Err("the program in the package does not run".into());
    }
    match Command::new("lintian").arg(package).status() {
        Ok(_) => (), // it has said what it thinks; what Debian itself asks for need not be there
        Err(_) => println!("NOT CHECKED by lintian, which is not installed"),
    }
    println!("{} files as they should be, and the program runs", FILES.len());
    Ok(())
}
