//! The state file as its users meet it: restarts, crashes, other processes,
//! files that are not ours, disks that stall.

use jiff::Timestamp;
use originswitch::rule::address::Role;
use originswitch::rule::brakes::HoldReason;
use originswitch::rule::decision::{Decision, OriginView, Pointer, Reason, SwitchResult, Trigger};
use originswitch::rule::health::Answer;
use originswitch::rule::walk::{KeepReason, SwitchKind};
use originswitch::store::{
    KnownRecord, OpenError, Query, SiteMemory, SqliteStore, StoreError, StoredDecision, Undoubted,
};
use rusqlite::Connection;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);
const KEEP: Duration = Duration::from_secs(400 * 86_400);
const HOUR: Duration = Duration::from_secs(3600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn pointer(role: Role, address: &str) -> Pointer {
    Pointer {
        role,
        address: address.into(),
    }
}

fn main_origin() -> Pointer {
    pointer(Role::Main, "192.0.2.10, 2001:db8::10")
}

fn backup() -> Pointer {
    pointer(Role::Backup(1), "198.51.100.20")
}

fn view(at: Pointer, answer: Answer, reason: &str) -> OriginView {
    OriginView {
        at,
        answer,
        known: answer.into(),
        reason: reason.into(),
        probes: 3,
        failed: 2,
        evidence: Vec::new(),
    }
}

fn keep(site: &str, second: i64) -> Decision {
    Decision {
        id: None,
        time: at(second),
        site: site.into(),
        trigger: Trigger::Timer,
        record: Some(main_origin()),
        origins: vec![view(main_origin(), Answer::Up, "200 in 12 ms")],
        steps: vec![1, 2, 3],
        reason: Reason::Keep(KeepReason::OnMain),
        to: None,
        result: None,
        duration: None,
        pin: None,
        frozen: None,
        explanation: "main is up".into(),
    }
}

fn failover(site: &str, second: i64) -> Decision {
    Decision {
        trigger: Trigger::Alert,
        origins: vec![
            view(main_origin(), Answer::Down, "connect: connection refused"),
            view(backup(), Answer::Up, "200 in 12 ms"),
        ],
        steps: vec![1, 2, 6, 7, 8],
        reason: Reason::Switch(SwitchKind::Failover),
        to: Some(backup()),
        explanation: "main is down".into(),
        ..keep(site, second)
    }
}

fn with_result(mut decision: Decision, result: SwitchResult) -> Decision {
    decision.duration = Some(Duration::new(2, 310_000_001));
    decision.conclude(result, "so it ended");
    decision
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        Place { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), KEEP).unwrap()
    }

    /// The sentence with which opening is refused, in both modes, and the
    /// promise that the file is as before.
    fn refusal(&self) -> String {
        let before = fs::read(self.path()).ok();
        let sentence = refusal_of(self);
        let reading = refusal(SqliteStore::open_read_only(&self.path()));
        assert_eq!(sentence, self.without_path(&reading));
        assert_eq!(fs::read(self.path()).ok(), before, "the file was changed");
        sentence
    }

    fn without_path(&self, sentence: &str) -> String {
        sentence.replace(&self.path().display().to_string(), "STATE")
    }
}

fn refusal(opened: Result<SqliteStore, OpenError>) -> String {
    opened.expect_err("it was opened").to_string()
}

async fn all(store: &SqliteStore) -> Vec<StoredDecision> {
    page(store, None, usize::MAX, None).await
}

async fn page(
    store: &SqliteStore,
    site: Option<&str>,
    limit: usize,
    before: Option<i64>,
) -> Vec<StoredDecision> {
    let site = site.map(str::to_owned);
    let query = Query {
        site,
        limit,
        before,
    };
    store.decisions(query).await.unwrap()
}

async fn load(store: &SqliteStore, site: &str, second: i64) -> SiteMemory {
    store.load_site(site, at(second), HOUR).await.unwrap()
}

