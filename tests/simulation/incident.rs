//! An incident: what happens to whom, and when. It is drawn from its seed.

use super::plans::{Plan, plans};
use super::sky::Sky;
use super::strands;
use crate::world::{Chance, Cut, Disk, Entry, Mood};
use originswitch::rule::alerts::AlertStatus;
use std::time::Duration;

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Failback,
    Trust,
    Release,
    Evaluate,
    DryRun,
    /// A pin to the origin with this number, by force or not, for so long.
    Pin(usize, bool, Option<Duration>),
    Unpin,
    Freeze(Option<Duration>),
    Unfreeze,
}

/// Where a crash strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Here and now.
    Now,
    /// Told to wind up, as by SIGTERM.
    Politely,
    /// At the end of so many polls of the site's loop.
    Polls(u64),
    /// So many polls after the next of these.
    PollsAfter(Step, u64),
    /// So many milliseconds after the next of these.
    MillisAfter(Step, u64),
}

/// A step of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its intent is stored.
    Intent,
    /// It is sent.
    Sent,
    /// Cloudflare carries it out.
    Acted,
    /// It is answered.
    Answered,
    /// Its row is closed.
    Closed,
}

impl Step {
    pub const ALL: [Step; 5] = [
        Step::Intent,
        Step::Sent,
        Step::Acted,
        Step::Answered,
        Step::Closed,
    ];

    /// Whether this is that step of site number `site`.
    pub fn is(self, entry: &Entry, site: usize) -> bool {
        match (self, entry) {
            (
                Step::Intent,
                Entry::Stored {
                    site: at,
                    sent,
                    applied,
                    ..
                },
            ) => *at == site && *sent && applied.is_none(),
            (
                Step::Closed,
                Entry::Stored {
                    site: at,
                    sent,
                    applied,
                    ..
                },
            ) => *at == site && *sent && applied.is_some(),
            (Step::Sent, Entry::Wrote { site: at, .. })
            | (Step::Acted, Entry::Acted { site: at, .. })
            | (Step::Answered, Entry::Answered { site: at, .. }) => *at == site,
            _ => false,
        }
    }
}

/// What other hands do to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// They point them to the address with this number.
    Points(usize),
    /// They change what is not ours: the TTL and the comment.
    Touches(u32),
    /// They point one of them to it, and leave the others.
    Splits(usize),
    /// They delete them.
    Deletes,
    /// They add one more.
    Doubles,
}

/// What can happen. Sites and addresses go by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An address behaves so from now on.
    Mood(usize, usize, Mood),
    /// Our own side does not reach these addresses of a site, or does again.
    Cut(usize, Vec<usize>, Option<Cut>),
    /// Cloudflare does so from now on.
    Sky(Sky),
    /// An alert comes: its identity, its word, and when it says it started.
    Alert(usize, u64, AlertStatus, Option<Duration>),
    Disk(usize, Disk),
    /// The process ends, and begins again after a while.
    Crash(usize, Strike, Duration),
    /// Somebody sets the clock by so many seconds.
    Clock(i64),
    /// Time passes in which nothing runs.
    Stall(Duration),
    Hand(usize, Hand),
    /// The same, so many milliseconds after the next step of a switch.
    HandAfter(usize, Step, u64, Hand),
    Wish(usize, Wish),
    /// All is well again, but for at most one origin of each site.
    Heal(Vec<Option<usize>>),
    /// After it healed, a person does so for a site.
    Settle(usize, Wish),
}

/// An event and its time since the world began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub at: Duration,
    pub event: Event,
}

/// One incident.
#[derive(Debug, Clone)]
pub struct Incident {
    pub seed: u64,
    /// How long an alert that is not repeated fires.
    pub ttl: Duration,
    pub plans: Vec<Plan>,
    /// In the order of time; the healing comes last.
    pub events: Vec<Told>,
    /// How many of them may be left out: those before it heals.
    pub optional: usize,
    /// How long the quiet is watched once it has come.
    pub watch: Duration,
}

impl Incident {
    /// The incident of a seed.
    pub fn of(seed: u64) -> Incident {
        let root = Chance::new(seed);
        let plans = plans(&mut root.branch(1));
        let mut chance = root.branch(2);
        let ttl = Duration::from_secs(chance.between(60, 300));
        let mut events = strands::script(&mut chance, &plans);
        events.sort_by_key(|told| told.at);
        let optional = events.len();
        let last = events.iter().map(|told| match told.event {
            // What comes in a time in which nothing runs comes after it.
            Event::Stall(time) => told.at + time,
            _ => told.at,
        });
        let last = last.max().unwrap_or_default();
        let healed = last + chance.millis(0, 60_000);
        let lifting = lifting(&events, healed);
        let (heal, settling) = healing(&mut chance, &plans, healed);
        events.push(heal);
        events.extend(lifting);
        events.extend(settling);
        Incident {
            seed,
            ttl,
            plans,
            events,
            optional,
            watch: Duration::from_secs(if chance.percent(5) { 600 } else { 65 }),
        }
    }

    /// The same without some of its events; `keep` goes by their numbers.
    pub fn only(&self, keep: &[usize]) -> Incident {
        let mut events = Vec::new();
        for (number, told) in self.events.iter().enumerate() {
            if number >= self.optional || keep.contains(&number) {
                events.push(told.clone());
            }
        }
        Incident {
            optional: keep.len(),
            events,
            ..self.clone()
        }
    }
}

fn healing(chance: &mut Chance, plans: &[Plan], at: Duration) -> (Told, Vec<Told>) {
    let dead = |plan: &Plan, chance: &mut Chance| {
        chance.percent(30).then(|| chance.index(plan.places.len()))
    };
    let dead = plans.iter().map(|plan| dead(plan, chance)).collect();
    let event = Event::Heal(dead);
    let heal = Told { at, event };
    let mut events = Vec::new();
    for site in 0..plans.len() {
        if chance.percent(50) {
            // By then the record has been read, so there is something to drop.
            let at = at + Duration::from_secs(45);
            let event = Event::Settle(site, Wish::Release);
            events.push(Told { at, event });
        }
    }
    (heal, events)
}

/// What people ordered is lifted by them in the end.
fn lifting(events: &[Told], at: Duration) -> Vec<Told> {
    let mut lifts = Vec::new();
    for told in events {
        let (site, lift) = match told.event {
            Event::Wish(site, Wish::Pin(..)) => (site, Wish::Unpin),
            Event::Wish(site, Wish::Freeze(_)) => (site, Wish::Unfreeze),
            _ => continue,
        };
        let event = Event::Settle(site, lift);
        if !lifts.contains(&event) {
            lifts.push(event);
        }
    }
    let told = |event| Told { at, event };
    lifts.into_iter().map(told).collect()
}
