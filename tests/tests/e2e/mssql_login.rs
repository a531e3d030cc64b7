//! Logins over TDS, on both sides of the gateway: every way of encryption, who is let in and who is not, and what a man in
//! the middle can do about it.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_tests::{
    certificates::{Authority, Identity},
    clock,
    gateway::Gateway,
    metadata::Metadata,
    mssql::{DATABASE, DropPoint, Encryption, Faults, LOGIN, Options, PASSWORD, StandIn},
    turn,
};

const USER: &str = "ann";
const USERS_PASSWORD: &str = "canary-2W";
const LIMIT: Duration = Duration::from_secs(30);

fn server(encryption: Encryption) -> StandIn {
    StandIn::start(Options {
        encryption,
        ..Options::default()
    })
}

/// How the gateway logs in at the server; `further` keywords at the end.
fn connection_string(port: u16, further: &str) -> String {
    format!(
        "Driver={{ODBC Driver 18 for SQL Server}};Server=tcp:127.0.0.1,{port};Database={DATABASE};UID={LOGIN};PWD={PASSWORD};{further}"
    )
}

fn source(connection: Value) -> Value {
    json!({ "name": "erp", "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] })
}

/// A source `erp` behind a listener `tds`.
fn metadata(port: u16, further: &str) -> Metadata {
    Metadata::new()
        .source(source(json!({ "connection_string": connection_string(port, further) })))
        .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
}

fn listener(ssl: Option<Value>) -> Value {
    let mut listener = json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 });
    if let Some(ssl) = ssl {
        listener["ssl_configuration"] = ssl;
    }
    listener
}

/// With the trust that most clients of a database start with.
const TRUSTING: &str = "Encrypt=yes;TrustServerCertificate=yes";

fn gateway(server: &StandIn) -> Gateway {
    Gateway::start(&metadata(server.port(), TRUSTING).listener(listener(None)))
}

fn ssl(identity: &Identity, mode: &str) -> Value {
    json!({ "sslmode": mode, "sslcert": identity.certificate, "sslkey": identity.key })
}

type Session = Client<Compat<TcpStream>>;

struct Visitor {
    user: &'static str,
    password: &'static str,
    database: Option<&'static str>,
    encryption: EncryptionLevel,
    read_only: bool,
}

