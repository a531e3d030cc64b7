//! `weir check`: everything that is wrong with the metadata at once, and with `--connect` with the databases behind it.
//!
//! Reads, asks, prints; changes nothing. No secret is printed: problems and errors hold none by their types, and what
//! they do hold is made harmless for a terminal.

pub(crate) mod connections;
pub(crate) mod json;
pub(crate) mod table;
mod text;

use std::{io::Write as _, process::ExitCode};

use weir_config::{Loaded, ProcessEnvironment, Severity};

use crate::cli::{CheckArgs, ReportFormat};

use connections::Connection;

/// Runs the command. The exit code says whether everything is usable.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let loaded = weir_config::load(&args.metadata, &ProcessEnvironment, args.strict);
    let connections = match args.connect.then(|| connect(&loaded)).transpose() {
        Ok(connections) => connections,
        Err(error) => {
            eprintln!("weir: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = print(args.format, &loaded, connections.as_deref()) {
        // A closed pipe (`weir check | head`) is how a reader says "enough".
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("weir: cannot write the report: {error}");
            return ExitCode::FAILURE;
        }
    }
    if is_usable(&loaded, connections.as_deref(), args.strict) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn connect(loaded: &Loaded) -> std::io::Result<Vec<Connection>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(connections::probe_all(&loaded.metadata)))
}

fn print(format: ReportFormat, loaded: &Loaded, connections: Option<&[Connection]>) -> std::io::Result<()> {
    match format {
        ReportFormat::Text => text::write(&mut anstream::stdout().lock(), loaded, connections),
        ReportFormat::Json => writeln!(std::io::stdout().lock(), "{:#}", json::report(loaded, connections)),
    }
}

/// Limits that do not fit are said, but are no failure: several pools are rarely full at the same moment.
fn is_usable(loaded: &Loaded, connections: Option<&[Connection]>, strict: bool) -> bool {
    let worst = if strict { Severity::Warning } else { Severity::Error };
    let sound = loaded.problems.iter().all(|problem| problem.severity > worst);
    sound
        && connections
            .unwrap_or_default()
            .iter()
            .all(|connection| connection.outcome.is_ok())
}
