//! What an alert does: "look now", "it is not only you", "do not go back yet".

use crate::common::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const UNCONFIRMED: &str = "alert_unconfirmed";
const OF_SITE: [(&str, &str); 1] = [("site", SITE)];

#[tokio::test]
async fn an_alert_about_a_dead_main_moves_the_site() {
    let mut world = World::new().await;
    // Our own probes would not notice for a while.
    world.more = "[site.probe]\ninterval = \"1m\"\n".into();
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["trigger"], "alert", "{decision}");
    assert_eq!(decision["steps"], json!([1, 2, 6, 7, 8]), "{decision}");
    assert_eq!(decision["result"], "confirmed", "{decision}");
    let members: Vec<&String> = decision.as_object().unwrap().keys().collect();
    let wanted = [
        "action",
        "duration_seconds",
        "explanation",
        "id",
        "origins",
        "reason",
        "record",
        "result",
        "site",
        "steps",
        "time",
        "to",
        "trigger",
    ];
    assert_eq!(members, wanted);
    assert_like(
        decision["time"].as_str().unwrap(),
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    );
    let told = format!(
        r"main \({}\) is down: connect: connection refused, (\d+) of (\d+) probes, and an alert is firing; backup \({}\) is up; record switched to backup",
        world.main_ip(),
        world.backup_ip()
    );
    assert_like(explanation(&decision), &told);
    assert!(world.on_backup());
    let site = server.site(SITE).await;
    assert_eq!(site["alert"]["status"], "firing", "{site}");
    assert!(site["alert"]["received"].is_string(), "{site}");
    assert_eq!(
        server.switches().await[0],
        decision,
        "as it is in the history"
    );
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    let spans = metrics.get("switch_duration_seconds_count", &[]);
    assert_eq!(spans, Some(1.0));
    assert!(
        metrics
            .get("last_switch_timestamp_seconds", &OF_SITE)
            .unwrap()
            > 1e9
    );
}

#[tokio::test]
async fn an_alert_about_a_healthy_main_moves_nothing() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    assert_eq!(server.metrics().await.get(UNCONFIRMED, &OF_SITE), None);
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "on_main", "{decision}");
    let said = explanation(&decision);
    assert!(said.contains("although an alert is firing"), "{decision}");
    assert_eq!(server.metrics().await.get(UNCONFIRMED, &OF_SITE), Some(1.0));

    server.decision_on_alert(SITE, "resolved").await;
    assert_eq!(server.metrics().await.get(UNCONFIRMED, &OF_SITE), None);
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn without_any_alert_a_dead_main_is_left_after_confirm_for() {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"2s\"\nfailback_after = \"1s\"\n".into();
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let died = Instant::now();
    world.kill_main().await;
    server
        .wait_until("it is moved", async || world.on_backup())
        .await;
    assert!(died.elapsed() >= Duration::from_secs(2));
    let decision = decided(&server, SITE, "failover").await;
    assert_eq!(decision["trigger"], "probe", "{decision}");
    assert!(!explanation(&decision).contains("alert"), "{decision}");
    let metrics = server.metrics().await;
    assert_eq!(
        metrics.get("alert_last_received_timestamp_seconds", &[]),
        None
    );
}

#[tokio::test]
async fn resolved_does_not_bring_a_dead_main_back() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    assert!(world.on_backup());
    let decision = server.decision_on_alert(SITE, "resolved").await;
    assert_eq!(decision["action"], "keep", "{decision}");
    assert_eq!(decision["reason"], "main_down", "{decision}");
    assert_eq!(decision["steps"], json!([1, 2, 3, 4]), "{decision}");
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);
}

/// A site on BACKUP after an alert that still fires, MAIN well again.
async fn away_while_an_alert_fires(ttl: &str) -> (World, Server) {
    let mut world = World::new().await;
    world.more = format!("[alerts]\nttl = \"{ttl}\"\n");
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    assert!(world.on_backup());
    world.revive_main().await;
    (world, server)
}

