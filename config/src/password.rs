//! Tells clear passwords from SCRAM verifiers (`SCRAM-SHA-256$iterations:salt$stored_key:server_key`, RFC 5803 as
//! PostgreSQL writes it in `pg_authid`). Errors quote nothing of the value.

use base64::{Engine, engine::general_purpose::STANDARD};
use weir_core::secret::Secret;

use crate::{limits, model::Password, model::ScramVerifier};

const PREFIX: &str = "SCRAM-SHA-256$";

/// Both keys of a verifier are SHA-256 values.
pub(crate) const KEY_BYTES: usize = 32;

/// What a password field holds.
pub(crate) fn parse(text: Secret<String>) -> Result<Password, &'static str> {
    if text.expose().is_empty() {
        return Err("the password is empty");
    }
    match text.expose().strip_prefix(PREFIX) {
        Some(rest) => verifier(rest).map(Password::Scram),
        None => Ok(Password::Clear(text)),
    }
}

/// Whether the text looks like PostgreSQL's md5 hash of a password, which is of no use for SCRAM.
pub(crate) fn looks_like_md5(text: &str) -> bool {
    text.strip_prefix("md5")
        .is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn verifier(rest: &str) -> Result<ScramVerifier, &'static str> {
    const SHAPE: &str = "the SCRAM verifier is not of the form SCRAM-SHA-256$iterations:salt$stored_key:server_key";
    let (parameters, keys) = rest.split_once('$').ok_or(SHAPE)?;
    let (iterations, salt) = parameters.split_once(':').ok_or(SHAPE)?;
    let (stored_key, server_key) = keys.split_once(':').ok_or(SHAPE)?;
    let iterations = iterations
        .parse()
        .ok()
        .filter(|count| (1..=limits::MAX_SCRAM_ITERATIONS).contains(count))
        .ok_or("the SCRAM verifier's iteration count is not a number between 1 and 10000000")?;
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| "the SCRAM verifier is not valid base64")
    };
    let salt = decode(salt)?;
    if salt.is_empty() {
        return Err("the SCRAM verifier has no salt");
    }
    Ok(ScramVerifier {
        iterations,
        salt,
        stored_key: Secret::new(decode(stored_key)?),
        server_key: Secret::new(decode(server_key)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Password, &'static str> {
        parse(Secret::new(text.to_owned()))
    }

    #[test]
    fn a_verifier_is_decoded() {
        let Ok(Password::Scram(verifier)) = of("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy") else {
            panic!("not a verifier")
        };
        assert_eq!(
            (verifier.iterations, verifier.salt.as_slice()),
            (4096, b"salt".as_slice())
        );
        assert_eq!(
            (
                verifier.stored_key.expose().as_slice(),
                verifier.server_key.expose().as_slice()
            ),
            (&b"stored"[..], &b"server"[..])
        );
    }

    #[test]
    fn anything_else_is_a_clear_password() {
        assert_eq!(of("hunter2"), Ok(Password::Clear(Secret::new("hunter2".to_owned()))));
        assert!(matches!(of("SCRAM-SHA-512$x"), Ok(Password::Clear(_))));
    }

    #[test]
    fn broken_verifiers_are_named_without_being_quoted() {
        for text in [
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096:c2FsdA==",
            "SCRAM-SHA-256$0:c2FsdA==$c3RvcmVk:c2VydmVy",
            "SCRAM-SHA-256$99999999999:c2FsdA==$c3RvcmVk:c2VydmVy",
            "SCRAM-SHA-256$4096:$c3RvcmVk:c2VydmVy",
            "SCRAM-SHA-256$4096:c2FsdA==$!:c2VydmVy",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
        assert_eq!(of(""), Err("the password is empty"));
    }
}
