//! The laws of progress: a dead origin with a healthy other is left in time.

use super::judge::{Found, Judge};
use super::plans::Plan;
use super::play::Held;
use super::site::{Row, Sent, Site};
use super::sky::Sky;
use crate::world::{Cut, Mood, secs};
use originswitch::rule::Stance;
use std::time::Duration;

/// What there is to know of a site's progress.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// When something last happened that makes a decision start anew.
    stirred: Duration,
    /// When Cloudflare last refused a write.
    refused: Option<Duration>,
    /// The longest that a dead origin was kept, as a part of its bound.
    pub longest: f64,
}

impl Progress {
    pub fn stir(&mut self, at: Duration) {
        self.stirred = self.stirred.max(at);
    }

    pub fn refused(&mut self, at: Duration) {
        self.refused = Some(at);
    }
}

/// How long a dead origin may be kept where every origin is either well or
/// dead: until a routine probe fails, and then for a confirmation.
fn plain_bound(plan: &Plan) -> Duration {
    let policy = plan.policy();
    let probes = policy.fall.max(policy.rise);
    let confirmation = policy.confirm_for.max(policy.confirm_interval * probes);
    plan.interval() + confirmation + policy.confirm_interval + 2 * plan.timeout() + CALLS
}

/// The same where others may keep the confirmation waiting for their answers.
pub fn bound(plan: &Plan) -> Duration {
    plan.interval() + plan.patience() + plan.timeout() + CALLS
}

/// What Cloudflare and the disk may take, where they have no trouble.
const CALLS: Duration = Duration::from_secs(3);

impl Judge<'_> {
    /// Time has passed: is a dead origin kept for too long?
    pub fn advance(&mut self, site: usize, at: Duration) -> Found {
        if self.sites[site].orders.may_freeze() {
            self.sites[site].progress.stir(at);
        }
        let since = self.stuck_since(site)?;
        let truth = &mut self.sites[site];
        let plain = (0..truth.moods.len()).all(|address| {
            truth
                .dead_since(address)
                .or(truth.well_since(address))
                .is_some_and(|steady| steady <= since)
        });
        let bound = if plain {
            plain_bound(truth.plan)
        } else {
            bound(truth.plan)
        };
        let kept = at.saturating_sub(since);
        let part = kept.as_secs_f64() / bound.as_secs_f64();
        truth.progress.longest = truth.progress.longest.max(part);
        let what = format!("kept for {kept:?} since {since:?}, at most {bound:?}");
        (kept > bound).then_some(("a dead origin with a healthy other is left", what))
    }

    /// Since when nothing stands against leaving a dead origin.
    fn stuck_since(&self, site: usize) -> Option<Duration> {
        let truth = &self.sites[site];
        let Held::At(held) = truth.held else {
            return None;
        };
        let dead = truth.dead_since(held)?;
        let others = (0..truth.plan.places.len()).filter(|&other| other != held);
        let well = others.filter_map(|other| truth.well_since(other)).min()?;
        let runs = truth.runs_since()?;
        if self.sky != Sky::Clear || self.forbidden(site, held) {
            return None;
        }
        // A call that began under another sky may take its whole time.
        let calls = if self.sky_since > Duration::ZERO {
            self.sky_since + secs(30)
        } else {
            Duration::ZERO
        };
        let refused = truth.progress.refused.map(|at| at + secs(300));
        let disturbed = self.disturbed();
        let times = [dead, well, runs, calls, disturbed, truth.progress.stirred];
        let hidden = truth.hidden_edit();
        times.into_iter().chain(refused).chain(hidden).max()
    }

    /// When the clock was last set, or nothing ran.
    fn disturbed(&self) -> Duration {
        let set = self.offsets.last().map_or(Duration::ZERO, |set| set.0);
        let stalled = self.stalls.last().map_or(Duration::ZERO, |stall| stall.1);
        set.max(stalled)
    }

    /// Whether something rightly stops the flight, now or soon.
    fn forbidden(&self, site: usize, held: usize) -> bool {
        let truth = &self.sites[site];
        let policy = truth.plan.policy();
        let other = held == truth.plan.places.len();
        let proven = || {
            truth
                .prober(held)
                .is_some_and(|prober| self.shots[prober].ever_up)
        };
        // An intent whose write a crash forestalled counts until it is given up.
        let meant = |row: &&Row| row.sent && row.applied != Some(false);
        let spent = truth.rows.iter().filter(meant).count();
        let spent = spent.max(truth.writes.len());
        policy.dry_run
            || (other && policy.unknown_origin == Stance::Hold)
            || (!other && policy.require_proof && !proven())
            || spent >= usize::try_from(policy.max_switches).unwrap()
    }
}

impl Site<'_> {
    /// Until when an edit in the very moment of our own write may look like an
    /// old answer.
    fn hidden_edit(&self) -> Option<Duration> {
        let &(edited, _) = self.edits.last()?;
        let beside = |sent: &Sent| edited.abs_diff(sent.acted.unwrap_or(sent.at)) < secs(2);
        let hidden = self.writes.iter().any(beside);
        hidden.then_some(edited + secs(15))
    }

    /// Since when every probe of an address fails.
    fn dead_since(&self, address: usize) -> Option<Duration> {
        let (since, mood) = &self.moods[address];
        let limit = self.plan.timeout();
        let dead = match (self.cuts[address], mood) {
            (Some(Cut::Silent), _) => true,
            (Some(Cut::NoRoute), _) => false,
            (None, Mood::Refusing | Mood::Swallowing | Mood::Hanging) => true,
            (None, Mood::Slow(after)) => *after > limit,
            _ => false,
        };
        dead.then_some(*since)
    }

    /// Since when every probe of it succeeds.
    fn well_since(&self, address: usize) -> Option<Duration> {
        let (since, mood) = &self.moods[address];
        let limit = self.plan.timeout();
        let well = match mood {
            Mood::Up => true,
            Mood::Slow(after) => *after < limit,
            _ => false,
        };
        (well && self.cuts[address].is_none()).then_some(*since)
    }
}
