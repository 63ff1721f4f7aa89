//! Peers that send half a request, and who may ask what.

use crate::common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Opens connections that each send this and no more.
async fn stuck(server: &Server, half: &str, many: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn half_a_request_holds_nothing_up() {
    let world = World::new().await;
    let mut server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let _nothing = stuck(&server, "", 20).await;
    let _head = stuck(&server, "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Ha", 20).await;
    let head = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"alerts\":[";
    let _body = stuck(&server, head, 20).await;
    let head = "POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"al";
    let _chunk = stuck(&server, head, 20).await;
    let large = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n{";
    let _large = stuck(&server, large, 3).await;

    // Alerts and scrapes come through, and the site is moved.
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    assert!(world.on_backup());
    assert_eq!(server.get("/metrics").await.status, 200);
    assert_eq!(server.get("/-/healthy").await.status, 200);
    // Neither do they keep it from ending.
    assert_eq!(server.term().await, Some(0));
}

#[tokio::test]
async fn half_a_request_is_given_up_after_a_while() {
    let world = World::new().await;
    let server = world.serve().await;
    let head = stuck(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Ha", 1).await;
    let half = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{";
    let body = stuck(&server, half, 1).await;
    for mut stream in head.into_iter().chain(body) {
        let mut rest = String::new();
        let end = tokio::time::timeout(
            std::time::Duration::from_secs(30),
            stream.read_to_string(&mut rest),
        );
        assert!(end.await.is_ok(), "the connection is closed");
        assert!(!rest.starts_with("HTTP/1.1 2"), "{rest}");
    }
}

#[tokio::test]
async fn without_a_token_the_api_is_for_this_machine_alone() {
    let world = World::new().await;
    let server = world.serve().await;
    let evaluate = format!("/api/v1/sites/{SITE}/evaluate");
    let calls = [
        ("GET", "/"),
        ("GET", "/api/v1/sites"),
        ("GET", "/api/v1/sites/www"),
        ("GET", "/api/v1/decisions"),
        ("POST", &evaluate),
        ("POST", "/-/reload"),
    ];
    for (method, path) in calls {
        assert_eq!(call(&server, method, path).await.status, 200, "{path}");
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("cf-connecting-ip", "192.0.2.1"),
            ("via", "1.1 proxy"),
        ] {
            let reply = send(request(&server, method, path).header(name, value)).await;
            refused(&reply, 403);
        }
    }
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        let reply = request(&server, "GET", path).header("x-forwarded-for", "192.0.2.1");
        assert_eq!(send(reply).await.status, 200, "{path} is for everybody");
    }
}

#[tokio::test]
async fn an_admin_token_is_asked_of_everybody() {
    let mut world = World::new().await;
    world.more = "[server]\nadmin_token_file = \"admin\"\n".into();
    std::fs::write(world.folder.path("admin"), "s3cret-admin\n").unwrap();
    world.configure();
    let server = world.folder.serve().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/v1/sites"),
        ("GET", "/api/v1/sites/nobody"),
        ("GET", "/api/v1/decisions"),
        ("POST", "/api/v1/sites/www/evaluate"),
        ("POST", "/-/reload"),
    ] {
        let ask = || request(&server, method, path);
        for bad in [
            ask(),
            ask().bearer_auth("guess"),
            ask().basic_auth("a", Some("b")),
        ] {
            let reply = send(bad).await;
            refused(&reply, 401);
            let ways = header(&reply, "www-authenticate");
            assert!(ways.contains("Bearer") && ways.contains("Basic"), "{ways}");
        }
        // With the token also through a proxy.
        for good in [
            ask().bearer_auth("s3cret-admin"),
            ask().basic_auth("me", Some("s3cret-admin")),
            ask()
                .bearer_auth("s3cret-admin")
                .header("x-forwarded-for", "192.0.2.1"),
        ] {
            let expected = if path.ends_with("nobody") { 404 } else { 200 };
            assert_eq!(send(good).await.status, expected, "{path}");
        }
    }
    for path in ["/metrics", "/-/healthy"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // The webhook has no token of its own here.
    assert_eq!(server.post_alert(SITE, "resolved").await.status, 200);
    assert!(!server.log().contains("s3cret"));
}
