//! The dead-man's switch of the alert path: an alert that always fires, whose
//! end or absence means that no other alert would arrive either.
//!
//! It decides nothing. Routine probes watch every site with or without alerts;
//! here it is only said, once, that they are alone.
//!
//! | file | holds |
//! | --- | --- |
//! | `pulse` | what words and silence come to, as a table of moments |

mod pulse;

use crate::alertmanager::{Alert, Meaning};
use crate::clock::{Clock, DriftWatch};
use crate::config::{Alerts, show_duration};
use crate::matcher::Matcher;
use crate::metrics::Metrics;
use crate::rule::Moment;
use crate::rule::alerts::AlertStatus;
use pulse::Pulse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Listens for the Watchdog alert, and shows whether the alert path lives.
pub struct Watchdog {
    clock: Clock,
    metrics: Arc<Metrics>,
    watch: Mutex<Watch>,
    /// What is known has changed, and with it the time of the next look.
    changed: Notify,
}

/// What is waited for, and what is known.
struct Watch {
    matchers: Vec<Matcher>,
    pulse: Pulse,
    drift: DriftWatch,
    /// What was last shown and said.
    shown: Option<bool>,
}

impl Watchdog {
    /// Listens from now on.
    #[must_use]
    pub fn new(settings: &Alerts, clock: &Clock, metrics: &Arc<Metrics>) -> Arc<Watchdog> {
        Arc::new(Watchdog {
            clock: clock.clone(),
            metrics: metrics.clone(),
            watch: Mutex::new(Watch {
                matchers: settings.watchdog.clone(),
                pulse: Pulse::new(settings.watchdog_timeout, clock.moment()),
                drift: DriftWatch::new(clock),
                shown: None,
            }),
            changed: Notify::new(),
        })
    }

    /// Takes over changed settings. What is known stays, unless it is of
    /// another alert.
    pub fn configure(&self, settings: &Alerts) {
        let mut watch = self.watch();
        let now = self.look(&mut watch);
        if watch.matchers != settings.watchdog {
            watch.matchers.clone_from(&settings.watchdog);
            watch.pulse = Pulse::new(settings.watchdog_timeout, now);
        }
        watch.pulse.timeout = settings.watchdog_timeout;
        self.look(&mut watch);
        self.changed.notify_one();
    }

    /// Takes the word of those alerts of one webhook that are the Watchdog's;
    /// returns, for each of them all, whether it is.
    pub fn take(&self, alerts: &[Alert<'_>]) -> Vec<bool> {
        let mut watch = self.watch();
        let ours: Vec<bool> = alerts.iter().map(|alert| watch.waits_for(alert)).collect();
        if ours.contains(&true) {
            let now = self.look(&mut watch);
            let words = alerts.iter().zip(&ours).filter(|(_, ours)| **ours);
            for (alert, _) in words {
                let status = status(alert.meaning);
                watch
                    .pulse
                    .hear(alert.identity, status, alert.starts_at, now);
            }
            self.show(&mut watch, now, "the Watchdog alert is resolved");
            self.changed.notify_one();
        }
        ours
    }

    /// Looks whenever silence may have lasted too long, until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let until = self.watch().deadline();
            let deadline = async {
                match until {
                    Some(until) => tokio::time::sleep_until(self.clock.instant(until)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = deadline => {
                    self.look(&mut self.watch());
                }
            }
        }
    }

    /// Lets time pass; gives the moment that it is.
    fn look(&self, watch: &mut Watch) -> Moment {
        let now = self.clock.moment();
        let jumped = watch.drift.jumped(&self.clock);
        watch.pulse.pass_time(now, jumped);
        let silence = format!(
            "no Watchdog alert for {}",
            show_duration(watch.pulse.timeout)
        );
        self.show(watch, now, &silence);
        now
    }

    /// Shows whether the alert path lives, and says so when that has changed;
    /// `why` is what speaks against it.
    fn show(&self, watch: &mut Watch, now: Moment, why: &str) {
        let on = !watch.matchers.is_empty();
        let lives = watch.pulse.lives(now).filter(|_| on);
        self.metrics.alert_path_up(lives);
        match (watch.shown, lives) {
            (None | Some(true), Some(false)) => {
                let waited_for = waited_for(&watch.matchers);
                warn!(
                    waited_for,
                    "{why}: the alert path is dead, and all sites are watched by routine probes alone \
                     (alerts.watchdog says what is waited for; an empty list turns this off)"
                );
            }
            (Some(false), Some(true)) => {
                info!("the Watchdog alert fires: the alert path is back");
            }
            _ => {}
        }
        watch.shown = lives;
    }

    /// What is known; a panic elsewhere leaves it as usable as it was.
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn waits_for(&self, alert: &Alert<'_>) -> bool {
        let mut matchers = self.matchers.iter();
        !self.matchers.is_empty() && matchers.all(|matcher| matcher.matches(&alert.labels))
    }

    /// When to look next; never if no alert is waited for.
    fn deadline(&self) -> Option<Moment> {
        self.pulse.deadline().filter(|_| !self.matchers.is_empty())
    }
}

/// A sender that went blind sends no other alert either.
fn status(meaning: Meaning) -> AlertStatus {
    match meaning {
        Meaning::Firing => AlertStatus::Firing,
        Meaning::Resolved | Meaning::LookOnly => AlertStatus::Resolved,
    }
}

fn waited_for(matchers: &[Matcher]) -> String {
    let matchers: Vec<_> = matchers.iter().map(Matcher::to_string).collect();
    matchers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);
    const TIMEOUT: Duration = Duration::from_secs(900);

