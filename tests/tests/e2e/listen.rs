//! LISTEN and NOTIFY: one server connection listens for all clients, and nobody can tell.

use std::{collections::BTreeSet, process::Command, time::Duration};

use futures_util::future;
use serde_json::json;
use weir_tests::{
    clock, process,
    site::{Plan, Site, is_direct},
    wire::{self, Message, RawClient, describe, first_error},
};

/// What a test waits for at most.
const LIMIT: Duration = Duration::from_secs(30);
/// What nobody may hear within this time, nobody hears.
const QUIET: Duration = Duration::from_millis(150);

async fn site(overlay: serde_json::Value) -> Site {
    Site::start(Plan {
        overlay,
        pool: json!({ "pool_timeout": 20 }),
        log: Some("info"),
        ..Plan::default()
    })
    .await
}

/// Channel and payload of a NotificationResponse.
fn notification(message: &Message) -> Option<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut parts = message.body.get(4..)?.split(|byte| *byte == 0);
    (message.tag == b'A').then(|| (text(parts.next().unwrap()), text(parts.next().unwrap())))
}

fn payloads(messages: &[Message]) -> Vec<String> {
    let all = messages.iter().filter_map(notification);
    all.map(|(_, payload)| payload).collect()
}

/// Asks what must succeed, and says what was notified meanwhile.
async fn ask(client: &mut RawClient, sql: &str) -> Vec<String> {
    let answer = client.simple(sql).await.unwrap();
    assert!(first_error(&answer).is_none(), "{sql}: {}", describe(&answer));
    payloads(&answer)
}

/// The next so many payloads that come of their own accord.
async fn hear(client: &mut RawClient, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let message = tokio::time::timeout(LIMIT, client.receive()).await;
        let message = message.unwrap_or_else(|_| panic!("{count} notifications, got {heard:?}"));
        let message = message.unwrap().expect("the connection stays");
        let (_, payload) = notification(&message).unwrap_or_else(|| panic!("no notification: {message}"));
        heard.push(payload);
    }
    heard
}

/// What comes within this time.
async fn for_a_while(client: &mut RawClient, time: Duration) -> Vec<String> {
    let end = clock::now() + time;
    let mut heard = Vec::new();
    while let Ok(message) = tokio::time::timeout(end.saturating_duration_since(clock::now()), client.receive()).await {
        heard.push(message.unwrap().expect("the connection stays"));
    }
    payloads(&heard)
}

async fn hears_nothing(client: &mut RawClient) {
    let heard = client.drain(QUIET).await.unwrap();
    assert!(heard.is_empty(), "{}", describe(&heard));
}

