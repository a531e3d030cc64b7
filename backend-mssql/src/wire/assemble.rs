//! Messages of the login, which are looked at as a whole: PRELOGIN, LOGIN7, a TLS flight, a login response.
//!
//! Pure. Invariants: a message is bounded before it is held; what is held is wiped when it goes, because passwords are
//! in it. Never used once a login is done: requests and responses stream.

use weir_core::refusal::Fault;
use zeroize::Zeroizing;

use super::packet::{Framed, Header, PacketKind, PacketReader, Sender, Status};

/// One whole message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The type of its packets.
    pub kind: PacketKind,
    /// The status of its last packet.
    pub status: Status,
    /// Session id in its last header.
    pub spid: u16,
    /// Everything behind the headers.
    pub payload: Zeroizing<Vec<u8>>,
}

/// Puts messages together, up to a limit.
#[derive(Debug)]
pub struct Assembler {
    reader: PacketReader,
    sender: Sender,
    limit: usize,
    payload: Zeroizing<Vec<u8>>,
}

impl Assembler {
    /// For messages of `sender` with at most `limit` bytes of payload.
    pub fn new(sender: Sender, limit: usize) -> Self {
        Assembler {
            reader: PacketReader::new(sender),
            sender,
            limit,
            payload: Zeroizing::default(),
        }
    }

    /// Another limit, from the next packet on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Another packet size, from the next packet on.
    pub fn set_packet_size(&mut self, size: u16) {
        self.reader.set_packet_size(size);
    }

    /// Whether nothing of a message has been read. What follows in the input then belongs to nobody yet.
    pub fn is_between_messages(&self) -> bool {
        self.reader.is_between_messages() && self.payload.is_empty()
    }

    /// Takes bytes from the front of `input` up to the end of a message; `None` if it is not complete. Never takes a
    /// byte behind the end; part of a header stays in `input`, and has to be in front of the next one.
    ///
    /// # Errors
    /// A fault of the sender: see [`PacketReader::read`], or a message over the limit.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Fault> {
        loop {
            match self.reader.read(input)? {
                Framed::Need(_) => return Ok(None),
                Framed::Packet(header, _) => self.reserve(header)?,
                Framed::Payload(bytes) => self.payload.extend_from_slice(bytes),
                Framed::End(header) => {
                    return Ok(Some(Message {
                        kind: header.kind,
                        status: header.status,
                        spid: header.spid,
                        payload: std::mem::take(&mut self.payload),
                    }));
                }
            }
        }
    }

    /// Room for one more packet. A vector that grew by itself would leave its old memory unwiped.
    fn reserve(&mut self, header: Header) -> Result<(), Fault> {
        let needed = self.payload.len() + header.payload();
        if needed > self.limit {
            return Err(self.sender.fault("message longer than a login may be"));
        }
        if needed > self.payload.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(self.payload.len() * 2)));
            larger.extend_from_slice(&self.payload);
            self.payload = larger;
        }
        Ok(())
    }
}
