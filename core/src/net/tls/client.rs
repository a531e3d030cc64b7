//! The connector: what we want to see from a database server, with libpq's meaning of `sslmode` and `sslrootcert`.

use std::{fmt, io, str::FromStr, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::Resumption, sign::SingleCertAndKey};
use rustls_pki_types::{IpAddr, Ipv4Addr, ServerName};

use super::{
    TlsVersions, Untrusted,
    material::{self, MaterialError, Pem, Problem},
    provider,
    verify::{NameCheck, ServerVerifier},
};
use crate::secret::Secret;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// In clear; TLS if the server insists.
    Allow,
    /// TLS; in clear if the server has none.
    Prefer,
    /// TLS.
    Require,
    /// TLS, with a certificate of a trusted authority.
    VerifyCa,
    /// TLS, with a certificate of a trusted authority for this very host.
    VerifyFull,
}

impl SslMode {
    /// All of them, as a user writes them.
    pub const NAMES: [(&'static str, SslMode); 6] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];

    /// As a user writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let found = SslMode::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, mode)| *mode).ok_or(())
    }
}

/// Authorities that are trusted: `sslrootcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// `sslrootcert=system`.
    System,
    /// Given certificates. One that the server itself shows is trusted as it is, also where it signed itself.
    Pem(Pem),
}

/// How far a server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Not at all: protects against listeners, not against impostors.
    None,
    /// It comes from one of these authorities.
    Authority(Roots),
    /// And it was issued for the host we connect to.
    AuthorityAndName(Roots),
    /// It is this very one, whoever issued it and for whichever name.
    Exactly(Pem),
}

impl Verification {
    /// libpq's rules: a root certificate makes every mode check the authority, not only the modes named for it;
    /// `system` is only accepted with `verify-full`, because anybody can get some certificate from a public authority.
    /// For [`SslMode::Disable`] the answer is [`Verification::None`] and there is no TLS to apply it to.
    ///
    /// # Errors
    /// [`Problem::Contradiction`], in words for the user.
    pub fn for_ssl_mode(mode: SslMode, roots: Option<Roots>) -> Result<Self, Problem> {
        match (mode, roots) {
            (SslMode::Disable, _) => Ok(Verification::None),
            (SslMode::VerifyFull, Some(roots)) => Ok(Verification::AuthorityAndName(roots)),
            (_, Some(Roots::System)) => Err(Problem::Contradiction(
                "sslrootcert=system with a weaker sslmode than verify-full proves nothing; use sslmode=verify-full",
            )),
            (_, Some(roots)) => Ok(Verification::Authority(roots)),
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => Err(Problem::Contradiction(
                "sslmode verify-ca and verify-full need sslrootcert: the authority's certificate, or \"system\" with verify-full",
            )),
            (SslMode::Allow | SslMode::Prefer | SslMode::Require, None) => Ok(Verification::None),
        }
    }
}

/// Our certificate, for servers that ask for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `sslcert`.
    pub certificate: Pem,
    /// `sslkey`.
    pub key: Pem,
    /// `sslpassword`, where the key is encrypted.
    pub passphrase: Option<Secret<String>>,
}

/// What [`ClientTls`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTlsSettings {
    /// How far the server's certificate is checked.
    pub verification: Verification,
    /// The name to expect in the certificate instead of the host's, where names are checked. One that begins with `*.`
    /// stands for any name in its place, as in the certificate.
    pub expected_name: Option<String>,
    /// Our certificate.
    pub certificate: Option<ClientCertificate>,
    /// Protocols that we name. Empty: none.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: TlsVersions,
}

/// Checked material and settings of a TLS client. Immutable: see [`super::Reloadable`].
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name_check: NameCheck,
}

