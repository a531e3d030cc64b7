//! Where a SQL Server is: named instances, and names that stand for several addresses.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use weir_tests::{
    gateway::Gateway,
    metadata::Metadata,
    mssql::{
        DATABASE, Encryption, LOGIN, Options, PASSWORD, StandIn,
        browser::Browser,
        client::{Credentials, RawClient},
    },
};

/// An address of this machine that no other test uses at the moment.
fn own_address() -> Ipv4Addr {
    let [a, b, c, d] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (b & 0x3f), c, (d ^ a).clamp(1, 254))
}

fn server(host: IpAddr) -> StandIn {
    StandIn::start(Options {
        encryption: Encryption::Unsupported,
        address: (host, 0).into(),
        ..Options::default()
    })
}

fn gateway(server: &str) -> Gateway {
    let connection_string = format!(
        "Driver={{ODBC Driver 18 for SQL Server}};Server={server};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};Encrypt=no"
    );
    let connection = json!({ "connection_string": connection_string });
    let metadata = Metadata::new()
        .source(json!({ "name": DATABASE, "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }))
        .user(json!({ "name": LOGIN, "password": PASSWORD, "sources": "*" }))
        .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
    Gateway::start(&metadata)
}

async fn answer(gateway: &Gateway) -> String {
    let logged_in = RawClient::log_in(gateway.address("tds"), &Credentials::default()).await;
    match logged_in {
        Ok((_, lines)) if lines.iter().any(|line| line.starts_with("error")) => lines.join("\n"),
        Ok((mut client, _)) => client.batch("SELECT 4711").await.join("\n"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_named_instance_is_where_its_browser_says() {
    let host = own_address();
    let server = server(host.into());
    let browser = Browser::start(host.into(), "SQLEXPRESS", server.port(), 1);
    let there = gateway(&format!("tcp:{host}\\SqlExpress"));
    assert!(answer(&there).await.contains("4711"));
    assert!(browser.asked() >= 2, "the first question was lost");
    // Nobody of that name: the operator is told what was asked.
    let elsewhere = gateway(&format!("tcp:{host}\\OTHER"));
    let told = answer(&elsewhere).await;
    assert!(!told.contains("4711"), "{told}");
    assert!(
        elsewhere.log().contains("SQL Server Browser on UDP port 1434"),
        "{}",
        elsewhere.log()
    );
    // A port beside the name needs no browser.
    let before = browser.asked();
    let direct = gateway(&format!("tcp:{host}\\WHATEVER,{}", server.port()));
    assert!(answer(&direct).await.contains("4711"));
    assert_eq!(browser.asked(), before);
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried_at_once_if_asked_for() {
    let server = server(Ipv4Addr::LOCALHOST.into());
    // `localhost` may stand for ::1 as well, where nobody listens.
    let gateway = gateway(&format!("tcp:localhost,{};MultiSubnetFailover=Yes", server.port()));
    assert!(answer(&gateway).await.contains("4711"));
}
