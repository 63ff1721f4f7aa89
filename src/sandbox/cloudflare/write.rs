//! Creating, patching, overwriting and deleting records, alone or in a batch.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answer::ApiError;
use super::options::Options;
use super::record::Record;
use super::validate;
use super::zone::{Records, Zone, quota};

type Body = Map<String, Value>;

/// A zone's records while a request changes them. Nothing is seen of it until
/// the whole request went well, which is what makes a batch all or nothing.
pub(super) struct Draft<'a> {
    pub records: Records,
    /// Names whose records changed, in the order they changed.
    pub touched: Vec<String>,
    zone: &'a str,
    options: &'a Options,
    now: Timestamp,
    new_id: &'a mut dyn FnMut() -> String,
}

impl<'a> Draft<'a> {
    pub fn new(
        zone: &'a Zone,
        options: &'a Options,
        now: Timestamp,
        new_id: &'a mut dyn FnMut() -> String,
    ) -> Self {
        Self {
            records: zone.records.clone(),
            touched: Vec::new(),
            zone: &zone.name,
            options,
            now,
            new_id,
        }
    }

    pub fn create(&mut self, body: &Body) -> Result<Arc<Record>, ApiError> {
        let quota = quota(self.options);
        if self.records.len() >= quota {
            return Err(ApiError::new(400, 81045, "Record quota exceeded."));
        }
        require(body)?;
        let blank = Record::blank((self.new_id)(), self.now);
        let record = self.checked(blank, body, None)?;
        self.records.push(record.clone());
        Ok(record)
    }

    /// Fields that `body` leaves out stay as they are.
    pub fn patch(&mut self, id: &str, body: &Body) -> Result<Arc<Record>, ApiError> {
        let at = self.position(id)?;
        let before = self.records[at].clone();
        self.store(at, Record::clone(&before), body)
    }

    /// Fields that `body` leaves out go back to their defaults.
    pub fn put(&mut self, id: &str, body: &Body) -> Result<Arc<Record>, ApiError> {
        let at = self.position(id)?;
        require(body)?;
        let before = &self.records[at];
        let blank = Record {
            created_on: before.created_on,
            ..Record::blank(before.id.clone(), self.now)
        };
        self.store(at, blank, body)
    }

    pub fn delete(&mut self, id: &str) -> Result<Arc<Record>, ApiError> {
        let at = self.position(id)?;
        let record = self.records.remove(at);
        self.touched.push(record.name.clone());
        Ok(record)
    }

    /// Deletes, patches, puts, posts: always in this order.
    pub fn batch(&mut self, body: &Body) -> Result<BatchResult, ApiError> {
        let limit = self.options.plan.limit();
        let total: usize = BatchResult::LISTS
            .iter()
            .filter_map(|list| body.get(*list)?.as_array().map(Vec::len))
            .sum();
        if total > limit {
            // The number of this one was never seen; the limit is documented.
            return Err(ApiError::new(
                400,
                81059,
                format!("A batch may hold at most {limit} operations, this one holds {total}."),
            ));
        }
        let mut result = BatchResult::default();
        for (index, list) in BatchResult::LISTS.iter().enumerate() {
            for item in items(body, list)? {
                let record = match *list {
                    "deletes" => self.delete(id_of(item)?)?,
                    "patches" => self.patch(id_of(item)?, item)?,
                    "puts" => self.put(id_of(item)?, item)?,
                    _ => self.create(item)?,
                };
                result.0[index].push(record);
            }
        }
        Ok(result)
    }

    fn position(&self, id: &str) -> Result<usize, ApiError> {
        self.records
            .iter()
            .position(|r| r.id == id)
            .ok_or_else(ApiError::no_record)
    }

    fn store(&mut self, at: usize, base: Record, body: &Body) -> Result<Arc<Record>, ApiError> {
        let before = self.records[at].clone();
        let record = self.checked(base, body, Some(&before))?;
        self.records[at] = record.clone();
        Ok(record)
    }

    /// `base` with the fields of `body` over it, if Cloudflare would have it.
    fn checked(
        &mut self,
        base: Record,
        body: &Body,
        before: Option<&Record>,
    ) -> Result<Arc<Record>, ApiError> {
        let mut record = base;
        merge(&mut record, body)?;
        validate::normalise(&mut record, self.zone);
        validate::check(&record, self.options)?;
        self.check_neighbours(&record)?;
        self.stamp(&mut record, before);
        self.touched.push(record.name.clone());
        if let Some(before) = before.filter(|b| b.name != record.name) {
            self.touched.push(before.name.clone());
        }
        Ok(Arc::new(record))
    }

    /// Refuses a record that cannot live beside the others of its name.
    fn check_neighbours(&self, record: &Record) -> Result<(), ApiError> {
        const MORE: &str = "For more details, refer to <https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/>.";
        let address = |kind: &str| kind == "A" || kind == "AAAA";
        for other in &self.records {
            if other.name != record.name || other.id == record.id {
                continue;
            }
            let hosts = address(&other.kind) || other.kind == "CNAME";
            if record.kind == "CNAME" && hosts {
                let what = "An A, AAAA, or CNAME record with that host already exists.";
                return Err(ApiError::new(400, 81053, format!("{what} {MORE}")));
            }
            if address(&record.kind) && other.kind == "CNAME" {
                let what = "A CNAME record with that host already exists.";
                return Err(ApiError::new(400, 81054, format!("{what} {MORE}")));
            }
            if (record.kind == "NS") != (other.kind == "NS") && other.name != self.zone {
                let what = "NS records with that host already exist.";
                return Err(ApiError::new(400, 81056, format!("{what} {MORE}")));
            }
            if other.kind == record.kind && other.content == record.content {
                return Err(twin(record, other));
            }
        }
        Ok(())
    }

