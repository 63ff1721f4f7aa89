//! Carrying out a switch, and proving it.
//!
//! Read again, store the intent, write, compare the answer; after a write that
//! was not answered, read before anything else.

use super::confirm::Carried;
use super::memory::History;
use super::pass::{Pass, is_flight};
use super::reading::STALE_AGAIN;
use super::record::{Reading, altered};
use super::site::SiteLoop;
use super::{Away, Change, Record, StoreFault, Urgency, Written};
use crate::clock::Clock;
use crate::rule::Moment;
use crate::rule::address::{Address, Place, Role};
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Outcome, Reason, SwitchResult, decide};
use crate::rule::standing::{Frozen, Scope};
use crate::rule::walk::SwitchKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// A write that no read has shown after this long did not happen.
const LATE_WRITE: Duration = Duration::from_secs(60);

/// A switch that was sent and whose outcome is not known.
pub(super) struct OpenSwitch {
    decision: Decision,
    /// When it was decided: a wall clock that is set must not keep it open.
    since: Moment,
    /// Its number among those that are counted.
    number: Option<u64>,
}

impl OpenSwitch {
    /// One that an earlier process left behind.
    pub(super) fn restored(
        decision: Decision,
        history: &History,
        clock: &Clock,
    ) -> Option<OpenSwitch> {
        decision.to.as_ref()?;
        Some(OpenSwitch {
            since: clock.moment_of(decision.time).min(clock.moment()),
            number: decision.id.and_then(|id| history.unsettled(id)),
            decision,
        })
    }

    /// What the record holds if it was carried out.
    pub(super) fn target(&self) -> Option<String> {
        Some(self.decision.to.as_ref()?.address.to_string())
    }
}

impl SiteLoop {
    /// Carries out the switch to the origin with index `to`.
    pub(super) async fn apply(
        &mut self,
        pass: &mut Pass,
        mut decision: Decision,
        to: usize,
        until: Instant,
    ) -> Carried {
        let reading = match self.look_before_writing(pass, &decision, until).await {
            Ok(reading) => reading,
            Err(carried) => return carried,
        };
        let pinned = self.pinned();
        self.take_orders().await;
        if self.pinned() != pinned {
            // Lifted, or ended, while the record was being read.
            return Carried::Moved;
        }
        if let Some(frozen) = self.newly_frozen(&decision) {
            let lift = frozen.lift(&self.site.name);
            let why = format!("{}; `originswitch {lift}` lifts this", frozen.clause());
            decision.frozen = Some(Box::new(frozen));
            return Carried::Over(held(decision, HoldReason::Frozen, &why), false);
        }
        // Whatever became of an earlier write, this one takes its place.
        self.give_up_open().await;
        let changes = reading.changes(&self.places[to]);
        if let Err(fault) = self.store_intent(&mut decision).await {
            let why = format!("the intent could not be stored ({fault}), so the return waits");
            let mut decision = held(decision, HoldReason::FailbackWait, &why);
            // The disk may yet write the intent: the row then tells that
            // nothing was sent.
            decision.id = self.tools.store.record(&decision).await.ok();
            return Carried::Over(decision, true);
        }
        let number = self.count(&decision);
        self.expected = Some(self.places[to].to_string());
        self.forget_read();
        let urgency = urgency(&decision);
        let dns = self.tools.dns.clone();
        let written = dns.write(&self.site.zone, &changes, urgency, until).await;
        let switch = Switch {
            changes,
            to: self.places[to].clone(),
            number,
        };
        self.conclude(pass, &mut decision, switch, written, until)
            .await;
        if self.open.is_none() {
            self.expected = None;
        }
        let stored = decision.id.is_some();
        Carried::Over(decision, stored)
    }

    /// A freeze that came while the record was being read.
    fn newly_frozen(&self, decision: &Decision) -> Option<Frozen> {
        let pins = decision.reason == Reason::Switch(SwitchKind::Pin);
        self.frozen()
            .filter(|frozen| !(pins && frozen.scope == Scope::Pin))
    }

    /// Counts a switch that is about to be sent; a person's pin is not counted.
    fn count(&mut self, decision: &Decision) -> Option<u64> {
        if decision.reason == Reason::Switch(SwitchKind::Pin) {
            return None;
        }
        let window = self.site.policy.switch_window;
        let now = self.tools.clock.moment();
        Some(self.history.begin(now, window))
    }

