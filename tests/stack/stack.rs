//! Everything that runs in front of a site: originswitch, Prometheus,
//! blackbox_exporter and Alertmanager, with the shipped files.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use originswitch::sandbox::{Authority, Origin};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::monitoring::{Program, TRUSTED, Tools, free};
use crate::shipped::{self, Pace};
use crate::support;
use crate::support::server::{Folder, HOSTNAME, Server, World};

/// Nothing that is waited for takes this long, however loaded the machine is.
const DEADLINE: Duration = Duration::from_secs(60);

const WEBHOOK_TOKEN: &str = "what-alertmanager-shows-to-be-let-in";

/// Where everybody listens.
pub struct Addresses {
    pub originswitch: SocketAddr,
    pub prometheus: SocketAddr,
    /// The first one, or the only one.
    pub alertmanager: SocketAddr,
    pub second_alertmanager: SocketAddr,
    pub blackbox: SocketAddr,
}

impl Addresses {
    fn new(world: &World) -> Self {
        let at = |host| free(world.address(host));
        Self {
            prometheus: at(30),
            alertmanager: at(31),
            blackbox: at(32),
            originswitch: at(33),
            second_alertmanager: at(34),
        }
    }
}

/// What may differ from one stack to the next.
#[derive(Clone, Copy)]
pub struct Setup {
    /// The intervals of the shipped files.
    pub pace: Pace,
    /// Keys of originswitch's `[probe]` and `[rule]`.
    pub probe: &'static str,
    pub rule: &'static str,
    /// Further sections of its configuration.
    pub more: fn(&Addresses) -> String,
    /// Two Alertmanagers that know each other, in place of one.
    pub clustered: bool,
}

impl Setup {
    /// Our own probes are rare, and MAIN need not prove itself for long: what
    /// makes the site move at once, there and back, is Alertmanager's word. A
    /// handshake may take long on a loaded machine.
    pub const DEFAULT: Self = Self {
        pace: Pace::Quick,
        probe: "interval = \"10m\"\ntimeout = \"10s\"",
        rule: "failback_after = \"0s\"",
        more: |_| String::new(),
        clustered: false,
    };

    fn originswitch(&self, world: &World, at: &Addresses) -> String {
        format!(
            "[server]\nwebhook_token_file = \"webhook.token\"\n\
             [cloudflare]\napi_token_file = \"token\"\napi_url = \"{}\"\n\
             [probe]\nca_file = \"{TRUSTED}\"\n{}\n[rule]\n{}\n{}\n{}",
            world.cloudflare.url(),
            self.probe,
            self.rule,
            (self.more)(at),
            world.site_toml(),
        )
    }

    /// Writes everybody's files into the world's folder.
    fn write_files(&self, world: &World, at: &Addresses) {
        let write = |name: &str, text: &str| std::fs::write(world.folder.path(name), text).unwrap();
        let token = world.folder.path("webhook.token");
        write("webhook.token", WEBHOOK_TOKEN);
        world.folder.configure(&self.originswitch(world, at));
        write("alertmanager.yml", &self.pace.alertmanager(at, &token));
        let both = [at.alertmanager, at.second_alertmanager];
        let alertmanagers = if self.clustered { &both } else { &both[..1] };
        let prometheus = self.pace.prometheus(world, at, alertmanagers);
        write("prometheus.yml", &prometheus);
        write("origin-alerts.yml", &self.pace.origin_alerts());
        for (folder, name) in [
            ("alertmanager-examples", "blackbox.yml"),
            ("config/prometheus", "originswitch-alerts.yml"),
        ] {
            let shipped = shipped::path(folder).join(name);
            std::fs::copy(shipped, world.folder.path(name)).unwrap();
        }
    }
}

/// Origins that speak https, as the shipped files ask for, with certificates of
/// an authority that this world's programs trust.
async fn world() -> (World, Authority) {
    let mut world = World::new().await;
    let authority = Authority::new();
    authority.write_pem(world.folder.path(TRUSTED)).unwrap();
    let origin = |host| {
        let tls = authority.issue(&[HOSTNAME]);
        Origin::start(world.address(host), Some(tls)).unwrap()
    };
    (world.main, world.backup) = (origin(10), origin(20));
    (world, authority)
}

