//! Carrying an evacuation out: pins in waves, for each target on its own.

use super::plan::{self, Move, Plan, Seen, Stuck};
use crate::failover::{Request, SiteHandle, StandingOrder};
use crate::rule::address::Address;
use crate::rule::decision::{Action, Decision, NOT_UP, Order, SwitchResult};
use crate::server::api::DECISION_WAIT;
use crate::server::orders::UNDER_WAY;
use crate::server::{Shared, Sites};
use futures_util::future::join_all;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sites of each wave where `guard.wave` names none.
const WAVES: [usize; 2] = [10, 50];

/// The terms of the pins.
pub(super) struct Terms {
    pub(super) until: Option<Timestamp>,
    pub(super) reason: Arc<str>,
}

/// What became of an evacuation, in the order of names.
#[derive(Default)]
pub(super) struct Done {
    /// With the result of each.
    pub(super) moved: Vec<(Move, &'static str)>,
    pub(super) stuck: Vec<Stuck>,
}

/// What became of one site.
enum Ended {
    Moved(&'static str),
    /// Its target was not up, and so nothing was done.
    NotUp(String),
    Stuck(String),
}

/// Plans with the sites in force.
pub(super) fn look<T>(sites: &Sites, with: impl FnOnce(Vec<Seen<'_>>) -> T) -> T {
    let statuses: Vec<_> = sites.sites.iter().map(|site| site.status()).collect();
    let seen = sites.sites.iter().zip(&statuses);
    with(seen.map(|(site, status)| Seen::of(site, status)).collect())
}

/// Carries out a plan: all targets at once, each in waves.
pub(super) async fn out(shared: &Shared, plan: Plan, terms: &Terms) -> Done {
    let mut targets: BTreeMap<Arc<str>, Vec<Move>> = BTreeMap::new();
    for to in plan.moves {
        targets.entry(to.to.address.clone()).or_default().push(to);
    }
    let all = targets.into_values();
    let done = join_all(all.map(|moves| to_one(shared, moves, terms))).await;
    let mut all = Done {
        stuck: plan.stuck,
        ..Done::default()
    };
    for done in done {
        all.moved.extend(done.moved);
        all.stuck.extend(done.stuck);
    }
    all.moved.sort_by(|(a, _), (b, _)| a.site.cmp(&b.site));
    all.stuck.sort_by(|a, b| a.site.cmp(&b.site));
    all
}

/// Moves sites to one target, wave after wave, while it answers.
async fn to_one(shared: &Shared, mut rest: Vec<Move>, terms: &Terms) -> Done {
    let mut done = Done::default();
    let mut sizes = match shared.guard.wave_sizes() {
        none if none.is_empty() => WAVES.into(),
        sizes => sizes,
    }
    .into_iter();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).min(rest.len());
        let wave: Vec<Move> = rest.drain(..size).collect();
        let ends = join_all(wave.iter().map(|to| pin(shared, to, terms))).await;
        let dead = ends.iter().filter(|end| matches!(end, Ended::NotUp(_)));
        let dead = dead.count();
        for (to, end) in wave.into_iter().zip(ends) {
            done.take(to, end);
        }
        let why = if dead * 2 > size {
            "the target stopped answering"
        } else if shared.draining.is_cancelled() {
            "originswitch is shutting down: ask again"
        } else {
            continue;
        };
        for to in rest.drain(..) {
            done.take(to, Ended::Stuck(why.into()));
        }
    }
    done
}

impl Done {
    fn take(&mut self, to: Move, end: Ended) {
        match end {
            Ended::Moved(result) => self.moved.push((to, result)),
            Ended::NotUp(why) | Ended::Stuck(why) => self.stuck.push(Stuck { site: to.site, why }),
        }
    }
}

/// Pins one site to where it is to go.
async fn pin(shared: &Shared, to: &Move, terms: &Terms) -> Ended {
    let sites = shared.sites();
    let Some((site, index)) = sites.get(&to.site).and_then(|site| find(site, to)) else {
        return Ended::Stuck("it was reconfigured meanwhile: ask again".into());
    };
    let status = site.status();
    if let Some(why) = Seen::of(site, &status).stopped() {
        // Waves take their time, and people go on meanwhile.
        return Ended::Stuck(why);
    }
    let answer = site.ask(Request::Pin {
        order: Order {
            to: index,
            force: false,
        },
        until: terms.until,
        reason: terms.reason.clone(),
    });
    match tokio::time::timeout(DECISION_WAIT, answer).await {
        Ok(Ok(Ok(decision))) => ended(&decision),
        Ok(Ok(Err(why))) if why.ends_with(NOT_UP) => Ended::NotUp(why),
        Ok(Ok(Err(why))) => Ended::Stuck(why),
        Ok(Err(_)) => {
            Ended::Stuck("its loop has ended (shutting down, or reloaded): ask again".into())
        }
        Err(_) => Ended::Stuck(format!(
            "there is no decision within {DECISION_WAIT:?}: see `originswitch status {}`",
            to.site
        )),
    }
}

/// The site's origin that is meant, as it is configured now.
fn find<'a>(site: &'a Arc<SiteHandle>, to: &Move) -> Option<(&'a Arc<SiteHandle>, usize)> {
    let mut origins = site.site.origins.iter();
    let index = origins.position(|origin| origin.place.to_string() == *to.to.address)?;
    Some((site, index))
}

/// What the decision that a pin led to comes to.
fn ended(decision: &Decision) -> Ended {
    match (decision.action(), decision.result) {
        (Action::Switch, Some(SwitchResult::Confirmed)) => {
            Ended::Moved(SwitchResult::Confirmed.as_str())
        }
        // It was there before the pin was.
        (Action::Keep, _) => Ended::Moved("kept"),
        _ => Ended::Stuck(format!(
            "pinned, but not moved yet: {}",
            decision.explanation
        )),
    }
}

/// Ends the pins of the evacuation of an address; returns the sites that were
/// released, and those whose release is not sure to last.
pub(super) async fn back(shared: &Shared, address: &Address) -> (Vec<Arc<str>>, Vec<Stuck>) {
    let sites = shared.sites();
    let names = look(&sites, |seen| plan::pinned(address, seen));
    let ends = names.iter().map(|name| unpin(sites.get(name)));
    let ends = join_all(ends).await;
    let (mut released, mut stuck) = (Vec::new(), Vec::new());
    for (site, end) in names.into_iter().zip(ends) {
        match end {
            Ok(()) => released.push(site),
            Err(why) => stuck.push(Stuck { site, why }),
        }
    }
    (released, stuck)
}

async fn unpin(site: Option<&Arc<SiteHandle>>) -> Result<(), String> {
    let ended = || "its loop has ended (shutting down, or reloaded): ask again".to_owned();
    let order = site.ok_or_else(ended)?.order(StandingOrder::Unpin);
    match tokio::time::timeout(UNDER_WAY, order).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(fault))) => Err(format!(
            "released, but a restart would not remember it: {fault}: mend the state file and ask again"
        )),
        Ok(Err(_)) => Err(ended()),
        Err(_) => Err(format!(
            "it is busy with Cloudflare and did not take the order within {UNDER_WAY:?}: ask again"
        )),
    }
}
