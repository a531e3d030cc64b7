//! Statements one after the other: control flow, errors and how far they reach, variables, messages.

use rusqlite::types::Value;

use super::{
    convert::{self, to_text},
    procedures::Outcome,
    session::{Frame, Principal, Session},
};
use crate::mssql::{
    failure::{Failure, Reach},
    tsql::{
        lexer::Token,
        parser,
        statement::{Body, Declaration, Statement},
    },
    wire::{
        tokens::{command, done},
        types::SqlType,
    },
};

/// Why statements stop.
#[derive(Debug)]
pub(super) enum Stop {
    /// An error that a TRY around it may catch; the client has not been told.
    Failed(Failure),
    /// The client has been told, and the batch is over.
    Told,
    /// An Attention.
    Attention,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        if failure.reach == Reach::Attention {
            Stop::Attention
        } else {
            Stop::Failed(failure)
        }
    }
}

/// Where control goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Return(i32),
    Break,
    Continue,
}

impl Session {
    /// A SQL batch.
    pub(super) fn batch(&mut self, text: &str) -> Result<(), Stop> {
        let statements = self.parse(text)?;
        self.statements(&statements).map(|_| ())
    }

    pub(super) fn parse(&self, text: &str) -> Result<Vec<Statement>, Failure> {
        parser::parse(text, self.settings.is_on("QUOTED_IDENTIFIER"))
    }

