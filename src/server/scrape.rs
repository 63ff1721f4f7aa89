//! `/metrics` piece by piece: with ten thousand sites the text is 15 MB, and
//! whoever reads it slowly must not keep it in memory.

use crate::metrics::Metrics;
use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use std::io::Write;
use std::sync::Arc;
use tokio::task::{JoinError, spawn_blocking};

/// With few sites this is all: a body of known length.
const AT_ONCE: usize = 256 * 1024;

type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A body that is being written.
struct Scrape {
    pieces: Pieces,
    /// While there is something to compress.
    zip: Option<GzEncoder<Vec<u8>>>,
}

/// The metrics as a body; `None` if they cannot be written.
pub(super) async fn body(metrics: Arc<Metrics>, zip: bool) -> Option<Body> {
    let begun = spawn_blocking(move || {
        let zip = zip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        let pieces = Box::new(metrics.pieces());
        let mut scrape = Scrape { pieces, zip };
        let mut text = Vec::new();
        while text.len() < AT_ONCE {
            match scrape.next() {
                Some(piece) => text.extend(piece),
                None => return (text, None),
            }
        }
        (text, Some(scrape))
    });
    let (begin, rest) = begun.await.ok()?;
    let Some(scrape) = rest else {
        return Some(begin.into());
    };
    let begin = stream::once(std::future::ready(Ok(Bytes::from(begin))));
    let rest = stream::unfold(Some(scrape), |scrape| async { piece(scrape?).await });
    Some(Body::from_stream(stream::StreamExt::chain(begin, rest)))
}

/// The next piece, and what is then left. A failure ends the body, and whoever
/// reads it sees that it is not whole.
async fn piece(mut scrape: Scrape) -> Option<(Result<Bytes, JoinError>, Option<Scrape>)> {
    // Not on a thread that probes.
    let made = spawn_blocking(move || (scrape.next(), scrape)).await;
    match made {
        Ok((piece, scrape)) => Some((Ok(piece?.into()), Some(scrape))),
        Err(broken) => Some((Err(broken), None)),
    }
}

impl Iterator for Scrape {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let piece = self.pieces.next();
            let Some(zip) = &mut self.zip else {
                return piece;
            };
            // Writing into memory cannot fail.
            match piece {
                Some(piece) => {
                    let _ = zip.write_all(&piece);
                    if !zip.get_ref().is_empty() {
                        return Some(std::mem::take(zip.get_mut()));
                    }
                }
                None => return self.zip.take()?.finish().ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::collections::HashSet;
    use std::io::Read;

    /// What speaks of sites: the rest changes from one look to the next.
    fn of_sites(text: &[u8]) -> Vec<&str> {
        let text = std::str::from_utf8(text).unwrap();
        let of_a_site = |line: &&str| line.contains("site=") || line.contains("probes_total");
        text.lines().filter(of_a_site).collect()
    }

    async fn read(metrics: &Arc<Metrics>, zip: bool) -> (usize, Vec<u8>) {
        let mut body = body(metrics.clone(), zip).await.unwrap();
        let (mut pieces, mut bytes) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            pieces += 1;
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        (pieces, bytes)
    }

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        let mut zip = flate2::read::GzDecoder::new(bytes);
        zip.read_to_end(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn very_many_sites_come_in_pieces_and_nothing_is_lost_or_twice_between_them() {
        let metrics = Metrics::new();
        for n in 0..3_000 {
            let _ = metrics.site(&format!("s{n}").into(), 2);
        }
        let whole = metrics.text();
        let (pieces, text) = read(&metrics, false).await;
        assert!(pieces > 5, "{pieces}");
        assert_eq!(of_sites(&text), of_sites(&whole));
        let one = Metrics::new();
        let _ = one.site(&"s0".into(), 2);
        let one = one.text();
        let (heads, series): (Vec<_>, Vec<_>) =
            of_sites(&one).into_iter().partition(|l| l.starts_with('#'));
        let all: HashSet<&str> = of_sites(&whole).into_iter().collect();
        assert_eq!(all.len(), of_sites(&whole).len(), "a line is there twice");
        assert_eq!(all.len(), heads.len() + 3_000 * series.len());
        let (_, zipped) = read(&metrics, true).await;
        assert!(zipped.len() < whole.len() / 5);
        assert_eq!(of_sites(&unzipped(&zipped)), of_sites(&whole));
    }

    #[tokio::test]
    async fn few_sites_come_at_once() {
        let metrics = Metrics::new();
        let _ = metrics.site(&"www".into(), 2);
        let body = body(metrics, false).await.unwrap();
        let length = axum::body::HttpBody::size_hint(&body).exact();
        assert!(length.is_some_and(|bytes| bytes > 1_000), "{length:?}");
    }
}
