//! Table-valued parameters: columns, hints, and rows of any number.
//!
//! Pure. Invariant: of the rows nothing is held.

use crate::{
    limits,
    wire::{
        element::{Carry, Gathered},
        read::{Read, Reader, Stop},
        type_info::{Kind, Place, TypeInfo},
        value::{self, Part, ValueWalk},
    },
};

/// Count of columns of a table that is NULL.
const NULL: u16 = 0xffff;
/// Flag of a column whose cells are left out.
const DEFAULT: u16 = 0x0200;

const END: u8 = 0x00;
const ROW: u8 = 0x01;
const ORDER_UNIQUE: u8 = 0x10;
const COLUMN_ORDER: u8 = 0x11;

/// Walks through one, from behind its type byte (TDS 4.4).
#[derive(Debug, Default)]
pub(super) struct Table {
    state: State,
    /// Of the columns that have cells.
    kinds: Vec<Kind>,
    value: ValueWalk,
    carry: Carry,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its name, and the number of its columns.
    #[default]
    Name,
    Columns {
        left: u16,
    },
    /// Hints about the order of rows, up to the end of the metadata.
    Hints,
    /// A row, or the end.
    Rows,
    Cells {
        column: usize,
    },
    Over,
}

impl Table {
    /// Passes over bytes at the front of `input`, which is not empty. At least one; and whether the table is over.
    pub(super) fn pass(&mut self, input: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut at = 0;
        while at < input.len() && self.state != State::Over {
            at += self.step(&input[at..])?;
        }
        Ok((at, self.state == State::Over))
    }

    fn step(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::Name => self.element(input, name, |_, count| match count {
                NULL | 0 => Ok(State::Hints),
                count if usize::from(count) > limits::MAX_TABLE_COLUMNS => {
                    Err("too many columns in a table-valued parameter")
                }
                left => Ok(State::Columns { left }),
            }),
            State::Columns { left } => self.element(input, column, |table, kind| {
                table.kinds.extend(kind);
                Ok(match left {
                    1 => State::Hints,
                    left => State::Columns { left: left - 1 },
                })
            }),
            State::Hints => self.element(input, hint, |_, over| Ok(if over { State::Rows } else { State::Hints })),
            State::Rows => self.rows(input),
            State::Cells { column } => Ok(self.cells(column, input)),
            State::Over => Ok(0),
        }
    }

    fn element<T>(
        &mut self,
        input: &[u8],
        read: impl Fn(&[u8]) -> Read<(T, usize)>,
        then: impl FnOnce(&mut Self, T) -> Result<State, &'static str>,
    ) -> Result<usize, &'static str> {
        match self.carry.read(input, limits::MAX_ELEMENT, read)? {
            Gathered::Whole(element, taken) => {
                self.state = then(self, element)?;
                Ok(taken)
            }
            Gathered::Partial => Ok(input.len()),
        }
    }

    fn rows(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while input.get(at) == Some(&ROW)
            && let Some(length) = value::row(&self.kinds, &input[at + 1..])
        {
            at += length + 1;
        }
        match input.get(at) {
            Some(&END) => {
                self.state = State::Over;
                at += 1;
            }
            // Not all of it is there.
            Some(&ROW) => {
                self.state = State::Cells { column: 0 };
                at += 1;
            }
            Some(_) => return Err("neither a row nor the end in a table-valued parameter"),
            None => {}
        }
        Ok(at)
    }

    fn cells(&mut self, mut column: usize, input: &[u8]) -> usize {
        let mut at = 0;
        while let Some(kind) = self.kinds.get(column) {
            match self.value.step(*kind, &input[at..]) {
                Part::Frame(count) | Part::Data(count) => at += count,
                Part::End => column += 1,
                Part::More => {
                    self.state = State::Cells { column };
                    return at;
                }
            }
        }
        self.state = State::Rows;
        at
    }
}

fn name(bytes: &[u8]) -> Read<(u16, usize)> {
    let mut reader = Reader::new(bytes);
    for _ in 0..3 {
        reader.b_varchar()?;
    }
    Ok((reader.u16()?, reader.at()))
}

fn column(bytes: &[u8]) -> Read<(Option<Kind>, usize)> {
    let mut reader = Reader::new(bytes);
    reader.u32()?;
    let flags = reader.u16()?;
    let described = TypeInfo::read(&mut reader, Place::Parameter)?;
    reader.b_varchar()?;
    Ok(((flags & DEFAULT == 0).then_some(described.kind), reader.at()))
}

/// A hint, or the end of the metadata.
fn hint(bytes: &[u8]) -> Read<(bool, usize)> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        END => return Ok((true, reader.at())),
        ORDER_UNIQUE => {
            let count = usize::from(reader.u16()?);
            reader.take(count * 3)?;
        }
        COLUMN_ORDER => {
            let count = usize::from(reader.u16()?);
            reader.take(count * 2)?;
        }
        _ => return Err(Stop::Fault("unknown hint in a table-valued parameter")),
    }
    Ok((false, reader.at()))
}
