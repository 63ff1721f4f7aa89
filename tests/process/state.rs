//! What outlives the process, and what a bad state file does.

use crate::support::server::{Folder, Server, World};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

async fn flee(world: &World, server: &Server) {
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
    assert!(world.on_backup());
}

#[tokio::test]
async fn a_restart_in_the_middle_of_an_incident_changes_nothing() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    flee(&world, &server).await;
    let before = server.switches().await;
    assert_eq!(server.term().await, Some(0), "{}", server.log());

    let server = world.folder.serve().await;
    server.wait_reason("www", "main_down").await;
    server
        .wait_site("www", "MAIN is found down", |site| {
            site["origins"][0]["state"] == "down"
        })
        .await;
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);
    assert_eq!(server.switches().await, before);
    let metrics = server.metrics().await;
    let switched = metrics.get("last_switch_timestamp_seconds", &[("site", "www")]);
    assert!(
        switched > Some(0.0),
        "the time of the last switch is remembered"
    );
    assert_eq!(metrics.get("hold", &[]), None);
    assert_eq!(metrics.get("state_up", &[]), Some(1.0));
}

#[tokio::test]
async fn a_crash_right_after_a_switch_loses_neither_history_nor_budget() {
    let mut world = World::new().await;
    // One for the flight, and one that a return must leave for the next.
    world.rule += "max_switches = 2\n";
    let mut server = world.serve_on_main().await;
    world.kill_main().await;
    server.post_alert("www", "firing").await;
    while !world.on_backup() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill().await;

    let server = world.folder.serve().await;
    server.wait_reason("www", "main_down").await;
    let switches = server.switches().await;
    assert_eq!(switches.len(), 1, "{switches:#?}");
    assert_eq!(switches[0]["result"], "confirmed", "{switches:#?}");
    world.revive_main().await;
    let decision = server.wait_reason("www", "switch_budget").await;
    assert_eq!(decision["action"], "hold");
    let said = decision["explanation"].as_str().unwrap();
    assert!(said.contains("1 of 2 switches"), "{said}");
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);
    let metrics = server.metrics().await;
    let hold = [("site", "www"), ("reason", "switch_budget")];
    assert_eq!(metrics.get("hold", &hold), Some(1.0));

    // A person may release it.
    let released = server
        .post("/api/v1/sites/www/release", serde_json::Value::Null)
        .await;
    assert_eq!(released.status, 200, "{released:?}");
    server.wait_reason("www", "failback").await;
    assert!(world.on_main());
}

#[tokio::test]
async fn a_crash_while_the_write_is_on_its_way_makes_no_second_switch() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    let slow = Effect::Latency(Duration::from_secs(1));
    world.cloudflare.fault(Fault::once(Matcher::Writes, slow));
    world.kill_main().await;
    server.post_alert("www", "firing").await;
    while world.write_requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill().await;
    // The connection is gone; if the write was done all the same, it was once.
    let server = world.folder.serve().await;
    server
        .wait_until("on BACKUP", async || world.on_backup())
        .await;
    server.wait_reason("www", "main_down").await;
    assert_eq!(world.cloudflare.writes(), 1);
    let switches = server.switches().await;
    let confirmed = switches.iter().filter(|s| s["result"] == "confirmed");
    assert_eq!(confirmed.count(), 1, "{switches:#?}");
    let site = server.site("www").await;
    assert!(site["hold"].is_null(), "{site}");
}

/// Neither `serve` nor `once` takes the file, and both leave it as it is.
async fn assert_refused(folder: &Folder, code: i32, words: &str) {
    let before = std::fs::read(folder.state()).unwrap();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["once"],
        &["once", "--dry-run"],
    ] {
        let ended = folder.run(arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(words), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains("state.path"), "{ended:?}");
        assert_eq!(ended.err.trim().lines().count(), 1, "{ended:?}");
        assert_eq!(ended.out, "");
        assert_eq!(std::fs::read(folder.state()).unwrap(), before);
    }
}

#[tokio::test]
async fn something_that_is_no_database_is_refused_and_kept() {
    let world = World::new().await;
    world.configure();
    let text = "a diary, and not ours to write in\n".repeat(20);
    std::fs::write(world.folder.state(), text).unwrap();
    assert_refused(&world.folder, 1, "no SQLite database").await;
    assert!(world.cloudflare.requests().is_empty());
}

#[tokio::test]
async fn another_applications_database_is_refused_and_kept() {
    let world = World::new().await;
    world.configure();
    let db = Connection::open(world.folder.state()).unwrap();
    db.execute_batch("CREATE TABLE mail (body TEXT); INSERT INTO mail VALUES ('dear');")
        .unwrap();
    drop(db);
    assert_refused(&world.folder, 1, "another application's").await;
}

