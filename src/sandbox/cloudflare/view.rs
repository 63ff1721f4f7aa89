//! What resolvers and the edge see of a zone: later than the API, and not
//! always the record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record::Record;

/// The answers for each name, each from some moment on.
#[derive(Debug, Default)]
pub(super) struct View {
    names: HashMap<String, Vec<(Instant, Vec<String>)>>,
    shadows: HashMap<String, Vec<String>>,
}

impl View {
    /// Makes the present records of `names` visible, the first after `delay`
    /// and each further one `spread` later.
    pub fn publish(
        &mut self,
        names: &[String],
        records: &[Arc<Record>],
        now: Instant,
        delay: Duration,
        spread: Duration,
    ) {
        let mut from = now + delay;
        for name in names {
            let answers = self.names.entry(name.clone()).or_default();
            // All but the newest of what is already visible is over.
            let visible = answers.iter().filter(|(at, _)| *at <= now).count();
            answers.drain(..visible.saturating_sub(1));
            answers.push((from, contents(name, records)));
            from += spread;
        }
    }

    /// What a look-up of the name finds now.
    pub fn visible(&self, name: &str, now: Instant) -> Vec<String> {
        let name = name.to_ascii_lowercase();
        if let Some(shadow) = self.shadows.get(&name) {
            return shadow.clone();
        }
        let answers = self.names.get(&name).into_iter().flatten();
        answers
            .rev()
            .find(|(from, _)| *from <= now)
            .map(|(_, contents)| contents.clone())
            .unwrap_or_default()
    }

    /// Lets something else answer for the name, or no longer.
    pub fn shadow(&mut self, name: &str, contents: Option<Vec<String>>) {
        let name = name.to_ascii_lowercase();
        match contents {
            Some(contents) => self.shadows.insert(name, contents),
            None => self.shadows.remove(&name),
        };
    }
}

fn contents(name: &str, records: &[Arc<Record>]) -> Vec<String> {
    records
        .iter()
        .filter(|r| r.name == name && r.proxiable())
        .map(|r| r.content.clone())
        .collect()
}
