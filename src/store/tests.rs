//! A disk that is full, which needs a hook that users must not have.

use super::orders::Order;
use super::{KnownRecord, Query, SqliteStore, StoreError, Undoubted, backlog};
use crate::rule::address::Role;
use crate::rule::decision::{Decision, Pointer, Reason, SwitchResult, Trigger};
use crate::rule::walk::{KeepReason, SwitchKind};
use jiff::Timestamp;
use std::error::Error;
use std::time::{Duration, Instant};

const YEAR: Duration = Duration::from_secs(400 * 86_400);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

/// Big enough that a page takes one of them at most.
fn decision(second: i64) -> Decision {
    Decision {
        id: None,
        time: at(second),
        site: "www".into(),
        trigger: Trigger::Timer,
        record: None,
        origins: Vec::new(),
        steps: vec![1, 2, 3],
        reason: Reason::Keep(KeepReason::OnMain),
        to: None,
        result: None,
        duration: None,
        pin: None,
        frozen: None,
        explanation: "because ".repeat(400),
    }
}

fn switch(second: i64) -> Decision {
    Decision {
        reason: Reason::Switch(SwitchKind::Failover),
        to: Some(Pointer {
            role: Role::Backup(1),
            address: "198.51.100.20".into(),
        }),
        result: Some(SwitchResult::Confirmed),
        ..decision(second)
    }
}

fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("state.db"), YEAR).unwrap();
    (folder, store)
}

async fn fill(store: &SqliteStore) {
    store.call(Order::Room(0)).await.unwrap();
    // What is left on the pages there are.
    for second in 0.. {
        if store.record(&decision(second)).await.is_err() {
            return;
        }
    }
}

async fn make_room(store: &SqliteStore) {
    store.call(Order::Room(1_000_000)).await.unwrap();
}

async fn seconds(store: &SqliteStore) -> Vec<i64> {
    let all = Query {
        site: None,
        limit: usize::MAX,
        before: None,
    };
    let found = store.decisions(all).await.unwrap();
    let second = |time: Timestamp| time.as_second() - 1_795_000_000;
    found.iter().map(|f| second(f.decision.time)).collect()
}

async fn until_healthy(store: &SqliteStore) {
    let start = Instant::now();
    while !store.healthy() {
        assert!(start.elapsed() < Duration::from_secs(10), "never healthy");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_said_aloud_and_history_is_completed_in_order() {
    let (_folder, store) = store();
    let open = store.begin_switch(&switch(-10), at(-10)).await.unwrap();
    fill(&store).await;
    assert!(!store.healthy());

    let error = store.record(&decision(1001)).await.unwrap_err();
    assert_eq!(error.to_string(), "the state file took no write");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("database or disk is full"), "{cause}");
    assert!(!error.is_stalled());
    assert!(store.begin_switch(&switch(1002), at(1002)).await.is_err());
    let mut done = switch(-10);
    done.explanation.push_str("; record switched to backup");
    assert!(
        store
            .conclude_switch(open, &done, Some(true))
            .await
            .is_err()
    );
    assert!(store.record(&switch(1002)).await.is_err());
    // Reading goes on.
    let before = seconds(&store).await;
    assert_eq!(before.last(), Some(&-10));

    make_room(&store).await;
    store.record(&decision(1003)).await.unwrap();
    assert!(store.healthy());
    let after = seconds(&store).await;
    assert_eq!(after[..3], [1003, 1002, 1001]);
    // The one that filled the disk waited too.
    assert_eq!(after[4..], before);
    let memory = store.load_site("www", at(1003), YEAR).await.unwrap();
    assert_eq!(memory.open_switch, None);
    assert_eq!(memory.last_switch, Some(at(1002)));
    let applied: Vec<_> = memory.switches.iter().map(|s| s.applied).collect();
    assert_eq!(applied, [Some(true), Some(true)]);
}

#[tokio::test]
async fn what_waits_is_written_without_another_call() {
    let (folder, store) = store();
    fill(&store).await;
    let known = |content: &str| KnownRecord {
        content: content.into(),
        modified_on: at(5),
    };
    for content in ["192.0.2.10", "198.51.100.20"] {
        let known = known(&content.repeat(500));
        assert!(store.save_known_record("www", &known).await.is_err());
    }
    assert!(store.prove("www", "a hash", at(5)).await.is_err());
    let undoubted = Undoubted {
        fingerprint: "a hash".into(),
        observed: Duration::from_secs(5),
        as_of: at(5),
    };
    let saved = store.save_undoubted("www", undoubted.clone()).await;
    assert!(matches!(saved, Err(StoreError::Write(_))));

    make_room(&store).await;
    until_healthy(&store).await;
    store.close().await;
    let store = SqliteStore::open(&folder.path().join("state.db"), YEAR).unwrap();
    let memory = store.load_site("www", at(5), YEAR).await.unwrap();
    assert_eq!(
        memory.known_record,
        Some(known(&"198.51.100.20".repeat(500)))
    );
    assert_eq!(memory.proofs, ["a hash"]);
    assert_eq!(memory.undoubted, Some(undoubted));
}

#[tokio::test]
async fn an_intent_that_failed_does_not_leave_the_store_ill_for_ever() {
    let (_folder, store) = store();
    store.call(Order::Room(4)).await.unwrap();
    let mut big = switch(2000);
    big.explanation = "x".repeat(100_000);
    assert!(store.begin_switch(&big, at(2000)).await.is_err());
    assert!(!store.healthy());
    // Nothing waits to be written, so it has to find out by itself.
    until_healthy(&store).await;
}

#[tokio::test]
async fn more_than_the_backlog_holds_loses_the_oldest_decisions_and_no_outcome() {
    let (_folder, store) = store();
    let open = store.begin_switch(&switch(-10), at(-10)).await.unwrap();
    fill(&store).await;
    let done = switch(-10);
    assert!(
        store
            .conclude_switch(open, &done, Some(false))
            .await
            .is_err()
    );
    let most = i64::try_from(backlog::MOST).unwrap();
    for second in 10_000..10_000 + most + 5 {
        let mut small = decision(second);
        small.explanation.clear();
        assert!(store.record(&small).await.is_err());
    }
    make_room(&store).await;
    until_healthy(&store).await;
    let after = seconds(&store).await;
    let waited: Vec<_> = after.iter().filter(|&&second| second >= 10_000).collect();
    // One place is the outcome's, so one more of the decisions had to go.
    assert_eq!(waited.len(), backlog::MOST - 1);
    assert_eq!(waited.first(), Some(&&(10_000 + most + 4)));
    assert_eq!(waited.last(), Some(&&10_006));
    let memory = store.load_site("www", at(0), YEAR).await.unwrap();
    assert_eq!(memory.open_switch, None);
}
