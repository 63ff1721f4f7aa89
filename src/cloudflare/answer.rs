//! What an answer means: done, refused, throttled, not readable.

use super::client::Call;
use super::verdict::{DNS_EDIT, ZONE_READ};
use super::wire::{Message, Said, said};
use reqwest::StatusCode;
use std::time::Duration;

/// What is waited after a 429 that names no time.
pub(super) const THROTTLED: Duration = Duration::from_secs(5);

/// Codes that mean "the token", whatever the status
/// (facts/cloudflare-api.md as of 2026-11: there is no official list).
const AUTH_CODES: [i64; 4] = [6003, 9106, 9109, 10000];

/// Codes that mean "too fast", one of them below 1000.
const THROTTLE_CODES: [i64; 3] = [971, 10300, 10429];

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was not sent.
    NotSent,
    /// It was not sent: an earlier authentication error stops such calls.
    Stopped,
    /// It was sent, and no readable answer came.
    Lost,
    /// 5xx.
    Server,
    /// Cloudflare wants fewer calls; none for this long.
    Throttled(Duration),
    /// The token is not accepted, with the HTTP status.
    Auth(u16),
    /// Any other no, with its HTTP status.
    Refused(u16),
}

/// A failed call, with a sentence for a person.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Fault {
        Fault {
            kind,
            text: text.into(),
        }
    }
}

/// Judges the answer to a call: its body, or what it says is wrong. `silence`
/// is how long Cloudflare wants no calls, `place` the key that holds the token.
pub(super) fn judge(
    call: &Call,
    status: StatusCode,
    body: Vec<u8>,
    silence: Option<Duration>,
    place: &str,
) -> Result<Vec<u8>, Fault> {
    let said = said(&body);
    let code = status.as_u16();
    if status.is_server_error() {
        let why = match &said {
            Said::Failure(errors) if !errors.is_empty() => texts(errors),
            _ => "without a readable reason".into(),
        };
        let text = format!("Cloudflare answered with HTTP {code}, {why}");
        return Err(Fault::new(Kind::Server, text));
    }
    let errors = match said {
        Said::Success if status.is_success() => return Ok(body),
        Said::Success | Said::Unreadable => Vec::new(),
        Said::Failure(errors) => errors,
    };
    let codes: Vec<i64> = errors.iter().flat_map(Message::codes).collect();
    let has = |known: &[i64]| codes.iter().any(|code| known.contains(code));
    let why = texts(&errors);
    if code == 429 || has(&THROTTLE_CODES) {
        let wait = silence.unwrap_or(THROTTLED);
        let text = format!(
            "Cloudflare limits our calls for {} s ({why})",
            wait.as_secs()
        );
        return Err(Fault::new(Kind::Throttled(wait), text));
    }
    if code == 401 || code == 403 || has(&AUTH_CODES) {
        let text = auth_text(call, code, &codes, &why, place);
        return Err(Fault::new(Kind::Auth(code), text));
    }
    if status.is_success() && errors.is_empty() {
        let text = format!("Cloudflare's answer to {} is not readable", call.operation);
        return Err(Fault::new(Kind::Lost, text));
    }
    let hint = if has(&[7000, 7003]) {
        ": check zone_id (or zone) and cloudflare.api_url"
    } else if code == 404 && errors.is_empty() {
        ": that is not Cloudflare's API, check cloudflare.api_url"
    } else {
        ""
    };
    let text = format!("HTTP {code}, {why}{hint}");
    Err(Fault::new(Kind::Refused(code), text))
}

/// What to do about a token, in the words of Cloudflare's dashboard.
fn auth_text(call: &Call, status: u16, codes: &[i64], why: &str, place: &str) -> String {
    let malformed = codes.iter().any(|code| [6003, 9106, 9109].contains(code));
    if status == 401 || malformed || call.operation == "verify_token" {
        return format!(
            "Cloudflare does not accept the token (HTTP {status}, {why}): put a valid API token (not a global key) \
             into {place}"
        );
    }
    let needed = if call.is_write() {
        DNS_EDIT
    } else if call.operation == "list_zones" {
        ZONE_READ
    } else {
        "Zone.DNS Read (better: Edit)"
    };
    format!(
        "Cloudflare refuses the token for {} (HTTP {status}, {why}): give it the permission \
         {needed} on the zone, or replace it if it was revoked",
        call.operation
    )
}

fn texts(errors: &[Message]) -> String {
    if errors.is_empty() {
        return "without a readable reason".into();
    }
    let texts: Vec<String> = errors.iter().map(Message::text).collect();
    texts.join("; ")
}
