//! A conversation as messages, cut with the packet reader.

use weir_mssql::wire::{
    env_change::EnvChange,
    login7::Login7,
    packet::{Framed, Header, PacketKind, PacketReader, Sender, Status},
};

use crate::pcap::{Conversation, Side};

/// A whole message of one side.
pub(crate) struct Message {
    pub(crate) side: Side,
    pub(crate) kind: PacketKind,
    /// Status of its first packet.
    pub(crate) first: Status,
    /// And of its last.
    pub(crate) last: Status,
    pub(crate) payload: Vec<u8>,
}

/// What a conversation consists of.
pub(crate) struct Messages {
    pub(crate) messages: Vec<Message>,
    /// What the packet reader refused; nothing behind it was read.
    pub(crate) refused: Option<String>,
}

/// Whether these bytes are a TLS record: in packets during the handshake, without them afterwards.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| (0x14..=0x17).contains(first))
}

/// Cuts it, leaving TLS records outside of packets out: nobody has their keys.
pub(crate) fn messages(conversation: &Conversation) -> Messages {
    let mut cutter = Cutter::default();
    let mut refused = None;
    for (side, bytes) in &conversation.segments {
        refused = cutter.take(*side, bytes).err();
        if refused.is_some() {
            break;
        }
    }
    let is_whole = cutter
        .lanes
        .iter()
        .all(|lane| lane.open.is_none() && lane.buffer.is_empty());
    assert!(
        is_whole || conversation.has_hole || refused.is_some(),
        "a message without end"
    );
    Messages {
        messages: cutter.messages,
        refused,
    }
}

struct Cutter {
    lanes: [Lane; 2],
    messages: Vec<Message>,
}

struct Lane {
    reader: PacketReader,
    buffer: Vec<u8>,
    open: Option<Message>,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter {
            lanes: [Sender::Client, Sender::Server].map(|sender| Lane {
                reader: PacketReader::new(sender),
                buffer: Vec::new(),
                open: None,
            }),
            messages: Vec::new(),
        }
    }
}

impl Cutter {
    fn take(&mut self, side: Side, bytes: &[u8]) -> Result<(), String> {
        let mut buffer = std::mem::take(&mut self.lanes[side as usize].buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = &buffer[..];
        loop {
            let lane = &mut self.lanes[side as usize];
            if lane.open.is_none() && is_tls(rest) {
                let Some(record) = record(rest) else { break };
                rest = &rest[record..];
                continue;
            }
            match lane.reader.read(&mut rest).map_err(|fault| fault.to_string())? {
                Framed::Need(_) => break,
                Framed::Packet(header, _) => {
                    lane.open.get_or_insert_with(|| Message {
                        side,
                        kind: header.kind,
                        first: header.status,
                        last: header.status,
                        payload: Vec::new(),
                    });
                }
                Framed::Payload(payload) => lane.open.as_mut().unwrap().payload.extend_from_slice(payload),
                Framed::End(header) => self.end(side, header),
            }
        }
        self.lanes[side as usize].buffer = rest.to_vec();
        Ok(())
    }

    fn end(&mut self, side: Side, header: Header) {
        let mut message = self.lanes[side as usize].open.take().unwrap();
        message.last = header.status;
        // The answer to a login may say how long packets are from then on. This server also takes the client's size
        // without a word.
        let size = match (side, Login7::parse(&message.payload)) {
            (Side::Server, _) => packet_size(&message.payload),
            (Side::Client, Ok(login)) if message.kind == PacketKind::Login7 => {
                Some(login.packet_size.clamp(4096, 32767) as u16)
            }
            _ => None,
        };
        for lane in &mut self.lanes {
            size.into_iter().for_each(|size| lane.reader.set_packet_size(size));
        }
        self.messages.push(message);
    }
}

/// Bytes of the TLS record at the front, if all of it is there.
fn record(bytes: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(*bytes.get(3..)?.first_chunk()?)) + 5;
    (bytes.len() >= length).then_some(length)
}

/// ENVCHANGE 4, which this server sends first.
fn packet_size(response: &[u8]) -> Option<u16> {
    let length = usize::from(*response.get(1)?) + 3;
    match EnvChange::parse(response.get(..length)?) {
        Ok(EnvChange::PacketSize { new, .. }) if response[0] == 0xe3 => new.to_lossy().parse().ok(),
        _ => None,
    }
}
