//! What `tests/fuzz` sees of a probe: its exchange with an origin, without a
//! network in between.

use super::dial::Track;
use super::http::{Ask, Straight};
use crate::config::ProbeSettings;
use crate::rule::finding::{Finding, Phase};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a probe of these settings finds on a connection that stands.
pub async fn exchange<S>(settings: &Arc<ProbeSettings>, stream: S) -> Finding
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut track = Track::new();
    track.enter(Phase::Response);
    Ask::new(settings, None, Straight)
        .answered(stream, &track)
        .await
}
