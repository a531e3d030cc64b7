//! CREATE, ALTER, DROP and TRUNCATE: tables, indexes, views, table types, procedures.

use super::{
    names::{closing, literal, quote, target_name},
    session::Session,
    table::{Table, table_of},
};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        statement::{Declaration, split},
    },
    wire::{
        tokens::{Column, command},
        types::SqlType,
    },
};

impl Session {
    pub(super) fn define(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let text = || {
            tokens
                .iter()
                .take(4)
                .map(|token| token.text.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let temporary = tokens
            .iter()
            .any(|token| token.is_name() && token.text.starts_with('#'));
        self.begin_implicitly()?;
        let alone = if temporary && self.transaction.count == 0 {
            false
        } else {
            self.before_writing()?
        };
        let word = |at: usize| {
            tokens
                .get(at)
                .map(|token| token.text.to_ascii_uppercase())
                .unwrap_or_default()
        };
        let (first, second) = (word(0), word(1));
        let outcome = match (first.as_str(), second.as_str()) {
            ("CREATE", "TABLE") => self.create_table(tokens),
            ("CREATE", "TYPE") => self.create_type(tokens),
            ("CREATE", "INDEX" | "UNIQUE" | "CLUSTERED" | "NONCLUSTERED") => self.create_index(tokens),
            ("CREATE", "VIEW") => self.create_view(tokens),
            ("DROP", "TABLE" | "VIEW" | "PROCEDURE" | "PROC" | "TYPE" | "INDEX") => self.drop_objects(tokens),
            ("ALTER", "TABLE") => self.alter_table(tokens),
            ("TRUNCATE", "TABLE") => self.truncate(tokens),
            _ => Err(Failure::unknown(&text())),
        };
        self.after_writing(alone, outcome.is_ok())?;
        outcome?;
        self.done_plain(if first == "DROP" {
            command::DROP_TABLE
        } else {
            command::CREATE_TABLE
        });
        Ok(())
    }

    fn create_table(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (name, at) = target_name(self, tokens, 2)?;
        if name.starts_with("##") {
            return Err(Failure::unknown("CREATE TABLE ## (global temporary tables)"));
        }
        if !tokens.get(at).is_some_and(|token| token.symbol("(")) {
            return Err(Failure::syntax(&name));
        }
        let end = closing(tokens, at)?;
        let table = table_of(&tokens[at + 1..end])?;
        self.make_table(&name, &table)?;
        if name.starts_with('#') {
            let depth = self.frames.len();
            self.temporary.push((name, depth));
        }
        Ok(())
    }

    fn make_table(&mut self, name: &str, table: &Table) -> Result<(), Failure> {
        if self.table_exists(name) {
            return Err(Failure::new(
                2714,
                16,
                6,
                format!("There is already an object named '{name}' in the database."),
            ));
        }
        let schema = if name.starts_with('#') { "temp" } else { "data" };
        let mut parts: Vec<String> = Vec::new();
        for (column, rule) in table.columns.iter().zip(&table.rules) {
            let kind = if column.identity {
                "INTEGER PRIMARY KEY AUTOINCREMENT"
            } else {
                column.kind.affinity()
            };
            let null = if column.nullable || column.identity {
                ""
            } else {
                " NOT NULL"
            };
            parts.push(format!("{} {kind}{null}{rule}", quote(&column.name)));
        }
        parts.extend(table.constraints.iter().cloned());
        let sql = format!("CREATE TABLE {schema}.{} ({})", quote(name), parts.join(", "));
        self.engine
            .execute_batch(&sql)
            .map_err(|error| Failure::of_engine(&error, "CREATE TABLE"))?;
        self.remember_columns(name, &table.columns)
    }

    /// A table of these columns, for SELECT … INTO.
    pub(super) fn create_from_columns(&mut self, name: &str, columns: &[Column]) -> Result<(), Failure> {
        let columns: Vec<Column> = columns
            .iter()
            .map(|column| Column {
                identity: false,
                ..column.clone()
            })
            .collect();
        let rules = vec![String::new(); columns.len()];
        self.make_table(
            name,
            &Table {
                columns,
                rules,
                constraints: Vec::new(),
            },
        )?;
        if name.starts_with('#') {
            let depth = self.frames.len();
            self.temporary.push((name.to_owned(), depth));
        }
        Ok(())
    }

    /// DECLARE @t TABLE (…)
    pub(super) fn declare_table(&mut self, name: &str, columns: &[Token]) -> Result<(), Failure> {
        let table = table_of(columns)?;
        self.make_variable(name, &table).map(|_| ())
    }

    /// A variable of a table type; the name of its table.
    pub(super) fn create_table_variable(&mut self, name: &str, columns: &str) -> Result<String, Failure> {
        let table = table_of(&crate::mssql::tsql::lexer::lex(columns)?)?;
        self.make_variable(name, &table)
    }

    fn make_variable(&mut self, name: &str, table: &Table) -> Result<String, Failure> {
        self.next_table += 1;
        let real = format!("#@{}{}", name.trim_start_matches('@'), self.next_table);
        self.make_table(&real, table)?;
        let depth = self.frames.len();
        self.temporary.push((real.clone(), depth));
        self.frame().tables.insert(name.to_owned(), real.clone());
        Ok(real)
    }

    /// The engine's table of a table variable.
    pub(super) fn table_variable(&self, name: &str) -> Option<String> {
        self.frames.last()?.tables.get(name).cloned()
    }

    /// The columns of a table type, as text.
    pub(super) fn table_type(&self, name: &str) -> Result<Option<String>, Failure> {
        let name = name
            .trim_start_matches("dbo.")
            .trim_start_matches("[dbo].")
            .trim_matches(['[', ']']);
        Ok(self.object(name, "type")?.map(|(_, source)| source))
    }

    /// CREATE TYPE name AS TABLE (…)
    fn create_type(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (name, at) = target_name(self, tokens, 2)?;
        if !(tokens.get(at).is_some_and(|token| token.is("AS"))
            && tokens.get(at + 1).is_some_and(|token| token.is("TABLE")))
        {
            return Err(Failure::unknown("CREATE TYPE of what is not a table"));
        }
        let end = closing(tokens, at + 2)?;
        let inner = &tokens[at + 3..end];
        table_of(inner)?;
        let source = inner.iter().map(spelled).collect::<Vec<_>>().join(" ");
        self.remember_object(&name, "type", "", &source, false)
    }

    pub(super) fn create_procedure(
        &mut self,
        name: &str,
        parameters: &[Declaration],
        source: &str,
        replace: bool,
    ) -> Result<(), Failure> {
        for parameter in parameters {
            if SqlType::parse(&parameter.type_name).is_none() && self.table_type(&parameter.type_name)?.is_none() {
                return Err(Failure::new(
                    2715,
                    16,
                    3,
                    format!(
                        "Column, parameter, or variable {}: Cannot find data type {}.",
                        parameter.name, parameter.type_name
                    ),
                ));
            }
        }
        let list = parameters
            .iter()
            .map(|parameter| {
                let value = parameter
                    .value
                    .as_ref()
                    .map(|tokens| format!(" = {}", tokens.iter().map(spelled).collect::<Vec<_>>().join(" ")));
                format!(
                    "{} {}{}{}",
                    parameter.name,
                    parameter.type_name,
                    value.unwrap_or_default(),
                    if parameter.output { " OUTPUT" } else { "" }
                )
            })
            .collect::<Vec<_>>()
            .join(", ");
        let alone = self.before_writing()?;
        let outcome = self.remember_object(name, "procedure", &list, source, replace);
        self.after_writing(alone, outcome.is_ok())?;
        outcome?;
        self.done_plain(command::CREATE_TABLE);
        Ok(())
    }

    fn remember_object(
        &self,
        name: &str,
        kind: &str,
        parameters: &str,
        source: &str,
        replace: bool,
    ) -> Result<(), Failure> {
        let verb = if replace { "INSERT OR REPLACE" } else { "INSERT" };
        let sql = format!("{verb} INTO data.weir_objects VALUES (?1, ?2, ?3, ?4)");
        self.engine
            .execute(&sql, [name, kind, parameters, source])
            .map(|_| ())
            .map_err(|error| match Failure::of_engine(&error, "CREATE") {
                failure if failure.number == 2627 => Failure::new(
                    2714,
                    16,
                    3,
                    format!("There is already an object named '{name}' in the database."),
                ),
                failure => failure,
            })
    }

    fn create_index(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let unique = tokens.iter().take(3).any(|token| token.is("UNIQUE"));
        let at = tokens
            .iter()
            .position(|token| token.is("INDEX"))
            .ok_or_else(|| Failure::syntax("CREATE"))?;
        let index = tokens.get(at + 1).ok_or_else(|| Failure::syntax("INDEX"))?.text.clone();
        let (table, after) = target_name(self, tokens, at + 3)?;
        let end = closing(tokens, after)?;
        let columns: Vec<String> = split(&tokens[after + 1..end])
            .iter()
            .filter_map(|part| {
                part.first().map(|name| {
                    format!(
                        "{}{}",
                        quote(&name.text),
                        if part.iter().any(|token| token.is("DESC")) {
                            " DESC"
                        } else {
                            ""
                        }
                    )
                })
            })
            .collect();
        let schema = if table.starts_with('#') { "temp" } else { "data" };
        let sql = format!(
            "CREATE {} INDEX {schema}.{} ON {} ({})",
            if unique { "UNIQUE" } else { "" },
            quote(&format!("{table}.{index}")),
            quote(&table),
            columns.join(", ")
        );
        self.engine
            .execute_batch(&sql)
            .map_err(|error| Failure::of_engine(&error, "CREATE INDEX"))
    }

    fn create_view(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (name, at) = target_name(self, tokens, 2)?;
        if !tokens.get(at).is_some_and(|token| token.is("AS")) {
            return Err(Failure::syntax(&name));
        }
        let translated = super::translate::statement(self, &tokens[at + 1..])?;
        if !translated.parameters.is_empty() {
            return Err(Failure::unknown(
                "CREATE VIEW with variables or functions of the session",
            ));
        }
        let engine = self.engine.clone();
        let statement = engine
            .prepare(&translated.sql)
            .map_err(|error| Failure::of_engine(&error, "CREATE VIEW"))?;
        let (columns, _) = self.columns(&statement, &translated.items)?;
        drop(statement);
        let sql = format!("CREATE VIEW data.{} AS {}", quote(&name), translated.sql);
        self.engine
            .execute_batch(&sql)
            .map_err(|error| Failure::of_engine(&error, "CREATE VIEW"))?;
        self.remember_columns(&name, &columns)
    }

    fn drop_objects(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let what = tokens[1].text.to_ascii_uppercase();
        let mut at = 2;
        let forgiving = tokens.get(2).is_some_and(|token| token.is("IF"));
        at += if forgiving { 2 } else { 0 };
        let (names, rest): (Vec<_>, _) = if what == "INDEX" {
            (split(&tokens[at..at + 1]), &tokens[at + 1..])
        } else {
            (split(&tokens[at..]), &tokens[tokens.len()..])
        };
        for part in names {
            let (name, _) = target_name(self, &part, 0)?;
            match what.as_str() {
                "TABLE" | "VIEW" => self.drop_table(&name, &what, forgiving)?,
                "INDEX" => {
                    let (table, _) = target_name(self, rest, 1)?;
                    let sql = format!("DROP INDEX {}", quote(&format!("{table}.{name}")));
                    self.engine
                        .execute_batch(&sql)
                        .map_err(|error| Failure::of_engine(&error, "DROP INDEX"))?;
                }
                _ => {
                    let kind = if what == "TYPE" { "type" } else { "procedure" };
                    let sql = "DELETE FROM data.weir_objects WHERE name = ?1 AND kind = ?2";
                    let gone = self
                        .engine
                        .execute(sql, [name.as_str(), kind])
                        .map_err(|error| Failure::of_engine(&error, "DROP"))?;
                    if gone == 0 && !forgiving {
                        return Err(missing(&name, kind));
                    }
                }
            }
        }
        Ok(())
    }

    fn drop_table(&mut self, name: &str, what: &str, forgiving: bool) -> Result<(), Failure> {
        if !self.table_exists(name) {
            return if forgiving {
                Ok(())
            } else {
                Err(missing(name, &what.to_ascii_lowercase()))
            };
        }
        let schema = if name.starts_with('#') { "temp" } else { "data" };
        let sql = format!("DROP {what} {schema}.{}", quote(name));
        self.engine
            .execute_batch(&sql)
            .map_err(|error| Failure::of_engine(&error, "DROP TABLE"))?;
        self.temporary.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.forget_columns(name)
    }

    fn alter_table(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (name, at) = target_name(self, tokens, 2)?;
        if !tokens.get(at).is_some_and(|token| token.is("ADD"))
            || tokens.get(at + 1).is_some_and(|token| token.is("CONSTRAINT"))
        {
            return Err(Failure::unknown("ALTER TABLE that does more than ADD a column"));
        }
        let table = table_of(&tokens[at + 1..])?;
        let mut columns = self.columns_of(&name)?;
        for (column, rule) in table.columns.into_iter().zip(&table.rules) {
            let null = if column.nullable { "" } else { " NOT NULL" };
            let sql = format!(
                "ALTER TABLE {} ADD COLUMN {} {}{null}{rule}",
                quote(&name),
                quote(&column.name),
                column.kind.affinity()
            );
            self.engine
                .execute_batch(&sql)
                .map_err(|error| Failure::of_engine(&error, "ALTER TABLE"))?;
            columns.push(column);
        }
        self.forget_columns(&name)?;
        self.remember_columns(&name, &columns)
    }

    fn truncate(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let (name, _) = target_name(self, tokens, 2)?;
        let columns = self.columns_of(&name)?;
        let schema = if name.starts_with('#') { "temp" } else { "data" };
        let mut sql = format!("DELETE FROM {schema}.{};", quote(&name));
        if columns.iter().any(|column| column.identity) {
            sql.push_str(&format!(
                "DELETE FROM {schema}.sqlite_sequence WHERE name = {}",
                literal(&name)
            ));
        }
        self.engine
            .execute_batch(&sql)
            .map_err(|error| Failure::of_engine(&error, "TRUNCATE TABLE"))
    }
}

fn missing(name: &str, what: &str) -> Failure {
    Failure::new(
        3701,
        11,
        5,
        format!("Cannot drop the {what} '{name}', because it does not exist or you do not have permission."),
    )
}

/// A token as it was written.
pub(super) fn spelled(token: &Token) -> String {
    match token.kind {
        Kind::Quoted => format!("[{}]", token.text.replace(']', "]]")),
        Kind::Text => literal(&token.text),
        Kind::National => format!("N{}", literal(&token.text)),
        Kind::Binary => format!("0x{}", token.text),
        _ => token.text.clone(),
    }
}
