//! Why a command is not carried out, in words that every backend passes on.

use std::{fmt, sync::Arc};

/// See the module. [`fmt::Display`] is the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not a command; holds the beginning of it.
    Unknown(String),
    /// The user's role does not allow it; holds the command.
    Denied(String),
    /// There is no client with this id.
    NoSuchClient(u32),
    /// No source that serves has this name, and no database name leads to one.
    NoSuchSource(String),
    /// While the command waited for a paused source to come to rest, somebody resumed it.
    Resumed(Arc<str>),
    /// The metadata were not applied; holds every reason.
    NotReloaded(Vec<String>),
    /// This process has nobody to do that; holds the command.
    Unavailable(&'static str),
}

impl Problem {
    /// More about it, if there is more to say.
    pub fn detail(&self) -> Option<String> {
        match self {
            Problem::NotReloaded(reasons) => Some(reasons.join("\n")),
            Problem::Resumed(_) => Some("Another administrator has resumed it.".to_owned()),
            Problem::Unknown(_)
            | Problem::Denied(_)
            | Problem::NoSuchClient(_)
            | Problem::NoSuchSource(_)
            | Problem::Unavailable(_) => None,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Problem::Unknown(_) => Some("SHOW HELP lists the commands of the console."),
            Problem::Denied(_) => Some("It takes a user with role: admin in gateway.yaml."),
            Problem::NoSuchClient(_) => Some("SHOW CLIENTS lists the ids."),
            Problem::NoSuchSource(_) => Some("SHOW DATABASES lists the sources, and why one does not serve."),
            Problem::NotReloaded(_) => {
                Some("What applied before still applies; \"weir check\" shows all problems at once.")
            }
            Problem::Resumed(_) | Problem::Unavailable(_) => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown(text) => write!(f, "the console knows no command \"{text}\""),
            Problem::Denied(command) => write!(f, "permission denied for {command}"),
            Problem::NoSuchClient(id) => write!(f, "there is no client {id}"),
            Problem::NoSuchSource(name) => write!(f, "there is no source \"{name}\" that serves"),
            Problem::Resumed(source) => write!(f, "source \"{source}\" was resumed before it came to rest"),
            Problem::NotReloaded(_) => f.write_str("the metadata were refused"),
            Problem::Unavailable(command) => write!(f, "{command} is not available in this process"),
        }
    }
}

impl std::error::Error for Problem {}
