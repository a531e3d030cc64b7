//! A model of SQL Server: sessions with settings, transactions, temporary tables and prepared statements, and a language of
//! a few words whose answers show what the session is like.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, BytesMut};
use weir_mssql::wire::{
    TdsVersion,
    all_headers::AllHeaders,
    done::{Done, DoneStatus, command},
    env_change::{self, TransactionChange},
    message::OwnMessage,
    packet::{Header, PacketKind, ResetBit, Status},
    reframe::frame,
    rpc::{Enclave, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown},
    token,
    transaction_request::TransactionRequest,
    utf16::{self, Utf16},
};

use crate::messages::PACKET;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    SqlServer,
    /// Does not tell when a batch begins or ends a transaction.
    Probe,
}

pub struct Model {
    pub kind: Kind,
    pub name: u32,
    /// Bytes of its packets.
    pub packet_size: u16,
    input: Vec<u8>,
    payload: Vec<u8>,
    /// Of the message that is arriving.
    status: Status,
    output: BytesMut,
    settings: BTreeMap<String, String>,
    isolation: String,
    database: String,
    temporary: BTreeSet<String>,
    /// What was inserted last, and the last statement.
    identity: Option<String>,
    last: Option<String>,
    handles: BTreeMap<i32, String>,
    last_handle: i32,
    /// Cannot insert into the table by which the gateway makes it forget.
    pub forgets_nothing: bool,
    /// A variable of the gateway's.
    begins: bool,
    /// Forgets what was prepared, ahead of each request of calls.
    pub forgets_handles: bool,
    count: u32,
    descriptor: u64,
    /// A request that is not answered until somebody interrupts it.
    stuck: bool,
    /// Sends SESSIONSTATE, as a server that was asked for it.
    pub tells_state: bool,
    /// Requests, in words.
    pub log: Vec<String>,
    /// The table that everybody sees: values that were committed, and those of the transaction that is open.
    pub rows: BTreeSet<String>,
    pending: BTreeSet<String>,
}

impl Model {
    pub fn new(kind: Kind, name: u32) -> Self {
        Model {
            kind,
            name,
            packet_size: PACKET,
            input: Vec::new(),
            payload: Vec::new(),
            status: Status::default(),
            output: BytesMut::new(),
            settings: BTreeMap::new(),
            isolation: "READ COMMITTED".to_owned(),
            database: "app".to_owned(),
            temporary: BTreeSet::new(),
            identity: None,
            last: None,
            handles: BTreeMap::new(),
            last_handle: 100,
            forgets_nothing: false,
            begins: false,
            forgets_handles: false,
            count: 0,
            descriptor: u64::from(name) * 1000,
            stuck: false,
            tells_state: false,
            log: Vec::new(),
            rows: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(header) = Header::read(&self.input).expect("a packet for the server") {
            let length = usize::from(header.length);
            if self.input.len() < length {
                return;
            }
            let packet: Vec<u8> = self.input.drain(..length).collect();
            self.packet(header, &packet[8..]);
        }
    }

    pub fn receive(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).to_vec()
    }

    pub fn in_transaction(&self) -> bool {
        self.count > 0
    }

    fn packet(&mut self, header: Header, payload: &[u8]) {
        assert!(
            header.length <= self.packet_size,
            "a packet beyond what the server takes"
        );
        if header.kind == PacketKind::Attention {
            assert!(self.payload.is_empty(), "an Attention in the middle of a message");
            if std::mem::take(&mut self.stuck) {
                self.answer(|model, out| model.done(out, DoneStatus::ERROR));
            }
            self.log.push("attention".to_owned());
            let mut out = BytesMut::new();
            Done::attention().write(VERSION, &mut out);
            return self.say(&out);
        }
        assert!(!self.stuck, "a request while another one runs");
        if self.payload.is_empty() {
            self.status = header.status;
        }
        self.payload.extend_from_slice(payload);
        if header.status.ignores_message() {
            self.payload.clear();
            let mut out = BytesMut::new();
            Done::ignored().write(VERSION, &mut out);
            return self.say(&out);
        }
        if header.status.ends_message() {
            let payload = std::mem::take(&mut self.payload);
            self.request(header.kind, &payload);
        } else {
            assert_eq!(
                header.length, self.packet_size,
                "a packet that is not full, and not the last"
            );
        }
    }

