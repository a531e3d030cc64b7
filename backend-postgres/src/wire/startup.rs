//! The packets without a type byte, with which every connection starts: StartupMessage, SSLRequest, GSSENCRequest,
//! CancelRequest; and NegotiateProtocolVersion, which answers some of them.
//!
//! Pure: bytes in, values out. Invariants: a packet is at most [`MAX_STARTUP_PACKET`] bytes (PostgreSQL's own
//! `MAX_STARTUP_PACKET_LENGTH`); nothing is allocated by a claimed length; the list of parameters ends exactly with the
//! packet. Must not know what the parameters mean.

use bytes::{BufMut, BytesMut};
use weir_core::secret::Secret;
use zeroize::Zeroizing;

/// Bytes of the longest startup packet, its length field included (specification, appendix A rule 6).
pub const MAX_STARTUP_PACKET: usize = 10_000;

/// First byte of a TLS handshake record: direct TLS, as libpq 17 and later do it with `sslnegotiation=direct`.
pub const TLS_HANDSHAKE: u8 = 0x16;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Shortest and longest secret of a cancel key; 3.0 says exactly 4, 3.2 up to 256.
pub const CANCEL_SECRET: std::ops::RangeInclusive<usize> = 4..=256;

/// A protocol version as it travels: major in the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol {
    /// 3 since 2003.
    pub major: u16,
    /// 0, or 2 since PostgreSQL 18. There never was a 3.1.
    pub minor: u16,
}

impl Protocol {
    /// What every server speaks.
    pub const V3_0: Protocol = Protocol { major: 3, minor: 0 };
    /// Long cancel keys.
    pub const V3_2: Protocol = Protocol { major: 3, minor: 2 };

    /// As it travels.
    pub fn code(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }

    /// From what travelled.
    pub fn from_code(code: u32) -> Self {
        Protocol {
            major: (code >> 16) as u16,
            minor: (code & 0xffff) as u16,
        }
    }

    /// Bytes of the cancel secret that a server gives to a client of this version.
    pub fn cancel_secret_len(self) -> usize {
        if self >= Protocol::V3_2 { 32 } else { 4 }
    }
}

/// One packet of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupPacket {
    /// "Do you speak TLS?"
    SslRequest,
    /// "Do you speak GSSAPI encryption?"
    GssEncRequest,
    /// "Cancel what the holder of this key is doing."
    Cancel {
        /// The process id, for a real server.
        id: u32,
        /// The rest of the key.
        secret: Secret<Vec<u8>>,
    },
    /// "Let me in."
    Startup(StartupMessage),
}

/// The parameters of a StartupMessage, in the order sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupMessage {
    /// What the client would like to speak.
    pub protocol: Protocol,
    /// Names and values. A name may occur twice; the last one counts.
    pub parameters: Vec<(String, String)>,
}

impl StartupMessage {
    /// The last value given for `name`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Why a startup packet is none. The words are PostgreSQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupFault {
    /// Too short for its kind, or longer than [`MAX_STARTUP_PACKET`].
    Length,
    /// The terminator is missing, not at the end, or a name lacks its value.
    Layout,
    /// A name or value is not UTF-8.
    Encoding,
    /// A cancel key outside of [`CANCEL_SECRET`].
    CancelKey,
}

impl StartupFault {
    /// For the peer and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            StartupFault::Length => "invalid length of startup packet",
            StartupFault::Layout => "invalid startup packet layout: expected terminator as last byte",
            StartupFault::Encoding => "invalid startup packet: a parameter is not valid UTF-8",
            StartupFault::CancelKey => "invalid length of cancel request packet",
        }
    }
}

/// How much of the packet at the start of `bytes` is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least this many bytes are needed in all; at most [`MAX_STARTUP_PACKET`].
    Need(usize),
    /// A whole packet, and how many bytes it took.
    Packet(StartupPacket, usize),
}

