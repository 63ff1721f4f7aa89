//! The ways an origin can behave.

use std::time::Duration;

/// How an origin treats connections and requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers every request.
    Up {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
        /// Headers beside those HTTP needs.
        headers: Vec<(String, String)>,
    },
    /// Answers `200`, so much after the request.
    Delay(Duration),
    /// Answers `302` with this `Location`.
    Redirect {
        /// The address to go to.
        to: String,
    },
    /// Answers `200` with a body of so many bytes, as fast as they are read.
    Huge {
        /// The length of the body.
        bytes: u64,
    },
    /// Answers `200`, and closes the connection in the middle of the body.
    CutMidAnswer,
    /// Answers `200` byte by byte, the head included.
    Drip {
        /// The pause before each byte.
        byte_every: Duration,
    },
    /// Takes the request, after the TLS handshake if there is one, and never answers.
    Hanging,
    /// Accepts the connection and says nothing, not even a TLS handshake.
    Mute,
    /// Accepts the connection and resets it at once.
    Cutting,
    /// The port is closed: connecting fails with `ECONNREFUSED`.
    Refusing,
    /// Connecting gets no answer until it times out, as behind a firewall
    /// that drops packets.
    ///
    /// Linux drops a SYN for a listener whose backlog is full. So the
    /// listener gets a backlog of 0 and is never asked for a connection; one
    /// connection of our own fills the only place.
    Swallowing,
}

impl Default for Behaviour {
    /// `200` with the body `ok`.
    fn default() -> Self {
        Self::status(200)
    }
}

impl Behaviour {
    /// `200` with the body `ok`.
    pub fn up() -> Self {
        Self::default()
    }

    /// This status, with the body `ok`.
    pub fn status(status: u16) -> Self {
        Self::Up {
            status,
            body: "ok".into(),
            headers: Vec::new(),
        }
    }

    /// `200` with this body.
    pub fn body(body: &str) -> Self {
        Self::Up {
            status: 200,
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// `200` with a header, such as the `cf-ray` of a CDN.
    pub fn with_header(name: &str, value: &str) -> Self {
        Self::Up {
            status: 200,
            body: "ok".into(),
            headers: vec![(name.into(), value.into())],
        }
    }
}
