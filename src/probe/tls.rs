//! Whom to trust: the TLS configuration of a set of trust anchors, read when
//! first needed and again when the CA file changes.

use crate::descriptors::exhausted;
use rustls_native_certs::{ErrorKind, load_native_certs};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Between two looks at the CA file, and between two attempts to read anchors
/// that could not be read.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A configuration, or why there is none.
type Outcome = Result<Arc<ClientConfig>, Arc<str>>;

/// What tells one content of a file from the next.
type Stamp = (SystemTime, u64);

/// The TLS configuration for one choice of `verify_tls` and `ca_file`.
#[derive(Debug)]
pub(super) struct Trust {
    verify: bool,
    ca_file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    outcome: Option<Outcome>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    /// Kept here and not on a probe's stack: a disk that hangs then holds one
    /// thread, and not one for each probe that gives up waiting.
    reading: Option<JoinHandle<Option<Reading>>>,
}

/// A new outcome, and the file's stamp it belongs to.
#[derive(Debug)]
struct Reading(Outcome, Option<Stamp>);

impl Trust {
    pub(super) fn new(verify: bool, ca_file: Option<PathBuf>) -> Trust {
        Trust {
            verify,
            ca_file,
            kept: Mutex::default(),
        }
    }

    /// The configuration to use now, or why there is none. Waits for the disk;
    /// may be dropped at any time.
    pub(super) async fn config(&self) -> Outcome {
        let mut kept = self.kept.lock().await;
        if let Some(outcome) = &kept.outcome
            && self.fresh(outcome, kept.looked)
        {
            return outcome.clone();
        }
        let known = kept.stamp;
        let reading = kept.reading.get_or_insert_with(|| {
            let (verify, ca_file) = (self.verify, self.ca_file.clone());
            spawn_blocking(move || read(verify, ca_file.as_deref(), known))
        });
        let done = reading.await;
        kept.reading = None;
        kept.looked = Some(Instant::now());
        match done {
            Ok(None) => {}
            Ok(Some(Reading(outcome, stamp))) => {
                kept.outcome = Some(outcome);
                kept.stamp = stamp;
            }
            Err(_) => {
                kept.outcome = None;
                kept.stamp = None;
            }
        }
        let lost = || Err("reading the trust anchors was interrupted".into());
        kept.outcome.clone().unwrap_or_else(lost)
    }

    /// Whether `outcome` holds without another look. The system's own anchors
    /// are read once, for the life of the process.
    fn fresh(&self, outcome: &Outcome, looked: Option<Instant>) -> bool {
        let settled = outcome.is_ok() && self.ca_file.is_none();
        settled || looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN)
    }
}

/// Reads the anchors; `None` if the CA file is still the one with this stamp.
fn read(verify: bool, ca_file: Option<&Path>, known: Option<Stamp>) -> Option<Reading> {
    let Some(path) = ca_file else {
        let outcome = configuration(verify, Vec::new()).map(Arc::new);
        return Some(Reading(outcome.map_err(|e| system_fault(&e)), None));
    };
    let named = |what: String| Arc::from(format!("ca_file {}: {what}", path.display()));
    let stamp = match stamp(path) {
        Ok(stamp) if known == Some(stamp) => return None,
        Ok(stamp) => stamp,
        Err(error) => return Some(Reading(Err(named(error.to_string())), None)),
    };
    let outcome = anchors(path)
        .and_then(|extra| configuration(verify, extra).map_err(|error| error.to_string()));
    Some(match outcome {
        Ok(config) => Reading(Ok(Arc::new(config)), Some(stamp)),
        Err(what) => Reading(Err(named(what)), None),
    })
}

fn system_fault(error: &Error) -> Arc<str> {
    format!("trust anchors: {error}").into()
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

/// The certificates of a PEM file.
fn anchors(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("it holds no certificate in PEM form".into());
    }
    Ok(found)
}

/// The system's anchors with `extra` ones, or none at all when not verifying.
fn configuration(verify: bool, extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if verify {
        let roots = Arc::new(roots(extra)?);
        WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
    } else {
        Arc::new(AcceptAny(provider.clone()))
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificate: it could expire unseen.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The system's anchors with `extra` ones. Some of the system's may be
/// unusable, and are left out. But where it was us who could not read them, all
/// of them are missing: an origin whose anchor was lost for want of a
/// descriptor would look as if it had a bad certificate.
fn roots(extra: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for anchor in extra {
        roots.add(anchor)?;
    }
    let found = load_native_certs();
    if let Some(error) = found.errors.iter().find(|error| is_ours(&error.kind)) {
        return Err(Error::General(error.to_string()));
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let advice = "the system has none: install ca-certificates or set ca_file";
        return Err(Error::General(advice.into()));
    }
    Ok(roots)
}

/// Whether anchors were not read because of something that will pass.
fn is_ours(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Io { inner, .. } | ErrorKind::Pem(pem::Error::Io(inner)) => exhausted(inner),
        _ => false,
    }
}

/// `verify_tls = false`: whose certificate it is does not matter, but the
/// handshake is completed properly.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// EMFILE is passing, and leaves an unknown share of the anchors unread; a
    /// file that nobody may read, or that holds rubbish, stays as it is.
    #[test]
    fn anchors_that_descriptors_were_wanting_for_are_not_done_without() {
        let pem = |error| ErrorKind::Pem(pem::Error::Io(error));
        let listing = |inner| ErrorKind::Io {
            inner,
            path: "/etc/ssl/certs".into(),
        };
        let none_left = || io::Error::from_raw_os_error(24);
        let forbidden = || io::ErrorKind::PermissionDenied.into();
        assert!(is_ours(&pem(none_left())));
        assert!(is_ours(&listing(none_left())));
        assert!(!is_ours(&pem(forbidden())));
        assert!(!is_ours(&listing(forbidden())));
        assert!(!is_ours(&ErrorKind::Pem(pem::Error::NoItemsFound)));
    }
}
