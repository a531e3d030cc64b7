//! Queries that sqlsmith makes up, direct and through the gateway: the same rows, the same SQLSTATE.
//!
//! Each portion of queries runs three times: directly, through the gateway, spread over more clients than server
//! connections, and directly once more on another connection. What the two direct runs answer differently (clocks, random
//! numbers, process numbers, log positions, time-outs) proves nothing and is only counted.

use std::{fmt::Write as _, process::Command, time::Duration};

use futures_util::future;
use tokio_postgres::{Client, SimpleQueryMessage};
use weir_tests::{
    process,
    site::{Plan, Site},
};

/// Queries between two comparisons.
const PORTION: usize = 200;
const CLIENTS: usize = 4;

/// What ties a client to its server connection for good: here more clients would be tied than there are connections.
const TIES: [&str; 6] = [
    "setseed",
    "backup_st",
    "st_backup",
    "start_backup",
    "_replication_slot(",
    "replication_origin_session",
];

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE people (id int PRIMARY KEY, name text, born date, mood mood, weight numeric(6,2), tags text[], extra jsonb);
    INSERT INTO people SELECT n, 'name ' || n, date '1970-01-01' + n * 37, (ARRAY['sad','ok','happy'])[1 + n % 3]::mood,
        n * 1.25, ARRAY['a', 'b' || n], jsonb_build_object('n', n, 'list', ARRAY[n, n + 1]) FROM generate_series(1, 60) n;
    CREATE TABLE orders (id bigint PRIMARY KEY, person int REFERENCES people, at timestamptz, amount float8, paid bool, note varchar(40));
    INSERT INTO orders SELECT n, 1 + n % 60, timestamptz '2020-01-01 UTC' + n * interval '7 hours', n / 3.0, n % 2 = 0,
        CASE WHEN n % 5 = 0 THEN NULL ELSE 'note ' || n END FROM generate_series(1, 200) n;
    CREATE TABLE things (id uuid PRIMARY KEY, place point, address inet, took interval, bits bit(8), raw bytea);
    INSERT INTO things SELECT md5(n::text)::uuid, point(n, -n), ('10.0.0.' || n)::inet, n * interval '1 minute', n::bit(8),
        decode(md5(n::text), 'hex') FROM generate_series(1, 40) n;
    CREATE VIEW debts AS SELECT p.name, sum(o.amount) AS owed FROM people p JOIN orders o ON o.person = p.id WHERE NOT o.paid GROUP BY 1;
    ALTER TABLE people SET (autovacuum_enabled = false); ALTER TABLE orders SET (autovacuum_enabled = false);
    ALTER TABLE things SET (autovacuum_enabled = false);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app; ANALYZE;";

#[tokio::test]
async fn made_up_queries_give_the_same_answers() {
    compare(600, 11).await;
}

#[tokio::test]
#[ignore = "20,000 queries: make nightly"]
async fn twenty_thousand_made_up_queries_give_the_same_answers() {
    compare(20_000, 20_260).await;
}

async fn compare(count: usize, seed: u64) {
    let site = Site::start(Plan::default()).await;
    site.admin().await.batch_execute(TABLES).await.unwrap();
    let queries = make_up(&site, count, seed).await;
    let [once, again] = [direct(&site).await, direct(&site).await];
    let mut through = Vec::new();
    for _ in 0..CLIENTS {
        through.push(prepared(site.connect().await).await);
    }

    let mut sum = Sum::default();
    for (number, portion) in queries.chunks(PORTION).enumerate() {
        let expected = run(&once, portion.iter()).await;
        let found = spread(&through, portion).await;
        let confirmed = run(&again, portion.iter()).await;
        for (((query, expected), confirmed), found) in portion.iter().zip(expected).zip(confirmed).zip(found) {
            sum.add(query, &expected, &confirmed, &found);
        }
        if count > 1000 && number % 10 == 9 {
            println!("sqlsmith: {sum}");
        }
    }
    println!("sqlsmith: {sum}");
    assert!(sum.different.is_empty(), "{}", sum.different);
    assert!(sum.rows > count / 50, "hardly anything returns rows: {sum}");
    assert!(sum.unstable < count / 5, "the comparison is blunt: {sum}");
}

/// What came of it.
#[derive(Default)]
struct Sum {
    same: usize,
    /// Of those, how many return rows.
    rows: usize,
    errors: usize,
    unstable: usize,
    different: String,
}

