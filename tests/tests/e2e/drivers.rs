//! Drivers of different families, unchanged, in transaction mode: more scripts at a time than server connections.

use std::{path::PathBuf, process::Command, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future};
use weir_tests::{
    process,
    site::{Plan, Site},
};

const INSTANCES: usize = 5;
const LIMIT: Duration = Duration::from_secs(90);

pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers")).join(name)
}

async fn site() -> Site {
    let site = Site::start(Plan::default()).await;
    let admin = site.admin().await;
    admin
        .batch_execute("CREATE TABLE items (id serial PRIMARY KEY, owner int, name text, price numeric)")
        .await
        .unwrap();
    admin
        .batch_execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON items_id_seq TO app")
        .await
        .unwrap();
    site
}

/// Runs a script so many times at once, each with a number of its own.
async fn run_instances(site: &Site, what: &str, command: impl Fn(usize) -> Command) {
    let sampler = site.sampler().await;
    run_at_once(site, what, INSTANCES, LIMIT, command).await;
    let most = sampler.stop().await;
    assert!(
        site.gateway.is_none() || most <= 2,
        "{what}: {most} server connections instead of 2"
    );
}

/// The same without a look at the server connections. A script says `passed` at its end.
pub(crate) async fn run_at_once(
    site: &Site,
    what: &str,
    instances: usize,
    limit: Duration,
    command: impl Fn(usize) -> Command,
) {
    let runs = (1..=instances).map(|instance| {
        let mut command = command(instance);
        site.environment(&mut command);
        async move { process::run(command, limit).await }
    });
    for outcome in future::join_all(runs).await {
        outcome.expect_success(what);
        assert!(
            outcome.output.contains("passed"),
            "{what} ends early:\n{}",
            outcome.output
        );
    }
}

pub(crate) fn node(name: &'static str, instance: usize) -> Command {
    let mut command = Command::new("node");
    command
        .arg(script(name))
        .arg(instance.to_string())
        .env("NODE_MODULES_OF", process::cache().join("node"));
    command
}

pub(crate) fn python(name: &'static str, instance: usize) -> Command {
    let mut command = Command::new(process::cache().join("python/bin/python"));
    command.arg(script(name)).arg(instance.to_string());
    command
}

#[tokio::test]
async fn psql() {
    let site = site().await;
    run_instances(&site, "psql", |instance| {
        let mut command = Command::new("psql");
        command
            .args(["--no-psqlrc", "--quiet", "-v", &format!("me={instance}"), "-f"])
            .arg(script("psql.sql"));
        command
    })
    .await;
}

#[tokio::test]
async fn node_postgres() {
    let site = site().await;
    run_instances(&site, "node-postgres", |instance| node("node-postgres.mjs", instance)).await;
}

#[tokio::test]
async fn postgres_js_with_named_statements() {
    let site = site().await;
    run_instances(&site, "postgres.js", |instance| {
        let mut command = node("postgres-js.mjs", instance);
        command.env("PREPARE", "true");
        command
    })
    .await;
}

#[tokio::test]
async fn postgres_js_with_unnamed_statements() {
    let site = site().await;
    run_instances(&site, "postgres.js", |instance| {
        let mut command = node("postgres-js.mjs", instance);
        command.env("PREPARE", "false");
        command
    })
    .await;
}

#[tokio::test]
async fn psycopg() {
    let site = site().await;
    run_instances(&site, "psycopg", |instance| python("psycopg_script.py", instance)).await;
}

#[tokio::test]
async fn asyncpg() {
    let site = site().await;
    run_instances(&site, "asyncpg", |instance| python("asyncpg_script.py", instance)).await;
}

#[tokio::test]
async fn tokio_postgres() {
    let site = site().await;
    let sampler = site.sampler().await;
    let runs = (1..=i32::try_from(INSTANCES).unwrap()).map(|me| {
        let site = &site;
        async move { tokio_postgres_script(site.connect().await, me).await.unwrap() }
    });
    future::join_all(runs).await;
    let most = sampler.stop().await;
    assert!(
        site.gateway.is_none() || most <= 2,
        "{most} server connections instead of 2"
    );
}

