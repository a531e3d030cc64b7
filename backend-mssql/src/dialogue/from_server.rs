//! The server's stream: every response is walked over, token by token; the client gets it in its own numbers (TDS 4, 5.3).
//!
//! Invariants: a response is over only when its message ends behind a final DONE and no Attention is unacknowledged; what
//! it meant is noted then, as a whole; what concerns only the gateway never reaches the client.

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, Step},
    refusal::Fault,
};

use super::{
    Conversation,
    output::{Fate, Output, Patch, Receiver},
    pending::{Acknowledgement, Answered, Pending, Told, Wrote},
};
use crate::{
    session::{
        Exchange, Session,
        classify::{Calls, MayChange},
        follow::Outcome,
        last_values::Values,
        own::{self, Own},
        pins::Tie,
    },
    wire::{
        done::{Done, DoneKind, DoneStatus},
        env_change::{self, EnvChange, TransactionChange},
        packet::{HEADER, Header, ResetBit},
        reframe::Reframer,
        walker::{Content, Piece, Token, Walker},
    },
};

impl Conversation {
    pub(super) fn judge_server(
        &mut self,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let header = match session.packet(bytes)? {
            Ok(header) => header,
            Err(needed) => return Ok(Step::Need(needed)),
        };
        let length = usize::from(header.length);
        let packet = &bytes[..length];
        if session.exchange == Exchange::Theirs && self.repeats(header, packet, session, out)? {
            return Ok(Step::Skip(length as u64));
        }
        match session.exchange {
            Exchange::Own(own) => {
                session.read_own(&packet[HEADER..])?;
                if header.status.ends_message() && session.message_ended()? {
                    self.own_done(own, session, out)?;
                }
                Ok(Step::Skip(length as u64))
            }
            Exchange::Theirs => {
                let fate = self.relay(header, packet, session, &mut out.to_client)?;
                if header.status.ends_message() && session.message_ended()? {
                    self.response_over(session, out)?;
                }
                Ok(match fate {
                    Fate::Forward => Step::Forward(length as u64),
                    Fate::Replaced => Step::Skip(length as u64),
                })
            }
            Exchange::Sending => Err(session.fail("an answer to a request that has not been sent yet")),
            Exchange::None => Err(session.fail("an answer to nothing")),
        }
    }

