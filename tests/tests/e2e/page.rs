//! The console page, in a real browser: `tests/drivers/console_page.mjs` says what is looked at.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use weir_tests::{
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    http::Http,
    metadata::Metadata,
    process,
    site::{Plan, Site, database_url, is_direct},
};

use crate::drivers::node;

const SECRET: &str = "the-secret-of-the-page";
const LIMIT: Duration = Duration::from_secs(240);
const SOURCE: &str = "orders";
/// Markup, if somebody let it be.
const NAME: &str = "nightly <img src=x onerror=alert(1)>";

#[tokio::test]
async fn the_page_shows_what_runs_and_changes_it() {
    if is_direct() {
        return;
    }
    let mut site = Site::start(Plan::default()).await;
    let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(SOURCE, url.into(), json!({ "max_connections": 4 }))
        .postgres("ledger", json!({ "from_env": "WEIR_TEST_IS_NOT_SET" }), json!({}))
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
        .top_level("admin", json!({ "host": "127.0.0.1", "admin_secret": SECRET }));
    site.gateway = Some(Gateway::start(&metadata));
    let gateway = site.gateway.as_ref().expect("it was started");
    let loads: Vec<_> = (0..8).map(|_| tokio::spawn(load(site.address()))).collect();
    let pinned = client_named(NAME, site.address()).await;
    pinned
        .batch_execute("CREATE TEMPORARY TABLE notes (text text)")
        .await
        .unwrap();

    let mut command = node("console_page.mjs", 1);
    command
        .env("CONSOLE", format!("http://{}/console", gateway.http()))
        .env("SECRET", SECRET)
        .env("SOURCE", SOURCE)
        .env("PINNED", NAME)
        .env("SCREENSHOTS", screenshots());
    let outcome = process::run(command, LIMIT).await;
    loads.iter().for_each(tokio::task::JoinHandle::abort);
    outcome.expect_success("console_page.mjs");
    assert!(outcome.output.contains("passed"), "{}", outcome.output);

    // What it changed is in the metadata, and the rest of it is as it was.
    let text = fs::read_to_string(gateway.folder().join("databases/databases.yaml")).unwrap();
    assert!(text.contains('7'), "{text}");
    let http = Http::new(gateway.http()).with_secret(SECRET);
    let exported = http
        .metadata(&json!({ "type": "export_metadata", "args": {} }))
        .await
        .json();
    let sources = exported["sources"].as_array().expect("sources");
    let pool = |name: &str| -> Value {
        let source = sources
            .iter()
            .find(|source| source["name"] == name)
            .expect("the source");
        source["configuration"]["connection_info"]["pool_settings"].clone()
    };
    assert_eq!(pool(SOURCE)["max_connections"], 7);
    assert_eq!(sources.len(), 2);
}

async fn client_named(name: &str, address: SocketAddr) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .application_name(name);
    config.user(ROLE).password(ROLE_PASSWORD).dbname(SOURCE);
    let (client, connection) = config
        .connect(tokio_postgres::NoTls)
        .await
        .expect("the client can log in");
    tokio::spawn(connection);
    client
}

/// A client that works: mostly short statements, and now and then one for which others have to wait.
async fn load(address: SocketAddr) {
    let client = cluster::connect(address, ROLE, ROLE_PASSWORD, SOURCE)
        .await
        .expect("the client can log in");
    loop {
        for _ in 0..50 {
            client.batch_execute("SELECT 1").await.expect("the statement runs");
        }
        client
            .batch_execute("SELECT pg_sleep(0.2)")
            .await
            .expect("the statement runs");
    }
}

/// `WEIR_TEST_SCREENSHOTS=docs/images make test TESTS=the_page` makes the ones that the README shows.
fn screenshots() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match std::env::var_os("WEIR_TEST_SCREENSHOTS") {
        Some(folder) => root.join(folder),
        None => root.join("target/screenshots"),
    }
}
