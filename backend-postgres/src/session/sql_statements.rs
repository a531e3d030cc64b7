//! Statements prepared with SQL (`PREPARE name AS ...`): what it takes to prepare one again on another server connection.
//!
//! Names and texts are the client's own, as `pg_prepared_statements` has them: nothing is renamed or rewritten. With each
//! goes its context, the settings that PostgreSQL reads a text by: what they were when it was prepared decides what its
//! constants mean, whatever they are when it runs. Invariants: a set is sorted and holds a name once; what cannot be
//! prepared again with the same meaning never becomes a [`SqlStatement`]. Pure.

use std::sync::Arc;

use super::{
    classify,
    lexer::{Lexer, Token},
    overlay::Overlay,
    touched::Touches,
};

/// A statement prepared with SQL.
#[derive(Debug, PartialEq, Eq)]
pub struct SqlStatement {
    /// As the catalog has it.
    pub name: Box<str>,
    /// The whole of what its client sent.
    pub text: Box<str>,
    /// The settings that it was read by.
    pub context: Overlay,
    /// What running it may leave behind.
    pub touches: Touches,
}

impl SqlStatement {
    /// From a row of `pg_prepared_statements`, if its text prepares this and does nothing else, and means the same
    /// whenever it does.
    pub fn read(name: &str, text: &str, overlay: &Overlay) -> Option<Self> {
        (*prepared_name(text.as_bytes())? == *name.as_bytes()).then(|| SqlStatement {
            name: name.into(),
            text: text.into(),
            context: context(overlay),
            touches: classify::of_prepared(text.as_bytes()),
        })
    }

    /// Whether there is a constant in it that the settings of the moment decide how to read.
    pub fn has_constants(&self) -> bool {
        Lexer::new(self.text.as_bytes()).any(|token| matches!(token, Token::String(_)))
    }

    /// Bytes that it takes to keep.
    pub fn weight(&self) -> usize {
        self.name.len() + self.text.len()
    }
}

/// Statements by name. Cloning costs a reference count.
#[derive(Clone, Debug, Default)]
pub struct SqlStatements(Option<Arc<Vec<Arc<SqlStatement>>>>);

impl SqlStatements {
    /// None of them.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SqlStatement>> {
        self.0.iter().flat_map(|statements| statements.iter())
    }

    /// The one of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<SqlStatement>> {
        let statements = self.0.as_deref()?;
        let found = statements.binary_search_by(|known| known.name.as_bytes().cmp(name));
        found.ok().map(|index| &statements[index])
    }

    /// Whether exactly this one is among them.
    pub fn has(&self, statement: &Arc<SqlStatement>) -> bool {
        let known = self.get(statement.name.as_bytes());
        known.is_some_and(|known| Arc::ptr_eq(known, statement) || known == statement)
    }

    /// Equal, found out by comparing pointers where possible.
    pub fn is_same(&self, other: &SqlStatements) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
            _ => false,
        }
    }

    /// The same and one more, which replaces another one of its name.
    pub fn with(&self, statement: Arc<SqlStatement>) -> Self {
        self.without(statement.name.as_bytes())
            .iter()
            .cloned()
            .chain([statement])
            .collect()
    }

    /// The same without the one of this name.
    pub fn without(&self, name: &[u8]) -> Self {
        let others = self.iter().filter(|known| known.name.as_bytes() != name);
        others.cloned().collect()
    }
}

impl FromIterator<Arc<SqlStatement>> for SqlStatements {
    fn from_iter<I: IntoIterator<Item = Arc<SqlStatement>>>(statements: I) -> Self {
        let mut statements: Vec<_> = statements.into_iter().collect();
        statements.sort_by(|one, other| one.name.cmp(&other.name));
        statements.dedup_by(|later, earlier| later.name == earlier.name);
        SqlStatements((!statements.is_empty()).then(|| Arc::new(statements)))
    }
}

/// The settings that decide how PostgreSQL reads a text and the constants in it, and what its names mean.
pub const CONTEXT: &[&str] = &[
    "search_path",
    "row_security",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "timezone_abbreviations",
    "default_text_search_config",
    "lc_monetary",
    "lc_numeric",
    "backslash_quote",
    "transform_null_equals",
    "array_nulls",
    "xmloption",
];

/// Those settings of a client, and as whom it acts.
pub fn context(overlay: &Overlay) -> Overlay {
    let belongs = |name: &str| CONTEXT.iter().any(|known| known.eq_ignore_ascii_case(name));
    let settings = overlay
        .iter()
        .filter(|setting| setting.is_identity() || belongs(&setting.name));
    Overlay::from_pairs(settings.map(|setting| (&*setting.name, &*setting.value)))
}

