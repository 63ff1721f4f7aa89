//! The simulated edge: what visitors get, as the record and the origin are.

use super::*;
use originswitch::sandbox::edge::{self, Conduct};
use originswitch::sandbox::{Authority, Behaviour, Edge, Origin, Tls};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::time::sleep;

const WWW: &str = "www.example.com";
const SHORT: Duration = Duration::from_millis(300);

/// A record for [`WWW`] that holds an origin's address, and an edge before it.
struct Stage {
    cloudflare: Cloudflare,
    zone: String,
    record: String,
    origin: Origin,
    edge: Edge,
}

/// An address of this process alone, on any port: a port that is closed for a
/// while is taken by nobody else.
fn any(host: u8) -> SocketAddr {
    let process = u8::try_from(std::process::id() % 200).unwrap();
    (Ipv4Addr::new(127, 20 + process, 0, host), 0).into()
}

fn ip(host: u8) -> String {
    any(host).ip().to_string()
}

impl Stage {
    fn new() -> Self {
        Self::with(None, edge::Options::default())
    }

    fn with(origin: Option<Tls>, options: edge::Options) -> Self {
        let options = edge::Options {
            connect_timeout: SHORT,
            ..options
        };
        let cloudflare = Cloudflare::start(any(8), Options::default()).unwrap();
        let zone = cloudflare.add_zone("example.com");
        let origin = Origin::start(any(1), origin).unwrap();
        let spec = RecordSpec::new("A", WWW, &ip(1));
        let record = cloudflare.add_record(&zone, spec.proxied());
        let edge = Edge::start(any(9), None, &cloudflare, options).unwrap();
        edge.origin_at(origin.addr());
        Self {
            cloudflare,
            zone,
            record,
            origin,
            edge,
        }
    }

    async fn ask(&self, host: &str, path: &str) -> reqwest::Result<Reply> {
        let url = format!("{}{path}", self.edge.url());
        reply(support::client().get(url).header("host", host)).await
    }

    async fn visit(&self) -> Reply {
        self.ask(WWW, "/").await.unwrap()
    }

    /// What a visitor gets while the origin behaves like this.
    async fn behind(&self, behaviour: Behaviour) -> u16 {
        self.origin.set(behaviour).await.unwrap();
        self.visit().await.status
    }
}

#[tokio::test]
async fn a_visitor_gets_the_origins_answer_and_cloudflares_headers() {
    let stage = Stage::new();
    let up = Behaviour::Up {
        status: 404,
        body: "not here".into(),
        headers: vec![("x-origin".into(), "main".into())],
    };
    stage.origin.set(up).await.unwrap();
    let answer = stage.ask("WWW.example.com:80", "/a?b=c").await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (404, "not here"));
    assert_eq!(answer.header("x-origin"), "main");
    assert_eq!(answer.header("server"), "cloudflare");
    assert_eq!(answer.header("cf-cache-status"), "DYNAMIC");
    assert_eq!(answer.header("cf-ray"), "0000000000000001-SBX");
    let seen = stage.origin.last_request().unwrap();
    assert_eq!(seen.path, "/a?b=c");
    assert_eq!(seen.host.as_deref(), Some("WWW.example.com:80"));
    assert_eq!(seen.headers["cf-ray"], answer.header("cf-ray"));
    assert_eq!(seen.headers["cf-connecting-ip"], "127.0.0.1");
    assert_eq!(stage.edge.requests(), 1);
    assert_eq!(stage.edge.last_request().unwrap().path, "/a?b=c");
}

#[tokio::test]
async fn a_body_is_passed_on_as_it_comes_and_cut_where_it_is_cut() {
    let stage = Stage::new();
    let huge = Behaviour::Huge { bytes: 3_000_000 };
    stage.origin.set(huge).await.unwrap();
    assert_eq!(stage.visit().await.text.len(), 3_000_000);
    stage.origin.set(Behaviour::CutMidAnswer).await.unwrap();
    let cut = stage.ask(WWW, "/").await;
    assert!(cut.is_err_and(|error| error.is_body() || error.is_decode()));
}

#[tokio::test]
async fn a_changed_record_moves_visitors_once_the_edge_has_seen_it() {
    let stage = Stage::new();
    let other = Origin::start(any(2), None).unwrap();
    other.set(Behaviour::body("other")).await.unwrap();
    stage.edge.origin_at(other.addr());
    let propagation = Duration::from_secs(1);
    stage.cloudflare.configure(|o| o.propagation = propagation);
    assert!(stage.cloudflare.edit(&stage.record, &ip(2)));
    assert_eq!(stage.visit().await.text, "ok");
    sleep(propagation).await;
    assert_eq!(stage.visit().await.text, "other");

    // A load balancer of the same name goes before the record.
    stage.cloudflare.shadow(WWW, Some(&[&ip(1)]));
    assert_eq!(stage.visit().await.text, "ok");
    stage.cloudflare.shadow(WWW, None);
    assert_eq!(stage.visit().await.text, "other");
}

