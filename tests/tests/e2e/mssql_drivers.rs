//! Drivers of SQL Server, unchanged, through the gateway in transaction mode: more clients at a time than server connections,
//! and each believes that it is alone.

use std::time::Duration;

use futures_util::future;
use serde_json::json;
use tiberius::EncryptionLevel;
use tokio::sync::Semaphore;
use weir_tests::{
    gateway::Gateway,
    mssql::{Faults, Kind, StandIn},
    process, turn,
};

use crate::{
    mssql_gateway::{gateway_with, server},
    mssql_scripts::{LIMIT, MSSQL_TDS, MSSQL_TDS_CRATE, SCRIPTS, Target, Tiberius, expect_end, tiberius_script},
};

/// Instances of each driver's script at a time.
const INSTANCES: usize = 3;

/// The gateway before a stand-in, with so many server connections.
struct Site {
    server: StandIn,
    gateway: Gateway,
    kind: Kind,
    connections: u32,
}

impl Site {
    fn start(kind: Kind, connections: u32) -> Site {
        let server = server(kind);
        // Clients wait for each other, on machines of all kinds; a deadlock still fails.
        let gateway = gateway_with(&server, connections, |metadata| {
            metadata.defaults(json!({ "pool_timeout": 60 }))
        });
        Site {
            server,
            gateway,
            kind,
            connections,
        }
    }

    fn target(&self) -> Target<'_> {
        Target {
            address: self.gateway.address("tds"),
            server: &self.server,
            kind: self.kind,
            certificate: &self.server.certificate,
            encrypt: "no",
        }
    }

    /// No more server connections than there may be, and nobody's transaction in one of them.
    fn expect_frugality(&self) {
        let most = self.server.most_sessions();
        assert!(most <= self.connections as usize, "{most} server connections");
        let sessions = self.server.sessions();
        let open: Vec<_> = sessions.iter().filter(|session| session.open).collect();
        assert!(open.iter().all(|session| session.transaction_count == 0), "{open:#?}");
    }
}

/// Several instances of a driver's script over two server connections.
async fn run(name: &str) {
    let _turn = turn::light();
    let site = Site::start(Kind::SqlServer, 2);
    site.target().run_all([name; INSTANCES]).await;
    site.expect_frugality();
}

#[tokio::test]
async fn tedious() {
    run("tedious_script.mjs").await;
}

#[tokio::test]
async fn mssql_of_npm() {
    run("mssql_script.mjs").await;
}

#[tokio::test]
async fn pymssql() {
    run("pymssql_script.py").await;
}

#[tokio::test]
async fn pytds() {
    run("pytds_script.py").await;
}

#[tokio::test]
async fn mssql_python() {
    run("mssql_python_script.py").await;
}

#[tokio::test]
async fn mssql_tds() {
    run(MSSQL_TDS).await;
}

#[tokio::test]
async fn mssql_tds_crate() {
    run(MSSQL_TDS_CRATE).await;
}

#[tokio::test]
async fn freebcp() {
    let _turn = turn::light();
    let site = Site::start(Kind::SqlServer, 2);
    let target = site.target();
    future::join_all((1..=INSTANCES).map(|owner| target.freebcp(owner))).await;
    site.expect_frugality();
}

#[tokio::test]
async fn tiberius() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let site = Site::start(kind, 2);
        let target = site.target();
        let clients = [
            EncryptionLevel::NotSupported,
            EncryptionLevel::Off,
            EncryptionLevel::Required,
        ];
        let clients = (1..).zip(clients).map(|(me, encryption)| async move {
            let mut client = target.tiberius(encryption).await;
            tiberius_script(&mut client, me).await.unwrap();
        });
        future::join_all(clients).await;
        site.expect_frugality();
    }
}

#[tokio::test]
async fn encrypted() {
    let _turn = turn::light();
    let site = Site::start(Kind::SqlServer, 2);
    let target = Target {
        encrypt: "yes",
        ..site.target()
    };
    target
        .run_all([
            "tedious_script.mjs",
            "mssql_script.mjs",
            "mssql_python_script.py",
            MSSQL_TDS,
            MSSQL_TDS_CRATE,
        ])
        .await;
    site.expect_frugality();
}

/// TDS 8.0: TLS from the first byte on, with a certificate that the drivers check.
#[tokio::test]
async fn strictly_encrypted() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let identity = server.authority.issue("localhost", &["localhost", "127.0.0.1"]);
    let ssl = json!({ "sslmode": "strict", "sslcert": identity.certificate, "sslkey": identity.key });
    let gateway = gateway_with(&server, 2, |metadata| {
        metadata.listener(
            json!({ "name": "strict", "kind": "mssql", "host": "127.0.0.1", "port": 0, "ssl_configuration": ssl }),
        )
    });
    let target = Target {
        address: gateway.address("strict"),
        server: &server,
        kind: Kind::SqlServer,
        certificate: &identity.certificate,
        encrypt: "strict",
    };
    target
        .run_all([
            "tedious_script.mjs",
            "mssql_python_script.py",
            MSSQL_TDS_CRATE,
            "tedious_script.mjs",
            "mssql_python_script.py",
            MSSQL_TDS_CRATE,
        ])
        .await;
}

