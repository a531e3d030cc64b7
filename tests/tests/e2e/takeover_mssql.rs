//! Clients of SQL Server at rest go on in the process that takes over, with everything that is theirs.

use std::{path::Path, time::Duration};

use futures_util::future;
use serde_json::json;
use tiberius::EncryptionLevel;
use weir_tests::{
    clock,
    gateway::Gateway,
    mssql::{
        Kind, StandIn,
        client::{Call, Credentials, RawClient},
    },
    process,
    site::is_direct,
    turn,
};

use crate::{
    mssql_gateway::{gateway_with, server},
    mssql_scripts::{Target, Tiberius, expect_end},
};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// A begin and a commit that begins the next one, as transaction manager requests.
const BEGIN: &[u8] = &[5, 0, 0, 0];
const COMMIT_AND_BEGIN: &[u8] = &[7, 0, 0, 1, 0, 0];

/// A client with settings, a handle and, for every other one, a transaction in which nothing has happened.
struct Particular {
    client: RawClient,
    number: i32,
    handle: i32,
}

impl Particular {
    async fn new(gateway: &Gateway, number: i32) -> Particular {
        let credentials = Credentials {
            packet_size: if number % 3 == 0 { 8000 } else { 4096 },
            ..Credentials::default()
        };
        let login = RawClient::log_in(gateway.address("tds"), &credentials).await;
        let mut client = login.expect("it can log in").0;
        let text = format!(
            "SET LANGUAGE Deutsch; SET DATEFIRST {}; SET TEXTSIZE {}; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            number % 7 + 1,
            4096 + number
        );
        expect(&mut client, &text).await;
        let prepare = Call::id(11)
            .int("", None, true)
            .text("", "@a int")
            .text("", &format!("SELECT @a + {number}"));
        let lines = client.call(prepare.body()).await;
        let handle = lines.iter().find_map(|line| line.strip_prefix("return 0  "));
        let handle = handle.and_then(|handle| handle.parse().ok()).expect("a handle");
        if number % 2 == 0 {
            client.transaction(BEGIN).await;
            assert_ne!(client.descriptor(), 0);
        }
        let mut particular = Particular { client, number, handle };
        particular.is_itself().await;
        particular
    }

    async fn is_itself(&mut self) {
        let Particular { client, number, handle } = self;
        let options = "SELECT CAST(@@DATEFIRST AS int), @@TEXTSIZE, transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID";
        let lines = expect(client, options).await;
        let row = format!("row {} {} 4", *number % 7 + 1, 4096 + *number);
        assert!(lines.contains(&row), "{row} is not in {lines:?}");
        let lines = client
            .call(
                Call::id(12)
                    .int("", Some(*handle), false)
                    .int("", Some(1), false)
                    .body(),
            )
            .await;
        let row = format!("row {}", *number + 1);
        assert!(lines.contains(&row), "{row} is not in {lines:?}");
        if *number % 2 == 0 {
            assert!(expect(client, "SELECT @@TRANCOUNT").await.contains(&"row 1".to_owned()));
            // Nothing has happened in the next one.
            let lines = client.transaction(COMMIT_AND_BEGIN).await;
            assert!(!lines.iter().any(|line| line.starts_with("error ")), "{lines:?}");
        }
    }
}

async fn expect(client: &mut RawClient, sql: &str) -> Vec<String> {
    let answer = tokio::time::timeout(LIMIT, client.try_batch(sql))
        .await
        .expect("no hang");
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(
        !answer.iter().any(|line| line.starts_with("error ")),
        "{sql}: {answer:?}"
    );
    answer
}

async fn number(client: &mut Tiberius, text: &str) -> i32 {
    let row = client.query(text, &[]).await.unwrap().into_row().await.unwrap();
    row.unwrap().get(0).unwrap()
}

fn target<'a>(server: &'a StandIn, gateway: &Gateway, kind: Kind) -> Target<'a> {
    Target {
        address: gateway.address("tds"),
        server,
        kind,
        certificate: &server.certificate,
        encrypt: "no",
    }
}

