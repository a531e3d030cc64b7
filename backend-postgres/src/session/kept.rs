//! The bytes of one small group, as sent, for as long as it may have to be sent again (specification S1 rule 9).
//!
//! Invariants: at most [`limits::MAX_KEPT_GROUP`] bytes; only ever a Bind, maybe a Describe of its portal, an Execute and
//! a Sync, in this order. The memory stays with the server connection, so that keeping costs no allocation.

use crate::{
    limits,
    wire::{HEAD, client},
};

/// The group.
#[derive(Debug, Default)]
pub(crate) struct KeptGroup {
    /// Empty while nothing is kept.
    bytes: Vec<u8>,
    stage: Stage,
}

/// How much of the group is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Bound,
    Described,
    Executed(Rows),
    Whole(Rows),
}

/// Whether the group asks what its rows look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// It takes them to look as they did before.
    AsBefore,
    Described,
}

impl KeptGroup {
    /// Begins with a Bind: its names as the server gets them, and what follows them. Forgets it if it is too long.
    pub(crate) fn begin(&mut self, portal: &[u8], statement: &[u8], rest: &[u8]) {
        self.forget();
        let length = HEAD + portal.len() + statement.len() + 2 + rest.len();
        if length > limits::MAX_KEPT_GROUP {
            return;
        }
        self.bytes.push(client::BIND);
        self.bytes.extend_from_slice(&(length as u32 - 1).to_be_bytes());
        for name in [portal, statement] {
            self.bytes.extend_from_slice(name);
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(rest);
        self.stage = Stage::Bound;
    }

    /// Whether the next message may belong to it; `length` is its length.
    pub(crate) fn takes(&self, length: u64) -> bool {
        let room = limits::MAX_KEPT_GROUP.saturating_sub(self.bytes.len());
        !matches!(self.stage, Stage::Nothing | Stage::Whole(_)) && length <= room as u64
    }

    /// Takes the next whole message, or forgets everything if it does not belong to such a group.
    pub(crate) fn append(&mut self, message: &[u8]) {
        let kind = message.first().copied().unwrap_or_default();
        let stage = match (self.stage, kind) {
            (Stage::Bound, client::DESCRIBE) if message.get(HEAD) == Some(&b'P') => Stage::Described,
            (Stage::Bound, client::EXECUTE) => Stage::Executed(Rows::AsBefore),
            (Stage::Described, client::EXECUTE) => Stage::Executed(Rows::Described),
            (Stage::Executed(rows), client::SYNC) => Stage::Whole(rows),
            _ => return self.forget(),
        };
        self.bytes.extend_from_slice(message);
        self.stage = stage;
    }

    /// The group, if all of it is there, and what it takes its rows to look like.
    pub(crate) fn whole(&self) -> Option<(&[u8], Rows)> {
        match self.stage {
            Stage::Whole(rows) => Some((&self.bytes, rows)),
            Stage::Nothing | Stage::Bound | Stage::Described | Stage::Executed(_) => None,
        }
    }

    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.stage = Stage::Nothing;
    }
}
