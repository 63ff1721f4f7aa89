//! What a site has to do with others: the brake for those that leave MAIN
//! together, and the turns of those that return to one origin.

use super::pass::Pass;
use super::site::SiteLoop;
use crate::rule::Failback;
use crate::rule::address::Holding;
use crate::rule::brakes::{HoldReason, Together};
use crate::rule::crowd::Turn;
use crate::rule::decision::{Decision, Reason, RecordView, SwitchResult};
use std::sync::Arc;

impl SiteLoop {
    /// The brake across sites, where the site would leave MAIN.
    pub(super) fn together(&self, record: &RecordView) -> Option<Together> {
        let leaves = *record == RecordView::Origin(self.main());
        (leaves && !self.is_released())
            .then(|| self.tools.guard.together(&self.site.name))
            .flatten()
    }

    /// The turn of the site's return, while it is yet to come.
    pub(super) fn turn(&self) -> Option<Turn> {
        let at = self.tools.guard.turn(&self.site.name)?;
        Some(Turn {
            at: self.tools.clock.timestamp(at),
            target: self.place_text(self.main()),
            spread: self.site.policy.failback_spread,
        })
    }

    /// Tells those that return to the same origin whether this site will.
    pub(super) fn tell_where(&self) {
        let policy = &self.site.policy;
        let returns = policy.failback == Failback::Auto && !policy.dry_run;
        let away = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => *index != self.main(),
            Some(Holding::Other(_)) => true,
            Some(Holding::Unclear(_)) | None => false,
        };
        let target = (away && returns).then(|| self.place_text(self.main()));
        self.tools.guard.away(&self.site.name, target.as_ref());
    }

    /// Where an origin lives, as people read it.
    fn place_text(&self, origin: usize) -> Arc<str> {
        self.places[origin].to_string().into()
    }

    /// Whether a person let the site go while the brake held it.
    pub(super) fn is_released(&self) -> bool {
        let (guard, now) = (&self.tools.guard, self.tools.clock.moment());
        self.history.released_within(guard.window(), now)
    }

    /// Whether a return need not wait for others to the same origin. If it has
    /// to, its turn is known from now on, and the next look finds it. The cron
    /// form ends before any turn would come.
    pub(super) fn turn_has_come(&self, pass: &Pass) -> bool {
        if pass.asked_for || self.tools.between_runs {
            return true;
        }
        let spread = self.site.policy.failback_spread;
        let turn = self.tools.guard.ask_turn(&self.site.name, spread);
        turn <= self.tools.clock.moment()
    }

    /// Tells the others what the site's decision means for them.
    pub(super) fn tell_others(&self, decision: &Decision) {
        let braked = decision.reason == Reason::Hold(HoldReason::Brake);
        self.tools.guard.hold(&self.site.name, braked);
        if !keeps_turn(decision) {
            self.tools.guard.forgo_turn(&self.site.name);
        }
    }
}

/// Whether the turn of a return stands after the decision: it waits for it, or
/// only said what it would do.
fn keeps_turn(decision: &Decision) -> bool {
    decision.reason == Reason::Hold(HoldReason::FailbackWait)
        || decision.result == Some(SwitchResult::DryRun)
}
