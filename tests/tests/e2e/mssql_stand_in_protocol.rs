//! What the stand-in SQL Server owes to the protocol, token by token: transactions, resets, handles, Attention, state.

use std::time::Duration;

use weir_tests::mssql::{
    Faults, Kind, Options, StandIn,
    client::{Call, Credentials, Lines, RawClient},
};

const RESET: u8 = 0x08;
const RESET_KEEPING_TRANSACTION: u8 = 0x10;
const IGNORE: u8 = 0x02;

async fn start(kind: Kind) -> (StandIn, RawClient) {
    let server = StandIn::start(Options {
        kind,
        ..Options::default()
    });
    server.execute("CREATE TABLE t (id int PRIMARY KEY, name nvarchar(20))");
    let client = RawClient::connect(server.address()).await;
    (server, client)
}

/// Lines without what differs from run to run: descriptors.
fn plain(lines: &Lines) -> Vec<&str> {
    lines
        .iter()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["env", "8", ..] => "begun",
            ["env", "9", ..] => "committed",
            ["env", "10", ..] => "rolled back",
            ["env", "18", ..] => "reset",
            _ => line.trim_end(),
        })
        .collect()
}

#[tokio::test]
async fn login_in_the_order_of_sql_server() {
    let (server, _) = start(Kind::SqlServer).await;
    let credentials = Credentials {
        features: &[(1, &[]), (0x0A, &[1]), (0x0D, &[1])],
        packet_size: 8000,
        ..Credentials::default()
    };
    let (mut client, lines) = RawClient::log_in(server.address(), &credentials).await.unwrap();
    assert_eq!(
        lines,
        [
            "env 1 appdb master",
            "info 5701 0 2 Changed database context to 'appdb'.",
            "env 7 0904d00034 ",
            "env 2 us_english ",
            "info 5703 0 1 Changed language setting to us_english.",
            "loginack 74000004",
            "env 4 8000 8000",
            "features 01 0a",
            "done 0000 0 0",
        ]
    );
    let one = client.batch("SELECT 1 AS one").await;
    assert_eq!(one, ["columns one:int", "row 1", "done 0010 c1 1"]);
    for (user, password, database, number) in [
        ("app", "wrong", "appdb", "error 18456"),
        ("nobody", "x", "", "error 18456"),
        ("app", weir_tests::mssql::PASSWORD, "nowhere", "error 4060"),
    ] {
        let credentials = Credentials {
            user,
            password,
            database,
            ..Credentials::default()
        };
        let (_, lines) = RawClient::log_in(server.address(), &credentials).await.unwrap();
        assert!(lines[0].starts_with(number), "{lines:#?}");
        assert!(lines.last().unwrap().starts_with("done 0002"), "{lines:#?}");
    }
}

#[tokio::test]
async fn outermost_transactions_are_announced_and_no_others() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    assert_eq!(plain(&client.batch("BEGIN TRAN").await), ["begun", "done 0000 d4 0"]);
    assert_ne!(client.descriptor, 0);
    assert_eq!(
        plain(&client.batch("BEGIN TRAN; SELECT @@TRANCOUNT").await),
        ["done 0001 d4 0", "columns :int", "row 2", "done 0010 c1 1"]
    );
    assert_eq!(plain(&client.batch("COMMIT").await), ["done 0000 d5 0"]);
    assert_eq!(plain(&client.batch("COMMIT").await), ["committed", "done 0000 d5 0"]);
    assert_eq!(
        plain(&client.batch("BEGIN TRAN; SAVE TRAN a; ROLLBACK TRAN a; ROLLBACK").await),
        [
            "begun",
            "done 0001 d4 0",
            "done 0001 2 0",
            "done 0001 d2 0",
            "rolled back",
            "done 0000 d2 0"
        ]
    );
    assert_eq!(
        plain(&client.batch("COMMIT").await)[0],
        "error 3902 16 1 The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION."
    );

    // requests of the transaction manager: begin; commit and begin; roll back
    assert_eq!(
        plain(&client.transaction(&[5, 0, 0, 0]).await),
        ["begun", "done 0000 d4 0"]
    );
    let first = client.descriptor;
    assert_eq!(
        plain(&client.transaction(&[7, 0, 0, 1, 0, 0]).await),
        ["committed", "begun", "done 0000 d5 0"]
    );
    assert_ne!(client.descriptor, first);
    assert_eq!(plain(&client.transaction(&[5, 0, 0, 0]).await), ["done 0000 d4 0"]);
    assert_eq!(
        plain(&client.transaction(&[8, 0, 0, 0]).await),
        ["rolled back", "done 0000 d2 0"]
    );
    assert!(client.transaction(&[7, 0, 0, 0]).await[0].starts_with("error 3902"));

    // implicit transactions begin with the first statement that uses a table
    assert_eq!(
        plain(&client.batch("SET IMPLICIT_TRANSACTIONS ON; SELECT 1 AS a").await),
        ["done 0001 f9 0", "columns a:int", "row 1", "done 0010 c1 1"]
    );
    assert_eq!(plain(&client.batch("SELECT id FROM t").await)[0], "begun");
    assert_eq!(
        plain(&client.batch("IF @@TRANCOUNT > 0 COMMIT TRAN").await),
        ["committed", "done 0000 d5 0"]
    );
}

