//! D1, D2: SIGTERM under load, a second one, SIGKILL, and SIGTERM during a start that hangs; in both protocols.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet};
use weir_tests::{
    clock,
    gateway::{self, Gateway},
    metadata::Metadata,
    mssql::{DATABASE, Encryption, LOGIN, Options, PASSWORD, StandIn, client::RawClient as TdsClient},
    process::{self, Watchdog},
    site::{Plan, Site, is_direct},
    turn,
    wire::{self, RawClient, first_error},
};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until nobody can connect any more.
async fn refused(address: SocketAddr) {
    let deadline = clock::now() + LIMIT;
    while TcpStream::connect(address).await.is_ok() {
        assert!(clock::now() < deadline, "it still accepts connections");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Tokens whose COMMIT was answered. Every COMMIT that is sent is answered, so nothing is in doubt.
#[derive(Default)]
struct Committed {
    acknowledged: Vec<String>,
}

impl Committed {
    fn add(&mut self, other: Committed) {
        self.acknowledged.extend(other.acknowledged);
    }

    /// Every acknowledged token is there, none twice, and none besides.
    fn expect_in(&self, mut found: Vec<String>) {
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), count, "a token is there twice");
        for token in &self.acknowledged {
            assert!(
                found.binary_search(token).is_ok(),
                "{token} was acknowledged, and is lost"
            );
        }
        assert_eq!(
            found.len(),
            self.acknowledged.len(),
            "a token that was not acknowledged is there"
        );
        assert!(!self.acknowledged.is_empty());
    }
}

