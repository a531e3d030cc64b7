//! One server, from a socket to the answer to LOGIN7: PRELOGIN, TLS as agreed on, the login itself.
//!
//! Invariants: where TLS is asked for, nothing but PRELOGIN is sent before it is there, and an answer that takes it back is
//! an error; nothing is read behind a message that answers one of ours.

use std::borrow::Cow;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_config::MssqlEndpoint;
use weir_core::{
    net::{
        Socket,
        tls::{self, ClientTls, NothingBuffered},
    },
    refusal::OpenError,
};
use zeroize::Zeroizing;

use super::{
    super::{
        limits,
        reply::{Asked, LoginReply},
        stream::TdsStream,
        tunnel::Tunnel,
    },
    Wanted,
    material::ALPN,
    unreachable,
};
use crate::{
    limits::MAX_PRELOGIN,
    wire::{
        assemble::{Assembler, Message},
        login7::Login7,
        packet::{HEADER, Header, LOGIN_PACKET_SIZE, PacketKind, Sender},
        prelogin::{Encryption, PreLogin, ProductVersion},
        reframe,
    },
};

/// A line to a server, up to the end of its login.
#[derive(Debug)]
pub(super) struct Line {
    stream: TdsStream,
    /// What TLS is there for.
    scope: Scope,
    assembler: Assembler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// It ends right behind LOGIN7.
    Login,
    /// Whatever there is stays.
    Everything,
}

/// How a login ended.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) reply: LoginReply,
    /// The server's number for the session.
    pub(super) spid: u16,
    pub(super) stream: TdsStream,
}

/// Asks a server for something with a batch of our own, on a connection that is at rest.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The connection.
    pub stream: &'a mut TdsStream,
    /// Bytes of a packet.
    pub packet_size: u16,
}

impl Line {
    /// Agrees on TLS with a server that was just reached, and does it.
    pub(super) async fn secure(
        socket: Socket,
        host: &str,
        wanted: &Wanted,
        endpoint: &MssqlEndpoint,
    ) -> Result<Line, OpenError> {
        if let Wanted::Strict(tls) = wanted {
            let stream = directly(socket, host, tls).await?;
            let mut line = Line::over(stream, Scope::Everything);
            // The byte means nothing inside of TLS (TDS 2.4).
            line.prelogin(Encryption::NotSupported, endpoint).await?;
            return Ok(line);
        }
        let asked = match wanted {
            Wanted::Clear => Encryption::NotSupported,
            Wanted::LoginOnly { .. } => Encryption::Off,
            Wanted::Full(_) | Wanted::Strict(_) => Encryption::On,
        };
        let mut line = Line::over(TdsStream::Plain(socket), Scope::Everything);
        let answered = line.prelogin(asked, endpoint).await?;
        match agreed(wanted, answered) {
            Agreed::Clear => Ok(line),
            Agreed::Tls(tls, scope) => line.inside_packets(host, tls, scope).await,
            Agreed::Nothing(why) => Err(OpenError::Untrusted(format!("{host} {why}"))),
        }
    }

    /// Logs in. Where only the login is encrypted, TLS ends here. The stream that comes out is at rest, with nothing read
    /// ahead.
    pub(super) async fn log_in(mut self, login: &Login7, asked: &Asked) -> Result<Answered, OpenError> {
        let payload = login
            .to_payload()
            .map_err(|what| OpenError::Misconfigured(format!("the login cannot be sent: {what}")))?;
        let mut packets = BytesMut::with_capacity(payload.len() + payload.len() / 4000 * HEADER + HEADER);
        reframe::frame(
            PacketKind::Login7,
            crate::wire::packet::Status::default(),
            &payload,
            LOGIN_PACKET_SIZE,
            &mut packets,
        );
        // Wiped, as the password is in it.
        let packets = Zeroizing::new(Vec::from(packets));
        self.send(&packets).await?;
        let mut line = self.end_of_login()?;
        line.assembler.set_limit(limits::SERVER_LOGIN_MESSAGE);
        // A server may already answer in packets of the new size.
        line.assembler.set_packet_size(asked.packet_size.max(LOGIN_PACKET_SIZE));
        let message = line.message().await?;
        let reply = LoginReply::read(&message.payload, asked).map_err(faulty)?;
        Ok(Answered {
            reply,
            spid: message.spid,
            stream: line.stream,
        })
    }

