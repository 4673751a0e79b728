#![cfg(test)]
//! The direction of dependencies, and where unsafe code is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates, and of ours what each may use.
const EDGES: [(&str, &[&str]); 10] = [
    ("bench-peers", &["mbochs", "mtty", "vfio-device", "vfio-user-server"]),
    ("chardev", &[]),
    ("vfio-device", &[]),
    ("vfio-user-server", &["vfio-device"]),
    ("mbochs", &["vfio-device"]),
    ("mdpy", &["vfio-device"]),
    ("mtty", &["vfio-device"]),
    ("guest-kit", &[]),
    ("xtask", &["guest-kit"]),
    (
        "mdev-user",
        &["chardev", "guest-kit", "mbochs", "mdpy", "mtty", "vfio-device", "vfio-user-server"],
    ),
];
/// Registers and nothing of the host: no libc, no socket, no log.
const DEVICES: [&str; 3] = ["mbochs", "mdpy", "mtty"];
/// The files with unsafe code, each of which says why at its top.
const UNSAFE: [&str; 7] = [
    "crates/bench-peers/src/receives.rs", // for development only, as the next
    "crates/guest-kit/src/guest/flip.rs", // a guest's program, and no part of ours
    "crates/vfio-device/src/dma/window.rs",
    "crates/vfio-device/src/irq/aio.rs",
    "crates/vfio-user-server/src/transport.rs",
    "src/inherited.rs",
    "xtask/src/bench/probe.rs", // a guest's program, and no part of ours
];
/// Crates that forbid it for good, so that none of their modules can opt in.
const SAFE: [&str; 5] = ["chardev", "guest-kit", "mbochs", "mdpy", "mtty"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name of each package, and its dependencies: name, and kind ("normal", "dev", "build").
fn packages() -> BTreeMap<String, Vec<(String, String)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("normal").to_owned();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().map(|it| (text(&it["name"]), text(&it["kind"]))).collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (text(&package["name"]), dependencies(package))).collect()
}

/// Every file below the `src` directories: path from the root, and text.
fn sources() -> Vec<(String, String)> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let mut directories: Vec<PathBuf> =
        crates.map(|entry| entry.unwrap().path().join("src")).collect();
    directories.extend([root().join("src"), root().join("xtask/src")]);
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.len() > 40, "{} files", files.len());
    files
}

#[test]
fn crates_depend_downwards_only() {
    let packages = packages();
    let names: Vec<_> = packages.keys().map(String::as_str).collect();
    let mut known: Vec<_> = EDGES.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(names, known, "a crate that this test knows nothing of");
    for (name, allowed) in EDGES {
        for (dependency, kind) in &packages[name] {
            let ours = names.contains(&dependency.as_str());
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name}: {kind} {dependency}");
        }
    }
    let of_program = &packages["mdev-user"];
    assert!(!of_program.contains(&("guest-kit".into(), "normal".into())), "it is for tests alone");
}

#[test]
fn devices_depend_on_the_device_contract_alone() {
    let packages = packages();
    for device in DEVICES {
        let normal: Vec<_> = packages[device]
            .iter()
            .filter(|(_, kind)| kind != "dev")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(normal, ["vfio-device"], "{device}");
    }
}

#[test]
fn unsafe_code_is_in_the_files_that_say_why() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
        let opens = ["expect(unsafe_code", "allow(unsafe_code", "warn(unsafe_code"];
        let holds = |line: &str| words.iter().chain(&opens).any(|word| line.contains(word));
        if code.filter(|line| holds(line)).count() != 0 {
            assert!(text.contains("// UNSAFETY: "), "{name} does not say why");
            found.push(name);
        }
    }
    assert_eq!(found, UNSAFE);
    for name in SAFE {
        let library = root().join("crates").join(name).join("src/lib.rs");
        let text = std::fs::read_to_string(library).unwrap();
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{name}");
    }
}

#[test]
fn no_file_is_longer_than_450_lines_or_has_letters_beyond_ascii() {
    for (name, text) in sources() {
        assert!(text.lines().count() <= 450, "{name} has {} lines", text.lines().count());
        assert!(text.is_ascii(), "{name}");
    }
}
