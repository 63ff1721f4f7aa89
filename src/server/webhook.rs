//! Taking alerts: answered first, acted upon after.

use super::access::{challenge, may_administrate, may_post};
use super::{App, Asked, BODY_UNIT, Refusal, Shared, Sites, duration, shown};
use crate::alertmanager::{self, Alert, BodyFault, Meaning};
use crate::failover::{Request, SiteHandle, Word};
use crate::rule::Moment;
use crate::rule::alerts::AlertStatus;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// A body that has not come by then is given up.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What is read of a body that is too large, so that its sender hears why.
const SWALLOWED: usize = 64 * 1024 * 1024;

/// The longest `?wait=`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Bodies larger than this are heard off the threads that probe.
const PARSE_ASIDE: usize = 256 * 1024;

/// Alerts of a large body that are in memory at once.
const BATCH: usize = 256;

/// Sites that are matched before they are told, so that the alerts of one site
/// are told together and an alert of every site takes no memory.
const HITS: usize = 64 * 1024;

/// The only refusal that asks for another try.
const TOO_MANY: &str = "too many webhooks at once: send it again";

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
    fn add(&self, alerts: usize, example: Option<&Alert<'_>>) {
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
pub(super) async fn count(app: App, request: axum::extract::Request, next: Next) -> Response {
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
    request: axum::extract::Request,
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
    request: axum::extract::Request,
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
    let reached = heard(app, body).await?;
    Ok(answer(&reached, wait).await)
}

/// A body, and the room that it takes.
struct Whole {
    body: Bytes,
    /// Given back when the alerts of the body have been handed over.
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads the body, within its limits of size, time and memory.
async fn whole_body(app: &App, body: Body, max: usize) -> Result<Whole, Refusal> {
    match tokio::time::timeout(BODY_TIME, collect(app, body, max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(NotTaken::TooLarge)) => Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {max} bytes: group alerts by site (group_by), or raise server.max_body"
            ),
        )),
        Ok(Err(NotTaken::NoRoom)) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY.into())),
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
async fn collect(app: &App, mut body: Body, max: usize) -> Result<Whole, NotTaken> {
    let promised = hyper::body::Body::size_hint(&body).lower();
    let promised = usize::try_from(promised).unwrap_or(usize::MAX);
    let mut kept = BytesMut::with_capacity(promised.min(BODY_UNIT));
    let (mut seen, mut units) = (0usize, 0usize);
    let mut room: Option<OwnedSemaphorePermit> = None;
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
            room = None;
            continue;
        }
        let more = seen.div_ceil(BODY_UNIT) - units;
        let more_units = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = app.bodies.clone().try_acquire_many_owned(more_units);
        let taken = taken.map_err(|_| NotTaken::NoRoom)?;
        match &mut room {
            Some(room) => room.merge(taken),
            None => room = Some(taken),
        }
        units += more;
        if kept.len() + data.len() > kept.capacity() && kept.len() >= PARSE_ASIDE {
            // Once, and not doubled with a copy each time; what is not written
            // to takes no memory.
            kept.reserve(max.min(SWALLOWED).saturating_sub(kept.len()));
        }
        kept.extend_from_slice(&data);
    }
    if seen > max {
        return Err(NotTaken::TooLarge);
    }
    Ok(Whole {
        body: kept.freeze(),
        _room: room,
    })
}

/// Gives the alerts of a body to their sites; those of a large one, and what
/// they wake, off the threads that probe.
async fn heard(app: &App, whole: Whole) -> Result<Reached, Refusal> {
    if whole.body.len() <= PARSE_ASIDE {
        return hear(app, &whole.body);
    }
    let Ok(place) = app.aside.clone().try_acquire_owned() else {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY.into()));
    };
    let shared = app.0.clone();
    let hearing = tokio::task::spawn_blocking(move || {
        let _place = place;
        hear_large(&shared, &whole.body)
    });
    hearing.await.unwrap_or_else(|_| {
        Err(Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the body could not be parsed: see the log".into(),
        ))
    })
}

/// Hears a body at a sitting: what is read of it is a few megabytes at most, and
/// gone before its thread reads another one.
fn hear(app: &Shared, body: &[u8]) -> Result<Reached, Refusal> {
    let webhook = alertmanager::parse(body).map_err(no_webhook)?;
    let mut hearing = Hearing::new(app);
    hearing.take(&webhook.alerts);
    hearing.bad = webhook.bad;
    Ok(hearing.end(webhook.truncated))
}

/// Hears a body alert by alert, after a look at the whole: beside the body,
/// which has its room, there is never more in memory than one batch.
fn hear_large(app: &Shared, body: &[u8]) -> Result<Reached, Refusal> {
    let unread = alertmanager::Unread::of(body).map_err(no_webhook)?;
    let mut hearing = Hearing::new(app);
    let mut batch = Vec::with_capacity(BATCH);
    unread.each(|alert| {
        match alert {
            Some(alert) => batch.push(alert),
            None => hearing.bad += 1,
        }
        if batch.len() == BATCH {
            hearing.take(&batch);
            batch.clear();
        }
    });
    hearing.take(&batch);
    Ok(hearing.end(unread.truncated))
}

