//! CopyInResponse, CopyOutResponse and CopyBothResponse: who sends data from here on.

use super::server;

/// The direction of a COPY, from the server's announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client: `COPY ... FROM STDIN`.
    In,
    /// To the client: `COPY ... TO STDOUT`.
    Out,
    /// Both ways: replication.
    Both,
}

impl Direction {
    /// Which announcement a message is, if it is one.
    pub fn of(kind: u8) -> Option<Direction> {
        match kind {
            server::COPY_IN_RESPONSE => Some(Direction::In),
            server::COPY_OUT_RESPONSE => Some(Direction::Out),
            server::COPY_BOTH_RESPONSE => Some(Direction::Both),
            _ => None,
        }
    }
}
