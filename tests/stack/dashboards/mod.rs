//! The dashboards' own queries, asked of the real Prometheus after an incident.
//!
//! With `ORIGINSWITCH_PICTURE=FOLDER` the incident takes minutes, and what was
//! answered is written there: `tests/dashboards/draw.py` draws it.

#[path = "../../dashboards/model.rs"]
mod model;
mod story;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::monitoring::Tools;
use crate::stack::Stack;
use crate::support;
use model::{Dashboard, Kind, Query, Variable};

/// How long each part of the incident takes, and how dense the points are.
struct Plan {
    pace: Duration,
    step: u64,
    /// Where the answers go, if somewhere.
    folder: Option<PathBuf>,
}

impl Plan {
    fn of_environment() -> Plan {
        let folder = std::env::var_os("ORIGINSWITCH_PICTURE").map(PathBuf::from);
        match folder.is_some() {
            true => Plan {
                pace: Duration::from_secs(30),
                step: 3,
                folder,
            },
            false => Plan {
                pace: Duration::from_secs(1),
                step: 1,
                folder,
            },
        }
    }
}

/// The time that is looked at, in seconds.
#[derive(Clone, Copy)]
struct Span {
    from: i64,
    to: i64,
    step: u64,
}

#[tokio::test]
async fn every_query_of_the_dashboards_has_an_answer_after_an_incident() {
    let Some(tools) = Tools::find() else { return };
    let plan = Plan::of_environment();
    let mut stack = Stack::start(&tools).await;
    let _cast = story::prepare(&mut stack, plan.pace).await;
    let from = Timestamp::now().as_second();
    story::play(&stack, &tools, plan.pace).await;
    let to = Timestamp::now().as_second();
    let span = Span {
        from,
        to,
        step: plan.step,
    };

    let mut silent = Vec::new();
    let mut asked = 0;
    for dashboard in model::all() {
        let values = values(&stack, &dashboard, span).await;
        let mut answers = Map::new();
        for query in dashboard.queries() {
            asked += 1;
            let answer = ask(&stack, &query, &values, span).await;
            if !says_something(&answer) {
                silent.push(format!(
                    "{}: {}\n{}",
                    dashboard.name, query.title, query.expr
                ));
            }
            let of = answers.entry(&query.of).or_insert_with(|| json!([]));
            of.as_array_mut().unwrap().push(answer);
        }
        if let Some(folder) = &plan.folder {
            write(folder, &dashboard, &values, span, answers);
        }
    }
    assert!(asked > 60, "{asked}");
    assert!(silent.is_empty(), "no answer:\n{}", silent.join("\n"));
}

/// What Grafana would offer for each variable, and put in its place; of a
/// site's own dashboard, the site that had the incident.
async fn values(stack: &Stack, dashboard: &Dashboard, span: Span) -> BTreeMap<String, String> {
    let rate = (span.step + 1).max(4 * span.step);
    let mut values = BTreeMap::from([
        ("__rate_interval".to_owned(), format!("{rate}s")),
        ("__range".to_owned(), format!("{}s", span.to - span.from)),
    ]);
    for variable in dashboard.asked_variables() {
        let found = label_values(stack, &variable, &values).await;
        assert!(!found.is_empty(), "no value for {variable:?}");
        let value = match variable.name.as_str() {
            "site" => {
                assert_eq!(found, ["blog", "shop", "www"]);
                match dashboard.name {
                    "originswitch-site" => "www".into(),
                    _ => found.join("|"),
                }
            }
            _ => found.join("|"),
        };
        values.insert(variable.name, value);
    }
    values
}

async fn label_values(
    stack: &Stack,
    variable: &Variable,
    values: &BTreeMap<String, String>,
) -> Vec<String> {
    let selector = substitute(&variable.selector, values);
    let path = format!("label/{}/values", variable.label);
    let answer = call(stack, &path, &[("match[]", selector)]).await;
    let found = answer.as_array().unwrap().iter();
    found.map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// The expression with every variable replaced; the longest name first, so
/// that none is taken for the beginning of another.
fn substitute(expr: &str, values: &BTreeMap<String, String>) -> String {
    let mut names: Vec<_> = values.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let replaced = names
        .into_iter()
        .fold(expr.to_owned(), |expr, (name, value)| {
            expr.replace(&format!("${name}"), value)
        });
    assert!(!replaced.contains('$'), "a variable is left in {replaced}");
    replaced
}

async fn ask(stack: &Stack, query: &Query, values: &BTreeMap<String, String>, span: Span) -> Value {
    let expr = ("query", substitute(&query.expr, values));
    let result = match query.kind {
        Kind::Range => {
            let range = [
                expr,
                ("start", span.from.to_string()),
                ("end", span.to.to_string()),
                ("step", span.step.to_string()),
            ];
            call(stack, "query_range", &range).await
        }
        Kind::Instant => call(stack, "query", &[expr, ("time", span.to.to_string())]).await,
    };
    result["result"].clone()
}

/// What Prometheus answers; it answers with an error if it cannot read it.
async fn call(stack: &Stack, path: &str, parameters: &[(&str, String)]) -> Value {
    let mut url = format!("http://{}/api/v1/{path}", stack.at.prometheus)
        .parse::<reqwest::Url>()
        .unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    let answer = support::client().get(url).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
    answer["data"].clone()
}

/// Whether there is a number in it.
fn says_something(result: &Value) -> bool {
    let number = |sample: &Value| sample[1].as_str().is_some_and(|value| value != "NaN");
    model::list(&json!({"result": result}), "result")
        .iter()
        .any(|series| model::list(series, "values").iter().any(number) || number(&series["value"]))
}

/// Everything that is needed to draw the dashboard.
fn write(
    folder: &std::path::Path,
    dashboard: &Dashboard,
    values: &BTreeMap<String, String>,
    span: Span,
    answers: Map<String, Value>,
) {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join(dashboard.name).with_extension("json");
    let all = json!({
        "answers": answers,
        "from": span.from,
        "step": span.step,
        "to": span.to,
        "values": values,
    });
    std::fs::write(file, all.to_string()).unwrap();
}
