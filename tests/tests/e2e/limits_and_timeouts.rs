//! Every limit and time-out of the metadata, over the wire and against a real database: who is told what, who stays
//! connected, and what everybody else notices, which is nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use weir_tests::{
    activity, clock,
    cluster::{Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
    metadata::Metadata,
    site::{Plan, Site, database_url, is_direct, new_name},
    turn,
    wire::{self, Message, RawClient, first_columns, first_error},
};

/// Generous: only a hang takes longer.
const SOON: Duration = Duration::from_secs(10);

fn sqlstate(answer: &[Message]) -> &str {
    first_error(answer).and_then(Message::sqlstate).unwrap_or("none")
}

fn detail(answer: &[Message]) -> &str {
    first_error(answer)
        .and_then(|error| error.field(b'D'))
        .unwrap_or_default()
}

/// The state that ReadyForQuery tells.
fn status(answer: &[Message]) -> char {
    answer
        .last()
        .filter(|last| last.tag == b'Z')
        .map_or('?', |last| char::from(last.body[0]))
}

fn extended(sql: &str) -> Vec<u8> {
    [
        wire::parse("", sql, &[]),
        wire::bind("", "", &[]),
        wire::execute("", 0),
        wire::sync(),
    ]
    .concat()
}

type Encode = fn(&str) -> Vec<u8>;

/// The two ways to ask.
const WAYS: [(&str, Encode); 2] = [("simple", wire::query), ("extended", extended)];

