//! The declared listeners, bound: which frontend greets where.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tracing::{error, info};
use weir_config::model::{self, ListenerKind, ListenerTlsMode, Metadata};
use weir_core::{
    admin::{Console, Family},
    backend::Frontend,
    front::{
        Clients, Credentials, Endpoint, Listener, ListenerLimits, ListenerSettings, Trust, UserCounts, UsersDeclared,
    },
    limits,
    net::tls::ServerTls,
    settings::Origins,
};
use weir_mssql::{ListenerMaterial, MssqlFrontend, Passwords};
use weir_postgres::{PostgresFrontend, login::credentials::Verifiers};

use super::{certificates, sources::Sources};

/// Permission bits of a Unix socket's file: whoever may enter its folder may connect, as with PostgreSQL's own.
const SOCKET_MODE: u32 = 0o777;

/// All listeners that could be bound.
pub(super) struct Listeners {
    postgres: Vec<(String, Listener<PostgresFrontend>)>,
    mssql: Vec<(String, Listener<MssqlFrontend>)>,
    clients: Arc<Clients>,
}

impl Listeners {
    /// Binds every usable listener. One that cannot be bound is logged, and the others go on.
    pub(super) async fn bind(metadata: &Metadata, sources: &Sources, clients: Arc<Clients>) -> Self {
        for listener in &metadata.inconsistent_listeners {
            error!(
                listener = listener.name,
                reason = listener.reason,
                "listener not opened"
            );
        }
        let mut bound = Listeners {
            postgres: Vec::new(),
            mssql: Vec::new(),
            clients,
        };
        let reception = match Reception::new(metadata, sources, &bound.clients) {
            Ok(reception) => reception,
            Err(reason) => {
                error!(reason, "no listener opened");
                return bound;
            }
        };
        for listener in &metadata.listeners {
            let name = listener.name.clone();
            let clients = &bound.clients;
            let opened = match listener.kind {
                ListenerKind::Postgres => bind_postgres(listener, metadata, sources, &reception, clients)
                    .await
                    .map(|opened| bound.postgres.push((name, opened))),
                ListenerKind::Mssql => bind_mssql(listener, metadata, sources, &reception, clients)
                    .await
                    .map(|opened| bound.mssql.push((name, opened))),
            };
            if let Err(reason) = opened {
                error!(listener = listener.name, reason, "listener not opened");
            }
        }
        bound
    }

    /// Whether nobody could connect.
    pub(super) fn is_empty(&self) -> bool {
        self.postgres.is_empty() && self.mssql.is_empty()
    }

    /// The directory of all clients.
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Accepts on all of them until `stopping` ends.
    pub(super) fn serve(self, tasks: &mut JoinSet<()>, stopping: &watch::Receiver<()>) {
        for (name, listener) in self.postgres {
            accept(&name, listener, tasks, stopping);
        }
        for (name, listener) in self.mssql {
            accept(&name, listener, tasks, stopping);
        }
    }
}

fn accept<F: Frontend>(name: &str, listener: Listener<F>, tasks: &mut JoinSet<()>, stopping: &watch::Receiver<()>) {
    for bound in listener.bound() {
        info!(listener = name, address = %bound, "listening");
    }
    let mut stopping = stopping.clone();
    tasks.spawn(listener.serve(async move {
        // An error is the other end being dropped, which is the word to stop.
        while stopping.changed().await.is_ok() {}
    }));
}

/// What all listeners share: who may log in, and the console.
struct Reception {
    console: Arc<Console>,
    credentials: Arc<dyn Credentials>,
    declared: UsersDeclared,
    verifiers: Arc<Verifiers>,
    passwords: Arc<Passwords>,
    user_counts: Arc<UserCounts>,
}

impl Reception {
    fn new(metadata: &Metadata, sources: &Sources, clients: &Arc<Clients>) -> Result<Self, String> {
        let no_random = |error| format!("the system gives no random bytes: {error}");
        let verifiers = Verifiers::new().map_err(no_random)?;
        let passwords = Passwords::new().map_err(no_random)?;
        // Users are the same whatever they speak. An auth_query is asked only for the databases of its own source.
        let (credentials, declared) = weir_postgres::credentials(metadata, &verifiers);
        let families: Vec<Arc<dyn Family>> = vec![sources.postgres.clone(), sources.mssql.clone()];
        Ok(Reception {
            console: Console::new(families, clients.clone(), env!("CARGO_PKG_VERSION")),
            credentials,
            declared,
            verifiers,
            passwords,
            user_counts: Arc::default(),
        })
    }

