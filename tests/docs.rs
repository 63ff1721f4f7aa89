//! README.md and ARCHITECTURE.md tell the truth: about metrics, keys, reasons,
//! calls, commands, files and examples.

mod support;

use clap::CommandFactory;
use originswitch::cli::Cli;
use originswitch::config::{self, KEYS};
use originswitch::metrics::{BudgetSeen, Metrics};
use originswitch::rule::address::Role;
use originswitch::rule::decision::{Action, Reason};
use originswitch::rule::health::State;
use reqwest::Method;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const README: &str = include_str!("../README.md");
const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");
const EXAMPLES: &str = include_str!("../alertmanager-examples/README.md");
const ALERTMANAGER: &str = include_str!("../alertmanager-examples/alertmanager.yml");
const ALERTS: &str = include_str!("../config/prometheus/originswitch-alerts.yml");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table of `text` that begins with `head`, as cells without
/// their white space.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "no table begins with {head:?}");
    let rows: Vec<Vec<String>> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "the table {head:?} has no rows");
    rows
}

/// The cells of a row; `\|` is a bar inside one.
fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{1}");
    let inner = line.trim().trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

/// The text of a cell that is one piece of code.
fn code(cell: &str) -> &str {
    cell.strip_prefix('`')
        .and_then(|cell| cell.strip_suffix('`'))
        .unwrap_or_else(|| panic!("{cell:?} is not in backquotes"))
}

/// Every piece of inline code outside of fenced blocks.
fn inline_code(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// A metric: its type and its labels.
type Exported = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a process exports in which everything has happened once.
fn exported() -> Exported {
    let metrics = Metrics::new();
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    metrics.webhook(200);
    metrics.alerts(1, 1, 0, now);
    metrics.alert_path_up(Some(true));
    metrics.cloudflare("patch_record", Some(200), Duration::ZERO);
    metrics.cloudflare_up(true);
    metrics.cloudflare_shared("read", 1);
    metrics.show_budgets(Box::new(|| {
        vec![BudgetSeen {
            token: "default".into(),
            limit: 1200,
            used: 1,
            foreign: 0,
            remaining: Some(1199),
        }]
    }));
    metrics.token_valid(true);
    metrics.token_expiry(Some(now));
    metrics.notified(true);
    let site = metrics.site(&Arc::from("www"), 2);
    let mut holds = Reason::ALL.into_iter().filter_map(|reason| match reason {
        Reason::Hold(hold) => Some(hold),
        Reason::Keep(_) | Reason::Switch(_) => None,
    });
    site.hold(holds.next_back());
    site.record(Some(Role::of_index(0)));
    site.origin(Role::of_index(0), State::Up);
    site.alert_unconfirmed(true);
    site.last_switch(now);
    site.pinned(Some(Role::of_index(1)));
    site.frozen(true);
    site.foreign_edit();
    site.edge_up(Some(true));
    site.edge_down(true);
    // The phases of a probe have their series from the first origin on.
    site.witness(Role::of_index(0)).starts(Duration::ZERO);
    read_exported(&String::from_utf8(metrics.text()).unwrap())
}

fn read_exported(text: &str) -> Exported {
    let mut found = Exported::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = rest.split_once(' ').unwrap();
        let labels = labels_of(text, name);
        found.insert(name.to_owned(), (kind.to_owned(), labels));
    }
    found
}

/// The label names of the series of a metric, but a histogram's own.
fn labels_of(text: &str, name: &str) -> BTreeSet<String> {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| rest.strip_prefix(ending))
            .unwrap_or(rest);
        rest.strip_prefix('{')?.split('}').next()
    });
    series
        .flat_map(|labels| labels.split(','))
        .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
        .filter(|label| label != "le")
        .collect()
}

#[test]
fn the_metrics_table_is_what_is_exported() {
    let mut exported = exported();
    let process = |name: &str| name.starts_with("process_");
    assert!(exported.keys().any(|name| process(name)));
    exported.retain(|name, _| !process(name));
    let mut told = Exported::new();
    for row in table(README, "| metric | type | labels |") {
        let labels = row[2].split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(str::to_owned).collect();
        let before = told.insert(code(&row[0]).to_owned(), (row[1].clone(), labels));
        assert!(before.is_none(), "{} has two rows", row[0]);
    }
    assert!(told.remove("process_*").is_some());
    assert_eq!(told, exported);
}

