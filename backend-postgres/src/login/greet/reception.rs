//! The first packets: from a socket to a line, in clear or inside TLS, with a startup packet that makes sense.

use bytes::{Buf as _, BytesMut};
use weir_config::ListenerTlsMode;
use weir_core::{
    front::{self, LoginGate},
    net::{
        Socket, Stream,
        tls::{self, NothingBuffered, ServerTls},
    },
    refusal::Refusal,
    secret::Secret,
};

use super::{Ended, FrontendSettings};
use crate::{
    dialogue::refusals,
    login::{
        handshake::{Handshake, Login, TlsOffer, Verdict},
        scram::Binding,
        words::Fatal,
    },
    wire::startup::TLS_HANDSHAKE,
};

/// What a peer wants.
#[allow(clippy::large_enum_variant, reason = "one for a moment, and most are logins")]
pub(super) enum Received {
    Cancel {
        id: u32,
        secret: Secret<Vec<u8>>,
        stream: Stream,
    },
    Login {
        line: Line,
        login: Box<Login>,
    },
}

/// A peer that is not logged in yet: its stream, what it sent ahead, and what it may still send.
pub(super) struct Line {
    pub(super) stream: Stream,
    pub(super) buffer: BytesMut,
    pub(super) gate: LoginGate,
    /// What its authentication can be bound to.
    pub(super) binding: Binding,
}

type Failure = (Ended, Option<Line>);

/// Takes the first packets of a connection.
pub(super) async fn receive(settings: &FrontendSettings, socket: Socket, gate: LoginGate) -> Result<Received, Failure> {
    // TLS is not spoken on Unix sockets, as in PostgreSQL.
    let tls = settings.tls.as_ref().filter(|_| socket.tcp().is_some());
    let tls = tls.map(|tls| tls.material.current());
    let offer = if tls.is_some() {
        TlsOffer::Available
    } else {
        TlsOffer::Unavailable
    };
    // Only looked at: direct TLS must find its first byte in the socket.
    let first = gate.within(socket.peek_first_byte()).await;
    let line = Line {
        stream: Stream::Plain(socket),
        buffer: BytesMut::new(),
        gate,
        binding: Binding::None,
    };
    let first = match first {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => return Err((error.into(), None)),
        Err(closed) => return Err((closed.into(), Some(line))),
    };
    let handshake = Handshake::new(offer);
    let verdict = handshake.judge(
        &first
            .filter(|first| *first == TLS_HANDSHAKE)
            .map_or(Vec::new(), |first| vec![first]),
    );
    let mut next = obey(settings, line, tls.as_deref(), handshake, verdict).await?;
    loop {
        next = match next {
            Next::Done(received) => return Ok(received),
            Next::Judge(line, handshake) => {
                let verdict = handshake.judge(&line.buffer);
                obey(settings, line, tls.as_deref(), handshake, verdict).await?
            }
        };
    }
}

enum Next {
    Judge(Line, Handshake),
    Done(Received),
}

/// Does what a verdict says.
async fn obey(
    settings: &FrontendSettings,
    mut line: Line,
    tls: Option<&ServerTls>,
    handshake: Handshake,
    verdict: Verdict,
) -> Result<Next, Failure> {
    let (step, handshake) = match verdict {
        Verdict::Need(_) => (line.read_more().await, handshake),
        Verdict::SayNo { taken, next } => {
            line.buffer.advance(taken);
            (line.write(b"N").await, next)
        }
        Verdict::Secure { taken, next } => {
            line.buffer.advance(taken);
            let line = secure(line, tls, Start::Asked).await.map_err(|ended| (ended, None))?;
            return Ok(Next::Judge(line, next));
        }
        Verdict::SecureDirectly(next) => {
            let line = secure(line, tls, Start::Direct).await.map_err(|ended| (ended, None))?;
            return Ok(Next::Judge(line, next));
        }
        Verdict::Cancel { id, secret } => {
            let stream = line.stream;
            return Ok(Next::Done(Received::Cancel { id, secret, stream }));
        }
        Verdict::Login { taken, login } => {
            line.buffer.advance(taken);
            return match check(settings, &line) {
                Ok(()) => Ok(Next::Done(Received::Login { line, login })),
                Err(ended) => Err((ended, Some(line))),
            };
        }
        Verdict::Refuse(fatal) => {
            let reason = fatal.message.clone();
            return Err((Ended::told(fatal, reason), Some(line)));
        }
        Verdict::Close(reason) => return Err((Ended::Silent(reason.to_owned()), None)),
    };
    match step {
        Ok(()) => Ok(Next::Judge(line, handshake)),
        Err(ended) => Err((ended, Some(line))),
    }
}

/// What is asked of everybody, before anything about users is.
fn check(settings: &FrontendSettings, line: &Line) -> Result<(), Ended> {
    if let Some(why) = line.gate.refusal() {
        return Err(why.clone().into());
    }
    let insists = insists_on_tls(settings);
    if insists && !line.stream.socket().is_unix() && !line.stream.is_encrypted() {
        let detail = format!(
            "listener \"{}\" has an sslmode of require or stricter",
            settings.listener
        );
        let fatal = Fatal::from(refusals::fatal(&Refusal::TlsRequired)).detail(detail);
        return Err(Ended::told(
            fatal,
            "the connection is not encrypted, and the listener asks for it",
        ));
    }
    Ok(())
}

/// Whether the listener lets nobody in in clear, but over a Unix socket.
pub(super) fn insists_on_tls(settings: &FrontendSettings) -> bool {
    let mode = settings.tls.as_ref().map(|tls| tls.mode);
    mode.is_some_and(|mode| mode != ListenerTlsMode::Optional)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Asked,
    Direct,
}

async fn secure(mut line: Line, tls: Option<&ServerTls>, start: Start) -> Result<Line, Ended> {
    // The handshake offers it only where there is material.
    let tls = tls.ok_or_else(|| Ended::Silent("no certificate".to_owned()))?;
    let proof = NothingBuffered::check(&line.buffer).map_err(|error| Ended::Silent(error.to_string()))?;
    if start == Start::Asked {
        line.write(b"S").await?;
    }
    let Stream::Plain(socket) = line.stream else {
        return Err(Ended::Silent("TLS inside TLS".to_owned()));
    };
    let secured = line.gate.within(tls::accept(socket, tls, proof)).await;
    let stream = secured.map_err(|_| Ended::Silent("the TLS handshake took too long".to_owned()))??;
    if start == Start::Direct && stream.alpn() != Some(b"postgresql") {
        return Err(Ended::Silent(
            "direct TLS without the ALPN protocol \"postgresql\"".to_owned(),
        ));
    }
    let binding = tls
        .channel_binding_hash()
        .map_or(Binding::None, |hash| Binding::ServerEndPoint(hash.to_vec()));
    Ok(Line {
        stream,
        binding,
        ..line
    })
}

impl Line {
    /// Reads what has arrived, within the bounds of a login.
    pub(super) async fn read_more(&mut self) -> Result<(), Ended> {
        self.gate.read(&mut self.stream, &mut self.buffer).await
    }

    /// Writes everything.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.gate.write(&mut self.stream, bytes).await
    }

    /// Says the last words and closes, so that they arrive.
    pub(super) async fn close_with(&mut self, fatal: &Fatal) {
        let mut words = BytesMut::new();
        fatal.write(&mut words);
        front::dismiss(&mut self.stream, &words).await;
    }
}
