//! Which of several idle server connections a client gets (S7.5): its own, else one with its settings, else the most
//! recently used.

use std::time::Duration;

use weir_tests::{
    cluster::ROLE_PASSWORD,
    site::{Plan, Site, is_direct},
    wire::{self, RawClient},
};

async fn log_in(site: &Site, settings: &[(&str, &str)]) -> RawClient {
    let parameters = [&[("user", site.role), ("database", &*site.database)], settings].concat();
    RawClient::log_in_with(site.address(), &wire::Security::Clear, ROLE_PASSWORD, 0, &parameters)
        .await
        .unwrap()
}

/// The server process that answers, once it rests again.
async fn process(client: &mut RawClient) -> String {
    let process = client.rows("select pg_backend_pid()").await.remove(0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    process
}

/// Opens as many server connections as there are clients, one for each.
async fn part<const N: usize>(clients: &mut [RawClient; N]) {
    for client in clients.iter_mut() {
        client.simple("begin; select 1").await.unwrap();
    }
    for client in clients.iter_mut() {
        client.simple("commit").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[tokio::test]
async fn clients_that_take_turns_keep_their_connections() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 4,
        ..Plan::default()
    })
    .await;
    let mut clients = [site.raw().await, site.raw().await, site.raw().await];
    part(&mut clients).await;
    let mut seen = Vec::new();
    for client in &mut clients {
        seen.push(process(client).await);
    }
    assert!(
        seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2],
        "{seen:?}"
    );
    for round in 0..40 {
        for (client, expected) in clients.iter_mut().zip(&seen) {
            assert_eq!(&process(client).await, expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_connection_with_the_clients_settings_is_found_by_whoever_has_them() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 3,
        ..Plan::default()
    })
    .await;
    let (utc, tokyo) = ([("timezone", "UTC")], [("TimeZone", "Asia/Tokyo")]);
    let mut clients = [log_in(&site, &utc).await, log_in(&site, &tokyo).await];
    part(&mut clients).await;
    let in_utc = process(&mut clients[0]).await;
    let in_tokyo = process(&mut clients[1]).await;
    assert_ne!(in_utc, in_tokyo);
    // The connection used last is the one in Tokyo.
    for _ in 0..5 {
        let mut another = log_in(&site, &utc).await;
        assert_eq!(process(&mut another).await, in_utc);
        let mut another = log_in(&site, &tokyo).await;
        assert_eq!(process(&mut another).await, in_tokyo);
    }
    // Also if it has got its settings only now, and after a time that is too long for its own to be kept in mind.
    let mut converted = log_in(&site, &utc).await;
    converted.simple("set timezone = 'Asia/Tokyo'").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    process(&mut clients[0]).await;
    assert_eq!(converted.rows("show timezone").await, ["Asia/Tokyo"]);
    let alike = process(&mut converted).await;
    assert_ne!(alike, process(&mut clients[0]).await, "not the one that was used last");
}
