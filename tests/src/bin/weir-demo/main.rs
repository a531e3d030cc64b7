//! `make demo`: many clients over few server connections, live, in both protocols: on a throw-away PostgreSQL cluster and
//! a stand-in SQL Server, or on a PostgreSQL database of yours.
//!
//! Only reads: nothing is created in the database. Everything it starts or writes is gone when it ends, however it ends.

// It says what went wrong and panics; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

mod postgres;
mod sql_server;

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    net::TcpListener,
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
    mssql::{Options, StandIn},
};

/// Many clients over few server connections, through Weir.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// A database to use instead of throw-away ones: postgres://user:password@host/database. It is only read from.
    #[arg(long)]
    url: Option<String>,
    /// Clients at a time, of each protocol.
    #[arg(long, default_value_t = 200)]
    clients: u32,
    /// Server connections they share, of each protocol.
    #[arg(long, default_value_t = 5)]
    connections: u32,
    /// How long the load lasts, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// End after the table instead of staying up to be tried.
    #[arg(long)]
    once: bool,
}

/// Name of the PostgreSQL source, and of the database that its clients ask for.
const SOURCE: &str = "demo";
/// The same for the other protocol: names of sources are unique.
const SQL_SERVER_SOURCE: &str = "demo_mssql";
/// The gateway's own user and password; the listeners are on loopback.
const USER: &str = "demo";

/// What the clients of one protocol have seen.
#[derive(Debug)]
struct Tally {
    protocol: &'static str,
    transactions: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    connected: AtomicU64,
    most_connections: AtomicU64,
    stop: AtomicBool,
}

