//! The client's stream: requests are read at their front, prepared for, and passed on packet by packet.
//!
//! Invariants: nothing of a request is sent before the server connection is the client's own and its transaction is there;
//! a request of any size streams; packets go on as they came where that is possible, and are cut anew for the server's
//! packet size where it is not (TDS 1.2).

use weir_core::{
    backend::{Access, Outbox, Step},
    refusal::{Fault, Refusal},
    settings::PoolMode,
};

use super::{
    Conversation,
    adopt::{Adoption, Asked, Ready},
    answers::Ending,
    output::{Cutting, Fate, Output, Patch, Receiver},
    pending::{Pending, Weight},
    procedures::{Kept, Passage, Stream},
    request::{Asks, Control, Request},
    transactions::Outgoing,
};
use crate::{
    refusals,
    session::{
        Exchange, Session,
        classify::{Classifier, MayChange, Names},
        follow::Outcome,
        own,
        pins::Tie,
        settings::{Isolation, Key},
        shown::Beginning,
    },
    wire::{
        done::{Done, command},
        packet::{HEADER, Header, LOGIN_PACKET_SIZE, PacketKind, ResetBit, Status},
        reframe::{Reframer, frame},
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
    Passing,
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
            (Incoming::Passing, Some(session)) => self.pass_on(header, packet, session, out),
            (Incoming::Dropping | Incoming::Passing, _) => {
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
                self.begin(header, packet, bytes, session, out)
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

    /// The first packet of a request; what no server would understand is replaced: the gateway's name for the database in a
    /// `USE`, and handles that are the gateway's in a text.
    fn begin(
        &mut self,
        header: Header,
        packet: &[u8],
        bytes: &[u8],
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let alias = self.alias.as_ref();
        let mut session = session;
        let instead = match alias.and_then(|alias| alias.replace(header, packet, self.version)) {
            Some(renamed) => renamed,
            None => {
                let request = Request::read(header, packet, self.version)?;
                match self.without_own_handles(&request, session.as_deref_mut()) {
                    Some(shorter) => shorter,
                    None => return self.begin_request(&request, bytes, session, out),
                }
            }
        };
        let (header, renamed) = instead;
        let request = Request::read(header, &renamed, self.version)?;
        let all = packet.len() as u64;
        Ok(match self.begin_request(&request, bytes, session, out)? {
            Step::Forward(_) => {
                out.to_server.extend_from_slice(&renamed);
                Step::Skip(all)
            }
            Step::Skip(_) => Step::Skip(all),
            other => other,
        })
    }

    /// A request of which the first packet is there, and nothing outstanding.
    fn begin_request(
        &mut self,
        request: &Request<'_>,
        bytes: &[u8],
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let mut session = session;
        let reset = request.reset();
        if let Some(session) = session.as_deref_mut()
            && let Some(step) = self.ask_what_was_put_off(request, bytes, session, out)
        {
            return Ok(step);
        }
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
        if let Some(step) = self.answer_call(request, session.as_deref_mut(), out) {
            return Ok(step);
        }
        let Some(session) = session else {
            if matches!(request.asks, Asks::Bulk) {
                return Ok(self.refuse_bulk(request, out));
            }
            self.incoming = Incoming::Waiting;
            return Ok(Step::Lease(Access::ReadWrite));
        };
        let names = match self.names_of(request, bytes, session) {
            Ok(names) => names,
            Err(step) => return Ok(step),
        };
        self.learn(names, session);
        self.prepare(request, names, session, out)
    }

    /// Brings the server connection to where the request expects it to be, and sends the request.
    fn prepare(
        &mut self,
        request: &Request<'_>,
        names: Names,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let is_followed = self.transaction.is_virtual() || request.is_batch_of_calls();
        let Some(ready) = self.settle(is_followed, names, session, &mut out.to_server) else {
            return Ok(Step::Hold);
        };
        if ready.reset == ResetBit::None
            && (self.begin_really(session, &mut out.to_server)
                || self.prepare_ahead(request, session, &mut out.to_server)
                || self.forget_others(names, session, &mut out.to_server))
        {
            return Ok(Step::Hold);
        }
        let carried = request.descriptor.map_or(0, |descriptor| descriptor.value);
        let descriptor = match self.transaction.outgoing(carried, session) {
            Outgoing::Stale if self.has_asked_for_reset() => request.descriptor.map(|descriptor| (descriptor.at, 0)),
            Outgoing::Stale => return Ok(self.answer_stale(request, carried, out)),
            Outgoing::AsItIs => None,
            Outgoing::Instead(real) => request.descriptor.map(|descriptor| (descriptor.at, real)),
        };
        self.lost_in_adoption = 0;
        self.unpreparable = None;
        self.send(request, ready, descriptor, session, out)
    }

    /// Sends the first packet of a request, or all of it.
    fn send(
        &mut self,
        request: &Request<'_>,
        ready: Ready,
        descriptor: Option<(usize, u64)>,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let mut pending = Box::new(self.expectation(request));
        pending.acknowledgement = ready.acknowledgement;
        self.adoption = Adoption::Settled;
        self.asked = Asked::No;
        let is_whole = request.header.status.ends_message();
        session.begin(if is_whole { Exchange::Theirs } else { Exchange::Sending });
        session.expect_reset(ready.reset);
        if ready.reset != ResetBit::None {
            // The reset comes before the request.
            session.handles.clear();
        }
        if !is_whole {
            self.incoming = Incoming::Passing;
        }
        let without_next = match self.may_begin_virtually_behind(session) {
            true => request.without_next(),
            false => None,
        };
        let status = own::status(ready.reset);
        if let Some((mut payload, next)) = without_next {
            pending.next = Some(next);
            self.pending = Some(pending);
            if let Some((at, value)) = descriptor
                && let Some(place) = payload.get_mut(at..at + 8)
            {
                place.copy_from_slice(&value.to_le_bytes());
            }
            frame(
                request.header.kind,
                status,
                &payload,
                session.packet_size,
                &mut out.to_server,
            );
            return Ok(Step::Skip(request.packet.len() as u64));
        }
        let header = request.header;
        let both = Status::RESET_CONNECTION.with(Status::RESET_CONNECTION_SKIP_TRANSACTION);
        let wanted = Header {
            status: header.status.without(both).with(status),
            ..header
        };
        if let Asks::Procedures(front) = &request.asks {
            pending.stream = Some(Box::new(Stream::new(self.version)));
            // Behind a reset there are no handles to rely on.
            if front.is_execution() && ready.reset == ResetBit::None {
                pending.kept = Some(Kept::new(request.packet, descriptor));
            }
        }
        self.pending = Some(pending);
        let headers = &request.packet[HEADER..request.packet.len() - request.body.len()];
        self.pass(
            header,
            wanted,
            request.packet,
            session,
            out,
            |output| match descriptor {
                Some((at, value)) => output.patch(headers, at, Patch::eight(value)),
                None => output.keep(headers),
            },
        )
    }

    /// Passes a packet on; `front` says what becomes of the headers in it.
    pub(super) fn pass(
        &mut self,
        header: Header,
        wanted: Header,
        packet: &[u8],
        session: &mut Session,
        out: &mut Outbox,
        front: impl FnOnce(&mut Output<'_>),
    ) -> Result<Step, Fault> {
        let Some(mut pending) = self.pending.take() else {
            return Err(session.fail("a request is lost"));
        };
        let mut reframer = std::mem::replace(&mut self.to_server, Reframer::new(session.packet_size));
        let (mut line, mut stream) = (pending.sending, pending.stream.take());
        let receiver = Receiver::Server {
            packet_size: session.packet_size,
        };
        let mut output = Output::new(header, packet, wanted, &mut reframer, &mut line, &mut out.to_server);
        front(&mut output);
        let body = &packet[HEADER + output.taken()..];
        let is_last = header.status.ends_message();
        let passed = match &mut stream {
            Some(stream) => {
                let passage = Passage {
                    pending: &mut pending,
                    output: &mut output,
                    session,
                };
                self.rewrite(stream, body, passage, is_last)
            }
            None => {
                output.keep(body);
                Ok(())
            }
        };
        let fate = passed.map(|()| output.finish(receiver));
        pending.sending = line;
        pending.stream = stream;
        self.to_server = reframer;
        self.pending = Some(pending);
        let length = packet.len() as u64;
        Ok(match fate? {
            Fate::Forward => Step::Forward(length),
            Fate::Replaced => Step::Skip(length),
        })
    }

    /// What the response will mean, as far as the front of the request tells.
    pub(super) fn expectation(&self, request: &Request<'_>) -> Pending {
        let mut pending = Pending::new();
        let is_implicit = self.now.settings.value(Key::ImplicitTransactions) == Some("ON");
        if is_implicit {
            pending.transaction = MayChange::Yes;
        }
        match &request.asks {
            Asks::Batch(findings) => {
                pending.suspect(request.body, findings);
                pending.classified((**findings).clone());
            }
            Asks::LongBatch => {
                pending.text = Some(Beginning::whatever(request.body));
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
            // Found out while they are passed on.
            Asks::Procedures(_) => {}
            Asks::Bulk => pending.findings.names = Names::CALL,
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
        header: Header,
        packet: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let is_last = header.status.ends_message();
        if header.status.ignores_message() {
            return self.ignore(packet, session, out);
        }
        if let Some(pending) = &mut self.pending
            && let Some(classifier) = &mut pending.classifier
        {
            classifier.push(&packet[HEADER..]);
            if is_last && let Some(classifier) = pending.classifier.take() {
                pending.classified(classifier.finish());
            }
        }
        if let Some(pending) = &mut self.pending {
            pending.keep(packet);
        }
        let step = self.pass(header, header, packet, session, out, |_| {})?;
        if is_last {
            session.exchange = Exchange::Theirs;
            self.incoming = Incoming::Between;
        }
        Ok(step)
    }

    /// The client breaks its message off (TDS 8 case G).
    fn ignore(&mut self, packet: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        self.incoming = Incoming::Between;
        let length = packet.len() as u64;
        let Some(pending) = &mut self.pending else {
            return Err(session.fail("a request is lost"));
        };
        if let Some(classifier) = pending.classifier.take() {
            pending.classified(classifier.finish());
        }
        pending.stream = None;
        pending.forget_request();
        // Some servers carry it out nevertheless (TDS 14).
        pending.outcome = Outcome::Error;
        session.exchange = Exchange::Theirs;
        if pending.sending.cutting == Cutting::No {
            return Ok(Step::Forward(length));
        }
        if !self.to_server.abort(&mut out.to_server) {
            // Nothing of it has left.
            session.exchange = Exchange::None;
            self.pending = None;
            self.answer().done(Done::ignored(), out);
        }
        Ok(Step::Skip(length))
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
