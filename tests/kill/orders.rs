//! What people ordered outlives a kill: pins, and freezes of a site and of all.

use crate::support::client;
use crate::support::server::{Server, World};
use crate::support::world::Chance;
use crate::{State, begin, one_in, side_by_side, up_to};
use reqwest::Method;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

const LIVES: u64 = 6;
const PIN: &str = "/api/v1/sites/www/pin";

async fn puts(server: &Server, path: &str, terms: &Value) {
    let reply = server.call(Method::PUT, path, Some(terms.clone())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn lifts(server: &Server, path: &str) {
    let reply = server.call(Method::DELETE, path, None).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Waits until the site rests here.
async fn rests(server: &Server, role: &str) -> Value {
    let rests = |site: &Value| {
        let last = &site["last_decision"];
        site["record"]["role"] == role && site["hold"].is_null() && last["action"] == "keep"
    };
    server.wait_site("www", role, rests).await
}

fn terms() -> Value {
    json!({"origin": "backup", "for": "2h", "reason": "a new kernel for MAIN"})
}

/// A pin is asked for, and the process is killed before it answers, or after.
/// It stands then, or nothing came of it.
async fn half_a_pin(world: &World, mut server: Server, chance: &mut Chance) -> (Server, bool) {
    let url = format!("http://{}{PIN}", server.addr);
    let asked = client().put(url).json(&terms()).send();
    let asked = tokio::spawn(asked);
    // Two probes, a read, the order, the write.
    let most = if one_in(chance, 2) { 250 } else { 1_200 };
    thread::sleep(up_to(chance, most));
    server.kill().await;
    let answered = asked
        .await
        .unwrap()
        .is_ok_and(|answer| answer.status() == 200);
    let server = world.folder.serve().await;
    let site = server
        .wait_site("www", "it is decided", |site| {
            site["last_decision"]["trigger"] == "start" || site["pin"].is_object()
        })
        .await;
    let stands = site["pin"].is_object();
    assert!(stands || !answered, "answered, and forgotten: {site:#}");
    rests(&server, if stands { "backup" } else { "main" }).await;
    let writes = u64::from(stands);
    assert_eq!(world.cloudflare.writes(), writes, "{}", server.log());
    (server, stands)
}

/// An answered pin stands, with its end and its reason, and holds its origin.
async fn a_whole_pin(world: &World, mut server: Server) -> Server {
    puts(&server, PIN, &terms()).await;
    let before = server.site("www").await["pin"].clone();
    assert_eq!(before["reason"], "a new kernel for MAIN");
    let server = server.restart().await;
    let site = rests(&server, "backup").await;
    assert_eq!(site["pin"], before);
    // Longer than a return would wait: MAIN is well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.on_backup());
    assert_eq!(world.cloudflare.writes(), 1);
    lifts(&server, PIN).await;
    rests(&server, "main").await;
    server
}

/// An answered freeze stands, however often the process is killed.
async fn a_freeze(world: &World, mut server: Server, chance: &mut Chance) {
    let path = match one_in(chance, 2) {
        true => "/api/v1/freeze",
        false => "/api/v1/sites/www/freeze",
    };
    puts(
        &server,
        path,
        &json!({"reason": "the disks are being copied"}),
    )
    .await;
    let mut server = server.restart().await;
    world.kill_main().await;
    server.wait_reason("www", "frozen").await;
    thread::sleep(up_to(chance, 500));
    let server = server.restart().await;
    let hold = server.wait_reason("www", "frozen").await;
    let said = hold["explanation"].as_str().unwrap();
    assert!(said.contains("the disks are being copied"), "{said}");
    assert_eq!(world.cloudflare.writes(), 2);
    lifts(&server, path).await;
    rests(&server, "backup").await;
    assert_eq!(world.cloudflare.writes(), 3);
}

async fn live(mut chance: Chance, _: u64) -> bool {
    let state = State::new();
    let latency = up_to(&mut chance, 300);
    let (world, server) = begin(&state, latency, "").await;
    let (server, stood) = half_a_pin(&world, server, &mut chance).await;
    let server = a_whole_pin(&world, server).await;
    a_freeze(&world, server, &mut chance).await;
    stood
}

#[test]
fn what_people_ordered_stands_after_every_kill() {
    let stood = side_by_side(LIVES, live);
    let stood = stood.into_iter().filter(|stood| *stood).count();
    println!("{stood} of {LIVES} pins stood that were asked for right before a kill");
}
