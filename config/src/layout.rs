//! Finds the sources and `gateway.yaml` in whichever layout a path turns out to be.
//!
//! | path | sources |
//! |---|---|
//! | metadata directory, v3 | `databases/databases.yaml` |
//! | metadata directory, v2 (`version: 2`, no `databases/`) | one, `default`, from `HASURA_GRAPHQL_DATABASE_URL` |
//! | project directory | `config.yaml` names the metadata directory |
//! | `metadata.yaml`, `metadata.json` | `sources` inside, also as `hasura metadata export` version 2 wraps it |
//! | `databases.yaml` | the file is the list |
//!
//! `gateway.yaml` is in the metadata directory, or beside the single file.

mod default_source;

use std::path::{Path, PathBuf};

use crate::{
    context::Context,
    fields,
    files::{Failure, Files},
    problem::Place,
    scalars,
    yaml::{Node, Value},
};

/// What was found.
pub(crate) struct Layout {
    pub(crate) files: Files,
    /// The list of sources and the file that it stands in.
    pub(crate) sources: Option<(Node, PathBuf)>,
    pub(crate) gateway: GatewayDocument,
    pub(crate) shape: Shape,
}

/// Where the metadata stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A metadata directory, and the file with the list of sources, which may be missing.
    Directory { folder: PathBuf, databases: PathBuf },
    /// A single file.
    File(PathBuf),
    /// The environment: a directory or file of version 2, which has no list of sources.
    Environment,
    /// Nowhere.
    Nowhere,
}

/// `gateway.yaml`
pub(crate) enum GatewayDocument {
    Absent,
    Present(Node),
    /// It is there, but not readable. Nothing may be assumed about users and listeners.
    Broken,
}

/// Finds everything below `path`.
pub(crate) fn find(cx: &mut Context<'_>, path: &Path) -> Layout {
    if path.is_dir() {
        return in_directory(cx, path, ConfigFile::Followed);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut files = Files::new(&root_of(folder));
    let Some(content) = parse(cx, &mut files, path) else {
        return empty(cx, files, &root_of(folder));
    };
    match &content.value {
        Value::Map(_) if content.get("sources").is_none() && content.get("metadata_directory").is_some() => {
            project(cx, folder, &content)
        }
        _ => in_file(cx, files, path, content),
    }
}

/// Whether `config.yaml` still counts: the directory that it names cannot name another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConfigFile {
    Followed,
    Ignored,
}

fn in_directory(cx: &mut Context<'_>, folder: &Path, config: ConfigFile) -> Layout {
    let databases = folder.join("databases/databases.yaml");
    if databases.exists() || folder.join("version.yaml").exists() {
        return directory(cx, folder, &databases);
    }
    let config_file = folder.join("config.yaml");
    if config == ConfigFile::Followed && config_file.exists() {
        let mut files = Files::new(folder);
        let content = parse(cx, &mut files, &config_file);
        return project(
            cx,
            folder,
            &content.unwrap_or_else(|| Node::new(&Place::whole("config.yaml"), Value::Broken)),
        );
    }
    for name in ["metadata.yaml", "metadata.json", "databases.yaml"] {
        let file = folder.join(name);
        if file.is_file() {
            let mut files = Files::new(folder);
            return match parse(cx, &mut files, &file) {
                Some(content) => in_file(cx, files, &file, content),
                None => empty(cx, files, folder),
            };
        }
    }
    let inner = folder.join("metadata");
    if config == ConfigFile::Followed && inner.is_dir() {
        return in_directory(cx, &inner, ConfigFile::Ignored);
    }
    directory(cx, folder, &databases)
}

/// `config.yaml` of Hasura's CLI: only `metadata_directory` matters.
fn project(cx: &mut Context<'_>, folder: &Path, config: &Node) -> Layout {
    let directory = match config.get("metadata_directory").filter(|node| !node.is_null()) {
        Some(node) => scalars::name(cx, "metadata_directory", node),
        None => None,
    };
    in_directory(
        cx,
        &folder.join(directory.as_deref().unwrap_or("metadata")),
        ConfigFile::Ignored,
    )
}

/// A metadata directory of version 3 or 2.
fn directory(cx: &mut Context<'_>, folder: &Path, databases: &Path) -> Layout {
    let mut files = Files::new(folder);
    if !folder.is_dir() {
        cx.error(
            &Place::whole(folder.display().to_string()),
            "there is no such directory",
        );
        return Layout {
            files,
            sources: None,
            gateway: GatewayDocument::Absent,
            shape: Shape::Nowhere,
        };
    }
    let gateway = gateway(cx, &mut files, folder);
    let version = version(cx, &mut files, folder);
    let mut shape = Shape::Directory {
        folder: folder.to_owned(),
        databases: databases.to_owned(),
    };
    let sources = match files.parse(cx, databases) {
        Ok(mut content) => {
            let file = files.resolve_here(cx, &mut content, databases);
            Some((content, file))
        }
        Err(Failure::Missing) if version == Some(2) => {
            shape = Shape::Environment;
            default_source::build(cx).map(|list| (list, databases.to_owned()))
        }
        Err(Failure::Missing | Failure::Refused(_)) => {
            let shown = Place::whole("databases/databases.yaml");
            match (version, &gateway) {
                (None, GatewayDocument::Absent) => cx.error(
                    &Place::whole(folder.display().to_string()),
                    "this is not a metadata directory: it has neither databases/databases.yaml nor version.yaml",
                ),
                _ => cx.warn(&shown, "there is no such file: no source is declared"),
            }
            None
        }
        Err(Failure::Wrong(place, message)) => {
            cx.error(&place, message);
            None
        }
    };
    Layout {
        files,
        sources,
        gateway,
        shape,
    }
}

