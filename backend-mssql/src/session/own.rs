//! Requests of the gateway's own on a server connection, and their answers, which no client sees.
//!
//! Invariants: a text of ours holds nothing of a client but names that were quoted and values that were read as constants;
//! an answer is read to its end and judged as a whole. What every token means for the session, whoever asked, is here too.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use weir_core::refusal::Fault;

use super::{
    Exchange, Session,
    pins::Tie,
    settings::{Isolation, Key, Setting},
    transaction::Told,
};
use crate::wire::{
    all_headers,
    done::{Done, DoneStatus},
    env_change::{self, EnvChange, TransactionChange},
    packet::{PacketKind, ResetBit, Status},
    reframe::frame,
    return_value::Value,
    transaction_request,
    utf16::{self, Utf16},
    walker::{Content, Piece},
};

/// What a request of the gateway's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// The client's settings, perhaps with a reset (TDS 6.5).
    Settings,
    /// The transaction that was begun virtually (TDS 5.3).
    Begin,
    /// How deep in transactions is it? (TDS 4.3a)
    Count,
    /// For a client that took too long, or left.
    Rollback,
    /// A statement that an RPC batch needs (TDS 7.2).
    Prepare,
    /// Handles that nobody needs any more.
    Release,
    /// A reset that cannot wait for the next client.
    Reset,
    /// `@@IDENTITY` and `SCOPE_IDENTITY()` of somebody else, where a reset would take too much with it.
    Forget,
}

/// What has come so far of an answer.
#[derive(Debug, Default)]
pub(crate) struct OwnAnswer {
    /// The first error: its token, as it came.
    pub(crate) error: Option<Box<[u8]>>,
    /// The last bytes that were no tokens: the end of the row that holds a count.
    tail: Vec<u8>,
    /// The handle of what was prepared.
    pub(crate) handle: Option<i32>,
    reset: Acknowledgement,
}

/// Whether the server has said that it reset the session, and whether it has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Acknowledgement {
    #[default]
    NotAsked,
    /// It is the first token that comes (TDS 6.1).
    Awaited(Keeping),
}

/// What a reset leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Nothing,
    Transaction,
}

impl Session {
    /// Sends a batch of the gateway's own.
    pub(crate) fn ask(&mut self, own: Own, text: &str, reset: ResetBit, out: &mut BytesMut) {
        let mut payload = match reset {
            ResetBit::Connection => self.headers_in(0),
            _ => self.headers(),
        };
        payload.put_slice(&utf16::encode(text));
        self.send_own(own, PacketKind::SqlBatch, reset, &payload, out);
    }

    /// Begins a transaction.
    pub(crate) fn ask_to_begin(&mut self, isolation: u8, out: &mut BytesMut) {
        let mut payload = self.headers();
        transaction_request::write_begin(isolation, Utf16::default(), &mut payload);
        self.send_own(
            Own::Begin,
            PacketKind::TransactionManager,
            ResetBit::None,
            &payload,
            out,
        );
    }

    /// Sends a request of the gateway's own, without its headers.
    pub(crate) fn send_own(&mut self, own: Own, kind: PacketKind, reset: ResetBit, payload: &[u8], out: &mut BytesMut) {
        self.own = OwnAnswer::default();
        self.begin(Exchange::Own(own));
        self.expect_reset(reset);
        frame(kind, status(reset), payload, self.packet_size, out);
    }

    /// The headers of a request in the transaction that is open here (TDS 5.1).
    pub(crate) fn headers(&self) -> BytesMut {
        self.headers_in(self.transaction.descriptor())
    }

    /// The headers of a request in this transaction; 0: in none, as behind a reset. Old servers know none.
    fn headers_in(&self, descriptor: u64) -> BytesMut {
        let mut payload = BytesMut::with_capacity(128);
        if self.version.is_wide() {
            all_headers::write(descriptor, &mut payload);
        }
        payload
    }

