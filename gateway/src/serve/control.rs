//! The way for others (the HTTP interface, the console) to the one task that owns what runs.
//!
//! Invariants: orders are carried out one after the other, by that task, so that no lock is held while anything waits;
//! whoever gives an order that is not waited for any more has still given it. What is only looked at costs the task
//! nothing: [`Control::state`] is the present state as a whole, exchanged as a whole (I9).

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use weir_config::{Metadata, Problem, Severity};
use weir_core::{
    admin::{Console, Family, SourceView},
    front::Clients,
};

use super::{
    change::{Change, ChangeError, Changed},
    health::Board,
    reloads::Reloads,
};

/// Orders that may wait. Each is a person or a program that waits for its answer.
const MAX_ORDERS: usize = 64;

/// A handle: cheap to clone, and of no use to the data plane's tasks.
#[derive(Clone)]
pub(crate) struct Control {
    orders: mpsc::Sender<Order>,
    state: Arc<ArcSwap<State>>,
    views: Arc<Views>,
}

/// What does not change while the process runs.
pub(crate) struct Views {
    /// The console: commands and tables.
    pub(crate) console: Arc<Console>,
    /// The sources of each family of databases.
    pub(crate) families: Vec<Arc<dyn Family>>,
    /// All clients.
    pub(crate) clients: Arc<Clients>,
    /// What the sources' health checks found.
    pub(crate) health: Arc<Board>,
    /// What became of changes of the metadata.
    pub(crate) reloads: Arc<Reloads>,
    /// When this process started.
    pub(crate) started: SystemTime,
}

/// What applies at the moment.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What is declared.
    pub(crate) metadata: Arc<Metadata>,
    /// What is known to be wrong with it.
    pub(crate) problems: Arc<Vec<Problem>>,
    /// Listeners that are declared rightly and could not be opened.
    pub(crate) closed: Arc<Vec<Problem>>,
    /// That of the start (see [`first_version`]), and one more with each change that has been applied, wherever it came
    /// from.
    pub(crate) resource_version: u64,
    /// When that was.
    pub(crate) applied: SystemTime,
}

impl State {
    /// Everything that is wrong: with what is declared, and with opening it.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &Problem> {
        let all = self.problems.iter().chain(self.closed.iter());
        all.filter(|problem| problem.severity == Severity::Error)
    }
}

/// Something to do for the task that owns what runs.
#[derive(Debug)]
pub(super) enum Order {
    /// Read the metadata again.
    Reload {
        cause: &'static str,
        reply: oneshot::Sender<Result<Applied, Refused>>,
    },
    /// Change it.
    Change {
        change: Change,
        reply: oneshot::Sender<Result<Changed, ChangeError>>,
    },
    /// Tell all of it, as it stands in the files.
    Export {
        reply: oneshot::Sender<Result<Exported, Vec<Problem>>>,
    },
}

/// The whole metadata, and its version.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    /// `{"version": 3, "sources": [...], ...}`
    pub(crate) metadata: Value,
    /// See [`State::resource_version`].
    pub(crate) resource_version: u64,
}

/// The metadata has been read, and is in force if it differs from what was.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// What applies now.
    pub(crate) state: Arc<State>,
}

/// Nothing has changed, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// For people.
    pub(crate) reason: String,
    /// What is wrong with what was refused.
    pub(crate) problems: Vec<Problem>,
}

/// The other end of [`Control`].
pub(super) struct Orders {
    receiver: mpsc::Receiver<Order>,
    state: Arc<ArcSwap<State>>,
    /// Kept, so that waiting for an order never ends.
    _sender: mpsc::Sender<Order>,
}

