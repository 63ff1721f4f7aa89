//! IPv6 origins, and CNAME origins, which are looked up.

use crate::origins::{OK, answering, http, settings};
use originswitch::config::ProbeKind;
use originswitch::probe::Probes;
use originswitch::prober::Sample;
use originswitch::rule::address::Address;
use originswitch::rule::finding::{Finding, Verdict};
use std::sync::Arc;
use tokio::net::TcpListener;

async fn named(name: &str, port: u16) -> Sample {
    let settings = Arc::new(settings(ProbeKind::Http, port));
    let probe = Probes::new().build(&Address::name(name), &settings);
    probe.probe().await
}

#[tokio::test]
async fn an_ipv6_origin_is_probed() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        eprintln!("no IPv6 here: nothing tested");
        return;
    }
    let (at, heard) = answering("::1", OK).await;
    assert_eq!(http(at, |_| {}).await.verdict(), Verdict::Up);
    assert!(heard.all().contains(&"host: www.example.com".into()));
}

#[tokio::test]
async fn a_cname_origin_is_up_if_any_of_its_addresses_is() {
    // `localhost` is often ::1 as well, where nobody listens.
    let (at, heard) = answering("127.0.0.1", OK).await;
    let sample = named("localhost", at.port()).await;
    assert_eq!(sample.finding.verdict(), Verdict::Up, "{}", sample.finding);
    assert!(sample.phases.resolve.is_some() && sample.phases.connect.is_some());
    assert!(heard.all().contains(&"host: www.example.com".into()));
}

#[tokio::test]
async fn a_cname_origin_is_down_if_none_of_its_addresses_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sample = named("localhost", port).await;
    assert_eq!(sample.finding, Finding::Refused);
    assert!(sample.phases.resolve.is_some() && sample.phases.connect.is_some());
}

#[tokio::test]
async fn a_cname_origin_that_does_not_resolve_is_unknown() {
    let sample = named("does-not-exist.invalid", 80).await;
    assert!(matches!(sample.finding, Finding::Unresolved(_)));
    assert_eq!(sample.finding.verdict(), Verdict::Unknown);
    let text = sample.finding.to_string();
    assert!(
        text.starts_with("resolve: does-not-exist.invalid: "),
        "{text}"
    );
    assert!(sample.phases.resolve.is_some() && sample.phases.connect.is_none());
}
