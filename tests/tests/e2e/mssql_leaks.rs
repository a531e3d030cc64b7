//! ISO1 for SQL Server, the leak matrix: every kind of session state, every way to leave, every pool mode, one server
//! connection. The next client must find what a fresh login finds.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use serde_json::json;
use weir_tests::{
    gateway::Gateway,
    metadata::Metadata,
    mssql::{
        DATABASE, Kind as ServerKind, LOGIN, Options, PASSWORD, StandIn,
        client::{Call, Credentials, Defaults, Lines, RawClient},
    },
    turn,
};

use super::leaving::{WAYS, Way};

const USER: &str = "ann";
const USERS_PASSWORD: &str = "canary-2W";
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client does to its session.
enum Dirt {
    /// Batches, one after the other.
    Batches(&'static [&'static str]),
    /// One call.
    Call(fn() -> Call),
    /// A request of the transaction manager, behind ALL_HEADERS, and a batch.
    Manager(&'static [u8], &'static str),
}

struct Kind {
    name: &'static str,
    dirt: Dirt,
}

const fn batch(name: &'static str, batches: &'static [&'static str]) -> Kind {
    Kind {
        name,
        dirt: Dirt::Batches(batches),
    }
}

const KINDS: &[Kind] = &[
    batch(
        "SET options",
        &["SET NOCOUNT ON; SET XACT_ABORT ON; SET ANSI_NULLS OFF; SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL OFF"],
    ),
    batch("SET ROWCOUNT", &["SET ROWCOUNT 1"]),
    batch(
        "SET QUOTED_IDENTIFIER",
        &["SET QUOTED_IDENTIFIER ON", "SET QUOTED_IDENTIFIER OFF"],
    ),
    batch("SET IMPLICIT_TRANSACTIONS", &["SET IMPLICIT_TRANSACTIONS ON"]),
    batch("SET not at the top", &["IF 1 = 1 SET DATEFIRST 3"]),
    batch("SET IDENTITY_INSERT", &["SET IDENTITY_INSERT things ON"]),
    batch("USE", &["USE other"]),
    batch(
        "#temp",
        &["CREATE TABLE #dirty (v nvarchar(10)); INSERT INTO #dirty VALUES (N'dirty')"],
    ),
    batch(
        "#temp by SELECT INTO",
        &["SELECT N'dirty' AS v INTO #dirty FROM honest"],
    ),
    batch("SESSION_CONTEXT", &["EXEC sp_set_session_context N'k', N'dirty'"]),
    Kind {
        name: "SESSION_CONTEXT, a call",
        dirt: Dirt::Call(|| {
            Call::name("sp_set_session_context")
                .text("@key", "k")
                .text("@value", "dirty")
        }),
    },
    batch("isolation level", &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]),
    Kind {
        name: "isolation level of a transaction",
        dirt: Dirt::Manager(&[5, 0, 4, 0], "COMMIT"),
    },
    batch(
        "cursor",
        &["DECLARE dirty_cursor CURSOR GLOBAL FOR SELECT v FROM honest; OPEN dirty_cursor"],
    ),
    Kind {
        name: "cursor, a call",
        dirt: Dirt::Call(|| {
            Call::id(2)
                .int("", None, true)
                .text("", "SELECT v FROM honest")
                .int("", Some(8), true)
                .int("", Some(1), true)
                .int("", None, true)
        }),
    },
    Kind {
        name: "sp_prepare handle",
        dirt: Dirt::Call(|| {
            Call::id(11)
                .int("@handle", None, true)
                .text("", "")
                .text("", "SELECT 'dirty' AS d")
        }),
    },
    Kind {
        name: "sp_prepexec handle",
        dirt: Dirt::Call(|| {
            Call::id(13)
                .int("", None, true)
                .text("", "")
                .text("", "SELECT 'dirty' AS d")
        }),
    },
    batch("app lock", &["EXEC sp_getapplock 'dirty', 'Exclusive', 'Session'"]),
    batch(
        "app lock of a transaction",
        &["BEGIN TRAN; EXEC sp_getapplock 'dirty', 'Exclusive', 'Transaction'"],
    ),
    batch(
        "open transaction",
        &["BEGIN TRAN; INSERT INTO written VALUES (N'dirty')"],
    ),
    Kind {
        name: "open transaction of the manager",
        dirt: Dirt::Manager(&[5, 0, 0, 0], "INSERT INTO written VALUES (N'dirty')"),
    },
    batch(
        "implicit transaction",
        &["SET IMPLICIT_TRANSACTIONS ON", "INSERT INTO written VALUES (N'dirty')"],
    ),
    batch(
        "doomed transaction",
        &["SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT XACT_STATE() END CATCH"],
    ),
    batch(
        "nested transaction",
        &[
            "BEGIN TRAN",
            "BEGIN TRAN; INSERT INTO written VALUES (N'dirty')",
            "COMMIT",
        ],
    ),
    batch(
        "@@ROWCOUNT and @@IDENTITY",
        &["INSERT INTO things (name) VALUES (N'a'), (N'b'), (N'c')"],
    ),
    batch("EXECUTE AS", &["EXECUTE AS USER = 'dirty'"]),
    batch("EXECUTE AS LOGIN", &["EXECUTE AS LOGIN = 'dirty'"]),
    batch(
        "EXECUTE AS, and a bit of REVERT",
        &["EXECUTE AS USER = 'a'; EXECUTE AS USER = 'b'", "REVERT"],
    ),
    batch("app role", &["EXEC sp_setapprole 'dirty', 'x'"]),
    Kind {
        name: "app role, a call",
        dirt: Dirt::Call(|| {
            Call::name("sp_setapprole")
                .text("@rolename", "dirty")
                .text("@password", "x")
        }),
    },
    batch("language", &["SET LANGUAGE Deutsch"]),
    batch("dateformat", &["SET DATEFORMAT dmy"]),
    batch("LOCK_TIMEOUT", &["SET LOCK_TIMEOUT 4711"]),
    batch("TEXTSIZE", &["SET TEXTSIZE 17"]),
    batch("CONTEXT_INFO", &["SET CONTEXT_INFO 0x4711"]),
    batch("bulk load announced", &["INSERT BULK written (v nvarchar(10))"]),
];

