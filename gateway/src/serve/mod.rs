//! `weir serve`: puts the crates together, runs them, and ends them in order.
//!
//! The order is the point: signals are heard before anything is opened; every listener is bound before any is served, so
//! that a port in use is an error at the start; listeners stop before clients are told to end, and pools close after the
//! last client. What is wrong with one source or listener stays with it. While it runs, the metadata may change: see
//! `running`.

mod certificates;
pub(crate) mod change;
mod changes;
pub(crate) mod control;
mod files;
pub(crate) mod health;
mod listener_tls;
mod listeners;
mod operator;
mod reloads;
mod running;
mod settled;
mod signals;
mod sources;
mod systemd;
pub(crate) mod takeover;

use std::{io, num::NonZeroUsize, process::ExitCode, time::Duration};

use tokio::runtime;
use tracing::{error, info, warn};
use weir_config::{Metadata, Problem, Severity};

use crate::{cli::ServeArgs, usable};

use running::Running;
use signals::Signals;

/// How long idle server connections get to say good-bye at the very end. Whoever needs longer is closed by the system.
const GOODBYE: Duration = Duration::from_millis(300);

/// The same beside a successor, which opens connections in their place as soon as this process is gone: longer than a pool
/// waits for the database to close its end.
const GOODBYE_TO_A_SUCCESSOR: Duration = Duration::from_secs(3);

/// Runs the command until a signal ends it.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let workers = args.workers.unwrap_or_else(usual_workers);
    match runtime(workers) {
        Ok(runtime) => {
            let code = runtime.block_on(serve(args, workers));
            // A thread that waits for a name server or a disk must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            error!(%error, workers, "cannot start the threads that serve clients");
            ExitCode::FAILURE
        }
    }
}

/// One thread for every two cores. A thread serves some 50,000 transactions a second, and more of them cost more than they
/// bring where databases and applications share the cores: on two cores, two threads took 2 to 16 % more CPU for a
/// transaction than one and served up to 10 % fewer (docs/performance.md).
fn usual_workers() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(cores.get().div_ceil(2)).unwrap_or(NonZeroUsize::MIN)
}

/// One thread needs no work stealing, and no locks that wait.
fn runtime(workers: NonZeroUsize) -> io::Result<runtime::Runtime> {
    match workers.get() {
        1 => runtime::Builder::new_current_thread().enable_all().build(),
        count => runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .enable_all()
            .build(),
    }
}

async fn serve(args: &ServeArgs, workers: NonZeroUsize) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "cannot listen for signals");
            return ExitCode::FAILURE;
        }
    };
    takeover::restart::remember_program();
    let open_files = files::raise_limit();
    info!(version = env!("CARGO_PKG_VERSION"), workers, open_files, metadata = %args.metadata.display(), "weir starts");
    // A start may hang, in a disk or a name server; nobody is served yet, so nothing has to be ended in order.
    let started = tokio::select! {
        started = Running::start(args) => started,
        signal = signals.stop() => {
            info!(signal, "weir stops before it has begun to serve");
            return ExitCode::SUCCESS;
        }
    };
    let Some(mut running) = started else {
        return ExitCode::FAILURE;
    };
    tokio::spawn(systemd::watchdog());
    let signal = running.until_stopped(&mut signals).await;
    if !running.has_successor() {
        systemd::stopping();
    }
    let timeout = args.drain_timeout.unwrap_or(running.sources.drain_timeout);
    let clients = running.listeners.clients().clone();
    info!(
        signal,
        clients = clients.count(),
        drain_timeout = timeout.as_secs_f64(),
        "weir stops"
    );
    tokio::select! {
        () = running.end(timeout) => info!("weir has stopped"),
        signal = signals.stop() => warn!(signal, clients = clients.count(), "second signal: weir ends at once"),
    }
    ExitCode::SUCCESS
}

fn log_problem(problem: &Problem) {
    let (place, message) = (&problem.place, &problem.message);
    match problem.severity {
        Severity::Error => error!(event = "metadata-problem", %place, "{message}"),
        Severity::Warning => warn!(event = "metadata-problem", %place, "{message}"),
        Severity::Info => info!(event = "metadata-problem", %place, "{message}"),
    }
}

fn unusable(metadata: &Metadata, problems: &[Problem], strict: bool) -> Option<&'static str> {
    let has_problems = problems.iter().any(|problem| problem.severity != Severity::Info);
    if strict && has_problems {
        return Some("the metadata has problems, and --strict is set");
    }
    usable::reason_against(metadata)
}
