//! The webhook as a protocol: what is answered, to whom, and how much is taken.

use crate::common::*;
use crate::support::server;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn hook() -> Value {
    json!({"version": "4", "alerts": [alert(SITE, "resolved")]})
}

#[tokio::test]
async fn the_answer_says_what_was_accepted_and_comes_before_any_probe() {
    let mut world = World::new().await;
    world.more = "[site.probe]\ninterval = \"1m\"\n".into();
    let server = world.serve_on_main().await;
    let wanted = json!({"accepted": [{"site": SITE, "alerts": 1}], "unmatched": 0});
    // A confirmation of a silent origin takes seconds; the answer does not wait.
    let silent = originswitch::sandbox::Behaviour::Hanging;
    world.main.set(silent).await.unwrap();
    for path in ["/webhook", "/webhook/"] {
        for method in ["POST", "PUT"] {
            let reply = send(request(&server, method, path).json(&hook())).await;
            assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
            assert_eq!(reply.json(), wanted, "{method} {path}");
        }
    }
    let site = server.site(SITE).await;
    assert_eq!(site["last_decision"]["reason"], "on_main", "{site}");
    let bare = server.post("/webhook", json!({"alerts": []})).await;
    assert_eq!(bare.json(), json!({"accepted": [], "unmatched": 0}));
    let newer = json!({"version": "5", "new": {"member": 1}, "alerts": [alert(SITE, "resolved")]});
    assert_eq!(server.post("/webhook", newer).await.json(), wanted);
    // Neither the type nor its absence is a reason to refuse.
    for kind in ["text/plain", "application/json; charset=utf-8", ""] {
        let mut request = request(&server, "POST", "/webhook").body(hook().to_string());
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        assert_eq!(send(request).await.json(), wanted, "{kind:?}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_nothing_is_redirected() {
    let world = World::new().await;
    let server = world.serve().await;
    for path in ["/webhook", "/webhook/"] {
        for method in ["GET", "HEAD", "DELETE", "PATCH"] {
            let reply = call(&server, method, path).await;
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            let allowed = header(&reply, "allow");
            assert!(
                allowed.contains("POST") && allowed.contains("PUT"),
                "{allowed}"
            );
            if method != "HEAD" {
                refused(&reply, 405);
            }
        }
    }
    for path in [
        "/",
        "//",
        "/webhook//",
        "/metrics/",
        "/api",
        "/api/v1/",
        "/-/ready/",
    ] {
        let status = call(&server, "GET", path).await.status;
        assert!(!(300..400).contains(&status), "{path}: {status}");
        let status = send(request(&server, "POST", path).json(&hook()))
            .await
            .status;
        assert!(!(300..400).contains(&status), "{path}: {status}");
    }
    let metrics = server.metrics().await;
    let refusals = metrics.get("webhook_requests_total", &[("code", "405")]);
    assert_eq!(refusals, Some(8.0));
}

#[tokio::test]
async fn wait_answers_when_the_sites_are_decided() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let answer = post_alerts(&server, "?wait=15s", json!([alert(SITE, "resolved")])).await;
    let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["accepted", "decisions", "pending", "unmatched"]);
    assert_eq!(answer["accepted"], json!([{"site": SITE, "alerts": 1}]));
    assert_eq!(answer["pending"], json!([]));
    assert_eq!(answer["decisions"][0]["site"], SITE, "{answer}");
    assert_eq!(answer["decisions"][0]["reason"], "on_main", "{answer}");

    let none = post_alerts(&server, "?wait=15s", json!([alert("nobody", "firing")])).await;
    let wanted = json!({"accepted": [], "decisions": [], "pending": [], "unmatched": 1});
    assert_eq!(none, wanted);

    // Not decided in time: its name is given, and the decision comes later.
    world.kill_main().await;
    let soon = post_alerts(&server, "?wait=1ms", json!([alert(SITE, "firing")])).await;
    assert_eq!(soon["pending"], json!([SITE]), "{soon}");
    assert_eq!(soon["decisions"], json!([]), "{soon}");
    decided(&server, SITE, "failover").await;
}

#[tokio::test]
async fn a_wait_that_makes_no_sense_is_refused() {
    let world = World::new().await;
    let server = world.serve().await;
    for wait in ["61s", "2m", "soon", "-1s", "15", "", "1h", "15s,15s"] {
        let reply = server.post(&format!("/webhook?wait={wait}"), hook()).await;
        let sentence = refused(&reply, 400);
        assert!(sentence.contains("wait"), "{wait}: {sentence}");
    }
    let longest = server.post("/webhook?wait=60s", hook()).await;
    assert_eq!(longest.status, 200);
    let other = server.post("/webhook?other=1", hook()).await;
    assert_eq!(other.status, 200, "not ours to judge");
}

