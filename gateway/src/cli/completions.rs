//! `weir completions`: its flags and what its help tells.

use clap::Args;
use clap_complete::Shell;

pub(super) const NOTES: &str = "\
Examples:
  weir completions bash > /etc/bash_completion.d/weir
  weir completions zsh  > \"${fpath[1]}/_weir\"
  weir completions fish > ~/.config/fish/completions/weir.fish
  source <(weir completions bash)       for this shell only";

/// What `weir completions` takes.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
