//! The words of a text, one after the other, and what they make of it.

use super::{
    Calls, Certainty, Findings, GLOBAL, MayChange, Traces,
    arguments::{Lock, Trace},
    asked::Asked,
    bare::{self, Front},
    set::Set,
};
use crate::session::{lexer::Token, pins::Tie, switches::Switches};

#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) found: Findings,
    pub(super) front: [Front; bare::FRONT],
    /// Tokens so far.
    pub(super) count: usize,
    before: Before,
    pub(super) set: Set,
    pub(super) lock: Lock,
    pub(super) trace: Trace,
    /// Behind IF, WHILE, BEGIN and the like, nothing is certain any more.
    pub(super) certainty: Option<Certainty>,
    /// How many words of that kind there were.
    pub(super) branches: u32,
    pub(super) leaps: Leaps,
    /// The options that were switched on last, and how many branches stood ahead of that.
    pub(super) switched_on: Option<(Switches, u32)>,
    definition: Definition,
    pub(super) asked: Asked,
}

/// Whether statements may be left out that no branch stands directly ahead of: by loops, jumps, returns and CATCH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaps {
    #[default]
    None,
    Possible,
}

/// Whether the batch defines a procedure or the like: then all that follows is its body, and not carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Definition {
    #[default]
    No,
    /// CREATE or ALTER stands at the front.
    Maybe,
    Yes,
}

/// The token before, as far as pairs of words matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Other,
    Begin,
    Execute,
    Open,
    Close,
    Dbcc,
    Alter,
    /// ALTER DATABASE: its SET is not the session's.
    AlterDatabase,
    Variable,
    Cursor,
    Insert,
    WriteText,
    SetUser,
    No,
    Procedure,
}

impl Reader {
    pub(super) fn see(&mut self, token: Token<'_>) {
        self.note_front(token);
        self.count += 1;
        if token == Token::Unsure {
            self.begin(Tie::Unsure, 1);
            self.found.transaction = MayChange::Yes;
        }
        if self.definition == Definition::Yes {
            // Only a temporary name of what is defined counts.
            if matches!(token, Token::Temporary { .. }) && self.before == Before::Procedure {
                self.temporary(token);
            }
            self.before = Before::Other;
            return;
        }
        self.asked.see(token);
        self.set(token);
        self.lock(token);
        self.trace(token);
        if self.before == Before::Cursor && token != Token::Word("LOCAL") {
            self.begin(Tie::Cursor, 1);
        }
        let before = std::mem::take(&mut self.before);
        match token {
            Token::Word(word) => self.word(word, before),
            Token::Temporary { .. } => self.temporary(token),
            Token::Variable(_) => self.before = Before::Variable,
            Token::String(..) if before == Before::SetUser => self.begin(Tie::Impersonation, 1),
            Token::Quoted(..) if self.count == 1 => self.calls(),
            Token::Quoted(..) | Token::Symbol(b'.') if before == Before::AlterDatabase => self.before = before,
            _ => {}
        }
        if before == Before::SetUser && !matches!(token, Token::String(..)) {
            self.end(Tie::Impersonation, u16::MAX);
        }
    }

    pub(super) fn begin(&mut self, tie: Tie, count: u16) {
        self.found.begins.add_many(tie, count);
        self.found.traces = Traces::Left;
    }

    /// What the text itself has begun ends first.
    pub(super) fn end(&mut self, tie: Tie, count: u16) {
        let own = self.found.begins.count(tie).min(count);
        self.found.begins.remove(tie, own);
        self.found.ends.add_many(tie, count - own);
    }

    fn temporary(&mut self, token: Token<'_>) {
        let weight = match token {
            Token::Temporary { global: true, .. } => GLOBAL,
            _ => 1,
        };
        self.begin(Tie::TemporaryTable, weight);
    }

    fn calls(&mut self) {
        self.found.calls = Calls::Procedures;
        self.found.transaction = MayChange::Yes;
        self.asked.calls();
    }

    fn conditional(&mut self) {
        self.certainty = Some(Certainty::Conditional);
        self.branches = self.branches.saturating_add(1);
    }

    fn leaps(&mut self) {
        self.conditional();
        self.leaps = Leaps::Possible;
    }

    fn word(&mut self, word: &str, before: Before) {
        if self.count == 1 && !is_statement(word) {
            self.calls();
        }
        match (before, word) {
            (Before::Begin, "TRAN" | "TRANSACTION") => {}
            (Before::Begin, "DISTRIBUTED") => self.begin(Tie::Irreversible, 1),
            (Before::Begin, "DIALOG" | "CONVERSATION") => {}
            (Before::Begin, _) => self.conditional(),
            (Before::Execute, "AS") => self.begin(Tie::Impersonation, 1),
            (Before::Execute, _) => {}
            (Before::No, "REVERT") => return self.begin(Tie::Irreversible, 1),
            (Before::Open, "SYMMETRIC" | "MASTER") => self.begin(Tie::Object, 1),
            (Before::Close, "SYMMETRIC" | "MASTER") => self.end(Tie::Object, 1),
            (Before::Close, "ALL") => self.end(Tie::Object, u16::MAX),
            (Before::Dbcc, "TRACEON") => self.trace = Trace::Arguments,
            (Before::Insert | Before::WriteText, "BULK") if self.count == 2 => self.begin(Tie::Bulk, 1),
            (Before::Alter, "DATABASE") => return self.before = Before::AlterDatabase,
            // The words between ALTER DATABASE and its SET.
            (Before::AlterDatabase, "SET") => {}
            (Before::AlterDatabase, _) => return self.before = Before::AlterDatabase,
            _ => {}
        }
        self.define(word);
        self.statement(word, before);
    }

