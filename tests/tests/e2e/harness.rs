//! The harness's own tests.

use std::time::Duration;

use weir_tests::{
    cluster::{Cluster, ROLE, ROLE_PASSWORD},
    fault_proxy::{FaultProxy, Faults, Toxic},
    transcript,
    wire::{RawClient, Security},
};

#[tokio::test]
async fn both_servers_speak() {
    for cluster in [Cluster::distribution(), Cluster::eighteen()] {
        let mut client = RawClient::log_in(cluster.address(), ROLE, ROLE_PASSWORD, "postgres")
            .await
            .unwrap();
        assert_eq!(client.rows("SELECT 'yes'").await, ["yes"], "{}", cluster.log());
        let tls = Security::Negotiated(cluster.authority.client(&[]));
        let mut client = RawClient::log_in_with(
            cluster.address(),
            &tls,
            ROLE_PASSWORD,
            0,
            &[("user", ROLE), ("database", "postgres")],
        )
        .await
        .unwrap();
        assert_eq!(
            client
                .rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .await,
            ["t"]
        );
    }
}

#[tokio::test]
async fn the_proxy_is_as_bad_as_it_is_told() {
    let cluster = Cluster::distribution();
    let proxy = FaultProxy::start(
        cluster.address(),
        Faults {
            downstream: Toxic::Slice(1),
            ..Faults::default()
        },
    )
    .await;
    let mut client = RawClient::log_in(proxy.address, ROLE, ROLE_PASSWORD, "postgres")
        .await
        .unwrap();
    assert_eq!(client.rows("SELECT repeat('x', 3)").await, ["xxx"]);
    proxy.inflict(Faults {
        upstream: Toxic::Reset(0),
        ..Faults::default()
    });
    assert!(client.simple("SELECT 1").await.is_err());
    let captured = proxy.captured();
    assert!(captured.upstream.windows(6).any(|window| window == b"SELECT"));
}

#[tokio::test]
async fn a_transcript_notices_what_comes_unasked() {
    let cluster = Cluster::distribution();
    let script = transcript::read("== two answers, one read\nQ select 1\nQ select 2\n< Z\n< quiet\n");
    let mut client = RawClient::log_in(cluster.address(), ROLE, ROLE_PASSWORD, "postgres")
        .await
        .unwrap();
    let heard = script[0].play(&mut client).await;
    assert_eq!(heard.len(), 2);
    assert!(
        heard.iter().all(|heard| heard.to_string().contains("SELECT 1")),
        "{heard:#?}"
    );
}

#[tokio::test]
async fn a_crashed_server_comes_back_and_a_dropped_one_leaves_nothing() {
    let cluster = Cluster::start(weir_tests::cluster::Version::Distribution, &[]);
    let folder = cluster.socket_folder().to_owned();
    cluster.crash();
    assert!(RawClient::open(cluster.address()).await.is_err());
    cluster.restart();
    let mut client = RawClient::log_in(cluster.address(), ROLE, ROLE_PASSWORD, "postgres")
        .await
        .unwrap();
    assert_eq!(client.rows("SELECT 1").await, ["1"]);
    drop(cluster);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!folder.exists());
}
