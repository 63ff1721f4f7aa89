//! `config/originswitch.toml` shows every key, and each with its default.

use super::good;
use originswitch::config::KEYS;

const EXAMPLE: &str = include_str!("../../config/originswitch.toml");
const TOKEN: [(&str, &str); 1] = [("ORIGINSWITCH_CLOUDFLARE__API_TOKEN", "t")];

/// The effective configuration, without the folder it was read from.
fn effective(text: &str) -> String {
    let config = good(text, &TOKEN);
    let folder = config.source.parent().unwrap().display().to_string();
    assert_eq!(config.warnings, Vec::<String>::new());
    config.effective().replace(&folder, "DIR")
}

#[test]
fn the_defaults_it_shows_are_the_defaults() {
    let sites = &EXAMPLE[EXAMPLE.find("[[site]]\n").unwrap()..];
    // Nothing but the site is left, and still it means the same.
    assert_eq!(effective(EXAMPLE), effective(sites));
}

#[test]
fn it_shows_every_key_and_no_other() {
    let mut section = "";
    let mut shown = Vec::new();
    for line in EXAMPLE.lines().take_while(|line| *line != "[[site]]") {
        let code = line.split(" #").next().unwrap().trim();
        if let Some(name) = code.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap();
        } else if let Some((name, value)) = code.split_once(" = ")
            && !code.starts_with('#')
        {
            shown.push((section, name, value));
        }
    }
    let known: Vec<_> = KEYS
        .iter()
        .map(|key| (key.section, key.name, key.default))
        .collect();
    assert!(known.len() > 30);
    assert_eq!(shown, known);
}

#[test]
fn the_parts_in_comments_are_right_too() {
    let sites = EXAMPLE.find("[[site]]\n").unwrap();
    let uncommented: Vec<_> = EXAMPLE[sites..]
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        // The address of one family and the CNAME stand for themselves.
        .filter(|line| !line.starts_with("main = {") && !line.starts_with("backup = {"))
        .collect();
    let config = good(&uncommented.join("\n"), &TOKEN);
    let site = &config.sites[0];
    assert_eq!(site.matchers.len(), 2);
    assert_eq!(site.probe.path, "/health");
    assert!(site.edge.probe);
}
