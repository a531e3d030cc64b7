//! The gateway's own settings of a source: `sources` and `defaults` of `gateway.yaml`, `configuration.gateway`.

use super::{Default, Key, Kind};
use crate::{limits, model::Caching, words};

pub(crate) const MAX_CLIENT_CONNECTIONS: Key = Key::weir(
    "max_client_connections",
    Kind::Integer(1, u32::MAX),
    Default::None,
    "clients of this source at a time; in `defaults`: of the whole process",
);

pub(crate) const QUERY_TIMEOUT: Key = Key::weir(
    "query_timeout",
    Kind::Limit,
    Default::None,
    "a statement is cancelled after this (57014)",
);
pub(crate) const LINGER_MS: Key = Key::weir(
    "linger_ms",
    Kind::Integer(0, limits::MAX_LINGER_MS),
    Default::Words("`0`"),
    "SQL Server, in transaction mode: for so many milliseconds after it has written something, outside of a transaction or by committing one, a client keeps its server connection, so that `@@IDENTITY` and `SCOPE_IDENTITY()` asked for in a later request tell of its own row. The connection serves nobody else meanwhile; a few milliseconds are enough for a driver that asks at once",
);
pub(crate) const IDLE_IN_TRANSACTION_TIMEOUT: Key = Key::weir(
    "idle_in_transaction_timeout",
    Kind::Limit,
    Default::None,
    "a transaction in which the client sends nothing is rolled back (25P03)",
);
pub(crate) const TRANSACTION_TIMEOUT: Key = Key::weir(
    "transaction_timeout",
    Kind::Limit,
    Default::None,
    "a transaction is rolled back after this in total (25P04)",
);
pub(crate) const CLIENT_IDLE_TIMEOUT: Key = Key::weir(
    "client_idle_timeout",
    Kind::Limit,
    Default::None,
    "a client that sends nothing outside of a transaction is disconnected (57P05)",
);

/// What may stand in all three places, besides `pool_settings`' own keys.
pub(crate) const KEYS: [Key; 20] = [
    Key::weir(
        "pool_settings",
        Kind::Group("`pool_settings`"),
        Default::None,
        "for all pools of the source. Its keys may also stand directly beside the others",
    ),
    QUERY_TIMEOUT,
    IDLE_IN_TRANSACTION_TIMEOUT,
    TRANSACTION_TIMEOUT,
    CLIENT_IDLE_TIMEOUT,
    LINGER_MS,
    Key::weir(
        "read_replica_routing",
        Kind::Word(|| words::all(words::ROUTINGS)),
        Default::Value(|| words::name_of(words::ROUTINGS, std::default::Default::default()).to_owned()),
        "`read-only-transactions`: what the client declared READ ONLY goes to replicas; `read-only-statements`: and single statements that cannot write. SERIALIZABLE stays on the primary, because standbys refuse it",
    ),
    Key::weir(
        "session_state",
        Kind::Word(|| words::all(words::SESSION_STATES)),
        Default::Value(|| words::name_of(words::SESSION_STATES, std::default::Default::default()).to_owned()),
        "what a client does to its session in transaction mode. `follow`: it is there in its next transaction on whichever server connection; what cannot be elsewhere (temporary tables, session advisory locks …) keeps the connection for its client until it is over. `reset`: it is put back at the end of the transaction. Sources of kind `cockroach` always reset",
    ),
    Key::weir(
        "sequence_functions",
        Kind::Word(|| words::all(words::SEQUENCE_FUNCTIONS)),
        Default::Value(|| words::name_of(words::SEQUENCE_FUNCTIONS, std::default::Default::default()).to_owned()),
        "what `currval` and `lastval` are worth in transaction mode; see [settings.md](settings.md#sequence-functions)",
    ),
    Key::weir(
        "session_functions",
        Kind::Word(|| words::all(words::SESSION_FUNCTIONS)),
        Default::Value(|| words::name_of(words::SESSION_FUNCTIONS, std::default::Default::default()).to_owned()),
        "SQL Server: what `@@IDENTITY`, `SCOPE_IDENTITY()`, `@@ROWCOUNT` and `@@ERROR` are worth in transaction mode; see [settings.md](settings.md#session-functions)",
    ),
    Key::weir(
        "shared_listener",
        Kind::Boolean,
        Default::Words("`true`"),
        "one further server connection, outside of `max_connections` and open only while somebody listens, hears notifications for all clients that `LISTEN`, for the primary and each other endpoint they listen on. `false`: a client that listens keeps its server connection. Only with `session_state: follow` and `pool_mode: transaction`",
    ),
    Key::weir(
        "pin_notice",
        Kind::Boolean,
        Default::Words("`false`"),
        "`true`: a client gets a NOTICE when it begins to keep its server connection between transactions (see `session_state`), with the reason and what ends it, and another when that is over. SQL Server: a message of severity 0 in front of its next answer, as PRINT sends them; a server of that protocol says nothing unasked",
    ),
    Key::weir(
        "caching",
        Kind::Group("`caching`"),
        Default::Words("`{disabled: true}`"),
        "read and validated, not served yet",
    ),
    Key::weir(
        "application_name",
        Kind::Text,
        Default::Words("the client's"),
        "shown in `pg_stat_activity` instead",
    ),
    Key::weir(
        "startup_parameters",
        Kind::Other("a mapping of texts"),
        Default::Words("`{}`"),
        "sent when a server connection is opened; the client's own values win. Not `user`, `database`, `replication`, `options`",
    ),
    MAX_CLIENT_CONNECTIONS,
    Key::weir(
        "auth_query",
        Kind::Group("`auth_query`"),
        Default::None,
        "clients that are no gateway users are looked up in the database; `true` and `{}` are the built-in query",
    ),
    Key::weir(
        "pass_through_login",
        Kind::Boolean,
        Default::Words("`false`"),
        "SQL Server: clients that are no gateway users log in at the database with the name and password they give. They are served by connections of that login, never by the source's own",
    ),
    Key::weir(
        "ssl_configuration",
        Kind::Group("`ssl_configuration`"),
        Default::Words("Hasura's"),
        "instead of the one in `databases.yaml`",
    ),
    Key::weir(
        "health_check",
        Kind::Group("`health_check`"),
        Default::Words("Hasura's"),
        "instead of the one in `databases.yaml`",
    ),
];

