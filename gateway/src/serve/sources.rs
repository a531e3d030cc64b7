//! The declared sources as a registry: usable ones with their pools, the others with the reason that their clients get.
//!
//! Invariant: a source that stays declared stays the same object, so that its clients find what is declared of it now; a
//! pool that nothing declares any more is closed, and its last transactions end in it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::{error, info};
use weir_config::model::{Definition, HealthCheck, InconsistentSource, ListenerKind, Metadata, SourceKind};
use weir_core::{
    backend::Backend,
    front::Clients,
    pool::Pool,
    registry::{Entry, Registry, Source, SourceParts},
    settings::PoolMode,
};
use weir_mssql::Mssql;
use weir_postgres::Postgres;

use super::{health, takeover::Budget};

/// All sources of this process.
pub(super) struct Sources {
    /// Those that speak PostgreSQL.
    pub(super) postgres: Arc<Registry<Postgres>>,
    /// Those that speak TDS.
    pub(super) mssql: Arc<Registry<Mssql>>,
    /// How long clients get at the end.
    pub(super) drain_timeout: Duration,
    /// What their health checks found.
    pub(super) health: Arc<health::Board>,
    health_checks: HealthChecks,
    /// What other processes hold of the pools: a new one begins with its part.
    budget: Option<Arc<Budget>>,
}

impl Sources {
    /// Builds every source; opens nothing.
    pub(super) fn build(metadata: &Metadata) -> Self {
        let mut sources = Sources {
            postgres: Registry::new(),
            mssql: Registry::new(),
            drain_timeout: metadata.graceful_shutdown_timeout,
            health: Arc::default(),
            health_checks: HealthChecks::default(),
            budget: None,
        };
        sources.declare(metadata);
        sources
    }

    /// The pools are shared with other processes from now on, those to come as well.
    pub(super) fn share(&mut self, budget: Arc<Budget>) {
        self.budget = Some(budget);
    }

    /// Makes what is declared now of what was declared before; clients of sources that are gone are told to go.
    pub(super) fn reload(&mut self, metadata: &Metadata, clients: &Clients) {
        self.drain_timeout = metadata.graceful_shutdown_timeout;
        let retired = self.declare(metadata);
        for name in &retired.sources {
            info!(
                source = &**name,
                "source removed; its clients go at their next transaction border"
            );
            clients.drain_source(name);
        }
        for source in &metadata.sources {
            clients.renew_source(&source.name);
        }
        close(retired.postgres);
        close(retired.mssql);
        self.warm();
    }

    fn declare(&mut self, metadata: &Metadata) -> Retired {
        let mut retired = Retired::default();
        let entries = Entries::of(metadata, self, &mut retired);
        retire_missing(
            &self.postgres,
            &entries.postgres,
            &mut retired.postgres,
            &mut retired.sources,
        );
        retire_missing(&self.mssql, &entries.mssql, &mut retired.mssql, &mut retired.sources);
        self.postgres.replace(entries.postgres);
        self.mssql.replace(entries.mssql);
        self.health_checks.follow(metadata, &self.health);
        retired
    }

    /// Opens `min_connections` ahead of the first client.
    pub(super) fn warm(&self) {
        for pool in pools(&self.postgres) {
            if pool.settings().min_connections > 0 {
                pool.warm(&weir_postgres::settings::Profile::default());
            }
        }
        for pool in pools(&self.mssql) {
            if pool.settings().min_connections > 0 {
                pool.warm(&weir_mssql::settings::Profile::default());
            }
        }
    }

    /// Resolves when no server connection is left. The caller bounds the time.
    pub(super) async fn close(&self) {
        let mut closing = JoinSet::new();
        for pool in pools(&self.postgres) {
            closing.spawn(async move { pool.close().await });
        }
        for pool in pools(&self.mssql) {
            closing.spawn(async move { pool.close().await });
        }
        while closing.join_next().await.is_some() {}
    }
}

fn pools<B: Backend>(registry: &Registry<B>) -> Vec<Arc<Pool<B>>> {
    let sources = registry.sources().into_iter();
    sources
        .flat_map(|source| source.parts().pools().cloned().collect::<Vec<_>>())
        .collect()
}

/// What nothing declares any more.
#[derive(Default)]
struct Retired {
    sources: Vec<Arc<str>>,
    postgres: Vec<Arc<Pool<Postgres>>>,
    mssql: Vec<Arc<Pool<Mssql>>>,
}

/// Idle connections now, leased ones when they come back.
fn close<B: Backend>(pools: Vec<Arc<Pool<B>>>) {
    for pool in pools {
        tokio::spawn(async move { pool.close().await });
    }
}

/// The source of this name as it is declared now: the one that serves already, if there is one.
fn source<B: Backend>(
    registry: &Registry<B>,
    name: &str,
    parts: impl FnOnce(Option<&SourceParts<B>>) -> SourceParts<B>,
    retired: &mut Vec<Arc<Pool<B>>>,
    budget: Option<&Budget>,
) -> Arc<Source<B>> {
    let parts = |present: Option<&SourceParts<B>>| {
        let parts = parts(present);
        // Before anybody can ask them for a connection.
        if let Some(budget) = budget {
            budget.prepare(name, &parts);
        }
        parts
    };
    let Some(source) = registry.source(name) else {
        let source = Source::new(name.into(), parts(None));
        log_source(&source);
        return source;
    };
    let before = source.parts();
    source.exchange(parts(Some(&before)));
    let now = source.parts();
    let stays = |pool: &Arc<Pool<B>>| now.pools().any(|other| Arc::ptr_eq(pool, other));
    let gone: Vec<_> = before.pools().filter(|pool| !stays(pool)).cloned().collect();
    if !gone.is_empty() {
        info!(
            source = name,
            pools = gone.len(),
            "source moved; transactions that run end where they are"
        );
    }
    retired.extend(gone);
    source
}

