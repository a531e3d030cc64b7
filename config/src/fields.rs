//! Reading mappings: known keys, misspelt keys, missing keys.

use crate::{
    context::Context,
    keys::{self, Key},
    problem::Place,
    quote::shorten,
    suggest,
    yaml::{Node, Value},
};

/// A mapping whose keys have been checked.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    node: &'n Node,
}

impl<'n> Fields<'n> {
    /// Checks that `node` is a mapping and reports keys that are not known. `what` names it in messages.
    pub(crate) fn of(cx: &mut Context<'_>, node: &'n Node, what: &str, known: &[Key]) -> Option<Self> {
        let fields = Self::unchecked(cx, node, what)?;
        for entry in node.entries() {
            if !known.iter().any(|key| key.name == entry.key) {
                let known = keys::names(known);
                cx.lint(&entry.key_place, unknown_key(&entry.key, &format!("in {what}"), &known));
            }
        }
        Some(fields)
    }

    /// Checks only that `node` is a mapping.
    pub(crate) fn unchecked(cx: &mut Context<'_>, node: &'n Node, what: &str) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Fields { node }),
            Value::Broken => None,
            _ => {
                cx.error(
                    &node.place,
                    format!("{what} must be a mapping, got {}", node.describe()),
                );
                None
            }
        }
    }

    /// The value of a key, `null` included.
    pub(crate) fn any(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key)
    }

    /// The value of a key; `null` counts as missing.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key).filter(|node| !node.is_null())
    }

    /// The value of a key that must be there.
    pub(crate) fn required(&self, cx: &mut Context<'_>, key: &str, what: &str) -> Option<&'n Node> {
        let value = self.get(key);
        if value.is_none() {
            cx.error(&self.node.place, format!("{what} has no {key}"));
        }
        value
    }

    /// Where the mapping begins.
    pub(crate) fn place(&self) -> &'n Place {
        &self.node.place
    }
}

/// The message about a key that nobody knows; `where_` is like `in pool_settings`.
pub(crate) fn unknown_key(key: &str, where_: &str, known: &[&str]) -> String {
    match suggest::nearest(key, known.iter().copied()) {
        Some(nearest) => format!("unknown key \"{}\" {where_}, did you mean \"{nearest}\"?", shorten(key)),
        None => format!("unknown key \"{}\" {where_} is ignored", shorten(key)),
    }
}

/// The items of a list; `what` names it in messages.
pub(crate) fn list<'n>(cx: &mut Context<'_>, node: &'n Node, what: &str) -> Option<&'n [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        Value::Broken => None,
        _ => {
            cx.error(&node.place, format!("{what} must be a list, got {}", node.describe()));
            None
        }
    }
}
