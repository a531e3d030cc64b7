//! Requests as clients send them, and responses in words.

use bytes::{BufMut, BytesMut};
use weir_mssql::wire::{
    TdsVersion, all_headers,
    env_change::EnvChange,
    packet::{Header, PacketKind, Status},
    reframe::frame,
    return_value::Value,
    rpc::{WellKnown, status, write},
    transaction_request,
    utf16::{self, Utf16},
    walker::{Content, Layout, Piece, Walker},
};

pub const PACKET: u16 = 512;

pub fn message(kind: PacketKind, status: Status, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(kind, status, payload, PACKET, &mut out);
    out.to_vec()
}

pub fn batch(text: &str) -> Vec<u8> {
    batch_in(0, text)
}

pub fn batch_in(descriptor: u64, text: &str) -> Vec<u8> {
    batch_with(Status::default(), descriptor, text)
}

pub fn batch_with(status: Status, descriptor: u64, text: &str) -> Vec<u8> {
    let mut payload = BytesMut::new();
    all_headers::write(descriptor, &mut payload);
    payload.put_slice(&utf16::encode(text));
    message(PacketKind::SqlBatch, status, &payload)
}

pub fn attention() -> Vec<u8> {
    Header::attention().to_bytes().to_vec()
}

fn transaction(descriptor: u64, body: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut payload = BytesMut::new();
    all_headers::write(descriptor, &mut payload);
    body(&mut payload);
    message(PacketKind::TransactionManager, Status::default(), &payload)
}

pub fn begin(isolation: u8) -> Vec<u8> {
    transaction(0, |out| {
        transaction_request::write_begin(isolation, Utf16::default(), out)
    })
}

pub fn commit(descriptor: u64) -> Vec<u8> {
    transaction(descriptor, |out| {
        transaction_request::write_commit(Utf16::default(), out)
    })
}

pub fn rollback(descriptor: u64) -> Vec<u8> {
    transaction(descriptor, |out| {
        transaction_request::write_rollback(Utf16::default(), out)
    })
}

/// As ODBC commits and rolls back: the next transaction begins at once.
pub fn commit_and_begin(descriptor: u64) -> Vec<u8> {
    transaction(descriptor, |out| out.put_slice(&[7, 0, 0, 1, 0, 0]))
}

pub fn rollback_and_begin(descriptor: u64) -> Vec<u8> {
    transaction(descriptor, |out| out.put_slice(&[8, 0, 0, 1, 0, 0]))
}

pub struct Calls(BytesMut);

impl Calls {
    pub fn new() -> Self {
        let mut payload = BytesMut::new();
        all_headers::write(0, &mut payload);
        Calls(payload)
    }

    pub fn within(descriptor: u64) -> Self {
        let mut payload = BytesMut::new();
        all_headers::write(descriptor, &mut payload);
        Calls(payload)
    }

    fn integer(&mut self, status: u8, value: Option<i32>) {
        write::integer(Utf16::default(), status, value, &mut self.0);
    }

    fn text(&mut self, text: &str) {
        write::text(
            Utf16::default(),
            Some(Utf16(&utf16::encode(text))),
            [9, 4, 0xd0, 0, 0x34],
            &mut self.0,
        );
    }

    pub fn then(mut self) -> Self {
        write::separator(&mut self.0);
        self
    }

    pub fn sql(mut self, text: &str) -> Self {
        write::call(WellKnown::ExecuteSql, &mut self.0);
        self.text(text);
        self
    }

    pub fn prepare(mut self, text: &str) -> Self {
        write::call(WellKnown::Prepare, &mut self.0);
        self.integer(status::OUTPUT, None);
        self.text("@p int");
        self.text(text);
        self.integer(0, Some(1));
        self
    }

    pub fn prepare_and_execute(mut self, old: Option<i32>, text: &str, value: i32) -> Self {
        write::call(WellKnown::PrepExec, &mut self.0);
        self.integer(status::OUTPUT, old);
        self.text("@p int");
        self.text(text);
        self.integer(0, Some(value));
        self
    }

    /// One of the procedures for cursors: so many numbers come first, then these texts.
    pub fn cursor(mut self, procedure: WellKnown, numbers: u32, texts: &[&str]) -> Self {
        write::call(procedure, &mut self.0);
        for _ in 0..numbers {
            self.integer(status::OUTPUT, None);
        }
        for text in texts {
            self.text(text);
        }
        self
    }

    /// A procedure by a number that stands for none.
    pub fn numbered(mut self, number: u16) -> Self {
        self.0.put_u16_le(0xffff);
        self.0.put_u16_le(number);
        self.0.put_u16_le(0);
        self
    }

    pub fn execute(mut self, handle: i32, value: i32) -> Self {
        write::call(WellKnown::Execute, &mut self.0);
        self.integer(0, Some(handle));
        self.integer(0, Some(value));
        self
    }

    /// One more argument, of any length.
    pub fn text_argument(mut self, text: &str) -> Self {
        self.text(text);
        self
    }

    /// With a name for the handle, and an output parameter of the statement's own.
    pub fn prepare_and_execute_named(mut self, name: &str, text: &str, value: i32) -> Self {
        write::call(WellKnown::PrepExec, &mut self.0);
        write::integer(Utf16(&utf16::encode(name)), status::OUTPUT, None, &mut self.0);
        self.text("@p int");
        self.text(text);
        self.integer(status::OUTPUT, Some(value));
        self
    }

    pub fn unprepare(mut self, handle: i32) -> Self {
        write::call(WellKnown::Unprepare, &mut self.0);
        self.integer(0, Some(handle));
        self
    }

