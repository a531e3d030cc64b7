//! The metadata as one JSON document, as Hasura's API sees it, and back into the files that it came from.
//!
//! Invariants: what is not ours (tables, actions, remote schemas and the like) is handed back as it came; a file is
//! rewritten only when what it says changes, and of a YAML file only the lines that do; `!include` and `{from_env}` stay as
//! they are written. Nothing here judges settings: that is the loader's, which is asked before anything is written
//! ([`load_changed`](crate::load_changed)).

mod actions;
mod edit;
mod fate;
mod operations;
mod render;
mod store;
mod tree;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

pub use fate::Fate;
pub use operations::{Kind, Operation, OperationError};
pub use store::CommitError;

use crate::{
    context::Context,
    environment::Environment,
    files::{Failure, Files, include_of, real},
    layout::{self, Layout, Shape},
    problem::{Place, Problem, Severity},
    yaml::Node,
};
use tree::Tree;

/// The files of a metadata directory: what Hasura's command line splits the document into. The file, and its key in the
/// document.
const PARTS: [(&str, &str); 14] = [
    ("remote_schemas.yaml", "remote_schemas"),
    ("query_collections.yaml", "query_collections"),
    ("allow_list.yaml", "allowlist"),
    ("actions.yaml", ACTIONS),
    ("cron_triggers.yaml", "cron_triggers"),
    ("rest_endpoints.yaml", "rest_endpoints"),
    ("inherited_roles.yaml", "inherited_roles"),
    ("api_limits.yaml", "api_limits"),
    ("graphql_schema_introspection.yaml", "graphql_schema_introspection"),
    ("network.yaml", "network"),
    ("backend_configs.yaml", "backend_configs"),
    ("opentelemetry.yaml", "opentelemetry"),
    ("metrics_config.yaml", "metrics_config"),
    ("query_tags.yaml", "query_tags"),
];

/// `actions.yaml` holds two keys of the document: itself a mapping with both.
const ACTIONS: &str = "actions";
const CUSTOM_TYPES: &str = "custom_types";

/// The whole metadata, and where each part of it stands.
#[derive(Debug)]
pub struct Document {
    value: Value,
    home: Home,
    root: PathBuf,
    /// `gateway.yaml`, which is no part of the metadata; without content also when it cannot be read.
    gateway: Part,
    /// Why the document is not the whole of it.
    incomplete: Option<Problem>,
}

/// Where it stands.
#[derive(Debug)]
enum Home {
    /// A directory: the list of sources, and the other files.
    Directory {
        sources: Part,
        others: Vec<(Part, &'static str)>,
    },
    /// A file that is the document.
    Whole(Part),
    /// A file that holds it under `metadata`.
    Wrapped(Part),
    /// A file that is the list of sources.
    List(Part),
    /// Nowhere: it has been made of environment variables.
    Environment,
}

/// One file.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    /// `None` when the file does not exist.
    content: Option<Content>,
}

#[derive(Debug)]
struct Content {
    text: String,
    /// As it is written, with places.
    node: Node,
    /// With what it includes.
    tree: Tree,
}

/// Files to be written.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<PathBuf, FileChange>);

#[derive(Debug)]
struct FileChange {
    /// What was read; `None` when there was no file.
    before: Option<String>,
    /// What is to be; `None` removes it.
    after: Option<String>,
}

/// Why a document cannot be written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable(pub String);

