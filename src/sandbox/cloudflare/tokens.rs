//! Tokens, and who may do what.

use std::collections::HashMap;

use hyper::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Answer, ApiError};
use super::record::rfc3339;

/// What a token may do with the records of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Not even see them.
    None,
    /// See them.
    Read,
    /// Change them.
    Edit,
}

/// What has become of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// Good.
    Active,
    /// Switched off by its owner.
    Disabled,
    /// Past its time.
    Expired,
}

/// A token as a test or the demo wants it.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    /// What the client sends after `Bearer`.
    pub secret: String,
    /// Belongs to an account, not to a user: is verified elsewhere.
    pub account_owned: bool,
    /// What it may do in single zones, by zone id.
    pub zones: HashMap<String, Permission>,
    /// What it may do in all other zones.
    pub elsewhere: Permission,
    /// May look zones up, by name or id.
    pub zone_read: bool,
    /// Good or not.
    pub status: TokenStatus,
    /// Not good from then on.
    pub expires_on: Option<Timestamp>,
    /// Not good until then.
    pub not_before: Option<Timestamp>,
}

impl TokenSpec {
    /// A good user token that may look up zones and has `elsewhere` in all of them.
    pub fn new(secret: &str, elsewhere: Permission) -> Self {
        Self {
            secret: secret.into(),
            account_owned: false,
            zones: HashMap::new(),
            elsewhere,
            zone_read: true,
            status: TokenStatus::Active,
            expires_on: None,
            not_before: None,
        }
    }

    /// The same with a permission of its own in one zone.
    pub fn zone(mut self, zone_id: &str, permission: Permission) -> Self {
        self.zones.insert(zone_id.into(), permission);
        self
    }

    /// What it may do in a zone.
    pub(super) fn permission(&self, zone_id: &str) -> Permission {
        self.zones.get(zone_id).copied().unwrap_or(self.elsewhere)
    }

    fn status_at(&self, now: Timestamp) -> TokenStatus {
        if self.expires_on.is_some_and(|end| end <= now) {
            TokenStatus::Expired
        } else {
            self.status
        }
    }

    fn usable(&self, now: Timestamp) -> bool {
        self.status_at(now) == TokenStatus::Active && self.not_before.is_none_or(|t| t <= now)
    }

    /// The answer to a question about itself.
    pub(super) fn verify(&self, id: &str, now: Timestamp) -> Answer {
        let status = match self.status_at(now) {
            TokenStatus::Active => "active",
            TokenStatus::Disabled => "disabled",
            TokenStatus::Expired => "expired",
        };
        let mut result = json!({"id": id, "status": status});
        for (name, time) in [
            ("expires_on", self.expires_on),
            ("not_before", self.not_before),
        ] {
            if let Some(time) = time {
                result[name] = Value::from(rfc3339(time));
            }
        }
        let messages = if status == "active" {
            json!([{"code": 10000, "message": "This API Token is valid and active", "type": null}])
        } else {
            json!([])
        };
        Answer::with_messages(result, messages)
    }
}

/// The secret a request carries, or what is wrong with how it carries it.
///
/// Cloudflare looks at the form of the headers before anything else, which is
/// why a token with a stray character is a 400 and an unknown one a 403.
pub(super) fn secret(headers: &HeaderMap, verifying: bool) -> Result<&str, ApiError> {
    let malformed = |code, name: &str| {
        Err(ApiError::new(400, 6003, "Invalid request headers")
            .chain(code, format!("Invalid format for {name} header")))
    };
    if let Some(value) = headers.get("authorization") {
        let secret = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
        return match secret {
            Some(secret) if well_formed(secret) => Ok(secret),
            _ => malformed(6111, "Authorization"),
        };
    }
    let (email, key) = (headers.get("x-auth-email"), headers.get("x-auth-key"));
    if email.is_none() && key.is_none() {
        return Err(ApiError::new(
            400,
            9106,
            "Missing X-Auth-Key, X-Auth-Email or Authorization headers",
        ));
    }
    if verifying {
        return Err(ApiError::new(400, 1001, "Missing \"Authorization\" header"));
    }
    let text = |h: Option<&hyper::header::HeaderValue>| {
        h.and_then(|v| v.to_str().ok()).unwrap_or("").to_owned()
    };
    if !text(email).contains('@') {
        return malformed(6102, "X-Auth-Email");
    }
    let key = text(key);
    if key.len() != 37 || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
        return malformed(6103, "X-Auth-Key");
    }
    Err(ApiError::new(
        403,
        9103,
        "Unknown X-Auth-Key or X-Auth-Email",
    ))
}

fn well_formed(secret: &str) -> bool {
    !secret.is_empty()
        && secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The token of a request that is not about the token itself.
pub(super) fn authenticate<'a>(
    headers: &HeaderMap,
    tokens: &'a HashMap<String, (String, TokenSpec)>,
    now: Timestamp,
) -> Result<&'a TokenSpec, ApiError> {
    let secret = secret(headers, false)?;
    match tokens.get(secret) {
        Some((_, token)) if token.usable(now) => Ok(token),
        _ => Err(ApiError::new(403, 9109, "Invalid access token")),
    }
}
