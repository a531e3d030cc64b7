//! The SQL Server side of the demo: tiberius against the tests' stand-in, which answers from SQLite.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tiberius::{AuthMethod, Client, Config, EncryptionLevel, error::Error};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_tests::mssql::StandIn;

use crate::{ERP, USER, tally::Tally};

async fn connect(address: SocketAddr) -> Result<Client<Compat<TcpStream>>, Error> {
    let mut config = Config::new();
    config.authentication(AuthMethod::sql_server(USER, USER));
    config.database(ERP);
    // On loopback, as the PostgreSQL side.
    config.encryption(EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Client::connect(config, socket.compat_write()).await
}

/// One client: transactions of two statements, each answer checked against what was asked.
pub(crate) async fn client(address: SocketAddr, number: u32, tally: &Tally) -> Result<(), Error> {
    let mut client = connect(address).await?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    let mut asked = 0_u64;
    while !tally.stop.load(Ordering::Relaxed) {
        client.simple_query("BEGIN TRANSACTION").await?.into_results().await?;
        let mut server = None;
        for _ in 0..2 {
            asked += 1;
            let token = format!("client {number}, question {asked}");
            let answer = client
                .query("SELECT @P1 AS token, @@SPID AS spid", &[&token.as_str()])
                .await?;
            let row = answer.into_row().await?;
            let found = row
                .as_ref()
                .and_then(|row| Some((row.get::<&str, _>(0)?, row.get::<i16, _>(1)?)));
            // Somebody else's answer, or another server connection in the middle of a transaction.
            let right = found.is_some_and(|(text, spid)| text == token && *server.get_or_insert(spid) == spid);
            if !right {
                tally.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
        client.simple_query("COMMIT TRANSACTION").await?.into_results().await?;
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Counts the stand-in's sessions.
pub(crate) async fn watch(server: Arc<StandIn>, tally: Arc<Tally>) {
    while !tally.stop.load(Ordering::Relaxed) {
        let count = u64::try_from(server.most_sessions()).unwrap_or(u64::MAX);
        tally.most_connections.fetch_max(count, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
