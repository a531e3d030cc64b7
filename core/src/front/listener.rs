//! One listener: accepts peers, lets its frontend greet them, and has them served.
//!
//! Invariants: what is not yet a client is bounded in number (half-open limit), time (login deadline) and bytes (the
//! gate); a task that panics ends its own client and nobody else's; a peer beyond the client limit is told so in its own
//! protocol. Knows no protocol: the [`Frontend`] speaks.

use std::{
    any::Any,
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tracing::{debug, error, info, warn};

use super::{
    Annex, BindError, Bound, Client, Clients, Endpoint, Greeting, HandedClient, HandedDoor, Inheritance, Life,
    LoginGate,
    doors::{self, Door},
    places::{Places, Taken},
    proxy_protocol,
};
use crate::{
    backend::{Backend, Frontend},
    clock::{self, Instant},
    limits,
    net::{Peer, Socket},
    observe::{self, LoginReport, Logins, RefusalKind},
    refusal::{Limit, Refusal},
    relay,
    settings::Origins,
};

/// What a listener is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Where to listen; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Whether every connection starts with a PROXY protocol header (`proxy_protocol`). Then nobody counts as local.
    pub proxy_protocol: bool,
    /// Peers that are greeted at a time; beyond it the kernel's queue waits. At least 1.
    pub max_half_open: usize,
    /// What may change while it runs.
    pub limits: ListenerLimits,
}

/// The part of a listener's settings that applies from the next connection on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections of clients, those that are logging in included. `None`: no limit.
    pub max_client_connections: Option<u32>,
    /// The same over all listeners that share a directory of clients. `None`: no limit.
    pub max_clients_in_all: Option<u32>,
    /// From accept to a finished login.
    pub login_timeout: Duration,
    /// Where each was set.
    pub origins: Origins,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerLimits {
            max_client_connections: None,
            max_clients_in_all: None,
            login_timeout: limits::LOGIN_TIMEOUT,
            origins: Origins::default(),
        }
    }
}

/// A listener that is bound; the kernel queues connections until [`Listener::serve`].
pub struct Listener<F> {
    doors: Vec<Arc<Door>>,
    bound: Vec<Bound>,
    hall: Arc<Hall<F>>,
}

/// What the tasks of a listener share.
struct Hall<F> {
    name: Arc<str>,
    frontend: Arc<F>,
    clients: Arc<Clients>,
    logins: Arc<Logins>,
    proxy_protocol: bool,
    limits: Arc<ArcSwap<ListenerLimits>>,
    half_open: Arc<Semaphore>,
    /// Places for clients that are taken.
    taken: Arc<Places>,
    /// Times that the half-open limit was reached, for the log: not each one is told.
    crowded: AtomicUsize,
}

/// How much longer than its own deadline a frontend may take, to say why it ends.
const GRACE: Duration = Duration::from_secs(1);

/// How long the sender of a cancel request is kept waiting for it to be dealt with. Longer than a source's
/// `cancel_wait`, after which the server connection is closed and the request has become void.
const CANCEL_HOLD: Duration = Duration::from_secs(15);

/// Pause after an accept that failed for want of files or memory: soon enough when somebody leaves, rare enough not to
/// burn a core until then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl<F: Frontend> Listener<F> {
    /// Binds all endpoints, or none. The frontend may be shared with other listeners, `clients` is for all of them.
    ///
    /// # Errors
    /// Names the place, the reason and what to do.
    pub async fn bind(settings: ListenerSettings, frontend: Arc<F>, clients: Arc<Clients>) -> Result<Self, BindError> {
        Listener::inherit(settings, frontend, clients, &Inheritance::default()).await
    }

    /// The same, with the sockets of a predecessor where they fit.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn inherit(
        settings: ListenerSettings,
        frontend: Arc<F>,
        clients: Arc<Clients>,
        inherited: &Inheritance,
    ) -> Result<Self, BindError> {
        let mut all = Vec::new();
        for endpoint in &settings.endpoints {
            let doors = doors::open(endpoint, &settings.name, inherited).await?;
            all.extend(doors.into_iter().map(Arc::new));
        }
        // Each socket waits for its next peer with a place in hand: those of the others are not to be missing where all
        // peers come to one. Where they come to several, there may be one more for each of these others.
        let others = all.len().saturating_sub(1);
        let half_open = settings.max_half_open.max(1).saturating_add(others);
        let half_open = half_open.min(Semaphore::MAX_PERMITS);
        let bound = all.iter().map(|door| door.bound()).collect::<io::Result<_>>();
        let bound = bound.map_err(|reason| BindError {
            place: settings.name.to_string(),
            reason,
        })?;
        Ok(Listener {
            doors: all,
            bound,
            hall: Arc::new(Hall {
                logins: clients.logins(&settings.name),
                name: settings.name,
                frontend,
                clients,
                proxy_protocol: settings.proxy_protocol,
                limits: Arc::new(ArcSwap::from_pointee(settings.limits)),
                half_open: Arc::new(Semaphore::new(half_open)),
                taken: Arc::default(),
                crowded: AtomicUsize::new(0),
            }),
        })
    }

    /// What it listens on, in the order of the endpoints.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Its sockets, for a successor.
    pub fn doors(&self) -> Doors {
        Doors {
            listener: self.hall.name.clone(),
            doors: self.doors.iter().map(Arc::downgrade).collect(),
        }
    }

    /// The listener as the place to which clients of a predecessor come.
    pub fn annex(&self) -> Arc<dyn Annex> {
        self.hall.clone()
    }

    /// Its limits, to be replaced while it runs; who is connected stays.
    pub fn limits(&self) -> Arc<ArcSwap<ListenerLimits>> {
        self.hall.limits.clone()
    }

    /// Accepts until `shutdown` resolves. Then the sockets are closed (and socket files removed) at once; who is
    /// connected stays: see [`super::drain`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut loops = JoinSet::new();
        for door in self.doors {
            loops.spawn(self.hall.clone().accept_all(door));
        }
        shutdown.await;
        // Ends the loops where they wait, and waits until their sockets are closed.
        loops.shutdown().await;
        info!(listener = &*self.hall.name, "no longer listening");
    }
}

