//! What the gateway knows of a password; the same for all protocols, and checked here against PostgreSQL's own.

pub(crate) use weir_core::verifier::keyed_hash;
pub use weir_core::verifier::{Verifier, VerifierFault};

#[cfg(test)]
mod tests {
    use weir_core::secret::Secret;

    use super::*;

    #[test]
    fn derived_verifiers_are_postgresqls() {
        for password in ["canary", "pässwörd", "I\u{00AD}X", "with \u{0007} bell", ""] {
            let theirs = Verifier::parse(&postgres_protocol::password::scram_sha_256(password.as_bytes())).unwrap();
            let ours = Verifier::derive(password, theirs.salt.clone(), theirs.iterations);
            assert_eq!(ours.stored_key, theirs.stored_key, "{password:?}");
            assert_eq!(ours.server_key, theirs.server_key, "{password:?}");
        }
    }

    #[test]
    fn what_is_no_verifier_is_refused() {
        let good = postgres_protocol::password::scram_sha_256(b"x");
        assert!(Verifier::parse(&good).is_ok());
        let md5 = postgres_protocol::password::md5(b"x", "ann");
        assert_eq!(Verifier::parse(&md5).unwrap_err(), VerifierFault::Md5);
        for (broken, fault) in [
            (String::new(), VerifierFault::Malformed),
            ("clear".to_owned(), VerifierFault::Malformed),
            (good.replace(':', ";"), VerifierFault::Malformed),
            (good[..good.len() - 4].to_owned(), VerifierFault::Malformed),
            (good.replace("$4096:", "$0:"), VerifierFault::Iterations),
            (good.replace("$4096:", "$2147483647:"), VerifierFault::Iterations),
            (good.replace("$4096:", "$99999999999:"), VerifierFault::Malformed),
        ] {
            assert_eq!(Verifier::parse(&broken).unwrap_err(), fault, "{broken}");
        }
    }

    #[test]
    fn mocks_are_steady_and_differ() {
        let secret = Secret::new([7; 32]);
        let (a, b) = (Verifier::mock(&secret, "ann"), Verifier::mock(&secret, "bob"));
        assert_eq!(a.salt, Verifier::mock(&secret, "ann").salt);
        assert_ne!(a.salt, b.salt);
        assert_eq!((a.salt.len(), a.iterations), (16, 4096));
    }

    #[test]
    fn nothing_of_a_verifier_is_printed() {
        let text = format!("{:?}", Verifier::derive("canary", vec![1; 16], 1));
        assert!(text.contains("stored_key: ***"), "{text}");
    }
}
