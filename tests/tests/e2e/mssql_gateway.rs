//! SQL Server through the gateway: what belongs to a client stays with it, and what it leaves goes.

use std::time::Duration;

use futures_util::{TryStreamExt as _, future};
use serde_json::json;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryItem};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_tests::{
    gateway::Gateway,
    metadata::Metadata,
    mssql::{DATABASE, Encryption, Kind, LOGIN, Options, PASSWORD, RequestKind, StandIn},
    turn,
};

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn server(kind: Kind) -> StandIn {
    let server = StandIn::start(Options {
        kind,
        encryption: Encryption::Unsupported,
        ..Options::default()
    });
    server.execute_script(include_str!("../../drivers/mssql.sql"));
    server
}

/// A gateway with so many connections, whose clients name the database as the server does.
pub(crate) fn gateway_with(
    server: &StandIn,
    max_connections: u32,
    gateway: impl FnOnce(Metadata) -> Metadata,
) -> Gateway {
    let connection_string = format!(
        "Driver={{ODBC Driver 18 for SQL Server}};Server=tcp:127.0.0.1,{};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};Encrypt=no",
        server.port()
    );
    let connection =
        json!({ "connection_string": connection_string, "pool_settings": { "max_connections": max_connections } });
    let metadata = Metadata::new()
        .source(json!({ "name": DATABASE, "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }))
        .user(json!({ "name": LOGIN, "password": PASSWORD, "sources": "*" }))
        .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
    Gateway::start(&gateway(metadata))
}

fn gateway(server: &StandIn, max_connections: u32) -> Gateway {
    gateway_with(server, max_connections, |metadata| metadata)
}

type Tiberius = Client<Compat<TcpStream>>;

async fn connect(gateway: &Gateway) -> Tiberius {
    let mut config = Config::new();
    let address = gateway.address("tds");
    config.host("127.0.0.1");
    config.port(address.port());
    config.authentication(AuthMethod::sql_server(LOGIN, PASSWORD));
    config.database(DATABASE);
    config.encryption(EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    Client::connect(config, socket.compat_write()).await.unwrap()
}

async fn run_batch(client: &mut Tiberius, text: &str) {
    let stream = client.simple_query(text).await.unwrap();
    stream.into_results().await.unwrap();
}

async fn number(client: &mut Tiberius, text: &str) -> i32 {
    let mut stream = client.simple_query(text).await.unwrap();
    let mut found = None;
    while let Some(item) = stream.try_next().await.unwrap() {
        if let QueryItem::Row(row) = item {
            found = row.get(0);
        }
    }
    found.unwrap()
}

const ISOLATION: &str =
    "SELECT CAST(transaction_isolation_level AS int) FROM sys.dm_exec_sessions WHERE session_id = @@SPID";

#[tokio::test]
async fn settings_and_isolation_level_belong_to_their_client() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        let gateway = gateway(&server, 1);
        let (mut one, mut two) = (connect(&gateway).await, connect(&gateway).await);
        run_batch(
            &mut one,
            "SET DATEFIRST 3; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        )
        .await;
        for _ in 0..3 {
            assert_eq!(number(&mut one, "SELECT CAST(@@DATEFIRST AS int)").await, 3);
            assert_eq!(number(&mut two, "SELECT CAST(@@DATEFIRST AS int)").await, 7, "{kind:?}");
            assert_eq!(number(&mut one, ISOLATION).await, 4);
            assert_eq!(number(&mut two, ISOLATION).await, 2);
        }
        assert_eq!(server.most_sessions(), 1);
    }
}

#[tokio::test]
async fn transactions_share_connections_and_never_mix() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        server.execute("INSERT INTO accounts VALUES (1, 0)");
        let gateway = gateway(&server, 2);
        let clients = (0..8).map(|index| {
            let gateway = &gateway;
            async move {
                let mut client = connect(gateway).await;
                for round in 0..5 {
                    run_batch(&mut client, "BEGIN TRAN").await;
                    run_batch(&mut client, "UPDATE accounts SET balance = balance + 1 WHERE owner = 1").await;
                    let end = if (index + round) % 4 == 0 {
                        "ROLLBACK TRAN"
                    } else {
                        "COMMIT TRAN"
                    };
                    run_batch(&mut client, end).await;
                    assert_eq!(number(&mut client, "SELECT @@TRANCOUNT").await, 0);
                }
            }
        });
        tokio::time::timeout(LIMIT, future::join_all(clients)).await.unwrap();
        let balance = server.execute("SELECT balance FROM accounts WHERE owner = 1");
        assert_eq!(balance, [[Some("30".to_owned())]], "{kind:?}");
        assert!(server.most_sessions() <= 2);
    }
}

#[tokio::test]
async fn what_lives_in_a_session_stays_with_its_client() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        let gateway = gateway(&server, 2);
        let (mut one, mut two) = (connect(&gateway).await, connect(&gateway).await);
        run_batch(&mut one, "CREATE TABLE #mine (id int); INSERT INTO #mine VALUES (7)").await;
        for _ in 0..3 {
            assert_eq!(number(&mut one, "SELECT id FROM #mine").await, 7);
            let stranger = two.simple_query("SELECT id FROM #mine").await;
            let failed = match stranger {
                Ok(stream) => stream.into_results().await.is_err(),
                Err(_) => true,
            };
            assert!(failed, "{kind:?}: somebody else's table");
        }
        drop(one);
        // Its connection is reset before it goes to anybody else.
        for _ in 0..4 {
            let stranger = match two.simple_query("SELECT id FROM #mine").await {
                Ok(stream) => stream.into_results().await.is_err(),
                Err(_) => true,
            };
            assert!(stranger);
        }
    }
}

