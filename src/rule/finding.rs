//! What one probe found, and whether that is evidence about the origin.

use super::Moment;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whether a finding speaks for the origin, against it, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The origin answered as expected.
    Up,
    /// The origin failed.
    Down,
    /// Our own side failed, or we were not looking at the origin: no evidence.
    Unknown,
}

impl Verdict {
    /// The word used in metrics and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
            Verdict::Unknown => "unknown",
        }
    }
}

/// The part of a probe in which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking up the name of a CNAME origin.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From the request to the end of what is needed of the answer.
    Response,
}

impl Phase {
    /// The word used in metrics and reasons.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Response => "response",
        }
    }
}

/// What one probe found. Its `Display` is the reason shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Up: the expected answer, after this long.
    Answered {
        /// The HTTP status.
        status: u16,
        /// From the start of the probe to the answer.
        after: Duration,
    },
    /// Up: the TCP connection stands, after this long.
    Connected {
        /// From the start of the probe to the connection.
        after: Duration,
    },
    /// Down: the connection was refused.
    Refused,
    /// Down: a router said that the host cannot be reached.
    Unreachable,
    /// Down: nothing within the time limit.
    Timeout {
        /// Where it waited.
        phase: Phase,
        /// The limit that passed.
        limit: Duration,
    },
    /// Down: the peer ended the connection, or sent what cannot be understood.
    Broken {
        /// Where it broke.
        phase: Phase,
        /// What was seen, for a person.
        what: Arc<str>,
    },
    /// Down: the certificate is not acceptable for the site.
    Certificate(Arc<str>),
    /// Down: the status is not an expected one.
    Status {
        /// The HTTP status.
        status: u16,
        /// Where a redirect pointed to; it was not followed.
        location: Option<Arc<str>>,
    },
    /// Down: the expected status, but the body does not match.
    Body,
    /// Unknown: our own side failed (no sockets, no route of our own, a missing CA file).
    Local(Arc<str>),
    /// Unknown: the name of a CNAME origin does not resolve.
    Unresolved(Arc<str>),
    /// Unknown: the answer carries `cf-ray`, so the CDN gave it and not the origin.
    ThroughCdn,
    /// Unknown: the edge answered, or kept silent, in a way that speaks neither
    /// for nor against the origin behind it; what was seen.
    Abstained(Arc<str>),
    /// Unknown: the result came this much after its time limit; we were not scheduled.
    Late(Duration),
}

impl Finding {
    /// Whether it speaks for the origin, against it, or not at all.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Finding::Answered { .. } | Finding::Connected { .. } => Verdict::Up,
            Finding::Refused
            | Finding::Unreachable
            | Finding::Timeout { .. }
            | Finding::Broken { .. }
            | Finding::Certificate(_)
            | Finding::Status { .. }
            | Finding::Body => Verdict::Down,
            Finding::Local(_)
            | Finding::Unresolved(_)
            | Finding::ThroughCdn
            | Finding::Abstained(_)
            | Finding::Late(_) => Verdict::Unknown,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Answered { status, after } => {
                write!(f, "{status} in {}", millis(*after))
            }
            Finding::Connected { after } => write!(f, "connected in {}", millis(*after)),
            Finding::Refused => f.write_str("connect: connection refused"),
            Finding::Unreachable => f.write_str("connect: no route to host"),
            Finding::Timeout { phase, limit } => {
                write!(f, "{}: no answer within {limit:?}", phase.as_str())
            }
            Finding::Broken { phase, what } => write!(f, "{}: {what}", phase.as_str()),
            Finding::Certificate(what) => write!(f, "certificate: {what}"),
            Finding::Status {
                status,
                location: None,
            } => write!(f, "status {status} is not expected"),
            Finding::Status {
                status,
                location: Some(to),
            } => write!(
                f,
                "status {status} is not expected (redirect to {to}, not followed)"
            ),
            Finding::Body => f.write_str("body does not match expect_body"),
            Finding::Local(what) => write!(f, "our own side: {what}"),
            Finding::Unresolved(what) => write!(f, "resolve: {what}"),
            Finding::ThroughCdn => f.write_str(
                "the answer carries cf-ray: it came from Cloudflare, not from the origin",
            ),
            Finding::Abstained(what) => write!(f, "through the edge: {what}"),
            Finding::Late(by) => write!(
                f,
                "our own side: the result came {} after its time limit",
                millis(*by)
            ),
        }
    }
}

/// Whole milliseconds, as a person reads them.
fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// How long each part of a probe took; `None` for a part it did not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    /// Looking up the name, for CNAME origins.
    pub resolve: Option<Duration>,
    /// The TCP connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the answer.
    pub response: Option<Duration>,
}

/// A finding with its times: what the health machine is fed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When the probe started.
    pub started: Moment,
    /// When its result was there.
    pub finished: Moment,
    /// What it found.
    pub finding: Finding,
    /// What its parts took.
    pub phases: Phases,
}
