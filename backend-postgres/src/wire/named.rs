//! Describe and Close, which are alike: about a statement or a portal, by name.

use super::{HEAD, split_string};

/// What a Describe or Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal. Portals end with the transaction, so their names are the client's own.
    Portal,
}

impl<'a> Named<'a> {
    /// Reads a whole message; `None` if it is malformed.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (kind, rest) = message.get(HEAD..)?.split_first()?;
        let (name, rest) = split_string(rest)?;
        match kind {
            b'S' if rest.is_empty() => Some(Named::Statement(name)),
            b'P' if rest.is_empty() => Some(Named::Portal),
            _ => None,
        }
    }
}
