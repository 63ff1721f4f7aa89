//! Origins on loopback that behave and misbehave, and their certificates.

use originswitch::config::{ProbeKind, ProbeSettings, StatusSet};
use originswitch::probe::Probes;
use originswitch::prober::Sample;
use originswitch::rule::address::Address;
use originswitch::rule::finding::Finding;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// The lines that origins heard, in order.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for something to be heard, for a generous while.
    pub async fn wait_for(&self, what: &str) {
        for _ in 0..1000 {
            if self.all().iter().any(|line| line == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what:?} was never heard, but {:?}", self.all());
    }
}

/// Hands each connection to `serve`.
pub async fn listen<F, Fut>(ip: &str, serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let ip: IpAddr = ip.parse().unwrap();
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers each request with `answer`, and notes the lines of its head.
pub async fn answering(ip: &str, answer: impl Into<Vec<u8>>) -> (SocketAddr, Heard) {
    let (heard, answer) = (Heard::default(), answer.into());
    let noted = heard.clone();
    let address = listen(ip, move |stream| {
        speak(stream, noted.clone(), answer.clone())
    });
    (address.await, heard)
}

/// The same over TLS; notes the server name and protocol, too.
pub async fn answering_tls(config: ServerConfig, answer: &str) -> (SocketAddr, Heard) {
    let (heard, answer) = (Heard::default(), answer.as_bytes().to_vec());
    let (noted, acceptor) = (heard.clone(), TlsAcceptor::from(Arc::new(config)));
    let address = listen("127.0.1.1", move |stream| {
        let (acceptor, noted, answer) = (acceptor.clone(), noted.clone(), answer.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let tls = stream.get_ref().1;
            noted.note(format!("sni: {:?}", tls.server_name()));
            noted.note(format!("alpn: {:?}", tls.alpn_protocol()));
            noted.note(format!("handshake: {:?}", tls.handshake_kind()));
            speak(stream, noted, answer).await;
        }
    });
    (address.await, heard)
}

async fn speak<S>(mut stream: S, heard: Heard, answer: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    read_head(&mut stream, &heard).await;
    let _ = stream.write_all(&answer).await;
    let _ = stream.flush().await;
    // To the end of the connection, from whichever side it comes.
    let _ = stream.read(&mut [0; 16]).await;
    heard.note("closed");
}

/// Reads a request's head.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, heard: &Heard) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    for line in String::from_utf8(head).unwrap().lines() {
        heard.note(line);
    }
}

/// A listener whose queue is full, so that the kernel drops what is sent to
/// it; full as long as the streams live.
pub async fn swallowing() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.1.9:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 64, "the queue is never full");
    }
    (address, listener, queued)
}

/// Settings with defaults that suit a test.
pub fn settings(kind: ProbeKind, port: u16) -> ProbeSettings {
    ProbeSettings {
        kind,
        port,
        path: "/".into(),
        method: "GET".into(),
        host: "www.example.com".into(),
        headers: BTreeMap::new(),
        expect_status: StatusSet(vec![(200, 399)]),
        expect_body: None,
        timeout: Duration::from_secs(20),
        interval: Duration::from_secs(10),
        verify_tls: true,
        ca_file: None,
    }
}

/// One probe of `at`, with settings changed by `change`.
pub async fn probe(
    kind: ProbeKind,
    at: SocketAddr,
    change: impl FnOnce(&mut ProbeSettings),
) -> Sample {
    let mut settings = settings(kind, at.port());
    change(&mut settings);
    let probe = Probes::new().build(&Address::from(at.ip()), &Arc::new(settings));
    probe.probe().await
}

/// The finding alone, of an http probe.
pub async fn http(at: SocketAddr, change: impl FnOnce(&mut ProbeSettings)) -> Finding {
    probe(ProbeKind::Http, at, change).await.finding
}

/// The finding alone, of an https probe.
pub async fn https(at: SocketAddr, change: impl FnOnce(&mut ProbeSettings)) -> Finding {
    probe(ProbeKind::Https, at, change).await.finding
}

/// A certificate authority of our own.
pub struct Authority {
    pub pem: String,
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A server with a certificate for `names`, valid in `years`.
    pub fn server(&self, names: &[&str], years: (i32, i32)) -> ServerConfig {
        let names: Vec<String> = names.iter().map(|n| (*n).into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(certificate.der().clone(), &key)
    }

    /// A server with a good certificate for www.example.com.
    pub fn good(&self) -> ServerConfig {
        self.server(&["www.example.com"], (2020, 4000))
    }

    /// Its own certificate in a file.
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join("ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        Some(path)
    }
}

/// A server with this certificate.
pub fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
