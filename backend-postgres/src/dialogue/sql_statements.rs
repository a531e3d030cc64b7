//! Statements that the client has prepared with SQL, on whichever server connection it has at the moment.
//!
//! What others have prepared is gone before the client's first request. Its own statements come when a text could use
//! them, not before: preparing one looks at its tables, and would wait for whoever has locked them, also for a client that
//! asks for something else. What running a text needs is judged at the beginning of a request, by the text and for the
//! whole of an extended group; nothing comes into the middle of one.
//!
//! PREPARE is not transactional: what is prepared behind a savepoint, or in a transaction that is rolled back, stays, and
//! the locks and settings that it took do not. Invariants: a statement is on the client's list until the server has said
//! that it is gone, also while it cannot be prepared (its table was dropped); EXECUTE then fails with what PREPARE failed
//! with, as it would where the statement has lived on.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::backend::{Access, Step};

use super::{
    Adoption, Conversation, Request,
    adopt::{changes, hexadecimal},
    passing::deallocate_another,
};
use crate::{
    limits,
    session::{
        Session,
        classify::{self, Class, Shape},
        pending::{ClientChange, Disposition, Entry, Expects, Purpose, ServerChange},
        sql_statements::{self, CONTEXT, SqlStatement, SqlStatements},
        statement::SERVER_NAME_PREFIX,
        touched::Touches,
    },
    wire::{
        Head,
        bind::Bind,
        client, effective_name,
        error_response::{ErrorFields, ErrorMessage},
        named::Named,
        parse::Parse,
        query,
        ready_for_query::TransactionStatus,
        write,
    },
};

/// What the client may have trouble with.
#[derive(Debug, Default)]
pub(super) struct Troubles(Option<Box<Absent>>);

/// Statements that could not be prepared again.
#[derive(Debug, Default)]
struct Absent {
    /// Names that only EXECUTE brings up again: each attempt is an error in the server's log.
    dormant: Vec<Box<str>>,
    /// What has been tried for the request at hand, and what came of it.
    tried: Vec<(Box<str>, ErrorMessage)>,
}

/// Which statements a request could use.
#[derive(Default)]
struct Need {
    /// Those that it names.
    names: Vec<Box<[u8]>>,
    others: Others,
}

/// Whether a request could use statements that it does not name.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Others {
    #[default]
    NotNeeded,
    Needed,
}

impl Conversation {
    /// Whatever others have prepared goes.
    pub(super) fn drop_foreign_statements(&self, session: &mut Session, out: &mut BytesMut) {
        if session.sql_statements.is_same(&self.sql_statements) {
            return;
        }
        let here = std::mem::take(&mut session.sql_statements);
        let (own, foreign): (Vec<_>, Vec<_>) = here
            .iter()
            .cloned()
            .partition(|statement| self.sql_statements.has(statement));
        session.sql_statements = own.into_iter().collect();
        if !foreign.is_empty() {
            let text = sql_statements::deallocation(foreign.iter().map(|statement| &*statement.name));
            session.ask(text.as_bytes(), Purpose::Reset, out);
        }
    }

