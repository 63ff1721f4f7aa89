//! The configuration: what is refused and in which words, what is taken, and
//! that the example file tells the truth.

mod any;
mod example;
mod faults;
mod sites;
mod values;

use originswitch::config::{Config, Faults, load};
use std::path::Path;
use tempfile::TempDir;

/// The smallest site there is.
pub const SITE: &str = r#"
[[site]]
name = "www"
hostname = "www.example.com"
zone = "example.com"
main = "192.0.2.10"
backup = "198.51.100.20"
"#;

/// The smallest configuration there is.
pub fn minimal(more: &str) -> String {
    format!("[cloudflare]\napi_token = \"s3cret\"\n{more}\n{SITE}")
}

/// Loads a text as `o.toml` of a folder.
pub fn load_in(folder: &Path, text: &str, env: &[(&str, &str)]) -> Result<Config, Faults> {
    let path = folder.join("o.toml");
    std::fs::write(&path, text).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&path, env)
}

/// Loads a text that must be right.
pub fn good(text: &str, env: &[(&str, &str)]) -> Config {
    let folder = TempDir::new().unwrap();
    load_in(folder.path(), text, env).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The faults of a text, one line each, the folder's path written as `DIR`.
pub fn faults(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let faults = match load_in(folder.path(), text, env) {
        Ok(config) => panic!("nothing wrong with {text}\n{config:?}"),
        Err(faults) => faults.to_string(),
    };
    let dir = folder.path().display().to_string();
    faults
        .replace(&dir, "DIR")
        .lines()
        .map(str::to_owned)
        .collect()
}
