//! What is left before its end: cursors, requests that are cancelled, and a session that a pool hands on.

use std::time::Duration;

use mssql_tds::{
    connection::{
        cursor_ops::CursorClient as _,
        tds_client::{ExecuteOptions, PreparedStatement, ResultSet as _},
    },
    core::{CancelHandle, TdsResult},
    cursor::{CursorConcurrency, CursorScrollOption, FetchDirection},
    datatypes::{column_values::ColumnValues, sqltypes::SqlType},
    error::Error,
    message::transaction_management::TransactionIsolationLevel::NoChange,
};

use crate::session::{Answer, Session, given};

/// Longer than any test waits.
const FOREVER: &str = "WAITFOR DELAY '01:00:00'";

pub(crate) async fn cursors(session: &mut Session) -> TdsResult<()> {
    let sql = format!("SELECT owner, name FROM items WHERE owner = {}", session.me);
    let count = session.count().await? as usize;
    let (scroll, concurrency) = (CursorScrollOption::STATIC, CursorConcurrency::READONLY);
    let opened = session
        .client
        .cursor_open(&sql, scroll, concurrency, 0, None, None)
        .await?;
    let mut rows = 0;
    loop {
        let (cursor, next) = (opened.cursor_id, FetchDirection::NEXT);
        session.client.cursor_fetch(cursor, next, 0, 20, None, None).await?;
        let fetched = session.rest().await?;
        session.client.close_query().await?;
        assert!(
            fetched.iter().all(|row| row[0] == ColumnValues::Int(session.me)),
            "{fetched:?}"
        );
        rows += fetched.len();
        if fetched.is_empty() {
            break;
        }
        // others have their turn between the portions
        assert_eq!(session.number("SELECT 1").await?, 1);
    }
    assert_eq!(rows, count);
    session.client.cursor_close(opened.cursor_id, None, None).await?;
    println!("ok cursors");
    Ok(())
}

pub(crate) async fn cancel(session: &mut Session) -> TdsResult<()> {
    let slow = session
        .client
        .execute(FOREVER.to_owned(), ExecuteOptions::new().timeout_secs(1))
        .await;
    assert!(matches!(slow, Err(Error::TimeoutError(_))), "{slow:?}");
    assert_eq!(session.number("SELECT 1").await?, 1);

    // what was done before it stays, and the transaction with it
    let before = session.count().await?;
    session.client.begin_transaction(NoChange, None).await?;
    assert_eq!(
        session
            .change("INSERT INTO items (owner, name) VALUES (@me, N'before')", vec![])
            .await?,
        1
    );
    let handle = CancelHandle::new();
    let options = ExecuteOptions::new().cancel(&handle);
    let slow = session
        .client
        .execute_sp_executesql(FOREVER.to_owned(), vec![], options);
    let (cancelled, ()) = tokio::join!(slow, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        handle.cancel();
    });
    assert!(
        matches!(cancelled, Err(Error::OperationCancelledError(_))),
        "{cancelled:?}"
    );
    assert_eq!(session.open_transactions().await?, 1);
    assert_eq!(session.count().await?, before + 1);
    session.client.rollback_transaction(None, None).await?;

    // a result that is left behind
    let series = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200000) \
                  SELECT i, REPLICATE(N'x', 50) FROM n OPTION (MAXRECURSION 0)";
    session.client.execute(series.to_owned(), ()).await?;
    let first = session.client.next_row().await?.expect("a row");
    assert_eq!(first[0], ColumnValues::Int(1));
    session.client.cancel_query(60).await?;
    assert_eq!(session.count().await?, before);
    println!("ok cancel");
    Ok(())
}

/// What a pool does between two borrowers: the next request tells the server to reset the session.
pub(crate) async fn reset(session: &mut Session) -> TdsResult<()> {
    const FIRST_DAY: &str = "SELECT CAST(@@DATEFIRST AS int)";
    let before = session.count().await?;
    let mut statement = PreparedStatement::new("SELECT @number + 1");
    for preserve_transaction in [false, true, false] {
        session.batch("SET DATEFIRST 3").await?;
        assert_eq!(session.number(FIRST_DAY).await?, 3);
        assert_successor(session, &mut statement).await?;
        session.client.begin_transaction(NoChange, None).await?;
        assert_eq!(
            session
                .change("INSERT INTO items (owner, name) VALUES (@me, N'left')", vec![])
                .await?,
            1
        );
        if !preserve_transaction {
            session.batch("CREATE TABLE #mine (me int)").await?;
        }
        session.client.prepare_reset_connection(preserve_transaction);
        assert_eq!(session.number(FIRST_DAY).await?, 7);
        assert_eq!(session.open_transactions().await?, i32::from(preserve_transaction));
        session.fails(208, "SELECT me FROM #mine").await;
        assert_successor(session, &mut statement).await?;
        assert_eq!(session.client.has_active_transaction(), preserve_transaction);
        if preserve_transaction {
            session.client.rollback_transaction(None, None).await?;
        }
        assert_eq!(session.count().await?, before);
    }
    println!("ok reset");
    Ok(())
}

/// The statement's handle, old or new, is its own.
async fn assert_successor(session: &mut Session, statement: &mut PreparedStatement) -> TdsResult<()> {
    let parameters = vec![given("@number", SqlType::Int(Some(41)))];
    let first = session
        .client
        .execute_prepared(statement, parameters, &mut None, ())
        .await?;
    assert_eq!(
        session.answers(first).await?,
        [Answer::Rows(vec![vec![ColumnValues::Int(42)]])]
    );
    Ok(())
}
