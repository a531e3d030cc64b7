//! The command line: what can be asked for, and the help that explains it.
//!
//! Knows names and defaults only; what a command does lives with the command. Each flag that Hasura has an environment
//! variable for honours that variable, so that an existing deployment needs no new words.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::styling};

const OVERVIEW: &str = "\
Weir lets hundreds of clients share a handful of PostgreSQL connections, one transaction at a time. Databases are \
declared in a Hasura metadata directory; clients connect with their ordinary drivers.";

const EXAMPLES: &str = "\
Examples:
  weir check metadata                 every problem in the metadata, with file, line and column
  weir check metadata --connect       and whether each database can be reached with what is declared
  weir serve metadata                 listen on 6432, until SIGTERM
  psql -h localhost -p 6432 -U app orders

A metadata directory needs one file, databases/databases.yaml:
  - name: orders
    kind: postgres
    configuration:
      connection_info:
        database_url: {from_env: ORDERS_DATABASE_URL}
        pool_settings: {max_connections: 20}

Listeners, users and everything that Hasura has no word for go into gateway.yaml beside databases/.
`weir serve --help` and `weir check --help` tell more; docs/settings.md has every setting.";

const SERVE_NOTES: &str = "\
Metadata:
  A metadata directory (version.yaml, databases/databases.yaml, gateway.yaml), or one
  metadata.yaml or metadata.json with a `sources` key, or a bare databases.yaml.
  A source that is wrong answers its own clients with the reason and affects nothing else;
  --strict refuses to start instead.

Signals:
  SIGHUP            read the metadata again; changes of its files are noticed without it
  SIGTERM, SIGINT   stop accepting, let running transactions finish within --drain-timeout,
                    then exit with 0; a second one ends at once

Exit codes:
  0   stopped by a signal
  1   nothing usable in the metadata, or no listener could be opened
  2   wrong command line

Examples:
  weir serve metadata
  weir serve metadata --log-format json --workers 4
  RUST_LOG=weir_core=debug weir serve metadata";

const CHECK_NOTES: &str = "\
Prints every problem at once, with file, line and column, then a line for each source.

With --connect, each database is opened once with exactly the settings that `weir serve`
would use, all of them in parallel, each within its connect_timeout: version, latency, role,
and whether the pools' limits fit into what the database allows. Nothing is written to it.

Exit codes:
  0   usable (warnings are allowed, unless --strict)
  1   at least one error, or a database that cannot be reached
  2   wrong command line

Examples:
  weir check metadata
  weir check metadata --connect
  weir check metadata --format json | jq '.problems[] | select(.severity == \"error\")'";

/// What was asked for.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about = "A pooling gateway for PostgreSQL", long_about = OVERVIEW, after_help = EXAMPLES, styles = styles())]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the declared databases to clients, until SIGTERM
    #[command(after_help = SERVE_NOTES)]
    Serve(ServeArgs),
    /// Check the metadata, and with --connect the databases behind it
    #[command(after_help = CHECK_NOTES)]
    Check(CheckArgs),
}

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
    /// Threads that serve clients [default: one for each core]
    #[arg(long, value_name = "N", env = "WEIR_WORKERS")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Seconds that running transactions get to finish after SIGTERM
    ///
    /// Without it HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT counts, then 60.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Refuse to start when the metadata has any error or warning
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What `weir check` takes.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The metadata directory or file
    #[arg(value_name = "METADATA")]
    pub(crate) metadata: PathBuf,
    /// Open each database once and tell what was found
    #[arg(long)]
    pub(crate) connect: bool,
    /// Count warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// text for people, json for programs
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object for each line
    Json,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Reads the command line. Ends the process with help, or with a message that shows the way.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let hint = missing_command(&error);
        // `error.exit()` would end the process before the hint; the codes are the same.
        let _ = error.print();
        if let Some(hint) = hint {
            eprintln!("\n{hint}");
        }
        std::process::exit(error.exit_code());
    })
}

/// `weir metadata` is not taken as `weir serve metadata`, because a directory may be called `check`; but it is what
/// people try first.
fn missing_command(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let given = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(given))) => given,
        _ => return None,
    };
    std::path::Path::new(given)
        .exists()
        .then(|| format!("To serve this metadata: weir serve {given}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds, such as 60".to_owned())
}

fn styles() -> styling::Styles {
    styling::Styles::styled()
        .header(styling::Style::new().bold())
        .usage(styling::Style::new().bold())
        .literal(styling::AnsiColor::Cyan.on_default())
        .placeholder(styling::Style::new())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_how_it_is_used() {
        for (command, wanted) in [("serve", "SIGTERM"), ("check", "--connect")] {
            let help = Cli::command()
                .find_subcommand_mut(command)
                .expect("the command exists")
                .render_long_help()
                .to_string();
            assert!(help.contains(wanted) && help.contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_is_a_drain_timeout_and_a_negative_one_is_not() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err() && seconds("inf").is_err());
    }

    #[test]
    fn notes_are_not_wrapped() {
        for line in [EXAMPLES, SERVE_NOTES, CHECK_NOTES]
            .iter()
            .flat_map(|notes| notes.lines())
        {
            assert!(line.chars().count() <= 100, "clap would break this line: {line}");
        }
    }

    #[test]
    fn zero_workers_are_refused() {
        assert!(Cli::try_parse_from(["weir", "serve", "m", "--workers", "0"]).is_err());
    }
}
