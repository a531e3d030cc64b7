//! One limit, two processes: what a predecessor still holds counts against its successor's limits.
//!
//! The predecessor decides what it may have of each pool, tells it and never takes more; the successor opens only what is
//! left. Both see to it through [`Pool::apportion`], so the database sees no more connections than the limit while one
//! process follows the other. The one exception is a limit of 1, of which there is no half: then each has one, for as long
//! as the predecessor has clients.
//!
//! Invariant: what is told for a pool never rises.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use weir_core::{
    backend::Backend,
    clock::{self, Instant},
    front::Clients,
    pool::{Pool, engine::Portion},
    registry::{Registry, SourceParts},
};
use weir_mssql::Mssql;
use weir_postgres::Postgres;

use super::message::Held;

/// How long a predecessor looks at what its clients need before it gives up what they did not.
const WINDOW: Duration = Duration::from_secs(10);

/// See the module.
pub(in crate::serve) struct Budget {
    postgres: Arc<Registry<Postgres>>,
    mssql: Arc<Registry<Mssql>>,
    clients: Arc<Clients>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By pool, what a predecessor may hold.
    elsewhere: HashMap<String, u32>,
    /// Since a successor serves: by pool, what is left to this process.
    left: Option<HashMap<String, Left>>,
}

impl Budget {
    /// Of all pools that these sources have now or later.
    pub(in crate::serve) fn new(
        postgres: Arc<Registry<Postgres>>,
        mssql: Arc<Registry<Mssql>>,
        clients: Arc<Clients>,
    ) -> Arc<Self> {
        Arc::new(Budget {
            postgres,
            mssql,
            clients,
            state: Mutex::default(),
        })
    }

    /// A predecessor may hold so many.
    pub(super) fn predecessor_holds(&self, held: Vec<Held>) {
        let mut state = self.state.lock();
        state
            .elsewhere
            .extend(held.into_iter().map(|held| (held.pool, held.connections)));
        if state.left.is_none() {
            self.apply(&state);
        }
    }

    /// There is no predecessor any more.
    pub(super) fn predecessor_is_gone(&self) {
        let mut state = self.state.lock();
        state.elsewhere.clear();
        if state.left.is_none() {
            self.apply(&state);
        }
    }

    fn apply(&self, state: &State) {
        self.each(|name, pool, _| {
            let elsewhere = state.elsewhere.get(name).copied().unwrap_or(0);
            pool.apportion(Portion { elsewhere, most: None });
        });
    }

    /// These parts are going to be those of a source: whatever of them is new begins with what other processes leave of
    /// it, before anybody can ask for a connection.
    pub(in crate::serve) fn prepare<B: Backend>(&self, source: &str, parts: &SourceParts<B>) {
        let state = self.state.lock();
        if state.elsewhere.is_empty() && state.left.is_none() {
            return;
        }
        each_of(source, parts, &mut |name, pool| {
            let elsewhere = state.elsewhere.get(name).copied().unwrap_or(0);
            let half = || pool.limit().saturating_sub(elsewhere).div_ceil(2);
            let most = (state.left.as_ref()).map(|left| left.get(name).map_or_else(half, |left| left.most));
            pool.apportion(Portion { elsewhere, most });
        });
    }

    /// The limits of all pools: what a predecessor could hold.
    pub(super) fn limits(&self) -> Vec<Held> {
        let mut limits = Vec::new();
        self.each(|name, pool, _| {
            limits.push(Held {
                pool: name.to_owned(),
                connections: pool.limit(),
            });
        });
        limits
    }

