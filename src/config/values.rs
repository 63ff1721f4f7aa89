//! Single values: what figment read, as the type a key asks for.
//!
//! Every error is the rest of a sentence that begins with the key.

use super::durations;
use figment::value::{Num, Value};
use std::time::Duration;

/// A value as a person would name it.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{c:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, num) => match (num.to_i128(), num.to_u128(), num.to_f64()) {
            (Some(n), ..) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            (.., Some(n)) => n.to_string(),
            _ => "a number".into(),
        },
        Value::Empty(..) => "nothing".into(),
        Value::Dict(_, dict) if dict.contains_key("$__toml_private_datetime") => "a date".into(),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
    }
}

/// Text.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(_, text) => Ok(text),
        Value::Num(..) | Value::Bool(..) => Err(format!(
            "must be text, not {0}: write \"{0}\" in quotes",
            describe(value)
        )),
        _ => Err(format!("must be text, not {}", describe(value))),
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(_, flag) => Ok(*flag),
        _ => Err(format!(
            "must be true or false, without quotes, not {}",
            describe(value)
        )),
    }
}

/// A whole number between two bounds.
pub(super) fn count(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let number = match value {
        Value::Num(_, Num::F32(_) | Num::F64(_)) => None,
        Value::Num(_, num) => num
            .to_i128()
            .or_else(|| i128::try_from(num.to_u128()?).ok()),
        _ => None,
    };
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            format!(
                "must be a whole number from {least} to {most}, not {}",
                describe(value)
            )
        })
}

/// A duration of at least so many milliseconds.
pub(super) fn duration(value: &Value, least_ms: u64) -> Result<Duration, String> {
    if let Value::Num(..) = value {
        return Err(durations::without_unit(describe(value)));
    }
    let text = text(value)?;
    let duration = durations::parse(text)?;
    let least = Duration::from_millis(least_ms);
    if duration < least {
        return Err(format!(
            "must be longer than zero, not {text:?}: write at least \"{}\"",
            durations::show(least)
        ));
    }
    Ok(duration)
}

/// One of several words.
pub(super) fn choice(value: &Value, words: &[&'static str]) -> Result<&'static str, String> {
    let found = value
        .as_str()
        .and_then(|text| words.iter().find(|word| **word == text));
    found.copied().ok_or_else(|| {
        let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
        format!("must be {}, not {}", quoted.join(" or "), describe(value))
    })
}

/// The entries of a list that may be empty: the environment can write that as
/// an empty text only.
pub(super) fn any_entries(value: &Value) -> impl Iterator<Item = &Value> {
    let empty = |entry: &&Value| entry.as_str() == Some("");
    entries(value).iter().filter(move |entry| !empty(entry))
}

/// The entries of a list; anything else counts as a list of one.
pub(super) fn entries(value: &Value) -> &[Value] {
    match value {
        Value::Array(_, entries) => entries,
        single => std::slice::from_ref(single),
    }
}
