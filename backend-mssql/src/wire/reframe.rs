//! Cuts payload into packets of the other side's size.
//!
//! Pure. Invariants: every packet but the last of a message is filled exactly (servers of TDS 7.3 and later break the
//! stream otherwise), except where the caller flushes; at most one packet is held back, and nothing between messages.
//! Must not know what a payload means.

use bytes::{BufMut, Bytes, BytesMut};

use super::packet::{HEADER, Header, MIN_PACKET_SIZE, PacketKind, Status};

/// Writes messages in packets of one size (TDS 1.2).
#[derive(Debug)]
pub struct Reframer {
    capacity: usize,
    spid: u16,
    kind: PacketKind,
    /// Status bits of the next packet; the reset bits only on the first of a message.
    status: Status,
    packet_id: u8,
    /// Payload of the packet that is not written yet: it may be the last one.
    held: BytesMut,
}

impl Reframer {
    /// For packets of `packet_size` bytes, header included.
    pub fn new(packet_size: u16) -> Self {
        Reframer {
            capacity: usize::from(packet_size.max(MIN_PACKET_SIZE)) - HEADER,
            spid: 0,
            kind: PacketKind::Response,
            status: Status::default(),
            packet_id: 0,
            held: BytesMut::new(),
        }
    }

    /// The session id in what is written from now on: 0 towards a server.
    pub fn set_spid(&mut self, spid: u16) {
        self.spid = spid;
    }

    /// Another packet size. Only between messages.
    pub fn set_packet_size(&mut self, packet_size: u16) {
        debug_assert!(self.held.is_empty(), "the packet size changes between messages");
        self.capacity = usize::from(packet_size.max(MIN_PACKET_SIZE)) - HEADER;
    }

    /// Starts a message. `status` holds the bits of its first packet, such as the reset bits.
    pub fn begin(&mut self, kind: PacketKind, status: Status) {
        debug_assert!(self.held.is_empty(), "the message before was ended");
        self.kind = kind;
        self.status = status.without(Status::END_OF_MESSAGE);
        self.packet_id = 0;
        self.held.clear();
    }

    /// Payload of the message. Whatever fills a packet is written to `out`; the rest is held.
    pub fn push(&mut self, mut payload: &[u8], out: &mut BytesMut) {
        while self.held.len() + payload.len() > self.capacity {
            let (now, later) = payload.split_at(self.capacity - self.held.len());
            self.write(now, Status::default(), out);
            payload = later;
        }
        self.held.put_slice(payload);
    }

    /// Writes what is held as a packet that is not full, so that it does not wait. Only towards clients, who take it.
    pub fn flush(&mut self, out: &mut BytesMut) {
        if !self.held.is_empty() {
            self.write(&[], Status::default(), out);
        }
    }

    /// Ends the message with whatever is held.
    pub fn end(&mut self, out: &mut BytesMut) {
        self.write(&[], Status::END_OF_MESSAGE, out);
        self.held = BytesMut::new();
    }

    /// Ends a message of which the receiver has seen a part, telling it to forget it (TDS 8 case G). `false` if nothing
    /// of the message was written: then there is nothing to forget, and nothing is written.
    pub fn abort(&mut self, out: &mut BytesMut) -> bool {
        self.held = BytesMut::new();
        let begun = self.packet_id > 0;
        if begun {
            self.write(&[], Status::END_OF_MESSAGE.with(Status::IGNORE), out);
        }
        begun
    }

    fn write(&mut self, more: &[u8], extra: Status, out: &mut BytesMut) {
        self.packet_id = self.packet_id.wrapping_add(1);
        let header = Header {
            kind: self.kind,
            status: self.status.with(extra),
            // At most the capacity, which came from a u16.
            length: (HEADER + self.held.len() + more.len()) as u16,
            spid: self.spid,
            packet_id: self.packet_id,
        };
        out.put_slice(&header.to_bytes());
        out.put_slice(&self.held);
        out.put_slice(more);
        self.held.clear();
        self.status = Status::default();
    }
}

/// One whole message in packets.
pub fn frame(kind: PacketKind, status: Status, payload: &[u8], packet_size: u16, out: &mut BytesMut) {
    let mut reframer = Reframer::new(packet_size);
    reframer.begin(kind, status);
    reframer.push(payload, out);
    reframer.end(out);
}

/// One whole message in packets, on its own.
pub fn framed(kind: PacketKind, payload: &[u8], packet_size: u16) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + HEADER);
    frame(kind, Status::default(), payload, packet_size, &mut out);
    out.freeze()
}
