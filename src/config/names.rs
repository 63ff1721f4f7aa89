//! Hostnames and the other names a configuration holds.

use std::net::IpAddr;

/// A hostname in its normal form: lower case, without the trailing dot.
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return Err("is empty: write a hostname such as \"www.example.com\"".into());
    }
    if name.contains('/') {
        return Err(format!(
            "{text:?} is a URL or a path: write the hostname alone, such as \"www.example.com\""
        ));
    }
    if name.starts_with('*') {
        return Err(format!(
            "{text:?} is a wildcard, which no Host header can carry: list the hostnames themselves"
        ));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{text:?} is an address: write a hostname"));
    }
    if name.contains(':') {
        return Err(format!(
            "{text:?} holds a port: write the hostname alone, and the port as `port`"
        ));
    }
    if !name.is_ascii() {
        return Err(match punycode(&name) {
            Some(ascii) => format!("{text:?} is not in Punycode: write {ascii:?}"),
            None => format!("{text:?} is not in Punycode, and cannot be: write a hostname"),
        });
    }
    match label_fault(&name) {
        Some(reason) => Err(format!("{text:?} is no hostname: {reason}")),
        None => Ok(name),
    }
}

/// A hostname of at least two labels, as a record has.
pub(super) fn full_hostname(text: &str) -> Result<String, String> {
    let name = hostname(text)?;
    if name.contains('.') {
        Ok(name)
    } else {
        Err(format!(
            "{text:?} has no dot: write it in full, such as \"{name}.example.com\""
        ))
    }
}

/// What is wrong with the labels of a name, if anything.
fn label_fault(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("it is longer than 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Some("two dots stand together, or one in front");
        }
        if label.len() > 63 {
            return Some("a part between dots is longer than 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Some("a part between dots starts or ends with a hyphen");
        }
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !label.bytes().all(fine) {
            return Some("only letters, digits, hyphens, underscores and dots may stand in one");
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes()
        .all(|b| b.is_ascii_digit())
        .then_some("it ends in a number, and is no IP address either")
}

/// The Punycode form of an international name.
fn punycode(name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("http://{name}/")).ok()?;
    let host = url.host_str()?.to_owned();
    label_fault(&host).is_none().then_some(host)
}

/// Whether `hostname` lies in `zone`.
pub(super) fn is_inside(hostname: &str, zone: &str) -> bool {
    hostname
        .strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
