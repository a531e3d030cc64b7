//! What the server sends: matched with what is outstanding, and passed on, swallowed, or completed by answers that the
//! gateway owes itself.
//!
//! An answer that does not fit what is outstanding ends the server connection; nothing is ever resynchronised by guessing
//! (specification S2.1).

use bytes::{BufMut, BytesMut};
use weir_core::{
    backend::{Outbox, Step},
    refusal::Fault,
    settings::PoolMode,
};

use super::{Adoption, Conversation, Protocol, follow, prepare, refusals};
use crate::{
    limits,
    session::{
        Answering, Condition, CopyState, Flush, Group, Overlay, OverlayKept, Session,
        pending::{ClientChange, Disposition, Entry, Expects, Purpose, ServerChange, Subject},
        statement::SERVER_NAME_PREFIX,
        touched::Touches,
    },
    wire::{
        HEAD, Head,
        command_complete::Tag,
        copy::Direction,
        error_response::{ErrorFields, each_field},
        parameter_status,
        ready_for_query::TransactionStatus,
        server, write,
    },
};

impl Conversation {
    pub(super) fn judge_server(
        &mut self,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if let Condition::Broken(why) = session.condition {
            return Err(Fault::Server(why));
        }
        if let Some(run) = self.pass_run(bytes, session, out)? {
            return Ok(run);
        }
        let Some(head) = Head::read(bytes) else {
            return Ok(Step::Need(HEAD));
        };
        if let Err(fault) = head.check_server() {
            session.fail("invalid message length");
            return Err(fault);
        }
        self.judge_message(head, bytes, session, out)
    }

