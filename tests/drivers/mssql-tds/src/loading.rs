//! Much at once: values that are sent piece by piece, tables as parameters, bulk copy.

use async_trait::async_trait;
use mssql_tds::{
    connection::{
        bulk_copy::{BulkCopy, BulkLoadRow},
        tds_client::{PreparedStatement, StatementResult, StreamedParamStatus},
    },
    core::TdsResult,
    datatypes::{
        column_values::ColumnValues,
        decoder::DecimalParts,
        sql_tvp::{TvpColumnDef, TvpTableData, TvpTypeName},
        sqltypes::SqlType,
    },
    message::{
        bulk_load::StreamingBulkLoadWriter,
        parameters::rpc_parameters::{RpcParameter, StatusFlags, StreamedSqlType},
        transaction_management::TransactionIsolationLevel::NoChange,
    },
};

use crate::session::{Session, given, name, text};

/// How many pieces a value is sent in, each larger than a packet.
const PIECES: usize = 20;

/// A request that its client has not finished: the server waits for the rest, or is told that there will be none.
pub(crate) async fn streamed(session: &mut Session) -> TdsResult<()> {
    let piece = "äß三x".repeat(2_500);
    let sql = "UPDATE items SET notes = @notes WHERE owner = @me AND name = N'other'";
    let parameters = |me| {
        let notes = Some("@notes".to_owned());
        vec![
            given("@me", SqlType::Int(Some(me))),
            RpcParameter::data_at_exec(notes, StatusFlags::NONE, StreamedSqlType::NVarcharMax),
        ]
    };
    let status = session
        .client
        .begin_sp_executesql(sql.to_owned(), parameters(session.me), ())
        .await?;
    expect_need(&status);
    write(session, &piece, PIECES).await?;
    expect_change(session.client.end_streamed_param().await?);
    session.client.close_query().await?;
    assert_notes(session, &piece.repeat(PIECES)).await?;

    // given up: before anything was sent, and with half of it at the server, in a transaction or not
    for (pieces, transaction) in [(0, false), (PIECES / 2, false), (PIECES / 2, true)] {
        if transaction {
            session.client.begin_transaction(NoChange, None).await?;
        }
        let status = session
            .client
            .begin_sp_executesql(sql.to_owned(), parameters(session.me), ())
            .await?;
        expect_need(&status);
        write(session, "lost", 1).await?;
        write(session, &piece, pieces).await?;
        session.client.cancel_streamed_write().await;
        assert_eq!(session.open_transactions().await?, i32::from(transaction));
        assert_notes(session, &piece.repeat(PIECES)).await?;
        if transaction {
            session.client.commit_transaction(None, None).await?;
        }
    }

    let mut statement = PreparedStatement::new(sql);
    for pieces in [3, 2] {
        let (client, replaced) = (&mut session.client, &mut None);
        let begun = client.begin_execute_prepared(&mut statement, parameters(session.me), replaced, ());
        expect_need(&begun.await?);
        write(session, &piece, pieces).await?;
        expect_change(
            session
                .client
                .end_execute_prepared_param(&mut statement, &mut None)
                .await?,
        );
        session.client.close_query().await?;
        assert_notes(session, &piece.repeat(pieces)).await?;
    }
    session
        .client
        .unprepare(statement.take_id().expect("it has been prepared"), ())
        .await?;
    println!("ok streamed");
    Ok(())
}

async fn write(session: &mut Session, piece: &str, pieces: usize) -> TdsResult<()> {
    let piece: Vec<u8> = piece.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for _ in 0..pieces {
        session.client.write_streamed_chunk(&piece).await?;
    }
    Ok(())
}

fn expect_need(status: &StreamedParamStatus) {
    assert!(matches!(status, StreamedParamStatus::NeedData { .. }), "{status:?}");
}

fn expect_change(status: StreamedParamStatus) {
    let changed = StatementResult::NoRows { rows_affected: Some(1) };
    assert_eq!(status, StreamedParamStatus::Complete(changed));
}

async fn assert_notes(session: &mut Session, notes: &str) -> TdsResult<()> {
    let rows = session
        .rows("SELECT notes FROM items WHERE owner = @me AND name = N'other'", vec![])
        .await?;
    assert!(rows == [[text(notes)]], "other notes");
    Ok(())
}

