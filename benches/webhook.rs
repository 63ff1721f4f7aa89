//! What an alert costs: reading it, and finding its sites among ten thousand.
//! `cargo bench --bench webhook`.

#[path = "common/alerts.rs"]
#[allow(dead_code, reason = "it posts to no Alertmanager")]
mod alerts;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use originswitch::alertmanager::{Directory, SiteKeys, Unread, parse};
use originswitch::matcher::Matcher;

fn main() {
    divan::main();
}

/// Alerts that nearly fill the largest body.
const EIGHT_MIB: usize = 13_900;

#[divan::bench]
fn read_100_alerts(bencher: Bencher) {
    let body = alerts::webhook(0..100);
    bencher
        .counter(ItemsCount::new(100u32))
        .bench(|| parse(black_box(body.as_bytes())).unwrap());
}

/// One odd alert, and the whole body is read leniently.
#[divan::bench]
fn read_100_alerts_one_of_them_odd(bencher: Bencher) {
    let body = alerts::webhook(0..100).replace("\"s99\"", "99");
    bencher
        .counter(ItemsCount::new(100u32))
        .bench(|| parse(black_box(body.as_bytes())).unwrap());
}

/// As a large body is read: one alert after the other, none kept.
#[divan::bench]
fn read_8_mib(bencher: Bencher) {
    let body = alerts::webhook(0..EIGHT_MIB);
    assert!((7_000_000..8_388_608).contains(&body.len()));
    bencher
        .counter(BytesCount::new(body.len()))
        .counter(ItemsCount::new(EIGHT_MIB))
        .bench(|| {
            let unread = Unread::of(black_box(body.as_bytes())).unwrap();
            let mut read = 0;
            unread.each(|alert| read += usize::from(alert.is_some()));
            assert_eq!(read, EIGHT_MIB);
        });
}

/// Ten thousand sites: `s0` at 192.0.2.0, and so on, that `matchers` may mean too.
fn directory(matchers: impl Fn(usize) -> Vec<Matcher>) -> Directory {
    let hostnames: Vec<_> = (0..10_000)
        .map(|n| vec![format!("s{n}.example.com")])
        .collect();
    let matchers: Vec<_> = (0..10_000).map(matchers).collect();
    let names: Vec<_> = (0..10_000).map(|n| format!("s{n}")).collect();
    let sites = names.iter().zip(&hostnames).zip(&matchers).enumerate();
    let sites = sites.map(|(n, ((name, hostnames), matchers))| SiteKeys {
        name,
        hostnames,
        origins: vec![format!("10.0.{}.{}", n / 250, n % 250), "192.0.2.7".into()],
        matchers,
    });
    Directory::new("site", sites)
}

fn find(bencher: Bencher, directory: &Directory, body: &str, each: usize) {
    let webhook = parse(body.as_bytes()).unwrap();
    bencher.counter(ItemsCount::new(100u32)).bench(|| {
        for alert in &webhook.alerts {
            assert_eq!(directory.sites_of(black_box(alert)).len(), each);
        }
    });
}

#[divan::bench]
fn find_100_by_label(bencher: Bencher) {
    let body = alerts::webhook(0..100);
    find(bencher, &directory(|_| Vec::new()), &body, 1);
}

#[divan::bench]
fn find_100_by_matchers(bencher: Bencher) {
    let matchers = |n| {
        let down = Matcher::parse("alertname=OriginDown").unwrap();
        vec![
            down,
            Matcher::parse(&format!("service=~t{n}|u{n}")).unwrap(),
        ]
    };
    let body = alerts::webhook(0..100).replace("\"site\":", "\"place\":");
    find(bencher, &directory(matchers), &body, 1);
}

#[divan::bench]
fn find_100_by_instance(bencher: Bencher) {
    let body = alerts::webhook(0..100)
        .replace("\"site\":", "\"place\":")
        .replace("\"192.0.2.", "\"10.0.0.");
    find(bencher, &directory(|_| Vec::new()), &body, 1);
}
