//! The declared listeners, bound: which frontend greets where.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{error, info};
use weir_config::{
    Problem,
    model::{self, ListenerKind, Metadata},
};
use weir_core::{
    admin::{Console, UserView},
    backend::Frontend,
    front::{
        Clients, Credentials, Doors, Endpoint, HandedDoor, Inheritance, Listener, ListenerLimits, ListenerSettings,
        Trust, UserCounts, UsersDeclared,
    },
    limits,
    settings::Origins,
};
use weir_mssql::{MssqlFrontend, Passwords};
use weir_postgres::{PostgresFrontend, login::credentials::Verifiers};

use super::{
    listener_tls::{self, Renewal, Tls},
    sources::Sources,
    takeover::Annexes,
};

/// Permission bits of a Unix socket's file: whoever may enter its folder may connect, as with PostgreSQL's own.
const SOCKET_MODE: u32 = 0o777;

/// All listeners that could be bound.
pub(super) struct Listeners {
    open: Vec<Open>,
    /// Those that could not be opened, and why.
    closed: Vec<Problem>,
    reception: Reception,
    clients: Arc<Clients>,
    /// Told when certificates may have changed.
    looks: watch::Sender<()>,
    /// Where clients of a predecessor may come to.
    annexes: Arc<Annexes>,
}

/// A listener that is bound.
struct Open {
    declared: model::Listener,
    front: Front,
    limits: Arc<ArcSwap<ListenerLimits>>,
    doors: Doors,
    state: State,
}

/// Whether it accepts yet.
enum State {
    Bound(Box<Bound>),
    Serving {
        /// Dropped, it ends.
        stop: watch::Sender<()>,
        task: JoinHandle<()>,
    },
}

enum Bound {
    Postgres(Listener<PostgresFrontend>),
    Mssql(Listener<MssqlFrontend>),
}

/// Who greets, and with which certificate.
enum Front {
    Postgres(Arc<PostgresFrontend>, Option<weir_postgres::FrontendTls>),
    Mssql(Arc<MssqlFrontend>, Option<weir_mssql::FrontendTls>),
}

impl Listeners {
    /// Binds every usable listener, with the sockets of a predecessor where they fit. One that cannot be bound is logged,
    /// and the others go on.
    ///
    /// # Errors
    /// Why none can be opened at all.
    pub(super) async fn bind(
        metadata: &Metadata,
        sources: &Sources,
        clients: Arc<Clients>,
        console: Arc<Console>,
        inherited: &Inheritance,
    ) -> Result<Self, String> {
        let reception = Reception::new(metadata, console)?;
        let mut listeners = Listeners {
            open: Vec::new(),
            closed: Vec::new(),
            reception,
            clients,
            looks: watch::channel(()).0,
            annexes: Arc::default(),
        };
        log_inconsistent(metadata);
        for declared in &metadata.listeners {
            listeners.bind_one(declared, metadata, sources, inherited).await;
        }
        Ok(listeners)
    }

