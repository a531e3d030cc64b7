//! Listeners: defaults, environment, TLS, and the rule that nobody unknown comes in from outside.

use std::path::PathBuf;

use weir_config::*;

use crate::common::*;

const SOURCES: &str = "- name: s\n  configuration: {connection_info: {database_url: postgres://u@h/d}}\n";
const USER: &str = "users: [{name: u, password: p, sources: \"*\"}]\n";
const AUTH: &str = "defaults: {auth_query: {}}\n";
const PEM: &str = "-----BEGIN CERTIFICATE-----";

fn with(gateway: &str, env: &[(&str, &str)]) -> Loaded {
    both(SOURCES, Some(gateway), env)
}

fn addresses(loaded: &Loaded) -> Vec<String> {
    loaded
        .metadata
        .listeners
        .iter()
        .map(|listener| {
            format!(
                "{} {}:{} {}",
                listener.kind.as_str(),
                listener.host,
                listener.port,
                listener.trust_loopback
            )
        })
        .collect()
}

#[test]
fn defaults_depend_on_who_may_come() {
    assert_eq!(addresses(&databases(SOURCES, &[])), ["postgres 127.0.0.1:6432 true"]);
    assert_eq!(addresses(&with(USER, &[])), ["postgres 0.0.0.0:6432 false"]);
    assert_eq!(addresses(&with(AUTH, &[])), ["postgres 0.0.0.0:6432 false"]);
    assert_eq!(
        addresses(&with("sources: [{name: s, auth_query: true}]", &[])),
        ["postgres 0.0.0.0:6432 false"]
    );
    assert_eq!(
        addresses(&with("defaults: {auth_query: {disabled: true}}", &[])),
        ["postgres 127.0.0.1:6432 true"]
    );
    for (written, address) in [
        ("true", "postgres 0.0.0.0:6432 false"),
        ("false", "postgres 127.0.0.1:6432 true"),
        ("maybe", "postgres 0.0.0.0:6432 false"),
    ] {
        let defaults = format!("defaults: {{pass_through_login: {written}}}");
        assert_eq!(addresses(&with(&defaults, &[])), [address], "{written}");
    }
    let inline = SOURCES.replace("}}", "}, gateway: {auth_query: {}}}");
    assert_eq!(addresses(&databases(&inline, &[])), ["postgres 0.0.0.0:6432 false"]);
    let engines = format!(
        "{SOURCES}- name: m\n  kind: mssql\n  configuration: {{connection_info: {{connection_string: 'Server=h;UID=u;PWD=p'}}}}\n"
    );
    assert_eq!(
        addresses(&databases(&engines, &[])),
        ["postgres 127.0.0.1:6432 true", "mssql 127.0.0.1:14330 true"]
    );
}

#[test]
fn without_anybody_to_authenticate_only_loopback_is_opened() {
    for (host, opened) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("localhost", true),
        ("::1", true),
        ("0.0.0.0", false),
        ("'*'", false),
        ("'::'", false),
        ("10.0.0.1", false),
        ("db.internal", false),
    ] {
        let loaded = with(
            &format!(
                "listeners:\n- {{name: pg, kind: postgres, host: \"{}\"}}\n",
                host.trim_matches('\'')
            ),
            &[],
        );
        assert_eq!(loaded.metadata.listeners.len(), usize::from(opened), "{host}");
        assert_eq!(
            loaded.metadata.inconsistent_listeners.len(),
            usize::from(!opened),
            "{host}"
        );
        assert_eq!(loaded.has_errors(), !opened, "{host}");
    }
    let loaded = with("listeners:\n- {name: pg, kind: postgres, host: 0.0.0.0}\n", &[]);
    assert_eq!(
        problems(&loaded),
        "gateway.yaml:2:3: error: listener \"pg\" is bound to 0.0.0.0, but nobody could be authenticated: add users to gateway.yaml or an auth_query to a source, or bind it to 127.0.0.1\n"
    );
    assert!(loaded.metadata.sources.len() == 1, "sources are not concerned");
    assert!(
        addresses(&with(
            "listeners: [{kind: postgres, host: 0.0.0.0}]",
            &[("WEIR_PG_LISTEN", "127.0.0.1:7")]
        ))
        .len()
            == 1
    );
    assert!(addresses(&databases(SOURCES, &[("WEIR_PG_LISTEN", "0.0.0.0:7")])).is_empty());
}

