//! A section seen through its layers: an origin's table over `[site.probe]`
//! over `[probe]` over the defaults, key by key.

use super::keys::{self, Kind};
use super::read::Reading;
use super::values;
use figment::value::{Dict, Value};
use std::path::PathBuf;
use std::time::Duration;

/// The layers of a section, for reading typed values.
///
/// A value at fault is noted and answered with a stand-in of no meaning: no
/// configuration is made of it, the other values are still looked at.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    /// Where faults are noted.
    pub(super) reading: &'a Reading,
    section: &'static str,
    /// Strongest first, each with what its keys are prefixed with in a fault.
    layers: Vec<(&'a Dict, String)>,
}

impl<'a> Scope<'a> {
    /// A section as it stands in the file and the environment.
    pub(super) fn new(reading: &'a Reading, section: &'static str) -> Scope<'a> {
        Scope {
            reading,
            section,
            layers: reading
                .section(section)
                .map(|dict| (dict, format!("{section}.")))
                .collect(),
        }
    }

    /// The same section with a table laid over it; `prefix` names its keys.
    pub(super) fn under(&self, dict: &'a Dict, prefix: String) -> Scope<'a> {
        let mut scope = self.clone();
        scope.layers.insert(0, (dict, prefix));
        scope
    }

    /// A key's value where it is set, and the key as a fault names it.
    pub(super) fn find(&self, name: &str) -> Option<(&'a Value, String)> {
        self.layers
            .iter()
            .find_map(|(dict, prefix)| Some((dict.get(name)?, format!("{prefix}{name}"))))
    }

    /// Notes a fault of a key.
    pub(super) fn fault(&self, name: &str, sentence: String) {
        match self.find(name) {
            Some((value, key)) => self.reading.fault_at(value, key, sentence),
            None => self.reading.fault(name, sentence),
        }
    }

    /// Reads a key with `convert`, whose error becomes a fault.
    pub(super) fn read<T>(
        &self,
        name: &str,
        convert: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        let (value, key) = self.find(name)?;
        convert(value)
            .map_err(|sentence| self.reading.fault_at(value, key, sentence))
            .ok()
    }

    /// Reads a key of text with `parse`, whose error becomes a fault.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let secret = self.kind(name) == Some(Kind::Secret);
        self.read(name, |value| match values::text(value) {
            // The value is not repeated: it may well be the secret without its quotes.
            Err(_) if secret => Err("must be text: write it in quotes".into()),
            read => read.and_then(parse),
        })
    }

    /// A key of text.
    pub(super) fn text(&self, name: &str) -> String {
        self.parsed(name, |text| Ok(text.to_owned()))
            .unwrap_or_default()
    }

    /// A key that names a file; `None` if it is empty.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| self.reading.path(&text))
    }

    /// A duration, within the bounds of the key's row.
    pub(super) fn duration(&self, name: &str) -> Duration {
        let least = match self.kind(name) {
            Some(Kind::Duration(least)) => least,
            _ => 0,
        };
        self.read(name, |value| values::duration(value, least))
            .unwrap_or_default()
    }

    /// A whole number, within the bounds of the key's row.
    pub(super) fn count<T: TryFrom<u64> + Default>(&self, name: &str) -> T {
        let (least, most) = match self.kind(name) {
            Some(Kind::Count(least, most)) => (least, most),
            _ => (0, u64::MAX),
        };
        self.read(name, |value| values::count(value, least, most))
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or_default()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.read(name, values::flag).unwrap_or_default()
    }

    /// One of the words of the key's row; empty where it is at fault.
    pub(super) fn choice(&self, name: &str) -> &'static str {
        let words = match self.kind(name) {
            Some(Kind::Choice(words)) => words,
            _ => &[],
        };
        self.read(name, |value| values::choice(value, words))
            .unwrap_or_default()
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        keys::find(self.section, name).map(|key| key.kind)
    }
}
