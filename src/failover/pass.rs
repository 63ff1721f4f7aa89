//! One look at a site: what it rests on, and what ends it.

use super::Answer;
use super::handle::{Request, Status};
use super::legs::{Evidence, Watched, views};
use super::orders::PinWish;
use super::record::Reading;
use super::site::SiteLoop;
use crate::rule::Moment;
use crate::rule::address::{Holding, Role};
use crate::rule::brakes::{Circumstances, HoldReason};
use crate::rule::decision::{
    Action, Decision, OriginView, Outcome, Plan, Reason, RecordView, Snapshot, SwitchResult,
    Trigger, decide,
};
use crate::rule::health::{Answer as Said, State, Thresholds};
use crate::rule::standing::{Frozen, Scope};
use crate::rule::walk::{KeepReason, SwitchKind};
use crate::rule::witness::{Edge, Sight};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::info;

/// How soon a site looks again that waits for others to arrive.
const WAVE_AGAIN: Duration = Duration::from_secs(1);

/// One pass that a confirmation leads to.
pub(super) struct Pass {
    pub(super) trigger: Trigger,
    pub(super) begun: Moment,
    pub(super) dry_run: bool,
    pub(super) by_hand: bool,
    pub(super) asked_for: bool,
    /// When what is still open in its confirmation counts as unknown.
    pub(super) settle_by: Moment,
    /// The gaps that were known when its confirmation began.
    pub(super) gaps: Option<u64>,
    /// A pin that somebody wants, until it is known whether it can be had.
    pub(super) wish: Option<PinWish>,
    pub(super) answers: Vec<oneshot::Sender<Answer>>,
}

impl SiteLoop {
    pub(super) fn pass(&self, trigger: Trigger) -> Pass {
        Pass {
            trigger,
            begun: self.tools.clock.moment(),
            dry_run: self.site.policy.dry_run,
            by_hand: false,
            asked_for: false,
            settle_by: self.tools.clock.moment(),
            wish: None,
            gaps: None,
            answers: Vec::new(),
        }
    }

