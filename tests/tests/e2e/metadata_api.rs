//! The metadata API's answers equal Hasura's, case by case (`metadata_api.json`), and the files say what was asked for.
//!
//! The cases follow Hasura's reference of its metadata API, its server's tests and, for what the reference does not show,
//! the texts in its server.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use weir_tests::{
    cluster::{self, Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
    http::Http,
    site::{database_url, is_direct, new_name},
};

const CASES: &str = include_str!("metadata_api.json");

const DATABASES: &str = "\
# The databases of this project.
- name: default
  kind: postgres
  configuration:
    connection_info:
      database_url: {from_env: DEFAULT_URL}
      pool_settings: {max_connections: 5}
  tables: \"!include default/tables/tables.yaml\"
";

const GATEWAY: &str = r#"{
    "listeners": [{"name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0}],
    "users": [{"name": "app", "password": "app-password", "sources": "*"}]
}"#;

struct Project {
    gateway: Gateway,
    cluster: &'static Cluster,
    http: Http,
}

/// A directory as Hasura's command line writes it, and its gateway.
async fn project() -> Project {
    let cluster = Cluster::shared(Version::Distribution);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", DATABASES),
        (
            "databases/default/tables/tables.yaml",
            "- \"!include public_author.yaml\"\n",
        ),
        (
            "databases/default/tables/public_author.yaml",
            "table:\n  name: author\n  schema: public\n",
        ),
        (
            "remote_schemas.yaml",
            "- name: countries\n  definition:\n    url: https://countries.example/graphql\n    timeout_seconds: 60\n",
        ),
        ("query_collections.yaml", "[]\n"),
        ("gateway.yaml", GATEWAY),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (default, other) = (new_name("api"), new_name("api"));
    cluster.create_database(&default).await;
    cluster.create_database(&other).await;
    let url = |database: &str| database_url(cluster, ROLE, database, "sslmode=disable");
    let wrong = url(&other).replace(ROLE_PASSWORD, "wrong");
    let environment = [
        ("DEFAULT_URL", url(&default)),
        ("OTHER_URL", url(&other)),
        ("MISSING_DATABASE_URL", url("is_not_there")),
        ("WRONG_PASSWORD_URL", wrong),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let gateway = Gateway::serve(folder, &[], &environment);
    let http = Http::new(gateway.http());
    Project { gateway, cluster, http }
}

impl Project {
    /// The present `resource_version`.
    async fn version(&self) -> u64 {
        resource_version(&self.http).await
    }
}

async fn resource_version(http: &Http) -> u64 {
    let export = json!({ "type": "export_metadata", "version": 2, "args": {} });
    http.metadata(&export).await.json()["resource_version"]
        .as_u64()
        .unwrap()
}

/// `@version+2` is the version after two changes.
fn with_versions(cases: &str, first: u64) -> String {
    (0..10).fold(cases.to_owned(), |cases, changes| {
        let (written, version) = (format!("@version+{changes}"), (first + changes).to_string());
        cases
            .replace(&format!("\"{written}\""), &version)
            .replace(&written, &version)
    })
}

/// Equal, but for `"**"`, which is whatever is there.
fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "**" => true,
        (Value::Object(expected), Value::Object(found)) => {
            let is_there = |(key, value): (&String, &Value)| found.get(key).is_some_and(|found| matches(value, found));
            expected.len() == found.len() && expected.iter().all(is_there)
        }
        (Value::Array(expected), Value::Array(found)) => {
            let mut pairs = expected.iter().zip(found);
            expected.len() == found.len() && pairs.all(|(expected, found)| matches(expected, found))
        }
        (expected, found) => expected == found,
    }
}

#[test]
fn an_answer_with_more_or_less_is_another_one() {
    let expected = json!({ "a": [1, "**"], "b": { "c": "d" } });
    assert!(matches(
        &expected,
        &json!({ "b": { "c": "d" }, "a": [1, { "x": null }] })
    ));
    for other in [
        json!({ "a": [1, 2], "b": { "c": "d" }, "e": null }),
        json!({ "a": [1, 2] }),
        json!({ "a": [1], "b": { "c": "d" } }),
        json!({ "a": [1, 2, 3], "b": { "c": "d" } }),
        json!({ "a": [2, 1], "b": { "c": "d" } }),
        json!({ "a": [1, 2], "b": { "c": "D" } }),
        json!({ "a": [1, 2], "b": {} }),
    ] {
        assert!(!matches(&expected, &other), "{other}");
    }
}

