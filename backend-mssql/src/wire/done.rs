//! DONE, DONEPROC, DONEINPROC: the end of a statement, of a procedure, of a statement in a procedure.
//!
//! Pure. Must not know which of them ends a response: the walker does.

use bytes::{BufMut, BytesMut};

use super::{
    read::{Read, Reader},
    token,
    version::TdsVersion,
};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneKind {
    /// A statement of a batch.
    Statement,
    /// A procedure.
    Procedure,
    /// A statement in a procedure.
    InProcedure,
}

/// Status bits (TDS 4.1). 0x0004, "in a transaction", is never set by SQL Server: nothing may be concluded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DoneStatus(pub u16);

#[allow(missing_docs, reason = "the names are the protocol's own")]
impl DoneStatus {
    pub const MORE: DoneStatus = DoneStatus(0x0001);
    pub const ERROR: DoneStatus = DoneStatus(0x0002);
    pub const COUNT: DoneStatus = DoneStatus(0x0010);
    pub const ATTENTION: DoneStatus = DoneStatus(0x0020);
    pub const RPC_IN_BATCH: DoneStatus = DoneStatus(0x0080);
    pub const SERVER_ERROR: DoneStatus = DoneStatus(0x0100);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: DoneStatus) -> bool {
        self.0 & other.0 == other.0
    }

    /// All of them.
    pub fn with(self, other: DoneStatus) -> DoneStatus {
        DoneStatus(self.0 | other.0)
    }
}

/// Values of CurCmd that the gateway writes itself, or that tell of a write.
pub mod command {
    #![allow(missing_docs, reason = "named after the statements")]
    pub const NONE: u16 = 0x00;
    pub const ROLLBACK: u16 = 0xd2;
    pub const SELECT: u16 = 0xc1;
    pub const SELECT_INTO: u16 = 0xc2;
    pub const INSERT: u16 = 0xc3;
    pub const DELETE: u16 = 0xc4;
    pub const UPDATE: u16 = 0xc5;
    pub const BULK_INSERT: u16 = 0xf0;
    pub const MERGE: u16 = 0x117;
    pub const BEGIN: u16 = 0xd4;
    pub const COMMIT: u16 = 0xd5;
    pub const EXECUTE: u16 = 0xe0;
    pub const ATTENTION: u16 = 0xfd;
}

/// One of the three tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which one.
    pub kind: DoneKind,
    /// Its bits.
    pub status: DoneStatus,
    /// What was executed. No proof of anything: servers of the probe kind name nothing.
    pub command: u16,
    /// Rows, if the COUNT bit is set.
    pub rows: u64,
}

impl Done {
    /// `DONE` of a command of the gateway's own.
    pub fn statement(status: DoneStatus, command: u16) -> Done {
        Done {
            kind: DoneKind::Statement,
            status,
            command,
            rows: 0,
        }
    }

    /// `DONEPROC` of a procedure that the gateway answers.
    pub fn procedure(status: DoneStatus) -> Done {
        Done {
            kind: DoneKind::Procedure,
            status,
            command: command::EXECUTE,
            rows: 0,
        }
    }

    /// Whether it tells of rows that were written: by its command, or (from servers that name none) by a count of rows that
    /// were not selected.
    pub fn is_of_a_write(self) -> bool {
        match self.command {
            command::SELECT_INTO
            | command::INSERT
            | command::DELETE
            | command::UPDATE
            | command::BULK_INSERT
            | command::MERGE => true,
            command::SELECT => false,
            _ => self.status.has(DoneStatus::COUNT),
        }
    }

    /// Whether it proves that a batch has inserted rows itself, and in no procedure or trigger.
    pub fn is_of_an_insert(self) -> bool {
        self.kind == DoneKind::Statement
            && self.command == command::INSERT
            && self.status.has(DoneStatus::COUNT)
            && !self.status.has(DoneStatus::ERROR)
            && self.rows > 0
    }

    /// The acknowledgement of an Attention (TDS 8).
    pub fn attention() -> Done {
        Done::statement(DoneStatus::ATTENTION, command::ATTENTION)
    }

    /// The answer to a request that its client told to ignore (TDS 1.1).
    pub fn ignored() -> Done {
        Done::statement(DoneStatus::ERROR, command::NONE)
    }

    /// Whether a response may end with it: more follows neither in the response nor in the procedure.
    pub fn is_final(self) -> bool {
        self.kind != DoneKind::InProcedure && !self.status.has(DoneStatus::MORE)
    }

    /// Reads the token at the front of `bytes`.
    ///
    /// # Errors
    /// [`Stop::Need`](super::read::Stop::Need): not all of it is there.
    pub fn read(bytes: &[u8], version: TdsVersion) -> Read<Done> {
        let mut reader = Reader::new(bytes);
        let kind = match reader.u8()? {
            token::DONE_PROC => DoneKind::Procedure,
            token::DONE_IN_PROC => DoneKind::InProcedure,
            _ => DoneKind::Statement,
        };
        Ok(Done {
            kind,
            status: DoneStatus(reader.u16()?),
            command: reader.u16()?,
            rows: match version.is_wide() {
                true => reader.u64()?,
                false => u64::from(reader.u32()?),
            },
        })
    }

    /// Writes the token.
    pub fn write(self, version: TdsVersion, out: &mut BytesMut) {
        out.put_u8(match self.kind {
            DoneKind::Statement => token::DONE,
            DoneKind::Procedure => token::DONE_PROC,
            DoneKind::InProcedure => token::DONE_IN_PROC,
        });
        out.put_u16_le(self.status.0);
        out.put_u16_le(self.command);
        match version.is_wide() {
            true => out.put_u64_le(self.rows),
            false => out.put_u32_le(u32::try_from(self.rows).unwrap_or(u32::MAX)),
        }
    }
}
