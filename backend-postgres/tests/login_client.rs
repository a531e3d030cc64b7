//! Greeting clients, through a real listener: drivers that succeed, and peers that must not.

// A test that cannot go on has found a failure.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use weir_config::{
    AddressSource, Admission, AuthQuery, Caching, ChannelBinding, Definition, Host, HostName, ListenerTls,
    ListenerTlsMode, LoadBalanceHosts, Metadata, PasswordSource, PostgresConnection, PostgresEndpoint, PostgresSource,
    SecretSource, SequenceFunctions, SessionStatePolicy, Source, SourceKind, SslMode, SslNegotiation,
    TargetSessionAttrs, User, UserSources,
};
use weir_core::{
    front::{Bound, Clients, Endpoint, Listener, ListenerLimits, ListenerSettings},
    net::tls::Reloadable,
    registry::{Entry, Registry},
    secret::Secret,
    settings::{Origins, PoolSettings, ReplicaRouting, Timeouts},
};
use weir_postgres::{
    FrontendSettings, FrontendTls, Postgres, PostgresFrontend, Trust,
    login::credentials::{Credentials as _, Lookup, Verifiers},
    server_tls,
};
use weir_tests::{
    certificates::{Authority, Identity},
    cluster::{Cluster, ROLE, ROLE_PASSWORD, SUPERUSER, SUPERUSER_PASSWORD, Version},
};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(Version::Distribution, &[]))
}

fn secret(text: &str) -> SecretSource {
    SecretSource::Literal(Secret::new(text.to_owned()))
}

/// What is different from one test to the next.
struct Wanted {
    users: Vec<User>,
    auth_query: Option<AuthQuery>,
    tls: Option<ListenerTlsMode>,
    trust_loopback: bool,
    /// Users are declared that the loader left out.
    unusable_users: bool,
    limits: ListenerLimits,
    source_limit: Option<u32>,
    application_name: Option<String>,
    /// As whom the gateway logs in, with which password, at which port.
    server_role: &'static str,
    server: (String, u16),
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            users: vec![
                user("ann", "canary-ann"),
                User {
                    max_client_connections: Some(1),
                    ..user("few", "canary-few")
                },
            ],
            auth_query: None,
            tls: None,
            trust_loopback: false,
            unusable_users: false,
            limits: ListenerLimits::default(),
            source_limit: None,
            application_name: None,
            server_role: ROLE,
            server: (ROLE_PASSWORD.to_owned(), cluster().port),
        }
    }
}

fn user(name: &str, password: &str) -> User {
    User {
        name: name.to_owned(),
        password: Some(PasswordSource(secret(password))),
        certificate: None,
        sources: UserSources::Named(vec!["ledger".to_owned()]),
        role: "user".to_owned(),
        read_only: false,
        pool_mode: None,
        query_timeout: None,
        pool_timeout: None,
        caching: None,
        max_client_connections: None,
        max_connections: None,
        origins: weir_core::settings::Origins::default(),
    }
}