fn ids(found: &[StoredDecision]) -> Vec<i64> {
    found.iter().filter_map(|found| found.decision.id).collect()
}

fn odd_decisions() -> Vec<Decision> {
    let mut quoted = keep("it's \"www\"; DROP TABLE decision; --", 1);
    quoted.explanation = "a\nb\t'\"\\ – Ünïcode 🦀 \u{0} end".into();
    quoted.origins[0].reason = "{\"json\": [1,2]}".into();
    let mut bare = keep("bare", 2);
    bare.record = None;
    bare.origins.clear();
    bare.steps.clear();
    bare.reason = Reason::Hold(HoldReason::CloudflareUnavailable);
    bare.explanation.clear();
    let mut many = failover("many", 3);
    many.record = Some(pointer(Role::Other, "app.example.net"));
    many.to = Some(pointer(Role::Backup(12), "203.0.113.12"));
    many.time = "2026-11-22T18:44:44.478123456Z".parse().unwrap();
    many.origins = [Answer::Up, Answer::Down, Answer::Unknown, Answer::Pending]
        .into_iter()
        .map(|answer| view(backup(), answer, ""))
        .collect();
    vec![quoted, bare, many]
}

#[tokio::test]
async fn decisions_come_back_as_they_were_also_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let mut decisions = odd_decisions();
    for result in ["confirmed", "rejected", "dry_run", "unconfirmed"] {
        let result = SwitchResult::from_word(result).unwrap();
        decisions.push(with_result(failover("www", 10), result));
    }
    for decision in &mut decisions {
        decision.id = Some(store.record(decision).await.unwrap());
    }
    store.close().await;
    let found = all(&place.open()).await;
    let shown: Vec<_> = found.iter().map(|f| f.decision.clone()).rev().collect();
    assert_eq!(shown, decisions);
    let applied: Vec<_> = found.iter().map(|f| f.applied).take(4).collect();
    assert_eq!(applied, [None, None, Some(false), Some(true)]);
}

#[tokio::test]
async fn history_is_paged_newest_first() {
    let place = Place::new();
    let store = place.open();
    for second in 0..10 {
        let site = if second % 2 == 0 { "www" } else { "shop" };
        store.record(&keep(site, second)).await.unwrap();
    }
    assert_eq!(ids(&page(&store, None, 3, None).await), [10, 9, 8]);
    assert_eq!(ids(&page(&store, None, 3, Some(8)).await), [7, 6, 5]);
    assert_eq!(ids(&page(&store, Some("shop"), 2, None).await), [10, 8]);
    assert_eq!(
        ids(&page(&store, Some("shop"), 9, Some(8)).await),
        [6, 4, 2]
    );
    assert_eq!(ids(&page(&store, Some("other"), 9, None).await), [0; 0]);
    assert_eq!(ids(&page(&store, None, 0, None).await), [0; 0]);
    assert_eq!(ids(&page(&store, None, 9, Some(1)).await), [0; 0]);
}

#[tokio::test]
async fn a_site_is_remembered_over_a_restart_and_apart_from_others() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(load(&store, "www", 0).await, SiteMemory::default());
    let undoubted = |seconds| Undoubted {
        fingerprint: "h1".into(),
        observed: Duration::from_secs(seconds),
        as_of: at(100),
    };
    let known = |content: &str| KnownRecord {
        content: content.into(),
        modified_on: at(90),
    };
    for fingerprint in ["h2", "h1", "h1"] {
        store.prove("www", fingerprint, at(100)).await.unwrap();
    }
    for seconds in [10, 20] {
        store
            .save_undoubted("www", undoubted(seconds))
            .await
            .unwrap();
    }
    for content in ["192.0.2.10", "198.51.100.20"] {
        store
            .save_known_record("www", &known(content))
            .await
            .unwrap();
    }
    store.record(&keep("www", 100)).await.unwrap();
    store.close().await;

    let store = place.open();
    let memory = load(&store, "www", 200).await;
    assert_eq!(memory.proofs, ["h1", "h2"]);
    assert_eq!(memory.undoubted, Some(undoubted(20)));
    assert_eq!(memory.known_record, Some(known("198.51.100.20")));
    let last = memory.last_decision.unwrap();
    assert!(last.same_as(&keep("www", 200)));
    assert_eq!(load(&store, "shop", 200).await, SiteMemory::default());
}

