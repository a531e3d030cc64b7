//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677, PostgreSQL's `auth-scram.c`).
//!
//! Pure but for the random bytes that callers hand in. Must not know where verifiers come from, nor how messages are
//! framed.

mod exchange;
mod verifier;

pub use exchange::{AwaitFinal, Binding, Proven, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramFault, begin};
pub(crate) use verifier::keyed_hash;
pub use verifier::{Verifier, VerifierFault};
