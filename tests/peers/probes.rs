//! Whom a probe asks, and whom it holds up: the running binary.

use crate::common::*;
use originswitch::sandbox::Behaviour;
use std::time::{Duration, Instant};

/// 10. phungvanquy, bootjp: the probe followed a redirect, through DNS, to somebody else.
#[tokio::test]
async fn a_redirect_does_not_lead_a_probe_away_from_its_origin() {
    let mut world = World::new().await;
    world.probe = "expect_status = [\"200\"]".into();
    let elsewhere = origin(&world, 40, None);
    let server = world.serve_on_main().await;
    let to = format!("http://{}/", elsewhere.addr());
    world.main.set(Behaviour::Redirect { to }).await.unwrap();
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert!(
        explanation(&decision).contains("not followed"),
        "{decision}"
    );
    assert_eq!(elsewhere.hits(), 0);
}

/// 23. bootjp's mutex, nebula's and phungvanquy's loops: one origin that hung held up all the others.
#[tokio::test]
async fn origins_that_hang_delay_no_other_site() {
    let world = World::new().await;
    let tar = origin(&world, 50, None);
    let mut sites = world.site_toml();
    for name in SLOW {
        let hostname = format!("{name}.example.com");
        add_record(&world, &hostname, &tar.addr().ip().to_string());
        let origins = [table(&tar, "timeout = \"30s\""), table(&world.backup, "")];
        sites += &site(name, &[&hostname], &origins, "");
    }
    let server = serve(&world, &sites).await;
    server.wait_reason(SITE, "on_main").await;
    origin_is(&server, SITE, "backup", "up").await;
    tar.set(Behaviour::Hanging).await.unwrap();
    let alerts = SLOW.map(|name| alert(name, "firing"));
    let hanging = tar.hits() + 32;
    post_alerts(&server, "", alerts.to_vec().into()).await;
    // As many probes are under way to that address as may be.
    server
        .wait_until("they hang", async || tar.hits() >= hanging)
        .await;
    world.kill_main().await;
    let begun = Instant::now();
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(tar.hits(), hanging, "no more than 32 at once");
}

const SLOW: [&str; 3] = ["slow", "slower", "slowest"];

/// 24. novakin: the "origin" was Cloudflare's own address, which answered for the dead one.
#[test]
fn an_origin_at_cloudflares_own_address_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.toml");
    let site = crate::support::world::SITE.replace("192.0.2.10", "104.16.1.1");
    std::fs::write(
        &path,
        format!("[cloudflare]\napi_token = \"s3cret\"\n{site}"),
    )
    .unwrap();
    let faults = originswitch::config::load(&path, [])
        .unwrap_err()
        .to_string();
    assert!(
        faults.contains("104.16.1.1 is Cloudflare's own address"),
        "{faults}"
    );
}
