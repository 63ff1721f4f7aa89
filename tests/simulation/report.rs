//! What is shown of an incident in which a law was broken: as few of its
//! events as it takes, what came of them, and how to see it again.

use super::incident::Incident;
use super::judge::{Violation, judge};
use super::play::{Played, play};
use crate::world::Entry;
use originswitch::metrics::Metrics;
use std::fmt::Write;
use std::sync::Arc;

/// Shows what came of an incident; `keep` names the events that are left in.
pub fn replayed(seed: u64, keep: Option<&[usize]>, metrics: &Arc<Metrics>) -> (bool, String) {
    let whole = Incident::of(seed);
    let incident = keep.map_or_else(|| whole.clone(), |keep| whole.only(keep));
    let played = play(&incident, metrics);
    let found = judge(&incident, &played).broken;
    (found.is_some(), told(&incident, &played, found.as_ref()))
}

/// What to tell of an incident that broke a law, cut short.
pub fn report(seed: u64, law: &str, metrics: &Arc<Metrics>) -> String {
    let whole = Incident::of(seed);
    let keep = needed(&whole, law, metrics);
    let (_, text) = replayed(seed, Some(&keep), metrics);
    let numbers: Vec<String> = keep.iter().map(ToString::to_string).collect();
    format!(
        "{text}\nsee it again:\n  ORIGINSWITCH_SIM_SEED={seed} ORIGINSWITCH_SIM_KEEP={} \
         cargo test --test simulation replay -- --nocapture\n\
         (with ORIGINSWITCH_SIM_PROBES=1 every probe and read is shown; without \
         ORIGINSWITCH_SIM_KEEP the whole incident)",
        numbers.join(",")
    )
}

/// The events that it takes: the others are left out one by one, as long as
/// the same law is broken.
fn needed(whole: &Incident, law: &str, metrics: &Arc<Metrics>) -> Vec<usize> {
    let breaks = |keep: &[usize]| {
        let incident = whole.only(keep);
        let judged = judge(&incident, &play(&incident, metrics));
        judged.broken.is_some_and(|found| found.law == law)
    };
    let mut keep: Vec<usize> = (0..whole.optional).collect();
    loop {
        let before = keep.len();
        for number in keep.clone() {
            let fewer: Vec<usize> = keep.iter().copied().filter(|&n| n != number).collect();
            if breaks(&fewer) {
                keep = fewer;
            }
        }
        if keep.len() == before {
            return keep;
        }
    }
}

fn told(incident: &Incident, played: &Played, found: Option<&Violation>) -> String {
    let mut text = String::new();
    let line = &mut text;
    let _ = writeln!(
        line,
        "incident {}, alerts fire for {:?}",
        incident.seed, incident.ttl
    );
    for (site, plan) in incident.plans.iter().enumerate() {
        let _ = writeln!(
            line,
            "site {site}: {} origins, interval {:?}, timeout {:?}, first on {:?}, DNS-only {:?}\n  {:?}",
            plan.places.len(),
            plan.interval(),
            plan.timeout(),
            plan.first,
            plan.dns_only,
            plan.policy()
        );
    }
    let all = std::env::var_os("ORIGINSWITCH_SIM_PROBES").is_some();
    let until = found.map_or(played.end, |found| found.at);
    for (at, entry) in &played.journal {
        if *at > until {
            break;
        }
        if let Some(what) = said(incident, entry, all) {
            let _ = writeln!(line, "{:>11.3} s  {what}", at.as_secs_f64());
        }
    }
    match found {
        Some(found) => {
            let at = found.at.as_secs_f64();
            let _ = writeln!(
                line,
                "{at:>11.3} s  BROKEN: {}: site {}: {}",
                found.law, found.site, found.what
            );
        }
        None => line.push_str("no law is broken\n"),
    }
    text
}

fn said(incident: &Incident, entry: &Entry, all: bool) -> Option<String> {
    Some(match entry {
        Entry::Event(number) => format!("{:?}", incident.events[*number].event),
        Entry::Stored {
            site,
            row,
            decision,
            applied,
            ..
        } => format!(
            "site {site} row {row}: {} {} {} {}: {}",
            decision.trigger.as_str(),
            decision.reason.as_str(),
            decision.result.map_or("", |result| result.as_str()),
            match applied {
                Some(true) => "(carried out)",
                Some(false) => "(not carried out)",
                None => "",
            },
            decision.explanation
        ),
        Entry::Launched { .. } | Entry::Landed { .. } | Entry::Read { .. } if !all => return None,
        other => format!("{other:?}"),
    })
}
