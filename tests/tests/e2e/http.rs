//! The HTTP interface: who is answered, what health says, what hostile peers get.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_tests::{gateway::Gateway, http::Http, metadata::Metadata};

const SECRET: &str = "an-admin-secret";
const METRICS_SECRET: &str = "a-metrics-secret";

/// One source that nobody can reach, which is nothing that metadata is wrong about.
fn declared() -> Metadata {
    let url = json!("postgres://nobody:nothing@127.0.0.1:1/nowhere?sslmode=disable");
    Metadata::new()
        .postgres("orders", url, json!({ "max_connections": 7 }))
        .loopback()
}

fn with_secrets(metadata: Metadata) -> Metadata {
    metadata.top_level(
        "admin",
        json!({ "host": "127.0.0.1", "admin_secret": SECRET, "metrics_secret": METRICS_SECRET }),
    )
}

#[tokio::test]
async fn only_the_admin_secret_opens_what_is_for_administrators() {
    let gateway = Gateway::start(&with_secrets(declared()));
    let nobody = Http::new(gateway.http());
    let administrator = nobody.clone().with_secret(SECRET);
    let health = nobody.get("/healthz").await;
    assert_eq!((health.status, health.text.as_str()), (200, "OK"));
    let version = nobody.get("/v1/version").await.json();
    assert!(version["version"].as_str().unwrap().starts_with("weir-"), "{version}");

    let denied = nobody.get("/v1alpha1/config").await;
    let required = "x-hasura-admin-secret/x-hasura-access-key required, but not found";
    let expected = json!({ "path": "$", "error": required, "code": "access-denied" });
    assert_eq!((denied.status, denied.json()), (401, expected));
    let denied = nobody.clone().with_secret("another").get("/v1alpha1/config").await;
    let invalid = "invalid x-hasura-admin-secret/x-hasura-access-key";
    let expected = json!({ "path": "$", "error": invalid, "code": "access-denied" });
    assert_eq!((denied.status, denied.json()), (401, expected));

    let config = administrator.get("/v1alpha1/config").await;
    assert_eq!(config.status, 200, "{}", config.text);
    let config = config.json();
    assert_eq!(config["is_admin_secret_set"], true);
    let limit = &config["sources"][0]["pools"][0]["pool_settings"]["max_connections"];
    assert_eq!(limit["value"], 7);
    let origin = limit["set_in"].as_str().unwrap();
    assert!(origin.starts_with("databases/databases.yaml:"), "{origin}");
    for secret in [SECRET, METRICS_SECRET, "nothing@"] {
        assert!(!config.to_string().contains(secret), "{secret}");
    }
    assert_eq!(nobody.get("/v2/nowhere").await.status, 404);
    assert_eq!(nobody.get("/v1/metadata").await.status, 401);
    assert_eq!(administrator.get("/v1/metadata").await.status, 405);
}

#[tokio::test]
async fn health_tells_what_is_inconsistent_and_fails_only_when_strict() {
    let metadata = declared().postgres("broken", json!({ "from_env": "WEIR_TEST_IS_NOT_SET" }), json!({}));
    let gateway = Gateway::start(&metadata);
    let http = Http::new(gateway.http());
    for path in ["/healthz", "/hasura/healthz"] {
        let lenient = http.get(path).await;
        let expected = (200, "WARN: inconsistent objects in schema");
        assert_eq!((lenient.status, lenient.text.as_str()), expected);
        let strict = http.get(&format!("{path}?strict=true")).await;
        let expected = (500, "ERROR: inconsistent objects in schema");
        assert_eq!((strict.status, strict.text.as_str()), expected);
    }
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_is_an_inconsistency_that_heals() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let gateway = Gateway::start(&declared());
    let http = Http::new(gateway.http());
    let listener = json!({ "name": "second", "kind": "postgres", "host": "127.0.0.1", "port": port });
    declared().listener(listener).write(gateway.folder());
    let reload = json!({ "type": "reload_metadata", "args": {} });
    let answer = http.metadata(&reload).await.json();
    assert_eq!(answer["is_consistent"], false, "{answer}");
    let object = &answer["inconsistent_objects"][0];
    assert_eq!(
        (&object["type"], &object["definition"]),
        (&json!("listener"), &json!("second"))
    );
    assert!(object["reason"].as_str().unwrap().contains("in use"), "{object}");
    assert_eq!(http.get("/healthz?strict=true").await.status, 500);
    drop(taken);
    assert_eq!(
        http.metadata(&reload).await.json(),
        json!({ "message": "success", "is_consistent": true })
    );
    assert_eq!(http.get("/healthz?strict=true").await.status, 200);
    TcpStream::connect(("127.0.0.1", port)).await.expect("it is open");
}

#[tokio::test]
async fn nothing_is_declared_yet() {
    let gateway = Gateway::start(&Metadata::new().loopback());
    let http = Http::new(gateway.http());
    assert_eq!(http.get("/healthz").await.text, "OK");
    let exported = http.metadata(&json!({ "type": "export_metadata", "args": {} })).await;
    assert_eq!(exported.json(), json!({ "version": 3, "sources": [] }));
}

