//! Conversations of real clients with a real server, replayed through the packet reader, the request parsers and the
//! walker: each to its end, without an unknown token, and with the events that another decoder found in them
//! (vectors/events.txt).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "captures/cut.rs"]
mod cut;
mod differential;
#[path = "captures/pcap.rs"]
mod pcap;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use cut::{Message, is_tls, messages};
use pcap::{Conversation, Side};
use weir_mssql::wire::{
    TdsVersion,
    all_headers::AllHeaders,
    env_change::{EnvChange, TransactionChange},
    feature_ext,
    login7::Login7,
    packet::{Framed, PacketKind, PacketReader, ResetBit, Sender},
    prelogin::PreLogin,
    read::Stop,
    reframe::Reframer,
    rpc::{Enclave, RpcPiece, RpcReader},
    transaction_request::TransactionRequest,
    utf16::Utf16,
    walker::{Content, Layout, Piece, Walker},
};

/// What is refused in the captures: attempts of a script, on purpose. Their servers were more patient.
const REFUSED: [&str; 8] = [
    "rawtds-probe 32990: unknown version",
    // The name of a savepoint with a length in characters.
    "rawtds-probe 33148: transaction manager request longer than it says",
    "rawtds-probe 40436: protocol violation by the client: invalid packet length",
    "rawtds-probe 57690: protocol violation by the client: both reset bits in one packet",
    "rawtds-probe-patched 51794: unknown version",
    "rawtds-probe-patched 51968: transaction manager request longer than it says",
    "rawtds-probe-patched 52054: protocol violation by the client: both reset bits in one packet",
    "rawtds-probe-patched 52140: protocol violation by the client: invalid packet length",
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn captures() -> Vec<(String, BTreeMap<u16, Conversation>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 53, "all captures are here");
    paths
        .into_iter()
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                pcap::conversations(&path),
            )
        })
        .collect()
}

/// Replays the messages of a conversation; gives the events.
struct Replay {
    name: String,
    version: TdsVersion,
    events: Vec<String>,
    /// The first thing that a server says is an answer to PRELOGIN.
    answers_prelogin: bool,
    requests: usize,
    responses: usize,
    /// The request that is answered fetches from a cursor.
    fetches: bool,
    refused: Vec<String>,
}

impl Replay {
    fn new(name: String) -> Self {
        Replay {
            name,
            version: TdsVersion::V7_4,
            events: Vec::new(),
            answers_prelogin: true,
            requests: 0,
            responses: 0,
            fetches: false,
            refused: Vec::new(),
        }
    }

    fn message(&mut self, message: &Message) {
        match message.side {
            Side::Client => {
                self.requests += 1;
                if let Err(what) = self.request(message) {
                    self.refused.push(format!("{}: {what}", self.name));
                }
            }
            Side::Server if is_tls(&message.payload) => assert_eq!(message.kind, PacketKind::PreLogin),
            Side::Server if std::mem::take(&mut self.answers_prelogin) => {
                PreLogin::parse(&message.payload).unwrap();
            }
            Side::Server => {
                self.responses += 1;
                self.response(&message.payload);
            }
        }
    }

    fn request(&mut self, message: &Message) -> Result<(), &'static str> {
        let payload = &message.payload[..];
        match message.kind {
            _ if message.last.ignores_message() => Ok(()),
            PacketKind::PreLogin if is_tls(payload) => Ok(()),
            PacketKind::PreLogin => PreLogin::parse(payload).map(drop),
            PacketKind::Login7 => {
                self.version = Login7::parse(payload)?.version().ok_or("unknown version")?;
                Ok(())
            }
            PacketKind::SqlBatch => Utf16(self.body(payload)?).decode().map(drop).ok_or("not UTF-16"),
            PacketKind::Rpc => self.rpc(self.body(payload)?),
            PacketKind::TransactionManager => {
                let read = TransactionRequest::read(self.body(payload)?);
                read.map(drop).map_err(|stop| match stop {
                    Stop::Need(_) => "transaction request cut short",
                    Stop::Fault(what) => what,
                })
            }
            // Rows as they are in a response; nobody needs to look into them, and one driver ends them with half a DONE.
            PacketKind::BulkLoad | PacketKind::Attention => Ok(()),
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn body<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], &'static str> {
        if !self.version.is_wide() {
            return Ok(payload);
        }
        let headers = AllHeaders::read(payload).map_err(|_| "no ALL_HEADERS")?;
        assert!(headers.transaction.is_some(), "{}", self.name);
        Ok(&payload[headers.length..])
    }

    fn rpc(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let whole = rpc_pieces(body, self.version, body.len())?;
        self.fetches = whole.iter().any(|piece| piece.contains("CursorFetch"));
        for slice in [1, 3, 64, 1000] {
            assert_eq!(rpc_pieces(body, self.version, slice)?, whole, "{}: {slice}", self.name);
        }
        Ok(())
    }

    fn response(&mut self, payload: &[u8]) {
        let whole = tokens(payload, self.version, self.fetches, payload.len())
            .unwrap_or_else(|what| panic!("{}: {what}\n{:02x?}", self.name, &payload[..payload.len().min(3000)]));
        for slice in [1, 2, 5, 64, 1000, 4088] {
            if payload.len() < 20_000 || slice > 2 {
                assert_eq!(
                    tokens(payload, self.version, self.fetches, slice),
                    Ok(whole.clone()),
                    "{}: {slice}",
                    self.name
                );
            }
        }
        // The other decoder knows neither the older version nor what is missing in the answers to fetches.
        if self.version.is_wide() && !self.fetches {
            assert_eq!(
                differential::ours([payload]),
                differential::theirs(payload),
                "{}",
                self.name
            );
        }
        self.events.extend(whole.into_iter().filter_map(|(_, _, event)| event));
    }
}

