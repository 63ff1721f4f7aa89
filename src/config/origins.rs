//! Where an origin lives: an address, both families, or a name.

use super::addresses::{Reach, is_cloudflare, reach};
use super::names::full_hostname;
use super::values::{describe, text};
use crate::rule::address::{Address, Place};
use figment::value::{Dict, Value};
use std::net::IpAddr;

/// The place an origin's value names; each error is a fault's sentence.
pub(super) fn place(value: &Value) -> Result<Place, String> {
    match value {
        Value::String(_, text) => from_text(text),
        Value::Dict(_, dict) => from_table(dict),
        _ => Err(format!(
            "must be an address, a hostname, or a table such as {{ ipv4 = \"192.0.2.10\" }}, not {}",
            describe(value)
        )),
    }
}

/// One address of an origin, or its hostname, as a person names it.
///
/// # Errors
/// One sentence that says what to write.
pub fn parse_address(text: &str) -> Result<Address, String> {
    let ip = text.parse::<IpAddr>();
    ip.map_or_else(
        |_| Ok(Address::name(&full_hostname(text)?)),
        |ip| Ok(ip.into()),
    )
}

fn from_text(text: &str) -> Result<Place, String> {
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => usable(ip)?,
        Err(_) => Address::name(&name(text)?),
    };
    Ok(Place::new(vec![address]))
}

/// A hostname, with a word for those who meant an address.
fn name(text: &str) -> Result<String, String> {
    let host = text
        .rsplit_once(':')
        .filter(|(host, port)| host.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok());
    if let Some((host, port)) = host
        && !host.contains(':')
    {
        return Err(format!(
            "{text:?} holds a port: write {{ ipv4 = \"{host}\", port = {port} }}"
        ));
    }
    if let Some((ip, _)) = text.split_once('/')
        && ip.parse::<IpAddr>().is_ok()
    {
        return Err(format!(
            "{text:?} is a range: write the address of one server, such as \"{ip}\""
        ));
    }
    if text.contains(':') && !text.contains('/') {
        return Err(format!("{text:?} is neither an address nor a hostname"));
    }
    full_hostname(text)
}

fn from_table(dict: &Dict) -> Result<Place, String> {
    let given = |key: &str| match dict.get(key) {
        None => Ok(None),
        Some(value) => text(value)
            .map(Some)
            .map_err(|sentence| format!("`{key}` {sentence}")),
    };
    let (ipv4, ipv6, hostname) = (given("ipv4")?, given("ipv6")?, given("hostname")?);
    if let Some(hostname) = hostname {
        if ipv4.is_some() || ipv6.is_some() {
            return Err(
                "has a hostname and an address: a name holds a CNAME or addresses, keep one".into(),
            );
        }
        return Ok(Place::new(vec![Address::name(&name(hostname)?)]));
    }
    let mut addresses = Vec::new();
    for (key, text, like) in [("ipv4", ipv4, "192.0.2.10"), ("ipv6", ipv6, "2001:db8::10")] {
        let Some(text) = text else { continue };
        let ip = text.parse::<IpAddr>().ok();
        match ip.filter(|ip| ip.is_ipv4() == (key == "ipv4")) {
            Some(ip) => addresses.push(usable(ip)?),
            None => {
                return Err(format!(
                    "`{key}` {text:?} is no address of that family: write one such as \"{like}\""
                ));
            }
        }
    }
    if addresses.is_empty() {
        return Err("names no place: write `ipv4`, `ipv6` or `hostname` into the table".into());
    }
    Ok(Place::new(addresses))
}

/// The address, if a host can have it and it is not the CDN's.
fn usable(ip: IpAddr) -> Result<Address, String> {
    if is_cloudflare(ip) {
        return Err(format!(
            "{ip} is Cloudflare's own address: write the address of the server behind it"
        ));
    }
    match reach(ip) {
        Reach::Nobody(what) => Err(format!("{ip} is {what}: write the address of one server")),
        _ => Ok(Address::from(ip)),
    }
}

/// What to warn of in a place, if anything.
pub(super) fn warning(place: &Place) -> Option<String> {
    place.addresses().iter().find_map(|address| {
        let ip = address.ip()?;
        match reach(ip) {
            Reach::Local(what) => Some(format!(
                "{ip} is {what}: Cloudflare refuses it in a proxied record"
            )),
            _ => None,
        }
    })
}
