//! What there is to tell, as a board: one alert for each thing that is so, and
//! those that were so until a while ago. Pure, but for the clock it is given.

use crate::clock::Clock;
use crate::failover::Status;
use crate::rule::Moment;
use crate::rule::address::Role;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Pointer, Reason, SwitchResult};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// What an alert is known by, to us and to Alertmanager.
pub(super) type Labels = BTreeMap<&'static str, String>;

/// A switch that went wrong is told at least this long, or nobody would hear:
/// Alertmanager waits before it tells.
const REFUSED_LEAST: Duration = Duration::from_secs(300);

/// An end is told for this long, as whoever was to hear may have been away.
const ENDED_TOLD: Duration = Duration::from_secs(900);

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is known by.
    pub labels: Labels,
    /// What it says.
    pub annotations: BTreeMap<&'static str, String>,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it ended; `None` while it is so.
    pub ended: Option<Timestamp>,
    /// Grows with every beginning and end on the board.
    pub(super) revision: u64,
}

impl Alert {
    fn site(&self) -> &str {
        self.labels.get("site").map_or("", String::as_str)
    }
}

/// An entry of the board.
#[derive(Debug)]
struct Entry {
    alert: Alert,
    ended: Option<Moment>,
}

/// What is known of one site beside its status.
#[derive(Debug, Default)]
struct Book {
    seen: bool,
    held_since: Option<Moment>,
    /// The result of a switch that went wrong, and when that was first seen.
    refused: Option<(Timestamp, SwitchResult, Moment)>,
}

/// A site, as it is looked at.
pub(super) struct Seen<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) status: Arc<Status>,
}

/// All there is to tell; it grows with the number of sites only.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: BTreeMap<Labels, Entry>,
    books: HashMap<Arc<str>, Book>,
    revision: u64,
}

impl Board {
    /// Looks at all sites there are; `true` if anything began or ended.
    pub(super) fn look(&mut self, sites: &[Seen<'_>], hold_for: Duration, clock: &Clock) -> bool {
        let before = self.revision;
        let names: HashSet<&Arc<str>> = sites.iter().map(|site| site.name).collect();
        self.books.retain(|name, _| names.contains(name));
        let mut so = HashSet::new();
        let mut undecided = HashSet::new();
        for site in sites {
            if !site.status.decided {
                // A loop that just began: what it will say is not known yet.
                undecided.insert(&**site.name);
                continue;
            }
            let book = self.books.entry(site.name.clone()).or_default();
            let (alerts, over) = book.tell(site, hold_for, clock);
            for alert in alerts {
                so.insert(alert.labels.clone());
                self.begin(alert);
            }
            if let Some(alert) = over {
                self.end_unheard(alert, clock);
            }
        }
        self.end(
            |alert| so.contains(&alert.labels) || undecided.contains(alert.site()),
            clock,
        );
        let now = clock.moment();
        let told = |entry: &Entry| entry.ended.is_none_or(|at| now.since(at) < ENDED_TOLD);
        self.entries.retain(|_, entry| told(entry));
        before != self.revision
    }

    /// What is on the board.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        let entries = self.entries.values();
        entries.map(|entry| entry.alert.clone()).collect()
    }

    fn begin(&mut self, mut alert: Alert) {
        if let Some(entry) = self.entries.get_mut(&alert.labels)
            && entry.ended.is_none()
        {
            // In fresher words: they go with the next repetition.
            entry.alert.annotations = alert.annotations;
            return;
        }
        self.revision += 1;
        alert.revision = self.revision;
        let entry = Entry { alert, ended: None };
        self.entries.insert(entry.alert.labels.clone(), entry);
    }

    /// Ends what is so no more.
    fn end(&mut self, so: impl Fn(&Alert) -> bool, clock: &Clock) {
        for entry in self.entries.values_mut() {
            if entry.ended.is_none() && !so(&entry.alert) {
                self.revision += 1;
                entry.alert.revision = self.revision;
                entry.alert.ended = Some(clock.now());
                entry.ended = Some(clock.moment());
            }
        }
    }

    /// Ends what an earlier process may have begun.
    fn end_unheard(&mut self, alert: Alert, clock: &Clock) {
        if !self.entries.contains_key(&alert.labels) {
            let labels = alert.labels.clone();
            self.begin(alert);
            self.end(|other| other.labels != labels, clock);
        }
    }
}

