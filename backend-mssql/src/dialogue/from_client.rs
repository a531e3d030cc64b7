//! The client's stream: requests are read at their front, prepared for, and passed on packet by packet.
//!
//! Invariants: nothing of a request is sent before the server connection is the client's own and its transaction is there;
//! a request of any size streams; packets go on as they came where that is possible, and are cut anew for the server's
//! packet size where it is not (TDS 1.2).

use bytes::{BufMut, BytesMut};
use weir_core::{
    backend::{Access, Outbox, Step},
    refusal::{Fault, Refusal},
    settings::PoolMode,
};

use super::{
    Conversation,
    adopt::{Adoption, Asked, Ready},
    answers::Ending,
    pending::{Pending, Weight},
    request::{Asks, Control, Request},
    transactions::Outgoing,
};
use crate::{
    refusals,
    session::{
        Exchange, Session,
        classify::{Calls, Classifier, MayChange},
        follow::Outcome,
        own,
        pins::Tie,
        settings::{Isolation, Key},
    },
    wire::{
        done::{Done, command},
        packet::{HEADER, Header, LOGIN_PACKET_SIZE, PacketKind, ResetBit, Status},
        reframe::frame,
        transaction_request::TransactionRequest,
    },
};

/// Where the client's stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Between,
    /// The message at the front needs a server connection.
    Waiting,
    /// The rest of a message goes nowhere.
    Dropping,
    /// The rest of a message goes to the server.
    Passing(Passing),
}

/// How packets are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    AsTheyCome,
    CutAnew,
}

impl Conversation {
    pub(super) fn judge_client(
        &mut self,
        bytes: &[u8],
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let Some(header) = Header::read(bytes).map_err(Fault::Client)? else {
            return Ok(Step::Need(HEADER));
        };
        self.check(header)?;
        if header.kind == PacketKind::Attention {
            return self.on_attention(session, out);
        }
        let length = usize::from(header.length);
        let Some(packet) = bytes.get(..length) else {
            return Ok(Step::Need(length));
        };
        match (self.incoming, session) {
            (Incoming::Passing(how), Some(session)) => self.pass_on(how, header, packet, session, out),
            (Incoming::Dropping | Incoming::Passing(_), _) => {
                self.incoming = match header.status.ends_message() {
                    true => Incoming::Between,
                    false => Incoming::Dropping,
                };
                Ok(Step::Skip(length as u64))
            }
            (_, Some(session)) if session.exchange != Exchange::None => Ok(Step::Hold),
            (_, session) => {
                self.incoming = Incoming::Between;
                if let Some(step) = self.drop_withdrawn(bytes, out) {
                    return Ok(step);
                }
                if header.status.ignores_message() {
                    self.answer().done(Done::ignored(), out);
                    return Ok(Step::Skip(length as u64));
                }
                self.begin_request(&Request::read(header, packet, self.version)?, session, out)
            }
        }
    }

    fn check(&self, header: Header) -> Result<(), Fault> {
        let largest = self.packet_size.max(LOGIN_PACKET_SIZE);
        let both = Status::RESET_CONNECTION.with(Status::RESET_CONNECTION_SKIP_TRANSACTION);
        let what = match header.kind {
            PacketKind::Attention if header.payload() > 0 || !header.status.ends_message() => {
                "an Attention with a body"
            }
            _ if header.length > largest => "a packet longer than the negotiated size",
            _ if header.status.has(both) => "both reset bits in one packet",
            _ => return Ok(()),
        };
        Err(Fault::Client(what))
    }

    /// A request of which the first packet is there, and nothing outstanding.
    fn begin_request(
        &mut self,
        request: &Request<'_>,
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let reset = request.reset();
        if reset != ResetBit::None && !self.has_asked_for_reset() {
            self.reset_client(reset);
        }
        if let Some(step) = self.answer_abandoned(request, out) {
            return Ok(step);
        }
        let control = request.control();
        if let Some(control) = control {
            if let Some(step) = self.answer_control(control, request, session.as_deref(), out) {
                return Ok(step);
            }
            if matches!(control, Control::Begin(_)) && self.pool_mode == PoolMode::Statement {
                return Ok(self.refuse_transaction(request, out));
            }
        }
        let Some(session) = session else {
            if matches!(request.asks, Asks::Bulk) {
                return Ok(self.refuse_bulk(request, out));
            }
            self.incoming = Incoming::Waiting;
            return Ok(Step::Lease(Access::ReadWrite));
        };
        self.prepare(request, session, out)
    }

