//! Statements that say something or wait: RAISERROR, THROW, WAITFOR.

use std::time::Duration;

use rusqlite::types::Value;

use super::{
    batch::{Flow, Stop, integer},
    convert::to_text,
    session::Session,
};
use crate::{
    clock,
    mssql::{
        failure::{Failure, Reach},
        tsql::lexer::Token,
        wire::tokens::{command, done},
    },
};

impl Session {
    pub(super) fn raise_error(&mut self, arguments: &[Vec<Token>], now: bool, line: u32) -> Result<(), Failure> {
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.evaluate(argument)?.1);
        }
        let [message, class, state, rest @ ..] = values.as_slice() else {
            return Err(Failure::syntax("RAISERROR"));
        };
        let (number, text) = match message {
            Value::Text(text) => (50_000, text.clone()),
            _ => return Err(Failure::unknown("RAISERROR with a message number")),
        };
        let class = integer(class).clamp(0, 25) as u8;
        let failure = Failure {
            reach: if class >= 20 {
                Reach::Connection
            } else {
                Reach::Statement
            },
            ..Failure::new(number, class, integer(state) as u8, format_message(&text, rest)).at(line)
        };
        if class <= 10 {
            self.info(&Failure {
                number: if number == 50_000 { 50_000 } else { number },
                ..failure
            });
            self.done_plain(command::OTHER);
            if now {
                self.output.flush();
            }
            return Ok(());
        }
        self.raised(failure)
    }

    /// RAISERROR ends no transaction, whatever XACT_ABORT says.
    fn raised(&mut self, failure: Failure) -> Result<(), Failure> {
        if self.tries > 0 || failure.class >= 20 {
            return Err(failure);
        }
        self.last_error = failure.number;
        self.tell(&failure);
        let done = self.done(done::ERROR, command::OTHER, 0);
        self.output.done(done);
        Ok(())
    }

    pub(super) fn throw(&mut self, arguments: &[Vec<Token>]) -> Result<Flow, Stop> {
        let failure = match arguments {
            [] => self.caught.last().cloned().ok_or_else(|| {
                Failure::new(
                    10704,
                    15,
                    1,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block.",
                )
            })?,
            [number, message, state] => {
                let number = integer(&self.evaluate(number)?.1) as i32;
                let text = to_text(&self.evaluate(message)?.1, None).unwrap_or_default();
                Failure::new(number, 16, integer(&self.evaluate(state)?.1) as u8, text)
            }
            _ => return Err(Failure::syntax("THROW").into()),
        };
        let reach = if failure.reach == Reach::Statement {
            Reach::Batch
        } else {
            failure.reach
        };
        Err(Stop::Failed(Failure { reach, ..failure }))
    }

    pub(super) fn wait_for(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        if !tokens.first().is_some_and(|token| token.is("DELAY")) {
            return Err(Failure::unknown("WAITFOR TIME"));
        }
        let text = to_text(&self.evaluate(&tokens[1..])?.1, None).unwrap_or_default();
        let moment = crate::mssql::calendar::parse(&text)?;
        let delay = Duration::from_nanos(moment.ticks * 100);
        let start = clock::now();
        while start.elapsed() < delay {
            if self.cancel.is_wanted() {
                return Err(Failure::interrupted());
            }
            std::thread::sleep((delay - start.elapsed().min(delay)).min(Duration::from_millis(5)));
        }
        self.done_plain(command::OTHER);
        Ok(())
    }
}

/// `%s`, `%d`, `%i`, `%u`, `%x` and `%%` of RAISERROR.
fn format_message(text: &str, arguments: &[Value]) -> String {
    let mut arguments = arguments.iter();
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.by_ref().find(|c| c.is_alphabetic() || *c == '%') {
            Some('%') => out.push('%'),
            Some('x') => out.push_str(&format!("{:x}", arguments.next().map_or(0, integer))),
            Some(_) => out.push_str(
                &arguments
                    .next()
                    .and_then(|value| to_text(value, None))
                    .unwrap_or_else(|| "(null)".to_owned()),
            ),
            None => {}
        }
    }
    out
}
