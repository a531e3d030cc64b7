//! What a source says besides addresses and pools, and how sources get along with each other.

use std::time::Duration;

use weir_config::*;

use crate::common::*;

const INFO: &str = "configuration: {connection_info: {database_url: postgres://u@h/d}}";

fn lines(loaded: &Loaded) -> String {
    problems(loaded).replace("databases/databases.yaml:", "")
}

#[test]
fn kinds() {
    for (kind, expected, message) in [
        ("postgres", Some(SourceKind::Postgres), ""),
        ("pg", Some(SourceKind::Postgres), ""),
        ("citus", Some(SourceKind::Citus), ""),
        ("cockroach", Some(SourceKind::Cockroach), ""),
        (
            "alloy",
            Some(SourceKind::Postgres),
            "2:9: warning: kind alloy is treated as postgres\n",
        ),
        (
            "bigquery",
            None,
            "1:3: info: source \"s\" is of kind bigquery, which the gateway does not serve: skipped\n",
        ),
        (
            "mysql8",
            None,
            "1:3: info: source \"s\" is of kind mysql8, which the gateway does not serve: skipped\n",
        ),
        (
            "mysql",
            None,
            "1:3: info: source \"s\" is of kind mysql, which the gateway does not serve: skipped\n",
        ),
        (
            "snowflake",
            None,
            "1:3: info: source \"s\" is of kind snowflake, which the gateway does not serve: skipped\n",
        ),
        (
            "postgress",
            None,
            "2:9: error: kind: \"postgress\" is not known, did you mean `postgres`?\n",
        ),
        (
            "postgresql",
            None,
            "2:9: error: kind: \"postgresql\" is not known, did you mean `postgres`?\n",
        ),
        (
            "5",
            None,
            "2:9: error: kind must be a string, got 5: put it in quotes\n",
        ),
    ] {
        let loaded = databases(&format!("- name: s\n  kind: {kind}\n  {INFO}\n"), &[]);
        assert_eq!(lines(&loaded), message, "{kind}");
        assert_eq!(
            loaded.metadata.sources.first().map(|source| source.kind),
            expected,
            "{kind}"
        );
    }
}

#[test]
fn one_bad_source_never_affects_another() {
    let list = format!(
        "- name: a\n  {INFO}\n- name: b\n  configuration: {{connection_info: {{database_url: {{from_env: NOPE}}, pool_settings: {{retries: x}}}}}}\n- 5\n- kind: postgres\n  {INFO}\n- name: c\n- name: d\n  {INFO}\n"
    );
    let loaded = databases(&list, &[]);
    let names: Vec<_> = loaded
        .metadata
        .sources
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(names, ["a", "d"]);
    let inconsistent: Vec<_> = loaded
        .metadata
        .inconsistent
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(inconsistent, ["b", "source 3", "source 4", "c"]);
    assert_eq!(
        lines(&loaded),
        "4:51: error: environment variable 'NOPE' not set\n\
         4:94: error: retries must be a number, got the string \"x\"\n\
         5:3: error: a source must be a mapping, got a number\n\
         6:3: error: the source has no name\n\
         8:3: error: the source has no configuration\n"
    );
    let b = &loaded.metadata.inconsistent[0];
    assert_eq!(
        b.reason,
        "databases/databases.yaml:4:51: environment variable 'NOPE' not set; databases/databases.yaml:4:94: retries must be a number, got the string \"x\""
    );
    assert_eq!(b.database_names, ["b"]);
    let of_b: Vec<_> = loaded
        .problems
        .iter()
        .filter(|problem| problem.source() == Some("b"))
        .collect();
    assert_eq!(of_b.len(), 2);
}

