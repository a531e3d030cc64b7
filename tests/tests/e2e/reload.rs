//! The metadata is changed while clients work: what is unchanged goes on, what is changed applies, what is wrong changes
//! nothing (I9).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;
use weir_tests::{
    certificates::Identity,
    clock,
    cluster::{self, Cluster, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    metadata::Metadata,
    site::{Plan, Site, database_url, is_direct, new_name},
    wire::RawClient,
};

/// A change is seen by its file event, gathered for a moment, read and applied. Generous for a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// The site's own metadata, with other pool settings and whatever else.
fn declared(site: &Site, pool: Value) -> Metadata {
    let plan = Plan {
        pool,
        ..Plan::default()
    };
    Site::metadata(&plan, site.cluster, &site.database, &site.authority)
}

fn gateway(site: &Site) -> &Gateway {
    site.gateway.as_ref().expect("these tests need the gateway")
}

/// How often something has been said.
fn said(gateway: &Gateway, what: &str) -> usize {
    gateway.log().matches(what).count()
}

/// Writes metadata and waits until the gateway has said `what` about it.
async fn write_and_wait(gateway: &Gateway, metadata: &Metadata, what: &str) {
    let before = said(gateway, what);
    metadata.write(gateway.folder());
    wait_for(gateway, what, before).await;
}

async fn wait_for(gateway: &Gateway, what: &str, before: usize) {
    wait_long_for(gateway, what, before, SOON).await;
}

async fn wait_long_for(gateway: &Gateway, what: &str, before: usize, limit: Duration) {
    let waited = tokio::time::timeout(limit, async {
        while said(gateway, what) == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what:?} is not said:\n{}", gateway.log());
}

const APPLIED: &str = "metadata applied";
const REFUSED: &str = "the present one stays";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_change_hold_without_anybody_noticing() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 8,
        heavy: true,
        ..Plan::default()
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let (client, stop) = (site.connect().await, stop.clone());
        tasks.push(tokio::spawn(async move {
            let mut asked = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                client
                    .batch_execute("SELECT pg_sleep(0.002)")
                    .await
                    .expect("nothing fails");
                asked += 1;
            }
            asked
        }));
    }
    for limit in [3, 16, 2, 10, 4] {
        write_and_wait(
            gateway(&site),
            &declared(&site, json!({ "max_connections": limit })),
            APPLIED,
        )
        .await;
        // Up or down: it gets there, and stays. How soon is what `reload_load` asks.
        let reached = tokio::time::timeout(SOON, async {
            while site.server_connections().await != limit {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(
            reached.await.is_ok(),
            "64 clients do not come to use {limit} server connections"
        );
        let sampler = site.sampler().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let most = sampler.stop().await;
        assert!(most <= limit, "{most} server connections, the limit is {limit}");
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        assert!(task.await.expect("nothing fails") > 0);
    }
}

/// A build without optimisation reads ten megabytes of YAML for seconds on a machine that has nothing else to do.
const A_LONG_READ: Duration = Duration::from_secs(120);

/// Asks until the metadata are refused once more; how often it was answered.
async fn ask_until(client: &tokio_postgres::Client, gateway: &Gateway, before: usize) -> u32 {
    let mut asked = 0;
    while said(gateway, REFUSED) == before || asked == 0 {
        let answer = tokio::time::timeout(SOON, client.query_one("SELECT 1", &[]));
        let row = answer.await.expect("reading blocks nobody").unwrap();
        assert_eq!(row.get::<_, i32>(0), 1);
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asked
}

/// L2.
#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let gateway = gateway(&site);
    let client = site.connect().await;
    let file = gateway.folder().join("databases/databases.yaml");
    let good = std::fs::read(&file).unwrap();
    let half = good[..good.len() / 2].to_vec();
    let enormous = [b"- name: a\n".repeat(1_000_000), good.clone()].concat();
    let wrong_limit = String::from_utf8(good.clone())
        .unwrap()
        .replace("\"max_connections\": 2", "\"max_connections\": -2");
    let broken: [(&str, Vec<u8>); 6] = [
        ("broken", b"- name: [\n".to_vec()),
        ("half", half),
        ("empty", Vec::new()),
        ("enormous", enormous),
        ("binary", vec![0xff; 1000]),
        ("wrong", wrong_limit.into_bytes()),
    ];
    for (what, content) in broken {
        let before = said(gateway, REFUSED);
        std::fs::write(&file, content).unwrap();
        // While ten megabytes are read, clients are served as ever.
        let refused = wait_long_for(gateway, REFUSED, before, A_LONG_READ);
        let (asked, ()) = tokio::join!(ask_until(&client, gateway, before), refused);
        assert!(asked > 0, "{what}");
        let log = gateway.log();
        assert!(
            log.contains("databases/databases.yaml"),
            "{what}: no place is named:\n{log}"
        );
        assert_eq!(
            client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0),
            1,
            "{what}"
        );
        site.connect().await.batch_execute("SELECT 1").await.expect(what);
    }
    // Reading what is not there is no reason to forget what was.
    let before = said(gateway, REFUSED);
    std::fs::remove_file(&file).unwrap();
    wait_for(gateway, REFUSED, before).await;
    client.batch_execute("SELECT 1").await.unwrap();
    write_and_wait(gateway, &declared(&site, json!({ "max_connections": 3 })), APPLIED).await;
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_source_comes_and_goes() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let gateway = gateway(&site);
    let another = new_name("db");
    site.cluster.create_database(&another).await;
    let connect = || cluster::connect(site.address(), ROLE, ROLE_PASSWORD, &another);
    let refused = connect().await.expect_err("it is not declared yet");
    assert_eq!(refused.code().unwrap().code(), "3D000");

    let url = database_url(site.cluster, ROLE, &another, "sslmode=disable");
    let both = declared(&site, json!({})).postgres(&another, url.into(), json!({ "max_connections": 2 }));
    write_and_wait(gateway, &both, APPLIED).await;
    let (idle, mut busy) = (connect().await.unwrap(), connect().await.unwrap());
    idle.batch_execute("SELECT 1").await.unwrap();
    let transaction = busy.transaction().await.unwrap();
    transaction.batch_execute("CREATE TABLE kept ()").await.unwrap();

    write_and_wait(gateway, &declared(&site, json!({})), APPLIED).await;
    let told = tokio::time::timeout(SOON, async {
        while !idle.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    told.await.expect("an idle client of a removed source is told at once");
    transaction
        .batch_execute("INSERT INTO kept DEFAULT VALUES")
        .await
        .unwrap();
    transaction.commit().await.expect("what had begun ends well");
    assert!(connect().await.is_err());
    let kept = site
        .cluster
        .admin(&another)
        .await
        .query_one("SELECT count(*) FROM kept", &[])
        .await
        .unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
    site.connect()
        .await
        .batch_execute("SELECT 1")
        .await
        .expect("the other source is as it was");
}

/// Another address: the next transaction is there, whatever the client did before; one that runs ends where it is.
#[tokio::test]
async fn a_source_moves() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let other: &'static Cluster = Cluster::eighteen();
    other.create_database(&site.database).await;
    let (client, mut busy) = (site.connect().await, site.connect().await);
    let version = "SHOW server_version_num";
    let before: String = client.query_one(version, &[]).await.unwrap().get(0);
    let transaction = busy.transaction().await.unwrap();
    transaction.batch_execute("CREATE TABLE here ()").await.unwrap();

    let plan = Plan::default();
    let moved = Site::metadata(&plan, other, &site.database, &site.authority);
    write_and_wait(gateway(&site), &moved, APPLIED).await;
    let after: String = client
        .query_one("SELECT current_setting('server_version_num')", &[])
        .await
        .unwrap()
        .get(0);
    assert!(after.starts_with("18") && before != after, "{before} {after}");
    let here: String = transaction.query_one(version, &[]).await.unwrap().get(0);
    assert_eq!(here, before);
    transaction.commit().await.unwrap();
    let after: String = busy
        .query_one("SELECT current_setting('server_version_num')", &[])
        .await
        .unwrap()
        .get(0);
    assert!(after.starts_with("18"), "{after}");
    until_no_server_connection(&site).await;
}

async fn until_no_server_connection(site: &Site) {
    let left = tokio::time::timeout(SOON, async {
        while site.server_connections().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    left.await.expect("nothing is left at the old place");
}

/// Nobody listens at the old place for a client whose next transaction is at the new one; and it is not left to wait for
/// what will never come. Somebody who stays there in a transaction changes nothing about that.
#[tokio::test]
async fn who_listens_is_told_that_the_source_has_moved() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        log: Some("info"),
        ..Plan::default()
    })
    .await;
    let mut busy = site.connect().await;
    let transaction = busy.transaction().await.unwrap();
    let mut listening = site.raw().await;
    listening.simple("listen news").await.unwrap();
    wait_for(gateway(&site), "client needs its server connection no more", 0).await;

    let other: &'static Cluster = Cluster::eighteen();
    other.create_database(&site.database).await;
    let moved = Site::metadata(&Plan::default(), other, &site.database, &site.authority);
    write_and_wait(gateway(&site), &moved, APPLIED).await;
    let told = tokio::time::timeout(SOON, listening.receive()).await;
    let told = told.expect("it is told").unwrap().expect("before it is closed");
    assert_eq!(told.sqlstate(), Some("08006"), "{told}");
    transaction.commit().await.unwrap();
    let mut again = site.raw().await;
    again.simple("listen news; notify news, 'here'").await.unwrap();
}

#[tokio::test]
async fn users_and_their_passwords_change() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let there = site.connect().await;
    let with = |password: &str| {
        let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
        Metadata::new()
            .postgres(&site.database, url.into(), json!({ "max_connections": 2 }))
            .loopback()
            .user(json!({ "name": ROLE, "password": password, "sources": "*" }))
    };
    write_and_wait(gateway(&site), &with("rotated-password"), APPLIED).await;
    let connect = |password: &'static str| cluster::connect(site.address(), ROLE, password, &site.database);
    let old = connect(ROLE_PASSWORD).await.expect_err("the old password is void");
    assert_eq!(old.code().unwrap().code(), "28P01");
    connect("rotated-password").await.expect("the new one counts");
    there.batch_execute("SELECT 1").await.expect("who is in stays in");
    assert!(!gateway(&site).log().contains("rotated-password"));
}

