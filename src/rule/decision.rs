//! The result of a pass, with its reason: also of one that changes nothing.

use super::address::Role;
use super::brakes::{BLIND, Circumstances, Hold, HoldReason, brake};
use super::finding::{Phases, Verdict};
use super::health::Answer;
use super::standing::{Frozen, Pin, terms};
use super::walk::{Asked, Current, KeepReason, SwitchKind, Want, walk};
use super::witness::{Edge, Sight};
use super::{Policy, health::State};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What made the site be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// An alert, firing or resolved.
    Alert,
    /// A probe result.
    Probe,
    /// Time: a routine pass, or a wait that is over.
    Timer,
    /// The record was found changed.
    Record,
    /// The process started.
    Start,
    /// A person asked.
    Manual,
    /// The configuration of the site changed.
    Reload,
}

impl Trigger {
    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Alert => "alert",
            Trigger::Probe => "probe",
            Trigger::Timer => "timer",
            Trigger::Record => "record",
            Trigger::Start => "start",
            Trigger::Manual => "manual",
            Trigger::Reload => "reload",
        }
    }
}

/// What is done with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It stays, because the rule says so.
    Keep,
    /// It is changed.
    Switch,
    /// It stays, although the rule wants a switch or cannot tell.
    Hold,
}

impl Action {
    /// The word used in metrics and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Keep => "keep",
            Action::Switch => "switch",
            Action::Hold => "hold",
        }
    }
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Of a keep.
    Keep(KeepReason),
    /// Of a switch.
    Switch(SwitchKind),
    /// Of a hold.
    Hold(HoldReason),
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Reason; 21] = [
        Reason::Keep(KeepReason::OnMain),
        Reason::Keep(KeepReason::MainDown),
        Reason::Keep(KeepReason::AllDown),
        Reason::Switch(SwitchKind::Failover),
        Reason::Switch(SwitchKind::Failback),
        Reason::Hold(HoldReason::Unconfirmed),
        Reason::Hold(HoldReason::Unproven),
        Reason::Hold(HoldReason::FailbackWait),
        Reason::Hold(HoldReason::FailbackManual),
        Reason::Hold(HoldReason::AlertFiring),
        Reason::Hold(HoldReason::SwitchBudget),
        Reason::Hold(HoldReason::UnknownOrigin),
        Reason::Hold(HoldReason::Foreign),
        Reason::Hold(HoldReason::RecordShape),
        Reason::Hold(HoldReason::CloudflareUnavailable),
        Reason::Switch(SwitchKind::Pin),
        Reason::Hold(HoldReason::Frozen),
        Reason::Hold(HoldReason::Blind),
        Reason::Hold(HoldReason::Brake),
        Reason::Hold(HoldReason::EdgeUp),
        Reason::Hold(HoldReason::Wave),
    ];

    /// The reason with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Reason> {
        Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }

    /// The word used in metrics and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Keep(KeepReason::OnMain) => "on_main",
            Reason::Keep(KeepReason::MainDown) => "main_down",
            Reason::Keep(KeepReason::AllDown) => "all_down",
            Reason::Switch(SwitchKind::Failover) => "failover",
            Reason::Switch(SwitchKind::Failback) => "failback",
            Reason::Switch(SwitchKind::Pin) => "pin",
            Reason::Hold(hold) => hold.as_str(),
        }
    }

    /// The action it goes with.
    #[must_use]
    pub fn action(self) -> Action {
        match self {
            Reason::Keep(_) => Action::Keep,
            Reason::Switch(_) => Action::Switch,
            Reason::Hold(_) => Action::Hold,
        }
    }
}

/// What became of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchResult {
    /// Cloudflare's answer shows the new content.
    Confirmed,
    /// Sent, outcome unknown.
    Unconfirmed,
    /// Cloudflare said no.
    Rejected,
    /// Nothing was sent: `dry_run`.
    DryRun,
    /// Confirmed, but the edge does not show it: the record may not be what
    /// visitors follow.
    Ineffective,
}

impl SwitchResult {
    /// Every result there is.
    pub const ALL: [SwitchResult; 5] = [
        SwitchResult::Confirmed,
        SwitchResult::Unconfirmed,
        SwitchResult::Rejected,
        SwitchResult::DryRun,
        SwitchResult::Ineffective,
    ];

