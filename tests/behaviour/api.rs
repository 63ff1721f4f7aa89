//! The API for scripts, and the page for people.

use crate::common::*;
use originswitch::sandbox::Behaviour;
use originswitch::sandbox::cloudflare::RecordSpec;
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use serde_json::{Value, json};
use std::time::Duration;

const MEMBERS: [&str; 9] = [
    "alert",
    "frozen",
    "hold",
    "hostnames",
    "last_decision",
    "name",
    "origins",
    "pin",
    "record",
];

/// Three sites, in an order that is not that of their names.
async fn three_sites() -> (World, Server) {
    let world = World::new().await;
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    let mut sites = site(SITE, &[HOSTNAME], &tables, "");
    for name in ["shop", "blog"] {
        let hostname = format!("{name}.example.com");
        add_record(&world, &hostname, &world.main_ip());
        sites += &site(name, &[&hostname], &tables, "");
    }
    let server = serve(&world, &sites).await;
    (world, server)
}

fn names(list: &Value) -> Vec<&str> {
    let sites = list["sites"].as_array().unwrap().iter();
    sites.map(|site| site["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_site_shows_what_is_known_of_it() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let site = server.site(SITE).await;
    let members: Vec<&String> = site.as_object().unwrap().keys().collect();
    assert_eq!(members, MEMBERS);
    assert_eq!(site["name"], SITE);
    assert_eq!(site["hostnames"], json!([HOSTNAME]));
    let record = json!({"role": "main", "address": world.main_ip()});
    assert_eq!(site["record"], record);
    assert_eq!(site["hold"], Value::Null);
    assert_eq!(site["pin"], Value::Null);
    assert_eq!(site["alert"], Value::Null);
    assert_eq!(site["last_decision"]["reason"], "on_main");
    for (nth, role) in ["main", "backup"].iter().enumerate() {
        let origin = &site["origins"][nth];
        let members: Vec<&String> = origin.as_object().unwrap().keys().collect();
        assert_eq!(members, ["address", "probes", "reason", "role", "state"]);
        assert_eq!(origin["role"], *role);
        assert_eq!(origin["state"], "up");
        assert_like(origin["reason"].as_str().unwrap(), "200 in [0-9]+ ms");
    }
    let list = server.get("/api/v1/sites").await.json();
    assert_eq!(list.as_object().unwrap().len(), 1, "{list}");
    let listed: Vec<&String> = list["sites"][0].as_object().unwrap().keys().collect();
    assert_eq!(listed, MEMBERS);
}

#[tokio::test]
async fn sites_are_listed_page_by_page() {
    let (_world, server) = three_sites().await;
    for (query, wanted) in [
        ("", &["blog", "shop", "www"][..]),
        ("?limit=2", &["blog", "shop"]),
        ("?after=blog", &["shop", "www"]),
        ("?limit=1&after=blog", &["shop"]),
        ("?after=www", &[]),
        ("?after=c", &["shop", "www"]),
    ] {
        let list = server.get(&format!("/api/v1/sites{query}")).await.json();
        assert_eq!(names(&list), wanted, "{query}");
    }
}

#[tokio::test]
async fn decisions_are_listed_page_by_page() {
    let (world, server) = three_sites().await;
    world.kill_main().await;
    for name in [SITE, "shop"] {
        server.decision_on_alert(name, "firing").await;
    }
    decided(&server, "blog", "failover").await;
    let list = async |query: &str| {
        let path = format!("/api/v1/decisions{query}");
        let body = server.get(&path).await.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["decisions"].as_array().unwrap().clone()
    };
    let id = |decision: &Value| decision["id"].as_i64().unwrap();
    let all = list("").await;
    assert!(all.len() >= 6, "{all:?}");
    assert!(
        all.windows(2).all(|pair| id(&pair[0]) > id(&pair[1])),
        "newest first"
    );
    // Walking back page by page finds each once.
    let (mut walked, mut before) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=2{before}")).await;
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        before = format!("&before={}", id(last));
        walked.extend(page);
    }
    let mut walked: Vec<i64> = walked.iter().map(id).collect();
    walked.retain(|walked| *walked <= id(&all[0]));
    assert_eq!(walked, all.iter().map(id).collect::<Vec<_>>());
    let shop = list("?site=shop").await;
    assert!(
        shop.len() >= 2 && shop.iter().all(|d| d["site"] == "shop"),
        "{shop:?}"
    );
    assert_eq!(list("?site=nobody").await, Vec::<Value>::new());
}

#[tokio::test]
async fn decisions_outlive_a_restart() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    let server = server.restart().await;
    assert_eq!(server.switches().await, [decision]);
    let metrics = server.metrics().await;
    assert_eq!(
        metrics.switches("main", "backup", "confirmed"),
        Some(0.0),
        "a new process"
    );
    server
        .wait_until("the last switch is known", async || {
            let metrics = server.metrics().await;
            metrics.get("last_switch_timestamp_seconds", &[]).is_some()
        })
        .await;
}

