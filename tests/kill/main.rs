//! SIGKILL to the running binary, and what must be so when it runs again.
//!
//! `KILL_SEED=7 cargo nextest run --test kill --no-capture` draws the moments
//! of a run that said `KILL_SEED=7` again.

mod orders;
#[path = "../support/mod.rs"]
mod support;
mod switches;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use support::server::{Server, World};
use support::world::Chance;

/// Up to so many milliseconds, in steps of 100 µs.
fn up_to(chance: &mut Chance, milliseconds: u64) -> Duration {
    Duration::from_micros(100 * chance.between(0, 10 * milliseconds))
}

fn one_in(chance: &mut Chance, many: u64) -> bool {
    chance.below(many) == 0
}

/// The server on a state file of its own, well on MAIN, with BACKUP ready;
/// each call to Cloudflare takes this long.
async fn begin(state: &State, latency: Duration, rule: &str) -> (World, Server) {
    let mut world = World::new().await;
    world.rule = format!("confirm_for = \"300ms\"\nfailback_after = \"500ms\"\n{rule}");
    world
        .cloudflare
        .configure(|options| options.latency = latency);
    world.more = format!("[state]\npath = \"{}\"\n", state.path().display());
    let server = world.serve_on_main().await;
    server
        .wait_site("www", "BACKUP is ready", |site| {
            site["origins"][1]["state"] == "up"
        })
        .await;
    (world, server)
}

/// A state file in memory, where there is such a disk: one that holds up a
/// write for 250 ms is another story, in which a flight goes on without its row.
struct State(tempfile::TempDir);

impl State {
    fn new() -> State {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::TempDir::new_in(memory),
            false => tempfile::TempDir::new(),
        };
        State(folder.unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("originswitch.db")
    }
}

/// Plays so many lives side by side, from a seed that is told; what each came
/// to. Each has a thread of its own that it may block: its simulated servers
/// have another.
fn side_by_side<T: Send + 'static>(
    lives: u64,
    live: impl AsyncFn(Chance, u64) -> T + Copy + Send + 'static,
) -> Vec<T> {
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let seed = std::env::var("KILL_SEED").map_or(now, |text| text.parse().unwrap());
    println!("KILL_SEED={seed}");
    let play = move |number| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let chance = Chance::new(seed.wrapping_mul(lives) + number);
        runtime.block_on(live(chance, number))
    };
    let threads = (0..lives).map(|number| thread::spawn(move || play(number)));
    let threads: Vec<_> = threads.collect();
    let ends = threads.into_iter().map(thread::JoinHandle::join);
    ends.map(|end| end.expect("a life that ends well"))
        .collect()
}