/// A mistake among the users must not be taken for their absence.
#[test]
fn users_that_cannot_be_read_do_not_open_the_door() {
    for gateway in [
        "users: [{name: u, password: {from_env: NOPE}, sources: \"*\"}]",
        "users: [{}]",
        "users: everybody",
        "users: !include nowhere.yaml",
        "users: {from_env: X}",
    ] {
        let loaded = with(gateway, &[]);
        assert!(loaded.has_errors() && loaded.metadata.users.is_empty(), "{gateway}");
        assert!(
            loaded
                .metadata
                .listeners
                .iter()
                .all(|listener| !listener.trust_loopback),
            "{gateway}"
        );
        assert_eq!(loaded.metadata.admission, Admission::Checked, "{gateway}");
    }
    for gateway in ["users: [", "version: 2", "- list", "!include nowhere.yaml", "5"] {
        let loaded = with(gateway, &[]);
        assert!(loaded.has_errors(), "{gateway}");
        assert_eq!(loaded.metadata.listeners, [], "{gateway}");
        assert_eq!(
            loaded.metadata.inconsistent_listeners[0].reason,
            "gateway.yaml cannot be read, so that nothing is known about users"
        );
    }
    // A source that cannot be used takes its auth_query along, but not the fact that there is one.
    let unusable = both(
        "- name: s\n  configuration: {connection_info: {database_url: {from_env: NOPE}}}\n",
        Some(AUTH),
        &[],
    );
    assert_eq!(unusable.metadata.sources, []);
    assert_eq!(unusable.metadata.admission, Admission::Checked);
    assert_eq!(databases(SOURCES, &[]).metadata.admission, Admission::LoopbackOnly);
    let hidden = "- name: s\n  configuration: {connection_info: {database_url: postgres://u@h/d}, gateway: !include gone.yaml}\n";
    assert!(
        databases(hidden, &[])
            .metadata
            .listeners
            .iter()
            .all(|listener| !listener.trust_loopback)
    );
}

#[test]
fn every_key() {
    let gateway = format!(
        "{USER}listeners:\n- name: in\n  kind: postgres\n  host: '[::1]'\n  port: 7000\n  unix_socket_dir: /run/weir\n  max_client_connections: 9\n  trust_loopback: true\n  ssl_configuration: {{sslmode: verify-full, sslcert: {{from_env: C}}, sslkey: {{from_env: C}}, sslrootcert: {{from_env: C}}, sslpassword: x}}\n- kind: postgres\n  proxy_protocol: true\n  ssl_configuration: {{sslmode: disable}}\n"
    );
    let loaded = with(&gateway, &[("C", PEM)]);
    assert_eq!(problems(&loaded), "");
    let pem = || SecretSource::Literal(PEM.to_owned().into());
    assert_eq!(
        loaded.metadata.listeners[0],
        Listener {
            name: "in".to_owned(),
            kind: ListenerKind::Postgres,
            host: "::1".to_owned(),
            port: 7000,
            unix_socket_dir: Some(PathBuf::from("/run/weir")),
            max_client_connections: Some(9),
            proxy_protocol: false,
            tls: Some(ListenerTls {
                mode: ListenerTlsMode::ClientCertificateNamed,
                certificate: pem(),
                key: pem(),
                key_password: Some(SecretSource::Literal("x".to_owned().into())),
                client_root_certificate: Some(pem()),
            }),
            clear_text_only: false,
            trust_loopback: true,
            origins: loaded.metadata.listeners[0].origins.clone(),
        }
    );
    let place = loaded.metadata.listeners[0]
        .origins
        .of("max_client_connections")
        .to_owned();
    assert!(place.starts_with("gateway.yaml:"), "{place}");
    let second = &loaded.metadata.listeners[1];
    assert_eq!(
        (
            second.name.as_str(),
            second.proxy_protocol,
            &second.tls,
            second.clear_text_only
        ),
        ("postgres", true, &None, true)
    );
}