fn no_webhook(fault: BodyFault) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, fault.to_string())
}

/// What a webhook reached.
struct Reached {
    sites: Arc<Sites>,
    /// How many alerts each site got, by its index.
    alerts: BTreeMap<usize, usize>,
    unmatched: usize,
}

/// One webhook, while its alerts are given to their sites.
struct Hearing<'a> {
    app: &'a Shared,
    received: (Moment, Timestamp),
    reached: Reached,
    /// Sites with the place of the alert that is theirs, not handed over yet.
    hits: Vec<(usize, usize)>,
    bad: usize,
    firing: usize,
    resolved: usize,
}

impl<'a> Hearing<'a> {
    fn new(app: &'a Shared) -> Hearing<'a> {
        Hearing {
            app,
            received: (app.clock.moment(), app.clock.now()),
            reached: Reached {
                sites: app.sites(),
                alerts: BTreeMap::new(),
                unmatched: 0,
            },
            hits: Vec::new(),
            bad: 0,
            firing: 0,
            resolved: 0,
        }
    }

    /// Gives alerts to their sites.
    fn take(&mut self, alerts: &[Alert<'_>]) {
        let watchdogs = self.reached.sites.watchdog.take(alerts);
        let (mut strangers, mut example) = (0, None);
        for (place, (alert, watchdog)) in alerts.iter().zip(watchdogs).enumerate() {
            match alert.status {
                AlertStatus::Firing => self.firing += 1,
                AlertStatus::Resolved => self.resolved += 1,
            }
            let sites = self.reached.sites.directory.sites_of(alert);
            if sites.is_empty() && !watchdog {
                self.reached.unmatched += 1;
                if !alert.is_about_us() {
                    // Of ours, nothing is wrong with the labels.
                    strangers += 1;
                    example = Some(alert);
                }
            }
            self.hits
                .extend(sites.into_iter().map(|site| (site, place)));
            if self.hits.len() > HITS {
                self.hand_over(alerts);
            }
        }
        self.hand_over(alerts);
        self.app.unmatched.add(strangers, example);
    }

    /// Each site gets its alerts together: it is locked, and woken, once.
    fn hand_over(&mut self, alerts: &[Alert<'_>]) {
        self.hits.sort_unstable();
        for hits in self.hits.chunk_by(|(one, _), (other, _)| one == other) {
            let site = hits[0].0;
            *self.reached.alerts.entry(site).or_default() += hits.len();
            let words = hits.iter().map(|&(_, place)| word(&alerts[place]));
            self.reached.sites.sites[site].alerts(words, self.received);
        }
        self.hits.clear();
    }

    /// All alerts were given out; so many were left out by the sender.
    fn end(mut self, truncated: u64) -> Reached {
        if self.bad > 0 || truncated > 0 {
            info!(
                bad = self.bad,
                truncated,
                "a webhook was incomplete: {} alerts are not readable, {truncated} were left out by the sender (max_alerts)",
                self.bad,
            );
        }
        self.reached.unmatched += self.bad;
        self.app.unmatched.add(self.bad, None);
        self.app.metrics.alerts(
            self.firing,
            self.resolved,
            self.reached.unmatched,
            self.received.1,
        );
        self.reached
    }
}

/// What an alert tells a site.
fn word(alert: &Alert<'_>) -> Word {
    let says_so = alert.meaning != Meaning::LookOnly;
    Word {
        identity: alert.identity,
        status: says_so.then_some(alert.status),
        starts_at: alert.starts_at,
    }
}

/// What is answered.
#[derive(Serialize)]
struct Answer<'a> {
    accepted: Vec<Accepted<'a>>,
    unmatched: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<shown::Decision>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Accepted<'a> {
    site: &'a str,
    alerts: usize,
}

/// The answer, at once or when the sites have been decided.
async fn answer(reached: &Reached, wait: Option<Duration>) -> Response {
    let sites = &reached.sites.sites;
    let accepted = reached.alerts.iter().map(|(&index, &alerts)| Accepted {
        site: &sites[index].site.name,
        alerts,
    });
    let mut answer = Answer {
        accepted: accepted.collect(),
        unmatched: reached.unmatched,
        decisions: None,
        pending: None,
    };
    if let Some(wait) = wait {
        let named = reached.alerts.keys().map(|&index| &*sites[index]);
        let (decisions, pending) = decided(named, Instant::now() + wait).await;
        answer.decisions = Some(decisions);
        answer.pending = Some(pending);
    }
    axum::Json(answer).into_response()
}

/// The decisions that come until then, and the sites without one.
async fn decided(
    sites: impl Iterator<Item = &SiteHandle>,
    until: Instant,
) -> (Vec<shown::Decision>, Vec<String>) {
    let asked: Vec<_> = sites
        .map(|handle| (&handle.site.name, handle.ask(Request::Decision)))
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
