//! The gateway's login at a server: reach it, secure the line, log in, follow it where it sends us.
//!
//! Invariants: the address, the password and the certificates are read anew for each connection; the stream that comes
//! out is at rest with nothing read ahead; what the metadata asks for and this does not do is refused by name instead of
//! being ignored. Must not know of pools or clients.

mod browser;
mod defaults;
mod exchange;
mod material;
mod self_test;

use std::sync::Arc;

use weir_config::{
    ApplicationIntent, Encrypt, MssqlAddress, MssqlAuthentication, MssqlConnection, MssqlEndpoint, ResolveError,
    SslMode,
};
use weir_core::{
    net::{Target, dial, dial_at_once, tls::ClientTls},
    refusal::{OpenError, Rejection},
    secret::Secret,
};

use self::{
    exchange::{Answered, Line},
    material::Materials,
};
use super::{
    limits,
    reply::{Accepted, Asked, LoginReply, ServerError},
    stream::TdsStream,
};
use crate::{
    refusals,
    session::{Baseline, Tracker},
    settings::{LoginAs, Profile},
    wire::{
        TdsVersion,
        feature_ext::{Feature, id},
        login7::{Login7, flags1, flags2, flags3, type_flags},
        packet::LOGIN_PACKET_SIZE,
    },
};

pub use exchange::Batch;
pub(crate) use material::ALPN;

/// The port of a server whose connection string names none.
pub const DEFAULT_PORT: u16 = 1433;

/// How server connections of one endpoint are opened.
#[derive(Debug)]
pub struct Opener {
    connection: MssqlConnection,
    /// Shown in the database instead of what the connection string says.
    application_name: Option<String>,
    materials: Materials,
}

/// A server connection just logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// At rest, nothing read ahead.
    pub stream: TdsStream,
    /// What the server said.
    pub accepted: Accepted,
    /// Its number for the session.
    pub spid: u16,
}

/// How much TLS is asked for.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// None.
    Clear,
    /// For the login at least; `required` is used where the server wants more.
    LoginOnly {
        login: Arc<ClientTls>,
        required: Arc<ClientTls>,
    },
    /// Always.
    Full(Arc<ClientTls>),
    /// From the first byte on.
    Strict(Arc<ClientTls>),
}

impl Opener {
    /// `application_name`: shown in the database instead of what the connection string says.
    pub fn new(connection: MssqlConnection, application_name: Option<String>) -> Self {
        Opener {
            connection,
            application_name,
            materials: Materials::default(),
        }
    }

    /// Whether the other one opens connections to the same server, as far as that is declared: not when the whole address
    /// is in a file.
    pub(crate) fn is_at_same_server(&self, other: &Self) -> bool {
        match (&self.connection.address, &other.connection.address) {
            (MssqlAddress::Fixed(own), MssqlAddress::Fixed(others)) => {
                (&own.host, own.port, &own.instance) == (&others.host, others.port, &others.instance)
            }
            _ => false,
        }
    }

