//! Calls: the procedures of the protocol, of the server, of users; by number, by name, or by EXEC.

use std::time::Duration;

use rusqlite::types::Value;

use super::{
    batch::{Stop, integer},
    convert::{self, to_text},
    cursor::Cursor,
    session::{Frame, Session},
};
use crate::mssql::{
    failure::Failure,
    shared::LockOwner,
    tsql::parser::{Declaration, Execute, declarations},
    wire::{
        request::{Call, ParameterValue, Procedure},
        tokens::{self, Column, Done, DoneKind, command, done},
        types::{self, SqlType},
    },
};

/// A statement behind a handle.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    parameters: String,
    statement: String,
}

/// What a scope left when it ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: i32,
    pub(super) frame: Frame,
    /// BEGIN and COMMIT did not match: the client has been told.
    pub(super) mismatch: bool,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(super) struct Given {
    name: String,
    output: bool,
    default: bool,
    value: ParameterValue,
    /// The variable of the caller that an OUTPUT parameter goes to.
    variable: Option<String>,
}

impl Given {
    fn text(&self) -> String {
        match &self.value {
            ParameterValue::One(_, value) => to_text(value, None).unwrap_or_default(),
            ParameterValue::Table { .. } => String::new(),
        }
    }
    /// The text of a statement, which must be national.
    fn statement(&self, procedure: &str, name: &str) -> Result<String, Failure> {
        match &self.value {
            ParameterValue::One(SqlType::NVarChar(_) | SqlType::NChar(_) | SqlType::NText, _) => Ok(self.text()),
            ParameterValue::One(_, Value::Null) => Ok(String::new()),
            _ => {
                let text = format!("Procedure expects parameter '{name}' of type 'ntext/nchar/nvarchar'.");
                Err(Failure {
                    procedure: procedure.to_owned(),
                    ..Failure::new(214, 16, 2, text)
                })
            }
        }
    }
    fn one(&self) -> Option<&Value> {
        match &self.value {
            ParameterValue::One(_, value) => Some(value),
            ParameterValue::Table { .. } => None,
        }
    }
}

/// What a call returns besides rows.
#[derive(Debug, Default)]
struct Returned {
    status: i32,
    /// Ordinal, name, type, value, and the caller's variable.
    values: Vec<(u16, String, SqlType, Value, Option<String>)>,
    failed: bool,
}

const NAMES: [(u16, &str); 15] = [
    (1, "sp_cursor"),
    (2, "sp_cursoropen"),
    (3, "sp_cursorprepare"),
    (4, "sp_cursorexecute"),
    (5, "sp_cursorprepexec"),
    (6, "sp_cursorunprepare"),
    (7, "sp_cursorfetch"),
    (8, "sp_cursoroption"),
    (9, "sp_cursorclose"),
    (10, "sp_executesql"),
    (11, "sp_prepare"),
    (12, "sp_execute"),
    (13, "sp_prepexec"),
    (14, "sp_prepexecrpc"),
    (15, "sp_unprepare"),
];

/// The procedure of a number.
pub(super) fn name_of(id: u16) -> &'static str {
    NAMES
        .iter()
        .find(|(known, _)| *known == id)
        .map_or("procedure", |(_, name)| name)
}

impl Session {
    /// An RPC message: one call or several.
    pub(super) fn calls(&mut self, calls: Vec<Call>) -> Result<(), Stop> {
        for call in calls {
            let name = match &call.procedure {
                Procedure::Id(id) => name_of(*id).to_owned(),
                Procedure::Name(name) => bare(name),
            };
            let given = call
                .parameters
                .into_iter()
                .map(|parameter| Given {
                    name: parameter.name.to_ascii_lowercase(),
                    output: parameter.output,
                    default: parameter.default,
                    value: parameter.value,
                    variable: None,
                })
                .collect();
            let before = self.frames.len();
            self.frames.push(Frame {
                procedure: String::new(),
                ..Frame::default()
            });
            let outcome = self.call(&name, given);
            self.frames.truncate(before);
            let returned = match outcome {
                Ok(returned) => returned,
                Err(Stop::Failed(failure)) if failure.class < 20 => {
                    self.last_error = failure.number;
                    self.tell(&failure);
                    if self.settings.is_on("XACT_ABORT") && self.transaction.count > 0 {
                        self.roll_back_all(true);
                    }
                    self.end_call(
                        &Returned {
                            failed: true,
                            status: -1,
                            ..Returned::default()
                        },
                        false,
                    )?;
                    continue;
                }
                Err(Stop::Told) => {
                    self.end_call(
                        &Returned {
                            failed: true,
                            ..Returned::default()
                        },
                        false,
                    )?;
                    return Err(Stop::Told);
                }
                Err(stop) => return Err(stop),
            };
            self.end_call(&returned, true)?;
        }
        Ok(())
    }

