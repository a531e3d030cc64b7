//! The stream that tokio-postgres logs in over: the real one, with a [`Recorder`] in between.
//!
//! Invariants: never reads beyond the message at hand, so that after ReadyForQuery nothing is read ahead and the stream
//! below can be used as it is; a body is allocated as it arrives, within the recorder's bounds; the startup packet of
//! tokio-postgres, which can carry four parameters only, is replaced by the gateway's own.

use std::{
    borrow::BorrowMut,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use zeroize::Zeroize;

use super::{
    hashing::Turn,
    recorder::{Recorder, Verdict},
};

/// Bytes of a body that are asked for at a time.
const CHUNK: usize = 4096;

/// A stream under observation. For the data path both stream and recorder are borrowed, and come back when
/// tokio-postgres lets go of them; the control plane gives them away for good.
pub(super) struct Tee<S, R> {
    stream: S,
    recorder: R,
    turn: Arc<Turn>,
    after: After,
    binding: Option<Vec<u8>>,
    reading: Reading,
    outgoing: Outgoing,
}

/// What tokio-postgres may read behind the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: the stream is ours.
    Nothing,
    /// Everything: it is tokio-postgres's.
    Everything,
}

enum Reading {
    Header {
        header: [u8; 5],
        have: usize,
    },
    Body {
        header: [u8; 5],
        length: usize,
        body: Vec<u8>,
    },
    Delivering {
        bytes: Vec<u8>,
        at: usize,
    },
    Over,
    Through,
}

enum Outgoing {
    /// tokio-postgres has not written its startup packet yet.
    Startup(Vec<u8>),
    /// Ours is on its way.
    Flushing { packet: Vec<u8>, at: usize },
    /// Everything passes.
    Through,
}

const AT_BORDER: Reading = Reading::Header {
    header: [0; 5],
    have: 0,
};

impl<S: AsyncRead + AsyncWrite + Unpin, R: BorrowMut<Recorder>> Tee<S, R> {
    /// `binding`: the `tls-server-end-point` hash of the TLS session below, if there is one.
    pub(super) fn new(
        stream: S,
        recorder: R,
        startup: Vec<u8>,
        binding: Option<Vec<u8>>,
        turn: Arc<Turn>,
        after: After,
    ) -> Self {
        Tee {
            stream,
            recorder,
            turn,
            after,
            binding,
            reading: AT_BORDER,
            outgoing: Outgoing::Startup(startup),
        }
    }