    fn say(&mut self, payload: &[u8]) {
        let mut out = BytesMut::new();
        frame(
            PacketKind::Response,
            Status::default(),
            payload,
            self.packet_size,
            &mut out,
        );
        self.output.extend_from_slice(&out);
    }

    fn answer(&mut self, write: impl FnOnce(&mut Model, &mut BytesMut)) {
        let mut out = BytesMut::new();
        write(self, &mut out);
        if self.tells_state {
            // In front of the last DONE.
            let done = out.split_off(out.len() - 13);
            out.put_slice(&[token::SESSION_STATE, 8, 0, 0, 0, 1, 0, 0, 0]);
            out.put_u8(u8::from(self.temporary.is_empty()));
            out.put_slice(&[9, 1, self.temporary.len() as u8]);
            out.extend_from_slice(&done);
        }
        self.say(&out);
    }

    fn request(&mut self, kind: PacketKind, payload: &[u8]) {
        let mut out = BytesMut::new();
        match self.status.reset() {
            ResetBit::None => {}
            bit => self.reset(bit, &mut out),
        }
        if kind == PacketKind::BulkLoad {
            self.log.push(format!("bulk {}", payload.len()));
            return self.answer(|model, out| model.done(out, DoneStatus::default()));
        }
        let headers = AllHeaders::read(payload).expect("headers");
        let descriptor = headers.transaction.expect("a descriptor").value;
        let body = &payload[headers.length..];
        let words = match kind {
            PacketKind::SqlBatch => Utf16(body).to_lossy(),
            PacketKind::TransactionManager => format!("{:?}", TransactionRequest::read(body).expect("a request"))
                .chars()
                .take_while(|character| character.is_alphabetic())
                .collect(),
            _ => "call".to_owned(),
        };
        let reset = if self.status.reset() == ResetBit::None {
            ""
        } else {
            "reset "
        };
        self.log.push(format!("{reset}{words}"));
        let current = if self.count > 0 && self.is_named() {
            self.descriptor
        } else {
            0
        };
        if self.kind == Kind::SqlServer && descriptor != current {
            error(3971, "desync", &mut out);
            Done::statement(DoneStatus::ERROR, 0).write(VERSION, &mut out);
            panic!("{words}: in transaction {descriptor}, which is {current}");
        }
        match kind {
            PacketKind::SqlBatch => self.batch(&words, out),
            PacketKind::TransactionManager => {
                self.transaction(&TransactionRequest::read(body).expect("a request"), &mut out);
                self.finish(out);
            }
            PacketKind::Rpc => self.calls(body, out),
            other => panic!("{other:?}"),
        }
    }

    fn is_named(&self) -> bool {
        true
    }

    fn finish(&mut self, out: BytesMut) {
        self.answer(|_, all| *all = out);
    }

    fn reset(&mut self, bit: ResetBit, out: &mut BytesMut) {
        env_change::write_reset_ack(out);
        self.settings.clear();
        self.temporary.clear();
        self.identity = None;
        self.last = None;
        self.handles.clear();
        self.database = "app".to_owned();
        if bit == ResetBit::Connection {
            self.pending.clear();
            // Some leave the count as it is.
            if self.kind == Kind::SqlServer {
                self.count = 0;
            }
        }
    }

    fn begin(&mut self, tells: bool, out: &mut BytesMut) {
        self.count += 1;
        if self.count == 1 {
            self.descriptor += 1;
            if tells {
                env_change::write_transaction(TransactionChange::Begin, self.descriptor, out);
            }
        }
    }

    fn end(&mut self, change: TransactionChange, tells: bool, out: &mut BytesMut) -> bool {
        if self.count == 0 {
            error(3902, "no transaction", out);
            return false;
        }
        let is_inner = change == TransactionChange::Commit && self.count > 1;
        self.count = if is_inner { self.count - 1 } else { 0 };
        if self.count == 0 {
            let pending = std::mem::take(&mut self.pending);
            if change == TransactionChange::Commit {
                self.rows.extend(pending);
            }
        }
        if tells && (self.count == 0 || self.kind == Kind::Probe) {
            env_change::write_transaction(change, self.descriptor, out);
        }
        true
    }

