//! How a greeting ends that does not end with a client, and the bytes before that.
//!
//! Invariant: whatever a peer is told about its login goes to the log with what it must not be told; a peer that is not
//! logged in is read and written within its [`LoginGate`] only. Must not know any protocol's words.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroize as _;

use super::{GateClosed, Greeting, LoginGate};
use crate::{backend::Backend, limits, net::Peer, observe::RefusalKind, refusal::Refusal};

/// Time and bytes given to a peer to read its refusal before the socket is closed under it: closing with unread bytes
/// resets the connection, and the refusal would be lost.
const FAREWELL: (Duration, usize) = (Duration::from_millis(250), 64 * 1024);

/// The last words of a login that fails, in its protocol.
pub trait LastWords: for<'r> From<&'r Refusal> {
    /// The kind of a refusal that only a login can be told.
    fn kind(&self) -> RefusalKind;
    /// What a refusal says, for the log.
    fn summary(&self) -> String;
    /// Writes the line of the log.
    fn log(&self, listener: &str, peer: Peer, reason: &str);
}

/// Why a greeting does not end with a client.
#[derive(Debug)]
pub enum Unwelcome<W> {
    /// The client is told, and the log in its own words.
    Told {
        /// What the client is told.
        words: Box<W>,
        /// What the log says.
        reason: String,
        /// For the metrics.
        kind: RefusalKind,
    },
    /// Not worth a word to anybody: the peer went away, or never spoke this protocol.
    Silent(String),
}

impl<W: LastWords> Unwelcome<W> {
    /// A refusal that only a login can be told.
    pub fn told(words: W, reason: impl Into<String>) -> Self {
        Unwelcome::Told {
            kind: words.kind(),
            words: Box::new(words),
            reason: reason.into(),
        }
    }

    /// Tells the log.
    pub fn note(&self, listener: &str, peer: Peer) {
        match self {
            Unwelcome::Told { words, reason, .. } => words.log(listener, peer, reason),
            Unwelcome::Silent(reason) => {
                tracing::debug!(listener, %peer, reason, "connection closed before login");
            }
        }
    }
}

impl<W, B: Backend> From<Unwelcome<W>> for Greeting<B> {
    fn from(unwelcome: Unwelcome<W>) -> Self {
        match unwelcome {
            Unwelcome::Told { kind, .. } => Greeting::Refused(kind),
            Unwelcome::Silent(_) => Greeting::Nothing,
        }
    }
}

impl<W: LastWords> From<Refusal> for Unwelcome<W> {
    fn from(why: Refusal) -> Self {
        let words = W::from(&why);
        Unwelcome::Told {
            kind: RefusalKind::from(&why),
            reason: words.summary(),
            words: Box::new(words),
        }
    }
}

impl<W: LastWords> From<GateClosed> for Unwelcome<W> {
    fn from(closed: GateClosed) -> Self {
        Unwelcome::from(Refusal::from(closed))
    }
}

impl<W> From<std::io::Error> for Unwelcome<W> {
    fn from(error: std::io::Error) -> Self {
        Unwelcome::Silent(error.to_string())
    }
}

impl LoginGate {
    /// Reads what has arrived from a peer that is not logged in, within the bounds of a login. No copy of it is left
    /// behind: it may hold a password.
    ///
    /// # Errors
    /// The gate has closed, or the peer has gone.
    pub async fn read<W: LastWords>(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> Result<(), Unwelcome<W>> {
        let mut chunk = [0; limits::LOGIN_READ];
        let read = self.within(stream.read(&mut chunk)).await??;
        if read == 0 {
            return Err(Unwelcome::Silent("the peer went away".to_owned()));
        }
        self.count(read)?;
        buffer.extend_from_slice(&chunk[..read]);
        chunk[..read].zeroize();
        Ok(())
    }

    /// Writes everything to it.
    ///
    /// # Errors
    /// It does not read, or has gone.
    pub async fn write<W>(&self, stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Unwelcome<W>> {
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let written = self.within(write).await;
        written.map_err(|_| Unwelcome::Silent("the peer does not read".to_owned()))??;
        Ok(())
    }
}

/// Says the last words to a peer and closes, so that they arrive.
pub async fn dismiss(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), words: &[u8]) {
    let (patience, most) = FAREWELL;
    let farewell = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut chunk = [0; limits::LOGIN_READ];
        let mut dropped = 0;
        while dropped < most {
            match stream.read(&mut chunk).await? {
                0 => break,
                read => dropped += read,
            }
        }
        std::io::Result::Ok(())
    };
    // A peer that does not listen has nothing to complain about.
    let _ = tokio::time::timeout(patience, farewell).await;
}
