//! Fifty kills at random moments of switches.
//!
//! Ten lives, each with its own simulated Cloudflare, which takes 100 to
//! 300 ms for every call. MAIN dies and comes back by turns; each time the
//! process is killed somewhere on the way and started again. What must then be
//! so: one switch for each death and each return, every one of them in the
//! history, all of them counted, and the site where it belongs.

use crate::support::server::{Server, World};
use crate::support::world::Chance;
use crate::{State, begin, one_in, side_by_side, up_to};
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LIVES: u64 = 10;
/// Deaths and returns of MAIN in a life, a kill in each.
const TURNS: u64 = 5;

/// What is waited for before the kill; a random time more is added to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing: anywhere between the first failed probe and long after.
    Any,
    /// Nothing: while probes confirm, and the record is read before the write.
    Confirming,
    /// The intent is in the state file.
    Intent,
    /// The write is on its way.
    Sent,
    /// Cloudflare has acted, and its answer is on its way, or lost.
    Acted,
}

impl Moment {
    const ALL: [Moment; 5] = [
        Moment::Any,
        Moment::Confirming,
        Moment::Intent,
        Moment::Sent,
        Moment::Acted,
    ];
}

/// How far the switch had come when the process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    Intent,
    Sent,
    Acted,
    /// The row says so.
    Closed,
}

/// A world whose process is killed and started again.
struct Life {
    world: World,
    state: State,
    server: Server,
    chance: Chance,
    /// What earlier processes said.
    log: String,
    /// Rows of the history that were seen, oldest first.
    seen: Vec<Value>,
    /// Switches there were to be.
    turns: u64,
}

impl Life {
    async fn begin(mut chance: Chance) -> Life {
        let state = State::new();
        let latency = chance.millis(100, 300);
        let (world, server) = begin(&state, latency, "max_switches = 100\n").await;
        Life {
            world,
            state,
            server,
            chance,
            log: String::new(),
            seen: Vec::new(),
            turns: 0,
        }
    }

    /// MAIN dies, or is back; the process is killed at this moment of what
    /// follows, and started again.
    async fn turn(&mut self, moment: Moment) -> Reached {
        let flight = self.turns.is_multiple_of(2);
        let before = Traces::of(self);
        if one_in(&mut self.chance, 3) {
            let lost = Fault::once(Matcher::Writes, Effect::CutAfter);
            self.world.cloudflare.fault(lost);
        }
        let (status, alerted) = match flight {
            true => ("firing", one_in(&mut self.chance, 2)),
            false => ("resolved", true),
        };
        match flight {
            true => self.world.kill_main().await,
            false => self.world.revive_main().await,
        }
        if alerted {
            self.server.post_alert("www", status).await;
        }
        self.strike(moment, &before).await;
        let reached = before.reached(self);
        self.turns += 1;
        thread::sleep(up_to(&mut self.chance, 200));
        self.server = self.world.folder.serve().await;
        reached
    }

    /// Kills the process. This thread has nothing else to do, so it blocks: a
    /// timer of tokio's would be too coarse to meet a moment of 100 µs.
    async fn strike(&mut self, moment: Moment, before: &Traces) {
        let more = match moment {
            Moment::Any => up_to(&mut self.chance, 2_500),
            Moment::Confirming => up_to(&mut self.chance, 600),
            Moment::Intent => Duration::ZERO,
            Moment::Sent => up_to(&mut self.chance, 300),
            // The answer, the row, the next decision.
            Moment::Acted => up_to(&mut self.chance, 15),
        };
        let end = Instant::now() + Duration::from_secs(30);
        while !before.has_come(moment, &self.world) {
            assert!(Instant::now() < end, "no {moment:?}\n{}", self.server.log());
            thread::sleep(Duration::from_micros(50));
        }
        thread::sleep(more);
        self.server.kill().await;
        let log = self.server.log();
        self.log += &format!("{log}killed, {more:?} after {moment:?}\n");
    }

    /// The site is where it belongs, by one switch more than before.
    async fn settled(&mut self) {
        let (role, reason) = match self.turns % 2 {
            1 => ("backup", "main_down"),
            _ => ("main", "on_main"),
        };
        let site = self
            .server
            .wait_site("www", role, |site| {
                site["record"]["role"] == role && site["last_decision"]["reason"] == reason
            })
            .await;
        assert!(site["hold"].is_null(), "{site:#}");
        let held = match role {
            "main" => self.world.main_ip(),
            _ => self.world.backup_ip(),
        };
        let log = self.told();
        assert_eq!(self.world.content(), held, "{log}");
        assert_eq!(self.world.cloudflare.writes(), self.turns, "{log}");
        assert!(!log.contains("somebody else"), "{log}");
        self.nothing_is_lost().await;
    }

    /// What all its processes said.
    fn told(&self) -> String {
        format!("{}{}", self.log, self.server.log())
    }

