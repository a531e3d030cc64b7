//! Packets: eight bytes of header, a payload; a message is the payloads up to the packet that says "end of message".

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Malformed;

/// Bytes of a packet's header.
pub(crate) const HEADER: usize = 8;
/// A whole request may not be larger than this.
const LARGEST_MESSAGE: usize = 256 << 20;

/// Packet types.
pub(crate) mod kind {
    pub(crate) const BATCH: u8 = 0x01;
    pub(crate) const RPC: u8 = 0x03;
    pub(crate) const RESPONSE: u8 = 0x04;
    pub(crate) const ATTENTION: u8 = 0x06;
    pub(crate) const BULK: u8 = 0x07;
    pub(crate) const TRANSACTION: u8 = 0x0E;
    pub(crate) const LOGIN7: u8 = 0x10;
    pub(crate) const PRELOGIN: u8 = 0x12;
}

/// Bits of a packet's status.
pub(crate) mod status {
    pub(crate) const END: u8 = 0x01;
    pub(crate) const IGNORE: u8 = 0x02;
    pub(crate) const RESET: u8 = 0x08;
    pub(crate) const RESET_SKIP_TRANSACTION: u8 = 0x10;
}

/// A whole message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    /// Of its first packet, with the IGNORE bit of its last.
    pub(crate) status: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) packets: usize,
}

/// Why reading ended.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer closed, or the network did.
    Closed,
    Malformed(Malformed),
}

impl From<std::io::Error> for ReadError {
    fn from(_: std::io::Error) -> ReadError {
        ReadError::Closed
    }
}

/// Reads the next whole message. `largest` is the packet size that was agreed.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), largest: usize) -> Result<Message, ReadError> {
    read_message(stream, largest, true).await
}

/// As a client reads: packets before the last may be short.
pub(crate) async fn read_any(stream: &mut (impl AsyncRead + Unpin)) -> Result<Message, ReadError> {
    read_message(stream, 32_767, false).await
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin), largest: usize, full: bool) -> Result<Message, ReadError> {
    let mut message: Option<Message> = None;
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let [kind, bits, high, low, ..] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER || length > largest {
            let what = format!("a packet of {length} bytes; {HEADER} to {largest} are possible");
            return Err(ReadError::Malformed(Malformed(what)));
        }
        let mut payload = vec![0; length - HEADER];
        stream.read_exact(&mut payload).await?;
        match &mut message {
            None => {
                message = Some(Message {
                    kind,
                    status: bits,
                    payload,
                    packets: 1,
                });
            }
            Some(message) if message.kind == kind => {
                message.payload.extend_from_slice(&payload);
                message.status |= bits & status::IGNORE;
                message.packets += 1;
            }
            Some(message) => {
                let what = format!("packet type {kind:#04x} inside a message of type {:#04x}", message.kind);
                return Err(ReadError::Malformed(Malformed(what)));
            }
        }
        let so_far = message.as_ref().map_or(0, |message| message.payload.len());
        if so_far > LARGEST_MESSAGE {
            return Err(ReadError::Malformed(Malformed(format!(
                "a request of more than {LARGEST_MESSAGE} bytes"
            ))));
        }
        if bits & status::END != 0
            && let Some(message) = message.take()
        {
            return Ok(message);
        }
        // SQL Server expects full packets from TDS 7.3 on: one that is not, before the last, breaks the stream there.
        if full && length != largest && kind != kind::PRELOGIN && kind != kind::LOGIN7 {
            let what =
                format!("a packet of {length} bytes before the last of its message; the agreed size is {largest}");
            return Err(ReadError::Malformed(Malformed(what)));
        }
    }
}

/// Cuts a message into packets of at most `size` bytes.
pub(crate) fn split(kind: u8, payload: &[u8], size: usize, spid: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + HEADER);
    let chunks: Vec<&[u8]> = if payload.is_empty() {
        vec![payload]
    } else {
        payload.chunks(size - HEADER).collect()
    };
    let last = chunks.len() - 1;
    for (index, chunk) in chunks.into_iter().enumerate() {
        let bits = if index == last { status::END } else { 0 };
        bytes.extend(header(kind, bits, chunk.len(), spid, (index + 1) as u8));
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// A packet's header.
pub(crate) fn header(kind: u8, status: u8, payload: usize, spid: u16, id: u8) -> [u8; HEADER] {
    let length = ((payload + HEADER) as u16).to_be_bytes();
    let spid = spid.to_be_bytes();
    [kind, status, length[0], length[1], spid[0], spid[1], id, 0]
}
