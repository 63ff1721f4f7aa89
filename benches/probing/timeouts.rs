//! Three thousand HTTP probes a second, none of which is answered: the real
//! binary, and origins that swallow connections.

use super::common::{cpu, resident, row};
use super::support::server::{Folder, Metrics, Server};
use originswitch::sandbox::{Behaviour, Origin};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Sites of two origins each; every origin is probed every 10 s.
const SITES: usize = 15_000;

/// Addresses that they share, so that none is asked too often at once.
const ADDRESSES: usize = 400;

const SETTLE: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(30);

/// Servers whose backlog is full: the kernel drops what dials them.
async fn swallowing() -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::with_capacity(ADDRESSES);
    for n in 0..ADDRESSES {
        // All at one port, as origins mostly are.
        let port = origins.first().map_or(0, |origin| origin.addr().port());
        let address = format!("127.11.{}.{}:{port}", n / 200, n % 200 + 1);
        let origin = Origin::start(address.parse().unwrap(), None).unwrap();
        origin.set(Behaviour::Swallowing).await.unwrap();
        origins.push(origin);
    }
    origins
}

/// No name is looked up, and no record can be read.
fn config(origins: &[Origin]) -> String {
    let port = origins[0].addr().port();
    let mut text = format!(
        "[cloudflare]\napi_token = \"none\"\napi_url = \"http://127.0.0.1:1/client/v4\"\n\
         [probe]\nkind = \"http\"\nport = {port}\nmax_in_flight = 10000\n\
         [rule]\nconfirm_interval = \"10s\"\n",
    );
    let at = |n: usize| -> SocketAddr { origins[n % origins.len()].addr() };
    for site in 0..SITES {
        let (main, backup) = (at(2 * site), at(2 * site + 1));
        write!(
            text,
            "[[site]]\nname = \"s{site}\"\nhostname = \"s{site}.example.com\"\n\
             zone_id = \"{:032x}\"\n\
             main = \"{}\"\nbackup = \"{}\"\n",
            site % 50,
            main.ip(),
            backup.ip()
        )
        .unwrap();
    }
    text
}

/// What is counted at one moment.
struct Counted {
    at: Instant,
    down: f64,
    others: f64,
    /// Seconds in all, and how many times.
    took: (f64, f64),
    /// Bounds, and how many are below.
    lag: Vec<(f64, f64)>,
}

async fn count(server: &Server) -> Counted {
    let at = Instant::now();
    let metrics = server.metrics().await;
    let of = |result| {
        let found = metrics.get("probes_total", &[("result", result)]);
        found.unwrap_or_default()
    };
    let connect = [("phase", "connect")];
    let took = |name| metrics.get(name, &connect).unwrap_or_default();
    Counted {
        at,
        down: of("down"),
        others: of("up") + of("unknown"),
        took: (
            took("probe_duration_seconds_sum"),
            took("probe_duration_seconds_count"),
        ),
        lag: lag(&metrics),
    }
}

/// The buckets of the histogram of lags, in order; none if there is none.
fn lag(metrics: &Metrics) -> Vec<(f64, f64)> {
    const NAME: &str = "originswitch_probe_lag_seconds_bucket{le=\"";
    let buckets = metrics.0.iter().filter_map(|(key, count)| {
        let bound = key.strip_prefix(NAME)?.strip_suffix("\"}")?;
        let bound = match bound {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().ok()?,
        };
        Some((bound, *count))
    });
    let mut buckets: Vec<_> = buckets.collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets
}

/// The bound that 99 of 100 are below.
fn p99(before: &Counted, after: &Counted) -> String {
    let since = |n: usize| after.lag[n].1 - before.lag.get(n).map_or(0.0, |bucket| bucket.1);
    let Some(last) = after.lag.len().checked_sub(1) else {
        return "start lag not measured: no originswitch_probe_lag_seconds".into();
    };
    let all = since(last);
    let bound = (0..=last).find(|n| since(*n) >= all * 0.99).unwrap_or(last);
    format!("start lag p99 ≤ {:.0} ms", after.lag[bound].0 * 1000.0)
}

pub async fn measure() {
    let origins = swallowing().await;
    let server = Folder::new(&config(&origins)).serve().await;
    sleep(SETTLE).await;
    let held = resident(server.pid());
    let before = count(&server).await;
    // What that scrape took is over.
    sleep(Duration::from_secs(2)).await;
    let (used, began) = (cpu(server.pid()), Instant::now());
    sleep(WINDOW).await;
    let share = (cpu(server.pid()) - used) / began.elapsed().as_secs_f64() * 100.0;
    let scraped = resident(server.pid());
    let after = count(&server).await;
    let rate = (after.down - before.down) / after.at.duration_since(before.at).as_secs_f64();
    let others = after.others - before.others;
    let took = (after.took.0 - before.took.0) / (after.took.1 - before.took.1);
    row(
        "30,000 origins that swallow packets, probed every 10 s",
        "3,000 a second, ≤ 25 % of a core, ≤ 100 MB, start lag p99 ≤ 100 ms",
        &format!(
            "{rate:.0} a second timed out, after {took:.2} s each ({others:.0} did not); \
             {share:.0} % of a core, {held:.0} MB resident, {scraped:.0} MB after a scrape; {}",
            p99(&before, &after)
        ),
    );
}
