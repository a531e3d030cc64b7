//! Greeting a client: from its first byte to the answer to LOGIN7.
//!
//! The shell around the pure parts: reads, writes, keeps the deadline, asks who may log in. Invariants: whatever goes
//! wrong is told in the protocol's own words, and nothing but "login failed", at the same time after the question, to
//! whoever has not proved who it is; everything after authentication needs an `Authenticated`, which only a proof makes.

mod admit;
mod adopt;
mod authenticate;
mod console;
mod reception;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::info;
use weir_config::ListenerTlsMode;
use weir_core::{
    admin::Console,
    backend::Frontend,
    front::{
        Client, Clients, Credentials, Greeting, HandedClient, LastWords, LoginGate, Registration, Trust, Unwelcome,
        UserCounts,
    },
    net::{
        Peer, Socket,
        tls::{MaterialError, Reloadable, ServerTls, ServerTlsSettings, TlsVersions},
    },
    observe::RefusalKind,
    refusal::Refusal,
    registry::Registry,
};

use super::{handshake::TlsPolicy, passwords::Passwords, server::ALPN};
use crate::{
    backend::Mssql,
    refusals::{self, Words, number},
};

/// What one listener needs to greet its clients.
#[derive(Clone)]
pub struct FrontendSettings {
    /// The listener's name, for logs.
    pub listener: Arc<str>,
    /// TLS, where the listener has a certificate.
    pub tls: Option<FrontendTls>,
    /// Whether clients on this machine need no password.
    pub trust: Trust,
    /// Where users are looked up.
    pub credentials: Arc<dyn Credentials>,
    /// Checks what they send.
    pub passwords: Arc<Passwords>,
    /// Clients of each user.
    pub user_counts: Arc<UserCounts>,
    /// The sources.
    pub registry: Arc<Registry<Mssql>>,
    /// The directory of clients.
    pub clients: Arc<Clients>,
    /// The console, for administrators.
    pub console: Option<Arc<Console>>,
}

/// TLS for clients.
#[derive(Clone)]
pub struct FrontendTls {
    /// Certificate and key as they are now.
    pub material: Arc<Reloadable<ListenerMaterial>>,
    /// What is asked of clients.
    pub mode: ListenerTlsMode,
}

/// One certificate, for both ways in which TLS begins.
#[derive(Debug)]
pub struct ListenerMaterial {
    /// Inside PRELOGIN packets: TLS 1.2 only (TDS 2.3).
    tunnel: ServerTls,
    /// From the first byte on: TDS 8.0.
    strict: ServerTls,
}

impl ListenerMaterial {
    /// Reads and checks everything; what `settings` say of ALPN and versions does not count. Blocks: not for the reactor.
    ///
    /// # Errors
    /// Names the setting and what is wrong with it.
    pub fn new(settings: &ServerTlsSettings) -> Result<Self, MaterialError> {
        let with = |alpn, versions| {
            ServerTls::new(&ServerTlsSettings {
                alpn,
                versions,
                ..settings.clone()
            })
        };
        Ok(ListenerMaterial {
            tunnel: with(Vec::new(), TlsVersions::Only12)?,
            strict: with(vec![ALPN.to_vec()], TlsVersions::All)?,
        })
    }

    /// Our certificate, for logs and tests.
    pub fn certificate(&self) -> &[u8] {
        self.strict.certificate()
    }
}

impl FrontendSettings {
    fn policy(&self) -> TlsPolicy {
        match self.tls.as_ref().map(|tls| tls.mode) {
            None => TlsPolicy::Disable,
            Some(ListenerTlsMode::Optional) => TlsPolicy::Optional,
            Some(
                ListenerTlsMode::Required
                | ListenerTlsMode::ClientCertificate
                | ListenerTlsMode::ClientCertificateNamed,
            ) => TlsPolicy::Require,
            Some(ListenerTlsMode::Strict) => TlsPolicy::Strict,
        }
    }
}

/// The SQL Server side of one listener.
pub struct MssqlFrontend {
    settings: ArcSwap<FrontendSettings>,
}

impl MssqlFrontend {
    /// Greets as `settings` say.
    pub fn new(settings: FrontendSettings) -> Arc<Self> {
        Arc::new(MssqlFrontend {
            settings: ArcSwap::from_pointee(settings),
        })
    }

    /// Other settings, from the next connection on.
    pub fn replace(&self, settings: FrontendSettings) {
        self.settings.store(Arc::new(settings));
    }
}

impl Frontend for MssqlFrontend {
    type Backend = Mssql;

    async fn greet(&self, socket: Socket, gate: LoginGate) -> Greeting<Mssql> {
        let settings = self.settings.load_full();
        let Ok(peer) = socket.peer() else {
            return Greeting::Nothing;
        };
        match reception::receive(&settings, socket, gate).await {
            Ok((line, login)) if let Some(console) = console::asked_for(&settings, &login) => {
                match console::admit(&settings, line, &login, peer, console).await {
                    Ok((visit, conversation)) => Greeting::Aside(Box::pin(crate::console::serve(visit, conversation))),
                    Err((ended, line)) => refuse(&settings, peer, ended, Some(line)).await,
                }
            }
            Ok((mut line, login)) => match admit::admit(&settings, &mut line, *login, peer).await {
                Ok(admitted) => Greeting::Client(Box::new(admitted.seat(line))),
                Err(ended) => refuse(&settings, peer, ended, Some(line)).await,
            },
            Err((ended, line)) => refuse(&settings, peer, ended, line).await,
        }
    }

    async fn adopt(&self, client: HandedClient, registration: Registration) -> Result<Client<Mssql>, String> {
        adopt::adopt(&self.settings.load_full(), client, registration).await
    }
}

/// Tells the log, and a peer that can still be told.
async fn refuse(
    settings: &FrontendSettings,
    peer: Peer,
    ended: Ended,
    line: Option<reception::Line>,
) -> Greeting<Mssql> {
    ended.note(&settings.listener, peer);
    if let (Unwelcome::Told { words, .. }, Some(mut line)) = (&ended, line) {
        line.close_with(words).await;
    }
    ended.into()
}

/// Why a greeting does not end with a client.
type Ended = Unwelcome<Words>;

impl LastWords for Words {
    fn kind(&self) -> RefusalKind {
        match self.number {
            number::LOGIN_FAILED | number::INTEGRATED_SECURITY => RefusalKind::Authentication,
            number::NO_ACCESS => RefusalKind::Denied,
            number::TOO_BUSY => RefusalKind::ClientLimit,
            number::NOT_AVAILABLE => RefusalKind::Open,
            number::PROTOCOL => RefusalKind::ProtocolViolation,
            number::UNSUPPORTED => RefusalKind::Unsupported,
            _ => RefusalKind::Other,
        }
    }

    fn summary(&self) -> String {
        self.text.to_string()
    }

    fn log(&self, listener: &str, peer: Peer, reason: &str) {
        info!(listener, %peer, number = self.number, reason, "login refused");
    }
}

impl From<&Refusal> for Words {
    fn from(why: &Refusal) -> Self {
        refusals::describe(why)
    }
}
