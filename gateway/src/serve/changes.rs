//! Tells when the metadata may have changed: events of the folders that its files are in, gathered into one word.
//!
//! Folders, not files: editors and `kubectl` replace a file by renaming another over it, and Kubernetes swaps a symbolic
//! link two folders up. Invariant: whoever waits is told at least once after the last event. Must not know what the files
//! say; whether anything changed is for who reads them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::warn;

/// Events that follow one another faster than this are one: a program that writes a file does it in several steps, and a
/// deployment replaces several files.
const QUIET: Duration = Duration::from_millis(150);

/// A change is told after this time even when events never cease.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches the folders of some files.
pub(super) struct Changes {
    /// None where the system has no room for another watch; then only SIGHUP and the API reload.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    events: Arc<Notify>,
}

impl Changes {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let events = Arc::new(Notify::new());
        let told = events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is an event too, and would go round in circles.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                told.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                warn!(%error, "changes of the metadata are not noticed by themselves; SIGHUP reloads it");
            })
            .ok();
        Changes {
            watcher,
            folders: BTreeSet::new(),
            events,
        }
    }

    /// Watches the folders of these files, and of what symbolic links on the way to them lead to, and no others.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        for folder in self.folders.difference(&wanted) {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(folder);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            if self.folders.contains(&folder) && folder.is_dir() {
                watched.insert(folder);
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder);
                }
                // A folder that is not there yet is seen by its parent, which is watched too.
                Err(_) if !folder.is_dir() => {}
                Err(error) => {
                    warn!(folder = %folder.display(), %error, "changes in this folder are not noticed by themselves; SIGHUP reloads the metadata");
                }
            }
        }
        self.folders = watched;
    }

    /// There is something to look at, although nothing may happen any more.
    pub(super) fn again(&self) {
        self.events.notify_one();
    }

    /// Resolves when something has changed and calm has returned. May be dropped and called again: nothing is lost.
    pub(super) async fn changed(&self) {
        self.events.notified().await;
        let calm = async { while tokio::time::timeout(QUIET, self.events.notified()).await.is_ok() {} };
        // Whether calm has returned or patience has ended: it is time to look.
        let _ = tokio::time::timeout(PATIENCE, calm).await;
    }
}

/// The folder that a file is in, and those of the links that lead to it; a folder that is missing stands for its nearest
/// parent that is not.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut name = file.to_owned();
    // A chain of links that is longer is a circle.
    for _ in 0..16 {
        let Some(parent) = name.parent() else { break };
        folders.extend(existing(parent));
        // `..data` of Kubernetes is a link among the folders of the path.
        for ancestor in parent.ancestors() {
            if ancestor.is_symlink() {
                folders.extend(ancestor.parent().and_then(existing));
            }
        }
        match fs::read_link(&name) {
            Ok(target) => name = parent.join(target),
            Err(_) => break,
        }
    }
    folders
}

fn existing(folder: &Path) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    /// Longer than a change takes to be told.
    const SILENCE: Duration = Duration::from_millis(600);

    async fn told(watch: &Changes) {
        tokio::time::timeout(LONG, watch.changed())
            .await
            .expect("a change is told");
    }

    async fn silent(watch: &Changes) {
        let told = tokio::time::timeout(SILENCE, watch.changed()).await;
        assert!(told.is_err(), "nothing has changed");
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_removed_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("databases.yaml");
        fs::write(&file, "- a").expect("a file");
        let mut watch = Changes::new();
        watch.follow(std::slice::from_ref(&file));
        silent(&watch).await;
        fs::write(&file, "- b").expect("a file");
        told(&watch).await;
        silent(&watch).await;
        fs::write(folder.path().join("new"), "- c").expect("a file");
        fs::rename(folder.path().join("new"), &file).expect("a rename");
        told(&watch).await;
        fs::read(&file).expect("a file");
        silent(&watch).await;
        fs::remove_file(&file).expect("a file");
        told(&watch).await;
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_as_kubernetes_does_is_told() {
        let mount = tempfile::tempdir().expect("a folder");
        let at = |name: &str| mount.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("a folder");
            fs::write(at(version).join("databases.yaml"), version).expect("a file");
        }
        symlink("..1", at("..data")).expect("a link");
        symlink("..data/databases.yaml", at("databases.yaml")).expect("a link");
        let mut watch = Changes::new();
        watch.follow(&[at("databases.yaml")]);
        symlink("..2", at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("a rename");
        told(&watch).await;
        assert_eq!(fs::read_to_string(at("databases.yaml")).expect("a file"), "..2");
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_seen_by_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("databases/databases.yaml");
        let mut watch = Changes::new();
        watch.follow(std::slice::from_ref(&file));
        fs::create_dir(folder.path().join("databases")).expect("a folder");
        told(&watch).await;
        watch.follow(std::slice::from_ref(&file));
        fs::write(&file, "- a").expect("a file");
        told(&watch).await;
    }
}
