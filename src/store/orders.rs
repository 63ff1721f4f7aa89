//! What the store is asked to do, and the statements that do it.

use super::reads::{guard, list, load};
use super::rows::{Row, length, nanoseconds};
use super::{GuardMemory, KnownRecord, Query, SiteMemory, StoreError, StoredDecision, Undoubted};
use crate::rule::standing::{Freeze, KeptPin};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, params};
use std::sync::Arc;
use std::time::Duration;

/// One call, ready to be carried out, and again if the disk refuses it.
#[derive(Debug)]
pub(super) enum Order {
    Load {
        site: String,
        now: Timestamp,
        window: Duration,
    },
    List(Query),
    Begin(Row),
    Conclude(i64, Row),
    Record(Row),
    Prove {
        site: String,
        fingerprint: String,
        at: Timestamp,
    },
    Undoubted(String, Undoubted),
    Known(String, KnownRecord),
    Pin(String, Option<KeptPin>),
    Freeze(String, Option<Freeze>),
    Release(String, Timestamp),
    Guard(Timestamp),
    Close,
    /// Lets the file grow by no more than this many pages: a disk that is full.
    #[cfg(test)]
    Room(i64),
}

/// What an order came to.
#[derive(Debug)]
pub(super) enum Answer {
    Site(Box<SiteMemory>),
    Decisions(Vec<StoredDecision>),
    Guard(Box<GuardMemory>),
    Id(i64),
    Done,
}

impl Order {
    pub(super) fn writes(&self) -> bool {
        match self {
            Order::Load { .. } | Order::List(_) | Order::Guard(_) | Order::Close => false,
            #[cfg(test)]
            Order::Room(_) => false,
            _ => true,
        }
    }

    /// History, of which nothing may be lost while there is memory for it.
    pub(super) fn is_history(&self) -> bool {
        matches!(self, Order::Record(_) | Order::Conclude(..))
    }

    /// What the latest of several such writes replaces.
    pub(super) fn key(&self) -> Option<(u8, String, String)> {
        match self {
            Order::Prove {
                site, fingerprint, ..
            } => Some((0, site.clone(), fingerprint.clone())),
            Order::Undoubted(site, _) => Some((1, site.clone(), String::new())),
            Order::Known(site, _) => Some((2, site.clone(), String::new())),
            Order::Pin(site, _) => Some((3, site.clone(), String::new())),
            Order::Freeze(site, _) => Some((4, site.clone(), String::new())),
            Order::Release(site, _) => Some((5, site.clone(), String::new())),
            _ => None,
        }
    }

    /// The wall clock, where the order carries it.
    pub(super) fn now(&self) -> Option<i64> {
        match self {
            Order::Begin(row) | Order::Record(row) => Some(row.sent_ns.unwrap_or(row.time_ns)),
            Order::Prove { at, .. } | Order::Release(_, at) => Some(nanoseconds(*at)),
            Order::Undoubted(_, undoubted) => Some(nanoseconds(undoubted.as_of)),
            _ => None,
        }
    }
}

/// Carries out one order, inside whatever transaction is open.
pub(super) fn apply(db: &Connection, order: &Order) -> Result<Answer, StoreError> {
    match order {
        Order::Load { site, now, window } => {
            load(db, site, *now, *window).map(|site| Answer::Site(Box::new(site)))
        }
        Order::List(query) => list(db, query).map(Answer::Decisions),
        Order::Begin(row) => insert(db, row).map(Answer::Id),
        Order::Conclude(id, row) => conclude(db, *id, row).map(|()| Answer::Done),
        Order::Record(row) => record(db, row).map(Answer::Id),
        Order::Prove {
            site,
            fingerprint,
            at,
        } => prove(db, site, fingerprint, *at).map(|()| Answer::Done),
        Order::Undoubted(site, undoubted) => {
            save_undoubted(db, site, undoubted).map(|()| Answer::Done)
        }
        Order::Known(site, known) => save_known(db, site, known).map(|()| Answer::Done),
        Order::Pin(site, pin) => save_pin(db, site, pin.as_ref()).map(|()| Answer::Done),
        Order::Freeze(site, freeze) => {
            save_freeze(db, site, freeze.as_ref()).map(|()| Answer::Done)
        }
        Order::Release(site, at) => save_release(db, site, *at).map(|()| Answer::Done),
        Order::Guard(since) => guard(db, *since).map(|found| Answer::Guard(Box::new(found))),
        Order::Close => Ok(Answer::Done),
        #[cfg(test)]
        Order::Room(pages) => limit(db, *pages).map(|()| Answer::Done),
    }
}

