//! Invariants 5 to 10, and 1 to 3 once more: over random histories of the real
//! loops. A history is short and its world small; the simulation is to make
//! them long.

use crate::support::world::*;
use originswitch::config::Site;
use originswitch::rule::address::RecordType;
use originswitch::rule::alerts::AlertStatus;
use originswitch::rule::decision::SwitchResult;
use originswitch::rule::finding::Verdict;
use proptest::prelude::*;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// What can happen to a site.
#[derive(Debug, Clone)]
enum Event {
    Mood(usize, Mood),
    Alert(u64, AlertStatus),
    /// The loop ends wherever it is, and starts again after a while.
    Crash(Duration),
    /// It is told to wind up, and starts again.
    Stop(Duration),
    Read(ReadFate),
    Write(WriteFate),
    WriteThen(WriteFate, Vec<ReadFate>),
    ReadsAre(ReadFate),
    /// Somebody points the record to this address.
    Edit(&'static str),
    /// Somebody changes the TTL and the comment.
    Touch(u32),
}

/// An event and the time before it.
type History = Vec<(Duration, Event)>;

fn origin_mood() -> impl Strategy<Value = Event> {
    let mood = prop_oneof![
        4 => Just(Mood::Up),
        4 => Just(Mood::Refusing),
        2 => Just(Mood::Swallowing),
        1 => Just(Mood::Hanging),
        1 => Just(Mood::Unknown),
        1 => Just(Mood::Late),
        1 => (1..5u32).prop_map(Mood::Blip),
        1 => Just(Mood::Alternating),
        1 => (5..60u64, 5..60u64).prop_map(|(up, down)| Mood::Flapping(secs(up), secs(down))),
    ];
    (0..2usize, mood).prop_map(|(origin, mood)| Event::Mood(origin, mood))
}

fn alert() -> impl Strategy<Value = Event> {
    let status = prop_oneof![Just(AlertStatus::Firing), Just(AlertStatus::Resolved)];
    (0..3u64, status).prop_map(|(identity, status)| Event::Alert(identity, status))
}

fn restart() -> impl Strategy<Value = Event> {
    let pause = (200..30_000u64).prop_map(ms);
    (any::<bool>(), pause).prop_map(|(crash, pause)| {
        if crash {
            Event::Crash(pause)
        } else {
            Event::Stop(pause)
        }
    })
}

/// Reads that fail, but tell no lie.
fn failing_read() -> impl Strategy<Value = ReadFate> {
    prop_oneof![
        3 => Just(ReadFate::Answered),
        2 => Just(ReadFate::Unavailable),
        1 => Just(ReadFate::Silent),
        1 => (0..9_000u64).prop_map(|late| ReadFate::Delayed(ms(late))),
    ]
}

fn write_fate() -> impl Strategy<Value = WriteFate> {
    use WriteFate::{
        Applied, LostAfter, LostBefore, Misanswered, Rejected, SilentAfter, Unavailable,
    };
    let fates = vec![
        Applied,
        LostAfter,
        LostBefore,
        Misanswered,
        Rejected,
        SilentAfter,
        Unavailable,
    ];
    prop::sample::select(fates)
}

fn cloudflare() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => failing_read().prop_map(Event::Read),
        3 => write_fate().prop_map(Event::Write),
        2 => (write_fate(), prop::collection::vec(failing_read(), 1..4))
            .prop_map(|(fate, reads)| Event::WriteThen(fate, reads)),
        1 => failing_read().prop_map(Event::ReadsAre),
    ]
}

fn other_hand() -> impl Strategy<Value = Event> {
    let address = prop::sample::select(vec!["192.0.2.10", "198.51.100.20", "203.0.113.99"]);
    prop_oneof![
        address.prop_map(Event::Edit),
        (60..999u32).prop_map(Event::Touch),
    ]
}

/// A history of such events; most follow each other within a confirmation.
fn history(event: impl Strategy<Value = Event>, most: usize) -> impl Strategy<Value = History> {
    let pause = prop_oneof![
        3 => (0..5_000u64).prop_map(ms),
        2 => (0..60_000u64).prop_map(ms),
        1 => (0..300_000u64).prop_map(ms),
    ];
    prop::collection::vec((pause, event), 1..most)
}

