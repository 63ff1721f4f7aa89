//! Which sites an alert belongs to.
//!
//! Generous on purpose: an alert only makes us look, so a needless match costs
//! a few probes, and a missed one costs the head start.

use super::Alert;
use super::conditions::Conditions;
use crate::matcher::Matcher;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

/// What alerts can call a site by.
#[derive(Debug)]
pub struct SiteKeys<'a> {
    /// Its name, matched to the letter.
    pub name: &'a str,
    /// Its hostnames.
    pub hostnames: &'a [String],
    /// Where its origins are: addresses, or names for a CNAME.
    pub origins: Vec<String>,
    /// Its matchers, all of which must match; none match nothing.
    pub matchers: &'a [Matcher],
}

/// Finds the sites of an alert by look-up; built once per configuration.
#[derive(Debug)]
pub struct Directory {
    site_label: String,
    names: Named,
    hostnames: Named,
    /// Origins that have a name.
    origins: Named,
    /// Origins that have an address.
    addresses: HashMap<IpAddr, Vec<u32>>,
    conditions: Conditions,
}

/// Indices of sites by a name, mostly one each.
#[derive(Debug, Default)]
struct Named(HashMap<Box<str>, Vec<u32>>);

impl Named {
    fn add(&mut self, name: Cow<'_, str>, site: u32) {
        let sites = self.0.entry(name.into_owned().into_boxed_str());
        // No room for more than the one, which there mostly is.
        let sites = sites.or_insert_with(|| Vec::with_capacity(1));
        sites.push(site);
    }

    fn get(&self, name: &str) -> impl Iterator<Item = usize> {
        indices(self.0.get(name))
    }
}

fn indices(sites: Option<&Vec<u32>>) -> impl Iterator<Item = usize> {
    sites.into_iter().flatten().map(|&site| site as usize)
}

/// Labels that say what was probed, in Prometheus' and blackbox_exporter's habit.
const TARGET_LABELS: [&str; 2] = ["instance", "target"];

impl Directory {
    /// Builds the directory; a site's index is its place in `sites`.
    pub fn new<'a>(site_label: &str, sites: impl Iterator<Item = SiteKeys<'a>>) -> Directory {
        let mut directory = Directory {
            site_label: site_label.to_owned(),
            names: Named::default(),
            hostnames: Named::default(),
            origins: Named::default(),
            addresses: HashMap::new(),
            conditions: Conditions::default(),
        };
        let mut conditions = Vec::new();
        for (index, keys) in sites.enumerate() {
            directory.add(index, &keys);
            if !keys.matchers.is_empty() {
                conditions.push((index, keys.matchers.to_vec()));
            }
        }
        directory.conditions = Conditions::new(conditions);
        directory
    }

    fn add(&mut self, index: usize, keys: &SiteKeys<'_>) {
        // A configuration of more sites would not fit into memory.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.names.add(keys.name.into(), index);
        for hostname in keys.hostnames {
            self.hostnames.add(normal_name(hostname), index);
        }
        for origin in &keys.origins {
            match Host::of_literal(origin) {
                Host::Address(address) => self.addresses.entry(address).or_default().push(index),
                Host::Name(name) => self.origins.add(name, index),
            }
        }
    }

    /// The indices of the sites the alert belongs to, sorted, each once. One
    /// about originswitch belongs to none, whatever its labels name.
    #[must_use]
    pub fn sites_of(&self, alert: &Alert<'_>) -> Vec<usize> {
        if alert.is_about_us() {
            return Vec::new();
        }
        let mut sites = Vec::new();
        if let Some(value) = alert.labels.get(&self.site_label) {
            sites.extend(self.names.get(value));
            sites.extend(self.hostnames.get(&normal_name(value)));
        }
        self.conditions.find(&alert.labels, &mut sites);
        if sites.is_empty() {
            self.find_by_target(alert, &mut sites);
        }
        if sites.len() > 1 {
            sites.sort_unstable();
            sites.dedup();
        }
        sites
    }

    /// The last resort: what was probed is a hostname or an origin of the site.
    fn find_by_target(&self, alert: &Alert<'_>, sites: &mut Vec<usize>) {
        for label in TARGET_LABELS {
            let target = alert.labels.get(label).and_then(Host::of_target);
            match target {
                Some(Host::Address(address)) => sites.extend(indices(self.addresses.get(&address))),
                Some(Host::Name(name)) => {
                    sites.extend(self.hostnames.get(&name));
                    sites.extend(self.origins.get(&name));
                }
                None => {}
            }
        }
    }
}

/// The host part of a target: addresses compare as values, names as text.
enum Host<'a> {
    Address(IpAddr),
    Name(Cow<'a, str>),
}

