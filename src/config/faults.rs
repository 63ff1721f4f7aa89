//! What is wrong with a configuration, all of it at once.

use crate::matcher::visible;
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// The file, or the environment variable, the value was written in.
    pub source: String,
    /// The key, such as `probe.interval` or `site[2] "www": probe.interval`
    /// (sites are counted from 1); empty if it is about the whole file.
    pub key: String,
    /// What to write instead. Never holds a secret.
    pub sentence: String,
}

/// On one line, whatever the keys and values hold that it repeats.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", visible(&self.source))?;
        if !self.key.is_empty() {
            write!(f, "{}: ", visible(&self.key))?;
        }
        f.write_str(&visible(&self.sentence))
    }
}

/// Everything that is wrong with a configuration: never empty, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The faults, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
