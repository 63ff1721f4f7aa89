//! Giving up an address: every site whose record holds it goes to its best
//! other origin that is up, pinned there until that is undone.
//!
//! | file | holds |
//! | --- | --- |
//! | `plan` | who goes where, and who cannot: pure |
//! | `carry` | pins in waves, and their end |

mod carry;
mod plan;

use super::api::NoQuery;
use super::orders::{bad, body, reason, until};
use super::{App, Asked, Refusal, Shared, shown};
use crate::config::parse_address;
use crate::rule::address::Address;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use carry::{Done, Terms};
use plan::{Plan, Stuck};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// The body of an evacuation.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    address: Option<String>,
    r#for: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    undo: bool,
}

/// The answer to it.
#[derive(Serialize)]
pub(super) struct Answer {
    address: String,
    dry_run: bool,
    undo: bool,
    moved: Vec<Moved>,
    not_moved: Vec<NotMoved>,
    /// The sites whose pins were ended, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Moved {
    site: String,
    from: shown::Pointer,
    to: shown::Pointer,
    result: &'static str,
}

#[derive(Serialize)]
struct NotMoved {
    site: String,
    why: String,
}

/// The addresses that are being evacuated.
#[derive(Default)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<Address>>>);

/// One of them, until this goes.
struct Lock {
    all: Arc<Mutex<HashSet<Address>>>,
    address: Address,
}

fn locked(all: &Mutex<HashSet<Address>>) -> MutexGuard<'_, HashSet<Address>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnderWay {
    /// `None` if the address is being evacuated already.
    fn begin(&self, address: &Address) -> Option<Lock> {
        let all = self.0.clone();
        let address = address.clone();
        locked(&all).insert(address.clone()).then(|| Lock {
            address,
            all: all.clone(),
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.address);
    }
}

/// What is asked for.
struct Order {
    address: Address,
    terms: Terms,
    dry_run: bool,
    undo: bool,
}

/// `POST /api/v1/evacuate`.
pub(super) async fn evacuate(
    app: App,
    _: Asked<NoQuery>,
    bytes: Bytes,
) -> Result<Json<Answer>, Refusal> {
    let order = read(&app, &bytes)?;
    let known = carry::look(&app.sites(), |seen| plan::is_known(&order.address, seen));
    if !known {
        let address = &order.address;
        let text = format!("no site has an origin at {address}: /api/v1/sites lists them");
        return Err(Refusal(StatusCode::NOT_FOUND, text));
    }
    if order.dry_run {
        return Ok(Json(would(&app, &order)));
    }
    let Some(lock) = app.evacuations.begin(&order.address) else {
        let address = &order.address;
        let text = format!("an evacuation of {address} is under way: ask again when it has ended");
        return Err(Refusal(StatusCode::CONFLICT, text));
    };
    // It runs to its end also if the caller does not wait for that.
    let shared = app.0.clone();
    let work = tokio::spawn(async move {
        let answer = carried(&shared, &order).await;
        drop(lock);
        answer
    });
    work.await.map(Json).map_err(|_| {
        let text = "the evacuation broke off: see the log, and ask again";
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, text.into())
    })
}

fn read(app: &App, bytes: &Bytes) -> Result<Order, Refusal> {
    let wish: Body = body(
        bytes,
        r#"{"address":"192.0.2.10","for":"2h","reason":"…","dry_run":false,"undo":false}"#,
    )?;
    let named = wish.address.as_deref().unwrap_or_default().trim();
    if named.is_empty() {
        return Err(bad(
            r#"address: name the origin to leave, such as {"address":"192.0.2.10"}"#,
        ));
    }
    let address = parse_address(named).map_err(|why| bad(format!("address: {why}")))?;
    if wish.undo && (wish.r#for.is_some() || wish.reason.is_some()) {
        return Err(bad(
            "undo ends pins, and so takes neither for nor reason: leave them out",
        ));
    }
    let said = reason(wish.reason.as_deref().unwrap_or_default())?;
    Ok(Order {
        terms: Terms {
            until: until(app, wish.r#for.as_deref())?,
            reason: plan::reason(&address, &said),
        },
        address,
        dry_run: wish.dry_run,
        undo: wish.undo,
    })
}

/// What would be done.
fn would(shared: &Shared, order: &Order) -> Answer {
    let sites = shared.sites();
    if order.undo {
        let released = carry::look(&sites, |seen| plan::pinned(&order.address, seen));
        return Answer::undone(order, released, Vec::new());
    }
    let Plan { moves, stuck } = carry::look(&sites, |seen| plan::plan(&order.address, seen));
    let moved = moves.into_iter().map(|to| (to, "dry_run")).collect();
    Answer::done(order, Done { moved, stuck })
}

/// Does it.
async fn carried(shared: &Shared, order: &Order) -> Answer {
    let address = &order.address;
    if order.undo {
        let (released, stuck) = carry::back(shared, address).await;
        info!(
            sites = released.len(),
            "the evacuation of {address} is undone, by hand"
        );
        return Answer::undone(order, released, stuck);
    }
    let plan = carry::look(&shared.sites(), |seen| plan::plan(address, seen));
    warn!(sites = plan.moves.len(), "{address} is evacuated, by hand");
    let done = carry::out(shared, plan, &order.terms).await;
    info!(
        moved = done.moved.len(),
        not_moved = done.stuck.len(),
        "the evacuation of {address} has ended"
    );
    Answer::done(order, done)
}

impl Answer {
    fn of(order: &Order, stuck: Vec<Stuck>) -> Answer {
        let not_moved = stuck.into_iter().map(|stuck| NotMoved {
            site: stuck.site.to_string(),
            why: stuck.why,
        });
        Answer {
            address: order.address.to_string(),
            dry_run: order.dry_run,
            undo: order.undo,
            moved: Vec::new(),
            not_moved: not_moved.collect(),
            released: None,
        }
    }

    fn done(order: &Order, done: Done) -> Answer {
        let moved = done.moved.iter().map(|(to, result)| Moved {
            site: to.site.to_string(),
            from: shown::pointer(&to.from),
            to: shown::pointer(&to.to),
            result,
        });
        let moved = moved.collect();
        Answer {
            moved,
            ..Answer::of(order, done.stuck)
        }
    }

    fn undone(order: &Order, released: Vec<Arc<str>>, stuck: Vec<Stuck>) -> Answer {
        let released = released.iter().map(ToString::to_string).collect();
        Answer {
            released: Some(released),
            ..Answer::of(order, stuck)
        }
    }
}