    pub fn reset_connection(mut self) -> Self {
        write::call(WellKnown::ResetConnection, &mut self.0);
        self
    }

    pub fn named(mut self, name: &str, arguments: &[&str]) -> Self {
        let name = utf16::encode(name);
        self.0.put_u16_le((name.len() / 2) as u16);
        self.0.put_slice(&name);
        self.0.put_u16_le(0);
        for argument in arguments {
            self.text(argument);
        }
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.done_with(Status::default())
    }

    pub fn done_with(self, status: Status) -> Vec<u8> {
        message(PacketKind::Rpc, status, &self.0)
    }
}

/// What a client was told, in words, message by message.
pub fn told(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut walker = Walker::new(Layout {
        version: TdsVersion::V7_4,
        ..Layout::default()
    });
    let (mut words, mut passed) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let header = Header::read(rest).expect("a packet").expect("a whole header");
        assert_eq!(header.kind, PacketKind::Response);
        assert!(header.length <= PACKET, "a packet beyond what the client takes");
        let packet = &rest[..usize::from(header.length)];
        rest = &rest[usize::from(header.length)..];
        let mut input = &packet[8..];
        while let Some(piece) = walker.next(&mut input).expect("tokens") {
            match piece {
                Piece::Token(token) => {
                    words.extend(row(&std::mem::take(&mut passed)));
                    words.extend(word(&token.content));
                }
                Piece::Pass(bytes) => passed.extend_from_slice(bytes),
            }
        }
        if header.status.ends_message() {
            assert!(walker.is_complete(), "a message that ends in the middle: {words:?}");
            walker.begin();
            words.push("|".to_owned());
        }
    }
    words.join(" ").trim_end_matches('|').trim().to_owned()
}

fn word(content: &Content<'_>) -> Option<String> {
    Some(match content {
        Content::EnvChange(EnvChange::Transaction { change, descriptor, .. }) => {
            format!("{change:?}({})", number(*descriptor))
        }
        Content::EnvChange(EnvChange::ResetAck) => "Reset".to_owned(),
        Content::EnvChange(EnvChange::Database { new, .. }) => format!("Database({})", new.to_lossy()),
        Content::EnvChange(other) => format!("{other:?}"),
        Content::Error(error) => format!("Error({} {})", error.number, error.text.to_lossy()),
        Content::Info(info) => format!("Info({})", info.text.to_lossy()),
        Content::ColumnMetadata { .. } => return None,
        Content::ReturnStatus(status) => format!("Status({status})"),
        Content::ReturnValue(value) => match value.value {
            Value::Integer { value: number, .. } => {
                let mut words = String::new();
                if !value.name.is_empty() {
                    words.push_str(&format!("@{} ", value.name.to_lossy()));
                }
                if value.ordinal > 0 {
                    words.push_str(&format!("#{} ", value.ordinal));
                }
                format!("Value({words}{number})")
            }
            _ => "Value".to_owned(),
        },
        Content::SessionState(_) => "SessionState".to_owned(),
        Content::Done(done) => {
            let mut flags = String::new();
            for (bit, name) in [(1, "more"), (2, "error"), (0x20, "attention")] {
                if done.status.0 & bit != 0 {
                    flags.push_str(name);
                }
            }
            format!("Done({flags})")
        }
        other => format!("{other:?}"),
    })
}

/// A transaction's number: the model's are small, the gateway's are its own.
fn number(descriptor: u64) -> String {
    match descriptor >> 48 {
        0 => descriptor.to_string(),
        _ => "v".to_owned(),
    }
}

/// The text of a row of the model.
fn row(bytes: &[u8]) -> Option<String> {
    let at = bytes.iter().position(|byte| *byte == 0xd1)?;
    let text = bytes.get(at + 3..)?;
    let units: Vec<u16> = text
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .collect();
    Some(format!("[{}]", String::from_utf16_lossy(&units)))
}

/// The number of the transaction that the client was told last.
pub fn descriptor(bytes: &[u8]) -> u64 {
    find_last_begin(bytes).expect("a transaction that begins")
}

/// The transaction that the client is in now, 0 for none; `None` if nothing was said about it.
pub fn find_last_begin(bytes: &[u8]) -> Option<u64> {
    find(bytes, |content| match content {
        Content::EnvChange(EnvChange::Transaction { change, descriptor, .. }) => {
            Some(if change.kind() == 8 { *descriptor } else { 0 })
        }
        _ => None,
    })
}

/// The handle that the client was told.
pub fn handle(bytes: &[u8]) -> i32 {
    find_last_handle(bytes).expect("a handle")
}

/// The handle that the client was told last, if any.
pub fn find_last_handle(bytes: &[u8]) -> Option<i32> {
    find(bytes, |content| match content {
        Content::ReturnValue(value) => match value.value {
            Value::Integer { value, .. } => Some(value as i32),
            _ => None,
        },
        _ => None,
    })
}

fn find<T>(bytes: &[u8], mut wanted: impl FnMut(&Content<'_>) -> Option<T>) -> Option<T> {
    let mut rest = bytes;
    let mut walker = Walker::new(Layout {
        version: TdsVersion::V7_4,
        ..Layout::default()
    });
    let mut found = None;
    while let Ok(Some(header)) = Header::read(rest) {
        let mut input = &rest[8..usize::from(header.length)];
        while let Some(piece) = walker.next(&mut input).expect("tokens") {
            if let Piece::Token(token) = piece
                && let Some(value) = wanted(&token.content)
            {
                found = Some(value);
            }
        }
        if header.status.ends_message() {
            walker.begin();
        }
        rest = &rest[usize::from(header.length)..];
    }
    found
}
