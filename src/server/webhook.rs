//! Taking alerts: answered first, acted upon after.

use super::access::{challenge, may_administrate, may_post};
use super::{App, Asked, BODY_UNIT, Refusal, duration, shown};
use crate::alertmanager::{self, Alert, Meaning, Webhook};
use crate::failover::SiteHandle;
use crate::rule::alerts::AlertStatus;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// A body that has not come by then is given up.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What is read of a body that is too large, so that its sender hears why.
const SWALLOWED: usize = 64 * 1024 * 1024;

/// The longest `?wait=`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Bodies larger than this are parsed off the threads that probe.
const PARSE_ASIDE: usize = 256 * 1024;

/// How often alerts of no site are logged.
const UNMATCHED_AGAIN: Duration = Duration::from_secs(60);

/// The query of a webhook.
#[derive(Deserialize)]
pub(super) struct Wait {
    wait: Option<String>,
}

/// Alerts of no site, counted and now and then logged.
#[derive(Default)]
pub(super) struct Unmatched(Mutex<(u64, Option<Instant>)>);

impl Unmatched {
    fn add(&self, alerts: usize, example: Option<&Alert>) {
        if alerts == 0 {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += alerts as u64;
        if state.1.is_none_or(|last| last.elapsed() >= UNMATCHED_AGAIN) {
            let labels = example.map(|alert| &alert.labels);
            info!(
                alerts = state.0,
                ?labels,
                "{} alerts belong to no site: set the label named by alerts.site_label, or matchers",
                state.0
            );
            *state = (0, Some(Instant::now()));
        }
    }
}

/// Refused webhooks: alerts that nobody hears of unless it is said.
#[derive(Default)]
pub(super) struct Refused(Mutex<Option<Instant>>);

impl Refused {
    /// Says it, aloud once a minute at most.
    fn note(&self, peer: SocketAddr, refusal: &Refusal) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, why) = (refusal.0.as_u16(), &refusal.1);
        if last.is_none_or(|last| last.elapsed() >= UNMATCHED_AGAIN) {
            *last = Some(Instant::now());
            warn!(%peer, status, "a webhook is refused with {status}: {why}");
        } else {
            debug!(%peer, status, "a webhook is refused with {status}: {why}");
        }
    }
}

/// Counts every answer of the webhook by its status.
pub(super) async fn count(app: App, request: Request, next: Next) -> Response {
    let hook = matches!(request.uri().path(), "/webhook" | "/webhook/");
    let response = next.run(request).await;
    if hook {
        app.metrics.webhook(response.status().as_u16());
    }
    response
}

/// `POST /webhook`.
pub(super) async fn take(
    app: App,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    query: Result<Asked<Wait>, Refusal>,
    request: Request,
) -> Response {
    match taken(&app, peer, query, request).await {
        Ok(response) => response,
        Err(refusal) => {
            app.refused.note(peer, &refusal);
            challenge(refusal)
        }
    }
}

async fn taken(
    app: &App,
    peer: SocketAddr,
    query: Result<Asked<Wait>, Refusal>,
    request: Request,
) -> Result<Response, Refusal> {
    let settings = app.settings.borrow().clone();
    let (parts, body) = request.into_parts();
    may_post(
        settings.webhook_token.as_ref(),
        settings.admin_token.as_ref(),
        &parts.headers,
    )?;
    let wait = match query?.0.wait {
        None => None,
        Some(text) => {
            may_administrate(settings.admin_token.as_ref(), peer, &parts.headers).map_err(
                |no| {
                    Refusal(
                        StatusCode::FORBIDDEN,
                        format!("wait is for callers of the API: {}", no.1),
                    )
                },
            )?;
            Some(duration(&text, LONGEST_WAIT)?)
        }
    };
    if app.draining.is_cancelled() {
        let text = "originswitch is shutting down: send it again";
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text.into()));
    }
    let body = whole_body(app, body, settings.max_body).await?;
    let webhook = parsed(body).await?;
    let reached = hand_out(app, webhook);
    Ok(answer(reached, wait).await)
}

/// Reads the body, within its limits of size, time and memory.
async fn whole_body(app: &App, body: Body, max: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME, collect(app, body, max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(NotTaken::TooLarge)) => Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {max} bytes: group alerts by site (group_by), or raise server.max_body"
            ),
        )),
        Ok(Err(NotTaken::NoRoom)) => Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many webhooks at once: send it again".into(),
        )),
        Ok(Err(NotTaken::Broken(error))) => Err(Refusal(
            StatusCode::BAD_REQUEST,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(Refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {BODY_TIME:?}"),
        )),
    }
}

/// Why a body was not taken.
enum NotTaken {
    TooLarge,
    NoRoom,
    Broken(axum::Error),
}