impl Control {
    /// A handle and the end that the owner keeps.
    pub(super) fn new(views: Views, metadata: Metadata, problems: Vec<Problem>) -> (Control, Orders) {
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        let started = views.started;
        let state = Arc::new(ArcSwap::from_pointee(State {
            metadata: Arc::new(metadata),
            problems: Arc::new(problems),
            closed: Arc::default(),
            resource_version: first_version(started),
            applied: started,
        }));
        let orders_end = Orders {
            receiver,
            state: state.clone(),
            _sender: orders.clone(),
        };
        let control = Control {
            orders,
            state,
            views: Arc::new(views),
        };
        (control, orders_end)
    }

    /// What applies at the moment.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// What does not change while the process runs.
    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    /// All sources with their pools, by name.
    pub(crate) fn sources(&self) -> Vec<SourceView> {
        let families = self.views.families.iter();
        let mut sources: Vec<_> = families.flat_map(|family| family.sources()).collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources
    }

    /// Reads the metadata again and applies it, as SIGHUP does. `cause` is for the log.
    ///
    /// # Errors
    /// Why the present one stays.
    pub(crate) async fn reload(&self, cause: &'static str) -> Result<Applied, Refused> {
        let outcome = self.order(|reply| Order::Reload { cause, reply }).await;
        outcome.unwrap_or_else(Err)
    }

    /// Changes the metadata: the files first, then what runs.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, ChangeError> {
        let outcome = self.order(|reply| Order::Change { change, reply }).await;
        outcome.unwrap_or_else(|refused| Err(ChangeError::Refused(refused)))
    }

    /// The whole metadata as it stands in the files.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) async fn export(&self) -> Result<Exported, ChangeError> {
        let unreadable = |problems| ChangeError::Files("the metadata cannot be read".to_owned(), problems);
        let outcome = self.order(|reply| Order::Export { reply }).await;
        outcome.map_err(ChangeError::Refused)?.map_err(unreadable)
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(order(reply)).await.is_err() {
            return Err(Refused::stopping());
        }
        answer.await.map_err(|_| Refused::stopping())
    }
}

/// The version that a process begins with: when it started, in milliseconds since 1970. A change takes longer than one, so
/// that a version of an earlier process, or of one that serves beside it, is never taken for the present one: what was
/// exported from there is answered 409. Nothing is kept on the disk for it, whose files are Hasura's. Exact in JSON's numbers
/// as JavaScript reads them.
fn first_version(started: SystemTime) -> u64 {
    let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}

impl Refused {
    /// The process ends.
    fn stopping() -> Self {
        Refused {
            reason: "weir stops; its metadata does not change any more".to_owned(),
            problems: Vec::new(),
        }
    }
}

impl Orders {
    /// The next one. May be dropped and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> Order {
        match self.receiver.recv().await {
            Some(order) => order,
            // Cannot be while a sender is kept here; and if it could, there would be nothing to do.
            None => std::future::pending().await,
        }
    }

    /// Nobody gives orders any more; those that wait are told so.
    pub(super) fn close(&mut self) {
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
    }

    /// What applies at the moment.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Something else applies now.
    pub(super) fn apply(&self, metadata: Metadata, problems: Vec<Problem>) {
        let present = self.state();
        self.state.store(Arc::new(State {
            metadata: Arc::new(metadata),
            problems: Arc::new(problems),
            closed: present.closed.clone(),
            resource_version: present.resource_version + 1,
            applied: weir_core::clock::wall(),
        }));
    }

    /// What could not be opened of it; the state with it.
    pub(super) fn closed(&self, closed: Vec<Problem>) -> Arc<State> {
        let state = Arc::new(State {
            closed: Arc::new(closed),
            ..State::clone(&self.state())
        });
        self.state.store(state.clone());
        state
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_process_begins_above_all_versions_of_an_earlier_one() {
        let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let later = earlier + Duration::from_secs(300);
        // L1's three reloads a second, for as long.
        assert!(first_version(earlier) + 3 * 300 < first_version(later));
        assert!(
            first_version(later) < 1 << 53,
            "JavaScript's numbers are exact up to there"
        );
        assert_eq!(first_version(SystemTime::UNIX_EPOCH), 1);
    }
}
