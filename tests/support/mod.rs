//! What several test programs share.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]

pub mod openapi;
pub mod server;
pub mod skip;
pub mod world;

/// A client that reuses no connection and asks no proxy.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}
