//! Cloudflare's JSON. Unknown members are ignored; what is needed and missing
//! makes the answer unreadable.

use super::verdict::{Status, Told};
use crate::failover::Record;
use crate::rule::address::RecordType;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Fields that a write of `content` must leave as they were. The rest is
/// Cloudflare's own (dates, meta) or comes and goes (zone_id, locked).
const KEPT: [&str; 5] = ["comment", "tags", "settings", "priority", "private_routing"];

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Whether no further page is needed.
    pub(super) last: bool,
    /// How many items a page holds, if the answer tells.
    pub(super) size: Option<u64>,
}

/// An error as Cloudflare writes it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    error_chain: Vec<Message>,
}

impl Message {
    /// Every code in it, those of its chain included.
    pub(super) fn codes(&self) -> Vec<i64> {
        let chain = self.error_chain.iter().flat_map(Message::codes);
        std::iter::once(self.code).chain(chain).collect()
    }

    /// The message as a person reads it, on one line: the innermost says most.
    pub(super) fn text(&self) -> String {
        let apart = |c: char| c.is_whitespace() || c.is_control();
        let words = self.message.split(apart).filter(|word| !word.is_empty());
        let mut text = format!("{} {}", self.code, words.collect::<Vec<_>>().join(" "));
        for inner in &self.error_chain {
            text.push_str(": ");
            text.push_str(&inner.text());
        }
        text
    }
}