#[tokio::test]
async fn a_wrong_descriptor_is_refused() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    client.descriptor = 77;
    assert!(client.batch("SELECT 1").await[0].starts_with("error 3971"));
    client.descriptor = 0;
    client.batch("BEGIN TRAN").await;
    client.descriptor = 0;
    assert!(client.batch("SELECT 1").await[0].starts_with("error 3989"));
}

#[tokio::test]
async fn errors_end_what_they_end() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    // the statement
    let lines = client
        .batch("INSERT INTO t VALUES (1, N'a'); INSERT INTO t VALUES (1, N'b'); SELECT @@ERROR; SELECT COUNT(*) FROM t")
        .await;
    assert!(lines[1].starts_with("error 2627 14 1"), "{lines:#?}");
    assert_eq!(
        plain(&lines)[3..],
        [
            "columns :int",
            "row 2627",
            "done 0011 c1 1",
            "columns :int",
            "row 1",
            "done 0010 c1 1"
        ]
    );
    // the batch
    let lines = client.batch("SELECT * FROM nowhere; SELECT 1").await;
    assert_eq!(
        plain(&lines),
        ["error 208 16 1 Invalid object name 'nowhere'.", "done 0002 fd 0"]
    );
    // nothing, because it is caught
    let lines = client
        .batch("BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER() AS n, XACT_STATE() AS x END CATCH")
        .await;
    assert!(plain(&lines).ends_with(&["row 8134 0", "done 0010 c1 1"]), "{lines:#?}");
    // the transaction, under XACT_ABORT
    client
        .batch("SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO t VALUES (2, N'x')")
        .await;
    let lines = client.batch("INSERT INTO t VALUES (2, N'y'); SELECT 1").await;
    assert_eq!(plain(&lines)[1..], ["rolled back", "done 0002 c3 0"]);
    assert_eq!(client.batch("SELECT COUNT(*), @@TRANCOUNT FROM t").await[1], "row 1 0");
    // a doomed transaction can only be rolled back
    let doomed = "BEGIN TRAN BEGIN TRY INSERT INTO t VALUES (1, N'again') END TRY BEGIN CATCH SELECT XACT_STATE() AS x; INSERT INTO t VALUES (9, N'no') END CATCH";
    let lines = client.batch(doomed).await;
    assert!(plain(&lines).contains(&"row -1"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("error 3930")), "{lines:#?}");
    assert!(plain(&lines).contains(&"rolled back"), "{lines:#?}");
    client.batch("SET XACT_ABORT OFF").await;
    // what is not known is named
    let lines = client.batch("GRANT SELECT ON t TO public").await;
    assert!(
        lines[0].starts_with("error 40510") && lines[0].contains("GRANT SELECT"),
        "{lines:#?}"
    );
    for (sql, number) in [
        ("SELEC 1; SELECT 2", "2812"),
        ("SELECT FROM t", "102"),
        ("SELECT nope FROM t", "207"),
        ("SELECT NOPE(1)", "195"),
        ("SELECT @nope", "137"),
        ("INSERT INTO t VALUES (NULL, N'x')", "515"),
        ("INSERT INTO t VALUES (5, N'012345678901234567890')", "2628"),
        ("INSERT INTO t VALUES (N'x', N'y')", "245"),
        ("INSERT INTO t VALUES (3000000000, N'y')", "8115"),
        ("THROW 51000, N'mine', 3", "51000"),
        ("EXEC no_such_procedure", "2812"),
        ("USE no_such_database", "911"),
    ] {
        let lines = client.batch(sql).await;
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("error {number} "))),
            "{sql}: {lines:#?}"
        );
    }
}