#[tokio::test]
async fn a_firing_alert_vetoes_the_return_until_it_is_resolved() {
    let (world, server) = away_while_an_alert_fires("15m").await;
    let hold = decided(&server, SITE, "alert_firing").await;
    assert_eq!(hold["action"], "hold", "{hold}");
    assert_eq!(hold["steps"], json!([1, 2, 3, 4, 5]), "{hold}");
    let labels = [("site", SITE), ("reason", "alert_firing")];
    assert_eq!(server.metrics().await.get("hold", &labels), Some(1.0));
    assert!(world.on_backup());

    server.post_alert(SITE, "resolved").await;
    let back = decided(&server, SITE, "failback").await;
    assert_eq!(back["to"]["role"], "main", "{back}");
    assert!(world.on_main());
    held(&server, SITE, None).await;
    assert_eq!(server.metrics().await.get("hold", &labels), None);
}

#[tokio::test]
async fn the_veto_ends_with_the_ttl_of_an_alert_that_is_not_repeated() {
    let fired = Instant::now();
    let (world, server) = away_while_an_alert_fires("6s").await;
    decided(&server, SITE, "alert_firing").await;
    decided(&server, SITE, "failback").await;
    assert!(fired.elapsed() >= Duration::from_secs(6));
    assert!(world.on_main());
}

#[tokio::test]
async fn a_late_copy_of_a_resolved_alert_does_not_fire() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let mut fires = alert(SITE, "firing");
    let mut resolved = alert(SITE, "resolved");
    for alert in [&mut fires, &mut resolved] {
        alert["startsAt"] = json!("2026-11-22T18:44:44.478Z");
    }
    for (alert, fires) in [(&fires, Some(1.0)), (&resolved, None), (&fires, None)] {
        post_alerts(&server, "?wait=30s", json!([alert])).await;
        let metrics = server.metrics().await;
        assert_eq!(metrics.get(UNCONFIRMED, &OF_SITE), fires, "{alert}");
    }
}

#[tokio::test]
async fn every_captured_webhook_is_taken() {
    let world = World::new().await;
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    add_record(&world, "shop.example.com", &world.main_ip());
    let server = serve(&world, &site("shop", &["shop.example.com"], &tables, "")).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads");
    let (mut taken, mut refused_ones, mut of_shop, mut watchdogs) = (0, 0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let request = request(&server, "POST", "/webhook");
        let reply = send(
            request
                .header("content-type", "application/json")
                .body(text),
        )
        .await;
        if body.is_array() {
            refused(&reply, 400);
            refused_ones += 1;
            continue;
        }
        assert_eq!(reply.status, 200, "{path:?}: {reply:?}");
        let answer = reply.json();
        let accepted = answer["accepted"].as_array().unwrap();
        let matched: u64 = accepted.iter().map(|a| a["alerts"].as_u64().unwrap()).sum();
        assert!(accepted.iter().all(|a| a["site"] == "shop"), "{answer}");
        let unmatched = answer["unmatched"].as_u64().unwrap();
        let sent = body["alerts"].as_array().unwrap().len() as u64;
        // The Watchdog belongs to no site, and is not missed there.
        let watchdog = body["groupLabels"]["alertname"] == "Watchdog";
        let counted = if watchdog { 0 } else { sent };
        assert_eq!(matched + unmatched, counted, "{path:?}: {answer}");
        watchdogs += u64::from(watchdog);
        taken += 1;
        of_shop += matched;
    }
    assert!(taken >= 28 && refused_ones == 1 && of_shop >= 6 && watchdogs == 2);
    let metrics = server.metrics().await;
    let code = |code| metrics.get("webhook_requests_total", &[("code", code)]);
    assert_eq!(code("200"), Some(f64::from(taken)));
    assert_eq!(code("400"), Some(1.0));
    assert!(metrics.get("alerts_unmatched_total", &[]).unwrap() > 0.0);
    assert!(server.ready().await);
}
