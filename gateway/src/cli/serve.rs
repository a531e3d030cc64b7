//! `weir serve`: its flags and what its help tells.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::seconds;

pub(super) const NOTES: &str = "\
Metadata:
  A metadata directory (version.yaml, databases/databases.yaml, gateway.yaml), or one
  metadata.yaml or metadata.json with a `sources` key, or a bare databases.yaml.
  A source that is wrong answers its own clients with the reason and affects nothing else;
  --strict refuses to start instead.

Signals:
  SIGHUP            read the metadata again; changes of its files are noticed without it
  SIGTERM, SIGINT   stop accepting, let running transactions finish within --drain-timeout,
                    then exit with 0; a second one ends at once

Restart:
  weir restart METADATA, or a second weir serve METADATA --takeover, replaces the process
  without refusing a connection: docs/restart.md

Exit codes:
  0   stopped by a signal
  1   nothing usable in the metadata, or no listener could be opened
  2   wrong command line

Examples:
  weir serve metadata
  weir serve metadata --log-format json --workers 4
  RUST_LOG=weir_core=debug weir serve metadata";

/// What `weir serve` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// The metadata directory or file
    #[arg(value_name = "METADATA")]
    pub(crate) metadata: PathBuf,
    /// How log lines look; they go to standard error
    #[arg(long, value_name = "FORMAT", value_enum, env = "WEIR_LOG_FORMAT", default_value_t = LogFormat::Pretty)]
    pub(crate) log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as `weir_core=debug,warn`
    ///
    /// Without it RUST_LOG counts, then HASURA_GRAPHQL_LOG_LEVEL, then `info`.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Threads that serve clients [default: one for every two cores]
    #[arg(long, value_name = "N", env = "WEIR_WORKERS")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Seconds that running transactions get to finish after SIGTERM
    ///
    /// Without it HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT counts, then 60.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Take over from the process that serves this metadata, if there is one
    ///
    /// It hands its listening sockets over, and finishes with its clients. If this process cannot serve, it goes on.
    #[arg(long)]
    pub(crate) takeover: bool,
    /// Seconds that this process serves on what clients it has left when another has taken over
    ///
    /// The default is as long as connection pools usually keep a connection.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    pub(crate) takeover_patience: Duration,
    /// Where successors and `weir restart` find this process [default: by the metadata's name, see docs/restart.md]
    #[arg(long, value_name = "PATH", env = "WEIR_CONTROL_SOCKET")]
    pub(crate) control_socket: Option<PathBuf>,
    /// Refuse to start when the metadata has any error or warning
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object for each line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_is_a_drain_timeout_and_a_negative_one_is_not() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err() && seconds("inf").is_err());
    }
}
