//! Tables of the console as protocol messages.

use bytes::{BufMut, BytesMut};
use weir_core::admin::{Cell, Column, Kind};

use crate::wire::{server, write};

/// How a client wants its columns: the formats of a Bind. None = all as text, one = all alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<u16>);

/// PostgreSQL's `int8` and `text`.
const INT8: (u32, i16) = (20, 8);
const TEXT: (u32, i16) = (25, -1);
const BINARY: u16 = 1;

impl Formats {
    fn of(&self, column: usize) -> u16 {
        match &self.0[..] {
            [] => 0,
            [all] => *all,
            each => each.get(column).copied().unwrap_or(0),
        }
    }
}

pub(super) fn row_description(columns: &[Column], formats: &Formats, out: &mut BytesMut) {
    write::message(out, server::ROW_DESCRIPTION, |out| {
        put_count(columns.len(), out);
        for (index, column) in columns.iter().enumerate() {
            let (oid, size) = match column.kind {
                Kind::Integer => INT8,
                Kind::Text => TEXT,
            };
            write::string(out, column.name.as_bytes());
            // Of no table.
            out.put_u32(0);
            out.put_u16(0);
            out.put_u32(oid);
            out.put_i16(size);
            out.put_i32(-1);
            out.put_u16(formats.of(index));
        }
    });
}

pub(super) fn data_row(row: &[Cell], formats: &Formats, out: &mut BytesMut) {
    write::message(out, server::DATA_ROW, |out| {
        put_count(row.len(), out);
        for (index, cell) in row.iter().enumerate() {
            match cell {
                Cell::Null => out.put_i32(-1),
                Cell::Text(text) => put_value(text.as_bytes(), out),
                Cell::Integer(number) if formats.of(index) == BINARY => put_value(&number.to_be_bytes(), out),
                Cell::Integer(number) => put_value(number.to_string().as_bytes(), out),
            }
        }
    });
}

fn put_value(value: &[u8], out: &mut BytesMut) {
    // Cells are short: names, words and numbers.
    out.put_u32(u32::try_from(value.len()).unwrap_or(0));
    out.put_slice(value);
}

fn put_count(count: usize, out: &mut BytesMut) {
    out.put_u16(u16::try_from(count).unwrap_or(0));
}

/// A message without a body.
pub(super) fn empty(kind: u8, out: &mut BytesMut) {
    write::message(out, kind, |_| {});
}

/// There are no parameters.
pub(super) fn no_parameters(out: &mut BytesMut) {
    write::message(out, server::PARAMETER_DESCRIPTION, |out| out.put_u16(0));
}
