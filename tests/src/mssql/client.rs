//! A byte-exact TDS client: sends what it is told to, and writes down every token of the answer.

use std::{io, net::SocketAddr};

use rusqlite::types::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    engine::convert,
    wire::{
        Malformed, Put as _, Take,
        incoming::{self, Incoming},
        packet::{self, ReadError, kind, status},
        types::COLLATION,
    },
};

/// The tokens of one message, a line each: `env 8 <new> <old>`, `row 1 'x' null`, `done 0010 c1 1`, `error 208 16 1 …`.
pub type Lines = Vec<String>;

/// See the module. It follows transaction descriptors, as every client must.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// Sent in ALL_HEADERS.
    pub descriptor: u64,
    /// As agreed at login.
    pub packet_size: usize,
}

/// What to log in with.
#[derive(Clone, Debug)]
pub struct Credentials<'a> {
    /// Login name.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Database, or empty.
    pub database: &'a str,
    /// Packet size to ask for.
    pub packet_size: u32,
    /// Feature extensions: id and data.
    pub features: &'a [(u8, &'a [u8])],
    /// With which defaults its session shall start.
    pub defaults: Defaults,
}

/// What LOGIN7 asks for a session to start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// ODBC's.
    Odbc,
    /// The server's.
    Servers,
}

impl Default for Credentials<'_> {
    fn default() -> Self {
        Credentials {
            user: super::LOGIN,
            password: super::PASSWORD,
            database: super::DATABASE,
            packet_size: 4096,
            features: &[],
            defaults: Defaults::Odbc,
        }
    }
}

impl RawClient {
    /// Connects without encryption and logs in; the tokens of the answer.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn log_in(address: SocketAddr, credentials: &Credentials<'_>) -> io::Result<(RawClient, Lines)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = RawClient {
            stream,
            descriptor: 0,
            packet_size: 32_767,
        };
        let prelogin = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 17, 0, 0, 0, 0, 0, 2];
        client.send(kind::PRELOGIN, 0, &prelogin).await?;
        packet::read(&mut client.stream, 32_767).await.map_err(ended)?;
        client.send(kind::LOGIN7, 0, &login(credentials)).await?;
        let lines = client.read().await?;
        client.packet_size = 4096;
        if let Some(size) = lines.iter().find_map(|line| line.strip_prefix("env 4 ")) {
            client.packet_size = size
                .split(' ')
                .next()
                .and_then(|size| size.parse().ok())
                .unwrap_or(4096);
        }
        Ok((client, lines))
    }

    /// Connects and logs in as the default login.
    ///
    /// # Panics
    /// When the login is refused.
    pub async fn connect(address: SocketAddr) -> RawClient {
        let (client, lines) = RawClient::log_in(address, &Credentials::default())
            .await
            .expect("the server answers");
        assert!(lines.iter().any(|line| line.starts_with("loginack")), "{lines:#?}");
        client
    }

    /// Sends a message; `bits` are added to the status of its first packet.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn send(&mut self, kind: u8, bits: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = packet::split(kind, payload, self.packet_size, 0);
        bytes[1] |= bits;
        self.stream.write_all(&bytes).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends an Attention.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn attention(&mut self) -> io::Result<()> {
        self.send(kind::ATTENTION, 0, &[]).await
    }

    /// Reads one message, to its packet that says "last".
    ///
    /// # Errors
    /// The connection ended, or the message is no sequence of tokens.
    pub async fn read(&mut self) -> io::Result<Lines> {
        let message = packet::read_any(&mut self.stream).await.map_err(ended)?;
        let lines = tokens(&message.payload).map_err(|malformed| io::Error::other(malformed.0))?;
        for line in &lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["env", "8", new, _] => self.descriptor = descriptor(new),
                ["env", "9" | "10" | "17", ..] => self.descriptor = 0,
                // A reset ends the transaction, if it was not one that keeps it: then ENVCHANGE 8 never came before 18.
                _ => {}
            }
        }
        Ok(lines)
    }

    /// Reads what has come, at most a few bytes, and does not understand it: for a client that leaves in the middle.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn read_some(&mut self) -> io::Result<usize> {
        self.stream.read(&mut [0; 100]).await
    }

    /// Ends the connection with a reset, not in order.
    pub fn abort(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// A SQL batch and its answer.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn batch(&mut self, sql: &str) -> Lines {
        self.batch_with(0, sql).await
    }

    /// A SQL batch and its answer, from a server that may have gone.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn try_batch(&mut self, sql: &str) -> io::Result<Lines> {
        let mut payload = self.headers();
        payload.utf16(sql);
        self.send(kind::BATCH, 0, &payload).await?;
        self.read().await
    }

    /// As [`RawClient::batch`], with bits of the status: 0x08 resets.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn batch_with(&mut self, bits: u8, sql: &str) -> Lines {
        self.start(bits, sql).await;
        if bits & status::RESET != 0 {
            self.descriptor = 0;
        }
        self.read().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Sends a SQL batch and does not wait.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn start(&mut self, bits: u8, sql: &str) {
        let mut payload = self.headers();
        payload.utf16(sql);
        self.send(kind::BATCH, bits, &payload)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A request of the transaction manager: the bytes behind ALL_HEADERS.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn transaction(&mut self, body: &[u8]) -> Lines {
        let mut payload = self.headers();
        payload.raw(body);
        self.send(kind::TRANSACTION, 0, &payload)
            .await
            .expect("the connection is open");
        self.read().await.expect("the server answers")
    }

    /// A call: the bytes behind ALL_HEADERS.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn call(&mut self, body: &[u8]) -> Lines {
        self.call_with(0, body).await
    }

    /// As [`RawClient::call`], with bits of the status.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn call_with(&mut self, bits: u8, body: &[u8]) -> Lines {
        let mut payload = self.headers();
        payload.raw(body);
        self.send(kind::RPC, bits, &payload)
            .await
            .expect("the connection is open");
        self.read().await.expect("the server answers")
    }

    /// The number of the transaction that it was told it is in; 0: none.
    pub fn descriptor(&self) -> u64 {
        self.descriptor
    }

    /// ALL_HEADERS with the descriptor of now.
    pub fn headers(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.u32(22);
        out.u32(18);
        out.u16(2);
        out.u64(self.descriptor);
        out.u32(1);
        out
    }
}

