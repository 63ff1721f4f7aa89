//! The JSON of a webhook as Alertmanager writes it, read in one pass.
//!
//! It gives up on whatever is not quite so (a label that is no text, a field
//! twice, a status of another sort, bytes that are no UTF-8), and `wire` reads
//! it again. So there are no rules here but one: what it reads, `wire` reads
//! the same; a test holds both against each other.

use super::labels::{Labels, Text};
use super::time::lenient_time;
use super::wire::{meaning, status_of, truncated};
use super::{Alert, Webhook};
use crate::rule::alerts::AlertStatus;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// Labels of an alert, so that their list grows once at most.
const LABELS: usize = 12;

/// The webhook, if its body is of the usual form.
pub(super) fn webhook(body: &[u8]) -> Option<Webhook<'_>> {
    read(std::str::from_utf8(body).ok()?)
}

/// The alert, if it is of the usual form.
pub(super) fn alert(text: &str) -> Option<Alert<'_>> {
    read(text)
}

fn read<'a, T>(text: &'a str) -> Option<T>
where
    Usual<T>: Deserialize<'a>,
{
    serde_json::from_str::<Usual<T>>(text)
        .ok()
        .map(|read| read.0)
}

/// Something of the usual form.
struct Usual<T>(T);

/// Reads an object, or text, and nothing else: serde would take an array for a
/// struct, too.
struct Reader<T>(PhantomData<T>);

/// What a reader refuses need not be said: it is read again.
fn odd<E: Error>() -> E {
    E::custom("odd")
}

/// Takes a field that must not come twice.
fn once<T, E: Error>(field: &mut Option<T>, value: T) -> Result<(), E> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(odd()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum BodyField {
    Alerts,
    TruncatedAlerts,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum AlertField {
    Status,
    Labels,
    Annotations,
    StartsAt,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Usual<Webhook<'de>> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader::<Webhook<'de>>(PhantomData))
    }
}

impl<'de> Visitor<'de> for Reader<Webhook<'de>> {
    type Value = Usual<Webhook<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a webhook")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut alerts, mut left_out) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                BodyField::Alerts => once(&mut alerts, map.next_value::<Vec<Usual<Alert>>>()?)?,
                BodyField::TruncatedAlerts => {
                    once(&mut left_out, map.next_value::<&RawValue>()?)?;
                }
                BodyField::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let alerts = alerts.ok_or_else(odd)?;
        Ok(Usual(Webhook {
            alerts: alerts.into_iter().map(|alert| alert.0).collect(),
            bad: 0,
            truncated: truncated(left_out),
        }))
    }
}

impl<'de> Deserialize<'de> for Usual<Alert<'de>> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader::<Alert<'de>>(PhantomData))
    }
}

impl<'de> Visitor<'de> for Reader<Alert<'de>> {
    type Value = Usual<Alert<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an alert")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut status, mut labels, mut notes, mut start) = (None, None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                AlertField::Status => once(&mut status, map.next_value::<Usual<Text>>()?.0)?,
                AlertField::Labels => once(&mut labels, map.next_value::<Usual<Labels>>()?.0)?,
                AlertField::Annotations => once(&mut notes, map.next_value::<&RawValue>()?)?,
                AlertField::StartsAt => once(&mut start, map.next_value::<Usual<Text>>()?.0)?,
                AlertField::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let status = match status {
            Some(text) => status_of(&text).ok_or_else(odd)?,
            None => AlertStatus::Firing,
        };
        let labels: Labels<'de> = labels.unwrap_or_default();
        Ok(Usual(Alert {
            meaning: meaning(status, &labels, notes),
            status,
            starts_at: start.and_then(|text| lenient_time(&text)),
            identity: labels.identity(),
            labels,
        }))
    }
}

impl<'de> Deserialize<'de> for Usual<Labels<'de>> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader::<Labels<'de>>(PhantomData))
    }
}

impl<'de> Visitor<'de> for Reader<Labels<'de>> {
    type Value = Usual<Labels<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut labels = Vec::new();
        while let Some(name) = map.next_key::<Usual<Text<'de>>>()? {
            if labels.is_empty() {
                labels.reserve(LABELS);
            }
            labels.push((name.0, map.next_value::<Usual<Text<'de>>>()?.0));
        }
        Ok(Usual(Labels::new(labels)))
    }
}

impl<'de> Deserialize<'de> for Usual<Text<'de>> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Reader::<Text<'de>>(PhantomData))
    }
}

impl<'de> Visitor<'de> for Reader<Text<'de>> {
    type Value = Usual<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Usual(Text::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Usual(Text::Owned(text.to_owned())))
    }
}
