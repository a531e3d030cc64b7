//! The PROXY protocol, versions 1 and 2: a load balancer says on whose behalf it connects, ahead of everything else.
//!
//! Source: "The PROXY protocol", HAProxy, revision of 2020/03/05. Taken strictly: a listener either expects the header
//! from everybody or from nobody, because whoever may choose can pretend to be anybody (section 2). Nothing behind the
//! header is read. Absent on purpose: TLVs and their checksum (TCP has one), datagrams.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tokio::io::AsyncReadExt;

use crate::net::Socket;

/// Bytes of a header: the 16 that begin version 2, its largest address block (216) and 304 for TLVs. It is also the
/// limit of the specification for what can be sent at once.
const MAX_HEADER: usize = 536;
/// Bytes of a version 1 header with its CRLF (section 2.1).
const MAX_V1: usize = 107;
/// `PROXY UNKNOWN\r\n`: no header of either version is shorter, so that many bytes can be read without reading too far.
const MIN_HEADER: usize = 15;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const V2_FIXED: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// On behalf of this client.
    Client(SocketAddr),
    /// On behalf of somebody whose address cannot be told.
    Unknown,
    /// The proxy itself connects (a health check).
    Local,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// At least this many bytes are missing; so many can be read without reading beyond the header.
    Need(usize),
    /// Complete.
    Done(Header),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no valid PROXY protocol header: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads the header and nothing behind it, and makes the socket speak for whom it names. The caller bounds the time.
pub(super) async fn unwrap(mut socket: Socket) -> io::Result<Socket> {
    let mut header = [0; MAX_HEADER];
    let mut length = 0;
    let found = loop {
        match parse(&header[..length]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Progress::Done(found) => break found,
            Progress::Need(missing) => {
                let end = (length + missing).min(MAX_HEADER);
                match socket.read(&mut header[length..end]).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => length += read,
                }
            }
        }
    };
    let client = match found {
        Header::Client(address) => Some(address),
        Header::Unknown => None,
        Header::Local => socket.tcp().and_then(|tcp| tcp.peer_addr().ok()),
    };
    Ok(socket.on_behalf_of(client))
}

/// Parses what has arrived. Pure. A peer that sends something else is found out by its first byte.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let begins_like = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if bytes.is_empty() {
        Ok(Progress::Need(MIN_HEADER))
    } else if begins_like(V1) {
        parse_v1(bytes)
    } else if begins_like(V2) {
        parse_v2(bytes)
    } else {
        Err(Malformed("it does not begin with one"))
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        // A byte at a time at the end: there is no other way to stop at the line's end. The second byte of the CRLF is
        // sure to come after the first, any other byte may be the last but one.
        return match bytes.len() {
            length if length >= MAX_V1 => Err(Malformed("version 1 line is too long")),
            length => Ok(Progress::Need(MIN_HEADER.saturating_sub(length).max(1))),
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("version 1 line is not ASCII"))?;
    let fields: Vec<_> = line.splitn(7, ' ').collect();
    match fields[..] {
        [_, "UNKNOWN", ..] => Ok(Progress::Done(Header::Unknown)),
        [_, "TCP4", source, destination, from, to] => v1_address::<Ipv4Addr>(source, destination, from, to),
        [_, "TCP6", source, destination, from, to] => v1_address::<Ipv6Addr>(source, destination, from, to),
        _ => Err(Malformed("version 1 line is neither TCP4, TCP6 nor UNKNOWN")),
    }
}

fn v1_address<A: FromStr + Into<IpAddr>>(
    source: &str,
    destination: &str,
    from: &str,
    to: &str,
) -> Result<Progress, Malformed> {
    let (Ok(source), Ok(_)) = (source.parse::<A>(), destination.parse::<A>()) else {
        return Err(Malformed("version 1 address is none"));
    };
    let (Some(from), Some(_)) = (v1_port(from), v1_port(to)) else {
        return Err(Malformed("version 1 port is none"));
    };
    Ok(Progress::Done(Header::Client(SocketAddr::new(source.into(), from))))
}

/// Decimal without sign or leading zeros (section 2.1).
fn v1_port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return Ok(Progress::Need(V2_FIXED - bytes.len()));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > MAX_HEADER {
        return Err(Malformed("version 2 header is longer than 536 bytes"));
    }
    if rest.len() < length {
        return Ok(Progress::Need(length - rest.len()));
    }
    match version_and_command {
        0x20 => Ok(Progress::Done(Header::Local)),
        0x21 => v2_address(family, &rest[..length]).map(Progress::Done),
        _ => Err(Malformed("version 2 header has an unknown version or command")),
    }
}

