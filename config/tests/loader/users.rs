//! Users: passwords, certificates, sources, overrides.

use std::time::Duration;

use weir_config::*;
use weir_core::settings::PoolMode;

use crate::common::*;

const SOURCES: &str = "- name: orders\n  configuration: {connection_info: {database_url: postgres://u@h/d}}\n- name: old\n  kind: bigquery\n";

/// A verifier with keys of the right length.
const VERIFIER: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn with(users: &str, env: &[(&str, &str)]) -> Loaded {
    both(SOURCES, Some(&format!("users:\n{users}\n")), env)
}

#[test]
fn every_key() {
    let users = "- name: app\n  password: {from_env: P}\n  certificate: app.example\n  sources: [orders]\n  role: admin\n  read_only: true\n  pool_mode: session\n  query_timeout: 5\n  pool_timeout: null\n  max_client_connections: 4\n  max_connections: 2\n  caching: {disabled: true}\n- {name: cert, certificate: true, sources: \"*\", query_timeout: 0}";
    let loaded = with(users, &[("P", "secret")]);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:3:3: info: source \"old\" is of kind bigquery, which the gateway does not serve: skipped\n"
    );
    let [app, cert] = loaded.metadata.users.as_slice() else {
        panic!("two users")
    };
    assert_eq!(
        *app,
        User {
            name: "app".to_owned(),
            password: Some(PasswordSource(SecretSource::Literal("secret".to_owned().into()))),
            certificate: Some("app.example".to_owned()),
            sources: UserSources::Named(vec!["orders".to_owned()]),
            role: "admin".to_owned(),
            read_only: true,
            pool_mode: Some(PoolMode::Session),
            query_timeout: Some(Some(Duration::from_secs(5))),
            pool_timeout: Some(None),
            caching: Some(Caching::default()),
            max_client_connections: Some(4),
            max_connections: Some(2),
            origins: app.origins.clone(),
        }
    );
    assert_eq!(
        (
            cert.certificate.as_deref(),
            &cert.password,
            cert.query_timeout,
            cert.pool_timeout
        ),
        (Some("cert"), &None, Some(None), None)
    );
    assert!(
        app.origins.of("max_connections").starts_with("gateway.yaml:"),
        "{:?}",
        app.origins
    );
    assert_eq!(cert.origins.of("max_connections"), "built-in default");
    assert!(cert.may_use("orders") && app.may_use("orders") && !app.may_use("old"));
}

#[test]
fn passwords() {
    let secrets = directory(&[("pw", &format!("{VERIFIER}\n"))]);
    let prefix = secrets.path().display().to_string();
    let users = format!(
        "- {{name: a, password: clear, sources: \"*\"}}\n- {{name: b, password: \"{VERIFIER}\", sources: \"*\"}}\n- {{name: c, password: {{dynamic_from_file: {prefix}/pw}}, sources: \"*\"}}"
    );
    let loaded = with(
        &users,
        &[("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", &prefix)],
    );
    assert!(!loaded.has_errors());
    let passwords: Vec<_> = loaded
        .metadata
        .users
        .iter()
        .map(|user| user.password.as_ref().unwrap().resolve())
        .collect();
    assert_eq!(passwords[0], Ok(Password::Clear("clear".to_owned().into())));
    let Ok(Password::Scram(verifier)) = &passwords[1] else {
        panic!("not a verifier")
    };
    assert_eq!(
        (verifier.iterations, verifier.salt.as_slice()),
        (4096, b"saltsaltsaltsalt".as_slice())
    );
    assert_eq!(verifier.stored_key.expose(), &(0..32).collect::<Vec<u8>>());
    assert_eq!(passwords[1], passwords[2]);
    std::fs::write(secrets.path().join("pw"), "SCRAM-SHA-256$nonsense").unwrap();
    let error = loaded.metadata.users[2]
        .password
        .as_ref()
        .unwrap()
        .resolve()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("pw: the SCRAM verifier is not of the form SCRAM-SHA-256$iterations:salt$stored_key:server_key")
    );
}

