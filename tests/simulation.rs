//! A hundred thousand random incidents: the real failover and prober loops
//! live through each of them in a modelled world, and a judge who knows the
//! world's truth checks after every event what must always hold.
//!
//! An incident is drawn from its seed alone, so the seed is all it takes to
//! see it again. More of them, or others:
//!
//! ```text
//! ORIGINSWITCH_SIM_INCIDENTS=1000000 ORIGINSWITCH_SIM_FIRST=100000 cargo test --test simulation \
//!     --config profile.dev.package.originswitch.opt-level=2
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `plans` | sites with any valid policy |
//! | `strands` | what an incident is made of |
//! | `incident` | an incident, drawn from its seed |
//! | `sky` | how Cloudflare does |
//! | `play`, `quiet` | the real loops live through it, and come to rest |
//! | `judge`, `site` | the world's truth, entry by entry |
//! | `shots`, `alarms`, `orders` | what probes, alerts and people say, in the judge's own reading |
//! | `writes`, `returns` | what is checked when a write is sent |
//! | `history` | what is checked of the history, and at the end |
//! | `progress` | that a dead origin is left in time |
//! | `report` | what is shown of an incident that broke a law |
//! | `tally` | whether the simulation goes where it is to go |

#[path = "simulation/alarms.rs"]
mod alarms;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/incident.rs"]
mod incident;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/orders.rs"]
mod orders;
#[path = "simulation/plans.rs"]
mod plans;
#[path = "simulation/play.rs"]
mod play;
#[path = "simulation/progress.rs"]
mod progress;
#[path = "simulation/quiet.rs"]
mod quiet;
#[path = "simulation/report.rs"]
mod report;
#[path = "simulation/returns.rs"]
mod returns;
#[path = "simulation/shots.rs"]
mod shots;
#[path = "simulation/site.rs"]
mod site;
#[path = "simulation/sky.rs"]
mod sky;
#[path = "simulation/strands.rs"]
mod strands;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "support/world/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other test programs use the rest")]
mod world;
#[path = "simulation/writes.rs"]
mod writes;

use incident::Incident;
use originswitch::metrics::Metrics;
use std::collections::BTreeMap;
use tally::Tally;

/// Incidents in CI, and where nobody waits for so many.
const MANY: u64 = 100_000;
const SOME: u64 = 5_000;

/// The incidents are dealt to so many tests, which run side by side.
const SHARDS: u64 = 8;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
    )
}

fn incidents() -> u64 {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    number("ORIGINSWITCH_SIM_INCIDENTS").unwrap_or(if in_ci { MANY } else { SOME })
}

/// Plays one incident of every so many. Ends with the first that breaks each
/// law, and with how many did.
fn shard(shard: u64) {
    let metrics = Metrics::new();
    let mut tally = Tally::default();
    let mut broken: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let first = number("ORIGINSWITCH_SIM_FIRST").unwrap_or(0);
    let seeds = first..first + incidents();
    for seed in seeds.filter(|seed| seed % SHARDS == shard) {
        let incident = Incident::of(seed);
        let played = play::play(&incident, &metrics);
        let judged = judge::judge(&incident, &played);
        if let Some(found) = &judged.broken {
            broken.entry(found.law).or_insert((seed, 0)).1 += 1;
        }
        tally.add(&incident, &played, &judged);
    }
    println!("{tally}");
    let mut text = String::new();
    for (law, (seed, times)) in broken {
        let report = report::report(seed, law, &metrics);
        text.push_str(&format!("\n{law}: broken {times} times; first\n{report}\n"));
    }
    assert!(text.is_empty(), "{text}");
}

macro_rules! shards {
    ($($name:ident $number:literal)*) => { $(
        #[test]
        fn $name() {
            shard($number);
        }
    )* };
}

shards! {
    incidents_0 0
    incidents_1 1
    incidents_2 2
    incidents_3 3
    incidents_4 4
    incidents_5 5
    incidents_6 6
    incidents_7 7
}

/// Shows the incident named in the environment; without one, that the same
/// seed gives the same incident.
#[test]
fn replay() {
    let metrics = Metrics::new();
    let keep = std::env::var("ORIGINSWITCH_SIM_KEEP").ok().map(|text| {
        let numbers = text.split(',').filter(|number| !number.is_empty());
        numbers
            .map(|number| number.parse().unwrap())
            .collect::<Vec<usize>>()
    });
    match number("ORIGINSWITCH_SIM_SEED") {
        Some(seed) => {
            let (broken, text) = report::replayed(seed, keep.as_deref(), &metrics);
            println!("{text}");
            assert!(!broken, "a law is broken");
        }
        None => {
            for seed in 0..20 {
                let (_, once) = report::replayed(seed, None, &metrics);
                let (_, again) = report::replayed(seed, None, &metrics);
                assert_eq!(once, again);
            }
        }
    }
}

/// The incidents reach what they are to reach.
#[test]
fn everything_happens() {
    let metrics = Metrics::new();
    let mut tally = Tally::default();
    for seed in 0..2_000 {
        let incident = Incident::of(seed);
        let played = play::play(&incident, &metrics);
        tally.add(&incident, &played, &judge::judge(&incident, &played));
    }
    for name in EVERYTHING {
        assert!(tally.of(name) > 0, "{name} never happens:\n{tally}");
    }
}

const EVERYTHING: [&str; 41] = [
    "crash after a write",
    "crash after an answer",
    "crash after an intent or a row",
    "crash after it was carried out",
    "decision alert_firing",
    "decision all_down",
    "decision cloudflare_unavailable",
    "decision failback",
    "decision failback_manual",
    "decision failback_wait",
    "decision failover",
    "decision frozen",
    "decision foreign",
    "decision main_down",
    "decision on_main",
    "decision pin",
    "decision record_shape",
    "decision switch_budget",
    "decision unconfirmed",
    "decision unknown_origin",
    "decision unproven",
    "event alert",
    "event clock",
    "event crash",
    "event cut",
    "event disk",
    "event hand",
    "event freeze",
    "event mood",
    "event pin",
    "event settle",
    "event sky",
    "event stall",
    "event wish",
    "write acts late",
    "write applied",
    "write lost after",
    "write lost before",
    "write misanswered",
    "write rejected",
    "write silent after",
];
