//! Every fault with its exact words.

use super::{SITE, faults, load_in, minimal};
use originswitch::config::load;
use std::path::Path;
use tempfile::TempDir;

/// One fault for each text put before the minimal site.
#[test]
fn sections_say_what_to_write_instead() {
    let duration = r#"write one such as "500ms", "10s", "5m", "1h30m" or "400d""#;
    let url = r#"write one such as "https://api.cloudflare.com/client/v4""#;
    let listen = r#"is no address to listen on: write "IP:PORT", or ":PORT" for all interfaces"#;
    let cases: &[(&str, String)] = &[
        // Unknown keys.
        ("[prob]\nport = 1", "unknown key `prob`, did you mean `probe`?".into()),
        ("[probe]\nintervall = \"1s\"", "probe: unknown key `probe.intervall`, did you mean `probe.interval`?".into()),
        ("[probe]\nfall = 3", "probe: unknown key `probe.fall`, did you mean `rule.fall`?".into()),
        ("[rule]\ntimeout = \"3s\"", "rule: unknown key `rule.timeout`, did you mean `cloudflare.timeout` or `probe.timeout` or `edge.timeout`?".into()),
        ("[alerts]\nthreshold = 3", "alerts: unknown key `alerts.threshold`; there are `site_label`, `ttl`, `watchdog`, `watchdog_timeout`".into()),
        ("[frobnicate]\na = 1", "unknown key `frobnicate`; there are `server`, `cloudflare`, `probe`, `rule`, `guard`, `edge`, `alerts`, `notify`, `state`, `site`".into()),
        // Control targets.
        ("[guard]\ncontrol_targets = [\"tcp://127.0.0.9:9\", \"tcp://127.0.0.9:9\"]", r#"guard.control_targets: "tcp://127.0.0.9:9" is there twice, and would count twice: write it once"#.into()),
        ("[guard]\ncontrol_targets = [\"tcp://127.0.0.9\"]", r#"guard.control_targets: "tcp://127.0.0.9" names no port: write "tcp://host:port""#.into()),
        ("[guard]\ncontrol_targets = \"ftp://127.0.0.9\"", r#"guard.control_targets: "ftp://127.0.0.9" begins with ftp:, which is not known: write one such as "https://www.example.org" or "tcp://192.0.2.1:443""#.into()),
        ("[guard]\ncontrol_targets = \"https://u:pw@127.0.0.9\"", r#"guard.control_targets: holds a user or a password: write one such as "https://www.example.org" or "tcp://192.0.2.1:443""#.into()),
        ("[guard]\ncontrol_targets = \"https://127.0.0.9\"\ncontrol_needed = 2", "guard.control_needed: is 2, but there are only 1 control_targets: nothing would ever be believed down".into()),
        // Waves.
        ("[guard]\nwave = 0", "guard.wave: must be a whole number from 1 to 1000000, not 0: write sizes such as [10, 50], or [] for no waves".into()),
        ("[guard]\nwave = [10, -1]", "guard.wave: must be a whole number from 1 to 1000000, not -1: write sizes such as [10, 50], or [] for no waves".into()),
        ("[guard]\nwave = [2.5]", "guard.wave: must be a whole number from 1 to 1000000, not 2.5: write sizes such as [10, 50], or [] for no waves".into()),
        ("[guard]\nwave = [true]", "guard.wave: must be a whole number from 1 to 1000000, not true: write sizes such as [10, 50], or [] for no waves".into()),
        ("[guard]\nwave = [[10]]", "guard.wave: must be a whole number from 1 to 1000000, not a list: write sizes such as [10, 50], or [] for no waves".into()),
        ("[guard]\nwave_pause = 10", r#"guard.wave_pause: 10 has no unit: write "10s" if seconds are meant"#.into()),
        // Who is told.
        ("[notify]\nalertmanager_urls = \"127.0.0.9:9093\"", r#"notify.alertmanager_urls: "127.0.0.9:9093" is no URL (relative URL without a base): write one such as "http://127.0.0.1:9093""#.into()),
        ("[notify]\nalertmanager_urls = \"ftp://127.0.0.9\"", r#"notify.alertmanager_urls: "ftp://127.0.0.9" is no http or https URL: write one such as "http://127.0.0.1:9093""#.into()),
        ("[notify]\nalertmanager_urls = [\"http://u:pw@127.0.0.9\"]", r#"notify.alertmanager_urls: holds a user or a password: write one such as "http://127.0.0.1:9093""#.into()),
        ("[notify]\nalertmanager_urls = [\"http://127.0.0.9\", \"http://127.0.0.9/\"]", r#"notify.alertmanager_urls: "http://127.0.0.9" is there twice: write it once"#.into()),
        ("[notify]\nalertmanager_urls = 7", "notify.alertmanager_urls: must be text, not 7: write \"7\" in quotes".into()),
        // Wrong types.
        ("[rule]\nfall = \"three\"", r#"rule.fall: must be a whole number from 1 to 1000, not "three""#.into()),
        ("[rule]\nfall = 2.5", "rule.fall: must be a whole number from 1 to 1000, not 2.5".into()),
        ("[rule]\ndry_run = \"yes\"", r#"rule.dry_run: must be true or false, without quotes, not "yes""#.into()),
        ("[rule]\nfailback = \"never\"", r#"rule.failback: must be "auto" or "manual", not "never""#.into()),
        ("[rule]\nforeign_edit = true", r#"rule.foreign_edit: must be "hold" or "reclaim", not true"#.into()),
        ("[rule]\nunknown_origin = \"\"", r#"rule.unknown_origin: must be "reclaim" or "hold", not """#.into()),
        ("[probe]\nkind = \"icmp\"", r#"probe.kind: must be "https" or "http" or "tcp", not "icmp""#.into()),
        ("[probe]\npath = 7", r#"probe.path: must be text, not 7: write "7" in quotes"#.into()),
        ("[probe]\npath = [\"/\"]", "probe.path: must be text, not a list".into()),
        ("[probe]\npath = 2026-11-22", "probe.path: must be text, not a date".into()),
        ("[probe]\nheaders = \"a\"", r#"probe.headers: must be a table such as { accept = "text/html" }, not "a""#.into()),
        // Durations.
        ("[probe]\ninterval = 10", r#"probe.interval: 10 has no unit: write "10s" if seconds are meant"#.into()),
        ("[probe]\ninterval = \"10\"", r#"probe.interval: 10 has no unit: write "10s" if seconds are meant"#.into()),
        ("[probe]\ninterval = \"soon\"", format!(r#"probe.interval: "soon" is no duration: {duration}"#)),
        ("[probe]\ninterval = true", r#"probe.interval: must be text, not true: write "true" in quotes"#.into()),
        ("[probe]\ninterval = \"0s\"", r#"probe.interval: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[probe]\ntimeout = \"0s\"", r#"probe.timeout: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[rule]\nconfirm_interval = \"0ms\"", r#"rule.confirm_interval: must be longer than zero, not "0ms": write at least "1ms""#.into()),
        ("[rule]\nswitch_window = \"0s\"", r#"rule.switch_window: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[alerts]\nttl = \"0s\"", r#"alerts.ttl: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[edge]\ntimeout = \"0s\"", r#"edge.timeout: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[edge]\nsettle = \"0s\"", r#"edge.settle: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[state]\nkeep = \"0s\"", r#"state.keep: must be longer than zero, not "0s": write at least "1ms""#.into()),
        // Numbers.
        ("[rule]\nfall = 0", "rule.fall: must be a whole number from 1 to 1000, not 0".into()),
        ("[rule]\nrise = -1", "rule.rise: must be a whole number from 1 to 1000, not -1".into()),
        ("[rule]\nmax_switches = 0", "rule.max_switches: must be a whole number from 1 to 100000, not 0".into()),
        ("[probe]\nport = 65536", "probe.port: must be a whole number from 0 to 65535, not 65536".into()),
        ("[probe]\nmax_per_address = 0", "probe.max_per_address: must be a whole number from 1 to 100000, not 0".into()),
        ("[probe]\nmax_in_flight = 0", "probe.max_in_flight: must be a whole number from 1 to 100000, not 0".into()),
        ("[server]\nmax_body = 10", "server.max_body: must be a whole number from 1024 to 1073741824, not 10".into()),
        // Probes.
        ("[probe]\npath = \"health\"", r#"probe.path: "health" does not start with a slash: write "/" or "/health""#.into()),
        ("[probe]\npath = \"/a b\"", r#"probe.path: "/a b" cannot stand in a request: percent-encode all but letters, digits and signs, and drop any `#`"#.into()),
        ("[probe]\npath = \"/a#b\"", r#"probe.path: "/a#b" cannot stand in a request: percent-encode all but letters, digits and signs, and drop any `#`"#.into()),
        ("[probe]\nmethod = \"GE T\"", r#"probe.method: "GE T" is no method: write one such as "GET" or "HEAD""#.into()),
        ("[probe]\nmethod = \"\"", r#"probe.method: "" is no method: write one such as "GET" or "HEAD""#.into()),
        ("[probe]\nmethod = \"get\"", r#"probe.method: "get" is in lower case: write "GET""#.into()),
        ("[probe]\nhost = \"a b\"", r#"probe.host: "a b" is no hostname: only letters, digits, hyphens, underscores and dots may stand in one"#.into()),
        ("[probe]\nheaders = { \"a b\" = \"x\" }", r#"probe.headers: "a b" is no header name: write one such as "accept""#.into()),
        ("[probe]\nheaders = { a = \"x\\ny\" }", "probe.headers: the value of `a` cannot stand in a header: write it in ASCII and on one line".into()),
        ("[probe]\nheaders = { a = 1 }", r#"probe.headers: `a` must be text, not 1: write "1" in quotes"#.into()),
        ("[probe]\nheaders = { Host = \"x\" }", "probe.headers: holds `host`: write it as the key `host` instead".into()),
        ("[probe]\nheaders = { Connection = \"x\" }", "probe.headers: holds `connection`, which the probe sets itself: leave it out".into()),
        ("[probe]\nheaders = { a = \"x\", A = \"y\" }", "probe.headers: holds `a` twice, in different case: keep one".into()),
        ("[probe]\nexpect_body = \"(\"", r#"probe.expect_body: "(" is no valid regular expression: unclosed group"#.into()),
        ("[probe]\nexpect_status = []", r#"probe.expect_status: is empty, so nothing could be up: write one such as ["200-399"]"#.into()),
        ("[probe]\nca_file = \"gone.pem\"", "probe.ca_file: cannot read DIR/gone.pem (No such file or directory (os error 2)): name a readable file of PEM certificates".into()),
        ("[probe]\nca_file = \"o.toml\"", "probe.ca_file: DIR/o.toml holds no PEM certificate: name a file that begins with -----BEGIN CERTIFICATE-----".into()),
        // Server, Cloudflare, alerts, state.
        ("[server]\nlisten = \"localhost\"", format!(r#"server.listen: "localhost" {listen}"#)),
        ("[server]\nlisten = \":99999\"", format!(r#"server.listen: ":99999" {listen}"#)),
        ("[server]\nlisten = 10053", r#"server.listen: must be text, not 10053: write "10053" in quotes"#.into()),
        ("[server]\nwebhook_token_file = \"gone\"", "server.webhook_token_file: cannot read DIR/gone (No such file or directory (os error 2)): name a readable file that holds the token".into()),
        ("[server]\nadmin_token_file = \".\"", "server.admin_token_file: cannot read DIR/. (Is a directory (os error 21)): name a readable file that holds the token".into()),
        ("api_url = \"api.cloudflare.com\"", format!(r#"cloudflare.api_url: "api.cloudflare.com" is no URL (relative URL without a base): {url}"#)),
        ("api_url = \"ftp://a/\"", format!(r#"cloudflare.api_url: "ftp://a/" is no http or https URL: {url}"#)),
        ("api_url = \"https://me:pw@a/\"", format!("cloudflare.api_url: holds a user or a password: {url}")),
        ("api_url = \"https://a/?b\"", format!(r#"cloudflare.api_url: "https://a/?b" holds a `?` or a `#`: {url}"#)),
        ("requests_per_5m = 9", "cloudflare.requests_per_5m: must be a whole number from 10 to 1000000, not 9".into()),
        ("max_batch = 0", "cloudflare.max_batch: must be a whole number from 1 to 3500, not 0".into()),
        ("zone_token_files = \"t\"", r#"cloudflare.zone_token_files: must be a table such as { "example.com" = "token-file" }, not "t""#.into()),
        ("zone_token_files = { \"example.com\" = 7 }", r#"cloudflare.zone_token_files.example.com: must be text, not 7: write "7" in quotes"#.into()),
        ("zone_token_files = { \"example.com\" = \"\" }", "cloudflare.zone_token_files.example.com: is empty: name the file that holds the zone's token".into()),
        ("zone_token_files = { \"example.com\" = \"gone\" }", "cloudflare.zone_token_files.example.com: cannot read DIR/gone (No such file or directory (os error 2)): name a readable file that holds the token".into()),
        ("zone_token_files = { \"example.com\" = \"hush56789-123456789_123456789hush\" }", "cloudflare.zone_token_files.example.com: names no file and looks like a token itself: write the token into a file and name that".into()),
        ("[alerts]\nwatchdog = ['alertname']", r#"alerts.watchdog: "alertname" has no `=`, `!=`, `=~` or `!~` after the label's name"#.into()),
        ("[alerts]\nwatchdog_timeout = \"0s\"", r#"alerts.watchdog_timeout: must be longer than zero, not "0s": write at least "1ms""#.into()),
        ("[alerts]\nsite_label = \" \"", r#"alerts.site_label: is empty: write a label's name such as "site""#.into()),
        ("[state]\npath = \"\"", r#"state.path: "" is no file: write a path such as "originswitch.db""#.into()),
    ];
    for (text, expected) in cases {
        assert_eq!(
            faults(&minimal(text), &[]),
            [format!("DIR/o.toml: {expected}")],
            "{text}"
        );
    }
}

/// What stands as `[edge] address`, and the sentence after the key.
#[test]
fn an_address_of_the_edge_is_a_scheme_a_host_and_a_port() {
    let like = r#"write one such as "https://192.0.2.80:8443", or "" for what a resolver finds"#;
    let more = "holds more than a host and a port, but the path asked for is probe.path";
    let cases: &[(&str, String)] = &[
        ("192.0.2.80", format!(r#""192.0.2.80" is no http or https URL: {like}"#)),
        ("ftp://192.0.2.80", format!(r#""ftp://192.0.2.80" is no http or https URL: {like}"#)),
        ("https://", format!(r#""https://" names no host: {like}"#)),
        ("https://:443", format!(r#""https://:443" names no host: {like}"#)),
        ("https://a/b", format!(r#""https://a/b" {more}: {like}"#)),
        ("https://a//", format!(r#""https://a//" {more}: {like}"#)),
        ("https://a?b", format!(r#""https://a?b" {more}: {like}"#)),
        ("https://a/?", format!(r#""https://a/?" {more}: {like}"#)),
        ("https://a#b", format!(r#""https://a#b" {more}: {like}"#)),
        ("https://a:0", format!(r#""https://a:0" has a port that is none: {like}"#)),
        ("https://a:", format!(r#""https://a:" has a port that is none: {like}"#)),
        ("https://a:+80", format!(r#""https://a:+80" has a port that is none: {like}"#)),
        ("https://a:65536", format!(r#""https://a:65536" has a port that is none: {like}"#)),
        ("https://2001:db8::80", r#""https://2001:db8::80" has an IPv6 address without brackets: write it like "https://[2001:db8::80]""#.into()),
        ("https://[2001:db8::80]8443", r#""https://[2001:db8::80]8443" has an IPv6 address without brackets: write it like "https://[2001:db8::80]""#.into()),
        ("https://a_b c", r#""a_b c" is no hostname: only letters, digits, hyphens, underscores and dots may stand in one"#.into()),
        ("https://0.0.0.0", format!("0.0.0.0 is an unspecified address: {like}")),
    ];
    for (address, expected) in cases {
        assert_eq!(
            faults(&minimal(&format!("[edge]\naddress = \"{address}\"")), &[]),
            [format!("DIR/o.toml: edge.address: {expected}")],
            "{address}"
        );
    }
    for address in ["https://me:hush@a/", "me:hush@a"] {
        let said = faults(&minimal(&format!("[edge]\naddress = \"{address}\"")), &[]);
        let expected = format!("DIR/o.toml: edge.address: holds a user or a password: {like}");
        assert_eq!(said, [expected]);
    }
}

#[test]
fn statuses_that_are_none_are_refused() {
    for (entry, shown) in [
        ("\"600\"", "\"600\""),
        ("\"099\"", "\"099\""),
        ("99", "99"),
        ("\"399-200\"", "\"399-200\""),
        ("\"200-\"", "\"200-\""),
        ("\"2x\"", "\"2x\""),
        ("\"6xx\"", "\"6xx\""),
        ("\"é0xx\"", "\"é0xx\""),
        ("\"\"", "\"\""),
        ("true", "true"),
    ] {
        assert_eq!(
            faults(
                &minimal(&format!("[probe]\nexpect_status = [{entry}]")),
                &[]
            ),
            [format!(
                r#"DIR/o.toml: probe.expect_status: {shown} is no status: write "200", "200-399" or "2xx""#
            )]
        );
    }
}

#[test]
fn tokens_are_checked_and_never_repeated() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("empty"), " \n").unwrap();
    std::fs::write(folder.path().join("two"), "hush1 hush2\n").unwrap();
    std::fs::write(folder.path().join("odd"), "hush\u{1}1\n").unwrap();
    let cases = [
        (
            "",
            "cloudflare.api_token_file: there is no API token: name a file that holds it, or set cloudflare.api_token",
        ),
        (
            "api_token = \" \"",
            "cloudflare.api_token_file: there is no API token: name a file that holds it, or set cloudflare.api_token",
        ),
        (
            "api_token = \"hush1\"\napi_token_file = \"good\"",
            "cloudflare.api_token: is set beside cloudflare.api_token_file: set one of them only",
        ),
        (
            "api_token = \"hush1 hush2\"",
            "cloudflare.api_token: the token has white space inside: write the token alone",
        ),
        (
            "api_token = 12345",
            "cloudflare.api_token: must be text: write it in quotes",
        ),
        (
            "api_token_file = \"hush56789-123456789_123456789hush\"",
            "cloudflare.api_token_file: names no file and looks like a token itself: write the token into a file and name that",
        ),
        (
            "api_token_file = \"gone\"",
            "cloudflare.api_token_file: cannot read DIR/gone (No such file or directory (os error 2)): name a readable file that holds the token",
        ),
        (
            "api_token_file = \"empty\"",
            "cloudflare.api_token_file: DIR/empty is empty: write the token into it",
        ),
        (
            "api_token_file = \"two\"",
            "cloudflare.api_token_file: DIR/two: the token has white space inside: write the token alone",
        ),
        (
            "api_token_file = \"odd\"",
            "cloudflare.api_token_file: DIR/odd: the token has characters that no HTTP header can carry: write the token alone",
        ),
    ];
    std::fs::write(folder.path().join("good"), "hush3\n").unwrap();
    for (lines, expected) in cases {
        let text = format!("[cloudflare]\n{lines}\n{SITE}");
        let faults = load_in(folder.path(), &text, &[]).unwrap_err();
        let said = faults
            .to_string()
            .replace(&folder.path().display().to_string(), "DIR");
        assert_eq!(said, format!("DIR/o.toml: {expected}"), "{lines}");
        assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
    }
}

#[test]
fn a_syntax_error_stands_alone_with_its_line_and_without_the_text() {
    let text = "[probe]\nintervall = 3\n[cloudflare]\napi_token = hush\n";
    let said = faults(text, &[]);
    assert_eq!(
        said,
        ["DIR/o.toml: line 4, column 13: not TOML: invalid string, expected `\"`, `'`"]
    );
    assert_eq!(
        faults("[probe]\nport = 1\nport = 2\n", &[]),
        ["DIR/o.toml: line 3, column 1: not TOML: duplicate key `port` in table `probe`"]
    );
}

#[test]
fn a_file_that_is_not_there_says_how_to_name_one() {
    let none: [(String, String); 0] = [];
    let faults = load(Path::new("no/such.toml"), none.clone()).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "no/such.toml: there is no such file: name the configuration file with --config or ORIGINSWITCH_CONFIG"
    );
    let faults = load(Path::new("/"), none).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "/: cannot be read (Is a directory (os error 21)): name the configuration file with --config or ORIGINSWITCH_CONFIG"
    );
}

#[test]
fn all_faults_are_told_at_once_with_where_they_were_written() {
    let text = r#"
[server]
listen = "here"
[probe]
intervall = "10s"
timeout = 2
[rule]
fall = 0
[[site]]
name = "www"
hostname = ["www.example.com", "www.example.org"]
zone = "example.com"
main = "192.0.2.10"
backup = "192.0.2.10"
matchers = ["x"]
[site.probe]
path = "health"
[[site]]
name = "shop"
hostname = "shop.example.com"
main = { ipv4 = "104.16.0.1", port = "8443" }
"#;
    let env = [
        ("ORIGINSWITCH_RULE__RISE", "many"),
        ("ORIGINSWITCH_ALERTS__TTTL", "1m"),
    ];
    let expected = r#"
ORIGINSWITCH_ALERTS__TTTL: alerts: unknown key `alerts.tttl`, did you mean ORIGINSWITCH_ALERTS__TTL?
DIR/o.toml: probe: unknown key `probe.intervall`, did you mean `probe.interval`?
DIR/o.toml: server.listen: "here" is no address to listen on: write "IP:PORT", or ":PORT" for all interfaces
DIR/o.toml: cloudflare.api_token_file: there is no API token: name a file that holds it, or set cloudflare.api_token
DIR/o.toml: probe.timeout: 2 has no unit: write "2s" if seconds are meant
DIR/o.toml: rule.fall: must be a whole number from 1 to 1000, not 0
ORIGINSWITCH_RULE__RISE: rule.rise: must be a whole number from 1 to 1000, not "many"
DIR/o.toml: site[1] "www": hostname: www.example.org lies outside of the zone example.com: correct one of them
DIR/o.toml: site[1] "www": matchers: "x" has no `=`, `!=`, `=~` or `!~` after the label's name
DIR/o.toml: site[1] "www": probe.path: "health" does not start with a slash: write "/" or "/health"
DIR/o.toml: site[1] "www": backup: backup and main are both 192.0.2.10: origins must differ
DIR/o.toml: site[2] "shop": zone: is missing: write zone = "example.com", or zone_id
DIR/o.toml: site[2] "shop": backup: is missing: write backup = "198.51.100.20"
DIR/o.toml: site[2] "shop": main.port: must be a whole number from 0 to 65535, not "8443"
DIR/o.toml: site[2] "shop": main: 104.16.0.1 is Cloudflare's own address: write the address of the server behind it
"#;
    assert_eq!(faults(text, &env).join("\n"), expected.trim());
}

/// TOML lets a key hold anything in quotes, and a text go over several lines.
#[test]
fn a_fault_is_one_line_whatever_it_repeats() {
    let cases = [
        (
            r#""a\nb" = 1"#,
            r"cloudflare: unknown key `cloudflare.a\nb`; there are `api_token_file`, `api_token`, `api_url`, `timeout`, `requests_per_5m`, `max_batch`, `zone_token_files`",
        ),
        (
            "[alerts]\nwatchdog = '''a=\"b\nc'''",
            r#"alerts.watchdog: the value "b\nc lacks its closing double quote"#,
        ),
    ];
    for (text, expected) in cases {
        let told = [format!("DIR/o.toml: {expected}")];
        assert_eq!(faults(&minimal(text), &[]), told, "{text}");
    }
}

#[test]
fn the_environment_is_told_apart_from_what_kubernetes_sets() {
    let cases = [
        (
            "ORIGINSWITCH_PROBE__INTERVALL",
            "1s",
            "probe: unknown key `probe.intervall`, did you mean ORIGINSWITCH_PROBE__INTERVAL?",
        ),
        (
            "ORIGINSWITCH_FOO__BAR",
            "1",
            "foo: unknown key `foo.bar`: write ORIGINSWITCH_SECTION__KEY with a key of the configuration file, or unset it",
        ),
        (
            "ORIGINSWITCH_SITE__NAME",
            "1",
            "site: sites cannot be set from the environment: write them in the file",
        ),
        (
            "ORIGINSWITCH_SERVER_LISTEN",
            ":1",
            "server.listen: a single underscore after the section: write ORIGINSWITCH_SERVER__LISTEN",
        ),
        (
            "ORIGINSWITCH_PROBE__PORT",
            "tcp",
            "probe.port: must be a whole number from 0 to 65535, not \"tcp\"",
        ),
        (
            "ORIGINSWITCH_PROBE__INTERVAL",
            "10",
            "probe.interval: 10 has no unit: write \"10s\" if seconds are meant",
        ),
        (
            "ORIGINSWITCH_RULE__DRY_RUN",
            "yes",
            "rule.dry_run: must be true or false, without quotes, not \"yes\"",
        ),
    ];
    for (name, value, expected) in cases {
        assert_eq!(
            faults(&minimal(""), &[(name, value)]),
            [format!("{name}: {expected}")]
        );
    }
    let ignored = [
        ("ORIGINSWITCH_CONFIG", "/etc/o.toml"),
        ("ORIGINSWITCH_PORT", "tcp://10.0.0.1:10053"),
        ("ORIGINSWITCH_PORT_10053_TCP_ADDR", "10.0.0.1"),
        ("ORIGINSWITCH_PROBE_PORT", "tcp://10.0.0.1:80"),
        ("ORIGINSWITCH_SERVICE_HOST", "10.0.0.1"),
        ("SERVER__LISTEN", "nonsense"),
    ];
    super::good(&minimal(""), &ignored);
}
