//! Everything exported, as one documented struct. Help texts are written once,
//! here; label values come from the configuration and from enums, never from
//! alert bodies, and no origin address appears.

use crate::prober::Witness;
use crate::rule::address::Role;
use crate::rule::alerts::AlertStatus;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Reason};
use crate::rule::finding::{Observation, Verdict};
use crate::rule::health::{State, Transition};
use crate::rule::walk::{KeepReason, SwitchKind};
use jiff::Timestamp;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::debug;

const PROBE_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];
const SWITCH_BUCKETS: &[f64] = &[
    0.5, 1.0, 2.0, 2.5, 3.0, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 30.0, 60.0,
];
const CALL_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// A gauge that is absent until its value is known needs to be registered then.
    late: Mutex<Late>,
    reload_ok: IntGauge,
    reload_at: Gauge,
    webhook_requests: IntCounterVec,
    alerts_received: IntCounterVec,
    alerts_unmatched: IntCounter,
    alert_unconfirmed: IntGaugeVec,
    probes: IntCounterVec,
    probe_duration: HistogramVec,
    origin_up: IntGaugeVec,
    record_origin: IntGaugeVec,
    decisions: IntCounterVec,
    switches: IntCounterVec,
    hold: IntGaugeVec,
    last_switch: GaugeVec,
    switch_duration: Histogram,
    cloudflare_requests: IntCounterVec,
    cloudflare_duration: HistogramVec,
    state_up: IntGauge,
}

#[derive(Default)]
struct Late {
    alert_last_received: Option<Gauge>,
    cloudflare_up: Option<IntGauge>,
    ratelimit_remaining: Option<IntGauge>,
}

/// Registers a collector; names are constants, so a clash is found by any test.
fn add<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("metric names and labels are valid constants");
    registry
        .register(Box::new(collector.clone()))
        .expect("each metric is registered once");
    collector
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(format!("originswitch_{name}"), help)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(named(name, help)).buckets(buckets.to_vec())
}

