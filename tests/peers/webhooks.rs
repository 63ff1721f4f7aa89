//! Webhooks as they should not be, through the running binary.

use crate::common::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEGABYTE: usize = 1 << 20;

/// Sends a body of 50 MB, its length told before or not; the answer's status line.
async fn fifty_megabytes(server: &Server, told: bool) -> String {
    let (mut from, mut to) = TcpStream::connect(server.addr).await.unwrap().into_split();
    let length = match told {
        true => format!("Content-Length: {}", 50 * MEGABYTE),
        false => "Transfer-Encoding: chunked".into(),
    };
    let head = format!("POST /webhook HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
    let sending = tokio::spawn(async move {
        to.write_all(head.as_bytes()).await?;
        let chunk = vec![b' '; MEGABYTE];
        for _ in 0..50 {
            if !told {
                to.write_all(format!("{MEGABYTE:x}\r\n").as_bytes()).await?;
            }
            to.write_all(&chunk).await?;
            if !told {
                to.write_all(b"\r\n").await?;
            }
        }
        if !told {
            to.write_all(b"0\r\n\r\n").await?;
        }
        std::io::Result::Ok(to)
    });
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.windows(2).any(|w| w == b"\r\n") {
        let read = from.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed without an answer");
        answer.extend_from_slice(&piece[..read]);
    }
    sending.abort();
    let text = String::from_utf8(answer).unwrap();
    text.lines().next().unwrap().to_owned()
}

/// The most memory it ever held, in MB.
fn peak(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<usize>();
    kilobytes.unwrap() / 1024
}

/// 22. mirai-prototype: a thread for each POST; nobody had a limit on what a body may hold.
#[tokio::test]
async fn a_body_of_fifty_megabytes_is_refused_and_not_held() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let before = peak(&server);
    for told in [true, false] {
        let status = fifty_megabytes(&server, told).await;
        assert!(status.starts_with("HTTP/1.1 413"), "{status}");
    }
    let grown = peak(&server) - before;
    assert!(grown < 30, "it grew by {grown} MB");
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
}

/// 22. kubernaut, alertmanager#2121: one odd alert sank its batch; 4xx and 429 lost what was sent.
#[tokio::test]
async fn odd_webhooks_are_taken_for_what_they_are_and_the_next_alert_counts() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    let labels = json!({"alertname": "OriginDown", "site": SITE});
    let oddly = |alert: Value| json!({"version": "4", "alerts": [alert]});
    let bodies = [
        // Resolved without ever having fired; without a fingerprint or a time.
        (
            oddly(json!({"status": "resolved", "labels": labels})),
            200,
            1,
        ),
        (
            oddly(json!({"status": "firing", "labels": {"site": "nobody", "\u{1F525}": "x"}})),
            200,
            0,
        ),
        (
            oddly(json!({"status": "who knows", "labels": labels})),
            200,
            0,
        ),
        (oddly(json!({"labels": "none", "status": 7})), 200, 0),
        // More alerts than `max_alerts` let through.
        (
            json!({"truncatedAlerts": 3, "status": "resolved", "alerts": [alert(SITE, "resolved")]}),
            200,
            1,
        ),
        // Somebody's own template.
        (json!({"text": "MAIN is down", "channel": "#night"}), 400, 0),
        (json!([alert(SITE, "firing")]), 400, 0),
    ];
    for (body, status, alerts) in bodies {
        let reply = server.post("/webhook", body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {reply:?}");
        if status == 200 {
            let accepted = match alerts {
                0 => json!([]),
                _ => json!([{"site": SITE, "alerts": alerts}]),
            };
            assert_eq!(reply.json()["accepted"], accepted, "{body}");
        }
    }
    evaluate(&server, "").await;
    assert!(world.write_requests().is_empty());
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
}
