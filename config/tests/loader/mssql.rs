//! Sources of SQL Server.

use std::time::Duration;

use weir_config::*;

use crate::common::*;

const GOOD: &str = "Driver={ODBC Driver 18 for SQL Server};Server=tcp:h,1433;Database=d;UID=u;PWD=p";

fn one(info: &str, env: &[(&str, &str)]) -> Loaded {
    databases(&connection(info, "").replace("kind: postgres", "kind: mssql"), env)
}

#[test]
fn defaults_and_gaps() {
    let loaded = one(
        "connection_string: {from_env: X}\npool_settings: {retries: 4, pool_timeout: 1, connection_lifetime: 0}\nisolation_level: snapshot",
        &[("X", GOOD)],
    );
    assert_eq!(problems(&loaded), "");
    let connection = &mssql(&loaded, "s").primary;
    assert_eq!(connection.pool.idle_timeout, Some(Duration::from_secs(180)));
    assert_eq!(
        (connection.pool.retries, connection.pool.connection_lifetime),
        (4, None)
    );
    assert_eq!((connection.pooling, connection.label.as_str()), (Pooling::Pooled, "X"));
}

#[test]
fn logins_can_be_passed_through() {
    let list =
        "- name: m\n  kind: mssql\n  configuration: {connection_info: {connection_string: 'Server=h;UID=u;PWD=p'}}\n";
    for (gateway, passed) in [
        ("version: 1", false),
        ("sources: [{name: m, pass_through_login: true}]", true),
        (
            "defaults: {pass_through_login: true}\nsources: [{name: m, pass_through_login: false}]",
            false,
        ),
        ("defaults: {pass_through_login: true}", true),
    ] {
        let loaded = both(list, Some(gateway), &[]);
        assert_eq!(problems(&loaded), "", "{gateway}");
        assert_eq!(mssql(&loaded, "m").pass_through_login, passed, "{gateway}");
    }
}

#[test]
fn messages() {
    for (info, expected) in [
        (
            "isolation_level: read-uncommited",
            "5:7: connection_info has no connection_string; databases/databases.yaml:5:24: isolation_level: \"read-uncommited\" is not known, did you mean `read-uncommitted`?",
        ),
        (
            "connection_string: 5",
            "5:26: connection_string must be a string or {from_env: NAME}",
        ),
        (
            "connection_string: {from_env: NOPE}",
            "5:26: environment variable 'NOPE' not set",
        ),
        (
            "connection_string: mssql://u:hunter2@h/d",
            "5:26: connection_string: the connection string is a URL: write Driver={…};Server=host,1433;Database=…;UID=…;PWD=… instead",
        ),
        (
            "connection_string: 'Server=h;UID=u;PWD={a;b'",
            "5:26: connection_string: the value of PWD is not closed by \"}\"",
        ),
        (
            "connection_string: {from_env: BAD}",
            "5:26: connection_string (environment variable 'BAD'): the connection string names no Server",
        ),
        (
            "connection_string: {from_env: X}\npool_settings: {idle_timeout: \"25,\"}",
            "6:37: idle_timeout must be a number, got the string \"25,\": remove the comma",
        ),
    ] {
        let loaded = one(info, &[("BAD", "UID=u;PWD=hunter2"), ("X", GOOD)]);
        assert_eq!(
            reason(&loaded),
            format!("databases/databases.yaml:{expected}"),
            "{info}"
        );
    }
}

#[test]
fn the_copy_and_paste_trap_of_hasuras_own_example() {
    let list = "- name: s\n  kind: mssql\n  configuration:\n    connection_info: {connection_string: {from_env: X}}\n    read_replicas:\n    - connection_string: {from_env: X}\n      pool_settings:\n        max_connections: 25,\n        idle_timeout: 25,\n";
    let loaded = databases(list, &[("X", GOOD)]);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:8:26: error: max_connections must be a number, got the string \"25,\": remove the comma\n\
         databases/databases.yaml:9:23: error: idle_timeout must be a number, got the string \"25,\": remove the comma\n"
    );
}

#[test]
fn remarks_are_warnings() {
    let loaded = one(
        &format!(
            "connection_string: '{GOOD};Pooling=true;Encrpt=no'\npool_settings: {{enable: false, max_connections: 3}}"
        ),
        &[],
    );
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:5:26: warning: Pooling in the connection string is ignored: the pool is set up by pool_settings\n\
         databases/databases.yaml:5:26: warning: unknown keyword \"Encrpt\" in the connection string is ignored, did you mean Encrypt?\n\
         databases/databases.yaml:6:22: warning: pool_settings has enable: false, so that the other settings of the pool mean nothing\n"
    );
    assert_eq!(mssql(&loaded, "s").primary.pooling, Pooling::PerUse);
}

#[test]
fn a_connection_string_may_be_in_a_file() {
    let secrets = directory(&[("odbc", &format!("{GOOD}\n"))]);
    let prefix = secrets.path().display().to_string();
    let env = [("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", prefix.as_str())];
    let loaded = one(
        &format!("connection_string: {{dynamic_from_file: {prefix}/odbc}}"),
        &env,
    );
    assert_eq!(problems(&loaded), "");
    assert_eq!(mssql(&loaded, "s").primary.resolve().unwrap().host, "h");
}
