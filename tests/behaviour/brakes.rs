//! What turns a wanted switch into a hold, and what lifts it.

use crate::common::*;
use originswitch::sandbox::cloudflare::RecordSpec;
use serde_json::{Value, json};

async fn posts(server: &Server, call_name: &str) -> Value {
    let path = format!("/api/v1/sites/{SITE}/{call_name}");
    let reply = call(server, "POST", &path).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// A hold is told in the decision, on the site and in the metrics.
async fn check_hold(server: &Server, decision: &Value, reason: &str) {
    assert_eq!(decision["action"], "hold", "{decision}");
    assert_eq!(decision["reason"], reason, "{decision}");
    assert_eq!(decision["result"], Value::Null, "{decision}");
    held(server, SITE, Some(reason)).await;
    let metrics = server.metrics().await;
    let labels = [("site", SITE), ("reason", reason)];
    assert_eq!(metrics.get("hold", &labels), Some(1.0));
    assert_eq!(metrics.get("hold", &[]), Some(1.0), "no other hold");
    let labels = [("action", "hold"), ("reason", reason)];
    assert!(metrics.get("decisions_total", &labels).unwrap() >= 1.0);
}

/// The site is moved to BACKUP on an alert that is resolved at once.
async fn to_backup(world: &World, server: &Server) {
    origin_is(server, SITE, "backup", "up").await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert!(world.on_backup());
    server.decision_on_alert(SITE, "resolved").await;
}

#[tokio::test]
async fn an_origin_never_seen_up_is_not_left_until_it_is_trusted() {
    let world = World::new().await;
    world.kill_main().await;
    let server = world.serve().await;
    let hold = decided(&server, SITE, "unproven").await;
    check_hold(&server, &hold, "unproven").await;
    assert_eq!(hold["steps"], json!([1, 2, 6, 7, 8]), "{hold}");
    // Not even an alert is proof.
    let hold = server.decision_on_alert(SITE, "firing").await;
    check_hold(&server, &hold, "unproven").await;

    let decision = posts(&server, "trust").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert_eq!(decision["trigger"], "manual", "{decision}");
    assert!(world.on_backup());
}

#[tokio::test]
async fn what_was_seen_up_stays_proven_over_a_restart() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    world.kill_main().await;
    let server = server.restart().await;
    server
        .wait_until("it is moved", async || world.on_backup())
        .await;
    drop(server);
    // A changed path starts anew.
    let mut world = World::new().await;
    let mut server = world.serve_on_main().await;
    world.kill_main().await;
    world.more = "[site.probe]\npath = \"/other\"\n".into();
    world.configure();
    let server = server.restart().await;
    decided(&server, SITE, "unproven").await;
    assert!(world.on_main());
}

#[tokio::test]
async fn a_return_waits_until_main_has_been_well_for_long_enough() {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"1s\"\nfailback_after = \"3s\"\n".into();
    let server = world.serve_on_main().await;
    to_backup(&world, &server).await;
    world.revive_main().await;
    let back = std::time::Instant::now();
    let hold = decided(&server, SITE, "failback_wait").await;
    check_hold(&server, &hold, "failback_wait").await;
    assert_eq!(hold["steps"], json!([1, 2, 3, 4, 5]), "{hold}");
    let decision = decided(&server, SITE, "failback").await;
    assert!(back.elapsed() >= std::time::Duration::from_secs(3));
    assert_eq!(decision["to"]["role"], "main", "{decision}");
    assert!(world.on_main());
    held(&server, SITE, None).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("hold", &[]), None);
    assert_eq!(metrics.switches("backup", "main", "confirmed"), Some(1.0));
}

#[tokio::test]
async fn a_dns_only_record_waits_for_twice_its_ttl() {
    let spec = RecordSpec::new("A", HOSTNAME, "192.0.2.1").ttl(60);
    let world = World::with(spec);
    let server = world.serve_on_main().await;
    to_backup(&world, &server).await;
    world.revive_main().await;
    let hold = decided(&server, SITE, "failback_wait").await;
    assert!(explanation(&hold).contains("of 2 min"), "{hold}");
    // A person need not wait.
    let decision = posts(&server, "failback").await;
    assert_eq!(decision["reason"], "failback", "{decision}");
    assert!(world.on_main());
}

#[tokio::test]
async fn a_manual_failback_is_a_persons() {
    let mut world = World::new().await;
    world.rule += "failback = \"manual\"\n";
    let server = world.serve_on_main().await;
    to_backup(&world, &server).await;
    // Not while MAIN is down.
    let decision = posts(&server, "failback").await;
    assert_eq!(decision["reason"], "main_down", "{decision}");
    world.revive_main().await;
    let hold = decided(&server, SITE, "failback_manual").await;
    check_hold(&server, &hold, "failback_manual").await;

    let decision = posts(&server, "failback").await;
    assert_eq!(decision["action"], "switch", "{decision}");
    assert_eq!(decision["reason"], "failback", "{decision}");
    assert_eq!(decision["steps"], json!([1, 2, 3, 4, 5]), "{decision}");
    assert!(world.on_main());
    // The next one is a person's again, and a flight is nobody's.
    to_backup(&world, &server).await;
    world.revive_main().await;
    held(&server, SITE, Some("failback_manual")).await;
}

