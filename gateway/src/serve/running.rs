//! What runs, and what becomes of it when the metadata changes.
//!
//! Invariant (I9): new metadata is read and judged as a whole before anything of it applies. When it is worse than what
//! runs (a source, listener or user that was sound is not any more, or nothing can be read), all of it is refused, each
//! problem is logged, and the present one stays.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tracing::{error, info, warn};
use weir_config::{Loaded, Metadata, Problem, ProcessEnvironment, Severity, model};
use weir_core::{
    clock::{self, Instant},
    front::{Clients, Inheritance, drain},
};

use super::{
    GOODBYE,
    changes::Changes,
    listeners::Listeners,
    log_problem,
    signals::{Signals, Wish},
    sources::Sources,
    systemd,
    takeover::{self, Budget, Kin, Predecessor, Seat, place},
    unusable,
};
use crate::cli::ServeArgs;

/// How often a process that has a successor looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);

/// Everything that serves.
pub(super) struct Running {
    pub(super) sources: Sources,
    pub(super) listeners: Listeners,
    changes: Changes,
    seat: Seat,
    /// Once another process has taken over: how long this one serves on its clients.
    succession: Option<Instant>,
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
        let refused = |reason: &String| error!(reason, "weir does not start");
        let control_socket = place::of(args.control_socket.as_deref(), &args.metadata);
        let (mut predecessor, inherited) = meet(args, &control_socket).await.inspect_err(refused).ok()?;
        let sources = Sources::build(&loaded.metadata);
        let clients = Clients::new();
        let budget = Budget::new(sources.postgres.clone(), sources.mssql.clone(), clients.clone());
        let kin = Kin::new(clients.clone(), budget);
        let served = inherited.listeners();
        let bound = Listeners::bind(&loaded.metadata, &sources, clients, &inherited).await;
        let mut listeners = bound.inspect_err(refused).ok()?;
        if let Some(reason) = unfit(&loaded.metadata, &listeners, &served) {
            refused(&reason);
            return None;
        }
        if let Some(predecessor) = &mut predecessor {
            predecessor.ready(&kin).await.inspect_err(refused).ok()?;
        }
        sources.warm();
        listeners.serve();
        if let Some(predecessor) = predecessor {
            predecessor.serving(&kin).await;
        }
        let seat = Seat::take(control_socket, &inherited, kin).await;
        // What nothing declares any more.
        drop(inherited);
        let mut changes = Changes::new();
        changes.follow(&loaded.files);
        systemd::ready(&status(&loaded.metadata));
        Some(Running {
            sources,
            listeners,
            changes,
            seat,
            succession: None,
            args: args.clone(),
            metadata: loaded.metadata,
            problems: loaded.problems,
        })
    }

    /// Whether another process has taken over.
    pub(super) fn has_successor(&self) -> bool {
        self.succession.is_some()
    }

    /// Follows the metadata until a signal says to stop, or until nothing is left to do beside a successor; its name.
    pub(super) async fn until_stopped(&mut self, signals: &mut Signals) -> &'static str {
        loop {
            let cause = tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop(name) => return name,
                    Wish::Reload => "SIGHUP",
                },
                () = self.changes.changed() => "files",
                wish = self.seat.next() => {
                    self.oblige(wish).await;
                    continue;
                }
                () = tokio::time::sleep(LOOK), if self.has_successor() => match self.is_done() {
                    true => return "successor",
                    false => continue,
                },
            };
            systemd::reloading();
            // It may hang as the start may. Whatever is half done then, ends.
            tokio::select! {
                () = self.reload(cause) => {}
                name = signals.stop() => return name,
            }
            systemd::ready(&status(&self.metadata));
        }
    }

    /// What a successor needs.
    async fn oblige(&mut self, wish: takeover::Wish) {
        match wish {
            takeover::Wish::Doors(reply) => {
                let doors = self.listeners.hand_over().and_then(|mut doors| {
                    doors.extend(self.seat.door().transpose()?);
                    Ok(doors)
                });
                // The one who asked may have gone.
                let _ = reply.send(doors);
            }
            takeover::Wish::Yield { successor, done } => {
                self.listeners.give_up().await;
                self.seat.give_up(successor).await;
                systemd::succeeded(successor);
                self.succession = Some(clock::now() + self.args.takeover_patience);
                info!(
                    successor,
                    clients = self.listeners.clients().count(),
                    patience = self.args.takeover_patience.as_secs_f64(),
                    "another process has taken over; this one finishes with its clients"
                );
                let _ = done.send(());
            }
        }
    }

    /// Whether a process that has a successor has nothing left to do, or has done it for long enough.
    fn is_done(&self) -> bool {
        let clients = self.listeners.clients();
        let is_alone = clients.count() == 0 && clients.peers() == 0 && !self.seat.is_needed();
        is_alone || self.succession.is_some_and(|until| until <= clock::now())
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
        // The places are a successor's, once there is one.
        if !self.has_successor() {
            self.listeners.reload(&loaded.metadata, &self.sources).await;
        }
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

/// Asks a predecessor for what it has, if one is wanted and there is one.
async fn meet(
    args: &ServeArgs,
    control_socket: &Result<PathBuf, String>,
) -> Result<(Option<Predecessor>, Inheritance), String> {
    let nobody = (None, Inheritance::default());
    let path = match (args.takeover, control_socket) {
        (false, _) => return Ok(nobody),
        (true, Ok(path)) => path,
        (true, Err(reason)) => return Err(reason.clone()),
    };
    match Predecessor::meet(path).await {
        Ok(Some((predecessor, inherited))) => {
            info!(predecessor = predecessor.pid(), "taking over");
            Ok((Some(predecessor), inherited))
        }
        Ok(None) => {
            info!(control_socket = %path.display(), "nobody to take over from");
            Ok(nobody)
        }
        Err(reason) => Err(format!("the running process does not hand over: {reason}")),
    }
}

/// Why these listeners cannot serve: there are none, or one is missing that a predecessor has.
fn unfit(metadata: &Metadata, listeners: &Listeners, served: &[Arc<str>]) -> Option<String> {
    if listeners.is_empty() {
        return Some("no listener could be opened".to_owned());
    }
    let is_missing = |listener: &&model::Listener| {
        let is_served = served.iter().any(|name| **name == *listener.name);
        is_served && !listeners.is_open(&listener.name)
    };
    let missing = metadata.listeners.iter().find(is_missing)?;
    Some(format!(
        "the running process serves listener {}, which could not be opened here; it goes on",
        missing.name
    ))
}

/// For `systemctl status`.
fn status(metadata: &Metadata) -> String {
    format!(
        "serving {} sources on {} listeners",
        metadata.sources.len(),
        metadata.listeners.len()
    )
}
