//! The simulated Cloudflare and its edge behave as the real ones do.

mod access;
mod edge;
mod faults;
mod reading;
mod writing;

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use originswitch::sandbox::cloudflare::{
    Cloudflare, Options, Permission, Plan, RateLimits, RecordSpec, TokenSpec, TokenStatus,
};
use originswitch::sandbox::faults::{Effect, Fault, Matcher, Operation};
use reqwest::Method;
use serde_json::{Value, json};

const TOKEN: &str = "a-good-token";
const MAIN: &str = "192.0.2.10";
const BACKUP: &str = "198.51.100.20";

/// A Cloudflare with one zone, one record and one good token.
struct World {
    cloudflare: Cloudflare,
    zone: String,
    record: String,
    client: reqwest::Client,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
    json: Value,
}

impl Reply {
    /// Every code in it, those in chains too.
    fn codes(&self) -> Vec<u64> {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let mut codes = Vec::new();
        for error in errors {
            codes.extend(error["code"].as_u64());
            let chain = error["error_chain"].as_array().cloned().unwrap_or_default();
            codes.extend(chain.iter().filter_map(|c| c["code"].as_u64()));
        }
        codes
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let cloudflare = Cloudflare::start("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let zone = cloudflare.add_zone("example.com");
        cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let record = cloudflare.add_record(&zone, RecordSpec::new("A", "www.example.com", MAIN));
        Self {
            cloudflare,
            zone,
            record,
            client: support::client(),
        }
    }

    fn records(&self) -> String {
        format!("/zones/{}/dns_records", self.zone)
    }

    fn record(&self) -> String {
        format!("{}/{}", self.records(), self.record)
    }

    fn content(&self) -> String {
        self.cloudflare.record(&self.record).unwrap().content
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Reply> {
        let request = self
            .client
            .request(method, format!("{}{path}", self.cloudflare.url()))
            .bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        reply(request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.try_send(Method::GET, path, None).await.unwrap()
    }

    async fn post(&self, body: Value) -> Reply {
        let path = self.records();
        self.try_send(Method::POST, &path, Some(body))
            .await
            .unwrap()
    }

    async fn patch(&self, body: Value) -> Reply {
        self.try_patch(body).await.unwrap()
    }

    async fn try_patch(&self, body: Value) -> reqwest::Result<Reply> {
        self.try_send(Method::PATCH, &self.record(), Some(body))
            .await
    }

    async fn batch(&self, body: Value) -> Reply {
        let path = format!("{}/batch", self.records());
        self.try_send(Method::POST, &path, Some(body))
            .await
            .unwrap()
    }

    /// A request with these headers and no token.
    async fn bare(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.get(format!("{}{path}", self.cloudflare.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        reply(request).await.unwrap()
    }

    fn fault(&self, matches: Matcher, effect: Effect) {
        self.cloudflare.fault(Fault::once(matches, effect));
    }
}

async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Reply {
        status,
        headers,
        text,
        json,
    })
}

fn names(list: &Reply, field: &str) -> Vec<String> {
    let result = list.json["result"].as_array().unwrap();
    result
        .iter()
        .map(|r| r[field].as_str().unwrap().to_owned())
        .collect()
}
