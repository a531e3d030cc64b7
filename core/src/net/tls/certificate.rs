//! What we read out of certificates: channel binding hash, names, validity, public key. Pure; input may be hostile.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{IpAddr, ServerName, UnixTime};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::{
    asn1_rs::{Any, FromDer as _, Oid, oid},
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry as registry,
    signature_algorithm::SignatureAlgorithm,
};

/// The hash of a server's certificate for the channel binding `tls-server-end-point` (RFC 5929 section 4.1): by the
/// hash function of the certificate's signature, or SHA-256 where that is MD5 or SHA-1.
///
/// `None` where RFC 5929 defines none (Ed25519, SHA-3) or the certificate cannot be read: then channel binding must not
/// be offered or chosen. libpq and PostgreSQL fail in that case too.
pub fn certificate_binding_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => Hash::named(parameters.hash_algorithm_oid()),
        _ => Hash::of_signature(&algorithm.algorithm),
    }?;
    Some(match hash {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// The first common name of a certificate's subject, as `cert` authentication compares it with the user name.
/// `None` where there is none, or where it has a NUL in it (an old trick to be taken for somebody else).
pub fn certificate_common_name(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    common_name(&parsed).map(str::to_owned)
}

/// Whether a certificate's time is now.
pub(super) enum Validity {
    Valid,
    Expired { since: String },
    NotYet { from: String },
}

pub(super) fn validity(certificate: &[u8], now: UnixTime) -> Result<Validity, String> {
    let parsed = parse(certificate)?;
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let now = i64::try_from(now.as_secs()).map_err(|_| "the clock is out of range".to_owned())?;
    Ok(if now > until.timestamp() {
        Validity::Expired {
            since: until.to_string(),
        }
    } else if now < from.timestamp() {
        Validity::NotYet { from: from.to_string() }
    } else {
        Validity::Valid
    })
}

/// The end of a certificate's validity.
pub(super) fn expires_at(certificate: &[u8]) -> Option<SystemTime> {
    let seconds = parse(certificate).ok()?.validity().not_after.timestamp();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// The public key with its algorithm, in DER (SubjectPublicKeyInfo).
pub(super) fn public_key(certificate: &[u8]) -> Result<Vec<u8>, String> {
    Ok(parse(certificate)?.public_key().raw.to_vec())
}

/// A SubjectPublicKeyInfo taken apart: the inside of its AlgorithmIdentifier, and the key's bits.
pub(super) fn split_public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, sequence) = Any::from_der(info).ok()?;
    let (rest, algorithm) = Any::from_der(sequence.data).ok()?;
    let (_, bits) = Any::from_der(rest).ok()?;
    match bits.data.split_first() {
        Some((0, key)) => Some((algorithm.data, key)),
        _ => None,
    }
}

/// libpq's last resort in `verify-full`: a certificate without a subject alternative name of the host's kind is
/// compared by its common name (fe-secure-common.c; RFC 2818 section 3.1). Many private authorities still issue such.
pub(super) fn common_name_matches(certificate: &[u8], host: &ServerName<'_>) -> bool {
    let Ok(parsed) = parse(certificate) else { return false };
    let Ok(alternative) = parsed.subject_alternative_name() else {
        return false;
    };
    let names = alternative.map_or(&[][..], |extension| &extension.value.general_names);
    let (host, same_kind_present) = match host {
        ServerName::DnsName(name) => (
            name.as_ref().to_owned(),
            names.iter().any(|name| matches!(name, GeneralName::DNSName(_))),
        ),
        ServerName::IpAddress(address) => (
            ip_text(address),
            names.iter().any(|name| matches!(name, GeneralName::IPAddress(_))),
        ),
        _ => return false,
    };
    !same_kind_present && common_name(&parsed).is_some_and(|pattern| name_matches(pattern, &host))
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| error.to_string())
}

fn common_name<'a>(parsed: &'a X509Certificate<'_>) -> Option<&'a str> {
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

/// Equal without regard to case, or `*.` in the pattern standing for exactly one label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(suffix), Some((label, parent))) = (pattern.strip_prefix("*."), host.split_once('.')) else {
        return false;
    };
    !suffix.is_empty()
        && !label.is_empty()
        && parent.eq_ignore_ascii_case(suffix)
        && host.parse::<std::net::IpAddr>().is_err()
}

fn ip_text(address: &IpAddr) -> String {
    std::net::IpAddr::from(*address).to_string()
}

enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of_signature(signature: &Oid<'_>) -> Option<Self> {
        const ED25519: Oid<'static> = oid!(1.3.101.112);
        Some(match signature {
            oid if *oid == ED25519 => return None,
            oid if *oid == registry::OID_PKCS1_MD5WITHRSAENC
                || *oid == registry::OID_PKCS1_SHA1WITHRSA
                || *oid == oid!(1.2.840.10045.4.1) =>
            {
                Hash::Sha256
            }
            oid if *oid == registry::OID_PKCS1_SHA224WITHRSA || *oid == registry::OID_SIG_ECDSA_WITH_SHA224 => {
                Hash::Sha224
            }
            oid if *oid == registry::OID_PKCS1_SHA256WITHRSA || *oid == registry::OID_SIG_ECDSA_WITH_SHA256 => {
                Hash::Sha256
            }
            oid if *oid == registry::OID_PKCS1_SHA384WITHRSA || *oid == registry::OID_SIG_ECDSA_WITH_SHA384 => {
                Hash::Sha384
            }
            oid if *oid == registry::OID_PKCS1_SHA512WITHRSA || *oid == registry::OID_SIG_ECDSA_WITH_SHA512 => {
                Hash::Sha512
            }
            _ => return None,
        })
    }

    /// A hash function by its own name, as in the parameters of RSASSA-PSS.
    fn named(hash: &Oid<'_>) -> Option<Self> {
        Some(match hash {
            // SHA-1 is also what absent parameters mean.
            oid if *oid == oid!(1.3.14.3.2.26) => Hash::Sha256,
            oid if *oid == oid!(2.16.840.1.101.3.4.2.4) => Hash::Sha224,
            oid if *oid == oid!(2.16.840.1.101.3.4.2.1) => Hash::Sha256,
            oid if *oid == oid!(2.16.840.1.101.3.4.2.2) => Hash::Sha384,
            oid if *oid == oid!(2.16.840.1.101.3.4.2.3) => Hash::Sha512,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(name_matches("DB.example", "db.example"));
        assert!(name_matches("*.example", "db.example"));
        assert!(!name_matches("*.example", "a.db.example"));
        assert!(!name_matches("*.example", "example"));
        assert!(!name_matches("*", "db"));
        assert!(!name_matches("*.", "db."));
        assert!(!name_matches("*.0.0.1", "127.0.0.1"));
        assert!(name_matches("127.0.0.1", "127.0.0.1"));
    }

    #[test]
    fn rubbish_has_no_hash_and_no_name() {
        for rubbish in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", &[0x30; 64]] {
            assert_eq!(certificate_binding_hash(rubbish), None);
            assert_eq!(certificate_common_name(rubbish), None);
            assert!(split_public_key(rubbish).is_none());
        }
    }
}
