//! The JSON of a webhook, read leniently.
//!
//! Two passes: the first finds the alerts as a slice of the body and proves the
//! whole to be JSON, the second reads each alert by itself. So whatever is odd
//! inside one alert (a number too large, nesting too deep, a field twice) stays
//! inside that alert, and what nobody asks for is skipped, not stored.
//!
//! What is not odd at all is read by `usual` in one pass; it gives up at once
//! on everything else, so what is lenient is here alone.

use super::labels::{Labels, Text};
use super::time::lenient_time;
use super::{Alert, BodyFault, Meaning, Webhook, usual};
use crate::rule::alerts::AlertStatus;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Some editors and PowerShell put it before the JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Grafana's words, in this annotation, for "resolved because the data went
/// away" (Grafana documentation, "Stale alert instances", 2026-11).
const STATE_REASON: &str = "grafana_state_reason";
const WENT_BLIND: [&str; 3] = ["MissingSeries", "NoData", "Error"];

/// Grafana's alerts about its own data source, in place of the rule's.
const BLIND_ALERTS: [&str; 2] = ["DatasourceNoData", "DatasourceError"];

#[derive(Deserialize)]
struct WireBody<'a> {
    #[serde(borrow, default)]
    alerts: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "truncatedAlerts")]
    truncated: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    starts_at: Option<&'a RawValue>,
}

/// Reads the body of a webhook.
///
/// What it gives can take some twenty times the memory of a body of nothing but
/// empty alerts, and about half as much as the body for usual ones. Where that
/// matters, [`Unread`] gives one alert after the other.
///
/// # Errors
/// When the body is not JSON or has no `alerts` array. A single alert that
/// makes no sense is no error; it is counted in [`Webhook::bad`].
///
/// ```
/// let webhook = originswitch::alertmanager::parse(br#"{"alerts":[{"labels":{"site":"www"}}]}"#);
/// assert_eq!(webhook.unwrap().alerts[0].labels.get("site"), Some("www"));
///
/// let fault = originswitch::alertmanager::parse(br#"{"alerts":7}"#).unwrap_err();
/// assert_eq!(
///     fault.to_string(),
///     "`alerts` is a number: make it an array of alerts, which may be empty"
/// );
/// ```
pub fn parse(body: &[u8]) -> Result<Webhook<'_>, BodyFault> {
    match usual::webhook(without_mark(body)) {
        Some(webhook) => Ok(webhook),
        None => parse_odd(body),
    }
}

/// Reads any body.
fn parse_odd(body: &[u8]) -> Result<Webhook<'_>, BodyFault> {
    let unread = Unread::of(body)?;
    let mut webhook = Webhook {
        alerts: Vec::new(),
        bad: 0,
        truncated: unread.truncated,
    };
    unread.each(|alert| match alert {
        Some(alert) => webhook.alerts.push(alert),
        None => webhook.bad += 1,
    });
    Ok(webhook)
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// A body that is JSON and has an array of alerts, each of them still unread.
#[derive(Debug)]
pub struct Unread<'a> {
    alerts: &'a RawValue,
    /// How many alerts the sender says it left out (`max_alerts`).
    pub truncated: u64,
}

impl<'a> Unread<'a> {
    /// Looks at the whole body, and keeps nothing of it.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn of(body: &'a [u8]) -> Result<Unread<'a>, BodyFault> {
        let wire = read_body(without_mark(body))?;
        let alerts = wire.alerts.ok_or(BodyFault::NoAlerts { found: OBJECT })?;
        match kind(alerts.get().as_bytes()) {
            ARRAY => Ok(Unread {
                alerts,
                truncated: truncated(wire.truncated),
            }),
            found => Err(BodyFault::AlertsNotArray { found }),
        }
    }

    /// Reads one alert after the other; `None` is one that makes no sense.
    pub fn each(&self, take: impl FnMut(Option<Alert<'a>>)) {
        let mut array = serde_json::Deserializer::from_str(self.alerts.get());
        // It was read before, so it can be read again.
        let _ = array.deserialize_seq(Each(take));
    }
}

/// Hands out the elements of an array.
struct Each<T>(T);

impl<'de, T: FnMut(Option<Alert<'de>>)> Visitor<'de> for Each<T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ARRAY)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut alerts: A) -> Result<(), A::Error> {
        while let Some(raw) = alerts.next_element::<&RawValue>()? {
            (self.0)(usual::alert(raw.get()).or_else(|| read_alert(raw)));
        }
        Ok(())
    }
}

fn read_body(body: &[u8]) -> Result<WireBody<'_>, BodyFault> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Err(BodyFault::Empty);
    }
    let found = kind(text);
    if found == OBJECT {
        return serde_json::from_slice(body).map_err(not_json);
    }
    // serde would read a struct from an array as well, field by field.
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => Err(BodyFault::NoAlerts { found }),
        Err(error) => Err(not_json(error)),
    }
}

fn not_json(error: serde_json::Error) -> BodyFault {
    BodyFault::NotJson(error.to_string())
}

/// How many alerts the sender left out, if it says so intelligibly.
pub(super) fn truncated(raw: Option<&RawValue>) -> u64 {
    raw.and_then(read).unwrap_or(0)
}

