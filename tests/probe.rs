//! What probes find on origins that behave and misbehave, over real sockets.

#[path = "probe/edge.rs"]
mod edge;
#[path = "probe/names.rs"]
mod names;
#[path = "probe/origins.rs"]
mod origins;
#[path = "probe/secure.rs"]
mod secure;

use origins::{Heard, OK, answering, http, listen, probe, read_head, swallowing};
use originswitch::config::{ProbeKind, StatusSet};
use originswitch::rule::finding::{Finding, Phase};
use regex::bytes::Regex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

const SHORT: Duration = Duration::from_millis(400);

fn broken(phase: Phase, what: &str) -> Finding {
    Finding::Broken {
        phase,
        what: what.into(),
    }
}

fn timeout(phase: Phase) -> Finding {
    Finding::Timeout {
        phase,
        limit: SHORT,
    }
}

fn answered(finding: &Finding) -> bool {
    matches!(finding, Finding::Answered { status: 200, .. })
}

/// Answers the head and then a body that has no end, counting its bytes.
async fn endless(head: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let at = listen("127.0.1.2", move |mut stream| {
        let count = count.clone();
        async move {
            read_head(&mut stream, &Heard::default()).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {
                count.fetch_add(8192, Ordering::Relaxed);
            }
        }
    })
    .await;
    (at, sent)
}

#[tokio::test]
async fn an_expected_status_is_up_and_times_are_told() {
    let (at, heard) = answering("127.0.1.1", OK).await;
    let sample = probe(ProbeKind::Http, at, |_| {}).await;
    let Finding::Answered { status: 200, after } = sample.finding else {
        panic!("{}", sample.finding);
    };
    let phases = sample.phases;
    assert!(phases.connect.unwrap() + phases.response.unwrap() <= after + SHORT);
    assert_eq!((phases.resolve, phases.tls), (None, None));
    heard.wait_for("closed").await;
}

#[tokio::test]
async fn the_request_is_the_sites_and_says_who_asks() {
    let (at, heard) = answering("127.0.1.1", OK).await;
    let finding = http(at, |s| {
        s.path = "/health?deep=1".into();
        s.headers.insert("X-Probe".into(), "yes".into());
        s.headers.insert("accept".into(), "text/plain".into());
    });
    assert!(answered(&finding.await));
    let version = concat!("user-agent: originswitch/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "GET /health?deep=1 HTTP/1.1",
        "host: www.example.com",
        version,
        "accept: text/plain",
        "connection: close",
        "x-probe: yes",
        "",
    ];
    assert_eq!(heard.all()[..expected.len()], expected);
}

#[tokio::test]
async fn the_host_header_may_be_overridden_and_the_method_chosen() {
    let (at, heard) = answering("127.0.1.1", "HTTP/1.1 204 No Content\r\n\r\n").await;
    let finding = http(at, |s| {
        s.method = "HEAD".into();
        s.headers.insert("Host".into(), "other.example".into());
    });
    assert!(matches!(
        finding.await,
        Finding::Answered { status: 204, .. }
    ));
    assert_eq!(heard.all()[..2], ["HEAD / HTTP/1.1", "host: other.example"]);
}

#[tokio::test]
async fn another_status_is_down_and_named() {
    let head = "HTTP/1.1 503 Service Unavailable\r\nLocation: /x\r\n\r\n";
    let (at, _) = answering("127.0.1.1", head).await;
    let expected = Finding::Status {
        status: 503,
        location: None,
    };
    assert_eq!(http(at, |_| {}).await, expected);
}

#[tokio::test]
async fn informational_answers_are_passed_over() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let (at, _) = answering("127.0.1.1", answer).await;
    assert!(answered(&http(at, |_| {}).await));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let (target, followed) = answering("127.0.1.2", OK).await;
    let long = "a".repeat(500);
    let head = format!("HTTP/1.1 302 Found\r\nLocation: http://{target}/{long}\r\n\r\n");
    let (at, _) = answering("127.0.1.1", head).await;
    let only_200 = http(at, |s| s.expect_status = StatusSet(vec![(200, 200)])).await;
    let Finding::Status {
        status: 302,
        location: Some(to),
    } = only_200
    else {
        panic!("{only_200}");
    };
    assert!(to.starts_with(&format!("http://{target}/aaa")));
    assert_eq!(to.len(), 200);
    let by_default = http(at, |_| {}).await;
    assert!(matches!(by_default, Finding::Answered { status: 302, .. }));
    assert_eq!(followed.all(), [""; 0]);
}

#[tokio::test]
async fn the_body_is_searched_when_asked_for() {
    let (at, _) = answering("127.0.1.1", OK).await;
    let search = |pattern| {
        http(at, move |s| {
            s.expect_body = Some(Regex::new(pattern).unwrap())
        })
    };
    assert!(answered(&search("^hel+o$").await));
    assert_eq!(search("goodbye").await, Finding::Body);
}

