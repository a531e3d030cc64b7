//! `pool_settings`: defaults, 0 and null, precedence, and every message.

use std::time::Duration;

use weir_config::*;
use weir_core::settings::{PoolMode, PoolSettings, ServerReset};

use crate::common::*;

fn settings(text: &str) -> PoolSettings {
    let loaded = databases(&pool(text), &[]);
    assert_eq!(problems(&loaded), "", "{text}");
    postgres(&loaded, "s").primary.pool.clone()
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn nothing_said_means_hasuras_defaults() {
    for text in [
        "",
        "max_connections: null\nidle_timeout: null\nretries: null\nconnection_lifetime: null",
    ] {
        assert_eq!(settings(text), PoolSettings::default(), "{text}");
    }
    let loaded = databases(
        &connection("database_url: postgres://u@h/d\npool_settings: null", ""),
        &[],
    );
    assert_eq!(postgres(&loaded, "s").primary.pool, PoolSettings::default());
}

#[test]
fn zero_and_null_mean_what_hasura_says() {
    assert_eq!(settings("pool_timeout: null").pool_timeout, None);
    assert_eq!(settings("pool_timeout: 0").pool_timeout, seconds(0));
    assert_eq!(
        settings("pool_timeout: 2.5").pool_timeout,
        Some(Duration::from_millis(2500))
    );
    assert_eq!(settings("retries: 1").pool_timeout, seconds(15));
    assert_eq!(settings("connection_lifetime: 0").connection_lifetime, None);
    assert_eq!(settings("connection_lifetime: null").connection_lifetime, seconds(600));
    assert_eq!(settings("connection_lifetime: 30").connection_lifetime, seconds(30));
    assert_eq!(settings("retries: 0").retries, 0);
    assert_eq!(
        settings("idle_timeout: 0.5").idle_timeout,
        Some(Duration::from_millis(500))
    );
}

#[test]
fn all_keys_are_read() {
    let text = "max_connections: 7\nidle_timeout: 8\nretries: 9\npool_timeout: 10\nconnection_lifetime: 11\nmin_connections: 2\n\
                overflow_connections: 3\npool_mode: statement\nmax_prepared_statements: 12\nconnect_timeout: 13\nserver_reset: always";
    let expected = PoolSettings {
        max_connections: 7,
        overflow_connections: 3,
        min_connections: 2,
        idle_timeout: seconds(8),
        connection_lifetime: seconds(11),
        pool_timeout: seconds(10),
        retries: 9,
        connect_timeout: Duration::from_secs(13),
        pool_mode: PoolMode::Statement,
        server_reset: ServerReset::Always,
        max_prepared_statements: 12,
        origins: Default::default(),
    };
    let found = settings(text);
    assert_eq!(found.origins.of("max_connections"), "databases/databases.yaml:8:26");
    assert_eq!(found.origins.of("server_reset"), "databases/databases.yaml:18:23");
    assert_eq!(
        PoolSettings {
            origins: Default::default(),
            ..found
        },
        expected
    );
}

#[test]
fn messages() {
    for (text, expected) in [
        (
            "idle_timeout: 25,",
            "8:23: error: idle_timeout must be a number, got the string \"25,\": remove the comma",
        ),
        (
            "idle_timeout: \"25\"",
            "8:23: error: idle_timeout must be a number, got the string \"25\": remove the quotes",
        ),
        (
            "idle_timeout: 25s",
            "8:23: error: idle_timeout must be a number, got the string \"25s\": write seconds without a unit",
        ),
        (
            "idle_timeout: soon",
            "8:23: error: idle_timeout must be a number, got the string \"soon\"",
        ),
        (
            "idle_timeout: [1]",
            "8:23: error: idle_timeout must be a number, got a list",
        ),
        (
            "idle_timeout: {}",
            "8:23: error: idle_timeout must be a number, got a mapping",
        ),
        (
            "idle_timeout: true",
            "8:23: error: idle_timeout must be a number, got true",
        ),
        (
            "idle_timeout: 0",
            "8:23: error: idle_timeout must be at least 0.5, got 0",
        ),
        (
            "idle_timeout: .inf",
            "8:23: error: idle_timeout must be a number, got .inf",
        ),
        (
            "idle_timeout: 1e300",
            "8:23: error: idle_timeout must be at most 2147483647, got 1e300",
        ),
        (
            "max_connections: 0",
            "8:26: error: max_connections must be at least 1, got 0",
        ),
        (
            "max_connections: -3",
            "8:26: error: max_connections must be at least 1, got -3",
        ),
        (
            "max_connections: 2.5",
            "8:26: error: max_connections must be a whole number, got 2.5",
        ),
        (
            "max_connections: 99999999999",
            "8:26: error: max_connections must be at most 262143, got 99999999999",
        ),
        (
            "total_max_connections: 0",
            "8:32: error: total_max_connections must be at least 1, got 0",
        ),
        ("retries: -1", "8:18: error: retries must be at least 0, got -1"),
        (
            "pool_mode: transactoin",
            "8:20: error: pool_mode: \"transactoin\" is not known, did you mean `transaction`?",
        ),
        (
            "pool_mode: x",
            "8:20: error: pool_mode must be one of transaction / session / statement, got \"x\"",
        ),
        (
            "server_reset: allways",
            "8:23: error: server_reset: \"allways\" is not known, did you mean `always`?",
        ),
        (
            "max_conections: 5",
            "8:9: warning: unknown key \"max_conections\" in pool_settings, did you mean \"max_connections\"?",
        ),
        (
            "colour: red",
            "8:9: warning: unknown key \"colour\" in pool_settings is ignored",
        ),
        (
            "min_connections: 60",
            "8:26: warning: min_connections 60 is more than max_connections 50: 50 is used",
        ),
        (
            "retries: 1\nretries: 2",
            "9:9: error: retries must be a number, got two values (the key is written twice)",
        ),
        (
            "retries: {from_env: R}",
            "8:18: error: environment variable 'R' not set",
        ),
        (
            "retries: {from_env: TEXT}",
            "8:18: error: retries must be a number, got something else in environment variable 'TEXT'",
        ),
        (
            "retries: {from_env: MINUS}",
            "8:18: error: retries must be at least 0, got another value in environment variable 'MINUS'",
        ),
        (
            "retries: {from_env: \"postgres://u:hunter2@h\"}",
            "8:29: error: from_env must be the name of an environment variable",
        ),
        (
            "retries: {from_env: X, form: 1}",
            "8:32: warning: unknown key \"form\" in retries is ignored",
        ),
    ] {
        let env = [("TEXT", "hunter2"), ("MINUS", "-5"), ("X", "3")];
        let loaded = databases(&pool(text), &env);
        assert_eq!(
            problems(&loaded),
            format!("databases/databases.yaml:{expected}\n"),
            "{text}"
        );
        assert_eq!(loaded.has_errors(), loaded.metadata.sources.is_empty(), "{text}");
    }
}

#[test]
fn strict_makes_unknown_keys_errors() {
    let directory = directory(&[
        ("version.yaml", "version: 3"),
        ("databases/databases.yaml", &pool("max_conections: 5")),
    ]);
    let loaded = load(directory.path(), &[("", ""); 1], true);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:8:9: error: unknown key \"max_conections\" in pool_settings, did you mean \"max_connections\"?\n"
    );
    assert_eq!(loaded.metadata.inconsistent.len(), 1);
}

