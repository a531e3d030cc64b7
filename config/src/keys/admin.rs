//! `admin` of `gateway.yaml`: the HTTP interface.

use super::{Default, Key, Kind};

pub(crate) const PORT: Key = Key::weir(
    "port",
    Kind::Integer(0, 65535),
    Default::Words("8080"),
    "`HASURA_GRAPHQL_SERVER_PORT` wins",
);

/// `admin`
pub(crate) const KEYS: [Key; 5] = [
    Key::weir(
        "host",
        Kind::Text,
        Default::Words("`0.0.0.0` with an `admin_secret`, else `127.0.0.1`"),
        "`*` is every address. `HASURA_GRAPHQL_SERVER_HOST` wins",
    ),
    PORT,
    Key::weir(
        "admin_secret",
        Kind::Secret,
        Default::None,
        "what `X-Hasura-Admin-Secret` must say. `HASURA_GRAPHQL_ADMIN_SECRET` wins",
    ),
    Key::weir(
        "metrics_secret",
        Kind::Secret,
        Default::None,
        "what a scraper's bearer token must say. `HASURA_GRAPHQL_METRICS_SECRET` wins",
    ),
    Key::weir(
        "enabled_apis",
        Kind::Names,
        Default::Value(|| format!("`[{}]`", crate::admin::APIS.join(", "))),
        "`HASURA_GRAPHQL_ENABLED_APIS` (separated by commas) wins",
    ),
];
