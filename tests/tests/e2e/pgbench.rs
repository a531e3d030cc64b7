//! pgbench: 500 clients on 20 connections, in each protocol, with and without TLS. No error, and never a 21st connection.

use std::{process::Command, time::Duration};

use weir_tests::{
    process,
    site::{Plan, Site, is_direct},
};

const CONNECTIONS: u32 = 20;

struct Load {
    protocol: &'static str,
    tls: bool,
    clients: u32,
    /// Of each client.
    transactions: u32,
}

async fn run(load: Load) {
    let plan = Plan {
        connections: CONNECTIONS,
        tls: load.tls.then_some("require"),
        heavy: true,
        ..Plan::default()
    };
    let site = Site::start(plan).await;
    initialise(&site).await;
    let sampler = site.sampler().await;
    // PostgreSQL alone is no match for 500 clients: the tests' own check makes do with fewer.
    let clients = if is_direct() { 20 } else { load.clients };
    // A thread for each client: pgbench waits in PQprepare with its whole thread, and with several clients to a thread it
    // would wait for a server connection that another client of the same thread holds.
    let threads = if load.protocol == "prepared" { clients } else { 2 };
    let mut command = pgbench();
    site.environment(&mut command);
    if load.tls {
        command.env("PGSSLMODE", "require");
    }
    command.args([
        "--no-vacuum",
        &format!("--jobs={threads}"),
        "--builtin=select-only@6",
        "--builtin=simple-update@3",
        "--builtin=tpcb-like@1",
    ]);
    command.args([
        format!("--client={clients}"),
        format!("--transactions={}", load.transactions),
    ]);
    command.arg(format!("--protocol={}", load.protocol));
    let outcome = process::run(command, Duration::from_secs(90 + u64::from(load.transactions))).await;
    let most = sampler.stop().await;
    outcome.expect_success("pgbench");
    let figure = |name: &str| {
        let line = outcome
            .output
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}:\n{}", outcome.output));
        line.trim_start_matches(name)
            .trim()
            .split([' ', '/'])
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(figure("number of failed transactions:"), "0", "{}", outcome.output);
    assert_ne!(
        figure("number of transactions actually processed:"),
        "0",
        "{}",
        outcome.output
    );
    assert!(
        !outcome.output.contains("error") && !outcome.output.contains("aborted"),
        "{}",
        outcome.output
    );
    assert!(
        is_direct() || (1..=CONNECTIONS).contains(&most),
        "{most} server connections, the limit is {CONNECTIONS}"
    );
    let tls = if load.tls { " with TLS" } else { "" };
    eprintln!(
        "pgbench {}{tls}, {clients} clients: tps {}, at most {most} server connections",
        load.protocol,
        figure("tps =")
    );
}

/// Tables of scale 5, made past the gateway.
async fn initialise(site: &Site) {
    let mut command = pgbench();
    site.environment(&mut command);
    command
        .env("PGPORT", site.cluster.port.to_string())
        .args(["--initialize", "--scale=5", "--quiet"]);
    process::run(command, Duration::from_secs(120))
        .await
        .expect_success("pgbench --initialize");
}

fn pgbench() -> Command {
    let beside = weir_tests::cluster::distribution_binaries().join("pgbench");
    if beside.exists() {
        Command::new(beside)
    } else {
        Command::new("pgbench")
    }
}

macro_rules! loads {
    ($($name:ident: $protocol:literal, $tls:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $name() {
            run(Load { protocol: $protocol, tls: $tls, clients: 500, transactions: 10 }).await;
        }
    )*};
}

loads! {
    simple: "simple", false;
    extended: "extended", false;
    prepared: "prepared", false;
    simple_with_tls: "simple", true;
    extended_with_tls: "extended", true;
    prepared_with_tls: "prepared", true;
}

/// PQprepare blocks the whole thread. That must not wait for a connection which another client of the thread holds: a
/// statement that a server has prepared before needs none.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn few_threads_prepare_for_many_clients() {
    let plan = Plan {
        connections: 5,
        heavy: true,
        ..Plan::default()
    };
    let site = Site::start(plan).await;
    initialise(&site).await;
    let clients = if is_direct() { 20 } else { 60 };
    let mut command = pgbench();
    site.environment(&mut command);
    command.args([
        "--no-vacuum",
        "--jobs=2",
        "--builtin=tpcb-like",
        "--protocol=prepared",
        "--transactions=10",
    ]);
    command.arg(format!("--client={clients}"));
    let outcome = process::run(command, Duration::from_secs(60)).await;
    outcome.expect_success("pgbench");
    assert!(!outcome.output.contains("error"), "{}", outcome.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "two minutes: make nightly"]
async fn prepared_for_long() {
    run(Load {
        protocol: "prepared",
        tls: false,
        clients: 500,
        transactions: 1000,
    })
    .await;
    run(Load {
        protocol: "extended",
        tls: true,
        clients: 500,
        transactions: 1000,
    })
    .await;
}
