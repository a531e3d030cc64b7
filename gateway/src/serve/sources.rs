//! The declared sources as a registry: usable ones with their pools, the others with the reason that their clients get.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::{error, info};
use weir_config::model::{Definition, InconsistentSource, ListenerKind, Metadata, SourceKind};
use weir_core::{
    backend::Backend,
    pool::Pool,
    registry::{Entry, Registry, Source},
    settings::PoolMode,
};
use weir_mssql::Mssql;
use weir_postgres::Postgres;

use super::health;

/// All sources of this process.
pub(super) struct Sources {
    /// Those that speak PostgreSQL.
    pub(super) postgres: Arc<Registry<Postgres>>,
    /// Those that speak TDS.
    pub(super) mssql: Arc<Registry<Mssql>>,
    /// How long clients get at the end.
    pub(super) drain_timeout: Duration,
    /// Dropped with the sources, which ends the checks.
    _health_checks: JoinSet<()>,
}

impl Sources {
    /// Builds every source; opens nothing.
    pub(super) fn build(metadata: &Metadata) -> Self {
        let (postgres, mssql) = (Registry::new(), Registry::new());
        let all = Entries::of(metadata);
        postgres.replace(all.postgres);
        mssql.replace(all.mssql);
        Sources {
            postgres,
            mssql,
            drain_timeout: metadata.graceful_shutdown_timeout,
            _health_checks: health_checks(metadata),
        }
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

/// Every database name, and what stands behind it. Names are unique: the loader has seen to that.
#[derive(Default)]
struct Entries {
    postgres: HashMap<String, Entry<Postgres>>,
    mssql: HashMap<String, Entry<Mssql>>,
}

impl Entries {
    fn of(metadata: &Metadata) -> Self {
        let mut entries = Entries::default();
        for declared in &metadata.sources {
            let names = &declared.database_names;
            match &declared.definition {
                Definition::Postgres(definition) => {
                    let source = weir_postgres::source(declared, definition);
                    log_source(&source);
                    add(&mut entries.postgres, names, &Entry::Ready(source));
                }
                Definition::Mssql(definition) => {
                    let source = weir_mssql::source(declared, definition);
                    log_source(&source);
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

fn health_checks(metadata: &Metadata) -> JoinSet<()> {
    let mut checks: JoinSet<()> = JoinSet::new();
    for source in &metadata.sources {
        let Some(check) = source.health_check.clone() else {
            continue;
        };
        let database = match &source.definition {
            Definition::Postgres(definition) => health::Database::postgres(definition.primary.clone(), &check),
            Definition::Mssql(definition) => health::Database::mssql(definition.primary.clone()),
        };
        checks.spawn(health::watch(source.name.clone(), database, check));
    }
    checks
}
