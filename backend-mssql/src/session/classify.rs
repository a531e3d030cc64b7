//! What a text may do to the session it runs in: settings, what ties its client, transactions (TDS 5.3, 6.2, 6.3).
//!
//! A row of small state machines over words; no grammar. Invariants: a setting is certain only if it stands at the top
//! level of the batch with a constant value; whatever is not understood is told as [`Tie::Unsure`] or as an unknown
//! setting, never passed over; bounded, whatever the text.

mod asked;

use self::asked::Asked;
pub(crate) use self::asked::Names;
use super::{
    last_values::Values,
    lexer::{Lexer, Token, Whole},
    pins::{Pins, Tie},
    settings::{Isolation, Key, Setting, Takes},
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

/// Words at the front of a batch that may be one of the bare forms.
const FRONT: usize = 8;

#[derive(Debug, Default)]
struct Reader {
    found: Findings,
    front: [Front; FRONT],
    /// Tokens so far.
    count: usize,
    before: Before,
    set: Set,
    lock: Lock,
    trace: Trace,
    /// Behind IF, WHILE, BEGIN and the like, nothing is certain any more.
    certainty: Option<Certainty>,
    definition: Definition,
    asked: Asked,
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

/// Tokens that occur in bare forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Front {
    #[default]
    Nothing,
    Begin,
    Commit,
    Rollback,
    Tran,
    Work,
    If,
    Trancount,
    Greater,
    Zero,
    Semicolon,
    Other,
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

/// Behind the word SET.
#[derive(Debug, Default)]
enum Set {
    #[default]
    Nowhere,
    /// Behind SET.
    Option,
    /// Behind options, whose value is next.
    Value(Vec<Key>, Takes),
    /// The same behind a minus.
    Negative(Key),
    /// Behind a comma: one more option.
    More(Vec<Key>),
    /// Behind the N of N'...'
    National(Key),
    /// Behind TRANSACTION, ISOLATION, LEVEL, READ or REPEATABLE.
    Isolation(Level),
    /// Until ON or OFF.
    Switch,
    /// Behind a word that is not known.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Transaction,
    Isolation,
    Which,
    Read,
    Repeatable,
}

/// The arguments of sp_getapplock.
#[derive(Clone, Copy, Debug, Default)]
enum Lock {
    #[default]
    Nowhere,
    Argument(u8),
}

/// The arguments of DBCC TRACEON.
#[derive(Clone, Copy, Debug, Default)]
enum Trace {
    #[default]
    Nowhere,
    Arguments,
    Minus,
}

impl Reader {
    fn see(&mut self, token: Token<'_>) {
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

    fn begin(&mut self, tie: Tie, count: u16) {
        self.found.begins.add_many(tie, count);
        self.found.traces = Traces::Left;
    }

    /// What the text itself has begun ends first.
    fn end(&mut self, tie: Tie, count: u16) {
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
            "IF" | "WHILE" | "GOTO" | "RETURN" | "ELSE" | "TRY" | "CATCH" | "THROW" => self.conditional(),
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

    fn finish(mut self) -> Findings {
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

// === SET ===

impl Reader {
    fn set(&mut self, token: Token<'_>) {
        self.set = match (std::mem::take(&mut self.set), token) {
            (Set::Nowhere, _) => return,
            (Set::Option, Token::Word(word)) => self.option(word),
            (Set::More(mut keys), Token::Word(word)) => match Key::named(word) {
                Some((key, Takes::OnOff)) if keys.len() < limits::MAX_CHANGES => {
                    keys.push(key);
                    Set::Value(keys, Takes::OnOff)
                }
                _ => {
                    self.unknown(&keys);
                    self.begin(Tie::Unsure, 1);
                    Set::Nowhere
                }
            },
            (Set::Value(keys, Takes::OnOff), Token::Symbol(b',')) => Set::More(keys),
            (Set::Value(keys, takes), token) => self.value(keys, takes, token),
            (Set::Negative(key), Token::Number(digits)) if is_number(digits) => self.certain(key, format!("-{digits}")),
            (Set::National(key), Token::String(text, Whole::Yes)) => self.certain(key, quoted(text)),
            (Set::Negative(key) | Set::National(key), _) => {
                self.unknown(&[key]);
                Set::Nowhere
            }
            (Set::Isolation(level), Token::Word(word)) => self.isolation(level, word),
            (Set::Isolation(_), _) => {
                self.change(Change::UnknownIsolation);
                Set::Nowhere
            }
            (Set::Switch, Token::Word("ON")) => {
                self.begin(Tie::Option, 1);
                Set::Nowhere
            }
            (Set::Switch, Token::Word("OFF")) => {
                if self.certainty.is_none() {
                    self.end(Tie::Option, 1);
                }
                Set::Nowhere
            }
            (Set::Switch, Token::Symbol(b';')) => Set::Nowhere,
            (Set::Switch, _) => Set::Switch,
            (Set::Unknown, Token::Word(_) | Token::Number(_) | Token::String(..) | Token::Variable(_)) => {
                self.begin(Tie::Unsure, 1);
                Set::Nowhere
            }
            // A column of an UPDATE, a variable, the options of a table.
            (Set::Option | Set::Unknown, _) => Set::Nowhere,
            (Set::More(keys), _) => {
                self.unknown(&keys);
                Set::Nowhere
            }
        };
    }

    fn option(&mut self, word: &str) -> Set {
        if let Some((key, takes)) = Key::named(word) {
            return Set::Value(vec![key], takes);
        }
        match word {
            "TRANSACTION" => Set::Isolation(Level::Transaction),
            "IDENTITY_INSERT"
            | "STATISTICS"
            | "SHOWPLAN_ALL"
            | "SHOWPLAN_TEXT"
            | "SHOWPLAN_XML"
            | "FMTONLY"
            | "NOEXEC"
            | "PARSEONLY"
            | "OFFSETS"
            | "FIPS_FLAGGER"
            | "REMOTE_PROC_TRANSACTIONS" => Set::Switch,
            // What a foreign key does on DELETE.
            "NULL" | "DEFAULT" => Set::Nowhere,
            _ => Set::Unknown,
        }
    }

    fn value(&mut self, keys: Vec<Key>, takes: Takes, token: Token<'_>) -> Set {
        let single = keys.first().copied();
        match (takes, token, single) {
            // A column of an UPDATE that has the name of an option.
            (_, Token::Symbol(b'=' | b'.'), _) => return Set::Nowhere,
            (Takes::OnOff, Token::Word(word @ ("ON" | "OFF")), _) => {
                for key in keys {
                    self.certain(key, word.to_owned());
                }
                return Set::Nowhere;
            }
            (Takes::Number | Takes::WordOrNumber, Token::Symbol(b'-'), Some(key)) => return Set::Negative(key),
            (Takes::Number | Takes::WordOrNumber, Token::Number(digits), Some(key)) if is_number(digits) => {
                return self.certain(key, digits.to_owned());
            }
            (Takes::Binary, Token::Number(digits), Some(key)) if is_binary(digits) => {
                return self.certain(key, digits.to_owned());
            }
            (Takes::Name, Token::Word("N"), Some(key)) => return Set::National(key),
            (Takes::Name, Token::String(text, Whole::Yes), Some(key)) => return self.certain(key, quoted(text)),
            (Takes::Name, Token::Word(word) | Token::Quoted(word, _), Some(key)) => {
                return self.certain(key, quoted(word));
            }
            (Takes::Word | Takes::WordOrNumber, Token::Word(word), Some(key)) if is_plain(word) => {
                return self.certain(key, word.to_owned());
            }
            _ => {}
        }
        self.unknown(&keys);
        Set::Nowhere
    }

    fn isolation(&mut self, level: Level, word: &str) -> Set {
        let reached = match (level, word) {
            (Level::Transaction, "ISOLATION") => return Set::Isolation(Level::Isolation),
            (Level::Isolation, "LEVEL") => return Set::Isolation(Level::Which),
            (Level::Which, "READ") => return Set::Isolation(Level::Read),
            (Level::Which, "REPEATABLE") => return Set::Isolation(Level::Repeatable),
            (Level::Which, "SNAPSHOT") => Isolation::Snapshot,
            (Level::Which, "SERIALIZABLE") => Isolation::Serializable,
            (Level::Read, "COMMITTED") => Isolation::ReadCommitted,
            (Level::Read, "UNCOMMITTED") => Isolation::ReadUncommitted,
            (Level::Repeatable, "READ") => Isolation::RepeatableRead,
            _ => {
                self.change(Change::UnknownIsolation);
                return Set::Nowhere;
            }
        };
        self.change(Change::Isolation(reached));
        Set::Nowhere
    }

    fn certain(&mut self, key: Key, value: String) -> Set {
        self.change(Change::Set(Setting {
            key,
            value: value.into(),
        }));
        Set::Nowhere
    }

    fn unknown(&mut self, keys: &[Key]) {
        for key in keys {
            self.change(Change::Unknown(*key));
        }
    }

    fn change(&mut self, change: Change) {
        if self.found.changes.len() >= limits::MAX_CHANGES {
            return self.begin(Tie::Unsure, 1);
        }
        let certainty = self.certainty.unwrap_or(Certainty::Certain);
        self.found.changes.push((change, certainty));
    }
}

// === arguments of procedures ===

impl Reader {
    /// The third argument of sp_getapplock, or the one of that name, is the owner: the transaction if it is not given.
    fn lock(&mut self, token: Token<'_>) {
        const OWNER: u8 = 2;
        // Behind a named argument all are named.
        const ANOTHER: u8 = 9;
        let Lock::Argument(index) = self.lock else { return };
        let is_owner = index == OWNER;
        let is_the_sessions = match token {
            Token::String(owner, _) => is_owner && !owner.eq_ignore_ascii_case("transaction"),
            Token::Variable("@LOCKOWNER" | "@RESOURCE" | "@LOCKMODE" | "@LOCKTIMEOUT" | "@DBPRINCIPAL") => false,
            Token::Variable(_) | Token::Number(_) => is_owner,
            _ => false,
        };
        if is_the_sessions {
            self.begin(Tie::ApplicationLock, 1);
        }
        self.lock = match token {
            _ if is_the_sessions => Lock::Nowhere,
            Token::Symbol(b';') => Lock::Nowhere,
            Token::Symbol(b',') if index < ANOTHER => Lock::Argument(index + 1),
            Token::Variable("@LOCKOWNER") => Lock::Argument(OWNER),
            Token::Variable("@RESOURCE" | "@LOCKMODE" | "@LOCKTIMEOUT" | "@DBPRINCIPAL") => Lock::Argument(ANOTHER),
            _ => Lock::Argument(index),
        };
    }

    /// With -1 among its arguments, a trace flag is the whole server's.
    fn trace(&mut self, token: Token<'_>) {
        self.trace = match (self.trace, token) {
            (Trace::Nowhere, _) => return,
            (Trace::Arguments, Token::Symbol(b'-')) => Trace::Minus,
            (Trace::Minus, Token::Number("1")) => Trace::Nowhere,
            (_, Token::Symbol(b')')) => {
                self.begin(Tie::Object, 1);
                Trace::Nowhere
            }
            _ => Trace::Arguments,
        };
    }
}

// === bare forms ===

impl Reader {
    fn note_front(&mut self, token: Token<'_>) {
        let Some(place) = self.front.get_mut(self.count) else {
            return;
        };
        *place = match token {
            Token::Word("BEGIN") => Front::Begin,
            Token::Word("COMMIT") => Front::Commit,
            Token::Word("ROLLBACK") => Front::Rollback,
            Token::Word("TRAN" | "TRANSACTION") => Front::Tran,
            Token::Word("WORK") => Front::Work,
            Token::Word("IF") => Front::If,
            Token::Variable("@@TRANCOUNT") => Front::Trancount,
            Token::Symbol(b'>') => Front::Greater,
            Token::Number("0") => Front::Zero,
            Token::Symbol(b';') => Front::Semicolon,
            _ => Front::Other,
        };
    }

    fn bare(&self) -> Option<Bare> {
        let front = self.front.get(..self.count)?;
        let front = front.strip_suffix(&[Front::Semicolon]).unwrap_or(front);
        let guard = [Front::If, Front::Trancount, Front::Greater, Front::Zero];
        let (form, guarded) = match front.strip_prefix(&guard) {
            Some(rest) => (rest, true),
            None => (front, false),
        };
        match form {
            [Front::Begin, Front::Tran] if !guarded => Some(Bare::Begin),
            [Front::Commit] | [Front::Commit, Front::Tran | Front::Work] => Some(Bare::Commit),
            [Front::Rollback] | [Front::Rollback, Front::Tran | Front::Work] => Some(Bare::Rollback),
            _ => None,
        }
    }
}

/// Words that begin a statement; any other word at the front of a batch is a procedure's name.
pub(super) fn is_statement(word: &str) -> bool {
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

fn is_number(digits: &str) -> bool {
    (1..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// CONTEXT_INFO holds at most 128 bytes; longer constants are cut by the lexer and have to pin.
fn is_binary(digits: &str) -> bool {
    let is_short = digits.len() < limits::MAX_WORD;
    let hexadecimal = digits
        .strip_prefix("0X")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_short && hexadecimal
}

fn is_plain(word: &str) -> bool {
    word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn quoted(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
