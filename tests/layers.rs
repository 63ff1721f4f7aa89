//! Imports point one way, and each representation of a thing stays with its
//! adapter. What the compiler can hold (private modules, clippy.toml) it holds;
//! the rest is here.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A part of the program, and what of the program it may use.
struct Part {
    name: &'static str,
    uses: &'static [&'static str],
    because: &'static str,
}

const fn part(name: &'static str, uses: &'static [&'static str], because: &'static str) -> Part {
    Part {
        name,
        uses,
        because,
    }
}

/// The parts, each after those that it may use.
const PARTS: [Part; 26] = [
    part("rule", &[], "the rule is pure: it knows nobody"),
    part("matcher", &[], "matchers are text and labels"),
    part("telemetry", &[], "logging is set up, nothing more"),
    part(
        "ending",
        &[],
        "how a command ends is the same for all of them",
    ),
    part(
        "descriptors",
        &[],
        "how many files may be open depends on nothing of ours",
    ),
    part("table", &[], "a table is text, whoever fills it"),
    part(
        "sandbox",
        &[],
        "the sandbox is the world outside: it must not know how we see it",
    ),
    part("clock", &["rule"], "the clock gives the rule's moments"),
    part(
        "config",
        &["matcher", "rule"],
        "configuration is values; it starts nothing",
    ),
    part(
        "outbound",
        &["config"],
        "a call over HTTP is made alike, whatever it asks",
    ),
    part(
        "remote",
        &["config", "ending", "outbound", "table"],
        "the commands for a running server know its API, and nothing behind that",
    ),
    part(
        "crowd",
        &["rule"],
        "who probes one address knows what probes find, and no probe",
    ),
    part(
        "prober",
        &["clock", "crowd", "rule"],
        "the prober owns the trait Probe, so it knows no probe",
    ),
    part(
        "metrics",
        &["prober", "rule"],
        "metrics are told, they ask nobody",
    ),
    part(
        "probe",
        &["config", "crowd", "descriptors", "prober", "rule"],
        "a probe is an adapter of the prober's trait",
    ),
    part(
        "alertmanager",
        &["matcher", "rule"],
        "the webhook becomes wake-ups, whoever takes them",
    ),
    part(
        "failover",
        &["clock", "config", "metrics", "prober", "rule"],
        "the loop owns the traits Dns and Store, so it knows neither Cloudflare nor SQLite",
    ),
    part(
        "store",
        &["failover", "rule"],
        "the store is an adapter of the loop's trait",
    ),
    part(
        "cloudflare",
        &["clock", "config", "failover", "metrics", "outbound", "rule"],
        "the client is an adapter of the loop's trait",
    ),
    part(
        "watchdog",
        &[
            "alertmanager",
            "clock",
            "config",
            "matcher",
            "metrics",
            "rule",
        ],
        "the dead-man's switch is told of alerts, and decides nothing",
    ),
    part(
        "notify",
        &[
            "alertmanager",
            "clock",
            "config",
            "failover",
            "metrics",
            "outbound",
            "rule",
        ],
        "who is told what sites say of themselves decides nothing",
    ),
    part(
        "server",
        &[
            "alertmanager",
            "clock",
            "config",
            "failover",
            "metrics",
            "rule",
            "watchdog",
        ],
        "the server takes and shows; what it is joined to is app's matter",
    ),
    part(
        "service",
        &["clock", "failover", "rule"],
        "a service manager hears how sites are, whoever runs them",
    ),
    part(
        "app",
        &[
            "clock",
            "cloudflare",
            "config",
            "crowd",
            "descriptors",
            "failover",
            "metrics",
            "notify",
            "probe",
            "prober",
            "rule",
            "server",
            "store",
            "watchdog",
        ],
        "app joins the parts of a running server, and the sandbox is none",
    ),
    part(
        "once",
        &[
            "app",
            "clock",
            "cloudflare",
            "config",
            "crowd",
            "descriptors",
            "ending",
            "failover",
            "metrics",
            "rule",
            "server",
            "store",
            "table",
        ],
        "a single pass joins the same parts",
    ),
    part(
        "demo",
        &["app", "clock", "config", "ending", "sandbox", "server"],
        "the demo is the server and the sandbox, and sees the server from outside",
    ),
];

/// The command line starts everything, so it may use everything.
const CLI: &str = "cli";

/// Who may name a library. A library that is not here is anybody's.
const LIBRARIES: [(&[&str], &[&str], &str); 11] = [
    (
        &["serde", "serde_json"],
        &[
            "alertmanager/posted",
            "alertmanager/usual",
            "alertmanager/wire",
            "cloudflare",
            "demo",
            "once",
            "remote",
            "sandbox",
            "server",
            "store/rows",
            "store/evidence",
        ],
        "wire, stored and shown forms are apart, and what is in between has no serde",
    ),
    (
        &["anyhow"],
        &["app", "cli", "demo", "ending"],
        "what others can fail with has a type",
    ),
    (
        &["reqwest"],
        &[
            "cloudflare",
            "config",
            "demo",
            "notify/post",
            "outbound",
            "remote",
        ],
        "it is the client of Cloudflare, of Alertmanagers and of our own API, and checks addresses",
    ),
    (
        &["axum", "tower", "flate2", "base64", "subtle"],
        &["demo", "sandbox", "server"],
        "only servers serve",
    ),
    (
        &["hyper", "hyper_util", "http_body_util"],
        &["config", "probe", "sandbox", "server"],
        "it is under the probes and the servers",
    ),
    (&["rusqlite"], &["store"], "SQL is the store's"),
    (
        &["figment"],
        &["config"],
        "where settings come from is config's matter",
    ),
    (
        &["rustix"],
        &["descriptors"],
        "what is asked of the system is asked in one place",
    ),
    (
        &["prometheus"],
        &["metrics"],
        "the metrics are one documented struct",
    ),
    (
        &["rcgen"],
        &["sandbox"],
        "nothing but the sandbox makes certificates",
    ),
    (
        &["clap", "tracing_subscriber"],
        &["cli", "telemetry"],
        "the command line and the log are set up in one place",
    ),
];

/// Words of Alertmanager's JSON.
const WEBHOOK_WORDS: [&str; 6] = [
    "startsAt",
    "endsAt",
    "groupKey",
    "commonLabels",
    "generatorURL",
    "truncatedAlerts",
];

/// A source file without comments and tests; lines keep their numbers.
struct Source {
    /// From `src/`, without the ending: `server/api`.
    name: String,
    text: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let name = path.strip_prefix(root).unwrap().with_extension("");
        let text = fs::read_to_string(path).unwrap();
        let text = match text.find("#[cfg(test)]\nmod tests {") {
            Some(end) => &text[..end],
            None => &text,
        };
        let uncommented = text.lines().map(|line| {
            let comment = line.trim_start().starts_with("//");
            if comment { "" } else { line }
        });
        Self {
            name: name.to_str().unwrap().to_owned(),
            text: uncommented.collect::<Vec<_>>().join("\n"),
        }
    }

    fn part(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn is_in(&self, place: &str) -> bool {
        let inside = self.name.strip_prefix(place);
        inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// `src/server/api.rs:12`
    fn at(&self, offset: usize) -> String {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("src/{}.rs:{line}", self.name)
    }

    /// Names before `::` at the start of a path, and where they are.
    fn heads(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.match_indices("::").filter_map(|(end, _)| {
            let start = self.text[..end]
                .rfind(|c| !is_name(c))
                .map_or(0, |at| at + 1);
            let before = self.text[..start].chars().next_back();
            let inside = before.is_some_and(|c| ":$.".contains(c));
            (start < end && !inside).then(|| (start, &self.text[start..end]))
        })
    }

    /// The parts of the program that it names, and where.
    fn imports(&self) -> Vec<(usize, &str)> {
        let heads = self.heads().filter(|(_, head)| *head == "crate");
        let paths = heads.map(|(at, head)| at + head.len() + "::".len());
        paths.flat_map(|at| self.firsts(at)).collect()
    }

    /// The first names of a path, or of each path in a group of them.
    fn firsts(&self, at: usize) -> Vec<(usize, &str)> {
        let Some(group) = self.text[at..].strip_prefix('{') else {
            return vec![(at, leading_name(&self.text[at..]))];
        };
        let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
        for (offset, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                _ if is_name(c) && fresh => {
                    fresh = false;
                    found.push((at + 1 + offset, leading_name(&group[offset..])));
                }
                _ => {}
            }
        }
        found
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn leading_name(text: &str) -> &str {
    text.split(|c| !is_name(c)).next().unwrap()
}

fn sources() -> Vec<Source> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "rs" && !path.ends_with("tests.rs") => files.push(path),
                _ => {}
            }
        }
    }
    assert!(files.len() > 50, "the sources are not where they were");
    files.sort();
    files.iter().map(|path| Source::read(path)).collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_part_uses_what_it_may() {
    let mut faults = Vec::new();
    for source in sources() {
        let its = source.part();
        if [CLI, "lib", "main"].contains(&its) {
            continue;
        }
        let Some(part) = PARTS.iter().find(|part| part.name == its) else {
            faults.push(format!(
                "src/{its} has no place in PARTS of tests/layers.rs"
            ));
            continue;
        };
        for (at, used) in source.imports() {
            if used != its && !part.uses.contains(&used) {
                let at = source.at(at);
                faults.push(format!("{at}: {its} uses {used}, but {}", part.because));
            }
        }
    }
    none(&faults);
}

