//! The quiet after an incident, and what came of it.

use super::incident::Event;
use super::plans::{Plan, TTL_MOST};
use super::play::{Held, Outcome, Played, Stage, World, held};
use crate::world::secs;
use originswitch::failover::Record;
use std::time::Duration;

/// The quiet after an incident.
impl World<'_> {
    /// Lets time pass until nothing has been written for a while and every
    /// record is where it belongs, or until all there was to wait for is over.
    pub async fn rest(&mut self) {
        let healed = self.journal.now();
        let mut seen = self.versions();
        let mut since = healed;
        let last = self
            .incident
            .plans
            .iter()
            .map(|plan| quiet(plan, self.incident.ttl))
            .max();
        let until = healed + last.unwrap_or_default();
        while self.journal.now() < until {
            let now = self.journal.now();
            self.until(now + secs(5)).await;
            let versions = self.versions();
            if versions != seen || !self.at_home() || self.reboot.is_some() {
                seen = versions;
                since = self.journal.now();
            } else if self.journal.now() >= since + self.incident.watch {
                return;
            }
        }
    }

    fn versions(&self) -> Vec<usize> {
        let stages = self.stages.iter();
        stages.map(|stage| stage.rig.dns.newest()).collect()
    }

    /// Whether every record is on MAIN, or where MAIN is dead on what is not.
    fn at_home(&self) -> bool {
        let heal = self
            .incident
            .events
            .iter()
            .find_map(|told| match &told.event {
                Event::Heal(dead) => Some(dead),
                _ => None,
            });
        let dead = heal.expect("an incident ends with its healing");
        self.stages.iter().enumerate().all(|(site, stage)| {
            let held = held(&self.incident.plans[site], &stage.rig.dns.records());
            match (held, dead[site]) {
                (Held::At(at), Some(0)) => at != 0,
                (held, _) => held == Held::At(0),
            }
        })
    }

    pub async fn end(mut self) -> Played {
        let end = self.journal.now();
        let mut sites = Vec::new();
        for (stage, plan) in self.stages.iter_mut().zip(&self.incident.plans) {
            stage.rig.crash().await;
            sites.push(stage.outcome(plan));
        }
        Played {
            journal: self.journal.take(),
            sites,
            end,
        }
    }
}

impl Stage {
    /// How a record differs from what people made it, but for its content.
    fn spoilt(&self, mut record: Record) -> Option<String> {
        let made = self.made.iter().find(|made| made.id == record.id)?;
        record.content.clone_from(&made.content);
        record.modified_on = made.modified_on;
        (record != *made).then(|| format!("{record:?} where people made {made:?}"))
    }

    fn outcome(&self, plan: &Plan) -> Outcome {
        let newest = self.rig.dns.newest();
        let versions = (0..=newest).map(|version| held(plan, &self.rig.dns.version(version).1));
        let mut records = self.rig.dns.records().into_iter();
        Outcome {
            writes: self.rig.writes(),
            versions: versions.collect(),
            needs: (0..=newest)
                .map(|version| needs(&self.rig.dns.version(version).1))
                .collect(),
            spoilt: records.find_map(|record| self.spoilt(record)),
            counted: 0.0,
        }
    }
}

/// Twice the time to live of records that visitors' resolvers keep.
fn needs(records: &[Record]) -> Duration {
    let plain = records.iter().filter(|record| !record.proxied);
    let longest = plain.map(|record| record.ttl).max();
    2 * secs(u64::from(longest.unwrap_or(0)))
}

/// How long it may take after the healing until a record is where it belongs:
/// everything that may be waited for, one after the other.
fn quiet(plan: &Plan, ttl: Duration) -> Duration {
    let refused = secs(300);
    let given_up = secs(60);
    let looks = 3 * (plan.interval() + plan.patience()) + secs(60);
    let resolvers = 2 * secs(u64::from(TTL_MOST));
    let waits = plan.policy().failback_after.max(resolvers);
    ttl + waits + plan.policy().switch_window + refused + given_up + looks
}
