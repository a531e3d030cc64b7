//! The security gates: injection (S1), downgrade (S2), login matrix (S4), auth_query (S5), secrets in logs (S7).

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use weir_tests::{
    clock,
    cluster::{CHIEF, Cluster, ROLE, ROLE_PASSWORD, SUPERUSER_PASSWORD},
    fault_proxy::{FaultProxy, Faults, Tamper},
    gateway::{self, Gateway},
    metadata::Metadata,
    process,
    site::{Plan, Site, database_url, is_direct},
    turn,
    wire::{self, Message, RawClient, Security, first_error},
};

/// S1: whatever comes in the same segment as a request for encryption was not encrypted, and is never acted upon.
#[tokio::test]
async fn bytes_behind_a_request_for_encryption_are_never_acted_upon() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    site.admin()
        .await
        .batch_execute("CREATE TABLE injected (v text); GRANT ALL ON injected TO PUBLIC")
        .await
        .unwrap();
    for tls in [true, false] {
        // No password, so that nothing but this rule stands between the bytes and the database.
        let mut listener =
            json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0, "trust_loopback": true });
        if tls {
            let identity = site.authority.issue("localhost", &["localhost"]);
            listener["ssl_configuration"] =
                json!({ "sslmode": "prefer", "sslcert": identity.certificate, "sslkey": identity.key });
        }
        let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
        let gateway = Gateway::start(
            &Metadata::new()
                .postgres(&site.database, url.into(), json!({}))
                .listener(listener),
        );
        let startup = wire::startup(0, &[("user", ROLE), ("database", &site.database)]);
        let query = wire::query("insert into injected values ('injected')");
        for (name, request) in [
            ("SSLRequest", wire::ssl_request()),
            ("GSSENCRequest", wire::gss_request()),
        ] {
            for behind in [startup.clone(), [&startup[..], &query].concat()] {
                let bytes = [&request[..], &behind].concat();
                let (answer, closed) = wire::exchange(gateway.address("pg"), &bytes, Duration::from_secs(2))
                    .await
                    .unwrap();
                assert!(
                    closed,
                    "{name}, TLS {tls}: still open after {:?}",
                    answer.escape_ascii().to_string()
                );
                assert!(!answer.contains(&b'Z'), "{name}, TLS {tls}: {}", answer.escape_ascii());
            }
        }
        // The same bytes in proper order do work.
        let mut client = RawClient::log_in(gateway.address("pg"), ROLE, "", &site.database)
            .await
            .unwrap();
        assert_eq!(client.rows("select count(*) from injected").await, ["0"]);
    }
}

/// Answers a connection with a script: for each entry, reads something and writes the entry. Keeps all it read.
struct FalseServer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl FalseServer {
    async fn start(script: Vec<Vec<u8>>) -> FalseServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn({
            let heard = heard.clone();
            async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    let (heard, script) = (heard.clone(), script.clone());
                    tokio::spawn(async move {
                        let mut buffer = vec![0; 4096];
                        for answer in script {
                            match socket.read(&mut buffer).await {
                                Ok(read) if read > 0 => heard.lock().extend(&buffer[..read]),
                                _ => return,
                            }
                            let _ = socket.write_all(&answer).await;
                        }
                        while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                            heard.lock().extend(&buffer[..read]);
                        }
                    });
                }
            }
        });
        FalseServer { address, heard }
    }
}

const CANARY: &str = "canary-upstream-51c3e8";

