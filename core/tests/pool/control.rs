//! Pause, resume, reconnect and kill of a pool with its clock and tasks.

use std::time::Duration;

use weir_core::{
    pool::Rest,
    refusal::{OpenError, Refusal},
};

use crate::{
    PROFILE, for_a_while, lease, settings,
    toy::{Toy, Weather},
};

#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_who_is_busy_and_lets_nobody_begin() {
    let toy = Toy::new();
    let pool = toy.pool(settings(3));
    let (busy, resting) = (lease(&pool).await, lease(&pool).await);
    resting.finish();
    pool.pause();
    let resting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.at_rest().await }
    });
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { lease(&pool).await.finish() }
    });
    for_a_while(10_000).await;
    assert!(pool.try_acquire(&PROFILE).is_none());
    assert_eq!((toy.alive(), pool.stats().waiting), (1, 1));
    assert!(!resting.is_finished() && !waiter.is_finished());
    busy.finish();
    assert_eq!(resting.await.expect("it ends"), Rest::Reached);
    assert_eq!((toy.alive(), toy.opens()), (0, 2));
    for_a_while(10_000).await;
    assert!(!waiter.is_finished());
    pool.resume();
    waiter.await.expect("served");
    assert_eq!(toy.opens(), 3);
}

#[tokio::test(start_paused = true)]
async fn pool_timeout_does_not_run_in_a_pause() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let busy = lease(&pool).await;
    let began = weir_core::clock::now();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PROFILE, Some(Duration::from_secs(5))).await.map(drop) }
    });
    for_a_while(3_000).await;
    pool.pause();
    for_a_while(3_600_000).await;
    assert!(!waiter.is_finished(), "an hour of pause is nobody's wait");
    pool.resume();
    let refused = waiter.await.expect("it ends").expect_err("nobody gave one back");
    assert!(matches!(refused, Refusal::PoolTimeout { .. }), "{refused}");
    assert_eq!(began.elapsed().as_secs(), 3_605, "two of its five seconds were left");
    busy.finish();
}

#[tokio::test(start_paused = true)]
async fn who_came_in_a_pause_has_all_its_patience_after_it() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let busy = lease(&pool).await;
    pool.pause();
    pool.pause();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PROFILE, Some(Duration::from_secs(5))).await.map(drop) }
    });
    for_a_while(60_000).await;
    pool.resume();
    pool.resume();
    for_a_while(4_000).await;
    assert!(!waiter.is_finished());
    busy.finish();
    assert!(waiter.await.expect("it ends").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_ended_by_somebody_else_says_so() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let busy = lease(&pool).await;
    pool.pause();
    let resting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.at_rest().await }
    });
    for_a_while(10).await;
    pool.resume();
    assert_eq!(resting.await.expect("it ends"), Rest::Resumed);
    busy.finish();
    assert_eq!(pool.at_rest().await, Rest::Resumed);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_restarts_in_a_pause_is_noticed_by_nobody() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    lease(&pool).await.finish();
    pool.pause();
    assert_eq!(pool.at_rest().await, Rest::Reached);
    *toy.weather.lock() = Weather::Error(OpenError::Unreachable("it restarts".to_owned()));
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { lease(&pool).await.finish() }
    });
    for_a_while(60_000).await;
    assert_eq!((toy.opens(), pool.is_up()), (1, true), "nobody asks in a pause");
    *toy.weather.lock() = Weather::Fine;
    pool.resume();
    waiter.await.expect("served");
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_renews_every_connection_at_its_next_release() {
    let toy = Toy::new();
    let pool = toy.pool(settings(3));
    let (busy, resting) = (lease(&pool).await, lease(&pool).await);
    let old = [busy.number(), resting.number()];
    resting.finish();
    pool.reconnect();
    let renewed = tokio::spawn({
        let pool = pool.clone();
        async move { pool.renewed().await }
    });
    for_a_while(1_000).await;
    let next = lease(&pool).await;
    assert!(!old.contains(&next.number()));
    next.finish();
    assert!(!renewed.is_finished());
    let unwanted = |pool: &weir_core::pool::Pool<Toy>| {
        let views = pool.connections().into_iter();
        views
            .filter(|view| view.is_unwanted)
            .filter_map(|view| view.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(unwanted(&pool), [old[0]]);
    busy.finish();
    renewed.await.expect("it ends");
    assert_eq!((toy.alive(), unwanted(&pool).len(), pool.stats().outdated), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn under_load_a_thousand_reconnects_and_pauses_keep_the_limit_and_fail_nobody() {
    let toy = Toy::new();
    let pool = toy.pool(settings(3));
    let clients: Vec<_> = (0..20)
        .map(|client| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for turn in 0..200 {
                    let lease = lease(&pool).await;
                    for_a_while((client + turn) % 7).await;
                    lease.finish();
                }
            })
        })
        .collect();
    let operator = tokio::spawn({
        let pool = pool.clone();
        async move {
            for round in 0..1_000u32 {
                match round % 4 {
                    0 => pool.pause(),
                    1 => {
                        pool.at_rest().await;
                        assert_eq!(pool.stats().total(), 0);
                    }
                    2 => pool.resume(),
                    _ => {
                        pool.reconnect();
                        for_a_while(20).await;
                    }
                }
            }
        }
    });
    operator.await.expect("no panic");
    for client in clients {
        client.await.expect("every turn was served");
    }
    let most = toy.most_alive.load(std::sync::atomic::Ordering::SeqCst);
    assert!(most <= 3, "{most} connections under a limit of 3");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_closed_in_a_pause_sends_its_waiters_away() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    pool.pause();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PROFILE, None).await.map(drop) }
    });
    for_a_while(10).await;
    pool.close().await;
    let refused = waiter.await.expect("it ends").expect_err("closed");
    assert!(matches!(refused, Refusal::ShuttingDown), "{refused}");
}