#[tokio::test]
async fn a_switch_is_open_until_its_outcome_is_known_and_counted_inside_the_window() {
    let place = Place::new();
    let store = place.open();
    let id = store
        .begin_switch(&failover("www", 0), at(1))
        .await
        .unwrap();
    let memory = load(&store, "www", 10).await;
    let open = memory.open_switch.clone().unwrap();
    assert_eq!((open.id, open.at, open.applied), (id, at(1), None));
    assert_eq!(open.result, SwitchResult::Unconfirmed);
    assert_eq!(open.reason, Reason::Switch(SwitchKind::Failover));
    assert_eq!((open.from, open.to), (Some(main_origin()), Some(backup())));
    assert_eq!(memory.switches.len(), 1);
    assert_eq!(memory.last_switch, None);

    // Sent, and no answer: still open. Read again and found done: confirmed.
    let unanswered = with_result(failover("www", 0), SwitchResult::Unconfirmed);
    store.conclude_switch(id, &unanswered, None).await.unwrap();
    assert!(load(&store, "www", 20).await.open_switch.is_some());
    let confirmed = with_result(failover("www", 0), SwitchResult::Confirmed);
    store
        .conclude_switch(id, &confirmed, Some(true))
        .await
        .unwrap();
    let memory = load(&store, "www", 20).await;
    assert_eq!(memory.open_switch, None);
    assert_eq!(memory.last_switch, Some(at(1)));
    assert_eq!(memory.switches[0].result, SwitchResult::Confirmed);
    let found = all(&store).await;
    assert_eq!(found.len(), 1);
    let expected = Decision {
        id: Some(id),
        ..confirmed
    };
    assert_eq!(found[0].decision, expected);

    let later = load(&store, "www", 3602).await;
    assert_eq!(later.switches, []);
    assert_eq!(later.last_switch, Some(at(1)));
}

#[tokio::test]
async fn dry_runs_are_no_switches_and_undone_ones_are_known_as_such() {
    let place = Place::new();
    let store = place.open();
    let dry = with_result(failover("www", 0), SwitchResult::DryRun);
    store.record(&dry).await.unwrap();
    let id = store
        .begin_switch(&failover("www", 5), at(5))
        .await
        .unwrap();
    let lost = with_result(failover("www", 5), SwitchResult::Unconfirmed);
    store.conclude_switch(id, &lost, Some(false)).await.unwrap();
    let memory = load(&store, "www", 10).await;
    assert_eq!(memory.open_switch, None);
    assert_eq!(memory.last_switch, None);
    let applied: Vec<_> = memory.switches.iter().map(|s| s.applied).collect();
    assert_eq!(applied, [Some(false)]);

    let error = store
        .conclude_switch(99, &lost, None)
        .await
        .expect_err("there is no such row");
    assert_eq!(error.to_string(), "the state file has no row 99");
    assert!(store.healthy(), "the disk is not at fault");
}

