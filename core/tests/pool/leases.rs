//! What becomes of a connection when its client is done (I2), and who is next (I3).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;
use weir_core::{
    backend::{PinReason, Reset, ResetDepth, SessionState},
    refusal::Refusal,
    settings::{PoolSettings, ServerReset},
};

use crate::{PROFILE, for_a_while, lease, settings, toy::Toy};

#[tokio::test(start_paused = true)]
async fn the_pool_starts_empty_and_reuses_what_was_finished() {
    let toy = Toy::new();
    let pool = toy.pool(settings(5));
    assert_eq!(toy.opens(), 0);
    assert!(pool.try_acquire(&PROFILE).is_none());
    let first = lease(&pool).await;
    let id = first.id();
    first.finish();
    for _ in 0..100 {
        let again = pool.try_acquire(&PROFILE).expect("idle");
        assert_eq!(again.id(), id);
        again.finish();
    }
    assert_eq!(toy.opens(), 1);
    assert_eq!(pool.stats().counters.leases, 101);
}

#[tokio::test(start_paused = true)]
async fn i2_a_dropped_lease_is_closed() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    drop(lease(&pool).await);
    for_a_while(10).await;
    assert_eq!((toy.alive(), pool.stats().idle), (0, 0));
    let next = lease(&pool).await;
    assert_eq!(next.id(), 2);
    next.discard("test");
    for_a_while(10).await;
    assert_eq!((toy.alive(), pool.stats().closing), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn i2_only_a_connection_at_rest_goes_back() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let unfit = [
        SessionState::InTransaction { failed: false },
        SessionState::InTransaction { failed: true },
        SessionState::Busy,
        SessionState::Broken("test"),
        SessionState::Pinned(PinReason::SessionMode),
    ];
    for (round, state) in unfit.into_iter().enumerate() {
        let mut held = lease(&pool).await;
        assert_eq!(held.id(), round as u64 + 1);
        held.session.state = state;
        held.finish();
        assert_eq!(pool.stats().idle, 0, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_depth_of_the_reset_is_that_of_the_settings() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    for (server_reset, depth) in [
        (ServerReset::Auto, ResetDepth::WhatChanged),
        (ServerReset::Always, ResetDepth::Everything),
        (ServerReset::Never, ResetDepth::Nothing),
    ] {
        pool.retune(PoolSettings {
            server_reset,
            ..settings(1)
        });
        lease(&pool).await.finish();
        let held = lease(&pool).await;
        assert_eq!(held.session.depths.last(), Some(&depth));
        held.finish();
    }
    assert_eq!(toy.opens(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_needs_an_answer_is_done_before_the_next_client() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let mut held = lease(&pool).await;
    held.session.state = SessionState::Pinned(PinReason::SessionMode);
    held.session.reset = Reset::Await;
    let mut waiting = pool.acquire(PROFILE, None);
    assert!(futures_pending(&mut waiting));
    held.finish();
    assert_eq!(pool.stats().maintenance, 1);
    let next = waiting.await.expect("reset");
    assert_eq!(next.id(), 1);
    assert_eq!(toy.resets.load(Ordering::SeqCst), 1);
    assert_eq!(next.session.state, SessionState::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_fails_or_hangs_costs_the_connection_and_nobody_else() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    for request in [&b"H"[..], b"B"] {
        let mut held = lease(&pool).await;
        let id = held.id();
        held.session.reset = Reset::Await;
        held.session.request = request;
        held.finish();
        let next = lease(&pool).await;
        assert_eq!(next.id(), id + 1);
        next.finish();
    }
    let mut held = lease(&pool).await;
    held.session.reset = Reset::Discard("cheaper");
    held.finish();
    assert_eq!(pool.stats().idle, 0);
}

#[tokio::test(start_paused = true)]
async fn i3_waiters_are_served_in_order_of_arrival() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let held = lease(&pool).await;
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for client in 0..50 {
        let (pool, order) = (pool.clone(), order.clone());
        clients.spawn(async move {
            let lease = lease(&pool).await;
            order.lock().push(client);
            lease.finish();
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.stats().waiting, 50);
    held.finish();
    assert!(pool.try_acquire(&PROFILE).is_none(), "a newcomer overtook");
    clients.join_all().await;
    assert_eq!(*order.lock(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_leaves_the_queue_and_hands_on_what_it_was_granted() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let held = lease(&pool).await;
    let mut gone = Box::pin(pool.acquire(PROFILE, None));
    let mut granted = Box::pin(pool.acquire(PROFILE, None));
    let mut next = Box::pin(pool.acquire(PROFILE, None));
    assert!(futures_pending(&mut gone) && futures_pending(&mut granted) && futures_pending(&mut next));
    drop(gone);
    assert_eq!(pool.stats().waiting, 2);
    held.finish();
    assert_eq!(pool.stats().waiting, 1);
    drop(granted);
    assert_eq!(next.await.expect("handed on").id(), 1);
    assert_eq!(toy.opens(), 1);
}

#[tokio::test(start_paused = true)]
async fn pool_timeout_says_who_holds_what_and_leaves_the_pool_unharmed() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = (lease(&pool).await, lease(&pool).await);
    let mut other = pool.acquire(PROFILE, None);
    assert!(futures_pending(&mut other));
    let refusal = pool.acquire(PROFILE, Some(Duration::from_secs(15))).await.err();
    let Some(Refusal::PoolTimeout {
        source,
        in_use,
        limit,
        waiting,
        waited,
    }) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!((&*source, in_use, waiting), ("ledger", 2, 2));
    assert_eq!(limit.to_string(), "max_connections = 2 (built-in default)");
    assert_eq!(waited.as_secs(), 15);
    assert_eq!(pool.stats().counters.timeouts, 1);
    held.0.finish();
    other.await.expect("the pool is unharmed").finish();
    held.1.finish();
    assert_eq!((pool.stats().idle, pool.stats().waiting), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn closing_serves_who_waits_and_refuses_who_comes() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = (lease(&pool).await, lease(&pool).await);
    let mut waiting = pool.acquire(PROFILE, None);
    assert!(futures_pending(&mut waiting));
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    tokio::task::yield_now().await;
    assert!(pool.try_acquire(&PROFILE).is_none());
    assert_eq!(pool.acquire(PROFILE, None).await.err(), Some(Refusal::ShuttingDown));
    held.0.finish();
    let served = waiting.await.expect("came before the end");
    served.finish();
    assert!(!closing.is_finished());
    held.1.finish();
    closing.await.expect("closed");
    assert_eq!((toy.alive(), pool.stats().idle), (0, 0));
    pool.close().await;
}

/// Polls once.
pub(crate) fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}
