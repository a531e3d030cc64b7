//! What the client sends: forwarded, rewritten, answered in the server's place, or held until a server is there.

use weir_core::{
    backend::{Access, Outbox, SessionState, Step, TransactionDetection},
    refusal::Fault,
    settings::PoolMode,
};

use super::{
    Adoption, Body, Conversation, Presence, Protocol, Request,
    heal::{self, Descriptions},
    passing::deallocate_text,
};
use crate::{
    limits,
    session::{
        CopyState, Flush, Group, OverlayKept, Session,
        classify::{self, Shape},
        pending::{ClientChange, Disposition, Entry, Expects, ServerChange},
        touched::Touches,
    },
    wire::{
        HEAD, Head, client, effective_name, function_call, named::Named, parse::Parse, query,
        ready_for_query::TransactionStatus, write,
    },
};

impl Conversation {
    pub(super) fn judge_client(
        &mut self,
        bytes: &[u8],
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if let Body::Forward(rest) = std::mem::replace(&mut self.body, Body::None) {
            return Ok(if session.is_some() {
                Step::Forward(rest)
            } else {
                Step::Skip(rest)
            });
        }
        let Some(head) = Head::read(bytes) else {
            return Ok(Step::Need(HEAD));
        };
        head.check_client()?;
        if matches!(head.kind, client::SYNC | client::FLUSH | client::COPY_DONE) && head.message(bytes).is_none() {
            // They have no body; one that claims to have is not begun, or its sender could sit on a connection with it.
            return Ok(Step::Need(head.total() as usize));
        }
        if head.kind == client::TERMINATE {
            return Ok(self.terminate(session));
        }
        match (session, self.protocol) {
            (Some(_), Protocol::Replication) => Ok(Step::Forward(head.total())),
            (None, Protocol::Replication) if self.request == Request::None => {
                self.request = Request::Waiting;
                Ok(Step::Lease(Access::ReadWrite))
            }
            (None, _) => self.without_session(head, bytes, out),
            (Some(session), Protocol::Ordinary) => self.with_session(head, bytes, session, out),
        }
    }

    /// PostgreSQL reads Terminate when its turn comes: what was asked before is carried out and answered.
    fn terminate(&mut self, session: Option<&mut Session>) -> Step {
        match session {
            Some(session) if session.group == crate::session::Group::Closed && !session.pending.is_empty() => {
                self.presence = Presence::Leaving;
                Step::Hold
            }
            _ => Step::Finish,
        }
    }

    /// The client holds no server connection: whatever needs none is answered, the rest asks for one.
    fn without_session(&mut self, head: Head, bytes: &[u8], out: &mut Outbox) -> Result<Step, Fault> {
        if let Some(step) = self.in_failed_block(head, bytes, out) {
            return Ok(step);
        }
        if let Some(error) = self.abandoned.take_untold() {
            write::error_response(&mut out.to_client, &error);
            self.request = Request::Refused;
        }
        if matches!(self.request, Request::Refused | Request::RefusedToSync) {
            return Ok(self.swallow(head, out));
        }
        match head.kind {
            client::SYNC => {
                write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
                Ok(Step::Skip(head.total()))
            }
            // Nothing is buffered, and late data of a COPY that has failed is ignored, as PostgreSQL does (S5.4).
            client::FLUSH | client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => Ok(Step::Skip(head.total())),
            client::CLOSE => self.close_without_session(head, bytes, out),
            client::PARSE => self.parse_without_session(head, bytes, out),
            _ => self.ask_for_lease(head, bytes),
        }
    }

    /// A statement that a server of this source has prepared before needs no server until it is used: an application that
    /// prepares everything on each of its connections, and waits for each answer, takes none from the others. The unnamed
    /// one is used at once, as a rule.
    fn parse_without_session(&mut self, head: Head, bytes: &[u8], out: &mut Outbox) -> Result<Step, Fault> {
        if head.total() > limits::MAX_PEEK as u64 {
            return self.ask_for_lease(head, bytes);
        }
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        let parse = Parse::read(message).filter(|parse| !parse.name.is_empty() && parse.is_well_formed());
        let Some(parse) = parse else {
            return self.ask_for_lease(head, bytes);
        };
        let name = effective_name(parse.name);
        let is_taken = self.statements.find(name).is_some() || self.sql_statements.get(name).is_some();
        if is_taken || self.statements.check_room(parse.body.len() + name.len()).is_err() {
            return self.ask_for_lease(head, bytes);
        }
        match self.shared.accepted_statement(self.fingerprint, parse.body) {
            Some(statement) => {
                self.statements.insert(name.into(), statement);
                write::parse_complete(&mut out.to_client);
                Ok(Step::Skip(head.total()))
            }
            None => self.ask_for_lease(head, bytes),
        }
    }

