//! One pass of the rule for each site, then the end: the form for cron.

use crate::app::lookout;
use crate::clock::Clock;
use crate::cloudflare::Cloudflare;
use crate::config::{Config, Site};
use crate::crowd::Crowds;
use crate::descriptors;
use crate::ending::{DONE, FAILED, USAGE, chain};
use crate::failover::{Guard, SiteHandle, SiteLoop, Store, Tools, Ttl};
use crate::metrics::Metrics;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Reason, SwitchResult};
use crate::server::shown;
use crate::store::{OpenError, ReadOnly, SqliteStore};
use crate::table::Table;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// Decides every site in `names` (all, if it is empty) once, and prints the
/// decisions. Returns the exit code.
pub async fn run(config: Config, names: &[String], dry_run: bool, json: bool) -> u8 {
    let sites = match chosen(&config, names) {
        Ok(sites) => sites,
        Err(sentence) => {
            eprintln!("{sentence}");
            return USAGE;
        }
    };
    let opened = if dry_run {
        SqliteStore::open_read_only(&config.state.path)
    } else {
        SqliteStore::open(&config.state.path, config.state.keep)
    };
    let state = match opened {
        Ok(state) => state,
        Err(error) => {
            let in_use = matches!(error, OpenError::InUse { .. });
            eprintln!("{}", chain(&error.into()));
            return if in_use { USAGE } else { FAILED };
        }
    };
    let store: Arc<dyn Store> = if dry_run {
        Arc::new(ReadOnly(state.clone()))
    } else {
        Arc::new(state.clone())
    };
    let outcome = decide(&config, sites, store, dry_run).await;
    state.close().await;
    match outcome {
        Ok(decisions) => report(&decisions, json),
        Err(sentence) => {
            eprintln!("{sentence}");
            FAILED
        }
    }
}

/// The sites named, or all of them.
fn chosen(config: &Config, names: &[String]) -> Result<Vec<Arc<Site>>, String> {
    if names.is_empty() {
        return Ok(config.sites.clone());
    }
    let find = |name: &String| {
        let known = || {
            let names: Vec<_> = config.sites.iter().map(|site| &*site.name).collect();
            names.join(", ")
        };
        config
            .sites
            .iter()
            .find(|site| *site.name == **name)
            .cloned()
            .ok_or_else(|| {
                let file = config.source.display();
                format!("there is no site {name:?} in {file}: it has {}", known())
            })
    };
    let mut sites = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    sites.retain(|site| seen.insert(site.name.clone()));
    Ok(sites)
}

async fn decide(
    config: &Config,
    sites: Vec<Arc<Site>>,
    store: Arc<dyn Store>,
    dry_run: bool,
) -> Result<Vec<(Arc<Site>, Option<Arc<Decision>>)>, String> {
    // Nobody connects to a single pass.
    descriptors::say(config.max_in_flight, 0);
    let clock = Clock::system();
    let metrics = Metrics::new();
    let cloudflare = Cloudflare::new(&config.cloudflare, metrics.clone())?;
    cloudflare.set_sites(&sites);
    let probers = TaskTracker::new();
    let lookout = lookout(
        Arc::new(Semaphore::new(config.max_in_flight)),
        Crowds::new(config.max_per_address),
        &clock,
        &probers,
    );
    let guard = Guard::start(&config.guard, store.clone(), &lookout, metrics.clone()).await;
    let guard =
        guard.map_err(|fault| format!("what holds over all sites cannot be read: {fault}"))?;
    let tools = Tools {
        dns: Arc::new(cloudflare),
        guard,
        store,
        clock,
        lookout,
        metrics,
        alert_ttl: Ttl::new(config.alerts.ttl),
        between_runs: true,
    };
    let tools = Arc::new(tools);
    let passes = sites.into_iter().map(|site| {
        let site = if dry_run { dry(&site) } else { site };
        let handle = SiteHandle::new(site.clone());
        let pass = tokio::spawn(SiteLoop::new(handle, tools.clone(), 0).once());
        async move { (site, pass.await.ok().flatten()) }
    });
    Ok(futures_util::future::join_all(passes).await)
}

fn dry(site: &Site) -> Arc<Site> {
    let mut site = site.clone();
    site.policy.dry_run = true;
    Arc::new(site)
}

/// Whether a decision is one that a person should hear of by the exit code.
fn is_trouble(decision: &Decision) -> bool {
    matches!(
        decision.reason,
        Reason::Hold(
            HoldReason::Unconfirmed
                | HoldReason::RecordShape
                | HoldReason::CloudflareUnavailable
                | HoldReason::SwitchBudget
        )
    ) || matches!(
        decision.result,
        Some(SwitchResult::Rejected | SwitchResult::Unconfirmed)
    )
}

fn report(decisions: &[(Arc<Site>, Option<Arc<Decision>>)], json: bool) -> u8 {
    let made: Vec<&Arc<Decision>> = decisions.iter().filter_map(|(_, d)| d.as_ref()).collect();
    if json {
        let shown: Vec<_> = made.iter().map(|d| shown::Decision::of(d)).collect();
        println!("{}", serde_json::json!({ "decisions": shown }));
    } else {
        print!("{}", table(&made));
    }
    for (site, _) in decisions.iter().filter(|(_, d)| d.is_none()) {
        eprintln!("{}: there is no decision; see the log", site.name);
    }
    let trouble = made.len() < decisions.len() || made.iter().any(|d| is_trouble(d));
    if trouble { FAILED } else { DONE }
}

/// A table for people; the explanation has a line of its own.
fn table(decisions: &[&Arc<Decision>]) -> Table {
    let mut table = Table::new(&["SITE", "RECORD", "DECISION", "RESULT"]);
    for decision in decisions {
        let record = decision.record.as_ref();
        let result = decision.result.map_or(String::new(), |result| {
            let to = decision.to.as_ref();
            let to = to.map_or(String::new(), ToString::to_string);
            format!("{} to {to}", result.as_str())
        });
        table.row(vec![
            decision.site.to_string(),
            record.map_or_else(|| "?".into(), ToString::to_string),
            format!(
                "{} {}",
                decision.action().as_str(),
                decision.reason.as_str()
            ),
            result,
        ]);
        table.note(&decision.explanation);
    }
    table
}
