//! A prepared statement as the gateway knows it: text, parameter types, what running it may touch, and the name under
//! which server connections know it.
//!
//! Invariants: never changes once made; the identity is never given out twice in a process; the text is never longer
//! than what the core shows of one message ([`crate::limits::MAX_PEEK`]).

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::classify::Class;
use crate::wire;

/// Identity of a [`Statement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(u64);

impl StatementId {
    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        StatementId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A prepared statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    id: StatementId,
    server_name: ServerName,
    body: Body,
    class: Class,
    /// Set when a server has prepared it for the first time.
    accepted: OnceLock<Accepted>,
}

/// A server has found nothing wrong with a statement.
#[derive(Debug, PartialEq, Eq)]
struct Accepted;

/// What a Parse needs after the name.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// The rest of the Parse message: text, terminator, number of types, types.
    Kept(Box<[u8]>),
    /// Too long to keep: lives on one server connection only.
    Streamed,
}

impl Statement {
    /// A statement that can be prepared anywhere. `body` is what follows the name in Parse.
    pub fn kept(body: &[u8], class: Class) -> Self {
        let id = StatementId::fresh();
        Statement {
            id,
            server_name: ServerName::of(id),
            body: Body::Kept(body.into()),
            class,
            accepted: OnceLock::new(),
        }
    }

    /// A statement whose text is not kept.
    pub fn streamed(class: Class) -> Self {
        let id = StatementId::fresh();
        Statement {
            id,
            server_name: ServerName::of(id),
            body: Body::Streamed,
            class,
            accepted: OnceLock::new(),
        }
    }

    /// Who it is.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// The name of it on server connections (specification S1 rule 2).
    pub fn server_name(&self) -> &[u8] {
        self.server_name.as_bytes()
    }

    /// What follows the name in Parse, if it was kept.
    pub fn body(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Kept(body) => Some(body),
            Body::Streamed => None,
        }
    }

    /// The SQL, if it was kept.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        let body = self.body()?;
        Some(wire::split_string(body).map_or(body, |(text, _)| text))
    }

    /// What it is, and what running it may touch.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// Takes note that a server has prepared it.
    pub(crate) fn accept(&self) {
        self.accepted.get_or_init(|| Accepted);
    }

    /// Whether a server of its source has ever prepared it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.get().is_some()
    }

    /// Roughly what it costs to keep.
    pub fn weight(&self) -> usize {
        size_of::<Statement>() + self.body().map_or(0, <[u8]>::len)
    }
}

/// The reserved prefix of names that the gateway gives to prepared statements.
pub const SERVER_NAME_PREFIX: &[u8] = b"weir_";

/// A name that no statement has: not base 36 behind the prefix, and never prepared. Messages about a statement that a
/// client does not have are sent with it, so that the server itself raises the error (specification S1 rule 7).
pub const UNKNOWN_NAME: &[u8] = b"weir_-unknown";

/// A name for statements that live for one message, to learn whether a Parse would succeed at this point.
pub const PASSING_NAME: &[u8] = b"weir_-passing";

/// `weir_` and the identity in base 36: short, and never by accident a client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ServerName {
    length: u8,
    bytes: [u8; ServerName::MAX],
}

impl ServerName {
    /// The prefix and the 13 digits that a `u64` has at most in base 36.
    const MAX: usize = SERVER_NAME_PREFIX.len() + 13;

    fn of(StatementId(mut rest): StatementId) -> Self {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut reversed = [0; 13];
        let mut digits = 0;
        while rest > 0 || digits == 0 {
            reversed[digits] = DIGITS[(rest % 36) as usize];
            rest /= 36;
            digits += 1;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..SERVER_NAME_PREFIX.len()].copy_from_slice(SERVER_NAME_PREFIX);
        for (place, digit) in bytes[SERVER_NAME_PREFIX.len()..]
            .iter_mut()
            .zip(reversed[..digits].iter().rev())
        {
            *place = *digit;
        }
        ServerName {
            length: (SERVER_NAME_PREFIX.len() + digits) as u8,
            bytes,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_base_36() {
        assert_eq!(ServerName::of(StatementId(0)).as_bytes(), b"weir_0");
        assert_eq!(ServerName::of(StatementId(35)).as_bytes(), b"weir_z");
        assert_eq!(ServerName::of(StatementId(36)).as_bytes(), b"weir_10");
        assert_eq!(ServerName::of(StatementId(u64::MAX)).as_bytes(), b"weir_3w5e11264sgsf");
    }

    #[test]
    fn identities_differ() {
        assert_ne!(
            Statement::kept(b"", Class::default()).id(),
            Statement::kept(b"", Class::default()).id()
        );
    }
}
