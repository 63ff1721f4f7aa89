//! The dashboards are what Grafana takes, and ask for what there is.
//!
//! That each of their queries is answered is shown in `tests/stack`.

mod links;
mod linter;
mod model;
mod promql;
mod schema;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use model::{Kind, list, text};
use originswitch::rule::decision::Reason;
use promql::Selector;
use regex::Regex;
use serde_json::{Value, json};

const README: &str = include_str!("../../README.md");
const FAMILIES: &str = include_str!("../../src/metrics/families.rs");

/// Every metric that any query names, and where.
fn selectors() -> Vec<(String, Selector)> {
    let mut found = Vec::new();
    for dashboard in model::all() {
        for query in dashboard.queries() {
            let place = format!("{}: {}", dashboard.name, query.title);
            let read = promql::read(&query.expr).unwrap_or_else(|e| panic!("{place}: {e}"));
            found.extend(read.into_iter().map(|selector| (place.clone(), selector)));
        }
        for variable in dashboard.asked_variables() {
            let place = format!("{}: ${}", dashboard.name, variable.name);
            let read = promql::read(&variable.selector).unwrap();
            found.extend(read.into_iter().map(|selector| (place.clone(), selector)));
        }
    }
    assert!(found.len() > 100, "{}", found.len());
    found
}

/// The labels of every metric, as the README's table tells them; a test of
/// `tests/docs.rs` holds that against what is exported.
fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let rows = README
        .lines()
        .filter(|line| line.starts_with("| `originswitch_"));
    let known: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let labels = cells[3].split(", ").map(str::to_owned);
            (cells[1].trim_matches('`').to_owned(), labels.collect())
        })
        .collect();
    assert!(known.len() > 30, "{}", known.len());
    known
}

#[test]
fn the_source_is_sorted() {
    for dashboard in model::all() {
        let text = std::fs::read_to_string(model::path(dashboard.name)).unwrap();
        let mut sorted = dashboard.json.clone();
        sorted.sort_all_objects();
        let sorted = serde_json::to_string_pretty(&sorted).unwrap() + "\n";
        let name = dashboard.name;
        assert!(
            text == sorted,
            "jq -S . {name}.json says what is out of place"
        );
    }
}

#[test]
fn the_schemas_find_no_fault() {
    for dashboard in model::all() {
        if let Some(faults) = schema::check(&dashboard) {
            assert_eq!(faults, Vec::<String>::new(), "{}", dashboard.name);
        }
    }
    // And they would.
    let [mut broken, _] = model::all();
    broken.json["graphTooltip"] = json!("both");
    if let Some(faults) = schema::check(&broken) {
        assert!(!faults.is_empty());
    }
}

#[test]
fn the_linter_finds_no_fault() {
    for dashboard in model::all() {
        for (name, rule) in linter::RULES {
            assert_eq!(
                rule(&dashboard),
                Vec::<String>::new(),
                "{}: {name}",
                dashboard.name
            );
        }
    }
}

/// What breaks each rule: where, and what is put there.
fn breaks() -> [(&'static str, &'static str, Value); 15] {
    let expr = "/panels/0/targets/0/expr";
    let with = |selector: &str| json!(format!("sum({selector})"));
    [
        (
            "template-datasource-rule",
            "/templating/list/0/name",
            json!("ds"),
        ),
        (
            "template-job-rule",
            "/templating/list/1/multi",
            json!(false),
        ),
        (
            "template-instance-rule",
            "/templating/list/2/allValue",
            json!(""),
        ),
        (
            "template-label-promql-rule",
            "/templating/list/1/query",
            json!("label_values(a{, job)"),
        ),
        (
            "template-on-time-change-reload-rule",
            "/templating/list/1/refresh",
            json!(1),
        ),
        ("uneditable-dashboard", "/editable", json!(true)),
        (
            "panel-datasource-rule",
            "/panels/0/targets/0/datasource/uid",
            json!("mine"),
        ),
        (
            "panel-title-description-rule",
            "/panels/0/description",
            json!(""),
        ),
        (
            "panel-units-rule",
            "/panels/0/fieldConfig/defaults/unit",
            json!(""),
        ),
        ("panel-no-targets-rule", "/panels/0/targets", json!([])),
        ("target-promql-rule", expr, json!("sum(a")),
        (
            "target-rate-interval-rule",
            expr,
            with("rate(a_total{job=~\"$job\", instance=~\"$instance\"}[5m])"),
        ),
        ("target-job-rule", expr, with("a{instance=~\"$instance\"}")),
        (
            "target-instance-rule",
            expr,
            with("a{job=~\"$job\", instance=\"$instance\"}"),
        ),
        (
            "target-counter-agg-rule",
            expr,
            with("a_total{job=~\"$job\", instance=~\"$instance\"}"),
        ),
    ]
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for ((name, rule), (broken, place, value)) in linter::RULES.into_iter().zip(breaks()) {
        assert_eq!(name, broken);
        for mut dashboard in model::all() {
            *dashboard.json.pointer_mut(place).expect(place) = value.clone();
            assert_eq!(rule(&dashboard).len(), 1, "{name}: {place}");
        }
    }
}

#[test]
fn each_dashboard_is_itself() {
    for dashboard in model::all() {
        // Fixed, so that links hold and an import replaces what was there.
        assert_eq!(dashboard.json["uid"], dashboard.name);
        assert_eq!(dashboard.json["id"], Value::Null);
        assert_eq!(dashboard.json["tags"], json!(["originswitch"]));
        // Exports have them; provisioning cannot resolve them.
        assert!(dashboard.json.get("__inputs").is_none());
        let names: Vec<_> = dashboard
            .variables()
            .iter()
            .map(|v| text(v, "name"))
            .collect();
        assert_eq!(
            names,
            ["datasource", "job", "instance", "site", "api", "runbook"]
        );
        let all = list(&dashboard.json, "panels");
        let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), all.len(), "an id is there twice");
    }
    let titles = model::all().map(|d| text(&d.json, "title").to_owned());
    assert_ne!(titles[0], titles[1]);
}

