//! The HTTP side: webhook, API, metrics and page on one listener.
//!
//! | file | holds |
//! | --- | --- |
//! | `listen` | connections: limits, time limits, the end |
//! | `access` | who may call what |
//! | `webhook` | taking alerts, answering before acting |
//! | `api` | the API's calls |
//! | `orders` | those with which people order: pins, freezes, the brake |
//! | `evacuation` | the one that moves all sites away from an address |
//! | `shown` | decisions and sites as JSON |
//! | `scrape` | the metrics, piece by piece |
//! | `page` | the page for people |
//!
//! Nothing here redirects: Alertmanager would turn that into an empty GET and
//! count the alert as delivered.

mod access;
mod api;
mod evacuation;
mod listen;
mod orders;
mod page;
mod scrape;
pub mod shown;
mod webhook;

pub use listen::{CONNECTIONS, Listening, serve};

use crate::alertmanager::Directory;
use crate::clock::Clock;
use crate::config;
use crate::failover::{Guard, SiteHandle};
use crate::metrics::Metrics;
use crate::rule::decision::Decision;
use crate::watchdog::Watchdog;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Bodies under way at once, in units of [`BODY_UNIT`]: 64 MiB.
const BODY_UNITS: usize = 1024;
const BODY_UNIT: usize = 64 * 1024;

/// Large bodies that are heard at once; more would only share the cores.
const LARGE_BODIES: usize = 4;

/// The sites in force, with what finds them.
pub struct Sites {
    /// In order of their names.
    pub sites: Vec<Arc<SiteHandle>>,
    /// Finds the sites of an alert; indices into `sites`.
    pub directory: Directory,
    /// Listens for the alert that needs no site.
    pub watchdog: Arc<Watchdog>,
}

impl Sites {
    /// Puts sites in order of their names.
    #[must_use]
    pub fn new(
        mut sites: Vec<Arc<SiteHandle>>,
        site_label: &str,
        watchdog: Arc<Watchdog>,
    ) -> Sites {
        sites.sort_by(|a, b| a.site.name.cmp(&b.site.name));
        let directory = Directory::new(
            site_label,
            sites.iter().map(|handle| crate::alertmanager::SiteKeys {
                name: &handle.site.name,
                hostnames: &handle.site.hostnames,
                origins: handle
                    .site
                    .origins
                    .iter()
                    .flat_map(|origin| origin.place.addresses())
                    .map(ToString::to_string)
                    .collect(),
                matchers: &handle.site.matchers,
            }),
        );
        Sites {
            sites,
            directory,
            watchdog,
        }
    }

    /// The sites that come after this name, which need not be one.
    fn after(&self, name: &str) -> &[Arc<SiteHandle>] {
        let first = self
            .sites
            .partition_point(|handle| &*handle.site.name <= name);
        &self.sites[first..]
    }

    /// The site with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<SiteHandle>> {
        let at = |handle: &Arc<SiteHandle>| (*handle.site.name).cmp(name);
        self.sites.get(self.sites.binary_search_by(at).ok()?)
    }
}

/// Which decisions of the past to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Only of this site.
    pub site: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only those with a smaller id.
    pub before: Option<i64>,
}

/// The history, as the API shows it.
pub trait History: Send + Sync + 'static {
    /// Stored decisions, newest first.
    fn decisions(&self, past: Past) -> BoxFuture<'_, Result<Vec<Decision>, String>>;

    /// The stored decision with this id.
    fn decision(&self, id: i64) -> BoxFuture<'_, Result<Option<Decision>, String>>;

    /// Whether the state file takes writes.
    fn healthy(&self) -> bool;
}

/// A request to read the configuration again, with the place for the answer:
/// every fault, if there are any.
pub type Reload = oneshot::Sender<Result<(), Vec<String>>>;

/// What the handlers work with.
pub struct Shared {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The sites in force.
    pub sites: watch::Receiver<Arc<Sites>>,
    /// What holds over all sites.
    pub guard: Arc<Guard>,
    /// The history.
    pub history: Arc<dyn History>,
    /// `[server]`, in force.
    pub settings: watch::Receiver<config::Server>,
    /// Where reloads are asked for.
    pub reload: mpsc::Sender<Reload>,
    /// Set when the process winds up.
    pub draining: CancellationToken,
    bodies: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    evacuations: evacuation::UnderWay,
    unmatched: webhook::Unmatched,
    refused: webhook::Refused,
}

impl Shared {
    /// Everything the handlers work with.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, which passes what it made"
    )]
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        clock: Clock,
        sites: watch::Receiver<Arc<Sites>>,
        guard: Arc<Guard>,
        history: Arc<dyn History>,
        settings: watch::Receiver<config::Server>,
        reload: mpsc::Sender<Reload>,
        draining: CancellationToken,
    ) -> Shared {
        Shared {
            metrics,
            clock,
            sites,
            guard,
            history,
            settings,
            reload,
            draining,
            bodies: Arc::new(Semaphore::new(BODY_UNITS)),
            aside: Arc::new(Semaphore::new(LARGE_BODIES)),
            evacuations: evacuation::UnderWay::default(),
            unmatched: webhook::Unmatched::default(),
            refused: webhook::Refused::default(),
        }
    }

    fn sites(&self) -> Arc<Sites> {
        self.sites.borrow().clone()
    }
}