    /// The word used in metrics and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SwitchResult::Confirmed => "confirmed",
            SwitchResult::Unconfirmed => "unconfirmed",
            SwitchResult::Rejected => "rejected",
            SwitchResult::DryRun => "dry_run",
            SwitchResult::Ineffective => "ineffective",
        }
    }

    /// The result with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<SwitchResult> {
        SwitchResult::ALL
            .into_iter()
            .find(|result| result.as_str() == word)
    }
}

impl Decision {
    /// Whether it is a switch that was sent, or was to be, whatever became of it.
    #[must_use]
    pub fn was_tried(&self) -> bool {
        self.result
            .is_some_and(|result| result != SwitchResult::DryRun)
    }
}

/// An origin, or what a record points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Its part.
    pub role: Role,
    /// Its address as people read it; two for dual stack, joined by a comma.
    pub address: Arc<str>,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.role, self.address)
    }
}

/// What was known of one origin when the decision was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginView {
    /// Which one.
    pub at: Pointer,
    /// The answer the walk was given.
    pub answer: Answer,
    /// What all probes say, those before the confirmation included.
    pub known: State,
    /// The newest finding (of an origin that is down, the newest failure), for
    /// a person; empty before the first.
    pub reason: String,
    /// Probes that decided it.
    pub probes: u32,
    /// How many of them found it down.
    pub failed: u32,
    /// The newest of them, in the order in which they started; kept with a
    /// decision that is stored.
    pub evidence: Vec<Probed>,
}

/// One probe, as a decision keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// When it started.
    pub started: Timestamp,
    /// What it took in all.
    pub took: Duration,
    /// Whether it speaks for the origin.
    pub verdict: Verdict,
    /// What it found, for a person; with the address family of a dual stack.
    pub reason: String,
    /// What its parts took.
    pub phases: Phases,
}

impl OriginView {
    /// The state shown. An origin that nobody had to wait for is shown as it
    /// is otherwise known: it is not in doubt because its probes came second.
    #[must_use]
    pub fn state(&self) -> State {
        match self.answer {
            Answer::Pending => self.known,
            answer => answer.into(),
        }
    }

    /// The same, with nothing pending: what a decision keeps.
    fn concluded(&self) -> OriginView {
        OriginView {
            answer: self.state().into(),
            ..self.clone()
        }
    }
}

/// Where the record points, in the words of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordView {
    /// A configured origin, by index.
    Origin(usize),
    /// An address that is not configured; its view is the last of `origins`.
    Other,
    /// The records' shape forbids any change; the sentence says why.
    Unclear(String),
    /// It could not be read; the sentence says why.
    Unreadable(String),
}

/// Everything a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The site's name.
    pub site: Arc<str>,
    /// What made it be looked at.
    pub trigger: Trigger,
    /// Where the record points.
    pub record: RecordView,
    /// The configured origins in order, then the foreign address if the record holds one.
    pub origins: Vec<OriginView>,
    /// How many of `origins` are configured.
    pub configured: usize,
    /// The origin that plays MAIN's part.
    pub main: usize,
    /// The pin that gives it that part.
    pub pin: Option<Pin>,
    /// A person's order to move now.
    pub order: Option<Order>,
    /// What the brakes look at.
    pub given: Circumstances,
}

/// A person's order to move the site to one of its origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The origin.
    pub to: usize,
    /// Whether it need not be up.
    pub force: bool,
}

impl Snapshot {
    /// The pin, with the part of its origin.
    fn pinned(&self) -> Option<(Role, Pin)> {
        let role = self.origins.get(self.main)?.at.role;
        self.pin.clone().map(|pin| (role, pin))
    }

    /// The view of what the record points to, if that is known.
    #[must_use]
    pub fn current(&self) -> Option<&OriginView> {
        match self.record {
            RecordView::Origin(index) => self.origins.get(index),
            RecordView::Other => self.origins.get(self.configured),
            RecordView::Unclear(_) | RecordView::Unreadable(_) => None,
        }
    }
}

