//! SELECT, INSERT, UPDATE, DELETE: run in the engine, rows to the client as they come.

use rusqlite::{Row, Statement, types::Value};

use super::{
    convert,
    names::{clause, quote, symbol},
    session::Session,
    translate::{self, Item, Translated, Verb},
};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        statement::split,
    },
    wire::{
        tokens::{Column, command},
        types::{MAX, SqlType},
    },
};

/// Rows that are looked at for the type of a column whose text does not tell.
const SAMPLE: usize = 200;

impl Session {
    pub(super) fn run_sql(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let translated = translate::statement(self, tokens)?;
        if translated.verb != Verb::Select || translated.reads {
            self.begin_implicitly()?;
        }
        if translated.verb == Verb::Select && translated.into.is_none() {
            if translated.reads {
                self.before_reading()?;
            }
            return if translated.assigns.is_empty() {
                self.select(&translated)
            } else if translated.reads && names_itself(tokens, &translated.assigns) {
                self.accumulating_select(tokens, &translated.assigns)
            } else {
                self.assigning_select(&translated)
            };
        }
        let private = translated
            .target
            .as_deref()
            .or(translated.into.as_deref())
            .is_some_and(|name| name.starts_with('#'));
        let alone = if private && self.transaction.count == 0 {
            false
        } else {
            self.before_writing()?
        };
        let outcome = if translated.into.is_some() {
            self.select_into(&translated)
        } else {
            self.change(&translated)
        };
        self.after_writing(alone, outcome.is_ok())?;
        let (command, rows) = outcome?;
        self.done_rows(command, rows);
        Ok(())
    }

    fn select(&mut self, translated: &Translated) -> Result<(), Failure> {
        let only_columns = self.settings.is_on("FMTONLY");
        let rows = self.send_rows(translated, only_columns)?;
        self.done_rows(command::SELECT, rows);
        Ok(())
    }

