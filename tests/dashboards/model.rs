//! The dashboards as they are shipped, and the queries in them.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where they are, seen from the crate.
pub const FOLDER: &str = "config/grafana";

/// Their files, without the ending.
pub const NAMES: [&str; 2] = ["originswitch-overview", "originswitch-site"];

pub struct Dashboard {
    pub name: &'static str,
    pub json: Value,
}

/// How Grafana asks: over the whole time range, or for its end alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Range,
    Instant,
}

/// One query, and where it stands.
#[derive(Debug, Clone)]
pub struct Query {
    /// A panel's id, or an annotation's name.
    pub of: String,
    pub title: String,
    pub expr: String,
    pub kind: Kind,
}

/// A variable whose values a query gives: `label_values(selector, label)`.
#[derive(Debug)]
pub struct Variable {
    pub name: String,
    pub selector: String,
    pub label: String,
}

pub fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    folder.join(name).with_extension("json")
}

pub fn all() -> [Dashboard; 2] {
    NAMES.map(|name| {
        let text = std::fs::read_to_string(path(name)).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        Dashboard { name, json }
    })
}

pub fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

pub fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

impl Dashboard {
    /// Panels that show something: rows only name what follows.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        let panels = list(&self.json, "panels").iter();
        panels.filter(|panel| panel["type"] != "row")
    }

    pub fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    /// Annotations that Prometheus is asked for.
    pub fn annotations(&self) -> impl Iterator<Item = &Value> {
        let all = list(&self.json["annotations"], "list").iter();
        all.filter(|annotation| annotation["builtIn"] != 1)
    }

    /// What panels and annotations ask.
    pub fn queries(&self) -> Vec<Query> {
        let panels = self.panels().flat_map(|panel| {
            list(panel, "targets").iter().map(|target| Query {
                of: panel["id"].to_string(),
                title: format!("{} {}", text(panel, "title"), text(target, "refId")),
                expr: text(target, "expr").to_owned(),
                kind: match target["instant"] == true {
                    true => Kind::Instant,
                    false => Kind::Range,
                },
            })
        });
        let annotations = self.annotations().map(|annotation| Query {
            of: text(annotation, "name").to_owned(),
            title: text(annotation, "name").to_owned(),
            expr: text(annotation, "expr").to_owned(),
            kind: Kind::Range,
        });
        panels.chain(annotations).collect()
    }

    /// What the variables ask, in their order: later ones use earlier ones.
    pub fn asked_variables(&self) -> Vec<Variable> {
        let all = self.variables().iter();
        let asked = all.filter(|variable| variable["type"] == "query");
        asked
            .map(|variable| {
                let query = text(variable, "query");
                let inside = query
                    .strip_prefix("label_values(")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .unwrap_or_else(|| panic!("{query} is no label_values"));
                let (selector, label) = inside.rsplit_once(", ").unwrap();
                Variable {
                    name: text(variable, "name").to_owned(),
                    selector: selector.to_owned(),
                    label: label.to_owned(),
                }
            })
            .collect()
    }
}