impl Document {
    /// Reads everything below `path`, in whichever layout it is.
    ///
    /// # Errors
    /// What cannot be read, with its place. Settings that are wrong are no errors here.
    pub fn read(path: &Path, env: &dyn Environment) -> Result<Document, Vec<Problem>> {
        let mut cx = Context::new(env, false);
        let Layout {
            files, sources, shape, ..
        } = layout::find(&mut cx, path);
        // The loader's own words about what it could not even find.
        let lost = |cx: Context<'_>| -> Vec<Problem> {
            let errors = cx.problems.into_iter();
            errors.filter(|problem| problem.severity == Severity::Error).collect()
        };
        let mut reader = Reader {
            files,
            problems: Vec::new(),
        };
        let document = match shape {
            Shape::Nowhere => return Err(lost(cx)),
            Shape::Environment => {
                let list = sources.map(|(list, _)| Tree::of(&mut cx, &mut reader.files, &list, path));
                let list = list.and_then(Result::ok).map_or(json!([]), |tree| tree.json());
                Document {
                    value: json!({ "version": 3, "sources": list }),
                    home: Home::Environment,
                    root: path.to_owned(),
                    gateway: reader.gateway(&mut cx, path),
                    incomplete: None,
                }
            }
            Shape::File(path) => reader.file(&mut cx, &path),
            Shape::Directory { folder, databases } => reader.directory(&mut cx, &folder, databases),
        };
        match reader.problems.is_empty() {
            true => Ok(document),
            false => Err(reader.problems),
        }
    }

    /// `{"version": 3, "sources": [...], ...}`, keys in Hasura's order.
    pub fn metadata(&self) -> &Value {
        &self.value
    }

    /// Why the document is not the whole of what the files say: actions whose GraphQL part is not understood. Writing it
    /// loses nothing, because such files are not written.
    pub fn incomplete(&self) -> Option<&Problem> {
        self.incomplete.as_ref()
    }

    /// The keys of `metadata` that this layout has no place for, and that are lost when it is written.
    pub fn homeless<'a>(&self, metadata: &'a Value) -> Vec<&'a str> {
        let has_place = |key: &str| match &self.home {
            Home::Whole(_) | Home::Wrapped(_) => true,
            Home::List(_) | Home::Environment => ["version", "sources"].contains(&key),
            Home::Directory { .. } => {
                ["version", "sources", CUSTOM_TYPES].contains(&key) || PARTS.iter().any(|(_, known)| *known == key)
            }
        };
        let keys = metadata.as_object().into_iter().flat_map(Map::keys);
        keys.map(String::as_str).filter(|key| !has_place(key)).collect()
    }

    /// What has to be written so that the files say `metadata`.
    ///
    /// # Errors
    /// What this layout cannot say.
    pub fn changes(&self, metadata: &Value) -> Result<Changes, Unwritable> {
        self.changes_after(metadata, &[])
    }

    /// The same where it is known what has become of single sources: what `gateway.yaml` says of them follows them.
    ///
    /// # Errors
    /// What this layout cannot say.
    pub fn changes_after(&self, metadata: &Value, fates: &[Fate]) -> Result<Changes, Unwritable> {
        let mut changes = Changes::default();
        if *metadata == self.value {
            return Ok(changes);
        }
        if let Some(text) = include_in(metadata) {
            return Err(Unwritable(format!(
                "the text {text:?} would be read as the content of that file: what a file holds is changed in the metadata itself, which has it in place of the include"
            )));
        }
        let root = real(&self.root);
        let mut editor = edit::Editor::new(&root, self.uses(), &mut changes);
        match &self.home {
            Home::Environment => {
                return Err(Unwritable(
                    "metadata of version 2 has no list of sources to write to: its one source comes from HASURA_GRAPHQL_DATABASE_URL; use a directory of version 3".to_owned(),
                ));
            }
            Home::Whole(part) => editor.file(part, metadata)?,
            Home::Wrapped(part) => {
                let mut whole = part.content.as_ref().map_or(Value::Null, |content| content.tree.json());
                whole["metadata"] = metadata.clone();
                editor.file(part, &whole)?;
            }
            Home::List(part) => editor.file(part, sources_of(metadata))?,
            Home::Directory { sources, others } => {
                if *sources_of(metadata) != *sources_of(&self.value) {
                    editor.file(sources, sources_of(metadata))?;
                }
                for (part, key) in others {
                    self.change_part(&mut editor, part, key, metadata)?;
                }
            }
        }
        if let Some(content) = self.gateway.content.as_ref().filter(|_| !fates.is_empty()) {
            let before = content.tree.json();
            let after = fate::follow(&before, fates);
            if after != before {
                editor.file(&self.gateway, &after)?;
            }
        }
        Ok(changes)
    }

    /// How many places say what is in each file. What several say cannot be changed or removed for one of them.
    fn uses(&self) -> BTreeMap<PathBuf, u32> {
        let mut uses = BTreeMap::new();
        let parts: Vec<&Part> = match &self.home {
            Home::Directory { sources, others } => [sources]
                .into_iter()
                .chain(others.iter().map(|(part, _)| part))
                .collect(),
            Home::Whole(part) | Home::Wrapped(part) | Home::List(part) => vec![part],
            Home::Environment => Vec::new(),
        };
        for part in parts.into_iter().chain([&self.gateway]) {
            *uses.entry(real(&part.path)).or_default() += 1;
            if let Some(content) = &part.content {
                content.tree.count_files(&mut uses);
            }
        }
        uses
    }

    fn change_part(
        &self,
        editor: &mut edit::Editor<'_>,
        part: &Part,
        key: &str,
        metadata: &Value,
    ) -> Result<(), Unwritable> {
        let keys: &[&str] = if key == ACTIONS {
            &[ACTIONS, CUSTOM_TYPES]
        } else {
            &[key]
        };
        let is_same = |key: &&str| present(metadata.get(*key)) == present(self.value.get(*key));
        if keys.iter().all(is_same) {
            return Ok(());
        }
        if key == ACTIONS {
            let described = std::fs::read_to_string(part.path.with_extension("graphql"));
            if described.is_ok_and(|text| !text.trim().is_empty()) {
                return Err(Unwritable(
                    "the actions of this directory are described in actions.graphql, which the gateway does not write: change them there, or remove that file".to_owned(),
                ));
            }
            let values = keys
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), metadata.get(*key)?.clone())));
            return editor.file(part, &Value::Object(values.collect()));
        }
        let present = self.value.get(key);
        let empty = match present {
            Some(Value::Array(_)) => json!([]),
            _ => json!({}),
        };
        editor.file(part, metadata.get(key).unwrap_or(&empty))
    }
}

