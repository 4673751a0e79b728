#![cfg(test)]
//! `docs/life-cycle.md` names the tests that hold its rows: each of them exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Directories with the sources of tests that the page may name.
const SOURCES: [&str; 6] = [
    "crates/vfio-device/src",
    "crates/vfio-device/tests",
    "crates/vfio-user-server/src",
    "crates/vfio-user-server/tests",
    "src/manage",
    "tests/manage",
];

/// Names of all functions below these directories that are marked as a test.
fn tests(below: &[&str]) -> BTreeSet<String> {
    let mut directories: Vec<PathBuf> = below.iter().map(|name| root().join(name)).collect();
    let mut names = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_of(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    names
}

fn tests_of(source: &str) -> Vec<String> {
    let mut marked = false;
    let mut names = Vec::new();
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            names.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        } else if !line.starts_with("#[") {
            marked = false;
        }
    }
    names
}

/// The words in backquotes in the last cell of each row, with the row's line number.
fn named(page: &str) -> Vec<(usize, String)> {
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(at, row)| {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(|name| (at + 1, name.to_owned())).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn a_page_s_tests_are_found_in_the_last_cell_and_in_the_sources_only_if_marked() {
    let source = "#[test]\n#[ignore]\nfn one() {\n}\nfn helper() {}\n#[test]\nfn two() -> T {\n";
    assert_eq!(tests_of(source), ["one", "two"]);
    let page = "| row | `not this` | `one`, `two` |\n`nor this`\n| a | - |";
    assert_eq!(named(page), [(1, "one".to_owned()), (1, "two".to_owned())]);
}

#[test]
fn every_test_that_the_life_cycle_page_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/life-cycle.md")).unwrap();
    let (named, tests_there_are) = (named(&page), tests(&SOURCES));
    let missing: Vec<_> =
        named.iter().filter(|(_, name)| !tests_there_are.contains(name)).collect();
    assert!(missing.is_empty(), "docs/life-cycle.md names what is no test: {missing:?}");
    assert!(named.len() > 60, "only {} tests are named: is it still a table?", named.len());
    for file in ["life", "contract", "races"] {
        let source = root().join(format!("tests/manage/{file}.rs"));
        for test in tests_of(&std::fs::read_to_string(source).unwrap()) {
            assert!(named.iter().any(|(_, name)| *name == test), "{test} is missing in the page");
        }
    }
    for shape in tests(&["crates/vfio-device/tests/contract/shapes"]) {
        assert!(named.iter().any(|(_, name)| *name == shape), "{shape} is missing in the page");
    }
}
