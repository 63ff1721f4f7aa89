//! The record is not what it was: missing, doubled, edited by hand.

use crate::support::server::{HOSTNAME, Server, World};
use originswitch::sandbox::cloudflare::RecordSpec;
use originswitch::sandbox::{Behaviour, Origin};
use serde_json::Value;

/// An origin that is not configured, on MAIN's port as a probe expects it.
fn third(world: &World) -> Origin {
    let mut addr = world.address(30);
    addr.set_port(world.main.addr().port());
    Origin::start(addr, None).unwrap()
}

/// The port is the site's, so that a foreign address is probed on it too.
fn same_port(world: &mut World) {
    let port = world.main.addr().port();
    world.probe = format!("port = {port}\n");
}

/// Nothing is written, though MAIN is dead; the hold is seen everywhere.
async fn assert_shape(world: &World, server: &Server, words: &str) -> Value {
    let decision = server.wait_reason("www", "record_shape").await;
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains(words), "{said}");
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["action"], "hold", "{decision}");
    assert_eq!(decision["reason"], "record_shape");
    let metrics = server.metrics().await;
    let hold = [("site", "www"), ("reason", "record_shape")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));
    assert_eq!(server.site("www").await["hold"], "record_shape");
    assert_eq!(world.write_requests().len(), 0);
    decision
}

#[tokio::test]
async fn a_missing_record_is_not_created_and_one_with_another_id_is_taken() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.cloudflare.remove_record(&world.record);
    assert_shape(&world, &server, HOSTNAME).await;
    assert!(world.cloudflare.records(HOSTNAME).is_empty());

    let again = RecordSpec::new("A", HOSTNAME, &world.main_ip()).proxied();
    let id = world.cloudflare.add_record(&world.zone, again);
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    assert_ne!(id, world.record);
    let writes = world.write_requests();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].route().ends_with(&id), "{}", writes[0].route());
    world.assert_published(true);
}

#[tokio::test]
async fn a_doubled_record_is_left_alone() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let double = RecordSpec::new("A", HOSTNAME, &world.backup_ip()).proxied();
    let id = world.cloudflare.add_record(&world.zone, double);
    assert_shape(&world, &server, HOSTNAME).await;

    world.cloudflare.remove_record(&id);
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn a_record_of_another_type_is_left_alone() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.cloudflare.remove_record(&world.record);
    let alias = RecordSpec::new("CNAME", HOSTNAME, "elsewhere.example.net").proxied();
    world.cloudflare.add_record(&world.zone, alias);
    assert_shape(&world, &server, "CNAME").await;
}

#[tokio::test]
async fn an_address_of_a_family_that_no_origin_has_is_left_alone() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let six = RecordSpec::new("AAAA", HOSTNAME, "2001:db8::10").proxied();
    world.cloudflare.add_record(&world.zone, six);
    assert_shape(&world, &server, "AAAA").await;
}

#[tokio::test]
async fn a_record_that_changed_since_it_was_read_is_decided_anew() {
    let mut world = World::new().await;
    same_port(&mut world);
    // No steady read comes between: only the one before the write can see it.
    world.probe += "";
    let third = third(&world);
    let server = {
        world.configure();
        let text = world
            .config()
            .replace("interval = \"500ms\"", "interval = \"10m\"");
        world.folder.configure(&text);
        world.folder.serve().await
    };
    server.wait_reason("www", "on_main").await;
    let theirs = third.addr().ip().to_string();
    world.cloudflare.edit(&world.record, &theirs);
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "main_down", "{decision}");
    assert_eq!(decision["record"]["role"], "other");
    assert_eq!(decision["record"]["address"], theirs);
    assert_eq!(world.content(), theirs);
    assert_eq!(
        world.write_requests().len(),
        0,
        "it is no longer ours to change"
    );
}

#[tokio::test]
async fn a_record_that_somebody_moved_home_meanwhile_is_not_written() {
    let world = World::new().await;
    world.configure();
    let text = world
        .config()
        .replace("interval = \"500ms\"", "interval = \"10m\"");
    world.folder.configure(&text);
    let server = world.folder.serve().await;
    server.wait_reason("www", "on_main").await;
    world.cloudflare.edit(&world.record, &world.backup_ip());
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "main_down", "{decision}");
    assert_eq!(decision["record"]["role"], "backup");
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn somebody_elses_address_is_left_while_it_lives_and_fled_when_it_dies() {
    let mut world = World::new().await;
    same_port(&mut world);
    let third = third(&world);
    let server = world.serve_on_main().await;
    let theirs = third.addr().ip().to_string();
    world.cloudflare.edit(&world.record, &theirs);
    let decision = server.wait_reason("www", "foreign").await;
    assert_eq!(decision["action"], "hold");
    assert_eq!(decision["record"]["address"], theirs);
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("somebody else"), "{said}");
    let metrics = server.metrics().await;
    let of = |origin| [("site", "www"), ("origin", origin)];
    assert_eq!(metrics.get("record_origin", &of("other")), Some(1.0));
    assert_eq!(metrics.get("record_origin", &of("main")), Some(0.0));
    assert_eq!(metrics.get("origin_up", &of("other")), Some(1.0));
    let hold = [("site", "www"), ("reason", "foreign")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));
    assert!(!server.get("/metrics").await.text.contains(&theirs));
    assert_eq!(world.write_requests().len(), 0);

    third.set(Behaviour::Refusing).await.unwrap();
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["record"]["role"], "other");
    assert_eq!(decision["to"]["role"], "backup");
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("other", "backup", "confirmed"), Some(1.0));
}

#[tokio::test]
async fn an_edit_is_theirs_also_after_a_restart_until_it_is_released() {
    let mut world = World::new().await;
    same_port(&mut world);
    let third = third(&world);
    let mut server = world.serve_on_main().await;
    server.kill().await;
    let theirs = third.addr().ip().to_string();
    world.cloudflare.edit(&world.record, &theirs);
    let server = world.serve().await;
    server.wait_reason("www", "foreign").await;
    assert_eq!(world.content(), theirs);
    assert_eq!(world.write_requests().len(), 0);

    let reply = server.post("/api/v1/sites/www/release", Value::Null).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    server.wait_reason("www", "failback").await;
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn an_unknown_origin_can_be_held_even_when_it_is_dead() {
    let mut world = World::new().await;
    same_port(&mut world);
    world.rule += "unknown_origin = \"hold\"\n";
    let third = third(&world);
    let theirs = third.addr().ip().to_string();
    world.cloudflare.edit(&world.record, &theirs);
    let server = world.serve().await;
    server.wait_reason("www", "unknown_origin").await;

    third.set(Behaviour::Refusing).await.unwrap();
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "unknown_origin", "{decision}");
    assert_eq!(decision["record"]["role"], "other");
    assert_eq!(world.content(), theirs);
    assert_eq!(world.write_requests().len(), 0);
    assert_eq!(server.site("www").await["hold"], "unknown_origin");
}
