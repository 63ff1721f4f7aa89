//! How the server ends.

use crate::support::server::{World, alert};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn it_ends_well_while_peers_hold_half_a_request_and_idle_connections() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    let open = async |text: &str| {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let _silent = open("").await;
    let _half_a_head = open("POST /webhook HTTP/1.1\r\nHost: x\r\nConte").await;
    let _half_a_body =
        open("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"alerts\":").await;
    let mut idle = open("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    // They hold nobody up.
    server.post_alert("www", "firing").await;

    assert_eq!(server.term().await, Some(0), "{}", server.log());
    assert_eq!(server.out(), "", "results only");
    assert!(server.log().contains("winding up"), "{}", server.log());
    assert!(world.on_main());
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn a_switch_under_way_is_brought_to_its_end() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    let slow = Effect::Latency(Duration::from_secs(2));
    world.cloudflare.fault(Fault::once(Matcher::Writes, slow));
    world.kill_main().await;
    server.post_alert("www", "firing").await;
    server
        .wait_until("the write is on its way", async || {
            !world.write_requests().is_empty()
        })
        .await;
    server.signal("TERM");
    server.wait_log("winding up").await;
    // Meanwhile it takes nothing new, and says so in a way that is retried.
    assert_eq!(server.get("/-/ready").await.status, 503);
    let refused = server.post("/webhook", alert("www", "firing")).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(server.ended().await, Some(0), "{}", server.log());
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);

    let server = world.folder.serve().await;
    let switches = server.switches().await;
    assert_eq!(switches.len(), 1);
    assert_eq!(switches[0]["result"], "confirmed", "{switches:#?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    let hang = Fault::always(Matcher::Writes, Effect::NothingAtAll);
    world.cloudflare.fault(hang);
    world.kill_main().await;
    server.post_alert("www", "firing").await;
    server
        .wait_until("the write is on its way", async || {
            !world.write_requests().is_empty()
        })
        .await;
    server.signal("TERM");
    server.wait_log("winding up").await;
    let code = server.term().await;
    assert!(server.log().contains("ending at once"), "{}", server.log());
    assert!(!server.log().contains("not everything ended"));
    assert!(code.is_some(), "it ends by itself, not by the signal");
}

#[tokio::test]
async fn an_interrupt_ends_it_too() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    server.signal("INT");
    assert_eq!(server.ended().await, Some(0), "{}", server.log());
    // The state is free again, and whole.
    assert_eq!(world.once(&[]).await.code, Some(0));
}