    /// The request that is being sent asks for a reset, or not.
    pub(crate) fn expect_reset(&mut self, reset: ResetBit) {
        self.own.reset = match reset {
            ResetBit::None => Acknowledgement::NotAsked,
            ResetBit::Connection => Acknowledgement::Awaited(Keeping::Nothing),
            ResetBit::ConnectionButTransaction => Acknowledgement::Awaited(Keeping::Transaction),
        };
    }

    /// More of the answer to a request of the gateway's own.
    pub(crate) fn read_own(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut walker) = self.walker.take() else {
            return Err(self.fail("a response is lost"));
        };
        let mut input = payload;
        let result = loop {
            match walker.next(&mut input) {
                Ok(Some(Piece::Pass(bytes))) => {
                    if let Err(fault) = self.note_row() {
                        break Err(fault);
                    }
                    self.own.pass(bytes);
                }
                Ok(Some(Piece::Token(token))) => {
                    if let Err(fault) = self.note(&token.content) {
                        break Err(fault);
                    }
                    self.own.see(&token.content, token.bytes);
                }
                Ok(None) => break Ok(()),
                Err(what) => break Err(self.fail(what)),
            }
        };
        self.walker = Some(walker);
        result
    }

    /// The answer to [`Own::Count`] is complete.
    pub(crate) fn counted(&mut self) -> Result<(), Fault> {
        match (self.own.error.is_some(), integer_of_row(&self.own.tail)) {
            (false, Some(count)) => {
                self.transaction.counted(count);
                Ok(())
            }
            _ => Err(self.fail("no answer to how many transactions are open")),
        }
    }

    /// Rows or their description: nothing that may stand in front of the acknowledgement of a reset.
    pub(crate) fn note_row(&mut self) -> Result<(), Fault> {
        match self.own.reset {
            Acknowledgement::NotAsked => Ok(()),
            Acknowledgement::Awaited(_) => Err(self.fail("a reset was not acknowledged")),
        }
    }

    /// What a token means for the session.
    pub(crate) fn note(&mut self, content: &Content<'_>) -> Result<(), Fault> {
        match content {
            Content::EnvChange(change) => return self.note_change(change),
            Content::Error(_) | Content::Info(_) => return Ok(()),
            Content::Done(done) => self.note_done(*done)?,
            Content::SessionState(state) => {
                if let Some(states) = &mut self.states {
                    states.told(state);
                }
            }
            _ => {}
        }
        self.note_row()
    }

    fn note_done(&mut self, done: Done) -> Result<(), Fault> {
        if done.status.has(DoneStatus::ATTENTION) && !self.attentions.acknowledged() {
            return Err(self.fail("an Attention is acknowledged that was never sent"));
        }
        Ok(())
    }

    fn note_change(&mut self, change: &EnvChange<'_>) -> Result<(), Fault> {
        match change {
            EnvChange::Transaction { change, descriptor, .. } => {
                if *change == TransactionChange::Enlist {
                    self.pins.add(Tie::Irreversible);
                }
                self.transaction.told(match change {
                    TransactionChange::Begin | TransactionChange::Enlist => Told::Began(*descriptor),
                    _ => Told::Ended,
                });
            }
            EnvChange::Database { new, .. } => self.database = Some(Arc::from(new.to_lossy())),
            EnvChange::Language { new, .. } => self.settings.set(language(&new.to_lossy())),
            EnvChange::Other(env_change::kind::PROMOTE | env_change::kind::MANAGER_ADDRESS) => {
                self.pins.add(Tie::Irreversible);
            }
            EnvChange::ResetAck => return self.note_reset(),
            EnvChange::Routing { .. } => return Err(self.fail("a redirection outside of a login")),
            EnvChange::PacketSize { .. } => return Err(self.fail("another packet size outside of a login")),
            EnvChange::Collation { .. } | EnvChange::Other(_) => {}
        }
        Ok(())
    }

    fn note_reset(&mut self) -> Result<(), Fault> {
        let Acknowledgement::Awaited(keeping) = std::mem::take(&mut self.own.reset) else {
            return Err(self.fail("a reset is acknowledged that nobody asked for"));
        };
        let transaction = self.transaction;
        self.was_reset();
        if keeping == Keeping::Transaction {
            self.transaction = transaction;
        }
        Ok(())
    }
}

