//! `configuration` of SQL Server.

use std::time::Duration;

use super::effective::Layers;
use crate::{
    context::Context,
    fields::{self, Fields},
    keys,
    model::{MssqlAddress, MssqlConnection, MssqlIsolationLevel, MssqlSource, Pooling},
    odbc,
    pool::{self, Announce, Instances, PoolLayer},
    problem::Place,
    scalars, words,
    yaml::{Node, Value},
};

/// Reads the configuration; `None` when something in it is wrong.
pub(super) fn read(
    cx: &mut Context<'_>,
    fields: Fields<'_>,
    layers: &Layers<'_>,
    instances: Instances,
) -> Option<MssqlSource> {
    if let Some(found) = layers.own(|layer| &layer.auth_query) {
        cx.warn(
            &found.place,
            "auth_query is ignored: SQL Server keeps no password that a gateway could check",
        );
    }
    let node = fields.required(cx, "connection_info", "configuration");
    let own = node.and_then(|node| Own::read(cx, node, "connection_info"));
    let primary_pool = own.as_ref().map(|own| own.pool.clone()).unwrap_or_default();
    let primary = own.map(|own| {
        let address = PoolLayer::of_address(own.address.connect_timeout, &own.address.place);
        let overlay = layers.overlay.map(|layer| layer.pool.clone()).unwrap_or_default();
        let pools = [
            &overlay,
            &layers.inline.pool,
            &own.pool,
            &address,
            &layers.defaults.pool,
        ];
        let pool = pool::resolve(cx, &pools, instances, Announce::First(3));
        own.finish(layers, pool)
    });
    let replicas = match fields.get("read_replicas") {
        None => Some(Vec::new()),
        Some(node) => read_replicas(cx, node, layers, instances, &primary_pool),
    };
    Some(MssqlSource {
        primary: primary?,
        read_replicas: replicas?,
        pass_through_login: layers
            .first(|layer| &layer.pass_through_login)
            .is_some_and(|found| found.value),
    })
}

fn read_replicas(
    cx: &mut Context<'_>,
    node: &Node,
    layers: &Layers<'_>,
    instances: Instances,
    primary_pool: &PoolLayer,
) -> Option<Vec<MssqlConnection>> {
    let items = fields::list(cx, node, "read_replicas")?;
    if items.is_empty() {
        cx.error(&node.place, "read_replicas cannot be empty");
    }
    let overlay = layers
        .overlay
        .map(|layer| layer.pool.without_sizes())
        .unwrap_or_default();
    let (inline, manner) = (layers.inline.pool.without_sizes(), primary_pool.manner());
    let mut replica = |item| {
        let own = Own::read(cx, item, "a read replica")?;
        let address = PoolLayer::of_address(own.address.connect_timeout, &own.address.place);
        let pools = [&overlay, &own.pool, &inline, &manner, &address, &layers.defaults.pool];
        let pool = pool::resolve(cx, &pools, instances, Announce::Nothing);
        Some(own.finish(layers, pool))
    };
    let replicas: Vec<_> = items.iter().map(&mut replica).collect();
    replicas.into_iter().collect()
}

/// A connection as it is written, before settings of other places are merged in.
struct Own {
    address: Address,
    pool: PoolLayer,
    pooling: Pooling,
    tls: Option<crate::model::TlsSettings>,
    isolation_level: Option<MssqlIsolationLevel>,
}

struct Address {
    source: MssqlAddress,
    label: String,
    connect_timeout: Option<Duration>,
    place: Place,
}

impl Own {
    fn read(cx: &mut Context<'_>, node: &Node, what: &str) -> Option<Self> {
        let fields = Fields::of(cx, node, what, &keys::source::MSSQL_CONNECTION)?;
        // Hasura tries the old name first.
        let address = match fields.get("database_url").or(fields.get("connection_string")) {
            Some(node) => address(cx, node),
            None => {
                cx.error(fields.place(), format!("{what} has no connection_string"));
                None
            }
        };
        let pool = match fields.get("pool_settings") {
            Some(node) => pool_settings(cx, node),
            None => Some((Pooling::Pooled, PoolLayer::default())),
        };
        let tls = match fields.get("ssl_configuration") {
            Some(node) => crate::tls::read(cx, node).map(Some),
            None => Some(None),
        };
        let isolation_level = match fields.get("isolation_level") {
            Some(node) => scalars::word(cx, "isolation_level", node, words::MSSQL_ISOLATION_LEVELS).map(Some),
            None => Some(None),
        };
        let (pooling, pool) = pool?;
        Some(Own {
            address: address?,
            pool,
            pooling,
            tls: tls?,
            isolation_level: isolation_level?,
        })
    }

    fn finish(self, layers: &Layers<'_>, pool: weir_core::settings::PoolSettings) -> MssqlConnection {
        let over = layers.own(|layer| &layer.tls).map(|found| found.value.clone());
        let default = layers.defaults.tls.as_ref().map(|found| found.value.clone());
        MssqlConnection {
            label: self.address.label,
            address: self.address.source,
            pooling: self.pooling,
            pool,
            isolation_level: self.isolation_level,
            tls: over.or(self.tls).or(default),
        }
    }
}

/// `{enable: false}`, or the settings of a pool.
fn pool_settings(cx: &mut Context<'_>, node: &Node) -> Option<(Pooling, PoolLayer)> {
    let known: Vec<_> = [keys::pool::ENABLE].into_iter().chain(keys::pool::KEYS).collect();
    let fields = Fields::of(cx, node, "pool_settings", &known)?;
    let layer = PoolLayer::read(cx, fields);
    let pooling = match fields.get("enable").map(|node| scalars::boolean(cx, "enable", node)) {
        None => Pooling::Pooled,
        Some(enable) if enable? => Pooling::Pooled,
        Some(_) => Pooling::PerUse,
    };
    if pooling == Pooling::PerUse && node.entries().len() > 1 {
        cx.warn(
            &node.place,
            "pool_settings has enable: false, so that the other settings of the pool mean nothing",
        );
    }
    Some((pooling, layer))
}

/// A connection string: written out, `{from_env}`, or `{dynamic_from_file}`.
fn address(cx: &mut Context<'_>, node: &Node) -> Option<Address> {
    let (text, variable) = match &node.value {
        Value::String(text) => (text.clone(), None),
        Value::Map(_) if node.get("dynamic_from_file").is_some() => {
            let file = scalars::dynamic_file(cx, "connection_string", node)?;
            let label = file.path.display().to_string();
            return Some(Address {
                source: MssqlAddress::File(file),
                label,
                connect_timeout: None,
                place: node.place.clone(),
            });
        }
        Value::Map(_) => {
            let name = scalars::from_env(cx, "connection_string", node)?;
            (cx.variable(&name, &node.place)?, Some(name))
        }
        Value::Broken => return None,
        _ => {
            cx.error(&node.place, "connection_string must be a string or {from_env: NAME}");
            return None;
        }
    };
    match odbc::parse(&text) {
        Ok(parsed) => {
            parsed
                .remarks
                .into_iter()
                .for_each(|remark| cx.warn(&node.place, remark));
            Some(Address {
                label: variable.unwrap_or_else(|| parsed.endpoint.to_string()),
                connect_timeout: parsed.endpoint.connect_timeout,
                source: MssqlAddress::Fixed(Box::new(parsed.endpoint)),
                place: node.place.clone(),
            })
        }
        Err(error) => {
            let from = variable
                .map(|name| format!(" (environment variable '{name}')"))
                .unwrap_or_default();
            cx.error(&node.place, format!("connection_string{from}: {error}"));
            None
        }
    }
}