impl Visitor {
    fn new() -> Visitor {
        Visitor {
            user: USER,
            password: USERS_PASSWORD,
            database: Some("erp"),
            encryption: EncryptionLevel::Required,
            read_only: false,
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<Session, tiberius::error::Error> {
        let mut config = Config::new();
        config.host(address.ip());
        config.port(address.port());
        config.authentication(AuthMethod::sql_server(self.user, self.password));
        if let Some(database) = self.database {
            config.database(database);
        }
        config.encryption(self.encryption);
        config.readonly(self.read_only);
        config.trust_cert();
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        tokio::time::timeout(LIMIT, Client::connect(config, socket.compat_write()))
            .await
            .expect("no login hangs")
    }

    /// The number and the words of the refusal.
    async fn refused(&self, address: SocketAddr) -> (u32, String) {
        match self.connect(address).await {
            Ok(_) => panic!("{} was let in", self.user),
            Err(tiberius::error::Error::Server(token)) => (token.code(), token.message().to_owned()),
            Err(other) => (0, other.to_string()),
        }
    }
}

async fn ask(session: &mut Session, sql: &str) -> String {
    let row = session.simple_query(sql).await.unwrap().into_row().await.unwrap();
    row.unwrap().get::<&str, _>(0).unwrap().to_owned()
}

#[tokio::test]
async fn every_way_of_encryption_lets_a_client_in() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let gateway = gateway(&server);
    for encryption in [
        EncryptionLevel::NotSupported,
        EncryptionLevel::Off,
        EncryptionLevel::On,
        EncryptionLevel::Required,
    ] {
        let visitor = Visitor {
            encryption,
            ..Visitor::new()
        };
        let mut session = visitor.connect(gateway.address("tds")).await.unwrap();
        assert_eq!(ask(&mut session, "SELECT DB_NAME()").await, DATABASE, "{encryption:?}");
        // More than one packet and one TLS record.
        let long = "x".repeat(50_000);
        let sql = format!("SELECT CAST('{long}' AS varchar(max))");
        assert_eq!(ask(&mut session, &sql).await, long, "{encryption:?}");
    }
    assert_eq!(server.open_sessions(), 1, "all over one server connection");
}

#[tokio::test]
async fn a_listener_that_insists_refuses_clients_without_tls() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let identity = Authority::generate().issue("localhost", &["localhost", "127.0.0.1"]);
    let gateway =
        Gateway::start(&metadata(server.port(), TRUSTING).listener(listener(Some(ssl(&identity, "require")))));
    for encryption in [
        EncryptionLevel::NotSupported,
        EncryptionLevel::Off,
        EncryptionLevel::Required,
    ] {
        // This driver does TLS when it has to, also where it said that it could not.
        let visitor = Visitor {
            encryption,
            ..Visitor::new()
        };
        let outcome = visitor.connect(gateway.address("tds")).await;
        assert!(outcome.is_ok(), "{encryption:?}: {:?}", outcome.err());
    }
    // LOGIN7 in clear all the same, as a man in the middle would like to read it.
    let mut socket = TcpStream::connect(gateway.address("tds")).await.unwrap();
    socket.write_all(&prelogin(2)).await.unwrap();
    let mut answer = [0; 512];
    let read = socket.read(&mut answer).await.unwrap();
    assert_eq!(answer[read - 3], 3, "\"required\", in front of INSTOPT and MARS");
    socket.write_all(&[0x10, 1, 0, 9, 0, 0, 1, 0, 0]).await.unwrap();
    assert_eq!(rest(&mut socket).await, b"", "nothing of it is looked at");
}

