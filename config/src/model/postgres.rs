//! What a source of the Postgres family says: addresses, TLS, pools.
//!
//! Invariant: values are validated; what depends on a file that may change is resolved by [`PostgresConnection::resolve`]
//! at each new server connection.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use weir_core::{secret::Secret, settings::PoolSettings};

use super::secret_source::{ResolveError, SecretFile, SecretSource};

/// The databases of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSource {
    /// `connection_info`: serves everything that no rule sends elsewhere.
    pub primary: PostgresConnection,
    /// `read_replicas`, in the order of the file. Each has its own pool.
    pub read_replicas: Vec<PostgresConnection>,
    /// `connection_set`: clients reach a member as `database@member`. Names are unique.
    pub connection_set: Vec<(String, PostgresConnection)>,
    /// Whether and how clients that are not gateway users are looked up in the database.
    pub auth_query: Option<AuthQuery>,
    /// The schema of the extensions; Hasura's default is `public`. Of no meaning to a pool, kept for display.
    pub extensions_schema: String,
}

/// Looking clients up in the database: `auth_query` of a source in `gateway.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthQuery {
    /// Given the user name as `$1`, it returns the name and the password or verifier. `None`: the built-in, fully
    /// qualified query over `pg_catalog.pg_authid`.
    pub query: Option<String>,
    /// Where and as whom the query runs (`user_database_url`, in any form of `database_url`). `None`: over the source's
    /// own primary connection.
    pub connection: Option<AddressSource>,
}

/// One database to connect to, and the pool of connections to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresConnection {
    /// What to call it where people read: the name of the environment variable, the path of the file, or the URL
    /// without its password.
    pub label: String,
    /// Where it is and how to log in.
    pub address: AddressSource,
    /// The effective pool settings; `total_max_connections` is already split.
    pub pool: PoolSettings,
    /// Asked for in the metadata; `None` when nothing is said (Hasura then begins transactions `READ COMMITTED`, which
    /// is PostgreSQL's default as well).
    pub isolation_level: Option<IsolationLevel>,
    /// `ssl_configuration`: what it sets wins over the URL. [`PostgresConnection::resolve`] has applied it.
    pub tls: Option<TlsSettings>,
    /// Hasura's own use of prepared statements. A gateway serves what the client sends; kept for display.
    pub use_prepared_statements: bool,
}

impl PostgresConnection {
    /// The address as it is now, with `ssl_configuration` applied. Reads the file of a `dynamic_from_file`: call it off
    /// the reactor, for each new server connection.
    pub fn resolve(&self) -> Result<PostgresEndpoint, ResolveError> {
        let mut endpoint = self.address.read()?;
        if let Some(tls) = &self.tls {
            tls.apply(&mut endpoint);
        }
        checked(endpoint)
    }
}

/// An address, or the file that holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressSource {
    /// Known at load time.
    Fixed(Box<PostgresEndpoint>),
    /// Known at load time except for the password (`connection_parameters` with `password: {dynamic_from_file}`).
    PasswordFile(Box<PostgresEndpoint>, SecretFile),
    /// `dynamic_from_file`: a URL in a file, read for every new server connection.
    File(SecretFile),
}

impl AddressSource {
    /// The address as it is now. Blocks when it is a file: call it off the reactor.
    pub fn resolve(&self) -> Result<PostgresEndpoint, ResolveError> {
        checked(self.read()?)
    }

    /// The address before `ssl_configuration` is applied, its TLS settings unchecked.
    fn read(&self) -> Result<PostgresEndpoint, ResolveError> {
        match self {
            AddressSource::Fixed(endpoint) => Ok((**endpoint).clone()),
            AddressSource::PasswordFile(endpoint, file) => Ok(PostgresEndpoint {
                password: Some(file.read()?),
                ..(**endpoint).clone()
            }),
            AddressSource::File(file) => {
                let text = file.read()?;
                crate::libpq::parse(text.expose())
                    .map(|parsed| parsed.endpoint)
                    .map_err(|error| ResolveError::Invalid {
                        path: Some(file.path.clone()),
                        reason: error.to_string(),
                    })
            }
        }
    }
}

/// Where a server is and how to log in, in libpq's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresEndpoint {
    /// At least one; tried in order (or shuffled, see `load_balance_hosts`) until one satisfies `target_session_attrs`.
    pub hosts: Vec<Host>,
    /// The database's name there.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// Its password; `None` for roles that need none.
    pub password: Option<Secret<String>>,
    /// How much TLS is asked for. When nothing is said: libpq's `prefer`.
    pub ssl_mode: SslMode,
    /// Whom to trust. `None` means the system's certificates where a certificate is verified at all.
    pub root_certificate: Option<RootCertificate>,
    /// The client certificate (chain), PEM.
    pub client_certificate: Option<SecretSource>,
    /// Its private key, PEM.
    pub client_key: Option<SecretSource>,
    /// The passphrase of the key.
    pub client_key_password: Option<SecretSource>,
    /// SCRAM channel binding.
    pub channel_binding: ChannelBinding,
    /// How TLS starts.
    pub ssl_negotiation: SslNegotiation,
    /// The name shown in `pg_stat_activity`, when the URL sets one.
    pub application_name: Option<String>,
    /// The start-up packet's `options`, for example `-c statement_timeout=3000`.
    pub options: Option<String>,
    /// The URL's `connect_timeout`; already part of `PoolSettings::connect_timeout` for addresses known at load time.
    pub connect_timeout: Option<Duration>,
    /// What kind of server is wanted among several hosts.
    pub target_session_attrs: TargetSessionAttrs,
    /// In which order hosts are tried.
    pub load_balance_hosts: LoadBalanceHosts,
}

