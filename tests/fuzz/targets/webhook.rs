//! The body of a webhook: what is read adds up, reads the same when it is sent
//! again, finds only sites that there are, and copies of it change nothing.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use originswitch::alertmanager::{Alert, Directory, SiteKeys, Webhook, parse};
use originswitch::matcher::Matcher;
use originswitch::rule::Moment;
use originswitch::rule::alerts::{AlertBook, AlertStatus};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

fuzz_target!(|body: &[u8]| {
    match parse(body) {
        Ok(webhook) => {
            adds_up(body, &webhook);
            for alert in &webhook.alerts {
                reads_the_same_again(alert);
                finds_its_sites(alert);
            }
            copies_change_nothing(&webhook.alerts);
        }
        Err(fault) => common::one_line(&fault.to_string()),
    }
});

/// Every element of `alerts` is read or counted as bad.
fn adds_up(body: &[u8], webhook: &Webhook) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // What it alone cannot hold, such as 1e999, is no fault of a body.
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let alerts = value["alerts"].as_array().expect("an array of alerts");
    assert_eq!(webhook.alerts.len() + webhook.bad, alerts.len());
    let truncated = value["truncatedAlerts"].as_u64().unwrap_or(0);
    assert_eq!(webhook.truncated, truncated);
}

fn reads_the_same_again(alert: &Alert) {
    let labels: HashMap<_, _> = alert.labels.iter().collect();
    let mut sent = json!({"status": alert.status.as_str(), "labels": labels});
    if let Some(start) = alert.starts_at {
        sent["startsAt"] = json!(start.to_string());
    }
    let body = json!({"alerts": [sent]}).to_string();
    let again = parse(body.as_bytes()).expect("our own words");
    let again = &again.alerts[0];
    assert_eq!(again.labels, alert.labels);
    assert_eq!(again.identity, alert.identity);
    assert_eq!(again.status, alert.status);
    assert_eq!(again.starts_at, alert.starts_at);
}

const HOSTNAMES: [&str; 2] = ["www.example.com", "shop.example.com"];

/// `www` by its name, `shop` by its matcher too.
static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let hostnames = HOSTNAMES.map(|name| vec![name.to_owned()]);
    let matchers = [Matcher::parse("alertname=~\"Shop.*\"").expect("a matcher")];
    let sites = ["www", "shop"].into_iter().zip(&hostnames);
    let sites = sites.map(|(name, hostnames)| SiteKeys {
        name,
        hostnames,
        origins: vec!["192.0.2.10".into(), "2001:db8::10".into()],
        matchers: if name == "shop" { &matchers } else { &[] },
    });
    Directory::new("site", sites)
});

fn finds_its_sites(alert: &Alert) {
    let sites = DIRECTORY.sites_of(alert);
    assert!(sites.is_sorted_by(|a, b| a < b), "{sites:?}");
    assert!(sites.iter().all(|&site| site < HOSTNAMES.len()));
    let label = |name: &str| alert.labels.get(name).unwrap_or_default();
    if ["www", HOSTNAMES[0]].contains(&label("site")) {
        assert!(sites.contains(&0), "{alert:?}");
    }
    if label("alertname").starts_with("Shop") && !label("alertname").contains('\n') {
        assert!(sites.contains(&1), "{alert:?}");
    }
}

/// Whatever comes again, and in whatever order: the same is known at the end.
fn copies_change_nothing(alerts: &[Alert]) {
    let words: Vec<_> = alerts
        .iter()
        // Without a start, copies cannot be put in order: the last word counts.
        .filter(|alert| alert.starts_at.is_some())
        .take(64)
        .collect();
    let firing = |order: &mut dyn Iterator<Item = &&Alert>| {
        let mut book = AlertBook::default();
        for alert in order {
            let Alert {
                identity,
                status,
                starts_at,
                ..
            } = **alert;
            book.take(identity, status, starts_at, Moment::default());
        }
        book.firing(Moment::default(), Duration::from_secs(900))
    };
    let once = firing(&mut words.iter());
    assert_eq!(firing(&mut words.iter().rev()), once);
    assert_eq!(firing(&mut words.iter().chain(words.iter().rev())), once);
    let resolved: HashSet<_> = words
        .iter()
        .filter(|alert| alert.status == AlertStatus::Resolved)
        .map(|alert| alert.identity)
        .collect();
    let never_resolved = |alert: &&&Alert| !resolved.contains(&alert.identity);
    assert!(once || words.iter().filter(never_resolved).count() == 0);
}
