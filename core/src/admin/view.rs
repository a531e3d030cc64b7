//! Sources and pools as the console sees them: numbers, without the types of a backend.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    backend::{Backend, PinReason},
    observe::{LatencyView, RefusalKind},
    pool::{ConnectionView, Doings, PinCount, Pool, PoolStats, Rest},
    registry::{Admission, Claim, Flow, Registry, Source},
    settings::{Origins, PoolSettings, Timeouts},
};

/// All sources of one database family.
pub trait Family: Send + Sync {
    /// As they are at this moment.
    fn sources(&self) -> Vec<SourceView>;

    /// Those that serve, to be acted upon.
    fn controls(&self) -> Vec<Arc<dyn SourceControl>>;
}

/// One source, whatever its family, for whoever acts upon it. See [`Source`] for what each does.
#[async_trait]
#[allow(missing_docs, reason = "as the methods of Source of the same name")]
pub trait SourceControl: Send + Sync {
    fn name(&self) -> &Arc<str>;
    /// Whether clients reach it by this database name.
    fn is_reached_by(&self, database: &str) -> bool;
    fn pause(&self) -> Flow;
    fn pause_revocably(&self) -> (Flow, Claim);
    fn settle(&self, claim: Claim);
    fn take_back(&self, claim: Claim) -> bool;
    fn kill(&self) -> Flow;
    fn resume(&self) -> Flow;
    fn reconnect(&self);
    fn set_admission(&self, admission: Admission);
    async fn at_rest(&self) -> Rest;
    async fn renewed(&self);
}

#[async_trait]
impl<B: Backend> SourceControl for Source<B> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn is_reached_by(&self, database: &str) -> bool {
        self.parts().database_names.iter().any(|name| name == database)
    }

    fn pause(&self) -> Flow {
        Source::pause(self)
    }

    fn pause_revocably(&self) -> (Flow, Claim) {
        Source::pause_revocably(self)
    }

    fn settle(&self, claim: Claim) {
        Source::settle(self, claim);
    }

    fn take_back(&self, claim: Claim) -> bool {
        Source::take_back(self, claim)
    }

    fn kill(&self) -> Flow {
        Source::kill(self)
    }

    fn resume(&self) -> Flow {
        Source::resume(self)
    }

    fn reconnect(&self) {
        Source::reconnect(self);
    }

    fn set_admission(&self, admission: Admission) {
        Source::set_admission(self, admission);
    }

    async fn at_rest(&self) -> Rest {
        Source::at_rest(self).await
    }

    async fn renewed(&self) {
        Source::renewed(self).await;
    }
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its name in the metadata.
    pub name: Arc<str>,
    /// `postgres`, `mssql`.
    pub kind: &'static str,
    /// Why it does not serve, if it does not.
    pub inconsistent: Option<String>,
    /// Names by which clients ask for it.
    pub database_names: Vec<String>,
    /// The primary's first. Empty if it does not serve.
    pub pools: Vec<PoolView>,
    /// What its clients were refused, by kind.
    pub refusals: Vec<(RefusalKind, u64)>,
    /// Clients.
    pub clients: u32,
    /// How many it takes.
    pub max_clients: Option<u32>,
    /// Time limits of its clients.
    pub timeouts: Timeouts,
    /// Where they were set.
    pub origins: Origins,
    /// Whether its clients get server connections.
    pub flow: Flow,
    /// Whether it takes new clients.
    pub admission: Admission,
}