    /// Streams a result; how many rows there were.
    fn send_rows(&mut self, translated: &Translated, only_columns: bool) -> Result<i64, Failure> {
        let engine = self.engine.clone();
        let verb = translated.verb.word();
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, verb);
        let mut statement = engine.prepare_cached(&translated.sql).map_err(failure)?;
        let (mut columns, mut open) = self.columns(&statement, &translated.items)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(&translated.parameters))
            .map_err(failure)?;
        let mut waiting: Vec<Vec<Value>> = Vec::new();
        let mut announced = false;
        let mut count = 0;
        let bitmap = self.version >= 0x730B_0003;
        loop {
            if self.cancel.is_wanted() || self.output.is_dead() {
                return Err(Failure::interrupted());
            }
            let row = if only_columns {
                None
            } else {
                rows.next().map_err(failure)?
            };
            let ended = row.is_none();
            if let Some(row) = row {
                waiting.push(values(row, columns.len()).map_err(failure)?);
            }
            if !announced {
                settle(&mut columns, &mut open, &waiting);
                if !(open.is_empty() || ended || waiting.len() >= SAMPLE) {
                    continue;
                }
                columns
                    .iter_mut()
                    .for_each(|column| column.kind = column.kind.for_version(self.version));
                self.output.columns(&columns);
                announced = true;
            }
            for row in waiting.drain(..) {
                self.output.row(&columns, &row, bitmap)?;
                count += 1;
            }
            if ended {
                return Ok(count);
            }
        }
    }

    /// Columns of a result, and the indices of those whose type only values tell.
    pub(super) fn columns(
        &self,
        statement: &Statement<'_>,
        items: &[Item],
    ) -> Result<(Vec<Column>, Vec<usize>), Failure> {
        let metadata = statement.columns_with_metadata();
        let star = items.iter().position(|item| item.star);
        let mut columns = Vec::new();
        let mut open = Vec::new();
        let total = metadata.len();
        for (index, engine) in metadata.iter().enumerate() {
            // Items before a star count from the front, those after it from the back.
            let item = match star {
                Some(star) if index >= star && total - index >= items.len() - star => None,
                Some(star) if index >= star => items.get(items.len() - (total - index)),
                _ => items.get(index),
            };
            let known = match (engine.table_name(), engine.origin_name()) {
                (Some(table), Some(column)) => self
                    .columns_of(table)?
                    .into_iter()
                    .find(|known| known.name.eq_ignore_ascii_case(column)),
                _ => None,
            };
            let name = match item {
                Some(item) if item.name.is_some() => item.name.clone().unwrap_or_default(),
                Some(item) if !item.plain => String::new(),
                _ => engine.name().to_owned(),
            };
            let kind = known
                .as_ref()
                .map(|known| known.kind)
                .or_else(|| item.and_then(|item| item.kind));
            if kind.is_none() {
                open.push(index);
            }
            columns.push(Column {
                name,
                kind: kind.unwrap_or(SqlType::Int),
                nullable: known.as_ref().is_none_or(|known| known.nullable),
                identity: known.as_ref().is_some_and(|known| known.identity),
                table: known.as_ref().and(engine.table_name()).map(str::to_owned),
            });
        }
        Ok((columns, open))
    }

    /// `SELECT @a = x, @b = y FROM …`: the last row counts.
    fn assigning_select(&mut self, translated: &Translated) -> Result<(), Failure> {
        if translated.assigns.len() != translated.items.len() {
            let text = "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.";
            return Err(Failure::new(141, 15, 1, text));
        }
        let engine = self.engine.clone();
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
        let mut statement = engine.prepare_cached(&translated.sql).map_err(failure)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(&translated.parameters))
            .map_err(failure)?;
        let mut last = None;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(failure)? {
            last = Some(values(row, translated.assigns.len()).map_err(failure)?);
            count += 1;
        }
        for (name, value) in translated.assigns.iter().zip(last.unwrap_or_default()) {
            self.assign(name, &value)?;
        }
        self.row_count = count;
        if self.frames.len() == 1 {
            self.done_rows(command::SELECT, count);
        }
        Ok(())
    }

    /// `SELECT @a = @a + x FROM …`: each row goes on from the one before. The rows come first, then the expressions.
    fn accumulating_select(&mut self, tokens: &[Token], names: &[String]) -> Result<(), Failure> {
        let from = clause(tokens, 1, &["FROM"]);
        let items = split(&tokens[1..from]);
        if items.len() != names.len() {
            return Err(Failure::unknown("SELECT @a = @a … beside other columns"));
        }
        let mut all = vec![tokens[0].clone(), symbol("*", &tokens[0])];
        all.extend_from_slice(&tokens[from..]);
        let cursor = self.collect(&all)?;
        for row in &cursor.rows {
            for (name, item) in names.iter().zip(&items) {
                let mut expression = translate::expression(self, &item[2..])?;
                let columns: Vec<String> = cursor
                    .columns
                    .iter()
                    .zip(row)
                    .map(|(column, value)| {
                        expression.parameters.push(value.clone());
                        format!("?{} AS {}", expression.parameters.len(), quote(&column.name))
                    })
                    .collect();
                expression
                    .sql
                    .push_str(&format!(" FROM (SELECT {})", columns.join(", ")));
                let value = self.one_value(&expression)?;
                self.assign(name, &value)?;
            }
        }
        self.row_count = cursor.rows.len() as i64;
        if self.frames.len() == 1 {
            self.done_rows(command::SELECT, self.row_count);
        }
        Ok(())
    }

    fn change(&mut self, translated: &Translated) -> Result<(u16, i64), Failure> {
        let verb = translated.verb.word();
        let command = match translated.verb {
            Verb::Insert => command::INSERT,
            Verb::Update => command::UPDATE,
            _ => command::DELETE,
        };
        let engine = self.engine.clone();
        let rows = if translated.returns {
            self.send_rows(translated, false)?
        } else {
            let failure = |error: rusqlite::Error| Failure::of_engine(&error, verb);
            let mut statement = engine.prepare_cached(&translated.sql).map_err(failure)?;
            statement
                .execute(rusqlite::params_from_iter(&translated.parameters))
                .map_err(failure)? as i64
        };
        if translated.verb == Verb::Insert
            && rows > 0
            && let Some(target) = &translated.target
        {
            // Rows for a table without one leave NULL; no row leaves what was there.
            let has_identity = self.columns_of(target)?.iter().any(|column| column.identity);
            let identity = has_identity.then(|| engine.last_insert_rowid());
            self.identity = identity;
            self.frame().identity = identity;
        }
        Ok((command, rows))
    }

    fn select_into(&mut self, translated: &Translated) -> Result<(u16, i64), Failure> {
        let name = translated.into.clone().unwrap_or_default();
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
            all.push(values(row, count).map_err(failure)?);
        }
        settle(&mut columns, &mut open, &all);
        drop(rows);
        self.create_from_columns(&name, &columns)?;
        for row in &all {
            self.insert_row(&name, &columns, row)?;
        }
        Ok((command::SELECT_INTO, all.len() as i64))
    }

    /// A row into a table, converted to its columns' types.
    pub(super) fn insert_row(&self, table: &str, columns: &[Column], row: &[Value]) -> Result<(), Failure> {
        let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
        let marks: Vec<String> = (1..=columns.len()).map(|index| format!("?{index}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            quote(table),
            names.join(", "),
            marks.join(", ")
        );
        let stored: Vec<Value> = columns
            .iter()
            .zip(row)
            .map(|(column, value)| convert::store(value, column.kind, table, &column.name))
            .collect::<Result<_, _>>()?;
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "INSERT");
        let mut statement = self.engine.prepare_cached(&sql).map_err(failure)?;
        statement
            .execute(rusqlite::params_from_iter(&stored))
            .map_err(failure)?;
        Ok(())
    }

    /// The value of an expression, and its type as far as the text tells.
    pub(super) fn typed(&mut self, tokens: &[Token]) -> Result<(Option<SqlType>, Value), Failure> {
        let translated = translate::expression(self, tokens)?;
        let kind = translated.items.first().and_then(|item| item.kind);
        let value = self.one_value(&translated)?;
        let value = match kind {
            Some(kind) => convert::convert(&value, kind)?,
            None => value,
        };
        Ok((kind, value))
    }

    /// The value of an expression, with a type.
    pub(super) fn evaluate(&mut self, tokens: &[Token]) -> Result<(SqlType, Value), Failure> {
        let (kind, value) = self.typed(tokens)?;
        Ok((kind.unwrap_or_else(|| kind_of_value(&value)), value))
    }

    /// The value of a condition.
    pub(super) fn evaluate_condition(&mut self, tokens: &[Token]) -> Result<Value, Failure> {
        let translated = translate::expression(self, tokens)?;
        if translated.reads {
            self.before_reading()?;
        }
        self.one_value(&translated)
    }

    fn one_value(&mut self, translated: &Translated) -> Result<Value, Failure> {
        let engine = self.engine.clone();
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
        let mut statement = engine.prepare_cached(&translated.sql).map_err(failure)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(&translated.parameters))
            .map_err(failure)?;
        match rows.next().map_err(failure)? {
            Some(row) => row.get::<_, Value>(0).map_err(failure),
            None => Ok(Value::Null),
        }
    }
}

