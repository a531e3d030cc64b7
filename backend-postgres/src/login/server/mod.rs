//! The gateway's login at a server: reach it, secure the line, log in, check that it is the kind of server wanted.
//!
//! Invariants: the address, the password and the certificates are read anew for each connection; the stream that comes
//! out is at rest with nothing read ahead; no password leaves over a line whose other end is not proven, unless it is
//! hashed by SCRAM. Must not know of pools or clients.

mod attributes;
mod hashing;
mod login;
mod material;
pub mod recorder;
mod secure;
mod tee;

use std::{io, sync::Arc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_config::{
    AddressSource, Host, HostName, LoadBalanceHosts, PostgresConnection, PostgresEndpoint, ResolveError, SslMode,
    SslNegotiation,
};
use weir_core::{
    net::{RemoteAddress, Stream, Target, dial, redial, tls::ClientTls},
    refusal::OpenError,
};

use self::{
    material::Materials,
    recorder::{PasswordPolicy, ServerKey},
    secure::Line,
};
use crate::{settings::Profile, wire::startup};

/// How server connections of one endpoint are opened.
#[derive(Debug)]
pub struct Opener {
    connection: PostgresConnection,
    /// Sent in every startup packet.
    parameters: Vec<(String, String)>,
    materials: Materials,
}

/// A server connection just logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// At rest, nothing read ahead.
    pub stream: Stream,
    /// What the server reported, in its order.
    pub parameters: Vec<(String, String)>,
    /// How to cancel what runs on it; `None` where the server gave no key.
    pub cancel_key: Option<CancelKey>,
}

/// How to cancel what runs on a server connection.
#[derive(Clone, Debug)]
pub struct CancelKey {
    /// Where the connection really goes: a cancel request for the same name might reach another machine (S6 rule 6).
    address: RemoteAddress,
    /// For the certificate check.
    host: String,
    security: Security,
    key: ServerKey,
}

impl CancelKey {
    /// The process that serves the connection, as `pg_stat_activity` has it.
    pub fn process(&self) -> Option<u32> {
        Some(self.key.id)
    }
}

/// How a line is secured.
#[derive(Clone, Debug)]
enum Security {
    Clear,
    Asked(Arc<ClientTls>),
    Direct(Arc<ClientTls>),
}

/// What one host is told.
struct Attempt<'a> {
    endpoint: &'a PostgresEndpoint,
    host: &'a Host,
    startup: &'a [u8],
}

/// A server that was reached over a line that is as secure as it gets.
struct Reached {
    stream: Stream,
    address: RemoteAddress,
    security: Security,
    policy: PasswordPolicy,
}

impl Opener {
    /// `parameters`: further startup parameters; they win over those of the address.
    pub fn new(connection: PostgresConnection, parameters: Vec<(String, String)>) -> Self {
        Opener {
            connection,
            parameters,
            materials: Materials::default(),
        }
    }

    /// Whether the other one opens connections to the same server, as far as that is declared.
    pub(crate) fn is_at_same_server(&self, other: &Self) -> bool {
        match (self.hosts(), other.hosts()) {
            (Some(own), Some(others)) => own == others,
            _ => false,
        }
    }

    /// `None` when the whole address is in a file.
    fn hosts(&self) -> Option<&[Host]> {
        match &self.connection.address {
            AddressSource::Fixed(endpoint) | AddressSource::PasswordFile(endpoint, _) => Some(&endpoint.hosts),
            AddressSource::File(_) => None,
        }
    }