/// A gateway whose only source is at `address`, and what a client is told there.
async fn told_by(address: SocketAddr, sslmode: &str) -> String {
    let url = format!("postgres://someone:{CANARY}@{address}/anywhere");
    let mut connection = json!({
        "database_url": url,
        "pool_settings": { "retries": 0, "pool_timeout": 10 },
        "ssl_configuration": { "sslmode": sslmode },
    });
    if sslmode.starts_with("verify") {
        connection["ssl_configuration"]["sslrootcert"] = json!(Cluster::distribution().authority.certificate);
    }
    let source = json!({ "name": "false", "kind": "postgres", "configuration": { "connection_info": connection }, "tables": [] });
    let metadata = Metadata::new()
        .source(source)
        .overlay(json!({ "name": "false", "connect_timeout": 5 }))
        .loopback()
        .user(json!({ "name": "client", "password": "client", "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    match RawClient::log_in(gateway.address("pg"), "client", "client", "false").await {
        Err(error) => error.to_string(),
        Ok(mut client) => match client.simple("select 'let in'").await {
            Ok(answer) => first_error(&answer).map_or("let in".to_owned(), |error| {
                format!(
                    "{}: {}",
                    error.sqlstate().unwrap_or_default(),
                    error.field(b'M').unwrap_or_default()
                )
            }),
            Err(error) => error.to_string(),
        },
    }
}

fn forms_of(secret: &str, user: &str) -> Vec<(&'static str, Vec<u8>)> {
    let plain = Command::new("sh").args(["-c", &format!("printf %s '{secret}' | base64; printf %s '{secret}{user}' | md5sum | cut -c1-32; printf %s '{secret}' | md5sum | cut -c1-32")]).output().unwrap();
    let lines: Vec<String> = String::from_utf8(plain.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    vec![
        ("clear", secret.into()),
        ("base64", lines[0].trim_end_matches('=').as_bytes()[..12].to_vec()),
        ("MD5 with the user's name", lines[1].clone().into_bytes()),
        ("MD5", lines[2].clone().into_bytes()),
        ("UTF-16", secret.bytes().flat_map(|byte| [byte, 0]).collect()),
    ]
}

/// In which forms the secret is among these bytes.
fn forms_in(secret: &str, user: &str, bytes: &[u8]) -> Vec<&'static str> {
    let forms = forms_of(secret, user).into_iter();
    forms
        .filter(|(_, needle)| bytes.windows(needle.len()).any(|window| window == needle))
        .map(|(form, _)| form)
        .collect()
}

#[track_caller]
fn expect_absent(secret: &str, user: &str, place: &str, bytes: &[u8]) {
    let forms = forms_in(secret, user, bytes);
    assert!(forms.is_empty(), "the secret of {user} is in {place}: {forms:?}");
}

/// S1 mirrored and S2: a false server may answer what it likes; it gets no password, and no client is let in.
#[tokio::test]
async fn a_false_server_gets_no_password() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let ok = [wire::message(b'R', &[0; 4]), wire::message(b'Z', b"I")].concat();
    let clear_text = wire::message(b'R', &[0, 0, 0, 3]);
    let md5 = wire::message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let cases: Vec<(&str, &str, Vec<Vec<u8>>)> = vec![
        ("S and an answer behind it", "require", vec![[b"S", &ok[..]].concat()]),
        (
            "S and a password request behind it",
            "require",
            vec![[b"S", &clear_text[..]].concat()],
        ),
        (
            "N and an answer behind it",
            "prefer",
            vec![[b"N", &clear_text[..]].concat()],
        ),
        (
            "TLS refused, required",
            "require",
            vec![b"N".to_vec(), clear_text.clone()],
        ),
        (
            "TLS refused, verify-ca",
            "verify-ca",
            vec![b"N".to_vec(), clear_text.clone()],
        ),
        (
            "TLS refused, verify-full",
            "verify-full",
            vec![b"N".to_vec(), clear_text.clone()],
        ),
        (
            "TLS refused by an error",
            "require",
            vec![wire::message(b'E', b"SFATAL\0C08P01\0Mno\0\0")],
        ),
        ("TLS refused by nonsense", "require", vec![b"X".to_vec()]),
        ("clear text demanded", "disable", vec![clear_text.clone()]),
        (
            "clear text demanded after TLS was preferred and refused",
            "prefer",
            vec![b"N".to_vec(), clear_text.clone()],
        ),
        ("MD5 demanded", "disable", vec![md5]),
        (
            "an unknown mechanism demanded",
            "disable",
            vec![wire::message(b'R', b"\0\0\0\x0aPLAIN\0\0")],
        ),
        (
            "an unknown authentication demanded",
            "disable",
            vec![wire::message(b'R', &[0, 0, 0, 99])],
        ),
        (
            "a message of 2^31-1 bytes",
            "disable",
            vec![wire::hostile(b'R', 0x7fff_ffff, &[0; 8])],
        ),
        ("a message of no length", "disable", vec![wire::hostile(b'R', 0, &[])]),
        ("an error without fields", "disable", vec![wire::message(b'E', b"\0")]),
        (
            "an error without its end",
            "disable",
            vec![wire::message(b'E', b"SFATAL")],
        ),
        (
            "an HTTP server",
            "disable",
            vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
        ),
        ("rows before login", "disable", vec![wire::message(b'D', &[0, 0])]),
    ];
    let mut wrong = Vec::new();
    for (case, sslmode, script) in cases {
        let server = FalseServer::start(script).await;
        let started = clock::now();
        let told = told_by(server.address, sslmode).await;
        // An error that names no SQLSTATE is XX000, like any other of unknown cause.
        let nameless = case.starts_with("an error") && told.starts_with("XX000");
        if !told.starts_with("08") && !told.starts_with("28") && !nameless {
            wrong.push(format!("{case}: after {:?}, {told}", started.elapsed()));
        }
        assert!(
            started.elapsed() < Duration::from_secs(12),
            "{case}: told after {:?}",
            started.elapsed()
        );
        let heard = server.heard.lock().clone();
        let forms = forms_in(CANARY, "someone", &heard);
        if !forms.is_empty() {
            wrong.push(format!(
                "{case}: the password went out, {forms:?}: {}",
                heard.escape_ascii()
            ));
        }
        assert!(!told.contains(CANARY), "{case}: {told}");
        if case.contains("required") || case.contains("verify") || case.starts_with("S and") {
            assert!(
                !heard.windows(7).any(|window| window == b"someone"),
                "{case}: the user name went out in clear"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// S6: a server that demands 2^31-1 rounds of hashing is refused before the first of them.
#[tokio::test]
async fn a_server_may_not_demand_endless_hashing() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let _ = socket.read(&mut buffer).await;
                let _ = socket
                    .write_all(&wire::message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
                    .await;
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                let first = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let nonce = first.split_once(",r=").map_or("", |(_, nonce)| nonce).to_owned();
                let challenge = format!("r={nonce}server,s=c2FsdHNhbHRzYWx0,i=2147483647");
                let _ = socket
                    .write_all(&wire::message(b'R', &[b"\0\0\0\x0b", challenge.as_bytes()].concat()))
                    .await;
                let _ = socket.read(&mut buffer).await;
            });
        }
    });
    let started = clock::now();
    let told = told_by(address, "disable").await;
    assert!(told.starts_with("08") || told.starts_with("28"), "{told}");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "told after {:?}",
        started.elapsed()
    );
}

