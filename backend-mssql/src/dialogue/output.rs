//! A message on its way to the other side: as it came where nothing is changed, with bytes replaced in place where the
//! length stays, cut anew where it does not.

use bytes::{BufMut, BytesMut};

use crate::wire::{
    packet::{HEADER, Header},
    reframe::Reframer,
};

/// One packet of a message, as it is walked over.
pub(super) struct Output<'a> {
    /// The packet as it came.
    header: Header,
    payload: &'a [u8],
    /// As it goes on.
    wanted: Header,
    /// How much of the payload has been kept.
    kept: usize,
    /// Bytes to replace in what has been kept.
    patches: Vec<(usize, Patch)>,
    reframer: &'a mut Reframer,
    line: &'a mut Line,
    out: &'a mut BytesMut,
}

/// Bytes in the place of others: a descriptor, a handle, flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    bytes: [u8; 8],
    length: u8,
}

impl Patch {
    pub(super) fn eight(value: u64) -> Self {
        Patch {
            bytes: value.to_le_bytes(),
            length: 8,
        }
    }

    pub(super) fn four(value: i32) -> Self {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&value.to_le_bytes());
        Patch { bytes, length: 4 }
    }

    pub(super) fn two(value: u16) -> Self {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&value.to_le_bytes());
        Patch { bytes, length: 2 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn apply(&self, at: usize, bytes: &mut [u8]) {
        if let Some(place) = bytes.get_mut(at..at + usize::from(self.length)) {
            place.copy_from_slice(self.as_slice());
        }
    }
}

/// Where a message stands, from packet to packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Whether packets are cut anew.
    pub(super) cutting: Cutting,
    /// Whether the receiver has got, or will get, anything of this message.
    pub(super) said: Said,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cutting {
    #[default]
    No,
    Anew,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    #[default]
    Nothing,
    Something,
}

/// Who gets the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    /// Takes a packet that is not full where the server sent one, which goes on at once. Others are filled: there are
    /// drivers that read beyond the end of a shorter packet in the middle of a message (pytds).
    Client {
        /// The longest packet that it takes.
        packet_size: u16,
        /// Bytes of a full packet of the sender's.
        full: u16,
    },
    /// Takes only full packets, but for the last (TDS 1.2).
    Server {
        /// Bytes of a full packet.
        packet_size: u16,
    },
}

impl Receiver {
    /// Whether a packet can go on as it is.
    pub(super) fn takes(self, header: Header) -> bool {
        match self {
            Receiver::Client { packet_size, .. } | Receiver::Server { packet_size } if header.status.ends_message() => {
                header.length <= packet_size
            }
            Receiver::Client { packet_size, full } => {
                header.length == packet_size || header.length < full.min(packet_size)
            }
            Receiver::Server { packet_size } => header.length == packet_size,
        }
    }
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes as it came.
    Forward,
    /// What it held is in the outbox, or in the next packet.
    Replaced,
}

impl<'a> Output<'a> {
    /// `packet` came with `header`, and goes on with `wanted`, whose length does not count.
    pub(super) fn new(
        header: Header,
        packet: &'a [u8],
        wanted: Header,
        reframer: &'a mut Reframer,
        line: &'a mut Line,
        out: &'a mut BytesMut,
    ) -> Self {
        Output {
            header,
            payload: packet.get(HEADER..).unwrap_or_default(),
            wanted,
            kept: 0,
            patches: Vec::new(),
            reframer,
            line,
            out,
        }
    }

