//! The response on its way to the client: as it came where nothing is changed, cut anew where something is.

use bytes::BytesMut;

use crate::wire::{
    packet::{Header, PacketKind, Status},
    reframe::Reframer,
};

/// One packet of a response, as it is walked over.
pub(super) struct Output<'a> {
    /// What the packet holds.
    payload: &'a [u8],
    /// How much of it has been kept as it is.
    kept: usize,
    reframer: &'a mut Reframer,
    line: &'a mut Line,
    out: &'a mut BytesMut,
}

/// Where the message to the client stands, from packet to packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Whether packets are cut anew.
    pub(super) cutting: Cutting,
    /// Whether the client has got, or will get, anything of this message.
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

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes as it came.
    Forward,
    /// What it held is in the outbox, or in the next packet.
    Replaced,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        payload: &'a [u8],
        reframer: &'a mut Reframer,
        line: &'a mut Line,
        out: &'a mut BytesMut,
    ) -> Self {
        Output {
            payload,
            kept: 0,
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

    /// The next bytes are not for the client.
    pub(super) fn drop(&mut self) {
        self.cut();
    }

    /// Bytes of our own.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        self.cut();
        self.keep(bytes);
    }

    /// Whether the client gets anything of this message.
    pub(super) fn has_said(&self) -> bool {
        self.line.said == Said::Something
    }

    /// From here on packets are cut anew.
    pub(super) fn cut(&mut self) {
        if self.line.cutting == Cutting::No {
            self.line.cutting = Cutting::Anew;
            self.reframer.begin(PacketKind::Response, Status::default());
            let kept = std::mem::take(&mut self.kept);
            self.reframer.push(&self.payload[..kept], self.out);
        }
    }

    /// The packet is walked over.
    pub(super) fn finish(mut self, header: Header, packet_size: u16, full: u16) -> Fate {
        let is_last = header.status.ends_message();
        if self.line.cutting == Cutting::No && header.length > packet_size {
            self.cut();
        }
        let fate = match self.line.cutting {
            Cutting::No => Fate::Forward,
            Cutting::Anew => {
                match (is_last, self.line.said) {
                    (true, Said::Something) => self.reframer.end(self.out),
                    (false, Said::Something) if header.length < full => self.reframer.flush(self.out),
                    _ => {}
                }
                Fate::Replaced
            }
        };
        if is_last {
            *self.line = Line::default();
        }
        fate
    }
}