/// S2: somebody on the way turns the server's yes to TLS into a no.
#[tokio::test]
async fn a_stripping_proxy_gets_nothing() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let cluster = Cluster::distribution();
    for sslmode in ["require", "verify-ca", "verify-full"] {
        let strip: Tamper = Arc::new(|bytes: &mut Vec<u8>| {
            if bytes == b"S" {
                *bytes = b"N".to_vec();
            }
        });
        let proxy = FaultProxy::start(
            cluster.address(),
            Faults {
                tamper_downstream: Some(strip),
                ..Faults::default()
            },
        )
        .await;
        let told = told_by(proxy.address, sslmode).await;
        assert!(told.starts_with("08") || told.starts_with("28"), "{sslmode}: {told}");
        let captured = proxy.captured();
        assert!(captured.connections > 0);
        expect_absent(CANARY, "someone", sslmode, &captured.upstream);
        assert!(
            !captured.upstream.windows(7).any(|window| window == b"someone"),
            "{sslmode}: the user name went out in clear"
        );
    }
}

/// S3 in short: whom the gateway trusts.
#[tokio::test]
async fn the_database_s_certificate_is_verified() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let other = weir_tests::certificates::Authority::generate();
    let right = site.cluster.authority.certificate.clone();
    let port = site.cluster.port;
    let cases = [
        ("require", "127.0.0.1", None, true),
        ("verify-ca", "127.0.0.1", Some(right.clone()), true),
        ("verify-full", "localhost", Some(right.clone()), true),
        ("verify-ca", "127.0.0.1", Some(other.certificate.clone()), false),
        ("verify-full", "127.0.0.1", Some(other.certificate), false),
        // 127.0.0.2 is loopback as well, and not in the certificate.
        ("verify-ca", "127.0.0.2", Some(right.clone()), true),
        ("verify-full", "127.0.0.2", Some(right), false),
        ("verify-full", "127.0.0.1", None, false),
    ];
    let everywhere = FaultProxy::start(site.cluster.address(), Faults::default()).await;
    for (sslmode, host, root, trusted) in cases {
        let port = if host == "127.0.0.2" {
            forward_from(host, site.cluster.address()).await
        } else {
            port
        };
        let url = format!("postgres://{ROLE}:{ROLE_PASSWORD}@{host}:{port}/{}", site.database);
        let mut ssl = json!({ "sslmode": sslmode });
        if let Some(root) = &root {
            ssl["sslrootcert"] = json!(root);
        }
        let connection = json!({ "database_url": url, "ssl_configuration": ssl, "pool_settings": { "retries": 0 } });
        let source = json!({ "name": "tls", "kind": "postgres", "configuration": { "connection_info": connection }, "tables": [] });
        let metadata = Metadata::new()
            .source(source)
            .loopback()
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
        let gateway = Gateway::start(&metadata);
        let told = match RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, "tls").await {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                let answer = client
                    .simple("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
                    .await
                    .unwrap();
                first_error(&answer).map_or_else(
                    || wire::first_columns(&answer).concat(),
                    |error| error.sqlstate().unwrap_or_default().to_owned(),
                )
            }
        };
        let described = format!(
            "{sslmode} at {host}, {} root: {told}",
            if root.is_some() { "with" } else { "without" }
        );
        if trusted {
            assert_eq!(told, "t", "{described}")
        } else {
            assert!(told.starts_with("08"), "{described}")
        }
    }
    drop(everywhere);
}