    fn trust(&self, listener: &model::Listener) -> Trust {
        Trust::of(listener.trust_loopback, self.declared)
    }
}

async fn bind_postgres(
    listener: &model::Listener,
    metadata: &Metadata,
    sources: &Sources,
    reception: &Reception,
    clients: &Arc<Clients>,
) -> Result<Listener<PostgresFrontend>, String> {
    let tls = match &listener.tls {
        Some(tls) => Some(weir_postgres::FrontendTls {
            material: certificates::open(&listener.name, tls, ServerTls::new).await?,
            mode: tls.mode,
        }),
        None => None,
    };
    let frontend = PostgresFrontend::new(weir_postgres::FrontendSettings {
        listener: listener.name.as_str().into(),
        tls,
        trust: reception.trust(listener),
        credentials: reception.credentials.clone(),
        verifiers: reception.verifiers.clone(),
        user_counts: reception.user_counts.clone(),
        registry: sources.postgres.clone(),
        clients: clients.clone(),
        console: Some(reception.console.clone()),
    });
    let bound = Listener::bind(settings(listener, metadata), frontend, clients.clone()).await;
    bound.map_err(|error| error.to_string())
}

async fn bind_mssql(
    listener: &model::Listener,
    metadata: &Metadata,
    sources: &Sources,
    reception: &Reception,
    clients: &Arc<Clients>,
) -> Result<Listener<MssqlFrontend>, String> {
    let tls = match &listener.tls {
        Some(tls) => Some(weir_mssql::FrontendTls {
            material: certificates::open(&listener.name, tls, ListenerMaterial::new).await?,
            mode: tls.mode,
        }),
        None if listener.clear_text_only => None,
        None => Some(weir_mssql::FrontendTls {
            material: certificates::own(&listener.name).await?,
            // Passwords travel in clear inside of TLS.
            mode: match listener.is_loopback() {
                true => ListenerTlsMode::Optional,
                false => ListenerTlsMode::Required,
            },
        }),
    };
    let frontend = MssqlFrontend::new(weir_mssql::FrontendSettings {
        listener: listener.name.as_str().into(),
        tls,
        trust: reception.trust(listener),
        credentials: reception.credentials.clone(),
        passwords: reception.passwords.clone(),
        user_counts: reception.user_counts.clone(),
        registry: sources.mssql.clone(),
        clients: clients.clone(),
    });
    let bound = Listener::bind(settings(listener, metadata), frontend, clients.clone()).await;
    bound.map_err(|error| error.to_string())
}

fn settings(listener: &model::Listener, metadata: &Metadata) -> ListenerSettings {
    let mut endpoints = vec![Endpoint::Tcp {
        host: listener.host.clone(),
        port: listener.port,
    }];
    if let Some(folder) = &listener.unix_socket_dir {
        endpoints.push(Endpoint::Unix {
            path: folder.join(format!(".s.PGSQL.{}", listener.port)),
            mode: SOCKET_MODE,
        });
    }
    ListenerSettings {
        name: listener.name.as_str().into(),
        endpoints,
        proxy_protocol: listener.proxy_protocol,
        max_half_open: limits::MAX_HALF_OPEN,
        limits: client_limits(listener, metadata),
    }
}

/// The listener's own limit and the one for everything, and where each is set.
fn client_limits(listener: &model::Listener, metadata: &Metadata) -> ListenerLimits {
    const KEY: &str = "max_client_connections";
    let origins = [(KEY, &listener.origins), ("max_clients_in_all", &metadata.origins)];
    let origins = origins.map(|(name, origins)| (name.to_owned(), origins.of(KEY).to_owned()));
    ListenerLimits {
        max_client_connections: listener.max_client_connections,
        max_clients_in_all: metadata.max_client_connections,
        origins: Origins(Arc::new(origins.into())),
        ..ListenerLimits::default()
    }
}
