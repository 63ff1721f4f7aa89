//! What a look through the edge finds, and what of it is evidence.

use crate::origins::{
    Authority, Heard, OK, answering, answering_tls, http, listen, read_head, swallowing,
};
use crate::{SHORT, broken, timeout};
use originswitch::config::{Site, load};
use originswitch::probe::Probes;
use originswitch::prober::Sample;
use originswitch::rule::finding::{Finding, Phase, Verdict};
use originswitch::sandbox::cloudflare::{Options, RecordSpec};
use originswitch::sandbox::edge::{self, Conduct};
use originswitch::sandbox::{Behaviour, Cloudflare, Edge, Origin, Tls};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// The site `www.example.com`, with these keys of `[probe]` and `[edge]`.
fn site(probe: &str, edge: &str) -> Arc<Site> {
    site_of("www.example.com", probe, edge)
}

fn site_of(hostname: &str, probe: &str, edge: &str) -> Arc<Site> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.toml");
    let text = format!(
        "[cloudflare]\napi_token = \"t\"\n[probe]\n{probe}\n[edge]\nprobe = true\n{edge}\n\
         [[site]]\nname = \"www\"\nhostname = [\"{hostname}\", \"also.{hostname}\"]\n\
         zone_id = \"0123456789abcdef0123456789abcdef\"\n\
         main = \"192.0.2.10\"\nbackup = \"198.51.100.20\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let config = load(&path, []).unwrap_or_else(|faults| panic!("{faults}"));
    config.sites[0].clone()
}

async fn look(site: &Site) -> Sample {
    Probes::new().edge(site).probe().await
}

/// What is found of an edge that lives here and speaks plain HTTP.
async fn found(at: SocketAddr, probe: &str) -> Finding {
    found_within(Duration::from_secs(20), at, probe).await
}

async fn found_within(limit: Duration, at: SocketAddr, probe: &str) -> Finding {
    let probe = format!("kind = \"http\"\n{probe}");
    let edge = format!("address = \"http://{at}\"\ntimeout = \"{limit:?}\"");
    look(&site(&probe, &edge)).await.finding
}

/// What is found where the edge answers this.
async fn told(answer: &str, probe: &str) -> Finding {
    let (at, _) = answering("127.0.1.1", answer).await;
    found(at, probe).await
}

/// An answer with these header lines, and `hello`.
fn answer(status: &str, lines: &str) -> String {
    format!("HTTP/1.1 {status}\r\nCF-RAY: 8f2-FRA\r\n{lines}Content-Length: 5\r\n\r\nhello")
}

fn abstained(what: &str) -> Finding {
    Finding::Abstained(what.into())
}

fn served(finding: &Finding) -> bool {
    matches!(finding, Finding::Answered { status: 200, .. })
}

fn failed(status: u16) -> Finding {
    Finding::Status {
        status,
        location: None,
    }
}