/// A port of another loopback address that leads to `target`.
async fn forward_from(host: &str, target: SocketAddr) -> u16 {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
            });
        }
    });
    port
}

/// A login by hand: what the client sends after the server's AuthenticationSASL, step by step.
async fn by_hand(address: SocketAddr, user: &str, database: &str, messages: &[Vec<u8>]) -> Vec<Message> {
    let mut client = RawClient::open(address).await.unwrap();
    client
        .send(&wire::startup(0, &[("user", user), ("database", database)]))
        .await
        .unwrap();
    let mut heard = Vec::new();
    for message in messages {
        match client.receive().await {
            Ok(Some(answer)) if answer.tag == b'R' => {}
            Ok(answer) => {
                heard.extend(answer);
                break;
            }
            Err(_) => break,
        }
        let _ = client.send(message).await;
    }
    heard.extend(client.until_closed(Duration::from_secs(3)).await.unwrap_or_default());
    heard
}

async fn roles_of_the_matrix(site: &Site) {
    let admin = site.admin().await;
    let sql = format!(
        "DO $$ BEGIN
           DROP ROLE IF EXISTS expired, no_password, no_login, future;
           CREATE ROLE expired LOGIN PASSWORD '{ROLE_PASSWORD}' VALID UNTIL '2001-01-01';
           CREATE ROLE future LOGIN PASSWORD '{ROLE_PASSWORD}' VALID UNTIL '2999-01-01';
           CREATE ROLE no_password LOGIN;
           CREATE ROLE no_login PASSWORD '{ROLE_PASSWORD}';
         END $$"
    );
    admin.batch_execute(&sql).await.unwrap();
}