#[tokio::test]
async fn a_request_beyond_query_timeout_is_interrupted_and_its_client_stays() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let gateway = gateway_with(&server, 1, |metadata| metadata.defaults(json!({ "query_timeout": 1 })));
    let mut client = connect(&gateway).await;
    let outcome = match client.simple_query("WAITFOR DELAY '00:00:30'").await {
        Ok(stream) => stream.into_results().await.map(|_| ()),
        Err(error) => Err(error),
    };
    let error = outcome.expect_err("it takes longer than it may").to_string();
    assert!(error.contains("query_timeout"), "{error}");
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    assert!(
        server
            .requests()
            .iter()
            .any(|(_, request)| request.kind == RequestKind::Attention)
    );
}

#[tokio::test]
async fn an_idle_transaction_is_rolled_back_and_its_client_is_told() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        server.execute("INSERT INTO accounts VALUES (1, 0)");
        let gateway = gateway_with(&server, 1, |metadata| {
            metadata.defaults(json!({ "idle_in_transaction_timeout": 1 }))
        });
        let (mut one, mut two) = (connect(&gateway).await, connect(&gateway).await);
        run_batch(&mut one, "BEGIN TRAN").await;
        run_batch(&mut one, "UPDATE accounts SET balance = 5 WHERE owner = 1").await;
        // Waits for the connection that the idle one holds.
        assert_eq!(
            number(&mut two, "SELECT balance FROM accounts WHERE owner = 1").await,
            0
        );
        let told = match one.simple_query("COMMIT TRAN").await {
            Ok(stream) => stream.into_results().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = told.expect_err("it was rolled back").to_string();
        assert!(error.contains("idle_in_transaction_timeout"), "{kind:?}: {error}");
        assert_eq!(number(&mut one, "SELECT @@TRANCOUNT").await, 0);
    }
}

/// Who is known to ask for `@@ROWCOUNT` comes first with that, ahead of the gateway's own question whether a transaction is
/// open: until somebody has asked, the limits of transactions count.
#[tokio::test]
async fn a_transaction_that_nobody_has_asked_about_counts_as_one() {
    let _turn = turn::light();
    for limit in ["idle_in_transaction_timeout", "transaction_timeout"] {
        let server = server(Kind::Probe);
        server.execute("INSERT INTO accounts VALUES (1, 0)");
        let gateway = gateway_with(&server, 1, |metadata| {
            let mut defaults = json!({ "session_functions": "pin" });
            defaults[limit] = json!(1);
            metadata.defaults(defaults)
        });
        let (mut one, mut two) = (connect(&gateway).await, connect(&gateway).await);
        run_batch(&mut one, "BEGIN TRAN; UPDATE accounts SET balance = 5 WHERE owner = 1").await;
        assert_eq!(
            number(&mut two, "SELECT balance FROM accounts WHERE owner = 1").await,
            0,
            "{limit}"
        );
        let told = match one.simple_query("COMMIT TRAN").await {
            Ok(stream) => stream.into_results().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = told.expect_err("it was rolled back").to_string();
        assert!(error.contains(limit), "{error}");
        // Where none is open nothing happens, but that the connection is there for others.
        run_batch(
            &mut one,
            "IF @@TRANCOUNT > 5 COMMIT; UPDATE accounts SET balance = 6 WHERE owner = 1",
        )
        .await;
        assert_eq!(
            number(&mut two, "SELECT balance FROM accounts WHERE owner = 1").await,
            6
        );
        assert_eq!(
            number(&mut one, "SELECT balance FROM accounts WHERE owner = 1").await,
            6
        );
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        server.execute("INSERT INTO accounts VALUES (1, 0)");
        let gateway = gateway(&server, 1);
        for _ in 0..3 {
            let mut client = connect(&gateway).await;
            run_batch(&mut client, "BEGIN TRAN").await;
            run_batch(
                &mut client,
                "UPDATE accounts SET balance = 5 WHERE owner = 1; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            )
            .await;
            drop(client);
            let mut next = connect(&gateway).await;
            let balance = number(&mut next, "SELECT balance FROM accounts WHERE owner = 1").await;
            assert_eq!(balance, 0, "{kind:?}");
            assert_eq!(number(&mut next, ISOLATION).await, 2);
        }
    }
}

#[tokio::test]
async fn parameters_and_large_values_pass() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let gateway = gateway(&server, 2);
    let mut client = connect(&gateway).await;
    let long = "ü".repeat(300_000);
    let stream = client.query("SELECT @P1", &[&long.as_str()]).await.unwrap();
    let row = stream.into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>(0).map(str::len), Some(long.len()));
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
}