async fn play(rig: &mut Rig, history: &History) {
    for (pause, event) in history {
        rig.run_for(*pause).await;
        match event.clone() {
            Event::Mood(origin, mood) => rig.mood(origin, mood),
            Event::Alert(identity, status) => {
                let starts = rig.clock.now();
                rig.alert_as(identity, status, starts);
            }
            Event::Crash(pause) => {
                rig.crash().await;
                rig.run_for(pause).await;
                rig.boot();
            }
            Event::Stop(pause) => {
                rig.stop().await;
                rig.run_for(pause).await;
                rig.boot();
            }
            Event::Read(fate) => rig.dns.next_read(fate),
            Event::Write(fate) => rig.dns.next_write(fate),
            Event::WriteThen(fate, reads) => rig.dns.next_write_then(fate, reads),
            Event::ReadsAre(fate) => rig.dns.reads_are(fate),
            Event::Edit(address) => rig.dns.edit(address),
            Event::Touch(ttl) => rig.dns.edit_records(|records| {
                records[0].ttl = ttl;
                records[0].rest = format!("comment {ttl}");
            }),
        }
    }
}

/// A site read once for all cases.
fn site(rule: &str) -> Arc<Site> {
    config(&format!("[rule]\n{rule}\n{SITE}")).sites[0].clone()
}

/// Quick to return, and never out of budget.
static LIVELY: LazyLock<Arc<Site>> = LazyLock::new(|| {
    site("failback_after = \"40s\"\nmax_switches = 1000\nforeign_edit = \"reclaim\"")
});
static TIGHT: LazyLock<Arc<Site>> =
    LazyLock::new(|| site("failback_after = \"10s\"\nmax_switches = 4\nswitch_window = \"10m\""));
static DRY: LazyLock<Arc<Site>> =
    LazyLock::new(|| site("failback_after = \"10s\"\ndry_run = true\nforeign_edit = \"reclaim\""));

const TTL: Duration = Duration::from_secs(900);

fn run<T>(site: &Arc<Site>, test: impl AsyncFnOnce(Rig) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let work: std::pin::Pin<Box<dyn Future<Output = T>>> = Box::pin(async {
        let mut rig = Rig::of(site.clone(), TTL);
        rig.dns.latency(ms(30));
        rig.store.delay(ms(3));
        rig.boot();
        rig.run_for(secs(5)).await;
        test(rig).await
    });
    runtime.block_on(work)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 400,
        ..ProptestConfig::with_cases(super::cases(cases))
    }
}

/// Invariants 1 to 3 at the boundary where they matter: what probes had found
/// when each write was asked for.
fn every_write_was_earned(rig: &Rig) -> Result<(), TestCaseError> {
    for write in rig.writes() {
        let finished = |content: &str| {
            let address = content.parse::<std::net::IpAddr>().unwrap().into();
            let mut log = rig.origins.log_of(&address);
            log.retain(|probed| probed.finished <= write.moment);
            log
        };
        // What was found after the decision says nothing about it.
        let found = |content: &str, wanted: Verdict, times: usize, within: u64| {
            let log = finished(content);
            let recent = log.iter().filter(|probed| {
                write.moment.since(probed.started) <= secs(within) && probed.verdict == wanted
            });
            recent.count() >= times
        };
        prop_assert!(
            found(&write.to, Verdict::Up, 2, 60),
            "{:?} {:#?}",
            write,
            rig.story()
        );
        if write.to != "192.0.2.10" {
            prop_assert!(
                found(&write.from, Verdict::Down, 3, 60),
                "{:?} {:#?}",
                write,
                rig.story()
            );
        }
    }
    Ok(())
}

/// Invariant 8: nothing but content was ever sent, to records as they are.
fn only_content_was_sent(rig: &Rig) -> Result<(), TestCaseError> {
    for write in rig.writes() {
        prop_assert!(write.faults.is_empty(), "{:?}", write.faults);
        prop_assert_eq!(write.changes.len(), 1);
    }
    Ok(())
}

