//! A source as it stands in `databases.yaml`: Hasura's words.

use super::{Default, Key, Kind};
use crate::words;

/// An item of the list, but for [`crate::files::GRAPHQL_KEYS`].
pub(crate) const KEYS: [Key; 6] = [
    Key::hasura(
        "name",
        Kind::Text,
        Default::Required,
        "unique; also the database name that clients use",
    ),
    Key::hasura(
        "kind",
        Kind::Other("a word"),
        Default::Words("`postgres`"),
        "`postgres`, `pg`, `citus`, `cockroach`; `alloy` (as postgres, with a warning); `mssql`; others are skipped",
    ),
    Key::hasura(
        "configuration",
        Kind::Group("`configuration`"),
        Default::Required,
        "how to reach the database",
    ),
    Key::hasura(
        "customization",
        Kind::Group("`customization`"),
        Default::None,
        "of no meaning to a pool",
    ),
    Key::hasura(
        "query_tags",
        Kind::Group("`query_tags`"),
        Default::None,
        "of no meaning to a pool",
    ),
    Key::hasura(
        "health_check",
        Kind::Group("`health_check`"),
        Default::None,
        "looks after the database while nobody uses it",
    ),
];

const CONNECTION_INFO: Key = Key::hasura(
    "connection_info",
    Kind::Group("`connection_info`"),
    Default::Required,
    "the primary",
);
const READ_REPLICAS: Key = Key::hasura(
    "read_replicas",
    Kind::List("`connection_info`"),
    Default::None,
    "each has its own pool",
);
pub(crate) const GATEWAY: Key = Key::weir(
    "gateway",
    Kind::Group("`sources`"),
    Default::None,
    "the keys of `sources` in `gateway.yaml`, inline",
);

/// `configuration` of the Postgres family.
pub(crate) const POSTGRES_CONFIGURATION: [Key; 6] = [
    CONNECTION_INFO,
    READ_REPLICAS,
    Key::hasura(
        "extensions_schema",
        Kind::Text,
        Default::Words("`public`"),
        "of no meaning to a pool",
    ),
    Key::hasura(
        "connection_template",
        Kind::Group("`connection_template`"),
        Default::None,
        "read, not evaluated: clients choose by database name",
    ),
    Key::hasura(
        "connection_set",
        Kind::List("`connection_set`"),
        Default::None,
        "clients ask for `source@name`",
    ),
    GATEWAY,
];

/// `configuration` of SQL Server.
pub(crate) const MSSQL_CONFIGURATION: [Key; 3] = [CONNECTION_INFO, READ_REPLICAS, GATEWAY];

/// A member of `connection_set`.
pub(crate) const MEMBER: [Key; 2] = [
    Key::hasura(
        "name",
        Kind::Text,
        Default::Required,
        "unique in the set; not `primary`, `read_replicas` or `default`",
    ),
    Key::hasura(
        "connection_info",
        Kind::Group("`connection_info`"),
        Default::Required,
        "as above",
    ),
];

/// `connection_template`
pub(crate) const TEMPLATE: [Key; 2] = [
    TEMPLATE_VERSION,
    Key::hasura("template", Kind::Text, Default::Required, "Kriti; checked to be a text"),
];
pub(crate) const TEMPLATE_VERSION: Key = Key::hasura("version", Kind::Integer(0, u32::MAX), Default::Words("1"), "1");

const POOL_SETTINGS: Key = Key::hasura(
    "pool_settings",
    Kind::Group("`pool_settings`"),
    Default::None,
    "the pool of this connection",
);
const SSL_CONFIGURATION: Key = Key::hasura(
    "ssl_configuration",
    Kind::Group("`ssl_configuration`"),
    Default::Words("from the address"),
    "wins over what the address says",
);

/// `connection_info` of the Postgres family.
pub(crate) const POSTGRES_CONNECTION: [Key; 5] = [
    Key::hasura(
        "database_url",
        Kind::Group("`database_url`"),
        Default::Required,
        "a URL, in which `{{NAME}}` is replaced from the environment, or one of the mappings below. libpq's parameters work in it: `sslmode`, `sslrootcert`, `connect_timeout`, `application_name`, `options`, several hosts with `target_session_attrs`",
    ),
    POOL_SETTINGS,
    Key::hasura(
        "use_prepared_statements",
        Kind::Boolean,
        Default::Words("`false`"),
        "Hasura's own use of them; clients decide for themselves",
    ),
    Key::hasura(
        "isolation_level",
        Kind::Word(|| words::all(words::ISOLATION_LEVELS)),
        Default::Words("the database's"),
        "the sessions' `default_transaction_isolation`; a client that says otherwise wins",
    ),
    SSL_CONFIGURATION,
];

/// `connection_info` of SQL Server.
pub(crate) const MSSQL_CONNECTION: [Key; 5] = [
    Key::hasura(
        "connection_string",
        Kind::Other("a text, `{from_env}` or `{dynamic_from_file}`"),
        Default::Required,
        "ODBC or ADO.NET keywords; see [settings.md](settings.md#connection-strings-of-sql-server)",
    ),
    Key::hasura(
        "database_url",
        Kind::Other("as `connection_string`"),
        Default::None,
        "the older name of `connection_string`; wins over it",
    ),
    POOL_SETTINGS,
    Key::hasura(
        "isolation_level",
        Kind::Word(|| words::all(words::MSSQL_ISOLATION_LEVELS)),
        Default::Words("the database's"),
        "of the sessions; a client that says otherwise wins",
    ),
    SSL_CONFIGURATION,
];