impl ClientTls {
    /// Reads and checks everything. Blocks (the system's store, key derivation): not for the reactor.
    ///
    /// # Errors
    /// Names the setting and what is wrong with it.
    pub fn new(settings: &ClientTlsSettings) -> Result<Self, MaterialError> {
        let provider = provider();
        let verifier = verifier(&settings.verification)?.expecting(expected_name(settings)?);
        let name_check = verifier.name_check();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(settings.versions.supported())
            .map_err(|error| MaterialError {
                origin: "TLS".to_owned(),
                problem: Problem::Unusable(error.to_string()),
            })?
            // Not less safe than the standard verifier where verification is asked for: see `verify`.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let certified =
                    material::certified_key(&own.certificate, &own.key, own.passphrase.as_ref(), &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols.clone_from(&settings.alpn);
        // Database servers hand out no session tickets; a cache would only hold memory.
        config.resumption = Resumption::disabled();
        Ok(ClientTls {
            config: Arc::new(config),
            name_check,
        })
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The name for SNI and verification. A host that can be neither a DNS name nor an address (a container's name
    /// with odd characters) only matters where the name is checked; elsewhere no SNI is sent for it.
    pub(super) fn server_name(&self, host: &str) -> io::Result<ServerName<'static>> {
        match (ServerName::try_from(host.to_owned()), self.name_check) {
            (Ok(name), _) => Ok(name),
            (Err(_), NameCheck::None) => Ok(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])))),
            (Err(_), NameCheck::Full) => Err(Untrusted(format!(
                "\"{host}\" is neither a DNS name nor an IP address, so that sslmode verify-full cannot check it"
            ))
            .into()),
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("name_check", &self.name_check)
            .finish_non_exhaustive()
    }
}

fn expected_name(settings: &ClientTlsSettings) -> Result<Option<ServerName<'static>>, MaterialError> {
    let Some(wanted) = &settings.expected_name else {
        return Ok(None);
    };
    // Any one name in the place of the star: it matches what the star would match.
    let name = match wanted.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None => wanted.clone(),
    };
    ServerName::try_from(name).map(Some).map_err(|_| MaterialError {
        origin: "the name to expect in the certificate".to_owned(),
        problem: Problem::Unusable(format!("\"{wanted}\" is neither a DNS name nor an IP address")),
    })
}

fn verifier(verification: &Verification) -> Result<ServerVerifier, MaterialError> {
    let (roots, name_check) = match verification {
        Verification::None => return Ok(ServerVerifier::trusting_anybody()),
        Verification::Authority(roots) => (roots, NameCheck::None),
        Verification::AuthorityAndName(roots) => (roots, NameCheck::Full),
        Verification::Exactly(pem) => {
            let certificates = material::certificates(pem)?;
            // Without authorities nothing but the certificate itself can pass.
            return Ok(ServerVerifier::trusting(
                RootCertStore::empty(),
                certificates,
                NameCheck::None,
            ));
        }
    };
    match roots {
        Roots::Pem(pem) => {
            let (store, trusted) = material::roots(pem)?;
            Ok(ServerVerifier::trusting(store, trusted, name_check))
        }
        Roots::System => Ok(ServerVerifier::trusting(system_roots()?, Vec::new(), name_check)),
    }
}

fn system_roots() -> Result<RootCertStore, MaterialError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Stores in the wild contain a few certificates that nobody can parse; they are simply not trusted.
    let (added, _) = store.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let reasons: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(MaterialError {
            origin: "sslrootcert=system".to_owned(),
            problem: Problem::NoSystemRoots(if reasons.is_empty() {
                "it is empty; install the package ca-certificates or set SSL_CERT_FILE".to_owned()
            } else {
                reasons.join("; ")
            }),
        });
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> Option<Roots> {
        Some(Roots::Pem(Pem::new("test", "")))
    }

    #[test]
    fn a_root_certificate_makes_require_check_the_authority() {
        for mode in [SslMode::Allow, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa] {
            assert!(
                matches!(Verification::for_ssl_mode(mode, pem()), Ok(Verification::Authority(_))),
                "{mode:?}"
            );
        }
        assert_eq!(
            Verification::for_ssl_mode(SslMode::Require, None),
            Ok(Verification::None)
        );
        assert!(Verification::for_ssl_mode(SslMode::VerifyFull, None).is_err());
        assert!(Verification::for_ssl_mode(SslMode::VerifyCa, None).is_err());
    }

    #[test]
    fn system_roots_need_verify_full() {
        for (name, mode) in SslMode::NAMES {
            let verification = Verification::for_ssl_mode(mode, Some(Roots::System));
            assert_eq!(
                verification.is_ok(),
                matches!(mode, SslMode::VerifyFull | SslMode::Disable),
                "{name}"
            );
            assert_eq!(name.parse(), Ok(mode));
            assert_eq!(mode.as_str(), name);
        }
    }
}
