//! Socket options: no delay for small requests, and silent death noticed within about a minute.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

use super::Socket;

/// What is set on a TCP socket. Nothing applies to Unix sockets, which cannot die silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Silence before the first keepalive probe.
    pub keepalive_idle: Duration,
    /// Between probes.
    pub keepalive_interval: Duration,
    /// Probes without an answer before the connection is dead.
    pub keepalive_count: u32,
    /// How long sent bytes may stay unacknowledged, or the peer's window closed. `None`: the system's retransmission
    /// limit, about 15 minutes on Linux.
    pub user_timeout: Option<Duration>,
}

/// First probe after 30 s: below the 60 s of the strictest NAT gateways in use, so that it also keeps mappings alive.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// With [`KEEPALIVE_COUNT`], a peer that vanished while nothing was under way is noticed after 60 s, where Linux'
/// defaults take over two hours.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Three lost packets in a row are no accident.
const KEEPALIVE_COUNT: u32 = 3;
/// A database host that vanishes with a request under way is noticed as fast as an idle one. Keepalive alone does not
/// help there: it is suspended while bytes are unacknowledged.
const SERVER_USER_TIMEOUT: Duration = Duration::from_secs(60);

impl SocketOptions {
    /// For connections from clients. No user timeout: Linux also ends connections whose peer keeps its window closed for
    /// so long, and a client may well read the first page of a result and think about it.
    pub const CLIENT: SocketOptions = SocketOptions {
        keepalive_idle: KEEPALIVE_IDLE,
        keepalive_interval: KEEPALIVE_INTERVAL,
        keepalive_count: KEEPALIVE_COUNT,
        user_timeout: None,
    };

    /// For connections to databases. The price of the user timeout: a server that reads nothing of a large upload for so
    /// long (blocked on a lock in the middle of a COPY) loses the connection.
    pub const SERVER: SocketOptions = SocketOptions {
        keepalive_idle: KEEPALIVE_IDLE,
        keepalive_interval: KEEPALIVE_INTERVAL,
        keepalive_count: KEEPALIVE_COUNT,
        user_timeout: Some(SERVER_USER_TIMEOUT),
    };

    /// Sets them.
    ///
    /// # Errors
    /// The system's; usually that the peer has gone already.
    pub fn apply(&self, socket: &Socket) -> io::Result<()> {
        match socket.tcp() {
            Some(tcp) => self.apply_to(&SockRef::from(tcp)),
            None => Ok(()),
        }
    }

    /// Sets them on a TCP socket. Linux gives what is set on a listening socket to the connections that come to it.
    ///
    /// # Errors
    /// The system's.
    pub fn apply_to(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // Requests are written whole: waiting for more only adds a round trip.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(self.keepalive_idle)
                .with_interval(self.keepalive_interval)
                .with_retries(self.keepalive_count),
        )?;
        #[cfg(target_os = "linux")]
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}