/// The mappings that `database_url` may be; exactly one of them.
pub(crate) const ADDRESS: [Key; 3] = [
    Key::hasura(
        "from_env",
        Kind::Other("a variable's name"),
        Default::None,
        "the URL is in this environment variable; `dynamic-from-file:///path` there is a file again",
    ),
    Key::hasura(
        "connection_parameters",
        Kind::Group("`connection_parameters`"),
        Default::None,
        "the parts of the address; nothing in them needs escapes",
    ),
    Key::hasura(
        "dynamic_from_file",
        Kind::Other("a path"),
        Default::None,
        "the URL is in this file, which is read again for every new connection",
    ),
];

pub(crate) const PORT: Key = Key::hasura("port", Kind::Integer(1, 65535), Default::Required, "its TCP port");

/// `connection_parameters`
pub(crate) const CONNECTION_PARAMETERS: [Key; 5] = [
    Key::hasura(
        "host",
        Kind::Text,
        Default::Required,
        "name, address, or the folder of a Unix socket",
    ),
    PORT,
    Key::hasura(
        "database",
        Kind::Text,
        Default::Required,
        "the database's name on that server",
    ),
    Key::hasura("username", Kind::Text, Default::Required, "the role that connects"),
    Key::hasura(
        "password",
        Kind::Secret,
        Default::None,
        "its password; from a file it is read again for every new connection",
    ),
];

/// `ssl_configuration`, the same towards databases and on listeners.
pub(crate) const TLS: [Key; 5] = [
    Key::hasura(
        "sslmode",
        Kind::Word(|| words::all(words::SSL_MODES)),
        Default::Required,
        "as in libpq. On a listener: `disable`; `allow`, `prefer` = clients may; `require` = they must; `verify-ca` = and show a certificate signed by `sslrootcert`; `verify-full` = whose name is the user's; of `mssql` also `strict` = TDS 8.0 and nothing else",
    ),
    Key::hasura("sslrootcert", Kind::Pem, Default::None, "whom to trust"),
    Key::hasura(
        "sslcert",
        Kind::Pem,
        Default::None,
        "the certificate to show; a listener needs one",
    ),
    Key::hasura("sslkey", Kind::Pem, Default::None, "its private key"),
    Key::hasura("sslpassword", Kind::Secret, Default::None, "the passphrase of the key"),
];

pub(crate) const HEALTH_INTERVAL: Key =
    Key::hasura("interval", Kind::Seconds(1.0), Default::Required, "between two checks");
pub(crate) const HEALTH_RETRIES: Key = Key::hasura(
    "retries",
    Kind::Integer(0, 1000),
    Default::Words("3"),
    "failures in a row before the source counts as failed",
);
pub(crate) const HEALTH_RETRY_INTERVAL: Key = Key::hasura(
    "retry_interval",
    Kind::Seconds(0.1),
    Default::Words("10"),
    "between two of these",
);
pub(crate) const HEALTH_TIMEOUT: Key = Key::hasura("timeout", Kind::Seconds(0.1), Default::Words("10"), "of one check");

/// `health_check`
pub(crate) const HEALTH_CHECK: [Key; 5] = [
    Key::hasura(
        "test",
        Kind::Group("`health_check.test`"),
        Default::Words("`{sql: SELECT 1}`"),
        "what is asked",
    ),
    HEALTH_INTERVAL,
    HEALTH_RETRIES,
    HEALTH_RETRY_INTERVAL,
    HEALTH_TIMEOUT,
];

/// `health_check.test`
pub(crate) const HEALTH_TEST: [Key; 1] = [Key::hasura(
    "sql",
    Kind::Text,
    Default::Required,
    "one statement; what it returns does not matter",
)];

/// `customization`: only checked.
pub(crate) const CUSTOMIZATION: [Key; 3] = [
    Key::hasura(
        "root_fields",
        Kind::Group("`root_fields`"),
        Default::None,
        "of the GraphQL API",
    ),
    Key::hasura(
        "type_names",
        Kind::Group("`type_names`"),
        Default::None,
        "of the GraphQL API",
    ),
    Key::hasura(
        "naming_convention",
        Kind::Word(|| words::all(words::NAMING_CONVENTIONS)),
        Default::None,
        "of the GraphQL API",
    ),
];

const NAMESPACE: Key = Key::hasura("namespace", Kind::Text, Default::None, "of the GraphQL API");
const PREFIX: Key = Key::hasura("prefix", Kind::Text, Default::None, "of the GraphQL API");
const SUFFIX: Key = Key::hasura("suffix", Kind::Text, Default::None, "of the GraphQL API");

/// `customization.root_fields`
pub(crate) const ROOT_FIELDS: [Key; 3] = [NAMESPACE, PREFIX, SUFFIX];

/// `customization.type_names`
pub(crate) const TYPE_NAMES: [Key; 2] = [PREFIX, SUFFIX];

/// `query_tags`: only checked.
pub(crate) const QUERY_TAGS: [Key; 2] = [
    Key::hasura(
        "disabled",
        Kind::Boolean,
        Default::None,
        "of statements that Hasura writes",
    ),
    Key::hasura(
        "format",
        Kind::Word(|| words::all(words::TAG_FORMATS)),
        Default::None,
        "of statements that Hasura writes",
    ),
];

/// `{from_env: NAME}`
pub(crate) const FROM_ENV: [Key; 1] = [ADDRESS[0]];

/// `{dynamic_from_file: /path}`
pub(crate) const FROM_FILE: [Key; 1] = [ADDRESS[2]];