pub(crate) async fn tables(session: &mut Session) -> TdsResult<()> {
    let before = session.count().await?;
    let rows = |count: i32| -> Vec<Vec<SqlType>> {
        (0..count)
            .map(|row| vec![SqlType::Int(Some(row)), item_name(Some(&format!("listed {row}")))])
            .collect()
    };
    for (table, count) in [(Some(rows(500)), 500), (Some(rows(0)), 0), (None, 0)] {
        let columns = vec![
            TvpColumnDef::new(SqlType::Int(None)),
            TvpColumnDef::new(item_name(None)),
        ];
        let name = TvpTypeName::new(Some("dbo".to_owned()), "item_list".to_owned());
        let list = SqlType::Table(name, table.map(|rows| TvpTableData::new(columns, rows)));
        let parameters = vec![given("@owner", SqlType::Int(Some(session.me))), given("@list", list)];
        session.client.begin_transaction(NoChange, None).await?;
        let first = session
            .client
            .execute_stored_procedure("add_list".to_owned(), None, Some(parameters), ())
            .await?;
        session.answers(first).await?;
        assert_eq!(session.count().await?, before + count);
        session.client.rollback_transaction(None, None).await?;
    }
    assert_eq!(session.count().await?, before);
    println!("ok tables");
    Ok(())
}

/// `nvarchar(50)`, as the table's type has it.
fn item_name(text: Option<&str>) -> SqlType {
    match text.map(name) {
        Some(SqlType::NVarchar(text, _)) => SqlType::NVarchar(text, 50),
        _ => SqlType::NVarchar(None, 50),
    }
}

/// Rows of `bulk_items`.
struct Line {
    owner: i32,
    number: i32,
}

#[async_trait]
impl BulkLoadRow for Line {
    async fn write_to_packet(&self, writer: &mut StreamingBulkLoadWriter<'_>, column: &mut usize) -> TdsResult<()> {
        let values = [
            ColumnValues::Int(self.owner),
            ColumnValues::Int(self.number),
            text(&format!("bulk {}", self.number)),
            ColumnValues::Decimal(DecimalParts::from_string(&format!("{}.5", self.number), 12, 4)?),
            ColumnValues::Null,
            ColumnValues::Null,
            ColumnValues::Bytes(vec![7; (self.number % 50) as usize]),
        ];
        for value in &values {
            writer.write_column_value(*column, value).await?;
            *column += 1;
        }
        Ok(())
    }
}

pub(crate) async fn bulk(session: &mut Session) -> TdsResult<()> {
    let owner = session.me;
    let lines = || (0..300).map(|number| Line { owner, number });
    let loaded = BulkCopy::new(&mut session.client, "bulk_items")
        .write_to_server_zerocopy(lines())
        .await?;
    assert_eq!(loaded.rows_affected, 300);
    assert_bulk(session, 300).await?;
    BulkCopy::new(&mut session.client, "dbo.bulk_items")
        .batch_size(100)
        .use_internal_transaction(true)
        .write_to_server_zerocopy(lines())
        .await?;
    assert_bulk(session, 600).await?;
    // as part of a transaction
    session.client.begin_transaction(NoChange, None).await?;
    BulkCopy::new(&mut session.client, "bulk_items")
        .table_lock(true)
        .write_to_server_zerocopy(lines())
        .await?;
    assert_bulk(session, 900).await?;
    session.client.rollback_transaction(None, None).await?;
    assert_bulk(session, 600).await?;
    assert_eq!(
        session
            .change("DELETE FROM bulk_items WHERE owner = @me", vec![])
            .await?,
        600
    );
    println!("ok bulk");
    Ok(())
}

async fn assert_bulk(session: &mut Session, count: i32) -> TdsResult<()> {
    let sql = "SELECT COUNT(*), SUM(id), SUM(DATALENGTH(data)) FROM bulk_items WHERE owner = @me AND amount = id + 0.5";
    let expected = [count, count / 300 * 44_850, count / 300 * 7_350].map(ColumnValues::Int);
    assert_eq!(session.rows(sql, vec![]).await?, [expected]);
    Ok(())
}
