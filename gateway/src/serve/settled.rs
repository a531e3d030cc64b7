//! Reads the metadata when nobody is writing it.
//!
//! Invariant: what is read is one state of the files. An editor that empties a file before it fills it, half of a list
//! that is a list as well, files of two versions while a link is swapped: each may look sound, and would remove sources
//! that serve. So files that changed while they were read, or a moment before, are read again; if that never ends,
//! what applies stays.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use weir_config::{Loaded, ProcessEnvironment};
use weir_core::clock;

use crate::cli::ServeArgs;

/// Since the last change of any file. A program writes all of a file in a fraction of it.
const CALM: Duration = Duration::from_millis(100);

/// Since a file was emptied. Whoever empties one is about to fill it; an empty list is written `[]`.
const FILLED_WITHIN: Duration = Duration::from_secs(2);

/// Two changes closer than this may bear the same time. A reading that begins so soon after one would not see another.
const GRAIN: Duration = Duration::from_millis(20);

/// Files that do not rest for so long are refused: what cannot be read as one state must not apply. The time does not begin
/// before they have been read once, which may take long itself.
const PATIENCE: Duration = Duration::from_secs(10);

const BROKE_OFF: &str = "reading the metadata broke off";
const RESTLESS: &str = "its files change faster than they can be read";

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Settled {
    files: Vec<PathBuf>,
    /// When this process itself has written them, whole.
    written: SystemTime,
}

impl Settled {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let written = SystemTime::UNIX_EPOCH;
        Settled { files, written }
    }

    /// They are this process's own work.
    pub(super) fn written(&mut self) {
        self.written = SystemTime::now();
    }

    /// What the files say when they are at rest.
    ///
    /// # Errors
    /// Why that cannot be told: they never are, or the reading panicked.
    pub(super) async fn load(&mut self, args: &ServeArgs) -> Result<Loaded, &'static str> {
        let mut until = None;
        loop {
            let (known, written) = (self.files.clone(), self.written);
            let (path, strict) = (args.metadata.clone(), args.strict);
            // Off the threads that serve: a disk may hang, and a signal must be obeyed even then.
            let loading = tokio::task::spawn_blocking(move || {
                let (before, is_grainy) = (stamps(&known), is_fresh(&known, GRAIN, written));
                let loaded = weir_config::load(&path, &ProcessEnvironment, strict);
                // A file that was not known before may have changed after it was read.
                let is_torn = is_grainy || stamps(&known) != before || !is_known(&loaded.files, &known);
                (is_torn || is_fresh(&loaded.files, CALM, written), loaded)
            });
            let (is_unsettled, loaded) = loading.await.map_err(|_| BROKE_OFF)?;
            self.files.clone_from(&loaded.files);
            if !is_unsettled {
                return Ok(loaded);
            }
            let now = clock::now();
            if now >= *until.get_or_insert(now + PATIENCE) {
                return Err(RESTLESS);
            }
            tokio::time::sleep(CALM / 2).await;
        }
    }
}

fn is_known(files: &[PathBuf], known: &[PathBuf]) -> bool {
    let known: HashSet<&PathBuf> = known.iter().collect();
    files.iter().all(|file| known.contains(file))
}

/// Which file stands at each path, since when it is as it is, and its length: one that is emptied and filled within one
/// tick of the system's clock bears the same time twice.
fn stamps(files: &[PathBuf]) -> Vec<Option<(u64, u64, SystemTime, u64)>> {
    let stamp = |file| {
        let seen = fs::metadata(file).ok()?;
        Some((seen.dev(), seen.ino(), seen.modified().ok()?, seen.len()))
    };
    files.iter().map(stamp).collect()
}

/// Whether somebody else has written one of them within `calm`. A time in the future is a clock that is wrong.
fn is_fresh(files: &[PathBuf], calm: Duration, written: SystemTime) -> bool {
    let now = SystemTime::now();
    let is_fresh = |file| {
        let Ok(seen) = fs::metadata(file) else { return false };
        let Ok(changed) = seen.modified() else { return false };
        let rest = if seen.len() == 0 { FILLED_WITHIN } else { calm };
        changed > written && now.duration_since(changed).is_ok_and(|age| age < rest)
    };
    files.iter().any(is_fresh)
}