/// What the rule and the brakes make of a snapshot: a plan that leaves no
/// choices to whoever carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a plan that is not carried out and not shown helps nobody"]
pub struct Plan {
    /// The steps walked; empty where the record could not be used.
    pub steps: Vec<u8>,
    /// Why.
    pub reason: Reason,
    /// The origin to switch to.
    pub to: Option<usize>,
    /// When it is worth looking again, for a hold that ends by itself.
    pub until: Option<Timestamp>,
    /// The first clauses of the explanation: what is so.
    pub because: String,
}

/// What came of a snapshot: a plan, or the wish for more probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Decided.
    Plan(Plan),
    /// More probes are needed, and on their way.
    Wait,
    /// A person's order that cannot be followed: one sentence.
    Refused(String),
}

/// Decides. `answers` that are pending lead to [`Outcome::Wait`] where a step
/// needs them.
#[must_use]
pub fn decide(policy: &Policy, seen: &Snapshot) -> Outcome {
    if let Some(outcome) = seen.order.and_then(|order| not_to_be_had(seen, order)) {
        return outcome;
    }
    let current = match &seen.record {
        RecordView::Origin(index) => Current::Origin(*index),
        RecordView::Other => Current::Other(seen.current().map_or(Answer::Unknown, |o| o.answer)),
        RecordView::Unclear(sentence) => {
            return stopped(seen, HoldReason::RecordShape, vec![1], sentence);
        }
        RecordView::Unreadable(sentence) => {
            let steps = Vec::new();
            return stopped(seen, HoldReason::CloudflareUnavailable, steps, sentence);
        }
    };
    if let Some(order) = seen.order.filter(|o| current != Current::Origin(o.to)) {
        // Where the site is there already, the rule is asked as ever.
        return ordered(policy, seen, order);
    }
    let answers: Vec<Answer> = seen.origins[..seen.configured]
        .iter()
        .map(|origin| origin.answer)
        .collect();
    let walked = walk(current, &answers, seen.main);
    if waits(walked.want, &seen.given) {
        return Outcome::Wait;
    }
    let held = brake(policy, walked.want, &seen.given);
    Outcome::Plan(plan(seen, walked.steps, walked.want, held))
}

/// Whether more has to be heard first: of the origins, of the edge before a
/// flight, of the control targets before a return.
fn waits(want: Want, given: &Circumstances) -> bool {
    match want {
        Want::Wait(_) => true,
        Want::Switch(SwitchKind::Failover, _) => given.edge == Edge::Pending,
        Want::Switch(SwitchKind::Failback, _) => given.sight == Sight::Pending,
        Want::Switch(SwitchKind::Pin, _) | Want::Keep(_) | Want::CannotTell(_) => false,
    }
}

/// What is told last of an order to move to an origin that is not up.
pub const NOT_UP: &str = "pin another origin, or force it, which also freezes the site";

/// Why a person's order cannot be followed, or not yet; wherever the record
/// points, and also while that cannot be told.
fn not_to_be_had(seen: &Snapshot, order: Order) -> Option<Outcome> {
    let target = seen.origins.get(order.to)?;
    match target.answer {
        _ if order.force => None,
        Answer::Up => None,
        Answer::Pending => Some(Outcome::Wait),
        Answer::Down | Answer::Unknown => Some(Outcome::Refused(format!(
            "{}: {NOT_UP}",
            about(target, false, false)
        ))),
    }
}

/// What becomes of a person's order to move.
fn ordered(policy: &Policy, seen: &Snapshot, order: Order) -> Outcome {
    let want = Want::Switch(SwitchKind::Pin, order.to);
    let held = brake(policy, want, &seen.given);
    Outcome::Plan(plan(seen, Vec::new(), want, held))
}

/// A hold that no probe can change; what is known of the origins is told too.
fn stopped(seen: &Snapshot, reason: HoldReason, steps: Vec<u8>, sentence: &str) -> Outcome {
    let known = |origin: &&OriginView| origin.state() != State::Unknown;
    let origins = seen.origins.iter().filter(known);
    let clauses = origins.map(|origin| about(origin, false, false));
    let clauses: Vec<String> = std::iter::once(sentence.to_owned())
        .chain(clauses)
        .collect();
    let because = clauses.join("; ");
    Outcome::Plan(Plan {
        steps,
        reason: Reason::Hold(reason),
        to: None,
        until: None,
        because,
    })
}

