//! What needs a look inside: a disk that is full, which takes a hook that users
//! must not have, files of older versions, and what is stored beside decisions.

use super::orders::Order;
use super::{KnownRecord, Query, SqliteStore, StoreError, Undoubted, backlog, schema};
use crate::rule::address::Role;
use crate::rule::decision::{Decision, OriginView, Pointer, Probed, Reason, SwitchResult, Trigger};
use crate::rule::finding::{Phases, Verdict};
use crate::rule::health::{Answer, State};
use crate::rule::standing::{Freeze, Frozen, KeptPin, Pin, Scope};
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

/// A file as the first version left it, with a decision and a site in it.
fn first_schema(path: &std::path::Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(schema::MIGRATIONS[0]).unwrap();
    db.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute_batch(
        "INSERT INTO decision (site, time_ns, action, reason, result, applied, sent_ns, from_role, \
         from_address, to_role, to_address, duration_ns, explanation, detail) \
         VALUES ('www', 1795000000000000000, 'switch', 'failover', 'confirmed', 1, 1795000000000000000, \
         'main', '192.0.2.10', 'backup', '198.51.100.20', 2000000000, 'main is down', \
         '{\"trigger\":\"alert\",\"origins\":[{\"role\":\"main\",\"address\":\"192.0.2.10\",\
         \"answer\":\"down\",\"reason\":\"refused\",\"probes\":3,\"failed\":3}],\
         \"steps\":[1,2,6,7,8]}'); \
         INSERT INTO proof VALUES ('www', 'a hash', 1795000000000000000); \
         INSERT INTO site (name, known_content, known_modified_ns, last_switch_ns) \
         VALUES ('www', '198.51.100.20', 1795000000000000000, 1795000000000000000);",
    )
    .unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    first_schema(&path);
    for nth in 0..2 {
        let store = SqliteStore::open(&path, YEAR).unwrap();
        let memory = store.load_site("www", at(60), YEAR).await.unwrap();
        assert_eq!(memory.proofs, ["a hash"]);
        assert_eq!(memory.last_switch, Some(at(0)));
        assert_eq!(memory.switches.len(), 1);
        assert_eq!(memory.course.len(), 1);
        assert_eq!(memory.known_record.unwrap().content, "198.51.100.20");
        assert_eq!((memory.released, memory.freeze), (None, None));
        let guard = store.load_guard(at(-60)).await.unwrap();
        assert_eq!(guard.left_main, [("www".into(), at(0))]);
        let stored = store.decision(1).await.unwrap().unwrap();
        assert_eq!(stored.decision.explanation, "main is down");
        assert!(stored.decision.origins[0].evidence.is_empty());
        assert_eq!(stored.decision.pin, None);
        // It takes what the first version could not hold.
        assert_eq!(memory.pin.is_some(), nth == 1);
        store.save_pin("www", Some(&pin(true))).await.unwrap();
        store.close().await;
    }
    let db = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, schema::SCHEMA_VERSION);
}

fn pin(due: bool) -> KeptPin {
    let pin = Pin {
        place: "198.51.100.20, 2001:db8::20".into(),
        until: Some(at(7_200)),
        reason: "kernel update, \"quoted\" – ünïcode".into(),
        forced: true,
    };
    KeptPin { pin, due }
}

fn freeze(until: Option<Timestamp>) -> Freeze {
    let reason = "database move".into();
    Freeze { until, reason }
}

#[tokio::test]
async fn orders_survive_a_restart_as_they_were_given_and_so_does_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let again = async |store: SqliteStore| {
        store.close().await;
        SqliteStore::open(&path, YEAR).unwrap()
    };
    let mut store = SqliteStore::open(&path, YEAR).unwrap();
    store.save_pin("www", Some(&pin(true))).await.unwrap();
    let ends = freeze(Some(at(60)));
    store.save_freeze("www", Some(&ends)).await.unwrap();
    store.save_freeze("", Some(&freeze(None))).await.unwrap();
    store.save_release("www", at(5)).await.unwrap();
    store.save_release("", at(6)).await.unwrap();
    store = again(store).await;
    let memory = store.load_site("www", at(7), YEAR).await.unwrap();
    assert_eq!(memory.pin, Some(pin(true)));
    assert_eq!(memory.freeze, Some(ends));
    assert_eq!(memory.released, Some(at(5)));
    let guard = store.load_guard(at(0)).await.unwrap();
    assert_eq!(guard.freeze, Some(freeze(None)));
    assert_eq!(guard.released, Some(at(6)));
    // Another site knows nothing of it.
    let other = store.load_site("shop", at(7), YEAR).await.unwrap();
    assert_eq!(
        (other.pin, other.freeze, other.released),
        (None, None, None)
    );

    store.save_pin("www", Some(&pin(false))).await.unwrap();
    store.save_freeze("www", None).await.unwrap();
    store = again(store).await;
    let memory = store.load_site("www", at(7), YEAR).await.unwrap();
    assert_eq!((memory.pin, memory.freeze), (Some(pin(false)), None));
    assert_eq!(memory.released, Some(at(5)));
    store.save_pin("www", None).await.unwrap();
    store.save_freeze("", None).await.unwrap();
    store = again(store).await;
    let memory = store.load_site("www", at(7), YEAR).await.unwrap();
    assert_eq!(memory.pin, None);
    assert_eq!(store.load_guard(at(0)).await.unwrap().freeze, None);
}

