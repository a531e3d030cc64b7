//! One SCRAM exchange: the client's first message in, a challenge out, the client's proof in, ours out.
//!
//! Invariants: the two steps are two types, each consumed by its step; comparisons of secrets and proofs take constant
//! time; the amount of work does not depend on whether the user exists; faults carry a reason for the log, never for
//! the wire.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::verifier::{Verifier, keyed_hash};

/// Without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// With channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Characters of a client's nonce. libpq's has 24; it is copied into our answer, and theirs.
const MAX_CLIENT_NONCE: usize = 256;

/// What this connection can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: no TLS, or a certificate for which `tls-server-end-point` is not defined. PLUS was not offered.
    None,
    /// The `tls-server-end-point` hash of our certificate. PLUS was offered.
    ServerEndPoint(Vec<u8>),
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramFault {
    /// The client can do channel binding and was made to believe that we cannot (flag `y`): somebody removed PLUS from
    /// our offer. The client is told so, as by PostgreSQL (S10 rule 6).
    Downgraded,
    /// Everything else; the reason is for the log.
    Refused(&'static str),
}

/// Challenged; the proof is awaited.
#[derive(Debug)]
pub struct AwaitFinal {
    verifier: Verifier,
    /// What `c=` must hold.
    channel: String,
    nonce: String,
    /// The first two messages, joined as they are signed.
    signed: String,
}

/// The client has proved that it knows the password. Made nowhere else.
#[derive(Debug)]
pub struct Proven(());

/// Reads the client's first message and makes the challenge. `nonce` is our part: fresh, random, printable, without a
/// comma.
///
/// # Errors
/// [`ScramFault`].
pub fn begin(
    mechanism: &str,
    message: &[u8],
    binding: &Binding,
    verifier: Verifier,
    nonce: &str,
) -> Result<(Vec<u8>, AwaitFinal), ScramFault> {
    let message = std::str::from_utf8(message).map_err(|_| ScramFault::Refused("a SCRAM message that is not text"))?;
    let (flag, rest) = message.split_once(',').ok_or(MALFORMED)?;
    let channel = match (mechanism, binding, flag) {
        (SCRAM_SHA_256, _, "n") => Vec::new(),
        (SCRAM_SHA_256, Binding::None, "y") => Vec::new(),
        (SCRAM_SHA_256, Binding::ServerEndPoint(_), "y") => return Err(ScramFault::Downgraded),
        (SCRAM_SHA_256_PLUS, Binding::ServerEndPoint(hash), "p=tls-server-end-point") => hash.clone(),
        (SCRAM_SHA_256 | SCRAM_SHA_256_PLUS, _, _) => {
            return Err(ScramFault::Refused("channel binding flag and mechanism do not fit"));
        }
        _ => return Err(ScramFault::Refused("a mechanism that was not offered")),
    };
    // No authorization identity, no mandatory extensions; the user name is the startup packet's, as in PostgreSQL.
    let bare = rest
        .strip_prefix(',')
        .ok_or(ScramFault::Refused("an authorization identity"))?;
    let mut attributes = bare.split(',');
    let name = attributes.next().ok_or(MALFORMED)?;
    if !name.starts_with("n=") {
        return Err(ScramFault::Refused("an unsupported SCRAM extension"));
    }
    let client_nonce = attributes
        .next()
        .and_then(|nonce| nonce.strip_prefix("r="))
        .ok_or(MALFORMED)?;
    if client_nonce.is_empty() || client_nonce.len() > MAX_CLIENT_NONCE || !is_printable(client_nonce) {
        return Err(ScramFault::Refused("an unusable nonce"));
    }
    let nonce = format!("{client_nonce}{nonce}");
    let challenge = format!(
        "r={nonce},s={},i={}",
        STANDARD.encode(&verifier.salt),
        verifier.iterations
    );
    let channel = STANDARD.encode([flag.as_bytes(), b",,", &channel].concat());
    let next = AwaitFinal {
        verifier,
        channel,
        signed: format!("{bare},{challenge}"),
        nonce,
    };
    Ok((challenge.into_bytes(), next))
}

const MALFORMED: ScramFault = ScramFault::Refused("a malformed SCRAM message");

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b',')
}