    /// RETURNSTATUS, RETURNVALUEs, DONEPROC.
    fn end_call(&mut self, returned: &Returned, complete: bool) -> Result<(), Failure> {
        if complete {
            self.output.token(|out| tokens::return_status(out, returned.status));
            for (ordinal, name, kind, value, _) in &returned.values {
                let mut bytes = Vec::new();
                tokens::return_value_head(&mut bytes, *ordinal, name, *kind);
                types::put_value(&mut bytes, *kind, value)?;
                self.output.token(|out| out.extend(bytes));
            }
        }
        self.output.done(Done {
            kind: DoneKind::Procedure,
            status: if returned.failed { done::ERROR } else { 0 },
            command: command::EXECUTE,
            rows: 0,
        });
        Ok(())
    }

    /// EXEC in a batch.
    pub(super) fn execute(&mut self, execute: &Execute) -> Result<(), Stop> {
        if let Some(text) = &execute.text {
            let text = to_text(&self.evaluate(text)?.1, None).unwrap_or_default();
            self.in_frame(Frame::default(), &text)?;
            return Ok(());
        }
        let mut given = Vec::new();
        for argument in &execute.arguments {
            let single = argument.value.len() == 1;
            let first = &argument.value[0];
            let variable =
                (single && first.text.starts_with('@') && !first.text.starts_with("@@")).then(|| first.text.clone());
            let default = single && first.is("DEFAULT");
            let value = if let Some(table) = variable.as_ref().and_then(|name| self.table_variable(name)) {
                ParameterValue::Table {
                    type_name: table,
                    rows: Vec::new(),
                }
            } else if default {
                ParameterValue::One(SqlType::Int, Value::Null)
            } else if single && first.is_name() && !first.is("NULL") && !super::translate::keyword(first) {
                // EXEC sp_x name: a word stands for its text.
                ParameterValue::One(SqlType::NVarChar(4000), Value::Text(first.text.clone()))
            } else {
                let (kind, value) = self.evaluate(&argument.value)?;
                ParameterValue::One(kind, value)
            };
            given.push(Given {
                name: argument.name.clone().unwrap_or_default(),
                output: argument.output,
                default,
                value,
                variable: if argument.output { variable } else { None },
            });
        }
        let returned = self.call(&execute.procedure, given)?;
        for (_, _, _, value, variable) in &returned.values {
            if let Some(variable) = variable {
                self.assign(variable, value)?;
            }
        }
        if let Some(status) = &execute.status {
            self.assign(status, &Value::Integer(i64::from(returned.status)))?;
        }
        let deeper = self.frames.len() > 1;
        let done = Done {
            kind: if deeper {
                DoneKind::InProcedure
            } else {
                DoneKind::Procedure
            },
            status: 0,
            command: command::EXECUTE,
            rows: 0,
        };
        if !deeper {
            self.output.token(|out| tokens::return_status(out, returned.status));
            self.output.done(done);
        }
        Ok(())
    }