#[test]
fn names_are_unique() {
    let loaded = databases(&format!("- name: a\n  {INFO}\n- name: a\n  {INFO}\n"), &[]);
    assert_eq!(
        lines(&loaded),
        "3:9: error: multiple declarations exist for the following source: \"a\" (first at 1:9)\n"
    );
    assert_eq!(
        (loaded.metadata.sources.len(), loaded.metadata.inconsistent.len()),
        (1, 1)
    );
    assert!(loaded.metadata.inconsistent[0].database_names.is_empty());

    let gateway = "sources:\n- {name: b, database_names: [b, a]}\n- {name: c, database_names: [x@primary]}\n";
    let loaded = both(
        &format!("- name: a\n  {INFO}\n- name: b\n  {INFO}\n- name: c\n  {INFO}\n"),
        Some(gateway),
        &[],
    );
    assert_eq!(
        problems(&loaded),
        "gateway.yaml:2:33: error: the database name \"a\" already belongs to source \"a\" (databases/databases.yaml:1:9)\n\
         gateway.yaml:3:30: error: the database name \"x@primary\" contains \"@\", which separates the name from @primary, @read_replicas and the connection set\n"
    );
    assert_eq!(loaded.metadata.inconsistent[0].database_names, ["b"]);
}

#[test]
fn names_may_come_from_the_environment() {
    let loaded = databases(
        &format!("- name: {{from_env: NAME}}\n  {INFO}\n"),
        &[("NAME", "envied")],
    );
    assert_eq!(lines(&loaded), "");
    assert_eq!(source(&loaded, "envied").database_names, ["envied"]);
}

#[test]
fn unknown_keys_of_a_source() {
    for (key, message) in [
        (
            "gateway: {}",
            "2:3: error: unknown key \"gateway\" on source \"s\" (Hasura's CLI would drop it): put it under configuration.gateway or in gateway.yaml",
        ),
        (
            "pool_mode: session",
            "2:3: error: unknown key \"pool_mode\" on source \"s\" (Hasura's CLI would drop it): put it under configuration.gateway or in gateway.yaml",
        ),
        (
            "owner: me",
            "2:3: warning: unknown key \"owner\" on source \"s\" (Hasura's CLI would drop it): put it under configuration.gateway or in gateway.yaml",
        ),
        (
            "customisation: {}",
            "2:3: warning: unknown key \"customisation\" on source \"s\", did you mean \"customization\"?",
        ),
        (
            "x: {from_env: HIDDEN}",
            "2:3: warning: unknown key \"x\" on source \"s\" (Hasura's CLI would drop it): put it under configuration.gateway or in gateway.yaml",
        ),
    ] {
        let loaded = databases(&format!("- name: s\n  {key}\n  {INFO}\n"), &[]);
        assert_eq!(lines(&loaded), format!("{message}\n"));
    }
    let loaded = databases(
        "- name: s\n  configuration:\n    conection_info: {}\n    connection_info: {database_url: postgres://u@h/d, databse: 1}\n",
        &[],
    );
    assert_eq!(
        lines(&loaded),
        "3:5: warning: unknown key \"conection_info\" in configuration, did you mean \"connection_info\"?\n\
         4:55: warning: unknown key \"databse\" in connection_info is ignored\n"
    );
}

#[test]
fn the_graphql_side_is_tolerated_and_what_is_checked_is_checked() {
    let loaded = databases(
        &format!(
            "- name: s\n  {INFO}\n  tables: 5\n  functions: {{a: b}}\n  native_queries: null\n  customization: {{naming_convention: graphql-defualt, root_fields: {{prefx: x}}}}\n  query_tags: {{format: standart, disabled: 1}}\n"
        ),
        &[],
    );
    assert_eq!(
        lines(&loaded),
        "6:38: error: naming_convention: \"graphql-defualt\" is not known, did you mean `graphql-default`?\n\
         6:69: warning: unknown key \"prefx\" in root_fields, did you mean \"prefix\"?\n\
         7:24: error: format: \"standart\" is not known, did you mean `standard`?\n\
         7:44: error: disabled must be true or false, got 1\n"
    );
}

#[test]
fn health_checks() {
    let check = |text: &str| databases(&format!("- name: s\n  {INFO}\n  health_check: {text}\n"), &[]);
    assert_eq!(
        source(&check("{interval: 60}"), "s").health_check,
        Some(HealthCheck {
            sql: "SELECT 1".to_owned(),
            interval: Duration::from_secs(60),
            retries: 3,
            retry_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        })
    );
    assert_eq!(source(&check("null"), "s").health_check, None);
    for (text, message) in [
        ("{}", "3:17: error: health_check has no interval\n"),
        ("{interval: 0}", "3:28: error: interval must be at least 1, got 0\n"),
        (
            "{interval: 1, test: {sq: x}}",
            "3:37: error: health_check.test has no sql\n3:38: warning: unknown key \"sq\" in health_check.test is ignored\n",
        ),
        ("[]", "3:17: error: health_check must be a mapping, got a list\n"),
    ] {
        assert_eq!(lines(&check(text)), message);
    }
}