#[tokio::test]
async fn a_body_that_is_no_webhook_is_refused_in_a_sentence() {
    let world = World::new().await;
    let server = world.serve().await;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let bodies = [
        "",
        "{",
        "alerts",
        "null",
        "[]",
        "42",
        "{}",
        "{\"alerts\":null}",
        "{\"alerts\":{}}",
        "{\"alerts\":\"x\"}",
        "\u{0}",
        "<html></html>",
        "{\"alerts\":[]}}",
        &deep,
    ];
    for body in bodies {
        let reply = send(request(&server, "POST", "/webhook").body(body.to_owned())).await;
        refused(&reply, 400);
    }
    let metrics = server.metrics().await;
    let refusals = metrics.get("webhook_requests_total", &[("code", "400")]);
    assert_eq!(refusals, Some(bodies.len() as f64));
}

#[tokio::test]
async fn a_webhook_token_is_asked_for() {
    let mut world = World::new().await;
    world.more = "[server]\nwebhook_token_file = \"hook\"\n".into();
    std::fs::write(world.folder.path("hook"), "  s3cret-hook\n").unwrap();
    let server = world.serve().await;
    let post = || request(&server, "POST", "/webhook").json(&hook());
    for bad in [
        post(),
        post().bearer_auth("s3cret-hoo"),
        post().bearer_auth("s3cret-hook2"),
        post().bearer_auth(""),
        post().basic_auth("alertmanager", Some("wrong")),
        post().basic_auth("s3cret-hook", None::<&str>),
        post().header("authorization", "s3cret-hook"),
    ] {
        let reply = send(bad).await;
        refused(&reply, 401);
        let ways = header(&reply, "www-authenticate");
        assert!(ways.contains("Bearer") && ways.contains("Basic"), "{ways}");
        assert!(!reply.text.contains("s3cret"), "{reply:?}");
    }
    for good in [
        post().bearer_auth("s3cret-hook"),
        post().basic_auth("anybody", Some("s3cret-hook")),
        post().basic_auth("", Some("s3cret-hook")),
    ] {
        assert_eq!(send(good).await.status, 200);
    }
    // The token is for the webhook alone.
    let api = request(&server, "GET", "/api/v1/sites").header("x-forwarded-for", "192.0.2.1");
    refused(&send(api.bearer_auth("s3cret-hook")).await, 403);
    assert!(!server.log().contains("s3cret"));
}

#[tokio::test]
async fn wait_is_only_for_callers_of_the_api() {
    let mut world = World::new().await;
    world.more = "[server]\nadmin_token_file = \"admin\"\nwebhook_token_file = \"hook\"\n".into();
    std::fs::write(world.folder.path("admin"), "s3cret-admin").unwrap();
    std::fs::write(world.folder.path("hook"), "s3cret-hook").unwrap();
    world.configure();
    let server = world.folder.serve().await;
    let post = |query| {
        let path = format!("/webhook{query}");
        request(&server, "POST", &path).json(&hook())
    };
    assert_eq!(send(post("").bearer_auth("s3cret-hook")).await.status, 200);
    let waits = send(post("?wait=15s").bearer_auth("s3cret-hook")).await;
    refused(&waits, 403);
    let reply = send(post("?wait=15s").bearer_auth("s3cret-admin")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["decisions"][0]["site"], SITE, "{reply:?}");
}

