//! What real webhook bodies yield: captured ones, odd ones, and our examples.

mod support;

use originswitch::alertmanager::{Alert, BodyFault, Directory, Meaning, SiteKeys, Webhook, parse};
use originswitch::rule::Moment;
use originswitch::rule::alerts::{AlertBook, AlertStatus};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::skip::skip_everywhere;

const TTL: Duration = Duration::from_secs(900);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The JSON files of a folder, sorted by name.
fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    files.sort();
    files
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The captured body whose name begins like this.
fn payload(beginning: &str) -> Webhook<'static> {
    let files = json_files(&folder("tests/payloads"));
    let path = files
        .iter()
        .find(|path| name_of(path).starts_with(beginning));
    let path = path.unwrap_or_else(|| panic!("no payload {beginning}"));
    parse(fs::read(path).unwrap().leak())
        .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Firing, resolved, look-only, bad, truncated.
fn counts(webhook: &Webhook) -> [usize; 5] {
    let of = |meaning| {
        webhook
            .alerts
            .iter()
            .filter(|a| a.meaning == meaning)
            .count()
    };
    [
        of(Meaning::Firing),
        of(Meaning::Resolved),
        of(Meaning::LookOnly),
        webhook.bad,
        usize::try_from(webhook.truncated).unwrap(),
    ]
}

const YIELDS: [(&str, [usize; 5]); 28] = [
    ("01-firing-single", [1, 0, 0, 0, 0]),
    ("02-firing-group-of-3", [3, 0, 0, 0, 0]),
    ("03-group-of-3-one-resolved", [2, 1, 0, 0, 0]),
    ("04-group-remaining-two-resolved", [0, 2, 0, 0, 0]),
    ("05-resolved-single", [0, 1, 0, 0, 0]),
    ("06-truncated-max_alerts-2-of-5-firing", [2, 0, 0, 0, 3]),
    (
        "08-truncated-status-resolved-while-others-still-firing",
        [0, 2, 0, 0, 2],
    ),
    ("09-weird-labels-firing-shortened", [1, 0, 0, 0, 0]),
    ("13-receiver-name-regex-quoted", [1, 0, 0, 0, 0]),
    ("18-no-alertname", [1, 0, 0, 0, 0]),
    ("19-future-endsAt-nonUTC-startsAt", [1, 0, 0, 0, 0]),
    ("20-repeat-interval-duplicate", [1, 0, 0, 0, 0]),
    ("23-ha-clustered-slow-receiver-peer-A", [1, 0, 0, 0, 0]),
    ("24-ha-clustered-slow-receiver-peer-B", [1, 0, 0, 0, 0]),
    ("27-big-first-partial-flush-16-alerts", [16, 0, 0, 0, 0]),
    ("29-prometheus-blackbox-origin-down-firing", [1, 0, 0, 0, 0]),
    ("30-prometheus-blackbox-origin-up-resolved", [0, 1, 0, 0, 0]),
    ("32-false-resolved-prometheus-killed", [0, 1, 0, 0, 0]),
    (
        "34-false-resolved-blackbox-exporter-killed",
        [0, 1, 0, 0, 0],
    ),
    ("35-watchdog-firing", [1, 0, 0, 0, 0]),
    (
        "36-watchdog-resolved-because-prometheus-died",
        [0, 1, 0, 0, 0],
    ),
    ("alertmanager-0.32-notification_reason", [2, 1, 0, 0, 0]),
    ("alertmanager-0.34-routeLabels", [2, 1, 0, 0, 0]),
    ("curl-minimal-jiralert-readme-style", [1, 0, 0, 0, 0]),
    ("empty-alerts-array", [0, 0, 0, 0, 0]),
    ("grafana-managed-DatasourceError", [0, 0, 1, 0, 0]),
    ("grafana-managed-firing", [1, 0, 0, 0, 0]),
    ("grafana-managed-resolved-MissingSeries", [0, 0, 1, 0, 0]),
];

