//! Calls that leave this process over HTTP: what they have in common, whoever
//! makes them.

use crate::config::is_loopback;
use std::error::Error;

/// The beginning of a client for the server with this URL.
pub fn client(url: &str) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder()
        .user_agent(concat!("originswitch/", env!("CARGO_PKG_VERSION")))
        // A redirect would carry the token elsewhere, and make an empty GET of a POST.
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(url) {
        client.no_proxy()
    } else {
        client
    }
}

/// What was first: the rest of the chain says it again, with the URL.
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
