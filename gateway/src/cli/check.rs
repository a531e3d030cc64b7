//! `weir check`: its flags and what its help tells.

use std::path::PathBuf;

use clap::Args;

use super::ReportFormat;

pub(super) const NOTES: &str = "\
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
