//! Appendix A: the first bytes of a connection in every form, and what a StartupMessage may say.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{
    cluster::{self, ROLE_PASSWORD, Version},
    gateway::Gateway,
    metadata::Metadata,
    site::{Plan, Site, database_url, is_direct},
    wire::{self, Message, RawClient, Security},
};

async fn log_in(site: &Site, security: &Security, parameters: &[(&str, &str)]) -> std::io::Result<RawClient> {
    let mut all = vec![("user", site.role), ("database", site.database.as_str())];
    all.extend(parameters);
    RawClient::log_in_with(site.address(), security, ROLE_PASSWORD, 0, &all).await
}

#[tokio::test]
async fn encryption_requests_are_answered() {
    // Debian's server may answer G, and then expects Kerberos.
    if is_direct() {
        return;
    }
    // Without a certificate: no TLS, no GSS, and the login goes on in clear.
    let site = Site::start(Plan {
        tls: None,
        ..Plan::default()
    })
    .await;
    let mut client = RawClient::open(site.address()).await.unwrap();
    client.send(&wire::gss_request()).await.unwrap();
    assert_eq!(client.byte().await.unwrap(), b'N');
    client.send(&wire::ssl_request()).await.unwrap();
    assert_eq!(client.byte().await.unwrap(), b'N');
    client
        .send(&wire::startup(0, &[("user", site.role), ("database", &site.database)]))
        .await
        .unwrap();
    client.authenticate(ROLE_PASSWORD).await.unwrap();
    assert_eq!(client.rows("select 1").await, ["1"]);
}

#[tokio::test]
async fn tls_after_a_refused_gss_request() {
    // Debian's server may answer G, and then expects Kerberos.
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        tls: Some("require"),
        ..Plan::default()
    })
    .await;
    let mut client = RawClient::open(site.address()).await.unwrap();
    client.send(&wire::gss_request()).await.unwrap();
    assert_eq!(client.byte().await.unwrap(), b'N');
    client.send(&wire::ssl_request()).await.unwrap();
    assert_eq!(client.byte().await.unwrap(), b'S');
    let Security::Negotiated(config) = site.tls() else {
        unreachable!()
    };
    let mut client = client.into_tls(config).await.unwrap();
    client
        .send(&wire::startup(0, &[("user", site.role), ("database", &site.database)]))
        .await
        .unwrap();
    client.authenticate(ROLE_PASSWORD).await.unwrap();
    assert_eq!(client.rows("select 1").await, ["1"]);
}

#[tokio::test]
async fn direct_tls_needs_its_alpn() {
    // The distribution's server is too old for it: version 18 is the model.
    let site = Site::start(Plan {
        tls: Some("require"),
        version: Version::Eighteen,
        ..Plan::default()
    })
    .await;
    let authority = if is_direct() {
        &site.cluster.authority
    } else {
        &site.authority
    };
    let mut client = log_in(&site, &Security::Direct(authority.client(&["postgresql"])), &[])
        .await
        .unwrap();
    assert_eq!(client.rows("select 1").await, ["1"]);
    assert!(
        log_in(&site, &Security::Direct(authority.client(&[])), &[])
            .await
            .is_err(),
        "no ALPN"
    );
    assert!(
        log_in(&site, &Security::Direct(authority.client(&["http/1.1"])), &[])
            .await
            .is_err(),
        "another protocol's ALPN"
    );
    // With SSLRequest, ALPN is welcome and not needed.
    for protocols in [&["postgresql"][..], &[]] {
        assert!(
            log_in(&site, &Security::Negotiated(authority.client(protocols)), &[])
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn a_listener_that_requires_tls_refuses_clear_text() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        tls: Some("require"),
        ..Plan::default()
    })
    .await;
    let error = log_in(&site, &Security::Clear, &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("28000"), "{error}");
}

