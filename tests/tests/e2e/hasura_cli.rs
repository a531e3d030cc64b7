//! What Hasura's command line sends, request by request: `hasura metadata apply`, `export`, `diff`, `reload`, `clear`,
//! `inconsistency list|status|drop`, against a project as it exports it (`examples/hasura`).
//!
//! The requests are those of its sources (version 2: `cli.go`'s `Validate`, which every command begins with, and
//! `internal/hasura/commonmetadata`). What it does with an answer is said beside each.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use weir_tests::{gateway::Gateway, http::Http};

const SECRET: &str = "hasura-cli-secret";

/// Addresses at which nobody answers: its metadata is all that is looked at here.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("SHOP_DATABASE_URL", "postgres://app:secret@127.0.0.1:1/shop"),
    ("SHOP_REPLICA_URL", "postgres://app:secret@127.0.0.1:1/shop"),
    ("EVENTS_COORDINATOR_URL", "postgres://app:secret@127.0.0.1:1/events"),
    (
        "ERP_ODBC",
        "Driver={ODBC Driver 18 for SQL Server};Server=tcp:127.0.0.1,1;Database=erp;UID=app;PWD=secret",
    ),
    ("HASURA_GRAPHQL_ADMIN_SECRET", SECRET),
];

const GATEWAY: &str = r#"{
    "listeners": [
        {"name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0},
        {"name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0}
    ],
    "users": [{"name": "app", "password": "app-password", "sources": "*"}],
    "admin": {"host": "127.0.0.1"}
}"#;

struct Cli {
    gateway: Gateway,
    http: Http,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hasura/metadata")
}

fn start() -> Cli {
    let folder = tempfile::tempdir().unwrap();
    copy(&example(), folder.path());
    fs::write(folder.path().join("gateway.yaml"), GATEWAY).unwrap();
    let gateway = Gateway::serve(folder, &[], &ENVIRONMENT);
    let http = Http::new(gateway.http());
    Cli { gateway, http }
}

impl Cli {
    /// What every command begins with.
    async fn validate(&self) -> Http {
        // `GetServerStatus` and `FetchServerVersion`: before any header is set. A version that is no number is one that
        // can do everything.
        for _ in 0..2 {
            let version = self.http.get("/v1/version").await;
            assert_eq!(version.status, 200, "{}", version.text);
            let version = version.json()["version"].as_str().unwrap().to_owned();
            assert!(version.starts_with("weir-"), "{version}");
        }
        let http = self.http.clone().with_secret(SECRET);
        // `GetHasuraInternalServerConfig`
        let config = http.get("/v1alpha1/config").await;
        assert_eq!(config.status, 200, "{}", config.text);
        assert_eq!(config.json()["is_admin_secret_set"], true);
        // Whether the metadata is of version 3: not at the address of the other requests.
        let export = json!({ "type": "export_metadata", "args": {} });
        let metadata = http.post("/v1/query", export.to_string()).await;
        assert_eq!(metadata.status, 200, "{}", metadata.text);
        assert_eq!(metadata.json()["version"], 3);
        // `GetServerState`, for its telemetry: goes on without.
        let state = http.metadata(&json!({ "type": "get_catalog_state", "args": {} })).await;
        assert_eq!((state.status, &state.json()["code"]), (400, &json!("not-supported")));
        http
    }

    /// A command that sends this one request.
    async fn command(&self, request: Value) -> Value {
        let answer = self.validate().await.metadata(&request).await;
        assert_eq!(answer.status, 200, "{request}: {}", answer.text);
        answer.json()
    }

    async fn export(&self) -> Value {
        self.command(json!({ "type": "export_metadata", "args": {} })).await
    }

    async fn apply(&self, metadata: &Value) -> Value {
        let args = json!({ "allow_inconsistent_metadata": true, "metadata": metadata });
        self.command(json!({ "type": "replace_metadata", "version": 2, "args": args }))
            .await
    }

    fn files(&self) -> Vec<(String, String)> {
        files(self.gateway.folder(), "")
    }
}

fn files(folder: &Path, prefix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().display());
        match entry.path().is_dir() {
            true if name == "control" => {}
            true => found.extend(files(&entry.path(), &format!("{name}/"))),
            false => found.push((name, fs::read_to_string(entry.path()).unwrap())),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_is_exported_applies_unchanged() {
    let cli = start();
    let before = cli.files();
    let metadata = cli.export().await;
    let sources = metadata["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 5, "{metadata}");
    assert!(metadata["actions"][0]["definition"]["type"].is_string(), "{metadata}");
    // A source of a kind that is not served is none that is inconsistent.
    let applied = cli.apply(&metadata).await;
    assert_eq!(applied, json!({ "is_consistent": true, "inconsistent_objects": [] }));
    assert_eq!(cli.files(), before);
    // `apply -o json`, and `diff`, which compares with what it has exported.
    assert_eq!(cli.export().await, metadata);
    // As a project of version 2 applies it.
    let older = cli.validate().await;
    let replace = json!({ "type": "replace_metadata", "args": metadata });
    for path in ["/v1/query", "/v1/metadata"] {
        let answer = older.post(path, replace.to_string()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "message": "success" })));
    }
    assert_eq!(cli.files(), before);
}

