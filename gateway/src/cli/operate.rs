//! `weir status`, `top`, `pause`, `resume`, `drain`, `restart-source`: their flags and what their help tells.

use std::time::Duration;

use clap::Args;

use super::{ReportFormat, remote::Remote, seconds};

pub(super) const STATUS_NOTES: &str = "\
One line for each source: its state, its clients, and how full its pools are.

  running        serves; clients wait only while the pool is full
  pausing        paused, and clients still hold server connections
  paused         no server connection is open; clients wait until `weir resume`
  inconsistent   its metadata is wrong: `weir check` or `weir metadata ic list` say why

Exit codes:
  0   every source serves
  1   a source does not, or is in trouble
  2   wrong command line
  3   the gateway cannot be asked

Examples:
  weir status
  weir status --format json | jq '.sources[] | {name, state}'";

pub(super) const TOP_NOTES: &str = "\
Keys:
  s, S        sort by the next, the previous column     r   turn the order around
  up, down    choose a source                           p   its pins and waits: who, why, since when
  space       stop and go on                            q   leave (also Ctrl-C)

When the output is no terminal, the table is printed once, over one interval.

Examples:
  weir top
  weir top --interval 5 --sort waiting
  weir top > snapshot.txt";

pub(super) const PAUSE_NOTES: &str = "\
Lets running transactions of a source finish, begins nothing new, and closes its server
connections: the database can be restarted or moved. Clients stay connected and wait; none
sees an error before its pool_timeout.

If the source is not at rest within --timeout, it is resumed and nothing has changed. With
--no-wait the command returns at once and the source stays paused.

Exit codes:
  0   paused (with --no-wait: told to)
  1   not paused, and the message says why
  2   wrong command line

Examples:
  weir pause orders && systemctl restart postgresql && weir resume orders
  weir pause orders --timeout 120";

pub(super) const RESUME_NOTES: &str = "\
Examples:
  weir resume orders
  weir resume                 every source that is paused";

pub(super) const DRAIN_NOTES: &str = "\
Brings sources to rest for maintenance: like `weir pause`, but for as many as you name, or
all of them, and what has been reached is kept: a source that is not at rest in time stays
paused and finishes by itself. Shows who is still waited for. `weir resume` ends it.

To stop the process instead, send it SIGTERM: running transactions finish, clients are told
to connect again. To replace it without anybody noticing, use `weir restart`.

Exit codes:
  0   at rest
  1   not all at rest within --timeout; still paused
  2   wrong command line

Examples:
  weir drain
  weir drain orders ledger --timeout 300";

pub(super) const RESTART_SOURCE_NOTES: &str = "\
Opens new server connections and closes each old one when it comes back from its client: after
a failover, a change of roles, an upgrade of an extension. No query fails for it, and no client
waits longer than for a new connection.

Examples:
  weir restart-source orders";

/// What `weir status` takes.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this source
    pub(crate) source: Option<String>,
    /// text for people, json for programs
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `weir top` takes.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(long, short, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    pub(crate) interval: Duration,
    /// The column to sort by
    #[arg(long, value_enum, default_value_t = crate::commands::top::Column::Waiting)]
    pub(crate) sort: crate::commands::top::Column,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `weir pause` takes.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The source
    pub(crate) source: String,
    /// Seconds to wait for running transactions
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub(crate) timeout: Duration,
    /// Return at once
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) no_wait: bool,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `weir resume` takes.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The sources [default: all that are paused]
    pub(crate) sources: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `weir drain` takes.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The sources [default: all]
    pub(crate) sources: Vec<String>,
    /// Seconds to wait for running transactions
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub(crate) timeout: Duration,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `weir restart-source` takes.
#[derive(Debug, Args)]
pub(crate) struct RestartSourceArgs {
    /// The source
    pub(crate) source: String,
    /// Where.
    #[command(flatten)]
    pub(crate) remote: Remote,
}
