//! The whole chain with real programs: blackbox_exporter sees MAIN die,
//! Prometheus raises the alert, Alertmanager carries it, originswitch acts.
//!
//! `tests/stack/install FOLDER` fetches the programs and prints the variable to
//! set; `tests/run` does that.

mod monitoring;
mod notify;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::server::{HOSTNAME, Server, World, finish};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use monitoring::{Program, Tools, free};

/// Nothing that is waited for takes this long, however loaded the machine is.
const DEADLINE: Duration = Duration::from_secs(60);

const WEBHOOK_TOKEN: &str = "what-alertmanager-shows-to-be-let-in";

/// Our own probes are rare, and MAIN need not prove itself for long: what makes
/// the site move at once, there and back, is Alertmanager's word.
fn originswitch(world: &World) -> String {
    format!(
        "[server]\nwebhook_token_file = \"webhook.token\"\n\
         [cloudflare]\napi_token_file = \"token\"\napi_url = \"{}\"\n\
         [probe]\nkind = \"http\"\ninterval = \"10m\"\n\
         [rule]\nfailback_after = \"0s\"\n{}",
        world.cloudflare.url(),
        world.site_toml(),
    )
}

/// The route as it is shipped, but for addresses, the token's path and the
/// pace of the groups.
fn alertmanager(receiver: SocketAddr, token: &Path) -> String {
    let mut text = std::fs::read_to_string(shipped()).unwrap();
    for (theirs, ours) in [
        ("http://127.0.0.1:10053/", format!("http://{receiver}/")),
        (
            "/etc/prometheus/originswitch-webhook.token",
            token.display().to_string(),
        ),
        ("group_interval: 10s", "group_interval: 1s".into()),
    ] {
        assert!(text.contains(theirs), "no {theirs:?} in the shipped file");
        text = text.replace(theirs, &ours);
    }
    text
}

fn shipped() -> &'static str {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/alertmanager-examples/alertmanager.yml"
    )
}

const BLACKBOX: &str = "
modules:
  origin:
    prober: http
    timeout: 2s
    http: {preferred_ip_protocol: ip4, ip_protocol_fallback: false, follow_redirects: false}
";

const RULES: &str = "
groups:
  - name: origins
    rules:
      - {alert: OriginDown, expr: 'probe_success == 0', labels: {severity: critical}}
      - {alert: Watchdog, expr: vector(1), labels: {severity: none}}
";

/// Each origin is probed by its address, under the site's name.
fn prometheus(world: &World, at: &Addresses, originswitch: SocketAddr) -> String {
    let (main, backup) = (world.main.addr(), world.backup.addr());
    format!(
        "
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
alerting:
  alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]
scrape_configs:
  - job_name: originswitch
    static_configs: [{{targets: ['{originswitch}']}}]
  - job_name: origins
    metrics_path: /probe
    params: {{module: [origin], hostname: [{HOSTNAME}]}}
    static_configs:
      - {{targets: ['http://{main}/'], labels: {{site: www, origin: main}}}}
      - {{targets: ['http://{backup}/'], labels: {{site: www, origin: backup}}}}
    relabel_configs:
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [__param_target], target_label: instance}}
      - {{target_label: __address__, replacement: '{blackbox}'}}
",
        alertmanager = at.alertmanager,
        blackbox = at.blackbox,
    )
}

/// Where the monitoring programs listen.
struct Addresses {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    blackbox: SocketAddr,
}

struct Stack {
    world: World,
    server: Server,
    prometheus: Program,
    alertmanager: Program,
    blackbox: Program,
    at: Addresses,
}

impl Stack {
    /// Everything runs, and has seen the site well on MAIN.
    async fn start(tools: &Tools) -> Self {
        let world = World::new().await;
        let token = world.folder.path("webhook.token");
        std::fs::write(&token, WEBHOOK_TOKEN).unwrap();
        world.folder.configure(&originswitch(&world));
        let server = world.folder.serve().await;
        let at = Addresses {
            prometheus: free(world.address(30)),
            alertmanager: free(world.address(31)),
            blackbox: free(world.address(32)),
        };
        let folder = world.folder.path("");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("alertmanager.yml", &alertmanager(server.addr, &token));
        write("blackbox.yml", BLACKBOX);
        write("rules.yml", RULES);
        write("prometheus.yml", &prometheus(&world, &at, server.addr));
        let start = |name, arguments: &[String]| tools.start(name, &folder, arguments);
        let listen = |addr| format!("--web.listen-address={addr}");
        let path = |flag: &str, name| format!("{flag}={}", folder.join(name).display());
        let stack = Self {
            blackbox: start(
                "blackbox_exporter",
                &[path("--config.file", "blackbox.yml"), listen(at.blackbox)],
            ),
            alertmanager: start(
                "alertmanager",
                &[
                    path("--config.file", "alertmanager.yml"),
                    path("--storage.path", "alertmanager"),
                    "--cluster.listen-address=".into(),
                    listen(at.alertmanager),
                ],
            ),
            prometheus: start(
                "prometheus",
                &[
                    path("--config.file", "prometheus.yml"),
                    path("--storage.tsdb.path", "prometheus"),
                    // An alert that is sent no more ends after four of these.
                    "--rules.alert.resend-delay=2s".into(),
                    listen(at.prometheus),
                ],
            ),
            server,
            world,
            at,
        };
        stack.until_well_on_main().await;
        stack
    }

    /// Metrics come in, both origins answer blackbox_exporter, and the alert
    /// that always fires has arrived.
    async fn until_well_on_main(&self) {
        self.until_record_origin("main").await;
        self.until("blackbox_exporter sees both origins", async || {
            self.query("sum(probe_success)").await == Some(2.0)
        })
        .await;
        self.until_alert_path_is(1.0).await;
    }

