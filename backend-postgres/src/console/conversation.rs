//! A conversation with the console: messages in, answers out, by the simple and the extended protocol.
//!
//! Pure: what a command answers is asked of the caller, who may take its time. Invariants: every request is answered once,
//! in order, nothing is judged while an answer is outstanding; behind an error of the extended protocol everything up to
//! Sync is skipped; statements and portals are bounded in number and messages in size.

use std::{borrow::Cow, collections::HashMap, vec};

use bytes::BytesMut;
use weir_core::admin::{Answer, Cell, Command, Problem, Table, Unanswered};

use super::rows::{self, Formats};
use crate::{
    limits,
    wire::{
        Head,
        bind::Bind,
        client,
        error_response::{ErrorMessage, Severity},
        parse::Parse,
        query,
        ready_for_query::TransactionStatus,
        server, split_string, write,
    },
};

/// What to do with the bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More are needed.
    Need,
    /// This many are dealt with.
    Taken(usize),
    /// Find out what this answers, and say so with [`ConsoleConversation::answered`].
    Ask(Command),
    /// Send what is written, then close.
    Finish,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ConsoleConversation {
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
    stage: Stage,
    asking: Option<Asking>,
}

/// Whose answer is outstanding.
#[derive(Debug)]
enum Asking {
    /// Of a simple query: the commands that have not been answered.
    Simple(vec::IntoIter<Command>),
    /// Of an Execute: the portal, and how many rows are wanted.
    Portal(Vec<u8>, usize),
}

#[derive(Debug)]
struct Portal {
    command: Option<Command>,
    formats: Formats,
    /// Rows that have not been fetched yet, once it has been executed.
    left: Option<vec::IntoIter<Vec<Cell>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Listening,
    /// An error was told: everything up to Sync is skipped.
    Skipping,
}

type Said = Result<(), ErrorMessage>;

impl ConsoleConversation {
    /// Judges the message at the front of `bytes`.
    pub(crate) fn judge(&mut self, bytes: &[u8], out: &mut BytesMut) -> Verdict {
        if let Some(command) = self.question() {
            return Verdict::Ask(command);
        }
        let Some(head) = Head::read(bytes) else {
            return Verdict::Need;
        };
        if head.check_client().is_err() || head.total() > weir_core::limits::MAX_CONSOLE_MESSAGE as u64 {
            let error = ErrorMessage {
                severity: Severity::Fatal,
                ..error(
                    "08P01",
                    "the console does not understand this message, or it is too long",
                )
            };
            write::error_response(out, &error);
            return Verdict::Finish;
        }
        let Some(message) = head.message(bytes) else {
            return Verdict::Need;
        };
        if head.kind == client::TERMINATE {
            return Verdict::Finish;
        }
        self.take(head, message, out);
        Verdict::Taken(message.len())
    }

    /// What the command that was asked about answers.
    pub(crate) fn answered(&mut self, answer: Result<Answer, Unanswered>, out: &mut BytesMut) {
        match self.asking.take() {
            Some(Asking::Simple(mut left)) => {
                let tag = left.next().as_ref().map_or("SHOW", Command::tag);
                match answer {
                    Ok(answer) => {
                        simple_answer(answer, tag, out);
                        self.go_on(left, out);
                    }
                    Err(why) => {
                        write::error_response(out, &unanswered(why));
                        write::ready_for_query(out, TransactionStatus::Idle);
                    }
                }
            }
            Some(Asking::Portal(name, most)) => {
                let said = answer.map_err(unanswered);
                if let Err(error) = said.and_then(|answer| self.fetch(&name, most, Some(answer), out)) {
                    write::error_response(out, &error);
                    self.stage = Stage::Skipping;
                }
            }
            None => {}
        }
    }

    fn question(&self) -> Option<Command> {
        match self.asking.as_ref()? {
            Asking::Simple(left) => left.as_slice().first().cloned(),
            Asking::Portal(name, _) => self.portals.get(name)?.command.clone(),
        }
    }

