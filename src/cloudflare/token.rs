//! The token in use, and the file it comes from.

use crate::config::{Secret, TokenSource};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// The file is read again this often, and sooner while calls are stopped.
const AGE: Duration = Duration::from_secs(60);
const AGE_STOPPED: Duration = Duration::from_secs(5);

/// How the token of an account begins.
const ACCOUNT_OWNED: &str = "cfat_";

/// The token in use.
pub(super) struct Token {
    value: Secret,
    file: Option<PathBuf>,
    /// The key of the configuration that holds it.
    place: String,
    read_at: Instant,
}

impl Token {
    /// The token for every zone that has none of its own.
    pub(super) fn new(source: &TokenSource) -> Token {
        match source {
            TokenSource::Value(value) => Token::held(value, None, "cloudflare.api_token".into()),
            TokenSource::File(path, value) => {
                Token::held(value, Some(path), "cloudflare.api_token_file".into())
            }
        }
    }

    /// The token of a zone, as the configuration names it.
    pub(super) fn of_zone(zone: &str, path: &Path, value: &Secret) -> Token {
        let place = format!("cloudflare.zone_token_files of {zone}");
        Token::held(value, Some(path), place)
    }

    fn held(value: &Secret, file: Option<&Path>, place: String) -> Token {
        Token {
            value: value.clone(),
            file: file.map(Path::to_owned),
            place,
            read_at: Instant::now(),
        }
    }

    pub(super) fn value(&self) -> &Secret {
        &self.value
    }

    /// The key of the configuration that holds it.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether it says of itself that it belongs to an account.
    pub(super) fn is_account_owned(&self) -> bool {
        self.value.expose().starts_with(ACCOUNT_OWNED)
    }

    /// Reads the file again when it is time. Whether it held another token.
    pub(super) fn renew(&mut self, calls_are_stopped: bool) -> bool {
        let Some(path) = &self.file else {
            return false;
        };
        let age = if calls_are_stopped { AGE_STOPPED } else { AGE };
        if self.read_at.elapsed() < age {
            return false;
        }
        self.read_at = Instant::now();
        // A small local file: no slower than what an await would cost.
        let read = std::fs::read_to_string(path);
        let path = path.display();
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                warn!("{path} cannot be read ({error}); the token read before stays in use");
                return false;
            }
        };
        let fresh = text.trim();
        if fresh.is_empty() || fresh.contains(char::is_whitespace) {
            warn!("{path} holds no usable token; the one read before stays in use");
            return false;
        }
        if fresh == self.value.expose() {
            return false;
        }
        info!("the Cloudflare token in {path} has changed and is used from now on");
        self.value = Secret::new(fresh);
        true
    }
}