fn plan(seen: &Snapshot, steps: Vec<u8>, want: Want, held: Option<Hold>) -> Plan {
    let facts = facts(seen, want);
    match (want, held) {
        (Want::Keep(reason), _) => Plan {
            steps,
            reason: Reason::Keep(reason),
            to: None,
            until: None,
            because: facts,
        },
        (Want::Switch(_, to), Some(hold)) => Plan {
            steps,
            reason: Reason::Hold(hold.reason),
            to: Some(to),
            until: hold.until,
            because: format!(
                "{facts}; not switched to {}: {}{}",
                seen.origins[to].at.role,
                hold.because,
                lifted_by(seen, hold.reason)
            ),
        },
        (Want::Switch(kind, to), None) => Plan {
            steps,
            reason: Reason::Switch(kind),
            to: Some(to),
            until: None,
            because: facts,
        },
        (Want::CannotTell(asked) | Want::Wait(asked), _) => Plan {
            steps,
            reason: Reason::Hold(if seen.given.sight == Sight::Blind {
                HoldReason::Blind
            } else {
                HoldReason::Unconfirmed
            }),
            to: None,
            until: None,
            because: format!("{facts}; {}", in_doubt(seen, asked)),
        },
    }
}

/// Why nothing is changed while somebody cannot be told up or down.
fn in_doubt(seen: &Snapshot, asked: Asked) -> String {
    match seen.given.sight {
        Sight::Blind => BLIND.into(),
        Sight::Clear | Sight::Pending => {
            format!("nothing is changed on what {} may be", name(seen, asked))
        }
    }
}

/// The command that lifts a hold, as the end of its clause.
fn lifted_by(seen: &Snapshot, reason: HoldReason) -> String {
    let command = reason.lift(&seen.site, seen.given.frozen.as_ref());
    command.map_or(String::new(), |command| {
        format!("; `originswitch {command}` lifts this")
    })
}

fn name(seen: &Snapshot, asked: Asked) -> String {
    let index = match asked {
        Asked::Origin(index) => index,
        Asked::Other => seen.configured,
    };
    seen.origins
        .get(index)
        .map_or_else(|| "other".into(), |origin| origin.at.role.to_string())
}

/// The clauses that say what is so: the current origin first, then those the
/// walk asked.
fn facts(seen: &Snapshot, want: Want) -> String {
    let mut clauses = Vec::new();
    if let Some(current) = seen.current() {
        clauses.push(about(current, true, seen.given.alert_until.is_some()));
    }
    let others = seen.origins[..seen.configured]
        .iter()
        .enumerate()
        .filter(|(index, _)| seen.record != RecordView::Origin(*index));
    for (index, origin) in others {
        let asked = match want {
            Want::Keep(KeepReason::OnMain) => false,
            Want::Keep(KeepReason::MainDown) | Want::Switch(SwitchKind::Failback, _) => {
                index == seen.main
            }
            Want::Switch(SwitchKind::Failover, to) => index == to || origin.state() != State::Up,
            Want::Switch(SwitchKind::Pin, to) => index == to,
            Want::Keep(KeepReason::AllDown) | Want::CannotTell(_) | Want::Wait(_) => true,
        };
        if asked {
            clauses.push(about(origin, false, false));
        }
    }
    clauses.extend(through_the_edge(seen));
    if let Some(pin) = &seen.pin {
        let role = seen
            .origins
            .get(seen.main)
            .map_or(Role::Main, |o| o.at.role);
        clauses.push(format!("pinned to {role}{}", terms(pin.until, &pin.reason)));
    }
    clauses.join("; ")
}

/// What the edge says, where that is worth a clause: it fails though the origin
/// is up, or it cannot reach the origin either.
fn through_the_edge(seen: &Snapshot) -> Option<String> {
    let state = seen.current()?.state();
    match (state, seen.given.edge) {
        (State::Up, Edge::Fails(status)) => Some(format!(
            "but through Cloudflare's edge the site answers {status} (edge_down)"
        )),
        (State::Down, edge @ Edge::Fails(status)) if edge.concurs() => {
            Some(format!("the edge does not reach it either ({status})"))
        }
        _ => None,
    }
}

