//! The declared sources as a registry: usable ones with their pools, the others with the reason that their clients get.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::{error, info, warn};
use weir_config::model::{Definition, Metadata, SourceKind};
use weir_core::{
    pool::Pool,
    registry::{Entry, Registry, Source},
    settings::PoolMode,
};
use weir_postgres::{Postgres, settings::Profile};

use super::health;

/// All sources of this process.
pub(super) struct Sources {
    /// Those that speak PostgreSQL.
    pub(super) postgres: Arc<Registry<Postgres>>,
    /// How long clients get at the end.
    pub(super) drain_timeout: Duration,
    /// Dropped with the sources, which ends the checks.
    _health_checks: JoinSet<()>,
}

impl Sources {
    /// Builds every source; opens nothing.
    pub(super) fn build(metadata: &Metadata) -> Self {
        let postgres = Registry::new();
        postgres.replace(entries(metadata));
        Sources {
            postgres,
            drain_timeout: metadata.graceful_shutdown_timeout,
            _health_checks: health_checks(metadata),
        }
    }

    /// Opens `min_connections` ahead of the first client.
    pub(super) fn warm(&self) {
        for pool in self.pools() {
            if pool.settings().min_connections > 0 {
                pool.warm(&Profile::default());
            }
        }
    }

    /// Resolves when no server connection is left. The caller bounds the time.
    pub(super) async fn close(&self) {
        let mut closing = JoinSet::new();
        for pool in self.pools() {
            closing.spawn(async move { pool.close().await });
        }
        while closing.join_next().await.is_some() {}
    }

    fn pools(&self) -> impl Iterator<Item = Arc<Pool<Postgres>>> {
        let sources = self.postgres.sources().into_iter();
        sources.flat_map(|source| source.parts().pools().cloned().collect::<Vec<_>>())
    }
}

/// Every database name, and what stands behind it. Names are unique: the loader has seen to that.
fn entries(metadata: &Metadata) -> HashMap<String, Entry<Postgres>> {
    let mut entries = HashMap::new();
    for declared in &metadata.sources {
        let entry = match &declared.definition {
            Definition::Postgres(definition) => {
                let source = weir_postgres::source(declared, definition);
                log_source(&source);
                Entry::Ready(source)
            }
            Definition::Mssql(_) => {
                warn!(
                    source = declared.name,
                    kind = declared.kind.as_str(),
                    reason = weir_mssql::NOT_SERVED,
                    "source not served"
                );
                Entry::Inconsistent {
                    source: declared.name.as_str().into(),
                    reason: weir_mssql::NOT_SERVED.to_owned(),
                }
            }
        };
        entries.extend(declared.database_names.iter().map(|name| (name.clone(), entry.clone())));
    }
    for source in &metadata.inconsistent {
        let kind = source.kind.map(SourceKind::as_str);
        error!(
            source = source.name,
            kind,
            reason = source.reason,
            "source inconsistent; its clients are told so"
        );
        let entry = Entry::Inconsistent {
            source: source.name.as_str().into(),
            reason: source.reason.clone(),
        };
        entries.extend(source.database_names.iter().map(|name| (name.clone(), entry.clone())));
    }
    entries
}

/// What serves, with the limits that matter and where they are set.
fn log_source(source: &Source<Postgres>) {
    let parts = source.parts();
    let pool = parts.primary.settings();
    info!(
        source = &*source.name,
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
        if let (Some(check), Definition::Postgres(definition)) = (&source.health_check, &source.definition) {
            let watch = health::watch(source.name.clone(), definition.primary.clone(), check.clone());
            checks.spawn(watch);
        }
    }
    checks
}