#[tokio::test]
async fn only_the_first_64_kib_of_the_body_are_searched() {
    let body = |before: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.extend(std::iter::repeat_n(b'.', before));
        answer.extend(b"needle and much more after it");
        answer
    };
    let needle = Regex::new("needle").unwrap();
    for (before, found) in [(65_536 - 6, true), (65_536 - 5, false)] {
        let (at, _) = answering("127.0.1.1", body(before)).await;
        let finding = http(at, |s| s.expect_body = Some(needle.clone())).await;
        assert_eq!(answered(&finding), found, "{before}: {finding}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_put_together_before_it_is_searched() {
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let (at, _) = answering("127.0.1.1", answer).await;
    let finding = http(at, |s| s.expect_body = Some(Regex::new("^hello$").unwrap()));
    assert!(answered(&finding.await));
}

#[tokio::test]
async fn an_endless_body_is_left_alone_once_enough_is_known() {
    let (at, sent) = endless("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
    assert!(answered(&http(at, |_| {}).await));
    let with_body = http(at, |s| s.expect_body = Some(Regex::new("^x+$").unwrap()));
    assert!(answered(&with_body.await));
    // What the kernel holds in its buffers, and no more.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);
}

#[tokio::test]
async fn a_head_without_end_is_down_and_not_kept() {
    let (at, sent) = endless("HTTP/1.1 200 OK\r\nX-Big: ").await;
    let expected = broken(Phase::Response, "the head of the answer is too large");
    assert_eq!(http(at, |_| {}).await, expected);
    assert!(sent.load(Ordering::Relaxed) < 32 << 20);
}

#[tokio::test]
async fn an_answer_byte_by_byte_runs_out_of_time() {
    let at = listen("127.0.1.1", |mut stream| async move {
        read_head(&mut stream, &Heard::default()).await;
        for byte in OK.bytes().cycle() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert_eq!(
        http(at, |s| s.timeout = SHORT).await,
        timeout(Phase::Response)
    );
}

#[tokio::test]
async fn an_origin_that_never_answers_runs_out_of_time_and_is_hung_up_on() {
    let (at, heard) = answering("127.0.1.1", "").await;
    let sample = probe(ProbeKind::Http, at, |s| s.timeout = SHORT).await;
    assert_eq!(sample.finding, timeout(Phase::Response));
    assert!(sample.phases.connect.is_some() && sample.phases.response.is_some());
    heard.wait_for("closed").await;
}

#[tokio::test]
async fn an_origin_that_swallows_packets_runs_out_of_time_in_connect() {
    let (at, _listener, _queued) = swallowing().await;
    for kind in [ProbeKind::Tcp, ProbeKind::Http, ProbeKind::Https] {
        let sample = probe(kind, at, |s| s.timeout = SHORT).await;
        assert_eq!(sample.finding, timeout(Phase::Connect), "{kind:?}");
        assert!(sample.phases.connect.is_some() && sample.phases.response.is_none());
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind("127.0.1.3:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    for kind in [ProbeKind::Tcp, ProbeKind::Http, ProbeKind::Https] {
        let sample = probe(kind, at, |_| {}).await;
        assert_eq!(sample.finding, Finding::Refused, "{kind:?}");
    }
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_broken() {
    let at = listen("127.0.1.1", |mut stream| async move {
        read_head(&mut stream, &Heard::default()).await;
    })
    .await;
    let expected = broken(Phase::Response, "closed before an answer");
    assert_eq!(http(at, |_| {}).await, expected);
}

#[tokio::test]
async fn an_origin_that_resets_is_broken() {
    let at = listen("127.0.1.1", |mut stream: TcpStream| async move {
        read_head(&mut stream, &Heard::default()).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let expected = broken(Phase::Response, "connection reset by the peer");
    assert_eq!(http(at, |_| {}).await, expected);
}

#[tokio::test]
async fn a_body_cut_short_is_broken() {
    let at = listen("127.0.1.1", |mut stream| async move {
        read_head(&mut stream, &Heard::default()).await;
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello";
        stream.write_all(cut).await.unwrap();
    })
    .await;
    let finding = http(at, |s| s.expect_body = Some(Regex::new("hello").unwrap()));
    let expected = broken(Phase::Response, "closed in the middle of the body");
    assert_eq!(finding.await, expected);
}

#[tokio::test]
async fn what_is_not_http_is_broken() {
    let (at, _) = answering("127.0.1.1", "SSH-2.0-OpenSSH_9.9\r\n").await;
    let finding = http(at, |_| {}).await.to_string();
    assert!(
        finding.starts_with("response: the answer is not HTTP/1: "),
        "{finding}"
    );
}

#[tokio::test]
async fn a_malformed_header_among_good_ones_is_forgiven() {
    let answer = "HTTP/1.1 200 OK\r\nbad header line\r\nContent-Length : 0\r\n\r\n";
    let (at, _) = answering("127.0.1.1", answer).await;
    assert!(answered(&http(at, |_| {}).await));
}

#[tokio::test]
async fn an_answer_with_cf_ray_is_not_the_origins_whatever_it_says() {
    for status in ["200 OK", "522 Connection Timed Out", "301 Moved"] {
        let answer = format!("HTTP/1.1 {status}\r\nCF-RAY: 8f2-FRA\r\nContent-Length: 0\r\n\r\n");
        let (at, _) = answering("127.0.1.1", answer).await;
        assert_eq!(http(at, |_| {}).await, Finding::ThroughCdn, "{status}");
    }
}

#[tokio::test]
async fn a_tcp_probe_is_content_with_a_connection() {
    let (at, _) = answering("127.0.1.1", "").await;
    let sample = probe(ProbeKind::Tcp, at, |_| {}).await;
    assert!(matches!(sample.finding, Finding::Connected { .. }));
    assert!(sample.phases.connect.is_some() && sample.phases.response.is_none());
}

#[tokio::test]
async fn settings_that_make_no_request_are_our_own_fault() {
    let (at, heard) = answering("127.0.1.1", OK).await;
    let finding = http(at, |s| {
        s.headers.insert("bad name".into(), "secret".into());
    });
    let expected = "header \"bad name\" has a name or value that is none";
    assert_eq!(finding.await, Finding::Local(expected.into()));
    assert_eq!(heard.all(), [""; 0]);
}
