//! The console for SQL Server's clients, and what it tells of those that keep their connections.

use serde_json::json;
use weir_tests::{
    gateway::Gateway,
    http::Http,
    mssql::{
        DATABASE, Faults, Kind, LOGIN, PASSWORD, StandIn,
        client::{Call, Credentials, Lines, RawClient},
    },
    process,
    prometheus::Scrape,
};

use super::{
    mssql_gateway::{gateway_with, server},
    mssql_scripts::{LIMIT, Target, expect_end},
};

const BOSS: &str = "boss";
const WATCHER: &str = "watcher";
const SECRET: &str = "Secret-of-an-administrator-1";

fn gateway(server: &StandIn) -> Gateway {
    gateway_with(server, 2, |metadata| {
        metadata
            .user(json!({ "name": BOSS, "password": SECRET, "sources": [], "role": "admin" }))
            .user(json!({ "name": WATCHER, "password": SECRET, "sources": [], "role": "stats" }))
            .defaults(json!({ "pin_notice": true }))
    })
}

async fn log_in(gateway: &Gateway, user: &str, password: &str, database: &str) -> Result<RawClient, String> {
    let credentials = Credentials {
        user,
        password,
        database,
        ..Credentials::default()
    };
    let logged_in = RawClient::log_in(gateway.address("tds"), &credentials).await;
    let (client, lines) = logged_in.map_err(|error| error.to_string())?;
    match lines.iter().find(|line| line.starts_with("error")) {
        Some(refused) => Err(refused.clone()),
        None => Ok(client),
    }
}

async fn console(gateway: &Gateway, user: &str) -> RawClient {
    log_in(gateway, user, SECRET, "weir").await.expect("the console")
}

/// Waits until the console shows a row with all of this.
async fn settled(console: &mut RawClient, command: &str, wanted: &[&str]) -> Lines {
    for _ in 0..400 {
        let lines = console.batch(command).await;
        let fits = |line: &&String| line.starts_with("row") && wanted.iter().all(|part| line.contains(part));
        if lines.iter().any(|line| fits(&line)) {
            return lines;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{command} never shows {wanted:?}: {:?}", console.batch(command).await);
}

/// Waits until one login was refused for this reason: it is counted when its connection is closed.
async fn refused_once(gateway: &Gateway, reason: &str) {
    let http = Http::new(gateway.http());
    for _ in 0..400 {
        let scrape = Scrape::read(&http.get("/v1/metrics").await.text);
        if scrape.values("weir_login_refusals_total", &[("reason", reason)]) == [1.0] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("no login was refused for {reason}");
}

#[tokio::test]
async fn who_may_look_who_may_act_and_who_may_not_come() {
    let server = server(Kind::SqlServer);
    let gateway = gateway(&server);
    let refused = log_in(&gateway, LOGIN, PASSWORD, "weir").await.unwrap_err();
    assert!(refused.contains("916") && refused.contains("role: admin"), "{refused}");
    let refused = log_in(&gateway, BOSS, "wrong", "weir").await.unwrap_err();
    assert!(refused.contains("18456"), "{refused}");
    refused_once(&gateway, "permission_denied").await;
    refused_once(&gateway, "authentication").await;
    let mut client = log_in(&gateway, LOGIN, PASSWORD, DATABASE).await.unwrap();
    client.batch("SELECT 1").await;
    let mut watcher = console(&gateway, WATCHER).await;
    for topic in [
        "CLIENTS",
        "CONFIG",
        "DATABASES",
        "HELP",
        "PINS",
        "PIN_TOTALS",
        "POOLS",
        "SERVERS",
        "STATS",
        "VERSION",
        "WAITS",
    ] {
        let lines = watcher.batch(&format!("SHOW {topic}")).await;
        assert!(lines[0].starts_with("columns"), "{topic}: {lines:?}");
        let all = lines.join("\n");
        assert!(!all.contains(PASSWORD) && !all.contains(SECRET), "{topic}: {all}");
    }
    let denied = watcher.batch("KILL_CLIENT 1").await.join("\n");
    assert!(denied.contains("229"), "{denied}");
    let mut boss = console(&gateway, BOSS).await;
    let unknown = boss.batch("KILL_CLIENT 999999").await.join("\n");
    assert!(unknown.contains("6106"), "{unknown}");
    let call = Call::id(10).text("", "SHOW VERSION");
    let called = boss.call(call.body()).await.join("\n");
    assert!(called.contains("row") && called.contains("status 0"), "{called}");
}

#[tokio::test]
async fn who_keeps_its_connection_is_shown_and_told() {
    let server = server(Kind::SqlServer);
    let gateway = gateway(&server);
    let mut boss = console(&gateway, BOSS).await;
    let mut client = log_in(&gateway, LOGIN, PASSWORD, DATABASE).await.unwrap();
    client
        .batch("CREATE TABLE #kept (i int, secret nvarchar(50) DEFAULT 'canary-4711')")
        .await;
    let pins = settled(&mut boss, "SHOW PINS", &["temporary table", "CREATE TABLE #KEPT"]).await;
    assert!(!pins.join("\n").contains("canary"), "{pins:?}");
    let told = client.batch("SELECT 1").await.join("\n");
    assert!(
        told.contains("keeps its server connection: temporary table") && told.contains("row 1"),
        "{told}"
    );
    let told = client.batch("SELECT 1").await.join("\n");
    assert!(!told.contains("connection"), "told twice: {told}");
    let log = gateway.log();
    assert!(
        log.contains("client keeps its server connection") && !log.contains("canary-4711"),
        "{log}"
    );
}

#[tokio::test]
async fn drivers_reach_the_console() {
    let server = server(Kind::SqlServer);
    let gateway = gateway(&server);
    let target = Target {
        address: gateway.address("tds"),
        ..Target::directly(&server)
    };
    for script in ["mssql_console.py", "mssql_console.mjs"] {
        let mut command = target.command(script, "1");
        command.env("MSSQL_USER", BOSS).env("MSSQL_PASSWORD", SECRET);
        expect_end(&process::run(command, LIMIT).await, script);
    }
}

#[tokio::test]
async fn a_handle_that_the_server_has_lost_is_prepared_again() {
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        let gateway = gateway_with(&server, 1, |metadata| metadata);
        let mut client = log_in(&gateway, LOGIN, PASSWORD, DATABASE).await.unwrap();
        let prepare = Call::id(11).int("", None, true).text("", "").text("", "SELECT 4711");
        client.call(prepare.body()).await;
        server.inflict(Faults {
            forgotten_handles: true,
            ..Faults::default()
        });
        for _ in 0..3 {
            let answer = client
                .call(Call::id(12).int("", Some(1), false).body())
                .await
                .join("\n");
            assert!(
                answer.contains("4711") && !answer.contains("error"),
                "{kind:?}: {answer}"
            );
        }
    }
}
