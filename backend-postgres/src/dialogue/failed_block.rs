//! The client was too slow in a transaction, which was rolled back for that, and does not know yet.
//!
//! A client that takes its transaction to be alive is told with its next statement. One that has been told that its
//! transaction has failed knows what PostgreSQL does then: nothing goes but the end of the block. It gets exactly that,
//! without a server connection, because there is nothing left on any server that the answers could differ by. Absent on
//! purpose: savepoints, which are gone, and `AND CHAIN`, which would need a transaction to follow; both are refused like
//! any other statement, and ROLLBACK gets out.

use std::sync::Arc;

use bytes::BufMut;
use weir_core::backend::{Outbox, Step};

use super::Conversation;
use crate::{
    limits,
    session::{
        block_end::{BlockEnd, block_end},
        classify,
        statement::Statement,
    },
    wire::{
        HEAD, Head,
        bind::{self, Bind},
        client, effective_name,
        error_response::{ErrorMessage, Severity},
        named::Named,
        parse::Parse,
        query,
        ready_for_query::TransactionStatus,
        server, split_string, write,
    },
};

/// Whether the transaction at hand was rolled back under the client.
#[derive(Debug)]
pub(super) enum Abandoned {
    No,
    /// It is told with its next statement.
    Untold(Box<ErrorMessage>),
    /// It takes itself to be in a failed transaction.
    Failed(FailedBlock),
}

/// A failed transaction block that exists in the client's mind only.
#[derive(Debug)]
pub(super) struct FailedBlock {
    /// What every statement but the end of the block is answered.
    refusal: Box<ErrorMessage>,
    reading: Reading,
    /// The name of a portal that would end the block.
    portal: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Normally,
    SkippingToSync,
}

impl FailedBlock {
    pub(super) fn new(refusal: ErrorMessage) -> Self {
        FailedBlock {
            refusal: Box::new(refusal),
            reading: Reading::Normally,
            portal: None,
        }
    }
}

impl Abandoned {
    pub(super) fn is_no(&self) -> bool {
        matches!(self, Abandoned::No)
    }

