//! What is asked of Cloudflare, and what a record keeps: the running binary.

use crate::common::*;
use crate::support::server::{Folder, TOKEN};
use futures_util::future::join_all;
use originswitch::sandbox::cloudflare::{Record, RecordSpec, TokenStatus};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use serde_json::json;
use std::time::Duration;

/// What writes that were carried out made the record hold, without those that
/// changed nothing.
fn changes(world: &World) -> Vec<String> {
    let done = world
        .write_requests()
        .into_iter()
        .filter(|w| w.status == Some(200));
    let mut held: Vec<String> = done
        .map(|write| {
            write.json().unwrap()["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    held.dedup();
    held
}

/// MAIN dies while every write fails like this; then they go through.
async fn refused_and_then_not(effect: Effect) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world
        .cloudflare
        .fault(Fault::always(Matcher::Writes, effect.clone()));
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    let tried = async || !world.write_requests().is_empty();
    server.wait_until("a write is tried", tried).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = server.metrics().await;
    let on_main = [("site", SITE), ("origin", "main")];
    assert_eq!(
        metrics.get("record_origin", &on_main),
        Some(1.0),
        "{effect:?}"
    );
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(0.0));
    assert!(world.on_main());

    world.cloudflare.clear_faults();
    server.wait_reason(SITE, "main_down").await;
    assert_eq!(changes(&world), [world.backup_ip()], "{effect:?}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
}

/// 6. dnsmgr: status "switched" before the call, which failed and was never made again.
#[tokio::test]
async fn a_write_that_failed_leaves_the_state_as_it_was_and_is_tried_again() {
    let effects = [
        Effect::Status(500),
        Effect::Throttle {
            retry_after: Some(1),
        },
        Effect::SuccessFalse200,
        Effect::CutBefore,
    ];
    join_all(effects.map(refused_and_then_not)).await;
}

type Edit = fn(&World);

/// The record in a shape that forbids any change, then a dead MAIN.
async fn left_alone(edit: Edit) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    edit(&world);
    let before = world.cloudflare.records(HOSTNAME);
    server.wait_reason(SITE, "record_shape").await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "record_shape", "{decision}");
    assert_eq!(world.cloudflare.records(HOSTNAME), before);
    assert!(world.write_requests().is_empty());
}

/// 8. nebula, verkholantsevda deleted before they created; WATonomous, parkingomat emptied the set; bootjp doubled it.
#[tokio::test]
async fn a_record_that_is_gone_doubled_or_of_another_type_is_neither_made_nor_deleted() {
    let edits: [Edit; 4] = [
        |world| assert!(world.cloudflare.remove_record(&world.record)),
        |world| {
            let twin = RecordSpec::new("A", HOSTNAME, &world.backup_ip());
            world.cloudflare.add_record(&world.zone, twin.proxied());
        },
        |world| {
            // One of the two goes through Cloudflare, the other does not.
            let twin = RecordSpec::new("A", HOSTNAME, &world.backup_ip());
            world.cloudflare.add_record(&world.zone, twin);
        },
        |world| {
            world.cloudflare.remove_record(&world.record);
            let alias = RecordSpec::new("CNAME", HOSTNAME, "elsewhere.example.net");
            world.cloudflare.add_record(&world.zone, alias.proxied());
        },
    ];
    join_all(edits.map(left_alone)).await;
}

/// There and back; the record as it was but for what a change of content brings.
async fn there_and_back(spec: RecordSpec) {
    let mut world = World::with(spec);
    world.rule += "failback = \"manual\"\n";
    let server = world.serve_on_main().await;
    let before = world.cloudflare.record(&world.record).unwrap();
    let unchanged = |content: String| {
        let now = world.cloudflare.record(&world.record).unwrap();
        let (modified_on, before) = (now.modified_on, before.clone());
        assert_eq!(
            now,
            Record {
                content,
                modified_on,
                ..before
            }
        );
    };
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    unchanged(world.backup_ip());
    world.revive_main().await;
    server.wait_reason(SITE, "failback_manual").await;
    call(&server, "POST", "/api/v1/sites/www/failback").await;
    unchanged(world.main_ip());
    for write in world.write_requests() {
        let body = write.json().unwrap();
        assert_eq!(body, json!({"content": body["content"]}));
        assert_eq!(write.method, "PATCH");
    }
}

/// 9. phungvanquy took sites out of Cloudflare's proxy, mirai-prototype lost TTL and comment: both by PUT.
#[tokio::test]
async fn everything_but_the_content_of_a_record_stays_as_it_is() {
    let spec = || RecordSpec::new("A", HOSTNAME, "192.0.2.1").comment("ask Ada first");
    let proxied = spec().proxied().tags(&["team:web", "tier:1"]);
    join_all([proxied, spec().ttl(120)].map(there_and_back)).await;
}

/// 18. k8gb's split brain, Nerexbcd: two that decide alike wrote against each other.
#[tokio::test]
async fn two_instances_decide_the_same_and_change_the_record_once() {
    let world = World::new().await;
    let one = world.serve_on_main().await;
    let folder = Folder::new(&world.config());
    std::fs::write(folder.path("token"), TOKEN).unwrap();
    let two = folder.serve().await;
    two.wait_reason(SITE, "on_main").await;
    for server in [&one, &two] {
        origin_is(server, SITE, "backup", "up").await;
    }
    world.kill_main().await;
    let (a, b) = tokio::join!(
        one.decision_on_alert(SITE, "firing"),
        two.decision_on_alert(SITE, "firing")
    );
    for decision in [a, b] {
        // Who comes second may find it done.
        let reason = decision["reason"].as_str().unwrap();
        assert!(["failover", "main_down"].contains(&reason), "{decision}");
    }
    assert_eq!(changes(&world), [world.backup_ip()]);

    world.revive_main().await;
    for server in [&one, &two] {
        server.post_alert(SITE, "resolved").await;
    }
    for server in [&one, &two] {
        let home =
            |site: &serde_json::Value| site["record"]["role"] == "main" && site["hold"].is_null();
        server.wait_site(SITE, "back on MAIN", home).await;
    }
    assert_eq!(changes(&world), [world.backup_ip(), world.main_ip()]);
}

/// 25. favonia#722, oneuptime: a revoked token was found out when the failover needed it.
#[tokio::test]
async fn a_token_revoked_while_nothing_happens_is_told_and_nothing_is_sent_with_it() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let valid = async || server.metrics().await.get("cloudflare_token_valid", &[]);
    server
        .wait_until("it is valid", async || valid().await == Some(1.0))
        .await;
    let set = |status| world.cloudflare.set_token(TOKEN, |it| it.status = status);
    set(TokenStatus::Disabled);
    server
        .wait_until("it is not", async || valid().await == Some(0.0))
        .await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "cloudflare_unavailable", "{decision}");
    assert!(world.write_requests().is_empty());

    set(TokenStatus::Active);
    server.wait_reason(SITE, "main_down").await;
    assert_eq!(changes(&world), [world.backup_ip()]);
    server
        .wait_until("it is valid again", async || valid().await == Some(1.0))
        .await;
}