    fn settings(watchdog: &[&str], timeout: Duration) -> Alerts {
        Alerts {
            site_label: "site".into(),
            ttl: TIMEOUT,
            watchdog: watchdog
                .iter()
                .map(|text| Matcher::parse(text).unwrap())
                .collect(),
            watchdog_timeout: timeout,
        }
    }

    fn alert(name: &'static str, meaning: Meaning) -> Alert<'static> {
        Alert {
            labels: [("alertname", name)].into_iter().collect(),
            meaning,
            status: status(meaning),
            starts_at: None,
            identity: name.len() as u64,
        }
    }

    /// A watchdog whose task runs, on the paused clock.
    struct Kennel {
        clock: Clock,
        metrics: Arc<Metrics>,
        watchdog: Arc<Watchdog>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Kennel {
        fn new(settings: &Alerts) -> Kennel {
            let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
            let metrics = Metrics::new();
            let watchdog = Watchdog::new(settings, &clock, &metrics);
            let stop = CancellationToken::new();
            let task = tokio::spawn(watchdog.clone().run(stop.clone()));
            Kennel {
                clock,
                metrics,
                watchdog,
                stop,
                task,
            }
        }

        /// What a scrape finds.
        fn gauge(&self) -> Option<String> {
            let text = String::from_utf8(self.metrics.text()).unwrap();
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix("originswitch_alert_path_up ")?.into()))
        }

        #[track_caller]
        fn shows(&self, expected: &str) {
            assert_eq!(self.gauge().as_deref().unwrap_or("nothing"), expected);
        }

        fn says(&self, meaning: Meaning) {
            let ours = self.watchdog.take(&[alert("Watchdog", meaning)]);
            assert_eq!(ours, [true]);
        }
    }

    const USUAL: &[&str] = &["alertname=\"Watchdog\""];

    async fn minutes(number: u32) {
        tokio::time::sleep(MINUTE * number).await;
    }

    /// Long enough for a deadline that falls together with the end of a sleep.
    async fn moment() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_shows_without_anybody_asking() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        kennel.shows("nothing");
        minutes(14).await;
        kennel.shows("nothing");
        minutes(1).await;
        moment().await;
        kennel.shows("0");
        kennel.says(Meaning::Firing);
        kennel.shows("1");
        for _ in 0..5 {
            minutes(14).await;
            kennel.says(Meaning::Firing);
        }
        minutes(14).await;
        kennel.shows("1");
        minutes(1).await;
        moment().await;
        kennel.shows("0");
        kennel.says(Meaning::Firing);
        kennel.says(Meaning::Resolved);
        kennel.shows("0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_expires_nothing() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        kennel.says(Meaning::Firing);
        minutes(10).await;
        kennel.clock.step(3_600_000);
        minutes(6).await;
        kennel.shows("1");
        minutes(15).await;
        kennel.shows("0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_expires_nothing() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        kennel.says(Meaning::Firing);
        tokio::task::yield_now().await;
        tokio::time::advance(MINUTE * 60).await;
        moment().await;
        kennel.shows("1");
        minutes(15).await;
        kennel.shows("0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_went_blind_is_no_sign_of_life() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        kennel.says(Meaning::Firing);
        kennel.says(Meaning::LookOnly);
        kennel.shows("0");
    }

    #[tokio::test(start_paused = true)]
    async fn only_alerts_that_meet_all_matchers_are_heard() {
        let both = ["alertname=~\"Watch.*\"", "alertname!=\"Watchman\""];
        let kennel = Kennel::new(&settings(&both, TIMEOUT));
        let fires = |name| alert(name, Meaning::Firing);
        let ours = kennel.watchdog.take(&[fires("Watchman"), fires("Down")]);
        assert_eq!(ours, [false, false]);
        kennel.shows("nothing");
        let ours = kennel
            .watchdog
            .take(&[fires("Watchman"), fires("Watchcat")]);
        assert_eq!(ours, [false, true]);
        kennel.shows("1");
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_list_hears_nothing_and_shows_nothing() {
        let kennel = Kennel::new(&settings(&[], TIMEOUT));
        let ours = kennel.watchdog.take(&[alert("Watchdog", Meaning::Firing)]);
        assert_eq!(ours, [false]);
        minutes(60).await;
        kennel.shows("nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn changed_settings_take_effect_and_what_is_known_stays() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        kennel.says(Meaning::Firing);
        minutes(2).await;
        // The same alert, waited for longer, then not so long.
        kennel.watchdog.configure(&settings(USUAL, TIMEOUT * 2));
        kennel.shows("1");
        minutes(27).await;
        kennel.shows("1");
        kennel.watchdog.configure(&settings(USUAL, MINUTE));
        kennel.shows("0");
        // Another alert: nothing is known of it.
        kennel.says(Meaning::Firing);
        let other = settings(&["alertname=\"Heartbeat\""], MINUTE);
        kennel.watchdog.configure(&other);
        kennel.shows("nothing");
        minutes(1).await;
        moment().await;
        kennel.shows("0");
        // None at all, and back again.
        kennel.watchdog.configure(&settings(&[], MINUTE));
        kennel.shows("nothing");
        minutes(5).await;
        kennel.watchdog.configure(&settings(USUAL, MINUTE));
        kennel.shows("nothing");
        minutes(1).await;
        moment().await;
        kennel.shows("0");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_process() {
        let kennel = Kennel::new(&settings(USUAL, TIMEOUT));
        minutes(1).await;
        kennel.stop.cancel();
        kennel.task.await.unwrap();
    }
}
