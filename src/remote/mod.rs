//! Commands that talk to a running server.
//!
//! | file | holds |
//! | --- | --- |
//! | `client` | a call, and what its errors mean |
//! | `answers` | what the API answers |
//! | `status` | where each site is, and what stops it |
//! | `history` | what was decided |
//! | `orders` | what people order |
//! | `evacuate` | an address that is given up |
//! | `outcome` | what is so then, and whether it was done |
//!
//! Nothing here knows the rule: what a hold is called and which command lifts
//! it, the server says.

mod answers;
mod client;
mod evacuate;
mod history;
mod orders;
mod outcome;
mod status;

pub use client::Connection;
pub use evacuate::Evacuation;
pub use orders::{Order, Terms};

use crate::table::printable;
use client::{Client, Fault};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::io::Write;

/// What is asked of the server.
#[derive(Debug)]
pub enum Command {
    /// How these sites are; all, if none is named.
    Status(Vec<String>),
    /// The last decisions.
    History {
        /// Of this site, or of all.
        site: Option<String>,
        /// At most so many.
        limit: u32,
    },
    /// The decision with this id.
    Decision(i64),
    /// Whether the server is healthy; with `ready`, whether it is ready.
    Health {
        /// The stricter question.
        ready: bool,
    },
    /// Every site away from an address, or back.
    Evacuate(Evacuation),
    /// An order, for these sites; without one, for all together.
    Order(Order, Vec<String>),
}

/// What a command prints and ends with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    out: String,
    faults: Vec<Fault>,
    code: u8,
}

impl Report {
    fn of(out: String) -> Report {
        Report {
            out,
            ..Report::default()
        }
    }
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Report {
        Report {
            code: fault.code,
            faults: vec![fault],
            out: String::new(),
        }
    }
}

/// Asks the server and prints its answer, with `json` as it came. Returns the
/// exit code.
pub async fn run(at: Connection, command: Command, json: bool) -> u8 {
    let report = match Client::new(at) {
        Ok(client) => answer(&client, command, json).await,
        Err(fault) => Err(fault),
    };
    let report = report.unwrap_or_else(Report::from);
    // Whoever read may have closed the pipe: `| head`.
    let _ = std::io::stdout().write_all(report.out.as_bytes());
    for fault in &report.faults {
        eprintln!("{}", printable(&fault.text));
    }
    report.code
}

async fn answer(client: &Client, command: Command, json: bool) -> Result<Report, Fault> {
    match command {
        Command::Status(sites) => status::run(client, &each_once(sites), json).await,
        Command::History { site, limit } => {
            history::list(client, site.as_deref(), limit, json).await
        }
        Command::Health { ready } => {
            let word = if ready { "ready" } else { "healthy" };
            client.health(word).await.map(Report::of)
        }
        Command::Decision(id) => history::one(client, id, json).await,
        Command::Evacuate(order) => evacuate::run(client, &order, json).await,
        Command::Order(order, sites) if sites.is_empty() => {
            orders::over_all(client, order, json).await
        }
        Command::Order(order, sites) => {
            orders::over_sites(client, &order, &each_once(sites), json).await
        }
    }
}

/// Names in their order, each once.
fn each_once(mut names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Several answers as a list.
fn list(answers: &[Box<RawValue>]) -> String {
    let answers: Vec<&str> = answers.iter().map(|answer| answer.get()).collect();
    format!("[{}]", answers.join(","))
}
