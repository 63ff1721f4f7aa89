//! What `tests/fuzz` sees of the wire forms, which are private otherwise.

use super::ratelimit;
use super::wire::{self, Entry, Message, Said};
use crate::failover::Record;

/// The records of this name on a page of a list, and whether it is the last.
pub fn records(hostname: &str, body: &[u8]) -> Result<(Vec<Record>, bool), String> {
    wire::records(hostname, body).map(|page| (page.items, page.last))
}

/// The records on a page of a zone's list, and the names of those that are not
/// readable.
pub fn entries(body: &[u8]) -> Result<(Vec<Record>, Vec<String>), String> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for entry in wire::entries(body)?.items {
        match entry {
            Entry::Record(record) => records.push(record),
            Entry::Unreadable(name) => unreadable.push(name),
            Entry::Other => {}
        }
    }
    Ok((records, unreadable))
}

/// How many windows the two headers tell of.
pub fn windows(limit: &str, policy: &str) -> usize {
    ratelimit::items(limit, policy).len()
}

/// The names and ids of the zones on a page of a list, and whether it is the last.
pub fn zones(body: &[u8]) -> Result<(Vec<(String, String)>, bool), String> {
    let page = wire::zones(body)?;
    let zones = page.items.into_iter().map(|zone| (zone.name, zone.id));
    Ok((zones.collect(), page.last))
}

/// The one record of an answer.
pub fn record(body: &[u8]) -> Result<Record, String> {
    wire::record(body)
}

/// The patched records of a batch's answer.
pub fn patched(body: &[u8]) -> Result<Vec<Record>, String> {
    wire::patched(body)
}

/// Whether an answer says that it succeeded, or else the codes and the text of
/// each of its errors; `None` if it is no envelope.
pub fn said(body: &[u8]) -> Option<Result<(), Vec<(Vec<i64>, String)>>> {
    let error = |message: &Message| (message.codes(), message.text());
    match wire::said(body) {
        Said::Success => Some(Ok(())),
        Said::Failure(errors) => Some(Err(errors.iter().map(error).collect())),
        Said::Unreadable => None,
    }
}
