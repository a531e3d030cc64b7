//! What runs, and what becomes of it when the metadata changes.
//!
//! Invariant (I9): new metadata is read and judged as a whole before anything of it applies. When it is worse than what
//! runs (a source, listener or user that was sound is not any more, or nothing can be read), all of it is refused, each
//! problem is logged, and the present one stays.

use std::{sync::Arc, time::Duration};

use tracing::{error, info, warn};
use weir_config::{Loaded, Metadata, Problem, ProcessEnvironment, Severity};
use weir_core::{
    clock,
    front::{Clients, drain},
};

use super::{
    GOODBYE,
    changes::Changes,
    listeners::Listeners,
    log_problem,
    signals::{Signals, Wish},
    sources::Sources,
    unusable,
};
use crate::cli::ServeArgs;

/// Everything that serves.
pub(super) struct Running {
    pub(super) sources: Sources,
    pub(super) listeners: Listeners,
    changes: Changes,
    args: ServeArgs,
    /// What is declared of it.
    metadata: Metadata,
    /// What is known to be wrong with it.
    problems: Vec<Problem>,
}

impl Running {
    /// Loads, builds, binds, serves. `None` when nothing would be served; why is in the log.
    pub(super) async fn start(args: &ServeArgs) -> Option<Self> {
        let Some(loaded) = load(args).await else {
            error!(reason = "reading the metadata broke off", "weir does not start");
            return None;
        };
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
        let bound = Listeners::bind(&loaded.metadata, &sources, Clients::new()).await;
        let mut listeners = bound.inspect_err(|reason| error!(reason, "weir does not start")).ok()?;
        if listeners.is_empty() {
            error!(reason = "no listener could be opened", "weir does not start");
            return None;
        }
        sources.warm();
        listeners.serve();
        let mut changes = Changes::new();
        changes.follow(&loaded.files);
        Some(Running {
            sources,
            listeners,
            changes,
            args: args.clone(),
            metadata: loaded.metadata,
            problems: loaded.problems,
        })
    }

    /// Follows the metadata until a signal says to stop; its name.
    pub(super) async fn until_stopped(&mut self, signals: &mut Signals) -> &'static str {
        loop {
            let cause = tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop(name) => return name,
                    Wish::Reload => "SIGHUP",
                },
                () = self.changes.changed() => "files",
            };
            // It may hang as the start may. Whatever is half done then, ends.
            tokio::select! {
                () = self.reload(cause) => {}
                name = signals.stop() => return name,
            }
        }
    }

    /// Reads the metadata again and applies it, or says why not.
    async fn reload(&mut self, cause: &'static str) {
        let began = clock::now();
        let Some(loaded) = load(&self.args).await else {
            error!(cause, "reading the metadata broke off; the present one stays");
            return;
        };
        self.changes.follow(&loaded.files);
        if loaded.metadata == self.metadata && loaded.problems == self.problems {
            info!(cause, "metadata unchanged");
            return;
        }
        if let Some(reason) = self.objection(&loaded) {
            loaded.problems.iter().for_each(log_problem);
            error!(
                cause,
                reason,
                hint = "weir check shows all problems at once",
                "metadata refused; the present one stays"
            );
            return;
        }
        let news = loaded
            .problems
            .iter()
            .filter(|problem| !self.problems.contains(problem));
        news.for_each(log_problem);
        self.sources.reload(&loaded.metadata, self.listeners.clients());
        self.listeners.reload(&loaded.metadata, &self.sources).await;
        self.metadata = loaded.metadata;
        self.problems = loaded.problems;
        info!(
            cause,
            sources = self.metadata.sources.len(),
            listeners = self.metadata.listeners.len(),
            users = self.metadata.users.len(),
            took = began.elapsed().as_secs_f64(),
            "metadata applied"
        );
    }

    /// Why it must not be applied.
    fn objection(&self, loaded: &Loaded) -> Option<&'static str> {
        let known = |problem: &Problem| {
            let same = |other: &Problem| other.severity == Severity::Error && other.subject == problem.subject;
            self.problems.iter().any(same)
        };
        let mut errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        if errors.any(|problem| !known(problem)) {
            return Some("it has errors that the present one has not");
        }
        unusable(loaded, self.args.strict)
    }

    /// Listeners first, then clients, then pools.
    pub(super) async fn end(self, timeout: Duration) {
        let clients: Arc<Clients> = self.listeners.clients().clone();
        self.listeners.stop().await;
        let drained = drain(&clients, timeout).await;
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
        let _ = tokio::time::timeout(GOODBYE, self.sources.close()).await;
    }
}

/// Reads the metadata off the threads that serve: a disk may hang, and a signal must be obeyed even then. `None` when the
/// reading panicked.
async fn load(args: &ServeArgs) -> Option<Loaded> {
    let (path, strict) = (args.metadata.clone(), args.strict);
    let loading = tokio::task::spawn_blocking(move || weir_config::load(&path, &ProcessEnvironment, strict));
    loading.await.ok()
}
