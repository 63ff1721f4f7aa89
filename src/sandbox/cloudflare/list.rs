//! Lists: filters, order, pages.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, ApiError};
use super::record::Record;
use super::zone::Zone;

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(pub Vec<(String, String)>);

impl Query {
    /// A parameter's value. An empty one is no filter: that is how the
    /// real one reads it, and why a client must never send one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, v)| n == name && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }

    /// Whether it is there, empty or not.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    fn any(&self, name: &str) -> bool {
        self.get(name) == Some("any")
    }

    fn descending(&self) -> bool {
        self.get("direction") == Some("desc")
    }

    fn number(
        &self,
        name: &str,
        default: usize,
        lowest: usize,
        highest: usize,
    ) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|n| (lowest..=highest).contains(n))
            .ok_or_else(|| {
                // The number of this one was never seen; the limits are documented.
                ApiError::new(
                    400,
                    1004,
                    format!("Invalid {name}: must be between {lowest} and {highest}."),
                )
            })
    }

    /// One page of `items` in the envelope.
    fn page<T>(
        &self,
        items: &[T],
        show: impl Fn(&T) -> Value,
        (default, lowest, highest): (usize, usize, usize),
    ) -> Result<Answer, ApiError> {
        let page = self.number("page", 1, 1, usize::MAX)?;
        let per_page = self.number("per_page", default, lowest, highest)?;
        let shown: Vec<Value> = items
            .iter()
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .map(show)
            .collect();
        let body = json!({
            "success": true,
            "errors": [],
            "messages": [],
            "result_info": {
                "page": page,
                "per_page": per_page,
                "count": shown.len(),
                "total_count": items.len(),
                "total_pages": items.len().div_ceil(per_page),
            },
            "result": shown,
        });
        Ok(Answer::json(200, &body))
    }
}

/// `GET /zones/{id}/dns_records` over records of some moment.
pub(super) fn records(
    zone: &Zone,
    records: &[Arc<Record>],
    query: &Query,
    extra: bool,
    largest_page: usize,
) -> Result<Answer, ApiError> {
    let mut found: Vec<&Arc<Record>> = records
        .iter()
        .filter(|record| {
            let answers = conditions(record, query);
            if answers.is_empty() {
                true
            } else if query.any("match") {
                answers.contains(&true)
            } else {
                !answers.contains(&false)
            }
        })
        .collect();
    let order = query.get("order").unwrap_or("type").to_owned();
    found.sort_by(|a, b| {
        let by = compare(a, b, &order);
        if query.descending() { by.reverse() } else { by }
    });
    let show = |record: &&Arc<Record>| zone.record_json(record, extra);
    query.page(&found, show, (100.min(largest_page), 1, largest_page))
}

fn compare(a: &Record, b: &Record, order: &str) -> Ordering {
    match order {
        "name" => a.name.cmp(&b.name),
        "content" => a.content.cmp(&b.content),
        "ttl" => a.ttl.cmp(&b.ttl),
        "proxied" => a.proxied.cmp(&b.proxied),
        _ => a.kind.cmp(&b.kind),
    }
}

/// What each filter of the query says about a record.
fn conditions(record: &Record, query: &Query) -> Vec<bool> {
    let mut answers = Vec::new();
    text_conditions(query, "name", &record.name, &mut answers);
    text_conditions(query, "content", &record.content, &mut answers);
    let comment = record.comment.as_deref();
    text_conditions(query, "comment", comment.unwrap_or(""), &mut answers);
    if query.has("comment.present") {
        answers.push(comment.is_some());
    }
    if query.has("comment.absent") {
        answers.push(comment.is_none());
    }
    if let Some(kind) = query.get("type") {
        answers.push(record.kind.eq_ignore_ascii_case(kind));
    }
    if let Some(proxied) = query.get("proxied") {
        answers.push(record.proxied == (proxied == "true"));
    }
    if let Some(search) = query.get("search") {
        let search = search.to_ascii_lowercase();
        let within = |s: &str| s.to_ascii_lowercase().contains(&search);
        answers.push(within(&record.name) || within(&record.content));
    }
    let tags = tag_conditions(record, query);
    if !tags.is_empty() {
        answers.push(if query.any("tag_match") {
            tags.contains(&true)
        } else {
            !tags.contains(&false)
        });
    }
    answers
}