    /// Makes sure that what the request at hand could use is there; it waits for that.
    pub(super) fn provide_statements(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Option<Step> {
        if session.sql_statements.is_same(&self.sql_statements) || session.status == TransactionStatus::Failed {
            return None;
        }
        let need = match self.need(head, bytes, session) {
            Ok(need) => need,
            Err(needed) => return Some(Step::Need(needed)),
        };
        let missing = self.missing(&need, session);
        if missing.is_empty() {
            return None;
        }
        let is_certain = |entry: &Entry| {
            matches!(
                entry.disposition,
                Disposition::Own(Purpose::Reset | Purpose::KnownSettings)
            )
        };
        if !session.pending.iter().all(is_certain) {
            // Whether there will be a transaction, and whether it will have failed, is not known yet.
            return Some(Step::Hold);
        }
        for statement in missing {
            prepare(statement, session, out);
        }
        self.adoption = Adoption::Preparing;
        Some(Step::Hold)
    }

    fn missing(&self, need: &Need, session: &Session) -> Vec<Arc<SqlStatement>> {
        let is_missing = |statement: &&Arc<SqlStatement>| {
            !session.sql_statements.has(statement) && !self.troubles.has_tried(&statement.name)
        };
        let all = self.sql_statements.iter().filter(is_missing);
        let wanted = all.filter(|statement| {
            need.names.iter().any(|name| **name == *statement.name.as_bytes())
                || (need.others == Others::Needed && !self.troubles.is_dormant(&statement.name))
        });
        wanted.cloned().collect()
    }

    /// What the request that begins with `bytes` could use; `Err` says how many bytes are needed to tell.
    fn need(&self, head: Head, bytes: &[u8], session: &Session) -> Result<Need, usize> {
        let mut need = Need::default();
        match head.kind {
            client::QUERY if head.total() > limits::MAX_PEEK as u64 => need.others = Others::Needed,
            client::QUERY => {
                let Some(message) = head.message(bytes) else {
                    return Err(head.total() as usize);
                };
                let class = classify::classify(query::text(head.body(message)));
                // That of one that is not here needs no statement.
                if !matches!(class.shape, Shape::Deallocate(_)) {
                    self.need_of(&class, session, &mut need);
                }
            }
            client::FUNCTION_CALL => need.others = Others::Needed,
            _ => need = self.need_of_group(bytes, session),
        }
        Ok(need)
    }

    /// An extended group, if all of it is there. What has not arrived yet could use anything.
    fn need_of_group(&self, bytes: &[u8], session: &Session) -> Need {
        let mut rest = bytes;
        let mut need = Need::default();
        while let Some(head) = Head::read(rest)
            && let Some(message) = head.message(rest)
        {
            match head.kind {
                client::SYNC => return need,
                client::PARSE => match Parse::read(message) {
                    Some(parse) => self.need_of(&classify::classify(parse.text()), session, &mut need),
                    None => break,
                },
                client::BIND => match Bind::read(message) {
                    Some(bind) => self.need_of_statement(bind.statement, session, &mut need),
                    None => break,
                },
                client::DESCRIBE | client::CLOSE => {
                    if let Some(Named::Statement(name)) = Named::read(message) {
                        self.need_of_statement(name, session, &mut need);
                    }
                }
                client::EXECUTE | client::FLUSH => {}
                _ => break,
            }
            rest = &rest[message.len()..];
        }
        need.others = Others::Needed;
        need
    }

    /// Of a statement of the protocol; one that is parsed just before counts with its text.
    fn need_of_statement(&self, name: &[u8], session: &Session, need: &mut Need) {
        let name = effective_name(name);
        let known = match name {
            b"" => self.unnamed.as_ref(),
            name => self.statements.find(name).map(|(_, statement)| statement),
        };
        match known {
            Some(statement) => self.need_of(statement.class(), session, need),
            None => need.names.push(name.into()),
        }
    }

    fn need_of(&self, class: &Class, session: &Session, need: &mut Need) {
        let names = &mut need.names;
        let touches = match &class.shape {
            // What is forgotten need not be there before.
            Shape::ForgetsStatements => class.touches.without(Touches::STATEMENTS),
            Shape::Deallocate(name) | Shape::Prepare(name) => {
                names.push(effective_name(name).into());
                class.touches.without(Touches::STATEMENTS | Touches::SQL_PREPARED)
            }
            Shape::Execute(name) => {
                names.push(effective_name(name).into());
                class.touches | self.touches_of_execute(effective_name(name), session)
            }
            _ => class.touches,
        };
        if touches.any(Touches::MAY_PREPARE) {
            need.others = Others::Needed;
        }
    }

    /// What `EXECUTE` of this name may leave behind: what the statement does, if it is certain which one that is.
    pub(super) fn touches_of_execute(&self, name: &[u8], session: &Session) -> Touches {
        let asked = session
            .settling
            .as_ref()
            .map_or(Touches::NONE, |settling| settling.about);
        let is_certain = !(session.touched | session.living | asked).any(Touches::MAY_PREPARE);
        match self.sql_statements.get(name) {
            Some(statement) if is_certain && !statement.touches.any(Touches::FOLLOWED | Touches::IRREVERSIBLE) => {
                statement.touches
            }
            _ => Touches::UNKNOWN,
        }
    }

    /// Whether a name that the protocol uses could be that of a statement prepared with SQL: of one that is here, or of
    /// one that may have come since the server was asked.
    pub(super) fn may_be_prepared_with_sql(&self, name: &[u8], session: &Session) -> bool {
        let asked = session
            .settling
            .as_ref()
            .map_or(Touches::NONE, |settling| settling.about);
        let is_uncertain = (session.touched | session.living | asked).any(Touches::SQL_PREPARED | Touches::UNKNOWN);
        session.sql_statements.get(name).is_some() || (is_uncertain && !name.starts_with(SERVER_NAME_PREFIX))
    }

    /// Close of a statement prepared with SQL: the server's name of it, if it may be here. The server is asked what is
    /// left; where it is not, it is gone.
    pub(super) fn close_sql_statement(&mut self, name: &[u8], session: &mut Session) -> Option<Vec<u8>> {
        if self.may_be_prepared_with_sql(name, session) {
            session.touched |= Touches::SQL_PREPARED;
            return Some(name.to_vec());
        }
        self.drop_sql_statement(name);
        None
    }

    /// It is gone for the client, and whatever trouble there was with it: another one of its name is another one.
    pub(super) fn drop_sql_statement(&mut self, name: &[u8]) {
        self.sql_statements = self.sql_statements.without(name);
        if let Ok(name) = std::str::from_utf8(name) {
            self.troubles.wake(name);
        }
    }

    /// The PREPARE at the front was refused, or what was around it.
    pub(super) fn statement_failed(&mut self, fields: ErrorFields<'_>, session: &mut Session) {
        let error = match fields.sqlstate() {
            b"57014" => self.overrun.take(),
            _ => None,
        };
        let error = error.unwrap_or_else(|| Box::new(fields.to_error()));
        session.preparing.error.get_or_insert(error);
    }

    /// The ReadyForQuery of a PREPARE has come.
    pub(super) fn statement_done(&mut self, session: &mut Session, to_client: &mut BytesMut) {
        let error = session.preparing.error.take();
        let Some(statement) = session.preparing.statements.pop_front() else {
            return;
        };
        let Some(error) = error else {
            self.troubles.wake(&statement.name);
            session.sql_statements = session.sql_statements.with(statement);
            return;
        };
        let was_cancelled = error.sqlstate == "57014";
        if was_cancelled
            && session.status == TransactionStatus::Idle
            && self.request == Request::None
            && !self.is_gone()
        {
            // It was aimed at the request that waits.
            write::error_response(to_client, &error);
            self.request = Request::Refused;
        }
        // A replica may only be late, and a cancel says nothing about the statement.
        let may_sleep = !was_cancelled && self.access == Access::ReadWrite;
        self.troubles.note(&statement.name, *error, may_sleep);
    }

    /// If all that was on its way has come, the request may go.
    pub(super) fn statements_done(&mut self, session: &mut Session) {
        if matches!(self.adoption, Adoption::Preparing) && session.pending.is_empty() {
            session.preparing.error = None;
            self.adoption = Adoption::Settled;
            if session.sql_statements.is_same(&self.sql_statements) {
                session.sql_statements = self.sql_statements.clone();
            }
        }
    }

    /// What the server says is there is the client's. Says what ties the client, if not all of it could be prepared
    /// elsewhere.
    ///
    /// What a text was read by is known from the settings of now, unless some have come and gone: then a new one whose
    /// constants depend on them stays where it is.
    pub(super) fn take_statements(
        &mut self,
        about: Touches,
        found: Vec<(String, Option<String>)>,
        session: &mut Session,
    ) -> Touches {
        if found.is_empty() && self.sql_statements.is_empty() && session.sql_statements.is_empty() {
            return Touches::NONE;
        }
        let before = std::mem::take(&mut session.sql_statements);
        let is_elsewhere =
            |known: &&Arc<SqlStatement>| !before.has(known) && !found.iter().any(|(name, _)| **name == *known.name);
        let elsewhere: Vec<_> = self.sql_statements.iter().filter(is_elsewhere).cloned().collect();
        let read = |(name, text): &(String, Option<String>)| {
            let text = text.as_deref()?;
            let known = before.get(name.as_bytes()).filter(|known| *known.text == *text);
            known.cloned().or_else(|| {
                let fresh = SqlStatement::read(name, text, &session.overlay);
                let is_read_by_these = |fresh: &SqlStatement| !about.any(Touches::CONTEXT) || !fresh.has_constants();
                fresh
                    .filter(|fresh| session.has_standard_strings() && is_read_by_these(fresh))
                    .map(Arc::new)
            })
        };
        let here: Vec<_> = found.iter().filter_map(read).collect();
        let mut tied = here.len() < found.len();
        session.sql_statements = here.iter().cloned().collect();
        self.sql_statements = match elsewhere.is_empty() {
            true => session.sql_statements.clone(),
            false => here.into_iter().chain(elsewhere).collect(),
        };
        self.troubles.keep_to(&self.sql_statements);
        let bytes: usize = self.sql_statements.iter().map(|statement| statement.weight()).sum();
        tied |=
            bytes > limits::MAX_SQL_STATEMENT_BYTES || self.sql_statements.iter().count() > limits::MAX_SQL_STATEMENTS;
        if tied { Touches::SQL_PREPARED } else { Touches::NONE }
    }

    /// `DEALLOCATE ALL` or `DISCARD ALL` was carried out.
    pub(super) fn forget_sql_statements(&mut self, session: &mut Session) {
        self.sql_statements = SqlStatements::default();
        session.sql_statements = SqlStatements::default();
        self.troubles = Troubles::default();
    }

    /// `DEALLOCATE name` of a statement that is not here, and need not be for that.
    pub(super) fn deallocate_elsewhere(
        &mut self,
        head: Head,
        name: &[u8],
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Option<Step> {
        let statement = self.sql_statements.get(name)?.clone();
        if session.sql_statements.has(&statement) || session.status == TransactionStatus::Failed {
            return None;
        }
        if !session.pending.is_empty() {
            return Some(Step::Hold);
        }
        let text = deallocate_another(ClientChange::Unnamed(self.unnamed.take()), session, out);
        self.sql_statements = self.sql_statements.without(name);
        self.troubles.wake(&statement.name);
        let mut entry = Entry::new(Expects::Query, Disposition::Forward, session.group_number);
        entry.at_client = ClientChange::Deallocated(statement);
        entry.on_server = ServerChange::Unnamed(session.unnamed.take());
        session.push(entry);
        write::query(out, &text);
        Some(Step::Skip(head.total()))
    }
}

impl Troubles {
    /// The next request may try again.
    pub(super) fn forgive(&mut self) {
        if let Some(absent) = &mut self.0 {
            absent.tried.clear();
            if absent.dormant.is_empty() {
                self.0 = None;
            }
        }
    }

    /// The words for an error that says that a statement is not there.
    pub(super) fn words_for(&self, error: ErrorFields<'_>) -> Option<Box<ErrorMessage>> {
        let tried = &self.0.as_ref()?.tried;
        let (_, words) = match error.sqlstate() {
            b"26000" => tried
                .iter()
                .find(|(name, _)| mentions(error.message.unwrap_or_default(), name))?,
            b"25P02" => tried.first()?,
            _ => return None,
        };
        Some(Box::new(words.clone()))
    }

    fn has_tried(&self, name: &str) -> bool {
        let mut tried = self.0.iter().flat_map(|absent| &absent.tried);
        tried.any(|(tried, _)| **tried == *name)
    }

    fn is_dormant(&self, name: &str) -> bool {
        let mut dormant = self.0.iter().flat_map(|absent| &absent.dormant);
        dormant.any(|dormant| **dormant == *name)
    }

    fn note(&mut self, name: &str, error: ErrorMessage, may_sleep: bool) {
        if may_sleep && !self.is_dormant(name) {
            self.0.get_or_insert_default().dormant.push(name.into());
        }
        self.0.get_or_insert_default().tried.push((name.into(), error));
    }

    /// Of statements that are not there any more there is nothing to remember.
    fn keep_to(&mut self, statements: &SqlStatements) {
        if let Some(absent) = &mut self.0 {
            absent.dormant.retain(|name| statements.get(name.as_bytes()).is_some());
        }
    }

    fn wake(&mut self, name: &str) {
        if let Some(absent) = &mut self.0 {
            absent.dormant.retain(|dormant| **dormant != *name);
        }
    }
}

/// Whether a message names it, in whichever quotes its language has.
fn mentions(message: &[u8], name: &str) -> bool {
    let is_border = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let mut places = message.windows(name.len().max(1)).enumerate();
    places.any(|(start, window)| {
        window == name.as_bytes()
            && is_border(start.checked_sub(1).and_then(|before| message.get(before)))
            && is_border(message.get(start + name.len()))
    })
}

/// Sends one PREPARE, read by the settings that it was read by before.
fn prepare(statement: Arc<SqlStatement>, session: &mut Session, out: &mut BytesMut) {
    let (opening, closing, settings): (&[u8], &[u8], _) = match session.status {
        TransactionStatus::Idle => (b"BEGIN", b"ROLLBACK", settings_outside(&statement, session)),
        // What the transaction has set so far is not known.
        TransactionStatus::InTransaction | TransactionStatus::Failed => (
            b"SAVEPOINT \"weir_-prepare\"",
            b"ROLLBACK TO SAVEPOINT \"weir_-prepare\"; RELEASE SAVEPOINT \"weir_-prepare\"",
            all_settings(&statement),
        ),
    };
    let is_framed = !settings.is_empty();
    if is_framed {
        session.ask(opening, Purpose::Frame, out);
        write_local_settings(session, &settings, out);
    }
    session.ask(statement.text.as_bytes(), Purpose::Prepare, out);
    if is_framed {
        session.ask(closing, Purpose::Frame, out);
    }
    session.preparing.statements.push_back(statement);
}

/// A setting and its value; none puts it back to what the login gave.
type Change = (String, Option<String>);

/// What differs from the settings that are set for the session.
fn settings_outside(statement: &SqlStatement, session: &Session) -> Vec<Change> {
    let now = sql_statements::context(&session.overlay);
    let mut settings: Vec<Change> = Vec::new();
    // Settings may be on their way that the server has not reported yet.
    if !session.pending.is_empty() || session.parameters.get("client_encoding") != Some("UTF8") {
        settings.extend(encoding_of(statement));
    }
    let changes = changes(&now, &statement.context);
    settings.extend(
        changes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned))),
    );
    settings
}

