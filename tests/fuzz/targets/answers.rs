//! What an origin may answer an HTTP probe. The first byte says how it is
//! probed and how the answer comes; the rest is the answer. Whatever it is, the
//! probe ends in time, finds the origin up only for a status that is expected,
//! and never takes the origin's fault for our own.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use originswitch::config::{ProbeKind, ProbeSettings, StatusSet};
use originswitch::fuzzing::probe::exchange;
use originswitch::rule::finding::{Finding, Verdict};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};

/// Well above what any answer here takes on a clock that is paused.
const LIMIT: Duration = Duration::from_secs(2);

thread_local! {
    /// On a paused clock waiting takes no time.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

/// How the connection ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The origin says that it is done.
    Shut,
    /// It goes away.
    Gone,
    /// It says nothing more.
    Silence,
}

/// What the first byte says, bit by bit.
struct Manner {
    expect_body: bool,
    head: bool,
    only_204: bool,
    end: End,
    chunk: usize,
}

impl Manner {
    fn of(byte: u8) -> Manner {
        Manner {
            expect_body: byte & 1 != 0,
            head: byte & 2 != 0,
            only_204: byte & 4 != 0,
            end: [End::Shut, End::Gone, End::Silence, End::Shut][usize::from(byte >> 3 & 3)],
            chunk: [usize::MAX, 1, 7, 100][usize::from(byte >> 5 & 3)],
        }
    }

    fn settings(&self) -> Arc<ProbeSettings> {
        static BODY: LazyLock<regex::bytes::Regex> =
            LazyLock::new(|| regex::bytes::Regex::new("Q").expect("a pattern"));
        let statuses = if self.only_204 {
            (204, 204)
        } else {
            (200, 399)
        };
        Arc::new(ProbeSettings {
            kind: ProbeKind::Http,
            port: 80,
            path: "/".into(),
            method: if self.head { "HEAD" } else { "GET" }.into(),
            host: "www.example.com".into(),
            headers: Default::default(),
            expect_status: StatusSet(vec![statuses]),
            expect_body: self.expect_body.then(|| BODY.clone()),
            timeout: LIMIT,
            interval: LIMIT,
            verify_tls: true,
            ca_file: None,
        })
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, answer)) = input.split_first() else {
        return;
    };
    let manner = Manner::of(*first);
    let settings = manner.settings();
    let (finding, took) = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (ours, theirs) = duplex(64 * 1024);
            let began = Instant::now();
            let origin = answers(theirs, answer, manner.end, manner.chunk);
            let probe = timeout(LIMIT, exchange(&settings, ours));
            tokio::select! {
                biased;
                finding = probe => (finding.ok(), began.elapsed()),
                () = origin => unreachable!("it stays until the probe has ended"),
            }
        })
    });
    match finding {
        Some(finding) => is_right(&finding, answer, &manner, &settings),
        None => assert!(manner.end == End::Silence, "it waits for one that is gone"),
    }
    assert!(took <= LIMIT, "{took:?}");
});

/// The origin: it sends the answer in pieces, and stays away or silent.
async fn answers(mut stream: DuplexStream, answer: &[u8], end: End, chunk: usize) {
    for piece in answer.chunks(chunk.min(answer.len().max(1))) {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if end == End::Shut {
        // The probe may be gone already.
        let _ = stream.shutdown().await;
    }
    let _held = (end != End::Gone).then_some(stream);
    std::future::pending().await
}

fn is_right(finding: &Finding, answer: &[u8], manner: &Manner, settings: &ProbeSettings) {
    common::one_line(&finding.to_string());
    let said = |part: &[u8]| {
        let mut windows = answer.windows(part.len());
        windows.any(|window| window.eq_ignore_ascii_case(part))
    };
    match finding {
        Finding::Answered { status, after } => {
            assert!(settings.expect_status.contains(*status), "{finding}");
            assert!(said(status.to_string().as_bytes()), "{finding}");
            assert!(*after <= LIMIT);
            if manner.expect_body && !manner.head {
                assert!(said(b"Q"), "{finding}: the body was not there");
            }
        }
        Finding::Status { status, .. } => {
            assert!(!settings.expect_status.contains(*status), "{finding}");
        }
        Finding::ThroughCdn => assert!(said(b"cf-ray"), "nobody spoke of cf-ray"),
        Finding::Body => assert!(manner.expect_body),
        Finding::Broken { .. } => assert_eq!(finding.verdict(), Verdict::Down),
        other => panic!("{other}: an origin cannot cause that"),
    }
}
