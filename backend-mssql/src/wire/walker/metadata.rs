//! What stands in front of rows besides their columns: encryption keys, and the totals of COMPUTE.
//!
//! Pure. Invariant: nothing is kept of either but how values are skipped.

use super::{Of, State, Walker, columns_state, u16_element};
use crate::{limits, wire::column_metadata};

impl Walker {
    /// In the table of column encryption keys.
    pub(super) fn keys(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::KeyCount { columns } => {
                self.element(input, u16_element, |walker, left| Ok(walker.keys_state(left, columns)))
            }
            State::Keys { left, columns } => self.element(input, column_metadata::key_head, |walker, values| {
                Ok(match values {
                    0 => walker.keys_state(left - 1, columns),
                    values => State::KeyValues { values, left, columns },
                })
            }),
            State::KeyValues { values, left, columns } => {
                self.element(input, column_metadata::key_value, |walker, ()| {
                    Ok(match values {
                        1 => walker.keys_state(left - 1, columns),
                        values => State::KeyValues {
                            values: values - 1,
                            left,
                            columns,
                        },
                    })
                })
            }
            _ => Err("not in a table of keys"),
        }
    }

    fn keys_state(&mut self, left: u16, columns: u16) -> State {
        match left {
            0 => columns_state(&mut self.columns, columns),
            left => State::Keys { left, columns },
        }
    }

    /// In ALTMETADATA, or at the id of an ALTROW.
    pub(super) fn alternate(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::AlternateHead => self.element(input, column_metadata::alternate_head, |walker, (count, id)| {
                walker.alternates.retain(|(known, _)| *known != id);
                if walker.alternates.len() == limits::MAX_ALTERNATES {
                    return Err("too many kinds of COMPUTE rows");
                }
                walker.alternates.push((id, Vec::new()));
                Ok(alternate_columns(count))
            }),
            State::AlternateColumns { left } => {
                let version = self.layout.version;
                let read = move |bytes: &[u8]| column_metadata::alternate_column(bytes, version);
                self.element(input, read, |walker, kind| {
                    if let Some((_, kinds)) = walker.alternates.last_mut() {
                        kinds.push(kind);
                    }
                    Ok(alternate_columns(left - 1))
                })
            }
            _ => self.element(input, u16_element, |walker, id| {
                let index = walker.alternates.iter().position(|(known, _)| *known == id);
                let index = index.ok_or("COMPUTE row without metadata")?;
                Ok(walker.values_state(Of::Alternate(index), 0))
            }),
        }
    }
}

fn alternate_columns(left: u16) -> State {
    match left {
        0 => State::Token,
        left => State::AlternateColumns { left },
    }
}
