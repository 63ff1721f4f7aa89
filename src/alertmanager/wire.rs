//! The JSON of a webhook, read leniently.
//!
//! Two passes: the first finds the alerts as slices of the body and proves the
//! whole to be JSON, the second reads each alert by itself. So whatever is odd
//! inside one alert (a number too large, nesting too deep, a field twice) stays
//! inside that alert, and what nobody asks for is skipped, not stored.

use super::time::lenient_time;
use super::{Alert, BodyFault, Meaning, Webhook};
use crate::rule::alerts::AlertStatus;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

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
/// # Errors
/// When the body is not JSON or has no `alerts` array. A single alert that
/// makes no sense is no error; it is counted in [`Webhook::bad`].
///
/// ```
/// let webhook = originswitch::alertmanager::parse(br#"{"alerts":[{"labels":{"site":"www"}}]}"#);
/// assert_eq!(webhook.unwrap().alerts[0].labels["site"], "www");
///
/// let fault = originswitch::alertmanager::parse(br#"{"alerts":7}"#).unwrap_err();
/// assert_eq!(
///     fault.to_string(),
///     "`alerts` is a number: make it an array of alerts, which may be empty"
/// );
/// ```
pub fn parse(body: &[u8]) -> Result<Webhook, BodyFault> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let wire = read_body(body)?;
    let raw_alerts = elements(wire.alerts)?;
    let mut webhook = Webhook {
        alerts: Vec::new(),
        bad: 0,
        truncated: wire.truncated.and_then(read).unwrap_or(0),
    };
    for raw in raw_alerts {
        match read_alert(raw) {
            Some(alert) => webhook.alerts.push(alert),
            None => webhook.bad += 1,
        }
    }
    Ok(webhook)
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

/// The elements of `alerts`, each still unread.
fn elements(alerts: Option<&RawValue>) -> Result<Vec<&RawValue>, BodyFault> {
    let Some(alerts) = alerts else {
        return Err(BodyFault::NoAlerts { found: OBJECT });
    };
    serde_json::from_str(alerts.get()).map_err(|_| BodyFault::AlertsNotArray {
        found: kind(alerts.get().as_bytes()),
    })
}

const OBJECT: &str = "an object";

/// What the JSON value that begins like this is, in words.
fn kind(text: &[u8]) -> &'static str {
    match text.first() {
        Some(b'{') => OBJECT,
        Some(b'[') => "an array",
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

fn read_alert(raw: &RawValue) -> Option<Alert> {
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
        identity: identity(&labels),
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
    [AlertStatus::Firing, AlertStatus::Resolved]
        .into_iter()
        .find(|status| text.trim().eq_ignore_ascii_case(status.as_str()))
}

fn read_labels(raw: Option<&RawValue>) -> Option<BTreeMap<String, String>> {
    let Some(raw) = raw else {
        return Some(BTreeMap::new());
    };
    let wire: BTreeMap<String, &RawValue> = read(raw)?;
    let label = |(name, raw)| Some((name, label_text(raw)?));
    Some(wire.into_iter().filter_map(label).collect())
}

/// A label's value as text. Numbers and booleans stay as they were written.
/// Null and nested values are left out: an alert with one odd label still says
/// enough by the others.
fn label_text(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => read(raw),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

fn meaning(
    status: AlertStatus,
    labels: &BTreeMap<String, String>,
    annotations: Option<&RawValue>,
) -> Meaning {
    let name = labels.get("alertname").map(String::as_str);
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
    let notes: Option<BTreeMap<String, &RawValue>> = read(annotations);
    let reason: Option<String> =
        notes.and_then(|notes| notes.get(STATE_REASON).and_then(|raw| read(raw)));
    reason.is_some_and(|reason| reason.split(',').any(|r| WENT_BLIND.contains(&r.trim())))
}

/// FNV-1a (64 bits) over the sorted labels. Our own, because a `fingerprint`
/// is whatever the sender wrote, and curl sends none.
fn identity(labels: &BTreeMap<String, String>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // 0xff occurs in no UTF-8 text, so it keeps {a: "bc"} and {ab: "c"} apart.
    let bytes = labels.iter().flat_map(|(name, value)| {
        let (name, value) = (name.bytes(), value.bytes());
        name.chain([0xff]).chain(value).chain([0xff])
    });
    bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    fn one(alert: &str) -> Option<Alert> {
        let body = format!("{{\"alerts\":[{alert}]}}");
        let mut webhook = parse(body.as_bytes()).unwrap();
        assert_eq!(webhook.alerts.len() + webhook.bad, 1, "{alert}");
        webhook.alerts.pop()
    }

    #[test]
    fn the_identity_is_fnv_1a_and_separates_names_from_values() {
        assert_eq!(identity(&labels(&[])), 0xcbf2_9ce4_8422_2325);
        // Worked out by another program: replicas of ours must agree.
        assert_eq!(identity(&labels(&[("site", "www")])), 0x003e_d2ca_8308_1cd7);
        let (one, other) = (labels(&[("a", "bc")]), labels(&[("ab", "c")]));
        assert_ne!(identity(&one), identity(&other));
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
}
