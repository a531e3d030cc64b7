//! Drivers log in differently; their clients share server connections all the same, and each finds what it asked for.

use serde_json::json;
use weir_tests::{
    mssql::{
        Kind,
        client::{Credentials, Defaults, RawClient},
    },
    process, turn,
};

use crate::{
    mssql_gateway::{gateway_with, server},
    mssql_scripts::{LIMIT, Target, expect_end},
};

/// What of a session depends on its login.
const QUESTION: &str = "SELECT @@OPTIONS AS o, @@TEXTSIZE AS t";

/// UTF8_SUPPORT.
const UTF8: &[(u8, &[u8])] = &[(0x0A, &[1])];

const ODBC: Credentials<'_> = Credentials {
    user: weir_tests::mssql::LOGIN,
    password: weir_tests::mssql::PASSWORD,
    database: weir_tests::mssql::DATABASE,
    packet_size: 4096,
    features: &[],
    defaults: Defaults::Odbc,
};

const OTHER: Credentials<'_> = Credentials {
    defaults: Defaults::Servers,
    ..ODBC
};

#[tokio::test]
async fn clients_with_and_without_the_defaults_of_odbc_take_turns_on_one_server_connection() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        for order in [[ODBC, OTHER], [OTHER, ODBC]] {
            let server = server(kind);
            let mut direct = Vec::new();
            for credentials in &order {
                let (mut client, _) = RawClient::log_in(server.address(), credentials).await.unwrap();
                direct.push(client.batch(QUESTION).await);
            }
            assert_ne!(direct[0], direct[1]);
            let gateway = gateway_with(&server, 1, |metadata| metadata);
            let mut clients = Vec::new();
            for credentials in &order {
                clients.push(RawClient::log_in(gateway.address("tds"), credentials).await.unwrap().0);
            }
            // The first round finds out what there is.
            let mut opened = 0;
            for round in 0..5 {
                if round == 1 {
                    opened = server.sessions().len();
                }
                for (client, expected) in clients.iter_mut().zip(&direct) {
                    assert_eq!(client.batch(QUESTION).await, *expected, "{kind:?}, round {round}");
                    client.batch("SET TEXTSIZE 17").await;
                    // A reset returns to what its own login asked for.
                    let told = client.batch_with(8, QUESTION).await;
                    assert!(told.ends_with(&expected[..]), "{kind:?}: {told:#?}");
                }
            }
            assert_eq!(server.sessions().len(), opened, "{kind:?}: {:#?}", server.sessions());
        }
    }
}

/// An extension that the server does not have makes no difference.
#[tokio::test]
async fn what_a_server_does_not_have_divides_nobody() {
    let _turn = turn::light();
    let server = server(Kind::Probe);
    let gateway = gateway_with(&server, 1, |metadata| metadata);
    let asking = Credentials { features: UTF8, ..ODBC };
    let (mut one, _) = RawClient::log_in(gateway.address("tds"), &ODBC).await.unwrap();
    let (mut two, _) = RawClient::log_in(gateway.address("tds"), &asking).await.unwrap();
    assert_eq!(one.batch(QUESTION).await, two.batch(QUESTION).await);
    let opened = server.sessions().len();
    for _ in 0..5 {
        assert_eq!(one.batch(QUESTION).await, two.batch(QUESTION).await);
    }
    assert_eq!(server.sessions().len(), opened);
}

#[tokio::test]
async fn drivers_take_turns_on_one_server_connection() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let gateway = gateway_with(&server, 1, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
    let target = Target {
        address: gateway.address("tds"),
        ..Target::directly(&server)
    };
    let mut opened = Vec::new();
    for round in 0..2 {
        for name in ["tedious_script.mjs", "mssql_python_script.py", "pymssql_script.py"] {
            let command = target.command(name, &format!("{}", 1 + round));
            expect_end(&process::run(command, LIMIT).await, name);
            opened.push(server.sessions().len());
        }
    }
    // The first two find out what there is. (mssql-python's bulk copy is a library of its own, which does not take UTF-8.)
    assert_eq!(opened[1], opened[2], "pymssql behind mssql-python: {opened:?}");
    assert_eq!(opened[2], opened[3], "tedious behind pymssql: {opened:?}");
    assert_eq!(opened[4], opened[5], "pymssql behind mssql-python: {opened:?}");
}
