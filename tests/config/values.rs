//! What is taken: layers, the environment, normal forms, warnings, secrets.

use super::{SITE, good, load_in, minimal};
use originswitch::config::{EdgeAddress, ProbeKind, TokenSource, Zone, parse_listen};
use originswitch::rule::address::{Address, Place};
use originswitch::rule::{Failback, Stance};
use std::time::Duration;
use tempfile::TempDir;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_key_left_out_has_its_default() {
    let config = good(&minimal(""), &[]);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:10053");
    assert_eq!(config.server.max_body, 8 << 20);
    assert_eq!(
        config.cloudflare.api_url,
        "https://api.cloudflare.com/client/v4"
    );
    assert_eq!(config.cloudflare.requests_per_5m, 1200);
    assert_eq!(config.cloudflare.max_batch, 200);
    assert!(config.cloudflare.zone_tokens.is_empty());
    assert_eq!(config.max_in_flight, 256);
    assert_eq!(config.max_per_address, 32);
    assert_eq!(config.alerts.ttl, seconds(900));
    assert_eq!(config.alerts.watchdog_timeout, seconds(900));
    let [watchdog] = config.alerts.watchdog.as_slice() else {
        panic!("{:?}", config.alerts.watchdog)
    };
    assert_eq!(watchdog.to_string(), "alertname=\"Watchdog\"");
    assert_eq!(config.notify.alertmanager_urls, Vec::<String>::new());
    assert_eq!(config.notify.token, None);
    assert_eq!(config.notify.hold_for, seconds(300));
    assert_eq!(config.state.keep, seconds(400 * 86_400));
    assert_eq!(config.warnings, Vec::<String>::new());
    let site = &config.sites[0];
    assert_eq!(site.hostnames, ["www.example.com"]);
    assert_eq!(site.zone, Zone::Name("example.com".into()));
    assert_eq!(site.origins.len(), 2);
    let probe = &site.origins[1].probe;
    assert_eq!((probe.kind, probe.port), (ProbeKind::Https, 443));
    assert_eq!(probe.host, "www.example.com");
    assert_eq!(probe.expect_status.0, [(200, 399)]);
    assert_eq!(probe.timeout, seconds(2));
    assert!(probe.verify_tls && probe.expect_body.is_none() && probe.ca_file.is_none());
    let policy = &site.policy;
    assert_eq!((policy.fall, policy.rise, policy.max_switches), (3, 2, 6));
    assert_eq!(policy.failback, Failback::Auto);
    assert_eq!(policy.unknown_origin, Stance::Reclaim);
    assert_eq!(policy.foreign_edit, Stance::Hold);
    assert_eq!(policy.failback_after, seconds(300));
    assert_eq!(policy.failback_spread, seconds(300));
    assert!(policy.require_proof && !policy.dry_run);
    let edge = &site.edge;
    assert!(!edge.probe && edge.address.is_none());
    assert_eq!((edge.timeout, edge.settle), (seconds(5), seconds(60)));
}

#[test]
fn a_site_is_asked_for_at_an_edge_of_its_own() {
    let global = "[edge]\nprobe = true\naddress = \"https://192.0.2.80\"\ntimeout = \"3s\"";
    let own = "[site.edge]\naddress = \"http://[2001:DB8::80]:8080/\"\n";
    let text = format!("{}{own}", minimal(global));
    let config = good(&text, &[("ORIGINSWITCH_EDGE__TIMEOUT", "4s")]);
    let edge = &config.sites[0].edge;
    let address = EdgeAddress {
        tls: false,
        host: "2001:db8::80".into(),
        port: 8080,
    };
    assert!(edge.probe);
    assert_eq!(edge.address.as_deref(), Some(&address));
    assert_eq!((edge.timeout, edge.settle), (seconds(4), seconds(60)));
    let shown = config.effective();
    let line = "edge = { probe = true, address = \"http://[2001:db8::80]:8080\", \
                timeout = \"4s\", settle = \"1m\" }\n";
    assert!(shown.contains(line), "{shown}");
    // Empty means: no longer that of all sites.
    let own = "[site.edge]\naddress = \"\"\n";
    let config = good(&format!("{}{own}", minimal(global)), &[]);
    assert_eq!(config.sites[0].edge.address, None);
}

