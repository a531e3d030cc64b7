//! Requests of the gateway's own ahead of a client's: statements that several calls in one request need are prepared, and
//! handles that nobody needs any more are given back.

use bytes::{BufMut, BytesMut};

use crate::{
    dialogue::{
        Conversation,
        request::{Asks, Request},
    },
    session::{
        Session,
        handles::{Prepared, StatementKind},
        own::Own,
    },
    wire::{
        packet::{PacketKind, ResetBit},
        rpc::{WellKnown, status, write},
        utf16::Utf16,
    },
};

impl Conversation {
    /// Statements that a request of several calls needs are prepared ahead of it. `true` if an answer has to be awaited.
    pub(in crate::dialogue) fn prepare_ahead(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        out: &mut BytesMut,
    ) -> bool {
        if !session.transaction.is_open()
            && let Some(unused) = session.handles.take_unused()
        {
            release(&unused, session, out);
            return true;
        }
        let Asks::Procedures(front) = &request.asks else {
            return false;
        };
        if front.calls == 1 && request.header.status.ends_message() {
            return false;
        }
        let context = self.context();
        let missing = front
            .executed
            .iter()
            .find_map(|handle| match self.handles.find(*handle) {
                Some(Prepared::Anywhere(statement))
                    if statement.kind == StatementKind::Text
                        && self.unpreparable != Some(statement.id)
                        && session.handles.find(statement, &context).is_none() =>
                {
                    Some(statement.clone())
                }
                _ => None,
            });
        let Some(statement) = missing else { return false };
        let mut payload = session.headers();
        write::call(WellKnown::Prepare, &mut payload);
        write::integer(Utf16::default(), status::OUTPUT, None, &mut payload);
        payload.put_slice(&statement.parameters);
        session.send_own(Own::Prepare, PacketKind::Rpc, ResetBit::None, &payload, out);
        self.preparing = Some((statement, Box::new(context)));
        true
    }

    /// The server has answered that. If it refused, the call itself will be refused, with its own error.
    pub(in crate::dialogue) fn prepared_ahead(&mut self, session: &mut Session) {
        let Some((statement, context)) = self.preparing.take() else {
            return;
        };
        match session.own.handle {
            Some(handle) if session.own.error.is_none() => session.handles.insert(&statement, &context, handle),
            _ => self.unpreparable = Some(statement.id),
        }
    }
}

/// Gives handles back that nobody needs any more, all in one request.
fn release(unused: &[i32], session: &mut Session, out: &mut BytesMut) {
    let mut payload = session.headers();
    for (index, handle) in unused.iter().enumerate() {
        if index > 0 {
            write::separator(&mut payload);
        }
        write::call(WellKnown::Unprepare, &mut payload);
        write::integer(Utf16::default(), 0, Some(*handle), &mut payload);
    }
    session.send_own(Own::Release, PacketKind::Rpc, ResetBit::None, &payload, out);
}
