//! Simulated origins behave as broken servers do.

mod support;

use std::time::{Duration, Instant};

use originswitch::sandbox::{Authority, Behaviour, Origin, Tls};
use reqwest::{Certificate, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);

fn start(tls: Option<Tls>) -> Origin {
    Origin::start("127.0.0.1:0".parse().unwrap(), tls).unwrap()
}

async fn started(behaviour: Behaviour) -> (Origin, String) {
    let origin = start(None);
    origin.set(behaviour).await.unwrap();
    let url = format!("http://{}/", origin.addr());
    (origin, url)
}

#[tokio::test]
async fn an_origin_answers_and_remembers_what_it_was_asked() {
    let origin = start(None);
    let url = format!("http://{}/health?deep=1", origin.addr());
    let request = support::client()
        .head(url)
        .header("host", "www.example.com");
    let response = request.header("x-probe", "1").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = origin.last_request().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("HEAD", "/health?deep=1")
    );
    assert_eq!(seen.host.as_deref(), Some("www.example.com"));
    assert_eq!(seen.headers["x-probe"], "1");
    assert_eq!((origin.hits(), origin.requests()), (1, 1));
}

#[tokio::test]
async fn status_body_and_headers_change_at_any_moment() {
    let (origin, url) = started(Behaviour::status(503)).await;
    // One connection for all: what counts is when the request comes.
    let client = Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 503);
    origin.set(Behaviour::body("hello")).await.unwrap();
    let hello = client.get(&url).send().await.unwrap();
    assert_eq!(hello.text().await.unwrap(), "hello");
    origin
        .set(Behaviour::with_header("cf-ray", "1-SYD"))
        .await
        .unwrap();
    let cdn = client.get(&url).send().await.unwrap();
    assert_eq!(cdn.headers()["cf-ray"], "1-SYD");
}

#[tokio::test]
async fn a_redirect_names_its_target() {
    let to = "http://192.0.2.1/".to_owned();
    let (_origin, url) = started(Behaviour::Redirect { to: to.clone() }).await;
    let response = support::client().get(url).send().await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["location"].to_str().unwrap()
        ),
        (302, to.as_str())
    );
}

