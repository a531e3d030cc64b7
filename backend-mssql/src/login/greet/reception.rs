//! The first messages: from a socket to a line, in clear or inside TLS, with a login that makes sense.

use std::io::BufRead as _;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWriteExt as _;
use weir_core::{
    front::{self, LoginGate},
    net::{
        Socket,
        tls::{self, NothingBuffered},
    },
};
use zeroize::Zeroize as _;

use super::{Ended, FrontendSettings, ListenerMaterial};
use crate::{
    login::{
        handshake::{Handshake, Security, TLS_HANDSHAKE, Verdict},
        limits,
        request::LoginRequest,
        stream::TdsStream,
        tunnel::Tunnel,
    },
    refusals::Words,
    wire::{
        TdsVersion,
        done::{Done, DoneStatus},
        packet::{LOGIN_PACKET_SIZE, PacketKind},
        prelogin::ProductVersion,
        reframe,
    },
};

/// A peer that is not logged in yet: its stream, what it sent ahead, and what it may still send.
pub(super) struct Line {
    pub(super) stream: TdsStream,
    pub(super) buffer: BytesMut,
    pub(super) gate: LoginGate,
    /// Decides the layout of what it is told.
    pub(super) version: TdsVersion,
}

/// What the gateway says it is while it knows no server: SQL Server 2022. Drivers only ask whether it is younger than 2005.
pub(super) const UNKNOWN_SERVER: ProductVersion = ProductVersion {
    major: 16,
    minor: 0,
    build: 1000,
    sub_build: 0,
};

pub(super) type Failure = (Ended, Option<Line>);

/// Takes the first messages of a connection.
pub(super) async fn receive(
    settings: &FrontendSettings,
    socket: Socket,
    gate: LoginGate,
) -> Result<(Line, Box<LoginRequest>), Failure> {
    let material = settings.tls.as_ref().map(|tls| tls.material.current());
    // Only looked at: TLS must find its first byte in the socket.
    let first = gate.within(socket.peek_first_byte()).await;
    let line = Line {
        stream: TdsStream::Plain(socket),
        buffer: BytesMut::new(),
        gate: gate.allowing(limits::GREETING),
        version: TdsVersion::V7_4,
    };
    let first = match first {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => return Err((error.into(), None)),
        Err(closed) => return Err((closed.into(), None)),
    };
    let mut reception = Reception {
        handshake: Handshake::new(settings.policy(), server_version(settings)),
        security: Security::Clear,
    };
    let mut line = line;
    if first == Some(TLS_HANDSHAKE) {
        let verdict = reception.handshake.judge(&mut [TLS_HANDSHAKE].as_slice());
        line = match reception.obey(line, material.as_deref(), verdict).await? {
            Next::Judge(line) => line,
            Next::Done(line, login) => return Ok((line, login)),
        };
    }
    loop {
        let mut rest = &line.buffer[..];
        let verdict = reception.handshake.judge(&mut rest);
        let taken = line.buffer.len() - rest.len();
        // A password may have been in it.
        line.buffer[..taken].zeroize();
        line.buffer.advance(taken);
        line = match reception.obey(line, material.as_deref(), verdict).await? {
            Next::Judge(line) => line,
            Next::Done(line, login) => return Ok((line, login)),
        };
    }
}

struct Reception {
    handshake: Handshake,
    /// How the line is secured.
    security: Security,
}

enum Next {
    Judge(Line),
    Done(Line, Box<LoginRequest>),
}

impl Reception {
    /// Does what a verdict says.
    async fn obey(
        &mut self,
        mut line: Line,
        material: Option<&ListenerMaterial>,
        verdict: Verdict,
    ) -> Result<Next, Failure> {
        let step = match verdict {
            Verdict::Need => line.read_more().await,
            Verdict::SecureDirectly => {
                self.security = Security::Strict;
                let secured = secure(line, material, Security::Strict).await;
                return secured.map(Next::Judge).map_err(|ended| (ended, None));
            }
            Verdict::Answer { bytes, security } => {
                if !line.buffer.is_empty() {
                    return Err((pipelined(), None));
                }
                if let Err(ended) = line.write(&bytes).await {
                    return Err((ended, None));
                }
                if matches!(security, Security::LoginOnly | Security::Full) {
                    self.security = security;
                    line = secure(line, material, security).await.map_err(|ended| (ended, None))?;
                }
                Ok(())
            }
            Verdict::Login(login) => {
                let mut line = self.end_of_login(line).map_err(|ended| (ended, None))?;
                line.version = login.tds_version;
                return match line.gate.refusal() {
                    Some(why) => Err((why.clone().into(), Some(line))),
                    None => Ok(Next::Done(line, login)),
                };
            }
            Verdict::Refuse(words) => {
                let reason = words.text.to_string();
                let line = self.end_of_login(line).map_err(|ended| (ended, None))?;
                return Err((Ended::told(words, reason), Some(line)));
            }
            Verdict::Close(reason) => return Err((Ended::Silent(reason.to_owned()), None)),
        };
        match step {
            Ok(()) => Ok(Next::Judge(line)),
            // Before LOGIN7 has come nobody listens to an error.
            Err(ended) => Err((ended, None)),
        }
    }

