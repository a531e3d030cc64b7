//! One look at a SQL Server: can it be reached as declared, and what is it?
//!
//! Invariants: bounded by `connect_timeout`; the driver runs in a task of its own, so that a panic of it on what a
//! hostile or newer server sends becomes an error; no secret enters an error. Settings that the driver cannot honour
//! are refused by name instead of being ignored, because a check that connects differently from what is declared
//! would prove nothing. Nothing is written to the database.

use std::{fmt, time::Duration};

use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_config::model::{ApplicationIntent, Encrypt, MssqlAuthentication, MssqlConnection, MssqlEndpoint, SslMode};
use weir_core::{
    clock,
    refusal::{OpenError, Rejection, Retry},
};

use crate::{
    limits::{MAX_REDIRECTIONS, MAX_REPORTED},
    login::server::{self, DEFAULT_PORT},
};

/// Everything asked of the server, in one round trip.
const QUESTIONS: &str = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), \
    CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), CAST(@@MAX_CONNECTIONS AS int), \
    CAST(SUSER_SNAME() AS nvarchar(256)), CAST(DB_NAME() AS nvarchar(256)), CAST(@@VERSION AS nvarchar(512))";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `16.0.4125.3`
    pub version: String,
    /// `Developer Edition (64-bit)`
    pub edition: String,
    /// The first line of `@@VERSION`, which names the product: `Microsoft SQL Server 2022 …`, `Microsoft SQL Azure …`.
    pub product: String,
    /// As whom the gateway is logged in.
    pub login: String,
    /// Where.
    pub database: String,
    /// Connections that the server allows, over all databases and users.
    pub max_connections: u32,
    /// Name lookup, TCP, TLS and login together.
    pub connect_time: Duration,
    /// One statement on the open connection.
    pub round_trip: Duration,
}

/// Opens one connection as declared, asks, and closes it. Never takes longer than the connection's `connect_timeout`.
///
/// # Errors
/// Why it could not be opened or asked. The text names host and port.
pub async fn probe(connection: &MssqlConnection) -> Result<Probe, OpenError> {
    let limit = connection.pool.connect_timeout;
    let connection = connection.clone();
    let mut task = tokio::spawn(async move { ask(connection).await });
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panicked)) => Err(OpenError::Unreachable(
            "the SQL Server driver gave up on what the server sent; is this a SQL Server, and which version?"
                .to_owned(),
        )),
        Err(_elapsed) => {
            task.abort();
            Err(OpenError::TimedOut(limit))
        }
    }
}

async fn ask(connection: MssqlConnection) -> Result<Probe, OpenError> {
    let endpoint = tokio::task::spawn_blocking({
        let connection = connection.clone();
        move || connection.resolve()
    })
    .await
    .map_err(|_| OpenError::Misconfigured("the connection string's file could not be read".to_owned()))?
    .map_err(|error| OpenError::Misconfigured(error.to_string()))?;
    let port = server::port(&endpoint).await?;
    let target = Target::of(&endpoint, port, &connection)?;
    let pool = bb8::Pool::builder().max_size(1).build_unchecked(target);
    let before = clock::now();
    // Not `get`: that would tell a wrong password as a time-out.
    let mut client = pool.dedicated_connection().await?;
    let connected = clock::now();
    let row = first_row(&mut client, &endpoint).await?;
    let answered = clock::now();
    // A close that fails has nothing to tell: everything asked for has been answered.
    let _ = client.close().await;
    Ok(Probe {
        version: text(&row, 0),
        edition: text(&row, 1),
        product: text(&row, 5).lines().next().unwrap_or_default().trim_end().to_owned(),
        login: text(&row, 3),
        database: text(&row, 4),
        max_connections: row
            .try_get::<i32, _>(2)
            .ok()
            .flatten()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        connect_time: connected - before,
        round_trip: answered - connected,
    })
}

async fn first_row(client: &mut Connection, endpoint: &MssqlEndpoint) -> Result<tiberius::Row, OpenError> {
    let asked = async { client.simple_query(QUESTIONS).await?.into_row().await }.await;
    asked
        .map_err(|error| open_error(error, &place(endpoint)))?
        .ok_or_else(|| OpenError::Unreachable(format!("{}: the server answered with no row", place(endpoint))))
}

type Connection = Client<Compat<TcpStream>>;

/// Where to connect and how to log in: what `bb8` needs to know.
struct Target {
    config: Config,
    place: String,
}

impl fmt::Debug for Target {
    /// The driver's configuration holds the password and is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl bb8::ManageConnection for Target {
    type Connection = Connection;
    type Error = OpenError;

    async fn connect(&self) -> Result<Self::Connection, Self::Error> {
        let mut config = self.config.clone();
        for _ in 0..=MAX_REDIRECTIONS {
            match connect(config.clone(), &self.place).await? {
                Connected::Ready(client) => return Ok(*client),
                Connected::Elsewhere { host, port } => {
                    config.host(host);
                    config.port(port);
                }
            }
        }
        Err(OpenError::Unreachable(format!(
            "{}: the server redirects in circles",
            self.place
        )))
    }