impl Metrics {
    /// All metrics, at zero where zero is known.
    #[must_use]
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let r = &registry;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            add(r, IntCounterVec::new(named(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            add(r, IntGaugeVec::new(named(name, help), labels))
        };
        let metrics = Metrics {
            late: Mutex::default(),
            reload_ok: add(
                r,
                IntGauge::with_opts(named(
                    "config_last_reload_successful",
                    "Whether the configuration was read without a fault the last time.",
                )),
            ),
            reload_at: add(
                r,
                Gauge::with_opts(named(
                    "config_last_reload_success_timestamp_seconds",
                    "When the configuration was last read without a fault.",
                )),
            ),
            webhook_requests: counters(
                "webhook_requests_total",
                "Webhook requests by the HTTP status of the answer.",
                &["code"],
            ),
            alerts_received: counters(
                "alerts_received_total",
                "Alerts received, by their own status.",
                &["status"],
            ),
            alerts_unmatched: add(
                r,
                IntCounter::with_opts(named(
                    "alerts_unmatched_total",
                    "Alerts that belong to no site.",
                )),
            ),
            alert_unconfirmed: gauges(
                "alert_unconfirmed",
                "1 while an alert of the site fires and the probes find its origin up; absent otherwise.",
                &["site"],
            ),
            probes: counters(
                "probes_total",
                "Probes by what they found.",
                &["site", "origin", "result"],
            ),
            probe_duration: add(
                r,
                HistogramVec::new(
                    histogram(
                        "probe_duration_seconds",
                        "What a probe and its phases took.",
                        PROBE_BUCKETS,
                    ),
                    &["phase"],
                ),
            ),
            origin_up: gauges(
                "origin_up",
                "Whether the origin is up; absent while that is unknown.",
                &["site", "origin"],
            ),
            record_origin: gauges(
                "record_origin",
                "1 for the origin that the record holds, 0 for the rest.",
                &["site", "origin"],
            ),
            decisions: counters(
                "decisions_total",
                "Passes of the rule by what they came to.",
                &["site", "action", "reason"],
            ),
            switches: counters(
                "switches_total",
                "Switches of a record by what became of them.",
                &["site", "from", "to", "result"],
            ),
            hold: gauges(
                "hold",
                "1 while the site is held for this reason; absent otherwise.",
                &["site", "reason"],
            ),
            last_switch: add(
                r,
                GaugeVec::new(
                    named(
                        "last_switch_timestamp_seconds",
                        "When the site was last switched; absent before the first switch.",
                    ),
                    &["site"],
                ),
            ),
            switch_duration: add(
                r,
                Histogram::with_opts(histogram(
                    "switch_duration_seconds",
                    "From what triggered a switch to Cloudflare's confirmation.",
                    SWITCH_BUCKETS,
                )),
            ),
            cloudflare_requests: counters(
                "cloudflare_requests_total",
                "Calls of Cloudflare's API by HTTP status, or error.",
                &["operation", "code"],
            ),
            cloudflare_duration: add(
                r,
                HistogramVec::new(
                    histogram(
                        "cloudflare_request_duration_seconds",
                        "What a call of Cloudflare's API took.",
                        CALL_BUCKETS,
                    ),
                    &["operation"],
                ),
            ),
            state_up: add(
                r,
                IntGauge::with_opts(named("state_up", "Whether the state file takes writes.")),
            ),
            registry,
        };
        metrics.start();
        Arc::new(metrics)
    }

    /// Series that alerts and dashboards count from zero.
    fn start(&self) {
        let build = add(
            &self.registry,
            IntGaugeVec::new(
                named("build_info", "The version and revision of the program."),
                &["version", "revision"],
            ),
        );
        let revision = option_env!("ORIGINSWITCH_REVISION").unwrap_or("unknown");
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), revision])
            .set(1);
        for status in [AlertStatus::Firing, AlertStatus::Resolved] {
            self.alerts_received.with_label_values(&[status.as_str()]);
        }
        for phase in ["resolve", "connect", "tls", "response", "total"] {
            self.probe_duration.with_label_values(&[phase]);
        }
        self.webhook_requests.with_label_values(&["200"]);
        self.state_up.set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry
            .register(Box::new(process))
            .expect("process metrics are registered once");
    }

    /// The metrics in text format 0.0.4.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            debug!("metrics could not be written: {error}");
        }
        text
    }

    /// The configuration was read at `now`, without a fault or not.
    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        self.reload_ok.set(i64::from(ok));
        if ok {
            self.reload_at.set(seconds(now));
        }
    }

    /// A webhook request was answered.
    pub fn webhook(&self, code: u16) {
        self.webhook_requests
            .with_label_values(&[code.to_string().as_str()])
            .inc();
    }

    /// A webhook came at `now`, with so many alerts of each status, and so many
    /// that belong to no site or cannot be read.
    pub fn alerts(&self, firing: usize, resolved: usize, unmatched: usize, now: Timestamp) {
        for (status, alerts) in [
            (AlertStatus::Firing, firing),
            (AlertStatus::Resolved, resolved),
        ] {
            self.alerts_received
                .with_label_values(&[status.as_str()])
                .inc_by(alerts as u64);
        }
        self.alerts_unmatched.inc_by(unmatched as u64);
        if firing + resolved == 0 {
            return;
        }
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.alert_last_received
            .get_or_insert_with(|| {
                let help = "When the last alert came.";
                let opts = named("alert_last_received_timestamp_seconds", help);
                add(&self.registry, Gauge::with_opts(opts))
            })
            .set(seconds(now));
    }

    /// A call of Cloudflare's API ended with this HTTP status, or without one.
    pub fn cloudflare(&self, operation: &str, status: Option<u16>, took: Duration) {
        let code = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        self.cloudflare_requests
            .with_label_values(&[operation, &code])
            .inc();
        self.cloudflare_duration
            .with_label_values(&[operation])
            .observe(took.as_secs_f64());
    }

    /// Whether the last call got an answer that one can work with.
    pub fn cloudflare_up(&self, up: bool) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.cloudflare_up
            .get_or_insert_with(|| {
                let help = "Whether the last call got an answer that was not 5xx, 429 or an authentication error.";
                add(&self.registry, IntGauge::with_opts(named("cloudflare_up", help)))
            })
            .set(i64::from(up));
    }

    /// What Cloudflare says is left of the budget.
    pub fn ratelimit_remaining(&self, calls: u64) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.ratelimit_remaining
            .get_or_insert_with(|| {
                let help = "Calls left in Cloudflare's window, as its answers say.";
                add(
                    &self.registry,
                    IntGauge::with_opts(named("cloudflare_ratelimit_remaining", help)),
                )
            })
            .set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// Whether the state file takes writes.
    pub fn state_up(&self, up: bool) {
        self.state_up.set(i64::from(up));
    }

    /// The metrics of one site with this many origins; its series start at zero.
    #[must_use]
    pub fn site(self: &Arc<Self>, name: &Arc<str>, origins: usize) -> Arc<SiteMetrics> {
        let site = SiteMetrics {
            all: self.clone(),
            name: name.clone(),
            roles: (0..origins).map(Role::of_index).collect(),
        };
        site.start();
        Arc::new(site)
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// The metrics of one site.
pub struct SiteMetrics {
    all: Arc<Metrics>,
    name: Arc<str>,
    roles: Vec<Role>,
}

impl SiteMetrics {
    fn start(&self) {
        let roles: Vec<String> = self.roles.iter().map(ToString::to_string).collect();
        for role in &roles {
            for verdict in [Verdict::Up, Verdict::Down] {
                self.all
                    .probes
                    .with_label_values(&[&*self.name, role, verdict.as_str()]);
            }
        }
        for backup in roles.iter().skip(1) {
            for (from, to) in [("main", backup.as_str()), (backup.as_str(), "main")] {
                self.all
                    .switches
                    .with_label_values(&[&*self.name, from, to, "confirmed"]);
            }
        }
        for reason in [
            Reason::Keep(KeepReason::OnMain),
            Reason::Switch(SwitchKind::Failover),
            Reason::Switch(SwitchKind::Failback),
        ] {
            self.all.decisions.with_label_values(&[
                &*self.name,
                reason.action().as_str(),
                reason.as_str(),
            ]);
        }
    }

    /// A pass of the rule ended.
    pub fn pass(&self, decision: &Decision) {
        self.all
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
            .switches
            .with_label_values(&[
                &*self.name,
                role(&decision.record).as_str(),
                role(&decision.to).as_str(),
                result.as_str(),
            ])
            .inc();
        if let Some(took) = decision.duration {
            self.all.switch_duration.observe(took.as_secs_f64());
        }
    }

    /// When the site was last switched.
    pub fn last_switch(&self, at: Timestamp) {
        self.all
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
                .hold
                .remove_label_values(&[&*self.name, reason.as_str()]);
        }
        if let Some(reason) = now {
            self.all
                .hold
                .with_label_values(&[&*self.name, reason.as_str()])
                .set(1);
        }
    }

    /// What the record holds; `None` where that is not one origin.
    pub fn record(&self, holds: Option<Role>) {
        for role in self.roles.iter().copied().chain([Role::Other]) {
            self.all
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
            State::Up => self.all.origin_up.with_label_values(&labels).set(1),
            State::Down => self.all.origin_up.with_label_values(&labels).set(0),
            State::Unknown => {
                let _ = self.all.origin_up.remove_label_values(&labels);
            }
        }
    }

    /// The record no longer holds an address that is not configured.
    pub fn forget_other(&self) {
        let _ = self
            .all
            .origin_up
            .remove_label_values(&[&*self.name, "other"]);
    }

    /// Whether an alert fires while the probes find the origin up.
    pub fn alert_unconfirmed(&self, so: bool) {
        if so {
            self.all
                .alert_unconfirmed
                .with_label_values(&[&*self.name])
                .set(1);
        } else {
            let _ = self
                .all
                .alert_unconfirmed
                .remove_label_values(&[&*self.name]);
        }
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
        let _ = self.all.last_switch.remove_label_values(&[name]);
        for role in &roles {
            let _ = self.all.origin_up.remove_label_values(&[name, role]);
            let _ = self.all.record_origin.remove_label_values(&[name, role]);
            for result in ["up", "down", "unknown"] {
                let _ = self.all.probes.remove_label_values(&[name, role, result]);
            }
            for to in &roles {
                for result in ["confirmed", "unconfirmed", "rejected", "dry_run"] {
                    let _ = self
                        .all
                        .switches
                        .remove_label_values(&[name, role, to, result]);
                }
            }
        }
        for reason in Reason::ALL {
            let labels = [name, reason.action().as_str(), reason.as_str()];
            let _ = self.all.decisions.remove_label_values(&labels);
            let _ = self.all.hold.remove_label_values(&[name, reason.as_str()]);
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
            site.all
                .probes
                .with_label_values(&[&*site.name, role.as_str(), verdict.as_str()])
        };
        let phases = ["resolve", "connect", "tls", "response", "total"]
            .map(|phase| site.all.probe_duration.with_label_values(&[phase]));
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
