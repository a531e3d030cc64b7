//! The stand-in SQL Server, directly: unchanged drivers do everything they can do, and what a server owes to the protocol.
//!
//! These are the baseline of the tests that run the same scripts through the gateway.

use futures_util::future;
use tiberius::EncryptionLevel;
use weir_tests::{
    mssql::{Encryption, Faults, Kind, Options, StandIn, client::RawClient},
    process, turn,
};

use crate::mssql_scripts::{LIMIT, MSSQL_TDS, MSSQL_TDS_CRATE, SCRIPTS, Target, expect_end, tiberius_script};

const INSTANCES: usize = 3;

/// A server with what the drivers' scripts work on.
fn server(encryption: Encryption) -> StandIn {
    let server = StandIn::start(Options {
        encryption,
        ..Options::default()
    });
    server.execute_script(include_str!("../../drivers/mssql.sql"));
    server
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
    let target = Target {
        kind: Kind::Probe,
        ..Target::directly(&server)
    };
    target.run_all(SCRIPTS).await;
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
async fn run(name: &str, encryption: Encryption, encrypt: &'static str) {
    let _turn = turn::light();
    let server = server(encryption);
    let target = Target {
        encrypt,
        ..Target::directly(&server)
    };
    target.run_all([name; INSTANCES]).await;
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
    Target::directly(&server).freebcp(7).await;
}

#[tokio::test]
async fn mssql_tds() {
    run(MSSQL_TDS, Encryption::Optional, "no").await;
    run(MSSQL_TDS, Encryption::Required, "yes").await;
}

#[tokio::test]
async fn mssql_tds_crate() {
    run(MSSQL_TDS_CRATE, Encryption::Optional, "no").await;
    run(MSSQL_TDS_CRATE, Encryption::Required, "yes").await;
    run(MSSQL_TDS_CRATE, Encryption::Strict, "strict").await;
}

/// The script is right about a server that has as many connections as it likes.
#[tokio::test]
async fn connections_that_are_always_in_a_transaction() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    for driver in ["pytds", "pymssql", "mssql_python"] {
        let command = Target::directly(&server).command("mssql_many.py", driver);
        expect_end(&process::run(command, LIMIT).await, driver);
    }
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
        let mut client = Target::directly(&server).tiberius(level).await;
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
        let mut client = Target::directly(&server).tiberius(EncryptionLevel::NotSupported).await;
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
