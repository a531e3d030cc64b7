//! Listeners over real sockets, with a frontend of one-byte messages in front of the toy backend.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};
use weir_core::{
    backend::{Backend, Frontend, Opened},
    front::{
        self, BindError, Bound, Client, Clients, Endpoint, Grant, Greeting, Identity, Listener, ListenerLimits,
        ListenerSettings, LoginGate, Terms,
    },
    net::Socket,
    observe::RefusalKind,
    pool::Pool,
    refusal::{OpenError, Refusal},
    registry::{Route, Source, SourceParts, Target},
    settings::{Origins, PoolSettings, ReplicaRouting, Timeouts},
    testing::{
        toy::{Session, Talk, Toy, request},
        toy_server::{Database, KillSwitch},
    },
};

/// A generous bound on hangs, not a measurement.
const HANG: Duration = Duration::from_secs(20);
/// Long enough for something that must not happen to happen.
const MOMENT: Duration = Duration::from_millis(150);

/// The toy with clients on sockets.
struct Wired(Toy);

impl Backend for Wired {
    const KIND: &'static str = "toy";
    type ClientIo = Trap;
    type ServerIo = DuplexStream;
    type Session = Session;
    type Dialogue = Talk;
    type Profile = ();
    type CancelKey = KillSwitch;

    async fn open(&self, profile: &()) -> Result<Opened<Self>, OpenError> {
        let opened = self.0.open(profile).await?;
        Ok(Opened {
            io: opened.io,
            session: opened.session,
            cancel_key: opened.cancel_key,
        })
    }

    async fn cancel(&self, key: &KillSwitch) -> Result<(), OpenError> {
        self.0.cancel(key).await
    }
}

/// A client's socket; one that is armed panics when it is read.
struct Trap {
    socket: Socket,
    armed: bool,
}

impl AsyncRead for Trap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        assert!(!self.armed, "the trap of a test");
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Trap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// `H` logs in and gets `W id secret`; `X` too, into a trap; `C id secret` cancels; `?` asks for the peer's address;
/// `P` makes the frontend panic; `Z` makes it ignore the deadline. Words of the frontend are `R` and text.
struct Words {
    source: Arc<Source<Wired>>,
    clients: Arc<Clients>,
}

impl Frontend for Words {
    type Backend = Wired;

    async fn greet(&self, mut socket: Socket, mut gate: LoginGate) -> Greeting<Wired> {
        let first = match gate.within(socket.read_u8()).await {
            Ok(Ok(first)) => first,
            Ok(Err(_)) => return Greeting::Nothing,
            Err(closed) => {
                let why = Refusal::from(closed);
                say(&mut socket, &why).await;
                return Greeting::Refused((&why).into());
            }
        };
        gate.count(1).expect("one byte is not too much");
        match (first, gate.refusal()) {
            (b'C', _) => {
                let id = socket.read_u32().await.expect("an id");
                let mut secret = vec![0; 8];
                socket.read_exact(&mut secret).await.expect("a secret");
                Greeting::Cancel {
                    id,
                    secret,
                    socket: Box::new(socket),
                }
            }
            (_, Some(why)) => {
                say(&mut socket, why).await;
                Greeting::Refused(why.into())
            }
            (b'?', None) => {
                let peer = socket.peer().expect("connected");
                let text = format!("R{peer} loopback={}", peer.is_loopback());
                socket.write_all(text.as_bytes()).await.expect("the test reads");
                Greeting::Nothing
            }
            (b'P', None) => panic!("the frontend of a test"),
            (b'Z', None) => std::future::pending().await,
            (first, None) => Greeting::Client(Box::new(self.log_in(socket, first == b'X').await)),
        }
    }
}

async fn say(socket: &mut Socket, why: &Refusal) {
    let text = match why {
        Refusal::ClientLimit(limit) | Refusal::LoginLimit(limit) => limit.to_string(),
        other => format!("{other:?}"),
    };
    // A peer that has gone needs no words.
    let _ = socket.write_all(format!("R{text}").as_bytes()).await;
}