    /// Whether the other one opens connections to the same place in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        // Of the pool's settings only this one is built into a connection; the label is for people.
        let MssqlConnection {
            label: _,
            address,
            pooling,
            pool,
            isolation_level,
            tls,
        } = &self.connection;
        *address == other.connection.address
            && *pooling == other.connection.pooling
            && *isolation_level == other.connection.isolation_level
            && *tls == other.connection.tls
            && pool.max_prepared_statements == other.connection.pool.max_prepared_statements
            && self.application_name == other.application_name
    }

    /// The settings.
    pub fn connection(&self) -> &MssqlConnection {
        &self.connection
    }

    /// The address as it is now.
    ///
    /// # Errors
    /// [`OpenError::Misconfigured`].
    pub async fn resolve(&self) -> Result<MssqlEndpoint, OpenError> {
        let connection = self.connection.clone();
        // May read files.
        off_reactor(move || connection.resolve())
            .await?
            .map_err(|error: ResolveError| OpenError::Misconfigured(error.to_string()))
    }

    /// Opens one connection. The caller bounds the time.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(&self, profile: &Profile) -> Result<LoggedIn, OpenError> {
        let endpoint = self.resolve().await?;
        let wanted = self.materials.wanted(&endpoint, self.connection.tls.as_ref()).await?;
        let asked = Asked {
            tds_version: profile.tds_version,
            packet_size: endpoint.packet_size.unwrap_or(LOGIN_PACKET_SIZE),
            features: profile.features,
        };
        let login = self.login(&endpoint, profile, &asked)?;
        let mut host = endpoint.host.clone();
        let mut port = port(&endpoint).await?;
        for _ in 0..=limits::REDIRECTIONS {
            let target = Target::Tcp {
                host: host.clone(),
                port,
            };
            let dialled = match endpoint.multi_subnet_failover {
                true => dial_at_once(&target).await,
                false => dial(&[target]).await,
            };
            let (socket, _) = dialled.map_err(unreachable)?;
            let line = Line::secure(socket, &host, &wanted, &endpoint).await?;
            let Answered { reply, spid, stream } = line.log_in(&login, &asked).await?;
            match reply {
                LoginReply::Accepted(accepted) => {
                    return Ok(LoggedIn {
                        stream,
                        accepted: *accepted,
                        spid,
                    });
                }
                LoginReply::Refused(error) => return Err(rejected(error)),
                LoginReply::Elsewhere { host: there, port: at } => (host, port) = (there, at),
            }
        }
        Err(OpenError::Unreachable(format!(
            "{}: redirected more than {} times",
            endpoint.host,
            limits::REDIRECTIONS
        )))
    }

    /// Finds out how transactions can be followed on a connection that [`Opener::open`] gave, and leaves it as it was
    /// (TDS 4.3a).
    ///
    /// # Errors
    /// [`OpenError`]: the connection is of no use any more.
    pub async fn self_test(&self, opened: &mut LoggedIn, tds_version: TdsVersion) -> Result<Tracker, OpenError> {
        self_test::run(&mut opened.stream, tds_version, opened.accepted.packet_size).await
    }

    /// What a session starts with that was opened by [`Opener::open`] without ODBC's defaults; `None` if that could not be
    /// had on another connection.
    ///
    /// # Errors
    /// [`OpenError`]: the connection is of no use any more.
    pub async fn defaults(
        &self,
        opened: &mut LoggedIn,
        tds_version: TdsVersion,
    ) -> Result<Option<Baseline>, OpenError> {
        defaults::ask(&mut opened.stream, tds_version, opened.accepted.packet_size).await
    }

    fn login(&self, endpoint: &MssqlEndpoint, profile: &Profile, asked: &Asked) -> Result<Login7, OpenError> {
        let (user, password) = credentials(endpoint, profile)?;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let read_only = profile.read_only_intent || endpoint.application_intent == ApplicationIntent::ReadOnly;
        let named = self.application_name.as_ref().or(endpoint.application_name.as_ref());
        Ok(Login7 {
            tds_version: asked.tds_version.code(),
            packet_size: u32::from(asked.packet_size),
            program_version: PROGRAM_VERSION,
            process_id: std::process::id(),
            // Everything is wanted, whatever the client wants: what it did not ask for is not told to it.
            flags1: flags1::USE_DATABASE | flags1::DATABASE_FATAL | flags1::SET_LANGUAGE,
            flags2: flags2::LANGUAGE_FATAL | flag(profile.odbc, flags2::ODBC),
            type_flags: flag(read_only, type_flags::READ_ONLY_INTENT),
            flags3: match asked.tds_version.is_wide() {
                true => flags3::UNKNOWN_COLLATIONS | flag(profile.binary_xml, flags3::BINARY_XML),
                // Not there yet.
                false => 0,
            },
            lcid: LCID,
            host: endpoint.workstation_id.clone().unwrap_or_default(),
            user,
            password,
            application: named.cloned().unwrap_or_else(|| LIBRARY.to_owned()),
            server: endpoint.host.clone(),
            library: LIBRARY.to_owned(),
            language: endpoint.language.clone().unwrap_or_default(),
            database: endpoint.database.clone().unwrap_or_default(),
            features: features(asked),
            ..Login7::default()
        })
    }
}

