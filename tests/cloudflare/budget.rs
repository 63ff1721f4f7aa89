//! A budget for each token, never overrun, and shared with others if it must.

use crate::{BACKUP, Rig, TOKEN, load, options};
use originswitch::cloudflare::Cloudflare;
use originswitch::failover::{Urgency, Written};
use originswitch::sandbox::cloudflare::{Options, Permission, RateLimits, TokenSpec};
use std::sync::Arc;

fn limited(per_token: u32) -> Options {
    Options {
        limits: RateLimits {
            per_token,
            ..RateLimits::default()
        },
        ..options()
    }
}

/// Somebody else who uses the token.
async fn others_call(rig: &Rig, times: usize) {
    let client = reqwest::Client::new();
    for _ in 0..times {
        let url = format!("{}/zones", rig.cloud.url());
        let answer = client.get(url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn calls_of_others_are_counted_and_leave_less_for_us() {
    let rig = Rig::new(limited(100), "requests_per_5m = 100", &[("a.test", 1)]);
    let read = rig.read(rig.site(0), Urgency::Steady).await.unwrap();
    let record = read[0].clone();
    let budget = |of: &str| rig.metric(&format!("budget_{of}_calls{{token=\"default\"}}"));
    assert_eq!(budget("limit"), Some(100.0));
    assert_eq!(budget("used"), Some(2.0));
    assert_eq!(budget("foreign"), Some(0.0));
    others_call(&rig, 60).await;
    rig.read(rig.site(0), Urgency::Steady).await.unwrap();
    assert_eq!(budget("foreign"), Some(60.0));
    assert_eq!(budget("used"), Some(63.0));
    assert_eq!(rig.metric("ratelimit_remaining"), Some(37.0));
    // Nobody is refused: steady reads end first, then those for a flight.
    others_call(&rig, 20).await;
    let calls = |urgency| {
        let rig = &rig;
        async move {
            let mut calls = 0;
            while rig.read(rig.site(0), urgency).await.is_ok() {
                calls += 1;
            }
            calls
        }
    };
    assert_eq!(calls(Urgency::Steady).await, 1, "it shows how few are left");
    assert_eq!(calls(Urgency::Flight).await, 6);
    let mut writes = 0;
    let write = || rig.write(rig.site(0), record.clone(), BACKUP, Urgency::Flight);
    while let Written::Confirmed(_) = write().await {
        writes += 1;
    }
    assert_eq!(writes, 10);
    rig.assert_never_throttled();
}

#[tokio::test]
async fn each_token_has_a_budget_of_its_own() {
    let keys = "requests_per_5m = 20\nzone_token_files = { \"b.test\" = \"token-b\" }";
    let zones = [("a.test", 1), ("b.test", 1)];
    let rig = Rig::with(limited(20), keys, &zones, &[("token-b", "other")]);
    rig.cloud
        .add_token(TokenSpec::new("other", Permission::Edit));
    // Steady reads may take half, the look-up of the zone included.
    for number in [0, 1] {
        let mut reads = 0;
        while rig.read(rig.site(number), Urgency::Steady).await.is_ok() {
            reads += 1;
        }
        assert_eq!(reads, 9);
    }
    for token in ["default", "b.test"] {
        let used = format!("budget_used_calls{{token=\"{token}\"}}");
        assert_eq!(rig.metric(&used), Some(10.0), "{token}");
    }
    rig.assert_never_throttled();
    // A token that is configured no more has no budget to show.
    let mut settings = rig.config.cloudflare.clone();
    settings.zone_tokens.clear();
    let _next = Cloudflare::after(&rig.dns, &settings, rig.metrics.clone()).unwrap();
    let used = |token| rig.metric(&format!("budget_used_calls{{token=\"{token}\"}}"));
    assert_eq!((used("default"), used("b.test")), (Some(10.0), None));
}

#[tokio::test]
async fn a_reload_forgets_no_call() {
    let mut rig = Rig::new(limited(100), "requests_per_5m = 20", &[("a.test", 1)]);
    let used = "budget_used_calls{token=\"default\"}";
    for _ in 0..3 {
        rig.read(rig.site(0), Urgency::Flight).await.unwrap();
    }
    assert_eq!(rig.metric(used), Some(4.0));
    // The same token under another key, and then another token in its place.
    let file = rig.folder.path().join("originswitch.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let by_value = format!("api_token = \"{TOKEN}\"");
    rig.cloud
        .add_token(TokenSpec::new("another", Permission::Edit));
    for token in [by_value, "api_token = \"another\"".to_owned()] {
        std::fs::write(&file, text.replace("api_token_file = \"token\"", &token)).unwrap();
        let config = load(&rig.folder);
        let metrics = Arc::clone(&rig.metrics);
        rig.dns = Cloudflare::after(&rig.dns, &config.cloudflare, metrics).unwrap();
        rig.dns.set_sites(&config.sites);
        let before = rig.metric(used).unwrap();
        rig.read(rig.site(0), Urgency::Flight).await.unwrap();
        assert_eq!(rig.metric(used), Some(before + 2.0));
    }
}
