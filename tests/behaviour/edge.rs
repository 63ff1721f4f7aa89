//! A site whose visitors come through the edge: what it says is told, and
//! heard where that is safe.

use crate::common::*;
use originswitch::sandbox::Edge;
use originswitch::sandbox::edge::Conduct;
use serde_json::json;
use std::time::Duration;

/// On MAIN behind an edge that serves it, with a short patience.
async fn behind_the_edge() -> (World, Edge, Server) {
    let mut world = World::new().await;
    let edge = world.edge();
    world.edge_keys += "timeout = \"1s\"\nsettle = \"2s\"\n";
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    gauge(&server, "edge_up", Some(1.0)).await;
    (world, edge, server)
}

/// Waits until a gauge of the site is so, or absent.
async fn gauge(server: &Server, name: &str, wanted: Option<f64>) {
    let labels = [("site", SITE)];
    server
        .wait_until(&format!("{name} is {wanted:?}"), async || {
            server.metrics().await.get(name, &labels) == wanted
        })
        .await;
}

async fn count(server: &Server, name: &str) -> f64 {
    server.metrics().await.get(name, &[]).unwrap()
}

#[tokio::test]
async fn what_the_edge_says_is_told_and_holds_no_failover_up_unless_it_serves() {
    for (conduct, shows) in [
        (Conduct::Failing(521), Some(0.0)),
        (Conduct::Failing(503), Some(0.0)),
        (Conduct::Failing(404), None),
        (Conduct::Cached, None),
        (Conduct::Challenging, None),
        (Conduct::Hanging, None),
    ] {
        let (world, edge, server) = behind_the_edge().await;
        edge.set(conduct);
        gauge(&server, "edge_up", shows).await;
        world.kill_main().await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["reason"], "failover", "{conduct:?} {decision}");
        let concurs = explanation(&decision).contains("the edge does not reach it either (521)");
        assert_eq!(concurs, conduct == Conduct::Failing(521), "{decision}");
        assert!(world.on_backup());
    }
    // Nobody listens there.
    let (world, edge, server) = behind_the_edge().await;
    edge.stop().await;
    gauge(&server, "edge_up", None).await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
}

#[tokio::test]
async fn the_way_back_to_the_visitors_is_measured() {
    let (world, _edge, server) = behind_the_edge().await;
    let names = ["recovery_seconds_count", "recovery_seconds_sum"];
    assert_eq!(count(&server, names[0]).await, 0.0);
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    server
        .wait_until("it is measured", async || {
            count(&server, names[0]).await == 1.0
        })
        .await;
    let (took, switched) = (
        count(&server, names[1]).await,
        decision["duration_seconds"].clone(),
    );
    assert!(
        took >= switched.as_f64().unwrap() && took < 10.0,
        "{took} {decision}"
    );
    gauge(&server, "edge_up", Some(1.0)).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "ineffective"), None);
    server
        .wait_log("through the edge the site is served again")
        .await;
}

#[tokio::test]
async fn a_switch_that_visitors_do_not_see_is_ineffective() {
    let (world, _edge, mut server) = behind_the_edge().await;
    // A load balancer of the same name, whose pool is MAIN.
    let main = world.main_ip();
    world.cloudflare.shadow(HOSTNAME, Some(&[&main]));
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    server.wait_log("the switch is ineffective").await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "ineffective"), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert_eq!(metrics.get("recovery_seconds_count", &[]), Some(0.0));
    assert_eq!(metrics.get("switch_duration_seconds_count", &[]), Some(1.0));
    // The history says so, also after a restart.
    server = server.restart().await;
    let switch = server.switches().await[0].clone();
    assert_eq!(switch["id"], decision["id"]);
    assert_eq!(switch["result"], "ineffective", "{switch}");
    let said = explanation(&switch);
    let clause = "record switched to backup; but through the edge the site was not served within 2s: \
                  look for a load balancer, a Worker or a tunnel with the same hostname";
    assert!(said.ends_with(clause), "{said}");
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn an_edge_that_fails_before_a_healthy_origin_is_told_and_moves_nothing() {
    let (world, edge, server) = behind_the_edge().await;
    gauge(&server, "edge_down", None).await;
    edge.set(Conduct::Failing(503));
    gauge(&server, "edge_down", Some(1.0)).await;
    gauge(&server, "edge_up", Some(0.0)).await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "on_main", "{decision}");
    let clause = "but through Cloudflare's edge the site answers 503 (edge_down)";
    assert!(explanation(&decision).contains(clause), "{decision}");
    edge.set(Conduct::Forwarding);
    gauge(&server, "edge_down", None).await;
    gauge(&server, "edge_up", Some(1.0)).await;
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn the_edge_is_asked_as_a_visitor_asks_and_past_every_cache() {
    let (_world, edge, server) = behind_the_edge().await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        let before = edge.requests();
        server
            .wait_until("it is asked again", async || edge.requests() > before)
            .await;
        let seen = edge.last_request().unwrap();
        assert_eq!(seen.host.as_deref(), Some(HOSTNAME));
        assert_like(&seen.path, r"/\?originswitch=[0-9a-f]{16}");
        paths.push(seen.path);
    }
    paths.dedup();
    assert_eq!(paths.len(), 3, "{paths:?}");
}

#[tokio::test]
async fn the_edge_is_set_for_one_site_and_changed_by_a_reload() {
    let mut world = World::new().await;
    let edge = world.edge();
    let keys = std::mem::take(&mut world.edge_keys);
    world.more = format!("[site.edge]\n{keys}");
    let server = world.serve_on_main().await;
    gauge(&server, "edge_up", Some(1.0)).await;
    world.more = String::new();
    world.configure();
    let reply = call(&server, "POST", "/-/reload").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    gauge(&server, "edge_up", None).await;
    let before = edge.requests();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(edge.requests(), before);
    let site = server.site(SITE).await;
    assert_eq!(site["hold"], json!(null));
}