#[tokio::test]
async fn an_intent_whose_caller_went_on_without_it_is_completed_by_the_record() {
    let place = Place::new();
    let store = place.open();
    let id = store
        .begin_switch(&failover("www", 0), at(1))
        .await
        .unwrap();
    let done = with_result(failover("www", 0), SwitchResult::Confirmed);
    assert_eq!(store.record(&done).await.unwrap(), id);
    let memory = load(&store, "www", 10).await;
    assert_eq!(memory.switches.len(), 1);
    assert_eq!(memory.last_switch, Some(at(1)));

    // Given up before it was sent: it counts nowhere.
    let id = store
        .begin_switch(&failover("www", 20), at(20))
        .await
        .unwrap();
    let mut held = failover("www", 20);
    held.reason = Reason::Hold(HoldReason::FailbackWait);
    held.to = None;
    assert_eq!(store.record(&held).await.unwrap(), id);
    let memory = load(&store, "www", 30).await;
    assert_eq!(memory.switches.len(), 1);
    assert_eq!(memory.open_switch, None);
    assert_eq!(memory.last_decision.unwrap().reason, held.reason);
}

#[test]
fn a_missing_folder_is_made_and_an_empty_file_is_a_fresh_one() {
    let place = Place::new();
    let path = place.folder.path().join("new/state.db");
    SqliteStore::open(&path, KEEP).unwrap();
    assert!(path.is_file());
    fs::write(place.path(), "").unwrap();
    place.open();
    let deep = place.folder.path().join("a/b/state.db");
    assert_eq!(
        refusal(SqliteStore::open(&deep, KEEP)),
        format!(
            "the folder of state.path {} cannot be created: create it, or change state.path",
            deep.display()
        )
    );
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_as_it_is() {
    let place = Place::new();
    fs::write(place.path(), "not a database\n".repeat(100)).unwrap();
    let text = "state.path STATE is no SQLite database, and is left as it is: \
                move it away, or change state.path";
    assert_eq!(place.refusal(), text);
    fs::write(place.path(), "short").unwrap();
    assert_eq!(place.refusal(), text);
    assert!(!place.folder.path().join("state.db.lock").exists());

    let place = Place::new();
    let other = Connection::open(place.path()).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE precious (thing);")
        .unwrap();
    drop(other);
    let sentence = "state.path STATE is another application's database, and is left as it is: \
                    change state.path";
    assert_eq!(place.refusal(), sentence);

    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let sentence = "state.path STATE is a folder: name a file in it, such as STATE/originswitch.db";
    assert_eq!(place.refusal(), sentence);
    let device = refusal(SqliteStore::open(Path::new("/dev/null"), KEEP));
    assert_eq!(
        device,
        "state.path /dev/null is no regular file: change state.path"
    );
}

#[test]
fn a_path_below_a_file_says_that_its_folder_is_at_fault() {
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    let below = place.path().join("state.db");
    let sentence = format!(
        "the folder of state.path {} cannot be created: create it, or change state.path",
        below.display()
    );
    assert_eq!(refusal(SqliteStore::open(&below, KEEP)), sentence);
    assert_eq!(refusal(SqliteStore::open_read_only(&below)), sentence);
}

#[test]
fn a_lock_that_cannot_be_made_is_no_reason_to_go_without() {
    let place = Place::new();
    fs::create_dir(place.folder.path().join("state.db.lock")).unwrap();
    assert_eq!(
        refusal(SqliteStore::open(&place.path(), KEEP)),
        format!(
            "state.path {} cannot be read and written: check the owner, the permissions and the \
             free space of the file and its folder, or change state.path",
            place.path().display()
        )
    );
}

#[test]
fn a_newer_schema_is_refused() {
    let place = Place::new();
    drop(place.open());
    let newer = Connection::open(place.path()).unwrap();
    newer.pragma_update(None, "user_version", 7).unwrap();
    drop(newer);
    assert_eq!(
        place.refusal(),
        "state.path STATE was written by a newer originswitch (schema 7, this one knows 2): \
         install that version again, or restore a copy from before the upgrade"
    );
}

async fn filled() -> Place {
    let place = Place::new();
    let store = place.open();
    for second in 0..200 {
        store.record(&keep("www", second)).await.unwrap();
    }
    store.close().await;
    place
}

const DAMAGED: &str = "state.path STATE is damaged, and is left as it is: restore a copy, or \
                       move it and its -wal file away to start without history";

#[tokio::test]
async fn a_damaged_page_and_a_truncated_file_are_refused() {
    let place = filled().await;
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[4 * 4096..6 * 4096].fill(0xa5);
    fs::write(place.path(), &bytes).unwrap();
    assert_eq!(place.refusal(), DAMAGED);

    let place = filled().await;
    let bytes = fs::read(place.path()).unwrap();
    fs::write(place.path(), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(place.refusal(), DAMAGED);
    fs::write(place.path(), &bytes[..1000]).unwrap();
    assert!(place.refusal().starts_with("state.path STATE is "));
}

#[tokio::test]
async fn a_damaged_file_with_a_log_beside_it_is_not_written_to_either() {
    let (place, _store) = with_log().await;
    let copy = Place::new();
    fs::copy(place.wal(), copy.wal()).unwrap();
    // The log repairs the pages it holds; those of the proofs are not among them.
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(copy.path(), &bytes).unwrap();
    let log = fs::read(copy.wal()).unwrap();
    assert_eq!(refusal_of(&copy), DAMAGED);
    assert_eq!(fs::read(copy.path()).unwrap(), bytes);
    assert_eq!(fs::read(copy.wal()).unwrap(), log);
}

fn refusal_of(place: &Place) -> String {
    let sentence = refusal(SqliteStore::open(&place.path(), KEEP));
    place.without_path(&sentence)
}

impl Place {
    fn wal(&self) -> PathBuf {
        self.folder.path().join("state.db-wal")
    }
}

async fn with_log() -> (Place, SqliteStore) {
    let place = Place::new();
    let store = place.open();
    store
        .begin_switch(&failover("www", 0), at(1))
        .await
        .unwrap();
    assert!(fs::metadata(place.wal()).unwrap().len() > 0);
    (place, store)
}

#[tokio::test]
async fn an_intent_survives_in_the_files_as_a_crash_leaves_them() {
    let (place, _store) = with_log().await;
    let crashed = Place::new();
    fs::copy(place.path(), crashed.path()).unwrap();
    fs::copy(place.wal(), crashed.wal()).unwrap();
    let memory = load(&crashed.open(), "www", 10).await;
    assert_eq!(memory.open_switch.unwrap().at, at(1));
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
async fn child_that_holds_the_state() {
    let Some(path) = std::env::var_os("ORIGINSWITCH_TEST_STATE") else {
        return;
    };
    let store = SqliteStore::open(Path::new(&path), KEEP).unwrap();
    store
        .begin_switch(&failover("www", 0), at(1))
        .await
        .unwrap();
    println!("\nready");
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn another_process_holds_the_lock_until_it_is_killed_and_leaves_its_intent() {
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_state", "--nocapture"])
        .env("ORIGINSWITCH_TEST_STATE", place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "ready"));
    assert_eq!(
        refusal(SqliteStore::open(&place.path(), KEEP)),
        format!(
            "state.path {} is in use by process {}: stop that process first, or use another \
             state.path",
            place.path().display(),
            child.id()
        )
    );
    let beside = SqliteStore::open_read_only(&place.path()).unwrap();
    assert!(load(&beside, "www", 10).await.open_switch.is_some());
    drop(beside);

    child.kill().unwrap();
    child.wait().unwrap();
    let memory = load(&place.open(), "www", 10).await;
    assert_eq!(memory.open_switch.unwrap().at, at(1));
}

#[tokio::test]
async fn the_lock_is_free_after_the_last_handle_and_after_close() {
    let place = Place::new();
    let store = place.open();
    let clone = store.clone();
    drop(store);
    let error = SqliteStore::open(&place.path(), KEEP).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    drop(clone);
    let store = place.open();
    store.close().await;
    place.open();
    let error = store.record(&keep("www", 0)).await.unwrap_err();
    assert_eq!(error.to_string(), "the state file is closed");
    store.close().await;
    assert!(!place.wal().exists(), "the log is moved into the file");
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_is_no_way_around_the_lock() {
    let place = Place::new();
    let _store = place.open();
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let error = SqliteStore::open(&link, KEEP).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
}

#[tokio::test]
async fn reading_beside_a_writer_sees_its_work_and_writes_nothing() {
    let place = Place::new();
    let absent = SqliteStore::open_read_only(&place.path()).unwrap();
    assert_eq!(all(&absent).await, []);
    assert_eq!(load(&absent, "www", 0).await, SiteMemory::default());
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 0);

    let store = place.open();
    store.record(&keep("www", 0)).await.unwrap();
    let reader = SqliteStore::open_read_only(&place.path()).unwrap();
    assert_eq!(all(&reader).await.len(), 1);
    store.record(&keep("www", 1)).await.unwrap();
    assert_eq!(all(&reader).await.len(), 2);
    let refused = reader.record(&keep("www", 2)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the state file is open for reading only"
    );
    assert!(reader.healthy());
    reader.close().await;
    store.close().await;

    // Nobody at work: not even a log appears.
    let before = fs::read(place.path()).unwrap();
    let reader = SqliteStore::open_read_only(&place.path()).unwrap();
    assert_eq!(all(&reader).await.len(), 2);
    assert!(!place.wal().exists());
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[tokio::test]
async fn odd_characters_in_the_path_do_no_harm_to_a_reader() {
    let place = Place::new();
    let path = place.folder.path().join("a b?mode=memory#50%.db");
    let store = SqliteStore::open(&path, KEEP).unwrap();
    store.record(&keep("www", 0)).await.unwrap();
    store.close().await;
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(all(&reader).await.len(), 1);
}

#[tokio::test]
async fn history_is_deleted_after_its_time_but_for_what_is_still_needed() {
    let place = Place::new();
    let day = |n: i64| n * 86_400;
    {
        let store = SqliteStore::open(&place.path(), KEEP).unwrap();
        for n in 0..1200 {
            store.record(&keep("www", n)).await.unwrap();
        }
        let open = failover("www", 10);
        store.begin_switch(&open, at(10)).await.unwrap();
        let past = with_result(failover("www", 11), SwitchResult::Confirmed);
        store.record(&past).await.unwrap();
        let counted = with_result(failover("www", day(8)), SwitchResult::Confirmed);
        store.record(&counted).await.unwrap();
        store.prove("www", "old", at(0)).await.unwrap();
        store.prove("www", "renewed", at(0)).await.unwrap();
        store.close().await;
    }
    let store = SqliteStore::open(&place.path(), DAY).unwrap();
    store.load_site("www", at(day(10)), DAY * 3).await.unwrap();
    // Some at a time, so that no other write waits for long.
    for n in 0..5 {
        store.record(&keep("shop", day(10) + n)).await.unwrap();
    }
    let left = all(&store).await;
    let www: Vec<_> = left
        .iter()
        .filter(|found| &*found.decision.site == "www")
        .map(|found| found.decision.time)
        .collect();
    assert_eq!(www, [at(day(8)), at(10)]);
    assert_eq!(left.len(), 7);

    store.prove("www", "renewed", at(day(300))).await.unwrap();
    store.prove("shop", "new", at(day(401))).await.unwrap();
    let memory = load(&store, "www", day(401)).await;
    assert_eq!(memory.proofs, ["renewed"]);
    assert_eq!(memory.last_switch, Some(at(day(8))));
    assert!(memory.open_switch.is_some());
}

#[tokio::test]
async fn a_row_of_another_version_hides_nothing_else() {
    let place = Place::new();
    let store = place.open();
    for second in 0..3 {
        store.record(&keep("www", second)).await.unwrap();
    }
    store.close().await;
    let other = Connection::open(place.path()).unwrap();
    other
        .execute("UPDATE decision SET reason = 'quorum' WHERE id = 2", [])
        .unwrap();
    drop(other);
    let store = place.open();
    assert_eq!(ids(&all(&store).await), [3, 1]);
}

/// Another program that holds SQLite's write lock is what a stalled disk looks
/// like from here.
struct Stall(Connection);

impl Stall {
    fn begin(path: &Path) -> Stall {
        let other = Connection::open(path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        Stall(other)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

async fn until_healthy(store: &SqliteStore) {
    let start = Instant::now();
    while !store.healthy() {
        assert!(start.elapsed() < Duration::from_secs(10), "never healthy");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stalled_write_answers_in_time_and_goes_on_without_its_caller() {
    let place = Place::new();
    let store = place.open();
    store.record(&keep("www", 0)).await.unwrap();
    let stall = Stall::begin(&place.path());
    let start = Instant::now();
    let error = store
        .begin_switch(&failover("www", 1), at(1))
        .await
        .unwrap_err();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_millis(1000), "{took:?}");
    assert!(error.is_stalled());
    assert_eq!(
        error.to_string(),
        "the state file did not answer in time: its disk stalls"
    );
    assert!(!store.healthy());
    stall.end();
    until_healthy(&store).await;
    // The intent came too late for its caller, who went on and tells the rest.
    let done = with_result(failover("www", 1), SwitchResult::Confirmed);
    store.record(&done).await.unwrap();
    let memory = load(&store, "www", 10).await;
    assert_eq!(memory.switches.len(), 1);
    assert_eq!(memory.open_switch, None);
    assert_eq!(all(&store).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn time_limits_are_real_time_also_under_a_paused_clock() {
    let place = Place::new();
    let store = place.open();
    for second in 0..50 {
        store.record(&keep("www", second)).await.unwrap();
    }
    let stall = Stall::begin(&place.path());
    let start = Instant::now();
    let stalled = store.record(&keep("www", 50)).await;
    assert!(matches!(stalled, Err(StoreError::Stalled)));
    assert!(start.elapsed() >= Duration::from_millis(250));
    stall.end();
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_fails_writes_and_loses_none() {
    let place = Place::new();
    let store = place.open();
    let stall = Stall::begin(&place.path());
    for second in 0..3 {
        assert!(store.record(&keep("www", second)).await.is_err());
    }
    // Longer than SQLite waits for it.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!store.healthy());
    stall.end();
    until_healthy(&store).await;
    let times: Vec<_> = all(&store).await.iter().map(|f| f.decision.time).collect();
    assert_eq!(times, [at(2), at(1), at(0)]);
}

#[tokio::test]
async fn a_thousand_writes_at_once_all_arrive() {
    let place = Place::new();
    let store = place.open();
    let writes = (0..1000).map(|second| {
        let store = store.clone();
        tokio::spawn(async move { store.record(&keep("www", second)).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert_eq!(all(&store).await.len(), 1000);
}

#[tokio::test]
async fn a_switch_that_was_not_sent_after_all_costs_the_next_start_nothing() {
    let place = Place::new();
    let store = place.open();
    let intent = failover("www", 10);
    let id = store.begin_switch(&intent, intent.time).await.unwrap();
    store.prove("www", "abc", at(11)).await.unwrap();
    // Cloudflare put it off: the row becomes a hold without a result.
    let mut held = intent;
    held.reason = Reason::Hold(HoldReason::CloudflareUnavailable);
    held.to = None;
    store.conclude_switch(id, &held, Some(false)).await.unwrap();
    store.close().await;

    let store = place.open();
    let memory = load(&store, "www", 20).await;
    assert_eq!(memory.proofs, ["abc"]);
    assert_eq!(memory.switches, []);
    assert_eq!(memory.open_switch, None);
    let reason = memory.last_decision.map(|decision| decision.reason);
    assert_eq!(reason, Some(held.reason));
}