#[tokio::test]
async fn a_reset_leaves_a_session_as_after_login_but_for_its_isolation_level() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    client.batch("SET DATEFIRST 3; SET NOCOUNT ON; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; CREATE TABLE #x (i int); USE master").await;
    let prepared = client
        .call(
            Call::id(11)
                .int("@handle", None, true)
                .text("", "")
                .text("", "SELECT 5 AS five")
                .body(),
        )
        .await;
    assert_eq!(prepared, ["status 0", "return 0 @handle 1", "doneproc 0000 e0 0"]);
    client.batch("BEGIN TRAN").await;
    let state = "SELECT @@DATEFIRST, @@OPTIONS & 512, @@TRANCOUNT, DB_NAME(), OBJECT_ID('tempdb..#x'), transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID";
    let lines = client.batch_with(RESET, state).await;
    assert_eq!(plain(&lines)[0], "reset");
    assert_eq!(
        plain(&lines)[2..],
        ["row 7 0 0 'appdb' null 4", "done 0010 c1 1"],
        "{lines:#?}"
    );
    let gone = client.call(Call::id(12).int("", Some(1), false).body()).await;
    assert_eq!(
        gone,
        [
            "error 8179 16 2 Could not find prepared statement with handle 1.",
            "doneproc 0002 e0 0"
        ]
    );
    // the other reset keeps the transaction
    client
        .batch("BEGIN TRAN; INSERT INTO t VALUES (1, N'x'); SET DATEFIRST 3")
        .await;
    let lines = client
        .batch_with(RESET_KEEPING_TRANSACTION, "SELECT @@TRANCOUNT, @@DATEFIRST")
        .await;
    assert_eq!(
        plain(&lines),
        ["reset", "columns :int :tinyint", "row 1 7", "done 0010 c1 1"]
    );
    assert_eq!(plain(&client.batch("COMMIT").await), ["committed", "done 0000 d5 0"]);
    assert_eq!(client.batch("SELECT COUNT(*) FROM t").await[1], "row 1");
}

