//! Holds requests and answers against Cloudflare's published schema.

use std::path::PathBuf;

use jsonschema::{Draft, Validator};
use originswitch::sandbox::cloudflare::Logged;
use serde_json::{Value, json};

use super::skip::skip_everywhere;

/// Where the schema is, seen from the crate.
pub const FILE: &str = "../shared/cloudflare/openapi-dns.json";

/// Fields of a record that a client may write; `id` only within a batch.
const WRITABLE: [&str; 12] = [
    "id",
    "type",
    "name",
    "content",
    "data",
    "ttl",
    "proxied",
    "comment",
    "tags",
    "settings",
    "priority",
    "private_routing",
];

/// What is wrong with these requests and their answers, in words; `None` if
/// the schema is not here.
pub fn check(log: &[Logged]) -> Option<Vec<String>> {
    let schema = Schema::load()?;
    let faults = |l| [schema.request(l), schema.answer(l)].concat();
    Some(log.iter().flat_map(faults).collect())
}

/// The same for the requests alone, for answers that are broken on purpose.
pub fn check_requests(log: &[Logged]) -> Option<Vec<String>> {
    let schema = Schema::load()?;
    Some(log.iter().flat_map(|l| schema.request(l)).collect())
}

struct Schema {
    document: Value,
}

impl Schema {
    fn load() -> Option<Self> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE);
        let Ok(text) = std::fs::read_to_string(path) else {
            skip_everywhere(&format!("checks against {FILE}, which is not here"));
            return None;
        };
        let mut document = serde_json::from_str(&text).expect("the schema is JSON");
        to_json_schema(&mut document);
        relax(&mut document["components"]["schemas"]);
        Some(Self { document })
    }

    /// The operation a request names: its path item and its own part of it.
    fn operation(&self, logged: &Logged) -> Option<&Value> {
        let paths = self.document["paths"].as_object()?;
        let route = logged.route();
        // A literal segment goes before a parameter: `batch` is no record id.
        let template = paths
            .keys()
            .filter(|t| leads_to(t, route))
            .min_by_key(|t| t.matches('{').count())?;
        paths[template].get(logged.method.to_lowercase())
    }

    fn request(&self, logged: &Logged) -> Vec<String> {
        let what = format!("{} {}", logged.method, logged.route());
        let Some(operation) = self.operation(logged) else {
            return vec![format!("{what}: not in the schema")];
        };
        let mut faults = self.query(operation, &logged.query);
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        match logged.json() {
            Some(json) if body.is_object() => {
                faults.extend(self.validate(body, &json));
                faults.extend(unwritable(&json));
            }
            None if body.is_object() => faults.push("the body is not JSON".into()),
            _ if !logged.body.is_empty() => faults.push("a body where none belongs".into()),
            _ => {}
        }
        faults.iter().map(|f| format!("{what}: {f}")).collect()
    }

    fn query(&self, operation: &Value, query: &str) -> Vec<String> {
        let empty = Vec::new();
        let known = operation["parameters"].as_array().unwrap_or(&empty);
        let url = reqwest::Url::parse(&format!("http://localhost/?{query}")).unwrap();
        let mut faults = Vec::new();
        for (name, value) in url.query_pairs() {
            let parameter = known
                .iter()
                .find(|p| p["in"] == "query" && p["name"] == *name);
            let Some(parameter) = parameter else {
                faults.push(format!("unknown parameter {name}"));
                continue;
            };
            // Whether it stands for a number or a text, the schema decides.
            let as_json = serde_json::from_str(&value).unwrap_or(Value::Null);
            let readings = [json!(value), as_json, json!([value])];
            let fits = |v| self.validate(&parameter["schema"], v).is_empty();
            if value.is_empty() || !readings.iter().any(fits) {
                faults.push(format!("parameter {name} cannot be {value:?}"));
            }
        }
        faults
    }

    fn answer(&self, logged: &Logged) -> Vec<String> {
        let what = format!(
            "{:?} to {} {}",
            logged.status,
            logged.method,
            logged.route()
        );
        let Some(operation) = self.operation(logged) else {
            return Vec::new();
        };
        let range = match logged.status {
            Some(200) => "200",
            Some(400..=499) => "4XX",
            // What is not answered, or answered by the edge, has no schema.
            None | Some(500..) => return Vec::new(),
            _ => return vec![format!("{what}: no such status")],
        };
        let mut schema = &operation["responses"][range]["content"]["application/json"]["schema"];
        if range == "4XX"
            && let Some(parts) = schema["allOf"].as_array()
        {
            // Published as success and failure at once, which nothing can be.
            schema = &parts[parts.len() - 1];
        }
        let Some(json) = logged.answer_json() else {
            return vec![format!("{what}: not JSON")];
        };
        let faults = self.validate(schema, &json);
        faults.iter().map(|f| format!("{what}: {f}")).collect()
    }

    fn validate(&self, schema: &Value, value: &Value) -> Vec<String> {
        let root = json!({"allOf": [schema], "components": self.document["components"]});
        let validator: Validator = jsonschema::options()
            .with_draft(Draft::Draft7)
            .should_validate_formats(true)
            .build(&root)
            .expect("the schema is sound");
        let faults = validator.iter_errors(value);
        faults
            .map(|f| format!("{f} at {:?}", f.instance_path().as_str()))
            .collect()
    }
}

