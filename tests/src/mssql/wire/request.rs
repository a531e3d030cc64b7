//! Requests: what a message of the client asks.

use rusqlite::types::Value;

use super::{
    Malformed, Take,
    incoming::{self, Incoming},
    packet::{Message, kind},
    tokens::Width,
    types::SqlType,
    utf16,
};

/// A request, understood.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Batch(String),
    Rpc(Vec<Call>),
    Transaction(Transaction),
    Bulk(Vec<u8>),
}

/// One procedure call of an RPC message.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) procedure: Procedure,
    pub(crate) options: u16,
    pub(crate) parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Id(u16),
    Name(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// With its `@`, or empty.
    pub(crate) name: String,
    pub(crate) output: bool,
    /// The procedure's default stands for it.
    pub(crate) default: bool,
    pub(crate) value: ParameterValue,
}

#[derive(Clone, Debug)]
pub(crate) enum ParameterValue {
    One(SqlType, Value),
    /// A table-valued parameter: type name, rows.
    Table {
        type_name: String,
        rows: Vec<Vec<Value>>,
    },
}

/// A transaction manager request.
#[derive(Clone, Debug)]
pub(crate) enum Transaction {
    Begin(Begin),
    Commit(Option<Begin>),
    Rollback(String, Option<Begin>),
    Save(String),
    Other(u16),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Begin {
    pub(crate) isolation: u8,
    pub(crate) name: String,
}

/// What precedes a request of types 1, 3 and 14.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers {
    pub(crate) descriptor: u64,
}

/// Understands a message.
pub(crate) fn parse(message: &Message, width: Width) -> Result<(Headers, Request), Malformed> {
    let mut take = Take(&message.payload);
    if message.kind == kind::BULK {
        return Ok((Headers::default(), Request::Bulk(message.payload.clone())));
    }
    let headers = match width {
        Width::Narrow => Headers::default(),
        Width::Wide => all_headers(&mut take)?,
    };
    let request = match message.kind {
        kind::BATCH => Request::Batch(utf16(take.0)?),
        kind::RPC => Request::Rpc(calls(take)?),
        kind::TRANSACTION => Request::Transaction(transaction(take)?),
        other => return Err(Malformed(format!("a message of type {other:#04x}"))),
    };
    Ok((headers, request))
}

fn all_headers(take: &mut Take<'_>) -> Result<Headers, Malformed> {
    let total = take.u32()? as usize;
    let mut list = Take(
        take.bytes(
            total
                .checked_sub(4)
                .ok_or_else(|| Malformed::new("ALL_HEADERS of less than 4 bytes"))?,
        )?,
    );
    let mut headers = None;
    while !list.is_empty() {
        let length = list.u32()? as usize;
        let kind = list.u16()?;
        let mut data = Take(
            list.bytes(
                length
                    .checked_sub(6)
                    .ok_or_else(|| Malformed::new("a header of less than 6 bytes"))?,
            )?,
        );
        if kind == 2 {
            headers = Some(Headers {
                descriptor: data.u64()?,
            });
            if data.u32()? != 1 {
                return Err(Malformed::new("more than one outstanding request without MARS"));
            }
        }
    }
    headers.ok_or_else(|| Malformed::new("no transaction descriptor in ALL_HEADERS"))
}

fn calls(mut take: Take<'_>) -> Result<Vec<Call>, Malformed> {
    let mut calls = Vec::new();
    loop {
        let procedure = match take.u16()? {
            0xFFFF => Procedure::Id(take.u16()?),
            units => Procedure::Name(utf16(take.bytes(2 * usize::from(units))?)?),
        };
        let options = take.u16()?;
        let mut call = Call {
            procedure,
            options,
            parameters: Vec::new(),
        };
        let separator = loop {
            match take.peek() {
                None => break None,
                Some(byte @ (0xFE | 0xFF | 0x80)) => {
                    take.u8()?;
                    break Some(byte);
                }
                Some(_) => call.parameters.push(parameter(&mut take)?),
            }
        };
        if separator != Some(0xFE) {
            calls.push(call);
        }
        if separator.is_none() || take.is_empty() {
            return Ok(calls);
        }
    }
}

fn parameter(take: &mut Take<'_>) -> Result<Parameter, Malformed> {
    let name = take.b_varchar()?;
    let status = take.u8()?;
    if status & 8 != 0 {
        return Err(Malformed::new("an encrypted parameter"));
    }
    let value = if take.peek() == Some(0xF3) {
        take.u8()?;
        table(take)?
    } else {
        let incoming = incoming::take_info(take, false)?;
        ParameterValue::One(incoming.kind, incoming::take_value(take, incoming)?)
    };
    Ok(Parameter {
        name,
        output: status & 1 != 0,
        default: status & 2 != 0,
        value,
    })
}

