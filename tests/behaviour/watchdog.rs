//! The dead man's switch: whether alerts would still arrive.

use crate::common::*;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const GAUGE: &str = "alert_path_up";
const DEAD: &str = "the alert path is dead";
const BACK: &str = "the alert path is back";

/// A webhook captured from a real Alertmanager.
async fn post_captured(server: &Server, name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let request = request(server, "POST", "/webhook");
    let request = request.header("content-type", "application/json");
    let reply = send(request.body(text)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn post_firing(server: &Server) -> Value {
    post_captured(server, "35-watchdog-firing.json").await
}

async fn path_up(server: &Server) -> Option<f64> {
    server.metrics().await.get(GAUGE, &[])
}

async fn shows(server: &Server, up: Option<f64>) {
    let what = format!("{GAUGE} is {up:?}");
    server
        .wait_until(&what, async || path_up(server).await == up)
        .await;
}

fn lines(server: &Server, text: &str) -> usize {
    server.log().matches(text).count()
}

async fn reload(world: &World, server: &Server) {
    world.configure();
    let reply = call(server, "POST", "/-/reload").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn it_fires_and_the_path_lives_it_is_resolved_and_the_path_is_dead() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    assert_eq!(path_up(&server).await, None, "nothing is known yet");
    let decisions = server.decisions().await;

    for _ in 0..2 {
        let answer = post_firing(&server).await;
        assert_eq!(answer, json!({"accepted": [], "unmatched": 0}));
        assert_eq!(path_up(&server).await, Some(1.0));
    }
    assert_eq!(lines(&server, BACK), 0, "it was never gone");

    for _ in 0..2 {
        let answer =
            post_captured(&server, "36-watchdog-resolved-because-prometheus-died.json").await;
        assert_eq!(answer, json!({"accepted": [], "unmatched": 0}));
        assert_eq!(path_up(&server).await, Some(0.0));
    }
    server.wait_log(DEAD).await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains(DEAD)).unwrap();
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("the Watchdog alert is resolved"), "{line}");
    assert!(line.contains("routine probes alone"), "{line}");
    assert_eq!(lines(&server, DEAD), 1, "once:\n{log}");

    // A late copy of what has ended is no sign of life; a new start is.
    post_firing(&server).await;
    assert_eq!(path_up(&server).await, Some(0.0));
    let newer = json!([{
        "status": "firing",
        "labels": {"alertname": "Watchdog", "cluster": "lab", "severity": "none"},
        "startsAt": "2026-11-22T18:50:00.000Z",
    }]);
    post_alerts(&server, "", newer).await;
    assert_eq!(path_up(&server).await, Some(1.0));
    server.wait_log(BACK).await;

    let metrics = server.metrics().await;
    let received = |status| metrics.get("alerts_received_total", &[("status", status)]);
    assert_eq!(received("firing"), Some(4.0));
    assert_eq!(received("resolved"), Some(2.0));
    assert_eq!(metrics.get("alerts_unmatched_total", &[]), Some(0.0));
    assert_eq!(lines(&server, "belong to no site"), 0);
    assert_eq!(server.decisions().await, decisions, "it decides nothing");
}

#[tokio::test]
async fn silence_shows_and_is_said_once_and_ends_with_the_next_word() {
    let mut world = World::new().await;
    world.more = "[alerts]\nwatchdog_timeout = \"3s\"\n".into();
    let server = world.serve_on_main().await;
    // From the start, without a word at all.
    shows(&server, Some(0.0)).await;
    server.wait_log("no Watchdog alert for 3s").await;
    assert_eq!(lines(&server, DEAD), 1);

    let heard = Instant::now();
    post_firing(&server).await;
    assert_eq!(path_up(&server).await, Some(1.0));
    server.wait_log(BACK).await;
    shows(&server, Some(0.0)).await;
    assert!(heard.elapsed() >= Duration::from_secs(3));
    assert_eq!(lines(&server, DEAD), 2);

    // The same alert goes on: it never ended, it was only not heard.
    post_firing(&server).await;
    assert_eq!(path_up(&server).await, Some(1.0));
    assert_eq!(lines(&server, BACK), 2);

    // Through all of it sites are watched: a dead MAIN is left.
    shows(&server, Some(0.0)).await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    decided(&server, SITE, "failover").await;
    server
        .wait_until("the record is on backup", async || world.on_backup())
        .await;
}

#[tokio::test]
async fn an_empty_list_turns_it_off() {
    let mut world = World::new().await;
    world.more = "[alerts]\nwatchdog = []\nwatchdog_timeout = \"1s\"\n".into();
    let server = world.serve_on_main().await;
    let answer = post_firing(&server).await;
    assert_eq!(answer["unmatched"], 1, "an alert like any other: {answer}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(path_up(&server).await, None);
    assert_eq!(lines(&server, DEAD), 0);

    world.more = String::new();
    reload(&world, &server).await;
    assert_eq!(path_up(&server).await, None);
    post_firing(&server).await;
    assert_eq!(path_up(&server).await, Some(1.0));
    world.more = "[alerts]\nwatchdog = []\n".into();
    reload(&world, &server).await;
    assert_eq!(path_up(&server).await, None);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_the_same_alert() {
    let mut world = World::new().await;
    let server = world.serve_on_main().await;
    post_firing(&server).await;
    world.more = "[alerts]\nwatchdog_timeout = \"1h\"\n".into();
    reload(&world, &server).await;
    assert_eq!(path_up(&server).await, Some(1.0));

    // Not so long: it has been silent for longer than that already.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.more = "[alerts]\nwatchdog_timeout = \"1s\"\n".into();
    reload(&world, &server).await;
    shows(&server, Some(0.0)).await;

    // Another alert, of which nothing is known.
    world.more = "[alerts]\nwatchdog = ['alertname=\"Heartbeat\"']\n".into();
    reload(&world, &server).await;
    assert_eq!(path_up(&server).await, None);
    let answer = post_firing(&server).await;
    assert_eq!(answer["unmatched"], 1, "{answer}");
    assert_eq!(path_up(&server).await, None);
    let heartbeat = json!([{"labels": {"alertname": "Heartbeat"}}]);
    post_alerts(&server, "", heartbeat).await;
    assert_eq!(path_up(&server).await, Some(1.0));
}

#[tokio::test]
async fn one_that_names_a_site_is_the_sites_too() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let watchdog = json!({"status": "firing", "labels": {"alertname": "Watchdog", "site": SITE}});
    let nobodys = alert("nobody", "firing");
    let answer = post_alerts(&server, "", json!([watchdog, nobodys])).await;
    assert_eq!(answer["accepted"], json!([{"site": SITE, "alerts": 1}]));
    assert_eq!(answer["unmatched"], 1, "{answer}");
    assert_eq!(path_up(&server).await, Some(1.0));
    let site = server
        .wait_site(SITE, "the alert", |site| site["alert"].is_object())
        .await;
    assert_eq!(site["alert"]["status"], "firing", "{site}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("alerts_unmatched_total", &[]), Some(1.0));
}