impl Words {
    async fn log_in(&self, mut socket: Socket, armed: bool) -> Client<Wired> {
        let registration = self.clients.register(8).expect("room");
        let mut welcome = vec![b'W'];
        welcome.extend(registration.id().to_be_bytes());
        welcome.extend(registration.secret());
        socket.write_all(&welcome).await.expect("the test reads");
        let peer = socket.peer().expect("connected");
        let count = self.source.admit().expect("any number");
        let route = Route::new(self.source.clone(), Target::Default, count);
        let terms = Terms::new(&route, Arc::new(Grant::everything()), None);
        Client {
            io: Trap { socket, armed },
            read_ahead: BytesMut::new(),
            dialogue: Talk,
            route,
            profile: (),
            terms,
            registration,
            identity: Identity {
                listener: "test".into(),
                user: "somebody".into(),
                source: "toys".into(),
                peer,
                encrypted: false,
                application_name: "".into(),
            },
        }
    }
}

/// A listener that runs.
struct Running {
    bound: Vec<Bound>,
    clients: Arc<Clients>,
    database: Arc<Database>,
    limits: Arc<arc_swap::ArcSwap<ListenerLimits>>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

fn settings() -> ListenerSettings {
    ListenerSettings {
        name: "test".into(),
        endpoints: vec![Endpoint::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        }],
        proxy_protocol: false,
        max_half_open: 100,
        limits: ListenerLimits::default(),
    }
}

fn frontend() -> (Arc<Words>, Arc<Clients>, Arc<Database>) {
    let (database, clients) = (Arc::new(Database::default()), Clients::new());
    let name: Arc<str> = "toys".into();
    let backend = Arc::new(Wired(Toy(database.clone())));
    let source = Source::new(
        name.clone(),
        SourceParts {
            database_names: vec![],
            primary: Pool::new(name, "primary", backend, PoolSettings::default()),
            replicas: vec![],
            named: vec![],
            replica_routing: ReplicaRouting::None,
            timeouts: Timeouts::default(),
            max_client_connections: None,
            origins: Origins::default(),
        },
    );
    let words = Words {
        source,
        clients: clients.clone(),
    };
    (Arc::new(words), clients, database)
}

async fn bind(settings: ListenerSettings) -> Result<Listener<Words>, BindError> {
    let (frontend, clients, _) = frontend();
    Listener::bind(settings, frontend, clients).await
}

async fn run(settings: ListenerSettings) -> Running {
    let (frontend, clients, database) = frontend();
    let listener = Listener::bind(settings, frontend, clients.clone())
        .await
        .expect("free endpoints");
    let (stop, stopped) = oneshot::channel::<()>();
    Running {
        bound: listener.bound().to_vec(),
        clients,
        database,
        limits: listener.limits(),
        stop,
        serving: tokio::spawn(listener.serve(async { drop(stopped.await) })),
    }
}

impl Running {
    fn address(&self) -> SocketAddr {
        match &self.bound[0] {
            Bound::Tcp(address) => *address,
            Bound::Unix(path) => panic!("{}", path.display()),
        }
    }

    async fn connect(&self) -> Peer<TcpStream> {
        Peer(TcpStream::connect(self.address()).await.expect("it listens"))
    }

    async fn client(&self) -> Peer<TcpStream> {
        let mut peer = self.connect().await;
        peer.hello().await;
        peer
    }
}

/// The test's end of a connection.
struct Peer<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the gateway takes it");
    }

    /// Logs in; the cancel key as it is sent back.
    async fn hello(&mut self) -> Vec<u8> {
        self.send(b"H").await;
        let mut welcome = vec![0; 13];
        let read = tokio::time::timeout(HANG, self.0.read_exact(&mut welcome)).await;
        read.expect("no hang").expect("a welcome");
        assert_eq!(welcome[0], b'W', "{}", welcome.escape_ascii());
        welcome[0] = b'C';
        welcome
    }

    async fn ask(&mut self, text: &str) -> String {
        self.send(&request(text)).await;
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let read = async {
            self.0.read_u8().await?;
            let mut text = vec![0; self.0.read_u32().await? as usize];
            self.0.read_exact(&mut text).await?;
            Ok::<_, io::Error>(String::from_utf8(text).expect("text"))
        };
        tokio::time::timeout(HANG, read)
            .await
            .expect("no hang")
            .expect("an answer")
    }

    /// Everything up to the end of the stream.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(HANG, self.0.read_to_end(&mut text))
            .await
            .expect("no hang");
        // A reset is an end as well: what had been sent was not read by the other side.
        match read {
            Ok(_) => String::from_utf8(text).expect("text"),
            Err(error) => error.kind().to_string(),
        }
    }

    /// Whether nothing at all comes for a moment.
    async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(MOMENT, self.0.read_u8()).await.is_err()
    }
}