    fn over(stream: TdsStream, scope: Scope) -> Self {
        Line {
            stream,
            scope,
            assembler: Assembler::new(Sender::Server, MAX_PRELOGIN),
        }
    }

    async fn prelogin(&mut self, encryption: Encryption, endpoint: &MssqlEndpoint) -> Result<Encryption, OpenError> {
        let hello = PreLogin {
            version: ProductVersion {
                major: 1,
                ..ProductVersion::default()
            },
            encryption: Some(encryption),
            instance: Some(endpoint.instance.clone().unwrap_or_default().into_bytes()),
            thread_id: Some(std::process::id().to_be_bytes().to_vec()),
            mars: Some(0),
            ..PreLogin::default()
        };
        let packet = reframe::framed(PacketKind::PreLogin, &hello.to_client_payload(), LOGIN_PACKET_SIZE);
        self.send(&packet).await?;
        let message = self.message().await?;
        let answer = PreLogin::parse(&message.payload).map_err(faulty)?;
        Ok(answer.encryption.unwrap_or(Encryption::NotSupported))
    }

    async fn inside_packets(self, host: &str, tls: &ClientTls, scope: Scope) -> Result<Line, OpenError> {
        let TdsStream::Plain(socket) = self.stream else {
            return Err(OpenError::Untrusted("TLS inside TLS".to_owned()));
        };
        let mut stream = tls::connect_over(Tunnel::packets(socket), host, tls, nothing_read()?)
            .await
            .map_err(tls_error)?;
        stream.flush().await.map_err(unreachable)?;
        let tunnel = stream.get_mut().0;
        tunnel.handshake_is_over().map_err(unreachable)?;
        if scope == Scope::Everything {
            tunnel.stays_encrypted().map_err(unreachable)?;
        }
        Ok(Line::over(TdsStream::TlsClient(Box::new(stream)), scope))
    }

    /// Nothing has been read since the handshake, and the tunnel reads record by record: whatever the server says next is
    /// still in the socket.
    fn end_of_login(self) -> Result<Line, OpenError> {
        let stream = match (self.scope, self.stream) {
            (Scope::Login, TdsStream::TlsClient(tls)) => {
                let (tunnel, _) = tls.into_inner();
                if !tunnel.at_record_border() {
                    return Err(faulty("half a TLS record ahead of the login"));
                }
                TdsStream::Plain(tunnel.into_socket())
            }
            (_, stream) => stream,
        };
        Ok(Line::over(stream, Scope::Everything))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        self.stream.write_all(bytes).await.map_err(unreachable)?;
        self.stream.flush().await.map_err(unreachable)
    }

    async fn message(&mut self) -> Result<Message, OpenError> {
        message(&mut self.stream, &mut self.assembler).await
    }
}

impl Batch<'_> {
    /// Sends the text outside of any transaction and returns the payload of the answer.
    ///
    /// # Errors
    /// [`OpenError`]: the connection is of no use any more.
    pub async fn run(&mut self, text: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.run_in(text, 0).await
    }

    /// The same in the transaction with this descriptor.
    ///
    /// # Errors
    /// As [`Batch::run`].
    pub async fn run_in(&mut self, text: &str, transaction: u64) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut payload = Vec::with_capacity(22 + text.len() * 2);
        // ALL_HEADERS with a transaction descriptor (TDS 5.1).
        for number in [22_u32, 18] {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        payload.extend_from_slice(&2_u16.to_le_bytes());
        payload.extend_from_slice(&transaction.to_le_bytes());
        payload.extend_from_slice(&1_u32.to_le_bytes());
        payload.extend_from_slice(&crate::wire::utf16::encode(text));
        let packets = reframe::framed(PacketKind::SqlBatch, &payload, self.packet_size);
        self.stream.write_all(&packets).await.map_err(unreachable)?;
        self.stream.flush().await.map_err(unreachable)?;
        let mut assembler = Assembler::new(Sender::Server, limits::SERVER_LOGIN_MESSAGE);
        assembler.set_packet_size(self.packet_size);
        Ok(message(self.stream, &mut assembler).await?.payload)
    }
}

