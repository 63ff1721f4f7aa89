//! Files that may be open at once: found out, raised, and never an origin's
//! fault when they run out.

use crate::support::server::{Folder, Server, World};
use originswitch::sandbox::Behaviour;
use originswitch::sandbox::cloudflare::RecordSpec;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::sleep;

/// Enough to start with, and for a few probes.
const FEW: u64 = 64;

/// Sites on the same two origins.
const SITES: usize = 30;

/// The server with a soft limit that can be raised to `hard` and no further.
async fn serve_within(folder: &Folder, hard: u64) -> Server {
    let serve = folder.command(&["serve", "--listen", "127.0.0.1:0"]);
    let serve = serve.as_std();
    let mut shell = Command::new("sh");
    let limits = format!(
        "ulimit -Sn {}; ulimit -Hn {hard}; exec \"$0\" \"$@\"",
        hard - 8
    );
    shell.args(["-c", &limits]).arg(serve.get_program());
    shell.args(serve.get_args()).kill_on_drop(true);
    for (name, _) in serve.get_envs() {
        shell.env_remove(name);
    }
    Server::from_command(folder.clone(), shell).await
}

/// A world with many sites whose probes overlap as soon as origins are slow.
fn crowd(world: &mut World) {
    world.probe = "max_in_flight = 200".into();
    let address = world.main_ip();
    for n in 0..SITES {
        let hostname = format!("w{n}.example.com");
        let spec = RecordSpec::new("A", &hostname, &address);
        world.cloudflare.add_record(&world.zone, spec.proxied());
        world.more += &world.site_named(&format!("w{n}"), &hostname);
    }
    let (quick, slow) = ("timeout = \"1s\"", "timeout = \"20s\"");
    let config = world.config();
    assert!(config.contains(quick), "{config}");
    world.folder.configure(&config.replace(quick, slow));
}

/// CPU time in seconds.
fn cpu(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let numbers = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: Vec<f64> = numbers.filter_map(|n| n.parse().ok()).collect();
    (ticks[10] + ticks[11]) / 100.0
}

/// Callers who say nothing take every descriptor there is, and more wait in the
/// kernel's queue: until one is free, nothing is gained by trying.
async fn callers_are_waited_for_at_rest(server: &Server) {
    let dial = || TcpStream::connect(server.addr).unwrap();
    let callers: Vec<_> = (0..2 * FEW).map(|_| dial()).collect();
    server.wait_log("connections cannot be accepted").await;
    let (used, began) = (cpu(server), Instant::now());
    sleep(Duration::from_secs(4)).await;
    let share = (cpu(server) - used) / began.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share} of a core");
    let said = server.log();
    let times = said.matches("connections cannot be accepted").count();
    assert_eq!(times, 1, "{said}");
    drop(callers);
}

async fn probes(server: &Server, result: &str) -> f64 {
    let labels = [("result", result)];
    let metrics = server.metrics().await;
    metrics.get("probes_total", &labels).unwrap_or_default()
}

async fn all_on_main(server: &Server) -> bool {
    let sites = server.sites().await;
    sites.len() == SITES + 1
        && sites.iter().all(|site| {
            let decided = site["last_decision"]["reason"] == "on_main";
            let origins = site["origins"].as_array().unwrap();
            decided && origins.iter().all(|origin| origin["state"] == "up")
        })
}

#[tokio::test]
async fn running_out_of_sockets_is_no_evidence_and_passes() {
    let mut world = World::new().await;
    crowd(&mut world);
    let server = serve_within(&world.folder, FEW).await;
    let said = server.log();
    assert!(
        said.contains(&format!("{FEW} files may be open at once")),
        "{said}"
    );
    assert!(
        said.contains("max_in_flight = 200 needs 1288: raise LimitNOFILE="),
        "{said}"
    );
    server
        .wait_until("all on MAIN", async || all_on_main(&server).await)
        .await;

    let before = probes(&server, "unknown").await;
    for origin in [&world.main, &world.backup] {
        let slow = Behaviour::Delay(Duration::from_secs(2));
        origin.set(slow).await.unwrap();
    }
    sleep(Duration::from_secs(4)).await;
    let unknown = probes(&server, "unknown").await - before;
    assert!(
        unknown > 20.0,
        "{unknown} probes found no socket\n{}",
        server.log()
    );
    callers_are_waited_for_at_rest(&server).await;

    for origin in [&world.main, &world.backup] {
        origin.set(Behaviour::up()).await.unwrap();
    }
    let ups = probes(&server, "up").await;
    server
        .wait_until("every origin seen up again", async || {
            probes(&server, "up").await > ups + 100.0 && all_on_main(&server).await
        })
        .await;
    assert_eq!(probes(&server, "down").await, 0.0, "{}", server.log());
    assert!(
        server.log().contains("Too many open files"),
        "{}",
        server.log()
    );
    assert!(world.write_requests().is_empty());
}

#[tokio::test]
async fn a_limit_with_room_is_raised_and_a_reload_may_take_the_room() {
    let world = World::new().await;
    world.configure();
    let server = serve_within(&world.folder, 1500).await;
    let said = server.log();
    assert!(said.contains("1500 files may be open at once"), "{said}");
    assert!(!said.contains("LimitNOFILE"), "{said}");
    let text = world.config();
    let more = text.replace("[probe]\n", "[probe]\nmax_in_flight = 500\n");
    world.folder.configure(&more);
    assert_eq!(
        server
            .post("/-/reload", serde_json::Value::Null)
            .await
            .status,
        200
    );
    let warning = "only 1500 files may be open at once, and probe.max_in_flight = 500 needs 1588";
    server.wait_log(warning).await;
}
