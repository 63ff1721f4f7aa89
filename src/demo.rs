//! Everything in one process: a simulated Cloudflare, a MAIN and a BACKUP
//! origin on loopback, and the real server on top of them.

use crate::app::App;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::ending::{DONE, FAILED, chain, told_to_end};
use crate::sandbox::cloudflare::{Options, Permission, RecordSpec, TokenSpec};

use crate::sandbox::{self, Behaviour, Cloudflare};
use anyhow::{Context, bail, ensure};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const HOSTNAME: &str = "www.example.com";
const MAIN_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const BACKUP_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const TOKEN: &str = "demo-token-of-the-sandbox";

/// How long MAIN has to be well before the site goes home: short, for a story.
const FAILBACK_AFTER: &str = "4s";

/// No step of the story takes longer than this.
const STEP: Duration = Duration::from_secs(12);

/// The stage: what the server believes to be the world.
struct Stage {
    cloudflare: Cloudflare,
    main: sandbox::Origin,
    backup: sandbox::Origin,
}

/// A folder for the demo's state that goes with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would be a few kilobytes in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Plays the story; then serves until told to end, or ends with `exit`.
pub async fn run(listen: SocketAddr, exit: bool) -> u8 {
    match play(listen, exit).await {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("demo: {}", chain(&error));
            FAILED
        }
    }
}

