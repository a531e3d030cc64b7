//! What runs, and what becomes of it when the metadata changes.
//!
//! Invariant (I9): new metadata is read and judged as a whole before anything of it applies. When it is worse than what
//! runs (a source, listener or user that was sound is not any more, or nothing can be read), all of it is refused, each
//! problem is logged, and the present one stays.

mod reloading;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tracing::{error, info, warn};
use weir_config::{Loaded, Metadata, Problem, ProcessEnvironment, Severity, Subject, model};
use weir_core::{
    admin::{Console, Family},
    clock::{self, Instant},
    front::{Clients, Inheritance, drain},
};

use super::{
    GOODBYE, GOODBYE_TO_A_SUCCESSOR, change,
    changes::Changes,
    control::{Control, Exported, Order, Orders, State, Views},
    listeners::Listeners,
    log_problem,
    operator::ByControl,
    reloads::Reloads,
    settled::Settled,
    signals::{Signals, Wish},
    sources::Sources,
    systemd,
    takeover::{self, Budget, Kin, Predecessor, Seat, Standings, place},
    unusable,
};
use crate::{cli::ServeArgs, http::Http, otlp::Otlp};

/// How often a process that has a successor looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);

/// Everything that serves.
pub(super) struct Running {
    pub(super) sources: Sources,
    pub(super) listeners: Listeners,
    http: Http,
    otlp: Otlp,
    changes: Changes,
    settled: Settled,
    orders: Orders,
    reloads: Arc<Reloads>,
    seat: Seat,
    /// Once another process has taken over: how long this one serves on its clients.
    succession: Option<Instant>,
    args: ServeArgs,
}

/// What there is to do.
enum Work {
    /// To read the metadata again; why.
    Reload(&'static str),
    /// What somebody has ordered.
    Order(Order),
}

impl Running {
    /// Loads, builds, binds, serves. `None` when nothing would be served; why is in the log.
    pub(super) async fn start(args: &ServeArgs) -> Option<Self> {
        let Some(loaded) = load(args).await else {
            error!(reason = "reading the metadata broke off", "weir does not start");
            return None;
        };
        loaded.problems.iter().for_each(log_problem);
        if let Some(reason) = unusable(&loaded.metadata, &loaded.problems, args.strict) {
            error!(
                reason,
                hint = "weir check shows all problems at once",
                "weir does not start"
            );
            return None;
        }
        if loaded.metadata.sources.is_empty() {
            warn!("no source is declared; pg_add_source of the metadata API adds one");
        }
        let refused = |reason: &String| error!(reason, "weir does not start");
        let control_socket = place::of(args.control_socket.as_deref(), &args.metadata);
        let (mut predecessor, inherited) = meet(args, &control_socket).await.inspect_err(refused).ok()?;
        let mut sources = Sources::build(&loaded.metadata);
        let views = views(&sources, Clients::new());
        let (clients, console) = (views.clients.clone(), views.console.clone());
        let reloads = views.reloads.clone();
        let budget = Budget::new(sources.postgres.clone(), sources.mssql.clone(), clients.clone());
        sources.share(budget.clone());
        let standings = Standings::new(sources.postgres.clone(), sources.mssql.clone());
        let kin = Kin::new(clients.clone(), budget, standings);
        let served = Served {
            listeners: inherited.listeners(),
            sources: predecessor
                .as_ref()
                .map_or_else(Vec::new, |predecessor| predecessor.sources().to_vec()),
            users: predecessor
                .as_ref()
                .map_or_else(Vec::new, |predecessor| predecessor.users().to_vec()),
        };
        let bound = Listeners::bind(&loaded.metadata, &sources, clients, console, &inherited).await;
        let mut listeners = bound.inspect_err(refused).ok()?;
        if let Some(reason) = unfit(&loaded.metadata, &loaded.problems, &listeners, &served) {
            refused(&reason);
            return None;
        }
        let mut changes = Changes::new();
        changes.follow(&loaded.files);
        let settled = Settled::new(loaded.files);
        if let Some(predecessor) = &mut predecessor {
            predecessor.ready(&kin).await.inspect_err(refused).ok()?;
        }
        let status = status(&loaded.metadata);
        let (control, orders) = Control::new(views, loaded.metadata, loaded.problems);
        orders.closed(listeners.closed());
        let otlp = Otlp::start(control.clone());
        let operator = Arc::new(ByControl(control.clone()));
        control.views().console.set_operator(operator);
        let http = Http::open(control, &inherited).await;
        sources.warm();
        listeners.serve();
        kin.welcome(listeners.annexes());
        if let Some(predecessor) = predecessor {
            predecessor.serving(&kin).await;
        }
        let seat = Seat::take(control_socket, &inherited, kin).await;
        // What nothing declares any more.
        drop(inherited);
        systemd::ready(&status);
        Some(Running {
            sources,
            listeners,
            http,
            otlp,
            changes,
            settled,
            orders,
            reloads,
            seat,
            succession: None,
            args: args.clone(),
        })
    }