fn address(role: &str, password: &str, port: u16) -> PostgresEndpoint {
    PostgresEndpoint {
        hosts: vec![Host {
            name: HostName::Tcp("127.0.0.1".to_owned()),
            port,
            address: None,
        }],
        database: "postgres".to_owned(),
        user: role.to_owned(),
        password: Some(Secret::new(password.to_owned())),
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

fn source(name: &str, wanted: &Wanted) -> Source {
    let (password, port) = &wanted.server;
    Source {
        name: name.to_owned(),
        database_names: vec![name.to_owned()],
        kind: SourceKind::Postgres,
        definition: Definition::Postgres(Box::new(PostgresSource {
            primary: PostgresConnection {
                label: "test".to_owned(),
                address: AddressSource::Fixed(Box::new(address(wanted.server_role, password, *port))),
                pool: PoolSettings {
                    max_connections: 4,
                    retries: 0,
                    pool_timeout: Some(Duration::from_secs(3)),
                    ..PoolSettings::default()
                },
                isolation_level: None,
                tls: None,
                use_prepared_statements: false,
            },
            read_replicas: Vec::new(),
            connection_set: Vec::new(),
            auth_query: wanted.auth_query.clone().filter(|_| name == "ledger"),
            extensions_schema: "public".to_owned(),
        })),
        timeouts: Timeouts::default(),
        replica_routing: ReplicaRouting::None,
        session_state: SessionStatePolicy::Follow,
        sequence_functions: SequenceFunctions::Learn,
        session_functions: weir_config::SessionFunctions::Learn,
        shared_listener: true,
        pin_notice: false,
        max_client_connections: wanted.source_limit,
        health_check: None,
        startup_parameters: BTreeMap::new(),
        application_name: wanted.application_name.clone(),
        caching: Caching::default(),
        origins: Origins::default(),
    }
}

/// A gateway within the test's own process.
struct Site {
    port: u16,
    authority: Authority,
    clients: Arc<Clients>,
    registry: Arc<Registry<Postgres>>,
}

impl Site {
    async fn start(wanted: Wanted) -> Site {
        let authority = Authority::generate();
        let sources = vec![source("ledger", &wanted), source("hidden", &wanted)];
        let registry = Registry::new();
        let mut entries = HashMap::new();
        for declared in &sources {
            let Definition::Postgres(definition) = &declared.definition else {
                unreachable!()
            };
            entries.insert(
                declared.name.clone(),
                Entry::Ready(weir_postgres::source(declared, definition)),
            );
        }
        let broken = Entry::Inconsistent {
            source: "broken".into(),
            reason: "environment variable 'X' not set".to_owned(),
        };
        entries.insert("broken".to_owned(), broken);
        registry.replace(entries);
        let metadata = Metadata {
            sources,
            inconsistent: Vec::new(),
            sources_are_known: true,
            telemetry: weir_config::Telemetry::default(),
            listeners: Vec::new(),
            inconsistent_listeners: Vec::new(),
            admission: match wanted.users.is_empty() && wanted.auth_query.is_none() && !wanted.unusable_users {
                true => Admission::LoopbackOnly,
                false => Admission::Checked,
            },
            users: wanted.users,
            admin: weir_config::Admin {
                disabled: true,
                address_is_asked_for: false,
                host: "127.0.0.1".to_owned(),
                port: 0,
                admin_secret: None,
                metrics_secret: None,
                enabled_apis: Vec::new(),
                high_cardinality_labels: true,
            },
            max_client_connections: None,
            origins: weir_core::settings::Origins::default(),
            graceful_shutdown_timeout: Duration::from_secs(1),
        };
        let verifiers = Verifiers::new().unwrap();
        let (credentials, declared) = weir_postgres::credentials(&metadata, &verifiers);
        let tls = wanted.tls.map(|mode| {
            let Identity { certificate, key } = authority.issue("localhost", &["localhost", "127.0.0.1"]);
            let settings = ListenerTls {
                mode,
                certificate: secret(&certificate),
                key: secret(&key),
                key_password: None,
                client_root_certificate: Some(secret(&authority.certificate)),
            };
            FrontendTls {
                material: Arc::new(Reloadable::new(server_tls("pg", &settings).unwrap())),
                mode,
            }
        });
        let clients = Clients::new();
        let frontend = PostgresFrontend::new(FrontendSettings {
            listener: "pg".into(),
            tls,
            trust: Trust::of(wanted.trust_loopback, declared),
            credentials,
            verifiers,
            user_counts: Arc::default(),
            registry: registry.clone(),
            clients: clients.clone(),
            console: None,
        });
        let settings = ListenerSettings {
            name: "pg".into(),
            endpoints: vec![Endpoint::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 0,
            }],
            proxy_protocol: false,
            max_half_open: 100,
            limits: wanted.limits,
        };
        let listener = Listener::bind(settings, frontend, clients.clone()).await.unwrap();
        let Bound::Tcp(SocketAddr::V4(bound)) = listener.bound()[0] else {
            panic!("no address")
        };
        tokio::spawn(listener.serve(std::future::pending()));
        Site {
            port: bound.port(),
            authority,
            clients,
            registry,
        }
    }

    fn config(&self, user: &str, password: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(user)
            .password(password)
            .dbname("ledger");
        config
    }

    async fn log_in(&self, user: &str, password: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        connect(&self.config(user, password)).await
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// libpq as a reference: psql with a connection string.
    async fn psql(&self, conninfo: &str, query: &str) -> Result<String, String> {
        let output = tokio::process::Command::new("psql")
            .args(["-X", "-A", "-t", "-c", query])
            .arg(format!(
                "host=127.0.0.1 port={} dbname=ledger user=ann password=canary-ann {conninfo}",
                self.port
            ))
            .stdin(Stdio::null())
            .output()
            .await
            .expect("psql is installed with the server");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Writes the files that libpq wants.
    fn files(&self, client: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let Identity { certificate, key } = self.authority.issue(client, &[]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        self.authority.write(&folder.path().join("root.crt"));
        std::fs::write(path("client.crt"), certificate).unwrap();
        std::fs::write(path("client.key"), key).unwrap();
        std::fs::set_permissions(path("client.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let conninfo = format!("sslcert={} sslkey={}", path("client.crt"), path("client.key"));
        (folder, conninfo)
    }
}

async fn connect(config: &tokio_postgres::Config) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio::time::timeout(Duration::from_secs(20), config.connect(tokio_postgres::NoTls))
        .await
        .expect("an answer")?;
    tokio::spawn(connection);
    Ok(client)
}

fn refusal(result: Result<tokio_postgres::Client, tokio_postgres::Error>) -> (String, String) {
    let error = result.map(drop).expect_err("a refusal");
    let said = error.as_db_error().unwrap_or_else(|| panic!("no words: {error}"));
    (said.code().code().to_owned(), said.message().to_owned())
}

fn startup(protocol: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = protocol.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// Everything that comes until the end of the stream.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    // A reset counts as an end.
    let _ = ended.expect("the connection is closed");
    bytes
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
    stream.read_exact(&mut body).await.unwrap();
    (head[0], body)
}

/// SCRAM by hand, up to ReadyForQuery; returns all messages behind the proof.
async fn scram(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), password: &str) -> Vec<(u8, Vec<u8>)> {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    let (kind, _) = read_message(stream).await;
    assert_eq!(kind, b'R');
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let first = scram.message();
    let body = [b"SCRAM-SHA-256\0", &(first.len() as u32).to_be_bytes()[..], first].concat();
    stream.write_all(&message(b'p', &body)).await.unwrap();
    let (_, body) = read_message(stream).await;
    scram.update(&body[4..]).unwrap();
    stream.write_all(&message(b'p', scram.message())).await.unwrap();
    let mut messages = Vec::new();
    loop {
        let (kind, body) = read_message(stream).await;
        let last = kind == b'Z' || kind == b'E';
        messages.push((kind, body));
        if last {
            return messages;
        }
    }
}

#[tokio::test]
async fn drivers_log_in_and_work() {
    let site = Site::start(Wanted::default()).await;
    let client = site.log_in("ann", "canary-ann").await.expect("a login");
    let row = client
        .query_one("SELECT current_user::text, 40 + $1::int", &[&2])
        .await
        .expect("a row");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), (ROLE, 42));
    assert_eq!(site.clients.count(), 1);
    // The database behind sees the gateway's own role; the client's name stays with the gateway.
    let server = cluster().admin("postgres").await;
    let roles = server
        .query_one("SELECT count(*) FROM pg_roles WHERE rolname = 'ann'", &[])
        .await
        .unwrap();
    assert_eq!(roles.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn the_welcome_has_the_clients_own_settings() {
    let site = Site::start(Wanted::default()).await;
    for attempt in ["cold", "warm"] {
        let mut stream = site.raw().await;
        let parameters = [
            ("user", "ann"),
            ("database", "ledger"),
            ("client_encoding", "latin1"),
            ("application_name", "me"),
            ("extra_float_digits", "2"),
            ("options", "-c DateStyle=german -c timezone=Asia/Tokyo"),
        ];
        stream.write_all(&startup(196_608, &parameters)).await.unwrap();
        let messages = scram(&mut stream, "canary-ann").await;
        let statuses: HashMap<String, String> = messages
            .iter()
            .filter(|(kind, _)| *kind == b'S')
            .map(|(_, body)| {
                let mut texts = body
                    .split(|byte| *byte == 0)
                    .map(|text| String::from_utf8_lossy(text).into_owned());
                (texts.next().unwrap(), texts.next().unwrap())
            })
            .collect();
        for (name, value) in [
            ("client_encoding", "LATIN1"),
            ("application_name", "me"),
            ("DateStyle", "German, DMY"),
            ("TimeZone", "Asia/Tokyo"),
            ("session_authorization", ROLE),
            ("is_superuser", "off"),
        ] {
            assert_eq!(statuses.get(name).map(String::as_str), Some(value), "{attempt}: {name}");
        }
        assert!(statuses["server_version"].starts_with("1"), "{statuses:?}");
        // Authentication, then statuses, then the key, then ready.
        let kinds: String = messages.iter().map(|(kind, _)| char::from(*kind)).collect();
        assert!(kinds.starts_with("RRS") && kinds.ends_with("SKZ"), "{kinds}");
        let key = &messages[messages.len() - 2].1;
        assert_eq!(key.len(), 8, "protocol 3.0 has keys of 4 bytes");
        stream
            .write_all(&message(
                b'Q',
                b"SELECT current_setting('timezone'), current_setting('extra_float_digits')\0",
            ))
            .await
            .unwrap();
        loop {
            match read_message(&mut stream).await {
                (b'D', row) => assert!(String::from_utf8_lossy(&row).contains("Asia/Tokyo")),
                (b'E', error) => panic!("{}", String::from_utf8_lossy(&error)),
                (b'Z', _) => break,
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn protocol_versions_are_negotiated() {
    let site = Site::start(Wanted::default()).await;
    let base = [("user", "ann"), ("database", "ledger")];
    // 3.2: a long key, nothing to negotiate.
    let mut stream = site.raw().await;
    stream.write_all(&startup(196_610, &base)).await.unwrap();
    let messages = scram(&mut stream, "canary-ann").await;
    let key = messages
        .iter()
        .find(|(kind, _)| *kind == b'K')
        .map(|(_, body)| body.len());
    assert_eq!(key, Some(36));
    // "Grease": version 3.9999 and an option that nobody knows.
    let mut stream = site.raw().await;
    let greased = [&base[..], &[("_pq_.test_protocol_negotiation", "")]].concat();
    stream.write_all(&startup(206_607, &greased)).await.unwrap();
    let (kind, body) = read_message(&mut stream).await;
    assert_eq!(
        (kind, &body[..]),
        (b'v', &b"\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0"[..])
    );
    assert_eq!(scram(&mut stream, "canary-ann").await.last().unwrap().0, b'Z');
    // Others.
    for (version, words) in [
        (131_072, "unsupported frontend protocol 2.0"),
        (262_144, "unsupported frontend protocol 4.0"),
    ] {
        let mut stream = site.raw().await;
        stream.write_all(&startup(version, &base)).await.unwrap();
        let answer = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        assert!(answer.contains("C0A000") && answer.contains(words), "{answer}");
    }
}

#[tokio::test]
async fn every_failure_looks_the_same() {
    let users = vec![
        user("ann", "canary-ann"),
        User {
            password: None,
            certificate: Some("cert".to_owned()),
            ..user("cert", "")
        },
        user("broken", "SCRAM-SHA-256$4096:AAAA$BBBB"),
        user("stored", &postgres_protocol::password::scram_sha_256(b"canary-stored")),
    ];
    let site = Site::start(Wanted {
        users,
        ..Wanted::default()
    })
    .await;
    assert!(site.log_in("stored", "canary-stored").await.is_ok());
    for (name, password) in [
        ("ann", "wrong"),
        ("ann", ""),
        ("nobody", "canary-ann"),
        ("cert", "x"),
        ("broken", "x"),
        ("ANN", "canary-ann"),
    ] {
        let (code, words) = refusal(site.log_in(name, password).await);
        assert_eq!(
            (code.as_str(), words),
            ("28P01", format!("password authentication failed for user \"{name}\""))
        );
    }
    // Unknown databases and forbidden sources are told only to who is known.
    let mut config = site.config("ann", "wrong");
    assert_eq!(refusal(connect(config.dbname("nowhere")).await).0, "28P01");
    let mut config = site.config("ann", "canary-ann");
    assert_eq!(refusal(connect(config.dbname("nowhere")).await).0, "3D000");
    assert_eq!(refusal(connect(config.dbname("hidden")).await).0, "42501");
    assert_eq!(refusal(connect(config.dbname("broken")).await).0, "08001");
    assert!(connect(config.dbname("ledger@primary")).await.is_ok());
    assert_eq!(refusal(connect(config.dbname("ledger@nowhere")).await).0, "3D000");
}

#[tokio::test]
async fn wrong_turns_in_the_exchange() {
    let site = Site::start(Wanted::default()).await;
    let begin = startup(196_608, &[("user", "ann"), ("database", "ledger")]);
    let initial = |mechanism: &str, first: &str| {
        message(
            b'p',
            &[
                mechanism.as_bytes(),
                b"\0",
                &(first.len() as u32).to_be_bytes()[..],
                first.as_bytes(),
            ]
            .concat(),
        )
    };
    for (name, answer, code) in [
        ("a password in clear", message(b'p', b"canary-ann\0"), "28P01"),
        ("an unknown mechanism", initial("SCRAM-SHA-1", "n,,n=,r=abc"), "28P01"),
        (
            "PLUS without TLS",
            initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abc"),
            "28P01",
        ),
        ("a query", message(b'Q', b"SELECT 1\0"), "08P01"),
        ("a huge message", vec![b'p', 0x7f, 0xff, 0xff, 0xff], "08P01"),
        ("a negative length", vec![b'p', 0xff, 0xff, 0xff, 0xff], "08P01"),
        ("a length of 3", vec![b'p', 0, 0, 0, 3], "08P01"),
        (
            "a nonce of its own",
            [
                initial("SCRAM-SHA-256", "n,,n=,r=abc"),
                message(b'p', format!("c=biws,r=abc,p={}", "A".repeat(43) + "=").as_bytes()),
            ]
            .concat(),
            "28P01",
        ),
    ] {
        let mut stream = site.raw().await;
        stream.write_all(&[&begin[..], &answer].concat()).await.unwrap();
        let heard = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        assert!(heard.contains(&format!("C{code}\0")), "{name}: {heard:?}");
    }
    assert_eq!(site.clients.count(), 0);
}

#[tokio::test]
async fn bytes_behind_the_login_are_not_lost() {
    let site = Site::start(Wanted {
        users: Vec::new(),
        trust_loopback: true,
        ..Wanted::default()
    })
    .await;
    let mut stream = site.raw().await;
    let all = [
        startup(196_608, &[("user", "whoever"), ("database", "ledger")]),
        message(b'Q', b"SELECT 42\0"),
    ];
    stream.write_all(&all.concat()).await.unwrap();
    let mut ready = 0;
    while ready < 2 {
        match read_message(&mut stream).await {
            (b'D', row) => assert_eq!(&row[6..], b"42"),
            (b'E', error) => panic!("{}", String::from_utf8_lossy(&error)),
            (b'Z', _) => ready += 1,
            _ => {}
        }
    }
}

#[tokio::test]
async fn garbage_before_authentication() {
    let site = Site::start(Wanted::default()).await;
    let long = startup(196_608, &[("user", "ann"), ("options", &"x".repeat(12_000))]);
    for (name, bytes, words) in [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some("08P01")),
        (
            "a length of 2^31-1",
            vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
            Some("08P01"),
        ),
        ("a length of 0", vec![0; 8], Some("08P01")),
        ("a packet of 12 kB", long, Some("08P01")),
        ("no terminator", vec![0, 0, 0, 9, 0, 3, 0, 0, b'u'], Some("08P01")),
        ("no user", startup(196_608, &[]), Some("28000")),
        ("direct TLS without TLS", vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], None),
        (
            "a short cancel request",
            vec![0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1],
            None,
        ),
        (
            "a wrong cancel request",
            vec![0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1],
            None,
        ),
    ] {
        let mut stream = site.raw().await;
        let _ = stream.write_all(&bytes).await;
        let heard = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        match words {
            Some(code) => assert!(heard.contains(&format!("C{code}\0")), "{name}: {heard:?}"),
            None => assert_eq!(heard, "", "{name}"),
        }
    }
    // A peer that says nothing is let go at the deadline.
    let limits = ListenerLimits {
        login_timeout: Duration::from_millis(300),
        ..ListenerLimits::default()
    };
    let site = Site::start(Wanted {
        limits,
        ..Wanted::default()
    })
    .await;
    let mut stream = site.raw().await;
    stream.write_all(&[0, 0, 0, 20]).await.unwrap();
    assert!(String::from_utf8_lossy(&rest(&mut stream).await).contains("client_login_timeout"));
}

#[tokio::test]
async fn limits_of_users_and_sources() {
    let site = Site::start(Wanted {
        source_limit: Some(2),
        ..Wanted::default()
    })
    .await;
    let few = site.log_in("few", "canary-few").await.expect("the first");
    let (code, _) = refusal(site.log_in("few", "canary-few").await);
    assert_eq!(code, "53300");
    let ann = site.log_in("ann", "canary-ann").await.expect("the source's second");
    assert_eq!(refusal(site.log_in("ann", "canary-ann").await).0, "53300");
    drop((few, ann));
    // Places come back when the clients are gone.
    for _ in 0..200 {
        if site.clients.count() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(site.log_in("few", "canary-few").await.is_ok());
}

#[tokio::test]
async fn a_cold_source_says_why() {
    let wrong = Wanted {
        server: ("canary-wrong".to_owned(), cluster().port),
        ..Wanted::default()
    };
    let site = Site::start(wrong).await;
    let (code, words) = refusal(site.log_in("ann", "canary-ann").await);
    assert_eq!(code, "28P01");
    assert!(words.contains(ROLE), "the database's own words: {words}");
    let down = Wanted {
        server: (ROLE_PASSWORD.to_owned(), weir_tests::cluster::free_port()),
        ..Wanted::default()
    };
    let site = Site::start(down).await;
    assert_eq!(refusal(site.log_in("ann", "canary-ann").await).0, "08001");
}

#[tokio::test]
async fn a_warm_source_lets_in_without_its_database() {
    let private = Cluster::start(Version::Distribution, &[]);
    let site = Site::start(Wanted {
        server: (ROLE_PASSWORD.to_owned(), private.port),
        ..Wanted::default()
    })
    .await;
    drop(site.log_in("ann", "canary-ann").await.expect("warm"));
    private.crash();
    let client = site.log_in("ann", "canary-ann").await.expect("the welcome is known");
    assert!(
        client.simple_query("SELECT 1").await.is_err(),
        "only the query needs the database"
    );
}

#[tokio::test]
async fn cancel_requests_reach_the_query() {
    let site = Site::start(Wanted::default()).await;
    let client = site.log_in("ann", "canary-ann").await.unwrap();
    let token = client.cancel_token();
    let asked = tokio::spawn(async move { client.simple_query("SELECT pg_sleep(30)").await.map(drop) });
    while !asked.is_finished() {
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let error = asked.await.unwrap().expect_err("a cancelled query");
    assert_eq!(
        error.code().map(|code| code.code().to_owned()).as_deref(),
        Some("57014")
    );
}

#[tokio::test]
async fn tls_with_libpq() {
    let site = Site::start(Wanted {
        tls: Some(ListenerTlsMode::Optional),
        ..Wanted::default()
    })
    .await;
    let (folder, _) = site.files("ann");
    let root = folder.path().join("root.crt").display().to_string();
    for conninfo in [
        "sslmode=disable".to_owned(),
        "sslmode=prefer".to_owned(),
        "sslmode=require channel_binding=require".to_owned(),
        "sslmode=require channel_binding=disable".to_owned(),
        format!("sslmode=verify-full sslrootcert={root} channel_binding=require"),
    ] {
        assert_eq!(
            site.psql(&conninfo, "SELECT 6 * 7").await,
            Ok("42".to_owned()),
            "{conninfo}"
        );
    }
    let refused = site
        .psql("sslmode=require password=wrong", "SELECT 1")
        .await
        .unwrap_err();
    assert!(
        refused.contains("password authentication failed for user \"ann\""),
        "{refused}"
    );
    let site = Site::start(Wanted {
        tls: Some(ListenerTlsMode::Required),
        ..Wanted::default()
    })
    .await;
    let refused = site.psql("sslmode=disable", "SELECT 1").await.unwrap_err();
    assert!(
        refused.contains("accepts encrypted connections only") && refused.contains("\"pg\""),
        "{refused}"
    );
    assert_eq!(site.psql("sslmode=allow", "SELECT 1").await, Ok("1".to_owned()));
    let site = Site::start(Wanted::default()).await;
    assert!(
        site.psql("sslmode=require", "SELECT 1")
            .await
            .unwrap_err()
            .contains("does not support SSL")
    );
}

#[tokio::test]
async fn client_certificates() {
    let mut users = Wanted::default().users;
    users[0].certificate = Some("ann's laptop".to_owned());
    users[0].password = None;
    let wanted = || Wanted {
        users: users.clone(),
        tls: Some(ListenerTlsMode::ClientCertificate),
        ..Wanted::default()
    };
    let site = Site::start(wanted()).await;
    let (_folder, conninfo) = site.files("ann's laptop");
    assert_eq!(
        site.psql(&format!("sslmode=require {conninfo}"), "SELECT 1").await,
        Ok("1".to_owned())
    );
    let (_folder, other) = site.files("bob's laptop");
    let refused = site
        .psql(&format!("sslmode=require {other}"), "SELECT 1")
        .await
        .unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(
        site.psql("sslmode=require sslcert=/none", "SELECT 1").await.is_err(),
        "a certificate is required"
    );
    // Where none is demanded, one that is shown counts as much.
    let optional = Wanted {
        tls: Some(ListenerTlsMode::Required),
        ..wanted()
    };
    let site = Site::start(optional).await;
    let (_folder, own) = site.files("ann's laptop");
    assert_eq!(
        site.psql(&format!("sslmode=require {own}"), "SELECT 1").await,
        Ok("1".to_owned())
    );
    assert!(site.psql("sslmode=require sslcert=/none", "SELECT 1").await.is_err());
    // verify-full with a password: both must be right.
    let wanted = Wanted {
        tls: Some(ListenerTlsMode::ClientCertificateNamed),
        ..Wanted::default()
    };
    let site = Site::start(wanted).await;
    let (_folder, own) = site.files("ann");
    assert_eq!(
        site.psql(&format!("sslmode=require {own}"), "SELECT 1").await,
        Ok("1".to_owned())
    );
    let (_folder, other) = site.files("few");
    assert!(
        site.psql(&format!("sslmode=require {other}"), "SELECT 1")
            .await
            .is_err()
    );
    assert!(
        site.psql(&format!("sslmode=require password=wrong {own}"), "SELECT 1")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn users_that_are_wrong_do_not_let_anybody_in() {
    let site = Site::start(Wanted {
        users: Vec::new(),
        unusable_users: true,
        trust_loopback: true,
        ..Wanted::default()
    })
    .await;
    let (code, _) = refusal(site.log_in("anybody", "").await);
    assert_eq!(code, "28P01", "no user can be, so nobody can be one");
}

#[tokio::test]
async fn plaintext_behind_a_request_for_tls_is_never_executed() {
    let site = Site::start(Wanted {
        users: Vec::new(),
        trust_loopback: true,
        tls: Some(ListenerTlsMode::Optional),
        ..Wanted::default()
    })
    .await;
    let ssl = [0, 0, 0, 8, 4, 210, 22, 47];
    let injected = [
        startup(196_608, &[("user", "evil"), ("database", "ledger")]),
        message(b'Q', b"SELECT 'injected-canary'\0"),
    ]
    .concat();
    for pause in [false, true] {
        let mut stream = site.raw().await;
        stream.write_all(&ssl).await.unwrap();
        if pause {
            let mut answer = [0];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [b'S']);
            stream.write_all(&injected).await.unwrap();
        } else {
            let mut stream_again = site.raw().await;
            stream_again.write_all(&[&ssl[..], &injected].concat()).await.unwrap();
            let heard = String::from_utf8_lossy(&rest(&mut stream_again).await).into_owned();
            assert!(
                heard.starts_with('E') && heard.contains("received unencrypted data after SSL request"),
                "{heard}"
            );
            continue;
        }
        let heard = rest(&mut stream).await;
        assert!(!heard.windows(8).any(|part| part == b"injected"), "{heard:?}");
    }
    assert!(!cluster().log().contains("injected-canary"));
    // The same where the answer would have been N.
    let mut stream = site.raw().await;
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    stream.write_all(&[&gss[..], &injected].concat()).await.unwrap();
    let heard = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
    assert!(heard.starts_with('E') && heard.contains("GSSAPI"), "{heard}");
}

#[tokio::test]
async fn direct_tls_needs_its_name() {
    let site = Site::start(Wanted {
        tls: Some(ListenerTlsMode::Optional),
        ..Wanted::default()
    })
    .await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    for (protocols, welcome) in [(&["postgresql"][..], true), (&[], false), (&["h2"], false)] {
        let connector = tokio_rustls::TlsConnector::from(site.authority.client(protocols));
        let connected = connector.connect(name.clone(), site.raw().await).await;
        let Ok(mut stream) = connected else {
            assert!(!welcome, "{protocols:?}");
            continue;
        };
        let _ = stream
            .write_all(&startup(196_608, &[("user", "ann"), ("database", "ledger")]))
            .await;
        if welcome {
            assert_eq!(scram(&mut stream, "canary-ann").await.last().unwrap().0, b'Z');
        } else {
            let heard = rest(&mut stream).await;
            assert_eq!(heard, b"", "{protocols:?}");
        }
    }
}

#[tokio::test]
async fn a_downgrade_of_channel_binding_is_refused() {
    let site = Site::start(Wanted {
        tls: Some(ListenerTlsMode::Optional),
        ..Wanted::default()
    })
    .await;
    let connector = tokio_rustls::TlsConnector::from(site.authority.client(&["postgresql"]));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, site.raw().await).await.unwrap();
    stream
        .write_all(&startup(196_608, &[("user", "ann"), ("database", "ledger")]))
        .await
        .unwrap();
    let (_, offer) = read_message(&mut stream).await;
    assert_eq!(&offer[4..], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let first = b"y,,n=,r=abcdef";
    stream
        .write_all(&message(b'p', &[b"SCRAM-SHA-256\0\0\0\0\x0e", &first[..]].concat()))
        .await
        .unwrap();
    let heard = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
    assert!(
        heard.contains("C28000\0") && heard.contains("channel binding negotiation error"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn replication_clients_get_a_wal_sender() {
    let site = Site::start(Wanted {
        server_role: SUPERUSER,
        server: (SUPERUSER_PASSWORD.to_owned(), cluster().port),
        ..Wanted::default()
    })
    .await;
    let found = site.psql("replication=database", "IDENTIFY_SYSTEM").await;
    let found = found.unwrap_or_else(|error| {
        panic!(
            "{error}
{}",
            cluster().log()
        )
    });
    assert!(found.contains("|postgres"), "{found}");
    let refused = site.psql("replication=maybe", "IDENTIFY_SYSTEM").await.unwrap_err();
    assert!(
        refused.contains("invalid value for parameter \"replication\""),
        "{refused}"
    );
}

// === auth_query ===

fn auth_query(query: Option<&str>) -> Option<AuthQuery> {
    let address = address(SUPERUSER, SUPERUSER_PASSWORD, cluster().port);
    Some(AuthQuery {
        query: query.map(str::to_owned),
        connection: Some(AddressSource::Fixed(Box::new(address))),
    })
}

/// Serialises tests that make roles: PostgreSQL refuses concurrent changes of one catalog row.
async fn make_roles(statements: &str) {
    cluster()
        .admin("postgres")
        .await
        .batch_execute(statements)
        .await
        .expect("roles can be made");
}

#[tokio::test]
async fn users_of_the_database() {
    make_roles(
        "DROP ROLE IF EXISTS dora, erin, finn, gwen, hugo, ivan;
         CREATE ROLE dora LOGIN PASSWORD 'canary-dora';
         CREATE ROLE erin LOGIN PASSWORD 'canary-erin' VALID UNTIL '2001-01-01';
         CREATE ROLE finn PASSWORD 'canary-finn';
         CREATE ROLE gwen LOGIN;
         CREATE ROLE hugo LOGIN PASSWORD 'canary-hugo' VALID UNTIL 'infinity';
         SET password_encryption = 'md5';
         CREATE ROLE ivan LOGIN PASSWORD 'canary-ivan';",
    )
    .await;
    let site = Site::start(Wanted {
        auth_query: auth_query(None),
        ..Wanted::default()
    })
    .await;
    for name in ["dora", "hugo", "ann"] {
        assert!(site.log_in(name, &format!("canary-{name}")).await.is_ok(), "{name}");
    }
    // Expired (CVE-2025-2291), may not log in, no password, MD5, unknown, no role of this spelling, too long a name.
    let long = format!("dora{}", "x".repeat(80));
    for name in ["erin", "finn", "gwen", "ivan", "nobody", "DORA", "dora ", long.as_str()] {
        let (code, words) = refusal(site.log_in(name, &format!("canary-{name}")).await);
        assert_eq!(
            (code.as_str(), words),
            ("28P01", format!("password authentication failed for user \"{name}\""))
        );
    }
    // A new password works with the next attempt but one, at most a few seconds later.
    make_roles("ALTER ROLE dora PASSWORD 'canary-dora-2'").await;
    let mut attempts = 0;
    while site.log_in("dora", "canary-dora-2").await.is_err() {
        attempts += 1;
        assert!(attempts < 50, "the new password is never seen");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(site.log_in("dora", "canary-dora").await.is_err(), "the old one is void");
    // A user of this source's database is nobody to another source.
    let mut config = site.config("dora", "canary-dora-2");
    assert_eq!(refusal(connect(config.dbname("hidden")).await).0, "28P01");
}

#[tokio::test]
async fn auth_query_cannot_be_steered() {
    make_roles(
        "DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil;
         CREATE FUNCTION evil.yes(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR evil.= (FUNCTION = evil.yes, LEFTARG = name, RIGHTARG = name);
         CREATE TABLE evil.pg_authid AS SELECT 'mallory'::name AS rolname, 'SCRAM-SHA-256$1:AAAA$BBBB:CCCC' AS rolpassword,
             NULL::timestamptz AS rolvaliduntil, true AS rolcanlogin;
         DROP ROLE IF EXISTS kate; CREATE ROLE kate LOGIN PASSWORD 'canary-kate';",
    )
    .await;
    let site = Site::start(Wanted {
        auth_query: auth_query(None),
        ..Wanted::default()
    })
    .await;
    for hostile in [
        "-c search_path=evil,pg_catalog",
        "-c search_path=evil",
        "-c role=postgres",
        "-c session_authorization=postgres",
        "-c statement_timeout=1",
        "-c default_transaction_read_only=off",
        "-c client_encoding=SQL_ASCII",
        "-c standard_conforming_strings=off",
        "-c local_preload_libraries=evil",
        "-c row_security=off",
    ] {
        let mut config = site.config("kate", "canary-kate");
        // Whatever the settings do to the client's own session later: who it is was found out without them.
        assert!(connect(config.options(hostile)).await.is_ok(), "{hostile}");
        let mut config = site.config("mallory", "x");
        assert_eq!(refusal(connect(config.options(hostile)).await).0, "28P01", "{hostile}");
    }
    for name in [
        "kate'; DROP TABLE x; --",
        "kate\" OR \"1\"=\"1",
        "' OR ''='",
        "$1",
        "kate\\",
    ] {
        assert_eq!(refusal(site.log_in(name, "canary-kate").await).0, "28P01", "{name}");
    }
}

#[tokio::test]
async fn auth_query_of_ones_own() {
    make_roles("DROP TABLE IF EXISTS public.people; CREATE TABLE public.people (name text, secret text);
        INSERT INTO public.people VALUES ('lena', 'canary-lena'), ('twin', 'a'), ('twin', 'b'), ('Mary', 'canary-mary'), ('none', NULL), ('empty', '');")
    .await;
    let query = "SELECT name, secret FROM public.people WHERE lower(name) OPERATOR(pg_catalog.=) lower($1)";
    let site = Site::start(Wanted {
        auth_query: auth_query(Some(query)),
        ..Wanted::default()
    })
    .await;
    assert!(site.log_in("lena", "canary-lena").await.is_ok());
    assert!(site.log_in("Mary", "canary-mary").await.is_ok());
    for name in ["LENA", "mary", "none", "empty"] {
        assert_eq!(refusal(site.log_in(name, "canary-lena").await).0, "28P01", "{name}");
    }
    // Two rows are nobody's answer.
    assert_eq!(refusal(site.log_in("twin", "a").await).0, "57P03");
    // It cannot write.
    let query = "INSERT INTO public.people VALUES ($1, 'x') RETURNING name, secret";
    let site = Site::start(Wanted {
        auth_query: auth_query(Some(query)),
        ..Wanted::default()
    })
    .await;
    assert_eq!(refusal(site.log_in("zoe", "x").await).0, "57P03");
}

#[tokio::test]
async fn known_users_get_in_while_the_database_is_down() {
    let private = Cluster::start(Version::Distribution, &[]);
    private
        .admin("postgres")
        .await
        .batch_execute("CREATE ROLE nina LOGIN PASSWORD 'canary-nina'")
        .await
        .unwrap();
    let address = address(SUPERUSER, SUPERUSER_PASSWORD, private.port);
    let wanted = Wanted {
        auth_query: Some(AuthQuery {
            query: None,
            connection: Some(AddressSource::Fixed(Box::new(address))),
        }),
        server: (ROLE_PASSWORD.to_owned(), private.port),
        ..Wanted::default()
    };
    let site = Site::start(wanted).await;
    assert!(site.log_in("nina", "canary-nina").await.is_ok());
    private.crash();
    assert!(site.log_in("nina", "canary-nina").await.is_ok(), "from memory");
    assert_eq!(refusal(site.log_in("olga", "x").await).0, "57P03");
    // A wrong password makes the gateway doubt, the database cannot be asked, so the old answer goes on.
    assert_eq!(refusal(site.log_in("nina", "wrong").await).0, "28P01");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert!(site.log_in("nina", "canary-nina").await.is_ok(), "still from memory");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_question_that_fails_does_not_ask_again() {
    // Takes connections, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let declared = source(
        "ledger",
        &Wanted {
            server: (ROLE_PASSWORD.to_owned(), silent.local_addr().unwrap().port()),
            ..Wanted::default()
        },
    );
    let Definition::Postgres(definition) = declared.definition else {
        unreachable!()
    };
    let place = Arc::new(weir_postgres::login::credentials::AuthQuery::new(
        "ledger".into(),
        vec!["ledger".to_owned()],
        None,
        weir_postgres::login::server::Opener::new(definition.primary, Vec::new()),
        Verifiers::new().unwrap(),
    ));
    let began = weir_core::clock::now();
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let place = place.clone();
        logins.spawn(async move { place.lookup("ann", "ledger").await });
    }
    for answer in logins.join_all().await {
        assert!(matches!(answer, Lookup::Unavailable(_)), "{answer:?}");
    }
    // One question takes at most 5 s, so that the last of many logins is still within its 15 s.
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[tokio::test]
async fn the_name_of_the_source_is_shown_if_it_has_one() {
    let site = Site::start(Wanted {
        application_name: Some("weir ledger".to_owned()),
        ..Wanted::default()
    })
    .await;
    let mut config = site.config("ann", "canary-ann");
    let client = connect(config.application_name("mine")).await.unwrap();
    let shown = client
        .query_one("SELECT current_setting('application_name')", &[])
        .await
        .unwrap();
    assert_eq!(shown.get::<_, &str>(0), "weir ledger");
    assert_eq!(site.registry.sources().len(), 2);
}

#[tokio::test]
async fn a_probe_finds_out() {
    let declared = source("ledger", &Wanted::default());
    let Definition::Postgres(definition) = &declared.definition else {
        unreachable!()
    };
    let found = weir_postgres::probe(&definition.primary).await.expect("a probe");
    assert!(found.version.starts_with("PostgreSQL 1"), "{}", found.version);
    assert_eq!((found.role.as_str(), found.database.as_str()), (ROLE, "postgres"));
    assert_eq!((found.in_recovery, found.encrypted), (Some(false), Some(false)));
    assert_eq!(
        (found.max_connections, found.usable_connections()),
        (Some(700), Some(697))
    );
    assert!(found.fits(4) && !found.fits(698));
    let wrong = Wanted {
        server: ("canary-wrong".to_owned(), cluster().port),
        ..Wanted::default()
    };
    let declared = source("ledger", &wrong);
    let Definition::Postgres(definition) = &declared.definition else {
        unreachable!()
    };
    let error = weir_postgres::probe(&definition.primary).await.unwrap_err();
    assert!(
        matches!(&error, weir_core::refusal::OpenError::Rejected(said) if said.code == "28P01"),
        "{error}"
    );
}
