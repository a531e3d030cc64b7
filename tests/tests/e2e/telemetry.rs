//! OpenTelemetry: what a collector gets, and what becomes of the gateway when it gets nothing.

use std::{collections::BTreeMap, time::Duration};

use weir_tests::{
    clock,
    cluster::{ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    http::Http,
    otlp::{Collector, Delivery, Message},
    site::{Plan, Site, is_direct},
    wire::RawClient,
};

/// Generous: for telemetry that never comes.
const HANG: Duration = Duration::from_secs(30);

async fn start(site: &Site, collector: &Collector, more: &[(&str, &str)]) -> Gateway {
    let endpoint = format!("http://{}", collector.address);
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-canary=canary-otlp-5"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
    ];
    environment.extend(more);
    let plan = Plan {
        connections: 1,
        ..Plan::default()
    };
    let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority);
    Gateway::start_with(&metadata, &[], &environment)
}

/// The first messages to this path of which this is so.
async fn wait_for(collector: &Collector, path: &str, is_so: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
    let wait = async {
        loop {
            let deliveries = collector.deliveries(path);
            if is_so(&deliveries) {
                return deliveries;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(HANG, wait).await;
    waited.unwrap_or_else(|_| panic!("{path}: {:?}", collector.deliveries(path).len()))
}

/// The resource's attributes, and what the only scope holds.
fn content(delivery: &Delivery) -> (BTreeMap<String, String>, Vec<Message>) {
    let of_resource = Message::read(&delivery.body).one(1);
    (of_resource.one(1).attributes(1), of_resource.one(2).all(2))
}

fn spans(deliveries: &[Delivery]) -> Vec<Message> {
    deliveries.iter().flat_map(|delivery| content(delivery).1).collect()
}

#[tokio::test]
async fn a_collector_gets_spans_of_logins_and_transactions_and_all_metrics() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let collector = Collector::start(200, Duration::ZERO).await;
    let mut gateway = start(&site, &collector, &[]).await;
    let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    client.simple("select 'canary-constant-8'").await.unwrap();
    let mut other = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    client.simple("begin").await.unwrap();
    let waiting = tokio::spawn(async move { other.rows("select 9").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.simple("select 2").await.unwrap();
    client.simple("commit").await.unwrap();
    assert_eq!(waiting.await.unwrap(), ["9"]);
    let of_name = |spans: &[Message], name: &str| -> Vec<Message> {
        spans.iter().filter(|span| span.text(5) == name).cloned().collect()
    };
    let arrived = wait_for(&collector, "/v1/traces", |deliveries| {
        of_name(&spans(deliveries), "transaction").len() == 3
    });
    let arrived = arrived.await;
    for delivery in &arrived {
        assert_eq!(delivery.headers["content-type"], "application/x-protobuf");
        assert_eq!(delivery.headers["x-canary"], "canary-otlp-5");
        let (resource, _) = content(delivery);
        assert_eq!(resource["service.name"], "weir");
        assert_eq!(resource["deployment.environment"], "test");
    }
    let all = spans(&arrived);
    let transactions = of_name(&all, "transaction");
    let attributes = transactions.iter().map(|span| span.attributes(9));
    let block = attributes.clone().find(|attributes| attributes["weir.queries"] == "3");
    let block = block.expect("the block of three statements");
    assert_eq!(block["weir.source"], site.database);
    assert_eq!(
        (block["weir.role"].as_str(), block["weir.queries"].as_str()),
        ("primary", "3")
    );
    let seconds = |part: &str| block[&format!("weir.time.{part}")].parse::<f64>().unwrap();
    assert!(seconds("client") >= 0.05 && seconds("server") > 0.0, "{block:?}");
    for span in &all {
        assert_eq!((span.bytes(1)[0].len(), span.bytes(2)[0].len()), (16, 8));
        assert!(span.number(7) > 1_600_000_000_000_000_000 && span.number(8) >= span.number(7));
    }
    // The other had to wait for the end of the block.
    let wait = of_name(&all, "wait for a server connection");
    let wait = wait.last().expect("somebody waited");
    let whole = transactions.iter().find(|span| span.bytes(2) == wait.bytes(4));
    let whole = whole.expect("it is below a transaction");
    assert_eq!(wait.bytes(1), whole.bytes(1), "of the same trace");
    assert!(whole.attributes(9)["weir.time.waiting"].parse::<f64>().unwrap() > 0.02);
    assert_eq!(of_name(&all, "login").len(), 2);
    metrics(&collector, &site.database).await;
    assert!(gateway.stop(HANG).is_some());
    for delivery in [collector.deliveries("/v1/traces"), collector.deliveries("/v1/metrics")].concat() {
        let body = String::from_utf8_lossy(&delivery.body);
        assert!(!body.contains("canary") && !body.contains("select"), "{body}");
        assert!(!body.contains(ROLE_PASSWORD));
    }
}

async fn metrics(collector: &Collector, source: &str) {
    let find = |metrics: &[Message], name: &str| metrics.iter().find(|metric| metric.text(1) == name).cloned();
    let transactions = |metrics: &[Message]| {
        let points = find(metrics, "weir_transactions").map(|metric| metric.one(7).all(1));
        points.into_iter().flatten().map(|point| point.double(4)).sum::<f64>()
    };
    let arrived = wait_for(collector, "/v1/metrics", |deliveries| {
        deliveries
            .last()
            .is_some_and(|last| transactions(&content(last).1) == 3.0)
    });
    let (_, metrics) = content(arrived.await.last().unwrap());
    let sum = find(&metrics, "weir_transactions").unwrap().one(7);
    assert_eq!((sum.number(2), sum.number(3)), (2, 1), "cumulative and monotonic");
    assert_eq!(sum.all(1)[0].attributes(7)["source_name"], source);
    let latency = find(&metrics, "weir_query_latency_seconds").unwrap();
    assert_eq!(latency.text(3), "s");
    let point = &latency.one(9).all(1)[0];
    let (counts, bounds) = (point.packed(6), point.packed(7));
    assert_eq!(counts.len(), bounds.len() + 1);
    assert_eq!(counts.iter().sum::<u64>(), point.number(4));
    assert_eq!(point.number(4), 5, "five statements");
    assert!(f64::from_bits(bounds[0]) == 0.0001 && point.double(5) > 0.0);
    assert!(find(&metrics, "hasura_postgres_connections").is_some());
    assert!(find(&metrics, "process_resident_memory_bytes").unwrap().one(5).all(1)[0].double(4) > 1e6);
}

#[tokio::test]
async fn a_collector_that_refuses_or_hangs_costs_a_line_and_holds_nothing_up() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    for (status, delay) in [(503, Duration::ZERO), (200, Duration::from_secs(3600))] {
        let collector = Collector::start(status, delay).await;
        let mut gateway = start(&site, &collector, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "500")]).await;
        let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
            .await
            .unwrap();
        for _ in 0..100 {
            client.simple("select 1").await.unwrap();
        }
        wait_for(&collector, "/v1/metrics", |deliveries| deliveries.len() >= 3).await;
        let said = gateway.log().matches("the collector does not take telemetry").count();
        assert!((1..=2).contains(&said), "one line for each signal:\n{}", gateway.log());
        drop(client);
        let began = clock::now();
        assert!(gateway.stop(HANG).is_some());
        assert!(clock::now() - began < Duration::from_secs(15), "it waits for nobody");
        assert!(!gateway.log().contains("canary"), "{}", gateway.log());
    }
}

/// Hasura's file, as its command line writes it.
fn file(collector: &Collector, data_types: &str) -> String {
    let address = collector.address;
    format!(
        "status: enabled\ndata_types: [{data_types}]\nexporter_otlp:\n  headers:\n    - name: x-canary\n      value: canary-otlp-6\n  \
         otlp_metrics_endpoint: http://{address}/of/metrics\n  otlp_traces_endpoint: http://{address}/of/traces\n  \
         protocol: http/protobuf\n  resource_attributes:\n    - name: stage\n      value: production\n"
    )
}

#[tokio::test]
async fn hasura_s_file_says_where_telemetry_goes_and_is_followed() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let (collector, other) = (
        Collector::start(200, Duration::ZERO).await,
        Collector::start(200, Duration::ZERO).await,
    );
    let metadata = Site::metadata(&Plan::default(), site.cluster, &site.database, &site.authority);
    let environment = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
    ];
    let gateway = Gateway::start_with(&metadata, &[], &environment);
    let path = gateway.folder().join("opentelemetry.yaml");
    let http = Http::new(gateway.http());
    let config = async || http.get("/v1alpha1/config").await.json()["telemetry"].clone();
    assert!(config().await["metrics"].is_null(), "{}", config().await);

    std::fs::write(&path, file(&collector, "metrics")).unwrap();
    let arrived = wait_for(&collector, "/of/metrics", |deliveries| !deliveries.is_empty()).await;
    assert_eq!(arrived[0].headers["x-canary"], "canary-otlp-6");
    let (resource, _) = content(&arrived[0]);
    assert_eq!(
        (resource["stage"].as_str(), resource["service.name"].as_str()),
        ("production", "weir")
    );
    let told = config().await;
    assert_eq!(
        told["metrics"]["endpoint"]["value"],
        format!("http://{}/of/metrics", collector.address)
    );
    assert_eq!(told["metrics"]["endpoint"]["set_in"], "opentelemetry.yaml:7:26");
    assert_eq!(told["metrics"]["headers"], serde_json::json!(["x-canary"]));
    assert_eq!(told["sample"]["set_in"], "environment variable OTEL_TRACES_SAMPLER");
    assert!(
        told["traces"].is_null() && !told.to_string().contains("canary-otlp-6"),
        "{told}"
    );

    // Elsewhere, and more of it; what went to the former place does not any more.
    std::fs::write(&path, file(&other, "traces, metrics")).unwrap();
    wait_for(&other, "/of/metrics", |deliveries| !deliveries.is_empty()).await;
    let before = collector.deliveries("/of/metrics").len();
    let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, &site.database)
        .await
        .unwrap();
    client.simple("select 1").await.unwrap();
    let is_there = |deliveries: &[Delivery]| spans(deliveries).iter().any(|span| span.text(5) == "transaction");
    wait_for(&other, "/of/traces", is_there).await;

    // A file that is wrong is refused, and the former one goes on.
    std::fs::write(&path, "status: enabled\ndata_types: [traces]\n").unwrap();
    let refused = async {
        while !gateway.log().contains("metadata refused") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, refused).await.expect("the file is refused");
    let so_far = other.deliveries("/of/metrics").len();
    wait_for(&other, "/of/metrics", |deliveries| deliveries.len() > so_far).await;

    std::fs::write(&path, "status: disabled\n").unwrap();
    let ended = async {
        while !config().await["traces"].is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, ended)
        .await
        .expect("nothing is sent any more");
    client.simple("select 2").await.unwrap();
    // The last one of the former task may have been under way.
    assert!(collector.deliveries("/of/metrics").len() <= before + 1);
    assert!(!gateway.log().contains("canary"), "{}", gateway.log());
}

#[tokio::test]
async fn variables_that_are_wrong_are_told_and_nothing_is_sent() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let collector = Collector::start(200, Duration::ZERO).await;
    let gateway = start(&site, &collector, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).await;
    assert!(
        gateway.log().contains("only http/protobuf is spoken"),
        "{}",
        gateway.log()
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(collector.deliveries("/v1/metrics").is_empty());
}