    /// Everything a decision rests on, as it is now.
    pub(super) fn snapshot(&self, pass: &Pass, evidence: Evidence) -> Snapshot {
        let record = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => RecordView::Origin(*index),
            Some(Holding::Other(_)) => RecordView::Other,
            Some(Holding::Unclear(sentence)) => RecordView::Unclear(sentence.clone()),
            None => RecordView::Unreadable(
                self.read_error
                    .clone()
                    .unwrap_or_else(|| "the record has not been read yet".into()),
            ),
        };
        let sight = self.sight(evidence);
        let mut origins = self.views(evidence);
        for origin in &mut origins {
            origin.answer = sight.believe(origin.answer);
        }
        let waves = self.waves(&origins, evidence);
        // A move that is due waits while its origin cannot be told up or down.
        let due = self.orders.unmoved;
        let due = due.filter(|o| o.force || origins[o.to].answer != Said::Unknown);
        let order = pass.wish.as_ref().map(|wish| wish.order).or(due);
        Snapshot {
            site: self.site.name.clone(),
            trigger: pass.trigger,
            origins,
            configured: self.origins.len(),
            main: order.map_or(self.main(), |order| order.to),
            pin: pass
                .wish
                .as_ref()
                .map(|wish| wish.pin(&self.places))
                .or_else(|| self.pin().cloned()),
            order,
            given: Circumstances {
                sight,
                edge: self.edge(match evidence {
                    Evidence::Trial { .. } => Some(self.trial_begun),
                    Evidence::Routine => None,
                }),
                frozen: self.frozen_for(pass),
                waves,
                ..self.circumstances(pass, &record)
            },
            record,
        }
    }

    /// Whether our own network reaches anything, as far as it was asked.
    pub(super) fn sight(&self, evidence: Evidence) -> Sight {
        match (&self.look, evidence) {
            (Some(look), Evidence::Trial { .. }) => look.sight(self.trial_begun),
            _ => self.tools.guard.controls().last(),
        }
    }

    /// The freeze that stands against this pass: who pins the site anew is not
    /// stopped by the pin that it has.
    fn frozen_for(&self, pass: &Pass) -> Option<Frozen> {
        let moves = pass.wish.is_some() || self.orders.unmoved.is_some();
        self.frozen()
            .filter(|frozen| !(moves && frozen.scope == Scope::Pin))
    }

    fn circumstances(&self, pass: &Pass, record: &RecordView) -> Circumstances {
        let (clock, now) = (&self.tools.clock, self.tools.clock.moment());
        let alert = self
            .handle
            .inbox()
            .alerts
            .firing_until(now, self.tools.alert_ttl.get());
        Circumstances {
            now: clock.now(),
            proven: match record {
                RecordView::Origin(index) => self.history.proven(&self.origins[*index].fingerprint),
                _ => true,
            },
            on_other: *record == RecordView::Other,
            undoubted: self.well.total(now),
            resolvers_need: self
                .reading
                .as_ref()
                .map_or(Duration::ZERO, Reading::resolvers_need),
            alert_until: alert.map(|moment| clock.timestamp(moment)),
            switches: self.history.switches(clock),
            foreign: self.foreign.as_deref().cloned(),
            state_ok: self.tools.store.healthy(),
            asked_for: pass.asked_for,
            frozen: None,
            relapses: self.history.relapses(),
            together: self.together(record),
            turn: self.turn(),
            waves: Vec::new(),
            sight: Sight::Clear,
            edge: Edge::Off,
        }
    }

    pub(super) fn views(&self, evidence: Evidence) -> Vec<OriginView> {
        let current = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => Some(*index),
            _ => None,
        };
        let limits = Thresholds {
            fall: self.site.policy.fall,
            rise: self.site.policy.rise,
        };
        views(
            &self.origins,
            self.other.as_deref(),
            current,
            evidence,
            limits,
        )
    }

    pub(super) fn current_view(&self) -> Option<OriginView> {
        let mut views = self.views(Evidence::Routine);
        let index = match self.reading.as_ref().map(|r| &r.holding)? {
            Holding::Origin(index) => *index,
            Holding::Other(_) => self.origins.len(),
            Holding::Unclear(_) => return None,
        };
        (index < views.len()).then(|| views.swap_remove(index))
    }

    /// A look at what is believed, without new probes: it never switches, but
    /// says if a confirmation is worth its probes.
    pub(super) async fn routine_pass(&mut self) -> Option<Trigger> {
        let now = self.tools.clock.moment();
        self.next_pass = now + self.site.probe.interval;
        self.absorb().await;
        self.handle
            .inbox()
            .alerts
            .prune(now, self.tools.alert_ttl.get());
        if self.hold == Some(HoldReason::Unconfirmed) {
            // What could not be told is not believed because it was before:
            // only a confirmation tells.
            let at = self.retry_at.unwrap_or(now);
            self.next_pass = at.max(now);
            return (at <= now).then_some(Trigger::Timer);
        }
        let pass = self.pass(Trigger::Timer);
        let snapshot = self.snapshot(&pass, Evidence::Routine);
        let plan = match decide(&self.site.policy, &snapshot) {
            Outcome::Plan(plan) => plan,
            Outcome::Wait | Outcome::Refused(_) => return Some(Trigger::Timer),
        };
        let due = self.retry_at.is_none_or(|at| at <= now);
        if plan.reason == Reason::Hold(HoldReason::Blind) && due {
            // Only a confirmation asks the control targets.
            return Some(Trigger::Timer);
        }
        if let Reason::Switch(_) = plan.reason {
            let wish = Decision::of(&snapshot, &plan);
            let put_off = self.last.as_ref().is_some_and(|last| {
                last.record == wish.record && (last.to.is_none() || last.to == wish.to)
            });
            if !put_off || due {
                return Some(Trigger::Timer);
            }
            // Put off: what was said when it was put off still holds.
            self.next_pass = self.retry_at.unwrap_or(self.next_pass);
            return None;
        }
        self.hold_until = plan.until;
        self.look_again_when(&plan);
        let on_main = snapshot.record == RecordView::Origin(self.main());
        if !on_main {
            self.save_wellness().await;
        }
        let decision = Decision::of(&snapshot, &plan);
        self.finish(decision, Vec::new(), false).await;
        None
    }

    /// A hold that ends by itself is looked at when it does. One whose end is
    /// past, on a wall clock that was set since, is ended by something else, and
    /// looking for it without a pause would help nobody.
    pub(super) fn look_again_when(&mut self, plan: &Plan) {
        if let Some(until) = plan.until {
            let until = self.tools.clock.moment_of(until) + Duration::from_millis(1);
            if until > self.tools.clock.moment() {
                self.look_no_later_than(until);
            }
        } else if plan.reason == Reason::Hold(HoldReason::Wave) {
            // Others are under way: soon it is known when the next wave goes.
            self.look_no_later_than(self.tools.clock.moment() + WAVE_AGAIN);
        }
    }

    /// Looks again at `at`, or before.
    pub(super) fn look_no_later_than(&mut self, at: Moment) {
        self.next_pass = self.next_pass.min(at);
    }

    /// Ends a pass: counts, stores what differs, logs it, answers who waits.
    /// `stored` says that the decision has its row already.
    pub(super) async fn finish(
        &mut self,
        mut decision: Decision,
        answers: Vec<oneshot::Sender<Answer>>,
        stored: bool,
    ) -> Arc<Decision> {
        self.metrics.pass(&decision);
        self.decided = true;
        self.starting = None;
        self.tell_others(&decision);
        if decision.reason == Reason::Keep(KeepReason::OnMain) && self.foreign.take().is_some() {
            // Another hand put it where the rule wants it: taken as it is, so
            // that the next edit is seen for what it is.
            self.adopt_reading().await;
        }
        self.set_hold(match decision.reason {
            Reason::Hold(reason) => Some(reason),
            Reason::Keep(_) | Reason::Switch(_) => None,
        });
        let news = stored
            || !self
                .last
                .as_ref()
                .is_some_and(|last| decision.same_as(last));
        if news && !stored {
            decision.id = self.tools.store.record(&decision).await.ok();
            self.name_open(&decision);
        }
        if news {
            log(&decision);
            let wish = |d: &Decision| (d.reason, d.record.clone(), d.to.clone(), d.result);
            let wished = self.last.as_ref().map(|last| wish(last));
            if decision.result == Some(SwitchResult::DryRun) && wished != Some(wish(&decision)) {
                self.metrics.switched(&decision);
            }
        }
        let decision = Arc::new(decision);
        if news {
            self.last = Some(decision.summary());
        } else if let (Action::Hold, Some(last)) = (decision.action(), &mut self.last) {
            // It says the same in fresher words: how long is left, what else is waited for.
            Arc::make_mut(last)
                .explanation
                .clone_from(&decision.explanation);
        }
        for answer in answers {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(decision.clone()));
        }
        self.publish();
        decision
    }

    pub(super) fn set_hold(&mut self, hold: Option<HoldReason>) {
        if hold != self.hold {
            self.metrics.hold(hold);
            self.hold = hold;
        }
    }

    /// Shows the site as it is now.
    pub(super) fn publish(&mut self) {
        let sight = self.sight(Evidence::Routine);
        let mut views = self.views(Evidence::Routine);
        for view in &mut views {
            view.answer = sight.believe(view.answer);
        }
        for view in &views {
            self.metrics.origin(view.at.role, view.state());
        }
        let current = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => views.get(*index),
            Some(Holding::Other(_)) => views.get(self.origins.len()),
            Some(Holding::Unclear(_)) | None => None,
        };
        if current.is_some_and(|view| view.at.role == Role::Main)
            && let Some(away) = &mut self.away
        {
            away.returned = true;
        }
        let now = self.tools.clock.moment();
        let inbox = self.handle.inbox();
        let firing = inbox.alerts.firing(now, self.tools.alert_ttl.get());
        let alert = inbox.last_alert;
        drop(inbox);
        let up = current.is_some_and(|view| view.state() == State::Up);
        self.metrics.alert_unconfirmed(firing && up);
        self.show_orders();
        let failing = matches!(self.edge(None), Edge::Fails(_));
        self.metrics.edge_down(up && failing);
        let status = Status {
            record: current.map(|view| view.at.clone()),
            record_error: self.read_error.clone(),
            hold: self.hold,
            hold_until: self.hold.and(self.hold_until),
            pin: self.pinned().map(Box::new),
            frozen: self.frozen().map(Box::new),
            alert,
            last_decision: self.last.clone(),
            away: self.away.clone(),
            tried: self.tried.clone(),
            probed: self.origins.iter().all(Watched::probed),
            decided: self.decided,
            origins: views,
        };
        self.handle.publish(status);
    }

    /// Takes what came in while a pass is under way: alerts join it, requests
    /// wait for it. Returns whether an alert came.
    pub(super) async fn join(&mut self, pass: &mut Pass) -> bool {
        let (alert, asked) = {
            let mut inbox = self.handle.inbox();
            // An alert is for a pass that may act.
            let alert = (pass.dry_run == self.site.policy.dry_run)
                && std::mem::take(&mut inbox.look_for_alert);
            (alert, std::mem::take(&mut inbox.asked))
        };
        let mut later = Vec::new();
        for one in asked {
            let dry = matches!(one.request, Request::Evaluate { dry_run: true });
            pass.dry_run |= dry && pass.trigger == Trigger::Manual && !pass.by_hand;
            // A request to only look must not keep a real pass from acting,
            // nor the other way round.
            if dry != pass.dry_run && !self.site.policy.dry_run {
                later.push(one);
                continue;
            }
            pass.by_hand |= !matches!(one.request, Request::Decision);
            match one.request {
                Request::Evaluate { .. } | Request::Decision => {}
                Request::Failback => pass.asked_for = true,
                Request::Trust => self.trust().await,
                Request::Release => self.release().await,
                Request::Pin {
                    order,
                    until,
                    reason,
                } => {
                    self.wish(
                        pass,
                        PinWish {
                            order,
                            until,
                            reason,
                            answer: one.answer,
                        },
                    );
                    continue;
                }
            }
            pass.answers.push(one.answer);
        }
        if !later.is_empty() {
            self.handle.inbox().asked.extend(later);
        }
        if alert && pass.trigger != Trigger::Manual {
            pass.trigger = Trigger::Alert;
        }
        alert
    }

    /// Takes a wish for a pin into the pass; one before it is overruled.
    fn wish(&self, pass: &mut Pass, wish: PinWish) {
        if let Some(frozen) = self.frozen().filter(|frozen| frozen.scope != Scope::Pin) {
            let lift = frozen.lift(&self.site.name);
            let text = format!("{}: `originswitch {lift}` first", frozen.clause());
            let _ = wish.answer.send(Err(text));
            return;
        }
        if let Some(before) = pass.wish.replace(wish) {
            let text = "another pin was asked for before this one was in place".to_owned();
            let _ = before.answer.send(Err(text));
        }
    }

    pub(super) async fn trust(&mut self) {
        for index in 0..self.origins.len() {
            self.prove(index).await;
        }
        info!(site = %self.site.name, "{}: origins are counted as proven, by hand", self.site.name);
    }

    pub(super) async fn release(&mut self) {
        self.history.release(self.tools.clock.moment());
        let now = self.tools.clock.now();
        // A failure is the store's to tell; the release holds all the same.
        let _ = self.tools.store.save_release(&self.site.name, now).await;
        self.retry_at = None;
        if self.foreign.take().is_some() {
            self.adopt_reading().await;
            let now = self.tools.clock.moment();
            let from = self.well.running().then_some(now);
            self.restart_wait(from);
        }
        info!(site = %self.site.name, "{}: budget, foreign edit, brake and waves are released, by hand", self.site.name);
    }
}

/// One line for each decision that differs from the one before.
fn log(decision: &Decision) {
    let site = &decision.site;
    let trigger = decision.trigger.as_str();
    let reason = decision.reason.as_str();
    let action = decision.action();
    let from = decision.record.as_ref().map(|at| at.role.to_string());
    let to = decision.to.as_ref().map(|at| at.role.to_string());
    let result = decision.result.map(SwitchResult::as_str);
    let duration = decision.duration.map(|time| time.as_secs_f64());
    let text = &decision.explanation;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                site = %site, id = decision.id, trigger, action = action.as_str(), reason,
                from, to, result, duration_seconds = duration,
                "{site}: {} {reason}: {text}", action.as_str()
            )
        };
    }
    match (action, decision.reason) {
        (Action::Switch, _) | (Action::Hold, _) => line!(warn),
        (Action::Keep, Reason::Keep(KeepReason::OnMain)) => line!(info),
        (Action::Keep, _) => line!(warn),
    }
}

/// Whether a switch is one that leaves a dead origin.
pub(super) fn is_flight(reason: Reason) -> bool {
    reason == Reason::Switch(SwitchKind::Failover)
}