    /// Whether the other one opens connections to the same place in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        // Of the pool's settings only this one is built into a connection; the label is for people.
        let PostgresConnection {
            label: _,
            address,
            pool,
            isolation_level,
            tls,
            use_prepared_statements: _,
        } = &self.connection;
        *address == other.connection.address
            && *isolation_level == other.connection.isolation_level
            && *tls == other.connection.tls
            && pool.max_prepared_statements == other.connection.pool.max_prepared_statements
            && self.parameters == other.parameters
    }

    /// The settings.
    pub fn connection(&self) -> &PostgresConnection {
        &self.connection
    }

    /// The address as it is now.
    ///
    /// # Errors
    /// [`OpenError::Misconfigured`].
    pub async fn resolve(&self) -> Result<PostgresEndpoint, OpenError> {
        let connection = self.connection.clone();
        // May read files.
        off_reactor(move || connection.resolve())
            .await?
            .map_err(|error: ResolveError| OpenError::Misconfigured(error.to_string()))
    }

    /// Opens one connection. The caller bounds the time.
    ///
    /// # Errors
    /// [`OpenError`]: of several hosts, the most telling one.
    pub async fn open(&self, profile: &Profile) -> Result<LoggedIn, OpenError> {
        let endpoint = self.resolve().await?;
        let startup = self.startup_packet(&endpoint, profile)?;
        let hosts = in_order(&endpoint);
        let mut failures = Vec::new();
        for &wanted in attributes::passes(endpoint.target_session_attrs) {
            for host in &hosts {
                let attempt = Attempt {
                    endpoint: &endpoint,
                    host,
                    startup: &startup,
                };
                let result = match self.try_lines::<Raw>(&attempt).await {
                    Ok(mut opened) => attributes::check(&mut opened, wanted, host).await.map(|()| opened),
                    Err(error) => Err(error),
                };
                match result {
                    Ok(opened) => return Ok(opened),
                    Err(error) => failures.push(error),
                }
            }
        }
        Err(most_telling(failures))
    }

    /// Opens one connection for the control plane (`auth_query`, probes): the same rules for TLS and passwords, none of
    /// the source's own startup parameters, `parameters` instead. The first host that answers will do, unless
    /// `target_session_attrs` wants another. The caller bounds the time.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub async fn open_typed(&self, parameters: &[(&str, &str)]) -> Result<tokio_postgres::Client, OpenError> {
        let endpoint = self.resolve().await?;
        let fixed = [
            ("user", endpoint.user.as_str()),
            ("database", endpoint.database.as_str()),
        ];
        let startup = packet(fixed.into_iter().chain(parameters.iter().copied()))?;
        let mut failures = Vec::new();
        for host in &in_order(&endpoint) {
            let attempt = Attempt {
                endpoint: &endpoint,
                host,
                startup: &startup,
            };
            match self.try_lines::<Typed>(&attempt).await {
                Ok(client) => match attributes::check_typed(&client, endpoint.target_session_attrs, host).await {
                    Ok(()) => return Ok(client),
                    Err(error) => failures.push(error),
                },
                Err(error) => failures.push(error),
            }
        }
        Err(most_telling(failures))
    }

    /// Tries the kinds of line that the host's `sslmode` allows, in libpq's order.
    async fn try_lines<L: LogIn>(&self, attempt: &Attempt<'_>) -> Result<L::Result, OpenError> {
        let mode = match attempt.host.name {
            // As libpq: sslmode is of no meaning for Unix sockets.
            HostName::Unix(_) => SslMode::Disable,
            HostName::Tcp(_) => attempt.endpoint.ssl_mode,
        };
        let mut first_refusal = None;
        for line in secure::lines(mode) {
            let result = match self.reach(attempt, *line).await {
                Ok(reached) => L::log_in(reached, attempt).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(opened) => return Ok(opened),
                // "no pg_hba.conf entry": the other kind of line may do.
                Err(OpenError::Rejected(rejection)) if rejection.code == "28000" && first_refusal.is_none() => {
                    first_refusal = Some(OpenError::Rejected(rejection));
                }
                Err(error) => return Err(first_refusal.unwrap_or(error)),
            }
        }
        Err(first_refusal.unwrap_or_else(|| OpenError::Misconfigured("no way to connect".to_owned())))
    }

    async fn reach(&self, attempt: &Attempt<'_>, line: Line) -> Result<Reached, OpenError> {
        let Attempt { endpoint, host, .. } = *attempt;
        let security = match line {
            Line::Clear => Security::Clear,
            Line::Tls | Line::TlsIfPossible => {
                let tls = self.materials.tls(endpoint).await?;
                match endpoint.ssl_negotiation {
                    SslNegotiation::Postgres => Security::Asked(tls),
                    SslNegotiation::Direct => Security::Direct(tls),
                }
            }
        };
        let (socket, address) = dial(&[target(host)]).await.map_err(unreachable)?;
        let (stream, security) = secure::secure(socket, &host_name(host), security, line).await?;
        let policy = secure::password_policy(&stream, endpoint);
        Ok(Reached {
            stream,
            address,
            security,
            policy,
        })
    }

    fn startup_packet(&self, endpoint: &PostgresEndpoint, profile: &Profile) -> Result<Vec<u8>, OpenError> {
        let mut parameters = vec![
            ("user", endpoint.user.as_str()),
            ("database", endpoint.database.as_str()),
        ];
        parameters.extend(profile.replication.parameter().map(|value| ("replication", value)));
        let set_by_address = endpoint
            .application_name
            .as_deref()
            .map(|name| ("application_name", name));
        let ours = self
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let by_client = profile
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in by_client.chain(ours).chain(set_by_address) {
            if name != "options" && !parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                parameters.push((name, value));
            }
        }
        let ours = self
            .parameters
            .iter()
            .find(|(name, _)| name == "options")
            .map(|(_, value)| value.as_str());
        // Of two settings of the same name, the later one counts.
        let all_options = [endpoint.options.as_deref(), ours]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        if !all_options.is_empty() {
            parameters.push(("options", &all_options));
        }
        packet(parameters)
    }
}

/// What is logged in for.
trait LogIn {
    type Result;

    fn log_in(reached: Reached, attempt: &Attempt<'_>) -> impl Future<Output = Result<Self::Result, OpenError>> + Send;
}

/// The data path: the stream is ours afterwards.
struct Raw;

/// The control plane: the stream is tokio-postgres's.
struct Typed;

impl LogIn for Raw {
    type Result = LoggedIn;

