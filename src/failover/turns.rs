//! What a site has to do with others: the brake for those that leave MAIN
//! together, the waves of those that flee to one origin, and the turns of those
//! that return to one.

use super::confirm::Carried;
use super::guard::Full;
use super::legs::Evidence;
use super::pass::Pass;
use super::site::SiteLoop;
use crate::rule::address::Holding;
use crate::rule::brakes::{HoldReason, Together};
use crate::rule::decision::{Decision, OriginView, Reason, RecordView, Snapshot, SwitchResult};
use crate::rule::turns::{Turn, Wave};
use crate::rule::{Failback, Moment};
use std::sync::Arc;

/// A flight that was counted.
pub(super) struct Flight {
    /// Where it goes, as text.
    target: Arc<str>,
    /// When the site left MAIN before, if it leaves MAIN now.
    left: Option<Option<Moment>>,
}

impl SiteLoop {
    /// The brake across sites, where the site would leave MAIN.
    pub(super) fn together(&self, record: &RecordView) -> Option<Together> {
        let leaves = *record == RecordView::Origin(self.main());
        (leaves && !self.is_released())
            .then(|| self.tools.guard.together(&self.site.name))
            .flatten()
    }

    /// For each origin, the wave that keeps a flight from it.
    pub(super) fn waves(&self, origins: &[OriginView], evidence: Evidence) -> Vec<Option<Wave>> {
        let seen = match evidence {
            Evidence::Trial { .. } => self.trial_begun,
            Evidence::Routine => self.tools.clock.moment(),
        };
        let targets = origins.iter().map(|origin| &origin.at.address);
        let waves = self.tools.guard.waves(&self.site.name, targets, seen);
        if !waves.is_empty() && self.is_released() {
            return Vec::new();
        }
        waves
    }

    /// Counts a flight that is about to be sent; an error if the site has to
    /// wait after all.
    pub(super) fn take_off(&self, snapshot: &Snapshot, to: usize) -> Result<Flight, Full> {
        let (guard, site) = (&self.tools.guard, &self.site.name);
        let released = self.is_released();
        let target = snapshot.origins[to].at.address.clone();
        guard.board(site, &target, self.trial_begun, released)?;
        if snapshot.record != RecordView::Origin(self.main()) {
            let left = None;
            return Ok(Flight { target, left });
        }
        match guard.leave(site, released) {
            Ok(before) => Ok(Flight {
                target,
                left: Some(before),
            }),
            Err(full) => {
                guard.landed(site, &target, false);
                Err(full)
            }
        }
    }

    /// Notes what became of it. As long as that is not known, it counts.
    pub(super) fn arrive(&self, flight: Flight, carried: &Carried) {
        let (guard, site) = (&self.tools.guard, &self.site.name);
        let result = match carried {
            Carried::Over(decision, _) => decision.result,
            Carried::Moved => None,
        };
        match result {
            Some(SwitchResult::Unconfirmed) => {}
            Some(SwitchResult::Confirmed) => guard.landed(site, &flight.target, true),
            _ => {
                guard.landed(site, &flight.target, false);
                if let Some(before) = flight.left {
                    guard.stayed(site, before);
                }
            }
        }
    }

    /// A flight whose outcome was not known has its result now.
    pub(super) fn landed(&self, decision: &Decision, moved: bool) {
        if let Some(to) = &decision.to {
            let guard = &self.tools.guard;
            guard.landed(&self.site.name, &to.address, moved);
        }
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
        let waits = decision.reason == Reason::Hold(HoldReason::Wave);
        self.tools.guard.hold(&self.site.name, braked);
        self.tools.guard.wait(&self.site.name, waits);
        if !self.keeps_turn(decision) {
            self.tools.guard.forgo_turn(&self.site.name);
        }
    }

    /// Whether the turn of a return stands after the decision: it is waited for,
    /// or was only asked about. One that passed unused does not: all that did
    /// would go together.
    fn keeps_turn(&self, decision: &Decision) -> bool {
        match decision.reason {
            Reason::Hold(HoldReason::FailbackWait) => {
                self.tools.guard.turn(&self.site.name).is_some()
            }
            _ => decision.result == Some(SwitchResult::DryRun),
        }
    }
}
