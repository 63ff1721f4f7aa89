//! Which addresses can be an origin's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Cloudflare's IPv4 ranges, from <https://www.cloudflare.com/ips-v4>,
/// as published on 2026-10-05 (unchanged since 2023-09-28).
const CLOUDFLARE_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(173, 245, 48, 0), 20),
    (Ipv4Addr::new(103, 21, 244, 0), 22),
    (Ipv4Addr::new(103, 22, 200, 0), 22),
    (Ipv4Addr::new(103, 31, 4, 0), 22),
    (Ipv4Addr::new(141, 101, 64, 0), 18),
    (Ipv4Addr::new(108, 162, 192, 0), 18),
    (Ipv4Addr::new(190, 93, 240, 0), 20),
    (Ipv4Addr::new(188, 114, 96, 0), 20),
    (Ipv4Addr::new(197, 234, 240, 0), 22),
    (Ipv4Addr::new(198, 41, 128, 0), 17),
    (Ipv4Addr::new(162, 158, 0, 0), 15),
    (Ipv4Addr::new(104, 16, 0, 0), 13),
    (Ipv4Addr::new(104, 24, 0, 0), 14),
    (Ipv4Addr::new(172, 64, 0, 0), 13),
    (Ipv4Addr::new(131, 0, 72, 0), 22),
];

/// Cloudflare's IPv6 ranges, from <https://www.cloudflare.com/ips-v6>, as
/// published on 2026-10-05: the first two groups and the prefix length.
const CLOUDFLARE_V6: [(u16, u16, u32); 7] = [
    (0x2400, 0xcb00, 32),
    (0x2606, 0x4700, 32),
    (0x2803, 0xf800, 32),
    (0x2405, 0xb500, 32),
    (0x2405, 0x8100, 32),
    (0x2a06, 0x98c0, 29),
    (0x2c0f, 0xf248, 32),
];

/// Whether the address is Cloudflare's own: a record that points there points
/// to the CDN, and so does a probe.
pub(super) fn is_cloudflare(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => CLOUDFLARE_V4
            .iter()
            .any(|(net, length)| (u32::from(ip) ^ u32::from(*net)) >> (32 - length) == 0),
        IpAddr::V6(ip) => CLOUDFLARE_V6.iter().any(|(first, second, length)| {
            let net = Ipv6Addr::new(*first, *second, 0, 0, 0, 0, 0, 0);
            (u128::from(ip) ^ u128::from(net)) >> (128 - length) == 0
        }),
    }
}

/// Who can reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody, as far as the address tells. Documentation ranges count as
    /// public: they stand in examples and tests, and do no harm.
    Public,
    /// Only its own network: an origin like others, but not behind Cloudflare.
    Local(&'static str),
    /// Nobody: it is not one host's address.
    Nobody(&'static str),
}

/// Who can reach `ip`.
pub(super) fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, ..] = ip.octets();
    match (a, b) {
        (0, _) => Reach::Nobody("an unspecified address"),
        (127, _) => Reach::Local("a loopback address"),
        (10, _) | (172, 16..=31) | (192, 168) => Reach::Local("a private address"),
        (169, 254) => Reach::Local("a link-local address"),
        (100, 64..=127) => Reach::Local("a carrier-grade NAT address"),
        (224..=239, _) => Reach::Nobody("a multicast address"),
        (240..=255, _) => Reach::Nobody("a reserved address"),
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    if ip.is_unspecified() {
        return Reach::Nobody("an unspecified address");
    }
    if ip.to_ipv4_mapped().is_some() {
        return Reach::Nobody("an IPv4 address written as IPv6");
    }
    if ip.is_loopback() {
        return Reach::Local("a loopback address");
    }
    match ip.segments()[0] {
        0xfc00..=0xfdff => Reach::Local("a private address"),
        0xfe80..=0xfebf => Reach::Local("a link-local address"),
        0xff00..=0xffff => Reach::Nobody("a multicast address"),
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloudflares_ranges_end_where_they_end() {
        let inside = [
            "104.16.0.0",
            "104.27.255.255",
            "172.64.0.1",
            "172.71.255.255",
            "131.0.75.255",
            "2606:4700::1111",
            "2a06:98c7:ffff::1",
        ];
        let outside = [
            "104.15.255.255",
            "104.28.0.0",
            "172.63.255.255",
            "172.72.0.0",
            "131.0.76.0",
            "192.0.2.10",
            "2606:4701::",
            "2a06:98c8::",
            "2001:db8::10",
        ];
        for text in inside {
            assert!(is_cloudflare(text.parse().unwrap()), "{text}");
        }
        for text in outside {
            assert!(!is_cloudflare(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn reach_is_told_from_the_address() {
        let cases = [
            ("192.0.2.10", Reach::Public),
            ("198.51.100.20", Reach::Public),
            ("2001:db8::10", Reach::Public),
            ("172.32.0.1", Reach::Public),
            ("10.0.0.1", Reach::Local("a private address")),
            ("172.31.0.1", Reach::Local("a private address")),
            ("fd00::1", Reach::Local("a private address")),
            ("127.0.0.2", Reach::Local("a loopback address")),
            ("::1", Reach::Local("a loopback address")),
            ("169.254.1.1", Reach::Local("a link-local address")),
            ("fe80::1", Reach::Local("a link-local address")),
            ("100.64.0.1", Reach::Local("a carrier-grade NAT address")),
            ("0.0.0.0", Reach::Nobody("an unspecified address")),
            ("::", Reach::Nobody("an unspecified address")),
            ("224.0.0.1", Reach::Nobody("a multicast address")),
            ("ff02::1", Reach::Nobody("a multicast address")),
            ("255.255.255.255", Reach::Nobody("a reserved address")),
            (
                "::ffff:192.0.2.1",
                Reach::Nobody("an IPv4 address written as IPv6"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }
}
