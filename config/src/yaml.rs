//! YAML (and JSON, which is YAML) as a tree that knows the position of each value.
//!
//! Invariants: at most [`limits::MAX_DEPTH`] deep and [`limits::MAX_NODES`] large, aliases expanded; plain scalars have
//! the types that `serde_yaml` gives them.

mod parse;

pub(crate) use parse::parse;

#[cfg(doc)]
use crate::limits;
use crate::problem::Place;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number and the way it was written.
    Number(f64, String),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// `!include path` as a tag; the string spelling is still a `String`.
    Include(String),
    /// The key was written twice, so that nobody can say which value is meant. An error of whoever needs it.
    Twice,
    /// Could not be had, which has been reported: nothing more is to be said about it.
    Broken,
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(place: &Place, value: Value) -> Self {
        Node {
            place: place.clone(),
            value,
        }
    }

    /// A string.
    pub(crate) fn string(place: &Place, text: impl Into<String>) -> Self {
        Node::new(place, Value::String(text.into()))
    }

    /// A mapping whose keys are where its values are.
    pub(crate) fn map(place: &Place, entries: Vec<(&str, Node)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| Entry {
            key: key.to_owned(),
            key_place: value.place.clone(),
            value,
        });
        Node::new(place, Value::Map(entries.collect()))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The entries, when this is a mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key, when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The text of a string scalar.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number, _) => Some(number),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(..) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Twice => "two values (the key is written twice)",
            Value::Include(_) | Value::Broken => "an include",
        }
    }
}