#[cfg(test)]
fn limit(db: &Connection, pages: i64) -> Result<(), StoreError> {
    let now: i64 = db
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .map_err(read)?;
    let most = now.saturating_add(pages).min(1_000_000);
    db.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
        .map_err(write)
}

pub(super) fn write(error: rusqlite::Error) -> StoreError {
    StoreError::Write(Arc::new(error))
}

pub(super) fn read(error: rusqlite::Error) -> StoreError {
    StoreError::Read(Arc::new(error))
}

fn execute(db: &Connection, sql: &str, with: impl Params) -> Result<usize, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(write)?;
    statement.execute(with).map_err(write)
}

pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    with: impl Params,
    of: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(read)?;
    statement.query_row(with, of).optional().map_err(read)
}

fn insert(db: &Connection, row: &Row) -> Result<i64, StoreError> {
    let (from, to) = (row.from.as_ref(), row.to.as_ref());
    execute(
        db,
        "INSERT INTO decision (site, time_ns, action, reason, result, applied, sent_ns, from_role, \
         from_address, to_role, to_address, duration_ns, explanation, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            row.site,
            row.time_ns,
            row.action,
            row.reason,
            row.result,
            row.applied,
            row.sent_ns,
            from.map(|pointer| &pointer.0),
            from.map(|pointer| &pointer.1),
            to.map(|pointer| &pointer.0),
            to.map(|pointer| &pointer.1),
            row.duration_ns,
            row.explanation,
            row.detail,
        ],
    )?;
    let id = db.last_insert_rowid();
    note_switch(db, id)?;
    Ok(id)
}

/// Rewrites a row, but for its site, its time, where the record pointed, and
/// when the switch was sent: one without a result was not sent after all.
fn amend(db: &Connection, id: i64, row: &Row) -> Result<(), StoreError> {
    let to = row.to.as_ref();
    let changed = execute(
        db,
        "UPDATE decision SET action = ?2, reason = ?3, result = ?4, applied = ?5, to_role = ?6, \
         to_address = ?7, duration_ns = ?8, explanation = ?9, detail = ?10, \
         sent_ns = CASE WHEN ?4 IS NULL THEN NULL ELSE sent_ns END WHERE id = ?1",
        params![
            id,
            row.action,
            row.reason,
            row.result,
            row.applied,
            to.map(|pointer| &pointer.0),
            to.map(|pointer| &pointer.1),
            row.duration_ns,
            row.explanation,
            row.detail,
        ],
    )?;
    match changed {
        0 => Err(StoreError::NoSuchRow(id)),
        _ => note_switch(db, id),
    }
}

/// Remembers the time of a confirmed switch beside the history, which ends.
fn note_switch(db: &Connection, id: i64) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO site (name, last_switch_ns) \
         SELECT site, sent_ns FROM decision WHERE id = ?1 AND applied = 1 AND sent_ns IS NOT NULL \
         ON CONFLICT (name) DO UPDATE \
         SET last_switch_ns = max(coalesce(last_switch_ns, excluded.last_switch_ns), \
                                  excluded.last_switch_ns)",
        [id],
    )?;
    Ok(())
}

fn conclude(db: &Connection, id: i64, row: &Row) -> Result<(), StoreError> {
    amend(db, id, row)
}

/// Inserts the decision, or completes the intent of the same pass: one whose
/// caller was told `Stalled` and never learned the id.
fn record(db: &Connection, row: &Row) -> Result<i64, StoreError> {
    let intent: Option<i64> = one(
        db,
        "SELECT max(id) FROM decision WHERE site = ?1 AND time_ns = ?2 \
         AND sent_ns IS NOT NULL AND applied IS NULL",
        params![row.site, row.time_ns],
        |found| found.get(0),
    )?
    .flatten();
    let Some(id) = intent else {
        return insert(db, row);
    };
    if row.sent_ns.is_none() {
        // It was given up before anything was sent, so it counts nowhere.
        let sql = "UPDATE decision SET sent_ns = NULL WHERE id = ?1";
        execute(db, sql, [id])?;
    }
    amend(db, id, row).map(|()| id)
}

