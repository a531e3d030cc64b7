//! Every metric: its name, what kind of number it is, and what it says.

use weir_core::observe::{HASURA_WAIT, LATENCY};

/// One metric with all its label values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// As Prometheus shows it: a counter's ends in `_total`.
    pub(crate) name: &'static str,
    /// What kind of number it is.
    pub(crate) kind: Kind,
    /// Its labels, in order.
    pub(crate) labels: &'static [&'static str],
    /// One sentence, without a full stop.
    pub(crate) help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, from 0 at the start of the process.
    Counter,
    /// Durations in seconds by buckets with these bounds (in nanoseconds), with sum and count.
    Histogram(&'static [u64]),
}

impl Kind {
    /// Prometheus's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram(_) => "histogram",
        }
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [u64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Histogram(bounds),
        labels,
        help,
    }
}

/// Hasura's labels of a pool.
const HASURA: &[&str] = &["source_name", "conn_info", "role"];
/// Our labels of a pool.
const POOL: &[&str] = &["source_name", "role", "database"];

/// Names of the metrics that the code refers to.
pub(super) mod name {
    pub(in crate::metrics) const POSTGRES_CONNECTIONS: &str = "hasura_postgres_connections";
    pub(in crate::metrics) const POSTGRES_INIT_TIME: &str = "hasura_postgres_connection_init_time";
    pub(in crate::metrics) const POSTGRES_WAIT_TIME: &str = "hasura_postgres_pool_wait_time";
    pub(in crate::metrics) const MSSQL_CONNECTIONS: &str = "hasura_mssql_connections";
    pub(in crate::metrics) const MSSQL_INIT_TIME: &str = "hasura_mssql_connection_init_time";
    pub(in crate::metrics) const MSSQL_WAIT_TIME: &str = "hasura_mssql_pool_wait_time";
    pub(in crate::metrics) const SOURCE_HEALTH: &str = "hasura_source_health";
    pub(in crate::metrics) const POOL_CONNECTIONS: &str = "weir_pool_connections";
    pub(in crate::metrics) const POOL_MAX_CONNECTIONS: &str = "weir_pool_max_connections";
    pub(in crate::metrics) const POOL_WAITING_CLIENTS: &str = "weir_pool_waiting_clients";
    pub(in crate::metrics) const POOL_LONGEST_WAIT: &str = "weir_pool_longest_wait_seconds";
    pub(in crate::metrics) const POOL_UP: &str = "weir_pool_up";
    pub(in crate::metrics) const POOL_LEASES: &str = "weir_pool_leases_total";
    pub(in crate::metrics) const POOL_WAITS: &str = "weir_pool_waits_total";
    pub(in crate::metrics) const POOL_TIMEOUTS: &str = "weir_pool_timeouts_total";
    pub(in crate::metrics) const OPENED: &str = "weir_server_connections_opened_total";
    pub(in crate::metrics) const CLOSED: &str = "weir_server_connections_closed_total";
    pub(in crate::metrics) const OPEN_ERRORS: &str = "weir_server_connection_errors_total";
    pub(in crate::metrics) const RESET_TIME: &str = "weir_server_reset_seconds";
    pub(in crate::metrics) const TRANSACTIONS: &str = "weir_transactions_total";
    pub(in crate::metrics) const QUERIES: &str = "weir_queries_total";
    pub(in crate::metrics) const TRANSACTION_TIME: &str = "weir_transaction_seconds";
    pub(in crate::metrics) const QUERY_LATENCY: &str = "weir_query_latency_seconds";
    pub(in crate::metrics) const TIME: &str = "weir_time_seconds_total";
    pub(in crate::metrics) const RECEIVED: &str = "weir_received_bytes_total";
    pub(in crate::metrics) const SENT: &str = "weir_sent_bytes_total";
    pub(in crate::metrics) const PINS: &str = "weir_pins_total";
    pub(in crate::metrics) const PINNED_CLIENTS: &str = "weir_pinned_clients";
    pub(in crate::metrics) const PINNED_TIME: &str = "weir_pinned_seconds_total";
    pub(in crate::metrics) const REFUSALS: &str = "weir_refusals_total";
    pub(in crate::metrics) const CLIENT_CONNECTIONS: &str = "weir_client_connections";
    pub(in crate::metrics) const MAX_CLIENT_CONNECTIONS: &str = "weir_max_client_connections";
    pub(in crate::metrics) const SOURCE_PAUSED: &str = "weir_source_paused";
    pub(in crate::metrics) const LOGINS: &str = "weir_logins_total";
    pub(in crate::metrics) const LOGIN_REFUSALS: &str = "weir_login_refusals_total";
    pub(in crate::metrics) const LOGIN_TIME: &str = "weir_login_seconds";
    pub(in crate::metrics) const SOURCES: &str = "weir_sources";
    pub(in crate::metrics) const RELOADS: &str = "weir_reloads_total";
    pub(in crate::metrics) const LAST_RELOAD: &str = "weir_last_reload_successful";
    pub(in crate::metrics) const LAST_RELOAD_TIME: &str = "weir_last_reload_success_timestamp_seconds";
    pub(in crate::metrics) const RESOURCE_VERSION: &str = "weir_metadata_resource_version";
    pub(in crate::metrics) const BUILD: &str = "weir_build_info";
    pub(in crate::metrics) const CPU: &str = "process_cpu_seconds_total";
    pub(in crate::metrics) const RESIDENT: &str = "process_resident_memory_bytes";
    pub(in crate::metrics) const VIRTUAL: &str = "process_virtual_memory_bytes";
    pub(in crate::metrics) const OPEN_FILES: &str = "process_open_fds";
    pub(in crate::metrics) const MAX_FILES: &str = "process_max_fds";
    pub(in crate::metrics) const THREADS: &str = "process_threads";
    pub(in crate::metrics) const START_TIME: &str = "process_start_time_seconds";
}

