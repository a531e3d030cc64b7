//! New values into old files, line by line.
//!
//! Lines are exchanged as far as block style lets one see where a value begins and ends; the result is read again, and
//! when it does not say what it should (flow style, anchors, an unusual layout), the file is written anew as a whole. So
//! cleverness costs comments at worst, never meaning.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Changes, Content, Part, Unwritable,
    render::{self, Format},
    tree::{self, Include, Tree},
};
use crate::{
    files::real,
    yaml::{self, Node},
};

/// Collects what changes.
pub(super) struct Editor<'a> {
    root: &'a Path,
    /// How many places say what is in each file.
    uses: BTreeMap<PathBuf, u32>,
    changes: &'a mut Changes,
}

impl<'a> Editor<'a> {
    pub(super) fn new(root: &'a Path, uses: BTreeMap<PathBuf, u32>, changes: &'a mut Changes) -> Self {
        Editor { root, uses, changes }
    }

    fn is_shared(&self, file: &Path) -> bool {
        self.uses.get(&real(file)).is_some_and(|uses| *uses > 1)
    }

    /// Makes a file say `value`, includes and all.
    pub(super) fn file(&mut self, part: &Part, value: &Value) -> Result<(), Unwritable> {
        match &part.content {
            Some(Content { text, node, tree }) => {
                let written = self.with_includes(tree, value)?;
                let after = edited(text, node, &written)?;
                self.changes.add(&part.path, Some(text.clone()), Some(after));
            }
            None => {
                let after = checked(render::file(value, Format::Yaml), value)?;
                self.changes.add(&part.path, None, Some(after));
            }
        }
        Ok(())
    }

    /// `value` with what stands in files of its own replaced by its include, and those files changed.
    fn with_includes(&mut self, old: &Tree, value: &Value) -> Result<Value, Unwritable> {
        match (old, value) {
            (Tree::Include(include), _) => self.include(include, value),
            (Tree::Map(entries), Value::Object(fields)) => {
                let mut written = Map::new();
                for (key, value) in fields {
                    let old = entries.iter().find(|(known, _)| known == key);
                    let value = match old {
                        Some((_, old)) => self.with_includes(old, value)?,
                        None => value.clone(),
                    };
                    written.insert(key.clone(), value);
                }
                let gone = entries.iter().filter(|(key, _)| !fields.contains_key(key));
                gone.for_each(|(_, tree)| self.forget(tree));
                Ok(Value::Object(written))
            }
            (Tree::List(items), Value::Array(values)) => {
                let pairs = pair(items, values);
                let mut written = Vec::with_capacity(values.len());
                for (value, old) in values.iter().zip(&pairs) {
                    written.push(match old {
                        Some(index) => self.with_includes(&items[*index], value)?,
                        None => value.clone(),
                    });
                }
                let gone = items
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| !pairs.contains(&Some(*index)));
                gone.for_each(|(_, tree)| self.forget(tree));
                Ok(Value::Array(written))
            }
            _ => {
                self.forget(old);
                Ok(value.clone())
            }
        }
    }

    fn include(&mut self, include: &Include, value: &Value) -> Result<Value, Unwritable> {
        if include.json() == *value {
            return Ok(include.raw());
        }
        let (Some(file), Some((text, node, tree))) = (&include.file, &include.content) else {
            return Ok(value.clone());
        };
        if self.is_shared(file) {
            return Err(Unwritable(format!(
                "{} is included in more than one place, and this would change it in one of them: give it a file of its own there first",
                file.display()
            )));
        }
        let after = match (tree, value) {
            // A file that is not YAML is included as its text.
            (Tree::Scalar(Value::String(old)), Value::String(new)) if old == text => new.clone(),
            _ => {
                let written = self.with_includes(tree, value)?;
                edited(text, node, &written)?
            }
        };
        self.changes.add(file, Some(text.clone()), Some(after));
        Ok(include.raw())
    }

    /// Removes the files that only what is gone has included.
    fn forget(&mut self, tree: &Tree) {
        match tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => items.iter().for_each(|item| self.forget(item)),
            Tree::Map(entries) => entries.iter().for_each(|(_, tree)| self.forget(tree)),
            Tree::Include(include) => {
                if let (Some(file), Some((text, _, tree))) = (&include.file, &include.content) {
                    self.forget(tree);
                    if file.starts_with(self.root) && !self.is_shared(file) {
                        self.changes.add(file, Some(text.clone()), None);
                    }
                }
            }
        }
    }
}

