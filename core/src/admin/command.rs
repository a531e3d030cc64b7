//! What can be said to the console. Pure.

use std::fmt;

use super::{Column, explain, tables, words};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SHOW topic`
    Show(Topic),
    /// `EXPLAIN POOL source`
    ExplainPool(SourceName),
    /// `PAUSE [source]`
    Pause(Scope),
    /// `RESUME [source]`
    Resume(Scope),
    /// `RECONNECT [source]`
    Reconnect(Scope),
    /// `WAIT_CLOSE [source]`
    WaitClose(Scope),
    /// `KILL [source]`
    Kill(Scope),
    /// `KILL_CLIENT id`
    KillClient(u32),
    /// `DISABLE source`
    Disable(SourceName),
    /// `ENABLE source`
    Enable(SourceName),
    /// `RELOAD`
    Reload,
    /// `SHUTDOWN [WAIT_FOR_SERVERS]`
    Shutdown(Shutdown),
}

/// A source, by its own name or one of its database names.
pub type SourceName = Box<str>;

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every source that serves.
    All,
    /// One source.
    One(SourceName),
}

/// How to end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Whatever runs is cut off.
    AtOnce,
    /// Clients end at their next transaction border, as with SIGTERM.
    WaitForServers,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/admin.md has a section for each")]
pub enum Topic {
    Clients,
    Config,
    Databases,
    Help,
    Lists,
    Pins,
    PinTotals,
    Pools,
    Servers,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Users,
    Version,
    Waits,
}

/// Bytes of an unknown command that are quoted.
const QUOTED: usize = 60;

impl Command {
    /// Reads the commands of a text, separated by semicolons. None at all is an empty list.
    ///
    /// # Errors
    /// [`super::Problem::Unknown`] for the first that is none.
    pub fn parse(text: &str) -> Result<Vec<Command>, super::Problem> {
        words::commands(text)
            .into_iter()
            .map(|(words, said)| {
                let words: Option<Vec<_>> = words;
                words
                    .and_then(|words| Command::of(&words))
                    .ok_or_else(|| super::Problem::Unknown(said.chars().take(QUOTED).collect()))
            })
            .collect()
    }

    fn of(words: &[words::Word]) -> Option<Command> {
        let (verb, rest) = words.split_first()?;
        let scope = || match rest {
            [] => Some(Scope::All),
            [source] => Some(Scope::One(source.name())),
            _ => None,
        };
        let source = || match rest {
            [source] => Some(source.name()),
            _ => None,
        };
        match (verb.keyword().as_str(), rest) {
            ("help", []) => Some(Command::Show(Topic::Help)),
            ("show", [topic]) => {
                let topic = topic.keyword();
                let found = Topic::ALL.into_iter().find(|known| known.name() == topic);
                found.map(Command::Show)
            }
            ("explain", [pool, source]) if pool.keyword() == "pool" => Some(Command::ExplainPool(source.name())),
            ("pause", _) => scope().map(Command::Pause),
            ("resume", _) => scope().map(Command::Resume),
            ("reconnect", _) => scope().map(Command::Reconnect),
            ("wait_close", _) => scope().map(Command::WaitClose),
            ("kill", _) => scope().map(Command::Kill),
            ("kill_client", [id]) => id.keyword().parse().map(Command::KillClient).ok(),
            ("disable", _) => source().map(Command::Disable),
            ("enable", _) => source().map(Command::Enable),
            ("reload", []) => Some(Command::Reload),
            ("shutdown", []) => Some(Command::Shutdown(Shutdown::AtOnce)),
            ("shutdown", [how]) if how.keyword() == "wait_for_servers" => {
                Some(Command::Shutdown(Shutdown::WaitForServers))
            }
            _ => None,
        }
    }

    /// The columns of its answer, the same at any time; `None` if it is answered without rows.
    pub fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Command::Show(topic) => Some(topic.columns()),
            Command::ExplainPool(_) => Some(explain::COLUMNS),
            _ => None,
        }
    }

    /// Its first word, which is also what it is answered with when it is done.
    pub fn tag(&self) -> &'static str {
        match self {
            Command::Show(_) => "SHOW",
            Command::ExplainPool(_) => "EXPLAIN",
            Command::Pause(_) => "PAUSE",
            Command::Resume(_) => "RESUME",
            Command::Reconnect(_) => "RECONNECT",
            Command::WaitClose(_) => "WAIT_CLOSE",
            Command::Kill(_) => "KILL",
            Command::KillClient(_) => "KILL_CLIENT",
            Command::Disable(_) => "DISABLE",
            Command::Enable(_) => "ENABLE",
            Command::Reload => "RELOAD",
            Command::Shutdown(_) => "SHUTDOWN",
        }
    }

    /// One of each kind, for tables of help and of rights. Tests see to it that none is missing.
    pub fn samples() -> Vec<Command> {
        let source = || SourceName::from("source");
        let one = || Scope::One(source());
        let shows = Topic::ALL.into_iter().map(Command::Show);
        let others = [
            Command::ExplainPool(source()),
            Command::Pause(one()),
            Command::Resume(one()),
            Command::Reconnect(one()),
            Command::WaitClose(one()),
            Command::Kill(one()),
            Command::KillClient(0),
            Command::Disable(source()),
            Command::Enable(source()),
            Command::Reload,
            Command::Shutdown(Shutdown::WaitForServers),
            Command::Shutdown(Shutdown::AtOnce),
        ];
        shows.chain(others).collect()
    }
}

impl Topic {
    /// All of them, in the order of their names.
    pub const ALL: [Topic; 16] = [
        Topic::Clients,
        Topic::Config,
        Topic::Databases,
        Topic::Help,
        Topic::Lists,
        Topic::Pins,
        Topic::PinTotals,
        Topic::Pools,
        Topic::Servers,
        Topic::State,
        Topic::Stats,
        Topic::StatsAverages,
        Topic::StatsTotals,
        Topic::Users,
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
            Topic::Lists => "lists",
            Topic::Pins => "pins",
            Topic::PinTotals => "pin_totals",
            Topic::Pools => "pools",
            Topic::Servers => "servers",
            Topic::State => "state",
            Topic::Stats => "stats",
            Topic::StatsAverages => "stats_averages",
            Topic::StatsTotals => "stats_totals",
            Topic::Users => "users",
            Topic::Version => "version",
            Topic::Waits => "waits",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Topic::Clients => "who is connected, what they are doing, which server connection they hold and why",
            Topic::Config => "the settings that apply, and where each was set",
            Topic::Databases => "the sources, whether they serve, and their limits",
            Topic::Help => "this",
            Topic::Lists => "how many sources, pools, users, clients and server connections there are",
            Topic::Pins => "the clients that keep their server connection between transactions: reason and statement",
            Topic::PinTotals => "how often and how long clients have kept one, by reason",
            Topic::Pools => "server connections and clients of each pool at this moment",
            Topic::Servers => "each server connection, and which client has it",
            Topic::State => "whether anything is paused",
            Topic::Stats => "transactions, queries, bytes and times of each pool since the start",
            Topic::StatsAverages => "the averages of SHOW STATS",
            Topic::StatsTotals => "the totals of SHOW STATS",
            Topic::Users => "the declared users, their limits, and what they hold",
            Topic::Version => "the version of this program",
            Topic::Waits => "how long clients wait for server connections, and the limit that makes them",
        }
    }
}

impl Command {
    /// How it is written, with what may follow it.
    pub(super) fn usage(&self) -> String {
        let form = match self {
            Command::Show(_) | Command::Reload | Command::Shutdown(_) => "",
            Command::KillClient(_) => " id",
            Command::Pause(_) | Command::Resume(_) | Command::Reconnect(_) | Command::WaitClose(_) => " [source]",
            Command::Kill(_) => " [source]",
            Command::Disable(_) | Command::Enable(_) => " source",
            Command::ExplainPool(_) => return "EXPLAIN POOL source".to_owned(),
        };
        match self {
            Command::Show(_) | Command::Reload | Command::Shutdown(_) => self.to_string(),
            _ => format!("{}{form}", self.tag()),
        }
    }

    /// What it does, in one line.
    pub(super) fn about(&self) -> &'static str {
        match self {
            Command::Show(topic) => topic.about(),
            Command::ExplainPool(_) => "why clients wait, who holds what and why, and what to do about it",
            Command::Pause(_) => "no transaction begins; returns when every server connection is closed",
            Command::Resume(_) => "serves again after PAUSE or KILL",
            Command::Reconnect(_) => "closes every server connection at its next release, and opens new ones",
            Command::WaitClose(_) => "returns when no server connection from before RECONNECT or RELOAD is left",
            Command::Kill(_) => "ends all clients and server connections now; new clients wait until RESUME",
            Command::KillClient(_) => "ends a client; id is that of SHOW CLIENTS",
            Command::Disable(_) => "takes no new clients; those that are there stay",
            Command::Enable(_) => "takes new clients again",
            Command::Reload => "reads the metadata again and applies it as a whole, or says what is wrong with it",
            Command::Shutdown(Shutdown::AtOnce) => "ends this program now",
            Command::Shutdown(Shutdown::WaitForServers) => {
                "ends this program; clients go at their next transaction border"
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => Ok(()),
            Scope::One(source) => write!(f, " {}", words::quoted(source)),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag();
        match self {
            Command::Show(topic) => write!(f, "SHOW {}", topic.name().to_ascii_uppercase()),
            Command::ExplainPool(source) => write!(f, "EXPLAIN POOL {}", words::quoted(source)),
            Command::Pause(scope)
            | Command::Resume(scope)
            | Command::Reconnect(scope)
            | Command::WaitClose(scope)
            | Command::Kill(scope) => write!(f, "{tag}{scope}"),
            Command::KillClient(id) => write!(f, "{tag} {id}"),
            Command::Disable(source) | Command::Enable(source) => write!(f, "{tag} {}", words::quoted(source)),
            Command::Reload | Command::Shutdown(Shutdown::AtOnce) => f.write_str(tag),
            Command::Shutdown(Shutdown::WaitForServers) => write!(f, "{tag} WAIT_FOR_SERVERS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Problem;

    fn one(name: &str) -> Scope {
        Scope::One(name.into())
    }

    #[test]
    fn commands_are_words_in_any_case_and_any_space() {
        assert_eq!(
            Command::parse(" show\n POOLS ;; Kill_Client 7; "),
            Ok(vec![Command::Show(Topic::Pools), Command::KillClient(7)])
        );
        assert_eq!(Command::parse(" ; "), Ok(vec![]));
        assert_eq!(Command::parse("HELP"), Ok(vec![Command::Show(Topic::Help)]));
    }

    #[test]
    fn names_of_sources_keep_their_case_and_may_be_quoted() {
        for (text, expected) in [
            ("pause", Command::Pause(Scope::All)),
            ("PAUSE Ledger", Command::Pause(one("Ledger"))),
            ("resume \"my; \"\"own\"\" db\"", Command::Resume(one("my; \"own\" db"))),
            ("kill 'it''s'", Command::Kill(one("it's"))),
            ("explain pool \"Pool\"", Command::ExplainPool("Pool".into())),
            ("shutdown wait_for_servers", Command::Shutdown(Shutdown::WaitForServers)),
        ] {
            assert_eq!(Command::parse(text), Ok(vec![expected.clone()]));
            assert_eq!(Command::parse(&expected.to_string()), Ok(vec![expected]));
        }
    }

    #[test]
    fn every_command_is_read_as_it_is_written() {
        for command in Command::samples() {
            assert_eq!(Command::parse(&command.to_string()), Ok(vec![command.clone()]));
            assert!(command.usage().starts_with(command.tag()));
            assert!(!command.about().is_empty());
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
            "pause a b",
            "disable",
            "reload now",
            "shutdown wait_for_clients",
            "explain ledger",
            "pause \"ledger",
            "\"pause\" ledger",
            "pause \"\"",
        ] {
            assert_eq!(Command::parse(text), Err(Problem::Unknown(text.to_owned())));
        }
        let Err(Problem::Unknown(quoted)) = Command::parse(&"é".repeat(1_000)) else {
            panic!("not a command");
        };
        assert_eq!(quoted.chars().count(), QUOTED);
    }
}
