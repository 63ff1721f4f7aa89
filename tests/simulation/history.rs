//! What is checked when a row of the history is written, and at the end.

use super::judge::{Found, Judge};
use super::play::Held;
use super::progress::bound;
use super::site::{Asked, Row, Site};
use super::sky::Sky;
use crate::world::{Entry, WriteFate};
use std::time::Duration;

const TRUE: &str = "9: the history tells what happened";

impl Judge<'_> {
    /// A row is written, or written again.
    pub fn stored(&mut self, entry: &Entry, at: Duration) -> Found {
        let Entry::Stored {
            site,
            row,
            decision,
            sent,
            applied,
        } = entry
        else {
            return None;
        };
        let truth = &mut self.sites[*site];
        let fresh = Row {
            stored: at,
            boot: truth.boot_number(),
            decision: decision.clone(),
            sent: *sent,
            applied: *applied,
            write: None,
        };
        // What became of an older decision does not change what it knew.
        let new = truth.rows.len() == *row;
        let found = match truth.rows.get_mut(*row) {
            Some(known) => {
                let write = known.write;
                let closed = known.applied.filter(|_| *applied != known.applied);
                if *applied == Some(false) {
                    // It counts no more.
                    truth.progress.stir(at);
                }
                *known = Row {
                    write,
                    stored: known.stored,
                    boot: known.boot,
                    ..fresh
                };
                closed.map(|was| (TRUE, format!("row {row} said {was}, and now {applied:?}")))
            }
            None => {
                truth.rows.push(fresh);
                None
            }
        };
        let dry = truth.plan.policy().dry_run && *sent;
        found
            .or_else(|| dry.then(|| ("7: a dry run writes nothing", format!("row {row}"))))
            .or_else(|| self.true_row(*site, *row))
            .or_else(|| {
                self.pin_is_known(*site, &self.sites[*site].rows[*row])
                    .filter(|_| new)
            })
    }

    /// What is said of a write is what happened to it, as far as one can know.
    fn true_row(&self, site: usize, row: usize) -> Found {
        let truth = &self.sites[site];
        let Row {
            decision,
            applied,
            write,
            sent: true,
            ..
        } = &truth.rows[row]
        else {
            return None;
        };
        // Other hands, old answers and late deeds hide what a write did.
        let hidden = !truth.edits.is_empty()
            || truth.trouble.is_some()
            || [Sky::Stale, Sky::Late, Sky::Slow, Sky::Patchy]
                .iter()
                .any(|sky| self.skies.contains(sky));
        let acted = write.is_some_and(|write| truth.writes[write].acted.is_some());
        let sent = write.map(|write| &truth.writes[write]);
        let what = || Some((TRUE, format!("{decision:?} of {sent:?}")));
        let right = match decision.result.map_or("", |result| result.as_str()) {
            "rejected" => {
                *applied == Some(false)
                    && sent.is_none_or(|sent| sent.answered == Some(WriteFate::Rejected))
            }
            "dry_run" => false,
            "unconfirmed" | "" => *applied != Some(true),
            _ => *applied == Some(true),
        };
        if !right || (!hidden && *applied == Some(true) && !acted && sent.is_some()) {
            return what();
        }
        if !hidden && *applied == Some(false) && acted {
            return what();
        }
        None
    }

    /// What must hold when all has been quiet for a while.
    pub fn at_the_end(&self, site: usize, end: Duration) -> Found {
        self.all_closed(site, end)
            .or_else(|| self.all_told(site))
            .or_else(|| self.unspoilt(site))
            .or_else(|| self.nothing_counted(site))
            .or_else(|| self.all_answered(site, end))
            .or_else(|| self.at_rest(site, end))
    }

    /// Whoever asked a loop that did not end was answered.
    fn all_answered(&self, site: usize, end: Duration) -> Found {
        let truth = &self.sites[site];
        let bound = bound(truth.plan) + Duration::from_secs(60);
        let waits = |asked: &&Asked| {
            asked.replied.is_none() && asked.boot == truth.boot_number() && asked.at + bound < end
        };
        let asked = truth.asked.iter().find(waits)?;
        Some(("who asks is answered", format!("{asked:?}")))
    }

    /// No row stays open, where the disk took everything.
    fn all_closed(&self, site: usize, end: Duration) -> Found {
        let truth = &self.sites[site];
        if truth.trouble.is_some() {
            return None;
        }
        // It is given up at the first read a minute after.
        let bound = Duration::from_secs(90) + truth.plan.interval();
        let open = truth
            .rows
            .iter()
            .find(|row| row.sent && row.applied.is_none() && row.stored + bound < end)?;
        Some((TRUE, format!("its row stays open: {:?}", open.decision)))
    }

    /// Every write that was carried out has its row that says so.
    fn all_told(&self, site: usize) -> Found {
        let truth = &self.sites[site];
        let hidden = !truth.edits.is_empty()
            || truth.trouble.is_some()
            || [Sky::Stale, Sky::Late, Sky::Slow, Sky::Patchy]
                .iter()
                .any(|sky| self.skies.contains(sky));
        let acted = truth
            .writes
            .iter()
            .filter(|sent| sent.acted.is_some())
            .count();
        let told = truth
            .rows
            .iter()
            .filter(|row| row.applied == Some(true))
            .count();
        let what = format!("{acted} switches were carried out, {told} are told");
        (!hidden && acted != told).then_some((TRUE, what))
    }

    fn unspoilt(&self, site: usize) -> Found {
        let spoilt = self.sites[site].outcome.spoilt.clone()?;
        Some(("8: everything but content is as before", spoilt))
    }

    fn nothing_counted(&self, site: usize) -> Found {
        let truth = &self.sites[site];
        let counted = truth.outcome.counted;
        let dry = truth.plan.policy().dry_run && counted > 0.0;
        dry.then(|| {
            (
                "7: a dry run counts no switch",
                format!("{counted} are counted"),
            )
        })
    }

    /// A quiet world comes to rest on MAIN, or on what is up where MAIN is not;
    /// unless the policy leaves that to a person.
    fn at_rest(&self, site: usize, end: Duration) -> Found {
        const LAW: &str = "a quiet world comes to rest on MAIN";
        let truth = &self.sites[site];
        let (healed, dead) = self.healed.as_ref()?;
        let dead = dead[site];
        let Held::At(held) = truth.held else {
            return Some((LAW, "the records are odd".into()));
        };
        if truth.plan.policy().dry_run || held == 0 && dead != Some(0) {
            return None;
        }
        let lives = Some(held) != dead;
        if lives && (dead == Some(0) || self.left_to_people(site, truth, held)) {
            return None;
        }
        if !lives && self.may_stay_dead(site, held) {
            return None;
        }
        let quiet = end - *healed;
        Some((
            LAW,
            format!("after {quiet:?} of quiet on {held}, with {dead:?} dead"),
        ))
    }

    /// Whether a site that is well may stay where it is until somebody acts.
    fn left_to_people(&self, site: usize, truth: &Site, held: usize) -> bool {
        use originswitch::rule::{Failback, Stance};
        let policy = truth.plan.policy();
        let other = held == truth.plan.places.len();
        // What the disk did not take looks like somebody else's after a crash.
        let forgotten = truth.trouble.is_some() && truth.boots.len() > 1;
        let edited = !truth.edits.is_empty() || forgotten || !self.skies.is_empty();
        let foreign = policy.foreign_edit == Stance::Hold && edited && !self.settled[site];
        foreign
            || policy.failback == Failback::Manual
            || policy.max_switches < 2
            || (other && policy.unknown_origin == Stance::Hold)
    }

    /// Whether a dead origin may be kept: it was never seen up, or nobody may
    /// leave what is not configured.
    fn may_stay_dead(&self, site: usize, held: usize) -> bool {
        use originswitch::rule::Stance;
        let truth = &self.sites[site];
        let policy = truth.plan.policy();
        let other = held == truth.plan.places.len();
        let seen = truth.probers[held]
            .iter()
            .map(|&prober| &self.shots[prober])
            .any(|shots| shots.ever_up && truth.stored_by(shots.last_up));
        // A proof that the disk did not take is lost with the process.
        let lost = truth.trouble.is_some() && truth.boots.len() > 1;
        (other && policy.unknown_origin == Stance::Hold)
            || (!other && policy.require_proof && (!seen || lost))
    }
}
