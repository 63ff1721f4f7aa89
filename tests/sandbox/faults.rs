//! Ways to break, what is visible, and the log.

use super::*;

#[tokio::test]
async fn a_server_error_is_a_page_of_html_and_does_nothing() {
    let world = World::new();
    for status in [500, 502, 503, 504, 520] {
        world.fault(Matcher::Writes, Effect::Status(status));
        let reply = world.patch(json!({"content": BACKUP})).await;
        assert_eq!(reply.status, status);
        assert!(reply.header("content-type").starts_with("text/html"));
        assert!(reply.text.starts_with("<html>"));
    }
    assert_eq!(world.content(), MAIN);
    assert_eq!(world.patch(json!({"content": BACKUP})).await.status, 200);
}

#[tokio::test]
async fn an_answer_can_hide_that_the_write_was_done() {
    for effect in [
        Effect::StatusAfter(502),
        Effect::TruncatedJson,
        Effect::CutAfter,
    ] {
        let world = World::new();
        world.fault(Matcher::Operation(Operation::PatchRecord), effect.clone());
        if let Ok(reply) = world.try_patch(json!({"content": BACKUP})).await {
            assert!(reply.json.is_null(), "{effect:?}: {}", reply.text);
        }
        assert_eq!(
            (world.content().as_str(), world.cloudflare.writes()),
            (BACKUP, 1),
            "{effect:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_can_hide_that_the_write_was_not_done() {
    let world = World::new();
    world.fault(Matcher::Writes, Effect::CutBefore);
    assert!(world.try_patch(json!({"content": BACKUP})).await.is_err());
    assert_eq!(world.content(), MAIN);
    world.fault(Matcher::Writes, Effect::SuccessFalse200);
    let reply = world.patch(json!({"content": BACKUP})).await;
    assert_eq!((reply.status, &reply.json["success"]), (200, &json!(false)));
    assert_eq!(world.content(), MAIN);
    let log = world.cloudflare.requests();
    assert_eq!((log[0].status, log[1].status), (None, Some(200)));
}

#[tokio::test]
async fn a_request_may_get_no_answer_at_all() {
    let world = World::new();
    world.fault(Matcher::Any, Effect::NothingAtAll);
    let patience = Duration::from_millis(200);
    let patch = world.try_patch(json!({"content": BACKUP}));
    assert!(tokio::time::timeout(patience, patch).await.is_err());
    assert_eq!(world.content(), MAIN);
    assert_eq!(world.get("/zones").await.status, 200);
}

#[tokio::test]
async fn throttling_forbidding_and_latency_come_on_request() {
    let world = World::new();
    world.fault(
        Matcher::Any,
        Effect::Throttle {
            retry_after: Some(7),
        },
    );
    let reply = world.get("/zones").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "7"));
    world.fault(
        Matcher::Zone("example.com".into()),
        Effect::SpuriousForbidden,
    );
    assert_eq!(world.get("/zones").await.status, 200, "of no zone");
    assert_eq!(world.get(&world.records()).await.codes(), [10000]);
    world.fault(Matcher::Reads, Effect::Latency(Duration::from_millis(150)));
    let start = Instant::now();
    assert_eq!(world.get("/zones").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn reads_can_lag_behind_writes() {
    let world = World::new();
    let lag = Duration::from_millis(300);
    let fault = Fault::always(Matcher::Any, Effect::StaleReads { lag });
    world.cloudflare.fault(fault);
    assert_eq!(
        world.patch(json!({"content": BACKUP})).await.json["result"]["content"],
        BACKUP
    );
    let seen = async || world.get(&world.records()).await.json["result"][0]["content"].clone();
    assert_eq!(seen().await, MAIN);
    tokio::time::sleep(lag).await;
    assert_eq!(seen().await, BACKUP);
}

#[tokio::test]
async fn a_ghost_record_is_confirmed_and_is_not_there() {
    let world = World::new();
    world.fault(
        Matcher::Operation(Operation::CreateRecord),
        Effect::GhostRecord,
    );
    let made = world
        .post(json!({"type": "A", "name": "g", "content": MAIN}))
        .await;
    let id = made.json["result"]["id"].as_str().unwrap();
    assert_eq!(
        world.get(&format!("{}/{id}", world.records())).await.status,
        404
    );
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn an_outage_can_come_in_two_phases() {
    let world = World::new();
    let phase = Duration::from_millis(400);
    let start = tokio::time::Instant::now();
    world.cloudflare.two_phase_outage(503, phase, phase, phase);
    let mut statuses = Vec::new();
    for n in 0..4 {
        tokio::time::sleep_until(start + phase * n + Duration::from_millis(50)).await;
        statuses.push(world.get("/zones").await.status);
    }
    assert_eq!(statuses, [503, 200, 503, 200]);
}

#[tokio::test]
async fn a_stopped_cloudflare_refuses_and_comes_back_on_its_port() {
    let world = World::new();
    assert_eq!(world.get("/zones").await.status, 200);
    world.cloudflare.stop().await;
    let error = world
        .try_send(Method::GET, "/zones", None)
        .await
        .err()
        .unwrap();
    assert!(error.is_connect(), "{error:?}");
    world.cloudflare.restart().await.unwrap();
    assert_eq!(
        world.get(&world.records()).await.json["result"][0]["id"],
        world.record
    );
}

#[tokio::test]
async fn a_write_becomes_visible_later_and_a_shadow_hides_it() {
    let propagation = Duration::from_millis(200);
    let world = World::with(Options {
        propagation,
        ..Options::default()
    });
    let visible = || world.cloudflare.visible("www.example.com");
    assert_eq!(visible(), [MAIN]);
    world.patch(json!({"content": BACKUP})).await;
    assert_eq!(visible(), [MAIN]);
    tokio::time::sleep(propagation).await;
    assert_eq!(visible(), [BACKUP]);
    world
        .cloudflare
        .shadow("www.example.com", Some(&["203.0.113.99"]));
    assert_eq!(world.patch(json!({"content": MAIN})).await.status, 200);
    tokio::time::sleep(propagation).await;
    assert_eq!(visible(), ["203.0.113.99"]);
    world.cloudflare.shadow("www.example.com", None);
    assert_eq!(visible(), [MAIN]);
}

#[tokio::test]
async fn the_names_of_a_batch_become_visible_one_after_the_other() {
    let world = World::new();
    let spread = Duration::from_millis(300);
    world
        .cloudflare
        .configure(|o| o.propagation_spread = spread);
    let spec = RecordSpec::new("A", "api.example.com", MAIN);
    let api = world.cloudflare.add_record(&world.zone, spec);
    let patches = json!([{"id": world.record, "content": BACKUP}, {"id": api, "content": BACKUP}]);
    world.batch(json!({"patches": patches})).await;
    let both = || {
        ["www", "api"].map(|n| {
            world
                .cloudflare
                .visible(&format!("{n}.example.com"))
                .remove(0)
        })
    };
    assert_eq!(both(), [BACKUP, MAIN]);
    tokio::time::sleep(spread).await;
    assert_eq!(both(), [BACKUP, BACKUP]);
}

#[tokio::test]
async fn the_log_tells_all_but_the_secret() {
    let world = World::new();
    world.patch(json!({"content": BACKUP})).await;
    let log = world.cloudflare.requests();
    let entry = &log[0];
    assert_eq!(
        (entry.method.as_str(), entry.route()),
        ("PATCH", world.record().as_str())
    );
    assert_eq!(entry.json().unwrap(), json!({"content": BACKUP}));
    assert_eq!(entry.answer_json().unwrap()["result"]["content"], BACKUP);
    assert_eq!(entry.headers["authorization"], "***");
    assert!(!format!("{log:?}").contains(TOKEN));
    world.cloudflare.clear_requests();
    assert!(world.cloudflare.requests().is_empty());
}