#[test]
fn messages() {
    for (user, expected, kept) in [
        ("{password: x, sources: \"*\"}", "2:3: error: the user has no name", 0),
        (
            "{name: a, sources: \"*\"}",
            "2:3: error: the user has neither a password nor a certificate",
            0,
        ),
        (
            "{name: a, certificate: false, sources: \"*\"}",
            "2:3: error: the user has neither a password nor a certificate",
            0,
        ),
        (
            "{name: a, password: x}",
            "2:3: warning: the user has no sources, so that it can connect to none: list them, or write sources: \"*\"",
            1,
        ),
        (
            "{name: a, password: x, sources: [ordres]}",
            "2:36: error: there is no source \"ordres\" in the metadata, did you mean \"orders\"?",
            1,
        ),
        (
            "{name: a, password: x, sources: [old]}",
            "2:36: warning: source \"old\" is of a kind that the gateway does not serve",
            1,
        ),
        (
            "{name: a, password: x, sources: orders}",
            "2:35: error: sources must be a list of names or \"*\"",
            0,
        ),
        (
            "{name: a, password: '', sources: \"*\"}",
            "2:23: error: the password is empty",
            0,
        ),
        (
            "{name: a, password: 1234, sources: \"*\"}",
            "2:23: error: password must be a string, got a number: put it in quotes",
            0,
        ),
        (
            "{name: a, password: {from_env: NOPE}, sources: \"*\"}",
            "2:23: error: environment variable 'NOPE' not set",
            0,
        ),
        (
            "{name: a, password: {secret: x}, sources: \"*\"}",
            "2:23: error: password must be a string, {from_env: NAME} or {dynamic_from_file: /path}",
            0,
        ),
        (
            "{name: a, password: \"SCRAM-SHA-256$x\", sources: \"*\"}",
            "2:23: error: the SCRAM verifier is not of the form SCRAM-SHA-256$iterations:salt$stored_key:server_key",
            0,
        ),
        (
            "{name: a, password: md50123456789abcdef0123456789abcdef, sources: \"*\"}",
            "2:23: warning: the password looks like an md5 hash and is taken for the clear text: give the clear text or a SCRAM-SHA-256 verifier",
            1,
        ),
        (
            "{name: a, password: x, sources: \"*\", pool_mode: sesion}",
            "2:51: error: pool_mode: \"sesion\" is not known, did you mean `session`?",
            0,
        ),
        (
            "{name: a, password: x, sources: \"*\", read_only: maybe}",
            "2:51: error: read_only must be true or false, got the string \"maybe\"",
            0,
        ),
        (
            "{name: a, pasword: x, password: x, sources: \"*\"}",
            "2:13: warning: unknown key \"pasword\" in a user, did you mean \"password\"?",
            1,
        ),
        (
            "{name: a, password: x, sources: \"*\"}\n- {name: a, password: y, sources: \"*\"}",
            "3:3: error: there are two users with the name \"a\"",
            1,
        ),
        (
            "{name: a, password: x, sources: \"*\", max_connections: 0}",
            "2:57: error: max_connections must be at least 1, got 0",
            0,
        ),
    ] {
        let loaded = with(&format!("- {user}"), &[]);
        let skipped = "databases/databases.yaml:3:3: info: source \"old\" is of kind bigquery, which the gateway does not serve: skipped\n";
        assert_eq!(
            problems(&loaded).replace(skipped, ""),
            format!("gateway.yaml:{expected}\n"),
            "{user}"
        );
        assert_eq!(loaded.metadata.users.len(), kept, "{user}");
        assert_eq!(loaded.metadata.sources.len(), 1, "users never concern sources");
    }
}

#[test]
fn a_verifier_is_as_good_as_a_password_for_sql_server() {
    let list =
        "- name: m\n  kind: mssql\n  configuration: {connection_info: {connection_string: 'Server=h;UID=u;PWD=p'}}\n";
    let loaded = both(
        list,
        Some(&format!(
            "users: [{{name: a, password: \"{VERIFIER}\", sources: \"*\"}}]"
        )),
        &[],
    );
    assert_eq!(problems(&loaded), "");
}
