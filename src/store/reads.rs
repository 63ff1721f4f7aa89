//! The statements that read.

use super::orders::{one, read};
use super::rows::{self, duration_of, nanoseconds, timestamp};
use super::{
    Away, GuardMemory, KnownRecord, PastSwitch, Query, SiteMemory, StoreError, StoredDecision,
    Undoubted,
};
use crate::rule::standing::{Freeze, KeptPin, Pin};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Params, params, params_from_iter, types::Value};
use std::time::Duration;

/// Switches of a site by which to tell whether its returns last.
const COURSE: usize = 64;

fn many<T>(
    db: &Connection,
    sql: &str,
    with: impl Params,
    of: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(read)?;
    let rows = statement.query_map(with, of).map_err(read)?;
    rows.collect::<rusqlite::Result<_>>().map_err(read)
}

pub(super) fn load(
    db: &Connection,
    site: &str,
    now: Timestamp,
    window: Duration,
) -> Result<SiteMemory, StoreError> {
    let mut memory = one(
        db,
        "SELECT undoubted_fingerprint, undoubted_observed_ns, undoubted_as_of_ns, known_content, \
         known_modified_ns, last_switch_ns, pin_place, pin_until_ns, pin_reason, pin_forced, pin_due, \
         freeze_reason, freeze_until_ns, released_ns FROM site WHERE name = ?1",
        [site],
        remembered,
    )?
    .unwrap_or_default();
    memory.proofs = many(
        db,
        "SELECT fingerprint FROM proof WHERE site = ?1 ORDER BY fingerprint",
        [site],
        |row| row.get(0),
    )?;
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let sql = format!(
        "SELECT {} FROM decision WHERE site = ?1 AND sent_ns >= ?2 AND result IS NOT NULL ORDER BY sent_ns, id",
        rows::SWITCH
    );
    let switches = many(
        db,
        &sql,
        params![site, nanoseconds(since)],
        rows::past_switch,
    )?;
    memory.switches = switches.into_iter().collect::<Result<_, _>>()?;
    memory.course = course(db, site)?;
    memory.away = away(db, site, memory.course.last())?;
    let sql = format!(
        "SELECT {} FROM decision WHERE site = ?1 AND sent_ns IS NOT NULL AND applied IS NULL \
         ORDER BY id DESC LIMIT 1",
        rows::SWITCH
    );
    memory.open_switch = one(db, &sql, [site], rows::past_switch)?.transpose()?;
    let newest = Query {
        site: Some(site.into()),
        limit: 1,
        before: None,
    };
    memory.last_decision = list(db, &newest)?.pop().map(|stored| stored.decision);
    Ok(memory)
}

/// The newest switches that happened, oldest first.
fn course(db: &Connection, site: &str) -> Result<Vec<PastSwitch>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decision WHERE site = ?1 AND sent_ns IS NOT NULL AND applied = 1 \
         ORDER BY sent_ns DESC, id DESC LIMIT {COURSE}",
        rows::SWITCH
    );
    let newest = many(db, &sql, [site], rows::past_switch)?;
    newest.into_iter().rev().collect()
}

/// The newest switch away from MAIN that happened; `newest` is the newest of all.
fn away(
    db: &Connection,
    site: &str,
    newest: Option<&PastSwitch>,
) -> Result<Option<Away>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decision WHERE site = ?1 AND sent_ns IS NOT NULL AND applied = 1 \
         AND to_role IS NOT 'main' ORDER BY sent_ns DESC, id DESC LIMIT 1",
        rows::DECISION
    );
    let found = one(db, &sql, [site], rows::stored)?.and_then(readable);
    Ok(found.map(|stored| Away {
        returned: newest.is_some_and(|switch| Some(switch.id) != stored.decision.id),
        switch: stored.decision.into(),
    }))
}

