//! Calls of a running server's API: where it is, as whom, and what its errors
//! mean for whoever typed the command.

use crate::config::{Secret, parse_url, read_token_file};
use crate::ending::{FAILED, USAGE};
use crate::outbound::{self, root_cause};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::time::Duration;

/// A server that is there takes a connection at once.
const CONNECT: Duration = Duration::from_secs(5);

/// Longer than the server takes for a confirmation and its calls to
/// Cloudflare: its own word on a call that takes too long is the better one.
const ANSWER: Duration = Duration::from_secs(150);

/// Where the server is, and as whom it is called.
#[derive(Debug)]
pub struct Connection {
    /// Its base URL.
    pub url: String,
    /// The file with its admin token.
    pub token_file: Option<PathBuf>,
}

/// Why a command did not do what it was to: the exit code, and one sentence
/// that says what to change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Fault {
    fn usage(text: String) -> Fault {
        Fault { code: USAGE, text }
    }

    fn failed(text: String) -> Fault {
        Fault { code: FAILED, text }
    }
}

/// An answer: as it came, for scripts, and as it is understood.
#[derive(Debug)]
pub(super) struct Told<T> {
    pub(super) raw: Box<RawValue>,
    pub(super) said: T,
}

/// A call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The path below `/api/v1/`, in segments as they are, not encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Value>,
    /// How long the server may take.
    pub(super) limit: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Call<'a> {
        Call {
            method,
            path,
            query: &[],
            body: None,
            limit: ANSWER,
        }
    }

    pub(super) fn get(path: &'a [&'a str]) -> Call<'a> {
        Call::new(Method::GET, path)
    }
}

/// The body of an error.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Calls one server.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    /// The URL as it was written, for sentences.
    shown: String,
    token: Option<(Secret, PathBuf)>,
}

impl Client {
    pub(super) fn new(at: Connection) -> Result<Client, Fault> {
        let named = |why: String| Fault::usage(format!("--url (or ORIGINSWITCH_URL): {why}"));
        let shown = parse_url(at.url.trim(), "http://127.0.0.1:10053").map_err(named)?;
        let url = Url::parse(&shown).map_err(|error| named(error.to_string()))?;
        let client = outbound::client(&shown).connect_timeout(CONNECT);
        let http = client.timeout(ANSWER).build().map_err(|error| {
            let cause = root_cause(&error);
            Fault::failed(format!("no HTTP client can be set up: {cause}"))
        })?;
        let token = match at.token_file {
            None => None,
            Some(file) => {
                let named =
                    |why| Fault::usage(format!("--token-file (or ORIGINSWITCH_TOKEN_FILE): {why}"));
                Some((read_token_file(&file).map_err(named)?, file))
            }
        };
        Ok(Client {
            http,
            url,
            shown,
            token,
        })
    }

    /// Sends a call; understands its answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Told<T>, Fault> {
        let text = self.send(call).await?;
        let raw = RawValue::from_string(text).map_err(|error| self.strange(&error))?;
        self.understand(raw)
    }

    /// Understands an answer, or a part of one.
    pub(super) fn understand<T: DeserializeOwned>(
        &self,
        raw: Box<RawValue>,
    ) -> Result<Told<T>, Fault> {
        let said = serde_json::from_str(raw.get()).map_err(|error| self.strange(&error))?;
        Ok(Told { raw, said })
    }

    fn strange(&self, error: &serde_json::Error) -> Fault {
        Fault::failed(format!(
            "{} answers, but not as originswitch does ({error}): \
             name originswitch's own address with --url",
            self.shown
        ))
    }

    /// Asks whether the server is `healthy` or `ready`: everybody may, and it
    /// answers at once.
    pub(super) async fn health(&self, word: &str) -> Result<String, Fault> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["-", word]);
        }
        let request = self.http.get(url).timeout(CONNECT);
        let answer = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        let (status, text) = answer
            .await
            .map_err(|error| self.silence(&error, CONNECT, true))?;
        match status {
            status if status.is_success() => Ok(text),
            StatusCode::SERVICE_UNAVAILABLE => Err(Fault::failed(text.trim().to_owned())),
            status => Err(Fault {
                code: FAILED,
                ..self.refusal(status, &text)
            }),
        }
    }

    async fn send(&self, call: Call<'_>) -> Result<String, Fault> {
        let (reads, limit) = (call.method == Method::GET, call.limit);
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = self.http.request(call.method, url).timeout(limit);
        if let Some((token, _)) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        let (status, text) = answer
            .await
            .map_err(|error| self.silence(&error, limit, reads))?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(self.refusal(status, &text))
        }
    }

    /// What it means that no answer came.
    fn silence(&self, error: &reqwest::Error, limit: Duration, reads: bool) -> Fault {
        let (url, cause) = (&self.shown, root_cause(error));
        if error.is_connect() {
            return Fault::failed(format!(
                "{url} cannot be reached ({cause}): \
                 is `originswitch serve` running there? If it is elsewhere, name it with --url"
            ));
        }
        let what = if error.is_timeout() {
            format!("{url} did not answer within {limit:?}")
        } else {
            format!("{url} broke off before it had answered ({cause})")
        };
        Fault::failed(if reads {
            format!("{what}: ask again, or name another address with --url")
        } else {
            format!("{what}, so what was asked may have been done: look with `originswitch status`")
        })
    }

    /// What an answer means that is no success.
    fn refusal(&self, status: StatusCode, text: &str) -> Fault {
        let url = &self.shown;
        let said: Option<Refused> = serde_json::from_str(text).ok();
        match (status, said) {
            (StatusCode::UNAUTHORIZED, _) => Fault::failed(match &self.token {
                None => format!(
                    "{url} asks for its admin token: name the file that holds it with --token-file"
                ),
                Some((_, file)) => format!(
                    "{url} does not take the token in {}: name the file that holds the one of its \
                     server.admin_token_file with --token-file",
                    file.display()
                ),
            }),
            (StatusCode::FORBIDDEN, Some(_)) => Fault::failed(format!(
                "{url} has no admin token, so only programs on its own machine may call it, by \
                 127.0.0.1, ::1 or localhost: run this there, or set server.admin_token_file there \
                 and name that token here with --token-file"
            )),
            (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, Some(said)) => {
                Fault::usage(said.error)
            }
            (_, Some(said)) => Fault::failed(said.error),
            (status, None) if status.is_redirection() => Fault::failed(format!(
                "{url} answers with a redirect ({status}), which is not followed: \
                 name originswitch's own address with --url"
            )),
            (status, None) => Fault::failed(format!(
                "{url} answers {status}, and not as originswitch does: \
                 name originswitch's own address with --url"
            )),
        }
    }
}