fn leads_to(template: &str, route: &str) -> bool {
    let (template, route) = (template.split('/'), route.split('/'));
    template.clone().count() == route.clone().count()
        && template
            .zip(route)
            .all(|(t, r)| t == r || (t.starts_with('{') && !r.is_empty()))
}

/// Field names in a body that the schema does not know or that are read-only.
fn unwritable(body: &Value) -> Vec<String> {
    let lists = ["deletes", "patches", "puts", "posts"];
    let fields = |record: &Value| -> Vec<String> {
        let names = record.as_object().into_iter().flat_map(|r| r.keys());
        names
            .filter(|n| !WRITABLE.contains(&n.as_str()))
            .map(|n| format!("field {n} is not writable"))
            .collect()
    };
    match body.as_object() {
        Some(object) if object.keys().any(|k| lists.contains(&k.as_str())) => object
            .values()
            .flat_map(|list| list.as_array().cloned().unwrap_or_default())
            .flat_map(|record| fields(&record))
            .collect(),
        _ => fields(body),
    }
}

/// OpenAPI 3.0 says `nullable` where JSON Schema has the type `null`.
fn to_json_schema(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        Value::Object(object) => {
            if object.get("nullable") == Some(&json!(true))
                && let Some(kind) = object.get("type")
            {
                let kind = json!([kind, "null"]);
                object.insert("type".into(), kind);
            }
            object.values_mut().for_each(to_json_schema);
        }
        _ => {}
    }
}

/// Three places where the published schema refuses what the real API does.
fn relax(schemas: &mut Value) {
    // A PATCH without `type` matches several record types; `oneOf` refuses that.
    for part in ["with", "without"] {
        let strict = format!("dns-records_dns-record-{part}-data");
        schemas[format!("relaxed-{part}-data")] = json!({"anyOf": schemas[&strict]["oneOf"]});
    }
    schemas["dns-records_dns-record-patch"] = json!({"anyOf": [
        {"$ref": "#/components/schemas/relaxed-with-data"},
        {"$ref": "#/components/schemas/relaxed-without-data"},
    ]});
    for api in ["dns-records", "zones", "iam"] {
        // Throttling is reported with code 971.
        let code = &mut schemas[format!("{api}_messages")]["items"]["properties"]["code"];
        *code = json!({"type": "integer", "minimum": 1});
        // Failures have `"result": null`, whose type is not `object`.
        let failure = &mut schemas[format!("{api}_api-response-common-failure")];
        failure["properties"]["result"] = json!({"enum": [null]});
    }
}
