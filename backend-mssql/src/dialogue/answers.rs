//! What the gateway says itself, in place of a server.

use bytes::BytesMut;
use weir_core::backend::Outbox;

use super::Conversation;
use crate::{
    refusals::Words,
    wire::{
        done::{Done, DoneStatus, command},
        env_change::{self, TransactionChange},
        packet::{PacketKind, Status},
        reframe::Reframer,
        token,
    },
};

/// What ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// DONE, for batches and transaction requests.
    Statement(u16),
    /// DONEPROC, for procedures.
    Procedure,
}

impl Ending {
    pub(super) fn done(self, status: DoneStatus) -> Done {
        match self {
            Ending::Statement(command) => Done::statement(status, command),
            Ending::Procedure => Done::procedure(status),
        }
    }
}

/// An answer that is being put together.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    conversation: &'a Conversation,
    payload: BytesMut,
}

impl Conversation {
    pub(super) fn answer(&self) -> Answer<'_> {
        Answer {
            conversation: self,
            payload: BytesMut::new(),
        }
    }

    /// An error in place of whatever was asked.
    pub(super) fn answer_error(&self, words: &Words, out: &mut Outbox) {
        self.answer().error(words).failed(Ending::Statement(command::NONE), out);
    }

    /// The acknowledgement of an Attention that no server has to hear of.
    pub(super) fn acknowledge_attention(&self, out: &mut Outbox) {
        self.answer().done(Done::attention(), out);
    }
}

impl Answer<'_> {
    /// The reset that the client asked for has been done.
    pub(super) fn reset(mut self) -> Self {
        env_change::write_reset_ack(&mut self.payload);
        self
    }

    /// A transaction began or ended; nothing for one without a number.
    pub(super) fn transaction(mut self, change: TransactionChange, descriptor: u64) -> Self {
        if descriptor != 0 {
            env_change::write_transaction(change, descriptor, &mut self.payload);
        }
        self
    }

    /// A procedure that returned 0, with more behind it or at the end of all.
    pub(super) fn procedure(mut self, more: bool) -> Self {
        self.payload.extend_from_slice(&[token::RETURN_STATUS, 0, 0, 0, 0]);
        if more {
            Done::procedure(DoneStatus::MORE).write(self.conversation.version, &mut self.payload);
        }
        self
    }

    pub(super) fn error(mut self, words: &Words) -> Self {
        words.write(self.conversation.version, &mut self.payload);
        self
    }

    /// Tokens as a server sent them.
    pub(super) fn tokens(mut self, tokens: &[u8]) -> Self {
        self.payload.extend_from_slice(tokens);
        self
    }

    pub(super) fn succeeded(self, ending: Ending, out: &mut Outbox) {
        self.done(ending.done(DoneStatus::default()), out);
    }

    pub(super) fn failed(self, ending: Ending, out: &mut Outbox) {
        self.done(ending.done(DoneStatus::ERROR), out);
    }

    pub(super) fn done(mut self, done: Done, out: &mut Outbox) {
        let Conversation {
            version,
            packet_size,
            spid,
            ..
        } = self.conversation;
        done.write(*version, &mut self.payload);
        let mut reframer = Reframer::new(*packet_size);
        reframer.set_spid(*spid);
        reframer.begin(PacketKind::Response, Status::default());
        reframer.push(&self.payload, &mut out.to_client);
        reframer.end(&mut out.to_client);
    }
}
