//! What one site and its origins count.

use super::{Metrics, seconds};
use crate::prober::Witness;
use crate::rule::address::Role;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Reason, SwitchResult};
use crate::rule::finding::{Observation, Verdict};
use crate::rule::health::{State, Transition};
use crate::rule::walk::{KeepReason, SwitchKind};
use jiff::Timestamp;
use prometheus::{Histogram, IntCounter};
use std::sync::Arc;
use std::time::Duration;

/// The metrics of one site.
pub struct SiteMetrics {
    all: Arc<Metrics>,
    name: Arc<str>,
    roles: Vec<Role>,
}

impl SiteMetrics {
    pub(super) fn new(all: Arc<Metrics>, name: Arc<str>, origins: usize) -> Arc<SiteMetrics> {
        let roles = (0..origins).map(Role::of_index).collect();
        let site = SiteMetrics { all, name, roles };
        site.start();
        Arc::new(site)
    }

    fn start(&self) {
        let roles: Vec<String> = self.roles.iter().map(ToString::to_string).collect();
        for role in &roles {
            for verdict in [Verdict::Up, Verdict::Down] {
                self.all
                    .per_site
                    .probes
                    .with_label_values(&[&*self.name, role, verdict.as_str()]);
            }
        }
        for backup in roles.iter().skip(1) {
            for (from, to) in [("main", backup.as_str()), (backup.as_str(), "main")] {
                self.all
                    .per_site
                    .switches
                    .with_label_values(&[&*self.name, from, to, "confirmed"]);
            }
        }
        for reason in [
            Reason::Keep(KeepReason::OnMain),
            Reason::Switch(SwitchKind::Failover),
            Reason::Switch(SwitchKind::Failback),
        ] {
            self.all.per_site.decisions.with_label_values(&[
                &*self.name,
                reason.action().as_str(),
                reason.as_str(),
            ]);
        }
    }

    /// A pass of the rule ended.
    pub fn pass(&self, decision: &Decision) {
        self.all
            .per_site
            .decisions
            .with_label_values(&[
                &*self.name,
                decision.action().as_str(),
                decision.reason.as_str(),
            ])
            .inc();
    }

    /// A switch has its result.
    pub fn switched(&self, decision: &Decision) {
        let role = |pointer: &Option<crate::rule::decision::Pointer>| {
            pointer
                .as_ref()
                .map_or_else(|| "other".to_owned(), |at| at.role.to_string())
        };
        let Some(result) = decision.result else {
            return;
        };
        self.all
            .per_site
            .switches
            .with_label_values(&[
                &*self.name,
                role(&decision.record).as_str(),
                role(&decision.to).as_str(),
                result.as_str(),
            ])
            .inc();
        if let Some(took) = decision.duration {
            self.all.process.switch_duration.observe(took.as_secs_f64());
        }
    }

    /// When the site was last switched.
    pub fn last_switch(&self, at: Timestamp) {
        self.all
            .per_site
            .last_switch
            .with_label_values(&[&*self.name])
            .set(seconds(at));
    }

    /// The hold changed.
    pub fn hold(&self, before: Option<HoldReason>, now: Option<HoldReason>) {
        if let Some(reason) = before {
            // It may never have been set; then there is nothing to remove.
            let _ = self
                .all
                .per_site
                .hold
                .remove_label_values(&[&*self.name, reason.as_str()]);
        }
        if let Some(reason) = now {
            self.all
                .per_site
                .hold
                .with_label_values(&[&*self.name, reason.as_str()])
                .set(1);
        }
    }

    /// What the record holds; `None` where that is not one origin.
    pub fn record(&self, holds: Option<Role>) {
        for role in self.roles.iter().copied().chain([Role::Other]) {
            self.all
                .per_site
                .record_origin
                .with_label_values(&[&*self.name, role.to_string().as_str()])
                .set(i64::from(holds == Some(role)));
        }
    }

    /// What is believed of an origin.
    pub fn origin(&self, role: Role, state: State) {
        let role = role.to_string();
        let labels = [&*self.name, role.as_str()];
        match state {
            State::Up => self
                .all
                .per_site
                .origin_up
                .with_label_values(&labels)
                .set(1),
            State::Down => self
                .all
                .per_site
                .origin_up
                .with_label_values(&labels)
                .set(0),
            State::Unknown => {
                let _ = self.all.per_site.origin_up.remove_label_values(&labels);
            }
        }
    }

    /// The record no longer holds an address that is not configured.
    pub fn forget_other(&self) {
        let _ = self
            .all
            .per_site
            .origin_up
            .remove_label_values(&[&*self.name, "other"]);
    }

    /// Whether an alert fires while the probes find the origin up.
    pub fn alert_unconfirmed(&self, so: bool) {
        if so {
            self.all
                .per_site
                .alert_unconfirmed
                .with_label_values(&[&*self.name])
                .set(1);
        } else {
            let _ = self
                .all
                .per_site
                .alert_unconfirmed
                .remove_label_values(&[&*self.name]);
        }
    }

    /// The pin moved from one origin to another, or began, or ended.
    pub fn pinned(&self, before: Option<Role>, now: Option<Role>) {
        let family = &self.all.per_site.pinned;
        if let Some(role) = before {
            let _ = family.remove_label_values(&[&*self.name, role.to_string().as_str()]);
        }
        if let Some(role) = now {
            let labels = [&*self.name, &role.to_string()];
            family.with_label_values(&labels).set(1);
        }
    }

