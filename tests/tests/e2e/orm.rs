//! Object-relational mappers and migration tools, unchanged, with the features on that poolers usually ask to turn off:
//! more of them at a time than server connections.

use std::{process::Command, time::Duration};

use weir_tests::site::{Plan, Site};

use crate::drivers::{node, python, run_at_once, script};

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

async fn run(site: &Site, what: &str, command: impl Fn(usize) -> Command) {
    run_at_once(site, what, INSTANCES, LIMIT, command).await;
}

#[tokio::test]
async fn django() {
    run(&site(3).await, "Django", |instance| {
        python("django_script.py", instance)
    })
    .await;
}

#[tokio::test]
async fn sqlalchemy_and_alembic() {
    run(&site(3).await, "SQLAlchemy", |instance| {
        python("sqlalchemy_script.py", instance)
    })
    .await;
}

#[tokio::test]
async fn activerecord() {
    run(&site(3).await, "ActiveRecord", |instance| {
        let mut command = Command::new("ruby");
        command.arg(script("activerecord_script.rb")).arg(instance.to_string());
        command
    })
    .await;
}

/// The lock ties its holder to one connection; whoever waits for it in the database holds another.
#[tokio::test]
async fn migrations_under_an_advisory_lock() {
    let site = site(INSTANCES as u32 + 2).await;
    run(&site, "migrations", |instance| python("migrations_script.py", instance)).await;
}

#[tokio::test]
async fn node_pg_migrate() {
    run(&site(3).await, "node-pg-migrate", |instance| {
        node("node-pg-migrate.mjs", instance)
    })
    .await;
}