/// Reads the packet at the start of `bytes`.
///
/// # Errors
/// [`StartupFault`] as soon as it is certain; never panics, never asks for more than [`MAX_STARTUP_PACKET`].
pub fn parse(bytes: &[u8]) -> Result<Progress, StartupFault> {
    let Some(length) = be_u32(bytes, 0) else {
        return Ok(Progress::Need(8));
    };
    let length = length as usize;
    if !(8..=MAX_STARTUP_PACKET).contains(&length) {
        return Err(StartupFault::Length);
    }
    let Some(packet) = bytes.get(..length) else {
        return Ok(Progress::Need(length));
    };
    let body = &packet[8..];
    let parsed = match be_u32(packet, 4).ok_or(StartupFault::Length)? {
        SSL_REQUEST if body.is_empty() => StartupPacket::SslRequest,
        GSSENC_REQUEST if body.is_empty() => StartupPacket::GssEncRequest,
        SSL_REQUEST | GSSENC_REQUEST => return Err(StartupFault::Length),
        CANCEL_REQUEST => cancel(body)?,
        code => StartupPacket::Startup(StartupMessage {
            protocol: Protocol::from_code(code),
            // Of another major version nothing is known but its number.
            parameters: if code >> 16 == 3 { parameters(body)? } else { Vec::new() },
        }),
    };
    Ok(Progress::Packet(parsed, length))
}

fn cancel(body: &[u8]) -> Result<StartupPacket, StartupFault> {
    let id = be_u32(body, 0).ok_or(StartupFault::CancelKey)?;
    let secret = &body[4..];
    if !CANCEL_SECRET.contains(&secret.len()) {
        return Err(StartupFault::CancelKey);
    }
    Ok(StartupPacket::Cancel {
        id,
        secret: Secret::new(secret.to_vec()),
    })
}

fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, StartupFault> {
    let mut parameters = Vec::new();
    let mut rest = body;
    loop {
        let name = c_string(&mut rest)?;
        if name.is_empty() {
            return if rest.is_empty() {
                Ok(parameters)
            } else {
                Err(StartupFault::Layout)
            };
        }
        let value = c_string(&mut rest)?;
        parameters.push((name.to_owned(), value.to_owned()));
    }
}

fn c_string<'a>(rest: &mut &'a [u8]) -> Result<&'a str, StartupFault> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(StartupFault::Layout)?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| StartupFault::Encoding)?;
    *rest = &rest[end + 1..];
    Ok(text)
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// "Do you speak TLS?", to a server.
pub fn ssl_request() -> [u8; 8] {
    let mut packet = [0; 8];
    packet[3] = 8;
    packet[4..].copy_from_slice(&SSL_REQUEST.to_be_bytes());
    packet
}

/// "Cancel what the holder of this key is doing", to a server.
pub fn cancel_request(id: u32, secret: &[u8]) -> Zeroizing<Vec<u8>> {
    debug_assert!(
        CANCEL_SECRET.contains(&secret.len()),
        "the recorder of server logins keeps no other key"
    );
    let mut packet = Zeroizing::new(Vec::with_capacity(12 + secret.len()));
    packet.extend_from_slice(&(12 + secret.len() as u32).to_be_bytes());
    packet.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(secret);
    packet
}

/// Why a startup packet for a server cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// A name or value contains a zero byte, or a name is empty.
    ZeroByte,
    /// It would be longer than [`MAX_STARTUP_PACKET`].
    TooLong,
}

/// "Let me in", to a server.
///
/// # Errors
/// [`Unsendable`]: the settings cannot be put in a packet.
pub fn startup_message<'a>(
    protocol: Protocol,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<u8>, Unsendable> {
    let mut packet = vec![0; 4];
    packet.extend_from_slice(&protocol.code().to_be_bytes());
    for (name, value) in parameters {
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(Unsendable::ZeroByte);
        }
        for text in [name, value] {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
    }
    packet.push(0);
    if packet.len() > MAX_STARTUP_PACKET {
        return Err(Unsendable::TooLong);
    }
    let length = packet.len() as u32;
    packet[..4].copy_from_slice(&length.to_be_bytes());
    Ok(packet)
}