    /// Whether the listener of this name is open.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|open| open.declared.name == name)
    }

    /// The sockets of all of them, for a successor.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub(super) fn hand_over(&self) -> io::Result<Vec<HandedDoor>> {
        let mut doors = Vec::new();
        for open in &self.open {
            doors.extend(open.doors.hand_over()?);
        }
        Ok(doors)
    }

    /// A successor accepts on the sockets now: stops accepting, and leaves everything where it is.
    pub(super) async fn give_up(&mut self) {
        self.open.iter().for_each(|open| open.doors.relinquish());
        for open in std::mem::take(&mut self.open) {
            open.stop().await;
        }
    }

    /// Whether nobody could connect.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Those that are declared rightly and could not be opened, each with the reason.
    pub(super) fn closed(&self) -> Vec<Problem> {
        self.closed.clone()
    }

    /// Tries to open those again.
    pub(super) async fn retry(&mut self, metadata: &Metadata, sources: &Sources) {
        self.bind_missing(metadata, sources).await;
        self.serve();
    }

    async fn bind_missing(&mut self, metadata: &Metadata, sources: &Sources) {
        self.closed.clear();
        for declared in &metadata.listeners {
            if !self.open.iter().any(|open| open.declared.name == declared.name) {
                self.bind_one(declared, metadata, sources, &Inheritance::default())
                    .await;
            }
        }
    }

    /// Where clients of a predecessor may come to.
    pub(super) fn annexes(&self) -> Arc<Annexes> {
        self.annexes.clone()
    }

    /// The directory of all clients.
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Accepts on all of them.
    pub(super) fn serve(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.open = open.into_iter().map(Open::serve).collect();
    }

    /// Certificates in files may have changed: they are read again.
    pub(super) fn look_at_certificates(&self) {
        // Nobody listens where no certificate is in a file.
        let _ = self.looks.send(());
    }

    /// Makes what of new metadata may fail and must not: TLS of the listeners that are open.
    ///
    /// # Errors
    /// What cannot be made, and why. Then the metadata must not be applied.
    pub(super) async fn prepare(&self, metadata: &Metadata) -> Result<Renewal, Vec<Problem>> {
        let changed = self.open.iter().filter_map(|open| {
            let declared = still_declared(open, metadata)?;
            listener_tls::is_changed(&open.declared, declared).then_some(declared)
        });
        Renewal::prepare(changed, &self.looks).await
    }

    /// Makes what is declared now of what was declared before. A listener whose place has not changed goes on accepting:
    /// its users, limits and certificate are what is declared now.
    pub(super) async fn reload(&mut self, metadata: &Metadata, mut renewal: Renewal, sources: &Sources) {
        self.reception.renew(metadata);
        log_inconsistent(metadata);
        for open in std::mem::take(&mut self.open) {
            match still_declared(&open, metadata) {
                Some(declared) => {
                    let tls = renewal.take(&declared.name);
                    let open = self.renew(open, declared, tls, metadata, sources);
                    self.open.push(open);
                }
                None => {
                    self.annexes.close(&open.declared.name);
                    open.stop().await;
                }
            }
        }
        self.bind_missing(metadata, sources).await;
        self.serve();
    }

    /// Stops accepting, and resolves when the places are free again.
    pub(super) async fn stop(self) {
        for open in self.open {
            open.stop().await;
        }
    }

    async fn bind_one(
        &mut self,
        declared: &model::Listener,
        metadata: &Metadata,
        sources: &Sources,
        inherited: &Inheritance,
    ) {
        match self.try_bind(declared, metadata, sources, inherited).await {
            Ok(open) => self.open.push(open),
            Err(reason) => {
                error!(listener = declared.name, reason, "listener not opened");
                self.closed.push(listener_tls::problem(declared, reason));
            }
        }
    }

    async fn try_bind(
        &self,
        declared: &model::Listener,
        metadata: &Metadata,
        sources: &Sources,
        inherited: &Inheritance,
    ) -> Result<Open, String> {
        let settings = settings(declared, metadata);
        let clients = self.clients.clone();
        let (front, bound, limits, doors) = match declared.kind {
            ListenerKind::Postgres => {
                let tls = listener_tls::postgres(declared, &self.looks).await?;
                let frontend = PostgresFrontend::new(self.postgres(declared, tls.clone(), sources));
                let bound = Listener::inherit(settings, frontend.clone(), clients, inherited).await;
                let bound = bound.map_err(|error| error.to_string())?;
                let (limits, doors) = (bound.limits(), bound.doors());
                self.annexes.open(&declared.name, bound.annex());
                (Front::Postgres(frontend, tls), Bound::Postgres(bound), limits, doors)
            }
            ListenerKind::Mssql => {
                let tls = listener_tls::mssql(declared, &self.looks).await?;
                let frontend = MssqlFrontend::new(self.mssql(declared, tls.clone(), sources));
                let bound = Listener::inherit(settings, frontend.clone(), clients, inherited).await;
                let bound = bound.map_err(|error| error.to_string())?;
                let (limits, doors) = (bound.limits(), bound.doors());
                self.annexes.open(&declared.name, bound.annex());
                (Front::Mssql(frontend, tls), Bound::Mssql(bound), limits, doors)
            }
        };
        Ok(Open {
            declared: declared.clone(),
            front,
            limits,
            doors,
            state: State::Bound(Box::new(bound)),
        })
    }

    /// The same place, as it is declared now. `new` is its TLS, where that is declared anew.
    fn renew(
        &self,
        mut open: Open,
        declared: &model::Listener,
        new: Option<Tls>,
        metadata: &Metadata,
        sources: &Sources,
    ) -> Open {
        match &mut open.front {
            Front::Postgres(frontend, tls) => {
                if let Some(Tls::Postgres(new)) = new {
                    *tls = new;
                }
                frontend.replace(self.postgres(declared, tls.clone(), sources));
            }
            Front::Mssql(frontend, tls) => {
                if let Some(Tls::Mssql(new)) = new {
                    *tls = new;
                }
                frontend.replace(self.mssql(declared, tls.clone(), sources));
            }
        }
        open.limits.store(Arc::new(client_limits(declared, metadata)));
        open.declared = declared.clone();
        open
    }

    fn postgres(
        &self,
        declared: &model::Listener,
        tls: Option<weir_postgres::FrontendTls>,
        sources: &Sources,
    ) -> weir_postgres::FrontendSettings {
        let reception = &self.reception;
        weir_postgres::FrontendSettings {
            listener: declared.name.as_str().into(),
            tls,
            trust: reception.trust(declared),
            credentials: reception.credentials.clone(),
            verifiers: reception.verifiers.clone(),
            user_counts: reception.user_counts.clone(),
            registry: sources.postgres.clone(),
            clients: self.clients.clone(),
            console: Some(reception.console.clone()),
        }
    }

    fn mssql(
        &self,
        declared: &model::Listener,
        tls: Option<weir_mssql::FrontendTls>,
        sources: &Sources,
    ) -> weir_mssql::FrontendSettings {
        let reception = &self.reception;
        weir_mssql::FrontendSettings {
            listener: declared.name.as_str().into(),
            tls,
            trust: reception.trust(declared),
            credentials: reception.credentials.clone(),
            passwords: reception.passwords.clone(),
            user_counts: reception.user_counts.clone(),
            registry: sources.mssql.clone(),
            clients: self.clients.clone(),
            console: Some(reception.console.clone()),
        }
    }
}

