//! `linger_ms`: who has written something may ask its session about it.

use std::time::Duration;

use serde_json::json;
use weir_tests::mssql::{
    Kind,
    client::{Credentials, RawClient},
};

use super::mssql_gateway::{gateway_with, server};

async fn value(client: &mut RawClient, text: &str) -> String {
    let lines = client.batch(text).await;
    lines
        .into_iter()
        .find(|line| line.starts_with("row"))
        .unwrap_or_default()
}

#[tokio::test]
async fn everybody_learns_the_number_of_its_own_row() {
    for kind in [Kind::SqlServer, Kind::Probe] {
        let server = server(kind);
        server.execute("CREATE TABLE numbered_a (id int IDENTITY PRIMARY KEY, x int)");
        server.execute("CREATE TABLE numbered_b (id int IDENTITY PRIMARY KEY, x int)");
        server.execute("INSERT INTO numbered_b (x) VALUES (1), (2), (3)");
        let gateway = gateway_with(&server, 2, |metadata| metadata.defaults(json!({ "linger_ms": 60000 })));
        let address = gateway.address("tds");
        let (mut one, _) = RawClient::log_in(address, &Credentials::default()).await.unwrap();
        let (mut two, _) = RawClient::log_in(address, &Credentials::default()).await.unwrap();
        for round in 0..20 {
            one.batch("INSERT INTO numbered_a (x) VALUES (1)").await;
            two.batch("INSERT INTO numbered_b (x) VALUES (1)").await;
            assert_eq!(
                value(&mut one, "SELECT CAST(@@IDENTITY AS int)").await,
                format!("row {}", 1 + round),
                "{kind:?}"
            );
            assert_eq!(
                value(&mut two, "SELECT CAST(@@IDENTITY AS int)").await,
                format!("row {}", 4 + round),
                "{kind:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_comes_back_when_its_moment_is_over() {
    let server = server(Kind::SqlServer);
    server.execute("CREATE TABLE numbered (id int IDENTITY PRIMARY KEY, x int)");
    let gateway = gateway_with(&server, 1, |metadata| metadata.defaults(json!({ "linger_ms": 300 })));
    let address = gateway.address("tds");
    let (mut one, _) = RawClient::log_in(address, &Credentials::default()).await.unwrap();
    let (mut two, _) = RawClient::log_in(address, &Credentials::default()).await.unwrap();
    for _ in 0..3 {
        one.batch("INSERT INTO numbered (x) VALUES (1)").await;
        let answer = tokio::time::timeout(Duration::from_secs(60), value(&mut two, "SELECT 4711"));
        assert_eq!(answer.await.expect("its turn comes"), "row 4711");
    }
}