    async fn is_valid(&self, client: &mut Self::Connection) -> Result<(), Self::Error> {
        let asked = async { client.simple_query("SELECT 1").await?.into_row().await }.await;
        asked.map(drop).map_err(|error| open_error(error, &self.place))
    }

    fn has_broken(&self, _client: &mut Self::Connection) -> bool {
        // The driver does not say; `is_valid` finds out.
        false
    }
}

enum Connected {
    Ready(Box<Connection>),
    Elsewhere { host: String, port: u16 },
}

async fn connect(config: Config, place: &str) -> Result<Connected, OpenError> {
    let unreachable = |error: std::io::Error| OpenError::Unreachable(format!("{place}: {error}"));
    let socket = TcpStream::connect(config.get_addr()).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    match Client::connect(config, socket.compat_write()).await {
        Ok(client) => Ok(Connected::Ready(Box::new(client))),
        Err(tiberius::error::Error::Routing { host, port }) => Ok(Connected::Elsewhere { host, port }),
        Err(error) => Err(open_error(error, place)),
    }
}

impl Target {
    fn of(endpoint: &MssqlEndpoint, port: u16, connection: &MssqlConnection) -> Result<Target, OpenError> {
        if let Some(what) = beyond_the_driver(endpoint, connection) {
            return Err(OpenError::Misconfigured(format!(
                "{} cannot be checked by this version: {what}",
                place(endpoint)
            )));
        }
        let mut config = Config::new();
        config.host(&endpoint.host);
        config.port(port);
        if let Some(database) = &endpoint.database {
            config.database(database);
        }
        config.application_name(endpoint.application_name.as_deref().unwrap_or("weir check"));
        config.readonly(endpoint.application_intent == ApplicationIntent::ReadOnly);
        if let MssqlAuthentication::Password { user, password } = &endpoint.authentication {
            config.authentication(AuthMethod::sql_server(user, password.expose()));
        }
        match Trust::of(endpoint, connection.tls.as_ref().map(|tls| tls.mode)) {
            Trust::LoginOnly => {
                config.encryption(EncryptionLevel::Off);
                config.trust_cert();
            }
            Trust::AnyCertificate => {
                config.encryption(EncryptionLevel::Required);
                config.trust_cert();
            }
            Trust::SystemCertificates => config.encryption(EncryptionLevel::Required),
        }
        Ok(Target {
            config,
            place: place(endpoint),
        })
    }
}

/// How much TLS, in the terms of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Only the login is encrypted, and the certificate not looked at: what Microsoft's drivers do for `Encrypt=no`.
    LoginOnly,
    /// Everything is encrypted, for whoever answers.
    AnyCertificate,
    /// Everything is encrypted, for a server that the system's issuers vouch for.
    SystemCertificates,
}

impl Trust {
    fn of(endpoint: &MssqlEndpoint, overlay: Option<SslMode>) -> Trust {
        match overlay {
            Some(SslMode::Disable | SslMode::Allow | SslMode::Prefer) => Trust::LoginOnly,
            Some(SslMode::Require) => Trust::AnyCertificate,
            Some(SslMode::VerifyCa | SslMode::VerifyFull) => Trust::SystemCertificates,
            None if endpoint.encrypt == Encrypt::Optional => Trust::LoginOnly,
            None if endpoint.trust_server_certificate => Trust::AnyCertificate,
            None => Trust::SystemCertificates,
        }
    }
}

/// The first setting that the driver would ignore, with what to do about it.
fn beyond_the_driver(endpoint: &MssqlEndpoint, connection: &MssqlConnection) -> Option<String> {
    let root_given = connection
        .tls
        .as_ref()
        .is_some_and(|tls| tls.root_certificate.is_some());
    let certificate_given = connection.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
    let what = match &endpoint.authentication {
        MssqlAuthentication::Integrated => "Trusted_Connection; use UID and PWD",
        MssqlAuthentication::ActiveDirectory { method, .. } => {
            return Some(format!("Authentication={method}; use UID and PWD"));
        }
        MssqlAuthentication::Password { .. } if endpoint.encrypt == Encrypt::Strict => "Encrypt=strict (TDS 8.0)",
        MssqlAuthentication::Password { .. } if endpoint.host_name_in_certificate.is_some() => "HostnameInCertificate",
        MssqlAuthentication::Password { .. } if endpoint.server_certificate.is_some() => "ServerCertificate",
        MssqlAuthentication::Password { .. } if root_given => "ssl_configuration.sslrootcert",
        MssqlAuthentication::Password { .. } if certificate_given || endpoint.client_certificate.is_some() => {
            "a client certificate"
        }
        MssqlAuthentication::Password { .. } => return None,
    };
    Some(what.to_owned())
}

fn place(endpoint: &MssqlEndpoint) -> String {
    format!("{}:{}", endpoint.host, endpoint.port.unwrap_or(DEFAULT_PORT))
}

