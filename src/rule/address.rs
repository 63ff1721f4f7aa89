//! What a record can hold, where an origin lives, and which origin a record
//! therefore points to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The types of record that carry an address, and so decide where visitors go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another hostname.
    Cname,
}

impl RecordType {
    /// The type's name as DNS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Cname => "CNAME",
        }
    }

    /// The type with this name, if it carries an address.
    #[must_use]
    pub fn from_name(name: &str) -> Option<RecordType> {
        [RecordType::A, RecordType::Aaaa, RecordType::Cname]
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of one address record, compared as a value and not as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Content of an A record.
    V4(Ipv4Addr),
    /// Content of an AAAA record.
    V6(Ipv6Addr),
    /// Content of a CNAME record: lower case, without a trailing dot.
    Name(String),
}

impl Address {
    /// Reads the content of a record of `kind`; `None` if it does not fit.
    #[must_use]
    pub fn parse(kind: RecordType, content: &str) -> Option<Address> {
        match kind {
            RecordType::A => content.parse().ok().map(Address::V4),
            RecordType::Aaaa => content.parse().ok().map(Address::V6),
            RecordType::Cname => Some(Address::name(content)),
        }
    }

    /// A hostname as an address, normalised.
    #[must_use]
    pub fn name(text: &str) -> Address {
        Address::Name(text.trim_end_matches('.').to_ascii_lowercase())
    }

    /// The type of record that can hold it.
    #[must_use]
    pub fn kind(&self) -> RecordType {
        match self {
            Address::V4(_) => RecordType::A,
            Address::V6(_) => RecordType::Aaaa,
            Address::Name(_) => RecordType::Cname,
        }
    }

    /// The literal IP address, unless it is a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::V4(ip) => Some((*ip).into()),
            Address::V6(ip) => Some((*ip).into()),
            Address::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => Address::V4(ip),
            IpAddr::V6(ip) => Address::V6(ip),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::V4(ip) => ip.fmt(f),
            Address::V6(ip) => ip.fmt(f),
            Address::Name(name) => f.write_str(name),
        }
    }
}

/// Where an origin lives: an IPv4 address, an IPv6 address, both, or a name.
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Arc<[Address]>);

impl Place {
    /// A place of one address for each record type, in the order A, AAAA, CNAME.
    #[must_use]
    pub fn new(mut addresses: Vec<Address>) -> Place {
        addresses.sort();
        Place(addresses.into())
    }

    /// The addresses, one for each record type.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }

    /// The record types a name needs to point here.
    pub fn kinds(&self) -> impl Iterator<Item = RecordType> {
        self.0.iter().map(Address::kind)
    }

    /// What the record of type `kind` has to hold.
    #[must_use]
    pub fn of_kind(&self, kind: RecordType) -> Option<&Address> {
        self.0.iter().find(|address| address.kind() == kind)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The part an origin plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The preferred origin.
    Main,
    /// The n-th choice after MAIN, from 1.
    Backup(u16),
    /// An address that the configuration does not know.
    Other,
}

impl Role {
    /// The role of the configured origin at `index`, MAIN being 0.
    #[must_use]
    pub fn of_index(index: usize) -> Role {
        match u16::try_from(index) {
            Ok(0) => Role::Main,
            Ok(n) => Role::Backup(n),
            Err(_) => Role::Other,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Main => f.write_str("main"),
            Role::Backup(1) => f.write_str("backup"),
            Role::Backup(n) => write!(f, "backup-{n}"),
            Role::Other => f.write_str("other"),
        }
    }
}

/// One address record as it was read: the part the rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The hostname, lower case.
    pub hostname: String,
    /// Its type.
    pub kind: RecordType,
    /// Its content as Cloudflare wrote it.
    pub content: String,
}

/// Which origin a site's records point to, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// All of them hold this configured origin (an index, MAIN being 0).
    Origin(usize),
    /// All of them hold the same place, which the configuration does not know.
    Other(Place),
    /// They are missing, doubled, of another type, or disagree: the sentence says how.
    Unclear(String),
}

/// Works out which origin the records of `hostnames` point to.
///
/// `records` may hold anything of these names; types that carry no address are
/// not ours and are passed over.
#[must_use]
pub fn holding(hostnames: &[String], origins: &[Place], records: &[Held]) -> Holding {
    let Some(main) = origins.first() else {
        return Holding::Unclear("no origin is configured".into());
    };
    let mut common: Option<(&str, Place)> = None;
    for hostname in hostnames {
        let place = match place_of(hostname, main, records) {
            Ok(place) => place,
            Err(sentence) => return Holding::Unclear(sentence),
        };
        match &common {
            None => common = Some((hostname, place)),
            Some((first, held)) if *held != place => {
                return Holding::Unclear(format!(
                    "{first} holds {held} but {hostname} holds {place}: point both to one origin"
                ));
            }
            Some(_) => {}
        }
    }
    match common {
        Some((hostname, place)) => known(hostname, origins, place),
        None => Holding::Unclear("no hostname is configured".into()),
    }
}

