//! What a statement is, and what running it may leave behind on its session, from its text alone.
//!
//! Errs on one side only: what cannot be proved harmless counts as [`Touches::UNKNOWN`], which costs a reset and never an
//! answer. What it cannot see at all: functions that run because of triggers, views, operators or column defaults, and
//! functions that overload a built-in name; a setting that one of them changes is noticed when the server reports it, and
//! whatever writes counts as drawing from a sequence, because its triggers may.
//! Pure, one pass, no allocation but for the rare [`Shape::Deallocate`].

mod plain;

use super::{
    custom::CustomSettings,
    functions::{Effect, effect},
    last_values::Names,
    lexer::{Lexer, Token},
    touched::Touches,
};
use crate::{limits, wire::query};

/// What a text is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// What running it may leave behind.
    pub touches: Touches,
    /// What it is, if it is a single statement.
    pub shape: Shape,
    /// The custom settings that it names, if it may set any.
    pub custom_settings: CustomSettings,
    /// Whether it asks for what was drawn from a sequence before.
    pub names: Names,
    /// Whether something may follow in the same transaction.
    pub opens: Opens,
}

/// What a text opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opens {
    /// Nothing.
    #[default]
    Nothing,
    /// A transaction block.
    Block,
}

/// The statements that matter to the dialogue, when they stand alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Anything else, or several statements.
    #[default]
    Other,
    /// Starts a transaction that its client declares READ ONLY.
    BeginReadOnly,
    /// Commits (or prepares) a transaction.
    Commit,
    /// Cannot write, whatever the data: may run on a replica.
    ReadOnly,
    /// `RESET`: settings that the client brought along may go with it.
    Reset,
    /// `DEALLOCATE ALL` or `DISCARD ALL`, alone or among others: every prepared statement disappears.
    ForgetsStatements,
    /// `CREATE FUNCTION` and the like: harmless now, but code that will run.
    Code,
    /// `DEALLOCATE` of one statement: its name.
    Deallocate(Box<[u8]>),
    /// `PREPARE` of one statement, which is not run: its name.
    Prepare(Box<[u8]>),
    /// `EXECUTE` of one statement: its name. What that leaves behind is for those to say who know the statement.
    Execute(Box<[u8]>),
}

/// What must be assumed of a text that is too long to read.
pub fn too_long_to_read() -> Class {
    Class {
        touches: Touches::UNKNOWN,
        shape: Shape::Other,
        custom_settings: CustomSettings::default(),
        names: Names::Nothing,
        opens: Opens::Block,
    }
}

/// Reads a text, which may hold several statements.
pub fn classify(text: &[u8]) -> Class {
    if plain::is_plain_select(text) {
        return plain_select();
    }
    classify_whole(text)
}

/// Reads the text of a Query: its body, terminator included.
pub fn classify_query(body: &[u8]) -> Class {
    if plain::is_plain_select(query::text_to_last_zero(body)) {
        return plain_select();
    }
    classify_whole(query::text(body))
}

/// What a text is that [`plain`] recognises.
fn plain_select() -> Class {
    Class {
        shape: Shape::ReadOnly,
        ..Class::default()
    }
}

fn classify_whole(text: &[u8]) -> Class {
    let mut class = read(text);
    let is_code = matches!(class.shape, Shape::Code | Shape::Prepare(_));
    if matches!(class.shape, Shape::Prepare(_)) {
        class.touches = Touches::SQL_PREPARED;
    }
    if class.touches.any(Touches::SETTINGS | Touches::UNKNOWN) || is_code {
        class.custom_settings = CustomSettings::of(text);
    }
    if class.custom_settings.has_others() {
        class.touches |= Touches::UNKNOWN;
    }
    class
}

/// What running the statement may leave behind that this text prepares.
pub(super) fn of_prepared(text: &[u8]) -> Touches {
    read(text).touches.without(Touches::SQL_PREPARED)
}

/// An identifier as PostgreSQL takes it.
pub(super) fn identifier(token: Token<'_>) -> Option<Box<[u8]>> {
    match token {
        Token::Word(word) => Some(Part::Word(word).identifier()),
        Token::Quoted(word) => Some(Part::Quoted(word).identifier()),
        _ => None,
    }
}

fn read(text: &[u8]) -> Class {
    let mut reader = Reader::default();
    for token in Lexer::new(text) {
        reader.read(token);
    }
    reader.finish()
}

