//! Alertmanagers are told of switches over HTTP; and what they send back about
//! originswitch itself is no alert of a site.

use crate::support::server::{Server, World};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const SENT_TOKEN: &str = "what-alertmanager-asks-for-in-this-test";

/// What an Alertmanager was told, by labels.
#[derive(Clone)]
struct Alertmanager {
    addr: SocketAddr,
    told: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Alertmanager {
    /// One that asks for the token.
    async fn start(at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let alertmanager = Self {
            addr: listener.local_addr().unwrap(),
            told: Arc::default(),
        };
        let router = Router::new()
            .route("/am/api/v2/alerts", post(take))
            .with_state(alertmanager.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        alertmanager
    }

    fn url(&self) -> String {
        format!("http://{}/am", self.addr)
    }

    fn alerts(&self) -> Vec<Value> {
        self.told.lock().unwrap().values().cloned().collect()
    }

    /// The alert that the site is off MAIN, if it fires.
    fn switched(&self) -> Option<Value> {
        let now = Timestamp::now();
        let ends = |alert: &Value| alert["endsAt"].as_str().unwrap().parse::<Timestamp>();
        self.alerts().into_iter().find(|alert| {
            alert["labels"]["alertname"] == "OriginswitchSwitched" && ends(alert).unwrap() > now
        })
    }

    async fn until_switched(&self, server: &Server, so: bool) {
        let what = format!("it is told that the site is off MAIN: {so}");
        server
            .wait_until(&what, async || self.switched().is_some() == so)
            .await;
    }
}

async fn take(
    State(at): State<Alertmanager>,
    headers: HeaderMap,
    Json(alerts): Json<Vec<Value>>,
) -> StatusCode {
    let shown = headers.get("authorization").map(|value| value.as_bytes());
    if shown != Some(format!("Bearer {SENT_TOKEN}").as_bytes()) {
        return StatusCode::UNAUTHORIZED;
    }
    for alert in alerts {
        let labels = alert["labels"].to_string();
        at.told.lock().unwrap().insert(labels, alert);
    }
    StatusCode::OK
}

/// A world whose server tells these, and shows them the token.
async fn world_telling(urls: impl FnOnce(&World) -> Vec<String>) -> World {
    let mut world = World::new().await;
    let file = world.folder.path("alertmanager.token");
    std::fs::write(file, SENT_TOKEN).unwrap();
    let urls = urls(&world);
    world.more = notify(&urls);
    world
}

fn notify(urls: &[String]) -> String {
    format!("[notify]\nalertmanager_urls = {urls:?}\ntoken_file = \"alertmanager.token\"\n")
}

#[tokio::test]
async fn every_alertmanager_hears_of_a_switch_and_of_its_end() {
    let mut both = Vec::new();
    let mut world = world_telling(|_| Vec::new()).await;
    for host in [40, 41] {
        both.push(Alertmanager::start(world.address(host)).await);
    }
    // One that is not there keeps the others from nothing.
    let mut urls: Vec<String> = both.iter().map(Alertmanager::url).collect();
    urls.push("http://127.0.0.9:9".into());
    world.more = notify(&urls);
    let server = world.serve_on_main().await;
    world.kill_main().await;
    for alertmanager in &both {
        alertmanager.until_switched(&server, true).await;
    }
    let alert = both[0].switched().unwrap();
    assert_eq!(
        alert["labels"],
        json!({"alertname": "OriginswitchSwitched", "severity": "warning", "site": "www",
            "sender": "originswitch", "from": "main", "to": "backup"})
    );
    let switch = server.switches().await.pop().unwrap();
    assert_eq!(alert["annotations"]["description"], switch["explanation"]);
    assert_eq!(
        alert["annotations"]["summary"],
        "www was switched to backup."
    );

    world.revive_main().await;
    for alertmanager in &both {
        alertmanager.until_switched(&server, false).await;
    }
    assert!(world.on_main());
    let metrics = server.metrics().await;
    let sent = metrics.get("notifications_total", &[("result", "sent")]);
    assert!(sent.unwrap() >= 4.0, "{metrics:?}");
    let log = server.log();
    assert!(!log.contains(SENT_TOKEN), "{log}");
    let complaint = "Alertmanager at http://127.0.0.9:9 is not told of what happens here";
    assert_eq!(log.matches(complaint).count(), 1, "{log}");
}

/// What is routed back to us names the site, but is no alert of it: it would
/// keep the site from going back to MAIN for as long as it is not on MAIN.
#[tokio::test]
async fn our_own_alerts_sent_back_to_us_do_not_stop_the_return() {
    let mut world = world_telling(|_| Vec::new()).await;
    let alertmanager = Alertmanager::start(world.address(40)).await;
    world.more = notify(&[alertmanager.url()]);
    let server = world.serve_on_main().await;
    world.kill_main().await;
    alertmanager.until_switched(&server, true).await;

    let labels = alertmanager.switched().unwrap()["labels"].clone();
    let by_rule = json!({"alertname": "OriginswitchSiteOnBackup", "site": "www"});
    let fires = |labels: &Value| json!({"status": "firing", "labels": labels});
    let webhook = json!({"status": "firing", "alerts": [fires(&labels), fires(&by_rule)]});
    let answer = server.post("/webhook", webhook).await.json();
    assert_eq!(answer, json!({"accepted": [], "unmatched": 2}));
    let site = server.site("www").await;
    assert!(site["alert"].is_null(), "{site:#}");

    assert!(!server.log().contains("belong to no site"));

    world.revive_main().await;
    alertmanager.until_switched(&server, false).await;
    assert!(world.on_main());
    let reasons = server.decisions().await;
    assert!(reasons.iter().all(|d| d["reason"] != "alert_firing"));
}

#[tokio::test]
async fn a_new_process_knows_from_the_state_file_what_there_is_to_tell() {
    let mut world = world_telling(|_| Vec::new()).await;
    let alertmanager = Alertmanager::start(world.address(40)).await;
    world.more = notify(&[alertmanager.url()]);
    let mut server = world.serve_on_main().await;
    world.kill_main().await;
    alertmanager.until_switched(&server, true).await;
    let before = alertmanager.switched().unwrap();
    server.kill().await;
    alertmanager.told.lock().unwrap().clear();

    let mut server = world.folder.serve().await;
    alertmanager.until_switched(&server, true).await;
    let after = alertmanager.switched().unwrap();
    assert_eq!(after["labels"], before["labels"]);
    assert_eq!(after["annotations"], before["annotations"]);
    assert_eq!(after["startsAt"], before["startsAt"]);

    // Back while nobody looked: the end is told too.
    server.kill().await;
    world.revive_main().await;
    world.rule = "failback_after = \"0s\"\n".into();
    world.once(&[]).await;
    assert!(world.on_main());
    let server = world.folder.serve().await;
    alertmanager.until_switched(&server, false).await;
}

#[tokio::test]
async fn a_reload_changes_who_is_told_and_with_which_token() {
    let mut world = world_telling(|_| Vec::new()).await;
    let alertmanager = Alertmanager::start(world.address(40)).await;
    let server = world.serve_on_main().await;
    world.kill_main().await;
    let off_main = async || world.on_backup();
    server.wait_until("the record holds BACKUP", off_main).await;

    let file = world.folder.path("alertmanager.token");
    std::fs::write(&file, "another-token").unwrap();
    world.more = notify(&[alertmanager.url()]);
    world.configure();
    assert_eq!(server.post("/-/reload", Value::Null).await.status, 200);
    let hint = "it answers 401 Unauthorized: name the file with its token as notify.token_file";
    server.wait_log(hint).await;
    std::fs::write(&file, SENT_TOKEN).unwrap();
    assert_eq!(server.post("/-/reload", Value::Null).await.status, 200);
    alertmanager.until_switched(&server, true).await;
}