fn version(cx: &mut Context<'_>, files: &mut Files, folder: &Path) -> Option<u32> {
    let content = match files.parse(cx, &folder.join("version.yaml")) {
        Ok(content) => content,
        Err(Failure::Missing | Failure::Refused(_)) => return None,
        Err(Failure::Wrong(place, message)) => {
            cx.error(&place, message);
            return None;
        }
    };
    let node = content.get("version")?;
    let version = scalars::integer(cx, &crate::keys::listener::VERSION, node)?;
    if !(2..=3).contains(&version) {
        cx.error(
            &node.place,
            format!("metadata of version {version} is not supported: use version 3 (or 2)"),
        );
    }
    Some(version)
}

/// A single file: the whole metadata, or the list of sources.
fn in_file(cx: &mut Context<'_>, mut files: Files, path: &Path, mut content: Node) -> Layout {
    let gateway = gateway(cx, &mut files, &folder_of(path));
    let mut file = files.resolve_here(cx, &mut content, path);
    // `{resource_version, metadata}`, as version 2 of `export_metadata` answers.
    if let Some(inner) = content.get("metadata").filter(|_| content.get("sources").is_none()) {
        content = inner.clone();
    }
    let list = match &content.value {
        Value::Map(_) => match content.get("sources").cloned() {
            Some(mut list) => {
                file = files.resolve_here(cx, &mut list, &file);
                list
            }
            None if content.get("version").and_then(Node::as_number) == Some(2.0) => {
                let sources = default_source::build(cx).map(|list| (list, file));
                return Layout {
                    files,
                    sources,
                    gateway,
                    shape: Shape::Environment,
                };
            }
            None => {
                cx.error(
                    &content.place,
                    "the file has neither \"sources\" nor is it a list of sources",
                );
                return Layout {
                    files,
                    sources: None,
                    gateway,
                    shape: Shape::Nowhere,
                };
            }
        },
        _ => content,
    };
    Layout {
        files,
        sources: Some((list, file)),
        gateway,
        shape: Shape::File(path.to_owned()),
    }
}

fn empty(cx: &mut Context<'_>, mut files: Files, root: &Path) -> Layout {
    let gateway = gateway(cx, &mut files, root);
    Layout {
        files,
        sources: None,
        gateway,
        shape: Shape::Nowhere,
    }
}

fn gateway(cx: &mut Context<'_>, files: &mut Files, root: &Path) -> GatewayDocument {
    let path = root.join("gateway.yaml");
    match files.parse(cx, &path) {
        Ok(mut content) => {
            files.resolve(cx, &mut content, &path);
            if content.is_null() {
                content.value = Value::Map(Vec::new());
            }
            match fields::Fields::unchecked(cx, &content, "gateway.yaml") {
                Some(_) => GatewayDocument::Present(content),
                None => GatewayDocument::Broken,
            }
        }
        Err(Failure::Missing | Failure::Refused(_)) => GatewayDocument::Absent,
        Err(Failure::Wrong(place, message)) => {
            cx.error(&place, message);
            GatewayDocument::Broken
        }
    }
}

/// Hasura's telemetry settings: a file of their own, or a key of the single one.
pub(crate) fn telemetry(cx: &mut Context<'_>, files: &mut Files, shape: &Shape) -> Option<Node> {
    let (path, is_whole) = match shape {
        Shape::Directory { folder, .. } => (folder.join("opentelemetry.yaml"), false),
        Shape::File(path) => (path.clone(), true),
        Shape::Environment | Shape::Nowhere => return None,
    };
    match files.parse(cx, &path) {
        Ok(content) => {
            let mut content = match (is_whole, content.get("metadata")) {
                (false, _) => content,
                (true, Some(metadata)) => metadata.get("opentelemetry")?.clone(),
                (true, None) => content.get("opentelemetry")?.clone(),
            };
            files.resolve(cx, &mut content, &path);
            Some(content)
        }
        Err(Failure::Missing | Failure::Refused(_)) => None,
        Err(Failure::Wrong(place, message)) => {
            cx.error(&place, message);
            None
        }
    }
}

fn parse(cx: &mut Context<'_>, files: &mut Files, path: &Path) -> Option<Node> {
    match files.parse(cx, path) {
        Ok(node) => Some(node),
        Err(Failure::Missing | Failure::Refused(_)) => {
            cx.error(
                &Place::whole(path.display().to_string()),
                "there is no such file or directory",
            );
            None
        }
        Err(Failure::Wrong(place, message)) => {
            cx.error(&place, message);
            None
        }
    }
}

/// The metadata directory of a single file, by its path.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    root_of(folder.unwrap_or(Path::new(".")))
}

/// The metadata directory of a single file: its folder, or the one above `databases/`.
fn root_of(folder: &Path) -> PathBuf {
    let above = folder
        .canonicalize()
        .ok()
        .filter(|real| real.ends_with("databases"))
        .and_then(|real| real.parent().map(Path::to_owned));
    above
        .filter(|above| above.join("version.yaml").exists() || above.join("gateway.yaml").exists())
        .unwrap_or_else(|| folder.to_owned())
}
