//! Sources by name, and which pool of a source serves a client.
//!
//! Invariants: a source that cannot be used is still in the registry, with the reason, so that its clients are told why;
//! it never affects another source. What is declared of a source is exchanged as a whole while its clients stay (I9):
//! each takes what applies now with its next transaction.

mod control;

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

pub use control::Claim;
use control::Claims;

use crate::{
    backend::{Access, Backend},
    observe::RefusalCounts,
    pool::{Pool, Succession},
    refusal::{Limit, Refusal},
    settings::{Origins, PoolSettings, ReplicaRouting, Timeouts},
};

/// A declared source, for as long as clients use it: what is declared of it may change meanwhile.
pub struct Source<B: Backend> {
    /// As declared; a source of another name is another source.
    pub name: Arc<str>,
    live: ArcSwap<SourceParts<B>>,
    /// Counts exchanges of `live`.
    generation: AtomicU64,
    removed: AtomicBool,
    clients: Arc<AtomicU32>,
    refusals: RefusalCounts,
    /// Which replica is looked at first, so that equal ones take turns.
    turn: AtomicUsize,
    course: Mutex<Course<B>>,
}

/// What an administrator has made of a source, and what exchanges of its parts have left behind.
struct Course<B: Backend> {
    flow: Flow,
    claims: Claims,
    admission: Admission,
    /// Pools that nothing declares any more and in which transactions may still run.
    retired: Vec<Weak<Pool<B>>>,
}

/// Whether the clients of a source get server connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They do.
    Running,
    /// They wait.
    Paused,
}

/// Whether a source takes new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Enabled,
    /// Those that are there stay.
    Disabled,
}

/// What is declared of a source: its pools, and what applies to its clients.
pub struct SourceParts<B: Backend> {
    /// Names by which clients may ask for it.
    pub database_names: Vec<String>,
    /// The primary's pool.
    pub primary: Arc<Pool<B>>,
    /// One pool for each read replica.
    pub replicas: Vec<Arc<Pool<B>>>,
    /// Further databases by name (`connection_set`).
    pub named: Vec<(String, Arc<Pool<B>>)>,
    /// What may go to replicas unasked.
    pub replica_routing: ReplicaRouting,
    /// Time limits of its clients.
    pub timeouts: Timeouts,
    /// How many clients it takes; `None` = no limit of its own.
    pub max_client_connections: Option<u32>,
    /// Where each value was set.
    pub origins: Origins,
}

/// Counts one client of a source for as long as it lives.
#[derive(Debug)]
pub struct ClientCount(Arc<AtomicU32>);

impl<B: Backend> SourceParts<B> {
    /// All its pools.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool<B>>> {
        let named = self.named.iter().map(|(_, pool)| pool);
        std::iter::once(&self.primary).chain(&self.replicas).chain(named)
    }

    /// All its pools, each with the one among `next` that serves in its place: a replica's is another replica, that of a
    /// member of the connection set has its name; where there is none, it is the primary's.
    fn successors<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = (&'a Arc<Pool<B>>, &'a Arc<Pool<B>>)> {
        let primary = std::iter::once((&self.primary, &next.primary));
        let replicas = self.replicas.iter().enumerate().map(|(index, pool)| {
            let count = next.replicas.len().max(1);
            (pool, next.replicas.get(index % count).unwrap_or(&next.primary))
        });
        let named = self.named.iter().map(|(name, pool)| {
            let mut members = next.named.iter();
            let member = members.find_map(|(member, pool)| (member == name).then_some(pool));
            (pool, member.unwrap_or(&next.primary))
        });
        primary.chain(replicas).chain(named)
    }
}

/// Makes the pools of a source, and takes over those that serve already: an endpoint that is declared as it was keeps its
/// pool, with the settings that are declared now.
pub struct Pools<B: Backend> {
    name: Arc<str>,
    /// Those that nothing declared has taken over yet: each at most once, because two replicas may be declared alike.
    present: RefCell<Vec<Arc<Pool<B>>>>,
    /// One that serves already, if any does.
    first: Option<Arc<Pool<B>>>,
}