impl Tally {
    fn new(protocol: &'static str) -> Arc<Tally> {
        Arc::new(Tally {
            protocol,
            transactions: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            most_connections: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn failed(&self, number: u32, error: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        eprintln!("\n{} client {number}: {error}", self.protocol);
    }
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
        println!("Starting a throw-away PostgreSQL cluster, and a stand-in SQL Server ...");
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
    let stand_in = arguments.url.is_none().then(|| StandIn::start(Options::default()));
    let gateway = start_gateway(&arguments, &url, stand_in.as_ref());
    println!("Weir listens, with the metadata in {}", gateway.folder().display());
    match postgres::version(gateway.address("pg")).await {
        Ok(version) => println!("The database is PostgreSQL {version}"),
        Err(error) => {
            eprintln!("The database cannot be used: {error}");
            std::process::exit(1);
        }
    }

    let mut tallies = vec![Tally::new("PostgreSQL")];
    tallies.extend(stand_in.as_ref().map(|_| Tally::new("SQL Server")));
    let elapsed = drive(&arguments, &gateway, stand_in.as_ref(), &tallies).await;
    print_table(&arguments, &tallies, elapsed);
    let port = gateway.address("pg").port();
    println!("Try it:\n\n  psql postgres://{USER}:{USER}@127.0.0.1:{port}/{SOURCE}");
    if stand_in.is_some() {
        let port = gateway.address("tds").port();
        println!("  tsql -H 127.0.0.1 -p {port} -U {USER} -P {USER} -D {SQL_SERVER_SOURCE}");
    }
    println!();
    let is_wrong = tallies
        .iter()
        .any(|tally| tally.wrong.load(Ordering::Relaxed) + tally.failed.load(Ordering::Relaxed) > 0);
    if arguments.once {
        drop((gateway, cluster, stand_in));
        std::process::exit(i32::from(is_wrong));
    }
    println!("Running until Ctrl-C.");
    std::future::pending::<()>().await;
}

/// The metadata as a person would write it. Connections go by environment variables, so no password is on disk.
fn start_gateway(arguments: &Arguments, url: &str, stand_in: Option<&StandIn>) -> Gateway {
    let connections = arguments.connections;
    let source = |name: &str, kind: &str, key: &str, variable: &str| {
        format!(
            "- name: {name}\n  kind: {kind}\n  configuration:\n    connection_info:\n      \
             {key}:\n        from_env: {variable}\n      pool_settings:\n        \
             max_connections: {connections}\n  tables: []\n"
        )
    };
    let listener = |name: &str, kind: &str, port: u16| {
        // The usual port if it is free, so that the line to try is easy to remember.
        let port = TcpListener::bind(("127.0.0.1", port)).map_or(0, |_| port);
        format!("  - name: {name}\n    kind: {kind}\n    host: 127.0.0.1\n    port: {port}\n")
    };
    let mut databases = source(SOURCE, "postgres", "database_url", "WEIR_DEMO_DATABASE_URL");
    let mut listeners = listener("pg", "postgres", 6432);
    let mut sources = SOURCE.to_owned();
    let mut environment = vec![("WEIR_DEMO_DATABASE_URL", url.to_owned())];
    if let Some(server) = stand_in {
        databases += &source(SQL_SERVER_SOURCE, "mssql", "connection_string", "WEIR_DEMO_MSSQL");
        listeners += &listener("tds", "mssql", 1433);
        sources = format!("{sources}, {SQL_SERVER_SOURCE}");
        environment.push(("WEIR_DEMO_MSSQL", sql_server::connection_string(server)));
    }
    let gateway = format!(
        "version: 1\nlisteners:\n{listeners}users:\n  - name: {USER}\n    password: {USER}\n    sources: [{sources}]\n"
    );
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    fs::write(folder.path().join("version.yaml"), "version: 3\n").unwrap();
    fs::write(folder.path().join("databases/databases.yaml"), databases).unwrap();
    fs::write(folder.path().join("gateway.yaml"), gateway).unwrap();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Gateway::serve(folder, &[], &environment)
}

/// The load, with progress lines when somebody watches.
async fn drive(
    arguments: &Arguments,
    gateway: &Gateway,
    stand_in: Option<&StandIn>,
    tallies: &[Arc<Tally>],
) -> Duration {
    println!(
        "{} clients over {} server connections{}, for {} s\n",
        arguments.clients,
        arguments.connections,
        if tallies.len() > 1 { ", in each protocol" } else { "" },
        arguments.seconds
    );
    let started = clock::now();
    let (mut tasks, addresses) = (
        JoinSet::new(),
        (gateway.address("pg"), stand_in.map(|_| gateway.address("tds"))),
    );
    for number in 0..arguments.clients {
        let tally = tallies[0].clone();
        tasks.spawn(async move {
            if let Err(error) = postgres::client(addresses.0, number, &tally).await {
                tally.failed(number, &error);
            }
        });
        if let Some(address) = addresses.1 {
            let tally = tallies[1].clone();
            tasks.spawn(async move {
                if let Err(error) = sql_server::client(address, number, &tally).await {
                    tally.failed(number, &error);
                }
            });
        }
    }
    let watcher = tokio::spawn(postgres::watch(addresses.0, tallies[0].clone()));
    let live = std::io::stdout().is_terminal();
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        note_sessions(stand_in, tallies);
        if live {
            print_progress(tallies, started.elapsed());
        }
    }
    for tally in tallies {
        tally.stop.store(true, Ordering::Relaxed);
    }
    while tasks.join_next().await.is_some() {}
    note_sessions(stand_in, tallies);
    let elapsed = started.elapsed();
    let _ = watcher.await;
    if live {
        println!("{}", "\n".repeat(tallies.len() - 1));
    }
    elapsed
}

/// The stand-in itself knows the most sessions that it had. Requests are of no interest, and many.
fn note_sessions(stand_in: Option<&StandIn>, tallies: &[Arc<Tally>]) {
    if let Some(server) = stand_in {
        let most = server.most_sessions() as u64;
        tallies[1].most_connections.fetch_max(most, Ordering::Relaxed);
        server.forget();
    }
}

/// A line for each protocol, over the lines before.
fn print_progress(tallies: &[Arc<Tally>], elapsed: Duration) {
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let lines = tallies.iter().map(|tally| {
        format!(
            "\r\x1b[K{:>3} s  {:<10}  {:>4} clients  {:>2} server connections  {:>10} transactions  {} wrong",
            elapsed.as_secs(),
            tally.protocol,
            load(&tally.connected),
            load(&tally.most_connections),
            grouped(load(&tally.transactions)),
            load(&tally.wrong),
        )
    });
    print!("{}", lines.collect::<Vec<_>>().join("\n"));
    if tallies.len() > 1 {
        print!("\x1b[{}A", tallies.len() - 1);
    }
    let _ = std::io::stdout().flush();
}

type Reading<'a> = &'a dyn Fn(&Tally) -> u64;

fn print_table(arguments: &Arguments, tallies: &[Arc<Tally>], elapsed: Duration) {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(1).max(1);
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let rows: [(&str, Reading<'_>, &str); 7] = [
        ("transactions", &|tally| load(&tally.transactions), ""),
        (
            "transactions per second",
            &|tally| load(&tally.transactions) * 1000 / milliseconds,
            "",
        ),
        ("wrong answers", &|tally| load(&tally.wrong), ""),
        ("failed clients", &|tally| load(&tally.failed), ""),
        ("clients", &|tally| load(&tally.connected), ""),
        (
            "server connections",
            &|tally| load(&tally.most_connections),
            "  the most that the database ever counted",
        ),
        (
            "their limit",
            &|_| u64::from(arguments.connections),
            "  max_connections in databases.yaml",
        ),
    ];
    let line = |name: &str, values: Vec<String>, remark: &str| {
        let values: String = values.iter().map(|value| format!("{value:>14}")).collect();
        println!("  {name:<24}{values}{remark}");
    };
    line("", tallies.iter().map(|tally| tally.protocol.to_owned()).collect(), "");
    for (name, value, remark) in rows {
        line(
            name,
            tallies.iter().map(|tally| grouped(value(tally))).collect(),
            remark,
        );
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