#[tokio::test]
async fn answers_equal_hasura_s() {
    if is_direct() {
        return;
    }
    let project = project().await;
    let cases: Vec<Value> = serde_json::from_str(&with_versions(CASES, project.version().await)).unwrap();
    for case in &cases {
        let answer = project.http.metadata(&case["request"]).await;
        let status = case.get("status").map_or(200, |status| status.as_u64().unwrap());
        let name = &case["case"];
        assert_eq!(u64::from(answer.status), status, "{name}: {}", answer.text);
        let found = answer.json();
        assert!(
            matches(&case["answer"], &found),
            "{name}\n  expected {}\n  found    {found}",
            case["answer"]
        );
        assert!(!answer.text.contains(ROLE_PASSWORD), "{name}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_is_asked_for_serves_at_once_and_stands_in_the_files() {
    if is_direct() {
        return;
    }
    let project = project().await;
    let first = project.version().await;
    let add = json!({ "type": "pg_add_source", "args": { "name": "added", "configuration": { "connection_info": { "database_url": { "from_env": "OTHER_URL" } } } } });
    let answer = project.http.metadata(&add).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let client = cluster::connect(project.gateway.address("pg"), "app", "app-password", "added").await;
    let client = client.expect("the new source serves");
    client.batch_execute("SELECT 1").await.unwrap();
    let databases = fs::read_to_string(project.gateway.folder().join("databases/databases.yaml")).unwrap();
    assert!(databases.starts_with(DATABASES), "{databases}");
    assert!(databases.contains("from_env: OTHER_URL"), "{databases}");

    // The file events of our own writing find nothing new.
    wait_for(&project.gateway, "metadata unchanged", 0).await;
    assert_eq!(project.version().await, first + 1);
    // Somebody's editor is another change.
    let edited = databases.replace("max_connections: 5", "max_connections: 4");
    fs::write(project.gateway.folder().join("databases/databases.yaml"), edited).unwrap();
    wait_for(&project.gateway, "metadata applied", 1).await;
    assert_eq!(project.version().await, first + 2);
    let stale = json!({ "type": "pg_drop_source", "resource_version": first + 1, "args": { "name": "added" } });
    assert_eq!(project.http.metadata(&stale).await.status, 409);
    let drop = json!({ "type": "pg_drop_source", "resource_version": first + 2, "args": { "name": "added" } });
    assert_eq!(project.http.metadata(&drop).await.status, 200);
    let left = fs::read_to_string(project.gateway.folder().join("databases/databases.yaml")).unwrap();
    assert_eq!(left, DATABASES.replace("max_connections: 5", "max_connections: 4"));
    drop_client(client).await;
    assert!(project.cluster.address().ip().is_loopback());
}

#[tokio::test]
async fn broken_files_are_nobody_s_to_overwrite() {
    if is_direct() {
        return;
    }
    let project = project().await;
    let path = project.gateway.folder().join("databases/databases.yaml");
    let half = DATABASES.as_bytes()[..DATABASES.len() - 30].to_vec();
    let (enormous, latin) = (vec![b'#'; 17 * 1024 * 1024], b"- name: caf\xe9\n".to_vec());
    let unsound = b"- name: default\n  kind: postgres\n  configuration: {connection_info: {}}\n".to_vec();
    for broken in [
        b"- name: [".to_vec(),
        half,
        enormous,
        latin,
        unsound,
        vec![b'['; 100_000],
    ] {
        fs::write(&path, &broken).unwrap();
        let clear = json!({ "type": "clear_metadata", "args": {} });
        let answer = project.http.metadata(&clear).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains("the former one still applies"), "{}", answer.text);
        assert!(fs::read(&path).unwrap() == broken, "the file has been touched");
        let client = cluster::connect(project.gateway.address("pg"), "app", "app-password", "default").await;
        drop_client(client.expect("the former metadata serves")).await;
    }
}

#[tokio::test]
async fn what_a_strict_start_refuses_is_not_written() {
    if is_direct() {
        return;
    }
    let source = |kind: &str| {
        let url = "postgres://nobody:nothing@127.0.0.1:1/nowhere?sslmode=disable";
        json!([{ "name": "default", "kind": kind, "tables": [], "configuration": { "connection_info": { "database_url": url } } }])
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    let sources = source("postgres").to_string();
    for (name, text) in [
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", &sources),
        ("gateway.yaml", GATEWAY),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let gateway = Gateway::serve(folder, &["--strict"], &[]);
    let http = Http::new(gateway.http());
    let metadata = json!({ "version": 3, "sources": source("alloy") });
    let replace = json!({ "type": "replace_metadata", "version": 2, "args": { "allow_inconsistent_metadata": true, "metadata": metadata } });
    let answer = http.metadata(&replace).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    for wanted in ["could not start", "--strict", "alloy"] {
        assert!(answer.text.contains(wanted), "{wanted}: {}", answer.text);
    }
    let kept = fs::read_to_string(gateway.folder().join("databases/databases.yaml")).unwrap();
    assert_eq!(kept, sources);
    let reload = json!({ "type": "reload_metadata", "args": {} });
    assert_eq!(http.metadata(&reload).await.status, 200);
}

/// A gateway of sources that nobody connects to, of which `gateway.yaml` speaks.
fn spoken_of() -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    let source = |name: &str| {
        let url = "postgres://nobody:nothing@127.0.0.1:1/nowhere?sslmode=disable";
        json!({ "name": name, "kind": "postgres", "tables": [], "configuration": { "connection_info": { "database_url": url } } })
    };
    let sources = json!([source("orders"), source("ledger")]).to_string();
    let gateway = json!({
        "listeners": [{ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 }],
        "users": [{ "name": "app", "password": "app-password", "sources": ["orders", "ledger"] }],
        "sources": [{ "name": "orders", "pool_settings": { "max_connections": 7 } }],
    });
    for (name, text) in [
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", &sources),
        ("gateway.yaml", &gateway.to_string()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    Gateway::serve(folder, &[], &[])
}

fn gateway_file(gateway: &Gateway) -> Value {
    serde_json::from_str(&fs::read_to_string(gateway.folder().join("gateway.yaml")).unwrap()).unwrap()
}

async fn succeeds(http: &Http, request: Value) -> Value {
    let answer = http.metadata(&request).await;
    assert_eq!(answer.status, 200, "{request}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn what_gateway_yaml_says_of_a_source_goes_with_it() {
    if is_direct() {
        return;
    }
    let gateway = spoken_of();
    let http = Http::new(gateway.http());
    let is_consistent = async || {
        let report = json!({ "type": "get_inconsistent_metadata", "args": {} });
        succeeds(&http, report).await["is_consistent"].clone()
    };
    let rename = json!({ "type": "rename_source", "args": { "name": "orders", "new_name": "shop" } });
    succeeds(&http, rename).await;
    assert_eq!(is_consistent().await, true);
    let file = gateway_file(&gateway);
    assert_eq!(file["sources"][0]["name"], "shop");
    assert_eq!(file["users"][0]["sources"], json!(["shop", "ledger"]));
    let config = http.get("/v1alpha1/config").await.json();
    let sources = config["sources"].as_array().unwrap();
    let shop = sources.iter().find(|source| source["name"] == "shop").unwrap();
    assert_eq!(shop["pools"][0]["pool_settings"]["max_connections"]["value"], 7);
    succeeds(&http, json!({ "type": "pg_drop_source", "args": { "name": "shop" } })).await;
    assert_eq!(is_consistent().await, true);
    let file = gateway_file(&gateway);
    assert!(file.get("sources").is_none(), "{file}");
    assert_eq!(file["users"][0]["sources"], json!(["ledger"]));
}

#[tokio::test]
async fn what_is_cleared_leaves_gateway_yaml_alone_and_a_restart_is_another_version() {
    if is_direct() {
        return;
    }
    let gateway = spoken_of();
    let http = Http::new(gateway.http());
    let declared = gateway_file(&gateway);
    let metadata = succeeds(&http, json!({ "type": "export_metadata", "args": {} })).await;
    let clear = json!({ "type": "clear_metadata", "args": {} });
    assert_eq!(succeeds(&http, clear).await, json!({ "message": "success" }));
    assert_eq!(gateway_file(&gateway), declared);
    let report = json!({ "type": "get_inconsistent_metadata", "args": {} });
    let report_of = async |http: &Http| succeeds(http, report.clone()).await["inconsistent_objects"].clone();
    let objects = report_of(&http).await;
    let names: Vec<&str> = objects
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["name"].as_str())
        .collect();
    assert_eq!(names, ["user app", "source orders"], "{objects}");
    assert_eq!(http.get("/healthz").await.text, "WARN: inconsistent objects in schema");

    // Another process starts with it, and what the first one has exported is not the present version there.
    let before = resource_version(&http).await;
    let next = gateway.succeed();
    let http = Http::new(next.http());
    assert!(resource_version(&http).await > before);
    assert_eq!(report_of(&http).await, objects);
    let args = json!({ "allow_inconsistent_metadata": true, "metadata": metadata });
    let mut replace = json!({ "type": "replace_metadata", "version": 2, "resource_version": before, "args": args });
    let refused = http.metadata(&replace).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")));
    replace["resource_version"] = resource_version(&http).await.into();
    assert_eq!(succeeds(&http, replace).await["is_consistent"], true);
    let config = http.get("/v1alpha1/config").await.json();
    assert_eq!(
        config["sources"][1]["pools"][0]["pool_settings"]["max_connections"]["value"],
        7
    );
}

#[tokio::test]
async fn writers_come_one_after_the_other() {
    if is_direct() {
        return;
    }
    let project = project().await;
    let first = project.version().await;
    let mut adding = Vec::new();
    for number in 0..8 {
        let http = project.http.clone();
        adding.push(tokio::spawn(async move {
            let name = format!("s{number}");
            let connection = json!({ "database_url": { "from_env": "OTHER_URL" } });
            let args = json!({ "name": name, "configuration": { "connection_info": connection } });
            http.metadata(&json!({ "type": "pg_add_source", "args": args })).await
        }));
    }
    for task in adding {
        let answer = task.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let exported = project
        .http
        .metadata(&json!({ "type": "export_metadata", "version": 2, "args": {} }))
        .await
        .json();
    assert_eq!(exported["metadata"]["sources"].as_array().unwrap().len(), 9);
    assert_eq!(exported["resource_version"], first + 8);
}

async fn drop_client(client: tokio_postgres::Client) {
    drop(client);
    tokio::task::yield_now().await;
}

async fn wait_for(gateway: &Gateway, what: &str, before: usize) {
    let waiting = async {
        while gateway.log().matches(what).count() <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "{what:?} is not said:\n{}", gateway.log());
}
