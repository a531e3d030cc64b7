//! Names of custom settings (`app.tenant`) in a text. PostgreSQL lists them nowhere, so whoever wants to know their values
//! has to know their names.
//!
//! Reads code inside of string constants too (DO, functions, EXECUTE). A name that is put together only when the code
//! runs is not seen. Pure; bounded by [`limits::MAX_CUSTOM_NAMES`].

use super::lexer::{Lexer, Token};
use crate::limits;

/// Names of custom settings, in lower case; nothing for almost every statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomSettings {
    names: Vec<Box<str>>,
    others: Others,
}

/// Whether a text sets some whose names cannot be asked for: PostgreSQL takes letters beyond ASCII and any length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Others {
    #[default]
    None,
    Some,
}

impl CustomSettings {
    /// Those that a text names.
    pub fn of(text: &[u8]) -> Self {
        let mut names = CustomSettings::default();
        names.read(text, 0);
        names
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the text may set some that are not among them.
    pub fn has_others(&self) -> bool {
        self.others == Others::Some
    }

    /// Whether there may be more than there is room for.
    pub fn is_full(&self) -> bool {
        self.names.len() >= limits::MAX_CUSTOM_NAMES
    }

    /// Takes note of what may be the name of one, unless there is no room for it.
    pub fn note(&mut self, name: &[u8]) {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_custom_name(name)) else {
            return;
        };
        let names = &mut self.names;
        let is_news = !names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_news && names.len() < limits::MAX_CUSTOM_NAMES {
            names.push(name.to_ascii_lowercase().into());
        }
    }

    /// The same for a name in a text.
    fn found(&mut self, name: &[u8]) {
        if name.contains(&b'.') && !std::str::from_utf8(name).is_ok_and(is_custom_name) {
            self.others = Others::Some;
        }
        self.note(name);
    }

    fn read(&mut self, text: &[u8], depth: u8) {
        if depth > MAX_DEPTH || !text.contains(&b'.') {
            return;
        }
        let mut place = Place::Elsewhere;
        for token in Lexer::new(text) {
            if let Token::String(value) = token {
                if place == Place::Argument {
                    self.found(value);
                }
                self.read(value, depth + 1);
            }
            place = place.after(token, self);
        }
        place.end(self);
    }
}

/// Code in strings in code.
const MAX_DEPTH: u8 = 3;

/// Where in a text a name may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// Behind SET or RESET: the name, as far as it has come.
    Name(Vec<u8>),
    /// Behind `set_config`.
    Function,
    /// Behind its parenthesis.
    Argument,
}

impl Place {
    fn after(self, token: Token<'_>, names: &mut CustomSettings) -> Place {
        match (self, token) {
            (Place::Name(name), Token::Word(word)) if name.is_empty() && word.eq_ignore_ascii_case(b"session") => {
                Place::Name(name)
            }
            (Place::Name(name), Token::Word(word) | Token::Quoted(word))
                if (name.is_empty() || name.ends_with(b".")) && name.len() + word.len() <= limits::MAX_CUSTOM_NAME =>
            {
                Place::Name([&name[..], word].concat())
            }
            (Place::Name(name), Token::Dot) if name.len() < limits::MAX_CUSTOM_NAME => {
                Place::Name([&name[..], b"."].concat())
            }
            (Place::Name(name), Token::Word(_) | Token::Quoted(_)) if name.is_empty() || name.ends_with(b".") => {
                // Longer than any that is asked for.
                names.others = Others::Some;
                Place::Elsewhere
            }
            (Place::Name(_), Token::Dot) => {
                names.others = Others::Some;
                Place::Elsewhere
            }
            (Place::Function, Token::Open) => Place::Argument,
            (place, token) => {
                place.end(names);
                match token {
                    Token::Word(word) if word.eq_ignore_ascii_case(b"set") || word.eq_ignore_ascii_case(b"reset") => {
                        Place::Name(Vec::new())
                    }
                    Token::Word(word) if word.eq_ignore_ascii_case(b"set_config") => Place::Function,
                    _ => Place::Elsewhere,
                }
            }
        }
    }

