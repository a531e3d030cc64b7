//! The pool with its lock, clock, sockets and tasks, against a database family in memory. Time is paused where it matters.

mod control;
mod failures;
mod idle;
mod leases;
mod limits;
mod succession;
mod torture;
mod toy;

use std::{sync::Arc, time::Duration};

use weir_core::{
    pool::{Lease, Pool},
    settings::PoolSettings,
};

pub(crate) use toy::Toy;

pub(crate) const PROFILE: &str = "app";

pub(crate) fn settings(max_connections: u32) -> PoolSettings {
    PoolSettings {
        max_connections,
        ..PoolSettings::default()
    }
}

pub(crate) async fn lease(pool: &Arc<Pool<Toy>>) -> Lease<Toy> {
    pool.acquire(PROFILE, Some(Duration::from_secs(60)))
        .await
        .expect("a connection")
}

pub(crate) async fn for_a_while(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
