//! What the commands do besides `serve` and `check`; one file each.
//!
//! Each takes what `cli` read and returns an exit code: 0 it is done or all is well, 1 it is not, 2 the command line is wrong.

mod client;
pub(crate) mod completions;
mod diff;
pub(crate) mod import;
pub(crate) mod metadata;
pub(crate) mod operate;
pub(crate) mod reference;
mod stats;
pub(crate) mod status;
pub(crate) mod top;
mod yaml;

use std::{io::Write as _, process::ExitCode};

/// Writes to standard output. A closed pipe (`| head`) is how a reader says "enough".
pub(crate) fn print(bytes: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("weir: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
