//! `/metrics` as the contract has it: names, types, labels, and what is there when.

use crate::common::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Name, type, labels; `true` where it is there from the start.
const CONTRACT: [(&str, &str, &str, bool); 42] = [
    ("build_info", "gauge", "revision version", true),
    ("config_last_reload_successful", "gauge", "", true),
    (
        "config_last_reload_success_timestamp_seconds",
        "gauge",
        "",
        true,
    ),
    ("webhook_requests_total", "counter", "code", false),
    ("alerts_received_total", "counter", "status", false),
    ("alerts_unmatched_total", "counter", "", true),
    ("alert_last_received_timestamp_seconds", "gauge", "", false),
    ("alert_path_up", "gauge", "", false),
    ("alert_unconfirmed", "gauge", "site", false),
    ("probes_total", "counter", "origin result site", true),
    ("probe_duration_seconds", "histogram", "phase", true),
    ("probe_lag_seconds", "histogram", "", true),
    ("origin_up", "gauge", "origin site", true),
    ("record_origin", "gauge", "origin site", true),
    ("decisions_total", "counter", "action reason site", true),
    ("switches_total", "counter", "from result site to", true),
    ("hold", "gauge", "reason site", false),
    ("blind", "gauge", "", true),
    ("brake_held_sites", "gauge", "", true),
    ("pinned", "gauge", "origin site", false),
    ("frozen", "gauge", "site", false),
    ("foreign_edits_total", "counter", "site", false),
    ("notifications_total", "counter", "result", true),
    ("edge_up", "gauge", "site", false),
    ("edge_down", "gauge", "site", false),
    ("recovery_seconds", "histogram", "", true),
    ("last_switch_timestamp_seconds", "gauge", "site", false),
    ("switch_duration_seconds", "histogram", "", true),
    (
        "cloudflare_requests_total",
        "counter",
        "code operation",
        true,
    ),
    (
        "cloudflare_request_duration_seconds",
        "histogram",
        "operation",
        true,
    ),
    ("cloudflare_up", "gauge", "", true),
    ("cloudflare_ratelimit_remaining", "gauge", "", false),
    ("cloudflare_budget_limit_calls", "gauge", "token", true),
    ("cloudflare_budget_used_calls", "gauge", "token", true),
    ("cloudflare_budget_foreign_calls", "gauge", "token", true),
    ("cloudflare_shared_total", "counter", "kind", true),
    ("cloudflare_token_valid", "gauge", "", false),
    (
        "cloudflare_token_expiry_timestamp_seconds",
        "gauge",
        "",
        false,
    ),
    ("state_up", "gauge", "", true),
    ("process_cpu_seconds_total", "counter", "", true),
    ("process_resident_memory_bytes", "gauge", "", true),
    ("process_open_fds", "gauge", "", true),
];

/// One family of a scrape.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    /// The names of the labels of each sample, `le` left out.
    labels: BTreeSet<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            assert!(!families.contains_key(name), "{name} comes twice");
            families.entry(name.into()).or_default().help = help.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.get_mut(name).expect("HELP comes first").kind = kind.into();
            current = name.into();
        } else {
            let (series, _) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series), "{series} comes twice");
            let (name, inside) = series.split_once('{').unwrap_or((series, ""));
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(current.as_str()).unwrap_or("?");
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{series} among {current}");
            let labels = inside.trim_end_matches('}').split(',');
            let mut names: Vec<&str> = labels
                .filter_map(|label| Some(label.split_once('=')?.0))
                .filter(|name| *name != "le")
                .collect();
            names.sort_unstable();
            family.labels.insert(names.join(" "));
        }
    }
    families
}

/// Everything there is has the contract's type and labels; what must be there is.
fn check(text: &str) {
    let families = families(text);
    for (name, family) in &families {
        let short = name.strip_prefix("originswitch_").unwrap_or(name);
        if short.starts_with("process_") && name == short {
            continue;
        }
        assert_ne!(name, short, "{name} has no prefix");
        let known = CONTRACT.iter().find(|(known, ..)| *known == short);
        let (_, kind, labels, _) = known.unwrap_or_else(|| panic!("{name} is not in the contract"));
        assert_eq!(family.kind, *kind, "{name}");
        assert_eq!(
            family.labels.iter().collect::<Vec<_>>(),
            [*labels],
            "{name}"
        );
        assert!(
            family.help.ends_with('.') && family.help.len() > 10,
            "{name}"
        );
    }
    for (name, kind, _, from_the_start) in CONTRACT {
        let full = match name.starts_with("process_") {
            true => name.to_owned(),
            false => format!("originswitch_{name}"),
        };
        let found = families.get(&full).map(|family| family.kind.as_str());
        if from_the_start || found.is_some() {
            assert_eq!(found, Some(kind), "{name}");
        }
    }
}

/// A quiet server; one that has seen a flight, an alert and a hold.
async fn quiet_and_eventful() -> (World, Server, String, String) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let quiet = server.get("/metrics").await.text;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    server.post_alert("nobody", "firing").await;
    world.revive_main().await;
    held(&server, SITE, Some("alert_firing")).await;
    let eventful = server.get("/metrics").await.text;
    (world, server, quiet, eventful)
}

