//! Opening server connections: a real PostgreSQL on one side, a hostile one on the other.

// A test that cannot go on has found a failure.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_config::{
    AddressSource, ChannelBinding, Host, HostName, LoadBalanceHosts, PostgresConnection, PostgresEndpoint,
    RootCertificate, SecretSource, SslMode, SslNegotiation, TargetSessionAttrs,
};
use weir_core::{refusal::OpenError, secret::Secret, settings::PoolSettings};
use weir_postgres::{
    login::server::{LoggedIn, Opener, cancel},
    settings::{Profile, Replication},
};
use weir_tests::cluster::{Cluster, ROLE, ROLE_PASSWORD, Version};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(Version::Distribution, &[("password_encryption", "scram-sha-256")]))
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn tcp(name: &str, port: u16) -> Host {
    Host {
        name: HostName::Tcp(name.to_owned()),
        port,
        address: name.parse::<IpAddr>().ok(),
    }
}

fn endpoint(port: u16) -> PostgresEndpoint {
    PostgresEndpoint {
        hosts: vec![tcp("127.0.0.1", port)],
        database: "postgres".to_owned(),
        user: ROLE.to_owned(),
        password: Some(secret(ROLE_PASSWORD)),
        ssl_mode: SslMode::Disable,
        root_certificate: None,
        client_certificate: None,
        client_key: None,
        client_key_password: None,
        channel_binding: ChannelBinding::Prefer,
        ssl_negotiation: SslNegotiation::Postgres,
        application_name: None,
        options: None,
        connect_timeout: None,
        target_session_attrs: TargetSessionAttrs::Any,
        load_balance_hosts: LoadBalanceHosts::Disable,
    }
}

fn opener(endpoint: PostgresEndpoint) -> Opener {
    opener_with(endpoint, &[])
}

