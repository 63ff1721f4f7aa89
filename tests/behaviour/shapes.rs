//! Sites of more than one hostname, origins of other kinds and settings.

use crate::common::*;
use originswitch::sandbox::Behaviour;
use serde_json::{Value, json};

const HOSTNAMES: [&str; 3] = [HOSTNAME, "shop.example.com", "example.com"];

/// A world whose site has three hostnames on MAIN; the ids of their records.
async fn three_hostnames() -> (World, String, Vec<String>) {
    let world = World::new().await;
    let mut ids = vec![world.record.clone()];
    for name in &HOSTNAMES[1..] {
        ids.push(add_record(&world, name, &world.main_ip()));
    }
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    let sites = site(SITE, &HOSTNAMES, &tables, "");
    (world, sites, ids)
}

#[tokio::test]
async fn hostnames_of_a_site_move_together_in_one_batch() {
    let (world, sites, ids) = three_hostnames().await;
    let untouched = add_record(&world, "mail.example.com", &world.main_ip());
    let server = serve(&world, &sites).await;
    let before: Vec<_> = ids.iter().map(|id| world.cloudflare.record(id)).collect();

    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    for name in HOSTNAMES {
        assert_eq!(contents(&world, name), world.backup_ip(), "{name}");
    }
    let left = world.cloudflare.record(&untouched).unwrap();
    assert_eq!(left.content, world.main_ip(), "not a hostname of the site");

    let writes = world.write_requests();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!(writes[0].route().ends_with("/dns_records/batch"));
    let body = writes[0].json().unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "patches alone: {body}");
    let mut patched = Vec::new();
    for patch in body["patches"].as_array().unwrap() {
        let wanted = json!({"id": patch["id"], "content": world.backup_ip()});
        assert_eq!(*patch, wanted, "nothing but content");
        patched.push(patch["id"].as_str().unwrap().to_owned());
    }
    let mut wanted = ids.clone();
    wanted.sort();
    patched.sort();
    assert_eq!(patched, wanted);
    for (id, before) in ids.iter().zip(before) {
        let (mut before, after) = (before.unwrap(), world.cloudflare.record(id).unwrap());
        before.content = after.content.clone();
        before.modified_on = after.modified_on;
        assert_eq!(before, after, "only the content was changed");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    world.assert_published(true);
}

#[tokio::test]
async fn hostnames_that_disagree_are_left_alone() {
    let (world, sites, ids) = three_hostnames().await;
    world.cloudflare.edit(&ids[1], &world.backup_ip());
    let server = serve(&world, &sites).await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["action"], "hold", "{decision}");
    assert_eq!(decision["reason"], "record_shape", "{decision}");
    assert_eq!(world.write_requests().len(), 0);
    let hold = [("site", SITE), ("reason", "record_shape")];
    assert_eq!(server.metrics().await.get("hold", &hold), Some(1.0));
}

#[tokio::test]
async fn an_alert_for_any_hostname_is_for_the_site() {
    let (world, sites, _) = three_hostnames().await;
    let server = serve(&world, &sites).await;
    for (name, alerts) in [("shop.example.com", 1), ("mail.example.com", 0)] {
        let answer = post_alerts(&server, "", json!([alert(name, "resolved")])).await;
        let accepted: Vec<Value> = match alerts {
            0 => Vec::new(),
            _ => vec![json!({"site": SITE, "alerts": alerts})],
        };
        let wanted = json!({"accepted": accepted, "unmatched": 1 - alerts});
        assert_eq!(answer, wanted, "{name}");
    }
}

#[tokio::test]
async fn an_origin_can_be_asked_in_its_own_way() {
    let world = World::new().await;
    let tables = [
        table(
            &world.main,
            "host = \"main.internal\", path = \"/health?deep=1\"",
        ),
        table(
            &world.backup,
            "path = \"/ready\", method = \"HEAD\", expect_status = [\"503\"]",
        ),
    ];
    world.backup.set(Behaviour::status(503)).await.unwrap();
    let server = serve(&world, &site(SITE, &[HOSTNAME], &tables, "")).await;
    origin_is(&server, SITE, "main", "up").await;
    origin_is(&server, SITE, "backup", "up").await;

    let to_main = world.main.last_request().unwrap();
    assert_eq!(to_main.host.as_deref(), Some("main.internal"));
    assert_eq!(to_main.path, "/health?deep=1");
    assert_eq!(to_main.method, "GET");
    let to_backup = world.backup.last_request().unwrap();
    let host = to_backup.host.as_deref();
    assert_eq!(host, Some(HOSTNAME), "the site's own by default");
    assert_eq!(to_backup.path, "/ready");
    assert_eq!(to_backup.method, "HEAD");
}

#[tokio::test]
async fn sites_do_not_disturb_each_other() {
    let world = World::new().await;
    add_record(&world, "blog.example.com", &world.backup_ip());
    let there = [table(&world.main, ""), table(&world.backup, "")];
    let back = [table(&world.backup, ""), table(&world.main, "")];
    let sites =
        site(SITE, &[HOSTNAME], &there, "") + &site("blog", &["blog.example.com"], &back, "");
    let server = serve(&world, &sites).await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert_eq!(contents(&world, "blog.example.com"), world.backup_ip());
    let blog = server.site("blog").await;
    assert_eq!(blog["last_decision"]["reason"], "on_main", "{blog}");
    let metrics = server.metrics().await;
    let moved = metrics.get("switches_total", &[("site", "blog")]);
    assert_eq!(moved, Some(0.0));
}