    /// What the client has to be told, once.
    pub(super) fn take_untold(&mut self) -> Option<Box<ErrorMessage>> {
        match std::mem::replace(self, Abandoned::No) {
            Abandoned::Untold(error) => Some(error),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Conversation {
    /// Answers as PostgreSQL does in a failed transaction block. None if the client is in none, or has just left it with
    /// something that a server has to do.
    pub(super) fn in_failed_block(&mut self, head: Head, bytes: &[u8], out: &mut Outbox) -> Option<Step> {
        let Abandoned::Failed(block) = &mut self.abandoned else {
            return None;
        };
        let skip = Some(Step::Skip(head.total()));
        match head.kind {
            client::SYNC => {
                block.reading = Reading::Normally;
                write::ready_for_query(&mut out.to_client, TransactionStatus::Failed);
                return skip;
            }
            client::FLUSH | client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => return skip,
            _ if block.reading == Reading::SkippingToSync => return skip,
            _ => {}
        }
        let answered = if head.total() > limits::MAX_PEEK as u64 {
            false
        } else {
            let Some(message) = head.message(bytes) else {
                return Some(Step::Need(head.total() as usize));
            };
            match head.kind {
                client::QUERY => match block_end(query::text(head.body(message))) {
                    BlockEnd::ThenMore => {
                        self.abandoned = Abandoned::No;
                        return None;
                    }
                    end => self.query_in_failed_block(end, out),
                },
                client::PARSE => self.parse_in_failed_block(message, out),
                client::BIND => self.bind_in_failed_block(message, out),
                client::DESCRIBE => self.describe_in_failed_block(message, out),
                client::EXECUTE => self.execute_in_failed_block(message, out),
                client::CLOSE => self.close_in_failed_block(head, message, out),
                _ => false,
            }
        };
        if !answered {
            self.refuse_in_failed_block(head, out);
        }
        skip
    }

    fn refuse_in_failed_block(&mut self, head: Head, out: &mut Outbox) {
        let Abandoned::Failed(block) = &mut self.abandoned else {
            return;
        };
        write::error_response(&mut out.to_client, &block.refusal);
        match head.kind {
            client::QUERY | client::FUNCTION_CALL => {
                write::ready_for_query(&mut out.to_client, TransactionStatus::Failed);
            }
            _ => block.reading = Reading::SkippingToSync,
        }
    }

    fn query_in_failed_block(&mut self, end: BlockEnd, out: &mut Outbox) -> bool {
        self.unnamed = None;
        match end {
            BlockEnd::Alone => {
                self.end_failed_block(out);
                write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
                true
            }
            BlockEnd::Empty => {
                write::message(&mut out.to_client, server::EMPTY_QUERY_RESPONSE, |_| {});
                write::ready_for_query(&mut out.to_client, TransactionStatus::Failed);
                true
            }
            BlockEnd::ThenMore | BlockEnd::No => false,
        }
    }

    /// Like COMMIT of a failed transaction, it says ROLLBACK.
    fn end_failed_block(&mut self, out: &mut Outbox) {
        self.abandoned = Abandoned::No;
        write::command_complete(&mut out.to_client, "ROLLBACK");
    }

    fn parse_in_failed_block(&mut self, message: &[u8], out: &mut Outbox) -> bool {
        let Some(parse) = Parse::read(message).filter(Parse::is_well_formed) else {
            return false;
        };
        if block_end(parse.text()) != BlockEnd::Alone {
            return false;
        }
        match effective_name(parse.name) {
            b"" => self.unnamed = Some(Arc::new(Statement::kept(parse.body, classify::classify(parse.text())))),
            name => {
                let has_room = self.statements.check_room(parse.body.len() + name.len()).is_ok();
                if self.statements.find(name).is_some() || !has_room {
                    return false;
                }
                let statement = self.shared.intern(self.fingerprint, parse.body);
                self.statements.insert(name.into(), statement);
            }
        }
        write::parse_complete(&mut out.to_client);
        true
    }

    fn bind_in_failed_block(&mut self, message: &[u8], out: &mut Outbox) -> bool {
        let Some(bind) = Bind::read(message).filter(|bind| self.ends_block(bind.statement)) else {
            return false;
        };
        if bind::value_count(message) != Some(0) {
            return self.refuse_values(bind::value_count(message), out);
        }
        if let Abandoned::Failed(block) = &mut self.abandoned {
            block.portal = Some(bind.portal.into());
        }
        write::message(&mut out.to_client, server::BIND_COMPLETE, |_| {});
        true
    }

    /// What ends a block takes no values.
    fn refuse_values(&mut self, count: Option<u16>, out: &mut Outbox) -> bool {
        if let Abandoned::Failed(block) = &mut self.abandoned {
            block.reading = Reading::SkippingToSync;
        }
        let count = count.unwrap_or_default();
        let message = format!("bind message supplies {count} parameters, but the statement requires 0");
        let error = ErrorMessage {
            severity: Severity::Error,
            sqlstate: "08P01".into(),
            message: message.into(),
            detail: None,
            hint: None,
        };
        write::error_response(&mut out.to_client, &error);
        true
    }

    fn describe_in_failed_block(&self, message: &[u8], out: &mut Outbox) -> bool {
        match Named::read(message) {
            Some(Named::Statement(name)) if self.ends_block(name) => {
                write::message(&mut out.to_client, server::PARAMETER_DESCRIPTION, |out| out.put_u16(0));
            }
            Some(Named::Portal) if self.is_portal_of_end(message.get(HEAD + 1..)) => {}
            _ => return false,
        }
        write::message(&mut out.to_client, server::NO_DATA, |_| {});
        true
    }

    /// What follows in the same group is a transaction of its own again.
    fn execute_in_failed_block(&mut self, message: &[u8], out: &mut Outbox) -> bool {
        let ends = self.is_portal_of_end(message.get(HEAD..));
        if ends {
            self.end_failed_block(out);
        }
        ends
    }

    fn close_in_failed_block(&mut self, head: Head, message: &[u8], out: &mut Outbox) -> bool {
        let named = Named::read(message);
        if let (Some(Named::Portal), Abandoned::Failed(block)) = (named, &mut self.abandoned) {
            block.portal = None;
        }
        named.is_some() && self.close_without_session(head, message, out).is_ok()
    }

    /// Whether the client's statement of this name ends a transaction block.
    fn ends_block(&self, name: &[u8]) -> bool {
        let statement = match effective_name(name) {
            b"" => self.unnamed.as_ref(),
            name => self.statements.find(name).map(|(_, statement)| statement),
        };
        let body = statement.and_then(|statement| statement.body());
        let text = body.and_then(split_string).map(|(text, _)| text);
        text.is_some_and(|text| block_end(text) == BlockEnd::Alone)
    }

    /// Whether `name`, terminated and maybe followed by something, is the portal that ends the block.
    fn is_portal_of_end(&self, name: Option<&[u8]>) -> bool {
        let Abandoned::Failed(FailedBlock {
            portal: Some(portal), ..
        }) = &self.abandoned
        else {
            return false;
        };
        name.and_then(split_string).is_some_and(|(name, _)| *name == **portal)
    }
}