/// A limit is named with its value, and the place where it is set is where it is set.
#[track_caller]
fn expect_limit(gateway: &Gateway, told: &str, name: &str, value: &str) {
    let said = format!("{name} = {value}");
    assert!(told.contains(&said), "{said} is not in: {told}");
    let place = told
        .split_once(&format!("{said} ("))
        .and_then(|(_, rest)| rest.split_once(')'))
        .unwrap_or_else(|| panic!("no place in: {told}"))
        .0;
    let mut parts = place.split(':');
    let (file, line) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let text = std::fs::read_to_string(gateway.folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = line.parse::<usize>().unwrap_or_else(|_| panic!("no line in {place}"));
    let line = text.lines().nth(line - 1).unwrap_or_default();
    assert!(line.contains(name), "{place} is {line:?}, which is not about {name}");
}

/// After a transaction that was given up: a client that was told so by way of a failed transaction ends it like any other,
/// whether or not it is already rolled back behind its back.
async fn over(client: &mut RawClient, answer: &[Message], encode: Encode) {
    if status(answer) == 'I' {
        return;
    }
    assert_eq!(status(answer), 'E', "{}", wire::describe(answer));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = client.ask(&encode("select 1")).await.unwrap();
    assert_eq!(
        (sqlstate(&answer), status(&answer)),
        ("25P02", 'E'),
        "{}",
        wire::describe(&answer)
    );
    let answer = client.ask(&encode("commit")).await.unwrap();
    assert_eq!(
        (sqlstate(&answer), status(&answer)),
        ("none", 'I'),
        "{}",
        wire::describe(&answer)
    );
    let tag = answer
        .iter()
        .find(|message| message.tag == b'C')
        .map(|message| &message.body[..]);
    assert_eq!(tag, Some(&b"ROLLBACK\0"[..]), "{}", wire::describe(&answer));
}

/// Waits until a count is what it shall be.
async fn until(what: &str, mut count: impl AsyncFnMut() -> u32, wanted: impl Fn(u32) -> bool) {
    let started = clock::now();
    loop {
        let now = count().await;
        if wanted(now) {
            return;
        }
        assert!(started.elapsed() < SOON, "{what}: {now} after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// === time-outs ===

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled_and_its_client_stays() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        overlay: json!({ "query_timeout": 1 }),
        ..Plan::default()
    })
    .await;
    let gateway = site.gateway.as_ref().unwrap();
    let mut client = site.raw().await;
    let process = client.rows("select pg_backend_pid()").await;
    for (way, encode) in WAYS {
        let started = clock::now();
        let answer = client.ask(&encode("select pg_sleep(30)")).await.unwrap();
        assert_eq!(
            (sqlstate(&answer), status(&answer)),
            ("57014", 'I'),
            "{way}: {}",
            wire::describe(&answer)
        );
        assert!(
            (Duration::from_millis(900)..SOON).contains(&started.elapsed()),
            "{way}: {:?}",
            started.elapsed()
        );
        expect_limit(gateway, detail(&answer), "query_timeout", "1 s");
        assert_eq!(client.rows("select 'alive'").await, ["alive"]);
        // In a transaction it fails the transaction, no more.
        client.rows("begin").await;
        let answer = client.ask(&encode("select pg_sleep(30)")).await.unwrap();
        assert_eq!(
            (sqlstate(&answer), status(&answer)),
            ("57014", 'E'),
            "{way}: {}",
            wire::describe(&answer)
        );
        client.rows("rollback").await;
    }
    assert_eq!(
        client.rows("select pg_backend_pid()").await,
        process,
        "the server connection was given up"
    );
    // Several short statements of one transaction are not one long statement.
    client.rows("begin").await;
    for _ in 0..4 {
        client.rows("select pg_sleep(0.4)").await;
    }
    client.rows("commit").await;
    // Waiting for other clients' transactions is not the statement's time.
    let mut holder = site.raw().await;
    holder.rows("begin").await;
    client.send(&wire::query("select 'served'")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    holder.rows("commit").await;
    let answer = client.until(b'Z').await.unwrap();
    assert_eq!(first_columns(&answer), ["served"], "{}", wire::describe(&answer));
}

#[tokio::test]
async fn a_user_s_own_time_outs_win() {
    if is_direct() {
        return;
    }
    let cluster = Cluster::distribution();
    let _turn = turn::light();
    let url = database_url(cluster, ROLE, "postgres", "sslmode=disable");
    let metadata = Metadata::new()
        .postgres("timed", url.into(), json!({ "max_connections": 1, "pool_timeout": 30 }))
        .loopback()
        .user(json!({ "name": "hasty", "password": "x", "sources": "*", "query_timeout": 0.3, "pool_timeout": 0.5 }))
        .user(json!({ "name": "patient", "password": "x", "sources": "*" }))
        .overlay(json!({ "name": "timed", "query_timeout": 20 }));
    let gateway = Gateway::start(&metadata);
    let log_in = |user| RawClient::log_in(gateway.address("pg"), user, "x", "timed");
    let (mut hasty, mut patient) = (log_in("hasty").await.unwrap(), log_in("patient").await.unwrap());
    let sleep = "select 'slept' from pg_sleep(1.2)";
    let answer = hasty.simple(sleep).await.unwrap();
    assert_eq!(sqlstate(&answer), "57014", "{}", wire::describe(&answer));
    expect_limit(&gateway, detail(&answer), "query_timeout", "0.3 s");
    assert_eq!(patient.rows(sleep).await, ["slept"]);
    patient.rows("begin").await;
    let started = clock::now();
    let answer = hasty.simple("select 1").await.unwrap();
    assert_eq!(sqlstate(&answer), "53300", "{}", wire::describe(&answer));
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    patient.rows("commit").await;
    assert_eq!(hasty.rows("select 'served'").await, ["served"]);
}

#[tokio::test]
async fn a_transaction_at_rest_for_too_long_is_rolled_back_and_its_client_stays() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        overlay: json!({ "idle_in_transaction_timeout": 0.5 }),
        ..Plan::default()
    })
    .await;
    let gateway = site.gateway.as_ref().unwrap();
    let (mut sleeper, mut other) = (site.raw().await, site.raw().await);
    other.rows("create table locked (v int)").await;
    for (way, encode) in WAYS {
        sleeper.rows("begin").await;
        sleeper.rows("insert into locked values (1)").await;
        sleeper.rows("lock table locked in access exclusive mode").await;
        // Waits for the lock, and gets it although the sleeper never says anything more.
        let started = clock::now();
        assert_eq!(other.rows("select count(*) from locked").await, ["0"], "{way}");
        assert!(started.elapsed() < SOON);
        let answer = sleeper.ask(&encode("insert into locked values (2)")).await.unwrap();
        assert_eq!(
            (sqlstate(&answer), status(&answer)),
            ("25P03", 'I'),
            "{way}: {}",
            wire::describe(&answer)
        );
        expect_limit(gateway, detail(&answer), "idle_in_transaction_timeout", "0.5 s");
        let told = answer.iter().filter(|message| message.tag == b'E').count();
        assert_eq!((told, answer.len()), (1, 2), "{way}: {}", wire::describe(&answer));
        assert_eq!(
            sleeper
                .ask(&encode("select 'usable'"))
                .await
                .map(|answer| first_columns(&answer))
                .unwrap(),
            ["usable"]
        );
        assert_eq!(sleeper.rows("select count(*) from locked").await, ["0"], "{way}");
    }
    // A failed transaction holds a connection too.
    sleeper.rows("begin").await;
    sleeper.simple("select 1 / 0").await.unwrap();
    let (mut third, mut fourth) = (site.raw().await, site.raw().await);
    third.rows("begin").await;
    assert_eq!(fourth.rows("select 'free'").await, ["free"]);
    // COMMIT of what was rolled back must not seem to succeed.
    let failed = sleeper.simple("select 1").await.unwrap();
    over(&mut sleeper, &failed, wire::query).await;
    // A statement that runs for longer than that is not idle.
    sleeper.rows("begin").await;
    assert_eq!(sleeper.rows("select 'slept' from pg_sleep(1.2)").await, ["slept"]);
    sleeper.rows("commit").await;
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_in_total_is_rolled_back_and_its_client_stays() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        overlay: json!({ "transaction_timeout": 1 }),
        ..Plan::default()
    })
    .await;
    let gateway = site.gateway.as_ref().unwrap();
    let mut client = site.raw().await;
    client.rows("create table kept (v int)").await;
    for (way, encode) in WAYS {
        // While a statement runs.
        client.rows("begin").await;
        client.rows("insert into kept values (1)").await;
        let started = clock::now();
        let answer = client.ask(&encode("select pg_sleep(30)")).await.unwrap();
        assert_eq!(sqlstate(&answer), "25P04", "{way}: {}", wire::describe(&answer));
        assert!(started.elapsed() < SOON);
        expect_limit(gateway, detail(&answer), "transaction_timeout", "1 s");
        over(&mut client, &answer, encode).await;
        // While it rests, and while it is kept busy with short statements.
        client.rows("begin").await;
        client.rows("insert into kept values (2)").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let answer = client.ask(&encode("commit")).await.unwrap();
        assert_eq!(
            (sqlstate(&answer), status(&answer)),
            ("25P04", 'I'),
            "{way}: {}",
            wire::describe(&answer)
        );
        expect_limit(gateway, detail(&answer), "transaction_timeout", "1 s");
        client.rows("begin").await;
        let started = clock::now();
        let answer = loop {
            assert!(started.elapsed() < SOON, "still in its transaction");
            let answer = client.ask(&encode("select pg_sleep(0.1)")).await.unwrap();
            if first_error(&answer).is_some() {
                break answer;
            }
        };
        assert_eq!(sqlstate(&answer), "25P04", "{way}: {}", wire::describe(&answer));
        over(&mut client, &answer, encode).await;
        assert_eq!(client.rows("select count(*) from kept").await, ["0"], "{way}");
    }
}