#[tokio::test]
async fn prepared_handles() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    let prepexec = Call::id(13)
        .int("", None, true)
        .text("", "@a int")
        .text("", "SELECT @a + 1 AS b")
        .int("", Some(4), false);
    assert_eq!(
        client.call(prepexec.body()).await,
        [
            "columns b:int",
            "row 5",
            "doneinproc 0011 c1 1",
            "status 0",
            "return 0  1",
            "doneproc 0000 e0 0"
        ]
    );
    let execute = |value| Call::id(12).int("", Some(1), false).int("", Some(value), false);
    assert_eq!(client.call(execute(6).body()).await[..2], ["columns b:int", "row 7"]);
    // several in a message: all but the last say that they are not alone
    let lines = client.call(execute(1).then(&execute(2)).body()).await;
    assert_eq!(
        plain(&lines),
        [
            "columns b:int",
            "row 2",
            "doneinproc 0011 c1 1",
            "status 0",
            "doneproc 0081 e0 0",
            "columns b:int",
            "row 3",
            "doneinproc 0011 c1 1",
            "status 0",
            "doneproc 0000 e0 0"
        ]
    );
    assert_eq!(
        client.call(Call::id(15).int("", Some(1), false).body()).await,
        ["status 0", "doneproc 0000 e0 0"]
    );
    assert!(client.call(execute(1).body()).await[0].starts_with("error 8179"));
    // what a call sets ends with it
    client
        .call(Call::id(10).text("", "SET DATEFIRST 2; CREATE TABLE #y (i int)").body())
        .await;
    assert_eq!(
        client.batch("SELECT @@DATEFIRST, OBJECT_ID('tempdb..#y')").await[1],
        "row 7 null"
    );
    // a transaction that a call leaves open
    let lines = client.call(Call::id(10).text("", "BEGIN TRAN").body()).await;
    assert!(lines.iter().any(|line| line.starts_with("error 266 ")), "{lines:#?}");
    client.batch("ROLLBACK").await;
    // one that begins by itself is nobody's mismatch: drivers in manual commit live from it
    client.batch("SET IMPLICIT_TRANSACTIONS ON").await;
    let lines = client
        .call(Call::id(10).text("", "INSERT INTO t VALUES (1, N'a')").body())
        .await;
    assert_eq!(plain(&lines)[0], "begun");
    assert!(!lines.iter().any(|line| line.starts_with("error ")), "{lines:#?}");
    client.batch("ROLLBACK; SET IMPLICIT_TRANSACTIONS OFF").await;
    // cursors
    let open = Call::id(2)
        .int("", None, true)
        .text("", "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3")
        .int("", Some(8), true)
        .int("", Some(1), true)
        .int("", None, true);
    let lines = client.call(open.body()).await;
    let handle: i32 = lines
        .iter()
        .find_map(|line| line.strip_prefix("return 0  "))
        .unwrap()
        .parse()
        .unwrap();
    let fetch = Call::id(7)
        .int("", Some(handle), false)
        .int("", Some(2), false)
        .int("", Some(0), false)
        .int("", Some(2), false);
    assert_eq!(
        client.call(fetch.body()).await[..3],
        ["columns n:int", "row 1", "row 2"]
    );
    assert_eq!(client.call(fetch.body()).await[..2], ["columns n:int", "row 3"]);
    assert_eq!(
        client.call(Call::id(9).int("", Some(handle), false).body()).await,
        ["status 0", "doneproc 0000 e0 0"]
    );
}

#[tokio::test]
async fn attention_is_acknowledged_in_a_message_of_its_own() {
    let (_server, mut client) = start(Kind::SqlServer).await;
    client.attention().await.unwrap();
    assert_eq!(client.read().await.unwrap(), ["done 0020 fd 0"]);
    // while it waits, while it works, and twice
    let endless =
        "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n OPTION (MAXRECURSION 0)";
    for (sql, times) in [("WAITFOR DELAY '00:01'", 1), (endless, 1), ("WAITFOR DELAY '00:01'", 2)] {
        client.start(0, sql).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..times {
            client.attention().await.unwrap();
        }
        assert_eq!(client.read().await.unwrap(), ["done 0002 fd 0"]);
        for _ in 0..times {
            assert_eq!(client.read().await.unwrap(), ["done 0020 fd 0"]);
        }
    }
    // a transaction stays, unless XACT_ABORT is on
    for (option, count) in [("OFF", 1), ("ON", 0)] {
        client.batch(&format!("SET XACT_ABORT {option}; BEGIN TRAN")).await;
        client.start(0, "WAITFOR DELAY '00:01'").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.attention().await.unwrap();
        let lines = client.read().await.unwrap();
        assert_eq!(plain(&lines).contains(&"rolled back"), count == 0, "{lines:#?}");
        client.read().await.unwrap();
        assert_eq!(client.batch("SELECT @@TRANCOUNT").await[1], format!("row {count}"));
        if count == 1 {
            client.batch("ROLLBACK").await;
        }
    }
    // a call
    let mut payload = client.headers();
    payload.extend(Call::id(10).text("", "WAITFOR DELAY '00:01'").body());
    client.send(3, 0, &payload).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.attention().await.unwrap();
    assert_eq!(client.read().await.unwrap(), ["doneproc 0002 e0 0"]);
    assert_eq!(client.read().await.unwrap(), ["done 0020 fd 0"]);
    // a request that is given up while it is sent
    assert_eq!(
        client.batch_with(IGNORE, "INSERT INTO t VALUES (1, N'x')").await,
        ["done 0002 0 0"]
    );
    // whatever of it has been sent
    let call = Call::id(10).text("", "INSERT INTO t VALUES (1, N'x')").body().to_vec();
    assert_eq!(
        client.call_with(IGNORE, &call[..call.len() - 3]).await,
        ["done 0002 0 0"]
    );
    assert_eq!(client.batch("SELECT COUNT(*) FROM t").await[1], "row 0");
}