    fn end(self, names: &mut CustomSettings) {
        if let Place::Name(name) = self {
            names.found(&name);
        }
    }
}

/// Whether this can be the name of a custom setting, and not one that [`is_custom_name`].
pub(crate) fn is_odd_name(name: &[u8]) -> bool {
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || *byte >= 0x80;
    let belongs = |byte: &u8| begins(byte) || byte.is_ascii_digit() || *byte == b'$';
    let is_part = |part: &[u8]| part.first().is_some_and(begins) && part.iter().all(belongs);
    name.contains(&b'.')
        && name.split(|byte| *byte == b'.').all(is_part)
        && !std::str::from_utf8(name).is_ok_and(is_custom_name)
}

/// Whether this can be the name of a custom setting, and be put into a text as it is.
pub(crate) fn is_custom_name(name: &str) -> bool {
    name.len() <= limits::MAX_CUSTOM_NAME
        && name.contains('.')
        && name.split('.').all(|part| {
            part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        CustomSettings::of(text.as_bytes()).iter().map(str::to_owned).collect()
    }

    #[test]
    fn names_in_statements_and_in_code() {
        for text in [
            "SET app.tenant = 'x.y'",
            "set session App.Tenant to 5",
            "RESET app.tenant",
            "SELECT 1; SET \"app\".tenant TO 'a'",
            "SELECT set_config('app.tenant', $1, false)",
            "select pg_catalog.set_config('App.Tenant', 'a.b', false), x.y from x",
            "DO $$ BEGIN PERFORM set_config('app.tenant', 'x', false); END $$",
            "DO $$ BEGIN EXECUTE 'SET app.tenant = 1'; END $$",
            "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS $$ SELECT set_config('app.tenant', 'a.b', false) FROM a.b $$",
        ] {
            assert_eq!(names(text), ["app.tenant"], "{text}");
        }
        for text in [
            "",
            "SET work_mem = '1.5'",
            "SELECT a.b FROM c.d",
            "SET search_path = a.b, c",
            "SET a.b.",
            "UPDATE",
        ] {
            assert!(!names(text).iter().any(|name| name == "app.tenant"), "{text}");
        }
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_not_overlooked() {
        let long = format!("SET {}.x = 1", "a".repeat(limits::MAX_CUSTOM_NAME));
        for text in [
            &long,
            "SET app.mändant = 'x'",
            "SET \"a b\".c = 1",
            "DO $$ BEGIN PERFORM set_config('app.mändant', 'x', false); END $$",
        ] {
            assert!(CustomSettings::of(text.as_bytes()).has_others(), "{text}");
        }
        assert!(!CustomSettings::of(b"SET app.tenant = 'a.b c'; SET search_path = a.b").has_others());
    }

    #[test]
    fn a_text_cannot_grow_the_list_without_end() {
        let text: String = (0..1000).map(|n| format!("SET a.b{n} = 1;")).collect();
        assert_eq!(names(&text).len(), limits::MAX_CUSTOM_NAMES);
        let long = format!("SET {}", "a.".repeat(100_000));
        assert!(names(&long).is_empty());
    }

    #[test]
    fn what_is_an_odd_name() {
        let long = format!("a.{}", "b".repeat(limits::MAX_CUSTOM_NAME));
        for name in ["app.mändant", "ä.b", &long] {
            assert!(is_odd_name(name.as_bytes()), "{name}");
        }
        for name in ["app.tenant", "1.5", "a.b c", "text", "a.", ".", "ä", ""] {
            assert!(!is_odd_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_a_name() {
        assert!(
            ["app.tenant", "a.b.c", "_a.b$1"]
                .iter()
                .all(|name| is_custom_name(name))
        );
        assert!(
            !["tenant", "a.", ".b", "a.'b", "a.b c", "1.a", "ä.b", ""]
                .iter()
                .any(|name| is_custom_name(name))
        );
    }
}