fn about(origin: &OriginView, current: bool, alert: bool) -> String {
    let state = match origin.state() {
        State::Up => "up",
        State::Down => "down",
        State::Unknown => "not to be told up or down",
    };
    let mut clause = format!("{} is {state}", origin.at);
    if origin.state() != State::Up && !origin.reason.is_empty() {
        clause.push_str(": ");
        clause.push_str(&origin.reason);
        if origin.failed > 0 && origin.state() == State::Down {
            clause.push_str(&format!(", {} of {} probes", origin.failed, origin.probes));
        }
    }
    if current && alert {
        clause.push_str(match origin.state() {
            State::Up => ", although an alert is firing",
            _ => ", and an alert is firing",
        });
    }
    clause
}

/// A decision: what a pass came to, as it is stored, shown and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The row in the history; `None` if it was not stored.
    pub id: Option<i64>,
    /// When it was made.
    pub time: Timestamp,
    /// The site's name.
    pub site: Arc<str>,
    /// What made it be looked at.
    pub trigger: Trigger,
    /// What the record pointed to; `None` where that could not be told.
    pub record: Option<Pointer>,
    /// What was known of each origin.
    pub origins: Vec<OriginView>,
    /// The steps walked.
    pub steps: Vec<u8>,
    /// Why.
    pub reason: Reason,
    /// Where a switch goes, or would have gone.
    pub to: Option<Pointer>,
    /// What became of a switch.
    pub result: Option<SwitchResult>,
    /// From the trigger to Cloudflare's answer, for a switch.
    pub duration: Option<Duration>,
    /// The pin that stood, and the part of its origin.
    pub pin: Option<Box<(Role, Pin)>>,
    /// The freeze that stood.
    pub frozen: Option<Box<Frozen>>,
    /// One sentence for a person.
    pub explanation: String,
}

impl Decision {
    /// The decision that a plan leads to, before anything is carried out.
    #[must_use]
    pub fn of(seen: &Snapshot, plan: &Plan) -> Decision {
        let to = match plan.reason {
            Reason::Switch(_) => plan.to.map(|index| seen.origins[index].at.clone()),
            Reason::Keep(_) | Reason::Hold(_) => None,
        };
        Decision {
            id: None,
            time: seen.given.now,
            site: seen.site.clone(),
            trigger: seen.trigger,
            record: seen.current().map(|origin| origin.at.clone()),
            origins: seen.origins.iter().map(OriginView::concluded).collect(),
            steps: plan.steps.clone(),
            reason: plan.reason,
            to,
            result: None,
            duration: None,
            pin: seen.pinned().map(Box::new),
            frozen: seen.given.frozen.clone().map(Box::new),
            explanation: plan.because.clone(),
        }
    }

    /// The decision without the probes that it rests on: what is kept in
    /// memory of a decision whose row has them.
    #[must_use]
    pub fn summary(&self) -> Arc<Decision> {
        let mut short = self.clone();
        for origin in &mut short.origins {
            origin.evidence = Vec::new();
        }
        short.into()
    }

    /// What is done with the record.
    #[must_use]
    pub fn action(&self) -> Action {
        self.reason.action()
    }

    /// Records what became of the switch, and says so in the explanation.
    pub fn conclude(&mut self, result: SwitchResult, outcome: &str) {
        self.result = Some(result);
        self.explanation.push_str("; ");
        self.explanation.push_str(outcome);
    }

    /// Whether it says the same as `other`: such a pass is not worth a row.
    /// Times, counts and milliseconds do not make a difference.
    #[must_use]
    pub fn same_as(&self, other: &Decision) -> bool {
        let states = |decision: &Decision| -> Vec<(Role, State)> {
            decision
                .origins
                .iter()
                .map(|origin| (origin.at.role, origin.state()))
                .collect()
        };
        self.reason == other.reason
            && self.record == other.record
            && self.to == other.to
            && self.result == other.result
            && states(self) == states(other)
            && self.pin == other.pin
            && self.frozen == other.frozen
    }
}