/// Server connections that listen for others, and all of them.
async fn connections(site: &Site) -> (i64, i64) {
    let row = site
        .admin()
        .await
        .query_one(
            "SELECT count(*) FILTER (WHERE application_name = 'weir shared listener'), \
             count(*) FILTER (WHERE pid <> pg_backend_pid()) FROM pg_stat_activity WHERE datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1))
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = clock::now();
    while !is_so().await {
        assert!(began.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until no client keeps a server connection: two others can have both of them at a time.
async fn all_are_free(site: &Site) {
    let (mut first, mut second) = (site.raw().await, site.raw().await);
    for client in [&mut first, &mut second] {
        ask(client, "begin").await;
    }
    for client in [first, second] {
        client.leave().await;
    }
}

#[tokio::test]
async fn two_hundred_clients_listen_through_one_connection() {
    const CLIENTS: usize = 200;
    const NOTIFICATIONS: usize = 40;
    let site = site(json!({})).await;
    let clients = future::join_all((0..CLIENTS).map(async |number| {
        let mut client = site.raw().await;
        let sql = format!("listen everybody; listen only_{number}");
        ask(&mut client, &sql).await;
        client
    }));
    let clients = clients.await;
    all_are_free(&site).await;
    if !is_direct() {
        assert_eq!(connections(&site).await, (1, 3), "one that listens, and the pool");
    }
    let others = future::join_all((0..20).map(async |number| {
        let mut client = site.raw().await;
        for turn in 0..20 {
            let sql = format!("begin; select '{number}-{turn}'; commit");
            assert_eq!(client.rows(&sql).await, [format!("{number}-{turn}")]);
        }
    }));
    let notifying = async {
        let mut notifier = site.raw().await;
        for number in 0..NOTIFICATIONS {
            let sql = format!("notify everybody, '{number}'; notify only_{}, 'mine'", number % CLIENTS);
            ask(&mut notifier, &sql).await;
        }
        ask(&mut notifier, "notify everybody, 'end'").await;
    };
    let listening = future::join_all(clients.into_iter().enumerate().map(async |(number, mut client)| {
        let mut heard = Vec::new();
        while heard.last().map(String::as_str) != Some("end") {
            // Half of them are at work meanwhile.
            if number % 2 == 0 {
                heard.extend(ask(&mut client, "select 1").await);
                let answer = client.simple("begin; select 1").await.unwrap();
                heard.extend(payloads(&answer));
                heard.extend(ask(&mut client, "commit").await);
            }
            heard.extend(for_a_while(&mut client, Duration::from_millis(1)).await);
        }
        let own = heard.iter().filter(|payload| *payload == "mine").count();
        assert_eq!(own, usize::from(number < NOTIFICATIONS), "client {number}");
        heard.retain(|payload| payload != "mine");
        let expected = (0..NOTIFICATIONS)
            .map(|number| number.to_string())
            .chain(["end".to_owned()]);
        assert_eq!(heard, Vec::from_iter(expected), "client {number}");
        client
    }));
    let limit = tokio::time::timeout(2 * LIMIT, future::join3(others, notifying, listening));
    let (_, (), mut clients) = limit.await.expect("everybody has heard everything");
    hears_nothing(&mut clients[0]).await;
    if !is_direct() {
        assert_eq!(connections(&site).await.0, 1);
    }
}

#[tokio::test]
async fn what_is_listened_to_is_what_the_server_says() {
    let site = site(json!({})).await;
    let mut client = site.raw().await;
    let mut notifier = site.raw().await;
    let channels = "select coalesce(string_agg(c, ',' order by c), '') from pg_listening_channels() c";
    let steps: [(&[&str], &str); 12] = [
        (&["begin", "listen a", "rollback"], ""),
        (&["begin", "listen a", "commit"], "a"),
        (
            &[
                "begin",
                "listen b",
                "savepoint s",
                "listen c",
                "unlisten a",
                "rollback to s",
                "commit",
            ],
            "a,b",
        ),
        (&["begin", "unlisten a", "rollback"], "a,b"),
        (&["do $$ begin execute 'listen d'; execute 'unlisten b'; end $$"], "a,d"),
        (&["listen \"Odd \"\"name\"", "unlisten d"], "Odd \"name,a"),
        (
            &["begin", "select 1", "listen z", "unlisten \"Odd \"\"name\"", "commit"],
            "a,z",
        ),
        (&["select 1", "unlisten *; listen q"], "q"),
        (&["discard all"], ""),
        (&["listen a", "set work_mem = '5MB'", "discard temp"], "a"),
        (&["unlisten nobody", "reset all"], "a"),
        (&["unlisten *"], ""),
    ];
    let mut known = BTreeSet::new();
    for (texts, expected) in steps {
        for text in texts {
            ask(&mut client, text).await;
        }
        assert_eq!(client.rows(channels).await, [expected], "{texts:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(client.rows(channels).await, [expected], "{texts:?}, a moment later");
        let listening: BTreeSet<_> = expected
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        known.extend(listening.clone());
        for name in &known {
            let quoted = name.replace('"', "\"\"");
            ask(&mut notifier, &format!("notify \"{quoted}\", '{quoted}'")).await;
        }
        let expected: Vec<_> = listening.iter().map(|name| name.replace('"', "\"\"")).collect();
        let mut heard = hear(&mut client, expected.len()).await;
        heard.sort();
        assert_eq!(heard, expected, "{texts:?}");
        hears_nothing(&mut client).await;
    }
    all_are_free(&site).await;
}

#[tokio::test]
async fn nothing_is_lost_or_told_twice_while_connections_change_over() {
    let site = site(json!({})).await;
    let mut notifier = site.raw_direct().await;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let notifying = async {
        let mut number = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            // Twice the same, in transactions of their own: neither replaces the other.
            for _ in 0..2 {
                ask(&mut notifier, &format!("notify ticks, '{number}'")).await;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
            number += 1;
        }
        ask(&mut notifier, "notify ticks, 'end'").await;
    };
    let listening = async {
        let clients = future::join_all((0..10).map(async |me| {
            let mut client = site.raw().await;
            let mut heard = Vec::new();
            for turn in 0..15 {
                let sql = match turn % 5 {
                    0 => "listen ticks".to_owned(),
                    1 => format!("listen other_{me}_{turn}"),
                    2 => format!("begin; listen more_{me}_{turn}"),
                    3 => "commit".to_owned(),
                    _ => format!("unlisten other_{me}_{}", turn - 3),
                };
                heard.extend(ask(&mut client, &sql).await);
                heard.extend(for_a_while(&mut client, Duration::from_millis(me * 3)).await);
            }
            (client, heard)
        }));
        let clients = clients.await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for (mut client, mut heard) in clients {
            while heard.last().map(String::as_str) != Some("end") {
                heard.extend(hear(&mut client, 1).await);
            }
            heard.pop();
            let first: usize = heard[0].parse().unwrap();
            let skipped = usize::from(heard.get(1).is_some_and(|second| *second != heard[0]));
            let expected: Vec<_> = (0..heard.len())
                .map(|index| (first + (index + skipped) / 2).to_string())
                .collect();
            assert_eq!(heard, expected);
            assert!(heard.len() > 10);
        }
    };
    tokio::time::timeout(2 * LIMIT, future::join(notifying, listening))
        .await
        .expect("an end");
}

#[tokio::test]
async fn in_a_transaction_nothing_is_told_and_behind_it_everything() {
    let site = site(json!({})).await;
    let (mut client, mut notifier) = (site.raw().await, site.raw().await);
    ask(&mut client, "listen a").await;
    all_are_free(&site).await;
    ask(&mut client, "begin").await;
    for number in 0..5 {
        ask(&mut notifier, &format!("notify a, '{number}'")).await;
    }
    assert_eq!(ask(&mut client, "select 1").await, [""; 0]);
    hears_nothing(&mut client).await;
    let mut heard = ask(&mut client, "commit").await;
    heard.extend(hear(&mut client, 5 - heard.len()).await);
    assert_eq!(heard, ["0", "1", "2", "3", "4"]);

    // Between a Flush and its Sync there is a transaction too.
    let unfinished = [wire::parse("", "select 2", &[]), wire::flush()].concat();
    client.send(&unfinished).await.unwrap();
    assert_eq!(client.receive().await.unwrap().unwrap().tag, b'1');
    ask(&mut notifier, "notify a, 'later'").await;
    hears_nothing(&mut client).await;
    let mut heard = payloads(&client.ask(&wire::sync()).await.unwrap());
    heard.extend(hear(&mut client, 1 - heard.len()).await);
    assert_eq!(heard, ["later"]);

    // One's own come too.
    let mut heard = ask(&mut client, "notify a, 'own'").await;
    heard.extend(hear(&mut client, 1 - heard.len()).await);
    assert_eq!(heard, ["own"]);
}

#[tokio::test]
async fn who_listens_leaves_nothing_behind() {
    let site = site(json!({})).await;
    let mut notifier = site.raw_direct().await;
    for how in 0..4 {
        let mut client = site.raw().await;
        ask(&mut client, "listen secrets").await;
        if how > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match how {
            2 => ask(&mut client, "begin; select 1").await,
            3 => ask(&mut client, "begin; listen more; unlisten secrets").await,
            _ => Vec::new(),
        };
        client.leave().await;
    }
    all_are_free(&site).await;
    let mut others = vec![site.raw().await, site.raw().await];
    for other in &mut others {
        ask(other, "begin").await;
    }
    for other in &mut others {
        assert_eq!(other.rows("select count(*) from pg_listening_channels()").await, ["0"]);
        ask(other, "commit").await;
    }
    ask(&mut notifier, "notify secrets, 'for nobody'; notify more, 'either'").await;
    for other in &mut others {
        assert_eq!(ask(other, "select 1").await, [""; 0]);
        hears_nothing(other).await;
    }
    if !is_direct() {
        eventually("the shared listener is closed when nobody listens", async || {
            connections(&site).await.0 == 0
        })
        .await;
    }
}

#[tokio::test]
async fn who_relied_on_a_lost_listener_is_told_and_the_next_one_has_a_new_one() {
    let site = site(json!({})).await;
    if is_direct() {
        return;
    }
    let (mut idle, mut busy, mut bystander) = (site.raw().await, site.raw().await, site.raw().await);
    for client in [&mut idle, &mut busy] {
        ask(client, "listen a").await;
    }
    all_are_free(&site).await;
    ask(&mut busy, "begin").await;
    ask(&mut bystander, "select 1").await;
    let admin = site.admin().await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'weir shared listener'";
    assert_eq!(admin.query(kill, &[]).await.unwrap().len(), 1);
    let told = idle.until_closed(LIMIT).await.unwrap();
    assert_eq!(told.len(), 1, "{}", describe(&told));
    assert_eq!(
        (told[0].sqlstate(), told[0].field(b'S')),
        (Some("57P01"), Some("FATAL"))
    );
    // It may finish its transaction.
    assert_eq!(busy.rows("select 'still here'").await, ["still here"]);
    busy.send(&wire::query("commit")).await.unwrap();
    let told = busy.until_closed(LIMIT).await.unwrap();
    assert!(told.iter().any(|message| message.tag == b'Z'), "{}", describe(&told));
    assert_eq!(told.last().unwrap().sqlstate(), Some("57P01"), "{}", describe(&told));
    ask(&mut bystander, "select 1").await;

    let mut again = site.raw().await;
    ask(&mut again, "listen a").await;
    ask(&mut bystander, "notify a, 'at once'").await;
    assert_eq!(hear(&mut again, 1).await, ["at once"]);
    all_are_free(&site).await;
    ask(&mut bystander, "notify a, 'later'").await;
    assert_eq!(hear(&mut again, 1).await, ["later"]);
    let log = site.gateway.as_ref().unwrap().log();
    assert!(
        log.contains("shared listener opened") && log.contains("shared listener lost"),
        "{log}"
    );
}

#[tokio::test]
async fn without_a_shared_listener_each_client_keeps_its_connection() {
    let site = site(json!({ "shared_listener": false })).await;
    if is_direct() {
        return;
    }
    let (mut client, mut other) = (site.raw().await, site.raw().await);
    ask(&mut client, "listen a").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let process = other.rows("select pg_backend_pid()").await;
    assert_ne!(client.rows("select pg_backend_pid()").await, process);
    ask(&mut other, "begin").await;
    assert_eq!(other.rows("select pg_backend_pid()").await, process);
    ask(&mut other, "notify a, 'x'; commit").await;
    assert_eq!(hear(&mut client, 1).await, ["x"]);
    assert_eq!(connections(&site).await.0, 0);
}

#[tokio::test]
async fn another_encoding_than_the_databases_keeps_the_connection() {
    let site = site(json!({})).await;
    let (mut client, mut notifier) = (site.raw().await, site.raw().await);
    ask(&mut client, "set client_encoding = 'LATIN1'").await;
    ask(&mut client, "listen a").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    ask(&mut notifier, "notify a, 'bücher'").await;
    let message = tokio::time::timeout(LIMIT, client.receive())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(message.body.ends_with(b"a\0b\xfccher\0"), "{message}");
    ask(&mut client, "set client_encoding = 'UTF8'").await;
    all_are_free(&site).await;
    ask(&mut notifier, "notify a, 'bücher'").await;
    assert_eq!(hear(&mut client, 1).await, ["bücher"]);

    // Behind LISTEN it is too late to change it, but for what is the same in every encoding.
    if is_direct() {
        return;
    }
    ask(&mut client, "set client_encoding = 'LATIN1'").await;
    ask(&mut notifier, "notify a, 'books'").await;
    assert_eq!(hear(&mut client, 1).await, ["books"]);
    ask(&mut notifier, "notify a, 'bücher'").await;
    let told = client.until_closed(LIMIT).await.unwrap();
    assert_eq!(
        told.last().and_then(Message::sqlstate),
        Some("22021"),
        "{}",
        describe(&told)
    );
}

#[tokio::test]
async fn who_does_not_read_is_ended_by_a_limit() {
    let site = site(json!({})).await;
    if is_direct() {
        return;
    }
    let (mut client, mut notifier) = (site.raw().await, site.raw_direct().await);
    let mut reader = site.raw().await;
    for client in [&mut client, &mut reader] {
        ask(client, "listen a").await;
    }
    all_are_free(&site).await;
    ask(&mut client, "begin").await;
    for round in 0..9 {
        let sql = format!("select count(pg_notify('a', '{round}' || n::text)) from generate_series(1, 2000) n");
        assert_eq!(notifier.rows(&sql).await, ["2000"]);
        assert_eq!(hear(&mut reader, 2000).await.len(), 2000);
    }
    client.send(&wire::query("commit")).await.unwrap();
    let told = client.until_closed(LIMIT).await.unwrap();
    let error = told.last().unwrap();
    assert_eq!(
        (error.sqlstate(), error.field(b'S')),
        (Some("53400"), Some("FATAL")),
        "{}",
        describe(&told)
    );
    assert!(error.field(b'D').unwrap().contains("16384"), "{error}");
}

#[tokio::test]
async fn a_flood_reaches_a_client_that_reads() {
    let site = site(json!({})).await;
    let (mut client, mut notifier) = (site.raw().await, site.raw_direct().await);
    ask(&mut client, "listen a").await;
    all_are_free(&site).await;
    const ROUNDS: usize = 20;
    let notifying = async {
        for round in 0..ROUNDS {
            let sql = format!(
                "select count(pg_notify('a', ({round} * 1000 + n)::text || repeat('x', 200))) from generate_series(0, 999) n"
            );
            assert_eq!(notifier.rows(&sql).await, ["1000"]);
        }
    };
    let (heard, ()) = future::join(hear(&mut client, ROUNDS * 1000), notifying).await;
    for (number, payload) in heard.iter().enumerate() {
        assert_eq!(payload.trim_end_matches('x'), number.to_string());
    }
    hears_nothing(&mut client).await;
}

async fn run_driver(name: &str, instances: usize) {
    let site = site(json!({})).await;
    let runs = (1..=instances).map(async |instance| {
        let mut command = Command::new(process::cache().join("python/bin/python"));
        let script = format!("{}/drivers/{name}", env!("CARGO_MANIFEST_DIR"));
        command.arg(script).arg(instance.to_string());
        site.environment(&mut command);
        process::run(command, 3 * LIMIT).await
    });
    for outcome in future::join_all(runs).await {
        outcome.expect_success(name);
        assert!(
            outcome.output.contains("passed"),
            "{name} ends early:\n{}",
            outcome.output
        );
    }
}

#[tokio::test]
async fn asyncpg_listeners() {
    run_driver("asyncpg_listen.py", 5).await;
}

#[tokio::test]
async fn psycopg_notifies() {
    // One: while its transaction is open it needs the other server connection.
    run_driver("psycopg_listen.py", 1).await;
}
