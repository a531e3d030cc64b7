//! Listening sockets: bound before anything is served, so that a port in use is an error at start and not later.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::net::{TcpListener, UnixListener, lookup_host};

use super::{HandedDoor, Inheritance};
use crate::net::{Peer, Socket, options::SocketOptions};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// All addresses that a host name stands for; `*` is every address of this machine, IPv4 and IPv6.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; 0 lets the system choose one (the same for all addresses).
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Permission bits of the file: who may write may connect.
        mode: u32,
    },
}

/// What a listener really listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket's file.
    Unix(PathBuf),
}

impl Bound {
    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match self {
            Bound::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Bound::Unix(_) => true,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Tcp(address) => address.fmt(f),
            Bound::Unix(path) => write!(f, "unix socket {}", path.display()),
        }
    }
}

/// A place where nobody can listen.
#[derive(Debug)]
pub struct BindError {
    /// Where.
    pub place: String,
    /// Why not.
    pub reason: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { place, reason } = self;
        write!(f, "cannot listen on {place}: {reason}")?;
        f.write_str(match reason.kind() {
            io::ErrorKind::AddrInUse => "; is another process listening there? See \"ss -ltnp\", or set another port",
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need a privilege, socket files a directory that this user may write to"
            }
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
            _ => "",
        })
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Door {
    /// The next connection, and who it is from. Its options are set: on Linux it has them from the listening socket,
    /// which saves five system calls each.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Door::Tcp(listener) => {
                let (tcp, peer) = listener.accept().await?;
                let socket = Socket::Tcp(tcp);
                if cfg!(not(target_os = "linux")) {
                    // Fails when the peer has gone, which the greeting is about to find out.
                    let _ = SocketOptions::CLIENT.apply(&socket);
                }
                Ok((socket, Peer::Tcp(peer)))
            }
            Door::Unix(listener, _) => listener
                .accept()
                .await
                .map(|(unix, _)| (Socket::Unix(unix), Peer::Unix)),
        }
    }

    /// Sets what connections get: see [`Door::accept`].
    fn prepare(&self) -> io::Result<()> {
        match self {
            Door::Tcp(listener) if cfg!(target_os = "linux") => {
                SocketOptions::CLIENT.apply_to(&SockRef::from(listener))
            }
            Door::Tcp(_) | Door::Unix(..) => Ok(()),
        }
    }

    pub(super) fn bound(&self) -> io::Result<Bound> {
        match self {
            Door::Tcp(listener) => listener.local_addr().map(Bound::Tcp),
            Door::Unix(_, file) => Ok(Bound::Unix(file.path.clone())),
        }
    }

    /// The same socket for a successor. Both listen from then on.
    pub(super) fn hand_over(&self, listener: Arc<str>) -> io::Result<HandedDoor> {
        let socket = match self {
            Door::Tcp(listener) => listener.as_fd().try_clone_to_owned()?,
            Door::Unix(listener, _) => listener.as_fd().try_clone_to_owned()?,
        };
        Ok(HandedDoor {
            listener,
            bound: self.bound()?,
            socket,
        })
    }

    /// A successor listens here: the file, if there is one, is its own now.
    pub(super) fn relinquish(&self) {
        if let Door::Unix(_, file) = self {
            file.is_ours.store(false, Ordering::Relaxed);
        }
    }
}

/// Connections that the kernel keeps until they are accepted. A thousand applications that start at once must not see
/// a dropped SYN, which costs a second; the system caps it (`net.core.somaxconn`, 4096).
const BACKLOG: i32 = 4096;

/// Binds all sockets of an endpoint, as far as they are not inherited.
pub(super) async fn open(endpoint: &Endpoint, listener: &str, inherited: &Inheritance) -> Result<Vec<Door>, BindError> {
    match endpoint {
        Endpoint::Tcp { host, port } => open_tcp(host, *port, listener, inherited).await,
        Endpoint::Unix { path, mode } => open_unix(path, *mode, inherited)
            .map(|door| vec![door])
            .map_err(|reason| BindError {
                place: format!("unix socket {}", path.display()),
                reason,
            }),
    }
}

