//! What administrators do to a gateway that serves: PAUSE, RESUME, RECONNECT, WAIT_CLOSE, KILL, DISABLE, RELOAD, SHUTDOWN,
//! EXPLAIN POOL, and the same over HTTP. Load is real, and nothing may fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};
use weir_tests::{
    clock,
    cluster::{self, ROLE, ROLE_PASSWORD},
    http::Http,
    metadata::Metadata,
    process,
    site::{Plan, database_url},
    wire::{self, RawClient, Security},
};

use super::administered::{BOSS_PASSWORD, Place};

/// For a gateway that hangs.
const LONG: Duration = Duration::from_secs(60);

impl Place {
    async fn raw_console(&self) -> RawClient {
        RawClient::log_in(self.gateway.address("pg"), "boss", BOSS_PASSWORD, "weir")
            .await
            .unwrap()
    }

    /// By psql, as people do it; its answer.
    async fn by_psql(&self, command: &str) -> String {
        let outcome = process::run(self.psql("boss", BOSS_PASSWORD, &[command]), LONG).await;
        outcome.expect_success(command);
        outcome.output
    }

    /// Clients that count, each in transactions of its own, until they are told to stop.
    async fn load(&self, clients: usize) -> Load {
        let admin = self.site.admin().await;
        admin
            .batch_execute(&format!(
                "create table if not exists counted (client int); grant all on counted to {ROLE}"
            ))
            .await
            .unwrap();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for number in 0..clients {
            let mut client = self.client().await;
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    for statement in ["begin", &format!("insert into counted values ({number})"), "commit"] {
                        let answer = client.simple(statement).await.map_err(|error| error.to_string())?;
                        if let Some(error) = wire::first_error(&answer) {
                            return Err(error.text());
                        }
                    }
                    acknowledged.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }));
        }
        Load {
            stop,
            acknowledged,
            tasks,
            admin,
        }
    }

    /// Those of the gateway.
    async fn server_connections(&self) -> usize {
        backends(self).await.len()
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
    admin: Client,
}

