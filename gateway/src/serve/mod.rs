//! `weir serve`: puts the crates together, runs them, and ends them in order.
//!
//! The order is the point: signals are heard before anything is opened; every listener is bound before any is served, so
//! that a port in use is an error at the start; listeners stop before clients are told to end, and pools close after the
//! last client. What is wrong with one source or listener stays with it.

mod certificates;
mod files;
mod health;
mod listeners;
mod signals;
mod sources;

use std::{io, num::NonZeroUsize, process::ExitCode, sync::Arc, time::Duration};

use tokio::{runtime, sync::watch, task::JoinSet};
use tracing::{error, info, warn};
use weir_config::{Loaded, Problem, ProcessEnvironment, Severity};
use weir_core::front::{Clients, drain};

use crate::{cli::ServeArgs, usable};

use listeners::Listeners;
use signals::Signals;
use sources::Sources;

/// How long idle server connections get to say good-bye at the very end. Whoever needs longer is closed by the system.
const GOODBYE: Duration = Duration::from_millis(500);

/// Runs the command until a signal ends it.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let workers = args.workers.unwrap_or_else(cores);
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

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
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
    let open_files = files::raise_limit();
    info!(version = env!("CARGO_PKG_VERSION"), workers, open_files, metadata = %args.metadata.display(), "weir starts");
    let Some((sources, listeners)) = start(args).await else {
        return ExitCode::FAILURE;
    };
    let clients = listeners.clients().clone();
    let (stop, stopping) = watch::channel(());
    let mut serving = JoinSet::new();
    listeners.serve(&mut serving, &stopping);
    let signal = signals.next().await;
    let timeout = args.drain_timeout.unwrap_or(sources.drain_timeout);
    info!(
        signal,
        clients = clients.count(),
        drain_timeout = timeout.as_secs_f64(),
        "weir stops"
    );
    drop(stop);
    tokio::select! {
        () = end(serving, &clients, &sources, timeout) => info!("weir has stopped"),
        signal = signals.next() => warn!(signal, clients = clients.count(), "second signal: weir ends at once"),
    }
    ExitCode::SUCCESS
}

/// Loads, builds, binds. `None` when nothing would be served; why is in the log.
async fn start(args: &ServeArgs) -> Option<(Sources, Listeners)> {
    let loaded = weir_config::load(&args.metadata, &ProcessEnvironment, args.strict);
    loaded.problems.iter().for_each(log_problem);
    if let Some(reason) = unusable(&loaded, args.strict) {
        error!(
            reason,
            hint = "weir check shows all problems at once",
            "weir does not start"
        );
        return None;
    }
    let sources = Sources::build(&loaded.metadata);
    let listeners = Listeners::bind(&loaded.metadata, &sources, Clients::new()).await;
    if listeners.is_empty() {
        error!(reason = "no listener could be opened", "weir does not start");
        return None;
    }
    sources.warm();
    Some((sources, listeners))
}

/// Listeners first, then clients, then pools.
async fn end(mut serving: JoinSet<()>, clients: &Arc<Clients>, sources: &Sources, timeout: Duration) {
    while serving.join_next().await.is_some() {}
    let drained = drain(clients, timeout).await;
    if drained.terminated > 0 {
        warn!(
            clients = drained.before,
            terminated = drained.terminated,
            left = drained.left,
            hint = "a longer --drain-timeout lets longer transactions finish",
            "transactions were cut off"
        );
    }
    // Idle server connections take their leave; the ones that cannot in time are closed with the process.
    let _ = tokio::time::timeout(GOODBYE, sources.close()).await;
}

fn log_problem(problem: &Problem) {
    let (place, message) = (&problem.place, &problem.message);
    match problem.severity {
        Severity::Error => error!(%place, "{message}"),
        Severity::Warning => warn!(%place, "{message}"),
        Severity::Info => info!(%place, "{message}"),
    }
}

fn unusable(loaded: &Loaded, strict: bool) -> Option<&'static str> {
    let has_problems = loaded.problems.iter().any(|problem| problem.severity != Severity::Info);
    if strict && has_problems {
        return Some("the metadata has problems, and --strict is set");
    }
    usable::reason_against(&loaded.metadata)
}
