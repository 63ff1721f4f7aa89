//! The `tcp` probe: the connection itself is the answer.

use super::dial::{Track, Visit};
use crate::rule::finding::Finding;
use tokio::net::TcpStream;

/// Connects, and is content.
#[derive(Debug)]
pub(super) struct Touch;

impl Visit for Touch {
    type Ready = ();

    async fn ready(&self) -> Result<(), Finding> {
        Ok(())
    }

    async fn visit(&self, (): &(), _stream: TcpStream, track: &mut Track) -> Finding {
        Finding::Connected {
            after: track.elapsed(),
        }
    }
}
