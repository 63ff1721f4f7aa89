//! Cloudflare on a bad day: what it answers, and when it does not.

use crate::support::server::World;

#[tokio::test]
async fn main_dies_and_comes_back() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let before = world.cloudflare.record(&world.record).unwrap();

    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["result"], "confirmed");
    assert_eq!(decision["to"]["role"], "backup");
    assert!(world.on_backup());

    world.revive_main().await;
    server.post_alert("www", "resolved").await;
    server.wait_reason("www", "failback").await;
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 2);

    let after = world.cloudflare.record(&world.record).unwrap();
    assert_eq!(
        (after.comment, after.tags, after.ttl),
        (before.comment, before.tags, before.ttl)
    );
    assert_eq!(
        (after.proxied, after.settings),
        (before.proxied, before.settings)
    );
    for write in world.write_requests() {
        let body = write.json().unwrap();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["content"], "{body}");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert_eq!(metrics.switches("backup", "main", "confirmed"), Some(1.0));
    world.assert_published(true);
}