/// Reads one message, and not a byte more.
async fn message(stream: &mut TdsStream, assembler: &mut Assembler) -> Result<Message, OpenError> {
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.map_err(unreachable)?;
        let payload = match Header::read(&header).map_err(faulty)? {
            Some(parsed) => parsed.payload(),
            None => return Err(faulty("half a header")),
        };
        // Judges the header before anything is read, or reserved, that it announces.
        if let Some(message) = push(assembler, &header)? {
            return Ok(message);
        }
        let mut left = payload;
        let mut chunk = [0; limits::GREETING_READ];
        while left > 0 {
            let most = left.min(chunk.len());
            let read = stream.read(&mut chunk[..most]).await.map_err(unreachable)?;
            if read == 0 {
                return Err(unreachable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            left -= read;
            if let Some(message) = push(assembler, &chunk[..read])? {
                return Ok(message);
            }
        }
    }
}

fn push(assembler: &mut Assembler, mut bytes: &[u8]) -> Result<Option<Message>, OpenError> {
    assembler.push(&mut bytes).map_err(|fault| faulty(fault.to_string()))
}

enum Agreed<'a> {
    Clear,
    Tls(&'a ClientTls, Scope),
    Nothing(&'static str),
}

/// What the server's answer means for what was asked (TDS 2.2, seen from the client).
fn agreed(wanted: &Wanted, answered: Encryption) -> Agreed<'_> {
    use Encryption::{NotSupported, Off, On, Required};

    match (wanted, answered) {
        (Wanted::Clear, NotSupported) => Agreed::Clear,
        (Wanted::Clear, _) => Agreed::Nothing("wants TLS, but sslmode is disable"),
        (Wanted::LoginOnly { login, .. }, Off) => Agreed::Tls(login, Scope::Login),
        (Wanted::LoginOnly { required, .. }, On | Required) => Agreed::Tls(required, Scope::Everything),
        (Wanted::LoginOnly { .. }, NotSupported) => Agreed::Clear,
        (Wanted::Full(tls), On | Required) => Agreed::Tls(tls, Scope::Everything),
        (Wanted::Full(_), NotSupported | Off) => Agreed::Nothing(
            "does not do TLS, but Encrypt asks for it; if that is how it should be, set Encrypt=optional",
        ),
        (_, _) => Agreed::Nothing("answered PRELOGIN with something that is no answer"),
    }
}

async fn directly(socket: Socket, host: &str, tls: &ClientTls) -> Result<TdsStream, OpenError> {
    let stream = tls::connect_over(Tunnel::open(socket), host, tls, nothing_read()?)
        .await
        .map_err(tls_error)?;
    let stream = TdsStream::TlsClient(Box::new(stream));
    // A server that does not name a protocol speaks it all the same (TDS 2.4).
    match stream.alpn() {
        None | Some(ALPN) => Ok(stream),
        Some(_) => Err(OpenError::Untrusted(format!("{host} speaks something else inside TLS"))),
    }
}

fn nothing_read() -> Result<NothingBuffered, OpenError> {
    // Messages are read to their end and not further; what somebody put behind one is still in the socket, where TLS
    // finds it and breaks off.
    NothingBuffered::check(&[]).map_err(|error| OpenError::Untrusted(error.to_string()))
}

fn tls_error(error: std::io::Error) -> OpenError {
    if tls::is_untrusted(&error) {
        OpenError::Untrusted(error.to_string())
    } else {
        unreachable(error)
    }
}

pub(super) fn faulty(what: impl Into<Cow<'static, str>>) -> OpenError {
    OpenError::Untrusted(format!("the server does not follow the TDS protocol: {}", what.into()))
}
