//! `weir restart`: its flags and what its help tells.

use std::path::PathBuf;

use clap::Args;

pub(super) const NOTES: &str = "\
The process that serves this metadata starts its successor itself: the binary that is at its
path now, with its own arguments and environment. The successor gets the listening sockets,
so no connection attempt is refused, and the old process finishes with its clients.
If the successor cannot start, the old process goes on, and this command says so.

Exit codes:
  0   the successor serves
  1   nothing has changed; the message says why

Examples:
  weir restart metadata
  weir restart metadata --control-socket /run/weir/control.sock

docs/restart.md tells what clients notice, and how this goes with systemd and Kubernetes.";

/// What `weir restart` takes.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The metadata directory or file, as it was given to `weir serve`
    #[arg(value_name = "METADATA")]
    pub(crate) metadata: PathBuf,
    /// The control socket, if `weir serve` was given one
    #[arg(long, value_name = "PATH", env = "WEIR_CONTROL_SOCKET")]
    pub(crate) control_socket: Option<PathBuf>,
}
