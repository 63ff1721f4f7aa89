//! What is said, in which form, and what never is.

use crate::support::server::{Server, TOKEN, World, leaks};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use serde_json::Value;

#[tokio::test]
async fn every_line_of_a_json_log_is_json_with_the_decision_in_fields() {
    let world = World::new().await;
    world.configure();
    let arguments = ["--log-format", "json"];
    let server = Server::start_in(world.folder.clone(), &arguments).await;
    server.wait_reason("www", "on_main").await;
    world.kill_main().await;
    server.decision_on_alert("www", "firing").await;
    server.wait_reason("www", "main_down").await;
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let switches: Vec<_> = lines
        .iter()
        .filter(|line| line["action"] == "switch")
        .collect();
    assert_eq!(switches.len(), 1, "{log}");
    let line = switches[0];
    assert_eq!(line["site"], "www");
    assert_eq!(line["reason"], "failover");
    assert_eq!(line["from"], "main");
    assert_eq!(line["to"], "backup");
    assert_eq!(line["result"], "confirmed");
    assert!(line["duration_seconds"].is_number(), "{line}");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("record switched")
    );
}

#[tokio::test]
async fn nothing_is_said_while_nothing_happens() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let probes = async || {
        let metrics = server.metrics().await;
        metrics.get("probes_total", &[("site", "www")]).unwrap()
    };
    let (log, history, start) = (server.log(), server.decisions().await, probes().await);
    server
        .wait_until("a dozen more probes", async || {
            probes().await >= start + 12.0
        })
        .await;
    assert_eq!(server.log(), log);
    assert_eq!(server.decisions().await, history);
    assert_eq!(server.out(), "");
}

#[tokio::test]
async fn no_secret_is_ever_said() {
    let mut world = World::new().await;
    std::fs::write(world.folder.path("admin"), format!("admin-{TOKEN}")).unwrap();
    world.more = "[server]\nwebhook_token_file = \"admin\"\n".into();
    world.configure();
    let arguments = ["--log-level", "trace"];
    let mut server = Server::start_in(world.folder.clone(), &arguments).await;
    server.wait_reason("www", "on_main").await;
    for effect in [
        Effect::SpuriousForbidden,
        Effect::Status(500),
        Effect::CutBefore,
    ] {
        world
            .cloudflare
            .fault(Fault::once(Matcher::Reads, effect.clone()));
        world.cloudflare.fault(Fault::once(Matcher::Writes, effect));
    }
    world.kill_main().await;
    server
        .wait_until("the record is moved", async || world.on_backup())
        .await;
    let refused = server.post("/webhook", Value::Null).await;
    assert_eq!(refused.status, 401);
    server.post("/-/reload", Value::Null).await;
    let mut texts = vec![refused.text];
    for path in [
        "/",
        "/metrics",
        "/api/v1/sites",
        "/api/v1/decisions",
        "/api/v1/sites/www",
        "/no",
    ] {
        texts.push(server.get(path).await.text);
    }
    // A token of a form that cannot be is refused without being repeated.
    std::fs::write(world.folder.path("token"), format!("{TOKEN} twice")).unwrap();
    texts.push(server.post("/-/reload", Value::Null).await.text);
    let checked = world.folder.run(&["check-config"]).await;
    texts.extend([checked.out, checked.err]);
    server.term().await;
    texts.extend([server.log(), server.out()]);
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    assert!(texts.iter().any(|text| text.contains("www")));
    let state = world.folder.state();
    assert!(
        !leaks(&texts, state.parent().unwrap()),
        "{}",
        texts.join("\n")
    );
}