#[tokio::test]
async fn wait_is_not_for_those_behind_a_proxy() {
    let world = World::new().await;
    let server = world.serve().await;
    let from_afar = |path| {
        let request = request(&server, "POST", path).json(&hook());
        request.header("x-forwarded-for", "192.0.2.7")
    };
    refused(&send(from_afar("/webhook?wait=15s")).await, 403);
    assert_eq!(send(from_afar("/webhook")).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let mut world = World::new().await;
    world.more = "[server]\nmax_body = 10000\n".into();
    let server = world.serve().await;
    let padded = |length: usize| {
        let mut body = server::alert(SITE, "resolved").to_string();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    let post = || request(&server, "POST", "/webhook");
    assert_eq!(send(post().body(padded(10_000))).await.status, 200);
    let declared = send(post().body(padded(10_001))).await;
    assert!(refused(&declared, 413).contains("10000"));
    let chunks = |length| {
        let body = padded(length).into_bytes();
        let pieces: Vec<_> = body.chunks(1000).map(<[u8]>::to_vec).collect();
        let frames = pieces.into_iter().map(|piece| {
            let frame = hyper::body::Frame::data(bytes::Bytes::from(piece));
            Ok::<_, std::convert::Infallible>(frame)
        });
        let stream = futures_util::stream::iter(frames.collect::<Vec<_>>());
        reqwest::Body::wrap(http_body_util::StreamBody::new(stream))
    };
    assert_eq!(send(post().body(chunks(10_000))).await.status, 200);
    refused(&send(post().body(chunks(10_001))).await, 413);
    let metrics = server.metrics().await;
    let refusals = metrics.get("webhook_requests_total", &[("code", "413")]);
    assert_eq!(refusals, Some(2.0));
}

/// So many sites on the same two origins, and an alert for each.
fn many_sites(world: &World, number: usize) -> (String, Vec<Value>) {
    let (mut sites, mut alerts) = (String::new(), Vec::new());
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    for number in 0..number {
        let name = format!("site-{number}");
        let hostname = format!("{name}.example.com");
        add_record(world, &hostname, &world.main_ip());
        sites += &site(&name, &[&hostname], &tables, "");
        alerts.push(alert(&name, "firing"));
    }
    (sites, alerts)
}

#[tokio::test]
async fn a_webhook_is_answered_while_many_sites_are_confirmed() {
    let mut world = World::new().await;
    world.rule += "require_proof = false\n";
    // All sites share one silent address, which is not what this is about.
    world.probe += "max_per_address = 1000\n";
    let (sites, alerts) = many_sites(&world, 50);
    let server = serve(&world, &sites).await;
    let silent = originswitch::sandbox::Behaviour::Hanging;
    world.main.set(silent).await.unwrap();
    let begun = Instant::now();
    let answer = post_alerts(&server, "", json!(alerts)).await;
    assert_eq!(answer["accepted"].as_array().unwrap().len(), 50);
    // A confirmation takes a second and more; none was waited for.
    let moved = || world.changes_sent();
    assert!(moved() == 0 || begun.elapsed() > Duration::from_secs(1));
    server
        .wait_until("all are moved", async || moved() == 50)
        .await;
}

#[tokio::test]
async fn sites_whose_probes_wait_for_a_place_at_a_hung_address_leave_it_all_the_same() {
    let mut world = World::new().await;
    world.probe += "max_per_address = 2\n";
    let (sites, alerts) = many_sites(&world, 6);
    let server = serve(&world, &sites).await;
    for number in 0..6 {
        server
            .wait_reason(&format!("site-{number}"), "on_main")
            .await;
    }
    // Three probes of a second for each site, two at once: far longer than a
    // confirmation waits for what is not to be told.
    let hung = originswitch::sandbox::Behaviour::Hanging;
    world.main.set(hung).await.unwrap();
    post_alerts(&server, "", json!(alerts)).await;
    server
        .wait_until("all are moved", async || world.changes_sent() == 6)
        .await;
    let decisions = server.decisions().await;
    assert!(decisions.iter().all(|d| d["reason"] != "unconfirmed"));
}

/// All of a request but its last byte, over a connection of its own.
async fn hold_back_the_end(server: &server::Server, length: usize) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n",
        server.addr
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length - 1]).await.unwrap();
    stream
}

#[tokio::test]
async fn bodies_that_fill_the_memory_set_aside_for_them_have_the_rest_sent_again() {
    const EIGHT_MIB: usize = 8 * 1024 * 1024;
    let world = World::new().await;
    let server = world.serve().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold_back_the_end(&server, EIGHT_MIB).await);
    }
    let post = || request(&server, "POST", "/webhook").json(&hook());
    server
        .wait_until("there is no room left", async || {
            let reply = send(post()).await;
            reply.status == 503 && refused(&reply, 503).contains("send it again")
        })
        .await;
    // The room of one is given back with its connection.
    held.pop();
    server
        .wait_until("there is room again", async || {
            send(post()).await.status == 200
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_large_bodies_at_once_each_is_taken_or_to_be_sent_again() {
    let mut world = World::new().await;
    world.more = "[site.probe]\ninterval = \"1m\"\n".into();
    let server = world.serve_on_main().await;
    let (mine, other) = (alert(SITE, "firing"), alert("elsewhere", "firing"));
    let odd = json!(7);
    let alerts: Vec<_> = (0..20_000)
        .map(|n| if n % 2 == 0 { &mine } else { &other })
        .chain([&odd])
        .collect();
    let large = json!({ "alerts": alerts }).to_string();
    assert!(large.len() > 1024 * 1024);
    let posts = (0..12).map(|_| send(request(&server, "POST", "/webhook").body(large.clone())));
    let mut taken = 0;
    for reply in futures_util::future::join_all(posts).await {
        if reply.status == 200 {
            taken += 1;
            let wanted = json!({
                "accepted": [{"site": SITE, "alerts": 10_000}],
                "unmatched": 10_001,
            });
            assert_eq!(reply.json(), wanted);
        } else {
            assert!(refused(&reply, 503).contains("send it again"));
        }
    }
    assert!(taken >= 4, "{taken} of 12");
    let metrics = server.metrics().await;
    let received = metrics.get("alerts_received_total", &[("status", "firing")]);
    assert_eq!(received, Some(f64::from(20_000 * taken)));
}