    /// Closing needs no server: statements stay there for others, and portals do not outlive a transaction.
    pub(super) fn close_without_session(&mut self, head: Head, bytes: &[u8], out: &mut Outbox) -> Result<Step, Fault> {
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        match Named::read(message) {
            Some(Named::Statement(b"")) => self.unnamed = None,
            Some(Named::Statement(name)) => {
                let name = effective_name(name);
                if self.statements.remove(name).is_none() && !self.sql_statements.is_empty() {
                    self.drop_sql_statement(name);
                }
            }
            Some(Named::Portal) => {}
            None => return self.ask_for_lease(head, bytes),
        }
        write::close_complete(&mut out.to_client);
        Ok(Step::Skip(head.total()))
    }

    fn ask_for_lease(&mut self, head: Head, bytes: &[u8]) -> Result<Step, Fault> {
        let access = match self.access_for(head, bytes) {
            Ok(access) => access,
            Err(needed) => return Ok(Step::Need(needed)),
        };
        self.access = access;
        self.request = Request::Waiting;
        Ok(Step::Lease(access))
    }

    fn with_session(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if let SessionState::Broken(why) = session.state() {
            return Err(Fault::Server(why));
        }
        if let Some(step) = self.before_request(head, bytes, session, out) {
            return Ok(step);
        }
        if !session.pending.is_full() {
            session.flush = Flush::NotAsked;
        }
        if session.group == Group::Skipping && head.kind != client::SYNC {
            return Ok(Step::Skip(head.total()));
        }
        if let Some(step) = heal::keep_on(head, bytes, session) {
            return Ok(step);
        }
        match head.kind {
            client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => Ok(copy_message(head, session)),
            client::FLUSH => Ok(Step::Forward(head.total())),
            client::SYNC => Ok(sync(head, session)),
            _ if session.pending.is_full() => Ok(hold_for_answers(session, out)),
            client::QUERY => self.query(head, bytes, session, out),
            client::PARSE => self.parse(head, bytes, session, out),
            client::BIND => self.bind(head, bytes, session, out),
            client::DESCRIBE => self.describe(head, bytes, session, out),
            client::CLOSE => self.close(head, bytes, session, out),
            client::EXECUTE => {
                let entry = Entry::new(Expects::Execute, Disposition::Forward, session.group_number);
                session.push(Entry {
                    weight: self.bound,
                    ..entry
                });
                Ok(Step::Forward(head.total()))
            }
            client::FUNCTION_CALL => Ok(call_function(head, bytes, session)),
            _ => Err(Fault::Client("invalid frontend message type")),
        }
    }

