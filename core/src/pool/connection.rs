//! One server connection as the pool keeps it: its stream, its session, and a look at it while it is idle.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{engine::Mark, limits::IDLE_BYTES};
use crate::{
    backend::{Backend, Opened, SessionState, TransactionDetection},
    refusal::Fault,
};

/// A server connection. Its fields can be borrowed at the same time:
/// `let Connection { io, session, .. } = &mut *lease;`.
pub struct Connection<B: Backend> {
    /// The stream.
    pub io: B::ServerIo,
    /// What the bytes on it mean.
    pub session: B::Session,
    /// How to cancel what runs on it.
    pub cancel_key: Option<B::CancelKey>,
    id: u64,
    mark: Option<Mark>,
    /// How long it took to open, until somebody has asked.
    connect_time: Option<Duration>,
}

/// Why an idle connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The other side closed it.
    Ended(&'static str),
    /// It said something that makes it useless.
    Unusable(&'static str),
}

impl Gone {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Gone::Ended(reason) | Gone::Unusable(reason) => reason,
        }
    }
}

impl<B: Backend> Connection<B> {
    pub(super) fn new(id: u64, opened: Opened<B>, connect_time: Duration) -> Self {
        let Opened {
            io,
            session,
            cancel_key,
        } = opened;
        Connection {
            io,
            session,
            cancel_key,
            id,
            mark: None,
            connect_time: Some(connect_time),
        }
    }

    /// Takes note of the lease that it is handed out for.
    pub(super) fn leased_as(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }

    /// The lease that it was handed out for last.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// How long it took to open, for the first client that asks: it may have waited for just that.
    pub(crate) fn take_connect_time(&mut self) -> Option<Duration> {
        self.connect_time.take()
    }

    /// A number of its own among the connections of its pool, for logs.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Reads what has arrived on an idle connection and lets the session judge it. `waker` is told when more arrives.
    pub(super) fn look(&mut self, waker: &Waker) -> Result<(), Gone> {
        let mut context = Context::from_waker(waker);
        let mut seen = 0;
        loop {
            let mut space = [MaybeUninit::<u8>::uninit(); 1024];
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.io).poll_read(&mut context, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Gone::Ended("connection broke")),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Err(Gone::Ended("closed by the database"));
                }
                Poll::Ready(Ok(())) => {}
            }
            seen += buffer.filled().len();
            if seen > IDLE_BYTES {
                return Err(Gone::Unusable("talked while idle"));
            }
            if let Err(Fault::Client(what) | Fault::Server(what)) = self.session.while_idle(buffer.filled()) {
                return Err(Gone::Unusable(what));
            }
            if self.session.state() != SessionState::Idle {
                return Err(Gone::Unusable("not idle any more"));
            }
        }
    }
}

impl<B: Backend> std::fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