    /// LOGIN7 is read. Where only the login is encrypted, TLS ends here, and what was read of the socket must have been
    /// judged to the last byte (TDS 2.3). In every mode a client now waits for its answer: whatever came behind its login
    /// was put there by somebody else.
    fn end_of_login(&self, line: Line) -> Result<Line, Ended> {
        if !line.buffer.is_empty() {
            return Err(pipelined());
        }
        let stream = match (self.security, line.stream) {
            (Security::LoginOnly, TdsStream::TlsServer(mut tls)) => {
                let unread = tls.get_mut().1.reader().fill_buf().is_ok_and(|bytes| !bytes.is_empty());
                let (tunnel, _) = tls.into_inner();
                if unread || !tunnel.at_record_border() {
                    return Err(pipelined());
                }
                TdsStream::Plain(tunnel.into_socket())
            }
            (_, stream) => stream,
        };
        Ok(Line { stream, ..line })
    }
}

fn pipelined() -> Ended {
    Ended::Silent(
        "bytes arrived behind a message that has to be answered first; possible man-in-the-middle attack".to_owned(),
    )
}

/// The version of whatever server was seen last; that of the client's own source is not known yet.
fn server_version(settings: &FrontendSettings) -> ProductVersion {
    let sources = settings.registry.sources();
    let known = sources
        .iter()
        .find_map(|source| source.parts().primary.backend().server_version());
    known.unwrap_or(UNKNOWN_SERVER)
}

async fn secure(line: Line, material: Option<&ListenerMaterial>, security: Security) -> Result<Line, Ended> {
    // The handshake offers it only where there is material.
    let material = material.ok_or_else(|| Ended::Silent("no certificate".to_owned()))?;
    let proof = NothingBuffered::check(&line.buffer).map_err(|error| Ended::Silent(error.to_string()))?;
    let TdsStream::Plain(socket) = line.stream else {
        return Err(Ended::Silent("TLS inside TLS".to_owned()));
    };
    let (tunnel, tls) = match security {
        Security::Strict => (Tunnel::open(socket), &material.strict),
        _ => (Tunnel::packets(socket), &material.tunnel),
    };
    let secured = line.gate.within(async {
        let mut stream = tls::accept_over(tunnel, tls, proof).await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    });
    let mut stream = secured
        .await
        .map_err(|_| Ended::Silent("the TLS handshake took too long".to_owned()))??;
    let tunnel = stream.get_mut().0;
    if security != Security::Strict {
        tunnel.handshake_is_over()?;
    }
    if security == Security::Full {
        tunnel.stays_encrypted()?;
    }
    Ok(Line {
        stream: TdsStream::TlsServer(Box::new(stream)),
        ..line
    })
}

impl Line {
    /// Reads what has arrived, within the bounds of a login.
    async fn read_more(&mut self) -> Result<(), Ended> {
        self.gate.read(&mut self.stream, &mut self.buffer).await
    }

    /// Writes everything.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.gate.write(&mut self.stream, bytes).await
    }

    /// Says the last words and closes, so that they arrive.
    pub(super) async fn close_with(&mut self, words: &Words) {
        let mut tokens = BytesMut::new();
        words.write(self.version, &mut tokens);
        Done::statement(DoneStatus::ERROR, 0).write(self.version, &mut tokens);
        let packet = reframe::framed(PacketKind::Response, &tokens, LOGIN_PACKET_SIZE);
        front::dismiss(&mut self.stream, &packet).await;
    }
}