fn text_conditions(query: &Query, field: &str, value: &str, answers: &mut Vec<bool>) {
    for (name, wanted) in &query.0 {
        let Some(operator) = name.strip_prefix(field) else {
            continue;
        };
        if !wanted.is_empty()
            && let Some(holds) = holds(operator, value, wanted)
        {
            answers.push(holds);
        }
    }
}

/// Whether `value` meets a filter; `None` if that is no filter of this kind.
fn holds(operator: &str, value: &str, wanted: &str) -> Option<bool> {
    // Nearly every request asks for one exact name, of thousands.
    if matches!(operator, "" | ".exact") {
        return Some(value.eq_ignore_ascii_case(wanted));
    }
    let (value, wanted) = (value.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    match operator {
        ".contains" => Some(value.contains(&wanted)),
        ".startswith" => Some(value.starts_with(&wanted)),
        ".endswith" => Some(value.ends_with(&wanted)),
        _ => None,
    }
}

fn tag_conditions(record: &Record, query: &Query) -> Vec<bool> {
    let tags = || {
        record
            .tags
            .iter()
            .map(|t| t.split_once(':').unwrap_or((t, "")))
    };
    let mut answers = Vec::new();
    for (name, wanted) in &query.0 {
        let Some(operator) = name.strip_prefix("tag").filter(|_| !wanted.is_empty()) else {
            continue;
        };
        let named = |tag: &str| tags().any(|(n, _)| n.eq_ignore_ascii_case(tag));
        match (operator, wanted.split_once(':')) {
            (".present", _) | ("", None) => answers.push(named(wanted)),
            (".absent", _) => answers.push(!named(wanted)),
            (_, Some((tag, value))) if holds(operator, "", value).is_some() => {
                answers.push(tags().any(|(n, v)| {
                    n.eq_ignore_ascii_case(tag) && holds(operator, v, value) == Some(true)
                }));
            }
            _ => {}
        }
    }
    answers
}

/// `GET /zones` over the zones a token may see.
pub(super) fn zones(
    zones: &[&Zone],
    query: &Query,
    show: impl Fn(&Zone) -> Value,
) -> Result<Answer, ApiError> {
    let mut found: Vec<&&Zone> = zones
        .iter()
        .filter(|zone| {
            let answers: Vec<bool> = [
                ("name", &zone.name),
                ("status", &zone.status),
                ("account.id", &zone.account.id),
                ("account.name", &zone.account.name),
            ]
            .iter()
            .filter_map(|(field, value)| query.get(field).map(|w| zone_filter(value, w)))
            .collect();
            answers.is_empty()
                || if query.any("match") {
                    answers.contains(&true)
                } else {
                    !answers.contains(&false)
                }
        })
        .collect();
    let key = |zone: &Zone| match query.get("order") {
        Some("status") => zone.status.clone(),
        Some("account.id") => zone.account.id.clone(),
        Some("account.name") => zone.account.name.clone(),
        _ => zone.name.clone(),
    };
    found.sort_by_key(|z| key(z));
    if query.descending() {
        found.reverse();
    }
    query.page(&found, |zone| show(zone), (20, 5, 50))
}

/// A zone's filters carry their operator in the value: `contains:example`.
fn zone_filter(value: &str, filter: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let filter = filter.to_ascii_lowercase();
    match filter.split_once(':') {
        Some(("equal", wanted)) => value == wanted,
        Some(("not_equal", wanted)) => value != wanted,
        Some(("starts_with" | "starts_with_case_sensitive", wanted)) => value.starts_with(wanted),
        Some(("ends_with" | "ends_with_case_sensitive", wanted)) => value.ends_with(wanted),
        Some(("contains" | "contains_case_sensitive", wanted)) => value.contains(wanted),
        _ => value == filter,
    }
}