#[tokio::test]
async fn only_clients_at_rest_outside_of_transactions_are_idle() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        overlay: json!({ "client_idle_timeout": 1 }),
        ..Plan::default()
    })
    .await;
    let gateway = site.gateway.as_ref().unwrap();
    let (mut idle, mut running, mut resting) = (site.raw().await, site.raw().await, site.raw().await);
    running
        .send(&wire::query("select 'ran' from pg_sleep(2.5)"))
        .await
        .unwrap();
    resting.rows("begin").await;
    let last = idle.until_closed(SOON).await.unwrap();
    assert_eq!(sqlstate(&last), "57P05", "{}", wire::describe(&last));
    expect_limit(gateway, detail(&last), "client_idle_timeout", "1 s");
    assert_eq!(first_columns(&running.until(b'Z').await.unwrap()), ["ran"]);
    assert_eq!(resting.rows("select 'here'").await, ["here"]);
    resting.rows("commit").await;
    // Waiting in the queue is not idling.
    let (mut one, mut two, mut waiting) = (site.raw().await, site.raw().await, site.raw().await);
    one.rows("begin").await;
    two.rows("begin").await;
    waiting.send(&wire::query("select 'waited'")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1800)).await;
    one.rows("commit").await;
    assert_eq!(first_columns(&waiting.until(b'Z').await.unwrap()), ["waited"]);
}

