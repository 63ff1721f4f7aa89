//! What stops a return, and must not be passed over.

use super::incident::Wish;
use super::judge::{Found, Judge};
use super::play::Held;
use super::shots::Believed;
use super::site::{Row, Site};
use super::sky::Sky;
use super::writes::{Case, Ground};
use crate::world::{ms, secs};
use originswitch::rule::decision::Reason;
use originswitch::rule::walk::SwitchKind;
use originswitch::rule::{Failback, Stance};
use std::time::Duration;

impl Judge<'_> {
    /// Law 7: what stops a return.
    pub fn not_held(&self, site: usize, case: &Case, ground: Option<&Ground>) -> Found {
        let ground = ground?;
        let truth = &self.sites[site];
        let flees = match &case.row {
            Some((_, decision)) => decision.reason == Reason::Switch(SwitchKind::Failover),
            None => ground.current_down,
        };
        if flees || case.may_be_pinned(truth) {
            return None;
        }
        if case.row.is_none() {
            let what = "a return without a row".into();
            return Some(("9: the intent is stored before the write", what));
        }
        let asked = truth.asked.iter().any(|asked| {
            asked.wish == Wish::Failback
                && asked.boot == truth.boot_number()
                && asked.replied.is_none_or(|replied| replied >= case.at)
        });
        if asked {
            return None;
        }
        self.manual(truth)
            .or_else(|| self.alarmed(truth, ground))
            .or_else(|| self.too_soon(truth, ground))
            .or_else(|| self.theirs(truth, case))
    }

    fn manual(&self, truth: &Site) -> Found {
        let manual = truth.plan.policy().failback == Failback::Manual;
        manual.then(|| ("7: failback_manual holds", "nobody asked".into()))
    }

    fn alarmed(&self, truth: &Site, ground: &Ground) -> Found {
        let fires = truth.alarms.must_fire(ground.decided, self.incident.ttl)?;
        Some(("7: alert_firing holds", format!("{fires:?} {ground:?}")))
    }

    /// MAIN has to have been well, and watched, for as long as the policy says.
    fn too_soon(&self, truth: &Site, ground: &Ground) -> Found {
        const LAW: &str = "7: failback_wait holds";
        let waits = truth.waits(ground.decided);
        let main = truth.orders.main()?;
        let down = truth.probers[main]
            .iter()
            .filter_map(|&prober| self.last_down(truth, (main, prober), ground.decided));
        let since = down
            .chain(self.unwatched(truth))
            .chain([truth.orders.last_end(ground.decided)])
            .filter(|&at| at <= ground.decided);
        let since = since.max().unwrap_or(Duration::ZERO);
        let watched = truth.uptime(since, ground.decided);
        // What the disk did not take is not known after a crash.
        let forgotten = truth.trouble.is_some() && truth.boots.len() > 1;
        if watched >= waits || forgotten {
            return None;
        }
        let what = format!("well and watched for {watched:?} of {waits:?}, since {since:?}");
        Some((LAW, what))
    }

    /// When a prober last found MAIN down, as far as its loop came to know it.
    fn last_down(
        &self,
        truth: &Site,
        (main, prober): (usize, usize),
        now: Duration,
    ) -> Option<Duration> {
        let shots = &self.shots[prober];
        if truth.prober(main) == Some(prober) && shots.believed == Believed::Down {
            return Some(now);
        }
        shots
            .last_down
            .filter(|_| shots.down_since.is_none_or(|since| truth.stored_by(since)))
    }

    /// Times up to which a loop did not look, and noticed.
    fn unwatched<'b>(&'b self, truth: &'b Site) -> impl Iterator<Item = Duration> + 'b {
        let set = self.offsets.windows(2).filter_map(|two| {
            let ((_, before), (at, offset)) = (two[0], two[1]);
            ((offset - before).abs() > 2_000).then_some(at)
        });
        let long = 3 * truth.plan.interval();
        let ran = |at: Duration| !truth.uptime(at.saturating_sub(ms(1)), at).is_zero();
        let stalls = self.stalls.iter().filter(move |stall| ran(stall.0));
        let stalls = stalls.filter_map(move |&(begin, end)| (end - begin > long).then_some(end));
        // A loop that ended before its next look did not notice.
        let a_look = truth.plan.interval() + secs(1);
        set.chain(stalls)
            .filter(move |&at| truth.uptime(at, at + a_look) == a_look)
    }

    /// What somebody else set is left alone.
    fn theirs(&self, truth: &Site, case: &Case) -> Found {
        if truth.plan.policy().foreign_edit == Stance::Reclaim || self.skies.contains(&Sky::Stale) {
            return None;
        }
        let (_, version) = truth.read?;
        let &(edited, _) = truth.edits.iter().find(|edit| edit.1 == version)?;
        let before = truth.outcome.versions[version - 1];
        let known = truth.knew(version - 1, edited);
        let sent = truth.writes.iter().map(|sent| (sent.to, sent.at));
        // An intent looks like a write after a crash.
        let meant = truth
            .rows
            .iter()
            .filter_map(|row| Some((truth.goal(row)?, row.stored)));
        let ours = sent
            .chain(meant)
            .any(|(to, at)| Held::At(to) == case.from && at + secs(120) > edited);
        let released = truth.asked.iter().any(|asked| {
            asked.wish == Wish::Release && asked.replied.is_none_or(|replied| replied >= edited)
        });
        let pinned = matches!(case.from, Held::At(at) if truth.orders.ever_pinned(at));
        let foreign =
            known && !ours && !pinned && !released && before != case.from && before != Held::Odd;
        let what = format!("somebody set {:?} at {edited:?}", case.from);
        foreign.then_some(("7: foreign holds", what))
    }
}

impl Site<'_> {
    /// What a return waits for, going by the policy and the record as it had
    /// been read by `at`.
    fn waits(&self, at: Duration) -> Duration {
        let read = self.reads.iter().rfind(|read| read.0 <= at);
        let needs = read.map(|&(_, version)| self.outcome.needs[version]);
        let needs = needs.unwrap_or_default();
        self.plan.policy().failback_after.max(needs)
    }

    /// Whether what was found then is stored: that takes a moment, and a crash
    /// may come first.
    pub fn stored_by(&self, found: Duration) -> bool {
        let mut ends = self.boots.iter().filter_map(|boot| boot.1);
        !ends.any(|end| end >= found && end - found < ms(300))
    }

    /// Where a row says that a switch was sent to.
    fn goal(&self, row: &Row) -> Option<usize> {
        let to = row.decision.to.as_ref().filter(|_| row.sent)?;
        let mut places = self.plan.places.iter();
        places.position(|place| place.to_string() == *to.address)
    }

    /// Whether a version was read, and stored as known, before `at`; and it was
    /// nobody else's.
    fn knew(&self, version: usize, at: Duration) -> bool {
        let theirs = self.edits.iter().any(|edit| edit.1 == version);
        let read = self
            .reads
            .iter()
            .any(|&(read, shown)| shown == version && read + secs(1) < at);
        !theirs && read && self.trouble.is_none()
    }
}
