//! Probing until the rule has its answers.

use super::handle::LIFTED;
use super::legs::{Evidence, Watched};
use super::pass::{Pass, is_flight};
use super::site::{DECISION_LIMIT, Event, SiteLoop};
use crate::prober::Pace;
use crate::rule::Moment;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{
    Decision, Outcome, Plan, Reason, RecordView, Snapshot, SwitchResult, Trigger, decide,
};
use crate::rule::health::Answer;
use crate::rule::walk::SwitchKind;
use crate::rule::witness::Sight;
use std::sync::Arc;
use std::time::Duration;

/// A refused switch is decided again after `interval`, doubling to this.
const REFUSED_MAX: Duration = Duration::from_secs(300);

/// What a dead site waits at most before a flight is tried again.
const FLIGHT_AGAIN: Duration = Duration::from_secs(5);

/// A site that starts keeps others waiting no longer than this, whatever it
/// waits for itself.
const STARTING: Duration = Duration::from_secs(5);

/// How much longer a confirmation may take whose probes wait for a place.
const QUEUED: Duration = Duration::from_secs(300);

/// What came of carrying out a plan.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each decision, and nearly all are the large one"
)]
pub(super) enum Carried {
    /// The pass is over; the flag says that the decision has its row.
    Over(Decision, bool),
    /// The record is not what the decision saw: decide again.
    Moved,
}

/// Whether an origin is still being probed for the first time, or for a person
/// who asked, although nothing depends on it: is the backup ready?
fn still_telling(trigger: Trigger, snapshot: &Snapshot, plan: &Plan) -> bool {
    matches!(trigger, Trigger::Start | Trigger::Reload | Trigger::Manual)
        && matches!(plan.reason, Reason::Keep(_))
        && snapshot
            .origins
            .iter()
            .any(|origin| origin.answer == Answer::Pending)
}

impl SiteLoop {
    /// Confirms, decides, carries out. `None` when told to wind up before
    /// there was a decision.
    pub(super) async fn confirmed_pass(&mut self, mut pass: Pass) -> Option<Arc<Decision>> {
        // In this order: what a control target says counts from the trial's begin.
        self.begin_trial();
        self.look = Some(self.tools.guard.controls().look());
        self.handle.inbox().confirming = true;
        self.read_soon();
        let mut cloudflare_until = None;
        let (decision, stored, plan) = loop {
            let (snapshot, plan) = self.confirm(&mut pass).await?;
            let until = *cloudflare_until
                .get_or_insert_with(|| tokio::time::Instant::now() + DECISION_LIMIT);
            match self.carry_out(&mut pass, &snapshot, &plan, until).await {
                Carried::Over(decision, stored) => break (decision, stored, plan),
                Carried::Moved => {}
            }
        };
        self.handle.inbox().confirming = false;
        self.confirmed();
        self.hold_until = plan.until;
        self.look_again_when(&plan);
        if pass.dry_run == self.site.policy.dry_run {
            self.plan_retry(&decision);
        }
        self.flight_waits = is_flight(plan.reason) && decision.result.is_none();
        Some(self.finish(decision, pass.answers, stored).await)
    }

    fn begin_trial(&mut self) {
        self.trial += 1;
        self.trial_begun = self.tools.clock.moment();
        // The first one began with the probers.
        if self.pace.confirming != Some(self.trial) {
            self.set_pace(Pace {
                confirming: Some(self.trial),
                ..self.pace
            });
        }
    }

