//! All that the simulated Cloudflare knows, and how it answers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answer::{Answer, ApiError};
use super::limits::{Limiter, Verdict};
use super::list::{self, Query};
use super::log::{Log, Logged, without_secrets};
use super::options::Options;
use super::record::Record;
use super::route::Route;
use super::tokens::{self, Permission, TokenSpec};
use super::view::View;
use super::write::Draft;
use super::zone::{Account, Zone, quota};
use crate::sandbox::faults::{Effect, Hit, Operation, Queue};

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Request {
    pub method: Method,
    pub path: String,
    pub raw_query: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub ip: IpAddr,
}

/// What is known of a request when it has arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub log: u64,
    pub hit: Hit,
    pub verdict: Verdict,
}

/// All that the simulated Cloudflare knows.
#[derive(Debug)]
pub(super) struct State {
    pub options: Options,
    pub zones: Vec<Zone>,
    pub accounts: Vec<Account>,
    /// Id and description of each token, by its secret.
    pub tokens: HashMap<String, (String, TokenSpec)>,
    pub faults: Queue,
    pub limiter: Limiter,
    pub log: Log,
    pub view: View,
    pub writes: u64,
    ids: u64,
    answers: u64,
}

impl State {
    pub fn new(options: Options) -> Self {
        let mut state = Self {
            options,
            zones: Vec::new(),
            accounts: Vec::new(),
            tokens: HashMap::new(),
            faults: Queue::default(),
            limiter: Limiter::default(),
            log: Log::default(),
            view: View::default(),
            writes: 0,
            ids: 0,
            answers: 0,
        };
        let id = state.new_id();
        state.accounts.push(Account {
            id,
            name: "Sandbox".into(),
        });
        state
    }

    /// 32 hexadecimal digits, the same ones in every run.
    pub fn new_id(&mut self) -> String {
        next_id(&mut self.ids)
    }

    pub fn zone_mut(&mut self, zone: &str) -> Option<&mut Zone> {
        self.zones.iter_mut().find(|z| z.id == zone)
    }

    /// Writes the request down, counts it, and finds the fault meant for it.
    pub fn arrive(&mut self, request: &Request, now: Instant) -> Arrival {
        let entry = Logged {
            time: Timestamp::now(),
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.raw_query.clone(),
            headers: without_secrets(&request.headers),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            status: None,
            answer: String::new(),
        };
        let log = self.log.push(entry, self.options.log_limit);
        let token = tokens::secret(&request.headers, false).ok();
        let limits = &self.options.limits;
        let verdict = self.limiter.take(token, request.ip, limits, now);
        let mut hit = Hit::default();
        if verdict.refused.is_none() {
            let route = Route::parse(&request.path).ok();
            let operation = route.as_ref().and_then(|r| r.operation(&request.method));
            let zone = route.as_ref().and_then(Route::zone).map_or(vec![], |id| {
                let name = self.zones.iter().find(|z| z.id == id);
                std::iter::once(id)
                    .chain(name.map(|z| z.name.as_str()))
                    .collect()
            });
            hit = self.faults.take(operation, &zone, now);
        }
        Arrival { log, hit, verdict }
    }

    /// The answer, after doing what was asked where the fault lets it.
    pub fn respond(&mut self, request: &Request, arrival: &Arrival, now: Instant) -> Answer {
        self.answers += 1;
        let effect = arrival.hit.effect.as_ref();
        let mut answer = if let Some((seconds, code)) = arrival.verdict.refused {
            ApiError::throttled(code, Some(seconds)).into()
        } else {
            self.under(effect, request, now)
        };
        let headers = arrival.verdict.headers(&self.options.limits);
        answer.headers.extend(headers);
        let ray = format!("{:016x}-SBX", digest(self.answers));
        answer.headers.push(("cf-ray", ray));
        answer
    }