/// The table itself allows no circle.
#[test]
fn the_parts_are_in_order() {
    let mut before = HashSet::new();
    for Part { name, uses, .. } in &PARTS {
        for used in *uses {
            assert!(
                before.contains(used),
                "{name} uses {used}, which comes after it"
            );
        }
        before.insert(name);
    }
}

#[test]
fn every_library_stays_where_it_belongs() {
    let mut faults = Vec::new();
    for source in sources() {
        for (libraries, places, because) in LIBRARIES {
            if places.iter().any(|place| source.is_in(place)) {
                continue;
            }
            for (at, head) in source.heads() {
                if libraries.contains(&head) {
                    faults.push(format!("{}: {head}, but {because}", source.at(at)));
                }
            }
        }
    }
    none(&faults);
}

/// No library but jiff, and nothing of std that has an effect or a clock.
#[test]
fn the_rule_uses_std_and_jiff_only() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = rest.split_once("\n[").unwrap();
    let libraries = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = "));
    let libraries: HashSet<String> = libraries.map(|(name, _)| name.replace('-', "_")).collect();
    assert!(libraries.contains("tokio"), "{libraries:?}");

    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.part() == "rule") {
        for (at, head) in source.heads() {
            if head != "jiff" && libraries.contains(head) {
                faults.push(format!("{}: the rule uses {head}", source.at(at)));
            }
        }
        for effect in [
            "std::env",
            "std::fs",
            "std::io",
            "std::process",
            "std::thread",
        ] {
            for (at, _) in source.text.match_indices(effect) {
                faults.push(format!("{}: the rule uses {effect}", source.at(at)));
            }
        }
        for clock in ["Instant", "SystemTime", "::now("] {
            for (at, _) in source.text.match_indices(clock) {
                faults.push(format!(
                    "{}: the rule reads a clock: {clock}",
                    source.at(at)
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn nobody_else_knows_alertmanagers_or_cloudflares_json() {
    let mut faults = Vec::new();
    for source in sources() {
        let foreign = !source.is_in("alertmanager");
        for word in WEBHOOK_WORDS.iter().filter(|_| foreign) {
            for (at, _) in source.text.match_indices(word) {
                faults.push(format!(
                    "{}: {word}, but only alertmanager/ knows the webhook's JSON",
                    source.at(at)
                ));
            }
        }
        // The compiler keeps a private module to its parent.
        for (at, _) in source.text.match_indices("pub mod wire") {
            faults.push(format!("{}: wire forms are private", source.at(at)));
        }
    }
    none(&faults);
}

/// A test that never runs proves nothing, and looks as if it did.
#[test]
fn no_test_is_switched_off() {
    let mark = ["#[", "ignore"].concat();
    let mut folders = vec!["src".into(), PathBuf::from("tests")];
    let mut faults = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                if text.contains(&mark) {
                    faults.push(format!("{}: {mark} switches a test off", path.display()));
                }
            }
        }
    }
    none(&faults);
}
