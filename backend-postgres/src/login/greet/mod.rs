//! Greeting a client: from its first byte to ReadyForQuery.
//!
//! The shell around the pure parts: reads, writes, keeps the deadline, asks who may log in. Invariants: whatever goes
//! wrong is told in the protocol's own words, and nothing but "password authentication failed" to whoever has not proved
//! who it is; everything after authentication needs an `Authenticated`, which only a proof makes.

mod admit;
mod adopt;
mod authenticate;
mod console;
mod reception;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::info;
use weir_config::ListenerTlsMode;
pub use weir_core::front::Trust;
use weir_core::{
    admin::Console,
    backend::Frontend,
    front::{Client, Clients, Greeting, HandedClient, LastWords, LoginGate, Registration, Unwelcome},
    net::{
        Peer, Socket,
        tls::{Reloadable, ServerTls},
    },
    observe::RefusalKind,
    refusal::Refusal,
    registry::Registry,
};

use super::{
    credentials::{Credentials, UserCounts, Verifiers},
    words::Fatal,
};
use crate::{backend::Postgres, dialogue::refusals};

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
    /// For exchanges with users that do not exist.
    pub verifiers: Arc<Verifiers>,
    /// Clients of each user.
    pub user_counts: Arc<UserCounts>,
    /// The sources.
    pub registry: Arc<Registry<Postgres>>,
    /// The directory of clients, for cancel keys.
    pub clients: Arc<Clients>,
    /// Reached under its own database names; `None` where there is none.
    pub console: Option<Arc<Console>>,
}

/// TLS for clients.
#[derive(Clone)]
pub struct FrontendTls {
    /// Certificate and key as they are now.
    pub material: Arc<Reloadable<ServerTls>>,
    /// What is asked of clients.
    pub mode: ListenerTlsMode,
}

/// The PostgreSQL side of one listener.
pub struct PostgresFrontend {
    settings: ArcSwap<FrontendSettings>,
}

impl PostgresFrontend {
    /// Greets as `settings` say.
    pub fn new(settings: FrontendSettings) -> Arc<Self> {
        Arc::new(PostgresFrontend {
            settings: ArcSwap::from_pointee(settings),
        })
    }

    /// Other settings, from the next connection on.
    pub fn replace(&self, settings: FrontendSettings) {
        self.settings.store(Arc::new(settings));
    }
}

impl Frontend for PostgresFrontend {
    type Backend = Postgres;

    async fn greet(&self, socket: Socket, gate: LoginGate) -> Greeting<Postgres> {
        let settings = self.settings.load_full();
        let Ok(peer) = socket.peer() else {
            return Greeting::Nothing;
        };
        match reception::receive(&settings, socket, gate).await {
            Ok(reception::Received::Cancel { id, secret, stream }) => Greeting::Cancel {
                id,
                secret: secret.expose().clone(),
                socket: Box::new(stream),
            },
            Ok(reception::Received::Login { mut line, login }) => {
                if let Some(console) = console::asked_for(&settings, &login) {
                    return match console::admit(&settings, line, *login, peer, console).await {
                        Ok(visit) => Greeting::Aside(Box::pin(crate::console::serve(visit))),
                        Err((ended, line)) => refuse(&settings, peer, ended, Some(line)).await,
                    };
                }
                match admit::admit(&settings, &mut line, *login, peer).await {
                    Ok(admitted) => Greeting::Client(Box::new(admitted.seat(line))),
                    Err(ended) => refuse(&settings, peer, ended, Some(line)).await,
                }
            }
            Err((ended, line)) => refuse(&settings, peer, ended, line).await,
        }
    }

    async fn adopt(&self, client: HandedClient, registration: Registration) -> Result<Client<Postgres>, String> {
        adopt::adopt(&self.settings.load_full(), client, registration).await
    }
}

/// Tells the log, and a peer that can still be told.
async fn refuse(
    settings: &FrontendSettings,
    peer: Peer,
    ended: Ended,
    line: Option<reception::Line>,
) -> Greeting<Postgres> {
    ended.note(&settings.listener, peer);
    if let (Unwelcome::Told { words, .. }, Some(mut line)) = (&ended, line) {
        line.close_with(words).await;
    }
    ended.into()
}

/// Why a greeting does not end with a client.
type Ended = Unwelcome<Fatal>;

impl LastWords for Fatal {
    fn kind(&self) -> RefusalKind {
        match self.code.as_str() {
            "28P01" | "28000" => RefusalKind::Authentication,
            "42501" => RefusalKind::Denied,
            "53300" => RefusalKind::ClientLimit,
            "57P03" => RefusalKind::Open,
            "08P01" => RefusalKind::ProtocolViolation,
            "0A000" => RefusalKind::Unsupported,
            _ => RefusalKind::Other,
        }
    }

    fn summary(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.message),
            None => self.message.clone(),
        }
    }

    fn log(&self, listener: &str, peer: Peer, reason: &str) {
        info!(listener, %peer, sqlstate = self.code, reason, "login refused");
    }
}

impl From<&Refusal> for Fatal {
    fn from(why: &Refusal) -> Self {
        Fatal::from(refusals::fatal(why))
    }
}
