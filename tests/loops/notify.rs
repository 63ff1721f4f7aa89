//! Who is told of switches, lasting holds and refusals, and when: by the real
//! loop of a site and the real notifier, to Alertmanagers in memory.

use crate::support::world::*;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use originswitch::config::Notify;
use originswitch::notify::{MakePost, Notifier, Post};
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An Alertmanager that keeps what it was told, as the real one does: under the
/// labels, until it ends.
#[derive(Clone, Default)]
struct FakeAlertmanager(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    alerts: BTreeMap<String, Value>,
    requests: usize,
    down: bool,
}

impl FakeAlertmanager {
    fn down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }

    fn alerts(&self) -> Vec<Value> {
        let told = self.0.lock().unwrap();
        told.alerts.values().cloned().collect()
    }

    /// What fires, as `name{site, from, to, reason, result}`.
    fn firing(&self, now: Timestamp) -> Vec<String> {
        let fires = |alert: &Value| time(&alert["endsAt"]) > now;
        let mut firing: Vec<_> = self.alerts().into_iter().filter(fires).collect();
        firing.sort_by_key(|alert| alert["labels"]["alertname"].to_string());
        firing.iter().map(name).collect()
    }
}

impl Post for FakeAlertmanager {
    fn post(&self, body: String) -> BoxFuture<'_, Result<(), String>> {
        let mut told = self.0.lock().unwrap();
        told.requests += 1;
        let answer = if told.down {
            Err("connection refused".into())
        } else {
            let alerts: Vec<Value> = serde_json::from_str(&body).unwrap();
            for alert in alerts {
                assert!(
                    time(&alert["startsAt"]) <= time(&alert["endsAt"]),
                    "{alert}"
                );
                told.alerts.insert(alert["labels"].to_string(), alert);
            }
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn name(alert: &Value) -> String {
    let labels = alert["labels"].as_object().unwrap();
    let of = |name: &str| labels.get(name).and_then(Value::as_str);
    let told = ["site", "from", "to", "reason", "result"];
    let told: Vec<_> = told.into_iter().filter_map(of).collect();
    format!("{}{{{}}}", of("alertname").unwrap(), told.join(" "))
}

/// A notifier beside a site's loop, and those whom it tells.
struct Telling {
    notifier: Arc<Notifier>,
    stop: CancellationToken,
    alertmanagers: BTreeMap<String, FakeAlertmanager>,
}

fn settings(urls: &[&str]) -> Notify {
    Notify {
        alertmanager_urls: urls.iter().map(|&url| url.into()).collect(),
        token: None,
        hold_for: secs(300),
    }
}

impl Telling {
    fn start(rig: &Rig, urls: &[&str]) -> Telling {
        let known = ["a", "b"].map(|url| (url.to_owned(), FakeAlertmanager::default()));
        Telling::start_with(rig, urls, BTreeMap::from(known))
    }

    fn start_with(
        rig: &Rig,
        urls: &[&str],
        alertmanagers: BTreeMap<String, FakeAlertmanager>,
    ) -> Telling {
        let known = alertmanagers.clone();
        let make: MakePost = Arc::new(move |url, _| Ok(Arc::new(known[url].clone())));
        let notifier = Notifier::new(&settings(urls), &rig.clock, &rig.metrics, make);
        notifier.watch(vec![rig.handle().clone()]);
        let stop = CancellationToken::new();
        tokio::spawn(notifier.clone().run(stop.clone()));
        Telling {
            notifier,
            stop,
            alertmanagers,
        }
    }

    fn at(&self, url: &str) -> &FakeAlertmanager {
        &self.alertmanagers[url]
    }

    fn firing(&self, rig: &Rig) -> Vec<String> {
        self.at("a").firing(rig.clock.now())
    }

    /// The process ends and another one begins, with the same Alertmanagers.
    async fn restart(self, rig: &mut Rig, away: Duration) -> Telling {
        self.stop.cancel();
        rig.crash().await;
        rig.run_for(away).await;
        rig.boot();
        Telling::start_with(rig, &["a"], self.alertmanagers)
    }
}

/// MAIN dies, and the alert moves the site.
async fn fail_over(rig: &mut Rig) {
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.until(secs(10), |rig| rig.record() == Some(BACKUP))
        .await;
    rig.run_for(secs(2)).await;
}

const SWITCHED: &str = "OriginswitchSwitched{www main backup}";

#[tokio::test(start_paused = true)]
async fn a_switch_is_told_until_the_site_is_back_on_main() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a", "b"]);
    rig.run_for(secs(5)).await;
    assert_eq!(post.at("a").requests(), 0, "there is nothing to tell");

    fail_over(&mut rig).await;
    for url in ["a", "b"] {
        assert_eq!(post.at(url).firing(rig.clock.now()), [SWITCHED]);
    }
    let switch = rig.decisions().pop().unwrap();
    let alert = post.at("a").alerts().pop().unwrap();
    assert_eq!(time(&alert["startsAt"]), switch.time);
    assert_eq!(alert["annotations"]["description"], switch.explanation);
    assert_eq!(alert["labels"]["severity"], "warning");
    let labels = alert["labels"].to_string();
    for address in ["192.0.2.10", "198.51.100.20"] {
        assert!(!labels.contains(address), "{labels}");
    }

    // An hour on a dead MAIN: it is told on and on, once a minute.
    let requests = post.at("a").requests();
    rig.run_for(secs(3600)).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);
    let repeated = post.at("a").requests() - requests;
    assert!((59..=61).contains(&repeated), "{repeated}");

    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.until(secs(400), |rig| rig.record() == Some(MAIN)).await;
    rig.run_for(secs(2)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
    assert_eq!(post.at("b").firing(rig.clock.now()), Vec::<String>::new());
    let told = rig.metric("originswitch_notifications_total", "result=\"sent\"");
    let requests = post.at("a").requests() + post.at("b").requests();
    assert_eq!(told, requests as f64);
    // The end is repeated for a while, and then nothing more is said.
    rig.run_for(secs(1200)).await;
    let requests = post.at("a").requests();
    rig.run_for(secs(1200)).await;
    assert_eq!(post.at("a").requests(), requests);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_telling_and_tells_the_end() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a"]);
    fail_over(&mut rig).await;
    let began = post.at("a").alerts()[0]["startsAt"].clone();

    // Long enough for Alertmanager to have believed it over.
    let post = post.restart(&mut rig, secs(600)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
    rig.run_for(secs(20)).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);
    assert_eq!(post.at("a").alerts()[0]["startsAt"], began);

    // Somebody brings the record back while nobody looks.
    post.stop.cancel();
    rig.crash().await;
    rig.revive(MAIN);
    let main = rig.address(MAIN).to_string();
    rig.dns.edit(&main);
    rig.boot();
    assert_eq!(post.firing(&rig), [SWITCHED]);
    let post = Telling::start_with(&rig, &["a"], post.alertmanagers);
    rig.run_for(secs(20)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn while_the_record_cannot_be_read_after_a_restart_the_history_is_believed() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a"]);
    fail_over(&mut rig).await;
    rig.dns.reads_are(ReadFate::Unavailable);
    let post = post.restart(&mut rig, secs(1)).await;
    rig.run_for(secs(900)).await;
    assert_eq!(
        post.firing(&rig),
        [
            "OriginswitchHeld{www cloudflare_unavailable}".to_owned(),
            SWITCHED.to_owned()
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_hold_that_lasts_is_told_and_under_its_present_reason() {
    let mut rig = Rig::resting_with("failback = \"manual\"").await;
    let post = Telling::start(&rig, &["a"]);
    fail_over(&mut rig).await;
    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.until(secs(60), |rig| rig.status().hold.is_some()).await;
    rig.run_for(secs(290)).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);
    rig.until(secs(400), |rig| {
        rig.status().hold.map(|hold| hold.as_str()) == Some("failback_manual")
    })
    .await;
    rig.run_for(secs(310)).await;
    let manual = "OriginswitchHeld{www failback_manual}".to_owned();
    assert_eq!(post.firing(&rig), [manual.clone(), SWITCHED.to_owned()]);

    // A restart does not begin to count anew.
    let post = post.restart(&mut rig, secs(1)).await;
    rig.run_for(secs(30)).await;
    assert_eq!(post.firing(&rig), [manual, SWITCHED.to_owned()]);
    rig.ask(originswitch::failover::Request::Failback).await;
    rig.run_for(secs(15)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_wait_before_a_return_is_nobodys_business() {
    let mut rig = Rig::resting_with("failback_after = \"1h\"").await;
    let post = Telling::start(&rig, &["a"]);
    fail_over(&mut rig).await;
    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.run_for(secs(1800)).await;
    assert_eq!(rig.status().hold.unwrap().as_str(), "failback_wait");
    assert_eq!(post.firing(&rig), [SWITCHED]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_went_wrong_is_told_long_enough_to_be_heard() {
    for (fate, result) in [
        (WriteFate::Rejected, "rejected"),
        (WriteFate::LostBefore, "unconfirmed"),
    ] {
        let mut rig = Rig::resting().await;
        let post = Telling::start(&rig, &["a"]);
        rig.dns.writes_are(fate);
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(8)).await;
        let refused = format!("OriginswitchSwitchRefused{{www main backup {result}}}");
        assert_eq!(
            post.firing(&rig),
            std::slice::from_ref(&refused),
            "{:#?}",
            rig.story()
        );
        rig.run_for(secs(1200)).await;
        assert_eq!(post.firing(&rig), [refused], "{:#?}", rig.story());

        rig.dns.writes_are(WriteFate::Applied);
        rig.until(secs(400), |rig| rig.record() == Some(BACKUP))
            .await;
        rig.run_for(secs(3)).await;
        assert_eq!(post.firing(&rig), [SWITCHED]);
    }

    // It is over at once, but Alertmanager waits before it tells anybody.
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a"]);
    rig.dns.next_write(WriteFate::Rejected);
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    rig.revive(MAIN);
    rig.run_for(secs(240)).await;
    let refused = "OriginswitchSwitchRefused{www main backup rejected}";
    assert_eq!(rig.record(), Some(MAIN));
    assert_eq!(post.firing(&rig), [refused], "{:#?}", rig.story());
    rig.run_for(secs(120)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
}

/// One Alertmanager that is away holds nobody up: not the site, not the other
/// one; and is told what is so once it is back.
#[tokio::test(start_paused = true)]
async fn an_alertmanager_that_is_away_is_told_when_it_is_back() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a", "b"]);
    post.at("b").down(true);
    fail_over(&mut rig).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);
    rig.run_for(secs(600)).await;
    // Not in vain too often either: every 30 s at most, in the long run.
    let tried = post.at("b").requests();
    assert!((15..60).contains(&tried), "{tried}");
    let failed = rig.metric("originswitch_notifications_total", "result=\"failed\"");
    assert_eq!(failed, tried as f64);
    post.at("b").down(false);
    rig.run_for(secs(60)).await;
    assert_eq!(post.at("b").firing(rig.clock.now()), [SWITCHED]);
    assert_eq!(post.at("b").alerts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn changed_settings_and_sites_take_effect() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &[]);
    fail_over(&mut rig).await;
    assert_eq!(post.at("a").requests(), 0);
    post.notifier.configure(&settings(&["b"]));
    rig.run_for(secs(2)).await;
    assert_eq!(post.at("a").requests(), 0);
    assert_eq!(post.at("b").firing(rig.clock.now()), [SWITCHED]);
    post.notifier.configure(&settings(&["a", "b"]));
    rig.run_for(secs(2)).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);

    // A site that is gone is off no origin.
    post.notifier.watch(Vec::new());
    rig.run_for(secs(2)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
}

/// An alert must not begin after its end: Alertmanager would refuse it.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_breaks_nothing() {
    let mut rig = Rig::resting().await;
    let post = Telling::start(&rig, &["a"]);
    fail_over(&mut rig).await;
    rig.clock.step(-3_600_000);
    rig.run_for(secs(70)).await;
    assert_eq!(post.firing(&rig), [SWITCHED]);
    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.until(secs(600), |rig| rig.record() == Some(MAIN)).await;
    rig.run_for(secs(2)).await;
    assert_eq!(post.firing(&rig), Vec::<String>::new());
}
