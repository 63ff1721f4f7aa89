//! Every metric there is: name, type, labels and help, written once.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// The phases of `probe_duration_seconds`.
const PHASES: [&str; 5] = ["resolve", "connect", "tls", "response", "total"];

const PROBE_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];
const LAG_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const SWITCH_BUCKETS: &[f64] = &[
    0.5, 1.0, 2.0, 2.5, 3.0, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 30.0, 60.0,
];
const CALL_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Makes and registers metrics. Names and labels are constants, so that a
/// clash or an invalid one is found by any test.
struct Maker<'a>(&'a Registry);

fn named(name: &str, help: &str) -> Opts {
    Opts::new(format!("originswitch_{name}"), help)
}

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("metric names and labels are valid constants");
        self.0
            .register(Box::new(collector.clone()))
            .expect("each metric is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(named(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(named(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(named(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(named(name, help), labels))
    }

    fn time(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(named(name, help)))
    }

    fn times(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(named(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(named(name, help)).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(opts))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], label: &str) -> HistogramVec {
        let opts = HistogramOpts::from(named(name, help)).buckets(buckets.to_vec());
        self.add(HistogramVec::new(opts, &[label]))
    }
}

/// Metrics of the process. Those without labels that are absent until their
/// value is known are vectors of no label: they have no series until it is set.
pub(super) struct Process {
    pub(super) build: IntGaugeVec,
    pub(super) reload_ok: IntGauge,
    pub(super) reload_at: Gauge,
    pub(super) webhook_requests: IntCounterVec,
    pub(super) alerts: IntCounterVec,
    pub(super) alerts_unmatched: IntCounter,
    pub(super) alert_last_received: GaugeVec,
    pub(super) alert_path_up: IntGaugeVec,
    pub(super) switch_duration: Histogram,
    pub(super) cloudflare_requests: IntCounterVec,
    pub(super) cloudflare_duration: HistogramVec,
    pub(super) cloudflare_up: IntGaugeVec,
    pub(super) ratelimit_remaining: IntGaugeVec,
    pub(super) budget_limit: IntGaugeVec,
    pub(super) budget_used: IntGaugeVec,
    pub(super) budget_foreign: IntGaugeVec,
    pub(super) cloudflare_shared: IntCounterVec,
    pub(super) token_valid: IntGaugeVec,
    pub(super) token_expiry: GaugeVec,
    pub(super) state_up: IntGauge,
    pub(super) blind: IntGauge,
    pub(super) brake_held: IntGauge,
    pub(super) recovery: Histogram,
    pub(super) notifications: IntCounterVec,
    pub(super) probe_lag: Histogram,
    /// One for each of [`PHASES`], in their order.
    pub(super) probe_phases: [Histogram; 5],
}

