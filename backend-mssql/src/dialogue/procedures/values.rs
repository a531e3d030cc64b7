//! Output parameters on their way back: a server's handle becomes the client's, and one that the client has not asked for
//! is kept from it.

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;

use super::NO_HANDLE;
use crate::{
    dialogue::{
        Conversation,
        output::{Output, Patch},
        pending::Pending,
    },
    session::{
        Session,
        handles::{Context, Owner, Prepared, Statement},
        pins::Tie,
    },
    wire::{
        return_value::{self, ReturnValue, Value},
        utf16::Utf16,
    },
};

/// What the response to one call of a request will bring.
#[derive(Debug)]
pub(in crate::dialogue) enum Expected {
    Nothing,
    /// A handle that its client gets a number of its own for.
    Handle {
        /// `None`: too long to keep; it stays on this connection.
        statement: Option<Arc<Statement>>,
        context: Box<Context>,
        /// The one that its client gave back for it.
        replaced: Option<i32>,
    },
    /// A handle that its client asked for and the server was not asked for: the statement was there. The numbers of the
    /// client's own output parameters are lower than it expects.
    KnownHandle {
        statement: Arc<Statement>,
        /// Of the parameter; drivers insist on it.
        name: Box<[u8]>,
        replaced: Option<i32>,
    },
    /// The rest of those.
    Raised,
    /// A handle that the client has not asked for; behind it come the client's own output parameters, whose numbers have
    /// moved by this much.
    HiddenHandle {
        statement: Arc<Statement>,
        context: Box<Context>,
        moved: u16,
    },
    /// The rest of those.
    Moved(u16),
}

/// Calls whose answers are to come.
pub(in crate::dialogue) type ExpectedCalls = VecDeque<Expected>;

impl Conversation {
    /// An output parameter comes back.
    pub(in crate::dialogue) fn tell_value(
        &mut self,
        bytes: &[u8],
        value: &ReturnValue<'_>,
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) {
        let Some(expected) = pending.expected.front_mut() else {
            return output.keep(bytes);
        };
        if let Expected::HiddenHandle { moved, .. } | Expected::Moved(moved) = *expected
            && value.ordinal >= moved
        {
            return output.patch(bytes, ORDINAL, Patch::two(value.ordinal - moved));
        }
        if matches!(expected, Expected::KnownHandle { .. } | Expected::Raised) {
            self.tell_known_handle(pending, output, session);
            return output.patch(bytes, ORDINAL, Patch::two(value.ordinal.saturating_add(RAISED)));
        }
        let (0, Value::Integer { value, at, size: 4 }) = (value.ordinal, value.value) else {
            return output.keep(bytes);
        };
        let handle = i32::try_from(value).unwrap_or(NO_HANDLE);
        match std::mem::replace(expected, Expected::Nothing) {
            Expected::Nothing | Expected::Moved(_) | Expected::KnownHandle { .. } | Expected::Raised => {
                output.keep(bytes)
            }
            Expected::HiddenHandle {
                statement,
                context,
                moved,
            } => {
                session.handles.insert(&statement, &context, handle);
                *expected = Expected::Moved(moved);
                output.drop();
            }
            Expected::Handle {
                statement,
                context,
                replaced,
            } => {
                let prepared = match statement {
                    Some(statement) => {
                        session.handles.insert(&statement, &context, handle);
                        Prepared::Anywhere(statement)
                    }
                    None => {
                        session.pins.add(Tie::Statement);
                        Prepared::Here(Owner { handle })
                    }
                };
                self.give_back_handle(replaced, Some(session));
                let number = self.handles.insert(prepared).unwrap_or(NO_HANDLE);
                output.patch(bytes, at, Patch::four(number));
            }
        }
    }

    /// The client gets a handle of which the server says nothing: in front of its other output parameters, or of the end
    /// of the call.
    pub(in crate::dialogue) fn tell_known_handle(
        &mut self,
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) {
        let Some(expected @ Expected::KnownHandle { .. }) = pending.expected.front_mut() else {
            return;
        };
        let Expected::KnownHandle {
            statement,
            name,
            replaced,
        } = std::mem::replace(expected, Expected::Raised)
        else {
            return;
        };
        self.give_back_handle(replaced, Some(session));
        let number = self.handles.insert(Prepared::Anywhere(statement)).unwrap_or(NO_HANDLE);
        let mut token = BytesMut::new();
        return_value::write_integer(0, Utf16(&name), number, self.version, &mut token);
        output.insert(&token);
    }

    /// The client needs a handle no more. `None` if it has no such.
    pub(in crate::dialogue) fn give_back_handle(
        &mut self,
        handle: Option<i32>,
        session: Option<&mut Session>,
    ) -> Option<()> {
        if let Prepared::Here(owner) = self.handles.remove(handle?)?
            && let Some(session) = session
        {
            session.pins.remove(Tie::Statement, 1);
            session.handles.release(owner.handle);
        }
        Some(())
    }
}

impl Pending {
    /// A call has been answered.
    pub(in crate::dialogue) fn call_answered(&mut self) {
        self.expected.pop_front();
    }
}

/// By how much the numbers of output parameters are lower where a statement is only executed: the texts that it is prepared
/// from are no parameters then.
const RAISED: u16 = 2;

/// Where in a RETURNVALUE its number stands.
const ORDINAL: usize = 1;