#[tokio::test]
async fn session_state_says_what_cannot_be_recovered() {
    let (server, _) = start(Kind::SqlServer).await;
    let credentials = Credentials {
        features: &[(1, &[])],
        ..Credentials::default()
    };
    let (mut client, _) = RawClient::log_in(server.address(), &credentials).await.unwrap();
    let states = |lines: &Lines| {
        lines
            .iter()
            .filter(|line| line.starts_with("state"))
            .cloned()
            .collect::<Vec<_>>()
    };
    for (sql, expected) in [
        ("SELECT 1", &[][..]),
        ("SET DATEFIRST 3", &["state 1 9"]),
        ("CREATE TABLE #x (i int)", &["state 0 32"]),
        ("INSERT INTO #x VALUES (1)", &[]),
        ("DROP TABLE #x", &["state 1 32"]),
        ("BEGIN TRAN", &["state 0 34"]),
        ("COMMIT", &["state 1 34"]),
        ("EXEC sp_getapplock 'x', 'Exclusive', 'Session'", &["state 0 35"]),
        ("EXEC sp_releaseapplock 'x', 'Session'", &["state 1 35"]),
        ("DECLARE c CURSOR FOR SELECT 1", &["state 0 33"]),
        ("DEALLOCATE c", &["state 1 33"]),
        ("USE master", &["state 1 0"]),
    ] {
        let lines = client.batch(sql).await;
        assert_eq!(states(&lines), expected, "{sql}: {lines:#?}");
        assert!(lines.last().unwrap().starts_with("done"), "{lines:#?}");
    }
}

#[tokio::test]
async fn writers_wait_for_each_other_as_long_as_they_said() {
    let (server, mut first) = start(Kind::SqlServer).await;
    let mut second = RawClient::connect(server.address()).await;
    first.batch("BEGIN TRAN; INSERT INTO t VALUES (1, N'x')").await;
    let lines = second
        .batch("SET LOCK_TIMEOUT 50; INSERT INTO t VALUES (2, N'y')")
        .await;
    assert!(lines[1].starts_with("error 1222 "), "{lines:#?}");
    // nobody waits to log in
    let mut third = RawClient::connect(server.address()).await;
    assert_eq!(third.batch("SELECT 3 AS three").await[1], "row 3");
    // readers see what is committed, and do not wait
    assert_eq!(second.batch("SELECT COUNT(*) FROM t").await[1], "row 0");
    second
        .start(0, "SET LOCK_TIMEOUT -1; INSERT INTO t VALUES (2, N'y')")
        .await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    first.batch("COMMIT").await;
    assert_eq!(second.read().await.unwrap().last().unwrap(), "done 0010 c3 1");
    // a snapshot that is too old cannot be written to
    for (level, number) in [("SNAPSHOT", "3960"), ("SERIALIZABLE", "1205")] {
        second
            .batch(&format!(
                "SET TRANSACTION ISOLATION LEVEL {level}; BEGIN TRAN; SELECT COUNT(*) FROM t"
            ))
            .await;
        assert_eq!(
            first
                .batch(&format!("UPDATE t SET name = N'{level}' WHERE id = 1"))
                .await,
            ["done 0010 c5 1"]
        );
        let lines = second.batch("UPDATE t SET name = N'w' WHERE id = 1").await;
        assert!(lines[0].starts_with(&format!("error {number} ")), "{lines:#?}");
        assert_eq!(plain(&lines)[1], "rolled back");
    }
}