fn acted(rig: &Rig) -> Vec<WriteCall> {
    let mut writes = rig.writes();
    writes.retain(|write| write.acted);
    writes
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn five_an_alert_that_probes_do_not_confirm_changes_nothing(
        history in history(prop_oneof![
            6 => alert(),
            1 => restart(),
            // Never as many failures as take an origin down.
            2 => (0..2usize, 1..3u32).prop_map(|(origin, n)| Event::Mood(origin, Mood::Blip(n))),
        ], 40),
    ) {
        run(&LIVELY, async |mut rig| {
            // Blips in a row are no blip: each starts with a well origin.
            for (pause, event) in &history {
                if matches!(event, Event::Mood(..)) {
                    rig.run_for(secs(25)).await;
                }
                play(&mut rig, &vec![(*pause, event.clone())]).await;
            }
            rig.run_for(secs(60)).await;
            prop_assert!(rig.writes().is_empty(), "{:#?}", rig.story());
            prop_assert_eq!(rig.record(), Some(MAIN));
            Ok(())
        })?;
    }

    #[test]
    fn five_without_any_alert_a_dead_main_is_still_left(
        history in history(prop_oneof![4 => origin_mood(), 1 => restart()], 12),
        dead in prop_oneof![Just(Mood::Refusing), Just(Mood::Swallowing), Just(Mood::Hanging)],
        wait in 0..20_000u64,
    ) {
        run(&LIVELY, async |mut rig| {
            play(&mut rig, &history).await;
            rig.revive(MAIN);
            rig.revive(BACKUP);
            rig.run_for(secs(120) + ms(wait)).await;
            prop_assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
            rig.mood(MAIN, dead);
            rig.run_for(secs(22) + ms(100)).await;
            prop_assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
            every_write_was_earned(&rig)
        })?;
    }

    #[test]
    fn six_no_history_holds_more_switches_than_the_budget_and_a_return_spares_one(
        history in history(prop_oneof![
            6 => origin_mood(), 2 => alert(), 2 => restart(), 2 => cloudflare(),
        ], 40),
        lost in prop::option::of(write_fate()),
    ) {
        run(&TIGHT, async |mut rig| {
            play(&mut rig, &history).await;
            rig.dns.heal();
            if let Some(fate) = lost {
                rig.dns.next_write_then(fate, vec![ReadFate::Unavailable]);
            }
            rig.mood(MAIN, Mood::Flapping(secs(50), secs(50)));
            rig.run_for(secs(900)).await;
            // By the times of decisions, as the window is.
            let mut switches: Vec<(Duration, bool)> = rig
                .store
                .rows()
                .iter()
                .filter(|row| row.applied == Some(true))
                .map(|row| {
                    let at = rig.at(rig.clock.moment_of(row.decision.time));
                    (at, row.decision.reason.as_str() == "failback")
                })
                .collect();
            switches.sort();
            prop_assert_eq!(switches.len(), acted(&rig).len(), "{:#?}", rig.story());
            for (index, &(at, home)) in switches.iter().enumerate() {
                let inside = switches[..index].iter().filter(|s| at - s.0 < secs(600)).count();
                let most = if home { 3 } else { 4 };
                prop_assert!(inside < most, "{:?} {:#?}", switches, rig.story());
            }
            every_write_was_earned(&rig)
        })?;
    }

    #[test]
    fn seven_a_dry_run_writes_nothing_and_counts_nothing(
        history in history(prop_oneof![
            6 => origin_mood(), 2 => alert(), 1 => restart(), 2 => cloudflare(), 1 => other_hand(),
        ], 30),
    ) {
        run(&DRY, async |mut rig| {
            play(&mut rig, &history).await;
            rig.run_for(secs(60)).await;
            prop_assert!(rig.writes().is_empty());
            prop_assert!(rig.store.rows().iter().all(|row| row.sent.is_none()));
            for result in ["confirmed", "unconfirmed", "rejected"] {
                let label = format!("result=\"{result}\"");
                prop_assert_eq!(rig.metric("originswitch_switches_total", &label), 0.0);
            }
            let results = rig.decisions().into_iter().filter_map(|d| d.result);
            prop_assert!(results.into_iter().all(|result| result == SwitchResult::DryRun));
            Ok(())
        })?;
    }

    #[test]
    fn eight_everything_but_content_is_as_before(
        history in history(prop_oneof![
            6 => origin_mood(), 2 => alert(), 1 => restart(), 1 => cloudflare(), 3 => other_hand(),
        ], 30),
    ) {
        run(&LIVELY, async |mut rig| {
            let before = rig.dns.records()[0].clone();
            play(&mut rig, &history).await;
            rig.run_for(secs(60)).await;
            only_content_was_sent(&rig)?;
            let touched = history.iter().rev().find_map(|(_, event)| match event {
                Event::Touch(ttl) => Some((*ttl, format!("comment {ttl}"))),
                _ => None,
            });
            let (ttl, rest) = touched.unwrap_or((before.ttl, before.rest));
            let after = rig.dns.records()[0].clone();
            prop_assert_eq!((after.ttl, after.rest), (ttl, rest));
            prop_assert_eq!((after.id, after.proxied, after.kind), (before.id, true, RecordType::A));
            every_write_was_earned(&rig)
        })?;
    }

    #[test]
    fn nine_a_crash_loses_no_switch_and_makes_no_second_one(
        history in history(prop_oneof![
            5 => origin_mood(), 2 => alert(), 2 => cloudflare(),
        ], 12),
        // A crash in the middle of each switch, so many milliseconds after its
        // intent is stored; some of them beyond its end.
        crashes in prop::collection::vec(0..90u64, 1..5),
    ) {
        run(&LIVELY, async |mut rig| {
            play(&mut rig, &history).await;
            for (round, &after) in crashes.iter().enumerate() {
                let dead = if round % 2 == 0 { MAIN } else { BACKUP };
                rig.revive(1 - dead);
                rig.run_for(secs(100)).await;
                rig.kill(dead);
                let (begun, told) = (rig.store.begun(), rig.now());
                while rig.store.begun() == begun && rig.now() - told < secs(40) {
                    rig.run_for(ms(1)).await;
                }
                rig.run_for(ms(after)).await;
                rig.crash().await;
                rig.run_for(secs(1)).await;
                rig.boot();
            }
            rig.dns.heal();
            rig.run_for(secs(120)).await;
            let writes = acted(&rig);
            // Each moved the record, and from where the one before had put it.
            let mut holds = "192.0.2.10".to_owned();
            for write in &writes {
                prop_assert_eq!(&write.from, &holds, "{:#?}", rig.story());
                prop_assert_ne!(&write.to, &write.from, "a second switch: {:#?}", rig.story());
                holds.clone_from(&write.to);
            }
            // And each has its row, found or concluded; none stays open.
            let rows = rig.store.rows();
            let applied = rows.iter().filter(|row| row.applied == Some(true)).count();
            prop_assert_eq!(applied, writes.len(), "{:#?}", rig.story());
            let open = rows.iter().filter(|row| row.sent.is_some() && row.applied.is_none());
            prop_assert_eq!(open.count(), 0, "{:#?}", rig.story());
            prop_assert!(rig.decisions().iter().all(|d| d.reason.as_str() != "foreign"));
            let sent = rows.iter().filter(|row| row.sent.is_some()).count();
            prop_assert!(sent >= rig.writes().len(), "a write without an intent");
            Ok(())
        })?;
    }

    #[test]
    fn ten_order_copies_and_delay_of_alerts_never_change_the_final_record(
        moods in history(origin_mood(), 10),
        alerts in prop::collection::vec((0..200_000u64, 0..3u64, 0..4i64, any::<bool>()), 0..12),
        copies in prop::collection::vec((any::<prop::sample::Index>(), 0..200_000u64), 0..12),
        dead in prop_oneof![Just(None), Just(Some(MAIN)), Just(Some(BACKUP))],
    ) {
        // Where alerts do not come at all, in their order, and late, doubled
        // and in another order.
        let punctual: Vec<_> = alerts.clone();
        let mut late = Vec::new();
        for (index, by) in &copies {
            if !alerts.is_empty() {
                let (at, identity, start, firing) = alerts[index.index(alerts.len())];
                late.push((at + by, identity, start, firing));
            }
        }
        late.extend(alerts.iter().rev().copied());
        let mut ends = Vec::new();
        for mut posts in [Vec::new(), punctual, late] {
            posts.sort_by_key(|post| post.0);
            let end = run(&LIVELY, async |mut rig| {
                let base = rig.clock.now();
                let began = rig.now();
                let post = async |rig: &Rig, until: Duration, posts: &mut Vec<(u64, u64, i64, bool)>| {
                    while let Some(&(at, identity, start, firing)) = posts.first() {
                        if began + ms(at) > until {
                            break;
                        }
                        posts.remove(0);
                        let wait = (began + ms(at)).saturating_sub(rig.now());
                        rig.run_for(wait).await;
                        let status = if firing { AlertStatus::Firing } else { AlertStatus::Resolved };
                        let starts = base + jiff::SignedDuration::from_secs(start);
                        rig.alert_as(identity, status, starts);
                    }
                    rig.run_for(until.saturating_sub(rig.now())).await;
                };
                let mut at = rig.now();
                for (pause, event) in &moods {
                    at += *pause;
                    post(&rig, at, &mut posts).await;
                    play(&mut rig, &vec![(Duration::ZERO, event.clone())]).await;
                }
                post(&rig, at + secs(600), &mut posts).await;
                for origin in [MAIN, BACKUP] {
                    if dead == Some(origin) {
                        rig.kill(origin);
                    } else {
                        rig.revive(origin);
                    }
                }
                // Firing alerts end, and what they held comes to pass.
                rig.run_for(TTL + secs(300)).await;
                every_write_was_earned(&rig)?;
                Ok::<_, TestCaseError>((rig.record(), rig.story()))
            })?;
            ends.push(end);
        }
        let rest = if dead == Some(MAIN) { BACKUP } else { MAIN };
        for (record, story) in ends {
            prop_assert_eq!(record, Some(rest), "{:#?}", story);
        }
    }
}