    /// One verdict for the messages in front that mean no more than that their entry is answered, or not even that: all
    /// of an ordinary request's answer. `None` if the first one is to be looked at by itself.
    fn pass_run(&mut self, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Option<Step>, Fault> {
        let mut passed = 0_u64;
        let mut swallowed = false;
        loop {
            let rest = usize::try_from(passed)
                .ok()
                .and_then(|passed| bytes.get(passed..))
                .unwrap_or_default();
            let Some(head) = Head::read(rest) else { break };
            if head.check_server().is_err() {
                break;
            }
            match self.in_run(head, rest, session) {
                InRun::No => break,
                InRun::Part => {}
                // The gateway's own answers stand by themselves.
                InRun::Swallowed if passed > 0 && !swallowed => break,
                InRun::Swallowed => swallowed = true,
                _ if swallowed => break,
                InRun::Answers => answer_front(session),
                InRun::Ready => match self.ready(head, rest, session, out) {
                    Ok(_) => return Ok(Some(Step::Forward(passed + head.total()))),
                    Err(fault) if passed == 0 => return Err(fault),
                    // Told when it is asked again: the session remembers.
                    Err(_) => break,
                },
            }
            passed += head.total();
        }
        Ok(match passed {
            0 => None,
            passed if swallowed => Some(Step::Skip(passed)),
            passed => Some(Step::Forward(passed)),
        })
    }

    /// Whether a message changes nothing that could not be done for a whole run of them. Rows and COPY data are most of
    /// what a server sends.
    fn in_run(&self, head: Head, bytes: &[u8], session: &Session) -> InRun {
        use Expects as E;
        if self.protocol == Protocol::Replication {
            // Whatever it is: what a WAL sender is asked is not looked into.
            return InRun::Part;
        }
        let Some(front) = session.pending.front() else {
            return InRun::No;
        };
        let data = match (head.kind, front.expects) {
            (server::DATA_ROW, E::Query | E::Execute) => true,
            (server::COPY_DATA, E::Query | E::Execute) => session.copy == CopyState::Out,
            _ => false,
        };
        match front.disposition {
            Disposition::Forward | Disposition::Fake if data => return InRun::Part,
            Disposition::Forward => {}
            // Its rows are read.
            Disposition::Fake | Disposition::Own(Purpose::Settle) => return InRun::No,
            Disposition::Injected | Disposition::Own(_) if data => return InRun::Swallowed,
            Disposition::Injected | Disposition::Own(_) => return InRun::No,
        }
        let whole = head.message(bytes).filter(|message| message.len() <= limits::MAX_PEEK);
        let run = match (head.kind, front.expects) {
            (server::ROW_DESCRIPTION, E::Query | E::Execute) => return InRun::Part,
            (server::COMMAND_COMPLETE, E::Query | E::Execute)
                if session.copy != CopyState::None || Tag::read(head.body(bytes)) != Tag::Other =>
            {
                return InRun::No;
            }
            (server::COMMAND_COMPLETE, E::Query) | (server::PARAMETER_DESCRIPTION, E::DescribeStatement) => InRun::Part,
            (server::PARSE_COMPLETE, E::Parse)
            | (server::BIND_COMPLETE, E::Bind)
            | (server::ROW_DESCRIPTION | server::NO_DATA, E::DescribePortal | E::DescribeStatement)
            | (server::COMMAND_COMPLETE, E::Execute) => InRun::Answers,
            // Nothing is told ahead of it.
            (server::READY_FOR_QUERY, E::Query | E::Sync)
                if self.listening.is_none() && self.pool_mode != PoolMode::Statement =>
            {
                InRun::Ready
            }
            _ => return InRun::No,
        };
        // What was never sent is answered behind it.
        let owes = run != InRun::Part && session.pending.is_fake_next();
        if whole.is_none() || owes { InRun::No } else { run }
    }

    fn judge_message(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        use Expects as E;
        let front = session.pending.front().map(|entry| entry.expects);
        match (head.kind, front) {
            (server::NOTIFICATION_RESPONSE, _) if self.is_listening() => {
                self.own_notification(head, bytes, session, out)
            }
            (server::NOTICE_RESPONSE | server::NOTIFICATION_RESPONSE, _) => Ok(pass_aside(head, bytes, session)),
            (server::PARAMETER_STATUS, _) => Ok(self.parameter_status(head, bytes, session)),
            (server::ERROR_RESPONSE, _) => self.error(head, bytes, session, out),
            (server::READY_FOR_QUERY, Some(front)) if front.is_boundary() => self.ready(head, bytes, session, out),
            (server::PARSE_COMPLETE, Some(E::Parse)) | (server::BIND_COMPLETE, Some(E::Bind)) => {
                note_success(session);
                answered(head, bytes, session, out)
            }
            (server::CLOSE_COMPLETE, Some(E::Close))
            | (server::ROW_DESCRIPTION | server::NO_DATA, Some(E::DescribeStatement | E::DescribePortal))
            | (server::EMPTY_QUERY_RESPONSE | server::PORTAL_SUSPENDED, Some(E::Execute)) => {
                answered(head, bytes, session, out)
            }
            (server::DATA_ROW, Some(E::Query)) if follow::is_settling(session) => self.settle_row(head, bytes, session),
            (server::PARAMETER_DESCRIPTION, Some(E::DescribeStatement))
            | (server::ROW_DESCRIPTION, Some(E::Query | E::Execute))
            | (server::EMPTY_QUERY_RESPONSE, Some(E::Query))
            | (server::FUNCTION_CALL_RESPONSE, Some(E::FunctionCall)) => Ok(pass(head, session)),
            (server::COMMAND_COMPLETE, Some(E::Execute | E::Query)) => self.command_complete(head, bytes, session, out),
            (server::COPY_IN_RESPONSE | server::COPY_OUT_RESPONSE, Some(E::Execute | E::Query)) => {
                self.copy_begins(head, session, out)
            }
            (server::COPY_DONE, Some(E::Execute | E::Query)) if session.copy == CopyState::Out => {
                Ok(pass(head, session))
            }
            _ => Err(session.fail("an answer that does not fit what was asked")),
        }
    }

    fn command_complete(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if head.total() <= limits::MAX_TAG_PEEK as u64 {
            let Some(message) = head.message(bytes) else {
                return Ok(Step::Need(head.total() as usize));
            };
            if !is_swallowed(session) {
                self.note_tag(Tag::read(head.body(message)), session);
            }
        }
        if matches!(
            session.pending.front(),
            Some(Entry {
                expects: Expects::Query,
                ..
            })
        ) {
            if matches!(session.copy, CopyState::In | CopyState::InEnded) {
                session.pending.remove_copy_end();
            }
            session.copy = CopyState::None;
            return Ok(pass(head, session));
        }
        session.copy = CopyState::None;
        answered(head, bytes, session, out)
    }

    fn note_tag(&mut self, tag: Tag, session: &mut Session) {
        match tag {
            Tag::DeallocateAll | Tag::DiscardAll => {
                session.forget_prepared();
                self.forget_sql_statements(session);
                self.statements.clear();
                self.unnamed = None;
            }
            Tag::DiscardSequences | Tag::Reset | Tag::Other => {}
        }
        if matches!(tag, Tag::DiscardAll | Tag::DiscardSequences) {
            self.discards_sequences(session);
        }
        if matches!(tag, Tag::DiscardAll | Tag::Reset) {
            // The client's own start-up settings went with it.
            session.overlay_kept = OverlayKept::Maybe;
        }
    }

    fn copy_begins(&mut self, head: Head, session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        if is_swallowed(session) {
            return Err(session.fail("a COPY that nobody asked for"));
        }
        match Direction::of(head.kind) {
            Some(Direction::Out) => session.copy = CopyState::Out,
            Some(Direction::In) => {
                let ended = session.pending.void_syncs_of_copy();
                session.copy = if ended { CopyState::InEnded } else { CopyState::In };
                session.group = match session.pending.ends_in_open_group() {
                    true => Group::Open,
                    false => Group::Closed,
                };
                if self.is_gone() && !ended {
                    self.end_copy(session, &mut out.to_server);
                }
            }
            Some(Direction::Both) | None => return Err(session.fail("COPY BOTH outside of replication")),
        }
        Ok(pass(head, session))
    }

    fn parameter_status(&mut self, head: Head, bytes: &[u8], session: &mut Session) -> Step {
        if head.total() > limits::MAX_PARAMETER_PEEK as u64 {
            return Step::Skip(head.total());
        }
        let Some(message) = head.message(bytes) else {
            return Step::Need(head.total() as usize);
        };
        let body = head.body(message);
        let news = session.reported(body);
        if is_swallowed(session) {
            return Step::Skip(head.total());
        }
        if news && !session.pending.is_empty() {
            session.touched |= Touches::SETTINGS;
        }
        match parameter_status::read(body) {
            Some((name, value)) if !self.told.set(name, value) => Step::Skip(head.total()),
            _ => Step::Forward(head.total()),
        }
    }

    fn ready(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let Some(message) = head.message(bytes).filter(|message| message.len() == HEAD + 1) else {
            return match head.total() {
                6 => Ok(Step::Need(6)),
                _ => Err(session.fail("ReadyForQuery of a wrong length")),
            };
        };
        let status = TransactionStatus::read(head.body(message)).map_err(|_| session.fail("unknown status"))?;
        let Some((expects, disposition)) = session.pending.drop_front() else {
            return Err(session.fail("nothing outstanding"));
        };
        session.completed_one(status);
        if session.pending.is_empty() {
            // Whatever a cancel request was for, it came too late or has served.
            self.overrun = None;
        }
        session.flush = Flush::NotAsked;
        match disposition {
            Disposition::Own(purpose) => self.own_done(expects, purpose, session, out)?,
            _ => {
                self.lost_in_adoption = 0;
                self.troubles.forgive();
                session.worked();
                self.pin(session);
                if self.pool_mode == PoolMode::Statement && status != TransactionStatus::Idle && !self.is_gone() {
                    session.ask(b"ROLLBACK", Purpose::StatementMode, &mut out.to_server);
                    return Ok(Step::Skip(head.total()));
                }
                self.tell_before_ready(session, &mut out.to_client);
                self.restore_overlay(session, &mut out.to_server);
                self.settle(session, &mut out.to_server);
                if !session
                    .pending
                    .front()
                    .is_some_and(|entry| entry.disposition == Disposition::Fake)
                {
                    return Ok(Step::Forward(head.total()));
                }
                out.to_client.put_slice(message);
            }
        }
        answer_fakes(session, &mut out.to_client);
        Ok(Step::Skip(head.total()))
    }

    /// A client that keeps its connection has put its settings back to what the login gave: its own go on top again.
    fn restore_overlay(&mut self, session: &mut Session, out: &mut BytesMut) {
        if session.overlay_kept == OverlayKept::Maybe
            && session.status == TransactionStatus::Idle
            && session.pin.is_some()
            && !self.follows()
            && session.pending.is_empty()
            && !self.is_gone()
        {
            session.overlay_kept = OverlayKept::Surely;
            session.overlay = Overlay::default();
            self.apply_overlay(session, out);
        }
    }

    /// A request of the gateway's own is through.
    fn own_done(
        &mut self,
        expects: Expects,
        purpose: Purpose,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        let inside = matches!(purpose, Purpose::Prepare | Purpose::Frame);
        let ends = (expects == Expects::Query && !inside) || purpose == Purpose::StalePlan;
        if ends && session.status != TransactionStatus::Idle {
            return Err(session.fail("a request of the gateway's own did not end its transaction"));
        }
        match purpose {
            Purpose::TrySettings | Purpose::KnownSettings => self.settings_done(),
            Purpose::StatementMode => {
                write::error_response(&mut out.to_client, &refusals::no_transactions());
                write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
            }
            Purpose::Settle => self.settled(session, &mut out.to_server),
            // What the session keeps of the transaction is to be found out as after any other.
            Purpose::Rollback => self.settle(session, &mut out.to_server),
            Purpose::Listen | Purpose::Mark | Purpose::Unmark | Purpose::Unlisten => self.listen_done(purpose, session),
            Purpose::Prepare => self.statement_done(session, &mut out.to_client),
            Purpose::Reset | Purpose::StalePlan | Purpose::Frame => {}
        }
        self.statements_done(session);
        self.share_channels(session, &mut out.to_server);
        if !is_swallowed(session) {
            self.tell_differences(session, &mut out.to_client);
        }
        Ok(())
    }

    fn error(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let peek = head.total().min(limits::MAX_ERROR_PEEK as u64) as usize;
        if bytes.len() < peek {
            return Ok(Step::Need(peek));
        }
        let body = head.body(&bytes[..peek]);
        let fields = ErrorFields::read(body);
        if fields.ends_the_connection() {
            session.ended(fields);
            return Ok(Step::Skip(head.total()));
        }
        let Some(front) = session.pending.front() else {
            // Between a Flush and what follows it, an implicit transaction can still fail.
            if session.group != Group::Open {
                return Err(session.fail("an error that answers nothing"));
            }
            session.group = Group::Skipping;
            return Ok(Step::Forward(head.total()));
        };
        if let Disposition::Own(purpose) = front.disposition {
            return self.own_failed(head, fields, purpose, session);
        }
        session.answering = Answering::AfterError;
        session.copy = CopyState::None;
        if fields.says_nothing_was_drawn() {
            self.asker.asks();
        }
        let was_cancelled = fields.sqlstate() == b"57014";
        let overrun = self.overrun.take_if(|_| was_cancelled);
        let words = overrun
            .or_else(|| self.troubles.words_for(fields))
            .map(Subject::Substitute);
        if front.expects.is_boundary() {
            // ReadyForQuery follows (S2.4).
            self.undo_failed_boundary(session);
            let subject = words.unwrap_or(Subject::None);
            return Ok(tell_error(head, bytes, peek, body, subject, out));
        }
        let Some(failed) = session.pending.pop() else {
            return Err(session.fail("nothing outstanding"));
        };
        let is_bind = failed.expects == Expects::Bind;
        let subject = self.fail_group(failed, fields, session);
        let healed = is_bind && fields.says_plan_is_stale() && self.heal(&subject, session, out);
        session.kept.forget();
        if healed {
            return Ok(Step::Skip(head.total()));
        }
        Ok(tell_error(head, bytes, peek, body, words.unwrap_or(subject), out))
    }

    /// Takes out the failed message and everything that the server skips because of it (S2.2).
    fn fail_group(&mut self, mut failed: Entry, fields: ErrorFields<'_>, session: &mut Session) -> Subject {
        let subject = std::mem::replace(&mut failed.subject, Subject::None);
        if fields.says_plan_is_stale() && matches!(failed.expects, Expects::Bind | Expects::DescribeStatement) {
            let id = if let Subject::Statement(_, id) = &subject {
                *id
            } else {
                None
            };
            prepare::forget_stale(session, id);
        }
        let (skipped, has_sync) = session.pending.drain_to_sync();
        if !has_sync {
            session.group = Group::Skipping;
        }
        for entry in skipped.into_iter().rev() {
            self.undo(entry, session);
        }
        // A Parse that fails has destroyed the unnamed statement before.
        if matches!(failed.on_server, ServerChange::Unnamed(_)) {
            failed.on_server = ServerChange::Unnamed(None);
        }
        if matches!(failed.at_client, ClientChange::Unnamed(_)) {
            failed.at_client = ClientChange::Unnamed(None);
        }
        self.undo(failed, session);
        subject
    }

    /// A simple query has failed: what it would have removed is still there. (The unnamed statement is gone either way.)
    fn undo_failed_boundary(&mut self, session: &mut Session) {
        match session.pending.take_dropped_of_front() {
            ClientChange::Dropped(name, statement) => self.statements.insert(name, statement),
            ClientChange::Deallocated(statement) => self.sql_statements = self.sql_statements.with(statement),
            ClientChange::None | ClientChange::Named(_) | ClientChange::Unnamed(_) => {}
        }
    }

    /// A request of the gateway's own has failed.
    fn own_failed(
        &mut self,
        head: Head,
        fields: ErrorFields<'_>,
        purpose: Purpose,
        session: &mut Session,
    ) -> Result<Step, Fault> {
        match purpose {
            Purpose::Reset => {
                if fields.sqlstate() == b"57014" {
                    // The client's own cancel request caught the reset ahead of its statement.
                    session.last_words = Some(Box::new(fields.to_rejection()));
                }
                return Err(session.fail("the server refused a reset"));
            }
            Purpose::KnownSettings => {
                // The client's request runs behind it, without its settings. It must not be believed (S7.4).
                self.shared.not_accepted(self.overlay.iter());
                return Err(session.fail("the server refused settings that it had accepted before"));
            }
            Purpose::TrySettings => {
                let error = Box::new(fields.to_error());
                let adoption = std::mem::replace(&mut self.adoption, Adoption::Refused(error));
                if let Adoption::Trying(before) = adoption {
                    session.overlay = before;
                }
                // The group is one transaction, which has failed as a whole.
                session.pending.drain_to_sync();
            }
            Purpose::Settle => {
                if let Some(settling) = &mut session.settling {
                    settling.failed(fields.sqlstate());
                }
            }
            Purpose::Listen | Purpose::Mark | Purpose::Unmark | Purpose::Unlisten => {
                self.listen_failed(purpose, session)?;
            }
            Purpose::Prepare | Purpose::Frame => {
                self.statement_failed(fields, session);
                if session
                    .pending
                    .front()
                    .is_some_and(|front| !front.expects.is_boundary())
                {
                    session.pending.drain_to_sync();
                }
            }
            // Its ReadyForQuery says whether it has served.
            Purpose::Rollback | Purpose::StatementMode | Purpose::StalePlan => {}
        }
        if purpose == Purpose::Rollback
            && session
                .pending
                .front()
                .is_some_and(|front| !front.expects.is_boundary())
        {
            // The error that was provoked so that a departed client's group does not commit.
            session.pending.drain_to_sync();
        }
        Ok(Step::Skip(head.total()))
    }
}

/// The front has had its answer.
fn answer_front(session: &mut Session) {
    note_success(session);
    session.pending.drop_front();
}

/// The server has done what the front asked for: the statement is accepted; what was kept to be sent again is not needed.
fn note_success(session: &mut Session) {
    let Some(front) = session.pending.front() else { return };
    match (front.expects, &front.on_server) {
        (Expects::Parse, ServerChange::Prepared(statement)) => statement.accept(),
        (Expects::Bind, _) if !is_swallowed(session) => session.kept.forget(),
        _ => {}
    }
}

/// What a message is in a run of them that share a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InRun {
    /// It is looked at by itself.
    No,
    /// It is passed on.
    Part,
    /// It is dropped.
    Swallowed,
    /// It is passed on, and the entry at the front is answered.
    Answers,
    /// It is passed on, and is the last one.
    Ready,
}