/// Which of the old items each value is: an equal one, else the one of its name, else one that differs in its name only.
fn pair(items: &[Tree], values: &[Value]) -> Vec<Option<usize>> {
    let old: Vec<Value> = items.iter().map(Tree::json).collect();
    let mut pairs: Vec<Option<usize>> = vec![None; values.len()];
    let rules: [fn(&Value, &Value) -> bool; 3] = [
        |old, new| old == new,
        |old, new| identity(old).is_some() && identity(old) == identity(new),
        |old, new| old.get("name").is_some() && without_name(old) == without_name(new),
    ];
    for is_same in rules {
        for (position, value) in values.iter().enumerate() {
            if pairs[position].is_none() {
                let free = |index: &usize| !pairs.contains(&Some(*index));
                pairs[position] = (0..old.len()).filter(free).find(|index| is_same(&old[*index], value));
            }
        }
    }
    pairs
}

fn identity(value: &Value) -> Option<&Value> {
    ["name", "table", "function", "collection", "role_name"]
        .iter()
        .find_map(|key| value.get(key))
}

fn without_name(value: &Value) -> Option<Map<String, Value>> {
    let mut fields = value.as_object()?.clone();
    fields.shift_remove("name");
    Some(fields)
}

/// The text with as few lines exchanged as possible.
fn edited(text: &str, node: &Node, value: &Value) -> Result<String, Unwritable> {
    let format = Format::of(text);
    if format == Format::Yaml {
        let lines: Vec<&str> = text.lines().collect();
        let all = Range {
            from: 0,
            to: lines.len(),
        };
        let edited = Lines { lines: &lines }
            .edit(node, value, all)
            .map(|lines| lines.join("\n") + "\n");
        if let Some(edited) = edited.filter(|edited| says(edited, value)) {
            return Ok(edited);
        }
    }
    checked(render::file(value, format), value)
}

/// What is written is what is read; JSON where our YAML cannot say it.
fn checked(text: String, value: &Value) -> Result<String, Unwritable> {
    if says(&text, value) {
        return Ok(text);
    }
    let json = render::file(value, Format::Json);
    match says(&json, value) {
        true => Ok(json),
        false => Err(Unwritable(
            "the metadata holds a value that cannot be written to a file and read again (a text that begins with !include, or nesting without end)".to_owned(),
        )),
    }
}

fn says(text: &str, value: &Value) -> bool {
    let parsed = yaml::parse(&"edited".into(), text);
    parsed.ok().and_then(|node| tree::raw(&node)).as_ref() == Some(value)
}

/// Lines `from..to`.
#[derive(Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
}

struct Lines<'a> {
    lines: &'a [&'a str],
}