const OBJECT: &str = "an object";
const ARRAY: &str = "an array";

/// What the JSON value that begins like this is, in words.
fn kind(text: &[u8]) -> &'static str {
    match text.first() {
        Some(b'{') => OBJECT,
        Some(b'[') => ARRAY,
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// Reads a value as `T`, `None` if it is something else.
fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// Reads an object as `T`: serde would take an array for a struct, too.
fn read_object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    raw.get().starts_with('{').then(|| read(raw)).flatten()
}

fn read_alert(raw: &RawValue) -> Option<Alert<'_>> {
    let wire: WireAlert<'_> = read_object(raw)?;
    let status = read_status(wire.status)?;
    let labels = read_labels(wire.labels)?;
    Some(Alert {
        meaning: meaning(status, &labels, wire.annotations),
        status,
        starts_at: wire
            .starts_at
            .and_then(read::<String>)
            .and_then(|text| lenient_time(&text)),
        identity: labels.identity(),
        labels,
    })
}

/// Without a status an alert fires: curl samples leave it out, and a needless
/// look costs nothing. A status we do not know is not guessed at.
fn read_status(raw: Option<&RawValue>) -> Option<AlertStatus> {
    let Some(raw) = raw else {
        return Some(AlertStatus::Firing);
    };
    let text: String = read(raw)?;
    status_of(&text)
}

/// The status with this name.
pub(super) fn status_of(text: &str) -> Option<AlertStatus> {
    [AlertStatus::Firing, AlertStatus::Resolved]
        .into_iter()
        .find(|status| text.trim().eq_ignore_ascii_case(status.as_str()))
}

fn read_labels(raw: Option<&RawValue>) -> Option<Labels<'_>> {
    let Some(raw) = raw else {
        return Some(Labels::default());
    };
    let wire: BTreeMap<String, &RawValue> = read(raw)?;
    let label = |(name, raw)| Some((name, label_text(raw)?));
    Some(wire.into_iter().filter_map(label).collect())
}

/// A label's value as text. Numbers and booleans stay as they were written.
/// Null and nested values are left out: an alert with one odd label still says
/// enough by the others.
fn label_text(raw: &RawValue) -> Option<Text<'_>> {
    match raw.get().as_bytes().first()? {
        b'"' => read::<String>(raw).map(Text::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Text::Borrowed(raw.get())),
    }
}

/// What an alert of this status, with these labels and notes, means.
pub(super) fn meaning(
    status: AlertStatus,
    labels: &Labels<'_>,
    annotations: Option<&RawValue>,
) -> Meaning {
    let name = labels.get("alertname");
    if name.is_some_and(|name| BLIND_ALERTS.contains(&name)) {
        return Meaning::LookOnly;
    }
    match status {
        AlertStatus::Firing => Meaning::Firing,
        AlertStatus::Resolved if annotations.is_some_and(went_blind) => Meaning::LookOnly,
        AlertStatus::Resolved => Meaning::Resolved,
    }
}

