//! The API's calls.

use super::{App, Asked, Past, Refusal, shown};
use crate::failover::{Request, SiteHandle};
use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a call waits for a decision: a confirmation and Cloudflare's 30 s,
/// with room.
pub(super) const DECISION_WAIT: Duration = Duration::from_secs(120);

/// Sites and decisions of one answer, if not asked otherwise, and at most.
const SITES: usize = 1000;
const DECISIONS: usize = 100;
const MOST: usize = 10_000;

/// The query of the list of sites.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SitesQuery {
    limit: Option<String>,
    after: Option<String>,
}

/// The answer to it.
#[derive(Serialize)]
pub(super) struct SitesAnswer {
    sites: Vec<shown::Site>,
}

/// `GET /api/v1/sites`.
pub(super) async fn sites(app: App, Asked(query): Asked<SitesQuery>) -> Result<Response, Refusal> {
    let limit = count("limit", query.limit.as_deref(), SITES)?;
    let after = query.after.unwrap_or_default();
    let sites = app.sites();
    // Ten thousand sites take their time: not on a thread that probes.
    let shown = tokio::task::spawn_blocking(move || {
        let sites = sites.after(&after).iter().take(limit);
        let sites = sites.map(|handle| shown::Site::of(handle)).collect();
        Json(SitesAnswer { sites }).into_response()
    });
    shown.await.map_err(|_| {
        let text = "the sites could not be shown: see the log";
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, text.into())
    })
}

/// `GET /api/v1/sites/{name}`.
pub(super) async fn site(app: App, Path(name): Path<String>) -> Result<Json<shown::Site>, Refusal> {
    Ok(Json(shown::Site::of(&*find(&app, &name)?)))
}

pub(super) fn find(app: &App, name: &str) -> Result<Arc<SiteHandle>, Refusal> {
    app.sites().get(name).cloned().ok_or_else(|| {
        let text = format!("there is no site {name:?}: /api/v1/sites lists them");
        Refusal(StatusCode::NOT_FOUND, text)
    })
}

fn count(key: &str, text: Option<&str>, default: usize) -> Result<usize, Refusal> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if (1..=MOST).contains(&number) => Ok(number),
            _ => Err(Refusal(
                StatusCode::BAD_REQUEST,
                format!("{key}={text}: write a whole number from 1 to {MOST}"),
            )),
        },
    }
}

/// The query of the list of decisions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionsQuery {
    site: Option<String>,
    limit: Option<String>,
    before: Option<String>,
}

/// The answer to it.
#[derive(Serialize)]
pub(super) struct DecisionsAnswer {
    decisions: Vec<shown::Decision>,
}

/// `GET /api/v1/decisions`.
pub(super) async fn decisions(
    app: App,
    Asked(query): Asked<DecisionsQuery>,
) -> Result<Json<DecisionsAnswer>, Refusal> {
    let limit = count("limit", query.limit.as_deref(), DECISIONS)?;
    let before = match query.before.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            let text = format!("before={text}: write the id of a decision");
            Refusal(StatusCode::BAD_REQUEST, text)
        })?),
    };
    let site = query.site.filter(|site| !site.is_empty());
    let past = Past {
        site,
        limit,
        before,
    };
    let found = app.history.decisions(past).await.map_err(|fault| {
        let text = format!("the history cannot be read: {fault}");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    let decisions = found.iter().map(shown::Decision::of).collect();
    Ok(Json(DecisionsAnswer { decisions }))
}

/// `GET /api/v1/decisions/{id}`.
pub(super) async fn decision(
    app: App,
    Path(id): Path<String>,
) -> Result<Json<shown::Decision>, Refusal> {
    let number = id.parse().map_err(|_| {
        let text = format!("{id:?} is no id of a decision: write the number that the list shows");
        Refusal(StatusCode::BAD_REQUEST, text)
    })?;
    let found = app.history.decision(number).await.map_err(|fault| {
        let text = format!("the history cannot be read: {fault}");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    found
        .map(|decision| Json(shown::Decision::of(&decision)))
        .ok_or_else(|| {
            let text = format!("there is no decision {id}: /api/v1/decisions lists them");
            Refusal(StatusCode::NOT_FOUND, text)
        })
}

/// The query of an evaluation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvaluateQuery {
    dry_run: Option<String>,
}

/// `POST /api/v1/sites/{name}/evaluate`.
pub(super) async fn evaluate(
    app: App,
    Path(name): Path<String>,
    Asked(query): Asked<EvaluateQuery>,
) -> Result<Json<shown::Decision>, Refusal> {
    let dry_run = match query.dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(text) => {
            let text = format!("dry_run={text}: write true or false");
            return Err(Refusal(StatusCode::BAD_REQUEST, text));
        }
    };
    ask(&app, &name, Request::Evaluate { dry_run }).await
}

/// The query of a call that takes none: a mistaken `dry_run` must not be
/// passed over where something is done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// `POST /api/v1/sites/{name}/failback`.
pub(super) async fn failback(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
) -> Result<Json<shown::Decision>, Refusal> {
    ask(&app, &name, Request::Failback).await
}

/// `POST /api/v1/sites/{name}/trust`.
pub(super) async fn trust(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
) -> Result<Json<shown::Decision>, Refusal> {
    ask(&app, &name, Request::Trust).await
}

/// `POST /api/v1/sites/{name}/release`.
pub(super) async fn release(
    app: App,
    Path(name): Path<String>,
    _: Asked<NoQuery>,
) -> Result<Json<shown::Decision>, Refusal> {
    ask(&app, &name, Request::Release).await
}

/// Puts a request to a site and answers with the decision it leads to.
pub(super) async fn ask(
    app: &App,
    name: &str,
    request: Request,
) -> Result<Json<shown::Decision>, Refusal> {
    let answer = find(app, name)?.ask(request);
    match tokio::time::timeout(DECISION_WAIT, answer).await {
        Ok(Ok(Ok(decision))) => Ok(Json(shown::Decision::of(&decision))),
        Ok(Ok(Err(why))) => Err(Refusal(StatusCode::CONFLICT, why)),
        Ok(Err(_)) => Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the site's loop has ended (shutting down, or reloaded): ask again".into(),
        )),
        Err(_) => Err(Refusal(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "there is no decision within {DECISION_WAIT:?}: /api/v1/decisions will show it"
            ),
        )),
    }
}

/// `POST /-/reload`.
pub(super) async fn reload(app: App) -> Response {
    let (answer, answered) = oneshot::channel();
    if app.reload.send(answer).await.is_err() {
        let text = "originswitch is shutting down";
        return Refusal(StatusCode::SERVICE_UNAVAILABLE, text.into()).into_response();
    }
    match answered.await {
        Ok(Ok(())) => "the configuration is read and in force\n".into_response(),
        Ok(Err(faults)) => {
            let body = serde_json::json!({
                "error": format!(
                    "the configuration has {} and the one before stays in force: {}",
                    if faults.len() == 1 { "a fault".to_owned() } else { format!("{} faults", faults.len()) },
                    faults.join("\n")
                ),
                "faults": faults,
            });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        Err(_) => {
            let text = "originswitch is shutting down";
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text.into()).into_response()
        }
    }
}