/// Builds the body of a call.
#[derive(Clone, Debug, Default)]
pub struct Call(Vec<u8>);

impl Call {
    /// A procedure by number.
    pub fn id(id: u16) -> Call {
        let mut out = vec![0xFF, 0xFF];
        out.u16(id);
        out.u16(0);
        Call(out)
    }

    /// A procedure by name.
    pub fn name(name: &str) -> Call {
        let mut out = Vec::new();
        out.us_varchar(name);
        out.u16(0);
        Call(out)
    }

    /// An `nvarchar` parameter.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Call {
        self.0.b_varchar(name);
        self.0.raw(&[0, 0xE7, 0x40, 0x1F]);
        self.0.raw(&COLLATION);
        let mut bytes = Vec::new();
        bytes.utf16(value);
        self.0.u16(bytes.len() as u16);
        self.0.raw(&bytes);
        self
    }

    /// An `int` parameter; OUTPUT when `output`; NULL when None.
    #[must_use]
    pub fn int(mut self, name: &str, value: Option<i32>, output: bool) -> Call {
        self.0.b_varchar(name);
        self.0.raw(&[u8::from(output), 0x26, 4]);
        match value {
            Some(value) => {
                self.0.u8(4);
                self.0.i32(value);
            }
            None => self.0.u8(0),
        }
        self
    }

    /// Another call in the same message.
    #[must_use]
    pub fn then(mut self, next: &Call) -> Call {
        self.0.u8(0xFF);
        self.0.raw(&next.0);
        self
    }

    /// The bytes behind ALL_HEADERS.
    pub fn body(&self) -> &[u8] {
        &self.0
    }
}

fn ended(error: ReadError) -> io::Error {
    match error {
        ReadError::Closed => io::ErrorKind::UnexpectedEof.into(),
        ReadError::Malformed(malformed) => io::Error::other(malformed.0),
    }
}

fn descriptor(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).map_or(0, u64::swap_bytes)
}

fn login(credentials: &Credentials<'_>) -> Vec<u8> {
    let scrambled: Vec<u8> = credentials
        .password
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .map(|byte| byte.rotate_left(4) ^ 0xA5)
        .collect();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    // Host, user, password, application, server, extension, library, language, database.
    let mut fields = [
        utf16("host"),
        utf16(credentials.user),
        scrambled,
        utf16("raw client"),
        utf16("server"),
        vec![0; 4],
        utf16("raw"),
        Vec::new(),
        utf16(credentials.database),
    ];
    let extended = !credentials.features.is_empty();
    let total: usize = 94 + fields.iter().map(Vec::len).sum::<usize>();
    fields[5] = (total as u32).to_le_bytes().to_vec();
    let mut out = Vec::new();
    for value in [0, 0x7400_0004, credentials.packet_size, 0, 1, 0] {
        out.u32(value);
    }
    let odbc = match credentials.defaults {
        Defaults::Odbc => 0x02,
        Defaults::Servers => 0,
    };
    out.raw(&[0xE0, 0x01 | odbc, 0, if extended { 0x10 } else { 0 }]);
    out.u32(0);
    out.u32(0x0409);
    let mut offset = 94u16;
    let mut data = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let count = if index == 5 { field.len() } else { field.len() / 2 };
        out.u16(offset);
        out.u16(count as u16);
        offset += field.len() as u16;
        data.raw(field);
    }
    out.raw(&[0; 6]);
    for _ in 0..3 {
        out.u16(offset);
        out.u16(0);
    }
    out.u32(0);
    out.raw(&data);
    if extended {
        for (id, value) in credentials.features {
            out.u8(*id);
            out.u32(value.len() as u32);
            out.raw(value);
        }
        out.u8(0xFF);
    }
    let length = (out.len() as u32).to_le_bytes();
    out[..4].copy_from_slice(&length);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All tokens of a message.
