#![cfg(test)]
//! Pages that name tests in the last cells of their tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names of all functions below these directories that are marked as a test.
pub fn tests(root: &Path, below: &[&str]) -> BTreeSet<String> {
    let mut directories: Vec<PathBuf> = below.iter().map(|name| root.join(name)).collect();
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

/// The same of one source.
pub fn tests_of(source: &str) -> Vec<String> {
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
pub fn named(page: &str) -> Vec<(usize, String)> {
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(at, row)| {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(|name| (at + 1, name.to_owned())).collect::<Vec<_>>()
    })
    .collect()
}
