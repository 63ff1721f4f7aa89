//! Cloudflare does not answer: the connection hangs, is cut, or refused.

use crate::support::server::World;
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use std::time::Duration;

#[tokio::test]
async fn a_write_that_hangs_is_given_up_and_read_before_the_next() {
    let mut world = World::new().await;
    world.cloudflare_keys = "timeout = \"1s\"".into();
    let server = world.serve_on_main().await;
    let fault = Fault::once(Matcher::Writes, Effect::NothingAtAll);
    world.cloudflare.fault(fault);

    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "unconfirmed", "{decision}");
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("did not answer within 1s"), "{said}");
    server
        .wait_until("the next try", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    assert_eq!(world.write_requests().len(), 2);
    let metrics = server.metrics().await;
    let lost = [("operation", "patch_record"), ("code", "error")];
    assert_eq!(metrics.get("cloudflare_requests_total", &lost), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "unconfirmed"), Some(1.0));
}

#[tokio::test]
async fn a_read_that_hangs_is_asked_again() {
    let mut world = World::new().await;
    world.cloudflare_keys = "timeout = \"1s\"".into();
    let server = world.serve_on_main().await;
    let fault = Fault::times(2, Matcher::Reads, Effect::NothingAtAll);
    world.cloudflare.fault(fault);

    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_write_leads_to_another() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let fault = Fault::once(Matcher::Writes, Effect::CutBefore);
    world.cloudflare.fault(fault);

    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "unconfirmed", "{decision}");
    server
        .wait_until("the next try", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    assert_eq!(world.write_requests().len(), 2);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
}

/// Puts reads out of order as soon as the write is on its way.
async fn break_reads_during_the_write(world: &World) {
    while world.write_requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fault = Fault::always(Matcher::Reads, Effect::SuccessFalse200);
    world.cloudflare.fault(fault);
}

#[tokio::test]
async fn a_switch_of_unknown_outcome_is_counted_once_when_it_is_found_done() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let slow = Effect::Latency(Duration::from_secs(1));
    world.cloudflare.fault(Fault::once(Matcher::Writes, slow));
    world
        .cloudflare
        .fault(Fault::once(Matcher::Writes, Effect::CutAfter));

    world.kill_main().await;
    let (decision, ()) = tokio::join!(
        server.decision_on_alert("www", "firing"),
        break_reads_during_the_write(&world)
    );
    assert_eq!(decision["result"], "unconfirmed", "{decision}");
    assert!(world.on_backup(), "it was carried out");
    let id = decision["id"].clone();
    let stored = server.switches().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["result"], "unconfirmed");
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(0.0));

    world.cloudflare.clear_faults();
    server
        .wait_until("the history is amended", async || {
            server.switches().await[0]["result"] == "confirmed"
        })
        .await;
    let stored = server.switches().await;
    assert_eq!(stored.len(), 1, "{stored:#?}");
    assert_eq!(stored[0]["id"], id);
    server.wait_reason("www", "main_down").await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    assert_eq!(world.write_requests().len(), 1, "no second write");
    // It was our own hand: nothing keeps the site from its return.
    world.revive_main().await;
    server.post_alert("www", "resolved").await;
    server.wait_reason("www", "failback").await;
}

#[tokio::test]
async fn a_switch_of_unknown_outcome_outlives_a_crash() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    let slow = Effect::Latency(Duration::from_secs(1));
    world.cloudflare.fault(Fault::once(Matcher::Writes, slow));
    world
        .cloudflare
        .fault(Fault::once(Matcher::Writes, Effect::CutAfter));
    world.kill_main().await;
    let (decision, ()) = tokio::join!(
        server.decision_on_alert("www", "firing"),
        break_reads_during_the_write(&world)
    );
    assert_eq!(decision["result"], "unconfirmed", "{decision}");
    server.kill().await;
    world.cloudflare.clear_faults();

    let server = world.folder.serve().await;
    server
        .wait_until("the history is amended", async || {
            let stored = server.switches().await;
            stored.len() == 1 && stored[0]["result"] == "confirmed"
        })
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.write_requests().len(), 1, "no second write");
    let site = server.site("www").await;
    assert!(site["hold"].is_null(), "{site}");
}

#[tokio::test]
async fn main_dies_while_cloudflare_is_away() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.cloudflare.stop().await;
    world.kill_main().await;
    server.post_alert("www", "firing").await;
    server
        .wait_site("www", "MAIN is found down", |site| {
            site["origins"][0]["state"] == "down"
        })
        .await;
    server
        .wait_until("Cloudflare is found away", async || {
            server.metrics().await.get("cloudflare_up", &[]) == Some(0.0)
        })
        .await;

    world.cloudflare.restart().await.unwrap();
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("cloudflare_up", &[]), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    world.assert_published(true);
}

#[tokio::test]
async fn the_server_starts_while_cloudflare_is_away() {
    let world = World::new().await;
    world.cloudflare.stop().await;
    world.configure();
    let server = world.folder.serve().await;
    server
        .wait_until("ready, for probes alone decide that", async || {
            server.ready().await
        })
        .await;
    world.cloudflare.restart().await.unwrap();
    server.wait_reason("www", "on_main").await;
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn a_stale_read_after_our_own_write_is_nobodys_edit() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    world.revive_main().await;
    server.post_alert("www", "resolved").await;
    let lag = Duration::from_secs(3);
    let slow = Effect::Latency(Duration::from_millis(300));
    world.cloudflare.fault(Fault::once(Matcher::Writes, slow));
    // From before the return is written, reads lag behind.
    server
        .wait_until("the return is written", async || {
            world.write_requests().len() == 2
        })
        .await;
    world
        .cloudflare
        .fault(Fault::always(Matcher::Reads, Effect::StaleReads { lag }));
    server.wait_reason("www", "failback").await;
    world.cloudflare.clear_requests();
    server
        .wait_until("the lag is over, and read", async || {
            let shown = world.cloudflare.requests();
            let answers: Vec<_> = shown.iter().map(|r| r.answer.as_str()).collect();
            let stale = answers.iter().any(|a| a.contains(&world.backup_ip()));
            let fresh = answers.iter().any(|a| a.contains(&world.main_ip()));
            stale && fresh
        })
        .await;
    server.wait_reason("www", "on_main").await;
    assert_eq!(world.cloudflare.writes(), 2);
    assert!(world.write_requests().is_empty());
    assert!(!server.log().contains("somebody else"), "{}", server.log());
    assert_eq!(server.switches().await.len(), 2);
    let site = server.site("www").await;
    assert!(site["hold"].is_null(), "{site}");
}
