//! libpq 18, which psycopg's wheel brings: direct TLS, channel binding, protocol 3.2, client certificates.

use std::{fs, process::Command, time::Duration};

use serde_json::json;
use weir_tests::{
    cluster::{ROLE_PASSWORD, Version},
    gateway::Gateway,
    metadata::Metadata,
    process,
    site::{Plan, Site, database_url, is_direct},
};

async fn connect(site: &Site, strings: &[String], environment: &[(&str, &str)]) -> process::Outcome {
    let mut command = Command::new(process::cache().join("python/bin/python"));
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/libpq_script.py"))
        .args(strings);
    site.environment(&mut command);
    command.env("PGHOST", "localhost").envs(environment.iter().copied());
    process::run(command, Duration::from_secs(60)).await
}

#[tokio::test]
async fn every_way_to_come_in() {
    let site = Site::start(Plan {
        version: Version::Eighteen,
        tls: Some("prefer"),
        ..Plan::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.crt");
    if is_direct() {
        &site.cluster.authority
    } else {
        &site.authority
    }
    .write(&root);
    let verified = format!("sslmode=verify-full sslrootcert={}", root.display());
    let strings: Vec<String> = [
        "sslmode=disable",
        "sslmode=disable max_protocol_version=3.2",
        "sslmode=require",
        "sslmode=require channel_binding=require",
        "sslmode=require channel_binding=disable",
        "sslmode=require sslnegotiation=direct",
        "sslmode=require sslnegotiation=direct channel_binding=require max_protocol_version=3.2 min_protocol_version=3.2",
        "sslmode=disable require_auth=scram-sha-256",
        "sslmode=require ssl_max_protocol_version=TLSv1.2",
        &verified,
    ]
    .map(str::to_owned)
    .to_vec();
    let outcome = connect(&site, &strings, &[]).await;
    outcome.expect_success("libpq");
    assert_eq!(
        outcome.output.matches("passed").count(),
        strings.len(),
        "{}",
        outcome.output
    );
}

/// Who shows a certificate that the listener trusts needs no password; nobody else gets in without one.
#[tokio::test]
async fn client_certificates() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let stranger = weir_tests::certificates::Authority::generate();
    let server = site.authority.issue("localhost", &["localhost"]);
    let listener = json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0, "ssl_configuration": {
        "sslmode": "verify-full", "sslcert": server.certificate, "sslkey": server.key, "sslrootcert": site.authority.certificate } });
    let url = database_url(site.cluster, site.role, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(&site.database, url.into(), json!({ "max_connections": 2 }))
        .listener(listener)
        .user(json!({ "name": "certified", "certificate": true, "sources": "*" }));
    let gateway = Gateway::start(&metadata);
    let folder = tempfile::tempdir().unwrap();
    let port = gateway.address("pg").port().to_string();
    let own = site.authority.issue("certified", &[]);
    let other_name = site.authority.issue("somebody", &[]);
    let other_authority = stranger.issue("certified", &[]);
    for (name, identity, welcome) in [
        ("own", Some(own), true),
        ("another name", Some(other_name), false),
        ("another authority", Some(other_authority), false),
        ("none", None, false),
    ] {
        let mut string = format!("user=certified password={ROLE_PASSWORD} sslmode=require");
        if let Some(identity) = identity {
            let (certificate, key) = (folder.path().join("client.crt"), folder.path().join("client.key"));
            fs::write(&certificate, identity.certificate).unwrap();
            fs::write(&key, identity.key).unwrap();
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            string += &format!(" sslcert={} sslkey={}", certificate.display(), key.display());
        }
        let outcome = connect(&site, &[string], &[("PGPORT", &port)]).await;
        assert_eq!(outcome.output.contains("passed"), welcome, "{name}: {}", outcome.output);
    }
}
