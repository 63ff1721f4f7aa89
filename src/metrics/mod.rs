//! Everything exported. Label values come from the configuration and from
//! enums, never from alert bodies, and no origin address appears.
//!
//! `families` lists the metrics; `site` holds what one site and its origins
//! count, and `exposition` writes that.

mod exposition;
mod families;
mod site;

pub use site::SiteMetrics;

use crate::rule::alerts::AlertStatus;
use families::Process;
use jiff::Timestamp;
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::debug;

/// What becomes of a request to an Alertmanager.
const NOTIFIED: [&str; 2] = ["sent", "failed"];

/// What shares calls to Cloudflare.
const SHARED: [&str; 2] = ["read", "write"];

/// What is to be seen of the budget of one of Cloudflare's tokens, in calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSeen {
    /// Its name: `default`, or a zone as the configuration has it.
    pub token: String,
    /// In 5 minutes, as configured.
    pub limit: usize,
    /// Ours of the last 5 minutes, and those known to be others'.
    pub used: usize,
    /// Others' in Cloudflare's present window.
    pub foreign: usize,
    /// What Cloudflare last said was left.
    pub remaining: Option<u64>,
}

/// Tells of all budgets.
pub type TellBudgets = Box<dyn Fn() -> Vec<BudgetSeen> + Send + Sync>;

/// The metrics of the process and of all sites.
pub struct Metrics {
    registry: Registry,
    budgets: Mutex<Option<TellBudgets>>,
    process: Arc<Process>,
    /// By name, as they are written.
    sites: Mutex<BTreeMap<Arc<str>, Arc<SiteMetrics>>>,
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

impl Metrics {
    /// All metrics, at zero where zero is known.
    #[must_use]
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let metrics = Metrics {
            process: Arc::new(Process::new(&registry)),
            sites: Mutex::default(),
            budgets: Mutex::new(None),
            registry,
        };
        metrics.start();
        Arc::new(metrics)
    }

    /// Series that alerts and dashboards count from zero.
    fn start(&self) {
        let revision = option_env!("ORIGINSWITCH_REVISION").unwrap_or("unknown");
        let build = [env!("CARGO_PKG_VERSION"), revision];
        self.process.build.with_label_values(&build).set(1);
        self.process.state_up.set(1);
        for result in NOTIFIED {
            self.process.notifications.with_label_values(&[result]);
        }
        for kind in SHARED {
            self.process.cloudflare_shared.with_label_values(&[kind]);
        }
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry
            .register(Box::new(process))
            .expect("process metrics are registered once");
    }

