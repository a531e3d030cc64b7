//! A socket whose TLS handshake travels inside TDS packets (TDS 2.3).
//!
//! Invariants: while the handshake runs, never a byte is read behind the packet that it is in; afterwards never one
//! behind the TLS record that was asked for. So whoever ends TLS in the middle of a connection (after LOGIN7, where only
//! the login is encrypted) finds everything that follows still in the socket. Must not know what is in the records.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_core::net::Socket;

use crate::wire::packet::{HEADER, Header, LOGIN_PACKET_SIZE, PacketKind, Status};

use super::limits;

/// The socket, and what is wrapped around its bytes at the moment.
#[derive(Debug)]
pub struct Tunnel {
    socket: Socket,
    reading: Reading,
    writing: Writing,
}

#[derive(Debug)]
enum Reading {
    /// TLS inside packets; `header` fills up, then `left` bytes of payload follow.
    Packets {
        header: [u8; HEADER],
        filled: usize,
        left: usize,
        /// What the peer may still send before the handshake has to be over.
        budget: usize,
    },
    /// TLS as it is, one record at a time.
    Records {
        header: [u8; RECORD_HEADER],
        filled: usize,
        /// Bytes of the header that have been handed on.
        handed: usize,
        left: usize,
    },
    /// No more attention is paid.
    Raw,
}

#[derive(Debug)]
enum Writing {
    /// A flight is collected and sent as one message.
    Packets {
        flight: Vec<u8>,
        framed: Vec<u8>,
        sent: usize,
    },
    Raw,
}

/// Type, version, length (RFC 5246 6.2.1).
const RECORD_HEADER: usize = 5;

/// Bytes of a TLS record behind its header: 2^14 and what encryption may add (RFC 5246 6.2.3).
const MAX_RECORD: usize = 16 * 1024 + 2048;

impl Tunnel {
    /// For TLS from the first byte on (TDS 8.0), or for none.
    pub fn open(socket: Socket) -> Self {
        Tunnel {
            socket,
            reading: Reading::Raw,
            writing: Writing::Raw,
        }
    }

    /// For a handshake inside PRELOGIN packets.
    pub fn packets(socket: Socket) -> Self {
        Tunnel {
            socket,
            reading: Reading::Packets {
                header: [0; HEADER],
                filled: 0,
                left: 0,
                budget: limits::TLS_HANDSHAKE,
            },
            writing: Writing::Packets {
                flight: Vec::new(),
                framed: Vec::new(),
                sent: 0,
            },
        }
    }

    /// The handshake is over: records travel as they are from now on, and are read one at a time.
    ///
    /// # Errors
    /// The handshake ended in the middle of a packet: its rest would be lost.
    pub fn handshake_is_over(&mut self) -> io::Result<()> {
        if let Reading::Packets { filled, left, .. } = self.reading
            && (filled != 0 || left != 0)
        {
            return Err(broken("the TLS handshake ended in the middle of a packet"));
        }
        if let Writing::Packets { flight, framed, sent } = &self.writing
            && (!flight.is_empty() || *sent < framed.len())
        {
            return Err(broken("the TLS handshake ended before its last words were sent"));
        }
        self.reading = Reading::records();
        self.writing = Writing::Raw;
        Ok(())
    }

    /// TLS stays until the end: records need no longer be told apart.
    pub fn stays_encrypted(&mut self) -> io::Result<()> {
        match self.at_record_border() {
            true => {
                self.reading = Reading::Raw;
                Ok(())
            }
            false => Err(broken("TLS begins in the middle of a record")),
        }
    }

    /// Whether the last record was handed on to its end.
    pub fn at_record_border(&self) -> bool {
        match self.reading {
            Reading::Records { filled, .. } => filled == 0,
            Reading::Raw => true,
            Reading::Packets { .. } => false,
        }
    }

