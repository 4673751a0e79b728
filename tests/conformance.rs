#![cfg(test)]
//! `docs/conformance.md` and the tests say the same.
//!
//! A test that shows a case carries its number: the line `/// Conformance: A27, B9.` above `#[test]`. The page has a row
//! for each number, with a status and the tests. It is looked at from both sides, so neither can get ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where marked tests are; the page names a test by its file's path below, without `.rs`.
const TESTS: [&str; 2] = ["crates/vfio-user-server/tests", "tests"];
const MARK: &str = "/// Conformance:";
const STATUSES: [&str; 3] = ["covered", "differs", "not yet"];
/// How many cases there are of the kinds that are not ours to number.
const CASES: [(&str, usize); 2] = [("A", 195), ("B", 43)];

/// A row of the page: its status, and the tests that it names, as `file::function`.
#[derive(Debug)]
struct Row {
    status: String,
    tests: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/conformance.md")).unwrap()
}

/// Letter and number of `A27`.
fn case(word: &str) -> Option<(&str, usize)> {
    let (kind, number) = word.split_at_checked(1)?;
    let number = number.parse().ok()?;
    ["A", "B", "S"].contains(&kind).then_some((kind, number))
}

/// The rows of the page, by case; panics at a case that has two, and at a row that is not understood.
fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in page().lines() {
        let Some(cells) = line.strip_prefix("| ").and_then(|it| it.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<_> = cells.split(" | ").collect();
        if case(cells[0]).is_none() {
            continue;
        }
        let [.., what, answer, status, tests] = &cells[..] else { panic!("{line}") };
        assert!(STATUSES.contains(status), "status of {line}");
        assert!(!what.is_empty() && !answer.is_empty(), "{line}");
        let tests = match *tests {
            "-" => BTreeSet::new(),
            list => list
                .split(", ")
                .map(|name| name.trim_matches('`').to_owned())
                .inspect(|name| assert!(name.contains("::"), "{name} in {line}"))
                .collect(),
        };
        let row = Row { status: (*status).to_owned(), tests };
        assert!(rows.insert(cells[0].to_owned(), row).is_none(), "{} has two rows", cells[0]);
    }
    rows
}

/// Every file of tests: its name on the page, and its text.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for base in TESTS.map(|base| root().join(base)) {
        let mut directories: Vec<PathBuf> = vec![base.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(&base).unwrap().with_extension("");
                    let text = std::fs::read_to_string(&path).unwrap();
                    sources.push((name.to_str().unwrap().to_owned(), text));
                }
            }
        }
    }
    sources
}

/// Name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("fn ")?.split_once('(').map(|(name, _)| name)
}

/// Every test, and the cases that it carries.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    for (file, text) in sources() {
        if file == "conformance" {
            continue;
        }
        let mut marked = BTreeSet::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(cases) = line.trim_start().strip_prefix(MARK) {
                let cases = cases.trim().strip_suffix('.').unwrap_or_else(|| panic!("{line}"));
                for word in cases.split(", ") {
                    assert!(case(word).is_some(), "{file}: {line}");
                    assert!(marked.insert(word.to_owned()), "{file}: {line}");
                }
            } else if line.trim() == "#[test]" {
                let until = |line: &&str| function(line).is_none();
                let ignored = lines.clone().take_while(until).any(|line| line.contains("#[ignore"));
                let name = lines.by_ref().find_map(function).unwrap();
                assert!(marked.is_empty() || !ignored, "{file}: {name} is ignored");
                let name = format!("{file}::{name}");
                let marked = std::mem::take(&mut marked);
                assert!(tests.insert(name.clone(), marked).is_none(), "two tests are {name}");
            } else {
                let between = line.trim_start().starts_with("///");
                assert!(marked.is_empty() || between, "{file}: no test under {marked:?}: {line}");
            }
        }
        assert!(marked.is_empty(), "{file}: {marked:?}");
    }
    assert!(tests.len() > 300, "{} tests", tests.len());
    tests
}

#[test]
fn every_case_has_one_row_and_no_number_is_left_out() {
    let rows = rows();
    let further = rows.keys().filter(|number| number.starts_with('S')).count();
    let mut all = BTreeSet::new();
    for (kind, count) in CASES.into_iter().chain([("S", further)]) {
        all.extend((1..=count).map(|number| format!("{kind}{number}")));
    }
    assert!(further > 40, "{further} rules");
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), all);
}

#[test]
fn every_test_that_a_row_names_exists_and_carries_its_number() {
    let tests = tests();
    for (number, row) in rows() {
        assert_eq!(row.tests.is_empty(), row.status == "not yet", "{number}: {row:?}");
        for name in &row.tests {
            let marked = tests.get(name).unwrap_or_else(|| panic!("{number}: no test {name}"));
            assert!(marked.contains(&number), "{name} does not carry {number}");
        }
    }
}

#[test]
fn every_number_that_a_test_carries_is_in_a_row_that_names_the_test() {
    let rows = rows();
    for (name, cases) in tests() {
        for number in cases {
            let row = rows.get(&number).unwrap_or_else(|| panic!("{name}: no row {number}"));
            assert!(row.tests.contains(&name), "row {number} ({}) lacks {name}", row.status);
        }
    }
}

/// The cases that the tables of a section speak of, in their second cells: `A1, A5 to A7`.
fn explained(section: &str) -> BTreeSet<String> {
    let page = page();
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).unwrap();
    let text = rest.split("\n## ").next().unwrap();
    let mut cases = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        for item in line.split(" | ").nth(1).unwrap().split(", ") {
            let (from, to) = item.split_once(" to ").unwrap_or((item, item));
            let (Some((kind, from)), Some((_, to))) = (case(from), case(to)) else { continue };
            for number in from..=to {
                assert!(cases.insert(format!("{kind}{number}")), "{kind}{number} twice: {line}");
            }
        }
    }
    cases
}

#[test]
fn what_is_not_yet_or_different_has_its_reason() {
    let rows = rows();
    let with = |status: &str| -> BTreeSet<String> {
        let all = rows.iter().filter(|(_, row)| row.status == status);
        all.map(|(number, _)| number.clone()).collect()
    };
    assert_eq!(explained("Not yet, and why"), with("not yet"));
    assert_eq!(explained("Where we differ from libvfio-user"), with("differs"));
}

#[test]
fn the_summary_counts_the_rows() {
    let rows = rows();
    let page = page();
    for (kind, start) in [("A", "| A, "), ("B", "| B, "), ("S", "| S, ")] {
        let line = page.lines().find(|line| line.starts_with(start)).unwrap();
        let of_kind = || rows.iter().filter(|(number, _)| number.starts_with(kind));
        let counts = STATUSES.map(|it| of_kind().filter(|(_, row)| row.status == it).count());
        let [covered, differs, not_yet] = counts;
        let expected = format!("| {covered} | {differs} | {not_yet} | {} |", of_kind().count());
        assert!(line.ends_with(&expected), "{line} is not {expected}");
    }
}
