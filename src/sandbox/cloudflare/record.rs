//! A DNS record: as it is kept, as tests describe it, as JSON shows it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A DNS record as the simulated Cloudflare keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `A`, `AAAA`, `CNAME`, …
    pub kind: String,
    /// The full name, in lower case.
    pub name: String,
    /// The address, or what the type has instead.
    pub content: String,
    /// Whether traffic goes through Cloudflare.
    pub proxied: bool,
    /// Seconds; 1 is automatic.
    pub ttl: u64,
    /// A note of the zone's owner.
    pub comment: Option<String>,
    /// Each `name:value`.
    pub tags: Vec<String>,
    /// Settings of its own, such as `flatten_cname`.
    pub settings: Map<String, Value>,
    /// Of MX and URI records.
    pub priority: Option<u64>,
    /// The parts of types that have parts, such as SRV.
    pub data: Option<Value>,
    /// When it was created.
    pub created_on: Timestamp,
    /// When anything in it was last written.
    pub modified_on: Timestamp,
    /// When its comment was last written, while it has one.
    pub comment_modified_on: Option<Timestamp>,
    /// When its tags were last written, while it has any.
    pub tags_modified_on: Option<Timestamp>,
}

impl Record {
    /// A record with nothing in it but Cloudflare's defaults.
    pub(super) fn blank(id: String, now: Timestamp) -> Self {
        Self {
            id,
            kind: String::new(),
            name: String::new(),
            content: String::new(),
            proxied: false,
            ttl: 1,
            comment: None,
            tags: Vec::new(),
            settings: Map::new(),
            priority: None,
            data: None,
            created_on: now,
            modified_on: now,
            comment_modified_on: None,
            tags_modified_on: None,
        }
    }

    /// Whether its type can be proxied at all.
    pub(super) fn proxiable(&self) -> bool {
        matches!(self.kind.as_str(), "A" | "AAAA" | "CNAME")
    }

    /// Whether both say the same, whenever it was written.
    pub(super) fn same_fields(&self, other: &Self) -> bool {
        let timeless = |r: &Self| Self {
            created_on: Timestamp::UNIX_EPOCH,
            modified_on: Timestamp::UNIX_EPOCH,
            comment_modified_on: None,
            tags_modified_on: None,
            ..r.clone()
        };
        timeless(self) == timeless(other)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id,
            "type": self.kind,
            "name": self.name,
            "content": self.content,
            "proxiable": self.proxiable(),
            "proxied": self.proxied,
            "ttl": self.ttl,
            "settings": self.settings,
            "meta": {},
            "comment": self.comment,
            "tags": self.tags,
            "created_on": rfc3339(self.created_on),
            "modified_on": rfc3339(self.modified_on),
        });
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                json[name] = value;
            }
        };
        add("priority", self.priority.map(Value::from));
        add("data", self.data.clone());
        let time = |t: Timestamp| Value::from(rfc3339(t));
        add("comment_modified_on", self.comment_modified_on.map(time));
        add("tags_modified_on", self.tags_modified_on.map(time));
        json
    }
}

/// The way Cloudflare writes a time: UTC, six digits after the second.
pub(super) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// A record as a test or the demo wants it; nothing of it is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordSpec {
    /// `A`, `AAAA`, `CNAME`, …
    pub kind: String,
    /// The full name, or `@` for the zone's own.
    pub name: String,
    /// The address, or what the type has instead.
    pub content: String,
    /// Whether traffic goes through Cloudflare; sets the TTL to 1.
    pub proxied: bool,
    /// Seconds; 1 is automatic.
    pub ttl: u64,
    /// A note.
    pub comment: Option<String>,
    /// Each `name:value`.
    pub tags: Vec<String>,
    /// Settings of its own.
    pub settings: Map<String, Value>,
    /// Of MX and URI records.
    pub priority: Option<u64>,
}

impl RecordSpec {
    /// A record of automatic TTL that is not proxied.
    pub fn new(kind: &str, name: &str, content: &str) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            content: content.into(),
            proxied: false,
            ttl: 1,
            comment: None,
            tags: Vec::new(),
            settings: Map::new(),
            priority: None,
        }
    }

    /// The same, proxied.
    pub fn proxied(self) -> Self {
        Self {
            proxied: true,
            ..self
        }
    }

    /// The same with a TTL in seconds.
    pub fn ttl(self, ttl: u64) -> Self {
        Self { ttl, ..self }
    }

    /// The same with a comment.
    pub fn comment(self, comment: &str) -> Self {
        Self {
            comment: Some(comment.into()),
            ..self
        }
    }

    /// The same with these tags.
    pub fn tags(self, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|t| t.to_string()).collect();
        Self { tags, ..self }
    }
}