    fn transaction(&mut self, request: &TransactionRequest<'_>, out: &mut BytesMut) {
        let (ok, next) = match request {
            TransactionRequest::Begin(begin) => {
                if begin.isolation == 4 {
                    self.isolation = "SERIALIZABLE".to_owned();
                }
                self.begin(true, out);
                (true, None)
            }
            TransactionRequest::Commit { next, .. } => (self.end(TransactionChange::Commit, true, out), *next),
            TransactionRequest::Rollback { next, .. } => (self.end(TransactionChange::Rollback, true, out), *next),
            other => panic!("{other:?}"),
        };
        if ok && next.is_some() {
            self.begin(true, out);
        }
        let status = if ok { DoneStatus::default() } else { DoneStatus::ERROR };
        Done::statement(status, command::NONE).write(VERSION, out);
    }

    fn batch(&mut self, text: &str, mut out: BytesMut) {
        let statements: Vec<&str> = text.split(';').map(str::trim).filter(|text| !text.is_empty()).collect();
        let mut done = Done::statement(DoneStatus::default(), command::NONE);
        for (index, statement) in statements.iter().enumerate() {
            done = Done::statement(DoneStatus::default(), command::NONE);
            let before = out.len();
            match self.statement(statement, &mut out) {
                // A row was inserted; a procedure tells of those that it inserted in another way.
                Outcome::Ok if statement.starts_with("INSERT ") && out.len() == before => {
                    done.command = command::INSERT;
                    done.status = DoneStatus::COUNT;
                    done.rows = 1;
                }
                Outcome::Ok => {}
                Outcome::Stuck => {
                    self.stuck = true;
                    return;
                }
                Outcome::Failed => {
                    done.status = DoneStatus::ERROR;
                    break;
                }
            }
            if index + 1 < statements.len() {
                done.status = done.status.with(DoneStatus::MORE);
                done.write(VERSION, &mut out);
            }
        }
        done.write(VERSION, &mut out);
        self.finish(out);
    }

    fn statement(&mut self, statement: &str, out: &mut BytesMut) -> Outcome {
        let tells = self.kind == Kind::SqlServer;
        let words: Vec<&str> = statement.split_whitespace().collect();
        let before = std::mem::take(&mut self.last);
        let inserts = words[0] == "INSERT" && words.get(1) != Some(&"BULK");
        if inserts && self.count == 0 && self.settings.get("IMPLICIT_TRANSACTIONS").is_some_and(|on| on == "ON") {
            self.begin(tells, out);
        }
        match words[0] {
            "SET" | "USE" | "PRINT" => {}
            // It leaves what was there.
            "DECLARE" => self.last.clone_from(&before),
            first => self.last = Some(first.to_owned()),
        }
        match words[..] {
            ["SELECT", "@@IDENTITY"] => row(self.identity.as_deref().unwrap_or("null"), out),
            ["SELECT", "@@ROWCOUNT"] => row(before.as_deref().unwrap_or("zero"), out),
            // A key that is there already: the batch goes on.
            ["INSERT", "duplicate", ..] => error(2627, "Violation of PRIMARY KEY constraint.", out),
            ["INSERT", "INTO", "@weir", ..] if self.forgets_nothing => {
                error(3930, "the transaction cannot be committed", out);
                return Outcome::Failed;
            }
            ["INSERT", "INTO", "@weir", ..] => self.identity = None,
            ["SET", "@begins", "=", "@@OPTIONS", "&", "2"] => {
                self.begins = self.settings.get("IMPLICIT_TRANSACTIONS").is_some_and(|on| on == "ON");
            }
            ["IF", "@begins", "=", "2", "SET", name, value] => {
                if self.begins {
                    self.settings.insert(name.to_owned(), value.to_owned());
                }
            }
            // By a trigger, or in a procedure.
            ["UPDATE", value] | ["EXEC", "inserts", value] => self.identity = Some(value.to_owned()),
            ["BEGIN", "TRAN"] => self.begin(tells, out),
            ["COMMIT", ..] => return Outcome::of(self.end(TransactionChange::Commit, tells, out)),
            ["ROLLBACK", ..] => return Outcome::of(self.end(TransactionChange::Rollback, tells, out)),
            ["IF", "@@TRANCOUNT", ">", "0", end, ..] => {
                let change = if end == "COMMIT" {
                    TransactionChange::Commit
                } else {
                    TransactionChange::Rollback
                };
                if self.count > 0 {
                    self.end(change, tells, out);
                }
            }
            ["IF", "1", "=", "1", "SET", name, value] => {
                self.settings.insert(name.to_owned(), value.to_owned());
            }
            ["SET", "TRANSACTION", "ISOLATION", "LEVEL", ..] => self.isolation = words[4..].join(" "),
            ["SET", "STATISTICS", ..] => {}
            ["SET", name, value] => {
                self.settings.insert(name.to_owned(), value.to_owned());
            }
            ["USE", name] => {
                let name = name.trim_matches(['[', ']']);
                if name == "nowhere" {
                    error(911, "no such database", out);
                    return Outcome::Failed;
                }
                let old = std::mem::replace(&mut self.database, name.to_owned());
                env_change::write_database(name, &old, out);
            }
            ["SELECT", "@@TRANCOUNT"] => {
                out.put_slice(&[token::COLUMN_METADATA, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0]);
                out.put_u8(token::ROW);
                out.put_u32_le(self.count);
            }
            ["SELECT", "show"] => {
                let shown = self.show();
                row(&shown, out);
            }
            ["SELECT", "server"] => row(&format!("server {}", self.name), out),
            ["PRINT", text] => row(text, out),
            ["OUTPUT"] => {}
            ["SELECT", "long", count] => {
                for number in 0..count.parse::<u32>().unwrap() {
                    row(&format!("row {number} of many"), out);
                }
            }
            ["INSERT", "BULK", ..] => {}
            ["INSERT", value] => {
                self.identity = Some(value.to_owned());
                if self.count > 0 {
                    self.pending.insert(value.to_owned());
                } else {
                    self.rows.insert(value.to_owned());
                }
            }
            ["CREATE", "TABLE", name, ..] => {
                self.temporary.insert(name.to_owned());
            }
            ["DROP", "TABLE", name] => {
                self.temporary.remove(name);
            }
            ["RAISERROR"] => {
                error(8134, "divide by zero", out);
                return Outcome::Failed;
            }
            // As a deadlock does.
            ["SHUTDOWN"] => {
                error(1205, "deadlock", out);
                if self.count > 0 {
                    self.count = 0;
                    self.pending.clear();
                    if tells {
                        env_change::write_transaction(TransactionChange::Rollback, self.descriptor, out);
                    }
                }
                return Outcome::Failed;
            }
            ["WAITFOR"] => return Outcome::Stuck,
            ["EXEC", "sp_cursorunprepare", _] => self.log.push(statement.to_owned()),
            ["EXEC", ..] | ["SELECT", ..] | ["DECLARE", ..] => {}
            _ => panic!("the model does not know {statement:?}"),
        }
        Outcome::Ok
    }

