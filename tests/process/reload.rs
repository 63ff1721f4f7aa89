//! Reading the configuration again.

use crate::support::server::{Server, World};
use originswitch::sandbox::cloudflare::RecordSpec;
use serde_json::Value;

async fn reload(server: &Server) -> crate::support::server::Reply {
    server.post("/-/reload", Value::Null).await
}

/// A second site with a record of its own.
fn shop(world: &World) -> String {
    let spec = RecordSpec::new("A", "shop.example.com", &world.main_ip());
    world.cloudflare.add_record(&world.zone, spec.proxied());
    world.site_named("shop", "shop.example.com")
}

#[tokio::test]
async fn a_site_is_added_by_a_signal_and_the_others_go_on_as_they_were() {
    let mut world = World::new().await;
    let server = world.serve_on_main().await;
    // It has something to lose: a switch, a firing alert, health.
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    server.wait_reason("www", "main_down").await;
    let before = server.metrics().await;
    let history = server.decisions().await;

    world.more = shop(&world);
    world.configure();
    server.signal("HUP");
    server
        .wait_until("both are there", async || server.sites().await.len() == 2)
        .await;
    let after = server.metrics().await;
    assert_eq!(after.switches("main", "backup", "confirmed"), Some(1.0));
    let www = [("site", "www")];
    for name in ["probes_total", "decisions_total"] {
        assert!(after.get(name, &www) >= before.get(name, &www), "{name}");
    }
    for origin in ["main", "backup"] {
        let labels = [("site", "www"), ("origin", origin)];
        assert_eq!(
            after.get("origin_up", &labels),
            before.get("origin_up", &labels)
        );
    }
    let site = server.site("www").await;
    assert_eq!(site["origins"][0]["state"], "down", "{site}");
    assert_eq!(site["alert"]["status"], "firing");
    server.wait_reason("shop", "unproven").await;
    let of_www: Vec<Value> = server
        .decisions()
        .await
        .into_iter()
        .filter(|decision| decision["site"] == "www")
        .collect();
    assert_eq!(of_www, history, "nothing was decided anew");
    assert_eq!(after.get("config_last_reload_successful", &[]), Some(1.0));
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn a_site_that_changed_starts_anew_and_one_that_is_gone_leaves_nothing() {
    let mut world = World::new().await;
    world.more = shop(&world);
    let server = world.serve_on_main().await;
    server.wait_reason("shop", "on_main").await;
    world.kill_main().await;
    for site in ["www", "shop"] {
        let decision = server.decision_on_alert(site, "firing").await;
        assert_eq!(decision["result"], "confirmed", "{decision}");
    }

    // `www` asks for another path from now on, `shop` is gone.
    world.more = "[site.probe]\npath = \"/health\"\n".into();
    world.configure();
    let reply = reload(&server).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(0.0));
    let text = server.get("/metrics").await.text;
    assert!(!text.contains("site=\"shop\""), "{text}");
    assert_eq!(server.get("/api/v1/sites/shop").await.status, 404);
    assert_eq!(server.sites().await.len(), 1);
    server
        .wait_site("www", "a decision after the reload", |site| {
            let last = &site["last_decision"];
            last["trigger"] == "reload" || last["origins"][1]["state"] == "up"
        })
        .await;
    server
        .wait_until("the new path is asked for", async || {
            world
                .backup
                .last_request()
                .is_some_and(|r| r.path == "/health")
        })
        .await;
    // History is of what happened, and stays; so does where the record points.
    let switches = server.switches().await;
    assert_eq!(switches.len(), 2);
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 2);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_every_fault_and_the_old_one_stays() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    assert_eq!(
        server
            .metrics()
            .await
            .get("config_last_reload_successful", &[]),
        Some(1.0)
    );
    let bad = world
        .config()
        .replace("500ms", "often")
        .replace("confirm_for", "confirm_fro");
    world.folder.configure(&bad);
    let reply = reload(&server).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let error = reply.json()["error"].to_string();
    assert!(error.contains("probe.interval"), "{error}");
    assert!(error.contains("confirm_fro"), "{error}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("config_last_reload_successful", &[]), Some(0.0));

    // By signal it is told in the log, and the server lives on.
    server.signal("HUP");
    server.wait_log("configuration before stays in force").await;
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");

    world.configure();
    assert_eq!(reload(&server).await.status, 200);
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("config_last_reload_successful", &[]), Some(1.0));
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
}

#[tokio::test]
async fn what_needs_a_restart_is_said_to_need_one() {
    let mut world = World::new().await;
    let server = world.serve_on_main().await;
    world.more = "[server]\nlisten = \"127.0.0.1:10054\"\n[state]\npath = \"other.db\"\n".into();
    world.configure();
    let reply = reload(&server).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let error = reply.json()["error"].to_string();
    assert!(error.contains("server.listen"), "{error}");
    assert!(error.contains("state.path"), "{error}");
    assert!(error.contains("needs a restart"), "{error}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("config_last_reload_successful", &[]), Some(0.0));
    assert!(!world.folder.path("other.db").exists());
}

#[tokio::test]
async fn a_header_of_the_probe_takes_effect_although_its_value_is_never_shown() {
    let mut world = World::new().await;
    let with = |key: &str| format!("[site.probe]\nheaders = {{ x-key = \"{key}\" }}\n");
    world.more = with("before");
    let server = world.serve_on_main().await;
    let sent = |world: &World| {
        let request = world.main.last_request().expect("it was probed");
        let value = request.headers.get("x-key").map(|v| v.as_bytes().to_vec());
        String::from_utf8(value.unwrap_or_default()).unwrap()
    };
    assert_eq!(sent(&world), "before");
    world.more = with("after");
    world.configure();
    assert_eq!(reload(&server).await.status, 200);
    server
        .wait_until("probes carry it", async || sent(&world) == "after")
        .await;
    assert!(!server.log().contains("after\""), "{}", server.log());
}
