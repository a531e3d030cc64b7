//! Networks and databases that fail: O2 (backends ended at random), O3 (the whole server), O7 (it stands still),
//! W1 (toxics on the wire, on both sides, in each phase).

use std::time::Duration;

use serde_json::json;
use weir_tests::{
    clock,
    cluster::{Cluster, ROLE, ROLE_PASSWORD, Version},
    fault_proxy::{FaultProxy, Faults, Toxic},
    gateway::Gateway,
    metadata::Metadata,
    oracle::Oracle,
    random::Random,
    site::{Plan, Site, database_url, is_direct, new_name},
    turn, wire,
    wire::{Patience, RawClient},
};

fn oracle(site: &Site, seconds: u64, tolerated: &'static [&'static str]) -> Oracle {
    Oracle {
        address: site.address(),
        database: site.database.clone(),
        clients: 40,
        duration: Duration::from_secs(seconds),
        rude: 1,
        leaving: 1,
        patience: Duration::from_secs(20),
        tolerated,
    }
}

/// O2 and O5: two random server connections are ended every 150 ms.
async fn backends_end(seconds: u64) {
    let site = Site::start(Plan {
        connections: 10,
        heavy: true,
        ..Plan::default()
    })
    .await;
    Oracle::prepare(&site.admin().await).await;
    let admin = site.cluster.admin("postgres").await;
    let database = site.database.clone();
    let terror = tokio::spawn(async move {
        const SQL: &str = "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity \
                           WHERE datname = $1 AND usename = 'app' ORDER BY random() LIMIT 2) AS victims";
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            admin.execute(SQL, &[&database]).await.unwrap();
        }
    });
    let verdict = oracle(&site, seconds, &["57P01", "08006", "08007", "closed"])
        .run()
        .await;
    terror.abort();
    eprintln!("backends end: {} right, {} disturbed", verdict.right, verdict.disturbed);
    verdict.expect_clean();
    verdict.expect_written(&site.admin().await).await;
    assert!(verdict.disturbed > 0, "nobody was disturbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_connections_that_end_at_random_cost_nobody_a_wrong_answer() {
    backends_end(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "five minutes: make nightly"]
async fn server_connections_that_end_at_random_for_long() {
    backends_end(300).await;
}

/// O3: the server crashes and comes back, again and again; serving again within 2 s of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: make nightly"]
async fn a_server_that_crashes_costs_nobody_a_wrong_answer() {
    if is_direct() {
        return;
    }
    let _turn = turn::heavy();
    // What was acknowledged shall survive the crash of a process, if not of the machine.
    let cluster = Cluster::start(Version::Distribution, &[("synchronous_commit", "on")]);
    let database = new_name("crashing");
    cluster.create_database(&database).await;
    let admin = cluster.admin(&database).await;
    Oracle::prepare(&admin).await;
    admin.batch_execute("CHECKPOINT").await.unwrap();
    let url = database_url(&cluster, ROLE, &database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(
            &database,
            url.into(),
            json!({ "max_connections": 5, "pool_timeout": 10 }),
        )
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let oracle = Oracle {
        address: gateway.address("pg"),
        database: database.clone(),
        clients: 30,
        duration: Duration::from_secs(45),
        rude: 1,
        leaving: 1,
        patience: Duration::from_secs(20),
        tolerated: &["57P0", "08", "closed"],
    };
    let running = tokio::spawn(async move { oracle.run().await });
    let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &database)
        .await
        .unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        tokio::task::block_in_place(|| cluster.restart());
        let started = clock::now();
        while wire::first_columns(&client.simple("select 'back'").await.unwrap()) != ["back"] {
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "not served {:?} after the server accepts",
                started.elapsed()
            );
        }
    }
    let verdict = running.await.unwrap();
    eprintln!("crashes: {} right, {} disturbed", verdict.right, verdict.disturbed);
    verdict.expect_clean();
    verdict.expect_written(&cluster.admin(&database).await).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Between the client and the gateway.
    Client,
    /// Between the gateway and the database.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Login,
    Idle,
    InQuery,
    InTransaction,
}

fn toxics() -> Vec<Faults> {
    let kinds = [
        Toxic::Latency(Duration::from_millis(200)),
        Toxic::Slice(1),
        Toxic::Stall(0),
        Toxic::Reset(0),
        Toxic::HalfClose(0),
    ];
    let up = kinds.iter().map(|toxic| Faults {
        upstream: *toxic,
        ..Faults::default()
    });
    let down = kinds.iter().map(|toxic| Faults {
        downstream: *toxic,
        ..Faults::default()
    });
    up.chain(down).collect()
}

