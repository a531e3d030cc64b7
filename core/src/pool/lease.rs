//! A server connection in a client's hands.
//!
//! Invariant I2: dropping a lease closes the connection. Going back is an explicit act ([`Lease::finish`]) that demands
//! proof from the session: its state is `Idle`, and its reset is done.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use bytes::BytesMut;

use super::{
    Pool,
    connection::Connection,
    engine::{Mark, SlotId},
    tasks,
};
use crate::{
    backend::{Backend, Reset, ResetDepth, SessionReset, SessionState, TransactionDetection},
    clock::{self, Instant},
    settings::ServerReset,
};

/// A server connection on loan. Its `io`, `session` and `cancel_key` are those of [`Connection`].
#[must_use = "dropping a lease closes the server connection"]
pub struct Lease<B: Backend> {
    pool: Arc<Pool<B>>,
    slot: SlotId,
    /// Empty only once the lease has ended.
    connection: Option<Box<Connection<B>>>,
}

const HELD: &str = "a lease holds its connection until it ends";

impl<B: Backend> Lease<B> {
    pub(super) fn new(pool: Arc<Pool<B>>, slot: SlotId, connection: Box<Connection<B>>) -> Self {
        Lease {
            pool,
            slot,
            connection: Some(connection),
        }
    }

    /// The stream and the session, to use at the same time.
    pub fn parts(&mut self) -> (&mut B::ServerIo, &mut B::Session) {
        let connection = &mut **self;
        (&mut connection.io, &mut connection.session)
    }

    /// A number of its own among the connections of its pool, for logs.
    pub fn id(&self) -> u64 {
        Connection::id(self)
    }

    /// A number of its own among the connections of all pools of the process; never 0.
    pub fn number(&self) -> u64 {
        super::number_of(self.pool.number, self.id())
    }

    /// To find the same connection again next time, if nobody else has had it since.
    pub fn mark(&self) -> Option<Mark> {
        Connection::mark(self)
    }

    /// The pool it came from.
    pub fn pool(&self) -> &Arc<Pool<B>> {
        &self.pool
    }

    /// Gives the connection back, reset as `server_reset` says. It is closed instead if the session is not in state
    /// `Idle` (or `Pinned`, by what the reset undoes). A reset that needs the database's answer goes on in a task of its
    /// own; the next client waits for it, the caller does not.
    pub fn finish(self) {
        self.finish_at(clock::now());
    }

    /// The same at `now`, for callers that know the time.
    pub(crate) fn finish_at(mut self, now: Instant) {
        let depth = match self.pool.settings.load().server_reset {
            ServerReset::Auto => ResetDepth::WhatChanged,
            ServerReset::Always => ResetDepth::Everything,
            ServerReset::Never => ResetDepth::Nothing,
        };
        match self.session.state() {
            SessionState::Idle | SessionState::Pinned(_) => {}
            SessionState::InTransaction { .. } => return self.discard("returned in a transaction"),
            SessionState::Busy => return self.discard("returned with answers outstanding"),
            SessionState::Broken(why) => return self.discard(why),
        }
        let mut out = BytesMut::new();
        match self.session.begin_reset(depth, &mut out) {
            Reset::Done | Reset::Deferred => self.return_clean(now),
            Reset::Await => {
                self.pool.apply(|state, _, _| state.engine.maintain(self.slot));
                let pool = self.pool.clone();
                pool.spawn(tasks::reset(self, out));
            }
            Reset::Discard(why) => self.discard(why),
        }
    }

    /// Closes the connection. `why` is for the log.
    pub fn discard(mut self, why: &'static str) {
        self.close(why);
    }

    /// The reset is done; the last look at the state is the proof (I2).
    pub(super) fn return_clean(mut self, now: Instant) {
        match self.session.state() {
            SessionState::Idle => {
                let connection = self.connection.take().expect(HELD);
                self.pool.apply_at(now, |state, now, after| {
                    state.check_in(self.slot, connection, now, after)
                });
            }
            SessionState::Broken(why) => self.discard(why),
            SessionState::Pinned(pin) => self.discard(pin.as_str()),
            SessionState::InTransaction { .. } | SessionState::Busy => self.discard("not idle after its reset"),
        }
    }

    fn close(&mut self, why: &'static str) {
        if let Some(connection) = self.connection.take() {
            self.pool
                .apply(|state, _, after| state.discard(self.slot, connection, why, after));
        }
    }
}

impl<B: Backend> Drop for Lease<B> {
    fn drop(&mut self) {
        self.close("dropped without being finished");
    }
}

impl<B: Backend> Deref for Lease<B> {
    type Target = Connection<B>;

    fn deref(&self) -> &Connection<B> {
        self.connection.as_deref().expect(HELD)
    }
}

impl<B: Backend> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut Connection<B> {
        self.connection.as_deref_mut().expect(HELD)
    }
}

impl<B: Backend> std::fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("pool", &self.pool.name())
            .field("connection", &self.connection)
            .finish()
    }
}
