//! Telling one Alertmanager what is on the board, for as long as it takes.

use super::board::Alert;
use super::{Post, REPEAT};
use crate::alertmanager::{Posted, body};
use crate::clock::Clock;
use crate::metrics::Metrics;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

/// So many alerts at once, that no request takes long.
const AT_ONCE: usize = 500;

/// An alert that is repeated no more ends after this: a restart may take as long.
const LIFE: Duration = Duration::from_secs(4 * REPEAT.as_secs());

/// Between attempts, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Tells one Alertmanager. What it was not told, it is told as it is by then:
/// there is no queue.
pub(super) struct Sender {
    pub(super) url: String,
    pub(super) post: Arc<dyn Post>,
    pub(super) board: watch::Receiver<Arc<Vec<Alert>>>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl Sender {
    /// Tells what is new at once, and everything every [`REPEAT`].
    pub(super) async fn run(mut self) {
        let (mut told, mut repeat_at) = (0, Instant::now());
        let mut trouble: Option<ExponentialBackoff> = None;
        loop {
            let all = self.board.borrow_and_update().clone();
            let repeat = repeat_at <= Instant::now();
            let news = |alert: &&Alert| repeat || alert.revision > told;
            let news: Vec<&Alert> = all.iter().filter(news).collect();
            match self.tell(&news).await {
                Ok(()) => {
                    told = all
                        .iter()
                        .map(|a| a.revision)
                        .max()
                        .unwrap_or(told)
                        .max(told);
                    if repeat {
                        repeat_at = Instant::now() + REPEAT;
                    }
                    if trouble.take().is_some() {
                        info!("Alertmanager at {} takes alerts again", self.url);
                    }
                    if self.wait(repeat_at).await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    let pauses = trouble.get_or_insert_with(|| {
                        warn!(
                            "Alertmanager at {} is not told of what happens here: {why} \
                             (notify.alertmanager_urls; it is tried again until it is)",
                            self.url
                        );
                        pauses()
                    });
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Waits for something new, or the time to repeat; an error is the end.
    async fn wait(&mut self, repeat_at: Instant) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.board.changed() => changed,
            () = tokio::time::sleep_until(repeat_at) => Ok(()),
        }
    }

    async fn tell(&self, alerts: &[&Alert]) -> Result<(), String> {
        for some in alerts.chunks(AT_ONCE) {
            let now = self.clock.now();
            let some: Vec<Posted<'_>> = some.iter().map(|alert| posted(alert, now)).collect();
            let outcome = self.post.post(body(&some)).await;
            self.metrics.notified(outcome.is_ok());
            outcome?;
        }
        Ok(())
    }
}

/// An alert as it is sent `now`. Nothing begins in the future, or after its
/// end, although the clock may have been set: that would be refused.
fn posted(alert: &Alert, now: Timestamp) -> Posted<'_> {
    let life = SignedDuration::try_from(LIFE).unwrap_or_default();
    let ends_at = match alert.ended {
        Some(ended) => ended.min(now),
        None => now.saturating_add(life).unwrap_or(now),
    };
    Posted {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: alert.since.min(ends_at).min(now),
        ends_at,
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