fn unix(path: &Path) -> Endpoint {
    Endpoint::Unix {
        path: path.to_owned(),
        mode: 0o600,
    }
}

fn in_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    (directory, path)
}

#[tokio::test]
async fn clients_are_served_over_tcp_and_unix_sockets() {
    let (_directory, path) = in_directory();
    let mut settings = settings();
    settings.endpoints.push(unix(&path));
    let running = run(settings).await;
    assert!(running.bound.iter().all(Bound::is_loopback));
    let mut tcp = running.client().await;
    let mut unix = Peer(UnixStream::connect(&path).await.expect("it listens"));
    unix.hello().await;
    assert_eq!(tcp.ask("echo one").await, "one");
    assert_eq!(unix.ask("echo two").await, "two");
    assert_eq!(running.clients.count(), 2);
    assert_eq!(
        std::fs::metadata(&path).expect("there").permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn whoever_is_beyond_the_limit_is_told_which_and_where_it_is_set() {
    let origins = [("max_client_connections".to_owned(), "gateway.yaml:7:5".to_owned())];
    let limits = ListenerLimits {
        max_client_connections: Some(1),
        origins: Origins(Arc::new(origins.into())),
        ..ListenerLimits::default()
    };
    let running = run(ListenerSettings {
        limits: limits.clone(),
        ..settings()
    })
    .await;
    let mut first = running.client().await;
    for _ in 0..5 {
        let mut second = running.connect().await;
        second.send(b"H").await;
        assert_eq!(second.rest().await, "Rmax_client_connections = 1 (gateway.yaml:7:5)");
    }
    assert_eq!(first.ask("echo still here").await, "still here");

    running.limits.store(Arc::new(ListenerLimits {
        max_client_connections: Some(2),
        ..limits
    }));
    running.client().await;
    drop(first);
    let freed = async {
        while running.clients.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, freed)
        .await
        .expect("clients that leave are counted out");
    let (_one, _two) = (running.client().await, running.client().await);
}

#[tokio::test]
async fn what_became_of_each_connection_is_counted() {
    let limits = ListenerLimits {
        max_client_connections: Some(2),
        ..ListenerLimits::default()
    };
    let running = run(ListenerSettings { limits, ..settings() }).await;
    let first = running.client().await;
    let mut second = running.connect().await;
    let key = second.hello().await;
    let mut third = running.connect().await;
    third.send(b"H").await;
    third.rest().await;
    running.connect().await.send(&key).await;
    drop(running.connect().await);
    let counted = async {
        loop {
            let views = running.clients.login_views();
            let [(name, logins)] = &views[..] else {
                panic!("one listener, not {views:?}")
            };
            assert_eq!(&**name, "test");
            let refused: Vec<_> = logins.refused.iter().filter(|(_, count)| *count > 0).collect();
            let counts = (logins.accepted.count(), logins.cancels, logins.broken_off);
            if counts == (2, 1, 1) && refused == [&(RefusalKind::ClientLimit, 1)] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, counted)
        .await
        .expect("all are counted, each once");
    drop(first);
}

#[tokio::test]
async fn the_limit_for_everything_counts_the_clients_of_all_listeners() {
    let origins = [("max_clients_in_all".to_owned(), "gateway.yaml:2:3".to_owned())];
    let limits = ListenerLimits {
        max_clients_in_all: Some(1),
        origins: Origins(Arc::new(origins.into())),
        ..ListenerLimits::default()
    };
    let settings = ListenerSettings { limits, ..settings() };
    let one = run(settings.clone()).await;
    let (frontend, _, _) = frontend();
    let other = Listener::bind(settings, frontend, one.clients.clone())
        .await
        .expect("a free port");
    let Bound::Tcp(address) = other.bound()[0] else {
        panic!("no TCP")
    };
    let serving = tokio::spawn(other.serve(std::future::pending()));
    let _first = one.client().await;
    let mut second = TcpStream::connect(address).await.expect("it listens");
    second.write_all(b"H").await.expect("it listens");
    let mut heard = String::new();
    let hearing = tokio::time::timeout(HANG, second.read_to_string(&mut heard)).await;
    assert!(matches!(hearing, Ok(Ok(_))), "{hearing:?} {heard}");
    assert_eq!(heard, "Rmax_client_connections = 1 (gateway.yaml:2:3)");
    serving.abort();
}

#[tokio::test]
async fn a_cancel_request_is_taken_when_all_places_are_taken_and_answered_by_the_end() {
    let mut settings = settings();
    settings.limits.max_client_connections = Some(1);
    let running = run(settings).await;
    let mut client = running.connect().await;
    let key = client.hello().await;
    client.send(&request("slow 3600000")).await;
    while running.database.log().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut wrong = key.clone();
    wrong[12] ^= 1;
    let mut stranger = running.connect().await;
    stranger.send(&wrong).await;
    assert_eq!(stranger.rest().await, "");
    assert!(client.is_quiet().await, "a wrong key cancels nothing");
    let mut canceller = running.connect().await;
    canceller.send(&key).await;
    assert_eq!(client.answer().await, "cancelled");
    assert_eq!(canceller.rest().await, "");
}

#[tokio::test]
async fn a_slow_login_is_cut_at_its_deadline() {
    let mut settings = settings();
    settings.limits.login_timeout = Duration::from_millis(200);
    let running = run(settings).await;
    let mut silent = running.connect().await;
    let words = silent.rest().await;
    assert!(words.starts_with("Rclient_login_timeout = 0.2 s"), "{words}");
    // Even if the frontend itself forgets the time.
    let mut forgotten = running.connect().await;
    forgotten.send(b"Z").await;
    assert_eq!(forgotten.rest().await, "");
}

#[tokio::test]
async fn beyond_the_half_open_limit_the_next_waits_its_turn() {
    let mut settings = settings();
    settings.max_half_open = 1;
    settings.limits.login_timeout = Duration::from_millis(600);
    let running = run(settings).await;
    let mut client = running.client().await;
    let mut silent = running.connect().await;
    tokio::time::sleep(MOMENT).await;
    let mut next = running.connect().await;
    next.send(b"H").await;
    assert!(next.is_quiet().await, "somebody else is at the gate");
    assert_eq!(client.ask("echo served").await, "served");
    assert!(silent.rest().await.starts_with("Rclient_login_timeout"));
    assert_eq!(next.0.read_u8().await.expect("its turn"), b'W');
}

#[tokio::test]
async fn a_socket_where_nobody_comes_takes_no_half_open_place() {
    let (_directory, path) = in_directory();
    let mut settings = settings();
    settings.max_half_open = 2;
    settings.limits.login_timeout = Duration::from_secs(3_600);
    settings.endpoints.push(unix(&path));
    let running = run(settings).await;
    let _silent = running.connect().await;
    tokio::time::sleep(MOMENT).await;
    let second = tokio::time::timeout(HANG, running.client()).await;
    let _second = second.expect("there is a place");
    let _silent_too = running.connect().await;
    tokio::time::sleep(MOMENT).await;
    let mut beyond = running.connect().await;
    beyond.send(b"H").await;
    assert!(beyond.is_quiet().await, "two are at the gate");
}

#[tokio::test]
async fn after_shutdown_nobody_comes_in_and_everybody_goes() {
    let (_directory, path) = in_directory();
    let mut settings = settings();
    settings.endpoints.push(unix(&path));
    let running = run(settings).await;
    let (address, clients) = (running.address(), running.clients.clone());
    let (mut idle, mut busy) = (running.client().await, running.client().await);
    assert_eq!(busy.ask("begin").await, "begun");
    running.stop.send(()).expect("it listens");
    tokio::time::timeout(HANG, running.serving)
        .await
        .expect("no hang")
        .expect("no panic");
    let refused = TcpStream::connect(address).await.expect_err("closed");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(!path.exists(), "the socket file is gone");
    assert_eq!(idle.ask("echo one more").await, "one more");

    let drained = tokio::spawn(async move { front::drain(&clients, MOMENT * 4).await });
    tokio::time::timeout(HANG, idle.rest())
        .await
        .expect("at a border: ended at once");
    assert_eq!(busy.ask("echo in a transaction").await, "in a transaction");
    busy.rest().await;
    let drained = drained.await.expect("no panic");
    assert_eq!((drained.before, drained.terminated, drained.left), (2, 1, 0));
}

#[tokio::test]
async fn a_panic_ends_one_client_and_no_other() {
    let running = run(settings()).await;
    let mut other = running.client().await;
    let mut login = running.connect().await;
    login.send(b"P").await;
    assert_eq!(login.rest().await, "");
    let mut trapped = running.connect().await;
    trapped.send(b"X").await;
    assert_eq!(trapped.0.read_u8().await.expect("a welcome"), b'W');
    let mut key = [0; 12];
    trapped.0.read_exact(&mut key).await.expect("a key");
    // A request makes the gateway read.
    trapped.send(&request("echo x")).await;
    trapped.rest().await;
    assert_eq!(other.ask("echo unharmed").await, "unharmed");
    assert_eq!(running.clients.count(), 1, "the others have been counted out");
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_nothing_else_is() {
    let (_directory, path) = in_directory();
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a new file"));
    assert!(path.exists(), "a process that died left it");
    let only_unix = ListenerSettings {
        endpoints: vec![unix(&path)],
        ..settings()
    };
    let running = run(only_unix.clone()).await;
    Peer(UnixStream::connect(&path).await.expect("it listens"))
        .hello()
        .await;

    let Err(error) = bind(only_unix.clone()).await else {
        panic!("two on one file")
    };
    assert_eq!(error.reason.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");

    // Somebody else's file in the same place survives our end.
    std::fs::remove_file(&path).expect("there");
    std::fs::write(&path, "precious").expect("writable");
    drop(running.stop);
    running.serving.await.expect("no panic");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
    let Err(error) = bind(only_unix).await else {
        panic!("a file that is no socket")
    };
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
}

#[tokio::test]
async fn a_port_in_use_and_a_missing_address_are_errors_at_bind() {
    let running = run(settings()).await;
    let host = |host: &str, port| ListenerSettings {
        endpoints: vec![Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }],
        ..settings()
    };
    let port = running.address().port();
    let Err(error) = bind(host("127.0.0.1", port)).await else {
        panic!("in use")
    };
    assert!(
        error
            .to_string()
            .contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{error}"
    );
    let Err(error) = bind(host("192.0.2.1", 0)).await else {
        panic!("not ours (RFC 5737)")
    };
    assert!(
        error.to_string().contains("this machine has no such address"),
        "{error}"
    );
    let Err(error) = bind(host("no-such-host.invalid", 0)).await else {
        panic!("no such name")
    };
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");

    let everywhere = bind(host("*", 0)).await.expect("some address");
    assert!(everywhere.bound().iter().all(|bound| !bound.is_loopback()));
    let local = bind(host("localhost", 0)).await.expect("some address");
    let ports: Vec<_> = local
        .bound()
        .iter()
        .map(|bound| match bound {
            Bound::Tcp(address) => address.port(),
            Bound::Unix(_) => 0,
        })
        .collect();
    assert!(
        ports.iter().all(|port| *port == ports[0]),
        "one port for all addresses: {ports:?}"
    );
}

#[tokio::test]
async fn behind_a_proxy_the_header_says_who_it_is_and_nobody_is_local() {
    let mut settings = settings();
    settings.proxy_protocol = true;
    settings.limits.login_timeout = Duration::from_millis(500);
    let running = run(settings).await;
    let said = async |bytes: &[u8]| {
        let mut peer = running.connect().await;
        peer.send(bytes).await;
        peer.rest().await
    };
    let header = said(b"PROXY TCP4 127.0.0.1 198.51.100.2 56324 5432\r\n?").await;
    assert_eq!(header, "R127.0.0.1:56324 (by proxy) loopback=false");
    let unknown = said(b"PROXY UNKNOWN\r\n?").await;
    assert_eq!(unknown, "Runknown (by proxy) loopback=false");
    let local = said(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0?").await;
    assert!(
        local.starts_with("R127.0.0.1:") && local.ends_with("loopback=false"),
        "{local}"
    );
    for hostile in [
        &b"?"[..],
        b"PROXY ",
        b"PROXY TCP4 1.2.3.4\r\n?",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        &[b'P'; 4096],
    ] {
        let words = said(hostile).await;
        assert!(!words.starts_with('R'), "{}: {words}", hostile.escape_ascii());
    }
    let mut in_pieces = running.connect().await;
    for byte in b"PROXY TCP6 2001:db8::1 ::1 1 2\r\nH" {
        in_pieces.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(in_pieces.0.read_u8().await.expect("a welcome"), b'W');
}
