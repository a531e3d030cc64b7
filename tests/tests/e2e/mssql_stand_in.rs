//! The stand-in SQL Server, directly: unchanged drivers do everything they can do, and what a server owes to the protocol.
//!
//! These are the baseline of the tests that run the same scripts through the gateway.

use std::{path::PathBuf, process::Command, time::Duration};

use futures_util::{TryStreamExt as _, future};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_tests::{
    mssql::{DATABASE, Encryption, Faults, Kind, LOGIN, Options, PASSWORD, StandIn, client::RawClient},
    process, turn,
};

const INSTANCES: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

fn script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers")).join(name)
}

/// A server with what the drivers' scripts work on.
fn server(encryption: Encryption) -> StandIn {
    let server = StandIn::start(Options {
        encryption,
        ..Options::default()
    });
    server.execute_script(include_str!("../../drivers/mssql.sql"));
    server
}

fn driver(server: &StandIn, name: &str, instance: usize, encrypt: &str) -> Command {
    let mut command = if name.ends_with(".py") {
        Command::new(process::cache().join("python/bin/python"))
    } else {
        Command::new("node")
    };
    let authority = std::env::temp_dir().join(format!("weir-stand-in-{}.pem", server.port()));
    server.authority.write(&authority);
    let certificate = authority.with_extension("server.pem");
    std::fs::write(&certificate, &server.certificate).unwrap();
    command
        .arg(script(name))
        .arg(instance.to_string())
        .env("NODE_MODULES_OF", process::cache().join("node"))
        .env("MSSQL_HOST", "127.0.0.1")
        .env("MSSQL_PORT", server.port().to_string())
        .env("MSSQL_USER", LOGIN)
        .env("MSSQL_PASSWORD", PASSWORD)
        .env("MSSQL_DATABASE", DATABASE)
        .env("MSSQL_ENCRYPT", encrypt)
        .env("MSSQL_CA", authority)
        .env("MSSQL_CERTIFICATE", certificate);
    command
}

/// All scripts on a server of the probe kind, one after the other.
#[tokio::test]
async fn drivers_on_a_server_of_the_probe_kind() {
    let _turn = turn::light();
    let server = StandIn::start(Options {
        kind: Kind::Probe,
        ..Options::default()
    });
    server.execute_script(include_str!("../../drivers/mssql.sql"));
    let names = [
        "tedious_script.mjs",
        "mssql_script.mjs",
        "pymssql_script.py",
        "pytds_script.py",
        "mssql_python_script.py",
    ];
    let runs = names.into_iter().enumerate().map(|(instance, name)| {
        let mut command = driver(&server, name, instance, "no");
        command.env("MSSQL_PROBE", "1");
        process::run(command, LIMIT)
    });
    for (outcome, name) in future::join_all(runs).await.into_iter().zip(names) {
        outcome.expect_success(name);
        assert!(
            outcome.output.contains("passed"),
            "{name} ends early:\n{}",
            outcome.output
        );
    }
}

/// Two hundred clients that count together: nothing is lost, nobody waits for ever.
#[tokio::test]
async fn many_sessions_at_a_time() {
    const CLIENTS: usize = 200;
    const ROUNDS: usize = 5;
    let _turn = turn::heavy();
    let server = server(Encryption::Optional);
    server.execute("INSERT INTO accounts (owner, balance) VALUES (1, 0)");
    let clients = (0..CLIENTS).map(|me| {
        let address = server.address();
        async move {
            let mut client = RawClient::connect(address).await;
            for _ in 0..ROUNDS {
                let before = client
                    .batch("BEGIN TRAN; UPDATE accounts SET balance = balance + 1 WHERE owner = 1")
                    .await;
                assert!(before.last().unwrap().starts_with("done 0010 c5 1"), "{me}: {before:?}");
                assert_eq!(
                    client.batch(&format!("SELECT {me}, @@TRANCOUNT")).await[1],
                    format!("row {me} 1")
                );
                client.batch("COMMIT").await;
            }
        }
    });
    tokio::time::timeout(LIMIT, future::join_all(clients))
        .await
        .expect("all of them end");
    let balance = server.execute("SELECT balance FROM accounts WHERE owner = 1");
    assert_eq!(balance, [[Some((CLIENTS * ROUNDS).to_string())]]);
    assert!(server.most_sessions() <= CLIENTS);
}

/// Several instances of a script at a time.
async fn run(name: &str, encryption: Encryption, encrypt: &str) {
    let _turn = turn::light();
    let server = server(encryption);
    let runs = (1..=INSTANCES).map(|instance| process::run(driver(&server, name, instance, encrypt), LIMIT));
    for outcome in future::join_all(runs).await {
        outcome.expect_success(name);
        assert!(
            outcome.output.contains("passed"),
            "{name} ends early:\n{}",
            outcome.output
        );
    }
    assert!(
        server
            .sessions()
            .iter()
            .all(|session| session.transaction_count == 0 || !session.open)
    );
}

#[tokio::test]
async fn tedious() {
    run("tedious_script.mjs", Encryption::Optional, "no").await;
}

#[tokio::test]
async fn tedious_encrypted() {
    run("tedious_script.mjs", Encryption::Required, "yes").await;
}

#[tokio::test]
async fn mssql_of_npm() {
    run("mssql_script.mjs", Encryption::Optional, "no").await;
}

