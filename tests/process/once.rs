//! The cron form: one pass, a table or JSON, and an exit code.

use crate::support::server::{HOSTNAME, TOKEN, World};
use originswitch::sandbox::Behaviour;
use originswitch::sandbox::cloudflare::{RecordSpec, TokenStatus};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use std::time::{Duration, Instant};

#[tokio::test]
async fn it_prints_a_table_for_people() {
    let world = World::new().await;
    let ended = world.once(&[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.err, "");
    let lines: Vec<_> = ended.out.lines().collect();
    assert!(lines[0].starts_with("SITE"), "{}", ended.out);
    assert!(lines[1].starts_with("www"), "{}", ended.out);
    assert!(lines[1].contains("keep on_main"), "{}", ended.out);
    assert!(lines[1].contains(&world.main_ip()), "{}", ended.out);
    assert_eq!(world.cloudflare.writes(), 0);
    world.assert_published(true);
}

#[tokio::test]
async fn it_prints_json_alone_on_standard_output_however_much_it_logs() {
    let world = World::new().await;
    let ended = world.once(&["--json", "--log-level", "trace"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let decision = ended.decision();
    assert_eq!(decision["site"], "www");
    assert_eq!(decision["trigger"], "manual");
    assert_eq!(decision["action"], "keep");
    assert_eq!(decision["record"]["address"], world.main_ip());
    assert_eq!(decision["steps"], serde_json::json!([1, 2, 3]));
    assert!(!ended.err.is_empty(), "logs go to standard error");
    assert!(!ended.err.contains(TOKEN), "{}", ended.err);
}

#[tokio::test]
async fn it_flees_and_returns_over_runs() {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"1s\"\nfailback_after = \"2s\"\n".into();
    let run = async || {
        let ended = world.once(&["--json"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.decision()
    };
    assert_eq!(run().await["reason"], "on_main");
    world.kill_main().await;
    let decision = run().await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(decision["result"], "confirmed");
    assert!(world.on_backup());
    assert_eq!(run().await["reason"], "main_down");

    // Seen up for the first time: the wait begins.
    world.revive_main().await;
    let seen_up = Instant::now();
    let decision = run().await;
    assert_eq!(decision["reason"], "failback_wait", "{decision}");
    // A run that sees it down starts the wait anew.
    world.kill_main().await;
    assert_eq!(run().await["reason"], "main_down");
    world.revive_main().await;
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(seen_up.elapsed())).await;
    let seen_up = Instant::now();
    let decision = run().await;
    assert_eq!(decision["reason"], "failback_wait", "{decision}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let decision = run().await;
    assert_eq!(decision["reason"], "failback", "{decision}");
    assert!(seen_up.elapsed() >= Duration::from_secs(2));
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 2);
    world.assert_published(true);
}

#[tokio::test]
async fn what_people_need_not_hear_of_is_a_success() {
    // Never seen up, so it is not left: a hold, and a zero.
    let world = World::new().await;
    world.kill_main().await;
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["reason"], "unproven", "{ended:?}");
    assert_eq!(ended.code, Some(0));

    world.kill_backup().await;
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["reason"], "all_down", "{ended:?}");
    assert_eq!(ended.code, Some(0));
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn holds_that_need_a_person_are_a_failure() {
    let world = World::new().await;
    // Its answers come from a CDN: they are evidence of nothing.
    let ray = Behaviour::with_header("cf-ray", "8a1b2c3d4e5f-SYD");
    world.main.set(ray).await.unwrap();
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["reason"], "unconfirmed", "{ended:?}");
    assert_eq!(ended.code, Some(1));
    world.revive_main().await;

    world
        .cloudflare
        .set_token(TOKEN, |token| token.status = TokenStatus::Expired);
    let ended = world.once(&["--json"]).await;
    assert_eq!(
        ended.decision()["reason"],
        "cloudflare_unavailable",
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(1));
    world
        .cloudflare
        .set_token(TOKEN, |token| token.status = TokenStatus::Active);

    let double = RecordSpec::new("A", HOSTNAME, &world.backup_ip()).proxied();
    let id = world.cloudflare.add_record(&world.zone, double);
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["reason"], "record_shape", "{ended:?}");
    assert_eq!(ended.code, Some(1));
    world.cloudflare.remove_record(&id);
    assert_eq!(world.once(&[]).await.code, Some(0));
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn a_spent_budget_is_a_failure() {
    let mut world = World::new().await;
    world.rule += "max_switches = 1\n";
    assert_eq!(world.once(&[]).await.code, Some(0));
    world.kill_main().await;
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["result"], "confirmed", "{ended:?}");
    world.revive_main().await;
    world.kill_backup().await;
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["reason"], "switch_budget", "{ended:?}");
    assert_eq!(ended.code, Some(1));
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn writes_that_did_not_come_about_are_a_failure() {
    let world = World::new().await;
    assert_eq!(world.once(&[]).await.code, Some(0));
    world.kill_main().await;
    let writes = |effect| Fault::once(Matcher::Writes, effect);
    world.cloudflare.fault(writes(Effect::SuccessFalse200));
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["result"], "rejected", "{ended:?}");
    assert_eq!(ended.code, Some(1));

    world.cloudflare.fault(writes(Effect::CutBefore));
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["result"], "unconfirmed", "{ended:?}");
    assert_eq!(ended.code, Some(1));
    assert!(world.on_main());

    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["result"], "confirmed", "{ended:?}");
    assert_eq!(ended.code, Some(0));
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn only_the_sites_named_are_decided() {
    let mut world = World::new().await;
    let spec = RecordSpec::new("A", "shop.example.com", &world.main_ip());
    world.cloudflare.add_record(&world.zone, spec.proxied());
    world.more = world.site_named("shop", "shop.example.com");
    let ended = world.once(&["shop", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.decision()["site"], "shop");
    let asked = world.cloudflare.requests();
    assert!(!asked.iter().any(|r| r.query.contains(HOSTNAME)));
    let all = world.once(&["--json"]).await.json();
    assert_eq!(all["decisions"].as_array().unwrap().len(), 2);

    let ended = world.once(&["shop", "nowhere"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("\"nowhere\""), "{}", ended.err);
    assert!(
        ended.err.contains("shop, www") || ended.err.contains("www, shop"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_dry_run_decides_and_leaves_no_trace() {
    let world = World::new().await;
    let ended = world.once(&["--dry-run", "--json"]).await;
    assert_eq!(ended.decision()["reason"], "on_main", "{ended:?}");
    assert!(!world.folder.state().exists(), "no state is created");

    assert_eq!(world.once(&[]).await.code, Some(0));
    world.kill_main().await;
    let ended = world.once(&["--dry-run", "--json"]).await;
    let decision = ended.decision();
    assert_eq!(decision["reason"], "failover", "{ended:?}");
    assert_eq!(decision["result"], "dry_run");
    assert_eq!(decision["id"], serde_json::Value::Null);
    assert_eq!(ended.code, Some(0));
    assert_eq!(world.write_requests().len(), 0);
    // The real run finds nothing changed by it.
    let ended = world.once(&["--json"]).await;
    assert_eq!(ended.decision()["result"], "confirmed", "{ended:?}");
}
