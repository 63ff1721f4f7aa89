//! The token is revoked, given back, replaced, or may not do what it should.

use crate::support::server::{Server, TOKEN, World};
use originswitch::sandbox::cloudflare::{Permission, RecordSpec, TokenSpec, TokenStatus};
use originswitch::sandbox::faults::{Effect, Fault, Matcher, Operation};
use std::time::Duration;

/// Waits until the metric says so; `None` is that there is none.
async fn wait_valid(server: &Server, valid: Option<f64>) {
    let what = format!("cloudflare_token_valid is {valid:?}");
    let is = async || server.metrics().await.get("cloudflare_token_valid", &[]) == valid;
    server.wait_until(&what, is).await;
}

/// When the token expires, as the metrics have it.
async fn expiry(server: &Server) -> Option<f64> {
    let metrics = server.metrics().await;
    metrics.get("cloudflare_token_expiry_timestamp_seconds", &[])
}

/// The paths at which the token was verified.
fn verified_at(world: &World) -> Vec<String> {
    let asked = world.cloudflare.requests();
    let routes = asked.iter().map(|request| request.route().to_owned());
    routes.filter(|route| route.ends_with("/verify")).collect()
}

/// What was warned of, but for the loopback addresses of every world.
fn warnings(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains(" WARN "));
    lines
        .filter(|line| !line.contains("is a loopback address"))
        .map(str::to_owned)
        .collect()
}

fn hours_from_now(hours: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)
}

#[tokio::test]
async fn a_good_token_is_valid_and_was_verified_once() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    wait_valid(&server, Some(1.0)).await;
    assert_eq!(expiry(&server).await, None);
    assert_eq!(verified_at(&world), ["/user/tokens/verify"]);
    let metrics = server.metrics().await;
    let verified = [("operation", "verify_token"), ("code", "200")];
    assert_eq!(
        metrics.get("cloudflare_requests_total", &verified),
        Some(1.0)
    );
    let log = server.log();
    assert_eq!(log.matches("the Cloudflare token is good").count(), 1);
    assert_eq!(warnings(&server), Vec::<String>::new());
    assert_eq!(world.write_requests().len(), 0);
    world.assert_published(true);
}

#[tokio::test]
async fn a_token_that_expires_soon_is_valid_and_warned_of() {
    let world = World::new().await;
    let expires = hours_from_now(10 * 24 + 1);
    world
        .cloudflare
        .set_token(TOKEN, |token| token.expires_on = Some(expires));
    let server = world.serve_on_main().await;
    wait_valid(&server, Some(1.0)).await;
    let exported = expiry(&server).await.unwrap();
    let expected = expires.as_duration().as_secs_f64();
    assert!((exported - expected).abs() < 1.0, "{exported} {expected}");
    server.wait_log("in 10 days: make another one").await;
    assert_eq!(server.log().matches("expires on").count(), 1);
    world.assert_published(true);
}

#[tokio::test]
async fn a_token_out_of_force_is_told_apart_from_a_wrong_one() {
    type Change = fn(&World);
    let cases: [(Change, &str); 4] = [
        (
            |world| {
                let past = hours_from_now(-1);
                world
                    .cloudflare
                    .set_token(TOKEN, |token| token.expires_on = Some(past));
            },
            "the Cloudflare token expired on ",
        ),
        (
            |world| {
                world
                    .cloudflare
                    .set_token(TOKEN, |token| token.status = TokenStatus::Disabled);
            },
            "the Cloudflare token is disabled: enable it in Cloudflare's dashboard",
        ),
        (
            |world| {
                let future = hours_from_now(1);
                world
                    .cloudflare
                    .set_token(TOKEN, |token| token.not_before = Some(future));
            },
            "the Cloudflare token is not valid before ",
        ),
        (
            |world| assert!(world.cloudflare.remove_token(TOKEN)),
            "Cloudflare does not accept the token (HTTP 401, 1000 Invalid API Token): put a valid API token",
        ),
    ];
    for (change, sentence) in cases {
        // From the start, and while nothing happens.
        for while_running in [false, true] {
            let world = World::new().await;
            if !while_running {
                change(&world);
            }
            let server = world.serve().await;
            if while_running {
                wait_valid(&server, Some(1.0)).await;
                change(&world);
            }
            wait_valid(&server, Some(0.0)).await;
            server.wait_log(sentence).await;
            let log = server.log();
            assert_eq!(log.matches(sentence).count(), 1, "{log}");
            assert!(!log.contains("the token is good, but"), "{log}");
            assert!(!log.contains("cannot be reached"), "{log}");
            assert_eq!(world.write_requests().len(), 0);
        }
    }
}

