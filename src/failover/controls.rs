//! Is it me? Servers elsewhere, asked while something is being confirmed: as
//! long as too few of them answer, nothing is believed to be down.

use super::Lookout;
use crate::config;
use crate::metrics::Metrics;
use crate::prober::{Pace, Prober, Reins, Schedule, Witness};
use crate::rule::Moment;
use crate::rule::finding::{Finding, Observation, Verdict};
use crate::rule::health::{Thresholds, Transition};
use crate::rule::witness::Sight;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

/// Between probes while nothing is being confirmed: never, in effect.
const IDLE: Duration = Duration::from_secs(86_400 * 365);

/// Between probes while something is: fast enough for any confirmation.
const SPACING: Duration = Duration::from_secs(1);

/// The control targets.
pub struct Controls {
    settings: config::Guard,
    targets: Vec<Target>,
    /// How many look at present.
    looking: Mutex<Looking>,
    blind: AtomicBool,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Looking {
    count: usize,
    number: u64,
    nudges: u64,
}

struct Target {
    reins: Reins,
    news: watch::Receiver<u64>,
}

/// Targets are no site's: nobody counts their probes.
struct Nobody;

impl Witness for Nobody {
    fn observed(&self, _: &Observation) {}
    fn changed(&self, _: Transition, _: &Observation) {}
}

impl Controls {
    /// Makes ready to ask; nothing is asked before somebody looks.
    pub(super) fn start(
        settings: &config::Guard,
        lookout: &Lookout,
        metrics: &Arc<Metrics>,
    ) -> Arc<Controls> {
        metrics.blind(false);
        let targets = settings.control_targets.iter();
        Arc::new(Controls {
            targets: targets
                .map(|target| Target::start(target, lookout))
                .collect(),
            settings: settings.clone(),
            looking: Mutex::default(),
            blind: AtomicBool::new(false),
            metrics: metrics.clone(),
        })
    }

    /// Whether these are the targets of the settings.
    pub(super) fn are(&self, settings: &config::Guard) -> bool {
        self.settings.control_targets == settings.control_targets
            && self.settings.control_needed == settings.control_needed
    }

    /// Begins to look; the targets are asked at once, and until this is dropped.
    pub(super) fn look(self: &Arc<Controls>) -> Look {
        self.repace(|looking| {
            looking.count += 1;
            if looking.count == 1 {
                looking.number += 1;
            } else {
                looking.nudges += 1;
            }
        });
        let news = self.targets.iter().map(|target| target.news.clone());
        Look {
            news: news.collect(),
            controls: self.clone(),
        }
    }

    fn repace(&self, change: impl FnOnce(&mut Looking)) {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut looking);
        // While we do not see, somebody has to look for when we do again.
        let looks = looking.count > 0 || self.blind.load(Ordering::Relaxed);
        let pace = Pace {
            confirming: looks.then_some(looking.number),
            nudges: looking.nudges,
        };
        for target in &self.targets {
            target.reins.set_pace(pace);
        }
    }

    /// What is believed outside of a confirmation: nobody asks then, unless we
    /// do not see.
    pub(super) fn last(&self) -> Sight {
        if self.blind.load(Ordering::Relaxed) {
            self.sight(Moment::default())
        } else {
            Sight::Clear
        }
    }

    /// What probes that started since `begun` tell.
    fn sight(&self, begun: Moment) -> Sight {
        let (mut answered, mut failed, mut unheard) = (0, 0, 0);
        for target in &self.targets {
            let report = target.reins.report();
            let newest = report.newest.as_ref().filter(|seen| seen.started >= begun);
            match newest.map(|seen| &seen.finding) {
                None => unheard += 1,
                Some(finding) if answers(finding) => answered += 1,
                Some(_) => failed += 1,
            }
        }
        let sight = Sight::of(answered, failed, unheard, self.settings.control_needed);
        self.tell(sight, answered);
        sight
    }

    /// Says aloud when sight is lost and when it is back.
    fn tell(&self, sight: Sight, answered: usize) {
        let blind = match sight {
            Sight::Pending => return,
            Sight::Clear => false,
            Sight::Blind => true,
        };
        if self.blind.swap(blind, Ordering::Relaxed) == blind {
            return;
        }
        self.metrics.blind(blind);
        self.repace(|_| {});
        let (all, needed) = (self.targets.len(), self.settings.control_needed);
        if blind {
            warn!(
                "{answered} of {all} control targets answer, {needed} are needed: our own network may be down, \
                 so nothing is believed to be"
            );
        } else {
            info!("{answered} of {all} control targets answer again");
        }
    }
}

/// Whether a target was reached: any answer will do, also one of a CDN.
fn answers(finding: &Finding) -> bool {
    finding.verdict() == Verdict::Up || *finding == Finding::ThroughCdn
}

impl Target {
    fn start(target: &config::ControlTarget, lookout: &Lookout) -> Target {
        let prober = Prober {
            probe: (lookout.make)(&target.address, &target.probe),
            schedule: Schedule {
                interval: IDLE,
                confirm_interval: SPACING,
                timeout: target.probe.timeout,
                offset: Duration::ZERO,
                limits: Thresholds { fall: 1, rise: 1 },
            },
            // Whoever looks hears of each report.
            site: Arc::new(Notify::new()),
            witness: Arc::new(Nobody),
        };
        let (reins, news) = prober.start_with_news(&lookout.rounds, Pace::default());
        Target { reins, news }
    }
}

/// Somebody looks: the targets are asked until this is dropped.
pub(super) struct Look {
    controls: Arc<Controls>,
    news: Vec<watch::Receiver<u64>>,
}

impl Look {
    /// What probes that started since `begun` tell.
    pub(super) fn sight(&self, begun: Moment) -> Sight {
        self.controls.sight(begun)
    }

    /// Waits for the next result of any target.
    pub(super) async fn changed(&mut self) {
        if self.news.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.news.iter_mut().map(|news| Box::pin(news.changed()));
        let (changed, ..) = futures_util::future::select_all(changes).await;
        if changed.is_err() {
            // Other targets take their place: what they say is asked for anew.
            std::future::pending().await
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.controls.repace(|looking| looking.count -= 1);
    }
}
