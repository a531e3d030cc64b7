//! A handle that the server does not know any more (TDS 7.2): somebody reset its session behind our back, or dropped what
//! the statement was compiled for. The call is sent once more, as one that prepares the statement first.
//!
//! Invariant: only a call of which nothing was executed is repeated. The proof is an answer that says so about the very
//! handle that was sent, and nothing else: no status, no row, no end of a transaction. Anything less goes to the client as
//! it came, and the handle is forgotten.

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, Step},
    refusal::Fault,
};

use super::{Front, Stream};
use crate::{
    dialogue::{
        Conversation,
        output::Patch,
        pending::{Acknowledgement, Pending},
        request::Request,
    },
    limits,
    session::{Exchange, Session, Tracker},
    wire::{
        TdsVersion,
        done::{DoneKind, DoneStatus},
        packet::{HEADER, Header, Status},
        rpc::WellKnown,
        token,
        utf16::Utf16,
        walker::{Content, Layout, Piece, Walker},
    },
};

/// A call that may have to be sent once more.
#[derive(Debug)]
pub(in crate::dialogue) struct Kept {
    /// As the client sent it.
    packets: BytesMut,
    /// Where in the first packet's payload the transaction's number stands, and the server's own.
    descriptor: Option<(usize, u64)>,
    /// The server's handle that took the place of the client's.
    handle: Option<i32>,
}

impl Front {
    /// Whether it is, as far as can be seen, one call that executes what was prepared before.
    pub(in crate::dialogue) fn is_execution(&self) -> bool {
        self.calls == 1 && matches!(self.first, Some(WellKnown::Execute | WellKnown::PrepExec))
    }
}

impl Kept {
    /// Its first packet.
    pub(in crate::dialogue) fn new(packet: &[u8], descriptor: Option<(usize, u64)>) -> Box<Self> {
        Box::new(Kept {
            packets: BytesMut::from(packet),
            descriptor,
            handle: None,
        })
    }
}

impl Pending {
    /// A further packet of the request.
    pub(in crate::dialogue) fn keep(&mut self, packet: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        match kept.packets.len() + packet.len() <= limits::MAX_KEPT_REQUEST {
            true => kept.packets.extend_from_slice(packet),
            false => self.kept = None,
        }
    }

    /// A call of the request goes out with this handle of the server's.
    pub(super) fn relies_on(&mut self, handle: i32) {
        if let Some(kept) = &mut self.kept {
            kept.handle = Some(handle);
        }
    }

    /// The request need not be sent again.
    pub(in crate::dialogue) fn forget_request(&mut self) {
        self.kept = None;
    }
}

