//! What a text may do to the session it runs in: settings, what ties its client, transactions (TDS 5.3, 6.2, 6.3).
//!
//! A row of small state machines over words; no grammar. Invariants: a setting is certain only if it stands at the top
//! level of the batch with a constant value; whatever is not understood is told as [`Tie::Unsure`] or as an unknown
//! setting, never passed over; bounded, whatever the text.

mod arguments;
mod asked;
mod bare;
mod reader;
mod set;

use self::reader::Reader;
pub(crate) use self::{asked::Names, reader::is_statement};
use super::{
    last_values::Values,
    lexer::{Lexer, Token, Whole},
    pins::{Pins, Tie},
    settings::{Isolation, Key, Setting},
};
use crate::limits;

/// What a text may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// In order.
    pub(crate) changes: Vec<(Change, Certainty)>,
    /// What it may begin to hold.
    pub(crate) begins: Pins,
    /// What it lets go.
    pub(crate) ends: Pins,
    /// It may begin or end a transaction, itself or in a procedure that it calls.
    pub(crate) transaction: MayChange,
    /// It is nothing but one of the forms that can be answered without a server.
    pub(crate) bare: Option<Bare>,
    /// It calls procedures, whose text nobody sees.
    pub(crate) calls: Calls,
    /// Whether it leaves more behind than settings that can be seen, even if it lets go of it again.
    pub(crate) traces: Traces,
    /// What it has to do with `@@IDENTITY`, `@@ROWCOUNT` and their like.
    pub(crate) names: Names,
}

/// Whether a reset is due before another client comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Traces {
    #[default]
    None,
    Left,
}

/// A setting that a text changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Setting),
    Isolation(Isolation),
    /// To a value that cannot be seen.
    Unknown(Key),
    UnknownIsolation,
}

/// Whether a change is surely carried out if nothing fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    Certain,
    /// It stands behind a condition.
    Conditional,
}

/// Whether a text may begin or end a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MayChange {
    #[default]
    No,
    Yes,
}

/// Whether a text calls procedures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Calls {
    #[default]
    None,
    Procedures,
}

/// A batch that is nothing but this (TDS 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    Begin,
    /// COMMIT, also behind `IF @@TRANCOUNT > 0`.
    Commit,
    Rollback,
}

/// Reads a text as it comes.
#[derive(Debug)]
pub(crate) struct Classifier {
    lexer: Lexer,
    reader: Reader,
    seen: usize,
}

impl Classifier {
    pub(crate) fn new() -> Self {
        Classifier {
            lexer: Lexer::new(),
            reader: Reader::default(),
            seen: 0,
        }
    }

    /// More of the text, in UTF-16. What is beyond the limit is not looked at, and the text counts as not understood.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = limits::MAX_CLASSIFIED.saturating_sub(self.seen);
        if text.len() > room && !self.reader.found.begins.has(Tie::Unsure) {
            self.reader.begin(Tie::Unsure, 1);
            self.reader.found.transaction = MayChange::Yes;
            self.reader.asked.see(Token::Unsure);
        }
        let text = &text[..text.len().min(room)];
        self.seen += text.len();
        let reader = &mut self.reader;
        self.lexer.push(text, &mut |token| reader.see(token));
    }

    /// Instead of a text: a procedure is called by its name.
    pub(crate) fn call(&mut self, name: &str) {
        let own = name.rsplit('.').next().unwrap_or(name);
        let own = own.trim_matches(['[', ']', '"']).to_ascii_uppercase();
        self.reader.see(Token::Word("EXEC"));
        self.reader.see(Token::Word(&own));
    }

    /// One of its arguments; `None` for a value that is no text, or too long.
    pub(crate) fn argument(&mut self, name: &str, text: Option<&str>) {
        if !name.is_empty() {
            self.reader.see(Token::Variable(&name.to_ascii_uppercase()));
            self.reader.see(Token::Symbol(b'='));
        }
        self.reader.see(match text {
            Some(text) => Token::String(text, Whole::Yes),
            None => Token::Number("0"),
        });
        self.reader.see(Token::Symbol(b','));
    }

    /// What the whole text may do.
    pub(crate) fn finish(mut self) -> Findings {
        let reader = &mut self.reader;
        self.lexer.end(&mut |token| reader.see(token));
        self.reader.finish()
    }
}

/// What a whole text may do.
pub(crate) fn classify(text: &[u8]) -> Findings {
    let mut classifier = Classifier::new();
    classifier.push(text);
    classifier.finish()
}

impl Findings {
    /// Of a text that is too long to be looked at.
    pub(crate) fn unseen() -> Self {
        let mut findings = Findings {
            transaction: MayChange::Yes,
            names: Names::CHANGES,
            ..Findings::default()
        };
        findings.begins.add(Tie::Unsure);
        findings
    }

    /// What is left of it when the text runs in a scope of its own (`sp_executesql`, a prepared statement): settings,
    /// local temporary tables and impersonation end with it (TDS 6.2).
    pub(crate) fn in_own_scope(mut self) -> Self {
        let lasts = |change: &Change| {
            matches!(
                change,
                Change::Set(Setting {
                    key: Key::ContextInfo,
                    ..
                }) | Change::Unknown(Key::ContextInfo)
            )
        };
        self.changes.retain(|(change, _)| lasts(change));
        for tie in [Tie::Impersonation, Tie::Option] {
            self.begins.end(tie);
        }
        // ## is counted with its local kind; only that one outlives the scope.
        let global = self.begins.count(Tie::TemporaryTable) >= GLOBAL;
        self.begins.end(Tie::TemporaryTable);
        if global {
            self.begins.add(Tie::TemporaryTable);
        }
        self
    }

    /// What it sets that somebody may ask for later.
    pub(crate) fn written(&self) -> Values {
        match self.calls {
            Calls::None => self.names.sets,
            Calls::Procedures => Values::ALL,
        }
    }

    /// What it may have changed of these, asked for or not.
    pub(crate) fn may_have_written(&self) -> Values {
        match self.calls {
            Calls::None => self.names.may_set,
            Calls::Procedures => Values::ALL,
        }
    }

    /// What another text of the same request may do as well.
    pub(crate) fn join(&mut self, other: &Findings) {
        self.changes.extend(other.changes.iter().cloned());
        self.begins.join(&other.begins);
        self.ends.join(&other.ends);
        if other.calls == Calls::Procedures {
            self.calls = Calls::Procedures;
        }
        if other.traces == Traces::Left {
            self.traces = Traces::Left;
        }
        self.names.join(other.names);
    }
}

/// What one global temporary name counts among local ones.
const GLOBAL: u16 = 0x100;

#[cfg(test)]
mod tests;
