//! A client of mssql-tds, Microsoft's Rust driver: uses everything that the crate can do, each step with a check of what
//! came back, as one of several instances that must not notice each other.
//!
//! `mssql-tds-script <number of the instance>`, with the server in MSSQL_HOST, MSSQL_PORT, MSSQL_USER, MSSQL_PASSWORD,
//! MSSQL_DATABASE, MSSQL_ENCRYPT (`no`, `yes`, `strict`) and MSSQL_CERTIFICATE. Tells each step that passed, and `passed` last.

mod interruptions;
mod loading;
mod prepared;
mod session;
mod statements;
mod transactions;

use mssql_tds::core::TdsResult;

use session::Session;

#[tokio::main(flavor = "current_thread")]
async fn main() -> TdsResult<()> {
    let me = std::env::args()
        .nth(1)
        .map_or(1, |number| number.parse().expect("a number"));
    let mut session = Session::open(me).await?;
    statements::crud(&mut session).await?;
    transactions::requests(&mut session).await?;
    transactions::statements(&mut session).await?;
    transactions::isolation(&mut session).await?;
    transactions::errors(&mut session).await?;
    prepared::handles(&mut session).await?;
    prepared::many_at_once(&mut session).await?;
    statements::procedures(&mut session).await?;
    statements::results(&mut session).await?;
    statements::large(&mut session).await?;
    statements::packets(me).await?;
    loading::streamed(&mut session).await?;
    loading::tables(&mut session).await?;
    loading::bulk(&mut session).await?;
    interruptions::cursors(&mut session).await?;
    interruptions::cancel(&mut session).await?;
    interruptions::reset(&mut session).await?;
    session.change("DELETE FROM items WHERE owner = @me", vec![]).await?;
    session.close().await?;
    println!("passed");
    Ok(())
}
