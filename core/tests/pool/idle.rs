//! Idle connections: how they end, how many stay (P7), and what they say meanwhile.

use std::time::Duration;

use weir_core::settings::PoolSettings;

use crate::{
    PROFILE, for_a_while, lease, settings,
    toy::{Order, Toy},
};

#[tokio::test(start_paused = true)]
async fn p7_idle_timeout_closes_the_least_recently_used() {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        idle_timeout: Some(Duration::from_secs(10)),
        connection_lifetime: None,
        ..settings(5)
    });
    let held = [lease(&pool).await, lease(&pool).await, lease(&pool).await];
    held.into_iter().for_each(|lease| lease.finish());
    for _ in 0..9 {
        for_a_while(1_000).await;
        lease(&pool).await.finish();
    }
    assert_eq!(toy.alive(), 3);
    for_a_while(1_100).await;
    assert_eq!(toy.alive(), 1, "the one in use stays");
    for_a_while(10_000).await;
    assert_eq!((toy.alive(), toy.opens()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn p7_min_connections_are_kept_and_never_reopened_while_they_are_well() {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        idle_timeout: Some(Duration::from_secs(10)),
        connection_lifetime: None,
        min_connections: 3,
        ..settings(5)
    });
    pool.warm(&PROFILE);
    for_a_while(1_000).await;
    assert_eq!((toy.alive(), pool.stats().idle), (3, 3));
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(lease(&pool).await);
    }
    held.into_iter().for_each(|lease| lease.finish());
    for_a_while(3_600_000).await;
    assert_eq!((toy.alive(), toy.opens()), (3, 5));
    toy.order(0, Order::HangUp);
    toy.order(1, Order::HangUp);
    for_a_while(1_000).await;
    assert_eq!(toy.alive(), 3, "what was lost is replaced");
}

#[tokio::test(start_paused = true)]
async fn p7_lifetime_differs_by_ten_percent_and_holds_for_idle_and_busy_ones() {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        idle_timeout: None,
        connection_lifetime: Some(Duration::from_secs(100)),
        ..settings(21)
    });
    let mut held = Vec::new();
    for _ in 0..21 {
        held.push(lease(&pool).await);
    }
    let busy = held.pop().expect("21");
    held.into_iter().for_each(|lease| lease.finish());
    for_a_while(89_000).await;
    assert_eq!(toy.alive(), 21);
    for_a_while(11_000).await;
    assert!((2..20).contains(&toy.alive()), "no jitter: {} left", toy.alive());
    for_a_while(11_000).await;
    assert_eq!((toy.alive(), pool.stats().idle), (1, 0));
    busy.finish();
    for_a_while(100).await;
    assert_eq!((toy.alive(), toy.opens()), (0, 21));
}

#[tokio::test(start_paused = true)]
async fn no_lifetime_and_no_idle_timeout_keep_connections_for_ever() {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        idle_timeout: None,
        connection_lifetime: None,
        ..settings(1)
    });
    lease(&pool).await.finish();
    for_a_while(365 * 24 * 3_600_000).await;
    assert_eq!(pool.try_acquire(&PROFILE).expect("idle").id(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_idle_connection_is_noticed_without_a_client() {
    let toy = Toy::new();
    let pool = toy.pool(settings(3));
    let held = [lease(&pool).await, lease(&pool).await, lease(&pool).await];
    held.into_iter().for_each(|lease| lease.finish());
    for_a_while(10).await;
    toy.order(0, Order::HangUp);
    toy.order(1, Order::Say(b"F"));
    toy.order(2, Order::Say(b"NN"));
    for_a_while(10).await;
    assert_eq!((pool.stats().idle, toy.alive()), (1, 1));
    let mut left = pool.try_acquire(&PROFILE).expect("a notice does no harm");
    assert_eq!(left.id(), 3);
    assert_eq!(left.parts().1.noticed, b"NN");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_used_since_is_still_watched() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    lease(&pool).await.finish();
    for_a_while(10).await;
    for _ in 0..3 {
        let mut held = pool.try_acquire(&PROFILE).expect("idle");
        // The client polls it with its own waker.
        let read = tokio::io::AsyncReadExt::read_u8(&mut held.io);
        assert!(tokio::time::timeout(Duration::from_millis(1), read).await.is_err());
        held.finish();
    }
    toy.order(0, Order::HangUp);
    for_a_while(10).await;
    assert_eq!(pool.stats().idle, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_not_handed_out() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = [lease(&pool).await, lease(&pool).await];
    held.into_iter().for_each(|lease| lease.finish());
    toy.order(1, Order::HangUp);
    // The server's task runs, the keeper's may or may not have: both ways the client gets the one that is well.
    tokio::task::yield_now().await;
    let next = lease(&pool).await;
    assert_eq!(next.id(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_dropped_closes_its_connections() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    lease(&pool).await.finish();
    for_a_while(10).await;
    drop(pool);
    for_a_while(10).await;
    assert_eq!(toy.alive(), 0);
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0, "the keeper goes with its pool");
}
