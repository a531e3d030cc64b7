//! A client that proves nothing: whatever it says, it is never let in.

use weir_core::secret::Secret;
use weir_postgres::login::scram::{self, Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Verifier};

/// The first byte chooses mechanism and binding, the second cuts the rest into the client's two messages.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let Some((first, second)) = crate::cut(rest) else {
        return;
    };
    let mechanism = if choice & 1 == 0 {
        SCRAM_SHA_256
    } else {
        SCRAM_SHA_256_PLUS
    };
    let binding = if choice & 2 == 0 {
        Binding::None
    } else {
        Binding::ServerEndPoint(vec![7; 32])
    };
    let verifier = Verifier::mock(&Secret::new([9; 32]), "nobody");
    let Ok((challenge, state)) = scram::begin(mechanism, first, &binding, verifier, "abcdefgh") else {
        return;
    };
    let challenge = String::from_utf8(challenge).expect("a challenge is text");
    assert!(challenge.starts_with("r=") && challenge.contains("abcdefgh,s="));
    assert!(state.finish(second).is_err(), "let in without a password");
    if let Ok(text) = std::str::from_utf8(rest) {
        let _ = Verifier::parse(text);
    }
}
