//! O1, O4, O6 over TDS: the right answer for everybody, whoever leaves and however; the oracle shown a pooler that is wrong;
//! Attentions that hit who sent them and nobody else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_tests::{
    fault_proxy::{FaultProxy, Faults, Toxic},
    gateway::Gateway,
    metadata::Metadata,
    mssql::{
        DATABASE, Kind, LOGIN, Options, PASSWORD, RequestKind, Server, StandIn,
        client::{Credentials, Lines, RawClient},
        oracle::Oracle,
    },
    oracle::Verdict,
    random::Random,
    turn,
};

const USER: &str = "ann";
const USERS_PASSWORD: &str = "canary-2W";
/// Nothing takes longer but what hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(kind: Kind) -> Server {
    let server = Server::start(Options {
        kind,
        ..Options::default()
    });
    Oracle::prepare(&server);
    server
}

/// A gateway before `server`, at most so many connections to it.
fn gateway(server: &Server, connections: u32) -> Gateway {
    gateway_to(&server.connection_string(), connections)
}

fn gateway_to(string: &str, connections: u32) -> Gateway {
    let connection = json!({
        "connection_string": string,
        "pool_settings": { "max_connections": connections, "pool_timeout": 30 },
    });
    let metadata = Metadata::new()
        .source(
            json!({ "name": "erp", "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }),
        )
        .user(json!({ "name": USER, "password": USERS_PASSWORD, "sources": "*" }))
        .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
    Gateway::start(&metadata)
}

fn credentials() -> Credentials<'static> {
    Credentials {
        user: USER,
        password: USERS_PASSWORD,
        database: "erp",
        ..Credentials::default()
    }
}

fn oracle(address: SocketAddr, kind: Kind, clients: u32, seconds: u64) -> Oracle {
    Oracle {
        address,
        user: USER,
        password: USERS_PASSWORD,
        database: "erp",
        kind,
        clients,
        duration: Duration::from_secs(seconds),
        rude: 1,
        leaving: 1,
        attention: 1,
        patience: PATIENCE,
        tolerated: &[],
    }
}

async fn interrogate(kind: Kind, connections: u32, clients: u32, seconds: u64) -> Verdict {
    let _turn = turn::heavy();
    let server = server(kind);
    let gateway = gateway(&server, connections);
    let verdict = oracle(gateway.address("tds"), kind, clients, seconds).run().await;
    Oracle::expect_written(&verdict, &server);
    let most = server.stand_in().map_or(0, StandIn::most_sessions);
    eprintln!(
        "oracle over TDS: {} right, {} left, {} commits, at most {most} server connections",
        verdict.right,
        verdict.left,
        verdict.acknowledged.len()
    );
    // A connection that the gateway has closed may still be open at a server that is busy.
    assert!(
        most <= connections as usize + 1,
        "{most} server connections, the limit is {connections}"
    );
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer() {
    interrogate(Kind::SqlServer, 20, 100, 20).await.expect_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_get_their_own_answers_from_five_connections() {
    interrogate(Kind::SqlServer, 5, 200, 10).await.expect_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_from_one_connection() {
    interrogate(Kind::SqlServer, 1, 20, 5).await.expect_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_from_a_server_of_the_probe_kind() {
    interrogate(Kind::Probe, 5, 30, 8).await.expect_clean();
}

/// Through networks that deliver byte by byte, on both sides of the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_answer_byte_by_byte() {
    let _turn = turn::heavy();
    let sliced = || Faults {
        upstream: Toxic::Slice(1),
        downstream: Toxic::Slice(1),
        ..Faults::default()
    };
    let server = server(Kind::SqlServer);
    let behind = FaultProxy::start(server.address(), sliced()).await;
    let string = server.connection_string();
    let there = format!("tcp:{},{}", server.address().ip(), server.address().port());
    let here = format!("tcp:{},{}", behind.address.ip(), behind.address.port());
    let gateway = gateway_to(&string.replace(&there, &here), 2);
    let before = FaultProxy::start(gateway.address("tds"), sliced()).await;
    let verdict = oracle(before.address, Kind::SqlServer, 6, 4).run().await;
    Oracle::expect_written(&verdict, &server);
    eprintln!("oracle over TDS, byte by byte: {} right", verdict.right);
    verdict.expect_clean();
}

/// The mutant: a pooler whose dropped lease goes back as good. It must not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_convicts_a_pooler_that_reuses_what_was_dropped() {
    let _turn = turn::light();
    let server = Server::StandIn(Box::new(StandIn::start(Options::default())));
    Oracle::prepare(&server);
    let oracle = Oracle {
        user: LOGIN,
        password: PASSWORD,
        database: DATABASE,
        rude: 5,
        leaving: 10,
        attention: 5,
        patience: Duration::from_millis(500),
        ..oracle(Mutant::start(server.address()).await, Kind::SqlServer, 8, 3)
    };
    let verdict = oracle.run().await;
    eprintln!("the mutant: {verdict:?}");
    assert!(verdict.right > 0, "the mutant answers at all: {verdict:?}");
    assert!(
        verdict.wrong + verdict.garbled > 0,
        "the oracle must notice: {verdict:?}"
    );
}

/// Session pooling without any care: the next client continues where the last one left.
struct Mutant {
    server: SocketAddr,
    /// The server's answers to PRELOGIN and LOGIN7, as the first client got them.
    welcome: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    idle: Mutex<Vec<TcpStream>>,
}

impl Mutant {
    async fn start(server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mutant = Arc::new(Mutant {
            server,
            welcome: Mutex::default(),
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
        let prelogin = message(&mut client).await?;
        let idle = self.idle.lock().pop();
        let welcome = self.welcome.lock().clone();
        let mut server = match (idle, welcome) {
            (Some(server), Some((first, second))) => {
                client.write_all(&first).await.ok()?;
                message(&mut client).await?;
                client.write_all(&second).await.ok()?;
                server
            }
            _ => {
                let mut server = TcpStream::connect(self.server).await.ok()?;
                server.write_all(&prelogin).await.ok()?;
                let first = message(&mut server).await?;
                client.write_all(&first).await.ok()?;
                server.write_all(&message(&mut client).await?).await.ok()?;
                let second = message(&mut server).await?;
                client.write_all(&second).await.ok()?;
                *self.welcome.lock() = Some((first, second));
                server
            }
        };
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(count) if count > 0 => server.write_all(&up[..count]).await.ok()?,
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
}

/// The packets of one message, as they are.
async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])).checked_sub(8)?];
        stream.read_exact(&mut payload).await.ok()?;
        bytes.extend(header);
        bytes.extend(payload);
        if header[1] & 1 != 0 {
            return Some(bytes);
        }
    }
}