impl AwaitFinal {
    /// Checks the proof; makes ours.
    ///
    /// # Errors
    /// [`ScramFault::Refused`].
    pub fn finish(self, message: &[u8]) -> Result<(Vec<u8>, Proven), ScramFault> {
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        // Extensions may stand between nonce and proof; the proof is the last attribute.
        let (unsigned, proof) = message.rsplit_once(",p=").ok_or(MALFORMED)?;
        let mut attributes = unsigned.split(',');
        let channel = attributes
            .next()
            .and_then(|field| field.strip_prefix("c="))
            .ok_or(MALFORMED)?;
        let nonce = attributes
            .next()
            .and_then(|field| field.strip_prefix("r="))
            .ok_or(MALFORMED)?;
        let proof: [u8; 32] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(MALFORMED)?;

        let signed = format!("{},{unsigned}", self.signed);
        let signature = keyed_hash(self.verifier.stored_key.expose(), &[signed.as_bytes()]);
        let mut client_key = proof;
        client_key
            .iter_mut()
            .zip(signature)
            .for_each(|(key, byte)| *key ^= byte);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let known = stored_key.ct_eq(self.verifier.stored_key.expose());

        // All three are looked at before any of them decides, so that the time tells nothing.
        let same_nonce = nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        let same_channel = channel.as_bytes().ct_eq(self.channel.as_bytes());
        let server = keyed_hash(self.verifier.server_key.expose(), &[signed.as_bytes()]);
        if !bool::from(same_nonce) {
            return Err(ScramFault::Refused("a nonce that is not the one of this exchange"));
        }
        if !bool::from(same_channel) {
            return Err(ScramFault::Refused(
                "a channel binding that does not match: is there something between that ends TLS?",
            ));
        }
        if !bool::from(known) {
            return Err(ScramFault::Refused("a wrong password, or no such user"));
        }
        Ok((format!("v={}", STANDARD.encode(server)).into_bytes(), Proven(())))
    }
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "c2VydmVyLW5vbmNl";

    fn verifier() -> Verifier {
        Verifier::derive("canary", vec![3; 16], 64)
    }

    /// Plays a whole exchange against postgres-protocol's client.
    fn play(mechanism: &str, binding: &Binding, client: ChannelBinding, password: &str) -> Result<bool, ScramFault> {
        let mut client = ScramSha256::new(password.as_bytes(), client);
        let (challenge, next) = begin(mechanism, client.message(), binding, verifier(), NONCE)?;
        client.update(&challenge).expect("the client understands the challenge");
        let (last, Proven(())) = next.finish(client.message())?;
        Ok(client.finish(&last).is_ok())
    }

    #[test]
    fn the_reference_client_agrees() {
        let hash = vec![9; 32];
        let bound = Binding::ServerEndPoint(hash.clone());
        for password in ["canary", "wrong"] {
            let results = [
                play(SCRAM_SHA_256, &Binding::None, ChannelBinding::unsupported(), password),
                play(SCRAM_SHA_256, &Binding::None, ChannelBinding::unrequested(), password),
                play(SCRAM_SHA_256, &bound, ChannelBinding::unsupported(), password),
                play(
                    SCRAM_SHA_256_PLUS,
                    &bound,
                    ChannelBinding::tls_server_end_point(hash.clone()),
                    password,
                ),
            ];
            for result in results {
                if password == "canary" {
                    assert_eq!(result, Ok(true));
                } else {
                    assert_eq!(result, Err(ScramFault::Refused("a wrong password, or no such user")));
                }
            }
        }
    }

    #[test]
    fn a_downgrade_is_noticed() {
        let bound = Binding::ServerEndPoint(vec![9; 32]);
        let result = play(SCRAM_SHA_256, &bound, ChannelBinding::unrequested(), "canary");
        assert_eq!(result, Err(ScramFault::Downgraded));
    }

