#![cfg(test)]
//! What the registry and those who build from it take the manifests' word for.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PUBLISHED: [&str; 7] =
    ["chardev", "mbochs", "mdev-user", "mdpy", "mtty", "vfio-device", "vfio-user-server"];
/// Of crates.io's list, those that we use.
const CATEGORIES: [&str; 5] = [
    "command-line-utilities",
    "emulators",
    "hardware-support",
    "network-programming",
    "virtualization",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo knows of the packages that a build on this machine can take in, and of who needs whom.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &format!("{ARCH}-unknown-linux-gnu")])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every package that a build on this machine can take in.
fn packages() -> Vec<Value> {
    let mut metadata = metadata();
    let Value::Array(packages) = metadata["packages"].take() else { panic!() };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<_> = nodes.iter().map(|node| text(&node["id"])).collect();
    packages.into_iter().filter(|package| used.contains(text(&package["id"]))).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

/// Our own, without those that are for development only.
fn published() -> Vec<Value> {
    let all = packages().into_iter();
    all.filter(|package| package["source"].is_null() && package["publish"].is_null()).collect()
}

/// What is in a program or a library that is handed on: the published packages, and what they are built of. Macros are not
/// in it: they run when it is built.
fn shipped() -> Vec<Value> {
    let mut wanted: Vec<_> = published().iter().map(|it| text(&it["id"]).to_owned()).collect();
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let packages = packages();
    let is_macro = |id: &str| {
        let package = packages.iter().find(|package| package["id"] == id).unwrap();
        package["targets"][0]["kind"][0] == "proc-macro"
    };
    let mut found = BTreeSet::new();
    while let Some(id) = wanted.pop() {
        let node = nodes.iter().find(|node| node["id"] == *id).unwrap();
        let deps = node["deps"].as_array().unwrap().iter();
        let ids = deps
            .filter(|dep| {
                dep["dep_kinds"].as_array().unwrap().iter().any(|it| it["kind"].is_null())
            })
            .map(|dep| text(&dep["pkg"]))
            .filter(|id| !is_macro(id));
        if found.insert(id.clone()) {
            wanted.extend(ids.map(str::to_owned));
        }
    }
    packages.into_iter().filter(|package| found.contains(text(&package["id"]))).collect()
}

fn directory(package: &Value) -> PathBuf {
    Path::new(text(&package["manifest_path"])).parent().unwrap().into()
}

/// The first two numbers of a version.
fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap_or(0))
}

#[test]
fn these_are_published_and_nothing_else() {
    let mut names: Vec<_> =
        published().iter().map(|package| text(&package["name"]).to_owned()).collect();
    names.sort();
    assert_eq!(names, PUBLISHED);
}

/// What is below target/deb is written by `cargo xtask deb`, which looks at the package.
#[test]
fn what_the_debian_package_takes_is_there_and_all_of_dist_is_taken() {
    let package = packages().into_iter().find(|package| package["name"] == "mdev-user").unwrap();
    let deb = &package["metadata"]["deb"];
    let mut taken = BTreeSet::new();
    let files = |pattern: &str| -> Vec<PathBuf> {
        let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let (prefix, suffix) = name.split_once('*').unwrap_or((name, ""));
        let entries = fs::read_dir(root().join(directory)).unwrap().map(|it| it.unwrap().path());
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            path.is_file() && name.starts_with(prefix) && name.ends_with(suffix)
        };
        entries.filter(fits).collect()
    };
    let single = texts(&deb["license-file"]).into_iter().chain([text(&deb["changelog"])]);
    let assets = deb["assets"].as_array().unwrap().iter().map(|asset| text(&asset[0]));
    for source in single.chain(assets).filter(|source| !source.starts_with("target/")) {
        let found = files(source);
        assert!(!found.is_empty(), "{source}");
        taken.extend(found);
    }
    for directory in ["systemd", "vfio-user", "deb"] {
        for file in files(&format!("dist/{directory}/*")) {
            assert!(taken.contains(&file), "{}", file.display());
        }
    }
    let changelog = fs::read_to_string(root().join("dist/deb/changelog")).unwrap();
    let version = format!("mdev-user ({}-1) ", text(&package["version"]));
    assert!(changelog.starts_with(&version), "{changelog}");
}

#[test]
fn what_the_registry_shows_is_there() {
    for package in published() {
        let name = text(&package["name"]);
        assert!((20..=120).contains(&text(&package["description"]).len()), "{name}");
        assert_eq!(text(&package["license"]), "Apache-2.0 OR BSD-3-Clause", "{name}");
        let readme =
            fs::read_to_string(directory(&package).join(text(&package["readme"]))).unwrap();
        assert!(readme.starts_with(&format!("# {name}\n")), "{name}");

        let keywords = texts(&package["keywords"]);
        assert!((1..=5).contains(&keywords.len()), "{name}");
        for keyword in keywords {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(keyword.len() <= 20 && keyword.chars().all(plain), "{name}: {keyword}");
        }
        let categories = texts(&package["categories"]);
        assert!((1..=5).contains(&categories.len()), "{name}");
        for category in categories {
            assert!(CATEGORIES.contains(&category), "{name}: {category}");
        }
    }
}

#[test]
fn both_licences_are_in_each_package() {
    for package in published() {
        for licence in ["LICENSE-APACHE", "LICENSE-BSD-3-Clause"] {
            let ours = fs::read(root().join(licence)).unwrap();
            assert!(ours == fs::read(directory(&package).join(licence)).unwrap(), "{licence}");
        }
    }
}

