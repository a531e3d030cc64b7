//! `pool_settings`.

use weir_core::settings::PoolSettings;

use super::{Default, Key, Kind, seconds};
use crate::{limits, words};

pub(crate) const MAX_CONNECTIONS: Key = Key::hasura(
    "max_connections",
    Kind::Integer(1, limits::MAX_CONNECTIONS),
    Default::Value(|| built_in().max_connections.to_string()),
    "the most server connections of this pool, in any state. A `shared_listener` and cancel requests come on top",
);
pub(crate) const TOTAL_MAX_CONNECTIONS: Key = Key::hasura(
    "total_max_connections",
    Kind::Integer(1, limits::MAX_CONNECTIONS),
    Default::None,
    "over all instances; wins over `max_connections`. The share of one instance is `total / WEIR_INSTANCE_COUNT`, at least 1; what remains goes to the lowest `WEIR_INSTANCE_NUMBER`s",
);
pub(crate) const IDLE_TIMEOUT: Key = Key::hasura(
    "idle_timeout",
    // Hasura's pool library refuses less as well.
    Kind::Seconds(0.5),
    Default::Value(|| seconds(built_in().idle_timeout)),
    "an idle connection is closed after this (SQL Server too: Hasura's documentation says 180, its code 5)",
);
pub(crate) const RETRIES: Key = Key::hasura(
    "retries",
    Kind::Integer(0, limits::MAX_CONNECTIONS),
    Default::Value(|| built_in().retries.to_string()),
    "repetitions of a failed connect; statements are never repeated",
);
pub(crate) const POOL_TIMEOUT: Key = Key::hasura(
    "pool_timeout",
    Kind::Seconds(0.0),
    Default::Value(|| seconds(built_in().pool_timeout)),
    "how long a client waits for a connection; an explicit `null` = for ever, as in Hasura",
);
pub(crate) const CONNECTION_LIFETIME: Key = Key::hasura(
    "connection_lifetime",
    Kind::Seconds(0.0),
    Default::Value(|| seconds(built_in().connection_lifetime)),
    "an older connection is not handed out again, ± 10 %; 0 = never",
);

pub(crate) const MIN_CONNECTIONS: Key = Key::weir(
    "min_connections",
    Kind::Integer(0, limits::MAX_CONNECTIONS),
    Default::Value(|| built_in().min_connections.to_string()),
    "kept open even when idle",
);
pub(crate) const OVERFLOW_CONNECTIONS: Key = Key::weir(
    "overflow_connections",
    Kind::Integer(0, limits::MAX_CONNECTIONS),
    Default::Value(|| built_in().overflow_connections.to_string()),
    "more, while clients have waited for half a second; closed first. With 0 the limit is the last word",
);
pub(crate) const MAX_PREPARED_STATEMENTS: Key = Key::weir(
    "max_prepared_statements",
    Kind::Integer(0, limits::MAX_CONNECTIONS),
    Default::Value(|| built_in().max_prepared_statements.to_string()),
    "kept on each server connection; the least recently used one is closed",
);
pub(crate) const CONNECT_TIMEOUT: Key = Key::weir(
    "connect_timeout",
    Kind::Seconds(0.1),
    Default::Value(|| seconds(Some(built_in().connect_timeout))),
    "name lookup, TCP, TLS and login of a server connection together",
);
const POOL_MODE: Key = Key::weir(
    "pool_mode",
    Kind::Word(|| words::all(words::POOL_MODES)),
    Default::Value(|| words::name_of(words::POOL_MODES, built_in().pool_mode).to_owned()),
    "how long a client keeps a server connection",
);
const SERVER_RESET: Key = Key::weir(
    "server_reset",
    Kind::Word(|| words::all(words::SERVER_RESETS)),
    Default::Value(|| words::name_of(words::SERVER_RESETS, built_in().server_reset).to_owned()),
    "`auto` puts back what was touched; `always` everything after every use; `never` nothing (one trusted application without session state)",
);

/// The keys that Hasura knows, then the gateway's own, which Hasura ignores.
pub(crate) const KEYS: [Key; 12] = [
    MAX_CONNECTIONS,
    TOTAL_MAX_CONNECTIONS,
    IDLE_TIMEOUT,
    RETRIES,
    POOL_TIMEOUT,
    CONNECTION_LIFETIME,
    MIN_CONNECTIONS,
    OVERFLOW_CONNECTIONS,
    POOL_MODE,
    MAX_PREPARED_STATEMENTS,
    CONNECT_TIMEOUT,
    SERVER_RESET,
];

/// SQL Server's way to have no pool.
pub(crate) const ENABLE: Key = Key::hasura(
    "enable",
    Kind::Boolean,
    Default::Words("`true`"),
    "SQL Server only, in `connection_info`: `false` opens a connection for each use",
);

fn built_in() -> PoolSettings {
    PoolSettings::default()
}
