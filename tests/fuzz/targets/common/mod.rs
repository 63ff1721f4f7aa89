//! What every target asserts in the same way.

/// A fault is one line that says something.
#[track_caller]
pub fn one_line(sentence: &str) {
    assert!(!sentence.trim().is_empty(), "a fault without a word");
    assert!(!sentence.contains(['\n', '\r']), "{sentence:?}");
}