impl<'a> Host<'a> {
    fn of_literal(text: &'a str) -> Host<'a> {
        match text.parse::<IpAddr>() {
            // ::ffff:192.0.2.10 is 192.0.2.10 on a dual-stack socket.
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(normal_name(text)),
        }
    }

    /// Takes a URL, `host:port`, `[address]:port` or a bare host.
    fn of_target(target: &'a str) -> Option<Host<'a>> {
        let target = target.trim();
        let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?.0,
            None => without_port(host),
        };
        (!host.is_empty()).then(|| Host::of_literal(host))
    }
}

/// `host:443` without its port; a bare IPv6 address has colons, but no port.
fn without_port(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// A hostname as it is compared: lower case, without the trailing dot.
fn normal_name(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_normal = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if name.bytes().all(is_normal) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alertmanager::parse;

    /// 0 www, 1 shop (dual stack), 2 app (CNAME, matchers), 3 shares www's origin.
    fn directory() -> Directory {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let hostnames = [
            own(&["www.example.com", "example.com"]),
            own(&["shop.example.com"]),
            own(&["app.example.com"]),
            own(&["static.example.com"]),
        ];
        let origins = [
            own(&["192.0.2.10", "198.51.100.20"]),
            own(&["192.0.2.30", "2001:db8::30"]),
            own(&["App-Backup.example.net"]),
            own(&["192.0.2.10"]),
        ];
        let matchers = ["alertname=\"AppDown\"", "env=~\"prod|live\""]
            .map(|text| Matcher::parse(text).unwrap());
        let keys = ["www", "shop", "app", "static"]
            .into_iter()
            .zip(&hostnames)
            .zip(origins)
            .map(|((name, hostnames), origins)| SiteKeys {
                name,
                hostnames,
                origins,
                matchers: if name == "app" { &matchers } else { &[] },
            });
        Directory::new("site", keys)
    }

    fn sites(labels: &[(&str, &str)]) -> Vec<usize> {
        let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n:?}:{v:?}")).collect();
        let body = format!("{{\"alerts\":[{{\"labels\":{{{}}}}}]}}", labels.join(","));
        directory().sites_of(&parse(body.as_bytes()).unwrap().alerts[0])
    }

    #[test]
    fn the_site_label_names_a_site_or_one_of_its_hostnames() {
        assert_eq!(sites(&[("site", "www")]), [0]);
        assert_eq!(sites(&[("site", "WWW")]), [0; 0]);
        assert_eq!(sites(&[("site", "Example.COM.")]), [0]);
        assert_eq!(sites(&[("site", "192.0.2.10")]), [0; 0]);
        assert_eq!(sites(&[("site", "")]), [0; 0]);
        assert_eq!(sites(&[]), [0; 0]);
    }

    #[test]
    fn all_matchers_must_match_and_add_to_the_site_label() {
        let down = ("alertname", "AppDown");
        assert_eq!(sites(&[down]), [0; 0]);
        assert_eq!(sites(&[down, ("env", "live")]), [2]);
        assert_eq!(sites(&[down, ("env", "live2")]), [0; 0]);
        assert_eq!(sites(&[down, ("env", "prod"), ("site", "www")]), [0, 2]);
        assert_eq!(sites(&[down, ("env", "prod"), ("site", "app")]), [2]);
    }

    #[test]
    fn a_target_counts_only_if_nothing_else_matched() {
        let cases: [(&str, &[usize]); 19] = [
            ("https://www.example.com/path", &[0]),
            ("https://user:pw@www.example.com:8443/a:b@c?x=://y", &[0]),
            ("WWW.example.com.", &[0]),
            ("www.example.com.:443", &[0]),
            ("192.0.2.10:443", &[0, 3]),
            ("192.0.2.10", &[0, 3]),
            ("http://192.0.2.10", &[0, 3]),
            ("[::ffff:192.0.2.10]:443", &[0, 3]),
            ("[2001:db8::30]:443", &[1]),
            ("2001:DB8:0:0::30", &[1]),
            ("https://[2001:db8::30]/", &[1]),
            ("app-backup.example.net:443", &[2]),
            ("192.0.2.1", &[]),
            ("www.example.com.evil.test", &[]),
            ("https://other.test/www.example.com", &[]),
            ("[2001:db8::30", &[]),
            ("://", &[]),
            (":443", &[]),
            ("", &[]),
        ];
        for (target, expected) in cases {
            assert_eq!(sites(&[("instance", target)]), expected, "{target}");
            assert_eq!(sites(&[("target", target)]), expected, "{target}");
        }
        let instance = ("instance", "192.0.2.10:443");
        assert_eq!(sites(&[("site", "shop"), instance]), [1]);
        assert_eq!(sites(&[("site", "elsewhere"), instance]), [0, 3]);
        let both = [instance, ("target", "https://shop.example.com/")];
        assert_eq!(sites(&both), [0, 1, 3]);
    }
}