fn auth_query_gateway(site: &Site) -> Gateway {
    let url = database_url(site.cluster, CHIEF, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(&site.database, url.into(), json!({ "max_connections": 2 }))
        .overlay(json!({ "name": site.database, "auth_query": {} }))
        .loopback();
    Gateway::start(&metadata)
}

/// S4: whatever is wrong with a login, the answer is the same.
#[tokio::test]
async fn every_failed_login_looks_the_same() {
    let site = Site::start(Plan {
        role: CHIEF,
        ..Plan::default()
    })
    .await;
    roles_of_the_matrix(&site).await;
    let by_query = (!is_direct()).then(|| auth_query_gateway(&site));
    let mut methods = vec![("declared users", site.address(), vec![CHIEF])];
    if let Some(gateway) = &by_query {
        methods.push(("auth_query", gateway.address("pg"), vec![CHIEF, ROLE, "future"]));
    }
    for (method, address, welcome) in methods {
        for user in &welcome {
            let client = RawClient::log_in(address, user, ROLE_PASSWORD, &site.database).await;
            let mut client = client.unwrap_or_else(|error| panic!("{method}: {user} cannot log in: {error}"));
            assert_eq!(client.rows("select 1").await, ["1"]);
        }
        let mut attempts = vec![
            (welcome[0], "wrong"),
            (welcome[0], ""),
            ("nobody at all", ROLE_PASSWORD),
            ("nobody", ""),
        ];
        if method == "auth_query" || is_direct() {
            attempts.extend([
                ("expired", ROLE_PASSWORD),
                ("no_password", ROLE_PASSWORD),
                ("no_password", ""),
            ]);
            // Twice, so that what was remembered does not help either.
            attempts.extend([("expired", ROLE_PASSWORD), (ROLE, "wrong")]);
        }
        if method == "auth_query" {
            attempts.extend([
                ("no_login", ROLE_PASSWORD),
                ("CHIEF", ROLE_PASSWORD),
                ("chief ", ROLE_PASSWORD),
                ("chief'--", ROLE_PASSWORD),
            ]);
        }
        for (user, secret) in attempts {
            let error = RawClient::log_in(address, user, secret, &site.database)
                .await
                .expect_err("let in")
                .to_string();
            assert_eq!(
                error,
                format!("28P01: password authentication failed for user \"{user}\""),
                "{method}: {user:?}"
            );
        }
    }
}

/// S4: logins that break the rules of SCRAM end, and none of them well.
#[tokio::test]
async fn broken_scram_exchanges_end() {
    let site = Site::start(Plan::default()).await;
    let first = |text: &str| wire::sasl_initial("SCRAM-SHA-256", text.as_bytes());
    let proof = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        (
            "a mechanism that was not offered",
            vec![wire::sasl_initial("PLAIN", b"\0app\0x")],
        ),
        (
            "the other case",
            vec![wire::sasl_initial("scram-sha-256", b"n,,n=,r=abc")],
        ),
        ("no response", vec![wire::password(b"SCRAM-SHA-256\0\xff\xff\xff\xff")]),
        ("an empty message", vec![wire::password(b"")]),
        (
            "a clear-text password",
            vec![wire::password(format!("{ROLE_PASSWORD}\0").as_bytes())],
        ),
        (
            "channel binding that was not offered",
            vec![first("p=tls-server-end-point,,n=,r=abc")],
        ),
        ("no GS2 header", vec![first("n=,r=abc")]),
        ("no nonce", vec![first("n,,n=")]),
        ("a mandatory extension", vec![first("n,,m=x,n=,r=abc")]),
        ("an authorisation identity", vec![first("n,a=chief,n=,r=abc")]),
        ("a nonce of control characters", vec![first("n,,n=,r=\u{1}\u{2}")]),
        ("a long nonce", vec![first(&format!("n,,n=,r={}", "x".repeat(9000)))]),
        (
            "a nonce that is not the server's",
            vec![
                first("n,,n=,r=abc"),
                wire::password(format!("c=biws,r=abc,{proof}").as_bytes()),
            ],
        ),
        (
            "another channel binding",
            vec![
                first("n,,n=,r=abc"),
                wire::password(format!("c=eSws,r=abc,{proof}").as_bytes()),
            ],
        ),
        ("no proof", vec![first("n,,n=,r=abc"), wire::password(b"c=biws,r=abc")]),
        (
            "an empty final message",
            vec![first("n,,n=,r=abc"), wire::password(b"")],
        ),
        (
            "the first message twice",
            vec![first("n,,n=,r=abc"), first("n,,n=,r=abc")],
        ),
        ("a query instead", vec![wire::query("select 1")]),
        ("a startup instead", vec![wire::startup(0, &[("user", "chief")])]),
        (
            "a query in the middle",
            vec![first("n,,n=,r=abc"), wire::query("select 1")],
        ),
    ];
    for (case, messages) in cases {
        let heard = by_hand(site.address(), ROLE, &site.database, messages).await;
        let code = heard.iter().find_map(Message::sqlstate);
        // PostgreSQL answers 0A000 to extensions that it must not ignore.
        assert!(
            code.is_none_or(|code| ["28P01", "08P01", "0A000"].contains(&code)),
            "{case}: {}",
            wire::describe(&heard)
        );
        assert!(
            !heard.iter().any(|message| matches!(message.tag, b'Z' | b'K')),
            "{case}: {}",
            wire::describe(&heard)
        );
    }
    // A password before anything else.
    let (answer, closed) = wire::exchange(site.address(), &wire::password(b"secret\0"), Duration::from_secs(2))
        .await
        .unwrap();
    assert!(closed && !answer.contains(&b'Z'));
}