    /// The next command of a simple query, or its end.
    fn go_on(&mut self, left: vec::IntoIter<Command>, out: &mut BytesMut) {
        match left.len() {
            0 => write::ready_for_query(out, TransactionStatus::Idle),
            _ => self.asking = Some(Asking::Simple(left)),
        }
    }

    fn take(&mut self, head: Head, message: &[u8], out: &mut BytesMut) {
        match head.kind {
            client::SYNC => {
                self.stage = Stage::Listening;
                self.portals.clear();
                return write::ready_for_query(out, TransactionStatus::Idle);
            }
            _ if self.stage == Stage::Skipping => return,
            client::QUERY | client::FUNCTION_CALL => {
                let asked = match head.kind {
                    client::QUERY => commands(query::text(head.body(message))),
                    _ => Err(error("0A000", "the console has no functions to call")),
                };
                match asked {
                    Ok(commands) => {
                        if commands.is_empty() {
                            rows::empty(server::EMPTY_QUERY_RESPONSE, out);
                        }
                        self.go_on(commands.into_iter(), out);
                    }
                    Err(error) => {
                        write::error_response(out, &error);
                        write::ready_for_query(out, TransactionStatus::Idle);
                    }
                }
                return;
            }
            _ => {}
        }
        let said = match head.kind {
            client::PARSE => self.parse(message, out),
            client::BIND => self.bind(message, out),
            client::DESCRIBE => self.describe(head.body(message), out),
            client::EXECUTE => self.execute(head.body(message), out),
            client::CLOSE => self.close(head.body(message), out),
            // Flush: everything is sent at once anyhow. Data of a COPY that was never begun is ignored by PostgreSQL too.
            _ => Ok(()),
        };
        if let Err(error) = said {
            write::error_response(out, &error);
            self.stage = Stage::Skipping;
        }
    }

    fn parse(&mut self, message: &[u8], out: &mut BytesMut) -> Said {
        let parse = Parse::read(message).ok_or_else(malformed)?;
        let commands = commands(parse.text())?;
        if commands.len() > 1 {
            return Err(error("42601", "a prepared statement is one command"));
        }
        if self.statements.len() >= limits::MAX_CONSOLE_STATEMENTS && !self.statements.contains_key(parse.name) {
            return Err(error("54000", "too many prepared statements for the console"));
        }
        self.statements.insert(parse.name.to_vec(), commands.into_iter().next());
        write::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, message: &[u8], out: &mut BytesMut) -> Said {
        let bind = Bind::read(message).ok_or_else(malformed)?;
        let formats = result_formats(&message[bind.prefix..])
            .ok_or_else(|| error("08P01", "a command of the console takes no parameters"))?;
        let command = self.statement(bind.statement)?.clone();
        if self.portals.len() >= limits::MAX_CONSOLE_STATEMENTS && !self.portals.contains_key(bind.portal) {
            return Err(error("54000", "too many portals for the console"));
        }
        let portal = Portal {
            command,
            formats,
            left: None,
        };
        self.portals.insert(bind.portal.to_vec(), portal);
        rows::empty(server::BIND_COMPLETE, out);
        Ok(())
    }