    /// A successor serves: what this process may have, from now on until it ends, is what this says. To be asked again and
    /// again; the answer is for the successor.
    pub(super) fn yield_more(&self) -> Vec<Held> {
        let now = clock::now();
        let mut state = self.state.lock();
        let State { elsewhere, left } = &mut *state;
        let left = left.get_or_insert_default();
        let logging_in = self.clients.peers().saturating_sub(self.clients.count());
        let mut told = BTreeMap::new();
        self.each(|name, pool, clients| {
            let behind = elsewhere.get(name).copied().unwrap_or(0);
            let view = View {
                limit: pool.limit().saturating_sub(behind),
                clients: clients.saturating_add(logging_in),
                demand: pool.demand(),
            };
            let left = left
                .entry(name.to_owned())
                .or_insert_with(|| Left::new(view.limit, now));
            left.look(&view, now);
            pool.apportion(Portion {
                elsewhere: behind,
                most: Some(left.most),
            });
            // After the limit has been lowered: from here on it can only become less.
            let held = left.tell(&view, pool.held());
            told.insert(name.to_owned(), held.saturating_add(behind));
        });
        // A pool that is not declared any more may be held by the predecessor's predecessor.
        for (name, behind) in elsewhere.iter().map(|(name, count)| (name, *count)) {
            told.entry(name.clone()).or_insert(behind);
        }
        let told = told.into_iter();
        told.map(|(pool, connections)| Held { pool, connections }).collect()
    }

    fn each(&self, mut look: impl FnMut(&str, &dyn Shared, u32)) {
        each(&self.postgres, &mut look);
        each(&self.mssql, &mut look);
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").finish_non_exhaustive()
    }
}

/// Every pool, by a name that is the same in both processes, and the number of its source's clients.
fn each<B: Backend>(registry: &Registry<B>, look: &mut impl FnMut(&str, &dyn Shared, u32)) {
    for source in registry.sources() {
        let clients = source.client_count();
        each_of(&source.name, &source.parts(), &mut |name, pool| {
            look(name, pool, clients)
        });
    }
}

fn each_of<B: Backend>(source: &str, parts: &SourceParts<B>, look: &mut impl FnMut(&str, &dyn Shared)) {
    let name = |which: &str| format!("{}/{source}/{which}", B::KIND);
    look(&name("primary"), &*parts.primary);
    for (number, replica) in parts.replicas.iter().enumerate() {
        look(&name(&format!("replica {number}")), &**replica);
    }
    for (member, pool) in &parts.named {
        look(&name(&format!("set {member}")), &**pool);
    }
}

/// What is needed of a pool, of whatever family.
trait Shared {
    fn apportion(&self, portion: Portion);
    /// The most that may be open, overflow included.
    fn limit(&self) -> u32;
    /// Server connections in any state.
    fn held(&self) -> u32;
    /// Connections that clients use or wait for.
    fn demand(&self) -> u32;
}

impl<B: Backend> Shared for Pool<B> {
    fn apportion(&self, portion: Portion) {
        Pool::apportion(self, portion);
    }

    fn limit(&self) -> u32 {
        let settings = self.settings();
        let limit = settings.max_connections.max(1);
        limit.saturating_add(settings.overflow_connections)
    }

    fn held(&self) -> u32 {
        let stats = self.stats();
        stats.idle + stats.leased + stats.opening + stats.maintenance + stats.closing
    }

    fn demand(&self) -> u32 {
        let stats = self.stats();
        stats.leased.saturating_add(stats.waiting)
    }
}

/// A pool of a process that has a successor, at one moment.
struct View {
    limit: u32,
    /// Of its source, and those that may become one.
    clients: u32,
    demand: u32,
}

/// What is left of a pool to a process that has a successor.
struct Left {
    most: u32,
    told: u32,
    /// The highest demand since `since`.
    peak: u32,
    since: Instant,
}

impl Left {
    /// Half of it: the successor's clients come at once, and those that are left here are in the middle of something.
    fn new(limit: u32, now: Instant) -> Self {
        Left {
            most: limit.div_ceil(2),
            told: u32::MAX,
            peak: 0,
            since: now,
        }
    }

    /// What nobody here can need goes at once, what nobody has needed for a while goes then.
    fn look(&mut self, view: &View, now: Instant) {
        self.peak = self.peak.max(view.demand);
        self.most = self.most.min(view.clients);
        if now.duration_since(self.since) >= WINDOW {
            let ample = self.peak.saturating_add(self.peak / 2).max(1);
            self.most = self.most.min(ample);
            (self.peak, self.since) = (view.demand, now);
        }
    }

