//! TLS on both sides, by rustls with the `ring` provider named explicitly (never the process-wide default).
//!
//! Invariants: TLS 1.2 or newer; nothing that was received in clear is ever treated as if it came through TLS (see
//! [`NothingBuffered`]); handshake signatures are verified in every mode, also where the certificate is not; material is
//! checked before it is used. Building [`ServerTls`] and [`ClientTls`] may read files and derive keys: call it off the reactor.
//!
//! Knows no protocol: who asks for TLS in which words, and what happens when there is none, is a backend's business.

mod certificate;
mod client;
mod material;
mod reload;
mod server;
mod verify;

use std::{fmt, io, sync::Arc};

use rustls::{SupportedProtocolVersion, crypto::CryptoProvider};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use certificate::{certificate_binding_hash, certificate_common_name};
pub use client::{ClientCertificate, ClientTls, ClientTlsSettings, Roots, SslMode, Verification};
pub use material::{MaterialError, Pem, Problem};
pub use reload::Reloadable;
pub use server::{ClientCertificates, ServerTls, ServerTlsSettings};
pub use tokio_rustls::{client::TlsStream as ClientTlsStream, server::TlsStream as ServerTlsStream};

use crate::{
    backend::Io,
    net::{Socket, Stream},
};

/// Proof that nothing received in clear is waiting to be read. Needed to enter TLS, and only issued by
/// [`NothingBuffered::check`].
///
/// Without it, bytes that somebody on the path put behind the request for TLS would be executed as if they had come
/// through TLS (CVE-2021-3935 on the client side, CVE-2021-23222 on the server side). What is still in the kernel's
/// buffer needs no check: TLS reads it, and it is no TLS record.
#[derive(Debug)]
pub struct NothingBuffered(());

impl NothingBuffered {
    /// Gives the proof if `read`, everything read from the socket and not yet judged, is empty.
    ///
    /// # Errors
    /// [`ClearTextBeforeTls`]: close the connection without another word.
    pub fn check(read: &[u8]) -> Result<Self, ClearTextBeforeTls> {
        if read.is_empty() {
            Ok(NothingBuffered(()))
        } else {
            Err(ClearTextBeforeTls)
        }
    }
}

/// The peer, or somebody in between, sent bytes in clear behind the negotiation of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearTextBeforeTls;

impl fmt::Display for ClearTextBeforeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes arrived in clear behind the request for TLS; possible man-in-the-middle attack")
    }
}

impl std::error::Error for ClearTextBeforeTls {}

/// Which versions may be negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// Only 1.2: for tunnels inside another protocol that break with 1.3.
    Only12,
}

impl TlsVersions {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        match self {
            TlsVersions::All => rustls::ALL_VERSIONS,
            TlsVersions::Only12 => ONLY_12,
        }
    }
}

/// Does the TLS handshake as the server. The caller bounds the time.
///
/// # Errors
/// What went wrong, after the peer got the TLS alert for it.
pub async fn accept(socket: Socket, tls: &ServerTls, proof: NothingBuffered) -> io::Result<Stream> {
    let stream = accept_over(socket, tls, proof).await?;
    Ok(Stream::TlsServer(Box::new(stream)))
}

/// As [`accept`], over any byte stream: for protocols that carry the handshake inside packets of their own.
///
/// # Errors
/// As [`accept`].
pub async fn accept_over<S: Io>(io: S, tls: &ServerTls, _proof: NothingBuffered) -> io::Result<ServerTlsStream<S>> {
    TlsAcceptor::from(tls.config()).accept(io).await
}

/// Does the TLS handshake as the client. `name` is the host name or IP address as the user wrote it: it is sent as SNI
/// (names only) and checked where the settings ask for it. The caller bounds the time.
///
/// With TLS 1.3 a server that dislikes our client certificate says so only after this succeeded: the first read fails.
///
/// # Errors
/// [`is_untrusted`] tells a server that is not what was asked for from a handshake that broke off.
pub async fn connect(socket: Socket, name: &str, tls: &ClientTls, proof: NothingBuffered) -> io::Result<Stream> {
    let stream = connect_over(socket, name, tls, proof).await?;
    Ok(Stream::TlsClient(Box::new(stream)))
}

/// As [`connect`], over any byte stream: for protocols that carry the handshake inside packets of their own.
///
/// # Errors
/// As [`connect`].
pub async fn connect_over<S: Io>(
    io: S,
    name: &str,
    tls: &ClientTls,
    _proof: NothingBuffered,
) -> io::Result<ClientTlsStream<S>> {
    let server_name = tls.server_name(name)?;
    TlsConnector::from(tls.config())
        .connect(server_name, io)
        .await
        .map_err(|error| verify::explain(error, name))
}

/// Whether an error of [`connect`] means that the server is not what was asked for.
pub fn is_untrusted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Untrusted>())
}

/// The peer's certificate, or the lack of it, does not satisfy the settings.
#[derive(Debug)]
struct Untrusted(String);

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untrusted {}

impl From<Untrusted> for io::Error {
    fn from(untrusted: Untrusted) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, untrusted)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_behind_the_negotiation_gives_no_proof() {
        assert!(NothingBuffered::check(b"").is_ok());
        assert_eq!(NothingBuffered::check(b"Q").err(), Some(ClearTextBeforeTls));
    }
}
