//! Transactions: by requests of the protocol and by statements, savepoints, levels of isolation, and what errors do to them.

use mssql_tds::{
    connection::tds_client::{BatchErrorMode, ExecuteOptions, StatementResult},
    core::TdsResult,
    datatypes::column_values::ColumnValues,
    message::transaction_management::{
        TransactionIsolationLevel,
        TransactionIsolationLevel::{NoChange, ReadCommitted, Serializable},
    },
};

use crate::session::{Session, expect_error};

/// Deletes what this instance has.
const DELETE: &str = "DELETE FROM items WHERE owner = @me";

/// The driver's own calls, which are requests of the protocol.
pub(crate) async fn requests(session: &mut Session) -> TdsResult<()> {
    let rows = session.count().await?;
    assert!(rows > 0);
    begin(session, NoChange).await?;
    assert!(session.client.has_active_transaction());
    session.change(DELETE, vec![]).await?;
    assert_eq!(session.count().await?, 0);
    session.client.rollback_transaction(None, None).await?;
    assert!(!session.client.has_active_transaction());
    assert_eq!(session.count().await?, rows);

    begin(session, NoChange).await?;
    session.client.save_transaction("here".to_owned()).await?;
    session.change(DELETE, vec![]).await?;
    session
        .client
        .rollback_transaction(Some("here".to_owned()), None)
        .await?;
    assert_eq!(session.open_transactions().await?, 1);
    assert_eq!(session.count().await?, rows);
    // (to begin the next one with the same request, mssql-tds 0.3 sets another bit than the protocol's)
    insert(session).await?;
    session.client.commit_transaction(None, None).await?;
    assert_eq!(session.open_transactions().await?, 0);
    assert_eq!(session.count().await?, rows + 1);
    println!("ok requests");
    Ok(())
}

/// Statements, and statements within what a request began.
pub(crate) async fn statements(session: &mut Session) -> TdsResult<()> {
    let rows = session.count().await?;
    session.batch("BEGIN TRANSACTION").await?;
    assert!(session.client.has_active_transaction());
    insert(session).await?;
    session.batch("SAVE TRANSACTION here").await?;
    session.change(DELETE, vec![]).await?;
    session.batch("ROLLBACK TRANSACTION here").await?;
    session.batch("COMMIT").await?;
    assert_eq!(session.count().await?, rows + 1);

    begin(session, NoChange).await?;
    session.batch("BEGIN TRANSACTION").await?;
    assert_eq!(session.open_transactions().await?, 2);
    insert(session).await?;
    session.batch("COMMIT").await?;
    assert!(session.client.has_active_transaction());
    session.client.rollback_transaction(None, None).await?;
    assert_eq!(session.count().await?, rows + 1);

    session.batch("SET IMPLICIT_TRANSACTIONS ON").await?;
    insert(session).await?;
    assert_eq!(session.open_transactions().await?, 1);
    session.client.rollback_transaction(None, None).await?;
    session.batch("SET IMPLICIT_TRANSACTIONS OFF").await?;
    assert_eq!(session.count().await?, rows + 1);
    println!("ok statements");
    Ok(())
}

/// A level stays after the transaction that asked for it, and with nobody else.
pub(crate) async fn isolation(session: &mut Session) -> TdsResult<()> {
    const LEVEL: &str =
        "SELECT CAST(transaction_isolation_level AS int) FROM sys.dm_exec_sessions WHERE session_id = @@SPID";
    assert_eq!(session.number(LEVEL).await?, 2);
    begin(session, Serializable).await?;
    assert_eq!(session.number(LEVEL).await?, 4);
    session.client.rollback_transaction(None, None).await?;
    assert_eq!(session.number(LEVEL).await?, 4);
    begin(session, ReadCommitted).await?;
    session.client.commit_transaction(None, None).await?;
    assert_eq!(session.number(LEVEL).await?, 2);
    println!("ok isolation");
    Ok(())
}

pub(crate) async fn errors(session: &mut Session) -> TdsResult<()> {
    let rows = session.count().await?;
    // a statement that fails alone
    begin(session, NoChange).await?;
    insert(session).await?;
    session.fails(8134, "SELECT 1 / 0").await;
    session.fails(208, "SELECT * FROM no_such_table").await;
    assert_eq!(session.open_transactions().await?, 1);
    session.client.commit_transaction(None, None).await?;
    assert_eq!(session.count().await?, rows + 1);
    // one that ends the transaction
    session.batch("SET XACT_ABORT ON").await?;
    begin(session, NoChange).await?;
    insert(session).await?;
    session.fails(8134, "SELECT 1 / 0").await;
    assert!(!session.client.has_active_transaction());
    assert_eq!(session.open_transactions().await?, 0);
    assert_eq!(session.count().await?, rows + 1);
    // one that dooms it: until the batch ends, it can only be rolled back
    let sql = format!(
        "BEGIN TRY INSERT INTO items (owner, name) VALUES ({}, N'doomed'); SELECT 1 / 0; END TRY \
         BEGIN CATCH SELECT CAST(XACT_STATE() AS int); END CATCH",
        session.me
    );
    begin(session, NoChange).await?;
    let mut states = Vec::new();
    let mut result = session
        .client
        .execute(sql, ExecuteOptions::new().on_error(BatchErrorMode::Continue))
        .await;
    let error = loop {
        match result {
            Ok(StatementResult::Rows) => states.extend(session.rest().await?),
            Ok(StatementResult::NoRows { .. }) => (),
            Ok(StatementResult::End) => panic!("no error 3998 after {states:?}"),
            Err(error) => break error,
        }
        result = session.client.advance().await;
    };
    expect_error(&error, 3998);
    session.client.close_query().await?;
    assert_eq!(states, [[ColumnValues::Int(-1)]]);
    assert!(!session.client.has_active_transaction());
    session.batch("SET XACT_ABORT OFF").await?;
    assert_eq!(session.count().await?, rows + 1);
    println!("ok errors");
    Ok(())
}

async fn begin(session: &mut Session, level: TransactionIsolationLevel) -> TdsResult<()> {
    session.client.begin_transaction(level, None).await
}

async fn insert(session: &mut Session) -> TdsResult<()> {
    let changed = session.change(
        "INSERT INTO items (owner, name) VALUES (@me, N'in a transaction')",
        vec![],
    );
    assert_eq!(changed.await?, 1);
    Ok(())
}
