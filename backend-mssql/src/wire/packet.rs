//! Packets: the eight bytes in front of each, and a reader that turns a byte stream into messages without assembling
//! them.
//!
//! Pure. Invariants: no length is believed before it is checked against the negotiated packet size; all packets of a
//! message are of one type; a body is never kept. Must not know what a payload means.

use weir_core::refusal::Fault;

/// Bytes of a packet header (TDS 1.1).
pub const HEADER: usize = 8;

/// Packet size until the login is done, and the one that most drivers ask for (TDS 1.2).
pub const LOGIN_PACKET_SIZE: u16 = 4096;

/// Smallest packet size that may be negotiated (TDS 1.2).
pub const MIN_PACKET_SIZE: u16 = 512;

/// Largest packet size that may be negotiated: 32767, rounded down to a multiple of 4 as servers do (TDS 1.2).
pub const MAX_PACKET_SIZE: u16 = 32764;

/// What a client who asks for `requested` bytes gets; 0 means "as you like" (TDS 1.2).
pub fn negotiate_packet_size(requested: u32) -> u16 {
    match u16::try_from(requested).unwrap_or(MAX_PACKET_SIZE).min(MAX_PACKET_SIZE) {
        0 => LOGIN_PACKET_SIZE,
        size => (size & !3).max(MIN_PACKET_SIZE),
    }
}

/// Types of packets (TDS 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// SQL text.
    SqlBatch = 0x01,
    /// The login of TDS before 7; refused.
    OldLogin = 0x02,
    /// Procedure calls.
    Rpc = 0x03,
    /// Anything a server says, also the answer to PRELOGIN.
    Response = 0x04,
    /// Cancels; a header only.
    Attention = 0x06,
    /// Rows of a bulk load.
    BulkLoad = 0x07,
    /// A token of federated authentication.
    FederatedToken = 0x08,
    /// Transaction manager request.
    TransactionManager = 0x0e,
    /// LOGIN7.
    Login7 = 0x10,
    /// SSPI data.
    Sspi = 0x11,
    /// PRELOGIN, and the wrapping of a TLS handshake.
    PreLogin = 0x12,
}

impl PacketKind {
    /// From the type byte; `None` for a type that does not exist.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => PacketKind::SqlBatch,
            0x02 => PacketKind::OldLogin,
            0x03 => PacketKind::Rpc,
            0x04 => PacketKind::Response,
            0x06 => PacketKind::Attention,
            0x07 => PacketKind::BulkLoad,
            0x08 => PacketKind::FederatedToken,
            0x0e => PacketKind::TransactionManager,
            0x10 => PacketKind::Login7,
            0x11 => PacketKind::Sspi,
            0x12 => PacketKind::PreLogin,
            _ => return None,
        })
    }

    /// Whether messages of this type begin with ALL_HEADERS from TDS 7.2 on (TDS 5.1), and may carry the reset bits.
    pub fn has_headers(self) -> bool {
        matches!(
            self,
            PacketKind::SqlBatch | PacketKind::Rpc | PacketKind::TransactionManager
        )
    }
}

/// The status byte (TDS 1.1). Unknown bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Status(pub u8);

impl Status {
    /// The last packet of its message.
    pub const END_OF_MESSAGE: Status = Status(0x01);
    /// With `END_OF_MESSAGE`, from a client: forget the message.
    pub const IGNORE: Status = Status(0x02);
    /// On the first packet of a request: reset the session first.
    pub const RESET_CONNECTION: Status = Status(0x08);
    /// The same, but the transaction stays open.
    pub const RESET_CONNECTION_SKIP_TRANSACTION: Status = Status(0x10);

    /// Both, or all, of them.
    pub fn with(self, other: Status) -> Status {
        Status(self.0 | other.0)
    }

    /// Without the bits of `other`.
    pub fn without(self, other: Status) -> Status {
        Status(self.0 & !other.0)
    }

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this is the last packet of its message.
    pub fn ends_message(self) -> bool {
        self.has(Status::END_OF_MESSAGE)
    }

    /// Whether the message is to be forgotten.
    pub fn ignores_message(self) -> bool {
        self.has(Status::IGNORE) && self.ends_message()
    }

    /// What the client wants to be reset.
    pub fn reset(self) -> ResetBit {
        if self.has(Status::RESET_CONNECTION) {
            ResetBit::Connection
        } else if self.has(Status::RESET_CONNECTION_SKIP_TRANSACTION) {
            ResetBit::ConnectionButTransaction
        } else {
            ResetBit::None
        }
    }
}

/// What a request asks to be reset before it runs (TDS 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetBit {
    /// Nothing.
    #[default]
    None,
    /// The session; a local transaction is rolled back.
    Connection,
    /// The session; the transaction stays open.
    ConnectionButTransaction,
}