#[derive(Debug, Default)]
struct Reader<'a> {
    touches: Touches,
    /// Shape of the text so far.
    shape: Shape,
    opens: Opens,
    /// Statements begun.
    statements: u32,
    statement: Statement,
    last: Last<'a>,
    /// The name just read, which may turn out to be a function's.
    name: Option<Name<'a>>,
    depth: u32,
    names: Names,
    /// By the statements before the one under way.
    touched_before: Touches,
    /// `set_config` calls that are open: only the innermost is looked at, others count as session-wide.
    set_config: Option<SetConfig>,
}

/// A name, up to its last part.
#[derive(Clone, Copy, Debug)]
struct Name<'a> {
    before: Last<'a>,
    qualifier: Qualifier,
    part: Part<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qualifier {
    None,
    PgCatalog,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Word(&'a [u8]),
    Quoted(&'a [u8]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last<'a> {
    #[default]
    Start,
    Name(Part<'a>),
    String(&'a [u8]),
    Open,
    Close,
    Dot,
    Cast,
    Other,
}

/// What is known of the statement under way.
#[derive(Debug, Default)]
struct Statement {
    verb: Verb,
    /// Words read since the verb, for statements that are told apart by their first few words.
    words: u32,
    scope: Scope,
    /// Whether a SET names a time limit.
    limits_time: bool,
    mode: Mode,
    /// Whether `name (` behind a closing parenthesis can only be an alias.
    aliases: Aliases,
    /// The prepared statement that it is about.
    prepared: Option<Box<[u8]>>,
}

/// What a statement does, by its first word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verb {
    /// No word yet.
    #[default]
    None,
    Begin,
    Commit,
    Copy,
    Create,
    Deallocate,
    Discard,
    Execute,
    Explain,
    Prepare,
    Query,
    Reset,
    Set,
    Other,
}

/// How far a SET reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    Session,
    Transaction,
}

/// Whether a statement can write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Unsaid,
    ReadOnly,
    Writes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Aliases {
    #[default]
    Certain,
    /// `DISTINCT ON (...) f(x)` and `OPERATOR(...) f(x)` look the same.
    Doubtful,
}

/// An open call of `set_config`.
#[derive(Clone, Copy, Debug)]
struct SetConfig {
    depth: u32,
    /// Its first argument is a constant that names no time limit.
    harmless_name: bool,
    /// Of the argument under way.
    tokens: u32,
    /// Arguments before it.
    arguments: u32,
}

impl<'a> Reader<'a> {
    fn read(&mut self, token: Token<'a>) {
        let part = match token {
            Token::Word(word) => Some(Part::Word(word)),
            Token::Quoted(word) => Some(Part::Quoted(word)),
            _ => None,
        };
        if let Some(part) = part {
            self.argument(token);
            self.read_name(part);
            return;
        }
        let name = self.name.take_if(|_| token != Token::Dot);
        self.argument(token);
        match token {
            Token::Open => self.open(name),
            Token::Close => self.close(),
            Token::Semicolon if self.depth == 0 => self.end_statement(),
            Token::String(value) => self.string(value),
            // `SET local.tenant = 1`: the class of a custom setting, however it is called.
            Token::Dot if self.statement.verb == Verb::Set && self.statement.words == 1 => {
                self.statement.scope = Scope::Session;
            }
            Token::Unsure => self.touches |= Touches::UNKNOWN,
            _ => {}
        }
        self.last = match token {
            Token::Open => Last::Open,
            Token::Close => Last::Close,
            Token::Dot => Last::Dot,
            Token::Cast => Last::Cast,
            Token::String(value) => Last::String(value),
            Token::Semicolon if self.depth == 0 => Last::Start,
            _ => Last::Other,
        };
    }

    fn read_name(&mut self, part: Part<'a>) {
        if part.starts_with(b"pg_") {
            self.read_name_of_catalog(part);
        }
        if !self.touched_before.any(Touches::DRAWS) && Names::of_name(part.bytes()) == Names::LastValues {
            self.names = Names::LastValues;
        }
        self.name = Some(match (self.last, self.name) {
            (Last::Dot, Some(name)) => {
                let in_catalog = name.qualifier == Qualifier::None && name.part.is(b"pg_catalog");
                let qualifier = if in_catalog {
                    Qualifier::PgCatalog
                } else {
                    Qualifier::Other
                };
                Name {
                    qualifier,
                    part,
                    ..name
                }
            }
            _ => Name {
                before: self.last,
                qualifier: Qualifier::None,
                part,
            },
        });
        let mut buffer = [0; MAX_KEYWORD];
        let keyword = match (part, self.last) {
            (Part::Word(word), last) if last != Last::Dot => lower(word, &mut buffer),
            _ => None,
        };
        match self.statement.verb {
            Verb::None => self.begin_statement(keyword.unwrap_or_default()),
            _ => self.word(part, keyword.unwrap_or_default()),
        }
        self.last = Last::Name(part);
    }

    fn read_name_of_catalog(&mut self, part: Part<'a>) {
        if part.starts_with(b"pg_temp") {
            self.touches |= Touches::TEMPORARY;
        }
        if part.is(b"pg_prepared_statements") || part.is(b"pg_prepared_statement") {
            self.touches |= Touches::STATEMENTS;
        }
    }

    /// A word behind the verb; `keyword` is empty where it cannot be one.
    fn word(&mut self, part: Part<'a>, keyword: &[u8]) {
        self.decisive_word(part, keyword);
        match keyword {
            b"insert" | b"merge" | b"default" => self.writes(Touches::SEQUENCES),
            // Their triggers may draw from one.
            b"delete" => self.writes(Touches::SEQUENCES),
            b"update" if !self.last.is(b"for") && !self.last.is(b"key") => self.writes(Touches::SEQUENCES),
            b"update" | b"share" => self.writes(Touches::NONE),
            b"into" if self.last.is(b"insert") || self.last.is(b"merge") => self.writes(Touches::NONE),
            b"into" => self.writes(Touches::CREATES),
            b"create" if self.statement.verb == Verb::Explain => self.writes(Touches::CREATES),
            b"c" if self.last.is(b"language") => self.loads_library(),
            b"execute" if self.statement.verb != Verb::Execute => self.writes(Touches::UNKNOWN),
            b"temp" | b"temporary" if BEFORE_TEMPORARY.iter().any(|word| self.last.is(word)) => {
                self.writes(Touches::TEMPORARY);
            }
            // REFRESH MATERIALIZED VIEW makes a temporary table of its own then.
            b"concurrently" if self.last.is(b"view") => self.writes(Touches::TEMPORARY),
            b"hold" if self.last.is(b"with") => self.touches |= Touches::CURSORS,
            b"on" if self.last.is(b"distinct") => self.statement.aliases = Aliases::Doubtful,
            b"operator" => self.statement.aliases = Aliases::Doubtful,
            _ => {}
        }
    }

    /// Creating a function in C loads its library, as LOAD does.
    fn loads_library(&mut self) {
        if self.statement.verb == Verb::Create {
            self.touches |= Touches::IRREVERSIBLE;
        }
    }

    fn writes(&mut self, touches: Touches) {
        self.touches |= touches;
        self.statement.mode = Mode::Writes;
    }

    fn begin_statement(&mut self, word: &[u8]) {
        self.statements = self.statements.saturating_add(1);
        let (verb, touches) = match word {
            b"select" | b"with" | b"values" | b"table" => (Verb::Query, Touches::NONE),
            b"insert" | b"merge" | b"update" | b"delete" | b"truncate" => (Verb::Other, Touches::SEQUENCES),
            b"copy" => (Verb::Copy, Touches::SEQUENCES),
            b"begin" | b"start" => (Verb::Begin, Touches::NONE),
            b"commit" | b"end" => (Verb::Commit, Touches::NONE),
            b"set" => (Verb::Set, Touches::NONE),
            b"reset" => (Verb::Reset, Touches::SETTINGS),
            b"create" => (Verb::Create, Touches::CREATES),
            b"unlisten" | b"close" | b"drop" => (Verb::Other, Touches::UNDOES),
            b"listen" => (Verb::Other, Touches::LISTEN),
            b"prepare" => (Verb::Prepare, Touches::NONE),
            b"explain" => (Verb::Explain, Touches::NONE),
            b"execute" if self.statements == 1 => (Verb::Execute, Touches::NONE),
            b"deallocate" => (Verb::Deallocate, Touches::UNDOES | Touches::STATEMENTS),
            b"discard" => (Verb::Discard, Touches::UNDOES | Touches::STATEMENTS),
            b"load" => (Verb::Other, Touches::IRREVERSIBLE),
            _ if HARMLESS_VERBS.contains(&word) => (Verb::Other, Touches::NONE),
            // DO, CALL, EXECUTE among others, and what nobody knows yet.
            _ => (Verb::Other, Touches::UNKNOWN),
        };
        if verb == Verb::Begin {
            self.opens = Opens::Block;
        }
        self.touches |= touches;
        if matches!(self.shape, Shape::Execute(_)) {
            self.touches |= Touches::UNKNOWN;
        }
        self.statement.verb = verb;
    }

    /// The words behind the verb that decide what it does.
    fn decisive_word(&mut self, part: Part<'a>, keyword: &[u8]) {
        self.statement.words = self.statement.words.saturating_add(1);
        let first = self.statement.words == 1;
        match (self.statement.verb, keyword) {
            (Verb::Set, b"local" | b"transaction" | b"constraints") if first => {
                self.statement.scope = Scope::Transaction;
            }
            (Verb::Set, _) => self.statement.limits_time |= ends_with_timeout(part.bytes()),
            // The last one counts, but a standby refuses even to be asked for these (0A000).
            (Verb::Begin, b"serializable") => self.statement.mode = Mode::Writes,
            (Verb::Begin, b"write") if self.last.is(b"read") => self.statement.mode = Mode::Writes,
            (Verb::Begin, b"only") if self.last.is(b"read") && self.statement.mode == Mode::Unsaid => {
                self.statement.mode = Mode::ReadOnly;
            }
            (Verb::Prepare, b"transaction") if first => self.statement.verb = Verb::Commit,
            (Verb::Prepare, _) if first => {
                self.touches |= Touches::SQL_PREPARED;
                self.statement.prepared = Some(part.identifier());
            }
            // What runs it is as good as what explains it.
            (Verb::Explain, b"execute") if self.depth == 0 && self.statements == 1 => {
                (self.statement.verb, self.statement.words) = (Verb::Execute, 0);
            }
            (Verb::Execute, _) if first => self.statement.prepared = Some(part.identifier()),
            (Verb::Discard, b"all") if first => {
                self.touches |= Touches::SETTINGS;
                self.shape = Shape::ForgetsStatements;
            }
            (Verb::Deallocate, b"all") => self.shape = Shape::ForgetsStatements,
            (Verb::Deallocate, _) => self.statement.prepared = Some(part.identifier()),
            _ => {}
        }
    }

    /// `(` behind a name is a call, unless grammar says otherwise.
    fn open(&mut self, name: Option<Name<'a>>) {
        self.depth = (self.depth + 1).min(limits::MAX_NESTING);
        let Some(name) = name else { return };
        if self.is_no_call(name) {
            return;
        }
        let mut buffer = [0; MAX_FUNCTION];
        let function = match name.part {
            Part::Quoted(word) => Some(word),
            Part::Word(word) => lower(word, &mut buffer),
        };
        let effect = match (name.qualifier, function) {
            (Qualifier::None | Qualifier::PgCatalog, Some(function)) => effect(function),
            _ => Effect::Touches(Touches::UNKNOWN),
        };
        match effect {
            Effect::Harmless => {}
            Effect::Writes => self.statement.mode = Mode::Writes,
            Effect::Touches(touches) => self.writes(touches),
            Effect::SetConfig => {
                if self.set_config.is_some() {
                    self.touches |= Touches::SETTINGS | Touches::TIMEOUTS;
                }
                self.set_config = Some(SetConfig {
                    depth: self.depth,
                    harmless_name: false,
                    tokens: 0,
                    arguments: 0,
                });
                self.statement.mode = Mode::Writes;
            }
        }
    }

    fn is_no_call(&self, name: Name<'a>) -> bool {
        let before = |words: &[&[u8]]| words.iter().any(|word| name.before.is(word));
        if name.before == Last::Cast || (name.before == Last::Close && self.statement.aliases == Aliases::Certain) {
            return true;
        }
        // The parameters of a prepared statement.
        let is_prepared = matches!(self.statement.verb, Verb::Execute | Verb::Prepare) && self.statement.words == 1;
        if before(BEFORE_NO_CALL) || is_prepared {
            return true;
        }
        let (Part::Word(word), Qualifier::None) = (name.part, name.qualifier) else {
            return false;
        };
        let mut buffer = [0; MAX_KEYWORD];
        let Some(word) = lower(word, &mut buffer) else {
            return false;
        };
        match word {
            b"key" => before(&[b"primary", b"foreign"]),
            b"range" | b"list" | b"hash" => before(&[b"by"]),
            b"conflict" => before(&[b"on"]),
            b"sets" => before(&[b"grouping"]),
            b"include" => name.before == Last::Close,
            b"first" | b"next" => before(&[b"fetch"]),
            b"materialized" => before(&[b"as", b"not"]),
            b"filter" | b"over" | b"repeatable" => name.before == Last::Close,
            b"explain" | b"copy" | b"vacuum" | b"analyze" | b"reindex" | b"cluster" => name.before == Last::Start,
            _ => SYNTAX.binary_search(&word).is_ok(),
        }
    }

    /// A token among the arguments of `set_config`. A name that is more than one constant or parameter is a name that
    /// nobody has seen.
    fn argument(&mut self, token: Token<'a>) {
        let Some(call) = &mut self.set_config else { return };
        if token == Token::Comma && call.depth == self.depth {
            (call.tokens, call.arguments) = (0, call.arguments.saturating_add(1));
            return;
        }
        let ends = token == Token::Close && call.depth == self.depth;
        if !ends {
            call.tokens = call.tokens.saturating_add(1);
        }
        let is_plain = match token {
            Token::String(_) | Token::Number => call.tokens == 1,
            // A type, behind a cast.
            Token::Cast | Token::Dot => true,
            Token::Word(_) | Token::Quoted(_) => matches!(self.last, Last::Cast | Last::Dot),
            _ => ends,
        };
        if call.arguments == 0 && !is_plain {
            self.touches |= Touches::UNKNOWN;
        }
    }

    fn close(&mut self) {
        if let Some(call) = self.set_config
            && call.depth == self.depth
        {
            // And nothing else: `NOT true` is not.
            let is_local = call.tokens == 1 && self.last.is(b"true");
            if is_local {
                self.touches |= Touches::LOCAL_SETTINGS;
            } else {
                self.touches |= Touches::SETTINGS;
                if !call.harmless_name {
                    self.touches |= Touches::TIMEOUTS;
                }
            }
            self.set_config = None;
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn string(&mut self, value: &[u8]) {
        if let Some(call) = &mut self.set_config
            && call.depth == self.depth
            && self.last == Last::Open
        {
            call.harmless_name = !ends_with_timeout(value);
        }
        if self.statement.verb == Verb::Set && Part::Quoted(value).starts_with(b"pg_temp") {
            self.touches |= Touches::TEMPORARY;
        }
        if self.last.is(b"language") && value.eq_ignore_ascii_case(b"c") {
            self.loads_library();
        }
        if self.statement.verb == Verb::None {
            self.begin_statement(b"");
        }
    }

    fn end_statement(&mut self) {
        self.touched_before = self.touches;
        let statement = std::mem::take(&mut self.statement);
        match statement.verb {
            Verb::None => {}
            Verb::Set if statement.scope == Scope::Transaction => self.touches |= Touches::LOCAL_SETTINGS,
            Verb::Set if statement.scope == Scope::Session => {
                self.touches |= Touches::SETTINGS;
                if statement.limits_time {
                    self.touches |= Touches::TIMEOUTS;
                }
            }
            _ => {}
        }
        let shape = match (statement.verb, statement.mode) {
            (Verb::Begin, Mode::ReadOnly) => Shape::BeginReadOnly,
            (Verb::Commit, _) => Shape::Commit,
            (Verb::Reset, _) => Shape::Reset,
            (Verb::Create, _) => Shape::Code,
            (Verb::Query, Mode::Unsaid) if self.touches.is_empty() => Shape::ReadOnly,
            (Verb::Deallocate, _) => statement.prepared.map_or(Shape::Other, Shape::Deallocate),
            (Verb::Prepare, _) => statement.prepared.map_or(Shape::Other, Shape::Prepare),
            (Verb::Execute, _) => statement.prepared.map_or(Shape::Other, Shape::Execute),
            _ => Shape::Other,
        };
        if statement.verb == Verb::None {
            return;
        }
        if self.shape == Shape::ForgetsStatements {
            return;
        }
        self.shape = if self.statements == 1 { shape } else { Shape::Other };
    }

    fn finish(mut self) -> Class {
        if self.set_config.is_some() {
            self.touches |= Touches::SETTINGS | Touches::TIMEOUTS;
        }
        self.end_statement();
        Class {
            touches: self.touches,
            shape: self.shape,
            custom_settings: CustomSettings::default(),
            names: self.names,
            opens: self.opens,
        }
    }
}

impl<'a> Part<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Part::Word(bytes) | Part::Quoted(bytes) => bytes,
        }
    }

    fn is(self, word: &[u8]) -> bool {
        match self {
            Part::Word(bytes) => bytes.eq_ignore_ascii_case(word),
            Part::Quoted(bytes) => bytes == word,
        }
    }

    fn starts_with(self, prefix: &[u8]) -> bool {
        self.bytes()
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }

    /// As PostgreSQL takes it: folded, or without its doubled quotes.
    fn identifier(self) -> Box<[u8]> {
        match self {
            Part::Word(bytes) => bytes.to_ascii_lowercase().into(),
            Part::Quoted(bytes) => {
                let mut quotes = 0;
                let kept = bytes.iter().filter(|byte| {
                    quotes += usize::from(**byte == b'"');
                    **byte != b'"' || quotes % 2 == 1
                });
                kept.copied().collect()
            }
        }
    }
}

impl Last<'_> {
    /// Whether it is this unquoted word.
    fn is(&self, word: &[u8]) -> bool {
        matches!(self, Last::Name(part @ Part::Word(_)) if part.is(word))
    }
}

/// Bytes of the longest keyword that is looked for.
const MAX_KEYWORD: usize = 16;

/// Bytes of the longest function name that PostgreSQL tells apart.
const MAX_FUNCTION: usize = limits::MAX_NAME;

/// The word in lower case, if it fits.
fn lower<'b>(word: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let lowered = buffer.get_mut(..word.len())?;
    lowered.copy_from_slice(word);
    lowered.make_ascii_lowercase();
    Some(lowered)
}