fn open_error(error: tiberius::error::Error, place: &str) -> OpenError {
    use tiberius::error::Error;
    match error {
        Error::Server(token) => OpenError::Rejected(Rejection {
            code: token.code().to_string(),
            message: clipped(token.message()),
            detail: None,
            hint: None,
            retry: Retry::Useless,
        }),
        Error::Tls(reason) => OpenError::Untrusted(format!("{place}: {reason}")),
        Error::Io { message, .. } => OpenError::Unreachable(format!("{place}: {message}")),
        other => OpenError::Unreachable(format!("{place}: {other}")),
    }
}

fn text(row: &tiberius::Row, column: usize) -> String {
    clipped(row.try_get::<&str, _>(column).ok().flatten().unwrap_or_default())
}

fn clipped(text: &str) -> String {
    text.chars().take(MAX_REPORTED).collect()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use weir_config::model::{IpAddressPreference, MssqlAddress, Pooling};
    use weir_core::{secret::Secret, settings::PoolSettings};

    use super::*;

    fn endpoint(port: u16) -> MssqlEndpoint {
        MssqlEndpoint {
            host: "127.0.0.1".to_owned(),
            port: Some(port),
            instance: None,
            database: None,
            authentication: MssqlAuthentication::Password {
                user: "sa".to_owned(),
                password: Secret::new("canary-9J2".to_owned()),
            },
            encrypt: Encrypt::Mandatory,
            trust_server_certificate: false,
            host_name_in_certificate: None,
            server_certificate: None,
            client_certificate: None,
            application_name: None,
            workstation_id: None,
            application_intent: ApplicationIntent::ReadWrite,
            multi_subnet_failover: false,
            mars: false,
            connect_retry_count: None,
            connect_retry_interval: None,
            keep_alive: None,
            keep_alive_interval: None,
            ip_address_preference: IpAddressPreference::Ipv4First,
            language: None,
            connect_timeout: None,
            packet_size: None,
        }
    }

    fn connection(endpoint: MssqlEndpoint, connect_timeout: Duration) -> MssqlConnection {
        MssqlConnection {
            label: "erp".to_owned(),
            address: MssqlAddress::Fixed(Box::new(endpoint)),
            pooling: Pooling::Pooled,
            pool: PoolSettings {
                connect_timeout,
                ..PoolSettings::default()
            },
            isolation_level: None,
            tls: None,
        }
    }

    /// A server that reads the PRELOGIN and answers with these bytes.
    async fn server(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut scratch = [0; 512];
                let _ = socket.read(&mut scratch).await;
                let _ = socket.write_all(&answer).await;
                let _ = socket.read(&mut scratch).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn nobody_there_names_host_and_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let error = probe(&connection(endpoint(port), Duration::from_secs(10)))
            .await
            .expect_err("nobody listens");
        let OpenError::Unreachable(text) = error else {
            panic!("{error:?}")
        };
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_costs_the_connect_timeout() {
        let port = server(Vec::new()).await;
        let limit = Duration::from_millis(100);
        let result = probe(&connection(endpoint(port), limit)).await;
        assert_eq!(result, Err(OpenError::TimedOut(limit)));
    }

    #[tokio::test]
    async fn a_panic_of_the_driver_becomes_an_error() {
        // A PRELOGIN answer with an unknown option 0x77: tiberius 0.12 panics on it.
        let payload = [0x77, 0, 6, 0, 1, 0xff, 0];
        let mut packet = vec![4, 1, 0, u8::try_from(payload.len()).expect("short") + 8, 0, 0, 1, 0];
        packet.extend(payload);
        let port = server(packet).await;
        let error = probe(&connection(endpoint(port), Duration::from_secs(10)))
            .await
            .expect_err("not a SQL Server");
        assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("canary-9J2"));
    }

    #[tokio::test]
    async fn what_the_driver_would_ignore_is_refused_by_name() {
        let mut strict = endpoint(1);
        strict.encrypt = Encrypt::Strict;
        let mut integrated = endpoint(1);
        integrated.authentication = MssqlAuthentication::Integrated;
        for (endpoint, word) in [(strict, "Encrypt=strict"), (integrated, "Trusted_Connection")] {
            let error = probe(&connection(endpoint, Duration::from_secs(10)))
                .await
                .expect_err("refused");
            let OpenError::Misconfigured(text) = error else {
                panic!("{error:?}")
            };
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn the_overlay_wins_over_the_connection_string() {
        let mut endpoint = endpoint(1);
        assert_eq!(Trust::of(&endpoint, None), Trust::SystemCertificates);
        assert_eq!(Trust::of(&endpoint, Some(SslMode::Require)), Trust::AnyCertificate);
        endpoint.encrypt = Encrypt::Optional;
        assert_eq!(Trust::of(&endpoint, None), Trust::LoginOnly);
        assert_eq!(
            Trust::of(&endpoint, Some(SslMode::VerifyFull)),
            Trust::SystemCertificates
        );
    }

    #[test]
    fn no_debug_output_shows_the_password() {
        let connection = connection(endpoint(1), Duration::from_secs(1));
        let target = Target::of(&endpoint(1), 1, &connection).expect("the driver can do this");
        assert!(!format!("{target:?} {connection:?}").contains("canary-9J2"));
    }
}
