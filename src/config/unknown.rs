//! Keys that nobody knows, with what was probably meant.

use super::keys;
use super::nearest::nearest;
use super::read::Reading;
use super::values::describe;
use figment::value::Dict;

/// A table whose keys are looked at.
pub(super) struct Table<'a> {
    /// What a fault names, such as `probe` or `site[1] "www": main`.
    pub(super) at: &'a str,
    /// What its keys are prefixed with in a sentence, such as `probe.`.
    pub(super) prefix: &'a str,
    /// The keys it may hold.
    pub(super) known: &'a [&'static str],
    /// The sections a misplaced key may belong to.
    pub(super) sections: &'a [&'static str],
}

/// Notes every unknown key outside of the sites.
pub(super) fn check_sections(reading: &Reading) {
    let sections: Vec<_> = keys::sections().collect();
    for (name, value) in reading.root() {
        match (value.as_dict(), sections.contains(&name.as_str())) {
            (Some(dict), true) => check(
                reading,
                dict,
                &Table {
                    at: name,
                    prefix: &format!("{name}."),
                    known: &keys::names(name).collect::<Vec<_>>(),
                    sections: &sections,
                },
            ),
            (None, true) => reading.fault_at(
                value,
                name,
                format!("must be a table, not {}: write [{name}]", describe(value)),
            ),
            (_, false) if name == "site" => {}
            (_, false) => {
                let known: Vec<_> = sections.iter().copied().chain(["site"]).collect();
                let table = Table {
                    at: "",
                    prefix: "",
                    known: &known,
                    sections: &sections,
                };
                reading.fault_at(value, "", sentence(name, &table));
            }
        }
    }
}

/// Notes every unknown key of one table.
pub(super) fn check(reading: &Reading, dict: &Dict, table: &Table) {
    for (name, value) in dict {
        if !table.known.contains(&name.as_str()) {
            reading.fault_at(value, table.at, sentence(name, table));
        }
    }
}

fn sentence(name: &str, table: &Table) -> String {
    let prefix = table.prefix;
    let global = keys::GLOBAL_ONLY.iter().find(|(key, _)| *key == name);
    if let (Some((_, reason)), false) = (global, table.prefix.is_empty()) {
        return format!("`{prefix}{name}` cannot differ between sites, for {reason}");
    }
    let elsewhere: Vec<String> = keys::KEYS
        .iter()
        .filter(|key| key.name == name && table.sections.contains(&key.section))
        .map(|key| format!("`{}.{}`", key.section, key.name))
        .collect();
    let meant = match nearest(name, table.known.iter().copied()) {
        Some(near) => format!("`{prefix}{near}`"),
        None => elsewhere.join(" or "),
    };
    if meant.is_empty() {
        let known = table.known.join("`, `");
        format!("unknown key `{prefix}{name}`; there are `{known}`")
    } else {
        format!("unknown key `{prefix}{name}`, did you mean {meant}?")
    }
}
