//! `database_url` in its forms, and `ssl_configuration`.

use std::os::unix::fs::symlink;

use weir_config::*;

use crate::common::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----";

fn one(info: &str, env: &[(&str, &str)]) -> Loaded {
    databases(&connection(info, ""), env)
}

#[test]
fn the_four_forms() {
    let secrets = directory(&[("primary.url", "  postgres://filed:pw@h/d\n")]);
    let prefix = secrets.path().display().to_string();
    let dynamic = format!("database_url: {{dynamic_from_file: {prefix}/primary.url}}");
    let scheme = format!("dynamic-from-file://{prefix}/primary.url");
    let env = [
        ("URL", "postgres://env:a%40b@h/d"),
        ("PASSWORD", "p%40ss"),
        ("USER", "templated"),
        ("DYNAMIC", &scheme),
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", &prefix),
    ];
    for (info, user, password, label) in [
        (
            "database_url: postgres://literal:x@h/d",
            "literal",
            "x",
            "postgres://literal@h:5432/d",
        ),
        (
            "database_url: postgres://{{USER}}:{{ PASSWORD }}@h/d",
            "templated",
            "p@ss",
            "postgres://templated@h:5432/d",
        ),
        ("database_url: {from_env: URL}", "env", "a@b", "URL"),
        (
            "database_url: {connection_parameters: {host: h, port: 5432, database: d, username: parts, password: \"p@s/s%\"}}",
            "parts",
            "p@s/s%",
            "postgres://parts@h:5432/d",
        ),
        (dynamic.as_str(), "filed", "pw", &format!("{prefix}/primary.url")),
        ("database_url: {from_env: DYNAMIC}", "filed", "pw", "DYNAMIC"),
        (
            "database_url: host=h dbname=d user=keyword password='x y'",
            "keyword",
            "x y",
            "postgres://keyword@h:5432/d",
        ),
    ] {
        let loaded = one(info, &env);
        assert_eq!(problems(&loaded), "", "{info}");
        let connection = &postgres(&loaded, "s").primary;
        let endpoint = connection.resolve().unwrap();
        assert_eq!(
            (endpoint.user.as_str(), endpoint.password.unwrap().expose().as_str()),
            (user, password),
            "{info}"
        );
        assert_eq!(connection.label, label);
    }
}

#[test]
fn files_are_read_again_each_time() {
    let secrets = directory(&[("url", "postgres://one@h/d"), ("password", "first\n"), ("ca.pem", PEM)]);
    let prefix = secrets.path().display().to_string();
    let env = [("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", prefix.as_str())];
    let loaded = one(
        &format!(
            "database_url: {{dynamic_from_file: {prefix}/url}}\nssl_configuration:\n  sslmode: verify-ca\n  sslrootcert: {{dynamic_from_file: {prefix}/ca.pem}}"
        ),
        &env,
    );
    let connection = postgres(&loaded, "s").primary.clone();
    assert_eq!(connection.resolve().unwrap().user, "one");
    std::fs::write(secrets.path().join("url"), "postgres://two@h/d?sslmode=disable\n").unwrap();
    let endpoint = connection.resolve().unwrap();
    assert_eq!((endpoint.user.as_str(), endpoint.ssl_mode), ("two", SslMode::VerifyCa));
    let Some(RootCertificate::Pem(root)) = endpoint.root_certificate else {
        panic!("no root certificate")
    };
    assert_eq!(root.resolve().unwrap().expose(), PEM);
    std::fs::write(secrets.path().join("url"), "postgres://u:hunter2/@h/d").unwrap();
    let error = connection.resolve().unwrap_err().to_string();
    assert!(
        error.contains("the password in the URL contains \"/\"") && !error.contains("hunter2"),
        "{error}"
    );
    std::fs::remove_file(secrets.path().join("url")).unwrap();
    assert!(matches!(connection.resolve(), Err(ResolveError::Unreadable { .. })));

    let parts = format!(
        "database_url: {{connection_parameters: {{host: h, port: 1, database: d, username: u, password: {{dynamic_from_file: {prefix}/password}}}}}}"
    );
    let connection = postgres(&one(&parts, &env), "s").primary.clone();
    assert_eq!(connection.resolve().unwrap().password.unwrap().expose(), "first");
    std::fs::write(secrets.path().join("password"), "second").unwrap();
    assert_eq!(connection.resolve().unwrap().password.unwrap().expose(), "second");
}