/// The answer of a connection that another client keeps.
const PINNED: &str = "all connections are in use";

/// The handle of a session's first cursor.
const CURSOR: i32 = 180_150_002;

/// Long enough to be cancelled, and short enough for servers that end it before they hear of that.
const WAIT: &str = "WAITFOR DELAY '00:00:00.3'";

/// Dirt that no question shows: whether a bulk load was announced only its data would tell.
const INVISIBLE: &[&str] = &["bulk load announced"];

const FIXTURE: &str = "
    CREATE TABLE honest (v nvarchar(10)); INSERT INTO honest VALUES (N'one'), (N'two');
    CREATE TABLE written (v nvarchar(10)); CREATE TABLE things (id int IDENTITY PRIMARY KEY, name nvarchar(20) NOT NULL);
";

fn server(kind: ServerKind) -> StandIn {
    let server = StandIn::start(Options {
        kind,
        databases: vec![DATABASE.to_owned(), "other".to_owned()],
        ..Options::default()
    });
    server.execute(FIXTURE);
    server
}

/// What a client sees of its session, each question with the tokens of the answer; or that it has to wait for too long.
async fn fingerprint(client: &mut RawClient) -> io::Result<Vec<String>> {
    const QUESTIONS: &[&str] = &[
        // First what the next statement would change.
        "SELECT @@ROWCOUNT AS r, @@ERROR AS e",
        "SELECT @@IDENTITY AS i, SCOPE_IDENTITY() AS s",
        "SELECT @@OPTIONS AS o, @@DATEFIRST AS d, @@LANGUAGE AS l, @@LOCK_TIMEOUT AS t, @@TEXTSIZE AS s",
        "DBCC USEROPTIONS",
        "SELECT @@TRANCOUNT AS c, XACT_STATE() AS x",
        "SELECT DB_NAME() AS d, USER_NAME() AS u, SUSER_SNAME() AS s, ORIGINAL_LOGIN() AS o",
        "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID",
        "SELECT OBJECT_ID('tempdb..#dirty') AS o, SESSION_CONTEXT(N'k') AS k, CONTEXT_INFO() AS i",
        "SELECT v FROM honest ORDER BY v",
        "SELECT v FROM written",
        "SELECT v FROM #dirty",
        "SELECT \"it\" AS q",
        "SELECT N'x' + NULL AS n",
        "FETCH NEXT FROM dirty_cursor",
        "INSERT INTO things (id, name) VALUES (1000, N'x')",
        "SELECT @@TRANCOUNT AS c",
    ];
    let mut found = Vec::new();
    for question in QUESTIONS {
        client.start(0, question).await;
        found.push(format!("{question}: {}", tokens(client).await?));
        if found[0].contains(": error 10928 ") {
            return Ok(vec![PINNED.to_owned()]);
        }
    }
    let fetch = Call::id(7)
        .int("", Some(CURSOR), false)
        .int("", Some(2), false)
        .int("", Some(0), false)
        .int("", Some(1), false);
    let execute = |handle| Call::id(12).int("", Some(handle), false);
    for (what, call) in [("handle 1", execute(1)), ("handle 2", execute(2)), ("cursor", fetch)] {
        let payload = [client.headers(), call.body().to_vec()].concat();
        client.send(3, 0, &payload).await?;
        found.push(format!("{what}: {}", tokens(client).await?));
    }
    Ok(found)
}