    fn under(&mut self, effect: Option<&Effect>, request: &Request, now: Instant) -> Answer {
        match effect {
            Some(Effect::Status(status)) => return Answer::html(*status),
            Some(Effect::Throttle { retry_after }) => {
                return ApiError::throttled(self.options.limits.code, *retry_after).into();
            }
            Some(Effect::SpuriousForbidden) => return ApiError::forbidden().into(),
            Some(Effect::SuccessFalse200) => {
                return ApiError::new(200, 10001, "Internal error").into();
            }
            _ => {}
        }
        let answer = self.act(request, effect, now).unwrap_or_else(Answer::from);
        match effect {
            Some(Effect::StatusAfter(status)) => Answer::html(*status),
            Some(Effect::TruncatedJson) => answer.truncated(),
            _ => answer,
        }
    }

    fn act(
        &mut self,
        request: &Request,
        effect: Option<&Effect>,
        now: Instant,
    ) -> Result<Answer, ApiError> {
        let verifying = request.path.ends_with("/tokens/verify");
        let secret = tokens::secret(&request.headers, verifying)?.to_owned();
        let route = Route::parse(&request.path);
        if let Ok(Route::VerifyUser | Route::VerifyAccount(_)) = &route {
            allowed(&route.clone()?, &request.method)?;
            return self.verify(&secret, &route?, request.ip, now);
        }
        let token = tokens::authenticate(&request.headers, &self.tokens, Timestamp::now());
        let token = match token {
            Ok(token) => token.clone(),
            Err(error) => {
                self.limiter.failed(request.ip, &self.options.limits, now);
                return Err(error);
            }
        };
        let route = route?;
        let operation = allowed(&route, &request.method)?;
        self.authorise(&token, &route, operation)?;
        if operation.writes() {
            self.write(request, &route, operation, effect, now)
        } else {
            let lag = match effect {
                Some(Effect::StaleReads { lag }) => *lag,
                _ => Duration::ZERO,
            };
            self.read(request, &route, &token, lag, now)
        }
    }

    fn verify(
        &mut self,
        secret: &str,
        route: &Route,
        ip: IpAddr,
        now: Instant,
    ) -> Result<Answer, ApiError> {
        let known = self.tokens.get(secret).filter(|(_, token)| match route {
            // A token is verified where it belongs; elsewhere it is unknown.
            Route::VerifyAccount(id) => {
                token.account_owned && self.accounts.iter().any(|a| a.id == *id)
            }
            _ => !token.account_owned,
        });
        match known {
            Some((id, token)) => Ok(token.verify(id, Timestamp::now())),
            None => {
                self.limiter.failed(ip, &self.options.limits, now);
                Err(ApiError::new(401, 1000, "Invalid API Token"))
            }
        }
    }

    fn authorise(
        &self,
        token: &TokenSpec,
        route: &Route,
        operation: Operation,
    ) -> Result<(), ApiError> {
        let zone = route.zone();
        if let Some(id) = zone
            && !self.zones.iter().any(|z| z.id == id)
        {
            return Err(ApiError::no_route(&format!("/zones/{id}")));
        }
        let may = |wanted| zone.is_some_and(|id| token.permission(id) >= wanted);
        let allowed = match operation {
            Operation::ListZones => token.zone_read,
            Operation::GetZone => token.zone_read && may(Permission::Read),
            o if o.writes() => may(Permission::Edit),
            _ => may(Permission::Read),
        };
        if allowed {
            Ok(())
        } else {
            Err(ApiError::forbidden())
        }
    }

