//! From the death of MAIN to the changed record, with the real Prometheus,
//! Alertmanager and blackbox_exporter, and the shipped files as they are but for
//! addresses.
//!
//! `cargo bench --bench incident` prints two rows of the README; `-- 20` has 20
//! runs instead of ten. Nothing is asserted: a figure is read by a person.

#![allow(dead_code, reason = "the tests of the stack use the rest")]

#[path = "../tests/stack/cluster.rs"]
mod cluster;
#[path = "../tests/stack/line.rs"]
mod line;
#[path = "../tests/stack/monitoring.rs"]
mod monitoring;
#[path = "../tests/stack/shipped.rs"]
mod shipped;
#[path = "../tests/stack/stack.rs"]
mod stack;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use monitoring::Tools;
use originswitch::sandbox::Behaviour;
use shipped::Pace;
use stack::{Setup, Stack};
use tokio::time::{Instant, sleep};

/// Everything as it is shipped, originswitch with its defaults.
const SHIPPED: Setup = Setup {
    pace: Pace::Shipped,
    probe: "",
    rule: "",
    ..Setup::DEFAULT
};

/// One incident: the seconds it took, and what the decision was triggered by.
struct Run {
    seconds: f64,
    trigger: String,
}

/// MAIN dies so long after everything was seen well.
async fn run(tools: &Tools, death: &Behaviour, after: Duration) -> Run {
    let stack = Stack::start_as(tools, SHIPPED).await;
    sleep(after).await;
    stack.world.main.set(death.clone()).await.unwrap();
    let start = Instant::now();
    while !stack.world.on_backup() {
        sleep(Duration::from_millis(2)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let switch = stack.last_switch().await;
    Run {
        seconds,
        trigger: switch["trigger"].as_str().unwrap().to_owned(),
    }
}

/// So many incidents, in each of which MAIN dies at another place in the
/// longest of the intervals, which is that of our own probes.
async fn measure(tools: &Tools, runs: u32, death: Behaviour, what: &str, sum: &str) {
    let mut taken = Vec::new();
    for number in 0..runs {
        let after = Duration::from_secs(10) * number / runs;
        let run = run(tools, &death, after).await;
        eprintln!("{what}: {:.1} s, by {}", run.seconds, run.trigger);
        taken.push(run);
    }
    taken.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let (median, worst) = (&taken[taken.len() / 2], &taken[taken.len() - 1]);
    let by_alert = taken.iter().filter(|run| run.trigger == "alert").count();
    println!(
        "| {what} | {sum} | {:.1} s, at most {:.1} s in {runs} runs, {by_alert} of them by the alert |",
        median.seconds, worst.seconds
    );
}

#[tokio::main]
async fn main() {
    let Some(tools) = Tools::find() else { return };
    let wanted = std::env::args().find_map(|argument| argument.parse().ok());
    let runs = wanted.unwrap_or(10).max(1);
    println!("| from death to record changed | the sum | measured |\n| --- | --- | --- |");
    // Side by side, as they do little but wait.
    tokio::join!(
        measure(&tools, runs, Behaviour::Refusing, "MAIN refuses", "≤ 12 s",),
        measure(
            &tools,
            runs,
            Behaviour::Swallowing,
            "MAIN swallows packets",
            "≤ 16 s",
        ),
    );
}