    /// Waits until the Watchdog has arrived, or ended.
    async fn until_alert_path_is(&self, up: f64) {
        self.until(&format!("the alert path is {up}"), async || {
            self.server.metrics().await.get("alert_path_up", &[]) == Some(up)
        })
        .await;
    }

    /// Waits until Prometheus shows that the record points there.
    async fn until_record_origin(&self, origin: &str) {
        let query = format!("originswitch_record_origin{{site=\"www\",origin=\"{origin}\"}}");
        self.until(&query, async || self.query(&query).await == Some(1.0))
            .await;
    }

    /// The value of a query with one sample.
    async fn query(&self, query: &str) -> Option<f64> {
        let mut url = format!("http://{}/api/v1/query", self.at.prometheus)
            .parse::<reqwest::Url>()
            .unwrap();
        url.query_pairs_mut().append_pair("query", query);
        // It may not listen yet.
        let answer = support::client().get(url).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }

    /// Waits for a condition; panics with every log when it does not come.
    async fn until(&self, what: &str, ready: impl AsyncFn() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !ready().await {
            assert!(
                Instant::now() < end,
                "in vain: {what}\n{}== originswitch\n{}",
                [&self.prometheus, &self.alertmanager, &self.blackbox]
                    .map(Program::log)
                    .concat(),
                self.server.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until Alertmanager has said this much about `www`.
    async fn until_alert(&self, status: &str) {
        self.until(&format!("the alert is {status}"), async || {
            self.server.site("www").await["alert"]["status"] == status
        })
        .await;
    }

    /// The newest switch in the history.
    async fn last_switch(&self) -> Value {
        self.server.switches().await.pop().expect("a switch")
    }

    /// MAIN dies, and the alert has moved the record.
    async fn fail_over(&self) {
        self.world.kill_main().await;
        self.until("the record holds BACKUP", async || self.world.on_backup())
            .await;
    }
}

#[tokio::test]
async fn an_alert_moves_the_record_and_its_end_lets_it_return() {
    let Some(tools) = Tools::find() else { return };
    let stack = Stack::start(&tools).await;

    stack.fail_over().await;
    stack.until_record_origin("backup").await;
    let switch = stack.last_switch().await;
    assert_eq!(switch["reason"], "failover", "{switch:#}");
    assert_eq!(switch["trigger"], "alert", "{switch:#}");

    stack.world.revive_main().await;
    stack
        .until("the record holds MAIN", async || stack.world.on_main())
        .await;
    stack.until_record_origin("main").await;
    let switch = stack.last_switch().await;
    assert_eq!(switch["reason"], "failback", "{switch:#}");
    assert_eq!(switch["trigger"], "alert", "{switch:#}");
    let switches = "sum(originswitch_switches_total{site=\"www\",result=\"confirmed\"})";
    stack
        .until("both switches are counted", async || {
            stack.query(switches).await == Some(2.0)
        })
        .await;

    // The token was shown from the first delivery on.
    let refused = stack.server.metrics().await;
    let unmatched = refused.get("alerts_unmatched_total", &[]);
    let refused = refused.get("webhook_requests_total", &[("code", "401")]);
    assert_eq!(refused.unwrap_or_default(), 0.0);
    assert_eq!(unmatched, Some(0.0), "the Watchdog is nobody's and known");
    promtool_finds_nothing(&tools, &stack.server.get("/metrics").await.text).await;
    stack.world.assert_published(true);
}

/// Alertmanager believes that an alert is over when nobody repeats it.
#[tokio::test]
async fn a_dead_prometheus_does_not_bring_a_dead_main_back() {
    let Some(tools) = Tools::find() else { return };
    let mut stack = Stack::start(&tools).await;
    stack.fail_over().await;
    stack.until_alert("firing").await;
    let writes = stack.world.cloudflare.writes();

    stack.prometheus.kill().await;
    stack.until_alert("resolved").await;
    stack.until_alert_path_is(0.0).await;
    // What it set off ends in a decision to stay.
    stack
        .until("the false end is decided", async || {
            let site = stack.server.site("www").await;
            let decision = &site["last_decision"];
            decision["trigger"] == "alert" && decision["reason"] == "main_down"
        })
        .await;
    // And nothing comes after it.
    sleep(Duration::from_secs(3)).await;
    assert!(stack.world.on_backup(), "{}", stack.server.log());
    assert_eq!(stack.world.cloudflare.writes(), writes);
}

#[tokio::test]
async fn the_shipped_route_is_one() {
    let Some(tools) = Tools::find() else { return };
    let mut check = tools.command("amtool");
    check.args(["check-config", shipped()]);
    let check = finish(check).await;
    assert_eq!(check.code, Some(0), "{check:?}");

    for (labels, receivers) in [
        (
            &["alertname=OriginDown", "site=www"][..],
            "originswitch,people",
        ),
        (&["alertname=Watchdog"], "originswitch"),
        (&["alertname=DiskFull", "site=www"], "people"),
    ] {
        let mut route = tools.command("amtool");
        route.args(["config", "routes", "test", "--config.file", shipped()]);
        let route = finish({
            route.args(labels);
            route
        })
        .await;
        assert_eq!(route.out.trim(), receivers, "{labels:?}: {route:?}");
    }
}

/// `promtool check metrics` takes everything, and has no advice.
async fn promtool_finds_nothing(tools: &Tools, metrics: &str) {
    let mut promtool = tools.command("promtool");
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}
