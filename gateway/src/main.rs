//! The binary `weir`: command line, composition of the crates, start and stop. No protocol and no pool logic.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod commands;
mod http;
mod logging;
mod metrics;
mod otlp;
mod serve;
mod usable;

use std::process::ExitCode;

use cli::{Cli, Command};

/// As clap's own: the command line, or what stands for it in the environment, is wrong.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let Cli { command } = cli::parse();
    match command {
        Command::Check(args) => check::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Top(args) => commands::top::run(&args),
        Command::Pause(args) => commands::operate::pause(&args),
        Command::Resume(args) => commands::operate::resume(&args),
        Command::Drain(args) => commands::operate::drain(&args),
        Command::RestartSource(args) => commands::operate::restart(&args),
        Command::Metadata(args) => commands::metadata::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Reference => commands::reference::run(),
        Command::Restart(args) => serve::takeover::restart::run(&args),
        Command::Serve(args) => match logging::start(args.log_format, args.log_level.as_deref()) {
            Ok(()) => serve::run(&args),
            Err(error) => {
                eprintln!("weir: {error}");
                ExitCode::from(WRONG_USAGE)
            }
        },
    }
}