#[test]
fn an_address_of_the_edge_may_leave_out_its_port() {
    for (text, expected) in [
        ("https://192.0.2.80", "https://192.0.2.80:443"),
        ("HTTP://192.0.2.80", "http://192.0.2.80:80"),
        (
            "https://Edge.Example.NET.:8443/",
            "https://edge.example.net:8443",
        ),
        ("http://localhost", "http://localhost:80"),
        ("https://[2001:db8::80]", "https://[2001:db8::80]:443"),
    ] {
        let config = good(&minimal(&format!("[edge]\naddress = \"{text}\"")), &[]);
        let address = config.sites[0].edge.address.as_ref().unwrap();
        assert_eq!(address.to_string(), expected);
    }
}

/// A reload leaves a site alone whose printed form is what it was.
#[test]
fn a_change_of_the_edge_shows_in_the_printed_site() {
    let print = |edge: &str| format!("{:?}", good(&minimal(edge), &[]).sites[0]);
    let mut seen = vec![print("")];
    for other in [
        "probe = true",
        "address = \"https://192.0.2.80\"",
        "address = \"http://192.0.2.80\"",
        "address = \"https://192.0.2.80:8443\"",
        "timeout = \"6s\"",
        "settle = \"6s\"",
    ] {
        let site = print(&format!("[edge]\n{other}"));
        assert!(!seen.contains(&site), "{other}");
        seen.push(site);
    }
    assert_eq!(print("[edge]\nprobe = false\nsettle = \"1m\""), seen[0]);
}

#[test]
fn the_nearest_layer_wins_key_by_key() {
    let text = r#"
[cloudflare]
api_token = "t"
[probe]
kind = "http"
path = "/global"
timeout = "3s"
headers = { a = "1", b = "2" }
[rule]
fall = 5
rise = 4
[[site]]
name = "www"
hostname = ["WWW.Example.com.", "example.com"]
zone_id = "0123456789ABCDEF0123456789abcdef"
main = { ipv4 = "192.0.2.10", ipv6 = "2001:DB8:0::10", path = "/origin", port = 8080 }
backup = [{ ipv6 = "2001:db8::20", ipv4 = "198.51.100.20" }]
matchers = ['alertname="OriginDown"', 'service=~"www|shop"']
[site.probe]
path = "/site"
host = "Other.example.com"
headers = { C = "3" }
expect_status = [204, "2XX", "300-399", "500"]
[site.rule]
rise = 1
confirm_for = "0s"
"#;
    let config = good(text, &[("ORIGINSWITCH_PROBE__TIMEOUT", "7s")]);
    let site = &config.sites[0];
    assert_eq!(site.hostnames, ["www.example.com", "example.com"]);
    assert_eq!(
        site.zone,
        Zone::Id("0123456789abcdef0123456789abcdef".into())
    );
    assert_eq!(site.matchers.len(), 2);
    assert_eq!((site.policy.fall, site.policy.rise), (5, 1));
    assert_eq!(site.policy.confirm_for, Duration::ZERO);
    let [main, backup] = site.origins.as_slice() else {
        panic!("{:?}", site.origins)
    };
    assert_eq!(main.place.to_string(), "192.0.2.10, 2001:db8::10");
    assert_eq!(
        (main.probe.path.as_str(), main.probe.port),
        ("/origin", 8080)
    );
    assert_eq!(
        (backup.probe.path.as_str(), backup.probe.port),
        ("/site", 80)
    );
    assert_eq!((site.probe.path.as_str(), site.probe.port), ("/site", 80));
    assert_eq!(main.probe.host, "other.example.com");
    assert_eq!(main.probe.timeout, seconds(7));
    // Headers are one key: the site's table replaces the other whole.
    assert_eq!(
        Vec::from_iter(&main.probe.headers),
        [(&"c".to_owned(), &"3".to_owned())]
    );
    assert_eq!(main.probe.expect_status.to_string(), "200-399, 500");
}

#[test]
fn a_tcp_site_may_leave_the_port_to_its_origins() {
    let text = minimal("[probe]\nkind = \"tcp\"")
        .replace("\"192.0.2.10\"", "{ ipv4 = \"192.0.2.10\", port = 5432 }")
        .replace(
            "\"198.51.100.20\"",
            "{ ipv4 = \"198.51.100.20\", port = 5433 }",
        );
    let config = good(&text, &[]);
    let ports: Vec<_> = config.sites[0]
        .origins
        .iter()
        .map(|o| o.probe.port)
        .collect();
    assert_eq!(ports, [5432, 5433]);
    assert_eq!(config.sites[0].probe.port, 5432);
}

