//! Processes that begin again, sleep, or stand in for another.

use crate::common::*;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The state file with what belongs to it.
fn state_files(world: &World) -> Vec<PathBuf> {
    let folder = world.folder.state().parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let ours = |path: &PathBuf| path.to_string_lossy().contains("originswitch.db");
    files.filter(ours).collect()
}

async fn flee(world: &World, server: &Server) {
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["result"], "confirmed", "{decision}");
}

/// 3. nebula wrote the dead primary after a restart; cycneuramus and ag-cdev believed what they had cached.
#[tokio::test]
async fn without_any_state_a_restart_stays_on_backup_while_main_is_dead() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    flee(&world, &server).await;
    server.kill().await;
    for file in state_files(&world) {
        std::fs::remove_file(file).unwrap();
    }
    let server = world.folder.serve().await;
    server.wait_reason(SITE, "main_down").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1);
}

/// 19. dhaf: a new leader went on from what it had known when it last led.
#[tokio::test]
async fn an_instance_that_takes_over_with_an_old_state_reads_where_the_record_is() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    assert_eq!(server.term().await, Some(0));
    let old: Vec<_> = state_files(&world)
        .into_iter()
        .map(|path| (std::fs::read(&path).unwrap(), path))
        .collect();
    let mut server = world.folder.serve().await;
    server.wait_reason(SITE, "on_main").await;
    flee(&world, &server).await;
    server.kill().await;
    for file in state_files(&world) {
        std::fs::remove_file(file).unwrap();
    }
    for (bytes, path) in old {
        std::fs::write(path, bytes).unwrap();
    }

    let server = world.folder.serve().await;
    let decision = server.wait_reason(SITE, "main_down").await;
    assert_eq!(decision["record"]["role"], "backup", "{decision}");
    // To this state file it was another hand: a return is a person's.
    world.revive_main().await;
    server.wait_reason(SITE, "foreign").await;
    assert_eq!(world.write_requests().len(), 1);
    call(&server, "POST", "/api/v1/sites/www/release").await;
    server.wait_reason(SITE, "failback").await;
}

/// 16. and what was begun before a stop ended right after it.
#[tokio::test]
async fn a_process_that_was_stopped_decides_nothing_at_its_first_tick() {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"3s\"\n".into();
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let down = [("origin", "main"), ("result", "down")];
    server
        .wait_until("it is being confirmed", async || {
            server.metrics().await.get("probes_total", &down) >= Some(5.0)
        })
        .await;
    server.signal("STOP");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.on_main());
    server.signal("CONT");
    let woke = Instant::now();
    server
        .wait_until("it is moved", async || world.on_backup())
        .await;
    // The span of failures begins anew, although eight seconds have passed.
    assert!(
        woke.elapsed() >= Duration::from_secs(3),
        "{:?}",
        woke.elapsed()
    );
}