#[tokio::test]
async fn a_server_of_the_probe_kind_behaves_as_one() {
    let (_server, mut client) = start(Kind::Probe).await;
    assert_eq!(plain(&client.batch("BEGIN TRAN").await), ["done 0000 2 0"]);
    assert_eq!(client.batch("SELECT @@TRANCOUNT").await[1], "row 1");
    assert_eq!(plain(&client.batch("COMMIT").await), ["done 0000 2 0"]);
    assert_eq!(
        plain(&client.transaction(&[5, 0, 0, 0]).await),
        ["done 0001 2 0", "begun", "done 0000 d4 0"]
    );
    assert_eq!(
        plain(&client.transaction(&[7, 0, 0, 1, 0, 0]).await),
        ["done 0001 2 0", "done 0001 2 0", "committed", "begun", "done 0000 d5 0"]
    );
    assert_eq!(
        plain(&client.transaction(&[5, 0, 0, 0]).await),
        ["done 0001 2 0", "begun", "done 0000 d4 0"]
    );
    assert_eq!(
        plain(&client.transaction(&[7, 0, 0, 0]).await),
        ["done 0001 2 0", "committed", "done 0000 d5 0"]
    );
    assert_eq!(client.batch("SELECT @@TRANCOUNT").await[1], "row 1");
    assert_eq!(
        plain(&client.transaction(&[8, 0, 0, 0]).await),
        ["done 0001 2 0", "rolled back", "done 0000 d2 0"]
    );
    let lines = client.transaction(&[7, 0, 0, 0]).await;
    assert!(lines[0].starts_with("error 3902"));
    assert_eq!(plain(&lines)[1..], ["done 0003 2 0", "committed", "done 0000 d5 0"]);
    // a reset rolls back and goes on counting
    client.batch("BEGIN TRAN; INSERT INTO t VALUES (1, N'x')").await;
    assert_eq!(
        plain(&client.batch_with(RESET, "SELECT @@TRANCOUNT").await)[..3],
        ["reset", "columns :int", "row 1"]
    );
    client.batch("ROLLBACK").await;
    assert_eq!(client.batch("SELECT COUNT(*) FROM t").await[1], "row 0");
    assert!(client.batch_with(RESET_KEEPING_TRANSACTION, "SELECT 1").await[0].starts_with("error 33557097"));
    assert!(client.call(Call::name("sp_reset_connection").body()).await[0].starts_with("error"));
    // what a call sets stays
    client.call(Call::id(10).text("", "SET DATEFIRST 2").body()).await;
    assert_eq!(client.batch("SELECT @@DATEFIRST").await[1], "row 2");
    // an Attention waits for the statement
    client.start(0, "WAITFOR DELAY '00:00:00.300'").await;
    client.attention().await.unwrap();
    assert_eq!(client.read().await.unwrap(), ["done 0000 2 0"]);
    assert_eq!(client.read().await.unwrap(), ["done 0020 fd 0"]);
}

#[tokio::test]
async fn faults_are_as_bad_as_they_are_told() {
    let (server, mut client) = start(Kind::SqlServer).await;
    server.inflict(Faults {
        missing_reset_acknowledgement: true,
        ..Faults::default()
    });
    assert_eq!(
        plain(&client.batch_with(RESET, "SELECT 1 AS a").await)[0],
        "columns a:int"
    );
    server.inflict(Faults {
        unknown_token: Some(0x42),
        only_texts_with: Some("bad".to_owned()),
        ..Faults::default()
    });
    assert_eq!(client.batch("SELECT 'good' AS a").await[1], "row 'good'");
    client.start(0, "SELECT 'bad' AS a").await;
    assert!(client.read().await.unwrap_err().to_string().contains("0x42"));
    server.inflict(Faults {
        early_end: Some(10),
        ..Faults::default()
    });
    client.start(0, "SELECT 'short' AS a").await;
    assert!(client.read().await.is_err());
    server.inflict(Faults {
        drop_at: Some(weir_tests::mssql::DropPoint::Answer(5)),
        ..Faults::default()
    });
    client.start(0, "SELECT 'lost' AS a").await;
    assert_eq!(
        client.read().await.unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    server.inflict(Faults::default());
    tokio::time::timeout(Duration::from_secs(10), async {
        while server.open_sessions() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}
