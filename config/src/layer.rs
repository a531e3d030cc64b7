//! The gateway's own settings of a source, as they stand in one of three places: an entry of `sources` in
//! `gateway.yaml`, `configuration.gateway` inside the source, or `defaults` in `gateway.yaml`.
//!
//! Pool settings may stand under `pool_settings` or directly beside the others; under `pool_settings` wins.
//!
//! What each key means stands in [`crate::keys::layer`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weir_core::settings::{Origins, ReplicaRouting};

use crate::{
    address,
    context::Context,
    fields::Fields,
    health_check,
    keys::{self, Key},
    model::{
        AddressSource, AuthQuery, Caching, HealthCheck, SequenceFunctions, SessionFunctions, SessionStatePolicy,
        TlsSettings,
    },
    pool::PoolLayer,
    problem::Place,
    scalars::{self, Located},
    tls, words,
    yaml::{Node, Value},
};

/// The settings of one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    pub(crate) pool: PoolLayer,
    pub(crate) query_timeout: Option<Located<Option<Duration>>>,
    pub(crate) idle_in_transaction_timeout: Option<Located<Option<Duration>>>,
    pub(crate) transaction_timeout: Option<Located<Option<Duration>>>,
    pub(crate) client_idle_timeout: Option<Located<Option<Duration>>>,
    pub(crate) linger: Option<Located<Duration>>,
    pub(crate) read_replica_routing: Option<Located<ReplicaRouting>>,
    pub(crate) session_state: Option<Located<SessionStatePolicy>>,
    pub(crate) sequence_functions: Option<Located<SequenceFunctions>>,
    pub(crate) session_functions: Option<Located<SessionFunctions>>,
    pub(crate) shared_listener: Option<Located<bool>>,
    pub(crate) pin_notice: Option<Located<bool>>,
    pub(crate) caching: Option<Located<Caching>>,
    pub(crate) application_name: Option<Located<String>>,
    pub(crate) startup_parameters: Option<Located<BTreeMap<String, String>>>,
    pub(crate) max_client_connections: Option<Located<u32>>,
    pub(crate) auth_query: Option<Located<Option<AuthQuery>>>,
    pub(crate) pass_through_login: Option<Located<bool>>,
    pub(crate) tls: Option<Located<TlsSettings>>,
    pub(crate) health_check: Option<Located<HealthCheck>>,
}

impl Layer {
    /// All keys of a layer, and `further` ones that are valid in this place.
    pub(crate) fn known(further: &[Key]) -> Vec<Key> {
        let known = [further, keys::layer::KEYS.as_slice(), keys::pool::KEYS.as_slice()];
        known.into_iter().flatten().copied().collect()
    }

    /// Reads the keys that are there. Unknown keys are the caller's business.
    pub(crate) fn read(cx: &mut Context<'_>, fields: Fields<'_>) -> Self {
        let beside = PoolLayer::read(cx, fields);
        let pool = match fields
            .get("pool_settings")
            .and_then(|node| Fields::of(cx, node, "pool_settings", &keys::pool::KEYS))
        {
            Some(inner) => PoolLayer::read(cx, inner).over(beside),
            None => beside,
        };
        Layer {
            pool,
            query_timeout: limit(cx, fields, &keys::layer::QUERY_TIMEOUT),
            idle_in_transaction_timeout: limit(cx, fields, &keys::layer::IDLE_IN_TRANSACTION_TIMEOUT),
            transaction_timeout: limit(cx, fields, &keys::layer::TRANSACTION_TIMEOUT),
            client_idle_timeout: limit(cx, fields, &keys::layer::CLIENT_IDLE_TIMEOUT),
            linger: located(fields, "linger_ms", |node| {
                let milliseconds = scalars::integer(cx, &keys::layer::LINGER_MS, node)?;
                Some(Duration::from_millis(milliseconds.into()))
            }),
            read_replica_routing: located(fields, "read_replica_routing", |node| {
                scalars::word(cx, "read_replica_routing", node, words::ROUTINGS)
            }),
            session_state: located(fields, "session_state", |node| {
                scalars::word(cx, "session_state", node, words::SESSION_STATES)
            }),
            sequence_functions: located(fields, "sequence_functions", |node| {
                scalars::word(cx, "sequence_functions", node, words::SEQUENCE_FUNCTIONS)
            }),
            session_functions: located(fields, "session_functions", |node| {
                scalars::word(cx, "session_functions", node, words::SESSION_FUNCTIONS)
            }),
            shared_listener: located(fields, "shared_listener", |node| {
                scalars::boolean(cx, "shared_listener", node)
            }),
            pin_notice: located(fields, "pin_notice", |node| scalars::boolean(cx, "pin_notice", node)),
            caching: located(fields, "caching", |node| caching(cx, node)),
            application_name: located(fields, "application_name", |node| {
                scalars::name(cx, "application_name", node)
            }),
            startup_parameters: located(fields, "startup_parameters", |node| startup_parameters(cx, node)),
            max_client_connections: located(fields, "max_client_connections", |node| client_limit(cx, node)),
            auth_query: located(fields, "auth_query", |node| auth_query(cx, node)),
            pass_through_login: located(fields, "pass_through_login", |node| {
                scalars::boolean(cx, "pass_through_login", node)
            }),
            tls: located(fields, "ssl_configuration", |node| tls::read(cx, node)),
            health_check: located(fields, "health_check", |node| health_check::read(cx, node)),
        }
    }
}