/// Whether the answer at the front is not the client's.
fn is_swallowed(session: &Session) -> bool {
    let front = session.pending.front();
    front.is_some_and(|entry| matches!(entry.disposition, Disposition::Own(_) | Disposition::Injected))
}

/// Part of an answer: to the client, if the answer is its.
fn pass(head: Head, session: &Session) -> Step {
    if is_swallowed(session) {
        Step::Skip(head.total())
    } else {
        Step::Forward(head.total())
    }
}

/// The end of the answer at the front. It is judged whole, so that whatever the gateway says next cannot fall into the
/// middle of it; what the gateway owes behind it goes out with it.
fn answered(head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
    if head.total() > limits::MAX_PEEK as u64 {
        return Err(session.fail("too long an answer"));
    }
    let Some(message) = head.message(bytes) else {
        return Ok(Step::Need(head.total() as usize));
    };
    let step = pass(head, session);
    let owes = session.pending.is_fake_next();
    session.pending.drop_front();
    if !owes {
        return Ok(step);
    }
    if let Step::Forward(_) = step {
        out.to_client.put_slice(message);
    }
    answer_fakes(session, &mut out.to_client);
    Ok(Step::Skip(head.total()))
}

/// Answers what was never sent and is due now.
fn answer_fakes(session: &mut Session, out: &mut BytesMut) {
    while let Some(front) = session.pending.front()
        && front.disposition == Disposition::Fake
    {
        prepare::answer_fake(front.expects, out);
        session.pending.pop();
    }
}

