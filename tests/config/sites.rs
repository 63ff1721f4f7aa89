//! What is refused inside a site and between sites, in its exact words.

use super::{SITE, faults, good};
use originswitch::config::Site;
use std::sync::Arc;

/// Lines that replace, or stand beside, those of the minimal site.
#[test]
fn sites_say_what_to_write_instead() {
    let no_hostname = "only letters, digits, hyphens, underscores and dots may stand in one";
    let cases: &[(&str, String)] = &[
        ("name = \"\"", r#"site[1] "": name: "" is no name for a site: write letters, digits, dots, hyphens and underscores"#.into()),
        ("name = \"a b\"", r#"site[1] "a b": name: "a b" is no name for a site: write letters, digits, dots, hyphens and underscores"#.into()),
        ("name = \"..\"", r#"site[1] "..": name: ".." is no name for a site: write letters, digits, dots, hyphens and underscores"#.into()),
        ("name", r#"site[1]: name: is missing: write name = "www""#.into()),
        ("hostname", r#"hostname: is missing: write hostname = "www.example.com""#.into()),
        ("main", r#"main: is missing: write main = "192.0.2.10""#.into()),
        ("backup", r#"backup: is missing: write backup = "198.51.100.20""#.into()),
        ("zone", r#"zone: is missing: write zone = "example.com", or zone_id"#.into()),
        ("hostnames = []", ": unknown key `hostnames`, did you mean `hostname`?".into()),
        ("fall = 2", ": unknown key `fall`, did you mean `rule.fall`?".into()),
        ("probe = { intervall = \"1s\" }", ": unknown key `probe.intervall`, did you mean `probe.interval`?".into()),
        ("rule = { rice = 2 }", ": unknown key `rule.rice`, did you mean `rule.rise`?".into()),
        ("probe = { max_per_address = 2 }", ": `probe.max_per_address` cannot differ between sites, for it counts over all sites: write it in [probe]".into()),
        ("probe = { max_in_flight = 2 }", ": `probe.max_in_flight` cannot differ between sites, for it counts over all sites: write it in [probe]".into()),
        ("edge = { settel = \"1s\" }", ": unknown key `edge.settel`, did you mean `edge.settle`?".into()),
        ("edge = { probe = 1 }", "edge.probe: must be true or false, without quotes, not 1".into()),
        ("edge = true", "edge: must be a table, not true: write [site.edge]".into()),
        ("settle = \"1s\"", ": unknown key `settle`, did you mean `edge.settle`?".into()),
        ("probe = 3", "probe: must be a table, not 3: write [site.probe]".into()),
        ("probe = { interval = 3 }", r#"probe.interval: 3 has no unit: write "3s" if seconds are meant"#.into()),
        ("rule = { fall = 0 }", "rule.fall: must be a whole number from 1 to 1000, not 0".into()),
        ("probe = { kind = \"tcp\" }", r#"main: kind = "tcp" has no usual port: write probe.port, or `port` into the origin's table"#.into()),
        // Hostnames.
        ("hostname = \"*.example.com\"", r#"hostname: "*.example.com" is a wildcard, which no Host header can carry: list the hostnames themselves"#.into()),
        ("hostname = \"https://www.example.com/\"", r#"hostname: "https://www.example.com/" is a URL or a path: write the hostname alone, such as "www.example.com""#.into()),
        ("hostname = \"www.example.com:8443\"", r#"hostname: "www.example.com:8443" holds a port: write the hostname alone, and the port as `port`"#.into()),
        ("hostname = \"192.0.2.10\"", r#"hostname: "192.0.2.10" is an address: write a hostname"#.into()),
        ("hostname = \"bücher.example.com\"", r#"hostname: "bücher.example.com" is not in Punycode: write "xn--bcher-kva.example.com""#.into()),
        ("hostname = \"a..example.com\"", r#"hostname: "a..example.com" is no hostname: two dots stand together, or one in front"#.into()),
        ("hostname = \"-a.example.com\"", r#"hostname: "-a.example.com" is no hostname: a part between dots starts or ends with a hyphen"#.into()),
        ("hostname = \"a b.example.com\"", format!(r#"hostname: "a b.example.com" is no hostname: {no_hostname}"#)),
        ("hostname = \"\"", r#"hostname: is empty: write a hostname such as "www.example.com""#.into()),
        ("hostname = []", "hostname: is empty: write at least one".into()),
        ("hostname = \"www\"", r#"hostname: "www" has no dot: write it in full, such as "www.example.com""#.into()),
        ("hostname = [\"www.example.com\", \"WWW.example.com.\"]", "hostname: www.example.com is there twice: write it once".into()),
        ("hostname = \"www.example.org\"", "hostname: www.example.org lies outside of the zone example.com: correct one of them".into()),
        ("hostname = \"badexample.com\"", "hostname: badexample.com lies outside of the zone example.com: correct one of them".into()),
        ("hostname = 7", r#"hostname: must be text, not 7: write "7" in quotes"#.into()),
        // Zones.
        ("zone = \"com\"", r#"zone: "com" has no dot: write it in full, such as "com.example.com""#.into()),
        ("zone_id = \"0123456789abcdef0123456789abcdef\"", "zone_id: is set beside zone: keep one of them".into()),
        ("zone = \"\"\nzone_id = \"0123\"", r#"zone_id: "0123" is no zone id: write the 32 hexadecimal digits from the zone's overview page"#.into()),
        // Origins.
        ("main = 7", r#"main: must be an address, a hostname, or a table such as { ipv4 = "192.0.2.10" }, not 7"#.into()),
        ("main = \"192.0.2.300\"", r#"main: "192.0.2.300" is no hostname: it ends in a number, and is no IP address either"#.into()),
        ("main = \"192.0.2.10:8443\"", r#"main: "192.0.2.10:8443" holds a port: write { ipv4 = "192.0.2.10", port = 8443 }"#.into()),
        ("main = \"192.0.2.10/24\"", r#"main: "192.0.2.10/24" is a range: write the address of one server, such as "192.0.2.10""#.into()),
        ("main = \"2001:db8::g\"", r#"main: "2001:db8::g" is neither an address nor a hostname"#.into()),
        ("main = \"https://a.example\"", r#"main: "https://a.example" is a URL or a path: write the hostname alone, such as "www.example.com""#.into()),
        ("main = \"localhost\"", r#"main: "localhost" has no dot: write it in full, such as "localhost.example.com""#.into()),
        ("main = { port = 8443 }", "main: names no place: write `ipv4`, `ipv6` or `hostname` into the table".into()),
        ("main = { ip = \"192.0.2.10\", ipv4 = \"192.0.2.10\" }", "main: unknown key `main.ip`; there are `ipv4`, `ipv6`, `hostname`, `kind`, `port`, `path`, `method`, `host`, `headers`, `expect_status`, `expect_body`, `timeout`, `interval`, `verify_tls`, `ca_file`".into()),
        ("main = { ipv4 = \"192.0.2.10\", prot = 1 }", "main: unknown key `main.prot`, did you mean `main.port`?".into()),
        ("main = { ipv4 = \"192.0.2.10\", port = 0.5 }", "main.port: must be a whole number from 0 to 65535, not 0.5".into()),
        ("main = { ipv4 = \"192.0.2.10\", kind = \"tcp\" }", r#"main: kind = "tcp" has no usual port: write probe.port, or `port` into the origin's table"#.into()),
        ("main = { ipv4 = \"2001:db8::1\" }", r#"main: `ipv4` "2001:db8::1" is no address of that family: write one such as "192.0.2.10""#.into()),
        ("main = { ipv6 = \"192.0.2.10\" }", r#"main: `ipv6` "192.0.2.10" is no address of that family: write one such as "2001:db8::10""#.into()),
        ("main = { ipv4 = \"192.0.2.10\", hostname = \"a.example\" }", "main: has a hostname and an address: a name holds a CNAME or addresses, keep one".into()),
        ("main = \"104.16.1.1\"", "main: 104.16.1.1 is Cloudflare's own address: write the address of the server behind it".into()),
        ("main = { ipv6 = \"2606:4700::1\" }", "main: 2606:4700::1 is Cloudflare's own address: write the address of the server behind it".into()),
        ("main = \"0.0.0.0\"", "main: 0.0.0.0 is an unspecified address: write the address of one server".into()),
        ("main = \"198.51.100.20\"", "backup: backup and main are both 198.51.100.20: origins must differ".into()),
        ("backup = [\"198.51.100.20\", \"203.0.113.1\", \"198.51.100.20\"]", "backup: backup-3 and backup are both 198.51.100.20: origins must differ".into()),
        ("backup = []", "backup: is empty: write at least one".into()),
        ("backup = [\"198.51.100.20\", \"1.2\"]", r#"backup[2]: "1.2" is no hostname: it ends in a number, and is no IP address either"#.into()),
        ("backup = \"2001:db8::1\"", "backup: backup needs a record of type AAAA, but main one of type A: give all origins the same families".into()),
        ("main = { ipv4 = \"192.0.2.10\", ipv6 = \"2001:db8::1\" }", "backup: backup needs a record of type A, but main one of type A and AAAA: give all origins the same families".into()),
        ("main = \"a.example.net\"\nbackup = \"WWW.example.com.\"", "backup: www.example.com is a hostname of the site: a CNAME cannot point to itself".into()),
        // Matchers.
        ("matchers = [\"a\"]", r#"matchers: "a" has no `=`, `!=`, `=~` or `!~` after the label's name"#.into()),
        ("matchers = ['a=~\"(\"']", r#"matchers: "(" is no valid regular expression: unclosed group"#.into()),
    ];
    for (lines, expected) in cases {
        let said = faults(&site_with(lines), &[]);
        let expected = match expected.strip_prefix(": ") {
            _ if expected.starts_with("site[") => format!("DIR/o.toml: {expected}"),
            Some(rest) => format!("DIR/o.toml: site[1] \"www\": {rest}"),
            None => format!("DIR/o.toml: site[1] \"www\": {expected}"),
        };
        // The same fault may touch each of the origins.
        assert_eq!(said[0], expected, "{lines}");
        assert!(said.len() == 1 || lines.contains("tcp"), "{said:#?}");
    }
}

/// The minimal configuration with some of the site's lines replaced; a bare
/// key drops its line.
fn site_with(lines: &str) -> String {
    let replaced: Vec<&str> = lines
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let kept: Vec<&str> = SITE
        .lines()
        .filter(|line| !replaced.contains(&line.split(' ').next().unwrap()))
        .collect();
    let added: Vec<&str> = lines.lines().filter(|line| line.contains('=')).collect();
    format!(
        "[cloudflare]\napi_token = \"s3cret\"\n{}\n{}\n",
        kept.join("\n"),
        added.join("\n")
    )
}

#[test]
fn sites_must_not_share_a_name_or_a_record() {
    let site = |name: &str, hostname: &str, main: &str, backup: &str| {
        format!(
            "[[site]]\nname = \"{name}\"\nhostname = \"{hostname}\"\nzone = \"example.com\"\nmain = \"{main}\"\nbackup = \"{backup}\"\n"
        )
    };
    let first = site("www", "www.example.com", "192.0.2.10", "198.51.100.20");
    let said = |second: String| {
        let text = format!("[cloudflare]\napi_token = \"t\"\n{first}{second}");
        faults(&text, &[])
    };
    assert_eq!(
        said(site("www", "a.example.com", "192.0.2.10", "198.51.100.20")),
        [
            r#"DIR/o.toml: site[2] "www": name: is the name of site[1] "www" too: give each site its own"#
        ]
    );
    assert_eq!(
        said(site(
            "two",
            "WWW.example.com",
            "192.0.2.11",
            "198.51.100.21"
        )),
        [
            r#"DIR/o.toml: site[2] "two": hostname: www.example.com has its A record in site[1] "www" already: a record belongs to one site"#
        ]
    );
    assert_eq!(
        said(site(
            "two",
            "www.example.com",
            "a.example.net",
            "b.example.net"
        )),
        [
            r#"DIR/o.toml: site[2] "two": hostname: www.example.com has its A record in site[1] "www" already: a record belongs to one site"#
        ]
    );
    assert_eq!(
        said(site(
            "www.example.com",
            "two.example.com",
            "192.0.2.10",
            "198.51.100.20"
        )),
        [
            r#"DIR/o.toml: site[2] "www.example.com": name: is a hostname of site[1] "www": alerts could not tell the two sites apart, rename one"#
        ]
    );
    // The other family of the same hostname is another record.
    let six = site("six", "www.example.com", "2001:db8::1", "2001:db8::2");
    super::good(
        &format!("[cloudflare]\napi_token = \"t\"\n{first}{six}"),
        &[],
    );
}

#[test]
fn there_must_be_sites() {
    let cloudflare = "[cloudflare]\napi_token = \"t\"\n";
    assert_eq!(
        faults(cloudflare, &[]),
        [
            "DIR/o.toml: site: there is no [[site]]: write one with name, hostname, zone, main and backup"
        ]
    );
    assert_eq!(
        faults(&format!("{cloudflare}[site]\nname = \"www\""), &[]),
        ["DIR/o.toml: site: is a single table: write [[site]], in two pairs of brackets"]
    );
    assert_eq!(
        faults(&format!("site = [1]\n{cloudflare}"), &[]),
        ["DIR/o.toml: site[1]: must be a table, not 1: write [[site]]"]
    );
    assert_eq!(
        faults(
            &format!("probe = 3\nlisten = \":1\"\n{cloudflare}{SITE}"),
            &[]
        ),
        [
            "DIR/o.toml: unknown key `listen`, did you mean `server.listen`?",
            "DIR/o.toml: probe: must be a table, not 3: write [probe]",
        ]
    );
}

#[test]
fn an_origin_at_fault_leaves_no_other_under_its_name() {
    let said = faults(
        &site_with("main = \"0.0.0.0\"\nbackup = [\"2001:db8::1\", \"198.51.100.20\", 7]"),
        &[],
    );
    assert_eq!(
        said,
        [
            r#"DIR/o.toml: site[1] "www": main: 0.0.0.0 is an unspecified address: write the address of one server"#,
            r#"DIR/o.toml: site[1] "www": backup[3]: must be an address, a hostname, or a table such as { ipv4 = "192.0.2.10" }, not 7"#,
        ]
    );
}

#[test]
fn origins_that_are_probed_alike_share_their_settings() {
    let site = |main: u16, backup: u16| {
        let text = site_with(&format!(
            "zone = \"example.com\"\nhostname = \"www.example.com\"\n\
             main = {{ ipv4 = \"192.0.2.10\", port = {main} }}\n\
             backup = {{ ipv4 = \"198.51.100.20\", port = {backup} }}\n"
        ));
        good(&text, &[]).sites[0].clone()
    };
    let shared = |site: &Site| Arc::ptr_eq(&site.origins[0].probe, &site.origins[1].probe);
    assert!(shared(&site(8443, 8443)));
    assert!(!shared(&site(8443, 9443)));
}
