//! An incident with everything in it that the dashboards can show.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use originswitch::sandbox::cloudflare::RecordSpec;
use originswitch::sandbox::edge::Options;
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use originswitch::sandbox::{Edge, Origin};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::monitoring::{TRUSTED, Tools};
use crate::stack::Stack;
use crate::support::server::{HOSTNAME, finish};

/// What the story needs beside the stack; it ends with this.
pub struct Cast {
    _edge: Edge,
    _origins: Vec<Origin>,
}

/// Two more sites with origins of their own, an edge before all of them, and
/// routine probes that are frequent enough to be seen.
pub async fn prepare(stack: &mut Stack, pace: Duration) -> Cast {
    let edge = stack.world.edge_as(Options {
        trust: Some(stack.authority.trust()),
        ..Options::default()
    });
    let origins = [(11, "shop"), (12, "shop"), (21, "blog"), (22, "blog")].map(|(host, name)| {
        let tls = stack.authority.issue(&[&format!("{name}.example.com")]);
        Origin::start(stack.world.address(host), Some(tls)).unwrap()
    });
    let mut sites = site("www", HOSTNAME, &stack.world.main, &stack.world.backup);
    for (name, pair) in [("shop", &origins[0..2]), ("blog", &origins[2..4])] {
        let hostname = format!("{name}.example.com");
        let main = pair[0].addr().ip().to_string();
        let record = RecordSpec::new("A", &hostname, &main).proxied();
        let world = &stack.world;
        world.cloudflare.add_record(&world.zone, record);
        sites += &site(name, &hostname, &pair[0], &pair[1]);
        pair.iter().for_each(|origin| edge.origin_at(origin.addr()));
    }
    let configuration = configuration(stack, pace, &sites);
    stack.world.folder.configure(&configuration);
    let reload = stack.server.call(Method::POST, "/-/reload", None).await;
    assert_eq!(reload.status, 200, "{reload:?}");
    for name in ["www", "shop", "blog"] {
        stack.server.wait_reason(name, "on_main").await;
    }
    Cast {
        _edge: edge,
        _origins: origins.into(),
    }
}

fn site(name: &str, hostname: &str, main: &Origin, backup: &Origin) -> String {
    let table = |origin: &Origin| {
        let at = origin.addr();
        format!("{{ ipv4 = \"{}\", port = {} }}", at.ip(), at.port())
    };
    format!(
        "[[site]]\nname = \"{name}\"\nhostname = \"{hostname}\"\nzone = \"example.com\"\n\
         main = {}\nbackup = {}\n",
        table(main),
        table(backup),
    )
}

fn configuration(stack: &Stack, pace: Duration, sites: &str) -> String {
    let cloudflare = &stack.world.cloudflare;
    format!(
        "[server]\nwebhook_token_file = \"webhook.token\"\n\
         [cloudflare]\napi_token_file = \"token\"\napi_url = \"{}\"\n\
         [probe]\nca_file = \"{TRUSTED}\"\ninterval = \"1s\"\n\
         [rule]\nfailback_after = \"{}ms\"\n\
         [guard]\ncontrol_targets = [\"tcp://{}\"]\n\
         [edge]\n{}{sites}",
        cloudflare.url(),
        pace.as_millis(),
        cloudflare.addr(),
        stack.world.edge_keys,
    )
}

/// MAIN of `www` dies and returns, an alert for `blog` is not true, people pin
/// `shop` and freeze `blog`, and Cloudflare's API fails for a while.
pub async fn play(stack: &Stack, tools: &Tools, pace: Duration) {
    sleep(pace).await;
    stack.fail_over().await;
    sleep(pace).await;
    alert_falsely(stack, tools, pace).await;
    sleep(pace).await;
    order(stack, Method::PUT, "shop/pin", Some(&pin())).await;
    sleep(pace).await;
    stack.world.revive_main().await;
    order(stack, Method::PUT, "blog/freeze", Some(&json!({}))).await;
    stack
        .until("the record holds MAIN", async || stack.world.on_main())
        .await;
    order(stack, Method::DELETE, "blog/freeze", None).await;
    order(stack, Method::DELETE, "shop/pin", None).await;
    let returned = "originswitch_record_origin{site=\"shop\",origin=\"main\"}";
    stack
        .until(returned, async || stack.query(returned).await == Some(1.0))
        .await;
    sleep(pace).await;
    let outage = Fault::always(Matcher::Any, Effect::Status(502));
    let outage = stack.world.cloudflare.fault(outage);
    sleep(pace / 2).await;
    stack.world.cloudflare.clear_fault(outage);
    sleep(pace).await;
    for query in [
        "originswitch_cloudflare_up",
        "originswitch_edge_up{site=\"www\"}",
    ] {
        stack
            .until(query, async || stack.query(query).await == Some(1.0))
            .await;
    }
}

fn pin() -> Value {
    json!({"origin": "backup", "reason": "kernel update"})
}

/// Orders until it stands and is stored: a disk that is slow just then is
/// answered with 503, and a machine that is slow makes an origin unknown.
async fn order(stack: &Stack, method: Method, what: &str, body: Option<&Value>) {
    let path = format!("/api/v1/sites/{what}");
    stack
        .until(&format!("{method} {path}"), async || {
            let call = stack.server.call(method.clone(), &path, body.cloned());
            let reply = call.await;
            if reply.status != 200 {
                println!("{method} {path}: {reply:?}");
            }
            reply.status == 200
        })
        .await;
}

/// An alert that Alertmanager carries and no probe confirms. It lasts long
/// enough to be carried, whatever the pace.
async fn alert_falsely(stack: &Stack, tools: &Tools, pace: Duration) {
    let lasts = SignedDuration::try_from(pace).unwrap() + SignedDuration::from_secs(15);
    let end = Timestamp::now() + lasts;
    let mut amtool = tools.command("amtool");
    amtool.args(["alert", "add", "alertname=OriginDown", "site=blog"]);
    amtool.args([format!("--end={end:.0}")]);
    amtool.args([format!(
        "--alertmanager.url=http://{}",
        stack.at.alertmanager
    )]);
    let added = finish(amtool).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let query = "originswitch_alert_unconfirmed{site=\"blog\"}";
    stack
        .until(query, async || stack.query(query).await == Some(1.0))
        .await;
}
