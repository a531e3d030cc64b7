//! What a session answers: tokens into packets. The last DONE of an answer is held back until it is known to be last.

use rusqlite::types::Value;
use tokio::sync::mpsc;

use crate::mssql::{
    failure::Failure,
    faults::{DropPoint, Faults},
    wire::{
        packet::{self, HEADER, kind, status},
        tokens::{self, Column, Done, DoneKind, Width, command, done},
        values,
    },
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Output {
    sink: Sink,
    spid: u16,
    size: usize,
    payload: Vec<u8>,
    packet: u8,
    pending: Option<Done>,
    faults: Faults,
    /// Bytes of this answer that have gone, for the faults that count them.
    sent: usize,
    cut: bool,
    zero_packet_id: bool,
    hung_up: bool,
    width: Width,
}

#[derive(Debug)]
enum Sink {
    Client(mpsc::Sender<Vec<u8>>),
    /// Rows as text, and the first error.
    Test(Vec<Vec<Option<String>>>, Option<Failure>),
}

impl Output {
    pub(crate) fn new(answers: mpsc::Sender<Vec<u8>>, spid: u16, size: usize, probe: bool, width: Width) -> Output {
        Output {
            sink: Sink::Client(answers),
            spid,
            size,
            payload: Vec::new(),
            packet: 0,
            pending: None,
            faults: Faults::default(),
            sent: 0,
            cut: false,
            zero_packet_id: probe,
            hung_up: false,
            width,
        }
    }

    pub(crate) fn collecting() -> Output {
        Output {
            sink: Sink::Test(Vec::new(), None),
            ..Output::new(mpsc::channel(1).0, 0, 4096, false, Width::Wide)
        }
    }

    /// What a test's own batch gave.
    pub(crate) fn collected(&mut self) -> Result<Vec<Vec<Option<String>>>, Failure> {
        match &mut self.sink {
            Sink::Test(rows, failure) => match failure.take() {
                Some(failure) => Err(failure),
                None => Ok(std::mem::take(rows)),
            },
            Sink::Client(_) => Ok(Vec::new()),
        }
    }

    /// A new answer begins, under these faults.
    pub(crate) fn start(&mut self, faults: Faults) {
        self.payload.clear();
        self.packet = 0;
        self.pending = None;
        self.sent = 0;
        self.cut = false;
        if let Some(token) = faults.unknown_token {
            self.payload.push(token);
        }
        self.faults = faults;
    }

    /// Appends tokens that are not DONE.
    pub(crate) fn token(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.flush_done();
        write(&mut self.payload);
        self.send_full();
    }

    pub(crate) fn columns(&mut self, columns: &[Column]) {
        let width = self.width;
        self.token(|out| tokens::column_metadata(out, width, columns));
    }

    /// A row. `bitmap`: the client knows NBCROW.
    pub(crate) fn row(&mut self, columns: &[Column], row: &[Value], bitmap: bool) -> Result<(), Failure> {
        if let Sink::Test(rows, _) = &mut self.sink {
            let text = |(column, value): (&Column, &Value)| {
                super::convert::convert(value, column.kind)
                    .map(|value| super::convert::to_text(&value, Some(column.kind)))
            };
            rows.push(columns.iter().zip(row).map(text).collect::<Result<_, _>>()?);
            return Ok(());
        }
        self.flush_done();
        let start = self.payload.len();
        let nulls = row.contains(&Value::Null);
        if nulls && bitmap {
            self.payload.push(0xD2);
            let mut bits = vec![0u8; columns.len().div_ceil(8)];
            for (index, value) in row.iter().enumerate() {
                bits[index / 8] |= u8::from(*value == Value::Null) << (index % 8);
            }
            self.payload.extend(bits);
        } else {
            self.payload.push(0xD1);
        }
        for (column, value) in columns.iter().zip(row) {
            if *value == Value::Null && bitmap {
                continue;
            }
            if let Err(failure) = values::put_value(&mut self.payload, column.kind, value) {
                self.payload.truncate(start);
                return Err(failure);
            }
        }
        self.send_full();
        Ok(())
    }

    pub(crate) fn failure(&mut self, failure: &Failure, server: &str) {
        if let Sink::Test(_, first) = &mut self.sink {
            first.get_or_insert_with(|| failure.clone());
            return;
        }
        let width = self.width;
        self.token(|out| tokens::error(out, width, failure, server));
    }

    /// INFO
    pub(crate) fn info(&mut self, failure: &Failure, server: &str) {
        let width = self.width;
        self.token(|out| tokens::info(out, width, failure, server));
    }

    pub(crate) fn width(&self) -> Width {
        self.width
    }

    /// A DONE of any kind; it is marked as not the last when something follows.
    pub(crate) fn done(&mut self, done: Done) {
        self.flush_done();
        self.pending = Some(done);
    }

    fn flush_done(&mut self) {
        if let Some(mut pending) = self.pending.take() {
            pending.status |= done::MORE;
            pending.put(self.width, &mut self.payload);
            self.send_full();
        }
    }

    /// What comes before the last DONE, and only there.
    pub(crate) fn before_last_done(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.payload);
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self) {
        let last = self.pending.take().unwrap_or(Done {
            kind: DoneKind::Done,
            status: 0,
            command: command::NONE,
            rows: 0,
        });
        last.put(self.width, &mut self.payload);
        self.send_full();
        self.send(self.payload.len(), true);
        if matches!(self.faults.drop_at, Some(DropPoint::Answer(_))) {
            self.hang_up();
        }
        self.faults = Faults::default();
    }

    /// What is there goes out now, in a packet that may be short.
    pub(crate) fn flush(&mut self) {
        self.flush_done();
        if !self.payload.is_empty() {
            self.send(self.payload.len(), false);
        }
    }

    /// A message of its own that only acknowledges an Attention.
    pub(crate) fn attention_acknowledged(&mut self) {
        self.start(Faults::default());
        self.done(Done {
            kind: DoneKind::Done,
            status: done::ATTENTION,
            command: command::NONE,
            rows: 0,
        });
        self.finish();
    }

    /// The connection ends when all before has gone out.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        if let Sink::Client(answers) = &self.sink {
            let _ = answers.blocking_send(Vec::new());
        }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.hung_up || matches!(&self.sink, Sink::Client(answers) if answers.is_closed())
    }

    fn send_full(&mut self) {
        let most = self
            .faults
            .short_packets
            .unwrap_or(usize::MAX)
            .clamp(1, self.size - HEADER);
        while self.payload.len() > most {
            self.send(most, false);
        }
    }

    fn send(&mut self, length: usize, last: bool) {
        let mut chunk: Vec<u8> = self.payload.drain(..length).collect();
        let Sink::Client(answers) = &self.sink else { return };
        if self.cut {
            return;
        }
        let mut last = last;
        if let Some(limit) = self.faults.early_end
            && self.sent + chunk.len() >= limit
        {
            chunk.truncate(limit - self.sent);
            (last, self.cut) = (true, true);
        }
        if let Some(DropPoint::Answer(limit)) = self.faults.drop_at
            && self.sent + chunk.len() >= limit
        {
            chunk.truncate(limit - self.sent);
            (last, self.cut) = (false, true);
        }
        self.sent += chunk.len();
        self.packet = self.packet.wrapping_add(1);
        let id = if self.zero_packet_id && last && self.packet == 1 {
            0
        } else {
            self.packet
        };
        let bits = if last { status::END } else { 0 };
        let mut bytes = packet::header(kind::RESPONSE, bits, chunk.len(), self.spid, id).to_vec();
        bytes.extend(chunk);
        let _ = answers.blocking_send(bytes);
    }
}
