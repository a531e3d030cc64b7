//! Files exchanged whole: what is read at any moment is the old content or the new one.
//!
//! Order: all contents are written beside the files and forced to the disk; only then the files are exchanged, those that
//! are included before those that include them, and what is not needed any more is removed last. A crash in between leaves
//! files that nobody refers to, never a reference to a file that is missing.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::FileChange;

/// Permission bits of a file that did not exist, when no other one tells: addresses may hold passwords.
const MODE: u32 = 0o640;

/// Why nothing has been written.
#[derive(Debug)]
pub enum CommitError {
    /// Somebody else has changed this file since it was read.
    ChangedMeanwhile(PathBuf),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::ChangedMeanwhile(path) => {
                write!(f, "{} has been changed by somebody else meanwhile", path.display())
            }
            CommitError::Io(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for CommitError {}

pub(super) fn commit(changes: &BTreeMap<PathBuf, FileChange>) -> Result<(), CommitError> {
    for (path, change) in changes {
        if current(path)? != change.before {
            return Err(CommitError::ChangedMeanwhile(path.clone()));
        }
    }
    let mut prepared = Vec::new();
    for (path, change) in changes {
        let Some(after) = &change.after else { continue };
        let temporary = temporary(path);
        let written = prepare(path, &temporary, after);
        prepared.push((path, temporary));
        if let Err(error) = written {
            for (_, temporary) in prepared {
                // It may not have come to be.
                let _ = fs::remove_file(temporary);
            }
            return Err(CommitError::Io(path.clone(), error));
        }
    }
    // Deeper files are the included ones.
    prepared.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
    for (done, (path, temporary)) in prepared.iter().enumerate() {
        if let Err(error) = fs::rename(temporary, path) {
            take_back(&prepared[..done], changes);
            for (_, temporary) in &prepared[done..] {
                let _ = fs::remove_file(temporary);
            }
            return Err(CommitError::Io((*path).clone(), error));
        }
        sync_folder(path);
    }
    for (path, _) in changes.iter().filter(|(_, change)| change.after.is_none()) {
        // Nobody refers to it any more: that it stays is untidy, and no more.
        let _ = fs::remove_file(path);
        sync_folder(path);
    }
    Ok(())
}

/// Puts back what was there, as well as can be: a file that is mounted by itself, for one, cannot be exchanged.
fn take_back(exchanged: &[(&PathBuf, PathBuf)], changes: &BTreeMap<PathBuf, FileChange>) {
    for (path, temporary) in exchanged {
        let before = changes.get(*path).and_then(|change| change.before.as_deref());
        let _ = match before {
            Some(text) => prepare(path, temporary, text).and_then(|()| fs::rename(temporary, path)),
            None => fs::remove_file(path),
        };
        sync_folder(path);
    }
}

fn current(path: &Path) -> Result<Option<String>, CommitError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommitError::Io(path.to_owned(), error)),
    }
}

/// Hidden, so that no tool takes it for metadata.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.weir-{}", std::process::id()))
}

/// A new file beside the old one, with its owner and its rights; readable by nobody else until it has them.
fn prepare(path: &Path, temporary: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let old = fs::metadata(path).ok();
    // Left behind by a process that died, or put there by somebody: neither is written through.
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(content.as_bytes())?;
    if let Some(old) = &old {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    let mode = old.map_or(MODE, |old| old.permissions().mode());
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Best effort: not every file system can.
fn sync_folder(path: &Path) {
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
}
