//! Which texts ask what an earlier request came to: `@@ROWCOUNT`, `@@ERROR`, `@@IDENTITY` and their like, where nothing ahead
//! of them in the same text has surely set them (TDS 6.6).
//!
//! Fed with the tokens of a text. Invariants: where it is not certain that a statement ahead is over, and that it sets a
//! value whatever happens, the value counts as asked for; a text that was not understood asks for all of them.

use super::Token;
use crate::session::last_values::Values;

/// What a text has to do with what statements come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// It may tell what was there before.
    pub(crate) asks: Values,
    /// It tells nothing but that: nothing ahead in the text could have set it.
    pub(crate) asks_alone: Values,
    /// It writes, so that somebody may want to know what became of it.
    pub(crate) sets: Values,
    /// It may change these, also where nobody would ask: what it sets, and what triggers may do.
    pub(crate) may_set: Values,
    /// It sets these for certain, if it is carried out at all.
    pub(crate) covers: Values,
}

impl Names {
    /// A text that nobody understands, or that is not all there.
    pub(crate) const UNKNOWN: Names = Names {
        asks: Values::ALL,
        asks_alone: Values::NONE,
        sets: Values::ALL,
        may_set: Values::ALL,
        covers: Values::NONE,
    };

    /// A procedure, whose text nobody sees.
    pub(crate) const CALL: Names = Names {
        asks: Values::NONE,
        asks_alone: Values::NONE,
        sets: Values::ALL,
        may_set: Values::ALL,
        covers: Values::OUTCOME,
    };

    /// It may change rows, with whatever triggers they have.
    pub(crate) const CHANGES: Names = Names {
        asks: Values::NONE,
        asks_alone: Values::NONE,
        sets: Values::NONE,
        may_set: Values::ALL,
        covers: Values::NONE,
    };

    /// Another text that is carried out behind it.
    pub(crate) fn join(&mut self, other: Names) {
        self.asks = self.asks.with(other.asks.without(self.covers));
        self.asks_alone = self.asks_alone.with(other.asks_alone);
        self.sets = self.sets.with(other.sets);
        self.may_set = self.may_set.with(other.may_set);
        self.covers = self.covers.with(other.covers);
    }

    /// More that nobody has seen is carried out behind it.
    pub(crate) fn join_unseen(&mut self) {
        let alone = self.asks_alone;
        self.join(Names::UNKNOWN);
        self.asks_alone = alone;
    }
}

/// Reads a text's tokens.
#[derive(Debug, Default)]
pub(super) struct Asked {
    names: Names,
    depth: u32,
    statement: Statement,
    chain: Chain,
    certainty: Certainty,
    /// Surely set by what has ended.
    covered: Values,
    /// Perhaps set by what has ended.
    possible: Values,
}

/// The statement that is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Statement {
    #[default]
    None,
    /// INSERT, before its rows.
    Insert,
    /// INSERT ... VALUES: a SELECT behind it is a statement of its own.
    InsertValues,
    /// INSERT ... SELECT, INSERT ... EXEC.
    InsertFrom,
    /// UPDATE, before its SET.
    Update,
    Merge,
    Select,
    /// SELECT ... INTO
    SelectInto,
    Execute,
    /// Its condition.
    Condition,
    /// DECLARE, which sets nothing.
    Declare,
    /// DECLARE ... CURSOR, whose SELECT is not carried out.
    Cursor,
    /// A statement that sets the outcome and nothing else.
    Plain,
    /// One of which nothing is known.
    Other,
}

/// Whether the next SELECT continues the one at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chain {
    #[default]
    No,
    /// Behind UNION, EXCEPT or INTERSECT.
    Yes,
}

/// Whether what follows is surely carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Certainty {
    #[default]
    Certain,
    Conditional,
}

impl Asked {
    pub(super) fn see(&mut self, token: Token<'_>) {
        match token {
            Token::Symbol(b'(') => self.depth += 1,
            Token::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            Token::Symbol(b';') if self.depth == 0 => self.ends(),
            Token::Word(word) => self.word(word),
            Token::Variable("@@ROWCOUNT" | "@@ERROR") => self.asks(Values::OUTCOME),
            Token::Variable("@@IDENTITY") => self.asks(Values::IDENTITY),
            // What EXEC is given may be carried out.
            Token::String(text, _) if self.statement == Statement::Execute => self.asks(named_in(text)),
            Token::Unsure => self.names = Names::UNKNOWN,
            _ => {}
        }
    }