    /// What the session is like.
    fn show(&self) -> String {
        let mut shown = format!("{} {}", self.database, self.isolation);
        for (name, value) in &self.settings {
            shown.push_str(&format!(" {name}={value}"));
        }
        for name in &self.temporary {
            shown.push_str(&format!(" {name}"));
        }
        if self.count > 0 {
            shown.push_str(&format!(" transaction {}", self.count));
        }
        shown
    }

    fn calls(&mut self, body: &[u8], mut out: BytesMut) {
        let mut reader = RpcReader::new(VERSION, Enclave::No, 1 << 20);
        let mut input = body;
        let mut calls: Vec<Called> = Vec::new();
        while let Some(piece) = reader.next(&mut input).expect("calls") {
            match piece {
                RpcPiece::Call(call) => calls.push(Called {
                    procedure: match call.procedure {
                        Procedure::WellKnown(known) => Some(known),
                        _ => None,
                    },
                    name: match call.procedure {
                        Procedure::Named(name) => name.to_lossy(),
                        _ => String::new(),
                    },
                    ..Called::default()
                }),
                RpcPiece::Parameter(parameter) => {
                    let call = calls.last_mut().expect("a call");
                    match parameter.value {
                        ParameterValue::Integer { value, .. } => call.numbers.push(Some(value as i32)),
                        ParameterValue::Null => call.numbers.push(None),
                        ParameterValue::Text(text) => call.texts.push(text.to_lossy()),
                        ParameterValue::Follows => {}
                    }
                }
                _ => {}
            }
        }
        assert!(reader.is_complete());
        if self.forgets_handles {
            self.handles.clear();
        }
        let count = calls.len();
        for (index, call) in calls.into_iter().enumerate() {
            let more = if index + 1 < count {
                DoneStatus::MORE
            } else {
                DoneStatus::default()
            };
            self.call(&call, more, &mut out);
        }
        self.finish(out);
    }