#[tokio::test]
async fn startup_parameters_are_honoured() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    site.admin()
        .await
        .batch_execute("CREATE SCHEMA own AUTHORIZATION app; CREATE SCHEMA \"odd name\" AUTHORIZATION app")
        .await
        .unwrap();
    type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    const CASES: &[Case] = &[
        (&[("application_name", "mine")], "show application_name", "mine"),
        (&[("search_path", "own")], "show search_path", "own"),
        (
            &[("search_path", "\"odd name\", public")],
            "select current_schemas(false)::text",
            "{\"odd name\",public}",
        ),
        (&[("TimeZone", "Asia/Tokyo")], "show timezone", "Asia/Tokyo"),
        (&[("extra_float_digits", "3")], "show extra_float_digits", "3"),
        (&[("statement_timeout", "12345")], "show statement_timeout", "12345ms"),
        (
            &[("options", "-c work_mem=7MB -c search_path=own")],
            "show work_mem",
            "7MB",
        ),
        (&[("options", "--work-mem=7MB")], "show work_mem", "7MB"),
        (
            &[("options", "-csearch_path=own\\ ,public")],
            "show search_path",
            "own ,public",
        ),
        (&[("options", "-c app.tenant=seven")], "show app.tenant", "seven"),
        (
            &[("default_transaction_isolation", "serializable")],
            "show transaction_isolation",
            "serializable",
        ),
        (&[("client_encoding", "latin1")], "show client_encoding", "LATIN1"),
        (&[("DATESTYLE", "German, YMD")], "show datestyle", "German, YMD"),
    ];
    for (parameters, question, expected) in CASES {
        let mut direct = RawClient::log_in_with(
            site.cluster.address(),
            &Security::Clear,
            ROLE_PASSWORD,
            0,
            &[
                &[("user", site.role), ("database", site.database.as_str())][..],
                parameters,
            ]
            .concat(),
        )
        .await
        .unwrap();
        assert_eq!(
            direct.rows(question).await,
            [*expected],
            "PostgreSQL itself, {parameters:?}"
        );
        // Between two clients of other settings, on the same server connection, before and after a transaction.
        let mut client = log_in(&site, &Security::Clear, parameters)
            .await
            .unwrap_or_else(|error| panic!("{parameters:?}: {error}"));
        let mut plain = log_in(&site, &Security::Clear, &[]).await.unwrap();
        let before = plain.rows(question_or_default(question)).await;
        for _ in 0..2 {
            assert_eq!(client.rows(question).await, [*expected], "{parameters:?}");
            assert_eq!(
                plain.rows(question_or_default(question)).await,
                before,
                "{parameters:?} reached another client"
            );
        }
    }
}

/// A custom setting that nobody set cannot be shown.
fn question_or_default(question: &str) -> &str {
    if question == "show app.tenant" {
        "select coalesce(nullif(current_setting('app.tenant', true), ''), 'none')"
    } else {
        question
    }
}

#[tokio::test]
async fn impossible_startup_parameters_are_refused_in_the_database_s_own_words() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    for (parameters, code) in [
        (("work_mem", "lots"), "22023"),
        (("no_such_setting", "1"), "42704"),
        (("client_encoding", "KLINGON"), "22023"),
        (("options", "-c no_such_setting=1"), "42704"),
    ] {
        // At login or on the first statement: the gateway may not know before.
        let told = match log_in(&site, &Security::Clear, &[parameters]).await {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                let answer = client.simple("select 1").await.unwrap();
                let error = wire::first_error(&answer)
                    .unwrap_or_else(|| panic!("{parameters:?} is accepted: {}", wire::describe(&answer)));
                error.sqlstate().unwrap_or_default().to_owned()
            }
        };
        assert!(told.starts_with(code), "{parameters:?}: {told}");
        // Nobody else suffers.
        assert_eq!(
            log_in(&site, &Security::Clear, &[])
                .await
                .unwrap()
                .rows("select 1")
                .await,
            ["1"]
        );
    }
}

#[tokio::test]
async fn an_unknown_database_is_refused() {
    let site = Site::start(Plan::default()).await;
    let parameters = [("user", site.role), ("database", "no_such_database")];
    let error = RawClient::log_in_with(site.address(), &Security::Clear, ROLE_PASSWORD, 0, &parameters)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("3D000"), "{error}");
    assert!(error.contains("no_such_database"), "{error}");
}