impl Book {
    /// What is so of a site; and at the first look, what may have been told of
    /// it before this process began, and is over.
    fn tell(
        &mut self,
        site: &Seen<'_>,
        hold_for: Duration,
        clock: &Clock,
    ) -> (Vec<Alert>, Option<Alert>) {
        let first = !std::mem::replace(&mut self.seen, true);
        let (mut alerts, mut over) = (Vec::new(), None);
        if let Some(away) = &site.status.away {
            let alert = switched(&away.switch);
            if !away.returned {
                alerts.push(alert);
            } else if first {
                over = Some(alert);
            }
        }
        alerts.extend(self.held(site, hold_for, clock));
        alerts.extend(self.refused(&site.status, clock));
        (alerts, over)
    }

    /// A hold that has lasted. The wait before a return is none: it is our own
    /// patience, and nobody has to do anything.
    fn held(&mut self, site: &Seen<'_>, hold_for: Duration, clock: &Clock) -> Option<Alert> {
        let waits = |reason: &HoldReason| *reason == HoldReason::FailbackWait;
        let Some(reason) = site.status.hold.filter(|reason| !waits(reason)) else {
            self.held_since = None;
            return None;
        };
        let last = site.status.last_decision.as_ref();
        let last = last.filter(|last| last.reason == Reason::Hold(reason));
        let now = clock.moment();
        let since = *self.held_since.get_or_insert_with(|| {
            // It may be older than this process.
            last.map_or(now, |last| clock.moment_of(last.time).min(now))
        });
        if now.since(since) < hold_for {
            return None;
        }
        let mut labels = labels("OriginswitchHeld", "warning", site.name);
        labels.insert("reason", reason.as_str().into());
        let summary = format!("{} is held ({}).", site.name, reason.as_str());
        let why = last.map_or("", |last| &*last.explanation);
        Some(alert(labels, summary, why, clock.timestamp(since)))
    }

    /// A switch that went wrong.
    fn refused(&mut self, status: &Status, clock: &Clock) -> Option<Alert> {
        let tried = status.tried.as_ref();
        let wrong = tried.and_then(|switch| Some((switch, wrong(switch.result?)?)));
        let Some((switch, result)) = wrong else {
            self.refused = None;
            return None;
        };
        let now = clock.moment();
        // One that is tried again with the same result is the same.
        let known = self.refused.filter(|(_, before, _)| *before == result);
        let (since, _, seen) = *self
            .refused
            .insert(known.unwrap_or((switch.time, result, now)));
        let last = status.last_decision.as_ref();
        let still = last.is_some_and(|last| last.result == Some(result));
        if !still && now.since(seen) >= REFUSED_LEAST {
            return None;
        }
        let mut labels = moved("OriginswitchSwitchRefused", "critical", switch);
        labels.insert("result", result.as_str().into());
        let summary = format!(
            "The switch of {} to {} was {}.",
            switch.site,
            role(switch.to.as_ref()),
            result.as_str()
        );
        Some(alert(labels, summary, &switch.explanation, since))
    }
}

/// A result that somebody has to hear of.
fn wrong(result: SwitchResult) -> Option<SwitchResult> {
    match result {
        SwitchResult::Confirmed | SwitchResult::DryRun => None,
        SwitchResult::Unconfirmed | SwitchResult::Rejected | SwitchResult::Ineffective => {
            Some(result)
        }
    }
}

/// A site that a switch took away from MAIN.
fn switched(switch: &Decision) -> Alert {
    let labels = moved("OriginswitchSwitched", "warning", switch);
    let to = role(switch.to.as_ref());
    let summary = format!("{} was switched to {to}.", switch.site);
    alert(labels, summary, &switch.explanation, switch.time)
}

fn alert(labels: Labels, summary: String, why: &str, since: Timestamp) -> Alert {
    let annotations = BTreeMap::from([("summary", summary), ("description", why.to_owned())]);
    Alert {
        labels,
        annotations,
        since,
        ended: None,
        revision: 0,
    }
}

/// The labels of every alert: roles and words of ours, and no address.
fn labels(name: &str, severity: &str, site: &str) -> Labels {
    BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", severity.to_owned()),
        ("site", site.to_owned()),
        ("sender", "originswitch".to_owned()),
    ])
}

fn moved(name: &str, severity: &str, switch: &Decision) -> Labels {
    let mut labels = labels(name, severity, &switch.site);
    labels.insert("from", role(switch.record.as_ref()).to_string());
    labels.insert("to", role(switch.to.as_ref()).to_string());
    labels
}

fn role(at: Option<&Pointer>) -> Role {
    at.map_or(Role::Other, |at| at.role)
}