/// A password that is written in the metadata changes, in the database and in the file, and one of them comes first. Who
/// waits meanwhile is served when both are there, in order of arrival, and the console says why it waits.
#[tokio::test]
async fn who_waits_while_a_written_password_is_rotated_is_served_in_order() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let role = new_name("rotated");
    let admin = site.cluster.admin("postgres").await;
    let sql = format!("CREATE ROLE {role} LOGIN IN ROLE {ROLE} PASSWORD 'canary-first'");
    admin.batch_execute(&sql).await.unwrap();
    let with = |password: &str| {
        let url = format!(
            "postgres://{role}:{password}@{}/{}?sslmode=disable",
            site.cluster.address(),
            site.database
        );
        Metadata::new()
            .postgres(
                &site.database,
                url.into(),
                json!({ "max_connections": 1, "connection_lifetime": 1 }),
            )
            .loopback()
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*", "role": "stats" }))
    };
    write_and_wait(gateway(&site), &with("canary-first"), APPLIED).await;
    let console = cluster::connect(site.address(), ROLE, ROLE_PASSWORD, "weir")
        .await
        .unwrap();
    for (password, is_database_first) in [("canary-second", true), ("canary-third", false)] {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(site.connect().await);
        }
        clients[0].batch_execute("SELECT 1").await.unwrap();
        let sql = format!("ALTER ROLE {role} PASSWORD '{password}'");
        match is_database_first {
            true => admin.batch_execute(&sql).await.unwrap(),
            false => write_and_wait(gateway(&site), &with(password), APPLIED).await,
        }
        // The connection that was there has had its time.
        until_no_server_connection(&site).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (number, client) in clients.into_iter().enumerate() {
            let order = order.clone();
            tasks.push(tokio::spawn(async move {
                client.batch_execute("SELECT 1").await.expect("nobody is told no");
                order.lock().push(number);
            }));
            until_waiting(&console, &site.database, number + 1, "password authentication failed").await;
        }
        match is_database_first {
            true => write_and_wait(gateway(&site), &with(password), APPLIED).await,
            false => admin.batch_execute(&sql).await.unwrap(),
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
    }
    assert!(!gateway(&site).log().contains("canary-"), "a secret is in the log");
}

