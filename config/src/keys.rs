//! What the metadata may say: each key with its type, default, origin and meaning.
//!
//! The tables below are what the readers themselves ask (which keys are known, within which bounds a number may be), and
//! what the configuration reference is printed from, so that neither can say what the other does not.

pub(crate) mod admin;
pub mod environment;
pub(crate) mod layer;
pub(crate) mod listener;
pub(crate) mod pool;
pub(crate) mod source;
pub(crate) mod telemetry;
pub(crate) mod user;

use std::ops::RangeInclusive;

/// A key of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What counts without it.
    pub default: Default,
    /// Whose word it is.
    pub origin: Origin,
    /// What it means, in Markdown, on one line.
    pub about: &'static str,
}

/// What a value may be. Every scalar may also be `{from_env: NAME}`.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text that is not empty.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number, bounds included.
    Integer(u32, u32),
    /// Seconds, fractions allowed, and the least of them.
    Seconds(f64),
    /// Seconds, fractions allowed; `null` and 0 are no limit.
    Limit,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// A text that must not be shown; also `{dynamic_from_file: /path}`.
    Secret,
    /// PEM text; also `{dynamic_from_file: /path}`.
    Pem,
    /// A list of texts.
    Names,
    /// A mapping, described in a table of this title, or in the key's own words when there is none.
    Group(&'static str),
    /// A list of such mappings.
    List(&'static str),
    /// What the key's own words say.
    Other(&'static str),
}

/// What counts when a key is missing or `null`.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// The key must be there.
    Required,
    /// Nothing.
    None,
    /// The value of the code's own default.
    Value(fn() -> String),
    /// In words.
    Words(&'static str),
}

/// Whose word a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Hasura has it, with this meaning.
    Hasura,
    /// Hasura ignores it where it may stand.
    Weir,
}

impl Key {
    /// A key that Hasura has.
    pub(crate) const fn hasura(name: &'static str, kind: Kind, default: Default, about: &'static str) -> Self {
        Key {
            name,
            kind,
            default,
            origin: Origin::Hasura,
            about,
        }
    }

    /// A key of the gateway's own.
    pub(crate) const fn weir(name: &'static str, kind: Kind, default: Default, about: &'static str) -> Self {
        Key {
            name,
            kind,
            default,
            origin: Origin::Weir,
            about,
        }
    }

    /// The bounds of a whole number; a key of another kind has none.
    pub(crate) fn bounds(&self) -> RangeInclusive<u32> {
        match self.kind {
            Kind::Integer(least, most) => least..=most,
            _ => 0..=u32::MAX,
        }
    }

    /// The fewest seconds; a key of another kind may have none at all.
    pub(crate) fn least_seconds(&self) -> f64 {
        match self.kind {
            Kind::Seconds(least) => least,
            _ => 0.0,
        }
    }
}

/// The names of a table's keys.
pub(crate) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

/// Seconds as they are written.
pub(crate) fn seconds(duration: Option<std::time::Duration>) -> String {
    duration.map_or("none".to_owned(), |duration| duration.as_secs_f64().to_string())
}
