//! The declared listeners, bound: which frontend greets where.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tracing::{error, info};
use weir_config::model::{self, ListenerKind, Metadata};
use weir_core::{
    admin::{Console, Family},
    front::{Clients, Endpoint, Listener, ListenerLimits, ListenerSettings},
    limits,
    settings::Origins,
};
use weir_postgres::{
    FrontendSettings, PostgresFrontend, Trust, UsersDeclared,
    login::credentials::{Credentials, UserCounts, Verifiers},
};

use super::{certificates, sources::Sources};

/// Permission bits of a Unix socket's file: whoever may enter its folder may connect, as with PostgreSQL's own.
const SOCKET_MODE: u32 = 0o777;

/// All listeners that could be bound.
pub(super) struct Listeners {
    postgres: Vec<(String, Listener<PostgresFrontend>)>,
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
            let opened = match listener.kind {
                ListenerKind::Postgres => bind_postgres(listener, metadata, sources, &reception, &bound.clients).await,
                ListenerKind::Mssql => Err(weir_mssql::NOT_SERVED.to_owned()),
            };
            match opened {
                Ok(opened) => bound.postgres.push((listener.name.clone(), opened)),
                Err(reason) => error!(listener = listener.name, reason, "listener not opened"),
            }
        }
        bound
    }

    /// Whether nobody could connect.
    pub(super) fn is_empty(&self) -> bool {
        self.postgres.is_empty()
    }

    /// The directory of all clients.
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Accepts on all of them until `stopping` ends.
    pub(super) fn serve(self, tasks: &mut JoinSet<()>, stopping: &watch::Receiver<()>) {
        for (name, listener) in self.postgres {
            for bound in listener.bound() {
                info!(listener = name, address = %bound, "listening");
            }
            let mut stopping = stopping.clone();
            tasks.spawn(listener.serve(async move {
                // An error is the other end being dropped, which is the word to stop.
                while stopping.changed().await.is_ok() {}
            }));
        }
    }
}

/// What all listeners share: who may log in, and the console.
struct Reception {
    console: Arc<Console>,
    credentials: Arc<dyn Credentials>,
    declared: UsersDeclared,
    verifiers: Arc<Verifiers>,
    user_counts: Arc<UserCounts>,
}

impl Reception {
    fn new(metadata: &Metadata, sources: &Sources, clients: &Arc<Clients>) -> Result<Self, String> {
        let verifiers = Verifiers::new().map_err(|error| format!("the system gives no random bytes: {error}"))?;
        let (credentials, declared) = weir_postgres::credentials(metadata, &verifiers);
        let families: Vec<Arc<dyn Family>> = vec![sources.postgres.clone()];
        Ok(Reception {
            console: Console::new(families, clients.clone(), env!("CARGO_PKG_VERSION")),
            credentials,
            declared,
            verifiers,
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
        Some(tls) => Some(certificates::open(&listener.name, tls).await?),
        None => None,
    };
    let frontend = PostgresFrontend::new(FrontendSettings {
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