impl Process {
    #[rustfmt::skip] // one metric, one line: read as a table
    pub(super) fn new(registry: &Registry) -> Process {
        let make = Maker(registry);
        let probe_duration = make.histograms("probe_duration_seconds", "What a probe and its phases took.", PROBE_BUCKETS, "phase");
        Process {
            probe_phases: PHASES.map(|phase| probe_duration.with_label_values(&[phase])),
            probe_lag: make.histogram("probe_lag_seconds", "How much later than it was due a probe started, waiting for its place included.", LAG_BUCKETS),
            build: make.gauges("build_info", "The version and revision of the program.", &["version", "revision"]),
            reload_ok: make.gauge("config_last_reload_successful", "Whether the configuration was read without a fault the last time."),
            reload_at: make.time("config_last_reload_success_timestamp_seconds", "When the configuration was last read without a fault."),
            webhook_requests: make.counters("webhook_requests_total", "Webhook requests by the HTTP status of the answer.", &["code"]),
            alerts: make.counters("alerts_received_total", "Alerts received, by their own status.", &["status"]),
            alerts_unmatched: make.counter("alerts_unmatched_total", "Alerts that belong to no site, or cannot be read."),
            alert_last_received: make.times("alert_last_received_timestamp_seconds", "When the last alert came; absent before the first.", &[]),
            alert_path_up: make.gauges("alert_path_up", "Whether the alert that always fires arrives; absent while that is not known, or no such alert is configured.", &[]),
            switch_duration: make.histogram("switch_duration_seconds", "From what triggered a switch to Cloudflare's confirmation.", SWITCH_BUCKETS),
            cloudflare_requests: make.counters("cloudflare_requests_total", "Calls of Cloudflare's API by HTTP status, or error.", &["operation", "code"]),
            cloudflare_duration: make.histograms("cloudflare_request_duration_seconds", "What a call of Cloudflare's API took.", CALL_BUCKETS, "operation"),
            cloudflare_up: make.gauges("cloudflare_up", "Whether the last call, but for those about the token itself, got an answer that was not 5xx, 429 or an authentication error; absent before the first.", &[]),
            ratelimit_remaining: make.gauges("cloudflare_ratelimit_remaining", "Calls left in Cloudflare's window, as its answers say, of the token with the fewest; absent until they do.", &[]),
            budget_limit: make.gauges("cloudflare_budget_limit_calls", "Calls that a token may make in 5 minutes, as configured.", &["token"]),
            budget_used: make.gauges("cloudflare_budget_used_calls", "Calls made with a token in the last 5 minutes: ours, and those known to be others'.", &["token"]),
            budget_foreign: make.gauges("cloudflare_budget_foreign_calls", "Calls made with a token by others in Cloudflare's present window; 0 if none are known.", &["token"]),
            cloudflare_shared: make.counters("cloudflare_shared_total", "Reads and changes of sites that needed no call of their own.", &["kind"]),
            token_valid: make.gauges("cloudflare_token_valid", "Whether Cloudflare's API token is in force and may read every configured zone; absent until known.", &[]),
            token_expiry: make.times("cloudflare_token_expiry_timestamp_seconds", "When Cloudflare's API token expires; absent where it does not, or where that is not known.", &[]),
            state_up: make.gauge("state_up", "Whether the state file takes writes."),
            blind: make.gauge("blind", "1 while fewer control targets answer than are needed: nothing is believed to be down."),
            recovery: make.histogram("recovery_seconds", "From what triggered a failover to the first good answer through the edge.", SWITCH_BUCKETS),
            notifications: make.counters("notifications_total", "Requests with alerts to the Alertmanagers of notify.alertmanager_urls, by what became of them.", &["result"]),
            brake_held: make.gauge("brake_held_sites", "Sites that the brake keeps from leaving MAIN together with others."),
        }
    }
}

/// A family with a site among its labels: its name, type and help.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: "counter",
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: "gauge",
        help,
    }
}

/// Metrics with a site among their labels. With ten thousand sites they are
/// far too many for a registry of single metrics: each site counts in plain
/// numbers (`site.rs`), and `exposition.rs` writes them.
pub(super) struct PerSite {
    pub(super) alert_unconfirmed: Family,
    pub(super) decisions: Family,
    pub(super) edge_down: Family,
    pub(super) edge_up: Family,
    pub(super) foreign_edits: Family,
    pub(super) frozen: Family,
    pub(super) hold: Family,
    pub(super) last_switch: Family,
    pub(super) origin_up: Family,
    pub(super) pinned: Family,
    pub(super) probes: Family,
    pub(super) record_origin: Family,
    pub(super) switches: Family,
}

#[rustfmt::skip] // one metric, one line: read as a table
pub(super) const PER_SITE: PerSite = PerSite {
    alert_unconfirmed: gauge("alert_unconfirmed", "1 while an alert of the site fires and the probes find its origin up; absent otherwise."),
    decisions: counter("decisions_total", "Passes of the rule by what they came to."),
    edge_down: gauge("edge_down", "1 while the origin is up and the edge fails; absent otherwise."),
    edge_up: gauge("edge_up", "Whether the site is served through the edge; absent while that cannot be told."),
    foreign_edits: counter("foreign_edits_total", "Changes of the record that were somebody else's."),
    frozen: gauge("frozen", "1 while a person lets nothing be written for the site; absent otherwise."),
    hold: gauge("hold", "1 while the site is held for this reason; absent otherwise."),
    last_switch: gauge("last_switch_timestamp_seconds", "When the site was last switched; absent before the first switch."),
    origin_up: gauge("origin_up", "Whether the origin is up; absent while that is unknown."),
    pinned: gauge("pinned", "1 for the origin that a person gave MAIN's part; absent otherwise."),
    probes: counter("probes_total", "Probes by what they found."),
    record_origin: gauge("record_origin", "1 for the origin that the record holds, 0 for the rest."),
    switches: counter("switches_total", "Switches of a record by what became of them."),
};