/// Notices and notifications come at any time. While nothing is outstanding they are passed on whole, so that whatever
/// the gateway says next cannot fall into the middle of one.
fn pass_aside(head: Head, bytes: &[u8], session: &Session) -> Step {
    if head.kind == server::NOTICE_RESPONSE && is_swallowed(session) {
        return Step::Skip(head.total());
    }
    if !session.pending.is_empty() || head.message(bytes).is_some() {
        return Step::Forward(head.total());
    }
    match head.total() <= limits::MAX_PEEK as u64 {
        true => Step::Need(head.total() as usize),
        false => Step::Skip(head.total()),
    }
}

/// The client's error: the server's, with the client's own name for the statement, or the one it stands for.
fn tell_error(head: Head, bytes: &[u8], peek: usize, body: &[u8], subject: Subject, out: &mut Outbox) -> Step {
    match subject {
        Subject::Substitute(error) => {
            write::error_response(&mut out.to_client, &error);
            Step::Skip(head.total())
        }
        Subject::Statement(name, _)
            if head.total() as usize == peek && head.message(bytes).is_some() && mentions_our_name(body) =>
        {
            write::message(&mut out.to_client, server::ERROR_RESPONSE, |out| {
                for (code, value) in each_field(body) {
                    out.put_u8(code);
                    write::string(
                        out,
                        &if code == b'M' {
                            with_name(value, &name)
                        } else {
                            value.to_vec()
                        },
                    );
                }
                out.put_u8(0);
            });
            Step::Skip(head.total())
        }
        Subject::Statement(..) | Subject::None => Step::Forward(head.total()),
    }
}

fn mentions_our_name(body: &[u8]) -> bool {
    body.windows(SERVER_NAME_PREFIX.len())
        .any(|window| window == SERVER_NAME_PREFIX)
}

/// A message text with the client's name in place of the gateway's (S1.7).
fn with_name(text: &[u8], name: &[u8]) -> Vec<u8> {
    let Some(start) = text
        .windows(SERVER_NAME_PREFIX.len())
        .position(|window| window == SERVER_NAME_PREFIX)
    else {
        return text.to_vec();
    };
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'-';
    let end = start + text[start..].iter().take_while(is_part).count();
    [&text[..start], name, &text[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_speak_of_the_clients_own_statement_s1_7() {
        let native = b"prepared statement \"weir_1z\" does not exist";
        assert_eq!(
            with_name(native, b"my plan"),
            b"prepared statement \"my plan\" does not exist"
        );
        let other = b"bind message supplies 3 parameters, but prepared statement \"weir_5\" requires 2";
        assert!(with_name(other, b"q").ends_with(b"statement \"q\" requires 2"));
        assert_eq!(with_name(b"division by zero", b"q"), b"division by zero");
    }
}
