//! The table of scenarios tells the truth.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MAIN: &str = include_str!("main.rs");

/// So many scenarios there are.
const SCENARIOS: u32 = 25;

/// A row: its number, and the tests it names with their files.
struct Row {
    number: u32,
    tests: Vec<(PathBuf, String)>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let lines = MAIN.lines().filter_map(|line| line.strip_prefix("//! | "));
    lines.filter_map(row).collect()
}

/// In the last cell, a file in code goes before the tests in it.
fn row(line: &str) -> Option<Row> {
    let mut cells = line.trim_end_matches(" |").split(" | ");
    let number = cells.next()?.parse().ok()?;
    let mut tests = Vec::new();
    let mut file = PathBuf::new();
    for code in cells.last()?.split('`').skip(1).step_by(2) {
        if code.starts_with("tests/") || code.starts_with("src/") {
            file = root().join(code);
        } else if code.ends_with(".rs") {
            file = root().join("tests/peers").join(code);
        } else {
            tests.push((file.clone(), code.to_owned()));
        }
    }
    Some(Row { number, tests })
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The tests of a file, each with its comment.
fn tests_of(file: &Path) -> Vec<(String, String)> {
    let text = read(file);
    let (mut found, mut comment, mut test) = (Vec::new(), String::new(), false);
    for line in text.lines().map(str::trim_start) {
        if let Some(said) = line.strip_prefix("///") {
            comment.push_str(said);
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            test = true;
        } else if !line.starts_with("#[") {
            let name = line
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| test) {
                found.push((name.to_owned(), comment.trim().to_owned()));
            }
            (comment, test) = (String::new(), false);
        }
    }
    found
}

#[test]
fn every_scenario_is_there_once() {
    let numbers: Vec<u32> = rows().iter().map(|row| row.number).collect();
    let wanted: Vec<u32> = (1..=SCENARIOS).collect();
    assert_eq!(numbers, wanted);
}

#[test]
fn every_test_that_is_named_is_where_it_is_said_to_be() {
    for row in rows() {
        assert!(!row.tests.is_empty(), "{} has no test", row.number);
        for (file, name) in row.tests {
            let tests = tests_of(&file);
            let there = tests.iter().any(|(test, _)| *test == name);
            assert!(
                there,
                "{}: no test {name} in {}",
                row.number,
                file.display()
            );
        }
    }
}

#[test]
fn every_test_here_says_whose_fault_it_was_and_is_in_the_table() {
    let rows = rows();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/peers")).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().unwrap() == "table.rs" {
            continue;
        }
        for (name, comment) in tests_of(&file) {
            let number = comment.split('.').next().and_then(|text| text.parse().ok());
            let number: u32 = number.unwrap_or_else(|| panic!("{name}: whose? {comment:?}"));
            let row = rows.iter().find(|row| row.number == number).unwrap();
            let told = row.tests.contains(&(file.clone(), name.clone()));
            assert!(told, "{name} is not in row {number}");
            seen.insert(name);
        }
    }
    assert!(seen.len() > 20);
}