/// Calls and parameters with their places; passed bytes in sum.
fn rpc_pieces(body: &[u8], version: TdsVersion, slice: usize) -> Result<Vec<String>, &'static str> {
    let mut reader = RpcReader::new(version, Enclave::No, 1024 * 1024);
    let (mut pieces, mut bytes) = (Vec::new(), Vec::new());
    for mut input in body.chunks(slice.max(1)) {
        while let Some(piece) = reader.next(&mut input)? {
            bytes.extend_from_slice(piece.bytes());
            if !matches!(piece, RpcPiece::Pass(_)) {
                pieces.push(format!("{piece:?}"));
            }
        }
    }
    assert_eq!(bytes, body, "every byte once, in order");
    if reader.is_complete() {
        Ok(pieces)
    } else {
        Err("calls cut short")
    }
}

type Found = (u64, usize, Option<String>);

/// Place, length and event of every token that is handed out whole.
fn tokens(payload: &[u8], version: TdsVersion, fetches: bool, slice: usize) -> Result<Vec<Found>, &'static str> {
    let mut walker = Walker::new(Layout {
        version,
        ..Layout::default()
    });
    if fetches {
        walker.expect_cursor_rows();
    }
    let (mut tokens, mut bytes) = (Vec::new(), Vec::new());
    for mut input in payload.chunks(slice.max(1)) {
        while let Some(piece) = walker.next(&mut input)? {
            bytes.extend_from_slice(piece.bytes());
            if let Piece::Token(token) = piece {
                tokens.push((token.at, token.bytes.len(), event(token.content, token.bytes)));
            }
        }
    }
    assert_eq!(bytes, payload, "every byte once, in order");
    match walker.is_complete() {
        true => Ok(tokens),
        false => Err("the response does not end where its message does"),
    }
}

/// As the other decoder wrote them down.
fn event(content: Content<'_>, bytes: &[u8]) -> Option<String> {
    match content {
        Content::EnvChange(EnvChange::Transaction { change, descriptor, .. }) => {
            let name = match change {
                TransactionChange::Begin => "begin",
                TransactionChange::Commit => "commit",
                TransactionChange::Rollback => "rollback",
                other => panic!("{other:?}"),
            };
            Some(format!("{name}:{:016x}", descriptor.swap_bytes()))
        }
        Content::EnvChange(EnvChange::ResetAck) => Some("reset".to_owned()),
        Content::Error(error) => Some(format!("error:{}", error.number)),
        Content::FeatureExtAck => {
            feature_ext::parse_ack(bytes).unwrap();
            None
        }
        _ => None,
    }
}

fn expected() -> BTreeMap<(String, u16), Vec<String>> {
    std::fs::read_to_string(vectors().join("events.txt"))
        .unwrap()
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let key = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
            (key, words.collect())
        })
        .collect()
}

#[test]
fn every_capture_is_replayed_to_its_end_with_its_events() {
    let mut expected = expected();
    let (mut requests, mut responses, mut refused) = (0, 0, Vec::new());
    for (capture, conversations) in captures() {
        for (port, conversation) in conversations {
            let mut replay = Replay::new(format!("{capture} {port}"));
            let cut = messages(&conversation);
            cut.messages.iter().for_each(|message| replay.message(message));
            refused.append(&mut replay.refused);
            refused.extend(cut.refused.as_ref().map(|what| format!("{capture} {port}: {what}")));
            let mut events = expected.remove(&(capture.clone(), port)).unwrap_or_default();
            if cut.refused.is_some() {
                // What the client got for it is not read.
                events.truncate(replay.events.len());
            }
            assert_eq!(replay.events, events, "{capture} {port}");
            requests += replay.requests;
            responses += replay.responses;
        }
    }
    assert!(
        expected.is_empty(),
        "events of conversations that are not there: {expected:?}"
    );
    refused.sort();
    assert_eq!(refused, REFUSED);
    assert_eq!((requests, responses), (1023, 788), "whole messages");
}

/// Both sides' messages in packets of other sizes are the same messages.
#[test]
fn messages_survive_any_packet_size() {
    for (capture, conversations) in captures() {
        for conversation in conversations.values() {
            for message in messages(conversation).messages {
                for size in [512_u16, 4096, 8000, 32764] {
                    assert_eq!(reframed(&message, size), message.payload, "{capture} {size}");
                }
            }
        }
    }
}

fn reframed(message: &Message, size: u16) -> Vec<u8> {
    let mut reframer = Reframer::new(size);
    let mut out = BytesMut::new();
    reframer.begin(message.kind, message.first);
    for slice in message.payload.chunks(1000) {
        reframer.push(slice, &mut out);
    }
    reframer.end(&mut out);
    let sender = if message.side == Side::Client {
        Sender::Client
    } else {
        Sender::Server
    };
    let mut reader = PacketReader::new(sender);
    reader.set_packet_size(size);
    let (mut rest, mut payload, mut lengths) = (&out[..], Vec::new(), Vec::new());
    loop {
        match reader.read(&mut rest).unwrap() {
            Framed::Packet(header, _) => {
                assert_eq!(
                    header.status.reset(),
                    if lengths.is_empty() {
                        message.first.reset()
                    } else {
                        ResetBit::None
                    }
                );
                assert_eq!(usize::from(header.packet_id), (lengths.len() + 1) % 256);
                lengths.push(header.length);
            }
            Framed::Payload(bytes) => payload.extend_from_slice(bytes),
            Framed::End(_) => break,
            Framed::Need(_) => panic!("cut short"),
        }
    }
    assert!(rest.is_empty());
    lengths.pop();
    assert!(
        lengths.iter().all(|length| *length == size),
        "every packet but the last is full"
    );
    payload
}
