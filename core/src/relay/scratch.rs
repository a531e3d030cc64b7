//! The buffers that a worker thread lends to whichever client it is serving at the moment.
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
    limits,
};

pub(super) struct Scratch {
    /// What one read brought.
    pub(super) read: Box<[u8]>,
    /// What cannot be sent straight from where it was read.
    pub(super) gather: BytesMut,
    /// What a dialogue says on its own.
    pub(super) out: Outbox,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; limits::SCRATCH].into_boxed_slice(),
        gather: BytesMut::with_capacity(limits::SCRATCH),
        out: Outbox::default(),
    });
}

/// Borrows the worker's buffers for the length of one poll.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let result = work(scratch);
        scratch.gather.clear();
        scratch.out.to_client.clear();
        scratch.out.to_server.clear();
        result
    })
}

/// One read; the number of bytes, 0 at the end of the stream.
pub(super) fn poll_read<I: Io>(io: &mut I, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
