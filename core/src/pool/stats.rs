//! Numbers about a pool, for metrics, views and tests.

use std::time::Duration;

use super::engine::Stage;

/// A pool at one moment, and what has happened in it since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Server connections at rest.
    pub idle: u32,
    /// With clients.
    pub leased: u32,
    /// Being opened.
    pub opening: u32,
    /// Being reset.
    pub maintenance: u32,
    /// Being closed.
    pub closing: u32,
    /// Clients that wait for one.
    pub waiting: u32,
    /// How long the one that has waited longest has waited.
    pub longest_wait: Duration,
    /// `max_connections`.
    pub limit: u32,
    /// Those from before the last [`super::Pool::reconnect`], whatever they are doing.
    pub outdated: u32,
    /// What has happened.
    pub counters: Counters,
}

impl PoolStats {
    /// Server connections, whatever they are doing.
    pub fn total(&self) -> u32 {
        self.idle + self.leased + self.opening + self.maintenance + self.closing
    }
}

/// One server connection at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Among the connections of all pools: see [`super::Lease::number`]. `None` while it is being opened.
    pub number: Option<u64>,
    /// Among those of its pool. `None` while it is being opened.
    pub id: Option<u64>,
    /// The number of its process on the database's side, where there is one.
    pub process: Option<u32>,
    /// Where it is.
    pub stage: Stage,
    /// Whether it is closed as soon as it comes to rest: the pool is paused, or was told to reconnect.
    pub is_unwanted: bool,
    /// Since it was logged in, or since that was begun.
    pub age: Duration,
    /// How long it has been idle.
    pub rest: Duration,
}

/// Counts since the pool began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections opened.
    pub opened: u64,
    /// Connections closed, whatever the reason.
    pub closed: u64,
    /// Connections given to clients.
    pub leases: u64,
    /// Of these, to clients that did not have to wait.
    pub prompt: u64,
    /// Clients that had to wait.
    pub waits: u64,
    /// How long they waited together, those that gave up included.
    pub wait_time: Duration,
    /// Clients that waited longer than `pool_timeout`.
    pub timeouts: u64,
    /// Attempts to open a connection that failed.
    pub open_errors: u64,
}