impl Load {
    /// Rows, as the database has them.
    async fn committed(&self) -> i64 {
        self.admin
            .query_one("select count(*) from counted", &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Until this many transactions more are through.
    async fn goes_on(&self, more: u64) {
        let wanted = self.acknowledged.load(SeqCst) + more;
        let acknowledged = self.acknowledged.clone();
        until("the load goes on", async || acknowledged.load(SeqCst) >= wanted).await;
    }

    /// Everybody was served, and what was acknowledged is there.
    async fn ends_well(mut self) {
        self.stop.store(true, SeqCst);
        for task in std::mem::take(&mut self.tasks) {
            let outcome = tokio::time::timeout(LONG, task).await.expect("a client ends");
            assert_eq!(outcome.unwrap(), Ok(()));
        }
        let acknowledged = self.acknowledged.load(SeqCst) as i64;
        assert_eq!(self.committed().await, acknowledged);
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = clock::now();
    while !is_so().await {
        assert!(began.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One value of the first row of a table.
async fn first(console: &Client, topic: &str, column: &str) -> String {
    let answer = console.simple_query(&format!("SHOW {topic}")).await.unwrap();
    let row = answer.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.unwrap().get(column).unwrap_or_default().to_owned()
}

/// Everything that EXPLAIN POOL says, one line for each row.
async fn explain(console: &Client, source: &str) -> String {
    let rows = console.query(&format!("EXPLAIN POOL \"{source}\""), &[]).await.unwrap();
    let line = |row: &tokio_postgres::Row| {
        let number: Option<i64> = row.get("number");
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        let (subject, words): (&str, &str) = (row.get("subject"), row.get("words"));
        format!("{subject}|{number}|{words}\n")
    };
    rows.iter().map(line).collect()
}

fn sqlstate(answer: &[wire::Message]) -> Option<&str> {
    wire::first_error(answer).and_then(wire::Message::sqlstate)
}

fn busy(connections: u32) -> Plan {
    Plan {
        connections,
        // Shorter than every pause below: the clock stands still.
        pool: json!({ "pool_timeout": 1 }),
        ..Plan::default()
    }
}

#[tokio::test]
async fn a_pause_under_load_fails_nothing_and_nothing_begins() {
    let Some(place) = Place::start(Plan {
        pool: json!({ "pool_timeout": 5 }),
        ..busy(3)
    })
    .await
    else {
        return;
    };
    let console = place.boss().await;
    let load = place.load(8).await;
    for round in 0..3 {
        load.goes_on(50).await;
        match round {
            0 => drop(place.by_psql("PAUSE").await),
            // The extended protocol.
            1 => drop(
                console
                    .execute(&format!("pause \"{}\"", place.site.database), &[])
                    .await
                    .unwrap(),
            ),
            _ => console.batch_execute("PAUSE; PAUSE").await.unwrap(),
        }
        assert_eq!(
            place.server_connections().await,
            0,
            "the command returns when nothing is left"
        );
        let committed = load.committed().await;
        tokio::time::sleep(Duration::from_millis(if round == 0 { 6_000 } else { 300 })).await;
        assert_eq!(load.committed().await, committed, "a transaction began in a pause");
        assert_eq!(place.server_connections().await, 0);
        assert_eq!(first(&console, "databases", "paused").await, "1");
        assert_eq!(first(&console, "databases", "state").await, "paused");
        assert_eq!(first(&console, "pools", "cl_waiting").await, "8");
        console.batch_execute("RESUME").await.unwrap();
        assert_eq!(first(&console, "databases", "paused").await, "0");
    }
    load.goes_on(50).await;
    load.ends_well().await;
}

#[tokio::test]
async fn a_pause_that_nobody_waits_for_is_taken_back() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let console = place.boss().await;
    let (mut holder, mut other) = (place.client().await, place.client().await);
    holder.simple("begin; select 1").await.unwrap();
    for way in ["cancel", "leave", "resume"] {
        let mut pausing = place.raw_console().await;
        pausing.send(&wire::query("PAUSE; SHOW VERSION")).await.unwrap();
        until("it pauses", async || {
            first(&console, "databases", "state").await == "pausing"
        })
        .await;
        other.send(&wire::query("select 2")).await.unwrap();
        until("the other waits", async || {
            first(&console, "pools", "cl_waiting").await == "1"
        })
        .await;
        let verdict = "verdict||paused, not yet at rest: 1 server connections are left";
        until("only the holder's is left", async || {
            explain(&console, &place.site.database).await.contains(verdict)
        })
        .await;
        let told = explain(&console, &place.site.database).await;
        assert!(told.contains("idle in transaction for"), "{told}");
        assert!(told.contains("KILL_CLIENT"), "{told}");
        match way {
            "cancel" => {
                pausing
                    .cancel(place.gateway.address("pg"), &Security::Clear)
                    .await
                    .unwrap();
                let answer = pausing.until(b'Z').await.unwrap();
                assert_eq!(sqlstate(&answer), Some("57014"), "{}", wire::describe(&answer));
                assert_eq!(pausing.rows("show version").await.len(), 1, "the console goes on");
            }
            "leave" => drop(pausing),
            _ => {
                console.batch_execute("RESUME").await.unwrap();
                let answer = pausing.until(b'Z').await.unwrap();
                assert_eq!(sqlstate(&answer), Some("55000"), "{}", wire::describe(&answer));
            }
        }
        let answer = tokio::time::timeout(LONG, other.until(b'Z'))
            .await
            .expect("served")
            .unwrap();
        assert_eq!(sqlstate(&answer), None, "{way}: {}", wire::describe(&answer));
        assert_eq!(first(&console, "databases", "paused").await, "0", "{way}");
    }
    let answer = holder.simple("commit").await.unwrap();
    assert_eq!(sqlstate(&answer), None);
}

#[tokio::test]
async fn who_is_pinned_goes_on_in_a_pause_which_waits_for_it() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let console = place.boss().await;
    let mut pinned = place.client().await;
    pinned.simple("create temp table mine (a int)").await.unwrap();
    let mut pausing = place.raw_console().await;
    pausing.send(&wire::query("PAUSE")).await.unwrap();
    until("it pauses", async || {
        first(&console, "databases", "state").await == "pausing"
    })
    .await;
    assert_eq!(pinned.rows("select count(*) from mine").await, ["0"]);
    let told = explain(&console, &place.site.database).await;
    assert!(told.contains("temporary table: create temp table mine"), "{told}");
    pinned.simple("drop table mine").await.unwrap();
    let answer = tokio::time::timeout(LONG, pausing.until(b'Z'))
        .await
        .expect("at rest")
        .unwrap();
    assert_eq!(sqlstate(&answer), None);
    assert_eq!(place.server_connections().await, 0);
    pinned.send(&wire::query("select 1")).await.unwrap();
    until("it waits like everybody", async || {
        first(&console, "pools", "cl_waiting").await == "1"
    })
    .await;
    console.batch_execute("RESUME").await.unwrap();
    let answer = tokio::time::timeout(LONG, pinned.until(b'Z'))
        .await
        .expect("served")
        .unwrap();
    assert_eq!(sqlstate(&answer), None);
}

#[tokio::test]
async fn a_reconnect_under_load_renews_every_backend_and_fails_nothing() {
    let Some(place) = Place::start(busy(3)).await else {
        return;
    };
    let console = place.boss().await;
    let load = place.load(6).await;
    let mut holder = place.client().await;
    holder.simple("begin").await.unwrap();
    let held = holder.rows("select pg_backend_pid()").await.remove(0);
    for _ in 0..10 {
        load.goes_on(20).await;
        let before = backends(&place).await;
        console.batch_execute("RECONNECT").await.unwrap();
        until("all but the one in use are other ones", async || {
            let after = backends(&place).await;
            after.iter().all(|pid| !before.contains(pid) || *pid == held)
        })
        .await;
        assert!(
            backends(&place).await.contains(&held),
            "a transaction keeps its connection"
        );
    }
    let mut waiting = place.raw_console().await;
    waiting.send(&wire::query("WAIT_CLOSE")).await.unwrap();
    load.goes_on(50).await;
    assert!(waiting.buffered().is_empty(), "one from before is left");
    let servers = console.query("show servers", &[]).await.unwrap();
    let unwanted = servers.iter().filter(|row| row.get::<_, i64>("close_needed") == 1);
    assert_eq!(unwanted.count(), 1);
    assert_eq!(holder.rows("select pg_backend_pid()").await, [&*held]);
    holder.simple("commit").await.unwrap();
    let answer = tokio::time::timeout(LONG, waiting.until(b'Z'))
        .await
        .expect("closed")
        .unwrap();
    assert_eq!(sqlstate(&answer), None);
    assert!(!backends(&place).await.contains(&held));
    load.ends_well().await;
}

async fn backends(place: &Place) -> Vec<String> {
    let admin = place.site.cluster.admin("postgres").await;
    let rows = admin
        .query(
            "select pid::text from pg_stat_activity where datname = $1 and usename = $2",
            &[&place.site.database, &ROLE],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn kill_ends_everybody_and_new_clients_wait() {
    let Some(place) = Place::start(busy(3)).await else {
        return;
    };
    let console = place.boss().await;
    let (mut idle, mut running, mut in_transaction) =
        (place.client().await, place.client().await, place.client().await);
    in_transaction.simple("begin; select 1").await.unwrap();
    running.send(&wire::query("select pg_sleep(3600)")).await.unwrap();
    until("it runs", async || first(&console, "pools", "sv_active").await == "2").await;
    tokio::time::timeout(
        LONG,
        console.batch_execute(&format!("KILL \"{}\"", place.site.database)),
    )
    .await
    .expect("KILL returns")
    .unwrap();
    assert_eq!(place.server_connections().await, 0, "what ran is cancelled too");
    for client in [&mut idle, &mut running, &mut in_transaction] {
        client.until_closed(LONG).await.unwrap();
    }
    let mut late = place.client().await;
    late.send(&wire::query("select 1")).await.unwrap();
    until("it waits", async || first(&console, "pools", "cl_waiting").await == "1").await;
    console.batch_execute("RESUME").await.unwrap();
    let answer = tokio::time::timeout(LONG, late.until(b'Z'))
        .await
        .expect("served")
        .unwrap();
    assert_eq!(sqlstate(&answer), None);
    // A client that vanishes after that is brought to rest as ever.
    assert_eq!(late.rows("select 2").await, ["2"]);
}

#[tokio::test]
async fn a_disabled_source_lets_nobody_in_and_nobody_down() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let console = place.boss().await;
    let mut inside = place.client().await;
    let name = &place.site.database;
    console.batch_execute(&format!("DISABLE \"{name}\"")).await.unwrap();
    let refused = cluster::connect(place.gateway.address("pg"), ROLE, ROLE_PASSWORD, name).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("55000"), "{refused}");
    assert_eq!(inside.rows("select 1").await, ["1"]);
    assert_eq!(first(&console, "databases", "disabled").await, "1");
    assert!(explain(&console, name).await.contains("verdict||disabled"));
    console.batch_execute(&format!("ENABLE \"{name}\"")).await.unwrap();
    assert_eq!(place.client().await.rows("select 1").await, ["1"]);
    let error = console.batch_execute("PAUSE nowhere").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("3D000"));
}

#[tokio::test]
async fn a_source_that_is_moved_in_a_pause_is_used_on_one_side_only() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let console = place.boss().await;
    let cluster = place.site.cluster;
    let elsewhere = format!("{}_2", place.site.database);
    cluster.create_database(&elsewhere).await;
    let mut client = place.client().await;
    assert_eq!(client.rows("select current_database()").await, [&*place.site.database]);
    place.by_psql("PAUSE").await;
    client.send(&wire::query("select current_database()")).await.unwrap();
    until("it waits", async || first(&console, "pools", "cl_waiting").await == "1").await;
    let plan = busy(2);
    let url = database_url(cluster, ROLE, &elsewhere, "sslmode=disable");
    let moved = Metadata::new()
        .postgres(&place.site.database, url.into(), json!({ "max_connections": 2 }))
        .listener(json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 }))
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
        .user(json!({ "name": "boss", "password": BOSS_PASSWORD, "sources": [], "role": "admin" }))
        .overlay(json!({ "name": place.site.database, "pool_settings": { "pool_mode": plan.mode } }));
    moved.write(place.gateway.folder());
    let said = place.by_psql("RELOAD").await;
    assert!(
        said.contains("NOTICE") && said.contains("1 sources, 0 inconsistent"),
        "{said}"
    );
    assert_eq!(
        first(&console, "databases", "state").await,
        "paused",
        "a pause survives"
    );
    assert_eq!(first(&console, "pools", "cl_waiting").await, "1", "so does the queue");
    assert_eq!(place.server_connections().await, 0);
    console.batch_execute("RESUME").await.unwrap();
    let answer = tokio::time::timeout(LONG, client.until(b'Z'))
        .await
        .expect("served")
        .unwrap();
    assert_eq!(wire::first_columns(&answer), [elsewhere.as_str()]);
}

