//! A database that does not let us in (P6).

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use weir_core::{
    clock,
    pool::Pool,
    refusal::{OpenError, Refusal},
    settings::PoolSettings,
};

use crate::{
    PROFILE, for_a_while, lease,
    leases::futures_pending,
    settings,
    toy::{Toy, Weather, code_of, refused, rejected},
};

async fn codes(pool: &Arc<Pool<Toy>>, clients: usize) -> Vec<Option<String>> {
    let mut waiting = JoinSet::new();
    for _ in 0..clients {
        waiting.spawn(pool.acquire(PROFILE, Some(Duration::from_secs(15))));
    }
    waiting.join_all().await.into_iter().map(code_of).collect()
}

#[tokio::test(start_paused = true)]
async fn p6_every_waiter_gets_the_databases_own_code_at_once() {
    for code in ["28P01", "3D000", "53300", "57P03"] {
        let toy = Toy::new();
        *toy.weather.lock() = Weather::Error(rejected(code));
        let pool = toy.pool(settings(10));
        let began = clock::now();
        for _ in 0..3 {
            let codes = codes(&pool, 50).await;
            assert!(codes.iter().all(|told| told.as_deref() == Some(code)), "{codes:?}");
        }
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{code}: {:?}",
            began.elapsed()
        );
        assert!(!pool.is_up());
        assert!(toy.opens() < 20, "{} attempts", toy.opens());
        *toy.weather.lock() = Weather::Fine;
        for_a_while(1000).await;
        lease(&pool).await.finish();
        assert!(pool.is_up());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_profile_is_not_tried_again_for_each_newcomer() {
    let toy = Toy::new();
    *toy.weather.lock() = Weather::Error(rejected("28P01"));
    let pool = toy.pool(settings(10));
    for _ in 0..200 {
        assert!(code_of(pool.acquire(PROFILE, None).await).is_some());
        for_a_while(10).await;
    }
    assert!(toy.opens() <= 8, "{} attempts in two seconds", toy.opens());
}

#[tokio::test(start_paused = true)]
async fn a_short_restart_is_not_noticed() {
    let toy = Toy::new();
    let pool = toy.pool(settings(10));
    toy.showers.lock().push_back(Weather::Error(refused()));
    lease(&pool).await.finish();
    assert_eq!((toy.opens(), pool.stats().counters.open_errors), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_are_those_of_the_settings() {
    for retries in [0, 1, 3] {
        let toy = Toy::new();
        *toy.weather.lock() = Weather::Error(refused());
        let pool = toy.pool(PoolSettings {
            retries,
            ..settings(10)
        });
        let refusal = pool.acquire(PROFILE, None).await.err();
        assert!(matches!(
            refusal,
            Some(Refusal::Open {
                error: OpenError::Unreachable(_),
                ..
            })
        ));
        assert_eq!(toy.opens(), retries + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_is_tried_by_one_at_a_time_and_found_again() {
    let toy = Toy::new();
    *toy.weather.lock() = Weather::Error(refused());
    let pool = toy.pool(settings(10));
    assert!(pool.acquire(PROFILE, None).await.is_err());
    let before = toy.opens();
    let mut newcomers = JoinSet::new();
    for _ in 0..100 {
        newcomers.spawn(pool.acquire(PROFILE, None));
    }
    assert!(newcomers.join_all().await.iter().all(Result::is_err));
    assert_eq!(toy.opens(), before + 1);
    // Nobody asks any more: the pool looks after the host itself.
    assert!(!pool.is_up());
    *toy.weather.lock() = Weather::Fine;
    for_a_while(6_000).await;
    assert!(pool.is_up());
}

#[tokio::test(start_paused = true)]
async fn a_full_database_keeps_nobody_from_waiting_for_what_there_is() {
    let toy = Toy::new();
    let pool = toy.pool(settings(10));
    let held = (lease(&pool).await, lease(&pool).await);
    *toy.weather.lock() = Weather::Error(rejected("53300"));
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        waiting.spawn(async move { lease(&pool).await.finish() });
    }
    for_a_while(3_000).await;
    assert_eq!(pool.stats().waiting, 20);
    assert!(toy.opens() < 15, "{} attempts", toy.opens());
    held.0.finish();
    waiting.join_all().await;
    assert!(pool.is_up());
    held.1.finish();
    // There is room again.
    *toy.weather.lock() = Weather::Fine;
    for_a_while(2_000).await;
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(lease(&pool).await);
    }
    assert_eq!(toy.alive(), 10);
}

#[tokio::test(start_paused = true)]
async fn connect_timeout_bounds_an_attempt() {
    let toy = Toy::new();
    *toy.weather.lock() = Weather::Silence;
    let pool = toy.pool(PoolSettings {
        connect_timeout: Duration::from_secs(3),
        retries: 0,
        ..settings(10)
    });
    let began = clock::now();
    let refusal = pool.acquire(PROFILE, None).await.err();
    let error = OpenError::TimedOut(Duration::from_secs(3));
    assert_eq!(
        refusal,
        Some(Refusal::Open {
            source: "ledger".into(),
            error
        })
    );
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_silent_database_hears_that_and_not_of_a_limit() {
    let toy = Toy::new();
    *toy.weather.lock() = Weather::Silence;
    let pool = toy.pool(PoolSettings {
        connect_timeout: Duration::from_secs(3),
        retries: 5,
        ..settings(10)
    });
    let refusal = pool.acquire(PROFILE, Some(Duration::from_secs(4))).await.err();
    assert!(matches!(refusal, Some(Refusal::Open { .. })), "{refusal:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_thrown_away_frees_its_place() {
    let toy = Toy::new();
    *toy.weather.lock() = Weather::Silence;
    let pool = toy.pool(settings(1));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime");
    let acquire = pool.acquire(PROFILE, None);
    let waiting = runtime.spawn(acquire);
    while pool.stats().opening == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    runtime.shutdown_background();
    assert!(waiting.await.is_err());
    for_a_while(10).await;
    assert_eq!(pool.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn one_profile_without_access_does_not_affect_another() {
    let toy = Toy::new();
    let pool = toy.pool(settings(2));
    let held = lease(&pool).await;
    toy.showers.lock().push_back(Weather::Error(rejected("28P01")));
    assert_eq!(code_of(pool.acquire("stranger", None).await).as_deref(), Some("28P01"));
    assert!(pool.is_up());
    let mut other = pool.acquire(PROFILE, None);
    assert!(futures_pending(&mut other));
    other.await.expect("opened").finish();
    held.finish();
}
