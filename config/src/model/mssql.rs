//! What a SQL Server source says.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use weir_core::{secret::Secret, settings::PoolSettings};

use super::{
    postgres::TlsSettings,
    secret_source::{ResolveError, SecretFile},
};

/// The databases of one SQL Server source.
#[derive(Clone, Debug, PartialEq)]
pub struct MssqlSource {
    /// `connection_info`
    pub primary: MssqlConnection,
    /// `read_replicas`, in the order of the file. Each has its own pool.
    pub read_replicas: Vec<MssqlConnection>,
    /// `pass_through_login`: who is not a gateway user logs in at the database, and is served as that login.
    pub pass_through_login: bool,
}

/// One database to connect to, and the pool of connections to it.
#[derive(Clone, Debug, PartialEq)]
pub struct MssqlConnection {
    /// What to call it where people read; without a password.
    pub label: String,
    /// Where it is and how to log in.
    pub address: MssqlAddress,
    /// Whether connections are kept at all.
    pub pooling: Pooling,
    /// The effective pool settings; `total_max_connections` is already split.
    pub pool: PoolSettings,
    /// Asked for in the metadata; `None` when nothing is said (`READ COMMITTED`).
    pub isolation_level: Option<MssqlIsolationLevel>,
    /// `ssl_configuration` of the overlay: wins over `Encrypt` and its relatives.
    pub tls: Option<TlsSettings>,
}

impl MssqlConnection {
    /// The address as it is now. Blocks when it is a file: call it off the reactor.
    pub fn resolve(&self) -> Result<MssqlEndpoint, ResolveError> {
        match &self.address {
            MssqlAddress::Fixed(endpoint) => Ok((**endpoint).clone()),
            MssqlAddress::File(file) => {
                let text = file.read()?;
                crate::odbc::parse(text.expose())
                    .map(|parsed| parsed.endpoint)
                    .map_err(|error| ResolveError::Invalid {
                        path: Some(file.path.clone()),
                        reason: error.to_string(),
                    })
            }
        }
    }
}

/// An address, or the file that holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum MssqlAddress {
    /// Known at load time.
    Fixed(Box<MssqlEndpoint>),
    /// `dynamic_from_file`: a connection string in a file, read for every new server connection.
    File(SecretFile),
}

/// `{enable: false}` in the pool settings of SQL Server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Connections are kept and shared.
    #[default]
    Pooled,
    /// Each use opens a connection and closes it.
    PerUse,
}

/// Where a SQL Server is and how to log in: the keywords of an ODBC or ADO.NET connection string.
#[derive(Clone, Debug, PartialEq)]
pub struct MssqlEndpoint {
    /// A DNS name or an IP address.
    pub host: String,
    /// The port; `None` means 1433, or asking the browser service when there is an instance.
    pub port: Option<u16>,
    /// The named instance of `host\instance`.
    pub instance: Option<String>,
    /// The database; `None` is the login's default.
    pub database: Option<String>,
    /// As whom.
    pub authentication: MssqlAuthentication,
    /// How much TLS.
    pub encrypt: Encrypt,
    /// Accept any certificate.
    pub trust_server_certificate: bool,
    /// The name to expect in the certificate instead of the host.
    pub host_name_in_certificate: Option<String>,
    /// A file with the certificate that the server must present.
    pub server_certificate: Option<PathBuf>,
    /// The client certificate's file, and its key's.
    pub client_certificate: Option<(PathBuf, Option<PathBuf>)>,
    /// `APP`
    pub application_name: Option<String>,
    /// `WSID`
    pub workstation_id: Option<String>,
    /// `ApplicationIntent`
    pub application_intent: ApplicationIntent,
    /// Try all addresses of the host at once.
    pub multi_subnet_failover: bool,
    /// Multiple active result sets.
    pub mars: bool,
    /// Repetitions of a broken connect (0 to 255); `None` when nothing is said.
    pub connect_retry_count: Option<u8>,
    /// Pause between them (1 to 60 s).
    pub connect_retry_interval: Option<Duration>,
    /// TCP keep-alive.
    pub keep_alive: Option<Duration>,
    /// Pause between keep-alive probes.
    pub keep_alive_interval: Option<Duration>,
    /// Which family of addresses goes first.
    pub ip_address_preference: IpAddressPreference,
    /// The session's language.
    pub language: Option<String>,
    /// `Connection Timeout`
    pub connect_timeout: Option<Duration>,
    /// `Packet Size`, bytes (512 to 32,767).
    pub packet_size: Option<u16>,
}

impl MssqlEndpoint {
    /// The host as an IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl std::fmt::Display for MssqlEndpoint {
    /// Host, port or instance, and database; never the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mssql://{}", self.host)?;
        match (&self.instance, self.port) {
            (_, Some(port)) => write!(f, ",{port}")?,
            (Some(instance), None) => write!(f, "\\{instance}")?,
            (None, None) => {}
        }
        match &self.database {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

/// How to log in to SQL Server.
#[derive(Clone, Debug, PartialEq)]
pub enum MssqlAuthentication {
    /// `UID` and `PWD`.
    Password {
        /// The login.
        user: String,
        /// Its password.
        password: Secret<String>,
    },
    /// `Trusted_Connection`: the gateway process's own Windows or Kerberos identity.
    Integrated,
    /// `Authentication=ActiveDirectory…`
    ActiveDirectory {
        /// The keyword's value as written.
        method: String,
        /// The user or client id.
        user: Option<String>,
        /// The password or client secret.
        password: Option<Secret<String>>,
    },
}

/// `Encrypt`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encrypt {
    /// `no`, `optional`: only the login.
    Optional,
    /// `yes`, `mandatory`
    Mandatory,
    /// `strict`: TLS first (TDS 8.0).
    Strict,
}

/// `ApplicationIntent`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApplicationIntent {
    /// `ReadWrite`
    #[default]
    ReadWrite,
    /// `ReadOnly`
    ReadOnly,
}

/// `IpAddressPreference`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpAddressPreference {
    /// `IPv4First`
    #[default]
    Ipv4First,
    /// `IPv6First`
    Ipv6First,
    /// `UsePlatformDefault`
    PlatformDefault,
}

/// `isolation_level` of SQL Server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MssqlIsolationLevel {
    /// `READ UNCOMMITTED`
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SNAPSHOT`
    Snapshot,
    /// `SERIALIZABLE`
    Serializable,
}
