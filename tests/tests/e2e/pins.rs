//! A client that keeps its server connection: what it is told (`pin_notice`).

use serde_json::json;
use weir_tests::{
    site::{Plan, Site, is_direct},
    wire::Message,
};

fn notices(messages: &[Message]) -> Vec<String> {
    let notices = messages.iter().filter(|message| message.tag == b'N');
    let text = |message: &Message| {
        let field = |code| message.field(code).unwrap_or_default().to_owned();
        field(b'M') + " / " + &field(b'H')
    };
    notices.map(text).collect()
}

#[tokio::test]
async fn a_client_is_told_why_it_keeps_its_connection_if_its_source_says_so() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        overlay: json!({ "pin_notice": true }),
        ..Plan::default()
    })
    .await;
    let mut client = site.raw().await;
    let mut told = client.simple("select pg_advisory_lock(4711)").await.unwrap();
    // The notice comes behind the answer, when the database has confirmed it.
    told.extend(client.drain(std::time::Duration::from_millis(300)).await.unwrap());
    let told = notices(&told);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("keeps its server connection: session advisory lock"),
        "{told:?}"
    );
    assert!(
        told[0].contains("pg_advisory_xact_lock"),
        "what to do instead: {told:?}"
    );
    assert!(!told[0].contains("4711"));

    let mut told = client.simple("select pg_advisory_unlock(4711)").await.unwrap();
    told.extend(client.drain(std::time::Duration::from_millis(300)).await.unwrap());
    let told = notices(&told);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("needs its server connection no more"), "{told:?}");
    assert_eq!(client.rows("select 1").await, ["1"]);
}

#[tokio::test]
async fn nobody_is_told_unasked() {
    let site = Site::start(Plan::default()).await;
    let mut client = site.raw().await;
    let mut told = client.simple("select pg_advisory_lock(1)").await.unwrap();
    told.extend(client.drain(std::time::Duration::from_millis(300)).await.unwrap());
    assert_eq!(notices(&told), Vec::<String>::new());
}