#[test]
fn a_hostname_origin_becomes_a_cname() {
    let text = minimal("")
        .replace("\"192.0.2.10\"", "\"App.example.NET.\"")
        .replace(
            "\"198.51.100.20\"",
            "{ hostname = \"xn--bcher-kva.example\" }",
        );
    let config = good(&text, &[]);
    let places: Vec<_> = config.sites[0]
        .origins
        .iter()
        .map(|o| o.place.to_string())
        .collect();
    assert_eq!(places, ["app.example.net", "xn--bcher-kva.example"]);
}

#[test]
fn text_from_the_environment_stays_as_it_stands_and_the_rest_is_parsed() {
    let token = |value: &str| {
        let config = good(SITE, &[("ORIGINSWITCH_CLOUDFLARE__API_TOKEN", value)]);
        match config.cloudflare.token {
            TokenSource::Value(secret) => secret.expose().to_owned(),
            TokenSource::File(..) => panic!("a file"),
        }
    };
    assert_eq!(token("0123"), "0123");
    assert_eq!(token("true"), "true");
    assert_eq!(token("1e5"), "1e5");
    assert_eq!(token("[a]"), "[a]");
    assert_eq!(token("  padded\n"), "padded");

    let env = [
        ("ORIGINSWITCH_SERVER__LISTEN", ":8080"),
        ("ORIGINSWITCH_PROBE__PORT", "8443"),
        ("ORIGINSWITCH_PROBE__PATH", "/123"),
        ("ORIGINSWITCH_PROBE__HEADERS", "{accept=\"a b\", x-n=\"1\"}"),
        ("ORIGINSWITCH_PROBE__EXPECT_STATUS", "[200, \"3xx\"]"),
        ("ORIGINSWITCH_PROBE__EXPECT_BODY", "true"),
        ("ORIGINSWITCH_RULE__DRY_RUN", "true"),
        ("ORIGINSWITCH_RULE__FALL", "4"),
        ("ORIGINSWITCH_ALERTS__TTL", "1h30m"),
    ];
    let config = good(&minimal("[rule]\nfall = 9"), &env);
    let (probe, policy) = (&config.sites[0].probe, &config.sites[0].policy);
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8080");
    assert_eq!((probe.port, probe.path.as_str()), (8443, "/123"));
    assert_eq!(probe.headers["accept"], "a b");
    assert_eq!(probe.expect_status.to_string(), "200, 300-399");
    assert_eq!(probe.expect_body.as_ref().unwrap().as_str(), "true");
    assert_eq!((policy.fall, policy.dry_run), (4, true));
    assert_eq!(config.alerts.ttl, seconds(5400));
    let config = good(
        &minimal(""),
        &[("ORIGINSWITCH_PROBE__EXPECT_STATUS", "204")],
    );
    assert_eq!(config.sites[0].probe.expect_status.to_string(), "204");
}

#[test]
fn waves_are_a_list_of_sizes_or_none() {
    let waves = |written: &str, env: &[(&str, &str)]| {
        let config = good(&minimal(&format!("[guard]\n{written}")), env);
        (config.guard.wave, config.guard.wave_pause)
    };
    assert_eq!(waves("", &[]), (vec![], seconds(10)));
    let text = "wave = [10, 50]\nwave_pause = \"1m\"";
    assert_eq!(waves(text, &[]), (vec![10, 50], seconds(60)));
    assert_eq!(waves("wave = 10", &[]).0, [10]);
    let name = "ORIGINSWITCH_GUARD__WAVE";
    assert_eq!(waves(text, &[(name, "[5,6]")]).0, [5, 6]);
    assert_eq!(waves(text, &[(name, "[]")]).0, [0; 0]);
}

