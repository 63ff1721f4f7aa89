//! The whole chain with real programs: blackbox_exporter sees MAIN die,
//! Prometheus raises the alert, Alertmanager carries it, originswitch acts. All
//! of it with the shipped files.
//!
//! `tests/stack/install FOLDER` fetches the programs and prints the variable to
//! set; `tests/run` does that.

mod by_hand;
mod cluster;
mod dashboards;
mod files;
mod incident;
mod kills;
mod late;
mod line;
mod monitoring;
mod notify;
mod shipped;
mod stack;
#[path = "../support/mod.rs"]
mod support;

use monitoring::Tools;
use support::server::finish;
use tokio::time::Instant;

/// Side by side, as they do little but wait. The simulated servers of one do
/// not wait for another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_breaks_on_the_way_the_record_is_right_at_the_end() {
    let Some(tools) = Tools::find() else { return };
    let tools = &tools;
    tokio::join!(
        story("Prometheus dies", kills::prometheus_dies(tools)),
        story("the exporter dies", kills::blackbox_exporter_dies(tools)),
        story("Alertmanager restarts", kills::alertmanager_restarts(tools)),
        story("SIGKILL", kills::originswitch_restarts(tools, "KILL")),
        story("SIGTERM", kills::originswitch_restarts(tools, "TERM")),
        story("a cluster", cluster::both_see_each_other(tools)),
        story("a cluster apart", cluster::neither_sees_the_other(tools)),
        story("a late alert", late::our_own_probes_do_not_wait(tools)),
    );
}

/// One of several; tells how long it took.
async fn story(name: &str, told: impl Future<Output = ()>) {
    let start = Instant::now();
    told.await;
    println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

#[tokio::test]
async fn the_shipped_route_is_one() {
    let Some(tools) = Tools::find() else { return };
    let file = shipped::path("alertmanager-examples/alertmanager.yml");
    let mut check = tools.command("amtool");
    check.arg("check-config").arg(&file);
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
        route
            .args(["config", "routes", "test", "--config.file"])
            .arg(&file);
        let route = finish({
            route.args(labels);
            route
        })
        .await;
        assert_eq!(route.out.trim(), receivers, "{labels:?}: {route:?}");
    }
}