#[tokio::test]
async fn pymssql() {
    run("pymssql_script.py", Encryption::Optional, "no").await;
}

#[tokio::test]
async fn pytds() {
    run("pytds_script.py", Encryption::Unsupported, "no").await;
}

#[tokio::test]
async fn mssql_python() {
    run("mssql_python_script.py", Encryption::Optional, "no").await;
}

#[tokio::test]
async fn mssql_python_encrypted() {
    run("mssql_python_script.py", Encryption::Optional, "yes").await;
}

#[tokio::test]
async fn tedious_and_mssql_python_in_tds_8() {
    run("tedious_script.mjs", Encryption::Strict, "strict").await;
    run("mssql_python_script.py", Encryption::Strict, "strict").await;
}

#[tokio::test]
async fn freebcp() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let folder = std::env::temp_dir();
    let (source, copy) = (
        folder.join(format!("weir-in-{}", server.port())),
        folder.join(format!("weir-out-{}", server.port())),
    );
    let lines: String = (0..200)
        .map(|number| format!("7,{number},name {number},{number}.5000,,,\n"))
        .collect();
    std::fs::write(&source, &lines).unwrap();
    for (direction, file) in [("in", &source), ("out", &copy)] {
        let mut command = Command::new("freebcp");
        command.args(["bulk_items", direction]).arg(file).args([
            "-S",
            &format!("127.0.0.1:{}", server.port()),
            "-U",
            LOGIN,
            "-P",
            PASSWORD,
            "-D",
            DATABASE,
            "-c",
            "-t",
            ",",
        ]);
        process::run(command, LIMIT).await.expect_success("freebcp");
    }
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), lines);
    let _ = (std::fs::remove_file(source), std::fs::remove_file(copy));
}

type Tiberius = Client<Compat<TcpStream>>;

async fn tiberius(server: &StandIn, encryption: EncryptionLevel) -> Tiberius {
    let mut config = Config::new();
    config.host("localhost");
    config.port(server.port());
    config.authentication(AuthMethod::sql_server(LOGIN, PASSWORD));
    config.database(DATABASE);
    config.encryption(encryption);
    config.trust_cert();
    let socket = TcpStream::connect(server.address()).await.unwrap();
    socket.set_nodelay(true).unwrap();
    Client::connect(config, socket.compat_write()).await.unwrap()
}

async fn tiberius_script(client: &mut Tiberius, me: i32) -> Result<(), tiberius::error::Error> {
    client
        .execute(
            "INSERT INTO items (owner, name, price) VALUES (@P1, @P2, @P3)",
            &[&me, &"näme", &1.25f64],
        )
        .await?;
    let row = client
        .query("SELECT name, price FROM items WHERE owner = @P1", &[&me])
        .await?
        .into_row()
        .await?
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some("näme"));
    client.simple_query("BEGIN TRAN").await?.into_results().await?;
    client.execute("DELETE FROM items WHERE owner = @P1", &[&me]).await?;
    let count = |row: Option<tiberius::Row>| row.unwrap().get::<i32, _>(0).unwrap();
    assert_eq!(
        count(client.query("SELECT @@TRANCOUNT", &[]).await?.into_row().await?),
        1
    );
    client.simple_query("ROLLBACK").await?.into_results().await?;
    assert_eq!(
        count(
            client
                .query("SELECT COUNT(*) FROM items WHERE owner = @P1", &[&me])
                .await?
                .into_row()
                .await?
        ),
        1
    );
    let error = client.execute("SELECT 1 / 0", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(8134));
    let large = "ä".repeat(100_000);
    let row = client
        .query("SELECT @P1 AS large", &[&large.as_str()])
        .await?
        .into_row()
        .await?
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some(large.as_str()));
    let results = client
        .simple_query("SELECT 1; SELECT 2 WHERE 1 = 0; SELECT N'x'")
        .await?
        .into_results()
        .await?;
    // tiberius leaves out a result without rows that follows another.
    assert_eq!(results.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let many = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n OPTION (MAXRECURSION 0)";
    let rows: Vec<_> = client.query(many, &[]).await?.into_row_stream().try_collect().await?;
    assert_eq!(rows.len(), 2000);
    Ok(())
}

#[tokio::test]
async fn tiberius_with_every_encryption() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    for (me, level) in [
        EncryptionLevel::NotSupported,
        EncryptionLevel::Off,
        EncryptionLevel::Required,
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = tiberius(&server, level).await;
        tiberius_script(&mut client, i32::try_from(me).unwrap()).await.unwrap();
        client.close().await.unwrap();
    }
    let encryption: Vec<_> = server.sessions().iter().map(|session| session.encryption).collect();
    assert_eq!(encryption, ["none", "login", "full"]);
}

#[tokio::test]
async fn answers_in_bytes_and_short_packets_say_the_same() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    for faults in [
        Faults {
            split_writes: true,
            ..Faults::default()
        },
        Faults {
            short_packets: Some(5),
            ..Faults::default()
        },
    ] {
        server.inflict(faults);
        let mut client = tiberius(&server, EncryptionLevel::NotSupported).await;
        let row = client
            .query("SELECT @P1 AS a, N'xyz' AS b", &[&5i32])
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .unwrap();
        assert_eq!((row.get::<i32, _>(0), row.get::<&str, _>(1)), (Some(5), Some("xyz")));
    }
}