#[test]
fn the_watchdog_is_any_alert_or_none() {
    let watchdog = |written: &str, env: &[(&str, &str)]| {
        let config = good(&minimal(&format!("[alerts]\n{written}")), env);
        let texts = config.alerts.watchdog.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(watchdog("watchdog = []", &[]), [""; 0]);
    assert_eq!(watchdog("watchdog = \"a=b\"", &[]), ["a=\"b\""]);
    let two = "watchdog = ['alertname=\"Watchdog\"', 'prometheus=~\"a|b\"']";
    let both = ["alertname=\"Watchdog\"", "prometheus=~\"a|b\""];
    assert_eq!(watchdog(two, &[]), both);
    let name = "ORIGINSWITCH_ALERTS__WATCHDOG";
    assert_eq!(watchdog(two, &[(name, "[]")]), [""; 0]);
    for text in ["alertname=Beat", "[\"alertname=Beat\"]"] {
        let found = watchdog("", &[(name, text)]);
        assert_eq!(found, ["alertname=\"Beat\""], "{text}");
    }
}

#[test]
fn a_zone_may_have_a_token_of_its_own() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("own"), " hush2 \n").unwrap();
    let load = |zones: &str| {
        let cloudflare = format!("[cloudflare]\napi_token = \"hush1\"\n{zones}");
        load_in(folder.path(), &format!("{cloudflare}\n{SITE}"), &[])
    };
    let config = load("zone_token_files = { \"Example.COM\" = \"own\" }").unwrap();
    let [own] = config.cloudflare.zone_tokens.as_slice() else {
        panic!("{:?}", config.cloudflare.zone_tokens)
    };
    assert_eq!(own.zone, Zone::Name("example.com".into()));
    assert_eq!(own.written, "Example.COM");
    assert_eq!(own.file, folder.path().join("own"));
    assert_eq!(own.value.expose(), "hush2");
    let told = config.effective();
    assert!(
        told.contains("zone_token_files = {\"Example.COM\" = "),
        "{told}"
    );
    assert!(!told.contains("hush"), "{told}");
    let fault = |zones: &str| load(zones).unwrap_err().to_string();
    let unknown = fault("zone_token_files = { \"example.net\" = \"own\" }");
    let sentence = "cloudflare.zone_token_files: no site is in the zone \"example.net\": \
                    write it as the sites' zone or zone_id, or leave it out";
    assert!(unknown.ends_with(sentence), "{unknown}");
    let zones = "zone_token_files = { \"example.com\" = \"own\", \"EXAMPLE.com\" = \"own\" }";
    assert!(fault(zones).ends_with("is there twice, in different case: keep one"));
}

#[test]
fn relative_paths_count_from_the_files_folder() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("token"), " hush \n").unwrap();
    let text = format!(
        "[cloudflare]\napi_token_file = \"token\"\n[server]\nadmin_token_file = \"token\"\n{SITE}"
    );
    let config = load_in(folder.path(), &text, &[]).unwrap();
    assert_eq!(config.state.path, folder.path().join("originswitch.db"));
    assert_eq!(config.server.admin_token.unwrap().expose(), "hush");
    match config.cloudflare.token {
        TokenSource::File(path, secret) => {
            assert_eq!(path, folder.path().join("token"));
            assert_eq!(secret.expose(), "hush");
        }
        TokenSource::Value(_) => panic!("a value"),
    }
}

#[test]
fn addresses_to_listen_on() {
    for (text, expected) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        (":10053", "0.0.0.0:10053"),
        ("localhost:80", "127.0.0.1:80"),
        ("[::]:80", "[::]:80"),
    ] {
        assert_eq!(parse_listen(text).unwrap().to_string(), expected);
    }
}

#[test]
fn what_is_allowed_but_odd_is_warned_of() {
    let warnings = |text: &str| good(text, &[]).warnings;
    assert_eq!(
        warnings(&minimal("").replace("192.0.2.10", "127.0.0.1")),
        [
            r#"site[1] "www": main: 127.0.0.1 is a loopback address: Cloudflare refuses it in a proxied record"#
        ]
    );
    assert_eq!(
        warnings(&minimal("").replace("198.51.100.20", "10.1.2.3")),
        [
            r#"site[1] "www": backup: 10.1.2.3 is a private address: Cloudflare refuses it in a proxied record"#
        ]
    );
    assert_eq!(
        warnings(&minimal("[rule]\nmax_switches = 1")),
        [
            "rule.max_switches is 1: a return never spends the last switch, so the site will not go back to MAIN by itself"
        ]
    );
    assert_eq!(
        warnings(&minimal("[probe]\nverify_tls = false")),
        [
            "probe.verify_tls is false: an origin counts as up with any certificate, also one that Cloudflare refuses"
        ]
    );
    assert_eq!(
        warnings(&minimal("api_url = \"http://198.51.100.1/v4/\"")),
        ["cloudflare.api_url is plain http: the token crosses the network in the clear"]
    );
    let none: [&str; 0] = [];
    assert_eq!(warnings(&minimal("api_url = \"http://[::1]:9/v4/\"")), none);
    assert_eq!(warnings(&minimal("api_url = \"http://localhost:9\"")), none);
}

