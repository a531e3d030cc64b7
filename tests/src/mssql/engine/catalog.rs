//! What the server knows of tables: their columns' types, which the engine does not keep.

use rusqlite::{OptionalExtension as _, params};

use super::{names::quote, session::Session};
use crate::mssql::{
    failure::Failure,
    wire::{
        tokens::Column,
        types::{MAX, SqlType},
    },
};

/// What a session does with a database that becomes its current one. It writes nothing there, and so waits for nobody.
pub(super) const ATTACHED: &str = "
    PRAGMA data.synchronous = OFF;
    CREATE TABLE IF NOT EXISTS temp.weir_temp_columns
        (tbl TEXT COLLATE NOCASE, ordinal INTEGER, name TEXT COLLATE NOCASE, type TEXT, nullable INTEGER, identity INTEGER);
";

/// Makes a database, with what it holds before anything is made in it.
pub(crate) fn create_database(file: &std::path::Path) -> rusqlite::Result<()> {
    let engine = rusqlite::Connection::open_in_memory()?;
    engine.execute("ATTACH ?1 AS data", [file.to_string_lossy()])?;
    engine.execute_batch(SCHEMA)
}

const SCHEMA: &str = "
    PRAGMA data.journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS data.weir_columns
        (tbl TEXT COLLATE NOCASE, ordinal INTEGER, name TEXT COLLATE NOCASE, type TEXT, nullable INTEGER, identity INTEGER);
    CREATE INDEX IF NOT EXISTS data.weir_columns_tbl ON weir_columns (tbl);
    CREATE INDEX IF NOT EXISTS data.weir_columns_name ON weir_columns (name);
    CREATE TABLE IF NOT EXISTS data.weir_objects
        (name TEXT COLLATE NOCASE PRIMARY KEY, kind TEXT, parameters TEXT, source TEXT);
";

impl Session {
    /// Columns of a table, in order; 208 when there is none of that name.
    pub(super) fn columns_of(&self, table: &str) -> Result<Vec<Column>, Failure> {
        if table.starts_with("weir_") || table.starts_with("sqlite_") {
            return Err(Failure::new(208, 16, 1, format!("Invalid object name '{table}'.")));
        }
        let columns = self.known_columns(table)?;
        if columns.is_empty() && !table.contains('.') {
            let text = format!("Invalid object name '{table}'.");
            return Err(Failure::new(208, 16, 1, text));
        }
        Ok(columns)
    }

    fn known_columns(&self, table: &str) -> Result<Vec<Column>, Failure> {
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
        let sql = format!(
            "SELECT name, type, nullable, identity FROM {} WHERE tbl = ?1 ORDER BY ordinal",
            Self::catalog_of(table)
        );
        let mut statement = self.engine.prepare_cached(&sql).map_err(failure)?;
        let rows = statement.query_map([table], |row| {
            Ok(Column {
                name: row.get(0)?,
                kind: SqlType::parse(&row.get::<_, String>(1)?).unwrap_or(SqlType::NVarChar(MAX)),
                nullable: row.get(2)?,
                identity: row.get(3)?,
                table: Some(table.to_owned()),
            })
        });
        rows.map_err(failure)?.collect::<Result<_, _>>().map_err(failure)
    }

    /// Whether there is such a table or view.
    pub(super) fn table_exists(&self, table: &str) -> bool {
        self.known_columns(table).is_ok_and(|columns| !columns.is_empty())
    }

    pub(super) fn catalog_of(table: &str) -> &'static str {
        if table.starts_with('#') {
            "temp.weir_temp_columns"
        } else {
            "data.weir_columns"
        }
    }

    /// The type of a column by its name alone, when all tables agree about it.
    pub(super) fn kind_of_column(&self, name: &str) -> Option<SqlType> {
        let sql = "SELECT DISTINCT type FROM data.weir_columns WHERE name = ?1 UNION SELECT DISTINCT type FROM temp.weir_temp_columns WHERE name = ?1";
        let mut statement = self.engine.prepare_cached(sql).ok()?;
        let types: Vec<String> = statement
            .query_map([name], |row| row.get(0))
            .ok()?
            .collect::<Result<_, _>>()
            .ok()?;
        match types.as_slice() {
            [one] => SqlType::parse(one),
            [] => None,
            several => {
                // Of one family: the widest says what all are.
                let kinds: Vec<SqlType> = several.iter().filter_map(|name| SqlType::parse(name)).collect();
                let text = kinds.iter().all(|kind| kind.is_text());
                text.then_some(SqlType::NVarChar(MAX))
            }
        }
    }

    pub(super) fn remember_columns(&self, table: &str, columns: &[Column]) -> Result<(), Failure> {
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "CREATE TABLE");
        let sql = format!(
            "INSERT INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            Self::catalog_of(table)
        );
        let mut statement = self.engine.prepare_cached(&sql).map_err(failure)?;
        for (ordinal, column) in columns.iter().enumerate() {
            statement
                .execute(params![
                    table,
                    ordinal as i64 + 1,
                    column.name,
                    column.kind.name(),
                    column.nullable,
                    column.identity
                ])
                .map_err(failure)?;
        }
        Ok(())
    }

    pub(super) fn forget_columns(&self, table: &str) -> Result<(), Failure> {
        let sql = format!("DELETE FROM {} WHERE tbl = ?1", Self::catalog_of(table));
        self.engine
            .execute(&sql, [table])
            .map(|_| ())
            .map_err(|error| Failure::of_engine(&error, "DROP TABLE"))
    }

    /// A procedure or table type: its parameters, its source.
    pub(super) fn object(&self, name: &str, kind: &str) -> Result<Option<(String, String)>, Failure> {
        let sql = "SELECT parameters, source FROM data.weir_objects WHERE name = ?1 AND kind = ?2";
        self.engine
            .query_row(sql, [name, kind], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|error| Failure::of_engine(&error, "EXECUTE"))
    }

    /// Drops local temporary tables of scopes this deep and deeper.
    pub(super) fn drop_temporary(&mut self, depth: usize) {
        let least = depth.max(1);
        let gone: Vec<String> = self
            .temporary
            .iter()
            .filter(|(name, made)| *made >= least && (least > 1 || name.starts_with("#@")))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.drop_table_now(&name);
        }
    }

    pub(super) fn drop_all_temporary(&mut self) {
        for (name, _) in std::mem::take(&mut self.temporary) {
            self.drop_table_now(&name);
        }
    }

    fn drop_table_now(&mut self, name: &str) {
        // Inside a transaction that has been rolled back the table is gone already.
        let _ = self
            .engine
            .execute_batch(&format!("DROP TABLE IF EXISTS temp.{}", quote(name)));
        let _ = self.forget_columns(name);
        self.temporary.retain(|(known, _)| known != name);
    }

    /// Temporary tables that a rollback undid.
    pub(super) fn forget_rolled_back_tables(&mut self) {
        let mut kept = std::mem::take(&mut self.temporary);
        kept.retain(|(name, _)| self.table_exists(name));
        self.temporary = kept;
    }
}
