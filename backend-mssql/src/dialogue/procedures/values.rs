//! Output parameters on their way back: a server's handle becomes the client's, and one that the client has not asked for
//! is kept from it.

use std::{collections::VecDeque, sync::Arc};

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
    wire::return_value::{ReturnValue, Value},
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
    },
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
        let (0, Value::Integer { value, at, size: 4 }) = (value.ordinal, value.value) else {
            return output.keep(bytes);
        };
        let handle = i32::try_from(value).unwrap_or(NO_HANDLE);
        match std::mem::replace(expected, Expected::Nothing) {
            Expected::Nothing | Expected::Moved(_) => output.keep(bytes),
            Expected::HiddenHandle {
                statement,
                context,
                moved,
            } => {
                session.handles.insert(&statement, &context, handle);
                *expected = Expected::Moved(moved);
                output.drop();
            }
            Expected::Handle { statement, context } => {
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
                let number = self.handles.insert(prepared).unwrap_or(NO_HANDLE);
                output.patch(bytes, at, Patch::four(number));
            }
        }
    }
}

impl Pending {
    /// A call has been answered.
    pub(in crate::dialogue) fn call_answered(&mut self) {
        self.expected.pop_front();
    }
}

/// Where in a RETURNVALUE its number stands.
const ORDINAL: usize = 1;
