//! Matchers, as lines: the last is a label's value, the one before it the
//! label's name, and what is above them is the matcher. What parses prints and
//! parses to the same; what is written from a name and a value matches them.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use originswitch::matcher::Matcher;
use std::collections::BTreeMap;

fuzz_target!(|input: &str| {
    let (rest, value) = input.rsplit_once('\n').unwrap_or((input, ""));
    let (text, name) = rest.rsplit_once('\n').unwrap_or((rest, "site"));
    let value = value.replace("\\n", "\n");
    let labels = BTreeMap::from([(name.to_owned(), value.clone())]);
    match Matcher::parse(text) {
        Ok(matcher) => prints_and_parses_to_the_same(&matcher, &labels),
        Err(sentence) => common::one_line(&sentence),
    }
    if !name.is_empty() {
        matches_what_it_says(name, &value, &labels);
    }
});

fn prints_and_parses_to_the_same(matcher: &Matcher, labels: &BTreeMap<String, String>) {
    let shown = matcher.to_string();
    let again = Matcher::parse(&shown).unwrap_or_else(|fault| panic!("{shown:?}: {fault}"));
    assert_eq!(again.to_string(), shown);
    assert!(again == *matcher, "{shown:?}");
    for labels in [labels, &BTreeMap::new()] {
        assert_eq!(again.matches(labels), matcher.matches(labels), "{shown:?}");
    }
}

fn matches_what_it_says(name: &str, value: &str, labels: &BTreeMap<String, String>) {
    let quoted = |text: &str| {
        let text = text.replace('\\', r"\\").replace('"', "\\\"");
        format!("\"{}\"", text.replace('\n', r"\n"))
    };
    let written = |operator: &str, value: &str| {
        let text = format!("{}{operator}{}", quoted(name), quoted(value));
        Matcher::parse(&text).unwrap_or_else(|fault| panic!("{text:?}: {fault}"))
    };
    let pattern = regex::escape(value);
    let none = BTreeMap::new();
    for (operator, value) in [("=", value), ("=~", &pattern)] {
        let matcher = written(operator, value);
        assert!(matcher.matches(labels), "{matcher}");
        // A label that is missing is one that is empty.
        assert_eq!(matcher.matches(&none), value.is_empty(), "{matcher}");
    }
    for (operator, value) in [("!=", value), ("!~", &pattern)] {
        let matcher = written(operator, value);
        assert!(!matcher.matches(labels), "{matcher}");
        assert_eq!(matcher.matches(&none), !value.is_empty(), "{matcher}");
    }
    for operator in ["=", "!="] {
        let other = format!("{value}x");
        assert_eq!(written(operator, &other).matches(labels), operator == "!=");
    }
}
