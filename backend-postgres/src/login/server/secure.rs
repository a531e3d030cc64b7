//! From a socket to a stream in clear or inside TLS, by the rules of libpq's `sslmode`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_config::{PostgresEndpoint, SslMode, Verification};
use weir_core::{
    net::{
        Socket, Stream,
        tls::{self, ClientTls, NothingBuffered},
    },
    refusal::OpenError,
};

use super::{Security, recorder::PasswordPolicy, unreachable};
use crate::wire::startup;

/// One way to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Clear,
    /// In clear when the server says no.
    TlsIfPossible,
    Tls,
}

/// The ways that a mode allows, in the order in which libpq tries them.
pub(super) fn lines(mode: SslMode) -> &'static [Line] {
    match mode {
        SslMode::Disable => &[Line::Clear],
        SslMode::Allow => &[Line::Clear, Line::Tls],
        SslMode::Prefer => &[Line::TlsIfPossible, Line::Clear],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Line::Tls],
    }
}

/// Secures the line; also says how it came out, for a cancel request to do the same.
pub(super) async fn secure(
    mut socket: Socket,
    host: &str,
    security: Security,
    line: Line,
) -> Result<(Stream, Security), OpenError> {
    match &security {
        Security::Clear => Ok((Stream::Plain(socket), security)),
        // The socket has not been read at all.
        Security::Direct(tls) => {
            let stream = handshake(socket, host, tls).await?;
            if stream.alpn() != Some(b"postgresql") {
                return Err(OpenError::Untrusted(format!(
                    "{host} does not speak PostgreSQL inside direct TLS (no ALPN \"postgresql\"): \
                     sslnegotiation=direct needs PostgreSQL 17 or newer"
                )));
            }
            Ok((stream, security))
        }
        Security::Asked(tls) => {
            socket.write_all(&startup::ssl_request()).await.map_err(unreachable)?;
            // Exactly one byte: whatever somebody put behind the answer stays in the kernel, where TLS finds it and
            // breaks off (CVE-2021-23222).
            let mut answer = [0];
            socket.read_exact(&mut answer).await.map_err(unreachable)?;
            match answer[0] {
                b'S' => {
                    let stream = handshake(socket, host, tls).await?;
                    Ok((stream, security))
                }
                b'N' if line == Line::TlsIfPossible => Ok((Stream::Plain(socket), Security::Clear)),
                b'N' => Err(OpenError::Untrusted(format!(
                    "{host} does not do TLS, but sslmode asks for it; if that is how it should be, set sslmode=prefer"
                ))),
                // Not read: nothing that comes before TLS may be shown as the server's words (CVE-2024-10977).
                b'E' => Err(OpenError::Unreachable(format!(
                    "{host} answered the request for TLS with an error"
                ))),
                _ => Err(OpenError::Untrusted(format!(
                    "{host} does not speak PostgreSQL's protocol"
                ))),
            }
        }
    }
}

async fn handshake(socket: Socket, host: &str, tls: &ClientTls) -> Result<Stream, OpenError> {
    let proof = NothingBuffered::check(&[]).map_err(|error| OpenError::Untrusted(error.to_string()))?;
    tls::connect(socket, host, tls, proof).await.map_err(|error| {
        if tls::is_untrusted(&error) {
            OpenError::Untrusted(error.to_string())
        } else {
            unreachable(error)
        }
    })
}

/// Whether a server may ask for the password itself over this stream. Loopback proves nothing: any process may listen on
/// a port, and a tunnel begins there as well.
pub(super) fn password_policy(stream: &Stream, endpoint: &PostgresEndpoint) -> PasswordPolicy {
    let verified = stream.is_encrypted() && endpoint.verification() != Verification::Nothing;
    let local = matches!(stream.socket(), Socket::Unix(_));
    if verified || local {
        PasswordPolicy::Any
    } else {
        PasswordPolicy::ScramOnly
    }
}
