//! The rules of Grafana's dashboard-linter, which cannot be built from where
//! this project gets its tools. Its rule for LogQL has nothing to look at here.

use serde_json::Value;

use crate::model::{Dashboard, list, text};
use crate::promql::{self, Selector};

type Faults = Vec<String>;
type Rule = fn(&Dashboard) -> Faults;

/// A rule's name there, and what it finds.
pub const RULES: [(&str, Rule); 15] = [
    ("template-datasource-rule", template_datasource),
    ("template-job-rule", |d| template(d, "job", "Job")),
    ("template-instance-rule", |d| {
        template(d, "instance", "Instance")
    }),
    ("template-label-promql-rule", template_label_promql),
    ("template-on-time-change-reload-rule", template_reload),
    ("uneditable-dashboard", uneditable),
    ("panel-datasource-rule", panel_datasource),
    ("panel-title-description-rule", panel_title_description),
    ("panel-units-rule", panel_units),
    ("panel-no-targets-rule", panel_no_targets),
    ("target-promql-rule", target_promql),
    ("target-rate-interval-rule", target_rate_interval),
    ("target-job-rule", |d| target_matcher(d, "job")),
    ("target-instance-rule", |d| target_matcher(d, "instance")),
    ("target-counter-agg-rule", target_counter),
];

/// A fault, or none.
fn unless(good: bool, fault: impl FnOnce() -> String) -> Faults {
    if good { Vec::new() } else { vec![fault()] }
}

/// What every panel's faults come to, each with its panel's title.
fn each_panel(dashboard: &Dashboard, rule: impl Fn(&Value) -> Faults) -> Faults {
    let faults = |panel: &Value| {
        let faults = rule(panel).into_iter();
        let title = text(panel, "title").to_owned();
        faults.map(move |fault| format!("{title}: {fault}"))
    };
    dashboard.panels().flat_map(faults).collect()
}

/// The same for every metric in every panel.
fn each_selector(dashboard: &Dashboard, rule: impl Fn(&Selector) -> Faults) -> Faults {
    each_panel(dashboard, |panel| {
        let targets = list(panel, "targets").iter();
        let selectors = targets.flat_map(|target| {
            // What cannot be read is another rule's fault.
            promql::read(text(target, "expr")).unwrap_or_default()
        });
        selectors.flat_map(|selector| rule(&selector)).collect()
    })
}

fn template_datasource(dashboard: &Dashboard) -> Faults {
    let all = dashboard.variables().iter();
    let sources: Vec<_> = all.filter(|v| v["type"] == "datasource").collect();
    let [source] = sources[..] else {
        return vec![format!("{} templated data sources", sources.len())];
    };
    let named = ["datasource", "prometheus_datasource"].contains(&text(source, "name"));
    let labelled = ["Data source", "Prometheus data source"].contains(&text(source, "label"));
    unless(named && labelled, || format!("misnamed: {source}"))
}

fn template(dashboard: &Dashboard, name: &str, label: &str) -> Faults {
    let mut all = dashboard.variables().iter();
    let Some(variable) = all.find(|v| v["name"] == name) else {
        return vec![format!("no template {name}")];
    };
    let good = variable["type"] == "query"
        && variable["datasource"]["uid"] == "${datasource}"
        && variable["label"] == label
        && variable["multi"] == true
        && variable["allValue"] == ".+";
    unless(good, || {
        format!("{name} is not as it should be: {variable}")
    })
}

fn template_label_promql(dashboard: &Dashboard) -> Faults {
    let readable = |selector: &str| promql::read(selector).is_ok_and(|found| found.len() == 1);
    let variables = dashboard.asked_variables().into_iter();
    variables
        .filter(|variable| !readable(&variable.selector) || variable.label.contains(' '))
        .map(|variable| format!("{variable:?}"))
        .collect()
}

fn template_reload(dashboard: &Dashboard) -> Faults {
    let all = dashboard.variables().iter();
    all.filter(|v| v["type"] == "query" && v["refresh"] != 2)
        .map(|v| format!("{} is not asked again when the time changes", v["name"]))
        .collect()
}

fn uneditable(dashboard: &Dashboard) -> Faults {
    unless(dashboard.json["editable"] == false, || "editable".into())
}

fn panel_datasource(dashboard: &Dashboard) -> Faults {
    each_panel(dashboard, |panel| {
        let of_targets = list(panel, "targets").iter().map(|t| &t["datasource"]);
        let mut sources = of_targets.chain([&panel["datasource"]]);
        let good = sources.all(|s| s["uid"] == "${datasource}" && s["type"] == "prometheus");
        unless(good, || "another data source".into())
    })
}

fn panel_title_description(dashboard: &Dashboard) -> Faults {
    each_panel(dashboard, |panel| {
        let said = ["title", "description"].map(|member| !text(panel, member).is_empty());
        unless(said == [true, true], || "no title or no description".into())
    })
}

fn panel_units(dashboard: &Dashboard) -> Faults {
    each_panel(dashboard, |panel| {
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        unless(!unit.is_empty(), || "no unit".into())
    })
}

fn panel_no_targets(dashboard: &Dashboard) -> Faults {
    each_panel(dashboard, |panel| {
        unless(!list(panel, "targets").is_empty(), || "no query".into())
    })
}

fn target_promql(dashboard: &Dashboard) -> Faults {
    each_panel(dashboard, |panel| {
        let targets = list(panel, "targets").iter();
        let read = targets.map(|target| promql::read(text(target, "expr")));
        read.filter_map(|read| match read {
            Ok(found) if found.is_empty() => Some("no metric".to_owned()),
            Ok(_) => None,
            Err(fault) => Some(fault),
        })
        .collect()
    })
}

fn target_rate_interval(dashboard: &Dashboard) -> Faults {
    each_selector(dashboard, |selector| {
        let function = selector.within.last().map_or("", String::as_str);
        let rate = ["rate", "irate"].contains(&function);
        let range = selector.range.as_deref();
        let good = !rate || range == Some("$__rate_interval");
        unless(good, || format!("{} over {range:?}", selector.metric))
    })
}

fn target_matcher(dashboard: &Dashboard, label: &str) -> Faults {
    each_selector(dashboard, |selector| {
        let good = selector.has(label, "=~", &format!("${label}"));
        unless(good, || format!("{} of any {label}", selector.metric))
    })
}

fn target_counter(dashboard: &Dashboard) -> Faults {
    each_selector(dashboard, |selector| {
        let function = selector.within.last().map_or("", String::as_str);
        let good = !selector.metric.ends_with("_total")
            || (selector.range.is_some() && ["rate", "irate", "increase"].contains(&function));
        unless(good, || format!("{} is a counter", selector.metric))
    })
}