/// Not a webhook: must be refused, and say why.
const TO_ALERTMANAGER: &str = "prometheus-to-alertmanager-v2-alerts.json";

#[test]
fn every_payload_yields_what_the_table_says() {
    let found: Vec<_> = json_files(&folder("tests/payloads"))
        .iter()
        .map(|path| name_of(path))
        .filter(|name| name != TO_ALERTMANAGER)
        .collect();
    let listed: Vec<_> = YIELDS
        .iter()
        .map(|(name, _)| format!("{name}.json"))
        .collect();
    assert_eq!(found, listed);
    for (name, expected) in YIELDS {
        assert_eq!(counts(&payload(name)), expected, "{name}");
    }
}

#[test]
fn what_is_no_webhook_is_refused_in_words() {
    let array = fs::read(folder("tests/payloads").join(TO_ALERTMANAGER)).unwrap();
    let no_alerts = |found| {
        format!(
            "the body is {found} and has no `alerts` array: send an object \
             such as {{\"alerts\":[{{\"labels\":{{\"site\":\"www\"}}}}]}}"
        )
    };
    let not_json = |reason| {
        format!("the body is not JSON ({reason}): POST the JSON that Alertmanager's webhook sends")
    };
    let not_array =
        |found| format!("`alerts` is {found}: make it an array of alerts, which may be empty");
    let empty = "the body is empty: POST the JSON that Alertmanager's webhook sends".to_owned();
    let cases: [(&[u8], String); 16] = [
        (&array, no_alerts("an array")),
        (b"{}", no_alerts("an object")),
        (b"{\"alerts\":null}", no_alerts("an object")),
        (b"{\"Alerts\":[]}", no_alerts("an object")),
        (b"\"firing\"", no_alerts("a string")),
        (b" null\n", no_alerts("null")),
        (b"-1", no_alerts("a number")),
        (b"{\"alerts\":{}}", not_array("an object")),
        (b"{\"alerts\":\"[]\"}", not_array("a string")),
        (b"{\"alerts\":false}", not_array("a boolean")),
        (b"", empty.clone()),
        (b"\xef\xbb\xbf\r\n", empty),
        (b"site=www", not_json("expected value at line 1 column 1")),
        (
            b"{\n \"alerts\": [\n}",
            not_json("expected value at line 3 column 1"),
        ),
        (
            b"{\"alerts\":[]} x",
            not_json("trailing characters at line 1 column 15"),
        ),
        (
            b"{\"alerts\":[{\"a",
            not_json("EOF while parsing a string at line 1 column 14"),
        ),
    ];
    for (body, expected) in cases {
        let said = parse(body).map_err(|fault| fault.to_string());
        assert_eq!(said, Err(expected), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn the_whole_collection_parses_where_it_is_at_hand() {
    let collection = folder("../shared/alertmanager-payloads");
    if !collection.is_dir() {
        skip_everywhere("the webhooks of ../shared/alertmanager-payloads, which is not here");
        return;
    }
    let mut files = json_files(&collection);
    files.extend(json_files(&collection.join("derived")));
    let mut parsed = 0;
    for path in files {
        let body = fs::read(&path).unwrap();
        let result = parse(&body);
        match name_of(&path).as_str() {
            "INDEX.json" => {}
            // A redirect that turned the POST into a GET.
            "21-redirect-302-became-GET.json" => assert_eq!(result, Err(BodyFault::Empty)),
            TO_ALERTMANAGER => assert_eq!(result, Err(BodyFault::NoAlerts { found: "an array" })),
            name => {
                let webhook = result.unwrap_or_else(|fault| panic!("{name}: {fault}"));
                assert_eq!(webhook.bad, 0, "{name}");
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 45, "only {parsed} files were found");
}

#[test]
fn odd_characters_and_times_arrive_whole() {
    let weird = &payload("09").alerts[0];
    let label = |name: &str| weird.labels.get(name).unwrap();
    assert_eq!(label("site"), "bücher.example");
    assert_eq!(label("origin"), "main \"A\"");
    assert_eq!(label("path"), "C:\\tmp\\x");
    assert_eq!(label("multi"), "line1\nline2\r\n\ttabbed");
    assert_eq!(label("html"), "<script>&amp;\u{2028}");
    assert_eq!(label("ctrl"), "a\u{1}b\u{7f}");
    assert_eq!(label("emoji"), "🔥 日本語");
    assert_eq!(weird.labels.len(), 12);

    let start = |beginning| {
        payload(beginning).alerts[0]
            .starts_at
            .map(|t| t.to_string())
    };
    assert_eq!(start("19").as_deref(), Some("2026-01-01T18:04:05.123Z"));
    assert_eq!(
        start("grafana-managed-firing").as_deref(),
        Some("2026-11-22T17:32:33.429Z")
    );
    assert_eq!(start("curl"), None);
}

#[test]
fn copies_from_two_alertmanagers_are_one_alert() {
    let (a, b) = (payload("23"), payload("24"));
    assert_eq!(a, b);
    let (firing, resolved) = (payload("29"), payload("30"));
    assert_eq!(firing.alerts[0].identity, resolved.alerts[0].identity);
    let identities: Vec<_> = payload("02").alerts.iter().map(|a| a.identity).collect();
    assert_ne!(identities[0], identities[1]);
}

/// One book for each `site` label, as the program keeps them.
#[derive(Default)]
struct Books(HashMap<String, AlertBook>);

impl Books {
    fn take(&mut self, webhook: &Webhook) {
        for alert in &webhook.alerts {
            let site = alert.labels.get("site").unwrap_or_default().to_owned();
            let book = self.0.entry(site).or_default();
            if alert.meaning != Meaning::LookOnly {
                book.take(
                    alert.identity,
                    alert.status,
                    alert.starts_at,
                    Moment::default(),
                );
            }
        }
    }

    /// The sites with a firing alert, sorted.
    fn firing(&self) -> Vec<&str> {
        let fires = |book: &AlertBook| book.firing(Moment::default(), TTL);
        let firing = self.0.iter().filter(|(_, book)| fires(book));
        let mut sites: Vec<_> = firing.map(|(site, _)| site.as_str()).collect();
        sites.sort_unstable();
        sites
    }
}

#[test]
fn stories_told_by_captured_bodies_end_as_they_did_in_any_order() {
    let stories: [(&[&str], &[&str]); 8] = [
        (&["01"], &["shop.example.com"]),
        // The resolve carries the start cut to the millisecond, the firing does not.
        (&["01", "05"], &[]),
        (&["02", "03"], &["site1.example.com", "site3.example.com"]),
        (&["02", "03", "04"], &[]),
        // The body says "resolved", but of two alerts only; the others fire on unseen.
        (&["06", "08"], &[]),
        (&["29", "30", "29"], &[]),
        (&["grafana-managed-firing"], &["shop.example.com"]),
        (
            &["grafana-managed-firing", "grafana-managed-resolved"],
            &["shop.example.com"],
        ),
    ];
    for (names, expected) in stories {
        let webhooks: Vec<_> = names.iter().map(|name| payload(name)).collect();
        for start in 0..webhooks.len() {
            let turn = webhooks.iter().cycle().skip(start).take(webhooks.len());
            let mut order: Vec<_> = turn.collect();
            for direction in ["forwards", "backwards"] {
                let mut books = Books::default();
                order.iter().for_each(|webhook| books.take(webhook));
                assert_eq!(
                    books.firing(),
                    expected,
                    "{names:?} from {start}, {direction}"
                );
                order.reverse();
            }
        }
    }
}

#[test]
fn one_bad_alert_does_not_sink_the_others() {
    let deep = format!(
        "{{\"labels\":{{\"x\":{}1{}}}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let odd = [
        "null",
        "7",
        "\"x\"",
        "[]",
        "[\"firing\",{\"site\":\"www\"}]",
        "{\"labels\":[]}",
        "{\"labels\":7}",
        "{\"status\":\"pending\"}",
        "{\"status\":{}}",
        "{\"status\":\"\\ud800\"}",
    ];
    let fine = [
        "{}".to_owned(),
        "{\"labels\":null,\"annotations\":null,\"status\":null,\"startsAt\":null}".to_owned(),
        "{\"labels\":{\"n\":1e999,\"m\":-0,\"b\":true,\"z\":null,\"l\":[]}}".to_owned(),
        "{\"startsAt\":7,\"endsAt\":{},\"values\":1e999,\"annotations\":[1]}".to_owned(),
        "{\"startsAt\":\"garbage\",\"labels\":{\"site\":\"www\"}}".to_owned(),
        deep,
    ];
    let mixed: Vec<_> = odd
        .iter()
        .map(|text| (*text).to_owned())
        .chain(fine.iter().cloned())
        .collect();
    let body = format!(
        "\u{feff}{{\"status\":7,\"version\":[],\"truncatedAlerts\":1e999,\"alerts\":[{}]}}\n",
        mixed.join(",")
    );
    let webhook = parse(body.as_bytes()).unwrap();
    assert_eq!(counts(&webhook), [fine.len(), 0, 0, odd.len(), 0]);
    assert!(webhook.alerts.iter().all(|alert| alert.starts_at.is_none()));
}

#[test]
fn a_storm_parses_quickly() {
    let mut alerts = String::new();
    for n in 0..2_000 {
        let comma = if n == 0 { "" } else { "," };
        write!(
            alerts,
            r#"{comma}{{"status":"firing","labels":{{"alertname":"OriginDown","site":"site{n}.example.com","instance":"https://192.0.2.10:443/healthz","job":"blackbox","prometheus":"monitoring/prom-0","severity":"critical"}},"annotations":{{"description":"{}","summary":"Origin main is down"}},"startsAt":"2026-11-22T18:37:01.37688Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/graph?g0.expr=up\u0026x=y","fingerprint":"beee69f2eb63ae4e"}}"#,
            "x".repeat(500)
        )
        .unwrap();
    }
    let long = "L".repeat(200_000);
    let body = format!(r#"{{"alerts":[{alerts}],"commonAnnotations":{{"description":"{long}"}}}}"#);
    let began = Instant::now();
    let webhook = parse(body.as_bytes()).unwrap();
    println!("{} bytes, 2000 alerts: {:?}", body.len(), began.elapsed());
    assert_eq!(counts(&webhook), [2_000, 0, 0, 0, 0]);
}

/// The demo's site, as the examples speak of it.
fn demo_directory() -> Directory {
    let hostnames = ["www.example.com".to_owned()];
    let site = SiteKeys {
        name: "www",
        hostnames: &hostnames,
        origins: vec!["127.0.0.1".into(), "127.0.0.2".into()],
        matchers: &[],
    };
    Directory::new("site", std::iter::once(site))
}

#[test]
fn every_example_body_says_what_its_readme_says() {
    let directory = demo_directory();
    let examples = folder("alertmanager-examples");
    let readme = fs::read_to_string(examples.join("README.md")).unwrap();
    // Firing, resolved, look-only, bad, truncated; and how many alerts are of www.
    let expected = [
        ("main-down.json", [1, 0, 0, 0, 0], 1),
        ("main-up.json", [0, 1, 0, 0, 0], 1),
        ("several-sites.json", [3, 1, 0, 0, 0], 2),
        // It belongs to no site: it proves that alerts arrive, and moves nothing.
        ("watchdog.json", [1, 0, 0, 0, 0], 0),
    ];
    let found: Vec<_> = json_files(&examples).iter().map(|p| name_of(p)).collect();
    assert_eq!(found, expected.map(|(name, _, _)| name));
    for (name, yields, of_www) in expected {
        let body = fs::read(examples.join(name)).unwrap();
        let webhook = parse(&body).unwrap();
        assert_eq!(counts(&webhook), yields, "{name}");
        let matching = |alert: &&Alert| directory.sites_of(alert) == [0];
        assert_eq!(
            webhook.alerts.iter().filter(matching).count(),
            of_www,
            "{name}"
        );
        let curl = format!("--data @alertmanager-examples/{name} ");
        assert!(
            readme.contains(&curl),
            "README.md has no curl line for {name}"
        );
    }
}

#[test]
fn the_examples_can_be_played_again_and_again() {
    let examples = folder("alertmanager-examples");
    let body = |name| parse(fs::read(examples.join(name)).unwrap().leak()).unwrap();
    let (down, up) = (body("main-down.json"), body("main-up.json"));
    let mut books = Books::default();
    for _ in 0..3 {
        books.take(&down);
        assert_eq!(books.firing(), ["www"]);
        books.take(&up);
        assert_eq!(books.firing(), [""; 0]);
    }
}

/// JSON of any shape, with the names a webhook uses more often than chance would.
fn any_json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "status|labels|annotations|startsAt|alertname|grafana_state_reason|site|instance",
        "[a-z]{0,3}",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<f64>().prop_map(|n| serde_json::json!(n).to_string()),
        Just("-1e99999".to_owned()),
        Just("\"resolved\"".to_owned()),
        Just("\"\\udc00\"".to_owned()),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{0,12}(Z|[+-][0-9:]{1,6})( UTC)?"
            .prop_map(|text| serde_json::json!(text).to_string()),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(k, v)| format!("\"{k}\":{v}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|list| format!("{{{}}}", list.join(","))),
        ]
    })
}

/// An alert's number, whether it is resolved, and the second it started.
type Word = (u64, bool, i64);

fn final_state(copies: &[Word]) -> (bool, Vec<bool>) {
    let mut all = AlertBook::default();
    let mut each: HashMap<u64, AlertBook> = HashMap::new();
    for &(identity, resolved, start) in copies {
        let status = if resolved {
            AlertStatus::Resolved
        } else {
            AlertStatus::Firing
        };
        let start = jiff::Timestamp::from_second(start).ok();
        all.take(identity, status, start, Moment::default());
        let book = each.entry(identity).or_default();
        book.take(identity, status, start, Moment::default());
    }
    let now = Moment::default();
    let each = (0..4).map(|n| each.get(&n).is_some_and(|book| book.firing(now, TTL)));
    (all.firing(now, TTL), each.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_and_duplication_of_copies_never_change_the_end(
        (copies, shuffled) in prop::collection::vec((0u64..4, any::<bool>(), 0i64..4), 1..12)
            .prop_flat_map(|copies| {
                let doubled = prop::collection::vec(prop::sample::select(copies.clone()), 0..12);
                let all = doubled.prop_map({
                    let copies = copies.clone();
                    move |more| [copies.clone(), more].concat()
                });
                (Just(copies), all.prop_shuffle())
            })
    ) {
        prop_assert_eq!(final_state(&copies), final_state(&shuffled));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_damage_to_a_real_body_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut body = include_bytes!("payloads/03-group-of-3-one-resolved.json").to_vec();
        let end = body.len();
        body[at.index(end)] = byte;
        let _ = parse(&body);
        let _ = parse(&body[..keep.index(end)]);
    }

    #[test]
    fn any_json_in_the_alerts_array_is_read_or_counted(
        alerts in prop::collection::vec(any_json(), 0..5),
    ) {
        let body = format!("{{\"alerts\":[{}]}}", alerts.join(","));
        let webhook = parse(body.as_bytes()).map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert_eq!(webhook.alerts.len() + webhook.bad, alerts.len());
        let directory = demo_directory();
        for alert in &webhook.alerts {
            prop_assert!(directory.sites_of(alert).len() <= 1);
        }
    }

    #[test]
    fn no_target_makes_it_panic(target in any::<String>()) {
        let label = serde_json::json!(target);
        let body = format!("{{\"alerts\":[{{\"labels\":{{\"instance\":{label}}}}}]}}");
        let webhook = parse(body.as_bytes()).map_err(|f| TestCaseError::fail(f.to_string()))?;
        let _ = demo_directory().sites_of(&webhook.alerts[0]);
    }
}
