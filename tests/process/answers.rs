//! Cloudflare answers, but not what one would like to hear.

use crate::support::server::{Server, World};
use originswitch::sandbox::cloudflare::RecordSpec;
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use serde_json::Value;

/// MAIN dies, an alert says so, and the record is moved: the decision.
async fn flee(world: &World, server: &Server) -> Value {
    world.kill_main().await;
    server.decision_on_alert("www", "firing").await
}

/// One switch to BACKUP, in every place that tells of it.
async fn assert_moved_once(world: &World, server: &Server) {
    assert!(world.on_backup(), "{}", world.content());
    assert_eq!(world.cloudflare.writes(), 1, "one change was carried out");
    let site = server
        .wait_site("www", "no hold", |site| site["hold"].is_null())
        .await;
    assert_eq!(site["record"]["role"], "backup", "{site}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert!(metrics.get("last_switch_timestamp_seconds", &[("site", "www")]) > Some(0.0));
    let record = [("site", "www"), ("origin", "backup")];
    assert_eq!(metrics.get("record_origin", &record), Some(1.0));
    assert_eq!(metrics.get("hold", &[]), None);
    let switches = server.switches().await;
    let confirmed = switches.iter().filter(|s| s["result"] == "confirmed");
    assert_eq!(confirmed.count(), 1, "{switches:#?}");
}

#[tokio::test]
async fn a_good_day_main_dies_and_comes_back() {
    let note = RecordSpec::new("A", "www.example.com", "192.0.2.1").comment("ask Ada first");
    let world = World::with(note.tags(&["team:web", "tier:1"]).proxied());
    let server = world.serve_on_main().await;
    let before = world.cloudflare.record(&world.record).unwrap();

    let decision = flee(&world, &server).await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["result"], "confirmed");
    assert_eq!(decision["trigger"], "alert");
    assert_eq!(decision["steps"], serde_json::json!([1, 2, 6, 7, 8]));
    assert_eq!(decision["to"]["role"], "backup");
    assert_eq!(decision["to"]["address"], world.backup_ip());
    assert_moved_once(&world, &server).await;

    world.revive_main().await;
    server.post_alert("www", "resolved").await;
    let decision = server.wait_reason("www", "failback").await;
    assert_eq!(decision["steps"], serde_json::json!([1, 2, 3, 4, 5]));
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 2);

    let after = world.cloudflare.record(&world.record).unwrap();
    assert_eq!(after.comment, before.comment);
    assert_eq!((after.tags, after.ttl), (before.tags, before.ttl));
    assert_eq!(after.proxied, before.proxied);
    assert_eq!(after.settings, before.settings);
    for write in world.write_requests() {
        assert_eq!(write.method, "PATCH");
        let body = write.json().unwrap();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["content"], "{body}");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert_eq!(metrics.switches("backup", "main", "confirmed"), Some(1.0));
    world.assert_published(true);
}

#[tokio::test]
async fn a_throttled_write_waits_as_long_as_it_is_told() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let throttle = Effect::Throttle {
        retry_after: Some(3),
    };
    world
        .cloudflare
        .fault(Fault::once(Matcher::Writes, throttle));

    let decision = flee(&world, &server).await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert!(decision["duration_seconds"].as_f64() >= Some(3.0));
    assert_moved_once(&world, &server).await;
    let requests = world.cloudflare.requests();
    let refused = requests.iter().position(|r| r.status == Some(429)).unwrap();
    let pause = requests[refused + 1]
        .time
        .duration_since(requests[refused].time);
    assert!(pause.as_secs() >= 3, "the next request came after {pause}");
    assert_eq!(world.write_requests().len(), 2);
    let metrics = server.metrics().await;
    let throttled = [("operation", "patch_record"), ("code", "429")];
    assert_eq!(
        metrics.get("cloudflare_requests_total", &throttled),
        Some(1.0)
    );
    assert_eq!(metrics.get("cloudflare_up", &[]), Some(1.0));
    world.assert_published(true);
}

#[tokio::test]
async fn a_throttled_read_waits_as_long_as_it_is_told() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let throttle = Effect::Throttle {
        retry_after: Some(2),
    };
    world
        .cloudflare
        .fault(Fault::once(Matcher::Reads, throttle));

    let decision = flee(&world, &server).await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert_moved_once(&world, &server).await;
    let requests = world.cloudflare.requests();
    let refused = requests.iter().position(|r| r.status == Some(429)).unwrap();
    let pause = requests[refused + 1]
        .time
        .duration_since(requests[refused].time);
    assert!(pause.as_secs() >= 2, "the next request came after {pause}");
    world.assert_published(true);
}

