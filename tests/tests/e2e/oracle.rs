//! O1: the right answer for everybody, whoever leaves and however. O4: the oracle itself, shown a pooler that is wrong.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_tests::{
    cluster::{CHIEF, Cluster, ROLE, ROLE_PASSWORD},
    fault_proxy::{FaultProxy, Faults, Toxic},
    gateway::Gateway,
    metadata::Metadata,
    oracle::{Oracle, Verdict},
    site::{Plan, Site, database_url, is_direct, new_name},
    wire::{self, RawClient},
};

async fn interrogate(plan: Plan, clients: u32, seconds: u64) -> (Verdict, u32) {
    let limit = plan.connections;
    let site = Site::start(plan).await;
    Oracle::prepare(&site.admin().await).await;
    let sampler = site.sampler().await;
    let oracle = Oracle {
        address: site.address(),
        database: site.database.clone(),
        clients,
        duration: Duration::from_secs(seconds),
        rude: 1,
        leaving: 1,
        patience: Duration::from_secs(20),
        tolerated: &[],
    };
    let verdict = oracle.run().await;
    verdict.expect_written(&site.admin().await).await;
    // The watcher's own connection to the database is made past the gateway and gone by now.
    let most = sampler.stop().await;
    if !is_direct() {
        assert!(most <= limit + 1, "{most} server connections, the limit is {limit}");
    }
    eprintln!(
        "oracle: {} right, {} left, at most {most} server connections",
        verdict.right, verdict.left
    );
    (verdict, most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer() {
    let plan = Plan {
        connections: 20,
        heavy: true,
        ..Plan::default()
    };
    interrogate(plan, 100, 20).await.0.expect_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_from_one_connection() {
    let plan = Plan {
        connections: 1,
        heavy: true,
        ..Plan::default()
    };
    interrogate(plan, 20, 5).await.0.expect_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_from_version_18() {
    let plan = Plan {
        connections: 5,
        version: weir_tests::cluster::Version::Eighteen,
        heavy: true,
        ..Plan::default()
    };
    interrogate(plan, 50, 5).await.0.expect_clean();
}

/// Through networks that deliver byte by byte, on either side of the gateway, with and without TLS there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_byte_by_byte() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        heavy: true,
        ..Plan::default()
    })
    .await;
    Oracle::prepare(&site.admin().await).await;
    let sliced = || Faults {
        upstream: Toxic::Slice(1),
        downstream: Toxic::Slice(1),
        ..Faults::default()
    };
    for sslmode in ["disable", "require"] {
        let behind = FaultProxy::start(site.cluster.address(), sliced()).await;
        let url = format!(
            "postgres://{ROLE}:{ROLE_PASSWORD}@{}/{}?sslmode={sslmode}",
            behind.address, site.database
        );
        let metadata = Metadata::new()
            .postgres(&site.database, url.into(), json!({ "max_connections": 2 }))
            .loopback()
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }));
        let gateway = Gateway::start(&metadata);
        let before = FaultProxy::start(gateway.address("pg"), sliced()).await;
        let oracle = Oracle {
            address: before.address,
            database: site.database.clone(),
            clients: 6,
            duration: Duration::from_secs(4),
            rude: 1,
            leaving: 1,
            patience: Duration::from_secs(20),
            tolerated: &[],
        };
        let verdict = oracle.run().await;
        eprintln!("oracle byte by byte, {sslmode}: {} right", verdict.right);
        verdict.expect_clean();
    }
}

/// Two users on two databases through one gateway: everybody is where they asked to be (ISO2 in short).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_do_not_mix() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        ..Plan::default()
    })
    .await;
    let other = new_name("other");
    site.cluster.create_database(&other).await;
    let url = |role: &str, database: &str| database_url(site.cluster, role, database, "sslmode=disable");
    let mut metadata = Metadata::new().loopback();
    for (name, role, database) in [
        ("a", ROLE, &site.database),
        ("b", CHIEF, &site.database),
        ("c", ROLE, &other),
    ] {
        metadata = metadata.postgres(name, url(role, database).into(), json!({ "max_connections": 2 }));
    }
    metadata = metadata
        .user(json!({ "name": "everywhere", "password": "secret", "sources": "*" }))
        .user(json!({ "name": "only_a", "password": "secret", "sources": ["a"] }));
    let gateway = Gateway::start(&metadata);
    let address = gateway.address("pg");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12 {
        let places = [
            ("a", ROLE, site.database.clone()),
            ("b", CHIEF, site.database.clone()),
            ("c", ROLE, other.clone()),
        ];
        let (name, role, database) = places[number % 3].clone();
        tasks.spawn(async move {
            let mut client = RawClient::log_in(address, "everywhere", "secret", name).await.unwrap();
            for _ in 0..100 {
                let found = client.rows("select current_user || ' in ' || current_database()").await;
                assert_eq!(found, [format!("{role} in {database}")]);
            }
        });
    }
    tasks.join_all().await;
    // A user sees the sources that were given to it. Who has not logged in cannot tell which ones there are.
    assert!(RawClient::log_in(address, "only_a", "secret", "a").await.is_ok());
    let error = RawClient::log_in(address, "only_a", "secret", "b")
        .await
        .expect_err("b is not for only_a")
        .to_string();
    assert!(error.starts_with("42501") || error.starts_with("3D000"), "{error}");
    for name in ["a", "b", "d"] {
        let error = RawClient::log_in(address, "only_a", "wrong", name)
            .await
            .expect_err("let in")
            .to_string();
        assert_eq!(
            error, "28P01: password authentication failed for user \"only_a\"",
            "{name}"
        );
    }
}

