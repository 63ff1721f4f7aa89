//! Tests that need what a machine may not have.

use std::io::Write;

/// Says that something was not tested. In CI (the variable `CI` is set) nothing
/// may be skipped, and the test fails.
pub fn skip(what: &str) {
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!ci, "skipped, and in CI nothing may be: {what}");
    skip_everywhere(what);
}

/// The same for what even CI need not have: the folder `../shared`.
///
/// `tests/run` lists what was skipped; runners hide what passing tests print.
pub fn skip_everywhere(what: &str) {
    println!("skipped: {what}");
    if let Some(list) = std::env::var_os("ORIGINSWITCH_SKIPPED") {
        let list = std::fs::OpenOptions::new().append(true).open(list);
        writeln!(list.expect("tests/run made the list"), "{what}").unwrap();
    }
}
