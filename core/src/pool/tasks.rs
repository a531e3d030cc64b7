//! What takes time: opening, resetting and closing a server connection, each in a task of its own and each bounded.
//!
//! Every task holds something that reports back when it is dropped, so that a task that panics, or that a runtime throws
//! away while it shuts down, cannot leave a place in the pool occupied for ever.

use std::{future::Future, sync::Weak, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Pool,
    connection::Connection,
    engine::SlotId,
    lease::Lease,
    limits::{CLOSE_BYTES, CLOSE_PATIENCE, RESET_BYTES, RESET_TIME},
};
use crate::{
    backend::{Backend, Opened, Reset, SessionReset},
    clock::{self, Instant},
    refusal::{Fault, OpenError},
};

/// Opens one connection and reports how that went.
pub(super) fn open<B: Backend>(
    pool: &Pool<B>,
    slot: SlotId,
    profile: B::Profile,
) -> impl Future<Output = ()> + Send + use<B> {
    let attempt = Attempt {
        pool: pool.weak(),
        slot: Some(slot),
    };
    let backend = pool.backend().clone();
    let limit = pool.settings().connect_timeout;
    async move {
        let began = clock::now();
        let result = match timeout(limit, backend.open(&profile)).await {
            Ok(result) => result,
            Err(_) => Err(OpenError::TimedOut(limit)),
        };
        attempt.report(result, began);
    }
}

struct Attempt<B: Backend> {
    pool: Weak<Pool<B>>,
    slot: Option<SlotId>,
}

impl<B: Backend> Attempt<B> {
    fn report(mut self, result: Result<Opened<B>, OpenError>, began: Instant) {
        self.end(result.map(|opened| (opened, began.elapsed())));
    }

    fn end(&mut self, result: Result<(Opened<B>, Duration), OpenError>) {
        let (Some(slot), Some(pool)) = (self.slot.take(), self.pool.upgrade()) else {
            return;
        };
        match result {
            Ok((opened, time)) => {
                pool.activity().latency().connect.record(time);
                let connection = Box::new(Connection::new(pool.next_connection_id(), opened, time));
                pool.apply(|state, now, after| state.opened(slot, connection, now, after));
            }
            Err(error) => pool.apply(|state, now, after| state.open_failed(slot, error, now, after)),
        }
    }
}

impl<B: Backend> Drop for Attempt<B> {
    fn drop(&mut self) {
        self.end(Err(OpenError::Unreachable("the attempt was abandoned".to_owned())));
    }
}

/// Sends what a reset asked for, reads the answer and returns the connection. Whatever goes wrong closes it.
pub(super) async fn reset<B: Backend>(mut lease: Lease<B>, out: BytesMut) {
    let began = clock::now();
    let outcome = timeout(RESET_TIME, exchange(&mut lease, out)).await;
    lease.pool().activity().latency().reset.record(began.elapsed());
    match outcome {
        Ok(Ok(())) => lease.return_clean(clock::now()),
        Ok(Err(why)) => lease.discard(why),
        Err(_) => lease.discard("reset took too long"),
    }
}

async fn exchange<B: Backend>(lease: &mut Lease<B>, out: BytesMut) -> Result<(), &'static str> {
    const BROKE: &str = "connection broke during its reset";
    let (io, session) = lease.parts();
    io.write_all(&out).await.map_err(|_| BROKE)?;
    io.flush().await.map_err(|_| BROKE)?;
    drop(out);
    let mut input = BytesMut::new();
    let mut received = 0;
    loop {
        let count = io.read_buf(&mut input).await.map_err(|_| BROKE)?;
        received += count;
        if count == 0 {
            return Err("closed by the database during its reset");
        }
        if received > RESET_BYTES {
            return Err("the answer to its reset is too long");
        }
        match session.continue_reset(&mut input) {
            Ok(Reset::Await) => {}
            Ok(Reset::Done | Reset::Deferred) if input.is_empty() => return Ok(()),
            Ok(Reset::Done | Reset::Deferred) => return Err("more than the answer to its reset"),
            Ok(Reset::Discard(why)) | Err(Fault::Client(why) | Fault::Server(why)) => return Err(why),
        }
    }
}

/// Closes a connection: says that nothing more will come and waits, bounded, for the database to close its end. Only
/// then does the place count as free, so that the database never sees more connections than the limit. (PostgreSQL leaves
/// its end to the exit of the backend process, after the backend has left `pg_stat_activity`.)
pub(super) fn close<B: Backend>(
    pool: &Pool<B>,
    slot: SlotId,
    connection: Box<Connection<B>>,
) -> impl Future<Output = ()> + Send + use<B> {
    let farewell = Farewell {
        pool: pool.weak(),
        slot,
    };
    async move {
        let Connection { mut io, .. } = *connection;
        let _ = timeout(CLOSE_PATIENCE, linger::<B>(&mut io)).await;
        drop(io);
        drop(farewell);
    }
}

async fn linger<B: Backend>(io: &mut B::ServerIo) -> std::io::Result<()> {
    io.shutdown().await?;
    let mut scratch = [0; 1024];
    let mut received = 0;
    while received <= CLOSE_BYTES {
        match io.read(&mut scratch).await? {
            0 => break,
            count => received += count,
        }
    }
    Ok(())
}

struct Farewell<B: Backend> {
    pool: Weak<Pool<B>>,
    slot: SlotId,
}

impl<B: Backend> Drop for Farewell<B> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.apply(|state, now, _| state.engine.closed(self.slot, now));
        }
    }
}