    /// Whether another process has taken over.
    pub(super) fn has_successor(&self) -> bool {
        self.succession.is_some()
    }

    /// Follows the metadata and carries out orders until a signal says to stop, or until nothing is left to do beside a
    /// successor; its name.
    pub(super) async fn until_stopped(&mut self, signals: &mut Signals) -> &'static str {
        loop {
            let work = tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop(name) => return name,
                    Wish::Reload => Work::Reload("SIGHUP"),
                },
                () = self.changes.changed() => Work::Reload("files"),
                order = self.orders.next() => Work::Order(order),
                wish = self.seat.next() => {
                    self.oblige(wish).await;
                    continue;
                }
                () = tokio::time::sleep(LOOK), if self.has_successor() => match self.is_done() {
                    true => return "successor",
                    false => continue,
                },
            };
            let is_reload = matches!(work, Work::Reload(_) | Work::Order(Order::Reload { .. }));
            if is_reload {
                systemd::reloading();
            }
            // It may hang as the start may. Whatever is half done then, ends.
            tokio::select! {
                () = self.carry_out(work) => {}
                name = signals.stop() => return name,
            }
            if is_reload {
                systemd::ready(&status(&self.orders.state().metadata));
            }
        }
    }

    async fn carry_out(&mut self, work: Work) {
        match work {
            // Why it is refused is in the log.
            Work::Reload(cause) => drop(self.reload(cause).await),
            Work::Order(Order::Reload { cause, reply }) => {
                let outcome = self.reload(cause).await;
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
            Work::Order(Order::Change { change, reply }) => {
                let outcome = self.change(change).await;
                let _ = reply.send(outcome);
            }
            Work::Order(Order::Export { reply }) => {
                let (path, resource_version) = (self.args.metadata.clone(), self.orders.state().resource_version);
                // The task goes on meanwhile: reading disturbs nobody.
                tokio::task::spawn_blocking(move || {
                    let exported = change::export(&path).map(|metadata| Exported {
                        metadata,
                        resource_version,
                    });
                    let _ = reply.send(exported);
                });
            }
        }
    }

    /// What a successor needs.
    async fn oblige(&mut self, wish: takeover::Wish) {
        match wish {
            takeover::Wish::Offer(reply) => {
                let doors = self.listeners.hand_over().and_then(|mut doors| {
                    doors.extend(self.seat.door().transpose()?);
                    doors.extend(self.http.door().transpose()?);
                    Ok(doors)
                });
                let state = self.orders.state();
                let sources = state.metadata.sources.iter();
                let sources = sources.map(|source| source.name.clone()).collect();
                let users = takeover::some_names(sound_users(&state));
                // The one who asked may have gone.
                let _ = reply.send(doors.map(|doors| takeover::Offer { doors, sources, users }));
            }
            // It has died while something else was done here: this process is the one that serves.
            takeover::Wish::Yield { done, .. } if done.is_closed() => {}
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
                // It has stopped accepting as well, once this has finished its answers.
                self.http.stop().await;
            }
        }
    }

    /// Whether a process that has a successor has nothing left to do, or has done it for long enough.
    fn is_done(&self) -> bool {
        let clients = self.listeners.clients();
        let is_alone = clients.count() == 0 && clients.peers() == 0 && !self.seat.is_needed();
        is_alone || self.succession.is_some_and(|until| until <= clock::now())
    }

    /// Listeners first, then clients, then pools.
    pub(super) async fn end(mut self, timeout: Duration) {
        let goodbye = match self.has_successor() {
            true => GOODBYE_TO_A_SUCCESSOR,
            false => GOODBYE,
        };
        self.orders.close();
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
        // Last, so that one can look until the end. Idle server connections take their leave meanwhile; the ones that
        // cannot in time are closed with the process.
        let close = tokio::time::timeout(goodbye, self.sources.close());
        let _ = tokio::join!(self.http.stop(), close, self.otlp.finish());
    }
}

