//! Object-relational mappers and migration tools, unchanged, with the features on that poolers usually ask to turn off:
//! more of them at a time than server connections.

use std::{path::PathBuf, process::Command, time::Duration};

use futures_util::future;
use weir_tests::{
    process,
    site::{Plan, Site},
};

const INSTANCES: usize = 4;
const LIMIT: Duration = Duration::from_secs(150);

/// A site where the role may create schemas, and tables in `public`.
async fn site(connections: u32) -> Site {
    let site = Site::start(Plan {
        connections,
        ..Plan::default()
    })
    .await;
    let grants = format!(
        "GRANT CREATE ON DATABASE {} TO app; GRANT CREATE ON SCHEMA public TO app",
        site.database
    );
    site.admin().await.batch_execute(&grants).await.unwrap();
    site
}

/// Runs so many instances of a script at a time, each with a number of its own.
async fn run_instances(site: &Site, command: &[&str]) {
    let runs = (1..=INSTANCES).map(|instance| {
        let mut command = program(command);
        command.arg(instance.to_string());
        site.environment(&mut command);
        async move { process::run(command, LIMIT).await }
    });
    for outcome in future::join_all(runs).await {
        outcome.expect_success(command[1]);
        assert!(
            outcome.output.contains("passed"),
            "{command:?} ends early:\n{}",
            outcome.output
        );
    }
}

/// An interpreter with a script from the folder of drivers.
fn program(command: &[&str]) -> Command {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers"));
    let interpreter = match command[0] {
        "python" => process::cache().join("python/bin/python"),
        other => PathBuf::from(other),
    };
    let mut program = Command::new(interpreter);
    program
        .arg(folder.join(command[1]))
        .env("NODE_MODULES_OF", process::cache().join("node"));
    program
}

#[tokio::test]
async fn django() {
    run_instances(&site(3).await, &["python", "django_script.py"]).await;
}

#[tokio::test]
async fn sqlalchemy_and_alembic() {
    run_instances(&site(3).await, &["python", "sqlalchemy_script.py"]).await;
}

#[tokio::test]
async fn activerecord() {
    run_instances(&site(3).await, &["ruby", "activerecord_script.rb"]).await;
}

/// The lock ties its holder to one connection; whoever waits for it in the database holds another.
#[tokio::test]
async fn migrations_under_an_advisory_lock() {
    let site = site(INSTANCES as u32 + 2).await;
    run_instances(&site, &["python", "migrations_script.py"]).await;
}

#[tokio::test]
async fn node_pg_migrate() {
    run_instances(&site(3).await, &["node", "node-pg-migrate.mjs"]).await;
}
