//! The T-SQL of the stand-in: each statement means what SQL Server means by it, or is refused by name.

use weir_tests::mssql::{Options, StandIn, client::RawClient};

/// Statements, and the rows of all their results; NULL is `-`.
const MEANS: &[(&str, &[&str])] = &[
    (
        "SELECT 1 + 2, 7 / 2, 7 % 4, 7 / 2.0, 'a' + 'b' + CAST(1 AS varchar(3)), N'ä' + N'ö'",
        &["3,3,3,3.500000,ab1,äö"],
    ),
    (
        "SELECT LEN('ab  '), UPPER('x'), ISNULL(NULL, 5), COALESCE(NULL, 'b'), NULLIF(1, 1), IIF(1 = 1, 'a', 'b'), CONCAT('a', 1, NULL, 'b')",
        &["2,X,5,b,-,a,a1b"],
    ),
    (
        "SELECT CHARINDEX('c', 'abc'), LEFT('abc', 2), RIGHT('abc', 2), SUBSTRING('abcd', 2, 2), STUFF('abcd', 2, 2, 'XX'), REPLICATE('ab', 2), REPLACE('abc', 'b', 'x')",
        &["3,ab,bc,bc,aXXd,abab,axc"],
    ),
    (
        "SELECT CAST('12' AS int), CAST(1.9 AS int), CONVERT(varchar(10), CAST('2024-05-06' AS date), 120), CAST(5 AS decimal(6,2)), CAST(0x41 AS varchar(5)), CAST('longer' AS varchar(3))",
        &["12,1,2024-05-06,5.00,A,lon"],
    ),
    (
        "SELECT DATEADD(day, 1, CAST('2024-02-28' AS date)), DATEADD(month, 1, CAST('2024-01-31' AS date)), DATEDIFF(day, '2024-01-01', '2024-03-01'), DATEPART(year, '2024-05-06')",
        &["2024-02-29,2024-02-29,60,2024"],
    ),
    (
        "SELECT 1 WHERE 'a' = 'A' AND 'abc' LIKE '[a-c]B%' AND 'x' NOT IN ('y', 'z') AND 5 BETWEEN 1 AND 9",
        &["1"],
    ),
    ("SELECT TOP 2 owner FROM accounts ORDER BY owner DESC", &["3", "2"]),
    (
        "SELECT owner FROM accounts ORDER BY owner OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY",
        &["2"],
    ),
    (
        "SELECT COUNT(*), SUM(balance), AVG(balance), MIN(owner), MAX(owner) FROM accounts",
        &["3,61,20,1,3"],
    ),
    (
        "SELECT a.owner, b.balance FROM accounts AS a INNER JOIN dbo.accounts b ON a.owner = b.owner WHERE a.owner = 2",
        &["2,20"],
    ),
    (
        "WITH x AS (SELECT owner FROM accounts), y (o) AS (SELECT owner FROM x WHERE owner > 1) SELECT o FROM y ORDER BY 1",
        &["2", "3"],
    ),
    (
        "SELECT v.b FROM (VALUES (1, 'x'), (2, 'y')) AS v (a, b) ORDER BY v.a DESC",
        &["y", "x"],
    ),
    ("SELECT [the number] = 5, 'x' AS [select]", &["5,x"]),
    (
        "SELECT owner, ROW_NUMBER() OVER (ORDER BY owner DESC) AS n FROM accounts WITH (NOLOCK) ORDER BY owner",
        &["1,3", "2,2", "3,1"],
    ),
    (
        "IF EXISTS (SELECT 1 FROM accounts WHERE owner = 9) SELECT 'yes' ELSE SELECT 'no'",
        &["no"],
    ),
    (
        "DECLARE @i int = 0, @s nvarchar(20) = N''; WHILE @i < 5 BEGIN SET @i += 1; IF @i = 3 CONTINUE; SET @s += CAST(@i AS nvarchar(5)) END SELECT @i, @s",
        &["5,1245"],
    ),
    (
        "DECLARE @s nvarchar(50) = N''; SELECT @s = @s + CAST(owner AS nvarchar(5)) FROM accounts ORDER BY owner DESC; SELECT @s",
        &["321"],
    ),
    (
        "SELECT 1 SELECT 2 IF 1 = 1 BEGIN SELECT 3 END ELSE BEGIN SELECT 4 END SELECT 5",
        &["1", "2", "3", "5"],
    ),
    (
        "SELECT owner INTO #c FROM accounts; INSERT INTO #c SELECT owner + 10 FROM #c; SELECT COUNT(*) FROM #c; DROP TABLE #c; SELECT OBJECT_ID('tempdb..#c')",
        &["6", "-"],
    ),
    (
        "DECLARE @t TABLE (id int, n nvarchar(10)); INSERT @t VALUES (1, N'a'), (2, N'b'); SELECT n FROM @t WHERE id = 2",
        &["b"],
    ),
    (
        "INSERT INTO things (name) OUTPUT inserted.id, inserted.name VALUES (N'one'), (N'two'); SELECT SCOPE_IDENTITY(), @@IDENTITY, @@ROWCOUNT",
        &["1,one", "2,two", "2,2,2"],
    ),
    (
        "UPDATE things SET name = N'new' OUTPUT inserted.name WHERE id = 1; DELETE things OUTPUT deleted.id WHERE id = 1",
        &["new", "1"],
    ),
    (
        "UPDATE a SET balance = 77 FROM accounts a WHERE a.owner = 3; SELECT balance FROM accounts WHERE owner = 3",
        &["77"],
    ),
    (
        "EXEC sp_executesql N'SELECT @a + @b', N'@a int, @b int', @a = 1, @b = 2; EXEC('SELECT 5')",
        &["3", "5"],
    ),
    (
        "DECLARE @s int, @o int; EXEC @s = half 9, @o OUTPUT; SELECT @s, @o",
        &["4,4"],
    ),
    (
        "BEGIN TRY BEGIN TRAN; INSERT INTO accounts VALUES (1, 1); COMMIT END TRY BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE(); ROLLBACK END CATCH",
        &["2627,1"],
    ),
    (
        "BEGIN TRAN; DELETE FROM accounts; SAVE TRAN s; SELECT COUNT(*) FROM accounts; ROLLBACK TRAN; SELECT COUNT(*), @@TRANCOUNT FROM accounts",
        &["0", "3,0"],
    ),
    (
        "DECLARE c CURSOR LOCAL FOR SELECT owner FROM accounts ORDER BY owner; DECLARE @o int, @sum int = 0; OPEN c; FETCH NEXT FROM c INTO @o; WHILE @@FETCH_STATUS = 0 BEGIN SET @sum = @sum + @o; FETCH NEXT FROM c INTO @o END; CLOSE c; DEALLOCATE c; SELECT @sum",
        &["6"],
    ),
    (
        "SET ROWCOUNT 1; SELECT owner FROM accounts ORDER BY owner; SET ROWCOUNT 0",
        &["1"],
    ),
    (
        "EXEC sp_set_session_context N'k', N'v'; SELECT SESSION_CONTEXT(N'k'); SET CONTEXT_INFO 0x0102; SELECT SUBSTRING(CONTEXT_INFO(), 1, 2)",
        &["v", "\u{1}\u{2}"],
    ),
    (
        "SET DATEFIRST 3; SET LANGUAGE Deutsch; SELECT @@DATEFIRST, @@LANGUAGE",
        &["1,Deutsch"],
    ),
    (
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID",
        &[],
    ),
    (
        "SELECT name FROM sys.tables ORDER BY name; SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'accounts' ORDER BY ORDINAL_POSITION",
        &["accounts", "things", "owner,int", "balance,int"],
    ),
    (
        "SELECT N'it''s', 'a' /* /* nested */ comment */ -- to the end\n , 2",
        &["it's,a,2"],
    ),
];