#[test]
fn files_must_be_under_the_allowed_prefix() {
    let secrets = directory(&[("in/url", "postgres://u@h/d"), ("out/url", "postgres://u@h/d")]);
    let root = secrets.path().display().to_string();
    symlink(secrets.path().join("out/url"), secrets.path().join("in/link")).unwrap();
    let prefix = format!("{root}/in");
    let env = [("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", prefix.as_str())];
    for path in [
        "/etc/x",
        &format!("{root}/out/url"),
        &format!("{root}/in/../out/url"),
        &format!("{root}/in/link"),
        &format!("{root}/in-side/x"),
        "in/url",
    ] {
        let loaded = one(&format!("database_url: {{dynamic_from_file: {path}}}"), &env);
        assert_eq!(
            problems(&loaded),
            format!(
                "databases/databases.yaml:5:41: error: dynamic_from_file: {path} is not under HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX\n"
            )
        );
    }
    let off = one("database_url: {dynamic_from_file: /run/x}", &[]);
    assert_eq!(
        reason(&off),
        "databases/databases.yaml:5:41: dynamic_from_file: /run/x is not under HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX, which is not set"
    );
    // A link that moves after the load is noticed.
    let loaded = one(&format!("database_url: {{dynamic_from_file: {prefix}/url}}"), &env);
    let connection = postgres(&loaded, "s").primary.clone();
    std::fs::remove_file(secrets.path().join("in/url")).unwrap();
    symlink(secrets.path().join("out/url"), secrets.path().join("in/url")).unwrap();
    assert_eq!(
        connection.resolve(),
        Err(ResolveError::OutsidePrefix(format!("{prefix}/url").into()))
    );
}

#[test]
fn messages() {
    let env = [("BAD", "postgres://u:hun%ter2@h/d"), ("X", "x")];
    for (info, expected) in [
        (
            "database_url: {from_env: X, connection_parameters: {}}",
            "5:21: Only one of \"from_env\" or \"connection_parameters\" should be provided",
        ),
        (
            "database_url: {from_env: X, dynamic_from_file: /x}",
            "5:21: Only one of \"from_env\" or \"dynamic_from_file\" should be provided",
        ),
        (
            "database_url: {}",
            "5:21: Either \"from_env\" or \"connection_parameters\" should be provided",
        ),
        (
            "database_url: 5",
            "5:21: one of string or object must be provided for url/webhook",
        ),
        (
            "database_url: [x]",
            "5:21: one of string or object must be provided for url/webhook",
        ),
        ("database_url: null", "5:7: connection_info has no database_url"),
        (
            "database_url: {from_env: NOPE}",
            "5:21: environment variable 'NOPE' not set",
        ),
        (
            "database_url: postgres://u:{{NOPE}}@h/d",
            "5:21: environment variable 'NOPE' not set",
        ),
        (
            "database_url: postgres://u:{{hunter2 :}}@h/d",
            "5:21: the text between {{ and }} must be the name of an environment variable",
        ),
        (
            "database_url: {from_env: BAD}",
            "5:21: database_url (environment variable 'BAD'): the password in the URL contains \"%\", which has to be written as \"%25\" there: use connection_parameters, where nothing needs escapes",
        ),
        (
            "database_url: mysql://u@h/d",
            "5:21: database_url: the URL must begin with postgres:// or postgresql://",
        ),
        (
            "database_url: postgres://u@h/d?pool_mode=x",
            "5:21: database_url: unknown parameter \"pool_mode\" in the address: libpq would refuse it; put it under pool_settings or in gateway.yaml",
        ),
        (
            "database_url: postgres://u@h/d?sslmod=x",
            "5:21: database_url: unknown parameter \"sslmod\" in the address, did you mean \"sslmode\"?",
        ),
        (
            "database_url: postgres://u@h/d?sslmode=verify_full",
            "5:21: database_url: sslmode: \"verify_full\" is not known, did you mean `verify-full`?",
        ),
        (
            "database_url: postgres://u@h/d?sslmode=verify-ca",
            "5:21: sslmode verify-ca needs sslrootcert",
        ),
        (
            "database_url: postgres://h/d",
            "5:21: database_url: the address names no user",
        ),
        (
            "database_url: {connection_parameters: {host: h, database: d, username: u}}",
            "5:45: connection_parameters has no port",
        ),
        (
            "database_url: {connection_parameters: {host: h, port: 70000, database: d, username: u}}",
            "5:61: port must be at most 65535, got 70000",
        ),
        (
            "database_url: {connection_parameters: {host: h, port: 1, database: d, username: u, password: 123}}",
            "5:100: password must be a string, got a number: put it in quotes",
        ),
        (
            "database_url: postgres://u@h/d\nisolation_level: read-commited",
            "6:24: isolation_level: Only expecting read-committed / repeatable-read / serializable, got \"read-commited\", did you mean `read-committed`?",
        ),
        (
            "database_url: postgres://u@h/d\nuse_prepared_statements: yes",
            "6:32: use_prepared_statements must be true or false, got the string \"yes\"",
        ),
        (
            "database_url: postgres://u@h/d\nssl_configuration: {sslmode: verify}",
            "6:36: Invalid SSL Mode verify",
        ),
        (
            "database_url: postgres://u@h/d\nssl_configuration: {sslmode: requird}",
            "6:36: Invalid SSL Mode requird, did you mean `require`?",
        ),
        (
            "database_url: postgres://u@h/d\nssl_configuration: {}",
            "6:26: ssl_configuration has no sslmode",
        ),
        (
            "database_url: postgres://u@h/d\nssl_configuration: {sslmode: require, sslrootcert: {from_env: X}}",
            "6:58: sslrootcert does not hold PEM text (-----BEGIN …); for a file use {dynamic_from_file: /path}",
        ),
        (
            "database_url: postgres://u@h/d\nssl_configuration: {sslmode: require, sslkey: '-----BEGIN x'}",
            "6:26: sslkey is given without sslcert",
        ),
    ] {
        let loaded = one(info, &env);
        assert_eq!(
            reason(&loaded),
            format!("databases/databases.yaml:{expected}"),
            "{info}"
        );
        assert!(!problems(&loaded).contains("ter2"), "{info}");
    }
}

