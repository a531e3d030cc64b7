//! Rows: whole ones at once, others value by value.
//!
//! Pure. Invariant: of a row nothing is held but its bitmap of NULLs.

use super::{Known, Last, Of, RowStatus, State, Walker, columns_state};
use crate::wire::{
    token,
    type_info::Kind,
    value::{self, Part},
};

/// The status of a row that a cursor fetched: an `int`.
const ROW_STATUS: Kind = Kind::Fixed(4);

impl Walker {
    /// As many whole rows as there are. Rows of fixed columns are a multiplication.
    pub(super) fn rows(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        match self.columns.known {
            Known::No => return Err("row without metadata"),
            Known::FixedRow(length) => {
                while input.get(at) == Some(&token::ROW) && input.len() - at > length {
                    at += length + 1;
                }
            }
            Known::Yes => {
                while input.get(at) == Some(&token::ROW)
                    && let Some(length) = value::row(&self.columns.kinds, &input[at + 1..])
                {
                    at += length + 1;
                }
            }
        }
        if at == 0 {
            self.state = self.values_state(Of::Row, 0);
            at = 1;
        }
        Ok(at)
    }

    pub(super) fn nbc_rows(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        if self.columns.known == Known::No {
            return Err("row without metadata");
        }
        let mut at = 0;
        while input.get(at) == Some(&token::NBC_ROW)
            && let Some(length) = value::nbc_row(&self.columns.kinds, &input[at + 1..])
        {
            at += length + 1;
        }
        if at == 0 {
            self.bitmap.clear();
            self.state = State::Bitmap;
            at = 1;
        }
        Ok(at)
    }

    /// The bitmap of a row of which not all is there. There is at least one column: a row of none is always whole.
    pub(super) fn gather_bitmap(&mut self, input: &[u8]) -> usize {
        let needed = self.columns.kinds.len().div_ceil(8);
        let taken = (needed - self.bitmap.len()).min(input.len());
        self.bitmap.extend_from_slice(&input[..taken]);
        if self.bitmap.len() == needed {
            self.state = self.values_state(Of::NbcRow, 0);
        }
        taken
    }

    /// Values of which not all are there.
    pub(super) fn values(&mut self, of: Of, mut column: usize, input: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while let Some(kind) = self.kind(of, column) {
            match self.value.step(kind, &input[at..]) {
                Part::Frame(count) | Part::Data(count) => at += count,
                Part::More => break,
                Part::End => column += 1,
            }
        }
        self.state = self.values_state(of, column);
        Ok(at)
    }

    /// The state at this value, past those that have no bytes.
    pub(super) fn values_state(&self, of: Of, mut column: usize) -> State {
        loop {
            match self.kind(of, column) {
                None => return State::Token,
                Some(Kind::Empty) => column += 1,
                Some(_) => return State::Values { of, column },
            }
        }
    }

    /// How the value in this column is skipped; one that a bitmap says is NULL has no bytes.
    pub(super) fn kind(&self, of: Of, column: usize) -> Option<Kind> {
        match of {
            Of::Row => self.columns.kinds.get(column).copied(),
            Of::NbcRow => {
                let kind = self.columns.kinds.get(column).copied()?;
                let is_null = self.bitmap.get(column / 8)? & 1 << (column % 8) != 0;
                Some(if is_null { Kind::Empty } else { kind })
            }
            Of::Alternate(index) => self.alternates.get(index)?.1.get(column).copied(),
            Of::ReturnValue(kind) => (column == 0).then_some(kind),
        }
    }

    /// 1 is a row that is there, 2 one that is gone; neither is a token.
    pub(super) fn is_missing_row_status(&self, byte: u8) -> bool {
        self.row_status == RowStatus::MayBeMissing && self.last == Last::Row && matches!(byte, 1 | 2)
    }

    pub(super) fn describe_row_status(&mut self) {
        self.row_status = RowStatus::Found;
        self.columns.kinds.push(ROW_STATUS);
        columns_state(&mut self.columns, 0);
        self.state = State::Values {
            of: Of::Row,
            column: self.columns.kinds.len() - 1,
        };
    }
}