    pub(super) fn statements(&mut self, statements: &[Statement]) -> Result<Flow, Stop> {
        for statement in statements {
            if self.cancel.is_wanted() || self.output.is_dead() {
                return Err(Stop::Attention);
            }
            let flow = match self.statement(statement) {
                Err(Stop::Failed(failure)) => {
                    let failure = if failure.line == 1 {
                        failure.at(statement.line)
                    } else {
                        failure
                    };
                    self.statement_failed(failure)?;
                    Flow::Next
                }
                other => other?,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// An error: to a TRY, or to the client.
    fn statement_failed(&mut self, failure: Failure) -> Result<(), Stop> {
        self.last_error = failure.number;
        let aborts = self.settings.is_on("XACT_ABORT") && failure.state != RAISED;
        if self.tries > 0 && failure.class < 20 && failure.class > 10 {
            if (aborts || failure.reach == Reach::Transaction) && self.transaction.count > 0 {
                self.transaction.doomed = true;
            }
            return Err(Stop::Failed(failure));
        }
        if failure.class >= 20 {
            return Err(Stop::Failed(failure));
        }
        self.tell(&failure);
        let stop = if failure.reach == Reach::Transaction || aborts {
            Some(self.abort_transaction())
        } else if failure.reach == Reach::Batch {
            Some(Stop::Told)
        } else {
            None
        };
        let told = self.done(done::ERROR, command_of(&failure), 0);
        self.output.done(told);
        stop.map_or(Ok(()), Err)
    }

    fn statement(&mut self, statement: &Statement) -> Result<Flow, Stop> {
        if !matches!(
            statement.body,
            Body::If { .. } | Body::Block(_) | Body::Try { .. } | Body::While { .. }
        ) {
            self.forget_error(&statement.body);
        }
        match &statement.body {
            Body::Sql(tokens) => self.run_sql(tokens)?,
            Body::Definition(tokens) => self.define(tokens)?,
            Body::Procedure {
                name,
                parameters,
                source,
                or_alter,
            } => self.create_procedure(name, parameters, source, *or_alter)?,
            Body::If {
                condition,
                then,
                otherwise,
            } => return self.if_statement(condition, then, otherwise.as_deref()),
            Body::While { condition, body } => return self.while_statement(condition, body),
            Body::Block(statements) => return self.statements(statements),
            Body::Try { body, handler } => return self.try_statement(body, handler),
            Body::Declare(declarations) => self.declare(declarations)?,
            Body::DeclareTable { name, columns } => self.declare_table(name, columns)?,
            Body::DeclareCursor { name, query } => self.declare_cursor(name, query)?,
            Body::SetVariable { name, operator, value } => self.set_variable(name, operator, value)?,
            Body::SetOption(tokens) => self.set_option(tokens)?,
            Body::Use(name) => self.use_database(name)?,
            Body::Begin(name) => {
                let name = self.transaction_name(name.as_ref())?;
                self.begin_transaction(&name.unwrap_or_default(), false)?;
                self.row_count = 0;
                self.done_plain(command::BEGIN);
            }
            Body::Commit => {
                self.commit_transaction()?;
                self.row_count = 0;
                self.done_plain(command::COMMIT);
            }
            Body::Rollback(name) => {
                let name = self.transaction_name(name.as_ref())?;
                self.roll_back_transaction(name.as_deref())?;
                self.done_plain(command::ROLLBACK);
            }
            Body::Save(name) => {
                let name = self
                    .transaction_name(name.as_ref())?
                    .ok_or_else(|| Failure::syntax("SAVE"))?;
                self.save_transaction(&name)?;
                self.done_plain(command::OTHER);
            }
            Body::Print(tokens) => {
                let (kind, value) = self.typed(tokens)?;
                self.info(&Failure::new(0, 0, 1, to_text(&value, kind).unwrap_or_default()).at(statement.line));
                self.done_plain(command::OTHER);
            }
            Body::RaiseError(arguments, now) => self.raise_error(arguments, *now, statement.line)?,
            Body::Throw(arguments) => return self.throw(arguments),
            Body::WaitFor(tokens) => self.wait_for(tokens)?,
            Body::Execute(execute) => self.execute(execute)?,
            Body::Return(tokens) => {
                let status = if tokens.is_empty() {
                    0
                } else {
                    integer(&self.evaluate(tokens)?.1) as i32
                };
                return Ok(Flow::Return(status));
            }
            Body::Break => return Ok(Flow::Break),
            Body::Continue => return Ok(Flow::Continue),
            Body::Cursor(tokens) => self.cursor_statement(tokens)?,
            Body::Dbcc(tokens) => self.dbcc(tokens)?,
            Body::InsertBulk(tokens) => self.insert_bulk(tokens)?,
            Body::Revert => {
                self.impersonations.pop();
                self.done_plain(command::OTHER);
            }
            Body::ExecuteAs(tokens) => {
                let principal = match tokens.as_slice() {
                    [word] if word.is_any(&["CALLER", "SELF", "OWNER"]) => Principal::User("dbo".to_owned()),
                    [word, equals, name] if word.is("USER") && equals.symbol("=") => Principal::User(name.text.clone()),
                    [word, equals, name] if word.is("LOGIN") && equals.symbol("=") => {
                        Principal::Login(name.text.clone())
                    }
                    _ => return Err(Failure::syntax("EXECUTE AS").into()),
                };
                let depth = self.frames.len();
                self.impersonations.push((depth, principal));
                self.done_plain(command::OTHER);
            }
        }
        Ok(Flow::Next)
    }

    /// `@@ERROR` is 0 again when a statement begins, unless it asks for it.
    fn forget_error(&mut self, body: &Body) {
        let asks = |tokens: &[Token]| tokens.iter().any(|token| token.text == "@@ERROR");
        let asked = match body {
            Body::Sql(tokens) | Body::SetVariable { value: tokens, .. } | Body::Print(tokens) => asks(tokens),
            Body::Declare(list) => list
                .iter()
                .any(|item| item.value.as_ref().is_some_and(|tokens| asks(tokens))),
            _ => false,
        };
        if !asked {
            self.last_error = 0;
        }
    }

    fn if_statement(
        &mut self,
        condition: &[Token],
        then: &Statement,
        otherwise: Option<&Statement>,
    ) -> Result<Flow, Stop> {
        if self.holds(condition)? {
            return self.statements(std::slice::from_ref(then));
        }
        match otherwise {
            Some(otherwise) => self.statements(std::slice::from_ref(otherwise)),
            None => {
                if self.frames.len() == 1 {
                    let done = self.done(0, command::CONDITION, 0);
                    self.output.done(done);
                }
                Ok(Flow::Next)
            }
        }
    }

    fn while_statement(&mut self, condition: &[Token], body: &Statement) -> Result<Flow, Stop> {
        while self.holds(condition)? {
            match self.statements(std::slice::from_ref(body))? {
                Flow::Break => break,
                Flow::Return(status) => return Ok(Flow::Return(status)),
                Flow::Next | Flow::Continue => {}
            }
        }
        Ok(Flow::Next)
    }

    fn try_statement(&mut self, body: &[Statement], handler: &[Statement]) -> Result<Flow, Stop> {
        let depth = self.frames.len();
        self.tries += 1;
        let outcome = self.statements(body);
        self.tries -= 1;
        match outcome {
            Err(Stop::Failed(failure)) if failure.class < 20 => {
                while self.frames.len() > depth {
                    self.leave_frame();
                }
                self.caught.push(failure);
                let outcome = self.statements(handler);
                self.caught.pop();
                outcome
            }
            other => other,
        }
    }

    pub(super) fn holds(&mut self, condition: &[Token]) -> Result<bool, Failure> {
        Ok(!matches!(
            self.evaluate_condition(condition)?,
            Value::Null | Value::Integer(0)
        ))
    }

    fn declare(&mut self, declarations: &[Declaration]) -> Result<(), Failure> {
        for declaration in declarations {
            if declaration.type_name == "cursor" {
                return Err(Failure::unknown("DECLARE @variable CURSOR"));
            }
            let Some(kind) = SqlType::parse(&declaration.type_name) else {
                if let Some(columns) = self.table_type(&declaration.type_name)? {
                    self.create_table_variable(&declaration.name, &columns)?;
                    continue;
                }
                return Err(Failure::new(
                    2715,
                    16,
                    3,
                    format!("Cannot find data type {}.", declaration.type_name),
                ));
            };
            let value = match &declaration.value {
                Some(tokens) => convert::cut(&self.evaluate(tokens)?.1, kind)?,
                None => Value::Null,
            };
            self.frame().variables.insert(declaration.name.clone(), (kind, value));
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &str, operator: &str, value: &[Token]) -> Result<(), Failure> {
        let mut tokens = value.to_vec();
        if operator != "=" {
            let Some(first) = value.first() else {
                return Err(Failure::syntax(operator));
            };
            let variable = Token {
                kind: crate::mssql::tsql::lexer::Kind::Variable,
                text: name.to_owned(),
                ..first.clone()
            };
            tokens.insert(0, super::names::symbol("(", first));
            tokens.insert(0, super::names::symbol(operator.trim_end_matches('='), first));
            tokens.insert(0, variable);
            tokens.push(super::names::symbol(")", first));
        }
        let value = self.evaluate(&tokens)?.1;
        self.assign(name, &value)
    }

    /// Gives a variable a value, as its type allows.
    pub(super) fn assign(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        let (kind, _) = self.variable(name)?;
        let value = convert::cut(value, kind)?;
        self.frame().variables.insert(name.to_owned(), (kind, value));
        Ok(())
    }

    pub(super) fn variable(&self, name: &str) -> Result<(SqlType, Value), Failure> {
        let frame = self.frames.last().and_then(|frame| frame.variables.get(name));
        frame
            .cloned()
            .ok_or_else(|| Failure::new(137, 15, 2, format!("Must declare the scalar variable \"{name}\".")))
    }

    pub(super) fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        self.frames.last_mut().expect("there is one now")
    }

    fn use_database(&mut self, name: &str) -> Result<(), Failure> {
        let Some(database) = self.shared.database(name) else {
            return Err(Failure::new(
                911,
                16,
                1,
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
            ));
        };
        let old = self.database.clone();
        self.attach(&database)?;
        let (server, number) = (self.shared.name(), if self.shared.probe() { 0 } else { 5701 });
        let width = self.output.width();
        self.output
            .token(|out| super::login::database_changed(out, width, &database, &old, server, number));
        self.done_plain(command::OTHER);
        Ok(())
    }

    fn transaction_name(&self, token: Option<&Token>) -> Result<Option<String>, Failure> {
        match token {
            Some(token) if token.text.starts_with('@') => Ok(to_text(&self.variable(&token.text)?.1, None)),
            Some(token) => Ok(Some(token.text.clone())),
            None => Ok(None),
        }
    }

    /// Runs text in a scope of its own: EXEC ('…'), sp_executesql, a procedure's body.
    ///
    /// On a server of the probe kind SET and temporary tables of dynamic SQL outlive it.
    pub(super) fn in_frame(&mut self, frame: Frame, text: &str) -> Result<Outcome, Stop> {
        let scoped = !self.shared.probe() || !frame.procedure.is_empty();
        if self.frames.len() > 32 {
            return Err(Failure::new(
                217,
                16,
                1,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            )
            .into());
        }
        let statements = self.parse(text)?;
        let (settings, isolation, database) = (self.settings.clone(), self.isolation, self.database.clone());
        let count = self.transaction.count;
        self.frames.push(frame);
        let flow = self.statements(&statements);
        let flow = match flow {
            Ok(flow) => flow,
            Err(stop) => {
                self.restore(scoped, settings, isolation, &database);
                if !matches!(stop, Stop::Failed(_)) {
                    self.leave_frame();
                }
                return Err(stop);
            }
        };
        self.restore(scoped, settings, isolation, &database);
        let frame = self.leave_frame();
        let implicitly = count == 0 && self.transaction.count == 1 && self.settings.is_on("IMPLICIT_TRANSACTIONS");
        let mismatch = self.transaction.count != count && !implicitly;
        if mismatch {
            let text = format!(
                "Transaction count after EXECUTE indicates a mismatching number of BEGIN and COMMIT statements. Previous count = {count}, current count = {}.",
                self.transaction.count
            );
            self.tell(&Failure::new(266, 16, 2, text));
        }
        Ok(Outcome {
            status: if let Flow::Return(status) = flow { status } else { 0 },
            frame,
            mismatch,
        })
    }

    /// SET in a scope ends with it.
    fn restore(&mut self, scoped: bool, settings: super::settings::Settings, isolation: u8, database: &str) {
        if scoped {
            self.settings = settings;
            self.isolation = isolation;
            // Fails inside a transaction that reads or writes; USE has refused there before.
            let _ = self.attach(database);
        }
    }

    pub(super) fn leave_frame(&mut self) -> Frame {
        let depth = self.frames.len();
        let dynamic = self.frames.last().is_some_and(|frame| frame.procedure.is_empty());
        if dynamic && self.shared.probe() {
            // What dynamic SQL makes outlives it on a server of the probe kind.
            self.temporary.iter_mut().for_each(|(_, made)| *made = (*made).min(1));
        } else {
            self.drop_temporary(depth);
        }
        self.impersonations.retain(|(made, _)| *made < depth);
        self.frames.pop().unwrap_or_default()
    }
}

/// No state of an error of the engine's.
const RAISED: u8 = 255;

fn command_of(failure: &Failure) -> u16 {
    if matches!(failure.number, 2627 | 515 | 547 | 2628) {
        command::INSERT
    } else {
        command::NONE
    }
}

pub(super) fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        Value::Real(number) => *number as i64,
        Value::Text(text) => text.trim().parse().unwrap_or(0),
        _ => 0,
    }
}
