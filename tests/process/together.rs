//! Many sites at once: calls to Cloudflare that travel together.

use crate::support::server::{Server, World};
use originswitch::sandbox::cloudflare::{Logged, RecordSpec};
use serde_json::{Value, json};
use std::time::Duration;

const SITES: usize = 60;

/// A world with so many sites beside `www`, on the same origins.
async fn crowded() -> World {
    let mut world = World::new().await;
    world.probe = "max_in_flight = 512".into();
    world.cloudflare.configure(|options| {
        options.latency = Duration::from_millis(100);
    });
    for number in 0..SITES {
        let hostname = format!("s{number:02}.example.com");
        let spec = RecordSpec::new("A", &hostname, &world.main_ip());
        world.cloudflare.add_record(&world.zone, spec.proxied());
        world.more += &world.site_named(&format!("s{number:02}"), &hostname);
    }
    world
}

fn all_are(sites: &[Value], reason: &str) -> bool {
    sites.len() == SITES + 1
        && sites
            .iter()
            .all(|site| site["last_decision"]["reason"] == reason)
}

async fn wait_all(server: &Server, reason: &str) {
    server
        .wait_until(reason, async || all_are(&server.sites().await, reason))
        .await;
}

fn alerts(status: &str) -> Value {
    let names = (0..SITES).map(|number| format!("s{number:02}"));
    let alert = |site: String| {
        let labels = json!({"alertname": "OriginDown", "site": site});
        json!({"status": status, "labels": labels})
    };
    let alerts: Vec<Value> = names.chain(["www".into()]).map(alert).collect();
    json!({"version": "4", "status": status, "receiver": "originswitch", "alerts": alerts})
}

#[tokio::test]
async fn sixty_sites_that_lose_main_together_are_moved_in_a_few_calls() {
    let world = crowded().await;
    let server = world.serve().await;
    wait_all(&server, "on_main").await;
    world.kill_main().await;
    world.cloudflare.clear_requests();
    let reply = server.post("/webhook", alerts("firing")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_all(&server, "main_down").await;

    let moved = server.switches().await;
    assert_eq!(moved.len(), SITES + 1);
    for switch in &moved {
        assert_eq!(switch["result"], "confirmed", "{switch}");
        assert_eq!(switch["reason"], "failover", "{switch}");
    }
    for number in 0..SITES {
        let records = world
            .cloudflare
            .records(&format!("s{number:02}.example.com"));
        assert_eq!(records[0].content, world.backup_ip());
    }
    assert!(world.on_backup());
    let requests = world.cloudflare.requests();
    let writes = requests.iter().filter(|r| r.is_write()).count();
    assert!(writes <= 12, "{writes} calls that change records");
    let throttled = |request: &&Logged| request.status == Some(429);
    assert_eq!(requests.iter().filter(throttled).count(), 0);
    let metrics = server.metrics().await;
    let shared = metrics.get("cloudflare_shared_total", &[("kind", "write")]);
    assert_eq!(shared, Some((SITES + 1 - writes) as f64));
    world.assert_published(true);
}
