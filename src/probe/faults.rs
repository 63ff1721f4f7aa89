//! From an error to a finding: what the peer or a router said is evidence
//! against the origin, everything else is our own side.

use super::certificate;
use crate::descriptors::exhausted;
use crate::rule::finding::{Finding, Phase};
use std::error::Error;
use std::io;
use std::sync::Arc;
use tokio_rustls::rustls;

/// Why a connection did not come about. The list names what only a peer or a
/// router can cause; no sockets, no route, no permission and the unforeseen
/// fall through to our own side.
pub(super) fn connecting(error: &io::Error) -> Finding {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Finding::Refused,
        Kind::HostUnreachable => Finding::Unreachable,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::TimedOut
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => broken(Phase::Connect, words(error)),
        _ => local(Phase::Connect, error),
    }
}

/// Why a TLS handshake failed.
pub(super) fn shaking_hands(error: &io::Error) -> Finding {
    match rustls_cause(error) {
        Some(cause) => certificate::finding(cause),
        None => connected(Phase::Tls, error),
    }
}

/// Why there is no answer to the request.
pub(super) fn asking(error: &hyper::Error) -> Finding {
    if let Some(cause) = io_cause(error) {
        return match rustls_cause(cause) {
            Some(tls) => broken(Phase::Response, certificate::protocol(tls)),
            None => connected(Phase::Response, cause),
        };
    }
    let what = if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "closed before an answer".into()
    } else if error.is_parse_too_large() {
        "the head of the answer is too large".into()
    } else if error.is_parse() {
        format!("the answer is not HTTP/1: {error}").into()
    } else {
        error.to_string().into()
    };
    broken(Phase::Response, what)
}

/// Why the body ended early.
pub(super) fn reading(error: &hyper::Error) -> Finding {
    match io_cause(error) {
        Some(cause) if cause.kind() != io::ErrorKind::UnexpectedEof => asking(error),
        _ => broken(Phase::Response, "closed in the middle of the body".into()),
    }
}

/// An error on a connection that stood.
fn connected(phase: Phase, error: &io::Error) -> Finding {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::PermissionDenied
        | Kind::OutOfMemory => local(phase, error),
        _ if exhausted(error) => local(phase, error),
        _ => broken(phase, words(error)),
    }
}

/// Down, because the connection broke.
fn broken(phase: Phase, what: Arc<str>) -> Finding {
    Finding::Broken { phase, what }
}

fn local(phase: Phase, error: &io::Error) -> Finding {
    Finding::Local(format!("{}: {error}", phase.as_str()).into())
}

/// The error as a person would put it.
fn words(error: &io::Error) -> Arc<str> {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset => "connection reset by the peer".into(),
        Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            "closed by the peer".into()
        }
        Kind::TimedOut => "connection timed out".into(),
        Kind::HostUnreachable => "no route to host".into(),
        _ => error.to_string().into(),
    }
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// `io::Error::source` skips the error it wraps, so it has to be asked for.
fn rustls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::finding::Verdict;
    use std::io::{Error, ErrorKind};

    #[test]
    fn what_only_a_peer_or_router_can_cause_is_evidence_and_the_rest_is_not() {
        let verdict = |kind: ErrorKind| connecting(&Error::from(kind)).verdict();
        assert_eq!(verdict(ErrorKind::ConnectionRefused), Verdict::Down);
        assert_eq!(verdict(ErrorKind::HostUnreachable), Verdict::Down);
        assert_eq!(verdict(ErrorKind::ConnectionReset), Verdict::Down);
        assert_eq!(verdict(ErrorKind::NetworkUnreachable), Verdict::Unknown);
        assert_eq!(verdict(ErrorKind::AddrNotAvailable), Verdict::Unknown);
        assert_eq!(verdict(ErrorKind::PermissionDenied), Verdict::Unknown);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn running_out_of_sockets_or_memory_is_our_own_side_at_any_moment() {
        // ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ENOBUFS.
        for code in [12, 23, 24, 99, 100, 101, 105] {
            let error = || Error::from_raw_os_error(code);
            for finding in [
                connecting(&error()),
                shaking_hands(&error()),
                connected(Phase::Response, &error()),
            ] {
                assert!(matches!(finding, Finding::Local(_)), "{code}: {finding}");
            }
        }
    }
}
