//! Cloudflare's answers: a success is one, a record is of the name and the types
//! that were asked for and holds what the answer says, and an error is one line.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use originswitch::failover::Record;
use originswitch::fuzzing::cloudflare::{
    entries, patched, record, records, said, windows, zones,
};
use originswitch::rule::address::RecordType;
use serde_json::Value;

const HOSTNAME: &str = "www.example.com";

/// What a write must leave as it was.
const KEPT: [&str; 5] = ["comment", "tags", "settings", "priority", "private_routing"];

fuzz_target!(|body: &[u8]| {
    // What it alone cannot hold, such as 1e999, is no fault of an answer.
    let value = serde_json::from_slice::<Value>(body).ok();
    let said = said(body);
    match (&said, &value) {
        (Some(Ok(())), Some(value)) => assert!(is_success(value), "{value}"),
        (Some(Err(errors)), _) => errors.iter().for_each(|(codes, text)| {
            assert!(text.contains(&codes[0].to_string()), "{text}");
            common::one_line(text);
        }),
        _ => {}
    }
    match records(HOSTNAME, body) {
        Ok((found, _)) => {
            assert!(said.is_some(), "records of what is no envelope");
            assert!(found.iter().all(|record| record.hostname == HOSTNAME));
            told_in_order(&found, value.as_ref().map(|value| &value["result"]));
        }
        Err(fault) => common::one_line(&fault),
    }
    match (entries(body), records(HOSTNAME, body)) {
        (Ok((mut found, _)), Ok((by_name, _))) => {
            found.retain(|record| record.hostname == HOSTNAME);
            assert_eq!(found, by_name, "a list of all is no other list");
        }
        (Ok((_, unreadable)), Err(_)) => assert!(!unreadable.is_empty()),
        (Err(fault), _) => common::one_line(&fault),
    }
    let header = String::from_utf8_lossy(body);
    assert!(windows(&header, &header) <= header.matches(',').count() + 1);
    match patched(body) {
        Ok(found) => {
            let patches = value.as_ref().map(|value| &value["result"]["patches"]);
            told_in_order(&found, patches);
        }
        Err(fault) => common::one_line(&fault),
    }
    match record(body) {
        Ok(found) => {
            if let Some(value) = &value {
                is_told(&found, &value["result"]);
            }
        }
        Err(fault) => common::one_line(&fault),
    }
    match zones(body) {
        Ok((found, last)) => {
            assert!(
                last || !found.is_empty(),
                "an empty page with a page after it"
            );
            if let Some(value) = &value {
                let told = value["result"].as_array().expect("a list");
                assert_eq!(found.len(), told.len());
            }
        }
        Err(fault) => common::one_line(&fault),
    }
});

/// By `success` and `errors` alone; where DELETE leaves out `success`, by its result.
fn is_success(value: &Value) -> bool {
    let errors = value["errors"].as_array().map_or(0, Vec::len);
    let so = match &value["success"] {
        Value::Null => !value["result"].is_null(),
        success => *success == true,
    };
    so && errors == 0
}

/// Each record is one of those told, and none is told twice or out of order.
fn told_in_order(found: &[Record], told: Option<&Value>) {
    let Some(told) = told else { return };
    let mut told = told.as_array().expect("a list").iter();
    for record in found {
        let its = told.find(|value| value["id"] == record.id.as_str() && is_told_so(record, value));
        assert!(its.is_some(), "{record:?}");
    }
}

fn is_told(record: &Record, value: &Value) {
    assert!(is_told_so(record, value), "{record:?} of {value}");
}

fn is_told_so(record: &Record, value: &Value) -> bool {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let kind = RecordType::from_name(text("type"));
    let kept: Value = serde_json::from_str(&record.rest).expect("kept fields are JSON");
    let kept = kept.as_object().expect("kept fields are an object");
    record.id == text("id")
        && Some(record.kind) == kind
        && record.hostname == text("name").trim_end_matches('.').to_ascii_lowercase()
        && record.content == text("content")
        && record.proxied == value["proxied"].as_bool().unwrap_or(false)
        && kept
            .iter()
            .all(|(name, its)| KEPT.contains(&name.as_str()) && *its == value[name])
}
