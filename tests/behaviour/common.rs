//! What the scenarios share, on top of `support::server`.

use crate::support::{self, server};
use originswitch::sandbox::cloudflare::RecordSpec;
use originswitch::sandbox::{Behaviour, Origin, Tls};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::net::IpAddr;

pub use server::{HOSTNAME, Metrics, Reply, Server, World};

/// The name of the site of most tests.
pub const SITE: &str = "www";

/// A further origin of this world, over plain HTTP unless it is given a certificate.
pub fn origin(world: &World, host: u8, tls: Option<Tls>) -> Origin {
    Origin::start(world.address(host), tls).unwrap()
}

/// Up or refusing.
pub async fn set_up(origin: &Origin, up: bool) {
    let behaviour = if up {
        Behaviour::up()
    } else {
        Behaviour::Refusing
    };
    origin.set(behaviour).await.unwrap();
}

/// An origin as a table of the configuration, with further keys.
pub fn table(origin: &Origin, more: &str) -> String {
    let (ip, port) = (origin.addr().ip(), origin.addr().port());
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let comma = if more.is_empty() { "" } else { ", " };
    format!("{{ {family} = \"{ip}\", port = {port}{comma}{more} }}")
}

/// A `[[site]]` with its origins, MAIN first, and further keys.
pub fn site(name: &str, hostnames: &[&str], origins: &[String], more: &str) -> String {
    let (main, backups) = origins.split_first().expect("a site has a MAIN");
    let backups = backups.join(", ");
    format!(
        "[[site]]\nname = \"{name}\"\nhostname = {hostnames:?}\nzone = \"example.com\"\n\
         main = {main}\nbackup = [{backups}]\n{more}\n"
    )
}

/// Serves these sites instead of the world's own, and waits until each is decided.
pub async fn serve(world: &World, sites: &str) -> Server {
    let config = format!("{}\n{sites}\n{}", world.sections(), world.more);
    world.folder.configure(&config);
    let server = world.folder.serve().await;
    server
        .wait_until("every site is decided", async || {
            let sites = server.sites().await;
            sites.iter().all(|site| site["last_decision"].is_object())
        })
        .await;
    server
}

/// A proxied record of the type its content calls for; gives its id.
pub fn add_record(world: &World, name: &str, content: &str) -> String {
    let kind = match content.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "A",
        Ok(IpAddr::V6(_)) => "AAAA",
        Err(_) => "CNAME",
    };
    let spec = RecordSpec::new(kind, name, content).proxied();
    world.cloudflare.add_record(&world.zone, spec)
}

/// What the records of a name hold, sorted and joined by a space.
pub fn contents(world: &World, name: &str) -> String {
    let records = world.cloudflare.records(name);
    let mut contents: Vec<String> = records.into_iter().map(|r| r.content).collect();
    contents.sort();
    contents.join(" ")
}

/// A request that can be given more.
pub fn request(server: &Server, method: &str, path: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    support::client().request(method, format!("http://{}{path}", server.addr))
}

/// Sends a request and reads the answer as text.
pub async fn send(request: RequestBuilder) -> Reply {
    let answer = request.send().await.unwrap();
    Reply {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

/// A request without a body.
pub async fn call(server: &Server, method: &str, path: &str) -> Reply {
    send(request(server, method, path)).await
}

/// A header of an answer; empty if it is not there.
pub fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let value = reply.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// The one sentence of an error of this status, which is all its body has.
pub fn refused(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(header(reply, "content-type"), "application/json");
    let body = reply.json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error"], "{body}");
    let sentence = body["error"].as_str().unwrap().to_owned();
    assert!(sentence.len() > 10 && !sentence.contains('\n'), "{body}");
    sentence
}

/// An alert that names its site.
pub fn alert(site: &str, status: &str) -> Value {
    json!({"status": status, "labels": {"alertname": "OriginDown", "site": site}})
}

/// Posts these alerts; the answer, which must be 200.
pub async fn post_alerts(server: &Server, query: &str, alerts: Value) -> Value {
    let body = json!({"version": "4", "alerts": alerts});
    let reply = server.post(&format!("/webhook{query}"), body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// A confirmed pass now; its decision.
pub async fn evaluate(server: &Server, query: &str) -> Value {
    let path = format!("/api/v1/sites/{SITE}/evaluate{query}");
    let reply = call(server, "POST", &path).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Stored decisions of a site, oldest first.
pub async fn history(server: &Server, site: &str) -> Vec<Value> {
    let mut decisions = server.decisions().await;
    decisions.retain(|decision| decision["site"] == site);
    decisions.reverse();
    decisions
}

/// Waits for a stored decision of this reason; the newest if there are several.
pub async fn decided(server: &Server, site: &str, reason: &str) -> Value {
    let mut found = None;
    server
        .wait_until(&format!("{site} is decided {reason}"), async || {
            let decisions = history(server, site).await;
            found = decisions.into_iter().rfind(|d| d["reason"] == reason);
            found.is_some()
        })
        .await;
    found.unwrap()
}

/// Waits until the site shows this origin in this state.
pub async fn origin_is(server: &Server, site: &str, role: &str, state: &str) {
    let what = format!("{role} is {state}");
    server
        .wait_site(site, &what, |site| {
            let mut origins = site["origins"].as_array().unwrap().iter();
            origins.any(|origin| origin["role"] == role && origin["state"] == state)
        })
        .await;
}

/// Waits until this hold, or none, is shown.
pub async fn held(server: &Server, site: &str, reason: Option<&str>) {
    server
        .wait_site(site, "the hold", |site| site["hold"] == json!(reason))
        .await;
}

/// The text of a decision's explanation.
pub fn explanation(decision: &Value) -> &str {
    decision["explanation"].as_str().unwrap()
}

/// Whether `text` matches the regular expression, from end to end.
#[track_caller]
pub fn assert_like(text: &str, pattern: &str) {
    let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
    assert!(whole.is_match(text), "{text:?} is not like {pattern:?}");
}
