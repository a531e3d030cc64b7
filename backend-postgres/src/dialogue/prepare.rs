//! Prepared statements, named and unnamed, that exist on whichever server connection the client has at the moment
//! (specification S1, quoted below by rule).
//!
//! The client's names live in its own map, server connections know a statement by the gateway's name; what a server
//! connection lacks is prepared there just ahead of its use. Where the outcome of an earlier, unfinished group decides
//! what a message means, the message waits for it: guessing is how poolers come to bind the wrong statement.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::{BufMut, BytesMut};
use weir_core::{
    backend::{Outbox, Step},
    refusal::Fault,
};

use super::{
    Body, Conversation, heal,
    passing::{close_passing, deallocate_text, take_passing},
    refusals,
};
use crate::{
    limits,
    session::{
        Group, Overlay, Session,
        classify::{self, Class, Shape},
        pending::{ClientChange, ClientName, Disposition, Entry, Expects, ServerChange, Subject, Weight},
        statement::{PASSING_NAME, Statement, StatementId, UNKNOWN_NAME},
        touched::Touches,
    },
    wire::{Head, bind::Bind, client, effective_name, parse::Parse, ready_for_query::TransactionStatus, write},
};

/// Of the settings that a cached plan depends on: sharing it across them would mean planning it anew at each turn (S1.1).
pub(super) fn fingerprint(overlay: &Overlay) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in ["search_path", "role", "session_authorization"] {
        overlay.get(name).hash(&mut hasher);
    }
    hasher.finish()
}

impl Conversation {
    pub(super) fn parse(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if head.total() > limits::MAX_PEEK as u64 {
            return self.parse_streamed(head, bytes, session, out);
        }
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        let parse = Parse::read(message).filter(Parse::is_well_formed);
        let Some(parse) = parse else {
            return Ok(pass_malformed(head, session));
        };
        self.tidy(session, &mut out.to_server);
        match effective_name(parse.name) {
            b"" => Ok(self.parse_unnamed(head, parse, session, out)),
            name => Ok(self.parse_named(head, name, parse, session, out)),
        }
    }

    /// The server's own unnamed statement becomes the client's: a group that uses it at once costs nothing extra.
    fn parse_unnamed(&mut self, head: Head, parse: Parse<'_>, session: &mut Session, out: &mut Outbox) -> Step {
        let class = self.class_of_unnamed(parse);
        if let Shape::Deallocate(name) = &class.shape {
            let name = effective_name(name);
            if session.pending.is_name_uncertain(name, session.group_number) {
                return Step::Hold;
            }
            if let Some((name, statement)) = self.statements.remove(name) {
                self.parse_deallocate(class, name, statement, session, &mut out.to_server);
                return Step::Skip(head.total());
            }
        }
        let statement = Arc::new(Statement::kept(parse.body, class));
        let mut entry = Entry::new(Expects::Parse, Disposition::Forward, session.group_number);
        entry.on_server = ServerChange::Unnamed(session.unnamed.replace(statement.id()));
        entry.at_client = ClientChange::Unnamed(self.unnamed.replace(statement));
        session.push(entry);
        Step::Forward(head.total())
    }

    /// What a text is. Most drivers that prepare without a name prepare the same one again and again: it is read once.
    fn class_of_unnamed(&self, parse: Parse<'_>) -> Class {
        let same = self.unnamed.as_ref().filter(|before| before.body() == Some(parse.body));
        same.map_or_else(|| classify::classify(parse.text()), |same| same.class().clone())
    }

    /// `DEALLOCATE` of a statement that the server knows by another name, as psycopg sends it in a pipeline. The name is
    /// taken to be gone once this is parsed.
    fn parse_deallocate(
        &mut self,
        class: Class,
        name: ClientName,
        dropped: Arc<Statement>,
        session: &mut Session,
        out: &mut BytesMut,
    ) {
        let unnamed = ClientChange::Unnamed(self.unnamed.take());
        let text = deallocate_text(&dropped, unnamed, session, out);
        let statement = Arc::new(Statement::kept(&[&text, &b"\0\0\0"[..]].concat(), class));
        let mut entry = Entry::new(Expects::Parse, Disposition::Forward, session.group_number);
        entry.on_server = ServerChange::Unnamed(session.unnamed.replace(statement.id()));
        entry.at_client = ClientChange::Dropped(name, dropped);
        session.push(entry);
        write::parse(out, b"", statement.body().unwrap_or_default());
        self.unnamed = Some(statement);
    }