#[tokio::test]
async fn a_refusing_origin_closes_its_port_and_opens_the_same_again() {
    let (origin, url) = started(Behaviour::up()).await;
    // An idle connection is closed with the port.
    let mut open = TcpStream::connect(origin.addr()).await.unwrap();
    for _ in 0..3 {
        origin.set(Behaviour::Refusing).await.unwrap();
        let error = TcpStream::connect(origin.addr()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        origin.set(Behaviour::up()).await.unwrap();
        assert_eq!(
            support::client().get(&url).send().await.unwrap().status(),
            200
        );
    }
    let end = timeout(SHORT, open.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_swallowing_origin_lets_connecting_time_out() {
    let (origin, url) = started(Behaviour::Swallowing).await;
    for _ in 0..3 {
        assert!(
            timeout(SHORT, TcpStream::connect(origin.addr()))
                .await
                .is_err()
        );
    }
    origin.set(Behaviour::up()).await.unwrap();
    assert_eq!(
        support::client().get(&url).send().await.unwrap().status(),
        200
    );
    origin.set(Behaviour::Swallowing).await.unwrap();
    assert!(
        timeout(SHORT, TcpStream::connect(origin.addr()))
            .await
            .is_err()
    );
    origin.set(Behaviour::Refusing).await.unwrap();
    assert!(TcpStream::connect(origin.addr()).await.is_err());
}

#[tokio::test]
async fn a_hanging_origin_takes_the_request_and_a_mute_one_does_not() {
    let (origin, url) = started(Behaviour::Hanging).await;
    assert!(
        timeout(SHORT, support::client().get(&url).send())
            .await
            .is_err()
    );
    assert_eq!((origin.hits(), origin.requests()), (1, 1));
    origin.set(Behaviour::Mute).await.unwrap();
    assert!(
        timeout(SHORT, support::client().get(&url).send())
            .await
            .is_err()
    );
    assert_eq!((origin.hits(), origin.requests()), (2, 1));
}

#[tokio::test]
async fn a_cutting_origin_resets_the_connection() {
    let (origin, _) = started(Behaviour::Cutting).await;
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    let end = timeout(SHORT, stream.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_can_be_cut_after_its_head() {
    let (_origin, url) = started(Behaviour::CutMidAnswer).await;
    let response = support::client().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn an_answer_can_come_late() {
    let (_origin, url) = started(Behaviour::Delay(SHORT)).await;
    let start = Instant::now();
    assert_eq!(
        support::client().get(url).send().await.unwrap().status(),
        200
    );
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn an_answer_can_drip() {
    let byte_every = Duration::from_millis(5);
    let (origin, _) = started(Behaviour::Drip { byte_every }).await;
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reads = 0;
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        reads += 1;
        text.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("ok"),
        "{text}"
    );
    assert!(
        reads > text.len() / 2,
        "{reads} reads for {} bytes",
        text.len()
    );
}

#[tokio::test]
async fn a_huge_body_is_never_held_in_memory() {
    let bytes = 1 << 30;
    let (_origin, url) = started(Behaviour::Huge { bytes }).await;
    let mut response = support::client().get(url).send().await.unwrap();
    assert_eq!(response.content_length(), Some(bytes));
    let mut read = 0;
    while read < 10_000_000 {
        read += response.chunk().await.unwrap().unwrap().len();
    }
    let (_origin, url) = started(Behaviour::Huge { bytes: 100_000 }).await;
    let small = support::client().get(url).send().await.unwrap();
    assert_eq!(small.bytes().await.unwrap().len(), 100_000);
}

/// A client that trusts `pem` and finds the name at the origin.
fn trusting(pem: &str, origin: &Origin) -> Client {
    let certificate = Certificate::from_pem(pem.as_bytes()).unwrap();
    Client::builder()
        .no_proxy()
        .tls_certs_only([certificate])
        .resolve("www.example.com", origin.addr())
        .build()
        .unwrap()
}

async fn over_tls(client: &Client, origin: &Origin) -> reqwest::Result<reqwest::Response> {
    let port = origin.addr().port();
    client
        .get(format!("https://www.example.com:{port}/"))
        .send()
        .await
}

#[tokio::test]
async fn an_origin_speaks_tls_with_a_certificate_of_the_authority() {
    let authority = Authority::new();
    let origin = start(Some(authority.issue(&["www.example.com"])));
    let client = trusting(&authority.pem(), &origin);
    assert_eq!(over_tls(&client, &origin).await.unwrap().status(), 200);
    let seen = origin.last_request().unwrap();
    assert_eq!(seen.server_name.as_deref(), Some("www.example.com"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    authority.write_pem(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), authority.pem());
}

#[tokio::test]
async fn wrong_certificates_are_wrong() {
    let authority = Authority::new();
    let own = Tls::self_signed(&["www.example.com"]);
    for (tls, why) in [
        (authority.issue_expired(&["www.example.com"]), "Expired"),
        (authority.issue(&["other.example.com"]), "NotValidForName"),
        (own.clone(), "UnknownIssuer"),
        (
            Authority::new().issue(&["www.example.com"]),
            "UnknownIssuer",
        ),
    ] {
        let origin = start(Some(tls));
        let error = over_tls(&trusting(&authority.pem(), &origin), &origin)
            .await
            .unwrap_err();
        assert!(format!("{error:?}").contains(why), "{why}: {error:?}");
    }
    let origin = start(Some(own.clone()));
    let trusted = over_tls(&trusting(own.pem(), &origin), &origin).await;
    assert_eq!(trusted.unwrap().status(), 200);
}

#[tokio::test]
async fn misbehaviour_works_over_tls_too() {
    let authority = Authority::new();
    let origin = start(Some(authority.issue(&["www.example.com"])));
    let client = trusting(&authority.pem(), &origin);
    let byte_every = Duration::from_millis(1);
    origin.set(Behaviour::Drip { byte_every }).await.unwrap();
    let dripped = over_tls(&client, &origin).await.unwrap();
    assert_eq!(dripped.text().await.unwrap(), "ok");
    let client = trusting(&authority.pem(), &origin);
    origin.set(Behaviour::Hanging).await.unwrap();
    assert!(timeout(SHORT, over_tls(&client, &origin)).await.is_err());
    origin.set(Behaviour::Mute).await.unwrap();
    assert!(timeout(SHORT, over_tls(&client, &origin)).await.is_err());
    assert_eq!((origin.hits(), origin.requests()), (3, 2));
}
