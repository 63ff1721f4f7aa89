//! What a probe costs: ours, a bare connection, and blackbox_exporter's, asked
//! of the same origin; and three thousand a second that all time out.
//!
//! `cargo bench --bench probing` prints a table; `-- NAME…` runs only those:
//! `probe`, `timeouts`. Nothing is asserted: a figure is read by a person.

#[path = "probing/bare.rs"]
mod bare;
#[path = "probing/blackbox.rs"]
mod blackbox;
mod common;
#[path = "probing/origin.rs"]
mod origin;
#[path = "probing/ours.rs"]
mod ours;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "probing/timeouts.rs"]
mod timeouts;

use blackbox::Blackbox;
use common::{chosen, cpu, head, median, row};
use origin::Origin;
use std::future::Future;
use std::time::Duration;

/// As in the program: what is measured is what it does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROUNDS: usize = 5;

/// Probes of a closed loop.
const PROBES: usize = 20_000;

/// Of blackbox_exporter's, which takes several times as long for each.
const ITS_PROBES: usize = 5_000;

/// Loops side by side, each with one probe under way.
const LOOPS: usize = 8;

/// Probes a second at an open rate, and for how long.
const RATE: usize = 500;
const OPEN: Duration = Duration::from_secs(8);

/// Processor time of process `pid` in µs for each of what `work` counts.
async fn each(pid: u32, work: impl Future<Output = usize>) -> f64 {
    let before = cpu(pid);
    let count = work.await;
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count as f64;
    (cpu(pid) - before) * 1e6 / count
}

/// What was measured in each round, in µs a probe.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    bare: Vec<f64>,
    its: Vec<f64>,
    open_ours: Vec<f64>,
    open_bare: Vec<f64>,
}

fn ratio(some: &[f64], others: &[f64]) -> f64 {
    median(some.iter().zip(others).map(|(a, b)| a / b).collect())
}

impl Figures {
    /// One round: each in its turn, so that a busy minute is everybody's.
    async fn round(&mut self, origin: &Origin, blackbox: Option<&Blackbox>) {
        let us = std::process::id();
        let probes = ours::probes(origin);
        self.ours
            .push(each(us, ours::closed(&probes, PROBES, LOOPS)).await);
        self.bare
            .push(each(us, bare::closed(origin, PROBES, LOOPS)).await);
        if let Some(blackbox) = blackbox {
            let asked = blackbox.closed(origin, ITS_PROBES, LOOPS);
            self.its.push(each(blackbox.pid(), asked).await);
        }
        self.open_ours
            .push(each(us, ours::open(origin, RATE, OPEN)).await);
        self.open_bare
            .push(each(us, bare::open(origin, RATE, OPEN)).await);
    }

    fn print(&self) {
        let us = |values: &[f64]| format!("{:.0} µs", median(values.to_vec()));
        row(
            "processor time of one HTTP probe, closed loop",
            "≤ 60 µs; ≤ 1.5 x a bare connection; ≤ 1/10 of blackbox_exporter",
            &match self.its.is_empty() {
                true => format!(
                    "ours {}, bare {}: {:.2} x; no blackbox_exporter here",
                    us(&self.ours),
                    us(&self.bare),
                    ratio(&self.ours, &self.bare)
                ),
                false => format!(
                    "ours {}, bare {}: {:.2} x; blackbox_exporter {}: {:.2} x",
                    us(&self.ours),
                    us(&self.bare),
                    ratio(&self.ours, &self.bare),
                    us(&self.its),
                    ratio(&self.ours, &self.its)
                ),
            },
        );
        row(
            &format!("the same at {RATE} a second, through the prober"),
            "≤ 1.5 x a bare connection",
            &format!(
                "ours {}, bare {}: {:.2} x",
                us(&self.open_ours),
                us(&self.open_bare),
                ratio(&self.open_ours, &self.open_bare)
            ),
        );
    }
}

async fn probe() {
    let origin = Origin::start().await;
    let blackbox = Blackbox::start().await;
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        figures.round(&origin, blackbox.as_ref()).await;
    }
    figures.print();
}

#[tokio::main]
async fn measure() {
    let chosen = chosen();
    head();
    if chosen("probe") {
        probe().await;
    }
    if chosen("timeouts") {
        timeouts::measure().await;
    }
}

fn main() {
    if origin::is_one() {
        return origin::serve();
    }
    measure();
}