    fn parse_named(
        &mut self,
        head: Head,
        name: &[u8],
        parse: Parse<'_>,
        session: &mut Session,
        out: &mut Outbox,
    ) -> Step {
        let group = session.group_number;
        if session.pending.is_name_uncertain(name, group) {
            return Step::Hold;
        }
        let is_taken = self.statements.find(name).is_some() || self.sql_statements.get(name).is_some();
        if is_taken {
            let mut entry = Entry::new(Expects::Parse, Disposition::Forward, group);
            entry.subject = Subject::Statement(name.into(), None);
            take_passing(session, &mut out.to_server);
            session.push(entry);
            write::parse(&mut out.to_server, PASSING_NAME, parse.body);
            return Step::Skip(head.total());
        }
        if let Err((limit, value)) = self.statements.check_room(parse.body.len() + name.len()) {
            provoke(refusals::too_many_statements(limit, value), session, &mut out.to_server);
            return Step::Skip(head.total());
        }
        let statement = self.shared.intern(self.fingerprint, parse.body);
        if session.pending.is_statement_uncertain(statement.id(), group) {
            return Step::Hold;
        }
        let name: Arc<[u8]> = name.into();
        let mut entry = Entry::new(Expects::Parse, Disposition::Forward, group);
        entry.subject = Subject::Statement(name.clone(), None);
        entry.at_client = ClientChange::Named(name.clone());
        self.statements.insert(name, statement.clone());
        if !session.prepared.uses(statement.id()) {
            entry.on_server = ServerChange::Prepared(statement.clone());
            write::parse(&mut out.to_server, statement.server_name(), parse.body);
            session.prepared.insert(statement);
            session.push(entry);
        } else if may_be_failed(session) {
            // Only the server knows whether this would be 25P02 (S1.5): let it try, and forget.
            close_passing(ClientChange::None, session, &mut out.to_server);
            write::parse(&mut out.to_server, PASSING_NAME, parse.body);
            session.push(entry);
            close_passing(ClientChange::None, session, &mut out.to_server);
        } else {
            entry.disposition = Disposition::Fake;
            fake(entry, session, out);
        }
        Step::Skip(head.total())
    }

    /// A text too long to keep: it lives on this server connection, which its client keeps.
    fn parse_streamed(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let Some(parse) = Parse::read(bytes) else {
            return need_name(head, bytes);
        };
        let (name, prefix) = (effective_name(parse.name), bytes.len() - parse.body.len());
        if session.pending.is_name_uncertain(name, session.group_number) {
            return Ok(Step::Hold);
        }
        let statement = Arc::new(Statement::streamed(classify::too_long_to_read()));
        let mut entry = Entry::new(Expects::Parse, Disposition::Forward, session.group_number);
        if name.is_empty() {
            entry.on_server = ServerChange::Unnamed(session.unnamed.replace(statement.id()));
            entry.at_client = ClientChange::Unnamed(self.unnamed.replace(statement));
            session.push(entry);
            return Ok(Step::Forward(head.total()));
        }
        let mut server_name = statement.server_name().to_vec();
        if let Some((name, _)) = self.statements.find(name) {
            entry.subject = Subject::Statement(name.clone(), None);
            take_passing(session, &mut out.to_server);
            server_name = PASSING_NAME.to_vec();
        } else if let Err((limit, value)) = self.statements.check_room(name.len()) {
            provoke(refusals::too_many_statements(limit, value), session, &mut out.to_server);
            return Ok(Step::Skip(head.total()));
        } else {
            let name: Arc<[u8]> = name.into();
            entry.subject = Subject::Statement(name.clone(), None);
            entry.at_client = ClientChange::Named(name.clone());
            self.statements.insert(name, statement);
        }
        session.push(entry);
        let rest = head.total() - prefix as u64;
        out.to_server.put_u8(client::PARSE);
        out.to_server.put_u32((rest as usize + server_name.len() + 5) as u32);
        write::string(&mut out.to_server, &server_name);
        self.body = if rest > 0 { Body::Forward(rest) } else { Body::None };
        Ok(Step::Skip(prefix as u64))
    }

