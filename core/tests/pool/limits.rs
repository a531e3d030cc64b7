//! How many connections there are, as the server counts them (P3, P4, P5).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use weir_core::{clock, settings::PoolSettings};

use crate::{PROFILE, for_a_while, lease, leases::futures_pending, settings, toy::Toy};

#[tokio::test(start_paused = true)]
async fn p5_a_thousand_clients_at_once_open_no_more_than_the_limit_four_at_a_time() {
    let toy = Toy::new();
    *toy.login_takes.lock() = Duration::from_millis(50);
    let pool = toy.pool(settings(40));
    let mut clients = JoinSet::new();
    for _ in 0..1_000 {
        let pool = pool.clone();
        clients.spawn(async move {
            let lease = lease(&pool).await;
            for_a_while(20).await;
            lease.finish();
        });
    }
    clients.join_all().await;
    assert!(toy.opens() <= 40, "{} opened", toy.opens());
    assert_eq!(toy.most_opening.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn p4_resize_under_load_never_exceeds_the_limit_and_fails_nobody() {
    let toy = Toy::new();
    let pool = toy.pool(settings(8));
    let turns = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for client in 0..64u64 {
        let (pool, turns) = (pool.clone(), turns.clone());
        clients.spawn(async move {
            let end = clock::now() + Duration::from_secs(14);
            while clock::now() < end {
                let lease = lease(&pool).await;
                for_a_while(1 + client % 7).await;
                lease.finish();
                turns.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for limit in [3, 16, 2, 10, 4] {
        for_a_while(2_000).await;
        assert_eq!(toy.alive(), pool.stats().limit);
        pool.retune(settings(limit));
        // The longest lease ends within 7 ms.
        for_a_while(100).await;
        assert!(toy.alive() <= limit, "{} of {limit}", toy.alive());
    }
    clients.join_all().await;
    assert!(turns.load(Ordering::SeqCst) > 1_000);
    assert_eq!(pool.stats().counters.timeouts, 0);
    assert_eq!(toy.most_alive.load(Ordering::SeqCst), 16);
}

#[tokio::test]
async fn p3_two_hundred_clients_on_one_connection_take_turns() {
    let toy = Toy::new();
    let pool = toy.pool(settings(1));
    let mut clients = JoinSet::new();
    let end = clock::now() + Duration::from_secs(1);
    for _ in 0..200 {
        let pool = pool.clone();
        clients.spawn(async move {
            let mut turns = 0u32;
            while clock::now() < end {
                let lease = match pool.try_acquire(&PROFILE) {
                    Some(lease) => lease,
                    None => lease(&pool).await,
                };
                tokio::task::yield_now().await;
                lease.finish();
                turns += 1;
            }
            turns
        });
    }
    let turns = clients.join_all().await;
    let (least, most) = (turns.iter().min().expect("200"), turns.iter().max().expect("200"));
    assert!(
        f64::from(*most) / f64::from((*least).max(1)) <= 1.25,
        "{least} to {most} turns"
    );
    assert_eq!(toy.opens(), 1);
}

#[tokio::test(start_paused = true)]
async fn overflow_connections_come_after_half_a_second_and_go_first() {
    let toy = Toy::new();
    let pool = toy.pool(PoolSettings {
        overflow_connections: 2,
        ..settings(2)
    });
    let held = [lease(&pool).await, lease(&pool).await];
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        waiting.spawn(pool.acquire(PROFILE, None));
    }
    for_a_while(400).await;
    assert_eq!(toy.alive(), 2);
    for_a_while(200).await;
    assert_eq!((toy.alive(), pool.stats().waiting), (4, 1));
    let extra = [waiting.join_next().await, waiting.join_next().await];
    let [first, second] = held;
    // The head has waited long enough to keep one of them busy.
    first.finish();
    let last = waiting.join_next().await;
    for lease in extra.into_iter().chain([last]).flatten() {
        lease.expect("no panic").expect("a connection").finish();
    }
    second.finish();
    for_a_while(100).await;
    assert_eq!((toy.alive(), pool.stats().idle), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn another_profile_gets_the_place_of_an_idle_connection() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = [lease(&pool).await, lease(&pool).await];
    held.into_iter().for_each(|lease| lease.finish());
    let other = pool
        .acquire("other", Some(Duration::from_secs(1)))
        .await
        .expect("room was made");
    assert_eq!((toy.alive(), pool.stats().idle), (2, 1));
    other.finish();
    assert_eq!(pool.stats().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn a_busy_profile_does_not_keep_another_out_for_ever() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        crowd.spawn(async move {
            for _ in 0..200 {
                let lease = lease(&pool).await;
                for_a_while(5).await;
                lease.finish();
            }
        });
    }
    for_a_while(50).await;
    let began = clock::now();
    let other = pool.acquire("other", None).await.expect("in the end");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    other.finish();
    crowd.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn many_profiles_do_not_pile_up() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    for number in 0..2_000 {
        let profile: &'static str = Box::leak(number.to_string().into_boxed_str());
        pool.acquire(profile, None).await.expect("a connection").finish();
    }
    assert!(toy.alive() <= 2);
    assert_eq!(toy.opens(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn load_counts_who_holds_and_who_waits() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = [lease(&pool).await, lease(&pool).await];
    let mut waiting = pool.acquire(PROFILE, None);
    assert!(futures_pending(&mut waiting));
    assert!((pool.load() - 1.5).abs() < 1e-9);
    drop((held, waiting));
    assert!(pool.load() < 1e-9);
}
