//! One process takes over from another while clients work: no connection attempt is refused, no transaction fails, the
//! limits hold for both together, and whatever goes wrong with the new one leaves the old one serving.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;
use weir_tests::{
    clock,
    cluster::{Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::{self, Gateway},
    metadata::Metadata,
    mssql::{
        DATABASE, Encryption, Options, StandIn,
        client::{Credentials, RawClient as TdsClient},
    },
    process,
    site::{Plan, Site, database_url, is_direct, new_name},
    turn::{self, Turn},
    wire::{self, RawClient, Security, first_error},
};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Both protocols behind one gateway.
struct Place {
    cluster: &'static Cluster,
    server: StandIn,
    database: String,
    gateway: Gateway,
    predecessors: Vec<Gateway>,
    _turn: Turn,
}

const CONNECTIONS: u32 = 12;

impl Place {
    async fn new() -> Place {
        let turn = turn::heavy();
        let cluster = Cluster::shared(Version::Distribution);
        let database = new_name("takeover");
        cluster.create_database(&database).await;
        let sql = "CREATE TABLE acknowledged (token text PRIMARY KEY); GRANT ALL ON acknowledged TO PUBLIC";
        cluster.admin(&database).await.batch_execute(sql).await.unwrap();
        let server = StandIn::start(Options {
            encryption: Encryption::Unsupported,
            ..Options::default()
        });
        server.execute("CREATE TABLE acknowledged (token nvarchar(50))");
        let string = format!(
            "Server=tcp:127.0.0.1,{};Database={DATABASE};UID={};PWD={};Encrypt=no",
            server.port(),
            weir_tests::mssql::LOGIN,
            weir_tests::mssql::PASSWORD
        );
        let pool = json!({ "max_connections": CONNECTIONS, "pool_timeout": 60 });
        let connection = json!({ "connection_string": string, "pool_settings": pool });
        let metadata = Metadata::new()
            .postgres(
                &database,
                database_url(cluster, ROLE, &database, "sslmode=disable").into(),
                pool,
            )
            .source(json!({ "name": DATABASE, "kind": "mssql", "configuration": { "connection_info": connection }, "tables": [] }))
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
            .listener(json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 }))
            .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }));
        Place {
            cluster,
            server,
            database,
            gateway: Gateway::start(&metadata),
            predecessors: Vec::new(),
            _turn: turn,
        }
    }

    /// One process follows another.
    async fn take_over(&mut self) {
        let places = |gateway: &Gateway| (gateway.address("pg"), gateway.address("tds"), gateway.http());
        let successor = tokio::task::block_in_place(|| self.gateway.succeed());
        assert_eq!(places(&successor), places(&self.gateway));
        self.predecessors.push(std::mem::replace(&mut self.gateway, successor));
    }
}

/// What many clients do and count.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    transactions: AtomicU64,
    connections: AtomicU64,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Transactions on one connection, each with a prepared statement and a setting of its own; the tokens that it wrote.
async fn work(address: SocketAddr, database: String, number: usize, tally: Arc<Tally>) -> Vec<String> {
    let mut client = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &database)
        .await
        .unwrap();
    let zone = format!("SET application_name = 'worker {number}'");
    expect(&mut client, &wire::query(&zone)).await;
    let insert = "INSERT INTO acknowledged VALUES ($1)";
    expect(&mut client, &[wire::parse("write", insert, &[]), wire::sync()].concat()).await;
    let mut written = Vec::new();
    while tally.goes_on() {
        let token = format!("{number}-{}", written.len());
        expect(&mut client, &wire::query("BEGIN")).await;
        let write = [
            wire::bind("", "write", &[Some(token.as_bytes())]),
            wire::execute("", 0),
            wire::sync(),
        ];
        expect(&mut client, &write.concat()).await;
        expect(&mut client, &wire::query("COMMIT")).await;
        written.push(token);
        let named = client.rows("SHOW application_name").await;
        assert_eq!(named, [format!("worker {number}")]);
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    client.leave().await;
    written
}

async fn expect(client: &mut RawClient, bytes: &[u8]) {
    let answer = tokio::time::timeout(LIMIT, client.ask(bytes)).await.expect("no hang");
    let answer = answer.expect("the connection stays");
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
}