async fn play(listen: SocketAddr, exit: bool) -> anyhow::Result<()> {
    let stage = Arc::new(set_stage().await?);
    let folder =
        Folder(std::env::temp_dir().join(format!("originswitch-demo-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)
        .with_context(|| format!("cannot create {}", folder.0.display()))?;
    let config = configure(&stage, &folder.0)?;
    let again = config.clone();
    let read = Arc::new(move || Ok(again.clone()));
    let app = App::start(config, read, Some(listen), Clock::system())
        .await
        .map_err(|error| {
            let cause = chain(&error);
            anyhow::anyhow!("{cause}: start it elsewhere with --listen 127.0.0.1:0")
        })?;
    let outcome = tokio::select! {
        outcome = perform(&stage, app.addr, exit) => outcome,
        // Told to end: the stage is cleared all the same.
        () = told_to_end() => Ok(()),
    };
    app.stop().await;
    outcome
}

/// The story, and with `exit` nothing after it.
async fn perform(stage: &Arc<Stage>, addr: SocketAddr, exit: bool) -> anyhow::Result<()> {
    story(stage, addr).await?;
    if !exit {
        let controls = serve_controls(stage.clone()).await?;
        say_how_to_play(addr, controls);
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn set_stage() -> anyhow::Result<Stage> {
    let any = |ip: Ipv4Addr, port| SocketAddr::new(IpAddr::V4(ip), port);
    let options = Options {
        // The origins of a demo live on loopback.
        refuse_private_targets: false,
        ..Options::default()
    };
    let cloudflare = Cloudflare::start(any(Ipv4Addr::LOCALHOST, 0), options)
        .context("cannot start the simulated Cloudflare")?;
    let zone = cloudflare.add_zone("example.com");
    cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
    let record = RecordSpec::new("A", HOSTNAME, &MAIN_IP.to_string());
    cloudflare.add_record(&zone, record.proxied());
    let start = |ip| {
        sandbox::Origin::start(any(ip, 0), None)
            .with_context(|| format!("cannot start an origin on {ip}"))
    };
    Ok(Stage {
        cloudflare,
        main: start(MAIN_IP)?,
        backup: start(BACKUP_IP)?,
    })
}

/// The configuration of the demo, written and read like a user's.
fn configure(stage: &Stage, folder: &std::path::Path) -> anyhow::Result<Config> {
    let text = format!(
        "[cloudflare]\napi_token = \"{TOKEN}\"\napi_url = \"{api}\"\n\
         [probe]\nkind = \"http\"\ninterval = \"2s\"\n\
         [rule]\nconfirm_interval = \"500ms\"\nfailback_after = \"{FAILBACK_AFTER}\"\nmax_switches = 100\n\
         [[site]]\nname = \"www\"\nhostname = \"{HOSTNAME}\"\nzone = \"example.com\"\n\
         main = {{ ipv4 = \"{MAIN_IP}\", port = {main} }}\n\
         backup = {{ ipv4 = \"{BACKUP_IP}\", port = {backup} }}\n",
        api = stage.cloudflare.url(),
        main = stage.main.addr().port(),
        backup = stage.backup.addr().port(),
    );
    let path = folder.join("originswitch.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(config::load(&path, [])?)
}

/// Calls of the demo's own server, over HTTP like anybody's.
struct Caller {
    http: reqwest::Client,
    base: String,
}

impl Caller {
    fn new(addr: SocketAddr) -> anyhow::Result<Caller> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Caller {
            http,
            base: format!("http://{addr}"),
        })
    }

    async fn site(&self) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/sites/www", self.base);
        Ok(self.http.get(url).send().await?.json().await?)
    }

    /// Posts an alert the way Alertmanager does, and waits for the decision.
    async fn alert(&self, status: &str) -> anyhow::Result<Value> {
        let url = format!("{}/webhook?wait=15s", self.base);
        let labels = json!({"alertname": "OriginDown", "site": "www", "severity": "critical"});
        let body = json!({"version": "4", "status": status, "receiver": "originswitch",
            "alerts": [{"status": status, "labels": labels}]});
        let answer: Value = self.http.post(url).json(&body).send().await?.json().await?;
        match answer["decisions"].get(0) {
            Some(decision) => Ok(decision.clone()),
            None => bail!("the alert led to no decision: {answer}"),
        }
    }

    /// Waits until the site is as `wanted` says.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let end = Instant::now() + STEP;
        loop {
            let site = self.site().await?;
            if wanted(&site) {
                return Ok(site);
            }
            ensure!(Instant::now() < end, "waited in vain until {what}: {site}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "for a person's eyes only")]
fn tell(line: &str) {
    println!("{} {line}", jiff::Zoned::now().strftime("%H:%M:%S"));
}

fn record(stage: &Stage) -> String {
    let records = stage.cloudflare.records(HOSTNAME);
    records
        .first()
        .map_or_else(|| "?".into(), |record| record.content.clone())
}

/// The story, a line for each step. An error is a step that went otherwise.
async fn story(stage: &Stage, addr: SocketAddr) -> anyhow::Result<()> {
    let caller = Caller::new(addr)?;
    let (main, backup) = (stage.main.addr(), stage.backup.addr());
    tell(&format!(
        "a simulated Cloudflare answers at {}",
        stage.cloudflare.url()
    ));
    tell(&format!(
        "MAIN is {main}, BACKUP is {backup}; originswitch listens on {addr}"
    ));
    caller
        .until("both origins are up", |site| {
            let up = |index: usize| site["origins"][index]["state"] == "up";
            up(0) && up(1) && site["last_decision"]["reason"] == "on_main"
        })
        .await?;
    holds(stage, MAIN_IP)?;
    tell(&format!(
        "{HOSTNAME} points to MAIN ({MAIN_IP}), and both origins are up"
    ));
    main_dies(stage, &caller).await?;
    main_returns(stage, &caller).await
}

async fn main_dies(stage: &Stage, caller: &Caller) -> anyhow::Result<()> {
    stage.main.set(Behaviour::Refusing).await?;
    tell("MAIN dies: it refuses connections");
    tell("Alertmanager posts its alert to /webhook; originswitch looks for itself");
    let decision = caller.alert("firing").await?;
    check(&decision, "failover", "backup")?;
    holds(stage, BACKUP_IP)?;
    tell_switch(&decision);
    let kept = stage.cloudflare.records(HOSTNAME);
    let proxied = kept.first().is_some_and(|record| record.proxied);
    ensure!(proxied, "the record is proxied no more");
    tell("the record is still proxied: only its content was changed");
    Ok(())
}

async fn main_returns(stage: &Stage, caller: &Caller) -> anyhow::Result<()> {
    stage.main.set(Behaviour::up()).await?;
    tell("MAIN returns, and Alertmanager says so");
    let decision = caller.alert("resolved").await?;
    let explanation = decision["explanation"].as_str().unwrap_or_default();
    tell(&format!("not at once: {explanation}"));
    let site = caller
        .until("the site is back on MAIN", |site| {
            site["last_decision"]["reason"] == "failback"
        })
        .await?;
    let decision = &site["last_decision"];
    check(decision, "failback", "main")?;
    holds(stage, MAIN_IP)?;
    tell_switch(decision);
    let writes = stage.cloudflare.writes();
    tell(&format!(
        "{HOSTNAME} points to MAIN again; {writes} writes in all"
    ));
    Ok(())
}

/// Fails unless the record holds `wanted`.
fn holds(stage: &Stage, wanted: Ipv4Addr) -> anyhow::Result<()> {
    let held = record(stage);
    ensure!(
        held == wanted.to_string(),
        "the record holds {held} and not {wanted}"
    );
    Ok(())
}

fn check(decision: &Value, reason: &str, to: &str) -> anyhow::Result<()> {
    ensure!(
        decision["reason"] == reason
            && decision["to"]["role"] == to
            && decision["result"] == "confirmed",
        "expected a {reason} to {to}, but this was decided: {decision}"
    );
    Ok(())
}

fn tell_switch(decision: &Value) {
    let text = |key: &str| decision[key].as_str().unwrap_or_default().to_owned();
    tell(&format!(
        "{}: {} ({:.2} s after its trigger)",
        text("reason"),
        text("explanation"),
        decision["duration_seconds"].as_f64().unwrap_or_default()
    ));
}

/// Calls that kill and revive the origins, so that the story can be played by hand.
async fn serve_controls(stage: Arc<Stage>) -> anyhow::Result<SocketAddr> {
    let router = axum::Router::new()
        .route("/origins/{origin}/{state}", axum::routing::post(control))
        .route(
            "/record",
            axum::routing::get(|stage: State<Arc<Stage>>| async move {
                format!("{HOSTNAME} {}\n", record(&stage))
            }),
        )
        .with_state(stage);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = tokio::net::TcpListener::bind(addr).await?;
    // It lives as long as the process: nothing waits for it to end.
    Ok(crate::server::serve(listener, router)?.addr)
}

async fn control(
    stage: State<Arc<Stage>>,
    Path((origin, state)): Path<(String, String)>,
) -> Result<String, (StatusCode, String)> {
    let no = |text: &str| Err((StatusCode::NOT_FOUND, format!("{text}\n")));
    let behaviour = match state.as_str() {
        "up" => Behaviour::up(),
        "down" => Behaviour::Refusing,
        "hanging" => Behaviour::Hanging,
        "500" => Behaviour::status(500),
        _ => return no("the state is up, down, hanging or 500"),
    };
    let chosen = match origin.as_str() {
        "main" => &stage.main,
        "backup" => &stage.backup,
        _ => return no("the origin is main or backup"),
    };
    match chosen.set(behaviour).await {
        Ok(()) => Ok(format!("{origin} is {state}\n")),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))),
    }
}

fn say_how_to_play(server: SocketAddr, controls: SocketAddr) {
    let post = format!(
        "curl -sS -H 'Content-Type: application/json' 'http://{server}/webhook?wait=15s' --data"
    );
    println!(
        "\nPlay it by hand (Ctrl-C ends it):\n\
         \x20 curl -sS -X POST http://{controls}/origins/main/down      # or up, hanging, 500; or backup\n\
         \x20 {post} '{{\"alerts\":[{{\"status\":\"firing\",\"labels\":{{\"alertname\":\"OriginDown\",\"site\":\"www\"}}}}]}}'\n\
         \x20 curl -sS http://{controls}/record\n\
         \x20 curl -sS -X POST http://{controls}/origins/main/up\n\
         \x20 {post} '{{\"alerts\":[{{\"status\":\"resolved\",\"labels\":{{\"alertname\":\"OriginDown\",\"site\":\"www\"}}}}]}}'\n\
         \x20 curl -sS 'http://{server}/api/v1/decisions?limit=5'\n\
         \x20 curl -sS http://{server}/metrics | grep ^originswitch_\n\
         and look at http://{server}/ in a browser."
    );
}
