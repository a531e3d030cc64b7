//! Certificates and keys as text (PEM) turned into something usable, or into an error that names the culprit.

use std::fmt;

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::{RootCertStore, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem::PemObject};

use super::certificate::{self, Validity};
use crate::secret::Secret;

/// PEM text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// For error texts: setting and file, such as `listeners[0].ssl_configuration.sslkey (/etc/weir/key.pem)`.
    pub origin: String,
    /// The text. Secret because it may be a key.
    pub text: Secret<Vec<u8>>,
}

impl Pem {
    /// Text with its origin.
    pub fn new(origin: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Pem {
            origin: origin.into(),
            text: Secret::new(text.into()),
        }
    }

    fn error(&self, problem: Problem) -> MaterialError {
        MaterialError {
            origin: self.origin.clone(),
            problem,
        }
    }
}

/// A certificate or key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialError {
    /// Where it came from.
    pub origin: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a certificate or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text is not PEM.
    NotPem(String),
    /// PEM, but no certificate in it.
    NoCertificate,
    /// A certificate that cannot be read.
    BadCertificate(String),
    /// PEM, but no private key in it.
    NoKey,
    /// A key that cannot be read, or of a kind that TLS does not use.
    BadKey(String),
    /// The key is encrypted and there is no `sslpassword`.
    NeedsPassphrase,
    /// The key does not open with the given `sslpassword`.
    WrongPassphrase,
    /// The key is encrypted in a way that is not supported.
    UnsupportedEncryption(String),
    /// The key belongs to another certificate.
    KeyMismatch {
        /// Where the certificate came from.
        certificate: String,
    },
    /// The certificate's time is over.
    Expired {
        /// Since when.
        since: String,
    },
    /// The certificate's time has not come.
    NotYetValid {
        /// From when on it is.
        from: String,
    },
    /// Verification is asked for without anything to verify against, or in a way that would prove nothing.
    Contradiction(&'static str),
    /// The system's certificate store gave nothing.
    NoSystemRoots(String),
    /// Anything else, in the TLS library's words.
    Unusable(String),
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

impl std::error::Error for MaterialError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotPem(reason) => write!(f, "not valid PEM text: {reason}"),
            Problem::NoCertificate => f.write_str("contains no certificate (no \"-----BEGIN CERTIFICATE-----\")"),
            Problem::BadCertificate(reason) => write!(f, "contains an unreadable certificate: {reason}"),
            Problem::NoKey => f.write_str("contains no private key (no \"-----BEGIN PRIVATE KEY-----\")"),
            Problem::BadKey(reason) => write!(f, "contains an unusable private key: {reason}"),
            Problem::NeedsPassphrase => f.write_str("the private key is encrypted; set sslpassword"),
            Problem::WrongPassphrase => f.write_str("the private key cannot be decrypted with the given sslpassword"),
            Problem::UnsupportedEncryption(what) => write!(
                f,
                "the private key is encrypted in a way that is not supported ({what}); convert it with \
                 \"openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256\""
            ),
            Problem::KeyMismatch { certificate } => {
                write!(f, "the private key does not belong to the certificate of {certificate}")
            }
            Problem::Expired { since } => write!(f, "the certificate expired on {since}"),
            Problem::NotYetValid { from } => write!(f, "the certificate is valid only from {from} on"),
            Problem::Contradiction(what) => f.write_str(what),
            Problem::NoSystemRoots(reason) => {
                write!(f, "the system's certificate store has no usable certificate: {reason}")
            }
            Problem::Unusable(reason) => f.write_str(reason),
        }
    }
}

/// Reads a certificate chain and its key, and checks that they belong together and are valid now.
pub(super) fn certified_key(
    certificate: &Pem,
    key: &Pem,
    passphrase: Option<&Secret<String>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, MaterialError> {
    let chain = certificates(certificate)?;
    let own = chain.first().ok_or_else(|| certificate.error(Problem::NoCertificate))?;
    check_validity(certificate, own)?;
    let signing_key = provider
        .key_provider
        .load_private_key(private_key(key, passphrase)?)
        .map_err(|error| key.error(Problem::BadKey(error.to_string())))?;
    // Not CertifiedKey::from_der: it refuses X.509 version 1, which PostgreSQL's own manual long taught to make.
    let public = certificate::public_key(own).map_err(|reason| certificate.error(Problem::BadCertificate(reason)))?;
    match signing_key.public_key() {
        Some(expected) if expected.as_ref() != public.as_slice() => Err(key.error(Problem::KeyMismatch {
            certificate: certificate.origin.clone(),
        })),
        _ => Ok(CertifiedKey::new(chain, signing_key)),
    }
}

/// Reads all certificates of a PEM text; at least one.
pub(super) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.text.expose())
        .collect::<Result<_, _>>()
        .map_err(|error| pem.error(Problem::NotPem(error.to_string())))?;
    if found.is_empty() {
        return Err(pem.error(Problem::NoCertificate));
    }
    Ok(found)
}

/// Reads certificates to trust.
pub(super) fn roots(pem: &Pem) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), MaterialError> {
    let trusted = certificates(pem)?;
    let mut store = RootCertStore::empty();
    for certificate in &trusted {
        store
            .add(certificate.clone())
            .map_err(|error| pem.error(Problem::BadCertificate(error.to_string())))?;
    }
    Ok((store, trusted))
}

fn check_validity(pem: &Pem, certificate: &CertificateDer<'_>) -> Result<(), MaterialError> {
    match certificate::validity(certificate, UnixTime::now()) {
        Ok(Validity::Valid) => Ok(()),
        Ok(Validity::Expired { since }) => Err(pem.error(Problem::Expired { since })),
        Ok(Validity::NotYet { from }) => Err(pem.error(Problem::NotYetValid { from })),
        Err(reason) => Err(pem.error(Problem::BadCertificate(reason))),
    }
}

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// OpenSSL's own format from before PKCS#8: one round of MD5 over the passphrase.
const LEGACY_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

fn private_key(pem: &Pem, passphrase: Option<&Secret<String>>) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let bytes = pem.text.expose();
    let text = std::str::from_utf8(bytes).map_err(|_| pem.error(Problem::NotPem("not UTF-8".to_owned())))?;
    if text.contains(LEGACY_ENCRYPTION) {
        let what = "OpenSSL's traditional format".to_owned();
        return Err(pem.error(Problem::UnsupportedEncryption(what)));
    }
    if let Some(start) = text.find(ENCRYPTED_BEGIN) {
        let passphrase = passphrase.ok_or_else(|| pem.error(Problem::NeedsPassphrase))?;
        let end = text[start..]
            .find(ENCRYPTED_END)
            .ok_or_else(|| pem.error(Problem::NotPem("the encrypted key has no end".to_owned())))?;
        return decrypt(pem, &text[start..start + end + ENCRYPTED_END.len()], passphrase);
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => pem.error(Problem::NoKey),
        other => pem.error(Problem::NotPem(other.to_string())),
    })
}

fn decrypt(pem: &Pem, section: &str, passphrase: &Secret<String>) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let (_, document) =
        SecretDocument::from_pem(section).map_err(|error| pem.error(Problem::NotPem(error.to_string())))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| pem.error(Problem::UnsupportedEncryption(error.to_string())))?;
    let open = encrypted.decrypt(passphrase.expose()).map_err(|error| {
        pem.error(match error {
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => {
                Problem::UnsupportedEncryption(oid.to_string())
            }
            _ => Problem::WrongPassphrase,
        })
    })?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(open.as_bytes().to_vec())))
}