    /// The metrics in text format 0.0.4, in pieces of whole lines.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
        self.refresh_budgets();
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            debug!("metrics could not be written: {error}");
        }
        // No site waits for its counters while the text is written.
        let sites = self.sites().values().cloned().collect();
        std::iter::once(text).chain(exposition::Pieces::of(sites))
    }

    /// The same as one.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.pieces().flatten().collect()
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<SiteMetrics>>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration was read at `now`, without a fault or not.
    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        self.process.reload_ok.set(i64::from(ok));
        if ok {
            self.process.reload_at.set(seconds(now));
        }
    }

    /// A webhook request was answered.
    pub fn webhook(&self, code: u16) {
        self.process
            .webhook_requests
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
            if alerts > 0 {
                let counter = self.process.alerts.with_label_values(&[status.as_str()]);
                counter.inc_by(alerts as u64);
            }
        }
        self.process.alerts_unmatched.inc_by(unmatched as u64);
        if firing + resolved > 0 {
            let last = &self.process.alert_last_received;
            last.with_label_values::<&str>(&[]).set(seconds(now));
        }
    }

    /// Whether alerts would arrive; `None` while that is not known.
    pub fn alert_path_up(&self, up: Option<bool>) {
        let gauge = &self.process.alert_path_up;
        match up {
            Some(up) => gauge.with_label_values::<&str>(&[]).set(i64::from(up)),
            None => gauge.reset(),
        }
    }

    /// A call of Cloudflare's API ended with this HTTP status, or without one.
    pub fn cloudflare(&self, operation: &str, status: Option<u16>, took: Duration) {
        let code = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        self.process
            .cloudflare_requests
            .with_label_values(&[operation, &code])
            .inc();
        self.process
            .cloudflare_duration
            .with_label_values(&[operation])
            .observe(took.as_secs_f64());
    }

    /// Whether the last call got an answer that one can work with.
    pub fn cloudflare_up(&self, up: bool) {
        let gauge = &self.process.cloudflare_up;
        gauge.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// From now on this tells of the budgets, whenever metrics are written.
    pub fn show_budgets(&self, tell: TellBudgets) {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let before = budgets.replace(tell);
        let Some(before) = before else { return };
        let now: Vec<_> = budgets.iter().flat_map(|tell| tell()).collect();
        for gone in before() {
            if !now.iter().any(|seen| seen.token == gone.token) {
                self.forget_budget(&gone.token);
            }
        }
    }

    fn forget_budget(&self, token: &str) {
        let gauges = [
            &self.process.budget_limit,
            &self.process.budget_used,
            &self.process.budget_foreign,
        ];
        for gauge in gauges {
            // It may never have been written.
            let _ = gauge.remove_label_values(&[token]);
        }
    }

    /// Time alone changes what is used of a budget: it is looked at anew.
    fn refresh_budgets(&self) {
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<BudgetSeen> = budgets.iter().flat_map(|tell| tell()).collect();
        let count = |calls: usize| i64::try_from(calls).unwrap_or(i64::MAX);
        for seen in &all {
            let label = &[seen.token.as_str()];
            let process = &self.process;
            let set = |gauge: &prometheus::IntGaugeVec, calls| {
                gauge.with_label_values(label).set(count(calls));
            };
            set(&process.budget_limit, seen.limit);
            set(&process.budget_used, seen.used);
            set(&process.budget_foreign, seen.foreign);
        }
        if let Some(least) = all.iter().filter_map(|seen| seen.remaining).min() {
            let gauge = &self.process.ratelimit_remaining;
            let least = i64::try_from(least).unwrap_or(i64::MAX);
            gauge.with_label_values::<&str>(&[]).set(least);
        }
    }

    /// So many reads or changes (`kind`) needed no call of their own.
    pub fn cloudflare_shared(&self, kind: &'static str, calls: usize) {
        let counter = &self.process.cloudflare_shared;
        counter.with_label_values(&[kind]).inc_by(calls as u64);
    }

    /// Whether Cloudflare's API token is in force and reads every zone.
    pub fn token_valid(&self, valid: bool) {
        let gauge = &self.process.token_valid;
        gauge.with_label_values::<&str>(&[]).set(i64::from(valid));
    }

    /// When the token expires, if it does and that is known.
    pub fn token_expiry(&self, expires: Option<Timestamp>) {
        let gauge = &self.process.token_expiry;
        match expires {
            Some(at) => gauge.with_label_values::<&str>(&[]).set(seconds(at)),
            None => gauge.reset(),
        }
    }

    /// Nothing is known of the token in use.
    pub fn token_unknown(&self) {
        self.process.token_valid.reset();
        self.token_expiry(None);
    }

    /// Whether the state file takes writes.
    pub fn state_up(&self, up: bool) {
        self.process.state_up.set(i64::from(up));
    }

    /// Whether too few control targets answer.
    pub fn blind(&self, so: bool) {
        self.process.blind.set(i64::from(so));
    }

    /// An Alertmanager took a request with alerts, or did not.
    pub fn notified(&self, taken: bool) {
        let result = NOTIFIED[usize::from(!taken)];
        self.process
            .notifications
            .with_label_values(&[result])
            .inc();
    }

    /// How many sites the brake holds.
    pub fn brake_held(&self, sites: usize) {
        let sites = i64::try_from(sites).unwrap_or(i64::MAX);
        self.process.brake_held.set(sites);
    }

    /// The metrics of one site with this many origins: those it has already, or
    /// new ones that start at zero.
    #[must_use]
    pub fn site(&self, name: &Arc<str>, origins: usize) -> Arc<SiteMetrics> {
        let mut sites = self.sites();
        if let Some(site) = sites.get(name).filter(|site| site.origins() == origins) {
            return site.clone();
        }
        let site = SiteMetrics::new(self.process.clone(), name.clone(), origins);
        sites.insert(name.clone(), site.clone());
        site
    }

    /// Removes the series of a site that is configured no more.
    pub fn forget(&self, name: &str) {
        self.sites().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Moment;
    use crate::rule::address::Role;
    use crate::rule::brakes::HoldReason;
    use crate::rule::decision::{Decision, Pointer, Reason, SwitchResult, Trigger};
    use crate::rule::finding::{Finding, Observation, Phases};
    use crate::rule::health::State;
    use crate::rule::walk::{KeepReason, SwitchKind};

    fn at(second: u64) -> Moment {
        Moment(Duration::from_secs(second))
    }

    fn decision(
        reason: Reason,
        from: Option<Role>,
        to: Option<Role>,
        result: Option<SwitchResult>,
    ) -> Decision {
        let pointer = |role| Pointer {
            role,
            address: "192.0.2.1".into(),
        };
        Decision {
            id: None,
            time: Timestamp::from_second(1_795_000_000).unwrap(),
            site: "www".into(),
            trigger: Trigger::Alert,
            record: from.map(pointer),
            origins: Vec::new(),
            steps: Vec::new(),
            reason,
            to: to.map(pointer),
            result,
            duration: result.map(|_| Duration::from_millis(2_500)),
            pin: None,
            frozen: None,
            explanation: String::new(),
        }
    }

    fn seen(finding: Finding) -> Observation {
        Observation {
            started: at(10),
            finished: at(11),
            finding,
            phases: Phases::default(),
        }
    }

    /// Everything that a site can count and show, once.
    fn a_busy_site(metrics: &Arc<Metrics>) -> Arc<SiteMetrics> {
        let site = metrics.site(&"w\"w\\w".into(), 3);
        let switch = Reason::Switch(SwitchKind::Failover);
        site.pass(&decision(
            Reason::Keep(KeepReason::OnMain),
            Some(Role::Main),
            None,
            None,
        ));
        site.pass(&decision(
            Reason::Hold(HoldReason::EdgeUp),
            Some(Role::Main),
            None,
            None,
        ));
        for result in [SwitchResult::Confirmed, SwitchResult::Rejected] {
            let one = decision(
                switch,
                Some(Role::Main),
                Some(Role::Backup(2)),
                Some(result),
            );
            site.switched(&one);
            site.switched(&one);
        }
        site.switched(&decision(
            switch,
            None,
            Some(Role::Main),
            Some(SwitchResult::Confirmed),
        ));
        site.last_switch("2026-11-27T22:00:00.25Z".parse().unwrap());
        site.hold(Some(HoldReason::Foreign));
        site.hold(Some(HoldReason::Brake));
        site.record(Some(Role::Backup(2)));
        site.origin(Role::Main, State::Down);
        site.origin(Role::Backup(1), State::Up);
        site.origin(Role::Backup(2), State::Up);
        site.origin(Role::Backup(2), State::Unknown);
        site.alert_unconfirmed(true);
        site.pinned(Some(Role::Backup(1)));
        site.frozen(true);
        site.edge_up(Some(false));
        site.edge_down(true);
        site.foreign_edit();
        site.recovered(Duration::from_secs(3));
        let after = Duration::from_millis(3);
        site.witness(Role::Main).observed(&seen(Finding::Refused));
        site.witness(Role::Backup(1))
            .observed(&seen(Finding::Connected { after }));
        site.witness(Role::Other)
            .observed(&seen(Finding::ThroughCdn));
        site.origin(Role::Other, State::Down);
        site
    }

    /// The lines of series that name a site, and of their families.
    fn lines(metrics: &Metrics) -> String {
        let text = String::from_utf8(metrics.text()).unwrap();
        let mut lines: Vec<&str> = text.lines().filter(|line| line.contains("site=")).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[test]
    fn a_site_shows_what_it_counted_and_nothing_once_it_is_gone() {
        let metrics = Metrics::new();
        let _site = a_busy_site(&metrics);
        let _shop = metrics.site(&"shop".into(), 2);
        assert_eq!(lines(&metrics), BUSY);
        metrics.forget("w\"w\\w");
        let rest: Vec<&str> = BUSY.lines().filter(|line| line.contains("shop")).collect();
        assert_eq!(lines(&metrics), rest.join("\n"));
        metrics.forget("shop");
        assert_eq!(lines(&metrics), "");
        let text = String::from_utf8(metrics.text()).unwrap();
        assert!(
            !text.contains("originswitch_hold"),
            "a head without a series"
        );
    }

    #[test]
    fn a_loop_that_starts_again_counts_on() {
        let metrics = Metrics::new();
        metrics.site(&"www".into(), 2).foreign_edit();
        metrics.site(&"www".into(), 2).foreign_edit();
        let series = "originswitch_foreign_edits_total{site=\"www\"} 2";
        assert!(lines(&metrics).contains(series));
    }

    const BUSY: &str = r#"originswitch_alert_unconfirmed{site="w\"w\\w"} 1
originswitch_decisions_total{action="hold",reason="edge_up",site="w\"w\\w"} 1
originswitch_decisions_total{action="keep",reason="on_main",site="shop"} 0
originswitch_decisions_total{action="keep",reason="on_main",site="w\"w\\w"} 1
originswitch_decisions_total{action="switch",reason="failback",site="shop"} 0
originswitch_decisions_total{action="switch",reason="failback",site="w\"w\\w"} 0
originswitch_decisions_total{action="switch",reason="failover",site="shop"} 0
originswitch_decisions_total{action="switch",reason="failover",site="w\"w\\w"} 0
originswitch_edge_down{site="w\"w\\w"} 1
originswitch_edge_up{site="w\"w\\w"} 0
originswitch_foreign_edits_total{site="w\"w\\w"} 1
originswitch_frozen{site="w\"w\\w"} 1
originswitch_hold{reason="brake",site="w\"w\\w"} 1
originswitch_last_switch_timestamp_seconds{site="w\"w\\w"} 1795816800.25
originswitch_origin_up{origin="backup",site="w\"w\\w"} 1
originswitch_origin_up{origin="main",site="w\"w\\w"} 0
originswitch_origin_up{origin="other",site="w\"w\\w"} 0
originswitch_pinned{origin="backup",site="w\"w\\w"} 1
originswitch_probes_total{origin="backup",result="down",site="shop"} 0
originswitch_probes_total{origin="backup",result="down",site="w\"w\\w"} 0
originswitch_probes_total{origin="backup",result="up",site="shop"} 0
originswitch_probes_total{origin="backup",result="up",site="w\"w\\w"} 1
originswitch_probes_total{origin="backup-2",result="down",site="w\"w\\w"} 0
originswitch_probes_total{origin="backup-2",result="up",site="w\"w\\w"} 0
originswitch_probes_total{origin="main",result="down",site="shop"} 0
originswitch_probes_total{origin="main",result="down",site="w\"w\\w"} 1
originswitch_probes_total{origin="main",result="up",site="shop"} 0
originswitch_probes_total{origin="main",result="up",site="w\"w\\w"} 0
originswitch_probes_total{origin="other",result="down",site="w\"w\\w"} 0
originswitch_probes_total{origin="other",result="unknown",site="w\"w\\w"} 1
originswitch_probes_total{origin="other",result="up",site="w\"w\\w"} 0
originswitch_record_origin{origin="backup",site="w\"w\\w"} 0
originswitch_record_origin{origin="backup-2",site="w\"w\\w"} 1
originswitch_record_origin{origin="main",site="w\"w\\w"} 0
originswitch_record_origin{origin="other",site="w\"w\\w"} 0
originswitch_switches_total{from="backup",result="confirmed",site="shop",to="main"} 0
originswitch_switches_total{from="backup",result="confirmed",site="w\"w\\w",to="main"} 0
originswitch_switches_total{from="backup-2",result="confirmed",site="w\"w\\w",to="main"} 0
originswitch_switches_total{from="main",result="confirmed",site="shop",to="backup"} 0
originswitch_switches_total{from="main",result="confirmed",site="w\"w\\w",to="backup"} 0
originswitch_switches_total{from="main",result="confirmed",site="w\"w\\w",to="backup-2"} 2
originswitch_switches_total{from="main",result="rejected",site="w\"w\\w",to="backup-2"} 2
originswitch_switches_total{from="other",result="confirmed",site="w\"w\\w",to="main"} 1"#;
}