async fn visit(address: SocketAddr) -> RawClient {
    let (client, lines) = RawClient::log_in(address, &credentials()).await.unwrap();
    assert!(lines.iter().any(|line| line.starts_with("loginack")), "{lines:#?}");
    client
}

async fn read(client: &mut RawClient) -> Lines {
    tokio::time::timeout(PATIENCE, client.read())
        .await
        .expect("an answer comes")
        .unwrap()
}

/// PgBouncer's race: a victim is cancelled again and again while a neighbour uses the same server connection between.
async fn race(kind: Kind, rounds: u32) {
    let _turn = turn::heavy();
    let server = server(kind);
    let gateway = gateway(&server, 1);
    let address = gateway.address("tds");
    let mut victim = visit(address).await;
    let neighbour = tokio::spawn(async move {
        let mut neighbour = visit(address).await;
        loop {
            neighbour
                .start(0, "WAITFOR DELAY '00:00:00.002'; SELECT 'neighbour' AS n")
                .await;
            let answer = read(&mut neighbour).await;
            let rows: Vec<&String> = answer.iter().filter(|line| line.starts_with("row")).collect();
            assert_eq!(rows, ["row 'neighbour'"], "the neighbour is hit: {answer:#?}");
            assert!(
                answer.last().unwrap().starts_with("done 0010"),
                "the neighbour is hit: {answer:#?}"
            );
        }
    });
    let mut random = Random::new(1);
    let (mut hits, mut sent) = (0, 0);
    for round in 0..rounds {
        assert!(
            !neighbour.is_finished(),
            "the neighbour failed in round {round}: {:?}",
            neighbour.await
        );
        victim
            .start(0, &format!("WAITFOR DELAY '00:00:00.005'; SELECT {round} AS r"))
            .await;
        // Sometimes early, sometimes just when the statement ends, sometimes twice.
        tokio::time::sleep(Duration::from_micros(random.below(14_000))).await;
        let times = if random.percent(10) { 2 } else { 1 };
        for _ in 0..times {
            victim.attention().await.unwrap();
            sent += 1;
        }
        let mut heard = Lines::new();
        let acknowledged = |heard: &Lines| heard.iter().filter(|line| line.starts_with("done 0020")).count();
        while acknowledged(&heard) < times {
            heard.extend(read(&mut victim).await);
        }
        let rows: Vec<&String> = heard.iter().filter(|line| line.starts_with("row")).collect();
        match rows[..] {
            [] => hits += 1,
            [row] => assert_eq!(*row, format!("row {round}"), "{heard:#?}"),
            _ => panic!("{heard:#?}"),
        }
        assert!(!heard.iter().any(|line| line.starts_with("error")), "{heard:#?}");
        if round % 10 == 0 {
            let answer = victim.batch(&format!("SELECT 'after {round}' AS a")).await;
            assert_eq!(answer[1], format!("row 'after {round}'"), "{answer:#?}");
        }
    }
    assert!(!neighbour.is_finished(), "the neighbour failed: {:?}", neighbour.await);
    neighbour.abort();
    assert!(hits > 0, "no Attention ever hit its request");
    let Some(server) = server.stand_in() else { return };
    let reached = server
        .requests()
        .iter()
        .filter(|(_, request)| request.kind == RequestKind::Attention)
        .count();
    assert!(
        reached <= sent,
        "{reached} Attentions reached the server, {sent} were sent"
    );
    assert!(
        server.most_sessions() <= 3,
        "{} server connections",
        server.sessions().len()
    );
    eprintln!(
        "race of Attentions: {hits} of {rounds} in time, {reached} of {sent} reached the server, {} server connections in all",
        server.sessions().len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_attentions_never_hits_the_neighbour() {
    race(Kind::SqlServer, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_attentions_on_a_server_of_the_probe_kind() {
    race(Kind::Probe, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make nightly"]
async fn a_thousand_attentions_never_hit_the_neighbour() {
    race(Kind::SqlServer, 1000).await;
}
