//! What Hasura's metadata API does to the document. Pure: the document in, the document out.
//!
//! Invariant: an operation that fails has changed nothing. Texts and codes of errors are Hasura's.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Fate;

/// A family of sources, as the names of requests begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `pg_`
    Postgres,
    /// `citus_`
    Citus,
    /// `cockroach_`
    Cockroach,
    /// `mssql_`
    Mssql,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Postgres, Kind::Citus, Kind::Cockroach, Kind::Mssql];

    /// From the beginning of a request's name.
    pub fn of_prefix(prefix: &str) -> Option<Kind> {
        match prefix {
            "pg" | "postgres" => Some(Kind::Postgres),
            "citus" => Some(Kind::Citus),
            "cockroach" => Some(Kind::Cockroach),
            "mssql" => Some(Kind::Mssql),
            _ => None,
        }
    }

    /// As it is written in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Citus => "citus",
            Kind::Cockroach => "cockroach",
            Kind::Mssql => "mssql",
        }
    }

    fn is(self, source: &Value) -> bool {
        let written = source.get("kind").and_then(Value::as_str).unwrap_or("postgres");
        let of_alias = if written == "alloy" {
            Some(Kind::Postgres)
        } else {
            Kind::of_prefix(written)
        };
        of_alias == Some(self)
    }
}

/// Something to do to the document.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// `pg_add_source` and its like.
    AddSource {
        /// Which family.
        kind: Kind,
        /// Its name.
        name: String,
        /// `configuration`
        configuration: Value,
        /// Whether a source that is there already gets the new configuration.
        replace_configuration: bool,
        /// `customization`, `health_check`
        others: Map<String, Value>,
    },
    /// `pg_update_source` and its like: what is given replaces what was, as a whole.
    UpdateSource {
        /// Which family.
        kind: Kind,
        /// Its name.
        name: String,
        /// `configuration`, `customization`, `health_check`, as far as they are given.
        fields: Map<String, Value>,
    },
    /// `pg_drop_source` and its like.
    DropSource {
        /// Which family.
        kind: Kind,
        /// Its name.
        name: String,
        /// Whether relationships of other sources that lead here go with it.
        cascade: bool,
    },
    /// `rename_source`
    RenameSource {
        /// Its name.
        name: String,
        /// The name that it gets.
        new_name: String,
    },
    /// `replace_metadata`
    Replace(Value),
    /// `clear_metadata`
    Clear,
    /// `drop_inconsistent_metadata`, for the sources of these names.
    Forget(Vec<String>),
}