    /// A call of a procedure, whose text nobody sees.
    pub(super) fn calls(&mut self) {
        self.names.sets = Values::ALL;
        self.names.may_set = Values::ALL;
        if matches!(self.statement, Statement::None | Statement::Other) {
            self.statement = Statement::Execute;
        }
    }

    pub(super) fn finish(mut self) -> Names {
        self.ends();
        self.names.covers = self.covered;
        self.names
    }

    fn asks(&mut self, values: Values) {
        self.names.asks = self.names.asks.with(values.without(self.covered));
        self.names.asks_alone = self.names.asks_alone.with(values.without(self.possible));
    }

    fn word(&mut self, word: &str) {
        match word {
            "SCOPE_IDENTITY" => self.asks(Values::IDENTITY),
            "ROWCOUNT_BIG" => self.asks(Values::OUTCOME),
            "CATCH" | "GOTO" | "RETURN" => self.certainty = Certainty::Conditional,
            _ => {}
        }
        if self.depth > 0 {
            return;
        }
        let chain = std::mem::take(&mut self.chain);
        self.statement = match (self.statement, word) {
            (Statement::Insert, "VALUES") => Statement::InsertValues,
            (Statement::Insert, "SELECT" | "EXEC" | "EXECUTE") => Statement::InsertFrom,
            (Statement::InsertFrom | Statement::Select | Statement::SelectInto | Statement::Cursor, "SELECT")
                if chain == Chain::Yes =>
            {
                return;
            }
            (_, "UNION" | "EXCEPT" | "INTERSECT") => return self.chain = Chain::Yes,
            (_, "ALL") => return self.chain = chain,
            (Statement::Select, "INTO") => {
                self.names.sets = self.names.sets.with(Values::IDENTITY);
                self.names.may_set = self.names.may_set.with(Values::IDENTITY);
                Statement::SelectInto
            }
            (Statement::Update, "SET") => Statement::Plain,
            (Statement::Merge, "INSERT" | "UPDATE" | "DELETE" | "SET" | "VALUES" | "SELECT") => return,
            (Statement::Declare, "CURSOR") => Statement::Cursor,
            (Statement::Cursor, "SELECT") => return,
            // Before its SELECT or whatever it is; elsewhere a hint.
            (Statement::None, "WITH") => Statement::Declare,
            _ => match begun_by(word) {
                Some(statement) => {
                    self.ends();
                    self.names.sets = self.names.sets.with(sets(statement));
                    self.names.may_set = self.names.may_set.with(may_set(word));
                    statement
                }
                None if self.statement == Statement::None => {
                    self.names.may_set = Values::ALL;
                    Statement::Other
                }
                None => return,
            },
        };
    }

    /// The statement at hand is over.
    fn ends(&mut self) {
        let statement = std::mem::take(&mut self.statement);
        self.chain = Chain::No;
        let (surely, perhaps) = match statement {
            Statement::None | Statement::Declare | Statement::Cursor => (Values::NONE, Values::NONE),
            Statement::Other => (Values::NONE, Values::OUTCOME),
            // Where one fails and the text goes on, the identity of an earlier one stands.
            Statement::Insert
            | Statement::InsertValues
            | Statement::InsertFrom
            | Statement::Merge
            | Statement::SelectInto => (Values::OUTCOME, Values::ALL),
            Statement::Execute => (Values::OUTCOME, Values::ALL),
            Statement::Select | Statement::Condition | Statement::Plain | Statement::Update => {
                (Values::OUTCOME, Values::OUTCOME)
            }
        };
        if self.certainty == Certainty::Certain {
            self.covered = self.covered.with(surely);
        }
        self.possible = self.possible.with(perhaps);
        if statement == Statement::Condition {
            self.certainty = Certainty::Conditional;
        }
    }
}

