//! Pool settings: read from each place where they may stand, then merged by precedence.
//!
//! Rules (metadata specification 1.6, 7.2, 7.6):
//! * the first place that sets a value wins; `null` is the default, so the search goes on;
//! * except that `pool_timeout: null` is a value: wait for ever. Missing everywhere it is 15 s;
//! * `connection_lifetime: 0` is never, missing is 600 s;
//! * `total_max_connections` wins over `max_connections` where both stand in one place; a place that sets either of them
//!   hides both of every lower place, so that an overlay can always lower a limit. The total is divided by the number of
//!   instances.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weir_core::settings::{Origins, PoolMode, PoolSettings, ServerReset};

use crate::{
    context::Context,
    fields::Fields,
    keys::{Key, pool as keys},
    problem::Place,
    scalars::{self, Located},
    words,
};

/// Pool settings as they stand in one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PoolLayer {
    max_connections: Option<Located<u32>>,
    total_max_connections: Option<Located<u32>>,
    min_connections: Option<Located<u32>>,
    overflow_connections: Option<Located<u32>>,
    idle_timeout: Option<Located<Duration>>,
    connection_lifetime: Option<Located<Option<Duration>>>,
    pool_timeout: Option<Located<Option<Duration>>>,
    retries: Option<Located<u32>>,
    connect_timeout: Option<Located<Duration>>,
    pool_mode: Option<Located<PoolMode>>,
    server_reset: Option<Located<ServerReset>>,
    max_prepared_statements: Option<Located<u32>>,
}

impl PoolLayer {
    /// Reads the keys that are there. Unknown keys are the caller's business.
    pub(crate) fn read(cx: &mut Context<'_>, fields: Fields<'_>) -> Self {
        let mut count = |key: &Key| {
            let node = fields.get(key.name)?;
            scalars::integer(cx, key, node).map(|value| Located::new(value, &node.place))
        };
        let max_connections = count(&keys::MAX_CONNECTIONS);
        let total_max_connections = count(&keys::TOTAL_MAX_CONNECTIONS);
        let min_connections = count(&keys::MIN_CONNECTIONS);
        let overflow_connections = count(&keys::OVERFLOW_CONNECTIONS);
        let max_prepared_statements = count(&keys::MAX_PREPARED_STATEMENTS);
        let retries = count(&keys::RETRIES);
        let mut seconds = |key: &Key| {
            let node = fields.get(key.name)?;
            scalars::seconds(cx, key, node).map(|value| Located::new(value, &node.place))
        };
        let idle_timeout = seconds(&keys::IDLE_TIMEOUT);
        let connect_timeout = seconds(&keys::CONNECT_TIMEOUT);
        let connection_lifetime = seconds(&keys::CONNECTION_LIFETIME);
        let pool_timeout = seconds(&keys::POOL_TIMEOUT).map(|found| Located::new(Some(found.value), &found.place));
        let forever = fields
            .any("pool_timeout")
            .filter(|node| node.is_null())
            .map(|node| Located::new(None, &node.place));
        PoolLayer {
            max_connections,
            total_max_connections,
            min_connections,
            overflow_connections,
            idle_timeout,
            connection_lifetime: connection_lifetime
                .map(|found| Located::new(Some(found.value).filter(|lifetime| !lifetime.is_zero()), &found.place)),
            pool_timeout: pool_timeout.or(forever),
            retries,
            connect_timeout,
            pool_mode: word(cx, fields, "pool_mode", words::POOL_MODES),
            server_reset: word(cx, fields, "server_reset", words::SERVER_RESETS),
            max_prepared_statements,
        }
    }

    /// The `connect_timeout` of an address, as a place of its own.
    pub(crate) fn of_address(connect_timeout: Option<Duration>, place: &Place) -> Self {
        PoolLayer {
            connect_timeout: connect_timeout.map(|timeout| Located::new(timeout, place)),
            ..PoolLayer::default()
        }
    }

