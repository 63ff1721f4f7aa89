//! The record as it was read, and whose hand it shows.

use super::{Change, KnownRecord, Record};
use crate::rule::address::{Held, Holding, Place, holding};
use crate::rule::brakes::Foreign;
use jiff::Timestamp;
use std::time::Duration;

/// A site's records, read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) records: Vec<Record>,
    pub(super) holding: Holding,
}

/// What a reading says when it is held against what we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hand {
    /// As we know it, or the first sight ever: adopted.
    Ours(Option<KnownRecord>),
    /// An older content than the one we know: a stale answer, read again.
    Stale,
    /// Somebody else's.
    Theirs(Foreign),
    /// It has no shape that could be compared.
    Shapeless,
}

impl Reading {
    pub(super) fn new(hostnames: &[String], places: &[Place], records: Vec<Record>) -> Reading {
        let held: Vec<Held> = records
            .iter()
            .map(|record| Held {
                hostname: record.hostname.clone(),
                kind: record.kind,
                content: record.content.clone(),
            })
            .collect();
        Reading {
            holding: holding(hostnames, places, &held),
            records,
        }
    }

    /// The place all records hold, if they hold one.
    pub(super) fn place<'a>(&'a self, places: &'a [Place]) -> Option<&'a Place> {
        match &self.holding {
            Holding::Origin(index) => places.get(*index),
            Holding::Other(place) => Some(place),
            Holding::Unclear(_) => None,
        }
    }

    /// The newest change among the records.
    fn modified_on(&self) -> Option<Timestamp> {
        self.records.iter().filter_map(|r| r.modified_on).max()
    }

    /// What we now know, if the records say when they were changed.
    pub(super) fn known(&self, places: &[Place]) -> Option<KnownRecord> {
        Some(KnownRecord {
            content: self.place(places)?.to_string(),
            modified_on: self.modified_on()?,
        })
    }

    /// Whose hand the reading shows.
    pub(super) fn hand(&self, places: &[Place], known: Option<&KnownRecord>) -> Hand {
        if self.place(places).is_none() {
            return Hand::Shapeless;
        }
        let (Some(seen), Some(known)) = (self.known(places), known) else {
            return Hand::Ours(self.known(places));
        };
        if seen.content == known.content {
            return Hand::Ours((seen.modified_on > known.modified_on).then_some(seen));
        }
        if seen.modified_on <= known.modified_on {
            return Hand::Stale;
        }
        Hand::Theirs(Foreign {
            ours: known.content.clone(),
            theirs: seen.content,
            modified_on: seen.modified_on,
        })
    }

    /// The changes that make all records hold `to`; those that do already are left alone.
    pub(super) fn changes(&self, to: &Place) -> Vec<Change> {
        self.records
            .iter()
            .filter_map(|record| {
                let address = to.of_kind(record.kind)?;
                let same = crate::rule::address::Address::parse(record.kind, &record.content)
                    .as_ref()
                    == Some(address);
                (!same).then(|| Change {
                    record: record.clone(),
                    content: address.to_string(),
                })
            })
            .collect()
    }

    /// What resolvers need before they all see a change: twice the longest TTL
    /// of a DNS-only record. A proxied record is changed behind the proxy.
    pub(super) fn resolvers_need(&self) -> Duration {
        self.records
            .iter()
            .filter(|record| !record.proxied)
            .map(|record| Duration::from_secs(2 * u64::from(effective_ttl(record.ttl))))
            .max()
            .unwrap_or(Duration::ZERO)
    }
}

/// Automatic is 300 s for a DNS-only record (Cloudflare's documentation, 2026-10).
fn effective_ttl(ttl: u32) -> u32 {
    if ttl <= 1 { 300 } else { ttl }
}

/// What else changed in a record that we only asked to change its content.
pub(super) fn altered(before: &[Change], after: &[Record]) -> Vec<String> {
    let mut told = Vec::new();
    for change in before {
        let Some(now) = after.iter().find(|r| r.id == change.record.id) else {
            continue;
        };
        let was = &change.record;
        for (field, was, now) in [
            ("proxied", was.proxied.to_string(), now.proxied.to_string()),
            ("ttl", was.ttl.to_string(), now.ttl.to_string()),
            ("name", was.hostname.clone(), now.hostname.clone()),
            ("other fields", was.rest.clone(), now.rest.clone()),
        ] {
            if was != now {
                told.push(format!(
                    "{}: {field} went from {was} to {now}",
                    change.record.hostname
                ));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::address::{Address, RecordType};

    fn place(text: &str) -> Place {
        Place::new(vec![Address::V4(text.parse().unwrap())])
    }

    fn record(content: &str, second: i64) -> Record {
        Record {
            id: "1".into(),
            hostname: "www.example.com".into(),
            kind: RecordType::A,
            content: content.into(),
            proxied: true,
            ttl: 1,
            modified_on: Timestamp::from_second(second).ok(),
            rest: "{}".into(),
        }
    }

    fn reading(content: &str, second: i64) -> Reading {
        let origins = [place("192.0.2.10"), place("198.51.100.20")];
        Reading::new(
            &["www.example.com".into()],
            &origins,
            vec![record(content, second)],
        )
    }

    #[test]
    fn first_sight_is_adopted_and_a_newer_foreign_content_is_noticed() {
        let places = [place("192.0.2.10"), place("198.51.100.20")];
        let first = reading("192.0.2.10", 100);
        let Hand::Ours(Some(known)) = first.hand(&places, None) else {
            panic!()
        };
        assert_eq!(first.hand(&places, Some(&known)), Hand::Ours(None));
        let touched = reading("192.0.2.10", 150);
        assert!(matches!(
            touched.hand(&places, Some(&known)),
            Hand::Ours(Some(_))
        ));
        let stale = reading("198.51.100.20", 100);
        assert_eq!(stale.hand(&places, Some(&known)), Hand::Stale);
        let theirs = reading("198.51.100.20", 101);
        assert!(matches!(
            theirs.hand(&places, Some(&known)),
            Hand::Theirs(_)
        ));
    }

    #[test]
    fn only_content_is_changed_and_only_where_it_differs() {
        let changes = reading("192.0.2.10", 1).changes(&place("198.51.100.20"));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].content, "198.51.100.20");
        assert!(
            reading("192.0.2.10", 1)
                .changes(&place("192.0.2.10"))
                .is_empty()
        );
    }

    #[test]
    fn a_side_effect_of_a_write_is_told() {
        let changes = reading("192.0.2.10", 1).changes(&place("198.51.100.20"));
        let mut after = record("198.51.100.20", 2);
        assert!(altered(&changes, std::slice::from_ref(&after)).is_empty());
        after.proxied = false;
        assert_eq!(
            altered(&changes, &[after]),
            ["www.example.com: proxied went from true to false"]
        );
    }

    #[test]
    fn dns_only_records_need_their_resolvers_time() {
        assert_eq!(reading("192.0.2.10", 1).resolvers_need(), Duration::ZERO);
        let mut plain = record("192.0.2.10", 1);
        plain.proxied = false;
        let reading = Reading::new(
            &["www.example.com".into()],
            &[place("192.0.2.10")],
            vec![plain],
        );
        assert_eq!(reading.resolvers_need(), Duration::from_secs(600));
    }
}