#[test]
fn replicas_and_connection_sets() {
    let with = |further: &str| {
        databases(
            &format!("- name: s\n  configuration:\n    connection_info: {{database_url: postgres://u@h/d}}\n{further}"),
            &[],
        )
    };
    for (further, message) in [
        (
            "    read_replicas: []\n",
            "4:20: error: read_replicas cannot be empty\n",
        ),
        (
            "    read_replicas: {}\n",
            "4:20: error: read_replicas must be a list, got a mapping\n",
        ),
        (
            "    read_replicas: [{}]\n",
            "4:21: error: a read replica has no database_url\n",
        ),
        (
            "    connection_set: []\n",
            "4:21: error: connection set cannot be empty\n",
        ),
        (
            "    connection_set:\n    - {name: a, connection_info: {database_url: postgres://u@h/d}}\n    - {name: a, connection_info: {database_url: postgres://u@h/d}}\n",
            "6:14: error: connection set members with duplicate names are not allowed: a\n",
        ),
        (
            "    connection_set: [{name: primary, connection_info: {database_url: postgres://u@h/d}}]\n",
            "4:29: error: a connection set member cannot be called \"primary\": clients could not reach it\n",
        ),
        (
            "    connection_set: [{}]\n",
            "4:22: error: a connection set member has no name\n4:22: error: a connection set member has no connection_info\n",
        ),
        (
            "    connection_template: {version: 2, template: x}\n",
            "4:36: error: connection_template: Supported versions are [1]\n4:49: warning: connection_template is not supported yet: every client gets $.default, unless it connects to name@primary, name@read_replicas or name@member\n",
        ),
        (
            "    connection_template: {}\n",
            "4:26: error: connection_template has no template\n",
        ),
        (
            "    extensions_schema: ''\n",
            "4:24: error: extensions_schema must not be empty\n",
        ),
    ] {
        assert_eq!(lines(&with(further)), message, "{further}");
    }
    assert_eq!(
        postgres(&with("    read_replicas: null\n    connection_set: null\n"), "s").extensions_schema,
        "public"
    );
}

#[test]
fn equal_files_load_equal() {
    let list = std::fs::read_to_string(sample("4-mixed/metadata/databases/databases.yaml")).unwrap();
    let env = [
        ("CORE_DB_PASSWORD", "secret"),
        ("EVENTS_COORDINATOR_URL", "postgres://e@events/e"),
    ];
    assert_eq!(databases(&list, &env).metadata, databases(&list, &env).metadata);
    assert_ne!(
        databases(&list, &env).metadata,
        databases(&list, &[("CORE_DB_PASSWORD", "other")]).metadata
    );
}

#[test]
fn nothing_secret_is_ever_shown() {
    let list = "- name: s\n  configuration:\n    connection_info:\n      database_url: postgres://u:hunter2@h/d\n    read_replicas:\n    - database_url: {connection_parameters: {host: h, port: 1, database: d, username: u, password: hunter2}}\n- name: t\n  configuration:\n    connection_info: {database_url: postgres://u:hunter2@h:x/d}\n- name: m\n  kind: mssql\n  configuration:\n    connection_info: {connection_string: \"Server=h;UID=u;PWD={hunter2\"}\n- name: n\n  configuration:\n    connection_info: {database_url: {from_env: URL}, isolation_level: {from_env: URL}}\n";
    let gateway = "users:\n- {name: x, password: hunter2, sources: \"*\"}\n- {name: y, password: \"SCRAM-SHA-256$hunter2\", sources: \"*\"}\n- {name: z, password: [hunter2], sources: \"*\"}\nadmin: {admin_secret: hunter2, port: {from_env: URL}}\n";
    let loaded = both(list, Some(gateway), &[("URL", "postgres://u:hunter2@@h/d")]);
    assert!(loaded.problems.len() >= 6, "{}", problems(&loaded));
    let shown = format!("{loaded:?}{loaded:#?}{}", problems(&loaded));
    assert!(!shown.contains("hunter2"), "{shown}");
}
