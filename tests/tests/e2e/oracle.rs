//! O1: the right answer for everybody, whoever leaves and however. O4: the oracle itself, shown a pooler that is wrong.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_tests::{
    cluster::{Cluster, ROLE, ROLE_PASSWORD},
    oracle::{Oracle, Verdict},
    site::{Plan, Site, is_direct, new_name},
    wire,
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
    };
    let verdict = oracle.run().await;
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
    };
    let verdict = oracle.run().await;
    assert!(verdict.right > 0, "the mutant answers at all: {verdict:#?}");
    assert!(
        verdict.wrong + verdict.garbled > 0,
        "the oracle must notice: {verdict:#?}"
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