/// A proof that was seen once does not open the door again.
#[tokio::test]
async fn a_replayed_login_is_refused() {
    let site = Site::start(Plan::default()).await;
    let proxy = FaultProxy::start(site.address(), Faults::default()).await;
    RawClient::log_in(proxy.address, ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap()
        .rows("select 1")
        .await;
    let seen = proxy.captured().upstream;
    // Startup, first message, final message: as they were.
    let startup = u32::from_be_bytes(seen[..4].try_into().unwrap()) as usize;
    let mut rest = &seen[startup..];
    let mut messages = Vec::new();
    while rest.first() == Some(&b'p') {
        let length = 1 + u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        messages.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    assert_eq!(messages.len(), 2);
    let heard = by_hand(site.address(), ROLE, &site.database, &messages).await;
    assert!(
        !heard.iter().any(|message| message.tag == b'Z'),
        "{}",
        wire::describe(&heard)
    );
    assert!(
        heard
            .iter()
            .any(|message| matches!(message.sqlstate(), Some("28P01" | "08P01"))),
        "{}",
        wire::describe(&heard)
    );
}

#[tokio::test]
#[ignore = "a minute of logins: make nightly"]
async fn failed_logins_take_the_same_time() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut medians = Vec::new();
    for (user, secret) in [(ROLE, "wrong"), ("nobody", "wrong"), (ROLE, "")] {
        let mut times = Vec::new();
        for _ in 0..500 {
            let started = clock::now();
            RawClient::log_in(site.address(), user, secret, &site.database)
                .await
                .expect_err("let in");
            times.push(started.elapsed());
        }
        times.sort();
        medians.push(times[times.len() / 2]);
    }
    let spread = *medians.iter().max().unwrap() - *medians.iter().min().unwrap();
    eprintln!("failed logins: medians {medians:?}");
    assert!(spread < Duration::from_millis(1), "medians {medians:?}");
}

/// S5: nothing in a StartupMessage reaches the query that looks for the password.
#[tokio::test]
async fn startup_parameters_do_not_steer_auth_query() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        role: CHIEF,
        ..Plan::default()
    })
    .await;
    let admin = site.admin().await;
    // A schema full of traps: tables with the catalog's names and a password of the intruder's choice, operators and
    // functions that leave a trace when they are called.
    let trap = format!(
        "CREATE SCHEMA evil; CREATE TABLE evil.pwned (v text);
         CREATE FUNCTION evil.trap(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO evil.pwned VALUES ('operator'); RETURN false; END $$;
         CREATE OPERATOR evil.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.trap);
         CREATE OPERATOR evil.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.trap);
         CREATE FUNCTION evil.same(name, text) RETURNS bool LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO evil.pwned VALUES ('equals'); RETURN true; END $$;
         CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.same);
         CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO evil.pwned VALUES ('now'); RETURN '1990-01-01'; END $$;
         CREATE TABLE evil.stolen AS SELECT rolname, rolpassword, true AS rolcanlogin, NULL::timestamptz AS rolvaliduntil FROM pg_authid WHERE rolname = '{ROLE}';
         UPDATE evil.stolen SET rolname = 'intruder';
         CREATE VIEW evil.pg_authid AS SELECT * FROM evil.stolen;
         CREATE VIEW evil.pg_roles AS SELECT * FROM evil.stolen;
         CREATE VIEW evil.pg_shadow AS SELECT rolname AS usename, rolpassword AS passwd, NULL::timestamptz AS valuntil FROM evil.stolen;
         GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC"
    );
    admin.batch_execute(&trap).await.unwrap();
    let gateway = auth_query_gateway(&site);
    let hostile: &[(&str, &str)] = &[
        ("search_path", "evil"),
        ("search_path", "evil, pg_catalog"),
        ("SEARCH_PATH", "evil,pg_catalog"),
        ("search_path", "evil'; insert into evil.pwned values ('injected'); --"),
        ("options", "-c search_path=evil,pg_catalog"),
        ("options", "--search-path=evil,pg_catalog"),
        ("options", "-csearch_path=evil\\,pg_catalog -c row_security=off"),
        ("role", "postgres"),
        ("role", "other"),
        ("session_authorization", "postgres"),
        ("options", "-c role=postgres"),
        ("replication", "true"),
        ("replication", "database"),
        ("options", "-c session_preload_libraries=evil"),
        ("default_transaction_read_only", "off"),
        ("options", "-c default_transaction_read_only=off -c search_path=evil"),
        ("statement_timeout", "1"),
        ("client_encoding", "SJIS"),
        ("application_name", "x'; insert into evil.pwned values ('name'); --"),
        ("standard_conforming_strings", "off"),
        ("transform_null_equals", "on"),
        ("plan_cache_mode", "evil"),
    ];
    for parameter in hostile {
        // Somebody who exists only in the trap, and somebody with the wrong password.
        for (user, secret) in [
            ("intruder", ROLE_PASSWORD),
            (ROLE, "wrong"),
            ("x' or '1'='1", ROLE_PASSWORD),
        ] {
            let parameters = [("user", user), ("database", site.database.as_str()), *parameter];
            let result = RawClient::log_in_with(gateway.address("pg"), &Security::Clear, secret, 0, &parameters).await;
            let error = result.expect_err("let in").to_string();
            assert!(
                !error.starts_with("XX") && !error.contains("evil"),
                "{parameter:?}, {user}: {error}"
            );
        }
        let trapped = admin.query("SELECT v FROM evil.pwned", &[]).await.unwrap();
        assert!(
            trapped.is_empty(),
            "{parameter:?}: {:?}",
            trapped.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
        );
    }
    // And who has the right password is let in, whatever the others tried.
    let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    assert_eq!(client.rows("select 1").await, ["1"]);
}

