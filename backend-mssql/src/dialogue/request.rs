//! The front of a request, as far as it is looked at before anything is done with it.

use bytes::BytesMut;
use weir_core::refusal::Fault;

use super::{answers::Ending, procedures::Front};
use crate::{
    session::classify::{Bare, Findings, classify},
    wire::{
        TdsVersion,
        all_headers::{AllHeaders, Descriptor},
        done::command,
        packet::{HEADER, Header, PacketKind, ResetBit},
        read::Stop,
        transaction_request::{self, Begin, TransactionRequest},
    },
};

/// The first packet of a request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) header: Header,
    /// The packet, with its header.
    pub(super) packet: &'a [u8],
    /// Where the client believes to be.
    pub(super) descriptor: Option<Descriptor>,
    /// What stands behind ALL_HEADERS.
    pub(super) body: &'a [u8],
    pub(super) asks: Asks<'a>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Asks<'a> {
    /// A batch that is here as a whole.
    Batch(Box<Findings>),
    /// A batch of which more is to come.
    LongBatch,
    Transaction(TransactionRequest<'a>),
    Procedures(Front),
    Bulk,
}

/// A request that could be answered without a server, outside of a transaction that exists there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Begin(Beginning),
    Commit(Option<Beginning>),
    Rollback(Option<Beginning>),
}

/// How a transaction was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// As transaction requests number it; 0: the session's.
    pub(super) isolation: u8,
    pub(super) form: Form,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A transaction manager request.
    Request,
    /// A batch.
    Batch,
}

impl<'a> Request<'a> {
    /// Reads the first packet of a message.
    pub(super) fn read(header: Header, packet: &'a [u8], version: TdsVersion) -> Result<Self, Fault> {
        let payload = &packet[HEADER..];
        let headers = match header.kind.has_headers() && version.is_wide() {
            true => Some(AllHeaders::read(payload).map_err(cut)?),
            false => None,
        };
        let body = &payload[headers.map_or(0, |headers| headers.length)..];
        let is_whole = header.status.ends_message();
        let asks = match header.kind {
            PacketKind::SqlBatch if is_whole => Asks::Batch(Box::new(classify(body))),
            PacketKind::SqlBatch => Asks::LongBatch,
            PacketKind::Rpc => Asks::Procedures(Front::read(body, version)?),
            PacketKind::TransactionManager if is_whole => {
                Asks::Transaction(TransactionRequest::read(body).map_err(cut)?)
            }
            PacketKind::BulkLoad => Asks::Bulk,
            PacketKind::TransactionManager => {
                return Err(Fault::Client("a transaction manager request longer than a packet"));
            }
            _ => return Err(Fault::Client("a message that has no place behind a login")),
        };
        Ok(Request {
            header,
            packet,
            descriptor: headers.and_then(|headers| headers.transaction),
            body,
            asks,
        })
    }

    /// Which reset it asks for.
    pub(super) fn reset(&self) -> ResetBit {
        match self.header.kind {
            PacketKind::BulkLoad => ResetBit::None,
            _ => self.header.status.reset(),
        }
    }

    /// Whether it is, or may be, more than one procedure call.
    pub(super) fn is_batch_of_calls(&self) -> bool {
        match &self.asks {
            Asks::Procedures(front) => front.is_many() || !self.header.status.ends_message(),
            _ => false,
        }
    }

    /// What ends an answer to it.
    pub(super) fn ending(&self) -> Ending {
        match &self.asks {
            Asks::Procedures(_) => Ending::Procedure,
            Asks::Transaction(TransactionRequest::Begin(_)) => Ending::Statement(command::BEGIN),
            Asks::Transaction(TransactionRequest::Commit { .. }) => Ending::Statement(command::COMMIT),
            Asks::Transaction(TransactionRequest::Rollback { .. }) => Ending::Statement(command::ROLLBACK),
            _ => Ending::Statement(command::NONE),
        }
    }

    /// Whether it does nothing but begin or end a transaction (TDS 5.3).
    pub(super) fn control(&self) -> Option<Control> {
        Some(match &self.asks {
            Asks::Batch(findings) => match findings.bare? {
                Bare::Begin => Control::Begin(Beginning {
                    isolation: 0,
                    form: Form::Batch,
                }),
                Bare::Commit => Control::Commit(None),
                Bare::Rollback => Control::Rollback(None),
            },
            Asks::Transaction(TransactionRequest::Begin(begin)) => Control::Begin(Beginning::unnamed(begin)?),
            Asks::Transaction(TransactionRequest::Commit { next, .. }) => Control::Commit(following(next.as_ref())?),
            Asks::Transaction(TransactionRequest::Rollback { name, next }) if name.is_empty() => {
                Control::Rollback(following(next.as_ref())?)
            }
            _ => return None,
        })
    }

    /// The same request without the transaction that is to begin behind it, headers and all, and how that one begins.
    pub(super) fn without_next(&self) -> Option<(BytesMut, Beginning)> {
        let Asks::Transaction(request) = &self.asks else {
            return None;
        };
        let payload = &self.packet[HEADER..];
        let mut shorter = BytesMut::from(&payload[..payload.len() - self.body.len()]);
        let next = match request {
            TransactionRequest::Commit { name, next: Some(next) } => {
                transaction_request::write_commit(*name, &mut shorter);
                next
            }
            TransactionRequest::Rollback { name, next: Some(next) } if name.is_empty() => {
                transaction_request::write_rollback(*name, &mut shorter);
                next
            }
            _ => return None,
        };
        Some((shorter, Beginning::unnamed(next)?))
    }
}

impl Beginning {
    /// A transaction with a name is left to the server.
    fn unnamed(begin: &Begin<'_>) -> Option<Self> {
        begin.name.is_empty().then_some(Beginning {
            isolation: begin.isolation,
            form: Form::Request,
        })
    }
}

/// `None` if what follows has a name.
fn following(next: Option<&Begin<'_>>) -> Option<Option<Beginning>> {
    match next {
        None => Some(None),
        Some(begin) => Beginning::unnamed(begin).map(Some),
    }
}

/// The headers of a request stand in its first packet.
fn cut(stop: Stop) -> Fault {
    match stop {
        Stop::Need(_) => Fault::Client("a request that is cut short"),
        Stop::Fault(what) => Fault::Client(what),
    }
}