/// The body. Room is taken as it comes, so that one who only promises a large
/// one holds nothing up; the rest of one that is too large is swallowed: a
/// sender that still writes would not read the answer.
async fn collect(app: &App, mut body: Body, max: usize) -> Result<Bytes, NotTaken> {
    let mut kept = BytesMut::new();
    let (mut seen, mut units) = (0usize, 0usize);
    let mut room = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(NotTaken::Broken)?.into_data() else {
            continue;
        };
        seen += data.len();
        if seen > SWALLOWED.max(max) {
            break;
        }
        if seen > max {
            kept = BytesMut::new();
            room.clear();
            continue;
        }
        let more = seen.div_ceil(BODY_UNIT) - units;
        let more_units = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = app.bodies.try_acquire_many(more_units);
        room.push(taken.map_err(|_| NotTaken::NoRoom)?);
        units += more;
        kept.extend_from_slice(&data);
    }
    if seen > max {
        return Err(NotTaken::TooLarge);
    }
    Ok(kept.freeze())
}

async fn parsed(body: Bytes) -> Result<Webhook, Refusal> {
    let outcome = if body.len() > PARSE_ASIDE {
        tokio::task::spawn_blocking(move || alertmanager::parse(&body)).await
    } else {
        Ok(alertmanager::parse(&body))
    };
    match outcome {
        Ok(Ok(webhook)) => Ok(webhook),
        Ok(Err(fault)) => Err(Refusal(StatusCode::BAD_REQUEST, fault.to_string())),
        Err(_) => Err(Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the body could not be parsed: see the log".into(),
        )),
    }
}

/// What a webhook reached.
struct Reached {
    sites: Vec<(Arc<SiteHandle>, usize)>,
    unmatched: usize,
}

/// Gives every alert to its sites.
fn hand_out(app: &App, webhook: Webhook) -> Reached {
    let sites = app.sites();
    let received = (app.clock.moment(), app.clock.now());
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut unmatched = webhook.bad;
    let (mut example, mut about_us) = (None, 0);
    let watchdogs = sites.watchdog.take(&webhook.alerts);
    for (alert, watchdog) in webhook.alerts.iter().zip(watchdogs) {
        let reached = sites.directory.sites_of(alert);
        if reached.is_empty() && !watchdog {
            unmatched += 1;
            if alert.is_about_us() {
                // Nothing is wrong with its labels.
                about_us += 1;
            } else {
                example = Some(alert);
            }
        }
        let status = match alert.meaning {
            Meaning::Firing | Meaning::Resolved => Some(alert.status),
            Meaning::LookOnly => None,
        };
        for index in reached {
            *counts.entry(index).or_default() += 1;
            sites.sites[index].alert(alert.identity, status, alert.starts_at, received);
        }
    }
    if webhook.bad > 0 || webhook.truncated > 0 {
        info!(
            bad = webhook.bad,
            truncated = webhook.truncated,
            "a webhook was incomplete: {} alerts are not readable, {} were left out by the sender (max_alerts)",
            webhook.bad,
            webhook.truncated
        );
    }
    let firing = webhook
        .alerts
        .iter()
        .filter(|alert| alert.status == AlertStatus::Firing)
        .count();
    let resolved = webhook.alerts.len() - firing;
    app.metrics.alerts(firing, resolved, unmatched, received.1);
    app.unmatched.add(unmatched - about_us, example);
    let sites = counts
        .into_iter()
        .map(|(index, alerts)| (sites.sites[index].clone(), alerts))
        .collect();
    Reached { sites, unmatched }
}

/// What is answered.
#[derive(Serialize)]
struct Answer {
    accepted: Vec<Accepted>,
    unmatched: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<shown::Decision>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Accepted {
    site: String,
    alerts: usize,
}

/// The answer, at once or when the sites have been decided.
async fn answer(reached: Reached, wait: Option<Duration>) -> Response {
    let accepted = reached.sites.iter().map(|(handle, alerts)| Accepted {
        site: handle.site.name.to_string(),
        alerts: *alerts,
    });
    let mut answer = Answer {
        accepted: accepted.collect(),
        unmatched: reached.unmatched,
        decisions: None,
        pending: None,
    };
    if let Some(wait) = wait {
        let (decisions, pending) = decided(&reached.sites, Instant::now() + wait).await;
        answer.decisions = Some(decisions);
        answer.pending = Some(pending);
    }
    axum::Json(answer).into_response()
}

/// The decisions that come until then, and the sites without one.
async fn decided(
    sites: &[(Arc<SiteHandle>, usize)],
    until: Instant,
) -> (Vec<shown::Decision>, Vec<String>) {
    let asked: Vec<_> = sites
        .iter()
        .map(|(handle, _)| {
            (
                &handle.site.name,
                handle.ask(crate::failover::Request::Decision),
            )
        })
        .collect();
    let (mut decisions, mut pending) = (Vec::new(), Vec::new());
    for (name, answer) in asked {
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(Ok(decision))) => decisions.push(shown::Decision::of(&decision)),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => pending.push(name.to_string()),
        }
    }
    (decisions, pending)
}
