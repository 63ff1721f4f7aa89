//! A zone, its records, and how they change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::options::{Options, Plan};
use super::record::{Record, rfc3339};

/// Records are shared between the zone and its past, so keeping the past is cheap.
pub(super) type Records = Vec<Arc<Record>>;

/// How many earlier states of a zone are kept for stale reads.
const PAST: usize = 64;

/// An account that zones and account-owned tokens belong to.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub id: String,
    pub name: String,
}

/// A zone.
#[derive(Debug)]
pub(super) struct Zone {
    pub id: String,
    pub name: String,
    pub status: String,
    pub account: Account,
    pub records: Records,
    pub created_on: Timestamp,
    pub modified_on: Timestamp,
    /// Each state with the moment it ended.
    past: VecDeque<(Instant, Records)>,
}

impl Zone {
    pub fn new(id: String, name: &str, account: Account, now: Timestamp) -> Self {
        Self {
            id,
            name: name.to_ascii_lowercase(),
            status: "active".into(),
            account,
            records: Vec::new(),
            created_on: now,
            modified_on: now,
            past: VecDeque::new(),
        }
    }

    pub fn position(&self, id: &str) -> Option<usize> {
        self.records.iter().position(|r| r.id == id)
    }

    /// Puts a new state in place of the present one.
    pub fn replace(&mut self, records: Records, now: Instant, time: Timestamp) {
        let before = std::mem::replace(&mut self.records, records);
        self.past.push_back((now, before));
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        self.modified_on = time;
    }

    /// The records as they were `lag` ago.
    pub fn as_of(&self, lag: Duration, now: Instant) -> &Records {
        self.past
            .iter()
            .find(|(ended, _)| now.saturating_duration_since(*ended) < lag)
            .map_or(&self.records, |(_, records)| records)
    }

    pub fn to_json(&self, plan: Plan) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "paused": false,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": null,
            "original_registrar": null,
            "original_dnshost": null,
            "created_on": rfc3339(self.created_on),
            "modified_on": rfc3339(self.modified_on),
            "activated_on": rfc3339(self.created_on),
            "meta": {
                "step": 2,
                "custom_certificate_quota": 0,
                "page_rule_quota": 3,
                "phishing_detected": false,
            },
            "owner": {"type": "user"},
            "account": {"id": self.account.id, "name": self.account.name},
            "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
            "plan": {"name": plan.name()},
        })
    }

    /// A record as JSON, with what only older answers had if `extra`.
    pub fn record_json(&self, record: &Record, extra: bool) -> Value {
        let mut json = record.to_json();
        if extra {
            json["zone_id"] = json!(self.id);
            json["zone_name"] = json!(self.name);
            json["locked"] = json!(false);
        }
        json
    }
}

/// How many records a zone may hold.
pub(super) fn quota(options: &Options) -> usize {
    options.record_quota.unwrap_or(options.plan.limit())
}