    /// Reads the record once more: what to write to, or why nothing is written.
    async fn look_before_writing(
        &mut self,
        pass: &Pass,
        decision: &Decision,
        until: Instant,
    ) -> Result<Reading, Carried> {
        let seen = self.reading.as_ref().map(|r| r.holding.clone());
        if let Err(text) = self.read_again(urgency(decision), until).await {
            return Err(Carried::Over(unavailable(decision.clone(), &text), false));
        }
        if self.stale_reads > 0 {
            tokio::time::sleep(STALE_AGAIN).await;
            return Err(Carried::Moved);
        }
        let reading = self.reading.clone();
        match reading.filter(|reading| seen.as_ref() == Some(&reading.holding)) {
            Some(reading) if self.still_decided(pass, decision).await => Ok(reading),
            _ => Err(Carried::Moved),
        }
    }

    /// Whether it would be decided the same now. Cloudflare may have been slow:
    /// the probes have gone on meanwhile, and alerts may have come.
    async fn still_decided(&mut self, pass: &Pass, decision: &Decision) -> bool {
        self.absorb().await;
        if pass.gaps.is_some_and(|gaps| gaps != self.gaps()) {
            return false;
        }
        let evidence = self.evidence(self.tools.clock.moment(), pass.settle_by);
        let snapshot = self.snapshot(pass, evidence);
        let Outcome::Plan(plan) = decide(&self.site.policy, &snapshot) else {
            return false;
        };
        let to = plan.to.map(|to| &snapshot.origins[to].at);
        plan.reason == decision.reason && to == decision.to.as_ref()
    }