    /// Brings the server connection to where the request expects it to be, and sends the request.
    fn prepare(&mut self, request: &Request<'_>, session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let Some(ready) = self.settle(session, &mut out.to_server) else {
            return Ok(Step::Hold);
        };
        if ready.reset != ResetBit::Connection && self.begin_really(session, &mut out.to_server) {
            if ready.reset != ResetBit::None {
                return Err(session.fail("a reset that keeps a transaction that is not there"));
            }
            return Ok(Step::Hold);
        }
        let carried = request.descriptor.map_or(0, |descriptor| descriptor.value);
        let descriptor = match self.transaction.outgoing(carried, session) {
            Outgoing::Stale => return Ok(self.answer_stale(request, carried, out)),
            Outgoing::AsItIs => None,
            Outgoing::Instead(real) => request.descriptor.map(|descriptor| (descriptor.at, real)),
        };
        self.lost_in_adoption = 0;
        Ok(self.send(request, ready, descriptor, session, out))
    }

    /// Sends the first packet of a request, or all of it.
    fn send(
        &mut self,
        request: &Request<'_>,
        ready: Ready,
        descriptor: Option<(usize, u64)>,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Step {
        let mut pending = Box::new(self.expectation(request));
        pending.acknowledgement = ready.acknowledgement;
        self.adoption = Adoption::Settled;
        self.asked = Asked::No;
        let is_whole = request.header.status.ends_message();
        session.begin(if is_whole { Exchange::Theirs } else { Exchange::Sending });
        session.expect_reset(ready.reset);
        let length = request.packet.len() as u64;
        let without_next = self.may_begin_virtually_behind(session).then(|| request.without_next());
        if let Some(Some((mut payload, next))) = without_next {
            pending.next = Some(next);
            self.pending = Some(pending);
            patch(&mut payload, descriptor);
            let status = own::status(ready.reset);
            frame(
                request.header.kind,
                status,
                &payload,
                session.packet_size,
                &mut out.to_server,
            );
            return Step::Skip(length);
        }
        self.pending = Some(pending);
        let status = request
            .header
            .status
            .without(Status::RESET_CONNECTION)
            .without(Status::RESET_CONNECTION_SKIP_TRANSACTION)
            .with(own::status(ready.reset));
        let fits = fits(request.header, session);
        if !is_whole {
            self.incoming = Incoming::Passing(if fits { Passing::AsTheyCome } else { Passing::CutAnew });
        }
        if fits && status == request.header.status && descriptor.is_none() {
            return Step::Forward(length);
        }
        let mut payload = BytesMut::from(&request.packet[HEADER..]);
        patch(&mut payload, descriptor);
        if fits {
            let header = Header {
                status,
                ..request.header
            };
            out.to_server.put_slice(&header.to_bytes());
            out.to_server.put_slice(&payload);
        } else {
            self.to_server.begin(request.header.kind, status);
            self.to_server.push(&payload, &mut out.to_server);
            if is_whole {
                self.to_server.end(&mut out.to_server);
            }
        }
        Step::Skip(length)
    }

    /// What the response will mean, as far as the front of the request tells.
    fn expectation(&self, request: &Request<'_>) -> Pending {
        let mut pending = Pending::new();
        let is_implicit = self.now.settings.value(Key::ImplicitTransactions) == Some("ON");
        if is_implicit {
            pending.transaction = MayChange::Yes;
        }
        match &request.asks {
            Asks::Batch(findings) => pending.classified((**findings).clone()),
            Asks::LongBatch => {
                let mut classifier = Classifier::new();
                classifier.push(request.body);
                pending.classifier = Some(classifier);
            }
            Asks::Transaction(asked) => {
                pending.transaction = MayChange::Yes;
                match asked {
                    TransactionRequest::Begin(begin) => pending.isolation = Isolation::from_request(begin.isolation),
                    TransactionRequest::Commit { next, .. } => {
                        pending.weight = Weight::Commit;
                        pending.isolation = next.and_then(|next| Isolation::from_request(next.isolation));
                    }
                    TransactionRequest::Rollback { next, .. } => {
                        pending.isolation = next.and_then(|next| Isolation::from_request(next.isolation));
                    }
                    TransactionRequest::Save { .. } => {}
                    TransactionRequest::GetDtcAddress | TransactionRequest::Propagate | TransactionRequest::Promote => {
                        pending.findings.begins.add(Tie::Irreversible)
                    }
                }
            }
            Asks::Procedure => {
                pending.transaction = MayChange::Yes;
                pending.findings.calls = Calls::Procedures;
            }
            Asks::Bulk => {}
        }
        pending
    }

    /// Behind a commit, the next transaction can begin virtually if nothing ties the client to this connection.
    fn may_begin_virtually_behind(&self, session: &Session) -> bool {
        self.pool_mode == PoolMode::Transaction && !self.is_old() && session.tie().is_none()
    }

    /// A further packet of a request whose first one was sent.
    fn pass_on(
        &mut self,
        how: Passing,
        header: Header,
        packet: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let is_last = header.status.ends_message();
        if let Some(pending) = &mut self.pending {
            if let Some(classifier) = &mut pending.classifier {
                classifier.push(&packet[HEADER..]);
            }
            if header.status.ignores_message() {
                // Some servers carry it out nevertheless (TDS 14).
                pending.outcome = Outcome::Error;
            }
            if is_last && let Some(classifier) = pending.classifier.take() {
                pending.classified(classifier.finish());
            }
        }
        if is_last {
            session.exchange = Exchange::Theirs;
            self.incoming = Incoming::Between;
        }
        if how == Passing::AsTheyCome && fits(header, session) {
            return Ok(Step::Forward(packet.len() as u64));
        }
        if how == Passing::AsTheyCome {
            self.to_server.begin(header.kind, Status::default());
            if !is_last {
                self.incoming = Incoming::Passing(Passing::CutAnew);
            }
        }
        if header.status.ignores_message() {
            if !self.to_server.abort(&mut out.to_server) && how == Passing::CutAnew {
                // Nothing of it has left.
                session.exchange = Exchange::None;
                self.pending = None;
                self.answer().done(Done::ignored(), out);
            }
            return Ok(Step::Skip(packet.len() as u64));
        }
        self.to_server.push(&packet[HEADER..], &mut out.to_server);
        if is_last {
            self.to_server.end(&mut out.to_server);
        }
        Ok(Step::Skip(packet.len() as u64))
    }

    /// The request whose first packet is at the front has been answered.
    pub(super) fn drop_packet(&mut self, request: &Request<'_>) -> Step {
        self.request_over();
        if !request.header.status.ends_message() {
            self.incoming = Incoming::Dropping;
        }
        Step::Skip(request.packet.len() as u64)
    }

    /// The same, when it is not being judged at the moment: all of it goes nowhere.
    pub(super) fn drop_request(&mut self) {
        self.request_over();
        self.incoming = Incoming::Dropping;
    }

    /// Nothing of the request at hand matters any more.
    pub(super) fn request_over(&mut self) {
        self.asked = Asked::No;
    }

    fn refuse_transaction(&mut self, request: &Request<'_>, out: &mut Outbox) -> Step {
        let what = "pool_mode statement allows no transactions: set pool_mode to transaction for this source, or use \
                    autocommit."
            .to_owned();
        let answer = self.answer().error(&refusals::describe(&Refusal::Unsupported { what }));
        answer.failed(request.ending(), out);
        self.drop_packet(request)
    }

    fn refuse_bulk(&mut self, request: &Request<'_>, out: &mut Outbox) -> Step {
        let what = "bulk load data without the INSERT BULK that announces it";
        let answer = self
            .answer()
            .error(&refusals::Words::new(refusals::number::PROTOCOL, 16, what));
        answer.failed(Ending::Statement(command::NONE), out);
        self.drop_packet(request)
    }
}

/// Whether a packet can go to this server as it is: every one but the last is filled exactly (TDS 1.2).
fn fits(header: Header, session: &Session) -> bool {
    match header.status.ends_message() {
        true => header.length <= session.packet_size,
        false => header.length == session.packet_size,
    }
}

fn patch(payload: &mut BytesMut, descriptor: Option<(usize, u64)>) {
    if let Some((at, value)) = descriptor
        && let Some(place) = payload.get_mut(at..at + 8)
    {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