/// A socket that takes connections and never says a word, or closes them at once; counts them.
async fn black_hole(closes: bool) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    tokio::spawn({
        let count = count.clone();
        async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if !closes {
                    held.push(stream);
                }
            }
        }
    });
    (address, count)
}

fn broken(name: &str, address: SocketAddr, pool: Value) -> Metadata {
    let url = format!("postgres://{ROLE}:x@{address}/x?sslmode=disable");
    Metadata::new()
        .postgres(name, url.into(), pool)
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
}

/// What a client is told at login, or by its first statement.
async fn told(address: SocketAddr, database: &str) -> String {
    match RawClient::log_in(address, ROLE, ROLE_PASSWORD, database).await {
        Err(error) => error.to_string(),
        Ok(mut client) => {
            let answer = client.simple("select 1").await.unwrap();
            format!(
                "{}: {} ({})",
                sqlstate(&answer),
                wire::describe(&answer),
                detail(&answer)
            )
        }
    }
}

#[tokio::test]
async fn a_database_that_never_answers_costs_connect_timeout() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let (hole, count) = black_hole(false).await;
    let metadata = broken("silent", hole, json!({ "max_connections": 3, "retries": 0 }))
        .overlay(json!({ "name": "silent", "pool_settings": { "connect_timeout": 1 } }));
    let gateway = Gateway::start(&metadata);
    let started = clock::now();
    let told = told(gateway.address("pg"), "silent").await;
    assert!(told.starts_with("08001"), "{told}");
    assert!(told.contains("connect_timeout = 1 s"), "{told}");
    assert!(
        (Duration::from_millis(900)..SOON).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert!(count.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn connects_are_repeated_as_often_as_is_set() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    for retries in [0, 2] {
        let (hole, count) = black_hole(true).await;
        let gateway = Gateway::start(&broken(
            "shut",
            hole,
            json!({ "max_connections": 3, "retries": retries }),
        ));
        let told = told(gateway.address("pg"), "shut").await;
        assert!(told.starts_with("08"), "{told}");
        assert_eq!(count.load(Ordering::SeqCst), 1 + retries, "{told}");
    }
}

// === limits ===

#[tokio::test]
async fn a_full_pool_says_what_is_full_and_where_that_is_set() {
    if is_direct() {
        return;
    }
    for limit in ["max_connections", "total_max_connections"] {
        let site = Site::start(Plan {
            connections: 2,
            pool: json!({ "pool_timeout": 0.5, limit: 2 }),
            ..Plan::default()
        })
        .await;
        let gateway = site.gateway.as_ref().unwrap();
        let (mut one, mut two, mut three) = (site.raw().await, site.raw().await, site.raw().await);
        one.rows("begin").await;
        two.rows("begin").await;
        for (way, encode) in WAYS {
            let answer = three.ask(&encode("select 1")).await.unwrap();
            assert_eq!(
                (sqlstate(&answer), status(&answer)),
                ("53300", 'I'),
                "{way}: {}",
                wire::describe(&answer)
            );
            expect_limit(gateway, detail(&answer), limit, "2");
        }
        one.rows("commit").await;
        assert_eq!(three.rows("select 'served'").await, ["served"]);
        two.rows("commit").await;
    }
}

#[tokio::test]
async fn client_limits_are_told_at_login_and_free_places_are_used_again() {
    if is_direct() {
        return;
    }
    let cluster = Cluster::distribution();
    let _turn = turn::light();
    for limits in ["listener", "source", "user"] {
        let limit = |which: &str, mut value: Value| {
            if which == limits {
                value["max_client_connections"] = 2.into();
            }
            value
        };
        let url = database_url(cluster, ROLE, "postgres", "sslmode=disable");
        let listener = json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 });
        let metadata = Metadata::new()
            .postgres("limited", url.clone().into(), json!({ "max_connections": 1 }))
            .postgres("free", url.into(), json!({ "max_connections": 1 }))
            .listener(limit("listener", listener))
            .listener(json!({ "name": "other", "kind": "postgres", "host": "127.0.0.1", "port": 0 }))
            .user(limit(
                "user",
                json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }),
            ))
            .user(json!({ "name": "second", "password": ROLE_PASSWORD, "sources": "*" }))
            .overlay(limit("source", json!({ "name": "limited" })));
        let gateway = Gateway::start(&metadata);
        let log_in = |listener, user, source| RawClient::log_in(gateway.address(listener), user, ROLE_PASSWORD, source);
        let mut first = log_in("pg", ROLE, "limited").await.unwrap();
        let second = log_in("pg", ROLE, "limited").await.unwrap();
        for _ in 0..3 {
            let error = log_in("pg", ROLE, "limited").await.expect_err(limits).to_string();
            assert!(error.starts_with("53300"), "{limits}: {error}");
            expect_limit(&gateway, &error, "max_client_connections", "2");
        }
        // Who is not meant is not concerned.
        for (listener, user, source, concerns) in [
            ("other", ROLE, "limited", "listener"),
            ("pg", ROLE, "free", "source"),
            ("pg", "second", "limited", "user"),
        ] {
            let other = log_in(listener, user, source).await;
            if concerns == limits {
                assert_eq!(other.unwrap().rows("select 1").await, ["1"], "{limits}");
            }
        }
        assert_eq!(first.rows("select 'unharmed'").await, ["unharmed"]);
        // One leaves in peace, the other is cut off.
        second.leave().await;
        drop(first);
        let started = clock::now();
        let mut places = Vec::new();
        while places.len() < 2 {
            assert!(started.elapsed() < SOON, "{limits}: the places are not free");
            places.extend(log_in("pg", ROLE, "limited").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(log_in("pg", ROLE, "limited").await.is_err(), "{limits}");
    }
}