async fn tokio_postgres_script(mut client: tokio_postgres::Client, me: i32) -> Result<(), tokio_postgres::Error> {
    // CRUD, with a statement that is prepared once and used in many transactions
    let insert = client
        .prepare("INSERT INTO items (owner, name) VALUES ($1, $2) RETURNING id")
        .await?;
    let id: i32 = client.query_one(&insert, &[&me, &"näme"]).await?.get(0);
    let select = client
        .prepare("SELECT name FROM items WHERE id = $1 AND owner = $2")
        .await?;
    assert_eq!(
        client.query_one(&select, &[&id, &me]).await?.get::<_, String>(0),
        "näme"
    );
    assert_eq!(
        client
            .execute("UPDATE items SET name = 'other' WHERE id = $1", &[&id])
            .await?,
        1
    );
    assert_eq!(client.simple_query("SELECT 1; SELECT 2").await?.len(), 6);

    // a pipeline: tokio-postgres sends what is polled together
    let double = client.prepare("SELECT $1::int4 * 2, $2::int4").await?;
    for round in 0..5 {
        let numbers: Vec<i32> = (0..40).map(|number| number + round).collect();
        let answers = numbers.iter().map(|number| {
            let (client, double) = (&client, &double);
            async move { client.query_one(double, &[number, &me]).await }
        });
        for (row, number) in future::try_join_all(answers).await?.iter().zip(&numbers) {
            assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (number * 2, me));
        }
    }
    // and one with errors in it, which hit their own statement only
    let divide = client.prepare("SELECT 100 / $1::int4").await?;
    let answers = (0..20).map(|number: i32| {
        let (client, divide) = (&client, &divide);
        async move { (number, client.query_one(divide, &[&(number % 4)]).await) }
    });
    for (number, answer) in future::join_all(answers).await {
        match number % 4 {
            0 => assert_eq!(answer.unwrap_err().code().unwrap().code(), "22012"),
            divisor => assert_eq!(answer?.get::<_, i32>(0), 100 / divisor),
        }
    }

    // transactions, savepoints, a portal in portions
    let mut transaction = client.transaction().await?;
    transaction.execute(&insert, &[&me, &"kept"]).await.map(|_| ())?;
    let savepoint = transaction.savepoint("here").await?;
    savepoint.execute("DELETE FROM items WHERE owner = $1", &[&me]).await?;
    savepoint.rollback().await?;
    let portal = transaction.bind("SELECT generate_series(1, 25)", &[]).await?;
    let mut portions = Vec::new();
    while let Some(rows) = Some(transaction.query_portal(&portal, 10).await?.len()).filter(|rows| *rows > 0) {
        portions.push(rows);
    }
    assert_eq!(portions, [10, 10, 5]);
    transaction.commit().await?;
    let count = "SELECT count(*) FROM items WHERE owner = $1";
    assert_eq!(client.query_one(count, &[&me]).await?.get::<_, i64>(0), 2);

    // COPY in, out, and one that is given up
    let sink = client.copy_in("COPY items (owner, name) FROM STDIN").await?;
    let mut sink = std::pin::pin!(sink);
    for number in 0..2000 {
        sink.feed(Bytes::from(format!("{me}\tcopied {number}\n"))).await?;
    }
    assert_eq!(sink.finish().await?, 2000);
    let sql = format!("COPY (SELECT name FROM items WHERE owner = {me} AND name LIKE 'copied %') TO STDOUT");
    let copied: usize = client
        .copy_out(&sql)
        .await?
        .map_ok(|chunk| chunk.iter().filter(|byte| **byte == b'\n').count())
        .try_fold(0, |sum, lines| future::ok(sum + lines))
        .await?;
    assert_eq!(copied, 2000);
    drop(
        client
            .copy_in::<_, Bytes>("COPY items (owner, name) FROM STDIN")
            .await?,
    );
    let rows = client
        .query_raw("SELECT generate_series(1, 500)", Vec::<i32>::new())
        .await?;
    assert_eq!(std::pin::pin!(rows).count().await, 500);

    // dropped in mid-answer, as a time-out does; the next answer is the next one's
    let slow = tokio::time::timeout(Duration::from_millis(20), client.query_one("SELECT pg_sleep(0.1)", &[])).await;
    assert!(slow.is_err());
    assert_eq!(client.query_one("SELECT $1::int4", &[&me]).await?.get::<_, i32>(0), me);
    client.execute("DELETE FROM items WHERE owner = $1", &[&me]).await?;
    Ok(())
}