impl PostgresEndpoint {
    /// What has to be verified about the server's certificate. libpq's rule: `require` with a root certificate verifies
    /// the chain, as `verify-ca` does.
    pub fn verification(&self) -> Verification {
        match self.ssl_mode {
            SslMode::VerifyFull => Verification::ChainAndName,
            SslMode::VerifyCa => Verification::Chain,
            SslMode::Require if self.root_certificate.is_some() => Verification::Chain,
            SslMode::Require | SslMode::Prefer | SslMode::Allow | SslMode::Disable => Verification::Nothing,
        }
    }
}

impl fmt::Display for PostgresEndpoint {
    /// A URL without the password, for logs and labels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user)?;
        for (position, host) in self.hosts.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{host}")?;
        }
        write!(f, "/{}", self.database)
    }
}

/// One host of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// The name or the socket's folder; a name is also what the certificate is compared with.
    pub name: HostName,
    /// The port; for a Unix socket, the number in its file name.
    pub port: u16,
    /// libpq's `hostaddr`: connect here without looking the name up.
    pub address: Option<IpAddr>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            HostName::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            HostName::Tcp(name) => write!(f, "{name}:{}", self.port),
            HostName::Unix(folder) => write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port),
        }
    }
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostName {
    /// A DNS name or an IP address, without brackets.
    Tcp(String),
    /// The folder of a Unix socket; the socket is `.s.PGSQL.<port>` in it.
    Unix(PathBuf),
}

/// `ssl_configuration` of a connection (or `ssl_configuration` of the overlay).
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// How much TLS is asked for.
    pub mode: SslMode,
    /// Whom to trust, PEM.
    pub root_certificate: Option<SecretSource>,
    /// The certificate (chain) to present, PEM.
    pub certificate: Option<SecretSource>,
    /// Its private key, PEM.
    pub key: Option<SecretSource>,
    /// The passphrase of the key.
    pub key_password: Option<SecretSource>,
}

impl TlsSettings {
    /// Puts these settings over those of the URL. Material that is not mentioned here stays.
    fn apply(&self, endpoint: &mut PostgresEndpoint) {
        endpoint.ssl_mode = self.mode;
        if let Some(root) = &self.root_certificate {
            endpoint.root_certificate = Some(RootCertificate::Pem(root.clone()));
        }
        for (ours, theirs) in [
            (&self.certificate, &mut endpoint.client_certificate),
            (&self.key, &mut endpoint.client_key),
            (&self.key_password, &mut endpoint.client_key_password),
        ] {
            if ours.is_some() {
                theirs.clone_from(ours);
            }
        }
    }
}

fn checked(endpoint: PostgresEndpoint) -> Result<PostgresEndpoint, ResolveError> {
    match crate::libpq::check_tls(&endpoint) {
        Ok(()) => Ok(endpoint),
        Err(reason) => Err(ResolveError::Invalid { path: None, reason }),
    }
}

/// Whom to trust when a server's certificate is verified.
#[derive(Clone, Debug, PartialEq)]
pub enum RootCertificate {
    /// `sslrootcert=system`: the system's certificates.
    System,
    /// These certificates, PEM.
    Pem(SecretSource),
}

/// What is verified about a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Nothing: encryption only.
    Nothing,
    /// That it comes from a trusted issuer.
    Chain,
    /// That, and that it names the host.
    ChainAndName,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server insists.
    Allow,
    /// TLS if the server can.
    #[default]
    Prefer,
    /// TLS or nothing; see [`PostgresEndpoint::verification`].
    Require,
    /// TLS with a certificate from a trusted issuer.
    VerifyCa,
    /// TLS with a certificate from a trusted issuer that names the host.
    VerifyFull,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server offers it.
    #[default]
    Prefer,
    /// Or no login.
    Require,
}

/// libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// Ask with SSLRequest first.
    #[default]
    Postgres,
    /// Start with a TLS handshake (PostgreSQL 17 and later). Only with `sslmode` `require` or stronger.
    Direct,
}

/// libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetSessionAttrs {
    /// The first that answers.
    #[default]
    Any,
    /// Accepts writes by default.
    ReadWrite,
    /// Refuses writes by default.
    ReadOnly,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
    /// In recovery if there is such a host, else any.
    PreferStandby,
}

/// libpq's `load_balance_hosts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalanceHosts {
    /// In the order written.
    #[default]
    Disable,
    /// Shuffled for each connection.
    Random,
}

/// `isolation_level` of the Postgres family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
}
