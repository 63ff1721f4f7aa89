//! The figures of the README, measured on the real binary against the sandbox.
//!
//! `cargo bench --bench figures` prints a table; `-- NAME…` runs only those.
//! Nothing is asserted: a figure is read by a person.

mod common;
#[path = "../tests/support/mod.rs"]
mod support;

use common::{chosen, cpu, head, median, resident, row};
use originswitch::sandbox::cloudflare::{Options, Permission, RecordSpec, TokenSpec};
use originswitch::sandbox::{Behaviour, Cloudflare, Origin};
use std::net::SocketAddr;
use std::time::Duration;
use support::server::{Folder, Server, TOKEN, alert};
use tokio::time::{Instant, sleep};

/// Sites with a MAIN and a BACKUP each, on a simulated Cloudflare.
struct Stage {
    cloudflare: Cloudflare,
    main: Origin,
    _backup: Origin,
    config: String,
}

impl Stage {
    /// `sites` sites that share two origins; everything else is the default.
    fn new(sites: usize, extra: &str) -> Stage {
        let any = |ip: &str| -> SocketAddr { format!("{ip}:0").parse().unwrap() };
        let options = Options {
            refuse_private_targets: false,
            ..Options::default()
        };
        let cloudflare = Cloudflare::start(any("127.0.0.1"), options).unwrap();
        let zone = cloudflare.add_zone("example.com");
        cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let main = Origin::start(any("127.0.1.1"), None).unwrap();
        let backup = Origin::start(any("127.0.1.2"), None).unwrap();
        let mut config = format!(
            "[cloudflare]\napi_token = \"{TOKEN}\"\napi_url = \"{}\"\n[probe]\nkind = \"http\"\n{extra}\n",
            cloudflare.url()
        );
        for number in 0..sites {
            let hostname = format!("s{number}.example.com");
            cloudflare.add_record(
                &zone,
                RecordSpec::new("A", &hostname, "127.0.1.1").proxied(),
            );
            config.push_str(&format!(
                "[[site]]\nname = \"s{number}\"\nhostname = \"{hostname}\"\nzone_id = \"{zone}\"\n\
                 main = {{ ipv4 = \"127.0.1.1\", port = {} }}\nbackup = {{ ipv4 = \"127.0.1.2\", port = {} }}\n",
                main.addr().port(),
                backup.addr().port()
            ));
        }
        Stage {
            cloudflare,
            main,
            _backup: backup,
            config,
        }
    }

    /// The server, with every site known to be well on MAIN.
    async fn serve(&self) -> Server {
        let server = Server::start(&self.config).await;
        server
            .wait_until("every site is on MAIN", async || {
                let sites = server.sites().await;
                sites
                    .iter()
                    .all(|s| s["last_decision"]["reason"] == "on_main")
            })
            .await;
        server
    }

    /// Waits until the record of the first site holds BACKUP.
    async fn switched(&self) -> Instant {
        loop {
            let records = self.cloudflare.records("s0.example.com");
            if records[0].content == "127.0.1.2" {
                return Instant::now();
            }
            sleep(Duration::from_micros(500)).await;
        }
    }
}

async fn alert_to_record(behaviour: Behaviour, what: &str, reach: &str, confirmed: f64) {
    let mut taken = Vec::new();
    for _ in 0..5 {
        let stage = Stage::new(1, "");
        let server = stage.serve().await;
        stage.main.set(behaviour.clone()).await.unwrap();
        let start = Instant::now();
        let (_, done) = tokio::join!(
            server.post("/webhook", alert("s0", "firing")),
            stage.switched()
        );
        taken.push(done.duration_since(start).as_secs_f64());
    }
    let (low, high) = (
        taken.iter().copied().fold(f64::MAX, f64::min),
        taken.iter().copied().fold(0.0, f64::max),
    );
    let middle = median(taken);
    let own = (middle - confirmed) * 1000.0;
    row(
        what,
        reach,
        &format!("{middle:.3} s ({low:.3} to {high:.3}), {own:.0} ms of it our own"),
    );
}

