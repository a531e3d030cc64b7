//! Cursors: of the API (sp_cursoropen and its like) and of the language. Each holds its whole result.

use std::collections::HashMap;

use rusqlite::types::Value;

use super::{
    query::settle,
    session::Session,
    translate::{self, Verb},
};
use crate::mssql::{
    failure::Failure,
    tsql::{lexer::Token, statement::split},
    wire::tokens::{Column, command},
};

/// Cursors of a session.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    next: i32,
    /// Of the API, by handle.
    pub(super) handles: HashMap<i32, Cursor>,
    /// Of the language, by name.
    named: HashMap<String, (Vec<Token>, Option<Cursor>)>,
}

/// A result, and where in it the cursor stands (0: before the first row).
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) at: usize,
}

impl Cursors {
    pub(super) fn len(&self) -> usize {
        self.handles.len() + self.named.len()
    }

    /// CURSOR_STATUS: 1 open, -1 closed, -3 unknown.
    pub(super) fn status(&self, name: &str) -> i64 {
        match self.named.get(&name.to_ascii_lowercase()) {
            Some((_, Some(_))) => 1,
            Some((_, None)) => -1,
            None => -3,
        }
    }

    pub(super) fn add(&mut self, cursor: Cursor) -> i32 {
        self.next += 1;
        let handle = 180_150_000 + self.next * 2;
        self.handles.insert(handle, cursor);
        handle
    }
}

impl Session {
    /// Runs a SELECT to its end, for a cursor.
    pub(super) fn collect(&mut self, tokens: &[Token]) -> Result<Cursor, Failure> {
        let translated = translate::statement(self, tokens)?;
        if translated.verb != Verb::Select || translated.into.is_some() || !translated.assigns.is_empty() {
            return Err(Failure::unknown("a cursor over what is no plain SELECT"));
        }
        self.before_reading()?;
        let engine = self.engine.clone();
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
        let mut statement = engine.prepare_cached(&translated.sql).map_err(failure)?;
        let (mut columns, mut open) = self.columns(&statement, &translated.items)?;
        let count = columns.len();
        let mut rows = statement
            .query(rusqlite::params_from_iter(&translated.parameters))
            .map_err(failure)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(failure)? {
            all.push(
                (0..count)
                    .map(|index| row.get::<_, Value>(index))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(failure)?,
            );
        }
        settle(&mut columns, &mut open, &all);
        columns
            .iter_mut()
            .for_each(|column| column.kind = column.kind.for_version(self.version));
        Ok(Cursor {
            columns,
            rows: all,
            at: 0,
        })
    }

    pub(super) fn declare_cursor(&mut self, name: &str, query: &[Token]) -> Result<(), Failure> {
        if self.cursors.named.contains_key(name) {
            return Err(Failure::new(
                16915,
                16,
                1,
                format!("A cursor with the name '{name}' already exists."),
            ));
        }
        self.cursors.named.insert(name.to_owned(), (query.to_vec(), None));
        self.done_plain(command::OTHER);
        Ok(())
    }

    /// OPEN, FETCH, CLOSE, DEALLOCATE.
    pub(super) fn cursor_statement(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let word = tokens[0].text.to_ascii_uppercase();
        if word == "FETCH" {
            return self.fetch(&tokens[1..]);
        }
        let name = tokens
            .last()
            .filter(|_| tokens.len() > 1)
            .map(|token| token.text.to_ascii_lowercase())
            .unwrap_or_default();
        let Some((query, open)) = self.cursors.named.get(&name) else {
            return Err(unknown_cursor(&name));
        };
        match word.as_str() {
            "OPEN" if open.is_some() => return Err(Failure::new(16905, 16, 1, "The cursor is already open.")),
            "OPEN" => {
                let query = query.clone();
                let cursor = self.collect(&query)?;
                self.cursors.named.insert(name, (query, Some(cursor)));
            }
            "CLOSE" if open.is_none() => return Err(Failure::new(16917, 16, 1, "Cursor is not open.")),
            "CLOSE" => {
                let query = query.clone();
                self.cursors.named.insert(name, (query, None));
            }
            _ => {
                self.cursors.named.remove(&name);
            }
        }
        self.done_plain(command::OTHER);
        Ok(())
    }

    fn fetch(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let into = tokens.iter().position(|token| token.is("INTO"));
        let head = &tokens[..into.unwrap_or(tokens.len())];
        let name = head
            .last()
            .ok_or_else(|| Failure::syntax("FETCH"))?
            .text
            .to_ascii_lowercase();
        let direction = head
            .first()
            .map(|token| token.text.to_ascii_uppercase())
            .unwrap_or_default();
        let Some((_, cursor)) = self.cursors.named.get_mut(&name) else {
            return Err(unknown_cursor(&name));
        };
        let Some(cursor) = cursor else {
            return Err(Failure::new(16917, 16, 2, "Cursor is not open."));
        };
        cursor.at = match direction.as_str() {
            "PRIOR" => cursor.at.saturating_sub(1),
            "FIRST" => 1,
            "LAST" => cursor.rows.len(),
            "ABSOLUTE" | "RELATIVE" => return Err(Failure::unknown("FETCH ABSOLUTE and FETCH RELATIVE")),
            _ => (cursor.at + 1).min(cursor.rows.len() + 1),
        };
        let row = cursor
            .at
            .checked_sub(1)
            .and_then(|index| cursor.rows.get(index))
            .cloned();
        let columns = cursor.columns.clone();
        self.fetch_status = if row.is_some() { 0 } else { -1 };
        let found = i64::from(row.is_some());
        match (into, row) {
            (Some(into), Some(row)) => {
                for (variable, value) in split(&tokens[into + 1..]).iter().zip(&row) {
                    self.assign(&variable[0].text, value)?;
                }
                self.row_count = found;
            }
            (Some(_), None) => self.row_count = 0,
            (None, row) => {
                self.output.columns(&columns);
                if let Some(row) = row {
                    self.output.row(&columns, &row, self.version >= 0x730B_0003)?;
                }
                self.done_rows(command::SELECT, found);
            }
        }
        Ok(())
    }
}

fn unknown_cursor(name: &str) -> Failure {
    Failure::new(16916, 16, 1, format!("A cursor with the name '{name}' does not exist."))
}