/// Whether an assigned variable is used in what is assigned.
fn names_itself(tokens: &[Token], names: &[String]) -> bool {
    let from = clause(tokens, 1, &["FROM"]);
    let items = split(&tokens[1..from]);
    items.iter().any(|item| {
        item.iter()
            .skip(2)
            .any(|token| token.kind == Kind::Variable && names.contains(&token.text))
    })
}

fn values(row: &Row<'_>, count: usize) -> rusqlite::Result<Vec<Value>> {
    (0..count).map(|index| row.get(index)).collect()
}

/// Types of columns from the first values that are there.
pub(super) fn settle(columns: &mut [Column], open: &mut Vec<usize>, rows: &[Vec<Value>]) {
    open.retain(
        |index| match rows.iter().map(|row| &row[*index]).find(|value| **value != Value::Null) {
            Some(value) => {
                columns[*index].kind = kind_of_value(value);
                false
            }
            None => true,
        },
    );
}

pub(super) fn kind_of_value(value: &Value) -> SqlType {
    match value {
        Value::Null => SqlType::Int,
        Value::Integer(number) if i32::try_from(*number).is_ok() => SqlType::Int,
        Value::Integer(_) => SqlType::BigInt,
        Value::Real(_) => SqlType::Float,
        Value::Text(text) => SqlType::NVarChar(if text.encode_utf16().count() > 4000 { MAX } else { 4000 }),
        Value::Blob(bytes) => SqlType::VarBinary(if bytes.len() > 8000 { MAX } else { 8000 }),
    }
}
