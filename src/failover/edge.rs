//! The site as its visitors see it: a witness in a confirmation, and the proof
//! that a switch reached them.

use super::legs::Lookout;
use super::site::SiteLoop;
use crate::config::Site;
use crate::metrics::SiteMetrics;
use crate::prober::{Pace, Prober, Reins, Schedule, Witness};
use crate::rule::Moment;
use crate::rule::decision::{Decision, SwitchResult};
use crate::rule::finding::{Finding, Observation, Verdict};
use crate::rule::health::{State, Thresholds, Transition};
use crate::rule::witness::Edge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{info, warn};

/// Who looks through the edge, for a site whose user wants it.
pub(super) struct EdgeWatch {
    reins: Reins,
    /// A failover whose effect is yet to be seen.
    recovering: Option<Recovering>,
}

/// A failover that Cloudflare confirmed.
struct Recovering {
    decision: Decision,
    /// When what triggered it was noticed.
    begun: Moment,
    /// When Cloudflare had confirmed it.
    switched: Moment,
    /// Until then the edge may still show what was before.
    settled: Moment,
}

/// What one look through the edge says.
fn word(finding: &Finding) -> Edge {
    match finding {
        Finding::Answered { .. } => Edge::Serves,
        Finding::Status { status, .. } => Edge::Fails(*status),
        Finding::Timeout { .. }
        | Finding::Broken { .. }
        | Finding::Refused
        | Finding::Unreachable => Edge::Silent,
        _ => Edge::Abstains,
    }
}

/// Whether it speaks for or against the origin behind the edge: other failures
/// may be the edge's own.
fn tells(word: Edge) -> bool {
    word == Edge::Serves || word.concurs()
}

/// The metrics of what the edge says.
struct Shown(Arc<SiteMetrics>);

impl Witness for Shown {
    fn observed(&self, seen: &Observation) {
        self.0.edge_up(match word(&seen.finding) {
            Edge::Serves => Some(true),
            Edge::Fails(_) => Some(false),
            Edge::Off | Edge::Pending | Edge::Silent | Edge::Abstains => None,
        });
    }

    fn changed(&self, _: Transition, _: &Observation) {}
}

impl EdgeWatch {
    /// Starts looking, if the site's user wants it.
    pub(super) fn start(
        site: &Arc<Site>,
        lookout: &Lookout,
        notify: &Arc<Notify>,
        metrics: &Arc<SiteMetrics>,
        pace: Pace,
        offset: Duration,
    ) -> Option<EdgeWatch> {
        if !site.edge.probe {
            return None;
        }
        let prober = Prober {
            probe: (lookout.edge)(site),
            schedule: Schedule {
                interval: site.probe.interval,
                confirm_interval: site.policy.confirm_interval,
                timeout: site.edge.timeout,
                offset,
                limits: Thresholds { fall: 1, rise: 1 },
            },
            site: notify.clone(),
            witness: Arc::new(Shown(metrics.clone())),
        };
        Some(EdgeWatch {
            reins: prober.start(&lookout.rounds, pace),
            recovering: None,
        })
    }

    /// Looks as often as the probers do, and on while a failover is to be seen.
    pub(super) fn set_pace(&self, pace: Pace, trial: u64) {
        let confirming = match (pace.confirming, &self.recovering) {
            (None, Some(_)) => Some(trial),
            (confirming, _) => confirming,
        };
        self.reins.set_pace(Pace { confirming, ..pace });
    }

    /// What is seen by looks that began since `since`: the newest that tells,
    /// or else what the newest was.
    fn since(&self, since: Moment) -> Edge {
        let report = self.reins.report();
        let seen = report.recorded.iter().filter(|seen| seen.started >= since);
        let words: Vec<Edge> = seen.map(|seen| word(&seen.finding)).collect();
        let telling = words.iter().rev().find(|word| tells(**word));
        telling.or(words.last()).copied().unwrap_or(Edge::Pending)
    }

    /// What is believed outside of a confirmation.
    fn newest(&self) -> Edge {
        let report = self.reins.report();
        report
            .newest
            .as_ref()
            .map_or(Edge::Off, |seen| word(&seen.finding))
    }