impl Changes {
    /// Whether nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files, for people.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Writes all of it: every new content is on the disk before the first file is exchanged for it.
    ///
    /// # Errors
    /// Which file could not be written, or has been changed by somebody else meanwhile; then nothing has been exchanged.
    pub fn commit(&self) -> Result<(), CommitError> {
        store::commit(&self.0)
    }

    pub(crate) fn staged(&self) -> BTreeMap<PathBuf, Option<String>> {
        let changes = self.0.iter();
        changes
            .map(|(path, change)| (path.clone(), change.after.clone()))
            .collect()
    }

    fn add(&mut self, path: &Path, before: Option<String>, after: Option<String>) {
        if before != after {
            self.0.insert(real(path), FileChange { before, after });
        }
    }
}

/// A text that would be an include when it is read again. None comes out of a file: there it has become the content.
fn include_in(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => include_of(text).map(|_| text.as_str()),
        Value::Array(items) => items.iter().find_map(include_in),
        Value::Object(fields) => fields.values().find_map(include_in),
        _ => None,
    }
}

/// What is there is what is not empty: Hasura leaves the others out.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

fn sources_of(metadata: &Value) -> &Value {
    const NONE: &Value = &Value::Array(Vec::new());
    metadata.get("sources").unwrap_or(NONE)
}

struct Reader {
    files: Files,
    problems: Vec<Problem>,
}