/// All of them, in the order in which they are published. `hasura_cache_request_count` is not among them: there is no
/// cache, and a counter that stays at 0 would say that there is one and that nothing hits it.
pub(crate) const TABLE: &[Family] = &[
    gauge(
        name::POSTGRES_CONNECTIONS,
        HASURA,
        "Open server connections to PostgreSQL",
    ),
    histogram(
        name::POSTGRES_INIT_TIME,
        &HASURA_WAIT,
        HASURA,
        "Time to open a server connection to PostgreSQL: name, connect, TLS, login, first settings",
    ),
    histogram(
        name::POSTGRES_WAIT_TIME,
        &HASURA_WAIT,
        HASURA,
        "Time that clients waited for a server connection to PostgreSQL; those who got one at once with no time",
    ),
    gauge(name::MSSQL_CONNECTIONS, HASURA, "Open server connections to SQL Server"),
    histogram(
        name::MSSQL_INIT_TIME,
        &HASURA_WAIT,
        HASURA,
        "Time to open a server connection to SQL Server: name, connect, TLS, login, first settings",
    ),
    histogram(
        name::MSSQL_WAIT_TIME,
        &HASURA_WAIT,
        HASURA,
        "Time that clients waited for a server connection to SQL Server; those who got one at once with no time",
    ),
    gauge(
        name::SOURCE_HEALTH,
        &["source_name"],
        "What the health_check of the source found last: 0 OK, 1 TIMEOUT, 2 FAILED, 3 ERROR",
    ),
    gauge(
        name::POOL_CONNECTIONS,
        &["source_name", "role", "database", "state"],
        "Server connections by state: idle, active, pinned, opening, resetting, closing",
    ),
    gauge(
        name::POOL_MAX_CONNECTIONS,
        POOL,
        "Server connections that the pool may have (max_connections)",
    ),
    gauge(
        name::POOL_WAITING_CLIENTS,
        POOL,
        "Clients that wait for a server connection",
    ),
    gauge(
        name::POOL_LONGEST_WAIT,
        POOL,
        "How long the client that waits longest has waited",
    ),
    gauge(
        name::POOL_UP,
        POOL,
        "1 while server connections can be opened as far as is known, 0 after attempts that all failed",
    ),
    counter(name::POOL_LEASES, POOL, "Server connections given to clients"),
    counter(
        name::POOL_WAITS,
        POOL,
        "Clients that had to wait for a server connection",
    ),
    counter(
        name::POOL_TIMEOUTS,
        POOL,
        "Clients that waited longer than pool_timeout and were refused",
    ),
    counter(name::OPENED, POOL, "Server connections opened"),
    counter(name::CLOSED, POOL, "Server connections closed, whatever the reason"),
    counter(
        name::OPEN_ERRORS,
        POOL,
        "Attempts to open a server connection that failed",
    ),
    histogram(
        name::RESET_TIME,
        &LATENCY,
        POOL,
        "Time to reset a server connection between two clients, where that took a round trip of its own",
    ),
    counter(
        name::TRANSACTIONS,
        POOL,
        "Transactions that ended, statements on their own included",
    ),
    counter(name::QUERIES, POOL, "Requests of clients that were answered"),
    histogram(
        name::TRANSACTION_TIME,
        &LATENCY,
        POOL,
        "Time of transactions from the first request to the end; what a client sent in one go counts as one",
    ),
    histogram(
        name::QUERY_LATENCY,
        &LATENCY,
        POOL,
        "Time from a request until its answer was complete; what a client sent in one go counts as one",
    ),
    counter(
        name::TIME,
        &["source_name", "role", "database", "part"],
        "What the time of transactions went into: waiting, connecting, resetting, server, client",
    ),
    counter(name::RECEIVED, POOL, "Bytes that clients sent for their transactions"),
    counter(name::SENT, POOL, "Bytes that servers sent to clients"),
    counter(
        name::PINS,
        &["source_name", "role", "database", "reason"],
        "Clients that began to keep their server connection between transactions",
    ),
    gauge(
        name::PINNED_CLIENTS,
        &["source_name", "role", "database", "reason"],
        "Clients that keep their server connection between transactions",
    ),
    counter(
        name::PINNED_TIME,
        &["source_name", "role", "database", "reason"],
        "How long clients kept their server connections between transactions, together",
    ),
    counter(
        name::REFUSALS,
        &["source_name", "reason"],
        "What clients that had logged in were refused",
    ),
    gauge(
        name::CLIENT_CONNECTIONS,
        &["source_name", "state"],
        "Clients that have logged in, by state: idle, waiting, active, idle in transaction, pinned",
    ),
    gauge(
        name::MAX_CLIENT_CONNECTIONS,
        &["source_name"],
        "Clients that the source takes (max_client_connections), where that is limited",
    ),
    gauge(
        name::SOURCE_PAUSED,
        &["source_name"],
        "1 while the source is paused: its clients wait",
    ),
    counter(
        name::LOGINS,
        &["listener", "result"],
        "Connections by what became of them: accepted, refused, cancel_request, broken_off",
    ),
    counter(
        name::LOGIN_REFUSALS,
        &["listener", "reason"],
        "Logins that were refused",
    ),
    histogram(
        name::LOGIN_TIME,
        &LATENCY,
        &["listener"],
        "Time of logins that were accepted, from the connection to the word that requests may come",
    ),
    gauge(
        name::SOURCES,
        &["state"],
        "Declared sources by state: consistent, inconsistent",
    ),
    counter(
        name::RELOADS,
        &["result"],
        "Attempts to apply the metadata again: applied, unchanged, refused",
    ),
    gauge(
        name::LAST_RELOAD,
        &[],
        "1 if what was read last applies, 0 if it was refused and the metadata before it stays",
    ),
    gauge(name::LAST_RELOAD_TIME, &[], "When the present metadata was applied"),
    gauge(name::RESOURCE_VERSION, &[], "resource_version of the present metadata"),
    gauge(name::BUILD, &["version"], "Always 1; the label says which version runs"),
    counter(name::CPU, &[], "Processor time of the process"),
    gauge(name::RESIDENT, &[], "Memory of the process that is in RAM"),
    gauge(name::VIRTUAL, &[], "Address space of the process"),
    gauge(name::OPEN_FILES, &[], "Open files and sockets of the process"),
    gauge(name::MAX_FILES, &[], "Files and sockets that the process may have open"),
    gauge(name::THREADS, &[], "Threads of the process"),
    gauge(name::START_TIME, &[], "When the process started"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The table of the document is this one.
    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../../docs/metrics.md");
        let rows: Vec<String> = TABLE.iter().map(row).collect();
        let written: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let expected = rows.join("\n");
        assert_eq!(written, rows, "the table of docs/metrics.md should be:\n{expected}");
        // What is said elsewhere in it is about metrics that there are.
        let known = |word: &str| {
            let base = ["_bucket", "_sum", "_count"];
            let base = base.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
            TABLE.iter().any(|family| family.name == base || family.name == word)
        };
        for word in document.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_')) {
            let is_metric = ["hasura_", "weir_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix));
            let is_absent = word == "hasura_cache_request_count" || word.ends_with('_');
            assert!(!is_metric || is_absent || known(word), "{word} is no metric");
        }
    }

    fn row(family: &Family) -> String {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = family.kind.as_str();
        format!(
            "| `{}` | {kind} | {} | {} |",
            family.name,
            labels.join(" "),
            family.help
        )
    }

    #[test]
    fn names_and_labels_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for family in TABLE {
            let Family { name, kind, .. } = family;
            assert!(names.insert(name), "{name} is there twice");
            let is_name = |name: &str| {
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            assert!(
                is_name(name) && family.labels.iter().all(|label| is_name(label)),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), matches!(kind, Kind::Counter), "{name}");
            assert!(!family.labels.contains(&"le"), "{name}");
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
            let is_ours = ["hasura_", "weir_", "process_"];
            assert!(is_ours.iter().any(|prefix| name.starts_with(prefix)), "{name}");
        }
    }
}
