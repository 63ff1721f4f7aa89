//! How many alerts are taken in a second of processor time, beside
//! Alertmanager's own `/api/v2/alerts` with the same alerts; and how long a
//! webhook waits for its answer while a thousand sites are being confirmed.
//!
//! `cargo bench --bench intake` prints a table; `-- NAME…` runs only those:
//! `taken`, `waiting`. Nothing is asserted: a figure is read by a person.

#[path = "common/alerts.rs"]
mod alerts;
mod common;
#[path = "scale/stage.rs"]
#[allow(dead_code, reason = "benches/scale.rs uses the rest")]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;

use common::{chosen, cpu, head, median, row};
use originswitch::sandbox::Behaviour;
use stage::Stage;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use support::server::Server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until};

const SITES: usize = 1_000;
const EACH: usize = 100;
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 4;

/// Requests of one round: about a second of processor time for either.
const OURS: usize = 6_000;
const THEIRS: usize = 500;

/// The same alerts in ten requests, as bytes that only have to be sent.
fn requests(path: &str, body: impl Fn(std::ops::Range<usize>) -> String) -> Vec<Vec<u8>> {
    let bodies = (0..SITES / EACH).map(|part| body(part * EACH..(part + 1) * EACH));
    let request = bodies.map(|body| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    request.collect()
}

/// A connection that is kept.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn open(addr: SocketAddr) -> Line {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Line(BufReader::new(stream))
    }

    /// Sends a request and reads its answer, which must be 200.
    async fn ask(&mut self, request: &[u8]) {
        self.0.get_mut().write_all(request).await.unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
    }
}

/// Alerts taken in a second of the process's processor time.
async fn rate(addr: SocketAddr, pid: u32, requests: &[Vec<u8>], count: usize) -> f64 {
    let before = cpu(pid);
    let lines = (0..CONNECTIONS).map(|line| async move {
        let mut connection = Line::open(addr).await;
        for number in (line..count).step_by(CONNECTIONS) {
            connection.ask(&requests[number % requests.len()]).await;
        }
    });
    futures_util::future::join_all(lines).await;
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let alerts = (count * EACH) as f64;
    alerts / (cpu(pid) - before)
}

/// The real Alertmanager, which tells nobody of what it is sent.
struct Alertmanager {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    async fn start() -> Option<Alertmanager> {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/monitoring/bin");
        let tools = std::env::var_os("ORIGINSWITCH_TOOLS").map_or(here.into(), PathBuf::from);
        let program = tools.join("alertmanager");
        if !program.exists() {
            eprintln!(
                "there is no Alertmanager (tests/stack/install fetches one): only ours is measured"
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("alertmanager.yml"), config).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", path("alertmanager.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg("--cluster.listen-address=")
            .arg("--log.level=error")
            .arg(format!("--web.listen-address={addr}"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while TcpStream::connect(addr).await.is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(1)).await;
        Some(Alertmanager {
            child,
            addr,
            _folder: folder,
        })
    }
}

async fn taken() {
    let stage = Stage::new(SITES, 10, Duration::from_millis(20));
    let server = stage.serve_on_main().await;
    let theirs = Alertmanager::start().await;
    let to_us = requests("/webhook", alerts::webhook);
    let to_them = requests("/api/v2/alerts", alerts::posted);
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let our = rate(server.addr, server.pid(), &to_us, OURS).await;
        let their = match &theirs {
            Some(theirs) => {
                let pid = theirs.child.id().expect("it runs");
                rate(theirs.addr, pid, &to_them, THEIRS).await
            }
            None => f64::NAN,
        };
        eprintln!("round {round}: {our:.0} and {their:.0}");
        // The first one warms both up.
        if round > 0 {
            ours.push(our);
            other.push(their);
        }
    }
    let (ours, theirs) = (median(ours), median(other));
    row(
        "alerts taken in a second of processor time, 100 a request, 1,000 sites; Alertmanager with the same",
        "≥ 10 x",
        &format!("{ours:.0} and {theirs:.0}: {:.1} x", ours / theirs),
    );
}

/// What each answer takes; one that takes longer than the pace holds up the next.
async fn answers(server: &Server, requests: &[Vec<u8>], count: usize) -> Vec<f64> {
    const PACE: Duration = Duration::from_millis(5);
    let mut line = Line::open(server.addr).await;
    let mut due = Instant::now();
    let mut taken = Vec::new();
    for number in 0..count {
        sleep_until(due).await;
        let start = Instant::now();
        line.ask(&requests[number % requests.len()]).await;
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
        due = Instant::now().max(due + PACE);
    }
    taken.sort_by(f64::total_cmp);
    taken
}

async fn waiting() {
    let stage = Stage::new(SITES, 10, Duration::from_millis(20));
    let server = stage.serve_on_main().await;
    let requests = requests("/webhook", alerts::webhook);
    stage.main.set(Behaviour::Swallowing).await.unwrap();
    // From the first alerts to the last one's confirmation.
    let taken = answers(&server, &requests, 800).await;
    row(
        "webhook of 100 alerts answered, 200 a second, 1,000 sites being confirmed",
        "p99 < 5 ms",
        &format!(
            "p50 {:.2} ms, p99 {:.2} ms, at most {:.1} ms",
            taken[taken.len() / 2],
            taken[taken.len() * 99 / 100],
            taken[taken.len() - 1]
        ),
    );
}

#[tokio::main]
async fn main() {
    let chosen = chosen();
    head();
    if chosen("taken") {
        taken().await;
    }
    if chosen("waiting") {
        waiting().await;
    }
}
