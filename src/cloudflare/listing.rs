//! The records of a whole zone, from a list of one or more pages, and which of
//! its names it can be believed about.
//!
//! While somebody else writes, records shift between pages: one may be on
//! none of them, another on two. So where there were several, a name is not
//! believed that is missing, that has a record twice, or that stands at the
//! edge of a page, beyond which more of it may have been.

use super::wire::{Entry, Page};
use crate::failover::Record;
use std::collections::{HashMap, HashSet};

/// The records of a whole zone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    by_name: HashMap<String, Vec<Record>>,
    doubted: HashSet<String>,
    ids: HashSet<String>,
    /// The name at the end of the last page, if it is one of ours to know.
    edge: Option<String>,
    pub(super) pages: usize,
    pub(super) records: usize,
}

impl Listing {
    /// Takes a further page.
    pub(super) fn add(&mut self, page: Page<Entry>) {
        if self.pages > 0 {
            self.doubted.extend(self.edge.take());
            self.doubted.extend(page.items.iter().find_map(name_of));
        }
        self.pages += 1;
        self.records += page.items.len();
        self.edge = page.items.iter().rev().find_map(name_of);
        for entry in page.items {
            match entry {
                Entry::Record(record) => self.take(record),
                Entry::Unreadable(name) => _ = self.doubted.insert(name),
                Entry::Other => {}
            }
        }
    }

    fn take(&mut self, record: Record) {
        if !self.ids.insert(record.id.clone()) {
            self.doubted.insert(record.hostname.clone());
            return;
        }
        let records = self.by_name.entry(record.hostname.clone()).or_default();
        records.push(record);
    }

    /// The records of a name; `None` if the list is not to be believed about it.
    pub(super) fn of(&self, name: &str) -> Option<&[Record]> {
        if self.doubted.contains(name) {
            return None;
        }
        match self.by_name.get(name) {
            Some(records) => Some(records),
            None => (self.pages == 1).then_some(&[]),
        }
    }
}

/// The name of an address record. Records of other types stand between those
/// of two names, or of one, and change nothing about what may be missing.
fn name_of(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Record(record) => Some(record.hostname.clone()),
        Entry::Unreadable(name) => Some(name.clone()),
        Entry::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::address::RecordType;

    fn page(names: &[(&str, &str)]) -> Page<Entry> {
        let entry = |&(id, name): &(&str, &str)| {
            Entry::Record(Record {
                id: id.into(),
                hostname: name.into(),
                kind: RecordType::A,
                content: "192.0.2.1".into(),
                proxied: true,
                ttl: 1,
                modified_on: None,
                rest: "{}".into(),
            })
        };
        Page {
            items: names.iter().map(entry).collect(),
            last: false,
            size: None,
        }
    }

    fn listing(pages: &[&[(&str, &str)]]) -> Listing {
        let mut listing = Listing::default();
        for names in pages {
            listing.add(page(names));
        }
        listing
    }

    #[test]
    fn one_page_is_believed_about_every_name() {
        let listing = listing(&[&[("1", "a"), ("2", "a"), ("3", "b")]]);
        assert_eq!(listing.of("a").map(<[_]>::len), Some(2));
        assert_eq!(listing.of("b").map(<[_]>::len), Some(1));
        assert_eq!(listing.of("c").map(<[_]>::len), Some(0));
        assert_eq!((listing.pages, listing.records), (1, 3));
    }

    #[test]
    fn names_at_the_edges_of_pages_missing_and_double_ones_are_not_believed() {
        let listing = listing(&[
            &[("1", "a"), ("2", "b"), ("3", "c")],
            &[("5", "d"), ("6", "e"), ("7", "f")],
            &[("8", "g"), ("2", "b"), ("9", "h")],
        ]);
        for name in ["a", "e", "h"] {
            assert_eq!(listing.of(name).map(<[_]>::len), Some(1), "{name}");
        }
        for name in ["b", "c", "d", "f", "g", "missing"] {
            assert_eq!(listing.of(name), None, "{name}");
        }
    }
}