#[test]
fn every_metric_the_source_names_was_looked_at() {
    let source = include_str!("../src/metrics/families.rs");
    let made = [": make.", "= make.", ": counter(", ": gauge("];
    let named: BTreeSet<String> = source
        .lines()
        .filter(|line| made.iter().any(|made| line.contains(made)))
        .filter_map(|line| line.split('"').nth(1))
        .map(|name| format!("originswitch_{name}"))
        .collect();
    let exported: BTreeSet<String> = exported().into_keys().collect();
    let forgotten: Vec<_> = named.difference(&exported).collect();
    assert!(named.len() > 20, "{named:?}");
    assert_eq!(forgotten, Vec::<&String>::new(), "let `exported` use them");
}

#[test]
fn alerts_and_prose_name_metrics_that_are_exported() {
    let exported = exported();
    let names = |text: &str| -> Vec<String> {
        let letter = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c| !letter(c));
        let ours = words.filter(|word| word.starts_with("originswitch_"));
        ours.map(str::to_owned).collect()
    };
    // What has a colon in its name is recorded by a rule, and not exported.
    let words = ALERTS.split(|c: char| c.is_whitespace() || "({[".contains(c));
    let in_rules: BTreeSet<_> = words.filter(|w| !w.contains(':')).flat_map(names).collect();
    assert!(in_rules.len() > 15, "{in_rules:?}");
    for name in in_rules {
        assert!(exported.contains_key(&name), "an alert is on {name}");
    }
    let elsewhere: Vec<_> = inline_code(README)
        .into_iter()
        .flat_map(names)
        .filter(|name| name != "originswitch_")
        .collect();
    assert!(elsewhere.len() > exported.len());
    for name in elsewhere {
        assert!(
            exported.contains_key(&name),
            "the README names {name}, which is not exported"
        );
    }
}

#[test]
fn the_key_table_is_the_keys_with_their_defaults() {
    let told: Vec<_> = table(README, "| key | default |")
        .into_iter()
        .map(|row| {
            assert!(!row[3].is_empty(), "{} has no meaning", row[0]);
            (code(&row[0]).to_owned(), code(&row[1]).to_owned())
        })
        .collect();
    let known: Vec<_> = KEYS
        .iter()
        .map(|key| {
            (
                format!("{}.{}", key.section, key.name),
                key.default.to_owned(),
            )
        })
        .collect();
    assert!(known.len() > 30);
    assert_eq!(told, known);
}

/// What stands in a site, as the program itself lists it when it meets a key
/// that it does not know and cannot guess.
#[test]
fn the_keys_of_a_site_are_taken() {
    let told: BTreeSet<String> = table(README, "| key of a site |")
        .iter()
        .flat_map(|row| inline_code(&row[0]))
        .map(|key| key.trim_matches(['[', ']']).replace("site.", ""))
        .collect();
    let site = "[[site]]\nname = \"www\"\nhostname = \"www.example.com\"\nzone = \"example.com\"\n\
                zone_id = \"0123456789abcdef0123456789abcdef\"\nmain = \"192.0.2.10\"\n\
                backup = \"198.51.100.20\"\nmatchers = ['a=\"b\"']\n\
                [site.probe]\npath = \"/\"\n[site.rule]\nfall = 3\n[site.edge]\nsettle = \"1s\"\n";
    let written: BTreeSet<String> = site
        .lines()
        .skip(1)
        .filter(|line| {
            let within = ["path", "fall", "settle"];
            !within.iter().any(|key| line.starts_with(key))
        })
        .map(|line| line.split(" = ").next().unwrap())
        .map(|key| key.trim_matches(['[', ']']).replace("site.", ""))
        .collect();
    assert_eq!(told, written);
    let folder = tempfile::tempdir().unwrap();
    let faults = load(folder.path(), site).unwrap_err();
    // Both zones are too much; no key of them is unknown.
    assert!(!faults.is_empty());
    assert!(faults.iter().all(|fault| !fault.contains("unknown key")));
}

