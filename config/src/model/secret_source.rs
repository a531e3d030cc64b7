//! Secrets that are written in the metadata, or in files that are read again each time they are needed.
//!
//! Invariant: a file below `dynamic_from_file` is read only while its real path (symbolic links resolved) is under the
//! allowed prefix; the rule is checked again at every read, because links can change after the load.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use weir_core::secret::Secret;

use crate::limits;

/// The environment variable that allows `dynamic_from_file`, and says below which folder.
pub const PATH_PREFIX_VARIABLE: &str = "HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX";

/// A secret, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the metadata, or taken from an environment variable at load time.
    Literal(Secret<String>),
    /// Read, and stripped of surrounding white space, each time it is needed.
    File(SecretFile),
}

impl SecretSource {
    /// The secret as it is now. Blocks when it is a file: call it off the reactor.
    pub fn resolve(&self) -> Result<Secret<String>, ResolveError> {
        match self {
            SecretSource::Literal(secret) => Ok(secret.clone()),
            SecretSource::File(file) => file.read(),
        }
    }
}

/// A file that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretFile {
    /// Where it is.
    pub path: PathBuf,
    /// The folder that it must be in: set for `dynamic_from_file`, absent for the paths of libpq parameters such as
    /// `sslrootcert`.
    pub allowed_prefix: Option<PathBuf>,
}

impl SecretFile {
    /// Reads the file and strips white space at both ends; at most [`limits::MAX_SECRET_BYTES`] bytes.
    pub fn read(&self) -> Result<Secret<String>, ResolveError> {
        let unreadable = |error: std::io::Error| ResolveError::Unreadable {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        let path = self.path.canonicalize().map_err(unreadable)?;
        if self
            .allowed_prefix
            .as_ref()
            .is_some_and(|prefix| !path.starts_with(real(prefix)))
        {
            return Err(ResolveError::OutsidePrefix(self.path.clone()));
        }
        let mut content = String::new();
        let read =
            File::open(&path).and_then(|file| file.take(limits::MAX_SECRET_BYTES + 1).read_to_string(&mut content));
        let content = Secret::new(content);
        if read.map_err(unreadable)? as u64 > limits::MAX_SECRET_BYTES {
            return Err(ResolveError::TooLong(self.path.clone()));
        }
        Ok(Secret::new(content.expose().trim().to_owned()))
    }

    /// Whether the path, as far as it exists now, is under the allowed prefix.
    pub(crate) fn is_allowed(&self) -> bool {
        let Some(prefix) = &self.allowed_prefix else {
            return true;
        };
        match self.path.canonicalize() {
            Ok(path) => path.starts_with(real(prefix)),
            // Not there yet. `read` checks the real path when it is.
            Err(_) => lexically_normal(&self.path)
                .is_some_and(|path| path.starts_with(prefix) || path.starts_with(real(prefix))),
        }
    }
}

/// Why an address or a secret could not be had at this moment. Holds paths, names and reasons, never content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The file cannot be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file's real path is not under the allowed prefix.
    OutsidePrefix(PathBuf),
    /// The file is longer than a secret can be.
    TooLong(PathBuf),
    /// The content is not what it should be; the text says in which respect and quotes nothing of it.
    Invalid {
        /// Which file, or `None` when the value is written in the metadata.
        path: Option<PathBuf>,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Unreadable { path, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            ResolveError::OutsidePrefix(path) => {
                write!(
                    f,
                    "dynamic_from_file: {} is not under {PATH_PREFIX_VARIABLE}",
                    path.display()
                )
            }
            ResolveError::TooLong(path) => {
                write!(
                    f,
                    "{} is longer than a secret may be ({} bytes)",
                    path.display(),
                    limits::MAX_SECRET_BYTES
                )
            }
            ResolveError::Invalid {
                path: Some(path),
                reason,
            } => write!(f, "{}: {reason}", path.display()),
            ResolveError::Invalid { path: None, reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for ResolveError {}

/// The path with symbolic links resolved, or as it is when it does not exist.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// An absolute path without `.` and `..`; `None` for a relative one.
fn lexically_normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal.is_absolute().then_some(normal)
}
