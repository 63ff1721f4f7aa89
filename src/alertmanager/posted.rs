//! The JSON of alerts as `POST /api/v2/alerts` takes them.

use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// One alert, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Posted<'a> {
    /// Its labels; they are what it is known by.
    pub labels: &'a BTreeMap<&'static str, String>,
    /// What it says.
    pub annotations: &'a BTreeMap<&'static str, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it ended; or, in the future, when it ends if nobody repeats it.
    pub ends_at: Timestamp,
}

/// The body of the request.
#[must_use]
pub fn body(alerts: &[Posted<'_>]) -> String {
    // Text in maps with text for keys: nothing of it can fail.
    serde_json::to_string(alerts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_alertmanager_takes() {
        let labels = BTreeMap::from([("alertname", "A".to_owned()), ("site", "www".to_owned())]);
        let annotations = BTreeMap::from([("summary", "\"so\"".to_owned())]);
        let alert = Posted {
            labels: &labels,
            annotations: &annotations,
            starts_at: "2026-11-23T00:00:00.25Z".parse().unwrap(),
            ends_at: "2026-11-23T00:04:00Z".parse().unwrap(),
        };
        assert_eq!(
            body(&[alert]),
            r#"[{"labels":{"alertname":"A","site":"www"},"annotations":{"summary":"\"so\""},"#
                .to_owned()
                + r#""startsAt":"2026-11-23T00:00:00.25Z","endsAt":"2026-11-23T00:04:00Z"}]"#
        );
    }
}
