//! Folders to read and write.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use weir_config::document::{Document, Operation};

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
    let document = read(path);
    let changes = document.changes(metadata).unwrap();
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
    let mut metadata = read(path).metadata().clone();
    operation.apply(&mut metadata).unwrap();
    write(path, &metadata)
}

pub(crate) fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}