fn located<T>(fields: Fields<'_>, key: &str, read: impl FnOnce(&Node) -> Option<T>) -> Option<Located<T>> {
    let node = fields.get(key)?;
    read(node).map(|value| Located::new(value, &node.place))
}

/// A time limit: `null` and 0 are values that mean no limit, so that a source can lift a limit of `defaults`.
pub(crate) fn limit(cx: &mut Context<'_>, fields: Fields<'_>, key: &Key) -> Option<Located<Option<Duration>>> {
    let node = fields.any(key.name)?;
    let value = match node.is_null() {
        true => None,
        false => Some(scalars::seconds(cx, key, node)?).filter(|limit| !limit.is_zero()),
    };
    Some(Located::new(value, &node.place))
}

/// Where one setting was set.
pub(crate) fn origins(key: &str, place: Option<&Place>) -> Origins {
    Origins(Arc::new(
        place
            .map(|place| (key.to_owned(), place.to_string()))
            .into_iter()
            .collect(),
    ))
}

/// `max_client_connections`
pub(crate) fn client_limit(cx: &mut Context<'_>, node: &Node) -> Option<u32> {
    scalars::integer(cx, &keys::layer::MAX_CLIENT_CONNECTIONS, node)
}

/// `caching`: whole, not merged key by key.
pub(crate) fn caching(cx: &mut Context<'_>, node: &Node) -> Option<Caching> {
    let fields = Fields::of(cx, node, "caching", &keys::layer::CACHING)?;
    let mut caching = Caching::default();
    if let Some(node) = fields.get("disabled") {
        caching.disabled = scalars::boolean(cx, "disabled", node)?;
    }
    if let Some(node) = fields.get("max_age") {
        caching.max_age = Duration::from_secs(scalars::integer(cx, &keys::layer::MAX_AGE, node)?.into());
    }
    if let Some(node) = fields.get("stale_while_revalidate") {
        caching.stale_while_revalidate =
            Duration::from_secs(scalars::integer(cx, &keys::layer::STALE_WHILE_REVALIDATE, node)?.into());
    }
    if let Some(node) = fields.get("max_response_size") {
        caching.max_response_size = scalars::integer(cx, &keys::layer::MAX_RESPONSE_SIZE, node)?.into();
    }
    if !caching.disabled {
        cx.warn(
            fields.place(),
            "caching is not supported yet: every query goes to the database",
        );
    }
    Some(caching)
}

/// Sent in the start-up packet of server connections. What identifies the connection cannot be overridden here.
fn startup_parameters(cx: &mut Context<'_>, node: &Node) -> Option<BTreeMap<String, String>> {
    Fields::unchecked(cx, node, "startup_parameters")?;
    let mut parameters = BTreeMap::new();
    for entry in node.entries() {
        let name = entry.key.to_ascii_lowercase();
        if ["user", "database", "replication", "options"].contains(&name.as_str())
            || name.starts_with("_pq_")
            || name.is_empty()
        {
            cx.error(
                &entry.key_place,
                format!(
                    "startup_parameters cannot set \"{}\"",
                    crate::quote::shorten(&entry.key)
                ),
            );
        } else if let Some(value) = scalars::as_written(cx, &entry.key, &entry.value) {
            match value.contains('\0') || name.contains('\0') {
                true => cx.error(&entry.value.place, "a start-up parameter cannot hold a NUL character"),
                false => {
                    parameters.insert(name, value);
                }
            }
        }
    }
    Some(parameters)
}

fn auth_query(cx: &mut Context<'_>, node: &Node) -> Option<Option<AuthQuery>> {
    // `auth_query: true` reads naturally for the built-in query.
    if let Value::Bool(enabled) = node.value {
        return Some(enabled.then_some(AuthQuery {
            query: None,
            connection: None,
        }));
    }
    let fields = Fields::of(cx, node, "auth_query", &keys::layer::AUTH_QUERY)?;
    let disabled = fields
        .get("disabled")
        .map(|node| scalars::boolean(cx, "disabled", node));
    let query = match fields.get("query") {
        Some(node) => Some(query_text(cx, node)?),
        None => None,
    };
    let connection = match fields.get("user_database_url") {
        Some(node) => Some(user_database(cx, node)?),
        None => None,
    };
    match disabled {
        Some(disabled) if disabled? => Some(None),
        _ => Some(Some(AuthQuery { query, connection })),
    }
}

fn user_database(cx: &mut Context<'_>, node: &Node) -> Option<AddressSource> {
    let source = address::read(cx, "user_database_url", node)?.source;
    match (&source, source.resolve()) {
        (AddressSource::Fixed(_), Err(error)) => {
            cx.error(&node.place, format!("user_database_url: {error}"));
            None
        }
        _ => Some(source),
    }
}

/// The user name travels as a parameter; a query that has none would let everyone in as the same role.
fn query_text(cx: &mut Context<'_>, node: &Node) -> Option<String> {
    let query = scalars::name(cx, "query", node)?;
    if query.contains("$1") {
        return Some(query);
    }
    cx.error(
        &node.place,
        "the query of auth_query must ask for the user by the parameter $1",
    );
    None
}
