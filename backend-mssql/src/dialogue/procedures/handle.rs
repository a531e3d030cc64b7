//! Handles in a call that goes to the server: the client's number becomes the server connection's, or the call becomes one
//! that prepares the statement first.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{NO_HANDLE, handle_of, stream::Passage, values::Expected};
use crate::{
    dialogue::{
        Conversation,
        output::{Output, Patch},
    },
    session::{
        handles::{Context, Prepared, Statement, StatementKind},
        settings::Key,
    },
    wire::{
        rpc::{NO_METADATA, Parameter, ParameterValue, WellKnown, status, write},
        utf16::Utf16,
    },
};

impl Conversation {
    /// What the client's statements are compiled under.
    pub(super) fn context(&self) -> Context {
        Context {
            database: self.now.database.clone(),
            ansi_nulls: self.now.settings.value(Key::AnsiNulls).map(Box::from),
            quoted_identifier: self.now.settings.value(Key::QuotedIdentifier).map(Box::from),
        }
    }

    /// The handle of `sp_execute`.
    pub(super) fn execute(&self, parameter: &Parameter<'_>, flags: u16, head: &[u8], passage: &mut Passage<'_, '_>) {
        let Passage {
            pending,
            output,
            session,
        } = passage;
        let prepared = handle_of(parameter).and_then(|handle| self.handles.find(handle));
        let head = without_metadata_flag(head, flags);
        let known = match prepared {
            None => {
                pending.forget_request();
                NO_HANDLE
            }
            Some(Prepared::Here(owner)) => {
                pending.forget_request();
                owner.handle
            }
            Some(Prepared::Anywhere(statement)) => {
                pending.joined(&statement.findings);
                if statement.text.is_some() {
                    pending.text.clone_from(&statement.text);
                }
                match session.handles.find(statement, &self.context()) {
                    Some(handle) => {
                        pending.relies_on(handle);
                        handle
                    }
                    None => {
                        pending.forget_request();
                        return self.execute_and_prepare(statement, passage);
                    }
                }
            }
        };
        if let ParameterValue::Integer { at, size: 4, .. } = parameter.value {
            output.keep_or_insert(&head, flags & NO_METADATA == 0);
            return output.patch(parameter.bytes, at, Patch::four(known));
        }
        output.insert(&head);
        let mut value = BytesMut::new();
        write::integer(parameter.name, parameter.status, Some(known), &mut value);
        output.insert(&value);
    }

    /// The server connection does not have the statement: the same call prepares it.
    fn execute_and_prepare(&self, statement: &Arc<Statement>, passage: &mut Passage<'_, '_>) {
        let mut call = BytesMut::new();
        write::call(statement.kind.executed_first_by(), &mut call);
        write::integer(Utf16::default(), status::OUTPUT, None, &mut call);
        call.put_slice(&statement.parameters);
        passage.output.insert(&call);
        if let Some(expected) = passage.pending.expected.back_mut() {
            *expected = Expected::HiddenHandle {
                statement: statement.clone(),
                context: Box::new(self.context()),
                moved: statement.kind.parameters() as u16,
            };
        }
    }

    /// `sp_prepexec` of a statement that the server connection has: it need only be executed (TDS 7.2). `false`: it does
    /// not have it.
    pub(super) fn execute_instead(
        &self,
        statement: Arc<Statement>,
        name: Box<[u8]>,
        replaced: Option<i32>,
        passage: &mut Passage<'_, '_>,
    ) -> bool {
        let Some(handle) = passage.session.handles.find(&statement, &self.context()) else {
            return false;
        };
        passage.pending.relies_on(handle);
        let mut call = BytesMut::new();
        write::call(WellKnown::Execute, &mut call);
        write::integer(Utf16::default(), 0, Some(handle), &mut call);
        passage.output.insert(&call);
        if let Some(expected) = passage.pending.expected.back_mut() {
            *expected = Expected::KnownHandle {
                statement,
                name,
                replaced,
            };
        }
        true
    }

    /// `sp_unprepare` between other calls: it is carried out, for what the server has.
    pub(super) fn unprepare_in_batch(&self, parameter: &Parameter<'_>, passage: &mut Passage<'_, '_>) {
        let context = self.context();
        let known = handle_of(parameter).and_then(|handle| match self.handles.find(handle)? {
            Prepared::Here(owner) => Some(owner.handle),
            Prepared::Anywhere(statement) => passage.session.handles.take(statement, &context),
        });
        let mut value = BytesMut::new();
        write::integer(
            parameter.name,
            parameter.status,
            Some(known.unwrap_or(NO_HANDLE)),
            &mut value,
        );
        passage.output.insert(&value);
    }
}

impl StatementKind {
    /// How many parameters behind the handle say what is prepared.
    pub(super) fn parameters(self) -> u32 {
        match self {
            StatementKind::Text => 2,
            StatementKind::Procedure => 1,
        }
    }

    /// What prepares and executes in one.
    pub(super) fn executed_first_by(self) -> WellKnown {
        match self {
            StatementKind::Text => WellKnown::PrepExec,
            StatementKind::Procedure => WellKnown::PrepExecRpc,
        }
    }
}

impl Output<'_> {
    /// Bytes of a call's head: as they came, or changed.
    fn keep_or_insert(&mut self, bytes: &[u8], as_they_came: bool) {
        match as_they_came {
            true => self.keep(bytes),
            false => self.insert(bytes),
        }
    }
}

/// The flags stand at the end of a head without a package for an enclave.
pub(super) fn without_metadata_flag(head: &[u8], flags: u16) -> BytesMut {
    let mut head = BytesMut::from(head);
    let at = head.len().saturating_sub(2);
    if flags & NO_METADATA != 0
        && let Some(place) = head.get_mut(at..)
    {
        place.copy_from_slice(&(flags & !NO_METADATA).to_le_bytes());
    }
    head
}