    /// Sets the times, which only move where something was written.
    fn stamp(&self, record: &mut Record, before: Option<&Record>) {
        let unchanged = before.is_some_and(|b| b.same_fields(record));
        record.modified_on = match before {
            Some(b) if unchanged && !self.options.identical_patch_bumps_modified => b.modified_on,
            // Two writes within a microsecond still have an order.
            Some(b) => self
                .now
                .max(b.modified_on + jiff::SignedDuration::from_micros(1)),
            None => self.now,
        };
        let since = |same: bool, old: Option<jiff::Timestamp>| match old {
            Some(old) if same => Some(old),
            _ => Some(record.modified_on),
        };
        let same_comment = before.is_some_and(|b| b.comment == record.comment);
        let same_tags = before.is_some_and(|b| b.tags == record.tags);
        let comment = since(same_comment, before.and_then(|b| b.comment_modified_on));
        let tags = since(same_tags, before.and_then(|b| b.tags_modified_on));
        record.comment_modified_on = comment.filter(|_| record.comment.is_some());
        record.tags_modified_on = tags.filter(|_| !record.tags.is_empty());
    }
}

/// What a batch did, in the order of [`BatchResult::LISTS`].
#[derive(Default)]
pub(super) struct BatchResult([Vec<Arc<Record>>; 4]);

impl BatchResult {
    const LISTS: [&'static str; 4] = ["deletes", "patches", "puts", "posts"];

    pub fn to_json(&self, show: impl Fn(&Record) -> Value) -> Value {
        let mut json = json!({});
        for (list, records) in Self::LISTS.iter().zip(&self.0) {
            json[*list] = records.iter().map(|r| show(r)).collect();
        }
        json
    }
}

fn twin(record: &Record, other: &Record) -> ApiError {
    let same = record.same_fields(&Record {
        id: record.id.clone(),
        ..other.clone()
    });
    if same {
        ApiError::new(400, 81058, "An identical record already exists.")
    } else {
        ApiError::new(400, 81057, "The record already exists.")
    }
}

fn items<'b>(body: &'b Body, list: &str) -> Result<Vec<&'b Body>, ApiError> {
    match body.get(list) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|i| i.as_object().ok_or_else(|| wrong_type(list)))
            .collect(),
        Some(_) => Err(wrong_type(list)),
    }
}

fn id_of(item: &Body) -> Result<&str, ApiError> {
    item.get("id")
        .and_then(Value::as_str)
        .ok_or_else(|| wrong_type("id"))
}

/// POST and PUT cannot do without these. The numbers are not documented.
fn require(body: &Body) -> Result<(), ApiError> {
    let given = |field: &str| body.get(field).is_some_and(|v| !v.is_null());
    if !given("name") {
        return Err(ApiError::validation(9000, "DNS name is invalid."));
    }
    if !given("type") {
        return Err(ApiError::validation(9002, "Invalid DNS record type."));
    }
    if !given("content") && !given("data") {
        return Err(ApiError::validation(
            9007,
            "Content for DNS record is missing.",
        ));
    }
    Ok(())
}

fn wrong_type(field: &str) -> ApiError {
    ApiError::new(400, 9207, format!("Request body is invalid: {field}."))
}

/// Lays the writable fields of `body` over `record`; others are ignored.
fn merge(record: &mut Record, body: &Body) -> Result<(), ApiError> {
    for (field, value) in body {
        let wrong = || wrong_type(field);
        let text = || value.as_str().map(str::to_owned).ok_or_else(wrong);
        match field.as_str() {
            "type" => record.kind = text()?.to_ascii_uppercase(),
            "name" => record.name = text()?,
            "content" => record.content = text()?,
            "proxied" => record.proxied = value.as_bool().ok_or_else(wrong)?,
            "ttl" => record.ttl = number(value).ok_or_else(wrong)?,
            "priority" => record.priority = Some(number(value).ok_or_else(wrong)?),
            "settings" => record.settings = value.as_object().ok_or_else(wrong)?.clone(),
            "tags" => {
                let tags = value.as_array().ok_or_else(wrong)?;
                let tags: Option<Vec<String>> =
                    tags.iter().map(|t| t.as_str().map(Into::into)).collect();
                record.tags = tags.ok_or_else(wrong)?;
            }
            "comment" if value.is_null() => record.comment = None,
            // An empty comment is no comment.
            "comment" => record.comment = Some(text()?).filter(|c| !c.is_empty()),
            "data" => {
                record.content = joined(value.as_object().ok_or_else(wrong)?);
                record.data = Some(value.clone());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A whole number, also when a client writes it as `300.0`.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && *f >= 0.0)
            .map(|f| f as u64)
    })
}

/// The content of a record that was given in parts.
fn joined(data: &Body) -> String {
    let parts: Vec<String> = data
        .values()
        .map(|v| v.as_str().map_or_else(|| v.to_string(), Into::into))
        .collect();
    parts.join(" ")
}
