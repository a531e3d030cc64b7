//! A PostgreSQL backend in memory: as much of its state machine as decides who is answered what.
//!
//! Knows a handful of statements by their exact text (see [`Statement::read`]). What it does was checked against
//! PostgreSQL 15 with the same random conversations that the tests here use.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::{BufMut, BytesMut};
use weir_postgres::wire::{Head, ready_for_query::TransactionStatus, write};

/// Something that speaks the server's side.
pub use weir_core::testing::rig::Server;

#[derive(Default)]
pub struct Model {
    input: Vec<u8>,
    output: BytesMut,
    /// Not flushed yet.
    buffered: BytesMut,
    statements: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Portal>,
    transaction: Transaction,
    reading: Reading,
    settings: HashMap<String, String>,
    /// What the login gave, which RESET returns to.
    login_settings: HashMap<String, String>,
    /// As they were when the transaction began.
    settings_before: HashMap<String, String>,
    locks: usize,
    /// What `lastval` says.
    last_value: Option<u32>,
    /// Whether its schema of temporary objects was ever needed.
    pub has_temporary_schema: bool,
    /// There is no PL/pgSQL.
    pub refuses_blocks: bool,
    /// Savepoints that are open.
    savepoints: usize,
    /// Texts that cannot be prepared with SQL any more.
    pub gone: Vec<String>,
    last_words: Option<&'static str>,
    /// Texts of all simple queries and executions, for tests that ask what really ran.
    pub ran: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Prepared {
    text: String,
    statement: Statement,
}

#[derive(Clone, Debug)]
struct Portal {
    statement: Prepared,
    values: Vec<String>,
    done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Transaction {
    #[default]
    None,
    /// Opened by an extended message, or inside a simple query; ends with the group.
    Implicit,
    Block,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Reading {
    #[default]
    Normal,
    /// `ignore_till_sync`.
    SkipToSync,
    CopyInSimple,
    CopyInExtended,
}

#[derive(Clone, Debug, PartialEq)]
enum Statement {
    Select(String),
    SelectParameter,
    FailAtExecute,
    Begin,
    Commit,
    Rollback,
    CopyIn,
    CopyOut,
    Set(String, String),
    Show(String),
    SetConfig,
    Lock,
    UnlockAll,
    Draw,
    SetSequence,
    LastValue,
    DiscardSequences,
    Temporary,
    Block,
    /// The gateway's question about the session.
    Settle(String),
    ResetAll,
    DeallocateAll,
    DiscardAll,
    Deallocate(String),
    PrepareSql(String, Box<Statement>),
    ExecuteSql(String),
    Savepoint,
    RollbackTo,
    Release,
    SetLocal(usize),
    Utility(&'static str),
    Empty,
}

struct Failure(&'static str, String);
type Outcome<T> = Result<T, Failure>;

impl Statement {
    fn read(text: &str) -> Outcome<Statement> {
        let text = text.trim();
        let utility = |tag| Ok(Statement::Utility(tag));
        let is_question = ["set", "locks", "cursors", "listen", "temporary", "prepared", "drawn"]
            .iter()
            .any(|kind| text.starts_with(&format!("SELECT '{kind}', ")));
        if is_question {
            return Ok(Statement::Settle(text.to_owned()));
        }
        match text {
            "" => return Ok(Statement::Empty),
            "BEGIN" => return Ok(Statement::Begin),
            "COMMIT" => return Ok(Statement::Commit),
            "ROLLBACK" => return Ok(Statement::Rollback),
            "SELECT 1/(random()*0)::int" => return Ok(Statement::FailAtExecute),
            "SELECT $1::text" => return Ok(Statement::SelectParameter),
            "COPY t FROM STDIN" => return Ok(Statement::CopyIn),
            "COPY (SELECT 'x') TO STDOUT" => return Ok(Statement::CopyOut),
            "SELECT pg_catalog.set_config($1, $2, false) IS NULL" => return Ok(Statement::SetConfig),
            "SELECT pg_advisory_lock(1)" => return Ok(Statement::Lock),
            "SELECT pg_catalog.pg_advisory_unlock_all()" => return Ok(Statement::UnlockAll),
            "SELECT nextval('s')" | "INSERT INTO s" => return Ok(Statement::Draw),
            "INSERT INTO t" => return Ok(Statement::Select("inserted".to_owned())),
            "SELECT setval('s', 7)" => return Ok(Statement::SetSequence),
            "SELECT lastval()" | "SELECT f()" => return Ok(Statement::LastValue),
            "CREATE FUNCTION f() AS 'SELECT lastval()'" => return utility("CREATE FUNCTION"),
            "CREATE TABLE u (a int DEFAULT lastval())" => return utility("CREATE TABLE"),
            "CREATE TEMP TABLE t () ON COMMIT DROP" => return Ok(Statement::Temporary),
            "RESET ALL" => return Ok(Statement::ResetAll),
            "DEALLOCATE ALL" => return Ok(Statement::DeallocateAll),
            "DISCARD ALL" => return Ok(Statement::DiscardAll),
            "SET SESSION AUTHORIZATION DEFAULT" => return utility("SET"),
            "RESET ROLE" => return utility("RESET"),
            "CLOSE ALL" => return utility("CLOSE CURSOR ALL"),
            "UNLISTEN *" => return utility("UNLISTEN"),
            "DO" => return Ok(Statement::Block),
            "DO DEALLOCATE" => return utility("DO"),
            "DISCARD TEMP" => return utility("DISCARD TEMP"),
            "DISCARD SEQUENCES" => return Ok(Statement::DiscardSequences),
            _ => {}
        }
        if let Some(token) = text.strip_prefix("SELECT '").and_then(|rest| rest.strip_suffix('\'')) {
            return Ok(Statement::Select(token.to_owned()));
        }
        if let Some((name, value)) = text.strip_prefix("SET ").and_then(|rest| rest.split_once(" = ")) {
            return Ok(Statement::Set(name.to_owned(), value.trim_matches('\'').to_owned()));
        }
        if let Some(name) = text.strip_prefix("SHOW ") {
            return Ok(Statement::Show(name.to_owned()));
        }
        if let Some((name, body)) = text.strip_prefix("PREPARE ").and_then(|rest| rest.split_once(" AS ")) {
            return Ok(Statement::PrepareSql(name.to_owned(), Box::new(Statement::read(body)?)));
        }
        if let Some(name) = text.strip_prefix("EXECUTE ") {
            return Ok(Statement::ExecuteSql(name.to_owned()));
        }
        if text.starts_with("SELECT pg_catalog.set_config($1, $2, true)") {
            return Ok(Statement::SetLocal(text.matches(", true)").count()));
        }
        match text.split(' ').next() {
            Some("SAVEPOINT") => return Ok(Statement::Savepoint),
            Some("ROLLBACK") => return Ok(Statement::RollbackTo),
            Some("RELEASE") => return Ok(Statement::Release),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("DEALLOCATE ") {
            return Ok(Statement::Deallocate(name.trim_matches('"').to_owned()));
        }
        Err(Failure("42601", format!("syntax error at or near \"{text}\"")))
    }

    fn ends_transaction(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback | Statement::RollbackTo)
    }

    fn returns_rows(&self) -> bool {
        matches!(
            self,
            Statement::Select(_)
                | Statement::SelectParameter
                | Statement::FailAtExecute
                | Statement::Show(_)
                | Statement::SetConfig
                | Statement::SetLocal(_)
                | Statement::ExecuteSql(_)
                | Statement::Lock
                | Statement::UnlockAll
                | Statement::Draw
                | Statement::SetSequence
                | Statement::LastValue
                | Statement::Settle(_)
        )
    }

    fn parameters(&self) -> usize {
        match self {
            Statement::SelectParameter => 1,
            Statement::SetConfig => 2,
            Statement::SetLocal(count) => 2 * count,
            _ => 0,
        }
    }
}

impl Server for Model {
    fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(head) = Head::read(&self.input)
            && let Some(message) = head.message(&self.input)
        {
            let message = message.to_vec();
            self.input.drain(..message.len());
            self.message(head.kind, &message[5..]);
        }
    }

    fn receive(&mut self) -> Vec<u8> {
        self.output.split().to_vec()
    }
}

impl Model {
    /// An administrator ends the backend.
    pub fn shut_down(&mut self) {
        self.put(
            b'E',
            b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0",
        );
        self.flush();
        self.last_words = Some("57P01");
    }

    pub fn is_shut_down(&self) -> bool {
        self.last_words.is_some()
    }

    /// A setting that the login brought along.
    pub fn configure(&mut self, name: &str, value: &str) {
        self.login_settings.insert(name.to_owned(), value.to_owned());
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// Session state that a fresh login would not have.
    pub fn leftovers(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if self.locks > 0 {
            all.push(format!("{} locks", self.locks));
        }
        all
    }

    /// Names and texts of the statements prepared with SQL.
    pub fn sql_statements(&self) -> Vec<(String, String)> {
        let all = self.statements.iter();
        let prepared = all.filter(|(_, prepared)| matches!(prepared.statement, Statement::PrepareSql(..)));
        let mut prepared: Vec<_> = prepared.map(|(name, known)| (show(name), known.text.clone())).collect();
        prepared.sort();
        prepared
    }

    pub fn statement_names(&self) -> Vec<String> {
        self.statements
            .keys()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// DDL makes every statement's result another one.
    pub fn forget_statement_texts(&mut self) {
        for prepared in self.statements.values_mut() {
            prepared.text = "stale".to_owned();
        }
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        write::message(&mut self.buffered, kind, |out| out.put_slice(body));
    }

    fn flush(&mut self) {
        let buffered = self.buffered.split();
        self.output.extend_from_slice(&buffered);
    }

    fn ready(&mut self) {
        let status = match self.transaction {
            Transaction::None | Transaction::Implicit => TransactionStatus::Idle,
            Transaction::Block => TransactionStatus::InTransaction,
            Transaction::Failed => TransactionStatus::Failed,
        };
        if status == TransactionStatus::Idle {
            self.transaction = Transaction::None;
            self.portals.clear();
        }
        write::ready_for_query(&mut self.buffered, status);
        self.flush();
    }

    fn message(&mut self, kind: u8, body: &[u8]) {
        match (self.reading, kind) {
            (Reading::CopyInSimple | Reading::CopyInExtended, _) => return self.copy_message(kind, body),
            (Reading::SkipToSync, b'S') | (Reading::Normal, _) => {}
            (Reading::SkipToSync, _) => return,
        }
        let outcome = match kind {
            b'Q' => return self.simple(&until_zero(body)),
            b'S' => {
                self.reading = Reading::Normal;
                return self.ready();
            }
            b'H' => return self.flush(),
            b'd' | b'c' | b'f' | b'X' => return,
            b'F' => {
                self.put(b'V', b"\xff\xff\xff\xff");
                return self.ready();
            }
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body),
            b'E' => self.execute(body),
            b'C' => self.close(body),
            _ => panic!("a message of type {kind}"),
        };
        if let Err(failure) = outcome {
            self.fail(failure);
            self.reading = Reading::SkipToSync;
        }
    }

    fn fail(&mut self, Failure(code, message): Failure) {
        let fields = format!("SERROR\0VERROR\0C{code}\0M{message}\0\0");
        self.put(b'E', fields.as_bytes());
        self.flush();
        // Those of a failed block stay until it ends, of no use.
        if !matches!(self.transaction, Transaction::Block | Transaction::Failed) {
            self.portals.clear();
            if self.transaction == Transaction::Implicit {
                self.settings = self.settings_before.clone();
            }
        }
        self.transaction = match self.transaction {
            Transaction::Block | Transaction::Failed => Transaction::Failed,
            Transaction::None | Transaction::Implicit => Transaction::None,
        };
    }

    fn check_usable(&self, statement: &Statement) -> Outcome<()> {
        if self.transaction == Transaction::Failed && !statement.ends_transaction() && *statement != Statement::Empty {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Failure("25P02", message.to_owned()));
        }
        Ok(())
    }

    fn start(&mut self) {
        if self.transaction == Transaction::None {
            self.settings_before = self.settings.clone();
            self.transaction = Transaction::Implicit;
        }
    }

    fn parse(&mut self, body: &[u8]) -> Outcome<()> {
        let name = until_zero(body).into_bytes();
        let text = until_zero(&body[name.len() + 1..]);
        self.start();
        if name.is_empty() {
            self.statements.remove(&name);
        }
        let statement = Statement::read(&text)?;
        self.check_usable(&statement)?;
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Failure(
                "42P05",
                format!("prepared statement \"{}\" already exists", show(&name)),
            ));
        }
        self.statements.insert(name, Prepared { text, statement });
        self.put(b'1', b"");
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Outcome<Prepared> {
        let found = self.statements.get(name).cloned();
        found.ok_or_else(|| match name {
            b"" => Failure("26000", "unnamed prepared statement does not exist".to_owned()),
            name => Failure("26000", format!("prepared statement \"{}\" does not exist", show(name))),
        })
    }

    fn bind(&mut self, body: &[u8]) -> Outcome<()> {
        let portal = until_zero(body).into_bytes();
        let rest = &body[portal.len() + 1..];
        let name = until_zero(rest).into_bytes();
        let values = values(&rest[name.len() + 1..]);
        let statement = self.find(&name)?;
        self.start();
        if values.len() != statement.statement.parameters() {
            let which = if name.is_empty() {
                "\"\"".to_owned()
            } else {
                format!("\"{}\"", show(&name))
            };
            return Err(Failure(
                "08P01",
                format!(
                    "bind message supplies {} parameters, but prepared statement {which} requires {}",
                    values.len(),
                    statement.statement.parameters()
                ),
            ));
        }
        self.check_usable(&statement.statement)?;
        if statement.text == "stale" {
            return Err(Failure(
                "0A000",
                "cached plan must not change result type\0RRevalidateCachedQuery".to_owned(),
            ));
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Failure("42P03", format!("cursor \"{}\" already exists", show(&portal))));
        }
        self.portals.insert(
            portal,
            Portal {
                statement,
                values,
                done: false,
            },
        );
        self.put(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Outcome<()> {
        let name = until_zero(&body[1..]).into_bytes();
        let statement = match body[0] {
            b'S' => self.find(&name)?,
            _ => self.portal(&name)?.statement.clone(),
        };
        self.start();
        if self.transaction == Transaction::Failed && statement.statement.returns_rows() {
            self.check_usable(&statement.statement)?;
        }
        if body[0] == b'S' {
            let count = statement.statement.parameters() as u16;
            let mut types = count.to_be_bytes().to_vec();
            types.extend((0..count).flat_map(|_| 25_u32.to_be_bytes()));
            self.put(b't', &types);
        }
        match statement.statement.returns_rows() {
            true => self.put(b'T', ROW_OF_ONE),
            false => self.put(b'n', b""),
        }
        Ok(())
    }

    fn portal(&mut self, name: &[u8]) -> Outcome<&mut Portal> {
        let portal = self.portals.get_mut(name);
        portal.ok_or_else(|| Failure("34000", format!("portal \"{}\" does not exist", show(name))))
    }

    fn execute(&mut self, body: &[u8]) -> Outcome<()> {
        let name = until_zero(body).into_bytes();
        let limit = u32::from_be_bytes(body[name.len() + 1..][..4].try_into().unwrap());
        let portal = self.portal(&name)?.clone();
        let statement = portal.statement.statement.clone();
        if statement == Statement::Empty {
            self.put(b'I', b"");
            return Ok(());
        }
        self.start();
        self.check_usable(&statement)?;
        if portal.done && !statement.returns_rows() {
            return Err(Failure("55000", format!("portal \"{}\" cannot be run", show(&name))));
        }
        self.ran.push(portal.statement.text.clone());
        if let Some(portal) = self.portals.get_mut(&name) {
            portal.done = true;
        }
        if portal.done {
            self.put(b'C', b"SELECT 0\0");
            return Ok(());
        }
        if statement == Statement::CopyIn {
            self.put(b'G', b"\0\0\x01\0\0");
            self.flush();
            self.reading = Reading::CopyInExtended;
            return Ok(());
        }
        let suspends = limit == 1 && statement.returns_rows();
        self.run(&statement, &portal.values, suspends)
    }

    fn close(&mut self, body: &[u8]) -> Outcome<()> {
        let name = until_zero(&body[1..]).into_bytes();
        match body[0] {
            b'S' => drop(self.statements.remove(&name)),
            _ => drop(self.portals.remove(&name)),
        }
        self.put(b'3', b"");
        Ok(())
    }

    fn simple(&mut self, text: &str) {
        self.statements.remove(&b""[..]);
        self.ran.push(text.to_owned());
        if text.trim().is_empty() {
            self.put(b'I', b"");
            return self.ready();
        }
        // A DO block of the gateway's own has semicolons inside.
        let block = text
            .find("DO $weir$")
            .map(|start| start..text.rfind("$weir$").unwrap() + "$weir$".len());
        let mut text = text.to_owned();
        if let Some(block) = block {
            let deallocates = text[block.clone()].contains("DEALLOCATE");
            text.replace_range(block, if deallocates { "DO DEALLOCATE" } else { "DO" });
        }
        let texts: Vec<&str> = text.split(';').filter(|text| !text.trim().is_empty()).collect();
        let read: Result<Vec<_>, _> = texts.iter().map(|text| Statement::read(text)).collect();
        let statements = match read {
            Ok(statements) => statements,
            Err(failure) => {
                self.fail(failure);
                return self.ready();
            }
        };
        for statement in &statements {
            self.start();
            let outcome = self.check_usable(statement).and_then(|()| {
                if statement.parameters() > 0 {
                    return Err(Failure("42P02", "there is no parameter $1".to_owned()));
                }
                if let Statement::ExecuteSql(name) = statement {
                    self.find(name.as_bytes())?;
                }
                if statement.returns_rows() {
                    self.put(b'T', ROW_OF_ONE);
                }
                if *statement == Statement::CopyIn {
                    self.put(b'G', b"\0\0\x01\0\0");
                    self.flush();
                    self.reading = Reading::CopyInSimple;
                    return Ok(());
                }
                self.run(statement, &[], false)
            });
            if let Err(failure) = outcome {
                self.fail(failure);
                break;
            }
            if self.reading == Reading::CopyInSimple {
                assert_eq!(statements.len(), 1, "the model knows COPY only alone");
                return;
            }
        }
        self.ready();
    }

    fn run(&mut self, statement: &Statement, values: &[String], suspends: bool) -> Outcome<()> {
        let tag = match statement {
            Statement::Select(token) => self.row(token, suspends),
            Statement::SelectParameter => self.row(&values[0], suspends),
            Statement::Show(name) => {
                let value = self.settings.get(name).cloned().unwrap_or_default();
                self.row(&value, suspends).map(|_| "SHOW")
            }
            Statement::FailAtExecute => return Err(Failure("22012", "division by zero".to_owned())),
            Statement::Begin => {
                self.transaction = Transaction::Block;
                self.savepoints = 0;
                Some("BEGIN")
            }
            Statement::Commit => {
                let failed = self.transaction == Transaction::Failed;
                if failed {
                    self.settings = self.settings_before.clone();
                }
                self.transaction = Transaction::None;
                Some(if failed { "ROLLBACK" } else { "COMMIT" })
            }
            Statement::Rollback => {
                self.settings = self.settings_before.clone();
                self.transaction = Transaction::None;
                Some("ROLLBACK")
            }
            Statement::CopyOut => {
                self.put(b'H', b"\0\0\x01\0\0");
                self.put(b'd', b"x\n");
                self.put(b'c', b"");
                Some("COPY 1")
            }
            Statement::CopyIn => return Err(Failure("0A000", "COPY only alone".to_owned())),
            Statement::Set(name, value) => {
                self.set(name, Some(value))?;
                Some("SET")
            }
            Statement::SetConfig => {
                self.set(&values[0], (values[1] != NULL).then_some(&values[1]))?;
                self.row(&values[1], suspends)
            }
            Statement::Lock => {
                self.locks += 1;
                self.row("", suspends)
            }
            Statement::UnlockAll => {
                self.locks = 0;
                self.row("", suspends)
            }
            Statement::Draw => {
                let value = NEXT_VALUE.fetch_add(1, Ordering::Relaxed);
                self.last_value = Some(value);
                self.row(&value.to_string(), suspends)
            }
            // Of which lastval knows nothing.
            Statement::SetSequence => self.row("7", suspends),
            Statement::LastValue => match self.last_value {
                Some(value) => self.row(&value.to_string(), suspends),
                None => {
                    let message = "lastval is not yet defined in this session\0Rlastval";
                    return Err(Failure("55000", message.to_owned()));
                }
            },
            Statement::DiscardSequences => {
                self.last_value = None;
                Some("DISCARD SEQUENCES")
            }
            Statement::Temporary => {
                self.has_temporary_schema = true;
                Some("CREATE TABLE")
            }
            Statement::Block if self.refuses_blocks => {
                let message = "language \"plpgsql\" does not exist";
                return Err(Failure("42704", message.to_owned()));
            }
            Statement::Block => Some("DO"),
            Statement::Settle(question) => {
                self.answer_question(question);
                Some("SELECT 0")
            }
            Statement::ResetAll => {
                self.reset_all()?;
                Some("RESET")
            }
            Statement::DeallocateAll => {
                self.statements.clear();
                Some("DEALLOCATE ALL")
            }
            Statement::DiscardAll => {
                self.statements.clear();
                self.reset_all()?;
                self.locks = 0;
                self.last_value = None;
                Some("DISCARD ALL")
            }
            Statement::Deallocate(name) => {
                if self.statements.remove(name.as_bytes()).is_none() {
                    return Err(Failure(
                        "26000",
                        format!("prepared statement \"{name}\" does not exist"),
                    ));
                }
                Some("DEALLOCATE")
            }
            Statement::PrepareSql(name, body) => {
                let text = self.ran.last().cloned().unwrap_or_default();
                if self.gone.contains(&text) {
                    return Err(Failure("42P01", "relation \"t\" does not exist".to_owned()));
                }
                if self.statements.contains_key(name.as_bytes()) {
                    return Err(Failure(
                        "42P05",
                        format!("prepared statement \"{name}\" already exists"),
                    ));
                }
                let body = Statement::clone(body);
                let prepared = Prepared {
                    text,
                    statement: Statement::PrepareSql(name.clone(), Box::new(body)),
                };
                self.statements.insert(name.clone().into_bytes(), prepared);
                Some("PREPARE")
            }
            Statement::ExecuteSql(name) => match self.find(name.as_bytes())?.statement {
                Statement::PrepareSql(_, body) => return self.run(&body, &[], false),
                other => panic!("EXECUTE of {other:?}"),
            },
            Statement::Savepoint => {
                self.savepoints += 1;
                Some("SAVEPOINT")
            }
            Statement::RollbackTo => {
                assert!(self.savepoints > 0, "no savepoint");
                self.transaction = Transaction::Block;
                Some("ROLLBACK")
            }
            Statement::Release => {
                self.savepoints -= 1;
                Some("RELEASE")
            }
            Statement::SetLocal(_) => self.row("", suspends),
            Statement::Utility(tag) => {
                if *tag == "DO" {
                    // The gateway's own, which deallocates them.
                    let is_other = |prepared: &Prepared| !matches!(prepared.statement, Statement::PrepareSql(..));
                    self.statements.retain(|_, prepared| is_other(prepared));
                }
                Some(*tag)
            }
            Statement::Empty => None,
        };
        match tag {
            Some(tag) => self.put(b'C', format!("{tag}\0").as_bytes()),
            None => self.put(b's', b""),
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Option<&String>) -> Outcome<()> {
        if value.is_some_and(|value| value == "invalid") {
            return Err(Failure(
                "22023",
                format!("invalid value for parameter \"{name}\": \"invalid\""),
            ));
        }
        match value {
            Some(value) => drop(self.settings.insert(name.to_owned(), value.clone())),
            None => drop(match self.login_settings.get(name) {
                Some(value) => self.settings.insert(name.to_owned(), value.clone()),
                None => self.settings.remove(name),
            }),
        }
        if name == "TimeZone" {
            let value = value.map_or("UTC", String::as_str);
            self.put(b'S', format!("TimeZone\0{value}\0").as_bytes());
        }
        Ok(())
    }

    fn reset_all(&mut self) -> Outcome<()> {
        if self.settings.contains_key("TimeZone") {
            self.set("TimeZone", None)?;
        }
        self.settings = self.login_settings.clone();
        Ok(())
    }

    /// A custom setting is in no catalog: only who asks for it by name hears of it.
    fn answer_question(&mut self, question: &str) {
        let mut rows: Vec<[Option<String>; 3]> = Vec::new();
        if question.contains("SELECT 'set'") {
            let asked = |name: &str| !name.contains('.') || question.contains(&format!("('{name}')"));
            for (name, value) in self.settings.iter().filter(|(name, _)| asked(name)) {
                let digits = value.bytes().map(|byte| format!("{byte:02x}")).collect();
                rows.push([Some("set".to_owned()), Some(name.clone()), Some(digits)]);
            }
        }
        if question.contains("SELECT 'prepared'") {
            for (name, text) in self.sql_statements() {
                let digits = |value: &str| value.bytes().map(|byte| format!("{byte:02x}")).collect();
                rows.push([Some("prepared".to_owned()), Some(digits(&name)), Some(digits(&text))]);
            }
        }
        if question.contains("SELECT 'locks'") && self.locks > 0 {
            rows.push([Some("locks".to_owned()), None, None]);
        }
        if question.contains("SELECT 'schema'") && self.has_temporary_schema {
            rows.push([Some("schema".to_owned()), None, None]);
        }
        if question.contains("SELECT 'drawn'") && self.last_value.is_some() {
            rows.push([Some("drawn".to_owned()), None, None]);
        }
        for row in rows {
            let mut body = 3_u16.to_be_bytes().to_vec();
            for column in row {
                body.extend(column.as_ref().map_or(-1, |value| value.len() as i32).to_be_bytes());
                body.extend(column.unwrap_or_default().into_bytes());
            }
            self.put(b'D', &body);
        }
    }

    fn row(&mut self, value: &str, suspends: bool) -> Option<&'static str> {
        let mut body = 1_u16.to_be_bytes().to_vec();
        body.extend_from_slice(&(value.len() as u32).to_be_bytes());
        body.extend_from_slice(value.as_bytes());
        self.put(b'D', &body);
        (!suspends).then_some("SELECT 1")
    }

    fn copy_message(&mut self, kind: u8, body: &[u8]) {
        let extended = self.reading == Reading::CopyInExtended;
        let outcome = match kind {
            b'd' if body == b"bad\n" => Err(Failure("22P02", "invalid input syntax".to_owned())),
            b'd' | b'H' | b'S' => return,
            b'c' => Ok(()),
            b'f' => Err(Failure(
                "57014",
                format!("COPY from stdin failed: {}", until_zero(body)),
            )),
            _ => panic!("a message of type {kind} in COPY"),
        };
        self.reading = Reading::Normal;
        match outcome {
            Ok(()) => self.put(b'C', b"COPY 1\0"),
            Err(failure) => {
                self.fail(failure);
                if extended {
                    self.reading = Reading::SkipToSync;
                }
            }
        }
        if !extended {
            self.ready();
        }
    }
}

/// Of the one sequence that all connections share.
static NEXT_VALUE: AtomicU32 = AtomicU32::new(1);

const NULL: &str = "\u{0}NULL";

const ROW_OF_ONE: &[u8] = b"\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";

fn until_zero(bytes: &[u8]) -> String {
    show(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The parameters of a Bind, behind its names.
fn values(bytes: &[u8]) -> Vec<String> {
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]) as usize;
    let mut at = 2 + number(0) * 2;
    let count = number(at);
    at += 2;
    let mut values = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        at += 4;
        if length < 0 {
            values.push(NULL.to_owned());
        } else {
            values.push(show(&bytes[at..at + length as usize]));
            at += length as usize;
        }
    }
    values
}