async fn work_over_tds(address: SocketAddr, number: usize, tally: Arc<Tally>) -> Vec<String> {
    let mut client = tds(address).await;
    expect_tds(&mut client, "SET DATEFIRST 3").await;
    let mut written = Vec::new();
    while tally.goes_on() {
        let token = format!("{number}-{}", written.len());
        expect_tds(&mut client, "BEGIN TRAN").await;
        expect_tds(&mut client, &format!("INSERT INTO acknowledged VALUES ('{token}')")).await;
        expect_tds(&mut client, "COMMIT TRAN").await;
        written.push(token);
        let lines = expect_tds(&mut client, "SELECT CAST(@@DATEFIRST AS int)").await;
        assert!(lines.iter().any(|line| line == "row 3"), "{lines:?}");
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    written
}

async fn tds(address: SocketAddr) -> TdsClient {
    let credentials = Credentials {
        user: ROLE,
        password: ROLE_PASSWORD,
        ..Credentials::default()
    };
    let (client, lines) = TdsClient::log_in(address, &credentials).await.expect("it can log in");
    assert!(lines.iter().any(|line| line.starts_with("loginack")), "{lines:?}");
    client
}

async fn expect_tds(client: &mut TdsClient, sql: &str) -> Vec<String> {
    let answer = tokio::time::timeout(LIMIT, client.try_batch(sql))
        .await
        .expect("no hang");
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(
        !answer.iter().any(|line| line.starts_with("error ")),
        "{sql}: {answer:?}"
    );
    answer
}

/// One connection after the other, one statement each.
async fn come_and_go(address: SocketAddr, database: String, tally: Arc<Tally>) {
    while tally.goes_on() {
        let login = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &database);
        let client = tokio::time::timeout(LIMIT, login).await.expect("no hang");
        let mut client = client.expect("every connection attempt succeeds");
        expect(&mut client, &wire::query("SELECT 1")).await;
        client.leave().await;
        tally.connections.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who watches the gateway's health, with a connection for each question.
async fn watch_health(address: SocketAddr, tally: Arc<Tally>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while tally.goes_on() {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = tokio::time::timeout(LIMIT, ask).await.expect("no hang");
        let answer = answer.expect("every question is answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tally.connections.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn come_and_go_over_tds(address: SocketAddr, tally: Arc<Tally>) {
    while tally.goes_on() {
        let mut client = tokio::time::timeout(LIMIT, tds(address)).await.expect("no hang");
        expect_tds(&mut client, "SELECT 1").await;
        tally.connections.fetch_add(1, Ordering::Relaxed);
    }
}

/// `clients` busy clients, half of them in each protocol, and a stream of new connections, while one process follows
/// another `times` times.
async fn nobody_notices(times: u32, clients: usize) {
    if is_direct() {
        return;
    }
    let mut place = Place::new().await;
    let (pg, over_tds) = (place.gateway.address("pg"), place.gateway.address("tds"));
    let tally = Arc::new(Tally::default());
    let (mut workers, mut tds_workers, mut stream) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for number in 0..clients / 2 {
        workers.spawn(work(pg, place.database.clone(), number, tally.clone()));
        tds_workers.spawn(work_over_tds(over_tds, number, tally.clone()));
    }
    for _ in 0..2 {
        stream.spawn(come_and_go(pg, place.database.clone(), tally.clone()));
        stream.spawn(come_and_go_over_tds(over_tds, tally.clone()));
    }
    stream.spawn(watch_health(place.gateway.http(), tally.clone()));
    let sampler = weir_tests::activity::Sampler::start(place.cluster.admin("postgres").await, &place.database);
    for round in 0..times {
        // Every round has work before it and behind it.
        let (worked, connected) = (&tally.transactions, &tally.connections);
        let so_far = (worked.load(Ordering::Relaxed), connected.load(Ordering::Relaxed));
        let deadline = clock::now() + LIMIT;
        while worked.load(Ordering::Relaxed) < so_far.0 + clients as u64
            || connected.load(Ordering::Relaxed) < so_far.1 + 10
        {
            assert!(clock::now() < deadline, "round {round}: nothing moves");
            if stream.try_join_next().is_some()
                || workers.try_join_next().is_some()
                || tds_workers.try_join_next().is_some()
            {
                panic!("round {round}: a client has failed");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        place.take_over().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    tally.stop.store(true, Ordering::Relaxed);
    let (mut written, mut written_over_tds) = (Vec::new(), Vec::new());
    while let Some(tokens) = workers.join_next().await {
        written.extend(tokens.expect("no transaction fails"));
    }
    while let Some(tokens) = tds_workers.join_next().await {
        written_over_tds.extend(tokens.expect("no transaction fails"));
    }
    while let Some(connected) = stream.join_next().await {
        connected.expect("no connection attempt fails");
    }
    let most = sampler.stop().await;
    println!(
        "{times} takeovers, {clients} busy clients: {} transactions and {} connections, none failed; at most {most} of {CONNECTIONS} server connections of PostgreSQL and {} of SQL Server",
        tally.transactions.load(Ordering::Relaxed),
        tally.connections.load(Ordering::Relaxed),
        place.server.most_sessions(),
    );
    assert!(most <= CONNECTIONS, "{most} server connections");
    assert!(place.server.most_sessions() <= CONNECTIONS as usize);
    let admin = place.cluster.admin(&place.database).await;
    let found = admin
        .query("SELECT token FROM acknowledged ORDER BY 1", &[])
        .await
        .unwrap();
    written.sort_unstable();
    let mut found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    found.sort_unstable();
    assert_eq!(found, written);
    let mut found: Vec<String> = place
        .server
        .execute("SELECT token FROM acknowledged")
        .into_iter()
        .filter_map(|mut row| row.remove(0))
        .collect();
    found.sort_unstable();
    written_over_tds.sort_unstable();
    assert_eq!(found, written_over_tds);
    for mut predecessor in place.predecessors.drain(..) {
        let status = predecessor.wait(LIMIT).expect("it ends when its clients have gone");
        assert!(status.success(), "{status}\n{}", predecessor.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_busy_clients_notice_nothing() {
    nobody_notices(3, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: make nightly"]
async fn two_hundred_busy_clients_notice_nothing_ten_times_in_a_row() {
    nobody_notices(10, 200).await;
}

/// A site whose control socket is used.
async fn site() -> Option<Site> {
    if is_direct() {
        return None;
    }
    Some(
        Site::start(Plan {
            connections: 2,
            ..Plan::default()
        })
        .await,
    )
}

async fn serves(address: SocketAddr, site: &Site) {
    let mut client = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    assert_eq!(client.rows("SELECT 7").await, ["7"]);
    client.leave().await;
}

#[tokio::test]
async fn a_successor_that_cannot_serve_changes_nothing() {
    let Some(site) = site().await else { return };
    let gateway = site.gateway.as_ref().unwrap();
    let mut client = site.raw().await;
    client.rows("BEGIN").await;
    let written = std::fs::read_to_string(gateway.folder().join("gateway.yaml")).unwrap();
    // At once: an empty file would be another declaration, which what runs follows.
    let replace = |content: &str| {
        let folder = gateway.folder();
        std::fs::write(folder.join("control/new"), content).unwrap();
        std::fs::rename(folder.join("control/new"), folder.join("gateway.yaml")).unwrap();
    };
    // Its metadata is refused: what runs refuses it as well.
    for bad in ["{", "[1, 2"] {
        replace(bad);
        let mut successor = gateway.second(&["--takeover", "--strict"], &[]);
        let status = successor.wait(LIMIT).expect("it ends by itself");
        assert_eq!(status.code(), Some(1), "{}", successor.log());
    }
    replace(&written);
    // It dies at each stage of the handshake, or says what nobody understands, or nothing at all.
    let hello = br#"{"type":"hello","version":1,"build":"0","pid":7}"#;
    let later = br#"{"type":"hello","version":999,"build":"0","pid":7}"#;
    let (go_on, nothing): (&[u8], &[u8]) = (br#"{"type":"ready"}"#, b"");
    let talk_once = |words: &[&[u8]]| {
        let mut socket = UnixStream::connect(gateway.control_socket()).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut heard = String::new();
        for word in words {
            let mut frame = u32::try_from(word.len()).unwrap().to_be_bytes().to_vec();
            frame.push(0);
            frame.extend_from_slice(word);
            // It may have said no and closed already.
            let _ = socket.write_all(&frame);
            let mut some = vec![0; 4096];
            let count = socket.read(&mut some).unwrap_or(0);
            heard += &String::from_utf8_lossy(&some[..count]);
        }
        heard
    };
    // The one before has gone a moment before that is noticed.
    let talk = |words: &[&[u8]]| {
        let deadline = clock::now() + LIMIT;
        loop {
            let heard = talk_once(words);
            if !heard.contains("another successor") {
                return heard;
            }
            assert!(clock::now() < deadline, "the one before is never given up");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    assert!(talk(&[hello]).contains("welcome"));
    assert!(talk(&[hello, go_on]).contains("\"go\""));
    assert!(talk(&[later]).contains("refused"));
    assert!(!talk(&[b"[]"]).contains("welcome"));
    assert!(!talk(&[nothing]).contains("welcome"));
    let mut noise = UnixStream::connect(gateway.control_socket()).unwrap();
    noise.write_all(&[0xFF; 100]).unwrap();
    assert_eq!(noise.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed");
    // One at a time.
    assert!(talk(&[hello]).contains("welcome"));
    std::thread::sleep(Duration::from_millis(200));
    let mut first = UnixStream::connect(gateway.control_socket()).unwrap();
    first.write_all(&[0, 0, 0, hello.len() as u8, 0]).unwrap();
    first.write_all(hello).unwrap();
    let mut some = vec![0; 4096];
    let count = first.read(&mut some).unwrap();
    assert!(String::from_utf8_lossy(&some[..count]).contains("welcome"));
    assert!(talk_once(&[hello]).contains("another successor"));
    drop(first);

    serves(site.address(), &site).await;
    assert_eq!(client.rows("SELECT 1").await, ["1"]);
    client.rows("COMMIT").await;
    // And a sound one takes over after all that.
    let successor = tokio::task::spawn_blocking({
        let mut second = gateway.second(&["--takeover"], &[]);
        move || {
            second.await_log("taken over; the predecessor");
            second
        }
    });
    let successor = successor.await.unwrap();
    serves(site.address(), &site).await;
    drop(successor);
}

#[tokio::test]
async fn a_cancel_request_finds_its_client_in_the_old_process_and_hits_nobody_else() {
    let Some(mut site) = site().await else { return };
    let address = site.address();
    let (mut old, mut neighbour) = (site.raw().await, site.raw().await);
    old.send(&wire::query("SELECT pg_sleep(60)")).await.unwrap();
    neighbour
        .send(&wire::query("SELECT pg_sleep(1.5), 'undisturbed'"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let first = site.gateway.take().unwrap();
    let second = first.succeed();
    let third = second.succeed();
    // Through two processes that have never seen the client.
    old.cancel(address, &Security::Clear).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, old.until(b'Z')).await.unwrap().unwrap();
    assert_eq!(
        first_error(&answer).and_then(wire::Message::sqlstate),
        Some("57014"),
        "{}",
        wire::describe(&answer)
    );
    let answer = neighbour.until(b'Z').await.unwrap();
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
    // A wrong secret, for a client of each process.
    let mut new = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    new.send(&wire::query("SELECT pg_sleep(1), 'undisturbed'"))
        .await
        .unwrap();
    let key = wire::cancel_request(0x7FFF_FFFF, &[1, 2, 3, 4]);
    wire::exchange(address, &key, LIMIT).await.unwrap();
    let answer = new.until(b'Z').await.unwrap();
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
    drop((old, neighbour, new));
    for mut gateway in [first, second] {
        let status = gateway.wait(LIMIT).expect("it ends when its clients have gone");
        assert!(status.success(), "{}", gateway.log());
    }
    site.gateway = Some(third);
    serves(address, &site).await;
}

#[tokio::test]
async fn an_edit_that_the_running_process_refuses_is_refused_to_its_successor_as_well() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let plan = Plan::default();
    let url = || database_url(site.cluster, plan.role, &site.database, plan.url_options).into();
    let source = |second: serde_json::Value| {
        Metadata::new()
            .postgres(&site.database, url(), json!({}))
            .postgres("spoilt", second, json!({}))
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
            .listener(listener("kept", 0, None))
    };
    let user = |limit: serde_json::Value| json!({ "name": "other", "password": ROLE_PASSWORD, "sources": "*", "max_connections": limit });
    let sound = || source(url()).listener(listener("spoilt", 0, None)).user(user(json!(5)));
    let mut gateway = Gateway::start(&sound());
    let mut spoilt = listener("spoilt", 0, None);
    spoilt["ssl_configuration"] = json!({ "sslmode": "require" });
    let missing = json!({ "from_env": "WEIR_TEST_NOBODY_SETS_IT" });
    let edits = [
        (
            source(url()).listener(spoilt).user(user(json!(5))),
            "serves listener spoilt",
        ),
        (
            source(missing)
                .listener(listener("spoilt", 0, None))
                .user(user(json!(5))),
            "serves source spoilt",
        ),
        (
            source(url())
                .listener(listener("spoilt", 0, None))
                .user(user(json!("many"))),
            "lets user other in",
        ),
    ];
    for (edit, reason) in edits {
        edit.write(gateway.folder());
        let mut successor = gateway.second(&["--takeover"], &[]);
        let status = successor.wait(LIMIT).expect("it ends by itself");
        assert_eq!(status.code(), Some(1), "{}", successor.log());
        assert!(successor.log().contains(reason), "{}", successor.log());
        assert!(gateway.is_running());
        serves(gateway.address("spoilt"), &site).await;
        sound().write(gateway.folder());
    }
}

fn listener(name: &str, port: u16, folder: Option<&Path>) -> serde_json::Value {
    json!({ "name": name, "kind": "postgres", "host": "127.0.0.1", "port": port, "unix_socket_dir": folder })
}

#[tokio::test]
async fn listeners_are_kept_added_and_closed_and_socket_files_stay() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let port = weir_tests::cluster::free_port();
    let base = || {
        Metadata::new()
            .postgres(
                &site.database,
                database_url(site.cluster, plan.role, &site.database, plan.url_options).into(),
                json!({}),
            )
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
    };
    let kept = listener("kept", port, Some(folder.path()));
    let mut old = Gateway::start(&base().listener(kept.clone()).listener(listener("closed", 0, None)));
    let (kept_at, closed_at) = (old.address("kept"), old.address("closed"));
    let file = folder.path().join(format!(".s.PGSQL.{port}"));
    let mut idle = RawClient::log_in(kept_at, ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    // Only the successor reads it: the one that runs is told nothing of a change that it cannot see in time.
    base()
        .listener(kept)
        .listener(listener("added", 0, None))
        .write(old.folder());
    let new = old.succeed();
    assert_eq!(new.address("kept"), kept_at);
    serves(kept_at, &site).await;
    serves(new.address("added"), &site).await;
    assert!(
        tokio::net::TcpStream::connect(closed_at).await.is_err(),
        "nobody declares it"
    );
    assert_eq!(idle.rows("SELECT 1").await, ["1"]);
    idle.leave().await;
    assert!(old.wait(LIMIT).expect("its last client has gone").success());
    // The socket file has survived its first owner, and goes with its second.
    let through_file = std::os::unix::net::UnixStream::connect(&file);
    assert!(through_file.is_ok(), "{through_file:?}");
    assert!(new.control_socket().exists());
    serves(kept_at, &site).await;
    let control = new.control_socket();
    let mut new = new;
    assert!(new.stop(LIMIT).expect("it stops").success());
    assert!(!file.exists() && !control.exists());
}

#[tokio::test]
async fn restart_starts_a_successor_or_says_why_not() {
    let Some(mut site) = site().await else { return };
    let address = site.address();
    let mut gateway = site.gateway.take().unwrap();
    let restart = |gateway: &Gateway| {
        let mut command = Command::new(gateway::program());
        command
            .arg("restart")
            .arg(gateway.folder())
            .env("WEIR_CONTROL_SOCKET", gateway.control_socket());
        command
    };
    let mut client = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    client.rows("BEGIN").await;
    let outcome = process::run(restart(&gateway), LIMIT).await;
    outcome.expect_success("weir restart");
    let pid: u32 = outcome
        .output
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    serves(address, &site).await;
    assert_eq!(client.rows("SELECT 1").await, ["1"]);
    client.rows("COMMIT").await;
    client.leave().await;
    assert!(gateway.wait(LIMIT).expect("its last client has gone").success());
    serves(address, &site).await;
    // The metadata that it would find is unusable: what runs goes on.
    let databases = gateway.folder().join("databases/databases.yaml");
    let written = std::fs::read_to_string(&databases).unwrap();
    std::fs::write(&databases, "[").unwrap();
    let outcome = process::run(restart(&gateway), LIMIT).await;
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(1), "{outcome:?}");
    assert!(outcome.output.contains("not restarted"), "{outcome:?}");
    serves(address, &site).await;
    std::fs::write(&databases, written).unwrap();
    let ended = Command::new("kill").arg(pid.to_string()).status().unwrap();
    assert!(ended.success());
    let deadline = clock::now() + LIMIT;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(clock::now() < deadline, "the successor does not stop");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let outcome = process::run(restart(&gateway), LIMIT).await;
    assert!(outcome.output.contains("weir serve"), "{outcome:?}");
}

/// What systemd hears, in the order in which it hears it.
#[tokio::test]
async fn systemd_is_told_who_serves() {
    let Some(mut site) = site().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(LIMIT)).unwrap();
    let hear = || {
        let mut some = [0; 4096];
        let count = systemd.recv(&mut some).expect("something is said");
        String::from_utf8_lossy(&some[..count]).into_owned()
    };
    let plan = Plan::default();
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    site.gateway = None;
    let mut old = Gateway::start_with(&metadata, &[], &environment);
    assert!(hear().starts_with("READY=1\nSTATUS=serving 1 sources"));
    old.signal("HUP");
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading:?}");
    assert!(hear().starts_with("READY=1"));
    let mut new = old.second(&["--takeover"], &environment);
    // The old one says it, before the new one says that it is ready.
    let main = hear();
    assert!(main.starts_with("MAINPID="), "{main:?}");
    assert!(hear().starts_with("READY=1"));
    assert!(old.wait(LIMIT).expect("it has no clients").success());
    new.signal("TERM");
    assert!(hear().starts_with("STOPPING=1"));
    assert!(new.wait(LIMIT).expect("it stops").success());
}

/// A client with settings and a statement of its own.
async fn particular(site: &Site, number: usize) -> RawClient {
    let mut client = site.raw().await;
    let settings = format!(
        "SET application_name = 'particular {number}'; SET TimeZone = 'Asia/Tokyo'; SET my.number = '{number}'"
    );
    expect(&mut client, &wire::query(&settings)).await;
    let text = "SELECT $1::text || current_setting('my.number')";
    expect(&mut client, &[wire::parse("mine", text, &[]), wire::sync()].concat()).await;
    let spoken = "PREPARE spoken (text) AS SELECT $1 || current_setting('my.number')";
    expect(&mut client, &wire::query(spoken)).await;
    is_particular(&mut client, number).await;
    client
}

async fn is_particular(client: &mut RawClient, number: usize) {
    let ask = [
        wire::bind("", "mine", &[Some(b"number ")]),
        wire::execute("", 0),
        wire::sync(),
    ];
    let answer = tokio::time::timeout(LIMIT, client.ask(&ask.concat())).await;
    let answer = answer.expect("no hang").expect("the connection stays");
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
    assert_eq!(wire::first_columns(&answer), [format!("number {number}")]);
    assert_eq!(client.rows("EXECUTE spoken('said ')").await, [format!("said {number}")]);
    let shown = client
        .rows("SELECT current_setting('application_name') || ' ' || current_setting('TimeZone')")
        .await;
    assert_eq!(shown, [format!("particular {number} Asia/Tokyo")]);
}

#[tokio::test]
async fn clients_at_rest_go_on_in_the_new_process_and_the_old_one_ends() {
    if is_direct() {
        return;
    }
    // Half of them are the old process's for as long as the transaction runs.
    let plan = Plan {
        connections: 6,
        ..Plan::default()
    };
    let mut site = Site::start(plan).await;
    let address = site.address();
    let mut clients = Vec::new();
    for number in 0..50 {
        clients.push(particular(&site, number).await);
    }
    let driver = site.connect().await;
    let statement = driver.prepare("SELECT $1::int + 1").await.unwrap();
    let mut in_transaction = particular(&site, 50).await;
    expect(&mut in_transaction, &wire::query("BEGIN; CREATE TABLE border (x int)")).await;

    let mut old = site.gateway.take().unwrap();
    let new = old.succeed();
    for (number, client) in clients.iter_mut().enumerate() {
        is_particular(client, number).await;
    }
    assert!(old.is_running(), "a transaction runs in it");
    expect(&mut in_transaction, &wire::query("INSERT INTO border VALUES (1)")).await;
    expect(&mut in_transaction, &wire::query("COMMIT")).await;
    let status = old
        .wait(LIMIT)
        .expect("nobody is left to wait for, although all are connected");
    assert!(status.success(), "{}", old.log());

    is_particular(&mut in_transaction, 50).await;
    assert_eq!(in_transaction.rows("SELECT x FROM border").await, ["1"]);
    let row = driver.query_one(&statement, &[&41_i32]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    for (number, client) in clients.iter_mut().enumerate() {
        is_particular(client, number).await;
    }
    // RESET goes back to what the client brought along, and the name of a statement that it closes is free again.
    let client = &mut clients[7];
    expect(client, &wire::query("RESET TimeZone")).await;
    expect(client, &[wire::close(b'S', "mine"), wire::sync()].concat()).await;
    expect(client, &[wire::parse("mine", "SELECT 8", &[]), wire::sync()].concat()).await;
    // The cancel key that it got from the old process.
    client.send(&wire::query("SELECT pg_sleep(60)")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.cancel(address, &Security::Clear).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, client.until(b'Z')).await.unwrap().unwrap();
    let code = first_error(&answer).and_then(wire::Message::sqlstate);
    assert_eq!(code, Some("57014"), "{}", wire::describe(&answer));
    is_particular(&mut clients[8], 8).await;
    drop(new);
}

#[tokio::test]
async fn who_cannot_be_handed_over_stays_and_is_served() {
    if is_direct() {
        return;
    }
    let plan = Plan {
        tls: Some("prefer"),
        ..Plan::default()
    };
    let mut site = Site::start(plan).await;
    let mut listening = particular(&site, 1).await;
    expect(&mut listening, &wire::query("LISTEN news")).await;
    let mut large = particular(&site, 2).await;
    let text = format!("SELECT 7 /* {} */", "x".repeat(300 * 1024));
    expect(&mut large, &[wire::parse("large", &text, &[]), wire::sync()].concat()).await;
    let parameters = [("user", ROLE), ("database", &*site.database)];
    let tls = RawClient::log_in_with(site.address(), &site.tls(), ROLE_PASSWORD, 0, &parameters).await;
    let mut tls = tls.unwrap();
    let mut old = site.gateway.take().unwrap();
    let _new = old.succeed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (number, client) in [(1, &mut listening), (2, &mut large)] {
        is_particular(client, number).await;
    }
    let use_it = [wire::bind("", "large", &[]), wire::execute("", 0), wire::sync()];
    expect(&mut large, &use_it.concat()).await;
    assert_eq!(tls.rows("SELECT 3").await, ["3"]);
    assert!(old.is_running());
    for client in [listening, large, tls] {
        client.leave().await;
    }
    assert!(old.wait(LIMIT).expect("its last client has gone").success());
}

#[tokio::test]
async fn the_new_process_takes_nobody_whom_it_would_not_let_in() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let plan = Plan::default();
    let base = |user: &str| {
        let url = database_url(site.cluster, plan.role, &site.database, plan.url_options);
        Metadata::new()
            .postgres(&site.database, url.into(), json!({}))
            .user(json!({ "name": user, "password": ROLE_PASSWORD, "sources": "*" }))
            .listener(listener("pg", 0, None))
    };
    let mut old = Gateway::start(&base(ROLE));
    let mut client = RawClient::log_in(old.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    assert_eq!(client.rows("SELECT 1").await, ["1"]);
    base("somebody").write(old.folder());
    let _new = old.succeed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(client.rows("SELECT 1").await, ["1"]);
    assert!(old.is_running(), "its client is not the new one's");
    client.leave().await;
    assert!(old.wait(LIMIT).expect("its last client has gone").success());
}
