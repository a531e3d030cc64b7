//! `admin` of `gateway.yaml`: the HTTP interface.

use super::{Default, Key, Kind};

pub(crate) const PORT: Key = Key::weir(
    "port",
    Kind::Integer(0, 65535),
    Default::Words("8080"),
    "0 takes a free one, which is logged. `HASURA_GRAPHQL_SERVER_PORT` wins",
);

/// `admin`
pub(crate) const KEYS: [Key; 7] = [
    Key::weir(
        "disabled",
        Kind::Boolean,
        Default::Words("`false`"),
        "opens no HTTP port",
    ),
    Key::weir(
        "host",
        Kind::Text,
        Default::Words("`0.0.0.0` with an `admin_secret`, else `127.0.0.1`"),
        "where it listens; `*` is every IPv4 address. `HASURA_GRAPHQL_SERVER_HOST` wins",
    ),
    PORT,
    Key::weir(
        "admin_secret",
        Kind::Secret,
        Default::None,
        "opens everything; what `X-Hasura-Admin-Secret` must say. `HASURA_GRAPHQL_ADMIN_SECRET` wins",
    ),
    Key::weir(
        "metrics_secret",
        Kind::Secret,
        Default::None,
        "opens the metrics; what `Authorization: Bearer` must say. `HASURA_GRAPHQL_METRICS_SECRET` wins",
    ),
    Key::weir(
        "enabled_apis",
        Kind::Names,
        Default::Value(|| format!("`[{}]`", crate::admin::APIS.join(", "))),
        "the others answer 404; health and version are always there. `HASURA_GRAPHQL_ENABLED_APIS` (separated by commas) wins",
    ),
    Key::weir(
        "high_cardinality_labels",
        Kind::Boolean,
        Default::Words("`true`"),
        "`false`: metrics do not tell pools of the same source and role apart; their numbers are added together. `HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS` wins",
    ),
];