    /// The next bytes, unchanged.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.line.said = Said::Something;
        match self.line.cutting {
            Cutting::Anew => self.reframer.push(bytes, self.out),
            Cutting::No => self.kept += bytes.len(),
        }
    }

    /// The next bytes, with some of them replaced.
    pub(super) fn patch(&mut self, bytes: &[u8], at: usize, patch: Patch) {
        match self.line.cutting {
            Cutting::No => {
                self.patches.push((self.kept + at, patch));
                self.keep(bytes);
            }
            Cutting::Anew => {
                let mut bytes = bytes.to_vec();
                patch.apply(at, &mut bytes);
                self.keep(&bytes);
            }
        }
    }

    /// The next bytes do not go on.
    pub(super) fn drop(&mut self) {
        self.cut();
    }

    /// Bytes of our own.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        self.cut();
        self.keep(bytes);
    }

    /// Bytes of the packet's payload that have been dealt with, before anything was changed in length.
    pub(super) fn taken(&self) -> usize {
        self.kept
    }

    /// Whether the receiver gets anything of this message.
    pub(super) fn has_said(&self) -> bool {
        self.line.said == Said::Something
    }

    /// From here on packets are cut anew.
    pub(super) fn cut(&mut self) {
        if self.line.cutting == Cutting::No {
            self.line.cutting = Cutting::Anew;
            self.reframer.begin(self.wanted.kind, self.wanted.status);
            let length = std::mem::take(&mut self.kept);
            let kept = self.patched(length);
            self.reframer.push(&kept, self.out);
        }
    }

    fn patched(&mut self, length: usize) -> BytesMut {
        let mut bytes = BytesMut::from(&self.payload[..length]);
        for (at, patch) in self.patches.drain(..) {
            patch.apply(at, &mut bytes);
        }
        bytes
    }

    /// The packet is walked over.
    pub(super) fn finish(mut self, receiver: Receiver) -> Fate {
        let is_last = self.header.status.ends_message();
        if self.line.cutting == Cutting::No && !receiver.takes(self.header) {
            self.cut();
        }
        let fate = match self.line.cutting {
            Cutting::No if self.patches.is_empty() && self.wanted.status == self.header.status => Fate::Forward,
            Cutting::No => {
                let header = Header {
                    length: self.header.length,
                    ..self.wanted
                };
                self.out.put_slice(&header.to_bytes());
                let payload = self.patched(self.payload.len());
                self.out.put_slice(&payload);
                Fate::Replaced
            }
            Cutting::Anew => {
                self.write_on(is_last, receiver);
                Fate::Replaced
            }
        };
        if is_last {
            *self.line = Line::default();
        }
        fate
    }

    fn write_on(&mut self, is_last: bool, receiver: Receiver) {
        match (self.line.said, receiver) {
            (Said::Nothing, _) => {}
            _ if is_last => self.reframer.end(self.out),
            (_, Receiver::Client { full, .. }) if self.header.length < full => self.reframer.flush(self.out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::{PacketKind, Status};

    fn packet(payload: &[u8], status: Status) -> (Header, Vec<u8>) {
        let header = Header {
            kind: PacketKind::Response,
            status,
            length: (payload.len() + HEADER) as u16,
            spid: 7,
            packet_id: 1,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        (header, bytes)
    }

    const CLIENT: Receiver = Receiver::Client {
        packet_size: 512,
        full: 4096,
    };

    fn run(payload: &[u8], work: impl FnOnce(&mut Output<'_>)) -> (Fate, BytesMut) {
        let (header, bytes) = packet(payload, Status::END_OF_MESSAGE);
        let (mut reframer, mut line, mut out) = (Reframer::new(512), Line::default(), BytesMut::new());
        let mut output = Output::new(header, &bytes, header, &mut reframer, &mut line, &mut out);
        work(&mut output);
        let fate = output.finish(CLIENT);
        assert_eq!(line, Line::default());
        (fate, out)
    }

    #[test]
    fn what_is_not_changed_is_not_copied() {
        assert_eq!(
            run(b"abcd", |output| output.keep(b"abcd")),
            (Fate::Forward, BytesMut::new())
        );
    }

    #[test]
    fn what_keeps_its_length_keeps_its_packet() {
        let (fate, out) = run(b"ab12cd", |output| {
            output.keep(b"ab");
            output.patch(b"12cd", 0, Patch::two(u16::from_le_bytes(*b"xy")));
        });
        assert_eq!(fate, Fate::Replaced);
        assert_eq!(&out[HEADER..], b"abxycd");
    }

    #[test]
    fn patches_survive_a_change_of_length() {
        let (_, out) = run(b"ab12cdef", |output| {
            output.patch(b"ab12", 2, Patch::two(u16::from_le_bytes(*b"xy")));
            output.drop();
            output.insert(b"_");
            output.patch(b"ef", 0, Patch::two(u16::from_le_bytes(*b"uv")));
        });
        assert_eq!(&out[HEADER..], b"abxy_uv");
    }

    #[test]
    fn nothing_is_said_when_all_is_dropped() {
        assert_eq!(run(b"abcd", |output| output.drop()), (Fate::Replaced, BytesMut::new()));
    }

    #[test]
    fn a_packet_too_long_for_its_receiver_is_cut() {
        let long = vec![b'x'; 1000];
        let (fate, out) = run(&long, |output| output.keep(&long));
        assert_eq!((fate, out.len()), (Fate::Replaced, 1000 + 2 * HEADER));
    }

    #[test]
    fn clients_take_short_packets_only_from_a_server_that_sent_them_short() {
        let (header, _) = packet(&[0; 4096 - HEADER], Status::default());
        for (packet_size, taken) in [(512, false), (4096, true), (8000, false)] {
            let client = Receiver::Client {
                packet_size,
                full: 4096,
            };
            assert_eq!(client.takes(header), taken, "{packet_size}");
            let (short, _) = packet(&[0; 100], Status::default());
            assert!(client.takes(short));
        }
        let (last, _) = packet(&[0; 4096 - HEADER], Status::END_OF_MESSAGE);
        let client = Receiver::Client {
            packet_size: 8000,
            full: 4096,
        };
        assert!(client.takes(last));
    }

    #[test]
    fn servers_take_only_full_packets() {
        let server = Receiver::Server { packet_size: 512 };
        let (header, _) = packet(&[0; 100], Status::default());
        assert!(!server.takes(header) && CLIENT.takes(header));
        let (header, _) = packet(&[0; 100], Status::END_OF_MESSAGE);
        assert!(server.takes(header));
    }
}
