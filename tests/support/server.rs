//! The real binary, and a world for it: a simulated Cloudflare and origins.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use originswitch::sandbox::cloudflare::{Logged, Options, Permission, RecordSpec, TokenSpec};
use originswitch::sandbox::{Behaviour, Cloudflare, Edge, Origin, edge};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The token of every world; no line that the product writes may hold it.
pub const TOKEN: &str = "a-secret-token-that-nobody-may-print";
pub const HOSTNAME: &str = "www.example.com";

/// Nothing that is waited for takes this long, however loaded the machine is.
const DEADLINE: Duration = Duration::from_secs(30);

/// A folder with a configuration, a state file and a token file.
#[derive(Clone)]
pub struct Folder(Arc<TempDir>);

impl Folder {
    pub fn new(config: &str) -> Self {
        let folder = Self(Arc::new(TempDir::new().unwrap()));
        folder.configure(config);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("originswitch.toml")
    }

    /// The default `state.path`.
    pub fn state(&self) -> PathBuf {
        self.path("originswitch.db")
    }

    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
    }

    /// The binary with `--config` after these arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments)).await
    }

    /// Starts the server.
    pub async fn serve(&self) -> Server {
        Server::start_in(self.clone(), &[]).await
    }
}

/// The binary in an environment without settings.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_originswitch"));
    for (name, _) in std::env::vars() {
        if name.starts_with("ORIGINSWITCH_") {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A command that came to its end.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Finished {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The decision of a `once --json` with one site.
    pub fn decision(&self) -> Value {
        let all = self.json();
        assert_eq!(all["decisions"].as_array().unwrap().len(), 1, "{all}");
        all["decisions"][0].clone()
    }
}

/// Runs a command to its end.
pub async fn finish(mut command: Command) -> Finished {
    let output = timeout(DEADLINE * 2, command.output()).await;
    let output = output.expect("the command ends").unwrap();
    Finished {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server; killed when it is dropped.
pub struct Server {
    pub folder: Folder,
    pub addr: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
    /// They end when the process has closed its streams.
    readers: Vec<JoinHandle<()>>,
    client: reqwest::Client,
}

impl Server {
    /// Writes the configuration into a new folder and serves it.
    pub async fn start(config: &str) -> Self {
        Folder::new(config).serve().await
    }

    /// Serves what a folder holds; panics with the log if it does not come up.
    pub async fn start_in(folder: Folder, arguments: &[&str]) -> Self {
        let mut command = folder.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments);
        Self::from_command(folder, command).await
    }

    pub async fn from_command(folder: Folder, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (log, said) = collect(child.stderr.take().unwrap());
        let (out, told) = collect(child.stdout.take().unwrap());
        let mut addr = None;
        until("the server listens", &log, async || {
            addr = listening(&log.lock().unwrap());
            assert!(
                addr.is_some() || child.try_wait().unwrap().is_none(),
                "the server ended:\n{}",
                log.lock().unwrap()
            );
            addr.is_some()
        })
        .await;
        Self {
            folder,
            addr: addr.unwrap(),
            child,
            log,
            out,
            readers: vec![said, told],
            client: super::client(),
        }
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it wrote to standard output so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.addr));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|e| panic!("{path}: {e:?}\n{}", self.log()));
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let text = answer.text().await.unwrap();
        Reply {
            status,
            headers,
            text,
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Posts one alert as Alertmanager does.
    pub async fn post_alert(&self, site: &str, status: &str) -> Reply {
        let reply = self.post("/webhook", alert(site, status)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }

    /// The same with `?wait=`; the decision that it led to.
    pub async fn decision_on_alert(&self, site: &str, status: &str) -> Value {
        let reply = self
            .post("/webhook?wait=60s", alert(site, status))
            .await
            .json();
        assert!(reply["decisions"][0].is_object(), "{reply}\n{}", self.log());
        reply["decisions"][0].clone()
    }

    pub async fn site(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/sites/{name}")).await.json()
    }

    pub async fn sites(&self) -> Vec<Value> {
        list(&self.get("/api/v1/sites").await.json()["sites"])
    }

    /// The history, newest first.
    pub async fn decisions(&self) -> Vec<Value> {
        list(&self.get("/api/v1/decisions?limit=1000").await.json()["decisions"])
    }

    /// Stored switches, oldest first.
    pub async fn switches(&self) -> Vec<Value> {
        let mut all = self.decisions().await;
        all.retain(|decision| decision["action"] == "switch");
        all.reverse();
        all
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await.text)
    }

    pub async fn ready(&self) -> bool {
        self.get("/-/ready").await.status == 200
    }

    /// Waits for a condition; panics with the log when it does not come.
    pub async fn wait_until(&self, what: &str, ready: impl AsyncFnMut() -> bool) {
        until(what, &self.log, ready).await;
    }

    /// Waits until the site is as wanted; what it is then.
    pub async fn wait_site(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let site = self.site(name).await;
            if wanted(&site) {
                return site;
            }
            assert!(
                Instant::now() < end,
                "in vain: {what}: {site:#}\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the last decision of the site has this reason; gives it.
    pub async fn wait_reason(&self, name: &str, reason: &str) -> Value {
        let site = self
            .wait_site(name, reason, |site| {
                site["last_decision"]["reason"] == reason
            })
            .await;
        site["last_decision"].clone()
    }

    /// Waits for a line of the log with this text.
    pub async fn wait_log(&self, text: &str) {
        self.wait_until(text, async || self.log().contains(text))
            .await;
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGTERM; the exit code.
    pub async fn term(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end; the exit code, none if a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(DEADLINE, self.child.wait()).await;
        for reader in self.readers.drain(..) {
            // Its last lines may come after it is gone.
            let _ = timeout(DEADLINE, reader).await;
        }
        ended
            .unwrap_or_else(|_| panic!("it does not end:\n{}", self.log()))
            .unwrap()
            .code()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// The same folder served by a new process.
    pub async fn restart(&mut self) -> Server {
        self.kill().await;
        self.folder.serve().await
    }
}

/// Sends a signal by its name to a process.
pub fn signal(pid: u32, name: &str) {
    let done = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(done.unwrap().success(), "kill -{name} {pid}");
}

/// Waits for a condition; panics with `log` when it does not come.
async fn until(what: &str, log: &Mutex<String>, mut ready: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !ready().await {
        assert!(
            Instant::now() < end,
            "in vain: {what}\n{}",
            log.lock().unwrap()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

fn collect(
    stream: impl tokio::io::AsyncRead + Unpin + Send + 'static,
) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = text.clone();
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = kept.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    (text, reader)
}

/// The address in the line that says where it listens, in text or in JSON.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("listens on "))?;
    let rest = line.split("listens on ").nth(1)?;
    rest.split(' ').next()?.parse().ok()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A webhook with one alert.
pub fn alert(site: &str, status: &str) -> Value {
    let labels = json!({"alertname": "OriginDown", "site": site, "severity": "critical"});
    json!({"version": "4", "status": status, "receiver": "originswitch",
        "alerts": [{"status": status, "labels": labels}]})
}

/// An answer of the server.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

/// Samples by name and labels.
#[derive(Debug)]
pub struct Metrics(pub BTreeMap<String, f64>);

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// The sample of this name (without the prefix) with these labels among
    /// its labels; `None` if there is none, their sum if there are several.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let name = format!("originswitch_{name}");
        let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let fits = |key: &str| {
            let (its, inside) = key.split_once('{').unwrap_or((key, ""));
            let inside: Vec<&str> = inside.trim_end_matches('}').split(',').collect();
            its == name && wanted.iter().all(|w| inside.contains(&w.as_str()))
        };
        let found: Vec<f64> = self
            .0
            .iter()
            .filter(|(key, _)| fits(key))
            .map(|(_, value)| *value)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// Switches of `www` between two origins with this result.
    pub fn switches(&self, from: &str, to: &str, result: &str) -> Option<f64> {
        let labels = [
            ("site", "www"),
            ("from", from),
            ("to", to),
            ("result", result),
        ];
        self.get("switches_total", &labels)
    }
}

/// A zone with a record for [`HOSTNAME`] that points to MAIN, both origins up.
pub struct World {
    pub cloudflare: Cloudflare,
    pub zone: String,
    /// The id of the record.
    pub record: String,
    pub main: Origin,
    pub backup: Origin,
    pub folder: Folder,
    /// What stands in the configuration beside the site, to be changed freely.
    pub rule: String,
    pub probe: String,
    pub cloudflare_keys: String,
    pub edge_keys: String,
    pub more: String,
    net: [u8; 3],
}

impl World {
    pub async fn new() -> Self {
        let spec = RecordSpec::new("A", HOSTNAME, "192.0.2.1");
        Self::with(spec.proxied().comment("a note of the owner"))
    }

    /// The same with a record like this one, but for its content.
    pub fn with(spec: RecordSpec) -> Self {
        let net = network();
        let options = Options {
            plan: originswitch::sandbox::cloudflare::Plan::Pro,
            refuse_private_targets: false,
            ..Options::default()
        };
        let cloudflare = Cloudflare::start(address(net, 1, 0).into(), options).unwrap();
        let zone = cloudflare.add_zone("example.com");
        cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let origin = |host| Origin::start(address(net, host, 0).into(), None).unwrap();
        let (main, backup) = (origin(10), origin(20));
        let content = main.addr().ip().to_string();
        let record = cloudflare.add_record(&zone, RecordSpec { content, ..spec });
        let world = Self {
            cloudflare,
            zone,
            record,
            main,
            backup,
            folder: Folder::new(""),
            rule: "confirm_for = \"1s\"\nfailback_after = \"1s\"\n".into(),
            probe: String::new(),
            cloudflare_keys: String::new(),
            edge_keys: String::new(),
            more: String::new(),
            net,
        };
        std::fs::write(world.folder.path("token"), TOKEN).unwrap();
        world
    }

    /// Starts an edge before this world's origins, and has the configuration
    /// ask it; it ends with its handle.
    pub fn edge(&mut self) -> Edge {
        self.edge_as(edge::Options::default())
    }

    /// The same, set up in another way.
    pub fn edge_as(&mut self, options: edge::Options) -> Edge {
        let edge = Edge::start(self.address(2), None, &self.cloudflare, options).unwrap();
        edge.origin_at(self.main.addr());
        edge.origin_at(self.backup.addr());
        self.edge_keys = format!("probe = true\naddress = \"{}\"\n", edge.url());
        edge
    }

    /// A further address of this world's own network, on any port.
    pub fn address(&self, host: u8) -> SocketAddr {
        address(self.net, host, 0).into()
    }

    pub fn main_ip(&self) -> String {
        self.main.addr().ip().to_string()
    }

    pub fn backup_ip(&self) -> String {
        self.backup.addr().ip().to_string()
    }

    /// The site `www` with this world's origins.
    pub fn site_toml(&self) -> String {
        self.site_named("www", HOSTNAME)
    }

    /// A site on the same origins.
    pub fn site_named(&self, name: &str, hostname: &str) -> String {
        let (main, backup) = (self.main.addr(), self.backup.addr());
        format!(
            "[[site]]\nname = \"{name}\"\nhostname = \"{hostname}\"\nzone = \"{zone}\"\n\
             main = {{ ipv4 = \"{}\", port = {} }}\nbackup = {{ ipv4 = \"{}\", port = {} }}\n",
            main.ip(),
            main.port(),
            backup.ip(),
            backup.port(),
            zone = hostname.split_once('.').map_or(hostname, |(_, zone)| zone),
        )
    }

    /// Everything but sites: quick probes, quick confirmations.
    pub fn sections(&self) -> String {
        format!(
            "[cloudflare]\napi_token_file = \"token\"\napi_url = \"{}\"\nrequests_per_5m = 100000\n{}\n\
             [probe]\nkind = \"http\"\ninterval = \"500ms\"\ntimeout = \"1s\"\n{}\n\
             [rule]\nconfirm_interval = \"100ms\"\n{}\n\
             [edge]\n{}\n",
            self.cloudflare.url(),
            self.cloudflare_keys,
            self.probe,
            self.rule,
            self.edge_keys,
        )
    }

    /// The whole configuration.
    pub fn config(&self) -> String {
        format!("{}\n{}\n{}", self.sections(), self.site_toml(), self.more)
    }

    /// Writes the configuration.
    pub fn configure(&self) {
        self.folder.configure(&self.config());
    }

    /// Serves the configuration, and waits for the first decision.
    pub async fn serve(&self) -> Server {
        self.configure();
        let server = self.folder.serve().await;
        server
            .wait_site("www", "a first decision", |site| {
                site["last_decision"]["reason"].is_string()
            })
            .await;
        server
    }

    /// The same, on MAIN.
    pub async fn serve_on_main(&self) -> Server {
        let server = self.serve().await;
        server.wait_reason("www", "on_main").await;
        server
    }

    /// Runs `once` with these arguments.
    pub async fn once(&self, arguments: &[&str]) -> Finished {
        self.configure();
        self.folder.run(&[&["once"], arguments].concat()).await
    }

    pub async fn kill_main(&self) {
        self.main.set(Behaviour::Refusing).await.unwrap();
    }

    pub async fn revive_main(&self) {
        self.main.set(Behaviour::up()).await.unwrap();
    }

    pub async fn kill_backup(&self) {
        self.backup.set(Behaviour::Refusing).await.unwrap();
    }

    /// The content of the record, or all of them joined by a space.
    pub fn content(&self) -> String {
        let records = self.cloudflare.records(HOSTNAME);
        let contents: Vec<_> = records.into_iter().map(|r| r.content).collect();
        contents.join(" ")
    }

    pub fn on_main(&self) -> bool {
        self.content() == self.main_ip()
    }

    pub fn on_backup(&self) -> bool {
        self.content() == self.backup_ip()
    }

    /// Everything the product asked that was meant to change a record.
    pub fn write_requests(&self) -> Vec<Logged> {
        let all = self.cloudflare.requests();
        all.into_iter().filter(Logged::is_write).collect()
    }

    /// How many records were to be changed; several may have gone in one call.
    pub fn changes_sent(&self) -> usize {
        let changes = |request: &Logged| {
            let patches = request.json().map(|body| body["patches"].clone());
            patches.map_or(1, |patches| patches.as_array().map_or(1, Vec::len))
        };
        self.write_requests().iter().map(changes).sum()
    }

    /// Every request is one that Cloudflare publishes, and so is every answer
    /// if `answers_too`: not where they were broken on purpose.
    pub fn assert_published(&self, answers_too: bool) {
        let log = self.cloudflare.requests();
        assert!(!log.is_empty());
        let faults = if answers_too {
            super::openapi::check(&log)
        } else {
            super::openapi::check_requests(&log)
        };
        if let Some(faults) = faults {
            assert_eq!(faults, Vec::<String>::new());
        }
    }
}

/// A network of loopback for each world, so that a port that is closed for a
/// while is taken by nobody else.
fn network() -> [u8; 3] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 200).unwrap();
    [127, 20 + process, NEXT.fetch_add(1, Ordering::SeqCst)]
}

fn address([a, b, c]: [u8; 3], host: u8, port: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(a, b, c, host), port)
}

/// Whether `text` is said anywhere in a file of the folder, or in texts.
pub fn leaks(texts: &[&str], folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let state: Vec<u8> = files
        .filter(|file| file.file_name().to_string_lossy().contains(".db"))
        .flat_map(|file| std::fs::read(file.path()).unwrap_or_default())
        .collect();
    texts.iter().any(|text| text.contains(TOKEN))
        || state.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes())
}