async fn used_state(world: &World) {
    let ended = world.once(&[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_newer_state_is_refused_and_kept() {
    let world = World::new().await;
    used_state(&world).await;
    let db = Connection::open(world.folder.state()).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    db.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(db);
    assert_refused(&world.folder, 1, "a newer originswitch").await;
}

#[tokio::test]
async fn a_damaged_state_is_refused_and_kept() {
    let world = World::new().await;
    used_state(&world).await;
    let mut bytes = std::fs::read(world.folder.state()).unwrap();
    assert!(bytes.len() > 8192);
    // The header stays; the pages after it make no sense.
    bytes[4096..].fill(0xA5);
    std::fs::write(world.folder.state(), bytes).unwrap();
    assert_refused(&world.folder, 1, "is damaged").await;
}

#[tokio::test]
async fn one_process_at_a_time_but_a_dry_run_may_look() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["once"]] {
        let ended = world.folder.run(arguments).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let holder = format!("in use by process {}", server.pid());
        assert!(ended.err.contains(&holder), "{ended:?}");
        assert_eq!(ended.out, "");
    }
    let history = server.decisions().await;
    let ended = world.folder.run(&["once", "--dry-run", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let decision = ended.decision();
    assert_eq!(decision["reason"], "on_main");
    assert_eq!(decision["id"], serde_json::Value::Null);
    assert_eq!(server.decisions().await, history);

    // Also where it would switch, it does not; and what is proven, it knows.
    world.rule_dry_server(&mut server).await;
    world.kill_main().await;
    let ended = world.folder.run(&["once", "--dry-run", "--json"]).await;
    let decision = ended.decision();
    assert_eq!(decision["reason"], "failover", "{ended:?}");
    assert_eq!(decision["result"], "dry_run");
    assert!(world.on_main());
    assert_eq!(world.write_requests().len(), 0);
}

impl World {
    /// Replaces the server by one that decides and does not write.
    async fn rule_dry_server(&self, server: &mut Server) {
        let text = self
            .config()
            .replace("[rule]\n", "[rule]\ndry_run = true\n");
        self.folder.configure(&text);
        *server = server.restart().await;
        server.wait_reason("www", "on_main").await;
    }
}

/// A disk of its own, in memory; `None` where that is not allowed.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::TempDir::new().unwrap());
        let size = ["-t", "tmpfs", "-o", "size=1m", "originswitch-test"];
        let mounted = std::process::Command::new("mount")
            .args(size)
            .arg(disk.0.path())
            .output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(disk);
        }
        crate::support::skip::skip("a full disk: no disk can be mounted (that needs root)");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves not one byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
    }
}

/// The story of a state file that takes no writes, from flight to return.
async fn go_blind(world: &World, server: &Server, recover: impl FnOnce()) {
    world.kill_main().await;
    let decision = server.decision_on_alert("www", "firing").await;
    assert_eq!(
        decision["result"],
        "confirmed",
        "{decision}\n{}",
        server.log()
    );
    assert!(world.on_backup(), "a flight goes on");
    assert_eq!(decision["id"], serde_json::Value::Null);
    assert_eq!(server.metrics().await.get("state_up", &[]), Some(0.0));
    let log = server.log();
    assert!(log.contains("the state file takes no writes"), "{log}");
    assert!(log.contains("without a stored intent"), "{log}");

    world.revive_main().await;
    server.post_alert("www", "resolved").await;
    server
        .wait_site("www", "the return waits for the state file", |site| {
            let last = &site["last_decision"];
            last["reason"] == "failback_wait"
                && last["explanation"].as_str().unwrap().contains("state file")
        })
        .await;
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);

    recover();
    server.wait_reason("www", "failback").await;
    assert!(world.on_main());
    server
        .wait_until("the state takes writes", async || {
            server.metrics().await.get("state_up", &[]) == Some(1.0)
        })
        .await;
    // What was kept in memory is in the file now.
    let switches = server.switches().await;
    let told: Vec<_> = switches
        .iter()
        .map(|s| (s["reason"].as_str().unwrap(), s["result"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("failover", "confirmed"), ("failback", "confirmed")]);
    assert_eq!(world.write_requests().len(), 2);
}

#[tokio::test]
async fn a_full_disk_stops_no_flight_but_returns_wait() {
    let Some(disk) = Disk::mount() else { return };
    let mut world = World::new().await;
    let path = disk.path().join("state.db");
    world.more = format!("[state]\npath = \"{}\"\n", path.display());
    let server = world.serve_on_main().await;
    disk.fill();
    go_blind(&world, &server, || disk.free()).await;
}

#[tokio::test]
async fn a_file_that_takes_no_writes_stops_no_flight_but_returns_wait() {
    let world = World::new().await;
    world.configure();
    // A limit on the size of files, which the signal would turn into a death.
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_originswitch"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(world.folder.config())
        .kill_on_drop(true);
    let server = Server::from_command(world.folder.clone(), command).await;
    server.wait_reason("www", "on_main").await;
    let pid = server.pid();
    let limit = move |bytes: &str| {
        let done = std::process::Command::new("prlimit")
            .arg(format!("--pid={pid}"))
            .arg(format!("--fsize={bytes}:unlimited"))
            .status();
        assert!(done.unwrap().success());
    };
    limit("0");
    go_blind(&world, &server, || limit("unlimited")).await;
}
