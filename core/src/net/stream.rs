//! A socket (TCP or Unix) and a stream (a socket with or without TLS) as closed enums: static dispatch, no boxing of
//! the clear case.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll},
};

use rustls::{CommonState, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{client, server};

/// A connected socket before anything was negotiated on it.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
    /// From a proxy that told on whose behalf it connects (PROXY protocol).
    Proxied(Box<Proxied>),
}

/// A connection from a proxy, and whom it speaks for.
#[derive(Debug)]
pub struct Proxied {
    /// From the proxy; not itself proxied.
    socket: Socket,
    /// `None`: the proxy did not say.
    client: Option<SocketAddr>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A network address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix,
    /// A client behind a proxy, as told by the proxy, if it told. Never counts as local, whatever the address: it is an
    /// address of the proxy's network, and whatever trusts loopback must not trust somebody else's loopback.
    Proxied(Option<SocketAddr>),
}

impl Peer {
    /// Whether the peer is on this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix => true,
            Peer::Proxied(_) => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix socket"),
            Peer::Proxied(Some(address)) => write!(f, "{address} (by proxy)"),
            Peer::Proxied(None) => f.write_str("unknown (by proxy)"),
        }
    }
}

impl Socket {
    /// Who is at the other end.
    ///
    /// # Errors
    /// When the peer has gone already.
    pub fn peer(&self) -> io::Result<Peer> {
        match self {
            Socket::Tcp(tcp) => tcp.peer_addr().map(Peer::Tcp),
            Socket::Unix(_) => Ok(Peer::Unix),
            Socket::Proxied(proxied) => Ok(Peer::Proxied(proxied.client)),
        }
    }

    /// Whether the peer is a process on this machine, over a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Socket::Unix(_))
    }

    /// The same socket, from a proxy that speaks for `client`.
    pub fn on_behalf_of(self, client: Option<SocketAddr>) -> Self {
        Socket::Proxied(Box::new(Proxied { socket: self, client }))
    }

    /// The same socket for another process.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.descriptor().try_clone_to_owned()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(tcp) => tcp.as_fd(),
            Socket::Unix(unix) => unix.as_fd(),
            Socket::Proxied(proxied) => proxied.socket.descriptor(),
        }
    }

    /// A connected socket that another process had, and who is at its other end.
    ///
    /// # Errors
    /// It is none.
    pub fn inherit(socket: OwnedFd, peer: Peer) -> io::Result<Self> {
        let tcp = std::net::TcpStream::from(socket);
        // Of another family there is no address of this kind.
        let socket = if tcp.local_addr().is_ok() {
            tcp.set_nonblocking(true)?;
            Socket::Tcp(TcpStream::from_std(tcp)?)
        } else {
            let unix = std::os::unix::net::UnixStream::from(OwnedFd::from(tcp));
            unix.local_addr()?;
            unix.set_nonblocking(true)?;
            Socket::Unix(UnixStream::from_std(unix)?)
        };
        Ok(match peer {
            Peer::Proxied(client) => socket.on_behalf_of(client),
            Peer::Tcp(_) | Peer::Unix => socket,
        })
    }

    /// The TCP connection, if it is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(tcp) => Some(tcp),
            Socket::Unix(_) => None,
            Socket::Proxied(proxied) => proxied.socket.tcp(),
        }
    }

    /// The first byte that a TCP peer sent, which stays unread: a TLS handshake that starts without being asked for
    /// must find all its bytes. `None` at the end of the stream, and on Unix sockets, over which TLS is not spoken.
    ///
    /// # Errors
    /// The system's.
    pub async fn peek_first_byte(&self) -> io::Result<Option<u8>> {
        let Some(tcp) = self.tcp() else { return Ok(None) };
        let mut first = [0];
        Ok((tcp.peek(&mut first).await? == 1).then_some(first[0]))
    }
}

/// A stream that bytes of a protocol flow over.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(Socket),
    /// TLS, we are the server.
    TlsServer(Box<server::TlsStream<Socket>>),
    /// TLS, we are the client.
    TlsClient(Box<client::TlsStream<Socket>>),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::TlsServer(tls) => tls.get_ref().0,
            Stream::TlsClient(tls) => tls.get_ref().0,
        }
    }

    /// Whether bytes are encrypted on the way.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    /// The certificate that the peer showed, verified as far as the settings asked for.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.session()?.peer_certificates()?.first()
    }

    /// The protocol that was agreed on in the TLS handshake.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session()?.alpn_protocol()
    }

    /// As PostgreSQL shows it: `TLSv1.3`. `None` in clear.
    pub fn tls_version(&self) -> Option<&'static str> {
        Some(match self.session()?.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "unknown",
        })
    }

    fn session(&self) -> Option<&CommonState> {
        match self {
            Stream::Plain(_) => None,
            Stream::TlsServer(tls) => Some(tls.get_ref().1),
            Stream::TlsClient(tls) => Some(tls.get_ref().1),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $enum:ident { $($variant:ident),+ }, $io:ident => $call:expr) => {
        match $self.get_mut() { $($enum::$variant($io) => { let $io = Pin::new($io); $call })+ }
    };
}

macro_rules! delegate_io {
    ($enum:ident { $($variant:ident),+ }) => {
        impl AsyncRead for $enum {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $enum { $($variant),+ }, io => io.poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $enum {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                delegate!(self, $enum { $($variant),+ }, io => io.poll_write(cx, buf))
            }

            fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
                delegate!(self, $enum { $($variant),+ }, io => io.poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                match self { $($enum::$variant(io) => io.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $enum { $($variant),+ }, io => io.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                delegate!(self, $enum { $($variant),+ }, io => io.poll_shutdown(cx))
            }
        }
    };
}

delegate_io!(Socket { Tcp, Unix, Proxied });
delegate_io!(Stream {
    Plain,
    TlsServer,
    TlsClient
});

impl AsyncRead for Proxied {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Proxied {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
