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

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Up to so many milliseconds, in steps of 100 µs.
    fn up_to(&mut self, milliseconds: u64) -> Duration {
        Duration::from_micros(100 * (self.draw() % (10 * milliseconds + 1)))
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.draw().is_multiple_of(many)
    }
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
    live: impl AsyncFn(Dice, u64) -> T + Copy + Send + 'static,
) -> Vec<T> {
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let seed = std::env::var("KILL_SEED").map_or(now, |text| text.parse().unwrap());
    println!("KILL_SEED={seed}");
    let play = move |number| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let dice = Dice(seed.wrapping_mul(lives) + number);
        runtime.block_on(live(dice, number))
    };
    let threads = (0..lives).map(|number| thread::spawn(move || play(number)));
    let threads: Vec<_> = threads.collect();
    let ends = threads.into_iter().map(thread::JoinHandle::join);
    ends.map(|end| end.expect("a life that ends well"))
        .collect()
}