    fn call(&mut self, name: &str, given: Vec<Given>) -> Result<Returned, Stop> {
        let missing = |what: &str| {
            Stop::from(Failure::new(
                201,
                16,
                4,
                format!("Procedure or function '{name}' expects parameter '{what}', which was not supplied."),
            ))
        };
        match name {
            "sp_executesql" => {
                let Some(statement) = given.first() else {
                    return Err(missing("@statement"));
                };
                let declared = match given.get(1) {
                    Some(declared) => declared.statement(name, "@params")?,
                    None => String::new(),
                };
                let statement = statement.statement(name, "@statement")?;
                self.run_prepared(&statement, &declared, given.get(2..).unwrap_or_default(), 2)
            }
            "sp_prepare" => {
                let [handle, declared, statement, ..] = given.as_slice() else {
                    return Err(missing("@stmt"));
                };
                let prepared = Prepared {
                    parameters: declared.statement(name, "@params")?,
                    statement: statement.statement(name, "@stmt")?,
                };
                self.parse(&prepared.statement)?;
                Ok(self.keep(handle, 0, prepared))
            }
            "sp_prepexec" => {
                let [handle, declared, statement, values @ ..] = given.as_slice() else {
                    return Err(missing("@stmt"));
                };
                let old = handle.one().map(integer).unwrap_or_default() as i32;
                self.prepared.remove(&old);
                let prepared = Prepared {
                    parameters: declared.statement(name, "@params")?,
                    statement: statement.statement(name, "@stmt")?,
                };
                let mut kept = self.keep(handle, 0, prepared.clone());
                let mut returned = self.run_prepared(&prepared.statement, &prepared.parameters, values, 3)?;
                returned.values.splice(0..0, kept.values.drain(..));
                Ok(returned)
            }
            "sp_execute" => {
                let Some((handle, values)) = given.split_first() else {
                    return Err(missing("@handle"));
                };
                let prepared = self.prepared_of(handle)?;
                self.run_prepared(&prepared.statement, &prepared.parameters, values, 1)
            }
            "sp_unprepare" => {
                let Some(handle) = given.first() else {
                    return Err(missing("@handle"));
                };
                let number = handle.one().map(integer).unwrap_or_default() as i32;
                if self.prepared.remove(&number).is_none() && !self.shared.probe() {
                    return Err(self.no_handle(number).into());
                }
                Ok(Returned::default())
            }
            "sp_reset_connection" if !self.shared.probe() => {
                self.reset(false);
                Ok(Returned::default())
            }
            "sp_getapplock" => Ok(self.get_lock(&given)?),
            "sp_releaseapplock" => Ok(self.release_lock(&given)?),
            "sp_setapprole" if !self.shared.probe() => {
                let Some(role) = given.first() else {
                    return Err(missing("@rolename"));
                };
                if self.transaction.count > 0 {
                    let text = "The procedure 'sys.sp_setapprole' cannot be executed within a transaction.";
                    return Err(Failure::new(15_002, 16, 1, text).into());
                }
                self.application_role = Some(role.text());
                Ok(Returned::default())
            }
            "sp_set_session_context" => {
                let (Some(key), Some(value)) = (given.first(), given.get(1)) else {
                    return Err(missing("@value"));
                };
                self.session_context.insert(
                    key.text().to_ascii_lowercase(),
                    value.one().cloned().unwrap_or(Value::Null),
                );
                Ok(Returned::default())
            }
            "sp_cursoropen" => self.cursor_open(&given),
            "sp_cursorfetch" => Ok(self.cursor_fetch(&given)?),
            "sp_cursorclose" => {
                let number = given.first().and_then(Given::one).map(integer).unwrap_or_default() as i32;
                self.cursors.handles.remove(&number).ok_or_else(invalid_cursor)?;
                Ok(Returned::default())
            }
            "sp_tablecollations_100" => Ok(self.table_collations(&given)?),
            "sp_who" | "sp_who2" => {
                let statements = "SELECT session_id AS spid, status, login_name AS loginame, host_name AS hostname FROM sys.dm_exec_sessions";
                self.in_frame(Frame::default(), statements)?;
                Ok(Returned::default())
            }
            _ => self.user_procedure(name, &given),
        }
    }