#[tokio::test]
async fn reload_applies_as_a_whole_or_says_everything_that_is_wrong() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let console = place.boss().await;
    std::fs::write(place.gateway.folder().join("databases/databases.yaml"), "- name: [half").unwrap();
    let error = console.batch_execute("RELOAD").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "F0000");
    assert!(
        error.detail().unwrap_or_default().contains("databases.yaml"),
        "{error:?}"
    );
    assert_eq!(
        first(&console, "databases", "pool_size").await,
        "2",
        "the old one applies"
    );
    place.metadata.write(place.gateway.folder());
    console.batch_execute("RELOAD").await.unwrap();
    assert_eq!(place.client().await.rows("select 1").await, ["1"]);
}

#[tokio::test]
async fn explain_says_who_holds_what_and_what_to_do() {
    let Some(place) = Place::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await
    else {
        return;
    };
    let console = place.boss().await;
    let name = place.site.database.clone();
    let (mut holder, mut waiter) = (place.client().await, place.client().await);
    let calm = explain(&console, &name).await;
    assert!(
        calm.contains("verdict||nobody waits") && calm.contains("advice||nothing"),
        "{calm}"
    );
    holder.simple("begin; select 'canary-constant-52'").await.unwrap();
    waiter.send(&wire::query("select 1")).await.unwrap();
    until("it waits", async || first(&console, "pools", "cl_waiting").await == "1").await;
    let told = explain(&console, &name).await;
    for words in [
        "verdict||1 client waits, for ",
        "all 1 server connections are taken, 1 of them by clients that are idle in a transaction",
        "limit|1|max_connections, set in databases/databases.yaml:",
        "in use|1|",
        "waiting|1|the first for ",
        "idle in transaction for ",
        "waits for ",
        "idle_in_transaction_timeout = ",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
    assert!(!told.contains("canary"), "{told}");
    holder.simple("commit").await.unwrap();
    waiter.until(b'Z').await.unwrap();
    let listed = place.by_psql(&format!("explain pool \"{name}\"")).await;
    assert!(listed.contains("verdict"), "{listed}");
    let error = console.query("explain pool nowhere", &[]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("3D000"));
}

#[tokio::test]
async fn shutdown_is_sigterm() {
    let Some(mut place) = Place::start(busy(2)).await else {
        return;
    };
    let mut busy = place.client().await;
    busy.simple("begin; select 1").await.unwrap();
    let mut console = place.raw_console().await;
    console.send(&wire::query("SHUTDOWN WAIT_FOR_SERVERS")).await.unwrap();
    let told = console.until_closed(LONG).await.unwrap();
    assert!(wire::describe(&told).contains("SHUTDOWN"), "{}", wire::describe(&told));
    let answer = busy.simple("select 2").await.unwrap();
    assert_eq!(sqlstate(&answer), None, "its transaction goes on");
    busy.send(&wire::query("commit")).await.unwrap();
    busy.until_closed(LONG).await.unwrap();
    assert!(place.gateway.wait(LONG).is_some_and(|status| status.success()));
}

#[tokio::test]
async fn shutdown_at_once_waits_for_nobody() {
    let Some(mut place) = Place::start(busy(2)).await else {
        return;
    };
    let mut busy = place.client().await;
    busy.send(&wire::query("select pg_sleep(3600)")).await.unwrap();
    let mut console = place.raw_console().await;
    console.send(&wire::query("SHUTDOWN")).await.unwrap();
    assert!(place.gateway.wait(LONG).is_some());
}

#[tokio::test]
async fn the_same_over_http() {
    let Some(place) = Place::start(busy(2)).await else {
        return;
    };
    let http = Http::new(place.gateway.http());
    let name = place.site.database.clone();
    let give = async |kind: &str, args: Value| {
        let answer = http.metadata(&json!({ "type": kind, "args": args })).await;
        (answer.status, answer.json())
    };
    let stats = async || give("get_pool_stats", json!({ "source": name })).await.1["sources"][0].clone();
    let mut client = place.client().await;
    client.rows("select 1").await;
    let mut pinned = place.client().await;
    pinned
        .simple("create temp table seen as select 'canary-31' as a")
        .await
        .unwrap();
    until("the pin is seen", async || stats().await["pools"][0]["pinned"] == 1).await;
    let seen = stats().await;
    assert_eq!((&seen["name"], &seen["state"]), (&json!(name), &json!("running")));
    assert_eq!(
        (&seen["kind"], &seen["clients"]["connected"]),
        (&json!("postgres"), &json!(2))
    );
    let pool = &seen["pools"][0];
    assert_eq!((&pool["limit"]["value"], &pool["role"]), (&json!(2), &json!("primary")));
    assert!(
        pool["limit"]["set_in"]
            .as_str()
            .unwrap()
            .starts_with("databases/databases.yaml:")
    );
    assert_eq!((&pool["pinned"], &pool["waiting"]), (&json!(1), &json!(0)));
    assert!(pool["latency"]["query"]["count"].as_u64().unwrap() >= 1, "{pool}");
    assert!(seen["totals"]["transactions"].as_u64().unwrap() >= 1, "{seen}");
    let pin = &seen["pins"][0];
    assert_eq!(pin["statement"], "create temp table seen as select ? as a");
    assert_eq!(
        (&pin["reason"], &pin["user"]),
        (&json!("temporary table"), &json!(ROLE))
    );
    assert!(!seen.to_string().contains("canary"), "{seen}");

    // A pinned client keeps the pause from its end, which takes it back.
    let (status, late) = give("pause_source", json!({ "name": name, "timeout": 0.2 })).await;
    assert_eq!((status, &late["code"]), (504, &json!("timeout")), "{late}");
    assert!(late["error"].as_str().unwrap().contains("timeout = 0.2 s"), "{late}");
    assert_eq!(stats().await["state"], "running");
    let paused = give("pause_source", json!({ "name": name, "wait": false })).await;
    assert_eq!(paused, (200, json!({ "message": "success", "state": "pausing" })));
    pinned.simple("drop table seen").await.unwrap();
    until("it rests", async || stats().await["state"] == "paused").await;
    let paused = give("pause_source", json!({ "name": name })).await;
    assert_eq!(paused, (200, json!({ "message": "success", "state": "paused" })));
    client.send(&wire::query("select 1")).await.unwrap();
    until("it waits", async || stats().await["waits"][0]["state"] == "waiting").await;
    let resumed = give("resume_source", json!({ "name": name })).await;
    assert_eq!(resumed, (200, json!({ "message": "success", "state": "running" })));
    tokio::time::timeout(LONG, client.until(b'Z'))
        .await
        .expect("served")
        .unwrap();
    let before = backends(&place).await;
    assert!(!before.is_empty());
    assert_eq!(give("restart_source", json!({ "name": name })).await.0, 200);
    until("they are closed", async || {
        let now = backends(&place).await;
        !before.iter().any(|pid| now.contains(pid))
    })
    .await;
    assert_eq!(client.rows("select 1").await, ["1"]);

    for kind in ["pause_source", "resume_source", "restart_source"] {
        let (status, error) = give(kind, json!({ "name": "nowhere" })).await;
        assert_eq!((status, &error["code"]), (400, &json!("not-exists")), "{kind}: {error}");
        assert_eq!(error["path"], "$.args.name");
        let (status, error) = give(kind, json!({})).await;
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("parse-failed")),
            "{kind}: {error}"
        );
    }
    for args in [
        json!({ "name": name, "timeout": -1 }),
        json!({ "name": name, "timeout": 601 }),
        json!({ "name": name, "timeout": "soon" }),
        json!({ "name": name, "wait": "no" }),
    ] {
        assert_eq!(give("pause_source", args.clone()).await.0, 400, "{args}");
    }
}
