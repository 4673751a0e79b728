#![cfg(test)]
//! The direction of dependencies, where unsafe code is, and that docs/security.md has it all.

#[path = "../crates/vfio-device/tests/contract/named.rs"]
mod named;

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
/// Words that open unsafe code, or declare some.
const UNSAFE: [&str; 5] = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
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

/// The lines of a source without their comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

/// Where in a source unsafe code is: the name of the function of each block, `-` outside of any.
fn unsafe_in(text: &str) -> Vec<String> {
    let mut function = "-";
    let mut found = Vec::new();
    for line in code(text) {
        if let Some((_, rest)) = line.split_once("fn ")
            && let Some((name, _)) = rest.split_once(['(', '<'])
        {
            function = name;
        }
        if UNSAFE.iter().any(|word| line.contains(word)) {
            found.push(function.to_owned());
        }
    }
    found
}

/// A page of docs/, and of it the rows of the table below a headline, as cells.
fn table(page: &str, headline: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {headline}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|it| it.strip_prefix("| ")?.strip_suffix(" |")).skip(1);
    rows.map(|row| row.split(" | ").map(|cell| cell.replace('`', "")).collect()).collect()
}

#[test]
fn unsafe_code_is_in_the_files_that_say_why_and_each_block_in_the_inventory() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let opens = ["expect(unsafe_code", "allow(unsafe_code", "warn(unsafe_code"];
        let blocks = unsafe_in(&text);
        if !blocks.is_empty() || code(&text).any(|line| opens.iter().any(|it| line.contains(it))) {
            assert!(text.contains("// UNSAFETY: "), "{name} does not say why");
            assert!(!blocks.is_empty(), "{name} needs none");
        }
        found.extend(blocks.into_iter().map(|function| [name.clone(), function]));
    }
    let rows = table("security.md", "Unsafe code");
    let mut written: Vec<_> =
        rows.into_iter().map(|row| [row[0].clone(), row[1].clone()]).collect();
    written.sort();
    found.sort();
    assert_eq!(written, found, "docs/security.md on the left");
    for name in SAFE {
        let library = root().join("crates").join(name).join("src/lib.rs");
        let text = std::fs::read_to_string(library).unwrap();
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{name}");
    }
}

#[test]
fn unsafe_code_is_found_where_it_is() {
    let source = "unsafe extern \"C\" {\nfn one(a: A) {\n// unsafe {\nlet a = unsafe { b };\n}\n\
                  unsafe fn two<T>() {\nunsafe {\n";
    assert_eq!(unsafe_in(source), ["-", "one", "two", "two"]);
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (page, _) = page.split_once("\n## Unsafe code\n").unwrap();
    let there_are = named::tests(root(), &["crates", "src", "tests"]);
    let named = named::named(page);
    let missing: Vec<_> = named.iter().filter(|(_, name)| !there_are.contains(name)).collect();
    assert!(missing.is_empty(), "docs/security.md names what is no test: {missing:?}");
    assert!(named.len() > 100, "only {} tests are named: are they still tables?", named.len());
    let (_, threats) = page.split_once("\n## Threats\n").unwrap();
    for row in threats.lines().filter(|line| line.starts_with("| ") && !line.contains("| tests |"))
    {
        assert!(!named::named(row).is_empty(), "nothing shows this: {row}");
    }
}

#[test]
fn the_test_that_shows_what_a_name_is_exists() {
    let page = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, name) = page.split_once("A test's name is a sentence that says what holds (`").unwrap();
    let name = name.split('`').next().unwrap();
    assert!(named::tests(root(), &["crates"]).contains(name), "{name}");
}

#[test]
fn every_fault_that_brought_another_server_down_has_its_row() {
    let rows = table("security.md", "What brought other servers down");
    let mut faults: Vec<_> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    let mut all: Vec<_> = (1..=38).map(|number| format!("L{number}")).collect();
    all.extend((1..=18).map(|number| format!("R{number}")));
    faults.sort_unstable();
    all.sort();
    assert_eq!(faults, all);
}

#[test]
fn no_file_is_longer_than_450_lines_or_has_letters_beyond_ascii() {
    for (name, text) in sources() {
        assert!(text.lines().count() <= 450, "{name} has {} lines", text.lines().count());
        assert!(text.is_ascii(), "{name}");
    }
}