    /// Remembers a statement; its handle goes back through the first parameter.
    fn keep(&mut self, handle: &Given, ordinal: u16, prepared: Prepared) -> Returned {
        let number = self.next_handle;
        self.next_handle += 1;
        self.prepared.insert(number, prepared);
        let value = Value::Integer(i64::from(number));
        Returned {
            values: vec![(
                ordinal,
                handle.name.clone(),
                SqlType::Int,
                value,
                handle.variable.clone(),
            )],
            ..Returned::default()
        }
    }

    fn prepared_of(&self, handle: &Given) -> Result<Prepared, Failure> {
        let number = handle.one().map(integer).unwrap_or_default() as i32;
        self.prepared
            .get(&number)
            .cloned()
            .ok_or_else(|| self.no_handle(number))
    }

    fn no_handle(&self, number: i32) -> Failure {
        let text = if self.shared.probe() {
            format!("Prepared statement not found: {number}")
        } else {
            format!("Could not find prepared statement with handle {number}.")
        };
        Failure::new(8179, 16, if self.shared.probe() { 1 } else { 2 }, text)
    }

    /// A statement with declared parameters. `skipped`: arguments before the first of its own.
    fn run_prepared(
        &mut self,
        statement: &str,
        declared: &str,
        values: &[Given],
        skipped: u16,
    ) -> Result<Returned, Stop> {
        let declared = declarations(&crate::mssql::tsql::lexer::lex(declared)?)?;
        let frame = self.bind(&declared, values, "")?;
        let outcome = self.in_frame(frame, statement)?;
        let values = collect_outputs(&declared, values, &outcome.frame, skipped);
        Ok(Returned {
            status: outcome.status,
            values,
            failed: outcome.mismatch,
        })
    }

    fn user_procedure(&mut self, name: &str, given: &[Given]) -> Result<Returned, Stop> {
        let Some((parameters, source)) = self.object(name, "procedure")? else {
            return Err(Failure::new(2812, 16, 62, format!("Could not find stored procedure '{name}'.")).into());
        };
        let declared = declarations(&crate::mssql::tsql::lexer::lex(&parameters)?)?;
        let mut frame = self.bind(&declared, given, name)?;
        name.clone_into(&mut frame.procedure);
        let outcome = self.in_frame(frame, &source)?;
        let values = collect_outputs(&declared, given, &outcome.frame, 0);
        Ok(Returned {
            status: outcome.status,
            values,
            failed: outcome.mismatch,
        })
    }

    /// A scope in which the parameters have their values.
    fn bind(&mut self, declared: &[Declaration], given: &[Given], procedure: &str) -> Result<Frame, Failure> {
        let mut frame = Frame::default();
        if let Some(extra) = given
            .iter()
            .find(|value| !value.name.is_empty() && !declared.iter().any(|parameter| parameter.name == value.name))
        {
            return Err(Failure::new(
                8145,
                16,
                1,
                format!("{} is not a parameter for procedure {procedure}.", extra.name),
            ));
        }
        if given.len() > declared.len() {
            return Err(Failure::new(
                8144,
                16,
                2,
                format!("Procedure or function {procedure} has too many arguments specified."),
            ));
        }
        for (index, parameter) in declared.iter().enumerate() {
            let value = given
                .iter()
                .find(|value| value.name == parameter.name)
                .or_else(|| given.get(index).filter(|value| value.name.is_empty()));
            let Some(kind) = SqlType::parse(&parameter.type_name) else {
                let table = self.bind_table(parameter, value)?;
                frame.tables.insert(parameter.name.clone(), table);
                continue;
            };
            let value = match value.filter(|value| !value.default).map(|value| &value.value) {
                Some(ParameterValue::One(_, value)) => convert::cut(value, kind)?,
                Some(ParameterValue::Table { .. }) => {
                    return Err(Failure::new(
                        206,
                        16,
                        2,
                        format!("Operand type clash: table type is incompatible with {}", kind.name()),
                    ));
                }
                None => match &parameter.value {
                    Some(tokens) => convert::cut(&self.evaluate(tokens)?.1, kind)?,
                    None if procedure.is_empty() => {
                        let text = format!(
                            "The parameterized query expects the parameter '{}', which was not supplied.",
                            parameter.name
                        );
                        return Err(Failure::new(8178, 16, 1, text));
                    }
                    None => {
                        let text = format!(
                            "Procedure or function '{procedure}' expects parameter '{}', which was not supplied.",
                            parameter.name
                        );
                        return Err(Failure::new(201, 16, 4, text));
                    }
                },
            };
            frame.variables.insert(parameter.name.clone(), (kind, value));
        }
        Ok(frame)
    }