fn opener_with(endpoint: PostgresEndpoint, parameters: &[(&str, &str)]) -> Opener {
    let connection = PostgresConnection {
        label: "test".to_owned(),
        address: AddressSource::Fixed(Box::new(endpoint)),
        pool: PoolSettings::default(),
        isolation_level: None,
        tls: None,
        use_prepared_statements: false,
    };
    let parameters: BTreeMap<_, _> = parameters.iter().copied().collect();
    Opener::new(
        connection,
        parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

async fn open(endpoint: PostgresEndpoint) -> Result<LoggedIn, OpenError> {
    tokio::time::timeout(Duration::from_secs(20), opener(endpoint).open(&Profile::default()))
        .await
        .expect("an answer")
}

/// Runs a simple query and returns the text of its only value.
async fn ask(opened: &mut LoggedIn, query: &str) -> String {
    let mut message = vec![b'Q'];
    message.extend_from_slice(&(query.len() as u32 + 5).to_be_bytes());
    message.extend_from_slice(query.as_bytes());
    message.push(0);
    opened.stream.write_all(&message).await.unwrap();
    let mut value = String::new();
    loop {
        let mut head = [0; 5];
        opened.stream.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        opened.stream.read_exact(&mut body).await.unwrap();
        match head[0] {
            b'D' => value = String::from_utf8_lossy(&body[6..]).into_owned(),
            b'E' => value = String::from_utf8_lossy(&body).into_owned(),
            b'Z' => return value,
            _ => {}
        }
    }
}

#[tokio::test]
async fn scram_in_clear() {
    let mut opened = open(endpoint(cluster().port)).await.expect("a login");
    assert!(!opened.stream.is_encrypted());
    // Nothing was read ahead: the very next bytes are the answer to the first query.
    assert_eq!(ask(&mut opened, "SELECT 40 + 2").await, "42");
    let names: Vec<_> = opened.parameters.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "server_version",
        "client_encoding",
        "TimeZone",
        "session_authorization",
        "in_hot_standby",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(opened.cancel_key.is_some());
}

#[tokio::test]
async fn every_sslmode() {
    let authority = RootCertificate::Pem(SecretSource::Literal(secret(&cluster().authority.certificate)));
    let other = weir_tests::certificates::Authority::generate();
    let stranger = RootCertificate::Pem(SecretSource::Literal(secret(&other.certificate)));
    let cases = [
        (SslMode::Disable, None, "127.0.0.1", Ok(false)),
        (SslMode::Allow, None, "127.0.0.1", Ok(false)),
        (SslMode::Prefer, None, "127.0.0.1", Ok(true)),
        (SslMode::Require, None, "127.0.0.1", Ok(true)),
        (SslMode::Require, Some(&stranger), "127.0.0.1", Err("is refused")),
        (SslMode::VerifyCa, Some(&authority), "127.0.0.1", Ok(true)),
        (SslMode::VerifyCa, None, "127.0.0.1", Err("needs sslrootcert")),
        (SslMode::VerifyCa, Some(&stranger), "127.0.0.1", Err("is refused")),
        (SslMode::VerifyFull, Some(&authority), "127.0.0.1", Ok(true)),
        (SslMode::VerifyFull, Some(&authority), "localhost", Ok(true)),
        (
            SslMode::VerifyFull,
            Some(&authority),
            "db.example",
            Err("for another name"),
        ),
    ];
    for (mode, root, host, expected) in cases {
        let mut settings = endpoint(cluster().port);
        settings.ssl_mode = mode;
        settings.root_certificate = root.cloned();
        settings.hosts = vec![Host {
            address: "127.0.0.1".parse().ok(),
            ..tcp(host, cluster().port)
        }];
        match (open(settings).await, expected) {
            (Ok(mut opened), Ok(encrypted)) => {
                assert_eq!(opened.stream.is_encrypted(), encrypted, "{mode:?}");
                let seen = ask(
                    &mut opened,
                    "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                )
                .await;
                assert_eq!(seen, encrypted.to_string());
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{mode:?} {host}: {error}"),
            (result, expected) => panic!("{mode:?} {host}: {result:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn channel_binding_is_used() {
    let mut settings = endpoint(cluster().port);
    settings.ssl_mode = SslMode::Require;
    settings.channel_binding = ChannelBinding::Require;
    open(settings.clone()).await.expect("SCRAM-SHA-256-PLUS");
    settings.ssl_mode = SslMode::Disable;
    let error = open(settings).await.unwrap_err();
    assert!(
        error.to_string().contains("channel_binding=require needs TLS"),
        "{error}"
    );
}

#[tokio::test]
async fn the_database_says_no_in_its_own_words() {
    let mut wrong_password = endpoint(cluster().port);
    wrong_password.password = Some(secret("canary-wrong"));
    let mut no_database = endpoint(cluster().port);
    no_database.database = "nowhere".to_owned();
    for (settings, code) in [(wrong_password, "28P01"), (no_database, "3D000")] {
        match open(settings).await {
            Err(OpenError::Rejected(rejection)) => assert_eq!(rejection.code, code),
            other => panic!("{other:?}"),
        }
    }
    let mut no_password = endpoint(cluster().port);
    no_password.password = None;
    assert!(matches!(open(no_password).await, Err(OpenError::Misconfigured(why)) if why.contains("password")));
    let nobody = open(endpoint(weir_tests::cluster::free_port())).await;
    assert!(
        matches!(&nobody, Err(OpenError::Unreachable(why)) if why.contains("127.0.0.1")),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn unix_sockets_ignore_sslmode() {
    let mut settings = endpoint(cluster().port);
    settings.hosts = vec![Host {
        name: HostName::Unix(PathBuf::from(cluster().socket_folder())),
        port: cluster().port,
        address: None,
    }];
    settings.ssl_mode = SslMode::Require;
    let mut opened = open(settings).await.expect("a login");
    assert_eq!(ask(&mut opened, "SELECT inet_client_addr() IS NULL").await, "t");
    cancel(opened.cancel_key.as_ref().unwrap())
        .await
        .expect("a cancel request");
}

#[tokio::test]
async fn startup_parameters_arrive() {
    let mut settings = endpoint(cluster().port);
    settings.application_name = Some("from the address".to_owned());
    settings.options = Some(r"-c geqo=off -c DateStyle=German,\ DMY".to_owned());
    let opener = opener_with(
        settings,
        &[
            ("application_name", "from the source"),
            ("timezone", "Europe/Berlin"),
            ("options", "-c geqo=on -c work_mem=123kB"),
        ],
    );
    let mut opened = opener.open(&Profile::default()).await.expect("a login");
    for (name, value) in [
        ("application_name", "from the source"),
        ("geqo", "on"),
        ("work_mem", "123kB"),
        ("TimeZone", "Europe/Berlin"),
        ("DateStyle", "German, DMY"),
    ] {
        assert_eq!(ask(&mut opened, &format!("SHOW {name}")).await, value, "{name}");
    }
}

#[tokio::test]
async fn the_second_host_and_the_right_kind_of_server() {
    let mut settings = endpoint(cluster().port);
    settings
        .hosts
        .insert(0, tcp("127.0.0.1", weir_tests::cluster::free_port()));
    for (wanted, found) in [
        (TargetSessionAttrs::Any, true),
        (TargetSessionAttrs::ReadWrite, true),
        (TargetSessionAttrs::Primary, true),
        (TargetSessionAttrs::PreferStandby, true),
        (TargetSessionAttrs::Standby, false),
        (TargetSessionAttrs::ReadOnly, false),
    ] {
        settings.target_session_attrs = wanted;
        let result = open(settings.clone()).await;
        assert_eq!(result.is_ok(), found, "{wanted:?}: {result:?}");
        if let Err(OpenError::Unreachable(why)) = result {
            assert!(
                why.contains("refused") && why.contains("target_session_attrs="),
                "{why}"
            );
        }
    }
}

#[tokio::test]
async fn a_wal_sender_for_replication() {
    let mut settings = endpoint(cluster().port);
    settings.user = weir_tests::cluster::SUPERUSER.to_owned();
    settings.password = Some(secret(weir_tests::cluster::SUPERUSER_PASSWORD));
    let mut opened = opener(settings)
        .open(&Profile {
            replication: Replication::Logical,
            settings: Arc::new([("work_mem".to_owned(), "321kB".to_owned())]),
        })
        .await
        .expect("a replication connection");
    assert!(!ask(&mut opened, "IDENTIFY_SYSTEM").await.contains("syntax error"));
    assert_eq!(ask(&mut opened, "SHOW work_mem").await, "321kB");
}

#[tokio::test]
async fn cancel_reaches_the_query() {
    for mode in [SslMode::Disable, SslMode::Require] {
        let mut settings = endpoint(cluster().port);
        settings.ssl_mode = mode;
        let mut opened = open(settings).await.expect("a login");
        let key = opened.cancel_key.clone().expect("PostgreSQL gives a key");
        let asked = tokio::spawn(async move { ask(&mut opened, "SELECT pg_sleep(30)").await });
        // Cancelling an idle session does nothing, so try until the query has begun.
        while !asked.is_finished() {
            cancel(&key).await.expect("a cancel request");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(asked.await.unwrap().contains("canceling statement due to user request"));
    }
}

#[tokio::test]
async fn direct_tls_with_postgresql_18() {
    let cluster = Cluster::start(Version::Eighteen, &[]);
    let mut settings = endpoint(cluster.port);
    settings.ssl_mode = SslMode::VerifyFull;
    settings.ssl_negotiation = SslNegotiation::Direct;
    settings.channel_binding = ChannelBinding::Require;
    settings.root_certificate = Some(RootCertificate::Pem(SecretSource::Literal(secret(
        &cluster.authority.certificate,
    ))));
    let mut opened = open(settings.clone()).await.expect("a login");
    assert_eq!(opened.stream.alpn(), Some(&b"postgresql"[..]));
    let search_path = opened.parameters.iter().find(|(name, _)| name == "search_path");
    assert_eq!(search_path.map(|(_, value)| value.as_str()), Some("\"$user\", public"));
    let key = opened.cancel_key.clone().expect("PostgreSQL gives a key");
    let asked = tokio::spawn(async move { ask(&mut opened, "SELECT pg_sleep(30)").await });
    while !asked.is_finished() {
        cancel(&key).await.expect("a cancel request inside direct TLS");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked.await.unwrap().contains("canceling statement"));
    // A server from before 17 cannot: it answers what it takes for a startup packet, or nothing.
    settings.hosts = endpoint(self::cluster().port).hosts;
    let error = open(settings).await.expect_err("a refusal");
    assert!(
        matches!(error, OpenError::Unreachable(_) | OpenError::Untrusted(_)),
        "{error}"
    );
}

// === Hostile servers ===

/// A server that answers each connection with `script`, and hands over everything it was sent.
async fn hostile<F>(
    script: impl Fn(TcpStream) -> F + Send + 'static,
) -> (u16, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>)
where
    F: Future<Output = Vec<u8>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = sender.send(script(socket).await);
        }
    });
    (port, receiver)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    message
}

fn demand(code: u32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), body].concat())
}

async fn read_some(socket: &mut TcpStream, seen: &mut Vec<u8>) {
    let mut bytes = [0; 4096];
    if let Ok(Ok(read)) = tokio::time::timeout(Duration::from_secs(2), socket.read(&mut bytes)).await {
        seen.extend_from_slice(&bytes[..read]);
    }
}

/// Answers the startup packet with `answers`, one for each message received.
async fn scripted(mut socket: TcpStream, answers: Vec<Vec<u8>>) -> Vec<u8> {
    let mut seen = Vec::new();
    for answer in answers {
        read_some(&mut socket, &mut seen).await;
        let _ = socket.write_all(&answer).await;
    }
    read_some(&mut socket, &mut seen).await;
    seen
}

/// What comes of a login at a server that says `answers`, and what that server was sent.
async fn against(answers: Vec<Vec<u8>>, mode: SslMode) -> (OpenError, Vec<u8>) {
    let (port, mut seen) = hostile(move |socket| scripted(socket, answers.clone())).await;
    let mut settings = endpoint(port);
    settings.ssl_mode = mode;
    let error = open(settings).await.expect_err("a refusal");
    (error, seen.recv().await.unwrap())
}

#[tokio::test]
async fn tls_that_is_stripped_is_refused_and_nothing_leaves() {
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let (port, mut seen) = hostile(|socket| scripted(socket, vec![b"N".to_vec()])).await;
        let mut settings = endpoint(port);
        settings.ssl_mode = mode;
        settings.root_certificate = Some(RootCertificate::Pem(SecretSource::Literal(secret(
            &cluster().authority.certificate,
        ))));
        let error = open(settings).await.expect_err("a refusal");
        assert!(
            matches!(&error, OpenError::Untrusted(why) if why.contains("does not do TLS")),
            "{error}"
        );
        assert_eq!(
            seen.recv().await.unwrap(),
            [0, 0, 0, 8, 4, 210, 22, 47],
            "only the request for TLS"
        );
    }
}

#[tokio::test]
async fn bytes_behind_the_s_are_not_heard() {
    let injected = [b"S".to_vec(), demand(0, b""), message(b'Z', b"I")].concat();
    let (error, seen) = against(vec![injected], SslMode::Require).await;
    assert!(
        matches!(error, OpenError::Unreachable(_) | OpenError::Untrusted(_)),
        "{error}"
    );
    assert!(
        !seen.windows(ROLE.len()).any(|part| part == ROLE.as_bytes()),
        "no startup packet was sent"
    );
}

#[tokio::test]
async fn an_error_before_tls_is_not_shown() {
    let answer = message(b'E', b"SFATAL\0C28000\0Mforged words\0\0");
    let (error, _) = against(vec![answer], SslMode::Require).await;
    assert!(!error.to_string().contains("forged"), "{error}");
}

#[tokio::test]
async fn absurd_iterations_are_refused_at_once() {
    let (port, _seen) = hostile(|mut socket| async move {
        let mut seen = Vec::new();
        read_some(&mut socket, &mut seen).await;
        let _ = socket.write_all(&demand(10, b"SCRAM-SHA-256\0\0")).await;
        read_some(&mut socket, &mut seen).await;
        let text = String::from_utf8_lossy(&seen).into_owned();
        // The comma is the one character that a nonce cannot hold, so that this finds its beginning.
        let nonce = text
            .rsplit_once(",r=")
            .map(|(_, nonce)| nonce.to_owned())
            .unwrap_or_default();
        let _ = socket
            .write_all(&demand(11, format!("r={nonce}xyz,s=c2FsdA==,i=2147483647").as_bytes()))
            .await;
        read_some(&mut socket, &mut seen).await;
        seen
    })
    .await;
    // Computing them would take an hour.
    let error = open(endpoint(port)).await.expect_err("a refusal");
    assert!(
        matches!(&error, OpenError::Untrusted(why) if why.contains("iteration")),
        "{error}"
    );
}

#[tokio::test]
async fn hostile_answers_end_the_login() {
    let mechanisms = demand(10, b"SCRAM-SHA-256\0\0");
    let long_nonce = demand(11, format!("r={},s=c2FsdA==,i=4096", "n".repeat(20_000)).as_bytes());
    let endless = [
        demand(0, b""),
        message(b'S', b"name\0value\0"),
        message(b'N', &[b'x'; 8000]).repeat(40),
    ]
    .concat();
    for (name, answers) in [
        ("a long nonce", vec![mechanisms.clone(), long_nonce]),
        (
            "a foreign nonce",
            vec![mechanisms.clone(), demand(11, b"r=mine,s=c2FsdA==,i=4096")],
        ),
        ("final before continue", vec![mechanisms.clone(), demand(12, b"v=AAAA")]),
        ("ok without proof", vec![mechanisms, demand(0, b"")]),
        ("unknown mechanisms", vec![demand(10, b"OAUTHBEARER\0\0")]),
        ("kerberos", vec![demand(2, b"")]),
        ("clear text", vec![demand(3, b"")]),
        ("MD5", vec![demand(5, b"salt")]),
        ("a huge length", vec![vec![b'R', 0x7f, 0xff, 0xff, 0xff]]),
        ("a negative length", vec![vec![b'R', 0xff, 0xff, 0xff, 0xff]]),
        ("a length of 0", vec![vec![b'R', 0, 0, 0, 0]]),
        ("endless notices", vec![endless]),
        ("a query result", vec![message(b'D', b"")]),
        ("HTTP", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]),
        ("silence and end", vec![]),
    ] {
        let (error, seen) = against(answers, SslMode::Disable).await;
        assert!(
            matches!(error, OpenError::Untrusted(_) | OpenError::Unreachable(_)),
            "{name}: {error}"
        );
        let password = ROLE_PASSWORD.as_bytes();
        assert!(!seen.windows(password.len()).any(|part| part == password), "{name}");
        assert!(!error.to_string().contains(ROLE_PASSWORD), "{name}");
    }
}

#[tokio::test]
async fn an_error_without_sqlstate_is_an_error() {
    let (error, _) = against(vec![message(b'E', b"Mgo away\0\0")], SslMode::Disable).await;
    let OpenError::Rejected(rejection) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (rejection.code.as_str(), rejection.message.as_str()),
        ("XX000", "go away")
    );
    for body in [&b""[..], b"\0", b"C", b"SFATAL", b"C\0M\0\0"] {
        let (error, _) = against(vec![message(b'E', body)], SslMode::Disable).await;
        assert!(matches!(error, OpenError::Rejected(_)), "{error}");
    }
}