/// As the console tells it.
async fn until_waiting(console: &tokio_postgres::Client, source: &str, count: usize, reason: &str) {
    let is_so = async || {
        let messages = console.simple_query("SHOW WAITS").await.unwrap();
        messages.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let is_told = row.get("reason").is_some_and(|told| told.contains(reason));
                row.get("database") == Some(source) && row.get("cl_waiting") == Some(&*count.to_string()) && is_told
            }
            _ => false,
        })
    };
    let waited = tokio::time::timeout(SOON, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(
        waited.await.is_ok(),
        "{count} clients are not seen to wait for a {reason}"
    );
}

#[tokio::test]
async fn sighup_reads_everything_again() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let gateway = gateway(&site);
    let before = said(gateway, "metadata unchanged");
    gateway.signal("HUP");
    wait_for(gateway, "metadata unchanged", before).await;
    site.connect().await.batch_execute("SELECT 1").await.unwrap();
}

/// A stricter mode whose certificate cannot be used is not served by the old one, nor is the old mode: all of it is
/// refused. With a certificate it applies, and clear text is over.
#[tokio::test]
async fn a_stricter_listener_without_a_certificate_is_refused_as_a_whole() {
    if is_direct() {
        return;
    }
    let plan = Plan {
        tls: Some("prefer"),
        ..Plan::default()
    };
    let site = Site::start(plan).await;
    let gateway = gateway(&site);
    let listener = |identity: &Identity| {
        let ssl = json!({ "sslmode": "require", "sslcert": identity.certificate, "sslkey": identity.key });
        let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
        Metadata::new()
            .postgres(&site.database, url.into(), json!({ "max_connections": 1 }))
            .listener(
                json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0, "ssl_configuration": ssl }),
            )
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
    };
    let good = site.authority.issue("localhost", &["localhost"]);
    let another = site.authority.issue("localhost", &["localhost"]);
    let unfit = Identity {
        key: another.key,
        ..good.clone()
    };
    write_and_wait(gateway, &listener(&unfit), REFUSED).await;
    let log = gateway.log();
    assert!(log.contains("listener pg") && log.contains("sslkey"), "{log}");
    site.connect()
        .await
        .batch_execute("SELECT 1")
        .await
        .expect("what applied before still applies");

    write_and_wait(gateway, &listener(&good), APPLIED).await;
    let address = site.address();
    let parameters = [("user", ROLE), ("database", site.database.as_str())];
    let clear = RawClient::log_in(address, ROLE, ROLE_PASSWORD, &site.database).await;
    let refused = clear.expect_err("TLS is required now").to_string();
    assert!(refused.starts_with("28000"), "{refused}");
    let tls = site.tls();
    let secured = RawClient::log_in_with(address, &tls, ROLE_PASSWORD, 0, &parameters);
    assert_eq!(secured.await.unwrap().rows("select 'secured'").await, ["secured"]);
}

