//! Folders to read and write.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use weir_config::document::{Changes, Document, Operation};

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

pub(crate) fn read(path: &Path) -> Document {
    let nothing: [(&str, &str); 0] = [];
    Document::read(path, &nothing).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Writes what `metadata` says, and reads it again.
#[track_caller]
pub(crate) fn write(path: &Path, metadata: &Value) -> Vec<String> {
    commit(path, metadata, &read(path).changes(metadata).unwrap())
}

#[track_caller]
fn commit(path: &Path, metadata: &Value, changes: &Changes) -> Vec<String> {
    let root = path.canonicalize().unwrap();
    let changed = changes.files();
    let changed = changed
        .map(|file| file.strip_prefix(&root).unwrap_or(file).display().to_string())
        .collect();
    changes.commit().unwrap();
    assert_eq!(read(path).metadata(), metadata);
    changed
}

/// Does this and writes it.
#[track_caller]
pub(crate) fn carry_out(path: &Path, operation: &Operation) -> Vec<String> {
    carry_out_all(path, std::slice::from_ref(operation))
}

/// Does all of this and writes it once; what became of single sources with it.
#[track_caller]
pub(crate) fn carry_out_all(path: &Path, operations: &[Operation]) -> Vec<String> {
    let document = read(path);
    let mut metadata = document.metadata().clone();
    let mut fates = Vec::new();
    for operation in operations {
        operation.apply(&mut metadata).unwrap();
        fates.extend(operation.fates());
    }
    commit(path, &metadata, &document.changes_after(&metadata, &fates).unwrap())
}

pub(crate) fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}