/// Transactions of three requests until the connection ends. A transaction that has begun must not fail.
async fn commit_until_closed(mut client: RawClient, number: usize) -> Committed {
    let mut done = Committed::default();
    for turn in 0.. {
        let token = format!("{number}-{turn}");
        let insert = format!("INSERT INTO acknowledged VALUES ('{token}')");
        let begun = client.simple("BEGIN").await;
        if begun.is_err() || first_error(&begun.unwrap()).is_some() {
            break;
        }
        for sql in [insert.as_str(), "COMMIT"] {
            let answer = client.simple(sql).await;
            let answer = answer.unwrap_or_else(|error| panic!("{sql} of a transaction that had begun: {error}"));
            assert!(first_error(&answer).is_none(), "{sql}: {}", wire::describe(&answer));
        }
        done.acknowledged.push(token);
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_everybody_at_a_border() {
    if is_direct() {
        return;
    }
    let mut site = Site::start(Plan {
        connections: 8,
        ..Plan::default()
    })
    .await;
    let sql = "CREATE TABLE acknowledged (token text); GRANT ALL ON acknowledged TO PUBLIC";
    site.admin().await.batch_execute(sql).await.unwrap();
    let (mut idle, mut open, mut running) = (site.raw().await, site.raw().await, site.raw().await);
    idle.rows("SELECT 1").await;
    open.rows("BEGIN").await;
    let mut load = JoinSet::new();
    for number in 0..24 {
        load.spawn(commit_until_closed(site.raw().await, number));
    }
    running
        .send(&wire::query("SELECT pg_sleep(1.5), 'finished'"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let address = site.address();
    let mut gateway = site.gateway.take().unwrap();
    gateway.signal("TERM");
    refused(address).await;

    // Nobody new comes in, and who is in a transaction goes on.
    for sql in ["INSERT INTO acknowledged VALUES ('open')", "COMMIT"] {
        let answer = open.simple(sql).await.unwrap();
        assert!(first_error(&answer).is_none(), "{sql}: {}", wire::describe(&answer));
    }
    let answer = running.until(b'Z').await.unwrap();
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
    for client in [&mut idle, &mut open, &mut running] {
        let told = client.until_closed(LIMIT).await.unwrap();
        let told: Vec<_> = told.iter().filter_map(wire::Message::sqlstate).collect();
        assert_eq!(told, ["57P01"]);
    }
    let mut committed = Committed::default();
    committed.acknowledged.push("open".to_owned());
    while let Some(client) = load.join_next().await {
        committed.add(client.unwrap());
    }
    let status = process_end(&mut gateway);
    assert!(status.success(), "{status}");
    let rows = site
        .admin()
        .await
        .query("SELECT token FROM acknowledged", &[])
        .await
        .unwrap();
    committed.expect_in(rows.iter().map(|row| row.get(0)).collect());
}

/// Waits for a process that has had its signal.
fn process_end(gateway: &mut Gateway) -> std::process::ExitStatus {
    gateway.wait(LIMIT).expect("it ends by itself")
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    if is_direct() {
        return;
    }
    let plan = Plan::default();
    let mut site = Site::start(plan.clone()).await;
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority);
    site.gateway = Some(Gateway::start_with(&metadata, &["--drain-timeout", "0.5"], &[]));
    let mut open = site.raw().await;
    open.rows("BEGIN").await;
    let mut running = site.raw().await;
    running.send(&wire::query("SELECT pg_sleep(600)")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut gateway = site.gateway.take().unwrap();
    gateway.signal("TERM");
    let status = process_end(&mut gateway);
    assert!(status.success(), "{status}");
    assert!(gateway.log().contains("transactions were cut off"), "{}", gateway.log());
    gone(&site).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once() {
    if is_direct() {
        return;
    }
    let mut site = Site::start(Plan::default()).await;
    let mut open = site.raw().await;
    open.rows("BEGIN").await;
    let address = site.address();
    let mut gateway = site.gateway.take().unwrap();
    gateway.signal("TERM");
    refused(address).await;
    assert!(gateway.is_running(), "a transaction is open, and a minute is allowed");
    gateway.signal("TERM");
    // Of the minute of drain_timeout that the first one allows.
    let status = gateway.wait(Duration::from_secs(20)).expect("it ends at once");
    assert!(status.success(), "{status}");
    gone(&site).await;
}

#[tokio::test]
async fn after_sigkill_no_session_stays() {
    if is_direct() {
        return;
    }
    let mut site = Site::start(Plan {
        connections: 4,
        ..Plan::default()
    })
    .await;
    let (mut one, mut two) = (site.raw().await, site.raw().await);
    one.rows("BEGIN").await;
    two.rows("SELECT 1").await;
    let mut gateway = site.gateway.take().unwrap();
    gateway.signal("KILL");
    gateway.wait(LIMIT).expect("nobody survives it");
    gone(&site).await;
}

/// Waits until the database has no session of the gateway any more.
async fn gone(site: &Site) {
    let deadline = clock::now() + LIMIT;
    while site.server_connections().await > 0 {
        assert!(clock::now() < deadline, "sessions are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tds_gateway(server: &StandIn, connections: u32, arguments: &[&str]) -> Gateway {
    let string = format!(
        "Server=tcp:127.0.0.1,{};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};Encrypt=no",
        server.port()
    );
    let connection = json!({ "connection_string": string, "pool_settings": { "max_connections": connections } });
    let metadata = Metadata::new()
        .source(json!({ "name": DATABASE, "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }))
        .user(json!({ "name": LOGIN, "password": PASSWORD, "sources": "*" }))
        .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
    Gateway::start_with(&metadata, arguments, &[])
}

fn stand_in() -> StandIn {
    let server = StandIn::start(Options {
        encryption: Encryption::Unsupported,
        ..Options::default()
    });
    server.execute("CREATE TABLE acknowledged (token nvarchar(50))");
    server
}

fn failed(answer: &[String]) -> bool {
    answer.iter().any(|line| line.starts_with("error "))
}

/// As [`commit_until_closed`], over TDS, where a transaction begins at the server with its first statement: up to there
/// it is not running.
async fn commit_over_tds_until_closed(mut client: TdsClient, number: usize) -> Committed {
    let mut done = Committed::default();
    for turn in 0.. {
        let token = format!("{number}-{turn}");
        let insert = format!("INSERT INTO acknowledged VALUES ('{token}')");
        match client.try_batch("BEGIN TRAN").await {
            Ok(answer) if !failed(&answer) => {}
            _ => break,
        }
        match client.try_batch(&insert).await {
            Ok(answer) if !failed(&answer) => {}
            _ => break,
        }
        let answer = client.try_batch("COMMIT TRAN").await;
        let answer = answer.unwrap_or_else(|error| panic!("COMMIT of a transaction that runs: {error}"));
        assert!(!failed(&answer), "{answer:?}");
        done.acknowledged.push(token);
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_clients_of_sql_server_at_a_border() {
    let _turn = turn::light();
    let server = stand_in();
    let mut gateway = tds_gateway(&server, 6, &[]);
    let address = gateway.address("tds");
    let (mut idle, mut open) = (TdsClient::connect(address).await, TdsClient::connect(address).await);
    idle.batch("SELECT 1").await;
    open.batch("BEGIN TRAN").await;
    open.batch("INSERT INTO acknowledged VALUES ('open')").await;
    let mut load = JoinSet::new();
    for number in 0..12 {
        load.spawn(commit_over_tds_until_closed(TdsClient::connect(address).await, number));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.signal("TERM");
    refused(address).await;
    let answer = open.batch("COMMIT TRAN").await;
    assert!(!failed(&answer), "{answer:?}");
    for client in [&mut idle, &mut open] {
        let told = tokio::time::timeout(LIMIT, client.read()).await.unwrap().unwrap();
        assert!(failed(&told), "{told:?}");
        let more = tokio::time::timeout(LIMIT, client.read()).await.unwrap();
        assert!(more.is_err(), "{more:?}");
    }
    let mut committed = Committed::default();
    committed.acknowledged.push("open".to_owned());
    while let Some(client) = load.join_next().await {
        committed.add(client.unwrap());
    }
    let status = process_end(&mut gateway);
    assert!(status.success(), "{status}");
    let rows = server.execute("SELECT token FROM acknowledged");
    committed.expect_in(rows.into_iter().filter_map(|mut row| row.remove(0)).collect());
}

#[tokio::test]
async fn a_second_sigterm_and_sigkill_leave_no_session_of_sql_server() {
    let _turn = turn::light();
    let server = stand_in();
    for kill in [false, true] {
        let mut gateway = tds_gateway(&server, 4, &[]);
        let address = gateway.address("tds");
        let mut open = TdsClient::connect(address).await;
        open.batch("BEGIN TRAN").await;
        open.batch("INSERT INTO acknowledged VALUES ('open')").await;
        if kill {
            gateway.signal("KILL");
        } else {
            gateway.signal("TERM");
            refused(address).await;
            assert!(gateway.is_running());
            gateway.signal("TERM");
        }
        gateway.wait(Duration::from_secs(20)).expect("it ends at once");
        let deadline = clock::now() + LIMIT;
        while server.open_sessions() > 0 {
            assert!(clock::now() < deadline, "sessions are left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(server.execute("SELECT token FROM acknowledged").is_empty());
    }
}

/// Sources in a file that nobody writes to: reading it hangs, as on a disk that does not answer.
#[tokio::test]
async fn sigterm_is_obeyed_during_a_start_that_hangs() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let folder = tempfile::tempdir().unwrap();
    Metadata::new().loopback().write(folder.path());
    let sources = folder.path().join("databases/databases.yaml");
    std::fs::remove_file(&sources).unwrap();
    let made = Command::new("mkfifo").arg(&sources).status().unwrap();
    assert!(made.success());
    for signal in ["TERM", "INT"] {
        let mut child = Command::new(gateway::program())
            .arg("serve")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let watchdog = Watchdog::over(Some(&child), &folder.path().join("nothing"));
        let mut stderr = child.stderr.take().unwrap();
        let mut said = Vec::new();
        // It has said that it starts: from then on it hears signals.
        while !String::from_utf8_lossy(&said).contains("weir starts") {
            let mut some = [0; 256];
            let count = std::io::Read::read(&mut stderr, &mut some).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&some[..count]);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(child.try_wait().unwrap().is_none(), "it hangs");
        process::signal(&child, signal);
        let status = process::wait(&mut child, LIMIT);
        if status.is_none() {
            let _ = child.kill();
        }
        watchdog.dismiss();
        assert!(status.expect("it ends").success());
    }
}