    fn call(&mut self, call: &Called, more: DoneStatus, out: &mut BytesMut) {
        self.log.push(format!("{:?}", call.procedure));
        let handle = call.numbers.first().copied().flatten();
        let mut values = BytesMut::new();
        let mut ok = true;
        match call.procedure {
            Some(WellKnown::ExecuteSql) => ok = self.run(&call.texts[0], None, out),
            Some(WellKnown::Prepare) => {
                assert_eq!(handle, None, "a handle of somebody's that the server would release");
                let handle = self.prepare(&call.texts[1]);
                return_value(0, handle, &mut values);
            }
            Some(WellKnown::PrepExec) => {
                assert_eq!(handle, None, "a handle of somebody's that the server would release");
                let handle = self.prepare(&call.texts[1]);
                ok = self.run(&call.texts[1], call.numbers[1], out);
                return_value(0, handle, &mut values);
                if call.texts[1] == "OUTPUT" {
                    return_value(3, call.numbers[1].unwrap_or_default(), &mut values);
                }
            }
            Some(WellKnown::Execute) => match self.handles.get(&handle.expect("a handle")).cloned() {
                Some(text) => {
                    ok = self.run(&text, call.numbers[1], out);
                    if text == "OUTPUT" {
                        return_value(1, call.numbers[1].unwrap_or_default(), &mut values);
                    }
                }
                None => {
                    let text = format!("Could not find prepared statement with handle {}.", handle.unwrap_or(0));
                    error(8179, &text, out);
                    ok = false;
                }
            },
            Some(WellKnown::CursorFetch) => {
                row("fetched", out);
                if self.kind == Kind::Probe {
                    // The status of the row, which no metadata describes (TDS 4.3a).
                    out.put_i32_le(1);
                }
            }
            None if call.name == "inserts" => self.identity = Some("its".to_owned()),
            Some(WellKnown::Unprepare) => ok = self.handles.remove(&handle.expect("a handle")).is_some(),
            _ => {}
        }
        if ok {
            out.put_slice(&[token::RETURN_STATUS, 0, 0, 0, 0]);
        }
        out.put_slice(&values);
        let status = if ok { more } else { more.with(DoneStatus::ERROR) };
        Done::procedure(status).write(VERSION, out);
    }

    fn prepare(&mut self, text: &str) -> i32 {
        self.last_handle += 1;
        self.handles.insert(self.last_handle, text.to_owned());
        self.last_handle
    }

    /// A statement in a procedure. What it sets ends with it.
    fn run(&mut self, text: &str, value: Option<i32>, out: &mut BytesMut) -> bool {
        let settings = self.settings.clone();
        let outcome = match (text, value) {
            ("VALUE", Some(value)) => {
                row(&format!("value {value}"), out);
                Outcome::Ok
            }
            _ => self.statement(text, out),
        };
        self.settings = settings;
        let mut done = Done::statement(DoneStatus::MORE, command::NONE);
        done.kind = weir_mssql::wire::done::DoneKind::InProcedure;
        done.write(VERSION, out);
        matches!(outcome, Outcome::Ok)
    }

    fn done(&self, out: &mut BytesMut, status: DoneStatus) {
        Done::statement(status, command::NONE).write(VERSION, out);
    }
}

#[derive(Default)]
struct Called {
    procedure: Option<WellKnown>,
    /// Of a procedure of the database's.
    name: String,
    numbers: Vec<Option<i32>>,
    texts: Vec<String>,
}

enum Outcome {
    Ok,
    Failed,
    Stuck,
}

impl Outcome {
    fn of(ok: bool) -> Self {
        if ok { Outcome::Ok } else { Outcome::Failed }
    }
}

const VERSION: TdsVersion = TdsVersion::V7_4;

fn error(number: i32, text: &str, out: &mut BytesMut) {
    OwnMessage {
        number,
        state: 1,
        class: 16,
        text,
        server: "model",
        procedure: "",
        line: 1,
    }
    .write_error(VERSION, out);
}

/// A row of one text.
fn row(text: &str, out: &mut BytesMut) {
    out.put_slice(&[
        token::COLUMN_METADATA,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0xe7,
        0x40,
        0x1f,
        9,
        4,
        0xd0,
        0,
        0x34,
        0,
    ]);
    out.put_u8(token::ROW);
    let text = utf16::encode(text);
    out.put_u16_le(text.len() as u16);
    out.put_slice(&text);
}

fn return_value(ordinal: u8, value: i32, out: &mut BytesMut) {
    out.put_slice(&[token::RETURN_VALUE, ordinal, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x26, 4, 4]);
    out.put_i32_le(value);
}