type App = axum::extract::State<Arc<Shared>>;

/// An error as every caller gets it: one sentence that says what to change.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = axum::Json(serde_json::json!({ "error": self.1 }));
        (self.0, body).into_response()
    }
}

/// The routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let admin = Router::new()
        .route("/", get(page::page))
        .route("/api/v1/sites", get(api::sites))
        .route("/api/v1/sites/{name}", get(api::site))
        .route("/api/v1/sites/{name}/evaluate", post(api::evaluate))
        .route("/api/v1/sites/{name}/failback", post(api::failback))
        .route("/api/v1/sites/{name}/trust", post(api::trust))
        .route("/api/v1/sites/{name}/release", post(api::release))
        .route(
            "/api/v1/sites/{name}/pin",
            put(orders::pin).delete(orders::unpin),
        )
        .route(
            "/api/v1/sites/{name}/freeze",
            put(orders::freeze).delete(orders::unfreeze),
        )
        .route(
            "/api/v1/freeze",
            get(orders::frozen)
                .put(orders::freeze_all)
                .delete(orders::unfreeze_all),
        )
        .route("/api/v1/brake/release", post(orders::release_brake))
        .route("/api/v1/evacuate", post(evacuation::evacuate))
        .route("/api/v1/decisions", get(api::decisions))
        .route("/api/v1/decisions/{id}", get(api::decision))
        .route("/-/reload", post(api::reload).put(api::reload))
        .route_layer(axum::middleware::from_fn_with_state(
            shared.clone(),
            access::admin,
        ));
    let hook = || post(webhook::take).put(webhook::take);
    Router::new()
        .merge(admin)
        .route("/webhook", hook())
        .route("/webhook/", hook())
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(
            shared.clone(),
            webhook::count,
        ))
        .with_state(shared)
}

async fn nowhere(uri: axum::http::Uri) -> Refusal {
    let text = format!(
        "there is nothing at {}: the README lists the calls",
        uri.path()
    );
    Refusal(StatusCode::NOT_FOUND, text)
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    let text = format!(
        "{} does not take {method}: {}",
        uri.path(),
        match uri.path() {
            "/webhook" | "/webhook/" => "use POST",
            _ => "the Allow header names what it takes",
        }
    );
    Refusal(StatusCode::METHOD_NOT_ALLOWED, text)
}

async fn healthy() -> &'static str {
    "originswitch is healthy.\n"
}

async fn ready(app: App) -> (StatusCode, String) {
    let no = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if app.draining.is_cancelled() {
        return no("originswitch is shutting down.\n".into());
    }
    let sites = app.sites();
    let unprobed = sites.sites.iter().filter(|h| !h.status().probed).count();
    if unprobed > 0 {
        return no(format!(
            "originswitch is not ready: the first probes of {unprobed} of {} sites have no result yet.\n",
            sites.sites.len()
        ));
    }
    (StatusCode::OK, "originswitch is ready.\n".into())
}

async fn metrics(app: App, headers: axum::http::HeaderMap) -> Response {
    app.metrics.state_up(app.history.healthy());
    let zip = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(accepts_gzip);
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    let Some(body) = scrape::body(app.metrics.clone(), zip).await else {
        let text = "the metrics could not be written: see the log";
        return Refusal(StatusCode::INTERNAL_SERVER_ERROR, text.into()).into_response();
    };
    if zip {
        ([kind, (header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        ([kind], body).into_response()
    }
}

fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|part| {
        let mut fields = part.split(';').map(str::trim);
        fields.next() == Some("gzip") && !fields.any(|f| matches!(f, "q=0" | "q=0.0" | "q=0.000"))
    })
}

/// A query, or why it cannot be read: as JSON like every error.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T, S> axum::extract::FromRequestParts<S> for Asked<T>
where
    T: serde::de::DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Asked(query))
            .map_err(|fault| {
                let text = format!("the query cannot be read: {}", fault.body_text());
                Refusal(StatusCode::BAD_REQUEST, text)
            })
    }
}

/// A duration of a query, at most `most`.
pub(crate) fn duration(text: &str, most: Duration) -> Result<Duration, Refusal> {
    let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
    match crate::config::parse_duration(text) {
        Ok(time) if time <= most => Ok(time),
        Ok(_) => Err(bad(format!(
            "wait is at most {most:?}: write wait={most:?}"
        ))),
        Err(why) => Err(bad(format!("wait={text}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_where_it_is_asked_for() {
        assert!(accepts_gzip("gzip"));
        assert!(accepts_gzip("deflate, gzip;q=0.5"));
        assert!(!accepts_gzip("identity"));
        assert!(!accepts_gzip("gzip;q=0, identity"));
    }
}