#[test]
fn messages() {
    let env = [("C", PEM)];
    let tls = "sslcert: {from_env: C}, sslkey: {from_env: C}";
    for (listeners, expected) in [
        ("- {}", "3:3: error: the listener has no kind".to_owned()),
        ("- {kind: postgre}", "3:10: error: kind: \"postgre\" is not known, did you mean `postgres`?".to_owned()),
        ("- {kind: postgres, prot: 1}", "3:20: warning: unknown key \"prot\" in a listener, did you mean \"port\"?".to_owned()),
        ("- {kind: postgres, port: 65536}", "3:26: error: port must be at most 65535, got 65536".to_owned()),
        ("- {kind: mssql, unix_socket_dir: /x}", "3:34: error: unix_socket_dir is for postgres listeners only".to_owned()),
        ("- {kind: postgres, ssl_configuration: {sslmode: require}}", "3:39: error: ssl_configuration of a listener needs sslcert unless sslmode is disable\ngateway.yaml:3:39: error: ssl_configuration of a listener needs sslkey unless sslmode is disable".to_owned()),
        (&format!("- {{kind: postgres, ssl_configuration: {{sslmode: verify-ca, {tls}}}}}"), "3:39: error: sslmode verify-ca and verify-full of a listener check client certificates, which needs sslrootcert".to_owned()),
        (&format!("- {{kind: postgres, ssl_configuration: {{sslmode: strict, {tls}}}}}"), "3:49: error: sslmode must be one of disable / allow / prefer / require / verify-ca / verify-full, got \"strict\"".to_owned()),
        ("- {kind: postgres, name: a}\n- {kind: postgres, name: a, port: 1}", "4:3: error: there are two listeners with the name \"a\"".to_owned()),
        ("- {kind: postgres, name: a}\n- {kind: postgres, name: b, host: 127.0.0.1}", "4:3: error: 127.0.0.1:6432 is also the address of listener \"a\"".to_owned()),
        ("- {kind: postgres, proxy_protocol: true, trust_loopback: true}", "3:3: error: proxy_protocol lets clients from elsewhere arrive from a loopback address, so that these cannot be trusted: add users or an auth_query, and leave trust_loopback out".to_owned()),
    ] {
        let loaded = with(&format!("{USER}listeners:\n{listeners}\n"), &env);
        let shown = problems(&loaded).replace("gateway.yaml: warning: no listener is of kind postgres, so that no client can reach source \"s\"\n", "");
        assert_eq!(shown, format!("gateway.yaml:{expected}\n"));
    }
    let families = with(
        &format!("{USER}listeners:\n- {{kind: postgres, name: a}}\n- {{kind: postgres, name: b, host: \"::\"}}\n"),
        &env,
    );
    assert_eq!(
        (families.metadata.listeners.len(), problems(&families).as_str()),
        (2, "")
    );
    let strict = with(
        &format!("{USER}listeners: [{{kind: mssql, ssl_configuration: {{sslmode: strict, {tls}}}}}]"),
        &env,
    );
    assert_eq!(
        strict.metadata.listeners[0].tls.as_ref().unwrap().mode,
        ListenerTlsMode::Strict
    );
    assert_eq!(
        problems(&strict),
        "gateway.yaml: warning: no listener is of kind postgres, so that no client can reach source \"s\"\n"
    );
}

#[test]
fn the_environment_wins() {
    for (value, expected) in [
        ("127.0.0.1:7000", Some("postgres 127.0.0.1:7000 false")),
        (":7000", Some("postgres 10.0.0.1:7000 false")),
        ("7000", Some("postgres 10.0.0.1:7000 false")),
        ("[::1]:7000", Some("postgres ::1:7000 false")),
        ("*:7000", Some("postgres 0.0.0.0:7000 false")),
        ("::1:7000", None),
        ("host", None),
        ("host:99999", None),
    ] {
        let loaded = with(
            &format!("{USER}listeners: [{{kind: postgres, host: 10.0.0.1}}]"),
            &[("WEIR_PG_LISTEN", value)],
        );
        match expected {
            Some(expected) => assert_eq!(addresses(&loaded), [expected], "{value}"),
            None => assert_eq!(
                problems(&loaded),
                "environment variable WEIR_PG_LISTEN: error: must be host:port, for example 127.0.0.1:6432 or [::1]:6432\n",
                "{value}"
            ),
        }
    }
    let added = with(USER, &[("WEIR_MSSQL_LISTEN", "127.0.0.1:1433")]);
    assert_eq!(
        addresses(&added),
        ["postgres 0.0.0.0:6432 false", "mssql 127.0.0.1:1433 false"]
    );
}
