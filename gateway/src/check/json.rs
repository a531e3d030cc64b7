//! The report for programs: one JSON object. Keys are only ever added.

use serde_json::{Value, json};
use weir_config::{
    Loaded, Problem, Severity, Subject,
    model::{Definition, Listener, Source, SourceKind},
};
use weir_core::settings::PoolSettings;

use super::connections::{self, Connection};

/// The whole report. `connections` is `None` without `--connect`, and then absent.
pub(crate) fn report(loaded: &Loaded, connections: Option<&[Connection]>) -> Value {
    let mut report = json!({
        "problems": loaded.problems.iter().map(problem).collect::<Vec<_>>(),
        "sources": loaded.metadata.sources.iter().map(source).chain(loaded.metadata.inconsistent.iter().map(|source| json!({
            "name": source.name,
            "kind": source.kind.map(SourceKind::as_str),
            "state": "inconsistent",
            "database_names": source.database_names,
            "reason": source.reason,
        }))).collect::<Vec<_>>(),
        "listeners": loaded.metadata.listeners.iter().map(listener).chain(loaded.metadata.inconsistent_listeners.iter().map(|listener| json!({
            "name": listener.name,
            "state": "inconsistent",
            "reason": listener.reason,
        }))).collect::<Vec<_>>(),
        "users": loaded.metadata.users.len(),
    });
    if let Some(connections) = connections {
        report["connections"] = connections.iter().map(connection).collect();
        report["servers"] = connections::fits(connections)
            .into_iter()
            .map(|(server, fit)| {
                json!({
                    "server": server,
                    "pool_limit": fit.wanted,
                    "usable_connections": fit.capacity.usable(),
                    "max_connections": fit.capacity.max_connections,
                    "reserved_connections": fit.capacity.reserved,
                    "fits": fit.fits(),
                })
            })
            .collect();
    }
    report
}

fn problem(problem: &Problem) -> Value {
    let (subject, name) = match &problem.subject {
        Subject::Everything => ("metadata", None),
        Subject::Source(name) => ("source", Some(name)),
        Subject::Listener(name) => ("listener", Some(name)),
        Subject::User(name) => ("user", Some(name)),
        Subject::Telemetry => ("open_telemetry", None),
    };
    json!({
        "severity": match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        },
        "file": &*problem.place.file,
        "line": problem.place.line,
        "column": problem.place.column,
        "message": problem.message,
        "subject": subject,
        "name": name,
    })
}

fn source(source: &Source) -> Value {
    let (pool, replicas) = match &source.definition {
        Definition::Postgres(definition) => (&definition.primary.pool, definition.read_replicas.len()),
        Definition::Mssql(definition) => (&definition.primary.pool, definition.read_replicas.len()),
    };
    json!({
        "name": source.name,
        "kind": source.kind.as_str(),
        "state": "ok",
        "database_names": source.database_names,
        "max_connections": setting(pool, "max_connections", pool.max_connections.into()),
        "overflow_connections": setting(pool, "overflow_connections", pool.overflow_connections.into()),
        "pool_timeout": setting(pool, "pool_timeout", pool.pool_timeout.map(|limit| limit.as_secs_f64()).into()),
        "read_replicas": replicas,
    })
}

fn setting(pool: &PoolSettings, name: &str, value: Value) -> Value {
    json!({ "value": value, "set_in": pool.origins.of(name) })
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "kind": listener.kind.as_str(),
        "state": "ok",
        "host": listener.host,
        "port": listener.port,
        "tls": listener.tls.is_some(),
    })
}

/// One connection, and how the look at it ended.
pub(crate) fn connection(connection: &Connection) -> Value {
    let mut value = json!({
        "source": connection.source,
        "part": connection.part,
        "address": connection.label,
        "pool_limit": connection.pool_limit,
        "pool_limit_set_in": connection.limit_set_in,
        "reached": connection.outcome.is_ok(),
    });
    match &connection.outcome {
        Ok(found) => {
            value["server"] = found.server.clone().into();
            value["version"] = found.version.clone().into();
            value["role"] = found.role.clone().into();
            value["encrypted"] = found.encrypted.into();
            value["connect_ms"] = (found.connect_time.as_secs_f64() * 1000.0).into();
            value["round_trip_ms"] = (found.round_trip.as_secs_f64() * 1000.0).into();
            value["max_connections"] = found.capacity.map(|capacity| capacity.max_connections).into();
        }
        Err(error) => {
            value["error"] = error.to_string().into();
            value["advice"] = connection.advice().into();
        }
    }
    value
}
