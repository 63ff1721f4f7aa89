//! Grafana's published schemas of a dashboard.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::model::{Dashboard, list, text};
use crate::support::skip::skip_everywhere;

/// Where they are, seen from the crate.
const FOLDER: &str = "../shared/grafana";

/// Panels and their schemas. The last says whether the schema knows what a
/// panel's fields can be set to beside what all panels have.
const PANELS: [(&str, &str, bool); 5] = [
    ("stat", "stat", false),
    ("state-timeline", "statetimeline", true),
    ("status-history", "statushistory", true),
    ("table", "table", true),
    ("timeseries", "timeseries", true),
];

/// A schema; `None`, said aloud, if it is not here.
fn schema(name: &str) -> Option<Value> {
    let file = format!("{FOLDER}/{name}.jsonschema.json");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&file);
    let Ok(text) = std::fs::read_to_string(path) else {
        skip_everywhere(&format!("checks against {file}, which is not here"));
        return None;
    };
    Some(serde_json::from_str(&text).expect("the schema is JSON"))
}

/// What is wrong with a value, seen from one of the schema's definitions.
fn faults(schema: &Value, definition: &str, value: &Value) -> Vec<String> {
    let root = json!({
        "$ref": format!("#/definitions/{definition}"),
        "definitions": schema["definitions"],
    });
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft7);
    let validator = options.build(&root).expect("the schema is sound");
    let found = validator.iter_errors(value);
    found
        .map(|f| format!("{f} at {:?}", f.instance_path().as_str()))
        .collect()
}

/// What is wrong with a dashboard; `None` if the schemas are not here.
pub fn check(dashboard: &Dashboard) -> Option<Vec<String>> {
    let mut found = faults(&schema("dashboard")?, "Dashboard", &dashboard.json);
    let query = schema("prometheus")?;
    let units = units()?;
    for panel in dashboard.panels() {
        let title = text(panel, "title");
        let name = |fault: String| format!("{title}: {fault}");
        let defaults = &panel["fieldConfig"]["defaults"];
        let unit = text(defaults, "unit");
        if !units.iter().any(|known| known == unit) {
            found.push(format!("{title}: there is no unit {unit:?}"));
        }
        let known = PANELS.iter().find(|(kind, ..)| panel["type"] == *kind);
        let (_, file, custom) = known.unwrap_or_else(|| panic!("no schema for {title}"));
        let of_kind = schema(file)?;
        found.extend(
            faults(&of_kind, "Options", &panel["options"])
                .into_iter()
                .map(name),
        );
        if *custom {
            let faults = faults(&of_kind, "FieldConfig", &defaults["custom"]);
            found.extend(faults.into_iter().map(name));
        }
        for target in list(panel, "targets") {
            found.extend(faults(&query, "Dataquery", target).into_iter().map(name));
        }
    }
    Some(found)
}

/// Every unit that Grafana knows.
fn units() -> Option<Vec<String>> {
    let schema = schema("units")?;
    let all = schema["definitions"].as_object().unwrap().values();
    let names = all.filter_map(|unit| unit["const"].as_str());
    Some(names.map(str::to_owned).collect())
}
