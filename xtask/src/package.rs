//! The packages that a registry would get, and that they build from what is in them and nothing else.
//!
//! Cargo's own verification takes crates that depend on each other for a registry's, which never change: in a directory
//! where it has run before it may verify against what they were then.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cargo::{cargo, succeed};
use crate::report::Result;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const CRATES: [&str; 7] =
    ["chardev", "vfio-device", "vfio-user-server", "mbochs", "mdpy", "mtty", "mdev-user"];

/// Packages the crates, unpacks them, and checks them as a workspace of their own.
pub fn check() -> Result {
    // Offline, as all there is to fetch has been fetched, and cargo would ask the registry for our own crates. Quiet about
    // each test that is not in a package.
    let package = "package --workspace --exclude bench-peers --exclude guest-kit --exclude xtask \
                   --no-verify";
    succeed(&mut cargo(&format!("{package} --locked --offline --allow-dirty --quiet")))?;

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let target = root.join("target");
    let unpacked = target.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    let mut manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n\n".to_owned();
    manifest += "[patch.crates-io]\n";
    for name in CRATES {
        let archive = target.join(format!("package/{name}-{VERSION}.crate"));
        // With the time of today: cargo tells by it what has changed.
        let mut tar = Command::new("tar");
        let status = tar.arg("-xmzf").arg(&archive).arg("-C").arg(&unpacked).status()?;
        if !status.success() {
            return Err(format!("tar cannot unpack {}: {status}", archive.display()).into());
        }
        manifest += &format!("{name} = {{ path = \"{name}-{VERSION}\" }}\n");
    }
    fs::write(unpacked.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), unpacked.join("Cargo.lock"))?;
    let check = "check --workspace --offline --quiet --manifest-path target/unpacked/Cargo.toml";
    succeed(&mut cargo(&format!("{check} --target-dir target")))
}
