//! TLS: whose certificate, for which name, vouched for by whom.

use crate::origins::{
    Authority, OK, answering, answering_tls, https, listen, probe, server, settings,
};
use crate::{SHORT, answered, broken, timeout};
use originswitch::config::ProbeKind;
use originswitch::probe::Probes;
use originswitch::rule::address::Address;
use originswitch::rule::finding::{Finding, Phase};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

fn certificate(finding: &Finding) -> &str {
    match finding {
        Finding::Certificate(what) => what,
        other => panic!("{other}"),
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn an_unknown_issuer_is_down_with_a_hint_and_ca_file_makes_it_good() {
    let (ca, folder) = (Authority::new(), folder());
    let (at, heard) = answering_tls(ca.good(), OK).await;
    let alone = https(at, |_| {}).await;
    assert!(certificate(&alone).contains("if it is Cloudflare's origin certificate, set ca_file"));
    assert_eq!(heard.all(), [""; 0]);

    let sample = probe(ProbeKind::Https, at, |s| s.ca_file = ca.file(folder.path())).await;
    assert!(answered(&sample.finding), "{}", sample.finding);
    let phases = sample.phases;
    assert!(phases.connect.is_some() && phases.tls.is_some() && phases.response.is_some());
    let first: Vec<_> = heard.all().into_iter().take(5).collect();
    let expected = [
        "sni: Some(\"www.example.com\")",
        "alpn: Some([104, 116, 116, 112, 47, 49, 46, 49])",
        "handshake: Some(Full)",
        "GET / HTTP/1.1",
        "host: www.example.com",
    ];
    assert_eq!(first, expected);
}

#[tokio::test]
async fn each_probe_shakes_hands_in_full_so_that_it_sees_the_certificate() {
    let (ca, folder) = (Authority::new(), folder());
    let (at, heard) = answering_tls(ca.good(), OK).await;
    let mut settings = settings(ProbeKind::Https, at.port());
    settings.ca_file = ca.file(folder.path());
    let probe = Probes::new().build(&Address::from(at.ip()), &Arc::new(settings));
    for _ in 0..3 {
        assert!(answered(&probe.probe().await.finding));
    }
    let full = |line: &&String| *line == "handshake: Some(Full)";
    assert_eq!(heard.all().iter().filter(full).count(), 3);
}

#[tokio::test]
async fn a_certificate_for_other_names_is_down_and_names_them() {
    let (ca, folder) = (Authority::new(), folder());
    let config = ca.server(&["*.example.net", "shop.example.org"], (2020, 4000));
    let (at, _) = answering_tls(config, OK).await;
    let finding = https(at, |s| s.ca_file = ca.file(folder.path())).await;
    assert_eq!(
        certificate(&finding),
        "not valid for www.example.com; it is for *.example.net, shop.example.org"
    );
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_down_and_says_since_when() {
    let (ca, folder) = (Authority::new(), folder());
    for (years, expected) in [
        ((2020, 2024), "expired on 2024-01-01 00:00 UTC"),
        ((3000, 4000), "not valid before 3000-01-01 00:00 UTC"),
    ] {
        let (at, _) = answering_tls(ca.server(&["www.example.com"], years), OK).await;
        let finding = https(at, |s| s.ca_file = ca.file(folder.path())).await;
        assert_eq!(certificate(&finding), expected);
    }
}

#[tokio::test]
async fn a_self_signed_ca_in_the_servers_place_is_explained() {
    let mut params = CertificateParams::new(vec!["www.example.com".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let (at, _) = answering_tls(server(own.der().clone(), &key), OK).await;
    let finding = https(at, |_| {}).await;
    assert!(
        certificate(&finding).contains("openssl req -x509"),
        "{finding}"
    );
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_ca_file() {
    let folder = folder();
    let params = CertificateParams::new(vec!["www.example.com".into()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let path = folder.path().join("own.pem");
    std::fs::write(&path, own.pem()).unwrap();
    let (at, _) = answering_tls(server(own.der().clone(), &key), OK).await;
    let finding = https(at, |s| s.ca_file = Some(path)).await;
    assert!(answered(&finding), "{finding}");
}

#[tokio::test]
async fn without_verify_tls_any_certificate_will_do() {
    let ca = Authority::new();
    let (at, heard) = answering_tls(ca.server(&["other.example"], (2020, 2021)), OK).await;
    let finding = https(at, |s| {
        s.verify_tls = false;
        s.ca_file = Some("/does/not/matter.pem".into());
    });
    assert!(answered(&finding.await));
    assert!(heard.all().contains(&"host: www.example.com".into()));
}

#[tokio::test]
async fn a_host_that_is_an_address_is_checked_and_not_sent_as_a_name() {
    let (ca, folder) = (Authority::new(), folder());
    let (at, heard) = answering_tls(ca.server(&["192.0.2.7"], (2020, 4000)), OK).await;
    let finding = https(at, |s| {
        s.host = "192.0.2.7".into();
        s.ca_file = ca.file(folder.path());
    });
    assert!(answered(&finding.await));
    assert_eq!(heard.all()[0], "sni: None");
    assert!(heard.all().contains(&"host: 192.0.2.7".into()));
    let other = https(at, |s| {
        s.host = "192.0.2.8".into();
        s.ca_file = ca.file(folder.path());
    });
    assert_eq!(
        certificate(&other.await),
        "not valid for 192.0.2.8; it is for 192.0.2.7"
    );
}

#[tokio::test]
async fn a_ca_file_that_is_missing_or_empty_is_our_own_fault() {
    let (folder, ca) = (folder(), Authority::new());
    let (at, heard) = answering_tls(ca.good(), OK).await;
    let path = folder.path().join("none.pem");
    let found = |path: &Path| {
        let path = path.to_owned();
        async move { https(at, |s| s.ca_file = Some(path)).await.to_string() }
    };
    let named = format!("our own side: ca_file {}: ", path.display());
    let missing = found(&path).await;
    assert!(missing.starts_with(&named), "{missing}");
    std::fs::write(&path, "nothing here").unwrap();
    let expected = format!("{named}it holds no certificate in PEM form");
    assert_eq!(found(&path).await, expected);
    assert_eq!(heard.all(), [""; 0]);
}

#[tokio::test]
async fn a_ca_file_that_comes_changes_or_goes_is_noticed() {
    let (folder, old, new) = (folder(), Authority::new(), Authority::new());
    let (at, _) = answering_tls(new.good(), OK).await;
    let mut settings = settings(ProbeKind::Https, at.port());
    settings.ca_file = Some(folder.path().join("ca.pem"));
    let probe = Probes::new().build(&Address::from(at.ip()), &Arc::new(settings));
    let later = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
        probe.probe().await.finding
    };
    assert!(matches!(later().await, Finding::Local(_)));
    old.file(folder.path());
    assert!(matches!(later().await, Finding::Certificate(_)));
    std::fs::write(folder.path().join("ca.pem"), new.pem.clone() + "\n").unwrap();
    assert!(answered(&later().await));
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    // Not looked at again so soon.
    assert!(answered(&probe.probe().await.finding));
    assert!(matches!(later().await, Finding::Local(_)));
    new.file(folder.path());
    assert!(answered(&later().await));
}

#[tokio::test]
async fn an_origin_that_hangs_in_the_handshake_runs_out_of_time_in_tls() {
    let at = listen("127.0.1.1", |mut stream| async move {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
    })
    .await;
    let sample = probe(ProbeKind::Https, at, |s| s.timeout = SHORT).await;
    assert_eq!(sample.finding, timeout(Phase::Tls));
    assert!(sample.phases.tls.is_some() && sample.phases.response.is_none());
}

#[tokio::test]
async fn an_origin_that_hangs_up_in_the_handshake_is_broken() {
    let closing = listen("127.0.1.1", |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let expected = broken(Phase::Tls, "closed by the peer");
    assert_eq!(https(closing, |_| {}).await, expected);

    let resetting = listen("127.0.1.1", |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let expected = broken(Phase::Tls, "connection reset by the peer");
    assert_eq!(https(resetting, |_| {}).await, expected);
}

#[tokio::test]
async fn plain_http_on_the_https_port_is_explained() {
    let at = listen("127.0.1.1", |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    let expected = broken(
        Phase::Tls,
        "what came is not TLS; does this port speak plain http?",
    );
    assert_eq!(https(at, |_| {}).await, expected);
}

#[tokio::test]
async fn an_https_probe_of_a_silent_http_server_runs_out_of_time_in_tls() {
    let (at, _) = answering("127.0.1.1", OK).await;
    let finding = https(at, |s| s.timeout = SHORT).await;
    assert_eq!(finding, timeout(Phase::Tls));
}

#[tokio::test]
async fn a_server_that_wants_our_certificate_is_broken_with_its_alert() {
    let (ca, folder) = (Authority::new(), folder());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["www.example.com".into()]).unwrap();
    let own = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![own.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let path = folder.path().join("own.pem");
    std::fs::write(&path, own.pem()).unwrap();
    let (at, _) = answering_tls(config, OK).await;
    let expected = broken(
        Phase::Response,
        "the server sent the alert CertificateRequired",
    );
    assert_eq!(https(at, |s| s.ca_file = Some(path)).await, expected);
}

/// Set in the process that finds no system store.
const ALONE: &str = "ORIGINSWITCH_TEST_ALONE";

/// Starts itself again in a process that finds no system store.
#[tokio::test]
async fn a_machine_without_trust_anchors_works_with_ca_file_and_says_so_without() {
    if std::env::var_os(ALONE).is_some() {
        return on_a_machine_without_trust_anchors().await;
    }
    let name = "secure::a_machine_without_trust_anchors_works_with_ca_file_and_says_so_without";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "yes")
        .env("SSL_CERT_FILE", "/does/not/exist.pem")
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && told.contains("looked without anchors"),
        "{told}"
    );
}

async fn on_a_machine_without_trust_anchors() {
    let (ca, folder) = (Authority::new(), folder());
    let (at, _) = answering_tls(ca.good(), OK).await;
    let alone = https(at, |_| {}).await;
    assert!(matches!(alone, Finding::Local(_)), "{alone}");
    assert!(
        alone.to_string().contains("install ca-certificates"),
        "{alone}"
    );
    let helped = https(at, |s| s.ca_file = ca.file(folder.path())).await;
    assert!(answered(&helped), "{helped}");
    let lax = https(at, |s| s.verify_tls = false).await;
    assert!(answered(&lax), "{lax}");
    println!("looked without anchors");
}