/// The header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub kind: PacketKind,
    /// The status byte.
    pub status: Status,
    /// Bytes of the whole packet, header included.
    pub length: u16,
    /// Session id of the server; clients send 0.
    pub spid: u16,
    /// Counts packets; means nothing.
    pub packet_id: u8,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` if it has not all arrived.
    ///
    /// # Errors
    /// A packet type that does not exist, or a length that does not even hold the header.
    pub fn read(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
        let Some(&[kind, status, high, low, spid_high, spid_low, packet_id, _window]) = bytes.first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        let length = u16::from_be_bytes([high, low]);
        if usize::from(length) < HEADER {
            return Err("invalid packet length");
        }
        Ok(Some(Header {
            kind: PacketKind::from_byte(kind).ok_or("invalid packet type")?,
            status: Status(status),
            length,
            spid: u16::from_be_bytes([spid_high, spid_low]),
            packet_id,
        }))
    }

    /// As it travels.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [high, low] = self.length.to_be_bytes();
        let [spid_high, spid_low] = self.spid.to_be_bytes();
        [
            self.kind as u8,
            self.status.0,
            high,
            low,
            spid_high,
            spid_low,
            self.packet_id,
            0,
        ]
    }

    /// Bytes behind the header.
    pub fn payload(self) -> usize {
        usize::from(self.length).saturating_sub(HEADER)
    }

    /// An Attention (TDS 8).
    pub fn attention() -> Header {
        Header {
            kind: PacketKind::Attention,
            status: Status::END_OF_MESSAGE,
            length: HEADER as u16,
            spid: 0,
            packet_id: 1,
        }
    }
}

/// Whose packets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client's: everything but a response.
    Client,
    /// A server's: responses, and the wrapping of a TLS handshake.
    Server,
}

impl Sender {
    /// The fault of this peer.
    pub fn fault(self, what: &'static str) -> Fault {
        match self {
            Sender::Client => Fault::Client(what),
            Sender::Server => Fault::Server(what),
        }
    }

    fn may_send(self, kind: PacketKind) -> bool {
        match self {
            Sender::Client => !matches!(kind, PacketKind::Response | PacketKind::OldLogin),
            Sender::Server => matches!(kind, PacketKind::Response | PacketKind::PreLogin),
        }
    }
}

/// What a packet is to its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The message starts with it.
    First,
    /// The message started before.
    Later,
}

/// What [`PacketReader::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// Cannot go on before this many bytes are at the front of the input: more than are there, at most [`HEADER`].
    Need(usize),
    /// A packet starts; its header has been consumed.
    Packet(Header, Place),
    /// Payload of the current packet, at least one byte; has been consumed.
    Payload(&'a [u8]),
    /// The message is over. Its last header is repeated: the IGNORE bit counts on the last packet.
    End(Header),
}

/// Takes a byte stream apart into packets and messages (TDS 1.1), holding nothing back.
#[derive(Clone, Debug)]
pub struct PacketReader {
    sender: Sender,
    largest: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between messages.
    Message,
    /// Between two packets of a message of this type.
    Packet(PacketKind),
    /// In a packet; this much of its payload is still to come.
    Payload(Header, usize),
}

impl PacketReader {
    /// At the start of what `sender` sends, before any login.
    pub fn new(sender: Sender) -> Self {
        PacketReader {
            sender,
            largest: LOGIN_PACKET_SIZE,
            state: State::Message,
        }
    }

    /// The size that was negotiated; holds from the next packet on.
    pub fn set_packet_size(&mut self, size: u16) {
        self.largest = size.max(MIN_PACKET_SIZE);
    }

    /// Whether nothing of a message has been read.
    pub fn is_between_messages(&self) -> bool {
        self.state == State::Message
    }

    /// What comes next in `input`, from whose front it takes what it hands out. What it leaves there (part of a header)
    /// has to be at the front of the next input again.
    ///
    /// # Errors
    /// A fault of the sender: a type or length that cannot be, or a packet of another type in the middle of a message.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Framed<'a>, Fault> {
        match self.state {
            State::Payload(header, 0) => {
                let ends = header.status.ends_message();
                self.state = if ends {
                    State::Message
                } else {
                    State::Packet(header.kind)
                };
                if ends {
                    return Ok(Framed::End(header));
                }
                self.header(input)
            }
            State::Payload(header, left) => {
                if input.is_empty() {
                    return Ok(Framed::Need(1));
                }
                let (payload, rest) = input.split_at(left.min(input.len()));
                *input = rest;
                self.state = State::Payload(header, left - payload.len());
                Ok(Framed::Payload(payload))
            }
            State::Message | State::Packet(_) => self.header(input),
        }
    }

    fn header<'a>(&mut self, input: &mut &'a [u8]) -> Result<Framed<'a>, Fault> {
        let Some(header) = Header::read(input).map_err(|what| self.sender.fault(what))? else {
            return Ok(Framed::Need(HEADER));
        };
        self.check(header).map_err(|what| self.sender.fault(what))?;
        let place = match self.state {
            State::Message => Place::First,
            _ => Place::Later,
        };
        *input = &input[HEADER..];
        self.state = State::Payload(header, header.payload());
        Ok(Framed::Packet(header, place))
    }

    fn check(&self, header: Header) -> Result<(), &'static str> {
        if !self.sender.may_send(header.kind) {
            return Err("packet type that this side never sends");
        }
        if header.length > self.largest {
            return Err("packet longer than the negotiated packet size");
        }
        if matches!(self.state, State::Packet(kind) if kind != header.kind) {
            return Err("packet of another type in the middle of a message");
        }
        if header.kind == PacketKind::Attention && (header.payload() > 0 || !header.status.ends_message()) {
            return Err("attention with a payload");
        }
        let both = Status::RESET_CONNECTION.with(Status::RESET_CONNECTION_SKIP_TRANSACTION);
        if self.sender == Sender::Client && header.status.has(both) {
            return Err("both reset bits in one packet");
        }
        Ok(())
    }
}