/// Whether Grafana says that it resolved the alert for want of data. It joins
/// several reasons with commas ("NoData, KeepLast").
fn went_blind(annotations: &RawValue) -> bool {
    let text = annotations.get();
    if !text.contains(STATE_REASON) && !text.contains("\\u") {
        return false;
    }
    let notes: Option<BTreeMap<String, &RawValue>> = read(annotations);
    let reason: Option<String> =
        notes.and_then(|notes| notes.get(STATE_REASON).and_then(|raw| read(raw)));
    reason.is_some_and(|reason| reason.split(',').any(|r| WENT_BLIND.contains(&r.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels<'static> {
        pairs.iter().copied().collect()
    }

    fn one(alert: &str) -> Option<Alert<'static>> {
        let body = format!("{{\"alerts\":[{alert}]}}").leak();
        let mut webhook = parse(body.as_bytes()).unwrap();
        assert_eq!(webhook.alerts.len() + webhook.bad, 1, "{alert}");
        webhook.alerts.pop()
    }

    #[test]
    fn a_status_is_read_in_any_case_and_never_guessed() {
        let cases = [
            ("{}", Some(AlertStatus::Firing)),
            (r#"{"status":null}"#, Some(AlertStatus::Firing)),
            (r#"{"status":"FIRING"}"#, Some(AlertStatus::Firing)),
            (r#"{"status":" Resolved "}"#, Some(AlertStatus::Resolved)),
            (r#"{"status":"suppressed"}"#, None),
            (r#"{"status":""}"#, None),
            (r#"{"status":1}"#, None),
            (r#"["firing",{"site":"www"}]"#, None),
            (r#""firing""#, None),
            ("null", None),
            (r#"{"labels":["site"]}"#, None),
            (r#"{"labels":"site"}"#, None),
            (r#"{"labels":{},"labels":{}}"#, None),
        ];
        for (alert, status) in cases {
            assert_eq!(one(alert).map(|alert| alert.status), status, "{alert}");
        }
    }

    #[test]
    fn odd_label_values_become_text_or_nothing() {
        let alert = one(
            r#"{"labels":{"a":8080,"b":true,"c":null,"d":1e999,"e":[1],"f":{"g":1},"h":1.50,"i":""}}"#,
        );
        let expected = labels(&[
            ("a", "8080"),
            ("b", "true"),
            ("d", "1e999"),
            ("h", "1.50"),
            ("i", ""),
        ]);
        assert_eq!(alert.unwrap().labels, expected);
        assert_eq!(one(r#"{"labels":null}"#).unwrap().labels, labels(&[]));
    }

    #[test]
    fn a_resolve_for_want_of_data_is_no_resolve() {
        let cases = [
            ("MissingSeries", Meaning::LookOnly),
            ("NoData", Meaning::LookOnly),
            ("Error, KeepLast", Meaning::LookOnly),
            ("RuleDeleted", Meaning::Resolved),
            ("", Meaning::Resolved),
        ];
        for (reason, meaning) in cases {
            let note = format!(r#""annotations":{{"x":1e999,"grafana_state_reason":"{reason}"}}"#);
            let resolved = one(&format!(r#"{{"status":"resolved",{note}}}"#)).unwrap();
            assert_eq!(resolved.meaning, meaning, "{reason}");
            let firing = one(&format!(r#"{{"status":"firing",{note}}}"#)).unwrap();
            assert_eq!(firing.meaning, Meaning::Firing, "{reason}");
        }
        let odd = one(r#"{"status":"resolved","annotations":[1]}"#).unwrap();
        assert_eq!(odd.meaning, Meaning::Resolved);
    }

    /// Whatever the one pass reads, two passes read the same.
    fn agree(body: &[u8]) -> bool {
        let odd = parse_odd(body);
        let usual = usual::webhook(without_mark(body));
        if let Some(usual) = &usual {
            assert_eq!(Ok(usual), odd.as_ref(), "{}", String::from_utf8_lossy(body));
        }
        for alert in odd.iter().flat_map(|webhook| &webhook.alerts) {
            assert_eq!(alert.identity, alert.labels.identity());
        }
        usual.is_some()
    }

    #[test]
    fn captured_bodies_are_usual_and_read_alike_in_one_pass_and_two() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payloads");
        let mut odd = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "json")
                && !agree(&std::fs::read(&path).unwrap())
            {
                odd.push(path.file_stem().unwrap().to_owned());
            }
        }
        // It is no webhook.
        assert_eq!(odd, ["prometheus-to-alertmanager-v2-alerts"]);
    }

    #[test]
    fn odd_bodies_are_read_in_two_passes() {
        let odd = [
            r#"{"alerts":[["firing",{"site":"www"}]]}"#,
            r#"{"alerts":[{"labels":{"a":1}}]}"#,
            r#"{"alerts":[{"labels":{"a":null}}]}"#,
            r#"{"alerts":[{"labels":{}},{"labels":{},"labels":{}}]}"#,
            r#"{"alerts":[{"status":"pending"}]}"#,
            r#"{"alerts":[{"startsAt":7}]}"#,
            r#"{"alerts":[],"alerts":[]}"#,
            r#"{"alerts":[]} x"#,
            r#"{"alerts":[{"labels":{"a":"\ud800"}}]}"#,
            r#"["firing",[]]"#,
        ];
        for body in odd {
            assert!(!agree(body.as_bytes()), "{body}");
        }
        assert!(!agree(b"{\"alerts\":[],\"x\":\"\xff\"}"));
        let usual = [
            "{\"alerts\":[]}",
            "\u{feff} {\"alerts\" : [ {} ] , \"truncatedAlerts\":null}\n",
            r#"{"alerts":[{"labels":{"b":"1","a":"2","b":"3"},"x":1e999}],"status":[7]}"#,
            r#"{"alerts":[{"status":"resolved","annotations":{"\u0067rafana_state_reason":"NoData"}}]}"#,
            r#"{"alerts":[{"labels":{"\u0061":"\n\ud83d\ude00"},"startsAt":"x"}],"truncatedAlerts":1e999}"#,
        ];
        for body in usual {
            assert!(agree(body.as_bytes()), "{body}");
        }
    }

    proptest! {
        #[test]
        fn damage_to_a_real_body_is_read_alike_in_one_pass_and_two(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            keep in 1_000..2_500_usize,
        ) {
            let mut body = include_bytes!("../../tests/payloads/03-group-of-3-one-resolved.json").to_vec();
            let end = body.len();
            for (at, byte) in changes {
                body[at.index(end)] = byte;
            }
            agree(&body);
            agree(&body[..keep.min(end)]);
        }

        #[test]
        fn any_small_object_is_read_alike_in_one_pass_and_two(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "\"labels\":{", "\"status\":", "\"firing\"",
                    "\"resolved\"", "\"startsAt\":", "\"annotations\":", "\"a\":\"b\"",
                    "\"a\":\"c\"", "\"Z\":\"\"", "null", "1e999", "\"\\ud800\"", "true",
                ]),
                0..12,
            ),
        ) {
            agree(format!("{{\"alerts\":[{{{}}}]}}", words.concat()).as_bytes());
        }
    }
}