    #[test]
    fn a_man_in_the_middle_with_another_certificate_is_noticed() {
        let bound = Binding::ServerEndPoint(vec![9; 32]);
        let other = ChannelBinding::tls_server_end_point(vec![8; 32]);
        assert!(
            matches!(play(SCRAM_SHA_256_PLUS, &bound, other, "canary"), Err(ScramFault::Refused(why)) if why.contains("channel"))
        );
    }

    #[test]
    fn flags_fit_the_mechanism() {
        let bound = Binding::ServerEndPoint(vec![9; 32]);
        let first = |mechanism, message: &str, binding| {
            begin(mechanism, message.as_bytes(), binding, verifier(), NONCE).is_ok()
        };
        assert!(first(SCRAM_SHA_256, "n,,n=,r=abc", &bound));
        assert!(first(SCRAM_SHA_256, "n,,n=ignored,r=abc,extension=1", &bound));
        for (mechanism, message) in [
            (SCRAM_SHA_256, "p=tls-server-end-point,,n=,r=abc"),
            (SCRAM_SHA_256_PLUS, "n,,n=,r=abc"),
            (SCRAM_SHA_256_PLUS, "y,,n=,r=abc"),
            (SCRAM_SHA_256_PLUS, "p=tls-unique,,n=,r=abc"),
            ("SCRAM-SHA-1", "n,,n=,r=abc"),
            ("", "n,,n=,r=abc"),
            (SCRAM_SHA_256, "n,a=admin,n=,r=abc"),
            (SCRAM_SHA_256, "n,,m=x,n=,r=abc"),
            (SCRAM_SHA_256, "n,,n=,r="),
            (SCRAM_SHA_256, "n,,n=,r=a\u{7f}"),
            (SCRAM_SHA_256, "n,,n="),
            (SCRAM_SHA_256, ""),
        ] {
            assert!(!first(mechanism, message, &bound), "{mechanism} {message}");
        }
        assert!(!first(
            SCRAM_SHA_256_PLUS,
            "p=tls-server-end-point,,n=,r=abc",
            &Binding::None
        ));
        assert!(!first(SCRAM_SHA_256, &format!("n,,n=,r={}", "x".repeat(257)), &bound));
    }

    #[test]
    fn a_replayed_proof_is_worth_nothing() {
        let mut client = ScramSha256::new(b"canary", ChannelBinding::unsupported());
        let first = client.message().to_vec();
        let (challenge, next) = begin(SCRAM_SHA_256, &first, &Binding::None, verifier(), NONCE).unwrap();
        client.update(&challenge).unwrap();
        let proof = client.message().to_vec();
        assert!(next.finish(&proof).is_ok());
        let (_, again) = begin(SCRAM_SHA_256, &first, &Binding::None, verifier(), "YW5vdGhlcg").unwrap();
        assert!(matches!(again.finish(&proof), Err(ScramFault::Refused(why)) if why.contains("nonce")));
    }

    #[test]
    fn mocks_are_never_satisfied() {
        let mock = || Verifier::mock(&weir_core::secret::Secret::new([1; 32]), "nobody");
        for password in ["", "canary"] {
            let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            let (challenge, next) = begin(SCRAM_SHA_256, client.message(), &Binding::None, mock(), NONCE).unwrap();
            client.update(&challenge).unwrap();
            assert!(next.finish(client.message()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_messages(first in ".{0,60}", last in "(c=biws,)?(r=[a-z,=]{0,30})?(,p=[A-Za-z0-9+/=]{0,50})?") {
            if let Ok((_, next)) = begin(SCRAM_SHA_256, first.as_bytes(), &Binding::None, verifier(), NONCE) {
                prop_assert!(next.finish(last.as_bytes()).is_err());
            }
            let (_, next) = begin(SCRAM_SHA_256, b"n,,n=,r=abc", &Binding::None, verifier(), NONCE).unwrap();
            prop_assert!(next.finish(last.as_bytes()).is_err());
        }
    }
}