impl Open {
    /// The same, accepting.
    fn serve(self) -> Self {
        let name = &self.declared.name;
        let (stop, stopping) = watch::channel(());
        let state = match self.state {
            State::Bound(bound) => {
                let task = match *bound {
                    Bound::Postgres(listener) => accept(name, listener, stopping),
                    Bound::Mssql(listener) => accept(name, listener, stopping),
                };
                State::Serving { stop, task }
            }
            already @ State::Serving { .. } => already,
        };
        Open { state, ..self }
    }

    async fn stop(self) {
        if let State::Serving { stop, task } = self.state {
            drop(stop);
            // A task that panicked has closed its sockets as well.
            let _ = task.await;
        }
    }
}

fn accept<F: Frontend>(name: &str, listener: Listener<F>, mut stopping: watch::Receiver<()>) -> JoinHandle<()> {
    for bound in listener.bound() {
        info!(listener = name, address = %bound, "listening");
    }
    tokio::spawn(listener.serve(async move {
        // An error is the other end being dropped, which is the word to stop.
        while stopping.changed().await.is_ok() {}
    }))
}

/// What is declared now of a listener that is open, if it stays where it is.
fn still_declared<'a>(open: &Open, metadata: &'a Metadata) -> Option<&'a model::Listener> {
    let mut listeners = metadata.listeners.iter();
    listeners.find(|declared| is_same_place(declared, &open.declared))
}

/// Whether the sockets of the one serve the other.
fn is_same_place(one: &model::Listener, other: &model::Listener) -> bool {
    one.name == other.name
        && one.kind == other.kind
        && one.host == other.host
        && one.port == other.port
        && one.unix_socket_dir == other.unix_socket_dir
        && one.proxy_protocol == other.proxy_protocol
}

fn log_inconsistent(metadata: &Metadata) {
    for listener in &metadata.inconsistent_listeners {
        error!(
            listener = listener.name,
            reason = listener.reason,
            "listener not opened"
        );
    }
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
    fn new(metadata: &Metadata, console: Arc<Console>) -> Result<Self, String> {
        let no_random = |error| format!("the system gives no random bytes: {error}");
        let verifiers = Verifiers::new().map_err(no_random)?;
        let passwords = Passwords::new().map_err(no_random)?;
        // Users are the same whatever they speak. An auth_query is asked only for the databases of its own source.
        let (credentials, declared) = weir_postgres::credentials(metadata, &verifiers);
        console.declare_users(users(metadata));
        Ok(Reception {
            console,
            credentials,
            declared,
            verifiers,
            passwords,
            user_counts: Arc::default(),
        })
    }

    /// Users as they are declared now. What is counted, and the secrets of exchanges with users that do not exist, stay.
    fn renew(&mut self, metadata: &Metadata) {
        (self.credentials, self.declared) = weir_postgres::credentials(metadata, &self.verifiers);
        self.console.declare_users(users(metadata));
    }

    fn trust(&self, listener: &model::Listener) -> Trust {
        Trust::of(listener.trust_loopback, self.declared)
    }
}

/// As the console shows them.
fn users(metadata: &Metadata) -> Vec<UserView> {
    let users = metadata.users.iter();
    users
        .map(|user| UserView {
            name: user.name.clone(),
            role: user.role.clone(),
            pool_mode: user.pool_mode,
            max_connections: user.max_connections,
            max_client_connections: user.max_client_connections,
        })
        .collect()
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
