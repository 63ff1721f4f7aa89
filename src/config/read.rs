//! The file and the environment, brought together by figment: a tree of values
//! that remember where they were written, and the list of what is wrong.

use super::faults::{Fault, Faults};
use super::keys::{self, Key};
use super::nearest::nearest;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What every variable of ours begins with.
const PREFIX: &str = "ORIGINSWITCH_";

/// The raw values, and the faults and warnings found in them so far.
///
/// These two are in cells because readers of many sections and sites add to
/// one list while they borrow from one tree.
pub(super) struct Reading {
    /// The file, as it was named.
    pub(super) file: PathBuf,
    root: Dict,
    defaults: Dict,
    figment: Figment,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<String>>,
}

impl Reading {
    /// Reads the file, then lays the environment over it.
    ///
    /// A file that cannot be read or is no TOML is the only fault told alone.
    pub(super) fn open(
        file: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Reading, Faults> {
        let alone = |sentence: String| {
            Faults(vec![Fault {
                source: file.display().to_string(),
                key: String::new(),
                sentence,
            }])
        };
        let text = std::fs::read_to_string(file).map_err(|error| alone(unreadable(&error)))?;
        let dict = Toml::from_str::<Dict>(&text)
            .map_err(|error| alone(not_toml(&text, error.message(), error.span())))?;
        let mut figment = Figment::from(Layer {
            name: file.display().to_string(),
            dict,
        });
        let mut faults = Vec::new();
        for (name, value) in env {
            match variable(&name, &value) {
                Variable::Key(key) => figment = figment.merge(Layer::of_key(name, key, value)),
                Variable::Fault(fault) => faults.push(fault),
                Variable::NotOurs => {}
            }
        }
        let root = match figment.find_value("") {
            Ok(Value::Dict(_, dict)) => dict,
            _ => Dict::new(),
        };
        Ok(Reading {
            file: file.to_owned(),
            root,
            defaults: Toml::from_str(&keys::defaults()).unwrap_or_default(),
            figment,
            faults: RefCell::new(faults),
            warnings: RefCell::new(Vec::new()),
        })
    }

    /// All that was written.
    pub(super) fn root(&self) -> &Dict {
        &self.root
    }

    /// A section's tables, the strongest first: what was written, the defaults.
    pub(super) fn section(&self, name: &str) -> impl Iterator<Item = &Dict> {
        [&self.root, &self.defaults]
            .into_iter()
            .filter_map(move |tree| tree.get(name)?.as_dict())
    }

    /// A path of the configuration: a relative one counts from the file's folder.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(text)
    }

    /// Notes what is wrong with a value.
    pub(super) fn fault_at(&self, value: &Value, key: impl Into<String>, sentence: String) {
        let source = match self.figment.get_metadata(value.tag()) {
            Some(metadata) => metadata.name.to_string(),
            None => self.file.display().to_string(),
        };
        self.faults.borrow_mut().push(Fault {
            source,
            key: key.into(),
            sentence,
        });
    }

    /// Notes what is wrong with the file, such as a key that is missing.
    pub(super) fn fault(&self, key: impl Into<String>, sentence: String) {
        self.fault_at(&Value::from(""), key, sentence);
    }

    /// Notes what is allowed but worth a second look.
    pub(super) fn warn(&self, sentence: String) {
        self.warnings.borrow_mut().push(sentence);
    }

    /// The warnings, or else all the faults; each once, for a value that many
    /// sites share is read by each of them.
    pub(super) fn finish(self) -> Result<Vec<String>, Faults> {
        let faults = each_once(self.faults.into_inner());
        if faults.is_empty() {
            Ok(each_once(self.warnings.into_inner()))
        } else {
            Err(Faults(faults))
        }
    }
}

fn each_once<T: Clone + Eq + std::hash::Hash>(mut items: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
    items
}

/// Values from one source, under the source's name.
struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    /// One environment variable's key. Text stays as it stands, so that a token
    /// of digits or the word `true` is still text; the rest is parsed.
    fn of_key(name: String, key: &Key, text: String) -> Layer {
        let value = if key.kind.is_text() {
            Value::from(text)
        } else {
            match text.parse() {
                Ok(value) => value,
                Err(never) => match never {},
            }
        };
        let section = Dict::from([(key.name.to_owned(), value)]);
        Layer {
            name,
            dict: Dict::from([(key.section.to_owned(), Value::from(section))]),
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

fn unreadable(error: &std::io::Error) -> String {
    let how = "name the configuration file with --config or ORIGINSWITCH_CONFIG";
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no such file: {how}"),
        _ => format!("cannot be read ({error}): {how}"),
    }
}

/// The syntax error with its line, but without the line's text: a token that
/// lacks its quotes must not end up in a log.
fn not_toml(text: &str, message: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    let place = before.map_or(String::new(), |before| {
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("line {line}, column {column}: ")
    });
    format!("{place}not TOML: {}", message.replace('\n', ", "))
}

/// What an environment variable is to us.
enum Variable {
    Key(&'static Key),
    Fault(Fault),
    NotOurs,
}

fn variable(name: &str, value: &str) -> Variable {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Variable::NotOurs;
    };
    let Some((section, key)) = rest.split_once("__") else {
        return single_underscore(name, rest, value);
    };
    let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
    if let Some(key) = keys::find(&section, &key) {
        return Variable::Key(key);
    }
    let sentence = if section == "site" {
        "sites cannot be set from the environment: write them in the file".to_owned()
    } else {
        let meant = format!("{section}.{key}");
        let known: Vec<String> = keys::KEYS
            .iter()
            .map(|key| format!("{}.{}", key.section, key.name))
            .collect();
        let near = nearest(&meant, known.iter().map(String::as_str)).and_then(keys::find_full);
        match near {
            Some(near) => format!(
                "unknown key `{meant}`, did you mean {}?",
                variable_name(near)
            ),
            None => format!(
                "unknown key `{meant}`: write {PREFIX}SECTION__KEY with a key of the configuration file, or unset it"
            ),
        }
    };
    Variable::Fault(Fault {
        source: name.to_owned(),
        key: section,
        sentence,
    })
}

/// Kubernetes sets variables such as `ORIGINSWITCH_PORT` for a service of our
/// name, so what has no double underscore is not ours, unless it is a key
/// but for that. `ORIGINSWITCH_PROBE_PORT=tcp://…` is a service's again.
fn single_underscore(name: &str, rest: &str, value: &str) -> Variable {
    let meant = keys::KEYS
        .iter()
        .find(|key| rest.eq_ignore_ascii_case(&format!("{}_{}", key.section, key.name)));
    match meant {
        Some(key) if !value.starts_with("tcp://") => Variable::Fault(Fault {
            source: name.to_owned(),
            key: format!("{}.{}", key.section, key.name),
            sentence: format!(
                "a single underscore after the section: write {}",
                variable_name(key)
            ),
        }),
        _ => Variable::NotOurs,
    }
}

/// The environment variable that overrides a key.
fn variable_name(key: &Key) -> String {
    format!(
        "{PREFIX}{}__{}",
        key.section.to_ascii_uppercase(),
        key.name.to_ascii_uppercase()
    )
}