/// originswitch, where Prometheus and Alertmanager look for it.
async fn serve(folder: &Folder, at: SocketAddr) -> Server {
    let command = folder.command(&["serve", "--listen", &at.to_string()]);
    Server::from_command(folder.clone(), command).await
}

fn prometheus(tools: &Tools, folder: &Path, at: &Addresses, pace: Pace) -> Program {
    let mut arguments = vec![
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address={}", at.prometheus),
    ];
    if pace == Pace::Quick {
        // An alert that is sent no more ends after four of these.
        arguments.push("--rules.alert.resend-delay=2s".into());
    }
    tools.start("prometheus", folder, arguments)
}

fn alertmanager(
    tools: &Tools,
    run: &str,
    folder: &Path,
    at: SocketAddr,
    cluster: Vec<String>,
) -> Program {
    let mut arguments = vec![
        format!(
            "--config.file={}",
            folder.join("alertmanager.yml").display()
        ),
        format!("--storage.path={}", folder.join(run).display()),
        format!("--web.listen-address={at}"),
    ];
    arguments.extend(cluster);
    tools.start(run, folder, arguments)
}

fn blackbox(tools: &Tools, folder: &Path, at: &Addresses) -> Program {
    let arguments = vec![
        format!("--config.file={}", folder.join("blackbox.yml").display()),
        format!("--web.listen-address={}", at.blackbox),
    ];
    tools.start("blackbox_exporter", folder, arguments)
}

/// Everything runs; all of it ends when this is dropped.
pub struct Stack {
    pub world: World,
    /// Who vouches for its origins.
    pub authority: Authority,
    pub server: Server,
    pub prometheus: Program,
    pub alertmanager: Program,
    pub second_alertmanager: Option<Program>,
    pub blackbox: Program,
    pub cluster: Option<Cluster>,
    pub at: Addresses,
    pub client: reqwest::Client,
}

impl Stack {
    /// Everything runs, and has seen the site well on MAIN.
    pub async fn start(tools: &Tools) -> Self {
        Self::start_as(tools, Setup::DEFAULT).await
    }

    /// The same, set up in another way.
    pub async fn start_as(tools: &Tools, setup: Setup) -> Self {
        let (world, authority) = world().await;
        let at = Addresses::new(&world);
        setup.write_files(&world, &at);
        let folder = world.folder.path("");
        let cluster = match setup.clustered {
            true => Some(Cluster::new(&world).await),
            false => None,
        };
        let member = |number| match &cluster {
            Some(cluster) => cluster.arguments(number),
            None => vec!["--cluster.listen-address=".into()],
        };
        let second = cluster.is_some().then(|| {
            let at = at.second_alertmanager;
            alertmanager(tools, "alertmanager-2", &folder, at, member(1))
        });
        let first = alertmanager(tools, "alertmanager", &folder, at.alertmanager, member(0));
        let stack = Self {
            server: serve(&world.folder, at.originswitch).await,
            prometheus: prometheus(tools, &folder, &at, setup.pace),
            alertmanager: first,
            second_alertmanager: second,
            blackbox: blackbox(tools, &folder, &at),
            cluster,
            world,
            authority,
            at,
            client: support::client(),
        };
        stack.until_well_on_main().await;
        stack
    }

    /// Metrics come in, both origins answer blackbox_exporter, and the alert
    /// that always fires has arrived.
    async fn until_well_on_main(&self) {
        self.until_record_origin("main").await;
        self.until_query("sum(probe_success{job=\"origins\"})", 2.0)
            .await;
        self.until_alert_path_is(1.0).await;
    }

    /// Waits until the Watchdog has arrived, or ended.
    pub async fn until_alert_path_is(&self, up: f64) {
        self.until(&format!("the alert path is {up}"), async || {
            self.server.metrics().await.get("alert_path_up", &[]) == Some(up)
        })
        .await;
    }

    /// Waits until Prometheus shows that the record points there.
    pub async fn until_record_origin(&self, origin: &str) {
        let query = format!("originswitch_record_origin{{site=\"www\",origin=\"{origin}\"}}");
        self.until_query(&query, 1.0).await;
    }