    fn read(
        &self,
        request: &Request,
        route: &Route,
        token: &TokenSpec,
        lag: Duration,
        now: Instant,
    ) -> Result<Answer, ApiError> {
        let extra = self.extra();
        let zone = || {
            let found = self
                .zones
                .iter()
                .find(|z| Some(z.id.as_str()) == route.zone());
            found.ok_or_else(|| ApiError::no_route(&request.path))
        };
        match route {
            Route::Zone(_) => Ok(Answer::result(zone()?.to_json(self.options.plan))),
            Route::Records(_) => {
                let zone = zone()?;
                let largest = self.options.largest_page;
                list::records(zone, zone.as_of(lag, now), &request.query, extra, largest)
            }
            Route::Record(_, id) => {
                let zone = zone()?;
                let record = zone.as_of(lag, now).iter().find(|r| r.id == *id);
                let record = record.ok_or_else(ApiError::no_record)?;
                Ok(Answer::result(zone.record_json(record, extra)))
            }
            Route::Usage(_) => Ok(Answer::result(json!({
                "record_quota": quota(&self.options),
                "record_usage": zone()?.records.len(),
            }))),
            _ => {
                let seen = |z: &&Zone| token.permission(&z.id) > Permission::None;
                let zones: Vec<&Zone> = self.zones.iter().filter(seen).collect();
                list::zones(&zones, &request.query, |z| z.to_json(self.options.plan))
            }
        }
    }

    fn write(
        &mut self,
        request: &Request,
        route: &Route,
        operation: Operation,
        effect: Option<&Effect>,
        now: Instant,
    ) -> Result<Answer, ApiError> {
        let extra = self.extra();
        let envelope = self.options.delete_envelope;
        let at = self
            .zones
            .iter()
            .position(|z| Some(z.id.as_str()) == route.zone());
        let zone = &self.zones[at.ok_or_else(|| ApiError::no_route(&request.path))?];
        let zone_id = zone.id.clone();
        let mut ids = self.ids;
        let mut new_id = || next_id(&mut ids);
        let mut draft = Draft::new(zone, &self.options, Timestamp::now(), &mut new_id);
        let show = |record: &Record| zone.record_json(record, extra);
        let answer = match (operation, route) {
            (Operation::DeleteRecord, Route::Record(_, id)) => {
                deleted(&draft.delete(id)?.id, envelope)
            }
            (Operation::PatchRecord, Route::Record(_, id)) => {
                Answer::result(show(&*draft.patch(id, &body(request)?)?))
            }
            (Operation::PutRecord, Route::Record(_, id)) => {
                Answer::result(show(&*draft.put(id, &body(request)?)?))
            }
            (Operation::Batch, _) => Answer::result(draft.batch(&body(request)?)?.to_json(show)),
            _ => Answer::result(show(&*draft.create(&body(request)?)?)),
        };
        let (records, touched) = (draft.records, draft.touched);
        self.ids = ids;
        if effect != Some(&Effect::GhostRecord) {
            self.writes += 1;
            self.commit(&zone_id, records, &touched, now);
        }
        Ok(answer)
    }

    /// Puts records in place and lets the effect view follow.
    pub fn commit(
        &mut self,
        zone: &str,
        records: Vec<Arc<Record>>,
        touched: &[String],
        now: Instant,
    ) {
        let (delay, spread) = (self.options.propagation, self.options.propagation_spread);
        self.view.publish(touched, &records, now, delay, spread);
        if let Some(zone) = self.zone_mut(zone) {
            zone.replace(records, now, Timestamp::now());
        }
    }

    fn extra(&self) -> bool {
        self.options.extra_members && self.answers.is_multiple_of(2)
    }
}

fn allowed(route: &Route, method: &Method) -> Result<Operation, ApiError> {
    route.operation(method).ok_or_else(|| {
        ApiError::new(
            405,
            10405,
            "Method not allowed for this authentication scheme",
        )
    })
}

fn body(request: &Request) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(&request.body)
        .map_err(|_| ApiError::new(400, 6007, "Malformed JSON in request body"))
}

fn deleted(id: &str, envelope: bool) -> Answer {
    if envelope {
        Answer::result(json!({"id": id}))
    } else {
        Answer::json(200, &json!({"result": {"id": id}}))
    }
}

fn next_id(counter: &mut u64) -> String {
    *counter += 1;
    format!("{:016x}{:016x}", digest(*counter), digest(!*counter))
}

fn digest(number: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish()
}