/// `DEALLOCATE` of each of them. A name is nobody's to trust: quoted, and ASCII whatever the client's encoding is.
pub fn deallocation<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        let (opening, escapes) = if name.is_ascii() { ("\"", false) } else { ("U&\"", true) };
        text.push_str("DEALLOCATE ");
        text.push_str(opening);
        for character in name.chars() {
            match character {
                '"' => text.push_str("\"\""),
                '\\' if escapes => text.push_str("\\\\"),
                character if character.is_ascii() => text.push(character),
                character => text.push_str(&format!("\\+{:06x}", u32::from(character))),
            }
        }
        text.push_str("\"; ");
    }
    text
}

/// The name that a text prepares, if that is all it does and time does not change what it means.
fn prepared_name(text: &[u8]) -> Option<Box<[u8]>> {
    let mut tokens = Lexer::new(text);
    match tokens.next()? {
        Token::Word(word) if word.eq_ignore_ascii_case(b"prepare") => {}
        _ => return None,
    }
    let name = classify::identifier(tokens.next()?)?;
    let mut ended = false;
    for token in tokens {
        match token {
            Token::Semicolon => ended = true,
            _ if ended => return None,
            Token::Unsure => return None,
            Token::String(value) if speaks_of_today(value) => return None,
            _ => {}
        }
    }
    Some(name)
}

/// Whether a constant might be read as the time at which it is read: `'now'::timestamp` is what it was at PREPARE.
fn speaks_of_today(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];
    let mut words = value.split(|byte| !byte.is_ascii_alphanumeric());
    words.any(|word| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Option<SqlStatement> {
        SqlStatement::read(name, text, &Overlay::default())
    }

    #[test]
    fn what_can_be_prepared_again() {
        for (name, text) in [
            ("p", "PREPARE p AS SELECT 1"),
            ("p", " /* x; */ prepare P (int, text) as select $1, ';' ; "),
            ("P \"x\"", "PREPARE \"P \"\"x\"\"\" AS SELECT 1;"),
            (
                "p",
                "PREPARE p AS INSERT INTO t VALUES ('known; snow') RETURNING $$nowhere$$",
            ),
            ("bücher", "PREPARE bücher AS SELECT 1"),
        ] {
            assert!(read(name, text).is_some(), "{text}");
        }
        for (name, text) in [
            ("q", "PREPARE p AS SELECT 1"),
            ("p", "PREPARE \"P\" AS SELECT 1"),
            ("p", "PREPARE p AS SELECT 1; SELECT 2"),
            ("p", "SELECT 2; PREPARE p AS SELECT 1"),
            ("p", "DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$"),
            ("p", "PREPARE p AS SELECT 'now'::timestamptz"),
            ("p", "PREPARE p AS SELECT date 'Today '"),
            ("p", ""),
            ("p", "PREPARE"),
        ] {
            assert!(read(name, text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_running_one_touches() {
        let touches = |text| read("p", text).unwrap().touches;
        assert_eq!(touches("PREPARE p (int) AS SELECT $1 + abs($1)"), Touches::NONE);
        assert_eq!(touches("PREPARE p AS INSERT INTO t VALUES (1)"), Touches::SEQUENCES);
        assert!(touches("PREPARE p AS SELECT my_function(1)").any(Touches::UNKNOWN));
        assert!(touches("PREPARE p AS SELECT set_config($1, $2, false)").any(Touches::SETTINGS));
    }

    #[test]
    fn a_set_holds_a_name_once() {
        let one = Arc::new(read("p", "PREPARE p AS SELECT 1").unwrap());
        let other = Arc::new(read("p", "PREPARE p AS SELECT 2").unwrap());
        let third = Arc::new(read("a", "PREPARE a AS SELECT 3").unwrap());
        let set = SqlStatements::default().with(one.clone()).with(third.clone());
        assert_eq!(set.iter().map(|known| &*known.name).collect::<Vec<_>>(), ["a", "p"]);
        assert!(set.has(&one) && !set.has(&other) && set.get(b"q").is_none());
        let changed = set.with(other.clone());
        assert!(changed.has(&other) && !changed.has(&one) && !changed.is_same(&set));
        assert!(changed.with(one).is_same(&set));
        assert!(set.without(b"a").without(b"p").is_same(&SqlStatements::default()));
    }

    #[test]
    fn the_context_is_what_a_text_is_read_by() {
        let overlay = Overlay::from_pairs([("work_mem", "1"), ("datestyle", "ISO"), ("a.b", "1"), ("role", "r")]);
        assert!(context(&overlay).is_same(&Overlay::from_pairs([("datestyle", "ISO"), ("role", "r")])));
    }

    #[test]
    fn names_are_quoted_in_ascii() {
        assert_eq!(
            deallocation(["p", "a\"; DROP TABLE t; --", "x\\y", "bü\\\"c"].into_iter()),
            "DEALLOCATE \"p\"; DEALLOCATE \"a\"\"; DROP TABLE t; --\"; DEALLOCATE \"x\\y\"; \
             DEALLOCATE U&\"b\\+0000fc\\\\\"\"c\"; "
        );
    }
}
