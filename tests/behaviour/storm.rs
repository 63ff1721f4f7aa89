//! Ten thousand copies of one webhook.

use crate::common::*;
use crate::support::server;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 20;
const EACH: usize = 500;

/// Sends the same request many times over one connection, as fast as it goes;
/// how many answers were 200.
async fn pour(addr: SocketAddr, request: String) -> usize {
    let (mut from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
    let last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let all = request.repeat(EACH - 1) + &last;
    let sending = tokio::spawn(async move {
        to.write_all(all.as_bytes()).await.unwrap();
        to
    });
    let mut answers = String::new();
    from.read_to_string(&mut answers).await.unwrap();
    sending.await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), EACH);
    answers.matches("HTTP/1.1 200 OK").count()
}

async fn storm(server: &Server) -> Duration {
    let body = server::alert(SITE, "firing").to_string();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.addr,
        body.len()
    );
    let begun = Instant::now();
    let pouring = (0..CONNECTIONS).map(|_| tokio::spawn(pour(server.addr, request.clone())));
    let mut good = 0;
    for poured in pouring.collect::<Vec<_>>() {
        good += poured.await.unwrap();
    }
    assert_eq!(good, CONNECTIONS * EACH);
    begun.elapsed()
}

/// Routine probes are rare here, so that those of the storm can be counted.
async fn quiet_world() -> World {
    let mut world = World::new().await;
    world.more =
        "[site.probe]\ninterval = \"1m\"\n[site.rule]\nconfirm_interval = \"500ms\"\n".into();
    world
}

/// Confirmations take half a second at least; each has a few probes.
fn a_handful(took: Duration) -> f64 {
    4.0 + 2.0 * took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_about_a_dead_main_makes_one_switch() {
    let world = quiet_world().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let before = world.backup.hits();
    let begun = Instant::now();
    let took = storm(&server).await;
    server
        .wait_until("it is moved", async || world.on_backup())
        .await;
    println!("{took:?} for {} webhooks", CONNECTIONS * EACH);

    // Once it has calmed down there has been one switch and no crowd of probes.
    server.decision_on_alert(SITE, "firing").await;
    let took = begun.elapsed();
    assert_eq!(world.write_requests().len(), 1);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    let passes = metrics.get("decisions_total", &[("site", SITE)]).unwrap();
    assert!(passes <= a_handful(took), "{passes} passes in {took:?}");
    let probes = (world.backup.hits() - before) as f64;
    assert!(
        probes <= 4.0 * a_handful(took),
        "{probes} probes in {took:?}"
    );
    let received = metrics.get("alerts_received_total", &[("status", "firing")]);
    assert_eq!(received, Some((CONNECTIONS * EACH + 1) as f64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_about_a_healthy_main_moves_nothing() {
    let world = quiet_world().await;
    let server = world.serve_on_main().await;
    let before = world.main.hits();
    let begun = Instant::now();
    storm(&server).await;
    server.decision_on_alert(SITE, "firing").await;
    let took = begun.elapsed();
    let probes = (world.main.hits() - before) as f64;
    assert!(
        probes <= 4.0 * a_handful(took),
        "{probes} probes in {took:?}"
    );
    assert_eq!(world.write_requests().len(), 0);
    assert!(world.on_main());
}
