//! What people order, for single sites or for all.

use super::answers::{All, Decision, Released, Site};
use super::client::{Call, Client, Fault, Told};
use super::outcome::{followed, let_go, stands};
use super::{Report, list};
use crate::ending::DONE;
use crate::table::printable;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Calls under way at once.
const TOGETHER: usize = 16;

/// For how long, and why.
#[derive(Debug, Default)]
pub struct Terms {
    /// A duration such as `2h`; until it is lifted, if there is none.
    pub time: Option<String>,
    /// What the person says.
    pub reason: Option<String>,
}

/// An order.
#[derive(Debug)]
pub enum Order {
    /// Let an origin play MAIN's part, and move there.
    Pin {
        /// Its part or its address; where the site is, if none is named.
        origin: Option<String>,
        /// For how long, and why.
        terms: Terms,
        /// Also if it is not up.
        force: bool,
    },
    /// End that.
    Unpin,
    /// Let nothing be written.
    Freeze(Terms),
    /// End that.
    Unfreeze,
    /// Count the origins as proven.
    Trust,
    /// Drop what holds; of all sites, the brake.
    Release,
    /// Go back to MAIN.
    Failback,
}

impl Order {
    fn call(&self) -> (Method, &'static str) {
        match self {
            Order::Pin { .. } => (Method::PUT, "pin"),
            Order::Unpin => (Method::DELETE, "pin"),
            Order::Freeze(_) => (Method::PUT, "freeze"),
            Order::Unfreeze => (Method::DELETE, "freeze"),
            Order::Trust => (Method::POST, "trust"),
            Order::Release => (Method::POST, "release"),
            Order::Failback => (Method::POST, "failback"),
        }
    }

    fn body(&self) -> Option<Value> {
        match self {
            Order::Pin {
                origin,
                terms,
                force,
            } => Some(json!({
                "origin": origin,
                "for": terms.time,
                "reason": terms.reason.as_deref().unwrap_or_default(),
                "force": force,
            })),
            Order::Freeze(terms) => Some(json!({
                "for": terms.time,
                "reason": terms.reason.as_deref().unwrap_or_default(),
            })),
            _ => None,
        }
    }

    /// What several answers are listed as: sites, or the decisions that the
    /// order led to.
    fn answers(&self) -> &'static str {
        match self {
            Order::Unpin | Order::Freeze(_) | Order::Unfreeze => "sites",
            Order::Pin { .. } | Order::Trust | Order::Release | Order::Failback => "decisions",
        }
    }
}

/// What is so of one site after an order.
struct Outcome {
    raw: Box<RawValue>,
    lines: String,
    code: u8,
}

/// The order for all sites together.
pub(super) async fn over_all(client: &Client, order: Order, json: bool) -> Result<Report, Fault> {
    let (method, path) = order.call();
    let (raw, lines) = if matches!(order, Order::Release) {
        let call = Call::new(method, &["brake", "release"]);
        let told: Told<Released> = client.ask(call).await?;
        (told.raw, let_go(&told.said.released))
    } else {
        let path = [path];
        let call = Call {
            body: order.body(),
            ..Call::new(method, &path)
        };
        let told: Told<All> = client.ask(call).await?;
        let freeze = told.said.freeze;
        let so = freeze.map_or_else(|| "not frozen".into(), |freeze| freeze.to_string());
        (told.raw, format!("all sites: {so}\n"))
    };
    Ok(Report::of(if json { format!("{raw}\n") } else { lines }))
}

/// The order for each of these sites.
pub(super) async fn over_sites(
    client: &Client,
    order: &Order,
    sites: &[String],
    json: bool,
) -> Result<Report, Fault> {
    let several = sites.len() > 1;
    if several {
        // A name that is mistyped must not leave half of it done.
        for site in sites {
            let _: Told<IgnoredAny> = client.ask(Call::get(&["sites", site])).await?;
        }
    }
    let mut report = Report::default();
    let mut answers = Vec::new();
    for sites in sites.chunks(TOGETHER) {
        let outcomes = sites.iter().map(|site| give(client, order, site));
        let outcomes = futures_util::future::join_all(outcomes).await;
        for (site, outcome) in sites.iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => {
                    report.code = report.code.max(outcome.code);
                    report.out.push_str(&outcome.lines);
                    answers.push(outcome.raw);
                }
                Err(mut fault) => {
                    if several {
                        fault.text = format!("{site}: {}", fault.text);
                    }
                    report.code = report.code.max(fault.code);
                    report.faults.push(fault);
                }
            }
        }
    }
    if json {
        report.out = match (order, &*answers) {
            (Order::Pin { .. }, [decision]) => format!("{decision}\n"),
            (Order::Pin { .. }, _) => String::new(),
            _ => format!("{{\"{}\":{}}}\n", order.answers(), list(&answers)),
        };
    }
    Ok(report)
}

async fn give(client: &Client, order: &Order, site: &str) -> Result<Outcome, Fault> {
    let (method, end) = order.call();
    let path = ["sites", site, end];
    let call = Call {
        body: order.body(),
        ..Call::new(method, &path)
    };
    if order.answers() == "sites" {
        let told: Told<Site> = client.ask(call).await?;
        let line = printable(&stands(order, &told.said));
        return Ok(Outcome {
            raw: told.raw,
            lines: format!("{site}: {line}\n"),
            code: DONE,
        });
    }
    let told: Told<Decision> = client.ask(call).await?;
    let (line, code) = followed(order, &told.said);
    let mut lines = format!("{site}: {}\n", printable(&line));
    if code != DONE || told.said.action == "hold" {
        lines.push_str(&format!("  {}\n", printable(&told.said.explanation)));
    }
    Ok(Outcome {
        raw: told.raw,
        lines,
        code,
    })
}
