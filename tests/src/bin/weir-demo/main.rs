//! `make demo`: many clients over few server connections, live, in both protocols at once: on a throw-away PostgreSQL
//! cluster or a database of yours, and on the tests' stand-in for SQL Server.
//!
//! Only reads: nothing is created in the database. Everything it starts or writes is gone when it ends, however it ends.

// It says what went wrong and panics; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

mod postgres;
mod sql_server;
mod tally;

use std::{
    fs,
    io::IsTerminal as _,
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Parser;
use tokio::task::JoinSet;
use weir_tests::{
    clock,
    cluster::{Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
    mssql::{self, StandIn},
};

use tally::{Tally, print_progress, print_table};

/// Many clients over few server connections, through Weir.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// A database to use instead of a throw-away one: postgres://user:password@host/database. It is only read from.
    #[arg(long)]
    url: Option<String>,
    /// PostgreSQL clients at a time; of SQL Server there are a quarter as many.
    #[arg(long, default_value_t = 200)]
    clients: u32,
    /// Server connections that those of each protocol share.
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
/// The same of the SQL Server side.
const ERP: &str = "erp";
/// The gateway's own user and password; the listener is on loopback.
const USER: &str = "demo";
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
    let server = Arc::new(StandIn::start(mssql::Options::default()));
    let gateway = start_gateway(&arguments, &url, &server);
    println!("The metadata is in {}", gateway.folder().display());
    let (pg, tds) = (gateway.address("pg"), gateway.address("tds"));
    println!("Weir listens on {pg} for PostgreSQL, and on {tds} for SQL Server");
    if let Err(error) = postgres::try_once(pg).await {
        eprintln!("The database cannot be used: {}", postgres::in_words(&error));
        std::process::exit(1);
    }
    println!("The SQL Server is the tests' stand-in, which answers from SQLite");

    let tallies = [Arc::new(Tally::default()), Arc::new(Tally::default())];
    let elapsed = drive(&arguments, &gateway, &server, &tallies).await;
    print_table(&named(&tallies), arguments.connections, elapsed);
    println!(
        "Try it:\n\n  psql postgres://{USER}:{USER}@127.0.0.1:{}/{SOURCE}",
        pg.port()
    );
    println!("  sqlcmd -S 127.0.0.1,{} -U {USER} -P {USER} -d {ERP} -C\n", tds.port());
    let faults = |tally: &Arc<Tally>| tally.wrong.load(Ordering::Relaxed) + tally.failed.load(Ordering::Relaxed);
    let faults: u64 = tallies.iter().map(faults).sum();
    if arguments.once {
        drop((gateway, server, cluster));
        std::process::exit(i32::from(faults > 0));
    }
    println!("Running until Ctrl-C.");
    std::future::pending::<()>().await;
}

fn named(tallies: &[Arc<Tally>; 2]) -> [(&'static str, &Tally); 2] {
    [("PostgreSQL", &tallies[0]), ("SQL Server", &tallies[1])]
}

/// The metadata as a person would write it. The URL goes by an environment variable, so no password is on disk.
fn start_gateway(arguments: &Arguments, url: &str, server: &StandIn) -> Gateway {
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
         max_connections: {connections}\n  tables: []\n\
         - name: {ERP}\n  kind: mssql\n  configuration:\n    connection_info:\n      \
         connection_string:\n        from_env: WEIR_DEMO_CONNECTION_STRING\n      pool_settings:\n        \
         max_connections: {connections}\n  tables: []\n"
    );
    let gateway = format!(
        "version: 1\nlisteners:\n  - name: pg\n    kind: postgres\n    host: 127.0.0.1\n    port: {port}\n  - name: tds\n    kind: mssql\n    host: 127.0.0.1\n    port: 0\n\
         users:\n  - name: {USER}\n    password: {USER}\n    sources: [{SOURCE}, {ERP}]\n"
    );
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    fs::write(folder.path().join("version.yaml"), "version: 3\n").unwrap();
    fs::write(folder.path().join("databases/databases.yaml"), databases).unwrap();
    fs::write(folder.path().join("gateway.yaml"), gateway).unwrap();
    let connection_string = format!(
        "Driver={{ODBC Driver 18 for SQL Server}};Server=tcp:127.0.0.1,{};Database={};UID={};PWD={};Encrypt=no",
        server.port(),
        mssql::DATABASE,
        mssql::LOGIN,
        mssql::PASSWORD
    );
    let environment = [
        ("WEIR_DEMO_DATABASE_URL", url),
        ("WEIR_DEMO_CONNECTION_STRING", &connection_string),
    ];
    Gateway::serve(folder, &[], &environment)
}

/// The load, with a progress line when somebody watches.
async fn drive(arguments: &Arguments, gateway: &Gateway, server: &Arc<StandIn>, tallies: &[Arc<Tally>; 2]) -> Duration {
    let (pg, tds) = (gateway.address("pg"), gateway.address("tds"));
    println!(
        "{} and {} clients over {} server connections each, for {} s\n",
        arguments.clients,
        arguments.clients / 4,
        arguments.connections,
        arguments.seconds
    );
    let started = clock::now();
    let mut tasks = JoinSet::new();
    for number in 0..arguments.clients {
        let tally = tallies[0].clone();
        tasks.spawn(async move {
            if let Err(error) = postgres::client(pg, number, &tally).await {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("\nclient {number}: {}", postgres::in_words(&error));
            }
        });
    }
    for number in 0..arguments.clients / 4 {
        let tally = tallies[1].clone();
        tasks.spawn(async move {
            if let Err(error) = sql_server::client(tds, number, &tally).await {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("\nclient {number} of SQL Server: {error}");
            }
        });
    }
    let watcher = tokio::spawn(postgres::watch(pg, tallies[0].clone()));
    tasks.spawn(sql_server::watch(server.clone(), tallies[1].clone()));
    let live = std::io::stdout().is_terminal();
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if live {
            print_progress(&named(tallies), started.elapsed());
        }
    }
    for tally in tallies {
        tally.stop.store(true, Ordering::Relaxed);
    }
    while tasks.join_next().await.is_some() {}
    let elapsed = started.elapsed();
    let _ = watcher.await;
    if live {
        println!("\r\x1b[K");
    }
    elapsed
}