/// Why an operation cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationError {
    /// `already-exists`
    AlreadyExists(String),
    /// `not-exists`
    NotExists(String),
    /// `dependency-error`
    Dependency(String),
    /// `parse-failed`
    ParseFailed(String),
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (OperationError::AlreadyExists(text)
        | OperationError::NotExists(text)
        | OperationError::Dependency(text)
        | OperationError::ParseFailed(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for OperationError {}

impl Operation {
    /// The source that it is about, under the name that it has afterwards.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Operation::AddSource { name, .. } | Operation::UpdateSource { name, .. } => Some(name),
            Operation::RenameSource { new_name, .. } => Some(new_name),
            Operation::DropSource { .. } | Operation::Replace(_) | Operation::Clear | Operation::Forget(_) => None,
        }
    }

    /// What becomes of single sources when it is done. `replace_metadata` and `clear_metadata` say nothing of any: the next
    /// one may bring them all back.
    pub fn fates(&self) -> Vec<Fate> {
        match self {
            Operation::AddSource { name, .. } => vec![Fate::Added(name.clone())],
            Operation::DropSource { name, .. } => vec![Fate::Dropped(name.clone())],
            Operation::RenameSource { name, new_name } => vec![Fate::Renamed {
                from: name.clone(),
                to: new_name.clone(),
            }],
            Operation::Forget(names) => names.iter().cloned().map(Fate::Dropped).collect(),
            Operation::UpdateSource { .. } | Operation::Replace(_) | Operation::Clear => Vec::new(),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What stands against it; the document is as it was.
    pub fn apply(&self, metadata: &mut Value) -> Result<(), OperationError> {
        match self {
            Operation::AddSource {
                kind,
                name,
                configuration,
                replace_configuration,
                others,
            } => add(metadata, *kind, name, configuration, *replace_configuration, others),
            Operation::UpdateSource { kind, name, fields } => {
                let source = of_kind(metadata, *kind, name)?;
                source.extend(fields.clone());
                Ok(())
            }
            Operation::DropSource { kind, name, cascade } => drop_source(metadata, *kind, name, *cascade),
            Operation::RenameSource { name, new_name } => rename(metadata, name, new_name),
            Operation::Replace(new) => replace(metadata, new),
            Operation::Clear => {
                *metadata = json!({ "version": 3, "sources": [] });
                Ok(())
            }
            Operation::Forget(names) => {
                let is_named = |source: &Value| names.iter().any(|name| source["name"] == name.as_str());
                sources(metadata).retain(|source| !is_named(source));
                Ok(())
            }
        }
    }
}

fn add(
    metadata: &mut Value,
    kind: Kind,
    name: &str,
    configuration: &Value,
    replace_configuration: bool,
    others: &Map<String, Value>,
) -> Result<(), OperationError> {
    if sources(metadata).iter().any(|source| source["name"] == name) {
        if !replace_configuration {
            return Err(OperationError::AlreadyExists(format!(
                "source with name \"{name}\" already exists"
            )));
        }
        let source = of_kind(metadata, kind, name)?;
        source.insert("configuration".to_owned(), configuration.clone());
        return Ok(());
    }
    let mut source = json!({ "name": name, "kind": kind.as_str(), "tables": [], "configuration": configuration });
    if let Some(source) = source.as_object_mut() {
        source.extend(others.clone());
    }
    sources(metadata).push(source);
    Ok(())
}

fn drop_source(metadata: &mut Value, kind: Kind, name: &str, cascade: bool) -> Result<(), OperationError> {
    of_kind(metadata, kind, name)?;
    let mut dependents = Vec::new();
    for source in sources(metadata).iter_mut().filter(|source| source["name"] != name) {
        dependents_in(source, name, cascade, &mut dependents);
    }
    if !cascade && !dependents.is_empty() {
        return Err(OperationError::Dependency(format!(
            "cannot drop due to the following dependent objects: {}",
            dependents.join(", ")
        )));
    }
    sources(metadata).retain(|source| source["name"] != name);
    Ok(())
}

/// Remote relationships of another source that lead to the source `name`; removed with `cascade`.
fn dependents_in(source: &mut Value, name: &str, cascade: bool, found: &mut Vec<String>) {
    let from = source["name"].as_str().unwrap_or_default().to_owned();
    let Some(tables) = source.get_mut("tables").and_then(Value::as_array_mut) else {
        return;
    };
    for table in tables {
        let label = match &table["table"] {
            Value::String(table) => table.clone(),
            table => table["name"].as_str().unwrap_or_default().to_owned(),
        };
        let relationships = table.get_mut("remote_relationships").and_then(Value::as_array_mut);
        let Some(relationships) = relationships else { continue };
        let leads_there = |relationship: &Value| relationship["definition"]["to_source"]["source"] == name;
        for relationship in relationships.iter().filter(|relationship| leads_there(relationship)) {
            let relationship = relationship["name"].as_str().unwrap_or_default();
            found.push(format!(
                "remote_relationship {relationship} in table {label} in source {from}"
            ));
        }
        if cascade {
            relationships.retain(|relationship| !leads_there(relationship));
        }
    }
}

fn rename(metadata: &mut Value, name: &str, new_name: &str) -> Result<(), OperationError> {
    let sources = sources(metadata);
    let position = |name: &str| sources.iter().position(|source| source["name"] == name);
    let Some(at) = position(name) else {
        let error = format!("Could not find source with name \"{name}\"");
        return Err(OperationError::NotExists(error));
    };
    if position(new_name).is_some() {
        let error = format!("Source with name \"{new_name}\" already exists");
        return Err(OperationError::AlreadyExists(error));
    }
    sources[at]["name"] = new_name.into();
    Ok(())
}

fn replace(metadata: &mut Value, new: &Value) -> Result<(), OperationError> {
    let failed = |text: &str| Err(OperationError::ParseFailed(text.to_owned()));
    let Some(fields) = new.as_object() else {
        return failed("the metadata is no object");
    };
    match fields.get("version").map(Value::as_u64) {
        Some(Some(3)) => {}
        // Hasura takes metadata without a version for the oldest.
        None | Some(Some(1 | 2)) => {
            return failed("metadata of version 3 is expected: one with a list of sources");
        }
        Some(_) => return failed("expected 1, 2 or 3 as version of the metadata"),
    }
    let Some(list) = fields.get("sources").and_then(Value::as_array) else {
        return failed("key \"sources\" not found");
    };
    let mut names: Vec<&str> = Vec::new();
    for source in list {
        let Some(name) = source.get("name").and_then(Value::as_str) else {
            return failed("key \"name\" not found");
        };
        if names.contains(&name) {
            let error = format!("multiple declarations exist for the following source: \"{name}\"");
            return Err(OperationError::ParseFailed(error));
        }
        names.push(name);
    }
    *metadata = new.clone();
    Ok(())
}

/// The list of sources, which is there afterwards.
fn sources(metadata: &mut Value) -> &mut Vec<Value> {
    if !metadata.is_object() {
        *metadata = json!({ "version": 3 });
    }
    let list = &mut metadata["sources"];
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it has been made a list")
}

fn of_kind<'a>(metadata: &'a mut Value, kind: Kind, name: &str) -> Result<&'a mut Map<String, Value>, OperationError> {
    let mut list = sources(metadata).iter_mut();
    let found = list.find(|source| source["name"] == name && kind.is(source));
    found
        .and_then(Value::as_object_mut)
        .ok_or_else(|| OperationError::NotExists(format!("source with name \"{name}\" does not exist")))
}