impl<B: Backend> Pools<B> {
    /// For the source `name`, which serves with `present` so far.
    pub fn new(name: &str, present: Option<&SourceParts<B>>) -> Self {
        Pools {
            name: name.into(),
            present: RefCell::new(present.into_iter().flat_map(SourceParts::pools).cloned().collect()),
            first: present.map(|present| present.primary.clone()),
        }
    }

    /// The pool for `endpoint`. `is_like` says whether connections of another endpoint serve the same clients in the same
    /// way.
    pub fn pool(
        &self,
        role: &'static str,
        endpoint: B,
        settings: PoolSettings,
        is_like: impl Fn(&B, &B) -> bool,
    ) -> Arc<Pool<B>> {
        let mut present = self.present.borrow_mut();
        let like = |pool: &Arc<Pool<B>>| pool.role() == role && is_like(pool.backend(), &endpoint);
        match present.iter().position(like) {
            Some(position) => {
                let pool = present.swap_remove(position);
                pool.retune(settings);
                pool
            }
            None => match &self.first {
                Some(first) => first.another(role, Arc::new(endpoint), settings),
                None => Pool::new(self.name.clone(), role, Arc::new(endpoint), settings),
            },
        }
    }
}

impl<B: Backend> Source<B> {
    /// Makes a source that nobody uses yet.
    pub fn new(name: Arc<str>, parts: SourceParts<B>) -> Arc<Self> {
        Arc::new(Source {
            name,
            live: ArcSwap::from_pointee(parts),
            generation: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            clients: Arc::default(),
            refusals: RefusalCounts::default(),
            turn: AtomicUsize::new(0),
            course: Mutex::new(Course {
                flow: Flow::Running,
                claims: Claims::default(),
                admission: Admission::Enabled,
                retired: Vec::new(),
            }),
        })
    }

    /// What is declared of it now.
    pub fn parts(&self) -> Arc<SourceParts<B>> {
        self.live.load_full()
    }

    /// Exchanges what is declared, and returns what was. Clients that are in a transaction end it where they are; those that
    /// wait in a pool that is not declared any more wait in its successor from now on, in order of arrival. Whoever calls
    /// this closes the pools that are in the old parts only. A source that is paused stays so, whatever its pools.
    pub fn exchange(&self, parts: SourceParts<B>) -> Arc<SourceParts<B>> {
        let mut course = self.course.lock();
        if course.flow == Flow::Paused {
            parts.pools().for_each(|pool| pool.pause());
        }
        let parts = Arc::new(parts);
        let before = self.live.swap(parts.clone());
        course.retired.retain(|pool| pool.strong_count() > 0);
        let stays = |pool: &Arc<Pool<B>>| parts.pools().any(|other| Arc::ptr_eq(pool, other));
        for (pool, heir) in before.successors(&parts) {
            if !stays(pool) {
                course.retired.push(Arc::downgrade(pool));
                let is_new = !before.pools().any(|other| Arc::ptr_eq(heir, other));
                let succession = match is_new {
                    true => Succession::Replaces,
                    false => Succession::TakesIn,
                };
                pool.cede_to(heir, succession);
            }
        }
        drop(course);
        // After the exchange: whoever sees the new number sees the new parts.
        self.generation.fetch_add(1, Ordering::Release);
        before
    }

    /// It is not declared any more: clients that are left are told so. Whoever calls this closes its pools.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Whether it is not declared any more.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// How often the parts have been exchanged; to see cheaply whether what was taken from them still holds.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes a place among the source's clients.
    ///
    /// # Errors
    /// [`Refusal::ClientLimit`] when there is none left, [`Refusal::SourceDisabled`].
    pub fn admit(&self) -> Result<ClientCount, Refusal> {
        if self.admission() == Admission::Disabled {
            return Err(Refusal::SourceDisabled {
                source: self.name.clone(),
            });
        }
        self.admit_present()
    }