#[tokio::test]
async fn a_user_holds_no_more_server_connections_than_it_may() {
    if is_direct() {
        return;
    }
    let cluster = Cluster::distribution();
    let _turn = turn::light();
    let url = database_url(cluster, ROLE, "postgres", "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(
            "shared",
            url.into(),
            json!({ "max_connections": 3, "pool_timeout": 1.5 }),
        )
        .loopback()
        .user(json!({ "name": "greedy", "password": "x", "sources": "*", "max_connections": 1 }))
        .user(json!({ "name": "modest", "password": "x", "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let log_in = |user| RawClient::log_in(gateway.address("pg"), user, "x", "shared");
    let (mut one, mut two) = (log_in("greedy").await.unwrap(), log_in("greedy").await.unwrap());
    let mut modest = log_in("modest").await.unwrap();
    one.rows("begin").await;
    let answer = two.simple("select 1").await.unwrap();
    assert_eq!(sqlstate(&answer), "53300", "{}", wire::describe(&answer));
    expect_limit(&gateway, detail(&answer), "max_connections", "1");
    // Others of the user, who wait, take nothing from anybody else.
    two.send(&wire::query("select 'patient'")).await.unwrap();
    modest.rows("begin").await;
    assert_eq!(modest.rows("select 'room'").await, ["room"]);
    one.rows("commit").await;
    assert_eq!(first_columns(&two.until(b'Z').await.unwrap()), ["patient"]);
    assert_eq!(two.rows("select 'served'").await, ["served"]);
}

/// Overflow connections are opened for who has waited, are as many as are set, and are the first to go.
#[tokio::test]
async fn overflow_is_bounded_and_closed_first() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        pool: json!({ "pool_timeout": 2 }),
        overlay: json!({ "pool_settings": { "overflow_connections": 1 } }),
        ..Plan::default()
    })
    .await;
    let sampler = site.sampler().await;
    let (mut one, mut two, mut three) = (site.raw().await, site.raw().await, site.raw().await);
    one.rows("begin").await;
    let started = clock::now();
    two.rows("begin").await;
    assert!(
        (Duration::from_millis(400)..SOON).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    let answer = three.simple("select 1").await.unwrap();
    assert_eq!(sqlstate(&answer), "53300", "{}", wire::describe(&answer));
    assert_eq!(site.server_connections().await, 2);
    one.rows("commit").await;
    two.rows("commit").await;
    let admin = site.cluster.admin("postgres").await;
    until(
        "overflow",
        async || activity::count(&admin, &site.database).await,
        |count| count == 1,
    )
    .await;
    assert_eq!(three.rows("select 'served'").await, ["served"]);
    assert_eq!(sampler.stop().await, 2);
}

#[tokio::test]
async fn warm_connections_are_replaced_when_they_are_lost() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 4,
        overlay: json!({ "pool_settings": { "min_connections": 2, "idle_timeout": 1, "connection_lifetime": 2 } }),
        ..Plan::default()
    })
    .await;
    let admin = site.cluster.admin("postgres").await;
    let count = async || activity::count(&admin, &site.database).await;
    until("warm at the start", count, |count| count == 2).await;
    const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'app'";
    admin.execute(END, &[&site.database]).await.unwrap();
    until("warm again", count, |count| count == 2).await;
    // More are opened for a burst, and only the warm ones stay.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = site.raw().await;
        client.rows("begin").await;
        clients.push(client);
    }
    assert_eq!(count().await, 4);
    for client in &mut clients {
        client.rows("commit").await;
    }
    until("after the burst", count, |count| count == 2).await;
    // They grow old as all others do.
    const OLDEST: &str = "SELECT coalesce(max(extract(epoch FROM now() - backend_start)), 0)::float8 \
                          FROM pg_stat_activity WHERE datname = $1 AND usename = 'app'";
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = site.raw().await;
    client.rows("select 1").await;
    let age: f64 = admin.query_one(OLDEST, &[&site.database]).await.unwrap().get(0);
    assert!(age < 6.0, "a connection is {age} s old");
}