/// The mutant: a pooler whose dropped lease goes back as good. It must not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_convicts_a_pooler_that_reuses_what_was_dropped() {
    let cluster = Cluster::distribution();
    let database = new_name("mutant");
    cluster.create_database(&database).await;
    Oracle::prepare(&cluster.admin(&database).await).await;
    let mutant = Mutant::start(cluster.address(), &database).await;
    let oracle = Oracle {
        address: mutant,
        database,
        clients: 8,
        duration: Duration::from_secs(3),
        rude: 5,
        leaving: 10,
        patience: Duration::from_millis(500),
        tolerated: &[],
    };
    let verdict = oracle.run().await;
    assert!(verdict.right > 0, "the mutant answers at all: {verdict:?}");
    assert!(
        verdict.wrong + verdict.garbled > 0,
        "the oracle must notice: {verdict:?}"
    );
}

/// Session pooling without any care: the next client continues where the last one left.
struct Mutant {
    server: SocketAddr,
    database: String,
    idle: Mutex<Vec<TcpStream>>,
}

impl Mutant {
    async fn start(server: SocketAddr, database: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mutant = Arc::new(Mutant {
            server,
            database: database.to_owned(),
            idle: Mutex::default(),
        });
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mutant = mutant.clone();
                tokio::spawn(async move { mutant.serve(client).await });
            }
        });
        address
    }

    async fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut startup = [0; 1024];
        client.read(&mut startup).await.ok().filter(|read| *read > 0)?;
        let idle = self.idle.lock().pop();
        let mut server = match idle {
            Some(server) => server,
            None => self.open().await?,
        };
        let welcome = [
            wire::message(b'R', &[0; 4]),
            wire::message(b'K', &[0; 8]),
            wire::message(b'Z', b"I"),
        ]
        .concat();
        client.write_all(&welcome).await.ok()?;
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => match read {
                    // Never a Terminate: the connection shall live on.
                    Ok(count) if count > 0 && up[..count] != *b"X\0\0\0\x04" => server.write_all(&up[..count]).await.ok()?,
                    _ => break,
                },
                read = server.read(&mut down) => {
                    let count = read.ok().filter(|count| *count > 0)?;
                    if client.write_all(&down[..count]).await.is_err() {
                        break;
                    }
                }
            }
        }
        self.idle.lock().push(server);
        Some(())
    }

    /// Logs in by hand, to have the bare socket.
    async fn open(&self) -> Option<TcpStream> {
        use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
        let mut server = TcpStream::connect(self.server).await.ok()?;
        server
            .write_all(&wire::startup(0, &[("user", ROLE), ("database", &self.database)]))
            .await
            .ok()?;
        let mut scram = ScramSha256::new(ROLE_PASSWORD.as_bytes(), ChannelBinding::unsupported());
        loop {
            let tag = server.read_u8().await.ok()?;
            let mut body = vec![0; server.read_u32().await.ok()? as usize - 4];
            server.read_exact(&mut body).await.ok()?;
            match (tag, body.get(3)) {
                (b'R', Some(10)) => server
                    .write_all(&wire::sasl_initial(SCRAM_SHA_256, scram.message()))
                    .await
                    .ok()?,
                (b'R', Some(11)) => {
                    scram.update(&body[4..]).ok()?;
                    server.write_all(&wire::password(scram.message())).await.ok()?;
                }
                (b'Z', _) => return Some(server),
                (b'E', _) => return None,
                _ => {}
            }
        }
    }
}
