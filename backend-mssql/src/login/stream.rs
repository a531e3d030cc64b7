//! The byte stream of a connection after its login: a socket, or TLS over one whose handshake was inside TDS packets.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_core::net::{
    Socket,
    tls::{ClientTlsStream, ServerTlsStream},
};

use super::tunnel::Tunnel;

/// A stream that TDS flows over.
#[derive(Debug)]
pub enum TdsStream {
    /// In clear.
    Plain(Socket),
    /// TLS, we are the server.
    TlsServer(Box<ServerTlsStream<Tunnel>>),
    /// TLS, we are the client.
    TlsClient(Box<ClientTlsStream<Tunnel>>),
}

impl TdsStream {
    /// The socket below.
    pub fn socket(&self) -> &Socket {
        match self {
            TdsStream::Plain(socket) => socket,
            TdsStream::TlsServer(tls) => tls.get_ref().0.socket(),
            TdsStream::TlsClient(tls) => tls.get_ref().0.socket(),
        }
    }

    /// Whether bytes are encrypted on the way.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, TdsStream::Plain(_))
    }

    /// The name in the certificate that the peer showed and that was checked as far as the settings asked for.
    pub fn peer_certificate_name(&self) -> Option<String> {
        let TdsStream::TlsServer(tls) = self else { return None };
        let certificate = tls.get_ref().1.peer_certificates()?.first()?;
        weir_core::net::tls::certificate_common_name(certificate)
    }

    /// The protocol that was agreed on in the TLS handshake.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            TdsStream::Plain(_) => None,
            TdsStream::TlsServer(tls) => tls.get_ref().1.alpn_protocol(),
            TdsStream::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            TdsStream::Plain($io) => {
                let $io = Pin::new($io);
                $call
            }
            TdsStream::TlsServer($io) => {
                let $io = Pin::new($io);
                $call
            }
            TdsStream::TlsClient($io) => {
                let $io = Pin::new($io);
                $call
            }
        }
    };
}

impl AsyncRead for TdsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for TdsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            TdsStream::Plain(io) => io.is_write_vectored(),
            TdsStream::TlsServer(io) => io.is_write_vectored(),
            TdsStream::TlsClient(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_shutdown(cx))
    }
}
