//! What incidents were made of and what came of them, counted: whether the
//! simulation goes where it is to go.

use super::incident::{Event, Incident, Wish};
use super::judge::Judged;
use super::play::Played;
use crate::world::{Entry, WriteFate};
use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Debug, Default)]
pub struct Tally {
    incidents: u64,
    seconds: f64,
    counts: BTreeMap<String, u64>,
    /// The longest that a dead origin was kept, as a part of what it may be,
    /// and the seed.
    longest: (f64, u64),
}

impl Tally {
    pub fn add(&mut self, incident: &Incident, played: &Played, judged: &Judged) {
        if judged.longest > self.longest.0 {
            self.longest = (judged.longest, incident.seed);
        }
        self.incidents += 1;
        self.seconds += played.end.as_secs_f64();
        for told in &incident.events {
            self.count("event", kind(&told.event));
        }
        let mut last = None;
        for (_, entry) in &played.journal {
            match entry {
                Entry::Stored {
                    decision,
                    sent,
                    applied,
                    ..
                } => {
                    if *applied != Some(false) {
                        self.count("decision", decision.reason.as_str());
                    }
                    if *sent {
                        last = Some("after an intent or a row");
                    }
                }
                Entry::Wrote { .. } => last = Some("after a write"),
                Entry::Acted { .. } => last = Some("after it was carried out"),
                Entry::Answered { fate, .. } => {
                    self.count("write", fate_name(*fate));
                    last = Some("after an answer");
                }
                Entry::Read { .. } => last = None,
                Entry::Ended { .. } => {
                    if let Some(after) = last.take() {
                        self.count("crash", after);
                    }
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, what: &str, name: &str) {
        *self.counts.entry(format!("{what} {name}")).or_default() += 1;
    }

    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Mood(..) => "mood",
        Event::Cut(..) => "cut",
        Event::Sky(_) => "sky",
        Event::Alert(..) => "alert",
        Event::Disk(..) => "disk",
        Event::Crash(..) => "crash",
        Event::Clock(_) => "clock",
        Event::Stall(_) => "stall",
        Event::Hand(..) => "hand",
        Event::HandAfter(..) => "hand in a switch",
        Event::Wish(_, Wish::Pin(..)) => "pin",
        Event::Wish(_, Wish::Freeze(_)) => "freeze",
        Event::Wish(..) => "wish",
        Event::Heal(_) => "heal",
        Event::Settle(..) => "settle",
    }
}

fn fate_name(fate: WriteFate) -> &'static str {
    match fate {
        WriteFate::Applied => "applied",
        WriteFate::Rejected => "rejected",
        WriteFate::Unavailable => "unavailable",
        WriteFate::LostBefore => "lost before",
        WriteFate::LostAfter => "lost after",
        WriteFate::SilentAfter => "silent after",
        WriteFate::Misanswered => "misanswered",
        WriteFate::ActsLate(_) => "acts late",
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.seconds / self.incidents.max(1) as f64;
        writeln!(f, "{} incidents of {each:.0} s each", self.incidents)?;
        let (longest, seed) = (100.0 * self.longest.0, self.longest.1);
        writeln!(
            f,
            "a dead origin was kept for {longest:.0} % of its bound at most ({seed})"
        )?;
        for (name, count) in &self.counts {
            writeln!(f, "{count:>9} {name}")?;
        }
        Ok(())
    }
}
