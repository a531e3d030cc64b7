//! Statements: rows in and out, procedures, several results, values and packets of any size.

use mssql_tds::{
    connection::tds_client::{BatchErrorMode, CursorColumn, ExecuteOptions, StatementResult},
    core::TdsResult,
    datatypes::{
        column_values::{ColumnValues, SqlDateTime2, SqlTime},
        decoder::DecimalParts,
        sql_string::SqlString,
        sqltypes::SqlType,
    },
    message::parameters::rpc_parameters::{RpcParameter, StatusFlags},
};
use uuid::Uuid;

use crate::session::{Answer, Session, expect_error, given, name, text};

/// Rows that one statement makes up.
const SERIES: &str = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
                      SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)";

pub(crate) async fn crud(session: &mut Session) -> TdsResult<()> {
    let made = SqlDateTime2 {
        days: 738_944,
        time: SqlTime {
            // in units of 100 ns, whatever the field's name says
            time_nanoseconds: 452_967_890_000,
            scale: 3,
        },
    };
    let price = DecimalParts::from_string("12.5000", 12, 4)?;
    let code = Uuid::from_u128(0x6F96_19FF_8B86_D011_B42D_00C0_4FC9_64FF);
    let item = session
        .rows(
            "INSERT INTO items (owner, name, price, made, data, code) OUTPUT inserted.id VALUES (@me, @name, @price, @made, @data, @code)",
            vec![
                given("@name", name("näme 三")),
                given("@price", SqlType::Decimal(Some(price.clone()))),
                given("@made", SqlType::DateTime2(Some(made.clone()))),
                given("@data", SqlType::VarBinaryMax(Some(vec![0, 1, 255]))),
                given("@code", SqlType::Uuid(Some(code))),
            ],
        )
        .await?;
    let [ColumnValues::Int(item)] = item[0][..] else {
        panic!("{item:?}")
    };
    let by_id = || vec![given("@id", SqlType::Int(Some(item)))];
    let rows = session
        .rows(
            "SELECT owner, name, price, made, data, code, notes FROM items WHERE id = @id",
            by_id(),
        )
        .await?;
    let expected = vec![
        ColumnValues::Int(session.me),
        text("näme 三"),
        ColumnValues::Decimal(price),
        ColumnValues::DateTime2(made),
        ColumnValues::Bytes(vec![0, 1, 255]),
        ColumnValues::Uuid(code),
        ColumnValues::Null,
    ];
    assert_eq!(rows, [expected]);
    let dated = "SELECT id FROM items WHERE id = @id AND made = CAST('2024-02-29T12:34:56.789' AS datetime2(3))";
    assert_eq!(session.rows(dated, by_id()).await?, [[ColumnValues::Int(item)]]);
    assert_eq!(
        session
            .change("UPDATE items SET name = N'other' WHERE id = @id", by_id())
            .await?,
        1
    );
    assert_eq!(
        session
            .change("DELETE FROM items WHERE owner = @me AND name = N'näme 三'", vec![])
            .await?,
        0
    );
    println!("ok crud");
    Ok(())
}

pub(crate) async fn procedures(session: &mut Session) -> TdsResult<()> {
    let before = session.count().await?;
    for (procedure, rows) in [("add_item", vec![vec![text("called")]]), ("add_quietly", Vec::new())] {
        let owner = given("@owner", SqlType::Int(Some(session.me)));
        let id = RpcParameter::new(Some("@id".to_owned()), StatusFlags::BY_REF_VALUE, SqlType::Int(None));
        let parameters = vec![owner, given("@name", name("called")), id];
        let first = session
            .client
            .execute_stored_procedure(procedure.to_owned(), None, Some(parameters), ())
            .await?;
        let answers = session.answers(first).await?;
        let found: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Rows(rows) => Some(rows),
                Answer::Count(_) => None,
            })
            .flatten()
            .collect();
        assert_eq!(found, rows, "{procedure}");
        let returned = session.client.get_return_values();
        assert!(
            matches!(returned[..], [ref one] if matches!(one.value, ColumnValues::Int(id) if id > 0)),
            "{returned:?}"
        );
        let status = if procedure == "add_item" { 7 } else { 0 };
        assert_eq!(session.client.get_return_status(), Some(status), "{procedure}");
    }
    assert_eq!(session.count().await?, before + 2);
    println!("ok procedures");
    Ok(())
}

