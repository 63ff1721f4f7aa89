//! The state file as a site's loop uses it.

use super::{Query, SqliteStore, StoreError};
use crate::failover::{
    GuardMemory, KnownRecord, PastSwitch, SiteMemory, Store, StoreFault, Undoubted,
};
use crate::rule::decision::Decision;
use crate::rule::standing::{Freeze, KeptPin};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::time::Duration;

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreFault>>;

/// An error with its cause, as one sentence.
fn fault(error: StoreError) -> StoreFault {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    StoreFault(text)
}

async fn load(
    store: &SqliteStore,
    site: &str,
    now: Timestamp,
    window: Duration,
) -> Result<SiteMemory, StoreError> {
    let stored = store.load_site(site, now, window).await?;
    let open_switch = match &stored.open_switch {
        None => None,
        Some(open) => {
            let query = Query {
                site: Some(site.to_owned()),
                limit: 1,
                before: Some(open.id.saturating_add(1)),
            };
            let found = store.decisions(query).await?;
            found
                .into_iter()
                .map(|row| row.decision)
                .find(|decision| decision.id == Some(open.id))
        }
    };
    Ok(SiteMemory {
        proofs: stored.proofs,
        undoubted: stored.undoubted,
        switches: stored.switches.iter().map(past).collect(),
        course: stored.course.iter().map(past).collect(),
        last_switch: stored.last_switch,
        last_decision: stored.last_decision,
        known_record: stored.known_record,
        open_switch,
        away: stored.away,
        pin: stored.pin,
        freeze: stored.freeze,
        released: stored.released,
    })
}

fn past(stored: &super::PastSwitch) -> PastSwitch {
    PastSwitch {
        id: stored.id,
        at: stored.at,
        applied: stored.applied,
        reason: stored.reason,
    }
}

impl Store for SqliteStore {
    fn load<'a>(
        &'a self,
        site: &'a str,
        now: Timestamp,
        window: Duration,
    ) -> Answer<'a, SiteMemory> {
        Box::pin(async move { load(self, site, now, window).await.map_err(fault) })
    }

    fn begin_switch<'a>(&'a self, decision: &'a Decision) -> Answer<'a, i64> {
        Box::pin(async move {
            let begun = SqliteStore::begin_switch(self, decision, decision.time).await;
            begun.map_err(fault)
        })
    }

    fn conclude_switch<'a>(
        &'a self,
        id: i64,
        decision: &'a Decision,
        applied: Option<bool>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let done = SqliteStore::conclude_switch(self, id, decision, applied).await;
            done.map_err(fault)
        })
    }

    fn record<'a>(&'a self, decision: &'a Decision) -> Answer<'a, i64> {
        Box::pin(async move { SqliteStore::record(self, decision).await.map_err(fault) })
    }

    fn prove<'a>(&'a self, site: &'a str, fingerprint: &'a str, at: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let done = SqliteStore::prove(self, site, fingerprint, at).await;
            done.map_err(fault)
        })
    }

    fn save_undoubted<'a>(&'a self, site: &'a str, undoubted: &'a Undoubted) -> Answer<'a, ()> {
        Box::pin(async move {
            let done = SqliteStore::save_undoubted(self, site, undoubted.clone()).await;
            done.map_err(fault)
        })
    }

    fn save_known_record<'a>(&'a self, site: &'a str, known: &'a KnownRecord) -> Answer<'a, ()> {
        Box::pin(async move {
            let done = SqliteStore::save_known_record(self, site, known).await;
            done.map_err(fault)
        })
    }

    fn save_pin<'a>(&'a self, site: &'a str, pin: Option<&'a KeptPin>) -> Answer<'a, ()> {
        Box::pin(async move { SqliteStore::save_pin(self, site, pin).await.map_err(fault) })
    }

    fn save_freeze<'a>(&'a self, site: &'a str, freeze: Option<&'a Freeze>) -> Answer<'a, ()> {
        Box::pin(async move {
            let done = SqliteStore::save_freeze(self, site, freeze).await;
            done.map_err(fault)
        })
    }

    fn save_release<'a>(&'a self, site: &'a str, at: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            SqliteStore::save_release(self, site, at)
                .await
                .map_err(fault)
        })
    }

    fn load_guard(&self, since: Timestamp) -> Answer<'_, GuardMemory> {
        Box::pin(async move { SqliteStore::load_guard(self, since).await.map_err(fault) })
    }

    fn healthy(&self) -> bool {
        SqliteStore::healthy(self)
    }
}

/// A state file that is read and never written: what `once --dry-run` uses,
/// also beside a running server.
#[derive(Debug, Clone)]
pub struct ReadOnly(pub SqliteStore);

/// A write that is left out, and is no fault.
fn left_out<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Store for ReadOnly {
    fn load<'a>(
        &'a self,
        site: &'a str,
        now: Timestamp,
        window: Duration,
    ) -> Answer<'a, SiteMemory> {
        Store::load(&self.0, site, now, window)
    }

    fn begin_switch<'a>(&'a self, _: &'a Decision) -> Answer<'a, i64> {
        let fault = StoreFault("the state file is only read here".into());
        Box::pin(std::future::ready(Err(fault)))
    }

    fn conclude_switch<'a>(&'a self, _: i64, _: &'a Decision, _: Option<bool>) -> Answer<'a, ()> {
        left_out(())
    }

    fn record<'a>(&'a self, _: &'a Decision) -> Answer<'a, i64> {
        let fault = StoreFault("the state file is only read here".into());
        Box::pin(std::future::ready(Err(fault)))
    }

    fn prove<'a>(&'a self, _: &'a str, _: &'a str, _: Timestamp) -> Answer<'a, ()> {
        left_out(())
    }

    fn save_undoubted<'a>(&'a self, _: &'a str, _: &'a Undoubted) -> Answer<'a, ()> {
        left_out(())
    }

    fn save_known_record<'a>(&'a self, _: &'a str, _: &'a KnownRecord) -> Answer<'a, ()> {
        left_out(())
    }

    fn save_pin<'a>(&'a self, _: &'a str, _: Option<&'a KeptPin>) -> Answer<'a, ()> {
        left_out(())
    }

    fn save_freeze<'a>(&'a self, _: &'a str, _: Option<&'a Freeze>) -> Answer<'a, ()> {
        left_out(())
    }

    fn save_release<'a>(&'a self, _: &'a str, _: Timestamp) -> Answer<'a, ()> {
        left_out(())
    }

    fn load_guard(&self, since: Timestamp) -> Answer<'_, GuardMemory> {
        Store::load_guard(&self.0, since)
    }

    fn healthy(&self) -> bool {
        true
    }
}
