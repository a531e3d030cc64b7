//! A conversation with the console: messages in, answers out, by the simple and the extended protocol.
//!
//! Pure: what a command answers is asked of the caller. Invariants: every request is answered once, in order; behind an
//! error of the extended protocol everything up to Sync is skipped; statements and portals are bounded in number and
//! messages in size.

use std::{borrow::Cow, collections::HashMap, vec};

use bytes::BytesMut;
use weir_core::admin::{Answer, Cell, Command, Problem};

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

/// Where answers come from.
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&Command) -> Result<Answer, Problem>;

/// What to do with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More are needed.
    Need,
    /// This many are dealt with.
    Taken(usize),
    /// Send what is written, then close.
    Finish,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ConsoleConversation {
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
    stage: Stage,
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
    pub(crate) fn judge(&mut self, bytes: &[u8], ask: Ask<'_>, out: &mut BytesMut) -> Verdict {
        let Some(head) = Head::read(bytes) else {
            return Verdict::Need;
        };
        if head.check_client().is_err() || head.total() > limits::MAX_CONSOLE_MESSAGE as u64 {
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
        self.take(head, message, ask, out);
        Verdict::Taken(message.len())
    }

    fn take(&mut self, head: Head, message: &[u8], ask: Ask<'_>, out: &mut BytesMut) {
        match head.kind {
            client::SYNC => {
                self.stage = Stage::Listening;
                self.portals.clear();
                return write::ready_for_query(out, TransactionStatus::Idle);
            }
            _ if self.stage == Stage::Skipping => return,
            client::QUERY | client::FUNCTION_CALL => {
                let said = match head.kind {
                    client::QUERY => simple(query::text(head.body(message)), ask, out),
                    _ => Err(error("0A000", "the console has no functions to call")),
                };
                if let Err(error) = said {
                    write::error_response(out, &error);
                }
                return write::ready_for_query(out, TransactionStatus::Idle);
            }
            _ => {}
        }
        let said = match head.kind {
            client::PARSE => self.parse(message, out),
            client::BIND => self.bind(message, out),
            client::DESCRIBE => self.describe(head.body(message), out),
            client::EXECUTE => self.execute(head.body(message), ask, out),
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
        self.statements.insert(parse.name.to_vec(), commands.first().copied());
        write::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, message: &[u8], out: &mut BytesMut) -> Said {
        let bind = Bind::read(message).ok_or_else(malformed)?;
        let formats = result_formats(&message[bind.prefix..])
            .ok_or_else(|| error("08P01", "a command of the console takes no parameters"))?;
        let command = *self.statement(bind.statement)?;
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
                let command = *self.statement(name)?;
                rows::no_parameters(out);
                (command, Formats::default())
            }
            (_, name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.command, portal.formats.clone())
            }
        };
        match command {
            Some(Command::Show(topic)) => rows::row_description(topic.columns(), &formats, out),
            Some(Command::KillClient(_)) | None => rows::empty(server::NO_DATA, out),
        }
        Ok(())
    }

    fn execute(&mut self, body: &[u8], ask: Ask<'_>, out: &mut BytesMut) -> Said {
        let (name, rest) = split_string(body).ok_or_else(malformed)?;
        let most = rest.first_chunk::<4>().ok_or_else(malformed)?;
        let most = match u32::from_be_bytes(*most) {
            0 => usize::MAX,
            most => most as usize,
        };
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = portal.command else {
            rows::empty(server::EMPTY_QUERY_RESPONSE, out);
            return Ok(());
        };
        if portal.left.is_none() {
            match ask(&command).map_err(problem)? {
                Answer::Done(tag) => {
                    write::command_complete(out, tag);
                    return Ok(());
                }
                Answer::Table(table) => portal.left = Some(table.rows.into_iter()),
            }
        }
        let left = portal.left.get_or_insert_with(|| Vec::new().into_iter());
        for row in left.by_ref().take(most) {
            rows::data_row(&row, &portal.formats, out);
        }
        match left.len() {
            0 => write::command_complete(out, "SHOW"),
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

fn simple(text: &[u8], ask: Ask<'_>, out: &mut BytesMut) -> Said {
    let commands = commands(text)?;
    if commands.is_empty() {
        rows::empty(server::EMPTY_QUERY_RESPONSE, out);
    }
    for command in commands {
        match ask(&command).map_err(problem)? {
            Answer::Done(tag) => write::command_complete(out, tag),
            Answer::Table(table) => {
                rows::row_description(table.columns, &Formats::default(), out);
                for row in &table.rows {
                    rows::data_row(row, &Formats::default(), out);
                }
                write::command_complete(out, "SHOW");
            }
        }
    }
    Ok(())
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
    match problem {
        Problem::Unknown(text) => ErrorMessage {
            hint: Some("SHOW HELP lists the commands of the console.".into()),
            ..error("42601", format!("the console knows no command \"{text}\""))
        },
        Problem::Denied(command) => ErrorMessage {
            hint: Some("It takes a user with role: admin in gateway.yaml.".into()),
            ..error("42501", format!("permission denied for {command}"))
        },
        Problem::NoSuchClient(id) => ErrorMessage {
            hint: Some("SHOW CLIENTS lists the ids.".into()),
            ..error("42704", format!("there is no client {id}"))
        },
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

    fn answer(command: &Command) -> Result<Answer, Problem> {
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
            Command::Show(_) => Err(Problem::Denied(command.to_string())),
            Command::KillClient(id) => Err(Problem::NoSuchClient(*id)),
        }
    }

    /// Types of what is answered to these messages, and the bytes.
    fn said(messages: &[u8]) -> (String, BytesMut) {
        let mut conversation = ConsoleConversation::default();
        let (mut rest, mut out) = (messages, BytesMut::new());
        while let Verdict::Taken(count) = conversation.judge(rest, &mut answer, &mut out) {
            rest = &rest[count..];
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
            assert_eq!(
                conversation.judge(odd, &mut answer, &mut out),
                Verdict::Finish,
                "{odd:?}"
            );
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
            assert_eq!(
                conversation.judge(odd, &mut answer, &mut out),
                Verdict::Taken(odd.len())
            );
            assert_eq!(out.first(), Some(&b'E'), "{odd:?}");
        }
        assert_eq!(
            conversation.judge(b"X\0\0\0\x04", &mut answer, &mut out),
            Verdict::Finish
        );
    }
}