    /// What the successor is told, with so many still there.
    fn tell(&mut self, view: &View, held: u32) -> u32 {
        let now = match view.limit {
            // There is no half of one: the successor gets one as well.
            0 | 1 => 0,
            _ => self.most.max(held),
        };
        self.told = self.told.min(now);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::sources::Sources;

    fn view(limit: u32, clients: u32, demand: u32) -> View {
        View { limit, clients, demand }
    }

    #[tokio::test(start_paused = true)]
    async fn half_goes_at_once_and_the_rest_when_nobody_needs_it() {
        let start = clock::now();
        let mut left = Left::new(20, start);
        let busy = view(20, 200, 50);
        left.look(&busy, start);
        assert_eq!(left.most, 10);
        // Those in use above it are held until they are given back.
        assert_eq!(left.tell(&busy, 20), 20);
        assert_eq!(left.tell(&busy, 13), 13);
        assert_eq!(left.tell(&busy, 4), 10);
        // It never rises again, whatever happens.
        assert_eq!(left.tell(&busy, 12), 10);
        let calm = view(20, 200, 2);
        left.look(&calm, start + WINDOW / 2);
        assert_eq!(left.most, 10, "a lull is no reason");
        left.look(&calm, start + WINDOW);
        assert_eq!(left.most, 10, "there was need in this window");
        left.look(&calm, start + WINDOW * 2);
        assert_eq!((left.most, left.tell(&calm, 1)), (3, 3));
        let last = view(20, 1, 0);
        left.look(&last, start + WINDOW * 2);
        assert_eq!((left.most, left.tell(&last, 1)), (1, 1));
        let none = view(20, 0, 0);
        left.look(&none, start + WINDOW * 2);
        assert_eq!((left.most, left.tell(&none, 1)), (0, 1));
        assert_eq!(left.tell(&none, 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_there_is_no_half() {
        let now = clock::now();
        let mut left = Left::new(1, now);
        let view = view(1, 5, 3);
        left.look(&view, now);
        assert_eq!((left.most, left.tell(&view, 1)), (1, 0));
    }

    /// What is declared in a folder with one source at this host.
    fn declared(host: &str) -> weir_config::Metadata {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let text = format!(
            "- {{name: one, kind: postgres, configuration: {{connection_info: {{database_url: 'postgres://u@{host}/d', \
             pool_settings: {{max_connections: 20}}}}}}}}\n"
        );
        std::fs::create_dir(folder.path().join("databases")).expect("a folder");
        std::fs::write(folder.path().join("databases/databases.yaml"), text).expect("a file");
        let loaded = weir_config::load(folder.path(), &weir_config::ProcessEnvironment, false);
        assert_eq!(loaded.metadata.sources.len(), 1, "{:?}", loaded.problems);
        loaded.metadata
    }

    #[tokio::test]
    async fn a_pool_that_is_built_anew_begins_with_its_part() {
        let mut sources = Sources::build(&declared("localhost"));
        let clients = Clients::new();
        let budget = Budget::new(sources.postgres.clone(), sources.mssql.clone(), clients.clone());
        sources.share(budget.clone());
        let pool = |sources: &Sources| {
            let source = sources.postgres.source("one").expect("it is declared");
            source.parts().primary.clone()
        };
        budget.predecessor_holds(vec![Held {
            pool: "postgres/one/primary".to_owned(),
            connections: 8,
        }]);
        let part = |elsewhere, most| Portion { elsewhere, most };
        let first = pool(&sources);
        assert_eq!(first.portion(), part(8, None));
        // Nothing is said meanwhile.
        sources.reload(&declared("127.0.0.1"), &clients);
        let second = pool(&sources);
        assert!(!Arc::ptr_eq(&first, &second), "another place is another pool");
        assert_eq!(second.portion(), part(8, None));
        // A successor of this process serves: half of what is left, and less since there are no clients.
        budget.yield_more();
        let most = pool(&sources).portion().most;
        sources.reload(&declared("localhost"), &clients);
        assert_eq!(pool(&sources).portion(), part(8, most));
        assert!(most.is_some());
    }
}