#[test]
fn from_env_for_every_scalar() {
    let env = [("MAX", "9"), ("LIFE", "0"), ("MODE", "session")];
    let text = "max_connections: {from_env: MAX}\nconnection_lifetime: {from_env: LIFE}\npool_mode: {from_env: MODE}";
    let loaded = databases(&pool(text), &env);
    assert_eq!(problems(&loaded), "");
    let pool = &postgres(&loaded, "s").primary.pool;
    assert_eq!(
        (pool.max_connections, pool.connection_lifetime, pool.pool_mode),
        (9, None, PoolMode::Session)
    );
}

#[test]
fn the_total_wins_and_is_divided_by_the_instances() {
    for (text, count, number, expected) in [
        ("max_connections: 30\ntotal_max_connections: 90", None, None, 90),
        ("total_max_connections: 90", None, None, 90),
        ("total_max_connections: 90", Some("4"), None, 22),
        ("total_max_connections: 90", Some("4"), Some("0"), 23),
        ("total_max_connections: 90", Some("4"), Some("1"), 23),
        ("total_max_connections: 90", Some("4"), Some("2"), 22),
        ("total_max_connections: 90", Some("4"), Some("3"), 22),
        ("total_max_connections: 10", Some("3"), Some("0"), 4),
        ("total_max_connections: 2", Some("5"), Some("4"), 1),
        ("max_connections: 30", Some("4"), Some("0"), 30),
        ("", Some("4"), Some("0"), 50),
    ] {
        let mut env = Vec::new();
        env.extend(count.map(|count| ("WEIR_INSTANCE_COUNT", count)));
        env.extend(number.map(|number| ("WEIR_INSTANCE_NUMBER", number)));
        let loaded = databases(&pool(text), &env);
        assert_eq!(problems(&loaded), "");
        assert_eq!(
            postgres(&loaded, "s").primary.pool.max_connections,
            expected,
            "{text} {count:?} {number:?}"
        );
    }
    let loaded = databases(&pool("total_max_connections: 90"), &[("WEIR_INSTANCE_COUNT", "4")]);
    assert_eq!(
        postgres(&loaded, "s").primary.pool.origins.of("max_connections"),
        "databases/databases.yaml:8:32 (total_max_connections: 90, divided by 4 instances)"
    );
    let wrong = databases(&pool(""), &[("WEIR_INSTANCE_COUNT", "0")]);
    assert_eq!(
        problems(&wrong),
        "environment variable WEIR_INSTANCE_COUNT: error: must be a whole number of at least 1\n"
    );
}

