//! Connecting to a database: names resolved at every connect (failover by DNS must be seen), each address tried in turn.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    task::JoinSet,
};

use super::{Socket, options::SocketOptions};

/// One entry of a host list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host name or IP address.
    Tcp {
        /// As the user wrote it.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket's file.
    Unix(PathBuf),
}

/// The address that a connection really went to. Cancel requests must go there and not to the name, which may stand for
/// several machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket's file.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { host, port } => write!(f, "host {host} port {port}"),
            Target::Unix(path) => write!(f, "socket {}", path.display()),
        }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAddress::Tcp(address) => address.fmt(f),
            RemoteAddress::Unix(path) => write!(f, "socket {}", path.display()),
        }
    }
}

/// How long one address may take while others are left to try. Shorter than the usual `connect_timeout` (15 s), so that
/// a machine that swallows packets does not use up the time of the one that works; longer than three lost SYN packets
/// would need to be repeated (1 s, 3 s).
const ATTEMPT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried; names with more are round-robin pools, where any few will do.
const MAX_ADDRESSES: usize = 16;

/// Connects to the first of the targets' addresses that answers. The caller bounds the time of it all.
///
/// # Errors
/// Names every host, address and port that was tried, each with the system's reason; the kind is the last one's.
pub async fn dial(targets: &[Target]) -> io::Result<(Socket, RemoteAddress)> {
    let mut failures = Failures::default();
    for (position, target) in targets.iter().enumerate() {
        let addresses = match resolve(target).await {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.add(&error, format!("{target}: {error}"));
                continue;
            }
        };
        let last_target = position + 1 == targets.len();
        let count = addresses.len();
        for (index, address) in addresses.into_iter().enumerate() {
            let last = last_target && index + 1 == count;
            match attempt(&address, last).await {
                Ok(socket) => return Ok((socket, address)),
                Err(error) => failures.add(&error, describe(target, &address, &error)),
            }
        }
    }
    Err(failures.into_error())
}

/// Connects to all addresses of a target at once; the first that answers counts. For names that stand for one service in
/// several places of which only one is up (MultiSubnetFailover). The caller bounds the time.
///
/// # Errors
/// As [`dial`].
pub async fn dial_at_once(target: &Target) -> io::Result<(Socket, RemoteAddress)> {
    let addresses = resolve(target)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{target}: {error}")))?;
    race(target, addresses).await
}

async fn race(target: &Target, addresses: Vec<RemoteAddress>) -> io::Result<(Socket, RemoteAddress)> {
    let mut attempts = JoinSet::new();
    for address in addresses {
        attempts.spawn(async move { (open(&address).await, address) });
    }
    let mut failures = Failures::default();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            // What is still under way ends with the set.
            Ok((Ok(socket), address)) => return Ok((socket, address)),
            Ok((Err(error), address)) => failures.add(&error, describe(target, &address, &error)),
            Err(stopped) => failures.add(&io::Error::other("stopped"), stopped.to_string()),
        }
    }
    Err(failures.into_error())
}

/// Connects once more to where an earlier [`dial`] arrived. The caller bounds the time.
///
/// # Errors
/// Names the address.
pub async fn redial(address: &RemoteAddress) -> io::Result<Socket> {
    open(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

async fn resolve(target: &Target) -> io::Result<Vec<RemoteAddress>> {
    let (host, port) = match target {
        Target::Unix(path) => return Ok(vec![RemoteAddress::Unix(path.clone())]),
        Target::Tcp { host, port } => (host, *port),
    };
    // Off the reactor: tokio asks the system's resolver on its blocking pool; literals are not looked up at all.
    let found = lookup_host((host.as_str(), port)).await?;
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).map(RemoteAddress::Tcp).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

async fn attempt(address: &RemoteAddress, last: bool) -> io::Result<Socket> {
    if last {
        return open(address).await;
    }
    tokio::time::timeout(ATTEMPT, open(address)).await.unwrap_or_else(|_| {
        let seconds = ATTEMPT.as_secs();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {seconds} s, trying the next address"),
        ))
    })
}

async fn open(address: &RemoteAddress) -> io::Result<Socket> {
    let socket = match address {
        RemoteAddress::Tcp(address) => Socket::Tcp(TcpStream::connect(address).await?),
        RemoteAddress::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
    };
    SocketOptions::SERVER.apply(&socket)?;
    Ok(socket)
}

