//! Packets from both sides: however they are cut, the same messages, and nothing lost; put into packets of another size,
//! the same messages again.

use bytes::BytesMut;
use weir_mssql::wire::{
    assemble::Assembler,
    packet::{Framed, HEADER, MAX_PACKET_SIZE, MIN_PACKET_SIZE, PacketKind, PacketReader, Sender, Status},
    reframe::Reframer,
};

/// Whole messages, and whether the stream was refused behind them.
#[derive(Debug, PartialEq, Eq)]
struct Messages {
    messages: Vec<(PacketKind, Status, Vec<u8>)>,
    open: Vec<u8>,
    refused: bool,
}

/// The first byte chooses the side and the packet size, the second where the rest is cut in two.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let sender = [Sender::Client, Sender::Server][usize::from(first & 1)];
    let size = [MIN_PACKET_SIZE, 4096, 8000, MAX_PACKET_SIZE][usize::from(first >> 1 & 3)];
    let Some((front, back)) = crate::cut(rest) else { return };
    let stream = [front, back].concat();
    let whole = read(sender, size, [&stream[..]]);
    assert_eq!(read(sender, size, [front, back]), whole);
    assert_eq!(read(sender, size, stream.chunks(1)), whole);
    for (kind, status, payload) in &whole.messages {
        let other = MIN_PACKET_SIZE + u16::from(*first);
        let again = read(sender, other, [&reframed(*kind, *status, payload, other)[..]]);
        assert_eq!(again.messages.len(), 1);
        assert_eq!((again.messages[0].0, &again.messages[0].2), (*kind, payload));
    }
    assemble(sender, &stream);
}

fn read<'a>(sender: Sender, size: u16, slices: impl IntoIterator<Item = &'a [u8]>) -> Messages {
    let mut reader = PacketReader::new(sender);
    reader.set_packet_size(size);
    let mut found = Messages {
        messages: Vec::new(),
        open: Vec::new(),
        refused: false,
    };
    let mut buffer = Vec::new();
    for slice in slices {
        buffer.extend_from_slice(slice);
        let mut input = &buffer[..];
        loop {
            let before = input.len();
            match reader.read(&mut input) {
                Err(_) => {
                    found.refused = true;
                    return found;
                }
                Ok(Framed::Need(count)) => {
                    assert!(count > input.len() && count <= HEADER, "Need({count}) with {before}");
                    break;
                }
                Ok(Framed::Packet(header, _)) => {
                    assert!(header.length <= size && before - input.len() == HEADER);
                }
                Ok(Framed::Payload(payload)) => {
                    assert!(!payload.is_empty() && before - input.len() == payload.len());
                    found.open.extend_from_slice(payload);
                }
                Ok(Framed::End(header)) => {
                    assert!(header.status.ends_message() && before == input.len());
                    let payload = std::mem::take(&mut found.open);
                    found.messages.push((header.kind, header.status, payload));
                }
            }
        }
        buffer = input.to_vec();
    }
    found
}

fn reframed(kind: PacketKind, status: Status, payload: &[u8], size: u16) -> BytesMut {
    let mut reframer = Reframer::new(size);
    let mut out = BytesMut::new();
    let both = Status::RESET_CONNECTION.with(Status::RESET_CONNECTION_SKIP_TRANSACTION);
    reframer.begin(kind, if status.has(both) { status.without(both) } else { status });
    for slice in payload.chunks(700) {
        reframer.push(slice, &mut out);
        assert!(out.len() % usize::from(size) == 0, "a packet that is not full");
    }
    reframer.end(&mut out);
    out
}

fn assemble(sender: Sender, stream: &[u8]) {
    const LIMIT: usize = 1000;
    let mut assembler = Assembler::new(sender, LIMIT);
    let mut input = stream;
    while let Ok(Some(message)) = assembler.push(&mut input) {
        assert!(message.payload.len() <= LIMIT);
    }
}
