//! The shipped files for Prometheus, Alertmanager and blackbox_exporter, as the
//! programs that read them judge them; and that every alert can be acted upon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use crate::monitoring::Tools;
use crate::support::server::{Finished, finish};

const README: &str = include_str!("../../README.md");
const EXAMPLES: &str = include_str!("../../alertmanager-examples/README.md");

const ORIGINS: &str = "alertmanager-examples/origin-alerts.yml";
const OURS: &str = "config/prometheus/originswitch-alerts.yml";
const ALERTMANAGER: &str = "alertmanager-examples/alertmanager.yml";

/// Fires always, so there is no case in which it does not.
const WATCHDOG: &str = "Watchdog";

/// Where the project is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The fenced shell blocks of the examples' README.
pub fn shell_blocks() -> Vec<&'static str> {
    let blocks = EXAMPLES.split("```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// The value of a key that stands on one line of its own.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(|value| value.trim_matches('\''))
        .collect()
}

/// The alerts of a rule file, each with its lines.
fn alerts(name: &str) -> BTreeMap<String, String> {
    let text = read(name);
    let rules = text.split("\n      - ").skip(1);
    let found: BTreeMap<_, _> = rules
        .filter_map(|rule| {
            let name = rule.strip_prefix("alert: ")?.lines().next().unwrap();
            Some((name.to_owned(), rule.to_owned()))
        })
        .collect();
    assert!(found.len() >= 5, "{name}: {found:?}");
    found
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_is_wrong() {
    for file in [ORIGINS, OURS] {
        for (alert, rule) in alerts(file) {
            let one = |key| match values(&rule, key)[..] {
                [value] => value.to_owned(),
                ref several => panic!("{alert} has {several:?} as {key}"),
            };
            let severities = ["critical", "warning", "none"];
            assert!(severities.contains(&one("severity").as_str()), "{alert}");
            assert_eq!(one("severity") == "none", alert == WATCHDOG, "{alert}");
            let summary = one("summary");
            assert!(summary.ends_with('.') && !summary.contains("{{"), "{alert}");
            assert!(one("description").len() > summary.len(), "{alert}");
        }
    }
}

#[test]
fn every_alert_of_ours_has_its_place_in_the_runbook_and_no_other() {
    let runbook = README.split("\n## Runbook\n").nth(1).unwrap();
    let runbook = runbook.split("\n## ").next().unwrap();
    let mut told = BTreeSet::new();
    for entry in runbook.split("\n### ").skip(1) {
        let (alert, text) = entry.split_once('\n').unwrap();
        assert!(text.contains("\nLook: "), "{alert}: what to look at");
        assert!(text.contains("\nDo: "), "{alert}: what to do");
        told.insert(alert.to_owned());
    }
    let alerts = alerts(OURS);
    assert_eq!(told, alerts.keys().cloned().collect());
    for (alert, rule) in alerts {
        let anchor = format!("README.md#{}", alert.to_lowercase());
        assert!(
            values(&rule, "runbook_url")[0].ends_with(&anchor),
            "{alert}"
        );
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    for file in [ORIGINS, OURS] {
        let cases = read(&file.replace(".yml", "_test.yml"));
        let mut fires = BTreeSet::new();
        let mut stays_silent = BTreeSet::new();
        for case in cases.split("alertname: ").skip(1) {
            let (alert, rest) = case.split_once('\n').unwrap();
            let silent = rest.trim_start().starts_with("exp_alerts: []");
            let set = if silent {
                &mut stays_silent
            } else {
                &mut fires
            };
            set.insert(alert.to_owned());
        }
        let all: BTreeSet<_> = alerts(file).into_keys().collect();
        assert_eq!(fires, all, "{file}");
        stays_silent.extend(all.get(WATCHDOG).cloned());
        assert_eq!(stays_silent, all, "{file}");
    }
}

/// A program that is told these arguments, in a folder.
async fn run(tools: &Tools, program: &str, folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = tools.command(program);
    command.args(arguments).current_dir(folder);
    finish(command).await
}

/// Lines of a shell in which the monitoring programs are found, as a person
/// would type them at the root of the project.
pub fn shell(lines: &str) -> Command {
    let tools = std::env::var("ORIGINSWITCH_TOOLS").unwrap_or_default();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command.args(["-e", "-c", lines]).current_dir(root());
    command.env("PATH", format!("{tools}:{path}"));
    command.kill_on_drop(true);
    command
}

/// Copies what is to be copied, and checks it, by the README's own lines.
#[tokio::test]
async fn what_the_readme_says_to_copy_is_taken_by_the_programs() {
    let Some(tools) = Tools::find() else { return };
    let folder = TempDir::new().unwrap();
    let here = folder.path().display().to_string();
    let blocks = shell_blocks();
    let (copy, check) = (blocks[0], blocks[1]);
    for lines in [copy, check] {
        let done = finish(shell(&lines.replace("/etc/prometheus", &here))).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        // Both rule files are found from the place of prometheus.yml.
        let rules = done.out.contains("2 rule files found");
        assert_eq!(rules, lines == check, "{done:?}");
    }
    let blackbox = ["--config.file=blackbox.yml", "--config.check"];
    let done = run(&tools, "blackbox_exporter", folder.path(), &blackbox).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// Has promtool read the rules, and play the cases beside them.
async fn play(file: &str) {
    let Some(tools) = Tools::find() else { return };
    let path = root().join(file);
    let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap());
    let name = name.to_str().unwrap();
    let checked = run(&tools, "promtool", folder, &["check", "rules", name]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let cases = name.replace(".yml", "_test.yml");
    // Hours of made-up time: on a busy machine that takes its while.
    let mut test = tools.command("promtool");
    test.args(["test", "rules", &cases]).current_dir(folder);
    let tested = test.output().await.unwrap();
    let said = [tested.stdout, tested.stderr].concat();
    assert!(
        tested.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[tokio::test]
async fn alerts_on_origins_fire_when_they_should() {
    play(ORIGINS).await;
}

#[tokio::test]
async fn alerts_on_originswitch_fire_when_they_should() {
    play(OURS).await;
}

/// Where an alert with these labels goes, by a configuration.
async fn receivers(tools: &Tools, file: &Path, labels: &[String]) -> String {
    let mut route = tools.command("amtool");
    route.args(["config", "routes", "test", "--config.file"]);
    route.arg(file).args(labels);
    let route = finish(route).await;
    assert_eq!(route.code, Some(0), "{labels:?}: {route:?}");
    route.out.trim().to_owned()
}

#[tokio::test]
async fn each_alert_goes_to_those_whom_it_is_for() {
    let Some(tools) = Tools::find() else { return };
    let file = root().join(ALERTMANAGER);
    let goes = async |labels: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|&label| label.to_owned()).collect();
        receivers(&tools, &file, &labels).await
    };
    for alert in [ORIGINS, OURS].map(alerts).into_iter().flatten() {
        let name = format!("alertname={}", alert.0);
        // Most name a site, and an alert of a site keeps it from MAIN.
        let expected = match alert.0.as_str() {
            "OriginDown" => "originswitch,people",
            WATCHDOG => "originswitch",
            _ => "people",
        };
        assert_eq!(goes(&[&name, "site=www"]).await, expected, "{name}");
    }
    let down = "alertname=OriginDown";
    for (origin, expected) in [
        ("origin=main", "originswitch,people"),
        ("origin=backup", "originswitch,people"),
        ("origin=backup-2", "people"),
    ] {
        assert_eq!(
            goes(&[down, "site=www", origin]).await,
            expected,
            "{origin}"
        );
    }
}

/// Those of the bodies whose alerts the routes send on.
#[tokio::test]
async fn the_alerts_of_the_bodies_go_to_originswitch() {
    let Some(tools) = Tools::find() else { return };
    let file = root().join(ALERTMANAGER);
    let mut count = 0;
    for body in bodies() {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&body).unwrap()).unwrap();
        for alert in json["alerts"].as_array().unwrap() {
            let labels = alert["labels"].as_object().unwrap();
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
                .collect();
            let expected = match alert["labels"]["alertname"].as_str().unwrap() {
                "OriginDown" => "originswitch,people",
                WATCHDOG => "originswitch",
                // Somebody else's alert, which originswitch would understand too.
                _ => "people",
            };
            let goes = receivers(&tools, &file, &labels).await;
            assert_eq!(goes, expected, "{}: {labels:?}", body.display());
            count += 1;
        }
    }
    assert!(count >= 7, "{count} alerts");
}

#[test]
fn the_readme_of_the_examples_has_every_file() {
    for entry in std::fs::read_dir(root().join("alertmanager-examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let told = [format!("({name})"), format!("\n`{name}`: ")];
        let there = told.iter().any(|text| EXAMPLES.contains(text));
        assert!(there || name == "README.md", "{name}");
    }
}

/// The webhook bodies.
fn bodies() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("alertmanager-examples")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect()
}

/// Mimir takes no file names: the README makes a configuration that has the
/// token itself.
#[tokio::test]
async fn what_mimir_gets_names_no_file() {
    let Some(tools) = Tools::find() else { return };
    let folder = TempDir::new().unwrap();
    let blocks = shell_blocks();
    let lines = blocks.iter().find(|block| block.contains("mimirtool"));
    let made = lines.unwrap().lines().next().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("token"), "a/word+of=many\n").unwrap();
    let made = made
        .replace("originswitch-webhook.token", &at("token"))
        .replace(
            "> mimir-alertmanager.yml",
            &format!("> {}", at("mimir.yml")),
        );
    let done = finish(shell(&made)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let text = std::fs::read_to_string(at("mimir.yml")).unwrap();
    assert!(text.contains("credentials: 'a/word+of=many'"), "{text}");
    assert!(!text.contains("credentials_file:"), "{text}");
    let check = ["check-config", "mimir.yml"];
    let check = run(&tools, "amtool", folder.path(), &check).await;
    assert_eq!(check.code, Some(0), "{check:?}");
}
