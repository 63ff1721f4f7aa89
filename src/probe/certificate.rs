//! What is wrong with a certificate, in a sentence that helps.

use crate::rule::finding::{Finding, Phase};
use rustls_pki_types::UnixTime;
use std::sync::Arc;
use tokio_rustls::rustls;
use tokio_rustls::rustls::{CertificateError, Error};

/// Names of a certificate shown; shared ones carry hundreds.
const MOST_NAMES: usize = 6;

/// What a failed handshake says.
pub(super) fn finding(error: &Error) -> Finding {
    match error {
        Error::InvalidCertificate(fault) => Finding::Certificate(sentence(fault).into()),
        Error::NoCertificatesPresented => Finding::Certificate("the server sent none".into()),
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes => {
            Finding::Local(format!("tls: {error}").into())
        }
        _ => Finding::Broken {
            phase: Phase::Tls,
            what: protocol(error),
        },
    }
}

/// What broke in TLS itself.
pub(super) fn protocol(error: &Error) -> Arc<str> {
    match error {
        Error::AlertReceived(alert) => format!("the server sent the alert {alert:?}").into(),
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "what came is not TLS; does this port speak plain http?".into()
        }
        Error::PeerIncompatible(what) => format!("no common ground: {what:?}").into(),
        _ => error.to_string().into(),
    }
}

/// The fault as a sentence.
fn sentence(fault: &CertificateError) -> String {
    use CertificateError as Fault;
    match fault {
        Fault::ExpiredContext { not_after, .. } => format!("expired on {}", day(*not_after)),
        Fault::Expired => "expired".into(),
        Fault::NotValidYetContext { not_before, .. } => {
            format!("not valid before {}", day(*not_before))
        }
        Fault::NotValidYet => "not valid yet".into(),
        Fault::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "not valid for {}; it is for {}",
            expected.to_str(),
            names(presented)
        ),
        Fault::NotValidForName => "not valid for the site's name".into(),
        Fault::UnknownIssuer => "unknown issuer: self-signed, from a private CA, or sent without \
             its intermediates; if it is Cloudflare's origin certificate, set ca_file"
            .into(),
        Fault::BadEncoding => "it cannot be read".into(),
        Fault::BadSignature => "its signature is wrong".into(),
        Fault::Revoked => "revoked".into(),
        Fault::Other(other) => other_fault(&other.to_string()),
        _ => fault.to_string(),
    }
}

/// Faults that rustls passes on from webpki without a variant of their own.
fn other_fault(text: &str) -> String {
    if text.contains("CaUsedAsEndEntity") {
        "a CA certificate stands where the site's own belongs (`openssl req -x509` makes such): \
         issue one with CA:FALSE, or set verify_tls = false"
            .into()
    } else if text.contains("UnsupportedCertVersion") {
        "not an X.509 version 3 certificate".into()
    } else {
        text.to_owned()
    }
}

/// The names a certificate is for. webpki writes them as `DnsName("…")`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all (no subjectAltName)".into();
    }
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    };
    let mut list: Vec<String> = presented.iter().take(MOST_NAMES).map(bare).collect();
    if presented.len() > MOST_NAMES {
        list.push(format!("{} more", presented.len() - MOST_NAMES));
    }
    list.join(", ")
}

fn day(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(
            || "a date out of range".into(),
            |moment| moment.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_bare_and_only_so_many() {
        let shown = |list: &[&str]| names(&list.iter().map(|n| (*n).into()).collect::<Vec<_>>());
        assert_eq!(shown(&[]), "no name at all (no subjectAltName)");
        assert_eq!(
            shown(&["DnsName(\"*.example.net\")", "IpAddress(192.0.2.1)"]),
            "*.example.net, 192.0.2.1"
        );
        assert!(shown(&["DnsName(\"a.example\")"; 9]).ends_with("a.example, 3 more"));
    }
}
