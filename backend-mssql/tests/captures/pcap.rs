//! Packet captures (Ethernet, IPv4, TCP) as conversations: who sent what, in order.

use std::{collections::BTreeMap, path::Path};

/// Ports that the servers of the captures listened on.
const SERVER_PORTS: [u16; 4] = [14330, 14331, 14332, 14333];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// One connection.
#[derive(Default)]
pub(crate) struct Conversation {
    /// Who sent what, in order.
    pub(crate) segments: Vec<(Side, Vec<u8>)>,
    /// The capture lost a frame of it; it ends in front of that.
    pub(crate) has_hole: bool,
    next: [Option<u32>; 2],
}

/// The conversations of a capture, by the client's port.
pub(crate) fn conversations(path: &Path) -> BTreeMap<u16, Conversation> {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1], "a little-endian capture");
    let mut streams: BTreeMap<u16, Conversation> = BTreeMap::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, behind) = rest[16..].split_at(length);
        rest = behind;
        let Some((side, port, sequence, is_syn, payload)) = segment(frame) else {
            continue;
        };
        if is_syn && side == Side::Client {
            assert!(
                streams.insert(port, Conversation::default()).is_none(),
                "port {port} twice"
            );
        }
        let stream = streams.entry(port).or_default();
        stream.take(side, sequence.wrapping_add(u32::from(is_syn)), payload);
    }
    streams
}

impl Conversation {
    /// Loopback loses nothing and keeps the order; what is sent again is dropped.
    fn take(&mut self, side: Side, sequence: u32, payload: &[u8]) {
        let next = self.next[side as usize].get_or_insert(sequence);
        self.has_hole |= sequence.wrapping_sub(*next) as i32 > 0;
        if self.has_hole {
            return;
        }
        let again = next.wrapping_sub(sequence) as usize;
        if payload.len() > again || payload.is_empty() {
            let fresh = payload.get(again..).unwrap_or_default();
            *next = next.wrapping_add(fresh.len() as u32);
            if !fresh.is_empty() {
                self.segments.push((side, fresh.to_vec()));
            }
        }
    }
}

fn segment(frame: &[u8]) -> Option<(Side, u16, u32, bool, &[u8])> {
    let ip = frame.get(14..)?;
    assert_eq!((ip[0] >> 4, ip[9]), (4, 6), "TCP over IPv4");
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = &ip[usize::from(ip[0] & 15) * 4..total];
    let (from, to) = (
        u16::from_be_bytes([tcp[0], tcp[1]]),
        u16::from_be_bytes([tcp[2], tcp[3]]),
    );
    let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
    let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
    let is_syn = tcp[13] & 2 != 0;
    let (side, port) = match SERVER_PORTS.contains(&to) {
        true => (Side::Client, from),
        false => (Side::Server, to),
    };
    Some((side, port, sequence, is_syn, payload))
}
