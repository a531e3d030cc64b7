//! What administrators have made of a source holds over a takeover, and reaches both processes as long as both live.

use std::time::Duration;

use serde_json::json;
use weir_tests::{
    clock,
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    site::{Plan, Site, is_direct},
    wire::{self, RawClient, first_error},
};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);

const PASSWORD: &str = "canary-boss-5d1";

/// A gateway with an administrator.
async fn place() -> Option<(Site, Gateway)> {
    if is_direct() {
        return None;
    }
    let plan = Plan::default();
    let site = Site::start(plan.clone()).await;
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority)
        .user(json!({ "name": "boss", "password": PASSWORD, "sources": [], "role": "admin" }));
    let gateway = Gateway::start(&metadata);
    Some((site, gateway))
}

/// Says something on the console of the process that accepts.
async fn command(gateway: &Gateway, text: &str) {
    let mut console = RawClient::log_in(gateway.address("pg"), "boss", PASSWORD, "weir")
        .await
        .unwrap();
    let answer = tokio::time::timeout(LIMIT, console.simple(text))
        .await
        .expect("no hang")
        .unwrap();
    assert!(first_error(&answer).is_none(), "{text}: {}", wire::describe(&answer));
    console.leave().await;
}

async fn client(gateway: &Gateway, site: &Site) -> RawClient {
    RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap()
}

async fn answered(client: &mut RawClient) {
    let answer = tokio::time::timeout(LIMIT, client.until(b'Z'))
        .await
        .expect("no hang")
        .unwrap();
    assert!(first_error(&answer).is_none(), "{}", wire::describe(&answer));
}

async fn waits(client: &mut RawClient) {
    let answer = tokio::time::timeout(Duration::from_millis(700), client.until(b'Z')).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_goes_on_in_the_new_process_and_ends_in_both() {
    let Some((site, mut old)) = place().await else { return };
    let name = &site.database;
    let mut idle = client(&old, &site).await;
    assert_eq!(idle.rows("SELECT 1").await, ["1"]);
    command(&old, &format!("PAUSE \"{name}\"")).await;
    let mut waiting = client(&old, &site).await;
    waiting.send(&wire::query("SELECT 2")).await.unwrap();
    waits(&mut waiting).await;

    let mut new = tokio::task::block_in_place(|| old.succeed());
    idle.send(&wire::query("SELECT 4")).await.unwrap();
    waits(&mut idle).await;
    command(&new, &format!("RESUME \"{name}\"")).await;
    // The first of them is in the old process.
    for client in [&mut waiting, &mut idle] {
        answered(client).await;
    }
    let mut late = client(&new, &site).await;
    assert_eq!(late.rows("SELECT 3").await, ["3"]);
    let status = tokio::task::block_in_place(|| old.wait(LIMIT)).expect("it has nobody left");
    assert!(status.success(), "{}", old.log());

    // Nothing is left of it for the next one.
    let third = tokio::task::block_in_place(|| new.succeed());
    assert_eq!(client(&third, &site).await.rows("SELECT 5").await, ["5"]);
    assert_eq!(waiting.rows("SELECT 6").await, ["6"]);
    drop((late, idle, waiting));
    assert!(tokio::task::block_in_place(|| new.wait(LIMIT)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_disabled_stays_so_and_keeps_whom_it_has() {
    let Some((site, mut old)) = place().await else { return };
    let name = &site.database;
    let mut inside = client(&old, &site).await;
    assert_eq!(inside.rows("SELECT 1").await, ["1"]);
    command(&old, &format!("DISABLE \"{name}\"")).await;
    let new = tokio::task::block_in_place(|| old.succeed());
    let status = tokio::task::block_in_place(|| old.wait(LIMIT)).expect("its client has moved");
    assert!(status.success(), "{}", old.log());
    assert_eq!(inside.rows("SELECT 2").await, ["2"]);
    let refused = cluster::connect(new.address("pg"), ROLE, ROLE_PASSWORD, name)
        .await
        .unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("55000"), "{refused}");
    command(&new, &format!("ENABLE \"{name}\"")).await;
    let deadline = clock::now() + LIMIT;
    while cluster::connect(new.address("pg"), ROLE, ROLE_PASSWORD, name)
        .await
        .is_err()
    {
        assert!(clock::now() < deadline, "it stays disabled");
    }
}
