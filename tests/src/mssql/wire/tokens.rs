//! Tokens of a response.

use super::{Put, types::SqlType};
use crate::mssql::failure::Failure;

/// How wide some fields are: TDS 7.2 made them wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Before TDS 7.2: no ALL_HEADERS and no transaction descriptors either.
    Narrow,
    Wide,
}

impl Width {
    pub(crate) fn of(version: u32) -> Width {
        match version {
            ..0x7200_0000 => Width::Narrow,
            _ => Width::Wide,
        }
    }
}

/// Bits of a DONE token's status.
pub(crate) mod done {
    pub(crate) const MORE: u16 = 0x01;
    pub(crate) const ERROR: u16 = 0x02;
    pub(crate) const COUNT: u16 = 0x10;
    pub(crate) const ATTENTION: u16 = 0x20;
    /// Of a call that others follow in the same request.
    pub(crate) const CALL_IN_BATCH: u16 = 0x80;
}

/// Which statement a DONE token ends.
pub(crate) mod command {
    pub(crate) const NONE: u16 = 0xFD;
    pub(crate) const SELECT: u16 = 0xC1;
    pub(crate) const SELECT_INTO: u16 = 0xC2;
    pub(crate) const INSERT: u16 = 0xC3;
    pub(crate) const DELETE: u16 = 0xC4;
    pub(crate) const UPDATE: u16 = 0xC5;
    pub(crate) const CREATE_TABLE: u16 = 0xC6;
    pub(crate) const DROP_TABLE: u16 = 0xC7;
    pub(crate) const OTHER: u16 = 0x02;
    pub(crate) const ROLLBACK: u16 = 0xD2;
    pub(crate) const BEGIN: u16 = 0xD4;
    pub(crate) const COMMIT: u16 = 0xD5;
    pub(crate) const EXECUTE: u16 = 0xE0;
    pub(crate) const BULK: u16 = 0xF0;
    pub(crate) const SET_ON: u16 = 0xF9;
    pub(crate) const CONDITION: u16 = 0xC0;
}

/// The three tokens that end something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoneKind {
    Done,
    Procedure,
    InProcedure,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) kind: DoneKind,
    pub(crate) status: u16,
    pub(crate) command: u16,
    pub(crate) rows: u64,
}

impl Done {
    pub(crate) fn put(&self, width: Width, out: &mut Vec<u8>) {
        out.u8(match self.kind {
            DoneKind::Done => 0xFD,
            DoneKind::Procedure => 0xFE,
            DoneKind::InProcedure => 0xFF,
        });
        out.u16(self.status);
        out.u16(self.command);
        match width {
            Width::Narrow => out.u32(self.rows as u32),
            Width::Wide => out.u64(self.rows),
        }
    }
}

/// A column of a result.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: SqlType,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    /// Of which table, when it is one's.
    pub(crate) table: Option<String>,
}

impl Column {
    pub(crate) fn new(name: &str, kind: SqlType) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            nullable: true,
            identity: false,
            table: None,
        }
    }
}

/// The user's type, which is none of a user's.
fn user_type(width: Width, out: &mut Vec<u8>) {
    match width {
        Width::Narrow => out.u16(0),
        Width::Wide => out.u32(0),
    }
}

pub(crate) fn column_metadata(out: &mut Vec<u8>, width: Width, columns: &[Column]) {
    out.u8(0x81);
    out.u16(columns.len() as u16);
    for column in columns {
        user_type(width, out);
        let updatable = if column.table.is_some() && !column.identity {
            0x08
        } else {
            0
        };
        out.u16(u16::from(column.nullable) | updatable | if column.identity { 0x10 } else { 0 });
        column.kind.put_info(out);
        if matches!(column.kind, SqlType::Text | SqlType::NText | SqlType::Image) {
            if width == Width::Wide {
                out.u8(1);
            }
            out.us_varchar(column.table.as_deref().unwrap_or_default());
        }
        out.b_varchar(&column.name);
    }
}

pub(crate) fn return_status(out: &mut Vec<u8>, status: i32) {
    out.u8(0x79);
    out.i32(status);
}

/// RETURNVALUE up to its value.
pub(crate) fn return_value_head(out: &mut Vec<u8>, width: Width, ordinal: u16, name: &str, kind: SqlType) {
    out.u8(0xAC);
    out.u16(ordinal);
    out.b_varchar(name);
    out.u8(1);
    user_type(width, out);
    out.u16(0);
    kind.put_info(out);
}

fn counted(out: &mut Vec<u8>, token: u8, body: &[u8]) {
    out.u8(token);
    out.u16(body.len() as u16);
    out.raw(body);
}

pub(crate) fn environment_text(out: &mut Vec<u8>, kind: u8, new: &str, old: &str) {
    let mut body = vec![kind];
    body.b_varchar(new);
    body.b_varchar(old);
    counted(out, 0xE3, &body);
}

pub(crate) fn environment_bytes(out: &mut Vec<u8>, kind: u8, new: &[u8], old: &[u8]) {
    let mut body = vec![kind, new.len() as u8];
    body.raw(new);
    body.u8(old.len() as u8);
    body.raw(old);
    counted(out, 0xE3, &body);
}

/// The acknowledgement of a reset.
pub(crate) const RESET_DONE: [u8; 6] = [0xE3, 3, 0, 18, 0, 0];

pub(crate) fn error(out: &mut Vec<u8>, width: Width, failure: &Failure, server: &str) {
    message(out, width, 0xAA, failure, server);
}

pub(crate) fn info(out: &mut Vec<u8>, width: Width, failure: &Failure, server: &str) {
    message(out, width, 0xAB, failure, server);
}

fn message(out: &mut Vec<u8>, width: Width, token: u8, failure: &Failure, server: &str) {
    let mut body = Vec::new();
    body.i32(failure.number);
    body.u8(failure.state);
    body.u8(failure.class);
    let text: String = failure.message.chars().take(2047).collect();
    body.us_varchar(&text);
    body.b_varchar(server);
    body.b_varchar(&failure.procedure);
    match width {
        Width::Narrow => body.u16(failure.line as u16),
        Width::Wide => body.u32(failure.line),
    }
    counted(out, token, &body);
}

pub(crate) fn login_acknowledgement(out: &mut Vec<u8>, version: u32, server: [u8; 4]) {
    let mut body = vec![1];
    body.raw(&version.to_be_bytes());
    body.b_varchar("Microsoft SQL Server\0\0");
    body.raw(&server);
    counted(out, 0xAD, &body);
}

pub(crate) fn features(out: &mut Vec<u8>, features: &[(u8, Vec<u8>)]) {
    out.u8(0xAE);
    for (id, data) in features {
        out.u8(*id);
        out.u32(data.len() as u32);
        out.raw(data);
    }
    out.u8(0xFF);
}

/// States of a session: id and value. `recoverable` is what the server says of all of them.
pub(crate) fn session_state(out: &mut Vec<u8>, sequence: u32, recoverable: bool, states: &[(u8, Vec<u8>)]) {
    let mut body = Vec::new();
    body.u32(sequence);
    body.u8(u8::from(recoverable));
    put_states(&mut body, states);
    out.u8(0xE4);
    out.u32(body.len() as u32);
    out.raw(&body);
}

pub(crate) fn put_states(out: &mut Vec<u8>, states: &[(u8, Vec<u8>)]) {
    for (id, value) in states {
        out.u8(*id);
        if value.len() < 0xFF {
            out.u8(value.len() as u8);
        } else {
            out.u8(0xFF);
            out.u32(value.len() as u32);
        }
        out.raw(value);
    }
}