fn v2_address(family: u8, block: &[u8]) -> Result<Header, Malformed> {
    const SHORT: Malformed = Malformed("version 2 address block is too short");
    match family {
        // Unspecified.
        0x00 => Ok(Header::Unknown),
        // IPv4 and stream: two addresses, two ports.
        0x11 => {
            let ([a, b, c, d, _, _, _, _, high, low, _, _], _) = block.split_first_chunk::<12>().ok_or(SHORT)?;
            let port = u16::from_be_bytes([*high, *low]);
            Ok(Header::Client((Ipv4Addr::new(*a, *b, *c, *d), port).into()))
        }
        // IPv6 and stream.
        0x21 => {
            let (addresses, _) = block.split_first_chunk::<36>().ok_or(SHORT)?;
            let (source, rest) = addresses.split_first_chunk::<16>().ok_or(SHORT)?;
            let port = u16::from_be_bytes([rest[16], rest[17]]);
            Ok(Header::Client((Ipv6Addr::from(*source), port).into()))
        }
        // A Unix socket of the proxy's machine, which is not ours.
        0x31 => block.split_first_chunk::<216>().map(|_| Header::Unknown).ok_or(SHORT),
        _ => Err(Malformed("version 2 header names neither TCP nor a Unix stream")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a header as [`unwrap`] does, never more than was asked for. Gives what it says and how much was read.
    fn feed(bytes: &[u8]) -> (Result<Option<Header>, Malformed>, usize) {
        let mut length = 0;
        loop {
            match parse(&bytes[..length]) {
                Ok(Progress::Done(header)) => return (Ok(Some(header)), length),
                Err(malformed) => return (Err(malformed), length),
                Ok(Progress::Need(missing)) => {
                    assert!(
                        missing > 0 && length + missing <= MAX_HEADER,
                        "bounded: {length} + {missing}"
                    );
                    if length == bytes.len() {
                        return (Ok(None), length);
                    }
                    length = (length + missing).min(bytes.len());
                }
            }
        }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut header = V2.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(block.len()).expect("short").to_be_bytes());
        header.extend(block);
        header
    }

    /// `header` followed by a request: it must be understood, and not a byte of the request be read.
    fn good(header: &[u8], expected: Header) {
        let mut bytes = header.to_vec();
        bytes.extend(b"\0\0\0\x08\x04\xd2\x16\x2f and more");
        assert_eq!(
            feed(&bytes),
            (Ok(Some(expected)), header.len()),
            "{}",
            header.escape_ascii()
        );
    }

    fn bad(header: &[u8]) {
        let (outcome, _) = feed(header);
        assert!(outcome.is_err(), "{}: {outcome:?}", header.escape_ascii());
    }

    #[test]
    fn version_1() {
        let client = |text: &str| Header::Client(text.parse().expect("an address"));
        good(
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 5432\r\n",
            client("192.0.2.1:56324"),
        );
        good(b"PROXY TCP4 1.1.1.1 2.2.2.2 0 1\r\n", client("1.1.1.1:0"));
        good(
            b"PROXY TCP6 2001:db8::1 ::1 65535 5432\r\n",
            client("[2001:db8::1]:65535"),
        );
        good(b"PROXY UNKNOWN\r\n", Header::Unknown);
        good(
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            Header::Unknown,
        );
        for line in [
            "TCP4 192.0.2.1 198.51.100.2 56324",
            "TCP4 192.0.2.1 198.51.100.2 56324 5432 ",
            "TCP4 192.0.2.1 198.51.100.2 56324 5432 1",
            "TCP4  192.0.2.1 198.51.100.2 56324 5432",
            "TCP4 192.0.2.01 198.51.100.2 56324 5432",
            "TCP4 192.0.2.1 198.51.100.2 056324 5432",
            "TCP4 192.0.2.1 198.51.100.2 +6324 5432",
            "TCP4 192.0.2.1 198.51.100.2 65536 5432",
            "TCP4 2001:db8::1 ::1 1 2",
            "TCP6 192.0.2.1 198.51.100.2 1 2",
            "tcp4 192.0.2.1 198.51.100.2 1 2",
            "UDP4 192.0.2.1 198.51.100.2 1 2",
            "TCP4 localhost 198.51.100.2 1 2",
            "UNKNOWNS 1",
            "        ",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            bad(format!("PROXY {line}\r\n").as_bytes());
        }
        bad(format!("PROXY UNKNOWN {}\r\n", "x".repeat(120)).as_bytes());
        bad(&[V1, &[b'1'; 200][..]].concat());
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x15, 0x38];
        let client = Header::Client("192.0.2.1:56324".parse().expect("an address"));
        good(&v2(0x21, 0x11, &v4), client);
        good(&v2(0x21, 0x11, &[&v4[..], b"\x04\0\x02hi"].concat()), client);
        let mut v6 = [0; 36];
        (v6[15], v6[33]) = (1, 7);
        good(
            &v2(0x21, 0x21, &v6),
            Header::Client("[::1]:7".parse().expect("an address")),
        );
        good(&v2(0x21, 0x31, &[b'/'; 216]), Header::Unknown);
        good(&v2(0x21, 0x00, b""), Header::Unknown);
        good(&v2(0x20, 0x00, b""), Header::Local);
        good(&v2(0x20, 0x11, &v4), Header::Local);
        good(&v2(0x21, 0x00, &[0; 520]), Header::Unknown);
        bad(&v2(0x21, 0x00, &[0; 521]));
        bad(&v2(0x21, 0x11, &v4[..11]));
        bad(&v2(0x21, 0x21, &v6[..35]));
        bad(&v2(0x21, 0x31, &[0; 215]));
        bad(&v2(0x21, 0x12, &v4));
        bad(&v2(0x11, 0x11, &v4));
        bad(&v2(0x22, 0x11, &v4));
    }

    #[test]
    fn others_are_found_out_by_their_first_byte() {
        // SSLRequest, TLS, HTTP, a newline.
        for first in [0, 0x16, b'G', b'\n'] {
            assert!(parse(&[first]).is_err());
        }
        assert_eq!(feed(b"PROXY TC").0, Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_without_bound(
            start in 0..3_usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            let (_, read) = feed(&[[&b""[..], V1, V2][start], &bytes].concat());
            prop_assert!(read <= MAX_HEADER);
        }
    }
}
