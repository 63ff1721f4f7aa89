//! The calls with which people order: pins, freezes, and the brake's release.

use super::api::{NoQuery, ask, find};
use super::{App, Asked, Refusal, shown};
use crate::failover::{Request, SiteHandle, StandingOrder, StoreFault};
use crate::rule::address::Role;
use crate::rule::decision::Order;
use crate::rule::standing::{Freeze, Scope};
use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Letters of a reason.
const REASON: usize = 500;

/// The longest time that can be asked for; who wants more leaves it out.
const LONGEST: Duration = Duration::from_secs(3660 * 86_400);

/// How long a freeze waits for writes that are under way.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(45);

/// The body of a pin.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinBody {
    origin: Option<String>,
    r#for: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    force: bool,
}

/// The body of a freeze.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreezeBody {
    r#for: Option<String>,
    #[serde(default)]
    reason: String,
}

pub(super) fn bad(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

/// A body; one that is not there leaves out everything.
pub(super) fn body<T: Default + serde::de::DeserializeOwned>(
    bytes: &Bytes,
    like: &str,
) -> Result<T, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes)
        .map_err(|fault| bad(format!("the body cannot be read ({fault}): write {like}")))
}

/// When something ordered for so long ends.
pub(super) fn until(app: &App, time: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = time else { return Ok(None) };
    let time = crate::config::parse_duration(text).map_err(|why| bad(format!("for: {why}")))?;
    if time.is_zero() || time > LONGEST {
        return Err(bad(format!(
            "for: {text:?} must be longer than zero and shorter than ten years; leave it out for \"until lifted\""
        )));
    }
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    Ok(app.clock.now().checked_add(time).ok())
}

pub(super) fn reason(text: &str) -> Result<Arc<str>, Refusal> {
    let text = text.trim();
    if text.chars().count() > REASON || text.chars().any(char::is_control) {
        return Err(bad(format!(
            "reason: write one line of at most {REASON} letters"
        )));
    }
    Ok(text.into())
}

/// `PUT /api/v1/sites/{name}/pin`.
pub(super) async fn pin(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
    bytes: Bytes,
) -> Result<Json<shown::Decision>, Refusal> {
    let like = r#"{"origin":"backup","for":"2h","reason":"…"}"#;
    let wish: PinBody = body(&bytes, like)?;
    let site = find(&app, &name)?;
    let to = origin(&site, wish.origin.as_deref())?;
    let force = wish.force;
    let request = Request::Pin {
        order: Order { to, force },
        until: until(&app, wish.r#for.as_deref())?,
        reason: reason(&wish.reason)?,
    };
    ask(&app, &name, request).await
}

/// The origin that is meant: by its part or its address; where none is named,
/// the one the record holds now.
fn origin(site: &SiteHandle, named: Option<&str>) -> Result<usize, Refusal> {
    let origins = &site.site.origins;
    let roles = || {
        let roles: Vec<String> = (0..origins.len())
            .map(|index| Role::of_index(index).to_string())
            .collect();
        roles.join(", ")
    };
    let Some(named) = named else {
        let held = site.status().record.as_ref().map(|at| at.role);
        return (0..origins.len())
            .find(|&index| Some(Role::of_index(index)) == held)
            .ok_or_else(|| {
                bad(format!(
                    "the record holds no origin of the site now: name one of {}",
                    roles()
                ))
            });
    };
    (0..origins.len())
        .find(|&index| {
            Role::of_index(index)
                .to_string()
                .eq_ignore_ascii_case(named)
                || origins[index].place.to_string() == named
        })
        .ok_or_else(|| {
            bad(format!(
                "{named:?} is no origin of the site: name one of {}",
                roles()
            ))
        })
}

/// `DELETE /api/v1/sites/{name}/pin`.
pub(super) async fn unpin(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
) -> Result<Json<shown::Site>, Refusal> {
    order(&app, &name, StandingOrder::Unpin, "end of the pin").await
}

/// `PUT /api/v1/sites/{name}/freeze`.
pub(super) async fn freeze(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
    bytes: Bytes,
) -> Result<Json<shown::Site>, Refusal> {
    let freeze = read_freeze(&app, &bytes)?;
    order(&app, &name, StandingOrder::Freeze(freeze), "freeze").await
}

fn read_freeze(app: &App, bytes: &Bytes) -> Result<Freeze, Refusal> {
    let wish: FreezeBody = body(bytes, r#"{"for":"2h","reason":"…"}"#)?;
    Ok(Freeze {
        until: until(app, wish.r#for.as_deref())?,
        reason: reason(&wish.reason)?,
    })
}

/// `DELETE /api/v1/sites/{name}/freeze`.
pub(super) async fn unfreeze(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
) -> Result<Json<shown::Site>, Refusal> {
    order(&app, &name, StandingOrder::Unfreeze, "end of the freeze").await
}

/// Gives an order, and answers with the site as it then is.
async fn order(
    app: &App,
    name: &str,
    order: StandingOrder,
    what: &str,
) -> Result<Json<shown::Site>, Refusal> {
    let site = find(app, name)?;
    match tokio::time::timeout(UNDER_WAY, site.order(order)).await {
        Ok(Ok(stored)) => {
            kept(stored, what)?;
            Ok(Json(shown::Site::of(&site)))
        }
        Ok(Err(_)) => Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the site's loop has ended (shutting down, or reloaded): ask again".into(),
        )),
        Err(_) => Err(Refusal(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "the site is busy with Cloudflare and did not take the order within {UNDER_WAY:?}: look at it before you ask again"
            ),
        )),
    }
}