    /// These settings before `outer`, for settings that stand in two depths of one place.
    pub(crate) fn over(self, outer: PoolLayer) -> Self {
        let sized = self.max_connections.is_some() || self.total_max_connections.is_some();
        PoolLayer {
            max_connections: self.max_connections.or(outer.max_connections.filter(|_| !sized)),
            total_max_connections: self
                .total_max_connections
                .or(outer.total_max_connections.filter(|_| !sized)),
            min_connections: self.min_connections.or(outer.min_connections),
            overflow_connections: self.overflow_connections.or(outer.overflow_connections),
            idle_timeout: self.idle_timeout.or(outer.idle_timeout),
            connection_lifetime: self.connection_lifetime.or(outer.connection_lifetime),
            pool_timeout: self.pool_timeout.or(outer.pool_timeout),
            retries: self.retries.or(outer.retries),
            connect_timeout: self.connect_timeout.or(outer.connect_timeout),
            pool_mode: self.pool_mode.or(outer.pool_mode),
            server_reset: self.server_reset.or(outer.server_reset),
            max_prepared_statements: self.max_prepared_statements.or(outer.max_prepared_statements),
        }
    }

    /// What a source's settings mean for its replicas and connection set: their sizes are their own.
    pub(crate) fn without_sizes(&self) -> Self {
        PoolLayer {
            max_connections: None,
            total_max_connections: None,
            min_connections: None,
            overflow_connections: None,
            ..self.clone()
        }
    }

    /// What the primary's `pool_settings` mean for the others: how clients are served, not how the pool is kept.
    pub(crate) fn manner(&self) -> Self {
        PoolLayer {
            pool_mode: self.pool_mode.clone(),
            server_reset: self.server_reset.clone(),
            max_prepared_statements: self.max_prepared_statements.clone(),
            ..PoolLayer::default()
        }
    }
}

fn word<T: Copy>(cx: &mut Context<'_>, fields: Fields<'_>, key: &str, words: words::Words<T>) -> Option<Located<T>> {
    let node = fields.get(key)?;
    scalars::word(cx, key, node, words).map(|value| Located::new(value, &node.place))
}

/// How many gateways share `total_max_connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instances {
    pub(crate) count: u32,
    /// Counted from 0. Unknown: nobody takes the remainder.
    pub(crate) number: Option<u32>,
}

impl Instances {
    /// From `WEIR_INSTANCE_COUNT` (1 when missing) and `WEIR_INSTANCE_NUMBER`.
    pub(crate) fn read(cx: &mut Context<'_>) -> Self {
        let mut number = |name: &str, least: u32| {
            let (text, place) = cx.setting(name)?;
            let number = text.trim().parse().ok().filter(|number| *number >= least);
            if number.is_none() {
                cx.error(&place, format!("must be a whole number of at least {least}"));
            }
            number
        };
        let count = number("WEIR_INSTANCE_COUNT", 1).unwrap_or(1);
        Instances {
            count,
            number: number("WEIR_INSTANCE_NUMBER", 0),
        }
    }

    /// This instance's part: the remainder goes to the lowest numbers; never less than 1.
    pub(crate) fn share(self, total: u32) -> u32 {
        let remainder = total % self.count;
        (total / self.count + u32::from(self.number.is_some_and(|number| number < remainder))).max(1)
    }
}

/// Whether a value that stands in two places is worth a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announce {
    /// Yes, among the first so many places; the ones behind are meant to be overridden.
    First(usize),
    Nothing,
}

