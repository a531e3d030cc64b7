//! Prepared statements: handles that stay, are released, replaced and asked again, one by one and many in a request.

use mssql_tds::{
    connection::tds_client::PreparedStatement,
    core::TdsResult,
    datatypes::{column_values::ColumnValues, sqltypes::SqlType},
    message::parameters::rpc_parameters::RpcParameter,
};

use crate::session::{Answer, Row, Session, expect_error, given, name, text};

pub(crate) async fn handles(session: &mut Session) -> TdsResult<()> {
    let mut doubled = PreparedStatement::new("SELECT @number * 2, @text");
    let mut divided = PreparedStatement::new("SELECT @number / @by");
    for round in 0..10 {
        let rows = ask(
            session,
            &mut doubled,
            vec![number("@number", round), given("@text", name(&format!("t{round}")))],
        );
        assert_eq!(
            rows.await?,
            [[ColumnValues::Int(round * 2), text(&format!("t{round}"))]]
        );
        let rows = ask(
            session,
            &mut divided,
            vec![number("@number", 12), number("@by", round + 1)],
        );
        assert_eq!(rows.await?, [[ColumnValues::Int(12 / (round + 1))]]);
    }
    // one that fails is still there
    let failed = ask(session, &mut divided, vec![number("@number", 1), number("@by", 0)]).await;
    expect_error(&failed.expect_err("a division by zero"), 8134);
    let rows = ask(session, &mut divided, vec![number("@number", 6), number("@by", 2)]);
    assert_eq!(rows.await?, [[ColumnValues::Int(3)]]);
    // one that is released is prepared once more
    let released = divided.take_id().expect("it has been prepared");
    session.client.unprepare(released, ()).await?;
    let rows = ask(session, &mut divided, vec![number("@number", 8), number("@by", 2)]);
    assert_eq!(rows.await?, [[ColumnValues::Int(4)]]);
    // a handle that goes with the request that prepares another
    let mut replaced = doubled.take_id();
    let mut tripled = PreparedStatement::new("SELECT @number * 3");
    let parameters = vec![number("@number", 5)];
    let first = session
        .client
        .execute_prepared(&mut tripled, parameters, &mut replaced, ())
        .await?;
    assert_eq!(
        session.answers(first).await?,
        [Answer::Rows(vec![vec![ColumnValues::Int(15)]])]
    );
    assert!(replaced.is_none());
    for mut statement in [divided, tripled] {
        let id = statement.take_id().expect("it has been prepared");
        session.client.unprepare(id, ()).await?;
    }
    println!("ok handles");
    Ok(())
}

/// Many executions in one request, also with one among them that fails.
pub(crate) async fn many_at_once(session: &mut Session) -> TdsResult<()> {
    let before = session.count().await?;
    let me = session.me;
    let mut insert = PreparedStatement::new("INSERT INTO items (owner, name) SELECT @P1, @P2 WHERE 1 / @P3 = 1");
    for failing in [None, Some(11)] {
        let rows = (0..30).map(|row| {
            let by = if Some(row) == failing { 0 } else { 1 };
            let name = given("@P2", name(&format!("many {row}")));
            Ok((row, vec![number("@P1", me), name, number("@P3", by)]))
        });
        let results = session
            .client
            .execute_prepared_batch(&mut insert, rows, &mut None, ())
            .await?;
        assert!(results.complete, "{results:?}");
        assert_eq!(results.rows.len(), 30);
        for result in &results.rows {
            let numbers: Vec<u32> = result.errors.iter().map(|error| error.number).collect();
            if Some(result.row_index) == failing {
                assert_eq!(numbers, [8134], "{result:?}");
            } else {
                assert_eq!((result.rows_affected, numbers), (Some(1), vec![]), "{result:?}");
            }
        }
    }
    assert_eq!(session.count().await?, before + 59);
    session
        .client
        .unprepare(insert.take_id().expect("it has been prepared"), ())
        .await?;
    println!("ok many at once");
    Ok(())
}

async fn ask(
    session: &mut Session,
    statement: &mut PreparedStatement,
    parameters: Vec<RpcParameter>,
) -> TdsResult<Vec<Row>> {
    let first = session
        .client
        .execute_prepared(statement, parameters, &mut None, ())
        .await?;
    let mut answers = session.answers(first).await?;
    match (answers.pop(), answers.len()) {
        (Some(Answer::Rows(rows)), 0) => Ok(rows),
        other => panic!("{}: {other:?}", statement.sql()),
    }
}

fn number(name: &str, value: i32) -> RpcParameter {
    given(name, SqlType::Int(Some(value)))
}
