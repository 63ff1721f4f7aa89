//! Many sites that leave MAIN together: the running binary.

use crate::common::*;
use std::time::{Duration, Instant};

/// Sites on MAIN, and what says so of each.
async fn many(world: &World, number: usize) -> Server {
    // So many sites ask more often than one token may.
    world.cloudflare.configure(|options| {
        options.limits.per_token = 1_000_000;
        options.limits.per_ip = 10_000;
    });
    let origins = [table(&world.main, ""), table(&world.backup, "")];
    let mut sites = String::new();
    for name in names(number) {
        let hostname = format!("{name}.example.com");
        add_record(world, &hostname, &world.main_ip());
        sites += &site(&name, &[&hostname], &origins, "");
    }
    let server = serve(world, &sites).await;
    server
        .wait_until("all are at rest", async || {
            let sites = server.sites().await;
            sites
                .iter()
                .all(|s| s["last_decision"]["reason"] == "on_main")
        })
        .await;
    server
}

fn names(number: usize) -> Vec<String> {
    (0..number).map(|n| format!("site-{n:02}")).collect()
}

/// MAIN dies, and an alert for each site says so.
async fn all_die(world: &World, server: &Server, number: usize) {
    world.kill_main().await;
    let alerts: Vec<_> = names(number).iter().map(|n| alert(n, "firing")).collect();
    post_alerts(server, "", alerts.into()).await;
}

/// Waits until so many sites have been moved, and the others are held.
async fn moved(server: &Server, moved: usize, held: usize) {
    let what = format!("{moved} are moved and {held} held");
    server
        .wait_until(&what, async || at(server).await == (moved, held))
        .await;
}

/// Switches that this process made, and sites that the brake holds.
async fn at(server: &Server) -> (usize, usize) {
    let metrics = server.metrics().await;
    let count = |name, labels: &[_]| metrics.get(name, labels).unwrap_or(0.0) as usize;
    let confirmed = [("to", "backup"), ("result", "confirmed")];
    (
        count("switches_total", &confirmed),
        count("hold", &[("reason", "brake")]),
    )
}

/// 20. mirai-prototype's breaker was for ever; nobody else had any: one wrong look moved every site.
#[tokio::test]
async fn of_fifty_sites_that_go_down_together_the_brake_holds_most_until_it_is_released() {
    let mut world = World::new().await;
    world.more = "[guard]\nmax_sites_together = 5\ntogether_window = \"1h\"\n".into();
    let mut server = many(&world, 50).await;
    all_die(&world, &server, 50).await;
    moved(&server, 5, 45).await;
    assert_eq!(world.changes_sent(), 5);
    // A restart does not forget who has left.
    server = server.restart().await;
    moved(&server, 0, 45).await;
    assert_eq!(world.changes_sent(), 5);

    let reply = call(&server, "POST", "/api/v1/brake/release").await;
    assert_eq!(reply.json()["released"].as_array().unwrap().len(), 45);
    moved(&server, 45, 0).await;
    assert_eq!(world.changes_sent(), 50);
}

/// 20. orchestrator#206: a block that had to be lifted by hand, or outlived what it was for.
#[tokio::test]
async fn the_brake_lets_the_others_go_as_its_window_slides() {
    let mut world = World::new().await;
    world.more = "[guard]\nmax_sites_together = 3\ntogether_window = \"4s\"\n".into();
    let server = many(&world, 6).await;
    all_die(&world, &server, 6).await;
    moved(&server, 3, 3).await;
    let full = Instant::now();
    moved(&server, 6, 0).await;
    assert!(
        full.elapsed() > Duration::from_secs(2),
        "{:?}",
        full.elapsed()
    );
    assert_eq!(world.changes_sent(), 6);
}
