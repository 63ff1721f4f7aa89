//! What was asked and answered, for assertions.

use std::collections::{BTreeMap, VecDeque};

use hyper::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

/// One request to the simulated Cloudflare, with its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// When it arrived.
    pub time: Timestamp,
    /// In capitals.
    pub method: String,
    /// With `/client/v4` in front, as it was sent.
    pub path: String,
    /// What stands after the question mark, as it was sent.
    pub query: String,
    /// Headers by name in lower case; secrets are `***`.
    pub headers: BTreeMap<String, String>,
    /// The body as it was sent.
    pub body: String,
    /// The status of the answer; `None` if the client got none, or none yet.
    pub status: Option<u16>,
    /// The body of the answer.
    pub answer: String,
}

impl Logged {
    /// The path without `/client/v4`.
    pub fn route(&self) -> &str {
        self.path.strip_prefix("/client/v4").unwrap_or(&self.path)
    }

    /// Whether it asks for records to be changed.
    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// The body as JSON, if it is any.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// The answer as JSON, if it is any.
    pub fn answer_json(&self) -> Option<Value> {
        serde_json::from_str(&self.answer).ok()
    }
}

/// The newest requests, each under a number of its own.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<(u64, Logged)>,
    next: u64,
}

impl Log {
    pub fn push(&mut self, entry: Logged, limit: usize) -> u64 {
        let id = self.next;
        self.next += 1;
        self.entries.push_back((id, entry));
        while self.entries.len() > limit {
            self.entries.pop_front();
        }
        id
    }

    /// Adds the answer, unless the entry has been cleared away since.
    pub fn answered(&mut self, id: u64, status: u16, answer: &str) {
        if let Ok(at) = self.entries.binary_search_by_key(&id, |(i, _)| *i) {
            let entry = &mut self.entries[at].1;
            entry.status = Some(status);
            entry.answer = answer.to_owned();
        }
    }

    pub fn entries(&self) -> Vec<Logged> {
        self.entries.iter().map(|(_, e)| e.clone()).collect()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Headers as text, without what would let a reader use the token.
pub(super) fn without_secrets(headers: &HeaderMap) -> BTreeMap<String, String> {
    const SECRET: [&str; 3] = ["authorization", "x-auth-key", "x-auth-user-service-key"];
    headers
        .iter()
        .map(|(name, value)| {
            let shown = if SECRET.contains(&name.as_str()) {
                "***".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.to_string(), shown)
        })
        .collect()
}