/// Answers in short packets, and acknowledgements of Attentions that come late.
#[tokio::test]
async fn a_server_that_answers_slowly_and_in_pieces() {
    let _turn = turn::light();
    let site = Site::start(Kind::SqlServer, 2);
    site.server.inflict(Faults {
        short_packets: Some(7),
        late_attention: Some(Duration::from_millis(500)),
        ..Faults::default()
    });
    // (pytds reads beyond the end of a short packet)
    let names = SCRIPTS.into_iter().filter(|name| !name.starts_with("pytds"));
    site.target().run_all(names.chain([MSSQL_TDS, MSSQL_TDS_CRATE])).await;
    site.server.inflict(Faults::default());
    site.expect_frugality();
}

/// Whatever a server connection was before, it becomes what its next client expects.
#[tokio::test]
async fn all_of_them_over_a_single_server_connection() {
    let _turn = turn::light();
    let site = Site::start(Kind::SqlServer, 1);
    site.target()
        .run_all(SCRIPTS.into_iter().chain([MSSQL_TDS, MSSQL_TDS_CRATE]))
        .await;
    site.expect_frugality();
}

#[tokio::test]
async fn on_a_server_that_must_be_asked_for_transactions() {
    let _turn = turn::light();
    for connections in [2, 1] {
        let site = Site::start(Kind::Probe, connections);
        site.target().run_all(SCRIPTS).await;
        site.expect_frugality();
    }
}

/// Six connections, never closed and never out of a transaction as their driver sees it, take turns on one.
#[tokio::test]
async fn clients_that_are_always_in_a_transaction_share_a_server_connection() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        for driver in ["pytds", "pymssql", "mssql_python"] {
            let site = Site::start(kind, 1);
            let command = site.target().command("mssql_many.py", driver);
            expect_end(&process::run(command, LIMIT).await, driver);
            site.expect_frugality();
        }
    }
}

const CLIENTS: i32 = 200;
const ROUNDS: i32 = 5;

/// Two hundred clients of tiberius, and three applications with every other driver beside them.
#[tokio::test]
async fn two_hundred_clients_on_five_server_connections() {
    let _turn = turn::heavy();
    let site = Site::start(Kind::SqlServer, 5);
    site.server
        .execute("INSERT INTO accounts (owner, balance) VALUES (0, 0)");
    let target = site.target();
    // A login is work, on purpose, and has 15 s.
    let logins = Semaphore::new(20);
    let clients = future::join_all((0..CLIENTS).map(|me| alone(target, &logins, 1000 + me)));
    let others = [[MSSQL_TDS; 3], [MSSQL_TDS_CRATE; 3]].concat();
    let scripts = target.run_all([SCRIPTS; 3].concat().into_iter().chain(others));
    let all = future::join3(clients, scripts, target.freebcp(700));
    tokio::time::timeout(LIMIT, all).await.expect("all of them end");
    let balance = site.server.execute("SELECT balance FROM accounts WHERE owner = 0");
    assert_eq!(
        balance,
        [[Some((CLIENTS * ROUNDS).to_string())]],
        "no increment is lost"
    );
    site.expect_frugality();
}

/// One client that looks whether it is alone: its settings, its transaction, its rows, its table, its identity.
async fn alone(target: Target<'_>, logins: &Semaphore, me: i32) {
    let turn = logins.acquire().await.unwrap();
    let mut client = target.tiberius(EncryptionLevel::NotSupported).await;
    drop(turn);
    let first_day = me % 7 + 1;
    batch(&mut client, &format!("SET DATEFIRST {first_day}")).await;
    for round in 0..ROUNDS {
        assert_eq!(number(&mut client, "SELECT CAST(@@DATEFIRST AS int)").await, first_day);
        batch(&mut client, "BEGIN TRAN").await;
        let session = number(&mut client, "SELECT CAST(@@SPID AS int)").await;
        batch(&mut client, "UPDATE accounts SET balance = balance + 1 WHERE owner = 0").await;
        let name = format!("{me} in round {round}");
        client
            .execute(
                "INSERT INTO items (owner, name) VALUES (@P1, @P2)",
                &[&me, &name.as_str()],
            )
            .await
            .unwrap();
        let sql = "SELECT CAST(@@SPID AS int) WHERE @@TRANCOUNT = 1";
        assert_eq!(
            number(&mut client, sql).await,
            session,
            "{me}: one session for one transaction"
        );
        batch(&mut client, "COMMIT TRAN").await;
        let asked = client
            .query("SELECT name FROM items WHERE owner = @P1 ORDER BY id DESC", &[&me])
            .await;
        let rows = asked.unwrap().into_first_result().await.unwrap();
        assert_eq!(rows.len() as i32, round + 1);
        assert_eq!(rows[0].get::<&str, _>(0), Some(name.as_str()));
    }
    if me % 20 == 0 {
        batch(
            &mut client,
            &format!("CREATE TABLE #mine (me int); INSERT INTO #mine VALUES ({me})"),
        )
        .await;
        assert_eq!(number(&mut client, "SELECT me FROM #mine").await, me);
    }
    client.close().await.unwrap();
}

async fn batch(client: &mut Tiberius, sql: &str) {
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
}

async fn number(client: &mut Tiberius, sql: &str) -> i32 {
    let row = client.simple_query(sql).await.unwrap().into_row().await.unwrap();
    row.unwrap_or_else(|| panic!("no row: {sql}")).get(0).unwrap()
}