    /// The same for a client that is there already, in another process: it stays although the source takes no new ones.
    ///
    /// # Errors
    /// [`Refusal::ClientLimit`].
    pub fn admit_present(&self) -> Result<ClientCount, Refusal> {
        let parts = self.live.load();
        let limit = parts.max_client_connections.unwrap_or(u32::MAX);
        let taken = self
            .clients
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            });
        match taken {
            Ok(_) => Ok(ClientCount(self.clients.clone())),
            Err(_) => Err(Refusal::ClientLimit(Limit {
                name: "max_client_connections",
                value: limit.to_string(),
                set_in: parts.origins.of("max_client_connections").to_owned(),
            })),
        }
    }

    /// Whether this part of it is declared.
    pub fn has(&self, target: &Target) -> bool {
        match target {
            Target::Default | Target::Primary | Target::ReadReplicas => true,
            Target::Named(name) => self.live.load().named.iter().any(|(member, _)| **member == **name),
        }
    }

    /// What its clients were refused.
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }

    /// Clients at the moment.
    pub fn client_count(&self) -> u32 {
        self.clients.load(Ordering::Relaxed)
    }
}

impl Drop for ClientCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client asked for by its database name: `ledger`, `ledger@primary`, `ledger@read_replicas`, `ledger@eu_shard`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The primary, and replicas as `read_replica_routing` says.
    Default,
    /// Only the primary.
    Primary,
    /// Only replicas, or the primary while all of them are down.
    ReadReplicas,
    /// The member of the connection set with this name; the primary once there is none of this name any more.
    Named(Arc<str>),
}

impl Target {
    /// As it stands behind the `@` of a database name.
    pub fn suffix(&self) -> Option<&str> {
        match self {
            Target::Default => None,
            Target::Primary => Some("primary"),
            Target::ReadReplicas => Some("read_replicas"),
            Target::Named(name) => Some(name),
        }
    }

    /// The other way round.
    pub fn of_suffix(suffix: Option<&str>) -> Self {
        match suffix {
            None => Target::Default,
            Some("primary") => Target::Primary,
            Some("read_replicas") => Target::ReadReplicas,
            Some(name) => Target::Named(name.into()),
        }
    }
}

/// Where a client's server connections come from.
pub struct Route<B: Backend> {
    /// The source.
    pub source: Arc<Source<B>>,
    /// Which part of it.
    pub target: Target,
    count: ClientCount,
    held: Vec<Box<dyn Send + Sync>>,
}

impl<B: Backend> Route<B> {
    /// A client's way to a source, and its place among the source's clients.
    pub fn new(source: Arc<Source<B>>, target: Target, count: ClientCount) -> Self {
        Route {
            source,
            target,
            count,
            held: Vec::new(),
        }
    }

    /// Keeps a further place, such as one among a user's clients, for as long as the client lives.
    #[must_use]
    pub fn holding(mut self, place: impl Send + Sync + 'static) -> Self {
        self.held.push(Box::new(place));
        self
    }

    /// The pool to ask for what comes next.
    pub fn pool(&self, access: Access) -> Arc<Pool<B>> {
        let parts = self.source.live.load();
        let pool = match (&self.target, access) {
            (Target::Named(name), _) => {
                let mut named = parts.named.iter();
                named.find_map(|(member, pool)| (**member == **name).then_some(pool))
            }
            (Target::ReadReplicas, _) | (Target::Default, Access::ReadOnly) => self.replica(&parts.replicas),
            (Target::Default | Target::Primary, _) => None,
        };
        pool.unwrap_or(&parts.primary).clone()
    }