    /// The history has all that it had, and every switch that was made.
    async fn nothing_is_lost(&mut self) {
        let mut rows = self.server.decisions().await;
        rows.reverse();
        let ids: Vec<i64> = rows.iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for old in &self.seen {
            let now = rows.iter().find(|row| row["id"] == old["id"]);
            let now = now.unwrap_or_else(|| panic!("lost: {old:#}"));
            for member in ["time", "action", "reason", "record", "to"] {
                assert_eq!(now[member], old[member], "{now:#}");
            }
            let amended = old["result"] == "unconfirmed";
            assert!(
                amended || now["result"] == old["result"],
                "{now:#}\n{old:#}"
            );
        }
        let switches: Vec<&Value> = rows
            .iter()
            .filter(|row| row["action"] == "switch")
            .collect();
        let sent = self.world.write_requests().len();
        assert!(switches.len() >= sent, "{sent} writes: {}", self.told());
        let confirmed = switches.iter().filter(|row| row["result"] == "confirmed");
        let made: Vec<&Value> = confirmed.map(|row| &row["to"]["role"]).collect();
        let wanted = (0..self.turns).map(|turn| ["backup", "main"][turn as usize % 2]);
        assert_eq!(made, wanted.collect::<Vec<_>>(), "{}", self.told());
        self.seen = rows;
    }

    /// On BACKUP: a return would be one too many, for exactly as many were made.
    async fn all_are_counted(mut self) {
        let turns = self.turns;
        let rule = self
            .world
            .rule
            .replace("= 100", &format!("= {}", turns + 1));
        self.world.rule = rule;
        self.world.configure();
        self.server = self.server.restart().await;
        self.world.revive_main().await;
        let decision = self.server.wait_reason("www", "switch_budget").await;
        let said = decision["explanation"].as_str().unwrap();
        let counted = format!("{turns} of {} switches", turns + 1);
        assert!(said.contains(&counted), "{said}\n{}", self.told());
        assert!(self.world.on_backup());
        assert_eq!(self.world.cloudflare.writes(), turns);
        self.nothing_is_lost().await;
    }
}

/// What switches left behind so far.
struct Traces {
    state: Connection,
    intents: i64,
    sent: usize,
    acted: u64,
    closed: i64,
}

impl Traces {
    fn of(life: &Life) -> Traces {
        let (world, state) = (&life.world, open(&life.state.path()));
        Traces {
            intents: count(&state, "sent_ns IS NOT NULL"),
            sent: world.write_requests().len(),
            acted: world.cloudflare.writes(),
            closed: count(&state, "applied = 1"),
            state,
        }
    }

    /// Whether what is waited for is there since then.
    fn has_come(&self, moment: Moment, world: &World) -> bool {
        match moment {
            Moment::Any | Moment::Confirming => true,
            Moment::Intent => count(&self.state, "sent_ns IS NOT NULL") > self.intents,
            Moment::Sent => world.write_requests().len() > self.sent,
            Moment::Acted => world.cloudflare.writes() > self.acted,
        }
    }

    /// How far it is since then.
    fn reached(&self, life: &Life) -> Reached {
        let now = Traces::of(life);
        if now.closed > self.closed {
            Reached::Closed
        } else if now.acted > self.acted {
            Reached::Acted
        } else if now.sent > self.sent {
            Reached::Sent
        } else if now.intents > self.intents {
            Reached::Intent
        } else {
            Reached::Nothing
        }
    }
}

fn open(state: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(state, flags).unwrap()
}

/// Switches in the state file of which this is so.
fn count(state: &Connection, of_which: &str) -> i64 {
    let all = format!("SELECT count(*) FROM decision WHERE sent_ns > 0 AND {of_which}");
    state.query_row(&all, [], |row| row.get(0)).unwrap()
}

async fn live(chance: Chance, number: u64) -> Vec<Reached> {
    let mut life = Life::begin(chance).await;
    let mut struck = Vec::new();
    for turn in 0..TURNS {
        let moment = Moment::ALL[(number + turn) as usize % Moment::ALL.len()];
        struck.push(life.turn(moment).await);
        life.settled().await;
    }
    life.all_are_counted().await;
    struck
}

#[test]
fn fifty_kills_in_the_middle_of_switches_lose_nothing_and_repeat_nothing() {
    let struck = side_by_side(LIVES, live).concat();
    assert_eq!(struck.len() as u64, LIVES * TURNS);
    let all = [
        Reached::Nothing,
        Reached::Intent,
        Reached::Sent,
        Reached::Acted,
        Reached::Closed,
    ];
    for reached in all {
        let times = struck.iter().filter(|other| **other == reached).count();
        println!("killed {times} times with {reached:?} done");
        // Between intent and write there is less than a millisecond.
        assert!(times > 0 || reached == Reached::Intent);
    }
}
