//! `weir metadata`: its flags and what its help tells. Names, messages and exit codes are those of Hasura's command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::remote::Remote;

pub(super) const NOTES: &str = "\
The metadata of a running gateway, over its HTTP interface: `weir serve` opens it at
127.0.0.1:8080 unless `admin` in gateway.yaml says otherwise. The commands, messages and exit
codes are those of `hasura metadata`, which works with Weir as well.

What is sent and received is the document of Hasura's API: databases.yaml and whatever else of
Hasura's stands in the directory. gateway.yaml is not part of it: it is read where the gateway
runs.

Exit codes:
  0   done; inconsistent metadata is a warning, as in Hasura
  1   not done, and the message says why; `inconsistency status`: it is inconsistent
  2   wrong command line

Examples:
  weir metadata diff metadata
  weir metadata apply metadata
  weir metadata reload
  weir metadata ic list
  HASURA_GRAPHQL_ENDPOINT=http://gateway:8080 weir metadata export copy";

/// What `weir metadata` takes.
#[derive(Debug, Args)]
pub(crate) struct MetadataArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: MetadataCommand,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum MetadataCommand {
    /// Make the gateway's metadata what a directory says
    Apply {
        /// The metadata directory or file
        #[arg(default_value = "metadata")]
        directory: PathBuf,
        /// Print what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
        /// Refuse metadata with anything inconsistent in it, instead of applying the rest
        #[arg(long)]
        disallow_inconsistent_metadata: bool,
        /// How --dry-run prints
        #[arg(long, short, value_enum, default_value_t = DocumentFormat::Yaml)]
        output: DocumentFormat,
    },
    /// Compare a directory with the gateway's metadata, or two directories
    Diff {
        /// The directory that is compared
        #[arg(default_value = "metadata")]
        first: PathBuf,
        /// The directory it is compared with, instead of the gateway
        second: Option<PathBuf>,
        /// Exit with 1 when there is a difference
        #[arg(long)]
        exit_code: bool,
    },
    /// Read environment variables and files again, and connect anew what was inconsistent
    Reload,
    /// Write the gateway's metadata into a directory
    ///
    /// Files that say the same stay as they are, with their comments; what is in no file of Hasura's stays.
    Export {
        /// The metadata directory; made if it is missing
        #[arg(default_value = "metadata")]
        directory: PathBuf,
        /// Print it instead
        #[arg(long, short, value_enum)]
        output: Option<DocumentFormat>,
    },
    /// Look after what is inconsistent
    #[command(alias = "ic")]
    Inconsistency {
        /// What to do.
        #[command(subcommand)]
        command: InconsistencyCommand,
    },
    /// Remove every source from the gateway
    Clear,
}

/// `weir metadata inconsistency`
#[derive(Debug, Subcommand)]
pub(crate) enum InconsistencyCommand {
    /// Whether anything is; exit code 1 if so
    Status,
    /// What is, and why
    #[command(alias = "ls")]
    List {
        /// text for people, json for programs
        #[arg(long, short, value_enum, default_value_t = super::ReportFormat::Text)]
        output: super::ReportFormat,
    },
    /// Remove it from the metadata
    Drop,
}

/// How a document is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentFormat {
    /// For people
    Yaml,
    /// For programs
    Json,
}
