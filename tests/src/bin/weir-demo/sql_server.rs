//! The SQL Server half: the tests' stand-in for one, and clients that speak TDS.

use std::{net::SocketAddr, sync::atomic::Ordering};

use weir_tests::mssql::{
    DATABASE, LOGIN, PASSWORD, StandIn,
    client::{Credentials, Lines, RawClient},
};

use crate::{SQL_SERVER_SOURCE, Tally, USER};

/// How the gateway reaches it.
pub(crate) fn connection_string(server: &StandIn) -> String {
    format!(
        "Server=tcp:127.0.0.1,{};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};Encrypt=optional;TrustServerCertificate=yes",
        server.port()
    )
}

/// One client, until it is told to stop: transactions of two questions, each answer checked against what was asked.
pub(crate) async fn client(address: SocketAddr, number: u32, tally: &Tally) -> Result<(), String> {
    let credentials = Credentials {
        user: USER,
        password: USER,
        database: SQL_SERVER_SOURCE,
        ..Credentials::default()
    };
    let logged_in = RawClient::log_in(address, &credentials).await;
    let (mut client, lines) = logged_in.map_err(|error| error.to_string())?;
    expect("login", lines, "loginack")?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    let mut asked = 0_u64;
    while !tally.is_over() {
        ask(&mut client, "BEGIN TRANSACTION", "done").await?;
        let mut server = None;
        for _ in 0..2 {
            asked += 1;
            let token = format!("client {number}, question {asked}");
            let sql = format!("SELECT N'{token}', CAST(@@SPID AS int), @@TRANCOUNT");
            let row = ask(&mut client, &sql, "row").await?;
            // Somebody else's answer, or another server connection in the middle of a transaction.
            let session = row
                .strip_prefix(&format!("row '{token}' "))
                .and_then(|rest| rest.strip_suffix(" 1"))
                .map(str::to_owned);
            if session.is_none() || *server.get_or_insert_with(|| session.clone()) != session {
                tally.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
        ask(&mut client, "COMMIT TRANSACTION", "done").await?;
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The first line of the answer that begins so.
async fn ask(client: &mut RawClient, sql: &str, what: &str) -> Result<String, String> {
    let lines = client.try_batch(sql).await.map_err(|error| format!("{sql}: {error}"))?;
    expect(sql, lines, what)
}

fn expect(asked: &str, lines: Lines, what: &str) -> Result<String, String> {
    if let Some(error) = lines.iter().find(|line| line.starts_with("error")) {
        return Err(format!("{asked}: {error}"));
    }
    let found = lines.into_iter().find(|line| line.starts_with(what));
    found.ok_or_else(|| format!("{asked}: no {what}"))
}