/// The effective settings. `layers` go from the strongest to the weakest.
pub(crate) fn resolve(
    cx: &mut Context<'_>,
    layers: &[&PoolLayer],
    instances: Instances,
    announce: Announce,
) -> PoolSettings {
    let mut merge = Merge {
        cx,
        layers,
        announce,
        origins: BTreeMap::new(),
    };
    let default = PoolSettings::default();
    let max_connections = merge.limit(instances).unwrap_or(default.max_connections);
    let mut min_connections = merge
        .pick("min_connections", |layer| &layer.min_connections)
        .unwrap_or(default.min_connections);
    if min_connections > max_connections {
        merge.min_too_large(min_connections, max_connections);
        min_connections = max_connections;
    }
    PoolSettings {
        max_connections,
        min_connections,
        overflow_connections: merge
            .pick("overflow_connections", |layer| &layer.overflow_connections)
            .unwrap_or(default.overflow_connections),
        idle_timeout: merge
            .pick("idle_timeout", |layer| &layer.idle_timeout)
            .or(default.idle_timeout),
        connection_lifetime: merge
            .pick("connection_lifetime", |layer| &layer.connection_lifetime)
            .unwrap_or(default.connection_lifetime),
        pool_timeout: merge
            .pick("pool_timeout", |layer| &layer.pool_timeout)
            .unwrap_or(default.pool_timeout),
        retries: merge.pick("retries", |layer| &layer.retries).unwrap_or(default.retries),
        connect_timeout: merge
            .pick("connect_timeout", |layer| &layer.connect_timeout)
            .unwrap_or(default.connect_timeout),
        pool_mode: merge
            .pick("pool_mode", |layer| &layer.pool_mode)
            .unwrap_or(default.pool_mode),
        server_reset: merge
            .pick("server_reset", |layer| &layer.server_reset)
            .unwrap_or(default.server_reset),
        max_prepared_statements: merge
            .pick("max_prepared_statements", |layer| &layer.max_prepared_statements)
            .unwrap_or(default.max_prepared_statements),
        origins: Origins(Arc::new(merge.origins)),
    }
}

struct Merge<'m, 'a> {
    cx: &'m mut Context<'a>,
    layers: &'m [&'m PoolLayer],
    announce: Announce,
    origins: BTreeMap<String, String>,
}

impl Merge<'_, '_> {
    /// The strongest value; remembers where it came from.
    fn pick<T: Clone>(&mut self, name: &str, field: impl Fn(&PoolLayer) -> &Option<Located<T>>) -> Option<T> {
        let found: Vec<_> = self
            .layers
            .iter()
            .enumerate()
            .filter_map(|(level, layer)| Some((level, field(layer).as_ref()?)))
            .collect();
        let (_, strongest) = found.first()?;
        if let (Announce::First(levels), Some((level, hidden))) = (self.announce, found.get(1))
            && *level < levels
        {
            announce(self.cx, name, &strongest.place, &hidden.place);
        }
        self.origins.insert(name.to_owned(), strongest.place.to_string());
        Some(strongest.value.clone())
    }

    /// `max_connections` after `total_max_connections` and the number of instances.
    fn limit(&mut self, instances: Instances) -> Option<u32> {
        let sizes = |layer: &PoolLayer| {
            layer
                .total_max_connections
                .clone()
                .map(|total| (total, true))
                .or(layer.max_connections.clone().map(|max| (max, false)))
        };
        let found: Vec<_> = self
            .layers
            .iter()
            .enumerate()
            .filter_map(|(level, layer)| Some((level, sizes(layer)?)))
            .collect();
        let (_, (strongest, is_total)) = found.first()?;
        if let (Announce::First(levels), Some((level, (hidden, _)))) = (self.announce, found.get(1))
            && *level < levels
        {
            announce(self.cx, "max_connections", &strongest.place, &hidden.place);
        }
        if !is_total {
            self.origins
                .insert("max_connections".to_owned(), strongest.place.to_string());
            return Some(strongest.value);
        }
        let share = match instances.count {
            1 => String::new(),
            count => format!(", divided by {count} instances"),
        };
        let origin = format!(
            "{} (total_max_connections: {}{share})",
            strongest.place, strongest.value
        );
        self.origins.insert("max_connections".to_owned(), origin);
        self.origins
            .insert("total_max_connections".to_owned(), strongest.place.to_string());
        Some(instances.share(strongest.value))
    }

    fn min_too_large(&mut self, min: u32, max: u32) {
        let place = self
            .layers
            .iter()
            .find_map(|layer| layer.min_connections.as_ref())
            .map(|found| found.place.clone());
        if let Some(place) = place {
            self.cx.warn(
                &place,
                format!("min_connections {min} is more than max_connections {max}: {max} is used"),
            );
        }
    }
}

/// Says that a value stands in two places.
pub(crate) fn announce(cx: &mut Context<'_>, name: &str, strongest: &Place, hidden: &Place) {
    cx.info(
        strongest,
        format!("{name} is also set at {hidden}; the value here is used"),
    );
}
