//! Environment variables that are read, whoever reads them. A test of the gateway finds those that are missing here.

use super::Origin;

/// An environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What counts without it.
    pub default: &'static str,
    /// Whose word it is.
    pub origin: Origin,
    /// What it means, in Markdown, on one line.
    pub about: &'static str,
}

const fn hasura(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable {
        name,
        default,
        origin: Origin::Hasura,
        about,
    }
}

const fn weir(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable {
        name,
        default,
        origin: Origin::Weir,
        about,
    }
}

/// All of them, by what they are about.
pub const VARIABLES: &[Variable] = &[
    hasura(
        "HASURA_GRAPHQL_DATABASE_URL",
        "none",
        "the database of a v2 directory, called `default`",
    ),
    hasura("PG_DATABASE_URL", "none", "its older name"),
    hasura(
        "HASURA_GRAPHQL_PG_CONNECTIONS",
        "50",
        "`max_connections` of that database",
    ),
    hasura("HASURA_GRAPHQL_PG_TIMEOUT", "180", "its `idle_timeout`"),
    hasura("HASURA_GRAPHQL_PG_CONN_LIFETIME", "600", "its `connection_lifetime`"),
    hasura("HASURA_GRAPHQL_PG_POOL_TIMEOUT", "15", "its `pool_timeout`"),
    hasura("HASURA_GRAPHQL_NO_OF_RETRIES", "1", "its `retries`"),
    hasura("HASURA_GRAPHQL_TX_ISOLATION", "the database's", "its `isolation_level`"),
    hasura(
        "HASURA_GRAPHQL_USE_PREPARED_STATEMENTS",
        "true",
        "its `use_prepared_statements`",
    ),
    hasura(
        "HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX",
        "none: the feature is off",
        "allows `dynamic_from_file`, below this folder",
    ),
    weir("WEIR_PG_LISTEN", "none", "`host:port` of the first `postgres` listener"),
    weir("WEIR_MSSQL_LISTEN", "none", "`host:port` of the first `mssql` listener"),
    weir(
        "WEIR_INSTANCE_COUNT",
        "1",
        "instances that share `total_max_connections`",
    ),
    weir(
        "WEIR_INSTANCE_NUMBER",
        "none",
        "which of them this is, counted from 0; without it the remainder of the division is nobody's",
    ),
    weir("WEIR_WORKERS", "half the cores", "threads that serve clients"),
    weir(
        "WEIR_CONTROL_SOCKET",
        "by the metadata's name, see [restart.md](restart.md)",
        "where successors and `weir restart` find the process that serves",
    ),
    hasura(
        "HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT",
        "60",
        "seconds that running transactions get after SIGTERM",
    ),
    hasura(
        "HASURA_GRAPHQL_SERVER_HOST",
        "`admin.host`",
        "address of the HTTP interface; `*` is every address",
    ),
    hasura("HASURA_GRAPHQL_SERVER_PORT", "`admin.port`", "its port"),
    hasura(
        "HASURA_GRAPHQL_ADMIN_SECRET",
        "`admin.admin_secret`",
        "its secret; also what the commands send that talk to it",
    ),
    hasura(
        "HASURA_GRAPHQL_METRICS_SECRET",
        "`admin.metrics_secret`",
        "the secret of its metrics",
    ),
    hasura(
        "HASURA_GRAPHQL_ENABLED_APIS",
        "`admin.enabled_apis`",
        "what it answers, separated by commas",
    ),
    hasura(
        "HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS",
        "`admin.high_cardinality_labels`",
        "`false`: fewer labels of its metrics",
    ),
    hasura(
        "HASURA_GRAPHQL_ENDPOINT",
        "`http://localhost:8080`",
        "where the commands find it that talk to it",
    ),
    weir("WEIR_LOG_FORMAT", "`pretty`", "`pretty` or `json`"),
    hasura("HASURA_GRAPHQL_LOG_LEVEL", "`info`", "`debug`, `info`, `warn`, `error`"),
    weir(
        "RUST_LOG",
        "none",
        "a filter by module, `weir_core=debug,warn`; wins over the former",
    ),
    weir(
        "WEIR_SLOW_TRANSACTION",
        "none",
        "seconds; transactions that take longer are logged, with what the time went into. See [logs.md](logs.md)",
    ),
    weir("NO_COLOR", "none", "set to anything: no colours on a terminal"),
];
