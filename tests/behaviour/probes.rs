//! What counts as accessible, and what it takes to be believed.

use crate::common::*;
use axum::http::StatusCode;
use originswitch::sandbox::{Behaviour, Origin};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a MAIN does, and like what the reason for leaving it reads.
struct Case {
    name: &'static str,
    behaviour: Behaviour,
    keys: &'static str,
    reason: &'static str,
}

fn case(
    name: &'static str,
    behaviour: Behaviour,
    keys: &'static str,
    reason: &'static str,
) -> Case {
    Case {
        name,
        behaviour,
        keys,
        reason,
    }
}

/// One server, a site for each case: what became of each.
async fn all_at_once(cases: Vec<Case>) -> (World, Server, Vec<(Case, Origin)>) {
    let mut world = World::new().await;
    world.rule = "confirm_for = \"0s\"\nrequire_proof = false\nfailback_after = \"1h\"".into();
    let mut sites = String::new();
    let mut played = Vec::new();
    for (host, case) in (30..).zip(cases) {
        let main = origin(&world, host, None);
        main.set(case.behaviour.clone()).await.unwrap();
        let name = format!("{}.example.com", case.name);
        add_record(&world, &name, &main.addr().ip().to_string());
        let tables = [table(&main, case.keys), table(&world.backup, "")];
        sites += &site(case.name, &[&name], &tables, "");
        played.push((case, main));
    }
    let server = serve(&world, &sites).await;
    (world, server, played)
}

#[tokio::test]
async fn an_origin_can_be_down_in_many_ways() {
    let never = Duration::from_secs(600);
    let drip = Behaviour::Drip {
        byte_every: Duration::from_millis(100),
    };
    let redirect = Behaviour::Redirect {
        to: "https://elsewhere.example.net/".into(),
    };
    let timeout = "response: no answer within 1s";
    let (world, server, cases) = all_at_once(vec![
        case(
            "refusing",
            Behaviour::Refusing,
            "",
            "connect: connection refused",
        ),
        case(
            "swallowing",
            Behaviour::Swallowing,
            "",
            "connect: no answer within 1s",
        ),
        case("hanging", Behaviour::Hanging, "", timeout),
        case("mute", Behaviour::Mute, "", timeout),
        case("late", Behaviour::Delay(never), "", timeout),
        case("dripping", drip, "", timeout),
        case("cutting", Behaviour::Cutting, "", "(connect|response): .+"),
        case(
            "half",
            Behaviour::CutMidAnswer,
            "expect_body = \"end\"",
            "response: .+",
        ),
        case(
            "failing",
            Behaviour::status(503),
            "",
            "status 503 is not expected",
        ),
        case(
            "strict",
            Behaviour::status(204),
            "expect_status = [\"200\"]",
            "status 204 .+",
        ),
        case(
            "redirecting",
            redirect,
            "expect_status = [\"200\"]",
            "status 302 .*https://elsewhere.example.net/, not followed.*",
        ),
        case(
            "other-body",
            Behaviour::body("parked"),
            "expect_body = \"welcome\"",
            "body .+",
        ),
        case("no-tls", Behaviour::up(), "kind = \"https\"", "tls: .+"),
        case(
            "tcp",
            Behaviour::Refusing,
            "kind = \"tcp\"",
            "connect: connection refused",
        ),
    ])
    .await;
    for (case, main) in cases {
        let decision = decided(&server, case.name, "failover").await;
        let seen = &decision["origins"][0];
        assert_eq!(seen["state"], "down", "{decision}");
        assert_like(seen["reason"].as_str().unwrap(), case.reason);
        let name = format!("{}.example.com", case.name);
        assert_eq!(contents(&world, &name), world.backup_ip(), "{decision}");
        let wanted = format!(
            "main \\({}\\) is down: {}, [0-9]+ of [0-9]+ probes; backup .+",
            main.addr().ip(),
            case.reason
        );
        assert_like(explanation(&decision), &wanted);
    }
}

#[tokio::test]
async fn an_origin_can_be_up_in_many_ways() {
    let redirect = Behaviour::Redirect {
        to: "https://elsewhere.example.net/".into(),
    };
    let welcome = Behaviour::body("a warm welcome to all");
    let slow = Behaviour::Delay(Duration::from_millis(100));
    let answered = "200 in [0-9]+ ms";
    let (world, server, cases) = all_at_once(vec![
        case("plain", Behaviour::up(), "", answered),
        case("slow", slow, "", "200 in 1[0-9]+ ms|200 in [2-9][0-9]+ ms"),
        case("redirecting", redirect, "", "302 in [0-9]+ ms"),
        case(
            "teapot",
            Behaviour::status(418),
            "expect_status = [\"4xx\"]",
            "418 in [0-9]+ ms",
        ),
        case(
            "body",
            welcome,
            "expect_body = \"warm w[e]lcome\"",
            answered,
        ),
        case(
            "tcp",
            Behaviour::Mute,
            "kind = \"tcp\"",
            "connected in [0-9]+ ms",
        ),
    ])
    .await;
    for (case, main) in cases {
        let decision = decided(&server, case.name, "on_main").await;
        let seen = &decision["origins"][0];
        assert_eq!(seen["state"], "up", "{decision}");
        assert_like(seen["reason"].as_str().unwrap(), case.reason);
        let name = format!("{}.example.com", case.name);
        assert_eq!(contents(&world, &name), main.addr().ip().to_string());
    }
}

