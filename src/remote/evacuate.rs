//! Giving up an address: what moved, what could not and why.

use super::Report;
use super::answers::{Evacuated, NotMoved};
use super::client::{Call, Client, Fault, Told};
use super::orders::Terms;
use crate::ending::{DONE, FAILED};
use crate::table::Table;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Waves of a thousand sites, each with its confirmation, take minutes.
const LONG: Duration = Duration::from_secs(1800);

/// An evacuation.
#[derive(Debug)]
pub struct Evacuation {
    /// The address, or the hostname of a CNAME.
    pub address: String,
    /// For how long, and why.
    pub terms: Terms,
    /// Only say what would be done.
    pub dry_run: bool,
    /// End its pins.
    pub undo: bool,
}

impl Evacuation {
    fn body(&self) -> Value {
        json!({
            "address": self.address,
            "for": self.terms.time,
            "reason": self.terms.reason,
            "dry_run": self.dry_run,
            "undo": self.undo,
        })
    }
}

pub(super) async fn run(client: &Client, order: &Evacuation, json: bool) -> Result<Report, Fault> {
    let call = Call {
        body: Some(order.body()),
        limit: LONG,
        ..Call::new(Method::POST, &["evacuate"])
    };
    let told: Told<Evacuated> = client.ask(call).await?;
    let said = &told.said;
    Ok(Report {
        code: if said.not_moved.is_empty() {
            DONE
        } else {
            FAILED
        },
        out: if json {
            format!("{}\n", told.raw)
        } else {
            printed(said)
        },
        ..Report::default()
    })
}

/// The tables, and a last line with the counts.
fn printed(said: &Evacuated) -> String {
    let mut out = String::new();
    if !said.moved.is_empty() {
        let mut table = Table::new(&["SITE", "FROM", "TO", "RESULT"]);
        for moved in &said.moved {
            let (from, to) = (moved.from.to_string(), moved.to.to_string());
            table.row(vec![moved.site.clone(), from, to, moved.result.clone()]);
        }
        out.push_str(&table.to_string());
    }
    let released = said.released.as_deref().unwrap_or_default();
    if !released.is_empty() {
        let mut table = Table::new(&["RELEASED"]);
        for site in released {
            table.row(vec![site.clone()]);
        }
        out.push_str(&table.to_string());
    }
    if !said.not_moved.is_empty() {
        let head = if said.undo {
            "NOT RELEASED"
        } else {
            "NOT MOVED"
        };
        out.push_str(&stuck(head, &said.not_moved).to_string());
    }
    out.push_str(&counts(said, released.len()));
    out
}

fn stuck(head: &str, sites: &[NotMoved]) -> Table {
    let mut table = Table::new(&[head, "WHY"]);
    for one in sites {
        table.row(vec![one.site.clone(), one.why.clone()]);
    }
    table
}

fn counts(said: &Evacuated, released: usize) -> String {
    let (done, what) = if said.undo {
        (released, "released")
    } else {
        (said.moved.len(), "moved")
    };
    let would = if said.dry_run { " (dry run)" } else { "" };
    let not = said.not_moved.len();
    format!("{}: {done} {what}, {not} not{would}\n", said.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Value) -> String {
        printed(&serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn what_moved_and_what_could_not_stand_in_tables_and_are_counted() {
        let moved = |site: &str, result: &str| {
            json!({"site": site, "from": {"role": "main", "address": "192.0.2.10"},
                "to": {"role": "backup", "address": "198.51.100.20"}, "result": result})
        };
        let stuck = json!([{"site": "blog", "why": "the site is frozen: `originswitch unfreeze blog` first"}]);
        let answer = json!({"address": "192.0.2.10", "dry_run": false, "undo": false,
            "moved": [moved("shop", "confirmed"), moved("www", "kept")], "not_moved": stuck});
        assert_eq!(
            said(answer),
            "SITE  FROM               TO                      RESULT\n\
             shop  main (192.0.2.10)  backup (198.51.100.20)  confirmed\n\
             www   main (192.0.2.10)  backup (198.51.100.20)  kept\n\
             NOT MOVED  WHY\n\
             blog       the site is frozen: `originswitch unfreeze blog` first\n\
             192.0.2.10: 2 moved, 1 not\n"
        );
        let dry = json!({"address": "192.0.2.10", "dry_run": true, "undo": false,
            "moved": [moved("www", "dry_run")], "not_moved": []});
        assert!(said(dry).ends_with("\n192.0.2.10: 1 moved, 0 not (dry run)\n"));
        let undone = json!({"address": "192.0.2.10", "dry_run": false, "undo": true,
            "moved": [], "not_moved": [], "released": ["shop", "www"]});
        assert_eq!(
            said(undone),
            "RELEASED\nshop\nwww\n192.0.2.10: 2 released, 0 not\n"
        );
        let nothing = json!({"address": "192.0.2.10", "dry_run": false, "undo": false,
            "moved": [], "not_moved": []});
        assert_eq!(said(nothing), "192.0.2.10: 0 moved, 0 not\n");
    }
}