#[tokio::test]
async fn whoever_is_not_let_in_hears_the_same_at_the_same_time() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let metadata = metadata(server.port(), TRUSTING)
        .user(json!({ "name": "bob", "certificate": true, "sources": "*" }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    // The first login opens the server connection that all others are let in by.
    drop(Visitor::new().connect(gateway.address("tds")).await.unwrap());
    for (user, password) in [(USER, "wrong"), (USER, ""), ("nobody", USERS_PASSWORD), ("bob", "x")] {
        let visitor = Visitor {
            user,
            password,
            ..Visitor::new()
        };
        let before = clock::now();
        let (number, text) = visitor.refused(gateway.address("tds")).await;
        assert_eq!((number, text), (18456, format!("Login failed for user '{user}'.")));
        assert!(clock::now() - before >= Duration::from_millis(250), "{user}: too soon");
    }
    let reasons = ["wrong password", "no such user", "needs a client certificate"];
    let deadline = clock::now() + LIMIT;
    while !reasons.iter().all(|reason| gateway.log().contains(reason)) {
        assert!(clock::now() < deadline, "the log knows the reasons:\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let log = gateway.log();
    assert!(!log.contains(USERS_PASSWORD) && !log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn a_source_is_chosen_by_the_name_of_the_database() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let metadata = metadata(server.port(), TRUSTING)
        .user(json!({ "name": "eve", "password": USERS_PASSWORD, "sources": [] }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    let address = gateway.address("tds");
    let mut unnamed = Visitor {
        database: None,
        ..Visitor::new()
    };
    let mut session = unnamed.connect(address).await.unwrap();
    assert_eq!(
        ask(&mut session, "SELECT DB_NAME()").await,
        DATABASE,
        "there is only one"
    );
    // The name by which clients ask for it is good for USE as well, though no server knows it.
    let mut named = Visitor::new().connect(address).await.unwrap();
    for sql in ["USE [erp]", "use erp;"] {
        named
            .simple_query("USE master")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap();
        assert_eq!(ask(&mut named, "SELECT DB_NAME()").await, "master");
        named.simple_query(sql).await.unwrap().into_results().await.unwrap();
        assert_eq!(ask(&mut named, "SELECT DB_NAME()").await, DATABASE, "{sql}");
    }
    unnamed.database = Some("nowhere");
    let (number, text) = unnamed.refused(address).await;
    assert_eq!(number, 4060, "{text}");
    let eve = Visitor {
        user: "eve",
        ..Visitor::new()
    };
    let (number, text) = eve.refused(address).await;
    assert_eq!(number, 916, "{text}");
}

#[tokio::test]
async fn logins_of_the_database_are_passed_through_as_themselves() {
    let _turn = turn::light();
    let server = StandIn::start(Options {
        logins: vec![
            (LOGIN.to_owned(), PASSWORD.to_owned()),
            ("carl".to_owned(), "Secret-3-of-carl".to_owned()),
        ],
        ..Options::default()
    });
    let metadata = metadata(server.port(), TRUSTING)
        .overlay(json!({ "name": "erp", "pass_through_login": true }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    let carl = Visitor {
        user: "carl",
        password: "Secret-3-of-carl",
        ..Visitor::new()
    };
    for _ in 0..3 {
        let mut session = carl.connect(gateway.address("tds")).await.unwrap();
        assert_eq!(ask(&mut session, "SELECT SUSER_SNAME()").await, "carl");
    }
    let mut ann = Visitor::new().connect(gateway.address("tds")).await.unwrap();
    assert_eq!(
        ask(&mut ann, "SELECT SUSER_SNAME()").await,
        LOGIN,
        "gateway users share the source's login"
    );
    assert_eq!(server.open_sessions(), 2, "one for each login");

    for (user, password) in [("carl", "wrong"), ("nobody", "x"), (USER, "wrong")] {
        let visitor = Visitor {
            user,
            password,
            ..Visitor::new()
        };
        let (number, text) = visitor.refused(gateway.address("tds")).await;
        assert_eq!((number, text), (18456, format!("Login failed for user '{user}'.")));
    }
    // Who is declared is never tried at the server.
    assert!(server.sessions().iter().all(|session| session.login != USER));
    // The right password still works after the wrong one.
    carl.connect(gateway.address("tds")).await.unwrap();
    assert!(!gateway.log().contains("Secret-3"), "{}", gateway.log());
}

#[tokio::test]
async fn the_gateway_encrypts_to_the_server_as_it_is_told() {
    let _turn = turn::light();
    // Server, keywords, how the line comes out; `None`: not at all.
    for (encryption, keywords, outcome) in [
        (Encryption::Unsupported, "Encrypt=optional", Some("none")),
        (Encryption::Unsupported, TRUSTING, None),
        (Encryption::Optional, "Encrypt=optional", Some("login")),
        (Encryption::Optional, TRUSTING, Some("full")),
        (Encryption::Optional, "Encrypt=yes", None),
        (
            Encryption::Required,
            "Encrypt=optional;TrustServerCertificate=yes",
            Some("full"),
        ),
        (Encryption::Required, "Encrypt=optional", None),
        (Encryption::Required, TRUSTING, Some("full")),
        (Encryption::Strict, TRUSTING, None),
        // Nobody is trusted blindly there.
        (Encryption::Strict, "Encrypt=strict;TrustServerCertificate=yes", None),
    ] {
        let server = server(encryption);
        let gateway = Gateway::start(&metadata(server.port(), keywords).listener(listener(None)));
        let result = Visitor::new().connect(gateway.address("tds")).await;
        let label = format!("{encryption:?} with {keywords}: {:?}", result.as_ref().err());
        assert_eq!(result.is_ok(), outcome.is_some(), "{label}");
        let lines: Vec<_> = server.sessions().iter().map(|session| session.encryption).collect();
        assert_eq!(lines.first().copied(), outcome, "{label}");
    }
}

#[tokio::test]
async fn certificates_of_servers_are_checked_in_every_way_there_is() {
    let _turn = turn::light();
    let authority = Authority::generate();
    let identity = authority.issue("sql.example", &["sql.example"]);
    let files = tempfile::tempdir().unwrap();
    let pinned = files.path().join("server.pem");
    std::fs::write(&pinned, &identity.certificate).unwrap();
    let other = files.path().join("other.pem");
    std::fs::write(&other, authority.issue("sql.example", &["sql.example"]).certificate).unwrap();
    let root = |mode: &str| json!({ "sslmode": mode, "sslrootcert": authority.certificate });
    for (encryption, keywords, overlay, trusted) in [
        (
            Encryption::Optional,
            "Encrypt=yes".to_owned(),
            Some(root("verify-ca")),
            true,
        ),
        (
            Encryption::Optional,
            "Encrypt=yes".to_owned(),
            Some(root("verify-full")),
            false,
        ),
        (
            Encryption::Optional,
            "Encrypt=yes;HostNameInCertificate=sql.example".to_owned(),
            Some(root("verify-full")),
            true,
        ),
        (
            Encryption::Optional,
            format!("Encrypt=yes;ServerCertificate={}", pinned.display()),
            None,
            true,
        ),
        (
            Encryption::Optional,
            format!("Encrypt=yes;ServerCertificate={}", other.display()),
            None,
            false,
        ),
        (
            Encryption::Strict,
            format!("Encrypt=strict;ServerCertificate={}", pinned.display()),
            None,
            true,
        ),
        (
            Encryption::Strict,
            "Encrypt=strict;HostNameInCertificate=*.example".to_owned(),
            Some(root("verify-full")),
            false,
        ),
    ] {
        let server = StandIn::start(Options {
            encryption,
            identity: Some(identity.clone()),
            ..Options::default()
        });
        let mut connection = json!({ "connection_string": connection_string(server.port(), &keywords) });
        if let Some(overlay) = &overlay {
            connection["ssl_configuration"] = overlay.clone();
        }
        let metadata = Metadata::new()
            .source(source(connection))
            .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
            .listener(listener(None));
        let gateway = Gateway::start(&metadata);
        let result = Visitor::new().connect(gateway.address("tds")).await;
        let label = format!("{keywords} {overlay:?}: {:?}", result.as_ref().err());
        assert_eq!(result.is_ok(), trusted, "{label}");
        if !trusted {
            let (number, text) = Visitor::new().refused(gateway.address("tds")).await;
            assert_eq!(number, 945, "{label}: {text}");
        }
    }
}

#[tokio::test]
async fn a_login_needs_no_server_once_one_has_answered() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let connection = json!({
        "connection_string": connection_string(server.port(), TRUSTING),
        "pool_settings": { "max_connections": 1, "pool_timeout": 1, "retries": 0 },
    });
    let metadata = Metadata::new()
        .source(source(connection))
        .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    server.inflict(Faults {
        drop_at: Some(DropPoint::Accept),
        ..Faults::default()
    });
    let (number, text) = Visitor::new().refused(gateway.address("tds")).await;
    assert_eq!(number, 40613, "a number that drivers try again: {text}");
    assert!(text.contains("erp"), "{text}");

    server.inflict(Faults::default());
    let deadline = clock::now() + LIMIT;
    let mut first = loop {
        match Visitor::new().connect(gateway.address("tds")).await {
            Ok(session) => break session,
            Err(error) => assert!(clock::now() < deadline, "{error}"),
        }
    };
    // It holds the only connection.
    first
        .simple_query("BEGIN TRAN; SELECT 1")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let mut second = Visitor::new()
        .connect(gateway.address("tds"))
        .await
        .expect("let in all the same");
    let refused = match second.simple_query("SELECT 1").await {
        Ok(stream) => stream.into_results().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused.code(), Some(10928), "{refused}");
}

#[tokio::test]
async fn who_only_reads_is_served_by_a_replica() {
    let _turn = turn::light();
    let (primary, replica) = (server(Encryption::Optional), server(Encryption::Optional));
    let at = |server: &StandIn| json!({ "connection_string": connection_string(server.port(), TRUSTING) });
    let declared = json!({
        "name": "erp", "kind": "mssql", "tables": [],
        "configuration": { "connection_info": at(&primary), "read_replicas": [at(&replica)] },
    });
    let metadata = Metadata::new()
        .source(declared)
        .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    let visitor = Visitor {
        read_only: true,
        ..Visitor::new()
    };
    let mut session = visitor.connect(gateway.address("tds")).await.unwrap();
    ask(&mut session, "SELECT DB_NAME()").await;
    assert_eq!((primary.sessions().len(), replica.sessions().len()), (0, 1));
    assert!(replica.sessions()[0].read_only_intent, "the server is told as well");
    let mut session = Visitor::new().connect(gateway.address("tds")).await.unwrap();
    ask(&mut session, "SELECT DB_NAME()").await;
    assert_eq!((primary.sessions().len(), replica.sessions().len()), (1, 1));
}

#[tokio::test]
async fn the_health_of_a_source_is_watched() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let check = |sql: &str| json!({ "test": { "sql": sql }, "interval": 1, "retries": 0, "timeout": 5 });
    let metadata = metadata(server.port(), TRUSTING)
        .overlay(json!({ "name": "erp", "health_check": check("SELECT 1 AS one") }))
        .listener(listener(None));
    let gateway = Gateway::start(&metadata);
    let say = async |what: &str| {
        let deadline = clock::now() + LIMIT;
        while !gateway.log().contains(what) {
            assert!(clock::now() < deadline, "no {what}:\n{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    while server.sessions().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.sessions()[0].application, "weir health check");
    server.inflict(Faults {
        drop_at: Some(DropPoint::Accept),
        ..Faults::default()
    });
    server.disconnect_all();
    say("\"status\":\"ERROR\"").await;
    server.inflict(Faults::default());
    say("\"status\":\"OK\"").await;
}

/// A PRELOGIN packet with this encryption byte.
fn prelogin(encryption: u8) -> Vec<u8> {
    vec![
        0x12,
        1,
        0,
        20 + 6 + 1,
        0,
        0,
        1,
        0, // header
        0,
        0,
        11,
        0,
        6,
        1,
        0,
        17,
        0,
        1,
        0xff, // VERSION, ENCRYPTION
        9,
        0,
        0,
        0,
        0,
        0,
        encryption,
    ]
    .into_iter()
    .collect::<Vec<u8>>()
    .fix_length()
}

trait FixLength {
    fn fix_length(self) -> Self;
}

impl FixLength for Vec<u8> {
    fn fix_length(mut self) -> Self {
        let [high, low] = u16::try_from(self.len()).unwrap().to_be_bytes();
        (self[2], self[3]) = (high, low);
        self
    }
}

/// Everything that comes until the end of the stream.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end as well.
    let read = tokio::time::timeout(LIMIT, socket.read_to_end(&mut all)).await;
    read.expect("the gateway closes").ok();
    all
}

#[tokio::test]
async fn what_comes_in_clear_behind_prelogin_ends_the_connection() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let gateway = gateway(&server);
    for encryption in [0, 1, 2, 3] {
        let mut socket = TcpStream::connect(gateway.address("tds")).await.unwrap();
        let injected = [prelogin(encryption), prelogin(encryption)].concat();
        socket.write_all(&injected).await.unwrap();
        assert_eq!(rest(&mut socket).await, b"", "encryption {encryption}: not a word");
    }
}

#[tokio::test]
async fn noise_is_closed_without_a_word_and_costs_nobody_else() {
    let _turn = turn::light();
    let server = server(Encryption::Optional);
    let gateway = gateway(&server);
    let huge = [
        vec![0x12, 0, 0x10, 0, 0, 0, 1, 0],
        vec![0; 4088],
        vec![0x12, 0, 0x10, 0, 0, 0, 2, 0],
    ]
    .concat();
    for noise in [
        b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0xff, 0xff],
        vec![0x12, 1, 0, 8, 0, 0, 1, 0],
        vec![0x10, 1, 0, 8, 0, 0, 1, 0],
        vec![0; 100],
        huge,
    ] {
        let mut socket = TcpStream::connect(gateway.address("tds")).await.unwrap();
        socket.write_all(&noise).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = rest(&mut socket).await;
        assert!(answer.len() < 64, "{} bytes in answer to noise", answer.len());
    }
    Visitor::new().connect(gateway.address("tds")).await.unwrap();
}

/// A server of a man in the middle: answers PRELOGIN with this, and hands over whatever comes next.
async fn impostor(answer: Vec<u8>) -> (u16, tokio::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (tell, answer) = (tell.clone(), answer.clone());
            tokio::spawn(async move {
                let mut hello = [0; 512];
                let _ = socket.read(&mut hello).await;
                let _ = socket.write_all(&answer).await;
                let mut next = Vec::new();
                let _ = tokio::time::timeout(Duration::from_secs(2), socket.read_to_end(&mut next)).await;
                let _ = tell.send(next).await;
            });
        }
    });
    (port, told)
}

#[tokio::test]
async fn a_server_that_takes_tls_back_gets_no_password() {
    let _turn = turn::light();
    // "Not supported", and "only the login", to a gateway that asked for everything.
    for encryption in [2, 0] {
        let mut answer = prelogin(encryption);
        answer[0] = 4;
        let (port, mut told) = impostor(answer).await;
        let gateway = Gateway::start(&metadata(port, TRUSTING).listener(listener(None)));
        let (number, text) = Visitor::new().refused(gateway.address("tds")).await;
        assert_eq!(number, 945, "{text}");
        assert!(text.contains("does not do TLS"), "{text}");
        let next = told.recv().await.unwrap();
        assert_eq!(next, b"", "nothing was sent behind PRELOGIN");
    }
}

#[tokio::test]
async fn servers_that_speak_nonsense_are_an_error_and_no_more() {
    let _turn = turn::light();
    let mut endless = vec![4, 0, 0x10, 0, 0, 0, 1, 0];
    endless.resize(4096, 0x41);
    let mut injected = prelogin(1);
    injected[0] = 4;
    injected.extend_from_slice(&[4, 1, 0, 21, 0, 0, 1, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for answer in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![4, 1, 0, 8, 0, 0, 1, 0],
        vec![4, 1, 0, 9, 0, 0, 1, 0, 0xff],
        endless.repeat(100),
        injected,
        Vec::new(),
    ] {
        let (port, mut told) = impostor(answer.clone()).await;
        let connection = json!({
            "connection_string": connection_string(port, TRUSTING),
            "pool_settings": { "retries": 0 },
        });
        let metadata = Metadata::new()
            .source(source(connection))
            .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
            .overlay(json!({ "name": "erp", "connect_timeout": 3 }))
            .listener(listener(None));
        let gateway = Gateway::start(&metadata);
        let (number, text) = Visitor::new().refused(gateway.address("tds")).await;
        let label = format!("{} bytes: {number} {text}", answer.len());
        assert!(number == 945 || number == 40613, "{label}");
        let next = told.recv().await.unwrap();
        let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let scrambled: Vec<u8> = password.iter().map(|byte| byte.rotate_left(4) ^ 0xa5).collect();
        for secret in [password, scrambled] {
            let leaked = next.windows(secret.len()).any(|window| window == secret);
            assert!(!leaked, "{label}: the password went out");
        }
    }
}