pub(crate) async fn results(session: &mut Session) -> TdsResult<()> {
    let batch = "SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b WHERE 1 = 0; SELECT N'x' AS c";
    let answers = session.batch(batch).await?;
    let messages = session.client.take_info_messages();
    assert!(
        messages.iter().any(|message| message.message == "between"),
        "{messages:?}"
    );
    let expected = [
        Answer::Rows(vec![vec![ColumnValues::Int(1)]]),
        Answer::Count(None),
        Answer::Rows(vec![]),
        Answer::Rows(vec![vec![text("x")]]),
    ];
    assert_eq!(answers, expected);
    // a statement that fails, and what comes after it
    let options = ExecuteOptions::new().on_error(BatchErrorMode::Continue);
    let batch = "SELECT 1 AS a; RAISERROR('boom', 16, 1); SELECT 2 AS b";
    assert_eq!(
        session.client.execute(batch.to_owned(), options).await?,
        StatementResult::Rows
    );
    assert_eq!(session.rest().await?, [[ColumnValues::Int(1)]]);
    expect_error(&session.client.advance().await.expect_err("the second fails"), 50_000);
    assert!(session.client.has_open_batch());
    let rest = session.client.advance().await?;
    assert_eq!(
        session.answers(rest).await?,
        [Answer::Rows(vec![vec![ColumnValues::Int(2)]])]
    );
    println!("ok results");
    Ok(())
}

/// Values of 120,000 and 100,000 bytes, whole and in pieces, and thousands of rows.
pub(crate) async fn large(session: &mut Session) -> TdsResult<()> {
    let notes = "äß三".repeat(20_000);
    let data = vec![7u8; 100_000];
    let parameters = vec![
        given(
            "@notes",
            SqlType::NVarcharMax(Some(SqlString::from_utf8_string(notes.clone()))),
        ),
        given("@data", SqlType::VarBinaryMax(Some(data.clone()))),
    ];
    let update = "UPDATE items SET notes = @notes, data = @data WHERE owner = @me AND name = N'other'";
    assert_eq!(session.change(update, parameters).await?, 1);
    let query = "SELECT notes, data FROM items WHERE owner = @me AND name = N'other'";
    assert_eq!(
        session.rows(query, vec![]).await?,
        [[text(&notes), ColumnValues::Bytes(data.clone())]]
    );

    let query = query.replace("@me", &session.me.to_string());
    assert_eq!(session.client.execute(query, ()).await?, StatementResult::Rows);
    assert!(session.client.next_row_cursor().await?);
    let utf16: Vec<u8> = notes.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (column, expected) in [utf16, data].into_iter().enumerate() {
        assert!(pieces(session, column).await? == expected, "column {column}");
    }
    session.client.close_query().await?;

    assert_series(session).await?;
    println!("ok large");
    Ok(())
}

/// A column, 5,000 bytes at a time.
async fn pieces(session: &mut Session, column: usize) -> TdsResult<Vec<u8>> {
    let found = session.client.read_row_column(column).await?;
    assert!(matches!(found, CursorColumn::PlpStreaming { .. }), "{found:?}");
    let (mut value, mut buffer) = (Vec::new(), [0; 5_000]);
    loop {
        let piece = session.client.read_active_plp_chunk(&mut buffer).await?;
        value.extend_from_slice(&buffer[..piece.read]);
        if piece.reached_end {
            return Ok(value);
        }
    }
}

async fn assert_series(session: &mut Session) -> TdsResult<()> {
    let rows = session.rows(SERIES, vec![]).await?;
    assert_eq!(rows.len(), 3_000);
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row[..], [ColumnValues::Int(number), text(&format!("row {number}"))]);
    }
    Ok(())
}

/// Packets of any size: values lie across their ends.
pub(crate) async fn packets(me: i32) -> TdsResult<()> {
    for size in [512, 8_192, 32_764] {
        let mut session = Session::open_with(me, |context| context.packet_size = size).await?;
        assert_series(&mut session).await?;
        let long = "ä".repeat(3_000);
        let parameter = SqlType::NVarchar(Some(SqlString::from_utf8_string(long.clone())), 4_000);
        assert_eq!(
            session.rows("SELECT @long", vec![given("@long", parameter)]).await?,
            [[text(&long)]]
        );
        session.close().await?;
    }
    println!("ok packets");
    Ok(())
}
