//! What a statement is, and what running it may leave behind on its session, from its text alone.

use super::touched::Touches;

/// What a text is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// What running it may leave behind.
    pub touches: Touches,
    /// What it is, if it is a single statement.
    pub shape: Shape,
}

/// The statements that matter to the dialogue, when they stand alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Anything else, or several statements.
    #[default]
    Other,
    /// Starts a transaction that its client declares READ ONLY.
    BeginReadOnly,
    /// Commits (or prepares) a transaction.
    Commit,
    /// Cannot write, whatever the data: may run on a replica.
    ReadOnly,
    /// `DEALLOCATE ALL` or `DISCARD ALL`: every prepared statement disappears.
    ForgetsStatements,
    /// `DEALLOCATE` of one statement: its name.
    Deallocate(Box<[u8]>),
}

/// What must be assumed of a text that is too long to read.
pub fn too_long_to_read() -> Class {
    Class {
        touches: Touches::UNKNOWN,
        shape: Shape::Other,
    }
}

/// Reads a text.
pub fn classify(_text: &[u8]) -> Class {
    Class {
        touches: Touches::UNKNOWN,
        shape: Shape::Other,
    }
}
