//! Cancelling: the right query, the queued client too, and never a neighbour (I6).

use std::time::Duration;

use weir_tests::{
    clock,
    cluster::Version,
    random::Random,
    site::{Plan, Site, is_direct},
    wire::{self, Message, RawClient, Security, first_error},
};

fn sqlstate(answer: &[Message]) -> Option<&str> {
    first_error(answer).and_then(Message::sqlstate)
}

/// Cancels `client`'s statement after a while and returns its answer.
async fn cancelled(site: &Site, client: &mut RawClient, sql: &str, security: &Security) -> Vec<Message> {
    client.send(&wire::query(sql)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.cancel(site.address(), security).await.unwrap();
    client.until(b'Z').await.unwrap()
}

#[tokio::test]
async fn a_running_query_is_cancelled_and_the_connection_lives() {
    for version in [Version::Distribution, Version::Eighteen] {
        let site = Site::start(Plan {
            version,
            connections: 1,
            ..Plan::default()
        })
        .await;
        let mut client = site.raw().await;
        let started = clock::now();
        let answer = cancelled(&site, &mut client, "select pg_sleep(30)", &Security::Clear).await;
        assert_eq!(sqlstate(&answer), Some("57014"), "{}", wire::describe(&answer));
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(client.rows("select 'alive'").await, ["alive"]);
        // In a transaction as well, and it fails as PostgreSQL's does.
        client.rows("begin").await;
        let answer = cancelled(&site, &mut client, "select pg_sleep(30)", &Security::Clear).await;
        assert_eq!(answer.last().map(|message| message.body.clone()), Some(b"E".to_vec()));
        client.rows("rollback").await;
    }
}

#[tokio::test]
async fn a_query_is_cancelled_over_tls() {
    let site = Site::start(Plan {
        connections: 1,
        tls: Some("prefer"),
        ..Plan::default()
    })
    .await;
    for (secured, canceller) in [
        (site.tls(), site.tls()),
        (site.tls(), Security::Clear),
        (Security::Clear, site.tls()),
    ] {
        let parameters = [("user", site.role), ("database", site.database.as_str())];
        let secret = weir_tests::cluster::ROLE_PASSWORD;
        let mut client = RawClient::log_in_with(site.address(), &secured, secret, 0, &parameters)
            .await
            .unwrap();
        let answer = cancelled(&site, &mut client, "select pg_sleep(30)", &canceller).await;
        assert_eq!(sqlstate(&answer), Some("57014"));
    }
}

#[tokio::test]
async fn the_long_keys_of_protocol_3_2_cancel_too() {
    let site = Site::start(Plan {
        version: Version::Eighteen,
        connections: 1,
        ..Plan::default()
    })
    .await;
    let parameters = [("user", site.role), ("database", site.database.as_str())];
    let secret = weir_tests::cluster::ROLE_PASSWORD;
    let mut client = RawClient::log_in_with(site.address(), &Security::Clear, secret, 2, &parameters)
        .await
        .unwrap();
    assert!(client.key.len() > 4, "a key of {} bytes", client.key.len());
    let answer = cancelled(&site, &mut client, "select pg_sleep(30)", &Security::Clear).await;
    assert_eq!(sqlstate(&answer), Some("57014"));
}

/// A client that waits for a server connection is answered 57014 and keeps its connection.
#[tokio::test]
async fn a_client_in_the_queue_is_cancelled() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let mut holder = site.raw().await;
    holder.rows("begin").await;
    let mut queued = site.raw().await;
    for request in [
        wire::query("select 'queued'"),
        [
            wire::parse("", "select 1", &[]),
            wire::bind("", "", &[]),
            wire::execute("", 0),
            wire::sync(),
        ]
        .concat(),
    ] {
        queued.send(&request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        queued.cancel(site.address(), &Security::Clear).await.unwrap();
        let answer = queued.until(b'Z').await.unwrap();
        assert_eq!(sqlstate(&answer), Some("57014"), "{}", wire::describe(&answer));
        assert_eq!(answer.last().unwrap().body, b"I");
    }
    assert_eq!(holder.rows("select 'undisturbed'").await, ["undisturbed"]);
    holder.rows("commit").await;
    assert_eq!(queued.rows("select 'alive'").await, ["alive"]);
}

/// A cancel that comes when nothing runs does nothing: not to this client, not to the next one.
#[tokio::test]
async fn a_late_cancel_hits_nobody() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let mut late = site.raw().await;
    let mut neighbour = site.raw().await;
    late.rows("select 1").await;
    for _ in 0..20 {
        neighbour.send(&wire::query("select pg_sleep(0.03)")).await.unwrap();
        late.cancel(site.address(), &Security::Clear).await.unwrap();
        let answer = neighbour.until(b'Z').await.unwrap();
        assert_eq!(sqlstate(&answer), None, "{}", wire::describe(&answer));
    }
    // Idle in its own transaction: no effect either, as with PostgreSQL.
    late.rows("begin").await;
    late.cancel(site.address(), &Security::Clear).await.unwrap();
    assert_eq!(late.rows("select 'still here'").await, ["still here"]);
    late.rows("commit").await;
}

