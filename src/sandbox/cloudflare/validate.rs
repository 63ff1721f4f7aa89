//! What Cloudflare refuses in a record, with the codes it has been seen to use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::answer::ApiError;
use super::options::Options;
use super::record::Record;

/// The types the official schema knows.
const TYPES: [&str; 21] = [
    "A",
    "AAAA",
    "CAA",
    "CERT",
    "CNAME",
    "DNSKEY",
    "DS",
    "HTTPS",
    "LOC",
    "MX",
    "NAPTR",
    "NS",
    "OPENPGPKEY",
    "PTR",
    "SMIMEA",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
    "URI",
];

/// The full name in lower case; `@` and a bare label count from the zone.
pub(super) fn normal_name(name: &str, zone: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "@" {
        return zone.to_owned();
    }
    if name == zone || name.ends_with(&format!(".{zone}")) {
        name
    } else {
        format!("{name}.{zone}")
    }
}

/// Brings a record into the form answers show it in.
pub(super) fn normalise(record: &mut Record, zone: &str) {
    record.name = normal_name(&record.name, zone);
    match record.kind.as_str() {
        "AAAA" => {
            if let Ok(address) = record.content.parse::<Ipv6Addr>() {
                record.content = address.to_string();
            }
        }
        "CNAME" | "NS" | "MX" | "PTR" => {
            record.content = record.content.trim_end_matches('.').to_ascii_lowercase();
        }
        _ => {}
    }
    if record.proxied {
        record.ttl = 1;
    }
}

/// Looks at one record by itself.
pub(super) fn check(record: &Record, options: &Options) -> Result<(), ApiError> {
    check_name(&record.name)?;
    if !TYPES.contains(&record.kind.as_str()) {
        return Err(ApiError::validation(9002, "Invalid DNS record type."));
    }
    check_content(record)?;
    check_ttl(record.ttl, options)?;
    check_proxied(record, options)?;
    check_notes(record, options)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b))
    };
    if name.len() <= 255 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(ApiError::validation(9000, "DNS name is invalid."))
    }
}

fn check_content(record: &Record) -> Result<(), ApiError> {
    let refuse = |what: &str| {
        let kind = &record.kind;
        Err(ApiError::new(
            400,
            9005,
            format!("Content for {kind} record must be a valid {what}."),
        ))
    };
    match record.kind.as_str() {
        "A" if record.content.parse::<Ipv4Addr>().is_err() => refuse("IPv4 address"),
        "AAAA" if record.content.parse::<Ipv6Addr>().is_err() => refuse("IPv6 address"),
        "CNAME" | "NS" | "MX" | "PTR" if check_name(&record.content).is_err() => refuse("hostname"),
        "CNAME" if record.content == record.name => refuse("target other than itself"),
        _ if record.content.is_empty() => refuse("value"),
        _ => Ok(()),
    }
}

fn check_ttl(ttl: u64, options: &Options) -> Result<(), ApiError> {
    let lowest = options.plan.lowest_ttl();
    if ttl == 1 || (lowest..=86_400).contains(&ttl) {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        9021,
        format!("Invalid TTL. Must be between {lowest} and 86400 seconds, or 1 for automatic."),
    ))
}

fn check_proxied(record: &Record, options: &Options) -> Result<(), ApiError> {
    if !record.proxied {
        return Ok(());
    }
    match record.kind.as_str() {
        "A" | "AAAA" | "CNAME" => {}
        // Which of the two codes a type gets is not documented.
        "MX" | "NS" | "SRV" => {
            return Err(ApiError::validation(
                9041,
                "This DNS record cannot be proxied.",
            ));
        }
        _ => {
            return Err(ApiError::validation(
                9004,
                "This kind of record cannot be proxied",
            ));
        }
    }
    let target = record.content.parse::<IpAddr>();
    if options.refuse_private_targets && target.is_ok_and(never_a_target) {
        return Err(ApiError::new(
            400,
            9003,
            format!(
                "Target {} is not allowed for a proxied record.",
                record.content
            ),
        ));
    }
    Ok(())
}

fn check_notes(record: &Record, options: &Options) -> Result<(), ApiError> {
    let (longest, most) = (options.plan.comment_length(), options.plan.tags());
    if let Some(comment) = &record.comment {
        // The number of this one was never seen; the limits are documented.
        if comment.chars().count() > longest || comment.contains(['\n', '\r']) {
            return Err(ApiError::validation(
                9301,
                format!("DNS record comment must be one line of at most {longest} characters."),
            ));
        }
    }
    let tags = record.tags.len();
    if tags > most {
        return Err(ApiError::validation(
            9300,
            format!("DNS record has {tags} tags, exceeding the quota of {most}."),
        ));
    }
    Ok(())
}

/// Addresses that Cloudflare does not proxy to: nobody's, and its own.
fn never_a_target(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_unspecified()
                || a.is_multicast()
                || a.is_broadcast()
                || CLOUDFLARE_V4
                    .iter()
                    .any(|&(net, bits)| within_v4(a, net, bits))
        }
        IpAddr::V6(a) => {
            a.is_loopback()
                || a.is_unspecified()
                || a.is_multicast()
                || a.is_unique_local()
                || a.is_unicast_link_local()
                || CLOUDFLARE_V6
                    .contains(&(u32::from(a.segments()[0]) << 16 | u32::from(a.segments()[1])))
        }
    }
}

/// From <https://www.cloudflare.com/ips/>, and the two /24 of its resolver.
const CLOUDFLARE_V4: [([u8; 4], u32); 17] = [
    ([1, 0, 0, 0], 24),
    ([1, 1, 1, 0], 24),
    ([103, 21, 244, 0], 22),
    ([103, 22, 200, 0], 22),
    ([103, 31, 4, 0], 22),
    ([104, 16, 0, 0], 13),
    ([104, 24, 0, 0], 14),
    ([108, 162, 192, 0], 18),
    ([131, 0, 72, 0], 22),
    ([141, 101, 64, 0], 18),
    ([162, 158, 0, 0], 15),
    ([172, 64, 0, 0], 13),
    ([173, 245, 48, 0], 20),
    ([188, 114, 96, 0], 20),
    ([190, 93, 240, 0], 20),
    ([197, 234, 240, 0], 22),
    ([198, 41, 128, 0], 17),
];

/// The first 32 bits of Cloudflare's IPv6 networks.
const CLOUDFLARE_V6: [u32; 7] = [
    0x2400_cb00,
    0x2405_8100,
    0x2405_b500,
    0x2606_4700,
    0x2803_f800,
    0x2a06_98c0,
    0x2c0f_f248,
];

fn within_v4(address: Ipv4Addr, net: [u8; 4], bits: u32) -> bool {
    let shift = 32 - bits;
    address.to_bits() >> shift == Ipv4Addr::from(net).to_bits() >> shift
}
