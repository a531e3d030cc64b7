//! Listening sockets that one process of Weir hands over to the next, so that no connection attempt is refused.
//!
//! Invariants: a socket goes to whoever is declared at the same place, and to nobody twice; one that nothing declares any
//! more is closed with the inheritance. How sockets travel between processes is not known here.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::{
    Bound,
    doors::{Door, SocketFile},
};

/// A listening socket on its way between two processes.
#[derive(Debug)]
pub struct HandedDoor {
    /// Whose it is: the listener's name.
    pub listener: Arc<str>,
    /// Where it listens.
    pub bound: Bound,
    /// The socket. It goes on listening for as long as either process has it open.
    pub socket: OwnedFd,
}

impl HandedDoor {
    /// This socket, of something that listens by itself.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn of(listener: Arc<str>, socket: &TcpListener) -> io::Result<Self> {
        Ok(HandedDoor {
            listener,
            bound: Bound::Tcp(socket.local_addr()?),
            socket: socket.as_fd().try_clone_to_owned()?,
        })
    }
}

/// What a predecessor has handed over, as far as nobody has taken it yet.
#[derive(Debug, Default)]
pub struct Inheritance {
    doors: Mutex<Vec<HandedDoor>>,
}

impl Inheritance {
    /// These sockets.
    pub fn new(doors: Vec<HandedDoor>) -> Self {
        Inheritance {
            doors: Mutex::new(doors),
        }
    }

    /// The listeners that the predecessor serves.
    pub fn listeners(&self) -> Vec<Arc<str>> {
        self.doors.lock().iter().map(|door| door.listener.clone()).collect()
    }

    /// The TCP sockets at these addresses, whichever listener's they are. A port 0 stands for whichever
    /// port the system chose for the listener of this name.
    pub(super) fn take_tcp(&self, listener: &str, wanted: &[SocketAddr]) -> io::Result<Vec<Door>> {
        let serves = |door: &HandedDoor| match door.bound {
            Bound::Tcp(address) => wanted.iter().any(|wanted| match wanted.port() {
                0 => wanted.ip() == address.ip() && &*door.listener == listener,
                port => wanted.ip() == address.ip() && port == address.port(),
            }),
            Bound::Unix(_) => false,
        };
        self.take(serves).into_iter().map(|door| tcp(door.socket)).collect()
    }

    /// The first TCP socket of something that listens by itself, at one of these addresses.
    ///
    /// # Errors
    /// The system's.
    pub fn take_listener(&self, listener: &str, wanted: &[SocketAddr]) -> io::Result<Option<TcpListener>> {
        let mut doors = self.take_tcp(listener, wanted)?.into_iter();
        Ok(doors.find_map(|door| match door {
            Door::Tcp(listener) => Some(listener),
            Door::Unix(..) => None,
        }))
    }

    /// The socket behind this file, if the file is still the predecessor's.
    pub(super) fn take_unix(&self, path: &Path) -> io::Result<Option<Door>> {
        let serves = |door: &HandedDoor| matches!(&door.bound, Bound::Unix(bound) if bound == path);
        match self.take(serves).pop() {
            Some(door) => unix(door.socket, path),
            None => Ok(None),
        }
    }

    fn take(&self, which: impl Fn(&HandedDoor) -> bool) -> Vec<HandedDoor> {
        self.doors.lock().extract_if(.., |door| which(door)).collect()
    }
}

fn tcp(socket: OwnedFd) -> io::Result<Door> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Door::Tcp)
}

/// Somebody may have removed the file meanwhile: then nobody can come in through the socket.
fn unix(socket: OwnedFd, path: &Path) -> io::Result<Option<Door>> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    let is_at_path = listener.local_addr()?.as_pathname() == Some(path);
    let file = SocketFile::of(path).ok().filter(|_| is_at_path && is_socket(path));
    let Some(file) = file else { return Ok(None) };
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(Some(Door::Unix(listener, file)))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// A Unix socket of the gateway's own, apart from all listeners: bound, or taken from an inheritance.
///
/// Its file is removed with it, unless it was handed over.
#[derive(Debug)]
pub struct PrivateDoor(Door);

impl PrivateDoor {
    /// At this path; only this user may connect.
    ///
    /// # Errors
    /// Who is there already, or why nobody can be.
    pub async fn open(path: PathBuf, inherited: &Inheritance) -> Result<Self, super::BindError> {
        let endpoint = super::Endpoint::Unix { path, mode: 0o600 };
        let mut doors = super::doors::open(&endpoint, "", inherited).await?;
        let door = doors.pop().expect("a Unix endpoint is one socket");
        Ok(PrivateDoor(door))
    }

    /// The next one who connects.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        loop {
            if let (crate::net::Socket::Unix(stream), _) = self.0.accept().await? {
                return Ok(stream);
            }
        }
    }

    /// The same socket for a successor.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn hand_over(&self) -> io::Result<HandedDoor> {
        self.0.hand_over("".into())
    }

    /// The successor has it: its file stays.
    pub fn relinquish(&self) {
        self.0.relinquish();
    }
}