/// `statement_timeout` and its like.
fn ends_with_timeout(name: &[u8]) -> bool {
    const SUFFIX: &[u8] = b"timeout";
    let start = name.len().saturating_sub(SUFFIX.len());
    name[start..].eq_ignore_ascii_case(SUFFIX)
}

/// Statements that leave nothing behind by themselves; whatever they call is seen as they are read on.
#[rustfmt::skip]
const HARMLESS_VERBS: &[&[u8]] = &[
    b"abort", b"alter", b"analyse", b"analyze", b"checkpoint", b"cluster", b"comment", b"declare",
    b"fetch", b"grant", b"import", b"lock", b"move", b"notify", b"reassign",
    b"refresh", b"reindex", b"release", b"revoke", b"rollback", b"savepoint", b"security", b"show",
    b"vacuum",
];

/// Words behind which `name (` is a table, a type, an alias or a definition, but no call.
#[rustfmt::skip]
const BEFORE_NO_CALL: &[&[u8]] = &[
    b"aggregate", b"as", b"copy", b"exists", b"function", b"into", b"procedure", b"recursive", b"references",
    b"routine", b"table", b"tablesample", b"view", b"with",
];

/// Words behind which TEMP means a temporary table.
const BEFORE_TEMPORARY: &[&[u8]] = &[b"create", b"global", b"into", b"local", b"replace"];