/// Everything that matters, whatever it is now. Whose privileges count first, because the rest may need them.
fn all_settings(statement: &SqlStatement) -> Vec<Change> {
    let login = ["role", "session_authorization"].map(|name| (name.to_owned(), None));
    let others = CONTEXT.iter().map(|name| {
        let value = statement.context.get(name).map(str::to_owned);
        ((*name).to_owned(), value)
    });
    let identity = statement.context.iter().filter(|setting| setting.is_identity());
    let identity = identity.map(|setting| (setting.name.to_string(), Some(setting.value.to_string())));
    login
        .into_iter()
        .chain(encoding_of(statement))
        .chain(others)
        .chain(identity)
        .collect()
}

/// A text is kept as UTF-8.
fn encoding_of(statement: &SqlStatement) -> Option<Change> {
    let is_ascii = statement.text.is_ascii();
    (!is_ascii).then(|| ("client_encoding".to_owned(), Some("UTF8".to_owned())))
}

/// One group that sets these for the transaction.
fn write_local_settings(session: &mut Session, settings: &[Change], out: &mut BytesMut) {
    let own = Disposition::Own(Purpose::Frame);
    let mut text = String::from("SELECT ");
    let mut values = Vec::new();
    for (number, (name, value)) in settings.iter().enumerate() {
        let (first, second) = (2 * number + 1, 2 * number + 2);
        let (comma, is_plain) = (
            if number > 0 { ", " } else { "" },
            value.as_ref().is_none_or(|value| value.is_ascii()),
        );
        // What is not ASCII must not depend on the client_encoding of the moment.
        text.push_str(&match is_plain {
            true => format!("{comma}pg_catalog.set_config(${first}, ${second}, true) IS NULL"),
            false => format!(
                "{comma}pg_catalog.set_config(${first}, \
                pg_catalog.convert_from(pg_catalog.decode(${second}, 'hex'), 'UTF8'), true) IS NULL"
            ),
        });
        let value = value
            .as_ref()
            .map(|value| if is_plain { value.clone() } else { hexadecimal(value) });
        values.extend([Some(name.clone()), value]);
    }
    let values: Vec<_> = values
        .iter()
        .map(|value| value.as_ref().map(String::as_bytes))
        .collect();
    session.unnamed = None;
    for expects in [Expects::Parse, Expects::Bind, Expects::Execute, Expects::Sync] {
        session.expect(expects, own);
    }
    write::parse_text(out, b"", text.as_bytes());
    write::bind_text(out, b"", &values);
    write::execute(out);
    write::sync(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Overlay;

    #[test]
    fn a_statement_that_is_not_there_has_the_words_of_its_prepare() {
        let mut troubles = Troubles::default();
        let error = ErrorFields::read(b"C42P01\0Mno table\0\0").to_error();
        troubles.note("p", error.clone(), true);
        let words = |body: &[u8]| troubles.words_for(ErrorFields::read(body));
        assert_eq!(
            words(b"C26000\0Mprepared statement \"p\" does not exist\0\0").as_deref(),
            Some(&error)
        );
        assert_eq!(words(b"C26000\0Mprepared statement \"q\" does not exist\0\0"), None);
        assert_eq!(words(b"C22012\0M\"p\"\0\0"), None);
        assert!(troubles.has_tried("p") && troubles.is_dormant("p"));
        troubles.forgive();
        assert!(!troubles.has_tried("p") && troubles.is_dormant("p"));
        let other = SqlStatement::read("q", "PREPARE q AS SELECT 1", &Overlay::default()).map(Arc::new);
        troubles.note("q", error, true);
        troubles.keep_to(&other.into_iter().collect());
        assert!(!troubles.is_dormant("p") && troubles.is_dormant("q"));
        troubles.wake("q");
        troubles.forgive();
        assert!(troubles.0.is_none());
    }

    #[test]
    fn roles_go_before_the_settings_and_come_after_them() {
        let overlay = Overlay::from_pairs([("role", "r"), ("DateStyle", "German"), ("work_mem", "1")]);
        let statement = SqlStatement::read("p", "PREPARE p AS SELECT 'ü'", &overlay).unwrap();
        let settings = all_settings(&statement);
        let names: Vec<_> = settings.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names[..4],
            ["role", "session_authorization", "client_encoding", "search_path"]
        );
        assert_eq!(settings.last(), Some(&("role".to_owned(), Some("r".to_owned()))));
        assert!(settings.contains(&("DateStyle".to_owned(), Some("German".to_owned()))));
        assert!(settings.contains(&("TimeZone".to_owned(), None)) && !names.contains(&"work_mem"));
    }
}
