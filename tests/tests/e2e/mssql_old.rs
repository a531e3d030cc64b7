//! Clients that speak TDS 7.1 (SQL Server 2000): nothing tells them, or a gateway, where transactions begin and end. Each
//! keeps a server connection of its own, as long as it stays.

use std::time::Duration;

use futures_util::future;
use serde_json::json;
use weir_tests::{
    clock,
    mssql::{Kind, StandIn},
    process, turn,
};

use crate::{
    mssql_gateway::{gateway_with, server},
    mssql_scripts::{LIMIT, Target, expect_end},
};

const OLD: &str = "7.1";

async fn pymssql(target: &Target<'_>, owner: usize) {
    let mut command = target.command("pymssql_script.py", &owner.to_string());
    command.env("MSSQL_TDS_VERSION", OLD);
    expect_end(&process::run(command, LIMIT).await, "pymssql");
}

/// All server connections that an old client has had are closed behind it.
async fn expect_none_left(server: &StandIn) {
    let is_old = |version: u32| version < 0x7200_0000;
    let old_and_open = || {
        let sessions = server.sessions();
        sessions
            .iter()
            .filter(|session| session.open && is_old(session.tds_version))
            .count()
    };
    let end = clock::now() + Duration::from_secs(30);
    while old_and_open() > 0 {
        assert!(clock::now() < end, "{:#?}", server.sessions());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.sessions().iter().any(|session| is_old(session.tds_version)));
}

/// The stand-in speaks it as well as the version of today.
#[tokio::test]
async fn without_a_gateway() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let target = Target::directly(&server);
    pymssql(&target, 1).await;
    target.freebcp_as(OLD, 2).await;
}

#[tokio::test]
async fn each_keeps_a_server_connection_as_long_as_it_stays() {
    let _turn = turn::light();
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        // The script has up to two connections at a time.
        let gateway = gateway_with(&server, 4, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
        let target = Target {
            address: gateway.address("tds"),
            kind,
            ..Target::directly(&server)
        };
        future::join_all((1..=2).map(|owner| pymssql(&target, owner))).await;
        assert!(gateway.log().contains("protocol older than TDS 7.2"), "{kind:?}");
        expect_none_left(&server).await;
    }
}

/// More of them than server connections wait for each other's end.
#[tokio::test]
async fn their_number_is_bounded() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let gateway = gateway_with(&server, 2, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
    let target = Target {
        address: gateway.address("tds"),
        ..Target::directly(&server)
    };
    future::join_all((1..=5).map(|owner| target.freebcp_as(OLD, owner))).await;
    expect_none_left(&server).await;
    assert!(server.most_sessions() <= 2);
}

/// And beside them others share theirs.
#[tokio::test]
async fn others_are_not_served_by_an_old_connection() {
    let _turn = turn::light();
    let server = server(Kind::SqlServer);
    let gateway = gateway_with(&server, 4, |metadata| metadata.defaults(json!({ "pool_timeout": 60 })));
    let target = Target {
        address: gateway.address("tds"),
        ..Target::directly(&server)
    };
    let new = async {
        let command = target.command("pymssql_script.py", "5");
        expect_end(&process::run(command, LIMIT).await, "pymssql");
    };
    future::join(pymssql(&target, 4), new).await;
    expect_none_left(&server).await;
}
