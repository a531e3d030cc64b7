//! `make demo`: many clients over few server connections, live, on a throw-away PostgreSQL cluster or a database of yours.
//!
//! Only reads: nothing is created in the database. Everything it starts or writes is gone when it ends, however it ends.

// It says what went wrong and panics; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use tokio::task::JoinSet;
use weir_tests::{
    clock,
    cluster::{Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
};

/// Many clients over few server connections, through Weir.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// A database to use instead of a throw-away one: postgres://user:password@host/database. It is only read from.
    #[arg(long)]
    url: Option<String>,
    /// Clients at a time.
    #[arg(long, default_value_t = 200)]
    clients: u32,
    /// Server connections they share.
    #[arg(long, default_value_t = 5)]
    connections: u32,
    /// How long the load lasts, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// End after the table instead of staying up to be tried.
    #[arg(long)]
    once: bool,
}

/// Name of the source, and of the database that clients ask for.
const SOURCE: &str = "demo";
/// The gateway's own user and password; the listener is on loopback.
const USER: &str = "demo";
/// The application name of all demo connections, by which they are counted.
const APPLICATION: &str = "weir-demo";

#[derive(Debug, Default)]
struct Tally {
    transactions: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    connected: AtomicU64,
    most_connections: AtomicU64,
    stop: AtomicBool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    tokio::select! {
        () = run(arguments) => {}
        _ = tokio::signal::ctrl_c() => println!("\nStopped; nothing is left behind."),
    }
}

async fn run(arguments: Arguments) {
    // Held to the end: dropping them stops the processes and removes their files.
    let cluster = arguments.url.is_none().then(|| {
        println!("Starting a throw-away PostgreSQL cluster ...");
        Cluster::start(Version::Distribution, &[])
    });
    let url = match (&arguments.url, &cluster) {
        (Some(url), _) => url.clone(),
        (None, Some(cluster)) => format!(
            "postgres://{ROLE}:{ROLE_PASSWORD}@{}/postgres?sslmode=disable",
            cluster.address()
        ),
        (None, None) => unreachable!("there is a URL or a cluster"),
    };
    let gateway = start_gateway(&arguments, &url);
    let address = gateway.address("pg");
    println!(
        "Weir listens on {address}, with the metadata in {}",
        gateway.folder().display()
    );
    if let Err(error) = try_once(address).await {
        eprintln!("The database cannot be used: {}", in_words(&error));
        std::process::exit(1);
    }

    let tally = Arc::new(Tally::default());
    let elapsed = drive(&arguments, address, &tally).await;
    print_table(&arguments, &tally, elapsed);
    let port = address.port();
    println!("Try it:\n\n  psql postgres://{USER}:{USER}@127.0.0.1:{port}/{SOURCE}\n");
    let wrong = tally.wrong.load(Ordering::Relaxed) + tally.failed.load(Ordering::Relaxed);
    if arguments.once {
        drop((gateway, cluster));
        std::process::exit(i32::from(wrong > 0));
    }
    println!("Running until Ctrl-C.");
    std::future::pending::<()>().await;
}

/// The metadata as a person would write it. The URL goes by an environment variable, so no password is on disk.
fn start_gateway(arguments: &Arguments, url: &str) -> Gateway {
    let connections = arguments.connections;
    // The usual port if it is free, so that the psql line is easy to remember.
    let port = if TcpListener::bind(("127.0.0.1", 6432)).is_ok() {
        6432
    } else {
        0
    };
    let databases = format!(
        "- name: {SOURCE}\n  kind: postgres\n  configuration:\n    connection_info:\n      \
         database_url:\n        from_env: WEIR_DEMO_DATABASE_URL\n      pool_settings:\n        \
         max_connections: {connections}\n  tables: []\n"
    );
    let gateway = format!(
        "version: 1\nlisteners:\n  - name: pg\n    kind: postgres\n    host: 127.0.0.1\n    port: {port}\n\
         users:\n  - name: {USER}\n    password: {USER}\n    sources: [{SOURCE}]\n"
    );
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    fs::write(folder.path().join("version.yaml"), "version: 3\n").unwrap();
    fs::write(folder.path().join("databases/databases.yaml"), databases).unwrap();
    fs::write(folder.path().join("gateway.yaml"), gateway).unwrap();
    Gateway::serve(folder, &[], &[("WEIR_DEMO_DATABASE_URL", url)])
}

