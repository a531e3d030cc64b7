//! What can be said to the console. Pure.

use std::fmt;

use super::{Column, tables};

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SHOW topic`
    Show(Topic),
    /// `KILL_CLIENT id`
    KillClient(u32),
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/admin.md has a section for each")]
pub enum Topic {
    Clients,
    Config,
    Databases,
    Help,
    Pins,
    PinTotals,
    Pools,
    Servers,
    Stats,
    Version,
    Waits,
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not a command; holds the beginning of it.
    Unknown(String),
    /// The user's role does not allow it; holds the command.
    Denied(String),
    /// There is no client with this id.
    NoSuchClient(u32),
}

/// Bytes of an unknown command that are quoted.
const QUOTED: usize = 60;

impl Command {
    /// Reads the commands of a text, separated by semicolons. None at all is an empty list.
    ///
    /// # Errors
    /// [`Problem::Unknown`] for the first that is none.
    pub fn parse(text: &str) -> Result<Vec<Command>, Problem> {
        let commands = text.split(';').map(str::trim).filter(|command| !command.is_empty());
        commands.map(Command::one).collect()
    }

    fn one(text: &str) -> Result<Command, Problem> {
        let words: Vec<String> = text.split_whitespace().take(4).map(str::to_ascii_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let unknown = || Problem::Unknown(text.chars().take(QUOTED).collect());
        match words[..] {
            ["help"] => Ok(Command::Show(Topic::Help)),
            ["show", topic] => {
                let found = Topic::ALL.into_iter().find(|known| known.name() == topic);
                found.map(Command::Show).ok_or_else(unknown)
            }
            ["kill_client", id] => id.parse().map(Command::KillClient).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl Topic {
    /// All of them, in the order of their names.
    pub const ALL: [Topic; 11] = [
        Topic::Clients,
        Topic::Config,
        Topic::Databases,
        Topic::Help,
        Topic::Pins,
        Topic::PinTotals,
        Topic::Pools,
        Topic::Servers,
        Topic::Stats,
        Topic::Version,
        Topic::Waits,
    ];

    /// The columns of its table, the same at any time.
    pub fn columns(self) -> &'static [Column] {
        tables::columns(self)
    }

    /// What follows SHOW, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Clients => "clients",
            Topic::Config => "config",
            Topic::Databases => "databases",
            Topic::Help => "help",
            Topic::Pins => "pins",
            Topic::PinTotals => "pin_totals",
            Topic::Pools => "pools",
            Topic::Servers => "servers",
            Topic::Stats => "stats",
            Topic::Version => "version",
            Topic::Waits => "waits",
        }
    }

    /// In one line.
    pub(super) fn about(self) -> &'static str {
        match self {
            Topic::Clients => "who is connected, what they are doing, which server connection they hold and why",
            Topic::Config => "the settings that apply, and where each was set",
            Topic::Databases => "the sources, whether they serve, and their limits",
            Topic::Help => "this",
            Topic::Pins => "the clients that keep their server connection between transactions: reason and statement",
            Topic::PinTotals => "how often and how long clients have kept one, by reason",
            Topic::Pools => "server connections and clients of each pool at this moment",
            Topic::Servers => "each server connection, and which client has it",
            Topic::Stats => "transactions, queries, bytes and times of each pool since the start",
            Topic::Version => "the version of this program",
            Topic::Waits => "how long clients wait for server connections, and the limit that makes them",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Show(topic) => write!(f, "SHOW {}", topic.name().to_ascii_uppercase()),
            Command::KillClient(id) => write!(f, "KILL_CLIENT {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_in_any_case_and_any_space() {
        assert_eq!(
            Command::parse(" show\n POOLS ;; Kill_Client 7; "),
            Ok(vec![Command::Show(Topic::Pools), Command::KillClient(7)])
        );
        assert_eq!(Command::parse(" ; "), Ok(vec![]));
        assert_eq!(Command::parse("HELP"), Ok(vec![Command::Show(Topic::Help)]));
        for topic in Topic::ALL {
            let command = Command::Show(topic);
            assert_eq!(Command::parse(&command.to_string()), Ok(vec![command]));
        }
    }

    #[test]
    fn what_is_no_command_is_quoted_in_part() {
        for text in [
            "select 1",
            "show",
            "show pools clients",
            "kill_client -1",
            "kill_client",
            "show nothing",
        ] {
            assert_eq!(Command::parse(text), Err(Problem::Unknown(text.to_owned())));
        }
        let Err(Problem::Unknown(quoted)) = Command::parse(&"é".repeat(1_000)) else {
            panic!("not a command");
        };
        assert_eq!(quoted.chars().count(), QUOTED);
    }
}