async fn death_to_record() {
    let mut taken = Vec::new();
    for run in 0..3u64 {
        let stage = Stage::new(1, "");
        let server = stage.serve().await;
        // At another place in the interval each time.
        sleep(Duration::from_millis(500 + run * 3_100)).await;
        stage.main.set(Behaviour::Swallowing).await.unwrap();
        let start = Instant::now();
        taken.push(stage.switched().await.duration_since(start).as_secs_f64());
        drop(server);
    }
    let high = taken.iter().copied().fold(0.0, f64::max);
    let value = format!("{:.1} s, at most {high:.1} s in 3 runs", median(taken));
    row(
        "no alert: death (packets swallowed) to record changed",
        "≤ 22 s",
        &value,
    );
}

async fn webhook_while_confirming() {
    let stage = Stage::new(100, "");
    let server = stage.serve().await;
    stage.main.set(Behaviour::Swallowing).await.unwrap();
    let alerts: Vec<_> = (0..100)
        .map(|n| alert(&format!("s{n}"), "firing")["alerts"][0].clone())
        .collect();
    let body = serde_json::json!({ "alerts": alerts });
    server.post("/webhook", body.clone()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/webhook", server.addr);
    let mut taken = Vec::new();
    // 600 requests of 100 alerts in the 3 s in which the 100 sites are confirmed.
    for _ in 0..600 {
        let start = Instant::now();
        let answer = client.post(&url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
        sleep(Duration::from_millis(5).saturating_sub(start.elapsed())).await;
    }
    taken.sort_by(f64::total_cmp);
    let value = format!(
        "p50 {:.2} ms, p99 {:.2} ms",
        taken[taken.len() / 2],
        taken[taken.len() * 99 / 100]
    );
    row(
        "webhook of 100 alerts answered, 100 sites being confirmed",
        "p99 < 5 ms",
        &value,
    );
}

async fn idle() {
    let stage = Stage::new(10, "");
    let server = stage.serve().await;
    sleep(Duration::from_secs(5)).await;
    let (before, start) = (cpu(server.pid()), Instant::now());
    sleep(Duration::from_secs(60)).await;
    let share = (cpu(server.pid()) - before) / start.elapsed().as_secs_f64() * 100.0;
    let memory = resident(server.pid());
    let value = format!("{memory:.1} MB resident, {share:.2} % of a core over 60 s");
    row("ten sites idle", "< 20 MB, < 1 %", &value);
}

async fn ready() {
    let stage = Stage::new(10, "");
    let mut taken = Vec::new();
    for _ in 0..20 {
        let folder = Folder::new(&stage.config);
        let start = Instant::now();
        let server = folder.serve().await;
        while !server.ready().await {
            sleep(Duration::from_millis(1)).await;
        }
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let value = format!("{:.0} ms (median of 20, polled every 20 ms)", median(taken));
    row("ready after start, ten sites", "< 100 ms", &value);
}

fn size() {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_originswitch"))
        .unwrap()
        .len();
    #[allow(clippy::cast_precision_loss, reason = "a size for people")]
    let megabytes = bytes as f64 / 1e6;
    row(
        "size of the release binary",
        "< 15 MB",
        &format!("{megabytes:.1} MB"),
    );
}

#[tokio::main]
async fn main() {
    let chosen = chosen();
    head();
    if chosen("alert") {
        let refusing = "alert to record changed, MAIN refusing";
        alert_to_record(
            Behaviour::Refusing,
            refusing,
            "2 to 2.5 s, ≤ 20 ms own",
            2.0,
        )
        .await;
        let swallowing = "alert to record changed, MAIN swallowing packets";
        alert_to_record(
            Behaviour::Swallowing,
            swallowing,
            "4 to 4.5 s, ≤ 20 ms own",
            4.0,
        )
        .await;
    }
    if chosen("death") {
        death_to_record().await;
    }
    if chosen("webhook") {
        webhook_while_confirming().await;
    }
    if chosen("idle") {
        idle().await;
    }
    if chosen("ready") {
        ready().await;
    }
    if chosen("size") {
        size();
    }
}