/// Words of the grammar that may stand before a parenthesis; sorted.
#[rustfmt::skip]
const SYNTAX: &[&[u8]] = &[
    b"all", b"and", b"any", b"array", b"as", b"asymmetric", b"between", b"bit", b"by", b"case", b"cast", b"char",
    b"character", b"check", b"coalesce", b"collation", b"cube", b"dec", b"decimal", b"default", b"distinct", b"else",
    b"except", b"exists", b"extract", b"float", b"from", b"greatest", b"group", b"grouping", b"having", b"ilike",
    b"in", b"intersect", b"interval", b"is", b"join", b"json_array", b"json_exists", b"json_object", b"json_query",
    b"json_scalar", b"json_serialize", b"json_table", b"json_value", b"lateral", b"least", b"like", b"limit",
    b"nchar", b"normalize", b"not", b"nullif", b"numeric", b"offset", b"on", b"only", b"or", b"overlay", b"position",
    b"precision", b"returning", b"rollup", b"row", b"select", b"similar", b"some", b"substring", b"symmetric",
    b"then", b"time", b"timestamp", b"to", b"treat", b"trim", b"union", b"unique", b"using", b"values", b"varchar",
    b"varying", b"when", b"where", b"with", b"xmlconcat", b"xmlelement", b"xmlexists", b"xmlforest", b"xmlparse",
    b"xmlpi", b"xmlroot", b"xmlserialize", b"xmltable",
];

#[cfg(test)]
mod tests;
