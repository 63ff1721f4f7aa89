//! The text of a configuration, with the environment in comments at its start
//! (`#ENV NAME=VALUE`): what is loaded is valid, prints, and reads the same the
//! next time; what is not has faults of one line each. No secret shows in either.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use originswitch::config::{Config, Faults, load, parse_duration, show_duration};
use originswitch::probe::Probes;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;

/// What the file `token` holds; nobody else writes it.
const SECRET: &str = "kept-0123456789-to-itself";

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("token"), SECRET).expect("a file");
    folder
});

fuzz_target!(|text: &str| {
    if text.contains(SECRET) {
        return;
    }
    match read(text) {
        Ok(config) => {
            is_valid(&config);
            let effective = config.effective();
            assert!(!effective.contains(SECRET) && !format!("{config:?}").contains(SECRET));
            let again = read(text).expect("what was loaded is loaded again");
            assert_eq!(again.effective(), effective);
        }
        Err(faults) => {
            assert!(faults.iter().count() > 0);
            for fault in faults.iter() {
                common::one_line(&fault.to_string());
            }
            let said = faults.to_string();
            assert!(!said.contains(SECRET), "{said}");
            assert_eq!(said.lines().count(), faults.iter().count(), "{said}");
        }
    }
    for word in text.split(['"', '\n']).filter(|word| word.len() < 64) {
        durations_are_written_back(word);
    }
});

fn read(text: &str) -> Result<Config, Faults> {
    let path: PathBuf = FOLDER.path().join("originswitch.toml");
    std::fs::write(&path, text).expect("a file");
    let lines = text.lines().map_while(|line| line.strip_prefix("#ENV "));
    let environment = lines.filter_map(|line| line.split_once('='));
    load(
        &path,
        environment.map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
}

fn is_valid(config: &Config) {
    let effective = config.effective();
    let (mut names, probes) = (HashSet::new(), Probes::new());
    assert!(!config.sites.is_empty());
    assert!(config.max_in_flight > 0 && config.cloudflare.requests_per_5m > 0);
    for warning in &config.warnings {
        common::one_line(warning);
    }
    for site in &config.sites {
        assert!(
            names.insert(site.name.clone()),
            "{} is there twice",
            site.name
        );
        assert!(effective.contains(&format!("name = {:?}", site.name)));
        assert!(!site.hostnames.is_empty() && site.origins.len() >= 2);
        assert!(site.policy.fall > 0 && site.policy.rise > 0);
        assert!(site.policy.confirm_interval > Duration::ZERO);
        for origin in &site.origins {
            let probe = &origin.probe;
            assert!(probe.port > 0 && !probe.host.is_empty(), "{probe:?}");
            assert!(probe.timeout > Duration::ZERO && probe.interval > Duration::ZERO);
            assert_eq!(probe.fingerprint(&origin.place).len(), 16);
            for address in origin.place.addresses() {
                let _ = probes.build(address, probe);
            }
        }
    }
}

fn durations_are_written_back(text: &str) {
    match parse_duration(text) {
        Ok(duration) => assert_eq!(parse_duration(&show_duration(duration)), Ok(duration)),
        Err(sentence) => common::one_line(&sentence),
    }
}