fn ends(gateway: &mut Gateway) {
    let status = gateway
        .wait(LIMIT)
        .expect("nobody is left to wait for, although all are connected");
    assert!(status.success(), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_rest_go_on_in_the_new_process_and_the_old_one_ends() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        let mut old = gateway_with(&server, 6, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
        let target = target(&server, &old, kind);
        let mut clients = Vec::new();
        for number in 0..40 {
            clients.push(Particular::new(&old, number).await);
        }
        // Drivers without encryption, and with encryption of the login only.
        let mut drivers = Vec::new();
        for number in 1..=10 {
            let encryption = [EncryptionLevel::NotSupported, EncryptionLevel::Off][number % 2];
            let mut driver = target.tiberius(encryption).await;
            let text = format!("SET LOCK_TIMEOUT {number}");
            driver.simple_query(text).await.unwrap().into_results().await.unwrap();
            drivers.push((number as i32, driver));
        }
        let mut busy = Particular::new(&old, 41).await;
        expect(&mut busy.client, "BEGIN TRAN").await;
        let insert = "INSERT INTO accounts VALUES (41, 1)";
        expect(&mut busy.client, insert).await;

        let new = tokio::task::block_in_place(|| old.succeed());
        for client in &mut clients {
            client.is_itself().await;
        }
        assert!(old.is_running(), "a transaction runs in it");
        expect(&mut busy.client, "UPDATE accounts SET balance = 2 WHERE owner = 41").await;
        expect(&mut busy.client, "COMMIT TRAN").await;
        tokio::task::block_in_place(|| ends(&mut old));

        busy.is_itself().await;
        let balance = server.execute("SELECT balance FROM accounts WHERE owner = 41");
        assert_eq!(balance, [[Some("2".to_owned())]]);
        for (expected, driver) in &mut drivers {
            assert_eq!(number(driver, "SELECT @@LOCK_TIMEOUT").await, *expected);
        }
        for client in &mut clients {
            client.is_itself().await;
        }
        // A reset goes back to what the login was; a handle that is given back is gone; new ones are other numbers.
        let Particular { client, handle, .. } = &mut clients[7];
        let execute = Call::id(12).int("", Some(*handle), false).int("", Some(1), false);
        let prepare = Call::id(11).int("", None, true).text("", "").text("", "SELECT 1");
        let lines = client.call(prepare.body()).await;
        assert!(!lines.contains(&format!("return 0  {handle}")), "{lines:?}");
        client.call(Call::id(15).int("", Some(*handle), false).body()).await;
        let lines = client.call(execute.body()).await;
        assert!(lines.iter().any(|line| line.starts_with("error 8179")), "{lines:?}");
        let lines = client.batch_with(0x08, "SELECT CAST(@@DATEFIRST AS int)").await;
        assert!(lines.contains(&"row 7".to_owned()), "{lines:?}");
        // What runs is stopped in band.
        client.start(0, "WAITFOR DELAY '00:01:00'").await;
        client.attention().await.unwrap();
        let stopped = async {
            let is_acknowledged = |line: &String| line.starts_with("done 0020");
            while !client.read().await.unwrap().iter().any(is_acknowledged) {}
        };
        tokio::time::timeout(LIMIT, stopped).await.unwrap();
        drop(new);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_handed_over_stays_and_is_served() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let mut old = gateway_with(&server, 6, |metadata| metadata);
    let target = target(&server, &old, Kind::SqlServer);
    let mut encrypted = target.tiberius(EncryptionLevel::Required).await;
    let mut pinned = Particular::new(&old, 1).await;
    expect(
        &mut pinned.client,
        "CREATE TABLE #mine (x int); INSERT INTO #mine VALUES (5)",
    )
    .await;
    let mut waiting = Particular::new(&old, 3).await;
    waiting.client.start(0, "WAITFOR DELAY '00:00:02'; SELECT 6").await;

    let _new = tokio::task::block_in_place(|| old.succeed());
    assert_eq!(number(&mut encrypted, "SELECT 4").await, 4);
    assert!(
        expect(&mut pinned.client, "SELECT x FROM #mine")
            .await
            .contains(&"row 5".to_owned())
    );
    let lines = tokio::time::timeout(LIMIT, waiting.client.read())
        .await
        .unwrap()
        .unwrap();
    assert!(lines.contains(&"row 6".to_owned()), "{lines:?}");
    waiting.is_itself().await;
    assert!(old.is_running());
    drop(encrypted);
    // Without what kept it, it goes too.
    pinned.client.batch_with(0x08, "SELECT 1").await;
    tokio::task::block_in_place(|| ends(&mut old));
    assert!(
        expect(&mut pinned.client, "SELECT 8")
            .await
            .contains(&"row 8".to_owned())
    );
}

/// Drivers whose scripts stop in the middle, until the one process has followed the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_notice_nothing() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let mut old = gateway_with(&server, 3, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
    let target = target(&server, &old, Kind::SqlServer);
    let folder = tempfile::tempdir().unwrap();
    let scripts = ["takeover_pytds.py", "takeover_tedious.mjs"];
    let runs = scripts.map(|name| {
        let mut command = target.command(name, "1");
        command.env("WEIR_TEST_FOLDER", folder.path());
        tokio::spawn(async move { process::run(command, LIMIT).await })
    });
    for name in scripts {
        appears(&folder.path().join(format!("{name}.ready"))).await;
    }
    let new = tokio::task::block_in_place(|| old.succeed());
    tokio::task::block_in_place(|| ends(&mut old));
    std::fs::write(folder.path().join("go"), "").unwrap();
    for (outcome, name) in future::join_all(runs).await.into_iter().zip(scripts) {
        expect_end(&outcome.unwrap(), name);
    }
    drop(new);
}

async fn appears(path: &Path) {
    let deadline = clock::now() + LIMIT;
    while !path.exists() {
        assert!(clock::now() < deadline, "{} does not appear", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