    /// Stores the intent; a flight goes on without, and so does a person's pin;
    /// a return does not.
    async fn store_intent(&mut self, decision: &mut Decision) -> Result<(), StoreFault> {
        // The outcome is unknown until it is known: a crash from here on finds this row.
        decision.result = Some(SwitchResult::Unconfirmed);
        match self.tools.store.begin_switch(decision).await {
            Ok(id) => decision.id = Some(id),
            Err(fault) if decision.reason != Reason::Switch(SwitchKind::Failback) => {
                warn!(site = %self.site.name, "{}: switching without a stored intent: {fault}", self.site.name);
            }
            Err(fault) => {
                decision.result = None;
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn conclude(
        &mut self,
        pass: &Pass,
        decision: &mut Decision,
        switch: Switch,
        written: Written,
        until: Instant,
    ) {
        match written {
            Written::Confirmed(records) if holds(&records, &switch.changes) => {
                let mut said = format!("record switched to {}", target(decision));
                for told in altered(&switch.changes, &records) {
                    said.push_str("; but ");
                    said.push_str(&told);
                }
                decision.duration = Some(self.tools.clock.moment().since(pass.begun));
                self.adopt(records).await;
                self.confirmed_switch(pass, decision, &said).await;
            }
            Written::Confirmed(_) => {
                let text = "Cloudflare's answer does not show the new content";
                self.unanswered(pass, decision, switch, text, until).await;
            }
            Written::Unanswered(text) => {
                self.unanswered(pass, decision, switch, &text, until).await;
            }
            Written::Rejected(text) => {
                self.uncount(switch.number);
                let said = format!("Cloudflare rejected the change: {text}");
                decision.conclude(SwitchResult::Rejected, &said);
                self.tried = Some(decision.summary());
                self.close_row(decision, Some(false)).await;
                self.metrics.switched(decision);
            }
            Written::Unavailable(text) => {
                self.uncount(switch.number);
                decision.result = None;
                *decision = unavailable(decision.clone(), &text);
                self.close_row(decision, Some(false)).await;
            }
        }
    }

    /// The record is read again after a write that was not answered.
    async fn unanswered(
        &mut self,
        pass: &Pass,
        decision: &mut Decision,
        switch: Switch,
        text: &str,
        until: Instant,
    ) {
        warn!(site = %self.site.name, "{}: could not confirm the change: {text}; reading the record again", self.site.name);
        let role = target(decision);
        let read = self.read_again(urgency(decision), until).await;
        let place = self.reading.as_ref().and_then(|r| r.place(&self.places));
        match read {
            Ok(()) if place == Some(&switch.to) => {
                let said = format!(
                    "the write was not answered ({text}), but the record read again shows it switched to {role}"
                );
                decision.duration = Some(self.tools.clock.moment().since(pass.begun));
                if let Some(known) = self.reading.as_ref().and_then(|r| r.known(&self.places)) {
                    self.foreign = None;
                    self.keep_known(known).await;
                }
                self.confirmed_switch(pass, decision, &said).await;
            }
            read => {
                // A read this soon may be stale, or the write may still be on
                // its way: the next one settles it.
                let seen = match read {
                    Ok(()) => "read again, the record is as before".to_owned(),
                    Err(fault) => fault,
                };
                let said = format!("could not confirm the switch to {role}: {text}; {seen}");
                decision.conclude(SwitchResult::Unconfirmed, &said);
                self.tried = Some(decision.summary());
                self.close_row(decision, None).await;
                self.open = Some(Box::new(OpenSwitch {
                    decision: decision.clone(),
                    since: self.tools.clock.moment_of(decision.time),
                    number: switch.number,
                }));
                self.read_no_later_than(self.tools.clock.moment() + STALE_AGAIN);
            }
        }
    }

    /// A later read tells what became of a switch whose outcome was unknown: it
    /// is there, or the record holds something else again. As long as it holds
    /// what it held before, the write may still be on its way.
    pub(super) async fn settle_open(&mut self, reading: &Reading) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let place = reading.place(&self.places).map(ToString::to_string);
        if place.is_some() && place == open.target() {
            self.expected = None;
            let took = self.tools.clock.moment().since(open.since);
            open.decision.duration = Some(took);
            open.decision.conclude(
                SwitchResult::Confirmed,
                "read again later, the record shows the switch",
            );
            self.foreign = None;
            if let Some(known) = reading.known(&self.places) {
                self.keep_known(known).await;
            }
            self.close_row(&open.decision, Some(true)).await;
            self.metrics.switched(&open.decision);
            self.metrics.last_switch(open.decision.time);
            let at = open.since;
            self.carried_out(&open.decision, at);
            if is_flight(open.decision.reason) {
                self.landed(&open.decision, true);
                self.watch_recovery(&open.decision, at);
            }
            self.amend_last(&open);
            return;
        }
        let before = open
            .decision
            .record
            .as_ref()
            .map(|at| at.address.to_string());
        let late = self.tools.clock.moment().since(open.since) > LATE_WRITE;
        let given_up = late || (place.is_some() && place != before);
        if given_up && left_main(&open.decision) {
            self.tools.guard.stayed(&self.site.name, None);
        }
        if given_up && is_flight(open.decision.reason) {
            self.landed(&open.decision, false);
        }
        self.open = Some(open);
        if given_up {
            self.give_up_open().await;
        }
    }

    /// A switch of unknown outcome is taken for one that did not happen.
    async fn give_up_open(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        self.expected = None;
        self.uncount(open.number);
        open.decision.conclude(
            SwitchResult::Unconfirmed,
            "read again later, the record does not show the switch",
        );
        self.tried = Some(open.decision.summary());
        self.close_row(&open.decision, Some(false)).await;
        self.metrics.switched(&open.decision);
        self.amend_last(&open);
    }

    /// A switch that did not happen gives its place back.
    fn uncount(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.history.undo(number);
        }
    }

    /// The last decision is shown as its row now reads.
    fn amend_last(&mut self, open: &OpenSwitch) {
        let id = open.decision.id;
        if self.last.as_ref().is_some_and(|last| last.id == id) {
            self.last = Some(open.decision.summary());
        }
    }

    /// A row that was stored only after the write is the open switch's too.
    pub(super) fn name_open(&mut self, decision: &Decision) {
        if let Some(open) = &mut self.open
            && open.decision.id.is_none()
            && open.decision.time == decision.time
        {
            open.decision.id = decision.id;
        }
    }

    /// The record is kept as ours before this: after a crash in between, a
    /// closed row would leave our own change looking like somebody else's.
    async fn confirmed_switch(&mut self, pass: &Pass, decision: &mut Decision, said: &str) {
        decision.conclude(SwitchResult::Confirmed, said);
        self.close_row(decision, Some(true)).await;
        self.metrics.switched(decision);
        self.metrics.last_switch(self.tools.clock.now());
        let now = self.tools.clock.moment();
        self.carried_out(decision, now);
        if is_flight(decision.reason) {
            self.watch_recovery(decision, pass.begun);
        }
    }

    /// Notes a switch that is known to have happened.
    fn note_switch(&mut self, switch: Arc<Decision>) {
        self.tried = Some(switch.clone());
        if target(&switch) != Role::Main {
            let returned = false;
            self.away = Some(Away { switch, returned });
        } else if let Some(away) = &mut self.away {
            away.returned = true;
        }
    }

    /// What follows from a switch that is known to have happened at `at`.
    fn carried_out(&mut self, decision: &Decision, at: Moment) {
        self.note_switch(decision.summary());
        let policy = &self.site.policy;
        self.moved_at = Some(self.tools.clock.moment());
        self.history
            .switched(decision.reason, at, policy.switch_window);
        if !policy.verify_after.is_zero() {
            // Somebody may write over it at once, or it may not have stuck.
            let again = self.tools.clock.moment() + policy.verify_after;
            self.verify_at = Some(again);
            self.read_no_later_than(again);
        }
    }

    pub(super) async fn close_row(&mut self, decision: &Decision, applied: Option<bool>) {
        if let Some(id) = decision.id
            && let Err(fault) = self
                .tools
                .store
                .conclude_switch(id, decision, applied)
                .await
        {
            warn!(site = %self.site.name, "{}: the history lacks what became of switch {id}: {fault}", self.site.name);
        }
    }

    /// Takes the records of a write's answer as the new reading.
    async fn adopt(&mut self, changed: Vec<Record>) {
        let Some(before) = &self.reading else { return };
        let mut records = before.records.clone();
        for record in &mut records {
            if let Some(now) = changed.iter().find(|now| now.id == record.id) {
                record.clone_from(now);
            }
        }
        let reading = Reading::new(&self.site.hostnames, &self.places, records);
        self.foreign = None;
        if let Some(known) = reading.known(&self.places) {
            self.keep_known(known).await;
        }
        self.set_reading(reading).await;
    }

    /// Reads the record now. What it shows becomes the reading.
    async fn read_again(&mut self, urgency: Urgency, until: Instant) -> Result<(), String> {
        let answer = self
            .tools
            .dns
            .read(&self.site.zone, &self.site.hostnames, urgency, until)
            .await;
        let failed = answer.as_ref().err().map(|fault| fault.0.clone());
        self.take_answer(answer).await;
        failed.map_or(Ok(()), Err)
    }
}

/// A switch under way.
struct Switch {
    changes: Vec<Change>,
    to: Place,
    number: Option<u64>,
}

/// Whether the answer shows every record as it was asked for.
fn holds(records: &[Record], changes: &[Change]) -> bool {
    let address = |record: &Record, content| Address::parse(record.kind, content);
    changes.iter().all(|change| {
        let now = records.iter().find(|now| now.id == change.record.id);
        now.is_some_and(|now| {
            address(now, &now.content) == address(&change.record, &change.content)
        })
    })
}

/// Whether a switch leaves the origin that plays MAIN's part.
fn left_main(decision: &Decision) -> bool {
    let main = decision
        .pin
        .as_deref()
        .map_or(Role::Main, |(role, _)| *role);
    let from = decision.record.as_ref().map(|at| at.role);
    is_flight(decision.reason) && from == Some(main)
}

/// How much depends on the calls that carry a decision out.
fn urgency(decision: &Decision) -> Urgency {
    if decision.reason == Reason::Switch(SwitchKind::Failback) {
        Urgency::Return
    } else {
        Urgency::Flight
    }
}

fn target(decision: &Decision) -> Role {
    decision.to.as_ref().map_or(Role::Other, |to| to.role)
}

fn unavailable(decision: Decision, text: &str) -> Decision {
    let why = format!("Cloudflare cannot be asked: {text}");
    held(decision, HoldReason::CloudflareUnavailable, &why)
}

fn held(mut decision: Decision, reason: HoldReason, why: &str) -> Decision {
    decision.reason = Reason::Hold(reason);
    decision.to = None;
    decision.explanation.push_str("; ");
    decision.explanation.push_str(why);
    decision
}
