//! The metrics: after real work, the numbers are what happened.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;
use weir_tests::{
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    http::Http,
    metadata::Metadata,
    prometheus::Scrape,
    site::{Plan, Site, database_url, is_direct},
    wire::{RawClient, first_error},
};

const METRICS_SECRET: &str = "canary-metrics-77";
const BOSS_PASSWORD: &str = "canary-boss-5e1";
/// Generous: for a number that never comes.
const HANG: Duration = Duration::from_secs(30);

/// A site whose gateway answers metrics, and has an administrator for its console.
struct Place {
    site: Site,
    gateway: Gateway,
    metrics: Http,
}

impl Place {
    async fn start(pool: Value) -> Option<Place> {
        if is_direct() {
            return None;
        }
        let plan = Plan {
            pool,
            ..Plan::default()
        };
        let site = Site::start(plan.clone()).await;
        let metadata = Place::metadata(&site, &plan);
        let gateway = Gateway::start(&metadata);
        let metrics = Http::new(gateway.http()).with("authorization", &format!("Bearer {METRICS_SECRET}"));
        Some(Place { site, gateway, metrics })
    }

    fn metadata(site: &Site, plan: &Plan) -> Metadata {
        Site::metadata(plan, site.cluster, &site.database, &site.authority)
            .user(json!({ "name": "boss", "password": BOSS_PASSWORD, "sources": [], "role": "admin" }))
            .top_level(
                "admin",
                json!({ "host": "127.0.0.1", "admin_secret": "canary-admin-12", "metrics_secret": METRICS_SECRET }),
            )
    }

    async fn client(&self) -> RawClient {
        RawClient::log_in(self.gateway.address("pg"), ROLE, ROLE_PASSWORD, &self.site.database)
            .await
            .unwrap()
    }

