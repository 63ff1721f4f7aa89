//! A thousand sites that fail at once, and ten thousand that do not: the real
//! binary against the sandbox.
//!
//! `cargo bench --bench scale` prints a table; `-- NAME…` runs only those:
//! `storm`, `steady` (ten minutes), `start`, `growth`, `octodns`. Nothing is
//! asserted: a figure is read by a person.

mod common;
#[path = "scale/octodns.rs"]
mod octodns;
#[path = "scale/stage.rs"]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;

use common::{chosen, cpu, head, median, resident, row};
use stage::{Stage, Tally};
use std::time::Duration;
use support::server::Server;
use tokio::time::{Instant, sleep};

/// From the first failed probe to the third.
const CONFIRMATION: f64 = 2.0;

/// A batch that every plan takes.
const BATCH: usize = 200;

/// MAIN of a thousand sites refuses, and one webhook has all their alerts.
async fn storm(zones: usize, runs: usize, reach: &str) {
    const SITES: usize = 1_000;
    let (mut taken, mut seen) = (Vec::new(), Tally::default());
    for _ in 0..runs {
        let stage = Stage::new(SITES, zones, Duration::from_millis(100));
        taken.push(stage.struck().await - CONFIRMATION);
        seen = seen.most(&stage.tally());
    }
    let least = zones * (SITES / zones).div_ceil(BATCH);
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = seen.writes as f64 / least as f64;
    row(
        &format!(
            "1,000 sites in {zones} zones, MAIN refusing, one webhook: last record changed after the confirmation"
        ),
        reach,
        &format!(
            "{:.2} s (median of {runs}); at most {} writes ({ratio:.2} x), {} reads, {} times 429",
            median(taken),
            seen.writes,
            seen.reads,
            seen.throttled
        ),
    );
}

/// Ten thousand sites, and nothing happens for ten minutes.
async fn steady(minutes: u64) {
    let stage = Stage::new(10_000, 50, Duration::from_millis(20));
    let server = stage.serve_on_main().await;
    // What the start took leaves the window.
    sleep(Duration::from_secs(30)).await;
    stage.cloudflare.clear_requests();
    let (before, start) = (cpu(server.pid()), Instant::now());
    sleep(Duration::from_secs(60 * minutes)).await;
    let share = (cpu(server.pid()) - before) / start.elapsed().as_secs_f64() * 100.0;
    let seen = stage.tally();
    row(
        &format!(
            "10,000 sites in 50 zones, {minutes} minutes at rest: calls in the fullest 5 minutes"
        ),
        "≤ 600 of 1,200, 0 writes",
        &format!(
            "{} calls, {} writes, {} times 429; {share:.0} % of a core, {:.0} MB resident",
            stage.fullest_window(Duration::from_secs(300)),
            seen.writes,
            seen.throttled,
            resident(server.pid())
        ),
    );
}

/// What a start with so many sites comes to.
struct Started {
    serving: f64,
    ready: f64,
    decided: f64,
    resident: f64,
    share: f64,
    metrics: f64,
    others: f64,
    page: f64,
}

async fn answers(server: &Server, path: &str) -> f64 {
    let begin = Instant::now();
    let reply = server.get(path).await;
    assert_eq!(reply.status, 200);
    begin.elapsed().as_secs_f64() * 1000.0
}

/// `/metrics`, and the slowest of what else is asked meanwhile.
async fn scrape(server: &Server) -> (f64, f64) {
    let others = async {
        let mut slowest = 0f64;
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            slowest = slowest.max(answers(server, "/-/healthy").await);
        }
        slowest
    };
    let (metrics, others) = tokio::join!(answers(server, "/metrics"), others);
    (metrics, others)
}

async fn start(sites: usize) -> Started {
    let stage = Stage::new(sites, 50, Duration::from_millis(20));
    let begin = Instant::now();
    let server = stage.serve().await;
    let serving = begin.elapsed().as_secs_f64();
    while !server.ready().await {
        sleep(Duration::from_millis(20)).await;
    }
    let ready = begin.elapsed().as_secs_f64();
    stage.all_on_main(&server).await;
    let decided = begin.elapsed().as_secs_f64();
    sleep(Duration::from_secs(25)).await;
    let (before, quiet) = (cpu(server.pid()), Instant::now());
    sleep(Duration::from_secs(20)).await;
    let share = (cpu(server.pid()) - before) / quiet.elapsed().as_secs_f64() * 100.0;
    let mut scrapes = Vec::new();
    for _ in 0..5 {
        scrapes.push(scrape(&server).await);
    }
    let page = answers(&server, "/").await;
    Started {
        serving,
        ready,
        decided,
        resident: resident(server.pid()),
        share,
        metrics: median(scrapes.iter().map(|(metrics, _)| *metrics).collect()),
        others: median(scrapes.iter().map(|(_, others)| *others).collect()),
        page,
    }
}

async fn start_of_ten_thousand() {
    let seen = start(10_000).await;
    row(
        "10,000 sites (20,000 origins): ready to serve",
        "< 1 s, ≤ 100 MB, /metrics < 300 ms",
        &format!(
            "{:.2} s (every origin probed {:.1} s, every site decided {:.1} s); {:.0} MB after 5 scrapes; /metrics {:.0} ms, others answered within {:.0} ms meanwhile; page {:.0} ms",
            seen.serving,
            seen.ready,
            seen.decided,
            seen.resident,
            seen.metrics,
            seen.others,
            seen.page
        ),
    );
}

async fn growth() {
    for sites in [100usize, 1_000, 10_000] {
        let seen = start(sites).await;
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let each = sites as f64;
        row(
            &format!("{sites} sites at rest"),
            "per site flat or falling",
            &format!(
                "{:.1} kB and {:.4} % of a core a site ({:.0} MB, {:.1} %); serving after {:.2} s; /metrics {:.1} ms; page {:.1} ms",
                seen.resident * 1024.0 / each,
                seen.share / each,
                seen.resident,
                seen.share,
                seen.serving,
                seen.metrics,
                seen.page
            ),
        );
    }
}

#[tokio::main]
async fn main() {
    let chosen = chosen();
    head();
    if chosen("storm") {
        storm(1, 3, "≤ 3 s, ≤ 1.2 x the least writes, no 429").await;
        storm(100, 3, "≤ 30 s, ≤ 1.2 x the least writes, no 429").await;
    }
    if chosen("start") {
        start_of_ten_thousand().await;
    }
    if chosen("growth") {
        growth().await;
    }
    if chosen("octodns") {
        octodns::compare().await;
    }
    if chosen("steady") {
        steady(10).await;
    }
}
