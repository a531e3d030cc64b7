//! Attention: the client wants what runs to be stopped (TDS 8).
//!
//! Cases of the specification: A, D, E a request is with the server: it is passed on, and the connection stays until it is
//! acknowledged. B, I the request has not been sent: it is dropped, and acknowledged here. C nothing runs: acknowledged
//! here. H in the middle of a message: a violation.

use bytes::BufMut;
use weir_core::{
    backend::{Outbox, Step},
    refusal::Fault,
};

use super::{Conversation, answers::Ending, from_client::Incoming};
use crate::{
    session::{Exchange, Session, Traces},
    wire::{
        done::command,
        packet::{HEADER, Header, PacketKind},
    },
};

impl Conversation {
    pub(super) fn on_attention(&mut self, session: Option<&mut Session>, out: &mut Outbox) -> Result<Step, Fault> {
        if !matches!(self.incoming, Incoming::Between | Incoming::Waiting) {
            return Err(Fault::Client("an Attention in the middle of a message"));
        }
        match session {
            Some(session) if session.exchange == Exchange::Theirs => {
                session.attentions.sent();
                session.traces = Traces::Left;
                Ok(Step::Forward(HEADER as u64))
            }
            _ => {
                self.acknowledge_attention(out);
                Ok(Step::Skip(HEADER as u64))
            }
        }
    }

    /// Stops what runs, because it took too long or its client has left. Nobody asked for the acknowledgement.
    pub(super) fn interrupt(&mut self, session: &mut Session, out: &mut Outbox) {
        let Some(pending) = &mut self.pending else { return };
        if session.exchange == Exchange::Theirs && !session.attentions.is_owed() {
            session.attentions.sent();
            session.traces = Traces::Left;
            pending.own_attentions += 1;
            out.to_server.put_slice(&Header::attention().to_bytes());
        }
    }

    pub(super) fn is_withdrawn(&self, bytes: &[u8]) -> bool {
        matches!(self.incoming, Incoming::Between | Incoming::Waiting) && withdrawn(bytes).is_some()
    }

    /// A request that was taken back before anything was done with it.
    pub(super) fn drop_withdrawn(&mut self, bytes: &[u8], out: &mut Outbox) -> Option<Step> {
        let length = withdrawn(bytes)?;
        // As a server does that was interrupted before it could do anything: the end of the response, then the
        // acknowledgement in a message of its own. One driver takes the first message for the response, whatever it holds.
        let ending = match bytes.first() {
            Some(kind) if *kind == PacketKind::Rpc as u8 => Ending::Procedure,
            _ => Ending::Statement(command::NONE),
        };
        self.answer().failed(ending, out);
        self.acknowledge_attention(out);
        self.request_over();
        Some(Step::Skip(length as u64))
    }
}

/// Bytes of a whole message and the Attention right behind it.
fn withdrawn(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = Header::read(bytes.get(at..)?).ok().flatten()?;
        let is_attention = header.kind == PacketKind::Attention;
        if is_attention {
            return None;
        }
        at += usize::from(header.length);
        if header.status.ends_message() {
            break;
        }
    }
    let next = Header::read(bytes.get(at..)?).ok().flatten()?;
    (next.kind == PacketKind::Attention).then_some(at + HEADER)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::{packet::Status, reframe::frame};

    #[test]
    fn a_request_with_an_attention_behind_it_is_withdrawn() {
        let mut bytes = BytesMut::new();
        frame(PacketKind::SqlBatch, Status::default(), &[0; 1200], 512, &mut bytes);
        let length = bytes.len();
        assert_eq!(withdrawn(&bytes), None);
        bytes.put_slice(&Header::attention().to_bytes());
        assert_eq!(withdrawn(&bytes[..length + 7]), None);
        assert_eq!(withdrawn(&bytes), Some(length + HEADER));
        assert_eq!(withdrawn(&Header::attention().to_bytes()), None);
        // In the middle of a message it is a violation, found elsewhere.
        let mut broken = BytesMut::from(&bytes[..512]);
        broken.put_slice(&Header::attention().to_bytes());
        assert_eq!(withdrawn(&broken), None);
    }
}