    /// Whatever stands between the client's message and the server.
    fn before_request(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Option<Step> {
        if matches!(self.adoption, Adoption::Trying(_) | Adoption::Preparing) {
            return Some(Step::Hold);
        }
        if !self.abandoned.is_no() && !session.pending.is_empty() {
            return Some(Step::Hold);
        }
        if let Some(step) = self.in_failed_block(head, bytes, out) {
            return Some(step);
        }
        if let Some(error) = self.abandoned.take_untold() {
            write::error_response(&mut out.to_client, &error);
            self.request = Request::Refused;
        }
        if let Adoption::Refused(error) = &self.adoption
            && self.request == Request::None
            && starts_work(head.kind)
        {
            write::error_response(&mut out.to_client, error);
            self.request = Request::Refused;
        }
        if matches!(self.request, Request::Refused | Request::RefusedToSync) {
            return Some(self.swallow(head, out));
        }
        if session.group != Group::Closed || !starts_work(head.kind) {
            return None;
        }
        // What the client brought along has to be there again before anything else runs.
        let lacks_settings = session.overlay_kept == OverlayKept::Maybe && self.follows() && !self.brought.is_empty();
        let may_have_to_go = self.may_lack_own_temporary_schema(session);
        let one_at_a_time =
            lacks_settings || may_have_to_go || self.pool_mode == PoolMode::Statement || session.pending.has_barrier();
        if one_at_a_time && !session.pending.is_empty() {
            return Some(Step::Hold);
        }
        if let Some(step) = self.wants_another_server(head, bytes, session) {
            return Some(step);
        }
        if let Some(step) = self.provide_statements(head, bytes, session, &mut out.to_server) {
            return Some(step);
        }
        self.load_channels(head, bytes, session, &mut out.to_server)
    }

    /// Whether what comes next may not run on the replica that is held for what came before.
    fn wants_another_server(&mut self, head: Head, bytes: &[u8], session: &Session) -> Option<Step> {
        if self.access == Access::ReadWrite {
            return None;
        }
        let in_transaction = session.status != TransactionStatus::Idle;
        // The transaction may end with what is on its way; then this belongs to what comes after it.
        if in_transaction && !session.pending.has_boundary() {
            return None;
        }
        match self.access_for(head, bytes) {
            Err(needed) => Some(Step::Need(needed)),
            Ok(Access::ReadOnly) => None,
            Ok(Access::ReadWrite) if in_transaction => Some(Step::Hold),
            Ok(Access::ReadWrite) if session.state() == SessionState::Idle => {
                self.access = Access::ReadWrite;
                self.request = Request::Waiting;
                Some(Step::Lease(Access::ReadWrite))
            }
            Ok(Access::ReadWrite) if matches!(session.state(), SessionState::Pinned(_)) => None,
            Ok(Access::ReadWrite) => Some(Step::Hold),
        }
    }

    /// A message of a request that has had its error.
    fn swallow(&mut self, head: Head, out: &mut Outbox) -> Step {
        let ends = match (head.kind, self.request) {
            (client::SYNC, _) => true,
            (client::QUERY | client::FUNCTION_CALL, Request::Refused) => true,
            (client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL, _) => false,
            _ => {
                self.request = Request::RefusedToSync;
                false
            }
        };
        if ends {
            self.request = Request::None;
            write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
        }
        Step::Skip(head.total())
    }

    fn query(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let mut entry = Entry::new(Expects::Query, Disposition::Forward, session.group_number);
        let body = head.message(bytes).map(|message| head.body(message));
        let class = match body {
            _ if head.total() > limits::MAX_PEEK as u64 => classify::too_long_to_read(),
            Some(body) => classify::classify_query(body),
            None => return Ok(Step::Need(head.total() as usize)),
        };
        let suspicious = self.suspicious(&class);
        if !suspicious.is_empty() {
            session.suspect(suspicious, body.map(query::text));
        }
        entry.weight = self.touch(&class, session);
        if session.group == crate::session::Group::Open && session.server_major() >= QUERY_IN_A_GROUP_SPOILS {
            session.touched |= Touches::IRREVERSIBLE;
        }
        if let Shape::Deallocate(name) = &class.shape {
            let name = effective_name(name);
            let is_known = self.statements.find(name).is_some();
            // A transaction that an earlier group may have failed would refuse the Parse that goes ahead, and the server
            // would then skip to a Sync that does not come.
            if session.pending.is_name_uncertain(name, session.group_number)
                || (is_known && session.pending.has_boundary())
            {
                return Ok(Step::Hold);
            }
            if is_known && session.status != TransactionStatus::Failed {
                return Ok(self.deallocate(head, name, session, out));
            }
            if let Some(step) = self.deallocate_elsewhere(head, name, session, &mut out.to_server) {
                return Ok(step);
            }
        }
        // A simple query destroys the unnamed statement, also the one that comes back because something before it turns
        // out not to be carried out.
        if self.unnamed.is_some() || session.pending.may_be_undone() {
            entry.at_client = ClientChange::Unnamed(self.unnamed.take());
        }
        if session.unnamed.is_some() || session.pending.may_be_undone() {
            entry.on_server = ServerChange::Unnamed(session.unnamed.take());
        }
        session.push(entry);
        Ok(Step::Forward(head.total()))
    }

    /// `DEALLOCATE name` of a statement that the server knows by another name, as psycopg sends it.
    fn deallocate(&mut self, head: Head, name: &[u8], session: &mut Session, out: &mut Outbox) -> Step {
        let Some((name, statement)) = self.statements.remove(name) else {
            return Step::Hold;
        };
        let unnamed = ClientChange::Unnamed(self.unnamed.take());
        let text = deallocate_text(&statement, unnamed, session, &mut out.to_server);
        let mut entry = Entry::new(Expects::Query, Disposition::Forward, session.group_number);
        entry.at_client = ClientChange::Dropped(name, statement);
        entry.on_server = ServerChange::Unnamed(session.unnamed.take());
        session.push(entry);
        write::query(&mut out.to_server, &text);
        Step::Skip(head.total())
    }

    fn describe(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        self.descriptions = Descriptions::Asked;
        match Named::read(message) {
            Some(Named::Statement(name)) => self.describe_statement(head, name, session, out),
            Some(Named::Portal) | None => {
                session.expect(Expects::DescribePortal, Disposition::Forward);
                Ok(Step::Forward(head.total()))
            }
        }
    }

    fn close(&mut self, head: Head, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        match Named::read(message) {
            Some(Named::Statement(name)) => Ok(self.close_statement(head, name, session, out)),
            Some(Named::Portal) | None => {
                session.expect(Expects::Close, Disposition::Forward);
                Ok(Step::Forward(head.total()))
            }
        }
    }

    /// Whether the client has left.
    pub(super) fn is_gone(&self) -> bool {
        self.presence == Presence::Gone
    }
}

/// From this version on, a simple query inside an extended group leaves its implicit transaction open, and the next
/// statement on the connection can fail with XX000 "unexpected state STARTED" (seen with 18.4, on a direct connection).
/// Whoever does that keeps what comes of it; the connection goes to nobody else.
const QUERY_IN_A_GROUP_SPOILS: u32 = 18;

/// Whether a message begins something that a server has to do.
fn starts_work(kind: u8) -> bool {
    matches!(
        kind,
        client::QUERY
            | client::PARSE
            | client::BIND
            | client::DESCRIBE
            | client::EXECUTE
            | client::CLOSE
            | client::FUNCTION_CALL
    )
}

/// Data of a COPY, or its end. With nothing outstanding there is no COPY any more: PostgreSQL ignores them (S5.4).
fn copy_message(head: Head, session: &mut Session) -> Step {
    if session.pending.is_empty() {
        return Step::Skip(head.total());
    }
    if head.kind != client::COPY_DATA {
        if session.copy == CopyState::In {
            session.copy = CopyState::InEnded;
        }
        if session.pending.len() < limits::MAX_PENDING {
            session.expect(Expects::CopyEnd, Disposition::Forward);
        }
    }
    Step::Forward(head.total())
}

/// Sync; inside of COPY FROM STDIN the server would ignore it (S5.2).
fn sync(head: Head, session: &mut Session) -> Step {
    if session.copy == CopyState::In {
        return Step::Skip(head.total());
    }
    session.expect(Expects::Sync, Disposition::Forward);
    Step::Forward(head.total())
}

fn call_function(head: Head, bytes: &[u8], session: &mut Session) -> Step {
    const FUNCTION: usize = HEAD + 4;
    if head.total() >= FUNCTION as u64 && bytes.len() < FUNCTION {
        return Step::Need(FUNCTION);
    }
    if !function_call::is_about_large_objects(head.body(bytes)) {
        session.touched |= Touches::UNKNOWN;
    }
    session.expect(Expects::FunctionCall, Disposition::Forward);
    Step::Forward(head.total())
}

/// Too much is outstanding. The server may sit on its answers until it is asked for them (S4.2).
fn hold_for_answers(session: &mut Session, out: &mut Outbox) -> Step {
    if session.flush == Flush::NotAsked && session.copy == CopyState::None {
        write::flush(&mut out.to_server);
        session.flush = Flush::Asked;
    }
    Step::Hold
}