/// S7: secrets are in no log, however much is logged, and in no error.
#[tokio::test]
async fn secrets_are_nowhere_to_be_read() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        tls: Some("prefer"),
        log: Some("trace"),
        ..Plan::default()
    })
    .await;
    let (address, database) = (site.address(), site.database.clone());
    for security in [Security::Clear, site.tls()] {
        let parameters = [("user", site.role), ("database", database.as_str())];
        let mut client = RawClient::log_in_with(address, &security, ROLE_PASSWORD, 0, &parameters)
            .await
            .unwrap();
        client.rows("select 1").await;
        client
            .ask(
                &[
                    wire::parse("a", "select $1::text", &[]),
                    wire::bind("", "a", &[Some(b"canary-parameter-90aa")]),
                    wire::execute("", 0),
                    wire::sync(),
                ]
                .concat(),
            )
            .await
            .unwrap();
        let _ = client.simple("select 'canary-literal-17fe', 1/0").await;
    }
    let _ = RawClient::log_in(address, site.role, "canary-mistyped-3d21", &database).await;
    let _ = RawClient::log_in(address, site.role, ROLE_PASSWORD, "canary-no-secret").await;
    let _ = by_hand(
        address,
        site.role,
        &database,
        &[wire::password(b"canary-in-clear-55b0\0")],
    )
    .await;
    let mut site = site;
    let mut gateway = site.gateway.take().unwrap();
    gateway.stop(Duration::from_secs(5));
    let log = gateway.log();
    assert!(log.len() > 1000, "nothing was logged at TRACE:\n{log}");
    let secrets = [
        ROLE_PASSWORD,
        SUPERUSER_PASSWORD,
        "canary-mistyped-3d21",
        "canary-in-clear-55b0",
        "canary-parameter-90aa",
        "canary-literal-17fe",
    ];
    for secret in secrets {
        expect_absent(secret, site.role, "the log", log.as_bytes());
    }
    let mut command = Command::new(gateway::program());
    command
        .arg("check")
        .arg(gateway.folder())
        .arg("--connect")
        .env("RUST_LOG", "trace");
    let outcome = process::run(command, Duration::from_secs(30)).await;
    for secret in secrets {
        expect_absent(secret, site.role, "the output of weir check", outcome.output.as_bytes());
    }
}

