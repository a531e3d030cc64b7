//! Calls: the procedures of the protocol, of the server, of users; by number, by name, or by EXEC.

use rusqlite::types::Value;

use super::{
    batch::{Stop, integer},
    convert::to_text,
    server_procedures::invalid_cursor,
    session::{Frame, Session},
};
use crate::mssql::{
    failure::Failure,
    tsql::statement::{Declaration, Execute, declarations},
    wire::{
        request::{Call, ParameterValue, Procedure},
        tokens::{self, Done, DoneKind, command, done},
        types::SqlType,
        values,
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
    pub(super) name: String,
    pub(super) output: bool,
    pub(super) default: bool,
    pub(super) value: ParameterValue,
    /// The variable of the caller that an OUTPUT parameter goes to.
    pub(super) variable: Option<String>,
}

impl Given {
    pub(super) fn text(&self) -> String {
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
    pub(super) fn one(&self) -> Option<&Value> {
        match &self.value {
            ParameterValue::One(_, value) => Some(value),
            ParameterValue::Table { .. } => None,
        }
    }
}

/// What a call returns besides rows.
#[derive(Debug, Default)]
pub(super) struct Returned {
    pub(super) status: i32,
    /// Ordinal, name, type, value, and the caller's variable.
    pub(super) values: Vec<(u16, String, SqlType, Value, Option<String>)>,
    pub(super) failed: bool,
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
        let mut calls = calls.into_iter().peekable();
        while let Some(call) = calls.next() {
            let follows = calls.peek().is_some() && !self.shared.probe();
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
                        follows,
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
                        false,
                    )?;
                    return Err(Stop::Told);
                }
                Err(stop) => return Err(stop),
            };
            self.end_call(&returned, true, follows)?;
        }
        Ok(())
    }

    /// RETURNSTATUS, RETURNVALUEs, DONEPROC; which tells whether a call of the same request `follows`.
    fn end_call(&mut self, returned: &Returned, complete: bool, follows: bool) -> Result<(), Failure> {
        if complete {
            self.output.token(|out| tokens::return_status(out, returned.status));
            for (ordinal, name, kind, value, _) in &returned.values {
                let mut bytes = Vec::new();
                tokens::return_value_head(&mut bytes, self.output.width(), *ordinal, name, *kind);
                values::put_value(&mut bytes, *kind, value)?;
                self.output.token(|out| out.extend(bytes));
            }
        }
        self.output.done(Done {
            kind: DoneKind::Procedure,
            status: if returned.failed { done::ERROR } else { 0 } | if follows { done::CALL_IN_BATCH } else { 0 },
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
            } else if single && first.is_name() && !first.is("NULL") && !super::names::keyword(first) {
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
        if self.shared.faults.now().forgotten_handles {
            return Err(self.no_handle(number));
        }
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