/// One pool of a source.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// What to ask for to get exactly this pool, where that is possible: `ledger`, `ledger@eu_shard`; replicas are
    /// numbered: `ledger@read_replicas/1`.
    pub database: String,
    /// `primary`, `replica`.
    pub role: &'static str,
    /// The endpoint as people call it: a URL without its password, or the name of the variable that has it.
    pub endpoint: String,
    /// See [`Pool::is_up`].
    pub is_up: bool,
    /// See [`Pool::number`].
    pub number: u32,
    /// What it has and had.
    pub stats: PoolStats,
    /// What its clients do.
    pub doings: Doings,
    /// How long things take in it.
    pub latency: LatencyView,
    /// Why they keep connections.
    pub pins: Vec<(PinReason, PinCount)>,
    /// Its connections.
    pub connections: Vec<ConnectionView>,
    /// What applies to it.
    pub settings: Arc<PoolSettings>,
    /// Why no server connection can be opened, if none can.
    pub trouble: Option<String>,
    /// Why those who wait get no server connection, if it is not only that others have them.
    pub wait_reason: Option<String>,
}

impl SourceView {
    /// Whether this is its name, or a database name that leads to it. Its own name goes first where both are asked for.
    pub fn is_called(&self, name: &str) -> bool {
        *self.name == *name || self.database_names.iter().any(|known| known == name)
    }

    /// `running`, `pausing` (clients keep server connections), `paused`, `inconsistent`.
    pub fn state(&self) -> &'static str {
        let is_at_rest = || self.pools.iter().all(|pool| pool.stats.total() == 0);
        match self.flow {
            _ if self.inconsistent.is_some() => "inconsistent",
            Flow::Running => "running",
            Flow::Paused if is_at_rest() => "paused",
            Flow::Paused => "pausing",
        }
    }

    /// Whether it takes no new clients.
    pub fn is_disabled(&self) -> bool {
        self.admission == Admission::Disabled
    }
}

impl<B: Backend> Family for Registry<B> {
    fn sources(&self) -> Vec<SourceView> {
        let ready = Registry::sources(self).into_iter().map(|source| view(&source));
        let broken = self.inconsistent().into_iter().map(|(name, reason)| SourceView {
            name,
            kind: B::KIND,
            inconsistent: Some(reason),
            database_names: Vec::new(),
            pools: Vec::new(),
            refusals: Vec::new(),
            clients: 0,
            max_clients: None,
            timeouts: Timeouts::default(),
            origins: Origins::default(),
            flow: Flow::Running,
            admission: Admission::Enabled,
        });
        ready.chain(broken).collect()
    }

    fn controls(&self) -> Vec<Arc<dyn SourceControl>> {
        let sources = Registry::sources(self).into_iter();
        sources.map(|source| source as Arc<dyn SourceControl>).collect()
    }
}

fn view<B: Backend>(source: &Source<B>) -> SourceView {
    let (name, parts) = (&source.name, source.parts());
    let primary = [(name.to_string(), &parts.primary)];
    let replicas = parts.replicas.iter().enumerate();
    let replicas = replicas.map(|(index, pool)| (format!("{name}@read_replicas/{}", index + 1), pool));
    let named = parts
        .named
        .iter()
        .map(|(member, pool)| (format!("{name}@{member}"), pool));
    let pools = primary.into_iter().chain(replicas).chain(named);
    SourceView {
        name: name.clone(),
        kind: B::KIND,
        inconsistent: None,
        database_names: parts.database_names.clone(),
        pools: pools.map(|(database, pool)| pool_view(database, pool)).collect(),
        refusals: source.refusals().view(),
        clients: source.client_count(),
        max_clients: parts.max_client_connections,
        timeouts: parts.timeouts.clone(),
        origins: parts.origins.clone(),
        flow: if source.is_paused() {
            Flow::Paused
        } else {
            Flow::Running
        },
        admission: source.admission(),
    }
}

fn pool_view<B: Backend>(database: String, pool: &Pool<B>) -> PoolView {
    PoolView {
        database,
        role: pool.role(),
        endpoint: pool.backend().label().to_owned(),
        is_up: pool.is_up(),
        number: pool.number(),
        stats: pool.stats(),
        doings: pool.activity().total(),
        latency: pool.latency(),
        pins: pool.activity().pins().to_vec(),
        connections: pool.connections(),
        settings: pool.settings(),
        trouble: pool.trouble().map(|error| error.to_string()),
        wait_reason: pool.wait_reason().map(|error| error.to_string()),
    }
}
