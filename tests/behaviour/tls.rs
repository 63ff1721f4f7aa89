//! Origins over TLS: whose certificate is believed, and what is asked for.

use crate::common::*;
use originswitch::sandbox::{Authority, Origin, Tls};

/// A site on an https MAIN with this certificate, and these keys of a probe.
async fn secure(world: &World, tls: Tls, keys: &str) -> (Server, Origin) {
    let main = origin(world, 30, Some(tls));
    world
        .cloudflare
        .edit(&world.record, &main.addr().ip().to_string());
    let more = format!(
        "kind = \"https\"{}{keys}",
        if keys.is_empty() { "" } else { ", " }
    );
    let tables = [table(&main, &more), table(&world.backup, "")];
    let server = serve(world, &site(SITE, &[HOSTNAME], &tables, "")).await;
    (server, main)
}

async fn world_without_proof() -> World {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"0s\"\nrequire_proof = false\n".into();
    world
}

/// MAIN is left, for this reason.
async fn left_for(tls: Tls, ca_file: Option<&Authority>, reason: &str) {
    let world = world_without_proof().await;
    let mut keys = "";
    if let Some(authority) = ca_file {
        authority.write_pem(world.folder.path("ca.pem")).unwrap();
        keys = "ca_file = \"ca.pem\"";
    }
    let (server, _main) = secure(&world, tls, keys).await;
    let decision = decided(&server, SITE, "failover").await;
    assert_like(decision["origins"][0]["reason"].as_str().unwrap(), reason);
    assert!(
        explanation(&decision).contains(": certificate: "),
        "{decision}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_named() {
    let authority = Authority::new();
    let tls = authority.issue(&["other.example.net", "www.example.net"]);
    let reason = "certificate: .*www.example.com.*other.example.net.*";
    left_for(tls, Some(&authority), reason).await;
}

#[tokio::test]
async fn an_expired_certificate_is_named() {
    let authority = Authority::new();
    let tls = authority.issue_expired(&[HOSTNAME]);
    left_for(tls, Some(&authority), "certificate: expired.*2020.*").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_named() {
    let authority = Authority::new();
    let reason = "certificate: unknown issuer.*ca_file.*";
    left_for(authority.issue(&[HOSTNAME]), None, reason).await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_named() {
    left_for(Tls::self_signed(&[HOSTNAME]), None, "certificate: .+").await;
}

#[tokio::test]
async fn ca_file_makes_an_origin_certificate_good() {
    let world = World::new().await;
    let authority = Authority::new();
    authority.write_pem(world.folder.path("ca.pem")).unwrap();
    let tls = authority.issue(&[HOSTNAME]);
    let (server, main) = secure(&world, tls, "ca_file = \"ca.pem\"").await;
    origin_is(&server, SITE, "main", "up").await;
    let seen = main.last_request().unwrap();
    assert_eq!(
        seen.server_name.as_deref(),
        Some(HOSTNAME),
        "TLS server name"
    );
    assert_eq!(seen.host.as_deref(), Some(HOSTNAME), "Host");
    let metrics = server.metrics().await;
    let handshakes = metrics.get("probe_duration_seconds_count", &[("phase", "tls")]);
    assert!(handshakes.unwrap() > 0.0);
}

#[tokio::test]
async fn host_is_the_server_name_too() {
    let world = World::new().await;
    let authority = Authority::new();
    authority.write_pem(world.folder.path("ca.pem")).unwrap();
    let tls = authority.issue(&["main.internal.example"]);
    let keys = "ca_file = \"ca.pem\", host = \"main.internal.example\"";
    let (server, main) = secure(&world, tls, keys).await;
    origin_is(&server, SITE, "main", "up").await;
    let seen = main.last_request().unwrap();
    assert_eq!(seen.server_name.as_deref(), Some("main.internal.example"));
    assert_eq!(seen.host.as_deref(), Some("main.internal.example"));
}

#[tokio::test]
async fn without_verify_tls_any_certificate_will_do() {
    let world = World::new().await;
    let tls = Tls::self_signed(&["nobody.example.net"]);
    let (server, _main) = secure(&world, tls, "verify_tls = false").await;
    origin_is(&server, SITE, "main", "up").await;
}

#[tokio::test]
async fn a_ca_file_that_went_away_is_our_own_fault() {
    let mut world = World::new().await;
    world.rule += "require_proof = false\n";
    let authority = Authority::new();
    let ca_file = world.folder.path("ca.pem");
    authority.write_pem(&ca_file).unwrap();
    let tls = authority.issue(&[HOSTNAME]);
    let (server, main) = secure(&world, tls, "ca_file = \"ca.pem\"").await;
    origin_is(&server, SITE, "main", "up").await;
    std::fs::remove_file(&ca_file).unwrap();
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_ne!(decision["action"], "switch", "{decision}");
    assert_ne!(decision["origins"][0]["state"], "down", "{decision}");
    assert_eq!(contents(&world, HOSTNAME), main.addr().ip().to_string());
}
