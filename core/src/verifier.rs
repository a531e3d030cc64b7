//! What the gateway knows of a password: enough to check a client's proof or a password in clear, not enough to log in
//! with.
//!
//! The form is PostgreSQL's SCRAM-SHA-256 verifier. It serves every protocol: one that sends passwords in clear (inside
//! TLS) has them hashed in the same way, so that a user needs one secret for all of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{limits, secret::Secret};

/// A SCRAM-SHA-256 verifier (RFC 5803): what PostgreSQL stores in `pg_authid.rolpassword`.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// SHA-256 of the client key.
    pub stored_key: Secret<[u8; 32]>,
    /// Proves to the client that we know it.
    pub server_key: Secret<[u8; 32]>,
}

/// Why a stored secret cannot be used for SCRAM. The texts are for the log; they quote nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifierFault {
    /// An MD5 hash: SCRAM cannot be done with it.
    Md5,
    /// Not `SCRAM-SHA-256$iterations:salt$stored:server`.
    Malformed,
    /// More iterations than [`limits::MAX_SCRAM_ITERATIONS`], or none.
    Iterations,
}

impl VerifierFault {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            VerifierFault::Md5 => {
                "the stored password is an MD5 hash, with which SCRAM cannot be done: \
                 set the password again with password_encryption = 'scram-sha-256'"
            }
            VerifierFault::Malformed => "the stored password is neither a SCRAM-SHA-256 verifier nor usable otherwise",
            VerifierFault::Iterations => "the stored password's iteration count is out of bounds",
        }
    }
}

impl Verifier {
    /// Reads a stored verifier.
    ///
    /// # Errors
    /// [`VerifierFault`]: why it is none.
    pub fn parse(stored: &str) -> Result<Verifier, VerifierFault> {
        if stored.len() == 35 && stored.starts_with("md5") {
            return Err(VerifierFault::Md5);
        }
        let malformed = VerifierFault::Malformed;
        let rest = stored.strip_prefix("SCRAM-SHA-256$").ok_or(malformed)?;
        let (setup, keys) = rest.split_once('$').ok_or(malformed)?;
        let (iterations, salt) = setup.split_once(':').ok_or(malformed)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(malformed)?;
        let iterations = iterations.parse().map_err(|_| malformed)?;
        if !(1..=limits::MAX_SCRAM_ITERATIONS).contains(&iterations) {
            return Err(VerifierFault::Iterations);
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed)?;
        // The salt goes into a message of at most a kilobyte.
        if salt.is_empty() || salt.len() > 256 {
            return Err(malformed);
        }
        let key =
            |text: &str| -> Option<Secret<[u8; 32]>> { STANDARD.decode(text).ok()?.try_into().ok().map(Secret::new) };
        Ok(Verifier {
            iterations,
            salt,
            stored_key: key(stored_key).ok_or(malformed)?,
            server_key: key(server_key).ok_or(malformed)?,
        })
    }

    /// Makes one of a clear password. Some milliseconds of work: off the reactor, and once per password.
    pub fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Verifier {
        // As PostgreSQL: what SASLprep forbids is used as it is.
        let prepared =
            stringprep::saslprep(password).map_or_else(|_| password.to_owned(), std::borrow::Cow::into_owned);
        let prepared = Secret::new(prepared);
        let salted = Secret::new(hi(prepared.expose().as_bytes(), &salt, iterations));
        let client_key = Secret::new(keyed_hash(salted.expose(), &[b"Client Key"]));
        Verifier {
            iterations,
            salt,
            stored_key: Secret::new(Sha256::digest(client_key.expose()).into()),
            server_key: Secret::new(keyed_hash(salted.expose(), &[b"Server Key"])),
        }
    }

    /// Whether this is the password. As much work as [`Verifier::derive`]: off the reactor. The comparison takes the same
    /// time whatever the password.
    pub fn accepts(&self, password: &str) -> bool {
        let derived = Verifier::derive(password, self.salt.clone(), self.iterations);
        bool::from(derived.stored_key.expose().ct_eq(self.stored_key.expose()))
    }

    /// The verifier of a user that does not exist: always the same for the same name, like a real one, and never
    /// satisfied (S10 rule 3).
    pub fn mock(process_secret: &Secret<[u8; 32]>, user: &str) -> Verifier {
        let part = |label: &[u8]| keyed_hash(process_secret.expose(), &[label, user.as_bytes()]);
        Verifier {
            iterations: limits::SCRAM_ITERATIONS,
            salt: part(b"salt:")[..limits::SCRAM_SALT].to_vec(),
            stored_key: Secret::new(part(b"stored:")),
            server_key: Secret::new(part(b"server:")),
        }
    }
}

/// PBKDF2 with HMAC-SHA-256 and one block (RFC 5802 `Hi`).
fn hi(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let keyed = keyed(password);
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut last: [u8; 32] = mac.finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&last);
        last = mac.finalize().into_bytes().into();
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// HMAC-SHA-256 over the parts, one behind the other.
pub fn keyed_hash(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_accepted_by_its_own_verifier_only() {
        let verifier = Verifier::derive("canary", vec![7; 16], 3);
        assert!(verifier.accepts("canary"));
        assert!(!verifier.accepts("Canary"));
        assert!(!verifier.accepts(""));
        assert!(!Verifier::mock(&Secret::new([1; 32]), "ann").accepts("canary"));
    }
}