/// Statements that are refused, and with which error.
const REFUSED: &[(&str, &str)] = &[
    (
        "MERGE INTO accounts USING x ON 1 = 1 WHEN MATCHED THEN DELETE;",
        "error 40510 16 1 Statement 'MERGE INTO accounts USING'",
    ),
    ("SELECT * FROM other.dbo.x", "error 40515"),
    ("SELECT owner FROM accounts LIMIT 1", "error 102"),
    ("SELECT owner FROM accounts FOR JSON AUTO", "error 40510"),
    ("CREATE TABLE ##global (i int)", "error 40510"),
    ("CREATE TABLE x (i no_such_type)", "error 2715"),
    ("CREATE TABLE accounts (i int)", "error 2714"),
    ("DROP TABLE no_such_table", "error 3701"),
    ("SET NO_SUCH_OPTION ON", "error 40510"),
    ("SELECT TOP 1 PERCENT owner FROM accounts", "error 40510"),
    ("SELECT typeof(1)", "error 195"),
    ("SELECT 'a' || 'b'", "error 102"),
    ("SELECT CAST(3.14159265358979323846 AS decimal(20,18))", "error 50000"),
    ("SELECT 'open", "error 105"),
    ("INSERT INTO things (id, name) VALUES (5, N'x')", "error 544"),
    ("INSERT INTO accounts VALUES (1)", "error 109"),
    ("UPDATE things SET id = 1", "error 8102"),
    ("EXEC half", "error 201"),
    ("EXEC half 1, 2, 3", "error 8144"),
    ("SELECT weir_cast(1, 'int', '', 0)", "error 195"),
    ("SELECT * FROM weir_columns", "error"),
    ("ROLLBACK", "error 3903"),
    ("DBCC FREEPROCCACHE", "error 40510"),
];

fn server() -> StandIn {
    let server = StandIn::start(Options::default());
    server.execute_script(
        "CREATE TABLE accounts (owner int NOT NULL PRIMARY KEY, balance int NOT NULL)
         CREATE TABLE things (id int IDENTITY PRIMARY KEY, name nvarchar(20) NOT NULL)
         INSERT INTO accounts VALUES (1, 10), (2, 20), (3, 31)
         GO
         CREATE PROCEDURE half @n int, @o int OUTPUT AS SET @o = @n / 2; RETURN @n / 2
         GO",
    );
    server
}

#[test]
fn statements_mean_what_they_mean() {
    let server = server();
    for (sql, expected) in MEANS {
        let rows = server.execute(sql);
        let shown: Vec<String> = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|value| value.as_deref().unwrap_or("-"))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        assert_eq!(shown, *expected, "{sql}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused() {
    let server = server();
    let mut client = RawClient::connect(server.address()).await;
    for (sql, expected) in REFUSED {
        let lines = client.batch(sql).await;
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{sql}: {lines:#?}");
    }
}

#[tokio::test]
async fn double_quotes_follow_the_setting() {
    let server = server();
    let mut client = RawClient::connect(server.address()).await;
    client.batch("SET QUOTED_IDENTIFIER OFF").await;
    assert_eq!(client.batch("SELECT \"it's\" AS a").await[1], "row 'it's'");
    client.batch("SET QUOTED_IDENTIFIER ON").await;
    assert_eq!(
        client.batch("SELECT \"owner\" FROM \"accounts\" WHERE owner = 1").await[1],
        "row 1"
    );
}