#[tokio::test]
async fn connections_do_not_grow_old_when_lifetime_is_zero() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        pool: json!({ "connection_lifetime": 0, "idle_timeout": 20 }),
        ..Plan::default()
    })
    .await;
    let mut client = site.raw().await;
    let process = client.rows("select pg_backend_pid()").await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(client.rows("select pg_backend_pid()").await, process);
}

// === sources and databases that are not well ===

#[tokio::test]
async fn a_broken_source_concerns_only_its_own_clients() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let cluster = Cluster::distribution();
    let url = |database: &str, password: &str| {
        format!(
            "postgres://{ROLE}:{password}@{}/{database}?sslmode=disable",
            cluster.address()
        )
    };
    let missing = new_name("missing");
    let pool = || json!({ "max_connections": 2, "retries": 0, "pool_timeout": 5 });
    // Bound, and nobody listens: a port that is only free may be another test's server a moment later.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("postgres://{ROLE}:x@{}/x?sslmode=disable", taken.local_addr().unwrap());
    let metadata = Metadata::new()
        .postgres("well", url("postgres", ROLE_PASSWORD).into(), pool())
        .postgres("absent", nobody.into(), pool())
        .postgres("stranger", url("postgres", "wrong").into(), pool())
        .postgres("empty", url(&missing, ROLE_PASSWORD).into(), pool())
        .postgres("unset", json!({ "from_env": "WEIR_TESTS_NEVER_SET" }), pool())
        .postgres(
            "wrong",
            url("postgres", ROLE_PASSWORD).into(),
            json!({ "max_connections": -3 }),
        )
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let address = gateway.address("pg");
    let log_in = || RawClient::log_in(address, ROLE, ROLE_PASSWORD, "well");
    let mut before = log_in().await.unwrap();
    assert_eq!(before.rows("select 'well'").await, ["well"]);
    for (source, code, reason) in [
        ("absent", "08001", "absent"),
        ("stranger", "28P01", "password authentication failed"),
        ("empty", "3D000", missing.as_str()),
        ("unset", "08001", "WEIR_TESTS_NEVER_SET"),
        ("wrong", "08001", "max_connections"),
    ] {
        let started = clock::now();
        let told = told(address, source).await;
        assert!(told.starts_with(code) && told.contains(reason), "{source}: {told}");
        assert!(started.elapsed() < SOON, "{source}: {:?}", started.elapsed());
        assert!(
            !told.contains("wrong@") && !told.contains(ROLE_PASSWORD),
            "{source}: a secret: {told}"
        );
        assert_eq!(before.rows("select 'well'").await, ["well"], "{source}");
        assert_eq!(
            log_in().await.unwrap().rows("select 'well'").await,
            ["well"],
            "{source}"
        );
    }
}