    /// Looks at what the probes say after each of them, until the rule needs
    /// no further answer.
    async fn confirm(&mut self, pass: &mut Pass) -> Option<(Snapshot, Plan)> {
        let mut begins = true;
        pass.settle_by = self.tools.clock.moment() + self.patience();
        let mut was_blind = false;
        let mut saw_again = false;
        loop {
            self.absorb().await;
            let first = std::mem::take(&mut begins);
            self.heed_gaps(pass);
            self.heed_lifting(pass);
            if self.join(pass).await && !first {
                self.set_pace(Pace {
                    nudges: self.pace.nudges + 1,
                    ..self.pace
                });
            }
            let now = self.tools.clock.moment();
            if now.since(self.trial_begun) > STARTING {
                self.starting = None;
            }
            let snapshot = self.snapshot(pass, self.evidence(now, pass.settle_by));
            let sight = snapshot.given.sight;
            if was_blind && sight == Sight::Clear {
                // What failed while we saw nothing speaks of us.
                was_blind = false;
                self.begin_trial();
                if !std::mem::replace(&mut saw_again, true) {
                    // Once: a target that comes and goes must not keep us from
                    // saying that it cannot be told.
                    pass.settle_by = self.tools.clock.moment() + self.patience();
                }
                continue;
            }
            was_blind |= sight == Sight::Blind;
            let unread = self.reading.is_none() && self.read_error.is_none();
            if !unread {
                match decide(&self.site.policy, &snapshot) {
                    Outcome::Plan(plan) if !still_telling(pass.trigger, &snapshot, &plan) => {
                        return Some((snapshot, plan));
                    }
                    Outcome::Refused(why) => {
                        self.refuse(pass, why).await;
                        continue;
                    }
                    Outcome::Plan(_) | Outcome::Wait => {}
                }
            }
            self.publish();
            if self
                .event(pass.settle_by.max(now + Duration::from_secs(1)))
                .await
                == Event::Cancelled
            {
                return None;
            }
        }
    }

    /// What lies before a gap is not joined to what comes after, be it one that
    /// fell into the read before a write.
    fn heed_gaps(&mut self, pass: &mut Pass) {
        let gaps = self.gaps();
        if pass.gaps.replace(gaps).unwrap_or(gaps) != gaps {
            self.begin_trial();
            pass.settle_by = self.tools.clock.moment() + self.patience();
        }
    }

    /// A pin that was lifted on its way is none.
    fn heed_lifting(&mut self, pass: &mut Pass) {
        if std::mem::take(&mut self.orders.lifted)
            && let Some(wish) = pass.wish.take()
        {
            // Whoever asked may have gone.
            let _ = wish.answer.send(Err(LIFTED.into()));
        }
    }

    /// A pin that cannot be had: whoever asked for it hears why, and the pass
    /// goes on without.
    async fn refuse(&mut self, pass: &mut Pass, why: String) {
        match pass.wish.take() {
            // Whoever asked may have gone.
            Some(wish) => drop(wish.answer.send(Err(why))),
            // The origin is not up any more: the rule has the site again.
            None => self.moved().await,
        }
    }

    pub(super) fn evidence(&self, now: Moment, settle_by: Moment) -> Evidence {
        let firing = self
            .handle
            .inbox()
            .alerts
            .firing(now, self.tools.alert_ttl.get());
        Evidence::Trial {
            number: self.trial,
            // An alert and our probes together are fast, our probes alone are patient.
            span: if firing {
                Duration::ZERO
            } else {
                self.site.policy.confirm_for
            },
            // A probe that waits behind those of other sites is no answer yet.
            settled: now >= settle_by && !self.queues(now, settle_by),
        }
    }

    /// Whether probes of the site wait for a place, with so many sites at one
    /// address: for some minutes that is no reason to know nothing.
    fn queues(&self, now: Moment, settle_by: Moment) -> bool {
        let origins = || self.origins.iter().chain(self.other.as_deref());
        now.since(settle_by) < QUEUED && origins().any(Watched::waits)
    }

    /// How long a confirmation may take until what is still open is unknown:
    /// the worst order of successes and failures that ends in an answer.
    fn patience(&self) -> Duration {
        let policy = &self.site.policy;
        let worst = policy.fall.saturating_mul(policy.rise) + policy.rise + 1;
        let timeout = self.site.origins.iter().map(|o| o.probe.timeout).max();
        policy.confirm_for
            + policy.confirm_interval.saturating_mul(worst)
            + timeout.unwrap_or_default()
            + Duration::from_secs(1)
    }