/// What a session on the console may do is what its user may do now.
#[tokio::test]
async fn an_administrator_who_is_demoted_may_do_no_more_than_others() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let boss = |role: Option<&str>| {
        let user = |role: &str| json!({ "name": "boss", "password": "boss", "sources": "*", "role": role });
        let metadata = declared(&site, json!({}));
        role.map_or(metadata.clone(), |role| metadata.user(user(role)))
    };
    let write = async |role| write_and_wait(gateway(&site), &boss(role), APPLIED).await;
    write(Some("admin")).await;
    let console = cluster::connect(site.address(), "boss", "boss", "weir").await.unwrap();
    let denied = async |command: &str| match console.simple_query(command).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error}");
            true
        }
    };
    assert!(!denied("RESUME").await && !denied("SHOW POOLS").await);
    write(Some("stats")).await;
    assert!(denied("RESUME").await && !denied("SHOW POOLS").await);
    write(Some("support")).await;
    assert!(denied("RESUME").await && denied("SHOW POOLS").await);
    write(Some("admin")).await;
    assert!(!denied("RESUME").await);
    write(None).await;
    assert!(denied("RESUME").await && denied("SHOW POOLS").await);
}

/// An editor empties a file before it fills it. No source is what nobody has declared.
#[tokio::test]
async fn a_file_that_is_being_written_is_read_when_it_is_written() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let gateway = gateway(&site);
    write_and_wait(gateway, &without_overlay(&site), APPLIED).await;
    let client = site.connect().await;
    let file = gateway.folder().join("databases/databases.yaml");
    let content = std::fs::read(&file).unwrap();
    for _ in 0..5 {
        let before = said(gateway, "metadata unchanged");
        std::fs::write(&file, []).unwrap();
        gateway.signal("HUP");
        tokio::time::sleep(Duration::from_millis(30)).await;
        std::fs::write(&file, &content).unwrap();
        wait_for(gateway, "metadata unchanged", before).await;
        client.batch_execute("SELECT 1").await.expect("it is declared");
    }
    assert!(!gateway.log().contains("source removed"), "{}", gateway.log());
}