    /// Waits until a query with one sample has this value.
    pub async fn until_query(&self, query: &str, value: f64) {
        self.until(query, async || self.query(query).await == Some(value))
            .await;
    }

    /// The value of a query with one sample.
    pub async fn query(&self, query: &str) -> Option<f64> {
        let answer = self.ask("query", &[("query", query)]).await?;
        answer["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// What Prometheus answers to a call of its API; `None` while it does not.
    pub async fn ask(&self, call: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://{}/api/v1/{call}", self.at.prometheus);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        Some(self.get(url).await?["data"].clone())
    }

    /// What the first Alertmanager answers to a call of its API; `None` while
    /// it does not.
    pub async fn ask_alertmanager(&self, call: &str) -> Option<Value> {
        let url = format!("http://{}/api/v2/{call}", self.at.alertmanager);
        self.get(url.parse().unwrap()).await
    }

    async fn get(&self, url: reqwest::Url) -> Option<Value> {
        let answer = self.client.get(url).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Waits for a condition; panics with every log when it does not come.
    pub async fn until(&self, what: &str, ready: impl AsyncFn() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !ready().await {
            assert!(Instant::now() < end, "in vain: {what}\n{}", self.logs());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What everybody wrote.
    fn logs(&self) -> String {
        let programs = [&self.prometheus, &self.alertmanager, &self.blackbox];
        let programs = programs.into_iter().chain(&self.second_alertmanager);
        let logs: String = programs.map(Program::log).collect();
        format!("{logs}== originswitch\n{}", self.server.log())
    }

    /// How many alerts that fire have come, the Watchdog included.
    pub async fn firing(&self) -> f64 {
        let metrics = self.server.metrics().await;
        let firing = metrics.get("alerts_received_total", &[("status", "firing")]);
        firing.unwrap_or_default()
    }

    /// Waits until Alertmanager has said this much about `www`.
    pub async fn until_alert(&self, status: &str) {
        self.until(&format!("the alert is {status}"), async || {
            self.server.site("www").await["alert"]["status"] == status
        })
        .await;
    }

    /// The newest switch in the history.
    pub async fn last_switch(&self) -> Value {
        self.server.switches().await.pop().expect("a switch")
    }

    /// MAIN dies, and the record moves.
    pub async fn fail_over(&self) {
        self.world.kill_main().await;
        self.until_on_backup().await;
    }

    /// Waits until the record holds BACKUP.
    pub async fn until_on_backup(&self) {
        self.until("the record holds BACKUP", async || self.world.on_backup())
            .await;
    }

    /// Waits until the record holds MAIN again, Prometheus shows it, and the
    /// alert is over.
    pub async fn until_returned(&self) {
        self.until("the record holds MAIN", async || self.world.on_main())
            .await;
        self.until_record_origin("main").await;
        self.until_alert("resolved").await;
    }

    /// originswitch runs again, in the same place and on the same state.
    pub async fn serve_again(&mut self) {
        self.server = serve(&self.world.folder, self.at.originswitch).await;
    }

    /// The record went to BACKUP and came back, each time with one write, and
    /// nothing is left to be done.
    pub async fn assert_there_and_back(&self) {
        let path = "/api/v1/sites/www/evaluate?dry_run=true";
        let decision = self.server.post(path, Value::Null).await.json();
        assert_eq!(decision["reason"], "on_main", "{}", self.server.log());
        let switches = self.server.switches().await;
        let reasons: Vec<_> = switches.iter().map(|switch| &switch["reason"]).collect();
        assert_eq!(reasons, ["failover", "failback"], "{switches:#?}");
        self.assert_written(&[self.world.backup_ip(), self.world.main_ip()]);
    }

    /// What was written into the record, in this order, and nothing else.
    pub fn assert_written(&self, contents: &[String]) {
        let writes = self.world.write_requests();
        let written: Vec<_> = writes.iter().filter_map(|write| write.json()).collect();
        let wanted: Vec<_> = contents.iter().map(|c| json!({"content": c})).collect();
        assert_eq!(written, wanted, "{}", self.server.log());
        assert_eq!(self.world.cloudflare.writes(), contents.len() as u64);
    }
}