    /// Whether the site is frozen.
    pub fn frozen(&self, so: bool) {
        let family = &self.all.per_site.frozen;
        if so {
            family.with_label_values(&[&*self.name]).set(1);
        } else {
            let _ = family.remove_label_values(&[&*self.name]);
        }
    }

    /// Whether the site is served through the edge, if that can be told.
    pub fn edge_up(&self, served: Option<bool>) {
        let family = &self.all.per_site.edge_up;
        match served {
            Some(so) => family.with_label_values(&[&*self.name]).set(i64::from(so)),
            None => drop(family.remove_label_values(&[&*self.name])),
        }
    }

    /// Whether the origin is up and the edge fails.
    pub fn edge_down(&self, so: bool) {
        let family = &self.all.per_site.edge_down;
        if so {
            family.with_label_values(&[&*self.name]).set(1);
        } else {
            let _ = family.remove_label_values(&[&*self.name]);
        }
    }

    /// The site is served through the edge again, so long after the trigger.
    pub fn recovered(&self, took: Duration) {
        self.all.process.recovery.observe(took.as_secs_f64());
    }

    /// Somebody else changed the record.
    pub fn foreign_edit(&self) {
        let family = &self.all.per_site.foreign_edits;
        family.with_label_values(&[&*self.name]).inc();
    }

    /// Who counts and logs the probes of one origin.
    #[must_use]
    pub fn witness(self: &Arc<Self>, role: Role) -> Arc<dyn Witness> {
        Arc::new(OriginMetrics::new(self.clone(), role))
    }

    /// Removes the series of a site that is configured no more.
    pub fn remove(&self) {
        let name = &*self.name;
        let roles: Vec<String> = self
            .roles
            .iter()
            .copied()
            .chain([Role::Other])
            .map(|role| role.to_string())
            .collect();
        self.alert_unconfirmed(false);
        for role in &self.roles {
            self.pinned(Some(*role), None);
        }
        self.frozen(false);
        self.edge_up(None);
        self.edge_down(false);
        let _ = self.all.per_site.foreign_edits.remove_label_values(&[name]);
        let _ = self.all.per_site.last_switch.remove_label_values(&[name]);
        for role in &roles {
            let _ = self
                .all
                .per_site
                .origin_up
                .remove_label_values(&[name, role]);
            let _ = self
                .all
                .per_site
                .record_origin
                .remove_label_values(&[name, role]);
            for result in ["up", "down", "unknown"] {
                let _ = self
                    .all
                    .per_site
                    .probes
                    .remove_label_values(&[name, role, result]);
            }
            for to in &roles {
                for result in SwitchResult::ALL.map(SwitchResult::as_str) {
                    let _ = self
                        .all
                        .per_site
                        .switches
                        .remove_label_values(&[name, role, to, result]);
                }
            }
        }
        for reason in Reason::ALL {
            let labels = [name, reason.action().as_str(), reason.as_str()];
            let _ = self.all.per_site.decisions.remove_label_values(&labels);
            let _ = self
                .all
                .per_site
                .hold
                .remove_label_values(&[name, reason.as_str()]);
        }
    }
}

/// The counters of one origin, looked up once.
struct OriginMetrics {
    site: Arc<SiteMetrics>,
    role: Role,
    up: IntCounter,
    down: IntCounter,
    phases: [Histogram; 5],
}

impl OriginMetrics {
    fn new(site: Arc<SiteMetrics>, role: Role) -> OriginMetrics {
        let counter = |verdict: Verdict| {
            let role = role.to_string();
            site.all.per_site.probes.with_label_values(&[
                &*site.name,
                role.as_str(),
                verdict.as_str(),
            ])
        };
        let phases =
            super::PHASES.map(|phase| site.all.per_site.probe_duration.with_label_values(&[phase]));
        OriginMetrics {
            up: counter(Verdict::Up),
            down: counter(Verdict::Down),
            phases,
            role,
            site,
        }
    }
}

impl Witness for OriginMetrics {
    fn observed(&self, seen: &Observation) {
        match seen.finding.verdict() {
            Verdict::Up => self.up.inc(),
            Verdict::Down => self.down.inc(),
            Verdict::Unknown => {
                let role = self.role.to_string();
                self.site
                    .all
                    .per_site
                    .probes
                    .with_label_values(&[&*self.site.name, role.as_str(), "unknown"])
                    .inc();
            }
        }
        let phases = &seen.phases;
        let total = Some(seen.finished.since(seen.started));
        let taken = [
            phases.resolve,
            phases.connect,
            phases.tls,
            phases.response,
            total,
        ];
        for (histogram, took) in self.phases.iter().zip(taken) {
            if let Some(took) = took {
                histogram.observe(took.as_secs_f64());
            }
        }
    }

    fn changed(&self, transition: Transition, seen: &Observation) {
        let site = &self.site.name;
        let origin = self.role;
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        if transition.to == State::Down {
            tracing::warn!(%site, %origin, from, to, "{site}: {origin} is {to}: {}", seen.finding);
        } else {
            tracing::info!(%site, %origin, from, to, "{site}: {origin} is {to}: {}", seen.finding);
        }
    }
}
