//! The command line: what can be asked for, and the help that explains it.
//!
//! One file for each group of commands: its flags, and the notes below its help. Knows names and defaults only; what a
//! command does lives with the command. Each flag that Hasura has an environment variable for honours that variable, so
//! that an existing deployment needs no new words.

mod check;
mod completions;
mod import;
mod metadata;
mod operate;
mod remote;
mod restart;
mod serve;

use clap::{Parser, Subcommand, ValueEnum, builder::styling};

pub(crate) use check::CheckArgs;
pub(crate) use completions::CompletionsArgs;
pub(crate) use import::ImportArgs;
pub(crate) use metadata::{DocumentFormat, InconsistencyCommand, MetadataArgs, MetadataCommand};
pub(crate) use operate::{DrainArgs, PauseArgs, RestartSourceArgs, ResumeArgs, StatusArgs, TopArgs};
pub(crate) use remote::Remote;
pub(crate) use restart::RestartArgs;
pub(crate) use serve::{LogFormat, ServeArgs};

const OVERVIEW: &str = "\
Weir lets hundreds of clients share a handful of PostgreSQL or SQL Server connections, one transaction at a time. Databases are \
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
`weir serve --help` and its like tell more; docs/configuration.md has every setting.";

/// What was asked for.
#[derive(Debug, Parser)]
#[command(name = "weir", version, long_version = BUILD, about = "A pooling gateway for PostgreSQL and SQL Server", long_about = OVERVIEW, after_help = EXAMPLES, styles = styles())]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the declared databases to clients, until SIGTERM
    #[command(after_help = serve::NOTES)]
    Serve(ServeArgs),
    /// Check the metadata, and with --connect the databases behind it
    #[command(after_help = check::NOTES)]
    Check(CheckArgs),
    /// What each source is doing, once
    #[command(after_help = operate::STATUS_NOTES)]
    Status(StatusArgs),
    /// What each source is doing, live
    #[command(after_help = operate::TOP_NOTES)]
    Top(TopArgs),
    /// Let a source's transactions finish, and hold the next ones back
    #[command(after_help = operate::PAUSE_NOTES)]
    Pause(PauseArgs),
    /// End a pause
    #[command(after_help = operate::RESUME_NOTES)]
    Resume(ResumeArgs),
    /// Bring sources to rest, all of them if none is named
    #[command(after_help = operate::DRAIN_NOTES)]
    Drain(DrainArgs),
    /// Give a source new server connections
    #[command(after_help = operate::RESTART_SOURCE_NOTES)]
    RestartSource(RestartSourceArgs),
    /// Apply, compare, export or reload the metadata of a running gateway
    #[command(alias = "md", after_help = metadata::NOTES)]
    Metadata(MetadataArgs),
    /// Turn a pgbouncer.ini into a metadata directory
    #[command(after_help = import::NOTES)]
    Import(ImportArgs),
    /// Print the completions of a shell
    #[command(after_help = completions::NOTES)]
    Completions(CompletionsArgs),
    /// Print the configuration reference
    #[command(hide = true)]
    Reference,
    /// Replace the process that serves, without anybody noticing
    #[command(after_help = restart::NOTES)]
    Restart(RestartArgs),
}

/// What `--version` tells; `-V` tells the number only.
const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit   ",
    env!("WEIR_BUILD_COMMIT"),
    "\nbuild    ",
    env!("WEIR_BUILD_PROFILE"),
    " for ",
    env!("WEIR_BUILD_TARGET"),
    "\ncompiler ",
    env!("WEIR_BUILD_RUSTC"),
    "\nspeaks   PostgreSQL protocol 3.0 and 3.2, TDS 7.1 to 8.0"
);

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

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
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
        for (command, wanted) in [
            ("serve", "SIGTERM"),
            ("check", "--connect"),
            ("import", "--force"),
            ("completions", "fish"),
        ] {
            let help = Cli::command()
                .find_subcommand_mut(command)
                .expect("the command exists")
                .render_long_help()
                .to_string();
            assert!(help.contains(wanted) && help.contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn notes_are_not_wrapped() {
        let mut cli = Cli::command();
        cli.build();
        let mut commands = vec![&cli];
        while let Some(command) = commands.pop() {
            let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in notes.lines() {
                assert!(line.chars().count() <= 100, "clap would break this line: {line}");
            }
            commands.extend(command.get_subcommands());
        }
    }

    #[test]
    fn zero_workers_are_refused() {
        assert!(Cli::try_parse_from(["weir", "serve", "m", "--workers", "0"]).is_err());
    }
}
