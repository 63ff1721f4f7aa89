//! Whose an alert is, and what becomes of those that are nobody's.

use crate::common::*;
use serde_json::{Value, json};

/// `www` by its label; `shop` by its label or its matchers.
async fn two_sites() -> (World, Server) {
    let world = World::new().await;
    add_record(&world, "shop.example.com", &world.main_ip());
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    let matchers =
        "matchers = ['alertname=\"ShopDown\"', 'service=~\"shop|till\"', 'env!=\"test\"']";
    let sites = site(SITE, &[HOSTNAME], &tables, "")
        + &site("shop", &["shop.example.com"], &tables, matchers);
    let server = serve(&world, &sites).await;
    (world, server)
}

/// What an alert with these labels is answered.
async fn reaches(server: &Server, labels: Value) -> Vec<String> {
    let alerts = json!([{"status": "resolved", "labels": labels}]);
    let answer = post_alerts(server, "", alerts).await;
    let accepted = answer["accepted"].as_array().unwrap().clone();
    assert_eq!(
        answer["unmatched"],
        u64::from(accepted.is_empty()),
        "{answer}"
    );
    let name = |a: &Value| a["site"].as_str().unwrap().to_owned();
    accepted.iter().map(name).collect()
}

#[tokio::test]
async fn one_body_can_speak_of_several_sites() {
    let (world, server) = two_sites().await;
    world.kill_main().await;
    let fires = |site| alert(site, "firing");
    let alerts = json!([fires("www"), fires("shop"), fires("www"), fires("nobody")]);
    let answer = post_alerts(&server, "?wait=30s", alerts).await;
    let mut accepted = answer["accepted"].as_array().unwrap().clone();
    accepted.sort_by_key(|a| a["site"].to_string());
    let wanted = [
        json!({"site": "shop", "alerts": 1}),
        json!({"site": "www", "alerts": 2}),
    ];
    assert_eq!(accepted, wanted);
    assert_eq!(answer["unmatched"], 1);
    assert_eq!(answer["pending"], json!([]));
    let decisions = answer["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 2, "{answer}");
    for decision in decisions {
        assert_eq!(decision["reason"], "failover", "{decision}");
        assert_eq!(decision["result"], "confirmed", "{decision}");
    }
    assert!(world.on_backup());
    assert_eq!(contents(&world, "shop.example.com"), world.backup_ip());
}

#[tokio::test]
async fn an_alert_belongs_to_a_site_by_label_matchers_or_instance() {
    let (world, server) = two_sites().await;
    let origin = format!("{}:443", world.main_ip());
    let both: &[&str] = &["shop", "www"];
    let none: &[&str] = &[];
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"site": "www"}), &["www"]),
        (json!({"site": "WWW.example.com"}), &["www"]),
        (json!({"site": "ww"}), none),
        (
            json!({"alertname": "ShopDown", "service": "till"}),
            &["shop"],
        ),
        (json!({"alertname": "ShopDown", "service": "tills"}), none),
        (json!({"alertname": "ShopDown"}), none),
        (
            json!({"alertname": "ShopDown", "service": "till", "env": "test"}),
            none,
        ),
        (
            json!({"alertname": "ShopDown", "service": "till", "site": "www"}),
            both,
        ),
        (
            json!({"instance": "https://www.example.com/health"}),
            &["www"],
        ),
        (json!({"instance": "shop.example.com:443"}), &["shop"]),
        (json!({"target": "www.example.com"}), &["www"]),
        (json!({"instance": origin}), both),
        (
            json!({"site": "www", "instance": "shop.example.com"}),
            &["www"],
        ),
        (json!({"instance": "www.example.com.evil.test"}), none),
        (json!({}), none),
    ];
    let unmatched = cases.iter().filter(|(_, sites)| sites.is_empty()).count();
    for (labels, sites) in cases {
        let mut reached = reaches(&server, labels.clone()).await;
        reached.sort();
        assert_eq!(reached, sites, "{labels}");
    }
    let metrics = server.metrics().await;
    let counted = metrics.get("alerts_unmatched_total", &[]);
    assert_eq!(counted, Some(unmatched as f64));
    let lines = server.log().matches("alerts belong to no site").count();
    assert_eq!(lines, 1, "logged once a minute at most:\n{}", server.log());
}

#[tokio::test]
async fn a_bad_alert_does_not_reject_the_others() {
    let (_world, server) = two_sites().await;
    let alerts = json!([
        42, null, "text", [], {"labels": "none"}, {"labels": {"site": 7}},
        {"status": "firing", "labels": {"site": "shop"}, "startsAt": "never"},
        {"status": 5, "labels": null, "annotations": []},
        alert(SITE, "firing"),
    ]);
    let answer = post_alerts(&server, "", alerts).await;
    let accepted = answer["accepted"].as_array().unwrap();
    assert!(
        accepted.contains(&json!({"site": SITE, "alerts": 1})),
        "{answer}"
    );
    let site = server
        .wait_site(SITE, "the alert", |site| site["alert"].is_object())
        .await;
    assert_eq!(site["alert"]["status"], "firing", "{site}");
}

#[tokio::test]
async fn what_is_in_an_alert_shows_in_no_metric() {
    let (_world, server) = two_sites().await;
    let labels = json!({"site": "www", "alertname": "A-NAME-FROM-OUTSIDE", "severity": "odd"});
    let odd = json!([{"status": "odd-status", "labels": labels}]);
    post_alerts(&server, "", odd).await;
    let other = json!([{"status": "firing", "labels": {"site": "A-SITE-FROM-OUTSIDE"}}]);
    post_alerts(&server, "", other).await;
    let text = server.get("/metrics").await.text;
    for word in ["FROM-OUTSIDE", "odd"] {
        assert!(!text.contains(word), "{word}");
    }
}
