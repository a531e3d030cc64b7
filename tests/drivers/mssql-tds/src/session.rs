//! A connection, and the few calls that the steps are made of.

use std::{env, path::PathBuf};

use mssql_tds::{
    connection::{
        client_context::ClientContext,
        tds_client::{ExecuteOptions, ResultSet as _, StatementResult, TdsClient},
    },
    connection_provider::tds_connection_provider::TdsConnectionProvider,
    core::{EncryptionSetting, TdsResult},
    datatypes::{column_values::ColumnValues, sql_string::SqlString, sqltypes::SqlType},
    error::Error,
    message::parameters::rpc_parameters::{RpcParameter, StatusFlags},
};

pub(crate) type Row = Vec<ColumnValues>;

/// What a statement of a batch brought.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Rows(Vec<Row>),
    /// How many rows it changed, if it said so.
    Count(Option<u64>),
}

/// A connection of an instance.
pub(crate) struct Session {
    pub(crate) client: TdsClient,
    /// The instance's number: the owner of its rows.
    pub(crate) me: i32,
}

impl Session {
    pub(crate) async fn open(me: i32) -> TdsResult<Session> {
        Session::open_with(me, |_| ()).await
    }

    /// A connection whose options have been changed.
    pub(crate) async fn open_with(me: i32, change: impl FnOnce(&mut ClientContext)) -> TdsResult<Session> {
        let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let mut context = ClientContext::default();
        context.user_name = variable("MSSQL_USER");
        context.password = variable("MSSQL_PASSWORD");
        context.database = variable("MSSQL_DATABASE");
        context.application_name = format!("mssql-tds {me}");
        // Whatever goes wrong has to be seen: no connection of its own behind one that broke.
        context.connect_retry_count = 0;
        let encryption = &mut context.encryption_options;
        match env::var("MSSQL_ENCRYPT").as_deref() {
            Ok("strict") => {
                encryption.mode = EncryptionSetting::Strict;
                encryption.server_certificate = Some(PathBuf::from(variable("MSSQL_CERTIFICATE")));
            }
            Ok("yes") => {
                encryption.mode = EncryptionSetting::Required;
                encryption.trust_server_certificate = true;
            }
            _ => encryption.mode = EncryptionSetting::PreferOff,
        }
        change(&mut context);
        let server = format!("tcp:{},{}", variable("MSSQL_HOST"), variable("MSSQL_PORT"));
        let client = TdsConnectionProvider::new()
            .create_client(context, &server, None)
            .await?;
        Ok(Session { client, me })
    }

    pub(crate) async fn close(mut self) -> TdsResult<()> {
        self.client.close_connection().await
    }

    /// The rows of a statement with parameters, of which `@me` is always one.
    pub(crate) async fn rows(&mut self, sql: &str, parameters: Vec<RpcParameter>) -> TdsResult<Vec<Row>> {
        let mut answers = self.ask(sql, parameters).await?;
        assert_eq!(answers.len(), 1, "{sql}: {answers:?}");
        match answers.remove(0) {
            Answer::Rows(rows) => Ok(rows),
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// How many rows a statement has changed.
    pub(crate) async fn change(&mut self, sql: &str, parameters: Vec<RpcParameter>) -> TdsResult<u64> {
        let answers = self.ask(sql, parameters).await?;
        match answers.as_slice() {
            [Answer::Count(Some(count))] => Ok(*count),
            other => panic!("{sql}: {other:?}"),
        }
    }

    async fn ask(&mut self, sql: &str, mut parameters: Vec<RpcParameter>) -> TdsResult<Vec<Answer>> {
        parameters.push(given("@me", SqlType::Int(Some(self.me))));
        let first = self
            .client
            .execute_sp_executesql(sql.to_owned(), parameters, ())
            .await?;
        self.answers(first).await
    }

    /// What a batch without parameters answers, statement by statement.
    pub(crate) async fn batch(&mut self, sql: &str) -> TdsResult<Vec<Answer>> {
        let first = self.client.execute(sql.to_owned(), ExecuteOptions::new()).await?;
        self.answers(first).await
    }

    /// The answers from here to the end of the batch.
    pub(crate) async fn answers(&mut self, first: StatementResult) -> TdsResult<Vec<Answer>> {
        let mut answers = Vec::new();
        let mut result = first;
        loop {
            match result {
                StatementResult::Rows => answers.push(Answer::Rows(self.rest().await?)),
                StatementResult::NoRows { rows_affected } => answers.push(Answer::Count(rows_affected)),
                StatementResult::End => break,
            }
            result = self.client.advance().await?;
        }
        self.client.close_query().await?;
        Ok(answers)
    }

    /// The rows of this result that are still to come.
    pub(crate) async fn rest(&mut self) -> TdsResult<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some(row) = self.client.next_row().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// A number that a batch answers.
    pub(crate) async fn number(&mut self, sql: &str) -> TdsResult<i32> {
        let answers = self.batch(sql).await?;
        match answers.as_slice() {
            [Answer::Rows(rows)] => match rows.as_slice() {
                [row] => match row.as_slice() {
                    [ColumnValues::Int(number)] => Ok(*number),
                    other => panic!("{sql}: {other:?}"),
                },
                other => panic!("{sql}: {other:?}"),
            },
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Rows of this instance.
    pub(crate) async fn count(&mut self) -> TdsResult<i32> {
        let sql = format!("SELECT COUNT(*) FROM items WHERE owner = {}", self.me);
        self.number(&sql).await
    }

    /// Open transactions, as the server counts them.
    pub(crate) async fn open_transactions(&mut self) -> TdsResult<i32> {
        self.number("SELECT CAST(@@TRANCOUNT AS int)").await
    }

    /// A batch that has to fail with this error.
    pub(crate) async fn fails(&mut self, number: u32, sql: &str) {
        match self.batch(sql).await {
            Ok(answers) => panic!("{sql}: {answers:?} instead of error {number}"),
            Err(error) => expect_error(&error, number),
        }
    }
}

#[track_caller]
pub(crate) fn expect_error(error: &Error, number: u32) {
    match error {
        Error::SqlServerError { diagnostics } => {
            let numbers: Vec<u32> = diagnostics.errors.iter().map(|error| error.number).collect();
            assert!(numbers.contains(&number), "{number}: {error}");
        }
        other => panic!("{number}: {other}"),
    }
}

/// A parameter by its name.
pub(crate) fn given(name: &str, value: SqlType) -> RpcParameter {
    RpcParameter::new(Some(name.to_owned()), StatusFlags::NONE, value)
}

/// `nvarchar(100)`.
pub(crate) fn name(text: &str) -> SqlType {
    SqlType::NVarchar(Some(SqlString::from_utf8_string(text.to_owned())), 100)
}

/// What a column of characters holds.
pub(crate) fn text(value: &str) -> ColumnValues {
    ColumnValues::String(SqlString::from_utf8_string(value.to_owned()))
}