fn prove(db: &Connection, site: &str, fingerprint: &str, at: Timestamp) -> Result<(), StoreError> {
    // A proof is old after 400 days, so a touch a day is enough.
    execute(
        db,
        "INSERT INTO proof (site, fingerprint, seen_ns) VALUES (?1, ?2, ?3) \
         ON CONFLICT (site, fingerprint) DO UPDATE SET seen_ns = excluded.seen_ns \
         WHERE excluded.seen_ns > seen_ns + 86400000000000",
        params![site, fingerprint, nanoseconds(at)],
    )?;
    Ok(())
}

fn save_undoubted(db: &Connection, site: &str, undoubted: &Undoubted) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO site (name, undoubted_fingerprint, undoubted_observed_ns, undoubted_as_of_ns) \
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE \
         SET undoubted_fingerprint = excluded.undoubted_fingerprint, \
             undoubted_observed_ns = excluded.undoubted_observed_ns, \
             undoubted_as_of_ns = excluded.undoubted_as_of_ns",
        params![
            site,
            undoubted.fingerprint,
            length(undoubted.observed),
            nanoseconds(undoubted.as_of)
        ],
    )?;
    Ok(())
}

fn save_known(db: &Connection, site: &str, known: &KnownRecord) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO site (name, known_content, known_modified_ns) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET known_content = excluded.known_content, \
         known_modified_ns = excluded.known_modified_ns",
        params![site, known.content, nanoseconds(known.modified_on)],
    )?;
    Ok(())
}

fn save_pin(db: &Connection, site: &str, kept: Option<&KeptPin>) -> Result<(), StoreError> {
    let pin = kept.map(|kept| &kept.pin);
    execute(
        db,
        "INSERT INTO site (name, pin_place, pin_until_ns, pin_reason, pin_forced, pin_due) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE \
         SET pin_place = excluded.pin_place, pin_until_ns = excluded.pin_until_ns, \
             pin_reason = excluded.pin_reason, pin_forced = excluded.pin_forced, \
             pin_due = excluded.pin_due",
        params![
            site,
            pin.map(|pin| &*pin.place),
            pin.and_then(|pin| pin.until).map(nanoseconds),
            pin.map(|pin| &*pin.reason),
            pin.map(|pin| pin.forced),
            kept.map(|kept| kept.due),
        ],
    )?;
    Ok(())
}

fn save_freeze(db: &Connection, site: &str, freeze: Option<&Freeze>) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO site (name, freeze_reason, freeze_until_ns) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET freeze_reason = excluded.freeze_reason, \
         freeze_until_ns = excluded.freeze_until_ns",
        params![
            site,
            freeze.map(|freeze| &*freeze.reason),
            freeze.and_then(|freeze| freeze.until).map(nanoseconds),
        ],
    )?;
    Ok(())
}

fn save_release(db: &Connection, site: &str, at: Timestamp) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO site (name, released_ns) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET released_ns = excluded.released_ns",
        params![site, nanoseconds(at)],
    )?;
    Ok(())
}

/// Deletes some of what is too old; says whether there may be more.
///
/// Switches inside the longest window are counted, and a switch that is open
/// has to be settled: both outlive `keep`.
pub(super) fn prune(db: &Connection, cutoff: i64, sent: i64) -> Result<bool, StoreError> {
    const AT_ONCE: usize = 500;
    let gone = execute(
        db,
        "DELETE FROM decision WHERE id IN (SELECT id FROM decision WHERE time_ns < ?1 \
         AND (sent_ns IS NULL OR (sent_ns < ?2 AND applied IS NOT NULL)) LIMIT ?3)",
        params![cutoff, sent, AT_ONCE as i64],
    )?;
    Ok(gone == AT_ONCE)
}

/// Forgets proofs that nobody renewed since `cutoff`.
pub(super) fn prune_proofs(db: &Connection, cutoff: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM proof WHERE seen_ns < ?1";
    execute(db, sql, [cutoff]).map(|_| ())
}

/// Learns whether the disk takes writes and has some pages left.
pub(super) fn try_room(db: &Connection) -> Result<(), StoreError> {
    execute(
        db,
        "INSERT INTO room (filler) VALUES (zeroblob(8000))",
        params![],
    )?;
    execute(db, "DELETE FROM room", params![]).map(|_| ())
}
