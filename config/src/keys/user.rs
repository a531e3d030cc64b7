//! `users` of `gateway.yaml`.

use super::{Default, Key, Kind};
use crate::words;

pub(crate) const POOL_TIMEOUT: Key = Key::weir(
    "pool_timeout",
    Kind::Seconds(0.0),
    Default::Words("the source's"),
    "for this user; `null` = for ever",
);
pub(crate) const MAX_CLIENT_CONNECTIONS: Key = Key::weir(
    "max_client_connections",
    Kind::Integer(1, u32::MAX),
    Default::None,
    "clients of this user at a time",
);
pub(crate) const MAX_CONNECTIONS: Key = Key::weir(
    "max_connections",
    Kind::Integer(1, u32::MAX),
    Default::None,
    "server connections that this user's clients hold at a time",
);

/// An item of `users`.
pub(crate) const KEYS: [Key; 12] = [
    Key::weir("name", Kind::Text, Default::Required, "what the client sends"),
    Key::weir(
        "password",
        Kind::Secret,
        Default::Words("required without a certificate"),
        "the password, or a verifier `SCRAM-SHA-256$…` as in `pg_authid`. A TDS login needs the clear text",
    ),
    Key::weir(
        "certificate",
        Kind::Other("`true` or a name"),
        Default::None,
        "login by a client certificate with this CN; `true`: with the user's name",
    ),
    Key::weir(
        "sources",
        Kind::Other("a list of names, or `\"*\"`"),
        Default::Words("`[]`"),
        "what the user may use",
    ),
    Key::weir(
        "role",
        Kind::Text,
        Default::Words("`user`"),
        "for connection templates; `admin` and `stats` open [the console](admin.md) as well",
    ),
    Key::weir(
        "read_only",
        Kind::Boolean,
        Default::Words("`false`"),
        "SQL Server: served by replicas, as with `ApplicationIntent=ReadOnly`. PostgreSQL: transactions are READ ONLY unless the client says `READ WRITE`, and replicas may serve them: a guard against mistakes. What a user must never be able to write, its database role must not be allowed to write",
    ),
    Key::weir(
        "pool_mode",
        Kind::Word(|| words::all(words::POOL_MODES)),
        Default::Words("the source's"),
        "for this user",
    ),
    Key::weir(
        "query_timeout",
        Kind::Limit,
        Default::Words("the source's"),
        "for this user",
    ),
    POOL_TIMEOUT,
    Key::weir(
        "caching",
        Kind::Group("`caching`"),
        Default::Words("the source's"),
        "for this user",
    ),
    MAX_CLIENT_CONNECTIONS,
    MAX_CONNECTIONS,
];
