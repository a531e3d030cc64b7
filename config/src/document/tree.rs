//! YAML with its includes: what a file says, and which part of it stands in which other file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Number, Value, json};

use crate::{
    context::Context,
    files::{Failure, Files, GRAPHQL_KEYS, include_target, real},
    yaml::{self, Node},
};

/// A value, or the file that it stands in.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Scalar(Value),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    Include(Box<Include>),
}

/// `!include target`
#[derive(Clone, Debug)]
pub(super) struct Include {
    /// The path as it is written.
    pub(super) target: String,
    /// The file, if it can be included.
    pub(super) file: Option<PathBuf>,
    /// What it says; a file that is missing says nothing.
    pub(super) content: Option<(String, Node, Tree)>,
}

impl Tree {
    /// The tree of what stands in `file`.
    pub(super) fn of(cx: &mut Context<'_>, files: &mut Files, node: &Node, file: &Path) -> Result<Tree, Failure> {
        let mut chain = vec![real(file)];
        Walk { cx, files }.tree(node, file, &mut chain, false)
    }

    /// With everything that is included.
    pub(super) fn json(&self) -> Value {
        match self {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => items.iter().map(Tree::json).collect(),
            Tree::Map(entries) => Value::Object(entries.iter().map(|(key, tree)| (key.clone(), tree.json())).collect()),
            Tree::Include(include) => include.json(),
        }
    }

    /// Counts each included file once for each place that includes it.
    pub(super) fn count_files(&self, uses: &mut BTreeMap<PathBuf, u32>) {
        match self {
            Tree::Scalar(_) => {}
            Tree::List(items) => items.iter().for_each(|item| item.count_files(uses)),
            Tree::Map(entries) => entries.iter().for_each(|(_, tree)| tree.count_files(uses)),
            Tree::Include(include) => {
                if let Some(file) = &include.file {
                    *uses.entry(real(file)).or_default() += 1;
                }
                if let Some((_, _, tree)) = &include.content {
                    tree.count_files(uses);
                }
            }
        }
    }
}

impl Include {
    pub(super) fn json(&self) -> Value {
        // A pooler tolerates that a file with tables is missing: there are none then.
        self.content.as_ref().map_or(json!([]), |(_, _, tree)| tree.json())
    }

    /// As it is written, in its quoted form.
    pub(super) fn raw(&self) -> Value {
        let target = &self.target;
        Value::String(match target.contains(char::is_whitespace) {
            true => format!("!include \"{target}\""),
            false => format!("!include {target}"),
        })
    }
}

/// A file without includes, as JSON with its includes in their quoted form.
pub(super) fn raw(node: &Node) -> Option<Value> {
    Some(match &node.value {
        yaml::Value::List(items) => Value::Array(items.iter().map(raw).collect::<Option<_>>()?),
        yaml::Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| Some((entry.key.clone(), raw(&entry.value)?)));
            Value::Object(entries.collect::<Option<Map<_, _>>>()?)
        }
        _ => match include_target(node) {
            Some(target) => Include {
                target,
                file: None,
                content: None,
            }
            .raw(),
            None => scalar(&node.value)?,
        },
    })
}

/// `None` for what is no value: a key that is written twice.
fn scalar(value: &yaml::Value) -> Option<Value> {
    match value {
        yaml::Value::Null => Some(Value::Null),
        yaml::Value::Bool(value) => Some(Value::Bool(*value)),
        yaml::Value::Number(value, text) => Some(number(*value, text)),
        yaml::Value::String(text) => Some(Value::String(text.clone())),
        _ => None,
    }
}

/// Whole numbers whole and others as near as JSON has them; what JSON has no number for, as it is written.
fn number(value: f64, text: &str) -> Value {
    if let Ok(number) = serde_json::from_str::<Number>(text) {
        return Value::Number(number);
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    match whole {
        Some(whole) => Value::from(whole),
        None => Number::from_f64(value).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

struct Walk<'a, 'c, 'e> {
    cx: &'a mut Context<'e>,
    files: &'c mut Files,
}

impl Walk<'_, '_, '_> {
    fn tree(
        &mut self,
        node: &Node,
        file: &Path,
        chain: &mut Vec<PathBuf>,
        is_tolerated: bool,
    ) -> Result<Tree, Failure> {
        match &node.value {
            yaml::Value::List(items) => {
                let items = items.iter().map(|item| self.tree(item, file, chain, is_tolerated));
                Ok(Tree::List(items.collect::<Result<_, _>>()?))
            }
            yaml::Value::Map(entries) => {
                let entries = entries.iter().map(|entry| {
                    let is_tolerated = is_tolerated || GRAPHQL_KEYS.contains(&entry.key.as_str());
                    Ok((entry.key.clone(), self.tree(&entry.value, file, chain, is_tolerated)?))
                });
                Ok(Tree::Map(entries.collect::<Result<_, Failure>>()?))
            }
            value => match include_target(node) {
                Some(target) => self.include(node, target, file, chain, is_tolerated),
                None => scalar(value).map(Tree::Scalar).ok_or_else(|| {
                    Failure::Wrong(
                        node.place.clone(),
                        format!("this is {}, not one value", node.describe()),
                    )
                }),
            },
        }
    }

    fn include(
        &mut self,
        node: &Node,
        target: String,
        file: &Path,
        chain: &mut Vec<PathBuf>,
        is_tolerated: bool,
    ) -> Result<Tree, Failure> {
        let depth = chain.len();
        let found = self
            .files
            .include(self.cx, &target, file, chain)
            .and_then(|(included, path)| {
                let shown = self.files.shown(&path);
                let text = self.files.read(self.cx, &path, &shown)?;
                chain.push(real(&path));
                let tree = self.tree(&included, &path, chain, is_tolerated)?;
                Ok((path, (text, included, tree)))
            });
        chain.truncate(depth);
        match found {
            Ok((file, content)) => Ok(Tree::Include(Box::new(Include {
                target,
                file: Some(file),
                content: Some(content),
            }))),
            Err(_) if is_tolerated => Ok(Tree::Include(Box::new(Include {
                target,
                file: None,
                content: None,
            }))),
            Err(Failure::Missing) => {
                let message = format!("!include {target}: there is no such file");
                Err(Failure::Wrong(node.place.clone(), message))
            }
            Err(Failure::Refused(why)) => Err(Failure::Wrong(node.place.clone(), format!("!include {target}: {why}"))),
            Err(wrong) => Err(wrong),
        }
    }
}
