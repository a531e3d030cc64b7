//! Tables of the console as tokens.

use bytes::{BufMut, BytesMut};
use weir_core::admin::{Cell, Column, Kind, Table};

use crate::wire::{TdsVersion, token, type_info::id, utf16};

/// Bytes of the longest text in a row: what `nvarchar(4000)` holds. Cells are names, words and short statements.
const LONGEST: usize = 8000;

/// Latin1_General, without regard to case: SQL Server's own default.
pub(crate) const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

/// Cells may be null.
const NULLABLE: u16 = 0x0001;

/// The columns and all rows.
pub(super) fn table(table: &Table, version: TdsVersion, out: &mut BytesMut) {
    columns(table.columns, version, out);
    for row in &table.rows {
        out.put_u8(token::ROW);
        row.iter()
            .zip(table.columns)
            .for_each(|(cell, column)| value(cell, column.kind, out));
    }
}

/// What drivers ask to see whether a connection lives.
pub(super) fn one(version: TdsVersion, out: &mut BytesMut) {
    const COLUMNS: &[Column] = &[Column {
        name: "",
        kind: Kind::Integer,
    }];
    let rows = vec![vec![Cell::Integer(1)]];
    table(&Table { columns: COLUMNS, rows }, version, out);
}

fn columns(columns: &[Column], version: TdsVersion, out: &mut BytesMut) {
    out.put_u8(token::COLUMN_METADATA);
    out.put_u16_le(u16::try_from(columns.len()).unwrap_or(0));
    for column in columns {
        out.put_bytes(0, if version.is_wide() { 4 } else { 2 });
        out.put_u16_le(NULLABLE);
        match column.kind {
            Kind::Integer => out.put_slice(&[id::INTN, 8]),
            Kind::Text => {
                out.put_u8(id::NVARCHAR);
                out.put_u16_le(LONGEST as u16);
                out.put_slice(&COLLATION);
            }
        }
        utf16::put_b_varchar(out, column.name);
    }
}

fn value(cell: &Cell, kind: Kind, out: &mut BytesMut) {
    match (cell, kind) {
        (Cell::Integer(number), _) => {
            out.put_u8(8);
            out.put_i64_le(*number);
        }
        (Cell::Text(text), _) => {
            let mut units = utf16::encode(text);
            units.truncate(LONGEST);
            // At most LONGEST.
            out.put_u16_le(units.len() as u16);
            out.put_slice(&units);
        }
        (Cell::Null, Kind::Integer) => out.put_u8(0),
        (Cell::Null, Kind::Text) => out.put_u16_le(u16::MAX),
    }
}
