//! Reads files of the metadata folder and resolves `!include`.
//!
//! Invariants: nothing outside the metadata folder is read through an include, symbolic links resolved; no file
//! includes itself; what cannot be had becomes `Value::Broken` with its problem reported once.
//!
//! Hasura's CLI checks neither escapes nor cycles, and resolves includes below `tables` and `functions` only. We resolve
//! them below every key, and tolerate anything that is wrong with what a pooler does not need.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::{
    context::Context,
    limits,
    problem::{Place, Severity},
    quote::shorten,
    yaml::{self, Node, Value},
};

/// The keys of a source that describe the GraphQL API. A pooler does not need them.
pub(crate) const GRAPHQL_KEYS: [&str; 5] = [
    "tables",
    "functions",
    "logical_models",
    "native_queries",
    "stored_procedures",
];

/// The metadata folder.
pub(crate) struct Files {
    /// The folder, with symbolic links resolved when it exists.
    root: PathBuf,
    read: usize,
}

/// Why a file could not be had.
pub(crate) enum Failure {
    /// It does not exist.
    Missing,
    /// An include that is not followed, and why.
    Refused(String),
    /// Something else, reported at this place.
    Wrong(Place, String),
}

/// How much an include matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// Below [`GRAPHQL_KEYS`].
    Tolerated,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Files {
            root: root.canonicalize().unwrap_or_else(|_| root.to_owned()),
            read: 0,
        }
    }

    /// How a path is shown: relative to the metadata folder, if it is in there.
    pub(crate) fn shown(&self, path: &Path) -> Arc<str> {
        let path = real(path);
        path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into()
    }

    /// Reads and parses a file. Includes are not resolved yet.
    pub(crate) fn parse(&mut self, cx: &mut Context<'_>, path: &Path) -> Result<Node, Failure> {
        let shown = self.shown(path);
        let text = self.read(cx, path, &shown)?;
        yaml::parse(&shown, &text).or_else(|error| {
            // JSON that YAML's grammar does not cover (surrogate pairs, very long keys): readable, but without positions.
            let json = path.extension().is_some_and(|extension| extension == "json");
            let value = json
                .then(|| serde_json::from_str::<serde_json::Value>(&text).ok())
                .flatten();
            value
                .map(|value| from_json(&Place::whole(shown.clone()), value))
                .ok_or(Failure::Wrong(error.place, error.message))
        })
    }

    /// Replaces the node by what it includes, if it is an include; nothing below it. `file` is where the node stands.
    pub(crate) fn resolve_here(&mut self, cx: &mut Context<'_>, node: &mut Node, file: &Path) -> PathBuf {
        let mut chain = vec![real(file)];
        let included = self.follow(cx, node, file, &mut chain, Need::Required);
        included.unwrap_or_else(|| file.to_owned())
    }

    /// Replaces all includes in the tree. `file` is the file that the tree stands in.
    pub(crate) fn resolve(&mut self, cx: &mut Context<'_>, node: &mut Node, file: &Path) {
        let mut chain = vec![real(file)];
        self.walk(cx, node, file, &mut chain, Need::Required);
    }

    fn walk(&mut self, cx: &mut Context<'_>, node: &mut Node, file: &Path, chain: &mut Vec<PathBuf>, need: Need) {
        let depth = chain.len();
        let included = self.follow(cx, node, file, chain, need);
        let file = included.as_deref().unwrap_or(file);
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.walk(cx, item, file, chain, need)),
            Value::Map(entries) => {
                for entry in entries {
                    let need = if GRAPHQL_KEYS.contains(&entry.key.as_str()) {
                        Need::Tolerated
                    } else {
                        need
                    };
                    self.walk(cx, &mut entry.value, file, chain, need);
                }
            }
            _ => {}
        }
        chain.truncate(depth);
    }

    /// Replaces a node that is an include, and says which file its content now stands in.
    fn follow(
        &mut self,
        cx: &mut Context<'_>,
        node: &mut Node,
        file: &Path,
        chain: &mut Vec<PathBuf>,
        need: Need,
    ) -> Option<PathBuf> {
        let mut standing = None;
        // An included file may be nothing but another include.
        while let Some(target) = include_target(node) {
            let file = standing.as_deref().unwrap_or(file);
            match self.include(cx, &target, file, chain) {
                Ok((value, path)) => {
                    chain.push(real(&path));
                    *node = value;
                    standing = Some(path);
                }
                Err(failure) => {
                    self.give_up(cx, node, failure, &target, need);
                    return None;
                }
            }
        }
        standing
    }

    fn give_up(&mut self, cx: &mut Context<'_>, node: &mut Node, failure: Failure, target: &str, need: Need) {
        let severity = if need == Need::Tolerated {
            Severity::Warning
        } else {
            Severity::Error
        };
        match failure {
            Failure::Missing if need == Need::Tolerated => {}
            Failure::Missing => {
                let message = format!("!include {}: there is no such file", shorten(target));
                cx.report(severity, &node.place, message);
            }
            Failure::Refused(why) => {
                let message = format!("!include {}: {why}", shorten(target));
                cx.report(severity, &node.place, message);
            }
            Failure::Wrong(place, message) => cx.report(severity, &place, message),
        }
        node.value = Value::Broken;
    }

    /// What a node includes, parsed, and where it stands.
    pub(crate) fn include(
        &mut self,
        cx: &mut Context<'_>,
        target: &str,
        file: &Path,
        chain: &[PathBuf],
    ) -> Result<(Node, PathBuf), Failure> {
        let refuse = |message: String| Err(Failure::Refused(message));
        let folder = file.parent().unwrap_or(Path::new(""));
        let path = normal(&real(folder).join(target));
        if target.is_empty()
            || !path.starts_with(&self.root)
            || path.canonicalize().is_ok_and(|real| !real.starts_with(&self.root))
        {
            return refuse("the file is outside of the metadata directory".to_owned());
        }
        if chain.contains(&real(&path)) {
            let names: Vec<_> = chain.iter().chain([&path]).map(|path| self.shown(path)).collect();
            return refuse(format!(
                "the files include each other in a circle ({})",
                names.join(" -> ")
            ));
        }
        if chain.len() > limits::MAX_INCLUDE_DEPTH {
            return refuse(format!(
                "more than {} files include one another",
                limits::MAX_INCLUDE_DEPTH
            ));
        }
        if path.extension().is_some_and(|extension| extension == "yaml") {
            return Ok((self.parse(cx, &path)?, path));
        }
        let shown = self.shown(&path);
        let text = self.read(cx, &path, &shown)?;
        // Hasura inlines anything else as it is.
        Ok((Node::string(&Place::whole(shown), text), path))
    }

    /// The text of a file.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, path: &Path, shown: &Arc<str>) -> Result<String, Failure> {
        cx.files.push(path.to_owned());
        self.read += 1;
        if self.read > limits::MAX_FILES {
            return Err(Failure::Wrong(
                Place::whole(shown.clone()),
                format!("the metadata has more than {} files", limits::MAX_FILES),
            ));
        }
        let wrong = |place: Place, message: String| Err(Failure::Wrong(place, message));
        match cx.staged.get(&real(path)) {
            Some(Some(text)) if text.len() as u64 <= limits::MAX_FILE_BYTES => return Ok(text.clone()),
            Some(Some(_)) => return wrong(Place::whole(shown.clone()), too_long()),
            Some(None) => return Err(Failure::Missing),
            None => {}
        }
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(limits::MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::Missing),
            Err(error) => wrong(Place::whole(shown.clone()), format!("cannot be read: {error}")),
            Ok(_) if bytes.len() as u64 > limits::MAX_FILE_BYTES => wrong(Place::whole(shown.clone()), too_long()),
            Ok(_) => String::from_utf8(bytes).or_else(|error| {
                let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
                wrong(end_of(shown, &good), "the file is not UTF-8".to_owned())
            }),
        }
    }
}