/// One case of W1: whatever happens to the client that meets the toxic, it happens in time, and afterwards all is well.
async fn one_case(site: &Site, side: Side, faults: Faults, phase: Phase) {
    let case = format!("{side:?} side, {faults:?}, {phase:?}");
    let none = Faults::default;
    let behind = FaultProxy::start(site.cluster.address(), none()).await;
    let url = format!(
        "postgres://{ROLE}:{ROLE_PASSWORD}@{}/{}?sslmode=disable",
        behind.address, site.database
    );
    let pool = json!({ "max_connections": 2, "pool_timeout": 3, "retries": 0 });
    let metadata = Metadata::new()
        .postgres(&site.database, url.into(), pool)
        .overlay(json!({ "name": site.database, "connect_timeout": 2, "query_timeout": 2 }))
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let before = FaultProxy::start(gateway.address("pg"), none()).await;
    let log_in = || RawClient::log_in(before.address, ROLE, ROLE_PASSWORD, &site.database);
    if phase != Phase::Login {
        log_in().await.unwrap().rows("select 1").await;
    }
    let afflicted = if side == Side::Client { &before } else { &behind };
    let started = clock::now();
    let meeting = async {
        if phase == Phase::Login {
            afflicted.inflict(faults.clone());
        }
        let mut client = log_in().await?;
        // A network that stands still on the client's own side is nothing the gateway can end for it.
        client.patience = Patience(Duration::from_secs(5));
        if phase == Phase::InTransaction {
            client.simple("begin").await?;
        }
        if phase == Phase::InQuery {
            client.send(&wire::query("select pg_sleep(0.3), 'own'")).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            afflicted.inflict(faults.clone());
            return client.until(b'Z').await;
        }
        afflicted.inflict(faults.clone());
        client.simple("select 'own'").await
    };
    let met = tokio::time::timeout(Duration::from_secs(12), meeting).await;
    if side == Side::Server {
        let answer = met.unwrap_or_else(|_| panic!("{case}: no answer after {:?}", started.elapsed()));
        if let Ok(answer) = answer {
            let code = wire::first_error(&answer)
                .and_then(wire::Message::sqlstate)
                .unwrap_or("none");
            let fine = ["none", "08", "57014", "57P", "53300", "25P"]
                .iter()
                .any(|expected| code.starts_with(expected));
            assert!(fine, "{case}: {}", wire::describe(&answer));
        }
    }
    afflicted.inflict(none());
    let cured = clock::now();
    loop {
        let served = async { log_in().await?.simple("select 'served'").await };
        let served = tokio::time::timeout(Duration::from_secs(5), served).await;
        if served.is_ok_and(|answer| answer.is_ok_and(|answer| wire::first_columns(&answer) == ["served"])) {
            break;
        }
        assert!(
            cured.elapsed() < Duration::from_secs(5),
            "{case}: not served {:?} after the cure",
            cured.elapsed()
        );
    }
}

/// The part of W1 that is over soon.
#[tokio::test]
async fn resets_on_the_wire() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    for side in [Side::Client, Side::Server] {
        for phase in [Phase::Login, Phase::Idle, Phase::InQuery, Phase::InTransaction] {
            for toxic in [Toxic::Reset(0), Toxic::HalfClose(0)] {
                one_case(
                    &site,
                    side,
                    Faults {
                        downstream: toxic,
                        ..Faults::default()
                    },
                    phase,
                )
                .await;
            }
        }
    }
}

#[tokio::test]
async fn a_network_to_the_database_that_stands_still() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let stalled = Faults {
        downstream: Toxic::Stall(0),
        ..Faults::default()
    };
    one_case(&site, Side::Server, stalled.clone(), Phase::Login).await;
    one_case(&site, Side::Server, stalled, Phase::InQuery).await;
}

#[tokio::test]
#[ignore = "80 cases of some seconds: make nightly"]
async fn every_toxic_on_every_side_in_every_phase() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        heavy: true,
        ..Plan::default()
    })
    .await;
    for side in [Side::Client, Side::Server] {
        for phase in [Phase::Login, Phase::Idle, Phase::InQuery, Phase::InTransaction] {
            for faults in toxics() {
                one_case(&site, side, faults, phase).await;
            }
        }
    }
}

/// ISO and O6 at random, for long: whatever clients do, the pool is whole afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_whole_after_clients_that_leave_at_every_message() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        pool: json!({ "pool_timeout": 8 }),
        ..Plan::default()
    })
    .await;
    let script = [
        wire::query("begin"),
        wire::parse("a", "select $1::text", &[]),
        wire::describe_message(b'S', "a"),
        wire::bind("", "a", &[Some(b"x")]),
        wire::execute("", 0),
        wire::sync(),
        wire::parse("", "select generate_series(1, 50000)", &[]),
        wire::bind("", "", &[]),
        wire::execute("", 10),
        wire::flush(),
        wire::execute("", 0),
        wire::sync(),
        wire::query("commit"),
        wire::query("copy (select generate_series(1, 50000)) to stdout"),
        wire::query("select 1"),
    ];
    let whole = script.concat();
    let mut random = Random::new(7);
    // At each border of two messages, one byte before it, one after it, and anywhere.
    let mut cuts: Vec<usize> = Vec::new();
    let mut border = 0;
    for message in &script {
        border += message.len();
        cuts.extend([border - 1, border, (border + 1).min(whole.len())]);
    }
    cuts.extend((0..30).map(|_| usize::try_from(random.below(whole.len() as u64)).unwrap()));
    for cut in cuts {
        let mut client = site.raw().await;
        client.send(&whole[..cut]).await.unwrap();
        if random.percent(50) {
            let _ = client.drain(Duration::from_millis(5)).await;
        }
        drop(client);
        let mut next = site.raw().await;
        assert_eq!(
            next.rows("select 'next'").await,
            ["next"],
            "after a client that left at byte {cut}"
        );
        next.leave().await;
    }
    let (mut one, mut two) = (site.raw().await, site.raw().await);
    one.rows("begin").await;
    two.rows("begin").await;
    assert_ne!(
        one.rows("select pg_backend_pid()").await,
        two.rows("select pg_backend_pid()").await
    );
}
