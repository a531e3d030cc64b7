//! A client that sends exactly what it is told and shows exactly what it is answered.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Message, frontend};

/// How the client secures its connection.
#[derive(Clone, Debug, Default)]
pub enum Security {
    /// Not.
    #[default]
    Clear,
    /// SSLRequest, then TLS.
    Negotiated(Arc<ClientConfig>),
    /// TLS from the first byte.
    Direct(Arc<ClientConfig>),
}

/// How long a client waits for a message before it calls the server hung.
#[derive(Clone, Copy, Debug)]
pub struct Patience(pub Duration);

impl Default for Patience {
    fn default() -> Self {
        Patience(Duration::from_secs(20))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection.
pub struct RawClient {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    /// How long [`RawClient::receive`] waits.
    pub patience: Patience,
    /// ParameterStatus of the login, in order.
    pub parameters: Vec<(String, String)>,
    /// Process id of BackendKeyData.
    pub process: u32,
    /// Its secret key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for RawClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawClient")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl RawClient {
    /// Connects, without a word.
    pub async fn open(address: SocketAddr) -> Result<RawClient> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(RawClient::over(Box::new(stream)))
    }

    /// Connects and secures the connection.
    pub async fn open_with(address: SocketAddr, security: &Security) -> Result<RawClient> {
        let mut client = RawClient::open(address).await?;
        let config = match security {
            Security::Clear => return Ok(client),
            Security::Negotiated(config) => {
                client.send(&frontend::ssl_request()).await?;
                let answer = client.byte().await?;
                if answer != b'S' {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("SSLRequest answered {:?}", char::from(answer)),
                    ));
                }
                config
            }
            Security::Direct(config) => config,
        };
        client.into_tls(config.clone()).await
    }

    /// Starts TLS on this connection.
    pub async fn into_tls(self, config: Arc<ClientConfig>) -> Result<RawClient> {
        self.into_tls_as(config, "localhost").await
    }

    /// The same with a server whose certificate is for `name`.
    pub async fn into_tls_as(self, config: Arc<ClientConfig>, name: &str) -> Result<RawClient> {
        let name = ServerName::try_from(name.to_owned()).expect("a valid name");
        let connector = tokio_rustls::TlsConnector::from(config);
        let handshake = connector.connect(name, self.stream);
        let stream = tokio::time::timeout(self.patience.0, handshake)
            .await
            .map_err(|_| hung())??;
        Ok(RawClient::over(Box::new(stream)))
    }

    fn over(stream: Box<dyn Stream>) -> RawClient {
        let buffer = BytesMut::with_capacity(16 * 1024);
        RawClient {
            stream,
            buffer,
            patience: Patience::default(),
            parameters: Vec::new(),
            process: 0,
            key: Vec::new(),
        }
    }

    /// Connects and logs in with protocol 3.0.
    pub async fn log_in(address: SocketAddr, user: &str, secret: &str, database: &str) -> Result<RawClient> {
        RawClient::log_in_with(
            address,
            &Security::Clear,
            secret,
            0,
            &[("user", user), ("database", database)],
        )
        .await
    }

    /// Connects and logs in; `parameters` are those of the StartupMessage.
    pub async fn log_in_with(
        address: SocketAddr,
        security: &Security,
        secret: &str,
        minor: u16,
        parameters: &[(&str, &str)],
    ) -> Result<RawClient> {
        let mut client = RawClient::open_with(address, security).await?;
        client.send(&frontend::startup(minor, parameters)).await?;
        client.authenticate(secret).await?;
        Ok(client)
    }

    /// Plays the client's part after a StartupMessage, up to the first ReadyForQuery. An ErrorResponse becomes an error
    /// of kind PermissionDenied with the SQLSTATE and message as its text.
    pub async fn authenticate(&mut self, secret: &str) -> Result<Vec<Message>> {
        let mut scram = ScramSha256::new(secret.as_bytes(), ChannelBinding::unsupported());
        let mut others = Vec::new();
        loop {
            let message = self.receive().await?.ok_or(ErrorKind::UnexpectedEof)?;
            match message.tag {
                b'R' => self.answer_authentication(&mut scram, &message).await?,
                b'E' => return Err(refused(&message)),
                b'S' => {
                    let mut fields = message
                        .body
                        .split(|byte| *byte == 0)
                        .map(|field| String::from_utf8_lossy(field).into_owned());
                    self.parameters
                        .push((fields.next().unwrap_or_default(), fields.next().unwrap_or_default()));
                }
                b'K' => {
                    self.process = u32::from_be_bytes(message.body[..4].try_into().unwrap());
                    self.key = message.body[4..].to_vec();
                }
                b'Z' => return Ok(others),
                _ => others.push(message),
            }
        }
    }

    async fn answer_authentication(&mut self, scram: &mut ScramSha256, message: &Message) -> Result<()> {
        let (kind, rest) = message.body.split_at(4);
        match kind[3] {
            0 => Ok(()),
            10 => {
                let initial = frontend::sasl_initial(SCRAM_SHA_256, scram.message());
                self.send(&initial).await
            }
            11 => {
                scram.update(rest)?;
                let response = frontend::password(scram.message());
                self.send(&response).await
            }
            12 => scram.finish(rest),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("authentication request {other}"),
            )),
        }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(self.patience.0, sending)
            .await
            .map_err(|_| hung())?
    }

    /// Ends the sending side.
    pub async fn half_close(&mut self) -> Result<()> {
        self.stream.shutdown().await
    }

    /// One byte that is no message: the answer to SSLRequest.
    pub async fn byte(&mut self) -> Result<u8> {
        while self.buffer.is_empty() {
            if self.fill().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.get_u8())
    }

    /// Bytes that have arrived and belong to no message yet.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Waits for more bytes; 0 is the end of the stream.
    pub async fn fill(&mut self) -> Result<usize> {
        let reading = self.stream.read_buf(&mut self.buffer);
        match tokio::time::timeout(self.patience.0, reading)
            .await
            .map_err(|_| hung())?
        {
            // A reset is an end as well.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
                ) =>
            {
                Ok(0)
            }
            other => other,
        }
    }

    /// The next message; None at the end of the stream.
    pub async fn receive(&mut self) -> Result<Option<Message>> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if !(4..=1 << 30).contains(&length) {
                    return Err(Error::new(
                        ErrorKind::InvalidData,
                        format!("GARBLED: {}", self.buffer[..5].escape_ascii()),
                    ));
                }
                if self.buffer.len() > length {
                    let tag = self.buffer.get_u8();
                    self.buffer.advance(4);
                    return Ok(Some(Message {
                        tag,
                        body: self.buffer.split_to(length - 4).to_vec(),
                    }));
                }
                self.buffer.reserve(length + 1 - self.buffer.len());
            }
            if self.fill().await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("half a message: {}", self.buffer.escape_ascii()),
                ));
            }
        }
    }

    /// Messages up to and including the first of this type. An error tells what came before it.
    pub async fn until(&mut self, tag: u8) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let error = match self.receive().await {
                Ok(Some(message)) => {
                    messages.push(message);
                    if messages.last().is_some_and(|message| message.tag == tag) {
                        return Ok(messages);
                    }
                    continue;
                }
                Ok(None) => Error::new(ErrorKind::UnexpectedEof, "closed"),
                Err(error) => error,
            };
            let so_far = super::describe(&messages);
            return Err(Error::new(
                error.kind(),
                format!("{error}, waiting for {}, after:\n{so_far}", char::from(tag)),
            ));
        }
    }

    /// Sends bytes and reads up to ReadyForQuery.
    pub async fn ask(&mut self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.send(bytes).await?;
        self.until(b'Z').await
    }

    /// A simple query; every message of its answer.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Message>> {
        self.ask(&frontend::query(sql)).await
    }

    /// A simple query that must succeed; the first column of its rows.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> impl Future<Output = Vec<String>> {
        let caller = std::panic::Location::caller();
        let sql = sql.to_owned();
        async move {
            let messages = self
                .simple(&sql)
                .await
                .unwrap_or_else(|error| panic!("{caller}: {sql}: {error}"));
            if let Some(error) = super::first_error(&messages) {
                panic!("{caller}: {sql}: {error}");
            }
            super::first_columns(&messages)
        }
    }

    /// Everything up to the end of the stream, which must come within the limit.
    pub async fn until_closed(&mut self, limit: Duration) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let reading = async {
            while let Some(message) = self.receive().await? {
                messages.push(message);
            }
            Result::Ok(())
        };
        tokio::time::timeout(limit, reading)
            .await
            .map_err(|_| Error::new(ErrorKind::TimedOut, "still open"))??;
        Ok(messages)
    }

    /// What arrives until nothing did for this long.
    pub async fn drain(&mut self, quiet: Duration) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            match tokio::time::timeout(quiet, self.receive()).await {
                Err(_) => return Ok(messages),
                Ok(Ok(Some(message))) => messages.push(message),
                Ok(Ok(None)) => return Ok(messages),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Terminate, then the end.
    pub async fn leave(mut self) {
        let _ = self.send(&frontend::terminate()).await;
        let _ = self.half_close().await;
    }

    /// Asks for this client's work to be cancelled, over a connection of its own, and waits for that to be closed.
    pub async fn cancel(&self, address: SocketAddr, security: &Security) -> Result<()> {
        let mut other = RawClient::open_with(address, security).await?;
        other.send(&frontend::cancel_request(self.process, &self.key)).await?;
        while other.fill().await? > 0 {}
        Ok(())
    }
}

/// Opens a connection, sends bytes, and returns all raw bytes that come back until the end of the stream or the limit;
/// the second value says whether the other side closed it.
pub async fn exchange(address: SocketAddr, bytes: &[u8], limit: Duration) -> Result<(Vec<u8>, bool)> {
    let mut client = RawClient::open(address).await?;
    // The other side may close before it has read everything.
    let _ = client.send(bytes).await;
    let reading = async { while client.fill().await.is_ok_and(|read| read > 0) {} };
    let closed = tokio::time::timeout(limit, reading).await.is_ok();
    Ok((client.buffer.to_vec(), closed))
}

fn hung() -> Error {
    Error::new(ErrorKind::TimedOut, "HANG: nothing came in time")
}

fn refused(message: &Message) -> Error {
    let mut text = format!(
        "{}: {}",
        message.sqlstate().unwrap_or("?????"),
        message.field(b'M').unwrap_or_default()
    );
    if let Some(detail) = message.field(b'D') {
        text += &format!(" ({detail})");
    }
    Error::new(ErrorKind::PermissionDenied, text)
}