fn views(sources: &Sources, clients: Arc<Clients>) -> Views {
    let families: Vec<Arc<dyn Family>> = vec![sources.postgres.clone(), sources.mssql.clone()];
    Views {
        console: Console::new(families.clone(), clients.clone(), env!("CARGO_PKG_VERSION")),
        families,
        clients,
        health: sources.health.clone(),
        reloads: Arc::default(),
        started: clock::wall(),
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

/// What a predecessor serves; nothing without one.
struct Served {
    listeners: Vec<Arc<str>>,
    sources: Vec<String>,
    /// Those that may log in.
    users: Vec<String>,
}

/// Users with whom nothing is wrong: what was wrong here already spoils no successor.
fn sound_users(state: &State) -> impl Iterator<Item = &String> {
    let is_spoilt = |name: &String| {
        let mut subjects = state.errors().map(|problem| &problem.subject);
        subjects.any(|subject| matches!(subject, Subject::User(spoilt) if spoilt == name))
    };
    let names = state.metadata.users.iter().map(|user| &user.name);
    names.filter(move |name| !is_spoilt(name))
}

/// Why this process cannot serve: there are no listeners, or something is declared wrongly or cannot be opened that a
/// predecessor serves (it may have refused the same edit). What is not declared any more is meant to go.
///
/// As a reload does, it leaves alone who is connected as a user that is not declared any more, or has another password.
fn unfit(metadata: &Metadata, problems: &[Problem], listeners: &Listeners, served: &Served) -> Option<String> {
    if listeners.is_empty() {
        return Some("no listener could be opened".to_owned());
    }
    let is_served = |name: &str| served.listeners.iter().any(|served| **served == *name);
    let is_missing = |listener: &&model::Listener| is_served(&listener.name) && !listeners.is_open(&listener.name);
    if let Some(missing) = metadata.listeners.iter().find(is_missing) {
        return Some(format!(
            "the running process serves listener {}, which could not be opened here; it goes on",
            missing.name
        ));
    }
    let mut wrong = metadata.inconsistent_listeners.iter();
    if let Some(wrong) = wrong.find(|listener| is_served(&listener.name)) {
        return Some(format!(
            "the running process serves listener {}, which is declared wrongly now ({}); it goes on",
            wrong.name, wrong.reason
        ));
    }
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let spoilt = errors.find_map(|problem| match &problem.subject {
        Subject::User(name) if served.users.contains(name) => Some((name, problem)),
        _ => None,
    });
    if let Some((name, problem)) = spoilt {
        return Some(format!(
            "the running process lets user {name} in, who is declared wrongly now ({problem}); it goes on"
        ));
    }
    let mut wrong = metadata.inconsistent.iter();
    let wrong = wrong.find(|source| served.sources.contains(&source.name))?;
    Some(format!(
        "the running process serves source {}, which is declared wrongly now ({}); it goes on",
        wrong.name, wrong.reason
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
