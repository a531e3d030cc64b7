//! Where the control socket is: a path that a process and its successor both find by the name of their metadata.
//!
//! Invariant: a folder that this makes or uses without being told to belongs to this user, and nobody else may write to
//! it.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The longest path of a Unix socket on Linux, without its final zero.
const MAX_PATH: usize = 107;

/// The path that was asked for, or the usual one for this metadata; its folder is made if need be.
///
/// # Errors
/// Why there can be no control socket, and what to do.
pub(crate) fn of(asked_for: Option<&Path>, metadata: &Path) -> Result<PathBuf, String> {
    let path = match asked_for {
        Some(path) => std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => usual_folder()?.join(usual_name(metadata)),
    };
    match path.as_os_str().len() {
        0..=MAX_PATH => Ok(path),
        length => Err(format!(
            "{} has {length} bytes, and a Unix socket's path may have {MAX_PATH}; set a shorter one with --control-socket",
            path.display()
        )),
    }
}

/// The name of the metadata as it was given, not what links on the way to it lead to: a release that is put in place by
/// exchanging a link is the same gateway.
fn usual_name(metadata: &Path) -> String {
    let path = std::path::absolute(metadata).unwrap_or_else(|_| metadata.to_owned());
    // FNV-1a: two processes of different versions must come to the same.
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("weir-{hash:016x}.sock")
}

/// systemd's `RuntimeDirectory=`, the login session's folder, or one of our own in the folder for temporary files.
fn usual_folder() -> Result<PathBuf, String> {
    if let Some(folders) = env::var_os("RUNTIME_DIRECTORY").filter(|folders| !folders.is_empty())
        && let Some(first) = env::split_paths(&folders).next()
    {
        return Ok(first);
    }
    let folder = match env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(session) => PathBuf::from(session).join("weir"),
        None => env::temp_dir().join(format!("weir-{}", own_user())),
    };
    own(&folder).map_err(|error| format!("{}: {error}; set another place with --control-socket", folder.display()))?;
    Ok(folder)
}

pub(super) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a folder for this user alone, or makes sure that one is.
fn own(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not through a link that somebody else may have put there.
    let found = fs::symlink_metadata(folder)?;
    let is_ours = found.is_dir() && found.uid() == own_user() && found.permissions().mode() & 0o022 == 0;
    if is_ours {
        return Ok(());
    }
    let text = "is no folder that belongs to this user and that nobody else may write to";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_metadata_has_the_same_name_however_it_is_written() {
        let here = env::current_dir().expect("there is one");
        assert_eq!(usual_name(Path::new("metadata")), usual_name(&here.join("metadata")));
        assert_ne!(usual_name(Path::new("metadata")), usual_name(Path::new("other")));
        // Of another version too.
        assert_eq!(usual_name(Path::new("/etc/weir")), "weir-96fa8617ff8877f2.sock");
    }

    #[test]
    fn a_folder_that_somebody_else_may_write_to_is_not_trusted() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("weir");
        own(&folder).expect("made");
        own(&folder).expect("found");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("ours");
        own(&folder).expect_err("anybody may write to it");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(place.path(), &link).expect("a link");
        own(&link).expect_err("a link");
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_in_words() {
        let long = PathBuf::from("/").join("x".repeat(200));
        let error = of(Some(&long), Path::new("metadata")).expect_err("too long");
        assert!(error.contains("--control-socket"), "{error}");
    }
}