impl OwnAnswer {
    fn pass(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(ROW)..]);
        let surplus = self.tail.len().saturating_sub(ROW);
        self.tail.drain(..surplus);
    }

    fn see(&mut self, content: &Content<'_>, bytes: &[u8]) {
        match content {
            Content::Error(_) if self.error.is_none() => self.error = Some(bytes.into()),
            Content::ReturnValue(value) if self.handle.is_none() => {
                if let Value::Integer { value, .. } = value.value {
                    self.handle = i32::try_from(value).ok();
                }
            }
            _ => {}
        }
    }
}

/// Bytes of the longest row of one INT: token, length, value.
const ROW: usize = 6;

/// The value of a row of one INT, with or without a length in front.
pub(crate) fn integer_of_row(tail: &[u8]) -> Option<i32> {
    let (head, value) = tail.split_last_chunk::<4>()?;
    match head {
        [.., 0xd1, 4] | [.., 0xd1] => Some(i32::from_le_bytes(*value)),
        _ => None,
    }
}

/// The status bits that ask for a reset.
pub(crate) fn status(reset: ResetBit) -> Status {
    match reset {
        ResetBit::None => Status::default(),
        ResetBit::Connection => Status::RESET_CONNECTION,
        ResetBit::ConnectionButTransaction => Status::RESET_CONNECTION_SKIP_TRANSACTION,
    }
}

/// The setting that `SET LANGUAGE` with this name comes to.
pub(crate) fn language(name: &str) -> Setting {
    Setting {
        key: Key::Language,
        value: format!("N'{}'", name.replace('\'', "''")).into(),
    }
}

/// Ends whatever transaction there is and puts the isolation level back, which no reset does (TDS 6.1). The SET comes last:
/// it leaves `@@ROWCOUNT` at 0, as a login does.
pub(crate) fn reset_text(isolation: Isolation) -> String {
    format!("{ROLLBACK};{COUNT};{}", isolation.statement())
}

/// Leaves `@@IDENTITY`, `SCOPE_IDENTITY()`, `@@ROWCOUNT` and `@@ERROR` as after a login, and nothing else: a row went into a
/// table without an identity column, which ends with the batch and is no part of a transaction; PRINT leaves a count of 0.
pub(crate) const FORGET: &str = "DECLARE @weir TABLE (a int); INSERT INTO @weir VALUES (0); PRINT ''";

/// The same where the INSERT would, or might, begin a transaction (IMPLICIT_TRANSACTIONS).
pub(crate) const FORGET_WITHOUT_BEGINNING: &str = "\
    DECLARE @weir TABLE (a int); DECLARE @begins int; SET @begins = @@OPTIONS & 2; \
    IF @begins = 2 SET IMPLICIT_TRANSACTIONS OFF; INSERT INTO @weir VALUES (0); \
    IF @begins = 2 SET IMPLICIT_TRANSACTIONS ON; PRINT ''";

/// Asks how deep in transactions the session is.
pub(crate) const COUNT: &str = "SELECT @@TRANCOUNT";

/// Ends whatever transaction there is, and asks whether that worked.
pub(crate) fn rollback_text() -> String {
    format!("{ROLLBACK};{COUNT}")
}

/// Ends a transaction, if there is one.
pub(crate) const ROLLBACK: &str = "IF @@TRANCOUNT > 0 ROLLBACK TRAN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_in_either_layout() {
        assert_eq!(integer_of_row(&[0xd1, 4, 1, 0, 0, 0]), Some(1));
        assert_eq!(integer_of_row(&[0x00, 0xd1, 2, 0, 0, 0]), Some(2));
        assert_eq!(integer_of_row(&[0xd1, 2, 0, 0, 0]), Some(2));
        assert_eq!(integer_of_row(&[0xd1, 0]), None);
        assert_eq!(integer_of_row(&[]), None);
    }
}