async fn connect(address: SocketAddr) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(USER)
        .password(USER)
        .dbname(SOURCE);
    config.application_name(APPLICATION);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn try_once(address: SocketAddr) -> Result<(), tokio_postgres::Error> {
    let version: String = connect(address)
        .await?
        .query_one("SHOW server_version", &[])
        .await?
        .get(0);
    println!("The database is PostgreSQL {version}");
    Ok(())
}

/// The load, with a progress line when somebody watches.
async fn drive(arguments: &Arguments, address: SocketAddr, tally: &Arc<Tally>) -> Duration {
    println!(
        "{} clients over {} server connections, for {} s\n",
        arguments.clients, arguments.connections, arguments.seconds
    );
    let started = clock::now();
    let mut tasks = JoinSet::new();
    for number in 0..arguments.clients {
        let tally = tally.clone();
        tasks.spawn(async move {
            if let Err(error) = client(address, number, &tally).await {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("\nclient {number}: {}", in_words(&error));
            }
        });
    }
    let watcher = tokio::spawn(watch(address, tally.clone()));
    let live = std::io::stdout().is_terminal();
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if live {
            print_progress(tally, started.elapsed());
        }
    }
    tally.stop.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    let elapsed = started.elapsed();
    let _ = watcher.await;
    if live {
        println!("\r\x1b[K");
    }
    elapsed
}

/// One client: transactions of three statements, each answer checked against what was asked.
async fn client(address: SocketAddr, number: u32, tally: &Tally) -> Result<(), tokio_postgres::Error> {
    let mut client = connect(address).await?;
    let question = client.prepare("SELECT $1::text, pg_backend_pid()").await?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    let mut asked = 0_u64;
    while !tally.stop.load(Ordering::Relaxed) {
        let transaction = client.transaction().await?;
        let mut server = None;
        for _ in 0..2 {
            asked += 1;
            let token = format!("client {number}, question {asked}");
            let row = transaction.query_one(&question, &[&token]).await?;
            // Somebody else's answer, or another server connection in the middle of a transaction.
            let process: i32 = row.get(1);
            if row.get::<_, &str>(0) != token || *server.get_or_insert(process) != process {
                tally.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
        transaction.commit().await?;
        tally.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Counts the demo's server connections, as one client among the others.
async fn watch(address: SocketAddr, tally: Arc<Tally>) -> Result<(), tokio_postgres::Error> {
    const SQL: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = $1";
    let client = connect(address).await?;
    while !tally.stop.load(Ordering::Relaxed) {
        let count: i64 = client.query_one(SQL, &[&APPLICATION]).await?.get(0);
        tally
            .most_connections
            .fetch_max(count.unsigned_abs(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn print_progress(tally: &Tally, elapsed: Duration) {
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    print!(
        "\r\x1b[K{:>3} s  {:>4} clients  {:>2} server connections  {:>10} transactions  {} wrong",
        elapsed.as_secs(),
        load(&tally.connected),
        load(&tally.most_connections),
        grouped(load(&tally.transactions)),
        load(&tally.wrong),
    );
    let _ = std::io::stdout().flush();
}

fn print_table(arguments: &Arguments, tally: &Tally, elapsed: Duration) {
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let transactions = load(&tally.transactions);
    let rows = [
        ("transactions", transactions, ""),
        (
            "transactions per second",
            transactions * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(1).max(1),
            "",
        ),
        ("wrong answers", load(&tally.wrong), ""),
        ("failed clients", load(&tally.failed), ""),
        ("clients", load(&tally.connected), ""),
        (
            "server connections",
            load(&tally.most_connections),
            "  the most that pg_stat_activity ever showed",
        ),
        (
            "their limit",
            u64::from(arguments.connections),
            "  max_connections in databases.yaml",
        ),
    ];
    for (name, value, remark) in rows {
        println!("  {name:<24}{:>12}{remark}", grouped(value));
    }
    println!();
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The database's own message where there is one.
fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}: {}{detail}", error.code().code(), error.message())
        }
        None => error.to_string(),
    }
}