fn describe(target: &Target, address: &RemoteAddress, error: &io::Error) -> String {
    match (target, address) {
        (Target::Tcp { host, port }, RemoteAddress::Tcp(address)) if *host != address.ip().to_string() => {
            format!("host {host} ({}) port {port}: {error}", address.ip())
        }
        _ => format!("{target}: {error}"),
    }
}

#[derive(Default)]
struct Failures {
    kind: Option<io::ErrorKind>,
    texts: Vec<String>,
}

impl Failures {
    fn add(&mut self, error: &io::Error, text: String) {
        self.kind = Some(error.kind());
        self.texts.push(text);
    }

    fn into_error(self) -> io::Error {
        match self.kind {
            Some(kind) => io::Error::new(kind, self.texts.join("; ")),
            None => io::Error::new(io::ErrorKind::InvalidInput, "no host to connect to"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    fn local(port: u16) -> Target {
        Target::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// A port on which nobody listens.
    async fn dead_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address").port()
    }

    #[tokio::test]
    async fn the_next_host_is_tried_and_the_address_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let alive = listener.local_addr().expect("an address");
        let targets = [
            Target::Unix("/nonexistent/socket".into()),
            local(dead_port().await),
            local(alive.port()),
        ];
        let (socket, address) = dial(&targets).await.expect("the third one listens");
        assert_eq!(address, RemoteAddress::Tcp(alive));
        let tcp = socket.tcp().expect("TCP");
        assert!(tcp.nodelay().expect("readable"));
        assert!(socket2::SockRef::from(tcp).keepalive().expect("readable"));
        redial(&address).await.expect("the same place again");
    }

    /// A listener that answers no further attempt: its queue is full. Kept alive by what is returned.
    async fn silent() -> (SocketAddr, Vec<TcpStream>, socket2::Socket) {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("it listens");
        let address = listener.local_addr().expect("an address").as_socket().expect("IP");
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queue.push(stream);
        }
        (address, queue, listener)
    }

    #[tokio::test]
    async fn at_once_the_one_that_answers_counts_wherever_it_stands() {
        let (silent, _queue, _listener) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let alive = listener.local_addr().expect("an address");
        let dead: SocketAddr = ([127, 0, 0, 1], dead_port().await).into();
        let addresses = [silent, dead, alive, silent].map(RemoteAddress::Tcp).to_vec();
        // The silent ones would never be given up on.
        let anywhere = local(1);
        let raced = tokio::time::timeout(Duration::from_secs(60), race(&anywhere, addresses));
        let (_, address) = raced.await.expect("in time").expect("one listens");
        assert_eq!(address, RemoteAddress::Tcp(alive));
        let error = race(&local(dead.port()), vec![RemoteAddress::Tcp(dead)])
            .await
            .expect_err("nobody listens");
        assert!(error.to_string().contains(&dead.port().to_string()), "{error}");
        let (_, address) = dial_at_once(&local(alive.port())).await.expect("a name is enough");
        assert_eq!(address, RemoteAddress::Tcp(alive));
    }

    #[tokio::test]
    async fn the_error_names_every_host_port_and_reason() {
        let port = dead_port().await;
        let error = dial(&[Target::Unix("/nonexistent/socket".into()), local(port)])
            .await
            .expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(text.contains("socket /nonexistent/socket: No such file"), "{text}");
        assert!(
            text.contains(&format!("host 127.0.0.1 port {port}: Connection refused")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_name_without_address_is_named() {
        let target = Target::Tcp {
            host: "no-such-host.invalid".to_owned(),
            port: 5432,
        };
        let error = dial(&[target]).await.expect_err("RFC 2606: .invalid never resolves");
        assert!(
            error.to_string().starts_with("host no-such-host.invalid port 5432: "),
            "{error}"
        );
        assert!(dial(&[]).await.is_err());
    }

    #[tokio::test]
    async fn unix_sockets_are_dialled_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).expect("a new socket");
        let (_, address) = dial(&[Target::Unix(path.clone())]).await.expect("it listens");
        assert_eq!(address, RemoteAddress::Unix(path));
    }
}