#[tokio::test]
async fn names_types_and_labels_are_the_contracts() {
    let (world, _server, quiet, eventful) = quiet_and_eventful().await;
    check(&quiet);
    check(&eventful);
    let late = ["hold", "alert_unconfirmed", "last_switch_timestamp_seconds"];
    for name in late
        .iter()
        .chain(&["alert_last_received_timestamp_seconds"])
    {
        let name = format!("originswitch_{name}");
        assert!(
            !families(&quiet).contains_key(&name),
            "{name} is there too early"
        );
        assert!(families(&eventful).contains_key(&name), "{name} is missing");
    }
    for address in [world.main_ip(), world.backup_ip()] {
        assert!(
            !eventful.contains(&address),
            "an origin's address is a secret"
        );
    }
}

#[tokio::test]
async fn what_is_counted_from_zero_is_there_from_the_start() {
    let world = World::new().await;
    let third = origin(&world, 30, None);
    let tables = [&world.main, &world.backup, &third].map(|origin| table(origin, ""));
    let server = serve(&world, &site(SITE, &[HOSTNAME], &tables, "")).await;
    let metrics = server.metrics().await;
    let at = |name: &str, labels: &[(&str, &str)]| metrics.get(name, labels);
    for backup in ["backup", "backup-2"] {
        assert_eq!(metrics.switches("main", backup, "confirmed"), Some(0.0));
        assert_eq!(metrics.switches(backup, "main", "confirmed"), Some(0.0));
    }
    for (action, reason) in [
        ("keep", "on_main"),
        ("switch", "failover"),
        ("switch", "failback"),
    ] {
        let labels = [("site", SITE), ("action", action), ("reason", reason)];
        assert!(at("decisions_total", &labels).is_some(), "{reason}");
    }
    for role in ["main", "backup", "backup-2"] {
        for result in ["up", "down"] {
            let labels = [("site", SITE), ("origin", role), ("result", result)];
            assert!(at("probes_total", &labels).is_some(), "{role} {result}");
        }
        let unknown = [("origin", role), ("result", "unknown")];
        assert_eq!(at("probes_total", &unknown), None, "{role}");
        let on = f64::from(u8::from(role == "main"));
        assert_eq!(at("record_origin", &[("origin", role)]), Some(on), "{role}");
    }
    assert_eq!(at("record_origin", &[("origin", "other")]), Some(0.0));
    assert_eq!(at("alerts_unmatched_total", &[]), Some(0.0));
    assert_eq!(at("switch_duration_seconds_count", &[]), Some(0.0));
    assert_eq!(at("config_last_reload_successful", &[]), Some(1.0));
    assert_eq!(at("state_up", &[]), Some(1.0));
    assert_eq!(at("cloudflare_up", &[]), Some(1.0));
    assert_eq!(
        at("cloudflare_requests_total", &[("code", "200")]).map(|n| n > 0.0),
        Some(true)
    );
    assert_eq!(
        at("build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        Some(1.0)
    );
    let of_site = metrics.0.keys().filter(|key| key.contains("site=\"www\""));
    let series = of_site.count();
    // Some 15 for a site of two origins, so a few more for one of three.
    assert!(series <= 28, "{series} series");
}

#[tokio::test]
async fn a_site_of_two_origins_has_some_fifteen_series() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let metrics = server.metrics().await;
    let of_site: Vec<&String> = metrics
        .0
        .keys()
        .filter(|k| k.contains("site=\"www\""))
        .collect();
    assert!(of_site.len() <= 18, "{of_site:#?}");
}

#[tokio::test]
async fn gzip_is_sent_where_it_is_asked_for() {
    let world = World::new().await;
    let server = world.serve().await;
    let plain = server.get("/metrics").await;
    assert!(header(&plain, "content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(header(&plain, "content-encoding"), "");
    let asked = request(&server, "GET", "/metrics").header("accept-encoding", "gzip");
    let zipped = asked.send().await.unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let kind = zipped.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let bytes = zipped.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    check(&text);
    assert!(bytes.len() < text.len() / 2);
    let head = call(&server, "HEAD", "/metrics").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

/// Prometheus' own tool, from the path or the folder `ORIGINSWITCH_TOOLS`.
fn promtool() -> Option<Command> {
    let folder = std::env::var_os("ORIGINSWITCH_TOOLS").map(std::path::PathBuf::from);
    let names = folder.map(|folder| folder.join("promtool"));
    let names = names
        .into_iter()
        .chain([std::path::PathBuf::from("promtool")]);
    let mut works = names.filter(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    works.next().map(Command::new)
}

#[tokio::test]
async fn promtool_finds_nothing() {
    let Some(mut promtool) = promtool() else {
        println!("skipped: there is no promtool; ORIGINSWITCH_TOOLS names its folder");
        assert!(std::env::var_os("CI").is_none(), "not to be skipped in CI");
        return;
    };
    let (_world, _server, _, text) = quiet_and_eventful().await;
    let mut running = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    running
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = running.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}
