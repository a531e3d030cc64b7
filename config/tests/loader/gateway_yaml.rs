//! `gateway.yaml` besides listeners and users: overlays, defaults, `admin`, and `configuration.gateway`.

use std::time::Duration;

use weir_config::*;
use weir_core::settings::{PoolMode, ReplicaRouting, ServerReset};

use crate::common::*;

const SOURCES: &str = "- name: s\n  configuration:\n    connection_info: {database_url: postgres://u@h/d}\n";

fn with(gateway: &str, env: &[(&str, &str)]) -> Loaded {
    both(SOURCES, Some(gateway), env)
}

#[test]
fn every_setting_of_a_source_in_each_of_the_three_places() {
    let settings = "query_timeout: 1, idle_in_transaction_timeout: 2, transaction_timeout: 3, client_idle_timeout: 4, linger_ms: 5, read_replica_routing: read-only-statements, \
                    session_state: reset, sequence_functions: forget, session_functions: pin, application_name: weir, startup_parameters: {Search_Path: app, work_mem: 64, jit: false}, server_reset: never, \
                    connect_timeout: 6, pool_mode: session, pool_settings: {min_connections: 1}, health_check: {interval: 9}, max_client_connections: 7, \
                    ssl_configuration: {sslmode: require}, auth_query: {query: 'select $1', user_database_url: postgres://auth@h/d}";
    let overlay = with(&format!("sources: [{{name: s, {settings}}}]"), &[]);
    let defaults = with(&format!("defaults: {{{settings}}}"), &[]);
    let inline = databases(&format!("{SOURCES}    gateway: {{{settings}}}\n"), &[]);
    for (place, loaded) in [("overlay", &overlay), ("defaults", &defaults), ("inline", &inline)] {
        assert_eq!(problems(loaded), "", "{place}");
        let found = source(loaded, "s");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let limits = &found.timeouts;
        assert_eq!(
            (
                limits.query,
                limits.idle_in_transaction,
                limits.transaction,
                limits.client_idle
            ),
            (seconds(1), seconds(2), seconds(3), seconds(4))
        );
        assert_eq!(limits.linger, Some(Duration::from_millis(5)));
        assert_eq!(
            (
                found.replica_routing,
                found.session_state,
                found.sequence_functions,
                found.session_functions
            ),
            (
                ReplicaRouting::ReadOnlyStatements,
                SessionStatePolicy::Reset,
                SequenceFunctions::Forget,
                SessionFunctions::Pin
            )
        );
        assert_eq!(found.application_name.as_deref(), Some("weir"));
        let parameters: Vec<_> = found
            .startup_parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(parameters, ["jit=false", "search_path=app", "work_mem=64"]);
        assert_eq!(found.health_check.as_ref().unwrap().interval, Duration::from_secs(9));
        let definition = postgres(loaded, "s");
        let pool = &definition.primary.pool;
        assert_eq!(
            (
                pool.server_reset,
                pool.connect_timeout,
                pool.pool_mode,
                pool.min_connections
            ),
            (ServerReset::Never, Duration::from_secs(6), PoolMode::Session, 1)
        );
        assert_eq!(endpoint(loaded, "s").ssl_mode, SslMode::Require);
        let auth = definition.auth_query.as_ref().unwrap();
        assert_eq!(auth.query.as_deref(), Some("select $1"));
        assert_eq!(auth.connection.as_ref().unwrap().resolve().unwrap().user, "auth");
    }
    // Among the defaults it is the limit of the whole process.
    assert_eq!(
        (
            source(&overlay, "s").max_client_connections,
            overlay.metadata.max_client_connections
        ),
        (Some(7), None)
    );
    assert_eq!(
        (
            source(&defaults, "s").max_client_connections,
            defaults.metadata.max_client_connections
        ),
        (None, Some(7))
    );
    assert_eq!(source(&overlay, "s").origins.of("query_timeout"), "gateway.yaml:1:36");
}

#[test]
fn null_and_zero_lift_a_limit_of_the_defaults() {
    for value in ["null", "0"] {
        let loaded = with(
            &format!("defaults: {{query_timeout: 60}}\nsources: [{{name: s, query_timeout: {value}}}]"),
            &[],
        );
        assert_eq!(source(&loaded, "s").timeouts.query, None, "{value}");
    }
    let loaded = with(
        "defaults: {query_timeout: 60, auth_query: {}}\nsources: [{name: s, auth_query: {disabled: true}}]",
        &[],
    );
    assert_eq!(
        (source(&loaded, "s").timeouts.query, &postgres(&loaded, "s").auth_query),
        (Some(Duration::from_secs(60)), &None)
    );
}