#[tokio::test]
async fn a_pass_that_changes_nothing_is_not_stored_again() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    evaluate(&server, "").await;
    let stored = server.decisions().await;
    for _ in 0..8 {
        let decision = evaluate(&server, "").await;
        assert_eq!(decision["reason"], "on_main", "{decision}");
    }
    let passes = [("action", "keep"), ("reason", "on_main")];
    let counted = server.metrics().await.get("decisions_total", &passes);
    assert!(counted.unwrap() >= 9.0, "passes are counted");
    assert_eq!(server.decisions().await, stored);
}

#[tokio::test]
async fn mistakes_are_answered_in_json() {
    let world = World::new().await;
    let server = world.serve().await;
    for (method, path, status) in [
        ("GET", "/api/v1/sites/nobody", 404),
        ("POST", "/api/v1/sites/nobody/evaluate", 404),
        ("POST", "/api/v1/sites/nobody/failback", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/sites", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", "/api/v1/decisions?limit=0", 400),
        ("GET", "/api/v1/decisions?limit=many", 400),
        ("GET", "/api/v1/decisions?before=yesterday", 400),
        ("GET", "/api/v1/sites?limit=-1", 400),
        ("GET", "/api/v1/sites/www/evaluate", 405),
        ("DELETE", "/api/v1/sites/www", 405),
        ("POST", "/metrics", 405),
        ("POST", "/-/ready", 405),
        ("GET", "/-/reload", 405),
    ] {
        let reply = call(&server, method, path).await;
        let sentence = refused(&reply, status);
        if status == 405 {
            assert_ne!(header(&reply, "allow"), "", "{method} {path}");
        }
        assert!(!sentence.is_empty());
    }
}

#[tokio::test]
async fn the_page_shows_it_all_without_a_script() {
    let (world, server) = three_sites().await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    let reply = server.get("/").await;
    assert_eq!(reply.status, 200);
    assert!(header(&reply, "content-type").starts_with("text/html"));
    let page = reply.text;
    for text in [
        "www",
        "shop",
        "blog",
        HOSTNAME,
        "connection refused",
        "failover",
        "firing",
        explanation(&decision),
        &world.main_ip(),
        &world.backup_ip(),
    ] {
        assert!(page.contains(text), "{text}\n{page}");
    }
    let lower = page.to_lowercase();
    for no in ["<script", "javascript:", "onclick", "onload"] {
        assert!(!lower.contains(no), "{no}\n{page}");
    }
    assert_eq!(call(&server, "HEAD", "/").await.status, 200);
}

#[tokio::test]
async fn ready_waits_for_the_first_probe_of_every_origin() {
    let mut world = World::new().await;
    world.more = "[site.probe]\n".into();
    world.backup.set(Behaviour::Hanging).await.unwrap();
    let tables = [
        table(&world.main, ""),
        table(&world.backup, "timeout = \"20s\""),
    ];
    let config = world.sections() + &site(SITE, &[HOSTNAME], &tables, "");
    world.folder.configure(&config);
    let server = world.folder.serve().await;
    origin_is(&server, SITE, "main", "up").await;
    let reply = server.get("/-/ready").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.text.trim_end().lines().count(), 1, "{reply:?}");
    assert_eq!(call(&server, "HEAD", "/-/ready").await.status, 503);
    let healthy = server.get("/-/healthy").await;
    assert_eq!(healthy.status, 200);
    assert_eq!(healthy.text.trim_end().lines().count(), 1, "{healthy:?}");
    assert_eq!(call(&server, "HEAD", "/-/healthy").await.status, 200);

    // The probe fails at last.
    world.backup.set(Behaviour::Refusing).await.unwrap();
    server
        .wait_until("it is ready", async || server.ready().await)
        .await;
    let head = call(&server, "HEAD", "/-/ready").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn while_draining_it_is_not_ready_and_takes_no_alerts() {
    let spec = RecordSpec::new("A", HOSTNAME, "192.0.2.1").proxied();
    let world = World::with(spec);
    let mut server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    // A switch is under way when it is told to end.
    let slow = Effect::Latency(Duration::from_secs(4));
    world.cloudflare.fault(Fault::always(Matcher::Writes, slow));
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    let begun = async || !world.write_requests().is_empty();
    server.wait_until("the write is under way", begun).await;
    server.signal("TERM");
    server
        .wait_until("it drains", async || {
            server.get("/-/ready").await.status == 503
        })
        .await;
    let late = server
        .post("/webhook", crate::support::server::alert(SITE, "firing"))
        .await;
    refused(&late, 503);
    assert_eq!(server.ended().await, Some(0));
    assert!(world.on_backup(), "what was under way was finished");
}

#[tokio::test]
async fn a_parameter_that_is_not_known_is_refused_where_something_is_done() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.kill_main().await;
    for call in ["evaluate?dry-run=true", "failback?dry_run=true"] {
        let path = format!("/api/v1/sites/{SITE}/{call}");
        let reply = server.post(&path, Value::Null).await;
        assert_eq!(reply.status, 400, "{call}: {reply:?}");
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("query"), "{said}");
    }
    assert!(world.on_main());
}