#[tokio::test]
async fn a_cloudflare_that_cannot_be_reached_says_nothing_of_the_token() {
    let world = World::new().await;
    world.configure();
    world.cloudflare.stop().await;
    let server = world.folder.serve().await;
    server
        .wait_log("the Cloudflare token could not be verified: Cloudflare cannot be reached: ")
        .await;
    server
        .wait_until("a read has failed", async || {
            server.metrics().await.get("cloudflare_up", &[]) == Some(0.0)
        })
        .await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("cloudflare_token_valid", &[]), None);
    assert!(
        !server.log().contains("valid API token"),
        "{}",
        server.log()
    );

    world.cloudflare.restart().await.unwrap();
    wait_valid(&server, Some(1.0)).await;
    let log = server.log();
    assert_eq!(log.matches("could not be verified").count(), 1, "{log}");
    // Gone again: what is known stays.
    world.cloudflare.stop().await;
    server
        .wait_until("a read has failed", async || {
            server.metrics().await.get("cloudflare_up", &[]) == Some(0.0)
        })
        .await;
    wait_valid(&server, Some(1.0)).await;
}

#[tokio::test]
async fn a_zone_that_is_read_proves_the_token_where_verification_fails() {
    for effect in [Effect::Status(404), Effect::Status(500)] {
        let world = World::new().await;
        let verify = Matcher::Operation(Operation::VerifyToken);
        world.cloudflare.fault(Fault::always(verify, effect));
        let server = world.serve_on_main().await;
        wait_valid(&server, Some(1.0)).await;
        assert_eq!(expiry(&server).await, None);
        let metrics = server.metrics().await;
        assert_eq!(metrics.get("cloudflare_up", &[]), Some(1.0));
    }
}

#[tokio::test]
async fn a_token_of_an_account_is_verified_at_the_account() {
    let expires = hours_from_now(1000);
    for prefix in ["", "cfat_"] {
        let world = World::new().await;
        let secret = format!("{prefix}a-token-of-the-account");
        let mut spec = TokenSpec::new(&secret, Permission::Edit);
        spec.account_owned = true;
        spec.expires_on = Some(expires);
        world.cloudflare.add_token(spec);
        std::fs::write(world.folder.path("token"), &secret).unwrap();
        let server = world.serve_on_main().await;
        wait_valid(&server, Some(1.0)).await;
        server
            .wait_until("the expiry is known", async || {
                expiry(&server).await.is_some()
            })
            .await;
        let account = format!("/accounts/{}/tokens/verify", world.cloudflare.account());
        let paths = verified_at(&world);
        assert_eq!(paths.last(), Some(&account), "{paths:?}");
        let by_user = paths.iter().any(|path| path == "/user/tokens/verify");
        assert_eq!(by_user, prefix.is_empty(), "{paths:?}");
        assert!(!server.log().contains(&secret));
        assert_eq!(warnings(&server), Vec::<String>::new());
        world.assert_published(true);

        world.cloudflare.remove_token(&secret);
        wait_valid(&server, Some(0.0)).await;
        server
            .wait_log("Cloudflare does not accept the token")
            .await;
    }
}

#[tokio::test]
async fn a_token_of_an_account_that_may_not_look_up_zones_is_proven_by_reading() {
    let world = World::new().await;
    world.cloudflare.set_token(TOKEN, |token| {
        token.account_owned = true;
        token.zone_read = false;
        token.expires_on = Some(hours_from_now(1000));
    });
    let by_id = format!("zone_id = \"{}\"", world.zone);
    let config = world.config().replace("zone = \"example.com\"", &by_id);
    world.folder.configure(&config);
    let server = world.folder.serve().await;
    server.wait_reason("www", "on_main").await;
    wait_valid(&server, Some(1.0)).await;
    assert_eq!(expiry(&server).await, None, "no account is known");
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("cloudflare_up", &[]), Some(1.0));
    assert_eq!(warnings(&server), Vec::<String>::new());
}

#[tokio::test]
async fn a_zone_that_cannot_be_looked_up_is_told_its_own_permission() {
    let no_lookup = |token: &mut TokenSpec| token.zone_read = false;
    let sees_no_zone = |token: &mut TokenSpec| token.elsewhere = Permission::None;
    let cases: [fn(&mut TokenSpec); 2] = [no_lookup, sees_no_zone];
    for change in cases {
        let world = World::new().await;
        world.cloudflare.set_token(TOKEN, change);
        let server = world.serve().await;
        wait_valid(&server, Some(0.0)).await;
        let sentence = "the Cloudflare token is good, but may not read the zone example.com: \
                        give it the permission Zone.Zone Read on it, or set zone_id";
        server.wait_log(sentence).await;
        assert_eq!(server.log().matches(sentence).count(), 1);
    }
}

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
async fn revoke_and_kill_main(world: &World) -> Server {
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
    wait_valid(&server, Some(0.0)).await;
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
    wait_valid(&server, Some(1.0)).await;
    assert!(!server.log().contains(TOKEN));
    world.assert_published(true);
}

/// A world with a second zone, whose token is in the file `own`.
fn two_tokens(world: &mut World) {
    let zone = world.cloudflare.add_zone("example.net");
    let spec = RecordSpec::new("A", "www.example.net", &world.main_ip());
    world.cloudflare.add_record(&zone, spec.proxied());
    let only_there = TokenSpec::new(OWN, Permission::None).zone(&zone, Permission::Edit);
    world.cloudflare.add_token(only_there);
    world.cloudflare.set_token(TOKEN, |token| {
        token.zones.insert(zone, Permission::None);
    });
    std::fs::write(world.folder.path("own"), OWN).unwrap();
    world.cloudflare_keys = "zone_token_files = { \"example.net\" = \"own\" }".into();
    world.more = world.site_named("net", "www.example.net");
}