#[tokio::test]
async fn an_answer_of_the_cdn_is_no_evidence() {
    for status in [200, 522] {
        let mut world = World::new().await;
        world.rule += "require_proof = false\n";
        let ray = Behaviour::Up {
            status,
            body: "ok".into(),
            headers: vec![("CF-RAY".into(), "8f3-FRA".into())],
        };
        world.main.set(ray).await.unwrap();
        let server = world.serve().await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["action"], "hold", "{decision}");
        assert_eq!(decision["reason"], "unconfirmed", "{decision}");
        let main = &decision["origins"][0];
        assert_eq!(main["state"], "unknown", "{decision}");
        assert!(
            main["reason"].as_str().unwrap().contains("cf-ray"),
            "{decision}"
        );
        assert_eq!(world.write_requests().len(), 0);
        let metrics = server.metrics().await;
        let unknown = [("site", SITE), ("origin", "main"), ("result", "unknown")];
        assert!(metrics.get("probes_total", &unknown).unwrap() >= 2.0);
        let up = metrics.get("origin_up", &[("site", SITE), ("origin", "main")]);
        assert_eq!(up, None, "absent while unknown");
        let hold = metrics.get("hold", &[("site", SITE), ("reason", "unconfirmed")]);
        assert_eq!(hold, Some(1.0));
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let world = World::new().await;
    let huge = Behaviour::Huge { bytes: 1 << 30 };
    world.main.set(huge.clone()).await.unwrap();
    world.backup.set(huge).await.unwrap();
    let tables = [
        table(&world.main, ""),
        table(&world.backup, "expect_body = \"needle\""),
    ];
    let server = serve(&world, &site(SITE, &[HOSTNAME], &tables, "")).await;
    origin_is(&server, SITE, "main", "up").await;
    origin_is(&server, SITE, "backup", "down").await;
    let more = world.main.hits() + 5;
    server
        .wait_until("it was probed often", async || world.main.hits() >= more)
        .await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.unwrap().trim().trim_end_matches(" kB").parse::<u64>();
    assert!(kilobytes.unwrap() < 100_000, "{peak:?}");
}

#[tokio::test]
async fn one_failed_probe_moves_nothing() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let before = world.main.requests();
    world.main.set(Behaviour::status(500)).await.unwrap();
    while world.main.requests() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.revive_main().await;
    let after = world.main.requests() + 10;
    server
        .wait_until("it was probed often", async || {
            world.main.requests() >= after
        })
        .await;
    let metrics = server.metrics().await;
    let down = [("origin", "main"), ("result", "down")];
    assert!(metrics.get("probes_total", &down).unwrap() >= 1.0);
    assert_eq!(world.write_requests().len(), 0);
    let site = server.site(SITE).await;
    assert_eq!(site["last_decision"]["reason"], "on_main", "{site}");
}

/// An origin that fails every other request, once it is told to.
async fn alternating(addr: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let flaky = Arc::new(AtomicBool::new(false));
    let (told, count) = (flaky.clone(), Arc::new(AtomicU64::new(0)));
    let answer = move || {
        let fails = told.load(Ordering::SeqCst) && count.fetch_add(1, Ordering::SeqCst) % 2 == 0;
        async move {
            match fails {
                true => StatusCode::BAD_GATEWAY,
                false => StatusCode::OK,
            }
        }
    };
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (addr, flaky)
}

#[tokio::test]
async fn an_origin_that_fails_every_other_probe_is_left() {
    let world = World::new().await;
    let (addr, flaky) = alternating(world.address(40)).await;
    world.cloudflare.edit(&world.record, &addr.ip().to_string());
    let main = format!("{{ ipv4 = \"{}\", port = {} }}", addr.ip(), addr.port());
    let sites = site(SITE, &[HOSTNAME], &[main, table(&world.backup, "")], "");
    let server = serve(&world, &sites).await;
    server.wait_reason(SITE, "on_main").await;
    origin_is(&server, SITE, "backup", "up").await;

    flaky.store(true, Ordering::SeqCst);
    let decision = decided(&server, SITE, "failover").await;
    assert_like(
        explanation(&decision),
        "main .+ is down: .+, [0-9]+ of [0-9]+ probes; .+",
    );
    assert!(world.on_backup(), "{decision}");
}

#[tokio::test]
async fn what_is_down_is_not_explained_by_a_success_since() {
    let mut world = World::new().await;
    world.rule += "rise = 20\n";
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    assert!(world.on_backup());
    let seen = world.main.requests() + 2;
    world.revive_main().await;
    server
        .wait_until("MAIN was seen", async || world.main.requests() >= seen)
        .await;
    // Two of twenty: not up yet.
    let main = server.site(SITE).await["origins"][0].clone();
    assert_eq!(main["state"], "down", "{main}");
    assert_eq!(main["reason"], "connect: connection refused", "{main}");
}