#[tokio::test]
async fn errors_on_reads_are_only_a_delay() {
    for effect in [
        Effect::Status(500),
        Effect::TruncatedJson,
        Effect::CutBefore,
    ] {
        let world = World::new().await;
        let server = world.serve_on_main().await;
        let fault = Fault::times(2, Matcher::Reads, effect.clone());
        world.cloudflare.fault(fault);

        let decision = flee(&world, &server).await;
        assert_eq!(decision["result"], "confirmed", "{effect:?}: {decision}");
        assert_moved_once(&world, &server).await;
        assert_eq!(world.write_requests().len(), 1, "{effect:?}");
        assert!(!server.log().contains("<html"), "{}", server.log());
        world.assert_published(false);
    }
}

#[tokio::test]
async fn an_error_page_for_a_write_is_no_answer_so_the_record_is_read_first() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let fault = Fault::once(Matcher::Writes, Effect::Status(500));
    world.cloudflare.fault(fault);

    let decision = flee(&world, &server).await;
    assert_eq!(decision["result"], "unconfirmed", "{decision}");
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("could not confirm"), "{said}");
    server
        .wait_until("the next try", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_moved_once(&world, &server).await;
    // Between the two writes the record was read.
    let requests = world.cloudflare.requests();
    let first = requests.iter().position(|r| r.is_write()).unwrap();
    assert!(!requests[first + 1].is_write(), "{:?}", requests[first + 1]);
    assert_eq!(world.write_requests().len(), 2);
    let results: Vec<Value> = server.switches().await;
    let results: Vec<_> = results.iter().map(|s| s["result"].clone()).collect();
    assert_eq!(results, ["unconfirmed", "confirmed"]);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "unconfirmed"), Some(1.0));
}

#[tokio::test]
async fn a_write_that_was_done_but_answered_badly_is_found_done() {
    for effect in [
        Effect::StatusAfter(502),
        Effect::TruncatedJson,
        Effect::CutAfter,
    ] {
        let world = World::new().await;
        let server = world.serve_on_main().await;
        let fault = Fault::once(Matcher::Writes, effect.clone());
        world.cloudflare.fault(fault);

        let decision = flee(&world, &server).await;
        assert_eq!(decision["result"], "confirmed", "{effect:?}: {decision}");
        let said = decision["explanation"].as_str().unwrap();
        assert!(said.contains("read again"), "{said}");
        assert_moved_once(&world, &server).await;
        assert_eq!(
            world.write_requests().len(),
            1,
            "{effect:?}: no second write"
        );
        assert_eq!(server.switches().await.len(), 1);
        // It was ourselves: no foreign hand keeps the site from its return.
        world.revive_main().await;
        server.post_alert("www", "resolved").await;
        server.wait_reason("www", "failback").await;
        assert_eq!(world.cloudflare.writes(), 2);
    }
}

#[tokio::test]
async fn a_success_that_is_false_is_a_no() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let fault = Fault::once(Matcher::Writes, Effect::SuccessFalse200);
    world.cloudflare.fault(fault);

    let decision = flee(&world, &server).await;
    assert_eq!(decision["result"], "rejected", "{decision}");
    assert_eq!(decision["reason"], "failover");
    let said = decision["explanation"].as_str().unwrap();
    assert!(
        said.contains("rejected") && said.contains("10001"),
        "{said}"
    );
    server
        .wait_until("decided again", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_moved_once(&world, &server).await;
    assert_eq!(world.write_requests().len(), 2);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "rejected"), Some(1.0));
    world.assert_published(false);
}

#[tokio::test]
async fn a_read_that_fails_politely_holds_and_says_so() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let fault = Fault::always(Matcher::Reads, Effect::SuccessFalse200);
    world.cloudflare.fault(fault);

    let decision = flee(&world, &server).await;
    assert_eq!(decision["action"], "hold", "{decision}");
    assert_eq!(decision["reason"], "cloudflare_unavailable");
    let site = server.site("www").await;
    assert_eq!(site["hold"], "cloudflare_unavailable");
    let metrics = server.metrics().await;
    let hold = [("site", "www"), ("reason", "cloudflare_unavailable")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));
    assert!(world.on_main());
    assert_eq!(world.write_requests().len(), 0);

    world.cloudflare.clear_faults();
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_moved_once(&world, &server).await;
}

#[tokio::test]
async fn a_refusal_that_stays_is_asked_again_ever_more_seldom() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let fault = Fault::always(Matcher::Writes, Effect::SuccessFalse200);
    world.cloudflare.fault(fault);

    let decision = flee(&world, &server).await;
    assert_eq!(decision["result"], "rejected", "{decision}");
    server
        .wait_until("it is tried four times", async || {
            world.write_requests().len() >= 4
        })
        .await;
    let times: Vec<_> = world.write_requests().iter().map(|r| r.time).collect();
    let last = times[3].duration_since(times[2]);
    assert!(
        last.as_millis() >= 1900,
        "after 0.5 s and 1 s come 2 s: {times:?}"
    );
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 0);
}