#[test]
fn precedence_from_the_overlay_down_to_the_built_in_default() {
    let databases = |own: &str, inline: &str| {
        format!(
            "- name: s\n  configuration:\n    connection_info:\n      database_url: postgres://u@h/d?connect_timeout=5\n      pool_settings: {{{own}}}\n    gateway: {{{inline}}}\n"
        )
    };
    let gateway =
        |overlay: &str, defaults: &str| format!("defaults: {{{defaults}}}\nsources:\n- {{name: s, {overlay}}}\n");
    let retries = |own: &str, inline: &str, overlay: &str, defaults: &str| {
        let loaded = both(&databases(own, inline), Some(&gateway(overlay, defaults)), &[]);
        assert!(!loaded.has_errors(), "{}", problems(&loaded));
        postgres(&loaded, "s").primary.pool.retries
    };
    let (own, inline, overlay, defaults) = ("retries: 2", "retries: 3", "retries: 4", "retries: 5");
    assert_eq!(retries(own, inline, overlay, defaults), 4);
    assert_eq!(retries(own, inline, "", defaults), 3);
    assert_eq!(retries(own, "", "", defaults), 2);
    assert_eq!(retries("", "", "", defaults), 5);
    assert_eq!(retries("", "", "", ""), 1);
    assert_eq!(retries(own, "pool_settings: {retries: 6}, retries: 7", "", defaults), 6);
    assert_eq!(retries(own, "", "retries: null", defaults), 2);

    let pool = |own: &str, inline: &str, overlay: &str, defaults: &str| {
        let loaded = both(&databases(own, inline), Some(&gateway(overlay, defaults)), &[]);
        postgres(&loaded, "s").primary.pool.clone()
    };
    // Sizes go together: the strongest place that has either decides.
    assert_eq!(
        pool("total_max_connections: 90", "", "max_connections: 10", "").max_connections,
        10
    );
    assert_eq!(
        pool(
            "max_connections: 10",
            "",
            "total_max_connections: 90, max_connections: 5",
            ""
        )
        .max_connections,
        90
    );
    assert_eq!(
        pool(
            "max_connections: 10",
            "",
            "min_connections: 1",
            "total_max_connections: 70"
        )
        .max_connections,
        10
    );
    assert_eq!(pool("", "", "", "total_max_connections: 70").max_connections, 70);
    // null is a value for pool_timeout.
    assert_eq!(pool("pool_timeout: 3", "", "pool_timeout: null", "").pool_timeout, None);
    // The address comes before the defaults.
    assert_eq!(
        pool("", "", "", "connect_timeout: 9").connect_timeout,
        Duration::from_secs(5)
    );
    assert_eq!(
        pool("", "connect_timeout: 7", "", "connect_timeout: 9").connect_timeout,
        Duration::from_secs(7)
    );
}

#[test]
fn a_value_in_two_places_is_said_once() {
    let gateway = "sources:\n- name: s\n  max_connections: 5\n  query_timeout: 1\ndefaults: {retries: 9}\n";
    let list = "- name: s\n  configuration:\n    connection_info: {database_url: postgres://u@h/d, pool_settings: {max_connections: 6, retries: 2}}\n    gateway: {query_timeout: 2}\n";
    let loaded = both(list, Some(gateway), &[]);
    assert_eq!(
        problems(&loaded),
        "gateway.yaml:3:20: info: max_connections is also set at databases/databases.yaml:3:88; the value here is used\n\
         gateway.yaml:4:18: info: query_timeout is also set at databases/databases.yaml:4:30; the value here is used\n"
    );
}

#[test]
fn replicas_have_their_own_sizes_and_the_sources_manner() {
    let list = "- name: s\n  configuration:\n    connection_info:\n      database_url: postgres://u@h/d\n      pool_settings: {max_connections: 9, pool_mode: session, idle_timeout: 33}\n    read_replicas:\n    - database_url: postgres://u@r/d\n    - database_url: postgres://u@r2/d\n      pool_settings: {max_connections: 4, pool_mode: transaction}\n";
    let loaded = both(
        list,
        Some("sources:\n- {name: s, max_connections: 8, min_connections: 1, pool_timeout: 2}\n"),
        &[],
    );
    let found = postgres(&loaded, "s");
    assert_eq!(
        (found.primary.pool.max_connections, found.primary.pool.min_connections),
        (8, 1)
    );
    let [a, b] = found.read_replicas.as_slice() else {
        panic!("two replicas")
    };
    assert_eq!(
        (a.pool.max_connections, a.pool.min_connections, a.pool.pool_mode),
        (50, 0, PoolMode::Session)
    );
    assert_eq!((a.pool.idle_timeout, a.pool.pool_timeout), (seconds(180), seconds(2)));
    assert_eq!((b.pool.max_connections, b.pool.pool_mode), (4, PoolMode::Transaction));
}