/// Sources that serve and that no name leads to any more.
fn retire_missing<B: Backend>(
    registry: &Registry<B>,
    entries: &HashMap<String, Entry<B>>,
    pools: &mut Vec<Arc<Pool<B>>>,
    names: &mut Vec<Arc<str>>,
) {
    for source in registry.sources() {
        let is_declared = |entry: &Entry<B>| matches!(entry, Entry::Ready(other) if Arc::ptr_eq(&source, other));
        if !entries.values().any(is_declared) {
            source.remove();
            pools.extend(source.parts().pools().cloned());
            names.push(source.name.clone());
        }
    }
}

/// Every database name, and what stands behind it. Names are unique: the loader has seen to that.
#[derive(Default)]
struct Entries {
    postgres: HashMap<String, Entry<Postgres>>,
    mssql: HashMap<String, Entry<Mssql>>,
}

impl Entries {
    fn of(metadata: &Metadata, present: &Sources, retired: &mut Retired) -> Self {
        let mut entries = Entries::default();
        let budget = present.budget.as_deref();
        for declared in &metadata.sources {
            let names = &declared.database_names;
            match &declared.definition {
                Definition::Postgres(definition) => {
                    let parts = |now: Option<&_>| weir_postgres::parts(declared, definition, now);
                    let source = source(&present.postgres, &declared.name, parts, &mut retired.postgres, budget);
                    add(&mut entries.postgres, names, &Entry::Ready(source));
                }
                Definition::Mssql(definition) => {
                    let parts = |now: Option<&_>| weir_mssql::parts(declared, definition, now);
                    let source = source(&present.mssql, &declared.name, parts, &mut retired.mssql, budget);
                    add(&mut entries.mssql, names, &Entry::Ready(source));
                }
            }
        }
        for source in &metadata.inconsistent {
            let kind = source.kind.map(SourceKind::as_str);
            error!(
                source = source.name,
                kind,
                reason = source.reason,
                "source inconsistent; its clients are told so"
            );
            // Where the kind could not be read, clients of either may ask for it.
            let speaks = source.kind.map(SourceKind::listener_kind);
            if speaks != Some(ListenerKind::Mssql) {
                add(&mut entries.postgres, &source.database_names, &inconsistent(source));
            }
            if speaks != Some(ListenerKind::Postgres) {
                add(&mut entries.mssql, &source.database_names, &inconsistent(source));
            }
        }
        entries
    }
}

fn add<B: Backend>(entries: &mut HashMap<String, Entry<B>>, names: &[String], entry: &Entry<B>) {
    entries.extend(names.iter().map(|name| (name.clone(), entry.clone())));
}

fn inconsistent<B: Backend>(source: &InconsistentSource) -> Entry<B> {
    Entry::Inconsistent {
        source: source.name.as_str().into(),
        reason: source.reason.clone(),
    }
}

/// What serves, with the limits that matter and where they are set.
fn log_source<B: Backend>(source: &Source<B>) {
    let parts = source.parts();
    let pool = parts.primary.settings();
    info!(
        source = &*source.name,
        kind = B::KIND,
        database_names = parts.database_names.join(","),
        pool_mode = mode(pool.pool_mode),
        max_connections = pool.max_connections,
        max_connections_set_in = pool.origins.of("max_connections"),
        overflow_connections = pool.overflow_connections,
        pool_timeout = pool.pool_timeout.map(|limit| limit.as_secs_f64()),
        pool_timeout_set_in = pool.origins.of("pool_timeout"),
        read_replicas = parts.replicas.len(),
        "source"
    );
}

fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}

/// The checks that run, by source; one whose declaration has not changed keeps its rhythm.
#[derive(Default)]
struct HealthChecks(HashMap<String, (HealthCheck, Definition, JoinSet<()>)>);

impl HealthChecks {
    fn follow(&mut self, metadata: &Metadata, board: &Arc<health::Board>) {
        let mut running = std::mem::take(&mut self.0);
        for source in &metadata.sources {
            let Some(check) = source.health_check.clone() else {
                continue;
            };
            let entry = match running.remove(&source.name) {
                Some(same) if same.0 == check && is_same_place(&same.1, &source.definition) => same,
                _ => {
                    let database = match &source.definition {
                        Definition::Postgres(definition) => {
                            health::Database::postgres(definition.primary.clone(), &check)
                        }
                        Definition::Mssql(definition) => health::Database::mssql(definition.primary.clone()),
                    };
                    let mut task = JoinSet::new();
                    task.spawn(health::watch(
                        source.name.clone(),
                        database,
                        check.clone(),
                        board.clone(),
                    ));
                    (check, source.definition.clone(), task)
                }
            };
            self.0.insert(source.name.clone(), entry);
        }
        // After the tasks of the checks that are over have been dropped.
        drop(running);
        board.retain(|source| self.0.contains_key(source));
    }
}

/// Whether the primary is declared as before.
fn is_same_place(before: &Definition, now: &Definition) -> bool {
    match (before, now) {
        (Definition::Postgres(before), Definition::Postgres(now)) => before.primary == now.primary,
        (Definition::Mssql(before), Definition::Mssql(now)) => before.primary == now.primary,
        (Definition::Postgres(_), Definition::Mssql(_)) | (Definition::Mssql(_), Definition::Postgres(_)) => false,
    }
}
