//! The PostgreSQL side of the demo.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{SOURCE, USER, tally::Tally};

/// The application name of all demo connections, by which they are counted.
const APPLICATION: &str = "weir-demo";

async fn connect(address: SocketAddr) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(USER)
        .password(USER)
        .dbname(SOURCE);
    config.application_name(APPLICATION);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Whether the database can be used at all; says which it is.
pub(crate) async fn try_once(address: SocketAddr) -> Result<(), tokio_postgres::Error> {
    let version: String = connect(address)
        .await?
        .query_one("SHOW server_version", &[])
        .await?
        .get(0);
    println!("The database is PostgreSQL {version}");
    Ok(())
}

/// One client: transactions of three statements, each answer checked against what was asked.
pub(crate) async fn client(address: SocketAddr, number: u32, tally: &Tally) -> Result<(), tokio_postgres::Error> {
    let mut client = connect(address).await?;
    let question = client.prepare("SELECT $1::text, pg_backend_pid()").await?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    let mut asked = 0_u64;
    while !tally.stop.load(Ordering::Relaxed) {
        let transaction = client.transaction().await?;
        let mut server = None;
        for _ in 0..2 {
            asked += 1;
            let token = format!("client {number}, question {asked}");
            let row = transaction.query_one(&question, &[&token]).await?;
            // Somebody else's answer, or another server connection in the middle of a transaction.
            let process: i32 = row.get(1);
            if row.get::<_, &str>(0) != token || *server.get_or_insert(process) != process {
                tally.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
        transaction.commit().await?;
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Counts the demo's server connections, as one client among the others.
pub(crate) async fn watch(address: SocketAddr, tally: Arc<Tally>) -> Result<(), tokio_postgres::Error> {
    const SQL: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = $1";
    let client = connect(address).await?;
    while !tally.stop.load(Ordering::Relaxed) {
        let count: i64 = client.query_one(SQL, &[&APPLICATION]).await?.get(0);
        tally
            .most_connections
            .fetch_max(count.unsigned_abs(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The database's own message where there is one.
pub(crate) fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}: {}{detail}", error.code().code(), error.message())
        }
        None => error.to_string(),
    }
}
