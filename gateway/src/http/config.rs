//! `/v1alpha1/config`: what applies, and where each value was set.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;
use serde_json::{Value, json};
use weir_core::{
    admin::{PoolView, SourceView, time},
    settings::{Origins, PoolMode, PoolSettings, ServerReset, Timeouts},
};

use super::{Shared, version};
use crate::{otlp, serve::control};

/// What this file answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1alpha1/config", get(config))
}

async fn config(State(shared): State<Shared>) -> Json<Value> {
    let state = shared.control.state();
    let sources = shared.control.sources();
    Json(json!({
        // What Hasura's command line and console look for.
        "version": version::VERSION,
        "is_admin_secret_set": state.metadata.admin.admin_secret.is_some(),
        "is_auth_hook_set": false,
        "is_jwt_set": false,
        "is_allow_list_enabled": false,
        "is_console_enabled": true,
        "is_prometheus_metrics_enabled": state.metadata.admin.enabled_apis.iter().any(|api| api == "metrics"),
        // What is ours.
        "started": time::iso(shared.control.views().started),
        "metadata": { "resource_version": state.resource_version, "applied": time::iso(state.applied) },
        "server": server(&state),
        "telemetry": otlp::effective(&state.metadata.telemetry),
        "listeners": state.metadata.listeners.iter().map(listener).collect::<Vec<_>>(),
        "sources": sources.iter().map(source).collect::<Vec<_>>(),
    }))
}

fn server(state: &control::State) -> Value {
    let metadata = &state.metadata;
    json!({
        "host": metadata.admin.host,
        "port": metadata.admin.port,
        "enabled_apis": metadata.admin.enabled_apis,
        "max_client_connections": value(&metadata.max_client_connections, &metadata.origins, "max_client_connections"),
        "graceful_shutdown_timeout": seconds(metadata.graceful_shutdown_timeout),
    })
}

fn listener(listener: &weir_config::Listener) -> Value {
    let limit = value(
        &listener.max_client_connections,
        &listener.origins,
        "max_client_connections",
    );
    json!({
        "name": listener.name,
        "kind": listener.kind.as_str(),
        "host": listener.host,
        "port": listener.port,
        "max_client_connections": limit,
    })
}

fn source(source: &SourceView) -> Value {
    if let Some(reason) = &source.inconsistent {
        return json!({ "name": *source.name, "kind": source.kind, "inconsistent": reason });
    }
    let clients = value(&source.max_clients, &source.origins, "max_client_connections");
    json!({
        "name": *source.name,
        "kind": source.kind,
        "database_names": source.database_names,
        "max_client_connections": clients,
        "timeouts": timeouts(&source.timeouts, &source.origins),
        "pools": source.pools.iter().map(pool).collect::<Vec<_>>(),
    })
}

fn timeouts(timeouts: &Timeouts, origins: &Origins) -> Value {
    let limit = |limit: Option<Duration>, key: &str| value(&limit.map(seconds), origins, key);
    json!({
        "query_timeout": limit(timeouts.query, "query_timeout"),
        "idle_in_transaction_timeout": limit(timeouts.idle_in_transaction, "idle_in_transaction_timeout"),
        "transaction_timeout": limit(timeouts.transaction, "transaction_timeout"),
        "client_idle_timeout": limit(timeouts.client_idle, "client_idle_timeout"),
    })
}

fn pool(pool: &PoolView) -> Value {
    json!({ "database": pool.database, "pool_settings": pool_settings(&pool.settings) })
}

fn pool_settings(settings: &PoolSettings) -> Value {
    let origins = &settings.origins;
    let limit = |limit: Option<Duration>, key: &str| value(&limit.map(seconds), origins, key);
    // Of the two that go together, the one that decided.
    let limit_key = match origins.0.contains_key("total_max_connections") {
        true => "total_max_connections",
        false => "max_connections",
    };
    json!({
        "max_connections": value(&settings.max_connections, origins, limit_key),
        "overflow_connections": value(&settings.overflow_connections, origins, "overflow_connections"),
        "min_connections": value(&settings.min_connections, origins, "min_connections"),
        "idle_timeout": limit(settings.idle_timeout, "idle_timeout"),
        "connection_lifetime": limit(settings.connection_lifetime, "connection_lifetime"),
        "pool_timeout": limit(settings.pool_timeout, "pool_timeout"),
        "retries": value(&settings.retries, origins, "retries"),
        "connect_timeout": limit(Some(settings.connect_timeout), "connect_timeout"),
        "pool_mode": value(&pool_mode(settings.pool_mode), origins, "pool_mode"),
        "server_reset": value(&server_reset(settings.server_reset), origins, "server_reset"),
        "max_prepared_statements": value(&settings.max_prepared_statements, origins, "max_prepared_statements"),
    })
}

fn pool_mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}

fn server_reset(reset: ServerReset) -> &'static str {
    match reset {
        ServerReset::Auto => "auto",
        ServerReset::Always => "always",
        ServerReset::Never => "never",
    }
}

/// What applies, and where it was set. `null` is no limit.
fn value<T: Serialize>(value: &T, origins: &Origins, key: &str) -> Value {
    json!({ "value": value, "set_in": origins.of(key) })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
