//! Certificates for origins and edges: an authority made on the spot, what it
//! signs, and who trusts it.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};

/// What a server needs to speak TLS: a certificate and its key.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    pem: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// A certificate for `names` that nobody signed but itself.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = new_key();
        let params = leaf(names);
        let certificate = params.self_signed(&key).expect("a plain certificate");
        Self::new(certificate.der().clone(), certificate.pem(), &key)
    }

    /// The certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    fn new(der: CertificateDer<'static>, pem: String, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // The provider is named, so that no process-wide default is needed.
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .expect("the key belongs to the certificate");
        Self {
            config: Arc::new(config),
            pem,
        }
    }
}

/// A certificate authority that lives as long as the test or the demo.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a key of its own.
    #[expect(
        clippy::new_without_default,
        reason = "a default would hide that each is another"
    )]
    pub fn new() -> Self {
        let key = new_key();
        let mut params = CertificateParams::default();
        // A name of its own: two authorities of one name would make clients
        // complain of a bad signature where the issuer is unknown.
        let mark: String = key
            .public_key_raw()
            .iter()
            .rev()
            .take(4)
            .map(|b| format!("{b:02x}"))
            .collect();
        let name = format!("originswitch sandbox {mark}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a plain authority");
        Self { issuer }
    }

    /// The authority's certificate, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes the authority's certificate where `ca_file` can name it.
    pub fn write_pem(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, self.pem())
    }

    /// A certificate for these names or addresses, good for now.
    pub fn issue(&self, names: &[&str]) -> Tls {
        self.sign(leaf(names))
    }

    /// The same, but it ran out years ago.
    pub fn issue_expired(&self, names: &[&str]) -> Tls {
        let mut params = leaf(names);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    /// Trusts what it signed, and nothing else.
    pub fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("a plain authority");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }

    fn sign(&self, params: CertificateParams) -> Tls {
        let key = new_key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a plain certificate");
        Tls::new(certificate.der().clone(), certificate.pem(), &key)
    }
}

/// What a client needs to tell an authority's certificates from all others.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system gives random bytes")
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    CertificateParams::new(names).expect("names are ASCII")
}