/// What the gateway calls itself to servers.
const LIBRARY: &str = "Weir";

/// ClientProgVer: means nothing to a server.
const PROGRAM_VERSION: u32 = 0x0001_0000;

/// English (United States); ignored by servers.
const LCID: u32 = 0x0409;

/// SESSIONRECOVERY is always asked for: with it a server tells what is alive in a session (TDS 6.3). Extensions came with
/// TDS 7.4.
fn features(asked: &Asked) -> Vec<Feature> {
    if asked.tds_version < TdsVersion::V7_4 {
        return Vec::new();
    }
    let mut features = vec![Feature::new(id::SESSION_RECOVERY, &[])];
    if asked.features.utf8 {
        features.push(Feature::new(id::UTF8_SUPPORT, &[1]));
    }
    if asked.features.json > 0 {
        features.push(Feature::new(id::JSON_SUPPORT, &[asked.features.json]));
    }
    if asked.features.vector > 0 {
        features.push(Feature::new(id::VECTOR_SUPPORT, &[asked.features.vector]));
    }
    features
}

fn credentials(endpoint: &MssqlEndpoint, profile: &Profile) -> Result<(String, Secret<String>), OpenError> {
    match (&profile.login, &endpoint.authentication) {
        (LoginAs::Client(login), _) => Ok((login.user.clone(), login.password.clone())),
        (LoginAs::Source, MssqlAuthentication::Password { user, password }) => Ok((user.clone(), password.clone())),
        (LoginAs::Source, MssqlAuthentication::Integrated) => Err(not_done(
            endpoint,
            "Trusted_Connection is not possible; use UID and PWD",
        )),
        (LoginAs::Source, MssqlAuthentication::ActiveDirectory { method, .. }) => Err(not_done(
            endpoint,
            &format!("Authentication={method} is not possible; use UID and PWD"),
        )),
    }
}

/// The port that is written down, that of the instance, or the usual one. A port beside an instance's name wins, as it does
/// with Microsoft's drivers.
pub(crate) async fn port(endpoint: &MssqlEndpoint) -> Result<u16, OpenError> {
    match (endpoint.port, &endpoint.instance) {
        (Some(port), _) => Ok(port),
        (None, Some(instance)) => browser::port_of(&endpoint.host, instance).await,
        (None, None) => Ok(DEFAULT_PORT),
    }
}

fn not_done(endpoint: &MssqlEndpoint, what: &str) -> OpenError {
    OpenError::Misconfigured(format!("{}: {what}", endpoint.host))
}

fn rejected(error: ServerError) -> OpenError {
    OpenError::Rejected(Rejection {
        code: error.number.to_string(),
        message: error.text,
        // For a failed login the state says why, which the client must not know but the operator should.
        detail: Some(format!("state {}", error.state)),
        hint: None,
        retry: refusals::retry(error.number),
    })
}

/// A mode of the overlay as one of `Encrypt`; `None` where there is none to be.
fn encrypt_of(mode: SslMode) -> Option<Encrypt> {
    match mode {
        SslMode::Disable => None,
        SslMode::Allow | SslMode::Prefer => Some(Encrypt::Optional),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Some(Encrypt::Mandatory),
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn off_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| OpenError::Misconfigured("the gateway is stopping".to_owned()))
}

pub(super) fn unreachable(error: std::io::Error) -> OpenError {
    OpenError::Unreachable(error.to_string())
}
