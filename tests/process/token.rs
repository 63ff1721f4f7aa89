//! The token is revoked, given back, replaced, or may not do what it should.

use crate::support::server::{TOKEN, World};
use originswitch::sandbox::cloudflare::{Permission, RecordSpec, TokenSpec, TokenStatus};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use std::time::Duration;

#[tokio::test]
async fn a_refusal_that_does_not_repeat_changes_nothing() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let once = |matcher| Fault::once(matcher, Effect::SpuriousForbidden);
    world.cloudflare.fault(once(Matcher::Reads));
    world.cloudflare.fault(once(Matcher::Writes));

    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);
    assert_eq!(world.write_requests().len(), 2);
    let metrics = server.metrics().await;
    let refused = [("operation", "patch_record"), ("code", "403")];
    assert_eq!(
        metrics.get("cloudflare_requests_total", &refused),
        Some(1.0)
    );
    assert_eq!(metrics.get("hold", &[]), None);
    let log = server.log();
    assert!(!log.contains("not asked for a while"), "{log}");
    world.assert_published(true);
}

/// Revokes the token, lets MAIN die, and waits for the hold that follows.
async fn revoke_and_kill_main(world: &World) -> crate::support::server::Server {
    let server = world.serve_on_main().await;
    world
        .cloudflare
        .set_token(TOKEN, |token| token.status = TokenStatus::Disabled);
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["reason"], "cloudflare_unavailable", "{decision}");
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("put a valid API token"), "{said}");
    assert!(said.contains("api_token_file"), "{said}");
    let metrics = server.metrics().await;
    let hold = [("site", "www"), ("reason", "cloudflare_unavailable")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));
    assert_eq!(metrics.get("cloudflare_up", &[]), Some(0.0));
    assert!(world.on_main());
    server
}

#[tokio::test]
async fn a_revoked_token_stops_the_calls_until_it_is_given_back() {
    let world = World::new().await;
    let server = revoke_and_kill_main(&world).await;
    world.cloudflare.clear_requests();
    // Six intervals pass, in which a site that may ask would have asked.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = world.cloudflare.requests().len();
    assert!(asked <= 2, "{asked} requests with a token that is refused");

    world
        .cloudflare
        .set_token(TOKEN, |token| token.status = TokenStatus::Active);
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("hold", &[]), None);
    assert_eq!(metrics.get("cloudflare_up", &[]), Some(1.0));
    assert!(!server.log().contains(TOKEN));
    world.assert_published(true);
}

#[tokio::test]
async fn another_token_in_the_file_ends_the_wait() {
    let world = World::new().await;
    let server = revoke_and_kill_main(&world).await;
    let fresh = "the-token-that-replaces-it";
    world
        .cloudflare
        .add_token(TokenSpec::new(fresh, Permission::Edit));
    std::fs::write(world.folder.path("token"), format!("  {fresh}\n")).unwrap();
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    let log = server.log();
    assert!(log.contains("has changed and is used"), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(fresh), "{log}");
}

#[tokio::test]
async fn one_zone_that_is_refused_stops_no_other() {
    let mut world = World::new().await;
    let other = world.cloudflare.add_zone("example.net");
    let content = world.main_ip();
    let spec = RecordSpec::new("A", "www.example.net", &content).proxied();
    let record = world.cloudflare.add_record(&other, spec);
    // The zone is seen, its records are not: the id saves the look-up.
    world.cloudflare.set_token(TOKEN, |token| {
        token.zones.insert(other.clone(), Permission::None);
    });
    world.more = world
        .site_named("shop", "www.example.net")
        .replace("zone = \"example.net\"", &format!("zone_id = \"{other}\""));
    let server = world.serve_on_main().await;
    let decision = server.wait_reason("shop", "cloudflare_unavailable").await;
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("Zone.DNS"), "{said}");

    // Neither does it take the second try from the others.
    let spurious = Effect::SpuriousForbidden;
    let www = Matcher::Zone("example.com".into());
    let writes = Matcher::All(vec![www, Matcher::Writes]);
    world.cloudflare.fault(Fault::once(writes, spurious));
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);
    assert_eq!(world.cloudflare.record(&record).unwrap().content, content);
    let metrics = server.metrics().await;
    let hold = [("site", "shop"), ("reason", "cloudflare_unavailable")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));
    assert_eq!(metrics.get("hold", &[("site", "www")]), None);
}

#[tokio::test]
async fn a_token_that_may_only_read_is_told_what_it_lacks() {
    let world = World::new().await;
    world
        .cloudflare
        .set_token(TOKEN, |token| token.elsewhere = Permission::Read);
    let server = world.serve_on_main().await;
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "rejected", "{decision}");
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("Zone.DNS Edit"), "{said}");
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 0);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "rejected"), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(0.0));

    world
        .cloudflare
        .set_token(TOKEN, |token| token.elsewhere = Permission::Edit);
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    world.assert_published(true);
}