    fn describe(&mut self, body: &[u8], out: &mut BytesMut) -> Said {
        let (command, formats) = match named(body)? {
            (b'S', name) => {
                let command = self.statement(name)?.clone();
                rows::no_parameters(out);
                (command, Formats::default())
            }
            (_, name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.command.clone(), portal.formats.clone())
            }
        };
        match command.as_ref().and_then(Command::columns) {
            Some(columns) => rows::row_description(columns, &formats, out),
            None => rows::empty(server::NO_DATA, out),
        }
        Ok(())
    }

    fn execute(&mut self, body: &[u8], out: &mut BytesMut) -> Said {
        let (name, rest) = split_string(body).ok_or_else(malformed)?;
        let most = rest.first_chunk::<4>().ok_or_else(malformed)?;
        let most = match u32::from_be_bytes(*most) {
            0 => usize::MAX,
            most => most as usize,
        };
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        if portal.command.is_none() {
            rows::empty(server::EMPTY_QUERY_RESPONSE, out);
            return Ok(());
        }
        if portal.left.is_none() {
            self.asking = Some(Asking::Portal(name.to_vec(), most));
            return Ok(());
        }
        self.fetch(name, most, None, out)
    }

    /// Sends rows of a portal: of its answer if it has just come, else those that are left.
    fn fetch(&mut self, name: &[u8], most: usize, answer: Option<Answer>, out: &mut BytesMut) -> Said {
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        match answer {
            Some(Answer::Done { tag, notice }) => {
                done(tag, notice, out);
                return Ok(());
            }
            Some(Answer::Table(table)) => portal.left = Some(table.rows.into_iter()),
            None => {}
        }
        let left = portal.left.get_or_insert_with(|| Vec::new().into_iter());
        for row in left.by_ref().take(most) {
            rows::data_row(&row, &portal.formats, out);
        }
        match left.len() {
            0 => write::command_complete(out, portal.command.as_ref().map_or("SHOW", Command::tag)),
            _ => rows::empty(server::PORTAL_SUSPENDED, out),
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8], out: &mut BytesMut) -> Said {
        match named(body)? {
            (b'S', name) => drop(self.statements.remove(name)),
            (_, name) => drop(self.portals.remove(name)),
        }
        write::close_complete(out);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Command>, ErrorMessage> {
        let shown = String::from_utf8_lossy(name);
        self.statements
            .get(name)
            .ok_or_else(|| error("26000", format!("prepared statement \"{shown}\" does not exist")))
    }
}

fn simple_answer(answer: Answer, tag: &str, out: &mut BytesMut) {
    match answer {
        Answer::Done { tag, notice } => done(tag, notice, out),
        Answer::Table(Table { columns, rows }) => {
            rows::row_description(columns, &Formats::default(), out);
            for row in &rows {
                rows::data_row(row, &Formats::default(), out);
            }
            write::command_complete(out, tag);
        }
    }
}

fn done(tag: &str, notice: Option<String>, out: &mut BytesMut) {
    if let Some(notice) = notice {
        // "successful_completion": there is nothing wrong.
        write::notice_response(out, "00000", &notice, None);
    }
    write::command_complete(out, tag);
}

fn commands(text: &[u8]) -> Result<Vec<Command>, ErrorMessage> {
    let text = std::str::from_utf8(text).map_err(|_| error("22021", "the console speaks UTF-8"))?;
    let commands = Command::parse(text).map_err(problem)?;
    match commands.len() > limits::MAX_CONSOLE_STATEMENTS {
        true => Err(error("54000", "too many commands at a time for the console")),
        false => Ok(commands),
    }
}

/// The formats that a Bind without parameters asks for, from behind its names; `None` if it has parameters.
fn result_formats(rest: &[u8]) -> Option<Formats> {
    let count = |bytes: &[u8]| Some(usize::from(u16::from_be_bytes(*bytes.first_chunk::<2>()?)));
    let rest = rest.get(2 + 2 * count(rest)?..)?;
    if count(rest)? != 0 {
        return None;
    }
    let formats = rest.get(2..)?;
    let (count, formats) = (count(formats)?, formats.get(2..)?);
    let each = formats.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    (formats.len() == 2 * count).then(|| Formats(each.collect()))
}

/// Whether a Describe or Close is about a statement, and its name.
fn named(body: &[u8]) -> Result<(u8, &[u8]), ErrorMessage> {
    let (kind, rest) = body.split_first().ok_or_else(malformed)?;
    let (name, _) = split_string(rest).ok_or_else(malformed)?;
    match kind {
        b'S' | b'P' => Ok((*kind, name)),
        _ => Err(malformed()),
    }
}

fn malformed() -> ErrorMessage {
    error("08P01", "malformed message")
}

fn no_portal(name: &[u8]) -> ErrorMessage {
    error(
        "34000",
        format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)),
    )
}

fn problem(problem: Problem) -> ErrorMessage {
    let sqlstate = match problem {
        Problem::Unknown(_) => "42601",
        Problem::Denied(_) => "42501",
        Problem::NoSuchClient(_) => "42704",
        Problem::NoSuchSource(_) => "3D000",
        Problem::Resumed(_) => "55000",
        Problem::NotReloaded(_) => "F0000",
        Problem::Unavailable(_) => "0A000",
    };
    ErrorMessage {
        detail: problem.detail().map(Cow::from),
        hint: problem.hint().map(Cow::from),
        ..error(sqlstate, problem.to_string())
    }
}