impl Conversation {
    /// Sends the request once more if this packet, the first of its response, proves that nothing of it was executed.
    pub(in crate::dialogue) fn repeats(
        &mut self,
        header: Header,
        packet: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<bool, Fault> {
        let Some((kept, handle)) = self.pending.as_mut().and_then(|pending| {
            let kept = pending.kept.take()?;
            let handle = kept.handle?;
            Some((kept, handle))
        }) else {
            return Ok(false);
        };
        let Some(pending) = &self.pending else {
            return Ok(false);
        };
        let payload = &packet[HEADER..];
        // There an error may have ended the transaction without a word.
        let may_be_over = session.transaction.tracker() == Tracker::Probe && session.transaction.is_open();
        let proves = header.status.ends_message()
            && pending.expected.len() == 1
            && !session.attentions.is_owed()
            && !may_be_over
            && knows_nothing_of(handle, payload, self.version);
        if !proves || self.is_gone() {
            return Ok(false);
        }
        let acknowledgement = pending.acknowledgement;
        self.pending = None;
        session.read_own(payload)?;
        if !session.message_ended()? {
            return Err(session.fail("a response that is over and is not"));
        }
        session.handles.forget(handle);
        self.send_again(&kept, acknowledgement, session, out)?;
        Ok(true)
    }

    fn send_again(
        &mut self,
        kept: &Kept,
        acknowledgement: Acknowledgement,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let mut rest = &kept.packets[..];
        let mut is_first = true;
        while let Some((header, packet)) = first_packet(rest) {
            rest = &rest[packet.len()..];
            let both = Status::RESET_CONNECTION.with(Status::RESET_CONNECTION_SKIP_TRANSACTION);
            let wanted = Header {
                status: header.status.without(both),
                ..header
            };
            let step = if std::mem::take(&mut is_first) {
                let request = Request::read(header, packet, self.version)?;
                let mut pending = Box::new(self.expectation(&request));
                pending.acknowledgement = acknowledgement;
                pending.stream = Some(Box::new(Stream::new(self.version)));
                self.pending = Some(pending);
                session.begin(Exchange::Theirs);
                let headers = &packet[HEADER..packet.len() - request.body.len()];
                self.pass(header, wanted, packet, session, out, |output| match kept.descriptor {
                    Some((at, value)) => output.patch(headers, at, Patch::eight(value)),
                    None => output.keep(headers),
                })?
            } else {
                self.pass(header, wanted, packet, session, out, |_| {})?
            };
            if let Step::Forward(_) = step {
                out.to_server.extend_from_slice(packet);
            }
        }
        Ok(())
    }

    /// The server says that it does not know a handle, or not here: the next call will prepare it again.
    pub(in crate::dialogue) fn note_lost_handle(&self, number: i32, text: Utf16<'_>, session: &mut Session) {
        if is_lost_handle(number) {
            for handle in numbers(text) {
                session.handles.forget(handle);
            }
        }
    }
}

fn first_packet(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::read(bytes).ok()??;
    Some((header, bytes.get(..usize::from(header.length))?))
}

/// "Could not find prepared statement with handle %d" and "The prepared statement handle %d is not valid in this context".
fn is_lost_handle(number: i32) -> bool {
    matches!(number, 8179 | 586)
}

/// The numbers that a text names; the words around them are in the language of the session.
fn numbers(text: Utf16<'_>) -> Vec<i32> {
    let text = text.to_lossy();
    let digits = text.split(|character: char| !character.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

/// Whether a response says that the server does not know this handle, and nothing else.
fn knows_nothing_of(handle: i32, payload: &[u8], version: TdsVersion) -> bool {
    if payload.first() != Some(&token::ERROR) {
        return false;
    }
    let mut walker = Walker::new(Layout {
        version,
        ..Layout::default()
    });
    let (mut input, mut said) = (payload, Said::Nothing);
    loop {
        let token = match walker.next(&mut input) {
            Ok(Some(Piece::Token(token))) => token,
            Ok(None) => return said == Said::Failed && walker.is_complete(),
            Ok(Some(Piece::Pass(_))) | Err(_) => return false,
        };
        said = match (said, &token.content) {
            (Said::Nothing, Content::Error(error))
                if is_lost_handle(error.number) && numbers(error.text).contains(&handle) =>
            {
                Said::Unknown
            }
            (Said::Unknown, Content::SessionState(_)) => Said::Unknown,
            (Said::Unknown, Content::Done(done))
                if done.kind == DoneKind::Procedure && done.status.has(DoneStatus::ERROR) && done.is_final() =>
            {
                Said::Failed
            }
            _ => return false,
        };
    }
}

/// What a response has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Unknown,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        refusals::Words,
        wire::{done::Done, env_change, return_value},
    };

    fn response(number: i32, text: &'static str, write: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut payload = BytesMut::new();
        Words::new(number, 16, text).write(TdsVersion::V7_4, &mut payload);
        write(&mut payload);
        Done::procedure(DoneStatus::ERROR).write(TdsVersion::V7_4, &mut payload);
        payload
    }

    #[test]
    fn only_an_answer_about_the_very_handle_and_nothing_else_is_a_proof() {
        let proves = |payload: &[u8]| knows_nothing_of(17, payload, TdsVersion::V7_4);
        let text = "Could not find prepared statement with handle 17.";
        assert!(proves(&response(8179, text, |_| {})));
        assert!(proves(&response(8179, "Prepared statement not found: 17", |_| {})));
        assert!(proves(&response(586, "Das Handle 17 gilt hier nicht.", |_| {})));
        assert!(!proves(&response(
            8179,
            "Could not find prepared statement with handle 171.",
            |_| {}
        )));
        assert!(!proves(&response(2627, text, |_| {})), "another error");
        // The statement itself has executed a handle, and returns what that returned.
        assert!(!proves(&response(8179, text, |out| return_value::write_status(
            8179, out
        ))));
        // XACT_ABORT has rolled the transaction back.
        assert!(!proves(&response(8179, text, |out| {
            env_change::write_transaction(env_change::TransactionChange::Rollback, 5, out);
        })));
        assert!(!proves(&response(8179, text, |out| {
            Done::procedure(DoneStatus::MORE).write(TdsVersion::V7_4, out);
        })));
        let whole = response(8179, text, |_| {});
        for cut in 0..whole.len() {
            assert!(!proves(&whole[..cut]), "{cut}");
        }
    }
}
