//! One call of the API: token, time limit, classification, retries, counting.

use super::answer::{Fault, Kind, THROTTLED, judge};
use super::budget::Class;
use super::gate::{AuthGate, Scope};
use super::ratelimit;
use super::slots::{Desk, Permit};
use super::tidings::Tidings;
use super::token::Token;
use crate::config::Cloudflare as Settings;
use crate::failover::Urgency;
use crate::metrics::Metrics;
use crate::outbound;
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// No answer is larger than this.
const LARGEST: usize = 64 * 1024 * 1024;

/// A first authentication error may be spurious.
const AUTH_AGAIN: Duration = Duration::from_secs(1);

/// A call that is not answered for so long lets others go before it ends.
const HANGS: Duration = Duration::from_secs(2);

/// No Retry-After is believed beyond this.
const LONGEST_SILENCE: Duration = Duration::from_secs(86_400);

/// One call.
pub(super) struct Call {
    pub(super) operation: &'static str,
    method: Method,
    path: String,
    body: Option<Value>,
    zone: Option<String>,
    urgency: Urgency,
    aside: bool,
}

impl Call {
    pub(super) fn get(operation: &'static str, path: String, urgency: Urgency) -> Call {
        Call {
            operation,
            method: Method::GET,
            path,
            body: None,
            zone: None,
            urgency,
            aside: false,
        }
    }

    pub(super) fn patch(
        operation: &'static str,
        path: String,
        body: Value,
        urgency: Urgency,
    ) -> Call {
        Call {
            method: Method::PATCH,
            body: Some(body),
            ..Call::get(operation, path, urgency)
        }
    }

    pub(super) fn post(
        operation: &'static str,
        path: String,
        body: Value,
        urgency: Urgency,
    ) -> Call {
        Call {
            method: Method::POST,
            ..Call::patch(operation, path, body, urgency)
        }
    }

    /// Whether it changes records.
    pub(super) fn is_write(&self) -> bool {
        self.body.is_some()
    }

    /// Whom it goes before, and what it may take of the budget.
    fn class(&self) -> Class {
        if self.aside {
            Class::Check
        } else if self.is_write() {
            Class::write(self.urgency)
        } else {
            Class::read(self.urgency)
        }
    }

    /// It is about the token, not about records: no earlier error stops it, and
    /// what becomes of it stops no other call and does not say whether
    /// Cloudflare is up.
    pub(super) fn aside(self) -> Call {
        Call {
            aside: true,
            ..self
        }
    }

    /// An authentication error on it stops this zone only.
    pub(super) fn of_zone(mut self, zone: &str) -> Call {
        self.zone = Some(zone.to_owned());
        self
    }
}