    /// One packet of the response to the client's request.
    fn relay(
        &mut self,
        header: Header,
        packet: &[u8],
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Result<Fate, Fault> {
        let (Some(mut walker), Some(mut pending)) = (session.walker.take(), self.pending.take()) else {
            return Err(session.fail("a response is lost"));
        };
        let mut reframer = std::mem::replace(&mut self.to_client, Reframer::new(self.packet_size));
        let mut line = pending.line;
        let receiver = Receiver::Client {
            packet_size: self.packet_size,
            full: session.packet_size,
        };
        let mut output = Output::new(header, packet, header, &mut reframer, &mut line, out);
        let walked = self.walk(&packet[HEADER..], &mut walker, &mut pending, &mut output, session);
        let is_told = output.has_said();
        let fate = walked.map(|()| {
            if walker.held() > 0 {
                output.cut();
            }
            output.finish(receiver)
        });
        pending.told = match (is_told, header.status.ends_message()) {
            (true, false) => Told::Half,
            (true, true) => Told::Messages,
            (false, _) => pending.told,
        };
        pending.line = line;
        self.to_client = reframer;
        self.pending = Some(pending);
        session.walker = Some(walker);
        fate
    }

    fn walk(
        &mut self,
        payload: &[u8],
        walker: &mut Walker,
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) -> Result<(), Fault> {
        let mut input = payload;
        loop {
            match walker.next(&mut input) {
                Ok(Some(piece)) => {
                    if pending.acknowledgement == Acknowledgement::Insert {
                        pending.acknowledgement = Acknowledgement::None;
                        let mut reset = BytesMut::new();
                        env_change::write_reset_ack(&mut reset);
                        output.insert(&reset);
                    }
                    if let Some(notice) = self.pin_notice_before(&piece) {
                        output.insert(&notice);
                    }
                    match piece {
                        Piece::Pass(bytes) => {
                            session.note_row()?;
                            output.keep(bytes);
                        }
                        Piece::Token(token) => {
                            session.note(&token.content)?;
                            self.tell(token, pending, output, session);
                        }
                    }
                }
                Ok(None) => return Ok(()),
                Err(what) => return Err(session.fail(what)),
            }
        }
    }

    /// What the client is told of a token.
    fn tell(&mut self, token: Token<'_>, pending: &mut Pending, output: &mut Output<'_>, session: &mut Session) {
        match token.content {
            Content::EnvChange(EnvChange::Transaction { change, descriptor, at }) => {
                self.tell_transaction(token.bytes, change, descriptor, at, pending, output)
            }
            Content::EnvChange(EnvChange::ResetAck) => match pending.acknowledgement {
                Acknowledgement::Pass => output.keep(token.bytes),
                _ => output.drop(),
            },
            Content::EnvChange(EnvChange::Language { new, .. }) => {
                self.now.settings.set(own::language(&new.to_lossy()));
                output.keep(token.bytes);
            }
            // Negotiated by the gateway, for itself.
            Content::SessionState(_) => output.drop(),
            Content::Error(error) => {
                pending.outcome = Outcome::Error;
                // @@ERROR, and a count of 0.
                pending.proven = pending.proven.with(Values::OUTCOME);
                self.note_lost_handle(error.number, error.text, session);
                output.keep(token.bytes);
            }
            Content::ReturnValue(value) => self.tell_value(token.bytes, &value, pending, output, session),
            Content::Done(done) => self.tell_done(done, token.bytes, pending, output, session),
            _ => output.keep(token.bytes),
        }
    }

    fn tell_transaction(
        &mut self,
        bytes: &[u8],
        change: TransactionChange,
        descriptor: u64,
        at: Option<usize>,
        pending: &mut Pending,
        output: &mut Output<'_>,
    ) {
        if matches!(change, TransactionChange::Begin | TransactionChange::Enlist) {
            self.transaction.descriptor = descriptor;
            return output.keep(bytes);
        }
        let known = std::mem::take(&mut self.transaction.descriptor);
        match at {
            Some(at) if known != 0 && known != descriptor => output.patch(bytes, at, Patch::eight(known)),
            _ => output.keep(bytes),
        }
        if let Some(next) = pending.next.take() {
            self.begin_virtually(next);
            let mut begin = BytesMut::new();
            env_change::write_transaction(TransactionChange::Begin, self.transaction.descriptor, &mut begin);
            output.insert(&begin);
        }
    }

    fn tell_done(
        &mut self,
        done: Done,
        bytes: &[u8],
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) {
        if done.status.has(DoneStatus::ERROR) {
            pending.outcome = Outcome::Error;
        }
        if done.status.has(DoneStatus::ATTENTION) {
            pending.outcome = Outcome::Error;
            return self.tell_attention(done, bytes, pending, output);
        }
        if done.is_of_a_write() {
            pending.wrote = Wrote::Yes;
        }
        if done.is_of_an_insert() {
            pending.proven = pending.proven.with(Values::IDENTITY);
        }
        if done.kind == DoneKind::Procedure {
            self.tell_known_handle(pending, output, session);
            pending.call_answered();
        }
        if done.is_final() {
            pending.answered = Answered::Yes;
            let was_interrupted = done.status.has(DoneStatus::ERROR) && session.attentions.is_owed();
            if was_interrupted && let Some(words) = self.overrun.take() {
                let mut error = BytesMut::new();
                words.write(self.version, &mut error);
                output.insert(&error);
            }
        }
        output.keep(bytes);
    }

    /// An acknowledgement that the client did not ask for is not for it; if nothing else ends its response, something has
    /// to.
    fn tell_attention(&mut self, done: Done, bytes: &[u8], pending: &mut Pending, output: &mut Output<'_>) {
        if pending.own_attentions == 0 {
            return output.keep(bytes);
        }
        pending.own_attentions -= 1;
        output.drop();
        if pending.answered == Answered::Yes {
            return;
        }
        let mut end = BytesMut::new();
        if let Some(words) = self.overrun.take() {
            words.write(self.version, &mut end);
        }
        let status = DoneStatus(done.status.0 & !DoneStatus::ATTENTION.0).with(DoneStatus::ERROR);
        Done { status, ..done }.write(self.version, &mut end);
        output.insert(&end);
        pending.answered = Answered::Yes;
    }

    /// Takes note of what the request has come to.
    fn response_over(&mut self, session: &mut Session, out: &mut Outbox) -> Result<(), Fault> {
        let Some(mut pending) = self.pending.take() else {
            return Err(session.fail("a response is lost"));
        };
        self.overrun = None;
        session.follow(
            &pending.findings,
            pending.outcome,
            &mut self.now.settings,
            &mut self.now.isolation,
        );
        self.keep_last_values(&pending, session);
        session
            .suspects
            .note(&pending.findings, pending.outcome, pending.text.take());
        if pending.wrote == Wrote::Yes || pending.findings.calls == Calls::Procedures {
            self.writes += 1;
        }
        if !pending.findings.begins.has(Tie::Bulk) {
            session.pins.end(Tie::Bulk);
        }
        if let Some(isolation) = pending.isolation {
            match pending.outcome {
                Outcome::Success => {
                    self.now.isolation = isolation;
                    session.isolation = Some(isolation);
                }
                Outcome::Error => session.isolation = None,
            }
        }
        self.follow_session(session);
        if pending.transaction == MayChange::Yes || (pending.outcome == Outcome::Error && !self.transaction.is_none()) {
            session.transaction.doubt();
        }
        if session.transaction.is_unknown() {
            if session.puts_off_asking() {
                self.follow_transaction(session);
            } else {
                session.ask(Own::Count, own::COUNT, ResetBit::None, &mut out.to_server);
            }
            return Ok(());
        }
        self.come_to_rest(session);
        Ok(())
    }

    /// Nothing is outstanding any more.
    fn come_to_rest(&mut self, session: &mut Session) {
        self.follow_transaction(session);
        session.count_work();
        if !session.transaction.is_open() {
            session.believe_server();
            self.forget_session(session);
        }
        if self.is_gone() {
            session.unpin();
        }
    }

    /// A request of the gateway's own has been answered.
    fn own_done(&mut self, own: Own, session: &mut Session, out: &mut Outbox) -> Result<(), Fault> {
        match own {
            Own::Settings => self.settings_done(session, &mut out.to_server)?,
            Own::Begin => self.begun(session, out),
            Own::Count | Own::Rollback => {
                session.counted()?;
                // A transaction that was rolled back for its client counts as one.
                if own == Own::Rollback && session.transaction.is_open() {
                    return Err(session.fail("a transaction that could not be rolled back"));
                }
                self.come_to_rest(session);
            }
            Own::Prepare => self.prepared_ahead(session),
            Own::Forget => self.forgotten(session, out),
            Own::Release => {}
            Own::Reset => return Err(session.fail("a reset while a client holds the connection")),
        }
        if self.is_gone() {
            session.unpin();
        }
        Ok(())
    }
}