/// The statement that begins with this word, wherever it stands outside of parentheses. Words that also stand within
/// statements are missing on purpose.
fn begun_by(word: &str) -> Option<Statement> {
    Some(match word {
        "INSERT" => Statement::Insert,
        "UPDATE" => Statement::Update,
        "MERGE" => Statement::Merge,
        "SELECT" => Statement::Select,
        "EXEC" | "EXECUTE" => Statement::Execute,
        "IF" | "WHILE" => Statement::Condition,
        "DECLARE" => Statement::Declare,
        "DELETE" | "SET" | "PRINT" | "TRUNCATE" | "COMMIT" => Statement::Plain,
        "BEGIN" | "CREATE" | "ALTER" | "DROP" | "GRANT" | "REVOKE" | "DENY" | "FETCH" | "OPEN" | "CLOSE" | "RETURN"
        | "RAISERROR" | "THROW" | "ROLLBACK" | "SAVE" | "WAITFOR" | "DBCC" | "BULK" => Statement::Other,
        _ => return None,
    })
}

/// What a statement sets that somebody may ask for later.
fn sets(statement: Statement) -> Values {
    match statement {
        Statement::Insert | Statement::Merge | Statement::Execute => Values::ALL,
        Statement::Update | Statement::Plain => Values::OUTCOME,
        _ => Values::NONE,
    }
}

/// What the statement that begins with this word may set, whoever asks: rows and definitions have triggers, which insert.
fn may_set(word: &str) -> Values {
    match word {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "EXEC" | "EXECUTE" | "BULK" | "CREATE" | "ALTER" | "DROP"
        | "GRANT" | "REVOKE" | "DENY" => Values::ALL,
        _ => Values::OUTCOME,
    }
}