    /// A table-valued parameter becomes a temporary table of the scope.
    fn bind_table(&mut self, parameter: &Declaration, given: Option<&Given>) -> Result<String, Failure> {
        let Some(columns) = self.table_type(&parameter.type_name)? else {
            return Err(Failure::new(
                2715,
                16,
                3,
                format!(
                    "Column, parameter, or variable {}: Cannot find data type {}.",
                    parameter.name, parameter.type_name
                ),
            ));
        };
        match given.map(|given| &given.value) {
            Some(ParameterValue::Table { type_name, .. }) if type_name.starts_with("#@") => Ok(type_name.clone()),
            Some(ParameterValue::Table { rows, .. }) => {
                let (rows, name) = (rows.clone(), parameter.name.clone());
                // The scope that is about to begin owns it.
                self.frames.push(Frame::default());
                let made = self.create_table_variable(&name, &columns);
                self.frames.pop();
                let table = made?;
                let columns: Vec<Column> = self
                    .columns_of(&table)?
                    .into_iter()
                    .filter(|column| !column.identity)
                    .collect();
                for row in &rows {
                    if row.len() != columns.len() {
                        return Err(Failure::new(
                            500,
                            16,
                            1,
                            "Trying to pass a table-valued parameter with the wrong number of columns.",
                        ));
                    }
                    self.insert_row(&table, &columns, row)?;
                }
                Ok(table)
            }
            Some(ParameterValue::One(..)) => Err(Failure::new(
                206,
                16,
                2,
                format!(
                    "Operand type clash: a value is incompatible with {}",
                    parameter.type_name
                ),
            )),
            None => self.create_table_variable(&parameter.name, &columns),
        }
    }

    fn get_lock(&mut self, given: &[Given]) -> Result<Returned, Failure> {
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

    fn release_lock(&mut self, given: &[Given]) -> Result<Returned, Failure> {
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

    fn cursor_open(&mut self, given: &[Given]) -> Result<Returned, Stop> {
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
    fn cursor_fetch(&mut self, given: &[Given]) -> Result<Returned, Failure> {
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
    fn table_collations(&mut self, given: &[Given]) -> Result<Returned, Failure> {
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

fn collect_outputs(
    declared: &[Declaration],
    given: &[Given],
    frame: &Frame,
    skipped: u16,
) -> Vec<(u16, String, SqlType, Value, Option<String>)> {
    let mut values = Vec::new();
    for (index, value) in given.iter().enumerate().filter(|(_, value)| value.output) {
        let parameter = if value.name.is_empty() {
            declared.get(index)
        } else {
            declared.iter().find(|parameter| parameter.name == value.name)
        };
        if let Some((kind, result)) = parameter
            .filter(|parameter| parameter.output)
            .and_then(|parameter| frame.variables.get(&parameter.name))
        {
            values.push((
                index as u16 + skipped,
                value.name.clone(),
                *kind,
                result.clone(),
                value.variable.clone(),
            ));
        }
    }
    values
}

/// A procedure's name without database, schema and brackets.
fn bare(name: &str) -> String {
    name.rsplit('.')
        .next()
        .unwrap_or_default()
        .trim_matches(['[', ']', '"'])
        .to_ascii_lowercase()
}

fn lock_owner(text: Option<String>) -> Result<LockOwner, Failure> {
    match text.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "transaction" => Ok(LockOwner::Transaction),
        "session" => Ok(LockOwner::Session),
        other => Err(Failure::unknown(&format!("@LockOwner = '{other}'"))),
    }
}

fn invalid_cursor() -> Failure {
    Failure::new(
        16_909,
        16,
        1,
        "sp_cursor: The cursor identifier value provided is not valid.",
    )
}
