//! SET statements: which options get which values, as far as these can be seen (TDS 6.2).

use super::{Certainty, Change, Reader, Traces, reader::Leaps};
use crate::{
    limits,
    session::{
        lexer::{Token, Whole},
        pins::Tie,
        settings::{Isolation, Key, Setting, Takes},
        switches::Switches,
    },
};

/// Behind the word SET.
#[derive(Debug, Default)]
pub(super) enum Set {
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
    Switch(Switches),
    /// Behind a word that is not known.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Transaction,
    Isolation,
    Which,
    Read,
    Repeatable,
}

impl Reader {
    pub(super) fn set(&mut self, token: Token<'_>) {
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
            (Set::Switch(switches), Token::Word("ON")) => {
                self.switch_on(switches.or_all_statistics());
                Set::Nowhere
            }
            (Set::Switch(switches), Token::Word("OFF")) => {
                self.switch_off(switches.or_all_statistics());
                Set::Nowhere
            }
            (Set::Switch(_), Token::Symbol(b';')) => Set::Nowhere,
            (Set::Switch(switches), Token::Word(word)) => Set::Switch(switches.and(word)),
            (Set::Switch(switches), _) => Set::Switch(switches),
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
        if let Some(switches) = Switches::named(word) {
            return Set::Switch(switches);
        }
        match word {
            "TRANSACTION" => Set::Isolation(Level::Transaction),
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

    fn switch_on(&mut self, switches: Switches) {
        self.found.begins.switch_on(switches);
        self.found.traces = Traces::Left;
        self.switched_on = Some((switches, self.branches));
    }

    /// What goes off for certain is over. Behind an IF nothing is certain, but that what goes on there goes off again where
    /// no other branch stands between the two: as bulk copies do it (`IF ... SET FMTONLY ON; EXEC (...); SET FMTONLY OFF`).
    fn switch_off(&mut self, switches: Switches) {
        if self.certainty.is_none() {
            self.found.begins.switch_off(switches);
            self.found.ends.switch_on(switches);
        } else if self.leaps == Leaps::None && self.switched_on == Some((switches, self.branches)) {
            self.found.begins.switch_off(switches);
        }
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

    pub(super) fn unknown(&mut self, keys: &[Key]) {
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