    /// The socket below.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket, with nothing around it any more.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

impl Reading {
    fn records() -> Self {
        Reading::Records {
            header: [0; RECORD_HEADER],
            filled: 0,
            handed: 0,
            left: 0,
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Tunnel { socket, reading, .. } = self.get_mut();
        match reading {
            Reading::Raw => Pin::new(socket).poll_read(cx, out),
            Reading::Packets {
                header,
                filled,
                left,
                budget,
            } => {
                // A packet without a payload is legal and says nothing.
                while *left == 0 {
                    if !ready!(fill(socket, cx, header, filled))? {
                        return Poll::Ready(Ok(()));
                    }
                    *left = payload_of(header, *budget)?;
                    *budget -= *left;
                    *filled = 0;
                }
                let read = ready!(read_at_most(socket, cx, out, *left))?;
                *left -= read;
                Poll::Ready(Ok(()))
            }
            Reading::Records {
                header,
                filled,
                handed,
                left,
            } => {
                if *filled < RECORD_HEADER {
                    if !ready!(fill(socket, cx, header, filled))? {
                        return Poll::Ready(Ok(()));
                    }
                    *left = record_length(*header)?;
                }
                if *handed < RECORD_HEADER {
                    let rest = &header[*handed..];
                    let count = rest.len().min(out.remaining());
                    out.put_slice(&rest[..count]);
                    *handed += count;
                    return Poll::Ready(Ok(()));
                }
                let read = ready!(read_at_most(socket, cx, out, *left))?;
                *left -= read;
                if *left == 0 {
                    (*filled, *handed) = (0, 0);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Reads until `header` is full; `false` at the end of the stream, which is an error in the middle of a header.
fn fill(socket: &mut Socket, cx: &mut Context<'_>, header: &mut [u8], filled: &mut usize) -> Poll<io::Result<bool>> {
    while *filled < header.len() {
        let mut rest = ReadBuf::new(&mut header[*filled..]);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut rest))?;
        match rest.filled().len() {
            0 if *filled == 0 => return Poll::Ready(Ok(false)),
            0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            read => *filled += read,
        }
    }
    Poll::Ready(Ok(true))
}

fn read_at_most(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<usize>> {
    let count = most.min(out.remaining());
    let mut window = ReadBuf::new(out.initialize_unfilled_to(count));
    ready!(Pin::new(socket).poll_read(cx, &mut window))?;
    let read = window.filled().len();
    out.advance(read);
    Poll::Ready(Ok(read))
}

/// Payload of the packet whose header this is.
fn payload_of(header: &[u8; HEADER], budget: usize) -> io::Result<usize> {
    let header = Header::read(header)
        .map_err(broken)?
        .ok_or_else(|| broken("half a packet header"))?;
    // Servers answer in PRELOGIN packets from TDS 7.2 on; some say "response".
    if !matches!(header.kind, PacketKind::PreLogin | PacketKind::Response) {
        return Err(broken("another packet in the middle of the TLS handshake"));
    }
    if header.length > LOGIN_PACKET_SIZE || header.payload() > budget {
        return Err(broken("the TLS handshake is longer than it may be"));
    }
    Ok(header.payload())
}

fn record_length(header: [u8; RECORD_HEADER]) -> io::Result<usize> {
    let [_, major, _, high, low] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if major != 3 || length == 0 || length > MAX_RECORD {
        return Err(broken("not a TLS record where one has to be"));
    }
    Ok(length)
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Tunnel { socket, writing, .. } = self.get_mut();
        match writing {
            Writing::Raw => Pin::new(socket).poll_write(cx, bytes),
            Writing::Packets { flight, .. } => {
                flight.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Tunnel { socket, writing, .. } = self.get_mut();
        match writing {
            Writing::Raw => Pin::new(socket).poll_write_vectored(cx, bytes),
            Writing::Packets { flight, .. } => {
                bytes.iter().for_each(|bytes| flight.extend_from_slice(bytes));
                Poll::Ready(Ok(bytes.iter().map(|bytes| bytes.len()).sum()))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tunnel { socket, writing, .. } = self.get_mut();
        if let Writing::Packets { flight, framed, sent } = writing {
            loop {
                while *sent < framed.len() {
                    match ready!(Pin::new(&mut *socket).poll_write(cx, &framed[*sent..]))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        written => *sent += written,
                    }
                }
                if flight.is_empty() {
                    break;
                }
                *framed = frame(flight);
                *sent = 0;
                flight.clear();
            }
        }
        Pin::new(socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// A flight as one message.
fn frame(flight: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(flight.len() + HEADER * 2);
    let mut chunks = flight.chunks(usize::from(LOGIN_PACKET_SIZE) - HEADER).peekable();
    let mut packet_id = 0_u8;
    while let Some(chunk) = chunks.next() {
        packet_id = packet_id.wrapping_add(1);
        let last = chunks.peek().is_none();
        let header = Header {
            kind: PacketKind::PreLogin,
            status: if last {
                Status::END_OF_MESSAGE
            } else {
                Status::default()
            },
            // At most the login's packet size.
            length: (chunk.len() + HEADER) as u16,
            spid: 0,
            packet_id,
        };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(chunk);
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;

    fn pair() -> (UnixStream, Tunnel) {
        let (left, right) = UnixStream::pair().expect("a pair");
        (left, Tunnel::packets(Socket::Unix(right)))
    }

    fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() + HEADER) as u16;
        let [high, low] = length.to_be_bytes();
        [&[kind, 1, high, low, 0, 0, 1, 0], payload].concat()
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let [high, low] = (payload.len() as u16).to_be_bytes();
        [&[23, 3, 3, high, low], payload].concat()
    }

    #[tokio::test]
    async fn a_flight_is_one_message_in_packets_of_the_right_size() {
        let (mut peer, mut tunnel) = pair();
        tunnel.write_all(&[7; 5000]).await.expect("room");
        tunnel.write_all(&[8; 100]).await.expect("room");
        tunnel.flush().await.expect("room");
        let mut sent = vec![0; 5100 + 2 * HEADER];
        peer.read_exact(&mut sent).await.expect("everything");
        assert_eq!(sent[..4], [0x12, 0, 0x10, 0], "a full packet, more to come");
        let second = &sent[4096..];
        assert_eq!(second[..2], [0x12, 1], "the last one");
        assert_eq!(usize::from(u16::from_be_bytes([second[2], second[3]])), second.len());
        tunnel.handshake_is_over().expect("nothing is left");
    }

    #[tokio::test]
    async fn what_comes_in_packets_is_read_however_it_is_cut() {
        for cut in 0..40 {
            let (mut peer, mut tunnel) = pair();
            let sent = [packet(0x12, b"hello "), packet(0x12, b""), packet(4, b"world")].concat();
            let (first, second) = sent.split_at(cut.min(sent.len()));
            let write = async {
                peer.write_all(first).await?;
                peer.flush().await?;
                tokio::task::yield_now().await;
                peer.write_all(second).await
            };
            let mut read = [0; 11];
            let (written, got) = tokio::join!(write, tunnel.read_exact(&mut read));
            written.expect("room");
            got.expect("eleven bytes");
            assert_eq!(&read, b"hello world", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn nothing_behind_a_packet_or_a_record_is_touched() {
        let (mut peer, mut tunnel) = pair();
        let all = [packet(0x12, b"finished"), record(b"login"), b"in clear".to_vec()].concat();
        peer.write_all(&all).await.expect("room");
        let mut scratch = [0; 4096];
        assert_eq!(tunnel.read(&mut scratch).await.expect("a packet"), 8);
        tunnel.handshake_is_over().expect("at a border");
        let mut read = Vec::new();
        while read.len() < 10 {
            let count = tunnel.read(&mut scratch).await.expect("the record");
            read.extend_from_slice(&scratch[..count]);
            assert_eq!(tunnel.at_record_border(), read.len() == 10, "{} bytes", read.len());
        }
        assert_eq!(read, record(b"login"));
        let mut socket = tunnel.into_socket();
        let mut rest = [0; 8];
        socket.read_exact(&mut rest).await.expect("untouched");
        assert_eq!(&rest, b"in clear");
    }

    #[tokio::test]
    async fn a_handshake_that_ends_in_the_middle_of_a_packet_is_refused() {
        let (mut peer, mut tunnel) = pair();
        peer.write_all(&packet(0x12, b"finished and more")).await.expect("room");
        let mut scratch = [0; 8];
        tunnel.read_exact(&mut scratch).await.expect("half of it");
        assert!(tunnel.handshake_is_over().is_err());
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_an_error() {
        let endless = packet(0x12, &[0; 4088]).repeat(limits::TLS_HANDSHAKE / 4088 + 1);
        for sent in [
            packet(0x10, b"LOGIN7 in clear"),
            vec![0x12, 1, 0, 7, 0, 0, 1, 0],
            vec![0x12, 1, 0xff, 0xff, 0, 0, 1, 0],
            vec![0x16, 3, 3, 0, 5, 1, 1, 1],
            endless,
        ] {
            let (mut peer, mut tunnel) = pair();
            let (_, result) = tokio::join!(
                async {
                    let _ = peer.write_all(&sent).await;
                    let _ = peer.shutdown().await;
                },
                async {
                    let mut scratch = [0; 4096];
                    loop {
                        match tunnel.read(&mut scratch).await {
                            Ok(0) => return Ok(()),
                            Ok(_) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
            );
            assert!(result.is_err(), "{:?}", &sent[..8]);
        }
        // Records of impossible length.
        for sent in [[23, 3, 3, 0, 0], [23, 3, 3, 0xff, 0xff], [0x01, 0x01, 0, 0x10, 0]] {
            let (mut peer, mut tunnel) = pair();
            tunnel.handshake_is_over().expect("nothing came");
            peer.write_all(&sent).await.expect("room");
            assert!(tunnel.read(&mut [0; 16]).await.is_err(), "{sent:?}");
        }
    }
}