async fn open_tcp(host: &str, port: u16, listener: &str, inherited: &Inheritance) -> Result<Vec<Door>, BindError> {
    let place = |reason| BindError {
        place: format!("host {host} port {port}"),
        reason,
    };
    let addresses = match host {
        "*" => vec![([0; 4], port).into(), ([0_u16; 8], port).into()],
        _ => lookup_host((host, port)).await.map_err(place)?.collect::<Vec<_>>(),
    };
    let several = addresses.len() > 1;
    let mut doors = inherited.take_tcp(listener, &addresses).map_err(place)?;
    let mut present = Vec::new();
    for door in &doors {
        if let Bound::Tcp(address) = door.bound().map_err(place)? {
            present.push(address);
        }
    }
    let mut chosen = present.first().map_or(port, SocketAddr::port);
    let mut missing_family = None;
    for mut address in addresses {
        address.set_port(chosen);
        if present.iter().any(|present| present.ip() == address.ip()) {
            continue;
        }
        match listen_tcp(address) {
            Ok(listener) => {
                chosen = listener.local_addr().map_err(place)?.port();
                doors.push(Door::Tcp(listener));
            }
            // "localhost" and "*" stand for IPv4 and IPv6; a machine may well have only one of them.
            Err(error) if several && is_missing_family(&error) => missing_family = Some(error),
            Err(reason) => {
                return Err(BindError {
                    place: format!("{address} (host {host})"),
                    reason,
                });
            }
        }
    }
    doors.iter().try_for_each(Door::prepare).map_err(place)?;
    match (doors.is_empty(), missing_family) {
        (false, _) => Ok(doors),
        (true, Some(error)) => Err(place(error)),
        (true, None) => Err(place(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ))),
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    /// EAFNOSUPPORT on Linux; has no `ErrorKind`.
    const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED)
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the TIME_WAIT of old connections.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each family has its own socket, as in PostgreSQL, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn open_unix(path: &Path, mode: u32, inherited: &Inheritance) -> io::Result<Door> {
    if let Some(door) = inherited.take_unix(path)? {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        return Ok(door);
    }
    remove_stale(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // Before listen(), so that nobody gets in through the permissions that the umask happened to leave.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(Door::Unix(UnixListener::from_std(socket.into())?, file))
}

/// Removes the file of a process that is gone. One that answers, or is no socket, stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        let text = "the file exists and is no socket; remove it or choose another directory";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
    }
}

/// The file of a Unix socket; removed on drop, unless it was handed over, or somebody else has put another one there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
    is_ours: AtomicBool,
}

impl SocketFile {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile {
            path: path.to_owned(),
            device_and_inode: identity(path)?,
            is_ours: AtomicBool::new(true),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = *self.is_ours.get_mut();
        if is_ours && identity(&self.path).is_ok_and(|found| found == self.device_and_inode) {
            // It is only tidiness: a file that stays is found stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_have_their_options() {
        let endpoint = Endpoint::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        };
        let doors = open(&endpoint, "pg", &Inheritance::default()).await.expect("a door");
        let Ok(Bound::Tcp(address)) = doors[0].bound() else {
            panic!("no address")
        };
        let client = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let (socket, peer) = doors[0].accept().await.expect("a peer");
        assert_eq!(peer, Peer::Tcp(client.local_addr().expect("an address")));
        let tcp = socket.tcp().expect("TCP");
        assert!(tcp.nodelay().expect("an option"));
        let options = SockRef::from(tcp);
        assert!(options.keepalive().expect("an option"));
        let SocketOptions {
            keepalive_idle,
            keepalive_interval,
            keepalive_count,
            ..
        } = SocketOptions::CLIENT;
        assert_eq!(options.tcp_keepalive_time().expect("an option"), keepalive_idle);
        assert_eq!(options.tcp_keepalive_interval().expect("an option"), keepalive_interval);
        assert_eq!(options.tcp_keepalive_retries().expect("an option"), keepalive_count);
    }
}
