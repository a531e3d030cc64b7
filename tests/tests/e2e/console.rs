//! The console: `psql -d weir`, and drivers that use the extended protocol.

use std::time::Duration;

use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};
use weir_tests::{
    clock,
    cluster::{self, Cluster, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    process,
    site::{Plan, Site, database_url, is_direct},
    wire::{self, RawClient},
};

use super::administered::{BOSS_PASSWORD, Place, WATCHER_PASSWORD};

const TOPICS: [&str; 11] = [
    "clients",
    "config",
    "databases",
    "help",
    "pins",
    "pin_totals",
    "pools",
    "servers",
    "stats",
    "version",
    "waits",
];

/// What psql says to these commands.
async fn psql(place: &Place, user: &str, password: &str, commands: &[&str]) -> process::Outcome {
    let mut psql = place.psql(user, password, commands);
    psql.arg("--csv");
    process::run(psql, Duration::from_secs(30)).await
}

/// Rows of a table by the simple protocol, each as (column, value).
async fn show(console: &Client, topic: &str) -> Vec<Vec<(String, Option<String>)>> {
    let answer = console.simple_query(&format!("show {topic}")).await.unwrap();
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let pairs = rows.map(|row| {
        let names = row.columns().iter().map(|column| column.name().to_owned());
        names
            .enumerate()
            .map(|(index, name)| (name, row.get(index).map(str::to_owned)))
            .collect()
    });
    pairs.collect()
}

fn value(row: &[(String, Option<String>)], column: &str) -> String {
    let found = row.iter().find(|(name, _)| name == column);
    let (_, value) = found.unwrap_or_else(|| panic!("no column {column}: {row:?}"));
    value.clone().unwrap_or_default()
}

#[tokio::test]
async fn psql_shows_every_table_and_no_secret() {
    let Some(place) = Place::start(Plan::default()).await else {
        return;
    };
    let mut client = place.client().await;
    client
        .simple("create temp table seen as select 'canary-constant-31' as secret")
        .await
        .unwrap();
    let commands: Vec<String> = TOPICS.iter().map(|topic| format!("SHOW {topic}")).collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    for (user, password) in [("boss", BOSS_PASSWORD), ("watcher", WATCHER_PASSWORD)] {
        let outcome = psql(&place, user, password, &commands).await;
        outcome.expect_success("psql on the console");
        assert!(
            outcome.output.contains("create temp table seen as select ? as secret"),
            "{}",
            outcome.output
        );
        assert!(!outcome.output.contains("canary"), "{}", outcome.output);
        assert!(outcome.output.contains("temporary table"), "{}", outcome.output);
    }
    assert!(
        !place.gateway.log().contains("temp table"),
        "statements are not for the log"
    );
    let outcome = psql(&place, "boss", BOSS_PASSWORD, &["show nonsense"]).await;
    assert!(outcome.output.contains("SHOW HELP lists"), "{}", outcome.output);
}

#[tokio::test]
async fn drivers_with_the_extended_protocol_get_numbers_and_text() {
    let Some(place) = Place::start(Plan::default()).await else {
        return;
    };
    let console = place.boss().await;
    for topic in TOPICS {
        console.query(&format!("SHOW {topic}"), &[]).await.unwrap();
    }
    let prepared = console.prepare("show pools").await.unwrap();
    for _ in 0..2 {
        let rows = console.query(&prepared, &[]).await.unwrap();
        let database: &str = rows[0].get("database");
        let limit: i64 = rows[0].get("max_connections");
        let mode: &str = rows[0].get("pool_mode");
        assert_eq!((database, limit, mode), (&*place.site.database, 2, "transaction"));
    }
    let error = console.query("select 1", &[]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42601"));
    assert_eq!(console.query("show version", &[]).await.unwrap().len(), 1, "it goes on");
}

#[tokio::test]
async fn what_clients_do_is_counted_and_a_pin_is_shown_with_its_statement() {
    let Some(place) = Place::start(Plan::default()).await else {
        return;
    };
    let console = place.boss().await;
    let mut client = place.client().await;
    // The first login of all has asked a server what it is like.
    let before = value(&show(&console, "stats").await[0], "total_server_assignment_count");
    for _ in 0..10 {
        client.rows("select 1").await;
    }
    client.simple("begin; select 1").await.unwrap();
    client.simple("select 2").await.unwrap();
    client.simple("commit").await.unwrap();
    let stats = settled(&console, "stats", |row| value(row, "total_xact_count") == "11").await;
    assert_eq!(value(&stats, "total_query_count"), "13");
    let leases = |text: &str| text.parse::<u64>().unwrap();
    assert_eq!(
        leases(&value(&stats, "total_server_assignment_count")),
        leases(&before) + 11
    );
    for column in ["total_received", "total_sent", "total_xact_time", "avg_query_time"] {
        assert_ne!(value(&stats, column), "0", "{column}: {stats:?}");
    }

    let process = client.rows("select pg_advisory_lock(4711), pg_backend_pid()").await;
    assert_eq!(process.len(), 1);
    let process = client.rows("select pg_backend_pid()").await.remove(0);
    let pin = settled(&console, "pins", |row| value(row, "reason") == "session advisory lock").await;
    assert_eq!(value(&pin, "statement"), "select pg_advisory_lock(?), pg_backend_pid()");
    assert_eq!(value(&pin, "user"), ROLE);
    let servers = show(&console, "servers").await;
    let server = servers
        .iter()
        .find(|row| value(row, "id") == value(&pin, "link"))
        .unwrap();
    assert_eq!(value(server, "remote_pid"), process);
    assert_eq!(value(server, "link"), value(&pin, "id"));
    assert_eq!(value(server, "state"), "pinned");
    let clients = show(&console, "clients").await;
    let own = clients
        .iter()
        .find(|row| value(row, "id") == value(&pin, "id"))
        .unwrap();
    assert_eq!(value(own, "pin_reason"), "session advisory lock");
    assert_eq!(value(own, "state"), "pinned");
    assert_eq!(value(&show(&console, "pools").await[0], "sv_pinned"), "1");

    client.simple("select pg_advisory_unlock_all()").await.unwrap();
    let totals = settled(&console, "pin_totals", |row| {
        value(row, "reason") == "session advisory lock" && value(row, "pinned") == "0"
    })
    .await;
    assert_eq!(value(&totals, "pins"), "1");
    assert_ne!(value(&totals, "pinned_time"), "0");
    assert_eq!(show(&console, "pins").await.len(), 0);
}

/// The first row of which this is true, as soon as there is one.
async fn settled(
    console: &Client,
    topic: &str,
    is_it: impl Fn(&[(String, Option<String>)]) -> bool,
) -> Vec<(String, Option<String>)> {
    let began = clock::now();
    loop {
        let rows = show(console, topic).await;
        if let Some(row) = rows.iter().find(|row| is_it(row)) {
            return row.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{topic}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn waiting_is_seen() {
    let plan = Plan {
        connections: 1,
        ..Plan::default()
    };
    let Some(place) = Place::start(plan).await else {
        return;
    };
    let console = place.boss().await;
    let (mut holder, mut waiter) = (place.client().await, place.client().await);
    let before: u64 = value(&show(&console, "waits").await[0], "total_wait_count")
        .parse()
        .unwrap();
    holder.simple("begin").await.unwrap();
    waiter.send(&wire::query("select 1")).await.unwrap();
    let row = settled(&console, "waits", |row| value(row, "cl_waiting") == "1").await;
    assert_eq!(value(&row, "sv_in_use"), "1");
    assert!(
        value(&row, "max_connections_set_in").contains("databases.yaml"),
        "{row:?}"
    );
    settled(&console, "clients", |row| {
        value(row, "state") == "waiting" && value(row, "wait_us") != "0"
    })
    .await;
    holder.simple("commit").await.unwrap();
    waiter.until(b'Z').await.unwrap();
    settled(&console, "waits", |row| {
        value(row, "cl_waiting") == "0"
            && value(row, "total_wait_count").parse::<u64>().unwrap() > before
            && value(row, "total_wait_time") != "0"
    })
    .await;
}

#[tokio::test]
async fn only_administrators_come_in_and_only_admins_act() {
    let Some(place) = Place::start(Plan::default()).await else {
        return;
    };
    let address = place.gateway.address("pg");
    for (user, password, expected) in [
        (ROLE, ROLE_PASSWORD, "42501"),
        ("boss", "wrong", "28P01"),
        ("nobody", "x", "28P01"),
    ] {
        for database in ["weir", "pgbouncer"] {
            let error = cluster::connect(address, user, password, database).await.unwrap_err();
            assert_eq!(error.code().map(|code| code.code()), Some(expected), "{user}: {error}");
        }
    }
    // An administrator has no source for that.
    let error = cluster::connect(address, "boss", BOSS_PASSWORD, &place.site.database).await;
    assert_eq!(error.unwrap_err().code().map(|code| code.code()), Some("42501"));

    let mut client = place.client().await;
    let boss = place.boss().await;
    let watcher = cluster::connect(address, "watcher", WATCHER_PASSWORD, "pgbouncer")
        .await
        .unwrap();
    let row = settled(&watcher, "clients", |row| value(row, "user") == ROLE).await;
    let kill = format!("KILL_CLIENT {}", value(&row, "id"));
    let error = watcher.batch_execute(&kill).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    assert_eq!(client.rows("select 1").await, ["1"], "still there");
    boss.batch_execute(&kill).await.unwrap();
    let told = client.until_closed(Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        wire::first_error(&told).and_then(wire::Message::sqlstate),
        Some("57P01")
    );
    let error = boss.batch_execute(&kill).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42704"));
}

#[tokio::test]
async fn a_source_that_has_the_name_wins_it() {
    if is_direct() {
        return;
    }
    let plan = Plan::default();
    let site = Site::start(plan.clone()).await;
    let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority)
        .postgres("weir", url.into(), json!({ "max_connections": 1 }))
        .user(json!({ "name": "boss", "password": BOSS_PASSWORD, "sources": "*", "role": "admin" }));
    let gateway = Gateway::start(&metadata);
    let connect = |database: &'static str| cluster::connect(gateway.address("pg"), "boss", BOSS_PASSWORD, database);
    let source = connect("weir").await.unwrap();
    assert!(source.query_one("select 1", &[]).await.is_ok());
    let console = connect("pgbouncer").await.unwrap();
    assert_eq!(show(&console, "databases").await.len(), 2);
}

#[tokio::test]
async fn the_console_ends_with_the_gateway() {
    let Some(mut place) = Place::start(Plan::default()).await else {
        return;
    };
    let mut console = RawClient::log_in(place.gateway.address("pg"), "boss", BOSS_PASSWORD, "weir")
        .await
        .unwrap();
    assert_eq!(console.rows("show version").await.len(), 1);
    place.gateway.signal("TERM");
    let told = console.until_closed(Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        wire::first_error(&told).and_then(wire::Message::sqlstate),
        Some("57P01")
    );
    assert!(place.gateway.stop(Duration::from_secs(10)).is_some());
    let _: &Cluster = place.site.cluster;
}