/// What stands for all sites.
#[derive(Serialize)]
pub(super) struct AllAnswer {
    frozen: bool,
    freeze: Option<shown::Freeze>,
}

impl AllAnswer {
    fn of(app: &App) -> Json<AllAnswer> {
        let freeze = app.guard.freeze();
        Json(AllAnswer {
            frozen: freeze.is_some(),
            freeze: freeze.map(|freeze| shown::freeze(Scope::All, &freeze)),
        })
    }
}

/// `GET /api/v1/freeze`.
pub(super) async fn frozen(app: App, _: Asked<NoQuery>) -> Json<AllAnswer> {
    AllAnswer::of(&app)
}

/// `PUT /api/v1/freeze`.
pub(super) async fn freeze_all(
    app: App,
    _: Asked<NoQuery>,
    bytes: Bytes,
) -> Result<Json<AllAnswer>, Refusal> {
    let freeze = read_freeze(&app, &bytes)?;
    let stored = app.guard.set_freeze(Some(freeze)).await;
    heeded(&app).await;
    kept(stored, "freeze")?;
    Ok(AllAnswer::of(&app))
}

/// `DELETE /api/v1/freeze`.
pub(super) async fn unfreeze_all(app: App, _: Asked<NoQuery>) -> Result<Json<AllAnswer>, Refusal> {
    let stored = app.guard.set_freeze(None).await;
    heeded(&app).await;
    kept(stored, "end of the freeze")?;
    Ok(AllAnswer::of(&app))
}

/// Waits until every site has taken in what holds over all: no write is under
/// way then that was begun before.
async fn heeded(app: &App) {
    let sites = app.sites();
    let orders = sites
        .sites
        .iter()
        .map(|site| site.order(StandingOrder::Heed));
    let all = futures_util::future::join_all(orders);
    // One that is busy for longer has sent its write long ago.
    let _ = tokio::time::timeout(UNDER_WAY, all).await;
}

/// An order that holds, but is forgotten with the process, is no success.
fn kept(stored: Result<(), StoreFault>, what: &str) -> Result<(), Refusal> {
    stored.map_err(|fault| {
        let text = format!(
            "the {what} holds, but would not survive a restart: {fault}: mend the state file and ask again"
        );
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

/// The answer to the brake's release.
#[derive(Serialize)]
pub(super) struct ReleaseAnswer {
    released: Vec<String>,
}

/// `POST /api/v1/brake/release`.
pub(super) async fn release_brake(
    app: App,
    _: Asked<NoQuery>,
) -> Result<Json<ReleaseAnswer>, Refusal> {
    let (held, stored) = app.guard.release().await;
    let sites = app.sites();
    for name in &held {
        if let Some(site) = sites.get(name) {
            // Nobody waits: the site's next decision tells.
            drop(site.ask(Request::Evaluate { dry_run: false }));
        }
    }
    kept(stored, "release")?;
    let released = held.iter().map(ToString::to_string).collect();
    Ok(Json(ReleaseAnswer { released }))
}
