//! Everything at once on several threads: acquire, finish, drop, give up, time out, resets, dying servers, resize (the
//! real-time companion of gate P2). Afterwards everything must add up.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::task::JoinSet;
use weir_core::{backend::Reset, clock, pool::Pool, settings::PoolSettings};

use crate::{
    PROFILE, lease,
    toy::{Order, Toy},
};

static SEED: AtomicU64 = AtomicU64::new(1);

struct Random(u64);

impl Random {
    fn new() -> Self {
        Random(SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn settings(max_connections: u32) -> PoolSettings {
    PoolSettings {
        connection_lifetime: Some(Duration::from_millis(300)),
        idle_timeout: Some(Duration::from_millis(100)),
        overflow_connections: 1,
        min_connections: 2,
        ..crate::settings(max_connections)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_everything_at_once_everything_adds_up() {
    let toy = Toy::new();
    *toy.login_takes.lock() = Duration::from_millis(1);
    let pool = toy.pool(settings(8));
    let end = clock::now() + Duration::from_secs(3);
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        clients.spawn(async move {
            let mut random = Random::new();
            let mut turns = 0u64;
            while clock::now() < end {
                turns += u64::from(turn(&pool, &mut random).await);
            }
            turns
        });
    }
    let mut random = Random::new();
    while clock::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
        pool.retune(settings(1 + random.below(8) as u32));
        let victim = toy.servers.lock().len().saturating_sub(1 + random.below(4) as usize);
        toy.order(
            victim,
            [Order::HangUp, Order::Say(b"N")]
                .into_iter()
                .nth(random.below(2) as usize)
                .expect("2"),
        );
    }
    let turns: u64 = clients.join_all().await.into_iter().sum();
    assert!(turns > 1_000, "{turns} turns");
    pool.retune(settings(8));
    // Nothing is stuck: as many as the limit can be leased at once.
    let everything = async {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(lease(&pool).await);
        }
        held
    };
    let held = tokio::time::timeout(Duration::from_secs(20), everything)
        .await
        .expect("a place is lost");
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.maintenance), (8, 0, 0), "{stats:?}");
    drop(held);
    tokio::time::timeout(Duration::from_secs(20), pool.close())
        .await
        .expect("drained");
    let stats = pool.stats();
    assert_eq!(stats.counters.opened, stats.counters.closed, "{stats:?}");
    assert!(toy.most_alive.load(Ordering::SeqCst) <= 9, "beyond limit and overflow");
}

/// One visit of a client; whether it got a connection.
async fn turn(pool: &std::sync::Arc<Pool<Toy>>, random: &mut Random) -> bool {
    let patience = [None, Some(Duration::from_millis(2)), Some(Duration::ZERO)][random.below(3) as usize];
    let acquire = pool.acquire(PROFILE, patience);
    let lease = match random.below(4) {
        0 => match tokio::time::timeout(Duration::from_micros(random.below(2_000)), acquire).await {
            Ok(lease) => lease.ok(),
            Err(_) => None,
        },
        1 => pool.try_acquire(&PROFILE),
        _ => acquire.await.ok(),
    };
    let Some(mut lease) = lease else { return false };
    match random.below(4) {
        0 => tokio::time::sleep(Duration::from_micros(random.below(500))).await,
        1 => tokio::task::yield_now().await,
        _ => {}
    }
    match random.below(20) {
        0 => drop(lease),
        1 => lease.discard("torture"),
        2..6 => {
            lease.session.reset = Reset::Await;
            lease.finish();
        }
        _ => lease.finish(),
    }
    true
}