impl Lines<'_> {
    /// The lines of `range`, in which `node` stands, saying `value`. `None` where that cannot be seen.
    fn edit(&self, node: &Node, value: &Value, range: Range) -> Option<Vec<String>> {
        match (&node.value, value) {
            (yaml::Value::List(items), Value::Array(values)) if !items.is_empty() && !values.is_empty() => {
                self.list(items, values, range)
            }
            (yaml::Value::Map(entries), Value::Object(fields)) if !entries.is_empty() && !fields.is_empty() => {
                self.map(entries, fields, range)
            }
            _ => None,
        }
    }

    fn list(&self, items: &[Node], values: &[Value], range: Range) -> Option<Vec<String>> {
        let mut starts = Vec::new();
        let mut indent = None;
        for item in items {
            let line = self.dash(item, range)?;
            let here = indent_of(self.lines[line]);
            if *indent.get_or_insert(here) != here {
                return None;
            }
            starts.push(line);
        }
        let indent = indent?;
        let tail = self.tail(range, indent);
        let range = Range { to: tail.from, ..range };
        let parts = self.parts(&starts, range)?;
        let old: Vec<Value> = items.iter().map(tree::raw).collect::<Option<_>>()?;
        let trees: Vec<Tree> = old.iter().cloned().map(Tree::Scalar).collect();
        let mut edited = self.text(Range {
            from: range.from,
            to: parts.first()?.from,
        });
        for (value, pair) in values.iter().zip(pair(&trees, values)) {
            match pair {
                Some(index) if old[index] == *value => edited.extend(self.text(parts[index])),
                Some(index) => {
                    let start = starts[index];
                    edited.extend(self.text(Range {
                        from: parts[index].from,
                        to: start,
                    }));
                    let body = Range {
                        from: start,
                        to: parts[index].to,
                    };
                    // The mapping begins on the line of its dash: its first key is where the others are.
                    let inner = self.edit(&items[index], value, body);
                    edited.extend(inner.unwrap_or_else(|| indented(render::item(value), indent)));
                }
                None => edited.extend(indented(render::item(value), indent)),
            }
        }
        edited.extend(self.text(tail));
        Some(edited)
    }

    fn map(&self, entries: &[yaml::Entry], fields: &Map<String, Value>, range: Range) -> Option<Vec<String>> {
        let starts: Vec<usize> = entries.iter().map(|entry| line_of(entry.key_place.line)).collect();
        let column = column_of(entries.first()?.key_place.column);
        if entries.iter().any(|entry| column_of(entry.key_place.column) != column) {
            return None;
        }
        // Two keys on one line are flow style.
        if starts.windows(2).any(|pair| pair[0] >= pair[1]) {
            return None;
        }
        let tail = self.tail(range, column);
        let range = Range { to: tail.from, ..range };
        let parts = self.parts(&starts, range)?;
        let lead: String = self.lines.get(starts[0])?.chars().take(column).collect();
        let mut edited = self.text(Range {
            from: range.from,
            to: parts.first()?.from,
        });
        let mut pieces: Vec<Vec<String>> = Vec::new();
        for (key, value) in fields {
            let position = entries.iter().position(|entry| entry.key == *key);
            let Some(position) = position else {
                pieces.push(indented(render::entry(key, value), column));
                continue;
            };
            let (entry, start, part) = (&entries[position], starts[position], parts[position]);
            if tree::raw(&entry.value)? == *value {
                let mut lines = self.text(part);
                unlead(&mut lines, start - part.from, &lead, column);
                pieces.push(lines);
                continue;
            }
            let mut lines = self.text(Range {
                from: part.from,
                to: start,
            });
            let below = line_of(entry.value.place.line) > start;
            let inner = below.then(|| {
                self.edit(
                    &entry.value,
                    value,
                    Range {
                        from: start + 1,
                        to: part.to,
                    },
                )
            });
            match inner.flatten() {
                Some(inner) => {
                    lines.extend(self.text(Range {
                        from: start,
                        to: start + 1,
                    }));
                    unlead(&mut lines, start - part.from, &lead, column);
                    lines.extend(inner);
                }
                None => {
                    lines.extend(indented(render::entry(key, value), column));
                }
            }
            pieces.push(lines);
        }
        // What stood before the first key (`- `) stands there again.
        if let Some(first) = pieces.first_mut() {
            let line = first.iter_mut().find(|line| !is_aside(line))?;
            let rest: String = line.chars().skip(column).collect();
            *line = lead + &rest;
        }
        edited.extend(pieces.into_iter().flatten());
        edited.extend(self.text(tail));
        Some(edited)
    }

    /// From the lines on which things start to the lines that belong to them: comments and blank lines belong to what
    /// follows them.
    fn parts(&self, starts: &[usize], range: Range) -> Option<Vec<Range>> {
        let mut parts: Vec<Range> = Vec::new();
        for (position, &start) in starts.iter().enumerate() {
            let floor = if position == 0 {
                range.from
            } else {
                starts[position - 1] + 1
            };
            if start < floor || start >= range.to {
                return None;
            }
            let mut from = start;
            // What is above the first one is about the whole.
            while position > 0 && from > floor && is_aside(self.lines[from - 1]) {
                from -= 1;
            }
            if let Some(last) = parts.last_mut() {
                last.to = from;
            }
            parts.push(Range { from, to: range.to });
        }
        Some(parts)
    }

    /// Comments and blank lines at the end, no deeper than the things themselves: they stay at the end.
    fn tail(&self, range: Range, indent: usize) -> Range {
        let is_tail = |line: &str| is_aside(line) && (line.trim().is_empty() || indent_of(line) <= indent);
        let mut from = range.to;
        while from > range.from && is_tail(self.lines[from - 1]) {
            from -= 1;
        }
        Range { from, ..range }
    }

    fn text(&self, range: Range) -> Vec<String> {
        let lines = self.lines.get(range.from..range.to).unwrap_or_default();
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    /// The line of an item's dash.
    fn dash(&self, item: &Node, range: Range) -> Option<usize> {
        let line = line_of(item.place.line);
        let is_dash = |line: usize| {
            let text = self.lines.get(line).map(|line| line.trim_start());
            text.is_some_and(|text| text == "-" || text.starts_with("- "))
        };
        (range.from..=line).rev().find(|line| is_dash(*line))
    }
}

/// A line that has lost what stood before the first key is a line like the others.
fn unlead(lines: &mut [String], position: usize, lead: &str, column: usize) {
    if let Some(line) = lines.get_mut(position)
        && let Some(rest) = line.strip_prefix(lead)
    {
        *line = " ".repeat(column) + rest;
    }
}

fn is_aside(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

fn indented(lines: Vec<String>, by: usize) -> Vec<String> {
    let indent = " ".repeat(by);
    let lines = lines.into_iter();
    lines
        .map(|line| {
            if line.is_empty() {
                line
            } else {
                format!("{indent}{line}")
            }
        })
        .collect()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn line_of(number: u32) -> usize {
    (number as usize).saturating_sub(1)
}

fn column_of(number: u32) -> usize {
    (number as usize).saturating_sub(1)
}