    /// Reads one step further: up to the next border of header and body.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reading = match &mut self.reading {
            Reading::Header { header, have } => {
                let mut buffer = ReadBuf::new(&mut header[*have..]);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))
                    .inspect_err(|error| self.recorder.borrow_mut().broken(error))?;
                let read = buffer.filled().len();
                if read == 0 {
                    return Poll::Ready(Err(self.ended()));
                }
                *have += read;
                if *have < header.len() {
                    return Poll::Ready(Ok(()));
                }
                let header = *header;
                let length = self.recorder.borrow_mut().header(header).map_err(|_| vetoed())?;
                let body = Vec::with_capacity(length.min(CHUNK));
                if length == 0 {
                    self.judge(header, body)?
                } else {
                    Reading::Body { header, length, body }
                }
            }
            Reading::Body { header, length, body } => {
                let have = body.len();
                body.resize(have + (*length - have).min(CHUNK), 0);
                let mut buffer = ReadBuf::new(&mut body[have..]);
                let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                let filled = buffer.filled().len();
                body.truncate(have + filled);
                ready!(read).inspect_err(|error| self.recorder.borrow_mut().broken(error))?;
                if filled == 0 {
                    return Poll::Ready(Err(self.ended()));
                }
                if body.len() < *length {
                    return Poll::Ready(Ok(()));
                }
                let (header, body) = (*header, std::mem::take(body));
                self.judge(header, body)?
            }
            Reading::Delivering { .. } if !self.recorder.borrow().is_over() => AT_BORDER,
            Reading::Delivering { .. } => match self.after {
                After::Nothing => Reading::Over,
                After::Everything => Reading::Through,
            },
            Reading::Over | Reading::Through => return Poll::Ready(Err(io::Error::other("the login is over"))),
        };
        Poll::Ready(Ok(()))
    }

    fn judge(&mut self, header: [u8; 5], body: Vec<u8>) -> io::Result<Reading> {
        let whole = |body: Vec<u8>| Reading::Delivering {
            bytes: [&header[..], &body].concat(),
            at: 0,
        };
        match self.recorder.borrow_mut().judge(header[0], &body) {
            Verdict::Deliver | Verdict::Ready => Ok(whole(body)),
            Verdict::Replace(bytes) => Ok(Reading::Delivering {
                bytes: bytes.to_vec(),
                at: 0,
            }),
            Verdict::Swallow => Ok(AT_BORDER),
            Verdict::Veto(_) => {
                self.reading = Reading::Over;
                Err(vetoed())
            }
        }
    }

    fn ended(&mut self) -> io::Error {
        let error = io::Error::from(io::ErrorKind::UnexpectedEof);
        self.recorder.borrow_mut().broken(&error);
        error
    }

    fn poll_startup(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Outgoing::Flushing { packet, at } = &mut self.outgoing {
            if *at == packet.len() {
                self.outgoing = Outgoing::Through;
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &packet[*at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => *at += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// AuthenticationSASLContinue: its answer takes PBKDF2.
fn is_challenge(message: &[u8]) -> bool {
    message.first() == Some(&b'R') && message.get(5..9) == Some(&[0, 0, 0, 11])
}

/// The recorder knows why.
fn vetoed() -> io::Error {
    io::Error::other("vetoed")
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: BorrowMut<Recorder> + Unpin> AsyncRead for Tee<S, R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Reading::Delivering { bytes, at } = &mut this.reading
                && *at < bytes.len()
            {
                // Whoever drives the login polls again when it may; there is nothing to wake for.
                if *at == 0 && is_challenge(bytes) && !this.turn.may_hash() {
                    return Poll::Pending;
                }
                let count = buf.remaining().min(bytes.len() - *at);
                buf.put_slice(&bytes[*at..*at + count]);
                *at += count;
                return Poll::Ready(Ok(()));
            }
            if let Reading::Through = this.reading {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            ready!(this.advance(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: BorrowMut<Recorder> + Unpin> AsyncWrite for Tee<S, R> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Outgoing::Startup(packet) = &mut this.outgoing {
            // tokio-postgres hands over its startup packet as one piece.
            let whole = buf
                .first_chunk::<4>()
                .is_some_and(|length| u32::from_be_bytes(*length) as usize == buf.len());
            if !whole {
                return Poll::Ready(Err(io::Error::other("the startup packet came in pieces")));
            }
            let packet = std::mem::take(packet);
            this.outgoing = Outgoing::Flushing { packet, at: 0 };
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_startup(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_startup(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// A borrowed stream goes on after the login; closing it is not tokio-postgres's business.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.after {
            After::Nothing => self.poll_flush(cx),
            After::Everything => Pin::new(&mut self.get_mut().stream).poll_shutdown(cx),
        }
    }
}

impl<S, R> Drop for Tee<S, R> {
    fn drop(&mut self) {
        // SCRAM messages are of no use to anybody, but a key may have been in a buffer.
        match &mut self.reading {
            Reading::Body { body: bytes, .. } | Reading::Delivering { bytes, .. } => bytes.zeroize(),
            Reading::Header { .. } | Reading::Over | Reading::Through => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: BorrowMut<Recorder> + Unpin> TlsStream for Tee<S, R> {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.binding {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.clone()),
            None => ChannelBinding::none(),
        }
    }
}

/// Tells tokio-postgres that the stream is inside TLS already.
pub(super) struct AlreadySecured;

impl<S: AsyncRead + AsyncWrite + Unpin, R: BorrowMut<Recorder> + Unpin> TlsConnect<Tee<S, R>> for AlreadySecured {
    type Stream = Tee<S, R>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Tee<S, R>>>;

    fn connect(self, stream: Tee<S, R>) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}