/// Without users and without auth_query nobody but this machine may come in.
#[tokio::test]
async fn without_users_only_loopback_is_listened_on() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(&site.database, url.into(), json!({}))
        .listener(json!({ "name": "pg", "kind": "postgres", "host": "0.0.0.0", "port": 0 }));
    let folder = tempfile::tempdir().unwrap();
    metadata.write(folder.path());
    let mut command = Command::new(gateway::program());
    command.arg("serve").arg(folder.path()).args(["--log-format", "json"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let ended = process::wait(&mut child, Duration::from_secs(2));
    let listening = std::process::Command::new("sh")
        .args(["-c", &format!("ls -l /proc/{}/fd 2>/dev/null | grep -o 'socket:.[0-9]*' | tr -dc '0-9\\n' | while read i; do grep \" $i \" /proc/net/tcp; done", child.id())])
        .output()
        .unwrap();
    let _ = child.kill();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    let _ = child.wait();
    // Either it refuses to start, with the reason, or it listens on loopback instead (hexadecimal 0100007F).
    let text = String::from_utf8_lossy(&listening.stdout).into_owned();
    let open = text
        .lines()
        .filter(|line| line.contains(" 0A "))
        .filter(|line| line.contains(" 00000000:"))
        .any(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|local| local.starts_with("00000000:"))
        });
    assert!(!open, "it listens everywhere: {text}");
    assert!(ended.is_none_or(|status| !status.success()));
    assert!(
        log.contains("loopback") || log.contains("127.0.0.1"),
        "it does not say why:\n{log}"
    );
}