/// For longer than anybody waits for them to rest. Each state in between is one that nobody has declared.
#[tokio::test]
async fn files_that_never_rest_remove_nothing() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let gateway = gateway(&site);
    write_and_wait(gateway, &without_overlay(&site), APPLIED).await;
    let client = site.connect().await;
    let file = gateway.folder().join("databases/databases.yaml");
    let content = std::fs::read(&file).unwrap();
    let began = clock::now();
    while began.elapsed() < Duration::from_secs(12) {
        let emptied = clock::now();
        std::fs::write(&file, []).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::fs::write(&file, &content).unwrap();
        if emptied.elapsed() > Duration::from_secs(1) {
            // This machine has other things to do; an empty file that rests may be meant.
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.batch_execute("SELECT 1").await.expect("it is declared");
    }
    assert!(!gateway.log().contains("source removed"), "{}", gateway.log());
    let wider = String::from_utf8(content)
        .unwrap()
        .replace("\"max_connections\": 1", "\"max_connections\": 2");
    let before = said(gateway, APPLIED);
    std::fs::write(&file, wider).unwrap();
    wait_long_for(gateway, APPLIED, before, A_LONG_READ).await;
}

/// Without a word in `gateway.yaml` that would be wrong if the source were not declared.
fn without_overlay(site: &Site) -> Metadata {
    let url = database_url(site.cluster, ROLE, &site.database, "sslmode=disable");
    Metadata::new()
        .postgres(&site.database, url.into(), json!({ "max_connections": 1 }))
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
        .top_level(
            "admin",
            json!({ "host": "127.0.0.1", "admin_secret": "canary-being-written" }),
        )
}