#[tokio::test]
async fn an_origin_that_fails_has_its_status() {
    let stage = Stage::with(
        None,
        edge::Options {
            answer_timeout: SHORT,
            ..edge::Options::default()
        },
    );
    for (behaviour, status) in [
        (Behaviour::up(), 200),
        (Behaviour::status(503), 503),
        (Behaviour::Cutting, 520),
        (Behaviour::Refusing, 521),
        (Behaviour::Swallowing, 522),
        (Behaviour::Hanging, 524),
        (Behaviour::up(), 200),
    ] {
        assert_eq!(
            stage.behind(behaviour.clone()).await,
            status,
            "{behaviour:?}"
        );
    }
    // Nothing leaves the machine.
    stage.cloudflare.edit(&stage.record, "192.0.2.1");
    let answer = stage.visit().await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (523, "error code: 523")
    );
    assert!(answer.header("cf-ray").ends_with("-SBX"));
    assert_eq!(answer.header("cf-cache-status"), "");
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_1016() {
    let stage = Stage::new();
    let add = |name: &str, content: &str| {
        let spec = RecordSpec::new("CNAME", name, content);
        stage.cloudflare.add_record(&stage.zone, spec.proxied());
    };
    add("alias.example.com", WWW);
    add("gone.example.com", "gone.example.net");
    add("round.example.com", "round.example.com");
    let visit = async |host: &str| stage.ask(host, "/").await.unwrap();
    assert_eq!(visit("alias.example.com").await.status, 200);
    for host in ["gone.example.com", "round.example.com", "other.example.com"] {
        let answer = visit(host).await;
        let expected = (530, "error code: 1016");
        assert_eq!((answer.status, answer.text.as_str()), expected, "{host}");
    }
}

#[tokio::test]
async fn origins_are_asked_over_tls_if_wanted_and_must_have_a_certificate() {
    let authority = Authority::new();
    let status = async |tls: Option<Tls>| {
        let options = edge::Options {
            trust: Some(authority.trust()),
            ..edge::Options::default()
        };
        let stage = Stage::with(tls, options);
        let status = stage.visit().await.status;
        let seen = stage.origin.last_request();
        (status, seen.and_then(|seen| seen.server_name))
    };
    let name = Some(WWW.to_owned());
    assert_eq!(status(Some(authority.issue(&[WWW]))).await, (200, name));
    for bad in [
        authority.issue(&["other.example.com"]),
        authority.issue_expired(&[WWW]),
        Tls::self_signed(&[WWW]),
    ] {
        assert_eq!(status(Some(bad)).await, (526, None));
    }
    // Plain HTTP on that port.
    assert_eq!(status(None).await, (525, None));
}

#[tokio::test]
async fn an_edge_answers_by_itself_when_told_to() {
    let stage = Stage::new();
    stage.edge.set(Conduct::Cached);
    let cached = stage.visit().await;
    assert_eq!(
        (cached.status, cached.header("cf-cache-status")),
        (200, "HIT")
    );

    stage.edge.set(Conduct::Challenging);
    let challenged = stage.visit().await;
    let header = challenged.header("cf-mitigated");
    assert_eq!((challenged.status, header), (403, "challenge"));

    stage.edge.set(Conduct::Failing(500));
    let failed = stage.visit().await;
    assert_eq!(
        (failed.status, failed.text.as_str()),
        (500, "error code: 500")
    );

    stage.edge.set(Conduct::Hanging);
    let hanging = tokio::time::timeout(SHORT, stage.visit()).await;
    assert!(hanging.is_err());
    assert_eq!((stage.edge.requests(), stage.origin.hits()), (4, 0));

    stage.edge.set(Conduct::Forwarding);
    assert_eq!(stage.visit().await.text, "ok");
}

#[tokio::test]
async fn an_edge_with_a_certificate_is_visited_over_tls() {
    let stage = Stage::new();
    let authority = Authority::new();
    let tls = Some(authority.issue(&[WWW]));
    let options = edge::Options {
        port: stage.origin.addr().port(),
        ..edge::Options::default()
    };
    let edge = Edge::start(any(9), tls, &stage.cloudflare, options).unwrap();
    assert_eq!(edge.url(), format!("https://{}", edge.addr()));
    let client = reqwest::Client::builder()
        .no_proxy()
        .resolve(WWW, edge.addr())
        .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()]);
    let url = format!("https://{WWW}:{}/", edge.addr().port());
    let answer = reply(client.build().unwrap().get(url)).await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (200, "ok"));
    let seen = edge.last_request().unwrap();
    assert_eq!(seen.server_name.as_deref(), Some(WWW));
}

#[tokio::test]
async fn an_edge_that_is_stopped_or_dropped_refuses() {
    let stage = Stage::new();
    assert_eq!(stage.visit().await.status, 200);
    stage.edge.stop().await;
    stage.edge.stop().await;
    assert!(stage.ask(WWW, "/").await.is_err_and(|e| e.is_connect()));

    let options = edge::Options::default();
    let edge = Edge::start(any(9), None, &stage.cloudflare, options).unwrap();
    let url = edge.url();
    drop(edge);
    let deadline = Instant::now() + Duration::from_secs(10);
    while support::client().get(&url).send().await.is_ok() {
        assert!(Instant::now() < deadline, "it still answers");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_edge_of_a_world_leads_where_its_record_does() {
    let mut world = support::server::World::new().await;
    let edge = world.edge();
    world.configure();
    let config = originswitch::config::load(&world.folder.config(), []).unwrap();
    let settings = &config.sites[0].edge;
    assert!(settings.probe);
    assert_eq!(settings.address.as_ref().unwrap().to_string(), edge.url());
    let visit = async || {
        let visit = support::client().get(edge.url()).header("host", WWW);
        visit.send().await.unwrap().status().as_u16()
    };
    assert_eq!(visit().await, 200);
    assert_eq!((world.main.hits(), world.backup.hits()), (1, 0));
    assert!(world.cloudflare.edit(&world.record, &world.backup_ip()));
    assert_eq!(visit().await, 200);
    assert_eq!((world.main.hits(), world.backup.hits()), (1, 1));
}