    /// `CREATE [OR ALTER] PROCEDURE` and the like stand alone in their batch.
    fn define(&mut self, word: &str) {
        match (word, self.definition) {
            ("CREATE" | "ALTER", _) if self.count == 1 => self.definition = Definition::Maybe,
            ("OR" | "ALTER", Definition::Maybe) if self.count <= 3 => {}
            ("PROC" | "PROCEDURE" | "FUNCTION" | "TRIGGER" | "VIEW", Definition::Maybe) => {
                self.definition = Definition::Yes;
                self.before = Before::Procedure;
            }
            _ => self.definition = Definition::No,
        }
    }

    fn statement(&mut self, word: &str, before: Before) {
        if self.definition == Definition::Yes {
            return;
        }
        match word {
            "SET" if before != Before::AlterDatabase => self.set = Set::Option,
            "BEGIN" => {
                self.found.transaction = MayChange::Yes;
                self.before = Before::Begin;
            }
            "COMMIT" | "ROLLBACK" | "SAVE" | "IMPLICIT_TRANSACTIONS" => self.found.transaction = MayChange::Yes,
            "IF" | "ELSE" => self.conditional(),
            "WHILE" | "GOTO" | "RETURN" | "TRY" | "CATCH" | "THROW" => self.leaps(),
            "EXEC" | "EXECUTE" => {
                self.calls();
                self.before = Before::Execute;
            }
            "ALTER" => self.before = Before::Alter,
            "OPEN" => self.before = Before::Open,
            "CLOSE" => self.before = Before::Close,
            "DBCC" => self.before = Before::Dbcc,
            "INSERT" => self.before = Before::Insert,
            "WRITETEXT" | "UPDATETEXT" => self.before = Before::WriteText,
            "NO" => self.before = Before::No,
            "SETUSER" => self.before = Before::SetUser,
            "REVERT" => self.end(Tie::Impersonation, 1),
            "CURSOR" if before != Before::Variable => self.before = Before::Cursor,
            "DEALLOCATE" => self.end(Tie::Cursor, 1),
            _ => self.procedure(word),
        }
    }

    /// Procedures of the system that are known to leave something behind.
    fn procedure(&mut self, word: &str) {
        match word {
            "SP_GETAPPLOCK" => self.lock = Lock::Argument(0),
            "SP_RELEASEAPPLOCK" => self.end(Tie::ApplicationLock, 1),
            "SP_SETAPPROLE" => self.begin(Tie::Irreversible, 1),
            "SP_XML_PREPAREDOCUMENT"
            | "SP_OACREATE"
            | "SP_PREPARE"
            | "SP_PREPEXEC"
            | "SP_CURSORPREPARE"
            | "SP_CURSORPREPEXEC"
            | "SP_PREPEXECRPC" => self.begin(Tie::Object, 1),
            "SP_XML_REMOVEDOCUMENT" | "SP_OADESTROY" | "SP_UNPREPARE" => self.end(Tie::Object, 1),
            "SP_CURSOROPEN" => self.begin(Tie::Cursor, 1),
            "SP_CURSORCLOSE" | "SP_CURSORUNPREPARE" => self.end(Tie::Cursor, 1),
            "SP_BINDSESSION" | "SP_GETBINDTOKEN" => self.begin(Tie::Unsure, 1),
            "SP_SET_SESSION_CONTEXT" => self.begin(Tie::Context, 1),
            _ => {}
        }
    }

    pub(super) fn finish(mut self) -> Findings {
        if let Set::Value(keys, _) | Set::More(keys) = std::mem::take(&mut self.set) {
            self.unknown(&keys);
        }
        match self.before {
            Before::Cursor => self.begin(Tie::Cursor, 1),
            Before::SetUser => self.end(Tie::Impersonation, u16::MAX),
            Before::Begin => self.conditional(),
            _ => {}
        }
        self.found.bare = self.bare();
        self.found.names = self.asked.finish();
        self.found
    }
}

/// Words that begin a statement; any other word at the front of a batch is a procedure's name.
pub(crate) fn is_statement(word: &str) -> bool {
    const WORDS: [&str; 57] = [
        "ADD",
        "ALTER",
        "BACKUP",
        "BEGIN",
        "BULK",
        "CHECKPOINT",
        "CLOSE",
        "COMMIT",
        "CREATE",
        "DBCC",
        "DEALLOCATE",
        "DECLARE",
        "DELETE",
        "DENY",
        "DISABLE",
        "DROP",
        "ELSE",
        "ENABLE",
        "END",
        "EXEC",
        "EXECUTE",
        "FETCH",
        "GET",
        "GO",
        "GOTO",
        "GRANT",
        "IF",
        "INSERT",
        "KILL",
        "MERGE",
        "MOVE",
        "OPEN",
        "PRINT",
        "RAISERROR",
        "READTEXT",
        "RECEIVE",
        "RECONFIGURE",
        "RESTORE",
        "RETURN",
        "REVERT",
        "REVOKE",
        "ROLLBACK",
        "SAVE",
        "SELECT",
        "SEND",
        "SET",
        "SETUSER",
        "SHUTDOWN",
        "THROW",
        "TRUNCATE",
        "UPDATE",
        "UPDATETEXT",
        "USE",
        "WAITFOR",
        "WHILE",
        "WITH",
        "WRITETEXT",
    ];
    WORDS.binary_search(&word).is_ok()
}
