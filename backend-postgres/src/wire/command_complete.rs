//! CommandComplete: what a statement turned out to be.

/// The tags that change what the server still knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `DEALLOCATE ALL`: every prepared statement is gone.
    DeallocateAll,
    /// `DISCARD ALL`: the same, and all other session state.
    DiscardAll,
    /// `DISCARD SEQUENCES`: nothing was ever drawn from one.
    DiscardSequences,
    /// `RESET` of one setting, or of all.
    Reset,
    /// Anything else.
    Other,
}

impl Tag {
    /// Reads the body of a CommandComplete.
    pub fn read(body: &[u8]) -> Tag {
        match body {
            b"DEALLOCATE ALL\0" => Tag::DeallocateAll,
            b"DISCARD ALL\0" => Tag::DiscardAll,
            b"DISCARD SEQUENCES\0" => Tag::DiscardSequences,
            b"RESET\0" => Tag::Reset,
            _ => Tag::Other,
        }
    }
}