#[test]
fn an_overlay_may_replace_hasuras_own_keys() {
    let gateway = "sources:\n- name: s\n  configuration:\n    connection_info:\n      database_url: {from_env: OTHER}\n      isolation_level: serializable\n    extensions_schema: ext\n";
    let loaded = with(gateway, &[("OTHER", "postgres://other@h/d")]);
    assert_eq!(
        problems(&loaded),
        "gateway.yaml:5:21: info: database_url is also set at databases/databases.yaml:3:37; the value here is used\n"
    );
    let found = postgres(&loaded, "s");
    assert_eq!(
        (
            found.primary.label.as_str(),
            found.primary.isolation_level,
            found.extensions_schema.as_str()
        ),
        ("OTHER", Some(IsolationLevel::Serializable), "ext")
    );
    // Two forms of an address are never mixed.
    let list = "- name: s\n  configuration:\n    connection_info: {database_url: {from_env: NOPE}}\n";
    let parts = "sources: [{name: s, configuration: {connection_info: {database_url: {connection_parameters: {host: h, port: 1, database: d, username: parts}}}}}]";
    let loaded = both(list, Some(parts), &[]);
    assert_eq!(endpoint(&loaded, "s").user, "parts");
    // Part of the parameters may be replaced.
    let list = "- name: s\n  configuration:\n    connection_info: {database_url: {connection_parameters: {host: h, port: 1, database: d, username: u}}}\n";
    let host = "sources: [{name: s, configuration: {connection_info: {database_url: {connection_parameters: {host: other}}}}}]";
    assert_eq!(
        endpoint(&both(list, Some(host), &[]), "s").to_string(),
        "postgres://u@other:1/d"
    );
}

#[test]
fn messages() {
    for (gateway, expected, consistent) in [
        ("version: 2", "1:10: error: gateway.yaml must be of version 1", 1),
        (
            "verison: 1",
            "1:1: warning: unknown key \"verison\" in gateway.yaml, did you mean \"version\"?",
            1,
        ),
        ("sources: {}", "1:10: error: sources must be a list, got a mapping", 1),
        ("sources: [{}]", "1:11: error: an entry of sources has no name", 1),
        (
            "sources: [{name: z}]",
            "1:18: error: sources: there is no source \"z\" in the metadata: declare it there, or remove its entry here",
            1,
        ),
        (
            "sources: [{name: s, query_timout: 5}]",
            "1:21: warning: unknown key \"query_timout\" in an entry of sources, did you mean \"query_timeout\"?",
            1,
        ),
        (
            "sources: [{name: s, query_timeout: soon}]",
            "1:36: error: query_timeout must be a number, got the string \"soon\"",
            0,
        ),
        (
            "sources: [{name: s, query_timeout: -1}]",
            "1:36: error: query_timeout must be at least 0, got -1",
            0,
        ),
        (
            "sources: [{name: s}, {name: s}]",
            "1:29: error: sources: \"s\" is listed twice (first at gateway.yaml:1:18)",
            0,
        ),
        (
            "sources: [{name: s, database_names: []}]",
            "1:37: error: database_names cannot be empty",
            0,
        ),
        (
            "sources: [{name: s, read_replica_routing: read_only_statements}]",
            "1:43: error: read_replica_routing: \"read_only_statements\" is not known, did you mean `read-only-statements`?",
            0,
        ),
        (
            "sources: [{name: s, caching: {max_age: 4000}}]",
            "1:40: error: max_age must be at most 3600, got 4000",
            0,
        ),
        (
            "sources: [{name: s, startup_parameters: {User: x}}]",
            "1:42: error: startup_parameters cannot set \"User\"",
            0,
        ),
        (
            "sources: [{name: s, startup_parameters: [x]}]",
            "1:41: error: startup_parameters must be a mapping, got a list",
            0,
        ),
        (
            "sources: [{name: s, auth_query: {query: select 1}}]",
            "1:41: error: the query of auth_query must ask for the user by the parameter $1",
            0,
        ),
        (
            "sources: [{name: s, auth_query: {user_database_url: 'postgres://u@h/d?sslmode=verify-ca'}}]",
            "1:53: error: user_database_url: sslmode verify-ca needs sslrootcert",
            0,
        ),
        (
            "defaults: {query_timeout: soon}",
            "1:27: error: query_timeout must be a number, got the string \"soon\"",
            1,
        ),
        (
            "defaults: {name: s}",
            "1:12: warning: unknown key \"name\" in defaults is ignored",
            1,
        ),
        (
            "admin: {prt: 1}",
            "1:9: warning: unknown key \"prt\" in admin, did you mean \"port\"?",
            1,
        ),
    ] {
        let loaded = with(gateway, &[]);
        assert_eq!(problems(&loaded), format!("gateway.yaml:{expected}\n"), "{gateway}");
        assert_eq!(loaded.metadata.sources.len(), consistent, "{gateway}");
    }
    let inline = databases(&format!("{SOURCES}    gateway: {{pool_mod: session}}\n"), &[]);
    assert_eq!(
        problems(&inline),
        "databases/databases.yaml:4:15: warning: unknown key \"pool_mod\" in configuration.gateway, did you mean \"pool_mode\"?\n"
    );
}

