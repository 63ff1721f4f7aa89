//! Posting to an Alertmanager over HTTP.

use super::Post;
use crate::config::Secret;
use crate::outbound::{self, root_cause};
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use std::time::Duration;

/// Time limit of one request.
const LIMIT: Duration = Duration::from_secs(10);

/// So much of a refusal is repeated.
const SHOWN: usize = 200;

/// An Alertmanager somewhere.
pub(super) struct Http {
    client: reqwest::Client,
    url: String,
    token: Option<Secret>,
}

impl Http {
    /// One with this base URL.
    ///
    /// # Errors
    /// If no client can be set up: one sentence.
    pub(super) fn new(url: &str, token: Option<Secret>) -> Result<Http, String> {
        let client = outbound::client(url)
            .timeout(LIMIT)
            .build()
            .map_err(|error| format!("no HTTP client can be set up: {}", cause(&error)))?;
        Ok(Http {
            client,
            url: format!("{url}/api/v2/alerts"),
            token,
        })
    }

    async fn send(&self, body: String) -> Result<(), String> {
        let mut request = self.client.post(&self.url).body(body);
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|error| cause(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.unwrap_or_default();
        Err(refusal(status, &said))
    }
}

impl Post for Http {
    fn post(&self, body: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.send(body))
    }
}

/// What an answer means that is no success.
fn refusal(status: StatusCode, said: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": name the file with its token as notify.token_file"
        }
        StatusCode::NOT_FOUND => ": name its base URL, without /api/v2/alerts",
        _ => "",
    };
    let said: String = said
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    let said = said.trim();
    if said.is_empty() {
        format!("it answers {status}{hint}")
    } else {
        format!("it answers {status} ({said}){hint}")
    }
}

/// Why no answer came.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {LIMIT:?}");
    }
    root_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_change() {
        let said = refusal(StatusCode::UNAUTHORIZED, "");
        assert!(said.contains("notify.token_file"), "{said}");
        let said = refusal(StatusCode::NOT_FOUND, "404 page not found\n");
        assert_eq!(
            said,
            "it answers 404 Not Found (404 page not found): name its base URL, without /api/v2/alerts"
        );
        let said = refusal(StatusCode::BAD_REQUEST, &"x\n".repeat(1000));
        assert!(said.len() < 300 && !said.contains('\n'), "{said}");
    }
}