/// The single place that `hostname` points to, or what is wrong with its records.
fn place_of(hostname: &str, main: &Place, records: &[Held]) -> Result<Place, String> {
    let of_name = || records.iter().filter(|r| r.hostname == hostname);
    if let Some(odd) = of_name().find(|r| main.of_kind(r.kind).is_none()) {
        let wanted: Vec<_> = main.kinds().map(RecordType::as_str).collect();
        return Err(format!(
            "{hostname} has a record of type {} ({}), but its origins need {}",
            odd.kind,
            odd.content,
            wanted.join(" and ")
        ));
    }
    let mut addresses = Vec::new();
    for kind in main.kinds() {
        let held: Vec<_> = of_name().filter(|r| r.kind == kind).collect();
        match held.as_slice() {
            [] => {
                return Err(format!(
                    "{hostname} has no record of type {kind}: create it in Cloudflare, or correct hostname"
                ));
            }
            [one] => {
                addresses.push(Address::parse(kind, &one.content).ok_or_else(|| {
                    format!("{hostname}: {:?} is no content of {kind}", one.content)
                })?)
            }
            many => {
                let contents: Vec<_> = many.iter().map(|r| r.content.as_str()).collect();
                return Err(format!(
                    "{hostname} has {} records of type {kind} ({})",
                    many.len(),
                    contents.join(", ")
                ));
            }
        }
    }
    Ok(Place::new(addresses))
}

/// Finds `place` among the origins; half of one origin is nobody's place.
fn known(hostname: &str, origins: &[Place], place: Place) -> Holding {
    if let Some(index) = origins.iter().position(|origin| *origin == place) {
        return Holding::Origin(index);
    }
    let half = place
        .addresses()
        .iter()
        .find(|address| origins.iter().any(|o| o.addresses().contains(address)));
    match half {
        Some(address) => Holding::Unclear(format!(
            "{hostname} holds {place}: {address} is an origin's, the other is not the same origin's"
        )),
        None => Holding::Other(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Place {
        Place::new(vec![Address::V4(text.parse().unwrap())])
    }

    fn dual(four: &str, six: &str) -> Place {
        Place::new(vec![
            Address::V6(six.parse().unwrap()),
            Address::V4(four.parse().unwrap()),
        ])
    }

    fn held(hostname: &str, kind: RecordType, content: &str) -> Held {
        Held {
            hostname: hostname.into(),
            kind,
            content: content.into(),
        }
    }

    fn www(records: &[Held]) -> Holding {
        let origins = [v4("192.0.2.10"), v4("198.51.100.20")];
        holding(&["www.example.com".into()], &origins, records)
    }

    #[test]
    fn a_record_is_recognised_as_the_origin_it_holds() {
        let a = |content| held("www.example.com", RecordType::A, content);
        assert_eq!(www(&[a("192.0.2.10")]), Holding::Origin(0));
        assert_eq!(www(&[a("198.51.100.20")]), Holding::Origin(1));
        assert_eq!(www(&[a("203.0.113.9")]), Holding::Other(v4("203.0.113.9")));
    }

    #[test]
    fn missing_doubled_and_mistyped_records_are_unclear_and_say_so() {
        let a = |content| held("www.example.com", RecordType::A, content);
        let said = |records: &[Held]| match www(records) {
            Holding::Unclear(sentence) => sentence,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            said(&[]),
            "www.example.com has no record of type A: create it in Cloudflare, or correct hostname"
        );
        assert_eq!(
            said(&[a("192.0.2.10"), a("198.51.100.20")]),
            "www.example.com has 2 records of type A (192.0.2.10, 198.51.100.20)"
        );
        assert_eq!(
            said(&[held("www.example.com", RecordType::Cname, "x.example.net")]),
            "www.example.com has a record of type CNAME (x.example.net), but its origins need A"
        );
    }

    #[test]
    fn addresses_are_compared_as_values_and_names_without_case() {
        let origins = [
            dual("192.0.2.10", "2001:db8::10"),
            dual("192.0.2.20", "2001:db8::20"),
        ];
        let names = ["www.example.com".to_owned()];
        let records = [
            held("www.example.com", RecordType::A, "192.0.2.10"),
            held("www.example.com", RecordType::Aaaa, "2001:DB8:0:0::0010"),
        ];
        assert_eq!(holding(&names, &origins, &records), Holding::Origin(0));
        assert_eq!(origins[0].to_string(), "192.0.2.10, 2001:db8::10");
        assert_eq!(
            Address::name("App.Example.NET."),
            Address::name("app.example.net")
        );
    }

    #[test]
    fn families_or_hostnames_that_point_to_different_origins_are_unclear() {
        let origins = [
            dual("192.0.2.10", "2001:db8::10"),
            dual("192.0.2.20", "2001:db8::20"),
        ];
        let names = ["www.example.com".to_owned()];
        let mixed = [
            held("www.example.com", RecordType::A, "192.0.2.10"),
            held("www.example.com", RecordType::Aaaa, "2001:db8::20"),
        ];
        assert!(matches!(
            holding(&names, &origins, &mixed),
            Holding::Unclear(_)
        ));

        let origins = [v4("192.0.2.10"), v4("198.51.100.20")];
        let names = ["example.com".to_owned(), "www.example.com".to_owned()];
        let apart = [
            held("example.com", RecordType::A, "192.0.2.10"),
            held("www.example.com", RecordType::A, "198.51.100.20"),
        ];
        assert_eq!(
            holding(&names, &origins, &apart),
            Holding::Unclear(
                "example.com holds 192.0.2.10 but www.example.com holds 198.51.100.20: \
                 point both to one origin"
                    .into()
            )
        );
    }
}