    /// The replica with the least work per connection among those that are up; equal ones in turn.
    fn replica<'a>(&self, replicas: &'a [Arc<Pool<B>>]) -> Option<&'a Arc<Pool<B>>> {
        let first = match replicas.len() {
            0 | 1 => 0,
            count => self.source.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let (before, from) = replicas.split_at(first);
        from.iter()
            .chain(before)
            .filter(|pool| pool.is_up())
            .min_by(|a, b| a.load().total_cmp(&b.load()))
    }
}

impl<B: Backend> std::fmt::Debug for Route<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route")
            .field("source", &self.source.name)
            .field("target", &self.target)
            .field("count", &self.count)
            .finish()
    }
}

/// What stands behind a database name.
pub enum Entry<B: Backend> {
    /// A source that serves.
    Ready(Arc<Source<B>>),
    /// A source that is declared but unusable.
    Inconsistent {
        /// Its name.
        source: Arc<str>,
        /// Why.
        reason: String,
    },
}

impl<B: Backend> Clone for Entry<B> {
    fn clone(&self) -> Self {
        match self {
            Entry::Ready(source) => Entry::Ready(source.clone()),
            Entry::Inconsistent { source, reason } => Entry::Inconsistent {
                source: source.clone(),
                reason: reason.clone(),
            },
        }
    }
}

/// All sources of one database family, by the database names that clients use.
pub struct Registry<B: Backend> {
    entries: RwLock<HashMap<String, Entry<B>>>,
}

impl<B: Backend> Registry<B> {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::new(Registry {
            entries: RwLock::default(),
        })
    }

    /// Replaces everything at once (I9).
    pub fn replace(&self, entries: HashMap<String, Entry<B>>) {
        *self.entries.write() = entries;
    }

    /// Splits `database@target` and looks the database up. The name as a whole wins, so that a database whose name
    /// contains an `@` can be reached.
    ///
    /// # Errors
    /// [`Refusal::UnknownDatabase`] or [`Refusal::Inconsistent`].
    pub fn find(&self, database: &str) -> Result<(Arc<Source<B>>, Target), Refusal> {
        let entries = self.entries.read();
        let (entry, suffix) = match entries.get(database) {
            Some(entry) => (Some(entry), None),
            None => match database.rsplit_once('@') {
                Some((name, suffix)) => (entries.get(name), Some(suffix)),
                None => (None, None),
            },
        };
        match entry {
            None => Err(Refusal::UnknownDatabase(database.to_owned())),
            Some(Entry::Inconsistent { source, reason }) => Err(Refusal::Inconsistent {
                source: source.clone(),
                reason: reason.clone(),
            }),
            Some(Entry::Ready(source)) => {
                let target = match suffix {
                    None => Target::Default,
                    Some(suffix) => Target::of_suffix(Some(suffix)),
                };
                if !source.has(&target) {
                    return Err(Refusal::UnknownDatabase(database.to_owned()));
                }
                Ok((source.clone(), target))
            }
        }
    }

    /// Every source that does not serve, once each, with the reason.
    pub fn inconsistent(&self) -> Vec<(Arc<str>, String)> {
        let mut found: Vec<(Arc<str>, String)> = Vec::new();
        for entry in self.entries.read().values() {
            if let Entry::Inconsistent { source, reason } = entry
                && !found.iter().any(|(known, _)| known == source)
            {
                found.push((source.clone(), reason.clone()));
            }
        }
        found
    }

    /// The source of this name, if it serves.
    pub fn source(&self, name: &str) -> Option<Arc<Source<B>>> {
        let entries = self.entries.read();
        entries.values().find_map(|entry| match entry {
            Entry::Ready(source) if &*source.name == name => Some(source.clone()),
            _ => None,
        })
    }

    /// Every source that serves, once each.
    pub fn sources(&self) -> Vec<Arc<Source<B>>> {
        let mut sources: Vec<Arc<Source<B>>> = Vec::new();
        for entry in self.entries.read().values() {
            if let Entry::Ready(source) = entry
                && !sources.iter().any(|known| Arc::ptr_eq(known, source))
            {
                sources.push(source.clone());
            }
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources
    }
}