/// NegotiateProtocolVersion: "I speak at most this, and have never heard of these options" (appendix A rule 2).
/// Carries the whole version, as PostgreSQL sends it, although its documentation says "minor".
pub fn negotiate_protocol_version(protocol: Protocol, unrecognised: &[&str], out: &mut BytesMut) {
    let names: usize = unrecognised.iter().map(|name| name.len() + 1).sum();
    out.put_u8(b'v');
    // At most one startup packet's worth of names.
    out.put_u32((12 + names) as u32);
    out.put_u32(protocol.code());
    out.put_u32(unrecognised.len() as u32);
    for name in unrecognised {
        out.put_slice(name.as_bytes());
        out.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn what_we_write_for_servers_is_what_we_read_from_clients() {
        let sent = startup_message(
            Protocol::V3_2,
            [("user", "ann"), ("database", "ledger"), ("options", "")],
        )
        .unwrap();
        let Ok(Progress::Packet(StartupPacket::Startup(read), length)) = parse(&sent) else {
            panic!("no startup message")
        };
        assert_eq!(length, sent.len());
        assert_eq!(read.protocol, Protocol::V3_2);
        assert_eq!(read.parameter("database"), Some("ledger"));
        assert_eq!(read.parameter("options"), Some(""));
        assert_eq!(
            parse(&ssl_request()),
            Ok(Progress::Packet(StartupPacket::SslRequest, 8))
        );
        let cancel = cancel_request(7, &[1; 32]);
        assert_eq!(
            parse(&cancel),
            Ok(Progress::Packet(
                StartupPacket::Cancel {
                    id: 7,
                    secret: Secret::new(vec![1; 32]),
                },
                44
            ))
        );
    }

    #[test]
    fn hostile_lengths_are_refused_at_once() {
        for length in [0_u32, 3, 4, 7, 10_001, 1 << 31, (1 << 31) - 1, (1 << 31) + 1, u32::MAX] {
            assert_eq!(
                parse(&length.to_be_bytes()),
                Err(StartupFault::Length),
                "length {length}"
            );
        }
        assert_eq!(parse(&10_000_u32.to_be_bytes()), Ok(Progress::Need(10_000)));
        // An HTTP request is a length of more than a gigabyte.
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Err(StartupFault::Length));
    }

    #[test]
    fn the_terminator_is_the_last_byte() {
        let version = Protocol::V3_0.code().to_be_bytes();
        for (body, expected) in [
            (&b"user\0ann\0"[..], StartupFault::Layout),
            (b"user\0ann\0\0x", StartupFault::Layout),
            (b"user\0", StartupFault::Layout),
            (b"user", StartupFault::Layout),
            (b"", StartupFault::Layout),
            (b"user\0\xff\0\0", StartupFault::Encoding),
        ] {
            assert_eq!(parse(&framed(&[&version, body].concat())), Err(expected), "{body:?}");
        }
    }

    #[test]
    fn cancel_keys_have_bounds() {
        for (secret, valid) in [(0, false), (3, false), (4, true), (256, true), (257, false)] {
            let body = [&CANCEL_REQUEST.to_be_bytes()[..], &[0; 4], &vec![9; secret]].concat();
            assert_eq!(parse(&framed(&body)).is_ok(), valid, "{secret} bytes");
        }
    }

    #[test]
    fn requests_have_no_body() {
        assert_eq!(
            parse(&framed(&[&SSL_REQUEST.to_be_bytes()[..], b"x"].concat())),
            Err(StartupFault::Length)
        );
    }

    #[test]
    fn the_negotiation_carries_version_and_names() {
        let mut out = BytesMut::new();
        negotiate_protocol_version(Protocol::V3_2, &["_pq_.grease"], &mut out);
        assert_eq!(&out[..], b"v\0\0\0\x18\0\x03\0\x02\0\0\0\x01_pq_.grease\0");
    }

    proptest! {
        #[test]
        fn any_bytes_any_split(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let whole = parse(&bytes);
            if let Ok(Progress::Packet(_, taken)) = &whole {
                prop_assert!(*taken <= bytes.len());
            }
            if let Ok(Progress::Need(needed)) = &whole {
                prop_assert!(*needed > bytes.len() && *needed <= MAX_STARTUP_PACKET);
            }
            // A part never says something else than the whole, only less.
            let part = &bytes[..cut.min(bytes.len())];
            match parse(part) {
                Ok(Progress::Need(needed)) => prop_assert!(needed > part.len()),
                decided => prop_assert_eq!(decided, whole),
            }
        }

        #[test]
        fn valid_packets_survive(pairs in proptest::collection::vec(("[a-z_.]{1,12}", "[ -~]{0,20}"), 0..12)) {
            let sent = startup_message(Protocol::V3_0, pairs.iter().map(|(a, b)| (a.as_str(), b.as_str()))).unwrap();
            let read = parse(&sent);
            let Ok(Progress::Packet(StartupPacket::Startup(read), _)) = read else { panic!("{read:?}") };
            prop_assert_eq!(read.parameters, pairs);
        }
    }
}
