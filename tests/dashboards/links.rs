//! Where the dashboards lead, and what may not be in them.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::README;
use crate::model::{self, Dashboard, NAMES, list, text};

/// The anchors of the README's headings, as every renderer makes them.
fn anchors() -> BTreeSet<String> {
    let headings = README.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || "- ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Everything below a value that stands under `url`.
fn urls(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(urls).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match (name.as_str(), member) {
                ("url", Value::String(url)) => vec![url.clone()],
                _ => urls(member),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_link_leads_somewhere() {
    let anchors = anchors();
    for Dashboard { name, json } in model::all() {
        let panels = list(&json, "panels").iter().filter(|p| p["type"] != "row");
        for panel in panels {
            let links = list(panel, "links").iter();
            let runbook = links.filter(|link| text(link, "url").starts_with("${runbook}#"));
            assert!(
                runbook.count() > 0,
                "{name}: {} has no runbook",
                text(panel, "title")
            );
        }
        for url in urls(&json).iter().filter(|url| !url.is_empty()) {
            if let Some(anchor) = url.strip_prefix("${runbook}#") {
                assert!(anchors.contains(anchor), "no heading #{anchor}");
            } else if let Some(path) = url.strip_prefix("${api}") {
                let path = path.split('?').next().unwrap();
                let path = path.replace("${site:percentencode}", "{name}");
                assert!(README.contains(&format!("`GET {path}`")), "no call {path}");
            } else {
                let uid = url
                    .strip_prefix("/d/")
                    .and_then(|rest| rest.split('?').next());
                assert!(uid.is_some_and(|uid| NAMES.contains(&uid)), "{url}");
            }
        }
    }
}

/// Behind Cloudflare an origin's address is a secret.
#[test]
fn no_address_is_in_them() {
    let address = Regex::new(r"\d+\.\d+\.\d+\.\d+").unwrap();
    for dashboard in model::all() {
        let text = dashboard.json.to_string();
        let found: BTreeSet<_> = address
            .find_iter(&text)
            .map(|found| found.as_str())
            .collect();
        assert_eq!(found, BTreeSet::from(["127.0.0.1"]), "{}", dashboard.name);
    }
}

/// Grafana's own reader of these files cannot be run here; what is in them is
/// held against the folders that the README names.
#[test]
fn provisioning_names_the_folder_that_the_readme_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(model::FOLDER);
    let read =
        |file: &str| std::fs::read_to_string(folder.join("provisioning").join(file)).unwrap();
    let provider = read("dashboards/originswitch.yml");
    let source = read("datasources/prometheus.yml");
    for text in [&provider, &source] {
        assert!(text.contains("\napiVersion: 1\n"), "{text}");
        assert!(!text.contains('\t'), "YAML has no tabs");
    }
    assert!(provider.contains("\n    type: file\n"), "{provider}");
    assert!(source.contains("\n    type: prometheus\n"), "{source}");
    let path = provider
        .split("path: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    for wanted in [path, "/etc/grafana/provisioning"] {
        assert!(README.contains(wanted), "the README does not name {wanted}");
    }
}

/// The README shows them, and a reader on a slow line opens it too.
#[test]
fn each_dashboard_has_a_picture_of_moderate_size() {
    for name in NAMES {
        let name = name.strip_prefix("originswitch-").unwrap();
        let shown = format!("({}/{name}.png)", model::FOLDER);
        assert!(README.contains(&shown), "the README does not show {name}");
        let file = model::path(name).with_extension("png");
        let picture = std::fs::read(file).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        assert!((20_000..300_000).contains(&picture.len()), "{name}");
    }
}
