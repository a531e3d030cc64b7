//! The commands that talk to a running gateway: what they print, how they end, what they change.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use weir_tests::{
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::{self, Gateway},
    metadata::Metadata,
    site::{Plan, Site, is_direct},
};

const SECRET: &str = "canary-admin-secret";

/// A source that nobody can reach, which is nothing that metadata is wrong about.
const NOWHERE: &str = "postgres://nobody:nothing@127.0.0.1:1/nowhere?sslmode=disable";

fn declared() -> Metadata {
    Metadata::new()
        .postgres("orders", json!(NOWHERE), json!({ "max_connections": 7 }))
        .loopback()
        .top_level("admin", json!({ "host": "127.0.0.1", "admin_secret": SECRET }))
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Command::new(gateway::program());
    command
        .args(arguments)
        .env_clear()
        .env("HASURA_GRAPHQL_ENDPOINT", format!("http://{}", gateway.http()))
        .env("HASURA_GRAPHQL_ADMIN_SECRET", SECRET)
        // The secret goes to the endpoint only: whatever asks a proxy fails.
        .env("http_proxy", "http://127.0.0.1:1")
        .stdin(Stdio::null());
    command
}

async fn weir(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    run(command(gateway, arguments)).await
}

/// Exit code and everything that was printed. Not on a thread that the test's clients need.
async fn run(mut command: Command) -> (i32, String) {
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = tokio::time::timeout(Duration::from_secs(120), ran)
        .await
        .unwrap()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    (status.code().unwrap(), text)
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    if is_direct() {
        return;
    }
    let gateway = Gateway::start(&declared());
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join("copy");
    let path = folder.to_str().unwrap();

    let (code, text) = weir(&gateway, &["metadata", "export", path]).await;
    assert!(code == 0 && text.contains("Metadata exported"), "{text}");
    let (code, text) = weir(&gateway, &["metadata", "diff", path, "--exit-code"]).await;
    assert!(code == 0 && text.contains("say the same"), "{text}");

    let databases = folder.join("databases/databases.yaml");
    let exported = fs::read_to_string(&databases).unwrap();
    fs::write(&databases, exported.replace("max_connections: 7", "max_connections: 9")).unwrap();
    let (code, text) = weir(&gateway, &["metadata", "diff", path, "--exit-code"]).await;
    assert_eq!(code, 1, "{text}");
    let changed: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .map(str::trim_end)
        .collect();
    assert!(
        changed[2].starts_with('-') && changed[2].ends_with("max_connections: 7"),
        "{text}"
    );
    assert!(
        changed[3].starts_with('+') && changed[3].ends_with("max_connections: 9"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours without a terminal: {text}");

    let (code, text) = weir(&gateway, &["metadata", "apply", path]).await;
    assert!(code == 0 && text.starts_with("Metadata applied\n"), "{text}");
    let (code, text) = weir(&gateway, &["md", "export", "--output", "json"]).await;
    assert_eq!(code, 0, "{text}");
    let exported: Value = serde_json::from_str(&text).unwrap();
    let info = &exported["sources"][0]["configuration"]["connection_info"];
    assert_eq!(info["pool_settings"]["max_connections"], 9, "{text}");
    // Where the gateway runs.
    let served = fs::read_to_string(gateway.folder().join("databases/databases.yaml")).unwrap();
    assert!(served.contains('9'), "{served}");

    let (code, text) = weir(&gateway, &["metadata", "reload"]).await;
    assert_eq!(
        (code, text.as_str()),
        (0, "Metadata reloaded\nMetadata is consistent\n")
    );
}

#[tokio::test]
async fn what_is_inconsistent_is_told_and_dropped() {
    if is_direct() {
        return;
    }
    let gateway = Gateway::start(&declared());
    let (code, text) = weir(&gateway, &["metadata", "inconsistency", "status"]).await;
    assert_eq!((code, text.as_str()), (0, "metadata is consistent\n"));

    let folder = tempfile::tempdir().unwrap();
    declared()
        .postgres("ledger", json!({ "from_env": "NOT_SET_ANYWHERE" }), json!({}))
        .write(folder.path());
    let path = folder.path().to_str().unwrap();
    let strict = ["metadata", "apply", path, "--disallow-inconsistent-metadata"];
    let (code, text) = weir(&gateway, &strict).await;
    assert_eq!(code, 1, "{text}");
    for wanted in [
        "cannot continue due to inconsistent metadata",
        "source ledger",
        "NOT_SET_ANYWHERE",
    ] {
        assert!(text.contains(wanted), "{text}");
    }

    let (code, text) = weir(&gateway, &["metadata", "apply", path]).await;
    assert!(code == 0 && text.contains("Metadata applied"), "{text}");
    assert!(
        text.contains("Metadata is inconsistent\nUse 'weir metadata ic list' command"),
        "{text}"
    );
    let (code, text) = weir(&gateway, &["metadata", "ic", "status"]).await;
    assert!(code == 1 && text.contains("metadata is inconsistent, use"), "{text}");
    let (code, text) = weir(&gateway, &["metadata", "ic", "ls"]).await;
    assert_eq!(code, 0, "{text}");
    let row = text.lines().nth(1).unwrap();
    assert!(
        text.starts_with("NAME ") && row.starts_with("source ledger") && row.contains("'NOT_SET_ANYWHERE' not set"),
        "{text}"
    );
    let (code, text) = weir(&gateway, &["metadata", "ic", "drop"]).await;
    assert_eq!(
        (code, text.as_str()),
        (0, "all inconsistent objects removed from metadata\n")
    );
    let (code, text) = weir(&gateway, &["metadata", "ic", "status"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn who_cannot_be_asked_is_told_what_to_do() {
    if is_direct() {
        return;
    }
    let gateway = Gateway::start(&declared());
    let mut nobody = command(&gateway, &["status"]);
    nobody.env("HASURA_GRAPHQL_ENDPOINT", "http://127.0.0.1:1");
    let (code, text) = run(nobody).await;
    assert_eq!(code, 3, "{text}");
    for wanted in ["cannot reach http://127.0.0.1:1", "refused", "weir serve", "--endpoint"] {
        assert!(text.contains(wanted), "{text}");
    }
    let mut wrong = command(&gateway, &["metadata", "reload"]);
    wrong.env("HASURA_GRAPHQL_ADMIN_SECRET", "another");
    let (code, text) = run(wrong).await;
    assert!(code == 1 && text.contains("HASURA_GRAPHQL_ADMIN_SECRET"), "{text}");
    let (code, text) = weir(&gateway, &["metadata", "reload", "--admin-secret", SECRET]).await;
    assert!(
        code == 0 && text.contains("can be seen in the list of processes"),
        "{text}"
    );
    let mut foreign = command(&gateway, &["status"]);
    let listener = gateway.address("pg");
    foreign.env("HASURA_GRAPHQL_ENDPOINT", format!("http://{listener}"));
    let (code, text) = run(foreign).await;
    assert_eq!(code, 3, "{text}");
    assert!(!text.contains(SECRET) && !gateway.log().contains(SECRET), "{text}");
}

/// A gateway over a database, with an HTTP interface.
async fn place() -> Option<(Site, Gateway)> {
    if is_direct() {
        return None;
    }
    let plan = Plan::default();
    let site = Site::start(plan.clone()).await;
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority);
    let admin = json!({ "host": "127.0.0.1", "admin_secret": SECRET });
    let gateway = Gateway::start(&metadata.top_level("admin", admin));
    Some((site, gateway))
}

async fn client(site: &Site, gateway: &Gateway) -> tokio_postgres::Client {
    cluster::connect(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap()
}

#[tokio::test]
async fn sources_are_paused_drained_and_resumed() {
    let Some((site, gateway)) = place().await else { return };
    let source = site.database.as_str();
    let client = client(&site, &gateway).await;
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();

    let (code, text) = weir(&gateway, &["pause", source, "--timeout", "0.2"]).await;
    assert!(code == 1 && text.contains("not at rest"), "{text}");
    let (code, text) = weir(&gateway, &["drain", "--timeout", "0.2"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains(&format!("waiting for {source} (1 server connections)")),
        "{text}"
    );
    let (code, text) = weir(&gateway, &["status", source]).await;
    assert!(code == 1 && text.contains(" pausing "), "{text}");

    client.batch_execute("COMMIT").await.unwrap();
    let (code, text) = weir(&gateway, &["drain", source]).await;
    assert!(code == 0 && text.contains(&format!("at rest: {source}")), "{text}");
    let (code, text) = weir(&gateway, &["status", "--format", "json"]).await;
    let stats: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, stats["sources"][0]["state"].as_str()),
        (1, Some("paused")),
        "{text}"
    );

    let (code, text) = weir(&gateway, &["resume"]).await;
    assert!(code == 0 && text.contains(&format!("{source}: running")), "{text}");
    client.batch_execute("SELECT 1").await.unwrap();
    let (code, text) = weir(&gateway, &["status"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = weir(&gateway, &["resume"]).await;
    assert_eq!((code, text.as_str()), (0, "no source is paused\n"));

    let (code, text) = weir(&gateway, &["restart-source", source]).await;
    assert!(code == 0 && text.contains("new server connections"), "{text}");
    client.batch_execute("SELECT 1").await.unwrap();
    let (code, text) = weir(&gateway, &["pause", "nowhere"]).await;
    assert!(code == 1 && text.contains("nowhere"), "{text}");
}

#[tokio::test]
async fn top_shows_a_pin_and_puts_the_terminal_back() {
    let Some((site, gateway)) = place().await else { return };
    let client = client(&site, &gateway).await;
    client.batch_execute("CREATE TEMP TABLE stage (n int)").await.unwrap();
    let (code, text) = weir(&gateway, &["top", "--interval", "0.2"]).await;
    assert_eq!(code, 0, "{text}");
    for wanted in [site.database.as_str(), "PIN", " pinned ", "CREATE TEMP TABLE stage"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");

    // On a terminal: `script` makes one, and types a q.
    if !Path::new("/usr/bin/script").exists() {
        eprintln!("script is not installed: not checked on a terminal");
        return;
    }
    let program = gateway::program();
    let typed = format!(
        "(sleep 2; printf q) | script --quiet --return --command '{} top --interval 0.2' /dev/null",
        program.display()
    );
    let mut on_terminal = Command::new("sh");
    on_terminal
        .args(["-c", &typed])
        .env("TERM", "xterm-256color")
        .env("HASURA_GRAPHQL_ENDPOINT", format!("http://{}", gateway.http()))
        .env("HASURA_GRAPHQL_ADMIN_SECRET", SECRET);
    let (code, text) = run(on_terminal).await;
    assert_eq!(code, 0, "{text}");
    let (entered, left) = (text.find("\u{1b}[?1049h"), text.rfind("\u{1b}[?1049l"));
    assert!(entered.is_some() && left > entered, "{text:?}");
}