#[tokio::test]
async fn it_asks_as_a_visitor_does_and_each_time_for_what_no_cache_holds() {
    let (at, heard) = answering("127.0.1.1", OK).await;
    let keys = "kind = \"http\"\npath = \"/health?deep=1\"\nmethod = \"HEAD\"\nport = 81\n\
                host = \"other.example\"\n\
                headers = { x-key = \"k\", cache-control = \"max-stale\" }";
    let site = site(keys, &format!("address = \"http://{at}\""));
    let probe = Probes::new().edge(&site);
    assert!(served(&probe.probe().await.finding));
    let version = concat!("user-agent: originswitch/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "host: www.example.com",
        version,
        "accept: */*",
        "connection: close",
        "cache-control: no-cache",
        "x-key: k",
        "",
        "closed",
    ];
    heard.wait_for("closed").await;
    assert_eq!(heard.all()[1..], expected);
    let value = |line: &str| {
        let value = line.strip_prefix("HEAD /health?deep=1&originswitch=");
        let value = value.and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        value.unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    assert!(served(&probe.probe().await.finding));
    // The same site in another process, or after a reload.
    assert!(served(&look(&site).await.finding));
    let lines = heard.all();
    let asked = lines.iter().filter(|line| line.starts_with("HEAD "));
    let values: HashSet<_> = asked.map(|line| value(line)).collect();
    assert_eq!(values.len(), 3, "{lines:?}");
}

#[tokio::test]
async fn an_expected_answer_that_no_cache_gave_is_served() {
    for lines in [
        "",
        "cf-cache-status: MISS\r\n",
        "cf-cache-status: DYNAMIC\r\n",
        "CF-Cache-Status: bypass\r\n",
    ] {
        let finding = told(&answer("200 OK", lines), "expect_body = \"^hel+o$\"").await;
        assert!(served(&finding), "{lines}: {finding}");
    }
    let probe = "expect_status = [\"503\"]";
    let finding = told(&answer("503 Maintenance", ""), probe).await;
    assert!(matches!(finding, Finding::Answered { status: 503, .. }));
}

#[tokio::test]
async fn what_a_cache_gave_or_may_have_given_is_no_evidence() {
    for word in [
        "HIT",
        "EXPIRED",
        "STALE",
        "REVALIDATED",
        "UPDATING",
        "NONE/UNKNOWN",
    ] {
        for status in ["200 OK", "404 Not Found", "522 Timed Out", "301 Moved"] {
            let lines = format!("cf-cache-status: {word}\r\n");
            let finding = told(&answer(status, &lines), "").await;
            assert_eq!(finding, abstained(&format!("cached ({word})")), "{status}");
        }
    }
    let endless = format!("cf-cache-status: {}\r\n", "x".repeat(500));
    let finding = told(&answer("200 OK", &endless), "").await.to_string();
    assert_eq!(
        finding,
        format!("through the edge: cached ({})", "x".repeat(30))
    );
}

#[tokio::test]
async fn an_unexpected_5xx_is_the_edges_word_against_the_origin() {
    for status in [500, 502, 503, 504, 520, 521, 522, 523, 525, 530] {
        for lines in ["", "cf-cache-status: DYNAMIC\r\n"] {
            let finding = told(&answer(&format!("{status} Sorry"), lines), "").await;
            assert_eq!(finding, failed(status));
            assert_eq!(finding.verdict(), Verdict::Down);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_no_evidence_though_expected_and_is_not_followed() {
    let (target, followed) = answering("127.0.1.2", OK).await;
    let lines = format!("Location: http://{target}/\r\n");
    for probe in ["", "expect_status = [\"301\"]", "expect_status = [\"200\"]"] {
        let finding = told(&answer("301 Moved", &lines), probe).await;
        assert_eq!(finding, abstained(&format!("redirect to http://{target}/")));
    }
    assert_eq!(followed.all(), [""; 0]);
    let finding = told("HTTP/1.1 304 Not Modified\r\n\r\n", "").await;
    assert_eq!(finding, abstained("redirect (304)"));
}

#[tokio::test]
async fn a_challenge_is_no_evidence_whatever_its_status() {
    for status in ["200 OK", "403 Forbidden", "503 Unavailable"] {
        let finding = told(&answer(status, "Cf-Mitigated: challenge\r\n"), "").await;
        assert_eq!(finding, abstained("challenged"), "{status}");
        assert_eq!(finding.verdict(), Verdict::Unknown);
        assert_eq!(finding.to_string(), "through the edge: challenged");
    }
}

#[tokio::test]
async fn another_answer_than_the_expected_is_no_evidence() {
    for status in [204, 403, 404, 429] {
        let finding = told(
            &answer(&format!("{status} X"), ""),
            "expect_status = [\"200\"]",
        )
        .await;
        let expected = format!("{status} is not what [probe] expects");
        assert_eq!(finding, abstained(&expected));
    }
    let finding = told(&answer("200 OK", ""), "expect_body = \"goodbye\"").await;
    assert_eq!(finding, abstained("the body is not what [probe] expects"));
}

#[tokio::test]
async fn no_answer_is_told_as_of_an_origin() {
    let closed = {
        let listener = TcpListener::bind("127.0.1.3:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    assert_eq!(found(closed, "").await, Finding::Refused);
    let (full, _listener, _queued) = swallowing().await;
    assert_eq!(found_within(SHORT, full, "").await, timeout(Phase::Connect));
    let (mute, _) = answering("127.0.1.1", "").await;
    assert_eq!(
        found_within(SHORT, mute, "").await,
        timeout(Phase::Response)
    );
    let cut = listen("127.0.1.1", |mut stream| async move {
        read_head(&mut stream, &Heard::default()).await;
    })
    .await;
    let expected = broken(Phase::Response, "closed before an answer");
    assert_eq!(found(cut, "").await, expected);
    let halved = listen("127.0.1.1", |mut stream| async move {
        read_head(&mut stream, &Heard::default()).await;
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello";
        stream.write_all(half).await.unwrap();
    })
    .await;
    let expected = broken(Phase::Response, "closed in the middle of the body");
    assert_eq!(found(halved, "expect_body = \"hello\"").await, expected);
}

#[tokio::test]
async fn a_name_that_is_not_found_is_no_evidence() {
    let starts = |finding: &Finding, with: &str| {
        assert!(matches!(finding, Finding::Abstained(_)), "{finding}");
        assert!(finding.to_string().starts_with(with), "{finding}");
    };
    // Without an address, the hostname is what is looked up.
    let finding = look(&site_of("www.nowhere.invalid", "", "")).await.finding;
    starts(
        &finding,
        "through the edge: name not found: www.nowhere.invalid: ",
    );
    let finding = look(&site("", "address = \"https://edge.invalid\"")).await;
    starts(
        &finding.finding,
        "through the edge: name not found: edge.invalid: ",
    );
    assert!(finding.phases.resolve.is_some() && finding.phases.connect.is_none());
}

#[tokio::test]
async fn an_address_may_be_a_name_and_the_host_stays_the_sites() {
    // `localhost` is often ::1 as well, where nobody listens.
    let (at, heard) = answering("127.0.0.1", OK).await;
    let edge = format!("address = \"http://localhost:{}\"", at.port());
    let sample = look(&site("", &edge)).await;
    assert!(served(&sample.finding), "{}", sample.finding);
    assert!(sample.phases.resolve.is_some());
    assert!(heard.all().contains(&"host: www.example.com".into()));
}

/// `ca_file` with the authority's certificate.
fn trusting(ca: &Authority, folder: &Path) -> String {
    format!("ca_file = {:?}", ca.file(folder).unwrap())
}

#[tokio::test]
async fn over_tls_the_name_is_the_sites_also_where_origins_are_probed_by_tcp() {
    let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let trust = trusting(&ca, folder.path());
    for kind in [
        "kind = \"https\"",
        "kind = \"tcp\"\nport = 5432",
        "kind = \"http\"",
    ] {
        let (at, heard) = answering_tls(ca.good(), OK).await;
        let probe = format!("{kind}\nhost = \"other.example\"\n{trust}");
        let finding = look(&site(&probe, &format!("address = \"https://{at}\""))).await;
        assert!(served(&finding.finding), "{kind}: {}", finding.finding);
        assert_eq!(heard.all()[0], "sni: Some(\"www.example.com\")");
        assert!(heard.all().contains(&"host: www.example.com".into()));
    }
}

#[tokio::test]
async fn trouble_with_the_certificate_is_no_evidence() {
    let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let trust = trusting(&ca, folder.path());
    let (at, _) = answering_tls(ca.server(&["*.example.net"], (2020, 4000)), OK).await;
    let edge = format!("address = \"https://{at}\"");
    let finding = look(&site(&trust, &edge)).await.finding;
    let expected = "through the edge: certificate: not valid for www.example.com; \
                    it is for *.example.net";
    assert_eq!(finding.to_string(), expected);
    assert!(matches!(finding, Finding::Abstained(_)));
    let lax = look(&site("verify_tls = false", &edge)).await.finding;
    assert!(served(&lax), "{lax}");
}

#[tokio::test]
async fn what_our_own_side_lacks_stays_our_own_side() {
    let (ca, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (at, heard) = answering_tls(ca.good(), OK).await;
    let trust = trusting(&ca, folder.path());
    let site = site(&trust, &format!("address = \"https://{at}\""));
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let finding = look(&site).await.finding;
    assert!(matches!(finding, Finding::Local(_)), "{finding}");
    assert_eq!(heard.all(), [""; 0]);
}

/// A simulated Cloudflare whose record leads to one origin, and its edge.
struct Stage {
    cloudflare: Cloudflare,
    record: String,
    origin: Origin,
    edge: Edge,
}

impl Stage {
    fn new(tls: Option<Tls>) -> Stage {
        // A network of this process alone: nobody takes a port closed for a while.
        let process = u8::try_from(std::process::id() % 200).unwrap();
        let any = |host| SocketAddr::from((Ipv4Addr::new(127, 20 + process, 0, host), 0));
        let cloudflare = Cloudflare::start(any(1), Options::default()).unwrap();
        let zone = cloudflare.add_zone("example.com");
        let origin = Origin::start(any(2), None).unwrap();
        let content = origin.addr().ip().to_string();
        let spec = RecordSpec::new("A", "www.example.com", &content);
        let record = cloudflare.add_record(&zone, spec.proxied());
        let options = edge::Options {
            connect_timeout: SHORT,
            ..edge::Options::default()
        };
        let edge = Edge::start(any(3), tls, &cloudflare, options).unwrap();
        edge.origin_at(origin.addr());
        Stage {
            cloudflare,
            record,
            origin,
            edge,
        }
    }

    async fn found(&self) -> Finding {
        found(self.edge.addr(), "").await
    }

    async fn found_soon(&self) -> Finding {
        found_within(SHORT, self.edge.addr(), "").await
    }
}

#[tokio::test]
async fn behind_a_real_edge_the_origin_is_what_counts() {
    let stage = Stage::new(None);
    let finding = stage.found().await;
    assert!(served(&finding), "{finding}");
    let asked = stage.origin.last_request().unwrap();
    assert_eq!(asked.host.as_deref(), Some("www.example.com"));
    assert!(asked.path.starts_with("/?originswitch="), "{}", asked.path);
    // A probe of origins sees the CDN in the same answer.
    let straight = http(stage.edge.addr(), |_| {}).await;
    assert_eq!(straight, Finding::ThroughCdn);
    for (behaviour, status) in [
        (Behaviour::status(503), 503),
        (Behaviour::Cutting, 520),
        (Behaviour::Refusing, 521),
        (Behaviour::Swallowing, 522),
    ] {
        stage.origin.set(behaviour).await.unwrap();
        assert_eq!(stage.found().await, failed(status));
    }
    stage.origin.set(Behaviour::Hanging).await.unwrap();
    assert_eq!(stage.found_soon().await, timeout(Phase::Response));
    stage.origin.set(Behaviour::up()).await.unwrap();
    assert!(served(&stage.found().await));
    stage.cloudflare.edit(&stage.record, "192.0.2.1");
    assert_eq!(stage.found().await, failed(523));
    stage.cloudflare.remove_record(&stage.record);
    assert_eq!(stage.found().await, failed(530));
}

#[tokio::test]
async fn an_edge_that_answers_by_itself_is_seen_through() {
    let stage = Stage::new(None);
    for (conduct, expected) in [
        (Conduct::Cached, abstained("cached (HIT)")),
        (Conduct::Challenging, abstained("challenged")),
        (Conduct::Failing(500), failed(500)),
    ] {
        stage.edge.set(conduct);
        assert_eq!(stage.found().await, expected, "{conduct:?}");
    }
    stage.edge.set(Conduct::Hanging);
    assert_eq!(stage.found_soon().await, timeout(Phase::Response));
    assert_eq!(stage.origin.hits(), 0);
    stage.edge.stop().await;
    assert_eq!(stage.found().await, Finding::Refused);
}

#[tokio::test]
async fn an_edge_over_tls_is_asked_at_the_address_it_tells() {
    let folder = tempfile::tempdir().unwrap();
    let authority = originswitch::sandbox::Authority::new();
    let ca = folder.path().join("ca.pem");
    authority.write_pem(&ca).unwrap();
    let stage = Stage::new(Some(authority.issue(&["www.example.com"])));
    let edge = format!("address = \"{}\"", stage.edge.url());
    let sample = look(&site(&format!("ca_file = {ca:?}"), &edge)).await;
    assert!(served(&sample.finding), "{}", sample.finding);
    let seen = stage.edge.last_request().unwrap();
    assert_eq!(seen.server_name.as_deref(), Some("www.example.com"));
}