impl Reader {
    fn directory(&mut self, cx: &mut Context<'_>, folder: &Path, databases: PathBuf) -> Document {
        let sources = self.part(cx, databases);
        let mut value = Map::new();
        value.insert("version".to_owned(), json!(3));
        let list = sources.json();
        value.insert("sources".to_owned(), if list.is_null() { json!([]) } else { list });
        let mut others = Vec::new();
        for (file, key) in PARTS {
            let part = self.part(cx, folder.join(file));
            let content = part.json();
            match (key, &content) {
                (ACTIONS, Value::Object(fields)) => {
                    for key in [ACTIONS, CUSTOM_TYPES] {
                        let found = present(fields.get(key)).filter(|value| has_any(value));
                        value.extend(found.map(|found| (key.to_owned(), found.clone())));
                    }
                }
                _ => value.extend(present(Some(&content)).map(|content| (key.to_owned(), content.clone()))),
            }
            others.push((part, key));
        }
        let incomplete = self.complete_actions(cx, &mut value, &folder.join("actions.graphql"));
        Document {
            value: Value::Object(value),
            home: Home::Directory { sources, others },
            root: folder.to_owned(),
            gateway: self.gateway(cx, folder),
            incomplete,
        }
    }

    /// The other half of the actions; why it could not be understood.
    fn complete_actions(
        &mut self,
        cx: &mut Context<'_>,
        value: &mut Map<String, Value>,
        path: &Path,
    ) -> Option<Problem> {
        let shown = self.files.shown(path);
        let text = self.files.read(cx, path, &shown).ok()?;
        let message = actions::complete(value, &text).err()?;
        Some(Problem {
            severity: Severity::Error,
            place: Place::whole(shown),
            message,
            subject: crate::Subject::Everything,
        })
    }

    fn file(&mut self, cx: &mut Context<'_>, path: &Path) -> Document {
        let part = self.part(cx, path.to_owned());
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut content = part.json();
        let (value, home) = match content.get("sources") {
            Some(_) => (content, Home::Whole(part)),
            None if content.get("metadata").is_some() => (content["metadata"].take(), Home::Wrapped(part)),
            None => {
                let list = if content.is_null() { json!([]) } else { content };
                (json!({ "version": 3, "sources": list }), Home::List(part))
            }
        };
        Document {
            value,
            home,
            root,
            gateway: self.gateway(cx, &layout::folder_of(path)),
            incomplete: None,
        }
    }

    /// Whatever is wrong with it is the loader's to say.
    fn gateway(&mut self, cx: &mut Context<'_>, folder: &Path) -> Part {
        let path = folder.join("gateway.yaml");
        let content = self.content(cx, &path).ok();
        Part { path, content }
    }

    fn part(&mut self, cx: &mut Context<'_>, path: PathBuf) -> Part {
        let content = match self.content(cx, &path) {
            Ok(content) => Some(content),
            Err(Failure::Missing) => None,
            Err(Failure::Refused(message)) => {
                let place = Place::whole(self.files.shown(&path));
                self.report(place, message);
                None
            }
            Err(Failure::Wrong(place, message)) => {
                self.report(place, message);
                None
            }
        };
        Part { path, content }
    }

    fn content(&mut self, cx: &mut Context<'_>, path: &Path) -> Result<Content, Failure> {
        let shown = self.files.shown(path);
        let text = self.files.read(cx, path, &shown)?;
        let node = self.files.parse(cx, path)?;
        let tree = Tree::of(cx, &mut self.files, &node, path)?;
        Ok(Content { text, node, tree })
    }

    fn report(&mut self, place: Place, message: String) {
        self.problems.push(Problem {
            severity: Severity::Error,
            place,
            message,
            subject: crate::Subject::Everything,
        });
    }
}

impl Part {
    fn json(&self) -> Value {
        self.content.as_ref().map_or(Value::Null, |content| content.tree.json())
    }
}

/// Whether there is anything in it: Hasura's command line writes `custom_types` with four empty lists.
fn has_any(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(|value| present(Some(value)).is_some()),
        _ => true,
    }
}