/// `database_names`
pub(crate) const DATABASE_NAMES: Key = Key::weir(
    "database_names",
    Kind::Names,
    Default::Words("`[name]`"),
    "the names that clients use; not in `defaults`",
);

/// What else an entry of `sources` may have.
pub(crate) const OVERLAY: [Key; 3] = [
    Key::weir(
        "name",
        Kind::Text,
        Default::Required,
        "a source of `databases.yaml`; only in `sources`",
    ),
    DATABASE_NAMES,
    Key::weir(
        "configuration",
        Kind::Group("`configuration`"),
        Default::None,
        "replaces parts of the source's own `configuration`, key by key; only in `sources`",
    ),
];

/// `configuration.gateway` besides [`KEYS`].
pub(crate) const INLINE: [Key; 1] = [DATABASE_NAMES];

/// `auth_query`
pub(crate) const AUTH_QUERY: [Key; 3] = [
    Key::weir(
        "query",
        Kind::Text,
        Default::Words("the built-in one"),
        "must ask for the user by `$1`, and return name and verifier. The built-in one needs a role that may read `pg_authid`",
    ),
    Key::weir(
        "user_database_url",
        Kind::Group("`database_url`"),
        Default::Words("the source's own connection"),
        "as whom it runs",
    ),
    Key::weir(
        "disabled",
        Kind::Boolean,
        Default::Words("`false`"),
        "switches it off where a lower place set it",
    ),
];

pub(crate) const MAX_AGE: Key = Key::weir(
    "max_age",
    Kind::Integer(1, 3600),
    Default::Value(|| Caching::default().max_age.as_secs().to_string()),
    "seconds an answer counts as fresh",
);
pub(crate) const STALE_WHILE_REVALIDATE: Key = Key::weir(
    "stale_while_revalidate",
    Kind::Integer(0, 3600),
    Default::Value(|| Caching::default().stale_while_revalidate.as_secs().to_string()),
    "seconds that it is served after that, while it is fetched anew",
);
pub(crate) const MAX_RESPONSE_SIZE: Key = Key::weir(
    "max_response_size",
    Kind::Integer(0, u32::MAX),
    Default::Value(|| Caching::default().max_response_size.to_string()),
    "bytes of an answer that is kept",
);

/// `caching`
pub(crate) const CACHING: [Key; 4] = [
    Key::weir(
        "disabled",
        Kind::Boolean,
        Default::Value(|| format!("`{}`", Caching::default().disabled)),
        "nothing is served from a cache yet, whatever this says",
    ),
    MAX_AGE,
    STALE_WHILE_REVALIDATE,
    MAX_RESPONSE_SIZE,
];