    async fn text(&self) -> String {
        let answer = self.metrics.get("/v1/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text
    }

    async fn scrape(&self) -> Scrape {
        Scrape::read(&self.text().await)
    }

    /// The first scrape of which this is so.
    async fn scrape_until(&self, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
        let wait = async {
            loop {
                let scrape = self.scrape().await;
                if is_so(&scrape) {
                    return scrape;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(HANG, wait).await {
            Ok(scrape) => scrape,
            Err(_) => panic!("it does not come about:\n{}", self.text().await),
        }
    }

    /// One row of SHOW STATS.
    async fn stats(&self) -> impl Fn(&str) -> f64 + use<> {
        let console = cluster::connect(self.gateway.address("pg"), "boss", BOSS_PASSWORD, "weir")
            .await
            .unwrap();
        let answer = console.simple_query("SHOW STATS").await.unwrap();
        let row = answer.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.expect("one pool");
        move |column: &str| row.get(column).expect(column).parse().expect("a number")
    }
}

#[tokio::test]
async fn numbers_are_what_happened() {
    let Some(place) = Place::start(json!({ "max_connections": 2 })).await else {
        return;
    };
    let source = [("source_name", place.site.database.as_str())];
    let with = |label, value| [source[0], (label, value)];
    let (mut one, mut two, mut three, idle) = (
        place.client().await,
        place.client().await,
        place.client().await,
        place.client().await,
    );
    let refused = RawClient::log_in(place.gateway.address("pg"), ROLE, "wrong", &place.site.database).await;
    assert!(refused.is_err());
    for client in [&mut one, &mut two] {
        client.simple("begin").await.unwrap();
        client.simple("select 1").await.unwrap();
    }
    let waiting = tokio::spawn(async move {
        assert_eq!(three.rows("select 'three'").await, ["three"]);
        three
    });
    let scrape = place
        .scrape_until(|scrape| scrape.value("weir_pool_waiting_clients", &source) == 1.0)
        .await;
    let states = |scrape: &Scrape, name| {
        ["idle", "waiting", "active", "pinned"].map(|state| {
            scrape
                .values(name, &with("state", state))
                .first()
                .copied()
                .unwrap_or(0.0)
        })
    };
    assert_eq!(states(&scrape, "weir_client_connections"), [1.0, 1.0, 0.0, 0.0]);
    let thinking = with("state", "idle in transaction");
    assert_eq!(scrape.value("weir_client_connections", &thinking), 2.0);
    assert_eq!(states(&scrape, "weir_pool_connections"), [0.0, 0.0, 2.0, 0.0]);
    assert_eq!(scrape.value("hasura_postgres_connections", &source), 2.0);
    assert_eq!(scrape.value("weir_pool_max_connections", &source), 2.0);
    assert_eq!(scrape.value("weir_pool_up", &source), 1.0);
    let before = scrape;

    // Long enough to be in another bucket than those who need not wait at all.
    tokio::time::sleep(Duration::from_millis(350)).await;
    for client in [&mut one, &mut two] {
        client.simple("commit").await.unwrap();
    }
    let _three = waiting.await.unwrap();
    one.simple("create temp table kept (a int)").await.unwrap();
    for _ in 0..20 {
        two.simple("select 1").await.unwrap();
    }
    let pinned = with("reason", "temporary table");
    let scrape = place
        .scrape_until(|scrape| {
            // A transaction's time is recorded after it has been counted, and both after its client has the answer.
            scrape.values("weir_pinned_clients", &pinned) == [1.0]
                && scrape.value("weir_transaction_seconds_count", &source) >= 24.0
        })
        .await;
    assert_eq!(states(&scrape, "weir_pool_connections")[3], 1.0);
    assert_eq!(scrape.value("weir_pins_total", &pinned), 1.0);
    // two in blocks, one that waited, the table, twenty more
    assert_eq!(scrape.value("weir_transactions_total", &source), 24.0);
    assert_eq!(scrape.value("weir_queries_total", &source), 28.0);
    assert_eq!(scrape.value("weir_transaction_seconds_count", &source), 24.0);
    assert_eq!(scrape.value("weir_query_latency_seconds_count", &source), 28.0);
    // The first login has had one as well, to learn what the server says to a client.
    let leases = scrape.value("weir_pool_leases_total", &source);
    assert!((24.0..=25.0).contains(&leases), "{leases}");
    assert_eq!(scrape.value("hasura_postgres_pool_wait_time_count", &source), leases);
    let waits = scrape.value("weir_pool_waits_total", &source);
    let at_once = scrape.value("hasura_postgres_pool_wait_time_bucket", &with("le", "1e-6"));
    assert_eq!(at_once, leases - waits, "who need not wait waits for no time");
    let long = leases - scrape.value("hasura_postgres_pool_wait_time_bucket", &with("le", "0.3"));
    assert!(long >= 1.0, "the one that waited for the two");
    let opened = scrape.value("weir_server_connections_opened_total", &source);
    assert_eq!(
        scrape.value("hasura_postgres_connection_init_time_count", &source),
        opened
    );

    let of_listener = |result| [("listener", "pg"), ("result", result)];
    assert_eq!(scrape.value("weir_logins_total", &of_listener("accepted")), 4.0);
    assert_eq!(scrape.value("weir_logins_total", &of_listener("refused")), 1.0);
    let wrong = [("listener", "pg"), ("reason", "authentication")];
    assert_eq!(scrape.value("weir_login_refusals_total", &wrong), 1.0);
    assert_eq!(scrape.value("weir_login_seconds_count", &[("listener", "pg")]), 4.0);
    assert!(scrape.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(scrape.value("process_open_fds", &[]) > 6.0);

    // What only goes up has not gone down.
    let after = scrape.counters();
    for (name, value) in before.counters() {
        assert!(after.get(&name).is_some_and(|after| *after >= value), "{name}");
    }
    drop(idle);
    agrees_with_the_console(&place).await;
}

/// Sums are those of SHOW STATS, and the parts of the time are the whole.
async fn agrees_with_the_console(place: &Place) {
    let source = [("source_name", place.site.database.as_str())];
    let stats = place.stats().await;
    let scrape = place.scrape().await;
    for (metric, column) in [
        ("weir_transactions_total", "total_xact_count"),
        ("weir_queries_total", "total_query_count"),
        ("weir_received_bytes_total", "total_received"),
        ("weir_sent_bytes_total", "total_sent"),
        ("weir_pool_leases_total", "total_server_assignment_count"),
    ] {
        assert_eq!(scrape.value(metric, &source), stats(column), "{metric}");
    }
    let is_close = |seconds: f64, micros: f64| (seconds * 1e6 - micros).abs() < 2.0;
    for (metric, column) in [
        ("weir_transaction_seconds_sum", "total_xact_time"),
        ("weir_query_latency_seconds_sum", "total_query_time"),
        ("hasura_postgres_pool_wait_time_sum", "total_wait_time"),
    ] {
        let (seconds, micros) = (scrape.value(metric, &source), stats(column));
        assert!(is_close(seconds, micros), "{metric}: {seconds} s, {micros} µs");
    }
    let part = |part| scrape.value("weir_time_seconds_total", &[source[0], ("part", part)]);
    let within = part("resetting") + part("server") + part("client");
    let transactions = scrape.value("weir_transaction_seconds_sum", &source);
    assert!((within - transactions).abs() < 1e-5, "{within} of {transactions}");
    let waited = part("waiting") + part("connecting");
    let wait_time = scrape.value("hasura_postgres_pool_wait_time_sum", &source);
    // The login's wait was for no transaction.
    assert!(waited >= 0.35 && waited < wait_time + 0.1, "{waited} of {wait_time}");
    assert!(part("client") >= 0.7, "two clients thought for more than 0.35 s each");
    assert!(
        part("connecting") > 0.0,
        "the first two waited for their connections to be opened"
    );
}

#[tokio::test]
async fn both_formats_are_valid_and_without_secrets_whatever_a_source_is_called() {
    let Some(place) = Place::start(json!({})).await else {
        return;
    };
    let plan = Plan::default();
    let url = "postgres://app:canary-url-3@127.0.0.1:1/x?sslmode=disable";
    let metadata = Place::metadata(&place.site, &plan)
        .postgres("a \"quoted\\ name", url.into(), json!({}))
        .source(json!({ "name": "erp", "kind": "mssql", "configuration": { "connection_info": {
            "connection_string": "Driver={ODBC Driver 18 for SQL Server};Server=tcp:127.0.0.1,1;Database=erp;Uid=app;Pwd=canary-odbc-4;" } } }));
    let gateway = Gateway::start(&metadata);
    let http = Http::new(gateway.http()).with("authorization", &format!("Bearer {METRICS_SECRET}"));
    let plain = http.get("/metrics").await.text;
    let open = http
        .clone()
        .with("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let open = open.get("/v1/metrics").await.text;
    assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
    for text in [&plain, &open] {
        assert!(!text.contains("canary"), "{text}");
        let scrape = Scrape::read(text);
        let infos = scrape.labels("hasura_postgres_connections", "conn_info");
        assert!(infos.iter().any(|info| info.contains("127.0.0.1:1/x")), "{infos:?}");
        assert_eq!(scrape.value("hasura_mssql_connections", &[("source_name", "erp")]), 0.0);
        let sources = scrape.labels("weir_pool_up", "source_name");
        assert!(sources.contains("a \"quoted\\ name"), "{sources:?}");
    }
}

#[tokio::test]
async fn who_may_not_ask_is_not_answered() {
    let Some(place) = Place::start(json!({})).await else {
        return;
    };
    let nobody = Http::new(place.gateway.http());
    for (http, expected) in [
        (nobody.clone(), 401),
        (nobody.clone().with("authorization", "Bearer wrong"), 401),
        (nobody.clone().with("authorization", METRICS_SECRET), 401),
        (place.metrics.clone(), 200),
        (nobody.clone().with_secret("canary-admin-12"), 200),
    ] {
        for path in ["/v1/metrics", "/metrics"] {
            assert_eq!(http.get(path).await.status, expected, "{path} {http:?}");
        }
    }
    // The metrics secret opens nothing else.
    assert_eq!(place.metrics.get("/v1alpha1/config").await.status, 401);
}

#[tokio::test]
async fn refusals_and_reloads_are_counted() {
    let Some(place) = Place::start(json!({ "max_connections": 1, "pool_timeout": 1 })).await else {
        return;
    };
    let source = [("source_name", place.site.database.as_str())];
    let (mut one, mut two) = (place.client().await, place.client().await);
    one.simple("begin").await.unwrap();
    let answer = two.simple("select 1").await.unwrap();
    assert!(first_error(&answer).is_some());
    let scrape = place.scrape().await;
    let refusal = [source[0], ("reason", "pool_timeout")];
    assert_eq!(scrape.value("weir_refusals_total", &refusal), 1.0);
    assert_eq!(scrape.value("weir_pool_timeouts_total", &source), 1.0);
    let first = scrape.clone();
    let reloads = |result| [("result", result)];
    assert_eq!(scrape.value("weir_reloads_total", &reloads("refused")), 0.0);
    assert_eq!(scrape.value("weir_last_reload_successful", &[]), 1.0);
    let file = place.gateway.folder().join("gateway.yaml");
    let declared = std::fs::read(&file).unwrap();
    std::fs::write(&file, "listeners: [").unwrap();
    let refused = |scrape: &Scrape| scrape.value("weir_reloads_total", &reloads("refused")) == 1.0;
    let scrape = place.scrape_until(refused).await;
    assert_eq!(scrape.value("weir_last_reload_successful", &[]), 0.0);
    let version = scrape.value("weir_metadata_resource_version", &[]);
    assert_eq!(version, first.value("weir_metadata_resource_version", &[]));
    std::fs::write(&file, declared).unwrap();
    let unchanged = |scrape: &Scrape| scrape.value("weir_reloads_total", &reloads("unchanged")) == 1.0;
    let scrape = place.scrape_until(unchanged).await;
    assert_eq!(scrape.value("weir_last_reload_successful", &[]), 1.0);
}

#[tokio::test]
async fn with_few_labels_the_replicas_of_a_source_are_one() {
    let Some(place) = Place::start(json!({})).await else {
        return;
    };
    let site = &place.site;
    let url = |options: &str| database_url(site.cluster, site.role, &site.database, options);
    let replica = |options: &str| json!({ "database_url": url(options), "pool_settings": { "max_connections": 3 } });
    let source = json!({ "name": "many", "kind": "postgres", "configuration": {
        "connection_info": { "database_url": url("sslmode=disable") },
        "read_replicas": [replica("sslmode=disable"), replica("sslmode=prefer")],
    } });
    let metadata = Place::metadata(site, &Plan::default()).source(source);
    let few = [("HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS", "false")];
    for (environment, expected) in [(&few[..], vec![6.0]), (&[], vec![3.0, 3.0])] {
        let gateway = Gateway::start_with(&metadata, &[], environment);
        let http = Http::new(gateway.http()).with("authorization", &format!("Bearer {METRICS_SECRET}"));
        let scrape = Scrape::read(&http.get("/metrics").await.text);
        let replicas = [("source_name", "many"), ("role", "replica")];
        assert_eq!(scrape.values("weir_pool_max_connections", &replicas), expected);
        assert_eq!(
            scrape.labels("hasura_postgres_connections", "conn_info").contains(""),
            expected.len() == 1
        );
    }
}