/// The sockets of a listener, for as long as it listens.
#[derive(Clone, Debug)]
pub struct Doors {
    listener: Arc<str>,
    doors: Vec<Weak<Door>>,
}

impl Doors {
    /// The same sockets for a successor. Both listen from then on.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn hand_over(&self) -> io::Result<Vec<HandedDoor>> {
        let doors = self.doors.iter().filter_map(Weak::upgrade);
        doors.map(|door| door.hand_over(self.listener.clone())).collect()
    }

    /// The successor has them: the files of Unix sockets stay when the listener ends here.
    pub fn relinquish(&self) {
        let doors = self.doors.iter().filter_map(Weak::upgrade);
        doors.for_each(|door| door.relinquish());
    }
}

impl<F: Frontend> Hall<F> {
    async fn accept_all(self: Arc<Self>, door: Arc<Door>) {
        let mut failures = 0_u32;
        loop {
            // First, and nothing waits between accept and spawn: whoever was accepted is served, even if the loop ends.
            let place = self.half_open().await;
            match door.accept().await {
                Ok((socket, peer)) => {
                    if failures > 0 {
                        info!(listener = &*self.name, failures, "accepting connections again");
                        failures = 0;
                    }
                    tokio::spawn(self.clone().connection(socket, peer, place));
                }
                // The peer has gone before it was accepted.
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    if failures == 0 {
                        let hint = "if it says \"too many open files\", raise the limit (ulimit -n, LimitNOFILE=)";
                        error!(listener = &*self.name, %error, hint, "cannot accept connections; trying on");
                    }
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits for a place among the half-open connections. Waiting rather than refusing: the login deadline frees places
    /// without fail, and whoever queues in the kernel meanwhile gets its turn.
    async fn half_open(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.half_open.clone().try_acquire_owned() {
            self.crowded.store(0, Ordering::Relaxed);
            return place;
        }
        if self.crowded.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                listener = &*self.name,
                "too many connections that have not logged in; new ones wait until others log in or time out"
            );
        }
        let place = self.half_open.clone().acquire_owned().await;
        place.expect("the semaphore is never closed")
    }

    /// The life of one connection. The futures of its stages are boxed and dropped one after another, so that an idle
    /// client does not carry the memory of its login.
    async fn connection(self: Arc<Self>, socket: Socket, peer: Peer, half_open: OwnedSemaphorePermit) {
        let (place, refusal) = match self.take_place() {
            Ok(place) => (Some(place), None),
            Err(why) => (None, Some(why)),
        };
        let began = clock::now();
        let greeting = catch(Box::pin(self.greet(socket, peer, refusal))).await;
        self.note(&greeting, began);
        match greeting {
            Ok(Greeting::Client(_) | Greeting::Aside(_)) if place.is_none() => {
                error!(
                    listener = &*self.name,
                    "bug in Weir: a client without a place was let in; it is closed"
                );
            }
            // In a task of its own: the one of the login is larger, and each level of futures is paid for in each poll.
            Ok(Greeting::Client(client)) => {
                tokio::spawn(async move {
                    let _place = place;
                    serve_client(client).await;
                });
            }
            Ok(Greeting::Aside(life)) => {
                drop(half_open);
                if let Err(panic) = catch(Box::pin(life)).await {
                    error!(
                        listener = &*self.name,
                        panic = reason(&*panic),
                        "bug in Weir: the console panicked; its connection is closed, others are not affected"
                    );
                }
            }
            Ok(Greeting::Cancel { id, secret, socket }) => {
                drop(place);
                // Whether it was dealt with in time or not, all that can be said is the end of the stream.
                let _ = tokio::time::timeout(CANCEL_HOLD, self.clients.cancel(id, &secret)).await;
                drop(socket);
            }
            Ok(Greeting::Refused(_) | Greeting::Nothing) => {}
            Err(panic) => error!(
                listener = &*self.name,
                panic = reason(&*panic),
                "bug in Weir: a login panicked; its connection is closed, others are not affected"
            ),
        }
    }

    /// Counts what became of a login.
    fn note<E>(&self, greeting: &Result<Greeting<F::Backend>, E>, began: Instant) {
        match greeting {
            Ok(Greeting::Client(_) | Greeting::Aside(_)) => {
                let took = began.elapsed();
                self.logins.accepted(took);
                self.report(began, took, None);
            }
            Ok(Greeting::Cancel { .. }) => self.logins.cancel(),
            Ok(Greeting::Refused(why)) => {
                self.logins.refused(*why);
                self.report(began, began.elapsed(), Some(*why));
            }
            Ok(Greeting::Nothing) | Err(_) => self.logins.broken_off(),
        }
    }

    fn report(&self, began: Instant, took: Duration, refused: Option<RefusalKind>) {
        observe::login(|| LoginReport {
            listener: self.name.clone(),
            began,
            took,
            refused,
        });
    }

    async fn greet(&self, socket: Socket, peer: Peer, refusal: Option<Refusal>) -> Greeting<F::Backend> {
        let mut gate = LoginGate::new(self.limits.load().login_timeout);
        if let Some(why) = refusal {
            gate = gate.refusing(why);
        }
        let deadline = gate.deadline() + GRACE;
        let greeting = tokio::time::timeout_at(deadline.into(), self.greet_within(socket, gate)).await;
        greeting.unwrap_or_else(|_| {
            debug!(
                listener = &*self.name,
                %peer,
                "login cut at its deadline"
            );
            Greeting::Nothing
        })
    }

    async fn greet_within(&self, socket: Socket, gate: LoginGate) -> Greeting<F::Backend> {
        if !self.proxy_protocol {
            return self.frontend.greet(socket, gate).await;
        }
        let proxy = socket.peer().ok();
        match gate.within(proxy_protocol::unwrap(socket)).await {
            Ok(Ok(socket)) => self.frontend.greet(socket, gate).await,
            Ok(Err(error)) => {
                warn!(listener = &*self.name, proxy = proxy.map(display), %error, "closed: proxy_protocol is set for this listener");
                Greeting::Nothing
            }
            Err(_) => Greeting::Nothing,
        }
    }

    /// Takes one of the places for clients, or says why there is none. Places are taken at accept, so that two logins
    /// cannot both get the last one.
    fn take_place(&self) -> Result<Place, Refusal> {
        let limits = self.limits.load();
        let own = Places::take(&self.taken, limits.max_client_connections)
            .map_err(|most| client_limit(most, limits.origins.of("max_client_connections")))?;
        let of_all = Places::take(self.clients.places(), limits.max_clients_in_all)
            .map_err(|most| client_limit(most, limits.origins.of("max_clients_in_all")))?;
        Ok(Place {
            _own: own,
            _of_all: of_all,
        })
    }
}

impl<F: Frontend> Annex for Hall<F> {
    fn take_in(self: Arc<Self>, client: HandedClient) -> Pin<Box<dyn Future<Output = Result<Life, String>> + Send>> {
        Box::pin(async move {
            let place = self.take_place().map_err(|why| why.to_string())?;
            let registration = self.clients.register_as(client.id, client.secret.clone());
            let registration = registration.map_err(|_| "its id is somebody else's here".to_owned())?;
            let adopted = catch(Box::pin(self.frontend.adopt(client, registration))).await;
            let client = Box::new(adopted.map_err(|panic| format!("bug in Weir: {}", reason(&*panic)))??);
            let life: Life = Box::pin(async move {
                let _place = place;
                serve_client(client).await;
            });
            Ok(life)
        })
    }
}

/// The life of a client; a panic ends it and nobody else's.
async fn serve_client<B: Backend>(client: Box<Client<B>>) {
    let identity = client.identity.clone();
    if let Err(panic) = catch(Box::pin(relay::serve(*client))).await {
        error!(
            listener = &*identity.listener,
            user = &*identity.user,
            source = &*identity.source,
            peer = %identity.peer,
            panic = reason(&*panic),
            "bug in Weir: a client's task panicked; its connection is closed, others are not affected"
        );
    }
}

fn client_limit(most: u32, set_in: &str) -> Refusal {
    Refusal::ClientLimit(Limit {
        name: "max_client_connections",
        value: most.to_string(),
        set_in: set_in.to_owned(),
    })
}

/// A client's place on its listener, and among the clients of all listeners.
struct Place {
    _own: Taken,
    _of_all: Taken,
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Runs a future to its end, or to its panic. What it owned is dropped in both cases: a lease that is dropped closes its
/// server connection (I2), so nothing half-done is ever reused.
async fn catch<T>(mut future: Pin<Box<impl Future<Output = T>>>) -> Result<T, Box<dyn Any + Send>> {
    let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await;
    drop(future);
    outcome
}

/// What a panic said, where it is text.
fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
