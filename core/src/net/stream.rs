//! A socket (TCP or Unix) and a stream (a socket with or without TLS) as closed enums: static dispatch, no boxing of
//! the clear case.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

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
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A network address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix,
}

impl Peer {
    /// Whether the peer is on this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix socket"),
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
        }
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

delegate_io!(Socket { Tcp, Unix });
delegate_io!(Stream {
    Plain,
    TlsServer,
    TlsClient
});
