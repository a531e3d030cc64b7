//! The acceptor: what we show to clients, and what we want to see from them.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use rustls_pki_types::CertificateDer;

use super::{
    TlsVersions,
    certificate::{self, certificate_binding_hash},
    material::{self, MaterialError, Pem, Problem},
    provider,
};
use crate::secret::Secret;

/// What [`ServerTls`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsSettings {
    /// `sslcert`: our certificate first, then the intermediates.
    pub certificate: Pem,
    /// `sslkey`.
    pub key: Pem,
    /// `sslpassword`, where the key is encrypted.
    pub passphrase: Option<Secret<String>>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
    /// Protocols that a client may name; one that names only others is refused, one that names none is not. Empty: any.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: TlsVersions,
}

/// What is asked of clients. `Pem`: the authorities that may have signed their certificates (`sslrootcert`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    Ignored,
    /// A certificate, if they have one; a bad one is refused.
    Optional(Pem),
    /// A certificate.
    Required(Pem),
}

/// Checked material and settings of a TLS server. Immutable: see [`super::Reloadable`].
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    binding_hash: Option<Vec<u8>>,
    expires_at: Option<SystemTime>,
}

impl ServerTls {
    /// Reads and checks everything. Blocks (key derivation): not for the reactor.
    ///
    /// # Errors
    /// Names the setting and what is wrong with it: not PEM, wrong passphrase, key of another certificate, expired.
    pub fn new(settings: &ServerTlsSettings) -> Result<Self, MaterialError> {
        let ServerTlsSettings {
            certificate,
            key,
            passphrase,
            client_certificates,
            alpn,
            versions,
        } = settings;
        let provider = provider();
        let certified = material::certified_key(certificate, key, passphrase.as_ref(), &provider)?;
        let own = certified.cert[0].clone();
        let verifier = client_verifier(client_certificates)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions.supported())
            .map_err(|error| MaterialError {
                origin: certificate.origin.clone(),
                problem: Problem::Unusable(error.to_string()),
            })?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols.clone_from(alpn);
        // No resumption, like PostgreSQL: a session ticket would outlive the removal of a client's authority, and
        // connections to a gateway live long enough not to need it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(ServerTls {
            config: Arc::new(config),
            binding_hash: certificate_binding_hash(&own),
            expires_at: certificate::expires_at(&own),
            certificate: own,
        })
    }

    /// Our certificate, in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The data of channel binding `tls-server-end-point` for sessions accepted with this value; `None`: do not offer it.
    pub fn channel_binding_hash(&self) -> Option<&[u8]> {
        self.binding_hash.as_deref()
    }

    /// When our certificate expires, for metrics and warnings.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

fn client_verifier(wanted: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
    let (pem, required) = match wanted {
        ClientCertificates::Ignored => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificates::Optional(pem) => (pem, false),
        ClientCertificates::Required(pem) => (pem, true),
    };
    let (roots, _) = material::roots(pem)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|error| MaterialError {
        origin: pem.origin.clone(),
        problem: Problem::Unusable(error.to_string()),
    })
}
