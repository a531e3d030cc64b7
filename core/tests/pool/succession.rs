//! One pool follows another: who waits moves on in order, and the database sees no more connections than the limit.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use weir_core::{
    pool::{Pool, Succession},
    refusal::{OpenError, Refusal, Rejection, Retry},
    settings::PoolSettings,
};

use crate::{
    PROFILE, for_a_while, lease,
    leases::futures_pending,
    settings,
    toy::{Toy, Weather},
};

fn wrong_password() -> Weather {
    Weather::Error(OpenError::Rejected(Rejection {
        code: "28P01".to_owned(),
        message: "password authentication failed".to_owned(),
        detail: None,
        hint: None,
        retry: Retry::WithNewPassword,
    }))
}

/// A pool that has served, and cannot log in any more: its password has been changed.
async fn rotated(max_connections: u32) -> (Arc<Toy>, Arc<Pool<Toy>>) {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        connection_lifetime: Some(Duration::from_secs(1)),
        ..settings(max_connections)
    });
    lease(&pool).await.finish();
    *toy.weather.lock() = wrong_password();
    for_a_while(2_000).await;
    assert_eq!(pool.stats().idle, 0, "its connection has had its time");
    (toy, pool)
}

fn follow(pool: &Arc<Pool<Toy>>, toy: Arc<Toy>) -> Arc<Pool<Toy>> {
    let heir = pool.another("primary", toy, PoolSettings::clone(&pool.settings()));
    pool.cede_to(&heir, Succession::Replaces);
    tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    heir
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_new_password_is_served_with_it_in_order() {
    let (toy, pool) = rotated(1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    let come = |clients: &mut JoinSet<()>, pool: &Arc<Pool<Toy>>, number: u32| {
        let (pool, order) = (pool.clone(), order.clone());
        clients.spawn(async move {
            let lease = pool
                .acquire(PROFILE, Some(Duration::from_secs(15)))
                .await
                .expect("nobody is told no");
            order.lock().push(number);
            lease.finish();
        });
    };
    for number in 0..20 {
        come(&mut clients, &pool, number);
        tokio::task::yield_now().await;
    }
    for_a_while(3_000).await;
    assert_eq!((pool.stats().waiting, order.lock().len()), (20, 0));
    let reason = pool.wait_reason().expect("it is known why");
    assert!(
        reason.to_string().contains("password authentication failed"),
        "{reason}"
    );
    let heir = follow(&pool, toy.beside());
    come(&mut clients, &heir, 20);
    assert_eq!((pool.stats().waiting, heir.stats().waiting), (0, 20));
    clients.join_all().await;
    assert_eq!(*order.lock(), (0..=20).collect::<Vec<_>>(), "I3");
    assert!(heir.wait_reason().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_declared_before_the_database_has_it_is_waited_for() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    lease(&pool).await.finish();
    let late = toy.beside();
    *late.weather.lock() = wrong_password();
    let heir = follow(&pool, late.clone());
    let client = tokio::spawn({
        let heir = heir.clone();
        async move { lease(&heir).await.finish() }
    });
    for_a_while(4_000).await;
    assert!(!client.is_finished() && late.opens() > 1, "it is tried again");
    *late.weather.lock() = Weather::Fine;
    client.await.expect("served");
    // What has never been let in is told at once.
    *late.weather.lock() = wrong_password();
    let refused = heir.acquire("stranger", None).await.map(drop).expect_err("it is wrong");
    assert!(matches!(refused, Refusal::Open { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_longer_than_its_patience_is_told_wherever_it_waits() {
    let (toy, pool) = rotated(1).await;
    let began = weir_core::clock::now();
    let client = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PROFILE, Some(Duration::from_secs(5))).await.map(drop) }
    });
    for_a_while(3_000).await;
    let silent = toy.beside();
    *silent.weather.lock() = Weather::Silence;
    let heir = follow(&pool, silent);
    let refused = client.await.expect("it ends").expect_err("nobody answers");
    assert!(
        matches!(refused, Refusal::Open { .. } | Refusal::PoolTimeout { .. }),
        "{refused}"
    );
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!((pool.stats().waiting, heir.stats().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_after_it_was_moved_leaves_nothing_behind() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let held = lease(&pool).await;
    let mut waits = Box::pin(pool.acquire(PROFILE, None));
    assert!(futures_pending(&mut waits));
    let heir = follow(&pool, toy.beside());
    assert_eq!(heir.stats().waiting, 1);
    drop(waits);
    assert_eq!((pool.stats().waiting, heir.stats().waiting), (0, 0));
    held.finish();
    lease(&heir).await.finish();
    assert_eq!(heir.stats().total(), 1);
}

/// Three generations, and clients that stay in the first.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_old_pools_counts_against_the_limit_of_the_new_one() {
    let toy = Toy::new();
    let first = toy.pool(settings(3));
    let mut held = vec![lease(&first).await, lease(&first).await];
    let second = follow(&first, toy.beside());
    held.push(lease(&second).await);
    let third_toy = toy.beside();
    let third = follow(&second, third_toy.clone());
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let third = third.clone();
        clients.spawn(async move { lease(&third).await.finish() });
    }
    for_a_while(1_000).await;
    assert_eq!((toy.alive(), third.stats().total(), third.stats().waiting), (3, 0, 10));
    held.pop().expect("three").finish();
    for_a_while(1_000).await;
    assert_eq!(third.stats().waiting, 0, "one place is enough for all of them");
    assert_eq!((toy.alive(), third.stats().total()), (3, 1));
    held.drain(..).for_each(|held| held.finish());
    let all = [lease(&third).await, lease(&third).await, lease(&third).await];
    assert_eq!(toy.alive(), 3);
    drop(all);
    assert!(third_toy.most_alive.load(Ordering::SeqCst) <= 3);
    clients.join_all().await;
}

/// A server that hangs keeps nobody who has gone elsewhere.
#[tokio::test(start_paused = true)]
async fn what_is_left_at_another_server_counts_for_nothing() {
    let (here, there) = (Toy::new(), Toy::new());
    let pool = here.pool(settings(1));
    let held = lease(&pool).await;
    let heir = follow(&pool, there.clone());
    lease(&heir).await.finish();
    assert_eq!((here.alive(), there.alive()), (1, 1));
    held.finish();
}

/// A replica that is not declared any more: its clients go to one that has served all along.
#[tokio::test(start_paused = true)]
async fn a_neighbour_that_takes_clients_in_keeps_its_own_limit_and_the_order_of_arrival() {
    let toy = Toy::new();
    let (gone, stays) = (toy.pool(settings(1)), toy.pool(settings(1)));
    let (held, also_held) = (lease(&gone).await, lease(&stays).await);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for (number, pool) in [&gone, &stays, &gone, &stays].into_iter().enumerate() {
        let (pool, order) = (pool.clone(), order.clone());
        clients.spawn(async move {
            let lease = lease(&pool).await;
            order.lock().push(number);
            lease.finish();
        });
        for_a_while(10).await;
    }
    gone.cede_to(&stays, Succession::TakesIn);
    also_held.finish();
    clients.join_all().await;
    assert_eq!(*order.lock(), [0, 1, 2, 3]);
    held.finish();
}

/// Its patience stood still in the pause, and so long that its alarm has gone off.
#[tokio::test(start_paused = true)]
async fn who_waited_in_a_pause_has_the_rest_of_its_patience_in_the_pool_that_follows() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let busy = lease(&pool).await;
    let client = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PROFILE, Some(Duration::from_secs(5))).await.map(drop) }
    });
    for_a_while(2_000).await;
    pool.pause();
    for_a_while(60_000).await;
    let silent = toy.beside();
    *silent.weather.lock() = Weather::Silence;
    let began = weir_core::clock::now();
    let heir = follow(&pool, silent);
    let ended = tokio::time::timeout(Duration::from_secs(600), client).await;
    let refused = ended.expect("woken").expect("it ends").expect_err("nobody answers");
    assert!(matches!(refused, Refusal::PoolTimeout { .. }), "{refused}");
    assert_eq!(
        began.elapsed().as_secs(),
        3,
        "two of its five seconds were spent before the pause"
    );
    assert_eq!((pool.stats().waiting, heir.stats().waiting), (0, 0));
    busy.finish();
}