#[test]
fn every_reason_has_its_line() {
    let rows = table(README, "| reason | stops |");
    let told: BTreeSet<&str> = rows.iter().map(|row| code(&row[0])).collect();
    let (holds, others): (Vec<_>, Vec<_>) = Reason::ALL
        .into_iter()
        .partition(|reason| reason.action() == Action::Hold);
    let holds: BTreeSet<&str> = holds.iter().map(|reason| reason.as_str()).collect();
    assert!(holds.len() > 5);
    assert_eq!(told, holds);
    for row in &rows {
        assert!(
            ["both", "return", "failover"].contains(&row[1].as_str()),
            "{row:?}"
        );
        assert!(row[2].len() > 60, "{} says too little", row[0]);
    }
    let outcomes = table(README, "| record holds | it is |");
    assert!(others.len() > 3);
    for reason in others {
        let word = format!("`{}`", reason.as_str());
        let rows = outcomes.iter().filter(|row| row[5].contains(&word));
        assert!(rows.count() > 0, "{word} is not in the table of the rule");
    }
}

/// Loads a configuration from a folder that holds the token's file.
fn load(folder: &Path, text: &str) -> Result<config::Config, Vec<String>> {
    std::fs::write(folder.join("cloudflare.token"), "a-token\n").unwrap();
    let path = folder.join("originswitch.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path, []).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn the_examples_of_a_configuration_are_good() {
    let examples = blocks(README, "toml");
    assert!(examples.len() >= 2);
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        match load(folder.path(), &example) {
            Ok(config) => assert_eq!(config.warnings, Vec::<String>::new(), "{example}"),
            Err(faults) => panic!("{example}\n{}", faults.join("\n")),
        }
    }
    // The table of keys promises that these may stand together.
    let line = README
        .lines()
        .find(|line| line.starts_with("For the rule as it was first told"))
        .unwrap();
    let keys: Vec<_> = inline_code(line);
    assert!(keys.len() > 3);
    let text = format!("[rule]\n{}\n{}", keys.join("\n"), blocks(README, "toml")[0]);
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), &text).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
}

#[test]
fn the_route_is_that_of_the_example_file() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(|l| l.trim().into()).collect() };
    let file = lines(ALERTMANAGER);
    let blocks = blocks(README, "yaml");
    assert_eq!(blocks.len(), 2, "the route, and that of the Watchdog");
    for block in blocks {
        let shown = lines(&block).into_iter().filter(|line| !line.is_empty());
        let shown: Vec<_> = shown.collect();
        assert!(shown.len() > 5);
        let mut rest = file.as_slice();
        for line in shown {
            let at = rest.iter().position(|given| *given == line);
            let at =
                at.unwrap_or_else(|| panic!("{line:?} is not in alertmanager.yml, or not here"));
            rest = &rest[at + 1..];
        }
    }
}

/// Paths below the folder, with `/` at the end of a folder's.
fn files(below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let relative = path.strip_prefix(root()).unwrap();
            found.push(relative.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn every_link_and_every_file_named_is_there() {
    let mut links = 0;
    let mut named = 0;
    for (folder, text) in [
        ("", README),
        ("", ARCHITECTURE),
        ("", CHANGELOG),
        ("alertmanager-examples", EXAMPLES),
    ] {
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = root().join(folder).join(file);
            must_be_there(&path, target);
            if !anchor.is_empty() {
                let elsewhere = std::fs::read_to_string(&path).unwrap_or_default();
                let text = if file.is_empty() { text } else { &elsewhere };
                assert!(anchors(text).contains(anchor), "no heading {target}");
            }
        }
        for path in inline_code(text) {
            let tops = [
                "src/",
                "tests/",
                "config/",
                "alertmanager-examples/",
                ".ci/",
            ];
            let top = tops.iter().any(|top| path.starts_with(top));
            // In the map, `config/` is that of the code.
            let ours = top && !(text == ARCHITECTURE && path.starts_with("config/"));
            if ours && !path.contains(' ') {
                named += 1;
                must_be_there(&root().join(path), path);
            }
        }
    }
    assert!(links > 20 && named > 10, "{links} links, {named} files");
}

fn must_be_there(path: &Path, name: &str) {
    assert!(path.exists(), "no {name}");
}

/// The anchors that headings get.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn the_map_has_every_file_of_the_code_and_no_other() {
    let there: BTreeSet<String> = files(&root().join("src"))
        .into_iter()
        .map(|path| path.strip_prefix("src/").unwrap().to_owned())
        .collect();
    let map: BTreeSet<String> = ARCHITECTURE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| code(&cells(line)[0].clone()).to_owned())
        .filter(|path| path.ends_with(".rs") && !path.contains("tests/"))
        .collect();
    assert!(there.len() > 50);
    assert_eq!(map, there);
    let mentioned = inline_code(ARCHITECTURE);
    let paths = mentioned
        .iter()
        .filter(|path| path.ends_with(".rs") && path.contains('/') && !path.starts_with("tests/"));
    let mut count = 0;
    for path in paths {
        assert!(
            there.contains(*path),
            "{path} is mentioned and is not there"
        );
        count += 1;
    }
    assert!(count > there.len());
}