fn private(cluster: &Cluster, connections: u32) -> Gateway {
    let url = database_url(cluster, ROLE, "postgres", "sslmode=disable");
    let pool = json!({ "max_connections": connections, "pool_timeout": 15 });
    let metadata = Metadata::new()
        .postgres("private", url.into(), pool)
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
    Gateway::start(&metadata)
}

/// The database restarts while nobody asks it anything: nobody learns of it.
#[tokio::test]
async fn clients_at_rest_do_not_notice_a_restart_of_the_database() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let cluster = Cluster::start(Version::Distribution, &[]);
    let gateway = private(&cluster, 3);
    let log_in = || RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, "private");
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = log_in().await.unwrap();
        client
            .ask(&[wire::parse("mine", "select 'prepared'", &[]), wire::sync()].concat())
            .await
            .unwrap();
        clients.push(client);
    }
    let (holders, _) = clients.split_at_mut(3);
    for client in holders.iter_mut() {
        client.rows("begin").await;
    }
    for client in holders {
        client.rows("commit").await;
    }
    cluster.restart();
    for client in &mut clients {
        let run = [wire::bind("", "mine", &[]), wire::execute("", 0), wire::sync()].concat();
        let answer = client.ask(&run).await.unwrap();
        assert_eq!(first_columns(&answer), ["prepared"], "{}", wire::describe(&answer));
        assert_eq!(client.rows("select 'unaware'").await, ["unaware"]);
    }
}

/// A request that comes while the database is down for a moment waits for it.
#[tokio::test]
async fn a_short_outage_is_waited_for() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let cluster = Cluster::start(Version::Distribution, &[]);
    let gateway = private(&cluster, 2);
    let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, "private")
        .await
        .unwrap();
    client.rows("select 1").await;
    cluster.crash();
    // Whoever comes first is told after the retries; whoever comes later shares the next attempt.
    let answer = client.simple("select 'first'").await.unwrap();
    assert!(sqlstate(&answer).starts_with("08"), "{}", wire::describe(&answer));
    client.send(&wire::query("select 'second'")).await.unwrap();
    cluster.restart();
    let answer = client.until(b'Z').await.unwrap();
    let served =
        first_columns(&answer) == ["second"] || sqlstate(&answer).starts_with("08") || sqlstate(&answer) == "57P03";
    assert!(served, "{}", wire::describe(&answer));
    let started = clock::now();
    while first_columns(&client.simple("select 'back'").await.unwrap()) != ["back"] {
        assert!(started.elapsed() < SOON, "not served again");
    }
}

/// `kill -9` of one backend makes PostgreSQL end all of them. Who had asked something is told; the gateway serves on.
#[tokio::test]
async fn a_backend_killed_by_force_costs_its_client_an_error() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let cluster = Cluster::start(Version::Distribution, &[("restart_after_crash", "on")]);
    let mut gateway = private(&cluster, 3);
    let address = gateway.address("pg");
    let log_in = || RawClient::log_in(address, ROLE, ROLE_PASSWORD, "private");
    let (mut victim, mut in_transaction, mut idle) = (
        log_in().await.unwrap(),
        log_in().await.unwrap(),
        log_in().await.unwrap(),
    );
    idle.rows("select 1").await;
    in_transaction.rows("begin").await;
    victim.rows("begin").await;
    let process = victim.rows("select pg_backend_pid()").await.join("");
    victim.rows("commit").await;
    assert_eq!(victim.rows("select pg_backend_pid()").await.join(""), process);
    victim.send(&wire::query("select pg_sleep(30)")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &process])
        .status()
        .unwrap();
    assert!(killed.success());
    let answer = victim.until(b'Z').await.unwrap();
    assert!(
        sqlstate(&answer).starts_with("08") || sqlstate(&answer).starts_with("57P0"),
        "{}",
        wire::describe(&answer)
    );
    assert_eq!(status(&answer), 'I');
    // An explicit transaction is lost with its connection, and must not seem to go on.
    let last = in_transaction.until_closed(SOON).await.unwrap();
    assert!(
        matches!(sqlstate(&last).get(..2), Some("57" | "08")),
        "{}",
        wire::describe(&last)
    );
    let started = clock::now();
    for client in [&mut victim, &mut idle] {
        while first_columns(&client.simple("select 'on'").await.unwrap()) != ["on"] {
            assert!(started.elapsed() < SOON, "not served again");
        }
    }
    assert!(gateway.is_running());
}