fn tokens(payload: &[u8]) -> Result<Lines, Malformed> {
    let mut take = Take(payload);
    let mut columns: Vec<Incoming> = Vec::new();
    let mut lines = Vec::new();
    while !take.is_empty() {
        let token = take.u8()?;
        lines.push(match token {
            0x81 => {
                let mut line = "columns".to_owned();
                columns.clear();
                for _ in 0..take.u16()? {
                    take.u32()?;
                    take.u16()?;
                    let column = incoming::take_info(&mut take, true)?;
                    line.push_str(&format!(" {}:{}", take.b_varchar()?, column.kind.name()));
                    columns.push(column);
                }
                line
            }
            0xD1 | 0xD2 => {
                let bitmap = if token == 0xD2 {
                    take.bytes(columns.len().div_ceil(8))?.to_vec()
                } else {
                    vec![0; columns.len().div_ceil(8)]
                };
                let mut line = "row".to_owned();
                for (index, column) in columns.iter().enumerate() {
                    let absent = bitmap[index / 8] & (1 << (index % 8)) != 0;
                    let value = if absent {
                        Value::Null
                    } else {
                        incoming::take_value(&mut take, *column)?
                    };
                    line.push_str(&shown(&value, *column));
                }
                line
            }
            0xE3 => environment(Take({
                let length = usize::from(take.u16()?);
                take.bytes(length)?
            }))?,
            0xAA | 0xAB => {
                take.u16()?;
                let (number, state, class) = (take.i32()?, take.u8()?, take.u8()?);
                let text = take.us_varchar()?;
                take.b_varchar()?;
                take.b_varchar()?;
                take.u32()?;
                format!(
                    "{} {number} {class} {state} {text}",
                    if token == 0xAA { "error" } else { "info" }
                )
            }
            0xAC => {
                let ordinal = take.u16()?;
                let name = take.b_varchar()?;
                take.bytes(7)?;
                let kind = incoming::take_info(&mut take, false)?;
                let value = incoming::take_value(&mut take, kind)?;
                format!("return {ordinal} {name}{}", shown(&value, kind))
            }
            0xAD => {
                let length = usize::from(take.u16()?);
                format!("loginack {}", hex(&take.bytes(length)?[1..5]))
            }
            0xAE => {
                let mut line = "features".to_owned();
                loop {
                    match take.u8()? {
                        0xFF => break,
                        id => {
                            let length = take.u32()? as usize;
                            take.bytes(length)?;
                            line.push_str(&format!(" {id:02x}"));
                        }
                    }
                }
                line
            }
            0x79 => format!("status {}", take.i32()?),
            0xE4 => {
                let length = take.u32()? as usize;
                let mut body = Take(take.bytes(length)?);
                body.u32()?;
                let recoverable = body.u8()?;
                let mut line = format!("state {recoverable}");
                while !body.is_empty() {
                    let id = body.u8()?;
                    let length = match body.u8()? {
                        0xFF => body.u32()? as usize,
                        length => usize::from(length),
                    };
                    body.bytes(length)?;
                    line.push_str(&format!(" {id}"));
                }
                line
            }
            0xFD..=0xFF => {
                let name = ["done", "doneproc", "doneinproc"][usize::from(token - 0xFD)];
                format!("{name} {:04x} {:x} {}", take.u16()?, take.u16()?, take.u64()?)
            }
            other => return Err(Malformed(format!("token {other:#04x} after {lines:?}"))),
        });
    }
    Ok(lines)
}

fn environment(mut body: Take<'_>) -> Result<String, Malformed> {
    let kind = body.u8()?;
    Ok(match kind {
        1 | 2 | 4 => format!("env {kind} {} {}", body.b_varchar()?, body.b_varchar()?),
        _ => {
            let length = usize::from(body.u8()?);
            let new = hex(body.bytes(length)?);
            let length = usize::from(body.u8()?);
            format!("env {kind} {} {}", new, hex(body.bytes(length)?))
        }
    })
}

fn shown(value: &Value, column: Incoming) -> String {
    match value {
        Value::Null => " null".to_owned(),
        Value::Blob(bytes) => format!(" 0x{}", hex(bytes)),
        Value::Text(text) if column.kind.is_text() => format!(" '{text}'"),
        other => format!(" {}", convert::to_text(other, Some(column.kind)).unwrap_or_default()),
    }
}