/// The fields of the grid that a panel covers.
fn fields(panel: &Value) -> Vec<(u64, u64)> {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|n| panel["gridPos"][n].as_u64().unwrap());
    (x..x + w)
        .flat_map(|x| (y..y + h).map(move |y| (x, y)))
        .collect()
}

#[test]
fn panels_fill_the_grid_without_a_gap() {
    for dashboard in model::all() {
        let all = list(&dashboard.json, "panels");
        let mut taken = BTreeSet::new();
        for (x, y) in all.iter().flat_map(fields) {
            assert!(
                x < 24 && taken.insert((x, y)),
                "{}: {x},{y}",
                dashboard.name
            );
        }
        let height = taken.iter().map(|(_, y)| y + 1).max().unwrap();
        assert_eq!(taken.len() as u64, 24 * height, "{}: a gap", dashboard.name);
    }
}

#[test]
fn every_metric_asked_for_is_exported_with_its_labels() {
    let labels = labels();
    for (place, selector) in selectors() {
        let metric = &selector.metric;
        if metric.starts_with("process_") {
            continue;
        }
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| metric.strip_suffix(part));
        let family = family.unwrap_or(metric);
        let short = family.strip_prefix("originswitch_").expect(metric);
        assert!(
            FAMILIES.contains(&format!("(\"{short}\"")),
            "{place}: there is no {metric}"
        );
        let has = &labels[family];
        for (label, ..) in &selector.matchers {
            let of_scrape = ["job", "instance"].contains(&label.as_str());
            assert!(
                of_scrape || has.contains(label),
                "{place}: {metric} has no {label}"
            );
        }
        // Nobody sees sites that were not chosen; the variable itself asks for all.
        let narrowed = selector.has("site", "=~", "$site") || place.contains(": $");
        assert!(
            narrowed || !has.contains("site"),
            "{place}: {metric} of any site"
        );
    }
}

/// Metrics that are absent at times, where a zero in their place would be a lie.
const NO_ZERO: [(&str, &str); 2] = [
    (
        "originswitch_cloudflare_ratelimit_remaining",
        "0 is a budget that is spent",
    ),
    (
        "originswitch_last_switch_timestamp_seconds",
        "as an annotation: 0 is a switch in 1970",
    ),
];

#[test]
fn what_may_be_absent_shows_a_zero() {
    let absent = |metric: &str| {
        let row = format!("| `{metric}` |");
        let row = README.lines().find(|line| line.starts_with(&row));
        row.is_some_and(|row| row.contains("absent"))
    };
    let mut count = 0;
    for dashboard in model::all() {
        for query in dashboard.queries() {
            let named = promql::read(&query.expr).unwrap();
            let found: Vec<_> = named.iter().filter(|s| absent(&s.metric)).collect();
            count += found.len();
            let last = query.expr.rsplit(" or ").next().unwrap();
            let falls_back =
                last != query.expr && (last.contains("vector(0)") || last.contains("0 * "));
            let excused = found
                .iter()
                .all(|s| NO_ZERO.iter().any(|(metric, _)| s.metric == *metric));
            assert!(falls_back || excused, "{}: {}", query.title, query.expr);
        }
    }
    assert!(count > 20, "{count}");
}

/// A reason that is spelled wrong would have any colour.
#[test]
fn colours_of_reasons_are_those_of_reasons() {
    let known =
        Reason::ALL.map(|reason| format!("{} {}", reason.action().as_str(), reason.as_str()));
    let known = BTreeSet::from(known);
    let mut count = 0;
    for dashboard in model::all() {
        let panels = dashboard
            .panels()
            .filter(|p| p["title"] == "Decisions by reason");
        for panel in panels {
            count += 1;
            let overrides = list(&panel["fieldConfig"], "overrides").iter();
            let names = overrides.flat_map(|o| list(&o["matcher"]["options"], "names"));
            let named = names.map(|name| name.as_str().unwrap().to_owned());
            assert_eq!(named.collect::<BTreeSet<_>>(), known);
        }
    }
    assert_eq!(count, 2);
}

/// What looks back over the whole time range does so once, and not again for
/// every point in it.
#[test]
fn the_whole_range_is_looked_at_from_its_end() {
    let mut count = 0;
    for dashboard in model::all() {
        for query in dashboard.queries() {
            if query.expr.contains("[$__range]") {
                count += 1;
                let place = format!("{}: panel {}", dashboard.name, query.of);
                assert_eq!(query.kind, Kind::Instant, "{place}");
            }
        }
    }
    assert!(count > 5, "{count}");
}

#[test]
fn a_legend_names_labels_that_the_query_keeps() {
    let braces = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let mut count = 0;
    for dashboard in model::all() {
        for panel in dashboard.panels() {
            for target in list(panel, "targets") {
                let (expr, legend) = (text(target, "expr"), text(target, "legendFormat"));
                let table = target["format"] == "table";
                assert!(
                    table || !legend.is_empty(),
                    "{}: no legend",
                    text(panel, "title")
                );
                for label in braces.captures_iter(legend) {
                    count += 1;
                    let kept = Regex::new(&format!(r"by \([^)]*\b{}\b", &label[1])).unwrap();
                    assert!(kept.is_match(expr), "{legend} of {expr}");
                }
            }
        }
    }
    assert!(count > 15, "{count}");
}