/// What is remembered of all sites together.
pub(super) fn guard(db: &Connection, since: Timestamp) -> Result<GuardMemory, StoreError> {
    let mut memory = one(
        db,
        "SELECT freeze_reason, freeze_until_ns, released_ns FROM site WHERE name = ''",
        [],
        |row| {
            Ok(GuardMemory {
                freeze: freeze(row, 0)?,
                released: row.get::<_, Option<i64>>(2)?.map(timestamp),
                left_main: Vec::new(),
            })
        },
    )?
    .unwrap_or_default();
    memory.left_main = many(
        db,
        "SELECT site, max(sent_ns) FROM decision WHERE sent_ns >= ?1 AND reason = 'failover' \
         AND from_role = 'main' AND result IS NOT NULL AND applied IS NOT 0 GROUP BY site",
        [nanoseconds(since)],
        |row| {
            let site: String = row.get(0)?;
            Ok((site.into(), timestamp(row.get(1)?)))
        },
    )?;
    Ok(memory)
}

fn freeze(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<Freeze>> {
    let reason: Option<String> = row.get(at)?;
    let until: Option<i64> = row.get(at + 1)?;
    Ok(reason.map(|reason| Freeze {
        reason: reason.into(),
        until: until.map(timestamp),
    }))
}

fn pin(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<KeptPin>> {
    let place: Option<String> = row.get(at)?;
    let until: Option<i64> = row.get(at + 1)?;
    let reason: Option<String> = row.get(at + 2)?;
    let forced: Option<bool> = row.get(at + 3)?;
    let due: Option<bool> = row.get(at + 4)?;
    Ok(place.map(|place| KeptPin {
        pin: Pin {
            place: place.into(),
            until: until.map(timestamp),
            reason: reason.unwrap_or_default().into(),
            forced: forced.unwrap_or_default(),
        },
        due: due.unwrap_or_default(),
    }))
}

fn remembered(row: &rusqlite::Row<'_>) -> rusqlite::Result<SiteMemory> {
    let fingerprint: Option<String> = row.get(0)?;
    let observed: Option<i64> = row.get(1)?;
    let as_of: Option<i64> = row.get(2)?;
    let content: Option<String> = row.get(3)?;
    let modified: Option<i64> = row.get(4)?;
    let switched: Option<i64> = row.get(5)?;
    let undoubted = fingerprint.zip(observed).zip(as_of);
    Ok(SiteMemory {
        undoubted: undoubted.map(|((fingerprint, observed), as_of)| Undoubted {
            fingerprint,
            observed: duration_of(observed),
            as_of: timestamp(as_of),
        }),
        known_record: content
            .zip(modified)
            .map(|(content, modified)| KnownRecord {
                content,
                modified_on: timestamp(modified),
            }),
        last_switch: switched.map(timestamp),
        pin: pin(row, 6)?,
        freeze: freeze(row, 11)?,
        released: row.get::<_, Option<i64>>(13)?.map(timestamp),
        ..SiteMemory::default()
    })
}

pub(super) fn list(db: &Connection, query: &Query) -> Result<Vec<StoredDecision>, StoreError> {
    let mut sql = format!("SELECT {} FROM decision WHERE id < ?", rows::DECISION);
    let mut with = vec![Value::Integer(query.before.unwrap_or(i64::MAX))];
    if let Some(site) = &query.site {
        sql.push_str(" AND site = ?");
        with.push(Value::Text(site.clone()));
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    with.push(Value::Integer(
        i64::try_from(query.limit).unwrap_or(i64::MAX),
    ));
    let found = many(db, &sql, params_from_iter(with), rows::stored)?;
    Ok(found.into_iter().filter_map(readable).collect())
}

/// Leaves out, and says so, what only another version can read: one odd row
/// must not hide the rest of the history.
fn readable(row: Result<StoredDecision, StoreError>) -> Option<StoredDecision> {
    row.inspect_err(|error| tracing::warn!("left out of the history: {error}"))
        .ok()
}