/// Each of them can be had under terms that ours are compatible with; what tests alone use is not handed on.
#[test]
fn what_is_handed_on_is_under_a_licence_that_asks_no_more_than_to_be_named() {
    const GRANTED: [&str; 6] = ["0BSD", "Apache-2.0", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];
    let packages = shipped();
    assert!(packages.len() > 30, "{}", packages.len());
    for package in packages {
        let (name, terms) = (text(&package["name"]), text(&package["license"]));
        let granted = |choice: &str| GRANTED.contains(&choice.trim_matches(['(', ')', ' ']));
        let all = terms
            .split(" AND ")
            .all(|part| part.split(" OR ").flat_map(|it| it.split('/')).any(granted));
        assert!(all, "{name}: {terms}");
    }
}

#[test]
fn nothing_is_handed_on_in_two_versions() {
    let mut seen = BTreeSet::new();
    for package in shipped() {
        let name = text(&package["name"]).to_owned();
        assert!(
            seen.insert(name.clone()),
            "{name}: `cargo tree -d -e no-dev` says who wants which"
        );
    }
}

/// The files that the package of this name holds.
fn packaged(name: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--quiet", "--allow-dirty", "--offline", "--locked"])
        .args(["--package", name])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_package_holds_sources_readme_and_licences_and_no_tests() {
    for name in PUBLISHED {
        let files = packaged(name);
        for needed in ["src/lib.rs", "README.md", "LICENSE-APACHE", "LICENSE-BSD-3-Clause"] {
            assert!(files.iter().any(|file| file == needed), "{name}: {needed}: {files:?}");
        }
        for file in files {
            assert!(!file.starts_with("tests/") && !file.starts_with('/'), "{name}: {file}");
        }
    }
}

#[test]
fn each_link_of_a_packaged_document_leads_into_the_package() {
    let mut links = 0;
    for package in published() {
        let name = text(&package["name"]);
        let files = packaged(name);
        for document in files.iter().filter(|file| file.ends_with(".md")) {
            let words = fs::read_to_string(directory(&package).join(document)).unwrap();
            for link in words.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
                let path = link.split('#').next().unwrap();
                if path.contains("://") || path.is_empty() {
                    continue;
                }
                let mut target: Vec<_> = document.split('/').collect();
                target.pop();
                for step in path.split('/') {
                    match step {
                        ".." => assert!(target.pop().is_some(), "{name}, {document}: {link}"),
                        "." => (),
                        step => target.push(step),
                    }
                }
                let (target, within) = (target.join("/"), target.join("/") + "/");
                let is_there = |file: &String| *file == target || file.starts_with(&within);
                assert!(files.iter().any(is_there), "{name}, {document}: {link}");
                links += 1;
            }
        }
    }
    assert!(links > 40, "{links}");
}

/// Those that have an API: all but the program.
fn libraries() -> impl Iterator<Item = &'static str> {
    PUBLISHED.into_iter().filter(|name| *name != "mdev-user")
}

#[test]
fn what_can_be_relied_on_is_said_of_each_library() {
    let words = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let (_, words) = words.split_once("\n## The Rust API\n\nOf ").unwrap();
    let mut named: Vec<_> =
        words.split(':').next().unwrap().split('`').skip(1).step_by(2).collect();
    named.sort_unstable();
    assert_eq!(named, libraries().collect::<Vec<_>>());
}

/// Sources of a crate.
fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![fs::read_to_string(path).unwrap()],
        })
        .collect()
}

#[test]
fn an_enum_that_is_exhaustive_is_so_by_intent() {
    let words = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let rule = words.split("Exhaustive are").nth(1).unwrap().split("\n- ").next().unwrap();
    let mut named: BTreeSet<_> = rule.split('`').skip(1).step_by(2).collect();
    // Structs and crates, not enums.
    ["MdevType", "Plane", "wire", "mtty", "Options", "mbochs"]
        .iter()
        .for_each(|it| assert!(named.remove(it), "{it}"));
    let texts: Vec<_> = libraries()
        .flat_map(|name| sources(&root().join("crates").join(name).join("src")))
        .collect();
    let mut found = BTreeSet::new();
    for item in texts.iter().flat_map(|text| text.split("\n\n")) {
        let Some((before, rest)) = item.split_once("pub enum ") else { continue };
        if !before.contains("#[non_exhaustive]") {
            found.insert(rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap());
        }
    }
    assert_eq!(found, named, "in the sources, and in docs/compatibility.md");
}

#[test]
fn no_dependency_needs_a_newer_rust_than_we_say() {
    let ours = release(env!("CARGO_PKG_RUST_VERSION"));
    let mut declared = 0;
    for package in packages() {
        if let Some(theirs) = package["rust_version"].as_str() {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            assert!(release(theirs) <= ours, "{name} {version} needs Rust {theirs}");
            declared += 1;
        }
    }
    assert!(declared > 30, "{declared} packages say what they need");
}

#[test]
fn the_documents_name_the_rust_of_the_manifest() {
    let (_, ours) = release(env!("CARGO_PKG_RUST_VERSION"));
    let documents = PUBLISHED.map(|name| match name {
        "mdev-user" => "README.md".to_owned(),
        name => format!("crates/{name}/README.md"),
    });
    for document in documents {
        let words = fs::read_to_string(root().join(&document)).unwrap();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let named: Vec<_> = words.split("Rust 1.").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(named, [ours.to_string()], "{document}");
    }
}
