//! Where passwords come from: the environment, files that change, SCRAM verifiers instead of passwords.

use std::{fs, time::Duration};

use serde_json::json;
use weir_tests::{
    cluster::ROLE_PASSWORD,
    gateway::Gateway,
    metadata::Metadata,
    site::{Plan, Site, database_url, is_direct, new_name},
    wire::{self, RawClient, first_error},
};

#[tokio::test]
async fn passwords_from_the_environment_files_and_verifiers() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "from-a-file\n").unwrap();
    // PostgreSQL's own verifier of a password.
    let admin = site.admin().await;
    let role = new_name("verified");
    admin
        .batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'by-verifier'"))
        .await
        .unwrap();
    let verifier: String = admin
        .query_one("SELECT rolpassword FROM pg_authid WHERE rolname = $1", &[&role])
        .await
        .unwrap()
        .get(0);
    assert!(verifier.starts_with("SCRAM-SHA-256$"));
    let metadata = Metadata::new()
        .postgres(
            &site.database,
            json!({ "from_env": "WEIR_TEST_DATABASE" }),
            json!({ "max_connections": 1 }),
        )
        .loopback()
        .user(json!({ "name": "env", "password": { "from_env": "WEIR_TEST_PASSWORD" }, "sources": "*" }))
        .user(json!({ "name": "file", "password": { "dynamic_from_file": file }, "sources": "*" }))
        .user(json!({ "name": "verifier", "password": verifier, "sources": "*" }));
    let url = database_url(site.cluster, site.role, &site.database, "sslmode=disable");
    let prefix = folder.path().to_str().unwrap();
    let environment = [
        ("WEIR_TEST_DATABASE", url.as_str()),
        ("WEIR_TEST_PASSWORD", "from-the-environment"),
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", prefix),
    ];
    let gateway = Gateway::start_with(&metadata, &[], &environment);
    for (user, secret) in [
        ("env", "from-the-environment"),
        ("file", "from-a-file"),
        ("verifier", "by-verifier"),
    ] {
        let mut client = RawClient::log_in(gateway.address("pg"), user, secret, &site.database)
            .await
            .unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(client.rows("select 1").await, ["1"]);
        let error = RawClient::log_in(gateway.address("pg"), user, "wrong", &site.database)
            .await
            .expect_err("let in");
        assert!(error.to_string().starts_with("28P01"), "{user}: {error}");
    }
}

/// `dynamic_from_file` of a database URL is read again for each new connection.
#[tokio::test]
async fn a_changed_password_file_is_used_for_the_next_connection() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let admin = site.admin().await;
    let role = new_name("rotated");
    admin
        .batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'first'"))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let url = |secret: &str| {
        format!(
            "postgres://{role}:{secret}@{}/{}?sslmode=disable\n",
            site.cluster.address(),
            site.database
        )
    };
    fs::write(&file, url("first")).unwrap();
    let metadata = Metadata::new()
        .postgres(
            &site.database,
            json!({ "dynamic_from_file": file }),
            json!({ "max_connections": 1, "idle_timeout": 1, "retries": 0 }),
        )
        .loopback()
        .user(json!({ "name": "client", "password": ROLE_PASSWORD, "sources": "*" }));
    let prefix = [(
        "HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX",
        folder.path().to_str().unwrap(),
    )];
    let gateway = Gateway::start_with(&metadata, &[], &prefix);
    let mut client = RawClient::log_in(gateway.address("pg"), "client", ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    assert_eq!(
        client.rows("select current_user::text").await,
        std::slice::from_ref(&role)
    );
    admin
        .batch_execute(&format!("ALTER ROLE {role} PASSWORD 'second'"))
        .await
        .unwrap();
    fs::write(&file, url("second")).unwrap();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    admin.execute(others, &[&role]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.rows("select current_user::text").await, [role]);
}

/// A source that cannot be used says so to its own clients, and to nobody else's.
#[tokio::test]
async fn one_bad_source_does_not_spoil_the_others() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let good = database_url(site.cluster, site.role, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres("good", good.into(), json!({}))
        .postgres("unset", json!({ "from_env": "WEIR_TEST_NOT_SET" }), json!({}))
        .postgres("outside", json!({ "dynamic_from_file": "/etc/hostname" }), json!({}))
        .postgres(
            "unreachable",
            json!("postgres://app:x@127.0.0.1:1/x?sslmode=disable"),
            json!({ "retries": 0 }),
        )
        .loopback()
        .user(json!({ "name": "client", "password": "secret", "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let mut client = RawClient::log_in(gateway.address("pg"), "client", "secret", "good")
        .await
        .unwrap();
    for bad in ["unset", "outside", "unreachable"] {
        let told = match RawClient::log_in(gateway.address("pg"), "client", "secret", bad).await {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                let answer = client.simple("select 1").await.unwrap();
                first_error(&answer)
                    .unwrap_or_else(|| panic!("{bad}: {}", wire::describe(&answer)))
                    .to_string()
            }
        };
        assert!(bad != "unset" || told.contains("WEIR_TEST_NOT_SET"), "{bad}: {told}");
        assert_eq!(client.rows("select 'well'").await, ["well"], "beside {bad}");
    }
}
