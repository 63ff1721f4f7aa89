//! The text format 0.0.4, read strictly enough for a test.

use std::collections::BTreeMap;

/// One family: its help, its type, and its samples by the text of their series.
#[derive(Debug, Default, Clone)]
pub struct Family {
    pub help: String,
    pub kind: String,
    pub samples: BTreeMap<String, f64>,
}

/// Everything a scrape showed.
#[derive(Debug, Default, Clone)]
pub struct Samples(pub BTreeMap<String, Family>);

impl Samples {
    pub fn parse(text: &str) -> Samples {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                let family = families.entry(name.into()).or_default();
                assert_eq!(family.help, "", "{name} has two HELP lines");
                family.help = help.into();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let family = families.entry(name.into()).or_default();
                assert_eq!(family.kind, "", "{name} has two TYPE lines");
                family.kind = kind.into();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                let family = family_of(&families, series);
                let family = families.get_mut(&family).unwrap();
                let twice = family.samples.insert(series.into(), value);
                assert_eq!(twice, None, "{series} is there twice");
            }
        }
        Samples(families)
    }

    /// The value of a series, written without the prefix.
    pub fn get(&self, series: &str) -> Option<f64> {
        let series = format!("originswitch_{series}");
        let mut families = self.0.values();
        families.find_map(|family| family.samples.get(&series).copied())
    }

    /// All series of a name, written without the prefix, that hold this text.
    pub fn with(&self, name: &str, text: &str) -> Vec<String> {
        let Some(family) = self.0.get(&format!("originswitch_{name}")) else {
            return Vec::new();
        };
        let series = family.samples.keys();
        series.filter(|s| s.contains(text)).cloned().collect()
    }

    /// The sum over all series of a name that hold every one of these texts.
    pub fn sum(&self, name: &str, texts: &[&str]) -> f64 {
        let Some(family) = self.0.get(&format!("originswitch_{name}")) else {
            return 0.0;
        };
        let wanted = family
            .samples
            .iter()
            .filter(|(series, _)| texts.iter().all(|text| series.contains(text)));
        wanted.map(|(_, value)| value).sum()
    }
}

/// A histogram's series have suffixes.
fn family_of(families: &BTreeMap<String, Family>, series: &str) -> String {
    let name = series.split('{').next().unwrap();
    if families.contains_key(name) {
        return name.into();
    }
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|base| families.get(*base).is_some_and(|f| f.kind == "histogram"))
        .unwrap_or_else(|| panic!("{series} has no HELP and TYPE in front"))
        .into()
}

/// The names of a series' labels.
pub fn labels(series: &str) -> Vec<String> {
    let Some((_, rest)) = series.split_once('{') else {
        return Vec::new();
    };
    let inner = rest.trim_end_matches('}');
    inner
        .split(',')
        .map(|pair| pair.split('=').next().unwrap().to_owned())
        .collect()
}