    /// When a look that began since `since` first showed the site served.
    fn served_since(&self, since: Moment) -> Option<Moment> {
        let report = self.reins.report();
        let mut served = report
            .recorded
            .iter()
            .filter(|seen| seen.started >= since && seen.finding.verdict() == Verdict::Up);
        served.next().map(|seen| seen.finished)
    }
}

impl SiteLoop {
    /// What the edge says in a confirmation that began at `begun`, or outside
    /// of one. Shortly after a change it may still speak of another origin.
    pub(super) fn edge(&self, begun: Option<Moment>) -> Edge {
        let Some(watch) = &self.edge else {
            return Edge::Off;
        };
        let now = self.tools.clock.moment();
        let settle = self.site.edge.settle;
        if self.moved_at.is_some_and(|at| now.since(at) < settle) {
            return Edge::Off;
        }
        match begun {
            Some(begun) => watch.since(begun),
            None => watch.newest(),
        }
    }

    /// Begins to wait for the edge to show a failover.
    pub(super) fn watch_recovery(&mut self, decision: &Decision, begun: Moment) {
        let now = self.tools.clock.moment();
        let settle = self.site.edge.settle;
        if let Some(watch) = &mut self.edge {
            watch.recovering = Some(Recovering {
                decision: decision.clone(),
                begun,
                switched: now,
                settled: now + settle,
            });
        }
    }

    /// When the wait for the edge is over.
    pub(super) fn edge_settles(&self) -> Option<Moment> {
        let watch = self.edge.as_ref()?;
        Some(watch.recovering.as_ref()?.settled)
    }

    /// Whether it waits for the edge to show a failover.
    pub(super) fn recovers(&self) -> bool {
        let watch = self.edge.as_ref();
        watch.is_some_and(|watch| watch.recovering.is_some())
    }

    /// Sees whether a failover has reached the visitors, or does not.
    pub(super) async fn see_recovery(&mut self) {
        let now = self.tools.clock.moment();
        let (pace, trial) = (self.pace, self.trial);
        let Some(watch) = &mut self.edge else { return };
        let Some(waits) = &watch.recovering else {
            return;
        };
        let served = watch.served_since(waits.switched);
        if served.is_none() && now < waits.settled {
            return;
        }
        // Looks that say nothing at all do not say that it is not so.
        let seen = watch.since(waits.switched);
        let Some(waited) = watch.recovering.take() else {
            return;
        };
        watch.set_pace(pace, trial);
        let site = &self.site.name;
        // What died, or was changed, since then says nothing of the switch.
        let current = self.current_view().filter(|view| view.state() == State::Up);
        let stands = current.is_some_and(|view| Some(view.at) == waited.decision.to);
        match (served, seen) {
            (Some(at), _) => {
                let took = at.since(waited.begun);
                self.metrics.recovered(took);
                info!(%site, recovery_seconds = took.as_secs_f64(), "{site}: through the edge the site is served again");
            }
            (None, Edge::Fails(_) | Edge::Silent) if stands => {
                self.ineffective(waited.decision).await
            }
            (None, _) => {}
        }
    }

    /// Cloudflare confirmed a switch that its edge does not show, although the
    /// origin is up.
    async fn ineffective(&mut self, mut decision: Decision) {
        let site = &self.site.name;
        let settle = self.site.edge.settle;
        let said = format!(
            "but through the edge the site was not served within {settle:?}: \
             look for a load balancer, a Worker or a tunnel with the same hostname"
        );
        warn!(%site, id = decision.id, "{site}: the switch is ineffective: {said}");
        decision.conclude(SwitchResult::Ineffective, &said);
        // What it took was counted when Cloudflare confirmed it.
        let took = decision.duration.take();
        self.metrics.switched(&decision);
        decision.duration = took;
        self.close_row(&decision, Some(true)).await;
        let decision = decision.summary();
        self.tried = Some(decision.clone());
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.id == decision.id)
        {
            self.last = Some(decision);
        }
    }
}
