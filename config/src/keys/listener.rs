//! `gateway.yaml` itself, and `listeners`.

use super::{Default, Key, Kind};
use crate::words;

pub(crate) const VERSION: Key = Key::weir("version", Kind::Integer(0, u32::MAX), Default::Words("1"), "1");

/// The top of `gateway.yaml`.
pub(crate) const GATEWAY: [Key; 6] = [
    VERSION,
    Key::weir(
        "listeners",
        Kind::List("`listeners`"),
        Default::Words("one for each protocol of the sources"),
        "where clients connect",
    ),
    Key::weir(
        "defaults",
        Kind::Group("`sources`"),
        Default::None,
        "any key of `sources` except `name`, `database_names` and `configuration`",
    ),
    Key::weir(
        "users",
        Kind::List("`users`"),
        Default::None,
        "who may log in. Without users, `auth_query` and `pass_through_login` listeners are bound to loopback",
    ),
    Key::weir(
        "sources",
        Kind::List("`sources`"),
        Default::None,
        "an overlay for each source",
    ),
    Key::weir("admin", Kind::Group("`admin`"), Default::None, "the HTTP interface"),
];

pub(crate) const PORT: Key = Key::weir(
    "port",
    Kind::Integer(0, 65535),
    Default::Words("6432 (`mssql`: 14330)"),
    "0 takes a free one, which is logged",
);

/// An item of `listeners`.
pub(crate) const KEYS: [Key; 9] = [
    Key::weir("name", Kind::Text, Default::Words("`kind`"), "unique; in log lines"),
    Key::weir(
        "kind",
        Kind::Word(|| words::all(words::LISTENER_KINDS)),
        Default::Required,
        "the protocol that is spoken here",
    ),
    Key::weir(
        "host",
        Kind::Text,
        Default::Words("`0.0.0.0`"),
        "`*` is every IPv4 address. `WEIR_PG_LISTEN` and `WEIR_MSSQL_LISTEN` override host and port",
    ),
    PORT,
    Key::weir(
        "unix_socket_dir",
        Kind::Text,
        Default::None,
        "`postgres` only: also a Unix socket `.s.PGSQL.<port>` in this folder",
    ),
    Key::weir(
        "max_client_connections",
        super::layer::MAX_CLIENT_CONNECTIONS.kind,
        Default::None,
        "clients at a time on this listener",
    ),
    Key::weir(
        "proxy_protocol",
        Kind::Boolean,
        Default::Words("`false`"),
        "connections start with a PROXY protocol header; only behind a load balancer that writes it",
    ),
    Key::weir(
        "ssl_configuration",
        Kind::Group("`ssl_configuration`"),
        Default::Words("no TLS"),
        "`mssql` without it: a certificate of its own making, which clients must use unless the listener is bound to loopback. Certificates from files are read again when they change",
    ),
    Key::weir(
        "trust_loopback",
        Kind::Boolean,
        Default::Words("`false`"),
        "clients on this machine need no password",
    ),
];