#[tokio::test]
async fn the_last_switch_of_the_budget_is_kept_for_a_flight() {
    let mut world = World::new().await;
    world.rule += "max_switches = 3\nswitch_window = \"1h\"\n";
    let server = world.serve_on_main().await;
    // There and back: two of three.
    to_backup(&world, &server).await;
    world.revive_main().await;
    // Its row is there before it is sent.
    decided(&server, SITE, "failback").await;
    server
        .wait_until("it is sent", async || world.on_main())
        .await;
    // The third is a flight.
    to_backup(&world, &server).await;
    world.revive_main().await;
    let hold = decided(&server, SITE, "switch_budget").await;
    check_hold(&server, &hold, "switch_budget").await;
    assert!(world.on_backup());
    // Nothing is left, not even for a flight.
    world.kill_backup().await;
    origin_is(&server, SITE, "main", "up").await;
    let hold = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(hold["reason"], "switch_budget", "{hold}");
    assert_eq!(world.cloudflare.writes(), 3);

    let decision = posts(&server, "release").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert!(world.on_main());
}

#[tokio::test]
async fn a_return_leaves_one_switch_for_the_next_flight() {
    let mut world = World::new().await;
    world.rule += "max_switches = 2\n";
    let server = world.serve_on_main().await;
    to_backup(&world, &server).await;
    world.revive_main().await;
    let hold = decided(&server, SITE, "switch_budget").await;
    check_hold(&server, &hold, "switch_budget").await;
    // BACKUP dies: the flight has its switch.
    world.kill_backup().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["to"]["role"], "main", "{decision}");
    assert_eq!(world.cloudflare.writes(), 2);
}

#[tokio::test]
async fn an_unknown_origin_can_be_left_alone() {
    for (up, steps) in [
        (true, json!([1, 2, 3, 4, 5])),
        (false, json!([1, 2, 6, 7, 8])),
    ] {
        let mut world = World::new().await;
        world.rule += "unknown_origin = \"hold\"\n";
        let other = origin(&world, 90, None);
        set_up(&other, up).await;
        world.more = format!("[site.probe]\nport = {}\n", other.addr().port());
        let address = other.addr().ip().to_string();
        world.cloudflare.edit(&world.record, &address);
        let server = world.serve().await;
        let hold = decided(&server, SITE, "unknown_origin").await;
        check_hold(&server, &hold, "unknown_origin").await;
        assert_eq!(hold["steps"], steps, "{hold}");
        assert_eq!(hold["record"], json!({"role": "other", "address": address}));
        assert_eq!(world.content(), address);
        let metrics = server.metrics().await;
        let on = [("site", SITE), ("origin", "other")];
        assert_eq!(metrics.get("record_origin", &on), Some(1.0));
    }
}

#[tokio::test]
async fn a_dry_run_says_once_what_it_would_do_and_writes_nothing() {
    let mut world = World::new().await;
    world.rule += "dry_run = true\n";
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    for _ in 0..3 {
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["action"], "switch", "{decision}");
        assert_eq!(decision["reason"], "failover", "{decision}");
        assert_eq!(decision["result"], "dry_run", "{decision}");
    }
    // Passes go on; the wanted change is one.
    let passes = [("site", SITE), ("action", "switch"), ("reason", "failover")];
    let count = async || {
        server
            .metrics()
            .await
            .get("decisions_total", &passes)
            .unwrap()
    };
    let more = count().await + 2.0;
    server
        .wait_until("passes go on", async || count().await >= more)
        .await;
    assert_eq!(server.switches().await.len(), 1, "stored once");
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "dry_run"), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(0.0));
    assert_eq!(metrics.get("last_switch_timestamp_seconds", &[]), None);
    assert_eq!(metrics.get("switch_duration_seconds_count", &[]), Some(0.0));
    assert_eq!(world.write_requests().len(), 0);
    assert!(world.on_main());
}

#[tokio::test]
async fn an_evaluation_can_be_a_dry_run() {
    let mut world = World::new().await;
    // Nobody but the caller looks.
    world.more = "[site.probe]\ninterval = \"1m\"\n".into();
    let server = world.serve_on_main().await;
    let well = evaluate(&server, "?dry_run=true").await;
    assert_eq!(well["reason"], "on_main", "{well}");
    assert_eq!(well["trigger"], "manual", "{well}");
    let refusal = call(&server, "POST", "/api/v1/sites/www/evaluate?dry_run=maybe").await;
    assert!(refused(&refusal, 400).contains("dry_run"));

    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let dry = evaluate(&server, "?dry_run=true").await;
    assert_eq!(dry["reason"], "failover", "{dry}");
    assert_eq!(dry["result"], "dry_run", "{dry}");
    assert_eq!(dry["to"]["role"], "backup", "{dry}");
    assert!(world.on_main());
    assert_eq!(world.write_requests().len(), 0);
    let wet = evaluate(&server, "").await;
    assert_eq!(wet["reason"], "failover", "{wet}");
    assert_eq!(wet["result"], "confirmed", "{wet}");
    assert!(world.on_backup());
}
