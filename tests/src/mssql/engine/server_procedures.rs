//! Procedures that the server brings: application locks, cursors of the API, what bulk copy asks.

use std::time::Duration;

use rusqlite::types::Value;

use super::{
    batch::Stop,
    cursor::Cursor,
    procedures::{Given, Returned},
    session::Session,
};
use crate::mssql::{
    failure::Failure,
    shared::LockOwner,
    tsql::statement::declarations,
    wire::{
        tokens::{Column, command},
        types::{self, SqlType},
    },
};

impl Session {
    pub(super) fn get_lock(&mut self, given: &[Given]) -> Result<Returned, Failure> {
        let argument = |name: &str, at: usize| {
            given
                .iter()
                .find(|value| value.name == name)
                .or_else(|| given.get(at).filter(|value| value.name.is_empty()))
        };
        let resource = argument("@resource", 0).map(Given::text).unwrap_or_default();
        let mode = argument("@lockmode", 1)
            .map(Given::text)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let owner = lock_owner(argument("@lockowner", 2).map(Given::text))?;
        let timeout = Session::as_number(argument("@locktimeout", 3).and_then(Given::one))
            .unwrap_or_else(|| self.settings.number("LOCK_TIMEOUT"));
        let exclusive = match mode.as_str() {
            "exclusive" | "update" => true,
            "shared" | "intentshared" | "intentexclusive" => false,
            _ => {
                return Ok(Returned {
                    status: -999,
                    ..Returned::default()
                });
            }
        };
        if owner == LockOwner::Transaction && self.transaction.count == 0 {
            self.tell(&Failure::new(
                15_626,
                16,
                1,
                "You attempted to acquire a transactional application lock without an active transaction.",
            ));
            return Ok(Returned {
                status: -999,
                failed: true,
                ..Returned::default()
            });
        }
        let limit = (timeout >= 0).then(|| Duration::from_millis(timeout as u64));
        let key = format!("{}.{resource}", self.database);
        let status = self
            .shared
            .application_locks
            .acquire(&key, self.spid, exclusive, owner, limit, &self.cancel)?;
        Ok(Returned {
            status,
            ..Returned::default()
        })
    }

    pub(super) fn release_lock(&mut self, given: &[Given]) -> Result<Returned, Failure> {
        let argument = |name: &str, at: usize| {
            given
                .iter()
                .find(|value| value.name == name)
                .or_else(|| given.get(at).filter(|value| value.name.is_empty()))
        };
        let resource = argument("@resource", 0).map(Given::text).unwrap_or_default();
        let owner = lock_owner(argument("@lockowner", 1).map(Given::text))?;
        let key = format!("{}.{resource}", self.database);
        if self.shared.application_locks.release(&key, self.spid, owner) {
            return Ok(Returned::default());
        }
        let text = format!(
            "Cannot release the application lock (Database Principal: 'public', Resource: '{resource}') because it is not currently held."
        );
        self.tell(&Failure::new(1223, 16, 1, text));
        Ok(Returned {
            status: -999,
            failed: true,
            ..Returned::default()
        })
    }

    pub(super) fn cursor_open(&mut self, given: &[Given]) -> Result<Returned, Stop> {
        let [handle, statement, rest @ ..] = given else {
            return Err(Failure::new(
                201,
                16,
                4,
                "sp_cursoropen expects parameter '@stmt', which was not supplied.",
            )
            .into());
        };
        let tokens = crate::mssql::tsql::lexer::lex(&statement.text())?;
        // Behind scroll, concurrency and row count: the parameters' declaration and values.
        let declared = declarations(&crate::mssql::tsql::lexer::lex(
            &rest.get(3).map(Given::text).unwrap_or_default(),
        )?)?;
        let frame = self.bind(&declared, rest.get(4..).unwrap_or_default(), "")?;
        self.frames.push(frame);
        let cursor = self.collect(&tokens);
        self.frames.pop();
        let cursor = cursor?;
        self.output.columns(&cursor.columns);
        let done = self.done(0, command::SELECT, 0);
        self.output.done(done);
        let count = cursor.rows.len() as i64;
        let number = self.cursors.add(cursor);
        let mut values = vec![(
            0,
            handle.name.clone(),
            SqlType::Int,
            Value::Integer(i64::from(number)),
            handle.variable.clone(),
        )];
        for (index, value) in [None, None, Some(count)].into_iter().enumerate() {
            if let Some(given) = rest.get(index).filter(|given| given.output) {
                let value = value.map_or_else(|| given.one().cloned().unwrap_or(Value::Null), Value::Integer);
                values.push((
                    index as u16 + 2,
                    given.name.clone(),
                    SqlType::Int,
                    value,
                    given.variable.clone(),
                ));
            }
        }
        Ok(Returned {
            status: 0,
            values,
            failed: false,
        })
    }