/// The path of a node that is an include: tagged, or a string that begins with `!include`. Everything after the first
/// space, without quotes around it.
pub(crate) fn include_target(node: &Node) -> Option<String> {
    let path = match &node.value {
        Value::Include(path) => path.as_str(),
        Value::String(text) => include_of(text)?,
        _ => return None,
    };
    Some(path.trim().trim_matches(['"', '\'']).to_owned())
}

/// What follows `!include` in a text that is one.
pub(crate) fn include_of(text: &str) -> Option<&str> {
    let path = text.trim().strip_prefix("!include")?;
    path.starts_with(char::is_whitespace).then_some(path)
}

fn too_long() -> String {
    format!("the file is longer than {} bytes", limits::MAX_FILE_BYTES)
}

/// The path with symbolic links resolved, as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => real(folder).join(name),
        _ => normal(path),
    }
}

/// Without `.` and `..`, as far as that can be said without looking.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn end_of(shown: &Arc<str>, text: &str) -> Place {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or(text).chars().count() + 1;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        file: shown.clone(),
        line: number(line),
        column: number(column),
    }
}

fn from_json(place: &Place, value: serde_json::Value) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN), number.to_string()),
        serde_json::Value::String(text) => Value::String(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(|item| from_json(place, item)).collect()),
        serde_json::Value::Object(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| yaml::Entry {
                    key,
                    key_place: place.clone(),
                    value: from_json(place, value),
                })
                .collect(),
        ),
    };
    Node::new(place, value)
}