    async fn log_in(reached: Reached, attempt: &Attempt<'_>) -> Result<LoggedIn, OpenError> {
        let Attempt {
            endpoint,
            host,
            startup,
        } = *attempt;
        let (stream, record) =
            login::log_in(reached.stream, endpoint, startup, reached.policy, &host.to_string()).await?;
        Ok(LoggedIn {
            stream,
            cancel_key: record.key.map(|key| CancelKey {
                address: reached.address,
                host: host_name(host),
                security: reached.security,
                key,
            }),
            parameters: record.parameters,
        })
    }
}

impl LogIn for Typed {
    type Result = tokio_postgres::Client;

    async fn log_in(reached: Reached, attempt: &Attempt<'_>) -> Result<tokio_postgres::Client, OpenError> {
        let Attempt {
            endpoint,
            host,
            startup,
        } = *attempt;
        login::log_in_typed(reached.stream, endpoint, startup, reached.policy, &host.to_string()).await
    }
}

fn packet<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Vec<u8>, OpenError> {
    startup::startup_message(startup::Protocol::V3_0, parameters).map_err(|unsendable| {
        OpenError::Misconfigured(match unsendable {
            startup::Unsendable::ZeroByte => "a user, database or startup parameter contains a zero byte".to_owned(),
            startup::Unsendable::TooLong => format!(
                "user, database and startup parameters take more than {} bytes together",
                startup::MAX_STARTUP_PACKET
            ),
        })
    })
}

/// Asks the server to cancel what runs on the connection of `key`, and waits until it has taken note: the server closes
/// the connection then. The caller bounds the time.
///
/// # Errors
/// [`OpenError`]: the request may not have arrived.
pub async fn cancel(key: &CancelKey) -> Result<(), OpenError> {
    let socket = redial(&key.address).await.map_err(unreachable)?;
    let line = match key.security {
        Security::Clear => Line::Clear,
        Security::Asked(_) | Security::Direct(_) => Line::Tls,
    };
    let (mut stream, _) = secure::secure(socket, &key.host, key.security.clone(), line).await?;
    let request = startup::cancel_request(key.key.id, key.key.secret.expose());
    stream.write_all(&request).await.map_err(unreachable)?;
    stream.flush().await.map_err(unreachable)?;
    let mut rest = [0; 64];
    loop {
        match stream.read(&mut rest).await {
            // A server that closes without a TLS good-bye, or resets, has closed all the same.
            Ok(0) => return Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => return Err(unreachable(error)),
        }
    }
}

/// Says good-bye on a connection that nobody wants.
async fn terminate(stream: &mut Stream) {
    // The server notices the closed socket as well.
    let _ = stream.write_all(b"X\0\0\0\x04").await;
    let _ = stream.shutdown().await;
}

fn target(host: &Host) -> Target {
    match (&host.name, host.address) {
        (HostName::Unix(folder), _) => Target::Unix(folder.join(format!(".s.PGSQL.{}", host.port))),
        (HostName::Tcp(_), Some(address)) => Target::Tcp {
            host: address.to_string(),
            port: host.port,
        },
        (HostName::Tcp(name), None) => Target::Tcp {
            host: name.clone(),
            port: host.port,
        },
    }
}

fn host_name(host: &Host) -> String {
    match &host.name {
        HostName::Tcp(name) => name.clone(),
        HostName::Unix(folder) => folder.display().to_string(),
    }
}

fn in_order(endpoint: &PostgresEndpoint) -> Vec<Host> {
    let mut hosts = endpoint.hosts.clone();
    if endpoint.load_balance_hosts == LoadBalanceHosts::Random {
        for last in (1..hosts.len()).rev() {
            // Without random bytes the order stays; the bias of the remainder does not matter for 32 hosts.
            let chosen = getrandom::u32().map_or(last, |random| random as usize % (last + 1));
            hosts.swap(last, chosen);
        }
    }
    hosts
}

/// A "no" of the database says more than a host that is down; a certificate problem more than a time-out.
fn most_telling(failures: Vec<OpenError>) -> OpenError {
    let rank = |error: &OpenError| match error {
        OpenError::Rejected(_) => 4,
        OpenError::Untrusted(_) => 3,
        OpenError::Misconfigured(_) => 2,
        OpenError::Unreachable(_) => 1,
        OpenError::TimedOut(_) => 0,
    };
    let texts: Vec<String> = failures
        .iter()
        .filter_map(|error| match error {
            OpenError::Unreachable(text) => Some(text.clone()),
            _ => None,
        })
        .collect();
    match failures.into_iter().max_by_key(rank) {
        Some(OpenError::Unreachable(_)) => {
            let mut unique: Vec<String> = Vec::new();
            texts.into_iter().for_each(|text| {
                if !unique.contains(&text) {
                    unique.push(text);
                }
            });
            OpenError::Unreachable(unique.join("; "))
        }
        Some(error) => error,
        None => OpenError::Misconfigured("the address names no host".to_owned()),
    }
}

fn unreachable(error: io::Error) -> OpenError {
    OpenError::Unreachable(error.to_string())
}

/// Runs what may block where blocking does no harm.
async fn off_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| OpenError::Misconfigured("the gateway is stopping".to_owned()))
}