    /// Handle, what to fetch, from which row, how many.
    pub(super) fn cursor_fetch(&mut self, given: &[Given]) -> Result<Returned, Failure> {
        let number = |at: usize| Session::as_number(given.get(at).and_then(Given::one));
        let handle = number(0).unwrap_or_default() as i32;
        let bitmap = self.version >= 0x730B_0003;
        let mut cursor = self.cursors.handles.remove(&handle).ok_or_else(invalid_cursor)?;
        let count = number(3).unwrap_or(20).max(0) as usize;
        let first = match number(1).unwrap_or(2) {
            1 => 0,
            2 => cursor.at,
            4 => cursor.at.saturating_sub(2 * count),
            8 => cursor.rows.len().saturating_sub(count),
            0x10 => (number(2).unwrap_or(1).max(1) - 1) as usize,
            0x20 => (cursor.at as i64 + number(2).unwrap_or(0)).max(0) as usize,
            0x80 => cursor.at.saturating_sub(count),
            other => {
                self.cursors.handles.insert(handle, cursor);
                return Err(Failure::unknown(&format!("sp_cursorfetch of type {other:#x}")));
            }
        };
        let outcome = self.send_portion(&cursor, first, count, bitmap);
        cursor.at = (first + count).min(cursor.rows.len());
        self.cursors.handles.insert(handle, cursor);
        let rows = outcome?;
        self.done_rows(command::SELECT, rows);
        Ok(Returned::default())
    }

    fn send_portion(&mut self, cursor: &Cursor, first: usize, count: usize, bitmap: bool) -> Result<i64, Failure> {
        self.output.columns(&cursor.columns);
        let mut rows = 0;
        for row in cursor.rows.iter().skip(first).take(count) {
            self.output.row(&cursor.columns, row, bitmap)?;
            rows += 1;
        }
        Ok(rows)
    }

    /// What bulk copy asks: the collations of a table's columns.
    pub(super) fn table_collations(&mut self, given: &[Given]) -> Result<Returned, Failure> {
        let name = given.first().map(Given::text).unwrap_or_default();
        let table = name
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let columns = [
            Column::new("colid", SqlType::Int),
            Column::new("name", SqlType::NVarChar(128)),
            Column::new("tds_collation", SqlType::Binary(5)),
            Column::new("collation", SqlType::NVarChar(128)),
        ];
        let known = self.columns_of(&table)?;
        self.output.columns(&columns);
        for (index, column) in known.iter().enumerate() {
            let text = column.kind.is_text();
            let row = [
                Value::Integer(index as i64 + 1),
                Value::Text(column.name.clone()),
                if text {
                    Value::Blob(types::COLLATION.to_vec())
                } else {
                    Value::Null
                },
                if text {
                    Value::Text("SQL_Latin1_General_CP1_CI_AS".to_owned())
                } else {
                    Value::Null
                },
            ];
            self.output.row(&columns, &row, self.version >= 0x730B_0003)?;
        }
        self.done_rows(command::SELECT, known.len() as i64);
        Ok(Returned::default())
    }
}

fn lock_owner(text: Option<String>) -> Result<LockOwner, Failure> {
    match text.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "transaction" => Ok(LockOwner::Transaction),
        "session" => Ok(LockOwner::Session),
        other => Err(Failure::unknown(&format!("@LockOwner = '{other}'"))),
    }
}

pub(super) fn invalid_cursor() -> Failure {
    Failure::new(
        16_909,
        16,
        1,
        "sp_cursor: The cursor identifier value provided is not valid.",
    )
}
