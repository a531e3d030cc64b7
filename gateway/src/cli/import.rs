//! `weir import`: its flags and what its help tells.

use std::path::PathBuf;

use clap::Args;

pub(super) const NOTES: &str = "\
Reads pgbouncer.ini with everything it includes and its userlist.txt, and writes a metadata
directory that means the same: version.yaml, databases/databases.yaml, gateway.yaml. Each
setting that has no equivalent, or means something else, is reported with file and line.

Secrets:
  Clear-text passwords are written to files of their own below DIR/secrets, readable by their
  owner only, and referred to as {dynamic_from_file: …}; serve with
  HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX=DIR/secrets. SCRAM verifiers are no
  passwords and stand in gateway.yaml. An md5 hash cannot be used for SCRAM: such a user is
  left out with the reason, and is in again once it has a verifier or an auth_query.

Nothing that exists is overwritten without --force. Nothing is connected to.

Exit codes:
  0   written, or with --dry-run: could be
  1   not written: the file cannot be read, or something would be overwritten
  2   wrong command line

Examples:
  weir import /etc/pgbouncer/pgbouncer.ini --dry-run
  weir import /etc/pgbouncer/pgbouncer.ini --output metadata
  weir check metadata --connect";

/// What `weir import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// PgBouncer's configuration
    #[arg(value_name = "PGBOUNCER_INI")]
    pub(crate) file: PathBuf,
    /// The metadata directory to write
    #[arg(long, short, value_name = "DIR", default_value = "metadata")]
    pub(crate) output: PathBuf,
    /// Overwrite files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what would be written, without secrets, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
