//! Hasura's `opentelemetry.yaml`.

use weir_config::*;

use crate::common::{directory, problems};

const DATABASES: &str =
    "- {name: s, kind: postgres, configuration: {connection_info: {database_url: \"postgres://u:p@h/d\"}}}\n";

/// As Hasura's documentation shows it.
const DOCUMENTED: &str = "\
status: enabled
data_types:
  - traces
  - metrics
exporter_otlp:
  headers:
    - name: x-test-header
      value: testing
    - name: x-header-from-env
      value_from_env: TEST_ENV_VAR
  resource_attributes:
    - name: stage
      value: production
    - name: region
      value: us-east
  otlp_traces_endpoint: http://{{COLLECTOR}}:4318/v1/traces
  otlp_metrics_endpoint: http://host.docker.internal:4318/v1/metrics
  protocol: http/protobuf
  traces_propagators: [b3, tracecontext]
batch_span_processor:
  max_export_batch_size: 512
";

const ENVIRONMENT: [(&str, &str); 2] = [("TEST_ENV_VAR", "canary-header"), ("COLLECTOR", "collector.internal")];

fn loaded(text: &str) -> Loaded {
    let directory = directory(&[
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", DATABASES),
        ("opentelemetry.yaml", text),
    ]);
    load(directory.path(), &ENVIRONMENT.as_slice(), false)
}

#[test]
fn what_hasura_documents_is_understood() {
    let loaded = loaded(DOCUMENTED);
    assert_eq!(problems(&loaded), "");
    let telemetry = &loaded.metadata.telemetry;
    let traces = telemetry.traces.as_ref().unwrap();
    assert_eq!(traces.url.expose(), "http://collector.internal:4318/v1/traces");
    assert_eq!(traces.set_in, "opentelemetry.yaml:16:25");
    assert_eq!(
        telemetry.metrics.as_ref().unwrap().url.expose(),
        "http://host.docker.internal:4318/v1/metrics"
    );
    let headers: Vec<_> = telemetry
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose().as_str()))
        .collect();
    assert_eq!(
        headers,
        [("x-test-header", "testing"), ("x-header-from-env", "canary-header")]
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        telemetry.resource_attributes,
        [pair("stage", "production"), pair("region", "us-east")]
    );
    assert_eq!(telemetry.max_export_batch_size, Some(512));
    assert!(!format!("{telemetry:?}").contains("canary"));
}

#[test]
fn the_key_of_a_single_file_is_the_same() {
    let text = serde_json::json!({
        "version": 3,
        "sources": [],
        "opentelemetry": {
            "status": "enabled",
            "data_types": ["traces"],
            "exporter_otlp": { "otlp_traces_endpoint": "https://collector/v1/traces" },
        },
    });
    for text in [
        text.clone(),
        serde_json::json!({ "resource_version": 4, "metadata": text }),
    ] {
        let directory = directory(&[("metadata.json", &text.to_string())]);
        let loaded = load(&directory.path().join("metadata.json"), &ENVIRONMENT.as_slice(), false);
        let telemetry = &loaded.metadata.telemetry;
        assert_eq!(
            telemetry.traces.as_ref().unwrap().url.expose(),
            "https://collector/v1/traces"
        );
        assert_eq!(telemetry.metrics, None);
    }
}

#[test]
fn what_is_disabled_is_not_looked_at() {
    let wrong =
        "exporter_otlp: {otlp_traces_endpoint: \"{{NOT_SET}}\", headers: [{name: a, value_from_env: NOT_SET}]}\n";
    for text in [
        "",
        "{}\n",
        wrong,
        &format!("status: disabled\ndata_types: [traces]\n{wrong}"),
    ] {
        let loaded = loaded(text);
        assert_eq!(problems(&loaded), "", "{text}");
        assert_eq!(loaded.metadata.telemetry, Telemetry::default(), "{text}");
    }
}

#[test]
fn what_is_wrong_sends_nothing_and_disturbs_no_source() {
    let traces = |exporter: &str| format!("status: enabled\ndata_types: [traces]\nexporter_otlp: {exporter}\n");
    for (text, expected) in [
        ("status: on".to_owned(), "1:9: error: status"),
        (
            "status: enabled\ndata_types: [spans]".to_owned(),
            "2:14: error: data_types: \"spans\" is none of traces, metrics, logs",
        ),
        (
            traces("{}"),
            "2:14: error: traces are to be sent, and otlp_traces_endpoint of exporter_otlp is missing",
        ),
        (
            traces("{otlp_traces_endpoint: \"grpc://canary:4317\"}"),
            "3:39: error: otlp_traces_endpoint must be a URL that begins with http:// or https://",
        ),
        (
            traces("{otlp_traces_endpoint: \"http://{{NOT_SET}}\"}"),
            "3:39: error: environment variable 'NOT_SET' not set",
        ),
        (
            traces("{otlp_traces_endpoint: \"http://{{canary\"}"),
            "3:39: error: otlp_traces_endpoint: a {{ has no }}",
        ),
        (
            traces("{otlp_traces_endpoint: \"http://h\", protocol: grpc}"),
            "error: protocol: only http/protobuf is spoken",
        ),
        (
            traces("{otlp_traces_endpoint: \"http://h\", headers: [{name: a}]}"),
            "error: a header has either value or value_from_env",
        ),
        (
            traces(
                "{otlp_traces_endpoint: \"http://h\", headers: [{name: a, value: canary, value_from_env: TEST_ENV_VAR}]}",
            ),
            "error: a header has either value or value_from_env",
        ),
        (
            traces("{otlp_traces_endpoint: \"http://h\", headers: [{name: a, value_from_env: NOT_SET}]}"),
            "error: environment variable 'NOT_SET' not set",
        ),
        (
            format!(
                "{}batch_span_processor: {{max_export_batch_size: 0}}\n",
                traces("{otlp_traces_endpoint: \"http://h\"}")
            ),
            "error: max_export_batch_size must be",
        ),
        ("[".to_owned(), "error: "),
    ] {
        let loaded = loaded(&text);
        let said = problems(&loaded);
        assert!(said.contains(expected) && !said.contains("canary"), "{text}\n{said}");
        assert_eq!(loaded.metadata.telemetry, Telemetry::default(), "{text}");
        assert_eq!(loaded.metadata.sources.len(), 1, "{text}");
        let errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        errors.for_each(|problem| assert_eq!(problem.subject, Subject::Telemetry, "{problem}"));
    }
}

#[test]
fn logs_are_said_not_to_be_sent() {
    let loaded =
        loaded("status: enabled\ndata_types: [logs]\nexporter_otlp: {otlp_logs_endpoint: \"http://h/v1/logs\"}\n");
    assert_eq!(
        problems(&loaded),
        "opentelemetry.yaml:2:14: info: data_types: logs are not sent; they are on standard output\n"
    );
}
