//! Bulk load: `INSERT BULK` names the table, the message after it brings the rows.

use super::{
    names::{closing, target_name},
    session::Session,
};
use crate::mssql::{
    failure::Failure,
    tsql::{lexer::Token, statement::split},
    wire::{
        request,
        tokens::{Column, command, done},
    },
};

/// Where the rows go.
#[derive(Clone, Debug)]
pub(crate) struct BulkTarget {
    table: String,
    columns: Vec<Column>,
}

impl Session {
    pub(super) fn insert_bulk(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (table, at) = target_name(self, tokens, 0)?;
        let known = self.columns_of(&table)?;
        let end = closing(tokens, at)?;
        let mut columns = Vec::new();
        for part in split(&tokens[at + 1..end]) {
            let name = part.first().map(|token| token.text.clone()).unwrap_or_default();
            let Some(column) = known.iter().find(|column| column.name.eq_ignore_ascii_case(&name)) else {
                return Err(Failure::new(207, 16, 1, format!("Invalid column name '{name}'.")));
            };
            columns.push(column.clone());
        }
        self.bulk = Some(BulkTarget { table, columns });
        let done = self.done(0, command::OTHER, 0);
        self.output.done(done);
        Ok(())
    }

    /// The rows.
    pub(super) fn bulk_rows(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let Some(target) = self.bulk.take() else {
            return Err(Failure::new(
                4022,
                16,
                1,
                "Bulk load data was expected but not sent. The batch will be terminated.",
            ));
        };
        let bulk = request::bulk_rows(payload, self.output.width()).map_err(|malformed| {
            Failure::new(
                4816,
                16,
                1,
                format!("Invalid column type from bcp client: {}", malformed.0),
            )
        })?;
        if !bulk.columns.is_empty() && bulk.columns.len() != target.columns.len() {
            return Err(Failure::new(
                4804,
                21,
                1,
                "While reading current row from host, a premature end-of-message was encountered: an incoming data stream was interrupted when the server expected to see more data.",
            ));
        }
        self.begin_implicitly()?;
        let private = target.table.starts_with('#') && self.transaction.count == 0;
        let alone = if private { false } else { self.before_writing()? };
        // A row that does not fit undoes the whole load.
        let undo = !alone && self.engine.execute_batch("SAVEPOINT \"weir bulk\"").is_ok();
        let outcome = bulk.rows.iter().try_for_each(|row| {
            if self.cancel.is_wanted() {
                Err(Failure::interrupted())
            } else {
                self.insert_row(&target.table, &target.columns, row)
            }
        });
        if undo {
            let sql = if outcome.is_ok() {
                "RELEASE \"weir bulk\""
            } else {
                "ROLLBACK TO \"weir bulk\"; RELEASE \"weir bulk\""
            };
            self.engine
                .execute_batch(sql)
                .map_err(|error| Failure::of_engine(&error, "INSERT"))?;
        }
        self.after_writing(alone, outcome.is_ok())?;
        outcome?;
        self.row_count = bulk.rows.len() as i64;
        let done = self.done(done::COUNT, command::BULK, bulk.rows.len() as u64);
        self.output.done(done);
        Ok(())
    }
}