    pub(super) fn bind(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        let keeps = heal::may_keep(head, session);
        if keeps && head.message(bytes).is_none() {
            return Ok(Step::Need(head.total() as usize));
        }
        let bind = match Bind::read(head_of(head, bytes)) {
            Some(bind) => bind,
            None if bytes.len() as u64 >= head.total() => return Ok(pass_malformed_bind(head, session)),
            None => return need_name(head, bytes),
        };
        let name = effective_name(bind.statement);
        let known = self.known(name);
        let meant = match &known {
            Some((_, statement)) => Some(statement),
            None => self.unnamed.as_ref().filter(|_| name.is_empty()),
        };
        let sets_by_name = meant.is_some_and(|statement| statement.class().touches.any(Touches::TIMEOUTS));
        if sets_by_name && let Some(needed) = self.note_bound_names(head, bytes, session) {
            return Ok(Step::Need(needed));
        }
        self.tidy(session, &mut out.to_server);
        let mut entry = Entry::new(Expects::Bind, Disposition::Forward, session.group_number);
        match self.locate(name, known, &mut entry, session, &mut out.to_server) {
            Located::Uncertain => Ok(Step::Hold),
            Located::Unnamed => {
                session.push(entry);
                Ok(Step::Forward(head.total()))
            }
            Located::Named(server_name) => {
                session.push(entry);
                if keeps && let Some(message) = head.message(bytes) {
                    let rest = &message[bind.prefix..];
                    session.kept.begin(bind.portal, server_name.as_bytes(), rest);
                }
                Ok(self.rewrite_bind(head, bytes, bind, server_name.as_bytes(), &mut out.to_server))
            }
        }
    }

    pub(super) fn describe_statement(
        &mut self,
        head: Head,
        name: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        self.tidy(session, &mut out.to_server);
        // Nothing runs.
        let (bound, touched) = (self.bound, session.touched);
        let mut entry = Entry::new(Expects::DescribeStatement, Disposition::Forward, session.group_number);
        let name = effective_name(name);
        let located = self.locate(name, self.known(name), &mut entry, session, &mut out.to_server);
        (self.bound, session.touched) = (bound, touched);
        match located {
            Located::Uncertain => return Ok(Step::Hold),
            Located::Unnamed => {
                session.push(entry);
                return Ok(Step::Forward(head.total()));
            }
            Located::Named(server_name) => {
                session.push(entry);
                write::describe_statement(&mut out.to_server, server_name.as_bytes());
            }
        }
        Ok(Step::Skip(head.total()))
    }

    /// Close of a statement: gone for the client, kept for others (S1.5).
    pub(super) fn close_statement(&mut self, head: Head, name: &[u8], session: &mut Session, out: &mut Outbox) -> Step {
        let (name, group) = (effective_name(name), session.group_number);
        let is_uncertain = match name {
            b"" => session.pending.is_unnamed_uncertain(group),
            name => session.pending.is_name_uncertain(name, group),
        };
        if is_uncertain {
            return Step::Hold;
        }
        let mut entry = Entry::new(Expects::Close, Disposition::Fake, group);
        let streamed = match name {
            b"" => {
                let unnamed = self.unnamed.take();
                let streamed = unnamed.as_ref().is_some_and(|unnamed| unnamed.body().is_none());
                if unnamed.is_some() || session.pending.may_be_undone() {
                    entry.at_client = ClientChange::Unnamed(unnamed);
                }
                streamed.then_some(Vec::new())
            }
            name => match self.statements.remove(name) {
                Some((name, statement)) => {
                    let streamed = statement.body().is_none().then(|| statement.server_name().to_vec());
                    entry.at_client = ClientChange::Dropped(name, statement);
                    streamed
                }
                None => self.close_sql_statement(name, session),
            },
        };
        match streamed {
            None => fake(entry, session, out),
            Some(server_name) => {
                if server_name.is_empty() {
                    entry.on_server = ServerChange::Unnamed(session.unnamed.take());
                }
                entry.disposition = Disposition::Forward;
                session.push(entry);
                write::close_statement(&mut out.to_server, &server_name);
            }
        }
        Step::Skip(head.total())
    }

    /// What the client has prepared under this name.
    fn known(&self, name: &[u8]) -> Option<(ClientName, Arc<Statement>)> {
        if name.is_empty() {
            return None;
        }
        let found = self.statements.find(name);
        found.map(|(name, statement)| (name.clone(), statement.clone()))
    }