fn table(take: &mut Take<'_>) -> Result<ParameterValue, Malformed> {
    take.b_varchar()?;
    let schema = take.b_varchar()?;
    let type_name = take.b_varchar()?;
    let type_name = if schema.is_empty() || schema.eq_ignore_ascii_case("dbo") {
        type_name
    } else {
        format!("{schema}.{type_name}")
    };
    let mut columns: Vec<(Incoming, bool)> = Vec::new();
    let count = take.u16()?;
    if count != 0xFFFF {
        for _ in 0..count {
            take.u32()?;
            let flags = take.u16()?;
            let incoming = incoming::take_info(take, false)?;
            take.b_varchar()?;
            columns.push((incoming, flags & 0x0200 != 0));
        }
    }
    let mut rows = Vec::new();
    loop {
        match take.u8()? {
            0 => break,
            0x10 => {
                let count = take.u16()?;
                take.bytes(3 * usize::from(count))?;
            }
            0x11 => {
                let count = take.u16()?;
                take.bytes(2 * usize::from(count))?;
            }
            other => {
                return Err(Malformed(format!(
                    "table parameter: token {other:#04x} before the rows"
                )));
            }
        }
    }
    loop {
        match take.u8()? {
            0 => break,
            1 => rows.push(
                columns
                    .iter()
                    .map(|(incoming, default)| {
                        if *default {
                            Ok(Value::Null)
                        } else {
                            incoming::take_value(take, *incoming)
                        }
                    })
                    .collect::<Result<_, _>>()?,
            ),
            other => return Err(Malformed(format!("table parameter: token {other:#04x} among the rows"))),
        }
    }
    Ok(ParameterValue::Table { type_name, rows })
}

fn transaction(mut take: Take<'_>) -> Result<Transaction, Malformed> {
    fn name(take: &mut Take<'_>) -> Result<String, Malformed> {
        let length = usize::from(take.u8()?);
        utf16(take.bytes(length)?)
    }
    fn begin(take: &mut Take<'_>) -> Result<Begin, Malformed> {
        Ok(Begin {
            isolation: take.u8()?,
            name: name(take)?,
        })
    }
    fn next(take: &mut Take<'_>) -> Result<Option<Begin>, Malformed> {
        if take.u8()? & 1 == 0 {
            Ok(None)
        } else {
            begin(take).map(Some)
        }
    }
    Ok(match take.u16()? {
        5 => Transaction::Begin(begin(&mut take)?),
        7 => {
            name(&mut take)?;
            Transaction::Commit(next(&mut take)?)
        }
        8 => {
            let savepoint = name(&mut take)?;
            Transaction::Rollback(savepoint, next(&mut take)?)
        }
        9 => Transaction::Save(name(&mut take)?),
        other => Transaction::Other(other),
    })
}

/// Rows of a bulk load.
pub(crate) struct BulkRows {
    /// Names and types as the client announces them.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// COLMETADATA, rows, and a DONE that some clients leave out.
pub(crate) fn bulk_rows(payload: &[u8], width: Width) -> Result<BulkRows, Malformed> {
    let mut take = Take(payload);
    let mut columns = Vec::new();
    let mut names = Vec::new();
    let mut rows = Vec::new();
    while let Some(token) = take.peek() {
        take.u8()?;
        match token {
            0x81 => {
                let count = take.u16()?;
                for _ in 0..count {
                    match width {
                        Width::Narrow => u32::from(take.u16()?),
                        Width::Wide => take.u32()?,
                    };
                    take.u16()?;
                    columns.push(incoming::take_info(&mut take, true)?);
                    names.push(take.b_varchar()?);
                }
            }
            0xD1 => rows.push(
                columns
                    .iter()
                    .map(|incoming| incoming::take_value(&mut take, *incoming))
                    .collect::<Result<_, _>>()?,
            ),
            0xD2 => {
                let bitmap = take.bytes(columns.len().div_ceil(8))?.to_vec();
                let null = |index: usize| bitmap[index / 8] & (1 << (index % 8)) != 0;
                let row = columns.iter().enumerate();
                rows.push(
                    row.map(|(index, incoming)| {
                        if null(index) {
                            Ok(Value::Null)
                        } else {
                            incoming::take_value(&mut take, *incoming)
                        }
                    })
                    .collect::<Result<_, _>>()?,
                );
            }
            // Some clients count rows in four bytes here, as before TDS 7.2.
            0xFD if take.0.len() == 8 => {
                take.bytes(8)?;
            }
            0xFD => {
                take.bytes(12)?;
            }
            other => return Err(Malformed(format!("bulk load: token {other:#04x}"))),
        }
    }
    Ok(BulkRows { columns: names, rows })
}