#[test]
fn caching_is_read_and_said_not_to_work_yet() {
    let loaded = with("sources: [{name: s, caching: {disabled: false, max_age: 30}}]", &[]);
    assert_eq!(
        problems(&loaded),
        "gateway.yaml:1:30: warning: caching is not supported yet: every query goes to the database\n"
    );
    assert_eq!(
        source(&loaded, "s").caching,
        Caching {
            disabled: false,
            max_age: Duration::from_secs(30),
            ..Caching::default()
        }
    );
}

#[test]
fn the_admin_interface() {
    let plain = with("version: 1", &[]).metadata.admin;
    assert_eq!(
        (plain.host.as_str(), plain.port, &plain.admin_secret),
        ("127.0.0.1", 8080, &None)
    );
    assert_eq!(plain.enabled_apis, ["metadata", "config", "metrics"]);

    let gateway =
        "admin: {host: 10.0.0.1, port: 9000, admin_secret: {from_env: S}, metrics_secret: m, enabled_apis: [Metrics]}";
    let file = with(gateway, &[("S", "s")]).metadata.admin;
    assert_eq!(
        (file.host.as_str(), file.port, file.enabled_apis.clone()),
        ("10.0.0.1", 9000, vec!["metrics".to_owned()])
    );
    assert_eq!(file.admin_secret, Some(SecretSource::Literal("s".to_owned().into())));

    let env = [
        ("HASURA_GRAPHQL_ADMIN_SECRET", "e"),
        ("HASURA_GRAPHQL_SERVER_HOST", "*"),
        ("HASURA_GRAPHQL_SERVER_PORT", "9001"),
        ("HASURA_GRAPHQL_METRICS_SECRET", "em"),
        ("HASURA_GRAPHQL_ENABLED_APIS", "metadata, Config"),
        ("HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS", "false"),
        ("HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT", "5"),
    ];
    let loaded = with(gateway, &env);
    let admin = &loaded.metadata.admin;
    assert_eq!(
        (admin.host.as_str(), admin.port, admin.enabled_apis.as_slice()),
        ("0.0.0.0", 9001, ["metadata".to_owned(), "config".to_owned()].as_slice())
    );
    assert!(!admin.high_cardinality_labels && file.high_cardinality_labels);
    assert_eq!(admin.admin_secret, Some(SecretSource::Literal("e".to_owned().into())));
    assert_eq!(loaded.metadata.graceful_shutdown_timeout, Duration::from_secs(5));

    // A secret that cannot be had locks the interface instead of opening it.
    for gateway in [
        "admin: {admin_secret: {from_env: NOPE}}",
        "admin: {admin_secret: ''}",
        "admin: {admin_secret: [x]}",
    ] {
        let loaded = with(gateway, &[]);
        assert!(loaded.has_errors());
        assert!(
            loaded.metadata.admin.admin_secret.unwrap().resolve().is_err(),
            "{gateway}"
        );
    }
}

/// The example in the crate's documentation is what the loader understands.
#[test]
fn the_documented_file_loads_without_a_word() {
    let documentation = include_str!("../../src/lib.rs");
    let example = documentation
        .split("//! ```yaml\n")
        .nth(1)
        .unwrap()
        .split("//! ```")
        .next()
        .unwrap();
    let yaml: String = example
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("")))
        .collect();
    let env = [
        ("CERT", "-----BEGIN CERTIFICATE-----"),
        ("KEY", "-----BEGIN PRIVATE KEY-----"),
        ("CA", "-----BEGIN CERTIFICATE-----"),
        ("APP_PASSWORD", "app"),
        ("AUTH_URL", "postgres://auth@h/d"),
        ("SECRET", "s"),
    ];
    let loaded = both(&SOURCES.replace("name: s", "name: orders"), Some(&yaml), &env);
    assert_eq!(problems(&loaded), "");
    assert_eq!(source(&loaded, "orders").database_names, ["orders", "orders_rw"]);
}