#[derive(Deserialize)]
struct Envelope {
    success: Option<bool>,
    #[serde(default)]
    errors: Option<Vec<Message>>,
    #[serde(default)]
    result: Value,
    result_info: Option<Info>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Info {
    page: Option<u64>,
    per_page: Option<u64>,
    count: Option<u64>,
    total_pages: Option<u64>,
    total_count: Option<u64>,
}

/// What an answer of any status says of itself.
pub(super) enum Said {
    /// It succeeded.
    Success,
    /// It failed, and says why.
    Failure(Vec<Message>),
    /// It is no envelope: HTML, a truncated body, nothing.
    Unreadable,
}

/// Judges an answer by its envelope: by `success` and `errors`, never by a
/// code in `messages` (a good token is verified with a message of code 10000).
pub(super) fn said(body: &[u8]) -> Said {
    match serde_json::from_slice::<Envelope>(body) {
        Err(_) => Said::Unreadable,
        Ok(envelope) => {
            let errors = envelope.errors.unwrap_or_default();
            match envelope.success {
                Some(true) if errors.is_empty() => Said::Success,
                // DELETE answers without `success`; an error speaks in any case.
                None if errors.is_empty() && !envelope.result.is_null() => Said::Success,
                _ => Said::Failure(errors),
            }
        }
    }
}

fn envelope(body: &[u8]) -> Result<Envelope, String> {
    serde_json::from_slice(body).map_err(|e| format!("the answer is not readable ({e})"))
}

fn page<T>(
    body: &[u8],
    item: impl Fn(Value) -> Result<Option<T>, String>,
) -> Result<Page<T>, String> {
    let envelope = envelope(body)?;
    let Value::Array(values) = envelope.result else {
        return Err("the answer is not readable (its result is no list)".into());
    };
    let (count, info) = (
        values.len() as u64,
        envelope.result_info.unwrap_or_default(),
    );
    let mut items = Vec::with_capacity(values.len());
    for value in values {
        items.extend(item(value)?);
    }
    Ok(Page {
        items,
        last: is_last(&info, count),
        size: info.per_page.filter(|&size| size > 0),
    })
}

/// Whether a page is the last one, by whatever the answer tells.
fn is_last(info: &Info, count: u64) -> bool {
    let page = info.page.unwrap_or(1);
    if count == 0 {
        return true;
    }
    if let Some(total) = info.total_pages {
        return page >= total;
    }
    let size = info.per_page.unwrap_or(0).max(1);
    match info.total_count {
        Some(total) => page.saturating_mul(size) >= total,
        None => info.count.unwrap_or(count) < size,
    }
}

/// A zone.
#[derive(Deserialize)]
pub(super) struct Zone {
    pub(super) id: String,
    pub(super) name: String,
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    id: Option<String>,
}

impl Zone {
    /// The id of the account that it belongs to, fit to stand in a path.
    pub(super) fn account(&self) -> Option<String> {
        let plain =
            |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.account.as_ref()?.id.clone().filter(plain)
    }
}

/// The zones of a list.
pub(super) fn zones(body: &[u8]) -> Result<Page<Zone>, String> {
    page(body, |value| {
        serde_json::from_value(value)
            .map(Some)
            .map_err(|e| format!("a zone in the answer is not readable ({e})"))
    })
}

/// The one zone of an answer.
pub(super) fn zone(body: &[u8]) -> Result<Zone, String> {
    serde_json::from_value(envelope(body)?.result)
        .map_err(|e| format!("the zone in the answer is not readable ({e})"))
}

#[derive(Deserialize)]
struct WireToken {
    status: String,
    expires_on: Option<String>,
    not_before: Option<String>,
}

/// What Cloudflare says of a token; `None` if it says nothing that is known here.
pub(super) fn token(body: &[u8]) -> Option<Told> {
    let wire: WireToken = serde_json::from_value(envelope(body).ok()?.result).ok()?;
    let time = |text: Option<String>| text.and_then(|text| text.parse::<Timestamp>().ok());
    Some(Told {
        status: match wire.status.as_str() {
            "active" => Status::Active,
            "disabled" => Status::Disabled,
            "expired" => Status::Expired,
            _ => return None,
        },
        expires: time(wire.expires_on),
        not_before: time(wire.not_before),
    })
}

/// The address records of this name in a list. Other types are not ours, and a
/// filter that was not understood must not bring in foreign names.
pub(super) fn records(hostname: &str, body: &[u8]) -> Result<Page<Record>, String> {
    page(body, |value| {
        let record = read_record(value)?;
        Ok(record.filter(|record| record.hostname == hostname))
    })
}

/// An entry in a list of a whole zone.
pub(super) enum Entry {
    /// An address record.
    Record(Record),
    /// A record of this name that is not readable.
    Unreadable(String),
    /// A record of another type.
    Other,
}

/// All of a list of a whole zone. Whether a record that is nobody's concern is
/// readable must not matter; one without a name could be anybody's.
pub(super) fn entries(body: &[u8]) -> Result<Page<Entry>, String> {
    page(body, |value| {
        let name = value.get("name").and_then(Value::as_str).map(canonical);
        match (read_record(value), name) {
            (Ok(Some(record)), _) => Ok(Some(Entry::Record(record))),
            (Ok(None), _) => Ok(Some(Entry::Other)),
            (Err(_), Some(name)) => Ok(Some(Entry::Unreadable(name))),
            (Err(text), None) => Err(text),
        }
    })
}

/// A hostname in the one form in which hostnames are compared.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The one record of an answer.
pub(super) fn record(body: &[u8]) -> Result<Record, String> {
    read_record(envelope(body)?.result)?
        .ok_or_else(|| "the answer holds no address record".to_owned())
}

/// The patched records of a batch's answer.
pub(super) fn patched(body: &[u8]) -> Result<Vec<Record>, String> {
    let mut result = envelope(body)?.result;
    let Some(Value::Array(values)) = result.get_mut("patches").map(Value::take) else {
        return Err("the answer to the batch holds no patches".into());
    };
    let mut records = Vec::new();
    for value in values {
        records.extend(read_record(value)?);
    }
    Ok(records)
}

#[derive(Deserialize)]
struct WireRecord {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    proxied: bool,
    #[serde(default)]
    ttl: f64,
    modified_on: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn read_record(value: Value) -> Result<Option<Record>, String> {
    let wire: WireRecord = serde_json::from_value(value)
        .map_err(|e| format!("a record in the answer is not readable ({e})"))?;
    let Some(kind) = RecordType::from_name(&wire.kind) else {
        return Ok(None);
    };
    // A number of seconds; the schema allows a float. Rounding is exact here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ttl = wire.ttl.max(0.0) as u32;
    Ok(Some(Record {
        id: wire.id,
        hostname: canonical(&wire.name),
        kind,
        content: wire.content,
        proxied: wire.proxied,
        ttl,
        modified_on: wire.modified_on.and_then(|text| text.parse().ok()),
        rest: kept(&wire.rest),
    }))
}

/// The fields a write must leave alone, as comparable text; absent, null and
/// empty are one.
fn kept(rest: &Map<String, Value>) -> String {
    let kept: Map<String, Value> = KEPT
        .iter()
        .filter_map(|&key| {
            let value = rest.get(key)?;
            let empty = match value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::String(text) => text.is_empty(),
                Value::Bool(so) => !so,
                Value::Number(_) => false,
            };
            (!empty).then(|| (key.to_owned(), value.clone()))
        })
        .collect();
    Value::Object(kept).to_string()
}

/// The body of a PATCH: `content` and nothing else.
pub(super) fn content(content: &str) -> Value {
    json!({ "content": content })
}

/// The body of a batch of such changes.
pub(super) fn batch<'a>(patches: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let patches: Vec<Value> = patches
        .map(|(id, content)| json!({ "id": id, "content": content }))
        .collect();
    json!({ "patches": patches })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_errors_and_not_by_messages() {
        let verified = br#"{"result":{"id":"a","status":"active"},"success":true,"errors":[],
            "messages":[{"code":10000,"message":"This API Token is valid and active","type":null}]}"#;
        assert!(matches!(said(verified), Said::Success));
        let failed = br#"{"success":false,"errors":[{"code":1004,"message":" DNS\nValidation Error",
            "error_chain":[{"code":9005,"message":"Content for A record must be a valid IPv4 address."}]}],
            "messages":[],"result":null}"#;
        let Said::Failure(errors) = said(failed) else {
            panic!()
        };
        assert_eq!(errors[0].codes(), [1004, 9005]);
        assert_eq!(
            errors[0].text(),
            "1004 DNS Validation Error: 9005 Content for A record must be a valid IPv4 address."
        );
        assert!(matches!(said(b"<html>"), Said::Unreadable));
        assert!(matches!(
            said(br#"{"success":true,"resu"#),
            Said::Unreadable
        ));
        assert!(matches!(said(br#"{"result":{"id":"x"}}"#), Said::Success));
        assert!(matches!(said(b"{}"), Said::Failure(_)));
    }

    #[test]
    fn a_token_is_what_its_verification_says() {
        let verified =
            br#"{"result":{"id":"a","status":"active","expires_on":"2027-01-01T00:00:00Z"},
            "success":true,"errors":[],"messages":[]}"#;
        let told = token(verified).unwrap();
        assert_eq!(told.status, Status::Active);
        assert_eq!(told.expires.unwrap().to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(told.not_before, None);
        let forever = br#"{"result":{"status":"disabled","expires_on":null},"success":true}"#;
        let told = token(forever).unwrap();
        assert_eq!((told.status, told.expires), (Status::Disabled, None));
        for unknown in [
            &br#"{"result":{"status":"on leave"}}"#[..],
            b"{}",
            b"<html>",
        ] {
            assert_eq!(token(unknown), None);
        }
    }

    #[test]
    fn an_account_that_could_lead_elsewhere_is_none() {
        let account = |id: &str| {
            let body =
                format!(r#"{{"result":{{"id":"z","name":"a.b","account":{{"id":"{id}"}}}}}}"#);
            zone(body.as_bytes()).unwrap().account()
        };
        assert_eq!(account("0a1b").as_deref(), Some("0a1b"));
        assert_eq!(account("../user"), None);
        assert_eq!(account(""), None);
        let without = br#"{"result":{"id":"z","name":"a.b"}}"#;
        assert_eq!(zone(without).unwrap().account(), None);
    }

    #[test]
    fn pages_end_by_whatever_the_answer_tells() {
        let info = |text: &str| serde_json::from_str::<Info>(text).unwrap();
        assert!(!is_last(&info(r#"{"page":1,"total_pages":2}"#), 100));
        assert!(is_last(&info(r#"{"page":2,"total_pages":2}"#), 1));
        assert!(!is_last(
            &info(r#"{"page":1,"per_page":20,"total_count":21}"#),
            20
        ));
        assert!(is_last(
            &info(r#"{"page":2,"per_page":20,"total_count":21}"#),
            1
        ));
        assert!(is_last(
            &info(r#"{"page":9,"per_page":20,"total_pages":2}"#),
            0
        ));
        assert!(is_last(&info("{}"), 0));
    }

    #[test]
    fn a_record_that_is_not_readable_spoils_its_name_and_no_other() {
        let body = br#"{"success":true,"errors":[],"result":[
            {"id":"1","type":"A","name":"a.example.com","content":"192.0.2.1"},
            {"id":7,"type":"A","name":"B.example.com","content":"192.0.2.2"}]}"#;
        let [Entry::Record(_), Entry::Unreadable(name)] = &entries(body).unwrap().items[..] else {
            panic!()
        };
        assert_eq!(name, "b.example.com");
        let nameless = br#"{"success":true,"errors":[],"result":[{"id":"1","type":"A"}]}"#;
        assert!(entries(nameless).is_err());
    }

    #[test]
    fn other_types_and_names_are_passed_over_and_kept_fields_are_compared_without_noise() {
        let body = br#"{"success":true,"errors":[],"messages":[],"result":[
            {"id":"1","type":"A","name":"WWW.example.com","content":"192.0.2.10","proxied":true,"ttl":1,
             "comment":null,"tags":[],"settings":{},"meta":{"x":1},"created_on":"2026-01-01T00:00:00Z",
             "modified_on":"2026-11-22T18:44:44.478123Z","zone_name":"example.com"},
            {"id":"3","type":"A","name":"other.example.com","content":"192.0.2.30","proxied":true,"ttl":1},
            {"id":"2","type":"MX","name":"www.example.com","content":"mx","ttl":300,"priority":10}],
            "result_info":{"page":1,"per_page":100,"count":3,"total_count":3,"total_pages":1}}"#;
        let page = records("www.example.com", body).unwrap();
        assert!(page.last);
        assert_eq!(page.size, Some(100));
        let all = entries(body).unwrap().items;
        let kinds = all.iter().map(|entry| match entry {
            Entry::Record(record) => record.id.clone(),
            Entry::Unreadable(name) => name.clone(),
            Entry::Other => "other".into(),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), ["1", "3", "other"]);
        let [record] = page.items.as_slice() else {
            panic!()
        };
        assert_eq!(record.hostname, "www.example.com");
        assert_eq!(record.rest, "{}");
        assert!(record.modified_on.is_some());
    }
}
