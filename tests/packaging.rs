//! The files that bring originswitch onto a machine: the systemd unit, the
//! image, the stack. What can be run of them here is run.

mod support;

use originswitch::config::{self, KEYS};
use originswitch::descriptors::Limit;
use originswitch::server::CONNECTIONS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::skip::skip;

/// The highest exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: u32 = 20;

const UNIT: &str = include_str!("../config/systemd/originswitch.service");
const DOCKERFILE: &str = include_str!("../config/docker/Dockerfile");
const COMPOSE: &str = include_str!("../config/docker/compose.yml");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `systemd-analyze` with these arguments; `None`, said aloud, if it is not here.
fn systemd_analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("the systemd unit: systemd-analyze ({error})"));
            None
        }
    }
}

fn said(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// The unit with the program where it is here, as systemd would load it.
fn loadable(folder: &Path) -> PathBuf {
    let program = env!("CARGO_BIN_EXE_originswitch");
    let unit = UNIT.replace("/usr/local/bin/originswitch", program);
    assert!(unit.matches(program).count() >= 2);
    let path = folder.join("originswitch.service");
    std::fs::write(&path, unit).unwrap();
    path
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = loadable(folder.path());
    let verify = ["verify", unit.to_str().unwrap()];
    let Some(output) = systemd_analyze(&verify) else {
        return;
    };
    assert_eq!(said(&output), "");
    assert!(output.status.success());
}

#[test]
fn the_unit_is_confined() {
    let folder = tempfile::tempdir().unwrap();
    let unit = loadable(folder.path());
    let threshold = format!("--threshold={EXPOSURE}");
    let security = [
        "security",
        "--offline=true",
        &threshold,
        unit.to_str().unwrap(),
    ];
    let Some(output) = systemd_analyze(&security) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_unit_has_room_for_as_many_probes_as_can_be_configured() {
    let key = KEYS.iter().find(|key| key.name == "max_in_flight").unwrap();
    let config::Kind::Count(_, most) = key.kind else {
        panic!("{key:?} is no count");
    };
    let [limit] = settings("LimitNOFILE")[..] else {
        panic!("one LimitNOFILE=");
    };
    let limit = Limit::of(limit.parse().unwrap());
    let most = usize::try_from(most).unwrap();
    assert_eq!(limit.shortage(most, CONNECTIONS), None);
}

/// The lines of the unit that set this, also those that wait to be put in.
fn settings(name: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().map(|line| line.trim_start_matches('#'));
    let prefix = format!("{name}=");
    lines
        .filter_map(|line| line.strip_prefix(&*prefix))
        .collect()
}

/// The key behind a variable of the environment.
fn key_of(variable: &str) -> Option<String> {
    let full = variable.strip_prefix("ORIGINSWITCH_")?;
    Some(full.to_lowercase().replace("__", "."))
}

#[test]
fn the_service_finds_its_tokens_and_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let mut loaded = BTreeSet::new();
    for credential in settings("LoadCredential") {
        let (name, file) = credential.split_once(':').unwrap();
        assert!(
            file.starts_with("/etc/originswitch/tokens/"),
            "{credential}"
        );
        std::fs::write(credentials.join(name), "a-token\n").unwrap();
        loaded.insert(name.to_owned());
    }
    let mut environment = Vec::new();
    for line in settings("Environment") {
        let (variable, value) = line.split_once('=').unwrap();
        let key = key_of(variable).unwrap();
        let known = KEYS
            .iter()
            .any(|k| key == format!("{}.{}", k.section, k.name));
        assert!(known, "{variable} names no key");
        if let Some(name) = value.strip_prefix("%d/") {
            assert!(loaded.remove(name), "{name} is not loaded, or named twice");
        }
        let value = value
            .replace("%d", credentials.to_str().unwrap())
            .replace("%S", folder.path().to_str().unwrap());
        environment.push((variable.to_owned(), value));
    }
    assert_eq!(loaded, BTreeSet::new(), "nobody reads these");
    assert!(environment.len() >= 4, "{environment:?}");
    let path = root().join("config/systemd/originswitch.toml");
    let config = config::load(&path, environment).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    let state = folder.path().join("originswitch/originswitch.db");
    assert_eq!(config.state.path, state);
    assert!(config.server.webhook_token.is_some() && config.notify.token.is_some());
}

/// `NAME: value` or `NAME=value` of variables that override keys.
fn overridden(text: &str, sign: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.trim().trim_end_matches(" \\"))
        .filter_map(|line| line[line.find("ORIGINSWITCH_")?..].split_once(sign))
        .filter(|(variable, _)| variable.contains("__") && !variable.contains(' '))
        .map(|(variable, value)| (variable.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn the_stack_gives_originswitch_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = overridden(COMPOSE, ":");
    environment.extend(overridden(DOCKERFILE, "="));
    assert!(environment.len() >= 3, "{environment:?}");
    for (variable, value) in &mut environment {
        let key = key_of(variable).unwrap();
        let known = KEYS
            .iter()
            .any(|k| key == format!("{}.{}", k.section, k.name));
        assert!(known, "{variable} names no key");
        if let Some(secret) = value.strip_prefix("/run/secrets/") {
            let source = format!("  {secret}:\n    file: ./tokens/{secret}\n");
            assert!(
                COMPOSE.contains(&source),
                "{secret} is no secret of the stack"
            );
            assert!(
                COMPOSE.contains(&format!("> tokens/{secret}")),
                "nobody writes {secret}"
            );
            let file = folder.path().join(secret);
            std::fs::write(&file, "a-token\n").unwrap();
            *value = file.to_str().unwrap().to_owned();
        }
    }
    let path = root().join("config/docker/originswitch.toml");
    let config = config::load(&path, environment).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    assert!(config.server.webhook_token.is_some());
    assert_eq!(config.notify.alertmanager_urls, ["http://127.0.0.1:9093"]);
    assert!(COMPOSE.contains("--web.listen-address=127.0.0.1:9093"));
}

#[test]
fn the_image_holds_what_it_is_built_from_and_runs_what_there_is() {
    let ignored = std::fs::read_to_string(root().join("config/docker/Dockerfile.dockerignore"));
    let ignored = ignored.unwrap();
    let let_in: BTreeSet<&str> = ignored
        .lines()
        .filter_map(|l| l.strip_prefix('!'))
        .collect();
    let copied: BTreeSet<&str> = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            words.pop();
            words
        })
        .collect();
    assert_eq!(copied, let_in);
    for path in &copied {
        assert!(root().join(path).exists(), "no {path}");
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.split("rust-version = \"").nth(1).unwrap();
    let version = version.split('"').next().unwrap();
    assert!(DOCKERFILE.contains(&format!("FROM rust:{version}-")));

    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_originswitch");
        Command::new(program).args(arguments).output().unwrap()
    };
    for command in ["serve", "health"] {
        assert!(DOCKERFILE.contains(&format!("\"{command}\"]")), "{command}");
        assert!(run(&[command, "--help"]).status.success(), "{command}");
    }
    let nobody = DOCKERFILE.lines().any(|line| line == "USER 65532:65532");
    assert!(nobody, "it would run as root");
}

#[test]
fn every_file_that_the_stack_mounts_is_there() {
    let lines = COMPOSE.lines().map(str::trim);
    let sources = lines.filter_map(|line| line.strip_prefix("- .")?.split_once(':'));
    let mut mounted = 0;
    for (source, _) in sources.filter(|(source, _)| !source.starts_with("/tokens/")) {
        let path = root().join("config/docker").join(format!(".{source}"));
        assert!(path.exists(), "no {}", path.display());
        mounted += 1;
    }
    assert!(mounted >= 9, "{mounted} files");
}
