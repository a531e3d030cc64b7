//! The stream under TLS: handshake records travel inside PRELOGIN packets first, as they are afterwards.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::packet::{self, HEADER, kind};

/// Handshake records fit in packets of this size.
const WRAPPED: usize = 4096;

/// See the module. A flight is what was written before a flush.
#[derive(Debug)]
pub(crate) struct Tunnel {
    socket: TcpStream,
    wrapping: bool,
    /// Header bytes of the packet that is being read.
    header: Vec<u8>,
    /// Payload bytes of it that are still to come.
    left: usize,
    flight: Vec<u8>,
    /// Wrapped bytes on their way out.
    outgoing: Vec<u8>,
}

impl Tunnel {
    pub(crate) fn new(socket: TcpStream, wrapping: bool) -> Tunnel {
        Tunnel {
            socket,
            wrapping,
            header: Vec::new(),
            left: 0,
            flight: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// The handshake is over: records travel as they are.
    pub(crate) fn unwrap_from_now_on(&mut self) {
        self.wrapping = false;
    }

    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    fn poll_outgoing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flight.is_empty() {
            let flight = std::mem::take(&mut self.flight);
            self.outgoing.extend(packet::split(kind::PRELOGIN, &flight, WRAPPED, 0));
        }
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.wrapping {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        ready!(this.poll_outgoing(context))?;
        while this.left == 0 {
            let mut bytes = [0; HEADER];
            let mut piece = ReadBuf::new(&mut bytes[..HEADER - this.header.len()]);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.extend_from_slice(piece.filled());
            if this.header.len() == HEADER {
                let length = usize::from(u16::from_be_bytes([this.header[2], this.header[3]]));
                if this.header[0] != kind::PRELOGIN || length < HEADER {
                    return Poll::Ready(Err(io::Error::other(
                        "the TLS handshake is not inside PRELOGIN packets",
                    )));
                }
                this.left = length - HEADER;
                this.header.clear();
            }
        }
        let mut bytes = vec![0; this.left.min(buffer.remaining())];
        let mut piece = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut piece))?;
        this.left -= piece.filled().len();
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.wrapping {
            self.flight.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_outgoing(context))?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
