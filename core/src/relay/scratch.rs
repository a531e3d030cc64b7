//! What a worker thread lends to whichever client it is serving at the moment: buffers, and what holds for one poll.
//!
//! Invariant: they are empty of meaning between two polls; what has to survive moves to the client's lanes.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::ReadBuf;

use crate::{
    backend::{Io, Outbox},
    clock::{self, Instant},
    limits,
};

pub(super) struct Scratch {
    /// What one read brought.
    pub(super) read: Box<[u8]>,
    pub(super) turn: Turn,
}

/// One poll.
pub(super) struct Turn {
    /// What cannot be sent straight from where it was read.
    pub(super) gather: BytesMut,
    /// What a dialogue says on its own.
    pub(super) out: Outbox,
    /// When it began. What happens in one poll happens at one time: to read a clock costs as much as to find a server
    /// connection.
    pub(super) now: Instant,
    /// Of the client.
    pub(super) client: Supply,
    /// Of the server connection that the client holds.
    pub(super) server: Supply,
}

/// Whether it is worth a look, in this poll, what has arrived from one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Supply {
    Unknown,
    /// There was nothing more, and whatever comes wakes the task.
    Dry,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; limits::SCRATCH].into_boxed_slice(),
        turn: Turn {
            gather: BytesMut::with_capacity(limits::SCRATCH),
            out: Outbox::default(),
            now: clock::now(),
            client: Supply::Unknown,
            server: Supply::Unknown,
        },
    });
}

/// Borrows the worker's buffers for the length of one poll, which begins at `now`.
pub(super) fn with_scratch<T>(now: Instant, work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.turn.now = now;
        (scratch.turn.client, scratch.turn.server) = (Supply::Unknown, Supply::Unknown);
        let result = work(scratch);
        scratch.turn.gather.clear();
        scratch.turn.out.to_client.clear();
        scratch.turn.out.to_server.clear();
        result
    })
}

/// One read; the number of bytes, 0 at the end of the stream.
pub(super) fn poll_read<I: Io>(io: &mut I, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