/// PgBouncer's race: a victim is cancelled again and again while a neighbour uses the same server connection between.
async fn race(rounds: u32) {
    let site = Site::start(Plan {
        connections: 1,
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut victim = site.raw().await;
    let (address, database) = (site.address(), site.database.clone());
    let direct = is_direct();
    let neighbour = tokio::spawn(async move {
        let mut neighbour = RawClient::log_in(
            address,
            weir_tests::cluster::ROLE,
            weir_tests::cluster::ROLE_PASSWORD,
            &database,
        )
        .await
        .unwrap();
        let mut answered = 0_u32;
        loop {
            let answer = neighbour.simple("select pg_sleep(0.002), 'neighbour'").await.unwrap();
            assert_eq!(
                sqlstate(&answer),
                None,
                "the neighbour is hit: {}",
                wire::describe(&answer)
            );
            answered += 1;
            if direct {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if answered.is_multiple_of(16) {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut random = Random::new(1);
    let mut hits = 0;
    for round in 0..rounds {
        assert!(
            !neighbour.is_finished(),
            "the neighbour failed in round {round}: {:?}",
            neighbour.await
        );
        victim.send(&wire::query("select pg_sleep(0.005)")).await.unwrap();
        // Sometimes early, sometimes just when the statement ends.
        tokio::time::sleep(Duration::from_micros(random.below(9000))).await;
        victim.cancel(address, &Security::Clear).await.unwrap();
        let answer = victim.until(b'Z').await.unwrap();
        match sqlstate(&answer) {
            None => {}
            Some("57014") => hits += 1,
            Some(other) => panic!("{other}: {}", wire::describe(&answer)),
        }
    }
    assert!(!neighbour.is_finished(), "the neighbour failed: {:?}", neighbour.await);
    neighbour.abort();
    assert!(hits > 0, "no cancel ever hit its victim");
    eprintln!("cancel race: {hits} of {rounds} cancels in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_cancels_never_hits_the_neighbour() {
    race(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make nightly"]
async fn ten_thousand_cancels_never_hit_the_neighbour() {
    race(10_000).await;
}

/// S10: keys cannot be guessed, and a wrong one does nothing.
#[tokio::test]
async fn guessed_keys_cancel_nothing() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let mut client = site.raw().await;
    let other = site.raw().await;
    // Each login has a key of its own, and process ids and keys do not count up in step.
    assert_ne!((client.process, client.key.clone()), (other.process, other.key.clone()));
    client.send(&wire::query("select pg_sleep(1.5)")).await.unwrap();
    let mut random = Random::from_entropy();
    let started = clock::now();
    let mut guesses = 0;
    while started.elapsed() < Duration::from_millis(1200) {
        let mut key = client.key.clone();
        for byte in &mut key {
            *byte = u8::try_from(random.below(256)).unwrap();
        }
        if key == client.key {
            continue;
        }
        let mut guess = RawClient::open(site.address()).await.unwrap();
        // Right process with a wrong key, wrong process with the right key, keys of odd lengths.
        let request = match guesses % 4 {
            0 => wire::cancel_request(client.process, &key),
            1 => wire::cancel_request(client.process.wrapping_add(1), &client.key),
            2 => wire::cancel_request(client.process, &client.key[..3]),
            _ => wire::cancel_request(client.process, &[&client.key[..], &[0; 4]].concat()),
        };
        guess.send(&request).await.unwrap();
        guesses += 1;
    }
    let answer = client.until(b'Z').await.unwrap();
    assert_eq!(sqlstate(&answer), None, "one of {guesses} guesses hit");
}

/// A client that goes away in the middle of a statement does not leave it running.
#[tokio::test]
async fn the_statement_of_a_client_that_left_is_ended() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let mut leaver = site.raw().await;
    leaver.send(&wire::query("select pg_sleep(60)")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(leaver);
    let mut next = site.raw().await;
    let started = clock::now();
    assert_eq!(next.rows("select 'served'").await, ["served"]);
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "served after {:?}",
        started.elapsed()
    );
    let admin = site.admin().await;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()";
    for _ in 0..100 {
        if admin.query_one(running, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the statement still runs after ten seconds");
}