#[tokio::test]
async fn orders_that_a_full_disk_refused_are_written_when_there_is_room() {
    let (folder, store) = store();
    store.save_pin("www", Some(&pin(true))).await.unwrap();
    fill(&store).await;
    let mut long = pin(false);
    long.pin.reason = "x".repeat(9_000).into();
    assert!(store.save_pin("www", Some(&long)).await.is_err());
    assert!(store.save_freeze("", Some(&freeze(None))).await.is_err());
    assert!(store.save_release("www", at(9)).await.is_err());
    make_room(&store).await;
    until_healthy(&store).await;
    store.close().await;
    let store = SqliteStore::open(&folder.path().join("state.db"), YEAR).unwrap();
    let memory = store.load_site("www", at(10), YEAR).await.unwrap();
    assert_eq!(memory.pin, Some(long));
    assert_eq!(memory.released, Some(at(9)));
    let guard = store.load_guard(at(0)).await.unwrap();
    assert_eq!(guard.freeze, Some(freeze(None)));
}

#[tokio::test]
async fn what_stands_beside_a_decision_is_kept_with_it() {
    let (folder, store) = store();
    let probe = |second, verdict, resolve| Probed {
        started: at(second),
        took: Duration::new(2, 5),
        verdict,
        reason: "ipv4: connect: no answer within 2s".into(),
        phases: Phases {
            resolve,
            connect: Some(Duration::from_micros(81)),
            tls: None,
            response: None,
        },
    };
    let origin = OriginView {
        at: Pointer {
            role: Role::Main,
            address: "192.0.2.10".into(),
        },
        answer: Answer::Down,
        known: State::Down,
        reason: "refused".into(),
        probes: 3,
        failed: 2,
        evidence: vec![
            probe(-2, Verdict::Down, None),
            probe(-1, Verdict::Unknown, Some(Duration::from_nanos(1))),
            probe(0, Verdict::Up, None),
        ],
    };
    for scope in [Scope::Site, Scope::All, Scope::Pin] {
        let given = Decision {
            origins: vec![origin.clone()],
            pin: Some(Box::new((Role::Backup(2), pin(true).pin))),
            frozen: Some(Box::new(Frozen {
                scope,
                freeze: freeze(Some(at(9))),
            })),
            ..decision(1)
        };
        let id = store.record(&given).await.unwrap();
        let kept = store.decision(id).await.unwrap().unwrap().decision;
        let known = kept.origins[0].known;
        assert_eq!(
            kept,
            Decision {
                id: Some(id),
                ..given
            }
        );
        assert_eq!(known, State::Down);
    }
    drop(folder);
}

#[tokio::test]
async fn only_switches_that_left_main_and_may_have_happened_count_for_the_brake() {
    let (_folder, store) = store();
    let main = Pointer {
        role: Role::Main,
        address: "192.0.2.10".into(),
    };
    let leaves = |site: &str, second| Decision {
        site: site.into(),
        record: Some(main.clone()),
        ..switch(second)
    };
    // Happened; of unknown outcome; did not happen; from BACKUP; a return; a dry run.
    for (site, second, applied) in [
        ("a", 10, Some(true)),
        ("b", 11, None),
        ("c", 12, Some(false)),
    ] {
        let id = store.begin_switch(&leaves(site, second), at(second)).await;
        let mut done = leaves(site, second);
        done.result = Some(match applied {
            Some(true) => SwitchResult::Confirmed,
            Some(false) => SwitchResult::Rejected,
            None => SwitchResult::Unconfirmed,
        });
        store
            .conclude_switch(id.unwrap(), &done, applied)
            .await
            .unwrap();
    }
    let from_backup = Decision {
        record: switch(0).to,
        ..leaves("d", 13)
    };
    store.begin_switch(&from_backup, at(13)).await.unwrap();
    let returns = Decision {
        reason: Reason::Switch(SwitchKind::Failback),
        ..leaves("e", 14)
    };
    store.begin_switch(&returns, at(14)).await.unwrap();
    let dry = Decision {
        result: Some(SwitchResult::DryRun),
        ..leaves("f", 15)
    };
    store.record(&dry).await.unwrap();
    // The last time of one that left twice; and one that left too long ago.
    let ineffective = Decision {
        result: Some(SwitchResult::Ineffective),
        ..leaves("a", 20)
    };
    let id = store.begin_switch(&leaves("a", 20), at(20)).await.unwrap();
    store
        .conclude_switch(id, &ineffective, Some(true))
        .await
        .unwrap();
    store
        .begin_switch(&leaves("g", -90), at(-90))
        .await
        .unwrap();
    let mut left = store.load_guard(at(0)).await.unwrap().left_main;
    left.sort();
    assert_eq!(left, [("a".into(), at(20)), ("b".into(), at(11))]);
}