fn unanswered(why: Unanswered) -> ErrorMessage {
    match why {
        Unanswered::Problem(why) => problem(why),
        Unanswered::Cancelled => error("57014", "canceling statement due to user request"),
    }
}

fn error(sqlstate: &'static str, message: impl Into<Cow<'static, str>>) -> ErrorMessage {
    ErrorMessage {
        severity: Severity::Error,
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: None,
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use weir_core::admin::{Table, Topic};

    use super::*;

    fn answer(command: &Command) -> Result<Answer, Unanswered> {
        match command {
            Command::Show(Topic::Version) => Ok(Answer::Table(Table {
                columns: Topic::Version.columns(),
                rows: (0..3).map(|row| vec![Cell::Text(format!("row {row}"))]).collect(),
            })),
            Command::Show(Topic::PinTotals) => Ok(Answer::Table(Table {
                columns: Topic::PinTotals.columns(),
                rows: vec![vec![
                    Cell::Text("d".into()),
                    Cell::Null,
                    Cell::Integer(7),
                    Cell::Integer(-1),
                    Cell::Null,
                ]],
            })),
            Command::Reload => Ok(Answer::Done {
                tag: "RELOAD",
                notice: Some("applied".to_owned()),
            }),
            Command::Pause(_) => Ok(Answer::Done {
                tag: "PAUSE",
                notice: None,
            }),
            Command::WaitClose(_) => Err(Unanswered::Cancelled),
            other => Err(Unanswered::Problem(Problem::Denied(other.to_string()))),
        }
    }

    /// Types of what is answered to these messages, and the bytes.
    fn said(messages: &[u8]) -> (String, BytesMut) {
        let mut conversation = ConsoleConversation::default();
        let (mut rest, mut out) = (messages, BytesMut::new());
        loop {
            match conversation.judge(rest, &mut out) {
                Verdict::Taken(count) => rest = &rest[count..],
                Verdict::Ask(command) => conversation.answered(answer(&command), &mut out),
                Verdict::Need | Verdict::Finish => break,
            }
        }
        let (mut types, mut left) = (String::new(), &out[..]);
        while let Some(head) = Head::read(left) {
            types.push(char::from(head.kind));
            left = &left[usize::try_from(head.total()).expect("short")..];
        }
        (types, out)
    }

    fn bind(portal: &[u8], statement: &[u8], formats: &[u16], out: &mut BytesMut) {
        use bytes::BufMut as _;
        write::message(out, client::BIND, |out| {
            write::string(out, portal);
            write::string(out, statement);
            out.put_u32(0);
            out.put_u16(formats.len() as u16);
            formats.iter().for_each(|format| out.put_u16(*format));
        });
    }

    fn execute(portal: &[u8], most: u32, out: &mut BytesMut) {
        use bytes::BufMut as _;
        write::message(out, client::EXECUTE, |out| {
            write::string(out, portal);
            out.put_u32(most);
        });
    }

    #[test]
    fn simple_queries_have_rows_errors_and_one_end_each() {
        let mut messages = BytesMut::new();
        write::query(&mut messages, b"show version; show pin_totals");
        write::query(&mut messages, b" ; ");
        write::query(&mut messages, b"select 1");
        write::query(&mut messages, b"show version; show stats; show version");
        assert_eq!(said(&messages).0, "TDDDCTDCZIZEZTDDDCEZ");
    }

    #[test]
    fn the_extended_protocol_describes_binds_and_fetches_in_parts() {
        let mut messages = BytesMut::new();
        write::parse_text(&mut messages, b"s", b"show version");
        write::describe_statement(&mut messages, b"s");
        write::sync(&mut messages);
        bind(b"p", b"s", &[1], &mut messages);
        execute(b"p", 2, &mut messages);
        execute(b"p", 2, &mut messages);
        write::close_statement(&mut messages, b"s");
        write::sync(&mut messages);
        assert_eq!(said(&messages).0, "1tTZ2DDsDC3Z");
    }

    #[test]
    fn commands_that_take_their_time_are_answered_in_order() {
        let mut messages = BytesMut::new();
        write::query(&mut messages, b"pause; reload; show version; wait_close; show version");
        write::query(&mut messages, b"pause");
        write::parse_text(&mut messages, b"s", b"pause \"led;ger\"");
        write::describe_statement(&mut messages, b"s");
        bind(b"", b"s", &[], &mut messages);
        execute(b"", 0, &mut messages);
        write::parse_text(&mut messages, b"", b"wait_close");
        bind(b"", b"", &[], &mut messages);
        execute(b"", 0, &mut messages);
        execute(b"", 0, &mut messages);
        write::sync(&mut messages);
        let (types, bytes) = said(&messages);
        assert_eq!(types, "CNCTDDDCEZ CZ 1tn2C 12EZ".replace(' ', ""));
        let said = String::from_utf8_lossy(&bytes);
        assert!(said.contains("applied") && said.contains("57014"), "{said}");
    }

    #[test]
    fn nothing_is_judged_while_an_answer_is_outstanding() {
        let mut messages = BytesMut::new();
        write::query(&mut messages, b"pause");
        let (mut conversation, mut out) = (ConsoleConversation::default(), BytesMut::new());
        assert_eq!(conversation.judge(&messages, &mut out), Verdict::Taken(messages.len()));
        for _ in 0..3 {
            assert!(matches!(
                conversation.judge(&messages, &mut out),
                Verdict::Ask(Command::Pause(_))
            ));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn numbers_are_binary_if_asked_for() {
        let mut messages = BytesMut::new();
        write::parse_text(&mut messages, b"", b"show pin_totals");
        bind(b"", b"", &[1], &mut messages);
        execute(b"", 0, &mut messages);
        write::sync(&mut messages);
        let (types, bytes) = said(&messages);
        assert_eq!(types, "12DCZ");
        let seven = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
        assert!(bytes.windows(seven.len()).any(|window| window == seven), "{bytes:?}");
    }

    #[test]
    fn behind_an_error_everything_is_skipped_up_to_sync() {
        let mut messages = BytesMut::new();
        write::parse_text(&mut messages, b"s", b"nonsense");
        bind(b"", b"s", &[], &mut messages);
        execute(b"", 0, &mut messages);
        write::query(&mut messages, b"show version");
        write::sync(&mut messages);
        bind(b"", b"s", &[], &mut messages);
        write::sync(&mut messages);
        assert_eq!(said(&messages).0, "EZEZ");
    }

    #[test]
    fn nothing_that_a_client_sends_is_too_much_or_too_odd() {
        let mut many = BytesMut::new();
        for number in 0..1_000 {
            write::parse_text(&mut many, format!("s{number}").as_bytes(), b"show version");
        }
        write::sync(&mut many);
        let (types, _) = said(&many);
        assert_eq!(types.matches('1').count(), limits::MAX_CONSOLE_STATEMENTS);
        let mut conversation = ConsoleConversation::default();
        let mut out = BytesMut::new();
        for odd in [
            &b"Q\0\xff\xff\xff"[..],
            b"?\0\0\0\x04",
            b"Q\0\0\0\0",
            b"Q\xff\xff\xff\xff",
        ] {
            assert_eq!(conversation.judge(odd, &mut out), Verdict::Finish, "{odd:?}");
        }
        for odd in [
            &b"B\0\0\0\x04"[..],
            b"D\0\0\0\x05S",
            b"E\0\0\0\x05\0",
            b"C\0\0\0\x06Xa",
            b"P\0\0\0\x04",
            b"F\0\0\0\x04",
        ] {
            conversation.stage = Stage::Listening;
            out.clear();
            assert_eq!(conversation.judge(odd, &mut out), Verdict::Taken(odd.len()));
            assert_eq!(out.first(), Some(&b'E'), "{odd:?}");
        }
        assert_eq!(conversation.judge(b"X\0\0\0\x04", &mut out), Verdict::Finish);
    }
}