#[test]
fn secrets_are_nowhere_to_be_read() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("t"), "hush2").unwrap();
    let text = format!(
        "[cloudflare]\napi_token = \"hush1\"\n[server]\nadmin_token_file = \"t\"\nwebhook_token_file = \"t\"\n[probe]\nheaders = {{ authorization = \"hush3\" }}\n{SITE}"
    );
    let config = load_in(folder.path(), &text, &[]).unwrap();
    let shown = config.effective();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("api_token = \"…\"\n"), "{shown}");
    assert!(
        shown.contains("headers = {authorization = \"…\"}"),
        "{shown}"
    );
    let debug = format!("{config:?}");
    for secret in ["hush1", "hush2", "hush3"] {
        assert!(!debug.contains(secret), "{debug}");
    }
}

#[test]
fn the_fingerprint_changes_with_what_decides_a_probe_and_nothing_else() {
    let place = Place::new(vec![Address::V4([192, 0, 2, 10].into())]);
    let print = |probe: &str| {
        let config = good(&minimal(&format!("[probe]\n{probe}")), &[]);
        config.sites[0].probe.fingerprint(&place)
    };
    let plain = print("");
    // Stored in state files: this value must never change.
    assert_eq!(plain, "40d134f502fa29dc");
    for same in [
        "timeout = \"5s\"",
        "interval = \"5s\"",
        "port = 443",
        "host = \"WWW.example.com\"",
        "expect_status = [\"2xx\", \"300-399\"]",
        "max_in_flight = 3",
        "max_per_address = 4",
    ] {
        assert_eq!(print(same), plain, "{same}");
    }
    let mut seen = vec![plain];
    for other in [
        "kind = \"http\"",
        "kind = \"tcp\"\nport = 443",
        "port = 8443",
        "path = \"/x\"",
        "method = \"HEAD\"",
        "host = \"x.example.com\"",
        "headers = { a = \"bc\" }",
        "headers = { ab = \"c\" }",
        "expect_status = [\"200\"]",
        "expect_body = \"ok\"",
        "verify_tls = false",
    ] {
        let hash = print(other);
        assert!(!seen.contains(&hash), "{other}");
        seen.push(hash);
    }
    let config = good(&minimal(""), &[]);
    let elsewhere = Place::new(vec![Address::V4([192, 0, 2, 11].into())]);
    assert!(!seen.contains(&config.sites[0].probe.fingerprint(&elsewhere)));
    let tcp = "kind = \"tcp\"\nport = 5432\n";
    assert_eq!(
        print(tcp),
        print(&format!("{tcp}path = \"/x\"\nverify_tls = false"))
    );
}

#[test]
fn ten_thousand_sites_load_and_share_what_they_share() {
    let mut text = "[cloudflare]\napi_token = \"t\"\n".to_owned();
    for n in 0..10_000 {
        let (a, b) = (n / 250, n % 250);
        text.push_str(&format!(
            "[[site]]\nname = \"s{n}\"\nhostname = \"s{n}.example.com\"\nzone = \"example.com\"\n\
             main = \"203.0.{a}.{b}\"\nbackup = \"198.51.{a}.{b}\"\n[site.probe]\npath = \"/{n}\"\n"
        ));
    }
    let started = std::time::Instant::now();
    let config = good(&text, &[]);
    eprintln!("{:?}", started.elapsed());
    assert_eq!(config.sites.len(), 10_000);
    let site = &config.sites[9_999];
    assert!(std::sync::Arc::ptr_eq(&site.probe, &site.origins[0].probe));
}

#[test]
fn who_is_told_is_shown_without_the_token() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("am.token"), "t0ken-of-alertmanager\n").unwrap();
    let text = minimal(
        "[notify]\nalertmanager_urls = [\"http://192.0.2.9:9093/\", \"http://127.0.0.1:9093\"]\n\
         token_file = \"am.token\"",
    );
    let config = load_in(folder.path(), &text, &[]).unwrap();
    let urls = &config.notify.alertmanager_urls;
    assert_eq!(urls, &["http://192.0.2.9:9093", "http://127.0.0.1:9093"]);
    let [warning] = config.warnings.as_slice() else {
        panic!("{:?}", config.warnings)
    };
    assert!(
        warning.contains("http://192.0.2.9:9093 is plain http"),
        "{warning}"
    );
    let shown = format!("{config:?}{}", config.effective());
    assert!(!shown.contains("t0ken-of"), "{shown}");
    assert!(shown.contains("alertmanager_urls = [\"http://192.0.2.9:9093\""));
}