    async fn carry_out(
        &mut self,
        pass: &mut Pass,
        snapshot: &Snapshot,
        plan: &Plan,
        until: tokio::time::Instant,
    ) -> Carried {
        let mut decision = Decision::of(snapshot, plan);
        if let Some(wish) = pass.wish.take() {
            let (answer, kept) = self.grant(wish).await;
            pass.answers.push(answer);
            if let Err(fault) = kept {
                let said = format!("; the pin holds, but would not survive a restart: {fault}");
                decision.explanation.push_str(&said);
            }
        }
        decision.pin = self.pinned().map(Box::new);
        decision.frozen = self.frozen().map(Box::new);
        self.record_evidence(&mut decision);
        if snapshot.record == RecordView::Origin(snapshot.main) || self.site.policy.dry_run {
            self.moved().await;
        }
        let (Reason::Switch(_), Some(to)) = (plan.reason, plan.to) else {
            return Carried::Over(decision, false);
        };
        let role = snapshot.origins[to].at.role;
        if pass.dry_run {
            let said = format!("the record would be switched to {role}, but this is a dry run");
            decision.conclude(SwitchResult::DryRun, &said);
            return Carried::Over(decision, false);
        }
        if self.put_off(pass, &decision) {
            decision.conclude(
                SwitchResult::Rejected,
                "not sent again yet: Cloudflare refused the same change",
            );
            return Carried::Over(decision, false);
        }
        if plan.reason == Reason::Switch(SwitchKind::Failback) && !self.turn_has_come(pass) {
            return Carried::Moved;
        }
        if !is_flight(plan.reason) {
            return self.apply(pass, decision, to, until).await;
        }
        let Ok(flight) = self.take_off(snapshot, to) else {
            // Others were quicker: the brake is engaged now, or the wave full.
            return Carried::Moved;
        };
        let carried = self.apply(pass, decision, to, until).await;
        self.arrive(flight, &carried);
        carried
    }

    /// Keeps with a decision the probes that it rests on.
    fn record_evidence(&self, decision: &mut Decision) {
        let origins = self.origins.iter().chain(self.other.as_deref());
        for (view, origin) in decision.origins.iter_mut().zip(origins) {
            view.evidence = origin.recorded(self.trial, &self.tools.clock);
        }
    }

    /// Whether Cloudflare refused the same change a short while ago.
    fn put_off(&self, pass: &Pass, wanted: &Decision) -> bool {
        let waiting = self
            .retry_at
            .is_some_and(|at| at > self.tools.clock.moment());
        waiting
            && !pass.by_hand
            && self.last.as_ref().is_some_and(|last| {
                last.result == Some(SwitchResult::Rejected)
                    && last.to == wanted.to
                    && last.record == wanted.record
            })
    }

    /// When a switch that did not come about is tried again.
    fn plan_retry(&mut self, decision: &Decision) {
        let interval = self.site.probe.interval;
        let now = self.tools.clock.moment();
        if decision.result == Some(SwitchResult::Rejected)
            && self.retry_at.is_some_and(|at| at > now)
        {
            return;
        }
        let wait = match (decision.result, decision.reason) {
            (Some(SwitchResult::Rejected), _) => {
                let doubled = interval.saturating_mul(1 << self.refusals.min(16));
                self.refusals = self.refusals.saturating_add(1);
                Some(doubled.min(REFUSED_MAX))
            }
            (Some(SwitchResult::Unconfirmed), reason) if is_flight(reason) => {
                Some(Duration::from_secs(1).min(interval))
            }
            (Some(SwitchResult::DryRun | SwitchResult::Unconfirmed), _) => Some(interval),
            (_, Reason::Hold(HoldReason::CloudflareUnavailable)) => {
                Some(FLIGHT_AGAIN.min(interval))
            }
            (_, Reason::Hold(HoldReason::Unconfirmed | HoldReason::Blind | HoldReason::EdgeUp)) => {
                Some(interval)
            }
            _ => {
                self.refusals = 0;
                None
            }
        };
        self.retry_at = wait.map(|wait| now + wait);
        if let Some(at) = self.retry_at {
            self.look_no_later_than(at);
        }
    }
}