#[test]
fn a_file_that_is_missing_now_is_a_warning() {
    let secrets = directory(&[("url", "postgres://nobody:hunter2/@h/d")]);
    let prefix = secrets.path().display().to_string();
    let env = [("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", prefix.as_str())];
    let loaded = one(&format!("database_url: {{dynamic_from_file: {prefix}/later}}"), &env);
    assert!(
        !loaded.has_errors() && problems(&loaded).contains("it is read again each time it is needed"),
        "{}",
        problems(&loaded)
    );
    let loaded = one(&format!("database_url: {{dynamic_from_file: {prefix}/url}}"), &env);
    assert!(
        !loaded.has_errors() && problems(&loaded).contains("the file is read again for each new connection"),
        "{}",
        problems(&loaded)
    );
    assert!(!problems(&loaded).contains("hunter2"));
    assert!(loaded.files.contains(&secrets.path().join("url")));
}

#[test]
fn ssl_configuration_wins_over_the_url() {
    let info = "database_url: postgres://u@h/d?sslmode=disable&sslcert=/c&sslkey=/k\nssl_configuration:\n  sslmode: verify-full\n  sslrootcert: {from_env: CA}\n  sslpassword: literal";
    let loaded = one(info, &[("CA", PEM)]);
    assert_eq!(problems(&loaded), "");
    let endpoint = endpoint(&loaded, "s");
    assert_eq!(
        (endpoint.ssl_mode, endpoint.verification()),
        (SslMode::VerifyFull, Verification::ChainAndName)
    );
    assert_eq!(
        endpoint.root_certificate,
        Some(RootCertificate::Pem(SecretSource::Literal(PEM.to_owned().into())))
    );
    assert_eq!(
        endpoint.client_certificate,
        Some(SecretSource::File(SecretFile {
            path: "/c".into(),
            allowed_prefix: None
        }))
    );
    assert_eq!(
        endpoint.client_key_password,
        Some(SecretSource::Literal("literal".to_owned().into()))
    );
}

#[test]
fn libpqs_rule_for_require_with_a_root_certificate() {
    let loaded = one(
        "database_url: postgres://u@h/d\nssl_configuration: {sslmode: require, sslrootcert: {from_env: CA}}",
        &[("CA", PEM)],
    );
    assert_eq!(endpoint(&loaded, "s").verification(), Verification::Chain);
    let loaded = one("database_url: postgres://u@h/d?sslmode=require", &[]);
    assert_eq!(endpoint(&loaded, "s").verification(), Verification::Nothing);
}
