//! How a server's certificate is judged. The chain is judged by webpki; this adds only what libpq accepts beyond it.
//!
//! Invariant: whatever the mode, the server proves that it owns the key of the certificate that it shows. So channel
//! binding works in all modes, and a recorded certificate is worth nothing.
//!
//! Beyond webpki, because databases are run with such certificates and libpq takes them: a certificate that is itself in
//! `sslrootcert` (self-signed); a common name where there is no alternative name; X.509 version 1 where nothing is verified.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use super::{
    Untrusted,
    certificate::{self, Validity},
    provider,
};

/// Whether the certificate must be for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameCheck {
    None,
    Full,
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Trust,
    /// Instead of the host's.
    expected_name: Option<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    Anybody,
    Authorities {
        roots: Arc<RootCertStore>,
        /// The same certificates as a whole.
        themselves: Vec<CertificateDer<'static>>,
        name_check: NameCheck,
    },
}

impl ServerVerifier {
    pub(super) fn trusting_anybody() -> Self {
        ServerVerifier {
            trust: Trust::Anybody,
            expected_name: None,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    pub(super) fn trusting(
        roots: RootCertStore,
        themselves: Vec<CertificateDer<'static>>,
        name_check: NameCheck,
    ) -> Self {
        ServerVerifier {
            trust: Trust::Authorities {
                roots: Arc::new(roots),
                themselves,
                name_check,
            },
            expected_name: None,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    /// Where names are checked, this one counts instead of the host's.
    pub(super) fn expecting(self, name: Option<ServerName<'static>>) -> Self {
        ServerVerifier {
            expected_name: name,
            ..self
        }
    }

    pub(super) fn name_check(&self) -> NameCheck {
        match self.trust {
            Trust::Anybody => NameCheck::None,
            Trust::Authorities { name_check, .. } => name_check,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities {
            roots,
            themselves,
            name_check,
        } = &self.trust
        else {
            return Ok(ServerCertVerified::assertion());
        };
        if themselves.contains(end_entity) {
            check_validity(end_entity, now)?;
        } else {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        }
        if *name_check == NameCheck::Full {
            check_name(end_entity, self.expected_name.as_ref().unwrap_or(server_name))?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(certificate).is_ok() {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        }
        verify_tls12_signature_with_raw_key(message, &raw_key(certificate)?, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(certificate).is_ok() {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = SubjectPublicKeyInfoDer::from(raw_key(certificate)?);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Turns the library's error into one that says what to do. Certificate errors become [`Untrusted`].
pub(super) fn explain(error: io::Error, host: &str) -> io::Error {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match reason {
        Some(Error::InvalidCertificate(reason)) => Untrusted(format!(
            "the certificate of {host} is refused: {}",
            certificate_problem(reason)
        ))
        .into(),
        Some(Error::NoCertificatesPresented) => Untrusted(format!("{host} shows no certificate")).into(),
        _ => io::Error::new(error.kind(), format!("TLS handshake with {host} failed: {error}")),
    }
}

fn certificate_problem(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no authority in sslrootcert has signed it".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it is for another name".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("it is for another name ({})", presented.join(", "))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::Other(reason) if format!("{reason:?}").contains("UnsupportedCertVersion") => {
            "it is X.509 version 1; issue it as version 3 (openssl x509 -req -extfile ...)".to_owned()
        }
        CertificateError::Other(reason) if format!("{reason:?}").contains("CaUsedAsEndEntity") => {
            "it is an authority's certificate; put this very certificate into sslrootcert, or issue one for the server"
                .to_owned()
        }
        other => Error::InvalidCertificate(other.clone()).to_string(),
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let problem = match certificate::validity(certificate, now) {
        Ok(Validity::Valid) => return Ok(()),
        Ok(Validity::Expired { .. }) => CertificateError::Expired,
        Ok(Validity::NotYet { .. }) => CertificateError::NotValidYet,
        Err(_) => CertificateError::BadEncoding,
    };
    Err(problem.into())
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let verdict = ParsedCertificate::try_from(certificate).and_then(|parsed| verify_server_name(&parsed, name));
    match verdict {
        Err(_) if certificate::common_name_matches(certificate, name) => Ok(()),
        other => other,
    }
}

fn raw_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    certificate::public_key(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

/// As rustls does it, for a key outside of a certificate that webpki can read: every algorithm of the scheme is tried
/// that fits the key (with TLS 1.2 the scheme does not name the curve).
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key_info: &[u8],
    signed: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let (key_algorithm, key) =
        certificate::split_public_key(key_info).ok_or(Error::from(CertificateError::BadEncoding))?;
    let algorithms = supported.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let valid = algorithms.is_some_and(|(_, algorithms)| {
        algorithms
            .iter()
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
            .any(|algorithm| algorithm.verify_signature(key, message, signed.signature()).is_ok())
    });
    if valid {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}