    /// Makes sure that the server has what the client means by `name`, which it knows as `known`, and notes in `entry`
    /// what an error would be about.
    fn locate(
        &mut self,
        name: &[u8],
        known: Option<(ClientName, Arc<Statement>)>,
        entry: &mut Entry,
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Located {
        if name.is_empty() {
            return self.locate_unnamed(session, out);
        }
        if session.pending.is_name_uncertain(name, session.group_number) {
            return Located::Uncertain;
        }
        let Some((name, statement)) = known else {
            self.bound = Weight::Ordinary;
            entry.subject = Subject::Statement(name.into(), None);
            if self.may_be_prepared_with_sql(name, session) {
                session.touched |= self.touches_of_execute(name, session);
                return Located::Named(ServerName::Own(name.into()));
            }
            // The server says that there is no such statement, and its transaction knows (S1.7).
            return Located::Named(ServerName::Unknown);
        };
        if !self.ensure_prepared(&statement, &name, session, out) {
            return Located::Uncertain;
        }
        session.suspect(self.suspicious(statement.class()), statement.text());
        self.bound = self.touch(statement.class(), session);
        entry.subject = Subject::Statement(name, Some(statement.id()));
        Located::Named(ServerName::Of(statement))
    }

    fn locate_unnamed(&mut self, session: &mut Session, out: &mut BytesMut) -> Located {
        if session.pending.is_unnamed_uncertain(session.group_number) {
            return Located::Uncertain;
        }
        let Some(unnamed) = self.unnamed.clone() else {
            self.bound = Weight::Ordinary;
            // Whatever the server's unnamed statement is, it is not this client's. Without it the server says so (S1.7).
            let mut entry = Entry::new(Expects::Close, Disposition::Injected, session.group_number);
            entry.on_server = ServerChange::Unnamed(session.unnamed.take());
            session.push(entry);
            write::close_statement(out, b"");
            return Located::Unnamed;
        };
        session.suspect(self.suspicious(unnamed.class()), unnamed.text());
        self.bound = self.touch(unnamed.class(), session);
        if session.unnamed != Some(unnamed.id())
            && let Some(body) = unnamed.body()
        {
            let mut entry = Entry::new(Expects::Parse, Disposition::Injected, session.group_number);
            entry.on_server = ServerChange::Unnamed(session.unnamed.replace(unnamed.id()));
            session.push(entry);
            write::parse(out, b"", body);
        }
        Located::Unnamed
    }

    /// Prepares a statement on the server if it is not there. False if that cannot be known yet.
    pub(super) fn ensure_prepared(
        &mut self,
        statement: &Arc<Statement>,
        name: &Arc<[u8]>,
        session: &mut Session,
        out: &mut BytesMut,
    ) -> bool {
        let Some(body) = statement.body() else { return true };
        if session
            .pending
            .is_statement_uncertain(statement.id(), session.group_number)
        {
            return false;
        }
        if session.prepared.uses(statement.id()) {
            return true;
        }
        let mut entry = Entry::new(Expects::Parse, Disposition::Injected, session.group_number);
        entry.subject = Subject::Statement(name.clone(), None);
        entry.on_server = ServerChange::Prepared(statement.clone());
        session.prepared.insert(statement.clone());
        session.push(entry);
        write::parse(out, statement.server_name(), body);
        true
    }

    /// Closes what is stale, and what is beyond the number of statements to keep: the least recently used, at the
    /// beginning of a group and outside of transactions (S1.4), unless far too many have piled up.
    pub(super) fn tidy(&mut self, session: &mut Session, out: &mut BytesMut) {
        let at_rest =
            session.group == Group::Closed && session.pending.is_empty() && session.status == TransactionStatus::Idle;
        while session.prepared.is_over(!at_rest)
            && let Some(oldest) = session.prepared.pop_oldest()
        {
            session.to_close.push(oldest);
        }
        for statement in std::mem::take(&mut session.to_close) {
            write::close_statement(out, statement.server_name());
            let mut entry = Entry::new(Expects::Close, Disposition::Injected, session.group_number);
            entry.on_server = ServerChange::Closed(statement);
            session.push(entry);
        }
    }

    /// Writes a Bind with another statement name; its parameters stream if they have not all arrived.
    fn rewrite_bind(&mut self, head: Head, bytes: &[u8], bind: Bind<'_>, name: &[u8], out: &mut BytesMut) -> Step {
        let rest = head.total() - bind.prefix as u64;
        out.put_u8(client::BIND);
        out.put_u32((4 + bind.portal.len() + name.len() + 2 + rest as usize) as u32);
        write::string(out, bind.portal);
        write::string(out, name);
        match head.message(bytes) {
            Some(message) if message.len() <= limits::MAX_COPIED => {
                out.put_slice(&message[bind.prefix..]);
                Step::Skip(head.total())
            }
            _ if rest == 0 => Step::Skip(head.total()),
            _ => {
                self.body = Body::Forward(rest);
                Step::Skip(bind.prefix as u64)
            }
        }
    }
}

/// Where a statement is.
enum Located {
    /// Depends on how an earlier group ends.
    Uncertain,
    /// It is the server's unnamed statement, or surely not there.
    Unnamed,
    /// Under this name, or surely not there.
    Named(ServerName),
}

enum ServerName {
    Of(Arc<Statement>),
    /// Prepared with SQL, under the client's own name.
    Own(ClientName),
    Unknown,
}

impl ServerName {
    fn as_bytes(&self) -> &[u8] {
        match self {
            ServerName::Of(statement) => statement.server_name(),
            ServerName::Own(name) => name,
            ServerName::Unknown => UNKNOWN_NAME,
        }
    }
}

/// Answers in the server's place, when the turn comes (S1.6).
fn fake(entry: Entry, session: &mut Session, out: &mut Outbox) {
    if session.pending.is_empty() {
        answer_fake(entry.expects, &mut out.to_client);
    } else {
        session.push(entry);
    }
}

/// The answer to a message that was never sent.
pub(super) fn answer_fake(expects: Expects, out: &mut BytesMut) {
    match expects {
        Expects::Parse => write::parse_complete(out),
        _ => write::close_complete(out),
    }
}

/// Makes the server fail, so that its transaction knows; the client gets our words for it (S2.8).
fn provoke(error: crate::wire::error_response::ErrorMessage, session: &mut Session, out: &mut BytesMut) {
    let mut entry = Entry::new(Expects::Bind, Disposition::Forward, session.group_number);
    entry.subject = Subject::Substitute(Box::new(error));
    session.push(entry);
    write::bind_text(out, UNKNOWN_NAME, &[]);
}

/// Whether a message might meet a failed transaction: as far as the answers so far go, or as unfinished groups may end.
fn may_be_failed(session: &Session) -> bool {
    session.status == TransactionStatus::Failed || session.pending.has_boundary()
}

/// The server refuses it by itself; but under no name that means anything.
fn pass_malformed(head: Head, session: &mut Session) -> Step {
    let mut entry = Entry::new(Expects::Parse, Disposition::Forward, session.group_number);
    entry.on_server = ServerChange::Unnamed(session.unnamed.take());
    session.push(entry);
    Step::Forward(head.total())
}

fn pass_malformed_bind(head: Head, session: &mut Session) -> Step {
    session.expect(Expects::Bind, Disposition::Forward);
    Step::Forward(head.total())
}

/// The message at the front, as far as it has arrived.
fn head_of(head: Head, bytes: &[u8]) -> &[u8] {
    let end = usize::try_from(head.total()).map_or(bytes.len(), |total| total.min(bytes.len()));
    &bytes[..end]
}

/// More of a message, to find the end of its names.
fn need_name(head: Head, bytes: &[u8]) -> Result<Step, Fault> {
    if bytes.len() >= limits::MAX_PEEK {
        return Err(Fault::Client("a name beyond every bound"));
    }
    let whole = usize::try_from(head.total()).unwrap_or(usize::MAX);
    Ok(Step::Need((bytes.len() + NAME_STEP).min(whole).min(limits::MAX_PEEK)))
}

/// How many more bytes to ask for while the end of a name is not there: a name is rarely longer.
const NAME_STEP: usize = 64;

/// The unnamed statement, if it is this one, is stale.
pub(super) fn forget_stale(session: &mut Session, id: Option<StatementId>) {
    match id {
        None => session.unnamed_was(None),
        Some(id) => {
            if let Some(statement) = session.prepared.remove(id) {
                session.to_close.push(statement);
            }
        }
    }
}