impl Sum {
    fn add(&mut self, query: &str, expected: &Answer, confirmed: &Answer, found: &Answer) {
        if expected != confirmed || *found == Err("57014".to_owned()) {
            self.unstable += 1;
        } else if expected == found {
            self.same += 1;
            self.rows += usize::from(expected.as_ref().is_ok_and(|rows| !rows.is_empty()));
            self.errors += usize::from(expected.is_err());
        } else {
            let _ = writeln!(self.different, "{query}\ndirect:  {expected:?}\nthrough: {found:?}\n");
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sum {
            same,
            rows,
            errors,
            unstable,
            ..
        } = self;
        let different = self.different.matches("\nthrough: ").count();
        write!(
            f,
            "{same} the same ({rows} with rows, {errors} with an error), {different} different, {unstable} differ directly too"
        )
    }
}

/// Sorted rows, or the SQLSTATE.
type Answer = Result<Vec<String>, String>;

/// Lets sqlsmith make up queries over the tables of this site.
async fn make_up(site: &Site, count: usize, seed: u64) -> Vec<String> {
    let address = site.cluster.address();
    let mut command = Command::new("sqlsmith");
    site.environment(&mut command);
    command.args([
        "--dry-run".to_owned(),
        "--exclude-catalog".to_owned(),
        format!("--seed={seed}"),
        // Some are left out.
        format!("--max-queries={}", count * 11 / 10),
        format!("--target=host={} port={}", address.ip(), address.port()),
    ]);
    let outcome = process::run(command, Duration::from_secs(600)).await;
    let queries: Vec<String> = repeatable(&outcome.output)
        .split(";\n")
        .map(|query| query.trim().to_owned())
        .filter(|query| query.split_whitespace().count() > 3 && !TIES.iter().any(|name| query.contains(name)))
        .take(count)
        .collect();
    assert_eq!(queries.len(), count, "sqlsmith: {}", outcome.output);
    queries
}

/// The same with samples that are the same each time.
fn repeatable(queries: &str) -> String {
    let mut parts = queries.split(" tablesample ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sample, rest) = part.split_once(')').expect("a sample has a size");
        let _ = write!(text, " tablesample {sample}) repeatable (1){rest}");
    }
    text
}

async fn direct(site: &Site) -> Client {
    let address = site.cluster.address();
    let client =
        weir_tests::cluster::connect(address, site.role, weir_tests::cluster::ROLE_PASSWORD, &site.database).await;
    prepared(client.expect("the client can log in")).await
}

/// Bounds each query, and lets nothing depend on the clock's place.
async fn prepared(client: Client) -> Client {
    client
        .batch_execute("SET statement_timeout = '700ms'; SET TimeZone = 'UTC'")
        .await
        .unwrap();
    client
}

/// All clients at once, each taking every so-many-th query.
async fn spread(clients: &[Client], queries: &[String]) -> Vec<Answer> {
    let shares = clients
        .iter()
        .enumerate()
        .map(|(first, client)| run(client, queries.iter().skip(first).step_by(clients.len())));
    let shares = future::join_all(shares).await;
    let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
    let count = shares.len();
    (0..queries.len())
        .map(|number| shares[number % count].next().expect("an answer for each query"))
        .collect()
}

/// In a transaction each, which is rolled back: the tables stay as they are.
async fn run<'a>(client: &Client, queries: impl Iterator<Item = &'a String>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for query in queries {
        client.batch_execute("BEGIN").await.expect("BEGIN");
        answers.push(answer(client, query).await);
        client.batch_execute("ROLLBACK").await.expect("ROLLBACK");
    }
    // Made-up calls may have taken locks of the session, and set what others depend on.
    client
        .batch_execute("SELECT pg_advisory_unlock_all()")
        .await
        .expect("unlock");
    answers
}

async fn answer(client: &Client, query: &str) -> Answer {
    match client.simple_query(query).await {
        Ok(messages) => {
            let mut rows: Vec<String> = messages.iter().filter_map(text).collect();
            rows.sort_unstable();
            Ok(rows)
        }
        Err(error) => Err(match error.code() {
            Some(code) => code.code().to_owned(),
            None => panic!("{error:?}: the connection is lost after {query}"),
        }),
    }
}

fn text(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else {
        return None;
    };
    Some((0..row.len()).map(|column| format!("{:?}|", row.get(column))).collect())
}