#[tokio::test]
async fn the_database_defaults_to_the_user_s_name() {
    let site = Site::start(Plan::default()).await;
    let error = RawClient::log_in_with(
        site.address(),
        &Security::Clear,
        ROLE_PASSWORD,
        0,
        &[("user", site.role)],
    )
    .await
    .unwrap_err();
    assert!(
        error.to_string().starts_with("3D000") && error.to_string().contains(site.role),
        "{error}"
    );
}

#[tokio::test]
async fn a_startup_without_a_user_is_refused() {
    let site = Site::start(Plan::default()).await;
    for parameters in [&[][..], &[("user", "")], &[("database", "postgres")]] {
        let error = RawClient::log_in_with(site.address(), &Security::Clear, ROLE_PASSWORD, 0, parameters)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with("28000"), "{parameters:?}: {error}");
    }
}

#[tokio::test]
async fn other_protocol_versions_are_refused_in_words() {
    let site = Site::start(Plan::default()).await;
    for major in [1_u16, 2, 4, 1233] {
        let mut client = RawClient::open(site.address()).await.unwrap();
        let version = [major.to_be_bytes(), 0_u16.to_be_bytes()].concat();
        client
            .send(&wire::untagged(&[&version[..], b"user\0app\0\0"].concat()))
            .await
            .unwrap();
        let answer = client.until_closed(Duration::from_secs(2)).await;
        // Version 2 and older read another format of errors; anything but an open connection will do.
        if major > 3 {
            let answer = answer.unwrap_or_else(|error| panic!("{major}: {error}"));
            assert_eq!(
                answer.first().and_then(Message::sqlstate),
                Some("0A000"),
                "{major}: {}",
                wire::describe(&answer)
            );
        }
    }
}

#[tokio::test]
async fn too_many_clients_are_told_so() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    for limited in ["listener", "user", "defaults"] {
        let limit = |place: &str| {
            if place == limited {
                json!({ "max_client_connections": 3 })
            } else {
                json!({})
            }
        };
        let with = |mut object: Value, place: &str| {
            object
                .as_object_mut()
                .unwrap()
                .extend(limit(place).as_object().unwrap().clone());
            object
        };
        let url = database_url(site.cluster, site.role, &site.database, "sslmode=disable");
        let metadata = Metadata::new()
            .postgres(&site.database, url.into(), json!({ "max_connections": 1 }))
            .listener(with(
                json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 }),
                "listener",
            ))
            .user(with(
                json!({ "name": site.role, "password": ROLE_PASSWORD, "sources": "*" }),
                "user",
            ))
            .defaults(limit("defaults"));
        let gateway = Gateway::start(&metadata);
        let log_in = || RawClient::log_in(gateway.address("pg"), site.role, ROLE_PASSWORD, &site.database);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(log_in().await.unwrap());
        }
        let error = log_in().await.expect_err("the fourth client is one too many");
        assert!(error.to_string().starts_with("53300"), "{limited}: {error}");
        clients.pop().unwrap().leave().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(log_in().await.is_ok(), "{limited}: a place is free again");
    }
}

/// P15: logging in costs no connection to the database once the source is warm, and none is held by an idle client.
#[tokio::test]
async fn logins_do_not_need_the_database() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        ..Plan::default()
    })
    .await;
    site.raw().await.rows("select 1").await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(site.raw().await);
    }
    assert!(
        site.server_connections().await <= 1,
        "an idle client holds a server connection"
    );
    for client in &mut clients {
        assert_eq!(client.rows("select 1").await, ["1"]);
    }
    assert!(site.server_connections().await <= 2);
}

#[tokio::test]
async fn a_loopback_listener_may_trust() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan::default()).await;
    let url = database_url(site.cluster, site.role, &site.database, "sslmode=disable");
    let metadata = Metadata::new()
        .postgres(&site.database, url.into(), json!({ "max_connections": 1 }))
        .listener(json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0, "trust_loopback": true }));
    let gateway = Gateway::start(&metadata);
    let client = cluster::connect(gateway.address("pg"), "anybody", "", &site.database)
        .await
        .unwrap();
    assert_eq!(
        client
            .query_one("SELECT current_user::text", &[])
            .await
            .unwrap()
            .get::<_, String>(0),
        site.role
    );
}
