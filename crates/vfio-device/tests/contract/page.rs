#![cfg(test)]
//! `docs/life-cycle.md` names the tests that hold its rows: each of them exists.

use std::path::{Path, PathBuf};

use crate::named::{named, tests, tests_of};

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
    let (named, tests_there_are) = (named(&page), tests(&root(), &SOURCES));
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
    for shape in tests(&root(), &["crates/vfio-device/tests/contract/shapes"]) {
        assert!(named.iter().any(|(_, name)| *name == shape), "{shape} is missing in the page");
    }
}