/// The client.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    timeout: Duration,
    metrics: Arc<Metrics>,
    token: Mutex<Token>,
    gate: Mutex<AuthGate>,
    desk: Arc<Desk>,
    /// Whether the last call came through; at first it is expected to.
    up: AtomicBool,
    tidings: Tidings,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// One that uses this token, whose calls are counted at `desk`.
    pub(super) fn new(
        settings: &Settings,
        token: Token,
        desk: Arc<Desk>,
        metrics: Arc<Metrics>,
    ) -> Result<Client, String> {
        let http = outbound::client(&settings.api_url)
            .build()
            .map_err(|e| format!("no HTTPS client can be set up: {}", chain(&e)))?;
        Ok(Client {
            http,
            base: settings.api_url.trim_end_matches('/').to_owned(),
            timeout: settings.timeout,
            metrics,
            token: Mutex::new(token),
            gate: Mutex::default(),
            desk,
            up: AtomicBool::new(true),
            tidings: Tidings::default(),
        })
    }

    /// What calls tell of the token.
    pub(super) fn tidings(&self) -> &Tidings {
        &self.tidings
    }

    /// The key of the configuration that holds the token.
    pub(super) fn place(&self) -> String {
        lock(&self.token).place().to_owned()
    }

    /// Whether `other` uses the same token at present.
    pub(super) fn has_token_of(&self, other: &Token) -> bool {
        lock(&self.token).value().expose() == other.value().expose()
    }

    /// Where its calls are counted.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Whether the token says of itself that it belongs to an account.
    pub(super) fn is_account_owned(&self) -> bool {
        lock(&self.token).is_account_owned()
    }

    /// A call that is made once, whatever comes of it.
    pub(super) async fn once(&self, call: &Call) -> Result<Vec<u8>, Fault> {
        self.attempt(call, Instant::now() + self.timeout, &mut None)
            .await
    }

    /// A read: repeated until it comes through or the time is over. The first
    /// attempt uses `permit`, if there is one.
    pub(super) async fn read(
        &self,
        call: &Call,
        until: Instant,
        permit: &mut Option<Permit>,
    ) -> Result<Vec<u8>, Fault> {
        let again = |kind| !matches!(kind, Kind::Refused(_) | Kind::Auth(_) | Kind::Stopped);
        self.repeat(call, until, permit, again).await
    }

    /// A write: repeated only where it surely was not carried out.
    pub(super) async fn write(
        &self,
        call: &Call,
        until: Instant,
        permit: &mut Option<Permit>,
    ) -> Result<Vec<u8>, Fault> {
        let again = |kind| matches!(kind, Kind::NotSent | Kind::Throttled(_));
        self.repeat(call, until, permit, again).await
    }

    /// Waits until a call of this class may be made about this zone.
    pub(super) async fn enter(
        &self,
        class: Class,
        zone: &str,
        urgency: Urgency,
        until: Instant,
    ) -> Result<Permit, Fault> {
        self.renew_token();
        self.pass_gate(Some(zone), urgency, Instant::now())?;
        self.desk.enter(class, until).await
    }

    async fn repeat(
        &self,
        call: &Call,
        until: Instant,
        permit: &mut Option<Permit>,
        again: impl Fn(Kind) -> bool,
    ) -> Result<Vec<u8>, Fault> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(8))
            .with_jitter()
            .without_max_times()
            .build();
        let mut refused_once = false;
        loop {
            let fault = match self.attempt(call, until, permit).await {
                Ok(body) => return Ok(body),
                Err(fault) => fault,
            };
            let pause = match fault.kind {
                Kind::Auth(_)
                    if !refused_once && !lock(&self.gate).concerns(call.zone.as_deref()) =>
                {
                    refused_once = true;
                    AUTH_AGAIN
                }
                Kind::Auth(_) => {
                    self.stop(call, &fault);
                    return Err(fault);
                }
                Kind::Throttled(wait) => wait.max(pauses.next().unwrap_or_default()),
                kind if again(kind) => pauses.next().unwrap_or_default(),
                _ => return Err(fault),
            };
            if Instant::now() + pause >= until {
                return Err(fault);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// An authentication error that was repeated stops further calls.
    fn stop(&self, call: &Call, fault: &Fault) {
        // A 403 speaks of one zone, whatever its code.
        let scope = match &call.zone {
            Some(zone) if fault.kind == Kind::Auth(403) => Scope::Zone(zone.clone()),
            Some(_) | None => Scope::All,
        };
        let now = Instant::now();
        let mut gate = lock(&self.gate);
        // A call that the gate itself refused says nothing new.
        if gate.check(call.zone.as_deref(), call.urgency, now).is_ok() {
            warn!("Cloudflare is not asked for a while: {}", fault.text);
            gate.close(scope, fault.text.clone(), now);
            self.tidings.refused();
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        until: Instant,
        permit: &mut Option<Permit>,
    ) -> Result<Vec<u8>, Fault> {
        let mut permit = match permit.take() {
            Some(permit) => permit,
            None => {
                self.pass(call)?;
                self.desk.enter(call.class(), until).await?
            }
        };
        // Its turn may have been long in coming.
        self.pass(call)?;
        let now = Instant::now();
        let limit = self.timeout.min(until.saturating_duration_since(now));
        if limit.is_zero() {
            return Err(Fault::new(
                Kind::NotSent,
                "the time for this decision is over",
            ));
        }
        permit.sent();
        let outcome = self.send_within(limit, call, &mut permit).await;
        let took = now.elapsed();
        let (status, result) = match outcome {
            None => {
                let text = format!("Cloudflare did not answer within {limit:?}");
                (None, Err(Fault::new(Kind::Lost, text)))
            }
            Some(Err(fault)) => (None, Err(fault)),
            Some(Ok((status, body))) => {
                let silence = self.desk.silence_left();
                let judged = judge(call, status, body, silence, &self.place());
                (Some(status), judged)
            }
        };
        self.metrics
            .cloudflare(call.operation, status.map(|s| s.as_u16()), took);
        if !call.aside {
            self.note_up(status.is_some(), result.as_ref().err());
            if result.is_ok() {
                lock(&self.gate).open(call.zone.as_deref());
            }
        }
        result
    }

    /// Whether the call may be made, with the token as it is now.
    fn pass(&self, call: &Call) -> Result<(), Fault> {
        self.renew_token();
        if call.aside {
            return Ok(());
        }
        self.pass_gate(call.zone.as_deref(), call.urgency, Instant::now())
    }

    fn pass_gate(&self, zone: Option<&str>, urgency: Urgency, now: Instant) -> Result<(), Fault> {
        let passed = lock(&self.gate).check(zone, urgency, now);
        passed.map_err(|(text, _)| {
            // Without a countdown: it is logged when it changes.
            let text = format!(
                "{text} (Cloudflare is asked again after a while, and at once with another token)"
            );
            Fault::new(Kind::Stopped, text)
        })
    }

    /// Says aloud when Cloudflare goes away and when it is back.
    fn note_up(&self, answered: bool, fault: Option<&Fault>) {
        let trouble = fault.filter(|fault| match fault.kind {
            Kind::Refused(_) => false,
            // An answer that cannot be read is an answer.
            Kind::Lost => !answered,
            Kind::NotSent | Kind::Stopped | Kind::Server | Kind::Throttled(_) | Kind::Auth(_) => {
                true
            }
        });
        let up = trouble.is_none();
        self.metrics.cloudflare_up(up);
        if self.up.swap(up, Ordering::Relaxed) != up {
            match trouble {
                Some(fault) => warn!("Cloudflare is in trouble: {}", fault.text),
                None => info!("Cloudflare answers again"),
            }
        }
    }

    /// Sends it; `None` if no answer came in time.
    async fn send_within(
        &self,
        limit: Duration,
        call: &Call,
        permit: &mut Permit,
    ) -> Option<Result<(StatusCode, Vec<u8>), Fault>> {
        let mut sent = std::pin::pin!(tokio::time::timeout(limit, self.send(call)));
        let outcome = match tokio::time::timeout(HANGS, &mut sent).await {
            Ok(outcome) => outcome,
            Err(_) => {
                permit.hangs();
                sent.await
            }
        };
        outcome.ok()
    }

    async fn send(&self, call: &Call) -> Result<(StatusCode, Vec<u8>), Fault> {
        let url = format!("{}{}", self.base, call.path);
        let secret = lock(&self.token).value().clone();
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .bearer_auth(secret.expose());
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            let kind = if error.is_connect() {
                Kind::NotSent
            } else {
                Kind::Lost
            };
            Fault::new(
                kind,
                format!(
                    "Cloudflare cannot be reached: {}: check the network, cloudflare.api_url and HTTPS_PROXY",
                    chain(&error)
                ),
            )
        })?;
        self.note_limits(&response);
        let status = response.status();
        let body = whole(response).await?;
        Ok((status, body))
    }

    /// Takes in what the answer says about the budget.
    fn note_limits(&self, response: &Response) {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        if let Some(limit) = header("ratelimit") {
            let policy = header("ratelimit-policy").unwrap_or("");
            if let Some(seen) = self.desk.tell(&ratelimit::items(limit, policy)) {
                warn!(
                    "somebody else uses the budget of the Cloudflare token in {}: {} of {} calls in 5 minutes are not ours; \
                     give the other program another user's token",
                    self.place(),
                    seen.foreign,
                    seen.limit
                );
            }
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait = header("retry-after")
                .and_then(|text| text.trim().parse().ok())
                .map_or(THROTTLED, Duration::from_secs)
                .min(LONGEST_SILENCE);
            self.desk.silence(wait);
        }
    }

    /// Reads the token file again when it is time; a changed token ends waits.
    pub(super) fn renew_token(&self) {
        let stopped = lock(&self.gate).is_closed();
        if lock(&self.token).renew(stopped) {
            lock(&self.gate).open_all();
            self.desk.forget_told();
            self.tidings.replaced();
        }
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

async fn whole(mut response: Response) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => {
                return Err(Fault::new(
                    Kind::Lost,
                    "Cloudflare's answer is larger than 64 MiB",
                ));
            }
            Ok(None) => return Ok(body),
            Err(error) => {
                let text = format!("Cloudflare's answer broke off: {}", chain(&error));
                return Err(Fault::new(Kind::Lost, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_chain_says_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] std::fmt::Error);
        let inner = std::fmt::Error;
        let text = chain(&Outer(inner));
        assert!(text.starts_with("outer: inner"));
    }
}
