//! Small requests by many clients, in either protocol, as fast as they are answered: what `make bench` compares the two with.
//!
//! Prints one line at the end: the requests that were answered after the warm-up, or all of them if their number is set.

// It says what went wrong and panics; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::{Parser, ValueEnum};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_util::compat::TokioAsyncWriteCompatExt as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Postgres,
    Tds,
}

/// How a PostgreSQL client asks: what it makes the gateway keep in mind differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Simple queries.
    Simple,
    /// Simple queries, behind settings of the client's own.
    Settings,
    /// The extended protocol, with the unnamed statement parsed each time.
    Unnamed,
    /// The extended protocol, with a statement that was prepared once.
    Prepared,
    /// The same, eight at a time.
    Pipeline,
}

/// Asks `SELECT 1`, again and again.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    #[arg(long)]
    protocol: Protocol,
    /// Of the clients of PostgreSQL.
    #[arg(long, default_value = "simple")]
    way: Way,
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    user: String,
    #[arg(long)]
    password: String,
    #[arg(long)]
    database: String,
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Seconds that count.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds before that; `counting` is printed when they are over.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// So many requests of each client instead, however long it takes, and no warm-up.
    #[arg(long)]
    requests: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients {
        let (arguments, answered) = (arguments.clone(), answered.clone());
        clients.spawn(async move {
            match arguments.protocol {
                Protocol::Postgres => postgres(&arguments, number, &answered).await,
                Protocol::Tds => tds(&arguments, &answered).await,
            }
        });
    }
    if arguments.requests.is_some() {
        clients.join_all().await;
        println!("{}", answered.load(Ordering::Relaxed));
        return;
    }
    tokio::time::sleep(Duration::from_secs(arguments.warm_up)).await;
    let before = answered.load(Ordering::Relaxed);
    assert!(before > 0, "nothing is answered");
    println!("counting");
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    println!("{}", answered.load(Ordering::Relaxed) - before);
}

async fn postgres(arguments: &Arguments, number: u32, answered: &AtomicU64) {
    let mut config = tokio_postgres::Config::new();
    config
        .host(arguments.address.ip().to_string())
        .port(arguments.address.port())
        .user(&arguments.user)
        .password(&arguments.password)
        .dbname(&arguments.database);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    if arguments.way == Way::Settings {
        let settings = format!(
            "SET application_name = 'load {number}'; SET work_mem = '{}kB'",
            1024 + number
        );
        client.batch_execute(&settings).await.unwrap();
    }
    let statement = match arguments.way {
        Way::Prepared | Way::Pipeline => Some(client.prepare("SELECT 1").await.unwrap()),
        Way::Simple | Way::Settings | Way::Unnamed => None,
    };
    let at_a_time = if arguments.way == Way::Pipeline { 8 } else { 1 };
    for _ in 0..arguments.requests.unwrap_or(u64::MAX) / at_a_time {
        match &statement {
            Some(statement) => {
                let answers = (0..at_a_time).map(|_| client.query(statement, &[]));
                futures_util::future::try_join_all(answers).await.unwrap();
            }
            None if arguments.way == Way::Unnamed => drop(client.query_typed("SELECT 1", &[]).await.unwrap()),
            None => drop(client.simple_query("SELECT 1").await.unwrap()),
        }
        answered.fetch_add(at_a_time, Ordering::Relaxed);
    }
}

async fn tds(arguments: &Arguments, answered: &AtomicU64) {
    let mut config = tiberius::Config::new();
    config.authentication(tiberius::AuthMethod::sql_server(&arguments.user, &arguments.password));
    config.database(&arguments.database);
    config.encryption(tiberius::EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(arguments.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut client = tiberius::Client::connect(config, socket.compat_write()).await.unwrap();
    for _ in 0..arguments.requests.unwrap_or(u64::MAX) {
        let answer = client.simple_query("SELECT 1").await.unwrap();
        answer.into_results().await.unwrap();
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