const OWN: &str = "a-token-for-one-zone-alone";

#[tokio::test]
async fn a_zone_with_a_token_of_its_own_stands_and_falls_with_it() {
    let mut world = World::new().await;
    two_tokens(&mut world);
    let server = world.serve_on_main().await;
    server.wait_reason("net", "on_main").await;
    wait_valid(&server, Some(1.0)).await;
    let metrics = server.metrics().await;
    for token in ["default", "example.net"] {
        let used = metrics.get("cloudflare_budget_used_calls", &[("token", token)]);
        assert!(used >= Some(2.0), "{token}: {used:?}");
    }

    assert!(world.cloudflare.remove_token(OWN));
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    let decision = server.decision_on_alert("net", "firing").await;
    assert_eq!(decision["reason"], "cloudflare_unavailable", "{decision}");
    wait_valid(&server, Some(0.0)).await;
    let place =
        "put a valid API token (not a global key) into cloudflare.zone_token_files of example.net";
    server.wait_log(place).await;

    let fresh = "another-token-for-that-zone";
    world
        .cloudflare
        .add_token(TokenSpec::new(fresh, Permission::Edit));
    std::fs::write(world.folder.path("own"), fresh).unwrap();
    server.wait_reason("net", "main_down").await;
    wait_valid(&server, Some(1.0)).await;
    assert!(!server.log().contains(OWN) && !server.log().contains(fresh));
}

#[tokio::test]
async fn somebody_else_who_uses_the_token_is_warned_of_once() {
    let world = World::new().await;
    world
        .cloudflare
        .configure(|options| options.limits.per_token = 200);
    let config = world.config();
    world
        .folder
        .configure(&config.replace("requests_per_5m = 100000", "requests_per_5m = 200"));
    let server = world.folder.serve().await;
    server.wait_reason("www", "on_main").await;
    let client = reqwest::Client::new();
    for _ in 0..60 {
        let url = format!("{}/zones", world.cloudflare.url());
        let answer = client.get(url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let foreign = async || {
        let metrics = server.metrics().await;
        metrics.get("cloudflare_budget_foreign_calls", &[("token", "default")])
    };
    server
        .wait_until("it is seen", async || foreign().await == Some(60.0))
        .await;
    let said = "somebody else uses the budget of the Cloudflare token in cloudflare.api_token_file: \
                60 of 200 calls in 5 minutes are not ours";
    server.wait_log(said).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.log().matches("somebody else uses").count(), 1);
    let throttled = world
        .cloudflare
        .requests()
        .into_iter()
        .filter(|r| r.status == Some(429));
    assert_eq!(throttled.count(), 0);
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
    wait_valid(&server, Some(1.0)).await;
}

/// A switch that was refused, and would by itself be tried again after a minute.
async fn refused_switch(world: &mut World) -> Server {
    world.more = "[site.probe]\ninterval = \"60s\"\n".into();
    world
        .cloudflare
        .set_token(TOKEN, |token| token.elsewhere = Permission::Read);
    let server = world.serve_on_main().await;
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "rejected", "{decision}");
    // It reads what it should: what it lacks shows only with a switch.
    wait_valid(&server, Some(1.0)).await;
    server
}

#[tokio::test]
async fn another_token_in_the_file_lets_a_refused_switch_be_tried_at_once() {
    let mut world = World::new().await;
    let server = refused_switch(&mut world).await;
    let fresh = "a-token-that-may-write";
    world
        .cloudflare
        .add_token(TokenSpec::new(fresh, Permission::Edit));
    std::fs::write(world.folder.path("token"), fresh).unwrap();
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn another_token_by_reload_lets_a_refused_switch_be_tried_at_once() {
    let mut world = World::new().await;
    let server = refused_switch(&mut world).await;
    let verified = verified_at(&world).len();
    let fresh = "a-token-that-may-write";
    world
        .cloudflare
        .add_token(TokenSpec::new(fresh, Permission::Edit));
    std::fs::write(world.folder.path("other"), fresh).unwrap();
    let config = world.config();
    let config = config.replace("api_token_file = \"token\"", "api_token_file = \"other\"");
    world.folder.configure(&config);
    server.signal("HUP");
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    assert_eq!(world.cloudflare.writes(), 1);
    wait_valid(&server, Some(1.0)).await;
    assert_eq!(verified_at(&world).len(), verified + 1);
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
    wait_valid(&server, Some(0.0)).await;
    let lacking = format!(
        "the Cloudflare token is good, but may not read the zone {other}: \
         give it the permission Zone.DNS Edit on it, or correct zone_id"
    );
    assert_eq!(
        server.log().matches(&lacking).count(),
        1,
        "{}",
        server.log()
    );

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

    // What is no longer configured need not be read.
    world.more.clear();
    world.configure();
    server.signal("HUP");
    wait_valid(&server, Some(1.0)).await;
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