/// `tests/fuzz` is a crate of its own, which no build here looks at.
#[test]
fn every_fuzz_target_is_there_with_inputs_to_begin_with() {
    let folder = root().join("tests/fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let targets: Vec<&str> = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(targets.len(), 5, "{targets:?}");
    for target in targets {
        must_be_there(
            &folder.join("targets").join(target).with_extension("rs"),
            target,
        );
        let inputs = files(&folder.join("corpus").join(target)).len();
        assert!((10..=500).contains(&inputs), "{target}: {inputs} inputs");
    }
}

#[test]
fn every_command_and_option_is_told_and_no_other() {
    let rows = table(README, "| command | what it does |");
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        let command = code(&row[0]).split(' ').nth(1).unwrap().to_owned();
        let options = row[1]
            .split("--")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-'))
            .filter_map(|mut words| words.next().map(str::to_owned))
            .collect();
        told.insert(command, options);
    }
    told.remove("help").expect("help has its row");
    let real: BTreeMap<String, BTreeSet<String>> = Cli::command()
        .get_subcommands()
        .map(|command| {
            let options = command
                .get_opts()
                .filter_map(|option| option.get_long().map(str::to_owned));
            (command.get_name().to_owned(), options.collect())
        })
        .collect();
    assert!(real.len() > 3);
    assert_eq!(told, real);
}

/// A demo that is ended with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the demo in a folder for its state; returns its address too.
fn demo(folder: &Path) -> (Demo, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_originswitch"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let demo = Demo(child);
    let mut lines = lines.map_while(Result::ok);
    let address = lines
        .find_map(|line| Some(line.split_once("listens on ")?.1.to_owned()))
        .expect("the demo says where it listens");
    // The story goes on: somebody has to listen to it.
    std::thread::spawn(move || lines.for_each(drop));
    (demo, address)
}

#[tokio::test]
async fn every_call_that_is_told_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (_demo, address) = demo(folder.path());
    let http = support::client();
    let rows = table(README, "| call | answer |");
    assert!(rows.len() > 10);
    for row in rows {
        let (method, path) = code(&row[0]).split_once(' ').unwrap();
        let body = match path {
            "/webhook" => "{\"alerts\":[]}",
            // MAIN of the demo.
            "/api/v1/evacuate" => "{\"address\":\"127.0.1.1\",\"dry_run\":true}",
            _ => "",
        };
        let path = path.replace("{name}", "www").replace("{id}", "1");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = http
            .request(method, format!("http://{address}{path}"))
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        // Ready may take a moment, the first decision too.
        let early = status == 404 && row[0].contains("{id}");
        assert!(
            early || [200, 503].contains(&status),
            "{}: {status}",
            row[0]
        );
    }
    let metrics = http.get(format!("http://{address}/metrics")).send();
    let text = metrics.await.unwrap().text().await.unwrap();
    let told = exported();
    let live = read_exported(&text);
    assert!(live.len() > 20);
    for name in live.keys() {
        assert!(told.contains_key(name), "{name} is exported and not told");
    }
}

#[test]
fn the_bodies_that_curl_sends_are_there() {
    let mut found = 0;
    for text in [README, EXAMPLES] {
        for rest in text.split("--data @").skip(1) {
            let path = rest.split_whitespace().next().unwrap();
            let body = std::fs::read(PathBuf::from(root()).join(path)).unwrap();
            let webhook = originswitch::alertmanager::parse(&body).unwrap();
            assert!(!webhook.alerts.is_empty() && webhook.bad == 0, "{path}");
            found += 1;
        }
    }
    assert!(found > 4);
}

#[test]
fn the_version_has_its_entry() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(CHANGELOG.lines().any(|line| line.starts_with(&heading)));
    assert!(CHANGELOG.contains("## [Unreleased]"));
}
