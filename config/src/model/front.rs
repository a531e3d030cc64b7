//! What `gateway.yaml` says about the side of the clients: listeners, users, the HTTP interface.

use std::{net::IpAddr, path::PathBuf, time::Duration};

pub use weir_core::settings::UserSources;
use weir_core::{
    secret::Secret,
    settings::{Origins, PoolMode},
};

use super::{
    Caching,
    secret_source::{ResolveError, SecretSource},
};

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name in messages.
    pub name: String,
    /// Which protocol it speaks.
    pub kind: ListenerKind,
    /// An IP address or a name; `*` has become `0.0.0.0` and `localhost` `127.0.0.1`.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Also listen on a Unix socket `.s.PGSQL.<port>` in this folder (Postgres only).
    pub unix_socket_dir: Option<PathBuf>,
    /// Clients at a time on this listener; `None` = only the process-wide limit.
    pub max_client_connections: Option<u32>,
    /// Connections start with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// TLS for clients; `None` offers none, but for SQL Server's listeners: see [`Listener::clear_text_only`].
    pub tls: Option<ListenerTls>,
    /// `sslmode: disable` is written. Without it, and without a certificate, a listener of SQL Server shows one of its own
    /// making, as SQL Server itself does: clients send their passwords in clear inside of TLS.
    pub clear_text_only: bool,
    /// Clients from a loopback address or the Unix socket need no password. Set by the user, or because there is no
    /// user and no `auth_query` at all; the listener is then bound to loopback.
    pub trust_loopback: bool,
    /// Where `max_client_connections` was set.
    pub origins: Origins,
}

impl Listener {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Whether clients are to be authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A user or an `auth_query` is declared. One that is wrong counts as well, although it is not in the metadata: a
    /// typing error must not open the door.
    Checked,
    /// Neither is declared: whoever is on this machine comes in under any name, and nobody else.
    LoopbackOnly,
}

/// The protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// PostgreSQL protocol 3.
    Postgres,
    /// TDS.
    Mssql,
}

impl ListenerKind {
    /// As written in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            ListenerKind::Postgres => "postgres",
            ListenerKind::Mssql => "mssql",
        }
    }
}

/// `ssl_configuration` of a listener. `certificate` and `key` are there unless the mode is `disable`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// What is offered and asked for.
    pub mode: ListenerTlsMode,
    /// The certificate (chain) to present, PEM. Resolved again to follow a renewed certificate.
    pub certificate: SecretSource,
    /// Its private key, PEM.
    pub key: SecretSource,
    /// The passphrase of the key.
    pub key_password: Option<SecretSource>,
    /// The issuers of client certificates, PEM; there for the verify modes.
    pub client_root_certificate: Option<SecretSource>,
}

/// `sslmode` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerTlsMode {
    /// `allow`, `prefer`: clients may use TLS.
    Optional,
    /// `require`: clients must.
    Required,
    /// `verify-ca`: and show a certificate signed by `sslrootcert`.
    ClientCertificate,
    /// `verify-full`: and its CN must be the user's name (or the user's `certificate`).
    ClientCertificateNamed,
    /// `strict`: TDS 8.0 (SQL Server only).
    Strict,
}

/// Who may log in to the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// What the client sends. Unique.
    pub name: String,
    /// Clear password or SCRAM verifier; `None` only for users that log in with a certificate.
    pub password: Option<PasswordSource>,
    /// Login by a client certificate whose CN is this. Comes from `certificate: true` (the user's own name) or a string.
    pub certificate: Option<String>,
    /// Which sources.
    pub sources: UserSources,
    /// For connection templates, as `x-hasura-role`; `admin` and `stats` may use the console.
    pub role: String,
    /// Every transaction is READ ONLY; replicas may serve it.
    pub read_only: bool,
    /// Instead of the source's pool mode.
    pub pool_mode: Option<PoolMode>,
    /// Instead of the source's: `Some(None)` = no limit.
    pub query_timeout: Option<Option<Duration>>,
    /// Instead of the source's: `Some(None)` = for ever.
    pub pool_timeout: Option<Option<Duration>>,
    /// Instead of the source's.
    pub caching: Option<Caching>,
    /// Clients of this user at a time; `None` = only the other limits.
    pub max_client_connections: Option<u32>,
    /// Server connections that this user's clients may hold at a time, over all sources.
    pub max_connections: Option<u32>,
    /// Where `query_timeout`, `pool_timeout`, `max_client_connections` and `max_connections` were set.
    pub origins: Origins,
}

impl User {
    /// Whether this user may use the source.
    pub fn may_use(&self, source: &str) -> bool {
        self.sources.cover(source)
    }
}

/// A user's password, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordSource(pub SecretSource);

impl PasswordSource {
    /// The password as it is now. Blocks when it is a file: call it off the reactor.
    pub fn resolve(&self) -> Result<Password, ResolveError> {
        crate::password::parse(self.0.resolve()?).map_err(|reason| ResolveError::Invalid {
            path: self.path(),
            reason: reason.to_owned(),
        })
    }

    fn path(&self) -> Option<PathBuf> {
        match &self.0 {
            SecretSource::Literal(_) => None,
            SecretSource::File(file) => Some(file.path.clone()),
        }
    }
}

/// What a password field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// The password itself.
    Clear(Secret<String>),
    /// `SCRAM-SHA-256$iterations:salt$stored_key:server_key`, as in `pg_authid`. Enough for clients of both protocols.
    Scram(ScramVerifier),
}

/// A decoded SCRAM-SHA-256 verifier (RFC 5803).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramVerifier {
    /// PBKDF2 iterations, at least 1.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// SHA-256 of the client key. 32 bytes, or else nobody can log in with it.
    pub stored_key: Secret<Vec<u8>>,
    /// The server key. 32 bytes, or else no client will accept the gateway's proof.
    pub server_key: Secret<Vec<u8>>,
}

/// The HTTP interface: `admin` of `gateway.yaml` and `HASURA_GRAPHQL_*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Whether there is one at all (`disabled: true`).
    pub disabled: bool,
    /// Where to listen. When nothing is said: `127.0.0.1` without an admin secret, `0.0.0.0` with one.
    pub host: String,
    /// 8080 when nothing is said; 0 takes a free one.
    pub port: u16,
    /// Whether anybody asked for this address; without, that it is taken is no error.
    pub address_is_asked_for: bool,
    /// `x-hasura-admin-secret`
    pub admin_secret: Option<SecretSource>,
    /// Bearer token of the metrics endpoint.
    pub metrics_secret: Option<SecretSource>,
    /// Hasura's list: `metadata`, `config`, `metrics` … in lower case.
    pub enabled_apis: Vec<String>,
    /// Whether metrics tell pools of the same source and role apart (`conn_info`, `database`).
    pub high_cardinality_labels: bool,
}