#[tokio::test]
async fn a_port_that_is_taken_costs_the_interface_and_nothing_else() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let metadata = declared().top_level("admin", json!({ "port": port }));
    // An empty variable lets the file decide.
    let gateway = Gateway::start_with(&metadata, &[], &[("HASURA_GRAPHQL_SERVER_PORT", "")]);
    assert!(gateway.log().contains("HTTP interface not opened"), "{}", gateway.log());
    TcpStream::connect(gateway.address("pg"))
        .await
        .expect("clients are served");
    // Another port is taken when the metadata says so, without a restart.
    let free = free_port().await;
    declared()
        .top_level("admin", json!({ "port": free }))
        .write(gateway.folder());
    let http = Http::new(SocketAddr::from(([127, 0, 0, 1], free)));
    wait_until_open(free).await;
    assert_eq!(http.get("/healthz").await.text, "OK");
    declared()
        .top_level("admin", json!({ "disabled": true }))
        .write(gateway.folder());
    wait_until_closed(free).await;
    TcpStream::connect(gateway.address("pg"))
        .await
        .expect("clients are served");
}

#[tokio::test]
async fn another_host_with_the_same_port_applies_without_a_restart() {
    let port = free_port().await;
    let at = |host: &str| declared().top_level("admin", json!({ "host": host, "port": port }));
    let gateway = Gateway::start_with(&at("127.0.0.1"), &[], &[("HASURA_GRAPHQL_SERVER_PORT", "")]);
    let elsewhere = || TcpStream::connect(("127.0.0.2", port));
    wait_until_open(port).await;
    assert!(elsewhere().await.is_err());
    // Its own socket is in the way.
    at("0.0.0.0").write(gateway.folder());
    wait(async || elsewhere().await.is_ok()).await;
    at("127.0.0.1").write(gateway.folder());
    wait(async || elsewhere().await.is_err()).await;
    wait_until_open(port).await;
    let http = Http::new(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(http.get("/healthz").await.text, "OK");
    // Somebody else's is in the way: back to the old address.
    let other = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    at("0.0.0.0").write(gateway.folder());
    wait(async || gateway.log().contains("HTTP interface not opened")).await;
    wait_until_open(port).await;
    assert_eq!(http.get("/healthz").await.text, "OK");
    drop(other);
}

#[tokio::test]
async fn hostile_peers_are_bounded() {
    let gateway = Gateway::start(&declared());
    let http = Http::new(gateway.http());
    // Longer than the limit, which the answer names.
    let huge = "POST /v1/metadata HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17000000\r\n\r\n[";
    let huge = raw(gateway.http(), huge.as_bytes()).await;
    assert!(huge.starts_with("HTTP/1.1 413 "), "{huge}");
    assert!(huge.contains("16777216") && huge.contains("bad-request"), "{huge}");
    // The same without saying so beforehand.
    let mut chunked =
        b"POST /v1/metadata HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\n".to_vec();
    chunked.extend(vec![b'['; 0x0100_0000]);
    chunked.extend_from_slice(b"\r\n1\r\n[\r\n");
    let chunked = raw(gateway.http(), &chunked).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    // Deeper than anybody means it.
    let deep = http.post("/v1/metadata", "[".repeat(1_000_000)).await;
    assert_eq!((deep.status, &deep.json()["code"]), (400, &json!("invalid-json")));
    for wrong in [
        "",
        "null",
        "[]",
        "{}",
        "{\"type\": 1}",
        "{\"type\": \"drop_everything\"}",
        "\u{0}",
    ] {
        let answer = http.post("/v1/metadata", wrong).await;
        assert_eq!(answer.status, 400, "{wrong:?}: {}", answer.text);
        assert!(answer.json()["code"].is_string(), "{wrong:?}");
    }
    // A request that never ends: its connection is closed.
    let mut slow = TcpStream::connect(gateway.http()).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(60), slow.read_to_end(&mut rest));
    closed.await.expect("the connection is closed").unwrap();
    assert_eq!(http.get("/healthz").await.text, "OK");
}

#[tokio::test]
async fn without_a_secret_a_web_page_is_nobody() {
    let gateway = Gateway::start(&declared());
    let request = json!({ "type": "reload_metadata", "args": {} });
    let local = Http::new(gateway.http());
    assert_eq!(local.metadata(&request).await.json()["message"], Value::from("success"));
    let page = local.clone().with("origin", "http://evil.example");
    assert_eq!(page.metadata(&request).await.status, 401);
    let rebound = local.clone().with("host", "evil.example");
    assert_eq!(rebound.metadata(&request).await.status, 401);
}

/// What is answered to these bytes until the connection is closed or there is an answer.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 64 * 1024];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut answer));
    let length = read.await.expect("there is an answer").unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn wait_until_open(port: u16) {
    wait(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
}

async fn wait_until_closed(port: u16) {
    wait(async || TcpStream::connect(("127.0.0.1", port)).await.is_err()).await;
}

async fn wait(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it comes to be");
}