/// What a string names that may be a text.
fn named_in(text: &str) -> Values {
    let upper = text.to_ascii_uppercase();
    let mut found = Values::NONE;
    for (name, values) in [
        ("@@ROWCOUNT", Values::OUTCOME),
        ("@@ERROR", Values::OUTCOME),
        ("ROWCOUNT_BIG", Values::OUTCOME),
        ("@@IDENTITY", Values::IDENTITY),
        ("SCOPE_IDENTITY", Values::IDENTITY),
    ] {
        if upper.contains(name) {
            found = found.with(values);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{super::classify, *};

    fn names(text: &str) -> Names {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        classify(&bytes).names
    }

    #[test]
    fn what_nothing_ahead_has_set_is_asked_for() {
        for (text, asked) in [
            ("SELECT @@IDENTITY", Values::IDENTITY),
            ("select scope_identity() as id", Values::IDENTITY),
            ("SELECT @@ROWCOUNT AS r, @@ERROR AS e", Values::OUTCOME),
            ("IF @@ERROR <> 0 PRINT 'x'", Values::OUTCOME),
            ("SELECT rowcount_big()", Values::OUTCOME),
            ("DECLARE @r int = @@ROWCOUNT", Values::OUTCOME),
            ("DECLARE @r int; SET @r = @@ROWCOUNT", Values::OUTCOME),
            ("DECLARE @r int SELECT @r = @@ROWCOUNT, @i = @@IDENTITY", Values::ALL),
            ("INSERT INTO child (parent) VALUES (@@IDENTITY)", Values::IDENTITY),
            ("INSERT INTO child SELECT SCOPE_IDENTITY()", Values::IDENTITY),
            ("SELECT 1 AS x UNION ALL SELECT @@ROWCOUNT", Values::OUTCOME),
            ("UPDATE t SET n = @@ROWCOUNT WHERE id = SCOPE_IDENTITY()", Values::ALL),
            ("SELECT v FROM t WITH (NOLOCK) WHERE n = @@ROWCOUNT", Values::OUTCOME),
            ("WITH c AS (SELECT 1 AS a) SELECT a, @@ROWCOUNT FROM c", Values::OUTCOME),
            ("EXEC('SELECT @@IDENTITY')", Values::IDENTITY),
            ("EXEC sp_executesql N'SELECT @@rowcount'", Values::OUTCOME),
            (";WITH c AS (SELECT 1 AS a) UPDATE c SET a = @@ERROR", Values::OUTCOME),
        ] {
            let found = names(text);
            assert_eq!((found.asks, found.asks_alone), (asked, asked), "{text}");
        }
    }

    #[test]
    fn what_has_been_set_by_the_text_itself_is_not() {
        for text in [
            "INSERT INTO t (a) VALUES (1); SELECT @@ROWCOUNT",
            "INSERT INTO t (a) VALUES (1) SELECT @@ERROR",
            "BEGIN TRAN INSERT INTO t VALUES ((SELECT 1)) SET @i = @@ROWCOUNT COMMIT",
            "UPDATE t SET a = 1 IF @@ERROR <> 0 ROLLBACK",
            "DELETE FROM t WHERE a = 1; PRINT @@ROWCOUNT",
            "EXEC p; SELECT @@ERROR",
            "MERGE t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = 1; SELECT @@ROWCOUNT",
            "IF EXISTS (SELECT 1 FROM t) SELECT @@ROWCOUNT",
            "SELECT 'SELECT @@IDENTITY' AS s -- @@ROWCOUNT",
            "SELECT [@@IDENTITY], \"SCOPE_IDENTITY\" FROM t",
            "CREATE PROCEDURE p AS SELECT @@IDENTITY",
        ] {
            assert_eq!(names(text).asks, Values::NONE, "{text}");
        }
    }

    #[test]
    fn what_may_not_have_been_set_is_asked_for_but_teaches_nothing() {
        for text in [
            // The INSERT may fail, and the text goes on.
            "INSERT INTO t (a) VALUES (1); SELECT SCOPE_IDENTITY(), @@ROWCOUNT",
            "INSERT INTO t (a) VALUES (1) SELECT SCOPE_IDENTITY()",
            "SET NOCOUNT ON; INSERT t DEFAULT VALUES; SELECT id FROM t WHERE @@ROWCOUNT = 1 AND id = scope_identity()",
            "BEGIN TRAN INSERT INTO t VALUES ((SELECT 1)) SET @i = @@IDENTITY COMMIT",
            "IF @a = 1 INSERT INTO t VALUES (1); SELECT SCOPE_IDENTITY()",
            "INSERT INTO t SELECT 1 WHERE 1 = 0; SELECT SCOPE_IDENTITY()",
            "EXEC p; SELECT @@IDENTITY",
            "BEGIN TRY SELECT 1 END TRY BEGIN CATCH INSERT t VALUES (1) END CATCH SELECT @@IDENTITY",
            "p; SELECT @@IDENTITY",
        ] {
            let found = names(text);
            assert_eq!(
                (found.asks, found.asks_alone),
                (Values::IDENTITY, Values::NONE),
                "{text}"
            );
        }
    }

    #[test]
    fn writes_are_told_from_reads() {
        for (text, sets) in [
            ("SELECT v FROM t", Values::NONE),
            ("DECLARE @x int", Values::NONE),
            ("UPDATE t SET a = 1", Values::OUTCOME),
            ("DELETE FROM t", Values::OUTCOME),
            ("SELECT v INTO u FROM t", Values::IDENTITY),
            ("INSERT INTO t VALUES (1)", Values::ALL),
            ("WITH c AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM c", Values::ALL),
            ("EXEC p", Values::ALL),
            ("p 1", Values::ALL),
        ] {
            assert_eq!(names(text).sets, sets, "{text}");
        }
    }

    #[test]
    fn triggers_insert_as_well() {
        for (text, may) in [
            ("SELECT v FROM t", Values::OUTCOME),
            ("DECLARE @x int", Values::OUTCOME),
            ("SET NOCOUNT ON", Values::OUTCOME),
            ("UPDATE t SET a = 1", Values::ALL),
            ("DELETE t WHERE a = 1", Values::ALL),
            ("SELECT v INTO u FROM t", Values::ALL),
            ("CREATE TABLE t (a int)", Values::ALL),
            ("EXEC p", Values::ALL),
            ("DISABLE TRIGGER x ON t", Values::ALL),
        ] {
            assert_eq!(names(text).may_set.with(Values::OUTCOME), may, "{text}");
        }
    }

    #[test]
    fn what_is_carried_out_for_certain_is_told() {
        for (text, covers) in [
            ("SELECT v FROM t", Values::OUTCOME),
            ("DECLARE @x int", Values::NONE),
            ("IF @a = 1 SELECT 1", Values::OUTCOME),
            ("BEGIN TRAN", Values::NONE),
            ("INSERT INTO t VALUES (1)", Values::OUTCOME),
            ("", Values::NONE),
        ] {
            assert_eq!(names(text).covers, covers, "{text}");
        }
    }
}