#[tokio::test]
async fn reloading_and_inconsistencies() {
    let cli = start();
    let reload = json!({ "type": "reload_metadata", "args": {} });
    let consistent = json!({ "message": "success", "is_consistent": true });
    assert_eq!(cli.command(reload.clone()).await, consistent);
    let inconsistencies = json!({ "type": "get_inconsistent_metadata", "args": {} });
    let listed = cli.command(inconsistencies.clone()).await;
    assert_eq!(listed, json!({ "is_consistent": true, "inconsistent_objects": [] }));

    let mut metadata = cli.export().await;
    let variable = json!({ "from_env": "IS_NOT_SET" });
    metadata["sources"][0]["configuration"]["connection_info"]["database_url"] = variable;
    // `Metadata is inconsistent`
    assert_eq!(cli.apply(&metadata).await["is_consistent"], false);
    // `inconsistency list` shows these four.
    let listed = cli.command(inconsistencies.clone()).await;
    let object = &listed["inconsistent_objects"][0];
    assert_eq!(
        (&listed["is_consistent"], &object["type"]),
        (&json!(false), &json!("source"))
    );
    assert_eq!(
        (&object["name"], &object["definition"]),
        (&json!("source shop"), &json!("shop"))
    );
    assert_eq!(
        object["reason"],
        "Inconsistent object: environment variable 'IS_NOT_SET' not set"
    );
    assert_eq!(cli.command(reload).await["is_consistent"], false);
    let drop = json!({ "type": "drop_inconsistent_metadata", "args": {} });
    assert_eq!(cli.command(drop).await, json!({ "message": "success" }));
    assert_eq!(cli.command(inconsistencies).await["is_consistent"], true);
    assert_eq!(cli.export().await["sources"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn clearing_and_applying_again() {
    let cli = start();
    // The actions are described in actions.graphql: see docs/http.md.
    fs::remove_file(cli.gateway.folder().join("actions.graphql")).unwrap();
    fs::remove_file(cli.gateway.folder().join("actions.yaml")).unwrap();
    let metadata = cli.export().await;
    let clear = json!({ "type": "clear_metadata", "args": {} });
    assert_eq!(cli.command(clear).await, json!({ "message": "success" }));
    assert_eq!(cli.export().await, json!({ "version": 3, "sources": [] }));
    assert_eq!(cli.apply(&metadata).await["is_consistent"], true);
    assert_eq!(cli.export().await, metadata);
}

#[tokio::test]
async fn without_the_secret_nothing_but_the_version_is_answered() {
    let cli = start();
    assert_eq!(cli.http.get("/v1/version").await.status, 200);
    let export = json!({ "type": "export_metadata", "args": {} }).to_string();
    for path in ["/v1/query", "/v1/metadata"] {
        assert_eq!(cli.http.post(path, export.clone()).await.status, 401, "{path}");
    }
    // `hasura migrate` and the like are about SQL in the databases: clients do that here.
    let http = cli.validate().await;
    let run_sql = json!({ "type": "run_sql", "args": { "sql": "SELECT 1", "source": "shop" } });
    assert_eq!(http.post("/v2/query", run_sql.to_string()).await.status, 404);
}