async fn tokens(client: &mut RawClient) -> io::Result<String> {
    let lines = tokio::time::timeout(PATIENCE, client.read())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // The state of an error tells where in the server it was raised, which is nobody's business.
    let shown: Vec<String> = lines
        .iter()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["error", number, class, _, ..] => format!("error {number} {class}"),
            _ => line.clone(),
        })
        .collect();
    Ok(shown.join(" | "))
}

/// A request and its answer. Errors do not matter: a pool mode may refuse some of it, and then the connection may end.
async fn ask(client: &mut RawClient, kind: u8, body: &[u8]) -> Option<Lines> {
    let mut payload = client.headers();
    payload.extend(body);
    client.send(kind, 0, &payload).await.ok()?;
    tokio::time::timeout(PATIENCE, client.read()).await.ok()?.ok()
}

async fn ask_batch(client: &mut RawClient, sql: &str) -> Option<Lines> {
    ask(client, 1, &utf16(sql)).await
}

async fn send_batch(client: &mut RawClient, sql: &str) {
    let payload = [client.headers(), utf16(sql)].concat();
    let _ = client.send(1, 0, &payload).await;
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

async fn soil(client: &mut RawClient, kind: &Kind) -> Vec<Option<Lines>> {
    let mut heard = Vec::new();
    match &kind.dirt {
        Dirt::Batches(batches) => {
            for sql in *batches {
                heard.push(ask_batch(client, sql).await);
            }
        }
        Dirt::Call(call) => heard.push(ask(client, 3, call().body()).await),
        Dirt::Manager(body, sql) => {
            heard.push(ask(client, 0x0E, body).await);
            heard.push(ask_batch(client, sql).await);
        }
    }
    heard
}

async fn leave(mut client: RawClient, way: Way) {
    match way {
        Way::Stays | Way::Clean | Way::InTransaction => {}
        Way::AtRest => client.abort(),
        Way::InMidAnswer => {
            let sql = "SELECT REPLICATE('dirty', 1500) AS d FROM sys.objects a, sys.objects b, sys.objects c";
            send_batch(&mut client, sql).await;
            let _ = tokio::time::timeout(PATIENCE, client.read_some()).await;
            client.abort();
        }
        Way::AfterAnError => {
            ask_batch(&mut client, "SELECT 1 / 0 AS x; SELECT v FROM nowhere").await;
        }
        Way::AfterACancel => {
            send_batch(&mut client, WAIT).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = client.attention().await;
            for _ in 0..2 {
                let read = tokio::time::timeout(PATIENCE, client.read()).await;
                match read {
                    Ok(Ok(lines)) if !lines.iter().any(|line| line.starts_with("done 0020")) => {}
                    _ => break,
                }
            }
        }
    }
}

struct Site {
    server: StandIn,
    gateway: Gateway,
}

impl Site {
    fn start(kind: ServerKind, mode: &str) -> Site {
        Site::asking(kind, mode, "learn")
    }

    /// `functions`: what is done for those who ask for `@@IDENTITY` and its like.
    fn asking(kind: ServerKind, mode: &str, functions: &str) -> Site {
        let server = server(kind);
        let string = format!(
            "Server=tcp:127.0.0.1,{};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};Encrypt=optional;TrustServerCertificate=yes",
            server.port()
        );
        let connection = json!({
            "connection_string": string,
            "pool_settings": { "max_connections": 1, "pool_timeout": 1 },
        });
        let metadata = Metadata::new()
            .source(json!({ "name": "erp", "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }))
            .overlay(json!({
                "name": "erp",
                "pool_settings": { "pool_mode": mode },
                "session_functions": functions,
            }))
            .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
            .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
        let gateway = Gateway::start(&metadata);
        Site { server, gateway }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address("tds")
    }

    async fn visit(&self) -> io::Result<RawClient> {
        self.visit_with(Defaults::Odbc).await
    }

    async fn visit_with(&self, defaults: Defaults) -> io::Result<RawClient> {
        let credentials = Credentials {
            user: USER,
            password: USERS_PASSWORD,
            database: "erp",
            defaults,
            ..Credentials::default()
        };
        let (client, lines) = tokio::time::timeout(PATIENCE, RawClient::log_in(self.address(), &credentials))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match lines.iter().any(|line| line.starts_with("loginack")) {
            true => Ok(client),
            false => Err(io::Error::other(lines.join(" | "))),
        }
    }

    /// What the next client finds.
    async fn next_client(&self, defaults: Defaults) -> io::Result<Vec<String>> {
        fingerprint(&mut self.visit_with(defaults).await?).await
    }

    /// What others would wait for, once the next client has been served.
    async fn is_locked(&self) -> bool {
        let mut other = RawClient::connect(self.server.address()).await;
        let lines = other
            .batch("DECLARE @r int; EXEC @r = sp_getapplock 'dirty', 'Exclusive', 'Session', 0; SELECT @r AS r")
            .await;
        !lines.iter().any(|line| line == "row 0")
    }
}

async fn matrix(kind: ServerKind, mode: &'static str) {
    matrix_before(Defaults::Odbc, kind, mode).await;
}

/// The next client starts with these defaults; those that leave something behind have ODBC's.
async fn matrix_before(defaults: Defaults, kind: ServerKind, mode: &'static str) {
    let _turn = turn::light();
    let site = Site::start(kind, mode);
    let credentials = Credentials {
        defaults,
        ..Credentials::default()
    };
    let (mut direct, _) = RawClient::log_in(site.server.address(), &credentials).await.unwrap();
    let fresh = fingerprint(&mut direct).await.unwrap();
    drop(direct);
    // In statement mode transactions are refused, and what was to be in one is committed.
    let compares = |question: &str| mode != "statement" || !question.starts_with("SELECT v FROM written");
    let different = |fresh: &[String], found: &[String]| {
        let pairs = fresh.iter().cloned().zip(found.iter().cloned());
        let different = pairs.filter(|(expected, found)| expected != found && compares(expected));
        different.collect::<Vec<_>>()
    };
    let mut leaks = String::new();
    let (mut cells, mut pinned, mut bad) = (0, 0, 0);
    for dirt in KINDS {
        for way in WAYS {
            // In session mode a client that stays keeps its connection, whatever it did.
            if *way == Way::Stays && mode == "session" {
                continue;
            }
            cells += 1;
            site.server.execute("DELETE FROM written");
            let mut client = site.visit().await.unwrap();
            if *way == Way::InTransaction {
                ask_batch(&mut client, "BEGIN TRAN").await;
            }
            soil(&mut client, dirt).await;
            let mut kept = Some(client);
            if *way != Way::Stays {
                leave(kept.take().expect("it is there"), *way).await;
            }
            match site.next_client(defaults).await {
                // Pinned to the client that is still there: as good, and said with the proper number.
                Ok(found) if *way == Way::Stays && found == [PINNED] => pinned += 1,
                Ok(found) if found == [PINNED] => {
                    bad += 1;
                    writeln!(leaks, "{} / {way:?}: {PINNED}", dirt.name).unwrap();
                }
                Ok(found) if different(&fresh, &found).is_empty() => {
                    if kept.is_none() && site.is_locked().await {
                        bad += 1;
                        writeln!(leaks, "{} / {way:?}: the lock is still held", dirt.name).unwrap();
                    }
                }
                Ok(found) => {
                    bad += 1;
                    writeln!(leaks, "{} / {way:?}:", dirt.name).unwrap();
                    for (expected, found) in different(&fresh, &found) {
                        writeln!(leaks, "   expected {expected}\n   found    {found}").unwrap();
                    }
                }
                Err(error) => {
                    bad += 1;
                    writeln!(leaks, "{} / {way:?}: {error}", dirt.name).unwrap();
                }
            }
        }
    }
    eprintln!("leak matrix over TDS, {kind:?}, {mode} mode: {cells} cells, {pinned} of them pinned");
    let leaks: String = leaks.split_inclusive('\n').take(300).collect();
    assert!(bad == 0, "{bad} of {cells} cells leak in {mode} mode:\n{leaks}");
}

#[tokio::test]
async fn nothing_leaks_in_transaction_mode() {
    matrix(ServerKind::SqlServer, "transaction").await;
}

#[tokio::test]
async fn nothing_leaks_in_session_mode() {
    matrix(ServerKind::SqlServer, "session").await;
}

#[tokio::test]
async fn nothing_leaks_in_statement_mode() {
    matrix(ServerKind::SqlServer, "statement").await;
}

/// A server that must be asked for transactions, whose reset leaves things behind.
#[tokio::test]
async fn nothing_leaks_in_transaction_mode_on_a_server_of_the_probe_kind() {
    matrix(ServerKind::Probe, "transaction").await;
}

/// A session with the server's own defaults, on a connection that has ODBC's.
#[tokio::test]
#[ignore = "long: make nightly"]
async fn nothing_leaks_to_clients_of_other_drivers() {
    matrix_before(Defaults::Servers, ServerKind::SqlServer, "transaction").await;
    matrix_before(Defaults::Servers, ServerKind::Probe, "transaction").await;
}

#[tokio::test]
#[ignore = "long: make nightly"]
async fn nothing_leaks_in_the_other_modes_on_a_server_of_the_probe_kind() {
    matrix(ServerKind::Probe, "session").await;
    matrix(ServerKind::Probe, "statement").await;
}

/// What may insert and does not leaves `@@IDENTITY` as it is: it must not become the client's own by that.
#[tokio::test]
async fn what_may_have_inserted_tells_nobody_of_the_client_before() {
    let _turn = turn::light();
    const INSERT: &str = "INSERT INTO things (name) VALUES (N'a')";
    const QUESTION: &str = "SELECT @@IDENTITY AS i, SCOPE_IDENTITY() AS s";
    const INSERTS: &str = "an INSERT in a scope of its own";
    let perhaps = [
        ("EXEC", 1, utf16("EXEC sp_executesql N'SELECT v FROM honest'")),
        (
            "a call",
            3,
            Call::name("sp_executesql")
                .text("", "SELECT v FROM honest")
                .body()
                .to_vec(),
        ),
        (
            "an INSERT that fails",
            1,
            utf16("INSERT INTO things (name) VALUES (NULL)"),
        ),
        (
            "an INSERT of no rows",
            1,
            utf16("INSERT INTO things (name) SELECT v FROM honest WHERE v = N'x'"),
        ),
        (
            INSERTS,
            1,
            utf16("EXEC sp_executesql N'INSERT INTO things (name) VALUES (N''b'')'"),
        ),
    ];
    for kind in [ServerKind::SqlServer, ServerKind::Probe] {
        for functions in ["learn", "pin", "forget"] {
            let site = Site::asking(kind, "transaction", functions);
            for (name, message, body) in &perhaps {
                let mut before = site.visit().await.unwrap();
                ask_batch(&mut before, INSERT).await.unwrap();
                drop(before);
                let mut client = site.visit().await.unwrap();
                ask(&mut client, *message, body).await.unwrap();
                let told = ask_batch(&mut client, QUESTION).await.unwrap();
                let row = told.iter().find(|line| line.starts_with("row")).unwrap();
                let is_its_own = match *name {
                    // Its own identity or none, which is no concern of this scope's.
                    INSERTS => row.ends_with(" null"),
                    _ => row == "row null null",
                };
                assert!(is_its_own, "{kind:?}, {functions}: {name}: {told:#?}");
            }
        }
    }
}

/// The matrix can fail: on the soiled connection itself every kind shows, or others see it.
#[tokio::test]
async fn every_kind_of_dirt_is_seen_on_its_own_connection() {
    let _turn = turn::light();
    let server = server(ServerKind::SqlServer);
    let fresh = fingerprint(&mut RawClient::connect(server.address()).await)
        .await
        .unwrap();
    let mut unseen = Vec::new();
    for kind in KINDS {
        let mut client = RawClient::connect(server.address()).await;
        let heard = soil(&mut client, kind).await;
        let refused = heard
            .iter()
            .flatten()
            .flatten()
            .any(|line| line.starts_with("error 40510"));
        assert!(!refused, "{}: {heard:#?}", kind.name);
        let mut other = RawClient::connect(server.address()).await;
        let lines = other
            .batch("DECLARE @r int; EXEC @r = sp_getapplock 'dirty', 'Exclusive', 'Session', 0; SELECT @r AS r")
            .await;
        let locked = !lines.iter().any(|line| line == "row 0");
        let found = fingerprint(&mut client).await.unwrap_or_default();
        if found == fresh && !locked && !INVISIBLE.contains(&kind.name) {
            unseen.push((kind.name, heard));
        }
        let rows = server.execute("SELECT COUNT(*) FROM written");
        assert_eq!(
            rows,
            [[Some("0".to_owned())]],
            "{} was not to commit anything",
            kind.name
        );
    }
    assert!(unseen.is_empty(), "these leave no trace: {unseen:#?}");
}
